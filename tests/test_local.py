"""This machine as a place for servers: ports of their own, damaged records, and whose process a server is."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from aihub.app import AIHub
from aihub.errors import Reason
from aihub.ledger import HeldClaim, ServerKey
from aihub.local import LocalSite, LocalSpawner
from aihub.preflight import port_is_free
from aihub.processes import ProcessRecord
from aihub.projects import Person
from aihub.quota import Amounts
from aihub.storage import Claim
from tests.hub_rig import hub_user, loaded_aihub


def free_range(count: int) -> range:
    firsts = range(24_000, 30_000, count)
    return next(r for r in (range(f, f + count) for f in firsts) if all(port_is_free("127.0.0.1", port) for port in r))


def test_starts_at_the_same_time_have_ports_of_their_own(tmp_path: Path) -> None:
    site, ports = LocalSite(tmp_path), free_range(3)
    with ExitStack() as starts:
        assert {starts.enter_context(site.port(ports)) for _ in ports} == set(ports)
        with pytest.raises(OSError, match="no port"), site.port(ports):
            pass
    with site.port(ports) as again:
        assert again in ports


def test_a_port_that_somebody_listens_on_is_not_given_away(tmp_path: Path) -> None:
    ports = free_range(2)
    with socket.create_server(("127.0.0.1", ports[0])), LocalSite(tmp_path).port(ports) as port:
        assert port == ports[1]


async def test_damaged_records_of_the_last_hub_do_not_stop_the_next(tmp_path: Path) -> None:
    site = LocalSite(tmp_path)
    (tmp_path / "claims").mkdir()
    (tmp_path / "claims" / "cut.json").write_text('{"claim": {"id": "home/a')
    whole = HeldClaim(Claim("home/ada", None, Amounts()), "ada", "ml101")
    (tmp_path / "claims" / "whole.json").write_text(json.dumps(whole.as_dict()))
    site.folders.root.joinpath("homes", "ada").mkdir(parents=True)
    folder = tmp_path / "servers" / "somebody"
    folder.mkdir(parents=True)
    ProcessRecord(1, 0.0, ("not", "there")).write(folder / "process.json")
    (folder / "admission.json").write_text("")

    seen = await site.look((), ())
    assert seen.entries == ()
    assert seen.claims == (whole,)


# --- whose process it is (upstream.md 23, 43) ------------------------------------------------------------------------


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


@pytest.fixture
async def aihub(tmp_path: Path) -> AsyncIterator[AIHub]:
    with loaded_aihub(tmp_path, LocalSite(tmp_path)) as aihub:
        await aihub.open(())
        yield aihub
        await aihub.close()


async def taken_over(aihub: AIHub, record: ProcessRecord) -> LocalSpawner:
    """The spawner of a new hub, for a server of which the last one left `record`."""
    admission = await aihub.admit(Person("ada", frozenset({"/students"})), "", {"profile": "small"})
    await aihub.running(admission, "pid")
    assert isinstance(aihub.site, LocalSite)
    folder = aihub.site.folder(admission.entry.server)
    folder.mkdir(parents=True)
    (folder / "server.log").write_text("the last line\n")
    record.write(folder / "process.json")
    spawner = LocalSpawner(user=hub_user("ada", "/students"), stop_patience=5)
    spawner.load_state({"aihub": admission.as_state()})
    return spawner


async def test_a_server_of_the_last_hub_runs_until_it_ends(aihub: AIHub, process: subprocess.Popen[bytes]) -> None:
    spawner = await taken_over(aihub, ProcessRecord.of(process.pid))
    assert await spawner.poll() is None
    await spawner.stop()
    process.wait(10)
    assert await spawner.poll() == 0
    assert aihub.ledger.entries() == ()
    assert aihub.ending(ServerKey("ada")) is None


async def test_a_server_that_died_is_noticed_once_and_says_its_last_lines(
    aihub: AIHub, process: subprocess.Popen[bytes]
) -> None:
    spawner = await taken_over(aihub, ProcessRecord.of(process.pid))
    process.kill()
    process.wait()
    assert await spawner.poll() == 0
    ending = aihub.ending(ServerKey("ada"))
    assert ending is not None
    assert (ending.refusal.reason, ending.lines) == (Reason.SERVER_DIED, ("the last line",))
    assert await spawner.poll() == 0
    assert aihub.ending(ServerKey("ada")) is ending


async def test_a_stranger_with_the_server_s_pid_is_not_the_server(
    aihub: AIHub, process: subprocess.Popen[bytes]
) -> None:
    """After a reboot the pid may be anybody's."""
    old = replace(ProcessRecord.of(process.pid), created=1.0)
    spawner = await taken_over(aihub, old)
    await spawner.stop()
    assert await spawner.poll() == 0
    assert process.poll() is None, "a stranger was ended"


async def test_without_a_record_nothing_runs(aihub: AIHub) -> None:
    spawner = LocalSpawner(user=hub_user("ada"))
    spawner.load_state({})
    assert await spawner.poll() == 0
    assert spawner.server_uid() == ""
