"""The values of the Helm chart and the settings that it hands to the hub: pydantic models, source of their schema.

`python -m aihub.chart > helm/aihub/values.schema.json` brings the chart's schema up to date. Names are those of
Zero to JupyterHub where the meaning is the same. Defaults stand in values.yaml, and the models repeat them: a test
holds both together.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field

from aihub.config import strict_schema
from aihub.fields import Model
from aihub.policyfile import PolicyDocument

__all__ = ["Settings", "Values", "values_schema"]

# --- values ----------------------------------------------------------------------------------------------------------

KubernetesObject = dict[str, Any]
Labels = dict[str, str]
Port = Annotated[int, Field(ge=1, le=65535)]
NodePort = Annotated[int, Field(ge=0, le=32767)]
Namespace = Annotated[str, Field(pattern=r"^([a-z0-9]([a-z0-9-]*[a-z0-9])?)?$", max_length=63)]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$", max_length=250)]
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=250)]
Count = Annotated[int, Field(ge=0)]
Cidr = Annotated[str, Field(pattern=r"^[0-9a-fA-F.:]+/[0-9]{1,3}$")]
AccessMode = Literal["ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod"]
_ONE_WRITER: list[AccessMode] = ["ReadWriteOnce"]
PullPolicy = Literal["", "Always", "IfNotPresent", "Never"]


class ContainerImageModel(Model):
    """An image of the chart."""

    name: str = Field(default="", title="Name", description="Registry and repository, without tag.")
    tag: str = Field(default="", title="Tag", description="Tag; empty: the chart's appVersion.")
    digest: str = Field(
        default="",
        pattern=r"^(sha256:[0-9a-f]{64})?$",
        title="Digest",
        description="Digest as in sha256:…; where it is given, it is what runs.",
    )
    pull_policy: PullPolicy = Field(default="", title="Pull policy", description="Empty: what Kubernetes does.")


class ResourcesModel(Model):
    """Resources of a container, as in the Kubernetes PodSpec."""

    requests: dict[str, str | int | float] = Field(
        default_factory=dict, title="Requests", description="What is set aside, by resource."
    )
    limits: dict[str, str | int | float] = Field(
        default_factory=dict, title="Limits", description="What may be used at most, by resource."
    )


class ClaimModel(Model):
    """The PersistentVolumeClaim of the hub."""

    storage: str = Field(default="1Gi", title="Storage", description="Size that is asked for.")
    storage_class_name: str = Field(
        default="", title="Storage class", description="Empty: the cluster's default class. `-` means the class ''."
    )
    access_modes: list[AccessMode] = Field(
        default_factory=_ONE_WRITER.copy, title="Access modes", description="accessModes of the claim."
    )
    annotations: Labels = Field(default_factory=dict, title="Annotations", description="Annotations of the claim.")
    existing_claim: str = Field(
        default="", title="Existing claim", description="Name of a claim that is there already; then none is made."
    )


class DatabaseModel(Model):
    """Where the hub keeps its records."""

    type: Literal["sqlite-pvc", "postgres"] = Field(
        default="sqlite-pvc",
        title="Type",
        description="sqlite-pvc: files on a claim. postgres: URLs from the keys hubDatabaseUrl and databaseUrl of "
        "hub.existingSecret, which may be the same; no claim is made.",
    )
    pvc: ClaimModel = Field(default_factory=ClaimModel, title="Claim", description="The claim of sqlite-pvc.")


class ServiceModel(Model):
    """A Service."""

    annotations: Labels = Field(default_factory=dict, title="Annotations", description="Annotations of the Service.")
    labels: Labels = Field(default_factory=dict, title="Labels", description="More labels of the Service.")


class NodePortsModel(Model):
    """Ports on every node, for type NodePort or LoadBalancer."""

    http: NodePort = Field(default=0, title="HTTP", description="0: Kubernetes chooses one.")


class PublicServiceModel(ServiceModel):
    """The Service in front of the proxy."""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = Field(
        default="ClusterIP", title="Type", description="ClusterIP suits an Ingress or an HTTPRoute."
    )
    port: Port = Field(default=80, title="Port", description="Port of the Service.")
    node_ports: NodePortsModel = Field(default_factory=NodePortsModel, title="Node ports", description="Fixed ports.")
    load_balancer_source_ranges: list[Cidr] = Field(
        default_factory=list, title="Source ranges", description="Addresses that the load balancer lets in."
    )


class ServiceAccountModel(Model):
    """The hub's service account."""

    create: bool = Field(default=True, title="Create", description="Whether the chart makes it.")
    name: str = Field(default="", title="Name", description="Empty: a name from the release.")
    annotations: Labels = Field(default_factory=dict, title="Annotations", description="Annotations of the account.")


