"""The hub's servers and groups as AIHub sees them: whether people still belong, and how a server is stopped.

Rights are those that the sign-in method stands for now: groups of the policy file where it lists people, else the last
good groups of the provider.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from jupyterhub import orm
from jupyterhub.handlers.base import BaseHandler

from aihub.app import Admission, AIHub, Ending
from aihub.config import SSO
from aihub.errors import Reason, Refusal
from aihub.guard import belongs
from aihub.ledger import Phase
from aihub.projects import Person

__all__ = ["HubServer", "servers_of", "watch"]


def watch(hub: Any) -> None:
    """Tell AIHub of the groups that the database of `hub` (JupyterHub's application) has, and of its servers."""
    aihub = AIHub.instance()
    # The hub never forgets a group: one that nobody is in any more makes no project.
    aihub.groups_seen(name for (name,) in hub.db.query(orm.Group.name).filter(orm.Group.users.any()))
    aihub.guarded = servers_of(hub)


def servers_of(hub: Any) -> Callable[[], Iterable[HubServer]]:
    """A way to all servers of `hub` that run or start now."""
    asker = _Asker(hub)
    return lambda: [
        HubServer(asker, hub.authenticator.method, user, spawner)
        for user in list(hub.users.values())
        for spawner in list(user.spawners.values())
        if spawner.launched is not None and spawner.pending != "stop"
    ]


class HubServer:
    """One server that runs or starts (`aihub.guard.Guarded`). `method` is how the hub signs people in."""

    def __init__(self, asker: _Asker, method: str, user: Any, spawner: Any) -> None:
        self._asker, self._method, self._user, self._spawner = asker, method, user, spawner
        self._admission: Admission = spawner.launched

    @property
    def key(self) -> str:
        """The person, the server, and which run of it."""
        return f"{self._user.name}/{self._spawner.name} ({self._admission.entry.id})"

    @property
    def project(self) -> str:
        """Where it was started."""
        return self._admission.entry.project

    @property
    def left_at(self) -> float | None:
        """As `mark` kept it."""
        return self._admission.left_at

    def mark(self, left_at: float | None) -> None:
        """Keep it with the server, and in the hub's database once that knows the server."""
        self._admission = self._spawner.launched = replace(self._admission, left_at=left_at)
        if self._spawner.ready:
            self._spawner.orm_spawner.state = self._spawner.get_state()
            self._user.db.commit()

    def member(self) -> bool | None:
        """By the policy and the groups that count now.

        Not known while the policy file asks for another sign-in method than the hub has, and while the provider sends
        no groups claim, which says nothing of the person.
        """
        aihub, name = AIHub.instance(), self._user.name
        if aihub.sign_in.method != self._method or name in aihub.identities.without_groups:
            return None
        return belongs(aihub.policy.projects.get(self.project), self._person(aihub, name))

    def _person(self, aihub: AIHub, name: str) -> Person | None:
        """Whoever it is now; None for somebody who may not sign in."""
        if self._method in SSO:
            person = aihub.person(self._user)
            return person if aihub.sign_in.access.admits(person) else None
        listed = aihub.sign_in.listed.get(name)
        return Person(listed.name, listed.groups, listed.admin) if listed is not None else None

    async def stop(self) -> bool:
        """Stop it, or cancel its start, as its person's own click does; then leave word why."""
        from aihub.handlers.server_api import end_server  # noqa: PLC0415  # needs the custom scopes

        aihub, spawner, entry = AIHub.instance(), self._spawner, self._admission.entry
        await end_server(self._asker, self._user, spawner.name)
        if spawner._stop_future is not None:  # noqa: SLF001  # the hub keeps it nowhere else
            await spawner._stop_future  # noqa: SLF001  # as above
        held = aihub.ledger.get(entry.id)
        if held is not None and held.phase is not Phase.RELEASING:
            return False
        if aihub.ledger.find(entry.server) in (None, held):
            refusal = Refusal(Reason.PROJECT_LEFT, {"project": self.project, "server": entry.server.name})
            aihub.ended(entry.server, Ending.of(refusal, self._admission, (), started=True))
        return True


class _Asker:
    """What the hub's own way to stop a server needs of the handler of a request, where nobody asked."""

    stop_single_user = BaseHandler.stop_single_user
    slow_stop_timeout = 10
    """Seconds that the call waits; the stop goes on behind it."""

    def __init__(self, hub: Any) -> None:
        self.proxy, self.eventlog, self.log = hub.proxy, hub.eventlog, hub.log
        self.authenticator = self

    refresh_pre_stop = False
    """Nobody's rights are asked about."""
