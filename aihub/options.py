"""User options: the ids that a person submits. Hostile input until `parse_options` has read it."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from aihub.errors import Reason, Refusal

__all__ = ["MAX_ID_LENGTH", "OPTION_KEYS", "Options", "parse_options", "shown"]

OPTION_KEYS = ("project", "image", "profile", "acceleratorCount")
MAX_ID_LENGTH = 253


@dataclass(frozen=True, slots=True)
class Options:
    """Well-formed user options. None is "not said": the project's default is meant."""

    project: str | None = None
    image: str | None = None
    profile: str | None = None
    accelerator_count: int | None = None

    def as_user_options(self) -> dict[str, str | int]:
        """The dict that JupyterHub stores and that `parse_options` reads back to an equal value."""
        said = {
            "project": self.project,
            "image": self.image,
            "profile": self.profile,
            "acceleratorCount": self.accelerator_count,
        }
        return {key: value for key, value in said.items() if value is not None}


def parse_options(raw: object) -> Options | Refusal:
    """Read user options from a form, REST body or database row.

    Every value is an id (text) or, for `acceleratorCount`, a whole number; a key that is absent means the default.
    Anything else is refused with `invalid-options`, parameters `field`, `problem` (a fixed word) and `value`.
    """
    if not isinstance(raw, Mapping):
        return _invalid("", "not-an-object", raw)
    for key in raw:
        if key not in OPTION_KEYS:
            return _invalid(shown(key), "unknown-key", key)
    for key in OPTION_KEYS[:3]:
        if key in raw and (problem := _id_problem(raw[key])):
            return _invalid(key, problem, raw[key])
    count = raw.get("acceleratorCount")
    if "acceleratorCount" in raw and (not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= 1024):
        return _invalid("acceleratorCount", "not-a-count", count)
    return Options(raw.get("project"), raw.get("image"), raw.get("profile"), count)


def shown(value: object) -> str:
    """A short, inert picture of a submitted value for sentences and logs: no control or bidirectional characters."""
    text = value if isinstance(value, str) else type(value).__name__
    cut = text[:80]
    clean = "".join("\N{REPLACEMENT CHARACTER}" if _unprintable(character) else character for character in cut)
    return clean if len(text) <= len(cut) else clean + "…"


def _invalid(field: str, problem: str, value: object) -> Refusal:
    return Refusal(Reason.INVALID_OPTIONS, {"field": field, "problem": problem, "value": shown(value)})


def _id_problem(value: object) -> str | None:
    if not isinstance(value, str):
        return "not-text"
    if not value:
        return "empty"
    if len(value) > MAX_ID_LENGTH:
        return "too-long"
    return "unprintable" if any(_unprintable(character) for character in value) else None


def _unprintable(character: str) -> bool:
    # Cc controls, Cf format characters (bidirectional marks among them), Cs lone surrogates, Co/Cn no assigned meaning.
    return unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
