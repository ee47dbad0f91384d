"""The hub's REST routes for servers, without a hub: what a body may be, and starts that cross each other."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jupyterhub.handlers.base import BaseHandler

from aihub.errors import Reason
from aihub.handlers.server_api import MAX_BODY, OneStart, ServerHandler, forget_server
from aihub.options import Options, parse_options
from aihub.spawner import SpawnRefused


def handler_with(body: bytes) -> ServerHandler:
    """A handler that has read a request; nothing of tornado is needed to understand its body."""
    handler = ServerHandler.__new__(ServerHandler)
    handler.request = SimpleNamespace(body=body)
    return handler


def start_body(body: object) -> dict[str, Any]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return handler_with(content).get_server_json_body()


def problem(body: object) -> tuple[str, str]:
    """Field and problem of the refusal that a body meets."""
    with pytest.raises(SpawnRefused) as raised:
        start_body(body)
    assert raised.value.refusal.reason is Reason.INVALID_OPTIONS
    assert raised.value.status_code == 400
    parameters = raised.value.refusal.parameters
    return str(parameters["field"]), str(parameters["problem"])


# --- bodies ----------------------------------------------------------------------------------------------------------

OPTIONS = {"project": "lab", "image": "plain:1"}


@pytest.mark.parametrize(
    ("body", "options", "name"),
    [
        (b"", None, None),
        (b" \n", None, None),
        ({}, None, None),
        (OPTIONS, OPTIONS, None),
        ({"user_options": OPTIONS}, OPTIONS, None),
        ({"user_options": {}}, {}, None),
        ({"user_options": None}, None, None),
        ({"display_name": "課程 1"}, None, "課程 1"),
        ({"display_name": "", "user_options": OPTIONS}, OPTIONS, ""),
        ({"display_name": "a  b ", "user_options": OPTIONS}, OPTIONS, "a  b "),
        (b'{"project": "a", "project": "lab"}', {"project": "lab"}, None),
    ],
    ids=[
        "nothing",
        "white space",
        "an empty object",
        "options at the top",
        "options",
        "empty options",
        "options that are null",
        "a display name",
        "an empty display name",
        "spaces in a display name",
        "a key twice",
    ],
)
def test_bodies_of_both_shapes_are_read(body: object, options: object, name: object) -> None:
    assert start_body(body) == {"user_options": options, "display_name": name}


@pytest.mark.parametrize(
    ("body", "field", "what"),
    [
        (b"[]", "", "not-an-object"),
        (b"null", "", "not-an-object"),
        (b"0", "", "not-an-object"),
        (b"{", "", "not-json"),
        (b"\xff", "", "not-json"),
        ('{"project": "lab"}'.encode("utf-16"), "", "not-json"),
        (b"\xef\xbb\xbf{}", "", "not-json"),
        (b"[" * 10_000, "", "not-json"),
        (b'{"acceleratorCount": ' + b"9" * 5000 + b"}", "", "not-json"),
        (b" " * (MAX_BODY + 1), "", "too-long"),
        ({"user_options": []}, "", "not-an-object"),
        ({"user_options": OPTIONS, "extra": 1}, "extra", "unknown-key"),
        ({"environment": {}}, "environment", "unknown-key"),
        ({"display_name": 1}, "display_name", "not-text"),
        ({"display_name": None}, "display_name", "not-text"),
        ({"display_name": "x" * 256}, "display_name", "too-long"),
        ({"display_name": "a\nb"}, "display_name", "unprintable"),
        ({"display_name": "\u202eb"}, "display_name", "unprintable"),
        ({"display_name": "\ud800"}, "display_name", "unprintable"),
    ],
)
def test_other_bodies_are_refused(body: object, field: str, what: str) -> None:
    assert problem(body) == (field, what)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.characters(categories=["Cs"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
bodies = st.binary(max_size=60) | json_values | st.fixed_dictionaries(
    {}, optional={"user_options": json_values, "display_name": json_values, "project": json_values, "name": json_values}
)


def read_or_refused(body: object) -> dict[str, Any] | SpawnRefused:
    try:
        return start_body(body)
    except SpawnRefused as error:
        return error


@given(bodies)
def test_any_body_is_read_or_refused_and_what_is_read_can_be_stored(body: object) -> None:
    read = read_or_refused(body)
    if isinstance(read, SpawnRefused):
        assert read.refusal.reason is Reason.INVALID_OPTIONS
        assert read.jupyterhub_message.encode()
        return
    assert set(read) == {"user_options", "display_name"}
    (read["display_name"] or "").encode()
    if read["user_options"] is not None:
        assert isinstance(parse_options(read["user_options"]), Options)
        json.dumps(read["user_options"], ensure_ascii=False).encode()


# --- rows of starts that were refused --------------------------------------------------------------------------------


class Database:
    def __init__(self) -> None:
        self.deleted: list[object] = []
        self.commits = 0

    def delete(self, row: object) -> None:
        self.deleted.append(row)

    def commit(self) -> None:
        self.commits += 1


@pytest.mark.parametrize("active", [False, True], ids=["it never started", "another request starts it"])
def test_only_a_server_that_is_nobody_s_is_forgotten(active: bool) -> None:
    rows = {"": object(), "two": object()}
    spawners = {name: SimpleNamespace(active=active) for name in rows}
    user = SimpleNamespace(name="ada", orm_spawners=rows, spawners=spawners)
    handler = SimpleNamespace(db=Database())
    for name in ("", "two", "three"):
        forget_server(handler, user, name)
    assert handler.db.deleted == ([] if active else [rows["two"]])
    assert "" in user.spawners
    assert ("two" in user.spawners) is active


# --- starts that cross -----------------------------------------------------------------------------------------------


class Slow(BaseHandler):
    """The hub's own start: it may ask the sign-in method before it says that the server is pending."""

    async def spawn_single_user(
        self, user: Any, server_name: str = "", display_name: str = "", options: dict[str, Any] | None = None
    ) -> None:
        self.calls = [*getattr(self, "calls", []), (server_name, display_name, options)]
        await self.ready


