"""Requests and the watch over real HTTP, against an API server that fails on demand.

Traps of KubeSpawner that these tests would notice (upstream.md): 11, a view that is never given up; 12, nothing is
concluded from a failed read; 13, a create whose answer was lost; 38, the client of kubernetes_asyncio.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from kubernetes_asyncio.client import ApiClient, Configuration
from kubernetes_asyncio.config import ConfigException

from aihub.errors import KubeError
from aihub.kube import Kube, View, can_heal, claims_path, events_path, nodes_path, pods_path
from tests.fake_kube import CUT, HANG, LOSE, SLOW, Answer, FakeKube, client_of, fake_kube

Document = dict[str, Any]
PODS = pods_path("users")


def named(name: str, **metadata: Any) -> Document:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "users", **metadata}, "spec": {}}


@pytest.fixture
async def fake() -> AsyncIterator[FakeKube]:
    async with fake_kube() as fake:
        yield fake


@pytest.fixture
async def kube(fake: FakeKube) -> AsyncIterator[Kube]:
    async with client_of(fake) as client:
        yield Kube(client, request_timeout=1.0, watch_seconds=30)


async def until(true: Callable[[], object], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to that"
        await asyncio.sleep(0.01)


async def error_of(request: Any) -> KubeError:
    with pytest.raises(KubeError) as raised:
        await request
    return raised.value


# --- requests --------------------------------------------------------------------------------------------------------


def test_paths() -> None:
    assert pods_path("users", "a") == "/api/v1/namespaces/users/pods/a"
    assert claims_path("users") == "/api/v1/namespaces/users/persistentvolumeclaims"
    assert events_path("users") == "/api/v1/namespaces/users/events"
    assert nodes_path() == "/api/v1/nodes"


async def test_an_object_is_made_read_changed_and_deleted(kube: Kube, fake: FakeKube) -> None:
    made = await kube.create(PODS, named("a", annotations={"keep": "1", "go": "2"}))
    assert made["metadata"]["uid"]
    assert await kube.read(pods_path("users", "a")) == made

    changed = await kube.patch(pods_path("users", "a"), {"metadata": {"annotations": {"go": None, "new": "3"}}})
    assert changed["metadata"]["annotations"] == {"keep": "1", "new": "3"}

    await kube.delete(pods_path("users", "a"), made["metadata"]["uid"], grace=7)
    assert await kube.read(pods_path("users", "a")) is None
    ((path, options),) = fake.deletions
    assert path == pods_path("users", "a")
    assert options == {"preconditions": {"uid": made["metadata"]["uid"]}, "gracePeriodSeconds": 7}


async def test_another_object_of_the_name_is_never_deleted(kube: Kube, fake: FakeKube) -> None:
    fake.put(PODS, named("a", uid="theirs"))
    await kube.delete(pods_path("users", "a"), "ours", grace=1)
    assert set(fake.objects[PODS]) == {"a"}
    await kube.delete(pods_path("users", "not-there"), "ours", grace=1)


async def test_a_list_is_strong_and_selects(kube: Kube, fake: FakeKube) -> None:
    fake.put(PODS, named("a", labels={"hub": "1"}))
    fake.put(PODS, named("b", labels={"hub": "2"}))
    items, version = await kube.all(PODS, labels="hub=1")
    assert [each["metadata"]["name"] for each in items] == ["a"]
    assert version
    # Without a version the API server asks etcd; with one it may answer from a cache that lags behind.
    assert "resourceVersion" not in fake.requests[-1][1]


async def test_a_long_list_may_take_longer_than_another_request(kube: Kube, fake: FakeKube) -> None:
    fake.put(PODS, named("a"))
    fake.fault("GET", PODS, SLOW)
    began = time.monotonic()
    items, _ = await kube.all(PODS)
    assert len(items) == 1
    assert time.monotonic() - began > 1.5, "longer than its limit for requests"
    fake.fault("GET", PODS, HANG)
    assert (await error_of(kube.all(PODS))).status is None
    fake.fault("GET", "/pods/a", SLOW)
    assert (await error_of(kube.read(pods_path("users", "a")))).status is None


@pytest.mark.parametrize(
    ("answer", "status", "heals"),
    [
        (Answer(403, 'pods "a" is forbidden: exceeded quota: x', "Forbidden"), 403, False),
        (Answer(404, 'namespaces "users" not found', "NotFound"), 404, False),
        (Answer(409, 'pods "a" already exists', "AlreadyExists"), 409, False),
        (Answer(422, 'Pod "a" is invalid', "Invalid"), 422, False),
        (Answer(429, "too many requests", "TooManyRequests", {"Retry-After": "3"}), 429, True),
        (Answer(500, "etcdserver: leader changed", "InternalError"), 500, True),
        (Answer(503, "apiserver is shutting down", "ServiceUnavailable"), 503, True),
        (Answer(504, "request did not complete within the allotted timeout", "Timeout"), 504, True),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Answer) else "",
)
async def test_a_refusal_carries_what_the_status_object_says(
    kube: Kube, fake: FakeKube, answer: Answer, status: int, heals: bool
) -> None:
    fake.fault("POST", "/pods", answer)
    error = await error_of(kube.create(PODS, named("a")))
    assert (error.status, error.message, error.reason) == (status, answer.message, answer.reason)
    assert can_heal(error) is heals
    assert error.retry_after == (3.0 if status == 429 else None)


@pytest.mark.parametrize("how", [CUT, HANG, LOSE])
async def test_no_answer_is_no_refusal(kube: Kube, fake: FakeKube, how: str) -> None:
    fake.fault("POST", "/pods", how)
    error = await error_of(kube.create(PODS, named("a")))
    assert error.status is None
    assert can_heal(error)
    assert ("a" in fake.objects.get(PODS, {})) is (how == LOSE), "it may have been carried out"


async def test_an_api_server_that_is_away_does_not_answer(kube: Kube, fake: FakeKube) -> None:
    await fake.end()
    assert (await error_of(kube.read(pods_path("users", "a")))).status is None
    assert (await error_of(kube.all(PODS))).status is None
    await fake.begin()
    assert await kube.read(pods_path("users", "a")) is None


async def test_a_failed_read_is_no_absence(kube: Kube, fake: FakeKube) -> None:
    for answer in (Answer(403), Answer(500), Answer(401)):
        fake.fault("GET", "/pods/a", answer)
        assert (await error_of(kube.read(pods_path("users", "a")))).status == answer.status


async def test_a_delete_that_is_refused_says_so(kube: Kube, fake: FakeKube) -> None:
    fake.put(PODS, named("a", uid="u"))
    fake.fault("DELETE", "/pods/a", Answer(500))
    assert (await error_of(kube.delete(pods_path("users", "a"), "u", grace=1))).status == 500


async def test_a_token_that_changed_is_used_at_once_and_one_that_cannot_be_read_is_no_answer(fake: FakeKube) -> None:
    """The kubelet writes a new one every hour; the old one ends soon after."""
    configuration = Configuration(host=fake.url)
    tokens: list[str | Exception] = ["Bearer one", "Bearer two", ConfigException("Token file exists but empty.")]

    def read(mine: Configuration) -> None:
        token = tokens.pop(0)
        if isinstance(token, Exception):
            raise token
        mine.api_key["BearerToken"] = token

    configuration.api_key["BearerToken"] = "Bearer old"
    configuration.refresh_api_key_hook = read
    async with ApiClient(configuration) as client:
        kube = Kube(client)
        assert await kube.read(pods_path("users", "a")) is None
        await kube.all(PODS)
        assert fake.tokens == ["Bearer one", "Bearer two"]
        assert (await error_of(kube.read(pods_path("users", "a")))).status is None


# --- one watch -------------------------------------------------------------------------------------------------------


async def test_a_watch_brings_each_change_once_and_long_ones_whole(kube: Kube, fake: FakeKube) -> None:
    fake.put(PODS, named("old"))
    _, version = await kube.all(PODS)
    fake.put(PODS, named("new", annotations={"long": "x" * 300_000}))
    fake.remove(PODS, "old")
    fake.bookmark(PODS)
    seen = []
    async for event in kube.watch(PODS, version):
        seen.append((event["type"], event["object"]["metadata"].get("name")))
        if event["type"] == "BOOKMARK":
            break
    assert seen == [("ADDED", "new"), ("DELETED", "old"), ("BOOKMARK", None)]


async def test_a_version_that_is_too_old_is_410(kube: Kube, fake: FakeKube) -> None:
    _, version = await kube.all(PODS)
    fake.put(PODS, named("a"))
    fake.forget()
    with pytest.raises(KubeError) as raised:
        _ = [event async for event in kube.watch(PODS, version)]
    assert raised.value.status == 410


# --- a view ----------------------------------------------------------------------------------------------------------


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Followed:
    """A view that follows, and what it told."""

    def __init__(self, kube: Kube, **how: Any) -> None:
        self.clock = Clock()
        self.told: list[tuple[str | None, bool]] = []
        self.view = View(kube, PODS, on_change=self._hear, clock=self.clock, **how)
        self.task = asyncio.ensure_future(self.view.follow())

    def _hear(self, document: Document | None, deleted: bool) -> None:
        self.told.append((document["metadata"]["name"] if document else None, deleted))

    @property
    def names(self) -> set[str]:
        return set(self.view.objects)


@pytest.fixture
async def followed(kube: Kube, fake: FakeKube) -> AsyncIterator[Followed]:
    fake.put(PODS, named("first"))
    followed = Followed(kube)
    assert await followed.view.known(5)
    await until(lambda: fake.watching)
    yield followed
    assert not followed.task.done(), "nothing may end a view"
    followed.task.cancel()


async def test_a_view_lists_and_then_watches(followed: Followed, fake: FakeKube) -> None:
    assert followed.names == {"first"}
    fake.put(PODS, named("second"))
    await until(lambda: followed.names == {"first", "second"})
    fake.remove(PODS, "first")
    await until(lambda: followed.names == {"second"})
    assert followed.told == [(None, False), ("second", False), ("first", True)]
    assert fake.count("GET", PODS) == 2, "one LIST, one WATCH"


async def test_nothing_is_known_before_the_first_list(kube: Kube, fake: FakeKube) -> None:
    fake.fault("GET", PODS, Answer(500), times=1)
    followed = Followed(kube)
    assert not await followed.view.known(0.01)
    before = followed.view.age
    assert await followed.view.known(5)
    assert (before, followed.view.age) == (None, 0)
    followed.task.cancel()


async def test_waiting_for_a_change_ends_with_it_or_in_time(followed: Followed, fake: FakeKube) -> None:
    began = time.monotonic()
    await followed.view.change("second", 0.05)
    assert time.monotonic() - began < 1
    waiting = [asyncio.ensure_future(followed.view.change("second", 30)) for _ in range(2)]
    await asyncio.sleep(0)
    fake.put(PODS, named("second"))
    await asyncio.wait_for(asyncio.gather(*waiting), 5)


async def test_nobody_is_woken_by_another_object(followed: Followed, fake: FakeKube) -> None:
    waiting = {name: asyncio.ensure_future(followed.view.change(name, 30)) for name in ("second", "third")}
    await asyncio.sleep(0)
    fake.put(PODS, named("second"))
    await asyncio.wait_for(waiting["second"], 5)
    assert not waiting["third"].done()
    fake.put(PODS, named("third"))
    await asyncio.wait_for(waiting["third"], 5)


async def test_everybody_looks_again_after_a_whole_list(followed: Followed, fake: FakeKube) -> None:
    waiting = asyncio.ensure_future(followed.view.change("second", 30))
    await fake.end()
    fake.put(PODS, named("third"))
    fake.forget()
    await fake.begin()
    await asyncio.wait_for(waiting, 10)
    assert followed.names == {"first", "third"}


async def test_what_is_known_stays_while_the_api_server_is_away_and_gets_old(
    followed: Followed, fake: FakeKube, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        await fake.end()
        await until(lambda: followed.view.problem)
        followed.clock.now += 300
        await asyncio.sleep(0.6)
    assert followed.view.age == 300
    assert followed.names == {"first"}
    assert followed.told == [(None, False)], "nothing is concluded"
    assert len([record for record in caplog.records if "Cannot follow" in record.message]) == 1, "said once"

    fake.put(PODS, named("second"))
    fake.remove(PODS, "first")
    await fake.begin()
    await until(lambda: followed.names == {"second"})
    assert followed.view.age == 0
    assert followed.view.problem is None


async def test_a_cut_watch_goes_on_where_it_was(followed: Followed, fake: FakeKube) -> None:
    for name in ("a", "b"):
        fake.put(PODS, named(name))
    fake.remove(PODS, "a")
    await until(lambda: followed.names == {"first", "b"})
    followed.told.clear()
    fake.cut_watches()
    await until(lambda: followed.view.problem)
    fake.put(PODS, named("c"))
    await until(lambda: followed.names == {"first", "b", "c"})
    assert followed.told == [("c", False)], "what was told before is not told again"
    assert followed.view.problem is None, "it is well as soon as the API server takes the watch"


async def test_it_is_well_again_before_anything_changes(followed: Followed, fake: FakeKube) -> None:
    fake.cut_watches()
    await until(lambda: followed.view.problem)
    await until(lambda: followed.view.problem is None)
    assert followed.told == [(None, False)]


async def test_what_went_while_nobody_looked_is_told(followed: Followed, fake: FakeKube) -> None:
    fake.put(PODS, named("stays"))
    fake.put(PODS, named("replaced", uid="u1"))
    await until(lambda: len(followed.names) == 3)
    followed.told.clear()
    await fake.end()
    fake.remove(PODS, "first")
    fake.remove(PODS, "replaced")
    fake.put(PODS, named("replaced", uid="u2"))
    fake.forget()
    await fake.begin()
    await until(lambda: followed.told)
    await until(lambda: followed.names == {"stays", "replaced"})
    assert followed.told == [("first", True), ("replaced", True), (None, False)]
    assert followed.view.objects["replaced"]["metadata"]["uid"] == "u2"


async def test_a_version_that_was_forgotten_is_no_failure(
    followed: Followed, fake: FakeKube, caplog: pytest.LogCaptureFixture
) -> None:
    fake.put(PODS, named("second"))
    fake.forget()
    fake.cut_watches()
    await until(lambda: followed.view.problem)
    caplog.clear()
    await until(lambda: followed.names == {"first", "second"} and followed.view.problem is None)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
async def test_a_view_is_never_given_up(kube: Kube, fake: FakeKube, status: int) -> None:
    """KubeSpawner's reflector ends after nine failed LISTs."""
    fake.fault("GET", PODS, Answer(status), times=3)
    followed = Followed(kube)
    fake.put(PODS, named("a"))
    await until(lambda: followed.names == {"a"})
    followed.task.cancel()


