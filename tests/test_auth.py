"""Sign-in by each method, and the seam by which our routes take the place of the hub's (upstream.md 7, 32, 39)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jupyterhub import handlers as hub_handlers
from jupyterhub.apihandlers import default_handlers as hub_api

from aihub.app import AIHub
from aihub.auth import PersonaAuthenticator, SharedPassword, SignInMethodError
from aihub.handlers.home import HomePage
from aihub.handlers.server_api import ServerHandler
from aihub.handlers.sign_in import PasswordSignIn, PersonaSignIn
from aihub.handlers.spawn import ProgressPage, StartPage
from aihub.passwords import ADMIN_PASSWORD, USER_PASSWORD, PasswordError, TooManyAttemptsError
from tests.hub_rig import POLICY, FakeSite, hub_user, loaded_aihub


@pytest.fixture
def aihub(tmp_path: Path) -> Iterator[AIHub]:
    with loaded_aihub(tmp_path, FakeSite()) as aihub:
        yield aihub


@pytest.fixture
def authenticator() -> PersonaAuthenticator:
    return PersonaAuthenticator()


async def test_a_persona_signs_in_with_groups_and_rights(aihub: AIHub, authenticator: PersonaAuthenticator) -> None:
    assert await authenticator.authenticate(None, {"username": "ada"}) == {
        "name": "ada",
        "groups": ["/club", "/students"],
        "admin": False,
    }
    admin = await authenticator.authenticate(None, {"username": "admin"})
    assert admin == {"name": "admin", "groups": [], "admin": True}


@pytest.mark.parametrize("name", ["nobody", "", "ada ", "ad", "/ada", "Lab", "ada\0"])
async def test_nobody_else_signs_in(aihub: AIHub, authenticator: PersonaAuthenticator, name: str) -> None:
    assert await authenticator.authenticate(None, {"username": name}) is None
    assert await authenticator.authenticate(None, {}) is None


async def test_the_hub_s_own_steps_keep_the_identity(aihub: AIHub, authenticator: PersonaAuthenticator) -> None:
    """As it is set here, its checks admit a persona and keep the groups."""
    signed_in = await authenticator.get_authenticated_user(None, {"username": "Ada".lower()})
    assert signed_in is not None
    assert (signed_in["name"], signed_in["groups"], signed_in["admin"]) == ("ada", ["/club", "/students"], False)
    assert await authenticator.get_authenticated_user(None, {"username": "nobody"}) is None
    assert authenticator.manage_groups
    assert not authenticator.auto_login


async def test_groups_follow_the_policy_file_and_who_is_gone_signs_in_again(
    aihub: AIHub, authenticator: PersonaAuthenticator, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.yaml"
    ada = hub_user("ada", "/students")
    policy.write_text(policy.read_text().replace("Ada: {groups: [/students, /club]}", "Ada: {groups: [/staff]}"))
    assert aihub.policy_file.refresh()
    assert await authenticator.refresh_user(ada) == {"name": "ada", "groups": ["/staff"], "admin": False}

    policy.write_text(policy.read_text().replace("    Ada: {groups: [/staff]}\n", ""))
    assert aihub.policy_file.refresh()
    assert await authenticator.refresh_user(ada) is False


# --- with a shared password ------------------------------------------------------------------------------------------

PEOPLE = (
    POLICY[: POLICY.index("signIn:")]
    + """
signIn:
  method: sharedPassword
  personas: {persona: {}}
  people:
    Ada: {groups: [/students, /club]}
    boss: {groups: [/ops]}
    root: {admin: true}
  admins: {groups: [/ops]}
