"""The reference of the policy file, written from its JSON Schema.

`python -m aihub.reference > docs/reference/policy.md` brings the page up to date.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from aihub.config import schema

__all__ = ["policy_reference"]

Node = Mapping[str, Any]

_HEAD = """\
# The policy file

<!-- Written by `python -m aihub.reference`; edit the models in aihub/policyfile.py instead. -->

One YAML or JSON file, or a folder of them that are merged: maps key by key, anything else may stand in one file only.
A change is in force within two seconds; a version with errors is not used, and the last good one stays in force.
`aihub check FILE` prints what is wrong, `aihub schema` the JSON Schema for editors.

Scalars are those of YAML 1.2: `yes`, `0777` and dates are text. Keys are text as they are written, so a tag `2.10`
needs no quotes as a key; as a value it does.
"""

_WORDS = """\
## Ways to write a value

| name | means |
| --- | --- |
| quantity | A number or a text as Kubernetes writes it: `500m` is half a core, `2Gi` is 2147483648 bytes. |
| duration | Days, hours, minutes and seconds in this order, one at least: `30m`, `2h`, `1h30m`. |
| text or languages | A text, or a map from language to text: `{en: Small, zh_TW: 小型}`. `en`, else the first, serves the rest. |
| image | `stream` or `stream:tag`. |
"""


def policy_reference() -> str:
    """The reference as Markdown: one table of keys for each part of the file, outermost first."""
    document = schema()
    parts = (_section(name, document["$defs"][name]) for name in _order(document))
    sections = [_HEAD, _WORDS, _section("Top level", document), *parts]
    return "\n".join(sections)


def _order(document: Node) -> Iterator[str]:
    """The parts in the order in which a reader meets them."""
    seen: list[str] = []
    waiting = [document]
    while waiting:
        for name in _references(waiting.pop(0)):
            if name not in seen and "properties" in document["$defs"][name]:
                seen.append(name)
                waiting.append(document["$defs"][name])
                yield name


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        if "$ref" in node:
            yield _name(node)
        for key, value in node.items():
            if key != "$defs":
                yield from _references(value)
    elif isinstance(node, list):
        for each in node:
            yield from _references(each)


def _name(node: Node) -> str:
    return str(node["$ref"]).rpartition("/")[2]


def _section(name: str, node: Node) -> str:
    required = node.get("required", [])
    rows = [_row(key, each, required=key in required) for key, each in node["properties"].items()]
    table = ["| key | value | if absent | meaning |", "| --- | --- | --- | --- |", *rows]
    return "\n".join([f"## {_title(name)}", "", node["description"], "", *table, ""])


def _title(name: str) -> str:
    return name.removesuffix("Model")


def _row(key: str, node: Node, *, required: bool) -> str:
    default = "**required**" if required else _default(node)
    return f"| `{key}` | {_kind(node)} | {default} | {node['title']}. {_cell(node['description'])} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _default(node: Node) -> str:
    if "default" in node and not isinstance(node["default"], dict | list):
        return f"`{json.dumps(node['default'], ensure_ascii=False)}`"
    return ""


_NAMED = {"LocalText": "text or languages", "Quantity": "quantity"}


def _kind(node: Node) -> str:
    """What may stand there, in words; parts are links to their tables."""
    if "$ref" in node:
        name = _name(node)
        return _NAMED.get(name) or f"[{_title(name)}](#{_title(name).lower()})"
    for choice in ("anyOf", "oneOf"):
        if choice in node:
            return " or ".join(dict.fromkeys(_kind(each) for each in node[choice]))
    if "enum" in node or "const" in node:
        return ", ".join(f"`{each}`" for each in node.get("enum", [node.get("const")]))
    if node.get("type") == "array":
        return f"list of {_kind(node['items'])}"
    if node.get("type") == "object":
        return _map_kind(node)
    if "h)?" in node.get("pattern", ""):
        return "duration"
    words = {"string": "text", "integer": "whole number", "number": "number", "boolean": "`true` or `false`"}
    return words[node["type"]]


def _map_kind(node: Node) -> str:
    values = [*node.get("patternProperties", {}).values()]
    if isinstance(node.get("additionalProperties"), Mapping):
        values.append(node["additionalProperties"])
    return f"map of {_kind(values[0])}" if values else "map"


if __name__ == "__main__":
    sys.stdout.write(policy_reference())
