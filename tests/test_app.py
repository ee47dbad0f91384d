"""AIHub as the shell around the core: what is admitted, known, remembered and shown."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Collection, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from aihub.app import Admission, AIHub, Ending, Seen
from aihub.catalog import TagState
from aihub.errors import PolicyFileError, Reason, Refusal, RefusedError
from aihub.ledger import Entry, Phase, ServerKey
from aihub.pages import Chrome
from aihub.plan import Plan
from aihub.projects import Decisions, ImageDecision, Person
from tests.hub_rig import POLICY, FakeSite, hub_user, loaded_aihub

ADA = Person("ada", frozenset({"/students"}))


@pytest.fixture
def site() -> FakeSite:
    return FakeSite()


@pytest.fixture
def loaded(tmp_path: Path, site: FakeSite) -> Iterator[AIHub]:
    with loaded_aihub(tmp_path, site) as aihub:
        yield aihub


@pytest.fixture
async def aihub(loaded: AIHub) -> AsyncIterator[AIHub]:
    await loaded.open(())
    yield loaded
    await loaded.close()


def reason(verdict: Plan | Refusal) -> Reason | None:
    return verdict.reason if isinstance(verdict, Refusal) else None


async def refused(aihub: AIHub, server: str, options: object) -> Reason:
    with pytest.raises(RefusedError) as raised:
        await aihub.admit(ADA, server, options)
    return raised.value.refusal.reason


# --- admission -------------------------------------------------------------------------------------------------------


async def test_a_start_that_is_admitted_is_held_until_it_is_released(aihub: AIHub) -> None:
    admission = await aihub.admit(ADA, "", {"image": "plain:2"})
    entry = admission.entry
    assert (admission.image, admission.profile, entry.phase) == ("plain:2", "small", Phase.RESERVED)
    assert aihub.store.open_rows() == (entry,)

    await aihub.running(admission, "pid 7")
    held = aihub.ledger.get(entry.id)
    assert held is not None
    assert (held.phase, held.uid) == (Phase.RUNNING, "pid 7")
    assert aihub.store.open_rows() == ()

    aihub.releasing(admission)
    assert aihub.ledger.entries()[0].phase is Phase.RELEASING
    await aihub.released(admission)
    assert aihub.ledger.entries() == ()


async def test_what_the_policy_refuses_holds_nothing(aihub: AIHub) -> None:
    assert await refused(aihub, "", {"image": "plain:3"}) is Reason.UNKNOWN_IMAGE
    assert await refused(aihub, "", []) is Reason.INVALID_OPTIONS
    assert aihub.ledger.entries() == ()
    assert aihub.store.open_rows() == ()


async def test_the_ledger_has_the_last_word(aihub: AIHub) -> None:
    await aihub.admit(ADA, "", {})
    assert reason(aihub.check(ADA, "", {})) is Reason.SERVER_BUSY
    assert await refused(aihub, "", {}) is Reason.SERVER_BUSY
    assert reason(aihub.check(ADA, "two", {})) is None
    await aihub.admit(ADA, "two", {})
    assert reason(aihub.check(ADA, "three", {})) is Reason.QUOTA_MEMBER
    assert await refused(aihub, "three", {}) is Reason.QUOTA_MEMBER


async def test_a_check_reserves_nothing(aihub: AIHub) -> None:
    plan = aihub.check(ADA, "", {})
    assert isinstance(plan, Plan)
    assert plan.reference == "plain:1"
    assert aihub.ledger.entries() == ()


async def test_without_knowledge_of_usage_no_accelerator_is_handed_out(loaded: AIHub) -> None:
    # Before `open`, the ledger does not know what runs.
    assert reason(loaded.check(ADA, "", {"profile": "gpu"})) is Reason.QUOTA_UNKNOWN


async def test_a_database_that_cannot_be_written_refuses_and_holds_nothing(aihub: AIHub) -> None:
    with aihub.store._engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE reservation")
    assert await refused(aihub, "", {}) is Reason.STORE_UNAVAILABLE
    assert aihub.ledger.entries() == ()


async def test_a_start_that_the_last_hub_did_not_finish_counts_while_it_may_land(tmp_path: Path) -> None:
    with loaded_aihub(tmp_path, FakeSite()) as first:
        await first.open(())
        await first.admit(ADA, "", {})
        await first.close()
    with loaded_aihub(tmp_path, FakeSite()) as second:
        await second.open(())
        (entry,) = second.ledger.entries()
        assert entry.deadline is not None
        assert entry.deadline <= time.time() + second.landing_seconds
        await second.close()


async def test_a_new_hub_finds_what_the_last_one_held(tmp_path: Path) -> None:
    site = FakeSite()
    with loaded_aihub(tmp_path, site) as first:
        await first.open(())
        running = await first.admit(ADA, "", {})
        coming = await first.admit(ADA, "two", {})
        await first.close()
    alive = replace(running.entry, phase=Phase.RUNNING)
    site.seen = Seen((alive,), absent={coming.entry.id})
    with loaded_aihub(tmp_path, site) as second:
        assert second.ledger.usage("ada") is None
        await second.open({running.entry.id})
        assert site.looked[-1] == ((running.entry.id, coming.entry.id), (running.entry.id,))
        assert [entry.id for entry in second.ledger.entries()] == [running.entry.id]
        assert second.store.open_rows() == ()
        await second.close()


# --- what is remembered ----------------------------------------------------------------------------------------------


async def test_an_admission_survives_as_json(aihub: AIHub) -> None:
    admission = await aihub.admit(ADA, "two", {"profile": "gpu"})
    again = Admission.from_state(json.loads(json.dumps(admission.as_state())))
    assert again == replace(admission, plan=None)
    assert again.entry.devices == ("0",)
    assert again.accelerator_count == 1


async def test_an_ending_keeps_the_last_lines_and_what_was_started(aihub: AIHub) -> None:
    admission = await aihub.admit(ADA, "", {})
    before = datetime.now(UTC)
    ending = Ending.of(Refusal(Reason.START_FAILED), admission, [str(n) for n in range(50)], started=False)
    assert ending.lines == tuple(str(n) for n in range(30, 50))
    assert (ending.project, ending.image, ending.profile, ending.started) == ("lab", "plain:1", "small", False)
    assert before <= ending.at <= datetime.now(UTC)


def an_ending(image: str = "plain:1", *, project: str = "lab", started: bool = False) -> Ending:
    return Ending(datetime.now(UTC), Refusal(Reason.START_FAILED), project=project, image=image, started=started)


def test_endings_are_bounded_and_the_oldest_go(loaded: AIHub) -> None:
    loaded.MAX_ENDINGS = 3
    for number in range(5):
        loaded.ended(ServerKey(f"person{number}"), an_ending())
    loaded.ended(ServerKey("person2"), an_ending("plain:2"))  # the newest now
    loaded.ended(ServerKey("person5"), an_ending())
    kept = [number for number in range(6) if loaded.ending(ServerKey(f"person{number}"))]
    assert kept == [2, 4, 5]
    newest = loaded.ending(ServerKey("person2"))
    assert newest is not None
    assert newest.image == "plain:2"


async def test_the_next_start_forgets_how_the_last_one_ended(aihub: AIHub) -> None:
    aihub.ended(ServerKey("ada"), an_ending())
    assert await refused(aihub, "", {"image": "plain:3"}) is Reason.UNKNOWN_IMAGE
    assert aihub.ending(ServerKey("ada")) is not None
    await aihub.admit(ADA, "", {})
    assert aihub.ending(ServerKey("ada")) is None


def test_failures_are_of_starts_in_the_project(loaded: AIHub) -> None:
    for number, ending in enumerate(
        [an_ending("plain:1"), an_ending("plain:2", project="other"), an_ending("plain:2", started=True)]
    ):
        loaded.ended(ServerKey("ada", f"s{number}"), ending)
    assert set(loaded.failures("lab")) == {"plain:1"}


def test_deaths_are_of_servers_that_ran_in_the_project_the_latest_first(loaded: AIHub) -> None:
    for number, ending in enumerate(
        [an_ending(started=True), an_ending(), an_ending(project="other", started=True), an_ending(started=True)]
    ):
        loaded.ended(ServerKey("ada", f"s{number}"), ending)
    assert [server.name for server, _ in loaded.deaths("lab")] == ["s3", "s0"]


TWO_SERVERS = """
imageStreams: {plain: {tags: {"1": {image: plain:1}}}}
profiles: {small: {cpu: 1, memory: 1Gi}}
projects:
  lab:
    members: {groups: [/students]}
    instructors: {groups: [/staff]}
    images: {offer: [plain]}
    profiles: {offer: [small]}
    quota: {project: {servers: 2}}
