from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aihub.positions import MAX_DEPTH, Document, Place, merge, read_document


def value(text: str) -> Any:
    document, findings = read_document(text, "p.yaml")
    assert findings == ()
    return document.value


def only_finding(text: str) -> tuple[str, int, int]:
    _, findings = read_document(text, "p.yaml")
    assert len(findings) == 1, findings
    return findings[0].code, findings[0].line, findings[0].column


@pytest.mark.parametrize(
    ("written", "read"),
    [
        pytest.param("12", 12, id="integer"),
        pytest.param("-3", -3, id="negative"),
        pytest.param("010", 10, id="no octal"),
        pytest.param("2.10", Decimal("2.10"), id="fraction is exact"),
        pytest.param("1e3", Decimal("1e3"), id="exponent"),
        pytest.param("0.1", Decimal("0.1"), id="tenth"),
        pytest.param("true", True, id="true"),
        pytest.param("False", False, id="false"),
        pytest.param("~", None, id="null"),
        pytest.param("", None, id="nothing"),
        pytest.param("yes", "yes", id="yes is text"),
        pytest.param("off", "off", id="off is text"),
        pytest.param("1_000", "1_000", id="underscore is text"),
        pytest.param("12:30", "12:30", id="time is text"),
        pytest.param("2026-11-22", "2026-11-22", id="date is text"),
        pytest.param(".inf", ".inf", id="infinity is text"),
        pytest.param("0x10", "0x10", id="hex is text"),
        pytest.param("'12'", "12", id="quoted"),
        pytest.param("!!str 12", "12", id="tagged text"),
        pytest.param("9" * 41, "9" * 41, id="endless number is text"),
        pytest.param("|-\n    line", "line", id="block"),
    ],
)
def test_scalars_follow_the_core_schema(written: str, read: object) -> None:
    got = value(f"key: {written}\n")["key"]
    assert got == read
    assert type(got) is type(read)


def test_keys_are_the_text_as_written() -> None:
    assert value("2.10: a\ntrue: b\n'': c\n010: d\n") == {"2.10": "a", "true": "b", "": "c", "010": "d"}


def test_json_is_yaml() -> None:
    assert value('{"a": [1, true, null, "x"], "b": {}}') == {"a": [1, True, None, "x"], "b": {}}


def test_places_are_those_of_keys_and_values() -> None:
    document, _ = read_document("a:\n  b: [1, 2]\n  c: x\n", "p.yaml")
    assert document.keys["a", "b"] == Place("p.yaml", 2, 3)
    assert document.values["a", "b", 1] == Place("p.yaml", 2, 10)
    assert document.value_place(("a", "c")) == Place("p.yaml", 3, 6)
    assert document.key_place(("a", "c")) == Place("p.yaml", 3, 3)


def test_the_place_of_something_absent_is_the_key_around_it() -> None:
    document, _ = read_document("top:\n  a:\n    b: 1\n", "p.yaml")
    assert document.key_place(("top", "a", "missing")) == Place("p.yaml", 2, 3)
    assert Document("none.yaml").key_place(("x",)) == Place("none.yaml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a: [1, 2\nb: 1\n", ("yaml-syntax", 2, 2), id="open bracket"),
        pytest.param("a: b: c\n", ("yaml-syntax", 1, 5), id="two colons"),
        pytest.param("a: 1\n\tb: 2\n", ("yaml-syntax", 2, 1), id="tab"),
        pytest.param("a: \x00\n", ("yaml-syntax", 0, 0), id="NUL"),
        pytest.param("a: \ud800\n", ("yaml-syntax", 0, 0), id="lone surrogate"),
        pytest.param("a: 1\nb: 2\na: 3\n", ("duplicate-key", 3, 1), id="duplicate key"),
        pytest.param("a: 1\n---\nb: 2\n", ("second-document", 2, 1), id="second document"),
        pytest.param("a: *b\n", ("unknown-alias", 1, 4), id="unknown alias"),
        pytest.param("a: &a [*a]\n", ("unknown-alias", 1, 8), id="alias inside itself"),
        pytest.param("a: !!python/name:os.system x\n", ("yaml-tag", 1, 4), id="python tag"),
        pytest.param("a: !secret {b: 1}\n", ("yaml-tag", 1, 4), id="tagged map"),
        pytest.param("a: !!int x\n", ("yaml-tag", 1, 4), id="tag that does not fit"),
        pytest.param("? [a, b]\n: 1\n", ("key-not-text", 1, 3), id="list as key"),
        pytest.param("<<: 3\na: 1\n", ("yaml-merge", 1, 5), id="merge of a number"),
        pytest.param("[" * 5000, ("too-deep", 1, MAX_DEPTH + 1), id="deep flow"),
        pytest.param("- " * 5000, ("too-deep", 1, 2 * MAX_DEPTH + 1), id="deep block"),
    ],
)
def test_what_is_wrong_is_found_with_its_place(text: str, expected: tuple[str, int, int]) -> None:
    assert only_finding(text) == expected


