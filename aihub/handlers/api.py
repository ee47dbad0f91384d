"""The JSON API below `/hub/api/aihub/`: what a person may start, what is free, what is in use, and why.

`aihub/openapi.yaml` describes it. Everything is answered with the rights of whoever asks, and only reads.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NoReturn

from jupyterhub.apihandlers.base import APIHandler
from sqlalchemy.exc import SQLAlchemyError
from tornado import web

from aihub import openapi
from aihub.answers import HeldServer, choices_answer, servers_answer, usage_answer, why_answer
from aihub.errors import Reason, Refusal
from aihub.form import availability
from aihub.handlers.base import OwnHandler, choices_in, situation, teaches
from aihub.handlers.running import Running, servers_of
from aihub.messages import names_of, plain
from aihub.options import OPTION_KEYS, shown
from aihub.policy import ProjectChoices, why
from aihub.projects import Person
from aihub.resources import Resources
from aihub.scopes import READ_SCOPE

__all__ = ["ApiHandler", "Fault", "routes"]


class Fault(StrEnum):
    """Why a request is not answered, where it is no `Reason` of the policy."""

    NOT_SIGNED_IN = "not-signed-in"
    NO_ACCESS = "no-access"
    UNKNOWN_USER = "unknown-user"
    NOT_FOUND = "not-found"
    METHOD_NOT_ALLOWED = "method-not-allowed"
    BAD_REQUEST = "bad-request"
    BROKEN = "broken"


_FAULTS = {403: Fault.NO_ACCESS, 404: Fault.NOT_FOUND, 405: Fault.METHOD_NOT_ALLOWED}


class ApiError(web.HTTPError):
    """An answer that is none. `message` is in the reader's language."""

    def __init__(self, status: int, code: Fault | Reason, message: str) -> None:
        super().__init__(status, code.value)
        self.code = code
        self.message = message


