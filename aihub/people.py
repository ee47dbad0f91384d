"""Whose a user name is: the binding of names to (issuer, subject), and the provider's sessions.

A name belongs to the first subject that had it, and a subject keeps its first name, whatever the provider says later.
Names are compared as they come, so they come normalised (`aihub.policyfile.normalised_user`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Column, Connection, Index, Integer, String, Table, delete, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from aihub.database import METADATA, Database, Moment
from aihub.errors import StoreError

__all__ = ["Binding", "People", "Taken"]

SESSIONS_KEPT = timedelta(days=30)
"""Longer than a browser stays signed in to the hub (14 days)."""

_TRIES = 3

_HELD = text("released IS NULL")

_identity = Table(
    "identity",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("issuer", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("name", String, nullable=False),
    Column("since", Moment, nullable=False),
    Column("released", Moment),
    Index("identity_name", "name", unique=True, sqlite_where=_HELD, postgresql_where=_HELD),
    Index("identity_subject", "issuer", "subject", unique=True, sqlite_where=_HELD, postgresql_where=_HELD),
)

_BINDING = tuple(_identity.c[name] for name in ("name", "issuer", "subject", "since", "released"))

_session = Table(
    "provider_session",
    METADATA,
    Column("issuer", String, primary_key=True),
    Column("session", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("at", Moment, nullable=False),
    Index("provider_session_at", "at"),
)


@dataclass(frozen=True, slots=True)
class Binding:
    """A user name and whose it is, since when; with `released` (both UTC), whose it was."""

    name: str
    issuer: str
    subject: str
    since: datetime
    released: datetime | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """The name is another subject's, since when (UTC)."""

    name: str
    since: datetime


class People(Database):
    """The people in AIHub's database."""

    def bind(self, issuer: str, subject: str, name: str, at: datetime) -> str | Taken:
        """The user name of a subject: its first one, for ever. A new subject gets `name`, unless that is another's.

        Several processes may bind one name at once: one wins. Raises StoreError.
        """
        with self._transaction() as connection:
            return _bind(connection, issuer, subject, name, at)

    def name_of(self, issuer: str, subject: str) -> str | None:
        """The user name that a subject has, if it has one. Raises StoreError."""
        with self._reading() as connection:
            return _name(connection, issuer, subject)

    def bind_all(self, wanted: Iterable[Binding]) -> tuple[str | Taken, ...]:
        """Bind each name to its subject, all or, where one cannot be, none; the outcome of each, in order.

        An outcome other than the binding's own name is what stood in the way: the name that the subject has, or Taken.
        Raises StoreError.
        """
        bindings = tuple(wanted)
        with self._transaction() as connection, connection.begin_nested() as step:
            outcomes = tuple(_bind(connection, each.issuer, each.subject, each.name, each.since) for each in bindings)
            if any(outcome != each.name for outcome, each in zip(outcomes, bindings, strict=True)):
                step.rollback()
            return outcomes

    def release(self, name: str, at: datetime) -> Binding | None:
        """Free a name for whoever comes first; its row stays, `released`. None: it was nobody's. Raises StoreError."""
        rows = _identity.c
        held = rows.name == name, rows.released.is_(None)
        freed = update(_identity).where(*held).values(released=at).returning(*_BINDING)
        with self._transaction() as connection:
            row = connection.execute(freed).one_or_none()
            return None if row is None else Binding(*row)

    def bindings(self) -> tuple[Binding, ...]:
        """Every binding by name, those that were released among them, oldest first. Raises StoreError."""
        rows = _identity.c
        query = select(*_BINDING).order_by(rows.name, rows.id)
        with self._reading() as connection:
            return tuple(Binding(*row) for row in connection.execute(query))

    def session_began(self, issuer: str, session: str, name: str, at: datetime) -> None:
        """Keep that the provider's `session` (`sid`) is that of `name`. What is over 30 days old goes.

        Raises StoreError.
        """
        rows = _session.c
        same = (rows.issuer == issuer) & (rows.session == session)
        with self._transaction() as connection:
            connection.execute(delete(_session).where(rows.at < at - SESSIONS_KEPT))
            try:
                with connection.begin_nested():
                    connection.execute(insert(_session).values(issuer=issuer, session=session, name=name, at=at))
            except IntegrityError:
                connection.execute(update(_session).where(same).values(name=name, at=at))

    def names_of(self, issuer: str, subject: str = "", session: str = "") -> tuple[str, ...]:
        """The user names that a subject has, or a session was that of, or both together. Raises StoreError."""
        people, sessions = _identity.c, _session.c
        held = people.issuer == issuer, people.subject == subject, people.released.is_(None)
        began = sessions.issuer == issuer, sessions.session == session
        query = select(people.name).where(*held).union(select(sessions.name).where(*began))
        with self._reading() as connection:
            return tuple(sorted(connection.execute(query).scalars()))


def _bind(connection: Connection, issuer: str, subject: str, name: str, at: datetime) -> str | Taken:
    for _ in range(_TRIES):
        found = _holder(connection, issuer, subject, name)
        if found is not None:
            return found
        try:
            with connection.begin_nested():
                connection.execute(insert(_identity).values(issuer=issuer, subject=subject, name=name, since=at))
        except IntegrityError:
            continue  # another process was faster: its row is there now
        return name
    raise StoreError(f"{name!r} was bound and released {_TRIES} times while it was to be bound")


def _holder(connection: Connection, issuer: str, subject: str, name: str) -> str | Taken | None:
    """The name that the subject has, or whose the name is; None where both are free."""
    if (had := _name(connection, issuer, subject)) is not None:
        return had
    rows = _identity.c
    query = select(rows.name, rows.since).where(rows.name == name, rows.released.is_(None))
    row = connection.execute(query).one_or_none()
    return None if row is None else Taken(*row)


def _name(connection: Connection, issuer: str, subject: str) -> str | None:
    rows = _identity.c
    query = select(rows.name).where(rows.issuer == issuer, rows.subject == subject, rows.released.is_(None))
    return connection.execute(query).scalar()
