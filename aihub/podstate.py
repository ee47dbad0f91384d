"""What a pod's status means: how far its start is, what is in its way, and how it ended.

Read from phases, conditions and container states; of events only the fixed word in `reason` counts, never their text
(upstream.md 20). Pods are plain JSON dicts as the API server gives them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from aihub.errors import Parameter, Reason, Refusal
from aihub.resources import MEMORY, format_amount, parse_quantity

__all__ = [
    "STAGES",
    "Ended",
    "Obstacle",
    "being_deleted",
    "ended",
    "is_gated",
    "never_ran",
    "obstacle",
    "stage_of",
    "uid_of",
]

Document = Mapping[str, Any]

STAGES = ("queue", "machine", "storage", "image", "start", "ready")
"""The stages of a start: queued, waiting for a machine, preparing storage, getting the image, starting, ready."""

MAIN = "notebook"
"""The container that KubeSpawner names so: the server. Others stand beside it."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What keeps a start from going on, and for how many seconds it may do so: some of these heal by themselves.

    `machine` is true where a new machine would help.
    """

    refusal: Refusal
    patience: float
    machine: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """How a server ended: the reason, the last lines that it wrote, and its exit status."""

    refusal: Refusal
    lines: tuple[str, ...] = ()
    status: int = 1


def uid_of(pod: Document) -> str:
    """The uid of an object."""
    uid: str = pod["metadata"].get("uid", "")
    return uid


def being_deleted(pod: Document) -> bool:
    """Whether somebody has asked for its deletion."""
    return bool(pod["metadata"].get("deletionTimestamp"))


def never_ran(pod: Document) -> bool:
    """Whether its kubelet says that no container of it has run yet."""
    states = list(_states(pod))
    return bool(states) and all("waiting" in state for state in states) and _status(pod).get("reason") != "NodeLost"


def stage_of(pod: Document, events: Collection[Document] = ()) -> str:
    """The stage that the pod's start is in. `events` are those of this very pod.

    The kubelet mounts volumes before it makes the sandbox, and pulls images after it
    (https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-has-network).
    """
    if _is_true(pod, "Ready"):
        return "ready"
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") != "True":
        return "machine" if scheduled and not is_gated(pod) else "queue"
    if _state(pod, MAIN).get("running"):
        return "start"
    return "image" if _has_sandbox(pod, events) else "storage"


def is_gated(pod: Document) -> bool:
    """Whether something else, a queue of jobs for one, holds the pod back from the scheduler."""
    return bool(_condition(pod, "PodScheduled").get("reason") == "SchedulingGated")


def _has_sandbox(pod: Document, events: Collection[Document]) -> bool:
    """Kubelets before 1.36 write the condition when the image is there (upstream.md 48): their events say more."""
    if _is_true(pod, "PodReadyToStartContainers") or _status(pod).get("podIP"):
        return True
    waits = any((state.get("waiting") or {}).get("reason") in _IMAGE for state in _states(pod))
    return waits or any(event.get("reason") in ("Pulling", "Pulled") for event in events)


# --- what is in the way ----------------------------------------------------------------------------------------------

_NEVER_HEALS, _SETTLES, _HEALS, _HEALS_SLOWLY = 0.0, 5.0, 20.0, 180.0

_IMAGE = {
    "InvalidImageName": _NEVER_HEALS,
    "ErrImageNeverPull": _NEVER_HEALS,
    "ErrImagePull": _HEALS,
    "ImagePullBackOff": _HEALS,
    "ImageInspectError": _HEALS,
    "RegistryUnavailable": _HEALS,
    "SignatureValidationFailed": _HEALS,
}
_CONTAINER = {
    "CreateContainerConfigError": _SETTLES,
    "PreCreateHookError": _SETTLES,
    "CreateContainerError": _SETTLES,
    "PreStartHookError": _SETTLES,
    "RunContainerError": _SETTLES,
    "PostStartHookError": _SETTLES,
    "CrashLoopBackOff": _SETTLES,
}
_EVENTS = {
    "FailedMount": (Reason.STORAGE_UNUSABLE, _HEALS),
    "FailedMapVolume": (Reason.STORAGE_UNUSABLE, _HEALS),
    # A volume that another machine has not let go of yet comes free within minutes.
    "FailedAttachVolume": (Reason.STORAGE_UNUSABLE, _HEALS_SLOWLY),
    "FailedCreatePodSandBox": (Reason.START_FAILED, _HEALS),
}

# As the scheduler's plugin VolumeBinding writes it; in other words it would be one more reason not to find a machine.
_UNBOUND = "unbound immediate PersistentVolumeClaims"


def obstacle(pod: Document, events: Collection[Document], *, image: str, profile: str) -> Obstacle | None:
    """What keeps the start of `pod` from going on; None where nothing is known to.

    `events` are those of this very pod. `image` ("stream:tag") and `profile` are what the person chose.
    """
    if _is_true(pod, "PodScheduled"):
        return _in_container(pod, image) or _in_events(pod, events)
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("reason") != "Unschedulable":
        return None
    problem = str(scheduled.get("message", ""))
    if _UNBOUND in problem:
        # No machine helps: nobody has made the volume of a claim.
        return Obstacle(Refusal(Reason.STORAGE_UNUSABLE, {"path": "", "problem": problem}), _HEALS)
    return Obstacle(Refusal(Reason.UNSCHEDULABLE, {"profile": profile, "problem": problem}), _HEALS, machine=True)


def _in_container(pod: Document, image: str) -> Obstacle | None:
    for state in _states(pod):
        waiting = state.get("waiting") or {}
        reason, problem = waiting.get("reason", ""), str(waiting.get("message", ""))
        if reason in _IMAGE:
            parameters: dict[str, Parameter] = {"image": image, "problem": problem or reason}
            return Obstacle(Refusal(Reason.IMAGE_PULL_FAILED, parameters), _IMAGE[reason])
        if reason in _CONTAINER:
            refusal = Refusal(Reason.START_FAILED, {"lines": (problem or reason,)})
            return Obstacle(refusal, _CONTAINER[reason])
    return None


def _in_events(pod: Document, events: Collection[Document]) -> Obstacle | None:
    """What the kubelet reports before it has a sandbox; after that such an event is a thing of the past."""
    if stage_of(pod, events) != "storage":
        return None
    for event in reversed(tuple(events)):
        if event.get("reason") in _EVENTS:
            reason, patience = _EVENTS[event["reason"]]
            problem = str(event.get("message", ""))
            parameters: dict[str, Parameter] = {"lines": (problem,)}
            if reason is Reason.STORAGE_UNUSABLE:
                parameters |= {"path": "", "problem": problem}
            return Obstacle(Refusal(reason, parameters), patience)
    return None


# --- how it ended ----------------------------------------------------------------------------------------------------

# https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions
_LOST = frozenset({"DeletionByTaintManager", "DeletionByPodGC", "NodeLost", "NodeShutdown", "Shutdown", "Terminated"})


def ended(pod: Document, server: str) -> Ended | None:
    """How the server in `pod` ended; None while it runs or is on its way. `server` is the server's name."""
    disrupted, terminated = _condition(pod, "DisruptionTarget"), _terminated(pod)
    # With containers of admins beside the server a pod goes on when the server has ended.
    over = _status(pod).get("phase") in ("Failed", "Succeeded") or "terminated" in _state(pod, MAIN)
    if not over and not (being_deleted(pod) and disrupted.get("status") == "True"):
        return None
    status = int(terminated.get("exitCode", 1))
    said = terminated.get("message") or _status(pod).get("message") or ""
    lines = tuple(str(said).splitlines()[-20:])
    return Ended(_cause(pod, server, disrupted, terminated, status), lines, status)


