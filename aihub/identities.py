"""What the hub knows of everybody's identity: when the provider last confirmed it, and whether it did when last asked.

Kept in memory by the hub process, filled by the sign-in method; a hub that starts learns it anew from each request.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

__all__ = ["Identities", "IdentityState", "ProviderState"]

RECENTLY = 600.0
"""Seconds for which an answer with a groups claim shows that the provider's client has its mapper."""


class ProviderState(Protocol):
    """How the provider does, as the client that asks it knows. Unix seconds; None is never, or not now."""

    @property
    def down_since(self) -> float | None:
        """Since when it has not answered."""

    @property
    def last_answer(self) -> float | None:
        """When it last answered."""


@dataclass(frozen=True, slots=True)
class IdentityState:
    """An identity as it counts now.

    `confirmed_at`: unix seconds of the provider's last good answer about the person. `kept`: when it was last asked it
    gave none, and that last good one goes on. `groups_missing`: the good one came without any groups claim.
    """

    confirmed_at: float
    kept: bool = False
    groups_missing: bool = False


class Identities(Mapping[str, IdentityState]):
    """The identities that count, by user name. `now` gives unix seconds."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._states: dict[str, IdentityState] = {}
        self._without: dict[str, float] = {}
        self._claim_at = -math.inf

    @property
    def without_groups(self) -> frozenset[str]:
        """Whose last good answer had no groups claim, and says nothing of what they belong to; signed out or not.

        Keycloak sends none for somebody in no group either. So it counts once a later answer about anybody has one:
        then the provider does send groups, and there are none.
        """
        return frozenset(name for name, at in self._without.items() if at >= self._claim_at)

    @property
    def no_groups_claim(self) -> frozenset[str]:
        """Those of `without_groups` whom admins hear of: for a while nobody else had a groups claim either."""
        return frozenset(name for name, at in self._without.items() if at >= self._claim_at + RECENTLY)

    def confirmed(self, name: str, at: float, *, groups_missing: bool = False) -> None:
        """The provider gave a good answer about `name` at `at` (unix seconds)."""
        self._states[name] = IdentityState(at, groups_missing=groups_missing)
        if groups_missing:
            self._without[name] = at
        else:
            self._without.pop(name, None)
            self._claim_at = max(self._claim_at, at)

    def kept(self, name: str, confirmed_at: float | None = None) -> None:
        """The provider was silent, or the session there is over: the last good identity goes on.

        `confirmed_at` is for a hub that has not heard of the person since it started; without it the age counts from
        now.
        """
        known = self._states.get(name) or IdentityState(self._now() if confirmed_at is None else confirmed_at)
        self._states[name] = replace(known, kept=True)

    def ended(self, name: str) -> None:
        """`name` signed out, was signed out, or has to sign in again."""
        self._states.pop(name, None)

    def __getitem__(self, name: str) -> IdentityState:
        return self._states[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._states)

    def __len__(self) -> int:
        return len(self._states)
