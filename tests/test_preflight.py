"""What `aihub run` asks of the machine."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from aihub.preflight import CannotRun, check_address, check_port, check_python, inner_ports, port_is_free


@pytest.fixture
def busy() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("version", [(3, 11), (3, 12), (4, 0)], ids=str)
def test_new_enough_python(version: tuple[int, int]) -> None:
    check_python(version)


@pytest.mark.parametrize("version", [(3, 10), (2, 7)], ids=str)
def test_old_python_is_named_with_the_needed_one(version: tuple[int, int]) -> None:
    with pytest.raises(CannotRun, match=rf"3\.11 .* {version[0]}\.{version[1]}"):
        check_python(version)


@pytest.mark.parametrize(
    ("given", "address"),
    [("127.0.0.1", "127.0.0.1"), ("127.8.9.1", "127.8.9.1"), ("::1", "::1"), ("localhost", "127.0.0.1")],
)
def test_loopback(given: str, address: str) -> None:
    assert check_address(given) == address


@pytest.mark.parametrize("ip", ["0.0.0.0", "::", "10.0.0.1", "8.8.8.8", "fe80::1", "::ffff:10.0.0.1"])
def test_other_addresses_are_refused_with_the_reason(ip: str) -> None:
    with pytest.raises(CannotRun, match="under your own account"):
        check_address(ip)


@pytest.mark.parametrize("ip", ["", "example.org", "127.1", "127.0.0.1:80", "127.0.0.1 ", "１２７.0.0.1"])
def test_not_an_address(ip: str) -> None:
    with pytest.raises(CannotRun, match="is not an address"):
        check_address(ip)


def test_port_in_use(busy: int) -> None:
    assert not port_is_free("127.0.0.1", busy)
    with pytest.raises(CannotRun, match=f"port {busy} .* in use"):
        check_port("127.0.0.1", busy)


def test_port_is_free_once_its_server_is_gone(busy: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        # Closed by the server first: its side stays in TIME_WAIT.
        accepted.close()
        client.close()
    assert port_is_free("127.0.0.1", port)


def test_address_of_no_interface() -> None:
    with pytest.raises(CannotRun, match=r"cannot listen on 192\.0\.2\.1"):
        check_port("192.0.2.1", 8000)


NOTHING_KEPT: dict[str, int] = {}


@pytest.mark.parametrize(
    ("kept", "busy_ports", "ports"),
    [
        pytest.param(NOTHING_KEPT, set(), {"hub": 8001, "api": 8002}, id="first start: beside the public port"),
        pytest.param(NOTHING_KEPT, {8001, 8003}, {"hub": 8002, "api": 8004}, id="busy ones are passed over"),
        pytest.param({"hub": 9000, "api": 9001}, set(), {"hub": 9000, "api": 9001}, id="kept ones are taken again"),
        pytest.param({"hub": 9000, "api": 9001}, {9001}, {"hub": 9000, "api": 8001}, id="a busy kept one is replaced"),
        pytest.param({"hub": 8000, "api": 9001}, set(), {"hub": 8001, "api": 9001}, id="a kept one is public now"),
        pytest.param({"hub": 9000, "api": 9000}, set(), {"hub": 9000, "api": 8001}, id="two with one number"),
    ],
)
def test_inner_ports(kept: dict[str, int], busy_ports: set[int], ports: dict[str, int]) -> None:
    assert inner_ports(8000, kept, lambda port: port not in busy_ports) == ports


def test_no_inner_port_is_left() -> None:
    with pytest.raises(CannotRun, match="no free port above 65535"):
        inner_ports(65535, {}, lambda _port: True)
