"""Packages that the installer finds in a folder: one whose build never ends, one whose build fails and says why."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
INFO = "Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
FAIL = """
import sys
for line in {lines!r}:
    print(line, file=sys.stderr)
sys.exit(1)
"""
WAIT = """
import time
time.sleep(600)
"""


def write_packages(folder: Path, lines: Sequence[str] = ("the compiler is not here",)) -> dict[str, str]:
    """Write `aihub-test-slow` and `aihub-test-broken` 1.0; gives the environment in which a hub's installer finds them.

    `lines` are what the build of the broken one prints.
    """
    _sdist(folder, "aihub-test-slow", WAIT)
    _sdist(folder, "aihub-test-broken", FAIL.format(lines=list(lines)))
    return {"UV_FIND_LINKS": str(folder)}


def _sdist(folder: Path, name: str, backend: str) -> None:
    files = {"pyproject.toml": PYPROJECT, "PKG-INFO": INFO.format(name=name), "backend.py": backend}
    stem = f"{name.replace('-', '_')}-1.0"
    with tarfile.open(folder / f"{stem}.tar.gz", "w:gz") as archive:
        _write(archive, {f"{stem}/{path}": text for path, text in files.items()})


def _write(archive: tarfile.TarFile, files: Mapping[str, str]) -> None:
    for path, text in files.items():
        data = text.encode()
        member = tarfile.TarInfo(path)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
