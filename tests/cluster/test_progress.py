"""The stages of a start, as the stream of progress events tells them, while the image comes slowly."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from aihub.podstate import STAGES
from tests.cluster.hosted import HostHub, events, hosted, project, push_fresh, size, stub
from tests.cluster.rig.cluster import Cluster
from tests.cluster.rig.registry import SlowRegistry
from tests.local.people import Someone, until

SIZE = 2_000_000
LATE = "aihub.test/late"


@pytest.fixture(scope="module")
def slow(cluster: Cluster) -> Iterator[SlowRegistry]:
    with cluster.slow_registry(None) as slow:
        yield slow
        slow.rate = None


@pytest.fixture(scope="module")
def hub(cluster: Cluster, slow: SlowRegistry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostHub]:
    """A hub with images that no node has."""
    names = ("fresh", "endless")
    policy = {
        "imageStreams": {name: stub(push_fresh(cluster.registry, slow.address, SIZE)) for name in names},
        "profiles": {"small": size(), "late": size(nodeSelector={LATE: "yes"})},
        "projects": {"lab": project([*names], ["small", "late"])},
    }
    with hosted(cluster, tmp_path_factory.mktemp("progress"), policy, readNodes=False) as hub:
        yield hub


@pytest.fixture
def late(cluster: Cluster) -> Iterator[Callable[[], object]]:
    """A way to let the machine come that a profile asks for."""
    yield lambda: cluster.kubectl("label", "node", cluster.node, f"{LATE}=yes")
    cluster.kubectl("label", "node", cluster.node, f"{LATE}-")


def test_the_stages_come_in_order_and_each_takes_its_time(
    hub: HostHub, slow: SlowRegistry, late: Callable[[], object]
) -> None:
    slow.rate = SIZE / 12
    ada = Someone.of(hub, "ada")
    assert ada.ask({"project": "lab", "image": "fresh:1", "profile": "late"}).status_code in {201, 202}
    stages: list[str] = []
    shares, lines, pulled = [], [], 0.0
    for event in events(ada):
        stage = event.get("stage", "")
        if stage == "machine" and "machine" not in stages:
            late()
        if stage == "image" and "image" not in stages:
            began = time.monotonic()
        if stage == "start" and "start" not in stages:
            pulled = time.monotonic() - began
        stages += [stage] if stage and stage not in stages[-1:] else []
        shares.append(event["progress"])
        lines += event.get("lines", ())
    slow.rate = None
    assert event["ready"], hub.said()
    # A stage that is over at once may not have been seen.
    assert stages == [stage for stage in STAGES if stage in stages]
    assert {"machine", "image", "start"} <= set(stages), stages
    assert shares == sorted(shares)
    assert pulled > 5
    for word in ("Made the claim home-", "FailedScheduling: ", "Scheduled: ", "Pulling: ", "Pulled: ", "Started: "):
        assert any(line.startswith(word) for line in lines), (word, lines)
    ada.stop()
    assert hub.servers() == []


@pytest.mark.slow
def test_an_image_that_comes_slowly_is_waited_for(hub: HostHub, slow: SlowRegistry) -> None:
    slow.rate = SIZE / 75
    bob = Someone.of(hub, "bob")
    began = time.monotonic()
    assert bob.ask({"project": "lab", "image": "endless:1"}).status_code in {201, 202}
    last = list(events(bob))[-1]
    slow.rate = None
    assert last["ready"], hub.said()
    assert time.monotonic() - began > 60
    bob.stop()
    until(lambda: hub.servers() == [], "the server is gone")
