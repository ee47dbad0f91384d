"""JupyterHub in this very process, made to leave nothing behind."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jupyterhub.app import JupyterHub
from jupyterhub.proxy import ConfigurableHTTPProxy
from traitlets.config import Config

from aihub import leavers
from aihub.app import AIHub
from aihub.config import SHARED_PASSWORD, SSO, SignIn
from aihub.hub import use_method
from aihub.local import LocalSite
from aihub.machine import Machine
from aihub.processes import ProcessRecord
from aihub.spawner import adopted

Say = Callable[[str], None]


class HubFailed(Exception):
    """The hub did not get as far as its first page; the reason is in its log."""


class MachineProxy(ConfigurableHTTPProxy):
    """configurable-http-proxy whose pid file also says when the process was created and what it is."""

    def _check_previous_process(self) -> None:
        """Nothing: `aihub run` has stopped the one that a killed hub left, after making sure that it is ours."""

    def _write_pid_file(self) -> None:
        ProcessRecord.of(self.proxy_process.pid).write(Path(self.pid_file))


class MachineHub(JupyterHub):
    """JupyterHub configured by an object, not by files, that stops whatever it started, whenever it is asked to."""

    say: Say
    machine: Machine
    _stopping = False

    async def initialize(self, *args: Any, **kwargs: Any) -> None:
        """The policy before the hub, which asks it who may sign in; the ledger after it, from the servers it found."""
        aihub = AIHub.instance(parent=self)
        await asyncio.to_thread(aihub.load, LocalSite(self.machine.state.folder))
        use_method(self, aihub.sign_in.method)
        await super().initialize(*args, **kwargs)
        leavers.watch(self)
        await aihub.open(adopted(self.users.values()))

    def load_config_file(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: a jupyterhub_config.py that lies in the current folder is not ours."""

    async def launch_instance_async(self, argv: list[str] | None = None) -> None:
        """Start the hub and say where it is.

        A signal that comes while the hub starts is answered when it stands: only then does it know all that is to be
        stopped. Raises HubFailed, with the proxy and the services stopped, when the start fails; user servers of an
        earlier hub run on.
        """
        loop = asyncio.get_running_loop()
        early: list[signal.Signals] = []
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, early.append, number)
        try:
            await self.initialize(argv)
            await self.start()
        except (Exception, SystemExit) as error:
            # The terminal shows errors only: there, the one line that `aihub run` ends with is enough.
            self.log.warning("The hub could not start", exc_info=True)
            await self._stop_started()
            raise HubFailed(f"{type(error).__name__}: {error}") from error
        self._stop_on_hangup(loop)
        if early:
            await self.shutdown_cancel_tasks(early[0])
            return
        self.say(f"\nAIHub is ready: {self.machine.url}")
        self.say(f"Sign in {_how(AIHub.instance().sign_in)}. Ctrl-C stops everything.")

    async def shutdown_cancel_tasks(self, sig: signal.Signals | None = None) -> None:
        """Stop once, however often the signal comes."""
        if self._stopping:
            return
        self._stopping = True
        self.say("Stopping user servers, services and the proxy …")
        await super().shutdown_cancel_tasks(sig)

    async def cleanup(self) -> None:
        """End the starts in hand, then do as the hub does: it asks each server, and what is not there yet is no server.

        A start that goes on meanwhile would leave its process behind.
        """
        AIHub.instance().admit_no_more()
        spawners = (spawner for user in self.users.values() for spawner in user.spawners.values())
        starts = [start for each in spawners if (start := each._spawn_future) and not start.done()]  # noqa: SLF001  # the hub keeps it nowhere else
        for start in starts:
            start.cancel()
        if starts:
            await asyncio.wait(starts)
        await super().cleanup()

    def _stop_on_hangup(self, loop: asyncio.AbstractEventLoop) -> None:
        # Under nohup the signal is ignored, and stays so.
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            loop.add_signal_handler(
                signal.SIGHUP, lambda: asyncio.ensure_future(self.shutdown_cancel_tasks(signal.SIGHUP))
            )

    async def _stop_started(self) -> None:
        """Stop what a hub that failed while starting has started so far."""
        for service in getattr(self, "_service_map", {}).values():
            if service.managed:
                await service.stop()
        proxy = getattr(self, "proxy", None)
        if proxy is not None and proxy.proxy_process is not None:
            proxy.stop()


def _how(sign_in: SignIn) -> str:
    if sign_in.method in SSO and sign_in.provider is not None:
        return f"through {sign_in.provider.issuer}"
    how = "with a shared password" if sign_in.method == SHARED_PASSWORD else "with one click, without a password,"
    return f"{how} as one of: {', '.join(sign_in.listed)}"


def serve(config: Config, machine: Machine, say: Say) -> None:
    """Run the hub until it is told to stop (SIGINT, SIGTERM, SIGHUP). Raises HubFailed when it cannot start."""
    config.JupyterHub.proxy_class = MachineProxy
    app = MachineHub.instance(config=config)
    app.say, app.machine = say, machine
    MachineHub.launch_instance([])
