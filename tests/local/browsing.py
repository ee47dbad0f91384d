"""People at work in a browser: they sign in, choose, start, open JupyterLab, run cells; what must hold on a page."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Locator, Page, Response, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from aihub.node import cache_folder, find_node
from tests.local.people import Place, until
from tests.local.rig import ROOT, Rig

SLOW = 120_000
"""Milliseconds for a start: the first one builds an environment."""

LOCKED = ROOT / "tests" / "js"


# --- pages that are watched ------------------------------------------------------------------------------------------


@dataclass
class Watch:
    """What went wrong in the pages of a context: script errors, dialogs, refusals by the content security policy."""

    errors: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def all(self) -> list[str]:
        return [*self.errors, *self.dialogs, *self.violations, *self.broken]

    def follow(self, page: Page) -> None:
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("dialog", self._dialog)
        page.on("console", self._console)
        page.on("response", self._response)

    def _dialog(self, dialog: Dialog) -> None:
        if dialog.type == "beforeunload":  # JupyterLab, left with something unsaved
            dialog.accept()
            return
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def _console(self, message: ConsoleMessage) -> None:
        # JupyterLab's page has a policy of its own, which is the hub's and Project Jupyter's affair.
        if "Content Security Policy" in message.text and "/user/" not in message.location.get("url", ""):
            self.violations.append(message.text)

    def _response(self, response: Response) -> None:
        if response.status >= 500 and "/hub/" in response.url:
            self.broken.append(f"{response.status} {response.url}")


@contextmanager
def browsing(browser: Browser, rig: Place, **options: Any) -> Iterator[Page]:
    """A fresh page on `rig` in a context of its own; script errors, dialogs and refused content fail the test."""
    watch = Watch()
    context = browser.new_context(base_url=rig.url, **options)
    context.set_default_timeout(30_000)
    context.on("page", watch.follow)
    try:
        yield context.new_page()
    finally:
        context.close()
    assert not watch.all(), watch


def sign_in(page: Page, persona: str, to: str = "/hub/home") -> None:
    """One click; leads to `to`."""
    page.goto(f"/hub/login?next={to}")
    page.locator(f"button[name=persona][value='{persona}']").click()
    page.wait_for_url(lambda url: "/hub/login" not in url)


# --- starting and stopping -------------------------------------------------------------------------------------------


def choose(page: Page, *, image: str = "", profile: str = "", server: str = "") -> None:
    """Set the choices of the start page; `image` is "stream:tag". What is not available can be chosen too."""
    if image:
        stream, tag = image.split(":")
        card = page.locator(f".ah-choice[data-stream='{stream}']")
        card.locator("label.ah-choice-name").click(force=True)
        card.locator("select").select_option(tag)
    if profile:
        page.locator(f".ah-choice[data-profile='{profile}'] label.ah-choice-name").click(force=True)
    if server:
        advanced = page.locator("details.ah-more", has=page.locator("#server-name"))
        if advanced.get_attribute("open") is None:
            advanced.locator("summary").click()
        page.locator("#server-name").fill(server)


def press_start(page: Page) -> None:
    page.locator("#start button.btn-primary[type=submit]").click()


def start(page: Page, project: str, *, image: str = "", profile: str = "", server: str = "") -> None:
    """Choose, press Start, and wait until JupyterLab's page has come."""
    page.goto(f"/hub/aihub/launch/{project}")
    choose(page, image=image, profile=profile, server=server)
    press_start(page)
    arrive(page)


def arrive(page: Page, where: str = "**/user/**") -> None:
    """Wait until a start has led to its server; else fail with what the page says instead."""
    try:
        page.wait_for_url(where, timeout=SLOW, wait_until="commit")
    except PlaywrightTimeout as error:
        raise AssertionError(f"{page.url}:\n{page.locator('main').inner_text()}") from error


def stop_servers(rig: Rig, *personas: str) -> None:
    """Stop whatever the personas run, and wait until it is gone."""
    for persona in personas:
        client = rig.sign_in(persona)
        model = client.get(f"/hub/api/users/{persona}").json()
        for name, server in model.get("servers", {}).items():
            if server["ready"] or server["pending"]:
                path = f"servers/{name}" if name else "server"
                assert client.delete(f"/hub/api/users/{persona}/{path}").status_code in {202, 204}

        def stopped(client: Any = client, persona: str = persona) -> bool:
            servers = client.get(f"/hub/api/users/{persona}").json()["servers"]
            return not any(each["ready"] or each["pending"] for each in servers.values())

        until(stopped, f"the servers of {persona} stop")


def still(page: Page, address: str) -> None:
    """Open the page of a start and hold it as it is: no event and no fresh drawing reaches it any more."""
    page.route(lambda url: "/progress" in url, lambda route: route.abort())
    page.route(
        lambda url: url.split("?")[0].endswith(address),
        lambda route: route.continue_() if route.request.is_navigation_request() else route.abort(),
    )
    page.goto(address)
    expect(page.locator("#progress")).to_be_visible()


# --- JupyterLab ------------------------------------------------------------------------------------------------------


def wait_for_lab(page: Page) -> None:
    """Wait until JupyterLab has drawn its page."""
    page.wait_for_url(re.compile("/user/[^/]+/(.+/)?lab"), timeout=SLOW)
    page.wait_for_selector("#jp-main-dock-panel", timeout=SLOW)


