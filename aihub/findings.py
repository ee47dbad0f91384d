"""What is wrong with the operator's files: one finding for each problem, with its place and the way on."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from enum import StrEnum

__all__ = ["Finding", "Severity", "dotted", "nearest", "picture"]

LONGEST_PICTURE = 80


class Severity(StrEnum):
    """An error keeps the policy from being used; a warning does not."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem in a file.

    `line` and `column` count from 1; 0 means the file as a whole. `code` is from a fixed set, `path` names the key
    ("projects.ml101.images.default"), `value` pictures what stands there, `suggestion` is what was probably meant
    (empty: no idea), `help` says what to do.
    """

    file: str
    line: int
    column: int
    severity: Severity
    code: str
    path: str
    message: str
    value: str = ""
    suggestion: str = ""
    help: str = ""

    @property
    def where(self) -> str:
        """The place as tools print it: "file:line:column", or the file alone."""
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file

    def as_dict(self) -> dict[str, str | int]:
        """The finding as JSON shows it, keys in the order of the fields."""
        return {**asdict(self), "severity": self.severity.value}

    def __str__(self) -> str:
        return f"{self.where}: {self.severity}: {self.message}"


def nearest(name: str, candidates: Iterable[str]) -> str:
    """The candidate that `name` probably stands for, empty when none is near. Case and `-_` do not count."""
    plain = {_plain(candidate): candidate for candidate in candidates}
    found = get_close_matches(_plain(name), plain, n=1, cutoff=0.6)
    return plain[found[0]] if found else ""


def _plain(name: str) -> str:
    return name.casefold().replace("-", "").replace("_", "")


def dotted(path: Iterable[str | int]) -> str:
    """A path of keys and list positions as text; keys with a dot or a space are quoted, positions are in brackets."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (f'"{picture(part)}"' if "." in part or " " in part else picture(part))
    return text


def picture(value: object) -> str:
    """A short picture of a value from a file for one line of a terminal or log: nothing in it can move a cursor."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return f"a {'map' if isinstance(value, dict) else 'list'} of {len(value)}"
    text = str(value)
    clean = "".join("\N{REPLACEMENT CHARACTER}" if _unprintable(each) else each for each in text[:LONGEST_PICTURE])
    return clean if len(text) <= LONGEST_PICTURE else clean + "…"


def _unprintable(character: str) -> bool:
    return unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
