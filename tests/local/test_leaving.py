"""Who leaves a project on a real hub: the server there runs on for a while, says so, and stops; files stay."""

from __future__ import annotations

import html
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.local.people import Someone, until
from tests.local.rig import Rig

GRACE = 12
POLICY = """
imageStreams:
  plain: {tags: {"1": {requirements: []}}}
profiles:
  small: {cpu: 100m, memory: 256Mi}
projects:
  lab:
    displayName: The laboratory
    members: {groups: [/students]}
    images: {offer: [plain], default: "plain:1"}
    profiles: {offer: [small], default: small}
    contact: lab-help@example.org
signIn:
  personas:
    ada: {groups: [/students]}
    bob: {groups: [/students]}
    cyd: {groups: [/students]}
  afterLeaving: {stopServersAfter: %ds}
"""
LEFT = "You are no longer in The laboratory."


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY % GRACE)
    return path


@pytest.fixture
def rig(make_hub: Callable[..., Rig], policy: Path) -> Rig:
    made = make_hub(policy=(policy,))
    made.start()
    return made


def leave(policy: Path, name: str, instead: str = "groups: []") -> None:
    policy.write_text(policy.read_text().replace(f"{name}: {{groups: [/students]}}", f"{name}: {{{instead}}}"))


def home(person: Someone) -> str:
    return html.unescape(person.pages.get("/hub/home").text)


def test_a_server_stops_some_time_after_its_person_left_the_project(rig: Rig, policy: Path) -> None:
    ada, bob, cyd = (Someone.of(rig, name) for name in ("ada", "bob", "cyd"))
    for person in (ada, bob, cyd):
        person.start({})
    assert ada.run("open('kept.txt', 'w').write('work')") == ""
    assert LEFT not in home(ada)

    began = time.monotonic()
    leave(policy, "ada")
    leave(policy, "cyd")
    page = until(lambda: LEFT in home(ada) and home(ada), "the home page says it", within=GRACE)
    assert "This server stops at" in page
    assert ada.running()
    answer = ada.ask({}, "two")
    assert (answer.status_code, answer.headers["AIHub-Reason"]) == (403, "unknown-project")

    until(lambda: LEFT in home(cyd), "the home page says it", within=GRACE)
    policy.write_text(policy.read_text().replace("cyd: {groups: []}", "cyd: {groups: [/students]}"))

    until(lambda: not ada.running(), "the server stops", within=3 * GRACE)
    assert time.monotonic() - began >= GRACE
    # The route is gone from the proxy: the hub itself answers there.
    assert ada.api.get(f"{ada.base()}/api/status").status_code in {424, 503}
    assert [path.read_text() for path in rig.state_dir.rglob("kept.txt")] == ["work"]
    stopped = html.unescape(ada.pages.get("/hub/spawn-pending/ada").text)
    for said in (LEFT, "Files in your home are safe.", "lab-help@example.org"):
        assert said in stopped
    assert LEFT in home(ada)

    assert bob.running(), "who stays keeps the server"
    time.sleep(max(0.0, began + 2.5 * GRACE - time.monotonic()))
    assert cyd.running(), "who is back in time keeps the server"
    assert LEFT not in home(cyd)


def test_the_time_counts_on_in_a_hub_that_starts_anew(rig: Rig, policy: Path) -> None:
    ada, bob = (Someone.of(rig, name) for name in ("ada", "bob"))
    policy.write_text(policy.read_text().replace(f"stopServersAfter: {GRACE}s", "stopServersAfter: 60s"))
    for person in (ada, bob):
        person.start({})
    servers = {process.pid for process in rig.user_servers()}
    assert len(servers) == 2
    leave(policy, "ada")
    page = until(lambda: LEFT in home(ada) and home(ada), "the home page says it", within=GRACE)
    stops_at = page[page.index("This server stops at") :][:60]

    rig.kill()
    rig.start()
    assert {process.pid for process in rig.user_servers()} == servers
    assert stops_at in home(ada)
    # Somebody whom the policy file does not list any more may not even sign in.
    policy.write_text(
        policy.read_text()
        .replace("    bob: {groups: [/students]}\n", "")
        .replace("stopServersAfter: 60s", "stopServersAfter: 1s")
    )
    until(lambda: not rig.user_servers(), "both servers stop", within=30)


def test_a_policy_file_that_cannot_be_used_takes_nobody_away(rig: Rig, policy: Path) -> None:
    ada = Someone.of(rig, "ada")
    policy.write_text(policy.read_text().replace(f"stopServersAfter: {GRACE}s", "stopServersAfter: 1s"))
    ada.start({})
    policy.write_text("signIn: [nonsense")
    until(lambda: "The policy file is not used" in rig.log.read_text(), "the hub sees it", within=20)
    time.sleep(12)
    assert ada.running()
    assert isinstance(ada.pages.get("/hub/home"), httpx.Response)
    assert LEFT not in home(ada)
