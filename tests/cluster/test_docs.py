"""The commands in the pages about Kubernetes as they stand there, on the cluster."""

from __future__ import annotations

import os
import re
import secrets
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.chart_rig import named, objects, render
from tests.cluster.rig.cluster import Cluster
from tests.cluster.rig.toolbox import HELM, KUBERNETES, program
from tests.local.people import until
from tests.test_docs import DOCS, ROOT, blocks, section, shown_files, table

PAGE = DOCS / "kubernetes.md"
CLUSTER, OPERATE = (DOCS / "kubernetes" / f"{name}.md" for name in ("cluster", "operate"))
REGISTRY = "registry.example.org/aihub"


@dataclass(frozen=True, slots=True)
class Desk:
    """A reader's folder and shell. The pages' namespace `aihub` is one of the reader's own, and so are the images."""

    folder: Path
    cluster: Cluster
    namespace: str
    images: dict[str, str]
    port: int

    def own(self, text: str) -> str:
        """What a page says, for this reader."""
        text = re.sub(r"(?<=namespace )aihub\b|\baihub(?=-users\b)", self.namespace, text)
        text = text.replace("8080:", f"{self.port}:")
        for name, pinned in self.images.items():
            repository, _, digest = pinned.partition("@")
            text = text.replace(f"{{name: {REGISTRY}/{name}}}", f"{{name: {repository}, digest: {digest}}}")
            text = re.sub(rf"{REGISTRY}/{name}:[\w.]+", pinned, text)
        return text

    def run(self, commands: str, within: float = 300) -> str:
        """What the commands print, the first that fails ends them."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.own(commands)],
            cwd=self.folder,
            env=self._environ(),
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout}{done.stderr}"
        return done.stdout

    @contextmanager
    def meanwhile(self, command: str) -> Iterator[None]:
        """Let a command run that ends by Ctrl-C."""
        running = subprocess.Popen(
            ["bash", "-c", f"exec {self.own(command)}"], cwd=self.folder, env=self._environ(), stdout=subprocess.DEVNULL
        )
        try:
            yield
        finally:
            running.terminate()
            running.wait(timeout=10)

    def _environ(self) -> dict[str, str]:
        path = os.pathsep.join([str(self.folder / "bin"), os.environ["PATH"]])
        return {**os.environ, "PATH": path, "KUBECONFIG": str(self.cluster.kubeconfig), "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def desk(cluster: Cluster, images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = furnished(tmp_path_factory.mktemp("desk"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = Desk(folder, cluster, f"docs-{secrets.token_hex(2)}", images, port)
    for page in (PAGE, OPERATE):
        for name, text in shown_files(page).items():
            (folder / name).write_text(own.own(text), encoding="utf-8")
    yield own
    cluster.kubectl(
        "delete", "namespace", f"{own.namespace}-users", own.namespace, "--ignore-not-found", "--wait=false"
    )


def furnished(folder: Path) -> Path:
    """The folder, with the chart and the programs that the pages use."""
    (folder / "helm").symlink_to(ROOT / "helm")
    (folder / "bin").mkdir()
    for name, tool in (("kubectl", KUBERNETES), ("helm", HELM)):
        (folder / "bin" / name).symlink_to(program(tool, name))
    aihub = folder / "bin" / "aihub"
    aihub.write_text(f'#!/bin/sh\nexec {sys.executable} -m aihub.cli "$@"\n')
    aihub.chmod(0o755)
    return folder


# --- install, keep, remove -------------------------------------------------------------------------------------------


def commands(page: Path, heading: str) -> list[str]:
    return [block for block in blocks(section(page, heading), "sh") if not block.startswith("make ")]


@dataclass(frozen=True, slots=True)
class Installation:
    """What the commands of the page printed."""

    notes: str
    passwords: tuple[str, ...]
    later_notes: str
    test: str


@pytest.fixture(scope="module")
def installation(desk: Desk) -> Installation:
    """The section Install, from its first command to its last."""
    secret, install, forward, passwords, upgrade, test = commands(PAGE, "Install")
    desk.run(secret)
    notes = desk.run(install)
    with desk.meanwhile(forward):
        until(lambda: answers(desk.port), "the sign-in page comes")
    told = tuple(desk.run(line) for line in passwords.splitlines())
    later = desk.run(upgrade)
    # Not to wait for the kubelet: it looks at the ConfigMaps of a pod that changes.
    desk.run("kubectl --namespace aihub annotate pod --selector app.kubernetes.io/component=hub example.org/now=1")
    return Installation(notes, told, later, desk.run(test, within=600))


def test_the_installation_is_done_by_its_commands(installation: Installation) -> None:
    admin, everybody = installation.passwords
    assert len(admin) >= 32
    assert 8 <= len(everybody) < 32
    assert "There is no project yet" in installation.notes
    assert "There is no project yet" not in installation.later_notes
    assert checks(installation.test) == checks(section(PAGE, "Install"))


def checks(text: str) -> list[str]:
    return [line.split(":")[0] for line in text.splitlines() if line.startswith("ok ")]


@pytest.mark.slow
@pytest.mark.usefixtures("installation")
def test_a_backup_is_made_and_comes_back(desk: Desk) -> None:
    copy, claims = commands(OPERATE, "Backup")
    desk.run(copy)
    desk.run(claims)
    assert f"{desk.namespace}/aihub/ada" in (desk.folder / "claims.json").read_text(encoding="utf-8")
    for name, wanted in (("jupyterhub", "users"), ("aihub", "reservation")):
        with sqlite3.connect(desk.folder / f"{name}.sqlite") as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert database.execute(f"SELECT count(*) FROM {wanted}").fetchone()
    before = desk.run("kubectl --namespace aihub get pod --selector app.kubernetes.io/component=hub --output name")
    (restore,) = commands(OPERATE, "Restore")
    desk.run(restore)
    assert "ada" in people(desk)
    assert (
        desk.run("kubectl --namespace aihub get pod --selector app.kubernetes.io/component=hub --output name") != before
    )


def people(desk: Desk) -> str:
    """The names in the hub's database."""
    connected = "sqlite3.connect('/srv/aihub/jupyterhub.sqlite')"
    code = f"import sqlite3; print({connected}.execute('SELECT name FROM users').fetchall())"
    return desk.run(f'kubectl --namespace aihub exec deploy/aihub-hub -- python -c "{code}"')


