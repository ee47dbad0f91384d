"""The hub's calls to an OpenID Connect provider, against a hostile one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
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
    return OidcClient(rig.provider(), lambda: SECRET, clock=clock)


async def test_a_code_becomes_tokens_claims_and_an_identity(rig: HostileProvider, client: OidcClient) -> None:
    tokens = await rig.tokens_of(client, "ada", nonce="n-1")
    claims = await client.id_claims(tokens.id, "n-1")
    userinfo = await client.userinfo(tokens.access)
    identity = identity_of(client.provider, claims, userinfo)
    assert (identity.subject, identity.name, identity.groups) == (
        "sub-ada",
        "ada",
        frozenset({"/courses/ml101/students"}),
    )
    access = await client.access_claims(tokens.access)
    assert access["azp"] == "aihub"
    again = await client.refresh(tokens.refresh)
    assert again.refresh != tokens.refresh
    assert (await client.id_claims(again.id, None, "sub-ada"))["sub"] == "sub-ada"


async def test_a_browser_is_sent_to_the_provider_and_back(rig: HostileProvider, client: OidcClient) -> None:
    metadata = await client.metadata()
    asked = {"state": "st-1", "nonce": "n-1", "code_challenge": "c", "code_challenge_method": "S256"}
    address = authorization_url(metadata, client.provider, BACK, asked)
    async with httpx.AsyncClient() as browser:
        assert "ada</button>" in (await browser.get(address)).text
        browser.cookies.set("rig-person", "ada", domain="127.0.0.1")
        answer = await browser.get(address)
    brought = parse_qs(urlsplit(answer.headers["location"]).query)
    assert brought["state"] == ["st-1"]
    assert brought["iss"] == [rig.issuer]
    assert brought["code"]


async def test_a_logout_token_is_read(rig: HostileProvider, client: OidcClient) -> None:
    logout = await client.logout(rig.logout_token(name="ada", session="s-1"))
    assert (logout.subject, logout.session) == ("sub-ada", "s-1")


# --- discovery


async def test_discovery_is_asked_once_in_an_hour_and_by_many_at_a_time(
    rig: HostileProvider, client: OidcClient, clock: Clock
) -> None:
    assert client.known() is None
    rig.faults["discovery"] = Fault(delay=0.1, times=1)
    asked = await asyncio.gather(*(client.metadata() for _ in range(20)))
    assert rig.count("discovery") == 1
    assert client.known() is asked[0]
    clock.now += 3599
    await client.metadata()
    assert rig.count("discovery") == 1
    clock.now += 2
    await client.metadata()
    assert rig.count("discovery") == 2


async def test_who_leaves_does_not_end_the_fetch_of_the_others(rig: HostileProvider, client: OidcClient) -> None:
    rig.faults["discovery"] = Fault(delay=0.2, times=1)
    first, second = asyncio.ensure_future(client.metadata()), asyncio.ensure_future(client.metadata())
    await asyncio.sleep(0.05)
    first.cancel()
    assert (await second).issuer == rig.issuer
    assert rig.count("discovery") == 1


async def test_a_probe_asks_unless_the_answer_is_young(rig: HostileProvider, client: OidcClient, clock: Clock) -> None:
    await client.metadata()
    clock.now += 9
    await client.probe(10)
    assert rig.count("discovery") == 1
    clock.now += 2
    await client.probe(10)
    assert rig.count("discovery") == 2
    rig.stop()
    clock.now += 11
    for _ in range(2):
        with pytest.raises(ProviderDown):
            await client.probe(10)
    assert (await client.metadata()).issuer == rig.issuer


HTTP = "http://id.example.org/realms/school/protocol/openid-connect"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"issuer": "https://evil.example/realms/school"}, id="another issuer"),
        pytest.param({"issuer": lambda issuer: f"{issuer}/"}, id="a slash more"),
        pytest.param({"issuer": lambda issuer: issuer.replace("school", "School")}, id="another case"),
        pytest.param({"issuer": DROP}, id="no issuer"),
        pytest.param({"issuer": ["x"]}, id="a list of issuers"),
        pytest.param({"token_endpoint": DROP}, id="no token endpoint"),
        pytest.param({"authorization_endpoint": DROP}, id="no authorization endpoint"),
        pytest.param({"jwks_uri": DROP}, id="no keys"),
        pytest.param({"token_endpoint": f"{HTTP}/token"}, id="a token endpoint without TLS"),
        pytest.param({"userinfo_endpoint": f"{HTTP}/userinfo"}, id="userinfo without TLS"),
        pytest.param({"authorization_endpoint": "javascript:alert(1)"}, id="a script for an address"),
        pytest.param({"end_session_endpoint": "data:text/html,x"}, id="data for an address"),
        pytest.param({"jwks_uri": "file:///etc/passwd"}, id="a file for the keys"),
        pytest.param({"jwks_uri": "https://id.example.org:x/"}, id="a port that is none"),
        pytest.param({"token_endpoint": "https://me:pass@id.example.org/token"}, id="a password in an address"),
        pytest.param({"authorization_endpoint": "https://id.example.org/auth#top"}, id="a fragment"),
        pytest.param({"authorization_endpoint": "https://id.example.org/\r\nX: y"}, id="a second line"),
        pytest.param({"token_endpoint": 7}, id="a number for an address"),
    ],
)
async def test_a_discovery_document_that_cannot_be_right_is_refused(
    rig: HostileProvider, client: OidcClient, change: dict[str, Any]
) -> None:
    rig.discovery = change
    with pytest.raises(ProviderWrong) as error:
        await client.metadata()
    assert next(iter(change)) in str(error.value)
    assert client.known() is None


OK = b"HTTP/1.1 200 OK\r\n"
BROKEN = [
    pytest.param(Fault(status=500), ProviderDown, id="500"),
    pytest.param(Fault(status=503, body="<html>no upstream"), ProviderDown, id="503 in HTML"),
    pytest.param(Fault(status=429), ProviderDown, id="429"),
    pytest.param(Fault(status=408), ProviderDown, id="408"),
    pytest.param(Fault(hang_up=True), ProviderDown, id="hangs up"),
    pytest.param(Fault(delay=30), ProviderDown, id="no answer in time"),
    pytest.param(Fault(drip=0.3, body="{" + " " * 200), ProviderDown, id="a byte at a time"),
    pytest.param(Fault(status=302, headers={"Location": "http://127.0.0.1:1/"}), ProviderWrong, id="a redirect"),
    pytest.param(Fault(status=307, headers={"Location": "http://127.0.0.1:1/"}), ProviderWrong, id="a 307"),
    pytest.param(Fault(body="<html>Welcome to the hotel"), ProviderWrong, id="HTML"),
    pytest.param(Fault(body=b"\xff\xfe\x00"), ProviderWrong, id="not UTF-8"),
    pytest.param(Fault(body="[" * 100_000), ProviderWrong, id="nested without end"),
    pytest.param(Fault(body="[]"), ProviderWrong, id="a list"),
    pytest.param(Fault(body="null"), ProviderWrong, id="null"),
    pytest.param(Fault(body='{"expires_in": NaN}'), ProviderWrong, id="NaN"),
    pytest.param(Fault(body="9" * 5000), ProviderWrong, id="a number of 5000 digits"),
    pytest.param(Fault(body=b""), ProviderWrong, id="nothing"),
    pytest.param(Fault(status=404), ProviderWrong, id="404"),
    pytest.param(Fault(size=1 << 20), ProviderWrong, id="larger than 1 MiB"),
    pytest.param(Fault(size=64 << 20), ProviderWrong, id="much larger"),
    pytest.param(Fault(size=2 << 20, chunked=True), ProviderWrong, id="larger, in chunks"),
    pytest.param(Fault(size=32 << 20, chunked=True), ProviderWrong, id="much larger, in chunks"),
    pytest.param(Fault(headers={"X-Long": "x" * 100_000}, body="{}"), ProviderWrong, id="a header of 100 kB"),
    pytest.param(Fault(hang_up=True, raw=b"SSH-2.0-OpenSSH\r\n\r\n"), ProviderDown, id="another protocol"),
    pytest.param(Fault(hang_up=True, raw=b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}"), ProviderDown, id="half"),
    pytest.param(
        Fault(hang_up=True, raw=b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}"), ProviderDown, id="x bytes"
    ),
]


@contextmanager
def patience(http: Http, fault: Fault | None) -> Iterator[None]:
    """Wait a second only for what never comes: a busy machine takes its time for all else."""
    slow = fault is not None and (fault.delay or fault.drip)
    before, http._total = http._total, 1.0 if slow else http._total
    try:
        yield
    finally:
        http._total = before


@pytest.mark.parametrize("endpoint", ["discovery", "keys", "userinfo", "token"])
@pytest.mark.parametrize(("fault", "kind"), BROKEN)
async def test_an_endpoint_that_breaks(
    rig: HostileProvider, client: OidcClient, clock: Clock, endpoint: str, fault: Fault, kind: type[ProviderError]
) -> None:
    tokens = await rig.tokens_of(client, "ada")
    await client.keys()
    http = Http()
    client = OidcClient(rig.provider(), lambda: SECRET, clock=clock, fetch=http)
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "discovery": client.metadata,
        "keys": client.keys,
        "userinfo": lambda: client.userinfo(tokens.access),
        "token": lambda: client.refresh(tokens.refresh),
    }
    rig.faults[endpoint] = fault
    with pytest.raises(kind) as error, patience(http, fault):
        await calls[endpoint]()
    assert error.value.endpoint == endpoint
    assert (client.down_since, client.last_answer) == (clock.now, clock.now if endpoint != "discovery" else None)
    del rig.faults[endpoint]
    clock.now += 60
    await calls[endpoint]()
    assert (client.down_since, client.last_answer) == (None, clock.now)


async def test_a_provider_that_is_away_is_not_asked_at_every_page(
    rig: HostileProvider, client: OidcClient, clock: Clock
) -> None:
    rig.stop()
    for wait in (1, 2, 4, 8, 16, 30, 30):
        with pytest.raises(ProviderDown, match="refused"):
            await client.metadata()
        with pytest.raises(ProviderDown) as left_alone:
            await client.metadata()
        assert left_alone.value.retry_after == wait
        clock.now += wait
    assert client.down_since == 1_800_000_000.0
    rig.start()
    assert (await client.metadata()).issuer == rig.issuer
    assert client.down_since is None


async def test_what_is_known_goes_on_while_the_provider_is_away(
    rig: HostileProvider, client: OidcClient, clock: Clock
) -> None:
    known, keys = await client.metadata(), await client.keys()
    token = rig.id_token("ada", nonce="n")
    rig.stop()
    clock.now += 4000
    assert await client.metadata() is known
    assert await client.keys() is keys
    rig.clock = lambda: clock.now
    assert (await client.id_claims(rig.id_token("ada", nonce="n"), "n"))["sub"] == "sub-ada"
    with pytest.raises(TokenRefused):
        await client.id_claims(token, "n")


async def test_a_port_that_speaks_no_tls() -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        client = OidcClient(OidcProvider(f"https://127.0.0.1:{port}/realms/school", "aihub"), lambda: SECRET)
        with pytest.raises(ProviderDown, match="TLS failed"):
            await client.metadata()


async def test_a_changed_issuer_does_not_take_the_place_of_a_good_one(
    rig: HostileProvider, client: OidcClient, clock: Clock
) -> None:
    known = await client.metadata()
    rig.discovery = {"issuer": "https://evil.example", "token_endpoint": "https://evil.example/token"}
    clock.now += 4000
    assert await client.metadata() is known
    assert client.down_since == clock.now


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        pytest.param("17", 17, id="seconds"),
        pytest.param("Fri, 15 Jan 2027 08:00:50 GMT", 50, id="a date"),
        pytest.param("Fri, 15 Jan 2027 07:00:00 GMT", 0, id="a date gone by"),
        pytest.param("999999", 300, id="too long"),
        pytest.param("soon", None, id="neither"),
        pytest.param("-5", None, id="negative"),
        pytest.param("9" * 40, None, id="a number without end"),
    ],
)
async def test_retry_after_is_heeded(
    rig: HostileProvider, client: OidcClient, clock: Clock, written: str, seconds: float | None
) -> None:
    tokens = await rig.tokens_of(client, "ada")
    rig.faults["token"] = Fault(status=429, headers={"Retry-After": written}, times=1)
    with pytest.raises(ProviderDown) as error:
        await client.refresh(tokens.refresh)
    assert error.value.retry_after == seconds
    if seconds:
        before = rig.count("token")
        with pytest.raises(ProviderDown):
            await client.refresh(tokens.refresh)
        assert rig.count("token") == before
        clock.now += seconds
    assert (await client.refresh(tokens.refresh)).access


async def test_one_persons_error_keeps_nobody_else_from_asking(rig: HostileProvider, client: OidcClient) -> None:
    ada, teacher = await rig.tokens_of(client, "ada"), await rig.tokens_of(client, "teacher")
    rig.faults["token"] = Fault(status=500, times=5)
    for _ in range(5):
        with pytest.raises(ProviderDown):
            await client.refresh(ada.refresh)
    assert (await client.refresh(teacher.refresh)).access


async def test_an_endpoint_that_says_nothing_twice_is_left_alone(
    rig: HostileProvider, client: OidcClient, clock: Clock
) -> None:
    ada = await rig.tokens_of(client, "ada")
    rig.faults["token"] = Fault(hang_up=True)
    for _ in range(3):
        with pytest.raises(ProviderDown):
            await client.refresh(ada.refresh)
    assert rig.count("token") == 3
    del rig.faults["token"]
    clock.now += 1
    assert (await client.refresh(ada.refresh)).access


# --- keys


async def test_a_new_key_is_fetched_at_once(rig: HostileProvider, client: OidcClient) -> None:
    await client.id_claims(rig.id_token("ada", nonce="n"), "n")
    rig.rotate_keys()
    await client.id_claims(rig.id_token("ada", nonce="n"), "n")
    assert rig.count("keys") == 2


async def test_unknown_keys_cost_one_fetch_in_thirty_seconds_whoever_asks(
    rig: HostileProvider, client: OidcClient, clock: Clock
) -> None:
    await client.keys()
    stranger = rig.sign({"iss": rig.issuer}, Signing(header={"kid": "made-up"}))

    async def refused() -> None:
        with pytest.raises(UnknownKey):
            await client.logout(stranger)

    await asyncio.gather(*(refused() for _ in range(20)))
    clock.now += 29
    await refused()
    assert rig.count("keys") == 2
    clock.now += 2
    await refused()
    assert rig.count("keys") == 3


async def test_parallel_sign_ins_after_a_rotation_share_one_fetch(rig: HostileProvider, client: OidcClient) -> None:
    await client.keys()
    rig.rotate_keys()
    rig.faults["keys"] = Fault(delay=0.1, times=1)
    tokens = [rig.id_token("ada", nonce="n") for _ in range(10)]
    claims = await asyncio.gather(*(client.id_claims(each, "n") for each in tokens))
    assert {each["sub"] for each in claims} == {"sub-ada"}
    assert rig.count("keys") == 2


async def test_a_failed_fetch_counts_as_one(rig: HostileProvider, client: OidcClient) -> None:
    await client.keys()
    rig.rotate_keys()
    rig.faults["keys"] = Fault(status=500)
    token = rig.id_token("ada", nonce="n")
    with pytest.raises(ProviderDown):
        await client.id_claims(token, "n")
    with pytest.raises(UnknownKey):
        await client.id_claims(token, "n")
    assert rig.count("keys") == 2


@pytest.mark.parametrize("body", ['{"keys": []}', '{"keys": {}}', "{}", '{"keys": [{"kty": "oct", "k": "AAAA"}]}'])
async def test_a_set_without_a_key_does_not_take_the_place_of_a_good_one(
    rig: HostileProvider, client: OidcClient, clock: Clock, body: str
) -> None:
    keys = await client.keys()
    rig.faults["keys"] = Fault(body=body)
    clock.now += 4000
    assert await client.keys() is keys
    with pytest.raises(ProviderWrong):
        await OidcClient(rig.provider(), lambda: SECRET, clock=clock).keys()


# --- tokens


@pytest.mark.parametrize(
    ("offered", "way"),
    [
        pytest.param(["client_secret_basic", "client_secret_post"], "basic", id="both"),
        pytest.param(["client_secret_post"], "post", id="post only"),
        pytest.param(["client_secret_post", "private_key_jwt"], "post", id="post and another"),
        pytest.param(DROP, "basic", id="nothing said"),
        pytest.param("client_secret_post", "basic", id="not a list"),
    ],
)
async def test_how_the_client_says_who_it_is(
    rig: HostileProvider, client: OidcClient, offered: object, way: str
) -> None:
    rig.discovery = {"token_endpoint_auth_methods_supported": offered}
    await rig.tokens_of(client, "ada")
    asked = next(each for each in rig.sent if each.endpoint == "token")
    assert ("authorization" in asked.headers) == (way == "basic")
    assert (asked.form.get("client_secret") == SECRET) == (way == "post")


async def test_secrets_with_any_character_arrive(rig: HostileProvider, clock: Clock) -> None:
    secret = "a:b %/+&=é中"
    rig.add_client("the hub: one", secret, [BACK])
    client = OidcClient(rig.provider("the hub: one"), lambda: secret, clock=clock)
    assert (await rig.tokens_of(client, "ada")).id


async def test_a_public_client_sends_its_id_and_no_secret(rig: HostileProvider, clock: Clock) -> None:
    rig.add_client("public", "", [BACK])
    client = OidcClient(rig.provider("public"), lambda: "", clock=clock)
    assert (await rig.tokens_of(client, "ada")).id
    asked = next(each for each in rig.sent if each.endpoint == "token")
    assert asked.form["client_id"] == "public"
    assert "client_secret" not in asked.form
    assert "authorization" not in asked.headers


async def test_the_secret_is_read_at_every_call(rig: HostileProvider, clock: Clock, tmp_path: Path) -> None:
    file = tmp_path / "clientSecret"
    file.write_text(f"{SECRET}\n")
    client = OidcClient(rig.provider(), secret_from({"AIHUB_CLIENT_SECRET_FILE": str(file)}), clock=clock)
    tokens = await rig.tokens_of(client, "ada")
    rig.clients["aihub"].secret = "the next one"
    with pytest.raises(ProviderRefused) as error:
        await client.refresh(tokens.refresh)
    assert (error.value.error, error.value.ended) == ("unauthorized_client", False)
    file.write_text("the next one")
    assert (await client.refresh(tokens.refresh)).access


def test_where_the_secret_comes_from(tmp_path: Path) -> None:
    assert secret_from({})() == ""
    assert secret_from({"AIHUB_CLIENT_SECRET": " s \n"})() == "s"
    empty = tmp_path / "empty"
    empty.write_text("\n")
    assert secret_from({"AIHUB_CLIENT_SECRET_FILE": str(empty), "AIHUB_CLIENT_SECRET": "s"})() == ""
    with pytest.raises(ProviderWrong, match="No such file"):
        secret_from({"AIHUB_CLIENT_SECRET_FILE": str(tmp_path / "none")})()
    binary = tmp_path / "binary"
    binary.write_bytes(b"s3cret\xff")
    with pytest.raises(ProviderWrong, match="not text") as error:
        secret_from({"AIHUB_CLIENT_SECRET_FILE": str(binary)})()
    assert error.value.__cause__ is None
    assert error.value.__suppress_context__


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"access_token": DROP}, id="no access token"),
        pytest.param({"access_token": 7}, id="a number"),
        pytest.param({"access_token": "two words"}, id="a space"),
        pytest.param({"access_token": "a\r\nX-Evil: 1"}, id="two lines"),
        pytest.param({"access_token": "a" * 70_000}, id="too long"),
        pytest.param({"refresh_token": {"a": 1}}, id="an object"),
        pytest.param({"id_token": DROP}, id="no ID token"),
        pytest.param({"id_token": ""}, id="an empty ID token"),
        pytest.param({"token_type": "mac"}, id="another kind"),
        pytest.param({"token_type": DROP}, id="no kind"),
    ],
)
async def test_tokens_that_cannot_be_right_are_refused(
    rig: HostileProvider, client: OidcClient, change: dict[str, Any]
) -> None:
    rig.token_answer = change
    with pytest.raises(ProviderWrong):
        await rig.tokens_of(client, "ada")


@pytest.mark.parametrize(
    ("expires_in", "expires_at"),
    [
        (300, 300.0),
        (0, 0.0),
        (1.5, 1.5),
        ("300", None),
        (True, None),
        (-1, None),
        (1e300, None),
        (None, None),
        (DROP, None),
    ],
)
async def test_when_tokens_expire(
    rig: HostileProvider, client: OidcClient, clock: Clock, expires_in: object, expires_at: float | None
) -> None:
    rig.token_answer = {"expires_in": expires_in}
    tokens = await rig.tokens_of(client, "ada")
    assert tokens.expires_at == (None if expires_at is None else clock.now + expires_at)


async def test_a_provider_that_keeps_the_refresh_token(rig: HostileProvider, client: OidcClient) -> None:
    tokens = await rig.tokens_of(client, "ada")
    rig.token_answer = {"refresh_token": None, "id_token": DROP}
    renewed = await client.refresh(tokens.refresh)
    assert (renewed.refresh, renewed.id) == (tokens.refresh, "")


@pytest.mark.parametrize("what", ["ended", "disabled", "reused", "made up"])
async def test_a_refresh_token_that_is_over(rig: HostileProvider, client: OidcClient, what: str) -> None:
    tokens = await rig.tokens_of(client, "ada")
    given = tokens.refresh
    if what == "ended":
        rig.end_sessions("ada")
    elif what == "disabled":
        rig.people["ada"].enabled = False
    elif what == "reused":
        await client.refresh(given)
    else:
        given = "made-up"
    with pytest.raises(ProviderRefused) as error:
        await client.refresh(given)
    assert (error.value.error, error.value.status, error.value.ended) == ("invalid_grant", 400, True)
    assert client.down_since is None


@pytest.mark.parametrize("what", ["code twice", "another verifier", "another address"])
async def test_a_code_is_good_once_for_who_asked_for_it(rig: HostileProvider, client: OidcClient, what: str) -> None:
    code, verifier, address = rig.code_for("ada", BACK, "v" * 43), "v" * 43, BACK
    if what == "code twice":
        await client.exchange(code, BACK, verifier)
    elif what == "another verifier":
        verifier = "w" * 43
    else:
        address = f"{BACK}/x"
    with pytest.raises(ProviderRefused, match="invalid_grant"):
        await client.exchange(code, address, verifier)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, '{"error": "temporarily_unavailable"}', ProviderDown),
        (400, '{"error": "server_error"}', ProviderDown),
        (500, '{"error": "invalid_grant"}', ProviderDown),
        (400, '{"message": "no"}', ProviderWrong),
        (418, '{"error": "invalid_grant"}', ProviderWrong),
        (200, '{"error": "invalid_grant"}', ProviderWrong),
        (400, '{"error": ["invalid_grant"]}', ProviderRefused),
        (403, '{"error": "access_denied"}', ProviderRefused),
    ],
)
async def test_only_a_clear_no_ends_a_grant(
    rig: HostileProvider, client: OidcClient, status: int, body: str, kind: type[ProviderError]
) -> None:
    tokens = await rig.tokens_of(client, "ada")
    rig.faults["token"] = Fault(status=status, body=body)
    with pytest.raises(ProviderError) as error:
        await client.refresh(tokens.refresh)
    assert type(error.value) is kind
    assert not (isinstance(error.value, ProviderRefused) and error.value.ended)


@pytest.mark.parametrize(("status", "error"), [(401, "invalid_token"), (403, "insufficient_scope")], ids=["401", "403"])
async def test_userinfo_refuses(rig: HostileProvider, client: OidcClient, status: int, error: str) -> None:
    await client.metadata()
    rig.faults["userinfo"] = Fault(status=status, body="")
    with pytest.raises(ProviderRefused) as refused:
        await client.userinfo("some-token")
    assert (refused.value.error, refused.value.status) == (error, status)


async def test_signed_userinfo_is_named(rig: HostileProvider, client: OidcClient) -> None:
    rig.faults["userinfo"] = Fault(body="eyJ.eyJ.sig", headers={"Content-Type": "application/jwt"})
    with pytest.raises(ProviderWrong, match="signed"):
        await client.userinfo("some-token")


async def test_a_provider_without_userinfo(rig: HostileProvider, client: OidcClient) -> None:
    rig.discovery = {"userinfo_endpoint": DROP, "end_session_endpoint": DROP}
    with pytest.raises(ProviderWrong, match="userinfo_endpoint"):
        await client.userinfo("some-token")
    assert (await client.metadata()).end_session_endpoint == ""


async def test_a_token_of_a_mixed_up_issuer(rig: HostileProvider, client: OidcClient, clock: Clock) -> None:
    with HostileProvider() as other:
        other.clock = clock
        other.id_claims = {"iss": rig.issuer}
        with pytest.raises(TokenRefused):
            await client.id_claims(other.id_token("ada", nonce="n"), "n")


# --- the other way to the provider


async def test_calls_go_the_inner_way_and_browsers_the_public_one(clock: Clock) -> None:
    public = "https://id.example.org/realms/school"
    with HostileProvider(public) as rig:
        rig.clock = clock
        rig.add_client("aihub", SECRET, [BACK])
        provider = rig.provider(internal_url=rig.address)
        client = OidcClient(provider, lambda: SECRET, clock=clock)
        tokens = await rig.tokens_of(client, "ada")
        assert (await client.id_claims(tokens.id, "nonce-1"))["iss"] == public
        assert (await client.userinfo(tokens.access))["sub"] == "sub-ada"
        metadata = await client.metadata()
    assert metadata.authorization_endpoint.startswith("https://id.example.org/")
    assert metadata.end_session_endpoint.startswith("https://id.example.org/")


async def test_addresses_of_other_hosts_are_not_rewritten(clock: Clock) -> None:
    public = "https://id.example.org/realms/school"
    with HostileProvider(public) as rig:
        rig.discovery = {"userinfo_endpoint": "https://localhost:1/userinfo"}
        client = OidcClient(rig.provider(internal_url=rig.address), lambda: SECRET, clock=clock)
        with pytest.raises(ProviderDown):
            await client.userinfo("some-token")
        assert rig.count("userinfo") == 0


async def test_an_inner_address_may_stand_in_discovery(clock: Clock) -> None:
    """Keycloak with hostname-backchannel-dynamic."""
    public = "https://id.example.org/realms/school"
    with HostileProvider(public) as rig:
        rig.clock = clock
        rig.add_client("aihub", SECRET, [BACK])
        inner = f"{rig.address}/realms/school/protocol/openid-connect"
        rig.discovery = {"token_endpoint": f"{inner}/token", "jwks_uri": f"{inner}/certs"}
        client = OidcClient(rig.provider(internal_url=rig.address), lambda: SECRET, clock=clock)
        tokens = await rig.tokens_of(client, "ada")
        assert (await client.id_claims(tokens.id, "nonce-1"))["iss"] == public


# --- what must never be seen


class Seen(logging.Handler):
    """Everything that is logged, with the tracebacks."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text += logging.Formatter().format(record)


