"""Somebody at a browser, without the browser: a client that goes through Keycloak's sign-in page as people do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from bs4 import BeautifulSoup

from tests.sso.realm import password


def client(url: str) -> httpx.Client:
    """Cookies as in a browser: Keycloak's are for safe addresses only, and to browsers one of this machine is safe."""
    made = httpx.Client(base_url=url, follow_redirects=True, timeout=60)

    def trust(response: httpx.Response) -> None:
        for cookie in made.cookies.jar:
            cookie.secure = False

    made.event_hooks = {"response": [trust]}
    return made


@contextmanager
def visitor(url: str) -> Iterator[httpx.Client]:
    """Somebody with a browser of their own."""
    with client(url) as made:
        yield made


def login_form(page: httpx.Response, user: str, secret: str | None = None) -> tuple[str, dict[str, str]]:
    """Where Keycloak's sign-in page is sent to, and what it is filled in with."""
    form = BeautifulSoup(page.text, "html.parser").select_one("form#kc-form-login")
    assert form is not None, f"{page.url} is not Keycloak's sign-in page: {page.text[:2000]}"
    data = {"username": user, "password": password(user) if secret is None else secret, "credentialId": ""}
    return str(form["action"]), data


def fill_in(browser: httpx.Client, page: httpx.Response, user: str, secret: str | None = None) -> httpx.Response:
    """Fill in Keycloak's sign-in page; where that leads."""
    action, data = login_form(page, user, secret)
    return browser.post(action, data=data)


def sign_in(browser: httpx.Client, user: str, to: str = "") -> httpx.Response:
    """From the hub's button to where the sign-in leads. Does not ask for a password where Keycloak does not."""
    page = browser.get("/hub/oauth_login", params={"next": to} if to else None)
    return fill_in(browser, page, user) if "kc-form-login" in page.text else page


def arm(browser: httpx.Client) -> httpx.Client:
    """Give the client the header that the hub's API wants of pages."""
    browser.get("/hub/home")
    tokens = [cookie.value or "" for cookie in browser.cookies.jar if (cookie.name, cookie.path) == ("_xsrf", "/hub/")]
    browser.headers["X-XSRFToken"] = tokens[0] if tokens else ""
    return browser


def who(browser: httpx.Client) -> str | None:
    """Who the hub thinks that this is; None for nobody."""
    answer = browser.get("/hub/api/user")
    return str(answer.json()["name"]) if answer.is_success else None