class DisruptionBudgetModel(Model):
    """A PodDisruptionBudget."""

    enabled: bool = Field(
        default=False,
        title="Enabled",
        description="With one replica it keeps a node from being drained until the pod is deleted by hand.",
    )


class EgressModel(Model):
    """Where pods may connect to."""

    allow: list[KubernetesObject] = Field(
        default_factory=list,
        title="Allow",
        description="More egress rules, as in a NetworkPolicy: the campus Git server, NFS, a package mirror, a proxy.",
    )


class CoreNetworkPolicyModel(Model):
    """The NetworkPolicy of the hub or the proxy."""

    enabled: bool = Field(default=True, title="Enabled", description="Whether the chart makes it.")
    ingress: list[KubernetesObject] = Field(
        default_factory=list, title="Ingress", description="More ingress rules, as in a NetworkPolicy."
    )
    egress: EgressModel = Field(default_factory=EgressModel, title="Egress", description="Outgoing connections.")


_PRIVATE = ["10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8"]
_PRIVATE6 = [
    "::1/128",
    "fc00::/7",
    "fe80::/10",
    "64:ff9b::a00:0/104",
    "64:ff9b::6440:0/106",
    "64:ff9b::a9fe:0/112",
    "64:ff9b::ac10:0/108",
    "64:ff9b::c0a8:0/112",
    "64:ff9b::7f00:0/104",
]


class UserEgressModel(EgressModel):
    """Where user servers may connect to. DNS and the hub are always allowed."""

    outside: bool = Field(
        default=True, title="Outside", description="Allow every address except private and metadata ones."
    )
    blocked: list[Cidr] = Field(
        default_factory=_PRIVATE.copy,
        title="Blocked",
        description="IPv4 ranges that `outside` does not open. Add the API server and the nodes if they have others.",
    )
    blocked6: list[Cidr] = Field(
        default_factory=_PRIVATE6.copy,
        title="Blocked, IPv6",
        description="IPv6 ranges that `outside` does not open, those of NAT64 among them.",
    )


class UserNetworkPolicyModel(Model):
    """The NetworkPolicies of the user namespaces."""

    enabled: bool = Field(
        default=True,
        title="Enabled",
        description="Whether the chart makes them. They need a network plugin that enforces policies.",
    )
    ingress: list[KubernetesObject] = Field(
        default_factory=list, title="Ingress", description="More ingress rules, as in a NetworkPolicy."
    )
    egress: UserEgressModel = Field(
        default_factory=UserEgressModel, title="Egress", description="Outgoing connections."
    )


Traits = dict[str, dict[str, Any]]
EnvironmentValue = str | KubernetesObject


