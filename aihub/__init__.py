"""AIHub: the JupyterHub for AI courses and labs."""

from __future__ import annotations

__version__ = "0.1.0"
