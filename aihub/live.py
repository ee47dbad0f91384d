"""Whether sign-in works with the provider as it is now: what `aihub check --live` prints and the hub runs at its start.

Nobody's password is needed, and nothing is changed at the provider: a client that may use it is told by how it is
refused. What cannot be told from here says so, with the reason.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from jupyterhub.crypto import CryptKeeper, EncryptionUnavailable
from traitlets import TraitError
from traitlets.config import Config

from aihub.calls import Call, Http, ProviderDown, ProviderError, ProviderRefused, ProviderWrong, Reply
from aihub.claims import identity_of
from aihub.config import SignIn
from aihub.identity import GROUPS, GitHubProvider, Identity, OidcProvider, SignInRefused
from aihub.provider import Metadata, OidcClient, Tokens, authorization_url
from aihub.tokens import TokenRefused

__all__ = ["CRYPT_KEY", "TEST_PASSWORD_FILE", "TEST_USER", "Check", "CheckState", "checks"]

CRYPT_KEY = "JUPYTERHUB_CRYPT_KEY"
TEST_USER, TEST_PASSWORD_FILE = "AIHUB_TEST_USER", "AIHUB_TEST_PASSWORD_FILE"  # names of variables
SOON = timedelta(days=14)
CONNECT_SECONDS = 10.0
SHOWN_GROUPS = 5

RETURNED = frozenset({"login_required", "interaction_required", "consent_required", "account_selection_required"})
"""Why nobody is signed in without a page (OpenID Connect Core §3.1.2.6): said to a registered address only."""
NOT_OURS = frozenset({"invalid_client", "unauthorized_client"})
"""How a client id or secret is refused; Keycloak says the second for a wrong secret."""


class CheckState(StrEnum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    WARNING = "warning"
    NOT_CHECKED = "notChecked"


@dataclass(frozen=True, slots=True)
class Check:
    """What was checked, how that ended, why (`detail`), and what to do about it (`help`)."""

    name: str
    state: CheckState
    detail: str = ""
    help: str = ""

    def as_dict(self) -> dict[str, str]:
        """Plain JSON values."""
        return {"name": self.name, "state": self.state.value, "detail": self.detail, "help": self.help}


def _passed(name: str, detail: str = "") -> Check:
    return Check(name, CheckState.PASSED, detail)


def _failed(name: str, detail: str, help_: str = "") -> Check:
    return Check(name, CheckState.FAILED, detail, help_)


def _warning(name: str, detail: str, help_: str = "") -> Check:
    return Check(name, CheckState.WARNING, detail, help_)


def _unknown(name: str, because: str, help_: str = "") -> Check:
    return Check(name, CheckState.NOT_CHECKED, f"because {because}", help_)


async def checks(
    sign_in: SignIn,
    secret: Callable[[], str],
    redirect_uri: str,
    now: float,
    *,
    environment: Mapping[str, str] = os.environ,
) -> tuple[Check, ...]:
    """Everything that can be told of the provider that `sign_in` names; nothing where it names none.

    `redirect_uri` is the whole address of the hub's callback, empty where it is not known; `now` is in seconds since
    the epoch. Takes seconds, a minute at the worst; raises nothing that a provider may cause.
    """
    provider = sign_in.provider
    if provider is None:
        return ()
    own = [_crypt_key(environment.get(CRYPT_KEY, "")), _secret_expires(provider.secret_expires, now)]
    if provider.ca_file:
        own.append(await asyncio.to_thread(_ca_file, provider.ca_file, now))
    if isinstance(provider, GitHubProvider):
        return (*await _github(provider, secret, now), *own)
    return (*await _Oidc(provider, secret, redirect_uri, now, environment).all(), *own)


# --- what needs nobody else ------------------------------------------------------------------------------------------


def _crypt_key(written: str) -> Check:
    name = CRYPT_KEY
    make = f"Make one with `openssl rand -hex 32` and set {CRYPT_KEY} in the hub's environment."
    keys = [key for key in written.split(";") if key.strip()]
    if not keys:
        return _failed(name, "it is not set, and tokens of the provider are kept only encrypted", make)
    try:
        keeper = CryptKeeper(keys=[key.encode() for key in keys], config=Config())
        keeper.check_available()
    except (ValueError, TraitError, EncryptionUnavailable):
        # Their texts may show a key.
        return _failed(name, "a key in it is not 32 bytes in hex or base64", make)
    return _passed(name, f"{len(keys)} keys, the first encrypts" if len(keys) > 1 else "")


def _secret_expires(expires: date | None, now: float) -> Check:
    name, today = "client secret", datetime.fromtimestamp(now, UTC).date()
    renew = "Make a new one at the provider, put it where the hub reads it, and change clientSecretExpires."
    if expires is None:
        return _unknown(name, "the policy file has no clientSecretExpires, and a provider does not tell when it ends")
    if expires < today:
        return _warning(name, f"it ended on {expires}, says the policy file", renew)
    if expires - today <= SOON:
        return _warning(name, f"it ends on {expires}", renew)
    return _passed(name, f"it ends on {expires}")


def _ca_file(file: str, now: float) -> Check:
    name = "CA file"
    try:
        found = ssl.create_default_context(cafile=file).get_ca_certs()
    except (OSError, ssl.SSLError) as error:
        return _failed(name, f"{file} cannot be read: {error.strerror or error}", "Check the path and what is in it.")
    ends = [str(each["notAfter"]) for each in found if "notAfter" in each]
    if not ends:
        return _unknown(name, f"no certificate in {file} says that it is one of an authority")
    return _ending(name, min(ends, key=ssl.cert_time_to_seconds), now, "Put the authority's new certificate there.")


def _ending(name: str, not_after: str, now: float, help_: str) -> Check:
    ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(not_after), UTC)
    moment = datetime.fromtimestamp(now, UTC)
    if ends <= moment:
        return _failed(name, f"it ended on {ends:%Y-%m-%d}", help_)
    if ends - moment <= SOON:
        return _warning(name, f"it ends on {ends:%Y-%m-%d}", help_)
    return _passed(name, f"it ends on {ends:%Y-%m-%d}")


# --- TLS -------------------------------------------------------------------------------------------------------------


async def _certificate(address: str, trust: ssl.SSLContext | None, now: float) -> Check:
    """Whom the provider's TLS shows itself as, and for how long."""
    name, parts = "certificate", urlsplit(address)
    if parts.scheme != "https":
        return _unknown(name, f"the hub reaches {parts.netloc} without TLS")
    renew = f"The provider's admins renew it: {parts.netloc} shows it."
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            not_after = await _not_after(parts.hostname or "", parts.port or 443, trust or ssl.create_default_context())
    except ssl.SSLCertVerificationError as error:
        trusted = "If it is of an own authority, name that one's certificate as caFile."
        return _failed(name, f"that of {parts.netloc} is not trusted: {error.verify_message}", trusted)
    except (OSError, TimeoutError) as error:
        return _unknown(name, f"{parts.netloc} does not answer: {getattr(error, 'strerror', None) or 'no time left'}")
    return _ending(name, not_after, now, renew)


