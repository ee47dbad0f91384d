"""The round trip to a provider and back: start, callback, sign-out, and the provider's own word that somebody left.

What a browser takes along is one signed cookie for each try (`Trip`), bound to its state and good for one answer.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode, urlsplit

from jupyterhub.handlers.login import LogoutHandler
from jupyterhub.user import User
from jupyterhub.utils import get_browser_protocol, url_path_join
from tornado import web

from aihub import metrics, pages
from aihub.calls import ProviderDown, ProviderError
from aihub.errors import StoreError
from aihub.handlers.base import OwnHandler, PageHandler
from aihub.handlers.sign_in import SignInHandler
from aihub.identity import OidcProvider, SignInReason, SignInRefused
from aihub.sso import Code, Kept, OidcSignIn, ProviderSignIn
from aihub.tokens import TokenRefused

__all__ = ["BackChannelLogout", "Callback", "SignOut", "SignedOut", "SsoSignIn", "Start", "routes"]

PATIENCE = 900
"""Seconds that somebody may take at the provider: passwords are forgotten and reset meanwhile."""

LONGEST_NEXT = 1500
"""Characters, as JSON writes them; browsers drop cookies of more than 4096 bytes."""

COOKIE = "aihub-sign-in-"
BEGUN = "aihub-tries"
TABS = 5
"""Tries of one browser that may be under way; the oldest cookies go."""

STATUS = {
    SignInReason.PROVIDER_DOWN: 503,
    SignInReason.STORE_UNAVAILABLE: 503,
    SignInReason.PROVIDER_WRONG: 502,
    SignInReason.TOKEN_REFUSED: 502,
    SignInReason.CLAIMS_UNUSABLE: 502,
    SignInReason.STATE_MISSING: 400,
    SignInReason.STATE_USED: 400,
    SignInReason.WRONG_ADDRESS: 400,
    SignInReason.CANCELLED: 400,
}
"""HTTP status of each refusal; 403 for those that are about the person."""

CANCELLED = {
    "access_denied",
    "login_required",
    "interaction_required",
    "consent_required",
    "account_selection_required",
}
DOWN = {"server_error", "temporarily_unavailable"}
"""Errors of RFC 6749 §4.1.2.1 and OpenID Connect Core §3.1.2.6 by what they mean here; others are misconfiguration."""


@dataclass(frozen=True, slots=True)
class Trip:
    """What one try to sign in set out with. `at` is in Unix seconds."""

    state: str
    nonce: str
    verifier: str
    redirect_uri: str
    next: str
    at: float

    @classmethod
    def begin(cls, redirect_uri: str, next_url: str, at: float) -> Trip:
        """A new one, with 256 random bits each for state, nonce and PKCE verifier (RFC 7636)."""
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        return cls(state, nonce, verifier, redirect_uri, next_url, at)

    @property
    def challenge(self) -> str:
        """The S256 challenge of the verifier."""
        digest = sha256(self.verifier.encode("ascii")).digest()
        return urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")

    @property
    def cookie(self) -> str:
        """The name of its cookie."""
        return _cookie(self.state)


def _with(address: str, query: Mapping[str, str]) -> str:
    return f"{address}{'&' if '?' in address else '?'}{urlencode(query)}"


def _cookie(state: str) -> str:
    return COOKIE + sha256(state.encode("utf-8", "surrogatepass")).hexdigest()[:12]


class ProviderHandler(OwnHandler):
    """What the handlers of the round trip share."""

    @property
    def method(self) -> ProviderSignIn:
        """The sign-in of this hub."""
        assert isinstance(self.authenticator, ProviderSignIn)
        return self.authenticator

    @property
    def origin(self) -> str:
        """How the browser reaches the hub, as far as the proxies say."""
        # Tornado's own word is that of the last proxy, the hub's, to which everybody comes by HTTP (upstream.md 51).
        return f"{get_browser_protocol(self.request)}://{self.request.host}".lower()

    @property
    def provider_host(self) -> str:
        """Who is asked, in words that people know."""
        return str(urlsplit(self.method.provider.issuer).netloc)

    def public(self, *path: str) -> str:
        """An address of the hub as people and the provider see it."""
        return (self.method.public_url or self.origin) + str(url_path_join(self.hub.base_url, *path))


class ProviderPage(ProviderHandler, PageHandler):
    """A page of the round trip; whatever stands in the way is a page too."""

    async def problem(self, error: SignInRefused, next_url: str = "") -> None:
        """Say that nobody was signed in, why, and the way on."""
        reference = secrets.token_hex(3)
        level = 30 if STATUS.get(error.reason, 403) < 500 else 40
        self.log.log(level, "audit: sign-in refused, id %s: %s", reference, error)
        metrics.signed_in(error.reason.value)
        page = pages.sign_in_problem(
            error.reason,
            error.parameters,
            self.language,
            again=self.start_address(next_url),
            provider=self.provider_host,
            asked=self.language.text(self.method.sign_in.contact),
            reference=reference,
            other=str(url_path_join(self.hub.base_url, "logout")),
        )
        if page.retry_after is not None:
            self.set_header("Retry-After", str(page.retry_after))
        await self.show("aihub/sign_in_problem.html", page, STATUS.get(error.reason, 403))

    def start_address(self, next_url: str) -> str:
        """Where a new try begins."""
        address = str(url_path_join(self.hub.base_url, "oauth_login"))
        return f"{address}?{urlencode({'next': next_url})}" if next_url else address

    def one(self, name: str) -> str:
        """A query parameter that is there once; empty otherwise."""
        values = self.request.query_arguments.get(name, [])
        return values[0].decode("utf-8", "replace") if len(values) == 1 else ""

    def wanted(self) -> str:
        """Where the person wants to go, if that is a page of this hub whose address a cookie can hold."""
        address = self.one("next")
        return str(self._validate_next_url(address)) if len(json.dumps(address)) <= LONGEST_NEXT else ""


class SsoSignIn(ProviderHandler, SignInHandler):
    """The sign-in page: one button."""

    def wrong(self) -> str:
        """Nothing is typed here."""
        return ""

    def page(self, error: str, name: str) -> tuple[str, object]:  # noqa: ARG002  # none is typed
        """The button, and who is asked."""
        sign_in = self.method.sign_in
        page = pages.SsoPage(
            action=str(url_path_join(self.hub.base_url, "oauth_login")),
            provider=self.provider_host,
            title=self.language.text(sign_in.title),
            github=not isinstance(self.method.provider, OidcProvider),
            contact=self.language.text(sign_in.contact),
            next=self.get_argument("next", ""),
            error=error,
        )
        return "aihub/sign_in_sso.html", page

    async def post(self) -> None:
        """There is no form."""
        raise web.HTTPError(405)


class Start(ProviderPage):
    """Send the browser to the provider."""

    async def get(self) -> None:
        """Lead to the provider, or say why that cannot be."""
        try:
            address = await self._address()
        except SignInRefused as error:
            await self.problem(error, self.wanted())
            return
        self.redirect(address)

    async def _address(self) -> str:
        public = self.method.public_url
        if public and self.origin != public:
            raise SignInRefused(SignInReason.WRONG_ADDRESS, self.origin, address=self.origin, public=public)
        trip = Trip.begin(self.public("oauth_callback"), self.wanted(), time.time())
        try:
            address = await self.method.way(trip.redirect_uri, trip.state, trip.nonce, trip.challenge)
        except ProviderDown as error:
            wait = {} if error.retry_after is None else {"retry_after": max(1, round(error.retry_after))}
            raise SignInRefused(SignInReason.PROVIDER_DOWN, str(error), **wait) from error
        except ProviderError as error:
            raise SignInRefused(SignInReason.PROVIDER_WRONG, str(error)) from error
        self._remember(trip)
        return address

    def _remember(self, trip: Trip) -> None:
        # The cookies of tries come back to the callback only; here, one that names them says which are too many.
        begun = (self.get_secure_cookie(BEGUN, max_age_days=1) or b"").decode().split()
        for name in begun[: max(0, len(begun) - TABS + 1)]:
            self.clear_cookie(name, path=self._path("oauth_callback"))
        self._give(BEGUN, " ".join([*begun, trip.cookie][-TABS:]), "oauth_login")
        self._give(trip.cookie, json.dumps(asdict(trip)), "oauth_callback")

    def _give(self, name: str, value: str, page: str) -> None:
        self._set_cookie(name, value, expires_days=None, max_age=PATIENCE, path=self._path(page), samesite="Lax")

    def _path(self, page: str) -> str:
        return str(url_path_join(self.hub.base_url, page))


class Callback(ProviderPage):
    """The browser is back from the provider."""

    async def get(self) -> None:
        """Sign in and lead on, or say why not."""
        trip: Trip | None = None
        try:
            trip = self._trip()
            user = await self._user(trip)
        except SignInRefused as error:
            await self.problem(error, trip.next if trip else "")
            return
        self._jupyterhub_user = user
        metrics.signed_in("ok")
        await self._remember_browser(user)
        self.redirect(self._validate_next_url(trip.next) or str(url_path_join(self.hub.base_url, "home")))

    async def _user(self, trip: Trip) -> Any:
        """Who signed in. Raises SignInRefused."""
        code, began = self._code(trip), self.method.clock()
        user = await self.login_user(code)
        if user is None:
            raise SignInRefused(SignInReason.NAME_UNUSABLE, "the hub accepts no such name")
        if self.method.left_since(user.name, began):
            await self.method.end(user)
            self.clear_login_cookie()
            self._jupyterhub_user = None
            raise SignInRefused(SignInReason.STATE_USED, "the provider signed them out meanwhile")
        return user

    def _trip(self) -> Trip:
        """The try that this is the answer to; it is over, whatever comes. Raises SignInRefused."""
        state, name = self.one("state"), _cookie(self.one("state"))
        kept = self.get_secure_cookie(name, max_age_days=1) if state else None
        if kept is None:
            raise SignInRefused(SignInReason.STATE_MISSING, "no cookie for this state", address=self.origin)
        trip, now = Trip(**json.loads(kept)), time.time()
        self.clear_cookie(name, path=str(url_path_join(self.hub.base_url, "oauth_callback")))
        if not hmac.compare_digest(trip.state.encode(), state.encode("utf-8", "replace")):
            raise SignInRefused(SignInReason.STATE_MISSING, "the cookie is of another state", address=self.origin)
        if now > trip.at + PATIENCE or not self.method.used.first(state, now, now + PATIENCE):
            raise SignInRefused(SignInReason.STATE_USED, "the state was used before, or is too old")
        return trip

    def _code(self, trip: Trip) -> Code:
        """What the provider gave the browser. Raises SignInRefused."""
        self.method.check_sender(self.one("iss"), given="iss" in self.request.query_arguments)
        error = self.one("error")
        if error or "error" in self.request.query_arguments:
            detail = error if re.fullmatch(r"[a-z_]{1,60}", error) else "an error that is none of OAuth's"
            if error in CANCELLED:
                raise SignInRefused(SignInReason.CANCELLED, detail)
            if error in DOWN:
                raise SignInRefused(SignInReason.PROVIDER_DOWN, detail, retry_after=10)
            raise SignInRefused(SignInReason.PROVIDER_WRONG, detail)
        code = self.one("code")
        if not code:
            raise SignInRefused(SignInReason.PROVIDER_WRONG, "an answer without a code")
        return Code(code, trip.redirect_uri, trip.verifier, trip.nonce)

    async def _remember_browser(self, user: Any) -> None:
        kept = Kept.from_state(await user.get_auth_state())
        if kept is not None:
            await user.save_auth_state(kept.with_browser(self.get_session_cookie()).as_state())


class SignOut(ProviderPage, LogoutHandler):
    """Sign out of the hub, and at the provider where it has a way."""

    async def get(self) -> None:
        """End this browser's session here, then there (OpenID Connect RP-Initiated Logout 1.0)."""
        user = self.current_user if isinstance(self.current_user, User) else None
        session = self.get_session_cookie()
        kept = Kept.from_state(await user.get_auth_state()) if user else None
        await self.default_handle_logout()
        if user is not None and self.method.sign_in.rules.stop_servers:
            self.method.stop_servers(self, user)
        self._jupyterhub_user = None
        # Also of somebody who was not let in here: else they could only come back as the same person.
        address = await self.method.end_session_endpoint()
        if not address:
            await self._show(at_provider=False)
            return
        query = {
            "client_id": self.method.provider.client_id,
            "post_logout_redirect_uri": self.public("aihub/signed-out"),
        }
        hint = kept.hint(session) if kept else ""
        if hint:
            query["id_token_hint"] = hint
        self.redirect(_with(address, query))

    async def _show(self, *, at_provider: bool) -> None:
        page = pages.SignedOut(
            self.provider_host,
            at_provider,
            str(url_path_join(self.hub.base_url, "login")),
            servers_stop=self.method.sign_in.rules.stop_servers,
        )
        await self.show("logout.html", page)


