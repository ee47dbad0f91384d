"""A hub that runs on this machine and starts its servers on the cluster: there in seconds, with any policy."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml
from bs4 import BeautifulSoup

from aihub.marks import Identity
from aihub.node import cache_folder, ensure_proxy, find_node
from tests.cluster.release import PEOPLE, Hub
from tests.cluster.rig.archives import write_archive
from tests.cluster.rig.cluster import Cluster
from tests.cluster.rig.registry import BUSYBOX, push_archive
from tests.local.people import Someone, until
from tests.local.rig import AIHUB, ROOT, free_port

MORE = tuple(f"student{number}" for number in range(20))
"""Students for tests in which many start at once."""

SERVE = "trap exit TERM; httpd -p 8888; while [ ! -e /tmp/hungry ]; do sleep 0.2; done; exec tail /dev/zero"
"""A user server of busybox. When there is a file `/tmp/hungry` it asks for all memory there is, for good."""


def stub(image: str, **start: Any) -> dict[str, Any]:
    """An image stream whose one tag 1 runs a stub user server of busybox."""
    return {"tags": {"1": {"image": image}}, "start": {"command": ["sh", "-c", SERVE], **start}}


def size(memory: str = "128Mi", **more: Any) -> dict[str, Any]:
    """A small profile."""
    cpu = {"request": "20m", "limit": 1}
    return {"cpu": cpu, "memory": {"request": "32Mi", "limit": memory}, **more}


GPU = {"accelerator": {"resource": "nvidia.com/gpu", "count": 1}}


def project(offer: list[str], profiles: list[str], **more: Any) -> dict[str, Any]:
    """A course of everybody in `PEOPLE` that offers these."""
    return {
        "members": {"groups": ["/courses/ml101/students"]},
        "instructors": {"groups": ["/courses/ml101/staff"]},
        "images": {"offer": offer, "default": f"{offer[0]}:1"},
        "profiles": {"offer": profiles, "default": profiles[0]},
        "contact": "ml101-help@example.org",
        **more,
    }


def push_fresh(registry: str, through: str, size: int) -> str:
    """Push an image of busybox with `size` bytes more, which no node has; its reference, to be got `through`."""
    name = f"{BUSYBOX}-fresh:{secrets.token_hex(6)}"
    busybox = Path(shutil.which("busybox") or "busybox")
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    with tempfile.TemporaryDirectory() as folder:
        program, archive = Path(folder, "busybox"), Path(folder, "busybox.tar")
        program.write_bytes(busybox.read_bytes() + os.urandom(size))
        write_archive(archive, f"{registry}/{name}", program, [each for each in applets if each != "busybox"])
        push_archive(archive, f"{registry}/{name}")
    return f"{through}/{name}"


def text_of(page: str) -> str:
    """What the main part of a page says, in one line."""
    main = BeautifulSoup(page, "html.parser").find("main")
    assert main is not None
    return " ".join(main.get_text(" ", strip=True).split())


def events(someone: Someone) -> Iterator[dict[str, Any]]:
    """What the stream of progress events says of the start of the person's default server, until it ends."""
    with someone.pages.stream("GET", f"/hub/api/users/{someone.name}/server/progress", timeout=120) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream", answer.read()
        for line in answer.iter_lines():
            if line.startswith("data:"):
                yield json.loads(line.removeprefix("data:"))


def reaches(someone: Someone, stage: str) -> None:
    """Wait until the start is in this stage."""
    seen = []
    for event in events(someone):
        seen.append(event.get("stage"))
        if seen[-1] == stage:
            return
    raise AssertionError(f"{stage} did not come: {seen}")


class HostHub(Hub):
    """A hub of this checkout as a process of this machine, with a proxy of its own.

    It needs a cluster whose pods this machine reaches: the node that the tests make.
    """

    def __init__(self, cluster: Cluster, folder: Path, users: str, **settings: Any) -> None:
        """`users` is a namespace that is there; `settings` go to the hub as the chart's would."""
        self.cluster, self.folder, self.users = cluster, folder, users
        self.port = free_port()
        self.passwords = {"userPassword": secrets.token_hex(8), "adminPassword": secrets.token_hex(32)}
        self.clients: list[httpx.Client] = []
        self.log = folder / "hub.log"
        self.settings = {
            "instance": self.identity.instance,
            "hubUrl": f"http://127.0.0.1:{self.port + 1}",
            "proxyApiUrl": f"http://127.0.0.1:{self.port + 2}",
            "release": {"name": "host", "namespace": users},
            "userNamespace": users,
            "hub": {"config": self._traits()},
            "cull": {"enabled": False},
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def _traits(self) -> dict[str, Any]:
        cache = cache_folder(os.environ, ROOT / ".aihub")
        return {
            "JupyterHub": {
                "bind_url": self.url,
                "hub_bind_url": f"http://127.0.0.1:{self.port + 1}",
                "db_url": f"sqlite:///{self.folder / 'jupyterhub.sqlite'}",
                "cookie_secret_file": str(self.folder / "cookie_secret"),
                "cleanup_proxy": True,
            },
            "ConfigurableHTTPProxy": {
                "should_start": True,
                "command": list(ensure_proxy(find_node(), cache, print)),
                "pid_file": str(self.folder / "proxy.pid"),
            },
            "AIHub": {"database_url": f"sqlite:///{self.folder / 'aihub.sqlite'}", "sweep_interval": 1.0},
        }

    def start(self, policy: Mapping[str, Any]) -> None:
        """Start it and wait until it answers."""
        whole = {
            "home": {"scope": "project", "size": "1Gi"},
            "signIn": {
                "method": "sharedPassword",
                "people": {**PEOPLE, **dict.fromkeys(MORE, PEOPLE["ada"])},
                "admins": {"users": ["root"]},
            },
            **policy,
        }
        for name, document in (("settings.yaml", self.settings), ("policy.yaml", whole)):
            (self.folder / name).write_text(yaml.safe_dump(document), encoding="utf-8")
        environ = {
            **os.environ,
            "KUBECONFIG": str(self.cluster.kubeconfig),
            "AIHUB_USER_PASSWORD": self.passwords["userPassword"],
            "AIHUB_ADMIN_PASSWORD": self.passwords["adminPassword"],
        }
        files = ["--settings", "settings.yaml", "--policy", "policy.yaml", "--config", "config.d"]
        (self.folder / "config.d").mkdir(exist_ok=True)
        environ["PYTHONPATH"] = str(ROOT)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*AIHUB, "hub", *files], cwd=self.folder, env=environ, stdout=log, stderr=log, start_new_session=True
            )
        until(self._up, f"the hub answers; see {self.log}", within=60)

    def _up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.said()
        return self.answers()

    def stop(self) -> None:
        """Stop the hub and its proxy; servers run on."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(30)
        for client in self.clients:
            client.close()

    @property
    def identity(self) -> Identity:
        """What its objects are marked with."""
        return Identity(f"{self.users}/host", "host")

    def said(self) -> str:
        """The end of the hub's log, without the requests that went well."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join([line for line in lines if " ClusterHub log:192] 20" not in line][-60:])


@contextmanager
def hosted(cluster: Cluster, folder: Path, policy: Mapping[str, Any], **settings: Any) -> Iterator[HostHub]:
    """A hub with `policy` and a namespace of its own, all gone afterwards."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    with cluster.namespace("host", labels) as users:
        hub = HostHub(cluster, folder, users, **settings)
        try:
            hub.start(policy)
            yield hub
        finally:
            hub.stop()
