"""The first process of a node's own process and mount namespaces: starts the components and ends when one does.

Called by the keeper as `python -m tests.cluster.rig.inside FOLDER`. When this process ends, the kernel ends every
process of the node, containers included, and releases every mount.
"""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from tests.cluster.rig import components
from tests.cluster.rig.archives import write_archive
from tests.cluster.rig.components import Component
from tests.cluster.rig.layout import API, Layout
from tests.cluster.rig.manifests import PAUSE_IMAGE
from tests.cluster.rig.toolbox import KUBERNETES, PAUSE

ON_DISK = ("/var/lib/kubelet", "/var/log/pods")
"""Folders with fixed names that the node may fill: they become folders of its own."""

IN_MEMORY = ("/run/containerd", "/run/netns", "/var/lib/cni", "/var/log/containers")
"""Folders with fixed names that hold sockets, links and mounts."""


class Ended(Exception):
    """The node cannot go on."""


def main(root: Path) -> None:
    layout = Layout(root)
    signal.signal(signal.SIGTERM, _end)
    _mount(layout)
    running: dict[str, subprocess.Popen[bytes]] = {}

    def start(component: Component) -> None:
        running[component.name] = _start(component, layout)

    for component in (components.etcd, components.apiserver, components.containerd, components.registry):
        start(component(layout))
    _until("the container runtime", 30, layout.containerd.exists)
    _import_pause(layout)
    start(components.kubelet(layout))
    _until("the API server", 60, lambda: _answers(layout))
    for component in (components.controllers, components.scheduler, components.proxy, components.coredns):
        start(component(layout))
    start(Component("provisioner", (sys.executable, "-m", "tests.cluster.rig.provisioner", str(layout.root))))
    kubectl = [str(KUBERNETES.program("kubectl")), f"--kubeconfig={layout.kubeconfig}"]
    subprocess.run([*kubectl, "apply", "-f", str(layout.etc / "objects.yaml")], check=True)
    _reap(running)


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


def _mount(layout: Layout) -> None:
    for target in ON_DISK:
        own = layout.data / Path(target).name
        own.mkdir(parents=True)
        subprocess.run(["mount", "--bind", str(own), target], check=True)
        subprocess.run(["mount", "--make-shared", target], check=True)
    for target in IN_MEMORY:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", target], check=True)


def _start(component: Component, layout: Layout) -> subprocess.Popen[bytes]:
    with (layout.logs / f"{component.name}.log").open("ab") as log:
        return subprocess.Popen(
            component.command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=layout.root
        )


def _until(what: str, seconds: float, condition: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise Ended(f"{what} did not come up within {seconds:.0f} s")
        time.sleep(0.05)


def _import_pause(layout: Layout) -> None:
    archive = layout.data / "pause.tar"
    write_archive(archive, PAUSE_IMAGE, PAUSE.program())
    command = ["ctr", f"--address={layout.containerd}", "--namespace=k8s.io", "images", "import", str(archive)]
    end = time.monotonic() + 20
    while (answer := subprocess.run(command, check=False, capture_output=True, text=True)).returncode != 0:
        if time.monotonic() > end:
            raise Ended(f"the container runtime takes no image: {answer.stderr}")
        time.sleep(0.1)


def _answers(layout: Layout) -> bool:
    context = ssl.create_default_context(cafile=str(layout.etc / "ca.crt"))
    try:
        with urllib.request.urlopen(f"{API}/readyz", context=context, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _reap(running: dict[str, subprocess.Popen[bytes]]) -> None:
    """Wait for every process that ends, orphans of containers too, until a component ends."""
    while True:
        for name, process in running.items():
            if (code := process.poll()) is not None:
                raise Ended(f"{name} ended with {code}; see its log")
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        _reap_orphans({process.pid for process in running.values()})


def _reap_orphans(components: set[int]) -> None:
    """Collect every ended process that is not a component."""
    while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT | os.WNOHANG)) is not None:
        if ended.si_pid in components:
            return
        os.waitpid(ended.si_pid, 0)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except Ended as ended:
        sys.exit(f"The node ended: {ended}")
