"""The shape of the policy file: pydantic models, from which its JSON Schema and its reference are generated.

A model checks what can be seen in one place and turns itself into the core's own type; what several places must
agree on is `aihub.references`' business. Keys are camelCase, unknown ones are errors (design.md §4).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    Tag,
    model_validator,
)
from pydantic_core import PydanticCustomError

from aihub.catalog import ImageStream, ImageTag, Software, StartAdapter, TagState, is_image_reference
from aihub.environment import problem as environment_problem
from aihub.facts import Machine, Pool, Taint
from aihub.fields import (
    DESCRIPTION,
    DISPLAY_NAME,
    LIST,
    MAP,
    ONE,
    ORDER,
    AcceleratorKey,
    ContainerFolder,
    Duration,
    ImageReference,
    LabelKey,
    LabelValue,
    Line,
    LocalText,
    MembersModel,
    Model,
    Name,
    NamespaceName,
    ObjectName,
    Quantity,
    ResourceKey,
    SuccessorReference,
    TagName,
    frozen,
    map_or_one,
    matching,
    web_address,
)
from aihub.groupprojects import MARK, Frame, GroupPattern
from aihub.profiles import Accelerator, Placement, Profile
from aihub.projects import IdleRules, Offer, Project
from aihub.requirements import check_requirement
from aihub.resources import CPU, MEMORY, Resources
from aihub.signinfile import SignInModel
from aihub.storage import Dataset, Home, HomeScope, ProjectStorage, SharedFolder, StorageClasses
from aihub.text import Text

__all__ = ["PolicyDocument"]


# --- values ----------------------------------------------------------------------------------------------------------


def _image(value: str) -> str:
    if not is_image_reference(value):
        raise PydanticCustomError("image", "is no image reference: write registry/repository:tag or …@sha256:…")
    return value


def _requirement(value: str) -> str:
    if (wrong := check_requirement(value)) is not None:
        raise PydanticCustomError("requirement", "{problem}", {"problem": wrong})
    return value


Requirement = Annotated[str, AfterValidator(_requirement)]


def _environment(value: dict[str, str]) -> dict[str, str]:
    for name, text in value.items():
        if (wrong := environment_problem(name, text)) is not None:
            raise PydanticCustomError("environment", "{name} {problem}", {"name": name, "problem": wrong, "at": name})
    return value


# --- models ----------------------------------------------------------------------------------------------------------


class TagModel(Model):
    """One tag of an image stream."""

    image: Annotated[Line, AfterValidator(_image)] | None = Field(
        default=None,
        title="Image reference",
        description="What a container runs: registry, repository and tag or digest. Not used on one machine.",
    )
    requirements: list[Requirement] | None = Field(
        default=None,
        title="Requirements",
        description="Requirements of pip that make up the tag's kernel environment on one machine.",
    )
    software: dict[Line, Line] = Field(
        default_factory=dict, title="Software", description="Main contents, name to version, as the page lists them."
    )
    dependencies: dict[Line, Line] = Field(
        default_factory=dict, title="Dependencies", description="Further packages, name to version, shown on demand."
    )
    recommended: bool = Field(default=False, title="Recommended", description="Mark the tag as recommended.")
    default: bool = Field(
        default=False, title="Default", description="The tag that is meant where only the stream is named."
    )
    outdated: bool = Field(default=False, title="Outdated", description="Mark the tag as outdated; it stays usable.")
    scheduled: bool = Field(
        default=False, title="Scheduled import", description="importPolicy.scheduled of an ImageStream tag."
    )
    insecure: bool = Field(
        default=False, title="Insecure registry", description="importPolicy.insecure of an ImageStream tag."
    )
    reference_policy: Literal["Source", "Local"] = Field(
        default="Source", title="Reference policy", description="referencePolicy.type of an ImageStream tag."
    )
    state: Literal["offered", "hidden", "retired"] = Field(
        default="offered",
        title="State",
        description="offered; hidden: nobody sees it; retired: shown with its successor, starts are refused.",
    )
    successor: SuccessorReference | None = Field(
        default=None,
        title="Successor",
        description="What follows a retired tag: a tag of the same stream, or stream:tag.",
    )

    def tag(self, name: str) -> ImageTag:
        """The tag as the catalog knows it."""
        return ImageTag(
            name=name,
            source=self.image or "",
            image=self.image,
            recommended=self.recommended,
            default=self.default,
            outdated=self.outdated,
            scheduled=self.scheduled,
            insecure=self.insecure,
            reference_policy=self.reference_policy,
            software=_software(self.software),
            dependencies=_software(self.dependencies),
            requirements=None if self.requirements is None else tuple(self.requirements),
            state=TagState(self.state),
            successor=self.successor,
        )


def _software(versions: Mapping[str, str]) -> tuple[Software, ...]:
    return tuple(Software(name, version) for name, version in versions.items())


_PULL_SECRETS: Any = Field(
    default_factory=list,
    title="Pull secrets",
    description="Names of the Secrets with which its images are fetched, in the namespace of the servers. "
    "Not used on one machine.",
)


class StartModel(Model):
    """How the containers of an image stream start. Not used on one machine."""

    command: list[Line] = Field(
        default=[*StartAdapter().command],
        min_length=1,
        title="Command",
        description="Program and arguments that start the user server.",
    )
    port: int = Field(
        default=StartAdapter().port, ge=1024, le=65535, title="Port", description="Where the user server listens."
    )
    home: ContainerFolder = Field(
        default=StartAdapter().home, title="Home", description="Where the home is mounted, from the root."
    )
    uid: int = Field(
        default=StartAdapter().uid,
        ge=1,
        le=2**31 - 1,
        title="User id",
        description="User and group id of the user server; never root's.",
    )

    def adapter(self) -> StartAdapter:
        """The start as the catalog knows it."""
        return StartAdapter(tuple(self.command), self.port, self.home, self.uid)


class ImageStreamModel(Model):
    """An image stream in the short form."""

    display_name: LocalText | None = DISPLAY_NAME
    description: LocalText | None = DESCRIPTION
    offered: bool = Field(
        default=True, title="Offered", description="false: no project may use the stream, whatever it offers."
    )
    order: int = ORDER
    source: Annotated[Line, AfterValidator(web_address)] | None = Field(
        default=None, title="Source", description="Address of the page where the image is built or described."
    )
    accelerators: list[AcceleratorKey] = Field(
        default_factory=list,
        title="Accelerators",
        description="Accelerator resources that the image is made for; empty: it suits every profile.",
    )
    tags: dict[TagName, TagModel] = Field(title="Tags", description="The tags by name, in the order of the page.")
    pull_secrets: list[ObjectName] = _PULL_SECRETS
    start: StartModel = Field(
        default_factory=StartModel, title="Start", description="How its containers start; not used on one machine."
    )

    def stream(self, name: str) -> ImageStream:
        """The stream as the catalog knows it."""
        return ImageStream(
            name=name,
            display_name=Text.of(self.display_name or name),
            description=Text.of(self.description),
            offered=self.offered,
            order=self.order,
            origin="policy",
            source_url=self.source or "",
            accelerators=tuple(self.accelerators),
            tags=tuple(tag.tag(key) for key, tag in self.tags.items()),
            pull_secrets=tuple(dict.fromkeys(self.pull_secrets)),
            start=self.start.adapter(),
        )


class RangeModel(Model):
    """A request and a limit."""

    request: Quantity = Field(
        title="Request", description="What is set aside for the server and charged to the quotas."
    )
    limit: Quantity | None = Field(
        default=None, title="Limit", description="The most that the server may use; absent: no limit."
    )


Amount = Annotated[
    Annotated[Quantity, Tag(ONE)] | Annotated[RangeModel, Tag(MAP)],
    Discriminator(map_or_one),
]


def _request_and_limit(amount: Decimal | RangeModel) -> tuple[Decimal, Decimal | None]:
    return (amount, amount) if isinstance(amount, Decimal) else (amount.request, amount.limit)


PositiveCount = Annotated[int, Field(ge=1, le=1024)]


def _list_or_one(value: object) -> str:
    return LIST if isinstance(value, list) else ONE


Counts = Annotated[
    Annotated[PositiveCount, Tag(ONE)] | Annotated[list[PositiveCount], Field(min_length=1), Tag(LIST)],
    Discriminator(_list_or_one),
]


class AcceleratorModel(Model):
    """The accelerator of a profile."""

    resource: AcceleratorKey = Field(title="Resource", description="The extended resource, as in nvidia.com/gpu.")
    count: Counts = Field(
        default=1,
        title="Count",
        description="How many the server gets, or a list of counts to choose from; its first one is the default.",
    )
    product: Line | None = Field(
        default=None, title="Product", description="Name of the device as people know it, as in NVIDIA-L4."
    )
    shared: LocalText | None = Field(
        default=None,
        title="Shared",
        description="A note on isolation, shown where the device is shared with other servers.",
    )

    def accelerator(self) -> Accelerator:
        """The accelerator as profiles know it."""
        counts = self.count if isinstance(self.count, list) else [self.count]
        return Accelerator(self.resource, tuple(dict.fromkeys(counts)), self.product or "", Text.of(self.shared))


class TolerationModel(Model):
    """A toleration, as in the Kubernetes PodSpec."""

    key: LabelKey | None = Field(default=None, title="Key", description="Key of the taint; absent: every key.")
    operator: Literal["Exists", "Equal"] | None = Field(
        default=None, title="Operator", description="How key and value are compared; Equal if absent."
    )
    value: LabelValue | None = Field(default=None, title="Value", description="Value of the taint, with Equal.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, title="Effect", description="Effect of the taint; absent: every effect."
    )
    toleration_seconds: int | None = Field(
        default=None, title="Toleration seconds", description="How long a NoExecute taint is borne."
    )

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        exists = self.operator == "Exists"
        if self.key is None and not exists:
            raise _disagreement("has no key, which needs operator: Exists")
        if exists and self.value:
            raise _disagreement("has a value, which needs operator: Equal")
        if self.toleration_seconds is not None and self.effect != "NoExecute":
            raise _disagreement("has tolerationSeconds, which need effect: NoExecute")
        return self


def _disagreement(problem: str) -> PydanticCustomError:
    return PydanticCustomError("disagreement", "{problem}", {"problem": problem})


# Affinity: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#scheduling

Weight = Annotated[int, Field(ge=1, le=100, title="Weight", description="How much it counts, 1 to 100.")]
_VALUES: Any = Field(default_factory=list, title="Values", description="What the value is compared with.")


class NodeRequirementModel(Model):
    """A condition on the labels of a machine."""

    key: LabelKey = Field(title="Key", description="Key of the label.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"] = Field(
        title="Operator", description="How the label is compared with the values."
    )
    values: list[LabelValue] = _VALUES

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.operator in ("Gt", "Lt") and (len(self.values) != 1 or not re.fullmatch("[0-9]{1,18}", self.values[0])):
            raise _disagreement(f"needs one whole number as its value, for operator {self.operator}")
        _check_values(self)
        return self


class NodeFieldModel(Model):
    """A condition on the name of a machine."""

    key: Literal["metadata.name"] = Field(title="Key", description="The field: the name of the machine.")
    operator: Literal["In", "NotIn"] = Field(title="Operator", description="Whether it is that machine or any other.")
    values: list[ObjectName] = Field(min_length=1, max_length=1, title="Values", description="The name, one entry.")


class NodeTermModel(Model):
    """Conditions on a machine that must all hold."""

    match_expressions: list[NodeRequirementModel] = Field(
        default_factory=list, title="Match expressions", description="Conditions on its labels."
    )
    match_fields: list[NodeFieldModel] = Field(
        default_factory=list, title="Match fields", description="Conditions on its name."
    )


class NodeTermsModel(Model):
    """Terms of which one must hold."""

    node_selector_terms: list[NodeTermModel] = Field(
        min_length=1, title="Node selector terms", description="The terms; an empty one holds for no machine."
    )


class PreferredNodeModel(Model):
    """A term that is preferred, by its weight."""

    weight: Weight
    preference: NodeTermModel = Field(title="Preference", description="The term.")


class NodeAffinityModel(Model):
    """Which machines are required or preferred."""

    required_during_scheduling_ignored_during_execution: NodeTermsModel | None = Field(
        default=None, title="Required", description="What a machine must be."
    )
    preferred_during_scheduling_ignored_during_execution: list[PreferredNodeModel] = Field(
        default_factory=list, title="Preferred", description="What a machine had better be."
    )


class LabelRequirementModel(Model):
    """A condition on the labels of a pod or a namespace."""

    key: LabelKey = Field(title="Key", description="Key of the label.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"] = Field(
        title="Operator", description="How the label is compared with the values."
    )
    values: list[LabelValue] = _VALUES

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        _check_values(self)
        return self


def _check_values(requirement: NodeRequirementModel | LabelRequirementModel) -> None:
    if requirement.operator in ("In", "NotIn") and not requirement.values:
        raise _disagreement(f"needs values, for operator {requirement.operator}")
    if requirement.operator in ("Exists", "DoesNotExist") and requirement.values:
        raise _disagreement(f"has values, and operator {requirement.operator} takes none")


class LabelSelectorModel(Model):
    """Conditions on labels that must all hold; none at all holds for everything."""

    match_labels: dict[LabelKey, LabelValue] = Field(
        default_factory=dict, title="Match labels", description="Labels with their values."
    )
    match_expressions: list[LabelRequirementModel] = Field(
        default_factory=list, title="Match expressions", description="Conditions on labels."
    )


class PodTermModel(Model):
    """Pods that are near: in the same topology domain."""

    topology_key: LabelKey = Field(
        title="Topology key", description="Label of machines; those with one value of it are one domain."
    )
    label_selector: LabelSelectorModel | None = Field(
        default=None, title="Label selector", description="Which pods; absent: none."
    )
    namespaces: list[NamespaceName] = Field(
        default_factory=list, title="Namespaces", description="Namespaces of the pods; empty: the server's own."
    )
    namespace_selector: LabelSelectorModel | None = Field(
        default=None, title="Namespace selector", description="Further namespaces, by their labels."
    )
    match_label_keys: list[LabelKey] = Field(
        default_factory=list, title="Match label keys", description="Labels in which the pods equal the server."
    )
    mismatch_label_keys: list[LabelKey] = Field(
        default_factory=list, title="Mismatch label keys", description="Labels in which they differ from it."
    )


class PreferredPodsModel(Model):
    """Pods that are preferred near, or far, by their weight."""

    weight: Weight
    pod_affinity_term: PodTermModel = Field(title="Pod affinity term", description="The pods.")


class PodAffinityModel(Model):
    """Which pods are required or preferred near the server, or far from it."""

    required_during_scheduling_ignored_during_execution: list[PodTermModel] = Field(
        default_factory=list, title="Required", description="What must hold."
    )
    preferred_during_scheduling_ignored_during_execution: list[PreferredPodsModel] = Field(
        default_factory=list, title="Preferred", description="What had better hold."
    )


class AffinityModel(Model):
    """Affinity, as in the Kubernetes PodSpec."""

    node_affinity: NodeAffinityModel | None = Field(
        default=None, title="Node affinity", description="Which machines are required or preferred."
    )
    pod_affinity: PodAffinityModel | None = Field(
        default=None, title="Pod affinity", description="Which pods are to be near."
    )
    pod_anti_affinity: PodAffinityModel | None = Field(
        default=None, title="Pod anti-affinity", description="Which pods are to be far."
    )


class ProfileModel(Model):
    """A size of server."""

    display_name: LocalText | None = DISPLAY_NAME
    description: LocalText | None = DESCRIPTION
    order: int = ORDER
    cpu: Amount = Field(title="CPU", description="Cores: one value, or request and limit.")
    memory: Amount = Field(title="Memory", description="Bytes, as in 2Gi: one value, or request and limit.")
    accelerator: AcceleratorModel | None = Field(
        default=None, title="Accelerator", description="The GPU or other device that the server gets."
    )
    shared_memory: Quantity | None = Field(
        default=None, title="Shared memory", description="Size of /dev/shm in bytes, as in 1Gi."
    )
    ephemeral_storage: Amount | None = Field(
        default=None,
        title="Ephemeral storage",
        description="Bytes of the machine's own disk, as in 5Gi: one value, or request and limit; "
        "not used on one machine.",
    )
    node_selector: dict[LabelKey, LabelValue] = Field(
        default_factory=dict, title="Node selector", description="nodeSelector of the pod; not used on one machine."
    )
    tolerations: list[TolerationModel] = Field(
        default_factory=list, title="Tolerations", description="tolerations of the pod; not used on one machine."
    )
    affinity: AffinityModel | None = Field(
        default=None, title="Affinity", description="affinity of the pod; not used on one machine."
    )
    runtime_class: ObjectName | None = Field(
        default=None, title="Runtime class", description="runtimeClassName of the pod; not used on one machine."
    )
    priority_class: ObjectName | None = Field(
        default=None, title="Priority class", description="priorityClassName of the pod; not used on one machine."
    )
    hidden: bool = Field(default=False, title="Hidden", description="Nobody sees the profile or may use it.")
    retired: bool = Field(
        default=False, title="Retired", description="The profile is shown with its successor; starts are refused."
    )
    successor: Name | None = Field(
        default=None, title="Successor", description="The profile that follows a retired one."
    )
    groups: list[Line] | None = Field(
        default=None,
        title="Groups",
        description="Group patterns of who may use it; absent: everybody, an empty list: nobody. "
        "`*` is one segment of a path, `**` any number.",
    )

    def profile(self, name: str) -> Profile:
        """The profile as the core knows it."""
        cpu, cpu_limit = _request_and_limit(self.cpu)
        memory, memory_limit = _request_and_limit(self.memory)
        disk, disk_limit = _request_and_limit(self.ephemeral_storage) if self.ephemeral_storage else (None, None)
        limits = {CPU: cpu_limit, MEMORY: memory_limit}
        return Profile(
            name=name,
            display_name=Text.of(self.display_name or name),
            description=Text.of(self.description),
            order=self.order,
            requests=Resources({CPU: cpu, MEMORY: memory}),
            limits=Resources({key: limit for key, limit in limits.items() if limit is not None}),
            accelerator=self.accelerator.accelerator() if self.accelerator else None,
            shared_memory=self.shared_memory,
            placement=self._placement(),
            hidden=self.hidden,
            retired=self.retired,
            successor=self.successor,
            groups=None if self.groups is None else tuple(self.groups),
            ephemeral_request=disk,
            ephemeral_limit=disk_limit,
        )

    def _placement(self) -> Placement:
        tolerations = (each.model_dump(by_alias=True, exclude_none=True) for each in self.tolerations)
        return Placement(
            node_selector=frozen(self.node_selector),
            tolerations=tuple(frozen(each) for each in tolerations),
            affinity=frozen(self.affinity.model_dump(by_alias=True, exclude_unset=True) if self.affinity else {}),
            runtime_class=self.runtime_class,
            priority_class=self.priority_class,
        )


class ImageOfferModel(Model):
    """The images that a project may use."""

    offer: list[ImageReference] = Field(
        default_factory=list,
        title="Offer",
        description="Streams (all their tags) or single stream:tag references. An empty list offers nothing.",
    )
    default: ImageReference | None = Field(
        default=None,
        title="Default",
        description="The image that a start without one means: stream:tag, or a stream for its preferred tag.",
    )


class ProfileOfferModel(Model):
    """The profiles that a project may use."""

    offer: list[Name] = Field(
        default_factory=list, title="Offer", description="Names of profiles. An empty list offers nothing."
    )
    default: Name | None = Field(
        default=None, title="Default", description="The profile that a start without one means."
    )


QuotaModel = Annotated[dict[ResourceKey, Quantity], Field()]


class ProjectQuotaModel(Model):
    """The ceilings of a project. A key that is absent is no limit, 0 is none allowed."""

    project: QuotaModel = Field(
        default_factory=dict, title="Project", description="For all servers and claims of the project together."
    )
    per_member: QuotaModel = Field(
        default_factory=dict, title="Per member", description="For each member within the project."
    )


class ProjectHomeModel(Model):
    """The homes of a project's members."""

    size: Quantity = Field(title="Size", description="Size of a home in this project; needs home.scope: project.")


