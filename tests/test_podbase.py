from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest

from aihub.marks import Identity, claim_name
from aihub.podbase import (
    EXTRA_POD_SPEC,
    admin_annotations,
    admin_labels,
    admin_spec,
    both,
    container_security,
    foreign_fields,
    pod_security,
)

Document = dict[str, Any]
HOME = claim_name(Identity("hub/aihub", "aihub"), "home/bob")

# --- fields ----------------------------------------------------------------------------------------------------------


def test_what_admins_may_set_is_this_list() -> None:
    # No rule of the policy depends on these.
    assert sorted(EXTRA_POD_SPEC) == [
        "affinity",
        "containers",
        "dnsConfig",
        "dnsPolicy",
        "hostAliases",
        "hostUsers",
        "imagePullSecrets",
        "initContainers",
        "nodeSelector",
        "preemptionPolicy",
        "priorityClassName",
        "runtimeClassName",
        "schedulerName",
        "securityContext",
        "serviceAccountName",
        "tolerations",
        "topologySpreadConstraints",
        "volumes",
    ]


def test_what_admins_may_set_is_documented() -> None:
    page = (Path(__file__).parents[1] / "docs" / "design.md").read_text()
    named = set(re.findall(r"`([A-Za-z]+)[`.:]", page.partition("## 12. Pods")[2]))
    assert named >= EXTRA_POD_SPEC


@pytest.mark.parametrize(
    ("extra", "foreign"),
    [
        ({}, ()),
        ({"volumes": [{"name": "a"}], "nodeSelector": {}, "hostUsers": False, "schedulerName": "s"}, ()),
        ({"hostNetwork": False, "restartPolicy": "Always"}, ("hostNetwork", "restartPolicy")),
        ({"volumes": {"name": "a"}}, ("volumes",)),
        ({"volumes": ["a"]}, ("volumes",)),
        ({"nodeSelector": "a=b"}, ("nodeSelector",)),
        ({"hostUsers": "no"}, ("hostUsers",)),
        ({"schedulerName": None}, ("schedulerName",)),
    ],
    ids=str,
)
def test_fields_without_effect_are_named(extra: Document, foreign: tuple[str, ...]) -> None:
    assert foreign_fields(extra) == foreign
    spec = admin_spec({}, extra)
    assert not [name for name in foreign if spec.get(name)]


@pytest.mark.parametrize(
    ("base", "extra", "field", "expected"),
    [
        ({"schedulerName": "a"}, {"schedulerName": "b"}, "schedulerName", "b"),
        ({"schedulerName": "a"}, {}, "schedulerName", "a"),
        ({"nodeSelector": {"a": "1", "b": "1"}}, {"nodeSelector": {"b": "2"}}, "nodeSelector", {"a": "1", "b": "2"}),
        ({"tolerations": [{"key": "a"}]}, {"tolerations": [{"key": "b"}]}, "tolerations", [{"key": "a"}, {"key": "b"}]),
        ({"tolerations": [{"key": "a"}]}, {"tolerations": [{"key": "a"}]}, "tolerations", [{"key": "a"}]),
        (
            {"volumes": [{"name": "a", "emptyDir": {}}]},
            {"volumes": [{"name": "a", "secret": {"secretName": "s"}}]},
            "volumes",
            [{"name": "a", "secret": {"secretName": "s"}}],
        ),
        ({"hostUsers": True}, {"hostUsers": False}, "hostUsers", False),
        ({"hostUsers": True}, {}, "hostUsers", None),
        ({"containers": [{"name": "notebook"}]}, {"containers": [{"name": "notebook"}]}, "containers", []),
    ],
)
def test_extra_pod_spec_is_added(base: Document, extra: Document, field: str, expected: Any) -> None:
    assert admin_spec(base, extra).get(field) == expected


