"""What the parts of the policy file are made of: kinds of values with messages of our own, and the model they share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Annotated, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    GetPydanticSchema,
    PlainValidator,
    Tag,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError, core_schema
from typing_extensions import TypeAliasType

from aihub.errors import QuantityError
from aihub.projects import Membership, normalised_user
from aihub.resources import CPU, MEMORY, SERVERS, STORAGE, parse_quantity

ONE, MAP, LIST = "<one>", "<map>", "<list>"
"""Labels of the ways to write a value. No key is called so: `aihub.config` drops them from pydantic's locations."""

T = TypeVar("T")


# --- values ----------------------------------------------------------------------------------------------------------


def _quantity(value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise PydanticCustomError("quantity", "must be a quantity such as 500m, 1.5 or 2Gi")
    try:
        return parse_quantity(str(value))
    except QuantityError as error:
        raise PydanticCustomError("quantity", "{problem}", {"problem": error.problem}) from error


QUANTITY_PATTERN = r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?$"

Quantity = TypeAliasType(
    "Quantity",
    Annotated[
        Decimal,
        PlainValidator(_quantity),
        WithJsonSchema(
            {
                "title": "Quantity",
                "description": "An amount as Kubernetes writes it.",
                "anyOf": [
                    {"type": "string", "pattern": QUANTITY_PATTERN, "maxLength": 40},
                    {"type": "number", "minimum": 0},
                ],
                "examples": ["500m", 2, "1.5", "16Gi"],
            }
        ),
    ],
)

DURATION_PATTERN = r"^(?=[0-9])([0-9]{1,4}d)?([0-9]{1,5}h)?([0-9]{1,6}m)?([0-9]{1,8}s)?$"
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def _seconds(value: object) -> int:
    if not isinstance(value, str) or not re.fullmatch(DURATION_PATTERN, value, re.ASCII):
        raise PydanticCustomError("duration", "must be a duration such as 30m, 2h or 1h30m")
    seconds = sum(int(number) * _SECONDS[unit] for number, unit in re.findall(r"([0-9]+)([dhms])", value))
    if seconds < 1:
        raise PydanticCustomError("duration", "must be at least one second")
    return seconds


def _duration(value: object) -> int:
    seconds = _seconds(value)
    if seconds < 60:
        raise PydanticCustomError("duration", "must be at least one minute")
    return seconds


Duration = Annotated[
    int,
    PlainValidator(_duration),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN, "examples": ["30m", "2h", "1h30m"]}),
]

ShortDuration = Annotated[
    int,
    PlainValidator(_seconds),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN, "examples": ["30s", "5m", "1h30m"]}),
]
"""A duration that may be shorter than a minute."""


def matching(code: str, pattern: str, message: str, longest: int, examples: list[str]) -> GetPydanticSchema:
    """A constraint on text with a message of our own; its JSON Schema says the same."""

    def check(value: str) -> str:
        if len(value) > longest or not re.fullmatch(pattern, value, re.ASCII):
            raise PydanticCustomError(code, "{problem}", {"problem": message})
        return value

    shown = {"type": "string", "pattern": f"^{pattern}$", "maxLength": longest, "examples": examples}
    return GetPydanticSchema(
        lambda source, handler: core_schema.no_info_after_validator_function(check, handler(source)),
        lambda _schema, _handler: shown,
    )


_NAME_RULE = "is no name: use up to 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"
_NAME_PATTERN = r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?"
Name = Annotated[str, matching("name", _NAME_PATTERN, _NAME_RULE, 63, ["ml101"])]

_TAG_RULE = "is no tag: use up to 128 letters, digits, '-', '_' and '.', beginning with none of '-' and '.'"
TagName = Annotated[str, matching("name", r"[A-Za-z0-9_][A-Za-z0-9._-]*", _TAG_RULE, 128, ["2026.1"])]

_LANGUAGE_PATTERN = r"[a-z]{2,3}(_[A-Z][a-z]{3})?(_[A-Z]{2})?"
_LANGUAGE_RULE = "is no language: write the code as in en, ko or zh_TW"
Language = Annotated[str, matching("language", _LANGUAGE_PATTERN, _LANGUAGE_RULE, 11, ["en", "zh_TW"])]

