"""`aihub run`: from an empty folder to a hub on this machine, in the calling process."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from traitlets.config import Config

from aihub import config, hub, node, preflight, processes, state
from aihub.machine import Machine, demo_policy
from aihub.passwords import PasswordError, Passwords
from aihub.preflight import CannotRun
from aihub.serve import HubFailed, serve

Say = Callable[[str], None]


def run(*, ip: str, port: int, state_dir: Path, policy: tuple[Path, ...], say: Say) -> None:
    """Check this machine, fetch what is missing, and serve until told to stop.

    Raises CannotRun or PolicyFileError, with nothing started, when something is in the way; HubFailed when the hub
    itself cannot start.
    """
    preflight.check_python(sys.version_info[:2])
    ip = preflight.check_address(ip)
    policy = policy or (demo_policy(),)
    _check_passwords(config.load(policy).sign_in.method)
    try:
        folder = state.open_state(state_dir)
        lock = state.lock_state(folder)
    except state.StateError as error:
        raise CannotRun(str(error)) from error
    with lock:
        if processes.stop_recorded(folder.proxy_record):
            say("Stopped the proxy of a hub that did not end properly.")
        preflight.check_port(ip, port)
        machine = _settle(ip, port, folder, policy, say)
        settings = Config()
        hub.setup(settings, machine)
        say("Starting the hub …")
        try:
            serve(settings, machine, say)
        except HubFailed as error:
            raise HubFailed(f"the hub could not start: {error}; the whole story is in {folder.hub_log}") from error


def _check_passwords(method: str) -> None:
    if method == config.SHARED_PASSWORD:
        try:
            Passwords.of(os.environ)
        except PasswordError as error:
            raise CannotRun(str(error)) from error


def _settle(ip: str, port: int, folder: state.State, policy: tuple[Path, ...], say: Say) -> Machine:
    ports = preflight.inner_ports(
        port, state.read_ports(folder), lambda candidate: preflight.port_is_free("127.0.0.1", candidate)
    )
    state.write_ports(folder, ports)
    cache = node.cache_folder(os.environ, fallback=folder.folder / "cache")
    return Machine(
        ip=ip,
        port=port,
        hub_port=ports["hub"],
        api_port=ports["api"],
        state=folder,
        cache=cache,
        policy=policy,
        proxy_command=node.ensure_proxy(node.find_node(), cache, say),
    )
