"""The state folder: private, used by one hub at a time, removed only when it is ours and free."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aihub.state import StateError, lock_state, main, open_state, read_ports, remove_state, write_ports


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "state"


def test_folder_is_made_private(folder: Path) -> None:
    assert open_state(folder).folder == folder
    assert folder.stat().st_mode & 0o777 == 0o700


def test_open_folder_is_made_private(folder: Path) -> None:
    folder.mkdir(mode=0o755, parents=True)
    open_state(folder)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_relative_folder_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_state(Path(".aihub")).folder == tmp_path / ".aihub"


def test_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    with pytest.raises(StateError, match=r"state cannot be written \(File exists\).*--state-dir"):
        open_state(tmp_path / "state")


def test_one_hub_at_a_time(folder: Path) -> None:
    state = open_state(folder)
    with lock_state(state), pytest.raises(StateError, match=rf"already runs on .*\(pid {os.getpid()}\)"):
        lock_state(state)
    lock_state(state).close()


def test_ports_are_kept(folder: Path) -> None:
    state = open_state(folder)
    assert read_ports(state) == {}
    write_ports(state, {"hub": 8001, "api": 8002})
    assert read_ports(state) == {"hub": 8001, "api": 8002}


@pytest.mark.parametrize("text", ["", "[]", '{"hub": "x"}', '{"hub": null}', '{"hub": 80'])
def test_broken_ports_are_none(folder: Path, text: str) -> None:
    state = open_state(folder)
    state.ports_file.write_text(text)
    assert read_ports(state) == {}


def test_remove(folder: Path) -> None:
    state = open_state(folder)
    lock_state(state).close()
    state.hub_log.touch()
    assert main(["remove", str(folder)]) == 0
    assert not folder.exists()
    assert main(["remove", str(folder)]) == 0


def test_folder_in_use_is_not_removed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = open_state(folder)
    with lock_state(state):
        assert main(["remove", str(folder)]) == 2
    assert "already runs" in capsys.readouterr().err
    assert folder.exists()


def test_folder_of_a_killed_hub_is_not_removed_while_its_proxy_runs(folder: Path) -> None:
    state = open_state(folder)
    lock_state(state).close()
    state.proxy_record.write_text(f'{{"pid": {os.getpid()}}}')
    with pytest.raises(StateError, match="was killed and what it started still runs"):
        remove_state(folder)
    assert folder.exists()


@pytest.mark.parametrize("text", ["", "[]", '{"pid": 4194305}', "{}"], ids=["empty", "list", "no such pid", "no pid"])
def test_record_of_no_process_does_not_keep_the_folder(folder: Path, text: str) -> None:
    state = open_state(folder)
    lock_state(state).close()
    state.proxy_record.write_text(text)
    remove_state(folder)
    assert not folder.exists()


def test_strange_folder_is_not_removed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.tex").touch()
    assert main(["remove", str(tmp_path)]) == 2
    assert "was not made by" in capsys.readouterr().err
    assert (tmp_path / "thesis.tex").exists()


@pytest.mark.parametrize("arguments", [[], ["remove"], ["add", "x"]], ids=" ".join)
def test_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith("usage:")


def test_the_key_that_encrypts_is_made_once_for_this_account_alone(folder: Path) -> None:
    state = open_state(folder)
    (folder / ".crypt_key").write_text("half of one, of a hub that was killed")
    key = state.read_crypt_key()
    assert len(bytes.fromhex(key)) == 32
    assert state.read_crypt_key() == key
    assert (folder / "crypt_key").stat().st_mode & 0o777 == 0o600
