"""What one hub process holds: the policy as loaded, the ledger, the database, and what has ended how.

Pages, API, spawners and sign-in all ask `AIHub`; it is the shell around the pure core: it gathers the facts, asks the
policy, and lets the ledger admit.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from traitlets import Float, Int, List, Unicode
from traitlets.config import SingletonConfigurable
from traitlets.config.configurable import LoggingConfigurable

from aihub import metrics
from aihub.config import SHARED_PASSWORD, SSO, Loaded, SignIn
from aihub.errors import Reason, Refusal, RefusedError
from aihub.facts import Facts, Machine
from aihub.findings import Finding
from aihub.groupprojects import GroupWarning, with_group_projects
from aihub.guard import Guard, Guarded
from aihub.identities import Identities, IdentityState, ProviderState
from aihub.identity import OidcProvider
from aihub.ledger import Admissions, Entry, HeldClaim, Ledger, Request, Room, ServerKey
from aihub.pages import Chrome
from aihub.plan import Plan
from aihub.policy import Policy, ProjectChoices, choices_for, resolve
from aihub.projects import Decisions, IdleRules, Person, Role
from aihub.reload import PolicyFile
from aihub.store import Store

__all__ = ["AIHub", "Admission", "Ending", "Seen", "Site"]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a place where servers run found when the hub started."""

    entries: tuple[Entry, ...] = ()
    claims: tuple[HeldClaim, ...] = ()
    absent: Collection[str] = ()
    """Ids of reservations whose server is proved not to be coming."""


LACKING = frozenset({"sign-out", "back-channel logout", "PKCE"})
"""Checks whose warning is that a provider has not got something: no reason for a banner that would stand for ever."""


class Site(Protocol):
    """A place where servers run, as the hub needs to know it."""

    def configure(self, loaded: Loaded) -> None:
        """Take what a newly loaded policy file says of this place."""

    def object_name(self, plan: Plan, server: str) -> str:
        """What to look for after a crash, for the person's server called `server`; empty where nothing needs a name."""

    def machines(self) -> tuple[tuple[Machine, ...] | None, datetime | None]:
        """The machines, and when that was true, where something else than the ledger places servers. Costs no I/O."""

    def room(self) -> Room | None:
        """What the one machine has for servers; None where something else places them. Costs no I/O."""

    def unresolved(self, policy: Policy) -> Mapping[str, bool]:
        """Images of a newly loaded policy that cannot run here now; see `Facts.unresolved`."""

    def readiness(self, requirements: tuple[str, ...] | None) -> tuple[bool, float | None] | None:
        """Whether an image can start at once, and the seconds that preparing it usually takes; None where not known."""

    async def look(self, rows: Collection[Entry], adopted: Collection[str]) -> Seen:
        """Look for everything that is alive or exists, and end what nobody's spawner stands for.

        `rows` are the open reservations of the last hub, `adopted` the ids of the admissions that spawners took over.
        """

    async def gone(self, entry: Entry) -> Collection[str] | None:
        """Whether the server of an overdue reservation, or one that lingers, is gone; see `Admissions.sweep`."""


