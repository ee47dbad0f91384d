"""The cluster that the other tests stand on, and that it leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cluster.rig import cgroups, network
from tests.cluster.rig.cluster import GPU, Cluster, source
from tests.cluster.rig.layout import MARK, NODE, Layout
from tests.cluster.rig.manifests import PAUSE_IMAGE
from tests.cluster.rig.node import ROOT, NodeFailed, Record, frozen, read_record
from tests.cluster.rig.toolbox import KUBERNETES, program
from tests.local.rig import heed_signals

SECURE = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def pod(name: str, image: str, script: str, **more: Any) -> dict[str, Any]:
    """A pod that Pod Security *restricted* admits, with labels by which a Service finds it."""
    container = {"name": "main", "image": image, "command": ["sh", "-c", script], "securityContext": SECURE}
    container |= {key: more.pop(key) for key in ("resources", "volumeMounts") if key in more}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "restartPolicy": "Never",
            "enableServiceLinks": False,
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
            **more,
        },
    }


def claim(name: str, mode: str, storage_class: str | None = None) -> dict[str, Any]:
    spec: dict[str, Any] = {"accessModes": [mode], "resources": {"requests": {"storage": "1Gi"}}}
    if storage_class is not None:
        spec["storageClassName"] = storage_class
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def finished(cluster: Cluster, namespace: str, name: str, seconds: float = 60) -> str:
    """What the pod printed, once it succeeded."""

    def succeeded() -> bool:
        phase = cluster.get("pod", name, f"--namespace={namespace}")["status"]["phase"]
        assert phase != "Failed", cluster.kubectl("logs", name, f"--namespace={namespace}")
        return bool(phase == "Succeeded")

    cluster.until(succeeded, seconds)
    return cluster.kubectl("logs", name, f"--namespace={namespace}")


def running(cluster: Cluster, namespace: str, name: str) -> None:
    cluster.kubectl("wait", f"pod/{name}", f"--namespace={namespace}", "--for=condition=Ready", "--timeout=60s")


def test_the_node_is_ready(cluster: Cluster) -> None:
    node = cluster.get("node", cluster.node)
    assert {c["type"]: c["status"] for c in node["status"]["conditions"]}["Ready"] == "True"
    version = json.loads(cluster.kubectl("version", "--output=json"))["serverVersion"]
    assert (int(version["major"]), int(version["minor"].rstrip("+"))) >= (1, 30), version


def test_a_pod_runs_with_limits_as_restricted_pod_security_wants_it(cluster: Cluster, busybox: str) -> None:
    limits = {"limits": {"cpu": "250m", "memory": "128Mi"}}
    with cluster.namespace("restricted", {"pod-security.kubernetes.io/enforce": "restricted"}) as namespace:
        cluster.apply(pod("limited", busybox, "id -u", resources=limits), namespace=namespace)
        assert finished(cluster, namespace, "limited") == "1000\n"
        status = cluster.get("pod", "limited", f"--namespace={namespace}")["status"]
        assert status["qosClass"] == "Guaranteed"


@pytest.mark.parametrize("mode", ["ReadWriteOnce", "ReadWriteMany"])
def test_a_claim_is_bound_and_uid_1000_writes_there(cluster: Cluster, namespace: str, busybox: str, mode: str) -> None:
    mount = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    volumes = {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]}
    write = pod("writes", busybox, "echo kept >/data/file", **mount, **volumes)
    read = pod("reads", busybox, "cat /data/file", **mount, **volumes)
    cluster.apply(claim("data", mode), write, namespace=namespace)
    finished(cluster, namespace, "writes")
    cluster.apply(read, namespace=namespace)
    assert finished(cluster, namespace, "reads") == "kept\n"


def grow(cluster: Cluster, namespace: str, name: str) -> None:
    patch = json.dumps({"spec": {"resources": {"requests": {"storage": "3Gi"}}}})
    cluster.kubectl("patch", "pvc", name, f"--namespace={namespace}", "--patch", patch)


def test_a_claim_grows_if_its_class_lets_it(cluster: Cluster, namespace: str) -> None:
    def size(name: str) -> Any:
        return cluster.get("pvc", name, f"--namespace={namespace}")["status"].get("capacity", {}).get("storage")

    cluster.apply(claim("grows", "ReadWriteOnce"), claim("rigid", "ReadWriteOnce", "rigid"), namespace=namespace)
    cluster.until(lambda: size("grows") == size("rigid") == "1Gi", 20)
    grow(cluster, namespace, "grows")
    cluster.until(lambda: size("grows") == "3Gi", 20)
    with pytest.raises(Exception, match="only dynamically provisioned pvc can be resized"):
        grow(cluster, namespace, "rigid")


def test_a_pod_finds_a_service_by_name_and_reaches_it(cluster: Cluster, namespace: str, busybox: str) -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
    }
    serve = pod("web", busybox, "echo hello >/tmp/index.html; exec httpd -f -p 8080 -h /tmp")
    cluster.apply(service, serve, namespace=namespace)
    running(cluster, namespace, "web")
    ask = "for i in 1 2 3 4 5; do timeout 3 wget -q -O - http://web && exit; sleep 1; done; exit 1"
    cluster.apply(pod("asks", busybox, ask), namespace=namespace)
    assert finished(cluster, namespace, "asks") == "hello\n"


def test_a_pod_that_eats_too_much_is_killed(cluster: Cluster, namespace: str, busybox: str) -> None:
    eater = pod("eats", busybox, "tail /dev/zero", resources={"limits": {"cpu": "500m", "memory": "128Mi"}})
    cluster.apply(eater, namespace=namespace)

    def reason() -> Any:
        (status,) = cluster.get("pod", "eats", f"--namespace={namespace}")["status"]["containerStatuses"]
        return status["state"]["terminated"]["reason"] if "terminated" in status["state"] else None

    assert cluster.until(lambda: reason() if _has_status(cluster, namespace, "eats") else None, 60) == "OOMKilled"


def _has_status(cluster: Cluster, namespace: str, name: str) -> bool:
    return "containerStatuses" in cluster.get("pod", name, f"--namespace={namespace}")["status"]


def test_gpus_that_are_none_are_counted(cluster: Cluster, namespace: str, busybox: str) -> None:
    before = cluster.get("node", cluster.node)["status"]["capacity"].get(GPU, "0")
    used = sum(
        int(container.get("resources", {}).get("limits", {}).get(GPU, 0))
        for item in cluster.get("pods", "--all-namespaces")["items"]
        for container in item["spec"]["containers"]
    )
    try:
        cluster.gpus(used + 1)
        for name in ("first", "second"):
            one = pod(name, busybox, "sleep 600", resources={"limits": {GPU: "1"}})
            cluster.apply(one, namespace=namespace)
            if name == "first":
                running(cluster, namespace, name)
        cluster.until(lambda: f"Insufficient {GPU}" in _scheduling(cluster, namespace, "second"), 20)
    finally:
        cluster.gpus(int(before))


def _scheduling(cluster: Cluster, namespace: str, name: str) -> str:
    conditions = cluster.get("pod", name, f"--namespace={namespace}")["status"].get("conditions", [])
    return " ".join(condition.get("message", "") for condition in conditions)


def test_the_registry_can_be_slow(cluster: Cluster, busybox: str) -> None:
    with cluster.slow_registry(200_000) as slow:
        manifest = json.loads(_fetch(slow.address, f"manifests/{busybox.rpartition(':')[2]}"))
        layer = manifest["layers"][0]
        begin, before = time.monotonic(), slow.served
        data = _fetch(slow.address, f"blobs/{layer['digest']}", limit=400_000)
        taken = time.monotonic() - begin
        assert len(data) == min(400_000, layer["size"])
        assert taken > 0.7 * (slow.served - before - 200_000) / 200_000
        slow.rate = None
        begin = time.monotonic()
        _fetch(slow.address, f"blobs/{layer['digest']}")
        assert time.monotonic() - begin < 2


def _fetch(registry: str, what: str, limit: int = -1) -> bytes:
    accept = "application/vnd.docker.distribution.manifest.v2+json"
    request = urllib.request.Request(f"http://{registry}/v2/aihub/busybox/{what}", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return bytes(answer.read(limit))


# --- a node of its own, in a network namespace of its own, beside the one that the tests use


@dataclass
class Machine:
    """A network namespace that stands for a whole machine, and a place for a node."""

    layout: Layout
    holder: subprocess.Popen[bytes]

    def call(self, *command: str) -> str:
        """What a command answers there."""
        answer = self.popen(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, error = answer.communicate(timeout=200)
        assert answer.returncode == 0, f"{command}: {error.decode()}"
        return str(out.decode())

    def popen(self, *command: str, **more: Any) -> subprocess.Popen[bytes]:
        environ = {**os.environ, "AIHUB_TEST_CLUSTER": str(self.layout.root), "KUBECONFIG": ""}
        within = ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", "--", *command]
        # A gate that runs in the background ignores Ctrl-C, and so would this.
        return subprocess.Popen(within, cwd=ROOT, env=environ, preexec_fn=heed_signals, **more)  # noqa: PLW1509  # it takes no lock

    def rig(self, command: str) -> None:
        self.call(sys.executable, "-m", "tests.cluster.rig", command)

    def kubectl(self, *arguments: str) -> str:
        return self.call(program(KUBERNETES), f"--kubeconfig={self.layout.kubeconfig}", *arguments)

    def record(self) -> Record:
        record = read_record(self.layout)
        assert record is not None
        return record

    def use(self) -> None:
        """Run a pod with a volume, so that there is something to leave behind."""
        container = {
            "name": "main",
            "image": PAUSE_IMAGE,
            "imagePullPolicy": "Never",
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            "ports": [{"containerPort": 8080, "hostPort": 18080}],
        }
        volume = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
        stays = {"metadata": {"name": "stays"}, "spec": {"containers": [container], "volumes": [volume]}}
        for document in (claim("data", "ReadWriteOnce"), {"apiVersion": "v1", "kind": "Pod", **stays}):
            path = self.layout.root / "object.json"
            path.write_text(json.dumps(document))
            self.kubectl("create", f"--filename={path}")
            path.unlink()
        self.kubectl("wait", "pod/stays", "--for=condition=Ready", "--timeout=60s")

    def traces(self) -> dict[str, Any]:
        """What a node could leave behind."""
        rules = [line for f in network.FAMILIES for line in self.call(f"{f}-save").splitlines() if line[:1] in ":-"]
        return {
            "interfaces": self.call("ip", "-oneline", "-brief", "address"),
            "routes": self.call("ip", "route", "show", "table", "all"),
            # An empty table's own chains are no trace: looking at it makes them.
            "rules": sorted(line.split(" [")[0] for line in rules if " ACCEPT" not in line),
            "settings": self.call("sh", "-c", f"cd /proc/sys && grep -s . {' '.join(network.SETTINGS)}"),
            "mounts": [line for line in Path("/proc/mounts").read_text().splitlines() if str(self.layout.root) in line],
            "groups": cgroups.find(self.layout.cgroup),
            "files": sorted(path.name for path in self.layout.root.iterdir()),
            "processes": [p.pid for p in psutil.process_iter(["environ"]) if self._owns(p)],
        }

    def _owns(self, process: psutil.Process) -> bool:
        return (process.info["environ"] or {}).get(MARK) == str(self.layout.root)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
    layout = Layout(tmp_path / "cluster")
    layout.root.mkdir()
    machine = Machine(layout, holder)
    here = Path("/proc/self/ns/net").stat().st_ino
    while Path(f"/proc/{holder.pid}/ns/net").stat().st_ino == here:
        time.sleep(0.01)
    # As on a machine that never forwarded anything; the namespace was born with what this machine does.
    machine.call("sh", "-c", "ip link set lo up && echo 0 >/proc/sys/net/ipv4/ip_forward")
    try:
        yield machine
    finally:
        machine.rig("down")
        holder.kill()
        holder.wait()


def family(record: Record) -> list[psutil.Process]:
    """The keeper and everything below it, containers too."""
    keeper = psutil.Process(record.keeper)
    return [keeper, *keeper.children(recursive=True)]


def assert_ended(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=10)
    left = [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert not left


def kill_keeper(machine: Machine) -> None:
    keeper = psutil.Process(machine.record().keeper)
    keeper.kill()
    keeper.wait(10)
    machine.rig("down")


def interrupt_keeper(machine: Machine) -> None:
    keeper = psutil.Process(machine.record().keeper)
    keeper.send_signal(signal.SIGINT)
    keeper.wait(20)


def take_down(machine: Machine) -> None:
    machine.rig("down")


KEPT = ["lock", "logs"]
"""What stays in a node's folder."""

