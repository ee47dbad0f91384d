"""The sign-in pages, one for each method. Their route comes from the authenticator, which knows its method."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable
from typing import Any

from jupyterhub.handlers.login import LoginHandler
from jupyterhub.utils import url_path_join

from aihub import pages
from aihub.handlers.base import PageHandler
from aihub.passwords import TooManyAttemptsError
from aihub.projects import Person

__all__ = ["PasswordSignIn", "PersonaSignIn"]

WRONG = "wrong"
"""What was given is not right. Any other error is one of the hub, in its own English."""


class SignInHandler(PageHandler, LoginHandler):
    """What every sign-in page does; the page is its own."""

    @abstractmethod
    def wrong(self) -> str:
        """That what was given is not right, in words."""

    @abstractmethod
    def page(self, error: str, name: str) -> Awaitable[str]:
        """The page, with what went wrong and the name that was typed the last time."""

    @property
    def action(self) -> str:
        """The address of the form."""
        return str(url_path_join(self.hub.base_url, "login"))

    def decode_argument(self, value: bytes, name: str | None = None) -> str:  # noqa: ARG002  # tornado's signature
        """The hub asks for fields while it renders an error: there, bytes that are no UTF-8 must raise none."""
        return value.decode("utf-8", "replace")

    def _render(self, login_error: str | None = None, username: str | None = None, **_kwargs: Any) -> Awaitable[str]:
        if login_error is None:
            return self.page("", username or "")
        if login_error == WRONG:
            return self.page(self.wrong(), username or "")
        # Most often the form was open for too long.
        return self.page(self.language.say("The form could not be used. Try again."), username or "")

    async def sign_in(self, name: str, **fields: str) -> None:
        """Sign in with what was given and lead on, or show the page again."""
        user = await self.login_user({"username": name, **fields})
        if user is None:
            self.set_status(403)
            self.finish(await self._render(WRONG, name))
            return
        self._jupyterhub_user = user
        self.redirect(self.get_next_url(user))


class PersonaSignIn(SignInHandler):
    """The personas of this machine, one click each."""

    def wrong(self) -> str:
        """Personas come and go with the policy file."""
        return self.language.say("This persona does not exist any more.")

    def page(self, error: str, name: str) -> Awaitable[str]:  # noqa: ARG002  # none is typed
        """One card for each persona."""
        projects = self.aihub.policy.projects.values()
        personas = tuple(
            pages.persona_card(
                Person(persona.name, persona.groups, persona.admin),
                self.language.text(persona.display_name),
                projects,
                self.language,
            )
            for persona in self.aihub.sign_in.personas.values()
        )
        page = pages.SignInPage(personas, self.action, self.get_argument("next", ""), error)
        rendered: Awaitable[str] = self.render_template("aihub/sign_in.html", page=page)
        return rendered

    async def post(self) -> None:
        """Sign in as the persona that was clicked."""
        await self.sign_in(self.field("persona"))


class PasswordSignIn(SignInHandler):
    """A form with name and password."""

    def wrong(self) -> str:
        """It does not tell which of the two."""
        return self.language.say("The name or the password is wrong.")

    def page(self, error: str, name: str) -> Awaitable[str]:
        """The form; a name stays, a password does not."""
        page = pages.PasswordPage(self.action, self.get_argument("next", ""), name, error)
        rendered: Awaitable[str] = self.render_template("aihub/sign_in_password.html", page=page)
        return rendered

    async def post(self) -> None:
        """Sign in with what was typed; a space at the end of a password belongs to it."""
        name = self.field("username").strip()
        try:
            await self.sign_in(name, password=self.field("password"))
        except TooManyAttemptsError as error:
            time = self.language.duration(error.wait)
            words = self.language.say("Too many wrong passwords for this name. Try again in {time}.", time=time)
            self.set_status(429)
            self.set_header("Retry-After", str(error.wait))
            self.finish(await self.page(words, name))
