"""Sign-in, and the seam behind it: a name, groups, and whether somebody is an admin.

`PersonaAuthenticator` is sign-in on one machine: the personas of the policy file, one click each and no password,
which is why such a hub listens on loopback only. Every sign-in method registers the same routes (`get_handlers`):
those come before the hub's own, so our spawn pages and server API take the place of the stock ones (upstream.md 7).
"""

from __future__ import annotations

from typing import Any

from jupyterhub.auth import Authenticator
from traitlets import default

from aihub.app import AIHub

__all__ = ["PersonaAuthenticator"]


class PersonaAuthenticator(Authenticator):
    """Signs people in as one of the personas that the policy file lists."""

    @default("manage_groups")
    def _manage_groups(self) -> bool:
        return True

    @default("allow_all")
    def _allow_all(self) -> bool:
        # Who is no persona is not authenticated at all.
        return True

    @default("auto_login")
    def _auto_login(self) -> bool:
        return False

    @default("auth_refresh_strict")
    def _auth_refresh_strict(self) -> bool:
        # The policy file always answers: who is no persona any more starts nothing by a token either.
        return True

    async def authenticate(self, handler: Any, data: dict[str, str]) -> dict[str, Any] | None:  # noqa: ARG002  # the hub's signature
        """The identity of the persona that was clicked; None for any other name."""
        return _identity(data.get("username", ""))

    async def refresh_user(self, user: Any, handler: Any = None, **kwargs: Any) -> bool | dict[str, Any]:  # noqa: ARG002  # the hub's signature
        """Groups follow the policy file; somebody who is no persona any more signs in again."""
        return _identity(user.name) or False

    def get_handlers(self, app: Any) -> list[tuple[str, Any]]:
        """All routes of AIHub, before those of the sign-in method and of the hub."""
        from aihub.handlers import routes  # noqa: PLC0415  # needs the custom scopes, which exist only by now

        return [*routes(), *super().get_handlers(app)]


def _identity(name: str) -> dict[str, Any] | None:
    persona = AIHub.instance().sign_in.personas.get(name)
    if persona is None:
        return None
    return {"name": name, "groups": sorted(persona.groups), "admin": persona.admin}
