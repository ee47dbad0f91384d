"""Fixtures of the tests on a real cluster. Everything in this folder is marked `cluster`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.rig import cluster as clusters
from tests.cluster.rig.cluster import Cluster
from tests.cluster.rig.node import NodeFailed
from tests.cluster.rig.registry import push_busybox
from tests.cluster.rig.toolbox import CannotBuild

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker("cluster")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The cluster: an administrator's kubeconfig, kubectl, helm, a registry, GPUs at will."""
    try:
        with clusters.borrowed() as borrowed:
            yield borrowed
    except (NodeFailed, CannotBuild) as error:
        pytest.exit(f"No cluster to test on: {error}", returncode=1)


@pytest.fixture(scope="session")
def busybox(cluster: Cluster) -> str:
    """The reference of a small image with a shell, in the cluster's registry."""
    return push_busybox(cluster.registry)


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace of the test's own, gone afterwards."""
    with cluster.namespace("test") as name:
        yield name
