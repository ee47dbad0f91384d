"""The one policy: what a person may start, decided the same way on every path (design.md §5).

`choices_for` (the page), `resolve` (a start) and `why` (an explanation) read one list of judgements that `_judge`
makes in the order of the rules. They agree because there is nothing else to read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType

from aihub.capacity import (
    Availability,
    Ground,
    availability_for,
    ground_of,
    lasting_shortage,
    pool_for,
    shortage_now,
)
from aihub.catalog import Catalog, ImageStream, ImageTag, TagState
from aihub.environment import filtered
from aihub.errors import Parameter, Reason, Refusal
from aihub.facts import Facts, Pool
from aihub.options import Options, parse_options, shown
from aihub.plan import Plan
from aihub.profiles import Profile
from aihub.projects import Decisions, Person, Project, Role, group_matches
from aihub.quota import Amounts, Deny, Level, Quota, Quotas, denials
from aihub.resources import format_amount
from aihub.storage import Claim, Home, StorageClasses, growth, home_claim, project_claims

__all__ = [
    "OK",
    "ImageChoice",
    "Judgement",
    "Policy",
    "ProfileChoice",
    "ProjectChoices",
    "Rule",
    "State",
    "Verdict",
    "choices_for",
    "default_image",
    "default_profile",
    "quota_refusal",
    "quotas_of",
    "resolve",
    "verdict_of",
    "why",
]


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything loaded from the policy file.

    `start_when_unknown` admits starts without an accelerator while usage is not known. `pools` are machines that an
    autoscaler can start. `fresh_for_accelerators` lets starts with an accelerator wait until the sign-in provider has
    confirmed who starts them.
    """

    catalog: Catalog = Catalog()
    profiles: Mapping[str, Profile] = field(default_factory=lambda: MappingProxyType({}))
    projects: Mapping[str, Project] = field(default_factory=lambda: MappingProxyType({}))
    home: Home = Home()
    user_quota: Quota = field(default_factory=lambda: MappingProxyType({}))
    start_when_unknown: bool = False
    pools: tuple[Pool, ...] = ()
    storage_classes: StorageClasses = StorageClasses()
    fresh_for_accelerators: bool = False


class State(StrEnum):
    """OK: a start now is admitted. WAIT: later, without a change of the policy. NO: not without somebody's change."""

    OK = "ok"
    WAIT = "wait"
    NO = "no"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A state and, unless it is OK, why.

    `pool` names the machines of which an autoscaler starts one for this server, within `seconds` as far as that is
    known; empty where a machine is there already.
    """

    state: State
    refusal: Refusal | None = None
    pool: str = ""
    seconds: int | None = None


OK = Verdict(State.OK)


class Rule(StrEnum):
    """The rules in their order; the first that fails is the reason."""

    OPTIONS = "options-well-formed"
    PROJECT_KNOWN = "project-known"
    PROJECT_MEMBER = "project-member"
    PROJECT_ACTIVE = "project-active"
    IMAGE_KNOWN = "image-known"
    IMAGE_OFFERED = "image-offered"
    IMAGE_CURRENT = "image-not-retired"
    IMAGE_RESOLVED = "image-resolved"
    PROFILE_KNOWN = "profile-known"
    PROFILE_OFFERED = "profile-offered"
    PROFILE_CURRENT = "profile-not-retired"
    PROFILE_OPEN = "profile-open-to-person"
    PROFILE_COUNT = "accelerator-count-open"
    PROFILE_FITS = "profile-fits-image"
    IDENTITY_CONFIRMED = "identity-confirmed"
    MACHINE_FITS = "fits-a-machine"
    USAGE_KNOWN = "usage-known"
    QUOTA_PROJECT = "quota-project"
    QUOTA_MEMBER = "quota-member"
    QUOTA_USER = "quota-user"
    CAPACITY = "capacity-now"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one rule says. `verdict` is None where an earlier failure left nothing to judge."""

    rule: Rule
    verdict: Verdict | None

    @property
    def failed(self) -> bool:
        """Whether the rule was judged and refuses."""
        return self.verdict is not None and self.verdict.state is not State.OK


