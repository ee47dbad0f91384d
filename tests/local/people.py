"""People at work on a real hub, by its REST API: they start servers, run code in kernels, read what they are told."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol
from urllib.parse import quote

import httpx
import websocket


class Place(Protocol):
    """A hub that people reach."""

    @property
    def url(self) -> str: ...
    def sign_in(self, persona: str) -> httpx.Client: ...
    def with_token(self, client: httpx.Client, persona: str) -> httpx.Client: ...
    def said(self) -> str: ...


def until(true: Callable[[], Any], what: str, within: float = 60, every: float = 0.2) -> Any:
    """What `true` gives as soon as it is something; fails with `what` after `within` seconds."""
    end = time.monotonic() + within
    while not (found := true()):
        assert time.monotonic() < end, f"not within {within} s: {what}"
        time.sleep(every)
    return found


@dataclass(frozen=True, slots=True)
class Someone:
    """A persona with a browser session (`pages`) and a token (`api`)."""

    name: str
    rig: Place
    pages: httpx.Client
    api: httpx.Client

    @classmethod
    def of(cls, rig: Place, name: str) -> Someone:
        pages = rig.sign_in(name)
        return cls(name, rig, pages, rig.with_token(pages, name))

    @property
    def _escaped(self) -> str:
        return quote(self.name, safe="@")

    def _server(self, server: str) -> str:
        return f"/hub/api/users/{self._escaped}/" + (f"servers/{server}" if server else "server")

    def ask(self, options: object = None, server: str = "") -> httpx.Response:
        """Ask for a start, as the REST API answers it."""
        body = b"" if options is None else json.dumps(options).encode()
        return self.api.post(self._server(server), content=body)

    def start(self, options: object = None, server: str = "", within: float = 240) -> None:
        """Start a server and wait until it is ready."""
        answer = self.ask(options, server)
        assert answer.status_code in {201, 202}, (answer.status_code, answer.text)
        until(lambda: self.model(server).get("ready"), f"{self.name}'s server {server!r}\n{self.rig.said()}", within)

    def stop(self, server: str = "") -> None:
        """Stop a server and wait until it is gone."""
        assert self.api.delete(self._server(server)).status_code in {202, 204}
        until(lambda: not self.running(server), "the server stops")

    def servers(self) -> dict[str, Any]:
        models: dict[str, Any] = self.api.get(f"/hub/api/users/{self.name}").raise_for_status().json()["servers"]
        return models

    def stopped(self) -> set[str]:
        """The servers that are on the list and do not run."""
        user = self.api.get(f"/hub/api/users/{self.name}", params={"include_stopped_servers": True})
        return {name for name, model in user.raise_for_status().json()["servers"].items() if model["stopped"]}

    def model(self, server: str = "") -> dict[str, Any]:
        model: dict[str, Any] = self.servers().get(server, {})
        return model

    def running(self, server: str = "") -> bool:
        model = self.model(server)
        return bool(model.get("ready") or model.get("pending"))

    def base(self, server: str = "") -> str:
        return f"/user/{self._escaped}/{server}".rstrip("/")

    def kernel(self, server: str = "") -> str:
        """Start a kernel."""
        # The server asks the hub about the token, which is not counted as a start-up: the first answer may be late.
        answer = self.api.post(f"{self.base(server)}/api/kernels", json={})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def run(self, code: str, kernel: str | None = None, server: str = "") -> str:
        """Execute in a kernel and return what it printed; an error as "ErrorName: text"."""
        kernel = kernel or self.kernel(server)
        address = f"{self.rig.url}{self.base(server)}/api/kernels/{kernel}/channels".replace("http", "ws", 1)
        connection = websocket.create_connection(
            address, header=[f"Authorization: {self.api.headers['Authorization']}"], timeout=60
        )
        session = uuid.uuid4().hex
        content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
        header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "version": "5.3", "session": session}
        connection.send(
            json.dumps({"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"})
        )
        printed, replied, idle = "", False, False
        while not (replied and idle):
            message = json.loads(connection.recv())
            said = message["content"]
            match message["header"]["msg_type"] if message["parent_header"].get("session") == session else "":
                case "stream":
                    printed += said["text"]
                case "error":
                    printed += f"{said['ename']}: {said['evalue']}\n"
                case "execute_reply":
                    replied = True
                case "status":
                    idle = said["execution_state"] == "idle"
        connection.close()
        return printed


Meet = Callable[[str], Someone]


def meeting(rig: Place) -> Meet:
    """A way to meet people by their name: each signs in once."""
    return cache(lambda name: Someone.of(rig, name))
