"""Texts of Kubernetes objects, YAML or JSON, as plain trees: dicts with text keys, lists, texts and None.

Scalars stay as they are written, so that a tag `3.10` is not 3.1 and an annotation `yes` is not True; what they mean
is for the reader of the object to say. A syntax error costs its document, not the file.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import yaml

from aihub.errors import CatalogError

__all__ = ["MAX_CHARACTERS", "Broken", "Document", "Tree", "parse_json", "read_trees"]

Tree: TypeAlias = "dict[str, Tree] | list[Tree] | str | None"

MAX_CHARACTERS = 64 * 1024 * 1024

_DEEPEST = 100
# What aliases may blow a document up to: legitimate ones share a few lists, a "billion laughs" shares itself.
_GROWTH, _GROWTH_FREE = 10, 100_000

# libyaml's loader is about fifty times faster; builds of PyYAML without it have the other one only.
_Loader: type[yaml.SafeLoader | yaml.CSafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_MARKER = re.compile(r"^---(?=\s|$)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Document:
    """One document: its tree, the line it starts on, and what was odd about how it is written."""

    line: int
    tree: Tree
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Broken:
    """A document that cannot be read, and the line of the problem."""

    line: int
    problem: str


def read_trees(text: str, file: str) -> list[Document | Broken]:
    """The documents of `text` in order, without empty ones. `file` is named in errors only.

    Raises CatalogError when the text is no YAML or JSON at all: too large, not Unicode, or every document broken.
    """
    if len(text) > MAX_CHARACTERS:
        raise CatalogError(file, 1, f"is longer than {MAX_CHARACTERS} characters")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise CatalogError(file, text.count("\n", 0, error.start) + 1, "holds text that is not Unicode") from error
    documents = [one for one in _documents(text) if isinstance(one, Broken) or one.tree is not None]
    broken = [one for one in documents if isinstance(one, Broken)]
    if broken and len(broken) == len(documents):
        raise CatalogError(file, broken[0].line, broken[0].problem)
    return documents


def _documents(text: str) -> list[Document | Broken]:
    if text.lstrip().startswith("{") and (document := _json(text)):
        return [document]
    try:
        return list(_yaml(text))
    except (yaml.YAMLError, _DocumentError):
        return [one for line, part in _parts(text) for one in _part(part, line)]


def parse_json(text: str, notes: list[str] | None = None) -> Tree:
    """The tree of a JSON text; numbers and booleans as they are written. Keys given twice are added to `notes`.

    Raises json.JSONDecodeError, and RecursionError for a text that is nested too deeply.
    """

    def pairs(items: list[tuple[str, object]]) -> dict[str, object]:
        seen = Counter(key for key, _ in items)
        if notes is not None:
            notes.extend(_twice(key) for key, times in seen.items() if times > 1)
        return dict(items)

    return _plain(json.loads(text, object_pairs_hook=pairs, parse_int=str, parse_float=str, parse_constant=str))


def _plain(value: object) -> Tree:
    if isinstance(value, dict):
        return {_unicode(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, bool):
        return "true" if value else "false"
    return _unicode(value) if isinstance(value, str) else None


def _unicode(text: str) -> str:
    # An escape can write half a surrogate pair, which no page and no file could be made from.
    return text.encode("utf-8", "replace").decode("utf-8")


def _json(text: str) -> Document | None:
    """The one JSON document that `text` is; None when it is something else, perhaps YAML in braces."""
    notes: list[str] = []
    try:
        return Document(1, parse_json(text, notes), tuple(notes))
    except (json.JSONDecodeError, RecursionError):
        return None


def _twice(key: str) -> str:
    return f"the key {key!r:.60} is there twice: the last one counts"


def _parts(text: str) -> Iterator[tuple[int, str]]:
    """The documents of a file as texts, each with its first line. `---` at a line's start is always a marker."""
    starts = [0, *(match.start() for match in _MARKER.finditer(text) if match.start() > 0)]
    line = 1
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        yield line, text[start:end]
        line += text.count("\n", start, end)


def _part(text: str, line: int) -> list[Document | Broken]:
    try:
        return list(_yaml(text, line))
    except _DocumentError as error:
        return [Broken(error.line, error.problem)]
    except yaml.MarkedYAMLError as error:
        at = error.problem_mark.line if error.problem_mark else 0
        return [Broken(line + at, error.problem or "is no YAML")]
    except yaml.reader.ReaderError as error:
        return [Broken(line + text.count("\n", 0, error.position), error.reason)]


