"""What every page of ours shares: the reader's language, the policy's person, safe headers, one way to render."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from jupyterhub.handlers.base import BaseHandler
from jupyterhub.utils import get_browser_protocol
from tornado import web

from aihub import i18n, messages
from aihub.app import AIHub
from aihub.errors import Refusal
from aihub.form import Readiness, Situation
from aihub.language import Language
from aihub.messages import Names
from aihub.policy import ProjectChoices, choices_for
from aihub.projects import Person, Role
from aihub.scopes import READ_SCOPE

__all__ = ["CONTENT_SECURITY_POLICY", "OwnHandler", "PageHandler", "choices_in", "names_with", "situation", "teaches"]

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; "
    "form-action 'self'"
)
"""Our pages have no inline script or style and load nothing from elsewhere."""

MAX_FIELDS = 200
MAX_BODY = 256 * 1024
MAX_NEXT = 10_000
"""Characters of an address to be led to: a launch link with a long path in any script. Proxies end at some 16 KiB."""


def choices_in(aihub: AIHub, person: Person, project: str) -> ProjectChoices | None:
    """What `person` may choose in one project, with verdicts as of now; None where it does not exist for them."""
    found = aihub.policy.projects.get(project)
    if found is None:
        return None
    alone = replace(aihub.policy, projects={project: found})
    return next(iter(choices_for(alone, person, aihub.facts(person))), None)


def names_with(aihub: AIHub, names: Names, projects: Collection[str], language: Language) -> Names:
    """`names` with those of projects that the reader had a server in and has left: what they knew is no secret."""
    left = [found for name in projects if name not in names.projects and (found := aihub.policy.projects.get(name))]
    return replace(
        names,
        projects={**names.projects, **{each.name: language.text(each.display_name, each.name) for each in left}},
        contacts={**names.contacts, **{each.name: language.text(each.contact) for each in left}},
    )


def teaches(choices: ProjectChoices, person: Person) -> bool:
    """Whether `person`, whose `choices` these are, may see who runs what in the project and decide its images."""
    return person.admin or choices.role is Role.INSTRUCTOR


def situation(aihub: AIHub, current: ProjectChoices | None) -> Situation:
    """When the facts were read (now), and how soon the images of the project shown can run."""
    readiness = {}
    for choice in current.images if current else ():
        known = aihub.site.readiness(choice.tag.requirements)
        if known is not None:
            ready, seconds = known
            # What was measured is the preparation, not the start of a server.
            usual = None if ready or seconds is None else max(1, round(seconds))
            readiness[choice.reference] = Readiness(ready, usual)
    return Situation(datetime.now(UTC), readiness)


class OwnHandler(BaseHandler):
    """What every route of ours knows."""

    _token_authenticated = False
    """The hub sets it for tokens only, and reads it of everybody whose sign-in has ended (JupyterHub 6.1)."""

    @property
    def aihub(self) -> AIHub:
        """The one AIHub of this process."""
        return AIHub.instance()

    @property
    def language(self) -> Language:
        """The language of this request: cookie, then Accept-Language."""
        return i18n.language_of(self.request)

    def set_cookie(self, name: str, value: Any, **kwargs: Any) -> None:
        """As the hub's, and *Secure* for a browser that came by HTTPS, whatever the hub's own proxy speaks to it."""
        if get_browser_protocol(self.request) == "https":
            kwargs.setdefault("secure", True)
        super().set_cookie(name, value, **kwargs)


class PageHandler(OwnHandler):
    """A page of ours. It is for people: a token, a running server's own above all, opens none (upstream.md 40)."""

    async def prepare(self) -> None:
        """Refuse tokens, and what no form of ours sends, before anything reads it."""
        await super().prepare()
        if (self.current_user or self.get_token()) and not self.has_scope(READ_SCOPE):
            raise web.HTTPError(403, self.language.say("Pages are for people who signed in."))
        if len(self.request.body) > MAX_BODY or len(self.request.body_arguments) > MAX_FIELDS:
            raise web.HTTPError(413, "The form is too large.")

    def set_default_headers(self) -> None:
        """The hub's headers and a strict content security policy."""
        super().set_default_headers()
        self.set_header("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        self.set_header("Cache-Control", "no-store")

    @property
    def reader(self) -> Person:
        """Whoever reads the page."""
        return self.aihub.person(self.current_user)

    async def show(self, template: str, page: object, status: int = 200) -> None:
        """Render `page` with its template and finish."""
        self.set_status(status)
        self.finish(await self.render_template(template, page=page))

    def refuse(self, refusal: Refusal) -> int:
        """Set what REST clients read of a refusal, and return its status."""
        self.set_header("AIHub-Reason", refusal.reason.value)
        return messages.status_of(refusal.reason)

    def _validate_next_url(self, next_url: str) -> str:
        # The hub's own lets through line breaks and any length, which no header can carry, and `//`, which leads
        # nowhere; it raises where brackets stand for no address (upstream.md 53).
        if not next_url.isprintable() or len(next_url) > MAX_NEXT:
            return ""
        try:
            place = str(super()._validate_next_url(next_url))
        except ValueError:
            return ""
        return "" if place.startswith("//") else place

    def user_named(self, name: str) -> Any:
        """The hub's user called `name`; the reader for an empty name. 404 for nobody."""
        user = self.current_user if name in ("", self.current_user.name) else self.find_user(name)
        if user is None:
            raise web.HTTPError(404, "There is no such user.")
        return user

    def fields(self) -> dict[str, list[str]]:
        """The submitted form; bytes that are no UTF-8 become replacement characters, which no id has."""
        return {
            key: [value.decode("utf-8", "replace") for value in values]
            for key, values in self.request.body_arguments.items()
        }

    def field(self, name: str) -> str:
        """One field of the submitted form, empty if it is missing."""
        return self.fields().get(name, [""])[0]
