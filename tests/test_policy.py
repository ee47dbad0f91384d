"""Each rule of the policy, by tables: what it refuses, with which words, and which rule speaks first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from aihub.capacity import Availability
from aihub.catalog import Catalog, ImageStream, ImageTag, StartAdapter, TagState
from aihub.errors import Parameter, Reason, Refusal
from aihub.facts import Facts, Machine, Pool, Taint, Usage
from aihub.plan import Plan
from aihub.policy import (
    OK,
    Judgement,
    Policy,
    ProjectChoices,
    Rule,
    State,
    Verdict,
    choices_for,
    default_image,
    default_profile,
    quota_refusal,
    quotas_of,
    resolve,
    why,
)
from aihub.profiles import Accelerator, Placement, Profile
from aihub.projects import Decisions, IdleRules, ImageDecision, Membership, Offer, Person, Project, Role
from aihub.quota import Amounts, Deny, Level, Quotas
from aihub.resources import Resources
from aihub.storage import Claim, Dataset, Home, HomeScope, ProjectStorage, SharedFolder, StorageClasses
from aihub.text import Text

GIB = 2**30
GPU = "nvidia.com/gpu"

TORCH = ImageStream(
    "torch",
    Text("PyTorch"),
    order=1,
    accelerators=(GPU,),
    tags=(
        ImageTag("1", image="registry.example/torch:1", requirements=("torch==2.8",)),
        ImageTag("2", image="registry.example/torch:2", recommended=True),
        ImageTag("3", image="registry.example/torch:3"),
    ),
)
ROCM = ImageStream("rocm", Text("ROCm"), order=2, accelerators=("amd.com/gpu",), tags=(ImageTag("1"),))
SMALL = Profile(
    "small",
    Text("Small"),
    order=1,
    requests=Resources({"cpu": 1, "memory": 2 * GIB}),
    limits=Resources({"cpu": 2, "memory": 4 * GIB}),
    shared_memory=Decimal(GIB),
    placement=Placement(priority_class="courses"),
)
GPUS = Profile("gpus", Text("GPUs"), order=2, requests=SMALL.requests, accelerator=Accelerator(GPU, (1, 2)))
ML101 = Project(
    "ml101",
    Text("Machine Learning 101"),
    order=1,
    members=Membership(users=frozenset({"ann"})),
    instructors=Membership(users=frozenset({"ira"})),
    images=Offer(("torch", "rocm")),
    profiles=Offer(("small", "gpus")),
    idle=IdleRules(3600, None),
)
LAB = Project("lab", Text("Data Lab"), order=2, members=Membership(users=frozenset({"bob"})))
ANN, IRA, ROOT, EVE = Person("ann"), Person("ira"), Person("root", admin=True), Person("eve")
MACHINE = Machine(
    "m1", Resources({"cpu": 8, "memory": 16 * GIB, GPU: 4}), Resources({"cpu": 8, "memory": 16 * GIB, GPU: 4})
)
FACTS = Facts(datetime(2026, 3, 1, tzinfo=UTC), machines=(MACHINE,))


@dataclass(frozen=True)
class Setup:
    """All that a decision depends on; the default is a start that is admitted."""

    person: Person = ANN
    project: Project = ML101
    streams: tuple[ImageStream, ...] = (TORCH, ROCM)
    profiles: tuple[Profile, ...] = (SMALL, GPUS)
    home: Home = Home()
    user_quota: Mapping[str, Decimal] = field(default_factory=dict)
    start_when_unknown: bool = False
    pools: tuple[Pool, ...] = ()
    storage_classes: StorageClasses = StorageClasses()
    fresh_for_accelerators: bool = False
    facts: Facts = FACTS
    options: object = field(
        default_factory=lambda: {"project": "ml101", "image": "torch:1", "profile": "gpus", "acceleratorCount": 2}
    )

    def policy(self) -> Policy:
        return Policy(
            Catalog({stream.name: stream for stream in self.streams}),
            {profile.name: profile for profile in self.profiles},
            {"ml101": self.project, "lab": LAB},
            self.home,
            self.user_quota,
            self.start_when_unknown,
            self.pools,
            self.storage_classes,
            self.fresh_for_accelerators,
        )

    def resolve(self) -> Plan | Refusal:
        return resolve(self.policy(), self.person, self.options, self.facts)

    def plan(self) -> Plan:
        result = self.resolve()
        assert isinstance(result, Plan), result
        return result

    def why(self) -> tuple[Judgement, ...]:
        return why(self.policy(), self.person, self.options, self.facts)

    def choices(self) -> tuple[ProjectChoices, ...]:
        return choices_for(self.policy(), self.person, self.facts)

    def here(self) -> ProjectChoices:
        return next(chosen for chosen in self.choices() if chosen.project.name == "ml101")


Change = Callable[[Setup], Setup]


def options(**values: Any) -> Change:
    return lambda setup: replace(setup, options={**setup.options, **values})  # type: ignore[dict-item]


def only_options(value: object) -> Change:
    return lambda setup: replace(setup, options=value)


def person(who: Person) -> Change:
    return lambda setup: replace(setup, person=who)


def project(**values: Any) -> Change:
    return lambda setup: replace(setup, project=replace(setup.project, **values))


def tag(reference: str, **values: Any) -> Change:
    name, _, which = reference.partition(":")

    def change(setup: Setup) -> Setup:
        return replace(
            setup,
            streams=tuple(
                replace(
                    stream,
                    tags=tuple(
                        replace(own, **values) if (stream.name, own.name) == (name, which) else own
                        for own in stream.tags
                    ),
                )
                for stream in setup.streams
            ),
        )

    return change


def stream(name: str, **values: Any) -> Change:
    return lambda setup: replace(
        setup, streams=tuple(replace(own, **values) if own.name == name else own for own in setup.streams)
    )


def profile(name: str, **values: Any) -> Change:
    return lambda setup: replace(
        setup, profiles=tuple(replace(own, **values) if own.name == name else own for own in setup.profiles)
    )


def facts(**values: Any) -> Change:
    return lambda setup: replace(setup, facts=replace(setup.facts, **values))


def decided(default: str | None = None, **images: ImageDecision) -> Change:
    by_reference = {name.replace("_", ":"): decision for name, decision in images.items()}
    return facts(decisions={"ml101": Decisions(by_reference, default)})


def whole(**values: Any) -> Change:
    return lambda setup: replace(setup, **values)


def changed(*changes: Change) -> Setup:
    setup = Setup()
    for change in changes:
        setup = change(setup)
    return setup


def used(**amounts: Resources) -> Usage:
    return Usage(
        {"ml101": amounts.get("project", Resources()), "lab": Resources({"servers": 99})},
        {"ml101": amounts.get("member", Resources())},
        amounts.get("user", Resources()),
    )


def room(cpu: int = 8, memory: int = 16 * GIB, gpus: int = 4) -> Resources:
    return Resources({"cpu": cpu, "memory": memory, GPU: gpus})


RETIRED, HIDDEN = ImageDecision(TagState.RETIRED), ImageDecision(TagState.HIDDEN)
HERE: Mapping[str, Parameter] = {"image": "torch:1", "project": "ml101"}
WITH: Mapping[str, Parameter] = {"profile": "gpus", "project": "ml101"}


@pytest.mark.parametrize(
    ("confirmed", "asked", "profile", "admitted"),
    [
        (True, True, "gpus", True),
        (False, False, "gpus", True),
        (False, True, "small", True),
        (False, True, "gpus", False),
    ],
)
def test_an_identity_must_be_confirmed_for_accelerators_alone_and_where_the_policy_says_so(
    confirmed: bool, asked: bool, profile: str, admitted: bool
) -> None:
    chosen = only_options({"project": "ml101", "image": "torch:1", "profile": profile})
    setup = changed(chosen, facts(identity_confirmed=confirmed), whole(fresh_for_accelerators=asked))
    assert isinstance(setup.resolve(), Plan) is admitted
    choice = setup.here().profile(profile)
    assert choice is not None
    assert (choice.verdict.state is State.OK) is admitted
    assert admitted or choice.verdict.state is State.WAIT


def test_the_default_setup_is_admitted() -> None:
    assert isinstance(Setup().resolve(), Plan)
    assert [judgement.verdict for judgement in Setup().why()] == [OK] * len(Rule)


@dataclass(frozen=True)
class Fault:
    """One thing wrong with the default setup: which rule refuses it, and how."""

    id: str
    rule: Rule
    change: tuple[Change, ...]
    reason: Reason
    parameters: Mapping[str, Parameter]
    state: State = State.NO


FAULTS = (
    Fault(
        "options-no-object",
        Rule.OPTIONS,
        (only_options([]),),
        Reason.INVALID_OPTIONS,
        {"field": "", "problem": "not-an-object", "value": "list"},
    ),
    Fault(
        "options-project-missing-of-two",
        Rule.OPTIONS,
        (person(Person("bob")), project(members=Membership(everybody=True)), only_options({})),
        Reason.INVALID_OPTIONS,
        {"field": "project", "problem": "missing", "value": ""},
    ),
    Fault(
        "project-missing-of-none",
        Rule.PROJECT_KNOWN,
        (person(EVE), only_options({})),
        Reason.UNKNOWN_PROJECT,
        {"project": ""},
    ),
    Fault(
        "project-of-admin-alone",
        Rule.PROJECT_KNOWN,
        (person(ROOT), only_options({})),
        Reason.UNKNOWN_PROJECT,
        {"project": ""},
    ),
    Fault(
        "project-unknown", Rule.PROJECT_KNOWN, (options(project="none"),), Reason.UNKNOWN_PROJECT, {"project": "none"}
    ),
    Fault(
        "project-of-others", Rule.PROJECT_KNOWN, (options(project="lab"),), Reason.UNKNOWN_PROJECT, {"project": "lab"}
    ),
    Fault(
        "project-nobody-s",
        Rule.PROJECT_KNOWN,
        (project(members=Membership()),),
        Reason.UNKNOWN_PROJECT,
        {"project": "ml101"},
    ),
    Fault("admin-no-member", Rule.PROJECT_MEMBER, (person(ROOT),), Reason.NOT_MEMBER, {"project": "ml101"}),
    Fault(
        "project-archived",
        Rule.PROJECT_ACTIVE,
        (project(archived=True),),
        Reason.PROJECT_ARCHIVED,
        {"project": "ml101"},
    ),
    Fault(
        "image-unknown-stream",
        Rule.IMAGE_KNOWN,
        (options(image="gone:1"),),
        Reason.UNKNOWN_IMAGE,
        {"image": "gone:1", "project": "ml101"},
    ),
    Fault(
        "image-unknown-tag",
        Rule.IMAGE_KNOWN,
        (options(image="torch:9"),),
        Reason.UNKNOWN_IMAGE,
        {"image": "torch:9", "project": "ml101"},
    ),
    Fault(
        "image-stream-alone",
        Rule.IMAGE_KNOWN,
        (options(image="torch"),),
        Reason.UNKNOWN_IMAGE,
        {"image": "torch", "project": "ml101"},
    ),
    Fault(
        "image-none-offered",
        Rule.IMAGE_KNOWN,
        (project(images=Offer()), only_options({"project": "ml101"})),
        Reason.UNKNOWN_IMAGE,
        {"image": "", "project": "ml101"},
    ),
    Fault(
        "image-not-offered",
        Rule.IMAGE_OFFERED,
        (project(images=Offer(("torch:2", "rocm"))),),
        Reason.IMAGE_NOT_OFFERED,
        HERE,
    ),
    Fault(
        "image-stream-not-listed", Rule.IMAGE_OFFERED, (stream("torch", offered=False),), Reason.IMAGE_NOT_OFFERED, HERE
    ),
    Fault(
        "image-tag-hidden", Rule.IMAGE_OFFERED, (tag("torch:1", state=TagState.HIDDEN),), Reason.IMAGE_NOT_OFFERED, HERE
    ),
    Fault("image-hidden-by-instructor", Rule.IMAGE_OFFERED, (decided(torch_1=HIDDEN),), Reason.IMAGE_NOT_OFFERED, HERE),
    Fault(
        "image-offered-by-instructor-alone",
        Rule.IMAGE_OFFERED,
        (project(images=Offer(("rocm",))), decided(torch_1=ImageDecision(TagState.OFFERED))),
        Reason.IMAGE_NOT_OFFERED,
        HERE,
    ),
    Fault(
        "image-retired",
        Rule.IMAGE_CURRENT,
        (tag("torch:1", state=TagState.RETIRED),),
        Reason.IMAGE_RETIRED,
        {**HERE, "successor": None},
    ),
    Fault(
        "image-retired-for-a-tag",
        Rule.IMAGE_CURRENT,
        (tag("torch:1", state=TagState.RETIRED, successor="2"),),
        Reason.IMAGE_RETIRED,
        {**HERE, "successor": "torch:2"},
    ),
    Fault(
        "image-retired-for-another-stream",
        Rule.IMAGE_CURRENT,
        (tag("torch:1", state=TagState.RETIRED, successor="rocm:1"),),
        Reason.IMAGE_RETIRED,
        {**HERE, "successor": "rocm:1"},
    ),
    Fault(
        "image-retired-by-instructor-first",
        Rule.IMAGE_CURRENT,
        (
            tag("torch:1", state=TagState.RETIRED, successor="2"),
            decided(torch_1=ImageDecision(TagState.RETIRED, "torch:3")),
        ),
        Reason.IMAGE_RETIRED,
        {**HERE, "successor": "torch:3"},
    ),
    Fault(
        "image-retired-by-instructor-for-a-tag",
        Rule.IMAGE_CURRENT,
        (decided(torch_1=ImageDecision(TagState.RETIRED, "3")),),
        Reason.IMAGE_RETIRED,
        {**HERE, "successor": "torch:3"},
    ),
    Fault(
        "image-retired-although-instructor-offers",
        Rule.IMAGE_CURRENT,
        (tag("torch:1", state=TagState.RETIRED), decided(torch_1=ImageDecision(TagState.OFFERED))),
        Reason.IMAGE_RETIRED,
        {**HERE, "successor": None},
    ),
    Fault(
        "image-being-resolved",
        Rule.IMAGE_RESOLVED,
        (facts(unresolved={"torch:1": True}),),
        Reason.IMAGE_UNRESOLVED,
        {"image": "torch:1", "waiting": True},
        State.WAIT,
    ),
    Fault(
        "image-cannot-run",
        Rule.IMAGE_RESOLVED,
        (facts(unresolved={"torch:1": False}),),
        Reason.IMAGE_UNRESOLVED,
        {"image": "torch:1", "waiting": False},
    ),
    Fault(
        "profile-unknown",
        Rule.PROFILE_KNOWN,
        (options(profile="gone"),),
        Reason.UNKNOWN_PROFILE,
        {"profile": "gone", "project": "ml101"},
    ),
    Fault(
        "profile-none-offered",
        Rule.PROFILE_KNOWN,
        (project(profiles=Offer()), only_options({"project": "ml101", "image": "torch:1"})),
        Reason.UNKNOWN_PROFILE,
        {"profile": "", "project": "ml101"},
    ),
    Fault(
        "profile-not-offered",
        Rule.PROFILE_OFFERED,
        (project(profiles=Offer(("small",))),),
        Reason.PROFILE_NOT_OFFERED,
        WITH,
    ),
    Fault("profile-hidden", Rule.PROFILE_OFFERED, (profile("gpus", hidden=True),), Reason.PROFILE_NOT_OFFERED, WITH),
    Fault(
        "profile-retired",
        Rule.PROFILE_CURRENT,
        (profile("gpus", retired=True, successor="small"),),
        Reason.PROFILE_RETIRED,
        {**WITH, "successor": "small"},
    ),
    Fault(
        "profile-retired-for-nothing",
        Rule.PROFILE_CURRENT,
        (profile("gpus", retired=True),),
        Reason.PROFILE_RETIRED,
        {**WITH, "successor": None},
    ),
    Fault(
        "profile-of-another-group",
        Rule.PROFILE_OPEN,
        (profile("gpus", groups=("/staff",)),),
        Reason.PROFILE_NOT_OPEN,
        WITH,
    ),
    Fault("profile-of-nobody", Rule.PROFILE_OPEN, (profile("gpus", groups=()),), Reason.PROFILE_NOT_OPEN, WITH),
    Fault(
        "count-not-open",
        Rule.PROFILE_COUNT,
        (options(acceleratorCount=3),),
        Reason.INVALID_OPTIONS,
        {"field": "acceleratorCount", "problem": "not-open", "value": "3"},
    ),
    Fault(
        "count-zero-of-an-accelerator",
        Rule.PROFILE_COUNT,
        (options(acceleratorCount=0),),
        Reason.INVALID_OPTIONS,
        {"field": "acceleratorCount", "problem": "not-open", "value": "0"},
    ),
    Fault(
        "count-without-accelerator",
        Rule.PROFILE_COUNT,
        (options(profile="small"),),
        Reason.INVALID_OPTIONS,
        {"field": "acceleratorCount", "problem": "not-open", "value": "2"},
    ),
    Fault(
        "profile-unfit",
        Rule.PROFILE_FITS,
        (options(image="rocm:1"),),
        Reason.PROFILE_UNFIT,
        {"profile": "gpus", "image": "rocm:1", "key": GPU, "suits": ("amd.com/gpu",)},
    ),
    Fault(
        "identity-not-confirmed",
        Rule.IDENTITY_CONFIRMED,
        (facts(identity_confirmed=False), whole(fresh_for_accelerators=True)),
        Reason.IDENTITY_STALE,
        {"profile": "gpus"},
        State.WAIT,
    ),
    Fault(
        "no-machine-has-it",
        Rule.MACHINE_FITS,
        (facts(machines=(replace(MACHINE, total=room(gpus=0)),)),),
        Reason.NEVER_FITS,
        {"profile": "gpus", "key": GPU, "requested": "2", "total": "0", "machines": 1},
    ),
    Fault(
        "no-machine-has-enough",
        Rule.MACHINE_FITS,
        (facts(machines=(replace(MACHINE, total=room(memory=GIB)),)),),
        Reason.NEVER_FITS,
        {"profile": "gpus", "key": "memory", "requested": "2 GiB", "total": "1 GiB", "machines": 1},
    ),
    Fault(
        "no-machine-at-all",
        Rule.MACHINE_FITS,
        (facts(machines=()),),
        Reason.NEVER_FITS,
        {"profile": "gpus", "key": "cpu", "requested": "1", "total": "0", "machines": 0},
    ),
    Fault(
        "no-single-machine-has-both",
        Rule.MACHINE_FITS,
        (
            facts(
                machines=(
                    Machine("none", Resources(), Resources()),
                    Machine("old", room(gpus=0), room(gpus=0)),
                    Machine("one", room(gpus=1), room(gpus=1)),
                    Machine("gpus", room(cpu=0, gpus=8), room(cpu=0, gpus=8)),
                )
            ),
        ),
        Reason.NEVER_FITS,
        # Of the machines that lack one thing the first speaks for its kind: most of what it lacks, not of all there is.
        {"profile": "gpus", "key": GPU, "requested": "2", "total": "1", "machines": 4},
    ),
    Fault(
        "no-machine-of-that-kind",
        Rule.MACHINE_FITS,
        (profile("gpus", placement=Placement({"gpu": "a100"})),),
        Reason.NEVER_FITS,
        {"profile": "gpus", "key": "cpu", "requested": "1", "total": "0", "machines": 1, "eligible": 0},
    ),
    Fault(
        "machines-of-that-kind-are-too-small",
        Rule.MACHINE_FITS,
        (
            profile("gpus", placement=Placement({"gpu": "a100"})),
            facts(machines=(MACHINE, replace(MACHINE, total=room(gpus=1), labels={"gpu": "a100"}))),
        ),
        Reason.NEVER_FITS,
        {"profile": "gpus", "key": GPU, "requested": "2", "total": "1", "machines": 2, "eligible": 1},
    ),
    Fault(
        "taints-keep-it-off",
        Rule.MACHINE_FITS,
        (facts(machines=(replace(MACHINE, taints=(Taint("reserved"),)),)),),
        Reason.NEVER_FITS,
        {"profile": "gpus", "key": "cpu", "requested": "1", "total": "0", "machines": 1, "eligible": 0},
    ),
    Fault(
        "pools-are-too-small",
        Rule.MACHINE_FITS,
        (facts(machines=()), whole(pools=(Pool("small", Machine("small", room(gpus=1), room(gpus=1))),))),
        Reason.NEVER_FITS,
        {"profile": "gpus", "key": GPU, "requested": "2", "total": "1", "machines": 1},
    ),
    Fault(
        "pools-are-of-another-kind",
        Rule.MACHINE_FITS,
        (
            facts(machines=(replace(MACHINE, total=room(gpus=1)),)),
            whole(pools=(Pool("spot", replace(MACHINE, taints=(Taint("spot"),))),)),
        ),
        Reason.NEVER_FITS,
        {"profile": "gpus", "key": GPU, "requested": "2", "total": "1", "machines": 2, "eligible": 1},
    ),
    Fault(
        "usage-unknown", Rule.USAGE_KNOWN, (facts(usage=None),), Reason.QUOTA_UNKNOWN, {"profile": "gpus"}, State.WAIT
    ),
    Fault(
        "usage-unknown-with-accelerator",
        Rule.USAGE_KNOWN,
        (facts(usage=None), whole(start_when_unknown=True)),
        Reason.QUOTA_UNKNOWN,
        {"profile": "gpus"},
        State.WAIT,
    ),
    Fault(
        "project-quota-in-use",
        Rule.QUOTA_PROJECT,
        (project(quota={GPU: Decimal(4)}), facts(usage=used(project=Resources({GPU: 3})))),
        Reason.QUOTA_PROJECT,
        {"project": "ml101", "key": GPU, "limit": "4", "used": "3", "requested": "2", "ever": True},
        State.WAIT,
    ),
    Fault(
        "member-quota-in-use",
        Rule.QUOTA_MEMBER,
        (
            project(member_quota={"memory": Decimal(4 * GIB)}),
            facts(usage=used(member=Resources({"memory": 3 * GIB}))),
        ),
        Reason.QUOTA_MEMBER,
        {"project": "ml101", "key": "memory", "limit": "4 GiB", "used": "3 GiB", "requested": "2 GiB", "ever": True},
        State.WAIT,
    ),
    Fault(
        "user-quota-in-use",
        Rule.QUOTA_USER,
        (whole(user_quota={"servers": Decimal(1)}), facts(usage=used(user=Resources({"servers": 1})))),
        Reason.QUOTA_USER,
        {"project": "ml101", "key": "servers", "limit": "1", "used": "1", "requested": "1", "ever": True},
        State.WAIT,
    ),
    Fault(
        "project-quota-too-small",
        Rule.QUOTA_PROJECT,
        (project(quota={GPU: Decimal(1)}),),
        Reason.QUOTA_PROJECT,
        {"project": "ml101", "key": GPU, "limit": "1", "used": "0", "requested": "2", "ever": False},
    ),
    Fault(
        "member-quota-of-none",
        Rule.QUOTA_MEMBER,
        (project(member_quota={"servers": Decimal(0)}),),
        Reason.QUOTA_MEMBER,
        {"project": "ml101", "key": "servers", "limit": "0", "used": "0", "requested": "1", "ever": False},
    ),
    Fault(
        "user-quota-too-small-for-the-home",
        Rule.QUOTA_USER,
        (whole(home=Home(size=Decimal(2 * GIB)), user_quota={"storage": Decimal(GIB)}),),
        Reason.QUOTA_USER,
        {"project": "ml101", "key": "storage", "limit": "1 GiB", "used": "0 B", "requested": "2 GiB", "ever": False},
    ),
    Fault(
        "waiting-for-one-quota-is-pointless-with-another",
        Rule.QUOTA_PROJECT,
        (
            project(quota={"servers": Decimal(1), "cpu": Decimal(0)}),
            facts(usage=used(project=Resources({"servers": 1}))),
        ),
        Reason.QUOTA_PROJECT,
        {"project": "ml101", "key": "servers", "limit": "1", "used": "1", "requested": "1", "ever": True},
        State.NO,
    ),
    Fault(
        "machines-full",
        Rule.CAPACITY,
        (facts(machines=(replace(MACHINE, free=room(gpus=1)),)),),
        Reason.NO_CAPACITY,
        {"profile": "gpus", "key": GPU, "requested": "2", "free": "1", "total": "4"},
        State.WAIT,
    ),
    Fault(
        "machines-short-of-memory",
        Rule.CAPACITY,
        (facts(machines=(replace(MACHINE, free=room(memory=GIB)),)),),
        Reason.NO_CAPACITY,
        {"profile": "gpus", "key": "memory", "requested": "2 GiB", "free": "1 GiB", "total": "16 GiB"},
        State.WAIT,
    ),
    Fault(
        "machines-overfull",
        Rule.CAPACITY,
        (facts(machines=(replace(MACHINE, free=room(cpu=-3)),)),),
        Reason.NO_CAPACITY,
        {"profile": "gpus", "key": "cpu", "requested": "1", "free": "0", "total": "8"},
        State.WAIT,
    ),
    Fault(
        "every-machine-lacks-something",
        Rule.CAPACITY,
        (
            facts(
                machines=(
                    replace(MACHINE, free=Resources()),
                    replace(MACHINE, free=room(gpus=0)),
                    replace(MACHINE, total=room(gpus=3), free=room(gpus=1)),
                    replace(MACHINE, free=room(cpu=0)),
                )
            ),
        ),
        Reason.NO_CAPACITY,
        {"profile": "gpus", "key": GPU, "requested": "2", "free": "1", "total": "3"},
        State.WAIT,
    ),
    Fault(
        "the-only-machine-is-cordoned",
        Rule.CAPACITY,
        (facts(machines=(replace(MACHINE, taints=(Taint("node.kubernetes.io/unschedulable"),)),)),),
        Reason.NO_CAPACITY,
        {"profile": "gpus", "key": "cpu", "requested": "1", "free": "0", "total": "8"},
        State.WAIT,
    ),
    Fault(
        "room-on-a-machine-of-another-kind",
        Rule.CAPACITY,
        (
            profile("gpus", placement=Placement({"gpu": "a100"})),
            facts(machines=(MACHINE, replace(MACHINE, free=room(gpus=1), labels={"gpu": "a100"}))),
        ),
        Reason.NO_CAPACITY,
        {"profile": "gpus", "key": GPU, "requested": "2", "free": "1", "total": "4"},
        State.WAIT,
    ),
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_each_rule_refuses_with_its_reason_and_parameters(fault: Fault) -> None:
    setup = changed(*fault.change)
    refusal = Refusal(fault.reason, fault.parameters)
    failed = next(judgement for judgement in setup.why() if judgement.failed)
    assert setup.resolve() == refusal
    assert (failed.rule, failed.verdict) == (fault.rule, Verdict(fault.state, refusal))


def test_every_rule_has_a_fault() -> None:
    assert {fault.rule for fault in FAULTS} == set(Rule)


# One fault of each rule; with all the later ones on top, the earliest speaks.
CHAIN = tuple(
    next(fault for fault in FAULTS if fault.id == wanted)
    for wanted in (
        "options-no-object",
        "project-unknown",
        "admin-no-member",
        "project-archived",
        "image-unknown-stream",
        "image-not-offered",
        "image-retired",
        "image-being-resolved",
        "profile-unknown",
        "profile-not-offered",
        "profile-retired",
        "profile-of-nobody",
        "count-not-open",
        "no-machine-has-it",
        "usage-unknown",
        "project-quota-too-small",
        "member-quota-of-none",
        "user-quota-too-small-for-the-home",
        "machines-full",
    )
)


@pytest.mark.parametrize("first", range(len(CHAIN)), ids=[fault.rule.value for fault in CHAIN])
def test_the_first_rule_that_fails_is_the_reason(first: int) -> None:
    # Applied from the last to the first: where two faults change one thing, the earlier rule's stands.
    setup = changed(*(change for fault in reversed(CHAIN[first:]) for change in fault.change))
    result = setup.resolve()
    assert isinstance(result, Refusal)
    assert result.reason is CHAIN[first].reason
    assert next(judgement.rule for judgement in setup.why() if judgement.failed) is CHAIN[first].rule


@pytest.mark.parametrize(
    ("changes", "first"),
    [
        pytest.param((options(image="rocm:1", acceleratorCount=3),), Rule.PROFILE_COUNT, id="count-before-fit"),
        pytest.param((options(image="rocm:1"), facts(machines=())), Rule.PROFILE_FITS, id="fit-before-machines"),
        pytest.param((facts(machines=(), usage=None),), Rule.MACHINE_FITS, id="machines-before-usage"),
        pytest.param(
            (facts(usage=None, machines=(replace(MACHINE, free=room(0)),)),), Rule.USAGE_KNOWN, id="usage-first"
        ),
    ],
)
def test_precedence_between_fit_machines_and_usage(changes: tuple[Change, ...], first: Rule) -> None:
    assert next(judgement.rule for judgement in changed(*changes).why() if judgement.failed) is first


UP_TO_PROJECT = list(Rule)[: list(Rule).index(Rule.PROJECT_KNOWN) + 1]
OF_IMAGE = [Rule.IMAGE_OFFERED, Rule.IMAGE_CURRENT, Rule.IMAGE_RESOLVED]
OF_QUOTA = [Rule.QUOTA_PROJECT, Rule.QUOTA_MEMBER, Rule.QUOTA_USER]
FROM_PROFILE = list(Rule)[list(Rule).index(Rule.PROFILE_OFFERED) :]


@pytest.mark.parametrize(
    ("changes", "unjudged"),
    [
        pytest.param((only_options(None),), list(Rule)[1:], id="malformed"),
        pytest.param((FAULTS[1].change), list(Rule)[1:], id="project-missing"),
        pytest.param((options(project="none"),), list(Rule)[2:], id="project-unknown"),
        pytest.param((person(ROOT),), [], id="no-member"),
        pytest.param((options(image="gone:1"),), [*OF_IMAGE, Rule.PROFILE_FITS], id="image-unknown"),
        pytest.param((options(profile="gone"),), FROM_PROFILE, id="profile-unknown"),
        pytest.param((facts(usage=None),), OF_QUOTA, id="usage-unknown"),
    ],
)
def test_why_leaves_out_only_what_nothing_is_left_to_judge_for(
    changes: tuple[Change, ...], unjudged: list[Rule]
) -> None:
    judgements = changed(*changes).why()
    assert [judgement.rule for judgement in judgements] == list(Rule)
    assert [judgement.rule for judgement in judgements if judgement.verdict is None] == unjudged


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param((only_options({}),), id="project-missing-of-one"),
        pytest.param((person(IRA),), id="instructor"),
        pytest.param((person(Person("ann", admin=True)), only_options({})), id="admin-and-member-of-one"),
        pytest.param((project(members=Membership(everybody=True)), person(EVE)), id="open-project"),
        pytest.param((project(images=Offer(("torch:1",))),), id="tag-offered-alone"),
        pytest.param((decided(torch_1=ImageDecision(TagState.OFFERED)),), id="offered-by-instructor-too"),
        pytest.param((decided(torch_2=HIDDEN, torch_3=RETIRED),), id="decisions-on-other-tags"),
        pytest.param((facts(decisions={"lab": Decisions({"torch:1": HIDDEN})}),), id="decisions-of-another-project"),
        pytest.param((facts(unresolved={"torch:2": False}),), id="another-tag-unresolved"),
        pytest.param(
            (profile("gpus", groups=("/staff", "/c/*")), person(Person("ann", frozenset({"/c/ml101"})))), id="group"
        ),
        pytest.param((options(acceleratorCount=1),), id="another-count"),
        pytest.param((stream("torch", accelerators=()),), id="image-for-anything"),
        pytest.param((stream("torch", accelerators=("nvidia.com/mig-1g.10gb",)),), id="image-for-the-vendor"),
        pytest.param(
            (options(image="rocm:1", profile="small", acceleratorCount=0),), id="no-accelerator-fits-any-image"
        ),
        pytest.param((facts(machines=None),), id="nothing-known-of-machines"),
        pytest.param(
            (facts(machines=(Machine("none", Resources(), Resources()), MACHINE)),), id="one-machine-of-two-is-enough"
        ),
        pytest.param((facts(machines=(Machine("exact", room(1, 2 * GIB, 2), room(1, 2 * GIB, 2)),)),), id="exact-fit"),
        pytest.param(
            (facts(usage=None), whole(start_when_unknown=True), options(profile="small", acceleratorCount=0)),
            id="usage-unknown-without-accelerator",
        ),
        pytest.param(
            (
                project(quota={GPU: Decimal(4), "servers": Decimal(1)}, member_quota={GPU: Decimal(2)}),
                whole(user_quota={GPU: Decimal(2)}),
                facts(usage=used(project=Resources({GPU: 2}))),
            ),
            id="quotas-just-enough",
        ),
        pytest.param((project(quota={"amd.com/gpu": Decimal(0)}),), id="quota-on-what-is-not-asked-for"),
    ],
)
def test_what_no_rule_forbids_starts(changes: tuple[Change, ...]) -> None:
    assert isinstance(changed(*changes).resolve(), Plan)


def test_without_known_usage_a_start_needs_the_policy_s_word_even_without_accelerator() -> None:
    setup = changed(facts(usage=None), options(profile="small", acceleratorCount=0))
    assert setup.resolve() == Refusal(Reason.QUOTA_UNKNOWN, {"profile": "small"})


def test_a_machine_that_wants_nothing_still_needs_a_machine() -> None:
    setup = changed(
        profile("small", requests=Resources()), options(profile="small", acceleratorCount=0), facts(machines=())
    )
    parameters: Mapping[str, Parameter] = {
        "profile": "small",
        "key": "servers",
        "requested": "1",
        "total": "0",
        "machines": 0,
    }
    assert setup.resolve() == Refusal(Reason.NEVER_FITS, parameters)


def test_storage_is_no_matter_of_machines() -> None:
    assert isinstance(changed(whole(home=Home(size=Decimal(99)))).resolve(), Plan)


def test_hostile_ids_are_shown_short_and_inert() -> None:
    long = changed(options(project="x" * 200)).resolve()
    assert isinstance(long, Refusal)
    assert long.parameters["project"] == "x" * 80 + "…"
    for key, at in (("image", "image"), ("profile", "profile")):
        refusal = changed(options(**{key: "y" * 200})).resolve()
        assert isinstance(refusal, Refusal)
        assert refusal.parameters[at] == "y" * 80 + "…"


@pytest.mark.parametrize(("level", "reason"), [(level, Reason(f"quota-{level}")) for level in Level])
def test_a_denied_quota_is_named_for_people(level: Level, reason: Reason) -> None:
    denial = Deny(level, "memory", Decimal(4 * GIB), Decimal(3 * GIB), Decimal(5 * GIB))
    parameters: Mapping[str, Parameter] = {
        "project": "p",
        "key": "memory",
        "limit": "4 GiB",
        "used": "3 GiB",
        "requested": "5 GiB",
        "ever": False,
    }
    assert quota_refusal("p", denial) == Refusal(reason, parameters)


# Machines that are started for a server.

FULL = facts(machines=(replace(MACHINE, free=Resources()),))
SLOW, FAST, SOME = (
    Pool("slow", MACHINE, 600),
    Pool("fast", MACHINE, 300),
    Pool("some", MACHINE),
)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param((FULL, whole(pools=(SLOW, FAST))), Verdict(State.OK, pool="fast", seconds=300), id="soonest"),
        pytest.param((FULL, whole(pools=(SOME, SLOW))), Verdict(State.OK, pool="slow", seconds=600), id="known-first"),
        pytest.param((FULL, whole(pools=(SOME,))), Verdict(State.OK, pool="some"), id="time-not-known"),
        pytest.param(
            (facts(machines=()), whole(pools=(FAST,))), Verdict(State.OK, pool="fast", seconds=300), id="none"
        ),
        pytest.param((whole(pools=(FAST,)),), OK, id="there-is-room"),
        pytest.param((facts(machines=None), whole(pools=(FAST,))), OK, id="nothing-known-of-machines"),
        pytest.param(
            (FULL, whole(pools=(replace(FAST, machine=replace(MACHINE, total=room(gpus=1))), SLOW))),
            Verdict(State.OK, pool="slow", seconds=600),
            id="large-enough",
        ),
    ],
)
def test_a_start_is_admitted_where_a_pool_brings_its_machine(changes: tuple[Change, ...], expected: Verdict) -> None:
    setup = changed(*changes)
    here = setup.here()
    image, gpus = here.image("torch:1"), here.profile("gpus")
    assert image is not None
    assert gpus is not None
    assert isinstance(setup.resolve(), Plan)
    assert gpus.verdicts[2] == expected
    assert here.combined(image, gpus, 2) == expected
    assert next(each.verdict for each in setup.why() if each.rule is Rule.CAPACITY) == expected


def test_a_refusal_says_nothing_of_pools() -> None:
    here = changed(FULL, whole(pools=(FAST,)), project(quota={"servers": Decimal(0)})).here()
    gpus = here.profile("gpus")
    assert gpus is not None
    assert (gpus.verdict.refusal is not None, gpus.verdict.pool) == (True, "")


def test_a_choice_says_for_each_count_how_many_fit() -> None:
    gpus = changed(facts(machines=(MACHINE, replace(MACHINE, free=room(gpus=1))))).here().profile("gpus")
    assert gpus is not None
    assert gpus.room == {
        1: Availability(5, 8, 5, 8, FACTS.as_of),
        2: Availability(2, 4, 5, 8, FACTS.as_of),
    }


# Defaults.


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param((), "torch:2", id="recommended-tag-of-the-first-stream"),
        pytest.param((tag("torch:3", default=True),), "torch:2", id="first-of-default-and-recommended"),
        pytest.param((tag("torch:1", default=True),), "torch:1", id="default-tag-before-recommended-one"),
        pytest.param((tag("torch:2", recommended=False),), "torch:1", id="first-tag"),
        pytest.param(
            (tag("torch:2", recommended=False), tag("rocm:1", recommended=True)), "rocm:1", id="any-recommended"
        ),
        pytest.param((stream("torch", order=3),), "torch:2", id="recommended-before-first-stream"),
        pytest.param((stream("torch", order=3), tag("rocm:1", default=True)), "rocm:1", id="streams-in-order"),
        pytest.param((tag("torch:2", state=TagState.HIDDEN),), "torch:1", id="hidden-recommended"),
        pytest.param((tag("torch:2", state=TagState.RETIRED),), "torch:1", id="retired-recommended"),
        pytest.param((project(images=Offer(("torch:3", "rocm"))),), "torch:3", id="only-offered"),
        pytest.param((project(images=Offer(("torch",), "torch:3")),), "torch:3", id="admin's-tag"),
        pytest.param((project(images=Offer(("torch",), "torch")),), "torch:2", id="admin's-stream-recommended"),
        pytest.param(
            (project(images=Offer(("torch", "rocm"), "rocm")), tag("torch:1", default=True)),
            "rocm:1",
            id="admin's-stream-first",
        ),
        pytest.param(
            (project(images=Offer(("torch",), "torch")), tag("torch:3", default=True)),
            "torch:3",
            id="admin's-stream-default",
        ),
        pytest.param(
            (project(images=Offer(("torch",), "torch:3")), tag("torch:3", state=TagState.RETIRED)),
            "torch:2",
            id="admin's-retired",
        ),
        pytest.param((project(images=Offer(("torch",), "rocm")),), "torch:2", id="admin's-not-offered"),
        pytest.param((project(images=Offer(("torch",), "gone")),), "torch:2", id="admin's-unknown-stream"),
        pytest.param((project(images=Offer(("torch",), "gone:1")),), "torch:2", id="admin's-unknown-tag"),
        pytest.param(
            (project(images=Offer(("torch",), "rocm")), stream("rocm", tags=())), "torch:2", id="admin's-empty-stream"
        ),
        pytest.param(
            (project(images=Offer(("torch",), "torch:1")), decided("torch:3")), "torch:3", id="instructors-first"
        ),
        pytest.param(
            (project(images=Offer(("torch",), "torch:1")), decided("torch:3", torch_3=HIDDEN)),
            "torch:1",
            id="instructors-hidden",
        ),
        pytest.param(
            (project(images=Offer(("torch",), "torch:1")), decided("torch:3", torch_3=RETIRED)),
            "torch:1",
            id="instructors-retired",
        ),
        pytest.param(
            (project(images=Offer(("torch",), "torch:1")), decided("rocm:1")), "torch:1", id="instructors-withdrawn"
        ),
        pytest.param(
            (project(images=Offer(("torch",), "torch:1")), decided(torch_1=HIDDEN)), "torch:2", id="admin's-hidden"
        ),
        pytest.param((project(images=Offer()),), None, id="nothing-offered"),
        pytest.param((facts(unresolved={"torch:2": False}),), "torch:2", id="unresolved-is-no-matter"),
    ],
)
def test_default_image(changes: tuple[Change, ...], expected: str | None) -> None:
    setup = changed(*changes)
    assert default_image(setup.policy(), setup.project, setup.facts.decided("ml101")) == expected


STAFF = Person("ann", frozenset({"/staff"}))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param((), "small", id="first-in-order"),
        pytest.param((profile("small", order=3),), "gpus", id="order"),
        pytest.param((profile("small", order=2),), "gpus", id="name"),
        pytest.param((project(profiles=Offer(("small", "gpus"), "gpus")),), "gpus", id="project's"),
        pytest.param((project(profiles=Offer(("small",), "gpus")),), "small", id="project's-not-offered"),
        pytest.param(
            (project(profiles=Offer(("small", "gpus"), "gpus")), profile("gpus", retired=True)), "small", id="retired"
        ),
        pytest.param(
            (project(profiles=Offer(("small", "gpus"), "gpus")), profile("gpus", hidden=True)), "small", id="hidden"
        ),
        pytest.param(
            (project(profiles=Offer(("small", "gpus"), "gpus")), profile("gpus", groups=())), "small", id="not-open"
        ),
        pytest.param(
            (project(profiles=Offer(("small", "gpus"), "gpus")), profile("gpus", groups=("/staff",)), person(STAFF)),
            "gpus",
            id="open",
        ),
        pytest.param((profile("small", retired=True),), "gpus", id="first-retired"),
        pytest.param((project(profiles=Offer(("gone", "gpus"), "gone")),), "gpus", id="unknown"),
        pytest.param((project(profiles=Offer()),), None, id="nothing-offered"),
    ],
)
def test_default_profile(changes: tuple[Change, ...], expected: str | None) -> None:
    setup = changed(*changes)
    assert default_profile(setup.policy(), setup.project, setup.person) == expected


def test_what_is_left_out_means_the_defaults() -> None:
    plan = changed(only_options({})).plan()
    assert (plan.project, plan.reference, plan.profile, plan.accelerator_count) == ("ml101", "torch:2", "small", 0)
    first = changed(only_options({"profile": "gpus"}), profile("gpus", accelerator=Accelerator(GPU, (2, 1)))).plan()
    assert first.accelerator_count == 2


# What a start takes.


PER_SERVER = Resources({"servers": 1, "cpu": 1, "memory": 2 * GIB, GPU: 2})
STORED = Resources({"storage": 5})
SHARED = ProjectStorage(shared=SharedFolder(Decimal(3)))
PROJECT_HOMES = Home(HomeScope.PROJECT, Decimal(5))


def charged(claim: str, size: int | None) -> dict[str, Claim]:
    stored = Resources({} if size is None else {"storage": size})
    amounts = Amounts(project=stored) if claim.startswith("project/") else Amounts(user=stored)
    return {claim: Claim(claim, None if size is None else Decimal(size), amounts)}


@pytest.mark.parametrize(
    ("changes", "charge", "claims"),
    [
        pytest.param((), Amounts(), {"home/ann": None}, id="nothing-sized"),
        pytest.param((whole(home=Home(size=Decimal(5))),), Amounts(user=STORED), {"home/ann": 5}, id="home-of-a-user"),
        pytest.param(
            (whole(home=PROJECT_HOMES),), Amounts.everywhere(STORED), {"home/ml101/ann": 5}, id="home-in-a-project"
        ),
        pytest.param(
            (whole(home=PROJECT_HOMES), project(storage=ProjectStorage(home_size=Decimal(7)))),
            Amounts.everywhere(Resources({"storage": 7})),
            {"home/ml101/ann": 7},
            id="project-s-own-size",
        ),
        pytest.param(
            (whole(home=Home(size=Decimal(5))), facts(claims=charged("home/ann", 5))),
            Amounts(),
            {"home/ann": 5},
            id="home-exists",
        ),
        pytest.param(
            (whole(home=Home(size=Decimal(5))), facts(claims=charged("home/ann", 3))),
            Amounts(user=Resources({"storage": 2})),
            {"home/ann": 5},
            id="home-grows",
        ),
        pytest.param(
            (whole(home=Home(size=Decimal(5))), facts(claims=charged("home/ann", 9))),
            Amounts(),
            {"home/ann": 5},
            id="home-was-larger",
        ),
        pytest.param(
            (whole(home=Home(size=Decimal(5))), facts(claims=charged("home/ann", None))),
            Amounts(user=STORED),
            {"home/ann": 5},
            id="home-had-no-size",
        ),
        pytest.param(
            (project(storage=SHARED),),
            Amounts(project=Resources({"storage": 3})),
            {"home/ann": None, "project/ml101": 3},
            id="shared-folder",
        ),
        pytest.param(
            (project(storage=SHARED), facts(claims=charged("project/ml101", 3))),
            Amounts(),
            {"home/ann": None, "project/ml101": 3},
            id="shared-folder-exists",
        ),
        pytest.param(
            (project(storage=SHARED), whole(home=PROJECT_HOMES)),
            Amounts(Resources({"storage": 8}), STORED, STORED),
            {"home/ml101/ann": 5, "project/ml101": 3},
            id="both-are-new",
        ),
    ],
)
def test_charge_and_claims(changes: tuple[Change, ...], charge: Amounts, claims: Mapping[str, int | None]) -> None:
    plan = changed(*changes).plan()
    assert plan.charge == Amounts.everywhere(PER_SERVER) + charge
    assert {claim.id: claim.size for claim in plan.claims} == claims
    assert plan.home == plan.claims[0]


def test_a_new_home_counts_against_the_quota_and_one_that_exists_does_not() -> None:
    small = (whole(home=Home(size=Decimal(5)), user_quota={"storage": Decimal(4)}),)
    assert isinstance(changed(*small).resolve(), Refusal)
    assert isinstance(changed(*small, facts(claims=charged("home/ann", 5))).resolve(), Plan)


def test_a_plan_holds_all_that_a_start_needs() -> None:
    storage = ProjectStorage(shared=SharedFolder(), datasets={"mnist": Dataset("mnist", path="/data/mnist")})
    environment = {"COURSE": "ml101", "LD_PRELOAD": "/tmp/evil.so"}
    setup = changed(
        project(
            storage=storage, environment=environment, quota={"servers": Decimal(9)}, member_quota={"cpu": Decimal(8)}
        ),
        whole(user_quota={"servers": Decimal(3)}),
        options(profile="small", acceleratorCount=0),
    )
    nothing = Amounts(project=Resources())
    assert setup.plan() == Plan(
        person="ann",
        project="ml101",
        project_name=Text("Machine Learning 101"),
        stream="torch",
        tag="1",
        image_name=Text("PyTorch"),
        image="registry.example/torch:1",
        requirements=("torch==2.8",),
        profile="small",
        profile_name=Text("Small"),
        requests=SMALL.requests,
        limits=SMALL.limits,
        accelerator=None,
        accelerator_count=0,
        placement=Placement(priority_class="courses"),
        shared_memory=Decimal(GIB),
        home=Claim("home/ann", None, nothing),
        claims=(Claim("home/ann", None, nothing), Claim("project/ml101", None, nothing)),
        shared=SharedFolder(),
        may_write_shared=False,
        datasets=(Dataset("mnist", path="/data/mnist"),),
        environment={"COURSE": "ml101"},
        idle=IdleRules(3600, None),
        charge=Amounts.everywhere(Resources({"servers": 1, "cpu": 1, "memory": 2 * GIB})),
        quotas=Quotas({"servers": Decimal(9)}, {"cpu": Decimal(8)}, {"servers": Decimal(3)}),
    )
    assert quotas_of(setup.policy(), setup.project) == setup.plan().quotas


def test_a_plan_has_what_a_cluster_needs() -> None:
    start = StartAdapter(("start.sh",), 9000, "/home/me", 1001)
    classes = StorageClasses("fast", "nfs", "ReadWriteOnce")
    plan = changed(
        stream("torch", pull_secrets=("campus", "vendor"), start=start),
        project(namespace="ml101-servers", pull_secrets=("course", "campus")),
        profile("gpus", ephemeral_request=Decimal(1), ephemeral_limit=Decimal(2)),
        whole(storage_classes=classes),
    ).plan()
    assert (plan.namespace, plan.pull_secrets) == ("ml101-servers", ("course", "campus", "vendor"))
    assert (plan.start, plan.storage) == (start, classes)
    assert (plan.ephemeral_request, plan.ephemeral_limit) == (Decimal(1), Decimal(2))


def test_a_plan_names_its_accelerator() -> None:
    plan = Setup().plan()
    assert (plan.accelerator, plan.accelerator_count) == (GPU, 2)


@pytest.mark.parametrize(
    ("who", "shared", "may"),
    [
        pytest.param(ANN, None, False, id="no-folder"),
        pytest.param(IRA, None, False, id="instructor-without-folder"),
        pytest.param(ANN, SharedFolder(), False, id="member"),
        pytest.param(ANN, SharedFolder(members_write=True), True, id="member-where-members-write"),
        pytest.param(IRA, SharedFolder(), True, id="instructor"),
    ],
)
def test_who_may_write_the_project_folder(who: Person, shared: SharedFolder | None, *, may: bool) -> None:
    assert changed(person(who), project(storage=ProjectStorage(shared=shared))).plan().may_write_shared is may


# What the page shows.


@pytest.mark.parametrize(
    ("who", "seen"),
    [
        pytest.param(ANN, [("ml101", Role.MEMBER)], id="member"),
        pytest.param(IRA, [("ml101", Role.INSTRUCTOR)], id="instructor"),
        pytest.param(EVE, [], id="outsider"),
        pytest.param(ROOT, [("ml101", Role.ADMIN), ("lab", Role.ADMIN)], id="admin"),
        pytest.param(Person("bob", admin=True), [("ml101", Role.ADMIN), ("lab", Role.MEMBER)], id="admin-and-member"),
    ],
)
def test_who_sees_which_projects(who: Person, seen: list[tuple[str, Role]]) -> None:
    assert [(chosen.project.name, chosen.role) for chosen in changed(person(who)).choices()] == seen


def test_projects_stand_in_order_then_by_name() -> None:
    assert [chosen.project.name for chosen in changed(person(ROOT), project(order=2)).choices()] == ["lab", "ml101"]
    assert [chosen.project.name for chosen in changed(person(ROOT), project(order=3)).choices()] == ["lab", "ml101"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param((), None, id="ok"),
        pytest.param((project(archived=True),), Reason.PROJECT_ARCHIVED, id="archived"),
        pytest.param((person(ROOT),), Reason.NOT_MEMBER, id="not-member"),
        pytest.param((person(ROOT), project(archived=True)), Reason.NOT_MEMBER, id="not-member-first"),
    ],
)
def test_a_project_has_a_verdict(changes: tuple[Change, ...], reason: Reason | None) -> None:
    chosen = changed(*changes).here()
    expected = Verdict(State.NO, Refusal(reason, {"project": "ml101"})) if reason else OK
    assert chosen.verdict == expected
    assert chosen.combined(chosen.images[0], chosen.profiles[0], 0) == expected


def test_usage_and_quotas_are_shown() -> None:
    quotas = project(quota={"servers": Decimal(2)})
    usage = used(project=Resources({"servers": 1}), user=Resources({"servers": 3}))
    chosen = changed(quotas, facts(usage=usage)).here()
    assert chosen.usage == Amounts(project=Resources({"servers": 1}), user=Resources({"servers": 3}))
    assert chosen.quotas == Quotas({"servers": Decimal(2)})
    assert changed(quotas, facts(usage=None)).here().usage is None


def test_images_are_shown_with_verdict_default_successor_and_message() -> None:
    chosen = changed(
        tag("torch:1", state=TagState.RETIRED, successor="2"),
        decided(torch_3=HIDDEN, rocm_1=ImageDecision(TagState.RETIRED, "torch:2", "No cards left.")),
        facts(unresolved={"torch:2": True}),
    ).here()
    shown = [(each.reference, each.verdict.state, each.default, each.successor, each.message) for each in chosen.images]
    assert shown == [
        ("torch:1", State.NO, False, "torch:2", ""),
        ("torch:2", State.WAIT, True, None, ""),
        ("rocm:1", State.NO, False, "torch:2", "No cards left."),
    ]
    first = chosen.image("torch:1")
    assert first is not None
    assert (first.stream.name, first.tag.name) == ("torch", "1")
    assert first.verdict.refusal == Refusal(Reason.IMAGE_RETIRED, {**HERE, "successor": "torch:2"})
    assert chosen.image("torch:3") is None


def test_profiles_are_shown_with_a_verdict_for_every_count() -> None:
    chosen = changed(
        project(profiles=Offer(("gpus", "small"), "gpus"), member_quota={GPU: Decimal(1)}),
    ).here()
    small, gpus = chosen.profiles
    assert (small.profile, small.default, small.verdicts, small.unfit) == (SMALL, False, {0: OK}, frozenset())
    assert (gpus.profile, gpus.default, gpus.unfit) == (GPUS, True, frozenset({"rocm:1"}))
    assert {count: verdict.state for count, verdict in gpus.verdicts.items()} == {1: State.OK, 2: State.NO}
    assert gpus.verdict is gpus.verdicts[1]
    assert chosen.profile("gpus") is gpus
    assert chosen.profile("gone") is None


def test_a_retired_profile_is_seen_with_its_successor_and_others_are_not() -> None:
    retired = changed(profile("gpus", retired=True, successor="small")).here()
    seen = retired.profile("gpus")
    assert seen is not None
    assert seen.verdict == Verdict(State.NO, Refusal(Reason.PROFILE_RETIRED, {**WITH, "successor": "small"}))
    for change in (profile("gpus", hidden=True), profile("gpus", groups=()), project(profiles=Offer(("small",)))):
        assert [each.profile.name for each in changed(change).here().profiles] == ["small"]


@pytest.mark.parametrize(
    ("changes", "image", "count", "reason"),
    [
        pytest.param((), "torch:1", 2, None, id="ok"),
        pytest.param((), "rocm:1", 2, Reason.PROFILE_UNFIT, id="unfit"),
        pytest.param((decided(rocm_1=RETIRED),), "rocm:1", 2, Reason.IMAGE_RETIRED, id="image-before-fit"),
        pytest.param((profile("gpus", retired=True),), "rocm:1", 1, Reason.PROFILE_RETIRED, id="retired-before-fit"),
        pytest.param((facts(machines=()),), "rocm:1", 1, Reason.PROFILE_UNFIT, id="fit-before-machines"),
        pytest.param((project(quota={GPU: Decimal(1)}),), "torch:1", 1, None, id="one-is-allowed"),
        pytest.param((project(quota={GPU: Decimal(1)}),), "torch:1", 2, Reason.QUOTA_PROJECT, id="two-are-not"),
    ],
)
def test_a_combination_is_refused_by_its_first_part(
    changes: tuple[Change, ...], image: str, count: int, reason: Reason | None
) -> None:
    chosen = changed(*changes).here()
    picture, size = chosen.image(image), chosen.profile("gpus")
    assert picture is not None
    assert size is not None
    verdict = chosen.combined(picture, size, count)
    assert (verdict.refusal.reason if verdict.refusal else None) is reason


def test_an_offer_named_twice_is_shown_once() -> None:
    assert [each.profile.name for each in changed(project(profiles=Offer(("small", "small")))).here().profiles] == [
        "small"
    ]
