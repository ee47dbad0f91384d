"""What must be true before a hub starts on this machine; each failure is one clear line."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Callable, Mapping

PYTHON = (3, 11)


class CannotRun(Exception):
    """`aihub run` refuses to start; the text says why and what to do, in one line."""


def check_python(version: tuple[int, int]) -> None:
    """Raise CannotRun below Python 3.11."""
    if version < PYTHON:
        raise CannotRun(f"Python {PYTHON[0]}.{PYTHON[1]} or newer is needed, this is {version[0]}.{version[1]}")


def check_address(ip: str) -> str:
    """The loopback address to listen on. Raises CannotRun for any other address or a host name."""
    if ip == "localhost":
        return "127.0.0.1"
    try:
        loopback = ipaddress.ip_address(ip).is_loopback
    except ValueError as error:
        raise CannotRun(f"--ip {ip} is not an address: give 127.0.0.1 or ::1") from error
    if not loopback:
        raise CannotRun(
            f"--ip {ip} is refused: all user servers run under your own account, so whoever reaches this address "
            "could act as you. Only 127.0.0.1 and ::1 are possible"
        )
    return ip


def port_is_free(ip: str, port: int) -> bool:
    """Whether a server could listen there now. Raises CannotRun when the address itself is of no use."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: a port whose last connections are still closing counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ip, port))
        except PermissionError as error:
            raise CannotRun(
                f"port {port} may not be used by this account: choose one above 1023 with --port"
            ) from error
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise CannotRun(f"cannot listen on {ip}: {error.strerror}") from error
    return True


def check_port(ip: str, port: int) -> None:
    """Raise CannotRun when another program listens there."""
    if not port_is_free(ip, port):
        raise CannotRun(f"port {port} on {ip} is in use by another program: stop it, or choose another with --port")


def inner_ports(public: int, kept: Mapping[str, int], is_free: Callable[[int], bool]) -> dict[str, int]:
    """Ports for the hub itself ("hub") and the proxy's API ("api"), beside the public one.

    The kept ones are taken again while they are free, because user servers that outlived a hub know its port;
    else the first free ones above the public port. Raises CannotRun when none is free.
    """
    taken = {public}
    ports = {}
    for name in ("hub", "api"):
        nearby = range(public + 1, min(public + 1000, 65536))
        candidates = (port for port in (kept.get(name), *nearby) if port and port not in taken and is_free(port))
        port = next(candidates, None)
        if port is None:
            raise CannotRun(f"no free port above {public} for the hub itself: choose a lower --port")
        taken.add(port)
        ports[name] = port
    return ports
