"""A token that the hub does not know any more opens no server for long, however the server was started.

Trap of JupyterHub that these tests would notice (upstream.md 30): servers remember what the hub said for 300 seconds.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from aihub.serverconfig import ANSWER_AGE, CONFIG_FILE, CONFIG_PATH, config_document
from tests.jupyter_rig import free_port
from tests.local.people import Someone, until
from tests.local.rig import ONE_PROJECT, Rig

pytestmark = pytest.mark.slow

PROMISED = 60.0
"""Seconds after which no page of a running server opens any more to somebody whose session has ended."""


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Someone]:
    """Somebody whose server runs."""
    rig = Rig(tmp_path_factory.mktemp("answers"), (ONE_PROJECT,))
    rig.start()
    try:
        someone = Someone.of(rig, "student")
        someone.start({})
        yield someone
    finally:
        rig.close()


@contextmanager
def plain_upstream_server(student: Someone, folder: Path) -> Iterator[str]:
    """The address of the program of any image, `jupyterhub-singleuser`, that has our file and no argument of ours."""
    (folder / CONFIG_FILE).write_text(config_document())
    (own,) = student.rig.user_servers()  # type: ignore[attr-defined]  # the rig of this machine
    port = free_port()
    theirs = {name: value for name, value in own.environ().items() if name.startswith("JUPYTERHUB_")}
    log = (folder / "server.log").open("w")
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8", **theirs}
    environment |= {CONFIG_PATH: str(folder), "JUPYTERHUB_SERVICE_URL": f"http://127.0.0.1:{port}{student.base()}/"}
    command = [
        str(Path(sys.executable).with_name("jupyterhub-singleuser")),
        *(["--allow-root"] if os.geteuid() == 0 else []),
    ]
    process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}{student.base()}"
        until(lambda: _answers(f"{address}/api"), "the server answers", 60)
        yield address
    finally:
        process.terminate()
        process.wait(20)
        log.close()


def _answers(address: str) -> bool:
    try:
        return httpx.get(address, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def token_of(student: Someone) -> tuple[str, str]:
    """A new token of theirs, and its address at the hub."""
    made = student.pages.post(f"/hub/api/users/{student.name}/tokens", json={"note": "answers"}).raise_for_status()
    return made.json()["token"], f"/hub/api/users/{student.name}/tokens/{made.json()['id']}"


def oauth_tokens(student: Someone) -> list[str]:
    """The addresses of the sessions that servers keep for a browser."""
    known = student.pages.get(f"/hub/api/users/{student.name}/tokens").raise_for_status().json()["api_tokens"]
    return [
        f"/hub/api/users/{student.name}/tokens/{each['id']}" for each in known if each["oauth_client"] != "JupyterHub"
    ]


def page(student: Someone) -> httpx.Response:
    """The server's page, without the way back in that the hub would give to somebody who is signed in there."""
    return student.pages.get(f"{student.base()}/lab", follow_redirects=False)


def seconds_until_refused(opens: dict[str, Callable[[], bool]]) -> dict[str, float]:
    """How long each way in stays open."""
    begin, closed = time.monotonic(), dict[str, float]()
    while len(closed) < len(opens) and time.monotonic() - begin < PROMISED:
        time.sleep(0.5)
        closed |= {name: time.monotonic() - begin for name, way in opens.items() if name not in closed and not way()}
    return closed


def test_a_token_deleted_at_the_hub_opens_no_server_within_the_promised_time(student: Someone, tmp_path: Path) -> None:
    with plain_upstream_server(student, tmp_path) as plain:
        token, address = token_of(student)
        headers = {"Authorization": f"token {token}"}
        ours = f"{student.rig.url}{student.base()}"
        assert student.pages.get(f"{student.base()}/lab").status_code == 200, "the page of the server"
        ways: dict[str, Callable[[], bool]] = {
            "our server, by a token": lambda: httpx.get(f"{ours}/api/contents", headers=headers).status_code == 200,
            "a plain server, by a token": lambda: (
                httpx.get(f"{plain}/api/contents", headers=headers).status_code == 200
            ),
            "our server, by a browser": lambda: page(student).status_code == 200,
        }
        assert [name for name, way in ways.items() if not way()] == [], "all are open at first"
        ended = [address, *oauth_tokens(student)]
        assert len(ended) == 2
        for each in ended:
            assert student.pages.delete(each).status_code == 204
        assert [name for name, way in ways.items() if not way()] == [], "what the hub said is remembered for a while"
        closed = seconds_until_refused(ways)
    assert closed.keys() == ways.keys(), f"still open after {PROMISED} s: {ways.keys() - closed.keys()}"
    assert max(closed.values()) < ANSWER_AGE + 10
