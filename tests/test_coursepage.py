from __future__ import annotations

from dataclasses import replace
from datetime import UTC, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aihub.catalog import TagState
from aihub.coursepage import (
    Action,
    Asked,
    ChangeFacts,
    CourseFacts,
    ProjectPage,
    Rejection,
    RunningFacts,
    parse_action,
    project_page,
)
from aihub.facts import Facts
from aihub.language import Language
from aihub.policy import Policy, choices_for
from aihub.projects import Decisions, ImageDecision, Person
from tests.page_samples import NOW, facts, policy

ENGLISH = Language(zone=UTC)
PROF = Person("prof", frozenset({"/staff"}))
NONE = Decisions()


def page(decisions: Decisions = NONE, loaded: Policy | None = None, person: Person = PROF, **more: Any) -> ProjectPage:
    loaded = loaded or policy()
    offered = choices_for(loaded, person, Facts(NOW, facts().usage, decisions={"ml101": decisions}))
    course = CourseFacts(NOW, "prof", "https://hub/launch/ml101", "https://hub/badge.svg", **more)
    return project_page(loaded, offered[0], decisions, course, ENGLISH)


def rows(found: ProjectPage) -> dict[str, tuple[str, str, list[str]]]:
    return {
        row.image: (row.pill.word, row.remark, [button.text for button in row.buttons])
        for stream in found.streams
        for row in stream.rows
    }


def hidden(*images: str) -> Decisions:
    return Decisions({image: ImageDecision(TagState.HIDDEN) for image in images})


def test_undecided_images_are_offered_and_the_admins_retired_one_is_not_to_be_changed() -> None:
    assert rows(page()) == {
        "pytorch:2.9": ("Default", "", ["Hide", "Retire…"]),
        "pytorch:2.8": ("Retired", "next is PyTorch 2.9", []),
        "pytorch:2.7": ("Offered", "", ["Set default…", "Hide", "Retire…"]),
        "scipy:2026": ("Offered", "", ["Set default…", "Hide", "Retire…"]),
        "rocm:6": ("Offered", "", ["Set default…", "Hide", "Retire…"]),
    }


def test_decisions_show_and_can_be_taken_back() -> None:
    decisions = Decisions(
        {
            "scipy:2026": ImageDecision(TagState.HIDDEN),
            "pytorch:2.7": ImageDecision(TagState.RETIRED, "2.9"),
        },
        "rocm:6",
    )
    found = rows(page(decisions))
    assert found["scipy:2026"] == ("Hidden", "", ["Offer", "Retire…"])
    assert found["pytorch:2.7"] == ("Retired", "next is PyTorch 2.9", ["Offer again"])
    assert found["rocm:6"][0] == "Default"
    assert found["pytorch:2.9"][0] == "Offered"


def test_the_buttons_of_the_default_are_held() -> None:
    found = {button.value: button.held for stream in page().streams for row in stream.rows for button in row.buttons}
    assert found["hide pytorch:2.9"]
    assert found["retire pytorch:2.9"]
    assert not found["hide rocm:6"]


def test_an_image_that_cannot_start_says_so() -> None:
    loaded = policy()
    for waiting, remark in ((True, "is being looked up"), (False, "cannot be started here")):
        now = Facts(NOW, facts().usage, unresolved={"rocm:6": waiting})
        course = CourseFacts(NOW, "prof", "", "")
        found = project_page(loaded, choices_for(loaded, PROF, now)[0], Decisions(), course, ENGLISH)
        assert rows(found)["rocm:6"][1] == remark


def test_what_the_admin_withdrew_is_gone_and_named() -> None:
    loaded = policy()
    course = loaded.projects["ml101"]
    less = replace(course, images=replace(course.images, ids=("pytorch",)))
    found = page(
        Decisions({"scipy:2026": ImageDecision(TagState.HIDDEN)}, "rocm:6"), replace(loaded, projects={"ml101": less})
    )
    assert "scipy:2026" not in rows(found)
    assert found.withdrawn.endswith("ROCm 6, Data Science 2026")
    assert page().withdrawn == ""


def test_running_servers_are_counted_by_image() -> None:
    running = (
        RunningFacts(
            "a", "", "pytorch:2.9", "small", NOW - timedelta(hours=2), NOW - timedelta(minutes=101, seconds=7)
        ),
        RunningFacts("b", "lab", "gone:1", "gone", None, NOW - timedelta(seconds=10), NOW + timedelta(hours=1)),
    )
    found = page(running=running)
    assert [row.running for stream in found.streams for row in stream.rows if row.image == "pytorch:2.9"] == ["1"]
    assert [(row.server_name, row.image, row.profile, row.since, row.idle, row.stops) for row in found.running] == [
        ("default", "PyTorch 2.9", "Small", "10:04", "1 h 41 min", ""),
        ("lab", "gone:1", "gone", "", "In use", "stops at 13:04"),
    ]


