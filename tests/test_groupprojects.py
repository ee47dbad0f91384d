"""Which projects groups make, which they do not, and who is in them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aihub.groupprojects import Frame, GroupPattern, GroupProblem, GroupWarning, with_group_projects
from aihub.policy import Policy
from aihub.projects import Membership, Offer, Person, Project, Role
from aihub.text import Text

TEMPLATE = Project(
    "course",
    display_name=Text("Template"),
    kind="course",
    members=Membership(everybody=True),
    images=Offer(("py",)),
    contact=Text("help@example.org"),
    namespace="elsewhere",
)


def pattern(
    members: str = "/courses/<project>/students",
    instructors: str | None = "/courses/<project>/staff",
    name: str = "<project>",
    display_name: Text = Text("<project>"),  # a value
) -> GroupPattern:
    staff = None if instructors is None else Frame.of(instructors)
    return GroupPattern("courses", Frame.of(members), staff, Frame.of(name), display_name, TEMPLATE)


def made(*groups: str, by: GroupPattern | None = None, projects: Mapping[str, Project] | None = None) -> set[str]:
    policy, _ = with_group_projects(Policy(projects=projects or {}), [by or pattern()], groups)
    return {*policy.projects}


def warned(*groups: str, projects: Mapping[str, Project] | None = None) -> tuple[GroupWarning, ...]:
    return with_group_projects(Policy(projects=projects or {}), [pattern()], groups)[1]


@pytest.mark.parametrize(
    ("group", "name"),
    [
        ("/courses/ml101/students", "ml101"),
        ("/courses/ml101/staff", "ml101"),
        ("/courses/ml-101/staff", "ml-101"),
        ("/courses/7/staff", "7"),
    ],
)
def test_a_group_of_the_form_makes_a_project(group: str, name: str) -> None:
    assert made(group) == {name}


@pytest.mark.parametrize(
    "group",
    [
        "",
        "/courses/students",
        "/courses//students",
        "/courses/a/b/students",
        "/courses/ml101/students/more",
        "/x/courses/ml101/students",
        "/courses/ml101/Students",
        "/courses/ml101",
        "courses/ml101/students",
        "/courses/<project>",
    ],
)
def test_other_groups_make_nothing_and_are_nobody_s_concern(group: str) -> None:
    policy = Policy()
    assert with_group_projects(policy, [pattern()], [group]) == (policy, ())


@pytest.mark.parametrize(
    "word", ["ML101", "ml_101", "ml.101", "-ml", "ml-", "é", "<project>", "*", "**", "..", "ml101\n", " ", "x" * 64]
)
def test_a_word_that_is_no_name_makes_a_warning_and_no_project(word: str) -> None:
    group = f"/courses/{word}/students"
    assert made(group) == set()
    assert warned(group) == (GroupWarning(group, GroupProblem.UNUSABLE_NAME, word),)


def test_a_name_may_be_as_long_as_any_and_counts_with_what_stands_around_it() -> None:
    by = pattern(name="lab-<project>-x")
    assert made(f"/courses/{'x' * 57}/staff", by=by) == {f"lab-{'x' * 57}-x"}
    assert made(f"/courses/{'x' * 58}/staff", by=by) == set()


@pytest.mark.parametrize("own", ["ml101", "ML101", "Ml101"])
def test_a_project_of_the_file_stands(own: str) -> None:
    mine = Project(own)
    policy, warnings = with_group_projects(Policy(projects={own: mine}), [pattern()], ["/courses/ml101/staff"])
    assert dict(policy.projects) == {own: mine}
    assert warnings == (GroupWarning("/courses/ml101/staff", GroupProblem.NAME_TAKEN, own),)


@pytest.mark.parametrize("own", ["ml_101", "ml.101"])
def test_a_project_of_the_file_with_the_same_folder_stands(own: str) -> None:
    assert made("/courses/ml-101/staff", projects={own: Project(own)}) == {own}


def test_both_groups_make_one_project_whose_people_are_those_of_exactly_these_groups() -> None:
    policy, warnings = with_group_projects(Policy(), [pattern()], ["/courses/ml101/staff", "/courses/ml101/students"])
    (project,) = policy.projects.values()
    assert warnings == ()
    assert project.members == Membership(("/courses/ml101/students",))
    assert project.instructors == Membership(("/courses/ml101/staff",))

    def role(*groups: str, name: str = "ada") -> Role | None:
        return project.role(Person(name, frozenset(groups)))

    assert role("/courses/ml101/students") is Role.MEMBER
    assert role("/courses/ml101/staff") is Role.INSTRUCTOR
    assert role("/courses/ml102/staff", "/courses/ml101", "/courses/*/staff", "/courses/ml101/staff/x") is None


def test_a_pattern_without_instructors_makes_projects_of_members_alone() -> None:
    policy, _ = with_group_projects(Policy(), [pattern(instructors=None)], ["/courses/ml101/students"])
    assert policy.projects["ml101"].instructors == Membership()
    assert made("/courses/ml101/staff", by=pattern(instructors=None)) == set()


def test_settings_are_those_of_the_template_and_nothing_of_its_people() -> None:
    title = Text("Course <project>", MappingProxyType({"zh_TW": "課程 <project>"}))
    by = pattern(name="course-<project>", display_name=title)
    policy, _ = with_group_projects(Policy(), [by], ["/courses/ml101/staff"])
    project = policy.projects["course-ml101"]
    assert (project.name, project.kind, project.images, project.contact) == (
        "course-ml101",
        "course",
        TEMPLATE.images,
        TEMPLATE.contact,
    )
    assert project.display_name == Text("Course ml101", MappingProxyType({"zh_TW": "課程 ml101"}))
    assert not project.members.everybody
    assert project.namespace is None


def test_teams_of_github_make_projects_too() -> None:
    by = pattern("my-school:<project>-students", "my-school:<project>-staff")
    assert made("my-school:ml101-staff", "my-school", "my-school:ml102-students", "x:ml103-staff", by=by) == {
        "ml101",
        "ml102",
    }


def test_every_pattern_makes_its_projects() -> None:
    labs = pattern("/labs/<project>", None, "lab-<project>")
    policy, _ = with_group_projects(Policy(), [pattern(), labs], ["/labs/nlp", "/courses/ml101/staff"])
    assert {*policy.projects} == {"ml101", "lab-nlp"}


def test_projects_of_the_file_come_first_and_nothing_else_of_the_policy_changes() -> None:
    file = Policy(projects={"p": Project("p")}, start_when_unknown=True, fresh_for_accelerators=True)
    policy, _ = with_group_projects(file, [pattern()], ["/courses/a/staff"])
    assert list(policy.projects) == ["p", "a"]
    assert (policy.start_when_unknown, policy.fresh_for_accelerators) == (True, True)
    assert dict(file.projects) == {"p": Project("p")}


def test_warnings_are_in_one_order_whatever_that_of_the_groups() -> None:
    groups = ["/courses/B/staff", "/courses/A/staff", "/courses/B/staff"]
    assert [each.group for each in warned(*groups)] == ["/courses/A/staff", "/courses/B/staff"]


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ("<project>", "<project>", True),
        ("<project>", "lab-<project>", True),
        ("<project>", "<project>-lab", True),
        ("course-<project>", "lab-<project>", False),
        ("lab-<project>", "lab-x-<project>", True),
        ("<project>-a", "<project>-b", False),
        ("a-<project>", "<project>-b", True),
        ("a-<project>-b", "a-<project>-c", False),
        ("/c/<project>", "/c/<project>/staff", False),
        ("/c/<project>", "/<project>", False),
        ("/c/<project>", "/c/<project>-staff", True),
        ("/c/<project>/students", "/c/<project>/staff", False),
        ("/c/<project>/x", "/<project>/x", False),
        ("/c/<project>/x", "/c/<project>-lab/x", True),
        ("/c/<project>/x", "/c/<project>/y/x", False),
    ],
)
def test_two_forms_meet_where_one_text_fits_both(one: str, other: str, meet: bool) -> None:
    assert Frame.of(one).meets(Frame.of(other)) is meet
    assert Frame.of(other).meets(Frame.of(one)) is meet


pieces = st.text(alphabet="a-/", max_size=3)


@given(pieces, pieces, pieces, pieces)
def test_forms_meet_exactly_where_a_text_can_be_found(before: str, after: str, before2: str, after2: str) -> None:
    one, other = Frame(before, after), Frame(before2, after2)
    longest = max(before, before2, key=len) + "a" + max(after, after2, key=len)
    found = one.inside(longest) is not None and other.inside(longest) is not None
    assert one.meets(other) is found


@given(pieces, pieces, st.text(min_size=1))
def test_a_frame_finds_again_what_it_was_put_around(before: str, after: str, word: str) -> None:
    frame = Frame(before, after)
    assert frame.inside(frame.around(word)) == (None if "/" in word else word)


@given(st.lists(st.text(alphabet="ab/-A.*", max_size=8).map(lambda word: f"/courses/{word}/staff"), max_size=5))
def test_whatever_the_groups_are_called_nobody_gets_into_a_project_of_another_name(groups: list[str]) -> None:
    policy, warnings = with_group_projects(Policy(), [pattern()], groups)
    for name, project in policy.projects.items():
        assert f"/courses/{name}/staff" in groups
        for group in groups:
            belongs = project.role(Person("ada", frozenset({group}))) is Role.INSTRUCTOR
            assert belongs is (group == f"/courses/{name}/staff")
    assert {each.group for each in warnings} <= set(groups)


def test_ten_thousand_groups_take_no_time_that_anybody_notices() -> None:
    groups = [f"/courses/c{number}/students" for number in range(10_000)]
    projects = {f"p{number}": Project(f"p{number}") for number in range(1_000)}
    began = time.perf_counter()
    policy, _ = with_group_projects(Policy(projects=projects), [pattern()], groups)
    assert time.perf_counter() - began < 2
    assert len(policy.projects) == 11_000
