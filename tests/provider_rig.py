"""A hostile OpenID Connect provider on 127.0.0.1: right in every detail until a test says otherwise.

Real HTTP (tornado, in a thread of its own), its own keys, the authorization code flow with PKCE, refresh tokens that
rotate, userinfo, sign-out, back-channel logout. It is shaped after Keycloak.

    with HostileProvider() as rig:
        rig.add_client("aihub", "s3cret", ["http://127.0.0.1:8000/hub/oauth_callback"])
        rig.sign_in(browser, "http://127.0.0.1:8000/hub/oauth_login", "ada")    # browser: httpx.Client
        tokens = await rig.tokens_of(client, "ada")    # client: OidcClient; needs no browser and no hub

What can go wrong is an attribute:

    rig.id_claims = {"aud": "other", "exp": lambda exp: exp - 900, "nonce": DROP}
    (as id_claims: access_claims, userinfo_claims, logout_claims, discovery, token_answer, callback)
    rig.signing = Signing(algorithm="none")          # see `Signing`
    rig.faults["token"] = Fault(status=500)          # discovery, keys, token, userinfo, authorize, end_session
    rig.rotate_keys();  rig.end_sessions("ada");  rig.people["ada"].enabled = False;  rig.stop() … rig.start()
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import unquote_plus, urlencode, urlsplit

import httpx
import tornado.web
from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey

from aihub.identity import OidcProvider
from aihub.provider import OidcClient, Tokens
from tests.web_rig import Fault, RigEndpoint, Sent, WebRig

__all__ = ["DROP", "PERSON_COOKIE", "Fault", "HostileProvider", "RigClient", "RigPerson", "Sent", "Signing", "b64"]

LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
REALM = "/realms/school"
PERSON_COOKIE = "rig-person"
TOKEN_SECONDS = 300
ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA",
)  # fmt: skip

AnyKey = RSAKey | ECKey | OKPKey


class _Drop:
    def __repr__(self) -> str:
        return "DROP"


DROP = _Drop()
"""Stands for a value that is left out."""

Changes = Mapping[str, Any]
"""Values that take the place of the right ones: a value, DROP, or a function of the right one."""


def changed(right: Mapping[str, Any], changes: Changes) -> dict[str, Any]:
    result = dict(right)
    for key, change in changes.items():
        if change is DROP:
            result.pop(key, None)
        else:
            result[key] = change(right.get(key)) if callable(change) else change
    return result


@dataclass
class RigPerson:
    """Somebody the provider knows. `more` are further claims; roles are Keycloak's."""

    subject: str
    groups: Any = ()
    email: str = ""
    email_verified: bool = True
    realm_roles: Sequence[str] = ()
    client_roles: Mapping[str, Sequence[str]] = field(default_factory=dict)
    password: str = "rig-password"
    enabled: bool = True
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class RigClient:
    """A registered client; an empty secret makes it a public one. `back_channel` is where sign-outs are told."""

    secret: str = ""
    redirect_uris: Sequence[str] = ()
    sign_out_uris: Sequence[str] = ()
    back_channel: str = ""
    password_grant: bool = False


@dataclass(frozen=True)
class Signing:
    """How tokens are signed.

    `algorithm`: one that a key of ours can do, "none", or "HS256" (with the public key's PEM as secret: the known
    attack). `header` changes the header after that; `foreign`: by a key that is not the provider's, under its id;
    `spoil`: the signature is of other bytes.
    """

    algorithm: str = "RS256"
    header: Changes = field(default_factory=dict)
    foreign: bool = False
    spoil: bool = False


@dataclass
class _Session:
    person: str
    client: str
    nonce: str | None
    ended: bool = False
    refresh: str = ""
    used: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class _Code:
    session: str
    redirect_uri: str
    challenge: str


