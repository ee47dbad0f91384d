"""The pictures of the documentation, taken on the real hub. `make screenshots` writes them into docs/images.

The test itself takes them into a temporary folder, and compares their names and sizes with those that are committed.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from aihub.i18n import COOKIE
from tests.local.browsing import (
    browsing,
    choose,
    cookies,
    notebook,
    press_start,
    run_cell,
    sign_in,
    still,
    stop_servers,
)
from tests.local.people import Someone, until
from tests.local.rig import ROOT, Rig
from tests.local.test_sign_in_pages import SITE, sample

IMAGES = ROOT / "docs" / "images"
LARGEST = 250_000
"""Bytes of one picture."""

Shoot = Callable[[Page, str], None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the pictures go."""
    if os.environ.get("AIHUB_SCREENSHOTS"):
        IMAGES.mkdir(exist_ok=True)
        return IMAGES
    return tmp_path_factory.mktemp("images")


@pytest.fixture
def shoot(folder: Path) -> Shoot:
    """Take the whole page as a small PNG; of JupyterLab and a phone what the window shows."""

    def take(page: Page, name: str) -> None:
        page.evaluate("document.activeElement?.blur()")
        full = name not in {"jupyterlab", "spawn-phone"}
        page.screenshot(path=folder / f"{name}.png", full_page=full, animations="disabled", scale="css")

    return take


@pytest.fixture
def desk(browser: Browser, hub: Rig) -> Iterator[Page]:
    """A light page 1280 px wide."""
    with browsing(browser, hub, viewport={"width": 1280, "height": 800}, color_scheme="light") as page:
        yield page


def test_a_student_s_pictures(desk: Page, hub: Rig, shoot: Shoot, browser: Browser) -> None:
    desk.goto("/hub/login")
    shoot(desk, "sign-in")
    someone = Someone.of(hub, "student")
    try:
        sign_in(desk, "student", "/hub/aihub/launch/ml101")
        choose(desk, image="machine-learning:2026.2", profile="small")
        shoot(desk, "spawn")
        someone.start({"project": "ml101", "image": "machine-learning:2026.2", "profile": "small"})
        someone.start({"project": "ml101", "image": "mathematics:2026", "profile": "small"}, "homework")
        desk.goto("/hub/home")
        shoot(desk, "home")
        desk.goto("/hub/aihub/launch/ml101")
        choose(desk, image="mathematics:2026", profile="medium", server="third")
        press_start(desk)
        expect(desk.locator("#errors")).to_be_visible()
        shoot(desk, "refused")
        # A workspace of its own: no tab of an earlier test.
        desk.goto("/user/student/lab/workspaces/pictures/tree/project/week-1-perceptron.ipynb")
        panel = notebook(desk, "week-1-perceptron.ipynb")
        cells = panel.locator(".jp-CodeCell")
        for number in range(cells.count()):
            run_cell(desk, panel, number)
        # JupyterLab asks everybody once, in this hub perhaps in an earlier test, whether it may fetch news.
        for answer in desk.get_by_role("button", name="No", exact=True).all():
            answer.click()
        cells.last.scroll_into_view_if_needed()
        shoot(desk, "jupyterlab")
    finally:
        stop_servers(hub, "student")


@pytest.mark.parametrize("name", ["sign-in-school", "sign-in-provider-down"])
def test_pictures_of_sign_in_at_a_provider(browser: Browser, shoot: Shoot, name: str) -> None:
    with sample(browser, name, viewport={"width": 1280, "height": 600}, color_scheme="light") as page:
        page.goto(f"{SITE}/{name}")
        shoot(page, name)


def test_the_picture_of_a_start(campus: Rig, browser: Browser, shoot: Shoot) -> None:
    novice = Someone.of(campus, "novice")
    novice.ask({"project": "workshop"})
    try:
        with browsing(browser, campus, viewport={"width": 1280, "height": 800}, color_scheme="light") as page:
            sign_in(page, "novice")
            until(lambda: novice.model().get("pending") == "spawn", "the start is on its way")
            still(page, "/hub/spawn-pending/novice")
            shoot(page, "progress")
    finally:
        stop_servers(campus, "novice")


def test_the_start_page_on_a_phone_and_in_chinese(hub: Rig, browser: Browser, shoot: Shoot) -> None:
    for name, width, code in (("spawn-phone", 360, "en"), ("spawn-zh-TW", 1280, "zh_TW")):
        with browsing(browser, hub, viewport={"width": width, "height": 800}, color_scheme="light") as page:
            cookies(page.context, hub, **{COOKIE: code})
            sign_in(page, "student", "/hub/aihub/launch/ml101")
            choose(page, image="machine-learning:2026.2", profile="small")
            shoot(page, name)


def test_an_instructor_s_pictures(desk: Page, hub: Rig, shoot: Shoot) -> None:
    someone = Someone.of(hub, "student")
    someone.start({"project": "ml101", "image": "mathematics:2026", "profile": "small"}, "homework")
    try:
        sign_in(desk, "instructor", "/hub/aihub/projects/ml101")
        desk.locator("button[value='hide machine-learning:2026.1']").click()
        desk.wait_for_url("**/hub/aihub/projects/ml101?done=*")
        shoot(desk, "project")
    finally:
        desk.goto("/hub/aihub/projects/ml101")
        desk.locator("button[value='offer machine-learning:2026.1']").first.click()
        stop_servers(hub, "student")


def test_the_pictures_are_those_of_the_documentation(folder: Path) -> None:
    taken = {path.name: path.read_bytes() for path in folder.glob("*.png")}
    assert taken.keys() == {path.name for path in IMAGES.glob("*.png")}
    for name, data in taken.items():
        assert len(data) <= LARGEST, f"{name} has {len(data)} bytes"
        (width,) = struct.unpack(">I", data[16:20])
        assert width == (360 if "phone" in name else 1280), name
