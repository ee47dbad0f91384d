from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aihub.errors import Refusal
from aihub.options import Options, parse_options
from aihub.policy import choices_for
from aihub.projects import Person
from aihub.submission import Note, NoteKind, Remembered, Selection, Submitted, options_from_fields, preselect
from tests.page_samples import NOW, choices, facts, policy

STUDENT = Person("student-07", frozenset({"/ml101"}))

# --- fields ----------------------------------------------------------------------------------------------------------

FIELDS: dict[str, tuple[Mapping[str, list[str]], Mapping[str, Any]]] = {
    "nothing": ({}, {}),
    "a stream and its tag": (
        {"project": ["ml101"], "image": ["pytorch"], "tag-pytorch": ["2.9"], "tag-scipy": ["2026"]},
        {"project": "ml101", "image": "pytorch:2.9"},
    ),
    "a whole image": ({"image": ["pytorch:2.9"]}, {"image": "pytorch:2.9"}),
    "a stream without a tag": ({"image": ["pytorch"]}, {"image": "pytorch"}),
    "a tag twice": ({"image": ["p"], "tag-p": ["1", "2"]}, {"image": ["1", "2"]}),
    "an image twice": ({"image": ["p", "q"]}, {"image": ["p", "q"]}),
    "a project twice": ({"project": ["a", "b"]}, {"project": ["a", "b"]}),
    "an empty project": ({"project": [""]}, {"project": ""}),
    "a count": ({"accelerator-count": ["2"]}, {"acceleratorCount": 2}),
    "no count": ({"accelerator-count": [""]}, {}),
    "a count twice": ({"accelerator-count": ["1", "2"]}, {"acceleratorCount": ["1", "2"]}),
    "a count in words": ({"accelerator-count": ["two"]}, {"acceleratorCount": "two"}),
    "a count of other digits": ({"accelerator-count": ["２"]}, {"acceleratorCount": "２"}),
    "a huge count": ({"accelerator-count": ["9" * 5000]}, {"acceleratorCount": "9" * 5000}),
    "a negative count": ({"accelerator-count": ["-1"]}, {"acceleratorCount": "-1"}),
    "other fields": ({"_xsrf": ["t"], "evil": ["1"], "profile": ["small"]}, {"profile": "small"}),
    "an empty list": ({"project": [], "image": [], "profile": [], "accelerator-count": []}, {}),
}


@pytest.mark.parametrize(("fields", "options"), FIELDS.values(), ids=FIELDS.keys())
def test_fields_become_options(fields: Mapping[str, list[str]], options: Mapping[str, Any]) -> None:
    assert options_from_fields(fields).options == options


def test_name_and_path_are_no_options() -> None:
    submitted = options_from_fields({"server-name": [" lab "], "path": ["a.ipynb"]})
    assert (submitted.options, submitted.server_name, submitted.path) == ({}, "lab", "a.ipynb")


@given(
    st.dictionaries(
        st.one_of(
            st.sampled_from(["project", "image", "profile", "accelerator-count", "tag-a", "server-name", "path"]),
            st.text(),
        ),
        st.lists(st.one_of(st.sampled_from(["", "a", "1"]), st.text()), max_size=3),
    )
)
def test_any_form_is_read_and_judged_without_an_error(fields: dict[str, list[str]]) -> None:
    submitted = options_from_fields(fields)
    assert isinstance(parse_options(dict(submitted.options)), Options | Refusal)
    assert isinstance(submitted.selection(), Selection)


@pytest.mark.parametrize("field", ["project", "image", "profile", "accelerator-count"])
def test_a_field_given_twice_is_refused(field: str) -> None:
    assert isinstance(parse_options(dict(options_from_fields({field: ["1", "2"]}).options)), Refusal)


def test_what_was_submitted_stands_in_the_form_again() -> None:
    options = {"project": "ml101", "image": "pytorch:2.9", "profile": ["x"], "acceleratorCount": 2}
    again = Submitted(options, "Lab 1", "a.ipynb").selection()
    assert again == Selection("ml101", "pytorch:2.9", "", 2, "Lab 1", "a.ipynb")


# --- what stands in the form first -----------------------------------------------------------------------------------


def kinds(notes: tuple[Note, ...]) -> list[NoteKind]:
    return [note.kind for note in notes]