def test_a_duplicate_key_names_the_first_one_and_keeps_it() -> None:
    document, (finding,) = read_document("m:\n  a: 1\n  a: 2\n", "p.yaml")
    assert document.value == {"m": {"a": 1}}
    assert finding.path == "m.a"
    assert "line 2" in finding.message


def test_anchors_and_merges_are_read_and_own_keys_win() -> None:
    text = "base: &base {cpu: 1, memory: 1Gi}\nsmall:\n  <<: *base\n  cpu: 2\nother: *base\n"
    document, findings = read_document(text, "p.yaml")
    assert findings == ()
    assert document.value["small"] == {"cpu": 2, "memory": "1Gi"}
    assert document.value["other"] == {"cpu": 1, "memory": "1Gi"}
    assert document.values["small", "memory"].line == 1
    assert document.values["small", "cpu"].line == 4


def test_a_merge_of_several_maps_prefers_the_first() -> None:
    assert value("a: &a {x: 1}\nb: &b {x: 2, y: 2}\nc: {<<: [*a, *b]}\n")["c"] == {"x": 1, "y": 2}


@pytest.mark.parametrize(
    "link", ["[*{0}, *{0}]", "{{k: *{0}, l: *{0}}}", "{{<<: *{0}, k{1}: *{0}}}"], ids=["list", "map", "merge"]
)
def test_an_alias_bomb_is_refused_quickly(link: str) -> None:
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{n}: &a{n} {link.format(f'a{n - 1}', n)}" for n in range(1, 40)]
    document, findings = read_document("\n".join(lines), "bomb.yaml")
    assert document.value is None
    assert findings[0].code in {"too-large", "too-deep"}


def test_a_chain_of_aliases_deeper_than_the_limit_is_refused() -> None:
    lines = ["a0: &a0 {x: 1}", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 100))]
    _, findings = read_document("\n".join(lines), "chain.yaml")
    assert [finding.code for finding in findings] == ["too-deep"]


def test_maps_of_several_files_merge_and_keep_their_places() -> None:
    first, _ = read_document("projects:\n  a: {open: true}\n", "1.yaml")
    second, _ = read_document("projects:\n  b: {open: true}\n", "2.yaml")
    merged, findings = merge([first, second])
    assert findings == ()
    assert merged.value == {"projects": {"a": {"open": True}, "b": {"open": True}}}
    assert merged.key_place(("projects", "b")) == Place("2.yaml", 2, 3)
    assert first.value == {"projects": {"a": {"open": True}}}


@pytest.mark.parametrize("other", ["home: {size: 2Gi}", "home: {size: 1Gi}", "home: [1]"])
def test_a_value_in_two_files_names_both_places(other: str) -> None:
    first, _ = read_document("home: {size: 1Gi}", "1.yaml")
    second, _ = read_document(other, "2.yaml")
    merged, (finding,) = merge([first, second])
    assert finding.code == "set-twice"
    assert finding.file == "2.yaml"
    assert "1.yaml:1:" in finding.message
    assert merged.value == {"home": {"size": "1Gi"}}


def test_a_file_that_is_no_map_is_a_finding() -> None:
    document, _ = read_document("- a\n", "list.yaml")
    merged, (finding,) = merge([document])
    assert (finding.code, finding.line) == ("not-a-map", 1)
    assert merged.value == {}


@given(st.text(alphabet=st.sampled_from("ab:-[]{}&*<#!|>'\"\n \t,?%@1.~"), max_size=60) | st.text(max_size=40))
def test_no_text_raises(text: str) -> None:
    document, findings = read_document(text, "any.yaml")
    assert document.file == "any.yaml"
    for path in document.values:
        # Every place leads to a value of the document.
        parent = document.at(path[:-1]) if path else None
        assert not path or isinstance(parent, dict | list)
    for finding in findings:
        assert finding.message
        assert "\n" not in finding.message
