"""The policy file while the hub runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from aihub import reload
from aihub.config import Loaded, attempt
from aihub.errors import PolicyFileError
from aihub.reload import PolicyFile

TEXT = """\
profiles: {small: {cpu: 1, memory: 1Gi}}
signIn: {personas: {ada: {}}}
"""
STREAM = """\
apiVersion: image.openshift.io/v1
kind: ImageStream
metadata: {name: NAME, labels: {opendatahub.io/notebook-image: "true"}}
spec: {tags: [{name: "1", from: {kind: DockerImage, name: "example.org/NAME:1"}}]}
"""


def size(policy: PolicyFile) -> str:
    return str(policy.loaded.policy.home.size)


def replace(path: Path, text: str) -> None:
    """As editors save: a new file under the old name."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(TEXT + "home: {size: 1}\n", encoding="utf-8")
    return path


def test_a_bad_policy_at_the_start_raises_with_its_findings(path: Path) -> None:
    path.write_text("nonsense: 1", encoding="utf-8")
    with pytest.raises(PolicyFileError) as caught:
        PolicyFile([path])
    assert "unknown-key" in [finding.code for finding in caught.value.findings]


def test_nothing_changed_is_nothing_new(path: Path) -> None:
    policy = PolicyFile([path])
    heard: list[str] = []
    policy.listeners.append(lambda: heard.append(size(policy)))
    assert not policy.refresh()
    assert not policy.refresh()
    os.utime(path)
    assert not policy.refresh()
    assert heard == []


def test_a_change_before_the_first_look_is_seen(path: Path) -> None:
    policy = PolicyFile([path])
    path.write_text(TEXT + "home: {size: 2}\n", encoding="utf-8")
    assert policy.refresh()
    assert size(policy) == "2"


@pytest.mark.parametrize("save", [Path.write_text, replace], ids=["in place", "renamed"])
def test_a_saved_change_is_in_force(path: Path, save: Callable[[Path, str], object]) -> None:
    policy = PolicyFile([path])
    heard: list[str] = []
    policy.listeners.append(lambda: heard.append(size(policy)))
    for number in range(2, 6):
        save(path, TEXT + f"home: {{size: {number}}}\n")
        assert policy.refresh()
    assert heard == ["2", "3", "4", "5"]


def test_a_change_that_leaves_time_and_size_alone_is_seen_while_the_file_is_fresh(path: Path) -> None:
    policy = PolicyFile([path])
    policy.refresh()
    stat = path.stat()
    path.write_text(TEXT + "home: {size: 2}\n", encoding="utf-8")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == stat.st_size
    assert policy.refresh()


def test_a_configmap_is_swapped_by_its_links(tmp_path: Path) -> None:
    mount = tmp_path / "mount"
    for number in (1, 2):
        (mount / f"..{number}").mkdir(parents=True)
        (mount / f"..{number}" / "policy.yaml").write_text(TEXT + f"home: {{size: {number}}}\n")
    (mount / "..data").symlink_to("..1")
    (mount / "policy.yaml").symlink_to("..data/policy.yaml")
    policy = PolicyFile([mount])
    policy.refresh()
    (mount / "..data_tmp").symlink_to("..2")
    (mount / "..data_tmp").replace(mount / "..data")
    assert policy.refresh()
    assert size(policy) == "2"


def test_new_and_removed_files_of_folders_and_globs_count(tmp_path: Path) -> None:
    (tmp_path / "streams").mkdir()
    (tmp_path / "streams" / "a.yaml").write_text(STREAM.replace("NAME", "a"))
    (tmp_path / "policy.yaml").write_text(TEXT + "imageStreamFiles: [streams/*.yaml]\n")
    policy = PolicyFile([tmp_path])
    policy.refresh()
    (tmp_path / "streams" / "b.yaml").write_text(STREAM.replace("NAME", "b"))
    assert policy.refresh()
    assert sorted(policy.loaded.policy.catalog.streams) == ["a", "b"]
    (tmp_path / "home.yaml").write_text("home: {size: 3}")
    assert policy.refresh()
    assert size(policy) == "3"
    (tmp_path / "streams" / "a.yaml").unlink()
    assert policy.refresh()
    assert sorted(policy.loaded.policy.catalog.streams) == ["b"]


