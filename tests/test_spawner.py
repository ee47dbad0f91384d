"""One start as every spawner makes it, on a spawner that makes nothing: what is held, and until when."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest

from aihub import i18n
from aihub.app import Admission, Ending
from aihub.errors import Reason, Refusal, RefusedError
from aihub.facts import Facts
from aihub.ledger import Ledger, Phase, Request, ServerKey
from aihub.messages import Names
from aihub.plan import Plan
from aihub.policy import Policy, resolve
from aihub.profiles import Profile
from aihub.projects import Membership, Offer, Person, Project
from aihub.spawner import LaunchMixin, Progress, SpawnRefused
from aihub.storage import Home
from tests.plans import NOW, one_image

ADA = ServerKey("ada")


def a_plan() -> Plan:
    project = Project("ml101", members=Membership(everybody=True), images=Offer(("tiny",)), profiles=Offer(("small",)))
    policy = Policy(one_image(), {"small": Profile("small")}, {"ml101": project}, Home(size=Decimal(5)))
    plan = resolve(policy, Person("ada"), {}, Facts(NOW))
    assert isinstance(plan, Plan)
    return plan


class FakeHub:
    """The part of `AIHub` that a spawner calls, on a real ledger."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.ledger.rebuild((), now=0)
        self.endings: list[Ending] = []

    def person(self, _user: object) -> Person:
        return Person("ada")

    async def admit(self, person: Person, server: str, _options: object) -> Admission:
        plan = a_plan()
        entry = self.ledger.reserve(Request.of(plan, server, deadline=100))
        if isinstance(entry, Refusal):
            raise RefusedError(entry)
        return Admission.of(entry, plan)

    async def running(self, admission: Admission, uid: str) -> None:
        self.ledger.running(admission.entry.id, uid)

    def releasing(self, admission: Admission) -> None:
        self.ledger.releasing(admission.entry.id)

    async def released(self, admission: Admission, made: Collection[str] | None = None) -> None:
        self.ledger.release(admission.entry.id, made)

    def ended(self, _server: ServerKey, ending: Ending) -> None:
        self.endings.append(ending)


class HubSpawner:
    """What the mixin finds of JupyterHub's own Spawner below it."""

    name = ""
    user = None
    user_options: Mapping[str, Any] = MappingProxyType({})
    log = logging.getLogger("test")
    _log_name = "ada"
    _stop_pending = False

    async def run_post_stop_hook(self) -> None:
        pass


class FakeSpawner(LaunchMixin, HubSpawner):
    """Each step waits until the test lets it go on."""

    def __init__(self, hub: FakeHub) -> None:
        self.hub_of_test = hub
        self.may_run, self.may_end = asyncio.Event(), asyncio.Event()
        self.in_hand = asyncio.Event()
        self.process = False
        self.folders: set[str] = set()
        self.problem: Exception | None = None

    @property
    def aihub(self) -> Any:
        return self.hub_of_test

    async def carry_out(self, admission: Admission, progress: Progress) -> str:
        progress.enter("start")
        if self.problem:
            raise self.problem
        self.folders.update(claim.id for claim in admission.entry.claims)
        self.process = True
        self.in_hand.set()
        await self.may_run.wait()
        return "http://127.0.0.1:1"

    async def take_down(self) -> None:
        self.in_hand.set()
        await self.may_end.wait()
        self.process = False

    async def made(self, _admission: Admission) -> Collection[str]:
        return self.folders

    def uid(self) -> str:
        return "process"


def stored(hub: FakeHub) -> Decimal:
    usage = hub.ledger.usage("ada")
    assert usage is not None
    return usage.user["storage"]


async def test_a_start_that_failed_before_its_storage_leaves_nothing_charged() -> None:
    hub = FakeHub()
    spawner = FakeSpawner(hub)
    spawner.may_end.set()
    spawner.problem = RefusedError(Refusal(Reason.DATASET_MISSING, {"dataset": "flowers", "path": "/gone"}))
    with pytest.raises(SpawnRefused):
        await spawner.start()
    assert hub.ledger.find(ADA) is None
    assert stored(hub) == 0, "a home that was never made is charged"
    assert hub.endings[0].refusal.reason is Reason.DATASET_MISSING


