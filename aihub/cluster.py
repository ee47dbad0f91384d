"""A Kubernetes cluster as the place where servers run (`aihub.app.Site`).

`ClusterSite` follows the namespaces of user servers and is the one place that creates and deletes in them. It tells
three things apart: an object is there, it is not, nobody knows; nothing is ever deleted or given up on the last.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from aihub import nodes, pods
from aihub.app import Seen
from aihub.chart import Settings, SingleuserSettings
from aihub.config import Loaded
from aihub.denials import refusal_of
from aihub.errors import KubeError, Reason, Refusal, RefusedError
from aihub.facts import Machine
from aihub.kube import Kube, View, can_heal, claims_path, events_path, nodes_path, pods_path
from aihub.ledger import Entry, HeldClaim, Phase, Room
from aihub.plan import Plan
from aihub.podstate import being_deleted, never_ran, uid_of
from aihub.policy import Policy
from aihub.profiles import Placement
from aihub.scheduling import open_to_all
from aihub.storage import Claim

__all__ = ["ClusterSite", "Document", "Unknown", "place_of"]

log = logging.getLogger(__name__)

Document = dict[str, Any]

CREATE_SECONDS = 25.0
"""How long an object that the API server does not take is sent again. A start without an answer ends within 30 s."""

GRACE = 10
"""Seconds that a server gets to end its kernels by itself."""

NEVER_RAN_SECONDS = 5.0
"""How long a pod in which nothing ever ran gets to go by itself."""

MAX_DEPARTED = 200

MAX_UNHEARD = 500
"""Pods whose last 20 events are kept for who asks for them later."""


_BOUND: Document = {"status": {"phase": "Bound"}}


class Unknown(Exception):
    """The API server does not say whether the object is there."""


class Namespace:
    """One namespace of user servers, followed."""

    def __init__(self, kube: Kube, name: str, selector: str, hear: Callable[[Document], None]) -> None:
        self.name = name
        self.departed: OrderedDict[str, Document] = OrderedDict()
        """Pods that went, by uid, as they were last seen: what they say of their end. The latest are kept."""
        self.pods = View(kube, pods_path(name), labels=selector, on_change=self._changed)
        self.events = View(
            kube,
            events_path(name),
            fields="involvedObject.kind=Pod",
            keep=False,
            on_change=lambda event, deleted: None if event is None or deleted else hear(event),
        )
        self.version = 0
        """Grows with every change of a pod."""
        self._tasks = [asyncio.ensure_future(view.follow()) for view in (self.pods, self.events)]

    def _changed(self, pod: Document | None, deleted: bool) -> None:  # the view calls it so
        self.version += 1
        if pod is not None and deleted:
            self.departed[uid_of(pod)] = pod
            while len(self.departed) > MAX_DEPARTED:
                self.departed.popitem(last=False)

    def close(self) -> None:
        """Follow no longer."""
        for task in self._tasks:
            task.cancel()


def common_placement(singleuser: SingleuserSettings) -> Placement:
    """Where all user servers may run, as the chart's values say it; profiles add to it."""
    extra = singleuser.extra_pod_spec
    return Placement(
        node_selector={**singleuser.node_selector, **extra.get("nodeSelector", {})},
        tolerations=(*singleuser.tolerations, *extra.get("tolerations", ())),
        affinity=extra.get("affinity", {}),
    )


