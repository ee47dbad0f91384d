"""What the API server itself says of the pods that plans become: every one is admitted, and is what was planned."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from hypothesis import given, settings

from aihub.plan import Plan
from aihub.pods import PodSettings, claims, pod
from tests.cluster.rig.cluster import Cluster
from tests.pod_rig import HUB, admit, manifest_of
from tests.podcheck import violations
from tests.test_pods import plans

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


def placed(plan: Plan, namespace: str) -> Plan:
    """The plan in this namespace, without the classes that a random plan names and nobody made."""
    placement = replace(plan.placement, runtime_class=None, priority_class=None)
    return replace(plan, namespace=namespace, placement=placement)


def dry(create: Callable[..., Any], namespace: str, document: Mapping[str, Any]) -> Any:
    """The object as the API server would keep it. Unknown and repeated fields are errors."""
    answer = create(namespace, document, dry_run="All", field_validation="Strict", _preload_content=False)
    return json.loads(answer.data)


def test_every_plan_becomes_a_pod_that_a_restricted_namespace_admits(cluster: Cluster) -> None:
    core, base = cluster.core, manifest_of()
    with cluster.namespace("admission", RESTRICTED) as namespace:

        @settings(deadline=None, max_examples=100)
        @given(plans())
        def admitted(random: Plan) -> None:
            plan, own = placed(random, namespace), PodSettings(namespace)
            needed = claims(plan, HUB, own)
            for claim in needed:
                dry(core.create_namespaced_persistent_volume_claim, namespace, claim)
            live = dry(core.create_namespaced_pod, namespace, pod(base, admit(plan), HUB, own))
            wrong = violations(live, plan, instance=HUB.instance, namespace=namespace, claims=needed, live=True)
            assert wrong == []

        admitted()
