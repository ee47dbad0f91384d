"""Kernel environments: on one machine an image stream's tag is a virtual environment built on first use.

A virtual environment cannot be moved once it is made, so each build gets a folder of its own, and a small record is
renamed into place when, and only when, the build is complete. What has no record is never used.

    <root>/<key>.json             the record: which folder, how long it took
    <root>/<key>-<random>/        the environment
    <root>/<key>-<random>.pid     the installer at work in it
    <root>/logs/<key>.log         what the installer said last
    <root>/seconds.json           how long each key took, kept when environments are removed

Nothing here blocks the event loop: folders are made and removed in threads, the installer is a process.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import logging
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import uv

from aihub import installer
from aihub.errors import AIHubError
from aihub.requirements import normalised

__all__ = ["BuildError", "Environment", "Environments", "FolderError"]

FORMAT = 1
"""Part of every key: raised when environments are built differently, so that old ones are built anew."""

ALWAYS = "ipykernel"
TAIL = 20
"""Lines of the installer that a failure shows."""

KEPT_LINES = 400
"""Lines that somebody who joins a build late still gets."""

DISK_PROBLEM = re.compile(
    rf"\(os error (?:{errno.EACCES}|{errno.EDQUOT}|{errno.ENOSPC}|{errno.EROFS})\)"
    rf"|\[Errno (?:{errno.EDQUOT}|{errno.ENOSPC})\]"
)
"""By this uv, and Python inside it, tell a full or unwritable disk; any other failure is the requirement list's."""

log = logging.getLogger(__name__)


class BuildError(AIHubError):
    """An environment could not be built; `tail` holds the installer's last lines."""

    def __init__(self, label: str, tail: tuple[str, ...]) -> None:
        super().__init__(f"The environment {label!r} could not be built: {tail[-1] if tail else 'no output'}")
        self.label = label
        self.tail = tail