@pytest.mark.slow
@pytest.mark.usefixtures("installation")
def test_claims_say_whose_they_are(desk: Desk) -> None:
    (command,) = (block for block in commands(CLUSTER, "Storage"))
    assert re.search(rf"^home-ada-\S+ +{desk.namespace}/aihub/ada +1Gi$", desk.run(command), re.MULTILINE)


@pytest.mark.slow
@pytest.mark.usefixtures("installation")
def test_the_values_of_the_cluster_s_page_are_taken_and_servers_start(desk: Desk) -> None:
    given = ["values.yaml", "policy-values.yaml"]
    for number, block in enumerate(blocks(CLUSTER.read_text(encoding="utf-8"), "yaml")):
        if "httpRoute" not in block:  # no API server knows it by itself
            given.append(f"block-{number}.yaml")
            (desk.folder / given[-1]).write_text(desk.own(block), encoding="utf-8")
    desk.run("kubectl --namespace aihub create secret generic grader --from-literal token=0123456789abcdef")
    values = " ".join(f"--values {name}" for name in given)
    desk.run(f"helm upgrade aihub helm/aihub --namespace aihub {values} --wait")
    said = desk.run("helm test aihub --namespace aihub --logs", within=600)
    assert checks(said) == checks(section(PAGE, "Install"))


@pytest.mark.slow
@pytest.mark.usefixtures("installation")
def test_upgrade_and_rollback_are_done_by_their_commands(desk: Desk) -> None:
    upgrade, restart, back = commands(PAGE, "Upgrade")
    desk.run(upgrade)
    desk.run(restart)
    desk.run("kubectl --namespace aihub rollout status deploy/aihub-hub --timeout=3m")
    assert "Rollback to 1" in desk.run(f"{back}\nhelm history aihub --namespace aihub")


