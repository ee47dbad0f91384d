"""Fixtures of the tests on a real cluster. Everything in this folder is marked `cluster`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from images.build import build
from tests.cluster.release import Release
from tests.cluster.rig import cluster as clusters
from tests.cluster.rig.cluster import Cluster
from tests.cluster.rig.node import NodeFailed
from tests.cluster.rig.registry import push_busybox
from tests.cluster.rig.toolbox import CannotBuild
from tests.conftest import CHROMIUM
from tests.local.conftest import FLAGS
from tests.local.people import Meet, meeting

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


@pytest.fixture(scope="session")
def images(cluster: Cluster) -> dict[str, str]:
    """References, by digest, of AIHub's images in the cluster's registry: hub, proxy, singleuser-base."""
    built = build(("hub", "proxy", "singleuser-base"), cluster.registry)
    return {name: each.pinned for name, each in built.items()}


@pytest.fixture(scope="session")
def release(cluster: Cluster, images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """The release that tests share. Leave it as you found it: stop the servers you start.

    AIHUB_TEST_NAMESPACE and AIHUB_TEST_PORT let several runs have one each on the same cluster.
    """
    cluster.gpus(4)
    shared = Release(
        cluster,
        tmp_path_factory.mktemp("release"),
        images=images,
        namespace=os.environ.get("AIHUB_TEST_NAMESPACE", "aihub"),
        port=int(os.environ.get("AIHUB_TEST_PORT", "30080")),
    )
    shared.remove()
    shared.install()
    yield shared
    shared.remove()


@pytest.fixture(scope="session")
def meet(release: Release) -> Meet:
    """Meet people by their name on the shared release: each signs in once."""
    return meeting(release)


@pytest.fixture(scope="module")
def browser(pytestconfig: pytest.Config) -> Iterator[Browser]:
    """A Chromium. Playwright's event loop runs in this thread for as long as it is there, and no other one can."""
    path = pytestconfig.stash[CHROMIUM]
    assert path is not None, "no Chromium on this machine"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()
