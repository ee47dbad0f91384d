"""Pages and JSON API: requests in, questions to the core, pages or documents out.

`routes` is the one list of all routes. It is registered through the authenticator, before the hub's own, so what
stands here under an address of the hub takes its place.
"""

from __future__ import annotations

from typing import Any

from aihub.handlers import api, assets, home, launch, people_api, project, server_api, sign_in_status, spawn

__all__ = ["routes"]


def routes() -> list[Any]:
    """Every route of AIHub, relative to the hub's base URL."""
    parts = (api, assets, home, launch, people_api, project, server_api, sign_in_status, spawn)
    return [route for part in parts for route in part.routes()]
