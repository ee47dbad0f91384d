"""The image under all others: Debian's from its usual registry, or made with debootstrap where that is out of reach.

The one that is made here trusts what this machine trusts: its certificates and its pip.conf are copied, so that builds
behind a proxy that re-signs TLS work. It is for this machine, and never in the repository.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from images.engines import CannotBuild, Engine, Run

__all__ = ["USUAL", "base_image"]

USUAL = "docker.io/library/debian:bookworm-slim"
REGISTRY = "https://registry-1.docker.io/v2/"
SUITE = "bookworm"
MIRROR = "http://deb.debian.org"

FORMAT = 1
"""Part of the name: raised when the tree is made differently."""

BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
OWN_CERTIFICATES = Path("/usr/local/share/ca-certificates")
PIP = Path("/etc/pip.conf")

LEFT_OUT = ("usr/share/doc", "usr/share/info", "usr/share/locale", "usr/share/man")
"""What bookworm-slim leaves out too."""

EMPTIED = ("var/cache", "var/lib/apt/lists", "var/log")


def base_image(engine: Engine, cache: Path, run: Run, say: Callable[[str], None]) -> str:
    """The name of the image that the Dockerfiles begin with; AIHUB_BASE_IMAGE overrides the choice.

    Raises CannotBuild where the registry is out of reach and no base can be made.
    """
    if given := os.environ.get("AIHUB_BASE_IMAGE"):
        return given
    if _reachable(REGISTRY):
        return USUAL
    tag = f"localhost/aihub/base:{SUITE}-{_local_key()}"
    if not engine.has(tag):
        tree = cache / f"base-{SUITE}-{_local_key()}.tar"
        if not tree.exists():
            _check_able()
            say(f"{REGISTRY} is out of reach: making Debian {SUITE} with debootstrap (once, about a minute) …")
            _make_tree(tree, run)
        engine.import_base(tree, tag)
    return tag


def _reachable(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=10):  # noqa: S310 - a constant, https
            return True
    except urllib.error.HTTPError as error:
        return error.code == 401
    except OSError:
        return False


def _check_able() -> None:
    if shutil.which("debootstrap") is None:
        raise CannotBuild(f"{REGISTRY} is out of reach, and debootstrap is not there: set AIHUB_BASE_IMAGE")
    if os.geteuid() != 0:
        raise CannotBuild(f"{REGISTRY} is out of reach, and debootstrap needs root: set AIHUB_BASE_IMAGE")


def _trusted() -> list[Path]:
    return [file for file in [*sorted(OWN_CERTIFICATES.glob("*.crt")), BUNDLE, PIP] if file.is_file()]


def _local_key() -> str:
    digest = hashlib.sha256(repr((FORMAT, platform.machine())).encode())
    for file in _trusted():
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _make_tree(target: Path, run: Run) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".base-") as folder:
        tree = Path(folder) / "tree"
        run(["debootstrap", "--variant=minbase", "--include=ca-certificates", SUITE, str(tree), f"{MIRROR}/debian"])
        _slim(tree)
        _trust(tree, run)
        with tarfile.open(Path(folder) / "tree.tar", "w") as packed:
            packed.add(tree, arcname=".")
        (Path(folder) / "tree.tar").rename(target)


def _slim(tree: Path) -> None:
    """Leave out what bookworm-slim leaves out, for packages that are installed later too; add the usual sources."""
    excluded = "".join(f"path-exclude /{path}/*\n" for path in LEFT_OUT)
    (tree / "etc/dpkg/dpkg.cfg.d/slim").write_text(excluded)
    for path in (*LEFT_OUT, *EMPTIED):
        shutil.rmtree(tree / path)
        (tree / path).mkdir()
    (tree / "var/lib/apt/lists/partial").mkdir()
    (tree / "var/cache/apt/archives/partial").mkdir(parents=True)
    (tree / "etc/apt/sources.list").write_text(
        f"deb {MIRROR}/debian {SUITE} main\n"
        f"deb {MIRROR}/debian {SUITE}-updates main\n"
        f"deb {MIRROR}/debian-security {SUITE}-security main\n"
    )


def _trust(tree: Path, run: Run) -> None:
    for file in _trusted():
        shutil.copyfile(file, tree / file.relative_to("/"))
    # Later installations write the bundle anew, from what is in the folder of own certificates.
    run(["chroot", str(tree), "update-ca-certificates"])
