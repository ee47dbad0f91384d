"""The hub's own REST routes for servers, behind the policy.

What the stock handlers would answer with a 500, or store before it is checked, is refused here first (upstream.md 7,
8); what passes is the hub's to do.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any

from jupyterhub.apihandlers.users import UserServerAPIHandler
from jupyterhub.handlers.base import BaseHandler
from jupyterhub.scopes import needs_scope
from jupyterhub.slugs import is_valid_display_name
from tornado import web

from aihub import i18n
from aihub.app import AIHub
from aihub.config import SSO
from aihub.errors import Reason, Refusal
from aihub.identity import Outcome, SignInReason
from aihub.messages import Names, names_of
from aihub.names import server_name_problem
from aihub.options import parse_options, shown
from aihub.spawner import SpawnRefused

__all__ = ["OneStart", "ServerHandler", "end_server", "forget_server", "routes"]

MAX_BODY = 64 * 1024
CANCEL_PATIENCE = 30.0
"""Seconds to wait until a cancelled start has given back what it made."""

_LONGEST_DISPLAY_NAME = 255  # of JupyterHub's column
_IDS = {"project", "image", "profile"}
_START_KEYS = {"display_name", "user_options"}
_PATCH_KEYS = {"name", *_START_KEYS}


class OneStart(BaseHandler):
    """Starts of one server that cross each other, or a stop, end in an answer; the hub's own end in a 500."""

    _token_authenticated = False
    """The hub sets it for tokens only, and reads it of everybody whose sign-in has ended (JupyterHub 6.1)."""

    async def may_start(self, user: Any) -> bool:
        """Ask the sign-in method about `user`, whose rights are those of this moment; False: they must sign in first.

        The hub itself asks once in a request, and only after our own check has answered by what was known before.
        """
        if await self.refresh_auth(user, force=True) is not None:
            return True
        # Else an answer that is minutes old would count in the next requests, and lead back here from sign-in.
        user._auth_refreshed = None  # noqa: SLF001  # the hub has no other way to say it
        return False

    def must_sign_in(self, user: Any) -> web.HTTPError:
        """What is answered when a server may not start because `user` has to sign in again, or may not any more."""
        aihub, say = AIHub.instance(), i18n.language_of(self.request).say
        if aihub.sign_in.method in SSO and aihub.sign_in.access.admits(aihub.person(user)):
            text, reason = say("{name} has to sign in again first.", name=user.name), Outcome.SIGN_IN_AGAIN.value
        else:
            text, reason = say("{name} may not sign in here any more.", name=user.name), SignInReason.NOT_ALLOWED.value
        error = web.HTTPError(403, text)
        error.headers = {"AIHub-Reason": reason}  # type: ignore[attr-defined]  # the hub sends them
        return error

    async def spawn_single_user(
        self, user: Any, server_name: str = "", display_name: str = "", options: dict[str, Any] | None = None
    ) -> None:
        """Start the server. Raises SpawnRefused with `server-busy` if it starts already, or is stopped meanwhile."""
        spawner, crossing = user.spawners.get(server_name), (user.name, server_name)
        if crossing in _crossings or (spawner is not None and spawner.pending):
            raise SpawnRefused(_busy(server_name, spawner))
        _crossings.add(crossing)
        try:
            await super().spawn_single_user(user, server_name, display_name, options=options)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # this request was cancelled, not the start that it waits for
            raise SpawnRefused(_busy(server_name, spawner)) from error
        finally:
            _crossings.discard(crossing)


_crossings: set[tuple[str, str]] = set()
"""Servers whose start is being handed to the hub: it may ask the sign-in method before it marks them as pending."""


