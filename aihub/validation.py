"""A document against the models of `aihub.policyfile`: every mismatch becomes a finding with its place.

What is wrong is cut out and the rest read again, so that references can be checked in the same run.
"""

from __future__ import annotations

import copy
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from typing_extensions import TypeAliasType

from aihub.findings import Finding, Severity, dotted, nearest, picture
from aihub.policyfile import PolicyDocument
from aihub.positions import Document, Path
from aihub.resources import CPU, MEMORY, SERVERS, STORAGE

__all__ = ["validate"]

ROUNDS = 20
"""How often the rest is read again. Each round cuts something out; a second one is rarely needed."""

_KINDS = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "dict_type": "a map",
    "model_type": "a map",
    "model_attributes_type": "a map",
    "list_type": "a list",
}
_SENSITIVE = {"clientSecret", "client_secret", "secret"}
_ELSEWHERE = (
    "Remove it, and give the secret to the hub alone: AIHUB_CLIENT_SECRET_FILE names a file that holds it, or the key "
    "clientSecret of the chart's hub.existingSecret. Make a new secret if others could read this file."
)
_TRUTHS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


def validate(document: Document) -> tuple[PolicyDocument, tuple[Finding, ...]]:
    """The part of `document` that fits the models, and a finding for everything that does not."""
    raw = copy.deepcopy(document.value) if isinstance(document.value, dict) else {}
    removed = list(_empty_values(raw, ()))
    findings = [_empty_finding(document, path) for path in removed]
    _cut(raw, removed)
    for _ in range(ROUNDS):
        try:
            return PolicyDocument.model_validate(raw), tuple(findings)
        except ValidationError as error:
            mismatches = [_Mismatch(raw, each) for each in error.errors(include_url=False)]
        findings.extend(each.finding(document) for each in mismatches if not _follows(each, removed, document))
        removed += [mismatch.cut for mismatch in mismatches]
        _cut(raw, removed[-len(mismatches) :])
    return PolicyDocument(), tuple(findings)


def _follows(mismatch: _Mismatch, removed: Sequence[Path], document: Document) -> bool:
    """Whether something is wrong only because a part of it was cut out, which has its finding already."""
    if mismatch.kind == "missing":
        return mismatch.path in document.values
    return any(len(path) > len(mismatch.path) == _common(path, mismatch.path) for path in removed)


def _common(path: Path, other: Path) -> int:
    return next((at for at, (one, two) in enumerate(zip(path, other, strict=False)) if one != two), len(other))


def _empty_values(value: Any, path: Path) -> Iterator[Path]:
    if value is None and path:
        yield path
    elif isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from _empty_values(item, (*path, key))


def _empty_finding(document: Document, path: Path) -> Finding:
    place = document.key_place(path)
    return Finding(
        place.file,
        place.line,
        place.column,
        Severity.ERROR,
        "no-value",
        dotted(path),
        f"{_named(path)} has no value",
        value="null",
        help='Give it a value or remove the key; write "", [] or {} for an empty one.',
    )


def _named(path: Sequence[str | int]) -> str:
    last = path[-1] if path else ""
    return f"entry {last + 1} of {dotted(path[-2:-1])}" if isinstance(last, int) else dotted([last])


def _cut(raw: Any, paths: Sequence[Path]) -> None:
    """Remove what stands at `paths`; later list entries first, so that positions stay right."""
    for path in sorted(set(paths), key=lambda path: tuple((str(type(part)), part) for part in path), reverse=True):
        if not path:
            raw.clear()
            continue
        parent = raw
        for part in path[:-1]:
            known = part in parent if isinstance(parent, dict) else part in range(len(parent or ()))
            parent = parent[part] if known else None
        if isinstance(parent, dict):
            parent.pop(path[-1], None)
        elif isinstance(parent, list) and path[-1] in range(len(parent)):
            parent.pop(int(path[-1]))


