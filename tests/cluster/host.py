"""A hub on the machine of the tests, at work in the cluster: it can be stopped, killed, measured and wrapped in faults.

It has the rights of the chart's hub, and no more, through a service account of its own; namespaces and settings are
rendered by the chart too. Proxy and hub are processes of their own, as in the cluster.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from aihub import node
from tests.chart_rig import named, objects, render
from tests.cluster.crowd import Crowd, Outcome, quantile
from tests.cluster.rig.cluster import Cluster
from tests.local.rig import ROOT, free_port

RIGHTS = {"Namespace", "ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}
"""Kinds of what a hub needs in the cluster to work there."""

CONFIG = """
from kubernetes_asyncio.client.rest import RESTClientObject

c = get_config()
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{hub_port}"
c.JupyterHub.hub_connect_url = "http://127.0.0.1:{hub_port}"
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{api_port}"
c.ConfigurableHTTPProxy.should_start = False
c.JupyterHub.cleanup_servers = False
c.JupyterHub.services = [{{"name": "tests", "api_token": {token!r}, "admin": True}}]

asked = open({asked!r}, "a", buffering=1)
request = RESTClientObject.request


async def recorded(self, method, url, *args, **kwargs):
    asked.write(f"{{method}} {{url}} {{kwargs.get('query_params') or ''}}\\n")
    return await request(self, method, url, *args, **kwargs)


RESTClientObject.request = recorded
"""


@dataclass(frozen=True, slots=True)
class Home:
    """Where hubs of one test work: rights, namespaces and the chart's settings."""

    cluster: Cluster
    folder: Path
    namespace: str
    settings: dict[str, Any]

    @property
    def users(self) -> str:
        """The namespace of the user servers."""
        return str(self.settings["userNamespace"])

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    def pods(self) -> list[dict[str, Any]]:
        """The pods of user servers."""
        found: list[dict[str, Any]] = self.cluster.get("pods", "--namespace", self.users)["items"]
        return found


@contextmanager
def home(cluster: Cluster, folder: Path, prefix: str) -> Iterator[Home]:
    """Namespaces and a service account with the rights of the chart's hub; all gone afterwards."""
    namespace = f"{prefix}-{secrets.token_hex(3)}"
    rendered = render(values={"rbac": {"readNodes": True}, "cull": {"enabled": False}}, namespace=namespace)
    settings = yaml.safe_load(named(rendered, "ConfigMap", "aihub-settings")["data"]["settings.yaml"])
    rights = [each for each in objects(rendered) if each["kind"] in RIGHTS]
    for each in rights:
        if each["kind"] == "ServiceAccount":
            each["metadata"]["namespace"] = namespace
    text = yaml.safe_dump_all(rights)
    cluster.kubectl("create", "namespace", namespace)
    try:
        cluster.kubectl("apply", "--filename=-", text=text)
        own = Home(cluster, folder, namespace, settings)
        _write_kubeconfig(own, "aihub-hub")
        yield own
    finally:
        cluster.kubectl("delete", "--ignore-not-found", "--wait=false", "--filename=-", text=text)
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")


def _write_kubeconfig(own: Home, account: str) -> None:
    token = own.cluster.kubectl("create", "token", account, "--namespace", own.namespace, "--duration=2h").strip()
    config = json.loads(own.cluster.kubectl("config", "view", "--raw", "--minify", "--output=json"))
    config["users"] = [{"name": config["users"][0]["name"], "user": {"token": token}}]
    own.kubeconfig.touch(mode=0o600)
    own.kubeconfig.write_text(json.dumps(config))


@dataclass(frozen=True, slots=True)
class Spent:
    """What a hub process has taken: CPU seconds since it began, and bytes of memory now."""

    cpu: float
    rss: int


