"""What a person waits for, beside stock JupyterHub on the same machine in the same minutes.

`python -m tests.bench.starts [--starts N] [--pages N]` runs AIHub and a JupyterHub with its own simple local process
spawner, asks them in turn, and prints medians and their ratio. The peer decides nothing, so a refusal is compared with
its smallest answer that looks at the user, the user's model.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from aihub import node
from tests.local.people import Someone
from tests.local.rig import Rig, free_port

POLICY = Path(__file__).with_name("policy.yaml")
STOCK = """
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{hub_port}"
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{api_port}"
c.ConfigurableHTTPProxy.command = {proxy}
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = "{folder}/homes/{{username}}"
c.Spawner.cmd = [{python!r}, "-m", "jupyterhub.singleuser"]
c.Spawner.args = {arguments}
c.Spawner.default_url = "/lab"
c.Spawner.environment = {{"JUPYTER_PREFER_ENV_PATH": "1"}}
c.Spawner.options_form = '<label>Image <select name="image"><option>plain</option></select></label>'
"""


@dataclass(frozen=True, slots=True)
class Hub:
    """A hub to measure: a signed-in browser, a client with a token, and the user options of a start."""

    user: str
    pages: httpx.Client
    api: httpx.Client
    options: dict[str, str]

    def page(self) -> None:
        """Read the start page."""
        answer = self.pages.get("/hub/spawn")
        assert answer.status_code == 200, answer.text
        assert "<form" in answer.text

    def start(self) -> None:
        """Start the server and wait until the hub calls it ready."""
        answer = self.api.post(self._address("/server"), json=self.options)
        assert answer.status_code in {201, 202}, answer.text
        while not self._server().get("ready"):
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop the server and wait until it is gone."""
        self.api.delete(self._address("/server"))
        while self._server():
            time.sleep(0.05)

    def model(self) -> None:
        """Read the user's model."""
        assert self.api.get(self._address()).status_code == 200

    def refusal(self) -> None:
        """Ask for an image that does not exist."""
        answer = self.api.post(self._address("/server"), json={**self.options, "image": "nope:1"})
        assert answer.headers["AIHub-Reason"] == "unknown-image", answer.text

    def _address(self, rest: str = "") -> str:
        return f"/hub/api/users/{self.user}{rest}"

    def _server(self) -> dict[str, object]:
        servers: dict[str, dict[str, object]] = self.api.get(self._address()).json()["servers"]
        return servers.get("", {})


@contextmanager
def our_hub(folder: Path) -> Iterator[Hub]:
    """AIHub with its one-machine runtime."""
    rig = Rig(folder, (POLICY,))
    try:
        rig.start()
        someone = Someone.of(rig, "student")
        yield Hub("student", someone.pages, someone.api, {"project": "lab"})
    finally:
        rig.close()


@contextmanager
def stock_hub(folder: Path) -> Iterator[Hub]:
    """JupyterHub as it comes, with the same proxy and single-user server."""
    (folder / "homes").mkdir()
    port = free_port()
    cache = node.cache_folder(os.environ, fallback=folder / "cache")
    proxy = node.ensure_proxy(node.find_node(), cache, print)
    values = {"port": port, "hub_port": port + 1, "api_port": port + 2, "proxy": list(proxy), "folder": folder}
    arguments = ["--allow-root"] if os.geteuid() == 0 else []
    config = folder / "jupyterhub_config.py"
    config.write_text(STOCK.format(**values, python=sys.executable, arguments=arguments))
    command = [sys.executable, "-m", "jupyterhub", "--config", str(config)]
    with (folder / "hub.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    base = f"http://127.0.0.1:{port}"
    with httpx.Client(base_url=base, follow_redirects=True, timeout=60) as pages, httpx.Client(base_url=base) as api:
        try:
            _sign_in(pages, process)
            token = pages.post("/hub/api/users/student/tokens", json={}).raise_for_status().json()["token"]
            api.headers["Authorization"], api.timeout = f"token {token}", httpx.Timeout(60)
            yield Hub("student", pages, api, {"image": "plain"})
        finally:
            process.terminate()
            process.wait(60)


def _sign_in(pages: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 120
    while not _answers(pages):
        assert process.poll() is None, "the stock hub ended"
        assert time.monotonic() < end, "the stock hub does not answer"
        time.sleep(0.1)
    token = pages.cookies.get("_xsrf", path="/hub/") or ""
    pages.post("/hub/login", data={"username": "student", "password": "", "_xsrf": token})
    pages.get("/hub/home")
    pages.headers["X-XSRFToken"] = pages.cookies.get("_xsrf", path="/hub/") or ""


def _answers(pages: httpx.Client) -> bool:
    try:
        return pages.get("/hub/login").status_code == 200
    except httpx.TransportError:
        return False


def seconds(act: Callable[[], None]) -> float:
    """How long `act` takes."""
    begin = time.perf_counter()
    act()
    return time.perf_counter() - begin


def in_turn(ours: Callable[[], None], theirs: Callable[[], None], times: int) -> tuple[float, float]:
    """The medians of both, asked alternately so that a busy moment of the machine meets both."""
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(times)]
    return statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs)


def measure_starts(ours: Hub, stock: Hub, times: int) -> tuple[float, float]:
    """Medians of a start until ready; the first one of each, which makes homes and environments, does not count."""
    taken: dict[int, list[float]] = {0: [], 1: []}
    for turn in range(times + 1):
        for which, hub in enumerate((ours, stock)):
            took = seconds(hub.start)
            hub.stop()
            if turn:
                taken[which].append(took)
    return statistics.median(taken[0]), statistics.median(taken[1])


def main() -> None:
    """Measure and print; the last line is one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.starts", description=__doc__)
    parser.add_argument("--starts", type=int, default=5, help="starts of each hub (default 5)")
    parser.add_argument("--pages", type=int, default=100, help="requests of each kind (default 100)")
    asked = parser.parse_args()
    with ExitStack() as stack:
        folders = [Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aihub-bench-"))) for _ in range(2)]
        ours = stack.enter_context(our_hub(folders[0]))
        stock = stack.enter_context(stock_hub(folders[1]))
        for hub in (ours, stock):
            hub.page()
        results = {
            "start until ready": measure_starts(ours, stock, asked.starts),
            "start page": in_turn(ours.page, stock.page, asked.pages),
            "refused start, peer: user model": in_turn(ours.refusal, stock.model, asked.pages),
        }
    _report(results)


def _report(results: dict[str, tuple[float, float]]) -> None:
    print(f"{'median':34}{'AIHub':>12}{'JupyterHub':>12}{'ratio':>8}")
    for name, (ours, stock) in results.items():
        print(f"{name:34}{ours * 1000:9.0f} ms{stock * 1000:9.0f} ms{ours / stock:8.2f}")
    print(json.dumps({name: {"aihub": a, "jupyterhub": b, "ratio": a / b} for name, (a, b) in results.items()}))


if __name__ == "__main__":
    main()
