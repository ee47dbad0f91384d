"""Who holds what now: every server reserved, running or still being released, and every claim that exists.

`Ledger` is values in memory and synchronous calls, so that check-and-reserve cannot be interrupted (design.md §7).
`Admissions` puts the row in AIHub's database around it: written before anything is created, closed when the server
is seen or certainly is not coming. What is in memory can be rebuilt from open rows and what is seen alive.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Protocol

from aihub.errors import Reason, Refusal, StoreError
from aihub.facts import Machine, Usage
from aihub.plan import Plan
from aihub.policy import quota_refusal
from aihub.quota import Amounts, Deny, Quotas, check
from aihub.resources import SERVERS, Resources, format_amount
from aihub.storage import Claim, HeldClaim, growth

__all__ = [
    "Admissions",
    "Entry",
    "HeldClaim",
    "Ledger",
    "Phase",
    "Request",
    "ReservationPort",
    "Room",
    "ServerKey",
]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, order=True)
class ServerKey:
    """A user server of the hub: whose it is and its name, empty for the unnamed one."""

    person: str
    name: str = ""


class Phase(StrEnum):
    """Where a server is between its admission and the proof that it is gone. All three count as usage."""

    RESERVED = "reserved"
    RUNNING = "running"
    RELEASING = "releasing"


@dataclass(frozen=True, slots=True)
class Request:
    """What one start asks the ledger for.

    `charge` is the server without its claims: one server, its requests, its accelerators; it counts alike at every
    level. `claims` are all that it mounts, whether they exist or not. `profile` only fills sentences. `object_name`
    is what to look for after a crash (on Kubernetes "namespace/pod"). `deadline` is the Unix time, in seconds, after
    which a server that a strong look does not find is not coming.
    """

    server: ServerKey
    project: str
    charge: Resources
    deadline: float
    claims: tuple[Claim, ...] = ()
    accelerator: str | None = None
    quotas: Quotas = Quotas()
    object_name: str = ""
    profile: str = ""

    @classmethod
    def of(cls, plan: Plan, server_name: str, *, deadline: float, object_name: str = "") -> Request:
        """The request of a plan's start as the person's server `server_name`."""
        accelerators = {plan.accelerator: plan.accelerator_count} if plan.accelerator else {}
        return cls(
            server=ServerKey(plan.person, server_name),
            project=plan.project,
            charge=Resources({**plan.requests, SERVERS: 1, **accelerators}),
            deadline=deadline,
            claims=plan.claims,
            accelerator=plan.accelerator,
            quotas=plan.quotas,
            object_name=object_name,
            profile=plan.profile,
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """One server that holds something, and the reservation under which it does.

    `devices` are the accelerators of one machine that it was given. `deadline` (Unix seconds) matters while it is
    RESERVED only. `uid` says which object or process it became, empty before it was seen.
    """

    id: str
    server: ServerKey
    project: str
    charge: Resources
    claims: tuple[Claim, ...] = ()
    accelerator: str | None = None
    devices: tuple[str, ...] = ()
    phase: Phase = Phase.RESERVED
    deadline: float | None = None
    object_name: str = ""
    uid: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values with every amount as exact text, for rows, annotations and a spawner's state."""
        return {
            "id": self.id,
            "person": self.server.person,
            "server": self.server.name,
            "project": self.project,
            "charge": self.charge.as_dict(),
            "claims": [claim.as_dict() for claim in self.claims],
            "accelerator": self.accelerator,
            "devices": list(self.devices),
            "phase": self.phase.value,
            "deadline": self.deadline,
            "objectName": self.object_name,
            "uid": self.uid,
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Entry:
        """The entry that `as_dict` wrote. Raises KeyError, TypeError or ArithmeticError where it did not."""
        return cls(
            id=document["id"],
            server=ServerKey(document["person"], document["server"]),
            project=document["project"],
            charge=Resources.from_dict(document["charge"]),
            claims=tuple(Claim.from_dict(claim) for claim in document["claims"]),
            accelerator=document["accelerator"],
            devices=tuple(document["devices"]),
            phase=Phase(document["phase"]),
            deadline=document["deadline"],
            object_name=document["objectName"],
            uid=document["uid"],
        )


@dataclass(frozen=True, slots=True)
class Room:
    """What one machine has for servers: cpu and memory in all, and its accelerators device by device."""

    name: str
    amounts: Resources
    devices: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def total(self) -> Resources:
        """Everything it has, each resource in `devices` counted by its devices."""
        return Resources({**self.amounts, **{key: len(devices) for key, devices in self.devices.items()}})


class Ledger:
    """The one record of who holds what, for one process; `ready` is False until `rebuild` was called.

    `room` is the machine that runs the servers, or None where something else places them (Kubernetes). It may be
    replaced at any time: what runs stays. No method does I/O, awaits, or reads a clock.
    """

    def __init__(self, room: Room | None = None, *, new_id: Callable[[], str] = lambda: uuid.uuid4().hex) -> None:
        self.room = room
        self.ready = False
        self._new_id = new_id
        self._entries: dict[str, Entry] = {}
        self._by_server: dict[ServerKey, list[str]] = {}
        self._charged: dict[str, HeldClaim] = {}
        self._claims: dict[str, Claim] = {}
        # The claims known to exist. A claim is charged at the largest of its known size and what its servers asked for.
        self._known: dict[str, HeldClaim] = {}
        # Released before the rebuild: a look that is older than that may still have seen them.
        self._gone: set[str] = set()
        self._held = Resources()
        self._projects: dict[str, Resources] = {}
        self._members: dict[str, dict[str, Resources]] = {}
        self._users: dict[str, Resources] = {}

    # --- what is held ------------------------------------------------------------------------------------------------

    def usage(self, person: str) -> Usage | None:
        """What `person` and all projects use now; None while it is not known. A snapshot: later changes leave it be."""
        if not self.ready:
            return None
        return Usage(
            projects=MappingProxyType(dict(self._projects)),
            members=MappingProxyType(dict(self._members.get(person, {}))),
            user=self._users.get(person, Resources()),
        )

    def machines(self) -> tuple[Machine, ...] | None:
        """The machine with what is free on it; None while that is not known or not the ledger's to know."""
        if self.room is None or not self.ready:
            return None
        total = self.room.total
        free = Resources({key: max(total[key] - self._held[key], Decimal(0)) for key in total})
        return (Machine(self.room.name, total, free),)

    def claims(self) -> Mapping[str, HeldClaim]:
        """The claims that are charged, by id: those that exist, and those that a held server may be about to make."""
        return MappingProxyType(self._charged)

    def charged(self) -> Mapping[str, Claim]:
        """`claims` as the policy needs to know them (`Facts.claims`); costs nothing however many there are."""
        return MappingProxyType(self._claims)

    def entries(self, project: str | None = None) -> tuple[Entry, ...]:
        """What is held in `project`, or everywhere, in the order of admission."""
        return tuple(entry for entry in self._entries.values() if project in (None, entry.project))

    def get(self, entry_id: str) -> Entry | None:
        """The entry with this reservation id."""
        return self._entries.get(entry_id)

    def find(self, server: ServerKey) -> Entry | None:
        """What `server` holds; the oldest entry if an earlier run of it is still being released."""
        held = self._by_server.get(server)
        return self._entries[held[0]] if held else None

    def free_devices(self, resource: str) -> tuple[str, ...]:
        """The devices of `resource` that no server holds, in the machine's order."""
        if self.room is None:
            return ()
        taken = {
            device for entry in self._entries.values() if entry.accelerator == resource for device in entry.devices
        }
        return tuple(device for device in self.room.devices.get(resource, ()) if device not in taken)

    def overdue(self, now: float) -> tuple[Entry, ...]:
        """Reservations whose deadline is `now` or earlier (Unix seconds) and whose server was not seen yet."""
        return tuple(entry for entry in self._entries.values() if _is_overdue(entry, now))

    # --- admission ---------------------------------------------------------------------------------------------------

    def reserve(self, request: Request) -> Entry | Refusal:
        """Check every level and the machine, and hold what `request` asks for: in one call, so nothing comes between.

        Refusals: `quota-unknown` before the rebuild, `server-busy` while the same server holds something, `quota-…`
        with the first quota that would be exceeded, `no-capacity`.
        """
        if not self.ready:
            return Refusal(Reason.QUOTA_UNKNOWN, {"profile": request.profile})
        if self.find(request.server) is not None:
            return Refusal(Reason.SERVER_BUSY, {"server": request.server.name})
        decision = check(self._added(request), self._usage_at(request.server.person, request.project), request.quotas)
        if isinstance(decision, Deny):
            return quota_refusal(request.project, decision)
        devices = self._devices_for(request)
        if isinstance(devices, Refusal):
            return devices
        entry = Entry(
            id=self._new_id(),
            server=request.server,
            project=request.project,
            charge=request.charge,
            claims=request.claims,
            accelerator=request.accelerator,
            devices=devices,
            deadline=request.deadline,
            object_name=request.object_name,
        )
        self._hold(entry)
        return entry

    def _added(self, request: Request) -> Amounts:
        """What the start adds: the server, claims that are not charged yet, and what charged ones grow by."""
        added = Amounts.everywhere(request.charge)
        for claim in {claim.id: claim for claim in request.claims}.values():
            added += growth(claim, self._claims.get(claim.id))
        return added

    def _usage_at(self, person: str, project: str) -> Amounts:
        nothing = Resources()
        return Amounts(
            self._projects.get(project, nothing),
            self._members.get(person, {}).get(project, nothing),
            self._users.get(person, nothing),
        )

    def _devices_for(self, request: Request) -> tuple[str, ...] | Refusal:
        """The devices that the server gets, or why the machine has no room for it."""
        if self.room is None:
            return ()
        total = self.room.total
        wanted = request.charge.only(key for key in request.charge if key != SERVERS)
        lacking = wanted.exceeding(total - self._held)
        if lacking:
            return _no_capacity(request, lacking[0], total[lacking[0]] - self._held[lacking[0]], total)
        resource = request.accelerator
        if resource is None or resource not in self.room.devices:
            return ()
        free, count = self.free_devices(resource), int(request.charge[resource])
        return free[:count] if len(free) >= count else _no_capacity(request, resource, Decimal(len(free)), total)

    # --- the life of an entry ----------------------------------------------------------------------------------------

    def running(self, entry_id: str, uid: str = "") -> None:
        """The server was seen as the object or process `uid`: its claims exist. Nothing happens to an unknown id."""
        self._follow(entry_id, Phase.RUNNING, uid)

    def releasing(self, entry_id: str) -> None:
        """The server, made before, is being stopped; it counts until `release`. Nothing happens to an unknown id."""
        self._follow(entry_id, Phase.RELEASING, "")

    def _follow(self, entry_id: str, phase: Phase, uid: str) -> None:
        entry = self._entries.get(entry_id)
        if entry is None or entry.phase is Phase.RELEASING:
            return
        self._entries[entry_id] = replace(entry, phase=phase, uid=uid or entry.uid)
        self._know(entry, entry.claims)

    def release(self, entry_id: str, made: Collection[str] | None = None) -> bool:
        """The server is gone, or is certainly not coming: free what it held. False if nothing was held any more.

        Its claims stay charged. Only for a start that failed before it made them, `made` names those that exist (None:
        all): of the others, what no other server counts on is no longer charged.
        """
        entry = self._entries.pop(entry_id, None)
        if entry is None:
            if not self.ready:
                self._gone.add(entry_id)
            return False
        self._by_server[entry.server].remove(entry_id)
        if not self._by_server[entry.server]:
            del self._by_server[entry.server]
        self._held -= entry.charge
        self._change(entry.server.person, entry.project, Amounts() - Amounts.everywhere(entry.charge))
        if entry.phase is Phase.RESERVED:
            self._know(entry, (claim for claim in entry.claims if made is None or claim.id in made))
        for claim in entry.claims:
            self._settle(claim.id)
        return True

    def expire(self, entry_id: str, now: float, made: Collection[str] | None = None) -> bool:
        """Release a reservation that is overdue at `now` and was not found; False if it was seen after all."""
        entry = self._entries.get(entry_id)
        return entry is not None and _is_overdue(entry, now) and self.release(entry_id, made)

    def remove_claim(self, claim_id: str) -> bool:
        """The claim was deleted. It stays charged while a held server uses it; False then."""
        self._known.pop(claim_id, None)
        self._settle(claim_id)
        return claim_id not in self._charged

    # --- after a restart ---------------------------------------------------------------------------------------------

    def rebuild(
        self,
        rows: Iterable[Entry],
        seen: Iterable[Entry] = (),
        claims: Iterable[HeldClaim] = (),
        *,
        now: float,
        absent: Collection[str] = (),
    ) -> tuple[str, ...]:
        """Fill an empty ledger from open rows and what is alive, and admit from then on. Returns the rows to close.

        `seen` are the servers found alive or stopping, in the phase they are in; `claims` those that exist, stopped
        servers' too. A row whose server is not seen counts until its deadline, because its create may still land,
        unless its id is in `absent`: those that the runtime proved not to be coming. `now` is in Unix seconds.
        Raises RuntimeError when it was rebuilt before.
        """
        if self.ready:
            raise RuntimeError("the ledger was rebuilt before")
        for held in claims:
            self._known[held.claim.id] = held
            self._recharge(held)
        for entry in seen:
            if entry.id not in self._gone:
                self._hold(entry)
                self._know(entry, entry.claims)
        closed = []
        for row in rows:
            if row.id in self._entries or row.id in absent or row.id in self._gone or _is_overdue(row, now):
                closed.append(row.id)
            else:
                self._hold(row)
        self.ready = True
        return tuple(closed)

    # --- sums, kept as things change ---------------------------------------------------------------------------------

    def _hold(self, entry: Entry) -> None:
        if entry.id in self._entries:
            return
        self._entries[entry.id] = entry
        self._by_server.setdefault(entry.server, []).append(entry.id)
        self._held += entry.charge
        self._change(entry.server.person, entry.project, Amounts.everywhere(entry.charge))
        for claim in entry.claims:
            held = HeldClaim(claim, entry.server.person, entry.project)
            if claim.id not in self._charged or _size(claim) > _size(self._charged[claim.id].claim):
                self._recharge(held)

    def _know(self, entry: Entry, claims: Iterable[Claim]) -> None:
        for claim in claims:
            if claim.id not in self._known or _size(claim) > _size(self._known[claim.id].claim):
                self._known[claim.id] = HeldClaim(claim, entry.server.person, entry.project)

    def _settle(self, claim_id: str) -> None:
        """Charge a claim for what is known of it and asked by those who hold it now, and no more."""
        charged, known = self._charged.get(claim_id), self._known.get(claim_id)
        if charged is None or charged == known:
            return
        asked = (
            HeldClaim(claim, entry.server.person, entry.project)
            for entry in self._entries.values()
            for claim in entry.claims
            if claim.id == claim_id
        )
        standing = [*([known] if known else []), *asked]
        if standing:
            self._recharge(max(standing, key=lambda held: _size(held.claim)))
        else:
            self._uncharge(claim_id)

    def _recharge(self, held: HeldClaim) -> None:
        self._uncharge(held.claim.id)
        self._charged[held.claim.id] = held
        self._claims[held.claim.id] = held.claim
        self._change(held.person, held.project, held.claim.charge)

    def _uncharge(self, claim_id: str) -> None:
        held = self._charged.pop(claim_id, None)
        if held is not None:
            del self._claims[claim_id]
            self._change(held.person, held.project, Amounts() - held.claim.charge)

    def _change(self, person: str, project: str, amounts: Amounts) -> None:
        members = self._members.setdefault(person, {})
        _add(self._projects, project, amounts.project)
        _add(members, project, amounts.member)
        _add(self._users, person, amounts.user)
        if not members:
            del self._members[person]


def _add(sums: dict[str, Resources], key: str, amount: Resources) -> None:
    """Add to a sum; one that comes to nothing takes no memory."""
    total = sums.get(key, Resources()) + amount
    if total:
        sums[key] = total
    else:
        sums.pop(key, None)


def _size(claim: Claim) -> Decimal:
    return claim.size if claim.size is not None else Decimal(0)


def _is_overdue(entry: Entry, now: float) -> bool:
    return entry.phase is Phase.RESERVED and entry.deadline is not None and entry.deadline <= now


def _no_capacity(request: Request, key: str, free: Decimal, total: Resources) -> Refusal:
    return Refusal(
        Reason.NO_CAPACITY,
        {
            "profile": request.profile,
            "key": key,
            "requested": format_amount(key, request.charge[key]),
            "free": format_amount(key, max(free, Decimal(0))),
            "total": format_amount(key, total[key]),
        },
    )


class ReservationPort(Protocol):
    """Reservation rows on disk. Calls block, so they are made in a thread; each raises StoreError if it fails."""

    def write(self, entry: Entry) -> None:
        """Commit an open row; it survives a crash once this returns."""

    def close(self, entry_id: str) -> None:
        """Close the row. One that is closed, or was never written, is fine."""

    def open_rows(self) -> tuple[Entry, ...]:
        """Every open row."""


class Admissions:
    """The ledger with its rows: what spawners call. All methods belong to the hub's event loop.

    `clock` gives Unix seconds. Rows that could not be closed are tried again by `sweep`.
    """

    def __init__(self, ledger: Ledger, port: ReservationPort, *, clock: Callable[[], float] = time.time) -> None:
        self.ledger = ledger
        self._port = port
        self._clock = clock
        self._unclosed: set[str] = set()

    async def open_rows(self) -> tuple[Entry, ...]:
        """The rows that a rebuild starts from. Raises StoreError."""
        return await asyncio.to_thread(self._port.open_rows)

    async def rebuild(
        self,
        rows: Iterable[Entry],
        seen: Iterable[Entry] = (),
        claims: Iterable[HeldClaim] = (),
        *,
        absent: Collection[str] = (),
    ) -> None:
        """`Ledger.rebuild`, then close the rows that are done. `rows` were read before `seen` was looked for."""
        await self._close(self.ledger.rebuild(rows, seen, claims, now=self._clock(), absent=absent))

    async def admit(self, request: Request) -> Entry | Refusal:
        """Reserve, and commit the row; whoever gets an Entry may create the server, and releases it if that fails.

        A row that cannot be written is the refusal `store-unavailable`. Nothing stays held when this is cancelled.
        """
        entry = self.ledger.reserve(request)
        if isinstance(entry, Refusal):
            return entry
        # A thread cannot be cancelled: shielded, the write ends in its own time, and only then can its row be closed.
        write = asyncio.ensure_future(asyncio.to_thread(self._port.write, entry))
        try:
            await asyncio.shield(write)
        except BaseException as error:
            self.ledger.release(entry.id, made=())
            write.add_done_callback(lambda done: self._abandon(entry.id, done))
            if isinstance(error, StoreError):
                log.warning("Cannot reserve for %s: %s", entry.server, error)
                return Refusal(Reason.STORE_UNAVAILABLE)
            raise
        return entry

    def _abandon(self, entry_id: str, write: asyncio.Future[None]) -> None:
        self._unclosed.add(entry_id)
        if not write.cancelled():
            write.exception()  # whoever waited for it has been told

    async def running(self, entry_id: str, uid: str = "") -> None:
        """The server was seen: from here on the runtime is its record, and the row is closed."""
        self.ledger.running(entry_id, uid)
        await self._close([entry_id])

    async def release(self, entry_id: str, made: Collection[str] | None = None) -> None:
        """The server is gone or certainly not coming (see `Ledger.release`); again is fine."""
        if self.ledger.release(entry_id, made):
            await self._close([entry_id])

    async def sweep(self, gone: Callable[[Entry], Awaitable[Collection[str] | None]]) -> None:
        """Release reservations past their deadline that are not coming, and close the rows left over. Call it often.

        `gone` looks strongly (not at a cache) for the server of a reservation: None if it is there, still being made,
        or cannot be known; else the ids of those of its claims that exist.
        """
        for entry in self.ledger.overdue(self._clock()):
            made = await gone(entry)
            if made is not None and self.ledger.expire(entry.id, self._clock(), made):
                self._unclosed.add(entry.id)
        await self._close(tuple(self._unclosed))

    async def _close(self, entry_ids: Iterable[str]) -> None:
        entry_ids = tuple(entry_ids)
        self._unclosed.update(entry_ids)
        for entry_id in entry_ids:
            try:
                await asyncio.to_thread(self._port.close, entry_id)
            except StoreError as error:
                log.warning("Cannot close reservation %s yet: %s", entry_id, error)
                return
            self._unclosed.discard(entry_id)
