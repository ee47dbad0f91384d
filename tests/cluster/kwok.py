"""Machines that are not there: kwok plays the kubelet of as many as a test of scale needs, beside the real node."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.rig.cluster import Cluster
from tests.cluster.rig.toolbox import KWOK, program

STAGES = Path(__file__).with_name("kwok.yaml")
PODS_PER_NODE = 110
KEY = "aihub.test/kwok"
"""Label and taint of these nodes. Its value is the test's own, so that two tests do not meet."""

_LEASE_SECONDS = 20
"""Shorter than the time after which the rig's node controller gives a node up."""


@dataclass(frozen=True, slots=True)
class FakeNodes:
    """Nodes for pods with this selector and toleration only: they are ready after a second and execute nothing."""

    mark: str
    names: tuple[str, ...]

    @property
    def selector(self) -> dict[str, str]:
        return {KEY: self.mark}

    @property
    def toleration(self) -> dict[str, str]:
        return {"key": KEY, "operator": "Equal", "value": self.mark, "effect": "NoSchedule"}


@contextmanager
def fake_nodes(cluster: Cluster, pods: int, folder: Path) -> Iterator[FakeNodes]:
    """Nodes with room for so many pods, and the kwok that plays them; all gone afterwards."""
    mark = secrets.token_hex(4)
    nodes = FakeNodes(mark, tuple(f"kwok-{mark}-{index}" for index in range(-(-pods // PODS_PER_NODE))))
    command = [
        *("setpriv", "--pdeathsig", "KILL", program(KWOK)),
        f"--config={STAGES}",
        f"--kubeconfig={cluster.kubeconfig}",
        f"--manage-nodes-with-label-selector={KEY}={mark}",
        f"--node-lease-duration-seconds={_LEASE_SECONDS}",
        "--cidr=10.99.0.1/16",
        "--v=WARN",
    ]
    with (folder / "kwok.log").open("wb") as log:
        kwok = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        try:
            cluster.apply(*(_node(name, nodes) for name in nodes.names))
            cluster.kubectl("wait", "--for=condition=Ready", "--timeout=60s", *(f"node/{name}" for name in nodes.names))
            yield nodes
        finally:
            cluster.kubectl("delete", "node", "--ignore-not-found", *nodes.names)
            kwok.kill()
            kwok.wait()


def _node(name: str, nodes: FakeNodes) -> Mapping[str, Any]:
    room = {"cpu": "64", "memory": "256Gi", "pods": str(PODS_PER_NODE)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {**nodes.selector, "kubernetes.io/hostname": name, "type": "kwok"}},
        "spec": {"taints": [{"key": KEY, "value": nodes.mark, "effect": "NoSchedule"}]},
        "status": {"capacity": room, "allocatable": room},
    }
