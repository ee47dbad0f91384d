"""`aihub people`: names are given to accounts, all of a file or none, and a password is never printed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from aihub import cli_people
from aihub.cli import main
from aihub.people import Binding
from aihub.store import Store

SCHOOL = "https://id.example.org/realms/school"
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HEAD = "name,issuer,subject\n"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'aihub.sqlite'}"


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """A hub's database, in which ada is known."""
    store = Store(url)
    store.upgrade()
    store.bind(SCHOOL, "s1", "ada", NOON)
    yield store
    store.dispose()


def run(url: str | None, *arguments: str, given: str | None = None) -> Result:
    return CliRunner().invoke(main, ["people", *arguments], input=given, env={"AIHUB_DATABASE_URL": url})


def held(store: Store) -> dict[str, str]:
    return {binding.name: binding.subject for binding in store.bindings() if binding.released is None}


# --- list ------------------------------------------------------------------------------------------------------------


def test_everybody_is_listed(store: Store, url: str) -> None:
    result = run(url, "list")
    assert result.exit_code == 0
    assert result.stdout == f"ada: s1 at {SCHOOL}, since 2026-11-22 12:00 UTC\n"
    assert result.stderr == "1 user name\n"


def test_released_bindings_are_listed_when_asked_for(store: Store, url: str) -> None:
    store.release("ada", NOON)
    assert run(url, "list").stdout == ""
    assert run(url, "list", "--all").stdout.endswith("12:00 UTC, released 2026-11-22 12:00 UTC\n")


def test_the_list_as_json(store: Store, url: str) -> None:
    store.release("ada", NOON)
    store.bind(SCHOOL, "s2", "adé", NOON)
    since = "2026-11-22T12:00:00+00:00"
    ada = {"name": "ada", "issuer": SCHOOL, "subject": "s1", "since": since, "released": since}
    ade = {"name": "adé", "issuer": SCHOOL, "subject": "s2", "since": since, "released": None}
    assert json.loads(run(url, "list", "--json").stdout) == [ade]
    assert json.loads(run(url, "list", "--json", "--all").stdout) == [ada, ade]


def test_hostile_text_moves_no_cursor(store: Store, url: str) -> None:
    store.bind(SCHOOL, "\x1b[2J\u202e", "bo", NOON)
    assert all(character.isprintable() or character == "\n" for character in run(url, "list").output)


# --- bind ------------------------------------------------------------------------------------------------------------


def test_a_name_is_bound_normalised_once_or_twice(store: Store, url: str) -> None:
    for _ in range(2):
        result = run(url, "bind", "Bo", "--issuer", SCHOOL, "--subject", "s2")
        assert (result.exit_code, result.output) == (0, "1 user name is bound\n")
    assert held(store) == {"ada": "s1", "bo": "s2"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["ada", "--subject", "s2"], "ada belongs to another account since 2026-11-22 12:00", id="taken"),
        pytest.param(["ida", "--subject", "s1"], "s1 has the user name ada already", id="has another"),
        pytest.param(["a/b", "--subject", "s2"], "name 'a/b' is no user name", id="no name"),
        pytest.param(["..", "--subject", "s2"], "is no user name", id="no name either"),
        pytest.param(["bo", "--subject", "s\n2"], "subject 's\\n2' is empty, too long or not printable", id="subject"),
        pytest.param(["bo", "--subject", "s" * 256], "too long", id="long subject"),
        pytest.param(["bo", "--subject", "s2", "--issuer", "http://id.example.org"], "https://", id="no https"),
        pytest.param(["bo", "--subject", "s2", "--issuer", "keycloak"], "issuer 'keycloak'", id="no address"),
    ],
)
def test_what_cannot_be_bound_is_refused(store: Store, url: str, arguments: list[str], message: str) -> None:
    result = run(url, "bind", "--issuer", SCHOOL, *arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert message in result.stderr
    assert result.stderr.endswith("aihub people: nothing was changed\n")
    assert held(store) == {"ada": "s1"}


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([], id="nothing"),
        pytest.param(["bo"], id="no account"),
        pytest.param(["bo", "--subject", "s2"], id="no issuer"),
        pytest.param(["bo", "--file", "x.csv"], id="name and file"),
        pytest.param(["--file", "x.csv", "--issuer", SCHOOL], id="issuer and file"),
    ],
)
def test_half_a_request_is_a_mistake(url: str, arguments: list[str]) -> None:
    result = run(url, "bind", *arguments)
    assert result.exit_code == 2
    assert "either NAME, --issuer and --subject, or --file" in result.stderr


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"{HEAD}Bo,{SCHOOL},s2\ncy,{SCHOOL},s3\n", id="plain"),
        pytest.param(f"\ufeffsubject, issuer ,name\r\ns2,{SCHOOL},bo\r\n\r\ns3, {SCHOOL},cy\r\n", id="a spreadsheet's"),
        pytest.param(f'{HEAD}"bo","{SCHOOL}","s2"\nada,{SCHOOL},s1\ncy,{SCHOOL},s3', id="quoted, one bound already"),
    ],
)
@pytest.mark.parametrize("place", ["file", "standard input"])
def test_a_file_is_bound(store: Store, url: str, tmp_path: Path, text: str, place: str) -> None:
    path = tmp_path / "people.csv"
    path.write_text(text, encoding="utf-8", newline="")
    given = None if place == "file" else text
    result = run(url, "bind", "--file", str(path) if place == "file" else "-", given=given)
    assert result.exit_code == 0, result.output
    assert held(store) == {"ada": "s1", "bo": "s2", "cy": "s3"}