def test_a_broken_version_keeps_the_last_good_one_and_is_logged_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    policy = PolicyFile([path])
    heard: list[str] = []
    policy.listeners.append(lambda: heard.append(size(policy)))
    with caplog.at_level(logging.INFO, "aihub.policy"):
        replace(path, "home: {size: 4 GB, oops: 1}\nprojets: {}\n")
        for _ in range(3):
            assert not policy.refresh()
    assert size(policy) == "1"
    assert {finding.path for finding in policy.findings} == {"home.size", "home.oops", "projets"}
    assert heard == []
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "\n" not in record.getMessage()
    assert "policy.yaml:1:14" in record.getMessage()
    assert "and 2 more" in record.getMessage()


def test_a_mended_file_is_in_force_again_also_when_it_is_the_old_one(path: Path) -> None:
    policy = PolicyFile([path])
    good = path.read_text()
    replace(path, "home: [")
    assert not policy.refresh()
    assert policy.findings
    replace(path, good)
    policy.refresh()
    assert policy.findings == ()
    assert size(policy) == "1"


@pytest.mark.parametrize("how", ["removed", "no file", "not utf-8"])
def test_a_file_that_goes_away_keeps_the_policy(path: Path, how: str) -> None:
    policy = PolicyFile([path])
    good = path.read_bytes()
    path.unlink()
    if how == "no file":
        path.mkdir()
    elif how == "not utf-8":
        path.write_bytes(b"\xff")
    assert not policy.refresh()
    assert size(policy) == "1"
    assert policy.findings
    if how == "no file":
        path.rmdir()
    path.write_bytes(good.replace(b"size: 1", b"size: 7"))
    assert policy.refresh()
    assert size(policy) == "7"


def test_a_stream_file_that_broke_is_followed_until_it_is_mended(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(STREAM.replace("NAME", "a"))
    (tmp_path / "policy.yaml").write_text(TEXT + "imageStreamFiles: [s.yaml]\n")
    policy = PolicyFile([tmp_path / "policy.yaml"])
    (tmp_path / "s.yaml").unlink()
    assert not policy.refresh()
    assert [finding.code for finding in policy.findings] == ["no-such-file"]
    (tmp_path / "s.yaml").write_text(STREAM.replace("NAME", "b"))
    assert policy.refresh()
    assert list(policy.loaded.policy.catalog.streams) == ["b"]


@contextlib.asynccontextmanager
async def watching(policy: PolicyFile) -> AsyncIterator[None]:
    task = asyncio.create_task(policy.watch())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], bool], seconds: float) -> float:
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, "it took too long"
        await asyncio.sleep(0.02)
    return time.monotonic() - start


async def test_watch_brings_a_change_within_two_seconds(path: Path) -> None:
    policy = PolicyFile([path])
    heard: list[str] = []
    policy.listeners.append(lambda: heard.append(size(policy)))
    async with watching(policy):
        replace(path, TEXT + "home: {size: 2}\n")
        await until(lambda: heard == ["2"], 2)
        replace(path, "home: [")
        await until(lambda: bool(policy.findings), 2)
        replace(path, TEXT + "home: {size: 3}\n")
        await until(lambda: heard == ["2", "3"], 2)


async def test_a_listener_that_fails_does_not_end_the_watching(path: Path) -> None:
    policy = PolicyFile([path], interval=0.02)
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: failures.append(context["exception"]))

    def fail() -> None:
        raise RuntimeError(size(policy))

    policy.listeners.append(fail)
    async with watching(policy):
        for number in (2, 3):
            replace(path, TEXT + f"home: {{size: {number}}}\n")
            await until(lambda: len(failures) == number - 1, 2)  # noqa: B023 - awaited in the same round
    assert [str(failure) for failure in failures] == ["2", "3"]


async def test_files_are_read_and_parsed_beside_the_event_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(TEXT)
    policy = PolicyFile([path], interval=0.02)
    threads: set[int] = set()

    def attempt_somewhere(paths: Sequence[Path]) -> Loaded:
        threads.add(threading.get_ident())
        return attempt(paths)

    monkeypatch.setattr(reload, "attempt", attempt_somewhere)
    async with watching(policy):
        replace(path, TEXT + "home: {size: 2}\n")
        await until(lambda: size(policy) == "2", 30)
    assert threads
    assert threading.get_ident() not in threads