ENDS = {
    "down": take_down,
    "ctrl-c": interrupt_keeper,
    "killed": kill_keeper,
}


@pytest.mark.parametrize("end", [pytest.param(end, id=name) for name, end in ENDS.items()])
def test_a_node_leaves_nothing_behind(machine: Machine, end: Any) -> None:
    before = machine.traces()
    machine.rig("up")
    machine.use()
    during = machine.traces()
    unchanged = [what for what in during if during[what] == before[what]]
    assert unchanged == ["mounts"], "the namespace keeps its mounts to itself, all else could stay"
    processes = family(machine.record())
    assert len(processes) > 10
    end(machine)
    assert_ended(processes)
    assert machine.traces() == {**before, "files": KEPT}


OWNER = """
import os, sys, time
from tests.cluster.rig import node
from tests.cluster.rig.layout import default_layout
reader, writer = os.pipe()
node.up(default_layout(), owner=reader)
os.close(reader)
print("up", flush=True)
time.sleep(600)
"""


def test_a_node_goes_with_the_run_that_owns_it(machine: Machine) -> None:
    before = machine.traces()
    owner = machine.popen(sys.executable, "-c", OWNER, stdout=subprocess.PIPE)
    assert owner.stdout is not None
    with owner.stdout:
        assert owner.stdout.readline() == b"up\n"
    processes = family(machine.record())
    owner.kill()
    owner.wait()
    assert_ended(processes)
    assert machine.traces() == {**before, "files": KEPT}


