"""Starts as pods, through the real spawner classes of JupyterHub and KubeSpawner, against an API server that fails on
demand: stages, failures and their times, cancel, stop, death, and a hub that takes servers over.

Traps that these tests would notice (upstream.md): 12, three answers of `poll`; 14, a server that is taken over; 16, a
pod that does not go; 20, waiting reasons; 21, cancel; 22, deadlines of stages; 23, `poll` never raises; 24, no
reflector; 48, a kubelet that says late that it has a sandbox.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jupyterhub import orm
from jupyterhub.objects import Hub
from kubernetes_asyncio.config import kube_config
from kubespawner import KubeSpawner
from kubespawner.clients import load_config

from aihub import pods
from aihub.app import Ending
from aihub.errors import Reason
from aihub.ledger import Phase, ServerKey
from aihub.podspawner import AIHubSpawner
from aihub.podstate import STAGES, uid_of
from aihub.spawner import SpawnRefused
from tests.fake_kube import CUT, HANG, LOSE, Answer, FakeKube, fake_kube, write_kubeconfig
from tests.hub_rig import hub_user
from tests.kube_rig import CLAIMS, PODS, POLICY, Rig, condition, container, rig_of, until

Document = dict[str, Any]

SERVER = ServerKey("ada", "two")


class Clock:
    """The patience of starts: it stands still until a test moves it."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def fake() -> AsyncIterator[FakeKube]:
    async with fake_kube() as fake:
        yield fake


