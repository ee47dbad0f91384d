"""`aihub run` that also writes down which routes its hub has: `python -m tests.local.route_rig run …`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from jupyterhub.app import JupyterHub
from tornado.web import RequestHandler

from aihub.cli import main
from aihub.serve import MachineHub

ROUTES = "AIHUB_TEST_ROUTES"
"""Variable that names the file."""


def methods_of(handler: type[RequestHandler]) -> list[str]:
    """The methods that a handler answers by itself."""
    unknown = RequestHandler._unimplemented_method  # tornado's word for "no such method"
    return [name for name in handler.SUPPORTED_METHODS if getattr(handler, name.lower()) is not unknown]


def write_down(application: Any, path: Path) -> None:
    """The rules of all hosts, in the order in which tornado asks them."""
    rules = [
        {
            "pattern": rule.matcher.regex.pattern,
            "handler": f"{rule.target.__module__}.{rule.target.__qualname__}",
            "methods": methods_of(rule.target),
        }
        for host in application.default_router.rules
        for rule in host.target.rules
    ]
    path.write_text(json.dumps(rules))


def noted(hub: MachineHub) -> None:
    """Make the hub's application, and write its routes down."""
    JupyterHub.init_tornado_application(hub)
    write_down(hub.tornado_application, Path(os.environ[ROUTES]))


if __name__ == "__main__":
    MachineHub.init_tornado_application = noted
    main()