class FolderError(AIHubError):
    """A folder of environments cannot be used; names the path and, in the system's words, the problem."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Environment:
    """A complete virtual environment.

    `path` is its folder (`sys.prefix` inside), `python` its interpreter, `label` what people read, `seconds_taken`
    how long the build took.
    """

    key: str
    label: str
    path: Path
    python: Path
    seconds_taken: float


@dataclass(eq=False, slots=True)
class _Build:
    """A build that runs now and those who wait for it."""

    listeners: list[Callable[[str], None]] = field(default_factory=list)
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))
    task: asyncio.Task[Environment] = field(init=False)

    def say(self, line: str) -> None:
        self.lines.append(line)
        for listener in tuple(self.listeners):
            listener(line)

    def join(self, listener: Callable[[str], None]) -> None:
        for line in self.lines:
            listener(line)
        self.listeners.append(listener)


class Environments:
    """The environments under one folder. One object per folder and hub process, used from one event loop."""

    def __init__(self, root: Path, *, python: str = sys.executable, uv_program: str | None = None) -> None:
        """Read what is built already.

        `python` is the interpreter that environments are made from, `uv_program` the installer (default: the one of
        the PyPI package `uv`). Call `clean` once before the first build. Raises FolderError when `root` is there
        but cannot be read.
        """
        self.root = root.absolute()
        self._python = python
        self._uv_program = uv_program
        self._python_tag = _python_tag(python)
        self._builds: dict[str, _Build] = {}
        self._folders_in_work: set[str] = set()
        self._publishing = asyncio.Lock()
        with _naming(self.root):
            self._seconds = _read_seconds(self.root)
            self._built = _read_records(self.root)

    def key(self, requirements: Sequence[str]) -> str:
        """The name of the environment with these requirements; the same for every spelling and order of them."""
        return _key(tuple(requirements), self._python_tag)

    def ready(self, requirements: Sequence[str]) -> Environment | None:
        """The complete environment with these requirements, if there is one. Costs one `stat`."""
        return self._find(self.key(requirements))

    def building(self, requirements: Sequence[str]) -> bool:
        """Whether somebody's build of this environment runs now."""
        return self.key(requirements) in self._builds

    def usual_seconds(self, requirements: Sequence[str]) -> float | None:
        """Seconds that the last build of this very environment took here; None when it was never built here."""
        return self._seconds.get(self.key(requirements))

    async def ensure(self, requirements: Sequence[str], *, label: str, on_line: Callable[[str], None]) -> Environment:
        """The environment with these requirements, built if it is missing.

        All who ask while it is built share one build, and each gets its lines, the earlier ones too. `on_line` is
        called on the event loop and must not raise. Cancelling the last one who waits stops the installer. Raises
        BuildError when the installer fails, FolderError when a folder is full or cannot be written.
        """
        key = self.key(requirements)
        if environment := self._find(key):
            return replace(environment, label=label)
        build = self._builds.get(key) or self._begin(key, normalised(requirements), label)
        build.join(on_line)
        try:
            return replace(await asyncio.shield(build.task), label=label)
        finally:
            build.listeners.remove(on_line)
            if not build.listeners and not build.task.done():
                await self._abandon(key, build)

    async def clean(self) -> tuple[str, ...]:
        """Remove what killed hubs left half-built, and stop their installers. Names of the folders removed."""
        return await asyncio.to_thread(self._clean)

    async def prune(self, keep: AbstractSet[str]) -> tuple[str, ...]:
        """Remove the environments whose key is not in `keep`; those being built stay. Names of the folders removed.

        `keep` must hold the keys of running servers' environments as well as those of the policy.
        """
        for key in self._built.keys() - keep - self._builds.keys():
            del self._built[key]
            await asyncio.to_thread((self.root / f"{key}.json").unlink, missing_ok=True)
        return await self.clean()

    def log_file(self, requirements: Sequence[str]) -> Path:
        """Where the installer's words of the last build are kept."""
        return self._log_file(self.key(requirements))

    def _log_file(self, key: str) -> Path:
        return self.root / "logs" / f"{key}.log"

    def _find(self, key: str) -> Environment | None:
        environment = self._built.get(key)
        return environment if environment and environment.python.exists() else None

    def _begin(self, key: str, requirements: tuple[str, ...], label: str) -> _Build:
        build = self._builds[key] = _Build()
        build.task = asyncio.create_task(self._build(key, requirements, label, build), name=f"build {label}")
        build.task.add_done_callback(lambda task: self._ended(key, build, task))
        return build

    def _ended(self, key: str, build: _Build, task: asyncio.Task[Environment]) -> None:
        self._forget(key, build)
        if not task.cancelled() and (error := task.exception()):
            log.warning("%s", error)

    def _forget(self, key: str, build: _Build) -> None:
        if self._builds.get(key) is build:
            del self._builds[key]

    async def _abandon(self, key: str, build: _Build) -> None:
        # Forgotten first: who asks from now on gets a new build, not this one's cancellation.
        self._forget(key, build)
        build.task.cancel()
        await asyncio.wait([build.task])

    async def _build(self, key: str, requirements: tuple[str, ...], label: str, build: _Build) -> Environment:
        folder = self.root / f"{key}-{secrets.token_hex(4)}"
        started = time.monotonic()
        self._folders_in_work.add(folder.name)
        try:
            with _naming(folder):
                await asyncio.to_thread(_make_folders, folder, self.root / "logs")
                await self._install(key, folder, requirements, label, build)
                environment = Environment(key, label, folder, _python_in(folder), round(time.monotonic() - started, 1))
                async with self._publishing:
                    await asyncio.to_thread(self._publish, environment, requirements)
            return environment
        finally:
            if folder.name not in self._used_folders():
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            self._folders_in_work.discard(folder.name)

    async def _install(self, key: str, folder: Path, requirements: tuple[str, ...], label: str, build: _Build) -> None:
        program = self._uv_program or uv.find_uv_bin()
        make = [program, "venv", "--seed", "--no-project", "--python", self._python, str(folder)]
        fill = [program, "pip", "install", "--compile-bytecode", "--python", str(_python_in(folder)), "--"]
        tail: deque[str] = deque(maxlen=TAIL)
        with self._log_file(key).open("w", encoding="utf-8") as record:

            def hear(line: str) -> None:
                tail.append(line)
                print(line, file=record, flush=True)
                build.say(line)

            for command in (make, [*fill, ALWAYS, *requirements]):
                if await installer.run(command, pid_file=_pid_file(folder), on_line=hear) != 0:
                    raise _failure(self.root, label, tuple(tail))

    def _publish(self, environment: Environment, requirements: tuple[str, ...]) -> None:
        seconds = {**self._seconds, environment.key: environment.seconds_taken}
        _write_json(self.root / "seconds.json", seconds)
        record = {
            "format": FORMAT,
            "folder": environment.path.name,
            "label": environment.label,
            "seconds": environment.seconds_taken,
            "requirements": requirements,
        }
        _write_json(self.root / f"{environment.key}.json", record)
        self._seconds = seconds
        self._built[environment.key] = environment

    def _used_folders(self) -> set[str]:
        return {environment.path.name for environment in tuple(self._built.values())}

    def _clean(self) -> tuple[str, ...]:
        used = self._used_folders() | self._folders_in_work
        left = [path for path in _entries(self.root) if _is_build(path) and path.name not in used]
        for path in left:
            installer.stop_left_over(_pid_file(path))
            # Without complaint: what cannot be removed now is unused and is tried again at the next start.
            shutil.rmtree(path, ignore_errors=True)
        return tuple(sorted(path.name for path in left))