class SharedModel(Model):
    """The folder of a project."""

    size: Quantity | None = Field(default=None, title="Size", description="Size that is asked for, as in 100Gi.")
    members_write: bool = Field(
        default=False,
        title="Members write",
        description="Whether members may write into it; instructors always may.",
    )
    source: Line | None = Field(
        default=None,
        alias="from",
        title="From",
        description="Folder that is copied into a new project folder, relative to this file.",
    )


class DatasetModel(Model):
    """Data that the servers of a project read under ~/datasets."""

    display_name: LocalText | None = DISPLAY_NAME
    path: Line | None = Field(
        default=None, title="Path", description="Folder on this machine, relative to this file (one machine)."
    )
    claim: ObjectName | None = Field(
        default=None,
        title="Claim",
        description="Name of a PersistentVolumeClaim in the namespace of the servers (Kubernetes).",
    )


class ProjectStorageModel(Model):
    """What the servers of a project find beside the home."""

    home: ProjectHomeModel | None = Field(
        default=None, title="Home", description="The homes in this project, where home.scope is project."
    )
    shared: SharedModel | None = Field(
        default=None, title="Shared folder", description="A folder of the project, ~/project in its servers."
    )
    datasets: dict[Name, DatasetModel] = Field(
        default_factory=dict, title="Datasets", description="Data to read, each under ~/datasets/ by its key."
    )

    def storage(self) -> ProjectStorage:
        """The storage as the core knows it; paths as they are written."""
        shared = None
        if self.shared is not None:
            shared = SharedFolder(self.shared.size, self.shared.members_write, self.shared.source)
        return ProjectStorage(
            home_size=self.home.size if self.home else None,
            shared=shared,
            datasets=frozen(
                {
                    name: Dataset(name, Text.of(each.display_name or name), each.path, each.claim)
                    for name, each in self.datasets.items()
                }
            ),
        )


