"""What machines have room for: whether one could ever hold a server of some size, has room now, and how many fit.

Only machines count that a pod may run on at all (`aihub.scheduling`), and machines that an autoscaler can start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import chain

from aihub.facts import Facts, Machine, Pool
from aihub.profiles import Placement, Profile
from aihub.resources import SERVERS, STORAGE, Resources
from aihub.scheduling import can_hold, could_hold

__all__ = ["Availability", "Shortage", "availability_for", "lasting_shortage", "pool_for", "shortage_now"]

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


def lasting_shortage(
    profile: Profile, count: int, machines: Sequence[Machine], pools: Sequence[Pool]
) -> Shortage | None:
    """Why no machine could ever hold the server, were all of them empty; None where one could, or a pool brings one."""
    wanted, placement = _wanted(profile, count), profile.placement
    there = chain(machines, (pool.machine for pool in pools))
    found = _shortage(wanted, (each for each in there if could_hold(each, placement)), lambda machine: machine.total)
    if found is None:
        return None
    key, machine, eligible = found
    return Shortage(
        key, profile.charge(count)[key], machine.free[key], machine.total[key], len(machines) + len(pools), eligible
    )


def shortage_now(profile: Profile, count: int, machines: Sequence[Machine]) -> Shortage | None:
    """Why no machine has room for the server now; None where one has."""
    wanted, room = _wanted(profile, count), _room_now(profile.placement)
    found = _shortage(wanted, (each for each in machines if could_hold(each, profile.placement)), room)
    if found is None:
        return None
    key, machine, eligible = found
    return Shortage(key, profile.charge(count)[key], room(machine)[key], machine.total[key], len(machines), eligible)


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
    profile: Profile, facts: Facts, pools: Iterable[Pool] = (), count: int | None = None
) -> Availability:
    """How many servers of `profile` with `count` accelerators (None: its default) there is room for."""
    count = profile.counts()[0] if count is None else count
    pool = pool_for(profile, count, pools)
    name, seconds = (pool.name, pool.starts_within) if pool else ("", None)
    if facts.machines is None:
        return Availability(pool=name, seconds=seconds)
    there = [machine for machine in facts.machines if could_hold(machine, profile.placement)]
    free, total = [_room_now(profile.placement)(machine) for machine in there], [machine.total for machine in there]
    wanted, resource = _wanted(profile, count), profile.accelerator.resource if profile.accelerator else None
    return Availability(
        free=_servers(wanted, free) if wanted else None,
        total=_servers(wanted, total) if wanted else None,
        accelerators_free=_pieces(resource, free) if resource else None,
        accelerators_total=_pieces(resource, total) if resource else None,
        as_of=facts.machines_as_of or facts.as_of,
        pool=name,
        seconds=seconds,
    )


def _wanted(profile: Profile, count: int) -> Resources:
    """What the server takes of a machine."""
    charge = profile.charge(count)
    return charge.only(key for key in charge if key not in (SERVERS, STORAGE))


def _room_now(placement: Placement) -> Callable[[Machine], Resources]:
    """What a machine has for such servers now: nothing while its condition keeps them off."""
    return lambda machine: machine.free if can_hold(machine, placement) else _NOTHING


_NO_MACHINE = Machine("", _NOTHING, _NOTHING)


def _shortage(
    wanted: Resources, machines: Iterable[Machine], room: Callable[[Machine], Resources]
) -> tuple[str, Machine, int] | None:
    """A key of which the best machine has too little room, that machine, and of how many; None where one has room.

    Best is the machine that lacks the fewest keys, then the one with most of what it lacks: its shortage says most.
    """
    lacking = []
    for machine in machines:
        keys = wanted.exceeding(room(machine))
        if not keys:
            return None
        lacking.append((machine, keys))
    if not lacking:
        return next(iter(wanted), SERVERS), _NO_MACHINE, 0
    fewest = min((keys for _, keys in lacking), key=len)
    best = max((machine for machine, keys in lacking if keys == fewest), key=lambda each: room(each)[fewest[0]])
    return fewest[0], best, len(lacking)


def _servers(wanted: Resources, rooms: Iterable[Resources]) -> int:
    """How many servers fit, machine by machine; one with less than nothing left has room for none."""
    return sum(max(0, int(min(room[key] // wanted[key] for key in wanted))) for room in rooms)


def _pieces(resource: str, rooms: Iterable[Resources]) -> int:
    return sum(max(0, int(room[resource])) for room in rooms)
