"""An OpenID Connect provider as the hub asks it: discovery, keys, tokens, userinfo.

OpenID Connect Discovery 1.0 and Core 1.0; what the tokens mean is decided in `aihub.tokens` and `aihub.claims`.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import math
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import quote_plus, urlencode, urlsplit

from aihub.calls import (
    Call,
    Caller,
    Fetch,
    Http,
    ProviderDown,
    ProviderError,
    ProviderRefused,
    ProviderWrong,
    Reply,
    json_object,
    origin_of,
    post_form,
    refused,
    settled,
    token_of,
)
from aihub.identity import OidcProvider
from aihub.tokens import Keys, Logout, TokenRefused, UnknownKey, check_access_token, check_id_token, check_logout_token

__all__ = [
    "Metadata",
    "OidcClient",
    "ProviderDown",
    "ProviderError",
    "ProviderRefused",
    "ProviderWrong",
    "Tokens",
    "authorization_url",
    "secret_from",
]

log = logging.getLogger(__name__)

DISCOVERY, TOKEN, KEYS, USERINFO = "discovery", "token", "keys", "userinfo"
METADATA_SECONDS = 3600.0
KEYS_SECONDS = 3600.0
FRESH_KEYS_SECONDS = 30.0
"""The least time between two fetches of the keys that a key id nobody knows asks for: tokens are anybody's to send."""

Value = TypeVar("Value")


