"""A server of somebody who signed in through Keycloak: what is kept from it, and what ends with the session."""

from __future__ import annotations

import os
import re
import time

import psutil
import pytest
from playwright.sync_api import Browser, expect

from tests.local.browsing import arrive, browsing, new_notebook, press_start, run_cell
from tests.local.people import Someone, until
from tests.sso.hubs import MakeHub
from tests.sso.keycloak import Keycloak
from tests.sso.realm import SECRET, STUDENTS, Realm, password

WITHIN = 60
"""Seconds within which whoever signed out is refused everywhere."""


def test_a_cell_runs_and_after_the_sign_out_jupyterlab_is_closed_within_a_minute(
    browser: Browser, prepare: MakeHub, keycloak: Keycloak
) -> None:
    hub = prepare()
    realm = Realm.make(keycloak, "at-work", hub.url)
    # Asks again only after minutes: what ends here ends by Keycloak's word alone.
    hub.with_policy(realm, identity={"recheckAfter": "5m"}).start()
    with browsing(browser, hub) as page:
        page.goto("/hub/aihub/launch/ml101")
        page.get_by_role("link", name="Sign in with your school account").click()
        page.locator("#username").fill("ada")
        page.locator("#password").fill(password("ada"))
        page.locator("#kc-login").click()
        page.wait_for_url(f"{hub.url}/hub/aihub/launch/ml101")
        press_start(page)
        arrive(page)
        assert run_cell(page, new_notebook(page), code="print(6 * 7)").strip() == "42"

        (server,) = hub.user_servers()
        _assert_nothing_is_told(server, hub.said())

        lab = page.url
        realm.sign_out("ada")
        begin = time.monotonic()
        until(lambda: page.request.get(f"{hub.url}/hub/api/user").status in {401, 403}, "the hub refuses", WITHIN)
        contents = f"{hub.url}/user/ada/api/contents"
        until(lambda: page.request.get(contents).status in {401, 403}, "the server refuses", WITHIN, every=1)
        assert time.monotonic() - begin < WITHIN
        page.goto(lab)
        expect(page.get_by_role("link", name="Sign in with your school account")).to_be_visible()
        # By policy the server goes on: what computes is not lost.
        assert server.is_running()
    realm.remove()


def _assert_nothing_is_told(server: psutil.Process, log: str) -> None:
    """Of secret, keys and tokens there is nothing in the server's environment, nor in what the hub says."""
    environ = server.environ()
    assert not {name for name in environ if "CLIENT_SECRET" in name or "CRYPT" in name}
    for text in (*environ.values(), log):
        assert SECRET not in text
        # A JSON Web Token; the header is an object.
        assert not re.search(r"eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.", text)
    assert str(os.getpid()) != environ.get("JUPYTERHUB_USER")


@pytest.mark.slow
@pytest.mark.parametrize("others", [True, False], ids=["of two groups", "of the only group"])
def test_a_server_in_a_project_that_its_person_left_is_stopped(
    prepare: MakeHub, keycloak: Keycloak, others: bool
) -> None:
    hub = prepare()
    realm = Realm.make(keycloak, f"left-{others}".lower(), hub.url)
    # Somebody who lost the only group may not sign in any more, and Keycloak sends no groups claim for them.
    hub.with_policy(realm, afterLeaving={"stopServersAfter": "5s"}).start()
    realm.add("leaver", STUDENTS, *(["/courses/bio/students"] if others else []))
    someone = Someone.of(hub, "leaver")
    teacher = hub.sign_in("grace")
    someone.start({"project": "ml101"})
    (server,) = hub.user_servers()
    realm.leave("leaver", STUDENTS)

    def stopped() -> bool:
        # Both are at work: the person, and somebody whose groups Keycloak does send.
        someone.pages.get("/hub/home")
        teacher.get("/hub/home")
        return not server.is_running() or server.status() == psutil.STATUS_ZOMBIE

    until(stopped, "the server is stopped", 60, every=1)
    realm.remove()


@pytest.mark.slow
def test_servers_stop_with_the_session_where_the_policy_says_so(prepare: MakeHub, keycloak: Keycloak) -> None:
    hub = prepare()
    realm = Realm.make(keycloak, "stopping", hub.url)
    hub.with_policy(realm, afterSignOut="stopServers", identity={"recheckAfter": "5m"}).start()
    someone = Someone.of(hub, "ada")
    someone.start({"project": "ml101"})
    realm.sign_out("ada")
    until(lambda: not hub.user_servers(), "the server is stopped", WITHIN)
    realm.remove()
