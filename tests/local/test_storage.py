"""Storage that fails under a real hub: the reason names the path, nothing is half-made, and a later start works."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from aihub.names import safe_name
from tests.local.people import Someone
from tests.local.rig import Rig

STARTER_SIZE = 300_000
POLICY = """
imageStreams:
  plain: {{tags: {{"1": {{requirements: []}}}}}}
profiles:
  small: {{cpu: 100m, memory: 128Mi}}
projects:
  course:
    open: true
    images: {{offer: [plain], default: plain}}
    profiles: {{offer: [small], default: small}}
    storage: {{shared: {{from: {starter}, membersWrite: true}}}}
  science:
    open: true
    images: {{offer: [plain], default: plain}}
    profiles: {{offer: [small], default: small}}
    storage: {{datasets: {{stars: {{path: {stars}}}}}}}
home: {{scope: project}}
machine: {{cpu: 4, memory: 4Gi}}
signIn: {{personas: {{student: {{}}, student2: {{}}, student3: {{}}, student4: {{}}, student5: {{}}}}}}
"""


@pytest.fixture(scope="module")
def stars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data") / "stars"


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, stars: Path) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("storage")
    starter = folder / "starter"
    (starter / "data").mkdir(parents=True)
    (starter / "data" / "big.csv").write_bytes(os.urandom(STARTER_SIZE))
    (starter / "notes.txt").write_text("welcome")
    policy = folder / "policy.yaml"
    policy.write_text(POLICY.format(starter=starter, stars=stars))
    rig = Rig(folder, (policy,))
    rig.start()
    yield rig
    rig.close()


@pytest.fixture
def someone(rig: Rig) -> Iterator[Callable[[str], Someone]]:
    met: list[Someone] = []

    def meet(name: str) -> Someone:
        met.append(Someone.of(rig, name))
        return met[-1]

    yield meet
    for each in met:
        if each.running():
            each.stop()


@contextmanager
def mounted(*arguments: str | Path) -> Iterator[bool]:
    """A mount for a while, where this account may make one; else False."""
    target = arguments[-1]
    done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, check=False)
    try:
        yield done.returncode == 0
    finally:
        if done.returncode == 0:
            subprocess.run(["umount", "--lazy", str(target)], check=True)


@contextmanager
def unwritable(folder: Path) -> Iterator[None]:
    """A folder in which nobody, root included, can make anything."""
    if os.geteuid() != 0:
        folder.chmod(0o500)
        try:
            yield
        finally:
            folder.chmod(0o700)
        return
    with ExitStack() as stack:
        # A read-only mount of itself; where root is not allowed even that, the folder is a file.
        if (
            not stack.enter_context(mounted("--bind", folder, folder))
            or subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=False).returncode
        ):
            shutil.rmtree(folder)
            folder.touch()
            stack.callback(folder.unlink)
        yield


def refused(someone: Someone, options: object, reason: str, *paths: str | Path, status: int = 403) -> None:
    """The start is refused for `reason`, and both the answer and the page name the path."""
    answer = someone.ask(options)
    assert (answer.status_code, answer.headers.get("AIHub-Reason")) == (status, reason), answer.text
    page = someone.pages.get(f"/hub/spawn-pending/{someone.name}")
    assert page.headers["AIHub-Reason"] == reason
    for path in paths:
        assert str(path) in answer.json()["message"]
        assert str(path) in page.text
    assert not someone.running()


def everything(folder: Path) -> set[str]:
    return {str(each.relative_to(folder)) for each in folder.rglob("*")} if folder.exists() else set()


def test_a_missing_dataset_folder_is_named_and_nothing_is_made(
    rig: Rig, someone: Callable[[str], Someone], stars: Path
) -> None:
    student = someone("student")
    before = everything(rig.state_dir / "projects") | everything(rig.state_dir / "claims")
    refused(student, {"project": "science"}, "dataset-missing", stars)
    assert everything(rig.state_dir / "projects") | everything(rig.state_dir / "claims") == before

    stars.mkdir()
    (stars / "vega.csv").write_text("0.03")
    student.start({"project": "science"})
    assert student.run("print(open('datasets/stars/vega.csv').read())") == "0.03\n"


def test_a_full_disk_is_named_and_leaves_nothing_half_made(rig: Rig, someone: Callable[[str], Someone]) -> None:
    student, projects = someone("student2"), rig.state_dir / "projects" / "course"
    projects.mkdir(parents=True)
    with ExitStack() as stack:
        if stack.enter_context(mounted("-t", "tmpfs", "-o", f"size={STARTER_SIZE // 2}", "none", projects)):
            refused(student, {"project": "course"}, "storage-full", projects)
            # The home was whole before the project's folder could not be filled.
            assert {path.name for path in projects.iterdir()} <= {"homes"}
        else:
            # Without the right to mount: the record of the home is a file that is always full.
            record = rig.state_dir / "claims" / f"{safe_name('home/course/student2')}.new"
            record.parent.mkdir(exist_ok=True)
            record.symlink_to("/dev/full")
            stack.callback(record.unlink)
            refused(student, {"project": "course"}, "storage-full", projects)
            assert everything(projects) == set()

    student.start({"project": "course"})
    assert student.run("import os; print(os.path.getsize('project/data/big.csv'))") == f"{STARTER_SIZE}\n"


def test_the_hub_s_own_folder_of_a_server_is_named_too(rig: Rig, someone: Callable[[str], Someone]) -> None:
    student, servers = someone("student5"), rig.state_dir / "servers"
    servers.mkdir(exist_ok=True)
    with unwritable(servers):
        refused(student, {"project": "course"}, "storage-unusable", servers)
    servers.mkdir(exist_ok=True)
    student.start({"project": "course"})


def test_an_unwritable_home_is_named_and_works_again(rig: Rig, someone: Callable[[str], Someone]) -> None:
    student = someone("student3")
    student.start({"project": "course"})
    student.stop()
    home = rig.state_dir / "projects" / "course" / "homes" / "student3"
    assert home.is_dir()
    with unwritable(home):
        refused(student, {"project": "course"}, "storage-unusable", home)
    if not home.exists():
        home.mkdir()
    student.start({"project": "course"})
    assert student.run("open('x', 'w').write('y'); print(open('x').read())") == "y\n"


def test_a_file_in_the_way_is_named(rig: Rig, someone: Callable[[str], Someone]) -> None:
    student, home = someone("student4"), rig.state_dir / "projects" / "course" / "homes" / "student4"
    home.parent.mkdir(parents=True, exist_ok=True)
    home.write_text("no folder")
    refused(student, {"project": "course"}, "storage-unusable", home)
    assert home.read_text() == "no folder"
    home.unlink()
    student.start({"project": "course"})


def test_a_locked_database_refuses_and_the_log_names_it(rig: Rig, someone: Callable[[str], Someone]) -> None:
    student, database = someone("student"), rig.state_dir / "aihub.sqlite"
    lock = sqlite3.connect(database, isolation_level=None)
    try:
        lock.execute("BEGIN EXCLUSIVE")
        refused(student, {"project": "course"}, "store-unavailable", status=503)
    finally:
        lock.close()
    assert str(database) in rig.log.read_text()
    student.start({"project": "course"})


def test_no_refused_start_broke_the_hub(rig: Rig) -> None:
    assert rig.process is not None
    assert rig.process.poll() is None
    assert "Traceback" not in rig.log.read_text()