def secret_from(environment: Mapping[str, str] = os.environ) -> Callable[[], str]:
    """Reads the client secret anew at every call, so that a new one counts without a restart.

    From the file that AIHUB_CLIENT_SECRET_FILE names, else from AIHUB_CLIENT_SECRET; empty: a public client. What is
    returned raises ProviderWrong when the file cannot be read.
    """

    def secret() -> str:
        file = environment.get("AIHUB_CLIENT_SECRET_FILE", "")
        if not file:
            return environment.get("AIHUB_CLIENT_SECRET", "").strip()
        try:
            return Path(file).read_text("utf-8").strip()
        except OSError as error:
            raise ProviderWrong("client secret", f"{file} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError:
            # The cause would carry the file's content.
            raise ProviderWrong("client secret", f"{file} is not text") from None

    return secret


@dataclass(frozen=True, slots=True)
class Metadata:
    """What discovery says of a provider; addresses as the provider writes them, empty where it has none.

    `token_auth` and `code_challenges` are the methods it lists; `names_issuer`: its answers to the browser bring `iss`
    (RFC 9207); `back_channel_logout` and `back_channel_session`: it tells of sign-outs, and of which session.
    """

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str = ""
    end_session_endpoint: str = ""
    token_auth: tuple[str, ...] = ("client_secret_basic",)
    code_challenges: tuple[str, ...] = ()
    grants: tuple[str, ...] = ("authorization_code", "implicit")
    scopes: tuple[str, ...] = ()
    names_issuer: bool = False
    back_channel_logout: bool = False
    back_channel_session: bool = False

    @classmethod
    def of(cls, document: Mapping[str, Any], provider: OidcProvider) -> Metadata:
        """What `document` says; raises ProviderWrong when it is not `provider`'s, or lacks an address that is needed.

        The issuer must be equal to the character (Discovery §4.3). Every address is https, except on the issuer's own
        origin and the internal one: the client secret and everybody's tokens go there.
        """
        issuer = document.get("issuer")
        if issuer != provider.issuer:
            raise ProviderWrong(DISCOVERY, f"its issuer is {_shown(issuer)}, the policy file says {provider.issuer!r}")

        def address(key: str, *, needed: bool = False) -> str:
            value = document.get(key)
            if value is None and not needed:
                return ""
            if not isinstance(value, str) or not _trustworthy(value, provider):
                raise ProviderWrong(DISCOVERY, f"its {key} is {_shown(value)}, which is no https address")
            return value

        return cls(
            issuer=provider.issuer,
            authorization_endpoint=address("authorization_endpoint", needed=True),
            token_endpoint=address("token_endpoint", needed=True),
            jwks_uri=address("jwks_uri", needed=True),
            userinfo_endpoint=address("userinfo_endpoint"),
            end_session_endpoint=address("end_session_endpoint"),
            token_auth=_texts(document, "token_endpoint_auth_methods_supported") or ("client_secret_basic",),
            code_challenges=_texts(document, "code_challenge_methods_supported"),
            grants=_texts(document, "grant_types_supported") or ("authorization_code", "implicit"),
            scopes=_texts(document, "scopes_supported"),
            names_issuer=document.get("authorization_response_iss_parameter_supported") is True,
            back_channel_logout=document.get("backchannel_logout_supported") is True,
            back_channel_session=document.get("backchannel_logout_session_supported") is True,
        )


def _texts(document: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = document.get(key)
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()


def _shown(value: object) -> str:
    return "missing" if value is None else f"{value!r:.200}"


def _trustworthy(address: str, provider: OidcProvider) -> bool:
    origin = origin_of(address)
    own = {origin_of(provider.issuer), origin_of(provider.internal_url)} - {""}
    return bool(origin) and "#" not in address and (origin.startswith("https:") or origin in own)


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a provider gave for a code or a refresh token; `expires_at` in seconds since the epoch, None: not said."""

    access: str = field(repr=False)
    refresh: str = field(default="", repr=False)
    id: str = field(default="", repr=False)
    expires_at: float | None = None
    scope: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, all secrets among them."""
        return {
            "access": self.access,
            "refresh": self.refresh,
            "id": self.id,
            "expiresAt": self.expires_at,
            "scope": self.scope,
        }

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Tokens:
        """What `as_dict` wrote."""
        return cls(kept["access"], kept["refresh"], kept["id"], kept["expiresAt"], kept["scope"])

    @classmethod
    def of(cls, document: Mapping[str, Any], endpoint: str, now: float) -> Tokens:
        """What a token endpoint's answer holds (RFC 6749 §5.1); raises ProviderWrong when that is no access token."""
        access, kind = token_of(document, "access_token", endpoint), document.get("token_type")
        if not access:
            raise ProviderWrong(endpoint, "its answer holds no access_token")
        if not isinstance(kind, str) or kind.lower() != "bearer":
            raise ProviderWrong(endpoint, "its token_type is not Bearer")
        scope = document.get("scope")
        return cls(
            access,
            token_of(document, "refresh_token", endpoint),
            token_of(document, "id_token", endpoint),
            _later(now, document.get("expires_in")),
            scope if isinstance(scope, str) else "",
        )


def _later(now: float, seconds: object) -> float | None:
    """The moment `seconds` after `now`; None where that is no duration."""
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 <= seconds < 1e9:
        return None
    return now + seconds


def authorization_url(
    metadata: Metadata, provider: OidcProvider, redirect_uri: str, parameters: Mapping[str, str]
) -> str:
    """The address that a browser is sent to for a code; `parameters` are state, nonce, code_challenge and the like."""
    asked = {
        "response_type": "code",
        "client_id": provider.client_id,
        "redirect_uri": redirect_uri,
        "scope": " ".join(provider.scopes),
        **parameters,
    }
    separator = "&" if urlsplit(metadata.authorization_endpoint).query else "?"
    return f"{metadata.authorization_endpoint}{separator}{urlencode(asked)}"


class _Shared(Generic[Value]):
    """One fetch at a time, whose result everybody who asks meanwhile gets; nobody's leaving ends it for the rest."""

    def __init__(self, fetch: Callable[[], Awaitable[Value]]) -> None:
        self._fetch = fetch
        self._running: asyncio.Task[Value] | None = None

    @property
    def running(self) -> bool:
        """Whether a fetch is under way."""
        return self._running is not None and not self._running.done()

    async def __call__(self) -> Value:
        if self._running is None or self._running.done():
            self._running = asyncio.ensure_future(self._run())
            self._running.add_done_callback(_seen)
        return await asyncio.shield(self._running)

    async def _run(self) -> Value:
        return await self._fetch()


def _seen(task: asyncio.Task[Any]) -> None:
    """Everybody who waited may have left; an error that nobody hears is not one of asyncio."""
    if not task.cancelled():
        task.exception()


class OidcClient:
    """The hub's calls to one provider.

    Every method but `known` raises ProviderDown, ProviderRefused or ProviderWrong. `secret` is asked at every call that
    needs it. Discovery and keys are kept for an hour, and beyond that while the provider gives none that can be used.
    """

    def __init__(
        self,
        provider: OidcProvider,
        secret: Callable[[], str],
        *,
        clock: Callable[[], float] = time.time,
        fetch: Fetch | None = None,
    ) -> None:
        self.provider = provider
        self._secret = secret
        self._clock = clock
        self._caller = Caller(fetch or Http(provider.ca_file), clock)
        self._metadata: tuple[float, Metadata] | None = None
        self._keys: tuple[float, Keys] | None = None
        self._keys_forced = -math.inf
        self._discover = _Shared(self._fetch_metadata)
        self._rekey = _Shared(self._fetch_keys)

    @property
    def down_since(self) -> float | None:
        """Seconds since the epoch since when the provider gives no usable answer; None: it does."""
        return self._caller.down_since

    @property
    def last_answer(self) -> float | None:
        """When it gave its last usable answer, seconds since the epoch."""
        return self._caller.last_answer

    def known(self) -> Metadata | None:
        """What discovery said last, without asking."""
        return self._metadata[1] if self._metadata else None

    async def metadata(self) -> Metadata:
        """What discovery says."""
        kept, now = self._metadata, self._clock()
        if kept is not None and (_recent(kept[0], now, METADATA_SECONDS) or self._caller.wait(DISCOVERY)):
            return kept[1]
        self._caller.check(DISCOVERY)
        try:
            return await self._discover()
        except ProviderError as error:
            if kept is None:
                raise
            log.warning("The last good discovery document of %s is used on: %s", self.provider.issuer, error)
            return kept[1]

    async def probe(self, max_age: float) -> Metadata:
        """As `metadata`, but of a provider that has answered within `max_age` seconds: else it is asked now.

        A browser is not sent to a provider that hangs.
        """
        kept, now = self._metadata, self._clock()
        if kept is not None and self.down_since is None and _recent(kept[0], now, max_age):
            return kept[1]
        self._caller.check(DISCOVERY)
        return await self._discover()

    async def keys(self, *, fresh: bool = False) -> Keys:
        """The keys that the provider signs with; `fresh`: asked again, at most once in 30 s, else those known."""
        kept, now = self._keys, self._clock()
        if fresh and self._rekey.running:
            return await self._rekey()
        if kept is not None and fresh and _recent(self._keys_forced, now, FRESH_KEYS_SECONDS):
            return kept[1]
        if kept is not None and not fresh and (_recent(kept[0], now, KEYS_SECONDS) or self._caller.wait(KEYS)):
            return kept[1]
        self._caller.check(KEYS)
        if fresh:
            self._keys_forced = now
        try:
            return await self._rekey()
        except ProviderError as error:
            if kept is None or fresh:
                raise
            log.warning("The last good keys of %s are used on: %s", self.provider.issuer, error)
            return kept[1]

    async def exchange(self, code: str, redirect_uri: str, verifier: str) -> Tokens:
        """The tokens for an authorization code (Core §3.1.3); `verifier` is that of PKCE (RFC 7636)."""
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
        tokens = await self._tokens({**form, "code_verifier": verifier}, (code, verifier))
        if not tokens.id:
            raise ProviderWrong(TOKEN, "its answer holds no id_token: is this an OpenID Connect provider?")
        return tokens

    async def refresh(self, refresh_token: str) -> Tokens:
        """New tokens for a refresh token; that one again where the provider gives no new one."""
        tokens = await self._tokens({"grant_type": "refresh_token", "refresh_token": refresh_token}, (refresh_token,))
        return Tokens(tokens.access, tokens.refresh or refresh_token, tokens.id, tokens.expires_at, tokens.scope)

    async def password_grant(self, username: str, password: str) -> Tokens:
        """Tokens of a test user (RFC 6749 §4.3), for the live check only: nobody signs in this way."""
        form = {"grant_type": "password", "username": username, "password": password}
        return await self._tokens({**form, "scope": " ".join(self.provider.scopes)}, (password,))

    async def userinfo(self, access_token: str) -> Mapping[str, Any]:
        """The claims that the provider tells to whoever has `access_token` (Core §5.3)."""
        address = (await self.metadata()).userinfo_endpoint
        if not address:
            raise ProviderWrong(USERINFO, "discovery names no userinfo_endpoint")
        call = self._call(USERINFO, address, {"Authorization": f"Bearer {access_token}"})
        return await self._caller.ask(call, lambda reply: _userinfo(reply, self._clock()), personal=True)

    async def id_claims(self, token: str, nonce: str | None, subject: str | None = None) -> Mapping[str, Any]:
        """The claims of an ID token, checked (`aihub.tokens.check_id_token`, whose TokenRefused it raises)."""

        def check(keys: Keys) -> Mapping[str, Any]:
            issuer, client, now = self.provider.issuer, self.provider.client_id, self._clock()
            return check_id_token(token, keys, issuer=issuer, client_id=client, now=now, nonce=nonce, subject=subject)

        return await self._checked(check)

    async def access_claims(self, token: str) -> Mapping[str, Any]:
        """The claims of an access token of Keycloak, checked; raises TokenRefused."""

        def check(keys: Keys) -> Mapping[str, Any]:
            issuer, client = self.provider.issuer, self.provider.client_id
            return check_access_token(token, keys, issuer=issuer, client_id=client, now=self._clock())

        return await self._checked(check)

    async def logout(self, token: str) -> Logout:
        """Who a logout token signs out, checked; raises TokenRefused."""

        def check(keys: Keys) -> Logout:
            issuer, client = self.provider.issuer, self.provider.client_id
            return check_logout_token(token, keys, issuer=issuer, client_id=client, now=self._clock())

        return await self._checked(check)

    async def _checked(self, check: Callable[[Keys], Value]) -> Value:
        keys = await self.keys()
        try:
            return check(keys)
        except UnknownKey:
            renewed = await self.keys(fresh=True)
            if renewed is keys:
                raise
            return check(renewed)

    async def _fetch_metadata(self) -> Metadata:
        address = f"{self.provider.issuer.rstrip('/')}/.well-known/openid-configuration"
        metadata = await self._caller.ask(
            self._call(DISCOVERY, address, {}),
            lambda reply: Metadata.of(self._found(reply, DISCOVERY), self.provider),
        )
        self._metadata = (self._clock(), metadata)
        return metadata

    async def _fetch_keys(self) -> Keys:
        call = self._call(KEYS, (await self.metadata()).jwks_uri, {})
        keys = await self._caller.ask(call, lambda reply: _keys(self._found(reply, KEYS)))
        self._keys = (self._clock(), keys)
        return keys

    async def _tokens(self, form: Mapping[str, str], sent: tuple[str, ...]) -> Tokens:
        metadata, secret = await self.metadata(), self._secret()
        headers, proof = _client_authentication(self.provider.client_id, secret, metadata)
        call = post_form(TOKEN, self.inner(metadata.token_endpoint), {**form, **proof}, headers)
        return await self._caller.ask(
            call, lambda reply: _granted(reply, (*sent, secret), self._clock()), personal=True
        )

    def _found(self, reply: Reply, endpoint: str) -> Mapping[str, Any]:
        return _document(settled(reply, endpoint, self._clock()), endpoint)

    def _call(self, endpoint: str, address: str, headers: Mapping[str, str]) -> Call:
        return Call(endpoint, self.inner(address), {"Accept": "application/json", **headers})

    def inner(self, address: str) -> str:
        """`address` as the hub reaches it: what the browser is sent to stays as it is."""
        if not self.provider.internal_url or origin_of(address) != origin_of(self.provider.issuer):
            return address
        parts = urlsplit(address)
        return f"{self.provider.internal_url.rstrip('/')}{parts.path}{f'?{parts.query}' if parts.query else ''}"


def _recent(moment: float, now: float, seconds: float) -> bool:
    return 0 <= now - moment < seconds


def _document(reply: Reply, endpoint: str) -> Mapping[str, Any]:
    if reply.status != 200:
        raise ProviderWrong(endpoint, f"answered {reply.status}")
    return json_object(reply, endpoint)


def _keys(document: Mapping[str, Any]) -> Keys:
    try:
        keys = Keys.of(document)
    except TokenRefused as error:
        raise ProviderWrong(KEYS, "its answer is no set of keys") from error
    if not len(keys):
        raise ProviderWrong(KEYS, "its answer holds no key that can check a signature")
    return keys


def _userinfo(reply: Reply, now: float) -> Mapping[str, Any]:
    if reply.status == 401:
        raise ProviderRefused(USERINFO, "invalid_token", 401)
    if reply.status == 403:
        raise ProviderRefused(USERINFO, "insufficient_scope", 403)
    if reply.headers.get("content-type", "").startswith("application/jwt"):
        raise ProviderWrong(USERINFO, "its answer is signed; let this client have it as plain JSON")
    return _document(settled(reply, USERINFO, now), USERINFO)


def _granted(reply: Reply, sent: tuple[str, ...], now: float) -> Tokens:
    if reply.status == 200:
        return Tokens.of(json_object(reply, TOKEN), TOKEN, now)
    if settled(reply, TOKEN, now).status not in {400, 401, 403}:
        raise ProviderWrong(TOKEN, f"answered {reply.status}")
    document = json_object(reply, TOKEN)
    if "error" not in document:
        raise ProviderWrong(TOKEN, f"answered {reply.status} without an error code")
    raise refused(TOKEN, reply, document, sent)


def _client_authentication(
    client_id: str, secret: str, metadata: Metadata
) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Headers and form fields by which the client says who it is (RFC 6749 §2.3.1)."""
    if not secret:
        return {}, {"client_id": client_id}
    if "client_secret_basic" not in metadata.token_auth and "client_secret_post" in metadata.token_auth:
        return {}, {"client_id": client_id, "client_secret": secret}
    pair = f"{quote_plus(client_id)}:{quote_plus(secret)}".encode()
    return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}, {}
