"""A cluster made by kind, with a registry beside it, for machines that have Docker."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.cluster.rig.toolbox import CACHE

NAME = "aihub-test"
REGISTRY = f"{NAME}-registry"
HOSTS = f"""[host."http://{REGISTRY}:5000"]\n"""
CONFIG = """\
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
containerdConfigPatches:
  - |-
    [plugins."io.containerd.grpc.v1.cri".registry]
      config_path = "/etc/containerd/certs.d"
"""


def is_up() -> bool:
    """Whether the cluster is there."""
    return NAME in _run("kind", "get", "clusters").split()


def up() -> Path:
    """Make the cluster and its registry if they are not there; the path of the administrator's kubeconfig."""
    kubeconfig = CACHE / "kind.kubeconfig"
    if is_up():
        _run("kind", "export", "kubeconfig", f"--name={NAME}", f"--kubeconfig={kubeconfig}")
        return kubeconfig
    _run("docker", "run", "--detach", f"--name={REGISTRY}", "--publish=127.0.0.1:5000:5000", "registry:2")
    _run("kind", "create", "cluster", f"--name={NAME}", f"--kubeconfig={kubeconfig}", "--config=-", text=CONFIG)
    _run("docker", "network", "connect", "kind", REGISTRY)
    folder = "/etc/containerd/certs.d/localhost:5000"
    write = f"mkdir -p {folder} && cat >{folder}/hosts.toml"
    for node in _run("kind", "get", "nodes", f"--name={NAME}").split():
        _run("docker", "exec", "--interactive", node, "sh", "-c", write, text=HOSTS)
    return kubeconfig


def down() -> None:
    """Remove the cluster and the registry."""
    _run("kind", "delete", "cluster", f"--name={NAME}")
    _run("docker", "rm", "--force", "--volumes", REGISTRY)


def _run(*command: str, text: str | None = None) -> str:
    return subprocess.run(command, input=text, check=True, stdout=subprocess.PIPE, text=True).stdout
