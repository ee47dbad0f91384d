"""The start page, the page of a start on its way, and Stop and Cancel (design.md §10).

These routes stand in front of the hub's own `/spawn…`: a GET shows the form whatever its query says, a POST is checked
first so that it can be answered in place, and the spawner's `start` alone admits.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

from jupyterhub.handlers.pages import SpawnHandler
from jupyterhub.scopes import needs_scope
from jupyterhub.utils import url_path_join
from tornado import web
from tornado.httputil import url_concat

from aihub import pages
from aihub.app import Ending
from aihub.errors import Reason, Refusal
from aihub.form import Refused, spawn_page
from aihub.handlers.base import PageHandler, names_with, situation
from aihub.handlers.server_api import OneStart, end_server, forget_server
from aihub.ledger import ServerKey
from aihub.messages import Names, names_of
from aihub.names import server_name_problem, suggest_server_name
from aihub.options import Options, parse_options, shown
from aihub.parts import size_of
from aihub.policy import ProjectChoices
from aihub.spawner import LaunchMixin, SpawnRefused
from aihub.submission import Note, Remembered, Selection, options_from_fields, preselect

__all__ = ["StartPage", "lab_path", "routes"]

MAX_PATH = 1000


def lab_path(path: str) -> str | None:
    """A path of a file below the home that JupyterLab may open, or None for what is none."""
    parts = path.split("/")
    odd = path.startswith("/") or ".." in parts or "\\" in path or not path.isprintable()
    return None if not path or odd or len(path) > MAX_PATH else path


class StartPage(OneStart, PageHandler, SpawnHandler):
    """The start page for oneself, or for somebody else whose rights then count."""

    @web.authenticated
    async def get(self, user_name: str | None = None, server_name: str = "") -> None:
        """Show the form; nothing starts."""
        await self._show_form(user_name=user_name or self.current_user.name, server_name=server_name or "")

    @needs_scope("servers")
    async def _show_form(self, user_name: str, server_name: str) -> None:
        user = self.user_named(user_name)
        choices = self.aihub.choices(self.aihub.person(user))
        remembered = self.remembered(user, server_name, choices)
        selection, notes = preselect(choices, link=self.linked(), remembered=remembered)
        wanted = server_name or selection.server_name or self._free_name(user)
        await self.form(user, choices, _named(selection, wanted), notes=notes)

    def linked(self) -> Selection | None:
        """What a launch link asks for; the plain start page takes nothing from its address."""
        return None

    def remembered(self, user: Any, server_name: str, choices: Sequence[ProjectChoices]) -> Remembered | None:
        """The last start's choices, of this server if it was started before, else of any."""
        last = user.orm_spawners.get(server_name)
        if last is None or not last.user_options:
            started = (each for each in user.orm_spawners.values() if each.user_options and each.last_activity)
            last = max(started, key=lambda each: each.last_activity, default=None)
        options = parse_options(last.user_options) if last is not None and last.user_options else None
        if not isinstance(options, Options) or last is None:
            return None
        at = last.last_activity.replace(tzinfo=UTC) if last.last_activity else None
        project = options.project or (choices[0].project.name if len(choices) == 1 else "")
        chosen = Selection(project, options.image or "", options.profile or "", options.accelerator_count)
        return Remembered(chosen, at)

    def _free_name(self, user: Any) -> str:
        """Empty while the unnamed server is free; else a name for a further one."""
        taken = {name for name, spawner in user.spawners.items() if spawner.active}
        if "" not in taken:
            return ""
        return next(name for number in range(2, 1000) if (name := f"server-{number}") not in taken)

    async def form(
        self,
        user: Any,
        choices: Sequence[ProjectChoices],
        selection: Selection,
        *,
        notes: Sequence[Note] = (),
        refusal: Refusal | None = None,
    ) -> None:
        """Show the form with `selection` in it and, after a refused submit, the reason."""
        for_user = "" if user is self.current_user else user.name
        current = next((choice for choice in choices if choice.project.name == selection.project), None)
        page = spawn_page(
            choices,
            selection,
            self.language,
            action=self.start_address(user),
            situation=situation(self.aihub, current),
            refused=Refused((refusal,)) if refusal else Refused(),
            notes=notes,
            for_user=for_user,
        )
        await self.show("aihub/spawn.html", page, self.refuse(refusal) if refusal else 200)

    def start_address(self, user: Any, server_name: str = "") -> str:
        """The page that starts a server of `user`."""
        parts = [self.hub.base_url, "spawn"]
        if user is not self.current_user or server_name:
            parts += [user.escaped_name, server_name]
        return str(url_path_join(*(part for part in parts if part)))

    async def prepare(self) -> None:
        """Lead somebody whose sign-in has ended to sign in again."""
        await super().prepare()
        if self.request.method == "POST" and self._ended:
            self.sign_in_first()

    def check_xsrf_cookie(self) -> None:
        """Not for somebody whose sign-in has just ended: the token is bound to it, and nothing is done for them."""
        if not self._ended:
            super().check_xsrf_cookie()

    @property
    def _ended(self) -> bool:
        """Whether the browser comes with a sign-in that does not hold any more."""
        nobody = getattr(self, "_jupyterhub_user", self) is None
        return nobody and self.get_token() is None and bool(self.get_cookie(self.hub.cookie_name))

    def sign_in_first(self) -> None:
        """Lead to sign-in, and from there back to this page."""
        self.redirect(url_concat(self.get_login_url(), {"next": self.request.path}))

    @web.authenticated
    async def post(self, user_name: str | None = None, server_name: str = "", display_name: str = "") -> None:  # noqa: ARG002  # the hub's signature
        """Start what the form says, or show it again with the reason."""
        await self._start(user_name=user_name or self.current_user.name, server_name=server_name or "")

    @needs_scope("servers")
    async def _start(self, user_name: str, server_name: str) -> None:
        user = self.user_named(user_name)
        if not await self.may_start(user):
            if user is not self.current_user:
                raise self.must_sign_in(user)
            self.sign_in_first()
            return
        submitted = options_from_fields(self.fields())
        name = submitted.server_name or server_name
        refusal = _name_refusal(name) or self._state_refusal(user, name)
        if refusal is None and self._starting(user, name):
            self.redirect(self.progress_address(user, name, submitted.path))
            return
        person = self.aihub.person(user)
        if refusal is None:
            verdict = self.aihub.check(person, name, dict(submitted.options))
            refusal = verdict if isinstance(verdict, Refusal) else None
        if refusal is None:
            refusal = await self._try_start(user, name, dict(submitted.options), submitted.path)
        if refusal is not None:
            await self.form(user, self.aihub.choices(person), submitted.selection(), refusal=refusal)

    def _state_refusal(self, user: Any, name: str) -> Refusal | None:
        spawner = user.spawners.get(name)
        if spawner is not None and (spawner.ready or spawner.pending not in (None, "spawn", "check")):
            return Refusal(Reason.SERVER_BUSY, {"server": name, "state": spawner.pending or "running"})
        return None

    @staticmethod
    def _starting(user: Any, name: str) -> bool:
        spawner = user.spawners.get(name)
        return spawner is not None and spawner.pending in {"spawn", "check"}

    async def _try_start(self, user: Any, name: str, options: dict[str, Any], path: str) -> Refusal | None:
        """Hand the start to the hub; it is answered with the progress page, or with the refusal to show."""
        existed = name in user.orm_spawners
        if name:
            await self._check_named_server_request(user, name, name)
        spawner = user.get_or_create_spawner(name, name, replace_failed=True)
        try:
            await self._wrap_spawn_single_user(
                user, name, name, spawner, self.progress_address(user, name, path), options
            )
        except SpawnRefused as error:
            if self._starting(user, name):
                # Another tab was a moment faster: both lead to the one start.
                self.redirect(self.progress_address(user, name, path))
                return None
            if name and not existed:
                forget_server(self, user, name)
            return error.refusal
        return None

    def progress_address(self, user: Any, name: str, path: str) -> str:
        """The page of the start; it leads on to the file that a launch link named."""
        address = str(url_path_join(self.hub.base_url, "spawn-pending", user.escaped_name, name))
        file = lab_path(path)
        if file is None:
            return address
        return f"{address}?{urlencode({'next': url_path_join(user.server_url(name), 'lab/tree', quote(file))})}"


