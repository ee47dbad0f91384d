"""A Kubernetes node on this machine: up, kept and taken down without a trace.

`up` is the caller: it starts the keeper and waits until the node is ready. The *keeper* is a process of its own that
writes down what it will change, changes it, starts the node's namespaces, waits for the end and undoes everything. It
ends when it is told to (`down`), when the node breaks, or when its owner is gone: the owner holds the other end of a
pipe, so even a killed test run takes its node along. If the keeper itself is killed, the kernel ends all processes of
the node, and the next `up` or `down` undoes the rest from the record.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import IO

import psutil

from tests.cluster.rig import cgroups, components, inside, manifests, network
from tests.cluster.rig.layout import MARK, NODE, Layout
from tests.cluster.rig.toolbox import KUBERNETES, ensure

ROOT = Path(__file__).parents[3]
READY_WITHIN = 120.0
"""Seconds until a node is given up; it takes about ten."""

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals that take the node down."""


class NodeFailed(Exception):
    """The node cannot be had; the sentence says what to do."""


@dataclass(frozen=True, slots=True)
class Record:
    """What was there before, so that it can be restored."""

    keeper: int
    begun: float
    settings: dict[str, str]
    chains: dict[str, list[str]]
    folders: list[str]

    def alive(self) -> bool:
        """Whether the keeper runs; a later process with its number is not it."""
        try:
            process = psutil.Process(self.keeper)
            return process.create_time() == self.begun and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


def read_record(layout: Layout) -> Record | None:
    """What the last node wrote down; None when nothing has to be undone."""
    try:
        return Record(**json.loads(layout.record.read_text()))
    except FileNotFoundError:
        return None


# --- the caller


