"""Container images of one file, written without any image builder."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def write_archive(target: Path, reference: str, program: Path, links: Sequence[str] = ()) -> None:
    """Write an archive that `ctr images import` and `skopeo copy docker-archive:` take.

    The image holds `program` as `/bin/<name>`, the libraries it is linked to where they are here, symlinks to it in
    `/bin`, and a `/tmp` for everybody. It runs the program as uid 1000.
    """
    layer = _layer(program, links)
    config = _json(
        {
            "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()],
            "os": "linux",
            "config": {"Entrypoint": [f"/bin/{program.name}"], "User": "1000:1000", "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }
    )
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = _json([{"Config": name, "RepoTags": [reference], "Layers": ["layer.tar"]}])
    with tarfile.open(target, "w") as archive:
        for path, content in (("manifest.json", manifest), (name, config), ("layer.tar", layer)):
            _add(archive, path, content, 0o644)


def _layer(program: Path, links: Sequence[str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as layer:
        _add(layer, f"bin/{program.name}", program.read_bytes(), 0o755)
        for library in _libraries(program):
            _add(layer, library.lstrip("/"), Path(library).read_bytes(), 0o755)
        for link in links:
            entry = tarfile.TarInfo(f"bin/{link}")
            entry.type, entry.linkname = tarfile.SYMTYPE, program.name
            layer.addfile(entry)
        folder = tarfile.TarInfo("tmp")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o1777
        layer.addfile(folder)
    return buffer.getvalue()


def _libraries(program: Path) -> list[str]:
    """Paths of the shared libraries and the loader; none of a static program."""
    linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return [word for word in linked.split() if word.startswith("/")]


def _add(archive: tarfile.TarFile, path: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(path)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
