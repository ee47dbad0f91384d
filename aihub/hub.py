"""The one place that writes JupyterHub's configuration: `setup(c, machine)`."""

from __future__ import annotations

import sys
from typing import Any

from aihub import orphan
from aihub.machine import Machine


def setup(c: Any, machine: Machine) -> None:
    """Configure a hub on one machine.

    `c` is a traitlets Config. Everything the hub keeps goes below the state folder.
    """
    _listen(c, machine)
    _keep_state(c, machine)
    _log_to_file(c, machine)
    _run_services(c)
    # The seam: sign-in, spawner, pages and policy are set here by the modules that bring them.
    c.JupyterHub.authenticator_class = "dummy"
    c.Authenticator.allow_all = True
    c.JupyterHub.spawner_class = "simple"
    c.SimpleLocalProcessSpawner.home_dir_template = str(machine.state.folder / "homes" / "{username}")
    c.Spawner.cmd = [sys.executable, "-m", "jupyterhub.singleuser"]
    c.Spawner.args = ["--allow-root"]


def _listen(c: Any, machine: Machine) -> None:
    c.JupyterHub.bind_url = machine.url
    c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{machine.hub_port}"
    c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{machine.api_port}"
    c.ConfigurableHTTPProxy.command = list(machine.proxy_command)
    c.ConfigurableHTTPProxy.log_level = "warn"
    c.ConfigurableHTTPProxy.pid_file = str(machine.state.proxy_record)


def _keep_state(c: Any, machine: Machine) -> None:
    c.JupyterHub.db_url = f"sqlite:///{machine.state.hub_database}"
    c.JupyterHub.upgrade_db = True
    c.JupyterHub.cookie_secret_file = str(machine.state.cookie_secret)
    c.JupyterHub.pid_file = str(machine.state.hub_pid)
    # Ctrl-C stops everything; after a crash none of this runs, and the next hub finds the servers in its database.
    c.JupyterHub.cleanup_servers = True
    c.JupyterHub.cleanup_proxy = True


def _log_to_file(c: Any, machine: Machine) -> None:
    both = {"level": "INFO", "handlers": ["console", "file"]}
    c.JupyterHub.log_level = "INFO"
    c.JupyterHub.logging_config = {
        "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
        "handlers": {
            "console": {"level": "ERROR"},
            "file": {
                "class": "logging.handlers.RotatingFileHandler",
                "filename": str(machine.state.hub_log),
                "maxBytes": 10_000_000,
                "backupCount": 2,
                "delay": True,
                "encoding": "utf-8",
                "formatter": "plain",
            },
        },
        # JupyterHub's logger has the name of the application's class.
        "loggers": {"MachineHub": both, "aihub": both},
    }


def _run_services(c: Any) -> None:
    culler = orphan.command("jupyterhub_idle_culler", "--timeout=7200")
    c.JupyterHub.services = [{"name": "idle-culler", "command": culler}]
    c.JupyterHub.load_roles = [
        {
            "name": "idle-culler",
            "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers"],
            "services": ["idle-culler"],
        }
    ]
