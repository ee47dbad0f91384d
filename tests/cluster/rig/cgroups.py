"""The control group under which a node's pods are."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def make(name: str) -> None:
    """Make the group in every hierarchy of this machine."""
    for hierarchy in _hierarchies():
        (hierarchy / name).mkdir(exist_ok=True)


def remove(name: str) -> None:
    """Remove the group and all below it. Its processes are gone, or just going."""
    end = time.monotonic() + 5
    while left := [path for path in find(name) if not _gone(path)]:
        if time.monotonic() > end:
            raise TimeoutError(f"processes stay in {left[0]}")
        time.sleep(0.05)


def find(name: str) -> list[Path]:
    """The folders of the group in all hierarchies."""
    return [path for hierarchy in _hierarchies() if (path := hierarchy / name).exists()]


def _hierarchies() -> Iterator[Path]:
    for line in Path("/proc/mounts").read_text().splitlines():
        _, path, kind, *_ = line.split(" ")
        if kind in {"cgroup", "cgroup2"}:
            yield Path(path)


def _gone(path: Path) -> bool:
    # Deepest first; the files in a group's folder go with it.
    for folder in sorted((p for p in path.rglob("*") if p.is_dir()), key=lambda p: -len(p.parts)):
        with suppress(OSError):
            folder.rmdir()
    with suppress(OSError):
        path.rmdir()
    return not path.exists()
