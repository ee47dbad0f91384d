"""What a server of a profile takes."""

from __future__ import annotations

from decimal import Decimal

import pytest

from aihub.profiles import Accelerator, Profile
from aihub.resources import Resources

SMALL = Resources({"cpu": Decimal("0.5"), "memory": 2**30})


@pytest.mark.parametrize(
    ("accelerator", "count", "charge"),
    [
        (None, 0, {}),
        (None, 4, {}),
        (Accelerator("nvidia.com/gpu"), 1, {"nvidia.com/gpu": 1}),
        (Accelerator("amd.com/gpu", counts=(1, 2)), 2, {"amd.com/gpu": 2}),
        (Accelerator("nvidia.com/gpu", counts=(0, 1)), 0, {}),
    ],
)
def test_a_server_is_charged_its_requests_one_server_and_its_accelerators(
    accelerator: Accelerator | None, count: int, charge: dict[str, int]
) -> None:
    profile = Profile("p", requests=SMALL, limits=SMALL + SMALL, accelerator=accelerator)
    assert profile.charge(count) == SMALL + Resources({"servers": 1, **charge})


def test_accelerators_are_charged_by_count_alone() -> None:
    profile = Profile("p", requests=Resources({"cpu": 1, "nvidia.com/gpu": 8}), accelerator=Accelerator("amd.com/gpu"))
    assert profile.charge(1) == Resources({"cpu": 1, "servers": 1, "amd.com/gpu": 1})


@pytest.mark.parametrize(
    ("accelerator", "counts"),
    [(None, (0,)), (Accelerator("nvidia.com/gpu"), (1,)), (Accelerator("nvidia.com/gpu", counts=(2, 1)), (2, 1))],
)
def test_the_first_count_is_the_default(accelerator: Accelerator | None, counts: tuple[int, ...]) -> None:
    assert Profile("p", accelerator=accelerator).counts() == counts
