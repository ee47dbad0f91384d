"""The sign-in pages, one for each method. Their route comes from the authenticator, which knows its method."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from jupyterhub.handlers.login import LoginHandler
from jupyterhub.utils import url_path_join

from aihub import pages
from aihub.handlers.base import PageHandler
from aihub.passwords import TooManyAttemptsError
from aihub.projects import Person

__all__ = ["PasswordSignIn", "PersonaSignIn"]


class SignInHandler(PageHandler, LoginHandler):
    """What every sign-in page does; the page is its own."""

    @abstractmethod
    def wrong(self) -> str:
        """That what was given is not right, in words."""

    @abstractmethod
    def page(self, error: str, name: str) -> tuple[str, object]:
        """Template and page, with what went wrong and the name that was typed the last time."""

    @property
    def action(self) -> str:
        """The address of the form."""
        return str(url_path_join(self.hub.base_url, "login"))

    def decode_argument(self, value: bytes, name: str | None = None) -> str:  # noqa: ARG002  # tornado's signature
        """The hub asks for fields while it renders an error: there, bytes that are no UTF-8 must raise none."""
        return value.decode("utf-8", "replace")

    def _render(
        self, login_error: str | None = None, username: str | None = None, sync: bool = False, **_kwargs: Any
    ) -> Any:
        # The hub's signature. A page is awaited; that of an error, which is `sync`, is text at once. The hub's errors
        # are in its own English, and most come from a form that was open for too long.
        error = self.language.say("The form could not be used. Try again.") if login_error else ""
        template, page = self.page(error, username or "")
        return self.render_template(template, page=page, sync=sync)

    async def again(self, status: int, error: str, name: str) -> None:
        """Show the page again, with what went wrong."""
        template, page = self.page(error, name)
        await self.show(template, page, status)

    async def sign_in(self, name: str, **fields: str) -> None:
        """Sign in with what was given and lead on, or show the page again."""
        user = await self.login_user({"username": name, **fields})
        if user is None:
            await self.again(403, self.wrong(), name)
            return
        self._jupyterhub_user = user
        self.redirect(self.get_next_url(user))


class PersonaSignIn(SignInHandler):
    """The personas of this machine, one click each."""

    def wrong(self) -> str:
        """Personas come and go with the policy file."""
        return self.language.say("This persona does not exist any more.")

    def page(self, error: str, name: str) -> tuple[str, object]:  # noqa: ARG002  # none is typed
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
        return "aihub/sign_in.html", pages.SignInPage(personas, self.action, self.get_argument("next", ""), error)

    async def post(self) -> None:
        """Sign in as the persona that was clicked."""
        await self.sign_in(self.field("persona"))


class PasswordSignIn(SignInHandler):
    """A form with name and password."""

    def wrong(self) -> str:
        """It does not tell which of the two."""
        return self.language.say("The name or the password is wrong.")

    def page(self, error: str, name: str) -> tuple[str, object]:
        """The form; a name stays, a password does not."""
        page = pages.PasswordPage(self.action, self.get_argument("next", ""), name, error)
        return "aihub/sign_in_password.html", page

    async def post(self) -> None:
        """Sign in with what was typed; a space at the end of a password belongs to it."""
        name = self.field("username").strip()
        try:
            await self.sign_in(name, password=self.field("password"))
        except TooManyAttemptsError as error:
            time = self.language.duration(error.wait)
            words = self.language.say("Too many wrong passwords for this name. Try again in {time}.", time=time)
            self.set_header("Retry-After", str(error.wait))
            await self.again(429, words, name)