class _Mismatch:
    """One error of pydantic, in terms of the document."""

    def __init__(self, raw: dict[str, Any], error: Mapping[str, Any]) -> None:
        self.kind: str = error["type"]
        self.context: Mapping[str, Any] = error.get("ctx") or {}
        self.message: str = error["msg"]
        self.input: Any = error["input"]
        self.loc: tuple[str | int, ...] = error["loc"]
        self.raw = raw
        self.is_key = "[key]" in self.loc
        self.path = self._path()
        self.cut = self.path[:-1] if self.kind == "missing" else self.path

    def _path(self) -> Path:
        """The location without what pydantic adds to it: labels of unions and the mark of a key."""
        value: Any = self.raw
        path: list[str | int] = []
        for index, part in enumerate(self.loc):
            inside = part in value if isinstance(value, dict) else isinstance(value, list) and part in range(len(value))
            if inside:
                path.append(part)
                value = value[part]
            elif self.kind == "missing" and index == len(self.loc) - 1:
                path.append(part)
        if "at" in self.context:
            path.append(self.context["at"])
        return tuple(path)

    def finding(self, document: Document) -> Finding:
        code, message, suggestion, what_to_do = self._words(document)
        on_key = self.is_key or self.kind in {"extra_forbidden", "missing"} or "at" in self.context
        place = document.key_place(self.path) if on_key else document.value_place(self.path)
        value = "" if self.kind == "missing" else picture(self.path[-1] if on_key and self.path else self.input)
        return Finding(
            place.file,
            place.line,
            place.column,
            Severity.ERROR,
            code,
            dotted(self.path),
            message,
            value,
            suggestion,
            what_to_do,
        )

    def _words(self, document: Document) -> tuple[str, str, str, str]:
        """Code, message, suggestion and help."""
        name = _named(self.path)
        if self.kind == "extra_forbidden":
            return self._unknown_key()
        if self.kind == "missing":
            return "missing-key", f"{name} is missing", "", f"Add it: {_description(self.path)}"
        if self.kind in _KINDS:
            return self._wrong_type(name)
        if self.kind == "literal_error":
            return self._wrong_word(name)
        if self.is_key:
            return self.kind, f"{picture(self.path[-1])} {self.message}", self._near_key(document), self._help()
        code = self.kind if self.kind in _OWN else "wrong-value"
        message = self.message if "at" in self.context else f"{name} {_lower(self.message)}"
        return code, message, self._near_value(), self._help()

    def _unknown_key(self) -> tuple[str, str, str, str]:
        known = _keys(self.path[:-1])
        key = str(self.path[-1]) if self.path else ""
        where = dotted(self.path[:-1]) or "the policy file"
        if key in _SENSITIVE:
            return "unknown-key", f"{key} stands in the policy file, where no secret belongs", "", _ELSEWHERE
        near = nearest(key, known)
        return "unknown-key", f"{picture(key)} is no key of {where}", near, f"Known keys: {', '.join(known)}."

    def _wrong_type(self, name: str) -> tuple[str, str, str, str]:
        wanted = _KINDS[self.kind]
        suggestion = ""
        if self.kind == "string_type" and not isinstance(self.input, dict | list):
            suggestion = f'"{picture(self.input)}"'
        elif self.kind == "bool_type":
            suggestion = _TRUTHS.get(str(self.input).lower(), "")
        elif self.kind == "list_type" and isinstance(self.input, str):
            suggestion = f"[{picture(self.input)}]"
        return "wrong-type", f"{name} must be {wanted}, not {_kind(self.input, wanted)}", suggestion, self._help()

    def _wrong_word(self, name: str) -> tuple[str, str, str, str]:
        words = [str(word) for word in self._allowed()]
        suggestion = nearest(self.input, words) if isinstance(self.input, str) else ""
        return "wrong-value", f"{name} must be one of {', '.join(words)}", suggestion, self._help()

    def _allowed(self) -> tuple[Any, ...]:
        return next((get_args(each) for each in _alternatives(_annotation(self.path)) if _is_literal(each)), ())

    def _near_key(self, document: Document) -> str:
        key = str(self.path[-1])
        if self.kind == "resource-key":
            profiles = document.at(("profiles",))
            accelerators = [
                str(document.at(("profiles", name, "accelerator", "resource")) or "") for name in profiles or ()
            ]
            return _near_resource(key, [CPU, MEMORY, SERVERS, STORAGE, *filter(None, accelerators)])
        if self.kind == "language":
            return _near_language(key)
        return ""

    def _near_value(self) -> str:
        if self.kind == "quantity" and isinstance(self.input, str):
            return _near_quantity(self.input)
        return f"{self.input}m" if self.kind == "duration" and isinstance(self.input, int) else ""

    def _help(self) -> str:
        return _description(self.path)


