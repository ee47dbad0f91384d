from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aihub.errors import Reason, Refusal
from aihub.facts import Facts
from aihub.form import (
    Contact,
    Note,
    NoteKind,
    Refused,
    Remembered,
    Selection,
    Submitted,
    availability,
    contact,
    error_box,
    idle_sentence,
    meter_groups,
    options_from_fields,
    preselect,
    size_of,
    spawn_page,
)
from aihub.language import Language
from aihub.messages import Names
from aihub.options import Options, parse_options
from aihub.policy import ProjectChoices, choices_for
from aihub.profiles import Accelerator, Profile
from aihub.projects import IdleRules, Membership, Person
from aihub.quota import Level, Quotas
from aihub.resources import Resources
from tests.page_samples import GPU, NOW, choices, facts, policy, situation

ENGLISH = Language(zone=UTC)
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


# --- the page --------------------------------------------------------------------------------------------------------


def page_of(selected: Selection, offered: tuple[ProjectChoices, ...] | None = None, **more: Any) -> Any:
    offered = choices() if offered is None else offered
    return spawn_page(offered, selected, ENGLISH, action="/hub/spawn", situation=situation(), **more)


def card(cards: Any, name: str) -> Any:
    return next(each for each in cards if name in (getattr(each, "stream", ""), getattr(each, "value", "")))


def test_an_image_card_has_its_tags_without_the_retired() -> None:
    pytorch = card(page_of(Selection("ml101", "pytorch:2.7", "small")).images, "pytorch")
    assert [(tag.name, tag.label, tag.chosen) for tag in pytorch.tags] == [
        ("2.9", "2.9 (default)", False),
        ("2.7", "2.7 (old)", True),
    ]
    assert pytorch.software == ("Python 3.11", "PyTorch 2.7")
    assert (pytorch.chosen, pytorch.default, pytorch.unavailable) == (True, True, False)


def test_a_retired_tag_that_was_submitted_stays_and_says_so() -> None:
    pytorch = card(page_of(Selection("ml101", "pytorch:2.8", "small")).images, "pytorch")
    assert [tag.label for tag in pytorch.tags if tag.chosen] == ["2.8 (retired)"]
    assert pytorch.pill.word == "Not available"
    assert pytorch.why == "Retired images are not started any more."


def test_readiness_is_said_and_unknown_is_not_guessed() -> None:
    images = page_of(Selection("ml101", "pytorch:2.9", "small")).images
    assert card(images, "pytorch").ready == "Prepared here, ready in about 20 s"
    assert card(images, "scipy").ready == "Prepared at the first start, about 3 min"
    assert card(images, "rocm").ready == ""


@pytest.mark.parametrize(
    ("profile", "word", "why"),
    [
        ("small", "Free now", ""),
        ("medium", "Wait", "Limit of Machine Learning 101: 64 GiB memory, in use 60 GiB, this start asks for 8 GiB."),
        ("huge", "Not available", "Never fits: it needs 64 CPU, this machine has 16 CPU."),
    ],
)
def test_a_profile_card_tells_the_truth_before_the_click(profile: str, word: str, why: str) -> None:
    found = card(page_of(Selection("ml101", "pytorch:2.9", "small")).profiles, profile)
    assert (found.pill.word, found.why) == (word, why)
    assert (found.contact is not None) == (word == "Not available")


def test_a_profile_that_does_not_suit_the_chosen_image_says_so() -> None:
    found = card(page_of(Selection("ml101", "rocm:6", "small")).profiles, "gpu")
    assert found.unavailable
    assert found.why == "The image is made for amd.com/gpu, not for nvidia.com/gpu."


def test_no_capacity_carries_the_age_of_the_numbers() -> None:
    loaded, now = policy(), facts()
    assert now.machines is not None
    full = replace(now.machines[0], free=Resources({"cpu": 2, "memory": 2**40}))
    offered = choices_for(loaded, STUDENT, replace(now, machines=(full,), usage=None))
    assert offered[0].profile("medium")
    relaxed = replace(loaded.projects["ml101"], quota={})
    offered = choices_for(replace(loaded, projects={"ml101": relaxed}), STUDENT, replace(now, machines=(full,)))
    found = card(page_of(Selection("ml101", "pytorch:2.9", "small"), offered).profiles, "medium")
    assert found.why == "It needs 4 CPU; 2 of 16 are free. As of 12:04."