class IdleModel(Model):
    """When idle servers are stopped."""

    stop_after: Duration | None = Field(
        default=None, title="Stop after", description="Idle time after which a server is stopped; absent: never."
    )
    max_age: Duration | None = Field(
        default=None, title="Maximum age", description="Age at which a server is stopped, idle or not; absent: never."
    )


class ProjectTemplateModel(Model):
    """The settings of projects that groups make."""

    description: LocalText | None = DESCRIPTION
    kind: Literal["course", "lab", "project"] = Field(
        default="project", title="Kind", description="The word that people read for it."
    )
    order: int = ORDER
    archived: bool = Field(
        default=False, title="Archived", description="Nothing starts here any more; the data are kept."
    )
    images: ImageOfferModel = Field(
        default_factory=ImageOfferModel, title="Images", description="The images that the project may use."
    )
    profiles: ProfileOfferModel = Field(
        default_factory=ProfileOfferModel, title="Profiles", description="The profiles that the project may use."
    )
    quota: ProjectQuotaModel = Field(
        default_factory=ProjectQuotaModel, title="Quota", description="The ceilings of the project and its members."
    )
    storage: ProjectStorageModel = Field(
        default_factory=ProjectStorageModel, title="Storage", description="Project folder, datasets, size of homes."
    )
    environment: Annotated[dict[str, str], AfterValidator(_environment)] = Field(
        default_factory=dict,
        title="Environment",
        description="Variables of the project's servers. Those of the hub, loaders and devices cannot be set.",
    )
    idle: IdleModel = Field(default_factory=IdleModel, title="Idle rules", description="When idle servers stop.")
    contact: LocalText | None = Field(
        default=None, title="Contact", description="Whom to ask, as refusals name them: an address or a name."
    )
    pull_secrets: list[ObjectName] = _PULL_SECRETS

    def project(self, name: str) -> Project:
        """A project of nobody with these settings; paths in its storage as they are written."""
        return Project(
            name=name,
            display_name=Text.of(name),
            description=Text.of(self.description),
            kind=self.kind,
            order=self.order,
            archived=self.archived,
            images=_offer(self.images.offer, self.images.default),
            profiles=_offer(self.profiles.offer, self.profiles.default),
            quota=frozen(self.quota.project),
            member_quota=frozen(self.quota.per_member),
            storage=self.storage.storage(),
            environment=frozen(self.environment),
            idle=IdleRules(self.idle.stop_after, self.idle.max_age),
            contact=Text.of(self.contact),
            pull_secrets=tuple(dict.fromkeys(self.pull_secrets)),
        )


