"""An API server to test against: real HTTP on 127.0.0.1, objects in memory, and faults on demand.

It speaks what AIHub uses: objects at `/api/v1/…` made, read, listed, patched (RFC 7386), deleted under a precondition,
and watched from a resource version with bookmarks; 401 to 422 as Status objects. It does what the API server does at
once, and what scheduler and kubelet do only when a test says so.
"""

from __future__ import annotations

import asyncio
import copy
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web
from kubernetes_asyncio.client import ApiClient, Configuration

__all__ = ["CUT", "HANG", "LOSE", "SLOW", "Answer", "FakeKube", "client_of", "fake_kube"]

Document = dict[str, Any]

TIME = "2026-11-22T12:00:00Z"
_PATH = re.compile(r"/api/v1/(?:namespaces/(?P<namespace>[^/]+)/)?(?P<kind>[a-z]+)(?:/(?P<name>[^/]+))?")
_KINDS = {"pods": "Pod", "persistentvolumeclaims": "PersistentVolumeClaim", "events": "Event", "nodes": "Node"}


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer in place of the real one; nothing is carried out."""

    status: int
    message: str = "refused"
    reason: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    text: str | None = None
    """Instead of a Status object, as something between here and the API server says it."""


LOSE = "lose"
"""The request is carried out, and its answer does not arrive."""
CUT = "cut"
"""The connection ends without an answer; nothing is carried out."""
SLOW = "slow"
"""The answer comes in many small pieces, each after a moment."""
HANG = "hang"
"""No answer, no end of the connection; nothing is carried out."""


@dataclass(slots=True)
class _Fault:
    method: str
    fragment: str
    how: Answer | str
    times: int


class FakeKube:
    """The API server. `objects` is what it has, by collection and name; change it by the methods only."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Document]] = {}
        self.requests: list[tuple[str, str]] = []
        """Method and path with the query, of all requests."""
        self.tokens: list[str] = []
        """What the requests proved themselves with."""
        self.deletions: list[tuple[str, Document]] = []
        """Path and options of all DELETE requests."""
        self.namespaces: set[str] | None = None
        """Those that exist; None: all."""
        self.lingers = False
        """Whether a deleted pod stays, terminating, until `finish`."""
        self.admit: Callable[[str, Document], Answer | None] = lambda _path, _document: None
        self.created: Callable[[str, Document], None] = lambda _path, _document: None
        """Called with each object that was made: what scheduler and kubelet would do."""
        self.port = 0
        self._version = 100
        self._oldest = 0
        self._uids = 0
        self._history: list[tuple[int, str, str, Document]] = []
        self._changed = asyncio.Event()
        self._faults: list[_Fault] = []
        self._runner: web.AppRunner | None = None
        self._watches: set[asyncio.Task[Any]] = set()

    # --- the server --------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def begin(self) -> None:
        """Listen, after `end` at the same port."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def end(self) -> None:
        """Be away: connections end, new ones are refused."""
        self.cut_watches()
        if self._runner is not None:
            await self._runner.cleanup()
        self._runner = None

    def cut_watches(self) -> None:
        """End the connections of all watches."""
        for task in tuple(self._watches):
            task.cancel()

    @property
    def watching(self) -> int:
        """How many watches are open."""
        return len(self._watches)

    # --- what tests do -----------------------------------------------------------------------------------------------

    def fault(self, method: str, fragment: str, how: Answer | str, times: int = 1) -> None:
        """Treat the next requests of that method whose path and query contain `fragment` so."""
        self._faults.append(_Fault(method, fragment, how, times))

    def heal(self) -> None:
        """No more faults."""
        self._faults.clear()

    def forget(self) -> None:
        """Compact: versions before now are too old to watch from."""
        self._oldest = self._version
        self._history.clear()

    def bookmark(self, collection: str) -> None:
        """Tell the watches how far they are, without a change."""
        self._record(collection, "BOOKMARK", {"kind": "Pod", "metadata": {"resourceVersion": str(self._next())}})

    def put(self, collection: str, document: Document) -> Document:
        """Make an object, or replace it, as somebody else would."""
        name = document["metadata"]["name"]
        objects = self.objects.setdefault(collection, {})
        kind = "MODIFIED" if name in objects else "ADDED"
        document = copy.deepcopy(document)
        metadata = document["metadata"]
        metadata.setdefault("uid", self._new_uid() if kind == "ADDED" else objects[name]["metadata"]["uid"])
        metadata["resourceVersion"] = str(self._next())
        metadata.setdefault("creationTimestamp", TIME)
        objects[name] = document
        self._record(collection, kind, document)
        return copy.deepcopy(document)

    def change(self, collection: str, name: str, **parts: Any) -> Document:
        """Replace parts of an object, `status` for one."""
        return self.put(collection, {**self.objects[collection][name], **parts})

    def remove(self, collection: str, name: str) -> None:
        """Delete an object, at once."""
        document = copy.deepcopy(self.objects[collection].pop(name))
        document["metadata"]["resourceVersion"] = str(self._next())
        self._record(collection, "DELETED", document)

    def finish(self) -> None:
        """Terminating objects are gone."""
        for collection, objects in self.objects.items():
            for name in [name for name, each in objects.items() if "deletionTimestamp" in each["metadata"]]:
                self.remove(collection, name)

    def count(self, method: str, fragment: str) -> int:
        """How many such requests arrived."""
        return sum(1 for each, path in self.requests if each == method and fragment in path)

    # --- requests ----------------------------------------------------------------------------------------------------

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        asked = request.path_qs
        self.requests.append((request.method, asked))
        self.tokens.append(request.headers.get("Authorization", ""))
        found = _PATH.fullmatch(request.path)
        if found is None:
            return _refuse(Answer(404, "the server could not find the requested resource", "NotFound"))
        how = self._fault_for(request.method, asked)
        if isinstance(how, Answer):
            return _refuse(how)
        if how == HANG:
            await asyncio.Event().wait()
        if how == CUT:
            return _no_answer(request)
        if how == SLOW:
            return await _drip(request, self._answer(request, request.path, found["name"], {}))
        collection, name = (
            request.path.removesuffix(f"/{found['name']}") if found["name"] else request.path,
            found["name"],
        )
        if request.query.get("watch") == "true":
            return await self._watch(request, collection)
        body = await request.json() if request.can_read_body else {}
        answer = self._answer(request, collection, name, body)
        return _no_answer(request) if how == LOSE else answer

    def _fault_for(self, method: str, asked: str) -> Answer | str | None:
        for fault in self._faults:
            if fault.method == method and fault.fragment in asked and fault.times > 0:
                fault.times -= 1
                return fault.how
        return None

    def _answer(self, request: web.Request, collection: str, name: str | None, body: Document) -> web.Response:
        objects = self.objects.setdefault(collection, {})
        match request.method, name:
            case "GET", None:
                return web.json_response(self._list(request, objects))
            case "POST", None:
                return self._create(collection, body)
            case method, str() if name not in objects:
                assert method in {"GET", "PATCH", "DELETE"}
                kind = collection.rpartition("/")[2]
                return _refuse(Answer(404, f'{kind} "{name}" not found', "NotFound"))
            case "GET", str():
                return web.json_response(objects[name])
            case "PATCH", str():
                assert request.content_type == "application/merge-patch+json"
                return web.json_response(self.put(collection, _merged(objects[name], body)))
            case "DELETE", str():
                self.deletions.append((request.path, body))
                return self._delete(collection, name, body)
        return _refuse(Answer(405, "the server does not allow this method", "MethodNotAllowed"))

    def _list(self, request: web.Request, objects: dict[str, Document]) -> Document:
        # Lists come without kind and apiVersion of their items, as the API server's do.
        items = [
            {key: value for key, value in each.items() if key not in {"kind", "apiVersion"}}
            for each in objects.values()
            if _selected(each, request)
        ]
        return {"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": str(self._version)}, "items": items}

    def _create(self, collection: str, body: Document) -> web.Response:
        kind, name, namespace = collection.rpartition("/")[2], body["metadata"]["name"], collection.split("/")[4]
        if self.namespaces is not None and namespace not in self.namespaces:
            return _refuse(Answer(404, f'namespaces "{namespace}" not found', "NotFound"))
        if name in self.objects.setdefault(collection, {}):
            return _refuse(Answer(409, f'{kind} "{name}" already exists', "AlreadyExists"))
        refused = self.admit(collection, body)
        if refused is not None:
            return _refuse(refused)
        status = {"phase": "Pending", **({"qosClass": "Burstable"} if kind == "pods" else {})}
        made = self.put(collection, {**body, "status": status})
        self.created(collection, made)
        return web.json_response(made, status=201)

    def _delete(self, collection: str, name: str, options: Document) -> web.Response:
        found = self.objects[collection][name]
        wanted = options.get("preconditions", {}).get("uid")
        if wanted is not None and wanted != found["metadata"]["uid"]:
            uid = found["metadata"]["uid"]
            problem = f"the UID in the precondition ({wanted}) does not match the UID in record ({uid})"
            return _refuse(Answer(409, f'Operation cannot be fulfilled on "{name}": {problem}', "Conflict"))
        grace = options.get("gracePeriodSeconds", 30)
        marked = {"deletionTimestamp": TIME, "deletionGracePeriodSeconds": grace}
        document = self.change(collection, name, metadata={**found["metadata"], **marked})
        if not self.lingers or grace == 0:
            self.remove(collection, name)
        return web.json_response(document)

    # --- watches -----------------------------------------------------------------------------------------------------

    async def _watch(self, request: web.Request, collection: str) -> web.StreamResponse:
        version = int(request.query["resourceVersion"])
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        if version < self._oldest:
            gone = Answer(410, f"too old resource version: {version} ({self._oldest})", "Expired")
            await _send(response, "ERROR", _status_of(gone))
            return response
        task = asyncio.ensure_future(self._follow(request, response, collection, version))
        self._watches.add(task)
        try:
            await asyncio.wait_for(task, float(request.query["timeoutSeconds"]))
        except TimeoutError:
            return response
        except asyncio.CancelledError:
            if not task.cancelled():
                raise
            _close(request)
        finally:
            task.cancel()
            self._watches.discard(task)
        return response

    async def _follow(self, request: web.Request, response: web.StreamResponse, collection: str, version: int) -> None:
        while True:
            changed = self._changed
            for number, where, kind, document in tuple(self._history):
                wanted = kind != "BOOKMARK" or request.query.get("allowWatchBookmarks") == "true"
                if (
                    number > version
                    and where == collection
                    and wanted
                    and (kind == "BOOKMARK" or _selected(document, request))
                ):
                    await _send(response, kind, document)
            version = max([version, *(number for number, *_ in self._history)])
            await changed.wait()

    def _record(self, collection: str, kind: str, document: Document) -> None:
        self._history.append((self._version, collection, kind, copy.deepcopy(document)))
        self._changed.set()
        self._changed = asyncio.Event()

    def _next(self) -> int:
        self._version += 1
        return self._version

    def _new_uid(self) -> str:
        self._uids += 1
        return f"uid-{self._uids}"


def _wanted(kind: str, document: Document, request: web.Request) -> bool:
    if kind == "BOOKMARK":
        return request.query.get("allowWatchBookmarks") == "true"
    return _selected(document, request)


async def _send(response: web.StreamResponse, kind: str, document: Document) -> None:
    await response.write(json.dumps({"type": kind, "object": document}).encode() + b"\n")


async def _drip(request: web.Request, answer: web.Response) -> web.StreamResponse:
    body, response = str(answer.text).encode(), web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    for start in range(0, len(body), len(body) // 8 + 1):
        await asyncio.sleep(0.25)
        await response.write(body[start : start + len(body) // 8 + 1])
    return response


def _no_answer(request: web.Request) -> web.Response:
    _close(request)
    return web.Response()


def _close(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def _refuse(answer: Answer) -> web.Response:
    if answer.text is not None:
        return web.Response(status=answer.status, text=answer.text, headers=answer.headers)
    return web.json_response(_status_of(answer), status=answer.status, headers=answer.headers)


def _status_of(answer: Answer) -> Document:
    parts = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    return {**parts, "message": answer.message, "reason": answer.reason, "code": answer.status}


def _merged(document: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), value)
    return merged


def _selected(document: Document, request: web.Request) -> bool:
    labels = document["metadata"].get("labels", {})
    for key, value in _pairs(request.query.get("labelSelector", "")):
        if labels.get(key) != value:
            return False
    for key, value in _pairs(request.query.get("fieldSelector", "")):
        found: Any = document
        for part in key.split("."):
            found = found.get(part, {}) if isinstance(found, dict) else {}
        if found != value:
            return False
    return True


def _pairs(selector: str) -> list[tuple[str, str]]:
    parts = (part.partition("=") for part in selector.split(",") if part)
    return [(key, value) for key, _, value in parts]


# --- clients ---------------------------------------------------------------------------------------------------------


def client_of(fake: FakeKube) -> ApiClient:
    """A client of kubernetes_asyncio that talks to it."""
    return ApiClient(Configuration(host=fake.url))


def write_kubeconfig(fake: FakeKube, path: Path) -> None:
    """A kubeconfig with which `load_config` finds it."""
    one = "fake"
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": one,
                "clusters": [{"name": one, "cluster": {"server": fake.url}}],
                "contexts": [{"name": one, "context": {"cluster": one, "user": one}}],
                "users": [{"name": one, "user": {"token": "t"}}],
            }
        )
    )


@asynccontextmanager
async def fake_kube() -> AsyncIterator[FakeKube]:
    """One that listens."""
    fake = FakeKube()
    await fake.begin()
    try:
        yield fake
    finally:
        await fake.end()
