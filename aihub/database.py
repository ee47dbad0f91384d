"""The database that AIHub keeps its own records in: how it is reached, brought up to date, and written to.

SQLite in a file or PostgreSQL by URL; there everything lies in a schema of its own, so that a database may be shared
with the hub. All methods block and belong in a thread (`await asyncio.to_thread(…)`). What goes wrong in the database
is a StoreError.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import (
    URL,
    Connection,
    DateTime,
    Dialect,
    Engine,
    MetaData,
    TypeDecorator,
    create_engine,
    event,
    inspect,
    make_url,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import CreateSchema

from aihub.errors import StoreError

__all__ = ["METADATA", "VERSION_TABLE", "Database", "Moment"]

SCHEMA = "aihub"
VERSION_TABLE = "schema_version"
_PATIENCE = 5
"""Seconds that a connection, a lock or a statement may take: a start waits for them."""
_UPGRADE_LOCK = 0x41494855

METADATA = MetaData()
"""Every table, once `aihub.store` is imported."""


class Moment(TypeDecorator[datetime]):
    """A point in time, in UTC on both databases (SQLite keeps no zone)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """In UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """In UTC, with its zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Database:
    """AIHub's database at a URL: `sqlite:////folder/aihub.sqlite`, `postgresql://user:password@host/database`.

    `upgrade` comes first. `clock` gives Unix seconds for the rows that are written. Raises StoreError for a URL of
    anything else, or where the extra `aihub[postgresql]` is missing.
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
    # On the driver's connection: SQLAlchemy's would have begun a transaction, in which the mode cannot change. SQLite
    # does not wait for others here, whatever its timeout is: several processes may do this at once.
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            with closing(engine.raw_connection()) as connection:
                connection.cursor().execute("PRAGMA journal_mode=WAL")
        except sqlite3.Error as error:
            busy = isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > until:
                raise StoreError(f"{engine.url.database}: {error}") from error
            time.sleep(0.05)
        else:
            return


def _prepare_postgresql(connection: Any, _record: Any) -> None:
    # In autocommit, or the first rollback would take the settings back.
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"SET search_path TO {SCHEMA}")
        cursor.execute(f"SET lock_timeout TO '{_PATIENCE}s'")
        cursor.execute(f"SET statement_timeout TO '{_PATIENCE}s'")
    connection.autocommit = False
