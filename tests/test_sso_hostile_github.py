"""A hostile GitHub, and hostile browsers on the way to it, on a real hub: nobody comes in by what cannot be right."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest

from aihub.calls import Http
from aihub.identity import SignInReason
from tests.github_rig import Account, Fault, GitHubRig
from tests.sso_hub import HubInProcess
from tests.sso_scene import Scene

pytestmark = pytest.mark.local

POLICY = """
imageStreams:
  plain: {{tags: {{"1": {{requirements: []}}}}}}
profiles:
  small: {{cpu: 1, memory: 1Gi}}
projects:
  lab:
    members: {{groups: ["my-school:ml101-students"]}}
    images: {{offer: [plain], default: "plain:1"}}
    profiles: {{offer: [small], default: small}}
signIn:
  method: github
  github: {{clientId: Iv1.rig, url: "{url}", apiUrl: "{api}", organizations: [my-school]}}
  admins: {{groups: ["my-school:ml101-staff"]}}
"""
DOWN, WRONG, USED = SignInReason.PROVIDER_DOWN, SignInReason.PROVIDER_WRONG, SignInReason.STATE_USED
CLAIMS, OUTSIDE, MISSING = SignInReason.CLAIMS_UNUSABLE, SignInReason.NOT_ALLOWED, SignInReason.STATE_MISSING

GitHubScene = Scene[GitHubRig]


@pytest.fixture(scope="module")
def github() -> Iterator[GitHubRig]:
    with GitHubRig() as rig:
        rig.accounts["mallory"] = Account(66, {"my-school": ["ml101-students"]})
        rig.accounts["stranger"] = Account(67, {"elsewhere": ["ml101-staff"], "my-school-2": ["ml101-staff"]})
        yield rig


@pytest.fixture(scope="module")
def hub(github: GitHubRig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubInProcess]:
    folder = tmp_path_factory.mktemp("hub")
    policy = folder / "policy.yaml"
    policy.write_text(POLICY.format(url=github.address, api=github.api))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIHUB_CLIENT_SECRET", github.secret)
        with HubInProcess(folder, policy) as running:
            assert github._thread is not None
            running.log.others.add(github._thread.name)
            github.redirect_uris = [running.callback]
            yield running


@pytest.fixture
def scene(github: GitHubRig, hub: HubInProcess) -> Iterator[GitHubScene]:
    hub.forget_provider()
    github.faults.clear()
    github.sent.clear()
    github.page_size, github.link = 100, lambda right: right
    made = Scene(github, hub, github.secret)
    yield made
    made.close()


def test_github_is_right_until_a_test_says_otherwise(scene: GitHubScene) -> None:
    ada = scene.browser()
    answer = scene.sign_in("ada", ada)
    assert (answer.status_code, answer.url.path) == (200, "/hub/home")
    said = ada.get(f"{scene.hub.url}/api/user").json()
    assert (said["name"], sorted(said["groups"]), said["admin"]) == (
        "ada",
        ["my-school", "my-school:ml101-students"],
        False,
    )
    scene.assert_nothing_told(answer)


# --- what GitHub answers ---------------------------------------------------------------------------------------------

FAULTS: dict[str, tuple[SignInReason, Fault]] = {
    "500": (DOWN, Fault(500)),
    "503 with a time": (DOWN, Fault(503, headers={"Retry-After": "7"})),
    "429": (DOWN, Fault(429)),
    "nothing": (DOWN, Fault(hang_up=True)),
    "redirect": (WRONG, Fault(302, headers={"Location": "/api/v3/user"})),
    "redirect elsewhere": (WRONG, Fault(307, headers={"Location": "https://evil.example.org/"})),
    "HTML": (WRONG, Fault(200, "<!doctype html>", {"Content-Type": "text/html"})),
    "no JSON": (WRONG, Fault(body="{")),
    "deep": (WRONG, Fault(body="[" * 100_000)),
    "a number": (WRONG, Fault(body="7")),
    "huge": (WRONG, Fault(size=3 << 20)),
    "huge, in pieces": (WRONG, Fault(size=3 << 20, chunked=True)),
}


@pytest.mark.parametrize("endpoint", ["token", "user", "orgs", "teams"])
@pytest.mark.parametrize("fault", FAULTS)
def test_an_answer_that_is_none(scene: GitHubScene, endpoint: str, fault: str) -> None:
    reason, done = FAULTS[fault]
    scene.rig.faults[endpoint] = done
    scene.assert_refused(scene.sign_in(), reason)


@pytest.mark.parametrize("endpoint", ["user", "orgs", "teams"])
@pytest.mark.parametrize(
    ("reason", "fault"),
    [
        (DOWN, Fault(403, '{"message": "API rate limit exceeded"}')),
        (DOWN, Fault(403, headers={"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()) + 60)})),
        (WRONG, Fault(403, '{"message": "Resource not accessible"}')),
        (WRONG, Fault(404)),
        (USED, Fault(401, '{"message": "Bad credentials"}')),
    ],
    ids=["too many", "too many by its headers", "forbidden", "not found", "revoked"],
)
def test_an_answer_of_the_api_that_is_none(
    scene: GitHubScene, endpoint: str, reason: SignInReason, fault: Fault
) -> None:
    scene.rig.faults[endpoint] = fault
    scene.assert_refused(scene.sign_in(), reason)


@pytest.mark.parametrize("endpoint", ["token", "user", "orgs", "teams"])
def test_an_answer_that_takes_too_long(scene: GitHubScene, endpoint: str) -> None:
    scene.hub.forget_provider(Http(connect=1, total=1))
    scene.rig.faults[endpoint] = Fault(size=1000, drip=0.2)
    begin = time.monotonic()
    answer = scene.sign_in()
    assert time.monotonic() - begin < 4
    scene.assert_refused(answer, DOWN)


@pytest.mark.parametrize(
    "user",
    [
        {},
        {"login": "mallory"},
        {"id": 66},
        {"login": "mallory", "id": "66"},
        {"login": "mallory", "id": True},
        {"login": "mallory", "id": -7},
        {"login": ["mallory"], "id": 66},
        {"login": "../ada", "id": 66},
        {"login": "a da", "id": 66},
        {"login": "\u0430da", "id": 66},
        {"login": "m" * 300, "id": 66},
    ],
    ids=str,
)
def test_an_account_that_is_none(scene: GitHubScene, user: object) -> None:
    scene.rig.faults["user"] = Fault(body=json.dumps(user))
    scene.assert_refused(scene.sign_in(), CLAIMS)


SCHOOL = {"login": "my-school"}


@pytest.mark.parametrize(
    ("endpoint", "listed"),
    [
        ("orgs", [{"login": 7}]),
        ("orgs", [{"login": "my-school:ml101-staff"}]),
        ("orgs", [{"login": "my school"}]),
        ("orgs", [{}]),
        ("teams", [{"slug": "ml101-staff"}]),
        ("teams", [{"slug": ["ml101-staff"], "organization": SCHOOL}]),
        ("teams", [{"slug": "a/b", "organization": SCHOOL}]),
        ("teams", [{"slug": "a:b", "organization": SCHOOL}]),
        ("teams", [{"slug": "", "organization": SCHOOL}]),
        ("teams", [{"slug": "ml101-staff", "organization": "my-school"}]),
        ("teams", [{"slug": "ml101-staff", "organization": {"login": "my-school:x"}}]),
        ("teams", [{"slug": f"t{number}", "organization": SCHOOL} for number in range(3_000)]),
    ],
    ids=lambda value: str(value)[:70],
)
def test_organizations_and_teams_that_are_none(scene: GitHubScene, endpoint: str, listed: object) -> None:
    scene.rig.faults[endpoint] = Fault(body=json.dumps(listed))
    scene.assert_refused(scene.sign_in(), CLAIMS)


@pytest.mark.parametrize("listed", ["{}", '"my-school"', "null", '["my-school"]', "[[]]"])
@pytest.mark.parametrize("endpoint", ["orgs", "teams"])
def test_a_list_that_is_none(scene: GitHubScene, endpoint: str, listed: str) -> None:
    scene.rig.faults[endpoint] = Fault(body=listed)
    scene.assert_refused(scene.sign_in(), WRONG)


LINKS = {
    "elsewhere": '<https://evil.example.org/user/teams?page=2>; rel="next"',
    "elsewhere, by name": '<http://127.0.0.1@evil.example.org/>; rel="next"',
    "a script": '<javascript:alert(1)>; rel="next"',
    "without a host": '<//evil.example.org/>; rel="next"',
    "round and round": '<{page}>; rel="next"',
}


@pytest.mark.parametrize("link", LINKS.values(), ids=LINKS)
def test_the_next_page_is_githubs_own(scene: GitHubScene, link: str) -> None:
    here = f"{scene.rig.api}/user/orgs?per_page=100"
    scene.rig.link = lambda _: link.format(page=here)
    scene.assert_refused(scene.sign_in(), WRONG)
    assert len([each for each in scene.rig.sent if each.endpoint in {"orgs", "teams"}]) <= 2


def test_an_endless_list_has_an_end(scene: GitHubScene) -> None:
    pages = iter(range(2, 1_000))
    scene.rig.link = lambda _: f'<{scene.rig.api}/user/orgs?per_page=100&page={next(pages)}>; rel="next"'
    scene.assert_refused(scene.sign_in(), WRONG)
    assert len([each for each in scene.rig.sent if each.endpoint == "orgs"]) == 50


@pytest.mark.parametrize(
    ("reason", "answer"),
    [
        (USED, {"error": "bad_verification_code"}),
        (WRONG, {"error": "incorrect_client_credentials"}),
        (WRONG, {"error": "redirect_uri_mismatch"}),
        (WRONG, {"error": ["x"]}),
        (WRONG, {}),
        (WRONG, {"access_token": "", "token_type": "bearer"}),
        (WRONG, {"access_token": ["gho_x"], "token_type": "bearer"}),
        (WRONG, {"access_token": "gho_x\r\nX: y", "token_type": "bearer"}),
        (WRONG, {"access_token": "x", "token_type": "mac"}),
        (USED, {"access_token": "of-nobody", "token_type": "bearer"}),
    ],
    ids=lambda value: str(value)[:60],
)
def test_an_answer_without_a_token(scene: GitHubScene, reason: SignInReason, answer: Mapping[str, Any]) -> None:
    scene.rig.faults["token"] = Fault(body=json.dumps(answer))
    scene.assert_refused(scene.sign_in(), reason)


# --- who comes -------------------------------------------------------------------------------------------------------


def test_an_account_of_other_organizations_is_outside(scene: GitHubScene) -> None:
    """Teams of the same name elsewhere, and an organization that begins alike."""
    scene.assert_refused(scene.sign_in("stranger"), OUTSIDE)
    scene.assert_refused(scene.sign_in("octocat"), OUTSIDE)


def test_a_login_that_was_somebody_elses_is_not_theirs(scene: GitHubScene) -> None:
    assert scene.sign_in("ada").url.path == "/hub/home"
    scene.count_people()
    scene.rig.faults["user"] = Fault(body=json.dumps({**scene.rig.user("ada"), "id": 1_000_000, "login": "ADA"}))
    scene.assert_refused(scene.sign_in("mallory"), SignInReason.NAME_TAKEN)


def test_a_token_that_becomes_somebody_elses_ends_it(scene: GitHubScene) -> None:
    ada = scene.browser()
    scene.sign_in("ada", ada)
    scene.rig.faults["user"] = Fault(body=json.dumps(scene.rig.user("teacher")))
    assert scene.ask_again(ada).status_code == 403
    scene.assert_nothing_told()


@pytest.mark.parametrize("endpoint", ["user", "orgs", "teams"])
@pytest.mark.parametrize("fault", ["500", "429", "nothing", "HTML", "huge", "redirect elsewhere"])
def test_an_outage_changes_nothing(scene: GitHubScene, endpoint: str, fault: str) -> None:
    ada = scene.browser()
    scene.sign_in("ada", ada)
    scene.rig.faults[endpoint] = FAULTS[fault][1]
    for _ in range(2):
        answer = scene.ask_again(ada)
        assert (answer.status_code, sorted(answer.json()["groups"])) == (200, ["my-school", "my-school:ml101-students"])
    scene.assert_nothing_told(answer)


def test_tokens_that_expire_are_renewed(scene: GitHubScene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of GitHub Apps; each refresh token is good for one use."""
    given: list[str] = []
    right = scene.rig.redeem

    def redeem(form: Mapping[str, str]) -> dict[str, Any]:
        if form.get("grant_type") == "refresh_token":
            if form["refresh_token"] != f"ghr_{len(given)}":
                return {"error": "bad_refresh_token"}
            answer = {"access_token": given[-1], "token_type": "bearer"}
        else:
            answer = right(form)
        given.append(answer["access_token"])
        return {**answer, "refresh_token": f"ghr_{len(given)}", "expires_in": 28800}

    monkeypatch.setattr(scene.rig, "redeem", redeem)
    ada = scene.browser()
    scene.sign_in("ada", ada)
    scene.rig.faults["teams"] = Fault(500)
    assert scene.ask_again(ada).status_code == 200
    scene.rig.faults.clear()
    scene.hub.forget_provider()
    assert scene.ask_again(ada).status_code == 200
    assert len(given) == 3
    scene.assert_nothing_told()


