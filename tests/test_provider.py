"""The hub's calls to an OpenID Connect provider, against a hostile one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from aihub.calls import Http
from aihub.claims import identity_of
from aihub.identity import OidcProvider
from aihub.provider import (
    Metadata,
    OidcClient,
    ProviderDown,
    ProviderError,
    ProviderRefused,
    ProviderWrong,
    Tokens,
    authorization_url,
    secret_from,
)
from aihub.tokens import TokenRefused, UnknownKey
from tests.provider_rig import DROP, Fault, HostileProvider, Signing

SECRET = "s3cret-of-the-client"
BACK = "http://127.0.0.1:8000/hub/oauth_callback"


class Clock:
    """A clock that stands until a test moves it."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def rig(clock: Clock) -> Iterator[HostileProvider]:
    with HostileProvider() as provider:
        provider.clock = clock
        provider.add_client("aihub", SECRET, [BACK])
        yield provider


@pytest.fixture
def client(rig: HostileProvider, clock: Clock) -> OidcClient:
    return OidcClient(rig.provider(), lambda: SECRET, clock=clock, fetch=Http(connect=1, total=1))


async def test_a_code_becomes_tokens_claims_and_an_identity(rig: HostileProvider, client: OidcClient) -> None:
    tokens = await rig.tokens_of(client, "ada", nonce="n-1")
    claims = await client.id_claims(tokens.id, "n-1")
    userinfo = await client.userinfo(tokens.access)
    identity = identity_of(client.provider, claims, userinfo)
    assert (identity.subject, identity.name, identity.groups) == ("sub-ada", "ada", frozenset({"/courses/ml101/students"}))
    access = await client.access_claims(tokens.access)
    assert access["azp"] == "aihub"
    again = await client.refresh(tokens.refresh)
    assert again.refresh != tokens.refresh
    assert (await client.id_claims(again.id, None, "sub-ada"))["sub"] == "sub-ada"


async def test_a_browser_is_sent_to_the_provider_and_back(rig: HostileProvider, client: OidcClient) -> None:
    metadata = await client.metadata()
    asked = {"state": "st-1", "nonce": "n-1", "code_challenge": "c", "code_challenge_method": "S256"}
    with httpx.Client() as browser:
        address = authorization_url(metadata, client.provider, BACK, asked)
        assert "ada</button>" in browser.get(address).text
        browser.cookies.set("rig-person", "ada", domain="127.0.0.1")
        answer = browser.get(address)
    brought = parse_qs(urlsplit(answer.headers["location"]).query)
    assert brought["state"] == ["st-1"]
    assert brought["iss"] == [rig.issuer]
    assert brought["code"]


async def test_a_logout_token_is_read(rig: HostileProvider, client: OidcClient) -> None:
    logout = await client.logout(rig.logout_token(name="ada", session="s-1"))
    assert (logout.subject, logout.session) == ("sub-ada", "s-1")
