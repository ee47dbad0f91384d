"""The three faces of the policy agree with each other and with a second implementation, on generated cases."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aihub.environment import filtered
from aihub.errors import Reason, Refusal
from aihub.facts import Facts, Usage
from aihub.plan import Plan
from aihub.policy import (
    ImageChoice,
    Policy,
    ProfileChoice,
    ProjectChoices,
    Rule,
    State,
    Verdict,
    choices_for,
    default_image,
    default_profile,
    resolve,
    why,
)
from aihub.projects import Person, Project, Role
from aihub.quota import Amounts
from aihub.resources import Resources
from tests.oracle import (
    Outcome,
    oracle_charge,
    oracle_counts,
    oracle_default_image,
    oracle_default_profile,
    oracle_images,
    oracle_pool,
    oracle_profiles,
    oracle_projects,
    oracle_reason,
    oracle_room,
)
from tests.strategies import Case, cases, hostile_options

# Each example is cheap; the profile of the mutation tests lowers the number that this multiplies.
generated = settings(
    deadline=None, max_examples=2 * settings().max_examples, suppress_health_check=[HealthCheck.too_slow]
)


def told(verdict: Verdict) -> Outcome:
    """A verdict as the oracle gives it."""
    return (verdict.state.value, verdict.refusal.reason.value) if verdict.refusal else None


def reason_of(result: Plan | Refusal) -> str | None:
    return result.reason.value if isinstance(result, Refusal) else None


def start(case: Case, **options: Any) -> Plan | Refusal:
    return resolve(case.policy, case.person, options, case.facts)


def test_the_cases_reach_every_reason_and_both_states() -> None:
    reached: Counter[Outcome] = Counter()

    @settings(max_examples=600, derandomize=True, database=None, deadline=None)
    @given(cases)
    def count(case: Case) -> None:
        reached.update(oracle_reason(case.policy, case.person, options, case.facts) for options in case.options)

    count()
    of_start = set(list(Reason)[: list(Reason).index(Reason.NO_CAPACITY) + 1])
    assert {outcome[1] for outcome in reached if outcome} == {reason.value for reason in of_start}
    assert {("wait", f"quota-{level}") for level in ("project", "member", "user")} <= set(reached)
    assert {("no", f"quota-{level}") for level in ("project", "member", "user")} <= set(reached)
    assert reached[None] > 100


# With the oracle.


@generated
@given(cases)
def test_resolve_and_why_agree_with_the_oracle(case: Case) -> None:
    for options in case.options:
        expected = oracle_reason(case.policy, case.person, options, case.facts)
        judgements = why(case.policy, case.person, options, case.facts)
        failed = next((judgement for judgement in judgements if judgement.failed), None)
        result = resolve(case.policy, case.person, options, case.facts)
        assert reason_of(result) == (expected[1] if expected else None)
        assert (told(failed.verdict) if failed and failed.verdict else None) == expected
        if failed and failed.verdict:
            assert failed.verdict.refusal == result


@generated
@given(cases)
def test_choices_show_what_the_oracle_shows(case: Case) -> None:
    choices = choices_for(case.policy, case.person, case.facts)
    assert {chosen.project.name: chosen.role.value for chosen in choices} == oracle_projects(case.policy, case.person)
    places = [(chosen.project.order, chosen.project.name) for chosen in choices]
    assert places == sorted(places)
    for chosen in choices:
        images = oracle_images(case.policy, chosen.project, case.facts)
        assert [image.reference for image in chosen.images] == list(images)
        assert {image.reference: told(image.verdict) for image in chosen.images} == images
        assert {each.profile.name for each in chosen.profiles} == oracle_profiles(
            case.policy, chosen.project, case.person
        )
        ordered = [(each.profile.order, each.profile.name) for each in chosen.profiles]
        assert ordered == sorted(ordered)


@generated
@given(cases)
def test_room_and_pools_agree_with_the_oracle(case: Case) -> None:
    for chosen in choices_for(case.policy, case.person, case.facts):
        for each in chosen.profiles:
            for count, verdict in each.verdicts.items():
                room, expected = each.room[count], oracle_room(each.profile, count, case.facts)
                assert (room.free, room.total) == (expected or (None, None))
                assert (room.as_of is None) is (case.facts.machines is None)
                if verdict.state is State.OK:
                    pool = oracle_pool(case.policy, each.profile, count, case.facts)
                    assert verdict.pool == (pool or "")
                    assert not pool or room.pool == pool


@generated
@given(cases)
def test_defaults_agree_with_the_oracle(case: Case) -> None:
    for chosen in choices_for(case.policy, case.person, case.facts):
        image = oracle_default_image(case.policy, chosen.project, case.facts)
        profile = oracle_default_profile(case.policy, chosen.project, case.person)
        assert default_image(case.policy, chosen.project, case.facts.decided(chosen.project.name)) == image
        assert default_profile(case.policy, chosen.project, case.person) == profile
        assert [each.reference for each in chosen.images if each.default] == ([image] if image else [])
        assert [each.profile.name for each in chosen.profiles if each.default] == ([profile] if profile else [])


# With each other.


def triples(chosen: ProjectChoices) -> list[tuple[ImageChoice, ProfileChoice, int]]:
    return [
        (image, profile, count) for image in chosen.images for profile in chosen.profiles for count in profile.verdicts
    ]


@generated
@given(cases)
def test_what_the_page_says_of_a_choice_is_what_a_start_with_it_meets(case: Case) -> None:
    for chosen in choices_for(case.policy, case.person, case.facts):
        assert chosen.usage == (case.facts.usage.at(chosen.project.name) if case.facts.usage else None)
        for image, profile, count in triples(chosen):
            options = {
                "project": chosen.project.name,
                "image": image.reference,
                "profile": profile.profile.name,
                "acceleratorCount": count,
            }
            said = chosen.combined(image, profile, count)
            result = resolve(case.policy, case.person, options, case.facts)
            assert said.refusal == (result if isinstance(result, Refusal) else None)
            assert told(said) == oracle_reason(case.policy, case.person, options, case.facts)


@generated
@given(cases)
def test_every_count_that_may_be_asked_for_has_a_verdict(case: Case) -> None:
    for chosen in choices_for(case.policy, case.person, case.facts):
        for each in chosen.profiles:
            assert tuple(each.verdicts) == oracle_counts(each.profile)
            assert each.verdict == each.verdicts[oracle_counts(each.profile)[0]]


@generated
@given(cases)
def test_why_names_every_rule_in_order_and_passes_all_of_them_only_for_a_plan(case: Case) -> None:
    for options in case.options:
        judgements = why(case.policy, case.person, options, case.facts)
        assert [judgement.rule for judgement in judgements] == list(Rule)
        result = resolve(case.policy, case.person, options, case.facts)
        assert isinstance(result, Plan) is not any(judgement.failed for judgement in judgements)
        for judgement in judgements:
            verdict = judgement.verdict
            assert judgement.failed is (verdict is not None and verdict.state is not State.OK)
            assert verdict is None or (verdict.refusal is None) is (verdict.state is State.OK)


@generated
@given(cases)
def test_leaving_out_what_is_the_default_changes_nothing(case: Case) -> None:
    for chosen in choices_for(case.policy, case.person, case.facts):
        image = default_image(case.policy, chosen.project, case.facts.decided(chosen.project.name))
        profile = default_profile(case.policy, chosen.project, case.person)
        if image and profile:
            name = chosen.project.name
            assert start(case, project=name) == start(case, project=name, image=image, profile=profile)


# What must never be.


@generated
@given(cases, st.lists(hostile_options, max_size=5))
def test_no_options_raise(case: Case, submitted: list[object]) -> None:
    for options in submitted:
        expected = oracle_reason(case.policy, case.person, options, case.facts)
        assert reason_of(resolve(case.policy, case.person, options, case.facts)) == (expected[1] if expected else None)
        assert len(why(case.policy, case.person, options, case.facts)) == len(Rule)


@generated
@given(cases)
def test_an_outsider_cannot_tell_a_project_from_none(case: Case) -> None:
    nobody = Person("mallory")
    for name in case.policy.projects:
        without = replace(case.policy, projects={key: at for key, at in case.policy.projects.items() if key != name})
        if name in oracle_projects(case.policy, nobody):
            continue
        for options in ({"project": name}, {**case.options[0], "project": name}):
            refusal = resolve(case.policy, nobody, options, case.facts)
            assert reason_of(refusal) == "unknown-project"
            assert refusal == resolve(without, nobody, options, case.facts)
            assert why(case.policy, nobody, options, case.facts) == why(without, nobody, options, case.facts)
        assert name not in {chosen.project.name for chosen in choices_for(case.policy, nobody, case.facts)}


@generated
@given(cases)
def test_what_is_hidden_is_neither_seen_nor_started(case: Case) -> None:
    for chosen in choices_for(case.policy, case.person, case.facts):
        name = chosen.project.name
        for reference in set(case.policy.catalog.references()) - {image.reference for image in chosen.images}:
            assert chosen.image(reference) is None
            assert isinstance(start(case, project=name, image=reference), Refusal)
        for profile in set(case.policy.profiles) - {each.profile.name for each in chosen.profiles}:
            assert chosen.profile(profile) is None
            assert isinstance(start(case, project=name, profile=profile), Refusal)


@generated
@given(cases)
def test_being_an_admin_shows_more_and_starts_nothing(case: Case) -> None:
    plain, admin = replace(case.person, admin=False), replace(case.person, admin=True)
    seen = choices_for(case.policy, admin, case.facts)
    assert len(seen) == len(case.policy.projects)
    own = {chosen.project.name for chosen in choices_for(case.policy, plain, case.facts)}
    for chosen in seen:
        if chosen.project.name not in own:
            assert chosen.role is Role.ADMIN
            assert told(chosen.verdict) == ("no", "not-member")
    for options in case.options:
        result = resolve(case.policy, plain, options, case.facts)
        as_admin = resolve(case.policy, admin, options, case.facts)
        if isinstance(result, Plan):
            assert as_admin == result
        else:
            assert isinstance(as_admin, Refusal)


@generated
@given(cases, st.integers(0, 2**32))
def test_more_usage_never_turns_a_refusal_into_a_start(case: Case, seed: int) -> None:
    if case.facts.usage is None:
        return
    more = replace(case.facts, usage=_grown(case.facts.usage, case.policy, Random(seed)))
    for options in case.options:
        if isinstance(resolve(case.policy, case.person, options, case.facts), Refusal):
            assert isinstance(resolve(case.policy, case.person, options, more), Refusal)


def _grown(usage: Usage, policy: Policy, random: Random) -> Usage:
    def extra() -> Resources:
        return Resources({"servers": random.randint(0, 3), "nvidia.com/gpu": random.randint(0, 3), "cpu": 1})

    projects = {name: usage.at(name).project + extra() for name in policy.projects}
    members = {name: usage.at(name).member + extra() for name in policy.projects}
    return Usage(projects, members, usage.user + extra())


# Plans.


@generated
@given(cases)
def test_a_plan_holds_what_was_chosen_and_charges_what_it_takes(case: Case) -> None:
    for options in case.options:
        plan = resolve(case.policy, case.person, options, case.facts)
        if isinstance(plan, Plan):
            check_plan(case.policy, case.person, case.facts, plan)
            for key, value in options.items():
                got = {"project": plan.project, "image": plan.reference, "profile": plan.profile}
                assert got.get(key, plan.accelerator_count) == value


def check_plan(policy: Policy, person: Person, facts: Facts, plan: Plan) -> None:
    project, profile = policy.projects[plan.project], policy.profiles[plan.profile]
    charge = oracle_charge(policy, project, person, profile, plan.accelerator_count, facts)
    assert plan.person == person.name
    assert plan.charge == Amounts(*(Resources(charge[level]) for level in ("project", "member", "user")))
    assert (plan.quotas.project, plan.quotas.member) == (project.quota, project.member_quota)
    assert plan.quotas.user == policy.user_quota
    check_image(policy, plan)
    assert (plan.requests, plan.limits, plan.placement) == (profile.requests, profile.limits, profile.placement)
    assert (plan.profile_name, plan.shared_memory) == (profile.display_name, profile.shared_memory)
    assert plan.accelerator == (profile.accelerator.resource if profile.accelerator else None)
    assert (plan.accelerator_count == 0) is (profile.accelerator is None)
    check_project_parts(project, person, plan)


def check_image(policy: Policy, plan: Plan) -> None:
    stream = policy.catalog.streams[plan.stream]
    tag = stream.tag(plan.tag)
    assert tag is not None
    assert (plan.image, plan.requirements, plan.image_name) == (tag.image, tag.requirements, stream.display_name)


def check_project_parts(project: Project, person: Person, plan: Plan) -> None:
    assert plan.project_name == project.display_name
    assert plan.environment == filtered(project.environment)[0]
    assert "LD_PRELOAD" not in plan.environment
    assert "PATH" not in plan.environment
    assert plan.idle == project.idle
    assert plan.shared == project.storage.shared
    assert plan.datasets == tuple(project.storage.datasets.values())
    instructor = project.role(person) is Role.INSTRUCTOR
    shared = project.storage.shared
    assert plan.may_write_shared is (shared is not None and (instructor or shared.members_write))