def test_the_summary_is_of_the_whole_selection() -> None:
    page = page_of(Selection("ml101", "pytorch:2.9", "gpu", 2))
    assert (page.image_summary, page.profile_summary) == ("PyTorch 2.9", "Gpu")
    assert page.size_summary == "4 CPU, 16 GiB memory, 2 nvidia.com/gpu"
    assert page.pill.word == "Not available"
    assert page_of(Selection("ml101", "pytorch:2.9", "small")).pill.word == "Ready in about 20 s"
    assert page_of(Selection("ml101", "rocm:6", "small")).pill.word == "Free now"


def test_counts_are_those_that_some_profile_opens() -> None:
    page = page_of(Selection("ml101", "pytorch:2.9", "gpu", 2))
    assert [(count.value, count.chosen) for count in page.counts] == [("", False), ("1", False), ("2", True)]
    assert page_of(Selection("datalab", "scipy:2026", "small")).counts == ()


def test_a_refusal_leads_to_the_field_and_opens_what_hides_it() -> None:
    name = Refusal(Reason.INVALID_OPTIONS, {"field": "server-name", "problem": "start", "value": "1a"})
    quota = Refusal(Reason.QUOTA_MEMBER, {"project": "ml101", "key": GPU, "limit": "1", "used": "1", "requested": "1"})
    page = page_of(Selection("ml101", "pytorch:2.9", "gpu", server_name="1a"), refused=Refused((quota, name), "id1"))
    assert [(problem.code, problem.target) for problem in page.errors.problems] == [
        ("quota-member", "profile-gpu"),
        ("invalid-options", "server-name"),
    ]
    assert page.errors.contact == Contact("ml101-help@example.org", "mailto:ml101-help@example.org")
    assert page.errors.error_id == "id1"
    assert page.advanced_open
    assert page.server_name_error
    assert card(page.profiles, "gpu").error
    assert not card(page.profiles, "small").error


def test_a_project_that_starts_nothing_says_so_before_the_click() -> None:
    loaded = policy()
    archived = replace(loaded.projects["ml101"], archived=True)
    offered = choices_for(replace(loaded, projects={"ml101": archived}), STUDENT, facts())
    page = page_of(Selection("ml101", "pytorch:2.9", "small"), offered)
    assert [problem.code for problem in page.errors.problems] == ["project-archived"]
    assert page.data["verdict"]["state"] == "no"
    assert page.pill.word == "Not available"


EMPTY: dict[str, tuple[Any, str]] = {
    "no-project": (lambda loaded: replace(loaded, projects={}), "You are in no project yet"),
    "no-image": (
        lambda loaded: replace(loaded, catalog=type(loaded.catalog)()),
        "Machine Learning 101 offers no image",
    ),
    "no-profile": (lambda loaded: replace(loaded, profiles={}), "Machine Learning 101 offers you no profile"),
}


@pytest.mark.parametrize(("kind", "change", "title"), [(kind, *rest) for kind, rest in EMPTY.items()], ids=EMPTY)
def test_nothing_to_choose_is_explained(kind: str, change: Any, title: str) -> None:
    offered = choices_for(change(policy()), STUDENT, facts())
    page = page_of(Selection("ml101"), offered)
    assert (page.empty.kind, page.empty.title) == (kind, title)


def test_ids_in_the_page_are_safe_and_distinct_for_odd_names() -> None:
    loaded = policy()
    stream = loaded.catalog.streams["scipy"]
    odd = {name: replace(stream, name=name) for name in ('a"b', "a b", "資料", "plain")}
    course = replace(loaded.projects["ml101"], images=replace(loaded.projects["ml101"].images, ids=tuple(odd)))
    offered = choices_for(
        replace(loaded, catalog=replace(loaded.catalog, streams=odd), projects={"ml101": course}), STUDENT, facts()
    )
    ids = [image.id for image in page_of(Selection("ml101"), offered).images]
    assert len(set(ids)) == 4
    assert all(
        character.isascii() and (character.isalnum() or character in "-_.") for each in ids for character in each
    )


def test_a_source_that_is_no_web_address_is_no_link() -> None:
    loaded = policy()
    stream = replace(loaded.catalog.streams["scipy"], source_url="javascript:alert(1)")
    changed = replace(loaded, catalog=replace(loaded.catalog, streams={"scipy": stream}))
    page = page_of(Selection("ml101"), choices_for(changed, STUDENT, facts()))
    assert card(page.images, "scipy").source == ""