class SignedOut(SignOut):
    """Back from the provider, signed out."""

    async def get(self) -> None:
        """Say so, unless somebody is signed in here, again or still."""
        if self.current_user:
            self.redirect(str(url_path_join(self.hub.base_url, "home")))
            return
        await self._show(at_provider=True)


class BackChannelLogout(ProviderHandler):
    """The provider says that somebody's session is over (OpenID Connect Back-Channel Logout 1.0)."""

    def check_xsrf_cookie(self) -> None:
        """Nothing: the provider has no cookie; the signature of its token is the proof."""

    async def post(self) -> None:
        """End all sessions of that person; servers as the policy says."""
        self.set_header("Cache-Control", "no-store")
        if not isinstance(self.method, OidcSignIn):
            raise web.HTTPError(404)
        token = self.get_body_argument("logout_token", "")
        try:
            ended = await self.method.logged_out(self, token)
        except (ProviderError, StoreError) as error:
            self._refuse(503, "the hub cannot check or carry it out now", error)
        except TokenRefused as error:
            self._refuse(400, f"the logout token is refused: {error.code}", error)
        else:
            metrics.logged_out("ok" if ended else "unknown")
            self.set_status(200)
            self.finish()

    def _refuse(self, status: int, description: str, error: Exception) -> None:
        self.log.warning("audit: back-channel logout refused: %s", error)
        metrics.logged_out("refused")
        self.set_status(status)
        self.finish({"error": "invalid_request", "error_description": description})


def routes() -> list[tuple[str, Any]]:
    """Of every sign-in through a provider."""
    return [
        (r"/oauth_login", Start),
        (r"/oauth_callback", Callback),
        (r"/logout", SignOut),
        (r"/aihub/signed-out", SignedOut),
        (r"/aihub/back-channel-logout", BackChannelLogout),
    ]