async def test_pauses_grow_and_retry_after_is_heeded(kube: Kube, fake: FakeKube) -> None:
    fake.fault("GET", PODS, Answer(500), times=100)
    followed = Followed(kube)
    await asyncio.sleep(1.0)
    assert 2 <= fake.count("GET", PODS) <= 3, "0.25 s, 0.5 s, 1 s …"
    followed.task.cancel()

    fake.heal()
    fake.requests.clear()
    fake.fault("GET", PODS, Answer(429, headers={"Retry-After": "2"}))
    other = Followed(kube)
    await asyncio.sleep(1.0)
    assert fake.count("GET", PODS) == 1
    other.task.cancel()


@pytest.mark.parametrize("status", [410, 200], ids=["too old", "ends at once"])
async def test_a_watch_that_always_ends_at_once_does_not_storm_the_api_server(
    kube: Kube, fake: FakeKube, status: int
) -> None:
    fake.fault("GET", "watch=true", Answer(status), times=1000)
    followed = Followed(kube)
    await asyncio.sleep(1.0)
    assert fake.count("GET", "watch=true") <= 3
    followed.task.cancel()


async def test_what_nobody_expected_does_not_end_a_view(kube: Kube, fake: FakeKube) -> None:
    fake.put(PODS, named("a"))
    calls = []

    def fails_once(document: Document | None, deleted: bool) -> None:
        calls.append(deleted)
        if len(calls) == 2:
            raise RuntimeError("a listener")

    view = View(kube, PODS, on_change=fails_once)
    task = asyncio.ensure_future(view.follow())
    assert await view.known(5)
    await until(lambda: fake.watching)
    fake.put(PODS, named("b"))
    await until(lambda: len(calls) >= 2)
    fake.put(PODS, named("c"))
    await until(lambda: set(view.objects) == {"a", "b", "c"})
    assert not task.done()
    task.cancel()


