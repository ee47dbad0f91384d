"""This machine as a place for servers: ports that are not given away twice, and records that were damaged."""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from aihub.ledger import HeldClaim
from aihub.local import LocalSite
from aihub.preflight import port_is_free
from aihub.processes import ProcessRecord
from aihub.quota import Amounts
from aihub.storage import Claim


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