async def _not_after(host: str, port: int, trust: ssl.SSLContext) -> str:
    _, writer = await asyncio.open_connection(host, port, ssl=trust, server_hostname=host)
    try:
        connection: ssl.SSLObject = writer.get_extra_info("ssl_object")
        return str((connection.getpeercert() or {})["notAfter"])
    finally:
        writer.close()


# --- OpenID Connect --------------------------------------------------------------------------------------------------

UNREACHED = "discovery failed"


class _Oidc:
    """The checks of one OpenID Connect provider, by a client of their own."""

    def __init__(
        self,
        provider: OidcProvider,
        secret: Callable[[], str],
        redirect_uri: str,
        now: float,
        environment: Mapping[str, str],
    ) -> None:
        self.provider = provider
        self.client = OidcClient(provider, secret)
        self.http = Http(provider.ca_file, see_redirects=True)
        self.secret = secret
        self.redirect_uri = redirect_uri
        self.now = now
        self.environment = environment

    async def all(self) -> Sequence[Check]:
        certificate = await self.certificate()
        try:
            metadata = await self.client.metadata()
        except ProviderError as error:
            names = ("keys", "client", "redirect address", "groups", "sign-out", "back-channel logout")
            return [self.no_discovery(error), certificate, *(_unknown(name, UNREACHED) for name in names)]
        return [
            _passed("discovery", self.provider.issuer),
            certificate,
            await self.keys(),
            await self.accepted(),
            await self.redirect(metadata),
            *_challenges(metadata),
            await self.groups(),
            _sign_out(metadata),
            _back_channel(metadata),
        ]

    async def certificate(self) -> Check:
        try:
            trust = self.http.trust("certificate")
        except ProviderWrong as error:
            return _unknown("certificate", error.problem)
        return await _certificate(self.client.inner(self.provider.issuer), trust, self.now)

    def no_discovery(self, error: ProviderError) -> Check:
        address = f"{self.client.inner(self.provider.issuer).rstrip('/')}/.well-known/openid-configuration"
        if isinstance(error, ProviderDown):
            help_ = f"Is {address} reachable from the hub (DNS, firewall, network policy), and trusted (caFile)?"
        else:
            help_ = (
                f"Compare signIn's issuer with the one in {address}; behind a proxy Keycloak needs its hostname set."
            )
        return _failed("discovery", error.problem, help_)

    async def keys(self) -> Check:
        try:
            return _passed("keys", f"{len(await self.client.keys())} to check signatures with")
        except ProviderError as error:
            return _failed("keys", error.problem, "Without them nobody can sign in.")

    async def accepted(self) -> Check:
        """A code that nobody gave out: a client that is known hears of the code, another of itself."""
        code, verifier = f"aihub-check-{secrets.token_hex(8)}", secrets.token_urlsafe(48)
        try:
            await self.client.exchange(code, self.redirect_uri or "https://hub.invalid/", verifier)
        except ProviderRefused as error:
            return self._judged(error)
        except ProviderError as error:
            return _failed("client", error.problem)
        return _warning("client", "the provider gave tokens for a made-up code", "Do not use this provider.")

    def _judged(self, error: ProviderRefused) -> Check:
        client = f"{self.provider.client_id!r}"
        if error.error in {"invalid_grant", "invalid_request"}:
            return _passed(
                "client", f"the provider accepts {client}" if self.secret() else f"{client}, a public client"
            )
        if error.error in NOT_OURS:
            given = "its secret" if self.secret() else "it without a secret"
            help_ = "Compare clientId, and the secret of AIHUB_CLIENT_SECRET_FILE or AIHUB_CLIENT_SECRET, with it."
            return _failed("client", f"the provider does not accept {client}, or not {given}: {error.problem}", help_)
        return _warning("client", f"the provider answered {error.problem}")

    async def redirect(self, metadata: Metadata) -> Check:
        """A request for a code without a page: the answer comes to a registered address, or nowhere."""
        name = "redirect address"
        if not self.redirect_uri:
            return _unknown(name, "the hub's address is not known", "Set signIn.publicUrl.")
        asked = {
            "prompt": "none",
            "state": secrets.token_urlsafe(16),
            "nonce": secrets.token_urlsafe(16),
            "code_challenge": secrets.token_urlsafe(32),
            "code_challenge_method": "S256",
        }
        address = self.client.inner(authorization_url(metadata, self.provider, self.redirect_uri, asked))
        try:
            reply = await self.http(Call("authorization", address))
        except ProviderError as error:
            return _unknown(name, f"the authorization endpoint did not answer the hub: {error.problem}")
        return _registered(reply, self.redirect_uri)

    async def groups(self) -> Check:
        name, user = "groups", self.environment.get(TEST_USER, "")
        file = self.environment.get(TEST_PASSWORD_FILE, "")
        if not user or not file:
            return _unknown(name, f"{TEST_USER} and {TEST_PASSWORD_FILE} are not set")
        try:
            password = (await asyncio.to_thread(Path(file).read_text, "utf-8")).strip()
        except (OSError, ValueError):
            return _failed(name, f"{TEST_PASSWORD_FILE}: {file} cannot be read")
        try:
            return self._seen(await self._identity(await self.client.password_grant(user, password)))
        except ProviderRefused as error:
            return _no_grant(error)
        except (ProviderError, TokenRefused, SignInRefused) as error:
            return _failed(name, f"as {user}: {error}")

    async def _identity(self, tokens: Tokens) -> Identity:
        claims = await self.client.id_claims(tokens.id, None)
        access = None
        if set(self.provider.groups_from) - {GROUPS}:
            access = await self.client.access_claims(tokens.access)
        return identity_of(self.provider, claims, await self.client.userinfo(tokens.access), access)

    def _seen(self, identity: Identity) -> Check:
        if identity.groups_missing:
            help_ = (
                f"Add a mapper to the client: Group Membership, token claim name {self.provider.groups_claim}, full "
                "group path on, added to the ID token."
                if self.provider.keycloak
                else "Let the provider send it in the ID token or userinfo, or name another claim as groupsClaim."
            )
            return _failed("groups", f"the claim {self.provider.groups_claim!r} is missing for {identity.name}", help_)
        groups = sorted(identity.groups)
        more = f" and {len(groups) - SHOWN_GROUPS} more" if len(groups) > SHOWN_GROUPS else ""
        return _passed("groups", f"{identity.name}: {', '.join(groups[:SHOWN_GROUPS]) or 'in none'}{more}")


