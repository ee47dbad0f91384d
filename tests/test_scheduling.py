"""Where a pod may run, by the tables of Kubernetes, and against a second reading of its documentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aihub.facts import Machine, Taint
from aihub.profiles import Placement
from aihub.resources import Resources
from aihub.scheduling import can_hold, could_hold, open_to_all, tolerates
from tests.oracle import oracle_could_hold, oracle_holds

GPU = Taint("nvidia.com/gpu", "present", "NoSchedule")


def machine(*taints: Taint, name: str = "node-1", **labels: str) -> Machine:
    return Machine(name, Resources(), Resources(), labels, taints)


def requirement(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"key": key, "operator": operator, **({"values": list(values)} if values else {})}


def required(*terms: Mapping[str, Any]) -> Placement:
    affinity = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}}
    return Placement(affinity={"nodeAffinity": affinity})


def expression(key: str, operator: str, *values: str) -> Placement:
    return required({"matchExpressions": [requirement(key, operator, *values)]})


# --- labels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selector", "holds"),
    [
        pytest.param({}, True, id="nothing asked"),
        pytest.param({"zone": "a"}, True, id="right value"),
        pytest.param({"zone": "b"}, False, id="wrong value"),
        pytest.param({"disk": "ssd"}, False, id="no such label"),
        pytest.param({"disk": ""}, False, id="no such label, empty value"),
        pytest.param({"spot": ""}, True, id="empty value"),
        pytest.param({"zone": "a", "spot": ""}, True, id="both right"),
        pytest.param({"zone": "a", "spot": "x"}, False, id="one wrong"),
    ],
)
def test_every_label_of_the_node_selector_is_there(selector: dict[str, str], holds: bool) -> None:
    assert can_hold(machine(zone="a", spot=""), Placement(node_selector=selector)) is holds


@pytest.mark.parametrize(
    ("operator", "values", "label", "holds"),
    [
        pytest.param("In", ("a", "b"), "b", True, id="in"),
        pytest.param("In", ("a", "b"), "c", False, id="not in"),
        pytest.param("In", ("a",), None, False, id="in, no label"),
        pytest.param("In", ("",), "", True, id="in, empty value"),
        pytest.param("NotIn", ("a",), "b", True, id="NotIn, another value"),
        pytest.param("NotIn", ("a", "b"), "b", False, id="NotIn, that value"),
        pytest.param("NotIn", ("a",), None, True, id="NotIn, no label"),
        pytest.param("Exists", (), "", True, id="Exists, empty value"),
        pytest.param("Exists", (), None, False, id="Exists, no label"),
        pytest.param("DoesNotExist", (), None, True, id="DoesNotExist, no label"),
        pytest.param("DoesNotExist", (), "", False, id="DoesNotExist, empty value"),
        pytest.param("Gt", ("3",), "4", True, id="Gt, above"),
        pytest.param("Gt", ("3",), "3", False, id="Gt, equal"),
        pytest.param("Gt", ("9",), "10", True, id="Gt, as numbers"),
        pytest.param("Gt", ("3",), None, False, id="Gt, no label"),
        pytest.param("Gt", ("3",), "four", False, id="Gt, no number"),
        pytest.param("Gt", ("3",), "4.5", False, id="Gt, no whole number"),
        pytest.param("Gt", ("3",), "٤", False, id="Gt, a digit of another script"),
        pytest.param("Gt", ("three",), "4", False, id="Gt than no number"),
        pytest.param("Gt", ("-5",), "-4", True, id="Gt, below zero"),
        pytest.param("Gt", ("3",), "9223372036854775807", True, id="Gt, the largest of 64 bits"),
        pytest.param("Gt", ("3",), "9223372036854775808", False, id="Gt, beyond 64 bits"),
        pytest.param("Gt", ("3",), "1" * 64, False, id="Gt, longer than a label"),
        pytest.param("Gt", ("1", "2"), "4", False, id="Gt than two numbers"),
        pytest.param("Lt", ("3",), "2", True, id="Lt, below"),
        pytest.param("Lt", ("3",), "3", False, id="Lt, equal"),
        pytest.param("Lt", ("3",), None, False, id="Lt, no label"),
        pytest.param("Lt", ("-9223372036854775808",), "-9223372036854775809", False, id="Lt, beyond 64 bits"),
        pytest.param("Lt", ("0",), "-9223372036854775808", True, id="Lt, the smallest of 64 bits"),
        pytest.param("Near", ("3",), "3", False, id="no such operator"),
    ],
)
def test_operators_of_required_node_affinity(
    operator: str, values: tuple[str, ...], label: str | None, holds: bool
) -> None:
    node = machine() if label is None else machine(key=label)
    assert can_hold(node, expression("key", operator, *values)) is holds


ZONE_A = requirement("zone", "In", "a")
HAS_GPU = requirement("gpu", "Exists")
NODE_1 = requirement("metadata.name", "In", "node-1")
NOT_NODE_1 = requirement("metadata.name", "NotIn", "node-1")


@pytest.mark.parametrize(
    ("terms", "holds"),
    [
        pytest.param(({"matchExpressions": [ZONE_A, HAS_GPU]},), False, id="all of a term"),
        pytest.param(({"matchExpressions": [HAS_GPU]}, {"matchExpressions": [ZONE_A]}), True, id="one term of two"),
        pytest.param(({"matchExpressions": [HAS_GPU]}, {}), False, id="an empty term is no machine's"),
        pytest.param(({},), False, id="nothing but an empty term"),
        pytest.param(({"matchExpressions": [], "matchFields": []},), False, id="a term of empty lists"),
        pytest.param((), False, id="no term"),
        pytest.param(({"matchFields": [NODE_1]},), True, id="its name"),
        pytest.param(({"matchFields": [NOT_NODE_1]},), False, id="not its name"),
        pytest.param(({"matchFields": [NODE_1], "matchExpressions": [HAS_GPU]},), False, id="fields and labels"),
        pytest.param(({"matchFields": [NODE_1], "matchExpressions": [ZONE_A]},), True, id="fields and labels, both"),
        pytest.param(({"matchFields": [NODE_1, NOT_NODE_1]},), False, id="two fields"),
    ],
)
def test_terms_are_alternatives_of_conditions(terms: tuple[Mapping[str, Any], ...], holds: bool) -> None:
    assert can_hold(machine(zone="a"), required(*terms)) is holds


def test_selector_and_affinity_hold_both() -> None:
    both = Placement(node_selector={"zone": "a"}, affinity=expression("gpu", "Exists").affinity)
    assert can_hold(machine(zone="a", gpu=""), both)
    assert not can_hold(machine(zone="b", gpu=""), both)
    assert not can_hold(machine(zone="a"), both)


@pytest.mark.parametrize(
    "affinity",
    [
        pytest.param({"nodeAffinity": None}, id="no node affinity"),
        pytest.param({"nodeAffinity": {}}, id="empty"),
        pytest.param(
            {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": {}}]}},
            id="preferred",
        ),
        pytest.param(
            {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone"}]}},
            id="of pods",
        ),
    ],
)
def test_what_does_not_depend_on_the_machine_excludes_none(affinity: dict[str, Any]) -> None:
    assert can_hold(machine(), Placement(affinity=affinity))


# --- taints ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("toleration", "holds"),
    [
        pytest.param({"key": "nvidia.com/gpu", "operator": "Exists"}, True, id="key exists"),
        pytest.param({"key": "nvidia.com/gpu", "operator": "Equal", "value": "present"}, True, id="equal"),
        pytest.param({"key": "nvidia.com/gpu", "value": "present"}, True, id="equal is what is meant"),
        pytest.param({"key": "nvidia.com/gpu", "value": "absent"}, False, id="another value"),
        pytest.param({"key": "nvidia.com/gpu"}, False, id="no value is the empty one"),
        pytest.param({"key": "amd.com/gpu", "operator": "Exists"}, False, id="another key"),
        pytest.param({"operator": "Exists"}, True, id="everything"),
        pytest.param({"key": "", "operator": "Exists", "effect": ""}, True, id="everything, in empty texts"),
        pytest.param({"operator": "Exists", "effect": "NoSchedule"}, True, id="its effect"),
        pytest.param({"operator": "Exists", "effect": "NoExecute"}, False, id="another effect"),
        pytest.param(
            {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 5},
            True,
            id="for a time",
        ),
        pytest.param({"key": "nvidia.com/gpu", "operator": "Like"}, False, id="no such operator"),
    ],
)
def test_a_toleration_matches_a_taint(toleration: dict[str, Any], holds: bool) -> None:
    assert tolerates((toleration,), GPU) is holds
    assert can_hold(machine(GPU), Placement(tolerations=(toleration,))) is holds


def test_a_toleration_without_a_value_is_for_a_taint_without_one() -> None:
    assert tolerates(({"key": "spot"},), Taint("spot"))
    assert tolerates(({"key": "spot", "operator": "Equal", "value": ""},), Taint("spot"))


@pytest.mark.parametrize(
    ("effect", "holds"),
    [("NoSchedule", False), ("NoExecute", False), ("PreferNoSchedule", True)],
)
def test_some_taints_keep_off_and_some_advise(effect: str, holds: bool) -> None:
    assert can_hold(machine(Taint("key", "", effect)), Placement()) is holds


def test_every_taint_is_tolerated_by_some_toleration() -> None:
    tolerations = ({"key": "nvidia.com/gpu", "operator": "Exists"}, {"key": "spot", "operator": "Exists"})
    both = machine(GPU, Taint("spot"))
    assert can_hold(both, Placement(tolerations=tolerations))
    assert not can_hold(both, Placement(tolerations=tolerations[:1]))


@pytest.mark.parametrize(
    ("key", "now", "ever"),
    [
        pytest.param("node.kubernetes.io/unschedulable", False, True, id="cordoned"),
        pytest.param("node.kubernetes.io/not-ready", False, True, id="not ready"),
        pytest.param("node.cloudprovider.kubernetes.io/uninitialized", False, True, id="new"),
        pytest.param("node.kubernetes.io/memory-pressure", True, True, id="short of memory, which pods tolerate"),
        pytest.param("node-role.kubernetes.io/control-plane", False, False, id="a control plane"),
        pytest.param("node.kubernetes.io", False, False, id="a key without that domain"),
    ],
)
def test_a_condition_passes_and_a_taint_stays(key: str, now: bool, ever: bool) -> None:
    node = machine(Taint(key))
    assert (can_hold(node, Placement()), could_hold(node, Placement())) == (now, ever)


def test_a_machine_short_of_memory_that_evicts_takes_no_pod() -> None:
    assert not can_hold(machine(Taint("node.kubernetes.io/memory-pressure", effect="NoExecute")), Placement())


def test_labels_count_whatever_the_condition() -> None:
    assert not could_hold(machine(), Placement(node_selector={"zone": "a"}))
    assert could_hold(machine(zone="a"), Placement(node_selector={"zone": "a"}))


def test_machines_as_all_servers_of_a_hub_meet_them() -> None:
    common = Placement(node_selector={"pool": "users"}, tolerations=({"key": "hub", "operator": "Exists"},))
    mine, other = machine(Taint("hub"), GPU, pool="users"), machine(name="node-2", pool="core")
    assert open_to_all([mine, other], common) == (machine(GPU, pool="users"),)


# --- against a second reading ----------------------------------------------------------------------------------------

KEYS, VALUES = ("zone", "gen", "node.kubernetes.io/x"), ("", "a", "1", "2", "10", "-3", "x1")
EFFECTS = ("NoSchedule", "NoExecute", "PreferNoSchedule")

_requirements = st.fixed_dictionaries(
    {
        "key": st.sampled_from(KEYS),
        "operator": st.sampled_from(("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")),
        "values": st.lists(st.sampled_from(VALUES), max_size=2),
    }
)
_fields = st.fixed_dictionaries(
    {
        "key": st.just("metadata.name"),
        "operator": st.sampled_from(("In", "NotIn")),
        "values": st.lists(st.sampled_from(("node-1", "node-2")), min_size=1, max_size=1),
    }
)
_terms = st.fixed_dictionaries(
    {}, optional={"matchExpressions": st.lists(_requirements, max_size=2), "matchFields": st.lists(_fields, max_size=1)}
)
_tolerations = st.fixed_dictionaries(
    {},
    optional={
        "key": st.sampled_from(KEYS),
        "operator": st.sampled_from(("Exists", "Equal")),
        "value": st.sampled_from(VALUES[:3]),
        "effect": st.sampled_from(EFFECTS),
    },
)
_placements = st.builds(
    lambda selector, tolerations, terms: Placement(
        selector, tuple(tolerations), required(*terms).affinity if terms is not None else {}
    ),
    st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES), max_size=1),
    st.lists(_tolerations, max_size=2),
    st.none() | st.lists(_terms, max_size=2),
)
_machines = st.builds(
    lambda name, labels, taints: Machine(name, Resources(), Resources(), labels, tuple(taints)),
    st.sampled_from(("node-1", "node-2")),
    st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES), max_size=3),
    st.lists(
        st.builds(Taint, st.sampled_from(KEYS), st.sampled_from(VALUES[:3]), st.sampled_from(EFFECTS)), max_size=2
    ),
)


@given(_machines, _placements)
def test_both_readings_of_the_documentation_agree(node: Machine, placement: Placement) -> None:
    assert can_hold(node, placement) == oracle_holds(node, placement)
    assert could_hold(node, placement) == oracle_could_hold(node, placement)


@given(_machines, _placements)
def test_what_holds_now_could_hold_and_more_tolerations_never_exclude(node: Machine, placement: Placement) -> None:
    assert not can_hold(node, placement) or could_hold(node, placement)
    tolerant = Placement(placement.node_selector, ({"operator": "Exists"},), placement.affinity)
    assert can_hold(node, tolerant) == could_hold(node, tolerant)
    assert not can_hold(node, placement) or can_hold(node, tolerant)
