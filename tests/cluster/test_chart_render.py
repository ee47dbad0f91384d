"""What helm makes of the chart: golden files, the effect of every key, and helm's words for bad values.

`AIHUB_GOLDEN=write` writes the golden files anew.
"""

from __future__ import annotations

import copy
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from aihub.chart import Settings, Values
from aihub.cli import main
from tests.chart_rig import (
    CHART,
    DATA,
    EVERYTHING,
    EXAMPLES,
    HelmError,
    Object,
    at,
    helm,
    named,
    objects,
    pod_specs,
    read,
    render,
)
from tests.cluster.rig.toolbox import HELM4
from tests.test_chart import KNOWN

RENDERS: dict[str, tuple[Path, ...]] = {"default": (), "everything": (EVERYTHING,), **{e.stem: (e,) for e in EXAMPLES}}


@pytest.fixture(scope="module")
def rendered() -> dict[str, str]:
    return {name: render(*files) for name, files in RENDERS.items()}


@pytest.mark.parametrize("name", RENDERS)
def test_manifests_equal_their_golden_file(name: str, rendered: dict[str, str]) -> None:
    golden = DATA / f"{name}.golden.yaml"
    if os.environ.get("AIHUB_GOLDEN") == "write":
        golden.write_text(rendered[name], encoding="utf-8")
    assert rendered[name] == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", RENDERS)
def test_two_renders_are_byte_equal(name: str, rendered: dict[str, str]) -> None:
    assert render(*RENDERS[name]) == rendered[name]


def test_helm_lint_is_clean() -> None:
    for files in RENDERS.values():
        arguments = [argument for file in files for argument in ("--values", str(file))]
        assert "0 chart(s) failed" in helm("lint", "--strict", CHART, *arguments)


@pytest.mark.parametrize("name", RENDERS)
def test_every_object_carries_the_labels(name: str, rendered: dict[str, str]) -> None:
    for each in objects(rendered[name]):
        labels = each["metadata"]["labels"]
        assert labels.keys() >= {f"app.kubernetes.io/{key}" for key in ("name", "instance", "component", "version")}, (
            each
        )
        assert labels["app.kubernetes.io/managed-by"] == "Helm"


