"""The servers of one project: who holds a place in it, and what the hub knows of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jupyterhub import orm
from jupyterhub.handlers.base import BaseHandler

from aihub.app import Admission, AIHub
from aihub.handlers.home import aware, server_state, stop_time
from aihub.ledger import Entry, Phase
from aihub.pages import ServerState

__all__ = ["Running", "servers_of"]

_AT_ONCE = 500
"""Names in one query: databases bound the number of parameters."""


@dataclass(frozen=True, slots=True)
class Running:
    """A place that is held and the server that holds it; `user` and `spawner` are the hub's, None where it has none."""

    entry: Entry
    user: Any
    spawner: Any
    admission: Admission | None

    @property
    def state(self) -> ServerState:
        """What the server is doing."""
        if self.entry.phase is Phase.RELEASING:
            return ServerState.STOPPING
        known = server_state(self.spawner)
        return ServerState.STARTING if known is ServerState.STOPPED else known

    @property
    def since(self) -> datetime | None:
        """When it was started."""
        return aware(self.spawner.orm_spawner.started) if self.spawner else None

    @property
    def used_at(self) -> datetime | None:
        """When something last happened in it."""
        return aware(self.spawner.orm_spawner.last_activity) if self.spawner else None

    @property
    def stops_at(self) -> datetime | None:
        """When it will be stopped unless it is used."""
        running = self.state is ServerState.RUNNING
        return stop_time(self.admission, self.since, self.used_at) if running else None


def servers_of(handler: BaseHandler, project: str) -> list[Running]:
    """Every place that is held in `project`, in the order of admission. Asks for the users who hold one, no others."""
    entries = AIHub.instance().ledger.entries(project)
    users = {user.name: user for user in _users(handler, {entry.server.person for entry in entries})}
    return [_running(entry, users.get(entry.server.person)) for entry in entries]


def _users(handler: BaseHandler, names: Iterable[str]) -> Iterator[Any]:
    ordered = sorted(names)
    for first in range(0, len(ordered), _AT_ONCE):
        some = ordered[first : first + _AT_ONCE]
        for row in handler.db.query(orm.User).filter(orm.User.name.in_(some)):
            yield handler._user_from_orm(row)  # noqa: SLF001  # the hub's own way from a row to its user


def _running(entry: Entry, user: Any) -> Running:
    spawner = user.spawners.get(entry.server.name) if user is not None else None
    admission = spawner.launched if spawner is not None else None
    # An earlier run of the same server may still be on its way out.
    own = admission if admission is not None and admission.entry.id == entry.id else None
    return Running(entry, user, spawner, own)
