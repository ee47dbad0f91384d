"""What is the case right now, as the policy needs to know it: usage, machines, instructors' decisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from aihub.projects import Decisions
from aihub.quota import Amounts
from aihub.resources import Resources
from aihub.storage import Claim

__all__ = ["Facts", "Machine", "Pool", "Taint", "Usage"]


@dataclass(frozen=True, slots=True)
class Usage:
    """What one person and the projects use now: reserved, running and still being released (design.md §7).

    `projects` and `members` are by project id, `members` and `user` are this person's own.
    """

    projects: Mapping[str, Resources] = field(default_factory=lambda: MappingProxyType({}))
    members: Mapping[str, Resources] = field(default_factory=lambda: MappingProxyType({}))
    user: Resources = Resources()

    def at(self, project: str) -> Amounts:
        """Usage at the three levels that a start in `project` meets."""
        nothing = Resources()
        return Amounts(self.projects.get(project, nothing), self.members.get(project, nothing), self.user)


@dataclass(frozen=True, slots=True)
class Taint:
    """What keeps pods off a machine unless they tolerate it; fields as in the Kubernetes NodeSpec."""

    key: str
    value: str = ""
    effect: str = "NoSchedule"


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine that runs servers: what it has for them in all, and what of that is free.

    `labels` and `taints` are those of the node of a cluster; one machine has none.
    """

    name: str
    total: Resources
    free: Resources
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    taints: tuple[Taint, ...] = ()


@dataclass(frozen=True, slots=True)
class Pool:
    """Machines that an autoscaler starts when they are needed: one of them, empty, and within how many seconds."""

    name: str
    machine: Machine
    starts_within: int | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts of one moment for one person.

    `usage` is None while it is not known, `machines` None while nothing is known of them (then neither *never fits*
    nor *no capacity* is said); `machines_as_of` is when they were read, None for `as_of`. `claims` are those that are
    in `usage` already, by id, as they are charged. `unresolved` maps "stream:tag" to whether waiting can help: True
    while its resolution is under way, False when it cannot run here at all. `identity_confirmed` is False while the
    person goes on with what the sign-in provider said last, because it does not answer.
    """

    as_of: datetime
    usage: Usage | None = Usage()
    machines: tuple[Machine, ...] | None = None
    claims: Mapping[str, Claim] = field(default_factory=lambda: MappingProxyType({}))
    decisions: Mapping[str, Decisions] = field(default_factory=lambda: MappingProxyType({}))
    unresolved: Mapping[str, bool] = field(default_factory=lambda: MappingProxyType({}))
    machines_as_of: datetime | None = None
    identity_confirmed: bool = True

    def decided(self, project: str) -> Decisions:
        """The instructors' decisions of `project`; none yet is an empty set of them."""
        return self.decisions.get(project, Decisions())
