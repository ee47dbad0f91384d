"""The provider's signed tokens: whether one may be believed, at a given time.

    TokenRefused      a token that nobody may be signed in, or out, with; `code` says why
    └── UnknownKey    … because its key is not among those known; the provider may have new ones

The rules are those of OpenID Connect Core 1.0 §3.1.3.7 (ID tokens), OpenID Connect Back-Channel Logout 1.0 §2.6
(logout tokens) and RFC 8725. The signature is joserfc's to check; which key and which algorithm it may be is decided
here, before joserfc sees the token.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwa import JWSAlgModel
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.util import urlsafe_b64decode

from aihub.errors import AIHubError

__all__ = [
    "LEEWAY",
    "LONGEST_TOKEN",
    "Flaw",
    "Keys",
    "Logout",
    "TokenRefused",
    "UnknownKey",
    "check_access_token",
    "check_id_token",
    "check_logout_token",
]

LEEWAY = 60
"""Seconds that the provider's clock may differ from ours."""

LOGOUT_AGE = 300
"""Seconds after which a logout token is too old, whatever it says itself; a replay is remembered for so long."""

LONGEST_TOKEN = 64 * 1024
LONGEST_ID = 255
"""Of subjects (OpenID Connect Core 1.0 §2), sessions and the ids of tokens: what a column of the database takes."""

LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"

_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "Ed25519": "EdDSA", "Ed448": "EdDSA"}
_ALGORITHMS = frozenset({*_RSA, *_CURVES.values()})

_MOST_KEYS = 64
_RSA_BITS = range(2048, 16384 + 1)
_LONGEST_EXPONENT = 64
_PUBLIC = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
_KEY_KINDS: dict[str, type[RSAKey | ECKey | OKPKey]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}

_FOREIGN_KEYS = frozenset({"jwk", "jku", "x5u", "x5c", "crit", "b64"})
"""Headers by which a token names its own key, or changes what the signature means. No provider needs them here."""

_LATEST = 2**53
"""No time in a token is later: beyond it a float no longer counts seconds."""


class Flaw(StrEnum):
    """What is wrong with a token. The value is written to the log and labels a metric."""

    MALFORMED = "malformed"
    ALGORITHM = "algorithm"
    KEY = "key"
    SIGNATURE = "signature"
    KIND = "kind"
    """A token of another kind: an access token where an ID token belongs, or the reverse."""
    ISSUER = "issuer"
    AUDIENCE = "audience"
    AZP = "azp"
    EXPIRED = "expired"
    NOT_YET = "not-yet"
    NONCE = "nonce"
    SUBJECT = "subject"
    CLAIMS = "claims"
    EVENTS = "events"
    REPLAY = "replay"


class TokenRefused(AIHubError):
    """A token is refused. The text is for the log: it never holds the token, nor what only its owner may know."""

    def __init__(self, code: Flaw | str, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}" if detail else str(code))
        self.code = Flaw(code)
        self.detail = detail


class UnknownKey(TokenRefused):
    """The token may be signed with a key that is not among those known; the provider's keys are worth another look."""


@dataclass(frozen=True, slots=True)
class Logout:
    """What a logout token says: end the sessions of `subject`, or the one called `session`; one of them may be "".

    `id` is the token's own (`jti`), `issued` when it was made (unix seconds).
    """

    subject: str
    session: str
    id: str
    issued: float


# --- keys ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Key:
    """A public key that signatures may be checked with, and the algorithms that it may be used for."""

    id: str | None
    algorithms: frozenset[str]
    key: RSAKey | ECKey | OKPKey


