"""Whose a user name is, on SQLite and on PostgreSQL: one subject's, also when several ask at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest
from sqlalchemy import text

from aihub.errors import StoreError
from aihub.people import Binding, Taken
from aihub.store import Store

NOON = datetime(2026, 11, 22, 12, 0, 0, 123456, UTC)
LATER = NOON + timedelta(hours=1)
SCHOOL, OTHER = "https://id.example.org/realms/school", "https://id.example.org/realms/other"


@pytest.fixture
def opened(database_url: str) -> Iterator[Callable[[], Store]]:
    stores: list[Store] = []

    def make() -> Store:
        stores.append(Store(database_url))
        return stores[-1]

    yield make
    for store in stores:
        store.dispose()


@pytest.fixture
def store(opened: Callable[[], Store]) -> Store:
    store = opened()
    store.upgrade()
    return store


def test_a_name_belongs_to_the_first_that_had_it(store: Store, opened: Callable[[], Store]) -> None:
    assert store.bind(SCHOOL, "s1", "ada", NOON) == "ada"
    assert opened().bind(SCHOOL, "s2", "ada", LATER) == Taken("ada", NOON)
    assert store.bind(SCHOOL, "s1", "ada", LATER) == "ada"
    assert store.bindings() == (Binding("ada", SCHOOL, "s1", NOON),)


def test_a_subject_keeps_its_first_name_whatever_the_provider_says_later(store: Store) -> None:
    store.bind(SCHOOL, "s1", "ada", NOON)
    assert store.bind(SCHOOL, "s1", "ada.byron", LATER) == "ada"
    assert store.bind(SCHOOL, "s2", "ada.byron", LATER) == "ada.byron", "and takes no second one"
    assert store.bind(SCHOOL, "s1", "ada.byron", LATER) == "ada", "nor another's"


def test_the_same_subject_of_another_issuer_is_somebody_else(store: Store) -> None:
    store.bind(SCHOOL, "s1", "ada", NOON)
    assert store.bind(OTHER, "s1", "ada", NOON) == Taken("ada", NOON)
    assert store.bind(OTHER, "s1", "ada2", NOON) == "ada2"
    assert store.name_of(SCHOOL, "s1") == "ada"
    assert store.name_of(OTHER, "s1") == "ada2"
    assert store.name_of(OTHER, "s2") is None


def test_a_released_name_is_free_and_its_row_stays(store: Store) -> None:
    store.bind(SCHOOL, "s1", "ada", NOON)
    assert store.release("ada", LATER) == Binding("ada", SCHOOL, "s1", NOON, LATER)
    assert store.release("ada", LATER) is None
    assert store.release("bo", LATER) is None
    assert store.name_of(SCHOOL, "s1") is None
    assert store.names_of(SCHOOL, "s1") == ()
    assert store.bind(SCHOOL, "s2", "ada", LATER) == "ada"
    assert store.bind(SCHOOL, "s1", "ada", LATER) == Taken("ada", LATER)
    assert store.bind(SCHOOL, "s1", "ada1", LATER) == "ada1"
    assert store.bindings() == (
        Binding("ada", SCHOOL, "s1", NOON, LATER),
        Binding("ada", SCHOOL, "s2", LATER),
        Binding("ada1", SCHOOL, "s1", LATER),
    )


def test_a_name_may_be_bound_and_released_over_and_over(store: Store) -> None:
    for _ in range(3):
        assert store.bind(SCHOOL, "s1", "ada", NOON) == "ada"
        assert store.release("ada", LATER) is not None
    assert len(store.bindings()) == 3


def test_many_are_bound_together(store: Store) -> None:
    store.bind(SCHOOL, "s1", "ada", NOON)
    wanted = [Binding("ada", SCHOOL, "s1", LATER), Binding("bo", SCHOOL, "s2", LATER)]
    assert store.bind_all(wanted) == ("ada", "bo")
    assert store.bindings() == (Binding("ada", SCHOOL, "s1", NOON), wanted[1])


@pytest.mark.parametrize(
    ("wrong", "outcome"),
    [
        pytest.param(Binding("ada", SCHOOL, "s9", LATER), Taken("ada", NOON), id="another's name"),
        pytest.param(Binding("ida", SCHOOL, "s1", LATER), "ada", id="has another name"),
        pytest.param(Binding("bo", SCHOOL, "s9", LATER), Taken("bo", LATER), id="twice the name"),
        pytest.param(Binding("b", SCHOOL, "s2", LATER), "bo", id="twice the subject"),
    ],
)
def test_all_are_bound_or_none(store: Store, wrong: Binding, outcome: str | Taken) -> None:
    store.bind(SCHOOL, "s1", "ada", NOON)
    wanted = [Binding("bo", SCHOOL, "s2", LATER), wrong, Binding("cy", SCHOOL, "s3", LATER)]
    assert store.bind_all(wanted) == ("bo", outcome, "cy")
    assert [binding.name for binding in store.bindings()] == ["ada"]
    assert store.bind_all([wanted[0], wanted[2]]) == ("bo", "cy"), "and the database goes on"


def test_names_are_found_by_subject_and_by_session(store: Store) -> None:
    for number, name in enumerate(("ada", "bo"), start=1):
        store.bind(SCHOOL, f"s{number}", name, NOON)
        store.session_began(SCHOOL, f"sid{number}", name, NOON)
    assert store.names_of(SCHOOL, "s1") == ("ada",)
    assert store.names_of(SCHOOL, session="sid2") == ("bo",)
    assert store.names_of(SCHOOL, "s1", "sid1") == ("ada",)
    assert store.names_of(SCHOOL, "s1", "sid2") == ("ada", "bo")
    assert store.names_of(SCHOOL, "s1", "never seen") == ("ada",)
    assert store.names_of(SCHOOL) == ()
    assert store.names_of(OTHER, "s1", "sid1") == ()


def test_a_session_that_begins_again_is_the_last_ones(store: Store) -> None:
    store.session_began(SCHOOL, "sid", "ada", NOON)
    store.session_began(SCHOOL, "sid", "bo", LATER)
    assert store.names_of(SCHOOL, session="sid") == ("bo",)


def test_sessions_are_forgotten_after_30_days(store: Store) -> None:
    store.session_began(SCHOOL, "old", "ada", NOON)
    store.session_began(SCHOOL, "kept", "ada", NOON)
    store.session_began(SCHOOL, "kept", "ada", NOON + timedelta(days=29))
    store.session_began(SCHOOL, "at the limit", "bo", NOON + timedelta(days=30))
    assert store.names_of(SCHOOL, session="old") == ("ada",)
    store.session_began(SCHOOL, "new", "bo", NOON + timedelta(days=30, seconds=1))
    assert store.names_of(SCHOOL, session="old") == ()
    assert store.names_of(SCHOOL, session="kept") == ("ada",)


def test_an_earlier_database_gets_the_tables_of_people(store: Store, opened: Callable[[], Store]) -> None:
    with store._writing.begin() as connection:
        for table in ("identity", "provider_session"):
            connection.execute(text(f"DROP TABLE {table}"))
        connection.execute(text("UPDATE schema_version SET version_num = '0001'"))
    again = opened()
    with pytest.raises(StoreError):
        again.bind(SCHOOL, "s1", "ada", NOON)
    again.upgrade()
    assert again.bind(SCHOOL, "s1", "ada", NOON) == "ada"


# --- at once ---------------------------------------------------------------------------------------------------------

PROGRAM = """
import sys
from datetime import UTC, datetime
from aihub.store import Store
store, subject = Store(sys.argv[1]), sys.argv[2]
store.bindings()
print("ready", flush=True)
sys.stdin.readline()
names = [f"name{number}" for number in range(30)]
print([str(store.bind("https://id", f"{subject}-{name}", name, datetime.now(UTC))) == name for name in names])
"""


def test_of_two_processes_that_bind_one_name_exactly_one_wins(store: Store, database_url: str) -> None:
    pipe = subprocess.PIPE
    hubs = [
        subprocess.Popen([sys.executable, "-c", PROGRAM, database_url, f"s{n}"], text=True, stdin=pipe, stdout=pipe)
        for n in range(2)
    ]
    for hub in hubs:
        assert hub.stdout is not None
        assert hub.stdout.readline() == "ready\n"
    for hub in hubs:
        assert hub.stdin is not None
        hub.stdin.write("go\n")
        hub.stdin.flush()
    won = [[word == "True" for word in hub.communicate()[0].strip("[]\n").split(", ")] for hub in hubs]
    assert [hub.returncode for hub in hubs] == [0, 0]
    assert [first + second for first, second in zip(*won, strict=True)] == [1] * 30
    bound = {binding.name: binding.subject for binding in store.bindings()}
    assert bound == {f"name{n}": f"s{0 if first else 1}-name{n}" for n, first in enumerate(won[0])}


def test_of_many_at_the_same_moment_one_gets_the_name(store: Store) -> None:
    crowd = 8
    barrier = Barrier(crowd)

    def bind(number: int) -> str | Taken:
        barrier.wait()
        return store.bind(SCHOOL, f"s{number}", "ada", NOON)

    with ThreadPoolExecutor(crowd) as threads:
        outcomes = list(threads.map(bind, range(crowd)))
    assert sorted(map(str, outcomes)) == sorted(["ada"] + [str(Taken("ada", NOON))] * (crowd - 1))


def test_one_subject_in_many_tabs_gets_one_name(store: Store) -> None:
    crowd = 8
    barrier = Barrier(crowd)

    def bind(number: int) -> str | Taken:
        barrier.wait()
        store.session_began(SCHOOL, "sid", "ada", NOON)
        return store.bind(SCHOOL, "s1", f"ada{number}", NOON)

    with ThreadPoolExecutor(crowd) as threads:
        outcomes = set(threads.map(bind, range(crowd)))
    (binding,) = store.bindings()
    assert outcomes == {binding.name}
    assert binding == replace(binding, issuer=SCHOOL, subject="s1")
