"""Kubernetes, read and written: the one module with requests to the API server, and the only watch.

`Kube` makes single requests and turns every way in which one can fail into `KubeError`. `View` follows one kind of
object in one namespace: a strong LIST, then a WATCH, for ever, with the time at which its knowledge was last true
(upstream.md 11). Objects are plain JSON dicts.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from typing import Any

import aiohttp
from kubernetes_asyncio.client import ApiClient
from kubernetes_asyncio.client.exceptions import ApiException
from kubernetes_asyncio.config import ConfigException

from aihub.errors import KubeError

__all__ = ["Kube", "View", "claims_path", "events_path", "nodes_path", "pods_path"]

log = logging.getLogger(__name__)

Document = dict[str, Any]

REQUEST_TIMEOUT = 10.0
"""Seconds for one request. A create that took longer may still have been carried out: ask before you send it again."""

LIST_SHARE = 6
"""How many times as long a LIST may take as another request."""

WATCH_SECONDS = 60
"""How long one watch lasts. A connection that died silently is noticed after it at the latest."""

# The configuration's error: the file with the hub's token cannot be read at this moment.
_UNANSWERED = (aiohttp.ClientError, ApiException, ConfigException, OSError, RuntimeError, TimeoutError)
_RETRIABLE = frozenset({429, 500, 502, 503, 504})
_FIRST_PAUSE, _LONGEST_PAUSE, _LONGEST_WISH = 0.25, 15.0, 60.0


def pods_path(namespace: str, name: str = "") -> str:
    """The address of a pod, or of all pods of a namespace."""
    return _path(namespace, "pods", name)


def claims_path(namespace: str, name: str = "") -> str:
    """The address of a PersistentVolumeClaim, or of all of a namespace."""
    return _path(namespace, "persistentvolumeclaims", name)


def events_path(namespace: str) -> str:
    """The address of all events of a namespace."""
    return _path(namespace, "events", "")


def nodes_path() -> str:
    """The address of all nodes."""
    return "/api/v1/nodes"


def _path(namespace: str, kind: str, name: str) -> str:
    return f"/api/v1/namespaces/{namespace}/{kind}" + (f"/{name}" if name else "")


class Kube:
    """Requests through one client of kubernetes_asyncio, which KubeSpawner has configured (upstream.md 38)."""

    def __init__(
        self, client: ApiClient, *, request_timeout: float = REQUEST_TIMEOUT, watch_seconds: int = WATCH_SECONDS
    ) -> None:
        """`request_timeout` and `watch_seconds` are in seconds."""
        self._client = client
        self._timeout, self._watch_seconds = request_timeout, watch_seconds

    async def create(self, path: str, document: Document) -> Document:
        """Make an object. Raises KubeError; 409 where one of that name exists."""
        return await self._send("POST", path, document)

    async def read(self, path: str) -> Document | None:
        """The object as the API server has it now, not from a cache; None where there is none. Raises KubeError."""
        try:
            return await self._send("GET", path)
        except KubeError as error:
            if error.status == 404:
                return None
            raise

    async def patch(self, path: str, document: Document) -> Document:
        """Merge `document` into an object (RFC 7386). Raises KubeError."""
        return await self._send("PATCH", path, document, content_type="application/merge-patch+json")

    async def delete(self, path: str, uid: str, *, grace: int) -> None:
        """Delete the object if it is the one with this uid; another, or none, is left alone. Raises KubeError."""
        options = {"preconditions": {"uid": uid}, "gracePeriodSeconds": grace}
        try:
            await self._send("DELETE", path, options)
        except KubeError as error:
            if error.status not in (404, 409):
                raise

    async def all(self, path: str, *, labels: str = "", fields: str = "") -> tuple[list[Document], str]:
        """All objects there are now, and the version up to which they are known. A strong read. Raises KubeError."""
        query = [("labelSelector", labels), ("fieldSelector", fields)]
        given = [(key, value) for key, value in query if value]
        # A list of thousands of objects takes its time; what must not stop is that something comes.
        patience = aiohttp.ClientTimeout(total=LIST_SHARE * self._timeout, sock_read=self._timeout)
        answer = await self._send("GET", path, query=given, patience=patience)
        items = answer.get("items") or []
        return items, answer.get("metadata", {}).get("resourceVersion", "")

    async def watch(
        self,
        path: str,
        version: str,
        *,
        labels: str = "",
        fields: str = "",
        opened: Callable[[], None] = lambda: None,
    ) -> AsyncGenerator[Document]:
        """The changes after `version`, as watch events, for at most a minute. Raises KubeError; 410: list anew.

        `opened` is called when the API server has taken the request: events may be long in coming.
        """
        query = [
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", str(self._watch_seconds)),
            ("resourceVersion", version),
            ("labelSelector", labels),
            ("fieldSelector", fields),
        ]
        timeout = aiohttp.ClientTimeout(connect=self._timeout, total=self._watch_seconds + self._timeout)
        try:
            answer = await self._call("GET", path, None, [(key, value) for key, value in query if value], timeout)
            try:
                if answer.status >= 400:
                    raise _refused(answer.status, await answer.text(), answer.headers)
                opened()
                async for line in _lines(answer.content):
                    event = json.loads(line)
                    if event.get("type") == "ERROR":
                        raise _refused(event["object"].get("code") or 500, json.dumps(event["object"]), {})
                    yield event
            finally:
                answer.close()
        except (*_UNANSWERED, ValueError) as error:
            raise KubeError(None, f"the API server did not answer: {error!r}") from error

    async def _send(
        self,
        method: str,
        path: str,
        body: Document | None = None,
        *,
        query: list[tuple[str, str]] | None = None,
        content_type: str = "application/json",
        patience: aiohttp.ClientTimeout | None = None,
    ) -> Document:
        timeout = patience or aiohttp.ClientTimeout(total=self._timeout)
        try:
            answer = await self._call(method, path, body, query or [], timeout, content_type)
            text = await answer.text()
        except _UNANSWERED as error:
            raise KubeError(None, f"the API server did not answer: {error!r}") from error
        if answer.status >= 300:
            raise _refused(answer.status, text, answer.headers)
        try:
            document: Document = json.loads(text)
        except ValueError as error:
            raise KubeError(None, "the answer of the API server is no JSON") from error
        return document

    async def _call(
        self,
        method: str,
        path: str,
        body: Document | None,
        query: list[tuple[str, str]],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  # handed on to aiohttp
        content_type: str = "application/json",
    ) -> aiohttp.ClientResponse:
        answer: aiohttp.ClientResponse = await self._client.call_api(
            path,
            method,
            query_params=query,
            header_params={"Accept": "application/json", "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
            _preload_content=False,
            _request_timeout=timeout,
        )
        return answer


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """The lines of a stream, however long: aiohttp's own reader refuses those over 128 KiB."""
    rest = b""
    async for chunk in content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield line