class ProjectHeadModel(Model):
    """What a project has of its own."""

    display_name: LocalText | None = DISPLAY_NAME
    open: bool = Field(default=False, title="Open", description="Everybody who signed in is a member.")
    members: MembersModel = Field(
        default_factory=MembersModel, title="Members", description="Who may start servers here."
    )
    instructors: MembersModel = Field(
        default_factory=MembersModel,
        title="Instructors",
        description="Who sees the members' servers and chooses the images; members too.",
    )
    namespace: NamespaceName | None = Field(
        default=None,
        title="Namespace",
        description="The namespace of its servers and claims, where cluster.namespaces is perProject.",
    )


class ProjectModel(ProjectTemplateModel, ProjectHeadModel):  # pydantic puts the keys of the last base first
    """A course, a lab, a team."""

    def project(self, name: str) -> Project:
        """The project as the core knows it; paths in its storage as they are written."""
        return replace(
            ProjectTemplateModel.project(self, name),
            display_name=Text.of(self.display_name or name),
            members=self.members.membership(everybody=self.open),
            instructors=self.instructors.membership(),
            namespace=self.namespace,
        )


def _offer(ids: Iterable[str], default: str | None) -> Offer:
    return Offer(tuple(dict.fromkeys(ids)), default)


_GROUP_PATTERN = r"[^<>*\x00-\x1f]*<project>[^<>*\x00-\x1f]*"
_GROUP_RULE = "is no pattern of groups here: write <project> once and no '*', as in /courses/<project>/students"
GroupFrame = Annotated[str, matching("name", _GROUP_PATTERN, _GROUP_RULE, 1_000, ["/courses/<project>/students"])]