class Keys:
    """The keys that a provider signs with."""

    def __init__(self, keys: tuple[_Key, ...]) -> None:
        self._keys = keys

    @classmethod
    def of(cls, document: object) -> Keys:
        """The usable keys of a JWK set (RFC 7517 §5): those it cannot use, secret ones above all, are left out.

        Raises TokenRefused (malformed) when `document` is no JWK set.
        """
        listed = document.get("keys") if isinstance(document, Mapping) else None
        if not isinstance(listed, list):
            raise TokenRefused(Flaw.MALFORMED, "the provider's document of keys has no list of keys")
        if len(listed) > _MOST_KEYS:
            raise TokenRefused(Flaw.MALFORMED, f"the provider lists more than {_MOST_KEYS} keys")
        return cls(tuple(key for each in listed if (key := _usable(each)) is not None))

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return f"Keys({', '.join(repr(key.id) for key in self._keys)})"

    def fitting(self, key_id: str | None, algorithm: str) -> tuple[RSAKey | ECKey | OKPKey, ...]:
        """The keys that a token with this header may be signed with; never none.

        Raises UnknownKey when no key has that id, TokenRefused (algorithm) when the key is not for that algorithm, and
        TokenRefused (key) when the header names none and several would do.
        """
        known = [key for key in self._keys if key_id is None or key.id == key_id]
        if not known:
            raise UnknownKey(Flaw.KEY, "the token's key is not among those of the provider")
        fitting = tuple(key.key for key in known if algorithm in key.algorithms)
        if not fitting:
            raise TokenRefused(Flaw.ALGORITHM, f"the key is not for {algorithm}")
        if key_id is None and len(fitting) > 1:
            raise TokenRefused(Flaw.KEY, "the token names no key, and the provider has several")
        return fitting


def _usable(jwk: object) -> _Key | None:
    """The key that `jwk` stands for; None for secret keys, those for encryption, weak ones and unknown kinds."""
    if not isinstance(jwk, dict):
        return None
    kind, key_id, operations = jwk.get("kty"), jwk.get("kid"), jwk.get("key_ops", ["verify"])
    if not isinstance(kind, str) or kind not in _PUBLIC or not isinstance(key_id, str | None):
        return None
    if jwk.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return None
    # Only what makes the key: certificates beside it are not looked at, and a private part is not kept.
    bare: dict[str, Any] = {field: jwk.get(field) for field in _PUBLIC[kind]}
    algorithms = frozenset(each for each in _algorithms(bare) if jwk.get("alg", each) == each)
    if not algorithms or not all(isinstance(value, str) for value in bare.values()):
        return None
    try:
        return _Key(key_id, algorithms, _KEY_KINDS[kind].import_key({"kty": kind, **bare}))
    except (JoseError, ValueError, KeyError):
        return None


def _algorithms(bare: Mapping[str, Any]) -> tuple[str, ...]:
    """What a key may be used for: RSA keys of a sound size for RS and PS, a curve for its own algorithm."""
    if "n" in bare:
        return _RSA if _bits(bare["n"]) in _RSA_BITS and _bits(bare["e"]) <= _LONGEST_EXPONENT else ()
    curve = bare["crv"]
    return (_CURVES[curve],) if isinstance(curve, str) and curve in _CURVES else ()


def _bits(number: object) -> int:
    """Bits of a number as a JWK writes it; 0 for what is none. joserfc warns of weak keys but takes them."""
    if not isinstance(number, str) or len(number) > _RSA_BITS.stop:
        return 0
    try:
        return int.from_bytes(urlsafe_b64decode(number.encode()), "big").bit_length()
    except ValueError:
        return 0


# --- tokens ----------------------------------------------------------------------------------------------------------


class _Registry(jws.JWSRegistry):
    """joserfc's algorithms, without its warning of EdDSA's name, which providers use, and with room for long keys."""

    max_header_length = 4096
    max_payload_length = LONGEST_TOKEN
    max_signature_length = 4096

    def get_alg(self, name: str) -> JWSAlgModel:
        """The algorithm called `name`, which `_signed` has checked."""
        return self.algorithms[name]


# Headers that nobody knows are to be ignored (RFC 7515 §4).
_REGISTRY = _Registry(strict_check_header=False)


