from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
from pathlib import Path

import psutil
import pytest

from aihub.environments import BuildError, Environment, Environments, FolderError

GOOD = """#!/bin/sh
# Stands for uv: "venv … FOLDER" makes the folder, "pip install … --python FOLDER/bin/python" fills it.
echo "$@" >> "$(dirname "$0")/calls"
if [ "$1" = venv ]; then
  for last; do :; done
  mkdir -p "$last/bin" && ln -s "{python}" "$last/bin/python"
else
  {install}
fi
"""


def installer(tmp_path: Path, install: str = "printf '\\033[32mInstalled\\033[0m 1 package\\n'") -> str:
    """A program that takes uv's place; `install` is what it does instead of installing."""
    program = tmp_path / "uv"
    program.write_text(GOOD.replace("{python}", sys.executable).replace("{install}", install))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return str(program)


def calls(tmp_path: Path) -> list[str]:
    return (tmp_path / "calls").read_text().splitlines()


def unheard(line: str) -> None:
    """For builds whose lines do not matter."""


async def until(path: Path) -> None:
    async with asyncio.timeout(10):
        while not path.exists():  # noqa: ASYNC110, ASYNC240 - another process makes it
            await asyncio.sleep(0.01)


def folders(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if path.is_dir() and path.name != "logs")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        pytest.param(["a", "b"], ["b", "a"], True, id="order"),
        pytest.param(["Some_Thing >= 1, <2"], ["some-thing<2,>=1"], True, id="spelling"),
        pytest.param(["a", "a"], ["a"], True, id="twice"),
        pytest.param(["a==1"], ["a==2"], False, id="version"),
        pytest.param(["a[x]"], ["a"], False, id="extra"),
        pytest.param(["a; python_version > '3'"], ["a"], False, id="marker"),
    ],
)
def test_key_is_that_of_the_list(tmp_path: Path, one: list[str], other: list[str], same: bool) -> None:
    environments = Environments(tmp_path)
    assert (environments.key(one) == environments.key(other)) is same


def test_key_depends_on_the_python(tmp_path: Path) -> None:
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\necho cpython-399\n")
    other.chmod(0o755)
    assert Environments(tmp_path).key(["a"]) != Environments(tmp_path, python=str(other)).key(["a"])


async def test_built_once_and_reused_by_the_next_hub(tmp_path: Path) -> None:
    root = tmp_path / "environments"
    first = Environments(root, uv_program=installer(tmp_path, "sleep 0.2"))
    assert first.ready(["numpy==2"]) is None
    assert first.usual_seconds(["numpy==2"]) is None
    built = await first.ensure(["numpy==2"], label="Numbers", on_line=unheard)
    again = Environments(root, uv_program=installer(tmp_path))
    assert again.ready(["numpy == 2"]) == built == await again.ensure(["numpy==2"], label="Numbers", on_line=unheard)
    assert again.usual_seconds(["numpy==2"]) == built.seconds_taken >= 0.2
    assert len(calls(tmp_path)) == 2
    assert built.python == built.path / "bin" / "python"
    assert built.path.parent == root


async def test_the_installer_is_told_what_to_install(tmp_path: Path) -> None:
    environments = Environments(tmp_path / "e", uv_program=installer(tmp_path))
    built = await environments.ensure(["scipy", "Numpy>=2"], label="x", on_line=unheard)
    make, fill = calls(tmp_path)
    assert make.split() == ["venv", "--seed", "--no-project", "--python", sys.executable, str(built.path)]
    assert fill.split("--python ")[1] == f"{built.python} -- ipykernel numpy>=2 scipy"


async def test_two_tags_with_one_list_share_the_environment_under_their_own_labels(tmp_path: Path) -> None:
    environments = Environments(tmp_path / "e", uv_program=installer(tmp_path))
    one = await environments.ensure(["a"], label="One", on_line=unheard)
    two = await environments.ensure(["a"], label="Two", on_line=unheard)
    assert (one.label, two.label) == ("One", "Two")
    assert one.path == two.path


async def test_all_who_wait_share_one_build_and_hear_all_lines(tmp_path: Path) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    slow = f"echo early; touch {begun}; while [ ! -e {gate} ]; do sleep 0.02; done; printf '\\033[1mlate\\033[0m\\n'"
    environments = Environments(tmp_path / "e", uv_program=installer(tmp_path, slow))
    first: list[str] = []
    second: list[str] = []
    one = asyncio.create_task(environments.ensure(["a"], label="One", on_line=first.append))
    await until(begun)
    assert environments.building(["a"])
    two = asyncio.create_task(environments.ensure(["a"], label="Two", on_line=second.append))
    await asyncio.sleep(0)
    gate.touch()
    results = await asyncio.gather(one, two)
    assert results[0].path == results[1].path
    assert first == second == ["early", "late"]
    assert len(calls(tmp_path)) == 2
    assert not environments.building(["a"])
    assert environments.log_file(["a"]).read_text() == "early\nlate\n"