@dataclass(frozen=True, slots=True)
class ImageChoice:
    """One tag as a person sees it in a project. `message` is what the instructors wrote when they retired it."""

    stream: ImageStream
    tag: ImageTag
    verdict: Verdict
    default: bool = False
    successor: str | None = None
    message: str = ""

    @property
    def reference(self) -> str:
        """The id, "stream:tag"."""
        return f"{self.stream.name}:{self.tag.name}"


@dataclass(frozen=True, slots=True)
class ProfileChoice:
    """One profile as a person sees it in a project.

    `verdicts` maps each accelerator count that may be asked for to what a start with it would meet, whatever the
    image; `unfit` are the images of the project that the profile does not suit; `room` maps each count to how many
    such servers fit.
    """

    profile: Profile
    verdicts: Mapping[int, Verdict]
    unfit: frozenset[str] = frozenset()
    default: bool = False
    room: Mapping[int, Availability] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def verdict(self) -> Verdict:
        """The verdict for the default count."""
        return self.verdicts[self.profile.counts()[0]]


@dataclass(frozen=True, slots=True)
class ProjectChoices:
    """A project as a person sees it: `verdict` for the project itself, then its images and profiles."""

    project: Project
    role: Role
    verdict: Verdict
    images: tuple[ImageChoice, ...]
    profiles: tuple[ProfileChoice, ...]
    usage: Amounts | None
    quotas: Quotas

    def image(self, reference: str) -> ImageChoice | None:
        """The choice whose id is `reference`."""
        return next((choice for choice in self.images if choice.reference == reference), None)

    def profile(self, name: str) -> ProfileChoice | None:
        """The choice whose profile is `name`."""
        return next((choice for choice in self.profiles if choice.profile.name == name), None)

    def combined(self, image: ImageChoice, profile: ProfileChoice, count: int) -> Verdict:
        """What a start of `image` with `profile` and `count` accelerators would meet: the first part that refuses."""
        fit = OK
        if image.reference in profile.unfit and not profile.profile.retired:
            fit = _unfit(profile.profile, image.stream, image.reference)
        parts = (self.verdict, image.verdict, fit, profile.verdicts[count])
        return next((part for part in parts if part.state is not State.OK), parts[-1])


def choices_for(policy: Policy, person: Person, facts: Facts) -> tuple[ProjectChoices, ...]:
    """Every project, image and profile that `person` may see, each with its verdict.

    Hidden images and profiles, and profiles not open to the person, are not seen; retired ones are, so that their
    successor can be named. Projects stand in their own order.
    """
    seen = [(project, project.role(person)) for project in policy.projects.values()]
    ordered = sorted(seen, key=lambda pair: (pair[0].order, pair[0].name))
    rooms = _Rooms(policy, facts)
    return tuple(_project_choices(policy, person, facts, project, role, rooms) for project, role in ordered if role)


def resolve(policy: Policy, person: Person, options: object, facts: Facts) -> Plan | Refusal:
    """The plan that a start of `person` with the submitted `options` follows, or the first reason against it.

    `options` is what was submitted, of any type; see `aihub.options.parse_options`.
    """
    judged = _judge(policy, person, options, facts)
    refusal = next((each.verdict.refusal for each in judged.judgements if each.verdict and each.failed), None)
    return refusal or _plan(policy, person, facts, judged)


def why(policy: Policy, person: Person, options: object, facts: Facts) -> tuple[Judgement, ...]:
    """Every rule with what it says, in order. Rules that nothing is left to judge for have no verdict."""
    return tuple(_judge(policy, person, options, facts).judgements)


def default_image(policy: Policy, project: Project, decisions: Decisions) -> str | None:
    """The image that a start without one means: the instructors' default while it stands, else the admin's.

    A default that has been hidden, retired or withdrawn does not stand; then the recommended tag of the first stream
    in order that is still offered is meant.
    """
    for reference in (decisions.default, _qualified(policy, project.images.default)):
        if reference and _stands(policy, project, decisions, reference):
            return reference
    offered = policy.catalog.among(project.images.id_set)
    standing = [each for each in offered if _stands(policy, project, decisions, each)]
    return min(standing, key=lambda reference: not _preferred(policy, reference), default=None)


def default_profile(policy: Policy, project: Project, person: Person) -> str | None:
    """The profile that a start without one means: the project's default if `person` may use it, else their first."""
    usable = [profile.name for profile in _visible_profiles(policy, project, person) if not profile.retired]
    default = project.profiles.default
    return default if default in usable else next(iter(usable), None)