def check_id_token(
    token: str,
    keys: Keys,
    *,
    issuer: str,
    client_id: str,
    now: float,
    nonce: str | None,
    subject: str | None = None,
) -> Mapping[str, Any]:
    """The claims of an ID token that is for this client. Raises TokenRefused.

    `now` is in unix seconds. `nonce` is what the request sent; None for a refresh, which sends none. `subject` is
    whom the token must be about, when that is known already.
    """
    claims = _signed(token, keys, kinds=("jwt",), not_of=("bearer", "refresh", "offline", "logout", "dpop"))
    if "events" in claims:
        raise TokenRefused(Flaw.KIND, "it reports events, so it is no ID token")
    _check_issuer(claims, issuer)
    _check_audience(claims, client_id)
    _check_times(claims, now, required=("exp", "iat"))
    if nonce is not None and (not nonce or claims.get("nonce") != nonce):
        raise TokenRefused(Flaw.NONCE, "it does not belong to this sign-in")
    about = _short_text(claims, "sub", Flaw.SUBJECT)
    if not about or (subject is not None and about != subject):
        raise TokenRefused(Flaw.SUBJECT, "it is about somebody else" if about else "it is about nobody")
    return claims


def check_access_token(token: str, keys: Keys, *, issuer: str, client_id: str, now: float) -> Mapping[str, Any]:
    """The claims of an access token that Keycloak made for this client. Raises TokenRefused.

    To a client, access tokens are closed envelopes (RFC 6749 §1.4); Keycloak's are opened for the roles in them only.
    """
    claims = _signed(token, keys, kinds=("jwt", "at+jwt"), not_of=("id", "refresh", "offline", "logout"))
    _check_issuer(claims, issuer)
    if claims.get("azp") != client_id:
        raise TokenRefused(Flaw.AZP, "it was made for another client")
    _check_times(claims, now, required=("exp",))
    return claims


def check_logout_token(token: str, keys: Keys, *, issuer: str, client_id: str, now: float) -> Logout:
    """Whose sessions the provider ended. Raises TokenRefused. Whether its `id` came before is the caller's to know.

    A token without `exp`, which early drafts allowed and some providers still send, ends with its age.
    """
    claims = _signed(token, keys, kinds=("jwt", "logout+jwt"), not_of=("id", "bearer", "refresh", "offline", "dpop"))
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(LOGOUT_EVENT), dict):
        raise TokenRefused(Flaw.EVENTS, "it reports no logout")
    if "nonce" in claims:
        raise TokenRefused(Flaw.NONCE, "logout tokens have none, so that no ID token is taken for one")
    _check_issuer(claims, issuer)
    _check_audience(claims, client_id)
    _check_times(claims, now, required=("iat",))
    if now >= claims["iat"] + LOGOUT_AGE + LEEWAY:
        raise TokenRefused(Flaw.EXPIRED, f"it is older than {LOGOUT_AGE} s")
    subject, session = _short_text(claims, "sub", Flaw.SUBJECT), _short_text(claims, "sid", Flaw.CLAIMS)
    if not (subject or session):
        raise TokenRefused(Flaw.SUBJECT, "it names neither a person nor a session")
    token_id = _short_text(claims, "jti", Flaw.CLAIMS)
    if not token_id:
        raise TokenRefused(Flaw.CLAIMS, "it has no id (jti), so a replay could not be told")
    return Logout(subject, session, token_id, float(claims["iat"]))


def _signed(token: str, keys: Keys, *, kinds: tuple[str, ...], not_of: tuple[str, ...]) -> dict[str, Any]:
    """The claims of a token with a good signature, which calls itself (`typ` in the header) one of `kinds` or nothing.

    `not_of` are kinds by which Keycloak calls its tokens in a claim, in lower case: all are signed by the same key.
    """
    header_part, payload_part = _parts(token)
    header = _object(header_part)
    algorithm, key_id = _header(header, kinds)
    candidates = keys.fitting(key_id, algorithm)
    if not any(_verifies(token, key) for key in candidates):
        # Without a key id nothing else tells that the provider has changed its key.
        refused = UnknownKey if key_id is None else TokenRefused
        raise refused(Flaw.SIGNATURE, "its signature is wrong")
    claims = _object(payload_part)
    _check_kind(str(claims.get("typ", "")), {*not_of})
    return claims


