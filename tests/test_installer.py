from __future__ import annotations

import asyncio
import time
from pathlib import Path

import psutil
import pytest

from aihub.installer import clean_line, run, stop_left_over, variables_for


def script(tmp_path: Path, text: str) -> list[str]:
    program = tmp_path / "installer"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    return [str(program)]


async def heard(tmp_path: Path, text: str) -> tuple[int, list[str]]:
    lines: list[str] = []
    status = await run(script(tmp_path, text), pid_file=tmp_path / "pid", on_line=lines.append)
    return status, lines


async def begun(path: Path) -> None:
    async with asyncio.timeout(10):
        while not path.exists():  # noqa: ASYNC110, ASYNC240 - another process makes it
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[1m\x1b[32mgreen\x1b[0m", "green"),
        ("\x1b]8;;https://example.org\x07link\x1b]8;;\x1b\\", "link"),
        ("\x1b[2K\x1b[?25lspinner", "spinner"),
        ("a\tb  ", "a    b"),
        ("bell\x07 null\x00 rtl\u202e", "bell null rtl"),
        ("파이토치 中文", "파이토치 中文"),
        ("x" * 1000, "x" * 500),
    ],
)
def test_clean_line(text: str, expected: str) -> None:
    assert clean_line(text) == expected


def test_the_installer_gets_what_it_needs_and_none_of_the_hubs_secrets() -> None:
    hub = {
        "PATH": "/bin", "HOME": "/root", "UV_DEFAULT_INDEX": "https://example.org", "https_proxy": "p", "LC_ALL": "C",
        "JUPYTERHUB_CRYPT_KEY": "s", "CONFIGPROXY_AUTH_TOKEN": "s", "PYTHONPATH": "/hub", "VIRTUAL_ENV": "/hub",
        "MY_PATH": "s",
    }  # fmt: skip
    kept = {name: value for name, value in variables_for(hub).items() if name in hub}
    assert kept == {name: hub[name] for name in ("PATH", "HOME", "UV_DEFAULT_INDEX", "https_proxy", "LC_ALL")}


async def test_lines_of_both_streams_and_the_status(tmp_path: Path) -> None:
    status, lines = await heard(tmp_path, "echo one; echo two >&2; printf '1%%\\r2%%\\r\\n\\n'; printf last; exit 3")
    assert status == 3
    assert lines == ["one", "two", "1%", "2%", "last"]
    assert not (tmp_path / "pid").exists()


async def test_a_line_without_an_end_is_bounded_and_broken_text_is_shown(tmp_path: Path) -> None:
    _, lines = await heard(tmp_path, "head -c 300000 /dev/zero | tr '\\0' x; echo; printf '\\377 \\303\\251\\n'")
    assert lines == ["x" * 500, "\ufffd é"]


@pytest.mark.parametrize("ticks", [2, 1000])
async def test_a_child_that_ignores_the_polite_signal_ends_too(tmp_path: Path, ticks: int) -> None:
    """Cancelled while it runs, and after two ticks of the event loop, when asyncio is still setting it up."""
    child = tmp_path / "child"
    stubborn = f"sh -c 'trap \"\" TERM; echo $$ > {child}.new; mv {child}.new {child}; sleep 1000; sleep 1000' & wait"
    task = asyncio.create_task(heard(tmp_path, stubborn))
    for _ in range(ticks):
        await asyncio.sleep(0)
    while not child.exists():
        time.sleep(0.01)  # noqa: ASYNC251 - on purpose: the event loop must not go on
    process = psutil.Process(int(child.read_text()))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    _, alive = psutil.wait_procs([process], timeout=5)
    assert not [each for each in alive if each.status() != psutil.STATUS_ZOMBIE]


async def test_an_installer_has_the_time_to_tidy_up(tmp_path: Path) -> None:
    mark, tidied = tmp_path / "mark", tmp_path / "tidied"
    slow = f"trap 'sleep 0.3; touch {tidied}; exit 1' TERM; touch {mark}; while :; do sleep 0.05; done"
    task = asyncio.create_task(heard(tmp_path, slow))
    await begun(mark)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert tidied.exists()


@pytest.mark.parametrize("record", [None, "", '{"pid": 1, "created": 0, "command": ["init"]}'])
def test_a_record_of_nobody_stops_nobody(tmp_path: Path, record: str | None) -> None:
    pid_file = tmp_path / "pid"
    if record is not None:
        pid_file.write_text(record)
    before = time.monotonic()
    stop_left_over(pid_file)
    assert not pid_file.exists()
    assert time.monotonic() - before < 5
