"""A server that computes is not idle, whether or not a browser looks at it.

Jupyter Server notes activity when a message passes. A cell that computes for hours without printing sends none, so the
hub would see an idle server. Every few seconds, while a kernel is busy or a terminal runs a program, this puts the
present time into `last_activity_times`, which jupyter_server reads for its `last_activity` and jupyterhub-singleuser
sends on to the hub.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import psutil
from jupyter_server.serverapp import ServerApp
from tornado.ioloop import PeriodicCallback
from traitlets import Integer
from traitlets.config import LoggingConfigurable

__all__ = ["BusyReport", "busy_kernels", "load", "runs_a_program"]

SOURCE = "aihub_busy"


def busy_kernels(kernels: Iterable[Any]) -> bool:
    """Whether a kernel manager among `kernels` last said that its kernel executes something."""
    return any(getattr(kernel, "execution_state", None) == "busy" for kernel in kernels)


def runs_a_program(shell: int) -> bool:
    """Whether the shell with this pid has a child process, in the foreground or behind, that has not ended."""
    try:
        children = psutil.Process(shell).children()
        return any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
    except psutil.NoSuchProcess:
        return False


class BusyReport(LoggingConfigurable):
    """Counts busy kernels and terminals of one server as activity."""

    interval = Integer(30, min=1, config=True, help="Seconds between two looks at kernels and terminals.")

    def __init__(self, server: ServerApp) -> None:
        super().__init__(parent=server)
        self._server = server
        self._timer = PeriodicCallback(self.look, self.interval * 1000)

    def start(self) -> None:
        """Look now and every `interval` seconds, as long as the server's event loop runs."""
        self.look()
        self._timer.start()

    def look(self) -> None:
        """Note the present time as that of the last activity if the server is busy."""
        if self.busy():
            self._server.web_app.settings["last_activity_times"][SOURCE] = datetime.now(UTC)

    def busy(self) -> bool:
        """Whether a kernel executes or a terminal runs a program."""
        settings = self._server.web_app.settings
        kernels = settings["kernel_manager"]
        managers = [kernels.get_kernel(kernel_id) for kernel_id in kernels.list_kernel_ids()]
        return busy_kernels(managers) or any(map(runs_a_program, _shells(settings)))


def load(server: ServerApp) -> None:
    """The entry point that jupyter_server calls when it loads the extension."""
    BusyReport(server).start()


def _shells(settings: dict[str, Any]) -> list[int]:
    """The pids of the shells in terminals; none where terminals are switched off."""
    manager = settings.get("terminal_manager")
    return [terminal.ptyproc.pid for terminal in manager.terminals.values()] if manager else []