@pytest.fixture
def kubeconfig(fake: FakeKube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    path = tmp_path / "kubeconfig"
    write_kubeconfig(fake, path)
    # The variable KUBECONFIG is read when the module is imported.
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(path))
    load_config.cache_clear()
    yield
    load_config.cache_clear()


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Where a user server listens."""
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture
async def rig(tmp_path: Path, fake: FakeKube, port: int, kubeconfig: None) -> AsyncIterator[Rig]:
    async with rig_of(tmp_path, POLICY.replace("8888", str(port)), fake=fake) as rig:
        yield rig


def spawner_of(server: str = "two", **traits: Any) -> AIHubSpawner:
    user = hub_user("ada", "/students")
    user.id, user.url, user.escaped_name = 1, "/user/ada/", "ada"
    # As `aihub.hub.setup_cluster` sets it.
    traits.setdefault("start_timeout", 3600)
    spawner = AIHubSpawner(user=user, hub=Hub(), orm_spawner=SimpleNamespace(name=server, server=None), **traits)
    spawner.api_token = "token"
    spawner.look_every = 0.02
    spawner.clock = Clock()
    return spawner


def server_row(base_url: str) -> orm.Server:
    """What the last hub wrote down of the server: an address that is not right any more."""
    return orm.Server(proto="http", ip="10.0.0.1", port=1, base_url=base_url, cookie_name="c")


@pytest.fixture
async def spawner(rig: Rig) -> AIHubSpawner:
    return spawner_of()


# --- what scheduler and kubelet write --------------------------------------------------------------------------------

FITS_NOT = condition("PodScheduled", "False", "Unschedulable", "0/1 nodes are available: 1 Insufficient cpu.")
GATED = condition("PodScheduled", "False", "SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates")
SCHEDULED = condition("PodScheduled")
NO_SANDBOX = condition("PodReadyToStartContainers", "False")
SANDBOX = condition("PodReadyToStartContainers")
READY = condition("Ready")
NOT_READY = condition("Ready", "False", "ContainersNotReady")
CREATING = container(waiting={"reason": "ContainerCreating"})
RUNNING = container(running={"startedAt": "2026-11-22T12:00:00Z"})

Step = tuple[str, tuple[Document, ...], Document]

WAY: dict[str, Step] = {
    "queue": ("Pending", (), {}),
    "machine": ("Pending", (FITS_NOT,), {}),
    "storage": ("Pending", (SCHEDULED, NO_SANDBOX, NOT_READY), {"containerStatuses": [CREATING]}),
    "image": ("Pending", (SCHEDULED, SANDBOX, NOT_READY), {"containerStatuses": [CREATING]}),
    "start": (
        "Running",
        (SCHEDULED, SANDBOX, NOT_READY),
        {"containerStatuses": [RUNNING], "podIP": "127.0.0.1"},
    ),
    "ready": ("Running", (SCHEDULED, SANDBOX, READY), {"containerStatuses": [RUNNING], "podIP": "127.0.0.1"}),
}


class Start:
    """A start on its way."""

    def __init__(self, rig: Rig, spawner: AIHubSpawner) -> None:
        self.rig, self.spawner = rig, spawner
        self.task = asyncio.ensure_future(spawner.start())

    async def made(self) -> str:
        """Wait for the pod, and for the spawner to know it; its name."""
        await until(lambda: (self.rig.pods and self.spawner.pod_uid) or self.task.done())
        assert not self.task.done(), self.task.exception()
        (name,) = self.rig.pods
        return name

    async def reach(self, stage: str) -> None:
        """Let the cluster bring it there."""
        name = await self.made()
        phase, conditions, more = WAY[stage]
        self.rig.status(name, phase, *conditions, **more)
        made = self.spawner.progress_made
        assert made is not None
        if stage != "ready":
            await until(lambda: made.stage == stage or self.task.done())

    async def go_on(self) -> None:
        """Give the start the time to look again, several times."""
        await asyncio.sleep(0.3)

    async def refusal(self) -> SpawnRefused:
        with pytest.raises(SpawnRefused) as raised:
            await asyncio.wait_for(self.task, 20)
        return raised.value

    async def cancel(self) -> None:
        self.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(self.task, 20)

    @property
    def clock(self) -> Clock:
        clock = self.spawner.clock
        assert isinstance(clock, Clock)
        return clock


def nothing_stays(rig: Rig) -> None:
    assert rig.pods == {}
    assert rig.aihub.ledger.entries() == ()
    assert rig.aihub.store.open_rows() == ()
    assert rig.site.standing == set()


async def running(rig: Rig, spawner: AIHubSpawner) -> Document:
    """A server that runs; its pod."""
    start = Start(rig, spawner)
    await start.reach("ready")
    await asyncio.wait_for(start.task, 20)
    (pod,) = rig.pods.values()
    return pod


# --- from start to end -----------------------------------------------------------------------------------------------


async def test_a_start_goes_through_its_stages(rig: Rig, spawner: AIHubSpawner, port: int) -> None:
    start = Start(rig, spawner)
    for stage in STAGES:
        await start.reach(stage)
        pod = next(iter(rig.pods.values()))
        rig.event(pod, f"Event{stage}", "words")
    assert await asyncio.wait_for(start.task, 20) == f"http://127.0.0.1:{port}"

    made = spawner.progress_made
    assert made is not None
    assert list(made.began) == list(STAGES)
    assert list(made.began.values()) == sorted(made.began.values())
    assert "Eventqueue: words" in made.lines

    (entry,) = rig.aihub.ledger.entries()
    assert (entry.server, entry.phase, entry.uid) == (SERVER, Phase.RUNNING, uid_of(next(iter(rig.pods.values()))))
    assert rig.aihub.store.open_rows() == (), "from here on the pod is the record"
    assert await spawner.poll() is None


async def test_stages_too_short_to_be_seen_come_in_their_order(rig: Rig, spawner: AIHubSpawner) -> None:
    await running(rig, spawner)
    assert spawner.progress_made is not None
    assert list(spawner.progress_made.began) == list(STAGES)


async def test_a_slow_pull_of_an_older_kubelet_is_the_image_s_stage(rig: Rig, spawner: AIHubSpawner) -> None:
    start = Start(rig, spawner)
    await start.reach("storage")
    rig.event(next(iter(rig.pods.values())), "Pulling", "Pulling image")
    made = spawner.progress_made
    assert made is not None
    await until(lambda: made.stage == "image")
    start.clock.now += 1000
    await start.go_on()
    assert not start.task.done()
    await start.cancel()


async def test_the_pod_is_the_plan_s_and_runs_restricted(rig: Rig, spawner: AIHubSpawner, port: int) -> None:
    spawner.environment = {"LD_PRELOAD": "/tmp/x.so"}
    pod = await running(rig, spawner)
    (server,) = pod["spec"]["containers"]
    assert server["image"] == "registry.example.org/plain:1"
    assert server["ports"] == [{"name": "notebook-port", "containerPort": port}]
    assert server["resources"]["limits"]["memory"] == "1Gi"
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert pod["spec"]["restartPolicy"] == "Never"
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    environment = {each["name"]: each.get("value") for each in server["env"]}
    assert environment["JUPYTERHUB_API_TOKEN"] == "token"
    assert environment["JUPYTERHUB_ACTIVITY_INTERVAL"]
    assert str(port) in (environment["JUPYTERHUB_SERVICE_URL"] or "")
    assert pods.server_ours(pod, rig.site.identity, "ada", "two")
    assert {each["metadata"]["name"] for each in rig.claims.values()} >= {
        each["persistentVolumeClaim"]["claimName"] for each in pod["spec"]["volumes"] if "persistentVolumeClaim" in each
    }


async def test_nothing_of_one_start_is_in_the_next(rig: Rig, spawner: AIHubSpawner) -> None:
    spawner.user_options = {"profile": "gpu"}
    pod = await running(rig, spawner)
    assert "nvidia.com/gpu" in pod["spec"]["containers"][0]["resources"]["limits"]
    await spawner.stop()
    spawner.clear_state()
    spawner.user_options = {}
    pod = await running(rig, spawner)
    assert "nvidia.com/gpu" not in pod["spec"]["containers"][0]["resources"]["limits"]
    assert {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"} in pod["spec"]["containers"][0]["env"]


async def test_no_reflector_of_kubespawner_ever_runs(rig: Rig, spawner: AIHubSpawner) -> None:
    await running(rig, spawner)
    await spawner.poll()
    assert (await anext(spawner.progress()))["stage"] == "ready"
    await spawner.stop()
    assert KubeSpawner.reflectors == {}


# --- failures and their time -----------------------------------------------------------------------------------------


def waiting(reason: str) -> Document:
    return {"containerStatuses": [container(waiting={"reason": reason, "message": "the words"})]}


def dead(exit_code: int, reason: str, message: str = "last\nwords") -> Document:
    return {"containerStatuses": [container(terminated={"exitCode": exit_code, "reason": reason, "message": message})]}


Write = Callable[[Rig, str], None]


def status(phase: str, *conditions: Document, **more: Any) -> Write:
    return lambda rig, name: rig.status(name, phase, *conditions, **more)


def mounting(reason: str) -> Write:
    def write(rig: Rig, name: str) -> None:
        phase, conditions, more = WAY["storage"]
        rig.status(name, phase, *conditions, **more)
        rig.event(rig.pods[name], reason, "MountVolume.SetUp failed")

    return write


@pytest.mark.parametrize(
    ("write", "reason", "seconds"),
    [
        pytest.param(
            status("Pending", SCHEDULED, SANDBOX, **waiting("ErrImagePull")), Reason.IMAGE_PULL_FAILED, 20, id="pull"
        ),
        pytest.param(
            status("Pending", SCHEDULED, SANDBOX, **waiting("InvalidImageName")),
            Reason.IMAGE_PULL_FAILED,
            0,
            id="invalid image name",
        ),
        pytest.param(
            status("Pending", SCHEDULED, SANDBOX, **waiting("CreateContainerConfigError")),
            Reason.START_FAILED,
            5,
            id="container config",
        ),
        pytest.param(status("Pending", FITS_NOT), Reason.UNSCHEDULABLE, 20, id="unschedulable"),
        pytest.param(mounting("FailedMount"), Reason.STORAGE_UNUSABLE, 20, id="mount"),
        pytest.param(mounting("FailedAttachVolume"), Reason.STORAGE_UNUSABLE, 180, id="attach"),
        pytest.param(mounting("FailedCreatePodSandBox"), Reason.START_FAILED, 20, id="sandbox"),
        pytest.param(status("Failed", SCHEDULED, **dead(1, "Error")), Reason.START_FAILED, 0, id="it ends at once"),
        pytest.param(status("Failed", SCHEDULED, **dead(137, "OOMKilled")), Reason.OUT_OF_MEMORY, 0, id="memory"),
        pytest.param(
            status("Failed", reason="UnexpectedAdmissionError", message="Allocate failed"),
            Reason.START_FAILED,
            0,
            id="turned away by the machine",
        ),
        pytest.param(status("Failed", reason="Evicted", message="low on memory"), Reason.EVICTED, 0, id="evicted"),
        pytest.param(lambda rig, name: rig.fake.remove(PODS, name), Reason.START_FAILED, 0, id="deleted by somebody"),
    ],
)
async def test_a_start_that_cannot_go_on_ends_in_time_and_leaves_nothing(
    rig: Rig, spawner: AIHubSpawner, write: Write, reason: Reason, seconds: float
) -> None:
    start = Start(rig, spawner)
    name = await start.made()
    write(rig, name)
    if seconds:
        await start.go_on()
        start.clock.now += seconds - 1
        await start.go_on()
        assert not start.task.done(), "it may heal until then"
        start.clock.now += 1.5
    refused = await start.refusal()
    assert refused.refusal.reason is reason
    assert refused.jupyterhub_message
    nothing_stays(rig)
    ending = rig.aihub.ending(SERVER)
    assert isinstance(ending, Ending)
    assert (ending.refusal.reason, ending.started) == (reason, False)
    assert await spawner.poll() == 0


async def test_what_a_failed_server_wrote_is_told(rig: Rig, spawner: AIHubSpawner) -> None:
    start = Start(rig, spawner)
    rig.status(await start.made(), "Failed", SCHEDULED, **dead(3, "Error"))
    refused = await start.refusal()
    assert refused.refusal.parameters == {"status": 3, "lines": ("last", "words")}


async def test_what_heals_in_time_does_not_end_the_start(rig: Rig, spawner: AIHubSpawner) -> None:
    start = Start(rig, spawner)
    name = await start.made()
    for _ in range(3):
        rig.status(name, "Pending", SCHEDULED, SANDBOX, **waiting("ErrImagePull"))
        await start.go_on()
        start.clock.now += 15
        rig.status(name, "Pending", SCHEDULED, SANDBOX, containerStatuses=[CREATING])
        await start.go_on()
    await start.reach("ready")
    assert await asyncio.wait_for(start.task, 20)


async def test_that_a_pull_fails_in_two_words_does_not_prolong_it(rig: Rig, spawner: AIHubSpawner) -> None:
    start = Start(rig, spawner)
    name = await start.made()
    for reason in ("ErrImagePull", "ImagePullBackOff"):
        rig.status(name, "Pending", SCHEDULED, SANDBOX, **waiting(reason))
        await start.go_on()
        start.clock.now += 10.1
    assert (await start.refusal()).refusal.reason is Reason.IMAGE_PULL_FAILED


@pytest.mark.parametrize(
    ("new", "dataset", "seconds"),
    [(True, "Bound", 180), (False, "Bound", 20), (True, "Pending", 20)],
    ids=["new claims", "old claims", "a dataset without a volume"],
)
async def test_the_volume_of_a_new_claim_may_take_longer_to_be_made(
    rig: Rig, spawner: AIHubSpawner, new: bool, dataset: str, seconds: float
) -> None:
    rig.fake.change(CLAIMS, "mnist", status={"phase": dataset})
    if not new:
        await running(rig, spawner)
        await spawner.stop()
    start = Start(rig, spawner)
    said = "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."
    rig.status(await start.made(), "Pending", condition("PodScheduled", "False", "Unschedulable", said))
    await start.go_on()
    start.clock.now += seconds - 1
    await start.go_on()
    assert not start.task.done()
    start.clock.now += 2
    assert (await start.refusal()).refusal.reason is Reason.STORAGE_UNUSABLE


async def test_a_declared_pool_may_take_its_time_to_bring_a_machine(rig: Rig, spawner: AIHubSpawner) -> None:
    rig.site.pool_seconds = 600
    start = Start(rig, spawner)
    await start.reach("machine")
    start.clock.now += 590
    await start.go_on()
    assert not start.task.done()
    start.clock.now += 20
    assert (await start.refusal()).refusal.reason is Reason.UNSCHEDULABLE


@pytest.mark.parametrize(
    ("stage", "seconds"),
    [("queue", 600), ("storage", 300), ("image", 3000), ("start", 120)],
)
async def test_every_stage_has_its_own_deadline(rig: Rig, spawner: AIHubSpawner, stage: str, seconds: float) -> None:
    start = Start(rig, spawner)
    # Time in the stages before does not count.
    for before in STAGES[1 : STAGES.index(stage) + 1]:
        await start.reach(before)
        start.clock.now += 15 if before != stage else 0
    await start.go_on()
    start.clock.now += seconds - 1
    await start.go_on()
    assert not start.task.done()
    start.clock.now += 2
    refused = await start.refusal()
    assert refused.refusal.reason is Reason.START_TIMEOUT
    nothing_stays(rig)


async def test_a_pull_may_take_as_long_as_the_outer_bound_leaves(rig: Rig) -> None:
    start = Start(rig, spawner_of(start_timeout=7200))
    await start.reach("image")
    start.clock.now += 6500
    await start.go_on()
    assert not start.task.done()
    start.clock.now += 200
    assert (await start.refusal()).refusal.reason is Reason.START_TIMEOUT


async def test_all_stages_together_end_before_the_hub_ends_them_without_a_word(rig: Rig) -> None:
    rig.site.pool_seconds = 1700
    start = Start(rig, spawner_of())
    await start.reach("machine")
    start.clock.now += 1600
    await start.reach("image")
    start.clock.now += 1900
    assert (await start.refusal()).refusal.reason is Reason.START_TIMEOUT
    nothing_stays(rig)


async def test_a_pod_behind_a_gate_may_wait_as_long_as_for_a_machine(rig: Rig, spawner: AIHubSpawner) -> None:
    start = Start(rig, spawner)
    rig.status(await start.made(), "Pending", GATED)
    await start.go_on()
    start.clock.now += 1700
    await start.go_on()
    assert not start.task.done()
    assert spawner.progress_made is not None
    assert spawner.progress_made.stage == "queue"
    await start.cancel()


async def test_a_server_that_does_not_listen_is_given_up(
    tmp_path: Path, fake: FakeKube, kubeconfig: None, port: int
) -> None:
    closed = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    free = closed.sockets[0].getsockname()[1]
    closed.close()
    await closed.wait_closed()
    async with rig_of(tmp_path, POLICY.replace("8888", str(free)), fake=fake) as rig:
        start = Start(rig, spawner_of())
        await start.reach("ready")
        await start.go_on()
        assert not start.task.done()
        start.clock.now += 121
        assert (await start.refusal()).refusal.reason is Reason.START_TIMEOUT
        nothing_stays(rig)

        dying = Start(rig, spawner_of())
        await dying.reach("ready")
        await dying.go_on()
        rig.status(next(iter(rig.pods)), "Failed", **dead(1, "Error"))
        assert (await dying.refusal()).refusal.reason is Reason.START_FAILED
        nothing_stays(rig)


async def test_while_the_api_server_is_away_nobody_s_patience_ends(rig: Rig, spawner: AIHubSpawner) -> None:
    start = Start(rig, spawner)
    await start.reach("machine")
    start.clock.now += 10
    await start.go_on()
    await rig.fake.end()
    await asyncio.sleep(0.5)
    start.clock.now += 1900
    await start.go_on()
    assert not start.task.done()
    await rig.fake.begin()
    await until(lambda: rig.site.view("users").problem is None)
    await start.go_on()
    assert not start.task.done(), "neither did the time of the stage pass"
    await start.reach("ready")
    assert await asyncio.wait_for(start.task, 20)


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        pytest.param(lambda rig: rig.fake.remove(CLAIMS, "mnist"), Reason.DATASET_MISSING, id="a dataset is missing"),
        pytest.param(
            lambda rig: rig.fake.fault(
                "POST",
                "/pods",
                Answer(
                    403,
                    'pods "x" is forbidden: exceeded quota: gpu, requested: requests.nvidia.com/gpu=1, '
                    "used: requests.nvidia.com/gpu=1, limited: requests.nvidia.com/gpu=1",
                ),
            ),
            Reason.CLUSTER_QUOTA,
            id="quota of the namespace",
        ),
        pytest.param(
            lambda rig: rig.fake.fault("POST", "/pods", Answer(403, 'violates PodSecurity "restricted:latest"')),
            Reason.CLUSTER_DENIED,
            id="admission",
        ),
        pytest.param(
            lambda rig: rig.fake.fault(
                "POST",
                "/persistentvolumeclaims",
                Answer(
                    403,
                    "exceeded quota: d, requested: requests.storage=1Gi, used: requests.storage=9Gi, "
                    "limited: requests.storage=9Gi",
                ),
            ),
            Reason.CLUSTER_QUOTA,
            id="quota on storage",
        ),
    ],
)
async def test_a_start_that_the_cluster_refuses_says_so_within_5_s(
    rig: Rig, spawner: AIHubSpawner, prepare: Callable[[Rig], None], reason: Reason
) -> None:
    prepare(rig)
    began = time.monotonic()
    refused = await Start(rig, spawner).refusal()
    assert refused.refusal.reason is reason
    assert time.monotonic() - began < 5
    nothing_stays(rig)


async def test_a_foreign_pod_of_the_name_is_left_alone_by_the_whole_start(
    rig: Rig, spawner: AIHubSpawner, caplog: pytest.LogCaptureFixture
) -> None:
    pod = await running(rig, spawner)
    await spawner.stop()
    pod = json.loads(json.dumps(pod))
    pod["metadata"]["annotations"][pods.OWNER] = "somebody/else/ada"
    rig.fake.put(PODS, pod)
    deleted = len(rig.fake.deletions)
    refused = await Start(rig, spawner).refusal()
    assert refused.refusal.reason is Reason.NAME_COLLISION
    assert len(rig.pods) == 1
    assert len(rig.fake.deletions) == deleted
    assert any(record.levelno == logging.ERROR and "another owner" in record.message for record in caplog.records)
    assert rig.aihub.ledger.entries() == ()


async def test_claims_of_a_refused_start_that_exist_are_charged(rig: Rig, spawner: AIHubSpawner) -> None:
    rig.fake.fault("POST", "/pods", Answer(403, "no"))
    await Start(rig, spawner).refusal()
    assert set(rig.aihub.ledger.claims()) == {"home/ada", "project/lab"}
    rig.fake.fault("POST", "/persistentvolumeclaims", Answer(403, "no"), times=2)
    for name in [name for name in rig.claims if name != "mnist"]:
        rig.fake.remove(CLAIMS, name)


async def test_a_create_whose_answer_is_lost_is_one_start(rig: Rig, spawner: AIHubSpawner) -> None:
    rig.fake.fault("POST", "/pods", LOSE)
    pod = await running(rig, spawner)
    assert spawner.pod_uid == uid_of(pod)
    assert rig.fake.deletions == []


# --- cancel ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", STAGES[:-1])
async def test_cancel_leaves_no_pod_and_frees_the_reservation(rig: Rig, spawner: AIHubSpawner, stage: str) -> None:
    start = Start(rig, spawner)
    await start.reach(stage)
    await start.cancel()
    nothing_stays(rig)
    assert await spawner.poll() == 0
    assert rig.aihub.ending(SERVER) is None
    assert set(rig.aihub.ledger.claims()) == {"home/ada", "project/lab"}, "they exist"


@pytest.mark.parametrize(
    ("method", "fragment"),
    [("GET", "/mnist"), ("GET", "/home-"), ("POST", "/persistentvolumeclaims"), ("POST", "/pods")],
    ids=["dataset", "claim is looked for", "claim is made", "pod is made"],
)
async def test_cancel_during_a_request_leaves_nothing(
    rig: Rig, spawner: AIHubSpawner, method: str, fragment: str
) -> None:
    rig.fake.fault(method, fragment, HANG)
    start = Start(rig, spawner)
    await until(lambda: rig.fake.count(method, fragment))
    await start.cancel()
    nothing_stays(rig)


async def test_cancel_while_the_answer_of_the_create_is_lost_deletes_the_pod(rig: Rig, spawner: AIHubSpawner) -> None:
    rig.fake.fault("POST", "/pods", LOSE)
    start = Start(rig, spawner)
    await until(lambda: rig.pods)
    assert await spawner.poll() is None, "it may be there"
    await start.cancel()
    nothing_stays(rig)


async def test_a_start_that_is_cancelled_while_the_api_server_is_away_goes_on_counting(
    rig: Rig, spawner: AIHubSpawner
) -> None:
    spawner.stop_deadline = 1.0
    start = Start(rig, spawner)
    await start.reach("image")
    await rig.fake.end()
    await start.cancel()
    assert [entry.phase for entry in rig.aihub.ledger.entries()] == [Phase.RELEASING]
    await rig.aihub.sweep()
    assert rig.aihub.ledger.entries(), "a failed look says nothing"
    await rig.fake.begin()
    await until(lambda: rig.pods)
    await rig.aihub.sweep()
    await rig.aihub.sweep()
    nothing_stays(rig)


async def test_a_create_that_was_never_answered_counts_until_it_certainly_made_nothing(
    rig: Rig, spawner: AIHubSpawner
) -> None:
    rig.site.create_seconds = 0.3
    rig.fake.fault("POST", "/pods", CUT, times=99)
    refused = await Start(rig, spawner).refusal()
    assert refused.refusal.reason is Reason.API_UNAVAILABLE
    assert [entry.phase for entry in rig.aihub.ledger.entries()] == [Phase.RELEASING]
    await rig.aihub.sweep()
    nothing_stays(rig)


# --- stop ------------------------------------------------------------------------------------------------------------


async def test_stop_deletes_the_pod_of_this_start(rig: Rig, spawner: AIHubSpawner) -> None:
    pod = await running(rig, spawner)
    await spawner.stop()
    nothing_stays(rig)
    ((_, options),) = rig.fake.deletions
    assert options["preconditions"] == {"uid": uid_of(pod)}
    assert await spawner.poll() == 0
    assert rig.aihub.ending(SERVER) is None
    assert len(rig.claims) == 3, "storage outlives servers"


async def test_stop_of_a_pod_that_does_not_go_is_bounded_and_its_place_is_not_free(
    rig: Rig, spawner: AIHubSpawner
) -> None:
    await running(rig, spawner)
    rig.fake.lingers = True
    spawner.stop_deadline = 1.0
    began = time.monotonic()
    await spawner.stop()
    assert time.monotonic() - began < 5
    await spawner.run_post_stop_hook()
    assert [entry.phase for entry in rig.aihub.ledger.entries()] == [Phase.RELEASING]
    await rig.aihub.sweep()
    assert rig.aihub.ledger.entries()
    again = await Start(rig, spawner).refusal()
    assert again.refusal.reason is Reason.SERVER_BUSY
    assert len(rig.aihub.ledger.entries()) == 1
    rig.fake.finish()
    await rig.aihub.sweep()
    nothing_stays(rig)
    rig.fake.lingers = False
    await running(rig, spawner)


async def test_stop_does_not_delete_another_pod_of_the_name(rig: Rig, spawner: AIHubSpawner) -> None:
    pod = await running(rig, spawner)
    rig.fake.remove(PODS, pod["metadata"]["name"])
    other = json.loads(json.dumps(pod))
    other["metadata"]["uid"] = "somebody else's"
    rig.fake.put(PODS, other)
    await spawner.stop()
    assert [uid_of(each) for each in rig.pods.values()] == ["somebody else's"]


async def test_users_and_their_homes_are_two_things(rig: Rig, spawner: AIHubSpawner) -> None:
    await running(rig, spawner)
    await spawner.stop()
    await spawner.delete_forever()
    assert rig.fake.count("DELETE", "/persistentvolumeclaims") == 0


# --- while it runs ---------------------------------------------------------------------------------------------------


async def test_a_spawner_that_never_started_is_stopped(rig: Rig, spawner: AIHubSpawner) -> None:
    assert await spawner.poll() == 0


@pytest.mark.parametrize("how", [CUT, Answer(500), Answer(403), HANG], ids=str)
async def test_that_nobody_knows_is_not_stopped(rig: Rig, spawner: AIHubSpawner, how: Answer | str) -> None:
    pod = await running(rig, spawner)
    await until(lambda: rig.site.pod("users", pod["metadata"]["name"]))
    # A view that has lost sight of it, and an API server that does not say.
    rig.site.view("users").objects.clear()
    rig.fake.fault("GET", "/pods/server-", how, times=2)
    assert await spawner.poll() is None
    rig.fake.heal()
    assert await spawner.poll() is None
    assert rig.fake.deletions == []


async def test_poll_never_raises(rig: Rig, spawner: AIHubSpawner, caplog: pytest.LogCaptureFixture) -> None:
    """For JupyterHub a `poll` that raises is a server that stopped."""
    pod = await running(rig, spawner)
    await until(lambda: rig.site.pod("users", pod["metadata"]["name"]))
    rig.site.view("users").objects[pod["metadata"]["name"]] = {"metadata": pod["metadata"], "status": "?"}
    assert await spawner.poll() is None
    assert "cannot be found out" in caplog.text


async def test_poll_is_unknown_before_anything_was_seen(tmp_path: Path, fake: FakeKube, rig: Rig) -> None:
    spawner = spawner_of()
    await running(rig, spawner)
    await rig.fake.end()
    new = spawner_of()
    new.load_state(spawner.get_state())
    rig.site.view("users").objects.clear()
    assert await new.poll() is None
    await rig.fake.begin()


@pytest.mark.parametrize(
    ("end", "reason", "exit_status"),
    [
        pytest.param(dead(137, "OOMKilled"), Reason.OUT_OF_MEMORY, 137, id="memory"),
        pytest.param(dead(1, "Error"), Reason.SERVER_DIED, 1, id="error"),
        pytest.param(dead(0, "Completed"), Reason.SERVER_DIED, 0, id="it ended"),
        pytest.param({"reason": "Evicted", "message": "low on memory"}, Reason.EVICTED, 1, id="evicted"),
        pytest.param({"reason": "Terminated", "message": "node shutdown"}, Reason.NODE_LOST, 1, id="node shut down"),
    ],
)
async def test_a_server_that_died_says_why_and_gives_its_place_back(
    rig: Rig, spawner: AIHubSpawner, end: Document, reason: Reason, exit_status: int
) -> None:
    pod = await running(rig, spawner)
    rig.status(pod["metadata"]["name"], "Failed", **end)
    await until(lambda: (rig.site.pod("users", pod["metadata"]["name"]) or pod)["status"]["phase"] == "Failed")
    assert await spawner.poll() == exit_status
    assert await spawner.poll() == exit_status
    ending = rig.aihub.ending(SERVER)
    assert ending is not None
    assert (ending.refusal.reason, ending.started) == (reason, True)
    await spawner.run_post_stop_hook()
    nothing_stays(rig)


async def test_a_pod_of_a_lost_machine_stays_terminating_and_its_server_is_gone(
    rig: Rig, spawner: AIHubSpawner
) -> None:
    spawner.stop_deadline = 1.0
    pod = await running(rig, spawner)
    rig.fake.lingers = True
    lost = condition("DisruptionTarget", "True", "DeletionByTaintManager", "Taint manager: deleting due to NoExecute")
    pod["metadata"]["deletionTimestamp"] = "2026-11-22T12:00:00Z"
    rig.fake.put(PODS, {**pod, "status": {**pod["status"], "conditions": [lost]}})
    await until(lambda: "deletionTimestamp" in (rig.site.pod("users", pod["metadata"]["name"]) or pod)["metadata"])
    assert await spawner.poll() == 1
    ending = rig.aihub.ending(SERVER)
    assert ending is not None
    assert ending.refusal.reason is Reason.NODE_LOST
    await spawner.run_post_stop_hook()
    assert [entry.phase for entry in rig.aihub.ledger.entries()] == [Phase.RELEASING]
    rig.fake.finish()
    await rig.aihub.sweep()
    nothing_stays(rig)


async def test_a_dead_pod_that_could_not_be_deleted_is_deleted_later(rig: Rig, spawner: AIHubSpawner) -> None:
    spawner.stop_deadline = 1.0
    pod = await running(rig, spawner)
    rig.status(pod["metadata"]["name"], "Failed", **dead(1, "Error"))
    await until(lambda: (rig.site.pod("users", pod["metadata"]["name"]) or pod)["status"]["phase"] == "Failed")
    rig.fake.fault("DELETE", "/pods/", Answer(500), times=99)
    assert await spawner.poll() == 1
    await spawner.run_post_stop_hook()
    assert len(rig.pods) == 1
    rig.fake.heal()
    await rig.aihub.sweep()
    await rig.aihub.sweep()
    nothing_stays(rig)


async def test_a_pod_that_somebody_deleted_ended_its_server(rig: Rig, spawner: AIHubSpawner) -> None:
    pod = await running(rig, spawner)
    rig.fake.remove(PODS, pod["metadata"]["name"])
    await until(lambda: rig.site.pod("users", pod["metadata"]["name"]) is None)
    assert await spawner.poll() == 1
    ending = rig.aihub.ending(SERVER)
    assert ending is not None
    assert ending.refusal.reason is Reason.SERVER_DIED
    await spawner.run_post_stop_hook()
    nothing_stays(rig)


async def test_a_later_pod_of_the_name_is_not_the_server(rig: Rig, spawner: AIHubSpawner) -> None:
    pod = await running(rig, spawner)
    rig.fake.remove(PODS, pod["metadata"]["name"])
    other = json.loads(json.dumps(pod))
    other["metadata"]["uid"] = "another"
    rig.fake.put(PODS, other)
    await until(lambda: uid_of(rig.site.pod("users", pod["metadata"]["name"]) or pod) == "another")
    assert await spawner.poll() == 1
    assert len(rig.pods) == 1


async def test_stopping_is_no_death(rig: Rig, spawner: AIHubSpawner) -> None:
    pod = await running(rig, spawner)
    spawner._stop_pending = True
    rig.fake.remove(PODS, pod["metadata"]["name"])
    await until(lambda: rig.site.pod("users", pod["metadata"]["name"]) is None)
    assert await spawner.poll() == 1
    assert rig.aihub.ending(SERVER) is None


# --- a hub that takes servers over -----------------------------------------------------------------------------------


async def test_a_new_hub_takes_a_running_server_over(
    tmp_path: Path, fake: FakeKube, kubeconfig: None, port: int
) -> None:
    policy = POLICY.replace("8888", str(port))
    async with rig_of(tmp_path, policy, fake=fake) as rig:
        old = spawner_of()
        pod = await running(rig, old)
        state = json.loads(json.dumps(old.get_state()))
    async with rig_of(tmp_path, policy, fake=fake, opened=False) as rig:
        new = spawner_of()
        new.load_state(state)
        assert await new.poll() is None
        new.orm_spawner.server = server_row("/user/ada/two/")
        assert await asyncio.wait_for(new.get_url(), 10) == f"http://127.0.0.1:{port}"
        assert new.launched is not None
        await rig.aihub.open({new.launched.entry.id})
        (entry,) = rig.aihub.ledger.entries()
        assert (entry.server, entry.phase, entry.uid) == (SERVER, Phase.RUNNING, uid_of(pod))
        assert fake.deletions == []
        await rig.aihub.sweep()
        assert len(rig.pods) == 1
        await new.stop()
        nothing_stays(rig)


async def test_a_server_in_a_namespace_that_the_policy_forgot_is_taken_over(
    tmp_path: Path, fake: FakeKube, kubeconfig: None, port: int
) -> None:
    async with rig_of(tmp_path, POLICY.replace("8888", str(port)), fake=fake) as rig:
        old = spawner_of()
        await running(rig, old)
        state = old.get_state()
    async with rig_of(tmp_path, fake=fake, opened=False, userNamespace="elsewhere") as rig:
        new = spawner_of()
        new.load_state(state)
        assert new.launched is not None
        await rig.aihub.open({new.launched.entry.id})
        assert [entry.server for entry in rig.aihub.ledger.entries()] == [SERVER]
        assert await new.poll() is None


async def test_the_address_waits_until_the_server_answers_or_is_gone(rig: Rig, spawner: AIHubSpawner) -> None:
    pod = await running(rig, spawner)
    spawner.orm_spawner.server = server_row("/")
    name = pod["metadata"]["name"]
    rig.fake.change(PODS, name, status={**pod["status"], "podIP": ""})
    await until(lambda: not (rig.site.pod("users", name) or pod)["status"]["podIP"])
    waiting = asyncio.ensure_future(spawner.get_url())
    await asyncio.sleep(0.3)
    assert not waiting.done()
    rig.fake.remove(PODS, name)
    assert await asyncio.wait_for(waiting, 10) == "http://10.0.0.1:1/"


async def test_a_state_says_which_pod_and_what_it_holds(rig: Rig, spawner: AIHubSpawner) -> None:
    assert "pod_uid" not in spawner.get_state()
    pod = await running(rig, spawner)
    state = spawner.get_state()
    assert state["pod_uid"] == uid_of(pod)
    new = spawner_of()
    new.load_state(state)
    assert (new.namespace, new.pod_name) == ("users", pod["metadata"]["name"])
    assert new.server_uid() == uid_of(pod)
    new.clear_state()
    assert new.pod_uid == ""
    empty = spawner_of()
    empty.load_state({})
    assert await empty.poll() == 0
