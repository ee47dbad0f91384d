"""Starts that cannot be, each with its sentence and its time, and servers that end without being asked to."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from bs4 import BeautifulSoup

from aihub.marks import claim_name, server_name
from tests.cluster.hosted import GPU, MORE, HostHub, hosted, project, size, stub
from tests.cluster.rig.cluster import Cluster, CommandFailed
from tests.local.people import Someone, until

LAB = {"project": "lab", "image": "stub:1", "profile": "small"}

CLAIM: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "waiting"},
    "spec": {
        "accessModes": ["ReadOnlyMany"],
        "storageClassName": "nobody-provides-it",
        "resources": {"requests": {"storage": "1Gi"}},
    },
}


@pytest.fixture(scope="module")
def hub(cluster: Cluster, busybox: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostHub]:
    """A hub that knows no nodes, and offers much that cannot be started."""
    cluster.gpus(4)
    policy = {
        "imageStreams": {
            "stub": stub(busybox),
            "gone": stub(f"{cluster.registry}/aihub/is-not-there:1"),
            # To containerd 64 digits are an id, and to a kubelet no name.
            "invalid": stub("a" * 64),
            "dies": {"tags": {"1": {"image": busybox}}, "start": {"command": ["sh", "-c", "echo no licence; exit 3"]}},
        },
        "profiles": {
            "small": size(),
            "gpu": size(**GPU),
            "elsewhere": size(nodeSelector={"example.org/kind": "none-has-it"}),
            "denied": size(),
        },
        "projects": {
            "lab": project(["stub", "gone", "invalid", "dies"], ["small", "gpu", "elsewhere", "denied"]),
            "data": project(["stub"], ["small"], storage={"datasets": {"census": {"claim": "is-not-there"}}}),
            "slow": project(["stub"], ["small"], storage={"datasets": {"census": {"claim": "waiting"}}}),
        },
    }
    with hosted(cluster, tmp_path_factory.mktemp("failing"), policy, readNodes=False) as hub:
        cluster.apply(CLAIM, namespace=hub.users)
        yield hub


# --- starts that cannot be -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Case:
    """A start that cannot be: what it asks for, what it must end with, and within how many seconds."""

    asked: Mapping[str, str]
    code: str
    words: str
    seconds: float = 30


AT_ONCE = 15
"""Seconds for what the API server itself says: the starts of all cases are begun together, on a busy machine."""

CASES = {
    "unpullable image": Case(LAB | {"image": "gone:1"}, "image-pull-failed", "The image gone 1 could not be fetched."),
    "image name of no sense": Case(LAB | {"image": "invalid:1"}, "image-pull-failed", "could not be fetched."),
    "server that ends at once": Case(LAB | {"image": "dies:1"}, "start-failed", "It stopped before it was ready."),
    "no such machine": Case(LAB | {"profile": "elsewhere"}, "unschedulable", "No machine takes elsewhere right now."),
    "dataset without claim": Case({"project": "data"}, "dataset-missing", "There is no claim is-not-there.", AT_ONCE),
    "dataset without volume": Case({"project": "slow"}, "storage-unusable", "unbound immediate PersistentVolumeClaims"),
    "denied by the cluster": Case(LAB | {"profile": "denied"}, "cluster-denied", "only for the rich", AT_ONCE),
    "claim of a stranger": Case(LAB, "name-collision", "Ask the admins of this hub.", AT_ONCE),
    "pod of a stranger": Case(LAB, "name-collision", "Ask the admins of this hub.", AT_ONCE),
}
PERSON = dict(zip(CASES, MORE, strict=False))


@pytest.fixture(scope="module")
def endings(hub: HostHub, denying: None, strangers: list[tuple[str, str]]) -> dict[str, tuple[str, str, float]]:  # noqa: ARG001
    """How all the starts ended that were begun at once: the code, what the page says, and the seconds they took."""
    with ThreadPoolExecutor(len(CASES)) as pool:
        people = dict(zip(CASES, pool.map(lambda case: Someone.of(hub, PERSON[case]), CASES), strict=True))
        return dict(zip(CASES, pool.map(lambda case: _ends(people[case], CASES[case].asked), CASES), strict=True))


def _ends(someone: Someone, asked: Mapping[str, str]) -> tuple[str, str, float]:
    began = time.monotonic()
    answer = someone.ask(asked)
    assert answer.status_code < 500, answer.text
    until(lambda: not someone.running(), f"the start of {asked} ends\n{someone.rig.said()}", within=60)
    took = time.monotonic() - began
    page = someone.pages.get(f"/hub/spawn-pending/{someone.name}")
    return page.headers["AIHub-Reason"], text_of(page.text), took


@pytest.fixture(scope="module")
def denying(cluster: Cluster, hub: HostHub, busybox: str) -> Iterator[None]:
    """A rule of the cluster against one profile."""
    name = f"denies.{hub.users}.example.org"
    rule = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {
                "resourceRules": [
                    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
                ]
            },
            "validations": [
                {
                    "expression": "object.metadata.?annotations['aihub.io/profile'].orValue('') != 'denied'",
                    "message": "This profile is only for the rich",
                }
            ],
        },
    }
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {
            "policyName": name,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": hub.users}}},
        },
    }
    cluster.apply(rule, binding)
    probe = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "probe", "annotations": {"aihub.io/profile": "denied"}},
        "spec": restricted(busybox),
    }

    def in_force() -> bool:
        arguments = ("create", "--namespace", hub.users, "--dry-run=server", "--filename=-")
        try:
            cluster.kubectl(*arguments, text=json.dumps(probe))
        except CommandFailed as error:
            return "only for the rich" in error.said
        return False

    until(in_force, "the rule is in force", within=30)
    yield
    cluster.kubectl("delete", "validatingadmissionpolicy,validatingadmissionpolicybinding", name)


@pytest.fixture(scope="module")
def strangers(cluster: Cluster, hub: HostHub, busybox: str) -> list[tuple[str, str]]:
    """A claim and a pod under names of ours that are not ours; kinds and names."""
    claim = claim_name(hub.identity, f"home/lab/{PERSON['claim of a stranger']}")
    pod = server_name(hub.identity, PERSON["pod of a stranger"])
    cluster.apply(
        CLAIM | {"metadata": {"name": claim}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod}, "spec": restricted(busybox)},
        namespace=hub.users,
    )
    return [("pvc", claim), ("pod", pod)]


def restricted(image: str) -> dict[str, Any]:
    """A PodSpec that Pod Security admits."""
    return {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "terminationGracePeriodSeconds": 0,
        "containers": [
            {
                "name": "notebook",
                "image": image,
                "command": ["sleep", "3600"],
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            }
        ],
    }


def text_of(page: str) -> str:
    """What the main part of a page says, in one line."""
    main = BeautifulSoup(page, "html.parser").find("main")
    assert main is not None
    return " ".join(main.get_text(" ", strip=True).split())


@pytest.mark.parametrize("case", CASES)
def test_a_start_that_cannot_be_ends_in_words(endings: dict[str, tuple[str, str, float]], case: str) -> None:
    code, said, took = endings[case]
    assert code == CASES[case].code, said
    assert CASES[case].words in said
    assert took <= CASES[case].seconds


def test_failed_starts_leave_no_pod_and_hold_nothing(hub: HostHub, endings: dict[str, Any]) -> None:
    assert endings
    assert hub.servers() == []
    assert running(hub) == []


def test_what_bears_our_name_and_is_not_ours_is_left_alone(
    cluster: Cluster, hub: HostHub, endings: dict[str, Any], strangers: list[tuple[str, str]]
) -> None:
    assert endings
    for kind, name in strangers:
        found = cluster.get(kind, name, "--namespace", hub.users)
        assert "deletionTimestamp" not in found["metadata"]
        assert f"{hub.users}/{name} has a name of ours and another owner" in hub.log.read_text(encoding="utf-8")


def running(hub: HostHub) -> list[str]:
    """Whose places the ledger holds in the lab, as its instructor sees them."""
    page = Someone.of(hub, "ines").pages.get("/hub/aihub/projects/lab").raise_for_status()
    rows = BeautifulSoup(page.text, "html.parser").select("#running tbody tr")
    return [" ".join(row.get_text(" ", strip=True).split()) for row in rows]
