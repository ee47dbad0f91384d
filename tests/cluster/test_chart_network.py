"""Who reaches whom by the rendered NetworkPolicies, as cyclonus judges them: no test cluster here enforces any."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart_rig import CHART, EVERYTHING, objects, read, render
from tests.cluster.rig.toolbox import CYCLONUS, ensure

Peer = dict[str, Any]


def peer(namespace: str, ip: str, labels: dict[str, str]) -> Peer:
    named = {"kubernetes.io/metadata.name": namespace}
    return {"IP": ip, "Internal": {"Namespace": namespace, "NamespaceLabels": named, "PodLabels": labels}}


def pod(namespace: str, component: str, ip: str, instance: str = "aihub") -> Peer:
    labels = {"name": "aihub", "instance": instance, "component": component}
    return peer(namespace, ip, {f"app.kubernetes.io/{key}": value for key, value in labels.items()})


def outside(ip: str) -> Peer:
    return {"IP": ip}


HUB, PROXY = pod("aihub", "hub", "10.88.0.2"), pod("aihub", "proxy", "10.88.0.3")
ADA, BOB = pod("aihub-users", "user-server", "10.88.0.10"), pod("aihub-users", "user-server", "10.88.0.11")
TEST = pod("aihub", "test", "10.88.0.4")
STRANGER = pod("aihub-users", "user-server", "10.88.0.12", instance="another")
DATABASE, DNS = peer("aihub", "10.88.0.5", {"app": "postgres"}), peer("kube-system", "10.88.0.9", {"k8s-app": "dns"})
API, CLUSTER_IP = outside("10.88.0.1"), outside("10.96.0.1")
METADATA, PYPI, CAMPUS = outside("169.254.169.254"), outside("151.101.0.223"), outside("10.1.2.6")


@dataclass(frozen=True, slots=True)
class Case:
    """A connection and whether it is to be."""

    name: str
    source: Peer
    target: Peer
    port: int
    allowed: bool
    protocol: str = "TCP"

    def traffic(self) -> dict[str, Any]:
        return {
            "Source": self.source,
            "Destination": self.target,
            "ResolvedPort": self.port,
            "ResolvedPortName": "",
            "Protocol": self.protocol,
        }


CASES = [
    Case("user server to API server", ADA, API, 6443, False),
    Case("user server to API server's Service", ADA, CLUSTER_IP, 443, False),
    Case("user server to metadata", ADA, METADATA, 80, False),
    Case("user server to another's notebook", ADA, BOB, 8888, False),
    Case("user server to another's DNS port", ADA, BOB, 53, False),
    Case("user server to any port of another", ADA, BOB, 22, False),
    Case("user server to a database in the hub's namespace", ADA, DATABASE, 5432, False),
    Case("user server to the proxy's API", ADA, PROXY, 8001, False),
    Case("user server to the proxy's public port", ADA, PROXY, 8000, False),
    Case("user server to the hub's other ports", ADA, HUB, 8888, False),
    Case("user server to the hub", ADA, HUB, 8081, True),
    Case("user server to DNS over UDP", ADA, DNS, 53, True, "UDP"),
    Case("user server to DNS over TCP", ADA, DNS, 53, True),
    Case("user server to PyPI", ADA, PYPI, 443, True),
    Case("user server to SSH outside", ADA, PYPI, 22, True),
    Case("user server to the campus Git server", ADA, CAMPUS, 443, False),
    Case("proxy to user server", PROXY, ADA, 8888, True),
    Case("proxy to user server's other ports", PROXY, ADA, 22, False),
    Case("proxy to the hub", PROXY, HUB, 8081, True),
    Case("proxy to metadata", PROXY, METADATA, 80, False),
    Case("proxy to the API server", PROXY, API, 6443, False),
    Case("proxy to the world", PROXY, PYPI, 443, False),
    Case("proxy to DNS", PROXY, DNS, 53, True, "UDP"),
    Case("hub to user server", HUB, ADA, 8888, True),
    Case("hub to the proxy's API", HUB, PROXY, 8001, True),
    Case("hub to the API server", HUB, API, 6443, True),
    Case("hub to the API server's Service", HUB, CLUSTER_IP, 443, True),
    Case("hub's services to the hub", HUB, HUB, 8081, True),
    Case("hub to metadata", HUB, METADATA, 80, False),
    Case("hub to metadata over TLS", HUB, METADATA, 443, False),
    Case("hub to DNS", HUB, DNS, 53, True, "UDP"),
    Case("hub to a database without being told", HUB, DATABASE, 5432, False),
    Case("the world to the proxy", PYPI, PROXY, 8000, True),
    Case("the world to the proxy's API", PYPI, PROXY, 8001, False),
    Case("the world to the hub", PYPI, HUB, 8081, False),
    Case("the world to a user server", PYPI, ADA, 8888, False),
    Case("a database to the hub", DATABASE, HUB, 8081, False),
    Case("a database to a user server", DATABASE, ADA, 8888, False),
    Case("helm test to the hub", TEST, HUB, 8081, True),
    Case("helm test to a user server", TEST, ADA, 8888, False),
    Case("another release's server to the hub", STRANGER, HUB, 8081, False),
    Case("the proxy to another release's server", PROXY, STRANGER, 8888, False),
]


def verdicts(manifests: str, cases: list[Case], tmp_path: Path) -> dict[str, bool]:
    """Whether each connection is allowed, by the name of its case."""
    policies = [each for each in objects(manifests) if each["kind"] == "NetworkPolicy"]
    for each in policies:
        each["metadata"].setdefault("namespace", "aihub")
    (tmp_path / "policies").mkdir()
    for number, each in enumerate(policies):
        (tmp_path / "policies" / f"{number}.yaml").write_text(yaml.safe_dump(each), encoding="utf-8")
    (tmp_path / "traffic.json").write_text(json.dumps([case.traffic() for case in cases]), encoding="utf-8")
    arguments = ["--policy-path", str(tmp_path / "policies"), "--traffic-path", str(tmp_path / "traffic.json")]
    command = [str(ensure(CYCLONUS) / "cyclonus"), "analyze", "--mode", "query-traffic", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = re.findall(r"IS ALLOWED\?\s*\|\s*(TRUE|FALSE)", done.stdout)
    assert len(found) == len(cases), done.stdout
    return {case.name: verdict == "TRUE" for case, verdict in zip(cases, found, strict=True)}


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bool]:
    return verdicts(render(), CASES, tmp_path_factory.mktemp("network"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_connections_of_the_default_chart(case: Case, judged: dict[str, bool]) -> None:
    assert judged[case.name] == case.allowed


def test_policies_can_be_switched_off() -> None:
    off = {"networkPolicy": {"enabled": False}}
    manifests = render(values={"hub": off, "singleuser": off, "proxy": {"chp": off}})
    assert not [each for each in objects(manifests) if each["kind"] == "NetworkPolicy"]


def test_ways_out_for_admins(tmp_path: Path) -> None:
    """What everything.yaml allows beside: start adapters' ports, projects' namespaces, and every `allow` list."""
    ml, vision = (
        pod(name, "user-server", ip) for name, ip in (("course-ml101", "10.9.0.1"), ("lab-vision", "10.9.0.2"))
    )
    prometheus = peer("monitoring", "10.9.0.3", {"app": "prometheus"})
    cases = [
        Case("proxy to ml", PROXY, ml, 8888, True),
        Case("proxy to RStudio", PROXY, vision, 8787, True),
        Case("ml to vision", ml, vision, 8888, False),
        Case("ml to the campus", ml, CAMPUS, 443, True),
        Case("ml to the campus over SSH", ml, CAMPUS, 22, False),
        Case("vision to the hub", vision, HUB, 8081, True),
        Case("Prometheus to the hub", prometheus, HUB, 8081, True),
        Case("Prometheus to ml", prometheus, ml, 8888, True),
        Case("hub to the HTTP proxy", HUB, outside("10.1.2.4"), 3128, True),
        Case("proxy to its host", PROXY, outside("10.1.2.5"), 443, True),
        Case("users of the default namespace to the hub", ADA, HUB, 8081, False),
    ]
    found = verdicts(render(EVERYTHING), cases, tmp_path)
    assert found == {case.name: case.allowed for case in cases}


def test_closed_outside(tmp_path: Path) -> None:
    cases = [Case("PyPI", ADA, PYPI, 443, False), Case("DNS", ADA, DNS, 53, True), Case("hub", ADA, HUB, 8081, True)]
    manifests = render(values={"singleuser": {"networkPolicy": {"egress": {"outside": False}}}})
    assert verdicts(manifests, cases, tmp_path) == {case.name: case.allowed for case in cases}


def test_postgresql_opens_its_port(tmp_path: Path) -> None:
    cases = [Case("hub", HUB, DATABASE, 5432, True), Case("user", ADA, DATABASE, 5432, False)]
    manifests = render(values={"hub": {"db": {"type": "postgres"}}})
    assert verdicts(manifests, cases, tmp_path) == {case.name: case.allowed for case in cases}


@pytest.mark.parametrize(
    ("provider", "port"),
    [
        pytest.param({"issuer": "https://id.example.org:9443/realms/a"}, 9443, id="issuer"),
        pytest.param(
            {"issuer": "https://id.example.org", "internalUrl": "http://keycloak.id:8080"}, 8080, id="internal"
        ),
        pytest.param({"issuer": "https://id.example.org", "internalUrl": "http://[fd00::1]"}, 80, id="port of http"),
    ],
)
def test_a_provider_opens_its_port(provider: dict[str, str], port: int, tmp_path: Path) -> None:
    keycloak = peer("id", "10.88.0.6", {"app": "keycloak"})
    cases = [
        Case("hub", HUB, keycloak, port, True),
        Case("hub to metadata", HUB, METADATA, port, False),
        Case("proxy", PROXY, keycloak, port, False),
        Case("user", ADA, keycloak, port, False),
        Case("hub by TLS", HUB, keycloak, 443, True),
    ]
    sign_in = {"method": "keycloak", "keycloak": {"clientId": "aihub", **provider}}
    found = verdicts(render(values={"aihub": {"signIn": sign_in}}), cases, tmp_path)
    assert found == {case.name: case.allowed for case in cases}


def test_private_and_metadata_addresses_are_blocked_for_both_families() -> None:
    egress = read(CHART / "values.yaml")["singleuser"]["networkPolicy"]["egress"]
    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16"} <= set(
        egress["blocked"]
    )
    assert {"fc00::/7", "fe80::/10", "64:ff9b::a9fe:0/112"} <= set(egress["blocked6"])
