"""A start, above a spawner that makes nothing: what leaves it, what it gives back, what a new hub takes over.

Traps of JupyterHub that these tests would notice (upstream.md): 1, what a refusal carries; 2, that none of them counts
as a failure of the hub; 5, the headers of REST answers; 21, a cancelled start.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from jupyterhub.spawner import SpawnException
from tornado import web

from aihub.app import Admission, AIHub
from aihub.errors import Reason, Refusal, RefusedError
from aihub.language import Language
from aihub.ledger import Phase, ServerKey
from aihub.messages import Names
from aihub.spawner import STAGES, LaunchMixin, Progress, SpawnRefused
from tests.hub_rig import FakeSite, hub_user, loaded_aihub

SERVER = ServerKey("ada", "two")
Work = Callable[[Progress], Awaitable[str]]


class Below:
    """What `LaunchMixin` needs of JupyterHub's spawner."""

    def __init__(self) -> None:
        self.user: Any = hub_user("ada", "/students")
        self.name = "two"
        self.user_options: Any = {}
        self.log = logging.getLogger("tests.spawner")
        self._log_name = "ada:two"
        self._stop_pending = False
        self.hooks = 0

    def get_state(self) -> dict[str, Any]:
        return {"below": 1}

    def load_state(self, state: dict[str, Any]) -> None:
        self.loaded = state

    async def run_post_stop_hook(self) -> None:
        self.hooks += 1


class FakeSpawner(LaunchMixin, Below):
    """Does what a test says, and remembers what was asked of it."""

    api_token, db = "", None

    def __init__(self, work: Work | None = None) -> None:
        super().__init__()
        self.work = work or answer
        self.plans: list[Admission] = []
        self.taken_down = 0
        self.slow_end: asyncio.Event | None = None
        self.stays = False
        self.exists: Collection[str] = ()

    async def carry_out(self, admission: Admission, progress: Progress) -> str:
        self.plans.append(admission)
        return await self.work(progress)

    def server_uid(self) -> str:
        return "7@1"

    async def take_down(self) -> bool:
        if self.slow_end is not None:
            await self.slow_end.wait()
        self.taken_down += 1
        return not self.stays

    async def made(self, admission: Admission) -> Collection[str]:
        return self.exists

    async def poll(self) -> int | None:
        return None


async def answer(_progress: Progress) -> str:
    return "http://127.0.0.1:1"


def failing(error: BaseException, *lines: str) -> Work:
    async def work(progress: Progress) -> str:
        progress.enter("image")
        for line in lines:
            progress.say(line)
        raise error

    return work


@pytest.fixture
async def aihub(tmp_path: Path) -> AsyncIterator[AIHub]:
    with loaded_aihub(tmp_path, FakeSite()) as aihub:
        await aihub.open(())
        yield aihub
        await aihub.close()


async def refusal_of(spawner: FakeSpawner) -> SpawnRefused:
    with pytest.raises(SpawnException) as raised:
        await spawner.start()
    assert isinstance(raised.value, SpawnRefused)
    return raised.value


# --- what a refusal carries ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_reaches_its_reader_on_every_way_out(reason: Reason) -> None:
    error = SpawnRefused(Refusal(reason))
    # The progress page and the form read these two, REST the message, the headers and the status.
    assert error.jupyterhub_message
    assert error.jupyterhub_html_message
    assert error.headers == {"AIHub-Reason": reason.value}
    assert error.status_code in {400, 403, 409, 503}
    assert error.message == error.jupyterhub_message
    for text in (error.jupyterhub_message, error.message):
        assert "SpawnRefused" not in text
        assert "SpawnException" not in text


def test_a_refusal_is_of_the_kind_that_the_hub_does_not_count_as_its_own_failure() -> None:
    error = SpawnRefused(Refusal(Reason.QUOTA_MEMBER))
    assert isinstance(error, SpawnException)
    assert isinstance(error, web.HTTPError)
    assert error.reason == "quota-member"


def test_markup_in_a_refusal_is_text() -> None:
    error = SpawnRefused(Refusal(Reason.UNKNOWN_IMAGE, {"image": "<script>x</script>", "project": "lab"}))
    assert "<script>" in error.jupyterhub_message
    assert "<script>" not in error.jupyterhub_html_message
    assert "&lt;script&gt;" in error.jupyterhub_html_message


