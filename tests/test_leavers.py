"""The hub's servers as the guard sees them, on spawners without a hub."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aihub.app import Admission, AIHub
from aihub.errors import Reason
from aihub.guard import Guard
from aihub.leavers import HubServer, servers_of
from aihub.ledger import Phase, ServerKey
from aihub.projects import Person
from tests.hub_rig import POLICY, FakeSite, hub_user, loaded_aihub

SSO = """
  method: oidc
  oidc: {issuer: "https://id.example.org", clientId: aihub}
  allowed: {groups: [/students, /staff, /club]}
"""


class Proxy:
    """It may be away."""

    def __init__(self) -> None:
        self.away = False
        self.deleted: list[str] = []

    async def delete_user(self, user: Any, server_name: str) -> None:
        if self.away:
            raise OSError("the proxy is away")
        self.deleted.append(f"{user.name}/{server_name}")


class Spawner:
    """What the hub and AIHub keep of a server that runs."""

    def __init__(self, admission: Admission) -> None:
        self.launched: Admission | None = admission
        self.name = admission.entry.server.name
        self.pending: str | None = None
        self.ready = True
        self.orm_spawner = SimpleNamespace(state={})
        self._stop_pending = False
        self._stop_future: Any = None
        self._spawn_future: Any = None
        self._log_name = self.name

    def get_state(self) -> dict[str, Any]:
        return {"aihub": self.launched.as_state()} if self.launched else {}


class World:
    """A hub with one user and their one server."""

    def __init__(self, aihub: AIHub, admission: Admission, method: str, *groups: str) -> None:
        self.aihub, self.spawner, self.proxy, self.commits = aihub, Spawner(admission), Proxy(), 0
        self.user = hub_user("ada", *groups)
        self.user.spawners = {admission.entry.server.name: self.spawner}
        self.user.db = SimpleNamespace(commit=self._commit)
        self.user.stop = self._stop
        self.servers = servers_of(
            SimpleNamespace(
                users={1: self.user},
                authenticator=SimpleNamespace(method=method),
                proxy=self.proxy,
                eventlog=SimpleNamespace(emit=lambda **_event: None),
                log=logging.getLogger("hub"),
            )
        )

    @property
    def server(self) -> HubServer:
        (found,) = self.servers()
        return found

    def _commit(self) -> None:
        self.commits += 1

    async def _stop(self, name: str) -> None:
        admission, self.spawner.launched = self.spawner.launched, None
        assert admission is not None
        assert name == self.spawner.name
        await self.aihub.released(admission)
        self.spawner.ready = False


@pytest.fixture
async def aihub(tmp_path: Path) -> AsyncIterator[AIHub]:
    with loaded_aihub(tmp_path, FakeSite()) as loaded:
        await loaded.open(())
        yield loaded
        await loaded.close()


async def world(aihub: AIHub, method: str = "local", *groups: str) -> World:
    admission = await aihub.admit(Person("ada", frozenset({"/students"})), "two", {})
    await aihub.running(admission, "pid 7")
    return World(aihub, admission, method, *groups)


def now_says(aihub: AIHub, old: str, new: str) -> None:
    path = aihub.policy_file.paths[0]
    written = path.read_text()
    assert old in written
    path.write_text(written.replace(old, new))
    aihub.policy_file.refresh()
    assert not aihub.findings, aihub.findings


# --- who belongs -----------------------------------------------------------------------------------------------------


async def test_where_the_policy_file_lists_people_its_groups_count_and_not_the_hubs(aihub: AIHub) -> None:
    here = await world(aihub, "local")
    assert here.server.member() is True
    now_says(aihub, "Ada: {groups: [/students, /club]}", "Ada: {groups: [/club]}")
    assert here.server.member() is False
    now_says(aihub, "    Ada: {groups: [/club]}\n", "")
    assert here.server.member() is False, "not listed any more"


async def test_a_project_that_the_policy_has_no_more_is_left_by_everybody(aihub: AIHub) -> None:
    here = await world(aihub, "local")
    now_says(aihub, "  lab:\n", "  other:\n")
    assert here.server.member() is False


async def test_an_archived_project_keeps_its_people(aihub: AIHub) -> None:
    here = await world(aihub, "local")
    now_says(aihub, "  lab:\n", "  lab:\n    archived: true\n")
    assert here.server.member() is True


async def test_while_the_policy_file_asks_for_another_method_nobody_knows(aihub: AIHub) -> None:
    assert (await world(aihub, "sharedPassword")).server.member() is None


@pytest.fixture
async def through_provider(tmp_path: Path) -> AsyncIterator[AIHub]:
    (tmp_path / "policy.yaml").write_text(POLICY.partition("signIn:")[0] + "signIn:" + SSO)
    with loaded_aihub(tmp_path, FakeSite()) as loaded:
        await loaded.open(())
        yield loaded
        await loaded.close()


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        pytest.param(("/students",), True, id="member"),
        pytest.param(("/staff",), True, id="instructor"),
        pytest.param(("/club",), False, id="may-sign-in-and-is-in-no-group-of-the-project"),
        pytest.param((), False, id="no-group"),
    ],
)
async def test_through_a_provider_the_last_groups_of_the_hub_count(
    through_provider: AIHub, groups: tuple[str, ...], expected: bool
) -> None:
    assert (await world(through_provider, "oidc", *groups)).server.member() is expected


async def test_who_may_not_sign_in_any_more_has_left_every_project(through_provider: AIHub) -> None:
    here = await world(through_provider, "oidc", "/students")
    now_says(through_provider, "/students, /staff, /club]}\n", "/staff]}\n")
    assert here.server.member() is False


async def test_an_answer_without_any_groups_claim_says_nothing(through_provider: AIHub) -> None:
    here = await world(through_provider, "oidc")
    through_provider.identity_confirmed("ada", 1.0, groups_missing=True)
    through_provider.identity_ended("ada")
    assert here.server.member() is None
    through_provider.identity_confirmed("ada", 2.0)
    assert here.server.member() is False


async def test_an_outage_is_no_loss(through_provider: AIHub) -> None:
    here = await world(through_provider, "oidc", "/students")
    through_provider.identity_kept("ada", 1.0)
    assert here.server.member() is True


# --- marking and stopping --------------------------------------------------------------------------------------------


async def test_the_time_of_loss_is_kept_with_the_server_and_in_the_database(aihub: AIHub) -> None:
    here = await world(aihub)
    here.server.mark(100.0)
    assert (here.server.left_at, here.commits) == (100.0, 1)
    state = here.spawner.orm_spawner.state["aihub"]
    assert Admission.from_state(state).left_at == 100.0
    here.server.mark(None)
    assert here.server.left_at is None
    assert "leftAt" not in here.spawner.orm_spawner.state["aihub"]


async def test_a_start_is_marked_without_the_database_which_does_not_know_it_yet(aihub: AIHub) -> None:
    here = await world(aihub)
    here.spawner.ready, here.spawner.pending = False, "spawn"
    here.server.mark(100.0)
    assert (here.server.left_at, here.commits) == (100.0, 0)


async def test_a_server_is_stopped_with_its_route_and_word_is_left_why(aihub: AIHub) -> None:
    here = await world(aihub)
    assert await here.server.stop() is True
    assert here.proxy.deleted == ["ada/two"]
    assert aihub.ledger.entries() == ()
    ending = aihub.ending(ServerKey("ada", "two"))
    assert ending is not None
    assert (ending.refusal.reason, ending.project, ending.started) == (Reason.PROJECT_LEFT, "lab", True)
    assert ending.refusal.parameters["project"] == "lab"


async def test_a_stop_that_fails_leaves_the_server_and_no_word_and_is_tried_again(aihub: AIHub) -> None:
    here = await world(aihub)
    here.proxy.away = True
    now_says(aihub, "Ada: {groups: [/students, /club]}", "Ada: {}")
    guard = Guard(here.servers, lambda: 0.0)
    guard.look()
    await guard.settled()
    assert here.proxy.deleted == []
    assert aihub.ledger.entries()[0].phase is Phase.RUNNING
    assert aihub.ending(ServerKey("ada", "two")) is None
    here.proxy.away = False
    guard.look()
    await guard.settled()
    assert here.proxy.deleted == ["ada/two"]
    assert aihub.ledger.entries() == ()
    assert aihub.ending(ServerKey("ada", "two")) is not None


async def test_a_start_in_a_lost_project_is_cancelled(aihub: AIHub) -> None:
    here = await world(aihub)
    admission = here.spawner.launched
    assert admission is not None

    async def start() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            here.spawner.pending, here.spawner.ready, here.spawner.launched = None, False, None
            await aihub.released(admission)

    here.spawner.pending, here.spawner.ready = "spawn", False
    server = here.server
    here.spawner._spawn_future = asyncio.ensure_future(start())
    await asyncio.sleep(0)
    assert await server.stop() is True
    assert here.spawner._spawn_future.cancelled()
    assert aihub.ledger.entries() == ()


async def test_a_server_that_stops_already_is_nobodys_business(aihub: AIHub) -> None:
    here = await world(aihub)
    here.spawner.pending = "stop"
    assert list(here.servers()) == []
