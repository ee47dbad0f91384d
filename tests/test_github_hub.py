"""GitHub through a whole hub: organisations and teams decide projects and roles, and an outage throws nobody out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.github_rig import Account, Fault, GitHubRig
from tests.hub_rig import POLICY
from tests.sso_hub import HubInProcess

SIGN_IN = """
  open:
    displayName: For everybody
    open: true
    images: {offer: [plain], default: "plain:1"}
    profiles: {offer: [small], default: small}
signIn:
  method: github
  github: {url: "URL", apiUrl: "API", clientId: aihub, organizations: [my-school]}
  admins: {groups: ["my-school:owners"]}
  identity: {recheckAfter: 1s}
"""


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHubRig]:
    with GitHubRig() as rig:
        rig.accounts["Ada"] = Account(7, {"my-school": ["ml101"], "elsewhere": ["staff"]})
        rig.accounts["ines"] = Account(8, {"my-school": ["ml101-staff", "owners"]})
        rig.accounts["eve"] = Account(9, {"elsewhere": ["ml101"]})
        monkeypatch.setenv("AIHUB_CLIENT_SECRET", rig.secret)
        monkeypatch.setattr(rig, "client_id", "aihub")
        yield rig


def policy(folder: Path, github: GitHubRig, more: str = "") -> Path:
    text = POLICY[: POLICY.index("signIn:")] + SIGN_IN.replace("URL", github.address).replace("API", github.api) + more
    text = text.replace("/students", '"my-school:ml101"').replace("/staff", '"my-school:ml101-staff"')
    path = folder / "policy.yaml"
    path.write_text(text)
    return path


@pytest.fixture
def hub(tmp_path: Path, github: GitHubRig) -> Iterator[HubInProcess]:
    with HubInProcess(tmp_path, policy(tmp_path, github)) as hub:
        yield hub


@pytest.fixture
def browser() -> Iterator[httpx.Client]:
    with httpx.Client(follow_redirects=True, timeout=30) as browser:
        yield browser


def enter(hub: HubInProcess, github: GitHubRig, browser: httpx.Client, login: str) -> httpx.Response:
    github.redirect_uris = [hub.callback]
    return github.sign_in(browser, f"{hub.url}/oauth_login", login)


def projects(hub: HubInProcess, browser: httpx.Client) -> set[str]:
    return {each["project"] for each in browser.get(f"{hub.url}/api/aihub/choices").json()["projects"]}


def groups(hub: HubInProcess, browser: httpx.Client) -> list[str]:
    found: list[str] = browser.get(f"{hub.url}/api/user").json()["groups"]
    return sorted(found)


def test_teams_decide_projects_and_roles(hub: HubInProcess, github: GitHubRig, browser: httpx.Client) -> None:
    page = browser.get(f"{hub.url}/login")
    assert "Continue with GitHub" in page.text
    assert enter(hub, github, browser, "Ada").url.path == "/hub/home"
    assert groups(hub, browser) == ["my-school", "my-school:ml101"], "no teams of other organisations"
    assert projects(hub, browser) == {"lab", "open"}
    browser.cookies.clear()
    assert enter(hub, github, browser, "ines").is_success
    assert browser.get(f"{hub.url}/api/user").json()["admin"] is True
    browser.cookies.clear()
    refused = enter(hub, github, browser, "eve")
    assert refused.status_code == 403
    assert "not-allowed" in refused.text
    assert hub.users() == hub.bound() == ["ada", "ines"]


def test_a_team_that_is_left_counts_at_once_and_an_outage_for_nothing(
    hub: HubInProcess, github: GitHubRig, browser: httpx.Client
) -> None:
    enter(hub, github, browser, "Ada")
    github.faults["teams"] = Fault(status=403, headers={"x-ratelimit-remaining": "0", "retry-after": "60"})
    hub.grow_stale()
    assert groups(hub, browser) == ["my-school", "my-school:ml101"]
    assert browser.get(f"{hub.url}/home").url.path == "/hub/home"
    del github.faults["teams"]
    hub.forget_provider()
    github.accounts["Ada"] = Account(7, {"my-school": ["another"]})
    hub.run(lambda: setattr(hub.method, "_waited", 0.0))
    hub.grow_stale()
    assert groups(hub, browser) == ["my-school", "my-school:another"]
    assert projects(hub, browser) == {"open"}


def test_a_revoked_token_and_a_left_organisation_end_the_session(
    hub: HubInProcess, github: GitHubRig, browser: httpx.Client
) -> None:
    enter(hub, github, browser, "Ada")
    github.revoke("Ada")
    hub.grow_stale()
    assert browser.get(f"{hub.url}/home").url.path == "/hub/login"
    enter(hub, github, browser, "Ada")
    github.accounts["Ada"] = Account(7, {"elsewhere": ["ml101"]})
    hub.grow_stale()
    assert browser.get(f"{hub.url}/home").url.path == "/hub/login"
    assert browser.get(f"{hub.url}/api/user").status_code == 403
    assert "signed out" in "\n".join(hub.log.lines)


def test_a_login_that_changes_hands_is_not_the_same_person(
    hub: HubInProcess, github: GitHubRig, browser: httpx.Client
) -> None:
    """GitHub gives a login that was given up to whoever asks for it first; the number stays."""
    enter(hub, github, browser, "Ada")
    browser.cookies.clear()
    github.accounts["Ada"] = Account(70, {"my-school": ["ml101"]})
    refused = enter(hub, github, browser, "Ada")
    assert refused.status_code == 403
    assert "name-taken" in refused.text


def test_a_hub_for_every_account_shows_open_projects_only(
    tmp_path: Path, github: GitHubRig, browser: httpx.Client
) -> None:
    with HubInProcess(tmp_path, policy(tmp_path, github, "  allowed: {anyone: true}\n")) as hub:
        assert enter(hub, github, browser, "eve").is_success
        assert projects(hub, browser) == {"open"}
        signed_out = browser.get(f"{hub.url}/logout")
        assert "You may still be signed in" in signed_out.text


def test_no_secret_is_logged(hub: HubInProcess, github: GitHubRig, browser: httpx.Client) -> None:
    enter(hub, github, browser, "Ada")
    said = "\n".join(hub.log.lines)
    assert github.secret not in said
    assert not [token for token in github._tokens if token in said]
