"""The configuration files of the components, as values."""

from __future__ import annotations

import base64
import json
import secrets
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.rig.certs import write_certificates
from tests.cluster.rig.layout import API, API_SERVICE, DOMAIN, GATEWAY, NODE, PODS, Layout
from tests.cluster.rig.network import BRIDGE

PAUSE_IMAGE = "aihub.test/pause:1"
PROVISIONER = "aihub.test/folders"

USERS = {
    "admin": ("admin", "system:masters"),
    "kubelet": (f"system:node:{NODE}", "system:nodes"),
    "controllers": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "proxy": ("system:kube-proxy", ""),
}
"""Who calls the API server: name and group by the name of their kubeconfig."""


def write_all(layout: Layout) -> None:
    """Write what the components read into the node's folder."""
    etc = layout.etc
    etc.mkdir(mode=0o700)
    (etc / "cni").mkdir()
    service = "kubernetes.default.svc"
    names = [NODE, "kubernetes", "kubernetes.default", service, f"{service}.{DOMAIN}"]
    write_certificates(etc, names, [GATEWAY, API_SERVICE])
    tokens = {user: secrets.token_hex(16) for user in USERS}
    rows = [f'{token},{USERS[user][0]},{user},"{USERS[user][1]}"\n' for user, token in tokens.items()]
    (etc / "tokens.csv").write_text("".join(rows))
    for user, token in tokens.items():
        path = layout.kubeconfig if user == "admin" else etc / f"{user}.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(kubeconfig((etc / "ca.crt").read_bytes(), token)))
    (etc / "kubelet.yaml").write_text(yaml.safe_dump(kubelet(layout)))
    (etc / "containerd.toml").write_text(containerd(layout))
    (etc / "cni" / "10-aihub.conflist").write_text(json.dumps(cni(layout.data / "addresses"), indent=1))
    (etc / "Corefile").write_text(corefile(layout.kubeconfig))
    (etc / "resolv.conf").write_text(f"nameserver {GATEWAY}\n")
    (etc / "registry.yaml").write_text(yaml.safe_dump(registry(layout.root.parent / "registry")))
    (etc / "objects.yaml").write_text(yaml.safe_dump_all(objects()))


def kubeconfig(authority: bytes, token: str) -> dict[str, Any]:
    """How to call the API server with the token."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "aihub",
                "cluster": {"server": API, "certificate-authority-data": base64.b64encode(authority).decode()},
            }
        ],
        "users": [{"name": "aihub", "user": {"token": token}}],
        "contexts": [{"name": "aihub", "context": {"cluster": "aihub", "user": "aihub"}}],
        "current-context": "aihub",
    }


def kubelet(layout: Layout) -> dict[str, Any]:
    """The kubelet's configuration."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": GATEWAY,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(layout.etc / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{layout.cgroup}",
        "clusterDNS": [GATEWAY],
        "clusterDomain": DOMAIN,
        "containerRuntimeEndpoint": f"unix://{layout.containerd}",
        # A laptop's disk is often fuller than a server's may be.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "failSwapOn": False,
        "maxPods": 250,
        "nodeStatusUpdateFrequency": "5s",
        "resolvConf": str(layout.etc / "resolv.conf"),
        "serializeImagePulls": False,
        # Half of the default: changed ConfigMaps reach their pods within this time and a little.
        "syncFrequency": "30s",
    }


def containerd(layout: Layout) -> str:
    """The container runtime's configuration."""
    return f"""\
version = 2
root = "{layout.data / "containerd"}"
state = "/run/containerd/aihub"

[grpc]
address = "{layout.containerd}"

[plugins."io.containerd.internal.v1.opt"]
path = "{layout.data / "opt"}"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
# Without CAP_SYS_RESOURCE runc cannot lower a score and dies of it.
restrict_oom_score_adj = true
tolerate_missing_hugetlb_controller = true
stream_server_address = "127.0.0.1"

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{layout.etc / "cni"}"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"""


def cni(addresses: Path) -> dict[str, Any]:
    """The network of pods: one bridge, addresses handed out from a folder."""
    return {
        "cniVersion": "0.4.0",
        "name": "aihub",
        "plugins": [
            {
                "type": "bridge",
                "bridge": BRIDGE,
                "isGateway": True,
                "ipMasq": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(addresses),
                    "ranges": [[{"subnet": PODS}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def corefile(kubeconfig: Path) -> str:
    """The name server's configuration."""
    return f"""\
.:53 {{
    bind {GATEWAY}
    errors
    kubernetes {DOMAIN} in-addr.arpa {{
        kubeconfig {kubeconfig}
        ttl 5
    }}
    forward . /etc/resolv.conf
    cache 5
}}
"""


def registry(folder: Path) -> dict[str, Any]:
    """The registry's configuration: everything in one folder, deletions allowed."""
    return {
        "version": "0.1",
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(folder)}, "delete": {"enabled": True}},
        "http": {"addr": "127.0.0.1:5000"},
    }


def objects() -> list[dict[str, Any]]:
    """What is in the cluster from the beginning: two storage classes, of which one lets claims grow."""
    return [_storage_class("standard", default=True, grows=True), _storage_class("rigid", default=False, grows=False)]


def _storage_class(name: str, *, default: bool, grows: bool) -> dict[str, Any]:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": name,
            "annotations": {"storageclass.kubernetes.io/is-default-class": str(default).lower()},
        },
        "provisioner": PROVISIONER,
        "allowVolumeExpansion": grows,
    }
