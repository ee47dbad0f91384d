"""YAML read with the place of every key and value, so that a finding can name file, line and column.

Scalars follow the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema) without its octal, hex and
infinite numbers: `yes`, `0777`, `1_000`, `12:30` and dates are text. Numbers with a fraction are `Decimal`. Keys are
always the text as it is written, so that a tag `2.10` is not 2.1. JSON is YAML. Anchors, aliases and `<<` are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import yaml

from aihub.findings import Finding, Severity, dotted, picture

__all__ = ["Document", "Path", "Place", "merge", "read_document"]

MAX_DEPTH = 60
"""Nesting of maps and lists; a policy needs about ten. Far deeper input costs libyaml quadratic time."""
MAX_NODES = 200_000
"""Keys and values after aliases are expanded: what stops a file that doubles itself fifty times."""

Path = tuple[str | int, ...]

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # some builds of PyYAML come without libyaml
_INTEGER = re.compile(r"[-+]?[0-9]{1,40}")
_NUMBER = re.compile(r"[-+]?(\.[0-9]{1,40}|[0-9]{1,40}(\.[0-9]{0,40})?)([eE][-+]?[0-9]{1,9})?")
_CONSTANTS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_TAG = "tag:yaml.org,2002:"
_TEXT_TAGS = {"!", f"{_TAG}str"}
_PLAIN_TAGS = {f"{_TAG}{kind}" for kind in ("null", "bool", "int", "float")}
_COLLECTION_TAGS = {None, "!", f"{_TAG}map", f"{_TAG}seq"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands; line and column count from 1."""

    file: str
    line: int = 0
    column: int = 0


@dataclass(frozen=True, slots=True)
class Document:
    """A document as plain values, with the places of its keys and values by path."""

    file: str
    value: Any = None
    keys: Mapping[Path, Place] = field(default_factory=dict)
    values: Mapping[Path, Place] = field(default_factory=dict)

    def key_place(self, path: Path) -> Place:
        """Where the key at the end of `path` stands, else the place of the nearest thing around it."""
        return self.keys.get(path) or self.value_place(path)

    def value_place(self, path: Path) -> Place:
        """Where the value of `path` stands, else the place of the nearest thing around it."""
        for length in range(len(path), -1, -1):
            place = self.values.get(path[:length])
            if place is not None:
                # The key says more than the first key inside its value does.
                return place if length == len(path) else self.keys.get(path[:length], place)
        return Place(self.file)

    def at(self, path: Path) -> Any:
        """The value of `path`; None where there is none."""
        value = self.value
        for part in path:
            known = part in value if isinstance(value, dict) else isinstance(value, list) and part in range(len(value))
            if not known:
                return None
            value = value[part]
        return value


@dataclass(slots=True)
class _Node:
    kind: str
    place: Place
    tag: str | None = None
    text: str = ""
    plain: bool = False
    items: list[_Node] = field(default_factory=list)
    """Of a list its entries; of a map key, value, key, value …"""


class _Unreadable(Exception):
    """Ends the reading of one file and carries the finding to its reader."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding


def read_document(text: str, file: str) -> tuple[Document, tuple[Finding, ...]]:
    """The one document of `text` and what is wrong with it as YAML; `file` is the name that places carry.

    Never raises for what `text` holds. A text that is no YAML at all gives a document without a value.
    """
    try:
        root = _compose(text, file)
        builder = _Builder(file)
        value = builder.build(root, (), 0) if root is not None else None
    except _Unreadable as error:
        return Document(file), (error.finding,)
    return Document(file, value, builder.keys, builder.values), tuple(builder.findings)


def _compose(text: str, file: str) -> _Node | None:
    """The tree of nodes, aliases standing for the node they name. Works without recursion."""
    composer = _Composer(file)
    for event in _events(text, file):
        composer.take(event)
    return composer.root


class _Composer:
    """Makes nodes of events. An anchor counts once its node is complete, so that no node can hold itself."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.root: _Node | None = None
        self._documents = 0
        self._open: list[tuple[_Node, str | None]] = []
        self._anchors: dict[str, _Node] = {}

    def take(self, event: Any) -> None:
        place = Place(self.file, event.start_mark.line + 1, event.start_mark.column + 1)
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise _problem(place, "second-document", "a second document starts here", "Give each its own file.")
        elif isinstance(event, yaml.CollectionEndEvent):
            self._name(*self._open.pop())
        elif isinstance(event, yaml.NodeEvent):
            self._add(event, _node(event, place, self._anchors))

    def _add(self, event: Any, node: _Node) -> None:
        if self._open:
            self._open[-1][0].items.append(node)
        else:
            self.root = node
        if isinstance(event, yaml.CollectionStartEvent):
            self._open.append((node, event.anchor))
            if len(self._open) > MAX_DEPTH:
                raise _too_deep(node.place)
        elif isinstance(event, yaml.ScalarEvent):
            self._name(node, event.anchor)

    def _name(self, node: _Node, anchor: str | None) -> None:
        if anchor:
            self._anchors[anchor] = node


