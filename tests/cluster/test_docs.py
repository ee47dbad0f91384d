"""The commands of docs/kubernetes.md as they stand there, on the cluster."""

from __future__ import annotations

import os
import re
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.cluster.rig.cluster import Cluster
from tests.cluster.rig.toolbox import HELM, KUBERNETES, program
from tests.local.people import until
from tests.test_docs import DOCS, ROOT, blocks, section, shown_files

PAGE = DOCS / "kubernetes.md"
REGISTRY = "registry.example.org/aihub"


@dataclass(frozen=True, slots=True)
class Desk:
    """A reader's folder and shell. The pages' namespace `aihub` is one of the reader's own, and so are the images."""

    folder: Path
    cluster: Cluster
    namespace: str
    images: dict[str, str]
    port: int

    def own(self, text: str) -> str:
        """What a page says, for this reader."""
        text = re.sub(r"\bnamespace aihub\b", f"namespace {self.namespace}", text)
        text = text.replace("8080:", f"{self.port}:")
        for name, pinned in self.images.items():
            repository, _, digest = pinned.partition("@")
            text = text.replace(f"{{name: {REGISTRY}/{name}}}", f"{{name: {repository}, digest: {digest}}}")
            text = re.sub(rf"{REGISTRY}/{name}:[\w.]+", pinned, text)
        return text

    def run(self, commands: str, within: float = 300) -> str:
        """What the commands print, the first that fails ends them."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.own(commands)],
            cwd=self.folder,
            env=self._environ(),
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout}{done.stderr}"
        return done.stdout

    @contextmanager
    def meanwhile(self, command: str) -> Iterator[None]:
        """Let a command run that ends by Ctrl-C."""
        running = subprocess.Popen(
            ["bash", "-c", f"exec {self.own(command)}"], cwd=self.folder, env=self._environ(), stdout=subprocess.DEVNULL
        )
        try:
            yield
        finally:
            running.terminate()
            running.wait(timeout=10)

    def _environ(self) -> dict[str, str]:
        path = os.pathsep.join([str(self.folder / "bin"), os.environ["PATH"]])
        return {**os.environ, "PATH": path, "KUBECONFIG": str(self.cluster.kubeconfig), "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def desk(cluster: Cluster, images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("desk")
    (folder / "helm").symlink_to(ROOT / "helm")
    (folder / "bin").mkdir()
    for name, tool in (("kubectl", KUBERNETES), ("helm", HELM)):
        (folder / "bin" / name).symlink_to(program(tool, name))
    aihub = folder / "bin" / "aihub"
    aihub.write_text(f'#!/bin/sh\nexec {sys.executable} -m aihub.cli "$@"\n')
    aihub.chmod(0o755)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = Desk(folder, cluster, f"docs-{secrets.token_hex(2)}", images, port)
    for name, text in shown_files(PAGE).items():
        (folder / name).write_text(own.own(text), encoding="utf-8")
    yield own
    cluster.kubectl(
        "delete", "namespace", f"{own.namespace}-users", own.namespace, "--ignore-not-found", "--wait=false"
    )


def test_the_installation_is_done_by_its_commands(desk: Desk) -> None:
    secret, install, forward, passwords, upgrade, check = (
        block for block in blocks(section(PAGE, "Install"), "sh") if not block.startswith("make ")
    )
    desk.run(secret)
    notes = desk.run(install)
    with desk.meanwhile(forward):
        until(lambda: answers(desk.port), "the sign-in page comes")
    admin, everybody = (desk.run(line) for line in passwords.splitlines())
    assert len(admin) >= 32
    assert 8 <= len(everybody) < 32
    assert "There is no project yet" in notes
    assert "There is no project yet" not in desk.run(upgrade)
    # Not to wait for the kubelet: it looks at the ConfigMaps of a pod that changes.
    desk.run("kubectl --namespace aihub annotate pod --selector app.kubernetes.io/component=hub example.org/now=1")
    shown = [line.split(":")[0] for line in section(PAGE, "Install").splitlines() if line.startswith("ok ")]
    printed = [line.split(":")[0] for line in desk.run(check, within=600).splitlines() if line.startswith("ok ")]
    assert printed == shown


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/hub/login", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
