"""axe, room and targets on every page of ours: two languages, light and dark, a phone and a desktop.

Each page is loaded once for each language; theme and width change under it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from aihub.i18n import COOKIE
from tests.local.browsing import (
    axe_script,
    browsing,
    choose,
    cookies,
    faults,
    overflow,
    press_start,
    sign_in,
    small_targets,
    still,
    stop_servers,
)
from tests.local.people import Someone, until
from tests.local.rig import Rig

LANGUAGES = ["en", "zh_TW"]
LOOKS = [(width, theme) for width in (360, 1280) for theme in ("light", "dark")]


@pytest.fixture(scope="module")
def busy(campus: Rig) -> Iterator[Rig]:
    """The campus with something on every page: one server runs, one is on its way, one could not be built."""
    student, novice = Someone.of(campus, "student"), Someone.of(campus, "novice")
    student.start({"project": "ml101", "image": "mathematics:2026", "profile": "small"})
    novice.ask({"project": "workshop"})
    novice.ask({"project": "workshop", "image": "broken:1"}, "broken")
    until(lambda: not novice.running("broken"), "the build fails")
    yield campus
    stop_servers(campus, "student", "novice")


@contextmanager
def reading(browser: Browser, rig: Rig, persona: str, code: str) -> Iterator[Page]:
    """A page with axe in it, signed in as `persona` (nobody for "") in a language."""
    # axe measures with styles of its own, which our content policy would refuse.
    with browsing(browser, rig, bypass_csp=True, reduced_motion="reduce") as page:
        page.context.add_init_script(axe_script())
        cookies(page.context, rig, **{COOKIE: code})
        if persona:
            sign_in(page, persona)
        yield page


def check(page: Page, name: str) -> list[str]:
    """Everything that is wrong on the page that is open, in every look."""
    found = []
    for width, theme in LOOKS:
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
        expect(page.locator("html")).to_have_attribute("data-bs-theme", theme)
        wrong = [*faults(page), *overflow(page), *(small_targets(page) if theme == "light" else ())]
        found += [f"{name}, {width}, {theme}: {each}" for each in wrong]
    return found


PAGES: dict[str, dict[str, str]] = {
    "": {
        "sign-in": "/hub/login",
        "signed-out": "/hub/logout",
        "help": "/hub/aihub/help",
        "accessibility": "/hub/aihub/accessibility",
    },
    "outsider": {"home-empty": "/hub/home", "spawn-no-project": "/hub/spawn", "not-found": "/hub/nowhere"},
    "student": {
        "home": "/hub/home",
        "spawn": "/hub/aihub/launch/ml101",
        "launch": "/hub/aihub/launch/ml101?image=mathematics:2025&profile=gpu&path=project/week-1-perceptron.ipynb",
        "not-running": "/hub/spawn-pending/student/nothing",
        "forbidden": "/hub/aihub/projects/ml101",
    },
    "novice": {"failed": "/hub/spawn-pending/novice/broken"},
    "instructor": {"projects": "/hub/aihub/projects", "project": "/hub/aihub/projects/ml101"},
}


@pytest.mark.parametrize("code", LANGUAGES)
@pytest.mark.parametrize("persona", PAGES)
def test_pages_can_be_used_by_everybody(browser: Browser, busy: Rig, persona: str, code: str) -> None:
    found = []
    with reading(browser, busy, persona, code) as page:
        for name, address in PAGES[persona].items():
            page.goto(address)
            found += check(page, name)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("code", LANGUAGES)
def test_what_comes_up_in_between_can_be_used_by_everybody(browser: Browser, busy: Rig, code: str) -> None:
    with reading(browser, busy, "novice", code) as page:
        page.goto("/hub/aihub/launch/ml101")
        choose(page, profile="gpu", server="UPPER case")
        press_start(page)
        expect(page.locator("#errors")).to_be_visible()
        found = check(page, "spawn-refused")
        still(page, "/hub/spawn-pending/novice")
        found += check(page, "progress")
    with reading(browser, busy, "instructor", code) as page:
        page.goto("/hub/aihub/projects/ml101")
        page.locator("button[value='retire machine-learning:2026.1']").click()
        expect(page.locator("#confirm")).to_be_visible()
        found += check(page, "retire")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("code", LANGUAGES)
def test_the_findings_of_a_broken_policy_can_be_read_by_admins(browser: Browser, busy: Rig, code: str) -> None:
    policy = busy.policy[1]
    good = policy.read_text()
    with reading(browser, busy, "admin", code) as page:
        try:
            _break(policy, good)

            def shown() -> bool:
                page.goto("/hub/home")
                return page.locator(".ah-banner.ah-tone-bad").count() == 1

            until(shown, "the banner of the findings")
            found = check(page, "banner")
        finally:
            policy.write_text(good)
        until(lambda: not shown(), "the good policy is in force again")
    assert not found, "\n".join(found)


def _break(policy: Path, good: str) -> None:
    broken = re.sub("default: small", "default: smol\n    idel: {stopAfter: 2h}", good)
    assert broken != good
    policy.write_text(broken)


def test_the_checks_find_what_they_look_for(browser: Browser, campus: Rig) -> None:
    with reading(browser, campus, "", "en") as page:
        page.goto("/hub/login")
        page.evaluate(
            """() => {
                const main = document.querySelector("main");
                const button = document.createElement("button");
                const wide = document.createElement("div");
                button.style.cssText = "width: 10px; height: 10px; padding: 0";
                wide.style.cssText = "width: 3000px; height: 1px";
                main.append(button, wide);
            }"""
        )
        found = check(page, "sign-in")
    for fault in ("button-name (critical)", "<div style=", "10x10 <button"):
        assert any(fault in each for each in found), fault