def _cause(pod: Document, server: str, disrupted: Document, terminated: Document, status: int) -> Refusal:
    said = _status(pod).get("reason", "")
    why = disrupted.get("reason", "") if disrupted.get("status") == "True" else ""
    if terminated.get("reason") == "OOMKilled":
        return Refusal(Reason.OUT_OF_MEMORY, {"server": server, "limit": _memory_limit(pod)})
    if _LOST & {said, why}:
        return Refusal(Reason.NODE_LOST, {"server": server, "node": pod["spec"].get("nodeName", "")})
    if why or said == "Evicted":
        problem = _status(pod).get("message") or disrupted.get("message") or why
        return Refusal(Reason.EVICTED, {"server": server, "problem": str(problem)})
    return Refusal(Reason.SERVER_DIED, {"server": server, "status": status})


def _memory_limit(pod: Document) -> str:
    containers = (each for each in pod["spec"].get("containers", ()) if each.get("name") == MAIN)
    container: Document = next(containers, {})
    limit = container.get("resources", {}).get("limits", {}).get("memory")
    return format_amount(MEMORY, parse_quantity(limit)) if limit else ""


def _terminated(pod: Document) -> Document:
    """The end of the server, or of a container before it that failed, so that the server never began."""
    terminated: Document = _state(pod, MAIN).get("terminated") or {}
    failed = (state["terminated"] for state in _states(pod) if (state.get("terminated") or {}).get("exitCode"))
    return terminated or next(failed, {})


# --- reading a status ------------------------------------------------------------------------------------------------


def _status(pod: Document) -> Document:
    status: Document = pod.get("status") or {}
    return status


def _condition(pod: Document, kind: str) -> Document:
    conditions = _status(pod).get("conditions") or ()
    return next((each for each in conditions if each.get("type") == kind), {})


def _is_true(pod: Document, kind: str) -> bool:
    return bool(_condition(pod, kind).get("status") == "True")


def _states(pod: Document) -> Iterator[Document]:
    for kind in ("initContainerStatuses", "containerStatuses"):
        for each in _status(pod).get(kind) or ():
            yield each.get("state") or {}


def _state(pod: Document, name: str) -> Document:
    statuses = _status(pod).get("containerStatuses") or ()
    return next((each.get("state") or {} for each in statuses if each.get("name") == name), {})
