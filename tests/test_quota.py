"""Quotas: the one check, level by level and key by key."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aihub.quota import ADMIT, Amounts, Deny, Level, Quota, Quotas, check, denials
from aihub.resources import Resources

ONE, TWO, THREE = (Resources({"servers": amount}) for amount in (1, 2, 3))
GPU = "nvidia.com/gpu"


def limit(**amounts: int) -> Quota:
    return {key: Decimal(amount) for key, amount in amounts.items()}


@pytest.mark.parametrize(
    ("request_", "usage", "quotas", "denied"),
    [
        pytest.param(Amounts.everywhere(ONE), Amounts(), Quotas(), None, id="no-quota"),
        pytest.param(Amounts.everywhere(ONE), Amounts.everywhere(ONE), Quotas(limit(servers=2)), None, id="just-fits"),
        pytest.param(
            Amounts.everywhere(ONE),
            Amounts.everywhere(TWO),
            Quotas(limit(servers=2)),
            (Level.PROJECT, "servers", 2, 2, 1),
            id="project",
        ),
        pytest.param(
            Amounts.everywhere(ONE),
            Amounts(member=TWO),
            Quotas(limit(servers=2), limit(servers=2), limit(servers=2)),
            (Level.MEMBER, "servers", 2, 2, 1),
            id="member",
        ),
        pytest.param(
            Amounts.everywhere(ONE),
            Amounts(user=THREE),
            Quotas(limit(servers=2), limit(servers=2), limit(servers=2)),
            (Level.USER, "servers", 2, 3, 1),
            id="user",
        ),
        pytest.param(
            Amounts.everywhere(TWO),
            Amounts(),
            Quotas(user=limit(servers=0), member=limit(servers=1)),
            (Level.MEMBER, "servers", 1, 0, 2),
            id="member-before-user",
        ),
        pytest.param(
            Amounts.everywhere(Resources({"servers": 1, "cpu": 2})),
            Amounts(),
            Quotas(limit(cpu=1, servers=0)),
            (Level.PROJECT, "servers", 0, 0, 1),
            id="servers-before-cpu",
        ),
        pytest.param(Amounts.everywhere(ONE), Amounts(), Quotas({GPU: Decimal(0)}), None, id="key-not-asked-for"),
        pytest.param(
            Amounts.everywhere(ONE),
            Amounts.everywhere(Resources({GPU: 5})),
            Quotas({GPU: Decimal(2)}),
            None,
            id="a-lowered-quota-stops-nothing-else",
        ),
        pytest.param(
            Amounts.everywhere(Resources({"cpu": Decimal("0.5")})),
            Amounts.everywhere(Resources({"cpu": Decimal("1.6")})),
            Quotas(limit(cpu=2)),
            (Level.PROJECT, "cpu", 2, Decimal("1.6"), Decimal("0.5")),
            id="fractions",
        ),
    ],
)
def test_check(
    request_: Amounts,
    usage: Amounts,
    quotas: Quotas,
    denied: tuple[Level, str, int, Decimal | int, Decimal | int] | None,
) -> None:
    expected = Deny(denied[0], denied[1], *(Decimal(amount) for amount in denied[2:])) if denied else ADMIT
    assert check(request_, usage, quotas) == expected


def test_denials_name_every_quota_exceeded_in_order() -> None:
    request_ = Amounts.everywhere(Resources({"servers": 1, "cpu": 1, GPU: 1}))
    quotas = Quotas({GPU: Decimal(0), "servers": Decimal(0)}, {}, {"cpu": Decimal(0), "servers": Decimal(1)})
    found = denials(request_, Amounts(), quotas)
    assert [(denial.level, denial.key) for denial in found] == [
        (Level.PROJECT, "servers"),
        (Level.PROJECT, GPU),
        (Level.USER, "cpu"),
    ]


@pytest.mark.parametrize(("requested", "ever"), [(3, False), (2, True), (1, True)])
def test_a_denial_tells_whether_the_request_could_ever_fit(requested: int, *, ever: bool) -> None:
    assert Deny(Level.USER, "servers", Decimal(2), Decimal(2), Decimal(requested)).ever is ever


def test_amounts_are_kept_added_and_taken_level_by_level() -> None:
    mixed = Amounts(ONE, TWO, THREE)
    assert [mixed.at(level) for level in Level] == [ONE, TWO, THREE]
    assert Amounts.everywhere(TWO) == Amounts(TWO, TWO, TWO)
    assert mixed + Amounts(THREE, TWO, ONE) == Amounts.everywhere(Resources({"servers": 4}))
    assert Amounts(THREE, THREE, Resources({"servers": 4})) - mixed == Amounts(TWO, ONE, ONE)


def test_quotas_are_kept_level_by_level() -> None:
    quotas = Quotas(limit(servers=1), limit(servers=2), limit(servers=3))
    assert [quotas.at(level)["servers"] for level in Level] == [1, 2, 3]
    assert [Quotas().at(level) for level in Level] == [{}, {}, {}]


_some = st.dictionaries(st.sampled_from(("servers", "cpu", GPU)), st.integers(0, 4))
_vectors = _some.map(Resources)
_quotas = _some.map(lambda amounts: limit(**amounts))


@given(
    st.builds(Amounts, _vectors, _vectors, _vectors),
    st.builds(Amounts, _vectors, _vectors, _vectors),
    st.builds(Quotas, _quotas, _quotas, _quotas),
)
def test_what_is_admitted_stays_within_every_quota_it_touches(
    request_: Amounts, usage: Amounts, quotas: Quotas
) -> None:
    within = all(
        usage.at(level)[key] + amount <= quotas.at(level).get(key, Decimal(99))
        for level in Level
        for key, amount in request_.at(level).items()
    )
    assert (check(request_, usage, quotas) == ADMIT) is within
