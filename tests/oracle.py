"""A second implementation of the policy's rules, plain and slow, written from design.md and not from `aihub.policy`.

It shares the values (Policy, Person, Facts) with the real one and none of its decisions: membership, offers, defaults,
charges and quotas are worked out here again with loops and dicts, so that a mistake must be made twice to pass.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from aihub.catalog import ImageStream, ImageTag, TagState
from aihub.facts import Facts, Machine, Pool, Taint
from aihub.policy import Policy
from aihub.profiles import Placement, Profile
from aihub.projects import Membership, Person, Project
from aihub.storage import HomeScope

__all__ = [
    "Outcome",
    "oracle_charge",
    "oracle_could_hold",
    "oracle_counts",
    "oracle_default_image",
    "oracle_default_profile",
    "oracle_holds",
    "oracle_images",
    "oracle_pool",
    "oracle_profiles",
    "oracle_projects",
    "oracle_reason",
    "oracle_role",
    "oracle_room",
]

Outcome = tuple[str, str] | None
"""State and reason of a refusal; None where the start is admitted."""

LEVELS = ("project", "member", "user")


# Who is in which project.


def _segments_match(pattern: list[str], group: list[str]) -> bool:
    if not pattern:
        return not group
    if pattern[0] == "**":
        return any(_segments_match(pattern[1:], group[skipped:]) for skipped in range(len(group) + 1))
    if not group:
        return False
    return (pattern[0] == "*" or pattern[0] == group[0]) and _segments_match(pattern[1:], group[1:])


def _in_groups(patterns: tuple[str, ...], person: Person) -> bool:
    for pattern in patterns:
        for group in person.groups:
            if _segments_match(pattern.split("/"), group.split("/")):
                return True
    return False


def _belongs(membership: Membership, person: Person) -> bool:
    return membership.everybody or person.name in membership.users or _in_groups(membership.groups, person)


def oracle_role(project: Project, person: Person) -> str | None:
    """ "instructor", "member", "admin" or None, which is an outsider."""
    if _belongs(project.instructors, person):
        return "instructor"
    if _belongs(project.members, person):
        return "member"
    return "admin" if person.admin else None


def oracle_projects(policy: Policy, person: Person) -> dict[str, str]:
    """The role of the person in every project that exists for them."""
    roles = {}
    for name, project in policy.projects.items():
        role = oracle_role(project, person)
        if role is not None:
            roles[name] = role
    return roles


# Images.


def _find(policy: Policy, reference: str) -> tuple[ImageStream, ImageTag] | None:
    for stream in policy.catalog.streams.values():
        for tag in stream.tags:
            if f"{stream.name}:{tag.name}" == reference:
                return stream, tag
    return None


def _image_offered(policy: Policy, project: Project, facts: Facts, reference: str) -> bool:
    found = _find(policy, reference)
    if found is None:
        return False
    stream, tag = found
    if not stream.offered or tag.state is TagState.HIDDEN:
        return False
    if reference not in project.images.ids and stream.name not in project.images.ids:
        return False
    return _decided(project, facts, reference) is not TagState.HIDDEN


def _decided(project: Project, facts: Facts, reference: str) -> TagState:
    if project.name in facts.decisions and reference in facts.decisions[project.name].images:
        return facts.decisions[project.name].images[reference].state
    return TagState.OFFERED


def _image_retired(policy: Policy, project: Project, facts: Facts, reference: str) -> bool:
    found = _find(policy, reference)
    assert found is not None
    return found[1].state is TagState.RETIRED or _decided(project, facts, reference) is TagState.RETIRED


def _image_stands(policy: Policy, project: Project, facts: Facts, reference: str) -> bool:
    offered = _image_offered(policy, project, facts, reference)
    return offered and not _image_retired(policy, project, facts, reference)


def _all_references(policy: Policy) -> list[str]:
    references: list[str] = []
    for stream in sorted(policy.catalog.streams.values(), key=lambda stream: (stream.order, stream.name)):
        references.extend(f"{stream.name}:{tag.name}" for tag in stream.tags)
    return references


def _main_tag(stream: ImageStream) -> str | None:
    for tag in stream.tags:
        if tag.default:
            return tag.name
    for tag in stream.tags:
        if tag.recommended:
            return tag.name
    return stream.tags[0].name if stream.tags else None


def oracle_default_image(policy: Policy, project: Project, facts: Facts) -> str | None:
    """What a start without an image means."""
    if project.name in facts.decisions:
        chosen = facts.decisions[project.name].default
        if chosen is not None and _image_stands(policy, project, facts, chosen):
            return chosen
    admins = project.images.default
    if admins is not None and admins in policy.catalog.streams:
        admins = f"{admins}:{_main_tag(policy.catalog.streams[admins])}"
    if admins is not None and _image_stands(policy, project, facts, admins):
        return admins
    standing = [ref for ref in _all_references(policy) if _image_stands(policy, project, facts, ref)]
    for reference in standing:
        found = _find(policy, reference)
        assert found is not None
        if found[1].default or found[1].recommended:
            return reference
    return standing[0] if standing else None


def oracle_images(policy: Policy, project: Project, facts: Facts) -> dict[str, Outcome]:
    """Every image that is seen in a project, and what stands against it."""
    seen: dict[str, Outcome] = {}
    for reference in _all_references(policy):
        if _image_offered(policy, project, facts, reference):
            seen[reference] = _image_outcome(policy, project, facts, reference)
    return seen


def _image_outcome(policy: Policy, project: Project, facts: Facts, reference: str | None) -> Outcome:
    if reference is None:
        return "no", "unknown-image"
    if _find(policy, reference) is None:
        return "no", "unknown-image"
    if not _image_offered(policy, project, facts, reference):
        return "no", "image-not-offered"
    if _image_retired(policy, project, facts, reference):
        return "no", "image-retired"
    if reference in facts.unresolved:
        return ("wait" if facts.unresolved[reference] else "no"), "image-unresolved"
    return None


# Profiles.


def _profile_offered(project: Project, profile: Profile) -> bool:
    return profile.name in project.profiles.ids and not profile.hidden


def _profile_open(profile: Profile, person: Person) -> bool:
    return profile.groups is None or _in_groups(profile.groups, person)


def _profile_usable(project: Project, profile: Profile, person: Person) -> bool:
    return _profile_offered(project, profile) and _profile_open(profile, person) and not profile.retired


def oracle_default_profile(policy: Policy, project: Project, person: Person) -> str | None:
    """What a start without a profile means."""
    usable = [profile for profile in policy.profiles.values() if _profile_usable(project, profile, person)]
    for profile in usable:
        if profile.name == project.profiles.default:
            return profile.name
    usable.sort(key=lambda profile: (profile.order, profile.name))
    return usable[0].name if usable else None


def oracle_profiles(policy: Policy, project: Project, person: Person) -> set[str]:
    """Every profile that the person sees in a project."""
    return {
        name
        for name, profile in policy.profiles.items()
        if _profile_offered(project, profile) and _profile_open(profile, person)
    }


def oracle_counts(profile: Profile) -> tuple[int, ...]:
    """How many accelerators may be asked for."""
    return (0,) if profile.accelerator is None else profile.accelerator.counts


def _profile_outcome(policy: Policy, project: Project, person: Person, name: str | None, count: int | None) -> Outcome:
    if name is None:
        return "no", "unknown-profile"
    if name not in policy.profiles:
        return "no", "unknown-profile"
    profile = policy.profiles[name]
    if not _profile_offered(project, profile):
        return "no", "profile-not-offered"
    if profile.retired:
        return "no", "profile-retired"
    if not _profile_open(profile, person):
        return "no", "profile-not-open"
    if count is not None and count not in oracle_counts(profile):
        return "no", "invalid-options"
    return None


def _suits(stream: ImageStream, profile: Profile) -> bool:
    if profile.accelerator is None or not stream.accelerators:
        return True
    return any(own.split("/")[0] == profile.accelerator.resource.split("/")[0] for own in stream.accelerators)


# Machines and quotas.


def _excluded_by_labels(machine: Machine, placement: Placement) -> bool:
    for key, value in placement.node_selector.items():
        if key not in machine.labels or machine.labels[key] != value:
            return True
    node_affinity = placement.affinity.get("nodeAffinity")
    if not node_affinity or "requiredDuringSchedulingIgnoredDuringExecution" not in node_affinity:
        return False
    for term in node_affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]:
        conditions = [(each, machine.labels) for each in term.get("matchExpressions", [])]
        conditions += [(each, {"metadata.name": machine.name}) for each in term.get("matchFields", [])]
        if conditions and all(_condition_holds(each, values) for each, values in conditions):
            return False
    return True


def _condition_holds(condition: Mapping[str, Any], values: Mapping[str, str]) -> bool:
    there = condition["key"] in values
    value = values.get(condition["key"], "")
    wanted = condition.get("values", [])
    operator = condition["operator"]
    if operator == "Exists":
        return there
    if operator == "DoesNotExist":
        return not there
    if operator == "In":
        return there and value in wanted
    if operator == "NotIn":
        return not (there and value in wanted)
    if not there or len(wanted) != 1:
        return False
    try:
        own, other = int(value), int(wanted[0])
    except ValueError:
        return False
    return own > other if operator == "Gt" else own < other


def _excluded_by_taint(taint: Taint, tolerations: Iterable[Mapping[str, Any]]) -> bool:
    if taint.effect == "PreferNoSchedule":
        return False
    for toleration in tolerations:
        if "effect" in toleration and toleration["effect"] != taint.effect:
            continue
        if "key" in toleration and toleration["key"] != taint.key:
            continue
        if toleration.get("operator") == "Exists" or toleration.get("value", "") == taint.value:
            return False
    return True


def oracle_could_hold(machine: Machine, placement: Placement) -> bool:
    """Whether the machine is one for such pods, in whatever condition it is now."""
    if _excluded_by_labels(machine, placement):
        return False
    lasting = [taint for taint in machine.taints if not taint.key.startswith("node.kubernetes.io/")]
    return not any(_excluded_by_taint(taint, placement.tolerations) for taint in lasting)


def oracle_holds(machine: Machine, placement: Placement) -> bool:
    """Whether the scheduler may use the machine now."""
    if _excluded_by_labels(machine, placement):
        return False
    return not any(_excluded_by_taint(taint, placement.tolerations) for taint in machine.taints)


def _hardware(profile: Profile, count: int) -> dict[str, Decimal]:
    wanted = {key: profile.requests[key] for key in ("cpu", "memory")}
    if profile.accelerator is not None:
        wanted[profile.accelerator.resource] = Decimal(count)
    return wanted


def _room(wanted: dict[str, Decimal], there: Mapping[str, Decimal]) -> bool:
    return all(amount <= there[key] for key, amount in wanted.items())


def _never_fits(policy: Policy, profile: Profile, wanted: dict[str, Decimal], facts: Facts) -> bool:
    if facts.machines is None:
        return False
    everything = list(facts.machines) + [pool.machine for pool in policy.pools]
    return not any(oracle_could_hold(each, profile.placement) and _room(wanted, each.total) for each in everything)


def _free_now(profile: Profile, wanted: dict[str, Decimal], facts: Facts) -> bool:
    assert facts.machines is not None
    return any(oracle_holds(each, profile.placement) and _room(wanted, each.free) for each in facts.machines)


def oracle_pool(policy: Policy, profile: Profile, count: int, facts: Facts) -> str | None:
    """The pool that has to start a machine for such a server; None where none has to, or none can."""
    wanted = _hardware(profile, count)
    if facts.machines is None or _free_now(profile, wanted, facts):
        return None
    best: Pool | None = None
    for pool in policy.pools:
        if not oracle_could_hold(pool.machine, profile.placement) or not _room(wanted, pool.machine.total):
            continue
        if best is None or (pool.starts_within or 10**9) < (best.starts_within or 10**9):
            best = pool
    return best.name if best else None


def oracle_room(profile: Profile, count: int, facts: Facts) -> tuple[int, int] | None:
    """How many such servers fit now and in all, put on the machines one by one; None where that has no answer."""
    wanted = {key: amount for key, amount in _hardware(profile, count).items() if amount}
    if facts.machines is None or not wanted:
        return None
    free = total = 0
    for machine in facts.machines:
        if oracle_could_hold(machine, profile.placement):
            total += _servers(wanted, machine.total)
        if oracle_holds(machine, profile.placement):
            free += _servers(wanted, machine.free)
    return free, total


def _servers(wanted: dict[str, Decimal], there: Mapping[str, Decimal]) -> int:
    number = 0
    while all(amount * (number + 1) <= there[key] for key, amount in wanted.items()):
        number += 1
    return number


def oracle_charge(
    policy: Policy, project: Project, person: Person, profile: Profile, count: int, facts: Facts
) -> dict[str, dict[str, Decimal]]:
    """What a start adds at each level; amounts of zero are left out."""
    per_server = {**_hardware(profile, count), "servers": Decimal(1)}
    charge = {level: dict(per_server) for level in LEVELS}

    def add(claim: str, size: Decimal | None, *levels: str) -> None:
        known = facts.claims.get(claim)
        more = (size or Decimal(0)) - (known.size or Decimal(0) if known else Decimal(0))
        for level in levels if more > 0 else ():
            charge[level]["storage"] = charge[level].get("storage", Decimal(0)) + more

    if policy.home.scope is HomeScope.USER:
        add(f"home/{person.name}", policy.home.size, "user")
    else:
        size = policy.home.size if project.storage.home_size is None else project.storage.home_size
        add(f"home/{project.name}/{person.name}", size, *LEVELS)
    if project.storage.shared is not None:
        add(f"project/{project.name}", project.storage.shared.size, "project")
    return {level: {key: amount for key, amount in charge[level].items() if amount} for level in LEVELS}


def _quota_outcome(policy: Policy, project: Project, charge: dict[str, dict[str, Decimal]], facts: Facts) -> Outcome:
    assert facts.usage is not None
    quotas = {"project": project.quota, "member": project.member_quota, "user": policy.user_quota}
    used: dict[str, Mapping[str, Decimal]] = {
        "project": facts.usage.projects.get(project.name, {}),
        "member": facts.usage.members.get(project.name, {}),
        "user": facts.usage.user,
    }
    exceeded = []
    never = False
    for level in LEVELS:
        for key, limit in quotas[level].items():
            wanted = charge[level].get(key, Decimal(0))
            if wanted == 0:
                continue
            if wanted + used[level].get(key, Decimal(0)) > limit:
                exceeded.append(level)
                never = never or wanted > limit
    if not exceeded:
        return None
    return ("no" if never else "wait"), f"quota-{exceeded[0]}"


# The whole.


def _well_formed(options: object) -> bool:
    if not isinstance(options, Mapping):
        return False
    for key, value in options.items():
        if key in ("project", "image", "profile"):
            if not isinstance(value, str) or not 1 <= len(value) <= 253:
                return False
            if any(unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") for letter in value):
                return False
        elif key == "acceleratorCount":
            if type(value) is not int or value < 0 or value > 1024:
                return False
        else:
            return False
    return True


def oracle_reason(policy: Policy, person: Person, options: object, facts: Facts) -> Outcome:
    """The first rule against a start, as (state, reason), in the order of design.md §5."""
    if not _well_formed(options):
        return "no", "invalid-options"
    assert isinstance(options, Mapping)
    roles = oracle_projects(policy, person)
    own = [name for name, role in roles.items() if role != "admin"]
    name = options.get("project")
    if name is None:
        if len(own) > 1:
            return "no", "invalid-options"
        if not own:
            return "no", "unknown-project"
        name = own[0]
    if name not in roles:
        return "no", "unknown-project"
    if name not in own:
        return "no", "not-member"
    project = policy.projects[name]
    if project.archived:
        return "no", "project-archived"
    image = options.get("image", oracle_default_image(policy, project, facts))
    profile_name = options.get("profile", oracle_default_profile(policy, project, person))
    count = options.get("acceleratorCount")
    outcome = _image_outcome(policy, project, facts, image)
    outcome = outcome or _profile_outcome(policy, project, person, profile_name, count)
    if outcome is not None:
        return outcome
    profile = policy.profiles[profile_name]
    return _fitting_outcome(policy, person, project, image, profile, count, facts)


def _fitting_outcome(
    policy: Policy, person: Person, project: Project, image: str, profile: Profile, count: int | None, facts: Facts
) -> Outcome:
    found = _find(policy, image)
    assert found is not None
    if not _suits(found[0], profile):
        return "no", "profile-unfit"
    count = oracle_counts(profile)[0] if count is None else count
    if policy.fresh_for_accelerators and profile.accelerator is not None and not facts.identity_confirmed:
        return "wait", "identity-stale"
    wanted = _hardware(profile, count)
    if _never_fits(policy, profile, wanted, facts):
        return "no", "never-fits"
    if facts.usage is None:
        if profile.accelerator is not None or not policy.start_when_unknown:
            return "wait", "quota-unknown"
    else:
        charge = oracle_charge(policy, project, person, profile, count, facts)
        outcome = _quota_outcome(policy, project, charge, facts)
        if outcome is not None:
            return outcome
    if facts.machines is None or oracle_pool(policy, profile, count, facts) is not None:
        return None
    return None if _free_now(profile, wanted, facts) else ("wait", "no-capacity")
