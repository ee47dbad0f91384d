"""Answers of the JSON API held against its description."""

from __future__ import annotations

from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

from aihub.openapi import document


def complaints(schema: str, value: Any) -> list[str]:
    """Where `value` is not what the description says of `schema`; empty when it is."""
    described = {"$ref": f"#/components/schemas/{schema}", "components": document()["components"]}
    validator = Draft202012Validator(described, format_checker=FormatChecker(["date-time"]))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]


def answer_schema(path: str) -> str:
    """The schema of the 200 answer of a GET of `path`, as the description writes it."""
    content = document()["paths"][path]["get"]["responses"]["200"]["content"]
    name: str = content["application/json"]["schema"].get("$ref", "").rpartition("/")[2]
    return name
