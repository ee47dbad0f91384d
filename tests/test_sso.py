"""Sign-in through a provider, from the code to what follows when the provider is asked again (upstream.md 25-30).

The provider is real HTTP, the users are JupyterHub's own with its encryption; nothing is a browser.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from jupyterhub import crypto, orm, roles
from jupyterhub.handlers.base import BaseHandler
from jupyterhub.user import User

from aihub.app import AIHub
from aihub.auth import SignInMethodError
from aihub.identity import SignInReason, SignInRefused
from aihub.provider import ProviderError
from aihub.sso import Code, CryptKeyError, Kept, KeycloakSignIn, Used
from aihub.tokens import TokenRefused
from tests.hub_rig import POLICY, FakeSite, loaded_aihub
from tests.provider_rig import Fault, HostileProvider

BACK = "https://hub.example.org/hub/oauth_callback"
VERIFIER = "v" * 43
POLICY_OF_SSO = (
    POLICY[: POLICY.index("signIn:")]
    + """
signIn:
  method: keycloak
  keycloak: {issuer: ISSUER, clientId: aihub}
  allowed: {groups: [/students, /staff], users: [guest]}
  admins: {groups: [/admins]}
  identity: {maxAge: 1h}
"""
)


@pytest.fixture
def rig() -> Iterator[HostileProvider]:
    with HostileProvider() as rig:
        rig.add_client("aihub", "s3cret", [BACK])
        rig.add_person("Ada", groups=["/students", "/club"])
        rig.add_person("root", groups=["/admins"])
        rig.add_person("eve", groups=["/club"])
        rig.add_person("guest")
        yield rig


@pytest.fixture
def aihub(
    tmp_path: Path, rig: HostileProvider, keys: None, secret: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[AIHub]:
    with loaded_aihub(tmp_path, FakeSite(), POLICY_OF_SSO.replace("ISSUER", rig.issuer)) as aihub:
        yield aihub


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIHUB_CLIENT_SECRET", "s3cret")


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("JUPYTERHUB_CRYPT_KEY", "ab" * 32)
    crypto.CryptKeeper.clear_instance()
    yield
    crypto.CryptKeeper.clear_instance()


@pytest.fixture
def method(aihub: AIHub) -> KeycloakSignIn:
    return KeycloakSignIn()


class Hub:
    """The users of a hub, in a database."""

    def __init__(self) -> None:
        self.db = orm.new_session_factory("sqlite:///:memory:")()
        for role in roles.get_default_roles():
            roles.create_role(self.db, role)
        self.db.add(orm.OAuthClient(identifier="jupyterhub"))
        self.users: dict[str, Any] = {}

    def sign_in(self, model: dict[str, Any], state: dict[str, Any] | None) -> Any:
        """As the hub does after `authenticate`."""
        row = orm.User(name=model["name"])
        self.db.add(row)
        self.db.commit()
        user = User(row, {}, self.db)
        user.admin = model["admin"]
        user.sync_groups(model["groups"])
        self.users[user.name] = user
        return user

    def find_user(self, name: str) -> Any:
        return self.users.get(name)


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    hub = Hub()
    yield hub
    hub.db.close()
    hub.db.get_bind().dispose()


async def code(method: KeycloakSignIn, rig: HostileProvider, name: str) -> Code:
    return Code(rig.code_for(name, redirect_uri=BACK, verifier=VERIFIER, nonce="n"), BACK, VERIFIER, "n")


async def signed_in(hub: Hub, method: KeycloakSignIn, rig: HostileProvider, name: str = "Ada") -> Any:
    model = await method.get_authenticated_user(None, await code(method, rig, name))
    assert model is not None
    user = hub.sign_in(model, None)
    await user.save_auth_state(model["auth_state"])
    return user


def request(user: Any, token: Any = None, *, by: Any = None) -> Any:
    return SimpleNamespace(_jupyterhub_user=by or user, _token_authenticated=token is not None, get_token=lambda: token)


async def kept(user: Any) -> Kept:
    found = Kept.from_state(await user.get_auth_state())
    assert found is not None
    return found


# --- signing in ------------------------------------------------------------------------------------------------------


async def test_a_person_signs_in_with_name_groups_and_rights(
    aihub: AIHub, method: KeycloakSignIn, rig: HostileProvider
) -> None:
    model = await method.get_authenticated_user(None, await code(method, rig, "Ada"))
    assert model is not None
    assert (model["name"], model["groups"], model["admin"]) == ("ada", ["/club", "/students"], False)
    admin = await method.get_authenticated_user(None, await code(method, rig, "root"))
    assert admin is not None
    assert admin["admin"] is True
    guest = await method.get_authenticated_user(None, await code(method, rig, "guest"))
    assert guest is not None
    assert aihub.store.name_of(rig.issuer, rig.people["Ada"].subject) == "ada"
    assert aihub.identity_of("ada") is not None


async def refusal(method: KeycloakSignIn, given: Code) -> SignInRefused:
    with pytest.raises(SignInRefused) as caught:
        await method.get_authenticated_user(None, given)
    return caught.value


async def test_who_is_not_allowed_gets_no_name(aihub: AIHub, method: KeycloakSignIn, rig: HostileProvider) -> None:
    refused = await refusal(method, await code(method, rig, "eve"))
    assert refused.reason is SignInReason.NOT_ALLOWED
    assert refused.parameters == {"name": "eve"}
    assert aihub.store.bindings() == ()


async def test_a_name_is_the_first_subject_s(aihub: AIHub, method: KeycloakSignIn, rig: HostileProvider) -> None:
    await method.authenticate(None, await code(method, rig, "Ada"))
    rig.people["Ada"].subject = "somebody else who is called so now"
    refused = await refusal(method, await code(method, rig, "Ada"))
    assert refused.reason is SignInReason.NAME_TAKEN
    assert refused.parameters == {"name": "ada"}


async def test_a_subject_keeps_its_first_name(aihub: AIHub, method: KeycloakSignIn, rig: HostileProvider) -> None:
    await method.authenticate(None, await code(method, rig, "Ada"))
    rig.people["Ada"].more = {"preferred_username": "countess"}
    model = await method.authenticate(None, await code(method, rig, "Ada"))
    assert model is not None
    assert model["name"] == "ada"


async def test_a_new_name_in_the_list_of_users_is_not_the_old_person_s(
    aihub: AIHub, method: KeycloakSignIn, rig: HostileProvider
) -> None:
    """A listed name lets in whoever has it here, not whoever calls themselves so at the provider later."""
    await method.authenticate(None, await code(method, rig, "Ada"))
    rig.people["Ada"].groups = []
    rig.people["Ada"].more = {"preferred_username": "guest"}
    assert (await refusal(method, await code(method, rig, "Ada"))).reason is SignInReason.NOT_ALLOWED


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        pytest.param(Fault(status=503), SignInReason.PROVIDER_DOWN, id="503"),
        pytest.param(Fault(status=429, headers={"Retry-After": "7"}), SignInReason.PROVIDER_DOWN, id="429"),
        pytest.param(Fault(status=200, body="<html>"), SignInReason.PROVIDER_WRONG, id="no JSON"),
        pytest.param(Fault(status=302, headers={"Location": "/"}), SignInReason.PROVIDER_WRONG, id="redirect"),
    ],
)
async def test_what_is_wrong_with_the_provider_has_its_reason(
    method: KeycloakSignIn, rig: HostileProvider, fault: Fault, reason: SignInReason
) -> None:
    rig.faults["token"] = fault
    refused = await refusal(method, await code(method, rig, "Ada"))
    assert refused.reason is reason
    if fault.status == 429:
        assert refused.parameters["retry_after"] == 7


async def test_a_wrong_secret_is_the_hub_s_fault_and_an_old_code_the_browser_s(
    method: KeycloakSignIn, rig: HostileProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await code(method, rig, "Ada")
    await method.authenticate(None, first)
    assert (await refusal(method, first)).reason is SignInReason.STATE_USED
    monkeypatch.setenv("AIHUB_CLIENT_SECRET", "wrong")
    assert (await refusal(method, await code(method, rig, "Ada"))).reason is SignInReason.PROVIDER_WRONG


async def test_what_is_no_code_signs_nobody_in(method: KeycloakSignIn) -> None:
    assert await method.get_authenticated_user(None, {"username": "ada", "password": "x"}) is None
    assert not await method.check_allowed("ada", None)


# --- asking again ----------------------------------------------------------------------------------------------------


async def test_groups_and_rights_follow_the_provider(hub: Hub, method: KeycloakSignIn, rig: HostileProvider) -> None:
    user = await signed_in(hub, method, rig)
    rig.people["Ada"].groups = ["/staff", "/admins"]
    model = await method.refresh_user(user, request(user))
    assert isinstance(model, dict)
    assert (model["groups"], model["admin"]) == (["/admins", "/staff"], True)
    assert (await kept(user)).identity.groups == {"/staff", "/admins"}, "kept before anybody else can ask"


async def test_requests_that_come_together_ask_once(hub: Hub, method: KeycloakSignIn, rig: HostileProvider) -> None:
    """The provider takes a refresh token once, and a second use ends the session."""
    user = await signed_in(hub, method, rig)
    before = rig.count("token")
    models = await asyncio.gather(*(method.refresh_user(user, request(user)) for _ in range(20)))
    assert rig.count("token") == before + 1
    assert all(isinstance(model, dict) for model in models)
    assert isinstance(await method.refresh_user(user, request(user)), dict), "the new token is used the next time"


async def test_who_is_not_allowed_any_more_is_signed_out(
    aihub: AIHub, hub: Hub, method: KeycloakSignIn, rig: HostileProvider
) -> None:
    user = await signed_in(hub, method, rig)
    user.new_api_token(note="of a browser", session_id="s1")
    own = user.new_api_token(note="own")
    cookie = user.cookie_id
    user.admin = True
    rig.people["Ada"].groups = ["/club"]
    assert await method.refresh_user(user, request(user)) is False
    assert user.cookie_id != cookie
    assert [token.note for token in user.orm_user.api_tokens] == ["own"]
    assert [group.name for group in user.groups] == ["/club"]
    assert user.admin is False
    assert aihub.identity_of("ada") is None
    token = orm.APIToken.find(hub.db, own)
    before = rig.count("token")
    assert await method.refresh_user(user, request(user, token)) is False, "a token of theirs opens nothing either"
    rig.people["Ada"].groups = ["/students"]
    assert await method.refresh_user(user, request(user, token)) is False, "not before they sign in again"
    assert rig.count("token") == before


@pytest.mark.parametrize(
    "fault", [Fault(status=500), Fault(status=429), Fault(hang_up=True), Fault(status=200, body="")]
)
async def test_an_outage_changes_nothing_for_a_bounded_time(
    aihub: AIHub, hub: Hub, method: KeycloakSignIn, rig: HostileProvider, fault: Fault
) -> None:
    user = await signed_in(hub, method, rig)
    rig.people["Ada"].groups = ["/students", "/admins"]
    rig.faults["token"] = fault
    model = await method.refresh_user(user, request(user))
    assert isinstance(model, dict)
    assert (model["groups"], model["admin"]) == (["/club", "/students"], False), "never more than the last good answer"
    state = aihub.identity_of("ada")
    assert state is not None
    assert state.kept
    confirmed = (await kept(user)).confirmed
    method.clock = lambda: confirmed + 3599
    assert isinstance(await method.refresh_user(user, request(user)), dict)
    method.clock = lambda: confirmed + 3601
    assert await method.refresh_user(user, request(user)) is False
    assert aihub.identity_of("ada") is None


async def test_while_the_provider_hangs_nobody_waits_behind_anybody(
    hub: Hub, method: KeycloakSignIn, rig: HostileProvider
) -> None:
    user, other = await signed_in(hub, method, rig), await signed_in(hub, method, rig, "guest")
    rig.stop()
    await method.refresh_user(user, request(user))
    rig.start()
    before = rig.count("token")
    assert isinstance(await method.refresh_user(other, request(other)), dict)
    assert rig.count("token") == before, "somebody has just waited in vain"


async def test_a_session_that_is_over_asks_the_browser_and_leaves_the_server_its_word(
    hub: Hub, method: KeycloakSignIn, rig: HostileProvider
) -> None:
    user = await signed_in(hub, method, rig)
    server = orm.APIToken.find(hub.db, user.new_api_token(note="Server at /user/ada/"))
    forged = orm.APIToken.find(hub.db, user.new_api_token(note="Server at /user/ada/"))
    user.spawners[""].token_id = server.id
    rig.end_sessions("Ada")
    assert await method.refresh_user(user, request(user)) is False
    assert await method.refresh_user(user, request(user, forged)) is False
    assert isinstance(await method.refresh_user(user, request(user, server)), dict)
    admin = await signed_in(hub, method, rig, "root")
    assert isinstance(await method.refresh_user(user, request(user, by=admin)), dict)


async def hub_asks(user: Any, method: KeycloakSignIn, of: Any) -> bool:
    """Whether a request is let through, as JupyterHub finds out, which remembers when it last asked."""
    handler: Any = SimpleNamespace(authenticator=method, log=method.log, auth_to_user=coroutine_of_user, **vars(of))
    return await BaseHandler.refresh_auth(handler, user) is not None


async def coroutine_of_user(_model: Any, user: Any) -> Any:
    await asyncio.sleep(0)
    return user


async def test_what_is_said_to_a_server_is_not_said_to_everybody(
    hub: Hub, method: KeycloakSignIn, rig: HostileProvider
) -> None:
    user = await signed_in(hub, method, rig)
    server, own = (orm.APIToken.find(hub.db, user.new_api_token(note=note)) for note in ("server", "own"))
    user.spawners[""].token_id = server.id
    assert await hub_asks(user, method, request(user, own))
    user._auth_refreshed = None
    rig.end_sessions("Ada")
    assert await hub_asks(user, method, request(user, server)), "it may go on"
    assert not await hub_asks(user, method, request(user, own))
    assert not await hub_asks(user, method, request(user))


async def test_a_token_of_whom_the_provider_signed_out_is_refused_at_once(
    hub: Hub, method: KeycloakSignIn, rig: HostileProvider
) -> None:
    user = await signed_in(hub, method, rig)
    own = orm.APIToken.find(hub.db, user.new_api_token(note="own"))
    assert await hub_asks(user, method, request(user, own))
    assert await method.logged_out(hub, rig.logout_token(name="Ada")) == 1
    assert not await hub_asks(user, method, request(user, own))


async def test_a_session_that_is_over_is_not_asked_about_again(
    hub: Hub, method: KeycloakSignIn, rig: HostileProvider
) -> None:
    user = await signed_in(hub, method, rig)
    rig.end_sessions("Ada")
    assert await method.refresh_user(user, request(user)) is False
    before = rig.count("token")
    assert await method.refresh_user(user, request(user)) is False
    assert rig.count("token") == before


async def test_a_sign_in_during_the_question_counts_more_than_its_answer(
    hub: Hub, method: KeycloakSignIn, rig: HostileProvider
) -> None:
    user = await signed_in(hub, method, rig)
    rig.end_sessions("Ada")
    rig.faults["token"] = Fault(delay=0.5, times=1)
    asking = asyncio.ensure_future(method.refresh_user(user, request(user)))
    await asyncio.sleep(0.1)
    model = await method.authenticate(None, await code(method, rig, "Ada"))
    assert model is not None
    await user.save_auth_state(model["auth_state"])
    assert isinstance(await asking, dict)
    assert not (await kept(user)).ended
    assert isinstance(await method.refresh_user(user, request(user)), dict)


async def test_an_error_that_is_the_hub_s_throws_nobody_out(
    hub: Hub, method: KeycloakSignIn, rig: HostileProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await signed_in(hub, method, rig)
    monkeypatch.setenv("AIHUB_CLIENT_SECRET", "expired")
    assert isinstance(await method.refresh_user(user, request(user)), dict)
    monkeypatch.setenv("AIHUB_CLIENT_SECRET", "s3cret")
    rig.id_claims = {"groups": "/admins"}
    model = await method.refresh_user(user, request(user))
    assert isinstance(model, dict)
    assert model["groups"] == ["/club", "/students"]


@pytest.mark.parametrize(
    ("claims", "goes_on"), [({"preferred_username": "a/b"}, False), ({"groups": "/students"}, True)]
)
async def test_nobody_keeps_groups_by_spoiling_their_own_account(
    hub: Hub, method: KeycloakSignIn, rig: HostileProvider, claims: dict[str, Any], goes_on: bool
) -> None:
    user = await signed_in(hub, method, rig)
    rig.id_claims = claims
    assert isinstance(await method.refresh_user(user, request(user)), dict) is goes_on
    assert (await kept(user)).ended is not goes_on


async def test_another_person_s_token_ends_it(hub: Hub, method: KeycloakSignIn, rig: HostileProvider) -> None:
    user = await signed_in(hub, method, rig)
    rig.id_claims = {"sub": rig.people["root"].subject}
    assert await method.refresh_user(user, request(user)) is False


async def test_without_a_refresh_token_the_access_token_asks(
    hub: Hub, method: KeycloakSignIn, rig: HostileProvider
) -> None:
    user = await signed_in(hub, method, rig)
    known = await kept(user)
    await user.save_auth_state(replace(known, tokens=replace(known.tokens, refresh="")).as_state())
    rig.people["Ada"].groups = ["/staff"]
    model = await method.refresh_user(user, request(user))
    assert isinstance(model, dict)
    assert model["groups"] == ["/staff"]
    rig.end_sessions("Ada")
    assert await method.refresh_user(user, request(user)) is False
    assert (await kept(user)).ended


@pytest.mark.parametrize("before", ["another account", "a shared password"])
async def test_what_was_begun_under_a_name_ends_when_it_is_another_account_s(
    aihub: AIHub, hub: Hub, method: KeycloakSignIn, rig: HostileProvider, before: str
) -> None:
    user = await signed_in(hub, method, rig)
    if before == "another account":
        aihub.store.release("ada", datetime.now(UTC))
        rig.people["Ada"].subject = "the next Ada"
    else:
        await user.save_auth_state(None)
    server = orm.APIToken.find(hub.db, user.new_api_token(note="Server at /user/ada/"))
    user.spawners[""].token_id = server.id
    user.new_api_token(note="made by whoever was called so")
    cookie = user.cookie_id
    assert await method.get_authenticated_user(hub, await code(method, rig, "Ada")) is not None
    assert user.cookie_id != cookie
    assert [token.id for token in user.orm_user.api_tokens] == [server.id]


async def test_a_new_sign_in_leaves_one_s_own_tokens(hub: Hub, method: KeycloakSignIn, rig: HostileProvider) -> None:
    user = await signed_in(hub, method, rig)
    user.new_api_token(note="own")
    cookie = user.cookie_id
    assert await method.get_authenticated_user(hub, await code(method, rig, "Ada")) is not None
    assert user.cookie_id == cookie
    assert [token.note for token in user.orm_user.api_tokens] == ["own"]


async def test_somebody_of_another_method_signs_in_again(hub: Hub, method: KeycloakSignIn) -> None:
    user = hub.sign_in({"name": "old", "admin": True, "groups": ["/admins"]}, None)
    assert await method.refresh_user(user, request(user)) is False
    await user.save_auth_state({"access_token": "of another authenticator"})
    assert await method.refresh_user(user, request(user)) is False


# --- the provider's own word that somebody left ----------------------------------------------------------------------


async def test_a_logout_token_ends_all_sessions_once(
    aihub: AIHub, hub: Hub, method: KeycloakSignIn, rig: HostileProvider
) -> None:
    user = await signed_in(hub, method, rig)
    cookie, token = user.cookie_id, rig.logout_token(name="Ada")
    assert await method.logged_out(hub, token) == 1
    assert user.cookie_id != cookie
    before = rig.count("token")
    assert await method.refresh_user(user, request(user)) is False
    assert rig.count("token") == before, "nothing is asked about a session that is over"
    with pytest.raises(TokenRefused) as caught:
        await method.logged_out(hub, token)
    assert caught.value.code == "replay"
    session = (await kept(user)).identity.session
    assert session
    assert await method.logged_out(hub, rig.logout_token(session=session)) == 1, "by the session alone"
    assert await method.logged_out(hub, rig.logout_token(name="eve")) == 0


async def test_an_unsigned_logout_token_ends_nothing(hub: Hub, method: KeycloakSignIn, rig: HostileProvider) -> None:
    user = await signed_in(hub, method, rig)
    cookie = user.cookie_id
    with pytest.raises(TokenRefused):
        await method.logged_out(hub, rig.id_token("Ada"))
    assert user.cookie_id == cookie


# --- what the hub's own configuration may set ------------------------------------------------------------------------


async def test_whom_the_hub_blocks_is_not_let_in_and_does_not_stay(
    hub: Hub, method: KeycloakSignIn, rig: HostileProvider
) -> None:
    user = await signed_in(hub, method, rig)
    method.blocked_users = {"ada", "guest"}
    assert await method.refresh_user(user, request(user)) is False
    with pytest.raises(SignInRefused) as caught:
        await method.get_authenticated_user(None, await code(method, rig, "guest"))
    assert caught.value.reason is SignInReason.NOT_ALLOWED
    method.username_pattern = "r.*"
    assert await method.get_authenticated_user(None, await code(method, rig, "root")) is not None
    method.blocked_users, method.username_pattern = set(), "x.*"
    with pytest.raises(SignInRefused) as caught:
        await method.get_authenticated_user(None, await code(method, rig, "guest"))
    assert caught.value.reason is SignInReason.NAME_UNUSABLE


async def test_lists_of_the_hub_let_nobody_in(hub: Hub, method: KeycloakSignIn, rig: HostileProvider) -> None:
    method.allow_all = method.allow_existing_users = True
    method.allowed_users = method.admin_users = {"eve", "ada"}
    with pytest.raises(SignInRefused) as caught:
        await method.get_authenticated_user(None, await code(method, rig, "eve"))
    assert caught.value.reason is SignInReason.NOT_ALLOWED
    user = await signed_in(hub, method, rig)
    assert user.admin is False
    rig.people["Ada"].groups = []
    assert await method.refresh_user(user, request(user)) is False


@pytest.mark.parametrize(
    "switch", ["auth_refresh_age", "auth_refresh_strict", "refresh_pre_spawn", "manage_groups", "enable_auth_state"]
)
def test_what_keeps_rights_up_to_date_cannot_be_switched_off(aihub: AIHub, keys: None, switch: str) -> None:
    KeycloakSignIn().check_allow_config()
    with pytest.raises(SignInMethodError, match=f"Authenticator.{switch} must not"):
        KeycloakSignIn(**{switch: 0}).check_allow_config()


# --- the hub's start, and what is kept -------------------------------------------------------------------------------


def test_without_a_key_to_encrypt_with_the_hub_does_not_start(aihub: AIHub, monkeypatch: pytest.MonkeyPatch) -> None:
    for value, problem in ((None, "specified"), ("short", "32 bytes")):
        crypto.CryptKeeper.clear_instance()
        monkeypatch.delenv("JUPYTERHUB_CRYPT_KEY", raising=False)
        if value:
            monkeypatch.setenv("JUPYTERHUB_CRYPT_KEY", value)
        with pytest.raises(CryptKeyError, match=f"(?s)keycloak.*JUPYTERHUB_CRYPT_KEY.*cryptKey.*{problem}"):
            KeycloakSignIn()


async def test_several_keys_rotate(hub: Hub, method: KeycloakSignIn, rig: HostileProvider, monkeypatch: Any) -> None:
    user = await signed_in(hub, method, rig)
    monkeypatch.setenv("JUPYTERHUB_CRYPT_KEY", f"{'cd' * 32};{'ab' * 32}")
    crypto.CryptKeeper.clear_instance()
    assert (await kept(user)).identity.name == "ada"
    monkeypatch.setenv("JUPYTERHUB_CRYPT_KEY", "cd" * 32)
    crypto.CryptKeeper.clear_instance()
    assert (await kept(user)).identity.name == "ada", "reading wrote it anew with the first key"


async def test_nothing_of_it_is_readable_in_the_database(
    hub: Hub, method: KeycloakSignIn, rig: HostileProvider
) -> None:
    user = await signed_in(hub, method, rig)
    stored = bytes(user.orm_user.encrypted_auth_state)
    tokens = (await kept(user)).tokens
    for secret in (tokens.access, tokens.refresh, tokens.id, rig.people["Ada"].subject):
        assert secret.encode() not in stored
        assert secret not in repr(tokens) or secret == ""


async def test_each_browser_signs_out_of_its_own_session(
    hub: Hub, method: KeycloakSignIn, rig: HostileProvider
) -> None:
    known = await kept(await signed_in(hub, method, rig))
    first = known.with_browser("browser-1")
    second = replace(first, tokens=replace(known.tokens, id="other")).with_browser("browser-2")
    assert second.hint("browser-1") == known.tokens.id
    assert second.hint("browser-2") == "other"
    assert second.hint("browser-3") == second.hint(None) == ""
    assert Kept.from_state(second.as_state()) == second
    many = second
    for number in range(9):
        many = many.with_browser(f"b{number}")
    assert len(many.browsers) == 5
    assert many.hint("b8") == "other"
    assert many.hint("browser-1") == ""
    assert "browser" not in str(second.browsers)


async def test_a_reload_changes_who_may_and_another_method_waits_for_a_restart(
    aihub: AIHub, hub: Hub, method: KeycloakSignIn, rig: HostileProvider, tmp_path: Path
) -> None:
    user = await signed_in(hub, method, rig)
    policy = tmp_path / "policy.yaml"
    policy.write_text(policy.read_text().replace("groups: [/admins]", "groups: [/club]"))
    assert aihub.policy_file.refresh()
    model = await method.refresh_user(user, request(user))
    assert isinstance(model, dict)
    assert model["admin"] is True
    policy.write_text(POLICY)
    assert aihub.policy_file.refresh()
    assert isinstance(await method.refresh_user(user, request(user)), dict), "the personas of the file let nobody out"
    with pytest.raises(SignInMethodError):
        method.check_allow_config()


async def test_the_way_out_carries_state_nonce_and_challenge(method: KeycloakSignIn, rig: HostileProvider) -> None:
    address = urlsplit(await method.way(BACK, "state", "nonce", "challenge"))
    query = {key: values[0] for key, values in parse_qs(address.query).items()}
    assert f"{address.scheme}://{address.netloc}" == rig.issuer.removesuffix("/realms/school")
    assert query == {
        "response_type": "code",
        "client_id": "aihub",
        "redirect_uri": BACK,
        "scope": "openid profile email",
        "state": "state",
        "nonce": "nonce",
        "code_challenge": "challenge",
        "code_challenge_method": "S256",
    }
    rig.stop()
    method.client._metadata = (0.0, method.client.known())  # type: ignore[assignment]
    with pytest.raises(ProviderError):
        await method.way(BACK, "state", "nonce", "challenge")
    assert await method.end_session_endpoint() == ""
    rig.start()


@pytest.mark.parametrize("issuer", ["https://other.example.org", "", None])
async def test_an_answer_of_another_issuer_is_refused(
    method: KeycloakSignIn, rig: HostileProvider, issuer: str | None
) -> None:
    await method.way(BACK, "state", "nonce", "challenge")
    method.check_sender(rig.issuer, given=True)
    with pytest.raises(SignInRefused):
        method.check_sender(issuer or "", given=issuer is not None)


def test_what_is_used_is_forgotten_only_when_it_is_too_old_anyway() -> None:
    used = Used()
    assert used.first("a", 0, 900)
    assert not used.first("a", 899, 1799)
    assert used.first("b", 900, 1800)
    assert used.first("a", 901, 1801)