_FRAME_PATTERN = r"([a-z0-9][a-z0-9-]*)?<project>([a-z0-9-]*[a-z0-9])?"
_FRAME_RULE = "makes no names of projects: write <project> once, with small letters, digits and '-' around it"
NameFrame = Annotated[str, matching("name", _FRAME_PATTERN, _FRAME_RULE, 63, ["course-<project>"])]


class GroupProjectModel(Model):
    """Groups that make projects by themselves: a project for each word that stands at `<project>` in a group.

    The word is small letters, digits and hyphens. A project under `projects` of the same name stands.
    """

    members: GroupFrame = Field(title="Members", description="The group of a project's members.")
    instructors: GroupFrame | None = Field(
        default=None, title="Instructors", description="The group of its instructors; absent: it has none."
    )
    name: NameFrame = Field(
        default=MARK, title="Name", description="Name of the projects; no two entries may make the same one."
    )
    display_name: LocalText = Field(
        default=MARK, title="Display name", description="Name that people see, with `<project>` in it."
    )
    template: Name = Field(title="Template", description="Whose settings they have: an entry of projectTemplates.")

    def pattern(self, key: str, template: Project) -> GroupPattern:
        """The pattern as the core knows it."""
        return GroupPattern(
            key=key,
            members=Frame.of(self.members),
            instructors=None if self.instructors is None else Frame.of(self.instructors),
            name=Frame.of(self.name),
            display_name=Text.of(self.display_name),
            template=template,
        )