# --- volumes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("volume", "stays"),
    [
        ({"name": "a", "emptyDir": {}}, True),
        ({"name": "a", "configMap": {"name": "c"}}, True),
        ({"name": "a", "secret": {"secretName": "s"}}, True),
        ({"name": "a", "csi": {"driver": "d"}}, True),
        ({"name": "a", "emptyDir": {}, "hostPath": None}, True),
        ({"name": "a", "persistentVolumeClaim": {"claimName": "campus"}}, True),
        ({"name": "a", "persistentVolumeClaim": {"claimName": HOME}}, False),
        ({"name": "a", "projected": {"sources": [{"configMap": {"name": "c"}}]}}, True),
        ({"name": "a", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}, False),
        ({"name": "a", "projected": {"sources": [{"configMap": {}}, {"podCertificate": {}}]}}, False),
        ({"name": "a", "hostPath": {"path": "/"}}, False),
        ({"name": "a", "nfs": {"server": "s", "path": "/"}}, False),
        ({"name": "a", "emptyDir": {}, "hostPath": {"path": "/"}}, False),
        ({"name": "a", "emptyDir": "x"}, False),
        ({"name": "a"}, False),
        ({"emptyDir": {}}, False),
        ({"name": "aihub-home", "emptyDir": {}}, False),
    ],
    ids=str,
)
def test_volumes_of_admins(volume: Document, stays: bool) -> None:
    assert (admin_spec({"volumes": [volume]}, {})["volumes"] == [volume]) is stays


# --- containers ------------------------------------------------------------------------------------------------------


def sidecar(**fields: Any) -> Document:
    spec = admin_spec({"containers": [{"name": "side", "image": "i", **fields}]}, {})
    found: Document = spec["containers"][0]
    return found


