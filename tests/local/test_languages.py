"""The language of the pages: by menu, by Accept-Language; and no raw English is left anywhere.

In the made-up language every translated text stands in ⟦brackets⟧. What stands outside them is data, which is listed
here, or text that nobody marked for translation, which fails.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from aihub.config import load
from aihub.i18n import COOKIE, PSEUDO
from aihub.text import Text
from tests.local.browsing import browsing, choose, cookies, press_start, sign_in, still, stop_servers
from tests.local.people import Someone, until
from tests.local.rig import Rig

# --- choosing a language ---------------------------------------------------------------------------------------------


def test_the_menu_switches_the_language_of_the_same_page(browser: Browser, hub: Rig) -> None:
    with browsing(browser, hub) as page:
        sign_in(page, "student", "/hub/aihub/launch/datalab?image=mathematics:2026")
        expect(page.locator("html")).to_have_attribute("lang", "en")
        page.locator("summary", has_text="English").click()
        page.get_by_role("button", name="繁體中文").click()
        page.wait_for_url("**/hub/aihub/launch/datalab?image=mathematics:2026")
        expect(page.locator("html")).to_have_attribute("lang", "zh-Hant-TW")
        expect(page.get_by_role("heading", level=1)).to_have_text("啟動伺服器")
        expect(page.locator("#projects")).to_contain_text("機器學習導論")
        expect(page.locator(".ah-choice-name").first).to_be_visible()
        page.goto("/hub/home")
        expect(page.locator("html")).to_have_attribute("lang", "zh-Hant-TW")


@pytest.mark.parametrize(
    ("locale", "lang"), [("zh-TW", "zh-Hant-TW"), ("zh-HK", "zh-Hant-TW"), ("de-DE", "en"), ("en-GB", "en")]
)
def test_the_browser_s_language_is_taken(browser: Browser, hub: Rig, locale: str, lang: str) -> None:
    with browsing(browser, hub, locale=locale) as page:
        page.goto("/hub/login")
        expect(page.locator("html")).to_have_attribute("lang", lang)


# --- raw English -----------------------------------------------------------------------------------------------------

READ = """() => {
    const found = [];
    const words = (text) => /\\p{Letter}{2}/u.test(text);
    const walk = document.createTreeWalker(document.documentElement, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
        const parent = walk.currentNode.parentElement;
        const text = walk.currentNode.textContent.trim();
        // Codes, the reader's own log and what names a language in itself are no sentences of ours.
        if (parent.closest("script, noscript, style, code, pre, [lang]:not(html)")) continue;
        if (words(text)) found.push(text);
    }
    for (const each of document.querySelectorAll("*")) {
        for (const name of ["aria-label", "title", "placeholder", "alt", "data-copied", "aria-description"]) {
            const text = each.getAttribute(name);
            if (text && words(text) && !each.closest("[lang]:not(html)")) found.push(`${name}=${text}`);
        }
    }
    return found;
}"""

TRANSLATED = re.compile("⟦[^⟦⟧]*⟧")
DATA = re.compile(
    r"AIHub( \d\S*)?|– AIHub|GiB|MiB|KiB|CPU|nvidia\.com/gpu|ml101|datalab|workshop|small|medium|gpu|broken"
    r"|student|novice|instructor|admin|outsider|guest|tutor|nowhere|nothing|second|third|homework"
    r"|(student|novice)/\S+|project/week-1-perceptron\.ipynb|\S+@example\.org"
)
"""Ids, user names, units, addresses."""


@pytest.fixture(scope="module")
def operators(campus: Rig) -> list[str]:
    """Every text that the policy's writers wrote, in English, the longest first."""
    policy = load(list(campus.policy)).policy
    sign = load(list(campus.policy)).sign_in
    texts: set[str] = set()

    def gather(value: object) -> None:
        if isinstance(value, Text):
            texts.update({value.plain, *value.translations.values()})

    for owner in (*policy.catalog.streams.values(), *policy.profiles.values(), *policy.projects.values()):
        for name in ("display_name", "description", "contact"):
            gather(getattr(owner, name, None))
    for persona in sign.personas.values():
        gather(persona.display_name)
    for stream in policy.catalog.streams.values():
        texts.update(f"{each.name} {each.version}" for tag in stream.tags for each in tag.software)
    return sorted(filter(None, texts), key=len, reverse=True)


def raw(text: str, operators: list[str]) -> str:
    """What of `text` is neither translated nor data."""
    rest = text.partition("=")[2] if re.match("[a-z-]+=", text) else text
    # A translated sentence may hold another one: the innermost go first.
    while TRANSLATED.search(rest):
        rest = TRANSLATED.sub(" ", rest)
    for known in operators:
        rest = rest.replace(known, " ")
    rest = DATA.sub(" ", rest)
    return rest if re.search(r"[^\W\d_]{2}", rest) else ""


