"""A hostile provider, and hostile browsers, on a real hub: each is refused with a page that says why, and gets nothing.

Nothing is: no session, no user of the hub, no name that belongs to somebody from now on, no word in the log that is
worth anything. What may be believed of a token or a claim is told in tests/test_tokens.py and tests/test_claims.py;
here it is that no way leads around it.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, quote_from_bytes, unquote, urlencode, urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tornado.web import create_signed_value

from aihub.app import AIHub
from aihub.calls import Http
from aihub.handlers.sso import BEGUN, PATIENCE, STATUS, TABS, Trip
from aihub.identity import MAX_GROUPS, SignInReason
from tests.provider_rig import DROP, Fault, HostileProvider, Signing
from tests.sso_hub import HubInProcess
from tests.sso_scene import SESSION_COOKIES, Scene

pytestmark = pytest.mark.local

SECRET = "the-secret-of-the-client"
POLICY = """
imageStreams:
  plain: {{tags: {{"1": {{requirements: []}}}}}}
profiles:
  small: {{cpu: 1, memory: 1Gi}}
projects:
  lab:
    members: {{groups: [/courses/ml101/students]}}
    images: {{offer: [plain], default: "plain:1"}}
    profiles: {{offer: [small], default: small}}
signIn:
  method: keycloak
  keycloak: {{issuer: "{issuer}", clientId: aihub}}
  allowed: {{groups: [/courses/**]}}
  admins: {{groups: [/staff/hub-admins]}}
"""
WRONG, DOWN, TOKEN, CLAIMS, NAME = (
    SignInReason.PROVIDER_WRONG,
    SignInReason.PROVIDER_DOWN,
    SignInReason.TOKEN_REFUSED,
    SignInReason.CLAIMS_UNUSABLE,
    SignInReason.NAME_UNUSABLE,
)
MISSING, USED = SignInReason.STATE_MISSING, SignInReason.STATE_USED


@pytest.fixture(scope="module")
def provider() -> Iterator[HostileProvider]:
    with HostileProvider() as rig:
        yield rig


@pytest.fixture(scope="module")
def hub(provider: HostileProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubInProcess]:
    folder = tmp_path_factory.mktemp("hub")
    policy = folder / "policy.yaml"
    policy.write_text(POLICY.format(issuer=provider.issuer))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIHUB_CLIENT_SECRET", SECRET)
        with HubInProcess(folder, policy) as running:
            assert provider._thread is not None
            running.log.others.add(provider._thread.name)
            provider.add_client("aihub", SECRET, [running.callback])
            provider.add_person("mallory", groups=["/courses/ml101/students"], email="mallory@example.org")
            yield running


CHANGES = ("discovery", "id_claims", "access_claims", "userinfo_claims", "logout_claims", "token_answer", "callback")


@pytest.fixture
def scene(provider: HostileProvider, hub: HubInProcess) -> Iterator[Scene[HostileProvider]]:
    hub.forget_provider()
    for changes in CHANGES:
        setattr(provider, changes, {})
    provider.faults.clear()
    provider.sent.clear()
    provider.signing, provider.more_keys, provider.published = Signing(), [], None
    made = Scene(provider, hub, SECRET)
    yield made
    made.close()


def test_the_provider_is_right_until_a_test_says_otherwise(scene: Scene[HostileProvider]) -> None:
    answer = scene.sign_in("ada")
    assert (answer.status_code, answer.url.path) == (200, "/hub/home")
    assert "ada" in scene.hub.users()
    scene.assert_nothing_told(answer)


# --- what the provider's tokens say ----------------------------------------------------------------------------------


def later(seconds: float) -> Callable[[float], float]:
    return lambda moment: moment + seconds


TOKENS: dict[str, dict[str, Any]] = {
    "issuer of another": {"id_claims": {"iss": "https://evil.example.org"}},
    "issuer missing": {"id_claims": {"iss": DROP}},
    "for another client": {"id_claims": {"aud": "other"}},
    "for others too, by nobody": {"id_claims": {"aud": ["aihub", "other"], "azp": DROP}},
    "made for another client": {"id_claims": {"azp": "other"}},
    "nonce of another": {"id_claims": {"nonce": "another"}},
    "nonce missing": {"id_claims": {"nonce": DROP}},
    "nonce a list": {"id_claims": {"nonce": lambda nonce: [nonce]}},
    "too old": {"id_claims": {"exp": later(-3600)}},
    "never too old": {"id_claims": {"exp": DROP}},
    "not yet": {"id_claims": {"nbf": lambda _: time.time() + 600}},
    "from the future": {"id_claims": {"iat": later(600)}},
    "of nobody": {"id_claims": {"sub": DROP}},
    "of a number": {"id_claims": {"sub": 7}},
    "a logout token": {"id_claims": {"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}},
    "an access token by its kind": {"id_claims": {"typ": "Bearer"}},
    "alg none": {"signing": Signing("none")},
    "alg none, once signed": {"signing": Signing(header={"alg": "none"})},
    "alg HS256 by the public key": {"signing": Signing("HS256")},
    "alg of another family": {"signing": Signing(header={"alg": "ES256"})},
    "alg missing": {"signing": Signing(header={"alg": DROP})},
    "signed by a stranger": {"signing": Signing(foreign=True)},
    "signature spoilt": {"signing": Signing(spoil=True)},
    "key of a stranger": {"signing": Signing(header={"kid": "unheard-of"})},
    "key brought along": {"signing": Signing(foreign=True, header={"jwk": {"kty": "RSA"}})},
    "key elsewhere": {"signing": Signing(foreign=True, header={"jku": "https://evil.example.org/keys"})},
    "certificate brought along": {"signing": Signing(foreign=True, header={"x5c": ["MII"]})},
    "critical header": {"signing": Signing(header={"crit": ["exp"]})},
    "kind of another": {"signing": Signing(header={"typ": "logout+jwt"})},
    "no token": {"token_answer": {"id_token": "no.token"}},
    "token of two parts": {"token_answer": {"id_token": lambda token: token.rpartition(".")[0]}},
    "token without signature": {"token_answer": {"id_token": lambda token: token.rpartition(".")[0] + "."}},
    "access token for ID token": {"token_answer": {"id_token": lambda _: ACCESS_TOKEN}},
}
ACCESS_TOKEN = "put in by the test"


def set_up(rig: HostileProvider, wrong: dict[str, Any]) -> None:
    for name, value in wrong.items():
        setattr(rig, name, value)


@pytest.mark.parametrize("wrong", TOKENS.values(), ids=TOKENS)
def test_a_token_that_proves_nothing(scene: Scene[HostileProvider], wrong: dict[str, Any]) -> None:
    set_up(scene.rig, wrong)
    if wrong.get("token_answer", {}).get("id_token") is TOKENS["access token for ID token"]["token_answer"]["id_token"]:
        scene.rig.token_answer = {"id_token": scene.rig.access_token("mallory")}
    scene.assert_refused(scene.sign_in(), TOKEN)


def test_a_token_that_was_for_another_sign_in(scene: Scene[HostileProvider]) -> None:
    """The ID token of one round trip in the answer of another: of the same person, good in itself."""
    taken: list[str] = []

    def keep(token: str) -> str:
        taken.append(token)
        return "no.token"

    scene.rig.token_answer = {"id_token": keep}
    scene.assert_refused(scene.sign_in(), TOKEN)
    scene.rig.token_answer = {"id_token": taken[0]}
    scene.assert_refused(scene.sign_in(), TOKEN)
    assert "nonce" in scene.log()


def test_a_token_too_large_to_be_one(scene: Scene[HostileProvider]) -> None:
    scene.rig.id_claims = {"padding": "x" * 70_000}
    scene.assert_refused(scene.sign_in(), TOKEN, WRONG)


# --- what the provider says of somebody ------------------------------------------------------------------------------

PEOPLE: dict[str, tuple[SignInReason, dict[str, Any]]] = {
    "groups a string": (CLAIMS, {"groups": "/courses/ml101/students"}),
    "groups a number": (CLAIMS, {"groups": 7}),
    "groups null": (CLAIMS, {"groups": None}),
    "groups an object": (CLAIMS, {"groups": {"/courses/ml101/students": True}}),
    "groups nested": (CLAIMS, {"groups": [["/courses/ml101/students"]]}),
    "groups of objects": (CLAIMS, {"groups": [{"path": "/courses/ml101/students"}]}),
    "groups with nothing": (CLAIMS, {"groups": ["/courses/ml101/students", ""]}),
    "groups with a line break": (CLAIMS, {"groups": ["/courses/ml101/students\n"]}),
    "groups like roles": (CLAIMS, {"groups": ["role:hub-admin"]}),
    "2,500 groups": (CLAIMS, {"groups": [f"/courses/{number}" for number in range(2_500)]}),
    "subject a list": (TOKEN, {"sub": ["sub-mallory"]}),
    "session a number": (CLAIMS, {"sid": 7}),
    "name missing": (NAME, {"preferred_username": DROP}),
    "name empty": (NAME, {"preferred_username": ""}),
    "name a number": (NAME, {"preferred_username": 7}),
    "name a list": (NAME, {"preferred_username": ["mallory"]}),
    "name a way up": (NAME, {"preferred_username": ".."}),
    "name a way down": (NAME, {"preferred_username": "mallory/../ada"}),
    "name with a space": (NAME, {"preferred_username": " mallory"}),
    "name with a break": (NAME, {"preferred_username": "mallory\nada"}),
    "name with nothing in it": (NAME, {"preferred_username": "ada\u200b"}),
    "name half a character": (NAME, {"preferred_username": "\ud800"}),
    "name too long": (NAME, {"preferred_username": "m" * 256}),
    "name with markup is somebody else": (SignInReason.NOT_ALLOWED, {"preferred_username": "<b>", "groups": []}),
    "groups nobody knows": (SignInReason.NOT_ALLOWED, {"groups": ["/course/ml101", "courses/ml101", "**"]}),
}


@pytest.mark.parametrize(("reason", "said"), PEOPLE.values(), ids=PEOPLE)
def test_claims_that_say_nothing_good(
    scene: Scene[HostileProvider], reason: SignInReason, said: dict[str, Any]
) -> None:
    scene.rig.id_claims = said
    if DROP in said.values():
        scene.rig.userinfo_claims = said
    answer = scene.sign_in()
    scene.assert_refused(answer, reason)
    assert "<b>" not in answer.text


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (CLAIMS, {"groups": "/courses/ml101/students"}),
        (CLAIMS, {"groups": [f"/courses/{number}" for number in range(10_000)]}),
        (CLAIMS, {"sub": "sub-ada"}),
        (CLAIMS, {"sub": DROP}),
        (SignInReason.NOT_ALLOWED, {"groups": DROP}),
        (SignInReason.NOT_ALLOWED, {"groups": []}),
    ],
    ids=["string", "10,000", "of another", "of nobody", "missing", "none"],
)
def test_what_userinfo_says_is_not_believed_more(
    scene: Scene[HostileProvider], reason: SignInReason, said: dict[str, Any]
) -> None:
    scene.rig.id_claims, scene.rig.userinfo_claims = {"groups": DROP}, said
    scene.assert_refused(scene.sign_in(), reason)
    assert scene.rig.count("userinfo") == 1


@pytest.mark.parametrize("name", ["ada", "ADA", "Ada"])
def test_the_name_of_somebody_else_is_not_given_away(scene: Scene[HostileProvider], name: str) -> None:
    assert scene.sign_in("ada").url.path == "/hub/home"
    scene.count_people()
    scene.rig.id_claims = {"preferred_username": name}
    answer = scene.sign_in("mallory", scene.browser())
    scene.assert_refused(answer, SignInReason.NAME_TAKEN)
    assert "audit:" in scene.log()


@pytest.mark.parametrize("looks", ["аda", "ａda", "adа"])
def test_a_name_that_only_looks_like_another_is_another(scene: Scene[HostileProvider], looks: str) -> None:
    assert scene.sign_in("ada").url.path == "/hub/home"
    scene.rig.add_person(looks, groups=["/courses/ml101/students"])
    scene.rig.id_claims = {"preferred_username": looks, "sub": f"sub-{looks}"}
    browser = scene.browser()
    assert scene.sign_in("mallory", browser).url.path == "/hub/home"
    assert looks in scene.hub.users()
    assert browser.get(f"{scene.hub.url}/api/user").json()["name"] == looks


# --- how the provider answers ----------------------------------------------------------------------------------------

HTML = Fault(200, "<!doctype html><title>Please wait</title>", {"Content-Type": "text/html"})
FAULTS: dict[str, tuple[tuple[SignInReason, ...], Fault]] = {
    "500": ((DOWN,), Fault(500)),
    "502 in HTML": ((DOWN,), Fault(502, "<h1>Bad gateway</h1>", {"Content-Type": "text/html"})),
    "503 with a time": ((DOWN,), Fault(503, headers={"Retry-After": "7"})),
    "429": ((DOWN,), Fault(429, headers={"Retry-After": "soon"})),
    "nothing": ((DOWN,), Fault(hang_up=True)),
    "redirect": ((WRONG,), Fault(302, headers={"Location": "/realms/school/other"})),
    "redirect elsewhere": ((WRONG,), Fault(307, headers={"Location": "https://evil.example.org/"})),
    "HTML": ((WRONG,), HTML),
    "no JSON": ((WRONG,), Fault(body="{")),
    "a list": ((WRONG,), Fault(body="[]")),
    "null": ((WRONG,), Fault(body="null")),
    "nothing in it": ((WRONG,), Fault(body="{}")),
    "deep": ((WRONG,), Fault(body="[" * 100_000)),
    "not UTF-8": ((WRONG,), Fault(body=b"\xff\xfe{}")),
    "not found": ((WRONG,), Fault(404)),
    "huge": ((WRONG,), Fault(size=3 << 20)),
    "huge, in pieces": ((WRONG,), Fault(size=3 << 20, chunked=True)),
    "huge, at once": ((WRONG,), Fault(500, size=9 << 20)),
}


@pytest.mark.parametrize("endpoint", ["discovery", "keys", "token", "userinfo"])
@pytest.mark.parametrize("fault", FAULTS)
def test_an_answer_that_is_none(scene: Scene[HostileProvider], endpoint: str, fault: str) -> None:
    if endpoint == "userinfo":
        scene.rig.id_claims = {"groups": DROP}
    reasons, done = FAULTS[fault]
    scene.rig.faults[endpoint] = done
    answer = scene.sign_in()
    # Who answers `{}` for userinfo has not said about whom.
    scene.assert_refused(answer, *reasons, *((CLAIMS,) if (endpoint, fault) == ("userinfo", "nothing in it") else ()))
    assert answer.url.path == ("/hub/oauth_login" if endpoint == "discovery" else "/hub/oauth_callback")
    if answer.status_code == 503:
        assert int(answer.headers["Retry-After"]) >= 1


@pytest.mark.parametrize("endpoint", ["discovery", "keys", "token", "userinfo"])
@pytest.mark.parametrize("slow", ["first byte", "every byte"])
def test_an_answer_that_takes_too_long(scene: Scene[HostileProvider], endpoint: str, slow: str) -> None:
    scene.hub.forget_provider(Http(connect=1, total=1))
    scene.rig.id_claims = {"groups": DROP} if endpoint == "userinfo" else {}
    scene.rig.faults[endpoint] = Fault(delay=5) if slow == "first byte" else Fault(size=1000, drip=0.2)
    begin = time.monotonic()
    answer = scene.sign_in()
    assert time.monotonic() - begin < 4
    scene.assert_refused(answer, DOWN)


def test_the_hub_answers_others_while_the_provider_does_not(scene: Scene[HostileProvider]) -> None:
    ada = scene.browser()
    assert scene.sign_in("ada", ada).url.path == "/hub/home"
    scene.count_people()
    scene.rig.faults["token"] = Fault(500)
    scene.assert_refused(scene.sign_in("mallory", scene.browser()), DOWN)
    assert ada.get(f"{scene.hub.url}/home").status_code == 200
    del scene.rig.faults["token"]
    assert scene.sign_in("teacher", scene.browser()).status_code == 200


DISCOVERY: dict[str, dict[str, Any]] = {
    "issuer of another": {"issuer": "https://evil.example.org"},
    "issuer with a slash": {"issuer": lambda issuer: f"{issuer}/"},
    "issuer missing": {"issuer": DROP},
    "issuer a list": {"issuer": lambda issuer: [issuer]},
    "token endpoint missing": {"token_endpoint": DROP},
    "token endpoint plain": {"token_endpoint": "http://evil.example.org/token"},
    "token endpoint a file": {"token_endpoint": "file:///etc/passwd"},
    "token endpoint with a name in it": {"token_endpoint": lambda address: address.replace("//", "//evil@")},
    "authorization endpoint missing": {"authorization_endpoint": DROP},
    "authorization endpoint a script": {"authorization_endpoint": "javascript:alert(1)"},
    "authorization endpoint plain": {"authorization_endpoint": "http://evil.example.org/auth"},
    "authorization endpoint of two lines": {"authorization_endpoint": lambda address: f"{address}\r\nSet-Cookie: a=b"},
    "keys missing": {"jwks_uri": DROP},
    "keys a number": {"jwks_uri": 7},
    "keys plain": {"jwks_uri": "http://evil.example.org/keys"},
    "userinfo plain": {"userinfo_endpoint": "http://evil.example.org/userinfo"},
}


@pytest.mark.parametrize("changes", DISCOVERY.values(), ids=DISCOVERY)
def test_a_document_of_another_provider(scene: Scene[HostileProvider], changes: dict[str, Any]) -> None:
    scene.rig.discovery = changes
    answer = scene.sign_in()
    scene.assert_refused(answer, WRONG)
    assert answer.url.path == "/hub/oauth_login"
    assert scene.rig.count("authorize") == 0


@pytest.mark.parametrize(
    "keys",
    ['{"keys": []}', '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}', '{"keys": {}}', '{"keys": [7, null, "x"]}'],
)
def test_keys_that_are_none(scene: Scene[HostileProvider], keys: str) -> None:
    scene.rig.faults["keys"] = Fault(body=keys)
    scene.assert_refused(scene.sign_in(), WRONG)


ANSWERS: dict[str, tuple[SignInReason, dict[str, Any]]] = {
    "no ID token": (WRONG, {"id_token": DROP}),
    "an empty ID token": (WRONG, {"id_token": ""}),
    "an ID token in a list": (WRONG, {"id_token": lambda token: [token]}),
    "an ID token with a line break": (WRONG, {"id_token": lambda token: f"{token}\r\nX: y"}),
    "no access token": (WRONG, {"access_token": DROP}),
    "an access token in an object": (WRONG, {"access_token": {"token": "x"}}),
    "a token of another type": (WRONG, {"token_type": "mac"}),
    "a token of no type": (WRONG, {"token_type": DROP}),
}


@pytest.mark.parametrize(("reason", "changes"), ANSWERS.values(), ids=ANSWERS)
def test_an_answer_without_tokens(scene: Scene[HostileProvider], reason: SignInReason, changes: dict[str, Any]) -> None:
    scene.rig.token_answer = changes
    scene.assert_refused(scene.sign_in(), reason)


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        (USED, "invalid_grant"),
        (WRONG, "invalid_client"),
        (WRONG, "unauthorized_client"),
        (WRONG, "<script>alert(1)</script>"),
        (WRONG, 7),
        (DOWN, "temporarily_unavailable"),
    ],
)
def test_a_code_that_is_refused(scene: Scene[HostileProvider], reason: SignInReason, error: object) -> None:
    words = f"no client with the secret {SECRET}\nGET / <script>"
    body = json.dumps({"error": error, "error_description": words})
    scene.rig.faults["token"] = Fault(400, body)
    answer = scene.sign_in()
    scene.assert_refused(answer, reason)
    assert "<script>alert" not in answer.text
    assert "<script>" not in scene.log()


def test_a_provider_that_repeats_what_it_was_sent(scene: Scene[HostileProvider]) -> None:
    """Not even in the error's own code."""
    scene.rig.faults["token"] = Fault(401, json.dumps({"error": SECRET.replace("-", "_"), "error_description": SECRET}))
    scene.assert_refused(scene.sign_in(), WRONG)


def test_somebody_whom_the_provider_has_just_disabled(scene: Scene[HostileProvider]) -> None:
    browser = scene.browser()
    back = scene.way_back("mallory", browser)
    scene.rig.people["mallory"].enabled = False
    try:
        scene.assert_refused(browser.get(back), USED)
    finally:
        scene.rig.people["mallory"].enabled = True


# --- what browsers bring back ----------------------------------------------------------------------------------------


def with_query(address: str, **changes: Any) -> str:
    """`address` with other parameters: None leaves one out, a list gives one several times."""
    query: dict[str, Any] = {**parse_qs(urlsplit(address).query), **changes}
    kept = {name: value for name, value in query.items() if value is not None}
    return f"{address.partition('?')[0]}?{urlencode(kept, doseq=True)}"


def state_of(address: str) -> str:
    return parse_qs(urlsplit(address).query)["state"][0]


def trip_cookie(browser: httpx.Client) -> tuple[str, str]:
    return next((name, value) for name, value in browser.cookies.items() if name.startswith("aihub-sign-in-"))


def put(browser: httpx.Client, name: str, value: str) -> None:
    browser.cookies.set(name, value, domain="127.0.0.1", path="/hub/oauth_callback")


def test_an_answer_without_a_try(scene: Scene[HostileProvider]) -> None:
    for query in ("", "?code=a&state=b", "?state=", "?code=a", "?error=access_denied&state=b", f"?state={'s' * 5000}"):
        scene.assert_refused(scene.browser().get(f"{scene.hub.callback}{query}"), MISSING)
    assert scene.rig.count("token") == 0


def test_an_answer_is_good_once(scene: Scene[HostileProvider]) -> None:
    browser = scene.browser()
    back = scene.way_back("ada", browser)
    kept = trip_cookie(browser)
    assert browser.get(back).headers["Location"] == "/hub/home"
    scene.count_people()
    exchanged = scene.rig.count("token")
    thief = scene.browser()
    put(thief, *kept)
    scene.assert_refused(thief.get(back), USED)
    assert scene.rig.count("token") == exchanged


def test_a_refused_answer_is_used_up_too(scene: Scene[HostileProvider]) -> None:
    browser = scene.browser()
    back = scene.way_back("mallory", browser)
    kept = trip_cookie(browser)
    scene.rig.id_claims = {"nonce": DROP}
    scene.assert_refused(browser.get(back), TOKEN)
    scene.rig.id_claims = {}
    put(browser, *kept)
    scene.assert_refused(browser.get(back), USED)


def test_the_answer_of_somebody_else_signs_nobody_in(scene: Scene[HostileProvider]) -> None:
    """Login CSRF: a stranger's way back, code and state, opened in the victim's browser."""
    stranger, victim = scene.browser(), scene.browser()
    back = scene.way_back("mallory", stranger)
    scene.way_back("ada", victim)
    scene.assert_refused(victim.get(back), MISSING, by=victim)
    assert scene.rig.count("token") == 0


@pytest.mark.parametrize("pkce", [True, False], ids=["by PKCE", "by the nonce"])
def test_the_code_of_somebody_else_is_worth_nothing(scene: Scene[HostileProvider], pkce: bool) -> None:
    """Code injection: a stolen code put into a try of one's own. Without PKCE at the provider the nonce tells."""
    thief, victim = scene.browser(), scene.browser()
    stolen = parse_qs(urlsplit(scene.way_back("ada", victim)).query)["code"][0]
    if not pkce:
        scene.rig.pkce_required = False
        stolen = scene.rig.issue_code("ada", "aihub", scene.hub.callback, "", "the nonce of ada's own try")
    try:
        back = with_query(scene.way_back("mallory", thief), code=stolen)
        scene.assert_refused(thief.get(back), USED if pkce else TOKEN, by=thief)
    finally:
        scene.rig.pkce_required = True


def test_the_code_of_another_client_is_worth_nothing(scene: Scene[HostileProvider]) -> None:
    browser = scene.browser()
    scene.rig.add_client("other", "other-secret", [scene.hub.callback])
    code = scene.rig.code_for("mallory", scene.hub.callback, "v" * 43, client_id="other")
    scene.assert_refused(browser.get(with_query(scene.way_back("mallory", browser), code=code)), USED)


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        (WRONG, {"code": None}),
        (WRONG, {"code": ""}),
        (WRONG, {"code": ["one", "two"]}),
        (USED, {"code": "guess"}),
        (USED, {"code": "x" * 20_000}),
        (USED, {"code": "a\r\nb"}),
        (USED, {"code": b"\xff"}),
        (MISSING, {"state": None}),
        (MISSING, {"state": ""}),
        (MISSING, {"state": "guess"}),
        (MISSING, {"state": b"\xff\xfe"}),
        (MISSING, {"state": ["one", "two"]}),
        (TOKEN, {"iss": "https://evil.example.org"}),
        (TOKEN, {"iss": ""}),
        (TOKEN, {"iss": None}),
        (SignInReason.CANCELLED, {"error": "access_denied"}),
        (SignInReason.CANCELLED, {"error": "access_denied", "code": None}),
        (SignInReason.CANCELLED, {"error": "login_required", "code": None}),
        (DOWN, {"error": "server_error", "code": None}),
        (DOWN, {"error": "temporarily_unavailable", "code": None}),
        (WRONG, {"error": "unauthorized_client", "code": None}),
        (WRONG, {"error": "<script>alert(1)</script>", "error_description": "<script>alert(2)</script>"}),
        (WRONG, {"error": ["access_denied", "server_error"]}),
        (WRONG, {"error": ""}),
    ],
    ids=lambda value: str(value)[:60],
)
def test_an_answer_that_was_changed(
    scene: Scene[HostileProvider], reason: SignInReason, changes: dict[str, Any]
) -> None:
    browser = scene.browser()
    answer = browser.get(with_query(scene.way_back("mallory", browser), **changes))
    scene.assert_refused(answer, reason)
    assert "<script>alert" not in answer.text
    assert "alert(" not in scene.log()
    assert scene.rig.count("token") == (1 if reason is USED else 0)


def test_an_answer_of_two_issuers(scene: Scene[HostileProvider]) -> None:
    browser = scene.browser()
    back = scene.way_back("mallory", browser)
    two = with_query(back, iss=[scene.rig.issuer, "https://evil.example.org"])
    scene.assert_refused(browser.get(two), TOKEN)
    assert scene.rig.count("token") == 0


def test_a_provider_that_promises_no_issuer_may_leave_it_out_but_not_lie(scene: Scene[HostileProvider]) -> None:
    scene.rig.discovery = {"authorization_response_iss_parameter_supported": DROP}
    scene.rig.callback = {"iss": "https://evil.example.org"}
    scene.assert_refused(scene.sign_in(), TOKEN)
    scene.rig.callback = {"iss": DROP}
    assert scene.sign_in("ada", scene.browser()).url.path == "/hub/home"


def test_the_cookie_of_another_try(scene: Scene[HostileProvider]) -> None:
    browser = scene.browser()
    first = scene.way_back("mallory", browser)
    name, value = trip_cookie(browser)
    browser.cookies.clear()
    second = scene.way_back("mallory", browser)
    other, _ = trip_cookie(browser)
    assert name != other
    browser.cookies.delete(other)
    put(browser, other, value)
    scene.assert_refused(browser.get(second), MISSING)
    put(browser, name, f"{value[:-4]}beef")
    scene.assert_refused(browser.get(first), MISSING)
    assert scene.rig.count("token") == 0


def signed_trip(hub: HubInProcess, trip: Trip, *, key: bytes | None = None) -> str:
    value = create_signed_value(key or hub.app.cookie_secret, trip.cookie, json.dumps(asdict(trip)))
    return value.decode()


def test_a_try_has_an_end(scene: Scene[HostileProvider]) -> None:
    browser = scene.browser()
    now = time.time()
    for at, reason in ((now - PATIENCE - 1, USED), (now - PATIENCE + 60, WRONG)):
        trip = Trip.begin(scene.hub.callback, "", at)
        put(browser, trip.cookie, signed_trip(scene.hub, trip))
        query = urlencode({"state": trip.state, "iss": scene.rig.issuer})
        scene.assert_refused(browser.get(f"{scene.hub.callback}?{query}"), reason)


def test_a_try_is_signed_by_this_hub(scene: Scene[HostileProvider]) -> None:
    browser = scene.browser()
    trip = Trip.begin(scene.hub.callback, "", time.time())
    put(browser, trip.cookie, signed_trip(scene.hub, trip, key=b"of another hub" * 4))
    scene.assert_refused(browser.get(f"{scene.hub.callback}?state={trip.state}&code=a"), MISSING)


def test_a_try_is_of_its_own_state(scene: Scene[HostileProvider]) -> None:
    """Whatever the name of its cookie, which is a short one."""
    browser = scene.browser()
    here, other = (Trip.begin(scene.hub.callback, "", time.time()) for _ in range(2))
    value = create_signed_value(scene.hub.app.cookie_secret, here.cookie, json.dumps(asdict(other)))
    put(browser, here.cookie, value.decode())
    query = urlencode({"state": here.state, "code": "a", "iss": scene.rig.issuer})
    scene.assert_refused(browser.get(f"{scene.hub.callback}?{query}"), MISSING)


def test_what_a_browser_takes_along_is_for_the_way_back_only(scene: Scene[HostileProvider]) -> None:
    answer = scene.browser().get(f"{scene.hub.url}/oauth_login")
    cookie = next(line for line in answer.headers.get_list("set-cookie") if line.startswith("aihub-sign-in-"))
    assert {"HttpOnly", "Path=/hub/oauth_callback", "SameSite=Lax", f"Max-Age={PATIENCE}"} <= {*cookie.split("; ")}


def test_a_browser_has_a_few_tries_at_a_time(scene: Scene[HostileProvider]) -> None:
    """Whatever opens the page that begins one: proxies take no more than 8 KiB of cookies."""
    browser = scene.browser()
    for _ in range(12):
        browser.get(f"{scene.hub.url}/oauth_login")
    back = scene.way_back("ada", browser)
    tries = [cookie for cookie in browser.cookies.jar if cookie.path == "/hub/oauth_callback"]
    assert len(tries) == TABS
    assert browser.get(back).headers["Location"] == "/hub/home"
    browser.cookies.set(BEGUN, "forged", domain="127.0.0.1", path="/hub/oauth_login")
    assert browser.get(scene.way_back("ada", browser)).headers["Location"] == "/hub/home"


@pytest.mark.parametrize("letter", ["x", "課"])
def test_a_long_way_to_go_is_no_way_to_stay_out(scene: Scene[HostileProvider], letter: str) -> None:
    """Browsers drop cookies of more than 4096 bytes; rather the way is forgotten than the try."""
    for length in (100, 1_400, 3_900):
        wanted = f"/hub/home?q={letter * length}"
        kept = length == 100 or (length == 1_400 and letter == "x")
        browser, query = scene.browser(), "?" + urlencode({"next": wanted})
        begun = browser.get(f"{scene.hub.url}/oauth_login{query}")
        assert all(len(line) < 4000 for line in begun.headers.get_list("set-cookie"))
        led = browser.get(scene.way_back("ada", browser, query)).headers["Location"]
        assert unquote(led) == (wanted if kept else "/hub/home")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("page", ["oauth_callback", "oauth_login", "login"])
def test_nothing_but_a_get_leads_in(scene: Scene[HostileProvider], method: str, page: str) -> None:
    browser = scene.browser()
    back = scene.way_back("mallory", browser)
    address = back if page == "oauth_callback" else f"{scene.hub.url}/{page}"
    answer = browser.request(method, address, data={"username": "ada", "password": "x"})
    assert answer.status_code in {403, 405}
    assert not SESSION_COOKIES & {*browser.cookies}
    assert (scene.hub.users(), scene.hub.bound()) == scene.before
    assert scene.rig.count("token") == 0


def test_a_refused_answer_leaves_who_is_signed_in_as_they_are(scene: Scene[HostileProvider]) -> None:
    browser = scene.browser()
    assert scene.sign_in("ada", browser).url.path == "/hub/home"
    scene.rig.id_claims = {"aud": "other"}
    answer = scene.sign_in("teacher", browser)
    assert answer.status_code == STATUS[TOKEN]
    assert browser.get(f"{scene.hub.url}/api/user").json()["name"] == "ada"


def test_a_second_sign_in_is_the_second_person_alone(scene: Scene[HostileProvider]) -> None:
    browser = scene.browser()
    scene.sign_in("ada", browser)
    scene.sign_in("teacher", browser)
    said = browser.get(f"{scene.hub.url}/api/user").json()
    assert (said["name"], said["groups"], said["admin"]) == ("teacher", ["/courses/ml101/staff"], False)


@pytest.mark.parametrize(
    "wanted",
    [
        "https://evil.example.org/",
        "//evil.example.org/",
        "/\\evil.example.org",
        "\\\\evil.example.org",
        "///evil.example.org",
        "javascript:alert(1)",
        "/hub/../../evil",
        "http://127.0.0.1:1/",
        "/\t/evil.example.org",
        "/%0d%0aSet-Cookie:x=y",
    ],
)
def test_no_way_back_leads_out_of_the_hub(scene: Scene[HostileProvider], wanted: str) -> None:
    browser = scene.browser()
    answer = browser.get(scene.way_back("ada", browser, f"?{urlencode({'next': wanted})}"))
    assert answer.status_code == 302
    there = httpx.URL(scene.hub.callback).join(answer.headers["Location"])
    assert (there.scheme, there.netloc) == ("http", f"127.0.0.1:{scene.hub.port}".encode())
    assert "evil" not in there.netloc.decode()


@pytest.mark.parametrize(
    "auth",
    [
        {"username": "ada", "password": "x"},
        {"code": "guess", "redirect_uri": "x", "verifier": "x", "nonce": "x"},
        {"name": "ada", "groups": ["/courses/ml101/students"], "admin": True, "auth_state": {}},
        ["ada"],
        "ada",
    ],
    ids=str,
)
def test_no_token_is_made_for_who_says_to_be_somebody(scene: Scene[HostileProvider], auth: object) -> None:
    """The hub's API takes the form of a sign-in page in the body of a request for a token."""
    scene.sign_in("ada", scene.browser())
    browser = scene.browser()
    answer = browser.post(f"{scene.hub.url}/api/users/ada/tokens", json={"auth": auth})
    assert answer.status_code in {400, 403}
    assert "token" not in answer.json()


def test_what_is_kept_is_encrypted(scene: Scene[HostileProvider]) -> None:
    scene.sign_in("ada", scene.browser())
    state = scene.hub.machine.state
    for database in (state.hub_database, state.database):
        for file in database.parent.glob(f"{database.name}*"):
            kept = file.read_bytes()
            assert not re.search(rb"eyJ[\w-]{8,}\.", kept)
            assert b"refresh-" not in kept
            assert SECRET.encode() not in kept


def test_nobody_reads_the_tokens_of_somebody(scene: Scene[HostileProvider]) -> None:
    ada, root = scene.browser(), scene.browser()
    scene.sign_in("ada", ada)
    scene.sign_in("root", root)
    for browser, path in (
        (ada, "api/user"),
        (ada, "api/users/ada"),
        (root, "api/user"),
        (root, "api/users/ada"),
        (root, "api/users"),
        (root, "metrics"),
    ):
        answer = browser.get(f"{scene.hub.url}/{path}", headers={"Referer": f"{scene.hub.url}/home"})
        assert answer.status_code == 200, path
        assert not re.search(r"eyJ[\w-]{8,}\.", answer.text), path
        assert "refresh-" not in answer.text, path


def test_nobody_is_given_the_name_of_somebody(scene: Scene[HostileProvider]) -> None:
    """Home and rights go by the name: not even an admin gives a person that of another."""
    scene.rig.people["root"].groups = ["/staff/hub-admins"]
    ada, root = scene.browser(), scene.browser()
    scene.sign_in("ada", ada)
    scene.sign_in("root", root)
    xsrf = {"X-XSRFToken": str(root.cookies.get("_xsrf", path="/hub/"))}
    for name, status in (("bob", 400), ("ada", 200)):
        answer = root.patch(f"{scene.hub.url}/api/users/ada", json={"name": name}, headers=xsrf)
        assert answer.status_code == status, answer.text
    assert scene.ask_again(ada).json()["name"] == "ada"


def test_a_user_whom_an_admin_adds_is_nobody_before_they_sign_in(scene: Scene[HostileProvider]) -> None:
    scene.rig.people["root"].groups = ["/staff/hub-admins"]
    root, added = scene.browser(), scene.browser()
    scene.sign_in("root", root)
    xsrf = {"X-XSRFToken": str(root.cookies.get("_xsrf", path="/hub/"))}
    users = f"{scene.hub.url}/api/users"
    assert root.post(users, json={"usernames": ["added"], "admin": True}, headers=xsrf).status_code == 201
    made = root.post(f"{users}/added/tokens", json={}, headers=xsrf)
    token = {"Authorization": f"token {made.json()['token']}"}
    assert httpx.get(f"{scene.hub.url}/api/user", headers=token).status_code == 403
    assert root.post(f"{users}/added/server", json={}, headers=xsrf).status_code == 403
    scene.rig.add_person("added", groups=["/courses/ml101/students"])
    scene.sign_in("added", added)
    assert added.get(f"{scene.hub.url}/api/user").json()["admin"] is False
    assert httpx.get(f"{scene.hub.url}/api/user", headers=token).status_code == 403, "the token is not theirs"
    scene.assert_nothing_told()


@pytest.mark.parametrize("host", ["evil.example.org", "<script>alert(1)</script>", "a b", "127.0.0.1:1"])
def test_a_false_host_gets_no_code(scene: Scene[HostileProvider], host: str) -> None:
    """The provider sends browsers to the hub's registered addresses only; nothing of the false one is shown raw."""
    browser = scene.browser()
    answer = browser.get(f"{scene.hub.url}/oauth_login", headers={"Host": host})
    if answer.status_code == 302:
        assert urlsplit(answer.headers["Location"]).netloc == urlsplit(scene.rig.issuer).netloc
        assert browser.get(answer.headers["Location"]).status_code == 400
    else:
        assert answer.status_code == 400
    answer = browser.get(f"{scene.hub.callback}?state=x", headers={"Host": host})
    assert "<script>alert" not in answer.text
    assert not SESSION_COOKIES & {*browser.cookies}


def test_rights_are_those_of_this_answer(scene: Scene[HostileProvider]) -> None:
    """Who was an admin is none after a sign-in whose groups do not say so."""
    scene.rig.people["root"].groups = ["/staff/hub-admins"]
    browser = scene.browser()
    scene.sign_in("root", browser)
    assert browser.get(f"{scene.hub.url}/api/user").json()["admin"] is True
    scene.rig.id_claims = {"groups": ["/courses/ml101/students"]}
    scene.sign_in("root", browser)
    assert browser.get(f"{scene.hub.url}/api/user").json()["admin"] is False


# --- the provider's word that somebody left --------------------------------------------------------------------------

LOGOUTS: dict[str, tuple[dict[str, Any], Signing | None]] = {
    "issuer of another": ({"iss": "https://evil.example.org"}, None),
    "for another client": ({"aud": "other"}, None),
    "no event": ({"events": DROP}, None),
    "another event": ({"events": {"http://schemas.openid.net/event/other": {}}}, None),
    "with a nonce": ({"nonce": "n"}, None),
    "of nobody": ({"sub": DROP, "sid": DROP}, None),
    "too old": ({"exp": later(-3600), "iat": later(-3600)}, None),
    "from the future": ({"iat": later(600)}, None),
    "without an id": ({"jti": DROP}, None),
    "alg none": ({}, Signing("none")),
    "HS256 by the public key": ({}, Signing("HS256")),
    "signed by a stranger": ({}, Signing(foreign=True)),
    "signature spoilt": ({}, Signing(spoil=True)),
}


def left(scene: Scene[HostileProvider], token: str) -> httpx.Response:
    return scene.rig.send_logout(token, f"{scene.hub.url}/aihub/back-channel-logout")


@pytest.mark.parametrize(("changes", "signing"), LOGOUTS.values(), ids=LOGOUTS)
def test_a_logout_that_the_provider_did_not_send(
    scene: Scene[HostileProvider], changes: dict[str, Any], signing: Signing | None
) -> None:
    ada = scene.browser()
    scene.sign_in("ada", ada)
    scene.rig.logout_claims = changes
    answer = left(scene, scene.rig.logout_token(name="ada", signing=signing))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert answer.headers["Cache-Control"] == "no-store"
    assert ada.get(f"{scene.hub.url}/api/user").status_code == 200
    scene.assert_nothing_told(answer)


def test_what_is_no_logout_token(scene: Scene[HostileProvider]) -> None:
    ada = scene.browser()
    scene.sign_in("ada", ada)
    for token in ("", "x", "a.b.c", "x" * 100_000, scene.rig.id_token("ada"), scene.rig.access_token("ada")):
        assert left(scene, token).status_code == 400
    assert httpx.get(f"{scene.hub.url}/aihub/back-channel-logout").status_code == 405
    assert ada.get(f"{scene.hub.url}/api/user").status_code == 200


def test_a_logout_counts_once(scene: Scene[HostileProvider]) -> None:
    ada, teacher = scene.browser(), scene.browser()
    scene.sign_in("ada", ada)
    scene.sign_in("teacher", teacher)
    token = scene.rig.logout_token(name="ada")
    assert left(scene, token).status_code == 200
    assert ada.get(f"{scene.hub.url}/api/user").status_code == 403
    assert teacher.get(f"{scene.hub.url}/api/user").status_code == 200
    scene.sign_in("ada", ada)
    assert left(scene, token).status_code == 400
    assert ada.get(f"{scene.hub.url}/api/user").status_code == 200


def test_a_stranger_signs_nobody_out_by_a_session_of_their_own(scene: Scene[HostileProvider]) -> None:
    """Somebody who is not let in, and is called like ada, ends only what is theirs."""
    ada = scene.browser()
    scene.sign_in("ada", ada)
    scene.count_people()
    scene.rig.id_claims = {"preferred_username": "ada", "groups": []}
    scene.assert_refused(scene.sign_in("nobody", scene.browser()), SignInReason.NOT_ALLOWED)
    session = next(reversed(scene.rig.sessions))
    assert left(scene, scene.rig.logout_token(session=session)).status_code == 200
    assert ada.get(f"{scene.hub.url}/api/user").status_code == 200


def test_a_logout_that_cannot_be_checked_is_not_done(scene: Scene[HostileProvider]) -> None:
    ada = scene.browser()
    scene.sign_in("ada", ada)
    scene.hub.forget_provider()
    scene.rig.faults["keys"] = Fault(500)
    assert left(scene, scene.rig.logout_token(name="ada")).status_code == 503
    assert ada.get(f"{scene.hub.url}/api/user").status_code == 200


# --- asked again -----------------------------------------------------------------------------------------------------

GREEDY = {"groups": ["/courses/ml101/students", "/staff/hub-admins"]}
"""Whoever is believed to have these is an admin."""

RENEWED: dict[str, dict[str, Any]] = {
    "of somebody else": {"id_claims": {**GREEDY, "sub": "sub-root"}},
    "issuer of another": {"id_claims": {**GREEDY, "iss": "https://evil.example.org"}},
    "for another client": {"id_claims": {**GREEDY, "aud": "other"}},
    "made for another client": {"id_claims": {**GREEDY, "azp": "other"}},
    "too old": {"id_claims": {**GREEDY, "exp": later(-3600)}},
    "an access token": {"id_claims": {**GREEDY, "typ": "Bearer"}},
    "alg none": {"id_claims": GREEDY, "signing": Signing("none")},
    "alg HS256 by the public key": {"id_claims": GREEDY, "signing": Signing("HS256")},
    "signed by a stranger": {"id_claims": GREEDY, "signing": Signing(foreign=True)},
    "signature spoilt": {"id_claims": GREEDY, "signing": Signing(spoil=True)},
    "groups a string": {"id_claims": {"groups": "/staff/hub-admins"}},
    "groups nested": {"id_claims": {"groups": ["/staff/hub-admins", ["/staff/hub-admins"]]}},
    "groups with a break": {"id_claims": {"groups": ["/staff/hub-admins", "\n"]}},
    "userinfo of somebody else": {"id_claims": {"groups": DROP}, "userinfo_claims": {**GREEDY, "sub": "sub-root"}},
    "no ID token, userinfo of somebody else": {
        "token_answer": {"id_token": DROP},
        "userinfo_claims": {**GREEDY, "sub": "sub-root"},
    },
}


@pytest.mark.parametrize("wrong", RENEWED.values(), ids=RENEWED)
def test_a_renewed_answer_that_is_wrong_gives_no_rights(scene: Scene[HostileProvider], wrong: dict[str, Any]) -> None:
    ada = scene.browser()
    scene.sign_in("ada", ada)
    set_up(scene.rig, wrong)
    for _ in range(2):
        answer = scene.ask_again(ada)
        assert answer.status_code in {200, 403}
        if answer.status_code == 200:
            assert (answer.json()["admin"], answer.json()["groups"]) == (False, ["/courses/ml101/students"])
    scene.assert_nothing_told(answer)


def test_what_is_right_may_come_later(scene: Scene[HostileProvider]) -> None:
    """The control of the test before: the same claims, well signed, are believed."""
    ada = scene.browser()
    scene.sign_in("ada", ada)
    scene.rig.id_claims = GREEDY
    assert scene.ask_again(ada).json()["admin"] is True
    scene.rig.id_claims = {}
    assert scene.ask_again(ada).json()["admin"] is False


@pytest.mark.parametrize("endpoint", ["token", "keys", "userinfo", "discovery"])
@pytest.mark.parametrize("fault", ["500", "429", "nothing", "HTML", "redirect elsewhere", "huge", "not found", "deep"])
def test_an_outage_throws_nobody_out(scene: Scene[HostileProvider], endpoint: str, fault: str) -> None:
    """Nor does it when it ends: a refresh token that was used meanwhile must not be used again."""
    ada = scene.browser()
    scene.rig.id_claims = {"groups": DROP}
    scene.sign_in("ada", ada)
    scene.hub.forget_provider()
    scene.rig.faults[endpoint] = FAULTS[fault][1]
    before = ada.get(f"{scene.hub.url}/api/user").json()
    for _ in range(2):
        answer = scene.ask_again(ada)
        assert (answer.status_code, answer.json()["groups"]) == (200, before["groups"])
    scene.rig.faults.clear()
    scene.hub.forget_provider()
    again = scene.ask_again(ada)
    assert (again.status_code, again.json()["groups"]) == (200, before["groups"])
    scene.assert_nothing_told(again)


def test_a_sign_out_counts_more_than_an_answer_that_was_on_its_way(scene: Scene[HostileProvider]) -> None:
    ada = scene.browser()
    scene.sign_in("ada", ada)
    scene.rig.faults["token"] = Fault(delay=2)
    with ThreadPoolExecutor(1) as aside:
        asked = aside.submit(scene.ask_again, ada)
        while not any(each.form.get("grant_type") == "refresh_token" for each in scene.rig.sent):
            time.sleep(0.02)
        assert left(scene, scene.rig.logout_token(name="ada")).status_code == 200
        assert asked.result().status_code == 403
    assert ada.get(f"{scene.hub.url}/api/user").status_code == 403
    state = scene.hub.state_of("ada")
    assert state["ended"] is True


def test_a_sign_out_counts_more_than_a_sign_in_that_was_on_its_way(scene: Scene[HostileProvider]) -> None:
    scene.sign_in("ada")
    scene.count_people()
    browser = scene.browser()
    back = scene.way_back("ada", browser)
    scene.rig.id_claims = {"groups": DROP}
    scene.rig.faults["userinfo"] = Fault(delay=1)
    before = scene.rig.count("userinfo")
    with ThreadPoolExecutor(1) as aside:
        signing_in = aside.submit(browser.get, back)
        while scene.rig.count("userinfo") == before:
            time.sleep(0.02)
        assert left(scene, scene.rig.logout_token(name="ada")).status_code == 200
        scene.assert_refused(signing_in.result(), USED, by=browser)
    scene.rig.faults.clear()
    assert scene.sign_in("ada", browser).url.path == "/hub/home", "a new try is none of it"


# --- what else may come ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["a b", "a?b", "a#b", "a%2fb", "a&b=c", "a\\b", "<img src=x onerror=alert(1)>", "'\"", "a;b", "學生", "-", "a:b"],
)
def test_odd_names_are_names(scene: Scene[HostileProvider], name: str) -> None:
    browser = scene.browser()
    scene.rig.add_person(name, groups=["/courses/ml101/students"], subject=f"sub-{quote(name)}")
    scene.rig.id_claims = {"preferred_username": name, "sub": f"sub-{quote(name)}"}
    answer = scene.sign_in("mallory", browser)
    assert (answer.status_code, answer.url.path) == (200, "/hub/home")
    assert "<img" not in answer.text
    assert name in scene.hub.users()
    own = browser.get(f"{scene.hub.url}/api/users/{quote(name, safe='')}")
    assert (own.status_code, own.json()["name"]) == (200, name)
    scene.assert_nothing_told(answer)


def test_of_two_who_want_a_name_at_once_one_gets_it(scene: Scene[HostileProvider]) -> None:
    twins = [scene.browser() for _ in range(6)]
    for number in range(len(twins)):
        person = scene.rig.add_person(f"twin-{number}", groups=["/courses/ml101/students"])
        person.more = {"preferred_username": "twin"}
    ways = [scene.way_back(f"twin-{number}", browser) for number, browser in enumerate(twins)]
    with ThreadPoolExecutor(len(twins)) as together:
        answers = [*together.map(lambda browser, way: browser.get(way), twins, ways)]
    assert sorted(answer.status_code for answer in answers) == [302, 403, 403, 403, 403, 403]
    assert scene.hub.users().count("twin") == 1
    assert sum(browser.get(f"{scene.hub.url}/api/user").status_code == 200 for browser in twins) == 1


def test_as_many_groups_as_there_may_be_take_no_time(scene: Scene[HostileProvider]) -> None:
    groups = ["/courses/ml101/students", *(f"/{'a/' * 100}{number}" for number in range(MAX_GROUPS - 1))]
    scene.rig.id_claims, scene.rig.userinfo_claims = {"groups": DROP}, {"groups": groups}
    browser = scene.browser()
    way = scene.way_back("ada", browser)
    begin = time.monotonic()
    assert browser.get(way).headers["Location"] == "/hub/home"
    assert time.monotonic() - begin < 10
    begin = time.monotonic()
    assert browser.get(f"{scene.hub.url}/home").status_code == 200
    assert time.monotonic() - begin < 5
    assert len(browser.get(f"{scene.hub.url}/api/user").json()["groups"]) == MAX_GROUPS


def test_nothing_forges_a_line_of_the_log(scene: Scene[HostileProvider]) -> None:
    forged = "x\r\nERROR audit: root was signed in\x1b[31m"
    for said in (
        {"preferred_username": forged},
        {"groups": [forged]},
        {"iss": forged},
        {"sub": forged},
        {"sid": forged},
    ):
        scene.rig.id_claims = said
        scene.assert_refused(scene.sign_in(), NAME, CLAIMS, TOKEN)
    scene.rig.id_claims = {}
    for header in ({"alg": forged}, {"typ": forged}, {"kid": forged}):
        scene.rig.signing = Signing(header=header)
        scene.assert_refused(scene.sign_in(), TOKEN)
    scene.rig.signing = Signing()
    for key in ("issuer", "token_endpoint", "jwks_uri"):
        scene.hub.forget_provider()
        scene.rig.discovery = {key: forged}
        scene.assert_refused(scene.sign_in(), WRONG)
    assert "\nERROR audit: root" not in scene.log()
    assert "\x1b" not in scene.log()


def test_keys_are_not_fetched_for_everybody_who_asks(scene: Scene[HostileProvider]) -> None:
    """Anybody may send a token that names a key which nobody knows."""
    for _ in range(12):
        token = scene.rig.logout_token(name="ada", signing=Signing(header={"kid": "unheard-of"}))
        assert left(scene, token).status_code == 400
    assert scene.rig.count("keys") <= 2


def test_new_keys_count_at_once_and_old_ones_no_longer(scene: Scene[HostileProvider]) -> None:
    ada = scene.browser()
    assert scene.sign_in("ada", ada).url.path == "/hub/home"
    old = scene.rig.logout_token(name="ada")
    scene.rig.rotate_keys()
    try:
        assert scene.sign_in("teacher", scene.browser()).status_code == 200
        assert scene.rig.count("keys") == 2
        assert left(scene, old).status_code == 400
        assert ada.get(f"{scene.hub.url}/api/user").status_code == 200
    finally:
        scene.rig.published = None


def test_signing_out_tells_the_log_nothing(scene: Scene[HostileProvider]) -> None:
    ada = scene.browser()
    scene.sign_in("ada", ada)
    answer = ada.get(f"{scene.hub.url}/logout")
    assert "id_token_hint=eyJ" in answer.headers["Location"]
    assert ada.get(f"{scene.hub.url}/api/user").status_code == 403
    scene.assert_nothing_told()


@contextmanager
def no_database(hub: HubInProcess) -> Iterator[None]:
    """AIHub's own database is away: its file is another one, that has no tables."""
    file, aside = hub.machine.state.database, hub.machine.state.database.with_suffix(".aside")

    def swap(source: Path, target: Path) -> None:
        AIHub.instance().store.dispose()
        for end in ("", "-wal", "-shm"):
            if Path(f"{source}{end}").exists():
                Path(f"{source}{end}").rename(f"{target}{end}")

    hub.run(lambda: swap(file, aside))
    try:
        yield
    finally:
        for end in ("", "-wal", "-shm"):
            Path(f"{file}{end}").unlink(missing_ok=True)
        hub.run(lambda: swap(aside, file))


def test_without_a_database_nobody_is_somebody(scene: Scene[HostileProvider]) -> None:
    ada = scene.browser()
    scene.sign_in("ada", ada)
    scene.count_people()
    token = scene.rig.logout_token(name="ada")
    browser = scene.browser()
    way = scene.way_back("mallory", browser)
    with no_database(scene.hub):
        answer = browser.get(way)
        assert left(scene, token).status_code == 503
    scene.assert_refused(answer, SignInReason.STORE_UNAVAILABLE, by=browser)
    assert ada.get(f"{scene.hub.url}/api/user").status_code == 200
    # The provider may send it again.
    assert left(scene, token).status_code == 200
    assert ada.get(f"{scene.hub.url}/api/user").status_code == 403


def test_who_came_from_another_provider_comes_anew(scene: Scene[HostileProvider]) -> None:
    """After a change of the issuer: what the provider before gave is nobody's business at this one."""
    ada = scene.browser()
    scene.sign_in("ada", ada)
    state = scene.hub.state_of("ada")
    state["identity"]["issuer"] = "https://before.example.org"
    scene.hub.keep_of("ada", state)
    asked = len(scene.rig.sent)
    assert scene.ask_again(ada).status_code == 403
    assert len(scene.rig.sent) == asked
    scene.assert_nothing_told()


def test_another_provider_in_the_policy_file_waits_for_a_restart(scene: Scene[HostileProvider]) -> None:
    """Nobody whom the provider before vouches for is taken for a person of the new one meanwhile."""
    policy = scene.hub.machine.policy[0]
    before = policy.read_text()
    refresh = AIHub.instance().policy_file.refresh
    try:
        policy.write_text(before.replace(scene.rig.issuer, "https://new.example.org/realms/school"))
        assert scene.hub.run(refresh)
        ada = scene.browser()
        assert scene.sign_in("ada", ada).url.path == "/hub/home"
        assert scene.hub.state_of("ada")["identity"]["issuer"] == scene.rig.issuer
        assert scene.ask_again(ada).status_code == 200
        scene.rig.callback = {"iss": "https://new.example.org/realms/school"}
        scene.assert_refused(scene.sign_in(), TOKEN)
    finally:
        policy.write_text(before)
        assert scene.hub.run(refresh)


# --- anything --------------------------------------------------------------------------------------------------------

ANYTHING = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
WORDS = st.text(max_size=20) | st.binary(max_size=20) | st.sampled_from(["", "access_denied", "server_error"])
QUERY = st.lists(st.tuples(st.sampled_from(["state", "code", "iss", "error", "next"]), WORDS), max_size=5)


def quoted(pairs: list[tuple[str, str | bytes]]) -> str:
    plain = ((name, word.encode("utf-8", "replace") if isinstance(word, str) else word) for name, word in pairs)
    return "&".join(f"{name}={quote_from_bytes(word)}" for name, word in plain)


@ANYTHING
@given(QUERY, st.booleans())
def test_any_answer_is_refused(
    scene: Scene[HostileProvider], query: list[tuple[str, str | bytes]], begun: bool
) -> None:
    browser = scene.browser()
    if begun:
        state = state_of(browser.get(f"{scene.hub.url}/oauth_login").headers["Location"])
        query = [("state", state), *((name, word) for name, word in query if name != "state")]
    answer = browser.get(f"{scene.hub.callback}?{quoted(query)}")
    scene.assert_nobody(answer, MISSING, USED, TOKEN, WRONG, DOWN, SignInReason.CANCELLED, by=browser)
    browser.close()


@ANYTHING
@given(QUERY)
def test_any_start_leads_to_the_provider(scene: Scene[HostileProvider], query: list[tuple[str, str | bytes]]) -> None:
    answer = scene.browser().get(f"{scene.hub.url}/oauth_login?{quoted(query)}")
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith(f"{scene.rig.issuer}/protocol/openid-connect/auth?")


@ANYTHING
@given(
    st.text(max_size=40) | st.from_regex(r"[A-Za-z0-9_-]{0,30}(\.[A-Za-z0-9_-]{0,30}){2}", fullmatch=True), st.binary()
)
def test_any_logout_is_refused(scene: Scene[HostileProvider], token: str, body: bytes) -> None:
    address = f"{scene.hub.url}/aihub/back-channel-logout"
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (
        httpx.post(address, content=f"logout_token={quote(token, errors='replace')}", headers=form).status_code == 400
    )
    assert httpx.post(address, content=body, headers=form).status_code == 400
    assert httpx.post(address, content=body).status_code == 400
    scene.assert_nothing_told()
