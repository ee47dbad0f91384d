"""The references of the policy file and of the chart's values, written from their JSON Schemas.

`python -m aihub.reference > docs/reference/policy.md` and `python -m aihub.reference values >
docs/reference/values.md` bring the pages up to date.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aihub.chart import values_schema
from aihub.config import schema

__all__ = ["policy_reference", "values_reference"]

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
| text or languages | A text, or one by language: `{en: Small, zh_TW: 小型}`; `en`, else the first, serves the rest. |
| image | `stream` or `stream:tag`. |
"""


_VALUES_HEAD = """\
# Values of the chart

<!-- Written by `python -m aihub.reference values`; edit the models in aihub/chart.py instead. -->

Names are those of Zero to JupyterHub where the meaning is the same. Unknown keys are errors. `aihub` is
[the policy file](policy.md), with its own keys; below is everything else. `helm/aihub/values.yaml` holds all
defaults, `helm/aihub/examples` three installations.

Lists and maps whose contents are Kubernetes' own, such as tolerations, are passed on as they are.
"""


def policy_reference() -> str:
    """The reference of the policy file as Markdown: one table of keys for each part, outermost first."""
    document = schema()
    return "\n".join([_HEAD, _WORDS, *_tables(document)])


def values_reference() -> str:
    """The reference of the chart's values as Markdown, in the same way; the policy file has its own page."""
    return "\n".join([_VALUES_HEAD, *_tables(values_schema())])


def _tables(document: Node) -> Iterator[str]:
    yield _section("Top level", document, [])
    for name, places in _parts(document).items():
        yield _section(name, document["$defs"][name], places)


def _parts(document: Node) -> dict[str, list[str]]:
    """The parts in the order in which a reader meets them, each with the paths where it may stand."""
    found: dict[str, list[str]] = {}
    waiting: list[tuple[Node, str]] = [(document, "")]
    for node, path in waiting:
        for key, each in node["properties"].items():
            for name, below in _references(each, f"{path}{key}"):
                if "properties" in document["$defs"][name] and name not in _NAMED:
                    found.setdefault(name, []).append(below)
                    waiting.append((document["$defs"][name], f"{below}."))
    return found


def _references(node: Node, path: str) -> Iterator[tuple[str, str]]:
    """The parts that a value refers to, and the path that each then has; a name stands for every key of a map."""
    if "$ref" in node:
        yield _name(node), path
    for choice in ("anyOf", "oneOf"):
        for each in node.get(choice, []):
            yield from _references(each, path)
    for each in _map_values(node):
        yield from _references(each, f"{path}.NAME")
    if "items" in node:
        yield from _references(node["items"], f"{path}[]")


def _name(node: Node) -> str:
    return str(node["$ref"]).rpartition("/")[2]


def _section(name: str, node: Node, places: Sequence[str]) -> str:
    required = node.get("required", [])
    rows = [_row(key, each, required=key in required) for key, each in node["properties"].items()]
    table = ["| key | value | if absent | meaning |", "| --- | --- | --- | --- |", *rows]
    at = [f"At {', '.join(f'`{place}`' for place in places)}.", ""] if places else []
    return "\n".join([f"## {_title(name)}", "", node["description"], "", *at, *table, ""])


def _title(name: str) -> str:
    return name.removesuffix("Model")


def _row(key: str, node: Node, *, required: bool) -> str:
    default = "**required**" if required else _default(node)
    return f"| `{key}` | {_kind(node)} | {default} | {_cell(node['description'])} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _default(node: Node) -> str:
    if "default" in node and not isinstance(node["default"], dict | list):
        return f"`{json.dumps(node['default'], ensure_ascii=False)}`"
    return ""


_NAMED = {
    "LocalText": "text or languages",
    "PolicyDocument": "[the policy file](policy.md)",
    "Quantity": "quantity",
}


def _kind(node: Node) -> str:
    """What may stand there, in words; parts are links to their tables."""
    if "$ref" in node:
        name = _name(node)
        return _NAMED.get(name) or f"[{_title(name)}](#{_title(name).lower()})"
    for choice in ("anyOf", "oneOf"):
        if choice in node:
            return " or ".join(dict.fromkeys(_kind(each) for each in node[choice]))
    if "enum" in node or "const" in node:
        return ", ".join(f"`{each}`" if each else '`""`' for each in node.get("enum", [node.get("const")]))
    if node.get("type") == "array":
        return f"list of {_kind(node['items'])}"
    if node.get("type") == "object":
        return _map_kind(node)
    if "h)?" in node.get("pattern", ""):
        return "duration"
    words = {"string": "text", "integer": "whole number", "number": "number", "boolean": "`true` or `false`"}
    return words[node["type"]]


def _map_kind(node: Node) -> str:
    values = _map_values(node)
    return f"map of {_kind(values[0])}" if values else "map"


def _map_values(node: Node) -> list[Node]:
    """What the values of a map may be; none where they may be anything."""
    values = [*node.get("patternProperties", {}).values()]
    if isinstance(node.get("additionalProperties"), Mapping):
        values.append(node["additionalProperties"])
    return values


if __name__ == "__main__":
    sys.stdout.write(values_reference() if sys.argv[1:] == ["values"] else policy_reference())