class Start(OneStart, Slow):
    pass


def a_start(user: Any, ready: asyncio.Future[None], name: str = "") -> tuple[Start, asyncio.Task[None]]:
    handler = Start.__new__(Start)
    handler.ready = ready
    return handler, asyncio.ensure_future(handler.spawn_single_user(user, name, "shown", options=OPTIONS))


def ada(**spawners: Any) -> Any:
    return SimpleNamespace(name="ada", spawners=spawners)


async def busy(task: asyncio.Task[None]) -> None:
    with pytest.raises(SpawnRefused) as raised:
        await task
    assert raised.value.refusal.reason is Reason.SERVER_BUSY
    assert raised.value.status_code == 409


async def test_the_second_of_two_starts_is_told_that_the_server_is_busy() -> None:
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    handler, first = a_start(ada(), ready)
    await asyncio.sleep(0)
    await busy(a_start(ada(), ready)[1])
    other, second_server = a_start(ada(), ready, "two")
    await asyncio.sleep(0)
    ready.set_result(None)
    await asyncio.gather(first, second_server)
    assert handler.calls == [("", "shown", OPTIONS)]
    assert other.calls == [("two", "shown", OPTIONS)]
    # Afterwards nothing stands in the way of the next one.
    await a_start(ada(), ready)[1]


async def test_a_start_of_a_server_that_is_pending_is_refused_before_the_hub_fails_on_it() -> None:
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    await busy(a_start(ada(two=SimpleNamespace(pending="stop")), ready, "two")[1])
    ready.cancel()


async def test_a_start_that_somebody_cancels_is_an_answer_to_who_waits_for_it() -> None:
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    _, waiting = a_start(ada(), ready)
    await asyncio.sleep(0)
    ready.cancel()
    await busy(waiting)


async def test_a_request_that_is_cancelled_itself_is_no_refusal() -> None:
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    _, waiting = a_start(ada(), ready)
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done.set_result(None)
    await a_start(ada(), done)[1]
