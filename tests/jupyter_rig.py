"""A real Jupyter Server for tests: started as a process, spoken to over HTTP and a kernel's websocket."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import websocket

CHECKOUT = Path(__file__).parents[1]
TOKEN = "a-token-for-this-test-only"
SESSION = uuid.uuid4().hex


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Server:
    """A running server; `log` is the file of its output."""

    url: str
    log: Path

    def get(self, path: str, **query: str) -> Any:
        return self._ask("GET", path, **query)

    def post(self, path: str, body: object) -> Any:
        return self._ask("POST", path, body)

    def delete(self, path: str) -> None:
        httpx.delete(self._at(path), timeout=60).raise_for_status()

    def status_of(self, method: str, path: str, body: object = None) -> int:
        return httpx.request(method, self._at(path), json=body, timeout=30).status_code

    def start_kernel(self, name: str = "python3") -> str:
        return str(self.post("/api/kernels", {"name": name})["id"])

    def send(self, kernel: str, code: str) -> websocket.WebSocket:
        """Ask a kernel to execute; the answers come over the websocket that is returned."""
        address = self._at(f"/api/kernels/{kernel}/channels").replace("http:", "ws:")
        connection = websocket.create_connection(address, timeout=60)
        content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
        header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "version": "5.3", "session": SESSION}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
        connection.send(json.dumps(message))
        return connection

    def run(self, kernel: str, code: str) -> str:
        """Execute in a kernel and return what it printed, errors as "ErrorName: text"."""
        connection = self.send(kernel, code)
        printed, replied, idle = "", False, False
        # The reply and what was printed come on different channels, in any order.
        while not (replied and idle):
            message = json.loads(connection.recv())
            content, ours = message["content"], message["parent_header"].get("session") == SESSION
            match message["header"]["msg_type"] if ours else "":
                case "stream":
                    printed += content["text"]
                case "error":
                    printed += f"{content['ename']}: {content['evalue']}\n"
                case "execute_reply":
                    replied = True
                case "status":
                    idle = content["execution_state"] == "idle"
        connection.close()
        return printed

    def _ask(self, method: str, path: str, body: object = None, **query: str) -> Any:
        answer = httpx.request(method, f"{self.url}{path}", params={"token": TOKEN, **query}, json=body, timeout=60)
        answer.raise_for_status()
        return answer.json()

    def _at(self, path: str) -> str:
        return f"{self.url}{path}?token={TOKEN}"


@contextmanager
def jupyter_server(home: Path, variables: Mapping[str, str], arguments: Sequence[str]) -> Iterator[Server]:
    """A server of this very Python with that home, stopped at the end."""
    port, log = free_port(), home / "server.log"
    fixed = {"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT), "LANG": "C.UTF-8"}
    command = [
        sys.executable, "-m", "jupyter_server", f"--port={port}", "--ip=127.0.0.1", "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={home}", "--allow-root", "--no-browser", *arguments,
    ]  # fmt: skip
    with log.open("w") as output:
        process = subprocess.Popen(command, env={**fixed, **variables}, stdout=output, stderr=output, cwd=home)
    server = Server(f"http://127.0.0.1:{port}", log)
    try:
        _wait_for(server, process)
        yield server
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server and its kernels; one that refused a kernel's name hangs on SIGTERM (jupyter_server 2.21)."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    process.terminate()
    _, alive = psutil.wait_procs(family, timeout=5)
    for stubborn in alive:
        with suppress(psutil.NoSuchProcess):
            stubborn.kill()
    process.wait(10)


def _wait_for(server: Server, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            server.get("/api/status")
        except httpx.HTTPError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(server.log.read_text())