def quotas_of(policy: Policy, project: Project) -> Quotas:
    """The quotas that a start in `project` meets."""
    return Quotas(project.quota, project.member_quota, policy.user_quota)


# --- the rules -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Judged:
    """What `_judge` found on the way: the judgements and the objects that the ids stand for."""

    judgements: list[Judgement] = field(default_factory=list)
    options: Options = Options()
    project: Project | None = None
    stream: ImageStream | None = None
    tag: ImageTag | None = None
    profile: Profile | None = None
    count: int = 0

    def add(self, rule: Rule, verdict: Verdict | None) -> None:
        self.judgements.append(Judgement(rule, verdict))

    def skip(self, *rules: Rule) -> None:
        for rule in rules:
            self.add(rule, None)


def _judge(policy: Policy, person: Person, raw: object, facts: Facts) -> _Judged:
    judged = _Judged()
    parsed = parse_options(raw)
    if isinstance(parsed, Refusal):
        judged.add(Rule.OPTIONS, Verdict(State.NO, parsed))
        judged.skip(*tuple(Rule)[1:])
        return judged
    judged.options = parsed
    project = _judge_project(policy, person, judged)
    if project is None:
        return judged
    _judge_image(policy, project, facts, judged)
    _judge_profile(policy, person, project, judged)
    if judged.profile is None:
        judged.skip(Rule.PROFILE_FITS, *_RESOURCE_RULES)
        return judged
    _judge_fit(judged)
    charge = _charge(policy, person, project, judged.profile, judged.count, facts)
    rooms = _Rooms(policy, facts)
    judged.judgements += _resource_judgements(policy, project, judged.profile, judged.count, charge, rooms)
    return judged


_RESOURCE_RULES = (
    Rule.IDENTITY_CONFIRMED,
    Rule.MACHINE_FITS,
    Rule.USAGE_KNOWN,
    Rule.QUOTA_PROJECT,
    Rule.QUOTA_MEMBER,
    Rule.QUOTA_USER,
    Rule.CAPACITY,
)


def _judge_project(policy: Policy, person: Person, judged: _Judged) -> Project | None:
    """Add the judgements on options and project; the project is None where nothing else can be judged."""
    name = judged.options.project
    if name is None:
        own = [each for each in policy.projects.values() if each.role(person) not in (None, Role.ADMIN)]
        if len(own) > 1:
            judged.add(Rule.OPTIONS, _no(Reason.INVALID_OPTIONS, field="project", problem="missing", value=""))
            judged.skip(*tuple(Rule)[1:])
            return None
        name = own[0].name if own else ""
    judged.add(Rule.OPTIONS, OK)
    project = policy.projects.get(name)
    role = project.role(person) if project else None
    if project is None or role is None:
        judged.add(Rule.PROJECT_KNOWN, _no(Reason.UNKNOWN_PROJECT, project=shown(name)))
        judged.skip(*tuple(Rule)[2:])
        return None
    judged.project = project
    judged.add(Rule.PROJECT_KNOWN, OK)
    judged.add(Rule.PROJECT_MEMBER, _member(project, role))
    judged.add(Rule.PROJECT_ACTIVE, _active(project))
    return project


def _member(project: Project, role: Role) -> Verdict:
    return _no(Reason.NOT_MEMBER, project=project.name) if role is Role.ADMIN else OK


def _active(project: Project) -> Verdict:
    return _no(Reason.PROJECT_ARCHIVED, project=project.name) if project.archived else OK


def _judge_image(policy: Policy, project: Project, facts: Facts, judged: _Judged) -> None:
    decisions = facts.decided(project.name)
    reference = judged.options.image or default_image(policy, project, decisions)
    found = policy.catalog.find(reference) if reference else None
    if reference is None or found is None:
        judged.add(Rule.IMAGE_KNOWN, _no(Reason.UNKNOWN_IMAGE, image=shown(reference or ""), project=project.name))
        judged.skip(Rule.IMAGE_OFFERED, Rule.IMAGE_CURRENT, Rule.IMAGE_RESOLVED)
        return
    judged.stream, judged.tag = found
    judged.add(Rule.IMAGE_KNOWN, OK)
    judged.judgements += _image_judgements(policy, project, facts, reference)


