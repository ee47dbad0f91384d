"""Who gets in through a real Keycloak, as whom, and with what: groups, roles, names."""

from __future__ import annotations

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.local.browsing import browsing
from tests.sso.browsing import fill_in, sign_in, visitor, who
from tests.sso.hubs import MakeHub, SsoHub, heading, text
from tests.sso.keycloak import Keycloak
from tests.sso.realm import BIOLOGY, PUBLIC_CLIENT, STAFF, STUDENTS, Realm, password


def user(browser: httpx.Client) -> tuple[list[str], bool]:
    """Groups, but for those that are roles, and whether somebody is an admin, as the hub has it."""
    model = browser.get("/hub/api/user").raise_for_status().json()
    return sorted(each for each in model["groups"] if not each.startswith("role:")), model["admin"]


def test_a_student_signs_in_and_sees_the_projects_of_the_groups(browser: Browser, hub: SsoHub, realm: Realm) -> None:
    realm.add("student", STUDENTS)
    with browsing(browser, hub) as page:
        page.goto("/hub/home")
        page.get_by_role("link", name="Sign in with your school account").click()
        page.wait_for_url(f"{realm.issuer}/**")
        page.locator("#username").fill("student")
        page.locator("#password").fill(password("student"))
        page.locator("#kc-login").click()
        page.wait_for_url(f"{hub.url}/hub/home")
        page.goto("/hub/spawn")
        expect(page.locator("main")).to_contain_text("Machine Learning 101")
        expect(page.locator("main")).not_to_contain_text("Biology")
        expect(page.locator("main")).not_to_contain_text("The Lab")


@pytest.mark.parametrize(
    ("name", "groups", "projects", "status"),
    [
        pytest.param("ada", [STUDENTS], {"Machine Learning 101"}, 403, id="member"),
        pytest.param("ben", [BIOLOGY], {"Biology"}, 404, id="outsider"),
        pytest.param("grace", [STAFF], {"Machine Learning 101"}, 200, id="instructor"),
    ],
)
def test_groups_are_projects_and_roles(
    hub: SsoHub, name: str, groups: list[str], projects: set[str], status: int
) -> None:
    browser = hub.sign_in(name)
    assert user(browser) == (groups, False)
    shown = text(browser.get("/hub/spawn"))
    assert {each for each in ("Machine Learning 101", "Biology", "The Lab") if each in shown} == projects
    assert browser.get("/hub/aihub/projects/ml101").status_code == status
    assert browser.get("/hub/admin").status_code == 403


def test_an_admin_is_one_by_the_group(hub: SsoHub) -> None:
    browser = hub.sign_in("root")
    assert user(browser) == (["/staff/hub-admins"], True)
    assert browser.get("/hub/admin").status_code == 200


def test_roles_of_realm_and_client_count_as_groups(hub: SsoHub) -> None:
    browser = hub.sign_in("rolf")
    model = browser.get("/hub/api/user").json()
    roles = {each for each in model["groups"] if not each.startswith("role:default-roles-")}
    # Those of Keycloak's own client `account` do not count.
    assert roles == {"role:lab", "role:aihub:tutor", "role:offline_access", "role:uma_authorization"}
    assert not model["admin"]
    assert browser.get("/hub/aihub/projects/lab").status_code == 200


def test_somebody_without_groups_who_is_listed_gets_in_to_nothing(hub: SsoHub) -> None:
    browser = hub.sign_in("nomad")
    assert user(browser)[1] is False
    shown = text(browser.get("/hub/spawn"))
    assert not {each for each in ("Machine Learning 101", "Biology", "The Lab") if each in shown}


def test_somebody_who_is_not_allowed_is_told_so_and_leaves_no_account(hub: SsoHub, realm: Realm) -> None:
    realm.add("stranger")
    with visitor(hub.url) as browser:
        answer = sign_in(browser, "stranger")
        assert (answer.status_code, who(browser)) == (403, None)
        assert "it-help@school.example" in text(answer)
    assert hub.sign_in("root").get("/hub/api/users/stranger").status_code == 404