def _header(header: Mapping[str, Any], kinds: tuple[str, ...]) -> tuple[str, str | None]:
    """The algorithm and the id of the key that a token names."""
    algorithm, key_id, kind = header.get("alg"), header.get("kid"), header.get("typ", "jwt")
    if _FOREIGN_KEYS & header.keys() or not isinstance(key_id, str | None):
        raise TokenRefused(Flaw.KEY, "its header brings a key, or a form of signature, of its own")
    if not isinstance(algorithm, str) or algorithm not in _ALGORITHMS:
        raise TokenRefused(Flaw.ALGORITHM, f"{algorithm!r:.40} is no algorithm that is taken")
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in kinds:
        raise TokenRefused(Flaw.KIND, f"it is a token of the kind {kind!r:.40}")
    return algorithm, key_id


def _check_kind(kind: str, wrong: set[str]) -> None:
    if kind.lower() in wrong:
        raise TokenRefused(Flaw.KIND, f"it is a token of the kind {kind!r:.40}")


def _parts(token: object) -> tuple[str, str]:
    """Header and payload, as they are encoded."""
    if not isinstance(token, str) or not token.isascii() or len(token) > LONGEST_TOKEN:
        raise TokenRefused(Flaw.MALFORMED, "it is too long, or no token at all")
    parts = token.split(".")
    if len(parts) != 3 or not all(parts):
        raise TokenRefused(Flaw.MALFORMED, "it does not have three parts")
    return parts[0], parts[1]


def _object(part: str) -> dict[str, Any]:
    """The JSON object in `part`: UTF-8, and no key twice, for readers differ on which one counts (RFC 8725 §2.4)."""
    try:
        text = urlsafe_b64decode(part.encode()).decode()
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise TokenRefused(Flaw.MALFORMED, "a part of it is no JSON") from error
    if not isinstance(value, dict):
        raise TokenRefused(Flaw.MALFORMED, "a part of it is no JSON object")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key occurs twice")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _verifies(token: str, key: RSAKey | ECKey | OKPKey) -> bool:
    try:
        found = jws.extract_compact(token.encode(), registry=_REGISTRY)
        return jws.validate_compact(found, key, registry=_REGISTRY)
    except JoseError as error:
        raise TokenRefused(Flaw.MALFORMED, "its form is wrong") from error


# --- claims ----------------------------------------------------------------------------------------------------------


def _check_issuer(claims: Mapping[str, Any], issuer: str) -> None:
    if claims.get("iss") != issuer:
        raise TokenRefused(Flaw.ISSUER, f"it is of {claims.get('iss')!r:.200}, not of {issuer}")


def _check_audience(claims: Mapping[str, Any], client_id: str) -> None:
    """It is for this client; and where it is for others too, it was made for this one."""
    audience = claims.get("aud")
    listed = [audience] if isinstance(audience, str) else audience
    if not isinstance(listed, list) or client_id not in listed:
        raise TokenRefused(Flaw.AUDIENCE, "it is for another client")
    if ("azp" in claims or len(listed) > 1) and claims.get("azp") != client_id:
        raise TokenRefused(Flaw.AZP, "it was made for another client")


def _check_times(claims: Mapping[str, Any], now: float, *, required: tuple[str, ...]) -> None:
    """`exp`, `nbf` and `iat`, where they are or must be (RFC 7519 §4.1)."""
    for name in ("exp", "nbf", "iat"):
        if name not in claims and name not in required:
            continue
        moment = claims.get(name)
        if isinstance(moment, bool) or not isinstance(moment, int | float) or not 0 <= moment <= _LATEST:
            raise TokenRefused(Flaw.CLAIMS, f"{name} is no time")
        if name == "exp" and now >= moment + LEEWAY:
            raise TokenRefused(Flaw.EXPIRED, f"it ended {now - moment:.0f} s ago")
        if name != "exp" and now < moment - LEEWAY:
            raise TokenRefused(Flaw.NOT_YET, f"it begins in {moment - now:.0f} s")


def _short_text(claims: Mapping[str, Any], name: str, flaw: Flaw) -> str:
    """The text of a claim that names something, "" where it is absent."""
    value = claims.get(name, "")
    if not isinstance(value, str) or len(value) > LONGEST_ID or not value.isprintable():
        raise TokenRefused(flaw, f"{name} is no name of anything")
    return value
