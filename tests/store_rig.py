"""The databases that the store is tested on: SQLite in a file, and a throw-away PostgreSQL where it is installed."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

_INSTALLED = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name.split(".")[0]))


def find_postgresql() -> Path | None:
    """The folder of the newest PostgreSQL server's programs."""
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).resolve().parent
    return _INSTALLED[-1] if _INSTALLED else None


def database_kinds() -> list[str]:
    """What tests of the store are repeated for."""
    return ["sqlite", "postgresql"] if find_postgresql() else ["sqlite"]


@contextlib.contextmanager
def postgresql_cluster() -> Iterator[str]:
    """A cluster of our own on a loopback port, as URL of the server; everything is removed at the end."""
    programs = find_postgresql()
    assert programs is not None
    folder = Path(tempfile.mkdtemp(prefix="aihub-pg-"))
    # PostgreSQL refuses to run as root.
    account = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
    if account is not None:
        os.chown(folder, account.pw_uid, account.pw_gid)

    def run(*arguments: str | Path) -> None:
        subprocess.run(
            [str(part) for part in arguments],
            check=True,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # a pipe would stay open in the server, and we would wait for its end
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": str(folder)},
        )

    data, port = folder / "data", free_port()
    # Trust is fine: the port is loopback's, and the data nobody's.
    run(programs / "initdb", "-D", data, "-U", "aihub", "-A", "trust", "--no-sync", "-E", "UTF8")
    options = f"-h 127.0.0.1 -p {port} -k {folder} -F"
    run(programs / "pg_ctl", "-D", data, "-l", folder / "log", "-w", "-t", "60", "-o", options, "start")
    try:
        yield f"postgresql+psycopg://aihub@127.0.0.1:{port}"
    finally:
        run(programs / "pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
        shutil.rmtree(folder)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