home: {size: 1Gi}
signIn: {method: local, personas: {ada: {groups: [/students]}}}
"""


@pytest.mark.parametrize(
    ("person", "holders"),
    [
        (Person("eva", frozenset({"/students"})), None),
        (Person("ines", frozenset({"/staff"})), ("ada",)),
        (Person("root", frozenset({"/students"}), admin=True), ("ada",)),
    ],
    ids=["a member", "an instructor", "an admin"],
)
async def test_who_holds_what_there_is_no_more_of_is_not_for_members(
    tmp_path: Path, site: FakeSite, person: Person, holders: object
) -> None:
    with loaded_aihub(tmp_path, site, TWO_SERVERS) as aihub:
        await aihub.open(())
        await aihub.admit(ADA, "", {})
        await aihub.admit(ADA, "second", {})
        checked = aihub.check(person, "", {})
        with pytest.raises(RefusedError) as raised:
            await aihub.admit(person, "", {})
        await aihub.close()
    assert isinstance(checked, Refusal)
    for refusal in (checked, raised.value.refusal):
        assert refusal.reason is Reason.QUOTA_PROJECT
        assert refusal.parameters.get("holders") == holders


# --- the policy file -------------------------------------------------------------------------------------------------


async def test_a_changed_policy_reaches_the_place_the_ledger_and_the_checks(
    aihub: AIHub, site: FakeSite, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.yaml"
    assert len(site.configured) == 1
    site.cpu, site.not_here = 8, {"plain:2": False}
    policy.write_text(policy.read_text().replace('default: "plain:1"', 'default: "plain:2"'))
    assert aihub.policy_file.refresh()

    assert len(site.configured) == 2
    assert site.configured[-1].policy is aihub.policy
    assert aihub.ledger.room is not None
    assert aihub.ledger.room.total["cpu"] == 8
    verdict = aihub.check(ADA, "", {})
    assert isinstance(verdict, Refusal)
    assert (verdict.reason, verdict.parameters["image"]) == (Reason.IMAGE_UNRESOLVED, "plain:2")


async def test_a_broken_policy_keeps_the_last_one_and_tells_admins_alone(
    aihub: AIHub, site: FakeSite, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(policy.read_text().replace("default: small", "default: smol"))
    assert not aihub.policy_file.refresh()
    assert len(site.configured) == 1
    assert reason(aihub.check(ADA, "", {})) is None

    chrome = aihub.chrome(hub_user("admin", admin=True))
    assert "smol" in " ".join(chrome.findings)
    assert str(policy) in chrome.findings[0]
    assert chrome.in_force_since is not None
    for user in (hub_user("ada", "/students"), hub_user("teacher", "/staff"), None):
        assert aihub.chrome(user).findings == ()


def test_a_hub_without_a_good_policy_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(PolicyFileError), loaded_aihub(tmp_path, FakeSite(), "projects: {a: 1}"):
        raise AssertionError("it was loaded")


# --- people ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "projects", "admin"),
    [
        (None, False, False),
        (hub_user("idle-culler", kind="service"), False, False),
        (hub_user("stranger"), False, False),
        (hub_user("ada", "/students"), False, False),
        (hub_user("teacher", "/staff"), True, False),
        (hub_user("admin", admin=True), True, True),
    ],
    ids=["nobody", "a service", "a stranger", "a member", "an instructor", "an admin"],
)
def test_the_header_shows_each_role_its_own(loaded: AIHub, user: object, projects: bool, admin: bool) -> None:
    chrome = loaded.chrome(user)
    assert (chrome.projects, chrome.admin, chrome.findings) == (projects, admin, ())


def test_a_person_is_name_groups_and_admin(loaded: AIHub) -> None:
    assert loaded.person(hub_user("ada", "/a", "/b")) == Person("ada", frozenset({"/a", "/b"}))
    assert loaded.person(hub_user("root", admin=True)) == Person("root", frozenset(), admin=True)


def test_decisions_count_at_once_and_never_go_back(loaded: AIHub) -> None:
    hidden = Decisions({"plain:2": ImageDecision(TagState.HIDDEN)}, None, 2)
    loaded.decided({"lab": hidden})
    assert loaded.facts(ADA).decided("lab") == hidden
    # A slower thread brings what was decided before that.
    loaded.decided({"lab": Decisions(version=1)})
    assert loaded.facts(ADA).decided("lab") == hidden
    loaded.decided({"lab": Decisions(version=3)})
    assert loaded.facts(ADA).decided("lab").version == 3


# --- following, to the end -------------------------------------------------------------------------------------------


async def test_a_look_that_fails_is_not_the_last(
    loaded: AIHub, site: FakeSite, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[Entry] = []
    again = asyncio.Event()

    async def gone(entry: Entry) -> Collection[str] | None:
        calls.append(entry)
        if len(calls) == 1:
            raise OSError("the folder cannot be read")
        again.set()
        return None

    monkeypatch.setattr(site, "gone", gone)
    loaded.sweep_interval, loaded.create_deadline = 0.1, 10
    await loaded.open(())
    await loaded.admit(ADA, "", {"project": "lab"})
    monkeypatch.setattr(loaded.admissions, "_clock", lambda: time.time() + 60)
    await asyncio.wait_for(again.wait(), 5)
    await loaded.close()
    assert "overdue reservations failed" in caplog.text


async def test_a_hub_that_ends_admits_nothing_and_still_gives_back(aihub: AIHub) -> None:
    admission = await aihub.admit(ADA, "", {"project": "lab"})
    aihub.admit_no_more()
    assert await refused(aihub, "two", {"project": "lab"}) is Reason.QUOTA_UNKNOWN
    await aihub.released(admission)
    assert aihub.ledger.entries() == ()


# --- through a provider ----------------------------------------------------------------------------------------------

COURSES = """
projectTemplates:
  course:
    images: {offer: [plain], default: "plain:1"}
    profiles: {offer: [small], default: small}
