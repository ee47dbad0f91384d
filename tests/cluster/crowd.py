"""Many people who start and stop their servers over the REST API at the same moment, and the one server all get."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import aiohttp
import jupyterhub

PATIENCE = 600.0
"""Seconds after which a server that is neither ready nor refused counts as lost."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one wish. `seconds` is from the first request to its fulfilment."""

    person: str
    seconds: float
    retries: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Crowd:
    """People with a token each, at the hub with this address.

    `options` are their user options. Whoever is asked to come back later (429) does, when `Retry-After` says.
    """

    url: str
    tokens: dict[str, str]
    options: dict[str, Any]

    def start(self) -> list[Outcome]:
        """All start at once; returns when each server is ready or lost."""
        return self._all(self._start)

    def stop(self) -> list[Outcome]:
        """All stop at once; returns when each server is gone or lost."""
        return self._all(self._stop)

    def reach(self) -> list[Outcome]:
        """Everybody asks their server, through the proxy, whose it is."""
        return self._all(self._reach)

    def _all(self, act: Callable[[aiohttp.ClientSession, str], Awaitable[tuple[int, str]]]) -> list[Outcome]:
        async def everybody() -> list[Outcome]:
            timeout = aiohttp.ClientTimeout(total=PATIENCE)
            async with aiohttp.ClientSession(
                self.url, connector=aiohttp.TCPConnector(limit=0), timeout=timeout
            ) as session:
                return await asyncio.gather(*(one(session, person) for person in self.tokens))

        async def one(session: aiohttp.ClientSession, person: str) -> Outcome:
            begin = time.perf_counter()
            try:
                retries, problem = await act(session, person)
            except (aiohttp.ClientError, TimeoutError) as error:
                retries, problem = 0, repr(error)
            return Outcome(person, time.perf_counter() - begin, retries, problem)

        return asyncio.run(everybody())

    def _headers(self, person: str) -> dict[str, str]:
        return {"Authorization": f"token {self.tokens[person]}"}

    async def _start(self, session: aiohttp.ClientSession, person: str) -> tuple[int, str]:
        address, retries = f"/hub/api/users/{person}/server", 0
        while True:
            async with session.post(address, json=self.options, headers=self._headers(person)) as answer:
                match answer.status:
                    case 201:
                        return retries, ""
                    case 202:
                        break
                    case 429:
                        wait = float(answer.headers["Retry-After"])
                    case status:
                        return retries, f"{status}: {await answer.text()}"
            retries += 1
            await asyncio.sleep(wait)
        return retries, await self._follow(session, f"{address}/progress", person)

    async def _follow(self, session: aiohttp.ClientSession, address: str, person: str) -> str:
        """Read the progress, as a page of the hub does, until the server is ready; the problem if it is not."""
        async with session.get(address, headers=self._headers(person)) as answer:
            if answer.status != 200:
                return f"progress: {answer.status}: {await answer.text()}"
            async for line in answer.content:
                if not line.startswith(b"data:"):
                    continue
                event = json.loads(line.removeprefix(b"data:"))
                if event.get("ready"):
                    return ""
                if event.get("failed"):
                    return str(event)
        return "the progress ended before the server was ready"

    async def _stop(self, session: aiohttp.ClientSession, person: str) -> tuple[int, str]:
        address, headers = f"/hub/api/users/{person}", self._headers(person)
        async with session.delete(f"{address}/server", headers=headers) as answer:
            if answer.status not in {202, 204}:
                return 0, f"{answer.status}: {await answer.text()}"
            gone = answer.status == 204
        while not gone:
            await asyncio.sleep(5)
            async with session.get(address, headers=headers) as answer:
                gone = not (await answer.json())["servers"]
        return 0, ""

    async def _reach(self, session: aiohttp.ClientSession, person: str) -> tuple[int, str]:
        async with session.get(f"/user/{person}/whose") as answer:
            said = await answer.text()
        return 0, "" if said == f"/user/{person}/whose" else f"{answer.status}: {said[:200]}"


class _Everybodys(BaseHTTPRequestHandler):
    """Answers everything with the path that was asked for, as a user server of this JupyterHub."""

    def do_GET(self) -> None:
        """Answer."""
        said = self.path.encode()
        self.send_response(200)
        self.send_header("X-JupyterHub-Version", jupyterhub.__version__)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    request_queue_size = 512
    daemon_threads = True


@contextmanager
def everybodys_server() -> Iterator[str]:
    """The address of a stub on loopback that answers as the server of everybody: kwok's pods answer nothing."""
    with _Server(("127.0.0.1", 0), _Everybodys) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def quantile(outcomes: Sequence[Outcome], part: float) -> float:
    """The seconds within which this part of the outcomes came."""
    seconds = sorted(each.seconds for each in outcomes)
    return seconds[min(len(seconds) - 1, int(part * len(seconds)))]
