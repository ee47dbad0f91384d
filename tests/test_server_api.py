"""Stop and Cancel, on a spawner without a hub: once, to the end, whoever waits."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from aihub.handlers import server_api
from aihub.handlers.server_api import end_server


class Starting:
    """A spawner whose start clears away for as long as a test says; cancelled, it looks ready, as the hub's do."""

    def __init__(self) -> None:
        self.pending: str | None = "spawn"
        self.ready = False
        self.cancelled = 0
        self.cleared = asyncio.Event()
        self._spawn_future = asyncio.ensure_future(self._start())
        self._spawn_future.add_done_callback(self._done)

    async def _start(self) -> None:
        while not self.cleared.is_set():
            try:
                await self.cleared.wait()
            except asyncio.CancelledError:
                self.cancelled += 1

    def _done(self, _start: object) -> None:
        self.pending, self.ready = None, True


class Asker:
    """A handler that can stop servers."""

    def __init__(self) -> None:
        self.stopped: list[str] = []

    async def stop_single_user(self, user: Any, name: str) -> None:
        user.spawners[name].ready, user.spawners[name].pending = False, "stop"
        self.stopped.append(name)


async def test_two_clicks_cancel_once_and_stop_once() -> None:
    spawner, asker = Starting(), Asker()
    user = SimpleNamespace(spawners={"two": spawner})
    clicks = [asyncio.ensure_future(end_server(asker, user, "two")) for _ in range(2)]
    await asyncio.sleep(0.01)
    assert not asker.stopped
    spawner.cleared.set()
    await asyncio.gather(*clicks)
    assert (spawner.cancelled, asker.stopped) == (1, ["two"])


async def test_a_start_that_takes_long_to_clear_away_is_stopped_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_api, "CANCEL_PATIENCE", 0.01)
    spawner, asker = Starting(), Asker()
    await end_server(asker, SimpleNamespace(spawners={"": spawner}), "")
    assert not asker.stopped
    spawner.cleared.set()
    await asyncio.sleep(0.05)
    assert asker.stopped == [""], "it looks ready for ever, and nothing runs"


@pytest.mark.parametrize("spawners", [{}, {"": SimpleNamespace(pending="stop", ready=False)}], ids=["none", "stopping"])
async def test_nothing_happens_to_what_does_not_run_or_is_stopping(spawners: dict[str, Any]) -> None:
    asker = Asker()
    await end_server(asker, SimpleNamespace(spawners=spawners), "")
    assert not asker.stopped
