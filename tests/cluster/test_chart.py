"""The chart against a real API server: schemas, admission, rights, a bad policy, `helm test`."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart_rig import DATA, EVERYTHING, EXAMPLES, objects, pod_specs, render
from tests.cluster.release import Release
from tests.cluster.rig.cluster import Cluster, CommandFailed
from tests.cluster.rig.toolbox import KUBECONFORM, ensure

RENDERS: dict[str, tuple[Path, ...]] = {"default": (), "everything": (EVERYTHING,), **{e.stem: (e,) for e in EXAMPLES}}
KINDS = {
    *("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "ServiceAccount"),
    *("Deployment", "DaemonSet", "Job", "Pod", "PodDisruptionBudget", "PriorityClass"),
    *("Service", "Ingress", "NetworkPolicy"),
    *("Namespace", "LimitRange", "ResourceQuota"),
    *("ConfigMap", "PersistentVolumeClaim"),
}
"""What the chart makes. An HTTPRoute beside: an API server does not know it by itself."""


@pytest.fixture(scope="module")
def manifests() -> dict[str, str]:
    return {name: render(*files) for name, files in RENDERS.items()}


@pytest.fixture(scope="module")
def schemas(cluster: Cluster, manifests: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the API server publishes about the chart's kinds, one JSON Schema each, with unknown keys forbidden."""
    folder = tmp_path_factory.mktemp("schemas")
    versions = {each["apiVersion"] for text in manifests.values() for each in built_in(text)}
    for version in versions:
        path = f"apis/{version}" if "/" in version else f"api/{version}"
        document = _strict(json.loads(cluster.kubectl("get", "--raw", f"/openapi/v3/{path}")))
        components = document["components"]
        for name, schema in components["schemas"].items():
            for kind in schema.get("x-kubernetes-group-version-kind", []):
                # As kubeconform names them: the group of the core API is its version.
                file = f"{kind['group'] or kind['version']}-{kind['version']}-{kind['kind']}.json".lower()
                body = {"$ref": f"#/components/schemas/{name}", "components": components}
                if kind["kind"] in KINDS:
                    (folder / file).write_text(json.dumps(body), encoding="utf-8")
    return folder


def _strict(node: Any) -> Any:
    if isinstance(node, list):
        return [_strict(each) for each in node]
    if not isinstance(node, dict):
        return node
    node = {key: _strict(value) for key, value in node.items()}
    if isinstance(node.get("properties"), dict) and node.get("type") == "object":
        node.setdefault("additionalProperties", False)
    return node


def built_in(manifests: str) -> list[dict[str, Any]]:
    return [each for each in objects(manifests) if each["kind"] != "HTTPRoute"]


def conform(manifests: str, schemas: Path) -> subprocess.CompletedProcess[str]:
    place = f"{schemas}/{{{{ .Group }}}}-{{{{ .ResourceAPIVersion }}}}-{{{{ .ResourceKind }}}}.json"
    command = [str(ensure(KUBECONFORM) / "kubeconform"), "-summary", "-schema-location", place, "-"]
    return subprocess.run(command, input=manifests, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", RENDERS)
def test_manifests_conform_to_the_api_servers_schemas(name: str, manifests: dict[str, str], schemas: Path) -> None:
    known = built_in(manifests[name])
    done = conform(yaml.safe_dump_all(known), schemas)
    assert done.returncode == 0, done.stdout
    assert f"Valid: {len(known)}" in done.stdout
    assert {each["kind"] for each in known} <= KINDS


def test_kubeconform_sees_a_mistake(manifests: dict[str, str], schemas: Path) -> None:
    mistaken = objects(manifests["default"])[0]
    mistaken["metadata"]["lables"] = {}
    done = conform(yaml.safe_dump(mistaken), schemas)
    assert "additional properties 'lables' not allowed" in done.stdout


@pytest.mark.parametrize("name", RENDERS)
def test_every_pod_is_admitted_at_the_restricted_level(name: str, manifests: dict[str, str], cluster: Cluster) -> None:
    with cluster.namespace("restricted", {"pod-security.kubernetes.io/enforce": "restricted"}) as namespace:
        for number, (where, spec) in enumerate(pod_specs(manifests[name])):
            # The account and the class are not there, and admission of pods is what is asked about.
            bare = {key: value for key, value in spec.items() if key not in ("serviceAccountName", "priorityClassName")}
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"p{number}"}, "spec": bare}
            said = cluster.kubectl(
                "create", "--namespace", namespace, "--dry-run=server", "--filename=-", text=yaml.safe_dump(pod)
            )
            assert "created" in said, where