@pytest.mark.slow
@pytest.mark.usefixtures("installation")
def test_homes_outlive_the_release_and_nothing_outlives_the_namespaces(desk: Desk) -> None:
    uninstall, stop, remove = commands(PAGE, "Uninstall")
    desk.run(uninstall)
    desk.run(stop)
    left = desk.run(
        "kubectl --namespace aihub get pvc --output name; kubectl --namespace aihub-users get pvc --output name"
    )
    assert "persistentvolumeclaim/aihub-hub" in left
    assert "persistentvolumeclaim/home-ada-" in left
    desk.run(remove)
    assert desk.namespace not in desk.run("kubectl get namespaces")


# --- what restarts ---------------------------------------------------------------------------------------------------

CHANGES: dict[str, dict[str, Any]] = {
    "aihub": {"aihub": {"home": {"size": "7Gi"}}},
    "imageStreamDocuments": {"imageStreamDocuments": {"one": "kind: ImageStream\n"}},
    "aihub.signIn": {"aihub": {"signIn": {"people": {"eve": {}}}}},
    "hub.config": {"hub": {"config": {"JupyterHub": {"log_level": "DEBUG"}}}},
    "hub.extraConfig": {"hub": {"extraConfig": {"a": "c.JupyterHub.log_level = 10\n"}}},
    "hub.image": {"hub": {"image": {"tag": "9"}}},
    "singleuser": {"singleuser": {"extraEnv": {"TZ": "UTC"}}},
    "cull": {"cull": {"every": 60}},
    "rbac.readNodes": {"rbac": {"readNodes": True}},
    "scheduling.schedulerName": {"scheduling": {"schedulerName": "second"}},
    "proxy.chp": {"proxy": {"chp": {"image": {"tag": "9"}}}},
    "imagePullSecrets": {"imagePullSecrets": ["registry"]},
    "scheduling.corePods": {"scheduling": {"corePods": {"nodeSelector": {"a": "b"}}}},
    "scheduling.podPriority": {"scheduling": {"podPriority": {"enabled": True}}},
    "namespaces": {"namespaces": {"labels": {"a": "b"}}},
    "networkPolicy": {
        "hub": {"networkPolicy": {"enabled": False}},
        "proxy": {"chp": {"networkPolicy": {"enabled": False}}},
        "singleuser": {"networkPolicy": {"egress": {"outside": False}}},
    },
    "ingress": {"ingress": {"enabled": True}},
    "httpRoute": {"httpRoute": {"enabled": True, "gateway": {"name": "g"}}},
    "prePuller": {"prePuller": {"continuous": {"enabled": True}, "extraImages": ["a:1"]}},
    "tests": {"tests": {"enabled": False}},
}
"""One change of every value that the page names. The image streams' documents are there before it."""

DOCUMENTS = {"imageStreamDocuments": {"one": "kind: List\n"}}
RESTARTS = {"nothing": set(), "the hub": {"hub"}, "the proxy": {"proxy"}, "both": {"hub", "proxy"}}


def promised() -> Iterator[tuple[str, set[str]]]:
    """What the page says of each value: whose pods are replaced."""
    for changed, restarts in table(PAGE.read_text(encoding="utf-8"), "Upgrade"):
        named = re.findall(r"`([^`]+)`", changed.replace("all but `signIn`", ""))
        for key in named:
            yield key, RESTARTS[restarts.split(":")[0]]


@pytest.mark.parametrize(("key", "restarts"), list(promised()))
def test_a_change_restarts_what_the_page_says(key: str, restarts: set[str]) -> None:
    old, new = pods(before()), pods(render(values={**DOCUMENTS, **CHANGES[key]}))
    assert {component for component in old if old[component] != new[component]} == restarts


def test_the_page_speaks_of_every_change_that_is_tried() -> None:
    assert {key for key, _ in promised()} == CHANGES.keys()


@cache
def before() -> str:
    return render(values=DOCUMENTS)


def pods(manifests: str) -> dict[str, Any]:
    return {name: named(manifests, "Deployment", f"aihub-{name}")["spec"]["template"] for name in ("hub", "proxy")}


# --- in Zero to JupyterHub -------------------------------------------------------------------------------------------


def test_the_hub_s_rights_there_are_those_of_the_chart() -> None:
    page = DOCS / "kubernetes" / "zero-to-jupyterhub.md"
    shown = named(shown_files(page)["users.yaml"], "Role", "hub")
    made = next(each for each in objects(render()) if each["kind"] == "Role")
    assert shown["rules"] == made["rules"]


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/hub/login", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
