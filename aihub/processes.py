"""Processes that outlive the hub: told apart from strangers that were given the same pid later."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

CLOCK_SLACK = 2.0
"""Seconds by which two readings of one process's creation time may differ.

psutil adds the kernel's clock ticks to a boot time in whole seconds, which moves when the system clock is set. The
command line has to be the same as well."""

STARTING_LOOKS, STARTING_PAUSE = 50, 0.002
"""How often, and how many seconds apart, a process without a command line is looked at again."""


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """Which process was meant: its pid, when it was created (seconds since the epoch) and its command line."""

    pid: int
    created: float
    command: tuple[str, ...]

    @classmethod
    def of(cls, pid: int) -> ProcessRecord:
        """Describe the running process `pid`. Raises psutil.NoSuchProcess when there is none."""
        process = psutil.Process(pid)
        return cls(pid, process.create_time(), _command_of(process))

    def find(self) -> psutil.Process | None:
        """The process itself while it runs; None when it ended, is a zombie, or its pid belongs to another one now."""
        try:
            process = psutil.Process(self.pid)
            same = (
                abs(process.create_time() - self.created) <= CLOCK_SLACK
                and tuple(process.cmdline()) == self.command
                and process.status() != psutil.STATUS_ZOMBIE
            )
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return None
        return process if same else None

    def write(self, path: Path) -> None:
        """Keep the record in `path` (JSON), replacing what was there in one step."""
        fresh = path.with_name(f"{path.name}.new")
        fresh.write_text(json.dumps(asdict(self)))
        fresh.replace(path)


def started_with(variable: str) -> dict[str, list[psutil.Process]]:
    """Every living process whose environment names `variable`, by its value. Looks at all processes: takes a while.

    What a process starts inherits the variable, however far it goes away from its parents (`nohup`, `setsid`).
    """
    found: dict[str, list[psutil.Process]] = {}
    for process in psutil.process_iter():
        try:
            value = process.environ().get(variable)
            if value is not None and process.status() != psutil.STATUS_ZOMBIE:
                found.setdefault(value, []).append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def kill_all(processes: Iterable[psutil.Process], patience: float = 5.0) -> None:
    """Kill processes and wait up to `patience` seconds until they are gone."""
    killed = set(processes)
    for process in killed:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(killed, timeout=patience)


def _command_of(process: psutil.Process) -> tuple[str, ...]:
    """The command line; Linux shows none for a moment after the process was made, and none of a zombie for ever."""
    for _ in range(STARTING_LOOKS):
        if (command := tuple(process.cmdline())) or process.status() == psutil.STATUS_ZOMBIE:
            return command
        time.sleep(STARTING_PAUSE)
    return ()


def read_record(path: Path) -> ProcessRecord | None:
    """The record kept in `path`; None when there is none or it was cut short by a crash."""
    try:
        fields = json.loads(path.read_text())
        return ProcessRecord(int(fields["pid"]), float(fields["created"]), tuple(map(str, fields["command"])))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def stop_recorded(path: Path, patience: float = 5.0) -> ProcessRecord | None:
    """Stop the process recorded in `path` if it still runs, and forget the record.

    It gets `patience` seconds after SIGTERM, then SIGKILL. Returns the record of what was stopped, None when
    nothing ran. A process that merely has the recorded pid is left alone.
    """
    record = read_record(path)
    process = record.find() if record else None
    if process is not None:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
            _, alive = psutil.wait_procs([process], timeout=patience)
            for stubborn in alive:
                stubborn.kill()
                stubborn.wait(patience)
    path.unlink(missing_ok=True)
    return record if process is not None else None