# --- one release -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own(cluster: Cluster, images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """A release of this module's own: it is upgraded and broken."""
    namespace = f"chart-{secrets.token_hex(2)}"
    own = Release(cluster, tmp_path_factory.mktemp("chart"), images=images, namespace=namespace, port=30081)
    own.values["tests"] = {"user": "ada", "timeout": 300}
    own.install()
    yield own
    own.remove()


def test_helm_test_starts_and_stops_a_server(own: Release) -> None:
    said = own.helm("test", own.name, "--logs", "--timeout", "6m")
    lines = [line for line in said.splitlines() if line.startswith(("ok ", "FAILED"))]
    assert {line.split()[1].rstrip(":") for line in lines} == {"hub", "pages", "rights", "storage", "start"}
    assert "FAILED" not in said
    assert own.servers() == []


def test_a_bad_policy_ends_an_upgrade_with_its_words(own: Release) -> None:
    before = own.kubectl("get", "configmap", f"{own.name}-policy", "--output=jsonpath={.data}")
    good = own.values["aihub"]
    own.values["aihub"] = {**good, "projects": {"ml101": {**good["projects"]["ml101"], "images": {"offer": ["bass"]}}}}
    try:
        with pytest.raises(AssertionError) as caught:
            own.upgrade()
    finally:
        own.values["aihub"] = good
    assert "there is no image stream bass" in str(caught.value)
    assert "Did you mean base?" in str(caught.value)
    assert own.kubectl("get", "configmap", f"{own.name}-policy", "--output=jsonpath={.data}") == before
    assert own.answers()


def test_a_change_of_the_policy_restarts_nothing(own: Release) -> None:
    def pods() -> set[str]:
        found = own.cluster.get("pods", "--namespace", own.namespace, "--selector=app.kubernetes.io/component=hub")
        return {each["metadata"]["name"] for each in found["items"]}

    before = pods()
    own.values["aihub"]["projects"]["ml101"]["displayName"] = "Machine Learning, second term"
    own.upgrade()
    assert pods() == before


@pytest.mark.parametrize(("account", "namespaces"), [("hub", ("users", "own")), ("default", ("users",))])
def test_rights_equal_their_golden_file(account: str, namespaces: tuple[str, ...], own: Release) -> None:
    """`AIHUB_GOLDEN=write` writes it anew."""
    home = own.namespace if account == "hub" else own.users
    name = f"{own.name}-hub" if account == "hub" else "default"
    lists = []
    for where in namespaces:
        namespace = own.users if where == "users" else own.namespace
        listed = own.cluster.kubectl(
            "auth", "can-i", "--list", "--namespace", namespace, f"--as=system:serviceaccount:{home}:{name}"
        )
        rows = sorted(line.rstrip() for line in listed.splitlines()[1:])
        lists.append("\n".join([f"# in the namespace: {where}", *rows]))
    golden = DATA / f"can-i-{account}.golden.txt"
    found = "\n\n".join(lists) + "\n"
    if os.environ.get("AIHUB_GOLDEN") == "write":
        golden.write_text(found, encoding="utf-8")
    assert found == golden.read_text(encoding="utf-8")


def test_an_uninstalled_release_comes_back_with_its_records(own: Release) -> None:
    """What the chart keeps is taken over by the next install of the same name."""
    volume = own.kubectl("get", "pvc", f"{own.name}-hub", "--output=jsonpath={.spec.volumeName}")
    own.uninstall()
    with pytest.raises(CommandFailed):
        own.kubectl("get", "deployment", f"{own.name}-hub")
    assert own.cluster.kubectl("get", "namespace", own.users)
    own.install()
    assert own.kubectl("get", "pvc", f"{own.name}-hub", "--output=jsonpath={.spec.volumeName}") == volume