@dataclass
class HostHub:
    """A hub as a process of this machine, with a proxy that outlives it."""

    home: Home
    folder: Path
    command: tuple[str, ...]
    config: str = ""
    port: int = field(default_factory=free_port)
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    environ: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    proxy: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.environ = {
            **os.environ,
            "KUBECONFIG": str(self.home.kubeconfig),
            "CONFIGPROXY_AUTH_TOKEN": secrets.token_hex(16),
            "JPY_COOKIE_SECRET": secrets.token_hex(32),
            **self.environ,
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def script(self) -> Path:
        """The configuration file."""
        return self.folder / "host.py"

    @property
    def _asked(self) -> Path:
        return self.folder / "requests.log"

    # --- from start to end -------------------------------------------------------------------------------------------

    def start(self, timeout: float = 120) -> float:
        """Start the hub, and the proxy if there is none; the seconds until the hub answers."""
        told = {"port": self.port, "hub_port": self.port + 1, "api_port": self.port + 2, "token": self.token}
        text = CONFIG.format(**told, asked=str(self._asked))
        self.script.write_text(text + self.config)
        if self.proxy is None:
            self.proxy = self._run("proxy.log", *self._proxy_command(), "--log-level=warn")
        begin = time.monotonic()
        self.process = self._run("hub.log", *self.command)
        while not self.answers():
            assert self.process.poll() is None, f"the hub ended with {self.process.returncode}:\n{self.said()}"
            assert time.monotonic() - begin < timeout, f"the hub does not answer:\n{self.said()}"
            time.sleep(0.1)
        return time.monotonic() - begin

    def _proxy_command(self) -> tuple[str, ...]:
        cache = node.cache_folder(os.environ, fallback=self.folder / "cache")
        addresses = (f"--port={self.port}", f"--api-port={self.port + 2}", "--ip=127.0.0.1", "--api-ip=127.0.0.1")
        hub = f"http://127.0.0.1:{self.port + 1}"
        return (
            *node.ensure_proxy(node.find_node(), cache, print),
            *addresses,
            f"--default-target={hub}",
            f"--error-target={hub}/hub/error",
        )

    def _run(self, log: str, *command: str) -> subprocess.Popen[bytes]:
        with (self.folder / log).open("ab") as output:
            # A test run that is killed takes it along.
            return subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command],
                cwd=self.folder,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def answers(self) -> bool:
        """Whether the hub itself answers."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.port + 1}/hub/health", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        """End the hub as a crash does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End the hub as Kubernetes does; the user servers stay."""
        self._end(signal.SIGTERM)

    def close(self) -> None:
        """End hub and proxy."""
        self._end(signal.SIGTERM)
        if self.proxy is not None:
            self.proxy.kill()
            self.proxy.wait()
            self.proxy = None

    def _end(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(60)
            self.process = None

    def said(self) -> str:
        """The end of the hub's log."""
        path = self.folder / "hub.log"
        return "\n".join(path.read_text().splitlines()[-80:]) if path.exists() else ""

    # --- people ------------------------------------------------------------------------------------------------------

    def crowd(self, people: list[str], options: Mapping[str, Any]) -> Crowd:
        """These people, each with a token."""
        return Crowd(self.url, {person: self.token_of(person) for person in people}, dict(options))

    def token_of(self, person: str, *, admin: bool = False) -> str:
        """A new token of this person, who need not have signed in before."""
        headers, user = {"Authorization": f"token {self.token}"}, f"/hub/api/users/{person}"
        with httpx.Client(base_url=self.url, headers=headers, timeout=60) as client:
            made = client.post(user, json={"admin": admin})
            assert made.status_code in {201, 409}, made.text
            return str(client.post(f"{user}/tokens", json={}).raise_for_status().json()["token"])

    # --- measures ----------------------------------------------------------------------------------------------------

    def spent(self) -> Spent:
        """What the process of the hub has taken so far."""
        assert self.process is not None, "the hub does not run"
        process = psutil.Process(self.process.pid)
        times = process.cpu_times()
        return Spent(times.user + times.system, process.memory_info().rss)

    def measured(self, act: Callable[[], list[Outcome]]) -> tuple[list[Outcome], dict[str, Any]]:
        """What became of everybody's wish, and what it took: seconds, requests to the API server, CPU, memory."""
        asked, before, begin = self.asked(), self.spent(), time.monotonic()
        outcomes = act()
        seconds, after, more = time.monotonic() - begin, self.spent(), self.asked() - asked
        return outcomes, {
            "people": len(outcomes),
            "seconds": round(seconds, 1),
            "p50": round(quantile(outcomes, 0.5), 1),
            "p95": round(quantile(outcomes, 0.95), 1),
            "retries": sum(each.retries for each in outcomes),
            "requests": dict(more.most_common()),
            "requests each": round(more.total() / len(outcomes), 2),
            "hub CPU ms each": round(1000 * (after.cpu - before.cpu) / len(outcomes)),
            "hub RSS MB": round(after.rss / 1e6),
        }

    def asked(self) -> Counter[str]:
        """How often each verb was sent to the API server for each kind of object, as "create pods"."""
        return Counter(_kind(line) for line in self._asked.read_text().splitlines())


