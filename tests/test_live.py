"""What the live check says of a provider, against the hostile one and a local GitHub."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from aihub.cli import main
from aihub.config import GITHUB, KEYCLOAK, LOCAL, SignIn
from aihub.identity import GitHubProvider, OidcProvider
from aihub.live import CRYPT_KEY, TEST_PASSWORD_FILE, TEST_USER, Check, CheckState, checks
from tests.github_rig import GitHubRig
from tests.provider_rig import DROP, Fault, HostileProvider, RigClient
from tests.web_rig import Authority

SECRET = "s3cret-of-the-client"
BACK = "https://hub.example.org/hub/oauth_callback"
KEY = "0f" * 32
GIVEN = '{"access_token": "a", "id_token": "i", "token_type": "Bearer"}'
PASSED, FAILED, WARNING, NOT_CHECKED = CheckState


@pytest.fixture
def rig() -> Iterator[HostileProvider]:
    with HostileProvider() as provider:
        provider.add_client("aihub", SECRET, [BACK])
        yield provider


async def asked(
    provider: OidcProvider | GitHubProvider, *, secret: str = SECRET, redirect_uri: str = BACK, **environment: str
) -> dict[str, Check]:
    method = KEYCLOAK if isinstance(provider, OidcProvider) else GITHUB
    sign_in = SignIn(method, provider=provider)
    found = await checks(
        sign_in, lambda: secret, redirect_uri, time.time(), environment={CRYPT_KEY: KEY, **environment}
    )
    assert len({each.name for each in found}) == len(found)
    assert not [each for each in found if SECRET in str(each) or KEY in str(each)]
    return {each.name: each for each in found}


async def test_a_provider_as_it_should_be(rig: HostileProvider) -> None:
    found = await asked(rig.provider(keycloak=True))
    states = {name: each.state for name, each in found.items()}
    assert states == {
        "discovery": PASSED,
        "certificate": NOT_CHECKED,
        "keys": PASSED,
        "client": PASSED,
        "redirect address": PASSED,
        "groups": NOT_CHECKED,
        "sign-out": PASSED,
        "back-channel logout": PASSED,
        CRYPT_KEY: PASSED,
        "client secret": NOT_CHECKED,
    }
    assert all(each.detail.startswith("because ") for each in found.values() if each.state is NOT_CHECKED)


async def test_there_is_nothing_to_ask_without_a_provider() -> None:
    assert await checks(SignIn(LOCAL), lambda: "", "", 0.0) == ()


async def test_a_provider_that_is_away(rig: HostileProvider) -> None:
    rig.stop()
    found = await asked(rig.provider())
    assert found["discovery"].state is FAILED
    assert "refused" in found["discovery"].detail
    assert f"{rig.issuer}/.well-known/openid-configuration" in found["discovery"].help
    others = {"keys", "client", "redirect address", "groups", "sign-out", "back-channel logout"}
    assert {found[name].detail for name in others} == {"because discovery failed"}


async def test_another_issuer(rig: HostileProvider) -> None:
    rig.discovery = {"issuer": "https://id.example.org/realms/other"}
    found = await asked(rig.provider())
    assert found["discovery"].state is FAILED
    assert "https://id.example.org/realms/other" in found["discovery"].detail
    assert "issuer" in found["discovery"].help


def fault(rig: HostileProvider, endpoint: str, status: int, error: str) -> None:
    rig.faults[endpoint] = Fault(status=status, body=json.dumps({"error": error}))


def sets(**values: object) -> Callable[[HostileProvider], None]:
    def change(rig: HostileProvider) -> None:
        for name, value in values.items():
            setattr(rig, name, value)

    return change


CHANGES: list[Any] = [
    pytest.param(
        "client", FAILED, "unauthorized_client", lambda rig: rig.add_client("aihub", "x", [BACK]), id="secret"
    ),
    pytest.param("client", FAILED, "invalid_client", lambda rig: fault(rig, "token", 401, "invalid_client"), id="id"),
    pytest.param("client", PASSED, "accepts", lambda rig: fault(rig, "token", 400, "invalid_request"), id="request"),
    pytest.param("client", WARNING, "access_denied", lambda rig: fault(rig, "token", 400, "access_denied"), id="odd"),
    pytest.param("client", FAILED, "500", lambda rig: fault(rig, "token", 500, "x"), id="token endpoint down"),
    pytest.param("client", WARNING, "made-up", lambda rig: rig.faults.update(token=Fault(body=GIVEN)), id="gullible"),
    pytest.param("keys", FAILED, "500", lambda rig: fault(rig, "keys", 500, "x"), id="keys down"),
    pytest.param("keys", FAILED, "no key", sets(published=[]), id="no keys"),
    pytest.param(
        "redirect address", FAILED, "does not take", lambda rig: rig.add_client("aihub", SECRET), id="not registered"
    ),
    pytest.param(
        "redirect address",
        FAILED,
        "unauthorized_client",
        sets(callback={"error": "unauthorized_client"}),
        id="no standard flow",
    ),
    pytest.param(
        "redirect address", NOT_CHECKED, "answered 200", lambda rig: fault(rig, "authorize", 200, "x"), id="a page"
    ),
    pytest.param(
        "redirect address",
        NOT_CHECKED,
        "answered 302",
        lambda rig: rig.faults.update(authorize=Fault(status=302, headers={"Location": f"{BACK}.evil.example/"})),
        id="elsewhere",
    ),
    pytest.param(
        "redirect address",
        NOT_CHECKED,
        "answered 503",
        lambda rig: fault(rig, "authorize", 503, "x"),
        id="authorize down",
    ),
    pytest.param(
        "redirect address",
        NOT_CHECKED,
        "did not answer",
        lambda rig: rig.faults.update(authorize=Fault(hang_up=True)),
        id="authorize hangs up",
    ),
    pytest.param("sign-out", WARNING, "stay", sets(discovery={"end_session_endpoint": DROP}), id="out"),
    pytest.param(
        "back-channel logout",
        WARNING,
        "announce",
        sets(discovery={"backchannel_logout_supported": False}),
        id="back channel",
    ),
    pytest.param(
        "PKCE",
        WARNING,
        "plain only",
        sets(discovery={"code_challenge_methods_supported": ["plain"]}),
        id="PKCE",
    ),
]


@pytest.mark.parametrize(("name", "state", "detail", "change"), CHANGES)
async def test_what_is_wrong_is_named(
    rig: HostileProvider, name: str, state: CheckState, detail: str, change: Callable[[HostileProvider], object]
) -> None:
    change(rig)
    found = await asked(rig.provider())
    assert found[name].state is state
    assert detail in found[name].detail


async def test_a_public_client(rig: HostileProvider) -> None:
    rig.add_client("public", "", [BACK])
    found = await asked(rig.provider("public"), secret="")
    assert (found["client"].state, found["client"].detail) == (PASSED, "'public', a public client")
    without = await asked(rig.provider(), secret="")
    assert "without a secret" in without["client"].detail


async def test_no_address_of_the_hub(rig: HostileProvider) -> None:
    found = await asked(rig.provider(), redirect_uri="")
    assert found["redirect address"].help == "Set signIn.publicUrl."


# --- groups


@pytest.fixture
def with_ada(rig: HostileProvider, tmp_path: Path) -> dict[str, str]:
    rig.clients["aihub"] = RigClient(SECRET, [BACK], password_grant=True)
    file = tmp_path / "password"
    file.write_text("rig-password\n")
    return {TEST_USER: "ada", TEST_PASSWORD_FILE: str(file)}


async def test_the_groups_of_a_test_user(rig: HostileProvider, with_ada: dict[str, str]) -> None:
    rig.people["ada"].groups = [f"/g{number}" for number in range(8)]
    found = await asked(rig.provider(), **with_ada)
    assert found["groups"] == Check("groups", PASSED, "ada: /g0, /g1, /g2, /g3, /g4 and 3 more")


async def test_roles_of_a_test_user(rig: HostileProvider, with_ada: dict[str, str]) -> None:
    rig.people["ada"].realm_roles = ["staff"]
    found = await asked(rig.provider(keycloak=True, groups_from=("realmRoles",)), **with_ada)
    assert found["groups"].detail == "ada: role:staff"


async def test_groups_that_are_missing(rig: HostileProvider, with_ada: dict[str, str]) -> None:
    rig.people["ada"].groups = DROP
    found = await asked(rig.provider(keycloak=True), **with_ada)
    assert found["groups"].state is FAILED
    assert "'groups' is missing for ada" in found["groups"].detail
    assert "Group Membership" in found["groups"].help
    other = await asked(rig.provider(), **with_ada)
    assert "groupsClaim" in other["groups"].help


async def test_groups_of_a_form_that_nobody_meant(rig: HostileProvider, with_ada: dict[str, str]) -> None:
    rig.people["ada"].groups = "/staff"
    found = await asked(rig.provider(), **with_ada)
    assert found["groups"].state is FAILED
    assert "claims-unusable" in found["groups"].detail


async def test_a_test_user_that_cannot_be_tried(rig: HostileProvider, with_ada: dict[str, str]) -> None:
    wrong = await asked(rig.provider(), **{**with_ada, TEST_USER: "who"})
    assert (wrong["groups"].state, "invalid_grant" in wrong["groups"].detail) == (FAILED, True)
    unread = await asked(rig.provider(), **{**with_ada, TEST_PASSWORD_FILE: "/nonexistent"})
    assert (unread["groups"].state, "cannot be read" in unread["groups"].detail) == (FAILED, True)
    rig.clients["aihub"].password_grant = False
    closed = await asked(rig.provider(), **with_ada)
    assert (closed["groups"].state, "Direct access grants" in closed["groups"].help) == (NOT_CHECKED, True)


# --- what ends


@pytest.mark.parametrize(
    ("written", "state"),
    [
        pytest.param("", FAILED, id="none"),
        pytest.param(" ; ", FAILED, id="separators only"),
        pytest.param("abc", FAILED, id="too short"),
        pytest.param("zz" * 32, FAILED, id="not hex"),
        pytest.param("é" * 64, FAILED, id="not ASCII"),
        pytest.param(f"{'1e' * 32};abc", FAILED, id="a bad second"),
        pytest.param("1e" * 32, PASSED, id="hex"),
        pytest.param("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", PASSED, id="base64"),
        pytest.param(f"{'1e' * 32};{'2e' * 32}", PASSED, id="two"),
    ],
)
async def test_the_crypt_key(rig: HostileProvider, written: str, state: CheckState) -> None:
    found = await asked(rig.provider(), **{CRYPT_KEY: written})
    assert found[CRYPT_KEY].state is state
    assert not written.strip(" ;") or written not in str(found[CRYPT_KEY])


@pytest.mark.parametrize(
    ("days", "state"), [(-1, WARNING), (0, WARNING), (14, WARNING), (15, PASSED)], ids=["ended", "today", "14", "15"]
)
async def test_the_client_secret_ends(rig: HostileProvider, days: int, state: CheckState) -> None:
    expires = (datetime.now(UTC) + timedelta(days=days)).date()
    found = await asked(rig.provider(secret_expires=expires))
    assert found["client secret"].state is state
    assert str(expires) in found["client secret"].detail


@pytest.mark.parametrize(("days", "state"), [(13, WARNING), (20, PASSED)], ids=["13 days", "20 days"])
async def test_the_certificate_ends(tmp_path: Path, days: int, state: CheckState) -> None:
    authority = Authority(tmp_path)
    with HostileProvider(tls=authority.certificate(days)) as rig:
        rig.add_client("aihub", SECRET, [BACK])
        found = await asked(rig.provider(ca_file=authority.file))
    assert found["certificate"].state is state
    assert found["discovery"].state is PASSED
    assert found["CA file"].state is PASSED


async def test_a_certificate_that_nobody_trusts(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with HostileProvider(tls=authority.certificate(-1)) as rig:
        ended = await asked(rig.provider(ca_file=authority.file))
    assert (ended["certificate"].state, "expired" in ended["certificate"].detail) == (FAILED, True)
    assert "expired" in ended["discovery"].detail
    with HostileProvider(tls=authority.certificate(30)) as rig:
        stranger = await asked(rig.provider())
    assert stranger["certificate"].state is FAILED
    assert "caFile" in stranger["certificate"].help


async def test_a_provider_with_tls_that_is_away(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with HostileProvider(tls=authority.certificate()) as rig:
        provider = rig.provider(ca_file=authority.file)
    found = await asked(provider)
    assert found["certificate"].state is NOT_CHECKED
    assert "does not answer" in found["certificate"].detail


@pytest.mark.parametrize(("days", "state"), [(-1, FAILED), (13, WARNING), (15, PASSED)], ids=["ended", "13", "15"])
async def test_the_ca_file_ends(rig: HostileProvider, tmp_path: Path, days: int, state: CheckState) -> None:
    found = await asked(rig.provider(ca_file=Authority(tmp_path, days).file))
    assert found["CA file"].state is state


async def test_a_ca_file_that_is_none(rig: HostileProvider, tmp_path: Path) -> None:
    missing = await asked(rig.provider(ca_file=str(tmp_path / "none")))
    assert {missing[name].state for name in ("CA file", "discovery")} == {FAILED}
    (tmp_path / "text").write_text("hello")
    assert (await asked(rig.provider(ca_file=str(tmp_path / "text"))))["CA file"].state is FAILED
    leaf, _ = Authority(tmp_path).certificate()
    assert (await asked(rig.provider(ca_file=leaf)))["CA file"].state is NOT_CHECKED


# --- GitHub


async def test_a_github_as_it_should_be() -> None:
    with GitHubRig() as github:
        found = await asked(github.provider(), secret=github.secret)
    assert {name: each.state for name, each in found.items()} == {
        "certificate": NOT_CHECKED,
        "client": PASSED,
        "redirect address": NOT_CHECKED,
        "groups": NOT_CHECKED,
        CRYPT_KEY: PASSED,
        "client secret": NOT_CHECKED,
    }


async def test_a_github_that_does_not_know_this_client() -> None:
    with GitHubRig() as github:
        wrong = await asked(github.provider(), secret="wrong")
        none = await asked(github.provider(), secret="")
        other = await asked(github.provider(client_id="Iv1.other"), secret=github.secret)
        github.faults["check"] = Fault(status=422, body="{}")
        spam = await asked(github.provider(), secret=github.secret)
        github.faults["check"] = Fault(status=500)
        broken = await asked(github.provider(), secret=github.secret)
    away = await asked(github.provider(), secret=github.secret)
    unread = await asked(github.provider(ca_file="/nonexistent"), secret=github.secret)
    assert "/nonexistent" in unread["client"].detail
    found = [each["client"].state for each in (wrong, none, other, spam, broken, away)]
    assert found == [FAILED, FAILED, FAILED, PASSED, WARNING, FAILED]


# --- the command


def policy(tmp_path: Path, rig: HostileProvider) -> str:
    file = tmp_path / "policy.yaml"
    sign_in = {
        "method": "keycloak",
        "publicUrl": "https://hub.example.org",
        "keycloak": {"issuer": rig.issuer, "clientId": "aihub"},
        "allowed": {"groups": ["/courses/**"]},
    }
    file.write_text(json.dumps({"signIn": sign_in}))
    return str(file)


def run(*arguments: str, secret: str = SECRET) -> tuple[int, str]:
    environment = {"AIHUB_CLIENT_SECRET": secret, CRYPT_KEY: KEY, "NO_COLOR": "1"}
    result = CliRunner().invoke(main, ["check", *arguments], env=environment)
    return result.exit_code, result.output


def test_the_command_prints_what_it_found(rig: HostileProvider, tmp_path: Path) -> None:
    status, output = run("--live", policy(tmp_path, rig))
    assert status == 0
    assert f"discovery: passed: {rig.issuer}\n" in output
    assert "groups: not checked, because AIHUB_TEST_USER" in output
    assert "redirect address: passed: https://hub.example.org/hub/oauth_callback\n" in output


def test_the_command_fails_when_a_check_does(rig: HostileProvider, tmp_path: Path) -> None:
    status, output = run("--live", policy(tmp_path, rig), secret="wrong")
    assert status == 1
    assert "client: failed: the provider does not accept 'aihub'" in output
    assert "  Compare clientId" in output


def test_the_hub_may_be_below_a_path(rig: HostileProvider, tmp_path: Path) -> None:
    rig.clients["aihub"].redirect_uris = ["https://hub.example.org/ai/hub/oauth_callback"]
    assert run("--live", policy(tmp_path, rig))[0] == 1
    assert run("--live", "--base-url", "/ai/", policy(tmp_path, rig))[0] == 0


def test_the_command_as_json(rig: HostileProvider, tmp_path: Path) -> None:
    status, output = run("--live", "--format", "json", policy(tmp_path, rig))
    document = json.loads(output)
    assert status == 0
    assert document["checks"][0] == {"name": "discovery", "state": "passed", "detail": rig.issuer, "help": ""}
    assert "checks" not in json.loads(run("--format", "json", policy(tmp_path, rig))[1])


def test_the_command_as_annotations(rig: HostileProvider, tmp_path: Path) -> None:
    rig.stop()
    status, output = run("--live", "--format", "github", policy(tmp_path, rig))
    assert status == 1
    assert "::error title=live::discovery: failed" in output


def test_nothing_is_asked_of_a_policy_that_cannot_be_used(rig: HostileProvider, tmp_path: Path) -> None:
    file = policy(tmp_path, rig)
    Path(file).write_text(Path(file).read_text().replace("clientId", "clientIdd"))
    assert run("--live", file)[0] == 1
    assert rig.sent == []


def test_a_policy_without_a_provider(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("signIn: {method: local, personas: {ada: {}}}\n")
    status, output = run("--live", str(file))
    assert status == 0
    assert "signIn.method is local: there is no provider to ask." in output
