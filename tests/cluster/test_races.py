"""Two people want the same thing at the same time, and the cluster's own quota is smaller than ours."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest
from bs4 import BeautifulSoup

from tests.cluster.release import Release
from tests.local.people import Meet, Someone, until

GPU = {"project": "ml101", "image": "base:1", "profile": "gpu"}
FORM = {"project": "ml101", "image": "base", "tag-base": "1", "profile": "gpu"}
LIMIT = "Limit of Machine Learning 101: 1 nvidia.com/gpu, in use 1, this start asks for 1."

Ask = Callable[[], httpx.Response]


def over_rest(someone: Someone) -> httpx.Response:
    return someone.ask(GPU)


def over_the_form(someone: Someone) -> httpx.Response:
    """As a browser sends the start page."""
    return filled_in(someone)()


def filled_in(someone: Someone) -> Ask:
    """The start page with all choices made: what is left is to press Start."""
    field = BeautifulSoup(someone.pages.get("/hub/spawn").text, "html.parser").find("input", attrs={"name": "_xsrf"})
    assert field is not None
    data = {"_xsrf": str(field["value"]), **FORM}
    return lambda: someone.pages.post("/hub/spawn", data=data, headers={"X-XSRFToken": ""})


def said(answer: httpx.Response) -> str:
    """What a refused start says, on a page or in JSON."""
    if "json" in answer.headers["Content-Type"]:
        return str(answer.json()["message"])
    return " ".join(BeautifulSoup(answer.text, "html.parser").get_text(" ", strip=True).split())


def at_once(*starts: Ask) -> list[httpx.Response]:
    """The answers to starts that are asked for at the same moment."""
    barrier = threading.Barrier(len(starts))

    def go(start: Ask) -> httpx.Response:
        barrier.wait()
        return start()

    with ThreadPoolExecutor(len(starts)) as pool:
        return list(pool.map(go, starts))


@pytest.fixture
def students(release: Release, meet: Meet) -> Iterator[tuple[Someone, Someone]]:
    """Two who run nothing, before and after."""
    both = meet("ada"), meet("bob")
    yield both
    for each in both:
        if each.running():
            each.stop()
    assert release.servers() == []


def test_of_two_who_want_the_last_gpu_one_gets_it(
    release: Release, meet: Meet, students: tuple[Someone, Someone]
) -> None:
    ada, bob = students
    answers = at_once(lambda: over_rest(ada), filled_in(bob))
    refused = [answer for answer in answers if "AIHub-Reason" in answer.headers]
    assert [(each.status_code, each.headers["AIHub-Reason"]) for each in refused] == [(403, "quota-project")]
    assert LIMIT in said(refused[0])
    assert "ml101-help@example.org" in said(refused[0])
    winner, loser = (bob, ada) if refused[0] is answers[0] else (ada, bob)
    # Whichever way they go on asking.
    for ask in (over_rest, over_the_form):
        again = ask(loser)
        assert (again.status_code, again.headers["AIHub-Reason"]) == (403, "quota-project")
        assert LIMIT in said(again)
        assert "ml101-help@example.org" in said(again)
        assert "Held by" not in said(again)
    assert len(release.servers()) == 1
    until(lambda: winner.model().get("ready"), f"the server of {winner.name}\n{release.said()}", within=120)

    ines = meet("ines")
    for ask in (over_rest, over_the_form):
        assert f"Held by: {winner.name}." in said(ask(ines))
    page = BeautifulSoup(ines.pages.get("/hub/aihub/projects/ml101").text, "html.parser")
    (row,) = page.select("#running tbody tr")
    assert winner.name in row.get_text()

    winner.stop()
    assert over_rest(loser).status_code in {201, 202}, "what is given back is free at once"


@contextmanager
def cluster_quota(release: Release) -> Iterator[None]:
    """A ResourceQuota of the cluster's admins, who allow fewer GPUs than the policy does."""
    hard = {"requests.nvidia.com/gpu": "0"}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "admins"}, "spec": {"hard": hard}}
    release.cluster.apply(quota, namespace=release.users)

    def counted() -> bool:
        found = release.cluster.get("resourcequota", "admins", "--namespace", release.users)
        return bool(found.get("status", {}).get("hard") == hard)

    until(counted, "the cluster counts")
    try:
        yield
    finally:
        release.kubectl("delete", "resourcequota", "admins", users=True)


@pytest.mark.parametrize("ask", [over_rest, over_the_form], ids=["REST", "form"])
def test_the_quota_of_the_cluster_comes_out_as_our_sentence(
    release: Release, students: tuple[Someone, Someone], ask: Callable[[Someone], httpx.Response]
) -> None:
    ada, bob = students
    with cluster_quota(release):
        began = time.monotonic()
        answer = ask(ada)
        took = time.monotonic() - began
    assert (answer.status_code, answer.headers.get("AIHub-Reason")) == (403, "cluster-quota"), said(answer)
    assert f"Limit of the cluster in {release.users}: 0 nvidia.com/gpu, in use 0, this start asks for 1." in said(
        answer
    )
    assert took < 5
    assert release.servers() == []
    assert over_rest(bob).status_code in {201, 202}, "nothing is held for a start that could not be"