def _refused(status: int, text: str, headers: Mapping[str, str]) -> KubeError:
    """The error of an answer. The Status object in its body says more than the HTTP reason (rigs.md)."""
    try:
        document = json.loads(text)
    except ValueError:
        document = {}
    message = document.get("message") if isinstance(document, dict) else None
    after = headers.get("Retry-After", "")
    return KubeError(
        status,
        message or text[:500] or f"HTTP {status}",
        reason=document.get("reason", "") if isinstance(document, dict) else "",
        retry_after=float(after) if after.isdecimal() else None,
    )


def can_heal(error: KubeError) -> bool:
    """Whether the same request may be answered differently in a moment."""
    return error.status is None or error.status in _RETRIABLE


class View:
    """What is known of one kind of object at one address, kept true by a watch that is never given up.

    `on_change` is called with the last version of each object that changed or went (its `deleted` is True then), and
    with None for each whole LIST. Nothing is ever concluded from a failed read: what was known stays, and gets old.
    """

    def __init__(
        self,
        kube: Kube,
        path: str,
        *,
        labels: str = "",
        fields: str = "",
        keep: bool = True,
        on_change: Callable[[Document | None, bool], None] = lambda _document, _deleted: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.objects: dict[str, Document] = {}
        """By name; empty where `keep` is off."""
        self.path = path
        self._kube, self._labels, self._fields = kube, labels, fields
        self._keep, self._on_change, self._clock = keep, on_change, clock
        self._true_at: float | None = None
        self._known = asyncio.Event()
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._version = ""
        self.problem: KubeError | None = None
        """Why the last request failed; None while all is well."""

    @property
    def age(self) -> float | None:
        """Seconds since the API server last confirmed what is known here; None where it never did."""
        return None if self._true_at is None else self._clock() - self._true_at

    async def known(self, seconds: float) -> bool:
        """Wait for the first LIST; whether it came in time."""
        try:
            await asyncio.wait_for(self._known.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def change(self, name: str, seconds: float) -> None:
        """Wait for the next change of the object `name`, or the next whole LIST, at most `seconds`.

        Only who waits for this object is woken: in a class that starts at once all the others wait too.
        """
        waiting = self._waiting.setdefault(name, set())
        changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.add(changed)
        try:
            await asyncio.wait_for(changed, seconds)
        except TimeoutError:
            return
        finally:
            waiting.discard(changed)
            if not waiting and self._waiting.get(name) is waiting:
                del self._waiting[name]

    async def follow(self) -> None:
        """LIST and WATCH for ever. What fails, or ends at once, is begun again after growing pauses."""
        pause = _FIRST_PAUSE / 2
        while True:
            began = time.monotonic()
            asked = await self._follow_once()
            pause = _FIRST_PAUSE if time.monotonic() - began > pause else min(2 * pause, _LONGEST_PAUSE)
            await asyncio.sleep(max(pause, min(asked, _LONGEST_WISH)))

    async def _follow_once(self) -> float:
        """One watch, after a LIST where it needs one; how long the API server asks to be left alone, in seconds."""
        try:
            if not self._version:
                await self._list()
            await self._watch()
        except KubeError as error:
            # Without an answer nothing was lost: the next watch goes on where this one was. Anything else may hide
            # changes. A version that the API server has forgotten is no failure.
            self._version = self._version if error.status is None else ""
            if error.status != 410:
                self._failed(error)
            return error.retry_after or 0.0
        except Exception:
            # Whatever it was, nobody would notice that the view stands still (upstream.md 11).
            log.exception("Following %s failed; trying again", self.path)
            self._version = ""
        return 0.0

    def _failed(self, error: KubeError) -> None:
        if self.problem is None or self.problem.status != error.status:
            log.warning("Cannot follow %s: %s", self.path, error)
        self.problem = error

    async def _list(self) -> None:
        items, version = await self._kube.all(self.path, labels=self._labels, fields=self._fields)
        old, self.objects = self.objects, {each["metadata"]["name"]: each for each in items if self._keep}
        self._version, self.problem = version, None
        self._confirm()
        self._known.set()
        for name, each in old.items():
            # It went while nobody looked.
            if self.objects.get(name, {}).get("metadata", {}).get("uid") != each["metadata"].get("uid"):
                self._on_change(each, True)
        self._tell(None, deleted=False)

    async def _watch(self) -> None:
        watch = self._kube.watch(
            self.path, self._version, labels=self._labels, fields=self._fields, opened=self._reached
        )
        async with aclosing(watch) as events:
            async for event in events:
                document = event["object"]
                self._confirm()
                if event["type"] != "BOOKMARK":
                    self._take(document, deleted=event["type"] == "DELETED")
                self._version = document["metadata"].get("resourceVersion", self._version)
        # It ended as it was asked to: up to here the API server was there.
        self._confirm()

    def _reached(self) -> None:
        self.problem = None

    def _take(self, document: Document, *, deleted: bool) -> None:
        name = document["metadata"]["name"]
        if deleted:
            self.objects.pop(name, None)
        elif self._keep:
            self.objects[name] = document
        self._tell(document, deleted=deleted)

    def _confirm(self) -> None:
        self._true_at = self._clock()

    def _tell(self, document: Document | None, *, deleted: bool) -> None:
        self._on_change(document, deleted)
        names = self._waiting if document is None else (document["metadata"]["name"],)
        for changed in (each for name in names for each in self._waiting.get(name, ())):
            if not changed.done():
                changed.set_result(None)
