"""What must hold of every pod of a user server, as a checker of its own.

Written from the issue's words and from https://kubernetes.io/docs/concepts/security/pod-security-standards/ (the
profile *restricted*), not from `aihub.pods`, and it uses nothing of it. `violations` takes the manifest that is sent,
or the pod as a cluster has it; an empty list is a good pod.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal
from typing import Any

from kubernetes.utils.quantity import parse_quantity

from aihub.plan import Plan

__all__ = ["violations"]

Json = Mapping[str, Any]

RESTRICTED_VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip
SAFE_SYSCTLS = {
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
}  # fmt: skip
SELINUX_TYPES = {None, "", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
HUB_LABELS = ("app.kubernetes.io/", "aihub.io/", "hub.jupyter.org/", "pod-security.kubernetes.io/")
LABELS = {
    "app.kubernetes.io/name": "aihub",
    "app.kubernetes.io/component": "user-server",
    "app.kubernetes.io/managed-by": "aihub",
}
DEVICES = re.compile(
    r"(NVIDIA|ASCEND|CDI|HABANA|ROCR)_.*|.*_(VISIBLE_(DEVICES|CHIPS|MODULES)|DEVICE_(ORDINAL|SELECTOR))|ZE_AFFINITY_MASK"
)
FORBIDDEN = re.compile(
    r"(JUPYTERHUB|JPY|LD|KUBERNETES|NVIDIA|AIHUB|GIT|XDG|CONDA)_.*|(PYTHON|PERL|RUBY).*|.*_(PROXY|VISIBLE_DEVICES)"
    r"|PATH|HOME|USER|SHELL|TMPDIR|NB_USER|NB_UID|NB_GID|GRANT_SUDO|BASH_ENV|ENV|MEM_LIMIT|CPU_LIMIT"
)
"""Names that no project may set (research on attacks, b)."""


def violations(
    pod: Json,
    plan: Plan,
    *,
    instance: str,
    server: str = "",
    namespace: str = "",
    claims: Collection[Json] = (),
    admin_claims: Collection[str] = (),
    hub_env: Mapping[str, str] | None = None,
    live: bool = False,
) -> list[str]:
    """What is wrong with `pod` as the server `server` of the plan's person in the hub `instance`.

    `claims` are the PersistentVolumeClaims of the plan, `admin_claims` the names of those that admins mount in every
    server. `hub_env` are variables that must reach the server as the hub set them. A `live` pod may carry what the API
    server, the scheduler and the kubelet add.
    """
    spec = pod["spec"]
    found = [
        *_restricted(pod),
        *_own_security(spec, plan, live=live),
        *_metadata(pod, plan, instance, server, namespace, live=live),
        *_scheduling(spec, plan, live=live),
        *_resources(spec, plan),
        *_environment(spec, plan, hub_env or {}),
        *_volumes(spec, plan, claims, admin_claims, live=live),
        *_start(spec, plan),
        *_configuration(pod),
    ]
    return sorted(found)


def _containers(spec: Json) -> Iterator[tuple[str, Json]]:
    for field in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.get(field) or ():
            yield container.get("name", "?"), container


def _server(spec: Json) -> Json:
    for container in spec["containers"]:
        if container.get("name") == "notebook":
            return dict(container)
    raise AssertionError("no container of the server")


# --- Pod Security Standards, from top to bottom of the page ----------------------------------------------------------


def _restricted(pod: Json) -> Iterator[str]:
    spec = pod["spec"]
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field):
            yield f"{field} is set"
    for volume in spec.get("volumes") or ():
        kinds = set(volume) - {"name"}
        if not kinds <= RESTRICTED_VOLUMES or len(kinds) != 1:
            yield f"volume {volume.get('name')} is of kind {sorted(kinds)}"
    for key, value in (pod["metadata"].get("annotations") or {}).items():
        if key.startswith("container.apparmor.security.beta.kubernetes.io/") and not re.match(
            r"runtime/default$|localhost/", value
        ):
            yield f"AppArmor annotation {key}={value}"
        if key.startswith(("seccomp.security.alpha.kubernetes.io/", "container.seccomp.security.alpha")):
            yield f"seccomp annotation {key}"
    context = spec.get("securityContext") or {}
    yield from _context("pod", context)
    for sysctl in context.get("sysctls") or ():
        if sysctl.get("name") not in SAFE_SYSCTLS:
            yield f"sysctl {sysctl.get('name')}"
    for name, container in _containers(spec):
        own = container.get("securityContext") or {}
        yield from _context(name, own)
        yield from _container_context(name, own)
        if own.get("runAsNonRoot", context.get("runAsNonRoot")) is not True:
            yield f"{name} may run as root"
        if (own.get("seccompProfile") or context.get("seccompProfile") or {}).get("type") not in {
            "RuntimeDefault",
            "Localhost",
        }:
            yield f"{name} has no seccomp profile"
        for port in container.get("ports") or ():
            if port.get("hostPort") or port.get("hostIP"):
                yield f"{name} has a host port"
        yield from _hosts(name, container)


def _context(name: str, context: Json) -> Iterator[str]:
    if (context.get("windowsOptions") or {}).get("hostProcess"):
        yield f"{name} is a host process"
    if context.get("runAsUser") == 0:
        yield f"{name} runs as user 0"
    if context.get("runAsNonRoot") is False:
        yield f"{name} allows root"
    if (context.get("seccompProfile") or {}).get("type") == "Unconfined":
        yield f"{name} is without seccomp"
    if (context.get("appArmorProfile") or {}).get("type") == "Unconfined":
        yield f"{name} is without AppArmor"
    selinux = context.get("seLinuxOptions") or {}
    if selinux.get("type") not in SELINUX_TYPES or selinux.get("user") or selinux.get("role"):
        yield f"{name} has SELinux options"


def _container_context(name: str, context: Json) -> Iterator[str]:
    if context.get("privileged"):
        yield f"{name} is privileged"
    if context.get("allowPrivilegeEscalation") is not False:
        yield f"{name} may escalate"
    if context.get("procMount") not in {None, "Default"}:
        yield f"{name} has proc unmasked"
    capabilities = context.get("capabilities") or {}
    if "ALL" not in (capabilities.get("drop") or ()):
        yield f"{name} keeps capabilities"
    if set(capabilities.get("add") or ()) - {"NET_BIND_SERVICE"}:
        yield f"{name} adds capabilities"


def _hosts(name: str, container: Json) -> Iterator[str]:
    hooks = (container.get("lifecycle") or {}).values()
    probes = (container.get(probe) for probe in ("livenessProbe", "readinessProbe", "startupProbe"))
    for handler in (*hooks, *probes):
        for kind in ("httpGet", "tcpSocket"):
            if isinstance(handler, Mapping) and (handler.get(kind) or {}).get("host"):
                yield f"{name} probes another host"


# --- what AIHub promises beyond --------------------------------------------------------------------------------------


def _own_security(spec: Json, plan: Plan, *, live: bool) -> Iterator[str]:
    if spec.get("automountServiceAccountToken") is not False:
        yield "the service account's token is mounted"
    if spec.get("enableServiceLinks") is not False:
        yield "service links are on"
    if spec.get("hostUsers"):
        yield "host users are asked for"
    if spec.get("shareProcessNamespace"):
        yield "containers see each other's processes"
    if spec.get("ephemeralContainers"):
        yield "there are ephemeral containers"
    context = spec.get("securityContext") or {}
    for field in ("runAsUser", "runAsGroup", "fsGroup"):
        if context.get(field) != plan.start.uid:
            yield f"{field} of the pod is {context.get(field)}"
    if context.get("fsGroupChangePolicy") != "OnRootMismatch":
        yield "every file of a home is walked through"
    if (_server(spec).get("securityContext") or {}).get("runAsUser", plan.start.uid) != plan.start.uid:
        yield "the server runs as another user"
    if spec.get("restartPolicy") != "Never":
        yield "the kubelet starts servers again"
    known = {"serviceAccount", "nodeName", "priority", "overhead"} if live else set()
    for field in {"serviceAccount", "nodeName", "priority", "overhead", "activeDeadlineSeconds", "resources"} - known:
        if spec.get(field):
            yield f"{field} is set"


def _metadata(pod: Json, plan: Plan, instance: str, server: str, namespace: str, *, live: bool) -> Iterator[str]:
    metadata = pod["metadata"]
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    name = metadata.get("name", "")
    if not re.fullmatch(r"server-(?:[a-z0-9]+-)*[0-9a-f]{20}", name) or len(name) > 63:
        yield f"the pod is called {name}"
    if namespace and metadata.get("namespace") != namespace:
        yield f"the pod is in {metadata.get('namespace')}"
    wanted = {**LABELS, "app.kubernetes.io/instance": instance.rpartition("/")[2]}
    for key, value in wanted.items():
        if labels.get(key) != value:
            yield f"label {key} is {labels.get(key)}"
    allowed = {*wanted, "aihub.io/hub", "aihub.io/project"}
    for key in labels:
        if (key.startswith(HUB_LABELS) or key in {"app", "component", "release"}) and key not in allowed:
            yield f"foreign label {key}"
    if labels.get("aihub.io/project", plan.project) != plan.project:
        yield "label of another project"
    expected = {
        "aihub.io/owner": f"{instance}/{plan.person}",
        "aihub.io/server": server,
        "aihub.io/project": plan.project,
        "aihub.io/profile": plan.profile,
        "aihub.io/image": f"{plan.stream}:{plan.tag}",
        "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
        "karpenter.sh/do-not-disrupt": "true",
    }
    for key, value in expected.items():
        if annotations.get(key) != value:
            yield f"annotation {key} is {annotations.get(key)}"
    if annotations.get("aihub.io/digest", "") != (plan.image or "").partition("@")[2]:
        yield f"digest is said to be {annotations.get('aihub.io/digest')}"
    if "aihub.io/admission" not in annotations:
        yield "what was admitted is not written down"
    if not live and set(metadata) != {"name", "namespace", "labels", "annotations"}:
        yield f"metadata has {sorted(metadata)}"


def _scheduling(spec: Json, plan: Plan, *, live: bool) -> Iterator[str]:
    selector = spec.get("nodeSelector") or {}
    for key, value in plan.placement.node_selector.items():
        if selector.get(key) != value:
            yield f"node selector {key} is {selector.get(key)}"
    for toleration in plan.placement.tolerations:
        if dict(toleration) not in (spec.get("tolerations") or ()):
            yield f"toleration {dict(toleration)} is missing"
    classes = {"priorityClassName": plan.placement.priority_class, "runtimeClassName": plan.placement.runtime_class}
    for field, chosen in classes.items():
        if chosen and spec.get(field) != chosen:
            yield f"{field} is {spec.get(field)}"
    secrets = [each.get("name") for each in spec.get("imagePullSecrets") or ()]
    for name in plan.pull_secrets:
        if name not in secrets:
            yield f"pull secret {name} is missing"
    required = (plan.placement.affinity.get("nodeAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution")
    if required:
        actual = (
            (spec.get("affinity") or {}).get("nodeAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution")
        )
        wanted = [_expressions(term) for term in required["nodeSelectorTerms"]]
        terms = [_expressions(term) for term in (actual or {}).get("nodeSelectorTerms", ())]
        if not terms or not all(any(each <= term for each in wanted) for term in terms):
            yield "node affinity is weaker than the plan's"
    if spec.get("nodeName") and not live:
        yield "the scheduler is passed by"


def _expressions(term: Json) -> set[str]:
    expressions = (each for field in ("matchExpressions", "matchFields") for each in term.get(field) or ())
    return {json.dumps(dict(each), sort_keys=True) for each in expressions}


def _resources(spec: Json, plan: Plan) -> Iterator[str]:
    given = _server(spec).get("resources") or {}
    requests, limits = given.get("requests") or {}, given.get("limits") or {}
    for said, amounts, actual in (("request", plan.requests, requests), ("limit", plan.limits, limits)):
        for key in ("cpu", "memory"):
            if _amount(actual.get(key)) != amounts[key] and not (said == "request" and not amounts[key]):
                yield f"{said} of {key} is {actual.get(key)}"
    for said, amount, actual in (
        ("request", plan.ephemeral_request, requests),
        ("limit", plan.ephemeral_limit, limits),
    ):
        if amount is not None and _amount(actual.get("ephemeral-storage")) != amount:
            yield f"{said} of ephemeral storage is {actual.get('ephemeral-storage')}"
    wanted = {plan.accelerator: str(plan.accelerator_count)} if plan.accelerator and plan.accelerator_count else {}
    for said, actual in (("requests", requests), ("limits", limits)):
        if {key: value for key, value in actual.items() if "/" in key} != wanted:
            yield f"accelerators in {said}: {actual}"
    for name, container in _containers(spec):
        if (container.get("resources") or {}).get("claims"):
            yield f"{name} claims devices"
        others = container.get("resources") or {}
        if name != "notebook" and any("/" in key for part in ("requests", "limits") for key in others.get(part) or ()):
            yield f"{name} has an accelerator that nobody counts"
    if spec.get("resourceClaims"):
        yield "the pod claims devices"


def _amount(text: str | None) -> Decimal:
    return Decimal(parse_quantity(text or "0"))


def _environment(spec: Json, plan: Plan, hub_env: Mapping[str, str]) -> Iterator[str]:
    for name, container in _containers(spec):
        variables = {each["name"]: each for each in container.get("env") or ()}
        if len(variables) != len(container.get("env") or ()):
            yield f"{name} has a variable twice"
        devices = {key: each.get("value") for key, each in variables.items() if DEVICES.fullmatch(key)}
        has_own = name == "notebook" and plan.accelerator is not None and plan.accelerator_count > 0
        if devices != ({} if has_own else {"NVIDIA_VISIBLE_DEVICES": "void"}):
            yield f"{name} is told of devices: {devices}"
    server = _server(spec)
    if server.get("envFrom"):
        yield "variables come from elsewhere"
    values = {each["name"]: each.get("value") for each in server.get("env") or ()}
    for key, value in plan.environment.items():
        if FORBIDDEN.fullmatch(key) and values.get(key) == value and hub_env.get(key) != value and key != "HOME":
            yield f"the project set {key}"
        if "$(" in value and values.get(key) == value and key not in hub_env:
            yield f"{key} is expanded"
    for key, value in hub_env.items():
        if values.get(key) != value:
            yield f"the hub's {key} is {values.get(key)}"
    if values.get("HOME") != plan.start.home:
        yield f"HOME is {values.get('HOME')}"


def _volumes(
    spec: Json, plan: Plan, claims: Collection[Json], admin_claims: Collection[str], *, live: bool
) -> Iterator[str]:
    own = {each["metadata"]["annotations"]["aihub.io/claim"]: each["metadata"]["name"] for each in claims}
    own_names = {mark.partition("/")[2].partition("/")[2]: name for mark, name in own.items()}
    datasets = {each.claim for each in plan.datasets if each.claim}
    used: dict[str, Json] = {}
    for volume in spec.get("volumes") or ():
        used[volume["name"]] = volume
        claim = (volume.get("persistentVolumeClaim") or {}).get("claimName")
        if claim is not None and claim not in {*own_names.values(), *datasets, *admin_claims}:
            yield f"foreign claim {claim}"
        for source in (volume.get("projected") or {}).get("sources") or ():
            if not live and set(source) - {"secret", "configMap", "downwardAPI", "clusterTrustBundle"}:
                yield f"volume {volume['name']} projects {sorted(source)}"
    paths: dict[str, tuple[str | None, bool]] = {}
    for mount in _server(spec).get("volumeMounts") or ():
        source = used[mount["name"]]
        pvc = source.get("persistentVolumeClaim") or {}
        if mount["mountPath"] in paths:
            yield f"{mount['mountPath']} is mounted twice"
        paths[mount["mountPath"]] = (pvc.get("claimName"), bool(pvc.get("readOnly") or mount.get("readOnly")))
        if (mount.get("subPath") or mount.get("subPathExpr")) and mount["name"].startswith("aihub-"):
            yield f"{mount['mountPath']} is a part of a volume"
    home = plan.start.home
    wanted = {home: (own_names.get(plan.home.id), False)}
    if plan.shared is not None:
        wanted[f"{home}/project"] = (own_names.get(f"project/{plan.project}"), not plan.may_write_shared)
    wanted.update({f"{home}/datasets/{each.name}": (each.claim, True) for each in plan.datasets if each.claim})
    for path, expected in wanted.items():
        if paths.get(path) != expected:
            yield f"{path} is {paths.get(path)} and not {expected}"
    for path in paths:
        covered = [inner for inner in (f"{home}/project", f"{home}/datasets") if f"{path}/".startswith(f"{inner}/")]
        if path not in wanted and covered:
            yield f"{path} covers what the project mounts"
    yield from _shared_memory(spec, plan, used)
    for name, container in _containers(spec):
        for mount in container.get("volumeMounts") or ():
            if mount["name"] not in used:
                yield f"{name} mounts {mount['name']}, which is not there"
            if mount.get("mountPropagation") not in {None, "None"}:
                yield f"{name} propagates mounts"
            if (
                re.match(r"/(proc|sys|dev(?!/shm$))(/|$)|(/var)?/run/secrets/kubernetes.io", mount["mountPath"])
                and not live
            ):
                yield f"{name} mounts something at {mount['mountPath']}"


def _shared_memory(spec: Json, plan: Plan, used: Mapping[str, Json]) -> Iterator[str]:
    mounts = [each for each in _server(spec).get("volumeMounts") or () if each["mountPath"] == "/dev/shm"]
    if plan.shared_memory is None:
        return
    source = (used[mounts[0]["name"]].get("emptyDir") or {}) if mounts else {}
    if source.get("medium") != "Memory" or _amount(source.get("sizeLimit")) != plan.shared_memory:
        yield f"shared memory is {dict(source)}"


def _start(spec: Json, plan: Plan) -> Iterator[str]:
    server = _server(spec)
    if spec["containers"][0].get("name") != "notebook":
        yield "the server is not the first container"
    if server.get("image") != plan.image:
        yield f"the image is {server.get('image')}"
    if [port.get("containerPort") for port in server.get("ports") or ()] != [plan.start.port]:
        yield f"ports are {server.get('ports')}"
    command = [*(server.get("command") or ()), *(server.get("args") or ())]
    if command != list(plan.start.command):
        yield f"the command is {command}"
    names = [name for name, _ in _containers(spec)]
    if len(set(names)) != len(names):
        yield f"two containers are called alike: {names}"


def _configuration(pod: Json) -> Iterator[str]:
    """The file from which every Jupyter learns to ask the hub again after 30 seconds, not after 300."""
    spec, annotation = pod["spec"], (pod["metadata"].get("annotations") or {}).get("aihub.io/jupyter")
    if json.loads(annotation or "null") != {"HubAuth": {"cache_max_age": 30}}:
        yield f"Jupyter is configured by {annotation}"
    volume: Json = next((each for each in spec.get("volumes") or () if each["name"] == "aihub-jupyter"), {})
    files = [
        (item.get("path"), (item.get("fieldRef") or {}).get("fieldPath"))
        for item in (volume.get("downwardAPI") or {}).get("items") or ()
    ]
    if files != [("jupyter_config.json", "metadata.annotations['aihub.io/jupyter']")]:
        yield f"Jupyter's configuration is {files}"
    server = _server(spec)
    folders = [each["mountPath"] for each in server.get("volumeMounts") or () if each["name"] == "aihub-jupyter"]
    paths = [each.get("value") for each in server.get("env") or () if each["name"] == "JUPYTER_CONFIG_PATH"]
    if len(folders) != 1 or len(paths) != 1 or str(paths[0]).split(":")[0] != folders[0]:
        yield f"Jupyter looks for its configuration in {paths}, not in {folders}"
