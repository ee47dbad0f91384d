"""Sign-in, and the seam behind it: a name, groups, and whether somebody is an admin.

Two methods take who is who from the policy file (`PolicySignIn`), the others from a provider (`aihub.sso`):

- `PersonaAuthenticator`: one click and no password, on one machine, which is why such a hub listens on loopback only;
- `SharedPassword`: one password for everybody and one for admins, for evaluation.

All register the same routes (`get_handlers`), before the hub's own, so our pages and server API take the place of the
stock ones (upstream.md 7).
"""

from __future__ import annotations

import asyncio
import os
import time
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from jupyterhub.auth import Authenticator
from jupyterhub.authenticators.shared import SharedPasswordAuthenticator
from jupyterhub.orm import OAuthCode, new_token
from traitlets import default

from aihub.app import AIHub
from aihub.config import LOCAL, SHARED_PASSWORD, Persona, SignIn
from aihub.passwords import Brake, Passwords, door, same
from aihub.projects import normalised_user

__all__ = [
    "PersonaAuthenticator",
    "PolicySignIn",
    "SharedPassword",
    "SignInMethod",
    "SignInMethodError",
    "end_all",
    "sign_out",
    "tell_kind",
]


class SignInMethodError(Exception):
    """The policy file asks for another sign-in method than the hub was started with."""


class SignInMethod(Authenticator):
    """What all methods share: our routes, groups that follow who says who is who, no way around `check_allowed`."""

    method: str

    @abstractmethod
    def login_page(self) -> type:
        """The handler of the sign-in page."""

    @default("manage_groups")
    def _manage_groups(self) -> bool:
        return True

    @default("any_allow_config")
    def _any_allow_config(self) -> bool:
        # `check_allowed` is the rule; the hub would warn that there is none.
        return True

    @default("auto_login")
    def _auto_login(self) -> bool:
        return False

    @default("auth_refresh_strict")
    def _auth_refresh_strict(self) -> bool:
        # Who is not let in any more starts nothing by a token either.
        return True

    @default("refresh_pre_spawn")
    def _refresh_pre_spawn(self) -> bool:
        # Rights are those of the moment of the start, not of the sign-in.
        return True

    def check_allow_config(self) -> None:
        """The stock checks and ours, when the hub starts. Raises SignInMethodError."""
        super().check_allow_config()
        self.check_method()

    def check_method(self) -> None:
        """Raise SignInMethodError when the policy file asks for another method."""
        asked = AIHub.instance().sign_in.method
        if asked != self.method:
            raise SignInMethodError(f"signIn.method is {asked}, and this hub was started for {self.method}")
        self.check_switches("manage_groups", "auth_refresh_age", "auth_refresh_strict", "refresh_pre_spawn")

    def check_switches(self, *names: str) -> None:
        """Raise SignInMethodError where the hub's own configuration switches off what `names` do."""
        off = [f"Authenticator.{name}" for name in names if not getattr(self, name)]
        if off:
            raise SignInMethodError(f"{', '.join(off)} must not be switched off: rights would outlive their reason")

    def get_handlers(self, app: Any) -> list[tuple[str, Any]]:
        """All routes of AIHub, before those of the sign-in method and of the hub."""
        from aihub.handlers import routes  # noqa: PLC0415  # needs the custom scopes, which exist only by now

        return [(r"/login", self.login_page()), *routes(), *super().get_handlers(app)]


def tell_kind(handler: Any) -> None:
    """Let the hub see that a request brought no token.

    JupyterHub 6.1.1 reads this of every handler when `refresh_user` says no, and sets it for requests with a token
    only: the others would end in a traceback in the log.
    """
    if handler is not None and not hasattr(handler, "_token_authenticated"):
        handler._token_authenticated = False  # noqa: SLF001  # the hub has no other place for it


class PolicySignIn(SignInMethod):
    """Groups and admins are those of the policy file, now, and nobody else is let in."""

    @abstractmethod
    def listed(self, sign_in: SignIn) -> Mapping[str, Persona]:
        """Who signs in by this method, whatever the method of a file read later is."""

    @default("auth_refresh_age")
    def _auth_refresh_age(self) -> int:
        # A look into memory: a changed policy file counts from the next page on.
        return 1

    def check_allowed(self, username: str, authentication: Any = None) -> bool:  # noqa: ARG002  # the hub's signature
        """Whether the policy file lists `username`."""
        return self.person(username) is not None

    async def refresh_user(self, user: Any, handler: Any = None, **kwargs: Any) -> bool | dict[str, Any]:  # noqa: ARG002  # the hub's signature
        """Groups follow the policy file; somebody whom it does not list any more signs in again."""
        tell_kind(handler)
        person = self.person(user.name)
        return False if person is None else _identity(person)

    def person(self, name: str) -> Persona | None:
        """Whom the policy file lists by that normalised name."""
        return self.listed(AIHub.instance().sign_in).get(name)


