"""`aihub hub`: JupyterHub in a pod, with AIHub's ledger and watch around it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from pathlib import Path
from typing import Any

from jupyterhub.app import JupyterHub
from kubernetes_asyncio.client import Configuration
from kubespawner.clients import load_config, shared_client
from traitlets.config import Config
from traitlets.config.loader import PyFileConfigLoader

from aihub import hub, leavers
from aihub.app import AIHub
from aihub.auth import SignInMethodError
from aihub.chart import Settings
from aihub.cluster import ClusterSite
from aihub.errors import PolicyFileError, StoreError
from aihub.kube import Kube
from aihub.passwords import PasswordError
from aihub.spawner import adopted
from aihub.sso import CryptKeyError

__all__ = ["ClusterHub", "serve"]

REBUILD_PATIENCE = 5.0
"""Seconds that the start of the hub waits for the ledger. Pages do not need it; starts are refused without it."""


class ClusterHub(JupyterHub):
    """JupyterHub configured by an object, which leaves servers and proxy running when it ends."""

    settings: Settings
    _opening: asyncio.Task[None] | None = None

    async def initialize(self, *args: Any, **kwargs: Any) -> None:
        """The policy and the watch before the hub, which asks them; the ledger after it, from the servers it found."""
        aihub, site = AIHub.instance(parent=self), ClusterSite(self.settings)
        await asyncio.to_thread(aihub.load, site)
        hub.use_method(self, aihub.sign_in.method)
        load_config()
        _open_connections()
        site.begin(Kube(shared_client("CoreV1Api").api_client))
        await super().initialize(*args, **kwargs)
        leavers.watch(self)
        self._opening = asyncio.create_task(self._open(aihub, adopted(self.users.values())))
        await asyncio.wait([self._opening], timeout=REBUILD_PATIENCE)

    async def launch_instance_async(self, argv: list[str] | None = None) -> None:
        """Start the hub; what its operator has to mend is one line in the log, not a traceback."""
        try:
            await self.initialize(argv)
            await self.start()
        except (CryptKeyError, PasswordError, PolicyFileError, SignInMethodError, StoreError) as error:
            self.log.critical("The hub cannot start: %s", error)
            self.exit(1)
        except Exception:
            self.log.exception("The hub cannot start")
            self.exit(1)

    async def _open(self, aihub: AIHub, taken_over: Collection[str]) -> None:
        """Rebuild the ledger, whatever stands in the way: until then every start is refused with a reason."""
        while True:
            try:
                await aihub.open(taken_over)
            except Exception:
                self.log.exception("The ledger cannot be rebuilt yet")
                await asyncio.sleep(REBUILD_PATIENCE)
            else:
                return

    def load_config_file(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the configuration was given."""


def _open_connections() -> None:
    """As many connections as are needed: each namespace takes two for good, and requests would wait behind them."""
    configuration = Configuration.get_default_copy()
    configuration.connection_pool_maxsize = 0
    Configuration.set_default(configuration)


def configured(settings: Settings, policy: tuple[Path, ...], files: tuple[Path, ...]) -> Config:
    """The hub's configuration: AIHub's own, then the Python files of the admin in their order."""
    config = Config()
    hub.setup_cluster(config, settings, policy)
    for path in files:
        _Continued(config, path).load_config()
    return config


class _Continued(PyFileConfigLoader):
    """A configuration file that finds in `c` what was set before it, and adds to that."""

    def __init__(self, config: Config, path: Path) -> None:
        self._begun = config
        super().__init__(path.name, path=str(path.parent))

    def clear(self) -> None:
        """Begin with what was set before."""
        self.config = self._begun


def serve(settings: Settings, config: Config) -> None:
    """Run the hub until it is told to stop."""
    app = ClusterHub.instance(config=config)
    app.settings = settings
    ClusterHub.launch_instance([])
