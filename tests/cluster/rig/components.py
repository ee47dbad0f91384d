"""The programs of a node and how they are called."""

from __future__ import annotations

from dataclasses import dataclass

from tests.cluster.rig.layout import ETCD, ETCD_PEERS, GATEWAY, NODE, PODS, SERVICES, Layout
from tests.cluster.rig.toolbox import COREDNS, KUBERNETES, PAUSE

TOOLS = (PAUSE, KUBERNETES, COREDNS)
"""What has to be built."""

PACKAGES = {
    "etcd": "etcd-server",
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "docker-registry": "docker-registry",
    "skopeo": "skopeo",
    "iptables": "iptables",
    "ip": "iproute2",
    "conntrack": "conntrack",
    "unshare": "util-linux",
    "busybox": "busybox",
}
"""What has to be installed: Debian's package by program."""


@dataclass(frozen=True, slots=True)
class Component:
    """A program that runs as long as the node."""

    name: str
    command: tuple[str, ...]


def registry(layout: Layout) -> Component:
    return Component("registry", ("docker-registry", "serve", str(layout.etc / "registry.yaml")))


def etcd(layout: Layout) -> Component:
    return Component(
        "etcd",
        (
            "etcd",
            "--name=aihub",
            f"--data-dir={layout.data / 'etcd'}",
            "--unsafe-no-fsync",  # it lives as long as the test
            f"--listen-client-urls={ETCD}",
            f"--advertise-client-urls={ETCD}",
            f"--listen-peer-urls={ETCD_PEERS}",
            f"--initial-advertise-peer-urls={ETCD_PEERS}",
            f"--initial-cluster=aihub={ETCD_PEERS}",
            "--logger=zap",
            "--log-outputs=stderr",
        ),
    )


def apiserver(layout: Layout) -> Component:
    etc = layout.etc
    return _kubernetes(
        "kube-apiserver",
        f"--etcd-servers={ETCD}",
        f"--bind-address={GATEWAY}",
        f"--advertise-address={GATEWAY}",
        "--secure-port=6443",
        f"--service-cluster-ip-range={SERVICES}",
        f"--client-ca-file={etc / 'ca.crt'}",
        f"--tls-cert-file={etc / 'apiserver.crt'}",
        f"--tls-private-key-file={etc / 'apiserver.key'}",
        f"--kubelet-client-certificate={etc / 'apiserver-client.crt'}",
        f"--kubelet-client-key={etc / 'apiserver-client.key'}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--service-account-key-file={etc / 'accounts.pub'}",
        f"--service-account-signing-key-file={etc / 'accounts.key'}",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--authorization-mode=Node,RBAC",
        f"--token-auth-file={etc / 'tokens.csv'}",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        # It makes a watch from "now" wait for progress reports that etcd 3.4 does not send, and then fail with 504.
        "--feature-gates=WatchList=false",
        "--profiling=false",
    )


def controllers(layout: Layout) -> Component:
    return _kubernetes(
        "kube-controller-manager",
        f"--kubeconfig={layout.etc / 'controllers.kubeconfig'}",
        f"--service-account-private-key-file={layout.etc / 'accounts.key'}",
        f"--root-ca-file={layout.etc / 'ca.crt'}",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        # A lost node is noticed within half a minute instead of one.
        "--node-monitor-grace-period=25s",
        "--profiling=false",
    )


def scheduler(layout: Layout) -> Component:
    return _kubernetes(
        "kube-scheduler",
        f"--kubeconfig={layout.etc / 'scheduler.kubeconfig'}",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        "--profiling=false",
    )


def kubelet(layout: Layout) -> Component:
    return _kubernetes(
        "kubelet",
        f"--config={layout.etc / 'kubelet.yaml'}",
        f"--kubeconfig={layout.etc / 'kubelet.kubeconfig'}",
        f"--hostname-override={NODE}",
        f"--node-ip={GATEWAY}",
    )


def proxy(layout: Layout) -> Component:
    return _kubernetes(
        "kube-proxy",
        f"--kubeconfig={layout.etc / 'proxy.kubeconfig'}",
        f"--hostname-override={NODE}",
        "--proxy-mode=iptables",
        f"--cluster-cidr={PODS}",
        # NodePorts would else be open to whoever reaches this machine.
        f"--nodeport-addresses=127.0.0.0/8,{GATEWAY}/32",
        "--conntrack-max-per-core=0",
        "--conntrack-tcp-timeout-established=0",
        "--conntrack-tcp-timeout-close-wait=0",
        "--iptables-min-sync-period=100ms",
        "--healthz-bind-address=127.0.0.1:10256",
        "--metrics-bind-address=127.0.0.1:10249",
    )


def containerd(layout: Layout) -> Component:
    return Component("containerd", ("containerd", f"--config={layout.etc / 'containerd.toml'}", "--log-level=warn"))


def coredns(layout: Layout) -> Component:
    return Component("coredns", (str(COREDNS.program()), "-conf", str(layout.etc / "Corefile")))


def _kubernetes(name: str, *flags: str) -> Component:
    return Component(name, (str(KUBERNETES.program(name)), *flags))
