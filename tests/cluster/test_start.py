"""From `helm install` to a cell that executes, and back: what a student does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.cluster.release import Release
from tests.local.people import Meet

GOLDEN = Path(__file__).parents[1] / "data" / "cluster" / "server.golden.json"
SECRET = {"JPY_API_TOKEN", "JUPYTERHUB_API_TOKEN"}


def settled(release: Release, pod: dict[str, Any]) -> Any:
    """The spec of a server's pod as it was sent: without what differs between two runs, or is the cluster's to say."""
    spec = pod["spec"]
    for key in ("nodeName", "preemptionPolicy", "priority", "schedulerName", "serviceAccount", "serviceAccountName"):
        spec.pop(key, None)
    spec["tolerations"] = [
        each for each in spec.get("tolerations", []) if not each["key"].startswith("node.kubernetes.io/")
    ]
    (server,) = spec["containers"]
    for variable in server["env"]:
        if variable["name"] in SECRET:
            variable["value"] = "…"
    text = json.dumps(spec)
    for found, name in ((server["image"], "IMAGE"), (f".{release.namespace}:", ".NAMESPACE:")):
        text = text.replace(found, name)
    return json.loads(text)


def test_a_student_starts_computes_stops_and_finds_everything_again(release: Release, meet: Meet) -> None:
    ada = meet("ada")
    ada.start({"project": "ml101", "image": "base:1", "profile": "gpu"})
    try:
        spec = settled(release, release.server("ada"))
        # After a change that is meant: delete the file, run again, and read the difference.
        if not GOLDEN.exists():
            GOLDEN.parent.mkdir(exist_ok=True)
            GOLDEN.write_text(json.dumps(spec, indent=2, ensure_ascii=False, sort_keys=True) + "\n")
        assert spec == json.loads(GOLDEN.read_text())
        assert ada.run("print(6 * 7)") == "42\n"
        ada.run("open('notes.txt', 'w').write('kept'); open('project/shared.txt', 'w').write('for all')")
    finally:
        ada.stop()
    assert release.servers() == []
    ada.start({"project": "ml101", "profile": "small"})
    try:
        assert ada.run("print(open('notes.txt').read(), open('project/shared.txt').read())") == "kept for all\n"
    finally:
        ada.stop()
