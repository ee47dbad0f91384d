"""What `aihub run` settled about this machine before the hub starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from aihub.state import State


@dataclass(frozen=True, slots=True)
class Machine:
    """Everything that `aihub.hub.setup` needs to configure a hub on one machine."""

    ip: str
    port: int
    hub_port: int
    """Where the hub itself listens; the same after a restart, because user servers know it."""
    api_port: int
    """Where the proxy takes its routes."""
    state: State
    cache: Path
    """Downloads and environments that all hubs of this account may share."""
    policy: tuple[Path, ...]
    """Policy files and folders, merged in this order."""
    proxy_command: tuple[str, ...]

    @property
    def url(self) -> str:
        """The address for the browser, without a slash at the end."""
        host = f"[{self.ip}]" if ":" in self.ip else self.ip
        return f"http://{host}:{self.port}"


def demo_policy() -> Path:
    """The demo policy: beside the package in an installed wheel, under `config/` in a checkout."""
    package = Path(__file__).parent
    installed = package / "demo"
    return installed if installed.is_dir() else package.parent / "config" / "demo"
