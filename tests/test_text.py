"""Texts in one or several languages."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from aihub.text import Text

BOTH = {"en": "Course", "zh_TW": "課程"}


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (None, ""),
        ("", ""),
        ("Course", "Course"),
        (BOTH, "Course"),
        ({"zh_TW": "課程", "ko": "강의"}, "課程"),
        ({"en": "", "ko": "강의"}, ""),
        ({}, ""),
    ],
)
def test_one_text_serves_the_other_languages(value: str | Mapping[str, str] | None, plain: str) -> None:
    assert Text.of(value).plain == plain


@pytest.mark.parametrize(
    ("translations", "language", "text"),
    [
        (BOTH, "zh_TW", "課程"),
        (BOTH, "en", "Course"),
        (BOTH, "en_GB", "Course"),
        (BOTH, "ko", "Course"),
        ({"zh": "课程", "en": "Course"}, "zh_CN", "课程"),
        ({"zh": "课程", "zh_TW": "課程", "en": "Course"}, "zh_TW", "課程"),
        ({"ko": "", "en": "Course"}, "ko", "Course"),
    ],
)
def test_a_language_falls_back_to_its_base_then_to_the_plain_text(
    translations: dict[str, str], language: str, text: str
) -> None:
    assert Text.of(translations).in_language(language) == text


def test_a_plain_text_is_the_same_in_every_language() -> None:
    assert {Text.of("Course").in_language(language) for language in ("en", "zh_TW", "")} == {"Course"}


@pytest.mark.parametrize(("text", "truth"), [(Text(), False), (Text("x"), True), (Text.of(BOTH), True)])
def test_a_text_is_true_when_it_says_something(text: Text, truth: bool) -> None:
    assert bool(text) is truth


def test_equal_texts_have_equal_hashes() -> None:
    assert hash(Text.of(BOTH)) == hash(Text.of(dict(reversed(BOTH.items()))))
    assert Text.of(BOTH) == Text.of(dict(BOTH))
    assert Text.of("Course") != Text.of(BOTH)
