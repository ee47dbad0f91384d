"""The hub's calls to GitHub, against a server that answers as GitHub's own description says."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest

from aihub.calls import Http
from aihub.github import GitHubClient
from aihub.provider import ProviderDown, ProviderError, ProviderRefused, ProviderWrong, Tokens
from tests.github_rig import Account, Fault, GitHubRig, complaints

NOW = 1_800_000_000.0


class Clock:
    """A clock that stands until a test moves it."""

    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def rig() -> Iterator[GitHubRig]:
    with GitHubRig() as github:
        yield github


@pytest.fixture
def client(rig: GitHubRig, clock: Clock) -> GitHubClient:
    return GitHubClient(rig.provider(), lambda: rig.secret, clock=clock)


def teams_of(count: int) -> dict[str, list[str]]:
    return {"my-school": [f"team-{number}" for number in range(count)]}


async def test_who_somebody_is(rig: GitHubRig, client: GitHubClient) -> None:
    tokens = await rig.tokens_of(client, "teacher")
    identity = await client.identity(tokens)
    assert (identity.issuer, identity.subject, identity.name) == (rig.address, "8", "teacher")
    assert identity.groups == {
        "my-school", "my-school:ml101-staff", "my-school:everybody", "elsewhere", "elsewhere:ml101-staff",
    }  # fmt: skip
    assert tokens.refresh == ""
    assert tokens.expires_at is None
    asked = next(each for each in rig.sent if each.endpoint == "user")
    assert asked.headers["x-github-api-version"] == "2022-11-28"
    assert asked.headers["user-agent"] == "AIHub"


async def test_teams_of_other_organizations_are_left_out(rig: GitHubRig) -> None:
    client = GitHubClient(rig.provider(organizations=("My-School",)), lambda: rig.secret)
    identity = await client.identity(await rig.tokens_of(client, "teacher"))
    assert identity.groups == {"my-school", "my-school:ml101-staff", "my-school:everybody"}


async def test_somebody_without_organizations(rig: GitHubRig, client: GitHubClient) -> None:
    rig.accounts["octocat"].private = False
    assert (await client.identity(await rig.tokens_of(client, "octocat"))).groups == frozenset()


async def test_the_rig_answers_as_github_describes(rig: GitHubRig, client: GitHubClient) -> None:
    for login in rig.accounts:
        await client.identity(await rig.tokens_of(client, login))
    rig.accounts["octocat"].private = False
    await client.identity(await rig.tokens_of(client, "octocat"))
    revoked = await rig.tokens_of(client, "ada")
    rig.revoke("ada")
    with pytest.raises(ProviderRefused):
        await client.identity(revoked)
    assert {status for _, status, _ in rig.answered} == {200, 401}
    assert [each for answer in rig.answered for each in complaints(*answer)] == []


def test_the_description_complains_of_other_answers() -> None:
    rig_user = {"login": "ada", "id": "7"}
    assert complaints("/user", 200, rig_user)
    assert complaints("/user/teams", 200, [{"slug": "x"}])
    assert complaints("/user/orgs", 200, {})


# --- pages


@pytest.mark.parametrize(("count", "size", "pages"), [(0, 100, 1), (100, 100, 1), (101, 100, 2), (250, 7, 36)])
async def test_every_page_is_read(rig: GitHubRig, client: GitHubClient, count: int, size: int, pages: int) -> None:
    rig.accounts["ada"], rig.page_size = Account(7, teams_of(count)), size
    identity = await client.identity(await rig.tokens_of(client, "ada"))
    assert len(identity.groups) == count + 1
    assert rig.count("teams") == pages


async def test_there_is_an_end_to_pages(rig: GitHubRig, client: GitHubClient) -> None:
    rig.accounts["ada"], rig.page_size = Account(7, teams_of(51)), 1
    tokens = await rig.tokens_of(client, "ada")
    with pytest.raises(ProviderWrong, match="more than 50"):
        await client.identity(tokens)
    assert rig.count("teams") == 50


LINKS = [
    pytest.param('<https://evil.example/api/v3/user/teams?page=2>; rel="next"', "another host", id="another host"),
    pytest.param('<http://127.0.0.1:1/user/teams?page=2>; rel="next"', "another host", id="another port"),
    pytest.param('<http://127.0.0.1:PORT@evil.example/>; rel="next"', "another host", id="a host for a user"),
    pytest.param('<//evil.example/>; rel="next"', "another host", id="no scheme"),
    pytest.param('</user/teams?page=2>; rel="next"', "another host", id="a path only"),
    pytest.param('<file:///etc/passwd>; rel="next"', "another host", id="a file"),
    pytest.param('<ADDRESS/api/v3/user/teams?per_page=100>; rel="next"', "twice", id="the same page again"),
]


@pytest.mark.parametrize(("link", "problem"), LINKS)
async def test_the_token_goes_to_no_other_host(rig: GitHubRig, client: GitHubClient, link: str, problem: str) -> None:
    port = rig.address.rpartition(":")[2]
    tokens = await rig.tokens_of(client, "teacher")
    rig.link = lambda _: link.replace("ADDRESS", rig.address).replace("PORT", port)
    if problem == "twice":
        rig.faults["orgs"] = Fault(body="[]")
    with pytest.raises(ProviderWrong, match=problem):
        await client.identity(tokens)


@pytest.mark.parametrize(
    ("link", "pages"),
    [
        pytest.param("<ADDRESS/api/v3/user/teams?page=2>; rel=next", 2, id="without quotes"),
        pytest.param('<ADDRESS/api/v3/user/teams?page=2>; title="a; b"; rel="last next"', 2, id="two relations"),
        pytest.param('<ADDRESS/api/v3/user/teams?page=2>; REL="NEXT"', 2, id="capitals"),
        pytest.param('<ADDRESS/api/v3/user/teams?page=2>; rel="prev"', 1, id="another relation"),
        pytest.param('<ADDRESS/api/v3/user/teams?page=2>; rel="nextish"', 1, id="a longer word"),
        pytest.param('<ADDRESS/api/v3/user/teams?page=2>; xrel="next"', 1, id="another parameter"),
        pytest.param("next", 1, id="no address"),
    ],
)
async def test_links_as_they_may_be_written(rig: GitHubRig, client: GitHubClient, link: str, pages: int) -> None:
    tokens = await rig.tokens_of(client, "ada")
    rig.link = lambda _: link.replace("ADDRESS", rig.address) if rig.count("teams") == 1 else ""
    await client.identity(tokens)
    assert rig.count("teams") == pages


# --- what goes wrong


@pytest.mark.parametrize("endpoint", ["user", "orgs", "teams"])
@pytest.mark.parametrize(
    ("fault", "kind", "wait"),
    [
        pytest.param(Fault(status=403, headers={"Retry-After": "17"}), ProviderDown, 17, id="secondary limit"),
        pytest.param(
            Fault(status=403, headers={"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": f"{NOW + 90:.0f}"}),
            ProviderDown,
            90,
            id="limit",
        ),
        pytest.param(
            Fault(status=429, headers={"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": f"{NOW + 9000:.0f}"}),
            ProviderDown,
            300,
            id="limit, for hours",
        ),
        pytest.param(
            Fault(status=403, body='{"message": "You have exceeded a secondary rate limit."}'),
            ProviderDown,
            60,
            id="secondary limit in words",
        ),
        pytest.param(Fault(status=429), ProviderDown, 60, id="429"),
        pytest.param(Fault(status=502, body="<html>Unicorn!"), ProviderDown, None, id="502"),
        pytest.param(Fault(hang_up=True), ProviderDown, None, id="hangs up"),
        pytest.param(Fault(delay=30), ProviderDown, None, id="no answer in time"),
        pytest.param(Fault(status=404, body='{"message": "Not Found"}'), ProviderWrong, None, id="404"),
        pytest.param(Fault(status=301, headers={"Location": "https://evil.example"}), ProviderWrong, None, id="moved"),
        pytest.param(Fault(body="<html>"), ProviderWrong, None, id="HTML"),
        pytest.param(Fault(body='"x"'), ProviderWrong, None, id="a string"),
        pytest.param(Fault(body="[7]"), ProviderWrong, None, id="a list of numbers"),
        pytest.param(Fault(size=2 << 20), ProviderWrong, None, id="too large"),
        pytest.param(Fault(status=403, body='{"message": "Forbidden"}'), ProviderRefused, None, id="403"),
    ],
)
async def test_an_identity_is_whole_or_none(
    rig: GitHubRig, client: GitHubClient, endpoint: str, fault: Fault, kind: type[ProviderError], wait: float | None
) -> None:
    if fault.delay:
        client = GitHubClient(rig.provider(), lambda: rig.secret, clock=client._clock, fetch=Http(total=3))
    tokens = await rig.tokens_of(client, "ada")
    other = await rig.tokens_of(client, "teacher")
    rig.faults[endpoint] = fault
    with pytest.raises(ProviderError) as error:
        await client.identity(tokens)
    assert type(error.value) is kind
    assert getattr(error.value, "retry_after", None) == wait
    assert not getattr(error.value, "ended", False)
    del rig.faults[endpoint]
    assert (await client.identity(other)).name == "teacher"
    assert client.down_since is None


async def test_a_revoked_token_ends_the_grant(rig: GitHubRig, client: GitHubClient) -> None:
    tokens = await rig.tokens_of(client, "ada")
    rig.revoke("ada")
    with pytest.raises(ProviderRefused) as error:
        await client.identity(tokens)
    assert (error.value.error, error.value.status, error.value.ended) == ("invalid_grant", 401, True)
    assert client.down_since is None


async def test_github_away_and_back(rig: GitHubRig, client: GitHubClient, clock: Clock) -> None:
    tokens = await rig.tokens_of(client, "ada")
    rig.stop()
    for _ in range(2):
        with pytest.raises(ProviderDown, match="refused"):
            await client.identity(tokens)
    with pytest.raises(ProviderDown, match="left alone"):
        await client.identity(tokens)
    assert (client.down_since, client.last_answer) == (NOW, NOW)
    rig.start()
    clock.now += 1
    await client.identity(tokens)
    assert (client.down_since, client.last_answer) == (None, NOW + 1)


# --- the exchange


def test_where_the_browser_is_sent(rig: GitHubRig, client: GitHubClient) -> None:
    address = urlsplit(client.authorize_url("https://hub.example.org/hub/oauth_callback", "st&1", "challenge"))
    assert f"{address.scheme}://{address.netloc}{address.path}" == f"{rig.address}/login/oauth/authorize"
    assert {key: value for key, [value] in parse_qs(address.query).items()} == {
        "client_id": "Iv1.rig",
        "redirect_uri": "https://hub.example.org/hub/oauth_callback",
        "scope": "read:org",
        "state": "st&1",
        "code_challenge": "challenge",
        "code_challenge_method": "S256",
    }


BACK = "http://127.0.0.1:8000/hub/oauth_callback"


@pytest.mark.parametrize(
    ("change", "error", "ended"),
    [
        pytest.param("code", "invalid_grant", True, id="a made-up code"),
        pytest.param("verifier", "invalid_grant", True, id="another verifier"),
        pytest.param("redirect", "redirect_uri_mismatch", False, id="another address"),
        pytest.param("secret", "invalid_client", False, id="a wrong secret"),
        pytest.param("client", "invalid_client", False, id="an unknown client"),
    ],
)
async def test_errors_come_with_status_200(rig: GitHubRig, change: str, error: str, ended: bool) -> None:
    provider = rig.provider(client_id="Iv1.other" if change == "client" else "Iv1.rig")
    client = GitHubClient(provider, lambda: "wrong" if change == "secret" else rig.secret)
    code = "0" * 20 if change == "code" else rig.code_for("ada", BACK, "x" * 43 if change == "verifier" else "")
    with pytest.raises(ProviderRefused) as refused:
        await client.exchange(code, f"{BACK}/x" if change == "redirect" else BACK, "v" * 43)
    assert (refused.value.error, refused.value.ended) == (error, ended)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        pytest.param(Fault(status=503), ProviderDown, id="503"),
        pytest.param(Fault(body="error=bad_verification_code"), ProviderWrong, id="a form for JSON"),
        pytest.param(Fault(status=422, body="{}"), ProviderWrong, id="422"),
        pytest.param(Fault(body='{"access_token": "x y", "token_type": "bearer"}'), ProviderWrong, id="no token"),
        pytest.param(Fault(body='{"error": 7}'), ProviderRefused, id="a number for an error"),
    ],
)
async def test_an_exchange_that_breaks(
    rig: GitHubRig, client: GitHubClient, fault: Fault, kind: type[ProviderError]
) -> None:
    rig.faults["token"] = fault
    with pytest.raises(ProviderError) as error:
        await client.exchange(rig.code_for("ada", BACK, ""), BACK, "v" * 43)
    assert type(error.value) is kind


async def test_the_tokens_of_a_github_app_are_renewed(rig: GitHubRig, client: GitHubClient, clock: Clock) -> None:
    granted = {"access_token": "ghu_x", "refresh_token": "ghr_y", "expires_in": 28800, "token_type": "bearer"}
    rig.faults["token"] = Fault(body=json.dumps(granted))
    tokens = await client.refresh("ghr_x")
    assert tokens == Tokens("ghu_x", "ghr_y", "", clock.now + 28800, "")
    asked = next(each for each in rig.sent if each.endpoint == "token").form
    assert (asked["grant_type"], asked["refresh_token"]) == ("refresh_token", "ghr_x")


async def test_no_text_holds_a_secret(rig: GitHubRig, client: GitHubClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    code = rig.code_for("ada", BACK, "")
    tokens = await client.exchange(code, BACK, "v" * 43)
    rig.revoke("ada")
    with pytest.raises(ProviderRefused) as error:
        await client.identity(tokens)
    said = f"{error.value!r} {vars(error.value)} {tokens!r} {caplog.text}"
    assert [each for each in (rig.secret, code, tokens.access) if each in said] == []
