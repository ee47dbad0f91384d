"""The hub's own REST routes for servers, behind the policy.

What the stock handlers would answer with a 500, or store before it is checked, is refused here first (upstream.md 7,
8); what passes is the hub's to do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jupyterhub.apihandlers.users import UserServerAPIHandler
from jupyterhub.scopes import needs_scope
from tornado import web

from aihub.app import AIHub
from aihub.errors import Reason, Refusal
from aihub.names import server_name_problem
from aihub.options import parse_options, shown
from aihub.spawner import SpawnRefused

__all__ = ["ServerHandler", "routes"]

MAX_BODY = 64 * 1024
_PATCH_KEYS = {"name", "display_name", "user_options"}


class ServerHandler(UserServerAPIHandler):
    """Start, stop, make and change a server."""

    def get_json_body(self) -> Any:
        """The request's body: an object, or None without one. Anything else is refused with `invalid-options`."""
        if len(self.request.body) > MAX_BODY:
            raise _invalid("", "too-long", "")
        if not self.request.body.strip():
            return None
        try:
            body = json.loads(self.request.body)
        except (ValueError, RecursionError) as error:
            raise _invalid("", "not-json", "") from error
        if not isinstance(body, dict):
            raise _invalid("", "not-an-object", body)
        return body

    def get_server_json_body(self) -> dict[str, Any]:
        """The body in the hub's shape, its `user_options` well-formed."""
        self.get_json_body()  # the hub's own method reads the body past ours, and takes `[]` for "no body"
        body: dict[str, Any] = super().get_server_json_body()
        if body.get("user_options") is not None:
            _well_formed(body["user_options"])
        return body

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
        existed = server_name in user.orm_spawners
        await _not_busy(user, server_name)
        if not self._active(user, server_name):
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
        unknown = sorted(set(body) - _PATCH_KEYS)
        if unknown:
            raise _invalid(shown(unknown[0]), "unknown-key", unknown[0])
        for key in ("name", "display_name"):
            if key in body and not isinstance(body[key], str):
                raise _invalid(key, "not-text", body[key])
        if "name" in body:
            _named(body["name"], required=True)
        if "user_options" in body:
            _well_formed(body["user_options"])
        await super().patch(user_name, server_name)

    @needs_scope("delete:servers")
    async def delete(self, user_name: str, server_name: str = "") -> None:
        """Stop a server."""
        self.get_json_body()
        user = self.find_user(user_name)
        if user is not None and not server_name and server_name not in user.spawners:
            self.set_status(204)
            return
        await super().delete(user_name, server_name)

    @staticmethod
    def _active(user: Any, server_name: str) -> bool:
        return server_name in user.spawners and user.spawners[server_name].active


async def _not_busy(user: Any, server_name: str) -> None:
    """Refuse a start of a server that runs or stops; one that starts is answered as the first request was."""
    spawner = user.spawners.get(server_name)
    if spawner is None or not spawner.active or spawner.pending in {"spawn", "check"}:
        return
    # A server that died since the last look must not stand in the way of its own restart.
    if spawner.ready and await spawner.poll_and_notify() is not None:
        return
    raise SpawnRefused(Refusal(Reason.SERVER_BUSY, {"server": server_name, "state": spawner.pending or "running"}))


def forget_server(handler: Any, user: Any, server_name: str) -> None:
    """Remove the row that a refused start of a new named server left."""
    spawner = user.spawners.get(server_name)
    if spawner is None or spawner.active:
        return
    handler.db.delete(spawner.orm_spawner)
    user.spawners.pop(server_name, None)
    handler.db.commit()


def _well_formed(options: object) -> None:
    parsed = parse_options(options)
    if isinstance(parsed, Refusal):
        raise SpawnRefused(parsed)


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
