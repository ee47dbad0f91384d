"""Runs the installer of kernel environments: output as clean lines, and nothing left behind when it is cancelled."""

from __future__ import annotations

import asyncio
import codecs
import os
import re
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import cast

import psutil

from aihub.processes import ProcessRecord, read_record

__all__ = ["clean_line", "run", "stop_left_over", "variables_for"]

GRACE = 5.0
"""Seconds an installer gets between SIGTERM and SIGKILL."""

LONGEST_LINE = 500
CHUNK = 8192

PASSED_ON = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LC_\w+|TMPDIR|XDG_\w+|UV_\w+|(?i:https?_proxy|no_proxy|all_proxy)"
    r"|SSL_CERT_(?:FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE"
)
"""Packages run code of their own while they are built, so the hub's secrets stay out of reach."""

ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
LINE_END = re.compile(r"[\r\n]+")


def variables_for(variables: Mapping[str, str]) -> dict[str, str]:
    """What the installer gets of the hub's `variables`, and what it is told besides."""
    passed = {name: value for name, value in variables.items() if PASSED_ON.fullmatch(name)}
    return {**passed, "NO_COLOR": "1", "UV_PYTHON_DOWNLOADS": "never", "PYTHONNOUSERSITE": "1"}


def clean_line(text: str) -> str:
    """`text` without terminal escapes and control characters, cut at LONGEST_LINE characters."""
    plain = ESCAPE.sub("", text).replace("\t", "    ")
    return "".join(character for character in plain if character.isprintable())[:LONGEST_LINE].rstrip()


def stop_left_over(pid_file: Path) -> None:
    """End the process group of an installer that outlived its hub, if it still runs, and forget it. Blocks, briefly."""
    record = read_record(pid_file)
    if record and record.find():
        _signal_group(record.pid, signal.SIGKILL)  # at once: what it was making is thrown away
    pid_file.unlink(missing_ok=True)


async def run(command: list[str], *, pid_file: Path, on_line: Callable[[str], None]) -> int:
    """Run `command` in a process group of its own and return its exit status.

    Each line of its output, standard error included, goes to `on_line`. While it runs, `pid_file` says which process
    it is, for `stop_left_over`. Cancelled, it ends the whole group first.
    Raises OSError when the command cannot be started.
    """
    process = await _begin(command)
    try:
        await asyncio.to_thread(_note, process.pid, pid_file)
        await _read(cast("asyncio.StreamReader", process.stdout), on_line)  # there is one: it was asked for
        return await process.wait()
    finally:
        await _end(process)
        await asyncio.to_thread(pid_file.unlink, missing_ok=True)


async def _begin(command: list[str]) -> asyncio.subprocess.Process:
    """The started command. Cancelled while it starts, asyncio would kill it and leave what it has started itself."""
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *command,
            # From the root folder, so that the settings of no project around us reach the installer.
            cwd="/",
            env=variables_for(os.environ),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        with suppress(OSError):  # it could not be started: there is nothing to end
            await _end(await starting)
        raise


def _note(pid: int, pid_file: Path) -> None:
    # One that is over already needs no record.
    with suppress(psutil.NoSuchProcess):
        ProcessRecord.of(pid).write(pid_file)


async def _read(stream: asyncio.StreamReader, on_line: Callable[[str], None]) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    rest = ""
    while data := await stream.read(CHUNK):
        *lines, rest = LINE_END.split(rest + decoder.decode(data))
        for line in _worth_showing(lines):
            on_line(line)
        # A line without an end must not grow for ever.
        rest = rest[-CHUNK:]
    for line in _worth_showing([rest + decoder.decode(b"", final=True)]):
        on_line(line)


def _worth_showing(lines: list[str]) -> Iterator[str]:
    return filter(None, map(clean_line, lines))


async def _end(process: asyncio.subprocess.Process) -> None:
    """End what is left of the process's group: the process itself if we were cancelled, its children in any case."""
    if process.returncode is None:
        _signal_group(process.pid, signal.SIGTERM)
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), GRACE)
    _signal_group(process.pid, signal.SIGKILL)
    await process.wait()


def _signal_group(leader: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # macOS answers EPERM for a group of zombies
        os.killpg(leader, number)
