"""AIHub's own database: reservation rows, and what instructors decided with who, when, before and after.

SQLite in a file or PostgreSQL by URL; there everything lies in a schema of its own, so that a database may be shared
with the hub. All methods block and belong in a thread (`await asyncio.to_thread(…)`). What goes wrong in the database
is a StoreError.
"""

from __future__ import annotations

import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import (
    JSON,
    URL,
    Column,
    Connection,
    DateTime,
    Dialect,
    Double,
    Engine,
    Index,
    Integer,
    MetaData,
    Row,
    Select,
    String,
    Table,
    Text,
    TypeDecorator,
    create_engine,
    delete,
    event,
    insert,
    inspect,
    make_url,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.schema import CreateSchema

from aihub.catalog import TagState
from aihub.errors import StoreError
from aihub.ledger import Entry, Phase
from aihub.projects import Decisions, ImageDecision

__all__ = [
    "METADATA",
    "VERSION_TABLE",
    "Action",
    "Change",
    "Conflict",
    "HistoryEntry",
    "SetDefault",
    "SetState",
    "Store",
]

SCHEMA = "aihub"
VERSION_TABLE = "schema_version"
_PATIENCE = 5
"""Seconds that a connection, a lock or a statement may take: a start waits for them."""
_UPGRADE_LOCK = 0x41494855


class _Moment(TypeDecorator[datetime]):
    """A point in time, in UTC on both databases (SQLite keeps no zone)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


METADATA = MetaData()

_reservation = Table(
    "reservation",
    METADATA,
    Column("id", String, primary_key=True),
    Column("person", String, nullable=False),
    Column("server_name", String, nullable=False),
    Column("project", String, nullable=False),
    Column("charge", JSON, nullable=False),  # amounts as text: JSON's numbers are not exact
    Column("claims", JSON, nullable=False),
    Column("accelerator", String),
    Column("devices", JSON, nullable=False),
    Column("object_name", String, nullable=False),
    Column("created", Double, nullable=False),  # Unix seconds, as are the next two
    Column("deadline", Double),
    Column("closed", Double),
    Index("reservation_closed", "closed"),
)

_image_decision = Table(
    "image_decision",
    METADATA,
    Column("project", String, primary_key=True),
    Column("reference", String, primary_key=True),
    Column("state", String, nullable=False),
    Column("successor", String),
    Column("message", Text, nullable=False),
    Column("updated_by", String, nullable=False),
    Column("updated_at", _Moment, nullable=False),
)

_project_choice = Table(
    "project_choice",
    METADATA,
    Column("project", String, primary_key=True),
    Column("default_reference", String),
    Column("version", Integer, nullable=False),
)

_history = Table(
    "decision_history",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("project", String, nullable=False),
    Column("version", Integer, nullable=False),
    Column("action", String, nullable=False),
    Column("reference", String),
    Column("before", JSON(none_as_null=True)),
    Column("after", JSON(none_as_null=True)),
    Column("by", String, nullable=False),
    Column("at", _Moment, nullable=False),
    Column("undo_of", Integer),
    Index("decision_history_project", "project", "id"),
    Index("decision_history_undo_of", "undo_of"),
)


@dataclass(frozen=True, slots=True)
class SetState:
    """Offer, hide or retire "stream:tag". `successor` and `message` are what people read of a retired one."""

    reference: str
    state: TagState
    successor: str | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class SetDefault:
    """Make "stream:tag" the project's default; None goes back to the policy file's."""

    reference: str | None


Change = SetState | SetDefault


class Action(StrEnum):
    """What a change changed."""

    SET_STATE = "set-state"
    SET_DEFAULT = "set-default"


Decided = ImageDecision | str | None
"""Before or after a change: an ImageDecision (None: undecided) of SET_STATE, a reference or None of SET_DEFAULT."""


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One change of a project's decisions: who, when (UTC), before and after, and the project's version after it.

    `reference` is the image of SET_STATE. `undo_of` is the id of the change that this one took back, `undone_by` that
    of the one that last took this one back.
    """

    id: int
    project: str
    version: int
    action: Action
    reference: str | None
    before: Decided
    after: Decided
    by: str
    at: datetime
    undo_of: int | None = None
    undone_by: int | None = None


@dataclass(frozen=True, slots=True)
class Conflict:
    """Nothing was written, because `last` came between (None only where `current` was never changed)."""

    current: Decisions
    last: HistoryEntry | None


class Store:
    """AIHub's database at a URL: `sqlite:////folder/aihub.sqlite`, `postgresql://user:password@host/database`.

    `upgrade` comes first. A Store is a ReservationPort of the ledger; `clock` gives Unix seconds for its rows.
    Raises StoreError for a URL of anything else, or where the extra `aihub[postgresql]` is missing.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = time.time) -> None:
        self._engine = _engine(url)
        self._writing = self._engine.execution_options(aihub_writes=True)
        self._clock = clock

    def upgrade(self) -> None:
        """Bring the tables to this version of AIHub; several processes may do so at once. Raises StoreError."""
        with _errors_of(self._engine):
            if self._engine.dialect.name == "sqlite":
                _use_wal(self._engine)
            with self._writing.begin() as connection:
                if connection.dialect.name == "postgresql":
                    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_UPGRADE_LOCK})")
                    if not inspect(connection).has_schema(SCHEMA):
                        connection.execute(CreateSchema(SCHEMA))
                config = Config()
                config.set_main_option("script_location", "aihub:migrations")
                config.attributes["connection"] = connection
                command.upgrade(config, "head")

    def dispose(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    # --- reservations (aihub.ledger.ReservationPort) -----------------------------------------------------------------

    def write(self, entry: Entry) -> None:
        """Commit the open row of a reservation. Raises StoreError."""
        values = entry.as_dict()
        row = {
            "id": entry.id,
            "person": entry.server.person,
            "server_name": entry.server.name,
            "object_name": entry.object_name,
            "created": self._clock(),
            **{key: values[key] for key in ("project", "charge", "claims", "accelerator", "devices", "deadline")},
        }
        with self._transaction() as connection:
            connection.execute(insert(_reservation).values(row))

    def close(self, entry_id: str) -> None:
        """Close the row of a reservation; one that is closed or unknown stays as it is. Raises StoreError."""
        rows = _reservation.c
        close = update(_reservation).where(rows.id == entry_id, rows.closed.is_(None)).values(closed=self._clock())
        with self._transaction() as connection:
            connection.execute(close)

    def open_rows(self) -> tuple[Entry, ...]:
        """Every open reservation, oldest first. Raises StoreError."""
        rows = _reservation.c
        query = select(_reservation).where(rows.closed.is_(None)).order_by(rows.created, rows.id)
        with self._reading() as connection:
            return tuple(_entry(row) for row in connection.execute(query))

    # --- instructors' decisions --------------------------------------------------------------------------------------

    def decisions(self) -> Mapping[str, Decisions]:
        """The decisions of every project that has any. Raises StoreError."""
        with self._reading() as connection:
            return MappingProxyType(_decisions(connection, None))

    def decide(
        self, project: str, expected_version: int, change: Change, by: str, at: datetime
    ) -> Decisions | Conflict:
        """Make `change`, which `by` decided when looking at `expected_version` of the project's decisions.

        If somebody else was faster nothing is written and the Conflict says who. A change that changes nothing is no
        new version. Raises StoreError.
        """
        with self._transaction() as connection:
            current = _decisions_of(connection, project)
            if current.version != expected_version:
                return _conflict(connection, project)
            return _make(connection, project, current, change, _after(change), by, at)

    def undo(self, project: str, history_id: int, expected_version: int, by: str, at: datetime) -> Decisions | Conflict:
        """Take one change back, unless the same thing was changed again since: a Conflict with that change, then.

        An undo is a change too, and can be undone. Raises LookupError where the project has no such change, StoreError.
        """
        with self._transaction() as connection:
            current = _decisions_of(connection, project)
            if current.version != expected_version:
                return _conflict(connection, project)
            row = connection.execute(_history_query(project).where(_history.c.id == history_id)).one_or_none()
            if row is None:
                raise LookupError(f"{project} has no change {history_id}")
            undone = _history_entry(row)
            change: Change = SetDefault(None)
            if undone.reference is not None:
                change = SetState(undone.reference, TagState.OFFERED)
            if _value(current, change) != undone.after:
                return _conflict(connection, project, undone)
            return _make(connection, project, current, change, undone.before, by, at, undo_of=history_id)

    def history(self, project: str, limit: int = 50, before: int | None = None) -> tuple[HistoryEntry, ...]:
        """The latest `limit` changes, newest first; `before` is the id from which to page on. Raises StoreError."""
        query = _history_query(project).limit(limit)
        if before is not None:
            query = query.where(_history.c.id < before)
        with self._reading() as connection:
            return tuple(_history_entry(row) for row in connection.execute(query))

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with _errors_of(self._engine), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with _errors_of(self._engine), self._writing.begin() as connection:
            yield connection


# --- the two databases -----------------------------------------------------------------------------------------------


@contextmanager
def _errors_of(engine: Engine) -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, CommandError) as error:
        cause = getattr(error, "orig", None) or error
        raise StoreError(f"{engine.url.render_as_string(hide_password=True)}: {cause}") from error


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            return _sqlite(parsed)
        if parsed.get_backend_name() == "postgresql":
            return _postgresql(parsed.set(drivername="postgresql+psycopg"))
    except ImportError as error:
        raise StoreError("PostgreSQL needs the extra `aihub[postgresql]`") from error
    except (SQLAlchemyError, ValueError):
        # Without the cause: an address that is cut at the wrong place shows parts of the password.
        raise StoreError("the database's address is not a URL that SQLAlchemy can read") from None
    raise StoreError(f"{parsed.drivername} is neither sqlite nor postgresql")


def _sqlite(url: URL) -> Engine:
    engine = create_engine(url, connect_args={"timeout": _PATIENCE}, pool_timeout=_PATIENCE)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _postgresql(url: URL) -> Engine:
    arguments = {"connect_timeout": _PATIENCE}
    engine = create_engine(url, connect_args=arguments, pool_timeout=_PATIENCE, pool_pre_ping=True)
    event.listen(engine, "connect", _prepare_postgresql)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    # The driver's own BEGIN leaves out DDL and reads, which makes migrations and read-then-write unsafe.
    connection.isolation_level = None
    # FULL, although NORMAL is faster: with WAL, NORMAL may lose the last commits when the machine (not only the hub)
    # goes down, and a reservation must outlive whatever its pod outlives.
    connection.execute("PRAGMA synchronous=FULL")


def _begin_sqlite(connection: Connection) -> None:
    # IMMEDIATE takes the write lock before anything is read; a plain BEGIN that turns to writing later fails at once
    # when somebody wrote in between.
    writes = connection.get_execution_options().get("aihub_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _use_wal(engine: Engine) -> None:
    """Readers do not wait for writers. The mode is kept in the file."""
    # On the driver's connection: SQLAlchemy's would have begun a transaction, in which the mode cannot change.
    try:
        with closing(engine.raw_connection()) as connection:
            connection.cursor().execute("PRAGMA journal_mode=WAL")
    except sqlite3.Error as error:
        raise StoreError(f"{engine.url.database}: {error}") from error


def _prepare_postgresql(connection: Any, _record: Any) -> None:
    # In autocommit, or the first rollback would take the settings back.
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"SET search_path TO {SCHEMA}")
        cursor.execute(f"SET lock_timeout TO '{_PATIENCE}s'")
        cursor.execute(f"SET statement_timeout TO '{_PATIENCE}s'")
    connection.autocommit = False


# --- rows and values -------------------------------------------------------------------------------------------------


def _entry(row: Row[Any]) -> Entry:
    values = {key: getattr(row, key) for key in ("id", "person", "project", "charge", "claims", "accelerator")}
    values |= {"devices": row.devices, "deadline": row.deadline, "server": row.server_name}
    try:
        return Entry.from_dict({**values, "objectName": row.object_name, "phase": Phase.RESERVED, "uid": ""})
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise StoreError(f"reservation {row.id} cannot be read: {error!r}") from error


def _decisions(connection: Connection, project: str | None) -> dict[str, Decisions]:
    """The decisions of one project, or of all that have any."""
    choices, images = select(_project_choice), select(_image_decision).order_by(_image_decision.c.reference)
    if project is not None:
        choices = choices.where(_project_choice.c.project == project)
        images = images.where(_image_decision.c.project == project)
    found: defaultdict[str, dict[str, ImageDecision]] = defaultdict(dict)
    for row in connection.execute(images):
        found[row.project][row.reference] = ImageDecision(TagState(row.state), row.successor, row.message)
    return {
        row.project: Decisions(MappingProxyType(found[row.project]), row.default_reference, row.version)
        for row in connection.execute(choices)
    }


def _decisions_of(connection: Connection, project: str) -> Decisions:
    return _decisions(connection, project).get(project, Decisions())


def _after(change: Change) -> Decided:
    if isinstance(change, SetDefault):
        return change.reference
    return ImageDecision(change.state, change.successor, change.message)


def _value(decisions: Decisions, change: Change) -> Decided:
    """What stands now of that which `change` is about."""
    return decisions.default if isinstance(change, SetDefault) else decisions.images.get(change.reference)


def _make(
    connection: Connection,
    project: str,
    current: Decisions,
    change: Change,
    after: Decided,
    by: str,
    at: datetime,
    undo_of: int | None = None,
) -> Decisions | Conflict:
    before = _value(current, change)
    if before == after:
        return current
    if not _step(connection, project, current.version):
        return _conflict(connection, project)
    if isinstance(change, SetDefault):
        to = update(_project_choice).where(_project_choice.c.project == project).values(default_reference=after)
        connection.execute(to)
    else:
        _put(connection, project, change.reference, after, by, at)
    connection.execute(
        insert(_history).values(
            project=project,
            version=current.version + 1,
            action=Action.SET_DEFAULT if isinstance(change, SetDefault) else Action.SET_STATE,
            reference=None if isinstance(change, SetDefault) else change.reference,
            before=_document(before),
            after=_document(after),
            by=by,
            at=at,
            undo_of=undo_of,
        )
    )
    return _decisions_of(connection, project)


def _step(connection: Connection, project: str, version: int) -> bool:
    """Count the project's version on from `version`; False if somebody else just did. Holds its row until the end."""
    if version == 0:
        try:
            with connection.begin_nested():
                connection.execute(insert(_project_choice).values(project=project, version=0))
        except IntegrityError:
            return False  # the other's first decision
    rows = _project_choice.c
    counted = update(_project_choice).where(rows.project == project, rows.version == version)
    return connection.execute(counted.values(version=version + 1)).rowcount == 1


def _put(connection: Connection, project: str, reference: str, value: Decided, by: str, at: datetime) -> None:
    rows = _image_decision.c
    connection.execute(delete(_image_decision).where(rows.project == project, rows.reference == reference))
    if isinstance(value, ImageDecision):
        connection.execute(
            insert(_image_decision).values(
                project=project,
                reference=reference,
                state=value.state,
                successor=value.successor,
                message=value.message,
                updated_by=by,
                updated_at=at,
            )
        )


def _conflict(connection: Connection, project: str, since: HistoryEntry | None = None) -> Conflict:
    """What stands, and the project's last change; with `since`, the last one of the same thing."""
    query = _history_query(project).limit(1)
    if since is not None:
        query = query.where(
            _history.c.action == since.action, _history.c.reference.is_not_distinct_from(since.reference)
        )
    row = connection.execute(query).one_or_none()
    return Conflict(_decisions_of(connection, project), None if row is None else _history_entry(row))


def _history_query(project: str) -> Select[Any]:
    later = _history.alias()
    undone_by = select(later.c.id).where(later.c.undo_of == _history.c.id).order_by(later.c.id.desc()).limit(1)
    return (
        select(_history, undone_by.scalar_subquery().label("undone_by"))
        .where(_history.c.project == project)
        .order_by(_history.c.id.desc())
    )


def _history_entry(row: Row[Any]) -> HistoryEntry:
    return HistoryEntry(
        id=row.id,
        project=row.project,
        version=row.version,
        action=Action(row.action),
        reference=row.reference,
        before=_decided(row.before),
        after=_decided(row.after),
        by=row.by,
        at=row.at,
        undo_of=row.undo_of,
        undone_by=row.undone_by,
    )


def _document(value: Decided) -> dict[str, str | None] | str | None:
    if not isinstance(value, ImageDecision):
        return value
    return {"state": value.state.value, "successor": value.successor, "message": value.message}


def _decided(document: Any) -> Decided:
    if not isinstance(document, dict):
        return document if isinstance(document, str) else None
    return ImageDecision(TagState(document["state"]), document["successor"], document["message"])
