"""What our objects in a cluster are called and carry: names, labels and annotations, and reading them back.

Every pod and claim says which hub it belongs to and whose it is, in full. Names are for people: before an object is
used or deleted, its annotations are compared (`server_ours`, `claim_ours`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

from aihub.names import slug
from aihub.quota import Amounts
from aihub.resources import Resources
from aihub.storage import Claim, HeldClaim

__all__ = [
    "ADMISSION",
    "CLAIM",
    "DIGEST",
    "HELD",
    "HUB",
    "IMAGE",
    "JUPYTER",
    "OWNER",
    "PREFIX",
    "PROFILE",
    "PROJECT",
    "SERVER",
    "Component",
    "Identity",
    "admission_of",
    "annotation",
    "claim_mark",
    "claim_name",
    "claim_ours",
    "held_claim",
    "is_claim_name",
    "labels",
    "owner_of",
    "selector",
    "server_name",
    "server_ours",
]

PREFIX = "aihub.io/"

OWNER = f"{PREFIX}owner"
SERVER = f"{PREFIX}server"
PROJECT = f"{PREFIX}project"
PROFILE = f"{PREFIX}profile"
IMAGE = f"{PREFIX}image"
DIGEST = f"{PREFIX}digest"
ADMISSION = f"{PREFIX}admission"
"""JSON of what the server holds: with it a new hub takes the server over."""
CLAIM = f"{PREFIX}claim"
HELD = f"{PREFIX}held"
"""JSON of what a claim is charged and to whom: with it a new hub counts it."""
JUPYTER = f"{PREFIX}jupyter"
"""Jupyter's configuration of the server, which its pod mounts as a file."""
HUB = f"{PREFIX}hub"
"""Label: which hub an object belongs to."""

_APP = "app.kubernetes.io/"
_LONGEST_NAME = 63
_HASH_LENGTH = 20
_LABEL_VALUE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_CLAIM_NAME = re.compile(rf"(?:home|project)-(?:.*-)?[0-9a-f]{{{_HASH_LENGTH}}}")
_MOST = Decimal(10) ** 30


@dataclass(frozen=True, slots=True)
class Identity:
    """Which hub this is: `instance` is "<release namespace>/<release name>", `release` the name alone."""

    instance: str
    release: str

    @property
    def mark(self) -> str:
        """The value of the label `HUB`, hexadecimal digits of SHA-256: the instance itself is no label value."""
        return hashlib.sha256(self.instance.encode("utf-8")).hexdigest()[:_HASH_LENGTH]


class Component(StrEnum):
    """What an object is for, as its label says. NetworkPolicies select by it."""

    USER_SERVER = "user-server"
    STORAGE = "storage"


def labels(identity: Identity, component: Component, project: str = "") -> dict[str, str]:
    """The labels of our objects. A `project` that is no label value is left out: its annotation has it."""
    return {
        f"{_APP}name": "aihub",
        f"{_APP}component": component.value,
        f"{_APP}managed-by": "aihub",
        f"{_APP}instance": identity.release,
        HUB: identity.mark,
        **({PROJECT: project} if _LABEL_VALUE.fullmatch(project) else {}),
    }


def selector(identity: Identity, component: Component) -> str:
    """The label selector of all objects of this hub that are for `component`."""
    return f"{_APP}managed-by=aihub,{_APP}component={component.value},{HUB}={identity.mark}"


def server_name(identity: Identity, person: str, server: str = "") -> str:
    """The name of the pod of `person`'s server `server`, empty for the unnamed one."""
    return _name("server", f"{person}-{server}", identity.instance, person, server)


def claim_name(identity: Identity, claim_id: str) -> str:
    """The name of the PersistentVolumeClaim with the id `claim_id`.

    Raises ValueError for what is not an id of `aihub.storage.Claim`.
    """
    kind, _, rest = claim_id.partition("/")
    if kind not in {"home", "project"} or not rest:
        raise ValueError(f"{claim_id!r:.80} is not the id of a claim")
    return _name(kind, rest, identity.instance, claim_id)


def is_claim_name(name: str) -> bool:
    """Whether `name` is like those that `claim_name` makes, of any hub."""
    return _CLAIM_NAME.fullmatch(name) is not None


def _name(kind: str, told: str, *identifying: str) -> str:
    """A DNS label of at most 63 characters: kind, words for people, and 80 bits of SHA-256 of what identifies."""
    digest = _digest(kind, *identifying)
    start = slug(told, _LONGEST_NAME - len(kind) - len(digest) - 2)
    return "-".join(part for part in (kind, start, digest) if part)


def _digest(*parts: str) -> str:
    # JSON keeps the parts apart, and its escapes take lone surrogates, which UTF-8 does not.
    return hashlib.sha256(json.dumps(parts).encode("ascii")).hexdigest()[:_HASH_LENGTH]


def owner_of(identity: Identity, person: str) -> str:
    """The full id of a person, the same in no other hub: the annotation `OWNER` of what is theirs."""
    return f"{identity.instance}/{person}"


def claim_mark(identity: Identity, claim_id: str) -> str:
    """The full id of a claim, the same in no other hub: its annotation `CLAIM`."""
    return f"{identity.instance}/{claim_id}"


def server_ours(pod: Mapping[str, Any], identity: Identity, person: str, server: str = "") -> bool:
    """Whether a pod is `person`'s server `server` in this hub, whatever its name is."""
    return annotation(pod, OWNER) == owner_of(identity, person) and annotation(pod, SERVER) == server


def claim_ours(document: Mapping[str, Any], identity: Identity, claim_id: str) -> bool:
    """Whether a PersistentVolumeClaim is this hub's claim `claim_id`, whatever its name is."""
    return annotation(document, CLAIM) == claim_mark(identity, claim_id)


def annotation(document: Mapping[str, Any], key: str) -> str | None:
    """The annotation `key` of an object; None where there is none or something is in its place."""
    found: Any = document
    for part in ("metadata", "annotations", key):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found if isinstance(found, str) else None


def admission_of(pod: Mapping[str, Any]) -> dict[str, Any] | None:
    """What was admitted as this pod, as `Admission.as_state` wrote it; None where it cannot be read."""
    return _object(pod, ADMISSION)


def held_claim(document: Mapping[str, Any]) -> HeldClaim | None:
    """What a PersistentVolumeClaim is charged, as `aihub.pods.claims` wrote it; None where it cannot be read."""
    written = _object(document, HELD)
    if written is None:
        return None
    try:
        held = HeldClaim.from_dict(written)
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError):
        return None
    return held if _is_sound(held) else None


def _object(document: Mapping[str, Any], key: str) -> dict[str, Any] | None:
    try:
        found = json.loads(annotation(document, key) or "null")
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _is_sound(held: HeldClaim) -> bool:
    claim = held.claim
    told: tuple[Any, ...] = (claim.id, held.person, held.project)
    names = all(isinstance(name, str) and name for name in told)
    return names and _is_amount(claim.size or Decimal(0)) and _are_amounts(claim)


def _are_amounts(claim: Claim) -> bool:
    charge: Amounts = claim.charge
    parts: tuple[Resources, ...] = (charge.project, charge.member, charge.user)
    return all(_is_amount(amount) for part in parts for amount in part.values())


def _is_amount(amount: Decimal) -> bool:
    return amount.is_finite() and 0 <= amount < _MOST