class HomeModel(Model):
    """The homes of people."""

    scope: Literal["user", "project"] = Field(
        default="user", title="Scope", description="user: one home per person; project: one in each project."
    )
    size: Quantity | None = Field(default=None, title="Size", description="Size of a home, as in 10Gi.")

    def home(self) -> Home:
        """The home as the core knows it."""
        return Home(HomeScope(self.scope), self.size)


class QuotaRootModel(Model):
    """Ceilings over all projects."""

    per_user: QuotaModel = Field(default_factory=dict, title="Per user", description="For each user over all projects.")
    when_unknown: Literal["refuse", "startWithoutAccelerator"] = Field(
        default="refuse",
        title="When usage is unknown",
        description="What happens to starts while usage cannot be known; those with an accelerator are refused.",
    )


class MachineModel(Model):
    """What servers may use of this machine; absent values are measured."""

    cpu: Quantity | None = Field(default=None, title="CPU", description="Cores for all servers together.")
    memory: Quantity | None = Field(default=None, title="Memory", description="Bytes for all servers together.")
    accelerators: dict[AcceleratorKey, list[Line]] | None = Field(
        default=None,
        title="Accelerators",
        description="Devices by resource, as CUDA_VISIBLE_DEVICES names them; an empty map: there are none.",
    )


