"""AIHub against a fake API server: a policy, a site that follows it, and a kubelet that does what a test says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aihub.app import Admission, AIHub
from aihub.chart import Settings
from aihub.cluster import ClusterSite
from aihub.kube import Kube, claims_path, events_path, pods_path
from aihub.projects import Person
from tests.fake_kube import TIME, FakeKube, client_of, fake_kube
from tests.hub_rig import loaded_aihub

Document = dict[str, Any]

USERS = "users"
PODS, CLAIMS, EVENTS = pods_path(USERS), claims_path(USERS), events_path(USERS)

POLICY = """
home: {size: 1Gi}
imageStreams:
  plain: {tags: {"1": {image: "registry.example.org/plain:1"}}, start: {port: 8888}}
profiles:
  small: {cpu: 1, memory: 1Gi}
  gpu: {cpu: 1, memory: 1Gi, accelerator: {resource: nvidia.com/gpu, count: 1}}
projects:
  lab:
    members: {groups: [/students]}
    images: {offer: [plain], default: "plain:1"}
    profiles: {offer: [small, gpu], default: small}
    quota: {perMember: {servers: 3}}
    storage:
      shared: {size: 2Gi}
      datasets: {mnist: {claim: mnist}}
signIn: {personas: {ada: {groups: [/students]}}}
"""

ADA = Person("ada", frozenset({"/students"}))


def settings_of(**more: Any) -> Settings:
    """What the chart would tell the hub."""
    given: dict[str, Any] = {
        "instance": "aihub/hub",
        "hubUrl": "http://hub.aihub:8081",
        "proxyApiUrl": "http://proxy.aihub:8001",
        "release": {"name": "hub", "namespace": "aihub"},
        "userNamespace": USERS,
    }
    return Settings.model_validate({**given, **more})


async def until(true: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait until something is the case."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to that"
        await asyncio.sleep(0.01)


@dataclass(slots=True)
class Rig:
    """One hub process and its API server."""

    fake: FakeKube
    site: ClusterSite
    aihub: AIHub

    async def admit(self, server: str = "", person: Person = ADA, **options: Any) -> Admission:
        """A start that was admitted."""
        return await self.aihub.admit(person, server, options)

    @property
    def pods(self) -> dict[str, Document]:
        return self.fake.objects.get(PODS, {})

    @property
    def claims(self) -> dict[str, Document]:
        return self.fake.objects.get(CLAIMS, {})

    def status(self, name: str, phase: str = "Pending", *conditions: Document, **more: Any) -> None:
        """What the kubelet or the scheduler writes."""
        self.fake.change(PODS, name, status={"phase": phase, "conditions": list(conditions), **more})

    def event(self, pod: Document, reason: str, message: str = "") -> None:
        """An event of a pod."""
        metadata = pod["metadata"]
        count = len(self.fake.objects.get(EVENTS, {}))
        self.fake.put(
            EVENTS,
            {
                "metadata": {"name": f"{metadata['name']}.{count}", "namespace": USERS},
                "involvedObject": {"kind": "Pod", "name": metadata["name"], "uid": metadata["uid"]},
                "reason": reason,
                "message": message,
            },
        )


@asynccontextmanager
async def rig_of(
    folder: Path, policy: str = POLICY, *, fake: FakeKube | None = None, opened: bool = True, **settings: Any
) -> AsyncIterator[Rig]:
    """A hub process with its state in `folder`; an API server of its own unless one is given."""
    if fake is None:
        async with fake_kube() as own, rig_of(folder, policy, fake=own, opened=opened, **settings) as rig:
            yield rig
        return
    bound = {"status": {"phase": "Bound"}}
    fake.put(CLAIMS, {"metadata": {"name": "mnist", "namespace": USERS}, "spec": {}, **bound})
    site = ClusterSite(settings_of(**settings))
    async with client_of(fake) as client:
        with loaded_aihub(folder, site, policy) as aihub:
            site.begin(Kube(client, request_timeout=1.0, watch_seconds=30))
            if opened:
                await aihub.open(())
            try:
                yield Rig(fake, site, aihub)
            finally:
                await aihub.close()
                site.close()


def condition(kind: str, status: str = "True", reason: str = "", message: str = "") -> Document:
    """A condition of a pod."""
    said = {key: value for key, value in {"reason": reason, "message": message}.items() if value}
    return {"type": kind, "status": status, "lastTransitionTime": TIME, **said}


def container(**state: Any) -> Document:
    """The status of the server's container."""
    return {"name": "notebook", "ready": "running" in state, "restartCount": 0, "state": state}
