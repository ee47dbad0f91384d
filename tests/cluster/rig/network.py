"""What the node changes in the machine's kernel, and how that is undone."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from tests.cluster.rig.layout import GATEWAY, SERVICES

BRIDGE = "aihub0"
"""Pods hang on this one."""

SINK = "aihub1"
"""An empty bridge: Service addresses are routed to it, so that none ever leaves the machine."""

FORWARD = "CNI-AIHUB-FORWARD"
"""The chain that lets pods be reached and reach others; it goes with the plugins' chains."""

SETTINGS = (
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "net/bridge/bridge-nf-call-ip6tables",
    "net/bridge/bridge-nf-call-iptables",
    "net/ipv4/conf/all/route_localnet",
    "net/ipv4/ip_forward",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
)
"""Kernel settings that the node, the kubelet or kube-proxy write."""

FAMILIES = ("iptables", "ip6tables")
OURS = ("KUBE-", "CNI-")
"""How the chains begin that the kubelet, kube-proxy and the network plugins make."""


def raise_network() -> None:
    """Make the two bridges and let packets be forwarded between pods and Services."""
    _ip("link", "add", BRIDGE, "type", "bridge")
    _ip("address", "add", f"{GATEWAY}/16", "dev", BRIDGE)
    _ip("link", "set", BRIDGE, "up")
    _ip("link", "add", SINK, "type", "bridge")
    _ip("link", "set", SINK, "up")
    _ip("route", "add", SERVICES, "dev", SINK, "src", GATEWAY)
    # Docker lets the machine forward nothing but its own packets.
    accept = [f"-A {FORWARD} {side} {BRIDGE} -j ACCEPT" for side in ("-i", "-o")]
    for rule in (f"-N {FORWARD}", *accept, f"-I FORWARD -j {FORWARD}"):
        _run("iptables", "--wait", *rule.split())
    write_settings({"net/ipv4/ip_forward": "1", "net/bridge/bridge-nf-call-iptables": "1"})


def remove_network() -> None:
    """Remove the bridges with their routes, and the ends of pods that still hang on one."""
    for name in _ports(BRIDGE):
        _ip("link", "delete", name, check=False)
    for bridge in (BRIDGE, SINK):
        if _exists(bridge):
            _ip("link", "delete", bridge, check=False)


def read_settings() -> dict[str, str]:
    """The kernel settings as they are; what this kernel does not have is left out."""
    found = {}
    for name in SETTINGS:
        with suppress(FileNotFoundError):
            found[name] = (Path("/proc/sys") / name).read_text().strip()
    return found


def write_settings(settings: Mapping[str, str]) -> None:
    """Set kernel settings; those that this kernel does not have are left out."""
    for name, value in settings.items():
        path = Path("/proc/sys") / name
        if path.exists() and path.read_text().strip() != value:
            path.write_text(value)


def our_chains() -> dict[str, list[str]]:
    """The names of the packet filter's chains that look like a node's, by family."""
    return {family: sorted({name for _, name in _chains(_save(family))}) for family in FAMILIES}


def remove_chains(keep: Mapping[str, Iterable[str]]) -> None:
    """Remove every chain that looks like a node's, and the rules that lead there, except the chains to keep."""
    for family in FAMILIES:
        script = removal(_save(family), frozenset(keep.get(family, ())))
        if script:
            subprocess.run(
                [f"{family}-restore", "--wait", "--noflush"], input=script, text=True, check=True, capture_output=True
            )


def removal(saved: str, keep: frozenset[str]) -> str:
    """What `iptables-restore --noflush` takes to remove a node's chains from `saved`; empty if there are none."""
    lines: list[str] = []
    for table, body in _tables(saved):
        chains = [name for line in body if (name := _declared(line)) is not None and name not in keep]
        if not chains:
            continue
        gone = frozenset(chains)
        rules = [f"-D {line[3:]}" for line in body if line.startswith("-A ") and _leads(line, gone)]
        lines += [f"*{table}", *(f":{name} - [0:0]" for name in chains), *rules]
        lines += [*(f"-X {name}" for name in chains), "COMMIT"]
    return "".join(f"{line}\n" for line in lines)


def _leads(rule: str, chains: frozenset[str]) -> bool:
    words = rule.split()
    return words[1] not in chains and any(
        words[at + 1] in chains for at, word in enumerate(words[:-1]) if word in {"-j", "-g"}
    )


def _tables(saved: str) -> Iterable[tuple[str, list[str]]]:
    for part in saved.split("COMMIT\n"):
        lines = [line for line in part.splitlines() if line and not line.startswith("#")]
        if lines:
            yield lines[0].removeprefix("*"), lines[1:]


def _chains(saved: str) -> Iterable[tuple[str, str]]:
    for table, body in _tables(saved):
        for line in body:
            if (name := _declared(line)) is not None:
                yield table, name


def _declared(line: str) -> str | None:
    name = line[1:].split(" ", 1)[0] if line.startswith(":") else ""
    return name if name.startswith(OURS) else None


def _save(family: str) -> str:
    return subprocess.run([f"{family}-save"], text=True, check=True, capture_output=True).stdout


def _exists(interface: str) -> bool:
    return Path("/sys/class/net", interface).exists()


def _ports(bridge: str) -> list[str]:
    folder = Path("/sys/class/net", bridge, "brif")
    return [port.name for port in folder.iterdir()] if folder.exists() else []


def _ip(*arguments: str, check: bool = True) -> None:
    _run("ip", *arguments, check=check)


def _run(*command: str, check: bool = True) -> None:
    answer = subprocess.run(command, text=True, check=False, capture_output=True)
    if check and answer.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {answer.stderr.strip()}")
