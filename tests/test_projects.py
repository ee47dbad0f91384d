"""Who belongs to a project, and what it offers."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aihub.projects import Membership, Offer, Person, Project, Role, group_matches


@pytest.mark.parametrize(
    ("pattern", "group", "matches"),
    [
        ("/ml101", "/ml101", True),
        ("/ml101", "/ml102", False),
        ("/ml101", "/ml101/students", False),
        ("/ml101", "/x/ml101", False),
        ("ml101", "/ml101", False),
        ("ml101", "ml101", True),
        ("/*/students", "/ml101/students", True),
        ("/*/students", "/a/b/students", False),
        ("/*", "/ml101", True),
        ("/*", "/a/b", False),
        ("*", "staff", True),
        ("*", "/staff", False),
        ("/courses/**", "/courses", True),
        ("/courses/**", "/courses/a", True),
        ("/courses/**", "/courses/a/b", True),
        ("/courses/**", "/coursesx/a", False),
        ("**", "/anything/at/all", True),
        ("**", "", True),
        ("/**/staff", "/staff", True),
        ("/**/staff", "/a/b/staff", True),
        ("/**/staff", "/a/b/staff/c", False),
        ("/a/**/b/**/c", "/a/b/c", True),
        ("/a/**/b/**/c", "/a/x/b/y/z/c", True),
        ("/a/**/b/**/c", "/a/x/y/c", False),
        ("/ml*", "/ml101", False),
        ("/ml*", "/ml*", True),
        ("/a.b", "/axb", False),
        ("/[a]", "/a", False),
        ("/ML101", "/ml101", False),
        ("", "", True),
        ("", "/", False),
    ],
)
def test_a_pattern_matches_the_whole_path(pattern: str, group: str, matches: bool) -> None:
    assert group_matches(pattern, group) is matches


def naively_matches(pattern: list[str], group: list[str]) -> bool:
    """The rule as it is said, by recursion."""
    if not pattern:
        return not group
    if pattern[0] == "**":
        return any(naively_matches(pattern[1:], group[skipped:]) for skipped in range(len(group) + 1))
    return bool(group) and pattern[0] in ("*", group[0]) and naively_matches(pattern[1:], group[1:])


segments = st.lists(st.sampled_from(["a", "b", "", "*", "**"]), min_size=1, max_size=6)


@given(segments, segments)
def test_patterns_agree_with_the_rule_by_recursion(pattern: list[str], group: list[str]) -> None:
    assert group_matches("/".join(pattern), "/".join(group)) is naively_matches(pattern, group)


@given(st.text("ab/*", max_size=12), st.text("ab/*", max_size=12))
def test_any_two_texts_are_judged_as_the_rule_says(pattern: str, group: str) -> None:
    assert group_matches(pattern, group) is naively_matches(pattern.split("/"), group.split("/"))


def test_many_wildcards_take_no_time() -> None:
    started = time.perf_counter()
    assert not group_matches("/".join(["**", "a"] * 200), "/".join(["a"] * 500 + ["b"]))
    assert time.perf_counter() - started < 2


ANN = Person("ann", frozenset({"/ml101/students", "/guests"}))
ADMIN = Person("root", admin=True)


@pytest.mark.parametrize(
    ("membership", "includes"),
    [
        (Membership(), False),
        (Membership(groups=()), False),
        (Membership(users=frozenset({"ann"})), True),
        (Membership(users=frozenset({"Ann", "an", "annn"})), False),
        (Membership(groups=("/ml101/students",)), True),
        (Membership(groups=("/ml102/students", "/*")), True),
        (Membership(groups=("/ml102/**",)), False),
        (Membership(everybody=True), True),
    ],
)
def test_membership_is_by_group_name_or_for_everybody(membership: Membership, includes: bool) -> None:
    assert membership.includes(ANN) is includes


EVERYBODY, ONLY_ANN, NOBODY = Membership(everybody=True), Membership(users=frozenset({"ann"})), Membership()


@pytest.mark.parametrize(
    ("members", "instructors", "person", "role"),
    [
        (ONLY_ANN, NOBODY, ANN, Role.MEMBER),
        (NOBODY, ONLY_ANN, ANN, Role.INSTRUCTOR),
        (ONLY_ANN, ONLY_ANN, ANN, Role.INSTRUCTOR),
        (NOBODY, NOBODY, ANN, None),
        (NOBODY, NOBODY, ADMIN, Role.ADMIN),
        (EVERYBODY, NOBODY, ADMIN, Role.MEMBER),
        (NOBODY, EVERYBODY, ADMIN, Role.INSTRUCTOR),
        (ONLY_ANN, NOBODY, Person("eve"), None),
    ],
)
def test_the_highest_role_counts_and_an_admin_is_no_member(
    members: Membership, instructors: Membership, person: Person, role: Role | None
) -> None:
    assert Project("p", members=members, instructors=instructors).role(person) is role


@pytest.mark.parametrize(
    ("ids", "reference", "included"),
    [
        (("pytorch",), "pytorch:2.9", True),
        (("pytorch:2.9",), "pytorch:2.9", True),
        (("pytorch:2.8",), "pytorch:2.9", False),
        (("torch",), "pytorch:2.9", False),
        ((), "pytorch:2.9", False),
        (("scipy", "pytorch:2.9"), "pytorch:2.9", True),
    ],
)
def test_an_offer_names_tags_or_whole_streams(ids: tuple[str, ...], reference: str, included: bool) -> None:
    assert Offer(ids).includes_image(reference) is included