"""
)
USER, ADMIN = "open sesame", "the password of admins, 32 characters"


@pytest.fixture
def people(tmp_path: Path) -> Iterator[AIHub]:
    with loaded_aihub(tmp_path, FakeSite(), PEOPLE) as aihub:
        yield aihub


class Waits(list[float]):
    """What was slept."""

    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
def shared(people: AIHub, waits: Waits) -> SharedPassword:
    authenticator = SharedPassword(user_password=USER, admin_password=ADMIN)
    authenticator.clock = lambda: 0.0
    authenticator.sleep = waits
    return authenticator


def given(username: object, password: object) -> dict[str, Any]:
    return {"username": username, "password": password}


@pytest.mark.parametrize(
    ("name", "password", "identity"),
    [
        pytest.param("ada", USER, {"name": "ada", "groups": ["/club", "/students"], "admin": False}, id="listed"),
        pytest.param("ADA", USER, {"name": "ada", "groups": ["/club", "/students"], "admin": False}, id="normalised"),
        pytest.param("root", ADMIN, {"name": "root", "groups": [], "admin": True}, id="admin"),
        pytest.param("boss", ADMIN, {"name": "boss", "groups": ["/ops"], "admin": True}, id="admin by group"),
        pytest.param("ada", ADMIN, None, id="an admin's password"),
        pytest.param("root", USER, None, id="everybody's password"),
        pytest.param("boss", USER, None, id="everybody's password, admin by group"),
        pytest.param("ada", "", None, id="no password"),
        pytest.param("ada", USER + " ", None, id="longer"),
        pytest.param("ada", "密碼\ud800", None, id="no ASCII"),
        pytest.param("persona", USER, None, id="a persona"),
        pytest.param("nobody", USER, None, id="not listed"),
        pytest.param("nobody", ADMIN, None, id="not listed, as an admin"),
        pytest.param(["ada"], {"a": 1}, None, id="no text"),
    ],
)
async def test_the_password_must_be_the_one_for_the_name(
    shared: SharedPassword, name: object, password: object, identity: dict[str, Any] | None
) -> None:
    assert await shared.authenticate(None, given(name, password)) == identity
    found = await shared.get_authenticated_user(None, given(name, password))
    assert (found and {key: found[key] for key in ("name", "groups", "admin")}) == identity


@pytest.mark.parametrize("data", [None, "ada", [], {}, {"username": "ada"}, {"password": USER}])
async def test_what_is_no_form_is_nobody(shared: SharedPassword, data: object) -> None:
    assert await shared.authenticate(None, data) is None


async def test_nobody_is_let_in_who_is_not_listed_whatever_the_configuration_says(people: AIHub) -> None:
    shared = SharedPassword(user_password=USER, admin_password=ADMIN, allowed_users={"eve"}, admin_users={"eve", "ada"})
    assert await shared.get_authenticated_user(None, given("eve", USER)) is None
    assert await shared.get_authenticated_user(None, given("eve", ADMIN)) is None
    assert await shared.get_authenticated_user(None, given("ada", ADMIN)) is None
    assert not shared.check_allowed("eve")
    assert shared.check_allowed("ada")


async def test_guessing_waits_longer_and_longer(shared: SharedPassword, waits: Waits) -> None:
    for _ in range(10):
        assert await shared.authenticate(None, given("ada", "wrong")) is None
    assert waits == [0.5, 1.5, 3.5, 7.5]
    with pytest.raises(TooManyAttemptsError):
        await shared.authenticate(None, given("ada", USER))
    assert await shared.authenticate(None, given("root", ADMIN))


async def test_a_right_password_after_mistakes_is_not_held_against_anybody(
    shared: SharedPassword, waits: Waits
) -> None:
    for _ in range(3):
        for _ in range(5):
            assert await shared.authenticate(None, given("ada", "wrong")) is None
        assert await shared.authenticate(None, given("ada", USER))
    assert waits == []


async def test_people_follow_the_policy_file(people: AIHub, shared: SharedPassword, tmp_path: Path) -> None:
    ada = hub_user("ada", "/students")
    rewrite(people, tmp_path, "Ada: {groups: [/students, /club]}", "Ada: {groups: [/staff]}")
    assert await shared.refresh_user(ada) == {"name": "ada", "groups": ["/staff"], "admin": False}
    rewrite(people, tmp_path, "    Ada: {groups: [/staff]}\n", "")
    assert await shared.refresh_user(ada) is False
    assert await shared.authenticate(None, given("ada", USER)) is None


async def test_another_method_in_the_file_opens_no_door_of_the_one_that_runs(
    people: AIHub, shared: SharedPassword, tmp_path: Path
) -> None:
    rewrite(people, tmp_path, "method: sharedPassword", "method: local")
    assert await shared.authenticate(None, given("persona", USER)) is None
    assert await shared.authenticate(None, given("ada", USER)) is not None


def rewrite(aihub: AIHub, folder: Path, old: str, new: str) -> None:
    path = folder / "policy.yaml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert aihub.policy_file.refresh()


async def test_admins_alone_are_told_that_this_is_for_evaluation(people: AIHub, tmp_path: Path) -> None:
    assert people.chrome(hub_user("root", admin=True)).evaluation
    assert not people.chrome(hub_user("ada", "/students")).evaluation
    assert not people.chrome(None).evaluation
    rewrite(people, tmp_path, "method: sharedPassword", "method: local")
    assert not people.chrome(hub_user("root", admin=True)).evaluation


class Rows:
    """What `end_sessions` needs of a user: its row, its tokens, the database's session."""

    def __init__(self, *, admin: bool) -> None:
        self.name, self.admin = "root", admin
        tokens = [SimpleNamespace(scopes=["inherit"]), SimpleNamespace(scopes=["access:servers!server=root/"])]
        self.orm_user = SimpleNamespace(cookie_id="old", api_tokens=tokens)
        self.db = SimpleNamespace(delete=tokens.remove, commit=lambda: None)


def signing_in(user: object) -> Any:
    """The handler of the sign-in page, at an address, with a user that the hub knows."""
    return SimpleNamespace(request=SimpleNamespace(remote_ip="10.0.0.1"), find_user=lambda _name: user)


