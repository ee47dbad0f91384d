from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, timedelta
from typing import Any

import pytest

from aihub.errors import Reason, Refusal
from aihub.facts import Facts, Pool
from aihub.form import Refused, availability, spawn_page
from aihub.language import Language
from aihub.parts import Contact
from aihub.policy import ProjectChoices, choices_for
from aihub.projects import Membership, Person
from aihub.resources import Resources
from aihub.submission import Selection
from tests.page_samples import GPU, NOW, choices, facts, policy, situation

ENGLISH = Language(zone=UTC)
STUDENT = Person("student-07", frozenset({"/ml101"}))


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


def test_an_image_without_a_living_tag_is_left_out() -> None:
    course = choices()[0]
    pytorch, *others = [
        each for each in course.images if each.reference == "pytorch:2.8" or each.stream.name == "scipy"
    ]
    offered = (replace(course, images=(pytorch, *others)),)
    assert [each.stream for each in page_of(Selection("ml101", "scipy:2026", "small"), offered).images] == ["scipy"]
    nothing = page_of(Selection("ml101", "", "small"), (replace(course, images=(pytorch,)),))
    assert (nothing.empty.kind, nothing.images) == ("no-image", ())


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


def test_a_card_says_how_many_fit_and_how_old_the_number_is() -> None:
    seen = replace(facts(), machines_as_of=NOW - timedelta(seconds=12))
    offered = choices_for(policy(), STUDENT, seen)
    page = page_of(Selection("ml101", "pytorch:2.9", "small"), offered)
    small = offered[0].profile("small")
    assert small is not None
    assert card(page.profiles, "small").room == f"{small.room[0].free} of {small.room[0].total} free · 12 s ago"
    data = availability(offered[0], ENGLISH, situation())
    assert data["profiles"]["small"]["counts"]["0"]["room"] == card(page.profiles, "small").room


def test_where_machines_are_not_known_nothing_is_called_free() -> None:
    offered = choices_for(policy(), STUDENT, replace(facts(), machines=None))
    page = page_of(Selection("ml101", "pytorch:2.9", "small"), offered)
    found = card(page.profiles, "small")
    assert (found.pill.word, found.pill.tone, found.room) == ("Can be started", "ok", "free machines unknown")
    assert page.pill.word == "Can be started"
    count = availability(offered[0], ENGLISH, situation())["profiles"]["small"]["counts"]["0"]
    assert (count["word"], count["free"], count["state"]) == ("Can be started", False, "ok")


def test_a_machine_that_has_to_be_started_is_said_with_its_time() -> None:
    loaded, now = policy(), facts()
    assert now.machines is not None
    full, empty = replace(now.machines[0], free=Resources()), now.machines[0]
    offered = choices_for(replace(loaded, pools=(Pool("p", empty, 300),)), STUDENT, replace(now, machines=(full,)))
    page = page_of(Selection("ml101", "pytorch:2.9", "small"), offered)
    found = card(page.profiles, "small")
    assert (found.pill.word, found.unavailable) == ("On a new machine", False)
    assert found.why == "A new machine is started for it; that takes up to 5 min."
    assert found.room.startswith("0 of ")
    assert page.pill.word == "On a new machine"
    count = availability(offered[0], ENGLISH, situation())["profiles"]["small"]["counts"]["0"]
    assert (count["why"], count["free"]) == (found.why, False)


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


def test_an_admin_who_is_no_member_sees_and_cannot_start() -> None:
    closed = replace(policy().projects["ml101"], members=Membership())
    admin = Person("root", admin=True)
    offered = choices_for(replace(policy(), projects={"ml101": closed}), admin, Facts(NOW))
    page = page_of(Selection("ml101"), offered)
    assert page.projects[0].about == "Course, seen as an admin"
    assert [problem.code for problem in page.errors.problems] == ["not-member"]
