"""The description of the JSON API (OpenAPI 3.1), and its reference page written from it.

`aihub/openapi.yaml` is the source; `python -m aihub.openapi > docs/reference/api.md` brings the page up to date.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

__all__ = ["api_reference", "document"]

_FILE = Path(__file__).with_name("openapi.yaml")

_HEAD = """\
# The JSON API

<!-- Written by `python -m aihub.openapi`; edit aihub/openapi.yaml instead. -->
"""


@cache
def document() -> dict[str, Any]:
    """The whole description. It is shared: do not change it."""
    with _FILE.open(encoding="utf-8") as file:
        loaded: dict[str, Any] = yaml.safe_load(file)
    return loaded


def api_reference() -> str:
    """The reference as Markdown: every route, then every kind of value."""
    described = document()
    routes = (
        part
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
        for part in _route(f"{method.upper()} {_base(described)}{path}", operation)
    )
    schemas = (part for name, schema in described["components"]["schemas"].items() for part in _schema(name, schema))
    return "\n".join([_HEAD, described["info"]["description"], *routes, "## Values\n", *schemas])


def _base(described: Mapping[str, Any]) -> str:
    base: str = described["servers"][0]["url"]
    return base


def _route(title: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"## `{title}`\n"
    yield f"{operation['summary']}. {operation.get('description', '')}".strip() + "\n"
    parameters = [_resolved(each) for each in operation.get("parameters", ())]
    if parameters:
        yield "| parameter | in | |\n| --- | --- | --- |"
        for each in parameters:
            needed = " Required." if each.get("required") else ""
            yield f"| `{each['name']}` | {each['in']} | {_line(each)}{needed} |"
        yield ""
    yield "| status | answer |\n| --- | --- |"
    for status, answer in operation["responses"].items():
        resolved = _resolved(answer)
        content = resolved.get("content", {}).get("application/json", {}).get("schema", {})
        body = f" {_type(content)}" if content else ""
        yield f"| {status} | {_line(resolved)}{body} |"
    yield ""


def _schema(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield f"### {name}\n"
    yield f"{_line(schema)}\n"
    if "properties" in schema:
        yield "| key | value | |\n| --- | --- | --- |"
        for key, each in schema["properties"].items():
            absent = "" if key in schema.get("required", ()) else " May be absent."
            yield f"| `{key}` | {_type(each)} | {_line(each)}{absent} |"
        yield ""


def _resolved(node: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in node:
        found: Any = document()
        for step in node["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        node = found
    return node


def _line(node: Mapping[str, Any]) -> str:
    return " ".join(node.get("description", "").split())


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    kinds = schema.get("type", "any value")
    if kinds == "array":
        return f"list of {_type(schema['items'])}"
    if kinds == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"map of {_type(schema['additionalProperties'])}"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"] if value is not None)
    return kinds if isinstance(kinds, str) else " or ".join(kinds)


if __name__ == "__main__":
    sys.stdout.write(api_reference())
