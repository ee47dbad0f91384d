"""Calls to a sign-in provider: one bounded request over HTTP, and what a provider's failure is.

    AIHubError
    └── ProviderError
        ├── ProviderDown      no answer, or one that says nothing about anybody (5xx, 429)
        ├── ProviderRefused   an answer, and it is no; carries the OAuth error code
        └── ProviderWrong     an answer that cannot be right, or a mistake in our own settings

No text of an error, no `repr` and no log line holds a secret, a token or a code: of what a provider says only plain
words are repeated.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlencode, urlsplit

from tornado.httpclient import HTTPRequest, HTTPResponse
from tornado.httputil import HTTPInputError
from tornado.iostream import UnsatisfiableReadError
from tornado.simple_httpclient import HTTPStreamClosedError, HTTPTimeoutError, SimpleAsyncHTTPClient

from aihub.errors import AIHubError

__all__ = [
    "Call",
    "Caller",
    "Fetch",
    "Http",
    "ProviderDown",
    "ProviderError",
    "ProviderRefused",
    "ProviderWrong",
    "Reply",
    "json_object",
    "json_value",
    "origin_of",
    "post_form",
    "refused",
    "retry_after",
    "settled",
    "token_of",
]

CONNECT_SECONDS = 5.0
REQUEST_SECONDS = 10.0
MAX_BODY = 1 << 20
MAX_HEADERS = 1 << 16
MAX_TOKEN = 1 << 16
"""Characters that a token may have, as `aihub.tokens` has it."""
MAX_WAIT = 300.0
"""Seconds that a provider's Retry-After may keep us from asking again."""
LONGEST_BACK_OFF = 30.0


class ProviderError(AIHubError):
    """The provider did not do what it was asked. `endpoint` names what was asked (`token`, `keys`, …)."""

    def __init__(self, endpoint: str, problem: str) -> None:
        super().__init__(f"{endpoint}: {problem}")
        self.endpoint = endpoint
        self.problem = problem


class ProviderDown(ProviderError):
    """No answer, or one that says nothing about anybody. `retry_after` is in seconds, None where nothing was said."""

    def __init__(self, endpoint: str, problem: str, retry_after: float | None = None) -> None:
        super().__init__(endpoint, problem)
        self.retry_after = retry_after


class ProviderRefused(ProviderError):
    """The provider answered no.

    `error` is an OAuth error code (RFC 6749 §5.2, RFC 6750 §3.1), `status` that of HTTP.
    """

    def __init__(self, endpoint: str, error: str, status: int, words: str = "") -> None:
        super().__init__(endpoint, f"{status} {error}{f' ({words})' if words else ''}")
        self.error = error
        self.status = status

    @property
    def ended(self) -> bool:
        """Whether the grant or the session is over; else it is this hub that the provider does not accept."""
        return self.error in {"invalid_grant", "invalid_token"}