def _image_judgements(policy: Policy, project: Project, facts: Facts, reference: str) -> list[Judgement]:
    decisions = facts.decided(project.name)
    offered = (
        OK
        if _offered(policy, project, decisions, reference)
        else _no(Reason.IMAGE_NOT_OFFERED, image=reference, project=project.name)
    )
    successor = _retired(policy, decisions, reference)
    retired = (
        OK
        if successor is None
        else _no(Reason.IMAGE_RETIRED, image=reference, project=project.name, successor=successor or None)
    )
    healing = facts.unresolved.get(reference)
    unresolved = Refusal(Reason.IMAGE_UNRESOLVED, {"image": reference, "waiting": bool(healing)})
    resolved = OK if healing is None else Verdict(State.WAIT if healing else State.NO, unresolved)
    return [
        Judgement(Rule.IMAGE_OFFERED, offered),
        Judgement(Rule.IMAGE_CURRENT, retired),
        Judgement(Rule.IMAGE_RESOLVED, resolved),
    ]


def _judge_profile(policy: Policy, person: Person, project: Project, judged: _Judged) -> None:
    name = judged.options.profile or default_profile(policy, project, person)
    profile = policy.profiles.get(name) if name else None
    if profile is None:
        judged.add(Rule.PROFILE_KNOWN, _no(Reason.UNKNOWN_PROFILE, profile=shown(name or ""), project=project.name))
        judged.skip(Rule.PROFILE_OFFERED, Rule.PROFILE_CURRENT, Rule.PROFILE_OPEN, Rule.PROFILE_COUNT)
        return
    judged.profile = profile
    asked = judged.options.accelerator_count
    judged.count = profile.counts()[0] if asked is None else asked
    judged.add(Rule.PROFILE_KNOWN, OK)
    judged.judgements += _profile_judgements(person, project, profile)
    judged.add(Rule.PROFILE_COUNT, _count_open(profile, judged.count))


def _profile_judgements(person: Person, project: Project, profile: Profile) -> list[Judgement]:
    named = {"profile": profile.name, "project": project.name}
    offered = profile.name in project.profiles.ids and not profile.hidden
    return [
        Judgement(Rule.PROFILE_OFFERED, OK if offered else _no(Reason.PROFILE_NOT_OFFERED, **named)),
        Judgement(
            Rule.PROFILE_CURRENT,
            _no(Reason.PROFILE_RETIRED, **named, successor=profile.successor) if profile.retired else OK,
        ),
        Judgement(Rule.PROFILE_OPEN, OK if _open_to(profile, person) else _no(Reason.PROFILE_NOT_OPEN, **named)),
    ]


def _count_open(profile: Profile, count: int) -> Verdict:
    if count in profile.counts():
        return OK
    return _no(Reason.INVALID_OPTIONS, field="acceleratorCount", problem="not-open", value=str(count))


def _judge_fit(judged: _Judged) -> None:
    if judged.stream is None or judged.tag is None or judged.profile is None:
        judged.skip(Rule.PROFILE_FITS)
        return
    reference = f"{judged.stream.name}:{judged.tag.name}"
    fits = _suits(judged.profile, judged.stream)
    judged.add(Rule.PROFILE_FITS, OK if fits else _unfit(judged.profile, judged.stream, reference))


def _resource_judgements(
    policy: Policy, project: Project, profile: Profile, count: int, charge: Amounts, rooms: _Rooms
) -> list[Judgement]:
    """The rules on identity, machines, usage and quotas, the same for every image."""
    fits, capacity = rooms.judge(profile, count)
    quota = _quota_verdicts(policy, project, charge, rooms.facts)
    return [
        Judgement(Rule.IDENTITY_CONFIRMED, _identity_fresh(policy, profile, rooms.facts)),
        Judgement(Rule.MACHINE_FITS, fits),
        Judgement(Rule.USAGE_KNOWN, _usage_known(policy, profile, rooms.facts)),
        *(Judgement(Rule(f"quota-{level}"), quota.get(level)) for level in Level),
        Judgement(Rule.CAPACITY, capacity),
    ]