# --- what runs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RENDERS)
def test_every_pod_suits_the_restricted_level(name: str, rendered: dict[str, str]) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted, and a read-only root beside."""
    for where, spec in pod_specs(rendered[name]):
        own = spec["securityContext"]
        assert own["runAsNonRoot"] is True, where
        assert own["seccompProfile"] == {"type": "RuntimeDefault"}, where
        assert not spec.get("hostNetwork"), where
        assert spec["enableServiceLinks"] is False, where
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False, where
            assert security["readOnlyRootFilesystem"] is True, where
            assert security["capabilities"] == {"drop": ["ALL"]}, where


@pytest.mark.parametrize("name", RENDERS)
def test_only_hub_and_its_test_have_a_token(name: str, rendered: dict[str, str]) -> None:
    with_token = {where for where, spec in pod_specs(rendered[name]) if spec["automountServiceAccountToken"]}
    prefix = "teaching" if name == "everything" else "aihub"
    assert with_token == {f"Deployment/{prefix}-hub", f"Pod/{prefix}-test"}


@pytest.mark.parametrize("name", RENDERS)
def test_secrets_are_only_referred_to(name: str, rendered: dict[str, str]) -> None:
    assert not [each for each in objects(rendered[name]) if each["kind"] == "Secret"]
    proxy = next(spec for where, spec in pod_specs(rendered[name]) if where.endswith("-proxy"))
    (container,) = proxy["containers"]
    keys = [e["valueFrom"]["secretKeyRef"]["key"] for e in container["env"] if "secretKeyRef" in e.get("valueFrom", {})]
    assert keys == ["proxyToken"]


@pytest.mark.parametrize("name", RENDERS)
def test_the_proxy_passes_on_what_an_ingress_says_of_a_request(name: str, rendered: dict[str, str]) -> None:
    """And says it itself where browsers reach it, which could say anything."""
    proxy = next(spec for where, spec in pod_specs(rendered[name]) if where.endswith("-proxy"))
    routed = any(each["kind"] in ("Ingress", "HTTPRoute") for each in objects(rendered[name]))
    assert ("--no-x-forward" in proxy["containers"][0]["command"]) == routed


@pytest.mark.parametrize("name", RENDERS)
def test_rights_are_the_least(name: str, rendered: dict[str, str]) -> None:
    roles = [each for each in objects(rendered[name]) if each["kind"] == "Role"]
    assert {role["metadata"]["namespace"] for role in roles}.isdisjoint({"aihub"})
    for role in roles:
        granted = {(r, v) for rule in role["rules"] for r in rule["resources"] for v in rule["verbs"]}
        pods = {("pods", verb) for verb in ("get", "list", "watch", "create", "delete")}
        claims = {("persistentvolumeclaims", verb) for verb in ("get", "list", "create", "patch")}
        assert granted == pods | claims | {("events", verb) for verb in ("get", "list", "watch")}
    wide = [each for each in objects(rendered[name]) if each["kind"] == "ClusterRole"]
    assert len(wide) == (name in ("everything", "gpu-lab"))
    assert all(verb in ("get", "list", "watch") for each in wide for rule in each["rules"] for verb in rule["verbs"])


def test_users_live_where_their_projects_say(rendered: dict[str, str]) -> None:
    def namespaces(name: str) -> set[str]:
        return {each["metadata"]["name"] for each in objects(rendered[name]) if each["kind"] == "Namespace"}

    assert namespaces("default") == {"aihub-users"}
    assert namespaces("per-project") == {"course-ml101", "lab-thesis"}


@pytest.mark.parametrize("groups", [False, True], ids=["none", "made"])
def test_projects_that_groups_make_have_a_namespace_beside_those_of_the_others(groups: bool) -> None:
    made = {"groupProjects": {"c": {"members": "/c/<project>", "template": "t"}}, "projectTemplates": {"t": {}}}
    found = render(CHART / "examples" / "per-project.yaml", values={"aihub": made} if groups else {})
    namespaces = {each["metadata"]["name"] for each in objects(found) if each["kind"] == "Namespace"}
    assert namespaces == {"course-ml101", "lab-thesis"} | ({"aihub-users"} if groups else set())
    assert ("userNamespace: aihub-users\n" in found) is groups


@pytest.mark.parametrize("name", RENDERS)
def test_homes_and_records_outlive_the_release(name: str, rendered: dict[str, str]) -> None:
    kept = [each for each in objects(rendered[name]) if each["kind"] in ("Namespace", "PersistentVolumeClaim")]
    assert kept
    assert all(each["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep" for each in kept)


# --- what the hub reads ----------------------------------------------------------------------------------------------


def settings_of(manifests: str, tmp_path: Path, name: str = "aihub-settings") -> Settings:
    file = tmp_path / "settings.yaml"
    file.write_text(named(manifests, "ConfigMap", name)["data"]["settings.yaml"], encoding="utf-8")
    return Settings.read(file)


def test_the_hub_reads_its_settings(rendered: dict[str, str], tmp_path: Path) -> None:
    settings = settings_of(rendered["default"], tmp_path)
    assert settings.instance == "aihub/aihub"
    assert settings.hub_url == "http://aihub-hub.aihub:8081"
    assert settings.user_namespace == "aihub-users"
    services = {each["metadata"]["name"] for each in objects(rendered["default"]) if each["kind"] == "Service"}
    assert services == {"aihub-hub", "aihub-proxy-api", "aihub-proxy-public"}


def test_every_setting_comes_from_the_values(rendered: dict[str, str], tmp_path: Path) -> None:
    settings = settings_of(rendered["everything"], tmp_path, "teaching-settings")
    values = Values.model_validate(read(EVERYTHING))
    assert settings.hub.config == values.hub.config
    assert settings.hub.base_url == values.hub.base_url
    assert settings.singleuser.extra_pod_spec == values.singleuser.extra_pod_spec
    assert settings.singleuser.tolerations == values.singleuser.extra_tolerations
    assert settings.singleuser.image_pull_secrets == values.image_pull_secrets
    assert settings.singleuser.priority_class_name == "aihub-teaching-user"
    assert settings.cull.every == values.cull.every
    assert settings.read_nodes


@pytest.mark.parametrize("name", RENDERS)
def test_the_policy_that_is_mounted_is_fine(name: str, rendered: dict[str, str], tmp_path: Path) -> None:
    maps = [each for each in objects(rendered[name]) if each["kind"] == "ConfigMap" and "policy.yaml" in each["data"]]
    assert len({each["data"]["policy.yaml"] for each in maps}) == 1, "the hook checks what the hub gets"
    streams = tmp_path / "imagestreams"
    streams.mkdir()
    for each in objects(rendered[name]):
        if each["kind"] == "ConfigMap" and each["metadata"]["name"].endswith("-imagestreams"):
            (streams / "r.yaml").write_text(each["data"]["r.yaml"], encoding="utf-8")
    authority = tmp_path / "ca.crt"
    authority.touch()
    text = maps[0]["data"]["policy.yaml"].replace("/etc/aihub/imagestreams", str(streams))
    policy = tmp_path / "policy.yaml"
    policy.write_text(text.replace("/etc/aihub/ca/ca.crt", str(authority)), encoding="utf-8")
    result = CliRunner().invoke(main, ["check", str(policy)])
    assert result.exit_code == 0, result.output


def checksum(values: Mapping[str, Any]) -> str:
    hub = named(render(EXAMPLES[-1], values=values), "Deployment", "aihub-hub")
    found: str = hub["spec"]["template"]["metadata"]["annotations"]["checksum/settings"]
    return found


@pytest.mark.parametrize(
    ("values", "restarts"),
    [
        ({"aihub": {"projects": {"intro": {"quota": {"project": {"servers": 5}}}}}}, False),
        ({"aihub": {"imageStreams": {"scipy": {"displayName": "Other"}}}}, False),
        ({"aihub": {"signIn": {"people": {"new": {"groups": ["/students"]}}}}}, True),
        ({"hub": {"config": {"JupyterHub": {"log_level": "DEBUG"}}}}, True),
        ({"hub": {"extraConfig": {"a": "c.JupyterHub.log_level = 10"}}}, True),
        ({"singleuser": {"startTimeout": 100}}, True),
        ({"proxy": {"labels": {"a": "b"}}}, False),
    ],
    ids=["quota", "stream", "people", "traits", "extra-config", "singleuser", "proxy"],
)
def test_the_hub_restarts_only_for_what_it_reads_once(values: dict[str, Any], restarts: bool) -> None:
    assert (checksum(values) != checksum({})) == restarts


def test_the_proxy_is_the_same_in_the_next_version(rendered: dict[str, str], tmp_path: Path) -> None:
    """A new chart restarts the hub, which nobody notices, and the proxy only when its image changes."""
    chart = tmp_path / "chart"
    shutil.copytree(CHART, chart)
    about = chart / "Chart.yaml"
    about.write_text(re.sub(r"(?m)^version: .*", "version: 9.9.9", about.read_text(encoding="utf-8")), encoding="utf-8")
    before, after = (named(each, "Deployment", "aihub-proxy") for each in (rendered["default"], render(chart=chart)))
    assert after["spec"] == before["spec"]
    assert after["metadata"] != before["metadata"]


# --- sign-in through a provider --------------------------------------------------------------------------------------


def through(method: str, **keys: Any) -> dict[str, Any]:
    provider = {"github": {"clientId": "c"}}.get(method, {"issuer": "https://id.example.org", "clientId": "c"})
    return {"aihub": {"signIn": {"method": method, method: {**provider, **keys}}}}


def hub_pod(values: Mapping[str, Any]) -> Object:
    found: Object = named(render(values=values), "Deployment", "aihub-hub")["spec"]["template"]["spec"]
    return found


@pytest.mark.parametrize("method", ["keycloak", "oidc", "github"])
def test_the_client_secret_is_a_file_that_follows_the_secret(method: str) -> None:
    pod = hub_pod(through(method))
    (hub,) = pod["containers"]
    environment = {each["name"]: each for each in hub["env"]}
    file = Path(environment["AIHUB_CLIENT_SECRET_FILE"]["value"])
    (mount,) = [each for each in hub["volumeMounts"] if each["mountPath"] == str(file.parent)]
    assert "subPath" not in mount, "files of a subPath stay as they are"
    (volume,) = [each for each in pod["volumes"] if each["name"] == mount["name"]]
    assert volume["secret"] == {
        "secretName": "aihub-secrets",
        "items": [{"key": "clientSecret", "path": file.name}],
        "defaultMode": 0o440,
    }
    assert pod["securityContext"]["fsGroup"] == 1000, "whose group may read it"
    assert environment.keys().isdisjoint({"AIHUB_USER_PASSWORD", "AIHUB_ADMIN_PASSWORD", "AIHUB_CLIENT_SECRET"})
    crypt = environment["JUPYTERHUB_CRYPT_KEY"]["valueFrom"]["secretKeyRef"]
    assert crypt == {"name": "aihub-secrets", "key": "cryptKey"}, "it is not optional"


def test_nobody_else_has_the_client_secret() -> None:
    others = {where: spec for where, spec in pod_specs(render(values=through("oidc"))) if not where.endswith("-hub")}
    assert others
    assert "clientSecret" not in repr(others)


def test_without_a_provider_there_is_no_client_secret() -> None:
    assert "clientSecret" not in repr(hub_pod({}))


def test_authorities_are_mounted_wherever_the_policy_is_read() -> None:
    manifests = render(values={"hub": {"caConfigMap": "school-ca"}, **through("oidc")})
    found = {}
    for where, spec in pod_specs(manifests):
        (container,) = spec["containers"]
        mounts = {each["mountPath"]: each["name"] for each in container.get("volumeMounts", [])}
        volumes = {each["name"]: each.get("configMap", {}).get("name") for each in spec.get("volumes", [])}
        found[where] = volumes.get(mounts.get("/etc/aihub/ca", ""))
        assert (found[where] is not None) == ("/etc/aihub/policy" in mounts), where
    assert {where for where, name in found.items() if name == "school-ca"} == {
        "Deployment/aihub-hub",
        "Job/aihub-policy-check",
        "Pod/aihub-test",
    }


def ingress(*hosts: str, tls: bool = True) -> dict[str, Any]:
    return {"ingress": {"enabled": True, "hosts": list(hosts), "tls": [{"secretName": "t"}] if tls else []}}


@pytest.mark.parametrize(
    ("values", "public"),
    [
        pytest.param(ingress("hub.example.org"), "https://hub.example.org", id="ingress"),
        pytest.param(ingress("hub.example.org", tls=False), None, id="TLS may end elsewhere"),
        pytest.param(ingress("a.example.org", "b.example.org"), None, id="two hosts"),
        pytest.param(ingress("*.example.org"), None, id="any host"),
        pytest.param(ingress(), None, id="no host"),
        pytest.param({}, None, id="no ingress"),
    ],
)
def test_the_public_address_is_that_of_the_ingress_where_there_is_no_doubt(
    values: dict[str, Any], public: str | None
) -> None:
    def said(more: Mapping[str, Any]) -> Any:
        policy = named(render(values=merged(values, more)), "ConfigMap", "aihub-policy")["data"]["policy.yaml"]
        return yaml.safe_load(policy)["signIn"].get("publicUrl")

    assert said(through("oidc")) == public
    assert said({}) is None, "a shared password needs none"
    own = merged(through("oidc"), {"aihub": {"signIn": {"publicUrl": "https://other.example.org"}}})
    assert said(own) == "https://other.example.org"


def test_another_host_of_the_ingress_restarts_the_hub() -> None:
    def after(host: str, values: dict[str, Any]) -> str:
        return checksum({**ingress(host), **values, "tests": {"user": ""}})

    hosts = ("a.example.org", "b.example.org")
    assert len({after(host, through("oidc")) for host in hosts}) == 2
    assert len({after(host, {}) for host in hosts}) == 1, "that reads no address"


# --- every key does something ----------------------------------------------------------------------------------------

OTHER = {
    "Always": "Never",
    "IfNotPresent": "Never",
    "ClusterIP": "NodePort",
    "LoadBalancer": "NodePort",
    "Prefix": "Exact",
    "sqlite-pvc": "postgres",
    "/jupyter/": "/",
    "1Gi": "2Gi",
    "5Gi": "6Gi",
    "ada": "",
}
FILLED: dict[tuple[str, ...], Any] = {
    ("hub", "db", "pvc", "accessModes"): ["ReadWriteMany"],
    ("hub", "image", "digest"): f"sha256:{'0' * 64}",
    ("prePuller", "nodeSelector"): {"pool": "gpu"},
    ("prePuller", "resources", "limits"): {"cpu": 1},
    ("prePuller", "resources", "requests"): {"cpu": 1},
    ("proxy", "chp", "image", "digest"): "",
    ("proxy", "chp", "resources", "requests"): {"cpu": 1},
}
NO_EFFECT = {("global",)}


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(under)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both else value
    return result


def changed(path: tuple[str, ...], value: Any) -> Any:
    """Another value of the same kind."""
    if path in FILLED:
        return FILLED[path]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        return OTHER.get(value, f"{value}x")
    if isinstance(value, list):
        return value[1:]
    return dict(list(value.items())[1:])


def with_change(values: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    result = copy.deepcopy(dict(values))
    at(result, path[:-1])[path[-1]] = changed(path, at(values, path))
    return result


@pytest.fixture(scope="module")
def grounds() -> list[tuple[dict[str, Any], str]]:
    """Values to change one key of, whole, and what they render to."""
    defaults = read(CHART / "values.yaml")
    whole = [merged(defaults, read(EVERYTHING)), merged(defaults, read(EXAMPLES[-1]))]
    return [(values, render(values=values)) for values in whole]


@pytest.mark.parametrize("path", sorted(KNOWN - NO_EFFECT), ids=".".join)
def test_every_key_has_an_effect(path: tuple[str, ...], grounds: list[tuple[dict[str, Any], str]]) -> None:
    for values, before in grounds:
        after = with_change(values, path)
        if after != values and render(values=after) != before:
            return
    pytest.fail(f"{'.'.join(path)} changes nothing")


# --- helm's words ----------------------------------------------------------------------------------------------------

PER_PROJECT: dict[str, Any] = {"aihub": {"cluster": {"namespaces": "perProject"}, "projects": {"ml": {}}}}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"hubb": {}}, "additional properties 'hubb' not allowed"),
        ({"hub": {"cookieSecret": "x"}}, "additional properties 'cookieSecret' not allowed"),
        ({"aihub": {"project": {}}}, "additional properties 'project' not allowed"),
        ({"cull": {"every": "often"}}, "at '/cull/every': got string, want integer"),
        (PER_PROJECT, "aihub.projects.ml.namespace is missing: with aihub.cluster.namespaces: perProject every"),
        (
            {"singleuser": {"namespace": "aihub"}},
            "must not run in the hub's own namespace aihub: set singleuser.namespace",
        ),
        (
            {"namespaces": {"resourceQuotas": {"users": {"hard": {"pods": 1}}}}},
            "namespaces.resourceQuotas.users is no namespace of user servers: use one of aihub-users",
        ),
        (
            {"namespaces": {"limitRanges": {"users": {"limits": []}}}},
            "namespaces.limitRanges.users is no namespace of user servers: use one of aihub-users",
        ),
        ({"httpRoute": {"enabled": True}}, "httpRoute.gateway.name is missing: name the Gateway"),
        ({"aihub": {"signIn": {"method": "local"}}}, "aihub.signIn.method: local signs people in without a password"),
        ({"tests": {"user": "bob"}}, "tests.user: bob does not sign in here: name one of aihub.signIn.people"),
        (
            {"tests": {"user": "root"}, "aihub": {"signIn": {"people": {"root": {"admin": True}}}}},
            "tests.user: root is an admin",
        ),
        (
            {"tests": {"user": "ada"}, "aihub": {"signIn": {"method": "oidc"}}},
            "tests.user: nobody can sign in with aihub.signIn.method oidc without a browser: leave it empty",
        ),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_bad_values_are_refused_in_words(values: dict[str, Any], words: str) -> None:
    with pytest.raises(HelmError) as caught:
        render(values=values)
    assert words in " ".join(str(caught.value).split())


# --- notes -----------------------------------------------------------------------------------------------------------


def notes(tmp_path: Path, *files: Path) -> str:
    """NOTES.txt as a template of its own: only an install shows it, and that needs a cluster."""
    chart = tmp_path / "chart"
    shutil.copytree(CHART, chart)
    shown = '{{ $notes := include (print $.Template.BasePath "/NOTES.txt") . }}\nkind: Notes\n'
    shown += "metadata: {name: notes}\nnotes: {{ $notes | toJson }}\n"
    (chart / "templates" / "shown.yaml").write_text(shown, encoding="utf-8")
    found: str = named(render(*files, chart=chart), "Notes", "notes")["notes"]
    return found


def test_notes_of_the_defaults_say_what_is_missing(tmp_path: Path) -> None:
    said = notes(tmp_path)
    assert "port-forward service/aihub-proxy-public 8080:80" in said
    assert "Nobody can sign in yet" in said
    assert "no project yet" in said
    assert "for evaluation" in said
    assert "No TLS" in said


def test_notes_of_sign_in_through_a_provider_say_what_to_register(tmp_path: Path) -> None:
    said = notes(tmp_path, CHART / "examples" / "keycloak.yaml")
    assert "at https://id.example.org/realms/school, whose client aihub needs" in said
    for path in ("oauth_callback", "aihub/signed-out", "aihub/back-channel-logout"):
        assert f" https://hub.example.org/hub/{path}\n" in said
    assert "the key clientSecret of the Secret aihub-secrets" in said
    assert "exec deploy/aihub-hub -- aihub check --live /etc/aihub/policy\n" in said
    assert not [word for word in ("Nobody", "publicUrl", "No TLS", "password") if word in said]


def test_notes_say_what_sign_in_through_a_provider_lacks(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text("aihub: {signIn: {method: github, github: {clientId: Iv1.0}}}\n", encoding="utf-8")
    said = notes(tmp_path, values)
    assert (
        "at https://github.com, whose client Iv1.0 needs\n    redirect URI               https://HOST/hub/oauth" in said
    )
    assert "logout" not in said
    assert "Nobody may sign in: set aihub.signIn.allowed." in said
    assert "aihub.signIn.publicUrl is not set" in said


def test_notes_of_an_installation_say_where_and_who(tmp_path: Path) -> None:
    said = notes(tmp_path, EVERYTHING)
    assert "https://hub.example.org/jupyter/" in said
    assert "Names: ada, root." in said
    assert "No TLS" not in said
    assert "no project yet" not in said


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("release", "name"),
    [("aihub", "aihub-hub"), ("teaching", "teaching-aihub-hub"), ("a" * 53, f"{'a' * 34}-aihub-hub")],
    ids=["short", "other", "long"],
)
def test_names_begin_with_the_release_and_fit(release: str, name: str) -> None:
    manifests = render(EXAMPLES[-1], release=release)
    assert named(manifests, "Deployment", name)
    assert all(len(each["metadata"]["name"]) <= 63 for each in objects(manifests))


def test_two_releases_share_no_object_of_the_cluster() -> None:
    def wide(namespace: str) -> set[tuple[str, str]]:
        rendered = objects(render(values={"rbac": {"readNodes": True}, **_PRIORITY}, namespace=namespace))
        return {(each["kind"], each["metadata"]["name"]) for each in rendered if each["kind"] in _WIDE}

    assert len(wide("one")) == 5
    assert wide("one").isdisjoint(wide("two"))


_PRIORITY: Object = {"scheduling": {"podPriority": {"enabled": True}}}
_WIDE = {"ClusterRole", "ClusterRoleBinding", "PriorityClass", "Namespace"}


# --- helm 4 ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", RENDERS)
def test_helm_4_makes_the_same(name: str, rendered: dict[str, str]) -> None:
    again = render(*RENDERS[name], tool=HELM4)
    assert objects(again) == objects(rendered[name])


@pytest.mark.slow
def test_helm_4_refuses_in_the_same_words() -> None:
    with pytest.raises(HelmError, match="additional properties 'hubb' not allowed"):
        render(values={"hubb": {}}, tool=HELM4)
