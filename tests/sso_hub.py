"""A hub in this process that signs people in through a provider: JupyterHub's whole application, without its proxy.

    with HubInProcess(folder, policy) as hub:
        browser.get(f"{hub.url}/login")
        hub.users()      # the rows of the hub's database
        hub.log.lines    # what everything in this process has logged, DEBUG included, but for the tests' own rigs

It runs in a thread of its own, on a real port. There is one at a time: JupyterHub and AIHub are singletons.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Self, TypeVar

import tornado.httpserver
from jupyterhub.crypto import CryptKeeper
from traitlets.config import Config

from aihub import hub as configuration
from aihub.app import AIHub
from aihub.calls import Http
from aihub.machine import Machine
from aihub.preflight import port_is_free
from aihub.serve import MachineHub
from aihub.sso import ProviderSignIn
from aihub.state import open_state

__all__ = ["HubInProcess", "Log"]

Value = TypeVar("Value")
BROWSERS = ("httpx", "httpcore")


class Log(logging.Handler):
    """Keeps what is logged, but for that of httpx and of the threads in `others` (their names)."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.others: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        if not record.name.startswith(BROWSERS) and record.threadName not in self.others:
            self.lines.append(self.format(record))


def free_port() -> int:
    """A port for the hub, with the next two free as well; another process looks elsewhere first."""
    first = 28000 + os.getpid() % 500 * 3
    return next(port for port in range(first, 32000, 3) if all(port_is_free("127.0.0.1", port + n) for n in range(3)))


class HubInProcess:
    """The hub; a context manager that starts and ends it."""

    def __init__(self, folder: Path, policy: Path) -> None:
        self.port = free_port()
        self.machine = Machine(
            ip="127.0.0.1",
            port=self.port,
            hub_port=self.port,
            api_port=self.port + 1,
            state=open_state(folder / "state"),
            cache=folder / "cache",
            policy=(policy,),
            proxy_command=("there-is-no-proxy",),
        )
        self.log = Log()
        self.app: Any = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: tornado.httpserver.HTTPServer | None = None

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The address of the hub's pages, without a slash at the end."""
        return f"{self.origin}/hub"

    @property
    def callback(self) -> str:
        """Where a provider sends browsers back."""
        return f"{self.url}/oauth_callback"

    @property
    def method(self) -> ProviderSignIn:
        """The hub's authenticator."""
        method = self.app.authenticator
        assert isinstance(method, ProviderSignIn)
        return method

    def users(self) -> list[str]:
        """Names in the hub's database."""
        return self._rows(self.machine.state.hub_database, "select name from users order by name")

    def bound(self) -> list[str]:
        """Names that AIHub's database gives to somebody."""
        return self._rows(self.machine.state.database, "select name from identity where name is not null order by name")

    def forget_provider(self, fetch: Http | None = None) -> None:
        """As after a restart: nothing is known of the provider, which is called by `fetch`, and no state was used."""
        self.run(lambda: self._forget(fetch))

    def _forget(self, fetch: Http | None) -> None:
        method = self.method
        method.client = method.make_client()
        if fetch is not None:
            method.client._caller._fetch = fetch
        method.used = type(method.used)()
        AIHub.instance().provider = method.client

    def state_of(self, name: str) -> dict[str, Any]:
        """What the hub keeps of the sign-in of a user."""
        user = self.run(lambda: self.app.users[name])
        state = asyncio.run_coroutine_threadsafe(user.get_auth_state(), self._loop).result(30)
        assert isinstance(state, dict)
        return state

    def keep_of(self, name: str, state: dict[str, Any]) -> None:
        """Let the hub keep `state` of the sign-in of a user."""
        user = self.run(lambda: self.app.users[name])
        asyncio.run_coroutine_threadsafe(user.save_auth_state(state), self._loop).result(30)

    def grow_stale(self) -> None:
        """From now on, what is known of each user is asked for again at their next request."""

        def grow() -> None:
            for user in self.app.users.values():
                user._auth_refreshed = None

        self.run(grow)

    def run(self, work: Callable[[], Value]) -> Value:
        """`work()` in the hub's own thread."""

        async def there() -> Value:
            return work()

        return asyncio.run_coroutine_threadsafe(there(), self._loop).result(30)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(60)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    async def _start(self) -> None:
        config = Config()
        configuration.setup(config, self.machine)
        # Nothing beside the hub: no proxy, no service.
        config.JupyterHub.services = []
        config.JupyterHub.load_roles = config.JupyterHub.load_roles[:1]
        config.JupyterHub.logging_config = {"handlers": {"console": {"level": "CRITICAL"}}}
        config.JupyterHub.log_level = "DEBUG"
        logging.getLogger().addHandler(self.log)
        self.app = MachineHub.instance(config=config)
        self.app.say, self.app.machine = print, self.machine
        await self.app.initialize([])
        self.app.log.addHandler(self.log)
        self._server = tornado.httpserver.HTTPServer(self.app.tornado_application)
        self._server.listen(self.port, "127.0.0.1")

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.stop()
            await self._server.close_all_connections()
        for logger in (logging.getLogger(), self.app.log):
            logger.removeHandler(self.log)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        self.app.db.close()
        self.app.db.get_bind().dispose()
        AIHub.instance().store.dispose()
        for singleton in (MachineHub, AIHub, CryptKeeper):
            singleton.clear_instance()

    def _rows(self, database: Path, query: str) -> list[str]:
        with closing(sqlite3.connect(database)) as connection:
            return [row[0] for row in connection.execute(query)]
