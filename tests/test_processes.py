"""Processes are stopped only when they are the ones that were recorded."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from aihub.processes import ProcessRecord, kill_all, read_record, started_with, stop_recorded

DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
PLAIN = "import time; print('up', flush=True); time.sleep(60)"

StartChild = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[StartChild]:
    children: list[subprocess.Popen[str]] = []

    def start_child(code: str) -> subprocess.Popen[str]:
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
        children.append(child)
        return child

    yield start_child
    for child in children:
        with child:
            child.kill()


def test_record_survives_a_file(tmp_path: Path) -> None:
    record = ProcessRecord.of(os.getpid())
    record.write(tmp_path / "record")
    assert read_record(tmp_path / "record") == record
    assert [path.name for path in tmp_path.iterdir()] == ["record"]


@pytest.mark.parametrize(
    "text", ["", "17", "{}", '{"pid": 1, "created": 2', '{"pid": "x", "created": 1, "command": []}']
)
def test_broken_record_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "record"
    path.write_text(text)
    assert read_record(path) is None
    assert stop_recorded(path) is None
    assert not path.exists()


def test_no_record(tmp_path: Path) -> None:
    assert stop_recorded(tmp_path / "record") is None


def test_recorded_process_is_stopped(tmp_path: Path, start: StartChild) -> None:
    child = start(PLAIN)
    record = ProcessRecord.of(child.pid)
    record.write(tmp_path / "record")
    assert record.find() is not None
    assert stop_recorded(tmp_path / "record") == record
    assert record.find() is None
    assert not (tmp_path / "record").exists()


def test_process_that_ignores_the_signal_is_killed(tmp_path: Path, start: StartChild) -> None:
    child = start(DEAF)
    record = ProcessRecord.of(child.pid)
    record.write(tmp_path / "record")
    assert stop_recorded(tmp_path / "record", patience=0.2) == record
    assert record.find() is None


@pytest.mark.parametrize("change", [{"created": 1.0}, {"command": ("node", "proxy")}], ids=["older", "other command"])
def test_stranger_with_the_pid_is_left_alone(tmp_path: Path, start: StartChild, change: dict[str, object]) -> None:
    child = start(PLAIN)
    record = dataclasses.replace(ProcessRecord.of(child.pid), **change)  # type: ignore[arg-type]
    record.write(tmp_path / "record")
    assert stop_recorded(tmp_path / "record") is None
    assert child.poll() is None


def test_ended_process_is_not_found(start: StartChild) -> None:
    child = start(PLAIN)
    record = ProcessRecord.of(child.pid)
    child.kill()
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        pass
    assert record.find() is None, "a zombie counts as ended"
    child.wait()
    assert record.find() is None


def test_a_process_is_known_by_its_command_from_its_first_moment() -> None:
    """Linux tells the parent that the child runs before the child's command line can be read, once in 50 times."""
    for _ in range(150):
        with subprocess.Popen(["sleep", "1000"], start_new_session=True) as child:
            record = ProcessRecord.of(child.pid)
            child.kill()
        assert record.command == ("sleep", "1000")


def test_what_left_its_parents_is_still_found_and_ended(tmp_path: Path) -> None:
    # A shell in a session of its own leaves a sleep behind, as `!nohup train &` in a notebook does.
    mark = {**os.environ, "AIHUB_TEST_MARK": str(tmp_path)}
    subprocess.run(["sh", "-c", "nohup sleep 60 >/dev/null 2>&1 &"], env=mark, start_new_session=True, check=True)
    found = started_with("AIHUB_TEST_MARK")[str(tmp_path)]
    assert len(found) == 1
    kill_all(found)
    assert str(tmp_path) not in started_with("AIHUB_TEST_MARK")
    kill_all(found)