class ProviderWrong(ProviderError):
    """An answer that cannot be right, or settings of ours with which none can come: the admin's to mend."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request. `endpoint` is the name that errors give it; headers and body hold secrets."""

    endpoint: str
    url: str
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    body: bytes | None = field(default=None, repr=False)
    method: str = "GET"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, whatever its status. The names of headers are in lower case."""

    status: int
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    body: bytes = field(default=b"", repr=False)


Value = TypeVar("Value")
Fetch = Callable[[Call], Awaitable[Reply]]
"""Carries out a call; raises ProviderDown when no answer came and ProviderWrong when none can."""


def post_form(endpoint: str, url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> Call:
    """A POST of `form`, which asks for JSON."""
    kind = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    return Call(endpoint, url, {**kind, **headers}, urlencode(form).encode(), "POST")


class Http:
    """Carries out calls with tornado's client: no redirects, no proxies, bounded in time and size.

    `ca_file` is whom TLS trusts instead of the system's list; it is read again when it changes. With `see_redirects` an
    answer that is a redirect is returned, not followed either. Seconds and bytes.
    """

    def __init__(
        self,
        ca_file: str = "",
        *,
        connect: float = CONNECT_SECONDS,
        total: float = REQUEST_SECONDS,
        max_body: int = MAX_BODY,
        see_redirects: bool = False,
    ) -> None:
        self._see_redirects = see_redirects
        self._ca_file = ca_file
        self._connect = connect
        self._total = total
        self._max_body = max_body
        self._client: SimpleAsyncHTTPClient | None = None
        self._trust: tuple[tuple[int, int], ssl.SSLContext] | None = None

    async def __call__(self, call: Call) -> Reply:
        """The answer to `call`.

        Raises ProviderDown (DNS, refused, time, TLS) and ProviderWrong (a redirect, too large, not an address).
        """
        taken = _Taken(self._max_body)
        request = HTTPRequest(
            call.url,
            method=call.method,
            headers=dict(call.headers),
            body=call.body,
            allow_nonstandard_methods=call.method == "DELETE",
            connect_timeout=self._connect,
            request_timeout=self._total,
            follow_redirects=False,
            # What is unpacked is not counted by tornado, so nothing packed is asked for.
            decompress_response=False,
            ssl_options=self.trust(call.endpoint),
            user_agent="AIHub",
            header_callback=taken.header,
            streaming_callback=taken.body,
        )
        response = await self._response(call.endpoint, request, taken)
        if taken.too_large:
            raise _too_large(call.endpoint)
        if 300 <= response.code < 400 and not self._see_redirects:
            raise ProviderWrong(call.endpoint, f"answered {response.code}, a redirect, and none is followed")
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Reply(response.code, headers, taken.bytes)

    async def _response(self, endpoint: str, request: HTTPRequest, taken: _Taken) -> HTTPResponse:
        if self._client is None:
            self._client = SimpleAsyncHTTPClient(
                force_instance=True, max_clients=64, max_body_size=4 * self._max_body, max_header_size=MAX_HEADERS
            )
        # Causes are left out of the chain: tornado's may quote a line of the request, and that has the secret.
        try:
            return await self._client.fetch(request, raise_error=False)
        except HTTPTimeoutError:
            raise ProviderDown(endpoint, "no answer in time") from None
        except HTTPStreamClosedError:
            if taken.too_large:
                raise _too_large(endpoint) from None
            raise ProviderDown(endpoint, "the connection ended without a whole answer") from None
        except ssl.SSLCertVerificationError as error:
            raise ProviderDown(endpoint, f"its certificate is not trusted: {error.verify_message}") from None
        except ssl.SSLError as error:
            raise ProviderDown(endpoint, f"TLS failed: {error.reason or 'no reason given'}") from None
        except OSError as error:
            raise ProviderDown(endpoint, error.strerror or type(error).__name__) from None
        except (HTTPInputError, UnsatisfiableReadError, ValueError, KeyError):
            raise ProviderWrong(endpoint, "its address or its answer is not HTTP") from None

    def trust(self, endpoint: str) -> ssl.SSLContext | None:
        """Whom TLS trusts; None: the system's list. Raises ProviderWrong when the CA file cannot be read."""
        if not self._ca_file:
            return None
        try:
            status = Path(self._ca_file).stat()
            state = (status.st_mtime_ns, status.st_size)
            if self._trust is None or self._trust[0] != state:
                self._trust = (state, ssl.create_default_context(cafile=self._ca_file))
        except (OSError, ssl.SSLError) as error:
            raise ProviderWrong(endpoint, f"the CA file {self._ca_file} cannot be read: {error.strerror}") from None
        return self._trust[1]


class _Taken:
    """What has come of an answer, up to the limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts = bytearray()
        self.too_large = False

    def header(self, line: str) -> None:
        name, _, value = line.partition(":")
        if name.lower() == "content-length" and value.strip().isdecimal():
            self.too_large |= len(value.strip()) > 15 or int(value) > self._limit

    def body(self, part: bytes) -> None:
        self.too_large |= len(self._parts) + len(part) > self._limit
        if not self.too_large:
            self._parts += part

    @property
    def bytes(self) -> bytes:
        return bytes(self._parts)


def _too_large(endpoint: str) -> ProviderWrong:
    return ProviderWrong(endpoint, "the answer is larger than 1 MiB")


def origin_of(url: str) -> str:
    """Scheme, host and port of `url`, normalised; empty where it is no http(s) address or brings a user or password."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    except ValueError:
        return ""
    if not port or not parts.hostname or "@" in parts.netloc or not url.isascii() or not url.isprintable():
        return ""
    return f"{parts.scheme}://{parts.hostname}:{port}"


def settled(reply: Reply, endpoint: str, now: float) -> Reply:
    """`reply`, unless it says nothing about anybody: raises ProviderDown for 408, 429 and 5xx."""
    if reply.status in {408, 429} or reply.status >= 500:
        raise ProviderDown(endpoint, f"answered {reply.status}", retry_after(reply, now))
    return reply


def retry_after(reply: Reply, now: float) -> float | None:
    """Seconds that the answer asks to wait, from 0 to 300 (RFC 9110 §10.2.3: seconds or a date); None: nothing said."""
    written = reply.headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,10}", written):
        return min(float(written), MAX_WAIT)
    with contextlib.suppress(ValueError, OverflowError):
        moment = parsedate_to_datetime(written)
        return min(max(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - now, 0.0), MAX_WAIT)
    return None