_VERBS = {"POST": "create", "DELETE": "delete", "PATCH": "patch", "PUT": "update"}


def _kind(line: str) -> str:
    """Verb and resource, as Kubernetes calls them, of "METHOD URL QUERY"."""
    method, url, query = line.split(" ", 2)
    parts = url.partition("?")[0].split("/")
    rest = parts[parts.index("namespaces") + 2 :] if "namespaces" in parts else parts[parts.index("v1") + 1 :]
    if method in _VERBS:
        return f"{_VERBS[method]} {rest[0]}"
    if len(rest) > 1:
        return f"get {rest[0]}"
    return f"{'watch' if 'watch' in query or 'watch=' in url else 'list'} {rest[0]}"


STOCK = """
c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.concurrent_spawn_limit = 0
c.Spawner.start_timeout = 600
c.KubeSpawner.namespace = {users!r}
c.KubeSpawner.image = "registry.example.org/lab:1"
c.KubeSpawner.cpu_guarantee, c.KubeSpawner.cpu_limit = 0.1, 1
c.KubeSpawner.mem_guarantee, c.KubeSpawner.mem_limit = "256M", "1G"
c.KubeSpawner.storage_pvc_ensure = True
c.KubeSpawner.storage_capacity = "1Gi"
c.KubeSpawner.volumes = [{{"name": "home", "persistentVolumeClaim": {{"claimName": "{{pvc_name}}"}}}}]
c.KubeSpawner.volume_mounts = [{{"name": "home", "mountPath": "/home/jovyan"}}]
c.KubeSpawner.container_security_context = {{
    "allowPrivilegeEscalation": False,
    "capabilities": {{"drop": ["ALL"]}},
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "seccompProfile": {{"type": "RuntimeDefault"}},
}}
"""


def stock_hub(home: Home, folder: Path, config: str) -> HostHub:
    """JupyterHub with KubeSpawner as they come, without a limit of starts; only what the namespace demands is set."""
    folder.mkdir(exist_ok=True)
    command = (sys.executable, "-m", "jupyterhub", "--config", str(folder / "host.py"))
    return HostHub(home, folder, command, config=STOCK.format(users=home.users) + config)


def our_hub(home: Home, folder: Path, policy: Mapping[str, Any], config: str = "", limit: int = 0) -> HostHub:
    """AIHub. At most `limit` starts at once, 0: any number; `config` is Python for its configuration file."""
    folder.mkdir(exist_ok=True)
    settings, rules = folder / "settings.yaml", folder / "policy.yaml"
    told = {**home.settings, "hub": {**home.settings["hub"], "concurrentSpawnLimit": limit}}
    settings.write_text(yaml.safe_dump(told))
    rules.write_text(yaml.safe_dump(dict(policy)))
    files = ("--settings", settings, "--policy", rules, "--config", folder / "host.py")
    return HostHub(
        home,
        folder,
        (sys.executable, "-m", "aihub.cli", "hub", *map(str, files)),
        config=config,
        environ={
            "PYTHONPATH": str(ROOT),
            "AIHUB_USER_PASSWORD": secrets.token_hex(8),
            "AIHUB_ADMIN_PASSWORD": secrets.token_hex(32),
            "AIHUB_HUB_DATABASE_URL": f"sqlite:///{folder / 'jupyterhub.sqlite'}",
            "AIHUB_DATABASE_URL": f"sqlite:///{folder / 'aihub.sqlite'}",
        },
    )