groupProjects:
  courses:
    members: /courses/<project>/students
    instructors: /courses/<project>/staff
    template: course
"""
PROVIDER = """
signIn:
  method: keycloak
  keycloak: {issuer: "https://id.example.org/realms/school", clientId: aihub}
  allowed: {groups: [/students, /courses/**]}
  admins: {groups: [/admins]}
"""


class Provider:
    """Whom people sign in with."""

    down_since: float | None = None
    last_answer: float | None = 1.0


@pytest.fixture
def school(tmp_path: Path, site: FakeSite) -> Iterator[AIHub]:
    """A hub whose people come through a provider, and whose groups make projects."""
    (tmp_path / "policy.yaml").write_text(POLICY.partition("signIn:")[0] + COURSES + PROVIDER)
    with loaded_aihub(tmp_path, site) as aihub:
        aihub.provider = Provider()
        yield aihub


def test_groups_that_are_seen_make_projects_and_the_place_is_told(school: AIHub, site: FakeSite) -> None:
    assert set(school.policy.projects) == {"lab"}
    told = len(site.configured)
    school.groups_seen(["/courses/bio/students", "/students"])
    assert set(school.policy.projects) == set(site.configured[-1].policy.projects) == {"lab", "bio"}
    assert len(site.configured) == told + 1
    student = Person("zoe", frozenset({"/courses/bio/students"}))
    assert [choice.project.name for choice in school.choices(student)] == ["bio"]
    assert reason(school.check(ADA, "", {"project": "bio"})) is Reason.UNKNOWN_PROJECT


def test_groups_that_are_known_or_make_nothing_cost_nothing(school: AIHub, site: FakeSite) -> None:
    school.groups_seen(["/courses/bio/students"])
    told, policy = len(site.configured), school.policy
    for groups in (["/courses/bio/students"], ["/choir"], ["/courses/bio/students/tuesday"], []):
        school.groups_seen(groups)
    assert len(site.configured) == told
    assert school.policy is policy


def test_a_changed_policy_file_keeps_the_projects_of_groups(school: AIHub, tmp_path: Path) -> None:
    school.groups_seen(["/courses/bio/students", "/teams/blue"])
    path = tmp_path / "policy.yaml"
    path.write_text(path.read_text().replace("template: course", "name: c-<project>\n    template: course"))
    assert school.policy_file.refresh()
    assert set(school.policy.projects) == {"lab", "c-bio"}
    path.write_text(path.read_text().replace("/courses/<project>/students", "/teams/<project>"))
    assert school.policy_file.refresh()
    assert set(school.policy.projects) == {"lab", "c-blue"}, "groups are known that made nothing before"


def test_a_group_that_makes_no_project_is_for_admins_to_read(school: AIHub) -> None:
    school.groups_seen(["/courses/lab/students", "/courses/Big One/students"])
    assert [warning.group for warning in school.group_warnings] == [
        "/courses/Big One/students",
        "/courses/lab/students",
    ]
    assert set(school.policy.projects) == {"lab"}
    assert school.policy.projects["lab"].members.groups == ("/students",)


def test_an_identity_that_goes_on_without_an_answer_is_not_confirmed(school: AIHub) -> None:
    assert school.facts(ADA).identity_confirmed
    school.identity_confirmed("ada", time.time())
    assert school.facts(ADA).identity_confirmed
    school.identity_kept("ada")
    assert not school.facts(ADA).identity_confirmed
    state = school.identity_of("ada")
    assert state is not None
    assert state.kept
    school.identity_ended("ada")
    assert school.identity_of("ada") is None


def test_without_a_provider_nobody_waits_for_its_answer(loaded: AIHub) -> None:
    loaded.identity_kept("ada", 1.0)
    assert loaded.facts(ADA).identity_confirmed


async def test_the_metrics_know_whose_server_relies_on_an_identity(aihub: AIHub) -> None:
    aihub.identity_confirmed("ada", 400.0)
    assert aihub.standing(500.0).oldest is None
    await aihub.admit(ADA, "", {})
    assert aihub.standing(500.0).oldest == 100.0


def test_admins_read_of_the_provider_around_every_page(school: AIHub) -> None:
    school.identity_confirmed("ada", 1.0)
    school.identity_confirmed("zoe", 1000.0, groups_missing=True)
    school.checks = (
        SimpleNamespace(name="discovery", state="passed", detail=""),
        SimpleNamespace(name="client secret", state="warning", detail="it expires in 3 days"),
        SimpleNamespace(name="sign-out", state="warning", detail="it has no end_session_endpoint"),
        SimpleNamespace(name="groups", state="notChecked", detail="because nobody is named"),
    )
    chrome = school.chrome(hub_user("root", admin=True))
    assert (chrome.sign_in, chrome.provider, chrome.groups_missing) == (True, "id.example.org", ("zoe",))
    assert (chrome.groups_claim, chrome.keycloak_client) == ("groups", "aihub")
    assert chrome.sign_in_warnings == ("client secret: it expires in 3 days",)
    assert chrome.provider_down_since is None
    assert school.provider is not None
    school.provider.down_since = 60.0  # type: ignore[misc]
    assert school.chrome(hub_user("root", admin=True)).provider_down_since == datetime.fromtimestamp(60, UTC)
    assert school.chrome(hub_user("ada", "/students")) == Chrome()


def test_a_hub_without_a_provider_says_nothing_of_one(loaded: AIHub) -> None:
    assert not loaded.chrome(hub_user("admin", admin=True)).sign_in


async def test_what_was_admitted_remembers_when_its_person_left(aihub: AIHub) -> None:
    admission = await aihub.admit(ADA, "", {})
    assert "leftAt" not in admission.as_state(), "what is written on a pod stays as it was"
    left = replace(admission, left_at=100.0)
    assert Admission.from_state(json.loads(json.dumps(left.as_state()))).left_at == 100.0
    assert Admission.from_state(admission.as_state()).left_at is None