class HubModel(Model):
    """The hub: its image, records, configuration and rights."""

    config: Traits = Field(
        default_factory=dict,
        title="Configuration",
        description="Traits by class, as in `JupyterHub: {admin_access: false}`. Rules of the policy still hold.",
    )
    extra_config: dict[FileName, str] = Field(
        default_factory=dict,
        title="Extra configuration",
        description="Python files by name, read after everything else in the order of their names.",
    )
    extra_env: dict[VariableName, EnvironmentValue] = Field(
        default_factory=dict,
        title="Extra environment",
        description="Variables of the hub by name: a text, or the rest of an EnvVar such as valueFrom.",
    )
    extra_volumes: list[KubernetesObject] = Field(
        default_factory=list, title="Extra volumes", description="volumes of the hub's pod."
    )
    extra_volume_mounts: list[KubernetesObject] = Field(
        default_factory=list, title="Extra volume mounts", description="volumeMounts of the hub's container."
    )
    extra_pod_spec: KubernetesObject = Field(
        default_factory=dict, title="Extra pod spec", description="Merged over the spec of the hub's pod."
    )
    base_url: str = Field(
        default="/", pattern="^/([^ ]*/)?$", title="Base URL", description="Path of everything; begins and ends with /."
    )
    concurrent_spawn_limit: Count = Field(
        default=64, title="Concurrent starts", description="Starts at the same time; 0: no limit."
    )
    active_server_limit: Count = Field(
        default=0, title="Active servers", description="Servers at the same time; 0: no limit."
    )
    existing_secret: str = Field(
        default="aihub-secrets",
        min_length=1,
        title="Existing Secret",
        description="Name of the Secret with proxyToken, cookieSecret, cryptKey, and what the sign-in method needs: "
        "the passwords, or clientSecret; `aihub secrets` prints one. A new clientSecret reaches the running hub within "
        "two minutes; after any other change restart hub and proxy with `kubectl rollout restart`.",
    )
    ca_config_map: str = Field(
        default="",
        title="CA ConfigMap",
        description="Name of a ConfigMap whose keys are files in /etc/aihub/ca: certificate authorities for `caFile` "
        "of the sign-in method.",
    )
    db: DatabaseModel = Field(default_factory=DatabaseModel, title="Database", description="The hub's records.")
    image: ContainerImageModel = Field(
        default_factory=lambda: ContainerImageModel(name="aihub/hub"), title="Image", description="The hub's image."
    )
    resources: ResourcesModel = Field(
        default_factory=lambda: ResourcesModel(requests={"cpu": "200m", "memory": "512Mi"}),
        title="Resources",
        description="Resources of the hub's container.",
    )
    labels: Labels = Field(default_factory=dict, title="Labels", description="More labels of the hub's pod.")
    annotations: Labels = Field(default_factory=dict, title="Annotations", description="Annotations of the hub's pod.")
    service: ServiceModel = Field(default_factory=ServiceModel, title="Service", description="The hub's Service.")
    service_account: ServiceAccountModel = Field(
        default_factory=ServiceAccountModel, title="Service account", description="Whom the hub is to the API server."
    )
    pdb: DisruptionBudgetModel = Field(
        default_factory=DisruptionBudgetModel, title="Disruption budget", description="The hub's PodDisruptionBudget."
    )
    network_policy: CoreNetworkPolicyModel = Field(
        default_factory=CoreNetworkPolicyModel, title="Network policy", description="Who reaches the hub, whom it may."
    )


class ChpModel(Model):
    """configurable-http-proxy."""

    image: ContainerImageModel = Field(
        default_factory=lambda: ContainerImageModel(name="aihub/proxy"), title="Image", description="The proxy's image."
    )
    resources: ResourcesModel = Field(
        default_factory=lambda: ResourcesModel(requests={"cpu": "100m", "memory": "128Mi"}),
        title="Resources",
        description="Resources of the proxy's container.",
    )
    extra_command_line_flags: list[str] = Field(
        default_factory=list,
        title="Flags",
        description="More arguments of configurable-http-proxy. Behind a load balancer that ends TLS: "
        "`--no-x-forward`, which ingress and httpRoute give by themselves.",
    )
    extra_env: dict[VariableName, EnvironmentValue] = Field(
        default_factory=dict, title="Extra environment", description="Variables of the proxy, as hub.extraEnv."
    )
    extra_pod_spec: KubernetesObject = Field(
        default_factory=dict, title="Extra pod spec", description="Merged over the spec of the proxy's pod."
    )
    pdb: DisruptionBudgetModel = Field(
        default_factory=DisruptionBudgetModel, title="Disruption budget", description="The proxy's PodDisruptionBudget."
    )
    network_policy: CoreNetworkPolicyModel = Field(
        default_factory=CoreNetworkPolicyModel,
        title="Network policy",
        description="Who reaches the proxy, whom it may. Everybody reaches its public port.",
    )


