"""Random lives of a hub: starts, crashes between any two steps, failing databases, changed quotas, vanished servers.

`make test` runs 500 steps. More, and another seed: `AIHUB_LEDGER_STEPS=10000 python tests/test_ledger_machine.py SEED`
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from itertools import count
from typing import Any, ClassVar

from hypothesis import HealthCheck, seed, settings
from hypothesis import Phase as Phases
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from aihub.errors import Reason, Refusal
from aihub.ledger import Entry, HeldClaim, Phase, Request, Room, ServerKey
from aihub.quota import Quotas
from aihub.resources import Resources
from aihub.storage import Claim, Home, HomeScope, ProjectStorage, SharedFolder, home_claim, project_claims
from tests.ledger_rig import Outcome, Process, Rows

GPU = "nvidia.com/gpu"
GI = Decimal(1024**3)
KEYS = ("servers", "cpu", "memory", GPU, "storage")
PEOPLE, PROJECTS, NAMES = ("ada", "bo", "cy"), ("lab", "ml"), ("", "two", "three")
CHARGES = {
    "small": Resources({"servers": 1, "cpu": Decimal("0.5"), "memory": GI}),
    "gpu": Resources({"servers": 1, "cpu": 1, "memory": GI, GPU: 1}),
    "gpus": Resources({"servers": 1, "cpu": 1, "memory": 2 * GI, GPU: 2}),
}
ROOM = Room("here", Resources({"cpu": Decimal("3.5"), "memory": 6 * GI}), {GPU: ("a", "b", "c")})
PATIENCE = 10.0
ENDINGS = st.sampled_from([Outcome.DONE, Outcome.DONE, Outcome.DONE, Outcome.FAILED, Outcome.LOST])
PICK = st.integers(0, 999)

Launch = tuple[ServerKey, str, str, int]
LAUNCHES = st.tuples(
    st.builds(ServerKey, st.sampled_from(PEOPLE), st.sampled_from(NAMES)),
    st.sampled_from(PROJECTS),
    st.sampled_from(sorted(CHARGES)),
    st.integers(1, 4),
)

Scope = tuple[str, ...]
Sums = Mapping[Scope, Mapping[str, Decimal]]


def sums_of(entries: Iterable[Entry], claims: Iterable[HeldClaim]) -> Sums:
    """Usage by the letter of the rules, from scratch."""
    sums: dict[Scope, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))

    def add(scope: Scope, amounts: Resources) -> None:
        for key, amount in amounts.items():
            sums[scope][key] += amount

    for entry in entries:
        person = entry.server.person
        for scope in (("project", entry.project), ("member", entry.project, person), ("user", person)):
            add(scope, entry.charge)
    for held in claims:
        add(("project", held.project), held.claim.charge.project)
        add(("member", held.project, held.person), held.claim.charge.member)
        add(("user", held.person), held.claim.charge.user)
    return sums


def size_of(claim: Claim) -> Decimal:
    return claim.size or Decimal(0)


class LedgerMachine(RuleBasedStateMachine):
    """The world outside (rows, servers, claims, quotas) and, while it lives, a hub process."""

    steps: ClassVar[int] = 0

    @initialize(
        roomy=st.booleans(),
        scope=st.sampled_from(HomeScope),
        tight=st.booleans(),
        launches=st.lists(LAUNCHES, max_size=8),
    )
    def begin(self, roomy: bool, scope: HomeScope, tight: bool, launches: list[Launch]) -> None:
        self.room = None if roomy else ROOM
        self.scope = scope
        self.now = 0.0
        self.ids = count()
        self.rows = Rows()
        self.home_size: Decimal | None = GI
        self.limits: dict[Scope, dict[str, Decimal]] = {}
        if tight:
            self.limits[("project", "ml")] = {"servers": Decimal(4), GPU: Decimal(2), "storage": 5 * GI}
            self.limits[("member", "ml")] = {"servers": Decimal(2), "cpu": Decimal("1.5")}
            self.limits[("user",)] = {"servers": Decimal(3), "storage": 2 * GI}
        self.admitted: Sums = {}
        self.sent: dict[str, Entry] = {}  # creates that may still land
        self.live: dict[str, Entry] = {}
        self.stopping: set[str] = set()
        self.claims: dict[str, HeldClaim] = {}
        self.process: Process | None = None
        self.admitting: dict[asyncio.Task[Any], Entry] = {}
        self.hand: dict[str, Entry] = {}  # admitted by this process, nothing sent yet
        self.restart(Outcome.DONE, 0)
        for launch in launches:
            self.launch(launch)

    def teardown(self) -> None:
        if hasattr(self, "rows"):
            self.come_to_rest()
            self.hub.crash()

    # --- what the rules ask of the world -----------------------------------------------------------------------------

    @property
    def hub(self) -> Process:
        assert self.process is not None
        return self.process

    def up(self) -> bool:
        return self.process is not None and self.process.ledger.ready

    def real(self) -> dict[str, Entry]:
        """Servers that are there or can still come to be."""
        return {**self.live, **self.sent, **self.hand, **{entry.id: entry for entry in self.admitting.values()}}

    def claims_of(self, entries: Iterable[Entry]) -> list[HeldClaim]:
        """The claims that exist, and those that `entries` may make."""
        largest = dict(self.claims)
        for entry in entries:
            for claim in entry.claims:
                if claim.id not in largest or size_of(claim) > size_of(largest[claim.id].claim):
                    largest[claim.id] = HeldClaim(claim, entry.server.person, entry.project)
        return list(largest.values())

    def quotas(self, person: str, project: str) -> Quotas:
        return Quotas(
            self.limits.get(("project", project), {}),
            self.limits.get(("member", project), {}),
            self.limits.get(("user",), {}),
        )

    def limit(self, scope: Scope, key: str) -> Decimal | None:
        where = {"project": scope, "member": scope[:2], "user": ("user",)}[scope[0]]
        return self.limits.get(where, {}).get(key)

    def request(self, person: str, name: str, project: str, profile: str) -> Request:
        storage = ProjectStorage(shared=SharedFolder(2 * GI) if project == "ml" else None)
        home = home_claim(Home(self.scope, self.home_size), storage, project, person)
        return Request(
            ServerKey(person, name),
            project,
            CHARGES[profile],
            deadline=self.now + PATIENCE,
            claims=(home, *project_claims(storage, project)),
            accelerator=GPU if CHARGES[profile][GPU] else None,
            quotas=self.quotas(person, project),
            profile=profile,
        )

    def expected(self, request: Request) -> tuple[Reason, str] | None:
        """The refusal that the rules demand, worked out from scratch."""
        ledger, person, project = self.hub.ledger, request.server.person, request.project
        if any(entry.server == request.server for entry in ledger.entries()):
            return Reason.SERVER_BUSY, ""
        charged = ledger.claims()
        used = sums_of(ledger.entries(), charged.values())
        wanting = Entry("", request.server, project, request.charge)
        new = [HeldClaim(claim, person, project) for claim in request.claims]
        new = [
            held
            for held in new
            if size_of(held.claim) > size_of(charged.get(held.claim.id, held).claim) or held.claim.id not in charged
        ]
        replaced = [charged[held.claim.id] for held in new if held.claim.id in charged]
        grown, had = sums_of([wanting], new), sums_of([], replaced)
        for scope, reason in (
            (("project", project), Reason.QUOTA_PROJECT),
            (("member", project, person), Reason.QUOTA_MEMBER),
            (("user", person), Reason.QUOTA_USER),
        ):
            for key in KEYS:
                limit = self.limit(scope, key)
                more = grown.get(scope, {}).get(key, Decimal(0)) - had.get(scope, {}).get(key, Decimal(0))
                if limit is not None and more > 0 and used.get(scope, {}).get(key, Decimal(0)) + more > limit:
                    return reason, key
        return self.shortage(request)

    def shortage(self, request: Request) -> tuple[Reason, str] | None:
        if self.room is None:
            return None
        for key in ("cpu", "memory", GPU):
            held = sum((entry.charge[key] for entry in self.hub.ledger.entries()), Decimal(0))
            if held + request.charge[key] > self.room.total[key]:
                return Reason.NO_CAPACITY, key
        return None

    # --- starts ------------------------------------------------------------------------------------------------------

    @precondition(up)
    @rule(
        person=st.sampled_from(PEOPLE),
        name=st.sampled_from(NAMES),
        project=st.sampled_from(PROJECTS),
        profile=st.sampled_from(sorted(CHARGES)),
    )
    def start(self, person: str, name: str, project: str, profile: str) -> None:
        request = self.request(person, name, project, profile)
        expected, before = self.expected(request), self.real()
        task = self.hub.begin(self.hub.admissions.admit(request))
        if task.done():
            refusal = task.result()
            assert isinstance(refusal, Refusal)
            assert (refusal.reason, refusal.parameters.get("key", "")) == expected
            return
        assert expected is None
        assert all(entry.server != request.server for entry in before.values())
        entry = self.hub.ledger.find(request.server)
        assert entry is not None
        assert len(entry.devices) == (request.charge[GPU] if self.room else 0)
        self.admitting[task] = entry

    @precondition(lambda self: self.process is not None and self.process.jobs)
    @rule(pick=PICK, outcome=ENDINGS)
    def database_answers(self, pick: int, outcome: Outcome) -> None:
        self.hub.end(self.hub.jobs[pick % len(self.hub.jobs)], outcome)
        self.collect()

    @precondition(lambda self: self.process is not None and self.admitting)
    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        self.hub.cancel(list(self.admitting)[pick % len(self.admitting)])
        self.collect()

    @precondition(up)
    @rule(launch=LAUNCHES)
    def launch(self, launch: Launch) -> None:
        """Several steps of one start at once, so that a life of few steps is eventful."""
        server, project, profile, stages = launch
        self.start(server.person, server.name, project, profile)
        held = self.hub.ledger.find(server)
        if held is None or held not in self.admitting.values() or self.now >= (held.deadline or 0):
            return
        self.hub.end_all()
        self.collect()
        stations = (self.send_create, self.hand), (self.create_lands, self.sent), (self.see, self.live)
        for step, entries in stations[: stages - 1]:
            step(list(entries).index(held.id))

    def collect(self) -> None:
        """Take the admissions that have ended into hand."""
        for task, entry in list(self.admitting.items()):
            if not task.done():
                continue
            del self.admitting[task]
            admitted = None if task.cancelled() else task.result()
            if isinstance(admitted, Entry):
                assert admitted == entry
                assert entry.id in self.rows.open, "created before the row was committed"
                self.hand[entry.id] = entry
            else:
                assert admitted is None or admitted.reason is Reason.STORE_UNAVAILABLE
                assert self.hub.ledger.get(entry.id) is None

    @precondition(lambda self: self.hand)
    @rule(pick=PICK, some=st.booleans())
    def make_claims(self, pick: int, some: bool) -> None:
        entry = self.picked(self.hand, pick)
        for claim in entry.claims[: 1 if some else None]:
            self.exists(claim, entry)

    def exists(self, claim: Claim, entry: Entry) -> None:
        known = self.claims.get(claim.id)
        if known is None or size_of(claim) > size_of(known.claim):
            self.claims[claim.id] = HeldClaim(claim, entry.server.person, entry.project)

    @precondition(lambda self: self.hand)
    @rule(pick=PICK)
    def send_create(self, pick: int) -> None:
        entry = self.picked(self.hand, pick)
        if self.now < (entry.deadline or 0):
            del self.hand[entry.id]
            for claim in entry.claims:
                self.exists(claim, entry)
            self.sent[entry.id] = entry

    @precondition(lambda self: self.hand)
    @rule(pick=PICK)
    def fail_for_certain(self, pick: int) -> None:
        entry = self.picked(self.hand, pick)
        del self.hand[entry.id]
        made = [claim.id for claim in entry.claims if claim.id in self.claims]
        made = [name for name in made if size_of(self.claims[name].claim) >= self.asked(entry, name)]
        self.hub.begin(self.hub.admissions.release(entry.id, made))

    def asked(self, entry: Entry, claim_id: str) -> Decimal:
        return max(size_of(claim) for claim in entry.claims if claim.id == claim_id)

    # --- servers -----------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.sent)
    @rule(pick=PICK)
    def create_lands(self, pick: int) -> None:
        entry = self.picked(self.sent, pick)
        del self.sent[entry.id]
        self.live[entry.id] = entry

    @precondition(lambda self: self.up() and self.live)
    @rule(pick=PICK)
    def see(self, pick: int) -> None:
        entry = self.picked(self.live, pick)
        self.hub.begin(self.hub.admissions.running(entry.id, f"uid-{entry.id}"))

    @precondition(lambda self: self.up() and self.live)
    @rule(pick=PICK)
    def stop(self, pick: int) -> None:
        entry = self.picked(self.live, pick)
        self.stopping.add(entry.id)
        self.hub.ledger.releasing(entry.id)

    @precondition(lambda self: self.live)
    @rule(pick=PICK)
    def vanish(self, pick: int) -> None:
        del self.live[self.picked(self.live, pick).id]

    @precondition(lambda self: self.up() and self.unnoticed())
    @rule(pick=PICK, twice=st.booleans())
    def notice(self, pick: int, twice: bool) -> None:
        entry = self.unnoticed()[pick % len(self.unnoticed())]
        for _ in range(2 if twice else 1):
            self.hub.begin(self.hub.admissions.release(entry.id))

    def unnoticed(self) -> list[Entry]:
        entries = self.hub.ledger.entries()
        return [entry for entry in entries if entry.phase is not Phase.RESERVED and entry.id not in self.live]

    # --- time and trouble --------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([1.0, 4.0, PATIENCE]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.sent = {name: entry for name, entry in self.sent.items() if self.now < (entry.deadline or 0)}

    @precondition(up)
    @rule()
    def sweep(self) -> None:
        self.hub.begin(self.hub.admissions.sweep(self.look))

    async def look(self, entry: Entry) -> list[str] | None:
        if entry.id in self.real():
            return None
        made = [claim for claim in entry.claims if claim.id in self.claims]
        return [claim.id for claim in made if size_of(self.claims[claim.id].claim) >= size_of(claim)]

    @precondition(lambda self: self.process is not None and len(self.real()) + len(self.rows.open) > 2)
    @rule(endings=st.lists(st.booleans(), max_size=6))
    def crash(self, endings: list[bool]) -> None:
        for job, lands in zip(list(self.hub.jobs), endings, strict=False):
            if lands:  # the database had it, the process never knew
                job.call()
        self.hub.crash()
        self.process = None
        self.admitting, self.hand = {}, {}

    @precondition(lambda self: self.process is not None and (self.real() or self.rows.open))
    @rule(endings=st.lists(st.booleans(), max_size=6), absent=PICK)
    def crash_and_restart(self, endings: list[bool], absent: int) -> None:
        self.crash(endings)
        self.restart(Outcome.DONE, absent)

    @precondition(lambda self: not self.up())
    @rule(outcome=ENDINGS, absent=PICK)
    def restart(self, outcome: Outcome, absent: int) -> None:
        if self.process is None:
            self.process = Process(self.rows, self.room, lambda: self.now, lambda: f"r{next(self.ids)}")
        task = self.process.begin(self.process.admissions.open_rows())
        self.process.end_all(outcome)
        if task.exception() is not None:
            assert self.process.ledger.usage(PEOPLE[0]) is None
            return
        rows = task.result()
        gone = [row.id for row in rows if row.id not in self.live and row.id not in self.sent]
        seen = [
            replace(entry, phase=Phase.RELEASING if entry.id in self.stopping else Phase.RUNNING)
            for entry in self.live.values()
        ]
        rebuild = self.process.admissions.rebuild(rows, seen, self.claims.values(), absent=gone[: absent % 4])
        self.process.begin(rebuild)

    # --- what admins do ----------------------------------------------------------------------------------------------

    @rule(
        where=st.sampled_from([*(("project", p) for p in PROJECTS), *(("member", p) for p in PROJECTS), ("user",)]),
        key=st.sampled_from(KEYS),
        limit=st.integers(0, 4) | st.none(),
    )
    def set_quota(self, where: Scope, key: str, limit: int | None) -> None:
        limits = self.limits.setdefault(where, {})
        limits.pop(key, None)
        if limit is not None:
            limits[key] = Decimal(limit) * (GI if key in ("memory", "storage") else 1)

    @rule(size=st.sampled_from([None, GI, 2 * GI, 3 * GI]))
    def change_home_size(self, size: Decimal | None) -> None:
        self.home_size = size

    @precondition(lambda self: self.up() and self.claims)
    @rule(pick=PICK)
    def delete_claim(self, pick: int) -> None:
        claim_id = list(self.claims)[pick % len(self.claims)]
        if all(claim.id != claim_id for entry in self.real().values() for claim in entry.claims):
            del self.claims[claim_id]
            self.hub.ledger.remove_claim(claim_id)

    def come_to_rest(self) -> None:
        """Everything ends: then nothing may be held, nothing open, and exactly the claims that exist charged."""
        if self.process is None:
            self.restart(Outcome.DONE, 0)
        self.hub.end_all()
        self.collect()
        if not self.up():
            self.restart(Outcome.DONE, 0)
            self.hub.end_all()
        for _ in list(self.hand):
            self.fail_for_certain(0)
        self.live, self.stopping = {}, set()
        self.time_passes(PATIENCE)
        for _ in self.unnoticed():
            self.notice(0, twice=False)
        for _ in range(2):
            self.hub.run(self.hub.admissions.sweep(self.look))
        ledger = self.hub.ledger
        assert ledger.entries() == ()
        assert self.rows.open == {}
        assert {name: size_of(held.claim) for name, held in ledger.claims().items()} == {
            name: size_of(held.claim) for name, held in self.claims.items()
        }

    def picked(self, entries: Mapping[str, Entry], pick: int) -> Entry:
        return list(entries.values())[pick % len(entries)]

    # --- what holds after every step ---------------------------------------------------------------------------------

    @invariant()
    def counts(self) -> None:
        type(self).steps += 1

    @invariant()
    def quotas_hold(self) -> None:
        """Real usage is never above a limit, but for what was admitted before the limit was lowered."""
        real, admitted = self.real(), {**self.rows.open, **self.real()}
        for scope, amounts in sums_of(real.values(), self.claims_of(real.values())).items():
            for key, used in amounts.items():
                limit, had = self.limit(scope, key), self.admitted.get(scope, {}).get(key, Decimal(0))
                assert limit is None or used <= max(limit, had), (scope, key, used, limit, had)
        self.admitted = sums_of(admitted.values(), self.claims_of(admitted.values()))

    @invariant()
    def nothing_real_is_forgotten(self) -> None:
        if not self.up():
            return
        ledger = self.hub.ledger
        assert self.real().keys() <= {entry.id for entry in ledger.entries()}
        for name, held in self.claims.items():
            assert size_of(ledger.claims()[name].claim) >= size_of(held.claim)

    @invariant()
    def nothing_is_held_without_a_reason(self) -> None:
        if not self.up():
            return
        for entry in self.hub.ledger.entries():
            reserved = entry.phase is Phase.RESERVED
            assert not reserved or entry.id in self.real() or entry.id in self.rows.open, entry

    @invariant()
    def open_rows_are_accounted_for(self) -> None:
        """With every answer in, a row is open for what was not seen running, or is known to be left over."""
        if not self.up() or self.hub.jobs:
            return
        unseen = {entry.id for entry in self.hub.ledger.entries() if entry.phase is not Phase.RUNNING}
        assert self.rows.open.keys() <= unseen | self.hub.admissions._unclosed

    @invariant()
    def sums_are_right(self) -> None:
        if not self.up():
            return
        ledger = self.hub.ledger
        sums = sums_of(ledger.entries(), ledger.claims().values())
        for person in PEOPLE:
            usage = ledger.usage(person)
            assert usage is not None
            assert usage.user == Resources(sums.get(("user", person), {}))
            for project in PROJECTS:
                at = usage.at(project)
                assert at.project == Resources(sums.get(("project", project), {}))
                assert at.member == Resources(sums.get(("member", project, person), {}))
                assert all(amount > 0 for part in (at.project, at.member, at.user) for amount in part.values())

    @invariant()
    def machine_is_not_overfull(self) -> None:
        """Of what is real: a start that failed just before a crash counts beside it until its row is closed."""
        if self.room is None:
            return
        real = self.real().values()
        devices = [device for entry in real for device in entry.devices]
        assert len(devices) == len(set(devices))
        for key in ("cpu", "memory", GPU):
            assert sum((entry.charge[key] for entry in real), Decimal(0)) <= self.room.total[key]
        if self.up():
            held = {device for entry in self.hub.ledger.entries() for device in entry.devices}
            assert set(self.hub.ledger.free_devices(GPU)) == set(self.room.devices[GPU]) - held


def run(steps: int, first_seed: int, say: Callable[[str], None] = print) -> None:
    """Run at least `steps` steps, from a seed that repeats them."""
    say(f"ledger machine: {steps} steps, seed {first_seed}")
    LedgerMachine.steps = 0
    for number in count(first_seed):
        if LedgerMachine.steps >= steps:
            break
        run_state_machine_as_test(
            seed(number)(LedgerMachine),
            settings=settings(
                max_examples=10,
                stateful_step_count=50,
                deadline=None,
                database=None,
                print_blob=False,
                report_multiple_bugs=False,
                # Mutation tests load a profile that does not shrink.
                phases=[phase for phase in (Phases.generate, Phases.shrink) if phase in settings().phases],
                suppress_health_check=list(HealthCheck),
            ),
        )
    say(f"ledger machine: {LedgerMachine.steps} steps done")


def test_ledger_in_random_lives() -> None:
    run(int(os.environ.get("AIHUB_LEDGER_STEPS", "500")), int(os.environ.get("AIHUB_LEDGER_SEED", "1")))


if __name__ == "__main__":
    run(
        int(os.environ.get("AIHUB_LEDGER_STEPS", "10000")),
        int(sys.argv[1]) if len(sys.argv) > 1 else random.SystemRandom().randrange(2**31),
    )
