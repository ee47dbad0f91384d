"""What runs inside the user server of the one-machine runtime: its only kernel, and the report that it is busy.

Loaded as a Jupyter Server extension named `aihub.singleuser`; imports nothing of the hub.
"""

from __future__ import annotations

from aihub.singleuser.activity import BusyReport, load
from aihub.singleuser.kernels import OnlyKernel

__all__ = ["BusyReport", "OnlyKernel"]


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "aihub.singleuser"}]


_load_jupyter_server_extension = load
