"""Stops idle servers, each by the rules it was started under: `python -m aihub.cull`, a service that the hub runs.

jupyterhub-idle-culler asks the hub for all running servers, page by page, and stops those that its *arbiter* names.
Ours reads the rules from the server's own state, so one process serves any number of projects and nothing is asked
twice. After a start of the hub, or when the machine has slept, the hub's word on activity may be hours old while a
kernel computed all along: a server counts as idle only once it has had the time to report.

Started through `aihub.orphan`, it ends with its hub. From the hub it gets JUPYTERHUB_API_URL and JUPYTERHUB_API_TOKEN.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import click
from jupyterhub_idle_culler import cull_idle, parse_date
from tornado.httpclient import HTTPError

from aihub.idle import kept_rules, patience, stops_at

__all__ = ["Culler", "main"]

SLEPT = 30
"""Seconds by which a pause may last longer than asked before it means that the machine slept."""

log = logging.getLogger("aihub.cull")


def _now() -> datetime:
    return datetime.now(UTC)


class Culler:
    """Stops the servers of one hub that are due."""

    def __init__(self, url: str, token: str, *, now: Callable[[], datetime] = _now) -> None:
        self._url = url
        self._token = token
        self._now = now
        self._listening_since = now()

    def due(self, *, server: Mapping[str, Any], **_measured: object) -> bool:
        """Whether `server` (the hub's model) is to be stopped now: the arbiter that idle-culler asks.

        What idle-culler measured itself, against one limit for all servers, is not used.
        """
        now, started = self._now(), parse_date(server["started"])
        stop_after, max_age = kept_rules(server.get("state"))
        last = parse_date(server["last_activity"]) if server["last_activity"] else None
        too_old = stops_at(started, None, None, max_age)
        idle = stops_at(started, last, stop_after, None)
        heard = (now - self._listening_since).total_seconds() >= patience(stop_after)
        return bool(too_old and too_old <= now) or bool(idle and idle <= now and heard)

    async def cull(self) -> None:
        """Stop what is due now; a hub that does not answer is asked again next time."""
        try:
            await cull_idle(self._url, self._token, inactive_limit=0, logger=log, cull_arbiter=self.due)
        except (OSError, HTTPError) as error:
            log.warning("The hub does not answer: %s", error)
            self._listening_since = self._now()

    async def run(self, every: float) -> None:
        """Cull every `every` seconds, for ever."""
        while True:
            await self.cull()
            before = self._now()
            await asyncio.sleep(every)
            self.paused(before, every)

    def paused(self, before: datetime, every: float) -> None:
        """After a pause of `every` seconds since `before`: the wall clock goes on while the machine sleeps."""
        if (self._now() - before).total_seconds() > every + SLEPT:
            self._listening_since = self._now()


@click.command()
@click.option("--every", default=30.0, show_default=True, help="Seconds between two looks at the servers.")
def main(every: float) -> None:
    """Stop idle servers of the hub that started this service."""
    logging.basicConfig(level=logging.INFO, format="[%(levelname)1.1s %(asctime)s %(name)s] %(message)s")
    asyncio.run(Culler(os.environ["JUPYTERHUB_API_URL"], os.environ["JUPYTERHUB_API_TOKEN"]).run(every))


if __name__ == "__main__":
    main()
