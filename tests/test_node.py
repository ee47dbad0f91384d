"""Finding Node and installing the proxy."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from aihub.node import LOCK, NODE_NEEDED, SCRIPT, Node, cache_folder, ensure_proxy, find_node, parse_node_version
from aihub.preflight import CannotRun


def program(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("v22.12.0\n", (22, 12)),
        ("v24.0.0-nightly2026", (24, 0)),
        ("v9.1.2", (9, 1)),
        ("22.12.0", None),
        ("", None),
        ("v22", None),
        ("node: not found", None),
    ],
)
def test_node_version(text: str, version: tuple[int, int] | None) -> None:
    assert parse_node_version(text) == version


@pytest.mark.parametrize(
    ("version", "taken"),
    [("v22.11.9", False), ("v22.12.0", True), ("v25.0.0", True), ("v9.99.0", False), ("?", False)],
)
def test_system_node_is_taken_when_it_is_new_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, taken: bool
) -> None:
    binary, npm = program(tmp_path / "node", f"echo '{version}'"), program(tmp_path / "npm", "true")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert (find_node() == Node(binary, (npm,))) is taken


def test_system_node_without_npm_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = program(tmp_path / "node", "echo v24.0.0")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_node().binary != binary


def test_wheels_node_runs_and_is_new_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    node = find_node()
    said = subprocess.run([node.binary, "--version"], capture_output=True, text=True, check=True).stdout
    version = parse_node_version(said)
    assert version is not None
    assert version >= NODE_NEEDED
    assert subprocess.run([*node.npm, "--version"], capture_output=True, check=True).stdout


def test_cache_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    fallback = tmp_path / "fallback"
    assert cache_folder({"XDG_CACHE_HOME": str(tmp_path)}, fallback) == tmp_path / "aihub"
    assert cache_folder({"AIHUB_CACHE": str(tmp_path / "c"), "XDG_CACHE_HOME": "/x"}, fallback) == tmp_path / "c"
    assert cache_folder({"AIHUB_CACHE": str(tmp_path / "file" / "c")}, fallback) == fallback


def fake_npm(tmp_path: Path, script: str) -> Node:
    return Node("/usr/bin/node", (program(tmp_path / "npm", script),))


MAKE_SCRIPT = f"mkdir -p {Path(SCRIPT).parent} && touch {SCRIPT}"


def test_proxy_is_installed_once(tmp_path: Path) -> None:
    said: list[str] = []
    node = fake_npm(tmp_path, f'{MAKE_SCRIPT}; echo run >> {tmp_path}/runs; echo "$@" > {tmp_path}/arguments')
    first = ensure_proxy(node, tmp_path / "cache", said.append)
    assert ensure_proxy(node, tmp_path / "cache", said.append) == first
    assert first[0] == "/usr/bin/node"
    assert Path(first[1]).is_file()
    assert (tmp_path / "runs").read_text() == "run\n"
    assert (tmp_path / "arguments").read_text().startswith("ci ")
    assert len(said) == 1
    assert [path.name for path in (tmp_path / "cache" / "proxy").iterdir()] == [Path(first[1]).parents[3].name]


def test_failed_installation_leaves_nothing_and_shows_npms_last_lines(tmp_path: Path) -> None:
    node = fake_npm(tmp_path, f"{MAKE_SCRIPT}; echo one; echo two; echo 'npm error ENOTFOUND' >&2; exit 1")
    with pytest.raises(CannotRun, match="one · two · npm error ENOTFOUND"):
        ensure_proxy(node, tmp_path / "cache", lambda _line: None)
    assert list((tmp_path / "cache" / "proxy").iterdir()) == []


def test_installation_without_the_script_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match="remove that folder"):
        ensure_proxy(fake_npm(tmp_path, "true"), tmp_path / "cache", lambda _line: None)


def test_lock_pins_every_package_by_hash_and_names_no_host() -> None:
    lock = json.loads((LOCK / "package-lock.json").read_text())
    packages = {name: fields for name, fields in lock["packages"].items() if name}
    assert packages["node_modules/configurable-http-proxy"]["version"] == "5.3.0"
    assert all(fields["integrity"].startswith("sha512-") for fields in packages.values())
    assert not any("resolved" in fields for fields in packages.values())
