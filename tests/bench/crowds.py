"""A class that starts at once on a cluster, beside stock KubeSpawner in the same minutes.

`python -m tests.bench.crowds [--people N] [--rounds N]` needs a cluster as the cluster tests do. Pods run on nodes that
kwok plays and become ready after a second; homes exist from a first start that does not count.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.cluster.crowd import Crowd, everybodys_server
from tests.cluster.host import HostHub, home, our_hub, stock_hub
from tests.cluster.kwok import fake_nodes
from tests.cluster.rig.cluster import borrowed
from tests.cluster.test_scale import CONFIG, policy

FIGURES = ("seconds", "p50", "p95", "requests each", "hub CPU ms each", "hub RSS MB")

ON_NODES = """
c.KubeSpawner.node_selector = {selector!r}
c.KubeSpawner.tolerations = [{toleration!r}]
"""


def once(hub: HostHub, crowd: Crowd) -> dict[str, Any]:
    """All start and stop; the figures of the starts, with how many were lost."""
    started, figures = hub.measured(crowd.start)
    crowd.stop()
    hub.home.cluster.until(lambda: not hub.home.pods(), 300)
    return {**figures, "lost": sum(bool(each.problem) for each in started)}


def main() -> None:
    """Measure and print; the last line is one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.crowds", description=__doc__)
    parser.add_argument("--people", type=int, default=100, help="people who start at once (default 100)")
    parser.add_argument("--rounds", type=int, default=3, help="starts of all, at each hub in turn (default 3)")
    asked = parser.parse_args()
    people = [f"p{number:03}" for number in range(asked.people)]
    taken: dict[str, list[dict[str, Any]]] = {"aihub": [], "kubespawner": []}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aihub-bench-")))
        cluster = stack.enter_context(borrowed())
        nodes = stack.enter_context(fake_nodes(cluster, len(people) + 20, folder))
        config = CONFIG.format(stub=stack.enter_context(everybodys_server()))
        places = {}
        for name in taken:
            (folder / name).mkdir()
            places[name] = stack.enter_context(home(cluster, folder / name, "bench"))
        placed = ON_NODES.format(selector=nodes.selector, toleration=nodes.toleration)
        hubs = {
            "aihub": our_hub(places["aihub"], folder / "aihub" / "hub", policy(people, nodes), config),
            "kubespawner": stock_hub(places["kubespawner"], folder / "kubespawner" / "hub", config + placed),
        }
        crowds = {}
        for name, hub in hubs.items():
            stack.callback(hub.close)
            hub.start()
            crowds[name] = hub.crowd(people, {"project": "class"} if name == "aihub" else {})
        for turn in range(asked.rounds + 1):
            for name, hub in hubs.items():
                figures = once(hub, crowds[name])
                print(name, json.dumps(figures), flush=True)
                if turn:
                    taken[name].append(figures)
    _report(taken)


def _report(taken: dict[str, list[dict[str, Any]]]) -> None:
    medians = {
        name: {key: statistics.median(each[key] for each in rounds) for key in FIGURES}
        for name, rounds in taken.items()
    }
    ours, stock = medians["aihub"], medians["kubespawner"]
    print(f"{'median':24}{'AIHub':>12}{'KubeSpawner':>14}{'ratio':>8}")
    for key in FIGURES:
        print(f"{key:24}{ours[key]:12.2f}{stock[key]:14.2f}{ours[key] / stock[key]:8.2f}")
    print(
        json.dumps(
            {"medians": medians, "lost": {name: [each["lost"] for each in rounds] for name, rounds in taken.items()}}
        )
    )


if __name__ == "__main__":
    main()
