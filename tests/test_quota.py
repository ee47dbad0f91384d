"""Quotas: what is admitted, what is denied, and with which numbers."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aihub.quota import ADMIT, Amounts, Deny, Level, Quota, Quotas, check, denials
from aihub.resources import Resources, sort_keys

GPU = "nvidia.com/gpu"


def quota(**ceilings: int) -> Quota:
    return {key.replace("gpu", GPU): Decimal(value) for key, value in ceilings.items()}


def amount(**amounts: int) -> Resources:
    return Resources({key.replace("gpu", GPU): value for key, value in amounts.items()})


def deny(level: Level, key: str, limit: int, used: int, requested: int) -> Deny:
    return Deny(level, key, Decimal(limit), Decimal(used), Decimal(requested))


@pytest.mark.parametrize(
    ("request_", "usage", "quotas", "answer"),
    [
        pytest.param(amount(cpu=4), Amounts(), Quotas(), ADMIT, id="no quota is no limit"),
        pytest.param(amount(cpu=4), Amounts(), Quotas(project=quota(memory=1)), ADMIT, id="another key is no limit"),
        pytest.param(amount(cpu=4), Amounts(), Quotas(project=quota(cpu=4)), ADMIT, id="up to the limit"),
        pytest.param(
            amount(cpu=1), Amounts(project=amount(cpu=3)), Quotas(project=quota(cpu=4)), ADMIT, id="the last one fits"
        ),
        pytest.param(
            amount(cpu=2),
            Amounts(project=amount(cpu=3)),
            Quotas(project=quota(cpu=4)),
            deny(Level.PROJECT, "cpu", 4, 3, 2),
            id="one too many",
        ),
        pytest.param(
            amount(gpu=1),
            Amounts(),
            Quotas(user=quota(gpu=0)),
            deny(Level.USER, GPU, 0, 0, 1),
            id="zero is none allowed",
        ),
        pytest.param(amount(cpu=1), Amounts(), Quotas(user=quota(gpu=0)), ADMIT, id="zero of what is not asked for"),
        pytest.param(
            amount(cpu=1),
            Amounts(member=amount(cpu=2)),
            Quotas(member=quota(cpu=2)),
            deny(Level.MEMBER, "cpu", 2, 2, 1),
            id="the member's own quota",
        ),
        pytest.param(
            amount(cpu=1),
            Amounts(user=amount(cpu=2)),
            Quotas(user=quota(cpu=2)),
            deny(Level.USER, "cpu", 2, 2, 1),
            id="the user's quota over all projects",
        ),
        pytest.param(
            amount(cpu=1), Amounts(project=amount(cpu=9)), Quotas(member=quota(cpu=2)), ADMIT, id="levels are apart"
        ),
        pytest.param(
            amount(servers=1, cpu=1),
            Amounts.everywhere(amount(servers=1, cpu=1)),
            Quotas(project=quota(cpu=1), member=quota(servers=1), user=quota(servers=1)),
            deny(Level.PROJECT, "cpu", 1, 1, 1),
            id="the project speaks before the member and the user",
        ),
        pytest.param(
            amount(servers=1, cpu=1, gpu=1),
            Amounts(),
            Quotas(project=quota(gpu=0, cpu=0, servers=0)),
            deny(Level.PROJECT, "servers", 0, 0, 1),
            id="servers speak first within a level",
        ),
        pytest.param(
            amount(gpu=1),
            Amounts(project=amount(cpu=9)),
            Quotas(project=quota(cpu=4, gpu=1)),
            ADMIT,
            id="a lowered quota stops nothing that does not ask for more of it",
        ),
    ],
)
def test_check(request_: Resources, usage: Amounts, quotas: Quotas, answer: object) -> None:
    assert check(Amounts.everywhere(request_), usage, quotas) == answer


def test_every_level_has_its_own_request() -> None:
    request = Amounts(user=amount(storage=10))
    quotas = Quotas(project=quota(storage=1), member=quota(storage=1), user=quota(storage=10))
    assert check(request, Amounts(), quotas) == ADMIT


@pytest.mark.parametrize(("limit", "used", "requested", "ever"), [(4, 4, 4, True), (4, 0, 5, False), (0, 0, 1, False)])
def test_a_denial_knows_whether_waiting_can_help(limit: int, used: int, requested: int, ever: bool) -> None:
    assert deny(Level.PROJECT, "cpu", limit, used, requested).ever is ever


def test_denials_are_all_that_are_exceeded_in_the_order_of_the_rules() -> None:
    quotas = Quotas(project=quota(storage=0, gpu=0), member=quota(memory=0), user=quota(cpu=0, servers=0))
    request = Amounts.everywhere(amount(servers=1, cpu=1, memory=1, gpu=1, storage=1))
    assert [(found.level, found.key) for found in denials(request, Amounts(), quotas)] == [
        (Level.PROJECT, GPU),
        (Level.PROJECT, "storage"),
        (Level.MEMBER, "memory"),
        (Level.USER, "servers"),
        (Level.USER, "cpu"),
    ]


def test_usage_is_added_without_rounding() -> None:
    used = Resources({"cpu": Decimal(10000000000000000000000000000)})
    request = Amounts(project=Resources({"cpu": Decimal("0.000000001")}))
    found = check(request, Amounts(project=used), Quotas(project=dict(used)))
    assert isinstance(found, Deny)


def test_amounts_add_and_subtract_at_every_level() -> None:
    one, two = Amounts(amount(cpu=1), amount(cpu=2), amount(cpu=3)), Amounts.everywhere(amount(cpu=1, servers=1))
    assert one + two == Amounts(amount(cpu=2, servers=1), amount(cpu=3, servers=1), amount(cpu=4, servers=1))
    assert (one + two) - two == one


keys = st.sampled_from(["servers", "cpu", "memory", GPU, "storage"])
vectors = st.dictionaries(keys, st.integers(0, 5), max_size=4).map(Resources)
levels = st.builds(Amounts, vectors, vectors, vectors)
ceilings = st.dictionaries(keys, st.integers(0, 8).map(Decimal), max_size=4)
limits = st.builds(Quotas, ceilings, ceilings, ceilings)


@given(levels, levels, limits)
def test_what_is_admitted_is_within_every_quota_it_touches(request: Amounts, usage: Amounts, quotas: Quotas) -> None:
    after = usage + request
    exceeded = [
        (level, key)
        for level in Level
        for key, limit in quotas.at(level).items()
        if request.at(level)[key] and after.at(level)[key] > limit
    ]
    assert (check(request, usage, quotas) == ADMIT) == (not exceeded)
    assert {(found.level, found.key) for found in denials(request, usage, quotas)} == set(exceeded)


@given(levels, levels, limits)
def test_the_answer_is_the_first_denial_and_carries_the_numbers(
    request: Amounts, usage: Amounts, quotas: Quotas
) -> None:
    found = denials(request, usage, quotas)
    assert check(request, usage, quotas) == (found[0] if found else ADMIT)
    order = list(Level)
    places = [(order.index(one.level), sort_keys(quotas.at(one.level)).index(one.key)) for one in found]
    assert places == sorted(places)
    for one in found:
        assert one.limit == quotas.at(one.level)[one.key]
        assert one.used == usage.at(one.level)[one.key]
        assert one.requested == request.at(one.level)[one.key]


@given(levels, levels, limits)
def test_a_request_for_nothing_is_always_admitted(usage: Amounts, more: Amounts, quotas: Quotas) -> None:
    assert check(Amounts(), usage + more, quotas) == ADMIT


@given(levels, levels, levels, limits)
def test_more_usage_never_admits_more(request: Amounts, usage: Amounts, more: Amounts, quotas: Quotas) -> None:
    if check(request, usage, quotas) != ADMIT:
        assert check(request, usage + more, quotas) != ADMIT
