"""Storage of a server: the home, the project folder, datasets; which claims they are and where they are mounted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from aihub.names import safe_name
from aihub.quota import Amounts
from aihub.resources import STORAGE, Resources
from aihub.text import Text

__all__ = [
    "Claim",
    "Dataset",
    "HeldClaim",
    "Home",
    "HomeScope",
    "ProjectStorage",
    "SharedFolder",
    "StorageClasses",
    "directory_of",
    "growth",
    "home_claim",
    "project_claims",
]


class HomeScope(StrEnum):
    """Whether a person has one home, or one in every project."""

    USER = "user"
    PROJECT = "project"


@dataclass(frozen=True, slots=True)
class Home:
    """The home of a person: its scope and size in bytes (None: no size is asked for)."""

    scope: HomeScope = HomeScope.USER
    size: Decimal | None = None


@dataclass(frozen=True, slots=True)
class SharedFolder:
    """The folder of a project, `~/project` in every server of it. `source` is a folder copied into a new one."""

    size: Decimal | None = None
    members_write: bool = False
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Dataset:
    """Data that servers of a project read under `~/datasets/<name>`.

    `path` is a folder of the machine (one-machine runtime), `claim` a PersistentVolumeClaim (Kubernetes).
    """

    name: str
    display_name: Text = Text()
    path: str | None = None
    claim: str | None = None


@dataclass(frozen=True, slots=True)
class ProjectStorage:
    """What a project's servers find beside the home."""

    home_size: Decimal | None = None
    shared: SharedFolder | None = None
    datasets: Mapping[str, Dataset] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class StorageClasses:
    """What claims of a cluster are made from.

    The storage classes of homes and of project folders, None for the cluster's default, and the access mode of
    project folders.
    """

    home: str | None = None
    shared: str | None = None
    shared_access: str = "ReadWriteMany"


@dataclass(frozen=True, slots=True)
class Claim:
    """A piece of storage that outlives servers: a home or a project's folder.

    `id` is unique in the hub: "home/<person>", "home/<project>/<person>" or "project/<project>". `size` is in bytes.
    """

    id: str
    size: Decimal | None
    charge: Amounts

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, amounts as exact text."""
        return {
            "id": self.id,
            "size": None if self.size is None else str(self.size),
            "charge": [part.as_dict() for part in (self.charge.project, self.charge.member, self.charge.user)],
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Claim:
        """What `as_dict` wrote. Raises KeyError, TypeError, ValueError or ArithmeticError where it did not."""
        project, member, user = map(Resources.from_dict, document["charge"])
        size = None if document["size"] is None else Decimal(document["size"])
        return cls(document["id"], size, Amounts(project, member, user))


@dataclass(frozen=True, slots=True)
class HeldClaim:
    """A claim and where it counts: its charge at the project level goes to `project`, at the user level to `person`."""

    claim: Claim
    person: str
    project: str

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, amounts as exact text: what a place that keeps claims writes down beside each."""
        return {"claim": self.claim.as_dict(), "person": self.person, "project": self.project}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> HeldClaim:
        """What `as_dict` wrote. Raises KeyError, TypeError, ValueError or ArithmeticError where it did not."""
        return cls(Claim.from_dict(document["claim"]), document["person"], document["project"])


def home_claim(home: Home, storage: ProjectStorage, project: str, person: str) -> Claim:
    """The home that a server of `person` in `project` mounts.

    A home of scope user counts at the user level only, one of scope project at all three (design.md §7); only in
    that scope may a project set its own size.
    """
    if home.scope is HomeScope.USER:
        return Claim(f"home/{person}", home.size, Amounts(user=_storage(home.size)))
    size = storage.home_size if storage.home_size is not None else home.size
    return Claim(f"home/{project}/{person}", size, Amounts.everywhere(_storage(size)))


def project_claims(storage: ProjectStorage, project: str) -> tuple[Claim, ...]:
    """The claims of a project itself: its shared folder where it has one, counted at the project level."""
    if storage.shared is None:
        return ()
    return (Claim(f"project/{project}", storage.shared.size, Amounts(project=_storage(storage.shared.size))),)


def growth(claim: Claim, charged: Claim | None) -> Amounts:
    """What a start that mounts `claim` adds to usage, where the claim is already charged as `charged` (None: not yet).

    A claim counts at the largest size that was ever asked for, so one that shrinks adds nothing and takes nothing off.
    """
    if charged is None:
        return claim.charge
    larger = (claim.size or Decimal(0)) > (charged.size or Decimal(0))
    return claim.charge - charged.charge if larger else Amounts()


def directory_of(claim: str) -> tuple[str, ...]:
    """Where the claim with this id is on one machine: the segments of a path below the folder of all claims.

    Different ids have different directories, and none is inside another. Raises ValueError for what is not an id.
    """
    kind, *names = claim.split("/")
    if all(names):
        match kind, [safe_name(name) for name in names]:
            case "home", [person]:
                return ("homes", person)
            case "home", [project, person]:
                return ("projects", project, "homes", person)
            case "project", [project]:
                return ("projects", project, "shared")
    raise ValueError(f"{claim!r:.80} is not the id of a claim")


def _storage(size: Decimal | None) -> Resources:
    return Resources({STORAGE: size} if size is not None else {})
