"""The hub's own REST routes for people and tokens, without what is nobody's to read and without their broken answers.

An admin may read and write everything about a person there, what the sign-in method keeps of its provider (tokens that
act for the person elsewhere) included. And two of the routes for old servers end in a 500 when they are called oddly
(upstream.md 52).
"""

from __future__ import annotations

import json
from typing import Any

from jupyterhub.apihandlers.auth import TokenAPIHandler
from jupyterhub.apihandlers.users import UserAPIHandler
from tornado import web

__all__ = ["PersonHandler", "TokenHandler", "routes"]

_KEPT = "auth_state"


class PersonHandler(UserAPIHandler):
    """One person: what sign-in keeps of them stands in no answer and is taken from no request."""

    def get_json_body(self) -> Any:
        """The request's body. Raises 400 for one that would replace what sign-in keeps, or give another name.

        Home, usage and rights go by the name: under another one a person would have those of somebody else.
        """
        body = super().get_json_body()
        if isinstance(body, dict) and _KEPT in body:
            raise web.HTTPError(400, f"{_KEPT} belongs to the sign-in method")
        # The name they have is left out: JupyterHub 6.1.1 takes it for none at all, and loses the user.
        if isinstance(body, dict) and body.pop("name", self.path_args[0]) != self.path_args[0]:
            raise web.HTTPError(400, "A user keeps their name.")
        return body

    def write(self, chunk: Any) -> None:
        """Send an answer without what sign-in keeps."""
        super().write(_without(chunk))


def _without(chunk: Any) -> Any:
    if not isinstance(chunk, str) or _KEPT not in chunk:
        return chunk
    return json.dumps({key: value for key, value in json.loads(chunk).items() if key != _KEPT})


class TokenHandler(TokenAPIHandler):
    """Whose a token is, as servers older than JupyterHub 2 ask."""

    def get(self, token: str | None = None) -> None:
        """The token's owner; 404 for no token."""
        if not token:
            raise web.HTTPError(404)
        super().get(token)

    async def post(self, token: str | None = None) -> None:  # noqa: ARG002  # the route's
        """404: tokens are made elsewhere since JupyterHub 2."""
        await super().post()


def routes() -> list[tuple[str, Any]]:
    """Under the hub's own addresses."""
    return [
        (r"/api/users/([^/]+)", PersonHandler),
        (r"/api/authorizations/token", TokenHandler),
        (r"/api/authorizations/token/([^/]+)", TokenHandler),
    ]
