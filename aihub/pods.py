"""A plan as what Kubernetes runs: the pod of a server and the claims that it mounts.

Pure translation: manifests in and out are plain JSON values. KubeSpawner builds a pod from what admins configured
(`podbase` reduces it to what is theirs); the plan is laid over it and always wins. Nothing is looked up.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Protocol

from aihub import podbase
from aihub.catalog import StartAdapter
from aihub.environment import filtered
from aihub.errors import QuantityError
from aihub.marks import (
    ADMISSION,
    CLAIM,
    DIGEST,
    HELD,
    HUB,
    IMAGE,
    JUPYTER,
    OWNER,
    PREFIX,
    PROFILE,
    PROJECT,
    SERVER,
    Component,
    Identity,
    admission_of,
    claim_mark,
    claim_name,
    claim_ours,
    held_claim,
    labels,
    owner_of,
    selector,
    server_name,
    server_ours,
)
from aihub.plan import Plan
from aihub.resources import CPU, MEMORY, STORAGE, format_quantity, parse_quantity
from aihub.serverconfig import CONFIG_FILE, CONFIG_FOLDER, CONFIG_PATH, config_document, config_path
from aihub.storage import Claim, HeldClaim

__all__ = [
    "ADMISSION",
    "CLAIM",
    "DEFAULT_CLAIM_SIZE",
    "DIGEST",
    "HELD",
    "HUB",
    "IMAGE",
    "OWNER",
    "PORT_NAME",
    "PREFIX",
    "PROFILE",
    "PROJECT",
    "SERVER",
    "SERVER_CONTAINER",
    "Admitted",
    "Component",
    "Identity",
    "PodSettings",
    "admission_of",
    "claim_mark",
    "claim_name",
    "claim_ours",
    "claims",
    "grown",
    "held_claim",
    "labels",
    "owner_of",
    "pod",
    "selector",
    "server_name",
    "server_ours",
]

SERVER_CONTAINER = podbase.SERVER_CONTAINER
PORT_NAME = "notebook-port"

DEFAULT_CLAIM_SIZE = Decimal(10 * 1024**3)
"""In bytes, 10Gi: what a claim asks for where the policy names no size. It is charged to nobody and never grown."""

_HOME, _SHARED, _SHM, _JUPYTER = (f"{podbase.OWN_VOLUMES}{name}" for name in ("home", "project", "shm", "jupyter"))
_SHM_PATH = "/dev/shm"  # noqa: S108  # where POSIX puts shared memory
_NOT_EVICTED = {
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
    "karpenter.sh/do-not-disrupt": "true",
}


@dataclass(frozen=True, slots=True)
class PodSettings:
    """What all pods of a hub share.

    `namespace` is where servers of plans without one run. `extra_pod_spec` may set what `podbase.EXTRA_POD_SPEC` lists;
    what is not a trait of KubeSpawner is given here: names of Secrets for all images, and for profiles that say nothing
    of them the priority class and the limit of ephemeral storage in bytes. `grace_seconds` is how long a server may
    take to end.
    """

    namespace: str
    extra_pod_spec: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    pull_secrets: tuple[str, ...] = ()
    priority_class: str = ""
    ephemeral_limit: Decimal | None = None
    grace_seconds: int = 30


class _Server(Protocol):
    @property
    def person(self) -> str: ...
    @property
    def name(self) -> str: ...


class _Entry(Protocol):
    @property
    def server(self) -> _Server: ...


class Admitted(Protocol):
    """An `aihub.app.Admission`, as far as a pod needs it."""

    @property
    def plan(self) -> Plan | None:
        """What is started."""

    @property
    def entry(self) -> _Entry:
        """Whose server it is, and its name."""

    def as_state(self) -> dict[str, Any]:
        """Plain JSON values with which a new hub takes the server over."""


# --- the pod ---------------------------------------------------------------------------------------------------------


def pod(base: Mapping[str, Any], admission: Admitted, identity: Identity, settings: PodSettings) -> dict[str, Any]:
    """The pod of what was admitted: the manifest `base` of KubeSpawner with the plan over it.

    `base` is `ApiClient().sanitize_for_serialization(await spawner.get_pod_manifest())`. Raises ValueError when the
    plan is not known or names no image, and when `base` has no container for the server.
    """
    plan = admission.plan
    if plan is None or plan.image is None:
        raise ValueError("Only a plan with an image becomes a pod")
    metadata = base.get("metadata") or {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": server_name(identity, admission.entry.server.person, admission.entry.server.name),
            "namespace": plan.namespace or settings.namespace,
            "labels": {
                **podbase.admin_labels(metadata.get("labels")),
                **labels(identity, Component.USER_SERVER, plan.project),
            },
            "annotations": {
                **podbase.admin_annotations(metadata.get("annotations")),
                **podbase.admin_annotations(plan.annotations),
                **_annotations(plan, admission, identity),
            },
        },
        "spec": _spec(base.get("spec") or {}, plan, plan.image, identity, settings),
    }


def _annotations(plan: Plan, admission: Admitted, identity: Identity) -> dict[str, str]:
    digest = (plan.image or "").partition("@")[2]
    return {
        **_NOT_EVICTED,
        OWNER: owner_of(identity, admission.entry.server.person),
        SERVER: admission.entry.server.name,
        PROJECT: plan.project,
        PROFILE: plan.profile,
        IMAGE: plan.reference,
        **({DIGEST: digest} if digest else {}),
        ADMISSION: _json(admission.as_state()),
        JUPYTER: config_document(),
    }


def _spec(base: Mapping[str, Any], plan: Plan, image: str, identity: Identity, settings: PodSettings) -> dict[str, Any]:
    admins = podbase.admin_spec(base, settings.extra_pod_spec)
    volumes, mounts = _storage(plan, identity)
    placement = plan.placement
    server = _server(podbase.admin_server(base), plan, image, settings)
    server["volumeMounts"] = [
        *podbase.admin_mounts(
            server.get("volumeMounts"),
            {volume["name"] for volume in admins["volumes"]},
            home=plan.start.home,
            closed=_closed(plan.start.home, mounts),
        ),
        *mounts,
    ]
    own = [*(volume["name"] for volume in admins["volumes"]), *(volume["name"] for volume in volumes)]
    spec = {
        **admins,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        # The ledger and the pages must see how a server ended, OOMKilled for one: with OnFailure the kubelet starts the
        # container again behind the hub's back, with its kernels and their memory gone.
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": settings.grace_seconds,
        "securityContext": podbase.pod_security(admins["securityContext"], plan.start.uid),
        "imagePullSecrets": _pull_secrets(plan, settings, admins["imagePullSecrets"]),
        "nodeSelector": {**admins["nodeSelector"], **placement.node_selector},
        "tolerations": _distinct([*admins["tolerations"], *(_plain(each) for each in placement.tolerations)]),
        "affinity": podbase.both(admins["affinity"], _plain(placement.affinity)),
        "priorityClassName": placement.priority_class or settings.priority_class or admins.get("priorityClassName"),
        "runtimeClassName": placement.runtime_class or admins.get("runtimeClassName"),
        "containers": [server, *(_mounting(each, own) for each in admins["containers"])],
        "initContainers": [_mounting(each, own) for each in admins["initContainers"]],
        "volumes": [*admins["volumes"], *volumes],
    }
    return {key: value for key, value in spec.items() if value not in (None, "", [], {})}


def _mounting(container: dict[str, Any], volumes: list[str]) -> dict[str, Any]:
    """A container of admins without mounts of volumes that this pod does not have."""
    mounts = [mount for mount in container.get("volumeMounts", ()) if mount["name"] in volumes]
    rest = {key: value for key, value in container.items() if key != "volumeMounts"}
    return {**rest, "volumeMounts": mounts} if mounts else rest


def _pull_secrets(plan: Plan, settings: PodSettings, admins: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return _distinct([*({"name": name} for name in (*plan.pull_secrets, *settings.pull_secrets)), *admins])


# --- the container of the server -------------------------------------------------------------------------------------


def _server(base: Mapping[str, Any], plan: Plan, image: str, settings: PodSettings) -> dict[str, Any]:
    start = plan.start
    # The image's own entrypoint (an init, for example) is kept for the usual command, which is an argument to it; a
    # stream that names a command means just that.
    how = "args" if start.command == StartAdapter().command else "command"
    return {
        "workingDir": start.home,
        # The last lines that a server wrote reach its person without the right to read logs.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        **base,
        "name": SERVER_CONTAINER,
        "image": image,
        how: list(start.command),
        "ports": [{"name": PORT_NAME, "containerPort": start.port}],
        "env": _environment(base.get("env"), plan, image),
        "resources": _resources(plan, settings),
        "securityContext": podbase.container_security({"runAsUser": start.uid, "runAsGroup": start.uid}),
    }


def _environment(base: object, plan: Plan, image: str) -> list[dict[str, Any]]:
    """The project's variables, below the hub's and the admins', below what the plan says itself."""
    hubs = [variable for variable in podbase.admin_env(base) if variable["name"] not in _AMOUNTS]
    others = next((each.get("value") for each in hubs if each["name"] == CONFIG_PATH), None)
    told = [{"name": name, "value": value} for name, value in _told(plan, image, others).items()]
    allowed, _ = filtered(plan.environment)
    projects = [{"name": name, "value": allowed[name]} for name in sorted(allowed)]
    above = {variable["name"] for variable in (*hubs, *told)}
    # A lower variable that is replaced leaves its place too: $(NAME) sees only what stands before it.
    layers = (
        *(variable for variable in projects if variable["name"] not in above),
        *(variable for variable in hubs if variable["name"] not in {each["name"] for each in told}),
        *told,
    )
    return [_at_port(variable, plan.start.port) for variable in layers]


