"""Which claims a server has, where they count, and where they are on one machine."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aihub.quota import Amounts
from aihub.resources import Resources
from aihub.storage import Claim, Home, HomeScope, ProjectStorage, SharedFolder, directory_of, home_claim, project_claims

TEN, TWENTY = Decimal(10), Decimal(20)


def storage(size: Decimal) -> Resources:
    return Resources({"storage": size})


@pytest.mark.parametrize(
    ("home", "project", "claim"),
    [
        (Home(), ProjectStorage(), Claim("home/ann", None, Amounts())),
        (Home(size=TEN), ProjectStorage(), Claim("home/ann", TEN, Amounts(user=storage(TEN)))),
        (Home(size=TEN), ProjectStorage(home_size=TWENTY), Claim("home/ann", TEN, Amounts(user=storage(TEN)))),
        (Home(HomeScope.PROJECT, TEN), ProjectStorage(), Claim("home/ml/ann", TEN, Amounts.everywhere(storage(TEN)))),
        (
            Home(HomeScope.PROJECT, TEN),
            ProjectStorage(home_size=TWENTY),
            Claim("home/ml/ann", TWENTY, Amounts.everywhere(storage(TWENTY))),
        ),
        (
            Home(HomeScope.PROJECT, TEN),
            ProjectStorage(home_size=Decimal(0)),
            Claim("home/ml/ann", Decimal(0), Amounts()),
        ),
        (Home(HomeScope.PROJECT), ProjectStorage(), Claim("home/ml/ann", None, Amounts())),
    ],
)
def test_a_home_counts_where_its_scope_says(home: Home, project: ProjectStorage, claim: Claim) -> None:
    assert home_claim(home, project, "ml", "ann") == claim


@pytest.mark.parametrize(
    ("shared", "claims"),
    [
        (None, ()),
        (SharedFolder(), (Claim("project/ml", None, Amounts()),)),
        (SharedFolder(size=TEN), (Claim("project/ml", TEN, Amounts(project=storage(TEN))),)),
    ],
)
def test_a_project_folder_counts_at_the_project(shared: SharedFolder | None, claims: tuple[Claim, ...]) -> None:
    assert project_claims(ProjectStorage(shared=shared), "ml") == claims


@pytest.mark.parametrize(
    ("claim", "directory"),
    [
        ("home/ann", ("homes", "ann")),
        ("home/ml/ann", ("projects", "ml", "homes", "ann")),
        ("project/ml", ("projects", "ml", "shared")),
    ],
)
def test_a_claim_has_a_directory_that_a_person_can_find(claim: str, directory: tuple[str, ...]) -> None:
    assert directory_of(claim) == directory


@pytest.mark.parametrize(
    "claim", ["", "home", "home/", "home//ann", "home/a/b/c", "project/", "project/a/b", "data/x", "/home/a"]
)
def test_what_is_no_claim_has_no_directory(claim: str) -> None:
    with pytest.raises(ValueError, match="is not the id of a claim"):
        directory_of(claim)


names = st.text(st.characters(exclude_characters="/"), min_size=1, max_size=8) | st.sampled_from(
    ["homes", "shared", "projects", "..", ".", "Ann", "ann", "a\0", "a\\b", "ml", "\N{FRACTION SLASH}"]
)
claims = st.one_of(
    names.map(lambda person: f"home/{person}"),
    st.tuples(names, names).map(lambda pair: f"home/{pair[0]}/{pair[1]}"),
    names.map(lambda project: f"project/{project}"),
)


@given(claims, claims)
def test_no_two_claims_share_a_directory_and_none_is_inside_another(one: str, two: str) -> None:
    first, second = directory_of(one), directory_of(two)
    assert (first == second) == (one == two)
    if one != two:
        assert first[: len(second)] != second
    assert all(segment.strip(".") and segment.isascii() and segment.isprintable() for segment in first)
    assert not {"/", "\\"} & set("".join(first))
