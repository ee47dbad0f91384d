"""A language that pages and messages speak: its translations, and how it writes times, ages and lists.

Values only: `aihub.i18n` reads the catalogues and makes these; whoever speaks is given one. Sentences are marked for
extraction where they stand, as `language.gettext("…")`, and filled in with `str.format` after translation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

from aihub.text import Text

__all__ = ["Language"]


def _same(message: str) -> str:
    return message


def _same_plural(singular: str, plural: str, number: int) -> str:
    return singular if number == 1 else plural


@dataclass(frozen=True, slots=True)
class Language:
    """One language.

    `code` is as Babel writes it ("zh_TW"), `tag` as HTML does ("zh-Hant-TW"), `name` in itself ("繁體中文"). `zone` is
    the time zone of every time shown; None is the machine's own. Without catalogues it speaks the English of the code.
    """

    code: str = "en"
    tag: str = "en"
    name: str = "English"
    gettext: Callable[[str], str] = _same
    ngettext: Callable[[str, str, int], str] = _same_plural
    zone: tzinfo | None = None

    def say(self, message: str, /, **values: object) -> str:
        """A translated sentence with `values` filled in. `message` is a literal that is marked for extraction."""
        return self.gettext(message).format(**values)

    def say_n(self, singular: str, plural: str, number: int, /, **values: object) -> str:
        """As `say`, in the form for `number`, which the sentence calls `n`."""
        return self.ngettext(singular, plural, number).format(n=number, **values)

    def text(self, text: Text, fallback: str = "") -> str:
        """An operator's text in this language, else `fallback` (an id)."""
        return text.in_language(self.code) or fallback

    def clock(self, at: datetime) -> str:
        """The time of day, 24 h: "12:04"."""
        return f"{at.astimezone(self.zone):%H:%M}"

    def day(self, at: datetime) -> str:
        """The day without its year: "20 Nov"."""
        local = at.astimezone(self.zone)
        months = (
            self.gettext("{day} Jan"),
            self.gettext("{day} Feb"),
            self.gettext("{day} Mar"),
            self.gettext("{day} Apr"),
            self.gettext("{day} May"),
            self.gettext("{day} Jun"),
            self.gettext("{day} Jul"),
            self.gettext("{day} Aug"),
            self.gettext("{day} Sep"),
            self.gettext("{day} Oct"),
            self.gettext("{day} Nov"),
            self.gettext("{day} Dec"),
        )
        return months[local.month - 1].format(day=local.day)

    def moment(self, at: datetime, now: datetime) -> str:
        """A time as seen from `now`: "12:04" today, "20 Nov, 12:04" on another day."""
        if at.astimezone(self.zone).date() == now.astimezone(self.zone).date():
            return self.clock(at)
        return self.say("{day}, {time}", day=self.day(at), time=self.clock(at))

    def duration(self, seconds: float) -> str:
        """A span in its two largest units: "20 s", "2 min 30 s", "1 h 41 min", "3 d"."""
        whole = max(0, round(seconds))
        days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
        parts = [
            (days, self.gettext("{n} d")),
            (hours, self.gettext("{n} h")),
            (minutes, self.gettext("{n} min")),
            (whole % 60, self.gettext("{n} s")),
        ]
        first = next((index for index, (number, _) in enumerate(parts) if number), 3)
        shown = [words.format(n=number) for number, words in parts[first : first + 2] if number]
        return " ".join(shown) or parts[3][1].format(n=0)

    def listed(self, items: Iterable[str]) -> str:
        """Items in one line: "a, b, c"."""
        # Translators: what stands between the items of a list.
        return self.gettext(", ").join(items)

    def joined(self, items: Sequence[str]) -> str:
        """Items within a sentence: "a", "a and b", "a, b and c"."""
        if len(items) < 2:
            return "".join(items)
        return self.say("{first} and {last}", first=self.listed(items[:-1]), last=items[-1])

    def sentences(self, *parts: str) -> str:
        """Sentences in one line; empty ones are left out."""
        line = ""
        for part in filter(None, parts):
            # Translators: two sentences in one line; some languages put no space between them.
            line = self.say("{first} {second}", first=line, second=part) if line else part
        return line

    def bracketed(self, name: str) -> str:
        """A name that completes a label for those who hear the page: "(PyTorch)"."""
        return self.say("({name})", name=name)
