"""The one folder in which a hub on one machine keeps everything: made, locked, removed.

`python -m aihub.state remove FOLDER` is `make clean`; it needs nothing but the standard library.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

MARK = "hub.lock"
"""The locked file; its presence also shows that a folder is a state folder."""


class StateError(Exception):
    """The state folder cannot be used; the text names the folder and the way on."""


@dataclass(frozen=True, slots=True)
class State:
    """The paths below one state folder."""

    folder: Path

    @property
    def lock_file(self) -> Path:
        """Locked by the hub that uses the folder, for as long as it lives."""
        return self.folder / MARK

    @property
    def ports_file(self) -> Path:
        """The hub's inner ports: user servers that outlive a hub find the next one on the same port."""
        return self.folder / "ports.json"

    @property
    def proxy_record(self) -> Path:
        """Which process is the proxy."""
        return self.folder / "proxy.json"

    @property
    def hub_pid(self) -> Path:
        """The pid of the hub."""
        return self.folder / "hub.pid"

    @property
    def hub_log(self) -> Path:
        """The hub's whole log; the terminal shows warnings only."""
        return self.folder / "hub.log"

    @property
    def hub_database(self) -> Path:
        """JupyterHub's own database."""
        return self.folder / "jupyterhub.sqlite"

    @property
    def cookie_secret(self) -> Path:
        """The secret that signs sessions."""
        return self.folder / "cookie_secret"

    def read_crypt_key(self) -> str:
        """The key that encrypts what sign-in keeps, as 64 hexadecimal digits; made at the first start."""
        path, made = self.folder / "crypt_key", self.folder / ".crypt_key"
        if not path.exists():
            # Whole or not at all: a hub that is killed meanwhile must not leave an empty key behind.
            made.unlink(missing_ok=True)
            made.touch(mode=0o600)
            made.write_text(secrets.token_hex(32))
            made.replace(path)
        return path.read_text()

    @property
    def database(self) -> Path:
        """AIHub's own database."""
        return self.folder / "aihub.sqlite"


def open_state(folder: Path) -> State:
    """Make the folder (mode 0700) or take the existing one. Raises StateError when it cannot be written."""
    folder = folder.expanduser().absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise StateError(
            f"the state folder {folder} cannot be written ({error.strerror}): choose another one with --state-dir"
        ) from error
    return State(folder)


def lock_state(state: State) -> IO[str]:
    """Take the folder for this process; the lock lasts until the returned file is closed or the process ends.

    Raises StateError when another hub has it.
    """
    handle = state.lock_file.open("a+")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        handle.seek(0)
        pid = handle.read().strip() or "unknown"
        handle.close()
        raise StateError(
            f"a hub already runs on {state.folder} (pid {pid}): stop it with Ctrl-C, or choose another --state-dir"
        ) from error
    handle.truncate(0)
    handle.write(f"{os.getpid()}\n")
    handle.flush()
    return handle


def read_ports(state: State) -> dict[str, int]:
    """The inner ports of the last hub on this folder, empty when there was none."""
    try:
        return {str(name): int(port) for name, port in json.loads(state.ports_file.read_text()).items()}
    except (FileNotFoundError, ValueError, AttributeError, TypeError):
        return {}


def write_ports(state: State, ports: Mapping[str, int]) -> None:
    """Keep the inner ports for the next hub on this folder."""
    state.ports_file.write_text(json.dumps(dict(ports)))


def remove_state(folder: Path) -> None:
    """Delete a state folder with all that is in it: homes, kernel environments, databases.

    Raises StateError when a hub uses it, when user servers of a killed hub may still run in it, or when it was not made
    by `aihub run`.
    """
    if not folder.exists():
        return
    state = State(folder.absolute())
    if not state.lock_file.exists():
        raise StateError(f"{state.folder} was not made by `aihub run` (it has no {MARK}): not removed")
    with lock_state(state):
        if _proxy_runs(state):
            raise StateError(
                f"the last hub on {state.folder} was killed and what it started still runs: "
                "start it once more and end it with Ctrl-C"
            )
        shutil.rmtree(state.folder)


def _proxy_runs(state: State) -> bool:
    """Whether the recorded proxy is alive, as far as its pid tells: an orderly end takes the record away."""
    try:
        os.kill(int(json.loads(state.proxy_record.read_text())["pid"]), 0)
    except (FileNotFoundError, ValueError, KeyError, TypeError, ProcessLookupError, PermissionError):
        return False
    return True


def main(arguments: list[str]) -> int:
    """`remove FOLDER`: 0 when the folder is gone, 2 with one line when it may not be removed."""
    if len(arguments) != 2 or arguments[0] != "remove":
        sys.stderr.write("usage: python -m aihub.state remove FOLDER\n")
        return 2
    try:
        remove_state(Path(arguments[1]))
    except StateError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
