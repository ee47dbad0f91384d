"""AIHub's database on SQLite and on PostgreSQL (where its server is installed; `.ci/run` installs it)."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from threading import Barrier

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from aihub.catalog import TagState
from aihub.database import METADATA, VERSION_TABLE
from aihub.errors import StoreError
from aihub.ledger import Entry, Phase, ServerKey
from aihub.projects import Decisions, ImageDecision
from aihub.quota import Amounts
from aihub.resources import Resources
from aihub.storage import Claim
from aihub.store import Action, Conflict, HistoryEntry, SetDefault, SetState, Store
from tests.store_rig import database_kinds

NOON = datetime(2026, 11, 22, 12, 0, 0, 123456, UTC)
HIDE = SetState("pytorch:2.9", TagState.HIDDEN)
RETIRE = SetState("pytorch:2.8", TagState.RETIRED, "pytorch:2.9", "Use 2.9 <b>please</b>, 謝謝")
STORAGE = Resources({"storage": Decimal(10737418240)})
ENTRY = Entry(
    id="r1",
    server=ServerKey("ada", "two"),
    project="ml101",
    charge=Resources({"servers": 1, "cpu": Decimal("0.1"), "memory": Decimal("1152921504606846976.000000001")}),
    claims=(
        Claim("home/ml101/ada", STORAGE["storage"], Amounts.everywhere(STORAGE)),
        Claim("project/ml101", None, Amounts()),
    ),
    accelerator="nvidia.com/gpu",
    devices=("GPU-1", "GPU-2"),
    deadline=1795348800.25,
    object_name="aihub/jupyter-ada--two",
)


@pytest.fixture
def opened(database_url: str) -> Iterator[Callable[[], Store]]:
    """Makes stores on the same database, as hubs one after the other would."""
    stores: list[Store] = []

    def make() -> Store:
        stores.append(Store(database_url, clock=lambda: 1000.5))
        return stores[-1]

    yield make
    for store in stores:
        store.dispose()


@pytest.fixture
def store(opened: Callable[[], Store]) -> Store:
    store = opened()
    store.upgrade()
    return store


def decided(outcome: Decisions | Conflict) -> Decisions:
    assert isinstance(outcome, Decisions)
    return outcome


# --- tables ----------------------------------------------------------------------------------------------------------


def test_migrations_make_the_tables_that_the_code_expects(store: Store) -> None:
    with store._engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, METADATA) == []
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, METADATA) != [], "the comparison sees tables at all"


def test_upgrade_again_changes_nothing(store: Store, opened: Callable[[], Store]) -> None:
    store.write(ENTRY)
    opened().upgrade()
    assert store.open_rows() == (ENTRY,)


def test_several_processes_may_upgrade_at_once(database_url: str, opened: Callable[[], Store]) -> None:
    program = (
        "import sys; from aihub.store import Store; "
        "print('ready', flush=True); sys.stdin.readline(); Store(sys.argv[1]).upgrade()"
    )
    arguments, pipe = [sys.executable, "-c", program, database_url], subprocess.PIPE
    hubs = [subprocess.Popen(arguments, text=True, stdin=pipe, stdout=pipe, stderr=pipe) for _ in range(4)]
    for hub in hubs:
        assert hub.stdout is not None
        assert hub.stdout.readline() == "ready\n"
    for hub in hubs:
        assert hub.stdin is not None
        hub.stdin.write("go\n")
        hub.stdin.flush()
    assert [hub.communicate()[1] for hub in hubs] == [""] * 4
    assert [hub.returncode for hub in hubs] == [0] * 4
    store = opened()
    store.write(ENTRY)
    assert store.open_rows() == (ENTRY,)


def test_a_database_of_a_later_aihub_is_refused(store: Store, opened: Callable[[], Store]) -> None:
    with store._writing.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(StoreError, match="9999"):
        opened().upgrade()


@pytest.mark.postgresql
@pytest.mark.parametrize("kind", [kind for kind in database_kinds() if kind == "postgresql"])
def test_postgresql_tables_lie_in_a_schema_of_their_own(kind: str, postgresql: str) -> None:
    store = Store(f"{postgresql}/postgres")
    store.upgrade()
    with store._engine.connect() as connection:
        assert set(inspect(connection).get_table_names("aihub")) == {*METADATA.tables, VERSION_TABLE}
        assert inspect(connection).get_table_names("public") == []
    store.dispose()


def test_sqlite_commits_reach_the_disk(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'aihub.sqlite'}")
    store.upgrade()
    with store._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    store.dispose()


# --- reservations ----------------------------------------------------------------------------------------------------


def test_a_row_gives_back_the_entry_exactly(store: Store, opened: Callable[[], Store]) -> None:
    store.write(ENTRY)
    (row,) = opened().open_rows()
    assert row == ENTRY
    assert str(row.charge["memory"]) == "1152921504606846976.000000001"


def test_rows_are_open_until_closed_once_or_twice(store: Store) -> None:
    plain = Entry("r2", ServerKey("bo"), "lab", Resources({"servers": 1}), deadline=5.0)
    store.write(ENTRY)
    store.write(plain)
    store.close("r1")
    store.close("r1")
    store.close("never written")
    assert store.open_rows() == (plain,)
    store.close("r2")
    assert store.open_rows() == ()


def test_a_row_is_a_reservation_whatever_became_of_its_server(store: Store) -> None:
    store.write(replace(ENTRY, phase=Phase.RUNNING, uid="pod-uid"))
    assert store.open_rows() == (ENTRY,)


def test_closing_keeps_the_row_and_when(store: Store) -> None:
    store.write(ENTRY)
    store.close("r1")
    with store._engine.connect() as connection:
        row = connection.execute(text("SELECT created, closed FROM reservation")).one()
    assert tuple(row) == (1000.5, 1000.5)


def test_the_same_id_twice_is_an_error(store: Store) -> None:
    store.write(ENTRY)
    with pytest.raises(StoreError):
        store.write(replace(ENTRY, project="lab"))
    assert store.open_rows() == (ENTRY,)


def test_a_row_that_is_not_ours_is_an_error(store: Store) -> None:
    store.write(ENTRY)
    with store._writing.begin() as connection:
        connection.execute(text("""UPDATE reservation SET charge = '{"cpu": "many"}'"""))
    with pytest.raises(StoreError, match="reservation r1 cannot be read"):
        store.open_rows()


def test_many_threads_write_at_once(store: Store) -> None:
    entries = [replace(ENTRY, id=f"r{number:02}") for number in range(40)]
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(store.write, entries))
        list(threads.map(store.close, [entry.id for entry in entries[10:]]))
    assert store.open_rows() == tuple(entries[:10])


def test_before_the_upgrade_everything_is_a_store_error(opened: Callable[[], Store]) -> None:
    store = opened()
    for call in (store.open_rows, store.decisions, lambda: store.write(ENTRY), lambda: store.close("r1")):
        with pytest.raises(StoreError):
            call()


@pytest.mark.parametrize(
    "url",
    ["sqlite:////nowhere/at/all.sqlite", "postgresql+psycopg://ada:secret@127.0.0.1:1/aihub"],
    ids=["sqlite", "pg"],
)
def test_no_database_is_a_store_error_without_the_password(url: str) -> None:
    store = Store(url)
    with pytest.raises(StoreError) as caught:
        store.upgrade()
    assert "secret" not in str(caught.value)
    with pytest.raises(StoreError):
        store.write(ENTRY)
    store.dispose()


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://ada:secret@host/aihub", "postgresql://ada@host:secret/aihub"])
def test_an_unusable_address_is_a_store_error_without_the_password(url: str) -> None:
    with pytest.raises(StoreError) as caught:
        Store(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("driver", ["postgresql", "postgresql+psycopg", "postgresql+psycopg2"])
def test_every_postgresql_address_uses_the_driver_that_comes_with_aihub(driver: str) -> None:
    store = Store(f"{driver}://ada@host/aihub")
    assert store._engine.url.drivername == "postgresql+psycopg"


def test_a_locked_sqlite_file_is_a_store_error_and_then_works_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aihub.database._PATIENCE", 0.1)
    store = Store(f"sqlite:///{tmp_path / 'aihub.sqlite'}")
    store.upgrade()
    other = sqlite3.connect(tmp_path / "aihub.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked"):
        store.write(ENTRY)
    assert store.open_rows() == ()
    other.execute("ROLLBACK")
    other.close()
    store.write(ENTRY)
    assert store.open_rows() == (ENTRY,)
    store.dispose()


# --- decisions -------------------------------------------------------------------------------------------------------


def test_nothing_is_decided_at_first(store: Store) -> None:
    assert store.decisions() == {}
    assert store.history("ml101") == ()


def test_changes_add_up_and_survive(store: Store, opened: Callable[[], Store]) -> None:
    assert store.decide("ml101", 0, HIDE, "ines", NOON) == Decisions(
        {"pytorch:2.9": ImageDecision(TagState.HIDDEN)}, None, 1
    )
    store.decide("ml101", 1, RETIRE, "ines", NOON)
    after = store.decide("ml101", 2, SetDefault("scipy:2026"), "ines", NOON)
    assert after == Decisions(
        {
            "pytorch:2.8": ImageDecision(TagState.RETIRED, "pytorch:2.9", "Use 2.9 <b>please</b>, 謝謝"),
            "pytorch:2.9": ImageDecision(TagState.HIDDEN),
        },
        "scipy:2026",
        3,
    )
    store.decide("lab", 0, SetDefault("r:4"), "leo", NOON)
    assert opened().decisions() == {"ml101": after, "lab": Decisions({}, "r:4", 1)}


def test_a_later_decision_replaces_the_earlier(store: Store) -> None:
    store.decide("ml101", 0, RETIRE, "ines", NOON)
    again = store.decide("ml101", 1, SetState("pytorch:2.8", TagState.OFFERED), "ines", NOON)
    assert again == Decisions({"pytorch:2.8": ImageDecision()}, None, 2)


def test_the_default_goes_back_to_the_policys(store: Store) -> None:
    store.decide("ml101", 0, SetDefault("scipy:2026"), "ines", NOON)
    assert store.decide("ml101", 1, SetDefault(None), "ines", NOON) == Decisions({}, None, 2)


@pytest.mark.parametrize("change", [HIDE, RETIRE, SetDefault("scipy:2026")], ids=["hide", "retire", "default"])
def test_a_change_that_changes_nothing_is_no_version(store: Store, change: SetState | SetDefault) -> None:
    first = store.decide("ml101", 0, change, "ines", NOON)
    assert store.decide("ml101", 1, change, "leo", NOON) == first
    assert len(store.history("ml101")) == 1


def test_the_second_of_two_instructors_is_told(store: Store) -> None:
    first = decided(store.decide("ml101", 0, HIDE, "ines", NOON))
    second = store.decide("ml101", 0, RETIRE, "leo", NOON + timedelta(seconds=1))
    assert second == Conflict(
        first,
        HistoryEntry(
            1, "ml101", 1, Action.SET_STATE, "pytorch:2.9", None, ImageDecision(TagState.HIDDEN), "ines", NOON
        ),
    )
    assert store.decisions() == {"ml101": first}
    assert store.decide("lab", 0, HIDE, "leo", NOON) == first, "another project has its own version"


def test_a_version_that_never_was_is_a_conflict(store: Store) -> None:
    assert store.decide("ml101", 7, HIDE, "ines", NOON) == Conflict(Decisions(), None)
    assert store.decisions() == {}


def test_history_tells_who_when_before_and_after_newest_first(store: Store) -> None:
    taipei = timezone(timedelta(hours=8))
    store.decide("ml101", 0, HIDE, "ines", NOON.astimezone(taipei))
    store.decide("lab", 0, SetDefault("r:4"), "leo", NOON)
    store.decide("ml101", 1, SetState("pytorch:2.9", TagState.RETIRED, None, "gone"), "leo", NOON + timedelta(hours=1))
    store.decide("ml101", 2, SetDefault("scipy:2026"), "ines", NOON + timedelta(hours=2))
    hidden, gone = ImageDecision(TagState.HIDDEN), ImageDecision(TagState.RETIRED, None, "gone")
    entries = (
        HistoryEntry(4, "ml101", 3, Action.SET_DEFAULT, None, None, "scipy:2026", "ines", NOON + timedelta(hours=2)),
        HistoryEntry(3, "ml101", 2, Action.SET_STATE, "pytorch:2.9", hidden, gone, "leo", NOON + timedelta(hours=1)),
        HistoryEntry(1, "ml101", 1, Action.SET_STATE, "pytorch:2.9", None, hidden, "ines", NOON),
    )
    assert store.history("ml101") == entries
    assert store.history("ml101", limit=1) == entries[:1]
    assert store.history("ml101", limit=2, before=4) == entries[1:]
    assert {entry.at.tzinfo for entry in store.history("ml101")} == {UTC}


def test_undo_goes_back_to_undecided_and_can_be_undone(store: Store) -> None:
    store.decide("ml101", 0, HIDE, "ines", NOON)
    assert store.undo("ml101", 1, 1, "leo", NOON) == Decisions({}, None, 2)
    undoing, undone = store.history("ml101")
    assert (undoing.undo_of, undoing.undone_by, undoing.by) == (1, None, "leo")
    assert (undoing.before, undoing.after) == (ImageDecision(TagState.HIDDEN), None)
    assert (undone.undo_of, undone.undone_by) == (None, 2)
    assert store.undo("ml101", 2, 2, "ines", NOON) == Decisions(
        {"pytorch:2.9": ImageDecision(TagState.HIDDEN)}, None, 3
    )


def test_undo_of_a_default(store: Store) -> None:
    store.decide("ml101", 0, SetDefault("scipy:2026"), "ines", NOON)
    store.decide("ml101", 1, SetDefault("r:4"), "ines", NOON)
    assert store.undo("ml101", 2, 2, "ines", NOON) == Decisions({}, "scipy:2026", 3)


def test_undo_leaves_what_others_changed_meanwhile(store: Store) -> None:
    store.decide("ml101", 0, HIDE, "ines", NOON)
    store.decide("ml101", 1, RETIRE, "leo", NOON)
    assert store.undo("ml101", 1, 2, "ines", NOON) == Decisions(
        {"pytorch:2.8": ImageDecision(TagState.RETIRED, "pytorch:2.9", RETIRE.message)}, None, 3
    )


def test_undo_of_what_was_changed_again_is_a_conflict_with_that_change(store: Store) -> None:
    store.decide("ml101", 0, HIDE, "ines", NOON)
    store.decide("ml101", 1, SetState("pytorch:2.9", TagState.RETIRED), "leo", NOON)
    store.decide("ml101", 2, SetDefault("r:4"), "mia", NOON)
    outcome = store.undo("ml101", 1, 3, "ines", NOON)
    assert isinstance(outcome, Conflict)
    assert outcome.last is not None
    assert (outcome.last.id, outcome.last.by) == (2, "leo")
    assert outcome.current == store.decisions()["ml101"]
    assert outcome.current.version == 3


def test_undo_twice_is_a_conflict(store: Store) -> None:
    store.decide("ml101", 0, HIDE, "ines", NOON)
    store.undo("ml101", 1, 1, "ines", NOON)
    assert isinstance(store.undo("ml101", 1, 2, "ines", NOON), Conflict)


def test_undo_looking_at_an_old_version_is_a_conflict(store: Store) -> None:
    store.decide("ml101", 0, HIDE, "ines", NOON)
    store.decide("ml101", 1, RETIRE, "leo", NOON)
    outcome = store.undo("ml101", 1, 1, "ines", NOON)
    assert isinstance(outcome, Conflict)
    assert outcome.last is not None
    assert outcome.last.by == "leo"


@pytest.mark.parametrize(
    ("project", "number"), [("ml101", 99), ("lab", 1)], ids=["no such change", "another project's"]
)
def test_undo_of_what_the_project_never_changed_is_an_error(store: Store, project: str, number: int) -> None:
    store.decide("ml101", 0, HIDE, "ines", NOON)
    version = store.decisions().get(project, Decisions()).version
    with pytest.raises(LookupError, match=str(number)):
        store.undo(project, number, version, "ines", NOON)


@pytest.mark.parametrize("version", [0, 1], ids=["first decision", "later decision"])
def test_of_instructors_at_the_same_moment_one_wins(store: Store, version: int) -> None:
    if version:
        store.decide("ml101", 0, SetDefault("r:4"), "ines", NOON)
    crowd = 8
    barrier = Barrier(crowd)

    def decide(number: int) -> Decisions | Conflict:
        barrier.wait()
        return store.decide("ml101", version, SetState(f"pytorch:{number}", TagState.HIDDEN), f"i{number}", NOON)

    with ThreadPoolExecutor(crowd) as threads:
        outcomes = list(threads.map(decide, range(crowd)))
    winners = [outcome for outcome in outcomes if isinstance(outcome, Decisions)]
    assert len(winners) == 1
    assert store.decisions()["ml101"] == winners[0]
    assert winners[0].version == version + 1
    last = store.history("ml101")[0]
    assert len(store.history("ml101")) == version + 1
    losers = [outcome for outcome in outcomes if isinstance(outcome, Conflict)]
    assert losers == [Conflict(winners[0], last)] * (crowd - 1)


def test_persistent_instructors_lose_no_change(store: Store) -> None:
    def insist(number: int) -> None:
        version = 0
        while isinstance(
            outcome := store.decide("ml101", version, SetState(f"s:{number}", TagState.HIDDEN), f"i{number}", NOON),
            Conflict,
        ):
            version = outcome.current.version

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(insist, range(12)))
    decisions = store.decisions()["ml101"]
    assert decisions.version == 12
    assert set(decisions.images) == {f"s:{number}" for number in range(12)}
    assert [entry.version for entry in store.history("ml101")] == list(range(12, 0, -1))
