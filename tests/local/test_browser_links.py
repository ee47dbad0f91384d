"""Launch links fill the start page in and start nothing, and neither does any other address."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from tests.local.browsing import browsing
from tests.local.people import Someone
from tests.local.rig import Rig


def test_a_link_survives_the_sign_in_and_only_fills_the_page_in(browser: Browser, hub: Rig) -> None:
    with browsing(browser, hub) as page:
        page.goto("/hub/aihub/launch/ml101?image=mathematics:2025&profile=gpu&path=project/week-1-perceptron.ipynb")
        page.get_by_role("button", name="Continue as student").click()
        page.wait_for_url(f"{hub.url}/hub/aihub/launch/ml101?**")
        expect(page.locator("input[name=project]")).to_have_value("ml101")
        expect(page.locator("#image-mathematics")).to_be_checked()
        # What the link asks for and cannot have is named, with what stands there instead.
        notes = page.locator(".ah-aside")
        expect(notes).to_contain_text("Mathematics 2025")
        expect(notes).to_contain_text("Mathematics 2026")
        expect(notes).to_contain_text("One GPU")
        expect(notes).to_contain_text("JupyterLab will open project/week-1-perceptron.ipynb.")
        expect(page.locator("#tag-image-mathematics")).to_have_value("2026")
        expect(page.locator("input[name=profile][value=gpu]")).not_to_be_checked()
    assert not Someone.of(hub, "student").running()


def test_a_link_to_a_project_of_others_says_no_more_than_that(browser: Browser, hub: Rig) -> None:
    with browsing(browser, hub) as page:
        page.goto("/hub/aihub/launch/secret-course")
        page.get_by_role("button", name="Continue as student").click()
        page.wait_for_url(f"{hub.url}/hub/aihub/launch/**")
        expect(page.locator(".ah-aside")).to_contain_text("secret-course")
        expect(page.locator("input[name=project]")).to_have_value("ml101")


@pytest.mark.parametrize(
    "address",
    [
        "/hub/spawn?opt-project=ml101",
        "/hub/spawn?project=ml101&image=mathematics:2026",
        "/hub/spawn/student?opt-project=ml101",
        "/hub/spawn/student/second?opt-project=ml101",
        "/hub/aihub/launch/ml101?image=mathematics:2026&profile=small",
        "/hub/aihub/launch/ml101/small",
    ],
)
def test_no_address_starts_a_server(browser: Browser, hub: Rig, address: str) -> None:
    someone = Someone.of(hub, "student")
    answer = someone.pages.get(address)
    assert answer.status_code == 200
    assert 'id="start"' in answer.text
    assert not any(model["ready"] or model["pending"] for model in someone.servers().values())


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "a\\..\\b"])
def test_a_link_opens_nothing_outside_the_home(hub: Rig, path: str) -> None:
    answer = Someone.of(hub, "student").pages.get("/hub/aihub/launch/ml101", params={"path": path})
    assert "JupyterLab will open" not in answer.text
