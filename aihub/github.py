"""GitHub as the hub asks it: the OAuth exchange, and who somebody is by GitHub's API.

https://docs.github.com/apps/oauth-apps/building-oauth-apps/authorizing-oauth-apps and
https://docs.github.com/rest (users, organizations, teams). An identity is whole or none: when one of its parts cannot
be had there is an error, never a person with fewer teams.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlencode

from aihub.calls import (
    MAX_WAIT,
    Call,
    Caller,
    Fetch,
    Http,
    ProviderDown,
    ProviderRefused,
    ProviderWrong,
    Reply,
    json_object,
    json_value,
    origin_of,
    post_form,
    refused,
    retry_after,
    settled,
)
from aihub.claims import identity_of_github
from aihub.identity import GitHubProvider, Identity
from aihub.provider import Tokens

__all__ = ["GitHubClient"]

Value = TypeVar("Value")
TOKEN, API = "token", "api"
SCOPE = "read:org"
MAX_PAGES = 50
MINUTE = 60.0
API_HEADERS = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}

CODES = {
    "bad_verification_code": "invalid_grant",
    "bad_refresh_token": "invalid_grant",
    "incorrect_client_credentials": "invalid_client",
}
"""OAuth's words for GitHub's own
(https://docs.github.com/apps/oauth-apps/maintaining-oauth-apps/troubleshooting-oauth-app-access-token-request-errors).
"""


class GitHubClient:
    """The hub's calls to GitHub, or to a GitHub Enterprise Server.

    Its methods raise ProviderDown, ProviderRefused or ProviderWrong. `secret` is asked at every call that needs it.
    """

    def __init__(
        self,
        provider: GitHubProvider,
        secret: Callable[[], str],
        *,
        clock: Callable[[], float] = time.time,
        fetch: Fetch | None = None,
    ) -> None:
        self.provider = provider
        self._secret = secret
        self._clock = clock
        self._caller = Caller(fetch or Http(provider.ca_file), clock)

    @property
    def down_since(self) -> float | None:
        """Seconds since the epoch since when GitHub gives no usable answer; None: it does."""
        return self._caller.down_since

    @property
    def last_answer(self) -> float | None:
        """When it gave its last usable answer, seconds since the epoch."""
        return self._caller.last_answer

    def authorize_url(self, redirect_uri: str, state: str, challenge: str) -> str:
        """The address that a browser is sent to for a code; `challenge` is that of PKCE with S256."""
        asked = {
            "client_id": self.provider.client_id,
            "redirect_uri": redirect_uri,
            "scope": SCOPE,
            "state": state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return f"{self.provider.url}/login/oauth/authorize?{urlencode(asked)}"

    async def exchange(self, code: str, redirect_uri: str, verifier: str) -> Tokens:
        """The tokens for an authorization code; those of an OAuth app do not expire."""
        form = {"code": code, "redirect_uri": redirect_uri, "code_verifier": verifier}
        return await self._tokens(form, (code, verifier))

    async def refresh(self, refresh_token: str) -> Tokens:
        """New tokens for a refresh token, which only GitHub Apps are given."""
        return await self._tokens({"grant_type": "refresh_token", "refresh_token": refresh_token}, (refresh_token,))

    async def identity(self, tokens: Tokens) -> Identity:
        """Who `tokens` belong to, with the organizations and teams of today; raises SignInRefused too."""
        user = await self._ask(f"{self.provider.api_url}/user", tokens, _object)
        organizations = await self._list(f"{self.provider.api_url}/user/orgs?per_page=100", tokens)
        teams = await self._list(f"{self.provider.api_url}/user/teams?per_page=100", tokens)
        return identity_of_github(self.provider, user, organizations, teams)

    async def _list(self, address: str, tokens: Tokens) -> list[Mapping[str, Any]]:
        """Everything on the pages from `address` on (https://docs.github.com/rest/using-the-rest-api/using-pagination)."""
        found: list[Mapping[str, Any]] = []
        seen = set[str]()
        following = address
        while following:
            if following in seen or len(seen) == MAX_PAGES:
                raise ProviderWrong(API, f"the list has a page twice, or more than {MAX_PAGES}")
            # The token goes with the request: a link may not send it elsewhere.
            if origin_of(following) != origin_of(self.provider.api_url):
                raise ProviderWrong(API, "the link to the next page leads to another host")
            seen.add(following)
            page, following = await self._ask(following, tokens, _page)
            found += page
        return found

    async def _tokens(self, form: Mapping[str, str], sent: tuple[str, ...]) -> Tokens:
        secret = self._secret()
        client = {"client_id": self.provider.client_id, "client_secret": secret}
        call = post_form(TOKEN, f"{self.provider.url}/login/oauth/access_token", {**client, **form}, {})
        return await self._caller.ask(
            call, lambda reply: _granted(reply, (*sent, secret), self._clock()), personal=True
        )

    async def _ask(self, address: str, tokens: Tokens, understand: Callable[[Reply], Value]) -> Value:
        call = Call(API, address, {**API_HEADERS, "Authorization": f"Bearer {tokens.access}"})
        return await self._caller.ask(
            call, lambda reply: understand(_permitted(reply, self._clock())), personal=True, own_limit=True
        )


def _object(reply: Reply) -> Mapping[str, Any]:
    return json_object(reply, API)


def _page(reply: Reply) -> tuple[list[Mapping[str, Any]], str]:
    """What a page of a list holds, and the address of the next page, if any."""
    listed = json_value(reply, API)
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise ProviderWrong(API, "its answer is no list of objects")
    return listed, _next(reply.headers.get("link", ""))


def _next(link: str) -> str:
    """The address that a Link header (RFC 8288) calls "next"."""
    for target, parameters in re.findall(r"<([^<>]*)>([^<]*)", link):
        if re.search(r';\s*rel\s*=\s*"?(?:[^";,]*\s)?next(?:\s[^";,]*)?"?\s*(?:[;,]|$)', parameters, re.IGNORECASE):
            return str(target)
    return ""


def _permitted(reply: Reply, now: float) -> Reply:
    """`reply` when it brings what was asked for."""
    wait = _limited(reply, now)
    if wait is not None:
        raise ProviderDown(API, f"answered {reply.status}: too many requests", wait)
    if settled(reply, API, now).status == 200:
        return reply
    if reply.status == 401:
        raise ProviderRefused(API, "invalid_grant", 401, "the token was revoked, or is none")
    if reply.status == 403:
        raise ProviderRefused(API, "insufficient_scope", 403)
    raise ProviderWrong(API, f"answered {reply.status}")


def _limited(reply: Reply, now: float) -> float | None:
    """Seconds to wait when the answer says that somebody asks too often.

    https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api: 403 or 429; wait for Retry-After, or
    until X-RateLimit-Reset (seconds since the epoch), or a minute.
    """
    if reply.status not in {403, 429}:
        return None
    wait = retry_after(reply, now)
    if wait is not None:
        return wait
    reset = reply.headers.get("x-ratelimit-reset", "")
    if reply.headers.get("x-ratelimit-remaining") == "0" and re.fullmatch(r"[0-9]{1,12}", reset):
        return min(max(float(reset) - now, 0.0), MAX_WAIT)
    return MINUTE if reply.status == 429 or b"rate limit" in reply.body.lower() else None


def _granted(reply: Reply, sent: tuple[str, ...], now: float) -> Tokens:
    """The tokens in an answer; GitHub sends its errors with status 200."""
    if reply.status == 404:
        raise ProviderRefused(TOKEN, "invalid_client", 404, "no such client id")
    document = json_object(settled(reply, TOKEN, now), TOKEN)
    if "error" in document:
        written = document["error"]
        code = CODES.get(written, written) if isinstance(written, str) else written
        raise refused(TOKEN, reply, {**document, "error": code}, sent)
    if reply.status != 200:
        raise ProviderWrong(TOKEN, f"answered {reply.status}")
    return Tokens.of(document, TOKEN, now)
