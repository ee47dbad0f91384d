"""Rules for all tests: browser tests need a browser, and in CI nothing may be skipped; and databases to test on."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from tests.browsers import find_chromium
from tests.store_rig import database_kinds, find_postgresql, postgresql_cluster

CHROMIUM = pytest.StashKey[str | None]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[CHROMIUM] = find_chromium()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")
    if config.stash[CHROMIUM] is None and not os.environ.get("CI"):
        left_out = [item for item in items if item.get_closest_marker("browser")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("browser")]


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and exitstatus == 0 and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.stash[CHROMIUM] is None:
        terminalreporter.write_line("No Chromium on this machine: the browser tests were left out.")
    if find_postgresql() is None:
        terminalreporter.write_line("No PostgreSQL server on this machine: the store was tested on SQLite only.")
    if os.environ.get("CI") and terminalreporter.stats.get("skipped"):
        terminalreporter.write_line("A skipped test is a failure in CI.")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    with postgresql_cluster() as url:
        yield url


@pytest.fixture(
    params=[pytest.param(kind, marks=[pytest.mark.postgresql] * (kind != "sqlite")) for kind in database_kinds()]
)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'aihub.sqlite'}"
        return
    server, name = request.getfixturevalue("postgresql"), f"t{uuid.uuid4().hex}"
    admin = create_engine(f"{server}/postgres", isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield f"{server}/{name}"
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()
