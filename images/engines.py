"""Docker, Podman and Buildah, as far as building an image needs them; and the archive that spares Buildah work.

Buildah compresses an image each time it is pushed. So what was pushed once is kept, as pushed, in an OCI layout beside
the other caches: to another registry, or on a machine whose Buildah has never seen the image, it only has to be copied,
and its digest stays the same.
"""

# ruff: noqa: D102 - what a method does stands in Engine

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from images.cache import alone

__all__ = ["Buildah", "CannotBuild", "Docker", "Engine", "Run", "find_engine", "is_local"]


NAME = "org.opencontainers.image.ref.name"
"""The annotation that names an image in an OCI layout."""


UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}


class CannotBuild(Exception):
    """Images cannot be built or pushed; the text says why and what to do."""


class Run(Protocol):
    """Runs a program to its end; returns what it printed. Raises CannotBuild when it fails."""

    def __call__(self, command: Sequence[str], *, environ: Mapping[str, str] | None = None) -> str: ...


class Engine(Protocol):
    """What builds, keeps and pushes images. A tag is the name of an image in the engine's own storage."""

    def has(self, tag: str) -> bool:
        """Whether the image is there, or could be brought from the archive."""

    def build(self, dockerfile: Path, context: Path, tag: str, arguments: Mapping[str, str]) -> None:
        """Build an image with these build arguments."""

    def import_base(self, tree: Path, tag: str) -> None:
        """Make an image of the tar file `tree`."""

    def check(self, tag: str, command: str) -> None:
        """Run a shell command in the image, as its user. Raises CannotBuild unless it succeeds."""

    def name(self, tag: str, new: str) -> None:
        """Give the image one more tag."""

    def size(self, tag: str) -> int:
        """Bytes of all layers, uncompressed, to three digits."""

    def push(self, tag: str, reference: str) -> str:
        """Push the image to a registry; returns the digest of its manifest, "sha256:…"."""


def is_local(reference: str) -> bool:
    """Whether a registry is on this machine, and spoken to without TLS."""
    return reference.partition("/")[0].rpartition(":")[0] in {"localhost", "127.0.0.1", "[::1]"}


def find_engine(cache: Path, run: Run) -> Engine:
    """The first of Docker (if its daemon answers), Podman and Buildah that is there. Raises CannotBuild without any."""
    if shutil.which("docker") and _succeeds("docker", "version"):
        return Docker("docker", run)
    if shutil.which("podman"):
        return Docker("podman", run)
    if shutil.which("buildah"):
        return Buildah(cache, run)
    raise CannotBuild("Docker, Podman or Buildah is needed to build images, and none is there")


@dataclass(frozen=True, slots=True)
class Docker:
    """Docker, or Podman, which takes the same words."""

    program: str
    run: Run

    def has(self, tag: str) -> bool:
        return _succeeds(self.program, "image", "inspect", tag)

    def build(self, dockerfile: Path, context: Path, tag: str, arguments: Mapping[str, str]) -> None:
        self.run([self.program, "build", *_build_arguments(arguments), "-f", str(dockerfile), "-t", tag, str(context)],
                 environ={"DOCKER_BUILDKIT": "1"})  # fmt: skip

    def import_base(self, tree: Path, tag: str) -> None:
        self.run([self.program, "import", str(tree), tag])

    def check(self, tag: str, command: str) -> None:
        self.run([self.program, "run", "--rm", "--entrypoint", "/bin/sh", tag, "-ec", command])

    def name(self, tag: str, new: str) -> None:
        self.run([self.program, "tag", tag, new])

    def size(self, tag: str) -> int:
        return int(self.run([self.program, "image", "inspect", "--format", "{{.Size}}", tag]))

    def push(self, tag: str, reference: str) -> str:
        self.name(tag, reference)
        insecure = ["--tls-verify=false"] if self.program == "podman" and is_local(reference) else []
        self.run([self.program, "push", *insecure, reference])
        listed = self.run([self.program, "image", "inspect", "--format", "{{json .RepoDigests}}", reference])
        repository = reference.rpartition(":")[0]
        for entry in json.loads(listed):
            name, _, digest = str(entry).partition("@")
            if name == repository:
                return digest
        raise CannotBuild(f"{self.program} does not say under which digest it pushed {reference}")


