"""Hostile text in everything that people and operators may write, in every page and for every role: it stays text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from playwright.sync_api import Browser, Page, expect

from tests.local.browsing import browsing, choose, overflow, press_start, still
from tests.local.packages import write_packages
from tests.local.people import Someone, until
from tests.local.rig import Rig

SCRIPT = "<script>window.owned=1</script>"
EVENTS = "<img src=x onerror=\"window.owned=1\"><svg onload='window.owned=1'><a href=javascript:window.owned=1>x</a>"
QUOTES = "\"'`></option></select></title></textarea></pre></template><b id=owned>"
OTHERS = "{{7*7}} ${7*7} {% raise %} %(x)s {0.__class__} &lt;b&gt; \u202egnirts\u202c \u2066x\u2069 \u200b"
LONG = "W" * 300
HOSTILE = f"{SCRIPT}{EVENTS}{QUOTES}{OTHERS}{LONG}"
PERSONA = '"><svg onload=owned=1>{{7*7}}'
PLACE = "<img src=x onerror=owned=1>"


def text(what: str) -> dict[str, str]:
    """A hostile text that can be told from others, in both languages."""
    return {"en": f"{what} {HOSTILE}", "zh_TW": f"{what}中文 {HOSTILE}"}


def policy() -> dict[str, Any]:
    """Hostile text in every field that takes a text."""

    def tag(requirement: str) -> dict[str, Any]:
        return {
            "requirements": [requirement] if requirement else [],
            "software": {f"Software {HOSTILE}": HOSTILE[:100]},
        }

    members = {"groups": [f"/{HOSTILE}"]}
    staff = {"groups": ["/staff"]}
    project = {
        "displayName": text("Project"),
        "description": text("About"),
        "members": members,
        "instructors": staff,
        "images": {"offer": ["nasty", "broken", "slow", "file"], "default": "nasty:1"},
        "profiles": {"offer": ["small", "gpu"], "default": "small"},
        "quota": {"project": {"servers": 9}, "perMember": {"servers": 3}},
        "storage": {"datasets": {"data": {"displayName": text("Dataset"), "path": "."}}},
        "contact": text("Contact"),
    }
    return {
        "imageStreamFiles": ["stream.json"],
        "imageStreams": {
            "nasty": {
                "displayName": text("Image"),
                "description": text("Description"),
                "source": "https://example.org/" + "?<script>'\"" + LONG,
                "tags": {"1": tag(""), "0": {**tag(""), "state": "retired", "successor": "1"}},
            },
            "broken": {"displayName": text("Broken"), "tags": {"1": tag("aihub-test-broken==1.0")}},
            "slow": {"displayName": text("Slow"), "tags": {"1": tag("aihub-test-slow==1.0")}},
        },
        "profiles": {
            "small": {"displayName": text("Small"), "description": text("Size"), "cpu": "100m", "memory": "64Mi"},
            "gpu": {
                "displayName": text("Device"),
                "cpu": "100m",
                "memory": "64Mi",
                "accelerator": {"resource": "nvidia.com/gpu", "count": [1, 2], "shared": text("Shared")},
            },
        },
        "projects": {
            "nasty": project,
            "empty": {**project, "images": {"offer": []}, "storage": {}},
            "archived": {**project, "archived": True, "storage": {}},
        },
        "signIn": {
            "personas": {
                PERSONA: {"displayName": text("Persona"), "groups": [f"/{HOSTILE}"]},
                "instructor": {"displayName": text("Persona"), "groups": ["/staff"]},
                "admin": {"displayName": text("Persona"), "admin": True},
                "outsider": {"displayName": text("Persona")},
            }
        },
    }


def stream() -> dict[str, Any]:
    """The same in an ImageStream document, whose addresses are anybody's too."""
    name = "opendatahub.io/notebook"
    return {
        "apiVersion": "image.openshift.io/v1",
        "kind": "ImageStream",
        "metadata": {
            "name": "file",
            "labels": {f"{name}-image": "true"},
            "annotations": {
                f"{name}-image-name": f"File {HOSTILE}",
                f"{name}-image-desc": HOSTILE,
                f"{name}-image-url": "javascript:window.owned=1",
            },
        },
        "spec": {
            "tags": [
                {
                    "name": "1",
                    "annotations": {
                        f"{name}-software": json.dumps([{"name": HOSTILE, "version": HOSTILE}]),
                        "aihub.io/requirements": "six",
                    },
                    "from": {"kind": "DockerImage", "name": "example.org/file:1"},
                }
            ]
        },
    }