_AMOUNTS = {
    "CPU_GUARANTEE": ("requests", CPU),
    "CPU_LIMIT": ("limits", CPU),
    "MEM_GUARANTEE": ("requests", MEMORY),
    "MEM_LIMIT": ("limits", MEMORY),
}


def _told(plan: Plan, image: str, config: str | None) -> dict[str, str]:
    """What a server is told of itself; amounts as JupyterHub tells them, in cores and bytes.

    `config` are the folders of configuration that admins name.
    """
    amounts = {name: getattr(plan, part)[key] for name, (part, key) in _AMOUNTS.items()}
    return {
        "HOME": plan.start.home,
        CONFIG_PATH: config_path(config),
        # KubeSpawner names the image of its own trait.
        "JUPYTER_IMAGE": image,
        "JUPYTER_IMAGE_SPEC": image,
        **{name: f"{amount:f}" for name, amount in amounts.items() if amount},
        **({} if _has_accelerator(plan) else {podbase.NO_DEVICES["name"]: podbase.NO_DEVICES["value"]}),
    }


def _has_accelerator(plan: Plan) -> bool:
    return plan.accelerator is not None and plan.accelerator_count > 0


_ADDRESS = re.compile(r"(?P<host>[a-z]+://(?:\[[^\]/]*\]|[^:/]*))(?::[0-9]+)?")