@cache
def _pooled(number: int, algorithm: str) -> AnyKey:
    """Keys are dear to make; every provider takes its own numbers of the pool."""
    del number
    if algorithm.startswith("ES"):
        return ECKey.generate_key({"256": "P-256", "384": "P-384", "512": "P-521"}[algorithm[2:]], auto_kid=True)
    if algorithm.startswith("Ed"):
        return OKPKey.generate_key("Ed25519", auto_kid=True)
    return RSAKey.generate_key(2048, auto_kid=True)


def _family(algorithm: str) -> str:
    return "RS256" if algorithm[:2] in {"RS", "PS", "HS", "no"} else "Ed" if algorithm.startswith("Ed") else algorithm


_FOREIGN = 1_000_000
_next_key = iter(range(_FOREIGN))


class HostileProvider(WebRig):
    """The provider; a context manager that starts and stops its server.

    `issuer` may be an address that is not its own: then what it publishes is there, and only `address` reaches it
    (split horizon). `tls` is a certificate file and its key.
    """

    def __init__(self, issuer: str = "", *, tls: tuple[str, str] | None = None) -> None:
        super().__init__(tls=tls)
        self.issuer = issuer or f"{self.address}{REALM}"

        self.people: dict[str, RigPerson] = {}
        self.clients: dict[str, RigClient] = {}
        self.sessions: dict[str, _Session] = {}
        self._codes: dict[str, _Code] = {}
        self._access: dict[str, str] = {}

        self.discovery: Changes = {}
        self.id_claims: Changes = {}
        self.access_claims: Changes = {}
        self.userinfo_claims: Changes = {}
        self.logout_claims: Changes = {}
        self.token_answer: Changes = {}
        self.callback: Changes = {}
        self.signing = Signing()
        self.refresh_rotates = True
        self.clock: Callable[[], float] = time.time
        self.pkce_required = True
        self._number = next(_next_key)
        self.key_number = self._number
        self.published: list[int] | None = None
        """Numbers of the keys in the JWK set; None: that of today."""
        self.more_keys: list[Any] = []
        """Further entries of the JWK set, as they are."""

        self.add_person("ada", groups=["/courses/ml101/students"], email="ada@example.org")
        self.add_person("teacher", groups=["/courses/ml101/staff"], email="teacher@example.org")
        self.add_person("root", groups=["/staff/hub-admins"], email="root@example.org")
        self.add_person("nobody", groups=[])

    # --- who is there

    def add_person(self, name: str, **values: Any) -> RigPerson:
        """Somebody with a subject of their own."""
        person = RigPerson(**{"subject": f"sub-{name}", **values})
        self.people[name] = person
        return person

    def add_client(self, name: str, secret: str, redirect_uris: Sequence[str] = (), **values: Any) -> RigClient:
        """A registered client."""
        client = RigClient(secret, redirect_uris, **values)
        self.clients[name] = client
        return client

    def provider(self, client_id: str = "aihub", **values: Any) -> OidcProvider:
        """What a policy file that names this provider comes to."""
        return OidcProvider(issuer=self.issuer, client_id=client_id, **values)

    def application(self) -> tornado.web.Application:
        protocol = f"{urlsplit(self.issuer).path.rstrip('/')}/protocol/openid-connect"
        discovery = f"{urlsplit(self.issuer).path.rstrip('/')}/.well-known/openid-configuration"
        handlers: list[tuple[str, type[_Endpoint]]] = [
            (discovery, _Discovery),
            (f"{protocol}/certs", _Keys),
            (f"{protocol}/auth", _Authorize),
            (f"{protocol}/token", _Token),
            (f"{protocol}/userinfo", _Userinfo),
            (f"{protocol}/logout", _EndSession),
        ]
        return tornado.web.Application(
            [(path, handler, {"rig": self}) for path, handler in handlers], log_function=lambda _: None
        )

    # --- what it publishes

    def metadata(self) -> dict[str, Any]:
        """The discovery document."""
        protocol = f"{self.issuer.rstrip('/')}/protocol/openid-connect"
        right = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{protocol}/auth",
            "token_endpoint": f"{protocol}/token",
            "userinfo_endpoint": f"{protocol}/userinfo",
            "end_session_endpoint": f"{protocol}/logout",
            "jwks_uri": f"{protocol}/certs",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "grant_types_supported": ["authorization_code", "refresh_token", "password"],
            "id_token_signing_alg_values_supported": [*ALGORITHMS],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "code_challenge_methods_supported": ["plain", "S256"],
            "scopes_supported": ["openid", "profile", "email", "roles"],
            "authorization_response_iss_parameter_supported": True,
            "backchannel_logout_supported": True,
            "backchannel_logout_session_supported": True,
        }
        return changed(right, self.discovery)

    def jwks(self) -> dict[str, Any]:
        """The JWK set: a key of every family for each number that is published."""
        numbers = [self.key_number] if self.published is None else self.published
        algorithms = sorted({_family(self.signing.algorithm), "RS256"})
        keys = [self._key(number, each) for number in numbers for each in algorithms]
        return {"keys": [*({**key.as_dict(private=False), "use": "sig"} for key in keys), *self.more_keys]}

    def rotate_keys(self, *, keep_old: bool = False, publish: bool = True) -> None:
        """Sign with a new key from now on; the JWK set has it (`publish`), and the old one too (`keep_old`)."""
        before = [self.key_number] if self.published is None else self.published
        self.key_number = next(_next_key)
        self.published = [*(before if keep_old or not publish else []), *([self.key_number] if publish else [])]

    def _key(self, number: int, family: str) -> AnyKey:
        return _pooled(number, _family(family))

    def sign(self, claims: Mapping[str, Any], signing: Signing | None = None, **header: Any) -> str:
        """A token with `claims`, signed as `signing` (absent: `self.signing`) says."""
        signing = signing or self.signing
        own = self._key(self.key_number, signing.algorithm)
        right = {"alg": signing.algorithm, "typ": "JWT", "kid": own.kid, **header}
        body = json.dumps(claims).encode()
        written = changed(right, signing.header)
        if signing.algorithm == "none":
            return f"{b64(json.dumps(written).encode())}.{b64(body)}."
        if signing.algorithm.startswith("HS"):
            return _signed_by_public_key(written, body, own)
        key = _pooled(_FOREIGN, _family(signing.algorithm)) if signing.foreign else own
        # Signed under a header that joserfc takes; the one that is sent may say anything, and is what is signed.
        token = _compact(written, body, signing.algorithm, key)
        return _spoiled(token) if signing.spoil else token

    # --- tokens

    def claims_of(self, name: str, client_id: str) -> dict[str, Any]:
        """What the provider says of somebody, before any change."""
        person = self.people[name]
        said = {
            "sub": person.subject,
            "preferred_username": name,
            "email": person.email,
            "email_verified": person.email_verified,
            "groups": list(person.groups) if isinstance(person.groups, tuple) else person.groups,
            **person.more,
        }
        if person.groups is DROP:
            del said["groups"]
        return said

    def id_token(self, name: str, *, client_id: str = "aihub", session: str = "", nonce: str | None = None) -> str:
        """An ID token of somebody, with the changes of `id_claims`."""
        now = int(self.clock())
        right = {
            "iss": self.issuer,
            "aud": client_id,
            "azp": client_id,
            "typ": "ID",
            "iat": now,
            "auth_time": now,
            "exp": now + TOKEN_SECONDS,
            "jti": secrets.token_hex(8),
            **({"sid": session} if session else {}),
            **({"nonce": nonce} if nonce is not None else {}),
            **self.claims_of(name, client_id),
        }
        return self.sign(changed(right, self.id_claims))

    def access_token(self, name: str, *, client_id: str = "aihub", session: str = "") -> str:
        """An access token in Keycloak's form, with the changes of `access_claims`."""
        now, person = int(self.clock()), self.people[name]
        right = {
            "iss": self.issuer,
            "aud": "account",
            "azp": client_id,
            "typ": "Bearer",
            "iat": now,
            "exp": now + TOKEN_SECONDS,
            "jti": secrets.token_hex(8),
            "sub": person.subject,
            "sid": session,
            "realm_access": {"roles": [*person.realm_roles]},
            "resource_access": {client: {"roles": [*roles]} for client, roles in person.client_roles.items()},
        }
        return self.sign(changed(right, self.access_claims))

    def logout_token(
        self, *, name: str = "", session: str = "", client_id: str = "aihub", signing: Signing | None = None
    ) -> str:
        """A logout token (Back-Channel Logout 1.0 §2.4), with the changes of `logout_claims`."""
        now = int(self.clock())
        right = {
            "iss": self.issuer,
            "aud": client_id,
            "iat": now,
            "exp": now + 120,
            "jti": secrets.token_hex(8),
            "typ": "Logout",
            "events": {LOGOUT_EVENT: {}},
            **({"sub": self.people[name].subject} if name else {}),
            **({"sid": session} if session else {}),
        }
        return self.sign(changed(right, self.logout_claims), signing, typ="logout+jwt")

    def send_logout(self, token: str, address: str = "", *, client_id: str = "aihub") -> httpx.Response:
        """Tell the client that somebody signed out, as the provider would."""
        address = address or self.clients[client_id].back_channel
        return httpx.post(address, data={"logout_token": token}, timeout=30)

    def code_for(
        self, name: str, redirect_uri: str, verifier: str, *, nonce: str | None = None, client_id: str = "aihub"
    ) -> str:
        """A code as the browser would bring it."""
        challenge = b64(hashlib.sha256(verifier.encode()).digest())
        return self.issue_code(name, client_id, redirect_uri, challenge, nonce)

    def issue_code(self, name: str, client_id: str, redirect_uri: str, challenge: str, nonce: str | None) -> str:
        """A new session of `name`, and the code that stands for it."""
        session, code = secrets.token_hex(8), secrets.token_urlsafe(24)
        self.sessions[session] = _Session(name, client_id, nonce)
        self._codes[code] = _Code(session, redirect_uri, challenge)
        return code

    def end_sessions(self, name: str = "") -> list[str]:
        """End the sessions of somebody, or all; what is left of them is refused. Their ids."""
        ended = [key for key, each in self.sessions.items() if not name or each.person == name]
        for key in ended:
            self.sessions[key].ended = True
        return ended

    # --- driving it

    def sign_in(self, browser: httpx.Client, address: str, name: str) -> httpx.Response:
        """Open `address` as somebody who is signed in at the provider; the last answer, redirects followed."""
        browser.cookies.set(PERSON_COOKIE, name, domain="127.0.0.1")
        return browser.get(address, follow_redirects=True)

    async def tokens_of(
        self, client: OidcClient, name: str, *, nonce: str | None = "nonce-1", redirect_uri: str = ""
    ) -> Tokens:
        """The tokens that `client` gets for somebody's code."""
        uris = self.clients[client.provider.client_id].redirect_uris
        redirect_uri, verifier = redirect_uri or uris[0], secrets.token_urlsafe(48)
        code = self.code_for(name, redirect_uri, verifier, nonce=nonce, client_id=client.provider.client_id)
        return await client.exchange(code, redirect_uri, verifier)

    # --- answers of the token endpoint

    def redeem(self, form: Mapping[str, str], client_id: str) -> dict[str, Any] | str:
        """The answer for a code; an OAuth error code when it is refused."""
        code = self._codes.pop(form.get("code", ""), None)
        if code is None or code.redirect_uri != form.get("redirect_uri"):
            return "invalid_grant"
        challenge = b64(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if (self.pkce_required or code.challenge) and code.challenge != challenge:
            return "invalid_grant"
        session = self.sessions[code.session]
        return self._answer(code.session) if session.client == client_id and self._lives(session) else "invalid_grant"

    def renew(self, form: Mapping[str, str], client_id: str) -> dict[str, Any] | str:
        """The answer for a refresh token; one that was used ends its session."""
        given = form.get("refresh_token", "")
        found = next(((key, each) for key, each in self.sessions.items() if given in {each.refresh, *each.used}), None)
        if not given or found is None or found[1].client != client_id or not self._lives(found[1]):
            return "invalid_grant"
        key, session = found
        if given in session.used:
            session.ended = True
            return "invalid_grant"
        return self._answer(key)

    def log_in(self, form: Mapping[str, str], client_id: str) -> dict[str, Any] | str:
        """The answer for a name and a password."""
        person = self.people.get(form.get("username", ""))
        if not self.clients[client_id].password_grant:
            return "unauthorized_client"
        if person is None or person.password != form.get("password") or not person.enabled:
            return "invalid_grant"
        key = secrets.token_hex(8)
        self.sessions[key] = _Session(form["username"], client_id, None)
        return self._answer(key)

    def _lives(self, session: _Session) -> bool:
        return not session.ended and self.people[session.person].enabled

    def _answer(self, key: str) -> dict[str, Any]:
        session = self.sessions[key]
        access = self.access_token(session.person, client_id=session.client, session=key)
        self._access[access] = key
        if self.refresh_rotates or not session.refresh:
            session.used |= {session.refresh} - {""}
            session.refresh = f"refresh-{secrets.token_urlsafe(24)}"
        right = {
            "access_token": access,
            "expires_in": TOKEN_SECONDS,
            "refresh_token": session.refresh,
            "refresh_expires_in": 1800,
            "token_type": "Bearer",
            "id_token": self.id_token(session.person, client_id=session.client, session=key, nonce=session.nonce),
            "scope": "openid profile email",
        }
        return changed(right, self.token_answer)

    def session_of(self, access: str) -> _Session | None:
        """Whose access token that is; None: nobody's, any more."""
        key = self._access.get(access)
        return self.sessions[key] if key is not None and self._lives(self.sessions[key]) else None


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _compact(header: Mapping[str, Any], body: bytes, algorithm: str, key: AnyKey) -> str:
    """`header` and `body` signed with `key` by `algorithm`, whatever the header says."""
    model = jws.JWSRegistry.algorithms[algorithm]
    signed = f"{b64(json.dumps(header).encode())}.{b64(body)}"
    return f"{signed}.{b64(model.sign(signed.encode(), key))}"


def _signed_by_public_key(header: Mapping[str, Any], body: bytes, key: AnyKey) -> str:
    signed = f"{b64(json.dumps(header).encode())}.{b64(body)}"
    public = key.as_pem(private=False)
    return f"{signed}.{b64(hmac.new(public, signed.encode(), hashlib.sha256).digest())}"


def _spoiled(token: str) -> str:
    head, _, signature = token.rpartition(".")
    other = "A" if signature[5] != "A" else "B"
    return f"{head}.{signature[:5]}{other}{signature[6:]}"


class _Endpoint(RigEndpoint):
    rig: HostileProvider

    def _error(self, code: str, status: int, words: str = "") -> None:
        self.json({"error": code, "error_description": words or code.replace("_", " ")}, status)


class _Discovery(_Endpoint):
    endpoint = "discovery"

    def get(self) -> None:
        self.json(self.rig.metadata())


class _Keys(_Endpoint):
    endpoint = "keys"

    def get(self) -> None:
        self.json(self.rig.jwks())


class _Authorize(_Endpoint):
    """Sends the browser back with a code for whom its cookie names, or shows whom it may be."""

    endpoint = "authorize"

    def get(self) -> None:
        client_id, redirect_uri = self.get_query_argument("client_id", ""), self.get_query_argument("redirect_uri", "")
        client = self.rig.clients.get(client_id)
        if client is None or redirect_uri not in client.redirect_uris:
            # Never a redirect: the address is a stranger's (RFC 6749 §4.1.2.1).
            self.set_status(400)
            self.finish(f"Invalid parameter: {'redirect_uri' if client else 'client_id'}")
            return
        name = self.get_query_argument("person", self.get_cookie(PERSON_COOKIE, "") or "")
        if name not in self.rig.people and self.get_query_argument("prompt", "") == "none":
            self._back(redirect_uri, {"error": "login_required"})
        elif name not in self.rig.people:
            self._choose()
        elif self.rig.pkce_required and self.get_query_argument("code_challenge_method", "") != "S256":
            self._back(redirect_uri, {"error": "invalid_request"})
        else:
            challenge, nonce = self.get_query_argument("code_challenge", ""), self.get_query_argument("nonce", None)
            code = self.rig.issue_code(name, client_id, redirect_uri, challenge, nonce)
            sid = next(reversed(self.rig.sessions))
            self._back(redirect_uri, {"code": code, "session_state": sid})

    def _back(self, redirect_uri: str, answer: Mapping[str, str]) -> None:
        state = self.get_query_argument("state", "")
        right = {**answer, **({"state": state} if state else {}), "iss": self.rig.issuer}
        self.redirect(f"{redirect_uri}?{urlencode(changed(right, self.rig.callback), doseq=True)}")

    def _choose(self) -> None:
        asked = "".join(
            f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(self.get_query_argument(name))}">'
            for name in self.request.query_arguments
        )
        buttons = "".join(
            f'<button name="person" value="{html.escape(each)}">{each}</button>' for each in self.rig.people
        )
        self.finish(f"<!doctype html><title>Sign in to school</title><form>{asked}{buttons}</form>")


