"""How many servers fit, for whom a machine is too small, and which pool helps."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from aihub.capacity import (
    Availability,
    Ground,
    Shortage,
    availability_for,
    ground_of,
    lasting_shortage,
    pool_for,
    shortage_now,
)
from aihub.facts import Facts, Machine, Pool, Taint
from aihub.profiles import Accelerator, Placement, Profile
from aihub.resources import Resources

GPU, AMD = "nvidia.com/gpu", "amd.com/gpu"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SMALL = Profile("small", requests=Resources({"cpu": 2, "memory": 4}))
GPUS = Profile("gpus", requests=Resources({"cpu": 1}), accelerator=Accelerator(GPU, (1, 2)))
NOTHING = Profile("nothing")
CORDONED = Taint("node.kubernetes.io/unschedulable")


def machine(cpu: int, memory: int = 100, gpus: int = 0, *taints: Taint, free: Resources | None = None) -> Machine:
    total = Resources({"cpu": cpu, "memory": memory, GPU: gpus})
    return Machine("m", total, total if free is None else free, {"gpus": str(gpus)}, taints)


def room(cpu: int, memory: int = 100, gpus: int = 0) -> Resources:
    return Resources({"cpu": cpu, "memory": memory, GPU: gpus})


@pytest.mark.parametrize(
    ("profile", "count", "machines", "expected"),
    [
        pytest.param(SMALL, None, (), (0, 0, None, None), id="no machine"),
        pytest.param(SMALL, None, (machine(8),), (4, 4, None, None), id="an empty machine"),
        pytest.param(SMALL, None, (machine(8, memory=9),), (2, 2, None, None), id="the scarcest resource counts"),
        pytest.param(SMALL, None, (machine(3), machine(3)), (2, 2, None, None), id="whole servers on each machine"),
        pytest.param(SMALL, None, (machine(8, free=room(3)),), (1, 4, None, None), id="some of it in use"),
        pytest.param(SMALL, None, (machine(8, free=room(-3)), machine(2)), (1, 5, None, None), id="one overfull"),
        pytest.param(SMALL, None, (machine(8, 100, 0, CORDONED),), (0, 4, None, None), id="cordoned"),
        pytest.param(SMALL, None, (machine(8, 100, 0, Taint("gpu")),), (0, 0, None, None), id="tainted"),
        pytest.param(GPUS, None, (machine(8, gpus=4, free=room(8, gpus=1)),), (1, 4, 1, 4), id="accelerators"),
        pytest.param(GPUS, 2, (machine(8, gpus=4, free=room(8, gpus=3)),), (1, 2, 3, 4), id="two of them each"),
        pytest.param(GPUS, None, (machine(1, gpus=4),), (1, 1, 4, 4), id="free, but without a core for each"),
        pytest.param(NOTHING, None, (machine(8),), (None, None, None, None), id="nothing asked for"),
    ],
)
def test_how_many_fit(
    profile: Profile,
    count: int | None,
    machines: tuple[Machine, ...],
    expected: tuple[int | None, int | None, int | None, int | None],
) -> None:
    facts = Facts(NOW, machines=machines)
    assert availability_for(profile, facts, count=count) == Availability(*expected, as_of=NOW)


def test_a_pool_is_named_beside_the_numbers_of_the_machines() -> None:
    full = machine(8, gpus=4, free=room(8, gpus=0))
    pools = (Pool("p", machine(8, gpus=1), 60),)
    assert availability_for(GPUS, Facts(NOW, machines=(full,)), pools) == Availability(0, 4, 0, 4, NOW, "p", 60)


def test_only_machines_that_it_may_run_on_count() -> None:
    placed = replace(GPUS, placement=Placement({"gpus": "2"}))
    facts = Facts(NOW, machines=(machine(8, gpus=4), machine(8, gpus=2)))
    assert availability_for(placed, facts) == Availability(2, 2, 2, 2, NOW)


def test_the_age_is_that_of_the_machines() -> None:
    read = NOW - timedelta(seconds=12)
    assert availability_for(SMALL, Facts(NOW, machines=(), machines_as_of=read)).as_of == read


def test_what_is_not_known_has_no_numbers_and_no_age() -> None:
    pools = (Pool("p", machine(8, gpus=1), 60),)
    facts = Facts(NOW, machines=None, machines_as_of=NOW)
    assert availability_for(GPUS, facts) == Availability()
    assert availability_for(GPUS, facts, pools) == Availability(pool="p", seconds=60)


@pytest.mark.parametrize(
    ("pools", "expected"),
    [
        pytest.param((), None, id="none"),
        pytest.param((Pool("a", machine(8)),), None, id="without the accelerator"),
        pytest.param((Pool("a", machine(8, 100, 4, Taint("spot"))),), None, id="tainted"),
        pytest.param((Pool("a", machine(8, gpus=4)), Pool("b", machine(8, gpus=4), 60)), "b", id="known time first"),
        pytest.param((Pool("a", machine(8, gpus=4), 61), Pool("b", machine(8, gpus=4), 60)), "b", id="sooner"),
        pytest.param((Pool("a", machine(8, gpus=4), 60), Pool("b", machine(8, gpus=4), 60)), "a", id="first of two"),
        pytest.param((Pool("a", machine(0, gpus=4)),), None, id="without a core"),
    ],
)
def test_the_pool_that_helps_soonest(pools: tuple[Pool, ...], expected: str | None) -> None:
    found = pool_for(GPUS, 1, pools)
    assert (found.name if found else None) == expected


def ground(*machines: Machine) -> Ground:
    return ground_of(GPUS.placement, machines)


def test_a_lasting_shortage_counts_pools_and_leaves_out_conditions() -> None:
    assert lasting_shortage(GPUS, 1, ground(machine(8)), (Pool("p", machine(8, gpus=1)),)) is None
    assert lasting_shortage(GPUS, 1, ground(machine(8, 100, 1, CORDONED))) is None
    tainted, pool = machine(8, 100, 8, Taint("x")), Pool("p", machine(8, gpus=1))
    assert lasting_shortage(GPUS, 2, ground(machine(8), tainted), (pool,)) == (
        Shortage(GPU, GPUS.charge(2)[GPU], room(0, gpus=1)[GPU], room(0, gpus=1)[GPU], machines=3, eligible=2)
    )


def test_a_shortage_now_is_of_the_machine_that_lacks_least() -> None:
    assert shortage_now(GPUS, 1, ground(machine(8, gpus=1, free=room(1, gpus=1)))) is None
    nearly = machine(8, gpus=4, free=room(0, gpus=4))
    full = machine(9, gpus=4, free=Resources())
    assert shortage_now(GPUS, 1, ground(full, nearly)) == (
        Shortage("cpu", GPUS.charge(1)["cpu"], Resources()["cpu"], room(8)["cpu"], machines=2, eligible=2)
    )
    cordoned = machine(8, 100, 4, CORDONED)
    assert shortage_now(GPUS, 1, ground(cordoned)) == (
        Shortage("cpu", GPUS.charge(1)["cpu"], Resources()["cpu"], room(8)["cpu"], machines=1, eligible=1)
    )


def test_the_ground_of_a_placement_knows_how_many_machines_it_is_of() -> None:
    machines = (machine(8), machine(4, 100, 0, CORDONED), machine(2, 100, 0, Taint("x")))
    assert ground(*machines) == Ground((room(8), Resources()), (room(8), room(4)), 3)
    facts = Facts(NOW, machines=machines)
    assert availability_for(SMALL, facts, ground=ground(*machines)) == availability_for(SMALL, facts)