def _at_port(variable: dict[str, Any], port: int) -> dict[str, Any]:
    """JUPYTERHUB_SERVICE_URL is where the server listens: at its image's port, not at the spawner's."""
    if variable["name"] != "JUPYTERHUB_SERVICE_URL" or not isinstance(variable.get("value"), str):
        return variable
    return {**variable, "value": _ADDRESS.sub(rf"\g<host>:{port}", variable["value"], count=1)}


def _resources(plan: Plan, settings: PodSettings) -> dict[str, Any]:
    requests = {key: format_quantity(key, plan.requests[key]) for key in (CPU, MEMORY) if plan.requests[key]}
    limits = {key: format_quantity(key, plan.limits[key]) for key in (CPU, MEMORY) if plan.limits[key]}
    if plan.ephemeral_request is not None:
        requests["ephemeral-storage"] = format_quantity(STORAGE, plan.ephemeral_request)
    limit = plan.ephemeral_limit if plan.ephemeral_limit is not None else settings.ephemeral_limit
    if limit is not None:
        # Above the limit of all pods a profile may still ask for more: that is then its limit.
        limit = max(limit, plan.ephemeral_request or limit)
        limits["ephemeral-storage"] = format_quantity(STORAGE, limit)
    if plan.accelerator is not None and _has_accelerator(plan):
        # Kubernetes does not overcommit extended resources: both must be equal.
        requests[plan.accelerator] = limits[plan.accelerator] = str(plan.accelerator_count)
    return {"requests": requests, "limits": limits}


# --- what it mounts --------------------------------------------------------------------------------------------------


