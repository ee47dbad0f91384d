"""The tables of rights in tests/data/rights, and asking a hub whether they hold.

A table is written by hand from the rules (docs/design.md): who may do what, with which kind of key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.local.people import Someone

__all__ = ["LETTERS", "OWNER", "PEOPLE", "Column", "Row", "Rule", "School", "Table", "served", "table", "visitor"]

DATA = Path(__file__).parent / "data" / "rights"

PEOPLE = {
    "member": "mirabel",
    "peer": "percival",
    "instructor": "isidora",
    "elsewhere": "ottokar",
    "admin": "adelheid",
    "nobody": "hieronymus",
}
"""Names that stand nowhere else."""

OWNER = PEOPLE["member"]
"""Whose server, tokens and so on the addresses of the tables name."""

FORM = "application/x-www-form-urlencoded"

LETTERS = {
    "a": "answered, or led on",
    "A": "answered, and names people who are neither the reader nor in the request",
    "w": "let through, and told what is wrong with the request",
    "r": "refused",
    "s": "sent to the sign-in page",
    "n": "there is nothing, or nothing for this reader",
    "m": "no such method",
}


@dataclass(frozen=True, slots=True)
class Column:
    """Who asks, by which kind of key."""

    who: str
    kind: str


@dataclass(frozen=True, slots=True)
class Row:
    """A request, and the letters of its answers, in the order of the columns."""

    method: str
    address: str
    body: str
    cells: str

    @property
    def id(self) -> str:
        return f"{self.method} {self.address} {self.body}".strip()


@dataclass(frozen=True, slots=True)
class Table:
    """A file of rights."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """A route of the running hub's application."""

    pattern: str
    handler: str
    methods: tuple[str, ...]


def table(name: str) -> Table:
    """The table in the file `name`: a line for who, one for kinds, then groups of letters and a request."""
    lines = (line for line in (DATA / name).read_text().splitlines() if line and not line.startswith("#"))
    who, kinds = next(lines).split()[1:], next(lines).split()[1:]
    columns = tuple(Column(name, kind) for name, group in zip(who, kinds, strict=True) for kind in group)
    return Table(columns, tuple(_rows(lines, [len(group) for group in kinds])))


def _rows(lines: Iterator[str], sizes: Sequence[int]) -> Iterator[Row]:
    for line in lines:
        *cells, method, address, body = (line + " ").split(" ", len(sizes) + 2)
        assert [len(group) for group in cells] == list(sizes), f"another number of cells: {line}"
        assert set("".join(cells)) <= LETTERS.keys(), f"an unknown letter: {line}"
        yield Row(method, address, body.strip(), "".join(cells))


def served(rules: Sequence[Rule], path: str) -> Rule:
    """The rule that answers `path`, as tornado chooses it."""
    return next(rule for rule in rules if re.match(rule.pattern, path))


def _letter_of(answer: httpx.Response, sign_in: str, people: set[str]) -> str:
    """What an answer is. `sign_in` is the path of the sign-in page; an answer that is none of these is its status."""
    status, place = answer.status_code, answer.headers.get("Location", "")
    if status in {301, 302, 303} and place.split("?")[0] == sign_in and answer.request.url.path != sign_in:
        return "s"
    if status == 404:
        return "n"
    if status == 405:
        return "m"
    # A refusal by the policy comes after the rights: only who may ask is told so.
    if status in {401, 403} and "AIHub-Reason" not in _policy(answer):
        return "r"
    if status >= 500:
        return str(status)
    if any(re.search(rf"\b{name}\b", answer.text) for name in people):
        return "A"
    return "a" if status < 400 else "w"


def _policy(answer: httpx.Response) -> Mapping[str, Any]:
    own = {"not-signed-in", "no-access"}
    return {} if answer.headers.get("AIHub-Reason") in own else answer.headers