def test_a_refusal_speaks_the_reader_s_names() -> None:
    refusal = Refusal(Reason.IMAGE_NOT_OFFERED, {"image": "plain:1", "project": "lab"})
    error = SpawnRefused(refusal, Language(), Names(projects={"lab": "The Lab"}))
    assert "The Lab" in error.jupyterhub_message
    assert error.refusal is refusal


# --- a start ---------------------------------------------------------------------------------------------------------


async def test_a_start_is_admitted_carried_out_and_held(aihub: AIHub) -> None:
    spawner = FakeSpawner()
    assert await spawner.start() == "http://127.0.0.1:1"
    (entry,) = aihub.ledger.entries()
    assert (entry.server, entry.phase, entry.uid) == (SERVER, Phase.RUNNING, "7@1")
    assert [plan.image for plan in spawner.plans] == ["plain:1"]
    assert spawner.progress_made is not None
    assert spawner.progress_made.stage == "ready"

    await spawner.stop()
    assert spawner.taken_down == 1
    assert aihub.ledger.entries() == ()
    assert spawner.launched is None


async def test_options_are_resolved_with_the_rights_of_the_owner_at_the_start(aihub: AIHub) -> None:
    spawner = FakeSpawner()
    spawner.user = hub_user("eve", "/club")
    error = await refusal_of(spawner)
    assert error.refusal.reason is Reason.UNKNOWN_PROJECT
    assert spawner.plans == []


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ([], Reason.INVALID_OPTIONS),
        (None, Reason.INVALID_OPTIONS),
        ({"image": 1}, Reason.INVALID_OPTIONS),
        ({"image": "plain:9"}, Reason.UNKNOWN_IMAGE),
    ],
    ids=["list", "null", "number", "unknown"],
)
async def test_bad_saved_options_end_in_a_refusal_and_hold_nothing(
    aihub: AIHub, options: object, reason: Reason
) -> None:
    spawner = FakeSpawner()
    spawner.user_options = options
    assert (await refusal_of(spawner)).refusal.reason is reason
    assert (spawner.plans, spawner.taken_down) == ([], 0)
    assert aihub.ledger.entries() == ()


async def test_every_start_has_a_plan_of_its_own(aihub: AIHub) -> None:
    spawner = FakeSpawner()
    spawner.user_options = {"profile": "gpu"}
    await spawner.start()
    await spawner.stop()
    spawner.user_options = {}
    await spawner.start()
    first, second = (admission.plan for admission in spawner.plans)
    assert first is not None
    assert second is not None
    assert (first.accelerator, second.accelerator) == ("nvidia.com/gpu", None)
    assert spawner.plans[1].entry.devices == ()


async def test_a_reason_found_on_the_way_is_told_and_remembered(aihub: AIHub) -> None:
    reason = Refusal(Reason.BUILD_FAILED, {"image": "plain:1"})
    spawner = FakeSpawner(failing(RefusedError(reason), "one", "two"))
    assert (await refusal_of(spawner)).refusal is reason
    assert spawner.taken_down == 1
    assert aihub.ledger.entries() == ()
    assert spawner.launched is None
    ending = aihub.ending(SERVER)
    assert ending is not None
    assert (ending.refusal, ending.lines, ending.started) == (reason, ("one", "two"), False)


async def test_an_unexpected_error_gets_an_id_that_the_log_has_too(
    aihub: AIHub, caplog: pytest.LogCaptureFixture
) -> None:
    spawner = FakeSpawner(failing(RuntimeError("the secret inside")))
    error = await refusal_of(spawner)
    assert error.refusal.reason is Reason.START_FAILED
    assert error.status_code < 500
    quote = str(error.refusal.parameters["id"])
    assert quote in error.jupyterhub_message
    assert "secret" not in error.jupyterhub_message
    (record,) = [record for record in caplog.records if record.name == "tests.spawner"]
    assert quote in record.getMessage()
    assert record.exc_info is not None
    assert "the secret inside" in str(record.exc_info[1])
    assert aihub.ledger.entries() == ()


async def test_claims_that_a_failed_start_made_stay_known_and_others_do_not(aihub: AIHub) -> None:
    spawner = FakeSpawner(failing(RuntimeError("full")))
    spawner.exists = ["home/ada"]
    await refusal_of(spawner)
    assert set(aihub.ledger.claims()) == {"home/ada"}

    other = FakeSpawner(failing(RuntimeError("full")))
    other.user = hub_user("bob", "/students")
    await refusal_of(other)
    assert set(aihub.ledger.claims()) == {"home/ada"}