@lru_cache(maxsize=4096)
def _key(requirements: tuple[str, ...], python_tag: str) -> str:
    text = json.dumps([FORMAT, python_tag, normalised(requirements)])
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def _python_tag(python: str) -> str:
    if python == sys.executable:
        return str(sys.implementation.cache_tag)
    ask = [python, "-I", "-c", "import sys; print(sys.implementation.cache_tag)"]
    return subprocess.run(ask, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


def _pid_file(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.pid")


def _python_in(folder: Path) -> Path:
    return folder / "bin" / "python"


def _failure(root: Path, label: str, tail: tuple[str, ...]) -> AIHubError:
    """A full or unwritable disk is the machine's trouble, not the requirement list's: it names the path."""
    for line in reversed(tail):
        if DISK_PROBLEM.search(line):
            return FolderError(root, line.strip())
    return BuildError(label, tail)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Errors of the operating system leave as FolderError."""
    try:
        yield
    except OSError as error:
        raise FolderError(Path(error.filename or path), error.strerror or str(error)) from error


def _make_folders(folder: Path, logs: Path) -> None:
    logs.mkdir(parents=True, exist_ok=True)
    folder.mkdir()


def _entries(root: Path) -> list[Path]:
    return list(root.iterdir()) if root.is_dir() else []


def _is_build(path: Path) -> bool:
    return re.fullmatch(r"[0-9a-f]{20}-[0-9a-f]{8}", path.name) is not None and path.is_dir()


def _write_json(path: Path, value: object) -> None:
    new = path.with_name(f"{path.name}.new")
    new.write_text(json.dumps(value, indent=1), encoding="utf-8")
    new.replace(path)


def _read_json(path: Path) -> Any:
    """The document in `path`; None when it is missing or damaged: both mean that it must be made again."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        log.warning("%s is damaged and ignored", path)
        return None


def _read_seconds(root: Path) -> dict[str, float]:
    document = _read_json(root / "seconds.json") if root.is_dir() else None
    if not isinstance(document, dict):
        return {}
    return {key: float(value) for key, value in document.items() if isinstance(value, int | float)}


def _read_records(root: Path) -> dict[str, Environment]:
    paths = [path for path in _entries(root) if re.fullmatch(r"[0-9a-f]{20}\.json", path.name)]
    found = (_recorded(path.stem, root, _read_json(path)) for path in paths)
    return {environment.key: environment for environment in found if environment}


def _recorded(key: str, root: Path, record: Any) -> Environment | None:
    match record:
        case {"format": int(number), "folder": str(name), "label": str(label), "seconds": int() | float() as seconds}:
            folder = root / name
            if number == FORMAT and _is_build(folder):
                return Environment(key, label, folder, _python_in(folder), float(seconds))
    return None