_ACCELERATOR_PATTERN = r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?/[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?"
_ACCELERATOR_RULE = "is no accelerator resource: write vendor and kind, as in nvidia.com/gpu"
AcceleratorKey = Annotated[
    str, matching("resource-key", _ACCELERATOR_PATTERN, _ACCELERATOR_RULE, 253, ["nvidia.com/gpu"])
]

_RESOURCE_RULE = "is no resource: use servers, cpu, memory, storage or an accelerator such as nvidia.com/gpu"
_RESOURCE_PATTERN = f"({SERVERS}|{CPU}|{MEMORY}|{STORAGE}|{_ACCELERATOR_PATTERN})"
ResourceKey = Annotated[str, matching("resource-key", _RESOURCE_PATTERN, _RESOURCE_RULE, 253, ["servers", "cpu"])]

_REFERENCE_PATTERN = rf"{_NAME_PATTERN}(:[A-Za-z0-9_][A-Za-z0-9._-]*)?"
_REFERENCE_RULE = "names no image: write stream or stream:tag"
ImageReference = Annotated[str, matching("name", _REFERENCE_PATTERN, _REFERENCE_RULE, 253, ["pytorch", "pytorch:2.9"])]

_SUCCESSOR_RULE = "names no tag: write a tag of the same stream, or stream:tag"
SuccessorReference = Annotated[
    str,
    matching("name", rf"({_NAME_PATTERN}:)?[A-Za-z0-9_][A-Za-z0-9._-]*", _SUCCESSOR_RULE, 253, ["2.9", "pytorch:2.9"]),
]


# What Kubernetes takes for names and labels: https://kubernetes.io/docs/concepts/overview/working-with-objects/names/
# and …/labels/#syntax-and-character-set.
_LABEL_PATTERN = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
_LABEL_RULE = (
    "is no name for it in Kubernetes: use up to 63 small letters, digits and '-', with none of '-' at its ends"
)
NamespaceName = Annotated[str, matching("kubernetes-name", _LABEL_PATTERN, _LABEL_RULE, 63, ["ml101"])]

_SUBDOMAIN_PATTERN = rf"{_LABEL_PATTERN}(\.{_LABEL_PATTERN})*"
_SUBDOMAIN_RULE = (
    "is no name for it in Kubernetes: use up to 253 small letters, digits, '-' and '.', "
    "beginning and ending with a letter or digit"
)
ObjectName = Annotated[str, matching("kubernetes-name", _SUBDOMAIN_PATTERN, _SUBDOMAIN_RULE, 253, ["campus-registry"])]

_WORD_PATTERN = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_KEY_RULE = (
    "is no label key: use up to 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit, "
    "after a domain and '/' where it has one"
)
LabelKey = Annotated[
    str, matching("label", rf"({_SUBDOMAIN_PATTERN}/)?{_WORD_PATTERN}", _KEY_RULE, 317, ["nvidia.com/gpu.product"])
]
_VALUE_RULE = (
    "is no label value: use up to 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"
)
LabelValue = Annotated[str, matching("label", f"({_WORD_PATTERN})?", _VALUE_RULE, 63, ["NVIDIA-L4"])]

_FOLDER_PATTERN = r"(/(?!\.\.?(/|$))[A-Za-z0-9._-]+)+"
_FOLDER_RULE = "is no folder in a container: write it from the root, as in /home/jovyan"
ContainerFolder = Annotated[str, matching("folder", _FOLDER_PATTERN, _FOLDER_RULE, 255, ["/home/jovyan"])]


def _no_controls(value: str) -> str:
    if not value.strip():
        raise PydanticCustomError("empty", "is empty")
    if any(ord(character) < 32 or ord(character) == 127 for character in value if character not in "\n\t"):
        raise PydanticCustomError("control-character", "has a control character in it")
    return value


Words = Annotated[str, AfterValidator(_no_controls), Field(min_length=1, max_length=10_000)]


def _one_line(value: str) -> str:
    if "\n" in _no_controls(value):
        raise PydanticCustomError("control-character", "has a line break in it")
    return value


Line = Annotated[str, AfterValidator(_one_line), Field(min_length=1, max_length=2_000)]


def map_or_one(value: object) -> str:
    """Whether `value` is written as a map or as one value, by the labels above."""
    return MAP if isinstance(value, dict) else ONE


LocalText = TypeAliasType(
    "LocalText",
    Annotated[
        Annotated[Words, Tag(ONE)] | Annotated[dict[Language, Words], Field(min_length=1), Tag(MAP)],
        Discriminator(map_or_one),
        Field(title="Text", description="A text for all languages, or a map from language to text."),
    ],
)


# "." and ".." are steps in an address, not somebody.
_USER_PATTERN = r"(?!\.\.?$)[^/\s\x00-\x1f]([^/\x00-\x1f]*[^/\s\x00-\x1f])?"
_USER_RULE = "is no user name: no '/', no spaces around it, not '.' or '..', at most 255 characters"
UserName = Annotated[str, matching("name", _USER_PATTERN, _USER_RULE, 255, ["ada"])]


def web_address(value: str) -> str:
    """Check that `value` begins as the address of a web page does."""
    if not value.startswith(("https://", "http://")):
        raise PydanticCustomError("address", "is no web address: it starts with https:// or http://")
    return value


def frozen(values: Mapping[str, T]) -> Mapping[str, T]:
    """A copy of `values` that cannot be changed."""
    return MappingProxyType(dict(values))


# --- models ----------------------------------------------------------------------------------------------------------


class Model(BaseModel):
    """What all parts of the policy file share."""

    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel, frozen=True)


DISPLAY_NAME = Field(default=None, title="Display name", description="Name that people see; the key if absent.")
DESCRIPTION = Field(default=None, title="Description", description="One or two sentences for people.")
ORDER = Field(
    default=100, title="Order", description="Smaller numbers stand first in lists; equal ones are sorted by key."
)


class MembersModel(Model):
    """People, by group and by name."""

    groups: list[Line] = Field(
        default_factory=list,
        title="Groups",
        description="Group patterns: `*` is one segment of a path, `**` any number of them.",
    )
    users: list[UserName] = Field(default_factory=list, title="Users", description="User names.")

    def membership(self, *, everybody: bool = False) -> Membership:
        """The membership as projects know it."""
        return Membership(tuple(self.groups), frozenset(map(normalised_user, self.users)), everybody)