def open_notebook(page: Page, path: str) -> Locator:
    """Open a notebook by double clicks in JupyterLab's own list of files; gives its panel."""
    wait_for_lab(page)
    for part in path.split("/"):
        page.locator(".jp-DirListing-item", has=page.get_by_text(part, exact=True)).dblclick(timeout=SLOW)
    return notebook(page, path.rsplit("/", 1)[-1])


def notebook(page: Page, name: str) -> Locator:
    """The panel of an open notebook, when its kernel is idle."""
    tab = page.locator(f".lm-DockPanel-tabBar .lm-TabBar-tab:has-text('{name}')")
    expect(tab).to_be_visible(timeout=SLOW)
    panel = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
    expect(page.get_by_role("button", name=re.compile(r"\| Idle$"))).to_be_visible(timeout=SLOW)
    return panel


def run_cell(page: Page, panel: Locator, number: int = 0, code: str = "") -> str:
    """Run a code cell with Shift+Enter as people do, after writing `code` into it, and give what it prints."""
    cell = panel.locator(".jp-CodeCell").nth(number)
    cell.locator(".cm-content").click()
    if code:
        page.keyboard.press("Control+A")
        page.keyboard.insert_text(code)
    prompt = cell.locator(".jp-InputPrompt")

    def begun() -> bool:
        # A kernel that has only just come may miss the first key.
        cell.locator(".cm-content").click()
        page.keyboard.press("Shift+Enter")
        page.wait_for_timeout(1000)
        return prompt.inner_text().strip() not in {"[ ]:", "[ ]"}

    until(begun, "the cell begins to run")
    expect(prompt).to_have_text(re.compile(r"\[\d+\]"), timeout=SLOW)
    return "\n".join(cell.locator(".jp-OutputArea-output").all_inner_texts())


def new_notebook(page: Page) -> Locator:
    """A new notebook from JupyterLab's launcher; gives its panel."""
    wait_for_lab(page)
    expect(page.locator(".jp-Dialog")).to_have_count(0)
    if not page.locator(".jp-LauncherCard").first.is_visible():
        page.get_by_role("button", name="New Launcher").first.click()
    page.locator(".jp-LauncherCard[data-category=Notebook]:visible").first.click()
    return notebook(page, "Untitled")


# --- what must hold on a page ----------------------------------------------------------------------------------------


@cache
def axe_script() -> str:
    """The text of axe-core at the version in `tests/js`, fetched by npm once for each lock file."""
    lock = (LOCKED / "package-lock.json").read_bytes()
    target = cache_folder(os.environ, ROOT / ".aihub") / "axe" / hashlib.sha256(lock).hexdigest()[:16]
    script = target / "node_modules" / "axe-core" / "axe.min.js"
    if not script.exists():
        node = find_node()
        target.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(LOCKED / name, target / name)
        environ = {**os.environ, "PATH": os.pathsep.join([str(Path(node.binary).parent), os.environ["PATH"]])}
        command = [*node.npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-progress"]
        answer = subprocess.run(command, cwd=target, env=environ, capture_output=True, text=True, check=False)
        assert answer.returncode == 0, answer.stdout + answer.stderr
    return script.read_text(encoding="utf-8")


def faults(page: Page) -> list[str]:
    """What axe calls serious or critical on this page. The context must have `axe_script` as its init script."""
    rules = {"resultTypes": ["violations"], "iframes": False}
    found = page.evaluate("options => axe.run(document, options)", rules)
    return [
        f"{each['id']} ({each['impact']}): {node['html'][:200]} {node.get('failureSummary', '')[:200]}"
        for each in found["violations"]
        if each["impact"] in {"serious", "critical"}
        for node in each["nodes"]
    ]


def overflow(page: Page) -> list[str]:
    """What makes the page wider than its window."""
    found: list[str] = page.evaluate(
        """() => {
            const width = document.documentElement.clientWidth;
            if (document.documentElement.scrollWidth <= width) return [];
            const wide = (each) => each.getBoundingClientRect().right > width + 1;
            return [...document.querySelectorAll("body *")]
                .filter((each) => wide(each) && ![...each.children].some(wide))
                .map((each) => each.outerHTML.slice(0, 160));
        }"""
    )
    return found


def small_targets(page: Page) -> list[str]:
    """Links, buttons and fields under 24 px; those in a sentence may be (WCAG 2.5.8)."""
    found: list[str] = page.evaluate(
        """() => {
            const all = [...document.querySelectorAll("a[href], button, summary, select, input:not([type=hidden])")];
            const boxes = all.filter((each) => each.checkVisibility({ visibilityProperty: true }))
                .map((each) => [each, each.getBoundingClientRect()])
                .filter(([, box]) => box.width > 1 && box.height > 1);
            const inline = (each) => getComputedStyle(each).display === "inline"
                && each.parentElement.textContent.trim() !== each.textContent.trim();
            // The whole card is the target of its radio button's label.
            const carded = (each) => each.matches("input[type=radio]") && each.closest(".ah-choice");
            return boxes
                .filter(([each, box]) => (box.width < 23.9 || box.height < 23.9) && !inline(each) && !carded(each))
                .map(([each, box]) => `${box.width}x${box.height} ${each.outerHTML.slice(0, 160)}`);
        }"""
    )
    return found


def cookies(context: BrowserContext, rig: Rig, **values: str) -> None:
    """Set cookies of the hub, as choosing a language does."""
    context.add_cookies([{"name": name, "value": value, "url": f"{rig.url}/hub/"} for name, value in values.items()])


def shown_json(page: Page, selector: str) -> Any:
    """The JSON document that a page carries in `selector`."""
    return json.loads(page.locator(selector).text_content() or "null")
