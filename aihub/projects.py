"""Projects: who belongs to one and in which role, what it offers, and what its instructors decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from aihub.catalog import TagState
from aihub.quota import Quota
from aihub.storage import ProjectStorage
from aihub.text import Text

__all__ = [
    "Decisions",
    "IdleRules",
    "ImageDecision",
    "Membership",
    "Offer",
    "Person",
    "Project",
    "Role",
    "group_matches",
    "normalised_user",
    "project_slug",
]


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who signed in: normalised user name, group paths, and whether they are an admin of the hub."""

    name: str
    groups: frozenset[str] = frozenset()
    admin: bool = False


def normalised_user(name: str) -> str:
    """A user name as JupyterHub's authenticators normalise it, which is how `Person.name` is written."""
    return name.lower()


def project_slug(name: str) -> str:
    """What folders and addresses keep of a project's name; the rule is stricter than any of them, so none collide."""
    return name.casefold().replace("_", "-").replace(".", "-")


class Role(StrEnum):
    """What a person is in a project. An instructor is a member too; ADMIN is an admin who is neither."""

    MEMBER = "member"
    INSTRUCTOR = "instructor"
    ADMIN = "admin"


def group_matches(pattern: str, group: str) -> bool:
    """Whether `pattern` matches the whole group path: `*` is one segment, `**` any number of them (also none).

    A segment is either a wildcard or literal; `a*` is the literal text "a*".
    """
    return _segments_match(pattern.split("/"), group.split("/"))


def _segments_match(pattern: list[str], group: list[str]) -> bool:
    # Reachable positions in the group after each pattern segment: linear in pattern × group, whatever the wildcards.
    reachable = {0}
    for segment in pattern:
        if segment == "**":
            reachable = set(range(min(reachable), len(group) + 1)) if reachable else set()
        else:
            reachable = {at + 1 for at in reachable if at < len(group) and segment in ("*", group[at])}
    return len(group) in reachable


@dataclass(frozen=True, slots=True)
class Membership:
    """Who belongs: by group pattern, by user name, or everybody who signed in. All empty is nobody."""

    groups: tuple[str, ...] = ()
    users: frozenset[str] = frozenset()
    everybody: bool = False

    def includes(self, person: Person) -> bool:
        """Whether `person` belongs."""
        return self.everybody or person.name in self.users or any(_in_group(pattern, person) for pattern in self.groups)


def _in_group(pattern: str, person: Person) -> bool:
    if pattern in person.groups:
        return True
    return "*" in pattern and any(group_matches(pattern, group) for group in person.groups)


@dataclass(frozen=True, slots=True)
class Offer:
    """What a project offers of the admin's images ("stream", "stream:tag") or profiles, and its default."""

    ids: tuple[str, ...] = ()
    default: str | None = None
    id_set: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "id_set", frozenset(self.ids))

    def includes_image(self, reference: str) -> bool:
        """Whether "stream:tag" is offered, by itself or with its whole stream."""
        return reference in self.id_set or reference.partition(":")[0] in self.id_set


@dataclass(frozen=True, slots=True)
class IdleRules:
    """When an idle server is stopped. Seconds; None is never."""

    stop_after: int | None = None
    max_age: int | None = None


@dataclass(frozen=True, slots=True)
class Project:
    """A course, a lab, a team. `kind` is the word shown to people ("course", "lab" or "project")."""

    name: str
    display_name: Text = Text()
    description: Text = Text()
    kind: str = "project"
    order: int = 100
    archived: bool = False
    members: Membership = Membership()
    instructors: Membership = Membership()
    images: Offer = Offer()
    profiles: Offer = Offer()
    quota: Quota = field(default_factory=lambda: MappingProxyType({}))
    member_quota: Quota = field(default_factory=lambda: MappingProxyType({}))
    storage: ProjectStorage = ProjectStorage()
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    idle: IdleRules = IdleRules()
    contact: Text = Text()
    namespace: str | None = None
    """The namespace of its servers, where every project has its own; None is the one of all user servers."""
    pull_secrets: tuple[str, ...] = ()

    def role(self, person: Person) -> Role | None:
        """The role of `person` here; None for outsiders, to whom the project does not exist."""
        if self.instructors.includes(person):
            return Role.INSTRUCTOR
        if self.members.includes(person):
            return Role.MEMBER
        return Role.ADMIN if person.admin else None


@dataclass(frozen=True, slots=True)
class ImageDecision:
    """What the instructors of a project said of one "stream:tag" that the admin lets it use."""

    state: TagState = TagState.OFFERED
    successor: str | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Decisions:
    """All that the instructors of one project decided. `version` grows by one with every change."""

    images: Mapping[str, ImageDecision] = field(default_factory=lambda: MappingProxyType({}))
    default: str | None = None
    version: int = 0
