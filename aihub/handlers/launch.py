"""Launch links: `/hub/aihub/launch/<project>?image=&profile=&path=` shows the start page filled in, and no more."""

from __future__ import annotations

from typing import Any

from tornado import web

from aihub.handlers.spawn import StartPage, lab_path
from aihub.submission import Selection

__all__ = ["LaunchPage", "routes"]


class LaunchPage(StartPage):
    """The start page as a link fills it in. It survives sign-in: the hub leads back to the whole address."""

    project = ""
    # The form goes to the start page; here, its handler would take the project for somebody's name.
    post = web.RequestHandler._unimplemented_method  # noqa: SLF001  # tornado's word for "no such method"

    @web.authenticated
    async def get(self, project: str = "", profile: str = "") -> None:
        """Show the form; nothing starts. Project and profile stand in the address or in its query."""
        self.project, self.profile = project or self.get_query_argument("project", ""), profile
        await self._show_form(user_name=self.current_user.name, server_name="")

    def linked(self) -> Selection:
        """What the link asks for; what it gets wrong is replaced and named on the page."""
        return Selection(
            project=self.project,
            image=self.get_query_argument("image", ""),
            profile=self.get_query_argument("profile", "") or self.profile,
            path=lab_path(self.get_query_argument("path", "")) or "",
        )


def routes() -> list[tuple[str, Any]]:
    """Under `aihub/launch/`."""
    return [
        (r"/aihub/launch", LaunchPage),
        (r"/aihub/launch/([^/]+)", LaunchPage),
        (r"/aihub/launch/([^/]+)/([^/]+)", LaunchPage),
    ]