class ProxyModel(Model):
    """The proxy that people's browsers talk to."""

    service: PublicServiceModel = Field(
        default_factory=PublicServiceModel, title="Service", description="The Service that people reach."
    )
    labels: Labels = Field(default_factory=dict, title="Labels", description="More labels of the proxy's pod.")
    annotations: Labels = Field(
        default_factory=dict, title="Annotations", description="Annotations of the proxy's pod."
    )
    chp: ChpModel = Field(default_factory=ChpModel, title="Proxy", description="The program itself.")


class SingleuserModel(Model):
    """What all user servers share. Images, sizes and who may start what are `aihub`'s."""

    namespace: Namespace = Field(
        default="",
        title="Namespace",
        description="Where user servers run; empty: the name of the release's namespace with `-users` behind it.",
    )
    start_timeout: int = Field(default=3600, ge=60, title="Start timeout", description="Seconds until a start fails.")
    image_pull_policy: PullPolicy = Field(
        default="", title="Image pull policy", description="Of user servers; empty: what Kubernetes does."
    )
    node_selector: Labels = Field(
        default_factory=dict, title="Node selector", description="Of every user server; profiles add theirs."
    )
    extra_tolerations: list[KubernetesObject] = Field(
        default_factory=list, title="Extra tolerations", description="Of every user server; profiles add theirs."
    )
    extra_labels: Labels = Field(default_factory=dict, title="Extra labels", description="More labels of the pods.")
    extra_annotations: Labels = Field(
        default_factory=dict, title="Extra annotations", description="More annotations of the pods."
    )
    extra_env: dict[VariableName, str] = Field(
        default_factory=dict, title="Extra environment", description="Variables of every user server."
    )
    extra_volumes: list[KubernetesObject] = Field(
        default_factory=list, title="Extra volumes", description="volumes of every user server."
    )
    extra_volume_mounts: list[KubernetesObject] = Field(
        default_factory=list, title="Extra volume mounts", description="volumeMounts of every user server."
    )
    extra_pod_spec: KubernetesObject = Field(
        default_factory=dict,
        title="Extra pod spec",
        description="Merged over the spec of every user server's pod; what the policy decides stays.",
    )
    network_policy: UserNetworkPolicyModel = Field(
        default_factory=UserNetworkPolicyModel, title="Network policies", description="Of the user namespaces."
    )


class CullModel(Model):
    """The service that stops idle servers. When a server is idle is said by `aihub.projects.NAME.idle`."""

    enabled: bool = Field(default=True, title="Enabled", description="Whether idle servers are stopped.")
    every: int = Field(default=300, ge=30, title="Every", description="Seconds between two looks.")


class IngressModel(Model):
    """An Ingress in front of the proxy."""

    enabled: bool = Field(default=False, title="Enabled", description="Whether the chart makes it.")
    ingress_class_name: str = Field(default="", title="Class", description="Empty: the cluster's default class.")
    annotations: Labels = Field(default_factory=dict, title="Annotations", description="Annotations of the Ingress.")
    hosts: list[str] = Field(default_factory=list, title="Hosts", description="Host names; empty: every one.")
    path_type: Literal["Prefix", "Exact", "ImplementationSpecific"] = Field(
        default="Prefix", title="Path type", description="pathType of the paths."
    )
    tls: list[KubernetesObject] = Field(default_factory=list, title="TLS", description="tls of the Ingress.")


