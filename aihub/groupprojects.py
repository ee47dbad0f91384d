"""Projects that groups of the sign-in provider make by themselves: which groups, which projects, with whose settings.

The policy file names the groups with a mark in the place of the project's name, as in `/courses/<project>/students`.
Every group of that form that somebody is in makes a project; its members and instructors are who is in exactly those
groups.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType

from aihub.policy import Policy
from aihub.projects import Membership, Project, project_slug
from aihub.text import Text

__all__ = ["MARK", "Frame", "GroupPattern", "GroupProblem", "GroupWarning", "with_group_projects"]

MARK = "<project>"
"""What stands for the name of the project."""

_WORD = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_LONGEST = 63


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands before and after the mark."""

    before: str
    after: str

    @classmethod
    def of(cls, text: str) -> Frame:
        """The frame of a text that has the mark once."""
        before, _, after = text.partition(MARK)
        return cls(before, after)

    def inside(self, text: str) -> str | None:
        """What stands in `text` at the mark's place; None where the frame does not fit, or a `/` is in it."""
        end = len(text) - len(self.after)
        if end <= len(self.before) or not (text.startswith(self.before) and text.endswith(self.after)):
            return None
        word = text[len(self.before) : end]
        return None if "/" in word else word

    def around(self, word: str) -> str:
        """The text with `word` at the mark's place."""
        return f"{self.before}{word}{self.after}"

    def meets(self, other: Frame) -> bool:
        """Whether one text could fit both frames."""
        short, long = sorted((self.before, other.before))
        tail, end = sorted((self.after, other.after), key=len)
        # What one frame has and the other has not is part of the other's word.
        word = long[len(short) :] + end[: len(end) - len(tail)]
        return long.startswith(short) and end.endswith(tail) and "/" not in word


@dataclass(frozen=True, slots=True)
class GroupPattern:
    """Which groups make which projects. `key` is its own name in the policy file, `name` frames those of its projects.

    `display_name` may hold the mark. `template` carries the settings; its name, its people and its namespace do not
    count.
    """

    key: str
    members: Frame
    instructors: Frame | None
    name: Frame
    display_name: Text
    template: Project

    def word(self, group: str) -> str | None:
        """What `group` has in the mark's place; None where it makes no project by this pattern."""
        word = self.members.inside(group)
        return word if word is not None or self.instructors is None else self.instructors.inside(group)

    def project(self, word: str) -> Project:
        """The project that groups with `word` make."""
        shown = self.display_name
        translations = {language: text.replace(MARK, word) for language, text in shown.translations.items()}
        return replace(
            self.template,
            name=self.name.around(word),
            display_name=Text(shown.plain.replace(MARK, word), MappingProxyType(translations)),
            members=Membership((self.members.around(word),)),
            instructors=Membership((self.instructors.around(word),) if self.instructors else ()),
            namespace=None,
        )


class GroupProblem(StrEnum):
    """Why a group makes no project though it has the form."""

    UNUSABLE_NAME = "unusable-name"
    """The word in it is no name: small letters, digits and hyphens between them, not too long."""
    NAME_TAKEN = "name-taken"
    """The policy file has a project of that name, which stands."""


@dataclass(frozen=True, slots=True, order=True)
class GroupWarning:
    """A group that makes no project, and why. `project` is the name that it would have."""

    group: str
    problem: GroupProblem
    project: str


def with_group_projects(
    policy: Policy, patterns: Iterable[GroupPattern], groups: Iterable[str]
) -> tuple[Policy, tuple[GroupWarning, ...]]:
    """The policy with the projects that `groups` make beside its own, and the groups that make none though they should.

    `policy` is that of the file. Takes time by groups and patterns, so it is for when the groups change, not for every
    request.
    """
    patterns = tuple(patterns)
    taken = {project_slug(name): name for name in policy.projects}
    made: dict[str, Project] = {}
    warnings = []
    for group in sorted(set(groups)):
        for pattern in patterns:
            word = pattern.word(group)
            if word is None:
                continue
            name = pattern.name.around(word)
            if not _WORD.fullmatch(word) or len(name) > _LONGEST:
                warnings.append(GroupWarning(group, GroupProblem.UNUSABLE_NAME, name))
            elif name in taken:
                warnings.append(GroupWarning(group, GroupProblem.NAME_TAKEN, taken[name]))
            elif name not in made:
                made[name] = pattern.project(word)
    if made:
        policy = replace(policy, projects=MappingProxyType({**policy.projects, **made}))
    return policy, tuple(warnings)