@pytest.mark.parametrize("admin", [False, True], ids=["becomes an admin", "is one"])
async def test_what_was_begun_before_somebody_became_an_admin_ends(shared: SharedPassword, admin: bool) -> None:
    for refresh in (False, True):
        user = Rows(admin=admin)
        if refresh:
            assert bool(await shared.refresh_user(user)) is admin
        else:
            assert await shared.authenticate(signing_in(user), given("root", ADMIN))
        kept = [token.scopes for token in user.orm_user.api_tokens]
        assert (user.orm_user.cookie_id == "old") is admin
        assert (["inherit"] in kept) is admin
        assert ["access:servers!server=root/"] in kept


async def test_a_wrong_password_ends_nobody_s_sessions(shared: SharedPassword) -> None:
    user = Rows(admin=False)
    assert await shared.authenticate(signing_in(user), given("root", USER)) is None
    assert user.orm_user.cookie_id == "old"


# --- when the hub starts ---------------------------------------------------------------------------------------------


def test_the_passwords_are_those_of_the_environment(people: AIHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(USER_PASSWORD, USER)
    monkeypatch.setenv(ADMIN_PASSWORD, ADMIN)
    shared = SharedPassword()
    shared.check_allow_config()
    assert (shared.user_password, shared.admin_password) == (USER, ADMIN)


@pytest.mark.parametrize("variable", [USER_PASSWORD, ADMIN_PASSWORD])
def test_without_passwords_there_is_no_hub(people: AIHub, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    for each, password in ((USER_PASSWORD, USER), (ADMIN_PASSWORD, ADMIN)):
        monkeypatch.setenv(each, "" if each == variable else password)
    with pytest.raises(PasswordError, match=variable):
        SharedPassword().check_allow_config()


def test_an_empty_password_in_the_configuration_is_none(people: AIHub) -> None:
    with pytest.raises(PasswordError, match="is missing"):
        SharedPassword(user_password="", admin_password=ADMIN).check_allow_config()


def test_a_method_is_for_its_own_policy_only(aihub: AIHub) -> None:
    PersonaAuthenticator().check_allow_config()
    with pytest.raises(
        SignInMethodError, match=r"signIn\.method is local, and this hub was started for sharedPassword"
    ):
        SharedPassword(user_password=USER, admin_password=ADMIN).check_allow_config()


def test_personas_are_not_for_a_policy_with_passwords(people: AIHub) -> None:
    with pytest.raises(SignInMethodError):
        PersonaAuthenticator().check_allow_config()


def test_the_hub_warns_of_nothing_that_is_not_so(shared: SharedPassword, caplog: pytest.LogCaptureFixture) -> None:
    shared.log.propagate = True
    shared.check_allow_config()
    assert not caplog.records


def test_each_method_has_its_own_page(authenticator: PersonaAuthenticator, shared: SharedPassword) -> None:
    assert first(authenticator.get_handlers(None), "/login") is PersonaSignIn
    assert first(shared.get_handlers(None), "/login") is PasswordSignIn
    for path, handler in TAKEN_OVER[1:]:
        assert first(shared.get_handlers(None), path) is handler


# --- routes ----------------------------------------------------------------------------------------------------------

TAKEN_OVER = [
    ("/login", PersonaSignIn),
    ("/home", HomePage),
    ("/spawn", StartPage),
    ("/spawn/ada", StartPage),
    ("/spawn/ada/two", StartPage),
    ("/spawn-pending/ada", ProgressPage),
    ("/spawn-pending/ada/two", ProgressPage),
    ("/api/users/ada/server", ServerHandler),
    ("/api/users/ada/servers/two", ServerHandler),
    ("/api/users/ada/servers/", ServerHandler),
    ("/api/users/ada%40example.org/servers/%E2%80%AE", ServerHandler),
]


def first(routes: list[tuple[Any, ...]], path: str) -> Any:
    """The handler that answers, as tornado chooses it: the first full match."""
    return next((route[1] for route in routes if re.fullmatch(route[0], path)), None)


@pytest.mark.parametrize(("path", "handler"), TAKEN_OVER, ids=[path for path, _ in TAKEN_OVER])
def test_our_handlers_stand_where_the_hub_has_its_own(
    authenticator: PersonaAuthenticator, path: str, handler: type
) -> None:
    stock = [*hub_handlers.default_handlers, *hub_api]
    ours = authenticator.get_handlers(None)
    # JupyterHub 6 puts the authenticator's routes before its own ones.
    assert first([*ours, *stock], path) is handler
    behind = first(stock, path)
    if behind is not None:
        assert issubclass(handler, behind) or handler in {PersonaSignIn, HomePage, ProgressPage}


def test_no_address_of_the_hub_that_starts_a_server_is_left_to_it(authenticator: PersonaAuthenticator) -> None:
    ours = authenticator.get_handlers(None)
    starts = {"SpawnHandler", "UserServerAPIHandler"}
    stock = [route for route in [*hub_handlers.default_handlers, *hub_api] if route[1].__name__ in starts]
    assert stock, "JupyterHub has renamed its handlers"
    for pattern, *_ in stock:
        path = re.sub(r"\(\?P<\w+>[^)]*\)|\([^)]*\)", "x", pattern)
        assert first(ours, path) is not None, pattern
