"""Servers of people who left their project: how long they run on, and who sees to it that they stop then.

`step` is the rule: the time counts from when the loss was first seen, what is not known is no loss, and whoever belongs
again keeps the server. `Guard` looks at all servers every few seconds and carries out what the rule says. The time of
loss is kept with the server, so a hub that starts anew goes on counting.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from aihub.projects import Person, Project, Role

__all__ = ["Guard", "Guarded", "Step", "belongs", "step"]

log = logging.getLogger(__name__)


def belongs(project: Project | None, person: Person | None) -> bool:
    """Whether a server of `person` has a place in `project`: an admin's, too, needs membership.

    `project` is None when the policy has no such project any more, `person` for somebody who may not sign in.
    """
    if project is None or person is None:
        return False
    return project.role(person) in (Role.MEMBER, Role.INSTRUCTOR)


@dataclass(frozen=True, slots=True)
class Step:
    """What follows for a server: since when (unix seconds) its person is outside, None for inside; whether it stops."""

    left_at: float | None
    stop: bool = False


def step(member: bool | None, left_at: float | None, now: float, grace: float) -> Step:
    """By whether the person belongs (None: nobody knows), since when they did not, and the seconds they are given."""
    if member is None:
        return Step(left_at)
    if member:
        return Step(None)
    # A clock that was set back does not give more time than `grace`.
    since = now if left_at is None else min(left_at, now)
    return Step(since, stop=now - since >= grace)


class Guarded(Protocol):
    """A server that runs or starts."""

    @property
    def key(self) -> str:
        """What the log calls it; no other server has the same."""

    @property
    def project(self) -> str:
        """Where it was started."""

    @property
    def left_at(self) -> float | None:
        """Since when its person is seen outside the project, as `mark` kept it."""

    def mark(self, left_at: float | None) -> None:
        """Keep that with the server."""

    def member(self) -> bool | None:
        """Whether its person belongs to the project now; None when nobody knows."""

    async def stop(self) -> bool:
        """Stop it and leave word why; whether that came about."""


class Guard:
    """Looks at the servers that `servers` gives. `grace` is in seconds and asked at every look; `now` unix seconds."""

    def __init__(
        self,
        servers: Callable[[], Iterable[Guarded]],
        grace: Callable[[], float],
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._servers = servers
        self._grace = grace
        self._now = now
        self._stopping: dict[str, asyncio.Task[None]] = {}

    def look(self) -> None:
        """One look at all servers: note who left, and begin to stop what is due. A stop that fails is begun again."""
        now, grace = self._now(), self._grace()
        for server in self._servers():
            each = step(server.member(), server.left_at, now, grace)
            if each.left_at != server.left_at:
                self._say(server, each, grace)
                server.mark(each.left_at)
            if each.stop and server.key not in self._stopping:
                self._stopping[server.key] = asyncio.create_task(self._stop(server))

    async def run(self, every: float) -> None:
        """Look every so many seconds, for ever."""
        while True:
            self.look()
            await asyncio.sleep(every)

    async def settled(self) -> None:
        """Wait for the stops that are under way."""
        if self._stopping:
            await asyncio.wait(self._stopping.values())

    @staticmethod
    def _say(server: Guarded, each: Step, grace: float) -> None:
        if each.left_at is None:
            log.info("audit: the person of server %s belongs to %s again", server.key, server.project)
        elif server.left_at is None:
            log.info(
                "audit: the person of server %s left %s; it stops in %d s", server.key, server.project, round(grace)
            )

    async def _stop(self, server: Guarded) -> None:
        try:
            stopped = await server.stop()
        except Exception:
            log.exception("Server %s could not be stopped", server.key)
            return
        finally:
            del self._stopping[server.key]
        if stopped:
            log.info("audit: server %s was stopped: its person left %s", server.key, server.project)
        else:
            log.warning("Server %s of somebody who left %s did not stop; trying again", server.key, server.project)
