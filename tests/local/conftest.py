"""Fixtures for tests on a real hub.

Tests here are synchronous: playwright's event loop and pytest-asyncio's exclude each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.conftest import CHROMIUM
from tests.local.packages import write_packages
from tests.local.rig import ROOT, Rig

FLAGS = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--headless",
    "--no-first-run",
    "--no-sandbox",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("local")


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """The hub that tests share, on the demo policy. Leave it as you found it: stop the servers you start."""
    rig = Rig(tmp_path_factory.mktemp("hub"))
    rig.start()
    yield rig
    rig.close()


@pytest.fixture(scope="session")
def campus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A second shared hub: the demo policy with more people, images that never are ready, and the made-up language."""
    policy = (ROOT / "config" / "demo", tmp_path_factory.mktemp("policy") / "campus.yaml")
    policy[1].write_bytes((Path(__file__).parent / "policies" / "campus.yaml").read_bytes())
    environ = {"AIHUB_PSEUDO_LOCALE": "1", **write_packages(tmp_path_factory.mktemp("packages"))}
    rig = Rig(tmp_path_factory.mktemp("campus"), policy, environ=environ)
    rig.start()
    yield rig
    rig.close()


@pytest.fixture
def make_hub(tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    """Make hubs of one's own: `make_hub(policy=(file,), environ={…})`. Not started; closed after the test."""
    made: list[Rig] = []

    def make(*, policy: tuple[Path, ...] = (), environ: dict[str, str] | None = None) -> Rig:
        folder = tmp_path / f"hub{len(made)}"
        folder.mkdir()
        made.append(Rig(folder, policy, environ=environ or {}))
        return made[-1]

    yield make
    for rig in made:
        rig.close()


@pytest.fixture(scope="package")
def browser(pytestconfig: pytest.Config) -> Iterator[Browser]:
    """The one Chromium of the browser tests; every test opens a context of its own in it."""
    path = pytestconfig.stash[CHROMIUM]
    assert path is not None, "no Chromium on this machine"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser, hub: Rig) -> Iterator[Page]:
    """A fresh page on the shared hub (`page.goto("/hub/home")`); a script error in it fails the test."""
    context = browser.new_context(base_url=hub.url)
    errors: list[str] = []
    fresh = context.new_page()
    fresh.on("pageerror", lambda error: errors.append(str(error)))
    yield fresh
    context.close()
    assert not errors, f"script errors: {errors}"