def test_what_the_script_knows_agrees_with_the_cards() -> None:
    offered = choices()
    data = availability(offered[0], ENGLISH, situation())
    assert json.loads(json.dumps(data)) == data
    page = page_of(Selection("ml101", "pytorch:2.9", "small"))
    for found in page.profiles:
        verdict = data["profiles"][found.value]["counts"][str(data["profiles"][found.value]["default"])]
        assert (verdict["state"], verdict["word"], verdict["why"]) == (found.pill.tone, found.pill.word, found.why)
    assert data["profiles"]["gpu"]["unfit"] == {"rocm:6": "The image is made for amd.com/gpu, not for nvidia.com/gpu."}
    assert data["images"]["pytorch:2.9"]["summary"] == "Ready in about 20 s"
    assert data["asOfText"] == "as of 12:04"


# --- parts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "href"),
    [
        ("help@example.org", "mailto:help@example.org"),
        ("https://example.org/ask", "https://example.org/ask"),
        ("javascript:alert(1)", ""),
        ("https://a b", ""),
        ("room 5", ""),
        ("a@b?subject=x", ""),
    ],
)
def test_a_contact_is_a_link_only_where_it_is_an_address(text: str, href: str) -> None:
    assert contact(text) == Contact(text, href)


def test_nobody_to_ask_is_none() -> None:
    assert contact("") is None
    assert error_box((), ENGLISH, Names(), {}) is None


@pytest.mark.parametrize(
    ("idle", "sentence"),
    [
        (IdleRules(), "Runs until you stop it."),
        (IdleRules(7200), "Stops after 2 h without use. Your files stay."),
        (IdleRules(None, 43200), "Stops after 12 h. Your files stay."),
        (IdleRules(7200, 43200), "Stops after 2 h without use, after 12 h at the latest. Your files stay."),
    ],
)
def test_idle_rules_are_said(idle: IdleRules, sentence: str) -> None:
    assert idle_sentence(idle, ENGLISH) == sentence


def test_the_size_of_a_server_is_what_it_may_use() -> None:
    profile = Profile(
        "x",
        requests=Resources({"cpu": Decimal("0.5"), "memory": 2**30}),
        limits=Resources({"cpu": 2, "memory": 2**31}),
        accelerator=Accelerator(GPU),
    )
    assert size_of(profile, 1, ENGLISH) == "2 CPU, 2 GiB memory, 1 nvidia.com/gpu"


def test_meters_have_a_bar_only_where_there_is_something_to_measure() -> None:
    offered = choices()[0]
    groups = {group.title: {meter.label: meter for meter in group.meters} for group in meter_groups([offered], ENGLISH)}
    servers = groups["Machine Learning 101"]["Servers"]
    assert (servers.text, servers.value, servers.maximum, servers.full_from) == ("18 of 40", "18", "40", "36")
    assert groups["Yours in all projects"]["Servers"].text == "1 of 3"
    unknown = meter_groups([replace(offered, usage=None)], ENGLISH)[0].meters[0]
    assert (unknown.text, unknown.maximum) == ("not known, limit 40", "")
    nothing = replace(offered, quotas=Quotas(project={GPU: Decimal(0)}))
    assert meter_groups([nothing], ENGLISH)[0].meters[0].maximum == ""


def test_a_level_without_a_quota_is_left_out_and_the_users_own_stands_once() -> None:
    groups = meter_groups(choices(), ENGLISH)
    assert [group.title for group in groups] == [
        "Machine Learning 101",
        "Yours in Machine Learning 101",
        "Yours in all projects",
    ]
    assert [group.id for group in meter_groups(choices(), ENGLISH, levels=(Level.USER,), prefix="x")] == ["x-user"]


def test_use_above_a_lowered_quota_fills_the_bar() -> None:
    offered = replace(choices()[0], quotas=Quotas(project={"servers": Decimal(10)}))
    meter = meter_groups([offered], ENGLISH)[0].meters[0]
    assert (meter.text, meter.value, meter.maximum) == ("18 of 10", "10", "10")


def test_an_admin_who_is_no_member_sees_and_cannot_start() -> None:
    closed = replace(policy().projects["ml101"], members=Membership())
    admin = Person("root", admin=True)
    offered = choices_for(replace(policy(), projects={"ml101": closed}), admin, Facts(NOW + timedelta(0)))
    page = page_of(Selection("ml101"), offered)
    assert page.projects[0].about == "Course, seen as an admin"
    assert [problem.code for problem in page.errors.problems] == ["not-member"]
