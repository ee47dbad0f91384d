"""What happens to running servers, homes and the ledger while the hub comes and goes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.release import Release
from tests.cluster.rig.cluster import Cluster, CommandFailed
from tests.local.people import Someone, until

GPU = {"project": "ml101", "profile": "gpu"}
SMALL = {"project": "ml101", "profile": "small"}


@pytest.fixture(scope="module")
def moving(cluster: Cluster, images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """A release of this module's own, to be upgraded and taken away."""
    own = Release(
        cluster, tmp_path_factory.mktemp("moving"), images=images, namespace="moving", port=30090, name="moving-aihub"
    )
    cluster.gpus(4)
    own.remove()
    own.install()
    yield own
    own.remove()


@pytest.fixture(scope="module")
def computing(moving: Release) -> Iterator[tuple[Someone, str]]:
    """A student whose kernel knows something, and who holds the only GPU."""
    ada = Someone.of(moving, "ada")
    ada.start(GPU)
    kernel = ada.kernel()
    ada.run("x = 41", kernel)
    yield ada, kernel
    ada.stop()


def hub_pod(release: Release) -> str:
    selector = "--selector=app.kubernetes.io/component=hub"
    (pod,) = release.cluster.get("pods", "--namespace", release.namespace, selector)["items"]
    return str(pod["metadata"]["uid"])


def ready_hub(release: Release) -> str:
    """Which pod is the hub, and ready; empty for none."""
    selector = "--selector=app.kubernetes.io/component=hub"
    pods = release.cluster.get("pods", "--namespace", release.namespace, selector)["items"]
    (uid, conditions) = next(((pod["metadata"]["uid"], pod["status"].get("conditions", [])) for pod in pods), ("", []))
    return uid if any((each["type"], each["status"]) == ("Ready", "True") for each in conditions) else ""


def still_computes(computing: tuple[Someone, str], expected: str) -> None:
    someone, kernel = computing
    assert someone.run("x += 1; print(x)", kernel) == expected


def test_servers_and_the_ledger_outlive_the_hub(moving: Release, computing: tuple[Someone, str]) -> None:
    before, pod = hub_pod(moving), moving.server("ada")["metadata"]["uid"]
    moving.kubectl("delete", "pod", "--selector=app.kubernetes.io/component=hub", "--grace-period=0", "--force")
    still_computes(computing, "42\n")  # while there is no hub at all
    # The old process may live, and answer, for a moment after its pod was deleted by force.
    until(lambda: ready_hub(moving) not in ("", before), "the new hub is ready", within=90)
    until(moving.answers, "the new hub answers", within=30)
    assert moving.server("ada")["metadata"]["uid"] == pod
    bob = Someone.of(moving, "bob")
    refused = until(lambda: known(bob.ask(GPU)), "the ledger is rebuilt")
    assert (refused.status_code, refused.headers["AIHub-Reason"]) == (403, "quota-project")
    assert "in use 1" in refused.json()["message"]
    assert computing[0].model()["ready"], "the new hub knows the server"
    assert len(moving.servers()) == 1


def known(answer: Any) -> Any:
    return answer if answer.headers.get("AIHub-Reason") != "quota-unknown" else None


def test_a_changed_policy_arrives_without_a_restart(moving: Release, computing: tuple[Someone, str]) -> None:
    before = hub_pod(moving)
    moving.values["aihub"]["projects"]["ml101"]["quota"]["project"]["nvidia.com/gpu"] = 2
    moving.upgrade()
    bob = Someone.of(moving, "bob")
    # The kubelet looks for changed ConfigMaps about once a minute.
    until(lambda: bob.ask(GPU).status_code in {201, 202}, "the larger quota counts", within=150, every=3)
    bob.stop()
    assert hub_pod(moving) == before
    still_computes(computing, "43\n")


def test_a_bad_policy_stops_the_upgrade_with_its_words(moving: Release) -> None:
    offer = moving.values["aihub"]["projects"]["ml101"]["profiles"]["offer"]
    offer.append("giant")
    try:
        with pytest.raises(AssertionError, match="giant") as stopped:
            moving.upgrade()
    finally:
        offer.remove("giant")
    assert "projects.ml101.profiles.offer" in str(stopped.value)
    assert moving.answers()
    moving.upgrade()


def test_who_signs_in_changes_with_a_restart_and_comes_back_with_a_rollback(
    moving: Release, computing: tuple[Someone, str]
) -> None:
    before, revision = hub_pod(moving), revision_of(moving)
    moving.values["aihub"]["signIn"]["people"]["eva"] = {"groups": ["/courses/ml101/students"]}
    moving.values["hub"]["labels"] = {"example.org/version": "next"}
    moving.upgrade()
    assert hub_pod(moving) != before
    assert Someone.of(moving, "eva").servers() == {}
    still_computes(computing, "44\n")
    del moving.values["aihub"]["signIn"]["people"]["eva"], moving.values["hub"]["labels"]
    moving.helm("rollback", moving.name, str(revision), "--wait", "--timeout", "5m")
    until(moving.answers, "the hub answers", within=90)
    with pytest.raises(AssertionError, match="eva could not sign in"):
        Someone.of(moving, "eva")
    still_computes(computing, "45\n")


def revision_of(release: Release) -> int:
    return len(release.helm("history", release.name, "--max=100").splitlines()) - 1


def test_servers_and_homes_outlive_the_release(moving: Release, computing: tuple[Someone, str]) -> None:
    ada, _ = computing
    ada.run("open('thesis.txt', 'w').write('years of work')")
    pod = moving.server("ada")["metadata"]["uid"]
    claims = claims_of(moving)
    moving.uninstall()
    with pytest.raises(CommandFailed):
        moving.kubectl("get", f"deploy/{moving.name}-hub")
    assert moving.server("ada")["metadata"]["uid"] == pod
    assert claims_of(moving) == claims
    moving.install()
    assert moving.server("ada")["metadata"]["uid"] == pod
    ada = Someone.of(moving, "ada")
    until(lambda: ada.model().get("ready"), "the new release knows the server")
    still_computes((ada, computing[1]), "46\n")
    ada.stop()
    ada.start(SMALL)
    assert ada.run("print(open('thesis.txt').read())") == "years of work\n"


def claims_of(release: Release) -> set[tuple[str, str]]:
    found = release.cluster.get("pvc", "--namespace", release.users)["items"]
    return {(each["metadata"]["name"], each["metadata"]["uid"]) for each in found}
