"""Signing out, here and there: at the hub, at Keycloak, at another hub, and by the word of Keycloak's admins."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.local.browsing import browsing
from tests.local.people import until
from tests.sso.browsing import arm, sign_in, visitor, who
from tests.sso.hubs import SsoHub
from tests.sso.keycloak import Keycloak
from tests.sso.realm import STUDENTS, Realm, password

TOLD = 20
"""Seconds within which Keycloak's word has come and counts."""


@pytest.fixture(scope="module")
def two_hubs(keycloak: Keycloak, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SsoHub, SsoHub, Realm]]:
    """Two hubs behind one realm, each with a client of its own. They ask again only after minutes."""
    one = SsoHub.prepared(tmp_path_factory.mktemp("one"))
    two = SsoHub.prepared(tmp_path_factory.mktemp("two"), "localhost")
    realm = Realm.make(keycloak, "two-hubs", one.url, two.url)
    slow = {"recheckAfter": "5m"}
    one.with_policy(realm, identity=slow).launch()
    two.with_policy(realm, "aihub-2", identity=slow).start()
    until(one.answers, "the first hub answers", 120)
    yield one, two, realm
    one.close()
    two.close()
    realm.remove()


def through_keycloak(page: Page, user: str) -> None:
    page.get_by_role("link", name="Sign in with your school account").click()
    page.locator("#username").fill(user)
    page.locator("#password").fill(password(user))
    page.locator("#kc-login").click()


def test_signing_out_of_one_hub_signs_out_of_keycloak_and_of_the_other_hub(
    browser: Browser, two_hubs: tuple[SsoHub, SsoHub, Realm]
) -> None:
    one, two, realm = two_hubs
    realm.add("everywhere", STUDENTS)
    with browsing(browser, one) as page:
        page.goto("/hub/home")
        through_keycloak(page, "everywhere")
        page.wait_for_url(f"{one.url}/hub/home")
        # The other hub asks for no password: Keycloak knows the browser.
        page.goto(f"{two.url}/hub/home")
        page.get_by_role("link", name="Sign in with your school account").click()
        page.wait_for_url(f"{two.url}/hub/home")
        assert len(realm.sessions("everywhere")) == 1

        page.goto(f"{one.url}/hub/home")
        page.locator("summary[aria-label^='Account']").click()
        page.get_by_role("link", name="Sign out").click()
        # With the ID token as a hint Keycloak asks nothing, and leads back to the hub.
        page.wait_for_url(f"{one.url}/hub/aihub/signed-out**")
        expect(page.locator("main")).to_contain_text("signed out")
        assert realm.sessions("everywhere") == []
        for hub in (one, two):
            page.goto(f"{hub.url}/hub/home")
            expect(page.get_by_role("link", name="Sign in with your school account")).to_be_visible()
        page.get_by_role("link", name="Sign in with your school account").click()
        expect(page.locator("#password")).to_be_visible()


def test_the_admins_of_keycloak_sign_somebody_out_of_both_hubs(two_hubs: tuple[SsoHub, SsoHub, Realm]) -> None:
    one, two, realm = two_hubs
    realm.add("told", STUDENTS)
    first, second = one.sign_in("told"), two.sign_in("told")
    bystander = one.sign_in("ada")
    realm.sign_out("told")
    until(lambda: who(first) is None and who(second) is None, "signed out of both", TOLD)
    assert who(bystander) == "ada"


def test_one_session_ended_at_keycloak_ends_the_person_s_sessions_here(
    two_hubs: tuple[SsoHub, SsoHub, Realm],
) -> None:
    one, _, realm = two_hubs
    realm.add("many", STUDENTS)
    desk, laptop = one.sign_in("many"), one.sign_in("many")
    (older, *_) = sorted(realm.sessions("many"), key=lambda session: session["start"])
    realm.end_session(str(older["id"]))
    until(lambda: who(desk) is None and who(laptop) is None, "both are signed out", TOLD)
    again = sign_in(desk, "many")
    assert again.is_success
    assert who(arm(desk)) == "many"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"logout_token": "a.b.c"}, id="no token"),
        pytest.param({"logout_token": "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0."}, id="unsigned"),
    ],
)
def test_nobody_else_can_sign_people_out(two_hubs: tuple[SsoHub, SsoHub, Realm], body: dict[str, str]) -> None:
    one, _, _ = two_hubs
    browser = one.sign_in("ada")
    answer = httpx.post(f"{one.url}/hub/aihub/back-channel-logout", data=body)
    assert answer.status_code == 400, answer.text
    assert who(browser) == "ada"


def test_an_id_token_is_no_logout_token(two_hubs: tuple[SsoHub, SsoHub, Realm]) -> None:
    """The realm signs both: what tells them apart is in the claims."""
    one, _, realm = two_hubs
    realm.change_client("aihub", directAccessGrantsEnabled=True)
    grant = {"grant_type": "password", "client_id": "aihub", "client_secret": realm.secret(), "scope": "openid"}
    grant |= {"username": "ada", "password": password("ada")}
    token = httpx.post(f"{realm.issuer}/protocol/openid-connect/token", data=grant).raise_for_status().json()
    browser = one.sign_in("ada")
    for kind in ("id_token", "access_token", "refresh_token"):
        answer = httpx.post(f"{one.url}/hub/aihub/back-channel-logout", data={"logout_token": token[kind]})
        assert answer.status_code == 400, kind
    assert who(browser) == "ada"
    realm.change_client("aihub", directAccessGrantsEnabled=False)


def test_signing_out_while_nobody_is_signed_in(two_hubs: tuple[SsoHub, SsoHub, Realm]) -> None:
    one, _, _ = two_hubs
    with visitor(one.url) as browser:
        assert browser.get("/hub/logout").status_code == 200
        assert who(browser) is None