@pytest.fixture(scope="module")
def nasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A hub whose policy, packages and people are hostile; a server runs, one is on its way, one could not be built."""
    folder = tmp_path_factory.mktemp("nasty")
    (folder / "policy.yaml").write_text(yaml.safe_dump(policy(), allow_unicode=True), encoding="utf-8")
    (folder / "stream.json").write_text(json.dumps(stream()), encoding="utf-8")
    (folder / "packages").mkdir()
    environ = write_packages(folder / "packages", [HOSTILE, f"error: {SCRIPT}", "\x1b]8;;javascript:1\x07x\x1b[31m"])
    rig = Rig(folder, (folder / "policy.yaml",), environ=environ)
    rig.start()
    someone = Someone.of(rig, PERSONA)
    someone.start({"project": "nasty"})
    someone.ask({"project": "nasty", "image": "slow:1"}, "slow")
    someone.ask({"project": "nasty", "image": "broken:1"}, "broken")
    until(lambda: not someone.running("broken"), "the build fails")
    yield rig
    rig.close()


INERT = """() => ({
    owned: typeof window.owned,
    elements: [...document.querySelectorAll("#owned, img, iframe, object, embed, base, template, body svg:not(.icon)")]
        .filter((each) => !each.querySelector("symbol")).map((each) => each.outerHTML.slice(0, 200)),
    scripts: [...document.scripts].filter((each) => !each.src && each.type !== "application/json").length,
    events: [...document.querySelectorAll("*")].flatMap((each) => each.getAttributeNames())
        .filter((name) => name.startsWith("on") || name === "style"),
    addresses: [...document.querySelectorAll("[href], [action], [src]")].map((each) =>
        each.getAttribute("href") ?? each.getAttribute("action") ?? each.getAttribute("src"))
        .filter((address) => !/^(#|\\/|https?:|mailto:)/.test(address)),
    computed: document.documentElement.textContent.includes(" 49 "),
})"""
NOTHING = {"owned": "undefined", "elements": [], "scripts": 0, "events": [], "addresses": [], "computed": False}


def check(page: Page, *says: str) -> None:
    """The page that is open shows `says` as text, has made nothing of it, and still fits a phone."""
    expect(page.locator("main")).to_be_visible()
    read = page.locator("body").text_content() or ""
    for what in says:
        assert what in read, f"{page.url} does not show {what!r}"
    assert page.evaluate(INERT) == NOTHING, page.url
    assert overflow(page) == [], page.url


@pytest.fixture
def page(browser: Browser, nasty: Rig) -> Iterator[Page]:
    """A phone on the hostile hub; a dialog, a script error or a violation of the content policy fails the test."""
    with browsing(browser, nasty, viewport={"width": 360, "height": 800}) as fresh:
        yield fresh


def enter(page: Page, persona: str) -> None:
    page.goto("/hub/login?next=/hub/home")
    check(page, f"Persona {SCRIPT}", PERSONA)
    page.locator("button[name=persona]").filter(has_text=f"Continue as {persona}").click()
    page.wait_for_url(lambda url: "/hub/login" not in url)


def quoted(name: str) -> str:
    return quote(name, safe="@")


def test_students_read_it_as_text(page: Page, nasty: Rig) -> None:
    enter(page, PERSONA)
    me = quoted(PERSONA)
    page.goto("/hub/home")
    check(page, f"Image {SCRIPT}", f"Project {SCRIPT}", PERSONA)
    page.goto("/hub/aihub/launch/nasty")
    check(page, f"Image {HOSTILE}", f"Small {SCRIPT}", f"Software {SCRIPT}", f"File {SCRIPT}", f"Contact {SCRIPT}")
    # The scripts of the page write the same texts again when a choice changes.
    for card in page.locator(".ah-choice").all():
        card.locator("label.ah-choice-name").click(position={"x": 5, "y": 5}, force=True)
        check(page)
    for project in ("empty", "archived"):
        page.goto(f"/hub/aihub/launch/{project}")
        check(page, f"Contact {SCRIPT}")
    page.goto(f"/hub/spawn-pending/{me}/broken")
    check(page, f"Broken {SCRIPT}", f"error: {SCRIPT}")
    still(page, f"/hub/spawn-pending/{me}/slow")
    check(page, f"Slow {SCRIPT}")


def test_links_and_forms_say_it_back_as_text(page: Page, nasty: Rig) -> None:
    enter(page, PERSONA)
    for name in ("image", "profile", "path"):
        page.goto(f"/hub/aihub/launch/nasty?{name}={quoted(HOSTILE)}")
        check(page)
    page.goto(f"/hub/aihub/launch/{quoted(HOSTILE)}")
    check(page, SCRIPT)
    page.goto(f"/hub/spawn-pending/{quoted(PERSONA)}/{quoted(PLACE)}")
    check(page)
    page.goto(f"/hub/{quoted(HOSTILE)}?{quoted(HOSTILE)}")
    check(page)
    page.goto("/hub/aihub/launch/nasty")
    page.locator("#server-name").evaluate("(each) => each.removeAttribute('maxlength')")
    choose(page, server=HOSTILE)
    press_start(page)
    expect(page.locator("#errors")).to_be_visible()
    check(page)
    expect(page.locator("#server-name")).to_have_value(HOSTILE.strip())
    for field in ("project", "image", "profile", "accelerator-count"):
        page.goto("/hub/aihub/launch/nasty")
        page.evaluate(
            """([name, value]) => {
                const form = document.getElementById("start");
                form.querySelectorAll(`[name="${name}"]`).forEach((each) => each.remove());
                const input = document.createElement("input");
                Object.assign(input, { type: "hidden", name, value });
                form.append(input);
            }""",
            [field, HOSTILE],
        )
        press_start(page)
        expect(page.locator("#errors")).to_be_visible()
        check(page)


def test_instructors_and_their_students_read_it_as_text(page: Page, nasty: Rig, browser: Browser) -> None:
    enter(page, "instructor")
    message = f"Read this {SCRIPT}{QUOTES}{{{{7*7}}}}"
    page.goto("/hub/aihub/projects")
    check(page, f"Project {SCRIPT}", f"About {SCRIPT}")
    page.goto("/hub/aihub/projects/nasty")
    check(page, f"Project {HOSTILE}", f"Image {SCRIPT}", PERSONA, f"Contact {SCRIPT}", f"Small {SCRIPT}")
    page.locator("button[value='retire slow:1']").click()
    check(page, f"Slow {SCRIPT}")
    page.locator("#message").fill(message)
    page.locator("#successor").select_option("nasty:1")
    page.locator("#confirm button[type=submit]").click()
    page.wait_for_url("**/hub/aihub/projects/nasty?done=*")
    check(page, f"Slow {SCRIPT}")
    with browsing(browser, nasty, viewport={"width": 360, "height": 800}) as student:
        enter(student, PERSONA)
        student.goto(f"/hub/spawn/{quoted(PERSONA)}/slow")
        check(student, message)


def test_admins_read_it_as_text(page: Page, nasty: Rig) -> None:
    enter(page, "admin")
    file = Path(nasty.policy[0])
    good = file.read_text(encoding="utf-8")
    page.goto("/hub/aihub/projects/nasty")
    check(page, PERSONA)
    page.goto(f"/hub/spawn/{quoted(PERSONA)}")
    check(page, PERSONA, f"Image {SCRIPT}")
    try:
        file.write_text(good + yaml.safe_dump({HOSTILE: 1, "quota": {"perUser": {HOSTILE: 1}}}), encoding="utf-8")

        def shown() -> bool:
            page.goto("/hub/home")
            return page.locator(".ah-findings").count() == 1

        until(shown, "the findings of the broken policy")
        check(page, SCRIPT)
    finally:
        file.write_text(good, encoding="utf-8")


def test_strangers_read_it_as_text(page: Page, nasty: Rig) -> None:
    enter(page, "outsider")
    for address in ("/hub/home", "/hub/spawn", "/hub/aihub/launch/nasty", "/hub/aihub/projects/nasty"):
        page.goto(address)
        check(page)
    page.goto(f"/hub/login?next={quoted('//example.org/' + SCRIPT)}")
    assert page.url.startswith(nasty.url)