async def test_a_start_that_failed_after_its_storage_leaves_that_charged() -> None:
    hub = FakeHub()
    spawner = FakeSpawner(hub)
    start = asyncio.ensure_future(spawner.start())
    await spawner.in_hand.wait()
    spawner.may_end.set()
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert hub.ledger.find(ADA) is None
    assert stored(hub) == 5
    assert not hub.endings, "nobody is told that what they cancelled has failed"


@pytest.mark.parametrize("when", ["storage", "ready"])
async def test_what_is_cancelled_twice_is_held_until_it_is_gone(when: str) -> None:
    hub = FakeHub()
    spawner = FakeSpawner(hub)
    start = asyncio.ensure_future(spawner.start())
    await spawner.in_hand.wait()
    spawner.in_hand.clear()
    start.cancel()
    await spawner.in_hand.wait()
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start

    # What the hub does with a server whose start has ended: it polls, and calls it stopped.
    hook = asyncio.ensure_future(spawner.run_post_stop_hook() if when == "storage" else spawner.stop())
    await asyncio.sleep(0.01)
    assert spawner.process
    assert hub.ledger.find(ADA) is not None, "freed while the process is still there"
    spawner.may_end.set()
    await hook
    assert hub.ledger.find(ADA) is None


async def test_a_running_server_is_held_until_it_has_stopped() -> None:
    hub = FakeHub()
    spawner = FakeSpawner(hub)
    spawner.may_run.set()
    assert await spawner.start() == "http://127.0.0.1:1"
    stop = asyncio.ensure_future(spawner.stop())
    await asyncio.sleep(0)
    entry = hub.ledger.find(ADA)
    assert entry is not None
    assert entry.phase is Phase.RELEASING
    spawner.may_end.set()
    await stop
    await spawner.run_post_stop_hook()
    assert hub.ledger.find(ADA) is None
    assert stored(hub) == 5


async def test_an_unexpected_error_leaves_as_a_refusal_with_an_id() -> None:
    spawner = FakeSpawner(FakeHub())
    spawner.may_end.set()
    spawner.problem = ValueError("a secret")
    with pytest.raises(SpawnRefused) as raised:
        await spawner.start()
    assert raised.value.refusal.reason is Reason.START_FAILED
    assert raised.value.refusal.parameters["id"]
    assert "secret" not in raised.value.jupyterhub_message


async def test_every_line_of_a_long_log_reaches_whoever_follows_it() -> None:
    spawner = FakeSpawner(FakeHub())
    made = spawner.progress_made = Progress()
    made.enter("image")
    events = spawner.progress()
    heard = (await anext(events))["lines"]
    for number in range(3 * Progress.MAX_LINES):
        made.say(str(number))
        if number % 2:
            heard += (await anext(events))["lines"]
    assert heard == [str(number) for number in range(3 * Progress.MAX_LINES)]
    assert len(made.lines) == Progress.MAX_LINES


async def test_lines_said_while_an_event_is_sent_come_with_the_next() -> None:
    spawner = FakeSpawner(FakeHub())
    made = spawner.progress_made = Progress()
    made.enter("image")
    async for event in spawner.progress():
        if event["lines"] == ["while the first one was sent"]:
            break
        made.say("while the first one was sent")


def test_a_refusal_speaks_the_language_of_its_reader() -> None:
    refusal = Refusal(Reason.PROJECT_ARCHIVED, {"project": "ml101"})
    names = Names(projects={"ml101": "機器學習"})
    chinese = SpawnRefused(refusal, i18n.languages()["zh_TW"], names)
    assert "機器學習" in chinese.jupyterhub_message
    assert "archived" not in chinese.jupyterhub_message
    assert "archived" in SpawnRefused(refusal).jupyterhub_message
    assert chinese.headers == SpawnRefused(refusal).headers == {"AIHub-Reason": "project-archived"}
