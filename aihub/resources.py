"""Amounts: Kubernetes quantities and the vector that requests, usage and quotas share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal

__all__ = ["CPU", "MEMORY", "SERVERS", "STORAGE", "Resources", "is_accelerator", "sort_keys"]

CPU, MEMORY, SERVERS, STORAGE = "cpu", "memory", "servers", "storage"
_ORDER = {SERVERS: 0, CPU: 1, MEMORY: 2, STORAGE: 4}


def is_accelerator(key: str) -> bool:
    """Whether `key` names an extended resource (`nvidia.com/gpu`): those have a domain."""
    return "/" in key


def sort_keys(keys: Iterable[str]) -> list[str]:
    """Keys in the order in which rules test and pages show them: servers, cpu, memory, accelerators, storage."""
    return sorted(keys, key=lambda key: (_ORDER.get(key, 3), key))


class Resources(Mapping[str, Decimal]):
    """An immutable vector of amounts, zero where a key is absent.

    Units: cpu in cores, memory and storage in bytes, servers and accelerators in pieces. `vector[key]` never raises;
    iteration yields the keys that are not zero, in `sort_keys` order.
    """

    __slots__ = ("_amounts",)

    def __init__(self, amounts: Mapping[str, Decimal | int] | None = None) -> None:
        given = {key: Decimal(amount) for key, amount in (amounts or {}).items()}
        self._amounts = {key: given[key] for key in sort_keys(given) if given[key]}

    def __getitem__(self, key: str) -> Decimal:
        return self._amounts.get(key, Decimal(0))

    def __contains__(self, key: object) -> bool:
        return key in self._amounts

    def __iter__(self) -> Iterator[str]:
        return iter(self._amounts)

    def __len__(self) -> int:
        return len(self._amounts)

    def __hash__(self) -> int:
        return hash(tuple(self._amounts.items()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Resources) and self._amounts == other._amounts

    def __repr__(self) -> str:
        return f"Resources({ {key: str(amount) for key, amount in self._amounts.items()} })"

    def __add__(self, other: Resources) -> Resources:
        return Resources({key: self[key] + other[key] for key in {*self, *other}})

    def __sub__(self, other: Resources) -> Resources:
        """The difference; entries may be negative where `other` is larger."""
        return Resources({key: self[key] - other[key] for key in {*self, *other}})

    def only(self, keys: Iterable[str]) -> Resources:
        """The part of the vector under `keys`."""
        return Resources({key: self[key] for key in keys})

    def exceeding(self, room: Mapping[str, Decimal]) -> list[str]:
        """Keys of which this vector wants more than `room` holds; keys that `room` does not have count as zero."""
        return [key for key in self if self[key] > room.get(key, Decimal(0))]