def _no_grant(error: ProviderRefused) -> Check:
    if error.ended:
        return _failed("groups", f"the provider refuses the test user: {error.problem}", "Check name and password.")
    help_ = "In Keycloak: the client's “Direct access grants”, for as long as the check needs them."
    return _unknown("groups", f"the client may not sign in a test user by password ({error.problem})", help_)


def _registered(reply: Reply, redirect_uri: str) -> Check:
    name, location = "redirect address", reply.headers.get("location", "")
    back, _, query = location.partition("?")
    if 300 <= reply.status < 400 and back == redirect_uri:
        error = "".join(parse_qs(query).get("error", [""]))
        if error and error not in RETURNED:
            help_ = "In Keycloak the client needs “Standard flow”."
            return _failed(name, f"the provider takes {redirect_uri} and answers {error:.60}", help_)
        return _passed(name, redirect_uri)
    if 400 <= reply.status < 500:
        help_ = "Add it to the client's valid redirect URIs, to the letter; check signIn.publicUrl."
        return _failed(name, f"the provider does not take {redirect_uri} (it answered {reply.status})", help_)
    return _unknown(name, f"the provider answered {reply.status}, and not to {redirect_uri}")


def _challenges(metadata: Metadata) -> Sequence[Check]:
    """Said only where a provider says that it does not know PKCE as we do it; many say nothing."""
    if not metadata.code_challenges or "S256" in metadata.code_challenges:
        return []
    return [_warning("PKCE", f"the provider lists {', '.join(metadata.code_challenges)} only, and the hub sends S256")]