class _Token(_Endpoint):
    endpoint = "token"

    def post(self) -> None:
        form = {name: self.get_body_argument(name) for name in self.request.body_arguments}
        client_id = self._client(form)
        if client_id is None:
            # Keycloak: 401 invalid_client for an unknown client, 401 unauthorized_client for a wrong secret.
            self._error("unauthorized_client", 401, "Invalid client or Invalid client credentials")
            return
        grants = {
            "authorization_code": self.rig.redeem,
            "refresh_token": self.rig.renew,
            "password": self.rig.log_in,
        }
        grant = grants.get(form.get("grant_type", ""))
        answer = grant(form, client_id) if grant else "unsupported_grant_type"
        if isinstance(answer, str):
            self._error(answer, 400)
        else:
            self.json(answer)

    def _client(self, form: Mapping[str, str]) -> str | None:
        name, secret = form.get("client_id", ""), form.get("client_secret", "")
        kind, _, pair = self.request.headers.get("Authorization", "").partition(" ")
        if kind == "Basic":
            written, _, key = base64.b64decode(pair).decode().partition(":")
            name, secret = unquote_plus(written), unquote_plus(key)
        client = self.rig.clients.get(name)
        return name if client is not None and client.secret == secret else None


class _Userinfo(_Endpoint):
    endpoint = "userinfo"

    def get(self) -> None:
        _, _, token = self.request.headers.get("Authorization", "").partition(" ")
        session = self.rig.session_of(token)
        if session is None:
            self.set_header("WWW-Authenticate", 'Bearer realm="school", error="invalid_token"')
            self._error("invalid_token", 401)
            return
        self.json(changed(self.rig.claims_of(session.person, session.client), self.rig.userinfo_claims))


class _EndSession(_Endpoint):
    """RP-Initiated Logout 1.0: ends the session of the hint, and sends the browser back where it is allowed to."""

    endpoint = "end_session"

    def get(self) -> None:
        hint, back = (
            self.get_query_argument("id_token_hint", ""),
            self.get_query_argument("post_logout_redirect_uri", ""),
        )
        payload = hint.split(".")[1] if hint.count(".") == 2 else ""
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)) or b"{}")
        session = self.rig.sessions.get(claims.get("sid", ""))
        if session is not None:
            session.ended = True
        self.clear_cookie(PERSON_COOKIE)
        client = self.rig.clients.get(self.get_query_argument("client_id", claims.get("azp", "")))
        if back and client is not None and back in client.sign_out_uris:
            state = self.get_query_argument("state", "")
            self.redirect(f"{back}?{urlencode({'state': state})}" if state else back)
        elif back:
            self.set_status(400)
            self.finish("Invalid redirect uri")
        else:
            self.finish("<!doctype html><title>Signed out</title><h1>You are signed out</h1>")
