"""Names that folders, labels and servers can carry, made from names that people and operators chose."""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata
from collections.abc import Collection
from enum import StrEnum
from itertools import count

__all__ = [
    "LONGEST_SERVER_NAME",
    "ServerNameProblem",
    "safe_name",
    "server_name_problem",
    "slug",
    "suggest_server_name",
]

_LONGEST = 63
_HASH_LENGTH = 20
_SAFE = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_HASHED = re.compile(rf"(?:.*-)?[a-z2-7]{{{_HASH_LENGTH}}}")

LONGEST_SERVER_NAME = 30
"""Of JupyterHub 6: two such names joined with "--" are still a DNS label."""


def safe_name(text: str) -> str:
    """A name for `text` that is a DNS label (RFC 1123), a label value and a folder on every file system.

    Plain names stay as they are. Anything that had to be changed, or could be taken for such a result, ends in 100
    bits of SHA-256 of the full text, so that two texts never share a name: not by case, Unicode form or length. The
    result has no "--", so that names joined with it can be told apart.
    """
    if len(text) <= _LONGEST and _SAFE.fullmatch(text) and not _HASHED.fullmatch(text):
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    mark = base64.b32encode(digest).decode("ascii").lower()[:_HASH_LENGTH]
    start = slug(text, _LONGEST - _HASH_LENGTH - 1)
    return f"{start}-{mark}" if start else mark


def slug(text: str, longest: int) -> str:
    """At most `longest` characters that tell people what is meant; not unique, and empty where nothing is left.

    The lower-case ASCII letters and digits of `text`, accents dropped, with single hyphens for all between them.
    """
    # A long text is cut first: what is left of its end would be cut anyway.
    plain = unicodedata.normalize("NFKD", text[: 8 * longest])
    letters = "".join(character for character in plain if not unicodedata.combining(character))
    return re.sub(r"[^a-z0-9]+", "-", letters.lower()).strip("-")[:longest].rstrip("-")


class ServerNameProblem(StrEnum):
    """What is wrong with the name that a person chose for a server."""

    EMPTY = "empty"
    TOO_LONG = "too-long"
    CHARACTERS = "characters"
    START = "start"
    END = "end"
    DOUBLE_HYPHEN = "double-hyphen"


def server_name_problem(name: str) -> ServerNameProblem | None:
    """Why JupyterHub 6 would not take `name` for a named server; None when it does.

    The rule is `jupyterhub.slugs.is_valid_safe_slug`: 1 to 30 of a-z, 0-9 and single hyphens, a letter first, no
    hyphen last.
    """
    checks = (
        (ServerNameProblem.EMPTY, not name),
        (ServerNameProblem.TOO_LONG, len(name) > LONGEST_SERVER_NAME),
        (ServerNameProblem.CHARACTERS, re.fullmatch(r"[a-z0-9-]*", name) is None),
        (ServerNameProblem.START, re.match(r"[a-z]", name) is None),
        (ServerNameProblem.END, name.endswith("-")),
        (ServerNameProblem.DOUBLE_HYPHEN, "--" in name),
    )
    return next((problem for problem, found in checks if found), None)


def suggest_server_name(text: str, taken: Collection[str] = ()) -> str:
    """A name for a server that is near `text`, keeps the rule and is not among `taken`."""
    start = slug(text, LONGEST_SERVER_NAME)
    if not start[:1].isalpha():
        start = f"server-{start}"[:LONGEST_SERVER_NAME].rstrip("-")
    if start not in taken:
        return start
    # A count is as good as a name here and ends: `taken` is finite.
    return next(name for name in (_numbered(start, number) for number in count(2)) if name not in taken)


def _numbered(start: str, number: int) -> str:
    ending = f"-{number}"
    return start[: LONGEST_SERVER_NAME - len(ending)].rstrip("-") + ending