def prepare() -> None:
    """Build what is not built yet, and say what is missing.

    Raises:
        NodeFailed: this machine cannot run a node.
        CannotBuild: a component could not be built.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        raise NodeFailed("a node of one's own needs Linux and root; set KUBECONFIG, or install docker and kind")
    missing = sorted({package for program, package in components.PACKAGES.items() if shutil.which(program) is None})
    if missing:
        raise NodeFailed(f"not installed: apt-get install {' '.join(missing)}")
    for tool in components.TOOLS:
        ensure(tool)


def is_up(layout: Layout) -> bool:
    """Whether a node is there and ready."""
    record = read_record(layout)
    return record is not None and record.alive() and layout.ready.exists()


def up(layout: Layout, owner: int | None = None) -> subprocess.Popen[bytes]:
    """Start a node; its keeper, once the node is ready.

    Args:
        layout: where it lives.
        owner: the reading end of a pipe; the node goes when the writing end is closed. Without one the node stays.

    Raises:
        NodeFailed: another node is there, or this one did not come up; the sentence names the logs.
    """
    prepare()
    layout.root.mkdir(parents=True, exist_ok=True)
    with layout.lock.open("w") as lock:
        _take(lock, layout)
        clean(layout)
        shutil.rmtree(layout.logs, ignore_errors=True)
        layout.logs.mkdir()
        layout.data.mkdir()
        keeper = _start_keeper(layout, lock, owner)
    try:
        _wait_for_keeper(layout, keeper)
    except BaseException:  # Ctrl-C too: whoever asked for the node does not get it
        keeper.terminate()
        keeper.wait()
        clean(layout)
        raise
    return keeper


def down(layout: Layout) -> None:
    """Take the node down, whatever state it is in, and undo what it changed. Nothing happens where there is none."""
    record = read_record(layout)
    if record is None:
        return
    if record.alive():
        with contextlib.suppress(ProcessLookupError):
            os.kill(record.keeper, signal.SIGTERM)
        _wait_for_end(record, 30)
    clean(layout)


def clean(layout: Layout) -> None:
    """Undo what is written down, if the keeper did not do so itself."""
    record = read_record(layout)
    if record is None:
        return
    _end_processes(layout)
    network.remove_network()
    network.remove_chains(record.chains)
    network.write_settings(record.settings)
    cgroups.remove(layout.cgroup)
    for folder in reversed(record.folders):
        with contextlib.suppress(OSError):  # something else moved in
            Path(folder).rmdir()
    for path in layout.root.iterdir():
        if path not in (layout.lock, layout.logs, layout.record):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    layout.record.unlink()


@contextlib.contextmanager
def frozen(layout: Layout, component: str) -> Iterator[None]:
    """Let a component of the node hang, as on a machine that is lost; it goes on afterwards.

    Args:
        layout: the node's.
        component: the name of the program, for example `kubelet` or `kube-apiserver`.

    Raises:
        NodeFailed: it does not run here.
    """
    found = [process for process in _processes(layout) if process.name() == component[:15]]
    if not found:
        raise NodeFailed(f"no {component} runs on this machine")
    for process in found:
        process.suspend()
    try:
        yield
    finally:
        for process in found:
            process.resume()


def _take(lock: IO[str], layout: Layout) -> None:
    """Take the lock; wait for an earlier node that is just going."""
    end = time.monotonic() + 30
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        if is_up(layout):
            raise NodeFailed(f"a node is up already: use KUBECONFIG={layout.kubeconfig}, or `make cluster-down`")
        if time.monotonic() > end:
            raise NodeFailed(f"another node is neither up nor gone after 30 s; see {layout.logs}")
        time.sleep(0.2)


def _start_keeper(layout: Layout, lock: IO[str], owner: int | None) -> subprocess.Popen[bytes]:
    # The keeper inherits the lock: it is held until the keeper is gone, however it goes.
    command = [sys.executable, "-m", "tests.cluster.rig.node", str(layout.root)]
    with (layout.logs / "keeper.log").open("wb") as log:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=owner if owner is not None else subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=[lock.fileno()],
            start_new_session=True,
            env={**os.environ, "AIHUB_TEST_OWNED": "1" if owner is not None else ""},
        )


def _wait_for_keeper(layout: Layout, keeper: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + READY_WITHIN
    while not layout.ready.exists():
        if keeper.poll() is not None or time.monotonic() > end:
            said = (layout.logs / "keeper.log").read_text()
            raise NodeFailed(f"the node did not come up; see {layout.logs}:\n{said}")
        time.sleep(0.05)


def _wait_for_end(record: Record, seconds: float) -> None:
    end = time.monotonic() + seconds
    while record.alive():
        if time.monotonic() > end:
            os.kill(record.keeper, signal.SIGKILL)
            end = float("inf")
        time.sleep(0.05)


def _end_processes(layout: Layout) -> None:
    """End what is left of a node whose keeper is gone. The kernel ends it all by itself, in a moment."""
    end = time.monotonic() + 5
    while left := list(_processes(layout)):
        if time.monotonic() > end:
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        time.sleep(0.05)


def _processes(layout: Layout) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == str(layout.root):
                yield process


# --- the keeper


def keep(layout: Layout, *, owned: bool) -> None:
    """Bring the node up, wait for the end, and undo everything."""
    for number in ENDING:
        signal.signal(number, _end)
    process = psutil.Process()
    folders = _missing_folders()
    record = Record(
        process.pid, process.create_time(), network.read_settings(), network.our_chains(), [str(f) for f in folders]
    )
    _write(layout.record, json.dumps(asdict(record)))
    node: subprocess.Popen[bytes] | None = None
    try:
        for folder in folders:
            folder.mkdir()
        cgroups.make(layout.cgroup)
        network.raise_network()
        manifests.write_all(layout)
        node = _start_node(layout)
        _wait_until_ready(layout, node)
        layout.ready.touch()
        print(_wait_for_reason(node, owned=owned), flush=True)
    finally:
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)
        if node is not None:
            node.kill()
            node.wait()
        clean(layout)


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(f"Ended by {signal.Signals(number).name}.")


def _wait_for_reason(node: subprocess.Popen[bytes], *, owned: bool) -> str:
    """Wait until the node has to go; why, in words."""
    with selectors.DefaultSelector() as waiting:
        waiting.register(os.pidfd_open(node.pid), selectors.EVENT_READ)
        if owned:
            waiting.register(sys.stdin.fileno(), selectors.EVENT_READ)
        waiting.select()
    return "The owner is gone." if node.poll() is None else "The node broke."


def _missing_folders() -> list[Path]:
    """The folders with fixed names that this machine does not have, parents first."""
    missing: list[Path] = []
    for name in (*inside.ON_DISK, *inside.IN_MEMORY):
        path = Path(name)
        missing += [p for p in (*reversed(path.parents), path) if not p.exists() and p not in missing]
    return missing


def _start_node(layout: Layout) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [
            *("setpriv", "--pdeathsig", "KILL"),
            *("unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"),
            *(sys.executable, "-m", "tests.cluster.rig.inside", str(layout.root)),
        ],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        env={**os.environ, MARK: str(layout.root)},
    )


def _wait_until_ready(layout: Layout, node: subprocess.Popen[bytes]) -> None:
    """Wait for a ready node and for the account that pods of the default namespace run under."""
    kubectl = [str(KUBERNETES.program("kubectl")), f"--kubeconfig={layout.kubeconfig}"]
    waits = (
        ["wait", f"node/{NODE}", "--for=condition=Ready", "--timeout=30s"],
        ["get", "serviceaccount/default"],
        ["get", "storageclass/standard"],
    )
    for arguments in waits:
        while subprocess.run([*kubectl, *arguments], check=False, capture_output=True).returncode != 0:
            if node.poll() is not None:
                raise NodeFailed("the node ended while it was starting")
            time.sleep(0.1)


def _write(path: Path, text: str) -> None:
    unfinished = path.with_suffix(".new")
    unfinished.write_text(text)
    unfinished.rename(path)


if __name__ == "__main__":
    keep(Layout(Path(sys.argv[1])), owned=bool(os.environ.get("AIHUB_TEST_OWNED")))
