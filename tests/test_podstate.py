"""What the status of a pod means, from documents as scheduler, kubelet and controllers write them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from aihub.errors import Reason, Refusal
from aihub.podstate import STAGES, being_deleted, ended, never_ran, obstacle, stage_of, uid_of

Document = dict[str, Any]

TIME = "2026-11-22T12:00:00Z"
PULL = (
    'failed to pull and unpack image "docker.io/library/no:1": failed to resolve reference "docker.io/library/no:1": '
    "docker.io/library/no:1: not found"
)
FITS_NOT = "0/3 nodes are available: 1 node(s) had untolerated taint {gpu: }, 2 Insufficient nvidia.com/gpu."
LOW = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 80Mi. Container notebook used 1Gi."


def pod(phase: str = "Pending", *conditions: Document, deleted: bool = False, **status: Any) -> Document:
    metadata: Document = {"name": "server-ada", "namespace": "users", "uid": "u-1", "creationTimestamp": TIME}
    if deleted:
        metadata |= {"deletionTimestamp": TIME, "deletionGracePeriodSeconds": 10}
    limits = {"resources": {"limits": {"memory": "1Gi"}, "requests": {"memory": "1Gi"}}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"nodeName": "gpu-1", "containers": [{"name": "sidecar"}, {"name": "notebook", **limits}]},
        "status": {"phase": phase, "qosClass": "Burstable", "conditions": list(conditions), **status},
    }


def condition(kind: str, status: str = "True", reason: str | None = None, message: str | None = None) -> Document:
    words = {"reason": reason, "message": message}
    said = {key: value for key, value in words.items() if value is not None}
    return {"type": kind, "status": status, "lastProbeTime": None, "lastTransitionTime": TIME, **said}


def container(name: str = "notebook", /, **state: Any) -> Document:
    return {"name": name, "image": "no:1", "imageID": "", "ready": False, "restartCount": 0, "lastState": {}, **state}


def waiting(reason: str, message: str | None = None, name: str = "notebook") -> Document:
    said = {"reason": reason} | ({"message": message} if message is not None else {})
    return container(name, state={"waiting": said}, started=False)


def running(name: str = "notebook") -> Document:
    return container(name, state={"running": {"startedAt": TIME}}, started=True)


def terminated(exit_code: int, reason: str = "Error", message: str | None = None, name: str = "notebook") -> Document:
    end = {
        "exitCode": exit_code,
        "reason": reason,
        "startedAt": TIME,
        "finishedAt": TIME,
        "containerID": "containerd://1",
    }
    return container(name, state={"terminated": end | ({"message": message} if message is not None else {})})


SCHEDULED = condition("PodScheduled")
UNSCHEDULABLE = condition("PodScheduled", "False", "Unschedulable", FITS_NOT)
NOT_READY = condition("Ready", "False", "ContainersNotReady", "containers with unready status: [notebook]")
SANDBOX = condition("PodReadyToStartContainers")
NO_SANDBOX = condition("PodReadyToStartContainers", "False")
CREATING: Document = {"containerStatuses": [waiting("ContainerCreating")]}


def event(reason: str, message: str = "") -> Document:
    return {"reason": reason, "message": message, "type": "Normal", "involvedObject": {"uid": "u-1"}}


@pytest.mark.parametrize(
    ("document", "never"),
    [
        pytest.param(pod("Pending", SCHEDULED), False, id="the kubelet has said nothing"),
        pytest.param(pod("Pending", SCHEDULED, **CREATING), True, id="its container waits"),
        pytest.param(pod("Pending", SCHEDULED, reason="NodeLost", **CREATING), False, id="its kubelet is away"),
        pytest.param(pod("Failed", SCHEDULED, containerStatuses=[terminated(1)]), False, id="it has ended"),
    ],
)
def test_nothing_ran_where_the_kubelet_says_so(document: Document, never: bool) -> None:
    assert never_ran(document) is never


# --- how far ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "events", "stage"),
    [
        pytest.param(pod(), [], "queue", id="just created, as the API server answers"),
        pytest.param(
            pod("Pending", condition("PodScheduled", "False", "SchedulingGated", "Scheduling is blocked due to gates")),
            [],
            "queue",
            id="held back by a gate",
        ),
        pytest.param(pod("Pending", UNSCHEDULABLE), [], "machine", id="fits nowhere yet"),
        pytest.param(pod("Pending", SCHEDULED), [], "storage", id="bound, the kubelet has said nothing"),
        pytest.param(
            pod("Pending", SCHEDULED, NO_SANDBOX, NOT_READY, **CREATING), [], "storage", id="the kubelet mounts"
        ),
        pytest.param(pod("Pending", SCHEDULED, SANDBOX, NOT_READY, **CREATING), [], "image", id="the sandbox is there"),
        pytest.param(
            pod("Pending", SCHEDULED, NOT_READY, podIP="10.88.0.7", **CREATING),
            [],
            "image",
            id="an address, older kubelet",
        ),
        pytest.param(
            pod("Pending", SCHEDULED, NO_SANDBOX, NOT_READY, **CREATING),
            [event("Scheduled"), event("Pulling", 'Pulling image "no:1"')],
            "image",
            id="it pulls, and the condition is late",
        ),
        pytest.param(
            pod("Pending", SCHEDULED, NO_SANDBOX, containerStatuses=[waiting("ImagePullBackOff")]),
            [],
            "image",
            id="waits to pull again",
        ),
        pytest.param(
            pod("Running", SCHEDULED, SANDBOX, NOT_READY, podIP="10.88.0.7", containerStatuses=[running()]),
            [],
            "start",
            id="runs, its probe not yet answered",
        ),
        pytest.param(
            pod(
                "Running",
                SCHEDULED,
                SANDBOX,
                NOT_READY,
                podIP="10.88.0.7",
                containerStatuses=[waiting("ContainerCreating"), running("sidecar")],
            ),
            [],
            "image",
            id="only a sidecar runs",
        ),
        pytest.param(
            pod("Running", SCHEDULED, SANDBOX, condition("Ready"), containerStatuses=[running()]),
            [],
            "ready",
            id="ready",
        ),
        pytest.param({"metadata": {"name": "x"}, "spec": {}}, [], "queue", id="without a status"),
    ],
)
def test_stage(document: Document, events: list[Document], stage: str) -> None:
    assert stage_of(document, events) == stage
    assert stage in STAGES


def test_an_object_says_which_it_is_and_whether_it_goes() -> None:
    assert uid_of(pod()) == "u-1"
    assert uid_of({"metadata": {}}) == ""
    assert not being_deleted(pod())
    assert being_deleted(pod(deleted=True))


# --- what is in the way ----------------------------------------------------------------------------------------------


def found(document: Document, events: Sequence[Document] = ()) -> tuple[Reason, float, bool] | None:
    what = obstacle(document, events, image="torch:1", profile="gpu")
    return (what.refusal.reason, what.patience, what.machine) if what else None


PULLING = pod("Pending", SCHEDULED, SANDBOX, NOT_READY, **CREATING)
MOUNTING = pod("Pending", SCHEDULED, NO_SANDBOX, NOT_READY, **CREATING)


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("InvalidImageName", Reason.IMAGE_PULL_FAILED),
        ("ErrImageNeverPull", Reason.IMAGE_PULL_FAILED),
        ("ErrImagePull", Reason.IMAGE_PULL_FAILED),
        ("ImagePullBackOff", Reason.IMAGE_PULL_FAILED),
        ("ImageInspectError", Reason.IMAGE_PULL_FAILED),
        ("RegistryUnavailable", Reason.IMAGE_PULL_FAILED),
        ("SignatureValidationFailed", Reason.IMAGE_PULL_FAILED),
        ("CreateContainerConfigError", Reason.START_FAILED),
        ("PreCreateHookError", Reason.START_FAILED),
        ("CreateContainerError", Reason.START_FAILED),
        ("PreStartHookError", Reason.START_FAILED),
        ("RunContainerError", Reason.START_FAILED),
        ("PostStartHookError", Reason.START_FAILED),
        ("CrashLoopBackOff", Reason.START_FAILED),
        ("ContainerCreating", None),
        ("PodInitializing", None),
    ],
)
@pytest.mark.parametrize("where", ["containerStatuses", "initContainerStatuses"])
def test_a_container_that_waits(where: str, reason: str, expected: Reason | None) -> None:
    found_in: Document = {where: [waiting(reason, "the words")]}
    document = pod("Pending", SCHEDULED, SANDBOX, NOT_READY, **found_in)
    what = obstacle(document, (), image="torch:1", profile="gpu")
    assert (what.refusal.reason if what else None) is expected
    if what:
        assert what.patience < 30, "such a start ends within 30 s"
        assert not what.machine
        words = what.refusal.parameters
        assert "the words" in (words.get("problem"), *(words.get("lines") or ()))  # type: ignore[misc]


def test_an_image_that_cannot_be_had_is_named_as_the_person_chose_it() -> None:
    document = pod("Pending", SCHEDULED, SANDBOX, containerStatuses=[waiting("ErrImagePull", PULL)])
    what = obstacle(document, (), image="torch:1", profile="gpu")
    assert what is not None
    assert what.refusal.parameters == {"image": "torch:1", "problem": PULL}
    again = obstacle(
        pod("Pending", SCHEDULED, containerStatuses=[waiting("ImagePullBackOff")]), (), image="torch:1", profile="gpu"
    )
    assert again is not None
    assert again.refusal.parameters["problem"] == "ImagePullBackOff"
    assert again.refusal.reason is what.refusal.reason, "both are one obstacle, whose time goes on"


@pytest.mark.parametrize(("reason"), ["InvalidImageName", "ErrImageNeverPull"])
def test_what_never_heals_is_not_waited_for(reason: str) -> None:
    assert found(pod("Pending", SCHEDULED, SANDBOX, containerStatuses=[waiting(reason)])) == (
        Reason.IMAGE_PULL_FAILED,
        0.0,
        False,
    )


def test_a_pod_that_fits_nowhere_would_fit_with_another_machine() -> None:
    what = obstacle(pod("Pending", UNSCHEDULABLE), (), image="torch:1", profile="gpu")
    assert what is not None
    assert what.refusal.reason is Reason.UNSCHEDULABLE
    assert what.refusal.parameters == {"profile": "gpu", "problem": FITS_NOT}
    assert what.machine
    assert 0 < what.patience < 30


def test_a_claim_without_a_volume_is_no_want_of_machines() -> None:
    said = "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."
    waits = pod("Pending", condition("PodScheduled", "False", "Unschedulable", said))
    what = obstacle(waits, (), image="torch:1", profile="gpu")
    assert what is not None
    assert what.refusal == Refusal(Reason.STORAGE_UNUSABLE, {"path": "", "problem": said})
    assert not what.machine
    assert 0 < what.patience < 30


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(pod(), id="not looked at yet"),
        pytest.param(pod("Pending", condition("PodScheduled", "False", "SchedulingGated")), id="a gate"),
        pytest.param(
            pod("Pending", condition("PodScheduled", "False", "SchedulerError", "x")), id="the scheduler's error"
        ),
        pytest.param(MOUNTING, id="mounting"),
        pytest.param(PULLING, id="pulling"),
        pytest.param(pod("Running", SCHEDULED, SANDBOX, containerStatuses=[running()]), id="running"),
    ],
)
def test_nothing_is_in_the_way(document: Document) -> None:
    assert found(document) is None


ATTACH = event("FailedAttachVolume", 'Multi-Attach error for volume "pvc-1" Volume is already used by pod(s) server-x')
MOUNT = event("FailedMount", 'MountVolume.SetUp failed for volume "pv-1" : hostPath type check failed')
SANDBOX_FAILED = event("FailedCreatePodSandBox", "Failed to create pod sandbox: rpc error: code = Unknown")


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        pytest.param([event("Scheduled"), MOUNT], Reason.STORAGE_UNUSABLE, id="mount"),
        pytest.param([event("FailedMapVolume", "x")], Reason.STORAGE_UNUSABLE, id="map"),
        pytest.param([ATTACH], Reason.STORAGE_UNUSABLE, id="attach"),
        pytest.param([SANDBOX_FAILED], Reason.START_FAILED, id="sandbox"),
        pytest.param([event("Scheduled"), event("SuccessfulAttachVolume")], None, id="nothing"),
        pytest.param([event("Whatever", "FailedMount")], None, id="a word in a text means nothing"),
        pytest.param([MOUNT, event("Pulling")], None, id="mounted after all: it pulls"),
        pytest.param([SANDBOX_FAILED, event("Pulled")], None, id="a sandbox after all"),
    ],
)
def test_events_before_the_sandbox(events: list[Document], expected: Reason | None) -> None:
    what = found(MOUNTING, events)
    assert (what[0] if what else None) is expected


def test_a_volume_that_does_not_mount_ends_the_start_within_30_s_and_one_that_moves_may_take_longer() -> None:
    mount, attach = found(MOUNTING, [MOUNT]), found(MOUNTING, [ATTACH])
    assert mount is not None
    assert attach is not None
    assert mount[1] < 30 < attach[1]
    what = obstacle(MOUNTING, [MOUNT], image="torch:1", profile="gpu")
    assert what is not None
    assert what.refusal.parameters["problem"] == MOUNT["message"]


@pytest.mark.parametrize("events", [[MOUNT], [ATTACH], [SANDBOX_FAILED]], ids=["mount", "attach", "sandbox"])
def test_what_failed_before_and_was_mended_does_not_end_a_slow_pull(events: list[Document]) -> None:
    assert found(PULLING, events) is None


def test_the_container_says_more_than_an_event() -> None:
    document = pod("Pending", SCHEDULED, SANDBOX, containerStatuses=[waiting("ErrImagePull", PULL)])
    what = found(document, [MOUNT])
    assert what is not None
    assert what[0] is Reason.IMAGE_PULL_FAILED


# --- how it ended ----------------------------------------------------------------------------------------------------


def disruption(reason: str, message: str = "") -> Document:
    return condition("DisruptionTarget", "True", reason, message)


NODE_GONE = "Taint manager: deleting due to NoExecute taint"
OOM = [terminated(137, "OOMKilled")]


@pytest.mark.parametrize(
    ("document", "reason", "status"),
    [
        pytest.param(pod("Failed", containerStatuses=OOM), Reason.OUT_OF_MEMORY, 137, id="more memory than its limit"),
        pytest.param(
            pod("Failed", containerStatuses=[terminated(1)]), Reason.SERVER_DIED, 1, id="it ended with an error"
        ),
        pytest.param(
            pod("Succeeded", containerStatuses=[terminated(0, "Completed")]), Reason.SERVER_DIED, 0, id="it just ended"
        ),
        pytest.param(
            pod(
                "Failed",
                disruption("TerminationByKubelet", LOW),
                reason="Evicted",
                message=LOW,
                containerStatuses=[terminated(137)],
            ),
            Reason.EVICTED,
            137,
            id="evicted by the kubelet",
        ),
        pytest.param(pod("Failed", reason="Evicted", message=LOW), Reason.EVICTED, 1, id="evicted, older kubelet"),
        pytest.param(
            pod("Running", disruption("EvictionByEvictionAPI", "Eviction API: evicting"), deleted=True),
            Reason.EVICTED,
            1,
            id="drained",
        ),
        pytest.param(
            pod("Running", disruption("PreemptionByScheduler", "preempting to accommodate"), deleted=True),
            Reason.EVICTED,
            1,
            id="preempted",
        ),
        pytest.param(
            pod(
                "Running", disruption("DeletionByTaintManager", NODE_GONE), containerStatuses=[running()], deleted=True
            ),
            Reason.NODE_LOST,
            1,
            id="the node does not answer",
        ),
        pytest.param(
            pod("Failed", disruption("DeletionByPodGC", "PodGC: node no longer exists"), containerStatuses=[running()]),
            Reason.NODE_LOST,
            1,
            id="the node was removed",
        ),
        pytest.param(
            pod(
                "Failed",
                disruption("TerminationByKubelet", "Pod was terminated in response to imminent node shutdown."),
                reason="Terminated",
                message="Pod was terminated in response to imminent node shutdown.",
                containerStatuses=[terminated(143)],
            ),
            Reason.NODE_LOST,
            143,
            id="the node was shut down",
        ),
        pytest.param(
            pod("Failed", reason="NodeShutdown", message="Pod was rejected as the node is shutting down."),
            Reason.NODE_LOST,
            1,
            id="refused by a node that shuts down",
        ),
        pytest.param(
            pod("Running", containerStatuses=[*OOM, running("sidecar")]),
            Reason.OUT_OF_MEMORY,
            137,
            id="the server is dead, a sidecar runs on",
        ),
        pytest.param(
            pod(
                "Failed",
                initContainerStatuses=[terminated(3, name="setup")],
                containerStatuses=[waiting("PodInitializing")],
            ),
            Reason.SERVER_DIED,
            3,
            id="a container before it failed",
        ),
        pytest.param(
            pod("Failed", condition("DisruptionTarget", "False"), containerStatuses=[terminated(2)]),
            Reason.SERVER_DIED,
            2,
            id="a disruption that did not happen",
        ),
    ],
)
def test_the_cause_of_an_end(document: Document, reason: Reason, status: int) -> None:
    end = ended(document, "two")
    assert end is not None
    assert (end.refusal.reason, end.status) == (reason, status)
    assert end.refusal.parameters["server"] == "two"


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(pod(), id="just created"),
        pytest.param(pod("Pending", UNSCHEDULABLE), id="waits for a machine"),
        pytest.param(pod("Pending", SCHEDULED, containerStatuses=[waiting("ErrImagePull")]), id="image missing"),
        pytest.param(pod("Running", containerStatuses=[running()]), id="running"),
        pytest.param(pod("Running", containerStatuses=[running()], deleted=True), id="being stopped"),
        pytest.param(pod("Running", disruption("PreemptionByScheduler")), id="named for disruption, not deleted"),
        pytest.param(
            pod("Running", containerStatuses=[running(), terminated(1, name="sidecar")]), id="only a sidecar ended"
        ),
        pytest.param(
            pod(
                "Running",
                initContainerStatuses=[terminated(0, "Completed", name="setup")],
                containerStatuses=[running()],
            ),
            id="what came before it is done",
        ),
        pytest.param(
            pod("Unknown", condition("Ready", "False", "NodeStatusNeverUpdated")), id="nobody hears of its machine"
        ),
    ],
)
def test_it_goes_on(document: Document) -> None:
    assert ended(document, "") is None


def test_too_little_memory_names_the_limit() -> None:
    end = ended(pod("Failed", containerStatuses=OOM), "")
    assert end is not None
    assert end.refusal.parameters["limit"] == "1 GiB"


def test_a_lost_machine_and_an_eviction_are_told_in_the_cluster_s_words() -> None:
    lost = ended(pod("Running", disruption("DeletionByTaintManager", NODE_GONE), deleted=True), "")
    assert lost is not None
    assert lost.refusal.parameters["node"] == "gpu-1"
    evicted = ended(pod("Failed", disruption("TerminationByKubelet"), reason="Evicted", message=LOW), "")
    assert evicted is not None
    assert evicted.refusal.parameters["problem"] == LOW
    preempted = ended(pod("Running", disruption("PreemptionByScheduler", "make room"), deleted=True), "")
    assert preempted is not None
    assert preempted.refusal.parameters["problem"] == "make room"


def test_the_last_lines_that_it_wrote_are_kept() -> None:
    written = "\n".join(str(number) for number in range(30))
    end = ended(pod("Failed", containerStatuses=[terminated(1, message=written)]), "")
    assert end is not None
    assert end.lines == tuple(str(number) for number in range(10, 30))


def test_a_pod_that_its_machine_turns_away_says_why() -> None:
    problem = "Pod was rejected: Allocate failed due to requested number of devices unavailable for nvidia.com/gpu"
    end = ended(pod("Failed", reason="UnexpectedAdmissionError", message=problem), "")
    assert end is not None
    assert (end.refusal.reason, end.lines) == (Reason.SERVER_DIED, (problem,))
