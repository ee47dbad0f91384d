"""The command `aihub people`: whose the user names are, for moving from names to accounts of a provider."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from aihub.people import Binding, Taken
    from aihub.store import Store

# Imports of what a command needs stand inside it: `aihub version` must not wait for SQLAlchemy to load.
# ruff: noqa: PLC0415

__all__ = ["people"]

DATABASE_URL = "AIHUB_DATABASE_URL"
IN_THE_POD = Path("/srv/aihub/aihub.sqlite")
"""The database of a hub in a cluster that has no other."""

COLUMNS = ("name", "issuer", "subject")
REFUSED, UNUSABLE = 1, 2


@click.group()
def people() -> None:
    """Whose the user names are at the provider of sign-in.

    A user name belongs to the first account that signed in with it: an account is the provider's address (issuer) and
    its own id of the person (subject). With these commands names can be given out before anybody signs in, for
    instance when a hub moves from a shared password to Keycloak.

    \b
    Examples:
      kubectl -n aihub exec deploy/aihub-hub -- aihub people list
      aihub people bind ada --issuer https://id.example.org/realms/school --subject 0f1c…
      kubectl -n aihub exec -i deploy/aihub-hub -- aihub people bind --file - < people.csv
    """  # noqa: D301 - click reads the character \b


def _database(function: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--database-url",
        "url",
        envvar=DATABASE_URL,
        show_envvar=True,
        help="AIHub's database, as sqlite:////srv/aihub/aihub.sqlite or postgresql://…; better in the variable, as it "
        f"may hold a password. Absent: {IN_THE_POD}, if that is there.",
    )(function)


@people.command("list")
@_database
@click.option("--all", "everything", is_flag=True, help="Bindings that were released too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_people(url: str | None, everything: bool, as_json: bool) -> None:
    """Print every user name, whose it is, and since when.

    \b
    Examples:
      aihub people list
      aihub people list --all --json
    """  # noqa: D301 - click reads the character \b
    with _opened(url) as store:
        bindings = [binding for binding in store.bindings() if everything or binding.released is None]
    if as_json:
        click.echo(json.dumps([_document(binding) for binding in bindings], indent=2, ensure_ascii=False))
        return
    for binding in bindings:
        released = f", released {_moment(binding.released)}" if binding.released else ""
        whose = f"{_inert(binding.subject)} at {_inert(binding.issuer)}"
        click.echo(f"{_inert(binding.name)}: {whose}, since {_moment(binding.since)}{released}")
    click.echo(f"{len(bindings)} user name{'' if len(bindings) == 1 else 's'}", err=True)


@people.command()
@_database
@click.argument("name", required=False)
@click.option("--issuer", help="The provider's address, as in the policy file; of GitHub https://github.com.")
@click.option("--subject", help="The claim `sub` of the person: Keycloak's id of the user, GitHub's account number.")
@click.option(
    "--file",
    "path",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="CSV file with the columns name, issuer and subject, named in its first line; - is standard input.",
)
def bind(url: str | None, name: str | None, issuer: str | None, subject: str | None, path: Path | None) -> None:
    """Give the user name NAME to an account, or all those of a file: either every line holds, or nothing changes.

    What is bound already as it is asked for is no error. Exit status: 0 when all are bound, 1 when one cannot be,
    2 when the file or the database cannot be used.

    \b
    Examples:
      aihub people bind ada --issuer https://id.example.org/realms/school --subject 0f1c…
      aihub people bind --file people.csv
    """  # noqa: D301 - click reads the character \b
    given = (name, issuer, subject)
    if path is not None and not any(given):
        rows = tuple(_rows(path))
    elif path is None and all(given):
        rows = (("", given),)
    else:
        raise click.UsageError("give either NAME, --issuer and --subject, or --file")
    at = datetime.now(UTC)
    checked = [(where, *_checked(row, at)) for where, row in rows]
    problems = [f"{where}{problem}" for where, _, found in checked for problem in found]
    if problems:
        _refuse(problems)
    with _opened(url) as store:
        bindings = [binding for _, binding, _ in checked]
        outcomes = store.bind_all(bindings)
    pairs = zip(checked, outcomes, strict=True)
    problems = [f"{where}{_obstacle(binding, got)}" for (where, binding, _), got in pairs if got != binding.name]
    if problems:
        _refuse(problems)
    click.echo(f"{len(bindings)} user name{' is' if len(bindings) == 1 else 's are'} bound")


@people.command()
@_database
@click.argument("name")
@click.confirmation_option(
    "--yes", prompt="Whoever signs in with this name next gets it, and the home that goes with it. Release it?"
)
def release(url: str | None, name: str) -> None:
    """Free the user name NAME: it then belongs to the next account that signs in with it.

    That account gets everything that goes with the name, the home first of all. The account that had the name keeps no
    right to it, and what it has open in the hub goes on until it is signed out. That it had the name stays on record.

    \b
    Example:
      aihub people release ada --yes
    """  # noqa: D301 - click reads the character \b
    from aihub.projects import normalised_user

    with _opened(url) as store:
        released = store.release(normalised_user(name), datetime.now(UTC))
    if released is None:
        _refuse([f"{name} is bound to nobody"])
    click.echo(_inert(f"{released.name} is free; it was that of {released.subject} at {released.issuer}"))


# --- the database ----------------------------------------------------------------------------------------------------


@contextmanager
def _opened(url: str | None) -> Iterator[Store]:
    """The database, brought up to date as a hub of this version does when it starts. Ends the program if it cannot."""
    from aihub.errors import StoreError
    from aihub.store import Store

    address = url or (f"sqlite:///{IN_THE_POD}" if IN_THE_POD.exists() else "")
    if not address:
        raise click.UsageError(f"which database? Set {DATABASE_URL} or give --database-url")
    if (missing := _missing(address)) is not None:
        _fail(f"there is no database in {missing}: the hub makes it when it first starts")
    try:
        store = Store(address)
        store.upgrade()
        yield store
        store.dispose()
    except StoreError as error:
        _fail(str(error))


def _missing(url: str) -> Path | None:
    """The file of an SQLite database that does not exist, which SQLite would make."""
    kind, _, path = url.partition(":///")
    return Path(path) if kind.startswith("sqlite") and not Path(path).is_file() else None


# --- what was asked for ----------------------------------------------------------------------------------------------


def _rows(path: Path) -> Iterator[tuple[str, tuple[str | None, ...]]]:
    """The lines of a CSV file as name, issuer and subject, each with its place. Ends the program if it cannot."""
    try:
        with click.open_file(str(path), encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            head = [column.strip() for column in next(reader, [])]
            if sorted(head) != sorted(COLUMNS):
                _fail(f"{path}:1: the first line must name the columns: {','.join(COLUMNS)}")
            for row in reader:
                if not row:
                    continue
                if len(row) != len(head):
                    _fail(f"{path}:{reader.line_num}: has {len(row)} columns, not {len(head)}")
                values = dict(zip(head, (value.strip() for value in row), strict=True))
                yield f"{path}:{reader.line_num}: ", tuple(values[column] for column in COLUMNS)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        _fail(f"{path}: cannot be read: {error}")


def _checked(row: tuple[str | None, ...], at: datetime) -> tuple[Binding, list[str]]:
    """The binding that a row asks for, and what is wrong with it."""
    from pydantic import TypeAdapter, ValidationError

    from aihub.fields import UserName
    from aihub.people import Binding
    from aihub.projects import normalised_user
    from aihub.signinfile import Issuer

    name, issuer, subject = (value or "" for value in row)
    problems = []
    kinds: tuple[tuple[str, str, Any], ...] = (("name", name, UserName), ("issuer", issuer, Issuer))
    for column, value, kind in kinds:
        try:
            TypeAdapter(kind).validate_python(value)
        except ValidationError as error:
            problems.append(f"{column} {value!r} {error.errors()[0]['msg']}")
    # https://openid.net/specs/openid-connect-core-1_0.html#IDToken bounds a subject.
    if not subject.isprintable() or not 0 < len(subject) <= 255:
        problems.append(f"subject {subject!r} is empty, too long or not printable")
    return Binding(normalised_user(name), issuer, subject, at), problems


def _obstacle(binding: Binding, outcome: str | Taken) -> str:
    if isinstance(outcome, str):
        return f"{binding.subject} has the user name {outcome} already, and cannot have {binding.name}"
    return f"{outcome.name} belongs to another account since {_moment(outcome.since)}: see `aihub people list`"


# --- what is printed -------------------------------------------------------------------------------------------------


def _document(binding: Binding) -> dict[str, str | None]:
    return {
        "name": binding.name,
        "issuer": binding.issuer,
        "subject": binding.subject,
        "since": binding.since.isoformat(),
        "released": binding.released.isoformat() if binding.released else None,
    }


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _refuse(problems: Iterable[str]) -> NoReturn:
    for problem in problems:
        click.echo(_inert(problem), err=True)
    click.echo("aihub people: nothing was changed", err=True)
    sys.exit(REFUSED)


def _fail(problem: str) -> NoReturn:
    click.echo(f"aihub people: {_inert(problem)}", err=True)
    sys.exit(UNUSABLE)


def _inert(text: str) -> str:
    """`text` without what a terminal would act on: control and bidirectional characters."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
