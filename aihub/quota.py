"""Quotas: ceilings at three levels, and the one check that admits a start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType

from aihub.resources import Resources, sort_keys

__all__ = ["ADMIT", "Admit", "Amounts", "Deny", "Level", "Quota", "Quotas", "check", "denials"]


class Level(StrEnum):
    """Whose quota, in the order of the tests: the project's, the member's in it, the user's over all projects."""

    PROJECT = "project"
    MEMBER = "member"
    USER = "user"


Quota = Mapping[str, Decimal]
"""Ceilings by resource key. No key is no limit; 0 is none allowed."""


@dataclass(frozen=True, slots=True)
class Quotas:
    """The quotas that one start of one person in one project meets."""

    project: Quota = field(default_factory=lambda: MappingProxyType({}))
    member: Quota = field(default_factory=lambda: MappingProxyType({}))
    user: Quota = field(default_factory=lambda: MappingProxyType({}))

    def at(self, level: Level) -> Quota:
        """The quota of one level."""
        return {Level.PROJECT: self.project, Level.MEMBER: self.member, Level.USER: self.user}[level]


@dataclass(frozen=True, slots=True)
class Amounts:
    """Amounts at the three levels: what is used, or what a start adds."""

    project: Resources = Resources()
    member: Resources = Resources()
    user: Resources = Resources()

    @classmethod
    def everywhere(cls, amount: Resources) -> Amounts:
        """The same amount at every level, as servers and their requests count."""
        return cls(amount, amount, amount)

    def at(self, level: Level) -> Resources:
        """The amount at one level."""
        return {Level.PROJECT: self.project, Level.MEMBER: self.member, Level.USER: self.user}[level]

    def __add__(self, other: Amounts) -> Amounts:
        return Amounts(self.project + other.project, self.member + other.member, self.user + other.user)

    def __sub__(self, other: Amounts) -> Amounts:
        return Amounts(self.project - other.project, self.member - other.member, self.user - other.user)


@dataclass(frozen=True, slots=True)
class Admit:
    """The request fits every quota."""


ADMIT = Admit()


@dataclass(frozen=True, slots=True)
class Deny:
    """The first quota that the request would exceed. Amounts are in the units of `Resources`.

    `ever` tells whether the request alone fits the limit: it can then be admitted once others have stopped.
    """

    level: Level
    key: str
    limit: Decimal
    used: Decimal
    requested: Decimal

    @property
    def ever(self) -> bool:
        """Whether the request would fit if nothing else were in use."""
        return self.requested <= self.limit


def denials(request: Amounts, usage: Amounts, quotas: Quotas) -> list[Deny]:
    """Every quota that `request` on top of `usage` would exceed, in the order in which rules name them.

    Only keys of which the request wants some are tested, so that a lowered quota stops nothing else.
    """
    return [
        Deny(level, key, quotas.at(level)[key], usage.at(level)[key], request.at(level)[key])
        for level in Level
        for key in sort_keys(quotas.at(level))
        if request.at(level)[key] > 0 and (usage.at(level) + request.at(level))[key] > quotas.at(level)[key]
    ]


def check(request: Amounts, usage: Amounts, quotas: Quotas) -> Admit | Deny:
    """Admit `request` on top of `usage`, or deny it with the first quota it would exceed."""
    return next(iter(denials(request, usage, quotas)), ADMIT)