class StorageClassesModel(Model):
    """The storage classes of claims; absent: the cluster's default one."""

    home: ObjectName | None = Field(default=None, title="Home", description="Storage class of homes.")
    shared: ObjectName | None = Field(default=None, title="Shared folders", description="That of project folders.")


class TaintModel(Model):
    """A taint of a machine, as in the Kubernetes NodeSpec."""

    key: LabelKey = Field(title="Key", description="Key of the taint.")
    value: LabelValue = Field(default="", title="Value", description="Value of the taint.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = Field(
        title="Effect", description="What it does to pods that do not tolerate it."
    )


class PoolModel(Model):
    """Machines that an autoscaler starts when a server needs one: what one of them has for servers."""

    cpu: Quantity = Field(title="CPU", description="Cores that servers can ask for on a new machine.")
    memory: Quantity = Field(title="Memory", description="Bytes that servers can ask for on it.")
    accelerators: dict[AcceleratorKey, PositiveCount] = Field(
        default_factory=dict, title="Accelerators", description="Its devices, by resource."
    )
    labels: dict[LabelKey, LabelValue] = Field(
        default_factory=dict, title="Labels", description="Its labels, as node selectors and affinities see them."
    )
    taints: list[TaintModel] = Field(
        default_factory=list, title="Taints", description="Its taints, without those that all user servers tolerate."
    )
    starts_within: Duration | None = Field(
        default=None, title="Starts within", description="How long a new machine takes at most, as people are told."
    )

    def pool(self, name: str) -> Pool:
        """The pool as the core knows it."""
        room = Resources({CPU: self.cpu, MEMORY: self.memory, **self.accelerators})
        taints = tuple(Taint(each.key, each.value, each.effect) for each in self.taints)
        return Pool(name, Machine(name, room, room, frozen(self.labels), taints), self.starts_within)