# --- what browsers bring back ----------------------------------------------------------------------------------------


def test_the_answer_of_somebody_else_signs_nobody_in(scene: GitHubScene) -> None:
    stranger, victim = scene.browser(), scene.browser()
    back = scene.way_back("mallory", stranger)
    scene.way_back("ada", victim)
    scene.assert_refused(victim.get(back), MISSING, by=victim)
    assert not [each for each in scene.rig.sent if each.endpoint == "token"]


def test_the_code_of_somebody_else_is_worth_nothing(scene: GitHubScene) -> None:
    thief, victim = scene.browser(), scene.browser()
    stolen = parse_qs(urlsplit(scene.way_back("ada", victim)).query)["code"][0]
    own = parse_qs(urlsplit(scene.way_back("mallory", thief)).query)
    query = urlencode({"state": own["state"][0], "code": stolen})
    scene.assert_refused(thief.get(f"{scene.hub.callback}?{query}"), USED, by=thief)


@pytest.mark.parametrize(
    ("reason", "query"),
    [
        (SignInReason.CANCELLED, {"error": "access_denied"}),
        (WRONG, {"error": "redirect_uri_mismatch"}),
        (WRONG, {"error": "application_suspended", "error_description": "<script>alert(1)</script>"}),
        (WRONG, {}),
    ],
    ids=str,
)
def test_an_answer_without_a_code(scene: GitHubScene, reason: SignInReason, query: dict[str, str]) -> None:
    browser = scene.browser()
    state = parse_qs(urlsplit(scene.way_back("mallory", browser)).query)["state"][0]
    answer = browser.get(f"{scene.hub.callback}?{urlencode({'state': state, **query})}")
    scene.assert_refused(answer, reason)
    assert "<script>alert" not in answer.text


def test_github_tells_of_no_logouts(scene: GitHubScene) -> None:
    answer = httpx.post(f"{scene.hub.url}/aihub/back-channel-logout", data={"logout_token": "a.b.c"})
    assert answer.status_code == 404
