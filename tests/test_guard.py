"""Servers of people who left their project."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from aihub.guard import Guard, Step, belongs, step
from aihub.projects import Membership, Person, Project

LAB = Project("lab", members=Membership(groups=("/students",)), instructors=Membership(users=frozenset({"teacher"})))
OLD = Project("old", archived=True, members=Membership(everybody=True))


@pytest.mark.parametrize(
    ("project", "person", "expected"),
    [
        pytest.param(LAB, Person("ada", frozenset({"/students"})), True, id="member"),
        pytest.param(LAB, Person("teacher"), True, id="instructor"),
        pytest.param(LAB, Person("ada", frozenset({"/others"})), False, id="group-lost"),
        pytest.param(LAB, Person("root", admin=True), False, id="admin-without-membership"),
        pytest.param(LAB, None, False, id="may-not-sign-in"),
        pytest.param(None, Person("ada", frozenset({"/students"})), False, id="project-gone"),
        pytest.param(OLD, Person("ada"), True, id="archived"),
    ],
)
def test_who_has_a_place(project: Project | None, person: Person | None, expected: bool) -> None:
    assert belongs(project, person) is expected


@pytest.mark.parametrize(
    ("member", "left_at", "expected"),
    [
        pytest.param(True, None, Step(None), id="belongs"),
        pytest.param(True, 100.0, Step(None), id="belongs-again"),
        pytest.param(True, 1.0, Step(None), id="belongs-again-in-the-last-moment"),
        pytest.param(False, None, Step(1000.0), id="loss-is-first-seen"),
        pytest.param(False, 999.0, Step(999.0), id="within-the-grace"),
        pytest.param(False, 940.5, Step(940.5), id="a-moment-before"),
        pytest.param(False, 940.0, Step(940.0, stop=True), id="grace-is-over"),
        pytest.param(False, 5000.0, Step(1000.0), id="clock-was-set-back"),
        pytest.param(None, None, Step(None), id="unknown"),
        pytest.param(None, 100.0, Step(100.0), id="unknown-stops-nothing"),
    ],
)
def test_the_rule(member: bool | None, left_at: float | None, expected: Step) -> None:
    assert step(member, left_at, 1000.0, 60.0) == expected


def test_without_grace_a_server_stops_at_the_first_look() -> None:
    assert step(False, None, 1000.0, 0.0) == Step(1000.0, stop=True)


@dataclass
class Server:
    """A server of somebody who belongs as a test says."""

    key: str = "ada/"
    belongs: bool | None = True
    left_at: float | None = None
    project: str = "lab"
    outcomes: list[bool | Exception] = field(default_factory=list)
    tries: int = 0
    marks: list[float | None] = field(default_factory=list)
    slow: asyncio.Event | None = None

    def mark(self, left_at: float | None) -> None:
        self.left_at = left_at
        self.marks.append(left_at)

    def member(self) -> bool | None:
        return self.belongs

    async def stop(self) -> bool:
        self.tries += 1
        if self.slow is not None:
            await self.slow.wait()
        outcome = self.outcomes.pop(0) if self.outcomes else True
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


class Clock:
    """Seconds as a test sets them."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


async def looks(guard: Guard, clock: Clock, *times: float) -> None:
    for at in times:
        clock.at = at
        guard.look()
        await guard.settled()


async def test_a_loss_is_noted_once_and_the_server_stops_after_the_grace() -> None:
    server, clock = Server(belongs=False), Clock()
    guard = Guard(lambda: [server], lambda: 60.0, now=clock)
    await looks(guard, clock, 1000.0, 1030.0, 1059.9)
    assert (server.marks, server.tries) == ([1000.0], 0)
    await looks(guard, clock, 1060.0)
    assert server.tries == 1


async def test_who_belongs_again_keeps_the_server_and_a_new_loss_counts_anew() -> None:
    server, clock = Server(belongs=False), Clock()
    guard = Guard(lambda: [server], lambda: 60.0, now=clock)
    await looks(guard, clock, 1000.0)
    server.belongs = True
    await looks(guard, clock, 1050.0)
    server.belongs = False
    await looks(guard, clock, 1070.0, 1129.0)
    assert (server.marks, server.tries) == ([1000.0, None, 1070.0], 0)


async def test_the_time_of_loss_is_that_of_the_last_hub() -> None:
    server, clock = Server(belongs=False, left_at=900.0), Clock()
    await looks(Guard(lambda: [server], lambda: 60.0, now=clock), clock, 1000.0)
    assert server.tries == 1


@pytest.mark.parametrize("failure", [False, OSError("the proxy is away")], ids=["not-stopped", "error"])
async def test_a_stop_that_failed_is_tried_again(failure: bool | Exception, caplog: pytest.LogCaptureFixture) -> None:
    server, clock = Server(belongs=False, left_at=0.0, outcomes=[failure]), Clock()
    guard = Guard(lambda: [server], lambda: 60.0, now=clock)
    await looks(guard, clock, 1000.0)
    assert "ada/" in caplog.text
    await looks(guard, clock, 1005.0)
    assert server.tries == 2


async def test_a_slow_stop_is_begun_once_and_holds_up_no_other() -> None:
    slow, other, clock = Server(belongs=False, left_at=0.0, slow=asyncio.Event()), Server("bob/", False, 0.0), Clock()
    guard = Guard(lambda: [slow, other], lambda: 60.0, now=clock)
    for _ in range(3):
        guard.look()
        await asyncio.sleep(0)
    assert slow.slow is not None
    assert (slow.tries, other.tries > 0) == (1, True)
    slow.slow.set()
    await guard.settled()


async def test_the_grace_is_that_of_the_policy_now() -> None:
    server, clock, grace = Server(belongs=False), Clock(), [3600.0]
    guard = Guard(lambda: [server], lambda: grace[0], now=clock)
    await looks(guard, clock, 1000.0, 1100.0)
    assert server.tries == 0
    grace[0] = 60.0
    await looks(guard, clock, 1101.0)
    assert server.tries == 1


async def test_it_looks_again_and_again() -> None:
    server, looked = Server(), asyncio.Event()
    count = 0

    def servers() -> list[Server]:
        nonlocal count
        count += 1
        if count == 3:
            looked.set()
        return [server]

    task = asyncio.create_task(Guard(servers, lambda: 60.0).run(0.01))
    await asyncio.wait_for(looked.wait(), 5)
    task.cancel()
