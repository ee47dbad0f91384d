"""A plan: all that one start needs and nothing else. No spawner looks anything up again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType

from aihub.catalog import StartAdapter
from aihub.profiles import Placement
from aihub.projects import IdleRules
from aihub.quota import Amounts, Quotas
from aihub.resources import Resources
from aihub.storage import Claim, Dataset, SharedFolder, StorageClasses
from aihub.text import Text

__all__ = ["Plan"]


@dataclass(frozen=True, slots=True)
class Plan:
    """One start of one person in one project, fully resolved.

    `image` is the reference a container runs (None on one machine), `requirements` what the kernel environment of
    one machine is made from. `charge` is what the ledger reserves at each level, new claims included; `quotas` are
    the ceilings it is reserved under. `environment` has passed the filter of `aihub.environment`. What follows
    `annotations` is for a cluster: `namespace` is None where all projects share one, `pull_secrets` are names of
    Secrets, the `ephemeral_` amounts are bytes.
    """

    person: str
    project: str
    project_name: Text
    stream: str
    tag: str
    image_name: Text
    image: str | None
    requirements: tuple[str, ...] | None
    profile: str
    profile_name: Text
    requests: Resources
    limits: Resources
    accelerator: str | None
    accelerator_count: int
    placement: Placement
    shared_memory: Decimal | None
    home: Claim
    claims: tuple[Claim, ...]
    shared: SharedFolder | None
    may_write_shared: bool
    datasets: tuple[Dataset, ...]
    environment: Mapping[str, str]
    idle: IdleRules
    charge: Amounts
    quotas: Quotas
    annotations: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    namespace: str | None = None
    pull_secrets: tuple[str, ...] = ()
    start: StartAdapter = StartAdapter()
    ephemeral_request: Decimal | None = None
    ephemeral_limit: Decimal | None = None
    storage: StorageClasses = StorageClasses()

    @property
    def reference(self) -> str:
        """The id of the image, "stream:tag"."""
        return f"{self.stream}:{self.tag}"