# --- a start that is cancelled ---------------------------------------------------------------------------------------


async def a_start_on_its_way(spawner: FakeSpawner) -> asyncio.Task[str]:
    began = asyncio.Event()

    async def work(_progress: Progress) -> str:
        began.set()
        await asyncio.Event().wait()
        return ""

    spawner.work = work
    task = asyncio.ensure_future(spawner.start())
    await began.wait()
    return task


async def test_a_cancelled_start_gives_everything_back(aihub: AIHub) -> None:
    spawner = FakeSpawner()
    task = await a_start_on_its_way(spawner)
    assert len(aihub.ledger.entries()) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert spawner.taken_down == 1
    assert aihub.ledger.entries() == ()
    assert aihub.ending(SERVER) is None, "whoever cancels knows why it ended"


async def test_a_start_that_is_cancelled_twice_is_gone_when_the_hub_says_so(aihub: AIHub) -> None:
    spawner = FakeSpawner()
    spawner.slow_end = asyncio.Event()
    task = await a_start_on_its_way(spawner)
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert aihub.ledger.entries(), "it still ends: its place is not free yet"

    said_gone = asyncio.ensure_future(spawner.run_post_stop_hook())
    await asyncio.sleep(0.01)
    assert not said_gone.done()
    spawner.slow_end.set()
    await said_gone
    assert (spawner.taken_down, spawner.hooks) == (1, 1)
    assert aihub.ledger.entries() == ()


# --- the end ---------------------------------------------------------------------------------------------------------


async def test_the_hub_s_last_word_releases_a_server_that_it_found_dead(aihub: AIHub) -> None:
    spawner = FakeSpawner()
    await spawner.start()
    await spawner.run_post_stop_hook()
    await spawner.run_post_stop_hook()
    assert spawner.hooks == 2
    assert aihub.ledger.entries() == ()


async def test_a_server_that_is_being_stopped_still_counts(aihub: AIHub) -> None:
    spawner = FakeSpawner()
    await spawner.start()
    spawner.slow_end = asyncio.Event()
    stopping = asyncio.ensure_future(spawner.stop())
    await asyncio.sleep(0)
    assert [entry.phase for entry in aihub.ledger.entries()] == [Phase.RELEASING]
    spawner.slow_end.set()
    await stopping
    assert aihub.ledger.entries() == ()


async def test_a_server_that_does_not_go_holds_its_place_until_it_is_gone(aihub: AIHub) -> None:
    site = aihub.site
    assert isinstance(site, FakeSite)
    spawner = FakeSpawner()
    await spawner.start()
    spawner.stays = True
    await spawner.stop()
    await spawner.run_post_stop_hook()
    assert [entry.phase for entry in aihub.ledger.entries()] == [Phase.RELEASING]
    assert spawner.launched is None

    spawner.stays = False
    assert (await refusal_of(spawner)).refusal.reason is Reason.SERVER_BUSY
    await aihub.sweep()
    assert len(aihub.ledger.entries()) == 1, "nobody knows that it is gone"
    site.missing = ["home/ada"]
    await aihub.sweep()
    assert aihub.ledger.entries() == ()
    await spawner.start()
    await spawner.stop()
    assert aihub.ledger.entries() == (), "a new start ends as any other"


async def test_a_failed_start_that_left_something_holds_its_place_until_that_is_gone(aihub: AIHub) -> None:
    site = aihub.site
    assert isinstance(site, FakeSite)
    spawner = FakeSpawner(failing(RefusedError(Refusal(Reason.API_UNAVAILABLE))))
    spawner.stays = True
    assert (await refusal_of(spawner)).refusal.reason is Reason.API_UNAVAILABLE
    assert [entry.phase for entry in aihub.ledger.entries()] == [Phase.RELEASING]
    assert aihub.store.open_rows(), "a new hub looks for it too"
    site.missing = ()
    await aihub.sweep()
    assert aihub.ledger.entries() == ()
    assert aihub.store.open_rows() == ()


