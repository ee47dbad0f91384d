"""The cluster that tests talk to, wherever it comes from.

`KUBECONFIG` names one that is there. Else kind makes one if it and Docker are installed. Else, for root on Linux, this
machine becomes a node. A node or a kind cluster that is up already (`make cluster-up`) is used and left alone.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import kubernetes.client
import kubernetes.config
import yaml

from tests.cluster.rig import kind, node
from tests.cluster.rig.layout import REGISTRY, default_layout
from tests.cluster.rig.registry import SlowRegistry, slow_registry
from tests.cluster.rig.toolbox import CACHE, HELM, HELM4, KUBERNETES, Tool, program

GPU = "nvidia.com/gpu"
T = TypeVar("T")


class CommandFailed(Exception):
    """A client program ended with an error; `said` is what it wrote."""

    def __init__(self, command: list[str], code: int, said: str) -> None:
        super().__init__(f"{' '.join(command)} ended with {code}:\n{said}")
        self.code = code
        self.said = said


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster that answers.

    Args:
        kubeconfig: of an administrator.
        node: the name of a node that pods run on.
        registry: what stands before the repository in references of images that tests push.
    """

    kubeconfig: Path
    node: str
    registry: str = REGISTRY

    @property
    def api(self) -> Any:
        """A new `kubernetes.client.ApiClient` of the administrator."""
        return kubernetes.config.new_client_from_config(str(self.kubeconfig))

    @property
    def core(self) -> Any:
        """A new `kubernetes.client.CoreV1Api` of the administrator."""
        return kubernetes.client.CoreV1Api(self.api)

    def kubectl(self, *arguments: str, text: str | None = None, timeout: float = 120) -> str:
        """What kubectl answers; `text` goes to its standard input.

        Raises:
            CommandFailed: it ended with an error.
        """
        return self._run(KUBERNETES, *arguments, text=text, timeout=timeout)

    def helm(self, *arguments: str, text: str | None = None, timeout: float = 600) -> str:
        """What helm 3 answers, as `kubectl`."""
        return self._run(HELM, *arguments, text=text, timeout=timeout)

    def helm4(self, *arguments: str, text: str | None = None, timeout: float = 600) -> str:
        """What helm 4 answers, as `kubectl`."""
        return self._run(HELM4, *arguments, text=text, timeout=timeout)

    def apply(self, *objects: Mapping[str, Any], namespace: str = "default") -> None:
        """Create or change the objects."""
        self.kubectl("apply", "--namespace", namespace, "--filename=-", text=yaml.safe_dump_all(map(dict, objects)))

    def get(self, *arguments: str) -> Any:
        """The objects that `kubectl get` finds, as a document."""
        return json.loads(self.kubectl("get", *arguments, "--output=json"))

    def gpus(self, count: int) -> None:
        """Let the node have this many GPUs. No container gets a device."""
        patch = {"status": {"capacity": {GPU: str(count)}, "allocatable": {GPU: str(count)}}}
        self.kubectl("patch", "node", self.node, "--subresource=status", "--type=merge", "--patch", json.dumps(patch))

    @contextmanager
    def namespace(self, prefix: str, labels: Mapping[str, str] | None = None) -> Iterator[str]:
        """A namespace for one test, gone afterwards with all that is in it."""
        name = f"{prefix}-{secrets.token_hex(3)}"
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": dict(labels or {})}})
        try:
            self.until(lambda: self.kubectl("get", "serviceaccount/default", "--namespace", name), 20)
            yield name
        finally:
            self.kubectl("delete", "namespace", name, "--wait=false")

    def slow_registry(self, rate: float | None) -> AbstractContextManager[SlowRegistry]:
        """A second address of the registry, through which the kubelet gets images at `rate` bytes per second.

        It lives in this process, so it serves nodes that share this machine's network.
        """
        return slow_registry(self.registry, rate)

    def frozen(self, component: str) -> AbstractContextManager[None]:
        """Let `kubelet`, `kube-apiserver` or another component of this machine's node hang.

        Raises:
            NodeFailed: the cluster is not a node of this machine.
        """
        return node.frozen(default_layout(), component)

    def until(self, look: Callable[[], T], seconds: float, every: float = 0.2) -> T:
        """The first answer that is true. Failing commands and failing asserts count as not yet.

        Raises:
            TimeoutError: there was none within `seconds`; it names the last answer or error.
        """
        end = time.monotonic() + seconds
        while True:
            last: T | Exception
            try:
                if last := look():
                    return last
            except (CommandFailed, AssertionError) as error:
                last = error
            if time.monotonic() > end:
                raise TimeoutError(f"not within {seconds:.0f} s; the last answer was: {last}")
            time.sleep(every)

    def _run(self, tool: Tool, *arguments: str, text: str | None, timeout: float) -> str:
        environ = {**os.environ, "KUBECONFIG": str(self.kubeconfig)}
        environ |= {f"HELM_{kind}_HOME": str(CACHE / tool.name / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
        answer = subprocess.run(
            [program(tool), *arguments],
            env=environ,
            input=text,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if answer.returncode != 0:
            raise CommandFailed([tool.programs[0], *arguments], answer.returncode, answer.stderr + answer.stdout)
        return answer.stdout


def source() -> Literal["given", "kind", "node"]:
    """Where the cluster comes from."""
    if os.environ.get("KUBECONFIG"):
        return "given"
    if shutil.which("kind") and shutil.which("docker"):
        return "kind"
    return "node"


def given() -> Cluster:
    """The cluster that `KUBECONFIG` names; `AIHUB_TEST_REGISTRY` is its registry if not localhost:5000."""
    path = Path(os.environ["KUBECONFIG"])
    return _connect(path, os.environ.get("AIHUB_TEST_REGISTRY", REGISTRY))


def bring_up() -> Cluster:
    """Start a cluster that stays until `take_down`, or find the one that is up."""
    if source() == "kind":
        return _connect(kind.up(), REGISTRY)
    layout = default_layout()
    if node.is_up(layout):
        return _connect(layout.kubeconfig, REGISTRY)
    node.up(layout)
    try:
        return _connect(layout.kubeconfig, REGISTRY)
    except BaseException:
        node.down(layout)
        raise


def take_down() -> None:
    """Remove what `bring_up` started."""
    if source() == "kind":
        kind.down()
    else:
        node.down(default_layout())


@contextmanager
def borrowed() -> Iterator[Cluster]:
    """A cluster for the time of a test run. One that was up before stays; one made for the run goes, whatever happens.

    Raises:
        NodeFailed: there can be none, or another run uses it.
    """
    if source() == "given":
        yield given()
        return
    with _alone():
        if kind.is_up() if source() == "kind" else node.is_up(default_layout()):
            yield bring_up()
            return
        with _made_by_kind() if source() == "kind" else _made_here() as kubeconfig:
            yield _connect(kubeconfig, REGISTRY)


@contextmanager
def _made_by_kind() -> Iterator[Path]:
    try:
        yield kind.up()
    finally:
        kind.down()


@contextmanager
def _made_here() -> Iterator[Path]:
    """A node that goes even if this process is killed: the pipe is closed then."""
    layout = default_layout()
    reader, writer = os.pipe()
    try:
        keeper = node.up(layout, owner=reader)
        try:
            yield layout.kubeconfig
        finally:
            node.down(layout)
            keeper.wait()
    finally:
        os.close(reader)
        os.close(writer)


@contextmanager
def _alone() -> Iterator[None]:
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "cluster-tests.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise node.NodeFailed("another run of the cluster tests is using the cluster: wait for its end") from error
        yield


def _connect(kubeconfig: Path, registry: str) -> Cluster:
    cluster = Cluster(kubeconfig, "", registry)

    def free() -> list[str]:
        # Tests put up nodes that are none, too; like those of a control plane, they are tainted. A node that has only
        # just become ready may still have the taint of one that is not.
        nodes = cluster.get("nodes")["items"]
        return [node["metadata"]["name"] for node in nodes if all(_is_mild(taint) for taint in _taints(node))]

    return Cluster(kubeconfig, cluster.until(free, 60)[-1], registry)


def _is_mild(taint: Mapping[str, Any]) -> bool:
    return bool(taint["effect"] == "PreferNoSchedule")


def _taints(node: Mapping[str, Any]) -> list[dict[str, Any]]:
    taints: list[dict[str, Any]] = node["spec"].get("taints", [])
    return taints
