"""Which machines of a cluster may run a pod, as the Kubernetes scheduler decides it from labels and taints.

The rules are those of `PodSpec.nodeSelector`, `requiredDuringSchedulingIgnoredDuringExecution` of `nodeAffinity`
(https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/ and
https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#NodeSelectorTerm) and of taints and
tolerations (https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/). Not decided here: what
depends on other pods (pod affinity, spread), preferences, and the room that is left, which is the policy's business.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from aihub.facts import Machine, Taint
from aihub.profiles import Placement

__all__ = ["can_hold", "could_hold", "open_to_all", "tolerates"]

_KEEPING_OFF = frozenset({"NoSchedule", "NoExecute"})

_CONDITIONS = ("node.kubernetes.io/", "node.cloudprovider.kubernetes.io/")
"""Domains of the taints that Kubernetes itself sets and takes away again: not ready, cordoned, short of disk."""

_MEMORY_PRESSURE = {"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"}
"""What Kubernetes lets every pod tolerate that asks for CPU or memory."""


def can_hold(machine: Machine, placement: Placement) -> bool:
    """Whether the scheduler may put a pod of `placement` on `machine` now: labels right, taints tolerated."""
    return _labels_match(machine, placement) and all(
        tolerates((*placement.tolerations, _MEMORY_PRESSURE), taint) for taint in machine.taints
    )


def could_hold(machine: Machine, placement: Placement) -> bool:
    """As `can_hold`, whatever the condition of the machine: one that is cordoned or not ready can come back."""
    return _labels_match(machine, placement) and all(
        tolerates(placement.tolerations, taint) for taint in machine.taints if not taint.key.startswith(_CONDITIONS)
    )


def open_to_all(machines: Iterable[Machine], common: Placement) -> tuple[Machine, ...]:
    """The machines as every pod meets them that also has `common`, the placement that a hub gives all its servers.

    Machines that its node selector or affinity excludes are left out; taints that it tolerates are taken off the rest.
    """
    return tuple(
        replace(machine, taints=tuple(taint for taint in machine.taints if not tolerates(common.tolerations, taint)))
        for machine in machines
        if _labels_match(machine, common)
    )


def tolerates(tolerations: Iterable[Mapping[str, Any]], taint: Taint) -> bool:
    """Whether `taint` keeps no pod off that has `tolerations`: one of them matches it, or it only advises."""
    return taint.effect not in _KEEPING_OFF or any(_matches(each, taint) for each in tolerations)


def _matches(toleration: Mapping[str, Any], taint: Taint) -> bool:
    """The rules of `Toleration.ToleratesTaint` in k8s.io/api/core/v1; what is absent or empty matches everything."""
    if toleration.get("effect") and toleration["effect"] != taint.effect:
        return False
    if toleration.get("key") and toleration["key"] != taint.key:
        return False
    match toleration.get("operator") or "Equal":
        case "Equal":
            return bool((toleration.get("value") or "") == taint.value)
        case "Exists":
            return True
        case _:
            return False


def _labels_match(machine: Machine, placement: Placement) -> bool:
    selected = all(machine.labels.get(key) == value for key, value in placement.node_selector.items())
    required = (placement.affinity.get("nodeAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return selected
    return selected and any(_term_matches(term, machine) for term in required.get("nodeSelectorTerms") or ())


def _term_matches(term: Mapping[str, Any], machine: Machine) -> bool:
    """Whether all of a NodeSelectorTerm holds; an empty one matches no machine."""
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    names = {"metadata.name": machine.name}
    return _all_match(expressions, machine.labels) and _all_match(fields, names)


def _all_match(requirements: Sequence[Mapping[str, Any]], values: Mapping[str, str]) -> bool:
    return all(_requirement_matches(each, values) for each in requirements)


def _requirement_matches(requirement: Mapping[str, Any], values: Mapping[str, str]) -> bool:
    """A NodeSelectorRequirement by the rules of `Requirement.Matches` in k8s.io/apimachinery/pkg/labels."""
    own, wanted = values.get(str(requirement.get("key"))), requirement.get("values") or ()
    match requirement.get("operator"):
        case "In":
            return own is not None and own in wanted
        case "NotIn":
            return own is None or own not in wanted
        case "Exists":
            return own is not None
        case "DoesNotExist":
            return own is None
        case "Gt":
            return _compared(own, wanted) > 0
        case "Lt":
            return _compared(own, wanted) < 0
        case _:
            return False


def _compared(own: str | None, wanted: Sequence[str]) -> int:
    """1 where the number `own` is above the wanted one, -1 below; 0 where equal, or where one of them is no number."""
    if own is None or len(wanted) != 1:
        return 0
    one, other = _number(own), _number(wanted[0])
    return 0 if one is None or other is None else (one > other) - (one < other)


def _number(text: str) -> int | None:
    """A number as Go's `strconv.ParseInt(text, 10, 64)` reads it."""
    if not re.fullmatch(r"[+-]?[0-9]{1,63}", text):  # a label has no more characters
        return None
    number = int(text)
    return number if -(2**63) <= number < 2**63 else None
