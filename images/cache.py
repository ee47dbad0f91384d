"""The folder of caches, and the locks by which several builds share it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["alone", "cache_folder"]


def cache_folder() -> Path:
    """AIHUB_CACHE, else `aihub` in XDG_CACHE_HOME or ~/.cache; made if it is not there. Raises OSError."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    folder = Path(os.environ.get("AIHUB_CACHE") or Path(home) / "aihub")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def alone(cache: Path, what: str, say: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    """No other process is in the same part of the cache; says so when it has to wait for one."""
    folder = cache / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / what).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"Waiting for another build of {what} …")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
