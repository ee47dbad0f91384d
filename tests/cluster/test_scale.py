"""A whole class that clicks Start in the same second, on nodes that kwok plays: nobody is lost, nothing is left."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cluster.crowd import Outcome, everybodys_server, quantile
from tests.cluster.host import HostHub, home, our_hub
from tests.cluster.kwok import FakeNodes, fake_nodes
from tests.cluster.rig.cluster import Cluster

POD_URL = """
c.KubeSpawner.get_pod_url = lambda spawner, pod: {stub!r}
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
        hub = our_hub(own, folder / "hub", policy(people, nodes), POD_URL.format(stub=stub), limit)
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


def start_and_stop(hub: HostHub, people: list[str]) -> dict[str, Any]:
    """All start, the hub dies and comes back, all stop. The figures of it."""
    root, crowd = hub.token_of("root", admin=True), hub.crowd(people, {"project": "class"})
    asked, before, begin = hub.asked(), hub.spent(), time.monotonic()
    started = crowd.start()
    seconds, after, asked_more = time.monotonic() - begin, hub.spent(), hub.asked() - asked
    assert lost(started) == {}, hub.said()
    assert lost(crowd.reach()) == {}
    owners = {pod["metadata"]["annotations"]["aihub.io/owner"] for pod in hub.home.pods()}
    assert owners == {f"{hub.home.settings['instance']}/{person}" for person in people}
    assert len(hub.home.pods()) == len(people)
    assert {server["person"] for server in held(hub, root)} == set(people)

    hub.kill()
    assert lost(crowd.reach()) == {}
    back = hub.start()
    hub.home.cluster.until(lambda: len(held(hub, root)) == len(people), 60)
    assert {server["state"] for server in held(hub, root)} == {"running"}
    assert lost(crowd.reach()) == {}

    begin = time.monotonic()
    assert lost(crowd.stop()) == {}, hub.said()
    stopped = time.monotonic() - begin
    assert hub.home.pods() == []
    assert held(hub, root) == []
    return {
        "starts": len(people),
        "seconds": round(seconds, 1),
        "p50": round(quantile(started, 0.5), 1),
        "p95": round(quantile(started, 0.95), 1),
        "retries": sum(each.retries for each in started),
        "requests per start": round(asked_more.total() / len(people), 2),
        "requests": dict(asked_more.most_common()),
        "hub CPU ms per start": round(1000 * (after.cpu - before.cpu) / len(people)),
        "hub RSS MB": round(after.rss / 1e6),
        "hub RSS kB per server": round((after.rss - before.rss) / 1e3 / len(people)),
        "seconds until a killed hub answers": round(back, 1),
        "seconds to stop all": round(stopped, 1),
    }


def test_a_class_of_20_starts_at_once(cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a quarter of them at a time: the others are asked to come again, and do."""
    with a_class(cluster, tmp_path, 20, limit=5) as (hub, people):
        figures = start_and_stop(hub, people)
    with capsys.disabled():
        print(f"\n{json.dumps(figures)}")
    assert figures["retries"] > 0


@pytest.mark.slow
def test_200_start_at_once(cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with a_class(cluster, tmp_path, 200, limit=0) as (hub, people):
        figures = start_and_stop(hub, people)
    with capsys.disabled():
        print(f"\n{json.dumps(figures)}")
    assert figures["retries"] == 0
    # Home: looked for and made. Pod: made. Everything else comes by the watches, which all starts share.
    assert figures["requests per start"] < 3.2