class ApiHandler(OwnHandler, APIHandler):
    """A route of ours for programs: JSON in, JSON out, for people and what acts for them."""

    # There is nothing to negotiate: the API is not for pages of other origins.
    options = web.RequestHandler._unimplemented_method  # noqa: SLF001  # tornado's word for "no such method"

    async def prepare(self) -> None:
        """Answer people only, by their cookie or a token of theirs that has our scope."""
        await super().prepare()
        if self.current_user is None:
            raise ApiError(403, Fault.NOT_SIGNED_IN, self.language.say("Sign in, or send an API token of yours."))
        if self.current_user.kind != "user" or not self.has_scope(READ_SCOPE):
            message = self.language.say("This token does not open AIHub: it needs the scope {scope}.", scope=READ_SCOPE)
            raise ApiError(403, Fault.NO_ACCESS, message)

    def set_default_headers(self) -> None:
        """The hub's headers; answers are one person's, in one language, of one moment."""
        super().set_default_headers()
        self.set_header("Cache-Control", "no-store")
        self.set_header("Vary", "Accept-Language, Authorization, Cookie")

    # --- who asks for what -------------------------------------------------------------------------------------------

    def query(self) -> dict[str, str | list[str]]:
        """The query's fields as they were sent; one that is given twice is a list."""
        fields = {
            key: [value.decode("utf-8", "replace") for value in values]
            for key, values in self.request.query_arguments.items()
        }
        return {key: values[0] if len(values) == 1 else values for key, values in fields.items()}

    def person(self) -> Person:
        """Whoever asks, or whom `user` names: that takes the right to start servers for them."""
        name = self.query().get("user", "")
        if name in ("", self.current_user.name):
            return self.aihub.person(self.current_user)
        user = None
        if isinstance(name, str) and self.has_scope(f"servers!user={name}"):
            user = self.find_user(name)
        if user is None:
            raise ApiError(
                404, Fault.UNKNOWN_USER, self.language.say("There is no user “{name}” for you.", name=shown(name))
            )
        return self.aihub.person(user)

    def project(self, person: Person, name: object) -> ProjectChoices:
        """A project as `person` sees it; to others it does not exist."""
        found = choices_in(self.aihub, person, name) if isinstance(name, str) else None
        if found is None:
            self.refuse(404, Refusal(Reason.UNKNOWN_PROJECT, {"project": shown(name)}))
        return found

    def refuse(self, status: int, refusal: Refusal) -> NoReturn:
        """Answer with a reason of the policy."""
        raise ApiError(status, refusal.reason, plain(refusal, self.language))

    # --- answers -----------------------------------------------------------------------------------------------------

    def answer(self, document: dict[str, Any]) -> None:
        """Send `document` and finish."""
        self.finish(json.dumps(document, ensure_ascii=False))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Say what is wrong as JSON: status, message and reason, the reason in a header too."""
        error = (kwargs.get("exc_info") or (None, None))[1]
        if isinstance(error, SQLAlchemyError):
            self.db.rollback()
        code, message = self._said(status_code, error)
        self.set_header("Content-Type", "application/json")
        self.set_header("AIHub-Reason", code)
        self.answer({"status": status_code, "message": message, "reason": code})

    def _said(self, status: int, error: BaseException | None) -> tuple[str, str]:
        if isinstance(error, ApiError):
            return error.code.value, error.message
        say = self.language.say
        if status >= 500:
            quote = secrets.token_hex(3)
            self.log.error("%s %s failed, id %s", self.request.method, self.request.path, quote)
            return Fault.BROKEN.value, say("Something broke here. Quote this id: {id}", id=quote)
        said = {
            Fault.NO_ACCESS: say("This request is not allowed. One that carries a cookie needs the XSRF token too."),
            Fault.NOT_FOUND: say("There is nothing at this address."),
            Fault.METHOD_NOT_ALLOWED: say("This address does not know that method."),
            Fault.BAD_REQUEST: say("The request cannot be read."),
        }
        fault = _FAULTS.get(status, Fault.BAD_REQUEST)
        return fault.value, said[fault]


class Choices(ApiHandler):
    """`choices`."""

    def get(self) -> None:
        """Every project, image and profile that a person may see."""
        person = self.person()
        choices = self.aihub.choices(person)
        names = names_of(choices, self.language)
        self.answer(choices_answer(person, choices, self.language, names, datetime.now(UTC)))


class Availability(ApiHandler):
    """`availability`."""

    tag = ""

    def set_default_headers(self) -> None:
        """It may be kept, and must be asked for again."""
        super().set_default_headers()
        self.set_header("Cache-Control", "private, no-cache")

    def get(self) -> None:
        """What can be started in one project now; unchanged, it is answered with 304."""
        asked = self.query().get("project")
        if asked is None:
            missing = {"field": "project", "problem": "missing", "value": ""}
            self.refuse(400, Refusal(Reason.INVALID_OPTIONS, missing))
        current = self.project(self.person(), asked)
        document = availability(current, self.language, situation(self.aihub, current))
        # The clock alone makes no new answer.
        timeless = {key: value for key, value in document.items() if not key.startswith("asOf")}
        self.tag = hashlib.sha256(json.dumps(timeless, sort_keys=True).encode()).hexdigest()[:32]
        self.answer(document)

    def compute_etag(self) -> str | None:
        """Weak: two answers with the same tag may differ in their age."""
        return f'W/"{self.tag}"' if self.tag else None


class Usage(ApiHandler):
    """`usage`."""

    def get(self) -> None:
        """What a person uses at each level; in projects that they teach or administer, who else uses what."""
        person = self.person()
        asked = self.query().get("project")
        choices = self.aihub.choices(person) if asked is None else (self.project(person, asked),)
        usage = self.aihub.ledger.usage(person.name)
        members = {
            choice.project.name: self._members(choice.project.name) for choice in choices if teaches(choice, person)
        }
        user = (usage.user if usage is not None else None, self.aihub.policy.user_quota)
        self.answer(usage_answer(person, choices, members, user, datetime.now(UTC)))

    def _members(self, project: str) -> dict[str, Resources]:
        ledger = self.aihub.ledger
        found = {}
        for name in {entry.server.person for entry in ledger.entries(project)}:
            usage = ledger.usage(name)
            if usage is not None:
                found[name] = usage.at(project).member
        return found


_COUNT = re.compile("[0-9]{1,4}", re.ASCII)


class Why(ApiHandler):
    """`why`."""

    def get(self) -> None:
        """Every rule of the policy on one start, passed or failed. A start that is refused is an answer, too."""
        person, aihub = self.person(), self.aihub
        facts = aihub.facts(person)
        names = names_of(aihub.choices(person), self.language)
        judgements = why(aihub.policy, person, self._options(), facts)
        self.answer(why_answer(person, judgements, self.language, names, facts.as_of))

    def _options(self) -> dict[str, Any]:
        """The query as user options. The policy judges them; only a count that is a number becomes one."""
        options: dict[str, Any] = {key: value for key, value in self.query().items() if key not in ("user", "_xsrf")}
        count = options.get(OPTION_KEYS[3])
        if isinstance(count, str) and _COUNT.fullmatch(count):
            options[OPTION_KEYS[3]] = int(count)
        return options


class Servers(ApiHandler):
    """`projects/<project>/servers`."""

    def get(self, project: str) -> None:
        """Who holds a server in the project, for those who teach or administer it."""
        reader = self.aihub.person(self.current_user)
        if not teaches(self.project(reader, project), reader):
            message = self.language.say("Only instructors and admins see who runs what.")
            raise ApiError(403, Fault.NO_ACCESS, message)
        held = [_held(running) for running in servers_of(self, project)]
        self.answer(servers_answer(project, held, datetime.now(UTC)))


def _held(running: Running) -> HeldServer:
    entry, admission = running.entry, running.admission
    return HeldServer(
        person=entry.server.person,
        server=entry.server.name,
        state=running.state.value,
        image=admission.image if admission else "",
        profile=admission.profile if admission else "",
        accelerator_count=admission.accelerator_count if admission else 0,
        since=running.since,
        used_at=running.used_at,
        stops_at=running.stops_at,
    )


class OpenApi(ApiHandler):
    """`openapi.json`."""

    def get(self) -> None:
        """The description of this API."""
        self.answer(openapi.document())


def routes() -> list[tuple[str, Any]]:
    """Under `api/aihub/`."""
    return [
        (r"/api/aihub/choices", Choices),
        (r"/api/aihub/availability", Availability),
        (r"/api/aihub/usage", Usage),
        (r"/api/aihub/why", Why),
        (r"/api/aihub/projects/([^/]+)/servers", Servers),
        (r"/api/aihub/openapi\.json", OpenApi),
    ]
