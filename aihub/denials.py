"""What the API server says when it refuses, as a refusal of ours."""

from __future__ import annotations

import re

from aihub.errors import KubeError, Reason, Refusal

__all__ = ["refusal_of"]

# As the admission plugin ResourceQuota writes it (kubernetes, plugin/pkg/admission/resourcequota/controller.go).
_EXCEEDED = re.compile(
    r"exceeded quota: (?P<quota>[^,]+), requested: (?P<requested>\S+), used: (?P<used>\S+), limited: (?P<limited>\S+)"
)


def refusal_of(error: KubeError, namespace: str) -> Refusal:
    """The refusal that `error` means for somebody whose pod or claim was to be made in `namespace`.

    What it says is read from the answer's body: JupyterHub overwrites the HTTP reason of an exception.
    """
    if error.status is None or error.status >= 429:
        return Refusal(Reason.API_UNAVAILABLE)
    exceeded = _EXCEEDED.search(error.message)
    if error.status == 403 and exceeded:
        return _quota_refusal(exceeded, namespace)
    if error.status == 404 and "namespaces" in error.message:
        return Refusal(Reason.NAMESPACE_MISSING, {"namespace": namespace})
    return Refusal(Reason.CLUSTER_DENIED, {"problem": error.message})


def _quota_refusal(exceeded: re.Match[str], namespace: str) -> Refusal:
    """The first of the exceeded keys, as the quota of the namespace counts it."""
    key, _, requested = exceeded["requested"].split(",")[0].partition("=")
    used, limited = _amounts(exceeded["used"]), _amounts(exceeded["limited"])
    return Refusal(
        Reason.CLUSTER_QUOTA,
        {
            "key": key.removeprefix("requests.").removeprefix("limits."),
            "requested": requested,
            "used": used.get(key, ""),
            "limit": limited.get(key, ""),
            "namespace": namespace,
        },
    )


def _amounts(text: str) -> dict[str, str]:
    pairs = (each.partition("=") for each in text.split(","))
    return {key: amount for key, _, amount in pairs}
