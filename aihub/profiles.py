"""Profiles: how large a user server is, where it may run, and who may use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from aihub.resources import Resources, is_accelerator
from aihub.text import Text

__all__ = ["Accelerator", "Placement", "Profile"]


@dataclass(frozen=True, slots=True)
class Accelerator:
    """The accelerator of a profile.

    `resource` is the extended resource (`nvidia.com/gpu`); `counts` what a person may choose from, its first entry
    being the default; `product` the node label value shown to people; `shared` a note on isolation, empty when the
    device is not shared.
    """

    resource: str
    counts: tuple[int, ...] = (1,)
    product: str = ""
    shared: Text = Text()


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a pod may run. Values are as in the Kubernetes PodSpec fields of the same names."""

    node_selector: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    tolerations: tuple[Mapping[str, Any], ...] = ()
    affinity: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    runtime_class: str | None = None
    priority_class: str | None = None


@dataclass(frozen=True, slots=True)
class Profile:
    """A size of server. `requests` and `limits` hold cpu and memory only; the accelerator is apart."""

    name: str
    display_name: Text = Text()
    description: Text = Text()
    order: int = 100
    requests: Resources = Resources()
    limits: Resources = Resources()
    accelerator: Accelerator | None = None
    shared_memory: Decimal | None = None
    """Size of /dev/shm in bytes; None leaves the runtime's default."""
    placement: Placement = Placement()
    hidden: bool = False
    retired: bool = False
    successor: str | None = None
    groups: tuple[str, ...] | None = None
    """Group patterns of who may use it; None is everybody, an empty tuple nobody."""
    ephemeral_request: Decimal | None = None
    """Bytes of the machine's own disk that are set aside for the server; None asks for nothing."""
    ephemeral_limit: Decimal | None = None

    def counts(self) -> tuple[int, ...]:
        """How many accelerators a person may ask for; (0,) without one."""
        return self.accelerator.counts if self.accelerator else (0,)

    def charge(self, count: int) -> Resources:
        """What a server of this profile with `count` accelerators takes: its requests and one server."""
        accelerators = {self.accelerator.resource: count} if self.accelerator else {}
        own = {key: amount for key, amount in self.requests.items() if not is_accelerator(key)}
        return Resources({**own, "servers": 1, **accelerators})