def _events(text: str, file: str) -> Iterator[Any]:
    loader = None
    try:
        loader = _LOADER(text)
        while loader.check_event():
            yield loader.get_event()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file)
        raise _problem(place, "yaml-syntax", _syntax_message(error), _SYNTAX_HELP) from error
    except (yaml.YAMLError, UnicodeError) as error:
        # A character that no YAML may hold. The reader counts characters or bytes; only its text is dependable.
        raise _problem(
            Place(file), "yaml-syntax", f"is not YAML: {picture(str(error).splitlines()[0])}", _SYNTAX_HELP
        ) from error
    finally:
        if loader is not None:
            loader.dispose()


_SYNTAX_HELP = "Look at this line and the one above: indentation, a missing colon, space or closing quote."


def _syntax_message(error: yaml.MarkedYAMLError) -> str:
    parts = [part for part in (error.problem, error.context) if part]
    return "is not YAML: " + picture(", ".join(parts))


def _problem(place: Place, code: str, message: str, what_to_do: str) -> _Unreadable:
    return _Unreadable(
        Finding(place.file, place.line, place.column, Severity.ERROR, code, "", message, help=what_to_do)
    )


def _too_deep(place: Place) -> _Unreadable:
    return _problem(place, "too-deep", f"is nested more than {MAX_DEPTH} levels deep", "Flatten this part of the file.")


def _node(event: Any, place: Place, anchors: Mapping[str, _Node]) -> _Node:
    if isinstance(event, yaml.AliasEvent):
        node = anchors.get(str(event.anchor))
        if node is None:
            message = f"the alias *{picture(event.anchor)} names no anchor that ends before it"
            raise _problem(place, "unknown-alias", message, "Define the anchor with & above, outside of the alias.")
        return node
    if isinstance(event, yaml.ScalarEvent):
        return _Node("scalar", place, event.tag, event.value, plain=bool(event.implicit[0]) and not event.style)
    return _Node("map" if isinstance(event, yaml.MappingStartEvent) else "list", place, event.tag)


