"""The culler against a hub of our own that speaks the hub's API over real HTTP."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, HTTPError, RequestHandler

from aihub.cull import Culler
from aihub.idle import patience

TOKEN = "the-cullers-own-token"
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


class FakeHub:
    """As much of the hub as the culler asks for; `stopped` are the servers it was told to stop."""

    def __init__(self) -> None:
        self.users: list[dict[str, Any]] = []
        self.stopped: list[str] = []
        self.requests: list[str] = []
        self.broken = False
        self.page = 2
        self.url = ""

    def add(self, user: str, name: str = "", **server: Any) -> None:
        """A running server; `idle` and `age` in seconds, the rules as `stop_after` and `max_age`."""
        model = {
            "name": name,
            "ready": True,
            "pending": server.get("pending"),
            "url": f"/user/{user}/{name}",
            "started": _iso(server.get("age", 10**5)),
            "last_activity": None if server.get("idle") is None else _iso(server["idle"]),
            "state": {"pid": 1, "aihub": {"stopAfter": server.get("stop_after"), "maxAge": server.get("max_age")}},
        }
        if "state" in server:
            model["state"] = server["state"]
        known = {each["name"]: each for each in self.users}
        if user not in known:
            known[user] = {"name": user, "servers": {}}
            self.users.append(known[user])
        known[user]["servers"][name] = model


def _iso(seconds_ago: float) -> str:
    return (NOW - timedelta(seconds=seconds_ago)).isoformat().replace("+00:00", "Z")


class Handler(RequestHandler):
    def initialize(self, hub: FakeHub) -> None:
        self.hub = hub

    def prepare(self) -> None:
        self.hub.requests.append(f"{self.request.method} {self.request.uri}")
        if self.request.headers.get("Authorization") != f"token {TOKEN}":
            raise HTTPError(403)
        if self.hub.broken:
            raise HTTPError(503)


class Version(Handler):
    def get(self) -> None:
        self.write({"version": "6.1.1"})


class Users(Handler):
    def get(self) -> None:
        assert self.get_query_argument("state") == "ready"
        start = int(self.get_query_argument("offset", "0"))
        end = start + self.hub.page
        following = {"url": f"{self.hub.url}/users?state=ready&offset={end}"} if end < len(self.hub.users) else None
        self.write({"items": self.hub.users[start:end], "_pagination": {"next": following}})


class StopServer(Handler):
    def delete(self, user: str, name: str = "") -> None:
        self.hub.stopped.append(f"{user}/{name}")
        self.set_status(204)


@pytest.fixture
async def hub() -> AsyncIterator[FakeHub]:
    fake = FakeHub()
    bound: dict[str, Any] = {"hub": fake}
    routes: list[Any] = [
        (r"/hub/api/", Version, bound),
        (r"/hub/api/users", Users, bound),
        (r"/hub/api/users/([^/]+)/server", StopServer, bound),
        (r"/hub/api/users/([^/]+)/servers/([^/]+)", StopServer, bound),
    ]
    listening, port = bind_unused_port()
    server = HTTPServer(Application(routes))
    server.add_socket(listening)
    fake.url = f"http://127.0.0.1:{port}/hub/api"
    yield fake
    server.stop()
    await server.close_all_connections()


class Clock:
    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


def culler_of(hub: FakeHub, *, heard_for: float = 10**6) -> tuple[Culler, Clock]:
    """A culler that has been listening to the hub for that many seconds, at NOW."""
    clock = Clock(NOW - timedelta(seconds=heard_for))
    culler = Culler(hub.url, TOKEN, now=clock)
    clock.now = NOW
    return culler, clock


async def test_each_server_by_its_own_rules(hub: FakeHub) -> None:
    hub.add("ana", idle=700, stop_after=600)
    hub.add("ana", "second", idle=700, stop_after=3600)
    hub.add("ben", idle=599, stop_after=600)
    hub.add("cam", idle=10, age=7300, stop_after=600, max_age=7200)
    hub.add("dee", idle=10, age=7100, stop_after=600, max_age=7200)
    hub.add("eve", idle=10**5)
    hub.add("fay", "named", idle=601, stop_after=600)
    await culler_of(hub)[0].cull()
    assert sorted(hub.stopped) == ["ana/", "cam/", "fay/named"]


@pytest.mark.parametrize(
    ("server", "stopped"),
    [
        pytest.param({"idle": None, "age": 700, "stop_after": 600}, True, id="no activity since the start"),
        pytest.param({"idle": None, "age": 500, "stop_after": 600}, False, id="no activity yet"),
        pytest.param({"idle": 9000, "age": 10, "stop_after": 600}, False, id="activity of an earlier server"),
        pytest.param({"idle": 10**5, "state": None}, False, id="rules cannot be read"),
        pytest.param({"idle": 10**5, "state": {"pid": 1}}, False, id="not ours"),
        pytest.param({"idle": 10**5, "stop_after": 600, "pending": "stop"}, False, id="stopping already"),
    ],
)
async def test_one_server(hub: FakeHub, server: dict[str, Any], stopped: bool) -> None:
    hub.add("ana", **server)
    await culler_of(hub)[0].cull()
    assert bool(hub.stopped) is stopped


async def test_a_hub_that_just_came_back_is_not_believed(hub: FakeHub) -> None:
    """While the hub was down no server could report: a busy one looks idle until it has."""
    hub.add("idle", idle=5000, stop_after=600)
    hub.add("old", idle=5000, stop_after=600, age=9000, max_age=8000)
    culler, clock = culler_of(hub, heard_for=patience(600) - 1)
    await culler.cull()
    assert hub.stopped == ["old/"]
    clock.now += timedelta(seconds=1)
    await culler.cull()
    assert "idle/" in hub.stopped


async def test_an_outage_starts_the_patience_anew(hub: FakeHub, caplog: pytest.LogCaptureFixture) -> None:
    hub.add("ana", idle=5000, stop_after=600)
    culler, _ = culler_of(hub)
    hub.broken = True
    with caplog.at_level(logging.WARNING, "aihub.cull"):
        await culler.cull()
    assert "does not answer" in caplog.text
    hub.broken = False
    await culler.cull()
    assert hub.stopped == []


@pytest.mark.parametrize(("asleep", "stopped"), [(5, ["ana/"]), (3600, [])])
async def test_a_machine_that_slept_gives_servers_time_to_report(
    hub: FakeHub, asleep: float, stopped: list[str]
) -> None:
    hub.add("ana", idle=5000, stop_after=600)
    culler, clock = culler_of(hub)
    before = clock.now
    clock.now += timedelta(seconds=30 + asleep)
    culler.paused(before, every=30)
    await culler.cull()
    assert hub.stopped == stopped


async def test_a_hub_that_is_away_does_not_end_the_culler() -> None:
    listening, port = bind_unused_port()
    listening.close()
    await Culler(f"http://127.0.0.1:{port}/hub/api", TOKEN).cull()


async def test_requests_grow_with_running_servers_alone(hub: FakeHub) -> None:
    hub.page = 50
    for number in range(120):
        hub.add(f"u{number}", idle=10, stop_after=600 + number)
    await culler_of(hub)[0].cull()
    assert [request.split("?")[0] for request in hub.requests] == ["GET /hub/api/", *["GET /hub/api/users"] * 3]


async def test_the_service_itself_stops_what_is_due(hub: FakeHub) -> None:
    """As the hub starts it: a process with the hub's variables. Too old needs no patience."""
    hub.add("ana", age=10**4, idle=10**4, max_age=60)
    variables = {"JUPYTERHUB_API_URL": hub.url, "JUPYTERHUB_API_TOKEN": TOKEN, "PYTHONPATH": str(Path.cwd())}
    service = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "aihub.cull", "--every=0.1", env={**os.environ, **variables}
    )
    async with asyncio.timeout(20):
        while len(hub.stopped) < 2:  # noqa: ASYNC110 - another process makes the requests
            await asyncio.sleep(0.05)
    service.terminate()
    await service.wait()
    assert set(hub.stopped) == {"ana/"}
