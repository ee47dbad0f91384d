"""What Keycloak's admins change while somebody is signed in, on a hub that asks again every two seconds."""

from __future__ import annotations

from functools import partial

import pytest

from tests.local.people import Someone, until
from tests.sso.browsing import fill_in, sign_in, visitor, who
from tests.sso.hubs import RECHECK, SsoHub, text
from tests.sso.realm import ADMINS, BIOLOGY, SECRET, STAFF, STUDENTS, Realm

SOON = RECHECK + 15


def test_a_group_given_and_taken_counts_without_a_new_sign_in(hub: SsoHub, realm: Realm) -> None:
    realm.add("mover", STUDENTS)
    browser = hub.sign_in("mover")
    realm.join("mover", BIOLOGY)
    until(lambda: "Biology" in text(browser.get("/hub/spawn")), "the new project is offered", SOON)
    realm.leave("mover", STUDENTS)
    until(lambda: "Machine Learning 101" not in text(browser.get("/hub/spawn")), "the old one is not", SOON)
    assert who(browser) == "mover"


def test_before_a_start_groups_are_read_whatever_their_age(hub: SsoHub, realm: Realm) -> None:
    realm.add("hasty", STUDENTS, BIOLOGY)
    someone = Someone.of(hub, "hasty")
    realm.leave("hasty", STUDENTS)
    refused = someone.ask({"project": "ml101"})
    assert (refused.status_code, refused.headers["AIHub-Reason"]) == (403, "unknown-project"), refused.text
    assert not someone.running()


def test_an_instructor_and_an_admin_are_no_more_when_the_group_is_gone(hub: SsoHub, realm: Realm) -> None:
    realm.add("boss", STAFF, ADMINS)
    browser = hub.sign_in("boss")
    assert browser.get("/hub/admin").status_code == 200
    assert browser.get("/hub/aihub/projects/ml101").status_code == 200
    realm.leave("boss", ADMINS)
    until(lambda: browser.get("/hub/admin").status_code == 403, "no admin any more", SOON)
    assert browser.get("/hub/aihub/projects/ml101").status_code == 200
    realm.join("boss", STUDENTS)
    realm.leave("boss", STAFF)
    until(lambda: browser.get("/hub/aihub/projects/ml101").status_code == 403, "no instructor any more", SOON)


def test_somebody_who_lost_every_group_is_signed_out(hub: SsoHub, realm: Realm) -> None:
    """Keycloak sends no groups claim at all for somebody without groups: that must not keep the old ones."""
    realm.add("graduate", STUDENTS)
    someone = Someone.of(hub, "graduate")
    realm.leave("graduate", STUDENTS)
    until(lambda: who(someone.pages) is None, "signed out", SOON)
    assert someone.ask({"project": "ml101"}).status_code in {401, 403}
    answer = sign_in(someone.pages, "graduate")
    assert (answer.status_code, who(someone.pages)) == (403, None)


def test_a_disabled_account_is_over(hub: SsoHub, realm: Realm) -> None:
    realm.add("expelled", STUDENTS)
    someone = Someone.of(hub, "expelled")
    realm.change("expelled", enabled=False)
    until(lambda: who(someone.pages) is None, "signed out", SOON)
    assert someone.ask({"project": "ml101"}).status_code in {401, 403}
    with visitor(hub.url) as again:
        page = fill_in(again, again.get("/hub/oauth_login"), "expelled")
        assert "Account is disabled" in page.text


@pytest.mark.parametrize("drop_old", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["kept", "dropped"])
def test_a_new_key_signs_and_nobody_notices(hub: SsoHub, realm: Realm, drop_old: bool) -> None:
    before, after = f"before-{drop_old}".lower(), f"after-{drop_old}".lower()
    realm.add(before, STUDENTS)
    realm.add(after, STUDENTS)
    browser = hub.sign_in(before)
    realm.rotate_keys(drop_old=drop_old)
    # Keys are fetched again for a key that is not known, though not more often than every 30 s.
    until(partial(_gets_in, hub, after), "a token of the new key is believed", 60, every=2)
    assert who(browser) == before


def test_tokens_of_somebody_s_own_end_with_the_session_at_keycloak(hub: SsoHub, realm: Realm) -> None:
    realm.add("scripted", STUDENTS)
    someone = Someone.of(hub, "scripted")
    assert someone.servers() == {}
    realm.sign_out("scripted")
    until(lambda: someone.api.get("/hub/api/user").status_code in {401, 403}, "the token is refused", SOON)
    assert sign_in(someone.pages, "scripted").is_success
    until(lambda: someone.api.get("/hub/api/user").is_success, "it is good again", SOON)


def _gets_in(hub: SsoHub, name: str) -> bool:
    with visitor(hub.url) as browser:
        sign_in(browser, name)
        return who(browser) == name


def test_a_new_client_secret_is_read_from_its_file(hub: SsoHub, realm: Realm) -> None:
    """A wrong one is the hub's fault: nobody signs in, and nobody is signed out."""
    browser = hub.sign_in("ada")
    fresh = realm.new_secret()
    assert fresh != SECRET
    with visitor(hub.url) as other:
        refused = sign_in(other, "ben")
        assert (refused.status_code, who(other)) == (502, None)
    until(lambda: who(browser) == "ada", "still there", RECHECK + 1)
    secret = hub.folder / "client-secret"
    secret.write_text(f"{fresh}\n")
    hub.environ = {"AIHUB_CLIENT_SECRET_FILE": str(secret)}
    hub.restart()
    assert _gets_in(hub, "ben")
    newer = realm.new_secret()
    assert not _gets_in(hub, "ben")
    secret.write_text(newer)
    assert _gets_in(hub, "ben")