@dataclass(frozen=True, slots=True)
class Buildah:
    """Buildah, which needs no daemon and works inside a container; its caches and the archive are in `cache`."""

    cache: Path
    run: Run

    @property
    def archive(self) -> Path:
        return self.cache / "images"

    def has(self, tag: str) -> bool:
        if _succeeds(*self._words("inspect", "--type", "image", tag)):
            return True
        with alone(self.cache, "archive"):
            if not self._archived(tag):
                return False
            # Buildah itself would name the image by the archive's path, and not every path is a name.
            words = ["skopeo", "copy", "--quiet", f"oci:{self.archive}:{_entry(tag)}", f"containers-storage:{tag}"]
            self.run(words, environ={"STORAGE_DRIVER": "overlay"})
        return True

    def build(self, dockerfile: Path, context: Path, tag: str, arguments: Mapping[str, str]) -> None:
        self._buildah(
            "build", "--isolation", "chroot", "--network", "host", "--layers", *_build_arguments(arguments),
            "-f", str(dockerfile), "-t", tag, str(context),
        )  # fmt: skip

    def import_base(self, tree: Path, tag: str) -> None:
        container = self._buildah("from", "scratch").strip()
        try:
            self._buildah("add", "--quiet", container, str(tree), "/")
            path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
            self._buildah("config", "--cmd", "bash", "--env", path, container)
            self._buildah("commit", "--quiet", container, tag)
        finally:
            self._buildah("rm", container)

    def check(self, tag: str, command: str) -> None:
        container = self._buildah("from", "--pull-never", tag).strip()
        try:
            self._buildah("run", "--isolation", "chroot", container, "--", "/bin/sh", "-ec", command)
        finally:
            self._buildah("rm", container)

    def name(self, tag: str, new: str) -> None:
        self._buildah("tag", tag, new)

    def size(self, tag: str) -> int:
        # The manifest has the compressed sizes for an image from the archive; this list has three digits, uncompressed.
        number, unit = str(json.loads(self._buildah("images", "--json", tag))[0]["size"]).split()
        return int(float(number) * UNITS[unit.upper()])

    def push(self, tag: str, reference: str) -> str:
        with alone(self.cache, "archive"):
            if self._archived(tag):
                return self._copy(f"oci:{self.archive}:{_entry(tag)}", f"docker://{reference}", "dest", reference)
        with tempfile.TemporaryDirectory() as folder:
            digest = Path(folder) / "digest"
            verify = f"--tls-verify={str(not is_local(reference)).lower()}"
            self._buildah("push", "--quiet", verify, "--digestfile", str(digest), tag, f"docker://{reference}")
            pushed = digest.read_text().strip()
        if shutil.which("skopeo"):
            self.archive.mkdir(parents=True, exist_ok=True)
            with alone(self.cache, "archive"):
                self._copy(f"docker://{reference}", f"oci:{self.archive}:{_entry(tag)}", "src", reference)
        return pushed

    def _archived(self, tag: str) -> bool:
        with contextlib.suppress(FileNotFoundError):
            index = json.loads((self.archive / "index.json").read_text())
            names = [entry.get("annotations", {}).get(NAME) for entry in index["manifests"]]
            return _entry(tag) in names and shutil.which("skopeo") is not None
        return False

    def _copy(self, source: str, target: str, side: str, reference: str) -> str:
        with tempfile.TemporaryDirectory() as folder:
            digest = Path(folder) / "digest"
            verify = f"--{side}-tls-verify={str(not is_local(reference)).lower()}"
            self.run(["skopeo", "copy", "--quiet", verify, "--digestfile", str(digest), source, target])
            return digest.read_text().strip()

    def _buildah(self, *arguments: str) -> str:
        # The folders that Dockerfiles mount as caches are kept below TMPDIR.
        mounts = self.cache / "mounts"
        mounts.mkdir(parents=True, exist_ok=True)
        return self.run(self._words(*arguments), environ={"TMPDIR": str(mounts)})

    def _words(self, *arguments: str) -> list[str]:
        return ["buildah", "--storage-driver", "overlay", *arguments]


def _entry(tag: str) -> str:
    """An image's name in the archive: "localhost/aihub/hub:0a1b" is "hub-0a1b"."""
    return tag.rpartition("/")[2].replace(":", "-")


def _build_arguments(arguments: Mapping[str, str]) -> list[str]:
    return [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0
