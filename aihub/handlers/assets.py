"""Our style sheet, icons and modules, and the choice of language."""

from __future__ import annotations

from typing import Any

from tornado import web

from aihub.handlers.base import PageHandler
from aihub.i18n import COOKIE, STATIC, languages

__all__ = ["LanguageHandler", "routes"]


class AssetHandler(web.StaticFileHandler):
    """Files that anybody may read; their addresses carry a hash of their content, so they are kept for long."""

    def get_cache_time(self, path: str, modified: Any, mime_type: str) -> int:  # noqa: ARG002  # tornado's signature
        """A year where the address names the content."""
        return 31_536_000 if self.get_argument("v", "") else 0


class InfoPage(PageHandler):
    """Help, and what can be counted on by those who need more than a mouse: for everybody, signed in or not."""

    def initialize(self, template: str) -> None:
        """Which page it is: an argument of the route."""
        self.template = template

    async def get(self) -> None:
        """Show it."""
        await self.show(self.template, None)


class LanguageHandler(PageHandler):
    """Remember the language that was chosen, and go back."""

    def post(self) -> None:
        """Set the cookie; an unknown language changes nothing."""
        code = self.get_argument("lang", "")
        if code in languages():
            self.set_cookie(COOKIE, code, expires_days=365, path=self.base_url, samesite="Lax")
        self.redirect(self.get_next_url(default=self.hub.base_url))


def routes() -> list[Any]:
    """Under `aihub/`."""
    return [
        (r"/aihub/static/(.*)", AssetHandler, {"path": str(STATIC)}),
        (r"/aihub/language", LanguageHandler),
        (r"/aihub/help", InfoPage, {"template": "aihub/help.html"}),
        (r"/aihub/accessibility", InfoPage, {"template": "aihub/accessibility.html"}),
    ]