class ClusterSite:
    """The cluster, through one client. `begin`, on the hub's event loop, comes before anything but `configure`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.identity = pods.Identity(settings.instance, settings.release.name)
        self.pod_settings = pods.PodSettings(
            namespace=settings.user_namespace,
            extra_pod_spec=settings.singleuser.extra_pod_spec,
            pull_secrets=tuple(settings.singleuser.image_pull_secrets),
            priority_class=settings.singleuser.priority_class_name,
            grace_seconds=GRACE,
        )
        self.create_seconds = CREATE_SECONDS
        self.never_ran_seconds = NEVER_RAN_SECONDS
        self.standing: set[str] = set()
        """Ids of the admissions that a spawner stands for: what they made is theirs to delete."""
        self._namespaces: dict[str, Namespace] = {}
        self._configured: set[str] = {settings.user_namespace}
        self._wanted = set(self._configured)
        self._kube: Kube | None = None
        self._nodes: View | None = None
        self._node_task: asyncio.Future[None] | None = None
        self._node_version = 0
        self._listeners: dict[str, Callable[[Document], None]] = {}
        self._unheard: OrderedDict[str, list[Document]] = OrderedDict()
        self._machines: tuple[tuple[int, ...], tuple[Machine, ...]] | None = None
        self.pool_seconds = 0
        """Longest time in which a declared pool brings a machine; 0 where none is declared."""

    # --- from start to end -------------------------------------------------------------------------------------------

    def begin(self, kube: Kube) -> None:
        """Follow the namespaces, and the nodes where the role allows it."""
        self._kube = kube
        self._follow()
        if self.settings.read_nodes:
            self._nodes = View(kube, nodes_path(), on_change=self._node_changed)
            self._node_task = asyncio.ensure_future(self._nodes.follow())

    def close(self) -> None:
        """Follow nothing any more."""
        for namespace in self._namespaces.values():
            namespace.close()
        if self._node_task is not None:
            self._node_task.cancel()

    @property
    def kube(self) -> Kube:
        """The one client."""
        assert self._kube is not None, "begin() comes first"
        return self._kube

    def configure(self, loaded: Loaded) -> None:
        """Namespaces and pools are the policy file's to say."""
        named = {project.namespace for project in loaded.policy.projects.values() if project.namespace}
        self._configured = {self.settings.user_namespace, *named}
        self._wanted = set(self._configured)
        self.pool_seconds = max((pool.starts_within or 0 for pool in loaded.policy.pools), default=0)
        if self._kube is not None:
            self._follow()

    def _follow(self) -> None:
        """A namespace that the policy file no longer names is followed on: servers may run in it."""
        for name in self._wanted - self._namespaces.keys():
            self._namespaces[name] = Namespace(
                self.kube, name, pods.selector(self.identity, pods.Component.USER_SERVER), self._hear
            )

    def _node_changed(self, _node: Document | None, _deleted: bool) -> None:  # the view calls it so
        self._node_version += 1

    # --- what is the case --------------------------------------------------------------------------------------------

    def room(self) -> Room | None:
        """None: the scheduler places servers."""
        return None

    def object_name(self, plan: Plan, server: str) -> str:
        """Namespace and name of the pod."""
        return f"{self.namespace_of(plan)}/{pods.server_name(self.identity, plan.person, server)}"

    def namespace_of(self, plan: Plan) -> str:
        """The namespace of the plan's pod and claims."""
        return plan.namespace or self.settings.user_namespace

    def machines(self) -> tuple[tuple[Machine, ...] | None, datetime | None]:
        """The nodes, less what our own servers ask for; None where they may not be read, or were not yet.

        Computed anew only after something changed, however often it is asked.
        """
        if self._nodes is None or self._nodes.age is None:
            return None, None
        version = (self._node_version, *(each.version for each in self._namespaces.values()))
        if self._machines is None or self._machines[0] != version:
            running = [pod for each in self._namespaces.values() for pod in each.pods.objects.values()]
            every = nodes.machines(list(self._nodes.objects.values()), running)
            self._machines = version, open_to_all(every, common_placement(self.settings.singleuser))
        return self._machines[1], datetime.now(UTC) - timedelta(seconds=self._nodes.age)

    def unresolved(self, policy: Policy) -> Mapping[str, bool]:
        """Tags that name no image: here nothing will make one of them."""
        pairs = {reference: policy.catalog.find(reference) for reference in policy.catalog.references()}
        return {reference: False for reference, pair in pairs.items() if pair is not None and not pair[1].image}

    def readiness(self, requirements: tuple[str, ...] | None) -> tuple[bool, float | None] | None:  # noqa: ARG002
        """None: which node has which image is not known."""
        return None

    def pod(self, namespace: str, name: str) -> Document | None:
        """The pod as it was last seen."""
        followed = self._namespaces.get(namespace)
        return followed.pods.objects.get(name) if followed else None

    def departed(self, namespace: str, uid: str) -> Document | None:
        """The pod that went, as it was last seen."""
        followed = self._namespaces.get(namespace)
        return followed.departed.get(uid) if followed else None

    def view(self, namespace: str) -> View:
        """What is known of the pods of a namespace; it is followed from now on."""
        self._wanted.add(namespace)
        self._follow()
        return self._namespaces[namespace].pods

    async def find(self, namespace: str, name: str, uid: str) -> Document | None:
        """The pod with this uid; None where it is certainly gone. Raises Unknown."""
        seen = self.pod(namespace, name)
        if seen is not None and uid_of(seen) == uid:
            return seen
        try:
            found = await self.kube.read(pods_path(namespace, name))
        except KubeError as error:
            raise Unknown(str(error)) from error
        return found if found is not None and uid_of(found) == uid else None

    @contextmanager
    def hearing(self, uid: str, hear: Callable[[Document], None]) -> Iterator[None]:
        """Hand on the events of one pod, those too that came before the answer that told its uid."""
        for event in self._unheard.pop(uid, ()):
            hear(event)
        self._listeners[uid] = hear
        try:
            yield
        finally:
            del self._listeners[uid]

    def _hear(self, event: Document) -> None:
        uid = event.get("involvedObject", {}).get("uid", "")
        listener = self._listeners.get(uid)
        if listener is not None:
            listener(event)
            return
        self._unheard.setdefault(uid, []).append(event)
        del self._unheard[uid][:-20]
        while len(self._unheard) > MAX_UNHEARD:
            self._unheard.popitem(last=False)

    # --- after a restart ---------------------------------------------------------------------------------------------

    async def look(self, rows: Collection[Entry], adopted: Collection[str]) -> Seen:
        """One strong LIST of every namespace; it is asked for until it is answered, and nothing is admitted before.

        A pod whose start the last hub had not finished, and which therefore nobody can reach, is deleted; any other
        pod of ours is left and counts, also one that no spawner stands for.
        """
        self.standing |= set(adopted)
        unfinished = {row.id for row in rows} - set(adopted)
        entries: list[Entry] = []
        claims: list[HeldClaim] = []
        for namespace in sorted(self._wanted | self._namespaces.keys() | _namespaces_of(rows)):
            found, held = await self._look_at(namespace)
            claims += held
            for pod, each in found:
                entry = each
                if entry.id in unfinished:
                    await self._remove(namespace, pod)
                    entry = replace(entry, phase=Phase.RELEASING)
                elif entry.id not in adopted:
                    log.error("The hub does not know the server in pod %s/%s; it counts", namespace, _name(pod))
                entries.append(entry)
        return Seen(tuple(entries), tuple(claims))

    async def _look_at(self, namespace: str) -> tuple[list[tuple[Document, Entry]], list[HeldClaim]]:
        pause = 0.5
        servers, storage = (pods.selector(self.identity, each) for each in pods.Component)
        while True:
            try:
                found, _ = await self.kube.all(pods_path(namespace), labels=servers)
                stored, _ = await self.kube.all(claims_path(namespace), labels=storage)
            except KubeError as error:
                if error.status in (403, 404) and namespace not in self._configured:
                    # Its project is gone, and with it the hub's rights there: that may not keep everybody else waiting.
                    log.warning("May not look into %s, which no project names: it does not count: %s", namespace, error)
                    return [], []
                log.warning("Cannot see what runs in %s, so nothing is admitted yet: %s", namespace, error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, 10.0)
                continue
            ours = [(pod, entry) for pod in found if (entry := self._entry(pod)) is not None]
            return ours, [held for each in stored if (held := pods.held_claim(each)) is not None]

    def _entry(self, pod: Document) -> Entry | None:
        """What a pod holds, as its annotation says; None for a pod that has ended, or is not ours."""
        if _is_over(pod):
            return None
        state = pods.admission_of(pod)
        try:
            entry = Entry.from_dict(state["entry"]) if state else None
        except (KeyError, TypeError, ValueError, ArithmeticError):
            entry = None
        if entry is None or not pods.server_ours(pod, self.identity, entry.server.person, entry.server.name):
            log.error("Pod %s has our labels and not our annotations: it is left alone", _name(pod))
            return None
        return replace(entry, phase=Phase.RELEASING if being_deleted(pod) else Phase.RUNNING, uid=uid_of(pod))

    async def gone(self, entry: Entry) -> Collection[str] | None:
        """Whether no pod of this admission is there any more; one that nobody stands for is deleted on the way."""
        namespace, name = place_of(entry)
        try:
            pod = await self.kube.read(pods_path(namespace, name))
            if pod is not None and _admission_id(pod) == entry.id:
                unwanted = entry.phase is not Phase.RUNNING or _is_over(pod)
                if unwanted and entry.id not in self.standing and not being_deleted(pod):
                    await self._remove(namespace, pod)
                return None
            return [claim.id for claim in entry.claims if await self._claim(namespace, claim.id)]
        except KubeError as error:
            log.warning("Cannot see whether %s is gone: %s", entry.object_name, error)
            return None

    # --- creating ----------------------------------------------------------------------------------------------------

    async def make_pod(self, pod: Document, entry: Entry) -> Document:
        """Create the pod of an admission, whatever becomes of single answers. Raises RefusedError.

        The name is the server's, so there is never more than one. A create that was carried out although its answer
        was lost is recognised by the admission's id (upstream.md 13).
        """
        namespace, tries = pod["metadata"]["namespace"], _Tries(self.create_seconds)
        while True:
            try:
                return await self._create(namespace, pod, entry)
            except KubeError as error:
                if not await tries.another(error):
                    busy = Refusal(Reason.SERVER_BUSY, {"server": entry.server.name})
                    refusal = busy if error.status == 409 else refusal_of(error, namespace)
                    log.warning("Cannot make pod %s/%s: %s", namespace, _name(pod), error)
                    raise RefusedError(refusal) from error

    async def _create(self, namespace: str, pod: Document, entry: Entry) -> Document:
        try:
            return await self.kube.create(pods_path(namespace), pod)
        except KubeError as error:
            own = await self._make_way(namespace, _name(pod), entry) if error.status == 409 else None
            if own is None:
                raise
            return own

    async def _make_way(self, namespace: str, name: str, entry: Entry) -> Document | None:
        """Something has the name: the pod of this very admission, an earlier one of the server, or a stranger's."""
        found = await self.kube.read(pods_path(namespace, name))
        if found is None:
            return None
        if not pods.server_ours(found, self.identity, entry.server.person, entry.server.name):
            log.error("Pod %s/%s has a name of ours and another owner; it is left alone", namespace, name)
            raise RefusedError(Refusal(Reason.NAME_COLLISION, {"server": entry.server.name, "path": name}))
        if _admission_id(found) == entry.id:
            return found
        if _is_over(found) and not being_deleted(found):
            await self._remove(namespace, found)
        elif not being_deleted(found):
            raise RefusedError(Refusal(Reason.SERVER_BUSY, {"server": entry.server.name}))
        return None

    async def ensure_claim(self, document: Document, claim: Claim, say: Callable[[str], None]) -> bool:
        """Make the claim if it is not there, and grow it if the policy asks for more; whether it is new.

        A claim that bears our name and another owner's id is never used. Raises RefusedError.
        """
        namespace, name = document["metadata"]["namespace"], _name(document)
        tries, sent = _Tries(self.create_seconds), False
        while True:
            try:
                found = await self.kube.read(claims_path(namespace, name))
                if found is None:
                    sent = True
                    await self.kube.create(claims_path(namespace), document)
                    say(f"Made the claim {name}")
                    return True
                break
            except KubeError as error:
                if not await tries.another(error):
                    log.warning("Cannot make claim %s/%s: %s", namespace, name, error)
                    raise RefusedError(refusal_of(error, namespace)) from error
        if not pods.claim_ours(found, self.identity, claim.id):
            log.error("Claim %s/%s has a name of ours and another owner; it is left alone", namespace, name)
            raise RefusedError(Refusal(Reason.NAME_COLLISION, {"path": name}))
        if being_deleted(found):
            raise RefusedError(Refusal(Reason.STORAGE_UNUSABLE, {"path": name, "problem": "it is being deleted"}))
        await self._grow(namespace, found, document, say)
        return sent

    async def _grow(self, namespace: str, found: Document, wanted: Document, say: Callable[[str], None]) -> None:
        patch = pods.grown(found, wanted)
        if patch is None:
            return
        try:
            await self.kube.patch(claims_path(namespace, _name(found)), patch)
            say(f"Asked for a larger claim {_name(found)}")
        except KubeError as error:
            # A class that does not grow volumes keeps the old size; that is no reason not to start.
            log.warning("Claim %s/%s stays as large as it is: %s", namespace, _name(found), error)
            say(f"The claim {_name(found)} stays as large as it is: {error.message}")

    async def check_datasets(self, plan: Plan) -> bool:
        """Whether the claims of all its datasets have volumes. Raises RefusedError where one does not exist."""
        namespace, bound = self.namespace_of(plan), True
        for dataset in plan.datasets:
            try:
                found = await self.kube.read(claims_path(namespace, dataset.claim)) if dataset.claim else _BOUND
            except KubeError as error:
                raise RefusedError(refusal_of(error, namespace)) from error
            if found is None:
                raise RefusedError(Refusal(Reason.DATASET_MISSING, {"claim": dataset.claim}))
            bound = bound and found.get("status", {}).get("phase") == "Bound"
        return bound

    async def existing(self, namespace: str, claims: Collection[Claim]) -> Collection[str]:
        """The ids of those of the claims that exist; of those of which nobody knows, too: they may."""
        found = []
        for claim in claims:
            try:
                if await self._claim(namespace, claim.id) is not None:
                    found.append(claim.id)
            except KubeError:
                log.warning("Cannot see whether claim %s exists: it counts", claim.id)
                found.append(claim.id)
        return found

    async def _claim(self, namespace: str, claim_id: str) -> Document | None:
        return await self.kube.read(claims_path(namespace, pods.claim_name(self.identity, claim_id)))

    # --- deleting ----------------------------------------------------------------------------------------------------

    async def end(self, namespace: str, name: str, uid: str, seconds: float) -> bool:
        """Delete the pod with this uid and no other, and wait for its end, at most `seconds`; whether it is gone."""
        until, asked, pause = time.monotonic() + seconds, False, 0.5
        at_once = time.monotonic() + self.never_ran_seconds
        view = self.view(namespace)
        while True:
            try:
                if not asked:
                    await self.kube.delete(pods_path(namespace, name), uid, grace=GRACE)
                    asked = True
                found = await self.find(namespace, name, uid)
                if found is None:
                    return True
                if time.monotonic() > at_once and never_ran(found):
                    # The kubelet does not let go of a pod before its image is there, which may take an hour. There is
                    # nothing to end in it: without the object it is not started any more.
                    await self.kube.delete(pods_path(namespace, name), uid, grace=0)
            except (KubeError, Unknown) as error:
                log.warning("Cannot end pod %s/%s yet: %s", namespace, name, error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, 5.0)
            if time.monotonic() > until:
                return False
            await view.change(name, 1.0)

    async def end_admission(self, entry: Entry, seconds: float) -> bool:
        """As `end`, for the pod of an admission whose uid was never learnt; whether it is certainly not there."""
        namespace, name = place_of(entry)
        try:
            found = await self.kube.read(pods_path(namespace, name))
        except KubeError as error:
            log.warning("Cannot see whether %s was made: %s", entry.object_name, error)
            return False
        if found is None or _admission_id(found) != entry.id:
            return True
        return await self.end(namespace, name, uid_of(found), seconds)

    async def _remove(self, namespace: str, pod: Document) -> None:
        try:
            await self.kube.delete(pods_path(namespace, _name(pod)), uid_of(pod), grace=GRACE)
        except KubeError as error:
            log.warning("Cannot delete pod %s/%s yet: %s", namespace, _name(pod), error)


