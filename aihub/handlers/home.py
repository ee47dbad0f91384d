"""Home: a person's servers, with how they are and how they ended."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from jupyterhub.scopes import needs_scope
from jupyterhub.utils import url_path_join
from tornado import web

from aihub import pages
from aihub.app import Admission
from aihub.errors import Reason
from aihub.handlers.base import PageHandler, names_with
from aihub.handlers.server_api import forget_server
from aihub.idle import stops_at
from aihub.ledger import ServerKey
from aihub.messages import Names, names_of
from aihub.projects import Role

__all__ = ["ForgetServer", "HomePage", "aware", "routes", "server_state", "stop_time"]


class HomePage(PageHandler):
    """The reader's servers and what is left of their quotas."""

    @web.authenticated
    async def get(self) -> None:
        """Show them."""
        user, now = self.current_user, datetime.now(UTC)
        choices = self.aihub.choices(self.reader)
        names = names_with(self.aihub, names_of(choices, self.language), self._left(user), self.language)
        servers = [self._server(user, name, names) for name in self._names(user)]
        page = pages.home_page(
            user.name,
            servers,
            [choice for choice in choices if choice.role is not Role.ADMIN],
            self.language,
            now=now,
            may_add=any(server.state is not pages.ServerState.STOPPED for server in servers),
            names=names,
        )
        await self.show("aihub/home.html", page)

    @staticmethod
    def _names(user: Any) -> list[str]:
        """The default server first, then every named one that there is."""
        return sorted({"", *user.orm_spawners})

    def _left(self, user: Any) -> set[str]:
        """The projects that the reader has left with a server in them."""
        launched = [spawner.launched for spawner in user.spawners.values() if spawner.launched]
        endings = [each for name in self._names(user) if (each := self.aihub.ending(ServerKey(user.name, name)))]
        running = {each.entry.project for each in launched if each.left_at is not None}
        return running | {each.project for each in endings if each.refusal.reason is Reason.PROJECT_LEFT}

    def _server(self, user: Any, name: str, names: Names) -> pages.ServerFacts:
        spawner = user.spawners.get(name)
        state = server_state(spawner)
        ending = self.aihub.ending(ServerKey(user.name, name))
        admission = spawner.launched if spawner is not None else None
        row = user.orm_spawners.get(name)
        started, used = aware(row.started if row else None), aware(row.last_activity if row else None)
        running = state is pages.ServerState.RUNNING
        project, image, profile = what(admission) if admission else _last(row)
        address = [self.hub.base_url, "spawn", *((user.escaped_name, name) if name else ())]
        return pages.ServerFacts(
            name=name,
            state=state,
            url=user.server_url(name) if running else self._progress(user, name),
            start=url_path_join(*address),
            project=names.projects.get(project, project),
            image=names.images.get(image, image),
            profile=names.profiles.get(profile, profile),
            since=started if state is not pages.ServerState.STOPPED else None,
            used_at=used,
            stops_at=stop_time(admission, started, used) if running else None,
            must_stop_at=last_time(admission, started) if running else None,
            leaves_at=self._leaves_at(admission) if running else None,
            ended_at=ending.at if ending else None,
            refusal=ending.refusal if ending else None,
        )

    def _leaves_at(self, admission: Admission | None) -> datetime | None:
        if admission is None or admission.left_at is None:
            return None
        return datetime.fromtimestamp(admission.left_at + self.aihub.sign_in.rules.grace, UTC)

    def _progress(self, user: Any, name: str) -> str:
        return str(url_path_join(self.hub.base_url, "spawn-pending", user.escaped_name, name))


class ForgetServer(PageHandler):
    """Remove a stopped named server of the reader's own from the list: the hub bounds how many one may have."""

    @web.authenticated
    async def post(self) -> None:
        """Remove it and show the list. Files stay; a server that runs, starts or is the default one stays too."""
        await self._forget(user_name=self.current_user.name)

    @needs_scope("delete:servers")
    async def _forget(self, user_name: str) -> None:
        name = self.field("server")
        if self.aihub.ledger.find(ServerKey(user_name, name)) is None:
            forget_server(self, self.current_user, name)
        self.redirect(url_path_join(self.hub.base_url, "home"))


def server_state(spawner: Any) -> pages.ServerState:
    """What a server is doing, in the words of the pages."""
    if spawner is None:
        return pages.ServerState.STOPPED
    if spawner.pending == "stop":
        return pages.ServerState.STOPPING
    if spawner.pending:
        return pages.ServerState.STARTING
    return pages.ServerState.RUNNING if spawner.ready else pages.ServerState.STOPPED


def stop_time(admission: Admission | None, started: datetime | None, used: datetime | None) -> datetime | None:
    """When a running server will be stopped unless it is used."""
    if admission is None or started is None:
        return None
    return stops_at(started, used, admission.idle.stop_after, admission.idle.max_age)


def last_time(admission: Admission | None, started: datetime | None) -> datetime | None:
    """When a running server will be stopped even if it is used."""
    if admission is None or started is None:
        return None
    return stops_at(started, None, None, admission.idle.max_age)


def what(admission: Admission) -> tuple[str, str, str]:
    """Project, image and profile of a server, as ids."""
    return admission.entry.project, admission.image, admission.profile


def _last(row: Any) -> tuple[str, str, str]:
    options = row.user_options if row is not None and isinstance(row.user_options, dict) else {}
    project, image, profile = (options.get(key) for key in ("project", "image", "profile"))
    return tuple(value if isinstance(value, str) else "" for value in (project, image, profile))  # type: ignore[return-value]


def aware(at: datetime | None) -> datetime | None:
    """A time of the hub's database, which keeps no zone: it is UTC."""
    return at.replace(tzinfo=UTC) if at is not None else None


def routes() -> list[tuple[str, Any]]:
    """`home` and `aihub/forget`."""
    return [(r"/home", HomePage), (r"/aihub/forget", ForgetServer)]
