"""Sign-in on one machine, and the seam by which our routes take the place of the hub's (upstream.md 7, 32)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyterhub import handlers as hub_handlers
from jupyterhub.apihandlers import default_handlers as hub_api

from aihub.app import AIHub
from aihub.auth import PersonaAuthenticator
from aihub.handlers.home import HomePage
from aihub.handlers.server_api import ServerHandler
from aihub.handlers.sign_in import PersonaSignIn
from aihub.handlers.spawn import ProgressPage, StartPage
from tests.hub_rig import FakeSite, hub_user, loaded_aihub


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
