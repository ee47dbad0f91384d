"""Without scripts, and without a mouse: everything that students do by themselves."""

from __future__ import annotations

import re

from playwright.sync_api import Browser, Page, expect

from tests.local.browsing import SLOW, arrive, browsing, choose, press_start, sign_in, stop_servers
from tests.local.rig import Rig

FOCUS = """() => {
    const each = document.activeElement, style = getComputedStyle(each), box = each.getBoundingClientRect();
    const card = each.closest(".ah-choice");
    const ringed = [each, card].filter(Boolean).map((at) => getComputedStyle(at))
        .some((at) => (at.outlineStyle !== "none" && parseFloat(at.outlineWidth) >= 2) || at.boxShadow !== "none");
    return {
        ringed, inside: box.bottom > 0 && box.top < innerHeight,
        is: [each.tagName, each.id, each.name, each.value].filter(Boolean).join(" "),
    };
}"""


def test_everything_works_without_a_script(browser: Browser, campus: Rig) -> None:
    try:
        with browsing(browser, campus, java_script_enabled=False) as page:
            sign_in(page, "novice")
            # A start that takes long: its page asks again by itself, and Cancel ends it.
            page.goto("/hub/aihub/launch/workshop")
            press_start(page)
            page.wait_for_url("**/hub/spawn-pending/novice")
            passed = page.locator("#passed").inner_text()
            expect(page.locator("#passed")).not_to_have_text(passed, timeout=SLOW)
            page.get_by_role("button", name="Cancel this start").click()
            page.wait_for_url(re.compile("/hub/(home|spawn-pending)"), timeout=SLOW)
            page.goto("/hub/home")
            expect(page.locator(".ah-server").first).to_contain_text("Stopped")

            # The language, by the menu that is a details element.
            page.locator("summary", has_text="English").click()
            page.get_by_role("button", name="繁體中文").click()
            expect(page.locator("html")).to_have_attribute("lang", "zh-Hant-TW")
            page.locator("summary", has_text="繁體中文").click()
            page.get_by_role("button", name="English").click()

            # A start that is refused is answered in place, with every choice.
            page.goto("/hub/aihub/launch/ml101")
            choose(page, image="mathematics:2026", profile="gpu")
            press_start(page)
            expect(page.locator("#errors")).to_contain_text("never-fits")
            expect(page.locator("input[value=mathematics]")).to_be_checked()

            # A start that succeeds leads on, and Stop ends it.
            choose(page, image="mathematics:2026", profile="small")
            press_start(page)
            arrive(page)
            page.goto("/hub/home")
            page.get_by_role("button", name="Stop").click()
            page.wait_for_url("**/hub/home", timeout=SLOW)
            expect(page.locator(".ah-server").first).to_contain_text("Stopped")
    finally:
        stop_servers(campus, "novice")


def tab_to(page: Page, what: str, most: int = 60) -> None:
    """Press Tab until what has the focus matches `what`; every stop on the way must be seen."""
    for _ in range(most):
        page.keyboard.press("Tab")
        focus = page.evaluate(FOCUS)
        assert focus["ringed"], f"the focus cannot be seen on {focus['is']}"
        assert focus["inside"], f"the focus is out of the window on {focus['is']}"
        if re.search(what, focus["is"]):
            return
    raise AssertionError(f"no {what} within {most} stops")


def test_a_start_by_keyboard_only(browser: Browser, hub: Rig) -> None:
    try:
        with browsing(browser, hub, reduced_motion="reduce") as page:  # smooth scrolling is on its way when looked at
            page.goto("/hub/login?next=/hub/aihub/launch/ml101")
            tab_to(page, "BUTTON persona student")
            page.keyboard.press("Enter")
            page.wait_for_url(f"{hub.url}/hub/aihub/launch/ml101")
            # The skip link is the first stop, and leads past the header.
            tab_to(page, "^A", 1)
            page.keyboard.press("Enter")
            tab_to(page, "INPUT .*image")
            page.keyboard.press("ArrowDown")
            page.keyboard.press("ArrowUp")
            page.keyboard.press("Space")
            tab_to(page, "INPUT .*profile")
            tab_to(page, "^BUTTON$")
            page.keyboard.press("Enter")
            arrive(page)
    finally:
        stop_servers(hub, "student")
