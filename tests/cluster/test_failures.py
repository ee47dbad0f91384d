"""Starts that cannot be, each with its sentence and its time, and servers that end without being asked to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup

from aihub.marks import claim_name, server_name
from tests.cluster.hosted import MORE, HostHub, hosted, project, push_fresh, reaches, size, stub, text_of
from tests.cluster.rig.cluster import Cluster, CommandFailed
from tests.cluster.rig.registry import SlowRegistry
from tests.local.people import Someone, until

FAR_NODE, FAR_KEY = "a-far-machine", "aihub.test/far"
FAR_TAINT = {"key": FAR_KEY, "value": "yes", "effect": "NoSchedule"}
# Nobody reports for that node, so that the cluster soon takes it for lost.
FAR_TOLERATIONS = [
    {"key": key, "operator": "Exists"}
    for key in (FAR_KEY, "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
]

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
    with cluster.slow_registry(50_000) as slow, answering() as port:
        yield from _hub(cluster, busybox, slow, port, tmp_path_factory.mktemp("failing"))
        # A kubelet fetches one image after the other: the slow one must not be in the way of others.
        slow.rate = None


def _hub(cluster: Cluster, busybox: str, slow: SlowRegistry, port: int, folder: Path) -> Iterator[HostHub]:
    policy = {
        "imageStreams": {
            "stub": stub(busybox),
            "gone": stub(f"{cluster.registry}/aihub/is-not-there:1"),
            # To containerd 64 digits are an id, and to a kubelet no name.
            "invalid": stub("a" * 64),
            "slow": stub(push_fresh(cluster.registry, slow.address, 3_000_000)),
            "far": stub(busybox, port=port),
            "dies": {"tags": {"1": {"image": busybox}}, "start": {"command": ["sh", "-c", "echo no licence; exit 3"]}},
        },
        "profiles": {
            "small": size(),
            "elsewhere": size(nodeSelector={"example.org/kind": "none-has-it"}),
            "denied": size(),
            "far": size(nodeSelector={FAR_KEY: "yes"}, tolerations=FAR_TOLERATIONS),
        },
        "projects": {
            "lab": project(
                ["stub", "gone", "invalid", "dies", "slow", "far"],
                ["small", "elsewhere", "denied", "far"],
                quota={"perMember": {"servers": 1}},
            ),
            "data": project(["stub"], ["small"], storage={"datasets": {"census": {"claim": "is-not-there"}}}),
            "slow": project(["stub"], ["small"], storage={"datasets": {"census": {"claim": "waiting"}}}),
        },
    }
    with hosted(cluster, folder, policy, readNodes=False) as hub:
        cluster.apply(CLAIM, namespace=hub.users)
        yield hub


@contextmanager
def answering() -> Iterator[int]:
    """The port of a web server of this machine: it stands for servers whose machine is not there."""
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


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
def endings(hub: HostHub, denying: None, strangers: list[tuple[str, str]]) -> dict[str, tuple[str, str, float]]:
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


def test_where_the_nodes_are_known_it_is_said_before_the_click(cluster: Cluster, busybox: str, tmp_path: Path) -> None:
    policy = {
        "imageStreams": {"stub": stub(busybox)},
        "profiles": {"small": size(), "elsewhere": size(nodeSelector={"example.org/kind": "none-has-it"})},
        "projects": {"lab": project(["stub"], ["small", "elsewhere"])},
    }
    with hosted(cluster, tmp_path, policy, readNodes=True) as seeing:
        ada = Someone.of(seeing, "ada")

        def verdicts() -> dict[str, str | None]:
            (lab,) = ada.api.get("/hub/api/aihub/choices").raise_for_status().json()["projects"]
            return {each["profile"]: each["counts"][0]["reason"] for each in lab["profiles"]}

        until(lambda: verdicts() == {"small": None, "elsewhere": "never-fits"}, "the nodes are known", within=20)
        refused = ada.ask(LAB | {"profile": "elsewhere"})
        assert (refused.status_code, refused.headers["AIHub-Reason"]) == (403, "never-fits")
        assert "no machine is of the kind it asks for" in refused.json()["message"]
        assert seeing.servers() == []


# --- servers that end without being asked to -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Death:
    """How a running server ends, and what its person and its instructor read of it."""

    asked: Mapping[str, str]
    by: Callable[[HostHub, str], None]
    what: str
    why: str
    to_others: str


def eats(hub: HostHub, pod: str) -> None:
    hub.cluster.kubectl("exec", "--namespace", hub.users, pod, "--", "touch", "/tmp/hungry")


def evicted(hub: HostHub, pod: str) -> None:
    """As `kubectl drain` and autoscalers ask for it."""
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": hub.users}}
    hub.cluster.core.create_namespaced_pod_eviction(pod, hub.users, eviction)


def pressed_out(hub: HostHub, pod: str) -> None:
    """As a kubelet writes it whose machine runs short."""
    said = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 64Mi."
    reported(hub, pod, {"phase": "Failed", "reason": "Evicted", "message": said})


def lost(hub: HostHub, pod: str) -> None:
    """As the controller writes it that collects the pods of machines that are gone."""
    why = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC", "message": "node is gone"}
    reported(hub, pod, {"phase": "Failed", "conditions": [why]})
    hub.cluster.kubectl("delete", "pod", "--namespace", hub.users, pod, "--force", "--grace-period=0")


def reported(hub: HostHub, pod: str, status: dict[str, Any]) -> None:
    patch = ("--subresource=status", "--patch", json.dumps({"status": status}))
    hub.cluster.kubectl("patch", "pod", "--namespace", hub.users, pod, *patch)


FAR = LAB | {"image": "far:1", "profile": "far"}
DEATHS = {
    "out of memory": Death(
        LAB,
        eats,
        "was stopped because it ran out of memory.",
        "It may use 128 MiB and asked for more. Files in your home are safe.",
        "It ran out of memory (128 MiB).",
    ),
    "eviction": Death(LAB, evicted, "The cluster stopped", "Files in your home are safe.", "The cluster stopped it."),
    "pressure on the machine": Death(
        FAR,
        pressed_out,
        "The cluster stopped",
        "The node was low on resource: memory.",
        "The cluster stopped it. The cluster says: The node was low on resource: memory.",
    ),
    "lost machine": Death(
        FAR,
        lost,
        "was lost together with its machine.",
        f"The machine {FAR_NODE} does not answer any more. Files in your home are safe.",
        f"Its machine {FAR_NODE} was lost.",
    ),
}
MORTAL = dict(zip(DEATHS, MORE[len(CASES) :], strict=False))


@dataclass(frozen=True, slots=True)
class Told:
    """What is said of a death: at home, on the page of the start, and the code there."""

    home: str
    page: str
    code: str


@pytest.fixture(scope="module")
def deaths(cluster: Cluster, hub: HostHub) -> tuple[dict[str, Told], str]:
    """What was said of servers that died at about the same time: to their people, and to the instructor."""
    with far_node(cluster), ThreadPoolExecutor(len(DEATHS)) as pool:
        told = dict(zip(DEATHS, pool.map(lambda case: _dies(hub, case), DEATHS), strict=True))
        ines = Someone.of(hub, "ines")
        return told, text_of(ines.pages.get("/hub/aihub/projects/lab").raise_for_status().text)


def _dies(hub: HostHub, case: str) -> Told:
    someone, death = Someone.of(hub, MORTAL[case]), DEATHS[case]
    if death.asked is FAR:
        starts_far(hub, someone)
    else:
        someone.start(death.asked, within=60)
    death.by(hub, server_name(hub.identity, someone.name))
    until(lambda: not someone.running(), f"the hub notices: {case}\n{hub.said()}", within=60)
    page = someone.pages.get(f"/hub/spawn-pending/{someone.name}")
    return Told(text_of(someone.pages.get("/hub/home").text), text_of(page.text), page.headers["AIHub-Reason"])


RUNS = {
    "phase": "Running",
    "podIP": "127.0.0.1",
    "podIPs": [{"ip": "127.0.0.1"}],
    "conditions": [{"type": "Ready", "status": "True"}],
    "containerStatuses": [
        {
            "name": "notebook",
            "ready": True,
            "restartCount": 0,
            "image": "far",
            "imageID": "far",
            "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
        }
    ],
}


def _bound(hub: HostHub, pod: str) -> bool:
    found = [each for each in hub.servers() if each["metadata"]["name"] == pod]
    return bool(found and found[0]["spec"].get("nodeName") == FAR_NODE)


@contextmanager
def far_node(cluster: Cluster) -> Iterator[None]:
    """A machine without a kubelet: what becomes of its pods is what the tests write."""
    room = {"cpu": "8", "memory": "16Gi", "pods": "10"}
    ready = {"type": "Ready", "status": "True", "reason": "Test", "message": "as the tests say"}
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": FAR_NODE, "labels": {FAR_KEY: "yes"}},
        "spec": {"taints": [FAR_TAINT]},
        "status": {"capacity": room, "allocatable": room, "conditions": [ready]},
    }
    cluster.apply(node)
    try:
        yield
    finally:
        cluster.kubectl("delete", "node", FAR_NODE, "--ignore-not-found")


@pytest.mark.parametrize("case", DEATHS)
def test_whoever_lost_a_server_reads_why_and_that_files_are_safe(
    deaths: tuple[dict[str, Told], str], case: str
) -> None:
    told, death = deaths[0][case], DEATHS[case]
    for said in (told.home, told.page):
        assert death.why in said
    assert death.what in told.page
    assert "Start again" in told.home
    assert "Start it again" in told.page


def test_instructors_read_which_servers_ended_and_why(deaths: tuple[dict[str, Told], str]) -> None:
    for case, death in DEATHS.items():
        assert f"{MORTAL[case]} default {death.to_others}" in deaths[1]


def test_after_any_death_the_server_can_be_started_again(hub: HostHub, deaths: object) -> None:
    assert deaths
    with ThreadPoolExecutor(len(DEATHS)) as pool:
        list(pool.map(lambda case: _lives_again(hub, MORTAL[case]), DEATHS))
    assert hub.servers() == []


@pytest.mark.slow
def test_a_server_whose_machine_is_gone_counts_until_the_cluster_has_given_it_up(
    cluster: Cluster, hub: HostHub
) -> None:
    eva = Someone.of(hub, MORE[-1])
    with far_node(cluster):
        starts_far(hub, eva)
        cluster.kubectl("taint", "node", FAR_NODE, "example.org/broken=yes:NoExecute")
        until(lambda: not eva.running(), f"the hub notices\n{hub.said()}", within=90)
        page = eva.pages.get(f"/hub/spawn-pending/{eva.name}")
        assert page.headers["AIHub-Reason"] == "node-lost"
        # Its kubelet never says that the server has ended: nobody may use the home elsewhere meanwhile.
        assert len(hub.servers()) == 1
        again = eva.ask(LAB)
        assert (again.status_code, again.headers.get("AIHub-Reason")) == (409, "server-busy"), again.text
    until(lambda: hub.servers() == [], "the cluster gives the pod up", within=180)
    until(lambda: eva.ask(LAB).status_code in {201, 202}, "the start goes on", within=60, every=2)
    until(lambda: eva.model().get("ready"), f"the server\n{hub.said()}")
    eva.stop()


def starts_far(hub: HostHub, someone: Someone) -> None:
    """Start a server on the far machine; a kubelet's part is played."""
    assert someone.ask(FAR).status_code in {201, 202}
    pod = server_name(hub.identity, someone.name)
    until(lambda: _bound(hub, pod), f"{pod} has its machine\n{hub.said()}")
    reported(hub, pod, RUNS)
    until(lambda: someone.model().get("ready"), f"the server of {someone.name}\n{hub.said()}", within=60)


def _lives_again(hub: HostHub, person: str) -> None:
    someone = Someone.of(hub, person)
    someone.start(LAB, within=60)
    assert "Files in your home are safe." not in text_of(someone.pages.get("/hub/home").text)
    someone.stop()


# --- cancelled starts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "stage"),
    [(LAB, "admit"), (LAB | {"profile": "elsewhere"}, "machine"), (LAB | {"image": "slow:1"}, "image")],
    ids=["at once", "without a machine", "while its image comes"],
)
def test_a_cancelled_start_leaves_nothing(hub: HostHub, asked: Mapping[str, str], stage: str) -> None:
    bob = Someone.of(hub, "bob")
    assert bob.ask(asked).status_code in {201, 202}
    if stage != "admit":
        reaches(bob, stage)
    began = time.monotonic()
    bob.stop()
    assert time.monotonic() - began < 30
    assert hub.servers() == []
    assert not any("bob" in row for row in running(hub))
