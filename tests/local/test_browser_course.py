"""A course as its students live it: sign in, choose, start, work in JupyterLab, stop, meet a quota, share a project."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from aihub.catalog import ImageTag
from aihub.config import load
from tests.local.browsing import (
    SLOW,
    arrive,
    browsing,
    choose,
    new_notebook,
    notebook,
    open_notebook,
    press_start,
    run_cell,
    sign_in,
    start,
    stop_servers,
)
from tests.local.people import Someone
from tests.local.rig import ROOT, Rig

WHERE = "import sys; print(sys.prefix)"
VERSION = "import importlib.metadata as m; print(m.version({name!r}))"


@pytest.fixture
def student(browser: Browser, hub: Rig) -> Iterator[Page]:
    """The student's browser on the shared hub, signed in; their servers are stopped afterwards."""
    with browsing(browser, hub) as page:
        sign_in(page, "student")
        yield page
    stop_servers(hub, "student")


def tag_of(reference: str) -> ImageTag:
    """A tag as the demo's files describe it."""
    stream, tag = reference.split(":")
    streams = load([ROOT / "config" / "demo"]).policy.catalog.streams
    return next(each for each in streams[stream].tags if each.name == tag)


def libraries(tag: ImageTag) -> dict[str, str]:
    """The exact versions that a tag's requirement list asks for."""
    return dict(requirement.split("==") for requirement in tag.requirements or ())


def server(page: Page, title: str = "Default server") -> Locator:
    """The entry of a server on the home page."""
    return page.locator(".ah-server", has=page.get_by_role("heading", name=title, exact=True))


def test_a_student_s_day(student: Page, hub: Rig) -> None:
    page, image, other = student, tag_of("machine-learning:2026.2"), tag_of("mathematics:2026")
    page.goto("/hub/spawn")
    for project in ("Machine Learning 101", "Data Lab"):
        expect(page.locator("#projects").get_by_role("link", name=project)).to_be_visible()

    # The course's defaults, by one click.
    page.locator("#projects").get_by_role("link", name="Machine Learning 101").click()
    card = page.locator(".ah-choice[data-stream='machine-learning']")
    expect(card.locator("input[type=radio]")).to_be_checked()
    assert card.locator(".ah-soft li").all_inner_texts() == [f"{each.name} {each.version}" for each in image.software]
    press_start(page)
    page.wait_for_url("**/hub/spawn-pending/student")
    assert page.locator(".ah-stage-name").all_inner_texts() == [
        "Reserve a place",
        "Prepare your folders",
        "Prepare the image",
        "Start the server",
        "Wait for JupyterLab",
    ]
    arrive(page)

    # The starter notebook, found by clicks, in the environment of the tag and no other.
    panel = open_notebook(page, "project/week-1-perceptron.ipynb")
    printed = run_cell(page, panel)
    prefix = re.findall("environment: (.+)", printed)[0]
    assert Path(prefix).is_relative_to(hub.state_dir)
    ((library, version),) = libraries(image).items()
    assert f"{library} {version}" in printed.replace("NumPy", "numpy")
    ((absent, other_version),) = libraries(other).items()
    panel = new_notebook(page)
    assert version in run_cell(page, panel, 0, VERSION.format(name=library))
    assert "ModuleNotFoundError" in run_cell(page, panel, 1, f"import {absent}")

    # Stop at home; then the other image.
    page.goto("/hub/home")
    expect(server(page)).to_contain_text("Running")
    expect(server(page)).to_contain_text("Machine Learning 2026.2")
    server(page).get_by_role("button", name="Stop").click()
    expect(server(page)).to_contain_text("Stopped", timeout=SLOW)
    start(page, "ml101", image="mathematics:2026")
    page.goto("/user/student/lab?reset")  # else JupyterLab opens the notebooks of the last time again
    panel = new_notebook(page)
    assert Path(run_cell(page, panel, 0, WHERE).strip()) != Path(prefix)
    assert other_version in run_cell(page, panel, 1, VERSION.format(name=absent))
    assert "ModuleNotFoundError" in run_cell(page, panel, 2, f"import {library}")


def test_a_quota_hit_by_hand_says_numbers_limit_and_contact(student: Page, hub: Rig) -> None:
    page, someone = student, Someone.of(hub, "student")
    for name in ("first", "second"):
        someone.start({"project": "ml101", "image": "mathematics:2026", "profile": "small"}, name)
    page.goto("/hub/aihub/launch/ml101?path=project/week-1-perceptron.ipynb")
    expect(page.locator("input[value=small]")).to_be_visible()
    choose(page, image="machine-learning:2026.1", profile="medium", server="third")
    press_start(page)

    errors = page.locator("#errors")
    expect(errors).to_be_focused()
    expect(page).to_have_title(re.compile("^Error: "))
    expect(errors).to_contain_text("quota-member")
    expect(errors).to_contain_text("Machine Learning 101")
    expect(errors).to_contain_text(re.compile(r"2 servers"))
    expect(errors.get_by_role("link", name="ml101-help@example.org")).to_have_attribute(
        "href", "mailto:ml101-help@example.org"
    )
    # Every choice is still there, and the reason stands at its field too.
    card = page.locator(".ah-choice[data-stream='machine-learning']")
    expect(card.locator("input[type=radio]")).to_be_checked()
    expect(card.locator("select")).to_have_value("2026.1")
    expect(page.locator("input[name=profile][value=medium]")).to_be_checked()
    expect(page.locator("#server-name")).to_have_value("third")
    expect(page.locator("input[name=path]")).to_have_value("project/week-1-perceptron.ipynb")
    assert set(someone.servers()) >= {"first", "second"}
    assert "third" not in someone.servers()


def test_two_students_in_one_project(browser: Browser, campus: Rig) -> None:
    try:
        with browsing(browser, campus) as one, browsing(browser, campus) as two:
            sign_in(one, "student")
            sign_in(two, "guest")
            start(one, "datalab")
            start(two, "datalab", image="mathematics:2026", profile="small")

            # The lab's notebook reads the dataset's folder.
            panel = open_notebook(one, "project/footpaths.ipynb")
            assert "NetworkX 3.5" in run_cell(one, panel)
            assert re.search(r"Graph with \d+ nodes and \d+ edges", run_cell(one, panel, 1))

            # What one finds the other reads; their homes are their own.
            home = "from pathlib import Path; home = Path.home(); "
            write = "(home / 'mine.txt').write_text('x'); (home / 'project/found.txt').write_text('42')"
            assert run_cell(one, new_notebook(one), 0, home + write) == "2"
            read = "print((home / 'project/found.txt').read_text(), (home / 'mine.txt').exists())"
            assert run_cell(two, new_notebook(two), 0, home + read).strip() == "42 False"
            two.goto("/hub/aihub/launch/datalab")
            expect(two.locator(".ah-meter", has_text="Servers").first).to_contain_text("2 of 4")
    finally:
        stop_servers(campus, "student", "guest")


def test_a_notebook_that_a_link_names_opens_after_the_start(browser: Browser, hub: Rig) -> None:
    file = "project/week-1-perceptron.ipynb"
    try:
        with browsing(browser, hub) as page:
            sign_in(page, "instructor", f"/hub/aihub/launch/ml101?image=machine-learning:2026.2%26path={file}")
            expect(page.get_by_text(f"JupyterLab will open {file}.")).to_be_visible()
            press_start(page)
            arrive(page, f"**/user/instructor/lab/tree/{file}*")
            expect(notebook(page, "week-1-perceptron.ipynb")).to_be_visible()
    finally:
        stop_servers(hub, "instructor")
