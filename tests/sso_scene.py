"""A provider, a hub and browsers between them, and what it is to be refused there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar
from urllib.parse import parse_qs, urlsplit

import httpx
from bs4 import BeautifulSoup

from aihub.handlers.sso import STATUS
from aihub.identity import SignInReason
from tests.sso_hub import HubInProcess
from tests.web_rig import Sent

__all__ = ["SESSION_COOKIES", "Scene"]

SESSION_COOKIES = {"jupyterhub-hub-login", "jupyterhub-session-id"}


class Provider(Protocol):
    """What a rig of a provider can do."""

    sent: list[Sent]

    def sign_in(self, browser: httpx.Client, address: str, name: str, /) -> httpx.Response:
        """Open `address` as somebody who is signed in there; the last answer."""


Rig = TypeVar("Rig", bound=Provider)


@dataclass
class Scene(Generic[Rig]):
    """What a test begins with. `before` are the users of the hub and the names that belong to somebody."""

    rig: Rig
    hub: HubInProcess
    secret: str
    browsers: list[httpx.Client] = field(default_factory=list)
    before: tuple[Sequence[str], Sequence[str]] = ((), ())
    logged: int = 0

    def __post_init__(self) -> None:
        self.logged = len(self.hub.log.lines)
        self.count_people()

    def count_people(self) -> None:
        """From now on there are as many people as now."""
        self.before = self.hub.users(), self.hub.bound()

    def browser(self) -> httpx.Client:
        """A new one, without cookies."""
        self.browsers.append(httpx.Client(timeout=30))
        return self.browsers[-1]

    def close(self) -> None:
        """Close all browsers."""
        for browser in self.browsers:
            browser.close()

    def sign_in(self, name: str = "mallory", browser: httpx.Client | None = None, query: str = "") -> httpx.Response:
        """What somebody whom the provider knows ends up with, after the whole round trip."""
        return self.rig.sign_in(browser or self.browser(), f"{self.hub.url}/oauth_login{query}", name)

    def way_back(self, name: str, browser: httpx.Client, query: str = "") -> str:
        """The address with which the provider sends that browser back to the hub; it has not been opened yet."""
        browser.cookies.set("rig-person", name, domain="127.0.0.1")
        there = browser.get(f"{self.hub.url}/oauth_login{query}")
        assert there.status_code == 302, there.text
        back = browser.get(there.headers["Location"])
        assert back.headers["Location"].startswith(self.hub.callback)
        return str(back.headers["Location"])

    def ask_again(self, browser: httpx.Client) -> httpx.Response:
        """What the hub says of whom it has just asked the provider about."""
        self.hub.grow_stale()
        return browser.get(f"{self.hub.url}/api/user")

    def log(self) -> str:
        """What was logged since the test began."""
        return "\n".join(self.hub.log.lines[self.logged :])

    def assert_refused(self, answer: httpx.Response, *reasons: SignInReason, by: httpx.Client | None = None) -> None:
        """A page that says why; whoever it was, by the browser made last, has nothing; and nothing is told."""
        self.assert_nobody(answer, *reasons, by=by or self.browsers[-1])
        self.assert_nothing_told(answer)

    def assert_nobody(self, answer: httpx.Response, *reasons: SignInReason, by: httpx.Client) -> None:
        """A page that says why; and `by` belongs to nobody."""
        page = BeautifulSoup(answer.text, "html.parser")
        reason = page.select_one("section[role=alert] code")
        assert reason is not None, (answer.status_code, answer.text)
        assert reason.text in {each.value for each in reasons}, self.log()
        assert answer.status_code == STATUS.get(SignInReason(reason.text), 403)
        assert page.title is not None
        assert page.title.text.startswith("Error: ")
        assert page.select("a.btn, button.btn"), "there is no way on"
        assert not SESSION_COOKIES & {*by.cookies}
        assert by.get(f"{self.hub.url}/home").headers["Location"].startswith("/hub/login")
        assert by.get(f"{self.hub.url}/api/user").status_code == 403
        assert (self.hub.users(), self.hub.bound()) == self.before

    def assert_nothing_told(self, *answers: httpx.Response) -> None:
        """Neither the log nor a page has a token, a code, a verifier or the client's secret; and nothing broke."""
        worth = {self.secret}
        for sent in self.rig.sent:
            worth |= {value for key, value in sent.form.items() if key in {"code", "code_verifier", "refresh_token"}}
        for answer in answers:
            query = parse_qs(urlsplit(str(answer.url)).query)
            worth |= {value for key in ("code", "state") for value in query.get(key, ()) if len(value) > 8}
        for text in (self.log(), *(answer.text for answer in answers)):
            assert not [each for each in worth if each in text]
            # Tokens of OpenID Connect are long, and begin like this: {"
            assert not re.search(r"eyJ[\w-]{8,}\.|refresh-|gh[or]_", text)
        assert "Traceback" not in self.log()
        assert "Uncaught" not in self.log()