def test_without_any_wish_the_defaults_stand_there() -> None:
    selection, notes = preselect(choices())
    assert selection == Selection("ml101", "pytorch:2.9", "small")
    assert notes == ()


def test_the_last_start_wins_over_the_defaults() -> None:
    last = Remembered(Selection("ml101", "scipy:2026", "medium"), NOW)
    selection, notes = preselect(choices(), remembered=last)
    assert selection == Selection("ml101", "scipy:2026", "medium")
    assert notes == (Note(NoteKind.FROM_LAST_START, at=NOW),)


def test_a_link_wins_over_the_last_start() -> None:
    last = Remembered(Selection("ml101", "pytorch:2.7", "medium"), NOW)
    link = Selection("ml101", "scipy", "", path="lab/5.ipynb")
    selection, notes = preselect(choices(), link=link, remembered=last)
    assert selection == Selection("ml101", "scipy:2026", "small", path="lab/5.ipynb")
    assert kinds(notes) == [NoteKind.FROM_LINK]


def test_a_link_to_a_project_alone_means_its_defaults() -> None:
    selection, notes = preselect(choices(), link=Selection("datalab"))
    assert (selection.project, selection.image, notes) == ("datalab", "scipy:2026", ())


GONE = {
    "project": (Selection("other", "pytorch:2.9", "small"), [NoteKind.PROJECT_GONE]),
    "image": (Selection("ml101", "gone:1", "small"), [NoteKind.FROM_LAST_START, NoteKind.IMAGE_GONE]),
    "retired image": (Selection("ml101", "pytorch:2.8", "small"), [NoteKind.FROM_LAST_START, NoteKind.IMAGE_RETIRED]),
    "profile": (Selection("ml101", "pytorch:2.9", "gone"), [NoteKind.FROM_LAST_START, NoteKind.PROFILE_GONE]),
    "profile that never fits": (
        Selection("ml101", "pytorch:2.9", "huge"),
        [NoteKind.FROM_LAST_START, NoteKind.PROFILE_GONE],
    ),
    "profile that does not suit": (
        Selection("ml101", "rocm:6", "gpu"),
        [NoteKind.FROM_LAST_START, NoteKind.PROFILE_GONE],
    ),
    "count": (Selection("ml101", "pytorch:2.9", "gpu", 8), [NoteKind.FROM_LAST_START, NoteKind.COUNT_GONE]),
}


@pytest.mark.parametrize(("wanted", "expected"), GONE.values(), ids=GONE.keys())
def test_what_no_longer_holds_is_replaced_and_named(wanted: Selection, expected: list[NoteKind]) -> None:
    selection, notes = preselect(choices(), remembered=Remembered(wanted, NOW))
    assert kinds(notes) == expected
    offered = next(choice for choice in choices() if choice.project.name == selection.project)
    image, profile = offered.image(selection.image), offered.profile(selection.profile)
    assert image is not None
    assert image.verdict.refusal is None
    assert profile is not None
    assert selection.accelerator_count is None


def test_the_successor_of_a_retired_image_is_taken_and_named() -> None:
    selection, notes = preselect(choices(), remembered=Remembered(Selection("ml101", "pytorch:2.8", "small")))
    assert selection.image == "pytorch:2.9"
    assert (notes[-1].asked, notes[-1].chosen) == ("pytorch:2.8", "pytorch:2.9")


def test_a_count_that_the_profile_opens_is_kept() -> None:
    selection, _ = preselect(choices(), remembered=Remembered(Selection("ml101", "pytorch:2.9", "gpu", 2)))
    assert (selection.profile, selection.accelerator_count) == ("gpu", 2)


def test_a_profile_that_can_start_goes_before_a_default_that_cannot() -> None:
    loaded = policy()
    course = loaded.projects["ml101"]
    ambitious = replace(course, profiles=replace(course.profiles, default="huge"))
    offered = choices_for(replace(loaded, projects={"ml101": ambitious}), STUDENT, facts())
    selection, notes = preselect(offered)
    assert (selection.profile, notes) == ("small", ())


def test_nobody_without_a_project_gets_a_choice() -> None:
    assert preselect(()) == (Selection(), ())
    selection, notes = preselect((), link=Selection("ml101", "pytorch:2.9", "small"))
    assert (selection.image, kinds(notes)) == ("", [NoteKind.PROJECT_GONE])