async def test_a_cancelled_waiter_leaves_the_build_to_the_others(tmp_path: Path) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    slow = f"touch {begun}; while [ ! -e {gate} ]; do sleep 0.02; done"
    environments = Environments(tmp_path / "e", uv_program=installer(tmp_path, slow))
    leaver = asyncio.create_task(environments.ensure(["a"], label="x", on_line=unheard))
    stayer = asyncio.create_task(environments.ensure(["a"], label="x", on_line=unheard))
    await until(begun)
    leaver.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaver
    gate.touch()
    assert (await stayer).path.is_dir()


async def test_cancelling_the_last_one_ends_the_installer_with_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    slow = f"sleep 1000 & echo $$ $! > {pids}.new; mv {pids}.new {pids}; wait"
    environments = Environments(tmp_path / "e", uv_program=installer(tmp_path, slow))
    waiter = asyncio.create_task(environments.ensure(["a"], label="x", on_line=unheard))
    await until(pids)
    running = [psutil.Process(int(pid)) for pid in pids.read_text().split()]
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    _, alive = psutil.wait_procs(running, timeout=5)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
    assert environments.ready(["a"]) is None
    assert sorted(path.name for path in environments.root.iterdir()) == ["logs"]


async def test_who_comes_while_an_abandoned_build_ends_gets_a_build_of_their_own(tmp_path: Path) -> None:
    begun, ending = tmp_path / "begun", tmp_path / "ending"
    slow = f"trap 'touch {ending}; sleep 0.5; exit 1' TERM; touch {begun}; while :; do sleep 0.05; done"
    environments = Environments(tmp_path / "e", uv_program=installer(tmp_path, slow))
    leaver = asyncio.create_task(environments.ensure(["a"], label="x", on_line=unheard))
    await until(begun)
    leaver.cancel()
    await until(ending)
    installer(tmp_path)
    built = await environments.ensure(["a"], label="x", on_line=unheard)
    with pytest.raises(asyncio.CancelledError):
        await leaver
    assert environments.ready(["a"]) == built
    assert folders(environments.root) == [built.path.name]


async def test_a_failed_build_shows_the_last_lines_and_leaves_nothing(tmp_path: Path) -> None:
    failing = "i=0; while [ $i -lt 50 ]; do i=$((i+1)); echo line $i; done; echo 'no such version'; exit 1"
    environments = Environments(tmp_path / "e", uv_program=installer(tmp_path, failing))
    waiters = (environments.ensure(["a"], label="Numbers", on_line=unheard) for _ in range(2))
    errors = await asyncio.gather(*waiters, return_exceptions=True)
    for error in errors:
        assert isinstance(error, BuildError)
        assert error.label == "Numbers"
        assert error.tail[-2:] == ("line 50", "no such version")
        assert len(error.tail) == 20
    assert environments.ready(["a"]) is None
    assert folders(environments.root) == []


async def test_a_failed_build_can_be_tried_again(tmp_path: Path) -> None:
    root = tmp_path / "e"
    environments = Environments(root, uv_program=installer(tmp_path, "exit 1"))
    with pytest.raises(BuildError):
        await environments.ensure(["a"], label="x", on_line=unheard)
    installer(tmp_path)
    assert (await environments.ensure(["a"], label="x", on_line=unheard)).path.is_dir()


@pytest.mark.parametrize(
    "words",
    [
        "  Caused by: No space left on device (os error 28)",
        "OSError: [Errno 28] No space left on device",
        "error: failed to create directory: Permission denied (os error 13)",
    ],
)
async def test_a_full_or_unwritable_disk_is_told_from_a_wrong_list(tmp_path: Path, words: str) -> None:
    root = tmp_path / "e"
    environments = Environments(root, uv_program=installer(tmp_path, f"echo '{words}'; echo more; exit 2"))
    with pytest.raises(FolderError) as caught:
        await environments.ensure(["a"], label="x", on_line=unheard)
    assert caught.value.path == root
    assert words.strip() in caught.value.problem
    assert folders(root) == []


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    environments = Environments(tmp_path / "file" / "e", uv_program=installer(tmp_path))
    with pytest.raises(FolderError, match="file/e/logs") as caught:
        await environments.ensure(["a"], label="x", on_line=unheard)
    assert caught.value.problem == "Not a directory"


