"""A whole class that clicks Start in the same second, on nodes that kwok plays: nobody is lost, nothing is left."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cluster.crowd import Crowd, Outcome, everybodys_server
from tests.cluster.host import HostHub, home, our_hub
from tests.cluster.kwok import FakeNodes, fake_nodes
from tests.cluster.rig.cluster import Cluster

CONFIG = """
from jupyterhub.app import JupyterHub

c.KubeSpawner.get_pod_url = lambda spawner, pod: {stub!r}
# Half a minute to a minute, which the hub says else, is no wait for a test.
JupyterHub.spawn_throttle_retry_range.tag(config=True)
c.JupyterHub.spawn_throttle_retry_range = (1, 3)
"""


def policy(people: list[str], nodes: FakeNodes) -> dict[str, Any]:
    """One course for everybody, on the fake nodes; each has a home of their own."""
    seat = {
        "cpu": {"request": "100m", "limit": 1},
        "memory": {"request": "256Mi", "limit": "1Gi"},
        "nodeSelector": nodes.selector,
        "tolerations": [nodes.toleration],
    }
    return {
        "imageStreams": {"lab": {"tags": {"1": {"image": "registry.example.org/lab:1"}}}},
        "profiles": {"seat": seat},
        "projects": {
            "class": {
                "members": {"users": people},
                "images": {"offer": ["lab"]},
                "profiles": {"offer": ["seat"]},
                "quota": {"perMember": {"servers": 1}, "project": {"servers": len(people)}},
            }
        },
        "home": {"scope": "user", "size": "1Gi"},
        "signIn": {
            "method": "sharedPassword",
            "people": {**{person: {} for person in people}, "root": {"admin": True}},
            "admins": {"users": ["root"]},
        },
    }


@contextmanager
def a_class(cluster: Cluster, folder: Path, size: int, limit: int) -> Iterator[tuple[HostHub, list[str]]]:
    """A hub with a course of `size` people, room for all, and `limit` starts at once."""
    people = [f"p{number:03}" for number in range(size)]
    with (
        home(cluster, folder, "scale") as own,
        fake_nodes(cluster, size + 20, folder) as nodes,
        everybodys_server() as stub,
    ):
        hub = our_hub(own, folder / "hub", policy(people, nodes), CONFIG.format(stub=stub), limit)
        try:
            hub.start()
            yield hub, people
        finally:
            hub.close()


def held(hub: HostHub, root: str) -> list[dict[str, Any]]:
    """The servers that the ledger holds a place for."""
    headers = {"Authorization": f"token {root}"}
    answer = httpx.get(f"{hub.url}/hub/api/aihub/projects/class/servers", headers=headers, timeout=60)
    found: list[dict[str, Any]] = answer.raise_for_status().json()["servers"]
    return found


def lost(outcomes: list[Outcome]) -> dict[str, str]:
    return {each.person: each.problem for each in outcomes if each.problem}


def all_start(hub: HostHub, crowd: Crowd, root: str) -> dict[str, Any]:
    """All start, and everything says that all run. The figures of it."""
    started, figures = hub.measured(crowd.start)
    assert lost(started) == {}, hub.said()
    all_run(hub, crowd, root)
    return figures


def all_run(hub: HostHub, crowd: Crowd, root: str) -> None:
    """Everybody has one pod and one place in the ledger, and reaches their own server."""
    owners = sorted(pod["metadata"]["annotations"]["aihub.io/owner"] for pod in hub.home.pods())
    assert owners == [f"{hub.home.settings['instance']}/{person}" for person in sorted(crowd.tokens)]
    assert sorted((each["person"], each["state"]) for each in held(hub, root)) == [
        (person, "running") for person in sorted(crowd.tokens)
    ]
    assert lost(crowd.reach()) == {}


def all_stop(hub: HostHub, crowd: Crowd, root: str) -> dict[str, Any]:
    """All stop, and nothing is left. The figures of it."""
    stopped, figures = hub.measured(crowd.stop)
    assert lost(stopped) == {}, hub.said()
    # What was not gone within the spawner's patience goes on counting until the ledger's next look.
    hub.home.cluster.until(lambda: not hub.home.pods() and not held(hub, root), 120)
    return figures


def a_day(hub: HostHub, people: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """All start for the first time and stop; all start again, the hub dies and comes back, all stop."""
    root, crowd = hub.token_of("root", admin=True), hub.crowd(people, {"project": "class"})
    figures: dict[str, Any] = {}

    def keep(**more: Any) -> None:
        figures.update(more)
        with capsys.disabled():
            print("\n" + json.dumps(more))

    keep(first=all_start(hub, crowd, root))
    keep(stop=all_stop(hub, crowd, root))
    keep(again=all_start(hub, crowd, root))
    hub.kill()
    assert lost(crowd.reach()) == {}
    keep(restart={"seconds": round(hub.start(), 1)})
    hub.home.cluster.until(lambda: len(held(hub, root)) == len(people), 60)
    all_run(hub, crowd, root)
    keep(last_stop=all_stop(hub, crowd, root))
    return figures


def test_a_class_of_20_starts_at_once(cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a quarter of them at a time: the others are asked to come again, and do."""
    with a_class(cluster, tmp_path, 20, limit=5) as (hub, people):
        figures = a_day(hub, people, capsys)
    assert figures["again"]["retries"] > 0


@pytest.mark.slow
def test_200_start_at_once(cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with a_class(cluster, tmp_path, 200, limit=0) as (hub, people):
        figures = a_day(hub, people, capsys)
    first, again = figures["first"], figures["again"]
    assert first["retries"] == again["retries"] == 0
    # A home is looked for, and made once; a pod is made. All else comes by watches, which all starts share. Where the
    # machine is so busy that an answer does not come in time, a request is sent again.
    assert first["requests each"] < 3.5
    assert again["requests each"] < 2.5