class PersonaAuthenticator(PolicySignIn):
    """Signs people in as one of the personas that the policy file lists."""

    method = LOCAL

    def listed(self, sign_in: SignIn) -> Mapping[str, Persona]:
        """The personas."""
        return sign_in.personas

    def login_page(self) -> type:
        """One button for each persona."""
        from aihub.handlers.sign_in import PersonaSignIn  # noqa: PLC0415  # as above

        return PersonaSignIn

    async def authenticate(self, handler: Any, data: dict[str, str]) -> dict[str, Any] | None:  # noqa: ARG002  # the hub's signature
        """The identity of the persona that was clicked; None for any other name."""
        person = self.person(data.get("username", ""))
        return None if person is None else _identity(person)


class SharedPassword(PolicySignIn, SharedPasswordAuthenticator):
    """Signs in the people of the policy file, with one password for everybody and one for admins. For evaluation only.

    `user_password` and `admin_password` are those of the environment (`aihub.passwords`). Whoever knows the first can
    be anybody but an admin.
    """

    method = SHARED_PASSWORD

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.brake = Brake()
        self.clock: Callable[[], float] = time.monotonic
        self.sleep: Callable[[float], Awaitable[object]] = asyncio.sleep

    @default("user_password")
    def _user_password(self) -> str:
        return Passwords.of(os.environ).user

    @default("admin_password")
    def _admin_password(self) -> str:
        return Passwords.of(os.environ).admin

    def listed(self, sign_in: SignIn) -> Mapping[str, Persona]:
        """The people."""
        return sign_in.people

    def login_page(self) -> type:
        """A form with name and password."""
        from aihub.handlers.sign_in import PasswordSignIn  # noqa: PLC0415  # as above

        return PasswordSignIn

    def check_allow_config(self) -> None:
        """Raise SignInMethodError, or PasswordError when the hub has no good passwords, as it starts.

        The stock checks are left out: they miss admins in the configuration, and ours are in the policy file.
        """
        self.check_method()
        Passwords(self.user_password or "", self.admin_password or "")

    async def authenticate(self, handler: Any, data: Any) -> dict[str, Any] | None:
        """The identity of a listed person whose password is right; None for anybody else.

        Raises TooManyAttemptsError, without looking at the password, when somebody guesses at the name.
        """
        given = data if isinstance(data, dict) else {}
        name, password = (str(given.get(field, "")) for field in ("username", "password"))
        name = normalised_user(name)
        guessed = door(name, handler.request.remote_ip if handler is not None else None)
        wait = self.brake.attempt(guessed, self.clock())
        if wait:
            await self.sleep(wait)
        person = self.person(name)
        admin = person is not None and person.admin
        if not same(password, self.admin_password if admin else self.user_password) or person is None:
            return None
        self.brake.right(guessed)
        user = handler.find_user(name) if handler is not None else None
        if user is not None and admin and not user.admin:
            end_sessions(user)
        return _identity(person)

    async def refresh_user(self, user: Any, handler: Any = None, **kwargs: Any) -> bool | dict[str, Any]:
        """As for every method; but who has become an admin signs in again, with the password of admins."""
        person = self.person(user.name)
        if person is not None and person.admin and not user.admin:
            end_sessions(user)
            return False
        return await super().refresh_user(user, handler, **kwargs)


def end_sessions(user: Any) -> None:
    """End what was begun in the name of a user who becomes an admin: until now everybody could sign in as them.

    Sessions end, and tokens that have all rights of their owner; the tokens of running servers never have.
    """
    user.orm_user.cookie_id = new_token()
    for token in list(user.orm_user.api_tokens):
        if "inherit" in token.scopes:
            user.db.delete(token)
    user.db.commit()


def sign_out(user: Any) -> None:
    """End every session of a user of the hub: those of browsers with the hub, and theirs with user servers.

    The cookie of the hub is the user's, not the browser's (upstream.md 30), so all browsers sign in again. Personal API
    tokens and those of running servers stay; whether they may do anything is asked at every use.
    """
    db, orm_user = user.db, user.orm_user
    orm_user.cookie_id = new_token()
    for token in list(orm_user.api_tokens):
        if token.session_id:
            db.delete(token)
    for code in db.query(OAuthCode).filter(OAuthCode.user_id == orm_user.id):
        db.delete(code)
    db.commit()


def end_all(user: Any) -> None:
    """End every session and every token of a user of the hub, but those of running servers themselves."""
    sign_out(user)
    servers = {getattr(spawner, "token_id", None) for spawner in user.spawners.values()}
    for token in list(user.orm_user.api_tokens):
        if token.id not in servers:
            user.db.delete(token)
    user.db.commit()


def _identity(person: Persona) -> dict[str, Any]:
    return {"name": person.name, "groups": sorted(person.groups), "admin": person.admin}