async def test_a_missing_installer_is_named(tmp_path: Path) -> None:
    environments = Environments(tmp_path / "e", uv_program=str(tmp_path / "nowhere"))
    with pytest.raises(FolderError, match="nowhere"):
        await environments.ensure(["a"], label="x", on_line=unheard)


async def test_what_a_killed_hub_left_is_not_used_and_is_removed_with_its_installer(tmp_path: Path) -> None:
    """The hub is another process here, killed in the middle of a build."""
    root, begun = tmp_path / "e", tmp_path / "begun"
    program = installer(tmp_path, f"sleep 1000 & echo $! > {begun}.new; mv {begun}.new {begun}; wait")
    code = (
        "import asyncio, pathlib; from aihub.environments import Environments;"
        f"e = Environments(pathlib.Path({str(root)!r}), uv_program={program!r});"
        "asyncio.run(e.ensure(['a'], label='x', on_line=print))"
    )
    hub = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, env={**os.environ, "PYTHONPATH": str(Path.cwd())}
    )
    await until(begun)
    (pid_file,) = root.glob("*.pid")
    pids = json.loads(pid_file.read_text())["pid"], int(begun.read_text())
    orphans = [psutil.Process(pid) for pid in pids]
    hub.kill()
    await hub.wait()
    after = Environments(root, uv_program=installer(tmp_path))
    assert after.ready(["a"]) is None
    assert await after.clean() == (pid_file.stem,)
    _, alive = psutil.wait_procs(orphans, timeout=5)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
    assert sorted(path.name for path in root.iterdir()) == ["logs"]


async def test_cleaning_keeps_what_is_built_and_what_is_being_built(tmp_path: Path) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    root = tmp_path / "e"
    environments = Environments(root, uv_program=installer(tmp_path))
    built = await environments.ensure(["a"], label="x", on_line=unheard)
    installer(tmp_path, f"touch {begun}; while [ ! -e {gate} ]; do sleep 0.02; done")
    building = asyncio.create_task(environments.ensure(["b"], label="x", on_line=unheard))
    await until(begun)
    assert await environments.clean() == ()
    gate.touch()
    assert folders(root) == sorted([built.path.name, (await building).path.name])


async def test_pruning_removes_all_but_what_is_kept(tmp_path: Path) -> None:
    root = tmp_path / "e"
    environments = Environments(root, uv_program=installer(tmp_path))
    kept = await environments.ensure(["a"], label="x", on_line=unheard)
    gone = await environments.ensure(["b"], label="x", on_line=unheard)
    assert await environments.prune({kept.key}) == (gone.path.name,)
    assert environments.ready(["a"]) == kept
    assert environments.ready(["b"]) is None
    assert environments.usual_seconds(["b"]) == gone.seconds_taken
    assert Environments(root).ready(["b"]) is None


async def test_an_environment_whose_interpreter_is_gone_is_built_again(tmp_path: Path) -> None:
    environments = Environments(tmp_path / "e", uv_program=installer(tmp_path))
    old = await environments.ensure(["a"], label="x", on_line=unheard)
    old.python.unlink()
    assert environments.ready(["a"]) is None
    new = await environments.ensure(["a"], label="x", on_line=unheard)
    assert new.path != old.path
    assert await environments.clean() == (old.path.name,)


@pytest.mark.parametrize(
    "record",
    ["", "[]", '{"format": 1}', '{"format": 0, "folder": "F", "label": "x", "seconds": 1}',
     '{"format": 1, "folder": "../../etc", "label": "x", "seconds": 1}'],
)  # fmt: skip
async def test_a_damaged_record_counts_as_missing(tmp_path: Path, record: str) -> None:
    root = tmp_path / "e"
    environments = Environments(root, uv_program=installer(tmp_path))
    built = await environments.ensure(["a"], label="x", on_line=unheard)
    (root / f"{built.key}.json").write_text(record.replace('"F"', json.dumps(built.path.name)))
    (root / "seconds.json").write_text("{")
    fresh = Environments(root)
    assert fresh.ready(["a"]) is None
    assert fresh.usual_seconds(["a"]) is None


def test_environment_is_a_value(tmp_path: Path) -> None:
    environment = Environment("k", "x", tmp_path, tmp_path / "bin" / "python", 1.5)
    assert environment == Environment("k", "x", tmp_path, tmp_path / "bin" / "python", 1.5)