@pytest.fixture
def seen() -> Iterator[Seen]:
    handler, root = Seen(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.setLevel(level)
    root.removeHandler(handler)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(None, id="all is well"),
        *(pytest.param(each.values[0], id=each.id) for each in BROKEN),
        pytest.param(Fault(status=400, body='{"error": "invalid_grant", "error_description": "ECHO"}'), id="an echo"),
        pytest.param(Fault(status=400, body='{"error": "ECHO", "error_description": "no ECHO"}'), id="an echo as code"),
        pytest.param(Fault(status=400, body='{"error": "wordysecretofletters"}'), id="an echo alone as code"),
        pytest.param(Fault(body="ECHO"), id="an echo that is no JSON"),
        pytest.param(Fault(body='{"access_token": "ECHO\\n", "token_type": "Bearer"}'), id="an echo as token"),
        pytest.param(Fault(status=302, headers={"Location": "/?ECHO"}), id="an echo as address"),
    ],
)
async def test_no_text_holds_a_secret(
    rig: HostileProvider, clock: Clock, seen: Seen, fault: Fault | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, code, verifier = "wordysecretofletters", rig.code_for("ada", BACK, "v" * 43, nonce="n"), "v" * 43
    rig.clients["aihub"].secret = secret
    http = Http()
    client = OidcClient(rig.provider(), lambda: secret, clock=clock, fetch=http)
    await client.metadata()
    hidden = [secret, code, verifier]
    if fault is not None:
        echo = " ".join(hidden)
        body = fault.body.replace("ECHO", echo) if isinstance(fault.body, str) else fault.body
        headers = {name: value.replace("ECHO", code) for name, value in fault.headers.items()}
        rig.faults["token"] = Fault(**{**vars(fault), "body": body, "headers": headers})
    try:
        with patience(http, fault):
            tokens = await client.exchange(code, BACK, verifier)
        hidden += [tokens.access, tokens.refresh, tokens.id]
        said = f"{tokens} {tokens!r} {[tokens]}"
        await client.id_claims(tokens.id, "n")
    except ProviderError as error:
        logging.getLogger("test").exception("refused")
        said = f"{error} {error!r} {error.args} {vars(error)}"
    assert [each for each in hidden if each in said + seen.text] == []


def test_tokens_are_kept_and_read_back() -> None:
    tokens = Tokens("a", "r", "i", 17.5, "openid")
    assert Tokens.from_dict(tokens.as_dict()) == tokens
    assert repr(tokens) == "Tokens(expires_at=17.5, scope='openid')"


def test_what_discovery_says_of_a_full_provider() -> None:
    with HostileProvider("https://id.example.org/realms/school") as rig:
        metadata = Metadata.of(rig.metadata(), rig.provider())
    assert metadata.names_issuer
    assert metadata.back_channel_logout
    assert metadata.code_challenges == ("plain", "S256")
