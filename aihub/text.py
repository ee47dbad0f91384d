"""Human text from operators: one string, or one per language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

__all__ = ["Text"]


@dataclass(frozen=True, slots=True)
class Text:
    """A text in one or several languages.

    `plain` is used for every language without a translation of its own; `translations` maps a language tag as
    Babel writes it (`en`, `zh_TW`) to the text.
    """

    plain: str = ""
    translations: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def of(cls, value: str | Mapping[str, str] | None) -> Text:
        """The text that `value` stands for; a map's `en`, else its first entry, serves all other languages."""
        if value is None:
            return cls()
        if isinstance(value, str):
            return cls(value)
        plain = value.get("en") or next(iter(value.values()), "")
        return cls(plain, MappingProxyType(dict(value)))

    def in_language(self, language: str) -> str:
        """The text for `language` ("zh_TW"), else for its base ("zh"), else the plain one."""
        return self.translations.get(language) or self.translations.get(language.partition("_")[0]) or self.plain

    def __bool__(self) -> bool:
        return bool(self.plain)

    def __hash__(self) -> int:
        return hash((self.plain, tuple(sorted(self.translations.items()))))
