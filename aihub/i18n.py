"""Catalogues of translations, the choice of a reader's language, and what templates get of a request.

Catalogues are the `.po` files below `aihub/locale`, read once when a process starts: there is no compiled copy that
could be missing or old. The language is the cookie's, else the browser's first that there is, else English.
"""

from __future__ import annotations

import gettext
import hashlib
import io
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import tzinfo
from functools import cache
from pathlib import Path
from typing import Any

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from jinja2 import pass_context
from jinja2.runtime import Context
from tornado.httputil import HTTPServerRequest

from aihub import __version__
from aihub.language import Language

__all__ = [
    "COOKIE",
    "PSEUDO",
    "STATIC",
    "TEMPLATES",
    "Catalogues",
    "Here",
    "catalogues",
    "language_of",
    "languages",
    "static_version",
    "template_vars",
]

COOKIE = "aihub-lang"
PSEUDO = "x_pseudo"
"""A made-up language that marks every translated text, to find those that are not. For tests."""

LOCALE = Path(__file__).with_name("locale")
STATIC = Path(__file__).with_name("static")
TEMPLATES = Path(__file__).with_name("templates")

_NAMES = {"zh_TW": ("zh-Hant-TW", "繁體中文")}
_MAX_HEADER = 1000


@dataclass(frozen=True, slots=True)
class Catalogues:
    """The languages that pages can speak, English first."""

    languages: Mapping[str, Language]

    @classmethod
    def load(cls, folder: Path = LOCALE, *, pseudo: bool = False, zone: tzinfo | None = None) -> Catalogues:
        """Read every catalogue in `folder`. `pseudo` adds the made-up language; `zone` is that of the times shown."""
        languages = {"en": Language(zone=zone)}
        for path in sorted(folder.glob("*/LC_MESSAGES/aihub.po")):
            code = path.parts[-3]
            tag, name = _NAMES.get(code, (code.replace("_", "-"), code))
            translations = _translations(path)
            languages[code] = Language(code, tag, name, translations.gettext, translations.ngettext, zone)
        if pseudo:
            languages[PSEUDO] = Language(PSEUDO, "en-x-pseudo", "⟦Ṗşéüđö⟧", _pseudo, _pseudo_plural, zone)
        return cls(languages)

    def choose(self, cookie: str | None = None, accept: str | None = None) -> Language:
        """The language of a request with this cookie and this `Accept-Language` header."""
        if cookie is not None and cookie in self.languages:
            return self.languages[cookie]
        found = (self._nearest(tag) for tag in _accepted(accept or ""))
        return next((language for language in found if language), self.languages["en"])

    def _nearest(self, tag: str) -> Language | None:
        """The language for a tag as browsers send it: "zh-TW", "zh-Hant-HK" and "zh" find zh_TW, "en-GB" en."""
        code = tag.replace("-", "_").lower()
        own = {each.lower(): language for each, language in self.languages.items() if each != PSEUDO}
        if code in own:
            return own[code]
        return next((language for each, language in own.items() if each.split("_")[0] == code.split("_")[0]), None)


def _translations(path: Path) -> gettext.GNUTranslations:
    with path.open("rb") as file:
        catalogue = read_po(file, locale=path.parts[-3])
    compiled = io.BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


_RANGE = re.compile(r"\s*([A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*)\s*(?:;\s*q=([0-9](?:\.[0-9]{1,3})?)\s*)?", re.ASCII)


def _accepted(header: str) -> list[str]:
    """The tags of an `Accept-Language` header (RFC 9110 §12.5.4), most wanted first."""
    ranges = (_RANGE.fullmatch(part) for part in header[:_MAX_HEADER].split(","))
    weighed = [(float(match[2] or 1), match[1]) for match in ranges if match]
    return [tag for weight, tag in sorted(weighed, key=lambda pair: -pair[0]) if weight > 0]


_ACCENTS = str.maketrans("aceinosuyACEINOSUY", "áçéîñöšüýÁÇÉÎÑÖŠÜÝ")


def _pseudo(message: str) -> str:
    parts = re.split(r"(\{[^}]*\})", message)
    return "⟦" + "".join(part if part.startswith("{") else part.translate(_ACCENTS) for part in parts) + "⟧"


def _pseudo_plural(singular: str, plural: str, number: int) -> str:
    return _pseudo(singular if number == 1 else plural)


# --- those of this process --------------------------------------------------------------------------------------------


@cache
def catalogues() -> Catalogues:
    """The catalogues of this process, read once. With `AIHUB_PSEUDO_LOCALE` set they have the made-up language too."""
    return Catalogues.load(pseudo=bool(os.environ.get("AIHUB_PSEUDO_LOCALE")))


def languages() -> Mapping[str, Language]:
    """The languages that pages can speak, by code."""
    return catalogues().languages


def language_of(request: HTTPServerRequest) -> Language:
    """The language of a request: that of its cookie, else by its `Accept-Language`, else English."""
    cookie = request.cookies.get(COOKIE)
    return catalogues().choose(cookie.value if cookie else None, request.headers.get("Accept-Language"))


# --- what templates get ----------------------------------------------------------------------------------------------


@cache
def static_version(name: str) -> str:
    """A short digest of a static file, so that a changed file has another address."""
    return hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Here:
    """What every template of ours needs to know of the request."""

    language: Language
    languages: tuple[Language, ...]
    base_url: str = "/hub/"
    path: str = "/hub/home"
    version: str = __version__

    def static(self, name: str) -> str:
        """The address of a file in `aihub/static`."""
        return f"{self.base_url}aihub/static/{name}?v={static_version(name)}"


def template_vars(chrome: Callable[[Any], Any]) -> dict[str, Callable[[Any], Any]]:
    """What `c.JupyterHub.template_vars` must hold: the hub calls each with its user, on every page, errors included.

    `chrome` makes the `aihub.pages.Chrome` of a user (None before sign-in).
    """
    return {"aihub_here": lambda _user: _here, "chrome": chrome}


@pass_context
def _here(context: Context) -> Here:
    # The hub gives no request to templates; it is reached through `static_url`, which is a method of the handler.
    request = context["static_url"].__self__.request
    # Where a change of language leads back to: this page, if it can be asked for again.
    path = request.uri if request.method in ("GET", "HEAD") else request.path
    return Here(language_of(request), tuple(languages().values()), context["base_url"], path)
