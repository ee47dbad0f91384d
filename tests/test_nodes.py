from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aihub.facts import Machine, Taint
from aihub.nodes import machines, request_of
from aihub.resources import Resources

Document = dict[str, Any]
GIB = 1024**3
TOTAL = Resources({"cpu": Decimal("7.91"), "memory": 31 * GIB, "nvidia.com/gpu": 4})


def node(name: str = "a", *, ready: str = "True", taints: list[Document] | None = None, **spec: Any) -> Document:
    allocatable = {"cpu": "7910m", "memory": "31Gi", "nvidia.com/gpu": "4"}
    others = {"pods": "110", "ephemeral-storage": "90Gi", "hugepages-2Mi": "1Gi", "attachable-volumes-x/y": "39"}
    return {
        "metadata": {"name": name, "labels": {"zone": "a"}},
        "spec": {"taints": taints or [], **spec},
        "status": {
            "allocatable": {**allocatable, **others},
            "conditions": [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": ready}],
        },
    }


def container(cpu: str = "0", gpu: str = "0", **more: Any) -> Document:
    return {"resources": {"requests": {"cpu": cpu, "nvidia.com/gpu": gpu}}, **more}


def pod(*containers: Document, on: str | None = "a", phase: str = "Running", **spec: Any) -> Document:
    placed = {"nodeName": on} if on else {}
    return {"spec": {"containers": list(containers), **placed, **spec}, "status": {"phase": phase}}


def the(*given_: Machine) -> Machine:
    (machine,) = given_
    return machine


def test_a_node_is_a_machine() -> None:
    machine = the(*machines([node(taints=[{"key": "gpu", "value": "yes", "effect": "NoSchedule"}])], []))
    assert machine == Machine("a", TOTAL, TOTAL, {"zone": "a"}, (Taint("gpu", "yes", "NoSchedule"),))


FREE = [
    pytest.param([pod(container("1"))], "6.91", id="running"),
    pytest.param([pod(container("1"), container("500m"))], "6.41", id="two containers"),
    pytest.param([pod(container("1")), pod(container("2"))], "4.91", id="two pods"),
    pytest.param([pod(container("1"), phase="Pending")], "6.91", id="starting"),
    pytest.param([pod(container("1"), phase="Unknown")], "6.91", id="unknown"),
    pytest.param([pod(container("1"), phase="Succeeded")], "7.91", id="succeeded"),
    pytest.param([pod(container("1"), phase="Failed")], "7.91", id="failed"),
    pytest.param([pod(container("1"), on=None)], "7.91", id="not placed yet"),
    pytest.param([pod(container("1"), on="b")], "7.91", id="elsewhere"),
    pytest.param([pod(container("100"))], "0", id="more than there is"),
    pytest.param([{"spec": None, "status": []}, {}], "7.91", id="nothing readable"),
]


@pytest.mark.parametrize(("pods", "cpu"), FREE)
def test_free_is_what_pods_leave(pods: list[Document], cpu: str) -> None:
    machine = the(*machines([node()], pods))
    assert machine.free["cpu"] == Decimal(cpu)
    assert machine.total == TOTAL


def test_accelerators_are_counted() -> None:
    assert the(*machines([node()], [pod(container("1", "3"))])).free["nvidia.com/gpu"] == 1


CONDITION = {"effect": "NoSchedule"}
UNAVAILABLE = [
    pytest.param(node(ready="False"), id="not ready"),
    pytest.param(node(ready="Unknown"), id="not heard of"),
    pytest.param(node(unschedulable=True), id="cordoned"),
    pytest.param(node(taints=[{"key": "node.kubernetes.io/unschedulable", **CONDITION}]), id="cordoned, by its taint"),
    pytest.param(node(taints=[{"key": "node.kubernetes.io/disk-pressure", **CONDITION}]), id="disk pressure"),
    pytest.param({**node(), "status": {"allocatable": node()["status"]["allocatable"]}}, id="no conditions"),
]


@pytest.mark.parametrize("document", UNAVAILABLE)
def test_a_node_that_takes_no_pods_now_has_nothing_free(document: Document) -> None:
    machine = the(*machines([document], []))
    assert machine.free == Resources()
    assert machine.total == TOTAL, "it may come back: nothing that fits it never fits"
    assert machine.taints == ()


def test_a_preference_takes_nothing_away() -> None:
    taint = {"key": "node.kubernetes.io/slow", "effect": "PreferNoSchedule"}
    assert the(*machines([node(taints=[taint])], [])).free == TOTAL


def test_machines_are_in_the_order_of_their_names() -> None:
    assert [machine.name for machine in machines([node("b"), node("a"), node("c")], [])] == ["a", "b", "c"]


# The examples of https://kubernetes.io/docs/concepts/workloads/pods/init-containers/#resource-sharing-within-containers
SIDECAR = {"restartPolicy": "Always"}
REQUESTS = [
    pytest.param(pod(container("1"), initContainers=[container("3")]), "3", id="init above"),
    pytest.param(pod(container("1"), container("3"), initContainers=[container("3")]), "4", id="containers above"),
    pytest.param(pod(container("1"), initContainers=[container("2"), container("3")]), "3", id="init one by one"),
    pytest.param(pod(container("1"), initContainers=[container("1", **SIDECAR)]), "2", id="sidecar"),
    pytest.param(
        pod(container("1"), initContainers=[container("1", **SIDECAR), container("3")]), "4", id="init after sidecar"
    ),
    pytest.param(
        pod(container("1"), initContainers=[container("3"), container("1", **SIDECAR)]), "3", id="init before sidecar"
    ),
    pytest.param(pod(container("1"), overhead={"cpu": "250m"}), "1.25", id="overhead"),
    pytest.param(
        pod(container("1"), initContainers=[container("3")], resources={"requests": {"cpu": "2"}}), "2", id="whole pod"
    ),
    pytest.param(pod({}), "0", id="nothing asked"),
    pytest.param(pod({"resources": {"requests": {"cpu": "nonsense"}}}), "0", id="unreadable"),
    pytest.param(pod({"resources": {"requests": {"cpu": 2}}}), "2", id="a number"),
]


@pytest.mark.parametrize(("document", "cpu"), REQUESTS)
def test_what_the_scheduler_counts(document: Document, cpu: str) -> None:
    assert request_of(document)["cpu"] == Decimal(cpu)


def test_a_whole_pods_request_leaves_accelerators_to_the_containers() -> None:
    document = pod(container("1", "2"), resources={"requests": {"cpu": "4"}})
    assert request_of(document) == Resources({"cpu": 4, "nvidia.com/gpu": 2})


junk: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                ("metadata", "spec", "status", "containers", "resources", "requests", "taints", "labels", "name")
            ),
            inner,
            max_size=3,
        )
    ),
)


@given(st.lists(st.dictionaries(st.sampled_from(("metadata", "spec", "status")), junk), max_size=2), st.data())
def test_odd_objects_never_raise(nodes: list[Document], data: st.DataObject) -> None:
    pods = data.draw(st.lists(st.dictionaries(st.sampled_from(("spec", "status")), junk), max_size=2))
    for machine in machines(nodes, pods):
        assert all(amount >= 0 for amount in machine.free.values())
