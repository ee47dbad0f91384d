"""A student at work in a browser, on the chart as `helm install` leaves it."""

from __future__ import annotations

from playwright.sync_api import Browser, Page, expect

from tests.cluster.release import Release
from tests.local.browsing import SLOW, arrive, browsing, choose, new_notebook, press_start, run_cell, wait_for_lab
from tests.local.people import Meet, until


def sign_in(page: Page, release: Release, person: str) -> None:
    page.goto("/hub/home")
    page.get_by_label("User name").fill(person)
    page.get_by_label("Password").fill(release.password(person))
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/hub/home")


def start_with_gpu(page: Page) -> None:
    """Choose, press Start, follow the progress page to JupyterLab."""
    page.goto("/hub/aihub/launch/ml101")
    choose(page, image="base:1", profile="gpu")
    expect(page.locator("#start")).to_contain_text("nvidia.com/gpu")
    press_start(page)
    arrive(page)
    wait_for_lab(page)


def test_a_student_s_day(browser: Browser, release: Release, meet: Meet) -> None:
    with browsing(browser, release) as page:
        sign_in(page, release, "bob")
        start_with_gpu(page)
        printed = run_cell(page, new_notebook(page), code="import os; print(6 * 7, os.getcwd())")
        assert printed.strip() == "42 /home/jovyan"
        page.goto("/hub/home")
        page.get_by_role("button", name="Stop").first.click()
        until(lambda: not release.servers(), "the pod is gone")
        expect(page.get_by_text("Machine Learning 101").first).to_be_visible()
        start_with_gpu(page)
        expect(page.locator(".jp-DirListing-item", has_text="Untitled.ipynb")).to_be_visible(timeout=SLOW)
        expect(page.locator(".jp-DirListing-item", has_text="project")).to_be_visible()
    meet("bob").stop()
