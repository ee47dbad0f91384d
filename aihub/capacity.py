"""What machines have room for: whether one could ever hold a server of some size, has room now, and how many fit.

Only machines count that a pod may run on at all (`aihub.scheduling`), and machines that an autoscaler can start.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from aihub.facts import Facts, Machine, Pool
from aihub.profiles import Placement, Profile
from aihub.resources import SERVERS, STORAGE, Resources
from aihub.scheduling import can_hold, could_hold

__all__ = [
    "Availability",
    "Ground",
    "Shortage",
    "availability_for",
    "ground_of",
    "lasting_shortage",
    "pool_for",
    "shortage_now",
]

_NOTHING = Resources()


@dataclass(frozen=True, slots=True)
class Shortage:
    """A key of which the best machine has too little: how much of it the machine has free and in all.

    `machines` is how many there are with those that can be started, `eligible` how many of them take such servers.
    """

    key: str
    requested: Decimal
    free: Decimal
    total: Decimal
    machines: int
    eligible: int


@dataclass(frozen=True, slots=True)
class Availability:
    """How many servers of one size fit now and in all, and how many of its accelerators are free where it may run.

    `as_of` is when the machines were read, None while nothing is known of them; every number is None then. `free` and
    `total` are None too for a server that asks for nothing. `pool` is one that can start a machine for another server,
    empty where there is none, within `seconds`, as far as that is known.
    """

    free: int | None = None
    total: int | None = None
    accelerators_free: int | None = None
    accelerators_total: int | None = None
    as_of: datetime | None = None
    pool: str = ""
    seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Ground:
    """The machines that servers of one placement may run on: what each has free for them now, and in all.

    A machine whose condition keeps them off has nothing free. `of` is how many machines there are, the others too.
    """

    free: tuple[Resources, ...]
    total: tuple[Resources, ...]
    of: int


def ground_of(placement: Placement, machines: Sequence[Machine]) -> Ground:
    """The ground of `placement` among `machines`."""
    there = [machine for machine in machines if could_hold(machine, placement)]
    free = (machine.free if can_hold(machine, placement) else _NOTHING for machine in there)
    return Ground(tuple(free), tuple(machine.total for machine in there), len(machines))


def lasting_shortage(profile: Profile, count: int, ground: Ground, pools: Sequence[Pool] = ()) -> Shortage | None:
    """Why no machine could ever hold the server, were all of them empty; None where one could, or a pool brings one."""
    brought = [pool.machine.total for pool in pools if could_hold(pool.machine, profile.placement)]
    total = (*ground.total, *brought)
    return _shortage(profile, count, total, total, ground.of + len(pools))


def shortage_now(profile: Profile, count: int, ground: Ground) -> Shortage | None:
    """Why no machine has room for the server now; None where one has."""
    return _shortage(profile, count, ground.free, ground.total, ground.of)


def pool_for(profile: Profile, count: int, pools: Iterable[Pool]) -> Pool | None:
    """The pool that is soonest to bring a machine for the server; None where none can."""
    wanted = _wanted(profile, count)
    able = [
        pool
        for pool in pools
        if could_hold(pool.machine, profile.placement) and not wanted.exceeding(pool.machine.total)
    ]
    return min(able, key=lambda pool: (pool.starts_within is None, pool.starts_within or 0), default=None)


def availability_for(
    profile: Profile,
    facts: Facts,
    pools: Iterable[Pool] = (),
    count: int | None = None,
    ground: Ground | None = None,
) -> Availability:
    """How many servers of `profile` with `count` accelerators (None: its default) there is room for.

    `ground` is that of the profile's placement among the machines of `facts`, for who has it already.
    """
    count = profile.counts()[0] if count is None else count
    pool = pool_for(profile, count, pools)
    name, seconds = (pool.name, pool.starts_within) if pool else ("", None)
    if facts.machines is None:
        return Availability(pool=name, seconds=seconds)
    ground = ground or ground_of(profile.placement, facts.machines)
    wanted, resource = _wanted(profile, count), profile.accelerator.resource if profile.accelerator else None
    return Availability(
        free=_servers(wanted, ground.free) if wanted else None,
        total=_servers(wanted, ground.total) if wanted else None,
        accelerators_free=_pieces(resource, ground.free) if resource else None,
        accelerators_total=_pieces(resource, ground.total) if resource else None,
        as_of=facts.machines_as_of or facts.as_of,
        pool=name,
        seconds=seconds,
    )


def _wanted(profile: Profile, count: int) -> Resources:
    """What the server takes of a machine."""
    charge = profile.charge(count)
    return charge.only(key for key in charge if key not in (SERVERS, STORAGE))


def _shortage(
    profile: Profile, count: int, rooms: Sequence[Resources], totals: Sequence[Resources], machines: int
) -> Shortage | None:
    """A key of which the best room is short; None where one room has enough of all. `totals` are theirs while empty.

    Best is the room that lacks the fewest keys, then the one with most of what it lacks: its shortage says most.
    """
    wanted = _wanted(profile, count)
    lacking = []
    for room, total in zip(rooms, totals, strict=True):
        keys = wanted.exceeding(room)
        if not keys:
            return None
        lacking.append((keys, room, total))
    if not lacking:
        key, room, total = next(iter(wanted), SERVERS), _NOTHING, _NOTHING
    else:
        fewest = min((keys for keys, _, _ in lacking), key=len)
        key = fewest[0]
        _, room, total = max((each for each in lacking if each[0] == fewest), key=lambda each: each[1][key])
    return Shortage(key, profile.charge(count)[key], room[key], total[key], machines, len(lacking))


def _servers(wanted: Resources, rooms: Iterable[Resources]) -> int:
    """How many servers fit, machine by machine; one with less than nothing left has room for none."""
    return sum(max(0, int(min(room[key] // wanted[key] for key in wanted))) for room in rooms)


def _pieces(resource: str, rooms: Iterable[Resources]) -> int:
    return sum(max(0, int(room[resource])) for room in rooms)