class GatewayModel(Model):
    """The Gateway that a route belongs to."""

    name: str = Field(default="", title="Name", description="Name of the Gateway.")
    namespace: str = Field(default="", title="Namespace", description="Empty: the release's namespace.")
    section_name: str = Field(default="", title="Section", description="Name of the listener; empty: all.")


class HttpRouteModel(Model):
    """An HTTPRoute of the Gateway API in front of the proxy."""

    enabled: bool = Field(default=False, title="Enabled", description="Whether the chart makes it.")
    annotations: Labels = Field(default_factory=dict, title="Annotations", description="Annotations of the HTTPRoute.")
    gateway: GatewayModel = Field(default_factory=GatewayModel, title="Gateway", description="Whose route it is.")
    hostnames: list[str] = Field(default_factory=list, title="Host names", description="Empty: those of the Gateway.")


class PodPriorityModel(Model):
    """Priority classes. They are objects of the whole cluster."""

    enabled: bool = Field(default=False, title="Enabled", description="Whether the chart makes and uses them.")
    core_priority: int = Field(default=10, title="Core priority", description="Priority of hub and proxy.")
    user_priority: int = Field(default=0, title="User priority", description="Priority of user servers.")


class CorePodsModel(Model):
    """Where hub, proxy and the chart's jobs run."""

    node_selector: Labels = Field(default_factory=dict, title="Node selector", description="nodeSelector of the pods.")
    tolerations: list[KubernetesObject] = Field(
        default_factory=list, title="Tolerations", description="tolerations of the pods."
    )
    affinity: KubernetesObject = Field(default_factory=dict, title="Affinity", description="affinity of the pods.")


class SchedulingModel(Model):
    """Where pods run, and which go first."""

    scheduler_name: str = Field(
        default="", title="Scheduler", description="schedulerName of user servers; empty: the default scheduler."
    )
    pod_priority: PodPriorityModel = Field(
        default_factory=PodPriorityModel, title="Pod priority", description="Priority classes of the chart."
    )
    core_pods: CorePodsModel = Field(
        default_factory=CorePodsModel, title="Core pods", description="Hub, proxy and the chart's jobs."
    )


class SwitchModel(Model):
    """Something that is on or off."""

    enabled: bool = Field(default=False, title="Enabled", description="Whether it is on.")


class PrePullerModel(Model):
    """Images are fetched to every node before somebody waits for them."""

    continuous: SwitchModel = Field(
        default_factory=SwitchModel, title="Continuous", description="A DaemonSet that fetches on every node."
    )
    pull_image_streams: bool = Field(
        default=True,
        title="Pull image streams",
        description="Fetch the images of the tags in `aihub.imageStreams`, those that are retired left out.",
    )
    extra_images: list[str] = Field(
        default_factory=list, title="Extra images", description="More image references to fetch."
    )
    node_selector: Labels = Field(
        default_factory=dict, title="Node selector", description="Nodes to fetch on; empty: singleuser.nodeSelector."
    )
    extra_tolerations: list[KubernetesObject] = Field(
        default_factory=list, title="Extra tolerations", description="Beside singleuser.extraTolerations."
    )
    resources: ResourcesModel = Field(
        default_factory=lambda: ResourcesModel(requests={"cpu": "10m", "memory": "16Mi"}),
        title="Resources",
        description="Resources of each container.",
    )


class RbacModel(Model):
    """What the hub may do in the cluster."""

    create: bool = Field(default=True, title="Create", description="Whether the chart makes Roles and bindings.")
    read_nodes: bool = Field(
        default=False,
        title="Read nodes",
        description="Allow the hub to read nodes and storage classes in the whole cluster (ClusterRole): the form then "
        "shows what is free, and what fits no machine is refused at once.",
    )


class ResourceQuotaModel(Model):
    """A ResourceQuota of a user namespace."""

    hard: dict[str, str | int | float] = Field(
        title="Hard", description="Ceilings by resource, as in a ResourceQuota. Keep them above those of the policy."
    )


