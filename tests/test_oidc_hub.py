"""A provider that is not Keycloak, on a whole hub: other claims, groups inside an object, e-mail as name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.hub_rig import POLICY
from tests.provider_rig import DROP, HostileProvider
from tests.sso_hub import HubInProcess

SIGN_IN = """signIn:
  method: oidc
  displayName: {en: the campus account}
  oidc: {issuer: "ISSUER", clientId: aihub, usernameClaim: email, groupsClaim: campus.memberships, scopes: [campus]}
  allowed: {groups: [/students]}
"""


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[HostileProvider]:
    monkeypatch.setenv("AIHUB_CLIENT_SECRET", "s3cret")
    with HostileProvider() as rig:
        rig.id_claims = rig.userinfo_claims = {"groups": DROP, "preferred_username": DROP}
        for name, verified in (("ada", True), ("eve", False)):
            claims = {"campus": {"memberships": ["/students"]}}
            rig.add_person(name, email=f"{name.title()}@example.org", email_verified=verified, more=claims)
        yield rig


@pytest.fixture
def hub(tmp_path: Path, rig: HostileProvider) -> Iterator[HubInProcess]:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY[: POLICY.index("signIn:")] + SIGN_IN.replace("ISSUER", rig.issuer))
    with HubInProcess(tmp_path, path) as hub:
        rig.add_client("aihub", "s3cret", [hub.callback], sign_out_uris=[f"{hub.url}/aihub/signed-out"])
        yield hub


def test_claims_of_any_name_are_name_and_groups(hub: HubInProcess, rig: HostileProvider) -> None:
    with httpx.Client(follow_redirects=True, timeout=30) as browser:
        assert "Sign in with the campus account" in browser.get(f"{hub.url}/login").text
        assert rig.sign_in(browser, f"{hub.url}/oauth_login", "ada").url.path == "/hub/home"
        who = browser.get(f"{hub.url}/api/user").json()
        assert (who["name"], who["groups"]) == ("ada@example.org", ["/students"])
        projects = browser.get(f"{hub.url}/api/aihub/choices").json()["projects"]
        assert [each["project"] for each in projects] == ["lab"]
        out = browser.get(f"{hub.url}/logout")
        assert out.url.path == "/hub/aihub/signed-out", "by way of the provider"
        assert browser.get(f"{hub.url}/home").url.path == "/hub/login"


def test_an_address_that_nobody_verified_is_no_name(hub: HubInProcess, rig: HostileProvider) -> None:
    with httpx.Client(follow_redirects=True, timeout=30) as browser:
        refused = rig.sign_in(browser, f"{hub.url}/oauth_login", "eve")
        assert refused.status_code == 403
        assert "email-unverified" in refused.text
        assert hub.users() == hub.bound() == []
