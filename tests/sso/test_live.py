"""The live check, against a real Keycloak."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aihub.config import KEYCLOAK, SignIn
from aihub.identity import OidcProvider
from aihub.live import CRYPT_KEY, TEST_PASSWORD_FILE, TEST_USER, Check, CheckState, checks
from aihub.provider import OidcClient, ProviderRefused
from tests.sso.keycloak import Keycloak
from tests.sso.realm import CLIENT, HUB, PUBLIC_CLIENT, SECRET, STUDENTS, Realm, password

BACK = f"{HUB}/hub/oauth_callback"
PASSED, FAILED, NOT_CHECKED = CheckState.PASSED, CheckState.FAILED, CheckState.NOT_CHECKED


@pytest.fixture(scope="module")
def school(keycloak: Keycloak) -> Iterator[Realm]:
    realm = Realm.make(keycloak, "live", HUB)
    yield realm
    realm.remove()


async def asked(
    realm: Realm, client: str = CLIENT, secret: str = SECRET, redirect_uri: str = BACK, **environment: Any
) -> dict[str, Check]:
    sign_in = SignIn(KEYCLOAK, provider=OidcProvider(realm.issuer, client, keycloak=True))
    environment = {CRYPT_KEY: "0f" * 32, **environment}
    found = await checks(sign_in, lambda: secret, redirect_uri, time.time(), environment=environment)
    return {each.name: each for each in found}


def change_client(realm: Realm, **values: Any) -> None:
    (client,) = realm.get("/clients", clientId=CLIENT)
    realm.call("PUT", f"/clients/{client['id']}", {**client, **values})


async def test_all_is_well(school: Realm) -> None:
    found = await asked(school)
    states = {name: each.state for name, each in found.items()}
    assert {name for name, state in states.items() if state is not PASSED} == {"certificate", "groups", "client secret"}
    assert {states[name] for name in ("certificate", "groups", "client secret")} == {NOT_CHECKED}


async def test_a_public_client_is_well_too(school: Realm) -> None:
    found = await asked(school, PUBLIC_CLIENT, "")
    assert (found["client"].state, found["redirect address"].state) == (PASSED, PASSED)


@pytest.mark.parametrize(
    ("client", "secret"),
    [(CLIENT, "wrong"), (CLIENT, ""), ("nobody", SECRET)],
    ids=["a wrong secret", "no secret", "an unknown client"],
)
async def test_a_client_that_is_not_accepted(school: Realm, client: str, secret: str) -> None:
    assert (await asked(school, client, secret))["client"].state is FAILED


async def test_an_address_that_is_not_registered(school: Realm) -> None:
    found = await asked(school, redirect_uri="https://elsewhere.example.org/hub/oauth_callback")
    assert (found["client"].state, found["redirect address"].state) == (PASSED, FAILED)


async def test_a_realm_that_is_not_there(school: Realm, keycloak: Keycloak) -> None:
    found = await asked(Realm(keycloak, "none"))
    assert found["discovery"].state is FAILED
    assert "404" in found["discovery"].detail


async def test_the_groups_of_a_test_user(school: Realm, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(password("ada"))
    environment = {TEST_USER: "ada", TEST_PASSWORD_FILE: str(file)}
    change_client(school, directAccessGrantsEnabled=False)
    assert (await asked(school, **environment))["groups"].state is NOT_CHECKED
    change_client(school, directAccessGrantsEnabled=True)
    assert (await asked(school, **environment))["groups"] == Check("groups", PASSED, f"ada: {STUDENTS}")
    file.write_text("wrong")
    assert (await asked(school, **environment))["groups"].state is FAILED


async def test_how_keycloak_says_that_a_grant_is_over(school: Realm) -> None:
    client = OidcClient(OidcProvider(school.issuer, CLIENT, keycloak=True), lambda: SECRET)
    change_client(school, directAccessGrantsEnabled=True)
    school.add("leaver", STUDENTS)
    tokens = await client.password_grant("leaver", password("leaver"))
    renewed = await client.refresh(tokens.refresh)
    assert (await client.userinfo(renewed.access))["groups"] == [STUDENTS]
    school.change("leaver", enabled=False)
    with pytest.raises(ProviderRefused) as disabled:
        await client.refresh(renewed.refresh)
    assert disabled.value.ended
    school.change("leaver", enabled=True)
    again = await client.password_grant("leaver", password("leaver"))
    school.sign_out("leaver")
    with pytest.raises(ProviderRefused) as signed_out:
        await client.refresh(again.refresh)
    assert signed_out.value.ended
    with pytest.raises(ProviderRefused) as no_session:
        await client.userinfo(again.access)
    assert no_session.value.ended