@dataclass(slots=True)
class _Rooms:
    """What machines say of profiles, worked out once for all projects that offer them."""

    policy: Policy
    facts: Facts
    grounds: dict[str, Ground | None] = field(default_factory=dict)
    verdicts: dict[tuple[str, int], tuple[Verdict, Verdict]] = field(default_factory=dict)
    availabilities: dict[tuple[str, int], Availability] = field(default_factory=dict)

    def judge(self, profile: Profile, count: int) -> tuple[Verdict, Verdict]:
        """Whether a machine is large enough, and whether one has room now."""
        key = profile.name, count
        if key not in self.verdicts:
            ground, pools = self.ground(profile), self.policy.pools
            self.verdicts[key] = (
                (_fits_a_machine(profile, count, ground, pools), _capacity_now(profile, count, ground, pools))
                if ground is not None
                else (OK, OK)
            )
        return self.verdicts[key]

    def availability(self, profile: Profile, count: int) -> Availability:
        """How many servers of the profile there is room for."""
        key = profile.name, count
        if key not in self.availabilities:
            pools, ground = self.policy.pools, self.ground(profile)
            self.availabilities[key] = availability_for(profile, self.facts, pools, count, ground)
        return self.availabilities[key]

    def ground(self, profile: Profile) -> Ground | None:
        """The machines that the profile may run on; None while nothing is known of machines."""
        if profile.name not in self.grounds:
            machines = self.facts.machines
            self.grounds[profile.name] = None if machines is None else ground_of(profile.placement, machines)
        return self.grounds[profile.name]


def _fits_a_machine(profile: Profile, count: int, ground: Ground, pools: tuple[Pool, ...]) -> Verdict:
    short = lasting_shortage(profile, count, ground, pools)
    if short is None:
        return OK
    # Only where its placement leaves machines out does a refusal have to say so.
    eligible = {"eligible": short.eligible} if short.eligible < short.machines else {}
    return _no(
        Reason.NEVER_FITS,
        profile=profile.name,
        key=short.key,
        requested=format_amount(short.key, short.requested),
        total=format_amount(short.key, short.total),
        machines=short.machines,
        **eligible,
    )


def _capacity_now(profile: Profile, count: int, ground: Ground, pools: tuple[Pool, ...]) -> Verdict:
    short = shortage_now(profile, count, ground)
    if short is None:
        return OK
    pool = pool_for(profile, count, pools)
    if pool is not None:
        return Verdict(State.OK, pool=pool.name, seconds=pool.starts_within)
    refusal = Refusal(
        Reason.NO_CAPACITY,
        {
            "profile": profile.name,
            "key": short.key,
            "requested": format_amount(short.key, short.requested),
            "free": format_amount(short.key, max(short.free, Decimal(0))),
            "total": format_amount(short.key, short.total),
        },
    )
    return Verdict(State.WAIT, refusal)


def _identity_fresh(policy: Policy, profile: Profile, facts: Facts) -> Verdict:
    if facts.identity_confirmed or not policy.fresh_for_accelerators or profile.accelerator is None:
        return OK
    return Verdict(State.WAIT, Refusal(Reason.IDENTITY_STALE, {"profile": profile.name}))


def _usage_known(policy: Policy, profile: Profile, facts: Facts) -> Verdict:
    if facts.usage is not None or (policy.start_when_unknown and profile.accelerator is None):
        return OK
    return Verdict(State.WAIT, Refusal(Reason.QUOTA_UNKNOWN, {"profile": profile.name}))


def _quota_verdicts(policy: Policy, project: Project, charge: Amounts, facts: Facts) -> dict[Level, Verdict]:
    """One verdict for each level; none at all while usage is unknown."""
    if facts.usage is None:
        return {}
    found = denials(charge, facts.usage.at(project.name), quotas_of(policy, project))
    first = {denial.level: denial for denial in reversed(found)}
    # A quota that could never hold the request makes waiting for another one pointless.
    state = State.WAIT if all(denial.ever for denial in found) else State.NO
    return {
        level: Verdict(state, quota_refusal(project.name, first[level])) if level in first else OK for level in Level
    }


_QUOTA_REASONS = {
    Level.PROJECT: Reason.QUOTA_PROJECT,
    Level.MEMBER: Reason.QUOTA_MEMBER,
    Level.USER: Reason.QUOTA_USER,
}


