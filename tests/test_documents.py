"""Texts of objects, well-formed and hostile, as trees."""

from __future__ import annotations

import json
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from aihub import documents
from aihub.documents import Broken, Document, Tree, parse_json, read_trees
from aihub.errors import CatalogError


def trees(text: str) -> list[Tree]:
    return [document.tree for document in read_trees(text, "file") if isinstance(document, Document)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 3.10", [{"a": "3.10"}]),
        ("a: yes", [{"a": "yes"}]),
        ("a: 2026-01-01", [{"a": "2026-01-01"}]),
        ("1: b", [{"1": "b"}]),
        ("a: null", [{"a": None}]),
        ("a: ~", [{"a": None}]),
        ("a:", [{"a": None}]),
        ("a: 'null'", [{"a": "null"}]),
        ("a: ''", [{"a": ""}]),
        ("a: [1, {b: c}]", [{"a": ["1", {"b": "c"}]}]),
        ("a: |\n  one\n  two\n", [{"a": "one\ntwo\n"}]),
        ("a: &x [1]\nb: *x", [{"a": ["1"], "b": ["1"]}]),
        ("a: &x text\nb: *x", [{"a": "text", "b": "text"}]),
        ("base: &x {a: 1, b: 2}\nc: {<<: *x, b: 3}", [{"base": {"a": "1", "b": "2"}, "c": {"a": "1", "b": "3"}}]),
        (
            "x: &x {a: 1}\ny: &y {a: 2, b: 2}\nz: {<<: [*x, *y]}",
            [{"x": {"a": "1"}, "y": {"a": "2", "b": "2"}, "z": {"a": "1", "b": "2"}}],
        ),
        ("'<<': {a: 1}", [{"<<": {"a": "1"}}]),
        ("a: !!python/object/apply:os.system [ls]", [{"a": ["ls"]}]),
        ("a: 1\n---\nb: 2\n", [{"a": "1"}, {"b": "2"}]),
        ("---\n---\na: 1\n...\n---\n", [{"a": "1"}]),
        ("%YAML 1.1\n---\na: 1\n", [{"a": "1"}]),
        ("", []),
        ("# nothing\n", []),
        (
            '{"a": 3.10, "b": true, "c": null, "d": [false, 1]}',
            [{"a": "3.10", "b": "true", "c": None, "d": ["false", "1"]}],
        ),
        ('{"a": "\\ud83d\\ude00"}', [{"a": "😀"}]),
        ('{"a": "\\ud800"}', [{"a": "?"}]),
        ('{\n\t"a": 1\n}', [{"a": "1"}]),
        ("{a: 1, b: 2}", [{"a": "1", "b": "2"}]),
    ],
)
def test_a_text_becomes_its_trees(text: str, expected: list[Tree]) -> None:
    assert trees(text) == expected


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("a: [", 2, "expected"),
        ("a:\n\tb: 1", 2, "cannot start any token"),
        ("a: 1\nb: \x00", 2, "control characters"),
        ("a: 1\nb: \ud800", 2, "not Unicode"),
        ("a: *nothing", 1, "not defined"),
        ("a: &x [*x]", 1, "holds itself"),
        ("a: 1\nb: " + "[" * 101 + "]" * 101, 2, "nested too deeply"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(text: str, line: int, problem: str) -> None:
    with pytest.raises(CatalogError, match=problem) as caught:
        read_trees(text, "streams.yaml")
    assert caught.value.line == line
    assert str(caught.value).startswith(f"streams.yaml:{line}: ")


def laughs(levels: int) -> str:
    lines = ["a0: &a0 ha"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, levels)]
    return "\n".join(lines)


HOSTILE = {
    "deep YAML": "[" * 200_000,
    "deep YAML, closed": "[" * 100_000 + "]" * 100_000,
    "deep mappings": "{a: " * 100_000,
    "deep JSON": '{"a":' * 200_000,
    "a billion laughs": laughs(40),
    "laughs in mappings": laughs(10) + "\nb: {<<: [" + ", ".join(["*a9"] * 9) + "]}",
    "square": "a: &a [" + "x, " * 10_000 + "]\nb: [" + "*a, " * 10_000 + "]",
    "merges": "a: &a {" + ", ".join(f"k{n}: v" for n in range(5000)) + "}\nb: [" + "{<<: *a}, " * 5000 + "]",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_bomb_is_refused_before_it_goes_off(text: str) -> None:
    started = time.perf_counter()
    with pytest.raises(CatalogError, match=r"too deeply|too large"):
        read_trees(text, "bomb")
    assert time.perf_counter() - started < 5


def test_a_text_that_is_too_long_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MAX_CHARACTERS", 10)
    with pytest.raises(CatalogError, match="longer than 10 characters"):
        read_trees("a: 12345678", "file")


def test_a_broken_document_costs_itself_only() -> None:
    text = "a: 1\n---\nb: [\n---\n\tc\n---\nd: 4\n"
    assert read_trees(text, "file") == [
        Document(1, {"a": "1"}),
        Broken(4, "did not find expected node content"),
        Broken(5, "found character that cannot start any token"),
        Document(7, {"d": "4"}),
    ]


def test_a_bomb_costs_its_own_document_only() -> None:
    found = read_trees("a: 1\n---\n" + laughs(20) + "\n---\nb: 2\n", "file")
    assert [type(one) for one in found] == [Document, Broken, Document]


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("a: 1\nb: 2\na: 3", "the key 'a' is there twice: the last one counts"),
        ('{"a": 1, "b": 2, "a": 3}', "the key 'a' is there twice: the last one counts"),
        ("? [x]\n: y\nb: 2\na: 3", "a key in line 1 is not text: it was left out"),
        ("? {x: y}\n: y\nb: 2\na: 3", "a key in line 1 is not text: it was left out"),
    ],
)
def test_an_odd_key_is_noted(text: str, note: str) -> None:
    assert read_trees(text, "file") == [Document(1, {"a": "3", "b": "2"}, (note,))]


def test_documents_know_their_lines() -> None:
    assert [one.line for one in read_trees("# comment\n\na: 1\n---\n\nb: 2\n", "file")] == [3, 6]


def test_the_slower_loader_reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a: &x {b: 3.10, c: ~}\nd: {<<: *x, e: one}\n---\nf: ['x', \"\\u00e9\"]\n"
    fast = read_trees(text, "file")
    monkeypatch.setattr(documents, "_Loader", yaml.SafeLoader)
    assert read_trees(text, "file") == fast


values = st.recursive(
    st.none() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
)
objects = st.dictionaries(st.text(max_size=8), values, max_size=4)


@given(objects)
def test_json_is_read_back(tree: dict[str, Tree]) -> None:
    assert trees(json.dumps(tree)) == [tree]
    assert parse_json(json.dumps(tree)) == tree


printable = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=10)
printable_trees = st.recursive(
    printable, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(printable, inner, max_size=4)
)


@given(st.dictionaries(printable, printable_trees, min_size=1, max_size=4))
def test_yaml_is_read_back(tree: dict[str, Tree]) -> None:
    assert trees(yaml.safe_dump(tree, allow_unicode=True, sort_keys=False)) == [tree]


@given(st.text(max_size=60) | st.text("ab:[]{}-&*<>|'\"\n\t #!%", max_size=40))
def test_any_text_is_trees_or_one_clear_error(text: str) -> None:
    try:
        found = read_trees(text, "file")
    except CatalogError as error:
        found = [Broken(error.line, error.problem)]
    assert all(one.line >= 1 for one in found)
    assert all(one.problem for one in found if isinstance(one, Broken))
