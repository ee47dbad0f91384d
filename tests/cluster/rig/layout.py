"""Where the node keeps its things, and the addresses it answers at."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.rig.toolbox import CACHE

NODE = "aihub"
"""The name of the node."""

GATEWAY = "10.88.0.1"
"""The machine as pods see it: address of the bridge, of the API server, the kubelet and the name server."""

PODS = "10.88.0.0/16"
SERVICES = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
API = f"https://{GATEWAY}:6443"
ETCD = "http://127.0.0.1:12379"
ETCD_PEERS = "http://127.0.0.1:12380"
REGISTRY = "localhost:5000"
"""Where the kubelet and whoever pushes find the registry; the container runtime speaks plain HTTP to this name."""

DOMAIN = "cluster.local"
MARK = "AIHUB_TEST_NODE"
"""Environment variable by which the processes of a node are known; its value is the node's folder."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The folder of one node. All of it goes when the node goes, except the lock and the logs."""

    root: Path

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.root / "kubeconfig"

    @property
    def etc(self) -> Path:
        """Configuration files, certificates and tokens of the components."""
        return self.root / "etc"

    @property
    def data(self) -> Path:
        """etcd, container images, volumes."""
        return self.root / "data"

    @property
    def volumes(self) -> Path:
        """One folder per claim."""
        return self.data / "volumes"

    @property
    def logs(self) -> Path:
        """One file per component, kept until the next start."""
        return self.root / "logs"

    @property
    def ready(self) -> Path:
        """There as long as the node may be used."""
        return self.root / "ready"

    @property
    def record(self) -> Path:
        """What has to be undone."""
        return self.root / "record.json"

    @property
    def lock(self) -> Path:
        """Held by the node for as long as it lives."""
        return self.root / "lock"

    @property
    def containerd(self) -> Path:
        """The socket of the container runtime."""
        return self.root / "containerd.sock"

    @property
    def cgroup(self) -> str:
        """The name of the control group that holds all pods of this node."""
        return f"aihub-{hashlib.sha256(bytes(self.root)).hexdigest()[:8]}"


def default_layout() -> Layout:
    """The node of this person on this machine; `AIHUB_TEST_CLUSTER` names another folder."""
    return Layout(Path(os.environ.get("AIHUB_TEST_CLUSTER") or CACHE / "cluster"))
