"""What AIHub keeps for itself: reservation rows, what instructors decided, and whose user names are (`aihub.people`).

The tables that are defined here are those of reservations and of decisions, with who, when, before and after.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    Connection,
    Double,
    Index,
    Integer,
    Row,
    Select,
    String,
    Table,
    Text,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from aihub.catalog import TagState
from aihub.database import METADATA, Moment
from aihub.errors import StoreError
from aihub.ledger import Entry, Phase
from aihub.people import People, Taken
from aihub.projects import Decisions, ImageDecision

__all__ = ["Action", "Change", "Conflict", "HistoryEntry", "SetDefault", "SetState", "Store", "Taken"]

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
    Column("updated_at", Moment, nullable=False),
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
    Column("at", Moment, nullable=False),
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


class Store(People):
    """Everything in AIHub's database (`aihub.database.Database` says how it is reached).

    A Store is a ReservationPort of the ledger.
    """

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
