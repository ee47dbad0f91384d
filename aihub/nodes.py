"""What the machines of a cluster have, and what of it is free: nodes and pods as facts for the policy.

Only knowledge goes in and out; both lists are plain JSON objects of the Kubernetes API.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import reduce
from types import MappingProxyType
from typing import Any

from aihub.errors import QuantityError
from aihub.facts import Machine, Taint
from aihub.resources import CPU, MEMORY, Resources, is_accelerator, parse_quantity

__all__ = ["machines", "request_of"]

_CONDITIONS = "node.kubernetes.io/"
_FINISHED = frozenset({"Failed", "Succeeded"})
_NOT_COUNTED = ("attachable-volumes-", "hugepages-")


def machines(nodes: Iterable[Mapping[str, Any]], pods: Iterable[Mapping[str, Any]]) -> tuple[Machine, ...]:
    """The nodes as machines, in the order of their names: cpu in cores, memory in bytes, accelerators in pieces.

    Total is what a node offers to pods (`allocatable`), free what the `pods` on it that have not finished leave. A
    node that is not ready or takes no new pods now (cordoned, or with a taint `node.kubernetes.io/…`) has its total
    and nothing free: it may come back, so what fits only there is not told never to fit. Those passing taints are left
    out, all others are the machine's.

    Where the hub may list nodes but not the pods of other namespaces, `pods` are its own: free is then too high by
    what others run, and the scheduler has the last word.
    """
    used: dict[str, Resources] = {}
    for pod in pods:
        name = _part(pod, "spec").get("nodeName")
        if isinstance(name, str) and _part(pod, "status").get("phase") not in _FINISHED:
            used[name] = used.get(name, Resources()) + request_of(pod)
    found = (_machine(node, used) for node in nodes)
    return tuple(sorted(found, key=lambda machine: machine.name))


def _machine(node: Mapping[str, Any], used: Mapping[str, Resources]) -> Machine:
    metadata, spec, status = (_part(node, part) for part in ("metadata", "spec", "status"))
    name = str(metadata.get("name", ""))
    taints = [
        Taint(str(each.get("key", "")), str(each.get("value") or ""), str(each.get("effect", "")))
        for each in _listed(spec, "taints")
    ]
    total = _amounts(_part(status, "allocatable"))
    takes_pods = _is_ready(status) and not spec.get("unschedulable") and not any(map(_turns_away, taints))
    return Machine(
        name,
        total,
        _not_negative(total - used.get(name, Resources()), total) if takes_pods else Resources(),
        MappingProxyType({key: str(value) for key, value in _part(metadata, "labels").items()}),
        tuple(taint for taint in taints if not taint.key.startswith(_CONDITIONS)),
    )


def _is_ready(status: Mapping[str, Any]) -> bool:
    return any(each.get("type") == "Ready" and each.get("status") == "True" for each in _listed(status, "conditions"))


def _turns_away(taint: Taint) -> bool:
    return taint.key.startswith(_CONDITIONS) and taint.effect != "PreferNoSchedule"


def _not_negative(free: Resources, total: Resources) -> Resources:
    return Resources({key: max(free[key], Decimal(0)) for key in total})


def request_of(pod: Mapping[str, Any]) -> Resources:
    """What the scheduler counts for a pod.

    The rule is that of Kubernetes (https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/): the
    containers and sidecars together, or an init container with the sidecars started before it where that is more, and
    the overhead of the runtime class. A request of the whole pod replaces what its containers add up to.
    """
    spec = _part(pod, "spec")
    running = [_request(each) for each in _listed(spec, "containers")]
    sidecars, peak = Resources(), Resources()
    for container in _listed(spec, "initContainers"):
        if container.get("restartPolicy") == "Always":
            sidecars += _request(container)
            peak = _larger(peak, sidecars)
        else:
            peak = _larger(peak, sidecars + _request(container))
    counted = _larger(reduce(Resources.__add__, running, sidecars), peak)
    whole = _request(spec)
    return Resources({**counted, **whole}) + _amounts(_part(spec, "overhead"))


def _request(container: Mapping[str, Any]) -> Resources:
    resources = _part(container, "resources")
    # The API server writes limits into requests that are not given, for accelerators too.
    return _amounts(_part(resources, "requests"))


def _larger(one: Resources, other: Resources) -> Resources:
    return Resources({key: max(one[key], other[key]) for key in {*one, *other}})


def _amounts(texts: Mapping[str, Any]) -> Resources:
    """Cpu, memory and accelerators; an amount that cannot be read counts as none."""
    return Resources({key: _amount(text) for key, text in texts.items() if _is_counted(key)})


def _is_counted(key: str) -> bool:
    return key in (CPU, MEMORY) or (is_accelerator(key) and not key.startswith(_NOT_COUNTED))


def _amount(text: object) -> Decimal:
    try:
        return parse_quantity(str(text))
    except QuantityError:
        return Decimal(0)


def _part(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = document.get(key)
    return found if isinstance(found, Mapping) else {}


def _listed(document: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    found = document.get(key)
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list | tuple) else []