def test_all_of_a_file_is_bound_or_nothing_and_every_line_is_named(store: Store, url: str, tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    lines = [f"bo,{SCHOOL},s2", f"ada,{SCHOOL},s9", f"cy,{SCHOOL},s3", f"dee,{SCHOOL},s3", f"bo,{SCHOOL},s4"]
    path.write_text(HEAD + "\n".join(lines))
    result = run(url, "bind", "--file", str(path))
    assert result.exit_code == 1
    first, second, third, last = result.stderr.splitlines()
    assert first.startswith(f"{path}:3: ada belongs to another account since 2026-11-22")
    assert second == f"{path}:5: s3 has the user name cy already, and cannot have dee"
    assert third.startswith(f"{path}:6: bo belongs to another account")
    assert last == "aihub people: nothing was changed"
    assert held(store) == {"ada": "s1"}


@pytest.mark.parametrize(
    ("text", "status", "message"),
    [
        pytest.param(b"", 2, ":1: the first line must name the columns: name,issuer,subject", id="empty"),
        pytest.param(b"ada,https://id,s1\n", 2, ":1: the first line must name the columns", id="no head"),
        pytest.param(b"name,name,subject\n", 2, ":1: the first line must name the columns", id="twice a column"),
        pytest.param(b"name,issuer,subject\nbo,https://id\n", 2, ":2: has 2 columns, not 3", id="too few"),
        pytest.param(b"name,issuer,subject\n\nbo,https://id,s,\n", 2, ":3: has 4 columns, not 3", id="too many"),
        pytest.param(b'name,issuer,subject\n"bo,https://id,s\n', 2, "cannot be read", id="open quote"),
        pytest.param(b"name,issuer,subject\n\xff,https://id,s\n", 2, "cannot be read", id="not UTF-8"),
        pytest.param(b"name,issuer,subject\n ,https://id,s\n", 1, ":2: name '' ", id="no name"),
        pytest.param(b"name,issuer,subject\nbo,https://id,\n", 1, ":2: subject '' is empty", id="no subject"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_with_its_line(
    store: Store, url: str, tmp_path: Path, text: bytes, status: int, message: str
) -> None:
    path = tmp_path / "people.csv"
    path.write_bytes(text)
    result = run(url, "bind", "--file", str(path))
    assert (result.exit_code, result.stdout) == (status, "")
    assert str(path) in result.stderr
    assert message in result.stderr
    assert held(store) == {"ada": "s1"}


def test_no_file(url: str, store: Store) -> None:
    result = run(url, "bind", "--file", "/nowhere/people.csv")
    assert result.exit_code == 2
    assert "/nowhere/people.csv: cannot be read" in result.stderr


# --- release ---------------------------------------------------------------------------------------------------------


def test_a_name_is_released(store: Store, url: str) -> None:
    result = run(url, "release", "ADA", "--yes")
    assert (result.exit_code, result.output) == (0, f"ada is free; it was that of s1 at {SCHOOL}\n")
    assert held(store) == {}
    assert store.bindings()[0].released is not None
    assert run(url, "release", "ada", "--yes").exit_code == 1


@pytest.mark.parametrize("answer", ["", "n\n"], ids=["nobody there", "no"])
def test_nothing_is_released_without_a_yes(store: Store, url: str, answer: str) -> None:
    assert run(url, "release", "ada", given=answer).exit_code == 1
    assert held(store) == {"ada": "s1"}


# --- the database ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["list"], ["bind", "a", "--issuer", SCHOOL, "--subject", "s"]], ids=str)
def test_a_database_that_cannot_be_used_is_said_without_its_password(arguments: list[str]) -> None:
    result = run("postgresql://ada:hidden@127.0.0.1:1/aihub", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "127.0.0.1" in result.stderr
    assert "hidden" not in result.output


def test_no_file_is_made_where_a_database_was_expected(tmp_path: Path) -> None:
    path = tmp_path / "typo.sqlite"
    result = run(f"sqlite:///{path}", "list")
    assert result.exit_code == 2
    assert f"there is no database in {path}" in result.stderr
    assert not path.exists()


def test_in_the_hubs_pod_the_database_is_known(store: Store, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(url.removeprefix("sqlite:///"))
    monkeypatch.setattr(cli_people, "IN_THE_POD", path)
    assert run(None, "list").stdout.startswith("ada: ")
    monkeypatch.setattr(cli_people, "IN_THE_POD", path.with_name("none"))
    result = run(None, "list")
    assert result.exit_code == 2
    assert "Set AIHUB_DATABASE_URL or give --database-url" in result.stderr


def test_the_option_counts_over_the_variable(store: Store, url: str) -> None:
    assert run("nonsense", "list", "--database-url", url).exit_code == 0


def test_an_address_that_is_none_is_a_mistake() -> None:
    assert run("nonsense", "list").exit_code == 2


def test_bindings_are_those_of_the_store(store: Store, url: str) -> None:
    run(url, "bind", "bo", "--issuer", SCHOOL, "--subject", "s2")
    (bo,) = [binding for binding in store.bindings() if binding.name == "bo"]
    assert bo == Binding("bo", SCHOOL, "s2", bo.since)
    assert (datetime.now(UTC) - bo.since).total_seconds() < 60
    assert store.bind(SCHOOL, "s2", "whatever", NOON) == "bo"