def quota_refusal(project: str, denial: Deny) -> Refusal:
    """The refusal that names a denied quota: key, limit, use, request and whose limit it is."""
    return Refusal(
        _QUOTA_REASONS[denial.level],
        {
            "project": project,
            "key": denial.key,
            "limit": format_amount(denial.key, denial.limit),
            "used": format_amount(denial.key, denial.used),
            "requested": format_amount(denial.key, denial.requested),
            "ever": denial.ever,
        },
    )


# --- what the rules ask ----------------------------------------------------------------------------------------------


def _no(reason: Reason, **parameters: Parameter) -> Verdict:
    return Verdict(State.NO, Refusal(reason, parameters))


def _qualified(policy: Policy, default: str | None) -> str | None:
    """A default given as a stream alone means the stream's preferred tag."""
    if default is None or ":" in default:
        return default
    stream = policy.catalog.streams.get(default)
    if stream is None or not stream.tags:
        return None
    tag = next((tag for tag in stream.tags if tag.default), None)
    tag = tag or next((tag for tag in stream.tags if tag.recommended), stream.tags[0])
    return f"{default}:{tag.name}"


def _preferred(policy: Policy, reference: str) -> bool:
    found = policy.catalog.find(reference)
    return found is not None and (found[1].default or found[1].recommended)


def _stands(policy: Policy, project: Project, decisions: Decisions, reference: str) -> bool:
    return _offered(policy, project, decisions, reference) and _retired(policy, decisions, reference) is None


def _offered(policy: Policy, project: Project, decisions: Decisions, reference: str) -> bool:
    """Whether admin and instructors offer the tag; an instructor's decision counts only among the admin's tags."""
    found = policy.catalog.find(reference)
    if found is None or not found[0].offered or found[1].state is TagState.HIDDEN:
        return False
    decision = decisions.images.get(reference)
    hidden = decision is not None and decision.state is TagState.HIDDEN
    return project.images.includes_image(reference) and not hidden


def _retired(policy: Policy, decisions: Decisions, reference: str) -> str | None:
    """None while the tag is current; else the "stream:tag" that follows it, empty where none does."""
    found = policy.catalog.find(reference)
    decision = decisions.images.get(reference)
    if decision is not None and decision.state is TagState.RETIRED:
        return _successor(reference, decision.successor)
    if found is not None and found[1].state is TagState.RETIRED:
        return _successor(reference, found[1].successor)
    return None


def _successor(reference: str, successor: str | None) -> str:
    if not successor or ":" in successor:
        return successor or ""
    return f"{reference.partition(':')[0]}:{successor}"


def _open_to(profile: Profile, person: Person) -> bool:
    if profile.groups is None:
        return True
    return any(group_matches(pattern, group) for pattern in profile.groups for group in person.groups)


def _suits(profile: Profile, stream: ImageStream) -> bool:
    return profile.accelerator is None or stream.made_for(profile.accelerator.resource)


def _unfit(profile: Profile, stream: ImageStream, reference: str) -> Verdict:
    resource = profile.accelerator.resource if profile.accelerator else ""
    return _no(
        Reason.PROFILE_UNFIT, profile=profile.name, image=reference, key=resource, suits=tuple(stream.accelerators)
    )


def _visible_profiles(policy: Policy, project: Project, person: Person) -> list[Profile]:
    offered = [profile for name, profile in policy.profiles.items() if name in project.profiles.ids]
    visible = [profile for profile in offered if not profile.hidden and _open_to(profile, person)]
    return sorted(visible, key=lambda profile: (profile.order, profile.name))


def _claims(policy: Policy, person: Person, project: Project) -> tuple[Claim, ...]:
    home = home_claim(policy.home, project.storage, project.name, person.name)
    return (home, *project_claims(project.storage, project.name))


def _charge(policy: Policy, person: Person, project: Project, profile: Profile, count: int, facts: Facts) -> Amounts:
    """What the start adds: the server itself, claims that do not exist yet, and what others grow by."""
    charge = Amounts.everywhere(profile.charge(count))
    for claim in _claims(policy, person, project):
        charge = charge + growth(claim, facts.claims.get(claim.id))
    return charge


# --- what the page shows and what a start follows --------------------------------------------------------------------