class ClusterModel(Model):
    """How servers live on a Kubernetes cluster. Not used on one machine."""

    namespaces: Literal["shared", "perProject"] = Field(
        default="shared",
        title="Namespaces",
        description="shared: all servers in one namespace; perProject: those of each project in its own.",
    )
    storage_classes: StorageClassesModel = Field(
        default_factory=StorageClassesModel, title="Storage classes", description="What claims are made from."
    )
    shared_access_mode: Literal["ReadWriteMany", "ReadWriteOnce"] = Field(
        default="ReadWriteMany",
        title="Shared access mode",
        description="Access mode of project folders. ReadWriteOnce: the servers of a project share one machine.",
    )
    pools: dict[Name, PoolModel] = Field(
        default_factory=dict,
        title="Pools",
        description="Machines that an autoscaler can start, by name: a profile that only they can hold is offered, "
        "and people are told that it takes longer.",
    )

    def classes(self) -> StorageClasses:
        """The storage classes as plans carry them."""
        return StorageClasses(self.storage_classes.home, self.storage_classes.shared, self.shared_access_mode)


class PolicyDocument(Model):
    """The policy file of AIHub: what people may start, and with whose means."""

    image_streams: dict[Name, ImageStreamModel] = Field(
        default_factory=dict, title="Image streams", description="Image streams in the short form, by name."
    )
    image_stream_files: list[Line] = Field(
        default_factory=list,
        title="Image stream files",
        description="Files of image.openshift.io/v1 ImageStream documents: paths relative to this file, "
        "`*` and `**` as in a shell.",
    )
    profiles: dict[Name, ProfileModel] = Field(
        default_factory=dict, title="Profiles", description="Sizes of servers, by name."
    )
    projects: dict[Name, ProjectModel] = Field(
        default_factory=dict, title="Projects", description="Courses, labs and teams, by name."
    )
    group_projects: dict[Name, GroupProjectModel] = Field(
        default_factory=dict,
        title="Group projects",
        description="Groups of the sign-in provider that make projects by themselves.",
    )
    project_templates: dict[Name, ProjectTemplateModel] = Field(
        default_factory=dict, title="Project templates", description="Settings for the projects that groups make."
    )
    home: HomeModel = Field(default_factory=HomeModel, title="Home", description="Scope and size of the homes.")
    quota: QuotaRootModel = Field(
        default_factory=QuotaRootModel, title="Quota", description="Ceilings that hold over all projects together."
    )
    sign_in: SignInModel = Field(
        default_factory=SignInModel,
        title="Sign-in",
        description="How people sign in, and as whom.",
    )
    machine: MachineModel | None = Field(
        default=None, title="Machine", description="Overrides of what is measured on one machine."
    )
    cluster: ClusterModel = Field(
        default_factory=ClusterModel, title="Cluster", description="How servers live on a Kubernetes cluster."
    )
