"""Page data of the state of sign-in, for admins: the provider, the checks, whose identity is how old, group projects.

Nothing here asks anybody: the page shows what the hub knows already, with its age.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from aihub.groupprojects import GroupProblem, GroupWarning
from aihub.identity import GitHubProvider, OidcProvider, Provider
from aihub.language import Language
from aihub.parts import Pill
from aihub.projects import Project

__all__ = [
    "CheckFacts",
    "PersonFacts",
    "SignInStatus",
    "StatusFacts",
    "sign_in_status",
]

MOST = 100
"""People that the page lists, those with the oldest identities first."""


@dataclass(frozen=True, slots=True)
class CheckFacts:
    """A check (`aihub.live.Check`): its name and state, why it ended so and what to do, in the English of the log."""

    name: str
    state: str
    detail: str = ""
    help: str = ""


@dataclass(frozen=True, slots=True)
class PersonFacts:
    """Whose identity, when the provider last confirmed it, and whether it gave no answer when it was last asked.

    `groups_missing`: it should have sent groups, and sent none.
    """

    name: str
    confirmed_at: datetime
    kept: bool = False
    groups_missing: bool = False


@dataclass(frozen=True, slots=True)
class StatusFacts:
    """What the hub knows of sign-in. `max_age` is how long an identity holds without a new answer, in seconds.

    `patterns` says whether the policy file makes projects of groups at all, `projects` are those that groups made,
    `warnings` the groups that made none. `people` may be many.
    """

    provider: Provider | None
    public_url: str = ""
    max_age: int = 0
    last_answer: datetime | None = None
    down_since: datetime | None = None
    checks: Sequence[CheckFacts] = ()
    people: Sequence[PersonFacts] = ()
    patterns: bool = False
    projects: Sequence[Project] = ()
    warnings: Sequence[GroupWarning] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """A fact with its label; `code` shows the text as it stands in a file. With a pill the text is its remark."""

    label: str
    text: str
    code: bool = False
    pill: Pill | None = None


@dataclass(frozen=True, slots=True)
class CheckRow:
    """A check as shown; `detail` and `help` are in the English of the log."""

    title: str
    pill: Pill
    detail: str
    help: str


@dataclass(frozen=True, slots=True)
class PersonRow:
    """A person as shown."""

    name: str
    confirmed: str
    age: str
    pill: Pill


@dataclass(frozen=True, slots=True)
class ProjectRow:
    """A project made by groups, as shown, with the groups of its members and its instructors."""

    id: str
    name: str
    members: str
    instructors: str


@dataclass(frozen=True, slots=True)
class SignInStatus:
    """The page. `through` says whether people sign in through a provider at all; without one there is nothing else.

    `more` is how many people are not listed, `patterns` whether groups make projects.
    """

    as_of: str
    as_of_iso: str
    through: bool = False
    lines: tuple[Line, ...] = ()
    checks: tuple[CheckRow, ...] = ()
    people: tuple[PersonRow, ...] = ()
    more: str = ""
    patterns: bool = False
    projects: tuple[ProjectRow, ...] = ()
    warnings: tuple[str, ...] = ()


def sign_in_status(facts: StatusFacts, language: Language, *, now: datetime) -> SignInStatus:
    """The page as of `now`."""
    as_of, iso = language.clock(now), now.isoformat()
    if facts.provider is None:
        return SignInStatus(as_of, iso)
    oldest = sorted(facts.people, key=lambda person: (person.confirmed_at, person.name))
    more = len(oldest) - MOST
    return SignInStatus(
        as_of,
        iso,
        through=True,
        lines=(_state(facts, language, now), *_lines(facts, facts.provider, language)),
        checks=tuple(_check(check, language) for check in facts.checks),
        people=tuple(_person(person, facts.max_age, language, now) for person in oldest[:MOST]),
        more=language.say_n("and {n} more person", "and {n} more people", more) if more > 0 else "",
        patterns=facts.patterns,
        projects=tuple(_project(project, language) for project in facts.projects),
        warnings=tuple(_warning(warning, language) for warning in facts.warnings),
    )


def _state(facts: StatusFacts, language: Language, now: datetime) -> Line:
    say = language.say
    label = say("State")
    answered = ""
    if facts.last_answer:
        answered = say(
            "Last answer {time}, {age} ago.",
            time=language.moment(facts.last_answer, now),
            age=_age(facts.last_answer, language, now),
        )
    if facts.down_since:
        silent = say("Since {time}.", time=language.moment(facts.down_since, now))
        return Line(label, language.sentences(silent, answered), pill=Pill("bad", say("Silent")))
    if answered:
        return Line(label, answered, pill=Pill("ok", say("Answers")))
    return Line(label, say("Nobody has signed in since the hub started."), pill=Pill("no", say("Not asked yet")))


def _age(at: datetime, language: Language, now: datetime) -> str:
    seconds = (now - at).total_seconds()
    return language.duration(seconds // 60 * 60 if seconds >= 60 else seconds)


def _lines(facts: StatusFacts, provider: Provider, language: Language) -> tuple[Line, ...]:
    say = language.say
    lines = [
        Line(say("Provider"), _kind(provider)),
        Line(say("Issuer") if isinstance(provider, OidcProvider) else say("Address"), provider.issuer, code=True),
        Line(say("Client"), provider.client_id, code=True),
    ]
    if isinstance(provider, OidcProvider):
        lines.append(Line(say("User name from the claim"), provider.username_claim, code=True))
        lines.append(Line(say("Groups from"), _sources(provider), code=True))
    else:
        organizations = language.listed(provider.organizations)
        lines.append(
            Line(say("Organizations"), organizations or say("All that a person is in"), code=bool(organizations))
        )
    if facts.public_url:
        lines.append(Line(say("Address of this hub"), facts.public_url, code=True))
    lines.append(
        Line(say("An identity holds"), say("{time} without a new answer", time=language.duration(facts.max_age)))
    )
    return tuple(lines)


def _kind(provider: Provider) -> str:
    if isinstance(provider, GitHubProvider):
        return "GitHub"
    return "Keycloak" if provider.keycloak else "OpenID Connect"


def _sources(provider: OidcProvider) -> str:
    names = {"groups": provider.groups_claim}
    return ", ".join(names.get(each, each) for each in provider.groups_from)


def _check(check: CheckFacts, language: Language) -> CheckRow:
    say = language.say
    titles = {
        "discovery": say("Discovery"),
        "certificate": say("Certificate of the provider"),
        "keys": say("Keys that sign"),
        "client": say("The hub as a client"),
        "redirect address": say("The way back to the hub"),
        "groups": say("Groups of a test user"),
        "sign-out": say("Signing out at the provider"),
        "back-channel logout": say("Back-channel logout"),
        "client secret": say("Client secret"),
        "CA file": say("CA file"),
        "JUPYTERHUB_CRYPT_KEY": say("Key that encrypts tokens"),
    }
    pills = {
        "passed": Pill("ok", say("Passed")),
        "failed": Pill("bad", say("Failed")),
        "warning": Pill("wait", say("Needs a look"), "warn"),
    }
    pill = pills.get(check.state, Pill("no", say("Not checked")))
    return CheckRow(titles.get(check.name, check.name), pill, check.detail, check.help)


def _person(person: PersonFacts, max_age: int, language: Language, now: datetime) -> PersonRow:
    return PersonRow(
        person.name,
        language.moment(person.confirmed_at, now),
        _age(person.confirmed_at, language, now),
        _identity_pill(person, max_age, language, now),
    )


def _identity_pill(person: PersonFacts, max_age: int, language: Language, now: datetime) -> Pill:
    if (now - person.confirmed_at).total_seconds() > max_age:
        return Pill("bad", language.say("Too old: signs in again"))
    if person.groups_missing:
        return Pill("bad", language.say("Without groups"))
    if person.kept:
        return Pill("wait", language.say("Goes on without an answer"))
    return Pill("ok", language.say("Confirmed"))


def _project(project: Project, language: Language) -> ProjectRow:
    return ProjectRow(
        project.name,
        language.text(project.display_name, project.name),
        language.listed(project.members.groups),
        language.listed(project.instructors.groups),
    )


def _warning(warning: GroupWarning, language: Language) -> str:
    values = {"group": warning.group, "project": warning.project}
    if warning.problem is GroupProblem.NAME_TAKEN:
        return language.say(
            "The group {group} makes no project: the policy file has the project “{project}”, which stands.", **values
        )
    return language.say(
        "The group {group} makes no project: “{project}” is no name. A name has small letters, digits and "
        "hyphens between them, 63 at most.",
        **values,
    )