def _project_choices(
    policy: Policy, person: Person, facts: Facts, project: Project, role: Role, rooms: _Rooms
) -> ProjectChoices:
    images = _image_choices(policy, facts, project)
    return ProjectChoices(
        project=project,
        role=role,
        verdict=next((part for part in (_member(project, role), _active(project)) if part.refusal), OK),
        images=images,
        profiles=_profile_choices(policy, person, project, images, rooms),
        usage=facts.usage.at(project.name) if facts.usage is not None else None,
        quotas=quotas_of(policy, project),
    )


def _image_choices(policy: Policy, facts: Facts, project: Project) -> tuple[ImageChoice, ...]:
    decisions = facts.decided(project.name)
    default = default_image(policy, project, decisions)
    choices = []
    for reference in policy.catalog.among(project.images.id_set):
        found = policy.catalog.find(reference)
        if found is None or not _offered(policy, project, decisions, reference):
            continue
        decision = decisions.images.get(reference)
        choices.append(
            ImageChoice(
                stream=found[0],
                tag=found[1],
                verdict=verdict_of(_image_judgements(policy, project, facts, reference)),
                default=reference == default,
                successor=_retired(policy, decisions, reference) or None,
                message=decision.message if decision else "",
            )
        )
    return tuple(choices)


def _profile_choices(
    policy: Policy, person: Person, project: Project, images: tuple[ImageChoice, ...], rooms: _Rooms
) -> tuple[ProfileChoice, ...]:
    default = default_profile(policy, project, person)
    return tuple(
        ProfileChoice(
            profile=profile,
            verdicts={
                count: verdict_of(
                    _profile_judgements(person, project, profile)
                    + _resource_judgements(
                        policy,
                        project,
                        profile,
                        count,
                        _charge(policy, person, project, profile, count, rooms.facts),
                        rooms,
                    )
                )
                for count in profile.counts()
            },
            unfit=frozenset(choice.reference for choice in images if not _suits(profile, choice.stream)),
            default=profile.name == default,
            room={count: rooms.availability(profile, count) for count in profile.counts()},
        )
        for profile in _visible_profiles(policy, project, person)
    )


def verdict_of(judgements: Iterable[Judgement]) -> Verdict:
    """The verdict of the first rule that refuses; where none does, the one that a machine is to be started for."""
    verdicts = [each.verdict for each in judgements if each.verdict]
    failed = next((verdict for verdict in verdicts if verdict.state is not State.OK), None)
    return failed or next((verdict for verdict in verdicts if verdict.pool), OK)


def _plan(policy: Policy, person: Person, facts: Facts, judged: _Judged) -> Plan:
    project, stream, tag, profile = judged.project, judged.stream, judged.tag, judged.profile
    assert project is not None, "every rule passed, so every id stands for something"
    assert stream is not None
    assert tag is not None
    assert profile is not None
    claims = _claims(policy, person, project)
    environment, _ = filtered(project.environment)
    return Plan(
        person=person.name,
        project=project.name,
        project_name=project.display_name,
        stream=stream.name,
        tag=tag.name,
        image_name=stream.display_name,
        image=tag.image,
        requirements=tag.requirements,
        profile=profile.name,
        profile_name=profile.display_name,
        requests=profile.requests,
        limits=profile.limits,
        accelerator=profile.accelerator.resource if profile.accelerator else None,
        accelerator_count=judged.count,
        placement=profile.placement,
        shared_memory=profile.shared_memory,
        home=claims[0],
        claims=claims,
        shared=project.storage.shared,
        may_write_shared=_may_write_shared(project, person),
        datasets=tuple(project.storage.datasets.values()),
        environment=environment,
        idle=project.idle,
        charge=_charge(policy, person, project, profile, judged.count, facts),
        quotas=quotas_of(policy, project),
        namespace=project.namespace,
        pull_secrets=tuple(dict.fromkeys((*project.pull_secrets, *stream.pull_secrets))),
        start=stream.start,
        ephemeral_request=profile.ephemeral_request,
        ephemeral_limit=profile.ephemeral_limit,
        storage=policy.storage_classes,
    )


def _may_write_shared(project: Project, person: Person) -> bool:
    shared = project.storage.shared
    return shared is not None and (shared.members_write or project.role(person) is Role.INSTRUCTOR)
