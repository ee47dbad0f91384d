from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from aihub import live
from aihub.groupprojects import GroupProblem, GroupWarning
from aihub.identity import GitHubProvider, OidcProvider
from aihub.language import Language
from aihub.projects import Membership, Project
from aihub.signinstatus import (
    CheckFacts,
    PersonFacts,
    SignInStatus,
    StatusFacts,
    sign_in_status,
)
from aihub.text import Text

ENGLISH = Language(zone=UTC)
NOW = datetime(2026, 11, 23, 12, 4, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
KEYCLOAK = OidcProvider("https://id.example.org/realms/school", "aihub", keycloak=True)


def status(**facts: object) -> SignInStatus:
    known = StatusFacts(**{"provider": KEYCLOAK, "max_age": 12 * 3600, **facts})  # type: ignore[arg-type]
    return sign_in_status(known, ENGLISH, now=NOW)


def line(page: SignInStatus, label: str) -> tuple[str, str, str]:
    found = next(each for each in page.lines if each.label == label)
    return (found.pill.tone if found.pill else "", found.pill.word if found.pill else "", found.text)


def test_without_a_provider_there_is_nothing_to_show() -> None:
    page = status(provider=None, people=(PersonFacts("ada", NOW),))
    assert (page.through, page.lines, page.people) == (False, (), ())


STATES = {
    "never asked": ({}, ("no", "Not asked yet", "Nobody has signed in since the hub started.")),
    "answers": ({"last_answer": NOW - 3 * MINUTE}, ("ok", "Answers", "Last answer 12:01, 3 min ago.")),
    "silent": (
        {"last_answer": NOW - 2 * HOUR, "down_since": NOW - HOUR},
        ("bad", "Silent", "Since 11:04. Last answer 10:04, 2 h ago."),
    ),
    "silent from the start": ({"down_since": NOW - 26 * HOUR}, ("bad", "Silent", "Since 22 Nov, 10:04.")),
}


@pytest.mark.parametrize(("facts", "shown"), STATES.values(), ids=STATES.keys())
def test_the_state_of_the_provider_has_its_age(facts: dict[str, object], shown: tuple[str, str, str]) -> None:
    assert line(status(**facts), "State") == shown


def test_github_shows_organizations_instead_of_claims() -> None:
    page = status(provider=GitHubProvider("Iv1", organizations=("school", "lab")))
    assert line(page, "Organizations")[2] == "school, lab"
    assert line(page, "Provider")[2] == "GitHub"
    assert not [each for each in page.lines if "laim" in each.label]


def test_the_sources_of_groups_are_named_by_their_claim() -> None:
    provider = OidcProvider(
        "https://id.example.org", "aihub", groups_claim="member_of", groups_from=("groups", "realmRoles")
    )
    assert line(status(provider=provider), "Groups from")[2] == "member_of, realmRoles"


IDENTITIES = {
    "confirmed": (PersonFacts("a", NOW - HOUR), "ok", "Confirmed"),
    "kept": (PersonFacts("a", NOW - HOUR, kept=True), "wait", "Goes on without an answer"),
    "without groups": (PersonFacts("a", NOW - HOUR, groups_missing=True), "bad", "Without groups"),
    "too old": (PersonFacts("a", NOW - 12 * HOUR - MINUTE, kept=True), "bad", "Too old: signs in again"),
}


@pytest.mark.parametrize(("person", "tone", "word"), IDENTITIES.values(), ids=IDENTITIES.keys())
def test_an_identity_has_a_state(person: PersonFacts, tone: str, word: str) -> None:
    row = status(people=(person,)).people[0]
    assert (row.pill.tone, row.pill.word) == (tone, word)


def test_the_hundred_oldest_identities_are_listed_and_the_others_counted() -> None:
    people = tuple(PersonFacts(f"p{number:03}", NOW - number * MINUTE) for number in range(103))
    page = status(people=people)
    assert [page.people[0].name, page.people[0].age, page.people[-1].name] == ["p102", "1 h 42 min", "p003"]
    assert (len(page.people), page.more) == (100, "and 3 more people")
    assert status(people=people[:100]).more == ""


def test_checks_have_a_word_for_each_end() -> None:
    checks = tuple(CheckFacts("keys", state.value, "why", "what to do") for state in live.CheckState)
    assert {(row.pill.tone, row.pill.word) for row in status(checks=checks).checks} == {
        ("ok", "Passed"),
        ("bad", "Failed"),
        ("wait", "Needs a look"),
        ("no", "Not checked"),
    }
    row = status(checks=checks[:1]).checks[0]
    assert (row.title, row.detail, row.help) == ("Keys that sign", "why", "what to do")


def test_a_check_that_the_page_does_not_know_has_its_own_name() -> None:
    assert status(checks=(CheckFacts("PKCE", "warning"),)).checks[0].title == "PKCE"


def test_projects_made_by_groups_name_their_groups_and_those_that_made_none_say_why() -> None:
    project = Project(
        "ml101", Text("ML 101"), members=Membership(("/c/ml101/s",)), instructors=Membership(("/c/ml101/t",))
    )
    warnings = (
        GroupWarning("/c/C++/s", GroupProblem.UNUSABLE_NAME, "C++"),
        GroupWarning("/c/lab/s", GroupProblem.NAME_TAKEN, "lab"),
    )
    page = status(patterns=True, projects=(project,), warnings=warnings)
    assert [(row.id, row.name, row.members, row.instructors) for row in page.projects] == [
        ("ml101", "ML 101", "/c/ml101/s", "/c/ml101/t")
    ]
    assert "“C++” is no name" in page.warnings[0]
    assert "the policy file has the project “lab”" in page.warnings[1]