@dataclass(frozen=True, slots=True)
class Admission:
    """A start that was admitted: what it holds, what it was started from, and the plan.

    The plan is known only to the process that made it; a hub that takes a server over has the rest. `left_at` is since
    when (unix seconds) its person is seen outside the project, None while they belong to it (`aihub.guard`).
    """

    entry: Entry
    image: str
    profile: str
    accelerator_count: int
    idle: IdleRules
    plan: Plan | None = None
    left_at: float | None = None

    @classmethod
    def of(cls, entry: Entry, plan: Plan) -> Admission:
        """What `plan` was admitted as."""
        return cls(entry, plan.reference, plan.profile, plan.accelerator_count, plan.idle, plan)

    def as_state(self) -> dict[str, Any]:
        """Plain JSON values for a spawner's state."""
        left = {} if self.left_at is None else {"leftAt": self.left_at}
        return {
            "entry": self.entry.as_dict(),
            "image": self.image,
            "profile": self.profile,
            "acceleratorCount": self.accelerator_count,
            "stopAfter": self.idle.stop_after,
            "maxAge": self.idle.max_age,
            **left,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Admission:
        """The admission that `as_state` wrote."""
        return cls(
            Entry.from_dict(state["entry"]),
            state["image"],
            state["profile"],
            state["acceleratorCount"],
            IdleRules(state["stopAfter"], state["maxAge"]),
            left_at=state.get("leftAt"),
        )


@dataclass(frozen=True, slots=True)
class Ending:
    """How a server, or its start, ended when nobody asked for it. `started`: it had been running before."""

    at: datetime
    refusal: Refusal
    lines: tuple[str, ...] = ()
    project: str = ""
    image: str = ""
    profile: str = ""
    started: bool = False

    @classmethod
    def of(cls, refusal: Refusal, admission: Admission, lines: Collection[str], *, started: bool) -> Ending:
        """The ending, now, of what was admitted; the last 20 of `lines` are kept."""
        last = tuple(lines)[-20:]
        entry = admission.entry
        return cls(datetime.now(UTC), refusal, last, entry.project, admission.image, admission.profile, started)


class AIHub(SingletonConfigurable, LoggingConfigurable):
    """The one AIHub of a hub process."""

    policy_paths = List(
        Unicode(), config=True, help="Policy files and folders, merged in this order. Read again whenever they change."
    )
    database_url = Unicode(
        "sqlite:///aihub.sqlite",
        config=True,
        help="AIHub's own database, as SQLAlchemy writes it: SQLite or PostgreSQL. Never JupyterHub's own.",
    )
    create_deadline = Int(
        7200,
        min=10,
        config=True,
        help="Seconds after which a server that was reserved and is not found is taken not to be coming. "
        "Longer than `Spawner.start_timeout`: until then the start itself is in hand.",
    )
    landing_seconds = Int(
        120,
        min=1,
        config=True,
        help="Seconds after the start of the hub for which a server that the last hub was about to make counts, "
        "because it may still appear.",
    )
    sweep_interval = Float(30.0, min=0.1, config=True, help="Seconds between two looks at overdue reservations.")
    guard_interval = Float(
        5.0, min=0.1, config=True, help="Seconds between two looks at whether people still belong to their projects."
    )

    MAX_ENDINGS = 10_000

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ledger = Ledger()
        self._loaded_at = datetime.now(UTC)
        self._site: Site | None = None
        self._decisions: dict[str, Decisions] = {}
        self._unresolved: Mapping[str, bool] = {}
        self._endings: dict[ServerKey, Ending] = {}
        self._lingering: dict[str, Entry] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.followed: dict[str, Callable[[], Awaitable[None]]] = {}
        """What else never ends while the hub runs, by what it is; entered before `open`."""
        self.identities = Identities()
        self.provider: ProviderState | None = None
        """Whoever people sign in with; None where the policy file itself says who there is."""
        self.checks: tuple[Any, ...] = ()
        """The last checks of the provider (`aihub.live`)."""
        self._groups: frozenset[str] = frozenset()
        self.group_warnings: tuple[GroupWarning, ...] = ()
        """Groups that make no project though they have the form, for admins."""
        self.guarded: Callable[[], Iterable[Guarded]] = tuple
        """The servers whose people must belong to their projects, as the hub knows them."""

    # --- from start to end -------------------------------------------------------------------------------------------

    def load(self, site: Site) -> None:
        """Read the policy and open the database. Raises PolicyFileError or StoreError: without them there is no hub."""
        self._site = site
        self.policy_file = PolicyFile([Path(path) for path in self.policy_paths])
        self.policy_file.listeners.append(self._policy_changed)
        self.store = Store(self.database_url)
        self.store.upgrade()
        self._decisions = dict(self.store.decisions())
        self.admissions = Admissions(self.ledger, self.store)
        self._policy_changed()
        metrics.observe(self)

    async def open(self, adopted: Collection[str]) -> None:
        """Rebuild the ledger from what the last hub left and what is alive, then admit and follow the policy file."""
        self._tasks = self._tasks or [
            asyncio.create_task(self._keep_on("the policy file", self.policy_file.watch)),
            asyncio.create_task(self._keep_on("overdue reservations", self._sweep)),
        ]
        # Whoever was about to make these is gone: what does not appear soon is not coming.
        soon = time.time() + self.landing_seconds
        rows = tuple(
            replace(row, deadline=soon if row.deadline is None else min(row.deadline, soon))
            for row in await self.admissions.open_rows()
        )
        seen = await self.site.look(rows, adopted)
        await self.admissions.rebuild(rows, seen.entries, seen.claims, absent=seen.absent)
        # Nobody's spawner will say of these that they are gone.
        self._lingering.update({entry.id: entry for entry in seen.entries if entry.id not in adopted})
        for what, follow in {"who left a project": self._guard, **self.followed}.items():
            self._tasks.append(asyncio.create_task(self._keep_on(what, follow)))

    def admit_no_more(self) -> None:
        """The hub ends: no start is admitted from now on."""
        self.ledger.ready = False

    async def close(self) -> None:
        """Stop following; what is held is in the database and in what runs."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.store.dispose()

    @property
    def site(self) -> Site:
        """Where servers run."""
        assert self._site is not None, "load() comes first"
        return self._site

    def _policy_changed(self) -> None:
        self._loaded_at = datetime.now(UTC)
        self._make_policy()

    def _make_policy(self) -> None:
        """The policy of the file with the projects that groups make; all else is told of it."""
        loaded = self.policy_file.loaded
        self._policy, self.group_warnings = with_group_projects(loaded.policy, loaded.group_patterns, self._groups)
        self.site.configure(replace(loaded, policy=self._policy))
        self.ledger.room = self.site.room()
        self._unresolved = self.site.unresolved(self.policy)

    async def _keep_on(self, what: str, follow: Callable[[], Awaitable[None]]) -> None:
        """Begin `follow`, which never ends by itself, again whenever it fails: nobody would notice that it stopped."""
        while True:
            try:
                await follow()
            except Exception:
                self.log.exception("Following %s failed; trying again", what)
            await asyncio.sleep(self.sweep_interval)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self.sweep_interval)
            await self.sweep()

    async def _guard(self) -> None:
        await Guard(self.guarded, lambda: self.sign_in.rules.grace).run(self.guard_interval)

    async def sweep(self) -> None:
        """Give back what reservations that are overdue, and servers that lingered, held and no longer do."""
        await self.admissions.sweep(self.site.gone)
        for entry in tuple(self._lingering.values()):
            if await self.site.gone(entry) is not None:
                del self._lingering[entry.id]
                await self.admissions.release(entry.id)

    def groups_seen(self, groups: Iterable[str]) -> None:
        """The provider, or the hub's database, knows these groups: some may make projects."""
        new = set(groups) - self._groups
        self._groups |= new
        patterns = self.policy_file.loaded.group_patterns
        if any(pattern.word(group) is not None for group in new for pattern in patterns):
            self._make_policy()

    # --- what is the case --------------------------------------------------------------------------------------------

    @property
    def policy(self) -> Policy:
        """The last good policy, with the projects that groups make."""
        return self._policy

    @property
    def sign_in(self) -> SignIn:
        """Who may sign in, of the last good policy file."""
        return self.policy_file.loaded.sign_in

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong with a newer policy file that is not in force; empty when the file is in force."""
        return self.policy_file.findings

    def chrome(self, user: Any) -> Chrome:
        """What stands around every page for a user of the hub; nothing of their own before sign-in."""
        if user is None or getattr(user, "kind", "user") != "user":
            return Chrome()
        person = self.person(user)
        instructs = person.admin or any(
            project.role(person) is Role.INSTRUCTOR for project in self.policy.projects.values()
        )
        findings = tuple(f"{each.file}:{each.line}: {each.message}" for each in self.findings) if person.admin else ()
        return Chrome(
            instructs,
            person.admin,
            findings,
            self._loaded_at if findings else None,
            evaluation=person.admin and self.sign_in.method == SHARED_PASSWORD,
            **(self._provider_chrome() if person.admin else {}),
        )

    def _provider_chrome(self) -> dict[str, Any]:
        """What admins read of the provider around every page; nothing without one."""
        state, provider = self.provider, self.sign_in.provider
        if state is None or provider is None:
            return {}
        oidc = provider if isinstance(provider, OidcProvider) else None
        return {
            "sign_in": True,
            "groups_missing": tuple(sorted(self.identities.no_groups_claim)),
            "groups_claim": oidc.groups_claim if oidc else "",
            "keycloak_client": oidc.client_id if oidc and oidc.keycloak else "",
            "provider": urlsplit(provider.issuer).netloc,
            "provider_down_since": datetime.fromtimestamp(state.down_since, UTC) if state.down_since else None,
            "sign_in_warnings": tuple(
                f"{each.name}: {each.detail}"
                for each in self.checks
                if each.state == "failed" or (each.state == "warning" and each.name not in LACKING)
            ),
        }

    def person(self, user: Any) -> Person:
        """The person that a user of the hub is."""
        return Person(user.name, frozenset(group.name for group in user.groups), bool(user.admin))

    def identity_confirmed(self, name: str, at: float, groups_missing: bool = False) -> None:
        """The provider gave a good answer about `name` at `at` (unix seconds)."""
        self.identities.confirmed(name, at, groups_missing=groups_missing)

    def identity_kept(self, name: str, confirmed_at: float | None = None) -> None:
        """The provider gave none and the last good one, of `confirmed_at` (unix seconds), goes on."""
        self.identities.kept(name, confirmed_at)

    def identity_ended(self, name: str) -> None:
        """`name` has to sign in again."""
        self.identities.ended(name)

    def identity_of(self, name: str) -> IdentityState | None:
        """What is known of the identity of `name`; None for nothing, and where there is no provider."""
        return self.identities.get(name)

    def standing(self, now: float) -> metrics.Standing:
        """The identities at `now` (unix seconds), for the metrics."""
        with_server = {entry.server.person for entry in self.ledger.entries()}
        return metrics.Standing.of(self.identities, with_server, self.sign_in.rules.max_age, now)

    def facts(self, person: Person) -> Facts:
        """The facts of this moment for `person`."""
        now = datetime.now(UTC)
        identity = self.identity_of(person.name) if self.sign_in.method in SSO else None
        machines, as_of = (self.ledger.machines(), now) if self.ledger.room else self.site.machines()
        return Facts(
            as_of=now,
            usage=self.ledger.usage(person.name),
            machines=machines,
            machines_as_of=as_of,
            claims=self.ledger.charged(),
            decisions=self._decisions,
            unresolved=self._unresolved,
            identity_confirmed=identity is None or not identity.kept,
        )

    def choices(self, person: Person) -> tuple[ProjectChoices, ...]:
        """What `person` may see, with verdicts as of now."""
        return choices_for(self.policy, person, self.facts(person))

    def check(self, person: Person, server: str, options: object) -> Plan | Refusal:
        """What a start of this server would meet now; nothing is reserved."""
        if self.ledger.find(ServerKey(person.name, server)) is not None:
            return Refusal(Reason.SERVER_BUSY, {"server": server})
        plan = resolve(self.policy, person, options, self.facts(person))
        return self._with_holders(person, plan) if isinstance(plan, Refusal) else plan

    def _with_holders(self, person: Person, refusal: Refusal) -> Refusal:
        """Instructors and admins also read who holds what a project has no more of; members read numbers only."""
        project = self.policy.projects.get(str(refusal.parameters.get("project")))
        if refusal.reason is not Reason.QUOTA_PROJECT or project is None:
            return refusal
        if not person.admin and project.role(person) is not Role.INSTRUCTOR:
            return refusal
        key = str(refusal.parameters.get("key"))
        holders = {each.server.person: None for each in self.ledger.entries(project.name) if each.charge[key] > 0}
        return replace(refusal, parameters={**refusal.parameters, "holders": tuple(holders)})

    def decided(self, decisions: Mapping[str, Decisions]) -> None:
        """Instructors decided something: it counts from the next page and start on. What is older than known does not.

        Threads write to the database, and may end in another order than their changes have.
        """
        for project, each in decisions.items():
            known = self._decisions.get(project)
            if known is None or known.version <= each.version:
                self._decisions[project] = each

    # --- the life of a server ----------------------------------------------------------------------------------------

    async def admit(self, person: Person, server: str, options: object) -> Admission:
        """Resolve and reserve with nothing in between. Raises RefusedError with the first reason against the start."""
        plan = resolve(self.policy, person, options, self.facts(person))
        if isinstance(plan, Refusal):
            raise RefusedError(self._with_holders(person, plan))
        deadline, name = time.time() + self.create_deadline, self.site.object_name(plan, server)
        entry = await self.admissions.admit(Request.of(plan, server, deadline=deadline, object_name=name))
        if isinstance(entry, Refusal):
            raise RefusedError(self._with_holders(person, entry))
        self._endings.pop(entry.server, None)
        return Admission.of(entry, plan)

    async def running(self, admission: Admission, uid: str) -> None:
        """The server is there, as the object or process `uid`."""
        await self.admissions.running(admission.entry.id, uid)

    def releasing(self, admission: Admission) -> None:
        """The server is being stopped."""
        self.ledger.releasing(admission.entry.id)

    async def released(self, admission: Admission, made: Collection[str] | None = None) -> None:
        """The server is gone: what it held is free. Of a start that failed, `made` are the claims that exist."""
        await self.admissions.release(admission.entry.id, made)

    def lingers(self, entry: Entry) -> None:
        """The server was told to go and may still be there: what it holds stays held until the place says otherwise."""
        self.ledger.releasing(entry.id)
        self._lingering[entry.id] = entry

    def ended(self, server: ServerKey, ending: Ending) -> None:
        """Remember, for the pages, how a server ended; the oldest are forgotten when there are very many."""
        self._endings.pop(server, None)
        self._endings[server] = ending
        while len(self._endings) > self.MAX_ENDINGS:
            del self._endings[next(iter(self._endings))]

    def failures(self, project: str) -> dict[str, Ending]:
        """How the last start of each image that failed in `project` did."""
        return {each.image: each for each in self._endings.values() if each.project == project and not each.started}

    def deaths(self, project: str) -> list[tuple[ServerKey, Ending]]:
        """The servers of `project` that ended by themselves and were not started again, the latest first."""
        found = [each for each in self._endings.items() if each[1].project == project and each[1].started]
        return sorted(found, key=lambda each: each[1].at, reverse=True)

    def ending(self, server: ServerKey) -> Ending | None:
        """How the server last ended when nobody asked for it."""
        return self._endings.get(server)
