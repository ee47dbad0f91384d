"""A hub process that can be crashed between any two steps of an admission: no threads, no clock, rows in a dict."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from aihub.errors import StoreError
from aihub.ledger import Admissions, Entry, Ledger, Room


@dataclass
class Rows:
    """The table on disk: what survives a crash. It is a ReservationPort."""

    open: dict[str, Entry] = field(default_factory=dict)
    written: list[str] = field(default_factory=list)

    def write(self, entry: Entry) -> None:
        self.open[entry.id] = entry
        self.written.append(entry.id)

    def close(self, entry_id: str) -> None:
        self.open.pop(entry_id, None)

    def open_rows(self) -> tuple[Entry, ...]:
        return tuple(self.open.values())


class Outcome(Enum):
    """How a call of the database ends. LOST: it was done, and the answer never came."""

    DONE = "done"
    FAILED = "failed"
    LOST = "lost"


@dataclass
class Job:
    """A call that a thread would make."""

    call: Callable[[], Any]
    future: Future[Any]

    def end(self, outcome: Outcome) -> None:
        result = None if outcome is Outcome.FAILED else self.call()
        if outcome is Outcome.DONE:
            self.future.set_result(result)
        else:
            self.future.set_exception(StoreError("the database is away"))


class HandExecutor(ThreadPoolExecutor):
    """Threads that move only when told to."""

    def __init__(self) -> None:
        super().__init__(max_workers=1)
        self.jobs: list[Job] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        self.jobs.append(Job(lambda: fn(*args, **kwargs), future))
        return future


class Process:
    """One life of the hub: an event loop, a ledger, and calls of the database that wait to be ended."""

    def __init__(self, rows: Rows, room: Room | None, clock: Callable[[], float], new_id: Callable[[], str]) -> None:
        self.loop = asyncio.new_event_loop()
        self.threads = HandExecutor()
        self.loop.set_default_executor(self.threads)
        self.ledger = Ledger(room, new_id=new_id)
        self.admissions = Admissions(self.ledger, rows, clock=clock)
        self.tasks: list[asyncio.Task[Any]] = []

    @property
    def jobs(self) -> list[Job]:
        return self.threads.jobs

    def begin(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start `work` and let it run until it waits for the database."""
        task = self.loop.create_task(work)
        self.tasks.append(task)
        self.spin()
        return task

    def spin(self) -> None:
        for _ in range(6):
            self.loop.run_until_complete(asyncio.sleep(0))

    def end(self, job: Job, outcome: Outcome) -> None:
        self.jobs.remove(job)
        job.end(outcome)
        self.spin()

    def end_all(self, outcome: Outcome = Outcome.DONE) -> None:
        while self.jobs:
            self.end(self.jobs[0], outcome)

    def cancel(self, task: asyncio.Task[Any]) -> None:
        task.cancel()
        self.spin()

    def run(self, work: Coroutine[Any, Any, Any], outcome: Outcome = Outcome.DONE) -> Any:
        """Run `work` to its end, every call of the database ending in `outcome`."""
        task = self.begin(work)
        self.end_all(outcome)
        return task.result()

    def crash(self) -> None:
        """SIGKILL: nothing that is left of the process reaches the database."""
        for task in self.tasks:
            task.cancel()
        self.end_all(Outcome.FAILED)
        self.spin()
        for task in self.tasks:
            if not task.cancelled():
                task.exception()
        self.loop.close()
