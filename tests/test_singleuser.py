"""The user server's extension, on a real Jupyter Server: what computes is not idle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
import websocket

from aihub.singleuser import OnlyKernel
from aihub.singleuser.activity import busy_kernels, runs_a_program
from tests.jupyter_rig import TOKEN, Server, jupyter_server


class Kernel:
    """As much of a kernel manager as the report looks at."""

    def __init__(self, execution_state: str | None) -> None:
        self.execution_state = execution_state


@pytest.mark.parametrize(
    ("states", "busy"),
    [
        ([], False),
        (["idle"], False),
        (["starting"], False),
        (["dead"], False),
        ([None], False),
        (["idle", "busy"], True),
    ],
)
def test_busy_kernels(states: list[str | None], busy: bool) -> None:
    assert busy_kernels(map(Kernel, states)) is busy


def test_a_kernel_whose_state_is_not_known_yet_is_not_busy() -> None:
    assert not busy_kernels([object()])


def test_a_shell_runs_a_program_until_that_ends() -> None:
    script = "read line; sleep 1000 & read line; kill $!; read line"
    with subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE, text=True, bufsize=1) as shell:
        assert shell.stdin
        assert not runs_a_program(shell.pid)
        shell.stdin.write("\n")
        deadline = time.monotonic() + 5
        while not runs_a_program(shell.pid) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert runs_a_program(shell.pid)
        # The shell has not waited for the program it killed: that is a zombie now.
        shell.stdin.write("\n")
        while runs_a_program(shell.pid) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not runs_a_program(shell.pid)
        shell.stdin.write("\n")
    assert not runs_a_program(shell.pid)


def test_without_a_folder_there_is_no_kernel() -> None:
    manager = OnlyKernel(ensure_native_kernel=False)
    assert manager.find_kernel_specs() == {}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with this very Python's kernel: what it is does not matter here."""
    data = tmp_path_factory.mktemp("jupyter")
    place = data / "kernels" / "python3"
    place.mkdir(parents=True)
    spec = {"argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], "display_name": "x"}
    (place / "kernel.json").write_text(json.dumps(spec | {"language": "python"}))
    return data


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    arguments = (
        "--ServerApp.kernel_spec_manager_class=aihub.singleuser.OnlyKernel",
        f"--OnlyKernel.folder={folder / 'kernels'}",
        "--ServerApp.jpserver_extensions={'aihub.singleuser': True}",
        "--BusyReport.interval=1",
        "--ServerApp.terminado_settings={'shell_command': ['/bin/sh']}",
    )
    with jupyter_server(tmp_path_factory.mktemp("home"), {"PATH": os.environ["PATH"]}, arguments) as running:
        yield running


def last_activity(server: Server) -> datetime:
    """What the hub is told. The request itself does not count: it says so, as JupyterLab's own polling does."""
    return datetime.fromisoformat(server.get("/api/status", no_track_activity="1")["last_activity"])


def test_a_silent_cell_with_nobody_watching_is_activity_until_it_ends(server: Server) -> None:
    kernel = server.start_kernel()
    server.run(kernel, "print(1)")
    server.send(kernel, "import time; time.sleep(8)").close()
    time.sleep(3)
    during = last_activity(server)
    time.sleep(3)
    later = last_activity(server)
    assert (later - during).total_seconds() == pytest.approx(3, abs=1.5)
    time.sleep(4)
    ended = last_activity(server)
    time.sleep(2.5)
    assert last_activity(server) == ended
    server.delete(f"/api/kernels/{kernel}")


def test_an_idle_kernel_is_no_activity(server: Server) -> None:
    kernel = server.start_kernel()
    server.run(kernel, "print(1)")
    time.sleep(1.5)
    before = last_activity(server)
    time.sleep(2.5)
    assert last_activity(server) == before
    server.delete(f"/api/kernels/{kernel}")


def test_a_terminal_that_runs_a_program_is_activity(server: Server) -> None:
    name = server.post("/api/terminals", {})["name"]
    address = f"{server.url}/terminals/websocket/{name}?token={TOKEN}".replace("http:", "ws:")
    terminal = websocket.create_connection(address, timeout=10)
    terminal.send(json.dumps(["stdin", "sleep 1000\r"]))
    time.sleep(1.5)
    terminal.close()
    before = last_activity(server)
    time.sleep(2.5)
    assert (last_activity(server) - before).total_seconds() >= 1
    server.delete(f"/api/terminals/{name}")