@pytest.mark.parametrize("action", Action)
def test_a_button_is_read_back(action: Action) -> None:
    assert parse_action(f"{action} pytorch:2.9") == Asked(action, "pytorch:2.9")


@pytest.mark.parametrize("text", ["", "hide", "hide ", "HIDE a:1", "delete a:1", " hide a:1"])
def test_anything_else_is_no_action(text: str) -> None:
    assert parse_action(text) is None


@given(st.text())
def test_any_text_is_an_action_or_none(text: str) -> None:
    assert parse_action(text) is None or text.partition(" ")[0] in list(Action)


def test_setting_the_default_is_confirmed_with_what_changes_and_what_stays() -> None:
    running = (RunningFacts("a", "", "pytorch:2.9", "small"),) * 13
    confirm = page(confirm=Asked(Action.DEFAULT, "scipy:2026"), running=running).confirm
    assert confirm is not None
    assert (confirm.value, confirm.title) == ("default scipy:2026", "Make Data Science 2026 the default?")
    assert "PyTorch 2.9 stays on the list." in confirm.sees
    assert "13 running servers keep PyTorch 2.9 until they stop." in confirm.stays


def test_retiring_offers_successors_that_are_offered() -> None:
    confirm = page(hidden("rocm:6"), confirm=Asked(Action.RETIRE, "pytorch:2.7", message="Bye")).confirm
    assert confirm is not None
    assert confirm.successors == (("pytorch:2.9", "PyTorch 2.9"), ("scipy:2026", "Data Science 2026"))
    assert (confirm.successor, confirm.message, confirm.retire) == ("pytorch:2.9", "Bye", True)


@pytest.mark.parametrize("rejected", Rejection)
def test_every_rejection_has_its_own_words(rejected: Rejection) -> None:
    others = {page(rejected=each).problem for each in Rejection if each is not rejected}
    assert page(rejected=rejected).problem not in {"", *others}


def test_a_conflict_names_who_was_faster() -> None:
    change = ChangeFacts("1", NOW - timedelta(minutes=4), "other", Action.HIDE, "rocm:6")
    found = page(rejected=Rejection.CHANGED, changes=(change,))
    assert found.problem == "other changed the images at 12:00, after you had opened this page."


CHANGES = {
    "offer": (ChangeFacts("1", NOW, "prof", Action.OFFER, "rocm:6"), "ROCm 6 offered", "by you"),
    "hide": (ChangeFacts("1", NOW, "x", Action.HIDE, "rocm:6"), "ROCm 6 hidden", "by x"),
    "default": (
        ChangeFacts("1", NOW, "x", Action.DEFAULT, "rocm:6", before="pytorch:2.9"),
        "ROCm 6 made the default, before PyTorch 2.9",
        "by x",
    ),
    "first default": (ChangeFacts("1", NOW, "x", Action.DEFAULT, "rocm:6"), "ROCm 6 made the default", "by x"),
    "retire": (
        ChangeFacts("1", NOW, "x", Action.RETIRE, "pytorch:2.7", successor="pytorch:2.9"),
        "PyTorch 2.7 retired, next is PyTorch 2.9",
        "by x",
    ),
    "retire for good": (ChangeFacts("1", NOW, "x", Action.RETIRE, "rocm:6"), "ROCm 6 retired", "by x"),
    "undo": (ChangeFacts("1", NOW, "x", Action.HIDE, "rocm:6", undoes=True), "Undone: ROCm 6 hidden", "by x"),
    "unknown image": (ChangeFacts("1", NOW, "x", Action.HIDE, "gone:1"), "gone:1 hidden", "by x"),
}


@pytest.mark.parametrize(("change", "text", "by"), CHANGES.values(), ids=CHANGES.keys())
def test_the_history_says_what_who_and_when(change: ChangeFacts, text: str, by: str) -> None:
    (row,) = page(changes=(change,)).history
    assert (row.text, row.by, row.at, row.may_undo) == (text, by, "12:04", True)


def test_an_archived_project_shows_no_buttons() -> None:
    loaded = policy()
    archived = replace(loaded, projects={"ml101": replace(loaded.projects["ml101"], archived=True)})
    found = page(loaded=archived, changes=(ChangeFacts("1", NOW, "x", Action.HIDE, "rocm:6"),))
    assert not found.may_change
    assert all(buttons == [] for _, _, buttons in rows(found).values())
    assert not found.history[0].may_undo
    assert found.lead.startswith("Archived")


def test_the_head_says_what_the_reader_is() -> None:
    assert page().lead == "Course. You are an instructor."
    assert page(person=Person("root", admin=True)).lead == "You see it as an admin."


def test_limits_of_members_and_the_launch_link_are_shown() -> None:
    found = page()
    assert found.each_member == "Each member: 2 servers, 1 nvidia.com/gpu. These limits are set by the admins."
    assert found.badge == "[![Start in AIHub](https://hub/badge.svg)](https://hub/launch/ml101)"
    assert [meter.text for meter in found.meters] == ["18 of 40", "60 GiB of 64 GiB"]
