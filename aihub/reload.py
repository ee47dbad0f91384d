"""The policy file while the hub runs: a change on disk is in force within two seconds, a broken one is not.

Files are polled rather than watched by the kernel: inotify sees nothing on network file systems, and the swap of a
ConfigMap's `..data` link shows itself in the stat of what the links lead to.
"""

from __future__ import annotations

import asyncio
import glob
import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from aihub.config import Loaded, attempt, load, source_files
from aihub.errors import PolicyFileError
from aihub.findings import Finding

__all__ = ["PolicyFile"]

FRESH = 2_000_000_000
"""Nanoseconds during which a file that changed may change again without a new time or size: then its bytes count."""

Signature = frozenset[tuple[str | int, ...]]


class PolicyFile:
    """The policy in force and what is wrong with a newer version of its files.

    `loaded` is the last good version, `findings` those of a newer one that cannot be used (empty: `loaded` is what
    the files say). `listeners` are called without arguments after `loaded` has changed. The constructor reads the
    files and raises PolicyFileError: a hub without a good policy does not start.
    """

    def __init__(self, paths: Sequence[Path], *, interval: float = 0.5, log: logging.Logger | None = None) -> None:
        self.paths = tuple(Path(path) for path in paths)
        self.interval = interval
        self.log = log or logging.getLogger("aihub.policy")
        self.listeners: list[Callable[[], None]] = []
        self.findings: tuple[Finding, ...] = ()
        self.loaded = self._latest = load(self.paths)
        # Empty, so that the first look reads again: a change since `load` is found by its digest.
        self._signature = Signature()

    async def watch(self) -> None:
        """Follow the files until cancelled. Reading and parsing happen in a thread."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self.interval)
            newer = await asyncio.to_thread(self._newer)
            if newer is not None and self._take(newer):
                for listener in self.listeners:
                    # A listener that fails is reported by the loop and does not end the watching.
                    loop.call_soon(listener)

    def refresh(self) -> bool:
        """Look at the files now, as one step of `watch` does; whether `loaded` has changed."""
        newer = self._newer()
        changed = newer is not None and self._take(newer)
        if changed:
            for listener in self.listeners:
                listener()
        return changed

    def _newer(self) -> Loaded | None:
        """What the files say, if they changed since the last look."""
        signature = frozenset(self._scan())
        if signature == self._signature:
            return None
        self._signature = signature
        return attempt(self.paths)

    def _take(self, newer: Loaded) -> bool:
        latest, self._latest = self._latest, newer
        if (newer.digest, newer.findings) == (latest.digest, latest.findings):
            return False
        if not newer.usable:
            self.findings = newer.findings
            self.log.error("The policy file is not used, the last good one stays in force: %s", _in_one_line(newer))
            return False
        self.findings = ()
        self.loaded = newer
        self.log.info("The policy file changed and is in force: %s", ", ".join(map(str, self.paths)))
        return True

    def _scan(self) -> Iterator[tuple[str | int, ...]]:
        """A cheap picture of every file that counts or could: the sources, and what the last readings named."""
        for path in sorted(self._candidates()):
            yield _picture(path)

    def _candidates(self) -> set[Path]:
        found = {source for path in self.paths for source in _sources(path)}
        for reading in (self.loaded, self._latest):
            found.update(reading.files)
            for pattern in reading.patterns:
                found.update(Path(each) for each in glob.glob(pattern, recursive=True))  # noqa: PTH207 - absolute patterns
        return found


def _sources(path: Path) -> list[Path]:
    try:
        return source_files(path)
    except OSError:
        return [path]  # reading it will say what is wrong


def _picture(path: Path) -> tuple[str | int, ...]:
    try:
        stat = path.stat()
        fresh = time.time_ns() - stat.st_ctime_ns < FRESH and not path.is_dir()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if fresh else ""
    except (OSError, ValueError):
        return (str(path), "unreadable")
    return (str(path), stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, content)


def _in_one_line(loaded: Loaded) -> str:
    return str(PolicyFileError(loaded.findings))