def _named(selection: Selection, name: str) -> Selection:
    return Selection(
        selection.project, selection.image, selection.profile, selection.accelerator_count, name, selection.path
    )


def _name_refusal(name: str) -> Refusal | None:
    problem = server_name_problem(name) if name else None
    if problem is None:
        return None
    parameters = {
        "field": "server-name",
        "problem": problem,
        "value": shown(name),
        "suggestion": suggest_server_name(name),
    }
    return Refusal(Reason.INVALID_OPTIONS, parameters)


class ProgressPage(PageHandler):
    """A start on its way, a start that failed, a server that stopped; a server that runs is simply opened."""

    @web.authenticated
    async def get(self, user_name: str, server_name: str = "") -> None:
        """Show where the start is. Changes nothing."""
        await self._show(user_name=user_name, server_name=server_name)

    @needs_scope("servers")
    async def _show(self, user_name: str, server_name: str) -> None:
        user = self.user_named(user_name)
        spawner = user.spawners.get(server_name)
        if spawner is not None and spawner.ready:
            self.redirect(self.get_next_url(default=user.server_url(server_name)))
        elif spawner is not None and spawner.pending == "stop":
            await self.show("aihub/stopping.html", pages.Stopping(server_name))
        elif spawner is not None and spawner.pending:
            await self._show_progress(user, spawner)
        else:
            await self._show_ending(user, server_name, spawner)

    async def _show_progress(self, user: Any, spawner: LaunchMixin) -> None:
        now = datetime.now(UTC)
        page = pages.progress_page(
            self._started(user, spawner.name, spawner),
            stage_facts(spawner),
            [pages.LogLine(line) for line in spawner.progress_made.lines] if spawner.progress_made else [],
            self.language,
            now=now,
            events=str(url_path_join(self.hub.base_url, "api/users", user.escaped_name, *self._progress(spawner.name))),
        )
        await self.show("aihub/progress.html", page)

    @staticmethod
    def _progress(name: str) -> tuple[str, ...]:
        return ("servers", name, "progress") if name else ("server", "progress")

    async def _show_ending(self, user: Any, name: str, spawner: LaunchMixin | None) -> None:
        start = str(url_path_join(self.hub.base_url, "spawn", user.escaped_name, name))
        ending = self.aihub.ending(ServerKey(user.name, name))
        error = spawner._spawn_future.exception() if spawner is not None and spawner._failed else None  # noqa: SLF001  # the hub keeps it nowhere else
        refusal = error.refusal if isinstance(error, SpawnRefused) else ending.refusal if ending else None
        if refusal is None and error is None:
            self.set_status(404)
            await self.show("aihub/not_running.html", pages.NotRunning(name, start), 404)
            return
        refusal = refusal or Refusal(Reason.START_FAILED)
        page = pages.stopped_page(
            self._started(user, name, spawner, ending),
            refusal,
            self.language,
            now=datetime.now(UTC),
            start=start,
            stages=stage_facts(spawner, failed=True) if spawner is not None and error is not None else (),
            log=[pages.LogLine(line) for line in ending.lines] if ending else [],
            names=self._names(user, ending),
        )
        await self.show("aihub/stopped.html", page, self.refuse(refusal))

    def _names(self, user: Any, ending: Ending | None = None) -> Names:
        names = names_of(self.aihub.choices(self.aihub.person(user)), self.language)
        left = [ending.project] if ending is not None and ending.refusal.reason is Reason.PROJECT_LEFT else []
        return names_with(self.aihub, names, left, self.language)

    def _started(
        self, user: Any, name: str, spawner: LaunchMixin | None, ending: Ending | None = None
    ) -> pages.Started:
        """What was asked for, as far as it is known."""
        whose = "" if user is self.current_user else user.name
        began = next(iter(spawner.progress_made.began.values()), None) if spawner and spawner.progress_made else None
        names, admission = self._names(user, ending), spawner.launched if spawner else None
        if admission is not None:
            project, image, profile = admission.entry.project, admission.image, admission.profile
            plan_profile = self.aihub.policy.profiles.get(profile)
            size = size_of(plan_profile, admission.accelerator_count, self.language) if plan_profile else ""
        elif ending is not None:
            project, image, profile, size = ending.project, ending.image, ending.profile, ""
        else:
            return pages.Started(whose, name, at=began)
        return pages.Started(
            whose,
            name,
            names.projects.get(project, project),
            names.images.get(image, image),
            names.profiles.get(profile, profile),
            size,
            began or (ending.at if ending else None),
        )