def test_a_node_starts_over_what_a_killed_one_left_in_twenty_seconds(machine: Machine) -> None:
    def start_over() -> float:
        psutil.Process(machine.record().keeper).kill()
        begin = time.monotonic()
        machine.rig("up")
        assert not machine.kubectl("get", "pods", "--output=name")
        return time.monotonic() - begin

    machine.rig("up")
    machine.use()
    taken = start_over()
    if taken >= 20:  # something else was busy on this machine
        taken = start_over()
    print(f"A second node was ready after {taken:.1f} s.")
    assert taken < 20


def test_a_start_that_is_interrupted_leaves_nothing_behind(machine: Machine) -> None:
    before = machine.traces()
    starts = machine.popen(sys.executable, "-m", "tests.cluster.rig", "up", stderr=subprocess.DEVNULL)
    while not machine.layout.kubeconfig.exists():
        assert starts.poll() is None
        time.sleep(0.01)
    processes = family(machine.record())
    starts.send_signal(signal.SIGINT)
    assert starts.wait(20) != 0
    assert_ended(processes)
    assert machine.traces() == {**before, "files": KEPT}


@pytest.mark.slow
def test_a_component_hangs_and_goes_on(machine: Machine) -> None:
    def ready() -> str:
        return machine.kubectl("get", "node", NODE, "--output=jsonpath={.status.conditions[?(@.type=='Ready')].status}")

    def wait_for(status: str) -> None:
        end = time.monotonic() + 90
        while ready() != status:
            assert time.monotonic() < end, f"the node never became {status}"
            time.sleep(1)

    machine.rig("up")
    with frozen(machine.layout, "kubelet"):
        wait_for("Unknown")
    wait_for("True")
    with pytest.raises(NodeFailed, match="no kubelet-of-another runs"), frozen(machine.layout, "kubelet-of-another"):
        pass