def _storage(plan: Plan, identity: Identity) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The volumes of the server, and where it mounts them."""
    home = plan.start.home
    found = [_volume(_HOME, claim_name(identity, plan.home.id), home, read_only=False)]
    if plan.shared is not None:
        claim = claim_name(identity, f"project/{plan.project}")
        found.append(_volume(_SHARED, claim, f"{home}/project", read_only=not plan.may_write_shared))
    for number, dataset in enumerate(plan.datasets):
        if dataset.claim is not None:
            name = f"{podbase.OWN_VOLUMES}dataset-{number}"
            found.append(_volume(name, dataset.claim, f"{home}/datasets/{dataset.name}", read_only=True))
    if plan.shared_memory is not None:
        size = format_quantity(MEMORY, plan.shared_memory)
        memory = {"name": _SHM, "emptyDir": {"medium": "Memory", "sizeLimit": size}}
        found.append((memory, {"name": _SHM, "mountPath": _SHM_PATH}))
    found.append(_configuration())
    return [volume for volume, _ in found], [mount for _, mount in found]


def _volume(name: str, claim: str, path: str, *, read_only: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    # Read-only at the volume: no container of the pod can mount it otherwise.
    flag = {"readOnly": True} if read_only else {}
    return {"name": name, "persistentVolumeClaim": {"claimName": claim, **flag}}, {
        "name": name,
        "mountPath": path,
        **flag,
    }


def _configuration() -> tuple[dict[str, Any], dict[str, Any]]:
    """The file of Jupyter's configuration: the pod's own annotation, so that there is no ConfigMap to keep."""
    item = {"path": CONFIG_FILE, "fieldRef": {"fieldPath": f"metadata.annotations['{JUPYTER}']"}}
    mount = {"name": _JUPYTER, "mountPath": CONFIG_FOLDER, "readOnly": True}
    return {"name": _JUPYTER, "downwardAPI": {"items": [item]}}, mount


def _closed(home: str, mounts: list[dict[str, Any]]) -> tuple[str, ...]:
    """Folders in which admins may not mount anything. The rest of the home is open to them."""
    return (f"{home}/project", f"{home}/datasets", *(each["mountPath"] for each in mounts if each["mountPath"] != home))


# --- claims ----------------------------------------------------------------------------------------------------------


def claims(plan: Plan, identity: Identity, settings: PodSettings) -> tuple[dict[str, Any], ...]:
    """The PersistentVolumeClaims that the plan's server needs, in the order of `plan.claims`."""
    return tuple(_claim(claim, plan, identity, settings) for claim in plan.claims)


def _claim(claim: Claim, plan: Plan, identity: Identity, settings: PodSettings) -> dict[str, Any]:
    shared = claim.id.startswith("project/")
    storage_class = plan.storage.shared if shared else plan.storage.home
    size = claim.size if claim.size is not None else DEFAULT_CLAIM_SIZE
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": claim_name(identity, claim.id),
            "namespace": plan.namespace or settings.namespace,
            "labels": labels(identity, Component.STORAGE, plan.project if claim.charge.project else ""),
            "annotations": {
                OWNER: claim_mark(identity, claim.id) if shared else owner_of(identity, plan.person),
                CLAIM: claim_mark(identity, claim.id),
                HELD: _json(HeldClaim(claim, plan.person, plan.project).as_dict()),
            },
        },
        "spec": {
            "accessModes": [plan.storage.shared_access if shared else "ReadWriteOnce"],
            **({"storageClassName": storage_class} if storage_class is not None else {}),
            "resources": {"requests": {"storage": format_quantity(STORAGE, size)}},
        },
    }


def grown(existing: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any] | None:
    """The merge patch that makes the claim `existing` as large as `wanted` asks and charges it so; None if it is.

    Nothing ever shrinks: neither the claim nor what it is charged. A size that the policy does not name grows nothing,
    and neither does a claim whose size cannot be read. The annotation is mended where it cannot be read.
    """
    asked, charged = held_claim(wanted), held_claim(existing)
    has, wants = _requested(existing), _requested(wanted)
    if asked is None or has is None or wants is None:
        return None
    patch: dict[str, Any] = {}
    if charged is None or (charged.claim.size or 0) < (asked.claim.size or 0):
        patch["metadata"] = {"annotations": {HELD: _json(asked.as_dict())}}
    if asked.claim.size is not None and has < wants:
        patch["spec"] = {"resources": {"requests": {"storage": format_quantity(STORAGE, wants)}}}
    return patch or None


def _requested(claim: Mapping[str, Any]) -> Decimal | None:
    found: Any = claim
    for part in ("spec", "resources", "requests", "storage"):
        found = found.get(part) if isinstance(found, Mapping) else None
    try:
        return parse_quantity(found)
    except QuantityError:
        return None


# --- JSON values -----------------------------------------------------------------------------------------------------


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _plain(value: Any) -> Any:
    """A value of the policy as JSON has it: frozen maps and tuples become dicts and lists."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def _distinct(values: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [value for index, value in enumerate(values) if value not in values[:index]]
