"""Plans, admissions, and KubeSpawner's own manifests, for tests of what becomes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from kubespawner import KubeSpawner

from aihub.app import Admission
from aihub.ledger import Entry, ServerKey
from aihub.marks import Identity
from aihub.plan import Plan
from aihub.pods import PodSettings
from aihub.profiles import Placement
from aihub.projects import IdleRules
from aihub.quota import Amounts, Quotas
from aihub.resources import Resources
from aihub.storage import Claim
from aihub.text import Text

__all__ = ["GIB", "HUB", "SETTINGS", "admit", "kube_spawner", "make_plan", "manifest_of"]

GIB = 1024**3
HUB = Identity("hub/aihub", "aihub")
SETTINGS = PodSettings("hub-users")


def make_plan(**changes: Any) -> Plan:
    """The smallest plan for a cluster, with `changes`."""
    home = Claim("home/ann", Decimal(5 * GIB), Amounts(user=Resources({"storage": 5 * GIB})))
    plan = Plan(
        person="ann",
        project="ml101",
        project_name=Text("Machine Learning 101"),
        stream="scipy",
        tag="2026",
        image_name=Text("SciPy"),
        image="registry.example/scipy:2026",
        requirements=None,
        profile="small",
        profile_name=Text("Small"),
        requests=Resources({"cpu": Decimal("0.5"), "memory": GIB}),
        limits=Resources({"cpu": 2, "memory": 2 * GIB}),
        accelerator=None,
        accelerator_count=0,
        placement=Placement(),
        shared_memory=None,
        home=home,
        claims=(home,),
        shared=None,
        may_write_shared=False,
        datasets=(),
        environment={},
        idle=IdleRules(),
        charge=Amounts(),
        quotas=Quotas(),
    )
    return replace(plan, **changes)


def admit(plan: Plan, server: str = "") -> Admission:
    """What `plan` was admitted as."""
    entry = Entry(
        "e1", ServerKey(plan.person, server), plan.project, plan.requests, plan.claims, deadline=1000.0, object_name="x"
    )
    return Admission.of(entry, plan)


@contextmanager
def kube_spawner() -> Iterator[None]:
    """Inside, KubeSpawner is made without looking for a cluster."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kubespawner.spawner.load_config", lambda **_: None)
        yield


def manifest_of(**traits: Any) -> dict[str, Any]:
    """KubeSpawner's own pod with `traits`, as the API server would get it."""

    async def build() -> dict[str, Any]:
        spawner = KubeSpawner(_mock=True, **traits)
        found: dict[str, Any] = spawner.api.api_client.sanitize_for_serialization(await spawner.get_pod_manifest())
        # KubeSpawner's client is closed when the task that it started ends: that has to begin first.
        await asyncio.sleep(0)
        return found

    with kube_spawner():
        return asyncio.run(build())
