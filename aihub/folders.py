"""Homes, project folders and datasets on one machine: claims as directories.

    <root>/homes/…, <root>/projects/…     the claims (`aihub.storage.directory_of`)
    <root>/claims/<name>.json             which claim a directory is, whose, and how large it was asked for

A server finds `~/project` and `~/datasets/<name>` as links in its home. A directory is filled beside its place and
renamed into it, so a start that fails half way leaves nothing that looks complete.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from aihub.errors import Reason, Refusal, RefusedError
from aihub.ledger import HeldClaim
from aihub.names import safe_name
from aihub.plan import Plan
from aihub.storage import Claim, Dataset, directory_of

__all__ = ["Folders", "refusing"]

log = logging.getLogger(__name__)

_FULL = {errno.ENOSPC, errno.EDQUOT}


class Folders:
    """The folders below one root. Every method blocks: call it in a thread."""

    def __init__(self, root: Path) -> None:
        self.root = root
        # Starts that share a home or a project folder write the same records and links.
        self._writing = threading.Lock()

    def home(self, plan: Plan) -> Path:
        """Where the plan's home is, whether it exists or not."""
        return self._directory(plan.home)

    def prepare(self, plan: Plan) -> Path:
        """Make what the plan's server needs and return its home; what exists already is kept as it is.

        Raises RefusedError with `dataset-missing`, `storage-full` or `storage-unusable`, each naming the path.
        """
        home = self.home(plan)
        for dataset in plan.datasets:
            _look_for(dataset)
        for claim in plan.claims:
            source = plan.shared.source if plan.shared and claim.id != plan.home.id else None
            with refusing(self._directory(claim)):
                self._make(claim, plan, Path(source) if source else None)
        with refusing(home), self._writing:
            self._link_all(home, plan)
        return home

    def claims(self) -> tuple[HeldClaim, ...]:
        """The claims that exist, those of stopped servers too."""
        held = filter(None, map(_read_record, sorted((self.root / "claims").glob("*.json"))))
        return tuple(each for each in held if self._directory(each.claim).is_dir())

    def existing(self, claims: Collection[Claim]) -> set[str]:
        """The ids of those of `claims` that exist."""
        return {claim.id for claim in claims if self._directory(claim).is_dir()}

    def _directory(self, claim: Claim) -> Path:
        return self.root.joinpath(*directory_of(claim.id))

    def _make(self, claim: Claim, plan: Plan, source: Path | None) -> None:
        """The record first: a directory without one would not be counted after a restart."""
        with self._writing:
            self._write_record(HeldClaim(claim, plan.person, plan.project))
        directory = self._directory(claim)
        if not directory.is_dir():
            _make_directory(directory, source)
        if not os.access(directory, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(directory))

    def _write_record(self, held: HeldClaim) -> None:
        record = self.root / "claims" / f"{safe_name(held.claim.id)}.json"
        record.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = record.with_suffix(".new")
        fresh.write_text(json.dumps(held.as_dict()), encoding="utf-8")
        fresh.replace(record)

    def _link_all(self, home: Path, plan: Plan) -> None:
        shared = next((claim for claim in plan.claims if claim.id != plan.home.id), None)
        if shared is not None:
            _link(home / "project", self._directory(shared))
        wanted = {dataset.name: Path(dataset.path) for dataset in plan.datasets if dataset.path}
        folder = home / "datasets"
        if wanted:
            folder.mkdir(exist_ok=True)
        for link in folder.iterdir() if folder.is_dir() else ():
            if link.is_symlink() and link.name not in wanted:
                link.unlink()
        for name, target in wanted.items():
            _link(folder / name, target)


def _read_record(path: Path) -> HeldClaim | None:
    """The record in `path`; None for one that was damaged: the next start of its server writes it again."""
    try:
        return HeldClaim.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError) as error:
        log.warning("%s cannot be read and is not counted: %r", path, error)
        return None


def _look_for(dataset: Dataset) -> None:
    if dataset.path is None or not Path(dataset.path).is_dir():
        path = dataset.path or ""
        raise RefusedError(Refusal(Reason.DATASET_MISSING, {"dataset": dataset.name, "path": path}))


def _make_directory(directory: Path, source: Path | None) -> None:
    directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=directory.parent))
    try:
        if source is not None:
            _copy_all(source, fresh)
        fresh.chmod(0o700)
        # Two first starts in one project: whoever comes second finds a directory that is not empty, or an equal one.
        fresh.rename(directory)
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST} and directory.is_dir():
            return
        if error.filename == str(fresh):
            # Nobody can look for a folder with this name: what it was to become is the one at fault.
            raise OSError(error.errno, error.strerror, str(directory)) from error
        raise


class _CopyStopped(Exception):
    """A file could not be copied. No OSError, which `copytree` would collect without its number and go on."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error)
        self.error = error


def _copy_all(source: Path, target: Path) -> None:
    try:
        shutil.copytree(source, target, dirs_exist_ok=True, copy_function=_copy)
    except _CopyStopped as stopped:
        raise stopped.error from stopped


def _copy(source: str, target: str) -> str:
    try:
        return shutil.copy2(source, target)
    except OSError as error:
        raise _CopyStopped(error) from error


def _link(link: Path, target: Path) -> None:
    """Point `link` at `target`; a file or folder of the person's own with that name is never touched."""
    if link.is_symlink():
        if link.readlink() == target:
            return
        link.unlink()
    link.symlink_to(target, target_is_directory=True)


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Errors of the operating system leave as refusals that name the path: the one at fault, or `path` that is full."""
    try:
        yield
    except OSError as error:
        problem = error.strerror or str(error)
        if error.errno in _FULL:
            # The error of a copy names the file that was read, not the disk that is full.
            raise RefusedError(Refusal(Reason.STORAGE_FULL, {"path": str(path), "problem": problem})) from error
        parameters = {"path": str(error.filename or path), "problem": problem}
        raise RefusedError(Refusal(Reason.STORAGE_UNUSABLE, parameters)) from error