@dataclass
class School:
    """A hub, its routes, a key for each column of a table, and patterns of what no answer may hold."""

    hub: str
    rules: list[Rule]
    people: dict[str, Someone]
    keys: dict[Column, dict[str, str]] = field(default_factory=dict)
    secrets: set[str] = field(default_factory=set)
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=60))

    def ask(self, row: Row, column: Column) -> httpx.Response:
        """Send the row's request with the column's key. What an answer sets is not kept."""
        self.client.cookies.clear()
        form = re.match(r"[a-z_-]+=", row.body) is not None
        return self.client.request(
            row.method,
            self.hub + self.filled(row.address),
            content=self.filled(row.body).encode() if row.body else None,
            headers={**self.keys[column], **({"Content-Type": FORM} if form else {})},
        )

    def letter(self, row: Row, column: Column) -> str:
        """The letter of the answer. Raises AssertionError for an answer with a secret in it."""
        answer = self.ask(row, column)
        shown = f"{answer.headers}{answer.text}"
        assert not [each for each in self.secrets if re.search(each, shown)], f"a secret for {column}"
        known = f"{answer.request.url} {answer.request.content!r} {PEOPLE.get(column.who)}"
        return _letter_of(answer, "/hub/login", {name for name in PEOPLE.values() if name not in known})

    def path(self, row: Row) -> str:
        """The path of the row's address."""
        return self.filled(row.address).split("?")[0]

    def filled(self, text: str) -> str:
        """With what the braces stand for; what an answer may have used up is made anew."""
        if "{token}" in text:
            made = self.people["member"].pages.post(f"/hub/api/users/{OWNER}/tokens", json={}).raise_for_status()
            text = text.replace("{token}", made.json()["id"])
        if "{spare}" in text:
            assert self.people["admin"].pages.post("/hub/api/users/spare").status_code in {201, 409}
        return text.replace("{spare}", "spare").replace("{owner}", OWNER).replace("{other}", PEOPLE["nobody"])

    def lacking(self, rows: Sequence[Row]) -> list[str]:
        """The methods of routes that none of the `rows` asks for."""
        asked = {(served(self.rules, self.path(row)).pattern, row.method) for row in rows}
        first = {rule.pattern: rule for rule in reversed(self.rules)}  # a later rule of the same pattern is never asked
        return [
            f"{method} {rule.pattern} ({rule.handler})"
            for rule in first.values()
            for method in rule.methods
            if method != "OPTIONS" and (rule.pattern, method) not in asked
        ]

    def give_keys(self, columns: Sequence[Column], token: Callable[[Someone, str], str]) -> None:
        """A key for each column; `token` gives those of the kinds `s` and `b`."""
        self.keys = {column: self._key(column, token) for column in columns}
        keys = [key["Authorization"] for key in self.keys.values() if "Authorization" in key]
        self.secrets |= {re.escape(key.removeprefix("token ")) for key in keys}

    def _key(self, column: Column, token: Callable[[Someone, str], str]) -> dict[str, str]:
        if column.kind == "-":
            return visitor(self.hub)
        someone = self.people[column.who]
        if column.kind == "c":
            jar = someone.pages.cookies.jar
            cookies = [f"{each.name}={each.value}" for each in jar if each.path in {"/hub/", "/"}]
            return {"Cookie": "; ".join(cookies), "X-XSRFToken": someone.pages.headers["X-XSRFToken"]}
        if column.kind == "f":
            return {"Authorization": someone.api.headers["Authorization"]}
        return {"Authorization": f"token {_reading(someone) if column.kind == 'r' else token(someone, column.kind)}"}


def _reading(someone: Someone) -> str:
    """A token that may only read AIHub."""
    scopes = {"scopes": ["custom:aihub:read"]}
    made = someone.pages.post(f"/hub/api/users/{someone.name}/tokens", json=scopes).raise_for_status()
    return str(made.json()["token"])


def visitor(hub: str) -> dict[str, str]:
    """A browser in which nobody signed in, so that it is not the XSRF token that is missing."""
    xsrf = httpx.get(f"{hub}/hub/login").cookies.get("_xsrf")
    assert xsrf
    return {"Cookie": f"_xsrf={xsrf}", "X-XSRFToken": xsrf}