def _sign_out(metadata: Metadata) -> Check:
    if metadata.end_session_endpoint:
        return _passed("sign-out", "signing out of the hub signs out at the provider")
    return _warning("sign-out", "discovery names no end_session_endpoint: people stay signed in at the provider")


def _back_channel(metadata: Metadata) -> Check:
    name = "back-channel logout"
    if not metadata.back_channel_logout:
        return _warning(name, "the provider does not announce it: who signs out there stays signed in here for a while")
    return _passed(name, "the provider announces it; whether this client has an address for it only a sign-out shows")


# --- GitHub ----------------------------------------------------------------------------------------------------------


async def _github(provider: GitHubProvider, secret: Callable[[], str], now: float) -> Sequence[Check]:
    http = Http(provider.ca_file)
    try:
        trust, given = http.trust("certificate"), secret()
    except ProviderWrong as error:
        return [_failed("client", str(error))]
    return [
        await _certificate(provider.url, trust, now),
        await _github_client(provider, given, http),
        _unknown("redirect address", "GitHub shows it to a signed-in person only"),
        _unknown("groups", "GitHub tells teams to a signed-in person only"),
    ]


async def _github_client(provider: GitHubProvider, secret: str, http: Http) -> Check:
    """https://docs.github.com/rest/apps/oauth-applications#check-a-token, with a token that nobody has."""
    if not secret:
        return _failed("client", "there is no client secret", "Set AIHUB_CLIENT_SECRET_FILE or AIHUB_CLIENT_SECRET.")
    pair = base64.b64encode(f"{provider.client_id}:{secret}".encode()).decode()
    headers = {"Authorization": f"Basic {pair}", "Accept": "application/vnd.github+json"}
    body = json.dumps({"access_token": f"gho_{secrets.token_hex(18)}"}).encode()
    address = f"{provider.api_url}/applications/{provider.client_id}/token"
    try:
        reply = await http(Call("client", address, {**headers, "Content-Type": "application/json"}, body, "POST"))
    except ProviderError as error:
        return _failed("client", error.problem, f"Is {provider.api_url} reachable from the hub, and the right apiUrl?")
    if reply.status in {404, 422}:
        return _passed("client", f"GitHub accepts {provider.client_id!r}")
    if reply.status == 401:
        help_ = "Compare clientId and the secret with the OAuth app's page at GitHub."
        return _failed("client", f"GitHub does not accept {provider.client_id!r} with its secret", help_)
    return _warning("client", f"GitHub answered {reply.status}")
