"""An instructor picks images and ends servers; students see it on their next page, and what is hidden never starts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress

import pytest
from bs4 import BeautifulSoup
from playwright.sync_api import Browser, Locator, Page, expect

from tests.local.browsing import browsing, choose, press_start, sign_in, stop_servers
from tests.local.people import Someone
from tests.local.rig import Rig

COURSE = "/hub/aihub/projects/ml101"
MATHEMATICS = {"project": "ml101", "image": "mathematics:2026", "profile": "small"}


@pytest.fixture
def instructor(browser: Browser, campus: Rig) -> Iterator[Page]:
    """The instructor's browser on the page of the course."""
    with browsing(browser, campus) as page:
        sign_in(page, "instructor", COURSE)
        yield page
        undo_everything(page)


@pytest.fixture
def novice(browser: Browser, campus: Rig) -> Iterator[Page]:
    """A student's browser; this student has started nothing yet."""
    with browsing(browser, campus) as page:
        sign_in(page, "novice")
        yield page


def row(page: Page, image: str) -> Locator:
    """The row of "stream:tag" on the course's page."""
    return page.locator("#images tr", has=page.locator(f"button[value$=' {image}']"))


def press(page: Page, action: str, image: str) -> None:
    page.locator(f"button[name=do][value='{action} {image}']").first.click()


def undo_everything(page: Page) -> None:
    """Offer what is hidden or retired, and make the course's own default the default again."""
    page.goto(COURSE)
    while (offer := page.locator("#images button[value^='offer ']")).count():
        offer.first.click()
    if (default := page.locator("button[value='default machine-learning:2026.2']")).count():
        default.click()
        page.locator("#confirm button[type=submit]").click()


def cards(page: Page) -> list[str]:
    """The names of the images on the student's start page."""
    page.goto("/hub/aihub/launch/ml101")
    return page.locator(".ah-choice[data-stream] .ah-choice-name").all_inner_texts()


def forged(student: Someone, options: dict[str, str]) -> tuple[int, str | None]:
    """Status and reason of a start that a form asks for which the page does not offer."""
    page = BeautifulSoup(student.pages.get("/hub/spawn").text, "html.parser")
    token = page.select_one("#start input[name=_xsrf]")
    assert token is not None
    stream, tag = options["image"].split(":")
    data = {**options, "_xsrf": str(token["value"]), "image": stream, f"tag-{stream}": tag}
    answer = student.pages.post("/hub/spawn", data=data)
    return answer.status_code, answer.headers.get("AIHub-Reason")


def test_what_an_instructor_hides_students_can_neither_see_nor_start(
    instructor: Page, novice: Page, browser: Browser, campus: Rig
) -> None:
    assert cards(novice) == ["Machine Learning", "Mathematics"]
    choose(novice, image=MATHEMATICS["image"], profile="small")

    press(instructor, "hide", "mathematics:2026")
    expect(instructor.get_by_role("status")).to_contain_text("Done: Mathematics 2026 hidden.")
    expect(row(instructor, "mathematics:2026")).to_contain_text("Hidden")
    press(instructor, "default", "machine-learning:2026.1")
    expect(instructor.locator("#confirm")).to_be_focused()
    instructor.locator("#confirm").get_by_role("button", name="Set default").click()
    expect(row(instructor, "machine-learning:2026.1")).to_contain_text("Default")

    # The page that was open before the change cannot start it, and says so.
    press_start(novice)
    expect(novice.locator("#errors")).to_contain_text("image-not-offered")
    # Nor can a form or a program.
    student = Someone.of(campus, "novice")
    assert forged(student, MATHEMATICS) == (403, "image-not-offered")
    answer = student.ask(MATHEMATICS)
    assert (answer.status_code, answer.headers["AIHub-Reason"]) == (403, "image-not-offered")
    # The next page shows what is offered now, with the new default.
    assert cards(novice) == ["Machine Learning"]
    expect(novice.locator("#tag-image-machine-learning")).to_have_value("2026.1")

    # Undo, in the history, brings both back.
    instructor.goto(COURSE)
    history = instructor.locator("#history li")
    expect(history.first).to_contain_text("made the default")
    expect(history.first).to_contain_text("by you")
    history.filter(has_text="Mathematics 2026 hidden").get_by_role("button", name="Undo").first.click()
    expect(row(instructor, "mathematics:2026")).to_contain_text("Offered")
    assert cards(novice) == ["Machine Learning", "Mathematics"]
    history.filter(has_text="made the default").get_by_role("button", name="Undo").first.click()
    expect(row(instructor, "machine-learning:2026.2")).to_contain_text("Default")


def test_a_retired_image_leads_to_its_successor_with_the_instructor_s_message(
    instructor: Page, browser: Browser, campus: Rig
) -> None:
    student = Someone.of(campus, "student")
    student.start({"project": "ml101", "image": "machine-learning:2026.1"})
    try:
        press(instructor, "retire", "machine-learning:2026.1")
        confirm = instructor.locator("#confirm")
        confirm.get_by_label("Successor").select_option(label="Machine Learning 2026.2")
        confirm.get_by_label("Message to members").fill("Please use the new one from week 3 on.")
        confirm.get_by_role("button", name="Retire").click()
        expect(row(instructor, "machine-learning:2026.1")).to_contain_text("Retired")
        assert student.running(), "a running server never changes"

        student.stop()
        with browsing(browser, campus) as page:
            sign_in(page, "student", "/hub/spawn")
            expect(page.locator(".ah-aside")).to_contain_text("Please use the new one from week 3 on.")
            expect(page.locator("#tag-image-machine-learning")).to_have_value("2026.2")
        assert forged(student, {"project": "ml101", "image": "machine-learning:2026.1"}) == (403, "image-retired")
    finally:
        stop_servers(campus, "student")


def test_two_instructors_at_once(instructor: Page, browser: Browser, campus: Rig) -> None:
    with browsing(browser, campus) as other:
        sign_in(other, "tutor", COURSE)
        press(instructor, "hide", "mathematics:2026")
        expect(row(instructor, "mathematics:2026")).to_contain_text("Hidden")
        press(other, "hide", "machine-learning:2026.1")
        expect(other.locator("#errors")).to_be_focused()
        expect(other.locator("#errors")).to_contain_text("Nothing was changed")
        expect(row(other, "mathematics:2026")).to_contain_text("Hidden")
        expect(row(other, "machine-learning:2026.1")).to_contain_text("Offered")


def test_an_instructor_sees_and_stops_the_servers_of_the_course(instructor: Page, campus: Rig) -> None:
    student, guest = Someone.of(campus, "student"), Someone.of(campus, "guest")
    student.start({**MATHEMATICS, "profile": "small"}, "homework")
    guest.start({"project": "datalab", "image": "mathematics:2026", "profile": "small"})
    try:
        instructor.goto(COURSE)
        rows = instructor.locator("#running tbody tr")
        expect(rows).to_have_count(1)
        for said in ("student", "homework", "Mathematics 2026", "Small", re.compile(r"\d\d:\d\d"), "In use"):
            expect(rows.first).to_contain_text(said)
        rows.first.get_by_role("button", name="Stop").click()
        expect(instructor.locator("#running")).to_contain_text("Nobody runs a server", timeout=60_000)
        assert not student.running("homework")
        assert guest.running(), "the server of another project goes on"
    finally:
        with suppress(KeyError):
            stop_servers(campus, "student", "guest")


def test_members_do_not_see_the_page(novice: Page) -> None:
    answer = novice.goto(COURSE)
    assert answer is not None
    assert answer.status == 403
    expect(novice.locator("main")).not_to_contain_text("Running servers")