def json_value(reply: Reply, endpoint: str) -> Any:
    """What the body holds; raises ProviderWrong when that is not JSON."""
    try:
        return json.loads(reply.body, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        # The cause would carry the whole body.
        raise ProviderWrong(endpoint, f"answered {reply.status} with something that is not JSON") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def json_object(reply: Reply, endpoint: str) -> Mapping[str, Any]:
    """The object in the body; raises ProviderWrong when there is none."""
    document = json_value(reply, endpoint)
    if not isinstance(document, dict):
        raise ProviderWrong(endpoint, f"answered {reply.status} with JSON that is not an object")
    return document


def token_of(document: Mapping[str, Any], key: str, endpoint: str) -> str:
    """The token at `key`, empty where there is none; raises ProviderWrong when it has no form of a token.

    A token is printable ASCII (RFC 6749 appendix A), so that it can stand in a header.
    """
    value = document.get(key, "")
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MAX_TOKEN or not re.fullmatch(r"[\x21-\x7e]*", value):
        raise ProviderWrong(endpoint, f"its {key} does not have the form of a token")
    return value


def refused(
    endpoint: str, reply: Reply, document: Mapping[str, Any], sent: tuple[str, ...] = ()
) -> ProviderDown | ProviderRefused:
    """The error that an OAuth error answer stands for; of its description only words that hold nothing of `sent`."""
    written = document.get("error")
    error = written if isinstance(written, str) and re.fullmatch(r"[a-z][a-z_]{0,63}", written) else "unknown_error"
    if error in {"server_error", "temporarily_unavailable"}:
        return ProviderDown(endpoint, f"answered {reply.status} {error}")
    if any(secret and secret in error for secret in sent):
        error = "unknown_error"
    return ProviderRefused(endpoint, error, reply.status, _plain(document.get("error_description"), sent))


def _plain(text: object, sent: tuple[str, ...]) -> str:
    if not isinstance(text, str) or any(secret and secret in text for secret in sent):
        return ""
    words = text[:200].split()
    return " ".join(word if re.fullmatch(r"['\"(]?[A-Za-z_-]{1,24}['\")]?[.,:;]?", word) else "…" for word in words)


@dataclass(slots=True)
class _Endpoint:
    since: float | None = None
    failures: int = 0
    until: float = 0.0


class Caller:
    """Calls the endpoints of a provider, and leaves those alone for a while that do not answer.

    `clock` gives seconds since the epoch. After a failure that concerns everybody an endpoint is not asked for 1, 2, 4,
    … 30 s, or for as long as its Retry-After says.
    """

    def __init__(self, fetch: Fetch, clock: Callable[[], float]) -> None:
        self._fetch = fetch
        self._clock = clock
        self._endpoints: dict[str, _Endpoint] = {}
        self.last_answer: float | None = None
        """When the provider gave its last usable answer; a refusal is one."""

    @property
    def down_since(self) -> float | None:
        """Since when an endpoint has given no usable answer; None: each did when it was asked last."""
        return min((each.since for each in self._endpoints.values() if each.since is not None), default=None)

    async def ask(
        self, call: Call, understand: Callable[[Reply], Value], *, personal: bool = False, own_limit: bool = False
    ) -> Value:
        """What `understand` makes of the answer, which may be one of 5xx.

        An endpoint that answers for single persons (`personal`) is left alone only when it says nothing at all, twice,
        or asks for it: an error about one person must not keep others from asking. With `own_limit` a Retry-After
        concerns that person only.
        """
        self.check(call.endpoint)
        try:
            reply = await self._fetch(call)
        except ProviderError as error:
            self._failed(call.endpoint, error, patience=1 if personal else 0)
            raise
        try:
            understood = understand(reply)
        except ProviderRefused:
            self._answered(call.endpoint)
            raise
        except ProviderError as error:
            if not (own_limit and isinstance(error, ProviderDown) and error.retry_after is not None):
                self._failed(call.endpoint, error, patience=math.inf if personal else 0)
            raise
        self._answered(call.endpoint)
        return understood

    def check(self, endpoint: str) -> None:
        """Raises ProviderDown while `endpoint` is left alone."""
        wait = self.wait(endpoint)
        if wait:
            raise ProviderDown(endpoint, "it did not answer a moment ago and is left alone for now", wait)

    def wait(self, endpoint: str) -> float:
        """Seconds for which `endpoint` is left alone."""
        known, now = self._endpoints.get(endpoint), self._clock()
        # A clock that was set back must not make a short pause a long one.
        return 0.0 if known is None or known.until - now > MAX_WAIT else max(known.until - now, 0.0)

    def _answered(self, endpoint: str) -> None:
        self._endpoints.pop(endpoint, None)
        self.last_answer = self._clock()

    def _failed(self, endpoint: str, error: ProviderError, *, patience: float) -> None:
        known, now = self._endpoints.setdefault(endpoint, _Endpoint()), self._clock()
        known.since = now if known.since is None else known.since
        known.failures += 1
        pause = error.retry_after if isinstance(error, ProviderDown) else None
        if pause is None and known.failures > patience:
            pause = min(2.0 ** min(known.failures - patience - 1, 10), LONGEST_BACK_OFF)
        known.until = max(known.until, now + (pause or 0.0))