class LimitRangeModel(Model):
    """A LimitRange of a user namespace."""

    limits: list[KubernetesObject] = Field(title="Limits", description="limits of a LimitRange.")


class NamespacesModel(Model):
    """The namespaces of the user servers: one, or one per project where `aihub.cluster.namespaces` says perProject."""

    create: bool = Field(
        default=True,
        title="Create",
        description="Whether the chart makes them. They stay after `helm uninstall`, with all claims in them.",
    )
    labels: Labels = Field(default_factory=dict, title="Labels", description="More labels of the namespaces.")
    annotations: Labels = Field(default_factory=dict, title="Annotations", description="Annotations of the namespaces.")
    resource_quotas: dict[str, ResourceQuotaModel] = Field(
        default_factory=dict, title="Resource quotas", description="ResourceQuotas by namespace."
    )
    limit_ranges: dict[str, LimitRangeModel] = Field(
        default_factory=dict, title="Limit ranges", description="LimitRanges by namespace."
    )


class PolicyCheckModel(Model):
    """The Job that runs `aihub check` before an install or upgrade."""

    enabled: bool = Field(
        default=True, title="Enabled", description="A policy with errors then ends the install with its words."
    )


class TestsModel(Model):
    """`helm test`: hub, pages, rights, storage, the provider of sign-in, and a real start and stop."""

    enabled: bool = Field(default=True, title="Enabled", description="Whether there is something to test with.")
    user: str = Field(
        default="",
        title="User",
        description="Who starts a server: one of aihub.signIn.people who is no admin; empty: nothing is started. A "
        "provider signs in nobody without a browser.",
    )
    project: str = Field(default="", title="Project", description="Empty: the person's only one.")
    image: str = Field(default="", title="Image", description="stream:tag; empty: the project's default.")
    profile: str = Field(default="", title="Profile", description="Empty: the project's default.")
    timeout: int = Field(default=600, ge=10, title="Timeout", description="Seconds for the start.")


class Values(Model):
    """The values of the chart."""

    fullname_override: str = Field(
        default="", max_length=40, title="Full name", description="Begins the names of all objects; empty: the release."
    )
    global_: KubernetesObject = Field(
        default_factory=dict, alias="global", title="Global", description="Not used; Helm sets it in charts of charts."
    )
    aihub: PolicyDocument = Field(
        default_factory=PolicyDocument,
        title="Policy",
        description="The policy file: what people may start, and with whose means. It reaches the hub without a "
        "restart, except `signIn`. Described in the reference of the policy file.",
    )
    image_stream_documents: dict[FileName, str] = Field(
        default_factory=dict,
        title="Image stream documents",
        description="Documents of image.openshift.io/v1 ImageStreams by name, read beside `aihub.imageStreams`; "
        "`--set-file` reads them from files.",
    )
    image_pull_secrets: list[str] = Field(
        default_factory=list,
        title="Image pull secrets",
        description="Names of Secrets: in the release's namespace for hub, proxy and jobs, in the user namespaces for "
        "user servers.",
    )
    hub: HubModel = Field(default_factory=HubModel, title="Hub", description="The hub.")
    proxy: ProxyModel = Field(default_factory=ProxyModel, title="Proxy", description="The proxy.")
    singleuser: SingleuserModel = Field(
        default_factory=SingleuserModel, title="User servers", description="What all user servers share."
    )
    namespaces: NamespacesModel = Field(
        default_factory=NamespacesModel, title="Namespaces", description="The namespaces of the user servers."
    )
    rbac: RbacModel = Field(default_factory=RbacModel, title="Rights", description="What the hub may do.")
    cull: CullModel = Field(default_factory=CullModel, title="Idle servers", description="Stopping idle servers.")
    ingress: IngressModel = Field(default_factory=IngressModel, title="Ingress", description="An Ingress.")
    http_route: HttpRouteModel = Field(
        default_factory=HttpRouteModel, title="HTTP route", description="An HTTPRoute of the Gateway API."
    )
    scheduling: SchedulingModel = Field(
        default_factory=SchedulingModel, title="Scheduling", description="Where pods run."
    )
    pre_puller: PrePullerModel = Field(
        default_factory=PrePullerModel, title="Pre-puller", description="Fetching images ahead."
    )
    policy_check: PolicyCheckModel = Field(
        default_factory=PolicyCheckModel, title="Policy check", description="`aihub check` before an install."
    )
    tests: TestsModel = Field(default_factory=TestsModel, title="Tests", description="What `helm test` does.")


