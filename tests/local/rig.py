"""A real hub for tests: `aihub run` as a subprocess, with its own folder and port, nothing left of it afterwards."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
from bs4 import BeautifulSoup

from aihub.preflight import port_is_free

ROOT = Path(__file__).parents[2]
ONE_PROJECT = Path(__file__).with_name("one_project.yaml")
"""A policy in which the user options `{}` start a server with the smallest image."""

MARK = "AIHUB_TEST_RIG"
PORTS = itertools.count(20000 + os.getpid() % 900 * 10, 10)


def free_port() -> int:
    """A port that is free together with the two above it, which the hub takes for itself."""
    return next(port for port in PORTS if all(port_is_free("127.0.0.1", port + more) for more in range(3)))


AIHUB = (sys.executable, "-m", "aihub.cli")
"""The command `aihub` of this checkout."""


def refused(*arguments: str | Path | int) -> subprocess.CompletedProcess[str]:
    """The outcome of an `aihub run` that is expected to refuse at once."""
    command = [*AIHUB, "run", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def heed_signals() -> None:
    """Answer Ctrl-C and a hang-up as a process of a terminal does."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@dataclass
class Rig:
    """One hub with one state folder. It may be started, stopped and killed any number of times."""

    folder: Path
    policy: tuple[Path, ...] = ()
    port: int = field(default_factory=free_port)
    environ: dict[str, str] = field(default_factory=dict)
    aihub: tuple[str, ...] = AIHUB
    cwd: Path = ROOT
    process: subprocess.Popen[bytes] | None = None
    pids: list[int] = field(default_factory=list)
    clients: list[httpx.Client] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The address of the pages, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def state_dir(self) -> Path:
        return self.folder / "state"

    @property
    def terminal(self) -> Path:
        """What `aihub run` printed, all starts one after the other."""
        return self.folder / "terminal.log"

    @property
    def log(self) -> Path:
        """The hub's own log."""
        return self.state_dir / "hub.log"

    @property
    def pid(self) -> int:
        assert self.process is not None, "the hub was never started"
        return self.process.pid

    def launch(self) -> None:
        """Start the process and return at once."""
        config = itertools.chain.from_iterable(("--config", str(path)) for path in self.policy)
        with self.terminal.open("ab") as terminal:
            self.process = subprocess.Popen(
                [*self.aihub, "run", "--port", str(self.port), "--state-dir", str(self.state_dir), *config],
                cwd=self.cwd,
                env={**os.environ, **self.environ, MARK: str(self.folder)},
                stdin=subprocess.DEVNULL,
                stdout=terminal,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # Whoever runs the tests in the background or under nohup ignores these; a terminal does not.
                preexec_fn=heed_signals,  # noqa: PLW1509  # it takes no lock and sets two dispositions
            )
        self.pids.append(self.process.pid)

    def start(self, timeout: float = 120) -> float:
        """Start and wait until the sign-in page answers; the seconds that took."""
        begin = time.monotonic()
        self.launch()
        while time.monotonic() - begin < timeout:
            assert self.process is not None
            assert self.process.poll() is None, f"the hub ended:\n{self.said()}"
            if self.answers():
                return time.monotonic() - begin
            time.sleep(0.1)
        raise AssertionError(f"no sign-in page after {timeout} s:\n{self.said()}")

    def answers(self) -> bool:
        """Whether the sign-in page is there now."""
        try:
            return httpx.get(f"{self.url}/hub/login", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def said(self) -> str:
        """The terminal and the end of the hub's log, for messages of failed tests."""
        log = self.log.read_text().splitlines()[-60:] if self.log.exists() else []
        return "\n".join([self.terminal.read_text(), *log])

    def stop(self, number: signal.Signals = signal.SIGINT, timeout: float = 60) -> int:
        """Ask the hub to end as Ctrl-C does; its exit code. Nothing happens to one that does not run."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout)

    def kill(self) -> None:
        """End the hub as a crash does; its servers and its proxy stay."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def restart(self) -> float:
        """Stop, if it runs, and start on the same state; the seconds of the start."""
        self.stop()
        return self.start()

    def processes(self) -> Iterator[psutil.Process]:
        """Every process that belongs to this hub: itself, proxy, services, user servers and their kernels."""
        for process in psutil.process_iter():
            try:
                if process.status() != psutil.STATUS_ZOMBIE and self._is_ours(process):
                    yield process
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue

    def user_servers(self) -> list[psutil.Process]:
        """The processes that are user servers; what ends while they are looked for is none."""
        found = []
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                if "aihub.userserver" in process.cmdline():
                    found.append(process)
        return found

    def _is_ours(self, process: psutil.Process) -> bool:
        # Services and user servers get a filtered environment; they are known by their parent and their folder.
        command = process.cmdline()
        return (
            process.environ().get(MARK) == str(self.folder)
            or any(str(self.folder) in argument for argument in command)
            or process.cwd().startswith(str(self.folder))
            or any(command[2:5] == ["-m", "aihub.orphan", str(pid)] for pid in self.pids)
        )

    def assert_nothing_runs(self, within: float = 10) -> None:
        """Fail when a process of this hub is still there after `within` seconds."""
        end = time.monotonic() + within
        while (left := [(p.pid, p.cmdline()) for p in self.processes()]) and time.monotonic() < end:
            time.sleep(0.2)
        assert not left, f"left running: {left}"

    def close(self) -> None:
        """Close the clients, stop the hub, and fail if anything of it stays.

        A hub that was killed is started once more, so that it stops its servers.
        """
        for client in self.clients:
            client.close()
        if self.process is not None and self.process.returncode == -signal.SIGKILL:
            self.start()
        self.stop()
        try:
            self.assert_nothing_runs()
        finally:
            for process in self.processes():
                process.kill()

    def sign_in(self, persona: str) -> httpx.Client:
        """A signed-in client for pages and API, closed with the rig; it knows the hub's address and XSRF header."""
        client = self._client()
        soup = BeautifulSoup(client.get("/hub/login").text, "html.parser")
        button = soup.find("button", attrs={"name": "persona", "value": persona})
        assert button is not None, f"the sign-in page has no button for {persona}"
        form = button.find_parent("form")
        assert form is not None
        hidden = {str(i["name"]): str(i.get("value", "")) for i in form.find_all("input", type="hidden")}
        client.post(str(form["action"]), data={**hidden, "persona": persona})
        client.get("/hub/home")
        xsrf = {c.path: c.value or "" for c in client.cookies.jar if c.name == "_xsrf"}
        client.headers["X-XSRFToken"] = xsrf.get("/hub/", "")
        who = client.get("/hub/api/user")
        assert who.is_success, f"{persona} could not sign in: {who.text}"
        assert who.json()["name"] == persona
        return client

    def with_token(self, client: httpx.Client, persona: str) -> httpx.Client:
        """A client with a fresh API token of the persona signed in with `client`, for the hub and their servers."""
        answer = client.post(f"/hub/api/users/{persona}/tokens", json={"note": "test"})
        assert answer.status_code == 201, answer.text
        api = self._client()
        api.headers["Authorization"] = f"token {answer.json()['token']}"
        return api

    def _client(self) -> httpx.Client:
        self.clients.append(httpx.Client(base_url=self.url, follow_redirects=True, timeout=60))
        return self.clients[-1]