REMOVALS: dict[str, tuple[str, set[str], str]] = {
    "nothing": ("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j ACCEPT\nCOMMIT\n", set(), ""),
    "chains and the rules that lead there": (
        "*nat\n:INPUT ACCEPT [0:0]\n:KUBE-A - [0:0]\n:DOCKER - [0:0]\n-A INPUT -j KUBE-A\n-A INPUT -j DOCKER\nCOMMIT\n",
        set(),
        "*nat\n:KUBE-A - [0:0]\n-D INPUT -j KUBE-A\n-X KUBE-A\nCOMMIT\n",
    ),
    "what was there before stays": (
        "*nat\n:CNI-old - [0:0]\n:CNI-new - [0:0]\n-A OUTPUT -j CNI-old\n-A OUTPUT -g CNI-new\nCOMMIT\n",
        {"CNI-old"},
        "*nat\n:CNI-new - [0:0]\n-D OUTPUT -g CNI-new\n-X CNI-new\nCOMMIT\n",
    ),
}


@pytest.mark.parametrize(("saved", "keep", "script"), [pytest.param(*row, id=name) for name, row in REMOVALS.items()])
def test_chains_are_removed(saved: str, keep: set[str], script: str) -> None:
    assert network.removal(saved, frozenset(keep)) == script


def test_the_cluster_comes_from_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("KUBECONFIG", "somewhere")
    assert source() == "given"
    monkeypatch.delenv("KUBECONFIG")
    assert source() == "node"
    for name in ("kind", "docker"):
        (tmp_path / name).touch(mode=0o755)
    assert source() == "kind"