# --- settings --------------------------------------------------------------------------------------------------------


class ReleaseSettings(Model):
    """The Helm release."""

    name: str
    namespace: str


class HubSettings(Model):
    """What of the values' `hub` the hub reads."""

    base_url: str = "/"
    config: Traits = Field(default_factory=dict)
    concurrent_spawn_limit: int = 64
    active_server_limit: int = 0


class SingleuserSettings(Model):
    """What of the values the spawner reads."""

    start_timeout: int = 3600
    image_pull_policy: PullPolicy = ""
    image_pull_secrets: list[str] = Field(default_factory=list)
    priority_class_name: str = ""
    scheduler_name: str = ""
    node_selector: Labels = Field(default_factory=dict)
    tolerations: list[KubernetesObject] = Field(default_factory=list)
    extra_labels: Labels = Field(default_factory=dict)
    extra_annotations: Labels = Field(default_factory=dict)
    extra_env: dict[str, str] = Field(default_factory=dict)
    extra_volumes: list[KubernetesObject] = Field(default_factory=list)
    extra_volume_mounts: list[KubernetesObject] = Field(default_factory=list)
    extra_pod_spec: KubernetesObject = Field(default_factory=dict)


class CullSettings(Model):
    """Whether and how often, in seconds, idle servers are looked for."""

    enabled: bool = True
    every: int = 300


class Settings(Model):
    """settings.yaml: what the chart tells the hub. `instance` is <release namespace>/<release name>."""

    instance: str
    hub_url: str
    proxy_api_url: str
    release: ReleaseSettings
    user_namespace: str
    read_nodes: bool = False
    hub: HubSettings = Field(default_factory=HubSettings)
    singleuser: SingleuserSettings = Field(default_factory=SingleuserSettings)
    cull: CullSettings = Field(default_factory=CullSettings)

    @classmethod
    def read(cls, path: Path) -> Settings:
        """The settings in the YAML file `path`.

        Raises OSError, yaml.YAMLError, or pydantic.ValidationError for what the chart would not write.
        """
        return cls.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


# --- schema ----------------------------------------------------------------------------------------------------------


def values_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of values.yaml, as Helm can read it."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Values of the AIHub chart"}
    body: dict[str, Any] = _for_helm(strict_schema(Values.model_json_schema()))
    return {**head, **{key: value for key, value in body.items() if key != "title"}}


_LOOKAHEAD = re.compile(r"\(\?[=!](?:[^()\\]|\\.|\([^()]*\))*\)")


def _for_helm(node: Any) -> Any:
    """A schema node with the patterns that Go's regular expressions know: they have no look-ahead.

    What a look-ahead forbids is left to `aihub check`, except that the text is not empty.
    """
    if isinstance(node, list):
        return [_for_helm(each) for each in node]
    if not isinstance(node, dict):
        return node
    node = {_LOOKAHEAD.sub("", key): _for_helm(value) for key, value in node.items()}
    pattern = node.get("pattern")
    if isinstance(pattern, str) and _LOOKAHEAD.search(pattern):
        node |= {"pattern": _LOOKAHEAD.sub("", pattern), "minLength": 1}
    return node


if __name__ == "__main__":
    json.dump(values_schema(), sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")