class ServerHandler(OneStart, UserServerAPIHandler):
    """Start, stop, make and change a server."""

    async def prepare(self) -> None:
        """Say, where a token is good and its owner has to sign in again, that this is why it opens nothing."""
        await super().prepare()
        token = self.get_token()
        if self.current_user is None and token is not None and token.user is not None:
            raise self.must_sign_in(self.find_user(token.user.name))

    def get_json_body(self) -> Any:
        """The request's body: an object, or None without one. Anything else is refused with `invalid-options`."""
        if len(self.request.body) > MAX_BODY:
            raise _invalid("", "too-long", "")
        if not self.request.body.strip():
            return None
        try:
            # As bytes, UTF-16 would pass, which the hub's own reader cannot read.
            body = json.loads(self.request.body.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise _invalid("", "not-json", "") from error
        if not isinstance(body, dict):
            raise _invalid("", "not-an-object", body)
        return body

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Say a refusal in the reader's language, with the names that they may see."""
        kind, error, trace = kwargs.get("exc_info") or (None, None, None)
        if isinstance(error, SpawnRefused):
            # A new one: the hub keeps the error of a failed start for others to read.
            names = self._names() if _IDS & error.refusal.parameters.keys() else Names()
            said = SpawnRefused(error.refusal, i18n.language_of(self.request), names)
            kwargs["exc_info"] = (kind, said, trace)
        super().write_error(status_code, **kwargs)

    def _names(self) -> Names:
        reader, aihub = self.current_user, AIHub.instance()
        if reader is None or reader.kind != "user":
            return Names()
        return names_of(aihub.choices(aihub.person(reader)), i18n.language_of(self.request))

    def get_server_json_body(self) -> dict[str, Any]:
        """`display_name` and `user_options` of a body in either of the hub's two shapes, well-formed or refused."""
        body = self.get_json_body() or {}
        if not _START_KEYS & set(body):
            body = {"user_options": body or None}
        _only(body, _START_KEYS)
        _check_display_name(body)
        if body.get("user_options") is not None:
            _well_formed(body["user_options"])
        return {key: body.get(key) for key in _START_KEYS}

    @needs_scope("start:servers")
    async def put(self, user_name: str, server_name: str = "") -> None:
        """Make a named server without starting it."""
        _named(server_name)
        await super().put(user_name, server_name)

    @needs_scope("start:servers")
    async def post(self, user_name: str, server_name: str = "") -> None:
        """Start a server; a refusal is answered before anything is stored."""
        _named(server_name)
        user = self.find_user(user_name)
        if user is None:
            raise web.HTTPError(404)
        body = self.get_server_json_body()
        if not await self.may_start(user):
            raise self.must_sign_in(user)
        existed = server_name in user.orm_spawners
        if not await _starting(user, server_name):
            options = body["user_options"]
            saved = user.orm_spawners[server_name].user_options if existed else None
            aihub = AIHub.instance()
            verdict = aihub.check(aihub.person(user), server_name, (saved or {}) if options is None else options)
            if isinstance(verdict, Refusal):
                raise SpawnRefused(verdict)
        try:
            await super().post(user_name, server_name)
        except SpawnRefused:
            if server_name and not existed:
                forget_server(self, user, server_name)
            raise

    @needs_scope("start:servers")
    async def patch(self, user_name: str, server_name: str = "") -> None:
        """Rename a stopped server or change what it will start with."""
        body = self.get_json_body() or {}
        _only(body, _PATCH_KEYS)
        _check_display_name(body)
        if "name" in body:
            if not isinstance(body["name"], str):
                raise _invalid("name", "not-text", body["name"])
            _named(body["name"], required=True)
        if "user_options" in body:
            _well_formed(body["user_options"])
        await super().patch(user_name, server_name)

    @needs_scope("delete:servers")
    async def delete(self, user_name: str, server_name: str = "") -> None:
        """Stop a server, or cancel its start."""
        self.get_json_body()
        user = self.find_user(user_name)
        spawner = user.spawners.get(server_name) if user is not None else None
        if user is not None and spawner is None and not server_name:
            self.set_status(204)
            return
        if spawner is not None and spawner.pending in _STARTS:
            # The hub's own gives a cancelled start one second, and answers 500 when that is not enough.
            await end_server(self, user, server_name)
            if spawner.pending in _STARTS:
                raise SpawnRefused(_busy(server_name, spawner))
        await super().delete(user_name, server_name)


_STARTS = ("spawn", "check")


def _busy(server_name: str, spawner: Any) -> Refusal:
    state = (spawner.pending if spawner is not None else None) or "running"
    return Refusal(Reason.SERVER_BUSY, {"server": server_name, "state": state})


async def _starting(user: Any, server_name: str) -> bool:
    """Whether the server starts already, which is answered as the first request was; refused if it runs or stops."""
    spawner = user.spawners.get(server_name)
    if spawner is None or not spawner.active:
        return False
    if spawner.pending in _STARTS:
        return True
    # A server that died since the last look must not stand in the way of its own restart.
    if spawner.ready and await spawner.poll_and_notify() is not None:
        return False
    raise SpawnRefused(_busy(server_name, spawner))


async def end_server(handler: Any, user: Any, name: str) -> None:
    """Stop a server in whatever state it is; nothing happens to one that does not run or is stopping already."""
    spawner = user.spawners.get(name)
    if spawner is None or spawner.pending == "stop":
        return
    # It goes on when nobody waits for it any more: the hub itself takes a server whose start was cancelled for ready.
    ending = asyncio.ensure_future(_end(handler, user, name, spawner))
    await asyncio.wait([ending], timeout=CANCEL_PATIENCE)
    if ending.done():
        ending.result()


async def _end(handler: Any, user: Any, name: str, spawner: Any) -> None:
    start = spawner._spawn_future  # noqa: SLF001  # the hub's own Cancel does the same
    if spawner.pending and start is not None:
        # Cancelled twice, the hub would no longer wait for what the start has to clear away.
        if not start.cancelling():
            start.cancel()
        await asyncio.wait([start])
    if spawner.ready:
        await handler.stop_single_user(user, name)


def forget_server(handler: Any, user: Any, server_name: str) -> None:
    """Remove a named server that does not run from the hub's list of them; one that runs or starts stays."""
    row, spawner = user.orm_spawners.get(server_name), user.spawners.get(server_name)
    busy = (user.name, server_name) in _crossings or (spawner is not None and spawner.active)
    if row is None or busy or not server_name:
        return
    handler.db.delete(row)
    user.spawners.pop(server_name, None)
    handler.db.commit()


def _well_formed(options: object) -> None:
    parsed = parse_options(options)
    if isinstance(parsed, Refusal):
        raise SpawnRefused(parsed)


def _only(body: Mapping[str, Any], keys: set[str]) -> None:
    unknown = sorted(set(body) - keys)
    if unknown:
        raise _invalid(shown(unknown[0]), "unknown-key", unknown[0])


def _check_display_name(body: Mapping[str, Any]) -> None:
    """Refuse what the hub checks for new servers only, and its database may be unable to store."""
    name = body.get("display_name", "")
    if not isinstance(name, str):
        raise _invalid("display_name", "not-text", name)
    if len(name) > _LONGEST_DISPLAY_NAME:
        raise _invalid("display_name", "too-long", name)
    # Spaces at the ends or in a row are ugly, but can be printed.
    if name and not is_valid_display_name(re.sub(" +", " ", name).strip(" ")):
        raise _invalid("display_name", "unprintable", name)


def _named(name: str, *, required: bool = False) -> None:
    problem = server_name_problem(name) if name or required else None
    if problem:
        raise _invalid("server-name", problem, name)


def _invalid(field: str, problem: str, value: object) -> SpawnRefused:
    parameters: Mapping[str, str] = {"field": field, "problem": problem, "value": shown(value) if value != "" else ""}
    return SpawnRefused(Refusal(Reason.INVALID_OPTIONS, parameters))


def routes() -> list[tuple[str, Any]]:
    """Under the hub's own addresses."""
    return [
        (r"/api/users/([^/]+)/servers/([^/]*)", ServerHandler),
        (r"/api/users/([^/]+)/server", ServerHandler),
    ]
