"""The table of rights in tests/data/rights: who may do what with which key, written by hand from the rules."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

__all__ = ["DATA", "KINDS", "LETTERS", "Column", "Row", "Rule", "Table", "letter_of", "served", "table"]

DATA = Path(__file__).parent / "data" / "rights"

KINDS = {
    "-": "nothing",
    "c": "the cookie of a browser",
    "f": "an API token with all rights",
    "r": "an API token that may only read AIHub",
    "s": "the token of a running server",
    "b": "the token of a browser's session at a server",
}

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


def letter_of(answer: httpx.Response, sign_in: str, people: set[str]) -> str:
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