def check(page: Page, name: str, operators: list[str]) -> list[str]:
    """The raw English of the page that is open."""
    expect(page.locator("html")).to_have_attribute("lang", "en-x-pseudo")
    read = [*page.evaluate(READ), page.title()]
    assert len(read) > 5, "the page is empty"
    return [f"{name}: {text!r}" for text in read if raw(text, operators)]


@pytest.fixture(scope="module")
def lively(campus: Rig) -> Iterator[Rig]:
    """The campus with something to say on each page."""
    student, novice = Someone.of(campus, "student"), Someone.of(campus, "novice")
    student.start({"project": "ml101", "image": "mathematics:2026", "profile": "small"})
    student.start({"project": "ml101", "image": "mathematics:2026", "profile": "small"}, "second")
    novice.ask({"project": "workshop"})
    novice.ask({"project": "workshop", "image": "broken:1"}, "broken")
    until(lambda: not novice.running("broken"), "the build fails")
    yield campus
    stop_servers(campus, "student", "novice")


PAGES = {
    "": ["/hub/login", "/hub/logout", "/hub/aihub/help", "/hub/aihub/accessibility"],
    "outsider": ["/hub/home", "/hub/spawn", "/hub/nowhere", "/hub/aihub/projects/ml101"],
    "student": [
        "/hub/home",
        "/hub/spawn",
        "/hub/aihub/launch/ml101?image=mathematics:2025&profile=gpu&path=project/week-1-perceptron.ipynb",
        "/hub/aihub/launch/datalab",
        "/hub/spawn-pending/student/nothing",
        "/hub/aihub/projects/ml101",
    ],
    "novice": ["/hub/home", "/hub/spawn-pending/novice/broken"],
    "instructor": ["/hub/aihub/projects", "/hub/aihub/projects/ml101"],
    "admin": ["/hub/home", "/hub/spawn/student", "/hub/aihub/projects", "/hub/aihub/sign-in"],
}


@pytest.mark.parametrize("persona", PAGES)
def test_no_page_has_raw_english(browser: Browser, lively: Rig, operators: list[str], persona: str) -> None:
    found = []
    with browsing(browser, lively) as page:
        cookies(page.context, lively, **{COOKIE: PSEUDO})
        if persona:
            sign_in(page, persona)
        for address in PAGES[persona]:
            page.goto(address)
            found += check(page, address, operators)
    assert not found, "\n".join(found)


def test_nothing_in_between_has_raw_english(browser: Browser, lively: Rig, operators: list[str]) -> None:
    with browsing(browser, lively) as page:
        cookies(page.context, lively, **{COOKIE: PSEUDO})
        sign_in(page, "student", "/hub/aihub/launch/ml101")
        choose(page, image="machine-learning:2026.1", profile="small", server="third")
        press_start(page)
        expect(page.locator("#errors")).to_be_visible()
        found = check(page, "quota", operators)
        choose(page, server="No Such Name!")
        press_start(page)
        found += check(page, "server name", operators)
    with browsing(browser, lively) as page:
        cookies(page.context, lively, **{COOKIE: PSEUDO})
        sign_in(page, "novice")
        still(page, "/hub/spawn-pending/novice")
        found += check(page, "progress", operators)
    with browsing(browser, lively) as page:
        cookies(page.context, lively, **{COOKIE: PSEUDO})
        sign_in(page, "instructor", "/hub/aihub/projects/ml101")
        for action in ("retire", "default"):
            page.locator(f"button[value='{action} machine-learning:2026.1']").click()
            expect(page.locator("#confirm")).to_be_visible()
            found += check(page, action, operators)
        page.goto("/hub/aihub/projects/ml101")
        for action in ("hide", "offer"):
            page.locator(f"button[value='{action} machine-learning:2026.1']").first.click()
            found += check(page, action, operators)
    assert not found, "\n".join(found)


def test_the_walk_finds_what_it_looks_for(browser: Browser, lively: Rig, operators: list[str]) -> None:
    with browsing(browser, lively) as page:
        cookies(page.context, lively, **{COOKIE: PSEUDO})
        page.goto("/hub/login")
        page.evaluate(
            """() => {
                const main = document.querySelector("main");
                main.append("Nobody translated this", document.createElement("hr"));
                main.querySelector("hr").title = "nor this";
            }"""
        )
        assert [each.partition(": ")[2] for each in check(page, "sign-in", operators)] == [
            "'Nobody translated this'",
            "'title=nor this'",
        ]
