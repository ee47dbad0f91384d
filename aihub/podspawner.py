"""User servers as pods: `AIHubSpawner` carries out plans through KubeSpawner's manifest and AIHub's own watch.

Of KubeSpawner stay the traits, the manifest builder, the environment and the address of a pod; how a pod is started,
watched and ended is AIHub's (upstream.md 24). The spawner decides nothing: `pods` says what a plan looks like,
`podstate` what a status means, `cluster.ClusterSite` reads, creates and deletes.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Collection
from typing import Any
from urllib.parse import urlparse

from jupyterhub.spawner import Spawner
from kubespawner import KubeSpawner
from traitlets import Float

from aihub import pods
from aihub.app import Admission, AIHub
from aihub.cluster import ClusterSite, Document, Unknown, place_of
from aihub.errors import Reason, Refusal, RefusedError
from aihub.idle import activity_interval
from aihub.ledger import Entry
from aihub.plan import Plan
from aihub.podstate import STAGES, Obstacle, ended, is_gated, obstacle, stage_of, uid_of
from aihub.spawner import LaunchMixin, Progress

__all__ = ["AIHubSpawner"]

LOOK = 1.0
"""Seconds after which a start looks again though nothing changed: patience ends by the clock."""

OUTER_SHARE = 0.95
"""Part of the bound around a start that its stages may take together."""


class AIHubSpawner(LaunchMixin, KubeSpawner):
    """Carries out plans as pods."""

    machine_deadline = Float(
        1800.0, min=1, config=True, help="Seconds that a start may wait for a machine that a declared pool brings."
    )
    volume_deadline = Float(
        180.0, min=1, config=True, help="Seconds until the volume of a new claim must have been made."
    )
    storage_deadline = Float(
        300.0, min=1, config=True, help="Seconds that mounting volumes and making the network may take."
    )
    image_deadline = Float(
        0.0,
        min=0,
        config=True,
        help="Seconds that getting the image may take while nothing says that it cannot be had. "
        "0: all of `start_timeout` but ten minutes.",
    )
    answer_deadline = Float(
        120.0, min=1, config=True, help="Seconds that a started container may take until its server listens."
    )
    stop_deadline = Float(
        45.0,
        min=1,
        config=True,
        help="Seconds that a stop waits for the pod to go. One that is not gone by then goes on counting.",
    )
    appear_deadline = Float(
        600.0,
        min=1,
        config=True,
        help="Seconds until a scheduler has placed a new pod or turned it down. It may wait for volumes to be made.",
    )

    stages = STAGES
    look_every = LOOK
    clock = staticmethod(time.monotonic)
    pod_uid = ""
    exit_status: int | None = None
    _creating: asyncio.Future[Document] | None = None

    @property
    def site(self) -> ClusterSite:
        """The cluster."""
        site = AIHub.instance().site
        assert isinstance(site, ClusterSite)
        return site

    # --- start -------------------------------------------------------------------------------------------------------

    async def carry_out(self, admission: Admission, progress: Progress) -> str:
        """Claims, pod, and then each stage with its own deadline and its own kinds of failure."""
        plan = admission.plan
        assert plan is not None, "an admission made in this process has its plan"
        self.pod_uid, self.exit_status = "", None
        self.site.standing.add(admission.entry.id)
        self.namespace, self.pod_name = place_of(admission.entry)
        view = self.site.view(self.namespace)
        bound = await self.site.check_datasets(plan)
        manifests = pods.claims(plan, self.site.identity, self.site.pod_settings)
        pairs = zip(plan.claims, manifests, strict=True)
        new = [await self.site.ensure_claim(document, claim, progress.say) for claim, document in pairs]
        pod = await self._create(admission, plan)
        self.pod_uid = uid_of(pod)
        events: deque[Document] = deque(maxlen=50)

        def hear(event: Document) -> None:
            events.append(event)
            progress.say(f"{event.get('reason', '')}: {event.get('message', '')}")

        with self.site.hearing(self.pod_uid, hear):
            following = _Following(self, plan, progress, new_claims=bound and any(new))
            while True:
                pod = await self._seen(pod)
                if following.look(pod, events, healthy=view.problem is None):
                    break
                await view.change(self.pod_name, self.look_every)
            url: str = self._get_pod_url(pod)
            await self._answering(url)
        return url

    async def _create(self, admission: Admission, plan: Plan) -> Document:
        """Create the pod, once, whatever happens to this task meanwhile (upstream.md 21)."""
        manifest = await self._manifest(admission, plan)
        self._creating = asyncio.ensure_future(self.site.make_pod(manifest, admission.entry))
        return await asyncio.shield(self._creating)

    async def _manifest(self, admission: Admission, plan: Plan) -> Document:
        """KubeSpawner's manifest, as admins configured it, with the plan laid over it."""
        self.image = plan.image or ""
        self.cmd, self.port = list(plan.start.command), plan.start.port
        base: Document = self.api.api_client.sanitize_for_serialization(await self.get_pod_manifest())
        return pods.pod(base, admission, self.site.identity, self.site.pod_settings)

    def get_env(self) -> dict[str, str]:
        """KubeSpawner's environment, the hub's own part above what admins set (upstream.md 10)."""
        hub = Spawner.get_env(self)
        idle = self.launched.idle.stop_after if self.launched else None
        return {
            **super().get_env(),
            **{name: value for name, value in hub.items() if name.startswith(("JPY_", "JUPYTERHUB_"))},
            # How often the server says whether it is in use.
            "JUPYTERHUB_ACTIVITY_INTERVAL": str(activity_interval(idle)),
        }

    async def _seen(self, pod: Document) -> Document:
        """The pod as it is now. Raises RefusedError when it went away."""
        seen = self.site.pod(self.namespace, self.pod_name)
        if seen is not None and uid_of(seen) == self.pod_uid:
            return seen
        last = self.site.departed(self.namespace, self.pod_uid)
        if last is not None:
            raise RefusedError(_early_end(last, self.name) or Refusal(Reason.START_FAILED, {"lines": ("pod deleted",)}))
        return pod

    async def _answering(self, url: str) -> None:
        """Wait until the server listens. Raises RefusedError when it ends before that, or takes too long."""
        until = self.clock() + self.answer_deadline
        while self.clock() < until:
            pod = await self._seen({"metadata": {}})
            refusal = _early_end(pod, self.name) if pod["metadata"] else None
            if refusal is not None:
                raise RefusedError(refusal)
            if await _listens(url, 2):
                return
            await asyncio.sleep(0.1)
        raise RefusedError(Refusal(Reason.START_TIMEOUT, {"seconds": int(self.answer_deadline)}))

    def server_uid(self) -> str:
        """The pod's uid."""
        return self.pod_uid

    # --- stop --------------------------------------------------------------------------------------------------------

    async def take_down(self) -> bool:
        """Delete the pod that this start made or took over, and no other."""
        creating, self._creating = self._creating, None
        if creating is not None and not creating.done():
            # It may be carried out any moment: only its answer says what there is to delete.
            await asyncio.wait([creating])
        if creating is not None and creating.exception() is None:
            self.pod_uid = uid_of(creating.result())
        entry = self.launched.entry if self.launched else None
        if entry is None:
            return True
        if self.pod_uid:
            gone = await self.site.end(self.namespace, self.pod_name, self.pod_uid, self.stop_deadline)
        else:
            gone = creating is None or await self._was_not_made(creating, entry)
        self.site.standing.discard(entry.id)
        return gone

    async def _was_not_made(self, creating: asyncio.Future[Document], entry: Entry) -> bool:
        """Whether a create that failed has certainly made nothing: one without an answer may still be carried out."""
        error = creating.exception()
        answered = isinstance(error, RefusedError) and error.refusal.reason is not Reason.API_UNAVAILABLE
        return await self.site.end_admission(entry, self.stop_deadline) and answered

    async def made(self, admission: Admission) -> Collection[str]:
        """Which of its claims exist."""
        namespace, _ = place_of(admission.entry)
        return await self.site.existing(namespace, admission.entry.claims)

    async def delete_forever(self) -> None:
        """Nothing: a home outlives its servers and the account of its person; only admins delete claims."""

    # --- while it runs -----------------------------------------------------------------------------------------------

    async def poll(self) -> int | None:
        """None while the server runs, and while nobody knows; it never raises (upstream.md 12, 23)."""
        try:
            return await self._poll()
        except Exception:
            self.log.exception("Whether %s runs cannot be found out", self._log_name)
            return None

    async def _poll(self) -> int | None:
        if self.launched is None:
            return 0
        if self.exit_status is not None or not self.pod_uid:
            status: int | None = self.exit_status
            return status
        try:
            pod = await self.site.find(self.namespace, self.pod_name, self.pod_uid)
        except Unknown:
            return None
        last = pod or self.site.departed(self.namespace, self.pod_uid)
        end = ended(last, self.name) if last else None
        if pod is not None and end is None:
            return None
        refusal = end.refusal if end else Refusal(Reason.SERVER_DIED, {"server": self.name})
        self.died(refusal, end.lines if end else ())
        self.exit_status = end.status if end else 1
        self.site.standing.discard(self.launched.entry.id)
        if pod is not None:
            self.lingering = not await self.site.end(self.namespace, self.pod_name, self.pod_uid, self.stop_deadline)
        return self.exit_status

    async def get_url(self) -> str:
        """The server's address, for a hub that took it over: waits until it answers or is known to be gone.

        The hub stops whatever does not answer after this (upstream.md 23).
        """
        url: str = self.server.url
        while await self.poll() is None:
            pod = self.site.pod(self.namespace, self.pod_name)
            if pod is not None and uid_of(pod) == self.pod_uid and pod.get("status", {}).get("podIP"):
                url = self._get_pod_url(pod)
                if await _listens(url, 5):
                    break
            await asyncio.sleep(2)
        return url

    def get_state(self) -> dict[str, Any]:
        """With the pod's uid: a pod of the same name that comes later is another."""
        state = super().get_state()
        return {**state, "pod_uid": self.pod_uid} if self.launched else state

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over a server of the last hub."""
        super().load_state(state)
        self.pod_uid = state.get("pod_uid", "")
        if self.launched is not None:
            self.namespace, self.pod_name = place_of(self.launched.entry)
            self.site.view(self.namespace)

    def clear_state(self) -> None:
        """Nothing carries over from the last start."""
        super().clear_state()
        self.pod_uid, self.exit_status, self._creating = "", None, None


class _Following:
    """One start as it is followed: stages in order, and how long what is in the way has been there."""

    def __init__(self, spawner: AIHubSpawner, plan: Plan, progress: Progress, *, new_claims: bool) -> None:
        self._spawner, self._plan, self._progress, self._new_claims = spawner, plan, progress, new_claims
        self._blocked: tuple[Reason, float] | None = None
        self._began = self._since = self._looked = spawner.clock()

    def look(self, pod: Document, events: Collection[Document], *, healthy: bool) -> bool:
        """Whether the server's container is ready. Raises RefusedError when the start cannot go on.

        While the API server does not answer (not `healthy`) nothing is known, and nobody's patience ends.
        """
        refusal = _early_end(pod, self._spawner.name)
        if refusal is not None:
            raise RefusedError(refusal)
        stage, now = stage_of(pod, events), self._spawner.clock()
        self._enter(stage)
        if stage == "ready":
            return True
        if healthy:
            found = obstacle(pod, events, image=self._plan.reference, profile=self._plan.profile)
            self._check(found, stage, gated=is_gated(pod))
        else:
            self._blocked = None
            self._since += now - self._looked
        self._looked = now
        return False

    def _enter(self, stage: str) -> None:
        """Stages only go forward; one that was too short to be seen began with the next. The last one is the hub's."""
        index, now = STAGES.index(stage), STAGES.index(self._progress.stage)
        for passed in STAGES[now + 1 : index + 1]:
            if passed != STAGES[-1]:
                self._progress.enter(passed)
                self._since = self._spawner.clock()

    def _check(self, found: Obstacle | None, stage: str, *, gated: bool) -> None:
        now = self._spawner.clock()
        if found is None:
            self._blocked = None
        elif self._blocked is None or self._blocked[0] is not found.refusal.reason:
            self._blocked = found.refusal.reason, now
        if found is not None and self._blocked is not None and now - self._blocked[1] >= self._patience(found, stage):
            raise RefusedError(found.refusal)
        deadline = self._deadline("machine" if gated else stage)
        # The hub's own bound would end the start without a word of ours.
        late = now - self._began >= OUTER_SHARE * self._spawner.start_timeout
        if late or now - self._since >= deadline:
            raise RefusedError(found.refusal if found else Refusal(Reason.START_TIMEOUT, {"seconds": int(deadline)}))

    def _patience(self, found: Obstacle, stage: str) -> float:
        """What is still being made is no obstacle for as long as that may take: a pool's machine, a new volume."""
        if found.machine:
            return max(found.patience, self._spawner.site.pool_seconds)
        if self._new_claims and stage == "machine":
            return max(found.patience, self._spawner.volume_deadline)
        return found.patience

    def _deadline(self, stage: str) -> float:
        spawner = self._spawner
        deadlines: dict[str, float] = {
            "queue": spawner.appear_deadline,
            "machine": max(spawner.machine_deadline, spawner.site.pool_seconds),
            "storage": spawner.storage_deadline,
            "image": spawner.image_deadline or max(spawner.start_timeout - 600, 60),
            "start": spawner.answer_deadline,
        }
        return deadlines[stage]


def _early_end(pod: Document, server: str) -> Refusal | None:
    """Why a server that is being started has ended already; None while it has not."""
    end = ended(pod, server)
    if end is None:
        return None
    if end.refusal.reason is Reason.SERVER_DIED:
        return Refusal(Reason.START_FAILED, {"status": end.status, "lines": end.lines})
    return end.refusal


async def _listens(url: str, seconds: float) -> bool:
    address = urlparse(url)
    try:
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_connection(address.hostname, address.port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
