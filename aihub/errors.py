"""What can go wrong, as data.

    AIHubError
    ├── CatalogError       a file of image streams cannot be read at all
    ├── QuantityError      a text is not a Kubernetes quantity (also a ValueError)
    ├── KubeError          the API server of Kubernetes refuses a request, or does not answer
    ├── PolicyFileError    the policy file has findings; carries them
    ├── RefusedError       a start is refused; carries the Refusal
    └── StoreError         AIHub's own database cannot be read or written

A `Refusal` holds a reason from a fixed set and the parameters of its sentence; `aihub.messages` makes the sentence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from aihub.findings import Finding

__all__ = [
    "AIHubError",
    "CatalogError",
    "KubeError",
    "Parameter",
    "PolicyFileError",
    "QuantityError",
    "Reason",
    "Refusal",
    "RefusedError",
    "StoreError",
]


class Reason(StrEnum):
    """Why a start is refused (design.md §8). The value is what REST answers carry in `AIHub-Reason`."""

    INVALID_OPTIONS = "invalid-options"
    UNKNOWN_PROJECT = "unknown-project"
    NOT_MEMBER = "not-member"
    PROJECT_ARCHIVED = "project-archived"
    UNKNOWN_IMAGE = "unknown-image"
    IMAGE_NOT_OFFERED = "image-not-offered"
    IMAGE_RETIRED = "image-retired"
    IMAGE_UNRESOLVED = "image-unresolved"
    UNKNOWN_PROFILE = "unknown-profile"
    PROFILE_NOT_OFFERED = "profile-not-offered"
    PROFILE_RETIRED = "profile-retired"
    PROFILE_NOT_OPEN = "profile-not-open"
    PROFILE_UNFIT = "profile-unfit"
    IDENTITY_STALE = "identity-stale"
    NEVER_FITS = "never-fits"
    QUOTA_PROJECT = "quota-project"
    QUOTA_MEMBER = "quota-member"
    QUOTA_USER = "quota-user"
    QUOTA_UNKNOWN = "quota-unknown"
    NO_CAPACITY = "no-capacity"
    VOLUME_BUSY = "volume-busy"
    STORAGE_QUOTA = "storage-quota"
    STORAGE_FULL = "storage-full"
    STORAGE_UNUSABLE = "storage-unusable"
    DATASET_MISSING = "dataset-missing"
    SERVER_BUSY = "server-busy"
    SERVER_DIED = "server-died"
    OUT_OF_MEMORY = "out-of-memory"
    EVICTED = "evicted"
    NODE_LOST = "node-lost"
    PROJECT_LEFT = "project-left"
    BUILD_FAILED = "build-failed"
    IMAGE_PULL_FAILED = "image-pull-failed"
    UNSCHEDULABLE = "unschedulable"
    START_FAILED = "start-failed"
    START_TIMEOUT = "start-timeout"
    NAME_COLLISION = "name-collision"
    CLUSTER_QUOTA = "cluster-quota"
    CLUSTER_DENIED = "cluster-denied"
    NAMESPACE_MISSING = "namespace-missing"
    API_UNAVAILABLE = "api-unavailable"
    STORE_UNAVAILABLE = "store-unavailable"


Parameter = str | int | bool | None | tuple[str, ...]
"""What a sentence may be filled with. Quantities are given as formatted text, never as floats."""


def _empty() -> Mapping[str, Parameter]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Refusal:
    """A reason and what its sentence names.

    Parameters used by convention: `project`, `image` ("stream:tag"), `profile` are ids; `field` is the user option at
    fault; `key` a resource name; `limit`, `used`, `requested`, `free`, `total` formatted amounts; `successor` an id;
    `contact` plain text; `path` a folder; `claim` and `namespace` names in the cluster; `node` a machine of it;
    `problem` what the cluster itself reports, in its own words; `lines` the last lines of a log; `server` a server's
    name; `holders` who holds what there is no more of, for those only who may know it.
    """

    reason: Reason
    parameters: Mapping[str, Parameter] = field(default_factory=_empty)


class AIHubError(Exception):
    """Root of the errors that AIHub raises on purpose."""


class QuantityError(AIHubError, ValueError):
    """A text is not a quantity as Kubernetes writes them."""

    def __init__(self, text: object, problem: str) -> None:
        super().__init__(f"{text!r:.80} {problem}")
        self.text = text
        self.problem = problem


class CatalogError(AIHubError):
    """A file of image streams cannot be read at all. `line` is where reading ended, counted from 1."""

    def __init__(self, file: str, line: int, problem: str) -> None:
        super().__init__(f"{file}:{line}: {problem}")
        self.file = file
        self.line = line
        self.problem = problem


class KubeError(AIHubError):
    """The API server refused a request, or did not answer it (`status` None): then it may have been carried out.

    `reason` and `message` are those of the Status object; `retry_after` is in seconds, None where nothing was said.
    """

    def __init__(self, status: int | None, message: str, *, reason: str = "", retry_after: float | None = None) -> None:
        super().__init__(f"{status or 'no answer'}: {message}")
        self.status = status
        self.message = message
        self.reason = reason
        self.retry_after = retry_after


class PolicyFileError(AIHubError):
    """The policy file cannot be used. `findings` holds all of them, warnings too, in the order of the files."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        errors = [finding for finding in findings if finding.severity == "error"]
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        super().__init__(f"{errors[0]}{more}" if errors else "the policy file cannot be used")
        self.findings = tuple(findings)


class RefusedError(AIHubError):
    """A start is refused. Framework boundaries turn this into their own exception."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason.value)
        self.refusal = refusal


class StoreError(AIHubError):
    """AIHub's own database cannot be read or written right now."""
