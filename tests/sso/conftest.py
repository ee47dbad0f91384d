"""Fixtures of the tests with a real Keycloak. Everything in this folder is marked `sso`.

One Keycloak for all; each module has a realm and a hub of its own, each test people of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.conftest import CHROMIUM
from tests.local.conftest import FLAGS
from tests.sso.distribution import CannotBuildError
from tests.sso.hubs import MakeHub, SsoHub
from tests.sso.keycloak import Keycloak
from tests.sso.realm import Realm

HERE = Path(__file__).parent
NUMBERS = count(1)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker("sso")


@pytest.fixture(scope="session")
def keycloak(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keycloak]:
    """The Keycloak that tests share. Leave it answering."""
    shared = Keycloak(tmp_path_factory.mktemp("keycloak"))
    try:
        shared.start()
    except CannotBuildError as error:
        pytest.exit(f"No Keycloak to test with: {error}", returncode=1)
    yield shared
    shared.close()


@pytest.fixture(scope="module")
def _hub_and_realm(keycloak: Keycloak, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SsoHub, Realm]]:
    hub = SsoHub.prepared(tmp_path_factory.mktemp("hub"))
    realm = Realm.make(keycloak, f"school-{next(NUMBERS)}", hub.url)
    hub.with_policy(realm).start()
    yield hub, realm
    hub.close()
    realm.remove()


@pytest.fixture(scope="module")
def realm(_hub_and_realm: tuple[SsoHub, Realm]) -> Realm:
    """The module's realm."""
    return _hub_and_realm[1]


@pytest.fixture(scope="module")
def hub(_hub_and_realm: tuple[SsoHub, Realm]) -> SsoHub:
    """The module's hub, behind its realm."""
    return _hub_and_realm[0]


@pytest.fixture
def prepare(tmp_path: Path) -> Iterator[MakeHub]:
    """Make hubs of one's own: `prepare(host)`. They have an address, neither policy nor process; closed afterwards."""
    made: list[SsoHub] = []

    def make(host: str = "127.0.0.1") -> SsoHub:
        folder = tmp_path / f"hub{len(made)}"
        folder.mkdir()
        made.append(SsoHub.prepared(folder, host))
        return made[-1]

    yield make
    for hub in made:
        hub.close()


@pytest.fixture(scope="module")
def browser(pytestconfig: pytest.Config) -> Iterator[Browser]:
    """A Chromium for the module, closed after it: its event loop and that of asynchronous tests exclude each other."""
    path = pytestconfig.stash[CHROMIUM]
    assert path is not None, "no Chromium on this machine"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()
