"""User options are hostile input: each is well-formed or refused, never an exception."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aihub.errors import Reason, Refusal
from aihub.options import MAX_ID_LENGTH, OPTION_KEYS, Options, parse_options, shown


@pytest.mark.parametrize(
    ("raw", "options"),
    [
        ({}, Options()),
        ({"project": "ml101"}, Options(project="ml101")),
        ({"project": "ml101", "image": "pytorch:2.9", "profile": "gpu"}, Options("ml101", "pytorch:2.9", "gpu")),
        ({"acceleratorCount": 2}, Options(accelerator_count=2)),
        ({"acceleratorCount": 0}, Options(accelerator_count=0)),
        ({"acceleratorCount": 1024}, Options(accelerator_count=1024)),
        ({"project": "x" * MAX_ID_LENGTH}, Options(project="x" * MAX_ID_LENGTH)),
        ({"project": "강의 1"}, Options(project="강의 1")),
    ],
)
def test_ids_and_a_count_are_options(raw: Mapping[str, Any], options: Options) -> None:
    assert parse_options(raw) == options


@pytest.mark.parametrize(
    ("raw", "field", "problem"),
    [
        (None, "", "not-an-object"),
        ([], "", "not-an-object"),
        ("project", "", "not-an-object"),
        (5, "", "not-an-object"),
        ({"size": "big"}, "size", "unknown-key"),
        ({"Project": "ml101"}, "Project", "unknown-key"),
        ({"project ": "ml101"}, "project ", "unknown-key"),
        ({"accelerator_count": 1}, "accelerator_count", "unknown-key"),
        ({1: "ml101"}, "int", "unknown-key"),
        ({None: "ml101"}, "NoneType", "unknown-key"),
        ({"\0": "x"}, "\N{REPLACEMENT CHARACTER}", "unknown-key"),
        ({"project": None}, "project", "not-text"),
        ({"project": ["ml101"]}, "project", "not-text"),
        ({"project": {"a": "b"}}, "project", "not-text"),
        ({"project": 1}, "project", "not-text"),
        ({"image": True}, "image", "not-text"),
        ({"profile": b"gpu"}, "profile", "not-text"),
        ({"project": ""}, "project", "empty"),
        ({"image": "x" * (MAX_ID_LENGTH + 1)}, "image", "too-long"),
        ({"image": "x" * 1_000_000}, "image", "too-long"),
        ({"project": "ml\0"}, "project", "unprintable"),
        ({"project": "ml\n"}, "project", "unprintable"),
        ({"project": "ml\N{RIGHT-TO-LEFT OVERRIDE}101"}, "project", "unprintable"),
        ({"project": "ml\N{ZERO WIDTH SPACE}"}, "project", "unprintable"),
        ({"project": "ml\N{LINE SEPARATOR}"}, "project", "unprintable"),
        ({"project": "\ud800"}, "project", "unprintable"),
        ({"project": "\ue000"}, "project", "unprintable"),
        ({"acceleratorCount": "1"}, "acceleratorCount", "not-a-count"),
        ({"acceleratorCount": 1.0}, "acceleratorCount", "not-a-count"),
        ({"acceleratorCount": True}, "acceleratorCount", "not-a-count"),
        ({"acceleratorCount": None}, "acceleratorCount", "not-a-count"),
        ({"acceleratorCount": -1}, "acceleratorCount", "not-a-count"),
        ({"acceleratorCount": 1025}, "acceleratorCount", "not-a-count"),
        ({"acceleratorCount": 10**400}, "acceleratorCount", "not-a-count"),
        ({"acceleratorCount": float("nan")}, "acceleratorCount", "not-a-count"),
    ],
)
def test_anything_else_is_refused_with_its_field_and_problem(raw: object, field: str, problem: str) -> None:
    found = parse_options(raw)
    assert isinstance(found, Refusal)
    assert found.reason is Reason.INVALID_OPTIONS
    assert (found.parameters["field"], found.parameters["problem"]) == (field, problem)


@pytest.mark.parametrize("key", OPTION_KEYS[:3])
def test_every_id_is_checked(key: str) -> None:
    assert isinstance(parse_options({key: []}), Refusal)
    found = parse_options({key: "x"})
    assert isinstance(found, Options)
    assert found.as_user_options() == {key: "x"}


@pytest.mark.parametrize(
    ("value", "picture"),
    [
        ("ml101", "ml101"),
        ("", ""),
        ("a\0b\N{RIGHT-TO-LEFT OVERRIDE}c", "a\ufffdb\ufffdc"),
        ("\x1b[31m", "\ufffd[31m"),
        ("x" * 80, "x" * 80),
        ("x" * 81, "x" * 80 + "…"),
        (None, "NoneType"),
        (5, "int"),
        (["a"], "list"),
        ("강의 <b>", "강의 <b>"),
    ],
)
def test_a_picture_of_a_value_is_short_and_inert(value: object, picture: str) -> None:
    assert shown(value) == picture


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=300) | st.binary(max_size=8)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=4),
)
mostly_known = st.dictionaries(st.sampled_from(OPTION_KEYS) | st.text(max_size=10), anything, max_size=5)


@given(anything | mostly_known)
def test_any_value_is_options_or_a_refusal(raw: object) -> None:
    found = parse_options(raw)
    if isinstance(found, Refusal):
        assert found.reason is Reason.INVALID_OPTIONS
        for parameter in found.parameters.values():
            assert isinstance(parameter, str)
            assert len(parameter) <= 81
            parameter.encode()
    else:
        assert isinstance(raw, Mapping)
        assert found.as_user_options() == raw


texts = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=MAX_ID_LENGTH)


@given(st.builds(Options, *[st.none() | texts] * 3, st.none() | st.integers(0, 1024)))
def test_options_are_read_back_from_what_the_hub_stores(options: Options) -> None:
    assert parse_options(options.as_user_options()) == options


def test_deep_nesting_is_no_problem() -> None:
    deep: list[Any] = []
    for _ in range(sys.getrecursionlimit() * 10):
        deep = [deep]
    assert isinstance(parse_options({"project": deep}), Refusal)
    assert isinstance(parse_options(deep), Refusal)
