from __future__ import annotations

import ast
import re
import string
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.pofile import read_po
from hypothesis import given
from hypothesis import strategies as st

from aihub.i18n import LOCALE, PSEUDO, STATIC, Catalogues, Here, language_of, static_version, template_vars
from aihub.language import Language

ROOT = Path(__file__).parents[1]
CATALOGUES = Catalogues.load(pseudo=True, zone=UTC)
ENGLISH, CHINESE = CATALOGUES.languages["en"], CATALOGUES.languages["zh_TW"]
NOON = datetime(2026, 11, 22, 12, 4, tzinfo=UTC)


def catalogue(path: Path) -> Catalog:
    with path.open("rb") as file:
        return read_po(file, locale=path.parts[-3] if path.suffix == ".po" else None)


def messages(found: Catalog) -> dict[str, Message]:
    return {message.id if isinstance(message.id, str) else message.id[0]: message for message in found if message.id}


POT = messages(catalogue(LOCALE / "aihub.pot"))
TRANSLATIONS = {path.parts[-3]: catalogue(path) for path in LOCALE.glob("*/LC_MESSAGES/aihub.po")}


def test_there_is_traditional_chinese() -> None:
    assert "zh_TW" in TRANSLATIONS


def test_the_template_of_catalogues_is_what_the_code_says(tmp_path: Path) -> None:
    fresh = tmp_path / "fresh.pot"
    extract = [sys.executable, "-m", "babel.messages.frontend", "-q", "extract", "-F", "babel.cfg"]
    keywords = ["-k", "say", "-k", "say_n:1,2"]
    subprocess.run([*extract, *keywords, "-o", str(fresh), "aihub"], cwd=ROOT, check=True, timeout=120)
    assert set(messages(catalogue(fresh))) == set(POT), "run `make messages` and translate what is new"


@pytest.mark.parametrize("code", TRANSLATIONS)
def test_nothing_is_missing_fuzzy_or_outdated(code: str) -> None:
    translated = messages(TRANSLATIONS[code])
    assert set(translated) == set(POT)
    assert not [key for key, message in translated.items() if message.fuzzy]
    assert not [key for key, message in translated.items() if not all(_strings(message))]
    assert not TRANSLATIONS[code].obsolete


@pytest.mark.parametrize("code", TRANSLATIONS)
def test_translations_fill_in_the_same_values(code: str) -> None:
    for key, message in messages(TRANSLATIONS[code]).items():
        wanted = _placeholders(key) if isinstance(message.id, str) else _placeholders(message.id[1])
        for translation in _strings(message):
            assert _placeholders(translation) == wanted, key


@pytest.mark.parametrize("message", messages(TRANSLATIONS["zh_TW"]).values(), ids=lambda message: str(message.id)[:40])
def test_chinese_keeps_its_rules_of_writing(message: Message) -> None:
    for text in _strings(message):
        plain, bare = re.sub(r"\{[^}]*\}", "X", text), re.sub(r"\{[^}]*\}", "", text)
        assert not re.search(r"[\u4e00-\u9fff][,;:!?()]|[,;:!?()][\u4e00-\u9fff]", plain), "full-width punctuation"
        assert not re.search(r"[\u4e00-\u9fff][A-Za-z0-9]|[A-Za-z0-9][\u4e00-\u9fff]", bare), "a space"
        assert not re.search(r"」 |“|”", plain)


def _strings(message: Message) -> tuple[str, ...]:
    string = message.string
    return (string,) if isinstance(string, str) else tuple(string or ())


def _placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def extracted() -> list[Path]:
    """The Python files that `babel.cfg` names."""
    patterns = re.findall(r"^\[python: (.*)\]$", (ROOT / "babel.cfg").read_text(), re.MULTILINE)
    return [path for pattern in patterns for path in sorted((ROOT / "aihub").glob(pattern))]