def stage_facts(spawner: LaunchMixin, *, failed: bool = False) -> list[pages.StageFacts]:
    """Every stage of a start with its times; in a start that failed the last one begun is where."""
    began: dict[str, datetime] = spawner.progress_made.began if spawner.progress_made else {}
    ends = dict(zip(began, [*list(began.values())[1:], None], strict=True))
    last = next(reversed(began), None)
    return [
        pages.StageFacts(stage, began.get(stage), ends.get(stage), failed and stage == last) for stage in spawner.stages
    ]


class StopServer(PageHandler):
    """Stop a running server, or cancel one that starts: the one that the form names (upstream.md 6)."""

    @web.authenticated
    async def post(self) -> None:
        """Stop it and lead back."""
        await self._stop(user_name=self.field("user") or self.current_user.name)

    @needs_scope("delete:servers")
    async def _stop(self, user_name: str) -> None:
        user, name = self.user_named(user_name), self.field("server")
        await end_server(self, user, name)
        self.redirect(self.get_next_url(default=url_path_join(self.hub.base_url, "home")))


def routes() -> list[tuple[str, Any]]:
    """Under the hub's own addresses, and `aihub/stop`, `aihub/cancel`."""
    return [
        (r"/spawn", StartPage),
        (r"/spawn/([^/]+)", StartPage),
        (r"/spawn/([^/]+)/([^/]+)", StartPage),
        (r"/spawn-pending/([^/]+)", ProgressPage),
        (r"/spawn-pending/([^/]+)/([^/]+)", ProgressPage),
        (r"/aihub/stop", StopServer),
        (r"/aihub/cancel", StopServer),
    ]
