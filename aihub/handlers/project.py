"""The pages of projects for those who teach or administer them: images, running servers, quota, link, history."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from jupyterhub.utils import url_path_join
from tornado import web

from aihub import messages
from aihub.changes import change_facts, judge, judge_undo
from aihub.coursepage import (
    Action,
    Asked,
    CourseFacts,
    DeathFacts,
    ProjectPage,
    Rejection,
    RunningFacts,
    parse_action,
    project_page,
)
from aihub.errors import Reason, Refusal, StoreError
from aihub.handlers.base import PageHandler, choices_in, teaches
from aihub.handlers.running import Running, servers_of
from aihub.handlers.server_api import end_server
from aihub.i18n import static_version
from aihub.ledger import ServerKey
from aihub.messages import card_sentence, names_of
from aihub.pages import projects_page
from aihub.policy import ProjectChoices, default_image
from aihub.projects import Decisions
from aihub.scopes import DECIDE_SCOPE
from aihub.store import Conflict, HistoryEntry

__all__ = ["routes"]

HISTORY = 50
"""Changes that the page shows."""

DEATHS = 50
"""Servers that ended by themselves that the page shows."""

_STATUS = {Rejection.NOT_ALLOWED: 403, Rejection.BAD_SUCCESSOR: 400}
"""Of the answer to a change that is not made; 409 where the state of things stands against it."""

# The actions that members notice at once are asked about before they are done.
_CONFIRMED = (Action.DEFAULT, Action.RETIRE)


class ProjectsPage(PageHandler):
    """The projects that the reader teaches or administers."""

    @web.authenticated
    async def get(self) -> None:
        """List them."""
        reader = self.reader
        taught = [choice for choice in self.aihub.choices(reader) if teaches(choice, reader)]
        await self.show("aihub/projects.html", projects_page(taught, self.language))


class ProjectHandler(PageHandler):
    """What the page of a project and its buttons have in common."""

    def taught(self, name: str) -> ProjectChoices:
        """The project as the reader, who teaches or administers it, sees it: 403 for members, 404 for others."""
        choices = choices_in(self.aihub, self.reader, name)
        if choices is None:
            raise web.HTTPError(404, self._plain(Refusal(Reason.UNKNOWN_PROJECT, {"project": name})))
        if not teaches(choices, self.reader):
            raise web.HTTPError(403, self.language.say("This page is for the instructors of the project."))
        return choices

    def changeable(self, name: str) -> ProjectChoices:
        """As `taught`, for a change: an archived project is not changed any more."""
        choices = self.taught(name)
        if not self.has_scope(DECIDE_SCOPE):
            raise web.HTTPError(403, self.language.say("You may look at this page, and change nothing."))
        if choices.project.archived:
            raise web.HTTPError(403, self._plain(Refusal(Reason.PROJECT_ARCHIVED, {"project": name})))
        return choices

    def decisions(self, choices: ProjectChoices) -> Decisions:
        """What the instructors decided so far."""
        return self.aihub.facts(self.reader).decided(choices.project.name)

    async def stored(self, method: Any, *arguments: Any) -> Any:
        """What a method of the store gives; 503 while the database does not answer."""
        try:
            return await asyncio.to_thread(method, *arguments)
        except StoreError as error:
            self.log.warning("%s: %s", self.request.path, error)
            refusal = Refusal(Reason.STORE_UNAVAILABLE)
            raise web.HTTPError(self.refuse(refusal), self._plain(refusal)) from error

    def _plain(self, refusal: Refusal) -> str:
        return messages.plain(refusal, self.language)

    def address(self, name: str) -> str:
        """The page of a project."""
        return str(url_path_join(self.hub.base_url, "aihub/projects", quote(name, safe="")))

    def version(self) -> int:
        """The version of the decisions that the form was made from; -1, which never is one, for anything else."""
        text = self.field("version")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1

    async def settle(self, choices: ProjectChoices, outcome: Decisions | Conflict) -> None:
        """Make what the store holds now the state of things, and lead back to the page, or say what came between."""
        name = choices.project.name
        made = not isinstance(outcome, Conflict)
        decisions = outcome.current if isinstance(outcome, Conflict) else outcome
        self.aihub.decided({name: decisions})
        if made:
            self.log.info("%s changed the images of %s, version %s", self.reader.name, name, decisions.version)
            self.redirect(f"{self.address(name)}?done={decisions.version}", status=303)
        else:
            await self.show_project(self.taught(name), rejected=Rejection.CHANGED)

    async def show_project(
        self, choices: ProjectChoices, *, confirm: Asked | None = None, rejected: Rejection | None = None
    ) -> None:
        """Show the page, with a change to confirm or the reason why one was not made."""
        name = choices.project.name
        history = await self.stored(self.aihub.store.history, name, HISTORY)
        decisions = self.decisions(choices)
        policy_default = default_image(self.aihub.policy, choices.project, replace(decisions, default=None))
        facts = CourseFacts(
            now=datetime.now(UTC),
            reader=self.reader.name,
            launch=self._whole(self.hub.base_url, "aihub/launch", quote(name, safe="")),
            badge=self._whole(self.hub.base_url, "aihub/static/badge.svg") + f"?v={static_version('badge.svg')}",
            running=tuple(_running(each) for each in servers_of(self, name)),
            deaths=tuple(self._deaths(choices)),
            changes=change_facts(history, policy_default or ""),
            failures=self._failures(choices),
            confirm=confirm,
            rejected=rejected,
            by_groups=name not in self.aihub.policy_file.loaded.policy.projects,
        )
        page = project_page(self.aihub.policy, choices, decisions, facts, self.language)
        status = 200 if rejected is None else _STATUS.get(rejected, 409)
        await self.show("aihub/project.html", self._with_notice(page, history), status)

    def _whole(self, *parts: str) -> str:
        """An address as others can open it."""
        public = self.settings.get("public_url")
        host = f"{public.scheme}://{public.netloc}" if public else f"{self.request.protocol}://{self.request.host}"
        return host + str(url_path_join(*parts))

    def _with_notice(self, page: ProjectPage, history: tuple[HistoryEntry, ...]) -> ProjectPage:
        """The page, saying what the reader has just done: `done` is the version that their change made."""
        done = self.get_query_argument("done", "")
        own = {str(entry.id) for entry in history if str(entry.version) == done and entry.by == self.reader.name}
        row = next((row for row in page.history if row.id in own), None)
        if row is None or page.problem or page.confirm:
            return page
        notice = self.language.say("Done: {change}. It counts from the next start.", change=row.text)
        return replace(page, notice=notice)

    def _deaths(self, choices: ProjectChoices) -> Iterator[DeathFacts]:
        """The servers that ended by themselves."""
        for server, ending in self.aihub.deaths(choices.project.name)[:DEATHS]:
            why = messages.cause_of_death(ending.refusal, self.language)
            yield DeathFacts(server.person, server.name, ending.at, why)

    def _failures(self, choices: ProjectChoices) -> dict[str, str]:
        """Why the last start of each image that failed here did."""
        names = names_of([choices], self.language)
        failures = self.aihub.failures(choices.project.name)
        return {image: card_sentence(ending.refusal, self.language, names) for image, ending in failures.items()}


def _running(running: Running) -> RunningFacts:
    entry, admission = running.entry, running.admission
    return RunningFacts(
        user=entry.server.person,
        server=entry.server.name,
        image=admission.image if admission else "",
        profile=admission.profile if admission else "",
        since=running.since,
        used_at=running.used_at,
        stops_at=running.stops_at,
    )


class ProjectView(ProjectHandler):
    """The page of a project."""

    @web.authenticated
    async def get(self, name: str) -> None:
        """Show it."""
        await self.show_project(self.taught(name))


class Images(ProjectHandler):
    """The buttons of the images."""

    @web.authenticated
    async def post(self, name: str) -> None:
        """Make a change, ask before it, or say why it is not made."""
        choices = self.changeable(name)
        asked = parse_action(self.field("do"))
        if asked is None:
            raise web.HTTPError(400, self.language.say("The form asks for nothing that this page knows."))
        asked = replace(asked, successor=self.field("successor"), message=self.field("message"))
        if self.version() != self.decisions(choices).version:
            await self.show_project(choices, rejected=Rejection.CHANGED)
            return
        confirmed = self.field("confirmed") == "yes"
        change = judge(self.aihub.policy, choices, asked)
        if isinstance(change, Rejection):
            again = asked if confirmed and change is Rejection.BAD_SUCCESSOR else None
            await self.show_project(choices, confirm=again, rejected=change)
        elif asked.action in _CONFIRMED and not confirmed:
            await self.show_project(choices, confirm=asked)
        else:
            made = (name, self.version(), change, self.reader.name, datetime.now(UTC))
            await self.settle(choices, await self.stored(self.aihub.store.decide, *made))


class Undo(ProjectHandler):
    """The Undo buttons of the history."""

    @web.authenticated
    async def post(self, name: str) -> None:
        """Take a change back, unless something stands against it now."""
        choices = self.changeable(name)
        if self.version() != self.decisions(choices).version:
            await self.show_project(choices, rejected=Rejection.CHANGED)
            return
        entry = await self._entry(name)
        rejected = judge_undo(self.aihub.policy, choices, entry)
        if rejected is not None:
            await self.show_project(choices, rejected=rejected)
            return
        undone = (name, entry.id, self.version(), self.reader.name, datetime.now(UTC))
        await self.settle(choices, await self.stored(self.aihub.store.undo, *undone))

    async def _entry(self, name: str) -> HistoryEntry:
        """The change that the form names."""
        text = self.field("change")
        wanted = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
        found: tuple[HistoryEntry, ...] = await self.stored(self.aihub.store.history, name, 1, wanted + 1)
        if not found or found[0].id != wanted:
            raise web.HTTPError(404, self.language.say("There is no such change."))
        return found[0]


class StopHere(ProjectHandler):
    """The Stop buttons of the running servers."""

    @web.authenticated
    async def post(self, name: str) -> None:
        """Stop a server of this project; one that is gone is fine, one of another project is not this page's."""
        self.taught(name)
        if not self.has_scope(DECIDE_SCOPE):
            raise web.HTTPError(403, self.language.say("You may look at this page, and change nothing."))
        server = ServerKey(self.field("user"), self.field("server"))
        entry = self.aihub.ledger.find(server)
        if entry is not None and entry.project != name:
            raise web.HTTPError(403, self.language.say("That server does not belong to this project."))
        user = self.find_user(server.person) if entry is not None else None
        if user is not None:
            self.log.info("%s stops %s/%s in %s", self.reader.name, server.person, server.name, name)
            await end_server(self, user, server.name)
        self.redirect(f"{self.address(name)}#running", status=303)


def routes() -> list[tuple[str, Any]]:
    """Under `aihub/projects`."""
    return [
        (r"/aihub/projects", ProjectsPage),
        (r"/aihub/projects/([^/]+)", ProjectView),
        (r"/aihub/projects/([^/]+)/images", Images),
        (r"/aihub/projects/([^/]+)/undo", Undo),
        (r"/aihub/projects/([^/]+)/stop", StopHere),
    ]