class _Builder:
    """Turns nodes into values and notes where each came from."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.findings: list[Finding] = []
        self.keys: dict[Path, Place] = {}
        self.values: dict[Path, Place] = {}
        self._nodes = 0

    def build(self, node: _Node, path: Path, depth: int) -> Any:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            message = f"has more than {MAX_NODES} keys and values once its aliases are expanded"
            raise _problem(node.place, "too-large", message, "Remove the aliases that multiply each other.")
        if depth > MAX_DEPTH:
            raise _too_deep(node.place)
        self.values[path] = node.place
        if node.kind == "scalar":
            return self._scalar(node, path)
        if node.tag not in _COLLECTION_TAGS:
            self._add(node.place, "yaml-tag", path, f"the YAML tag {picture(node.tag)} is not read here", _TAG_HELP)
        if node.kind == "list":
            return [self.build(item, (*path, index), depth + 1) for index, item in enumerate(node.items)]
        return self._map(node, path, depth)

    def _scalar(self, node: _Node, path: Path) -> Any:
        if node.tag in _TEXT_TAGS or (node.tag is None and not node.plain):
            return node.text
        value = _resolved(node.text)
        known = node.tag is None or node.tag in _PLAIN_TAGS
        if not known or (node.tag is not None and isinstance(value, str)):
            self._add(node.place, "yaml-tag", path, f"the YAML tag {picture(node.tag)} is not read here", _TAG_HELP)
        return value

    def _map(self, node: _Node, path: Path, depth: int) -> dict[str, Any]:
        value: dict[str, Any] = {}
        merged: list[_Node] = []
        for key, item in zip(node.items[::2], node.items[1::2], strict=True):
            if key.kind != "scalar":
                self._add(key.place, "key-not-text", path, "a key must be text", "Write the key as one word.")
            elif key.text == "<<" and key.plain:
                merged.extend(item.items if item.kind == "list" else [item])
            elif key.text in value:
                self._duplicate(key, path)
            else:
                self.keys[*path, key.text] = key.place
                value[key.text] = self.build(item, (*path, key.text), depth + 1)
        for base in merged:
            self._merge(value, base, path, depth)
        return value

    def _merge(self, value: dict[str, Any], base: _Node, path: Path, depth: int) -> None:
        """Add the keys of a `<<` map that the map itself does not have."""
        if base.kind != "map":
            self._add(base.place, "yaml-merge", path, "<< needs a map or a list of maps", "Name an anchor of a map.")
            return
        scratch = _Builder(self.file)
        scratch._nodes = self._nodes
        inherited = scratch.build(base, path, depth + 1)
        self._nodes = scratch._nodes
        self.findings.extend(scratch.findings)
        new = inherited.keys() - value.keys()
        value.update((key, inherited[key]) for key in inherited if key in new)
        at = len(path)
        self.keys.update((own, place) for own, place in scratch.keys.items() if own[at] in new)
        self.values.update((own, place) for own, place in scratch.values.items() if len(own) > at and own[at] in new)

    def _duplicate(self, key: _Node, path: Path) -> None:
        full = (*path, key.text)
        first = self.keys[full]
        self._add(
            key.place,
            "duplicate-key",
            full,
            f"the key {picture(key.text)} stands here for the second time, first in line {first.line}",
            "Keep one of the two.",
        )

    def _add(self, place: Place, code: str, path: Path, message: str, what_to_do: str) -> None:
        self.findings.append(
            Finding(place.file, place.line, place.column, Severity.ERROR, code, dotted(path), message, help=what_to_do)
        )


_TAG_HELP = "Remove the tag; quote the value if it is text."


def _resolved(text: str) -> Any:
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return Decimal(text) if _NUMBER.fullmatch(text) else text


def merge(documents: Sequence[Document]) -> tuple[Document, tuple[Finding, ...]]:
    """One document made of several: maps merge key by key, anything else may stand in one of them only."""
    merger = _Merger(documents[0].file if documents else "")
    for document in documents:
        if document.value is not None:
            merger.take(document)
    return merger.document(), tuple(merger.findings)


class _Merger:
    def __init__(self, file: str) -> None:
        self.file = file
        self.value: dict[str, Any] = {}
        self.keys: dict[Path, Place] = {}
        self.values: dict[Path, Place] = {}
        self.findings: list[Finding] = []

    def document(self) -> Document:
        return Document(self.file, self.value, self.keys, self.values)

    def take(self, document: Document) -> None:
        if isinstance(document.value, dict):
            self._merge(self.value, document.value, (), document)
            self.values.setdefault((), document.value_place(()))
            for places, more in ((self.keys, document.keys), (self.values, document.values)):
                for path, place in more.items():
                    places.setdefault(path, place)
            return
        place = document.value_place(())
        self._add(place, "not-a-map", (), "a policy file is a map of keys such as projects and profiles")

    def _merge(self, into: dict[str, Any], value: dict[str, Any], path: Path, document: Document) -> None:
        for key, item in value.items():
            here = (*path, key)
            if key not in into:
                into[key] = _copied(item)
            elif isinstance(into[key], dict) and isinstance(item, dict):
                self._merge(into[key], item, here, document)
            else:
                first = self.keys.get(here) or Place(self.file)
                message = f"{dotted(here)} is set here and in {first.file}:{first.line}:{first.column}"
                self._add(document.key_place(here), "set-twice", here, message)

    def _add(self, place: Place, code: str, path: Path, message: str) -> None:
        what_to_do = "Keep one of the two." if code == "set-twice" else "Write `key: value` lines."
        self.findings.append(
            Finding(place.file, place.line, place.column, Severity.ERROR, code, dotted(path), message, help=what_to_do)
        )


def _copied(value: Any) -> Any:
    """A map that may be merged into without touching the document it came from."""
    return {key: _copied(item) for key, item in value.items()} if isinstance(value, dict) else value
