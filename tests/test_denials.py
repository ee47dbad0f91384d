"""What the API server says when it refuses, in its own words, and what a person is told."""

from __future__ import annotations

from typing import Any

import pytest

from aihub import messages
from aihub.denials import refusal_of
from aihub.errors import KubeError, Reason

GPU = (
    'pods "server-bob-1" is forbidden: exceeded quota: gpu, requested: requests.nvidia.com/gpu=1, '
    "used: requests.nvidia.com/gpu=4, limited: requests.nvidia.com/gpu=4"
)
SEVERAL = (
    'pods "server-bob-1" is forbidden: exceeded quota: team, requested: limits.memory=8Gi,pods=1,requests.memory=8Gi, '
    "used: limits.memory=60Gi,pods=20,requests.memory=60Gi, limited: limits.memory=64Gi,pods=20,requests.memory=64Gi"
)
STORAGE = (
    'persistentvolumeclaims "home-bob-1" is forbidden: exceeded quota: disk, requested: requests.storage=20Gi, '
    "used: requests.storage=90Gi, limited: requests.storage=100Gi"
)
SECURITY = (
    'pods "server-bob-1" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false '
    '(container "notebook" must set securityContext.allowPrivilegeEscalation=false)'
)
WEBHOOK = 'admission webhook "validate.kyverno.svc-fail" denied the request: images must come from registry.example.org'


def refused(status: int | None, message: str) -> tuple[Reason, dict[str, Any]]:
    refusal = refusal_of(KubeError(status, message), "users")
    assert messages.plain(refusal), "there is a sentence"
    return refusal.reason, dict(refusal.parameters)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        pytest.param(GPU, ("nvidia.com/gpu", "1", "4", "4"), id="an accelerator"),
        pytest.param(SEVERAL, ("memory", "8Gi", "60Gi", "64Gi"), id="the first of several"),
        pytest.param(
            'pods "x" is forbidden: exceeded quota: n, requested: pods=1, used: pods=20, limited: pods=20',
            ("pods", "1", "20", "20"),
            id="how many pods",
        ),
        pytest.param(
            'pods "x" is forbidden: exceeded quota: n, '
            "requested: count/pods=1, used: count/pods=0, limited: count/pods=0",
            ("count/pods", "1", "0", "0"),
            id="none allowed at all",
        ),
        pytest.param(
            'pods "x" is forbidden: exceeded quota: n, requested: cpu=2500m, used: cpu=0, limited: cpu=2',
            ("cpu", "2500m", "0", "2"),
            id="cpu",
        ),
    ],
)
def test_a_quota_of_the_namespace(message: str, expected: tuple[str, ...]) -> None:
    reason, words = refused(403, message)
    assert reason is Reason.CLUSTER_QUOTA
    assert (words["key"], words["requested"], words["used"], words["limit"]) == expected
    assert words["namespace"] == "users"


def test_a_quota_on_storage_that_a_claim_meets() -> None:
    reason, words = refused(403, STORAGE)
    assert reason is Reason.CLUSTER_QUOTA
    assert (words["key"], words["requested"], words["used"], words["limit"]) == ("storage", "20Gi", "90Gi", "100Gi")


def test_the_sentence_says_the_numbers_of_the_cluster() -> None:
    said = messages.plain(refusal_of(KubeError(403, GPU), "users"))
    assert "users" in said
    assert "4" in said
    assert "server-bob-1" not in said


@pytest.mark.parametrize(
    ("status", "message"),
    [
        pytest.param(403, SECURITY, id="pod security"),
        pytest.param(403, WEBHOOK, id="a webhook"),
        pytest.param(400, WEBHOOK, id="a webhook that answers 400"),
        pytest.param(
            403,
            'pods "x" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi',
            id="a limit range",
        ),
        pytest.param(403, 'pods "x" is forbidden: failed quota: team: must specify limits.cpu', id="a quota unmet"),
        pytest.param(
            403,
            'pods "x" is forbidden: unable to create new content in namespace users because it is being terminated',
            id="the namespace is being deleted",
        ),
        pytest.param(
            403,
            'pods is forbidden: User "system:serviceaccount:aihub:hub" cannot create resource "pods" in API group ""',
            id="the hub may not",
        ),
        pytest.param(422, 'Pod "x" is invalid: spec.containers[0].image: Required value', id="invalid"),
        pytest.param(401, "Unauthorized", id="unknown to the API server"),
        pytest.param(403, 'pods "x" is forbidden: no PriorityClass with name gold was found', id="priority class"),
        pytest.param(404, "the server could not find the requested resource", id="another 404"),
    ],
)
def test_what_a_rule_of_the_cluster_forbids_is_told_in_its_words(status: int, message: str) -> None:
    assert refused(status, message) == (Reason.CLUSTER_DENIED, {"problem": message})
    assert message in messages.plain(refusal_of(KubeError(status, message), "users"))


def test_a_namespace_that_is_not_there() -> None:
    assert refused(404, 'namespaces "users" not found') == (Reason.NAMESPACE_MISSING, {"namespace": "users"})


@pytest.mark.parametrize("status", [None, 429, 500, 502, 503, 504])
def test_an_api_server_that_cannot_answer_says_nothing_about_the_start(status: int | None) -> None:
    assert refused(status, GPU) == (Reason.API_UNAVAILABLE, {})