_OWN = {
    "address",
    "control-character",
    "date",
    "duration",
    "empty",
    "environment",
    "disagreement",
    "folder",
    "image",
    "kubernetes-name",
    "label",
    "language",
    "name",
    "quantity",
    "requirement",
    "resource-key",
    "scope",
}


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]


def _kind(value: Any, wanted: str) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return "text"
    return picture(value) if "number" in wanted else "a number"


def _near_resource(key: str, candidates: Sequence[str]) -> str:
    """A known resource; `gpu` means the accelerator that ends so."""
    word = key.lower().removesuffix("s")
    last = [candidate for candidate in candidates if candidate.rpartition("/")[2] == word]
    if not last and word == "gpu":
        return "nvidia.com/gpu"
    return last[0] if last else nearest(key, candidates)


def _near_language(key: str) -> str:
    language, *rest = key.replace("-", "_").split("_")
    parts = [language.lower(), *(part.title() if len(part) == 4 else part.upper() for part in rest)]
    guess = "_".join(parts)
    shaped = language.isalpha() and len(language) in (2, 3) and all(part.isalpha() for part in parts)
    return guess if guess != key and shaped else ""


def _near_quantity(text: str) -> str:
    """The quantity that a habit of writing units stands for: 4GB, 4 GiB, 16gb."""
    compact = text.replace(" ", "").replace("_", "").lower().removesuffix("b")
    number, unit = compact.rstrip("kmgtpei"), compact.lstrip("0123456789.")
    units = {"k": "Ki", "m": "Mi", "g": "Gi", "t": "Ti", "ki": "Ki", "mi": "Mi", "gi": "Gi", "ti": "Ti", "": ""}
    guess = f"{number}{units.get(unit, '?')}"
    plausible = number.isascii() and number.replace(".", "", 1).isdecimal() and "?" not in guess
    return guess if plausible and guess != text else ""


# --- what the models say of a place ----------------------------------------------------------------------------------


def _annotation(path: Path) -> Any:
    """The type that stands at `path` in the models; None where there is none."""
    current: Any = PolicyDocument
    for part in path:
        current = _inside(current, part)
    return current


def _inside(annotation: Any, part: str | int) -> Any:
    for each in _alternatives(annotation):
        if isinstance(each, type) and issubclass(each, BaseModel):
            field = _fields(each).get(str(part))
            if field is not None:
                return field
        elif get_origin(each) is dict:
            return get_args(each)[1]
        elif get_origin(each) is list:
            return get_args(each)[0]
    return None


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


def _alternatives(annotation: Any) -> Iterator[Any]:
    """The plain types that an annotation stands for, without `Annotated`, unions and names around them."""
    if isinstance(annotation, TypeAliasType):
        yield from _alternatives(annotation.__value__)
    elif get_origin(annotation) is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, types.UnionType):
        for each in get_args(annotation):
            yield from _alternatives(each)
    else:
        yield annotation


def _is_literal(annotation: Any) -> bool:
    return str(get_origin(annotation)) == "typing.Literal"


def _keys(path: Path) -> list[str]:
    """The keys that a map at `path` may have."""
    return [
        key
        for each in _alternatives(_annotation(path))
        if isinstance(each, type) and issubclass(each, BaseModel)
        for key in _fields(each)
    ]


def _description(path: Path) -> str:
    """What the models say of the nearest described key of `path`."""
    for length in range(len(path), 0, -1):
        for each in _alternatives(_annotation(path[: length - 1])):
            if isinstance(each, type) and issubclass(each, BaseModel):
                for name, field in each.model_fields.items():
                    if (field.alias or name) == path[length - 1]:
                        return field.description or ""
    return ""