def test_a_wrong_password_is_keycloak_s_to_say(hub: SsoHub) -> None:
    with visitor(hub.url) as browser:
        page = browser.get("/hub/oauth_login")
        assert "Invalid username or password" in fill_in(browser, page, "ada", "wrong").text
        assert who(browser) is None


def test_a_name_is_the_first_subject_s_for_ever(hub: SsoHub, realm: Realm) -> None:
    first = realm.add("twin", STUDENTS)
    hub.sign_in("twin")
    realm.delete("twin")
    assert realm.add("twin", STUDENTS) != first
    with visitor(hub.url) as browser:
        answer = sign_in(browser, "twin")
        assert (answer.status_code, who(browser)) == (403, None)
        assert "twin" in text(answer)


def test_somebody_renamed_keeps_the_name_they_had(hub: SsoHub, realm: Realm) -> None:
    realm.settings(editUsernameAllowed=True)
    realm.add("maiden", STUDENTS)
    hub.sign_in("maiden")
    realm.change("maiden", username="married")
    with visitor(hub.url) as browser:
        page = browser.get("/hub/oauth_login")
        fill_in(browser, page, "married", password("maiden"))
        assert who(browser) == "maiden"


def test_a_launch_link_survives_the_round_trip(browser: Browser, hub: SsoHub, realm: Realm) -> None:
    realm.add("traveller", STUDENTS)
    link = "/hub/aihub/launch/ml101?image=plain:1&path=project/one.ipynb"
    with browsing(browser, hub) as page:
        page.goto(link)
        page.get_by_role("link", name="Sign in with your school account").click()
        page.locator("#username").fill("traveller")
        page.locator("#password").fill(password("traveller"))
        page.locator("#kc-login").click()
        page.wait_for_url(f"{hub.url}/hub/aihub/launch/ml101?**")
        expect(page.locator("input[name=project]")).to_have_value("ml101")
        expect(page.locator("main")).to_contain_text("JupyterLab will open project/one.ipynb.")


def test_nobody_is_asked_twice_while_the_session_lasts(hub: SsoHub) -> None:
    """Keycloak remembers the browser: a second sign-in asks for nothing."""
    browser = hub.sign_in("ada")
    browser.cookies.delete("jupyterhub-session-id")
    browser.cookies.delete("jupyterhub-hub-login", domain="127.0.0.1", path="/hub/")
    assert who(browser) is None
    assert heading(sign_in(browser, "nobody is asked")) != ""
    assert who(browser) == "ada"


def test_a_group_whose_name_has_a_slash_comes_as_the_path_of_another(hub: SsoHub, realm: Realm) -> None:
    """Why the documentation has `spi-group--jpa--escape-slashes-in-group-path` (upstream.md 31)."""
    realm.add("slash")
    realm.join("slash", realm.add_group("ml101/staff", below="/courses"))
    assert user(hub.sign_in("slash"))[0] == [STAFF]


def test_somebody_without_groups_is_no_alarm(hub: SsoHub) -> None:
    """Keycloak sends no claim for them, as if the mapper were missing: others have it."""
    admin = hub.sign_in("root")
    hub.sign_in("nomad")
    assert "sends no groups" not in admin.get("/hub/home").text


def test_a_missing_mapper_is_said_to_admins(prepare: MakeHub, keycloak: Keycloak) -> None:
    hub = prepare()
    realm = Realm.make(keycloak, "without-mapper", hub.url)
    realm.remove_mapper()
    hub.with_policy(realm, allowed={"users": ["ada"]}, admins={"users": ["root"]}).start()
    assert user(hub.sign_in("ada")) == ([], False)
    admin = hub.sign_in("root")
    assert user(admin) == ([], True)
    assert "sends no groups" in admin.get("/hub/home").text
    realm.remove()


def test_the_public_client_needs_no_secret(prepare: MakeHub, realm: Realm) -> None:
    hub = prepare()
    hub.environ = {}
    realm.change_client(PUBLIC_CLIENT, redirectUris=[f"{hub.url}/hub/oauth_callback"])
    hub.with_policy(realm, PUBLIC_CLIENT).start()
    assert user(hub.sign_in("ada")) == ([STUDENTS], False)
