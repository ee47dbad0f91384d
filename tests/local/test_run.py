"""`aihub run` on a real machine: what it refuses, and that nothing stays behind however it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.local.rig import ONE_PROJECT, ROOT, Rig, free_port, refused

STUDENT = "student"

MakeHub = Callable[..., Rig]


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def start_server(rig: Rig) -> httpx.Client:
    """Start the student's server and enter it as a browser would; a client signed in to both."""
    client = rig.sign_in(STUDENT)
    answer = client.post(f"/hub/api/users/{STUDENT}/server", json={})
    assert answer.status_code in (201, 202), answer.text
    wait_for(lambda: server_is_ready(client), "the student's server", rig)
    client.get(f"/user/{STUDENT}/lab")
    assert server_answers(client)
    return client


def server_is_ready(client: httpx.Client) -> bool:
    servers = client.get(f"/hub/api/users/{STUDENT}").json()["servers"]
    return bool(servers and servers[""]["ready"])


def server_answers(client: httpx.Client) -> bool:
    return client.get(f"/user/{STUDENT}/api/status").status_code == 200


def wait_for(condition: Callable[[], bool], what: str, rig: Rig, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} did not come in {seconds} s:\n{rig.said()}"
        time.sleep(0.2)


def by_command(rig: Rig, word: str) -> list[psutil.Process]:
    return [process for process in rig.processes() if any(word in argument for argument in process.cmdline())]


def remove_state(rig: Rig) -> subprocess.CompletedProcess[str]:
    """What `make clean` does."""
    remove = [sys.executable, "-m", "aihub.state", "remove", str(rig.state_dir)]
    return subprocess.run(remove, cwd=ROOT, capture_output=True, text=True, check=False)


def assert_refusal(outcome: subprocess.CompletedProcess[str], *words: str) -> None:
    assert outcome.returncode == 2, outcome.stderr
    assert outcome.stdout == ""
    assert len(outcome.stderr.splitlines()) == 1, outcome.stderr
    assert outcome.stderr.startswith("aihub run: ")
    for word in words:
        assert word in outcome.stderr


def test_busy_port(tmp_path: Path, busy_port: int) -> None:
    assert_refusal(refused("--state-dir", tmp_path / "s", "--port", busy_port), str(busy_port), "--port")


@pytest.mark.parametrize("ip", ["0.0.0.0", "192.0.2.7", "::", "example.org"])
def test_address_that_others_could_reach(tmp_path: Path, ip: str) -> None:
    assert_refusal(refused("--state-dir", tmp_path / "s", "--ip", ip), ip)
    assert not (tmp_path / "s").exists()


def test_the_reason_for_loopback_is_given(tmp_path: Path) -> None:
    assert_refusal(refused("--state-dir", tmp_path / "s", "--ip", "0.0.0.0"), "under your own account")


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert_refusal(refused("--state-dir", tmp_path / "file" / "s"), str(tmp_path / "file" / "s"), "--state-dir")


def test_broken_policy_shows_every_finding_and_no_traceback(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("projects:\n  lab: {colour: red}\n  other: {profiles: {offer: [none]}}\n")
    outcome = refused("--state-dir", tmp_path / "s", "--config", broken)
    assert outcome.returncode == 2
    assert f"{broken}:2:9: error:" in outcome.stderr
    assert f"{broken}:3:" in outcome.stderr
    assert outcome.stderr.splitlines()[-1] == "aihub run: the policy cannot be used, nothing was started"
    assert "Traceback" not in outcome.stderr
    assert not (tmp_path / "s").exists()


def test_second_hub_on_the_same_folder(hub: Rig) -> None:
    outcome = refused("--state-dir", hub.state_dir, "--port", free_port())
    assert_refusal(outcome, str(hub.state_dir), str(hub.pid))
    assert hub.answers()


def test_state_in_use_is_not_removed(hub: Rig) -> None:
    outcome = remove_state(hub)
    assert outcome.returncode == 2
    assert str(hub.pid) in outcome.stderr
    assert hub.answers()


def test_state_is_private(hub: Rig) -> None:
    assert hub.state_dir.stat().st_mode & 0o777 == 0o700


def test_no_process_between_caller_and_hub(hub: Rig) -> None:
    assert (hub.state_dir / "hub.pid").read_text() == str(hub.pid)
    assert f"AIHub is ready: {hub.url}" in hub.terminal.read_text()


def test_second_start_time(make_hub: MakeHub) -> None:
    rig = make_hub()
    first = rig.start()
    second = rig.restart()
    print(f"sign-in page after {first:.1f} s, at the second start {second:.1f} s")
    assert rig.stop() == 0


def test_interrupt_stops_everything(make_hub: MakeHub) -> None:
    rig = make_hub(policy=(ONE_PROJECT,))
    rig.start()
    client = start_server(rig)
    api = rig.with_token(client, STUDENT)
    assert api.post(f"/user/{STUDENT}/api/kernels").status_code == 201
    assert len(list(rig.processes())) >= 5, "hub, proxy, culler, server, kernel"
    assert rig.stop() == 0
    rig.assert_nothing_runs()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_other_signals_stop_everything_too(make_hub: MakeHub, number: signal.Signals) -> None:
    rig = make_hub()
    rig.start()
    assert rig.stop(number) == 0
    rig.assert_nothing_runs()


@pytest.mark.parametrize("delay", [0.8, 2.0], ids=str)
def test_stop_while_starting(make_hub: MakeHub, delay: float) -> None:
    rig = make_hub()
    rig.launch()
    time.sleep(delay)
    rig.stop(signal.SIGINT)
    rig.assert_nothing_runs()


def test_a_killed_hub_is_followed_by_one_that_keeps_the_servers(make_hub: MakeHub) -> None:
    rig = make_hub(policy=(ONE_PROJECT,))
    rig.start()
    client = start_server(rig)
    [proxy], [culler] = by_command(rig, "configurable-http-proxy"), by_command(rig, "aihub.orphan")
    servers = {process.pid for process in by_command(rig, "userserver")}
    assert servers

    rig.kill()
    assert server_answers(client), "the proxy and the server go on without the hub"
    assert remove_state(rig).returncode == 2, "the folder is in use by them"
    culler.wait(5)
    rig.start()

    assert not proxy.is_running()
    assert "Stopped the proxy" in rig.terminal.read_text()
    assert {process.pid for process in by_command(rig, "userserver")} == servers
    wait_for(lambda: server_answers(client), "the kept server", rig)
    assert len(by_command(rig, "aihub.orphan")) == 1
    assert rig.stop() == 0
    rig.assert_nothing_runs()


def test_a_stranger_on_the_port_survives_a_restart_after_a_crash(make_hub: MakeHub) -> None:
    rig = make_hub()
    rig.start()
    rig.kill()
    [proxy] = by_command(rig, "configurable-http-proxy")
    proxy.kill()
    proxy.wait()
    stranger = subprocess.Popen(
        [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(rig.port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        wait_for(lambda: psutil.Process(stranger.pid).net_connections() != [], "the stranger", rig)
        assert_refusal(refused("--state-dir", rig.state_dir, "--port", rig.port), "in use by another program")
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_proxy_that_died_is_started_again(make_hub: MakeHub) -> None:
    rig = make_hub()
    rig.start()
    [proxy] = by_command(rig, "configurable-http-proxy")
    proxy.kill()
    wait_for(rig.answers, "the new proxy", rig)
    rig.kill()
    [new] = by_command(rig, "configurable-http-proxy")
    rig.start()
    assert not new.is_running()
