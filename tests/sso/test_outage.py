"""Keycloak hangs, dies and comes back. Nobody who is signed in is thrown out; who is not is told, and gets in later."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from playwright.sync_api import Browser, expect

from tests.local.people import Someone, until
from tests.sso.browsing import login_form, sign_in, visitor, who
from tests.sso.hubs import RECHECK, MakeHub, SsoHub
from tests.sso.keycloak import Keycloak
from tests.sso.realm import STUDENTS, Realm, password

PATIENT = 12
"""Seconds that a page may take while Keycloak hangs: the hub waits for 10 at most."""


RECOVERED = 60
"""Seconds after which the hub has noticed that Keycloak answers again."""


@contextmanager
def hanging(keycloak: Keycloak) -> Iterator[None]:
    keycloak.hang()
    try:
        yield
    finally:
        keycloak.go_on()
    until(keycloak.answers, "Keycloak answers again")


@contextmanager
def dead(keycloak: Keycloak) -> Iterator[None]:
    keycloak.kill()
    try:
        yield
    finally:
        keycloak.start()


Outage = Callable[[Keycloak], AbstractContextManager[None]]


@pytest.fixture(params=[hanging, dead], ids=["hangs", "killed"])
def outage(request: pytest.FixtureRequest) -> Outage:
    chosen: Outage = request.param
    return chosen


def test_nobody_is_thrown_out_and_who_is_new_waits(
    browser: Browser, hub: SsoHub, realm: Realm, keycloak: Keycloak, outage: Outage
) -> None:
    name = f"worker-{outage.__name__}"
    realm.add(name, STUDENTS)
    until(lambda: _gets_in(hub, name), "sign-in works", RECOVERED, every=1)
    someone = Someone.of(hub, name)
    admin = hub.sign_in("root")
    # Not watched like others: the page that says so has the status 503.
    with browser.new_context(base_url=hub.url) as context:
        page = context.new_page()
        with outage(keycloak):
            time.sleep(RECHECK + 1)
            begin = time.monotonic()
            assert who(someone.pages) == name
            assert time.monotonic() - begin < PATIENT
            assert someone.api.get("/hub/api/user").is_success
            # Waiting once is enough: the next ones know.
            begin = time.monotonic()
            assert "Machine Learning 101" in someone.pages.get("/hub/spawn").text
            assert time.monotonic() - begin < 5
            assert "has not answered since" in admin.get("/hub/home").text

            page.goto("/hub/login")
            page.get_by_role("link", name="Sign in with your school account").click()
            expect(page.get_by_role("heading", level=1)).to_contain_text("does not answer", timeout=30_000)
        # The page tries again by itself and ends at Keycloak's.
        page.wait_for_url(f"{realm.issuer}/**", timeout=60_000)
        page.locator("#username").fill(name)
        page.locator("#password").fill(password(name))
        page.locator("#kc-login").click()
        page.wait_for_url(f"{hub.url}/hub/home")
    until(lambda: "has not answered since" not in admin.get("/hub/home").text, "the admins' note goes", 60)
    assert who(someone.pages) == name


def test_somebody_who_comes_back_from_keycloak_while_it_hangs(hub: SsoHub, realm: Realm, keycloak: Keycloak) -> None:
    """The code is there, and nobody to change it into tokens."""
    realm.add("unlucky", STUDENTS)
    with visitor(hub.url) as browser:
        browser.follow_redirects = False
        start = browser.get("/hub/oauth_login")
        browser.follow_redirects = True
        page = browser.get(start.headers["location"])
        action, data = login_form(page, "unlucky")
        browser.follow_redirects = False
        back = browser.post(action, data=data).headers["location"]
        assert back.startswith(f"{hub.url}/hub/oauth_callback?")
        with hanging(keycloak):
            refused = browser.get(back)
            assert refused.status_code == 503
            assert int(refused.headers["retry-after"]) > 0
        browser.follow_redirects = True
        until(lambda: sign_in(browser, "unlucky").is_success, "a new try works", RECOVERED, every=1)
        assert who(browser) == "unlucky"


def test_signing_out_while_keycloak_hangs_ends_the_session_here(hub: SsoHub, realm: Realm, keycloak: Keycloak) -> None:
    realm.add("leaver", STUDENTS)
    until(lambda: _gets_in(hub, "leaver"), "sign-in works", RECOVERED, every=1)
    browser = hub.sign_in("leaver")
    with hanging(keycloak):
        browser.follow_redirects = False
        begin = time.monotonic()
        answer = browser.get("/hub/logout")
        assert answer.status_code in {200, 302}
        assert time.monotonic() - begin < PATIENT
        browser.follow_redirects = True
        assert who(browser) is None


def test_a_hub_starts_while_keycloak_is_away_and_keeps_people_signed_in(prepare: MakeHub, keycloak: Keycloak) -> None:
    hub = prepare()
    realm = Realm.make(keycloak, "later", hub.url)
    hub.with_policy(realm)
    with hanging(keycloak):
        hub.start()
        with visitor(hub.url) as browser:
            assert browser.get("/hub/oauth_login").status_code == 503
    until(lambda: _gets_in(hub, "ada"), "sign-in works without a restart", RECOVERED, every=2)
    browser = hub.sign_in("ada")
    with hanging(keycloak):
        hub.restart()
        assert who(browser) == "ada"
        assert "Machine Learning 101" in browser.get("/hub/spawn").text
    realm.remove()


def _gets_in(hub: SsoHub, name: str) -> bool:
    with visitor(hub.url) as browser:
        page = browser.get("/hub/oauth_login")
        if page.status_code == 503:
            return False
        sign_in(browser, name)
        return who(browser) == name


@pytest.mark.slow
def test_minutes_without_keycloak_and_the_end_of_the_last_good_identity(prepare: MakeHub, keycloak: Keycloak) -> None:
    """Three minutes without an answer are nothing; `maxAge` is the bound, and is one."""
    hub = prepare()
    realm = Realm.make(keycloak, "minutes", hub.url)
    hub.with_policy(realm, identity={"recheckAfter": "5s", "maxAge": "4m"}).start()
    someone = Someone.of(hub, "ada")
    begin = time.monotonic()
    with dead(keycloak):
        while time.monotonic() - begin < 180:
            assert who(someone.pages) == "ada"
            assert someone.api.get("/hub/api/user").is_success
            time.sleep(5)
        until(lambda: who(someone.pages) is None, "the identity is too old", 120, every=2)
        assert time.monotonic() - begin > 200
        assert someone.api.get("/hub/api/user").status_code in {401, 403}
    until(lambda: _gets_in(hub, "ada"), "signed in again", 60, every=2)
    assert someone.api.get("/hub/api/user").is_success
    realm.remove()