@pytest.mark.parametrize(
    ("field", "given", "kept"),
    [
        ("command", ["a"], ["a"]),
        ("env", [{"name": "A", "value": "b"}, {"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}],
         [{"name": "A", "value": "b"}, {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"}]),
        ("ports", [{"containerPort": 1, "hostPort": 1, "hostIP": "0.0.0.0"}], [{"containerPort": 1}]),
        ("resources", {"limits": {"cpu": "1", "nvidia.com/gpu": "1"}}, {"limits": {"cpu": "1"}}),
        ("resources", {"claims": [{"name": "x"}]}, None),
        ("resources", {"limits": {"nvidia.com/gpu": "1"}}, None),
        ("volumeDevices", [{"name": "x"}], None),
        ("volumeMounts", [{"name": "gone", "mountPath": "/a"}], None),
        ("volumeMounts", [{"name": "aihub-home", "mountPath": "/proc/1"}], None),
        ("volumeMounts", [{"name": "aihub-home", "mountPath": "/a", "mountPropagation": "Bidirectional"}],
         [{"name": "aihub-home", "mountPath": "/a"}]),
        ("livenessProbe", {"httpGet": {"host": "h", "port": 1}}, {"httpGet": {"port": 1}}),
        ("lifecycle", {"postStart": {"tcpSocket": {"host": "h", "port": 1}, "exec": {"command": ["a"]}}},
         {"postStart": {"tcpSocket": {"port": 1}, "exec": {"command": ["a"]}}}),
        ("restartPolicy", "Always", "Always"),
        ("stdin", True, None),
    ],
)  # fmt: skip
def test_sidecars_of_admins(field: str, given: Any, kept: Any) -> None:
    assert sidecar(**{field: given}).get(field) == kept


SAFE = {
    "runAsNonRoot": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


@pytest.mark.parametrize(
    ("given", "more"),
    [
        ({}, {}),
        ({"privileged": True, "capabilities": {"add": ["NET_ADMIN"]}, "runAsNonRoot": False}, {}),
        ({"runAsUser": 33, "runAsGroup": 34}, {"runAsUser": 33, "runAsGroup": 34}),
        ({"runAsUser": 0, "runAsGroup": 0}, {}),
        ({"runAsUser": "33"}, {}),
        ({"runAsUser": True}, {}),
        ({"readOnlyRootFilesystem": True}, {"readOnlyRootFilesystem": True}),
    ],
    ids=str,
)
def test_security_of_containers(given: Document, more: Document) -> None:
    assert container_security(given) == {**more, **SAFE}


def test_admins_may_add_groups_to_pods_and_nothing_else() -> None:
    given = {"supplementalGroups": [100, -1, "x", True], "runAsUser": 0, "sysctls": [{"name": "a", "value": "b"}]}
    assert pod_security(given, 1001) == {
        "supplementalGroups": [100],
        "runAsNonRoot": True,
        "runAsUser": 1001,
        "runAsGroup": 1001,
        "fsGroup": 1001,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


# --- metadata --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "stays"),
    [
        ("team", True),
        ("example.org/team", True),
        ("kueue.x-k8s.io/queue-name", True),
        ("app", False),
        ("component", False),
        ("app.kubernetes.io/component", False),
        ("pod-security.kubernetes.io/enforce", False),
        ("hub.jupyter.org/network-access-hub", False),
        ("aihub.io/hub", False),
    ],
)
def test_labels_of_admins(label: str, stays: bool) -> None:
    assert admin_labels({label: "x"}) == ({label: "x"} if stays else {})


@pytest.mark.parametrize(
    ("key", "stays"),
    [
        ("note", True),
        ("prometheus.io/scrape", True),
        ("kubernetes.io/egress-bandwidth", True),
        ("hub.jupyter.org/username", True),
        ("aihub.io/owner", False),
        ("kubernetes.io/config.mirror", False),
        ("container.apparmor.security.beta.kubernetes.io/notebook", False),
        ("seccomp.security.alpha.kubernetes.io/pod", False),
    ],
)
def test_annotations_of_admins(key: str, stays: bool) -> None:
    assert admin_annotations({key: "x"}) == ({key: "x"} if stays else {})


@pytest.mark.parametrize("given", [None, "x", [], {"a": 1}, {1: "a"}], ids=str)
def test_metadata_of_the_wrong_shape_is_none(given: object) -> None:
    assert admin_labels(given) == {}
    assert admin_annotations(given) == {}


# --- affinity --------------------------------------------------------------------------------------------------------

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def on(*terms: tuple[str, ...]) -> Document:
    """Nodes that have all labels of one of `terms`."""
    expressions = [{"matchExpressions": [{"key": key, "operator": "Exists"} for key in term]} for term in terms]
    return {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": expressions}}}


def admits(affinity: Document, labels: frozenset[str]) -> bool:
    """Whether a node with `labels` is allowed, by the rules of Kubernetes."""
    required = affinity.get("nodeAffinity", {}).get(REQUIRED)
    return required is None or any(
        term and all(each["key"] in labels for each in term["matchExpressions"])
        for term in required["nodeSelectorTerms"]
    )


AFFINITIES: tuple[Document, ...] = (
    {},
    on(("a",)),
    on(("a", "b")),
    on(("a",), ("b",)),
    on(("b",), ("c",)),
    on(("a", "c"), ("b",)),
)
NODES = [frozenset(labels) for size in range(4) for labels in itertools.combinations("abc", size)]


@pytest.mark.parametrize("one", AFFINITIES, ids=str)
@pytest.mark.parametrize("other", AFFINITIES, ids=str)
def test_two_affinities_allow_what_both_allow(one: Document, other: Document) -> None:
    joined = both(one, other)
    for labels in NODES:
        assert admits(joined, labels) is (admits(one, labels) and admits(other, labels)), labels


@pytest.mark.parametrize("nothing", [{}, {"matchExpressions": []}, {"matchFields": []}], ids=str)
def test_a_term_that_matches_nothing_widens_nothing(nothing: Document) -> None:
    one = on(("a",))
    one["nodeAffinity"][REQUIRED]["nodeSelectorTerms"].append(nothing)
    assert both(one, on(("b",))) == on(("a", "b"))


def test_preferences_and_pods_add_up() -> None:
    one = {"nodeAffinity": {PREFERRED: [{"weight": 1}]}, "podAffinity": {REQUIRED: [{"topologyKey": "a"}]}}
    other = {
        "nodeAffinity": {PREFERRED: [{"weight": 2}]},
        "podAffinity": {REQUIRED: [{"topologyKey": "b"}]},
        "podAntiAffinity": {PREFERRED: [{"weight": 3}]},
    }
    assert both(one, other) == {
        "nodeAffinity": {PREFERRED: [{"weight": 1}, {"weight": 2}]},
        "podAffinity": {REQUIRED: [{"topologyKey": "a"}, {"topologyKey": "b"}]},
        "podAntiAffinity": {PREFERRED: [{"weight": 3}]},
    }