async def test_a_view_that_keeps_nothing_tells_all(kube: Kube, fake: FakeKube) -> None:
    followed = Followed(kube, keep=False)
    assert await followed.view.known(5)
    await until(lambda: fake.watching)
    fake.put(PODS, named("a"))
    await until(lambda: len(followed.told) == 2)
    assert followed.told == [(None, False), ("a", False)]
    assert followed.names == set()
    followed.task.cancel()


async def test_a_silent_connection_is_noticed(fake: FakeKube) -> None:
    async with client_of(fake) as client:
        followed = Followed(Kube(client, request_timeout=0.3, watch_seconds=1))
        assert await followed.view.known(5)
        fake.fault("GET", "watch=true", HANG, times=10)
        await until(lambda: followed.view.problem)
        fake.heal()
        fake.put(PODS, named("a"))
        await until(lambda: "a" in followed.names)
        followed.task.cancel()


async def test_what_stands_before_the_api_server_may_answer_too(kube: Kube, fake: FakeKube) -> None:
    fake.fault("GET", "/pods/a", Answer(200, text="<html>sign in</html>"))
    assert (await error_of(kube.read(pods_path("users", "a")))).status is None
    fake.fault("GET", "/pods/a", Answer(502, text="<html>bad gateway</html>"))
    error = await error_of(kube.read(pods_path("users", "a")))
    assert (error.status, error.message) == (502, "<html>bad gateway</html>")
    assert can_heal(error)