@pytest.mark.parametrize("path", extracted(), ids=lambda path: path.name)
def test_sentences_are_literals_that_can_be_extracted(path: Path) -> None:
    """An f-string, a variable or a call inside an f-string would never reach the catalogue."""
    tree = ast.parse(path.read_text())
    formatted = {id(node) for each in ast.walk(tree) if isinstance(each, ast.JoinedStr) for node in ast.walk(each)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args and _called(node) in ("say", "say_n", "gettext", "ngettext"):
            passed_on = isinstance(node.args[0], ast.Name) and node.args[0].id in ("message", "singular")
            assert isinstance(node.args[0], ast.Constant) or passed_on, node.lineno
            assert id(node) not in formatted, node.lineno


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def test_no_other_file_speaks_to_readers() -> None:
    speaking = {path for path in (ROOT / "aihub").rglob("*.py") if "language.say" in path.read_text()}
    assert speaking <= set(extracted()), "name the file in babel.cfg"


@pytest.mark.parametrize(
    ("cookie", "accept", "code"),
    [
        (None, None, "en"),
        ("zh_TW", "en", "zh_TW"),
        ("tlh", "zh-TW", "zh_TW"),
        ("", "zh-TW,zh;q=0.9,en;q=0.8", "zh_TW"),
        (None, "en-GB,en;q=0.9,zh-TW;q=0.8", "en"),
        (None, "zh-Hant-HK", "zh_TW"),
        (None, "zh", "zh_TW"),
        (None, "de;q=0.9, zh-TW;q=0.3, en;q=0.2", "zh_TW"),
        (None, "zh-TW;q=0, en", "en"),
        (None, "fr", "en"),
        (None, "x-pseudo", "en"),
        (PSEUDO, None, PSEUDO),
        (None, ";;;,,, q=1", "en"),
        (None, "a" * 100_000, "en"),
    ],
)
def test_the_language_is_the_cookies_then_the_browsers(cookie: str | None, accept: str | None, code: str) -> None:
    assert CATALOGUES.choose(cookie, accept).code == code


@given(st.text(), st.text())
def test_any_header_and_cookie_choose_some_language(cookie: str, accept: str) -> None:
    assert CATALOGUES.choose(cookie, accept).code in CATALOGUES.languages


def test_the_pseudo_language_is_only_there_when_asked_for() -> None:
    assert PSEUDO not in Catalogues.load().languages


def test_the_pseudo_language_marks_and_keeps_placeholders() -> None:
    pseudo = CATALOGUES.languages[PSEUDO]
    assert pseudo.say("as of {time}", time="12:04") == "⟦áš öf 12:04⟧"
    assert pseudo.say_n("{n} server", "{n} servers", 2) == "⟦2 šérvérš⟧"


def request(method: str = "GET", cookies: dict[str, Any] | None = None) -> SimpleNamespace:
    return SimpleNamespace(method=method, uri="/hub/home?a=1", path="/hub/home", cookies=cookies or {}, headers={})


def test_a_request_speaks_the_language_of_its_cookie() -> None:
    assert language_of(request(cookies={"aihub-lang": SimpleNamespace(value="zh_TW")})).code == "zh_TW"  # type: ignore[arg-type]
    assert language_of(request()).code == "en"  # type: ignore[arg-type]


class Handler:
    """As much of a handler as a template's `static_url` leads to."""

    def __init__(self, request: SimpleNamespace) -> None:
        self.request = request

    def static_url(self, path: str) -> str:
        return path


@pytest.mark.parametrize(("method", "path"), [("GET", "/hub/home?a=1"), ("POST", "/hub/home")])
def test_templates_reach_the_request_through_static_url(method: str, path: str) -> None:
    make = template_vars(lambda _user: None)["aihub_here"](None)
    here: Here = make({"static_url": Handler(request(method)).static_url, "base_url": "/x/hub/"})
    assert (here.language.code, here.path, here.base_url) == ("en", path, "/x/hub/")
    assert here.static("aihub.css").startswith("/x/hub/aihub/static/aihub.css?v=")


def test_the_address_of_a_static_file_names_its_content() -> None:
    versions = {static_version(path.name) for path in STATIC.iterdir()}
    assert len(versions) == len(list(STATIC.iterdir()))


@pytest.mark.parametrize(
    ("language", "day", "moment"),
    [(ENGLISH, "20 Nov", "20 Nov, 12:04"), (CHINESE, "11 月 20 日", "11 月 20 日 12:04")],
)
def test_dates_have_the_day_before_the_month_and_24_hours(language: Language, day: str, moment: str) -> None:
    at = NOON - timedelta(days=2)
    assert language.day(at) == day
    assert language.moment(at, NOON) == moment
    assert language.moment(NOON, NOON + timedelta(hours=3)) == "12:04"


def test_every_month_has_a_name() -> None:
    days = [datetime(2026, month, 1, tzinfo=UTC) for month in range(1, 13)]
    assert len({ENGLISH.day(day) for day in days}) == 12
    assert CHINESE.day(days[11]) == "12 月 1 日"


@pytest.mark.parametrize(
    ("seconds", "english", "chinese"),
    [
        (0, "0 s", "0 秒"),
        (20, "20 s", "20 秒"),
        (59.6, "1 min", "1 分鐘"),
        (150, "2 min 30 s", "2 分鐘 30 秒"),
        (3600, "1 h", "1 小時"),
        (3601, "1 h", "1 小時"),
        (6060, "1 h 41 min", "1 小時 41 分鐘"),
        (90000, "1 d 1 h", "1 天 1 小時"),
        (-5, "0 s", "0 秒"),
    ],
)
def test_durations_have_their_two_largest_units(seconds: float, english: str, chinese: str) -> None:
    assert ENGLISH.duration(seconds) == english
    assert CHINESE.duration(seconds) == chinese


def test_lists_sentences_and_labels_follow_the_language() -> None:
    assert ENGLISH.listed(["a", "b"]) == "a, b"
    assert CHINESE.listed(["a", "b"]) == "a、b"
    assert [ENGLISH.joined(["a", "b", "c"][:number]) for number in range(4)] == ["", "a", "a and b", "a, b and c"]
    assert CHINESE.joined(["a", "b", "c"]) == "a、b和c"
    assert ENGLISH.sentences("A.", "", "B.", "C.") == "A. B. C."
    assert CHINESE.sentences("甲。", "乙。") == "甲。乙。"
    assert ENGLISH.sentences() == ""
    assert CHINESE.bracketed("a") == "（a）"


def test_values_with_braces_are_not_filled_in_again() -> None:
    assert ENGLISH.say("“{name}”", name="{evil}") == "“{evil}”"
