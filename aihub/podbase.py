"""What admins configure for every pod, reduced to what the policy leaves to them.

Admins reach a pod by KubeSpawner's traits and by the chart's `singleuser` values, `extraPodSpec` among them. What is
not listed here is the policy's, or is not allowed under Pod Security *restricted*
(https://kubernetes.io/docs/concepts/security/pod-security-standards/), and is left out. Manifests are plain JSON values
with the keys of the Kubernetes API; what has the wrong shape is left out too.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Mapping
from itertools import product
from typing import Any

from aihub.environment import hands_out_devices
from aihub.marks import PREFIX, is_claim_name

__all__ = [
    "EXTRA_POD_SPEC",
    "NO_DEVICES",
    "OWN_VOLUMES",
    "admin_annotations",
    "admin_env",
    "admin_labels",
    "admin_mounts",
    "admin_server",
    "admin_spec",
    "both",
    "container_security",
    "foreign_fields",
    "listed",
    "pod_security",
]

SERVER_CONTAINER = "notebook"
"""KubeSpawner's name of the container that the server runs in."""

OWN_VOLUMES = "aihub-"
"""What the names of the policy's volumes begin with. Sidecars of admins may mount these volumes, not replace them."""

NO_DEVICES = {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"}
"""Images with CUDA say *all*: a container that asked for no GPU would see every one of the node
(https://github.com/NVIDIA/k8s-device-plugin/issues/87)."""

_LISTS = (
    "containers",
    "hostAliases",
    "imagePullSecrets",
    "initContainers",
    "tolerations",
    "topologySpreadConstraints",
    "volumes",
)
_MAPS = ("affinity", "dnsConfig", "nodeSelector", "securityContext")
_TEXTS = (
    "dnsPolicy",
    "preemptionPolicy",
    "priorityClassName",
    "runtimeClassName",
    "schedulerName",
    "serviceAccountName",
)

EXTRA_POD_SPEC = frozenset({*_LISTS, *_MAPS, *_TEXTS, "hostUsers"})
"""Fields of the PodSpec that admins may set for every pod. Lists and maps are added to, the plan's entries win."""

_VOLUMES = frozenset({
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
})  # fmt: skip
_PROJECTED = frozenset({"clusterTrustBundle", "configMap", "downwardAPI", "secret"})
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_SERVER_FIELDS = frozenset({
    "env", "imagePullPolicy", "lifecycle", "terminationMessagePath", "terminationMessagePolicy", "volumeMounts",
    "workingDir", *_PROBES,
})  # fmt: skip
_SIDECAR_FIELDS = frozenset({
    "args", "command", "envFrom", "image", "name", "ports", "resources", "restartPolicy", "securityContext",
    *_SERVER_FIELDS,
})  # fmt: skip
_SYSTEM_PATHS = ("/dev", "/proc", "/run/secrets/kubernetes.io", "/sys", "/var/run/secrets/kubernetes.io")
_OWN_LABELS = frozenset({"app", "chart", "component", "heritage", "release"})
_OWN_DOMAINS = (PREFIX, "hub.jupyter.org/")


def foreign_fields(extra: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields of an `extraPodSpec` that have no effect: not in `EXTRA_POD_SPEC`, or of the wrong shape."""
    return tuple(name for name, value in extra.items() if name not in EXTRA_POD_SPEC or not _shaped(name, value))


def _shaped(name: str, value: object) -> bool:
    if name in _LISTS:
        return isinstance(value, list | tuple) and all(isinstance(each, Mapping) for each in value)
    if name in _MAPS:
        return isinstance(value, Mapping)
    return isinstance(value, bool) if name == "hostUsers" else isinstance(value, str)


# --- the pod ---------------------------------------------------------------------------------------------------------


def admin_spec(base: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """The PodSpec of KubeSpawner with `extra` added, as far as it is the admins'; `containers` are the sidecars.

    Of things with one name, and of single values, that of `extra` holds.
    """
    layers = [
        {name: value for name, value in layer.items() if name in EXTRA_POD_SPEC and _shaped(name, value)}
        for layer in (base, extra)
    ]
    spec: dict[str, Any] = {}
    for layer in layers:
        spec.update({name: layer[name] for name in _TEXTS if layer.get(name)})
        spec.update({name: {**spec.get(name, {}), **layer.get(name, {})} for name in _MAPS if name != "affinity"})
    spec["affinity"] = both(*(layer.get("affinity", {}) for layer in layers))
    spec.update({name: _added(*(listed(layer.get(name)) for layer in layers)) for name in _LISTS})
    if any(layer.get("hostUsers") is False for layer in layers):
        spec["hostUsers"] = False
    spec["volumes"] = [volume for volume in spec["volumes"] if _may_mount(volume)]
    volumes = {volume["name"] for volume in spec["volumes"]}
    for field in ("containers", "initContainers"):
        spec[field] = [_sidecar(each, volumes) for each in spec[field] if each.get("name") != SERVER_CONTAINER]
    return spec


def admin_server(base: Mapping[str, Any]) -> dict[str, Any]:
    """KubeSpawner's container of the server, as far as it is not the policy's: variables, mounts, hooks, probes.

    Raises ValueError when there is none: `extra_pod_config` replaced the containers.
    """
    for container in listed(base.get("containers")):
        if container.get("name") == SERVER_CONTAINER:
            return _without_hosts({key: value for key, value in container.items() if key in _SERVER_FIELDS and value})
    raise ValueError(
        f"KubeSpawner's pod has no container {SERVER_CONTAINER!r}: extra_pod_config must not set containers"
    )


def listed(value: object) -> list[dict[str, Any]]:
    """The objects in a list of a manifest; what is no list is an empty one."""
    return [dict(each) for each in value if isinstance(each, Mapping)] if isinstance(value, list | tuple) else []


def _added(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> list[dict[str, Any]]:
    replaced = {each["name"] for each in second if isinstance(each.get("name"), str)}
    kept = [each for each in first if each.get("name") not in replaced]
    return [*kept, *(each for each in second if each not in kept)]


def pod_security(given: Mapping[str, Any], uid: int) -> dict[str, Any]:
    """A restricted PodSecurityContext of the user `uid`. Admins may add groups, as shared file systems need them."""
    groups = [group for group in given.get("supplementalGroups") or () if _is_id(group)]
    return {
        **({"supplementalGroups": groups} if groups else {}),
        "runAsNonRoot": True,
        "runAsUser": uid,
        "runAsGroup": uid,
        "fsGroup": uid,
        # Without it the kubelet walks through every file of a home at each start.
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security(given: Mapping[str, Any]) -> dict[str, Any]:
    """A restricted SecurityContext. Admins may choose another user than root, and a read-only root file system."""
    ids = {key: given[key] for key in ("runAsUser", "runAsGroup") if _is_id(given.get(key)) and given[key] > 0}
    read_only = {"readOnlyRootFilesystem": True} if given.get("readOnlyRootFilesystem") is True else {}
    return {
        **ids,
        **read_only,
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def both(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """An Affinity that asks for what both ask for. Terms for nodes are alternatives, so each is joined with each."""
    result = {}
    for kind in ("nodeAffinity", "podAffinity", "podAntiAffinity"):
        parts = [part for part in (one.get(kind), other.get(kind)) if isinstance(part, Mapping) and part]
        if parts:
            result[kind] = _joined(parts[0], parts[1]) if len(parts) == 2 else dict(parts[0])
    return result


_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_TERMS = "nodeSelectorTerms"


def _joined(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    required = [part[_REQUIRED] for part in (one, other) if part.get(_REQUIRED)]
    preferred = [*listed(one.get(_PREFERRED)), *listed(other.get(_PREFERRED))]
    result: dict[str, Any] = {_PREFERRED: preferred} if preferred else {}
    if len(required) == 2 and isinstance(required[0], Mapping):
        result[_REQUIRED] = {_TERMS: _joined_terms(*(listed(part.get(_TERMS)) for part in required))}
    elif len(required) == 2:
        result[_REQUIRED] = [*listed(required[0]), *listed(required[1])]
    elif required:
        result[_REQUIRED] = required[0]
    return result


_EXPRESSIONS = ("matchExpressions", "matchFields")


def _joined_terms(*alternatives: list[dict[str, Any]]) -> list[dict[str, Any]]:
    # A term without expressions matches no node; joined with another it would match some.
    matching = ([term for term in terms if any(term.get(key) for key in _EXPRESSIONS)] for terms in alternatives)
    joined = []
    for pair in product(*matching):
        term = {key: [each for part in pair for each in listed(part.get(key))] for key in _EXPRESSIONS}
        joined.append({key: expressions for key, expressions in term.items() if expressions})
    return joined


# --- volumes ---------------------------------------------------------------------------------------------------------


def _may_mount(volume: Mapping[str, Any]) -> bool:
    """Whether a volume of admins may be in a pod: of a restricted kind, without a token, and nobody's home."""
    name, kinds = volume.get("name"), {key for key, value in volume.items() if key != "name" and value is not None}
    if not isinstance(name, str) or name.startswith(OWN_VOLUMES) or len(kinds) != 1 or not kinds <= _VOLUMES:
        return False
    (kind,) = kinds
    source = volume[kind]
    if not isinstance(source, Mapping):
        return False
    if kind == "persistentVolumeClaim":
        return not is_claim_name(str(source.get("claimName")))
    return kind != "projected" or all(set(each) <= _PROJECTED for each in listed(source.get("sources")))


def admin_mounts(
    mounts: object, volumes: Collection[str], *, home: str, closed: Collection[str]
) -> list[dict[str, Any]]:
    """The mounts of admins in the server: of their own `volumes`, and not where the policy mounts.

    That is the folder `home` itself, and the folders `closed` with everything below them.
    """
    return [
        mount
        for mount in _mounts(mounts, volumes)
        if _normal(mount["mountPath"]) != _normal(home) and not any(_is_in(mount["mountPath"], path) for path in closed)
    ]


def _mounts(mounts: object, volumes: Collection[str]) -> list[dict[str, Any]]:
    cleaned = (
        {key: value for key, value in mount.items() if key != "mountPropagation"}
        for mount in listed(mounts)
        if isinstance(mount.get("mountPath"), str)
    )
    return [mount for mount in cleaned if mount.get("name") in volumes and not _is_system(mount["mountPath"])]


def _is_system(path: str) -> bool:
    return any(_is_in(path, system) for system in _SYSTEM_PATHS) and not _is_in(path, "/dev/shm")  # noqa: S108


def _is_in(path: str, folder: str) -> bool:
    return f"{_normal(path)}/".startswith(f"{_normal(folder)}/")


def _normal(path: str) -> str:
    return posixpath.normpath("/" + path.strip("/"))


# --- containers ------------------------------------------------------------------------------------------------------


def _sidecar(container: Mapping[str, Any], volumes: Collection[str]) -> dict[str, Any]:
    """A container of admins beside the server: no devices, host ports or rights, but the server's volumes."""
    kept = _without_hosts({key: value for key, value in container.items() if key in _SIDECAR_FIELDS})
    given = container.get("securityContext")
    own = [mount["name"] for mount in listed(container.get("volumeMounts")) if _is_own(mount.get("name"))]
    cleaned = {
        **kept,
        "env": [*admin_env(container.get("env")), dict(NO_DEVICES)],
        "ports": [
            {key: value for key, value in port.items() if key not in {"hostPort", "hostIP"}}
            for port in listed(container.get("ports"))
        ],
        "resources": _plain_resources(container.get("resources")),
        "securityContext": container_security(given if isinstance(given, Mapping) else {}),
        "volumeMounts": _mounts(container.get("volumeMounts"), {*volumes, *own}),
    }
    return {key: value for key, value in cleaned.items() if value not in ([], {}, None)}


def _is_own(volume: object) -> bool:
    return isinstance(volume, str) and volume.startswith(OWN_VOLUMES)


def admin_env(env: object) -> list[dict[str, Any]]:
    """Variables of admins and the hub; those that hand out devices are the device plugin's."""
    return [
        variable
        for variable in listed(env)
        if isinstance(variable.get("name"), str) and not hands_out_devices(variable["name"])
    ]


def _plain_resources(resources: object) -> dict[str, Any]:
    """Requests and limits without accelerators: the plan's are counted, nobody counts these."""
    given = resources if isinstance(resources, Mapping) else {}
    parts = {part: given[part] for part in ("requests", "limits") if isinstance(given.get(part), Mapping)}
    plain = {part: {key: value for key, value in amounts.items() if "/" not in key} for part, amounts in parts.items()}
    return {part: amounts for part, amounts in plain.items() if amounts}


def _without_hosts(container: dict[str, Any]) -> dict[str, Any]:
    """The container with probes and hooks that can reach only itself, as *restricted* asks since 1.34."""
    for field in _PROBES:
        if isinstance(container.get(field), Mapping):
            container[field] = _without_host(container[field])
    if isinstance(container.get("lifecycle"), Mapping):
        container["lifecycle"] = {
            hook: _without_host(action) if isinstance(action, Mapping) else action
            for hook, action in container["lifecycle"].items()
        }
    return container


def _without_host(action: Mapping[str, Any]) -> dict[str, Any]:
    return {
        kind: {key: value for key, value in how.items() if key != "host"}
        if kind in {"httpGet", "tcpSocket"} and isinstance(how, Mapping)
        else how
        for kind, how in action.items()
    }


# --- metadata --------------------------------------------------------------------------------------------------------


def admin_labels(given: object) -> dict[str, str]:
    """Labels of admins; those that Services, NetworkPolicies or Kubernetes itself select by are not theirs."""
    return {key: value for key, value in _texts(given).items() if not _is_reserved(key)}


def _is_reserved(label: str) -> bool:
    domain, _, name = label.rpartition("/")
    if not domain:
        return name in _OWN_LABELS
    return label.startswith(_OWN_DOMAINS) or domain == "kubernetes.io" or domain.endswith(".kubernetes.io")


def admin_annotations(given: object) -> dict[str, str]:
    """Annotations of admins and KubeSpawner; not ours, and not those that change a pod's security."""
    return {
        key: value
        for key, value in _texts(given).items()
        if not key.startswith((PREFIX, "kubernetes.io/config."))
        and not key.rpartition("/")[0].endswith(("security.alpha.kubernetes.io", "security.beta.kubernetes.io"))
    }


def _texts(given: object) -> dict[str, str]:
    found = given.items() if isinstance(given, Mapping) else ()
    return {key: value for key, value in found if isinstance(key, str) and isinstance(value, str)}