async def test_a_server_that_died_says_why(aihub: AIHub) -> None:
    spawner = FakeSpawner()
    await spawner.start()
    why = Refusal(Reason.SERVER_DIED, {"server": "two", "status": -9})
    spawner.died(why, [str(number) for number in range(30)])
    ending = aihub.ending(SERVER)
    assert ending is not None
    assert ending.refusal == why
    assert ending.lines == tuple(str(number) for number in range(10, 30))
    assert ending.started


async def test_a_server_that_was_stopped_did_not_die(aihub: AIHub) -> None:
    spawner = FakeSpawner()
    why = Refusal(Reason.SERVER_DIED, {"server": "two"})
    spawner.died(why, ["never started"])
    await spawner.start()
    spawner._stop_pending = True
    spawner.died(why, ["asked to end"])
    assert aihub.ending(SERVER) is None


async def test_what_is_not_gone_after_a_stop_goes_on_counting_until_it_is(aihub: AIHub) -> None:
    spawner = FakeSpawner()
    await spawner.start()
    spawner.stays = True
    await spawner.stop()
    await spawner.run_post_stop_hook()
    assert [entry.phase for entry in aihub.ledger.entries()] == [Phase.RELEASING]
    site = cast("FakeSite", aihub.site)
    await aihub.sweep()
    assert aihub.ledger.entries(), "the place does not know yet"
    site.missing = ()
    await aihub.sweep()
    assert aihub.ledger.entries() == (), "the place said that it is gone"


async def test_what_a_failed_start_left_goes_on_counting_until_it_is_gone(aihub: AIHub) -> None:
    spawner = FakeSpawner(failing(RuntimeError("broke")))
    spawner.stays = True
    await refusal_of(spawner)
    assert [entry.phase for entry in aihub.ledger.entries()] == [Phase.RELEASING]
    site = cast("FakeSite", aihub.site)
    await aihub.sweep()
    assert aihub.ledger.entries(), "the place does not know yet"
    site.missing = ()
    await aihub.sweep()
    assert aihub.ledger.entries() == ()


# --- a new hub -------------------------------------------------------------------------------------------------------


async def test_a_new_hub_takes_over_what_a_server_holds(aihub: AIHub) -> None:
    old = FakeSpawner()
    old.user_options = {"profile": "gpu"}
    assert old.get_state() == {"below": 1}
    await old.start()
    state = json.loads(json.dumps(old.get_state()))
    assert state["below"] == 1

    new = FakeSpawner()
    new.load_state(state)
    assert new.loaded is state
    assert old.launched is not None
    assert new.launched is not None
    assert new.launched.as_state() == old.launched.as_state()
    assert new.launched.plan is None
    assert new.get_state() == state
    await new.stop()
    assert aihub.ledger.entries() == ()


def test_a_state_without_anything_of_ours_is_no_server() -> None:
    spawner = FakeSpawner()
    spawner.launched = SimpleNamespace()  # type: ignore[assignment]  # of an earlier run
    spawner.load_state({})
    assert spawner.launched is None


# --- progress --------------------------------------------------------------------------------------------------------


async def test_progress_names_stages_and_brings_each_line_once() -> None:
    spawner = FakeSpawner()
    made = spawner.progress_made = Progress()
    made.enter("admit")
    events = spawner.progress()
    first = await anext(events)
    assert (first["progress"], first["stage"], first["lines"]) == (0, "admit", [])
    assert first["message"]

    made.enter("image")
    made.say("one")
    made.say("two")
    second = await anext(events)
    assert (second["progress"], second["stage"], second["lines"]) == (40, "image", ["one", "two"])

    waiting = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    assert not waiting.done()
    made.say("three")
    assert (await waiting)["lines"] == ["three"]
    await events.aclose()  # type: ignore[attr-defined]  # an async generator, whatever the hub calls it


async def test_a_server_that_was_never_started_has_no_progress() -> None:
    assert [event async for event in FakeSpawner().progress()] == []


async def test_a_page_that_reads_slowly_gets_the_lines_that_are_left() -> None:
    made = Progress()
    for number in range(made.MAX_LINES + 100):
        made.say(str(number))
    assert len(made.lines) == made.MAX_LINES
    assert made.after(0) == made.lines
    assert made.after(made.said - 2) == ["598", "599"]
    assert made.after(made.said) == []


def test_every_stage_has_a_place_in_the_bar() -> None:
    shares = [100 * STAGES.index(stage) // len(STAGES) for stage in STAGES]
    assert shares == sorted(set(shares))
