"""The pages of sign-in at a provider in a browser, filled with sample data: no hub and no provider is needed.

Sign-in itself is tried in tests/sso.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from jupyterhub._data import DATA_FILES_PATH
from playwright.sync_api import Browser, Page, Route, expect

from aihub.handlers.base import CONTENT_SECURITY_POLICY
from aihub.i18n import STATIC, Catalogues
from tests.local.browsing import axe_script
from tests.local.rig import Rig
from tests.local.test_accessibility import check
from tests.page_samples import render

LANGUAGES = Catalogues.load().languages
SITE = "http://hub.test"
AGAIN = "/hub/login"
HEADERS = {"Content-Security-Policy": CONTENT_SECURITY_POLICY, "Content-Type": "text/html; charset=utf-8"}
FOLDERS = {"/hub/static/": Path(DATA_FILES_PATH) / "static", "/hub/aihub/static/": STATIC}

Answer = Callable[[Route], None]


@contextmanager
def sample(
    browser: Browser, name: str, code: str = "en", *, answer: Answer | None = None, **options: object
) -> Iterator[Page]:
    """A sample page; `answer` is what the address of a new try gives."""
    html = render(name, LANGUAGES[code], tuple(LANGUAGES.values()))

    def serve(route: Route) -> None:
        path = route.request.url.removeprefix(SITE).split("?")[0]
        folder = next((each for each in FOLDERS if path.startswith(each)), None)
        if folder is not None:
            route.fulfill(path=FOLDERS[folder] / path.removeprefix(folder))
        elif path == AGAIN and answer is not None:
            answer(route)
        elif path == f"/{name}":
            route.fulfill(body=html, headers=HEADERS)
        else:
            route.fulfill(status=404)

    context = browser.new_context(**options)  # type: ignore[arg-type]
    problems: list[str] = []
    try:
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda said: problems.append(said.text) if "Content Security" in said.text else None)
        page.route("**/*", serve)
        yield page
    finally:
        context.close()
    assert not problems


PAGES = (
    *("sign-in-sso", "sign-in-provider-down", "sign-in-wrong-address", "sign-in-state-missing", "sign-in-not-allowed"),
    *("signed-out-sso", "status", "status-new", "status-none", "project-new"),
)
LOOKS = [*((name, "en") for name in PAGES), *((name, "zh_TW") for name in PAGES[::3])]


@pytest.mark.parametrize(("name", "code"), LOOKS)
def test_pages_of_sign_in_can_be_used_by_everybody(browser: Browser, name: str, code: str) -> None:
    with sample(browser, name, code, bypass_csp=True, reduced_motion="reduce") as page:
        page.add_init_script(axe_script())
        page.goto(f"{SITE}/{name}")
        assert not check(page, name)


class Provider:
    """A sign-in that fails so many times and then leads on. `asked` is when: milliseconds of the page's clock."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.asked = 0

    def __call__(self, route: Route) -> None:
        if route.request.is_navigation_request():
            route.fulfill(body="<title>There</title>", headers={"Content-Type": "text/html"})
            return
        self.asked += 1
        if self.asked > self.failures:
            route.fulfill(status=302, headers={"Location": "https://login.example.org/"})
        else:
            route.fulfill(status=503)


def waiting(page: Page) -> None:
    """Open the page with a clock that only the test moves."""
    page.clock.install()
    page.goto(f"{SITE}/sign-in-provider-down")
    expect(page.locator("#retry")).to_be_visible()


def test_the_page_of_a_silent_provider_counts_down_and_goes_on_when_it_is_back(browser: Browser) -> None:
    provider = Provider(failures=2)
    with sample(browser, "sign-in-provider-down", answer=provider) as page:
        waiting(page)
        page.clock.run_for(10_000)
        expect(page.locator("#retry")).to_have_text("Next try in 20 s")
        assert provider.asked == 0
        page.clock.run_for(20_000)
        expect(page.locator("#retry")).to_have_text("Next try in 0 s")
        for _ in range(200):
            if "There" in page.title():
                break
            page.clock.run_for(1000)
        assert page.title() == "There"
        assert provider.asked == 3


def test_without_scripts_the_page_of_a_silent_provider_has_its_button(browser: Browser) -> None:
    with sample(browser, "sign-in-provider-down", answer=Provider(0), java_script_enabled=False) as page:
        page.goto(f"{SITE}/sign-in-provider-down")
        expect(page.locator("#retry")).to_be_hidden()
        page.get_by_role("link", name="Try again").click()
        expect(page).to_have_title("There")


# --- the state of sign-in, on a hub without a provider ---------------------------------------------------------------


def test_the_state_of_sign_in_is_for_admins(hub: Rig) -> None:
    page = hub.sign_in("admin").get("/hub/aihub/sign-in")
    assert page.status_code == 200
    assert "No sign-in service" in page.text
    assert hub.sign_in("student").get("/hub/aihub/sign-in").status_code == 403
    assert hub.sign_in("instructor").get("/hub/aihub/sign-in").status_code == 403


def test_nobody_is_led_from_the_state_of_sign_in_to_signing_in(hub: Rig) -> None:
    with httpx.Client(base_url=hub.url) as nobody:
        answer = nobody.get("/hub/aihub/sign-in")
    assert answer.status_code == 302
    assert answer.headers["location"] == "/hub/login?next=%2Fhub%2Faihub%2Fsign-in"