class _Tries:
    """How often a request that makes something is sent again: with growing pauses, for so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._until, self._pause = time.monotonic() + seconds, 0.25

    async def another(self, error: KubeError) -> bool:
        """Wait before the next one; False where none is left, or none would help.

        409 may be a name that comes free, or a quota that was counted by somebody else at the same time.
        """
        pause, self._pause = max(self._pause, error.retry_after or 0), min(2 * self._pause, 4.0)
        if not (can_heal(error) or error.status == 409) or time.monotonic() + pause > self._until:
            return False
        await asyncio.sleep(pause)
        return True


def _is_over(pod: Document) -> bool:
    """Whether nothing in it runs any more."""
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def _admission_id(pod: Document) -> str | None:
    """The id of the admission that a pod was made for; None where that cannot be read."""
    entry = (pods.admission_of(pod) or {}).get("entry")
    return entry.get("id") if isinstance(entry, dict) else None


def _namespaces_of(rows: Collection[Entry]) -> set[str]:
    return {place_of(row)[0] for row in rows if row.object_name}


def _name(document: Document) -> str:
    name: str = document["metadata"]["name"]
    return name


def place_of(entry: Entry) -> tuple[str, str]:
    """Namespace and name of the pod of an admission, as `ClusterSite.object_name` joined them."""
    namespace, _, name = entry.object_name.partition("/")
    return namespace, name