def _yaml(text: str, first_line: int = 1) -> Iterator[Document]:
    """The documents of a YAML text. Raises yaml.YAMLError or _DocumentError at the first that cannot be read.

    Built from parser events: PyYAML's own composers call themselves for each level of nesting, and the one in C takes
    the process down when there are too many.
    """
    builder = _Builder(first_line, _GROWTH * len(text) + _GROWTH_FREE)
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.DocumentStartEvent):
            builder = _Builder(first_line, _GROWTH * len(text) + _GROWTH_FREE)
        elif isinstance(event, yaml.DocumentEndEvent):
            yield builder.document()
        elif isinstance(event, yaml.NodeEvent | yaml.CollectionEndEvent):
            builder.add(event)


class _DocumentError(Exception):
    """A document is well-formed and will not be read all the same."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line
        self.problem = problem


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not come yet.

    In a mapping `key` is what the next value belongs to, None where that value is left out.
    """

    tree: dict[str, Tree] | list[Tree]
    anchor: str | None
    size: int = 1
    awaits_key: bool = True
    key: str | None = None
    merging: bool = False
    merged: dict[str, Tree] = field(default_factory=dict)


class _Builder:
    """Makes the tree of one document from its events; what aliases share becomes one shared value."""

    def __init__(self, first_line: int, largest: int) -> None:
        self._first_line = first_line
        self._largest = largest
        self._line = first_line
        self._started: int | None = None
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Tree, int] | None] = {}
        self._root: Tree = None
        self._notes: list[str] = []

    def document(self) -> Document:
        """The finished document."""
        return Document(self._started or self._first_line, self._root, tuple(self._notes))

    def add(self, event: yaml.NodeEvent | yaml.CollectionEndEvent) -> None:
        """Take the next event."""
        if event.start_mark is not None:
            self._line = self._first_line + event.start_mark.line
        if self._started is None:
            self._started = self._line
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, yaml.AliasEvent):
            self._put(*self._shared(event.anchor or ""))
        elif isinstance(event, yaml.CollectionEndEvent):
            self._close()
        else:
            self._enter({} if isinstance(event, yaml.MappingStartEvent) else [], event.anchor)

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        plain = event.implicit[0]
        tree = None if plain and event.value in _NULL else _unicode(event.value)
        size = len(event.value) + 1
        if event.anchor:
            self._anchors[event.anchor] = tree, size
        self._put(tree, size, written=_unicode(event.value), merging=plain and event.value == "<<")

    def _shared(self, anchor: str) -> tuple[Tree, int]:
        if anchor not in self._anchors:
            raise _DocumentError(self._line, f"uses the alias {anchor!r:.60} that is not defined")
        shared = self._anchors[anchor]
        if shared is None:
            raise _DocumentError(self._line, "holds itself through an alias")
        return shared

    def _enter(self, tree: dict[str, Tree] | list[Tree], anchor: str | None) -> None:
        if len(self._open) >= _DEEPEST:
            raise _DocumentError(self._line, "is nested too deeply")
        if anchor:
            self._anchors[anchor] = None
        self._open.append(_Open(tree, anchor))

    def _close(self) -> None:
        closed = self._open.pop()
        tree = {**closed.merged, **closed.tree} if isinstance(closed.tree, dict) else closed.tree
        if closed.anchor:
            self._anchors[closed.anchor] = tree, closed.size
        self._put(tree, closed.size)

    def _put(self, tree: Tree, size: int, written: str | None = None, *, merging: bool = False) -> None:
        """Give a finished value to what it stands in."""
        if not self._open:
            self._root = tree
            return
        parent = self._open[-1]
        parent.size += size
        if parent.size > self._largest:
            raise _DocumentError(self._line, "grows too large through its aliases")
        if isinstance(parent.tree, list):
            parent.tree.append(tree)
        elif parent.awaits_key:
            self._take_key(parent, tree if written is None else written, merging)
        else:
            self._take_value(parent, parent.tree, tree)

    def _take_key(self, parent: _Open, key: Tree, merging: bool) -> None:
        parent.awaits_key = False
        parent.merging = merging
        parent.key = key if isinstance(key, str) else None
        if parent.key is None:
            self._notes.append(f"a key in line {self._line} is not text: it was left out")
        elif not merging and parent.key in parent.tree:
            self._notes.append(_twice(parent.key))

    def _take_value(self, parent: _Open, mapping: dict[str, Tree], tree: Tree) -> None:
        parent.awaits_key = True
        if parent.merging:
            parent.merged = {**_merged(tree), **parent.merged}
        elif parent.key is not None:
            mapping[parent.key] = tree


def _merged(tree: Tree) -> dict[str, Tree]:
    """What `<<:` brings: a mapping, or a list of them of which earlier ones win (https://yaml.org/type/merge.html)."""
    sources = tree if isinstance(tree, list) else [tree]
    return {key: value for source in reversed(sources) if isinstance(source, dict) for key, value in source.items()}
