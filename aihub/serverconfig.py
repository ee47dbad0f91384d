"""What every user server is told in Jupyter's own configuration: how long it believes what the hub said of a token.

On one machine it is an argument. A pod's command is its image stream's, and may be a script that takes no arguments:
there it is a file on JUPYTER_CONFIG_PATH, which whatever starts Jupyter reads.
"""

from __future__ import annotations

import json

__all__ = [
    "ANSWER_AGE",
    "CONFIG_FILE",
    "CONFIG_FOLDER",
    "CONFIG_PATH",
    "config_document",
    "config_path",
    "server_arguments",
]

ANSWER_AGE = 30
"""Seconds. JupyterHub's own is 300: for so long a server would let somebody in who has signed out, or was shut out."""

CONFIG_FOLDER = "/etc/aihub/jupyter"
CONFIG_FILE = "jupyter_config.json"
"""Where the file is in a pod; every Jupyter program reads a file of this name."""

CONFIG_PATH = "JUPYTER_CONFIG_PATH"
"""The variable that names folders of configuration; what stands in them counts over what the home says."""

# The base of HubOAuth: servers of every JupyterHub since 0.8 know it.
_CLASS, _TRAIT = "HubAuth", "cache_max_age"


def config_document() -> str:
    """The file: JSON (https://traitlets.readthedocs.io/en/stable/config.html#json-configuration-files)."""
    return json.dumps({_CLASS: {_TRAIT: ANSWER_AGE}}, separators=(",", ":"))


def config_path(others: str | None) -> str:
    """The value of JUPYTER_CONFIG_PATH: our folder above the `others` that admins name."""
    return f"{CONFIG_FOLDER}:{others}" if others else CONFIG_FOLDER


def server_arguments() -> tuple[str, ...]:
    """The same as arguments of the server's command."""
    return (f"--{_CLASS}.{_TRAIT}={ANSWER_AGE}",)
