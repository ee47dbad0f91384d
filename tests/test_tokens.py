"""Tokens that a provider signs: what is believed, and everything hostile that is not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from aihub.tokens import (
    LEEWAY,
    LOGOUT_AGE,
    LOGOUT_EVENT,
    LONGEST_TOKEN,
    Flaw,
    Keys,
    Logout,
    TokenRefused,
    UnknownKey,
    check_access_token,
    check_id_token,
    check_logout_token,
)

ISSUER, CLIENT, NONCE, NOW = "https://id.example.org/realms/school", "aihub", "n-0S6_WzA2Mj", 1_800_000_000.0

RSA, OTHER_RSA = RSAKey.generate_key(2048), RSAKey.generate_key(2048)
P256, P384, P521 = ECKey.generate_key("P-256"), ECKey.generate_key("P-384"), ECKey.generate_key("P-521")
ED25519, ED448 = OKPKey.generate_key("Ed25519"), OKPKey.generate_key("Ed448")
WEAK = RSAKey(weak := rsa.generate_private_key(public_exponent=65537, key_size=1024), weak)

SIGNERS: dict[str, Any] = {
    "rsa": RSA,
    "other": OTHER_RSA,
    "p256": P256,
    "p384": P384,
    "p521": P521,
    "ed25519": ED25519,
    "ed448": ED448,
}
ID: dict[str, Any] = {
    "iss": ISSUER,
    "aud": CLIENT,
    "sub": "f:1:ada",
    "exp": NOW + 300,
    "iat": NOW,
    "nonce": NONCE,
    "typ": "ID",
}
ACCESS: dict[str, Any] = {
    "iss": ISSUER,
    "aud": "account",
    "azp": CLIENT,
    "sub": "f:1:ada",
    "exp": NOW + 60,
    "typ": "Bearer",
}
LOGOUT: dict[str, Any] = {
    "iss": ISSUER,
    "aud": CLIENT,
    "sub": "f:1:ada",
    "sid": "s-1",
    "jti": "t-1",
    "iat": NOW,
    "exp": NOW + 120,
    "events": {LOGOUT_EVENT: {}},
    "typ": "Logout",
}
GONE = object()
"""A claim or header that is taken out."""


def public(key: Any, key_id: str | None, **more: object) -> dict[str, Any]:
    document: dict[str, Any] = {**key.as_dict(private=False), "use": "sig", **more}
    document.pop("kid", None)
    return document if key_id is None else {**document, "kid": key_id}


DOCUMENT = {"keys": [public(key, name) for name, key in SIGNERS.items()]}
KEYS = Keys.of(DOCUMENT)


def encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def changed(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**base, **changes}.items() if value is not GONE}


def signed(header: bytes, payload: bytes, algorithm: str = "RS256", key: Any = RSA) -> str:
    """Any bytes, with a good signature."""
    text = f"{encoded(header)}.{encoded(payload)}"
    return f"{text}.{encoded(jws.JWSRegistry.algorithms[algorithm].sign(text.encode(), key))}"


def token(
    claims: Mapping[str, Any], *, algorithm: str = "RS256", signer: str = "rsa", header: Mapping[str, Any] | None = None
) -> str:
    heading = changed({"alg": algorithm, "kid": signer, "typ": "JWT"}, header or {})
    return signed(json.dumps(heading).encode(), json.dumps(claims).encode(), algorithm, SIGNERS[signer])


def id_claims(
    text: str, *, keys: Keys = KEYS, nonce: str | None = NONCE, subject: str | None = None
) -> Mapping[str, Any]:
    return check_id_token(text, keys, issuer=ISSUER, client_id=CLIENT, now=NOW, nonce=nonce, subject=subject)


def access_claims(text: str, *, keys: Keys = KEYS) -> Mapping[str, Any]:
    return check_access_token(text, keys, issuer=ISSUER, client_id=CLIENT, now=NOW)


def logout(text: str, *, keys: Keys = KEYS) -> Logout:
    return check_logout_token(text, keys, issuer=ISSUER, client_id=CLIENT, now=NOW)


CHECKS: dict[str, tuple[Any, dict[str, Any]]] = {
    "id": (id_claims, ID),
    "access": (access_claims, ACCESS),
    "logout": (logout, LOGOUT),
}
every_kind = pytest.mark.parametrize("kind", CHECKS)


def refused(check: Any, text: Any, **options: Any) -> TokenRefused:
    with pytest.raises(TokenRefused) as caught:
        check(text, **options)
    if isinstance(text, str) and "." in text:
        assert all(part not in str(caught.value) for part in text.split(".") if len(part) > 8)
    assert NONCE not in str(caught.value)
    return caught.value


# --- good ones -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("algorithm", "signer"),
    [
        *((f"{family}{size}", "rsa") for family in ("RS", "PS") for size in (256, 384, 512)),
        ("ES256", "p256"),
        ("ES384", "p384"),
        ("ES512", "p521"),
        ("EdDSA", "ed25519"),
        ("EdDSA", "ed448"),
    ],
)
@every_kind
def test_a_good_token_of_each_algorithm_is_believed(kind: str, algorithm: str, signer: str) -> None:
    check, claims = CHECKS[kind]
    found = check(token(claims, algorithm=algorithm, signer=signer))
    assert found == (Logout("f:1:ada", "s-1", "t-1", NOW) if kind == "logout" else claims)


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": [CLIENT]},
        {"aud": [CLIENT, "other"], "azp": CLIENT},
        {"azp": CLIENT},
        {"nbf": NOW},
        {"exp": NOW - LEEWAY + 1},
        {"iat": NOW + LEEWAY},
        {"nbf": NOW + LEEWAY},
        {"exp": NOW + 0.5},
        {"iat": int(NOW)},
        {"typ": GONE},
        {"typ": ["unheard-of"]},
        {"sub": "x" * 255},
    ],
    ids=str,
)
def test_an_id_token_may_be_so(changes: dict[str, Any]) -> None:
    claims = changed(ID, changes)
    assert id_claims(token(claims)) == claims


@pytest.mark.parametrize(
    "header",
    [{"typ": GONE}, {"typ": "jwt"}, {"typ": "application/JWT"}, {"x5t": "abc"}, {"unheard-of": 1}, {"cty": "json"}],
    ids=str,
)
def test_a_header_may_be_so(header: dict[str, Any]) -> None:
    assert id_claims(token(ID, header=header)) == ID


def test_a_refresh_compares_no_nonce_but_the_person() -> None:
    assert id_claims(token(changed(ID, {"nonce": GONE})), nonce=None, subject="f:1:ada")["sub"] == "f:1:ada"
    assert id_claims(token(ID), nonce=None)["nonce"] == NONCE
    assert refused(id_claims, token(ID), nonce=None, subject="f:1:bob").code is Flaw.SUBJECT


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"sub": GONE}, Logout("", "s-1", "t-1", NOW)),
        ({"sid": GONE}, Logout("f:1:ada", "", "t-1", NOW)),
        ({"exp": GONE}, Logout("f:1:ada", "s-1", "t-1", NOW)),
        ({"iat": NOW - LOGOUT_AGE - LEEWAY + 1}, Logout("f:1:ada", "s-1", "t-1", NOW - LOGOUT_AGE - LEEWAY + 1)),
        ({"events": {LOGOUT_EVENT: {}, "urn:other": 1}}, Logout("f:1:ada", "s-1", "t-1", NOW)),
    ],
    ids=str,
)
def test_a_logout_token_may_be_so(changes: dict[str, Any], expected: Logout) -> None:
    assert logout(token(changed(LOGOUT, changes))) == expected
    assert logout(token(changed(LOGOUT, changes), header={"typ": "logout+jwt"})) == expected


# --- claims ----------------------------------------------------------------------------------------------------------

ANY_TOKEN = [
    ({"iss": "https://evil.example.org"}, Flaw.ISSUER),
    ({"iss": f"{ISSUER}/"}, Flaw.ISSUER),
    ({"iss": ISSUER.upper()}, Flaw.ISSUER),
    ({"iss": [ISSUER]}, Flaw.ISSUER),
    ({"iss": GONE}, Flaw.ISSUER),
    ({"exp": NOW - LEEWAY}, Flaw.EXPIRED),
    ({"exp": 0}, Flaw.EXPIRED),
    ({"exp": str(NOW + 300)}, Flaw.CLAIMS),
    ({"exp": True}, Flaw.CLAIMS),
    ({"exp": None}, Flaw.CLAIMS),
    ({"exp": -1}, Flaw.CLAIMS),
    ({"exp": 10**400}, Flaw.CLAIMS),
    ({"exp": [NOW + 300]}, Flaw.CLAIMS),
    ({"nbf": NOW + LEEWAY + 1}, Flaw.NOT_YET),
    ({"nbf": "soon"}, Flaw.CLAIMS),
    ({"iat": NOW + LEEWAY + 1}, Flaw.NOT_YET),
    ({"iat": "now"}, Flaw.CLAIMS),
    ({"iat": False}, Flaw.CLAIMS),
    ({"typ": "Refresh"}, Flaw.KIND),
    ({"typ": "Offline"}, Flaw.KIND),
]


@pytest.mark.parametrize(("changes", "flaw"), ANY_TOKEN, ids=str)
@every_kind
def test_what_no_token_may_claim(kind: str, changes: dict[str, Any], flaw: Flaw) -> None:
    check, claims = CHECKS[kind]
    assert refused(check, token(changed(claims, changes))).code is flaw


@pytest.mark.parametrize(
    ("changes", "flaw"),
    [
        ({"aud": "other"}, Flaw.AUDIENCE),
        ({"aud": GONE}, Flaw.AUDIENCE),
        ({"aud": []}, Flaw.AUDIENCE),
        ({"aud": {CLIENT: 1}}, Flaw.AUDIENCE),
        ({"aud": f"{CLIENT} other"}, Flaw.AUDIENCE),
        ({"aud": f"{CLIENT}2"}, Flaw.AUDIENCE),
        ({"aud": [[CLIENT]]}, Flaw.AUDIENCE),
        ({"aud": None}, Flaw.AUDIENCE),
        ({"aud": [CLIENT, "other"]}, Flaw.AZP),
        ({"aud": [CLIENT, "other"], "azp": "other"}, Flaw.AZP),
        ({"azp": "other"}, Flaw.AZP),
        ({"azp": None}, Flaw.AZP),
        ({"azp": [CLIENT]}, Flaw.AZP),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["id", "logout"])
def test_for_whom_a_token_may_not_be(kind: str, changes: dict[str, Any], flaw: Flaw) -> None:
    check, claims = CHECKS[kind]
    assert refused(check, token(changed(claims, changes))).code is flaw


@pytest.mark.parametrize(
    ("changes", "flaw"),
    [
        ({"nonce": "another"}, Flaw.NONCE),
        ({"nonce": ""}, Flaw.NONCE),
        ({"nonce": GONE}, Flaw.NONCE),
        ({"nonce": [NONCE]}, Flaw.NONCE),
        ({"nonce": NONCE.lower()}, Flaw.NONCE),
        ({"exp": GONE}, Flaw.CLAIMS),
        ({"iat": GONE}, Flaw.CLAIMS),
        ({"sub": GONE}, Flaw.SUBJECT),
        ({"sub": ""}, Flaw.SUBJECT),
        ({"sub": None}, Flaw.SUBJECT),
        ({"sub": 7}, Flaw.SUBJECT),
        ({"sub": ["f:1:ada"]}, Flaw.SUBJECT),
        ({"sub": "x" * 256}, Flaw.SUBJECT),
        ({"sub": "ada\n"}, Flaw.SUBJECT),
        ({"sub": "\ud800"}, Flaw.SUBJECT),
        ({"events": {LOGOUT_EVENT: {}}}, Flaw.KIND),
        ({"typ": "Logout"}, Flaw.KIND),
        ({"typ": "Bearer"}, Flaw.KIND),
        ({"typ": "bearer"}, Flaw.KIND),
        ({"typ": "DPoP"}, Flaw.KIND),
    ],
    ids=str,
)
def test_what_an_id_token_may_not_claim(changes: dict[str, Any], flaw: Flaw) -> None:
    assert refused(id_claims, token(changed(ID, changes))).code is flaw


def test_an_empty_nonce_is_none() -> None:
    assert refused(id_claims, token(changed(ID, {"nonce": ""})), nonce="").code is Flaw.NONCE


@pytest.mark.parametrize(
    ("changes", "flaw"),
    [
        ({"azp": "other"}, Flaw.AZP),
        ({"azp": GONE}, Flaw.AZP),
        ({"azp": None}, Flaw.AZP),
        ({"azp": GONE, "aud": CLIENT}, Flaw.AZP),
        ({"exp": GONE}, Flaw.CLAIMS),
        ({"typ": "ID"}, Flaw.KIND),
        ({"typ": "Logout"}, Flaw.KIND),
    ],
    ids=str,
)
def test_what_an_access_token_may_not_claim(changes: dict[str, Any], flaw: Flaw) -> None:
    assert refused(access_claims, token(changed(ACCESS, changes))).code is flaw


@pytest.mark.parametrize(
    ("changes", "flaw"),
    [
        ({"events": GONE}, Flaw.EVENTS),
        ({"events": {}}, Flaw.EVENTS),
        ({"events": LOGOUT_EVENT}, Flaw.EVENTS),
        ({"events": [LOGOUT_EVENT]}, Flaw.EVENTS),
        ({"events": {LOGOUT_EVENT: None}}, Flaw.EVENTS),
        ({"events": {LOGOUT_EVENT: True}}, Flaw.EVENTS),
        ({"events": {f"{LOGOUT_EVENT}/": {}}}, Flaw.EVENTS),
        ({"nonce": NONCE}, Flaw.NONCE),
        ({"nonce": None}, Flaw.NONCE),
        ({"sub": GONE, "sid": GONE}, Flaw.SUBJECT),
        ({"sub": "", "sid": ""}, Flaw.SUBJECT),
        ({"sub": 7}, Flaw.SUBJECT),
        ({"sid": ["s-1"]}, Flaw.CLAIMS),
        ({"sid": "s" * 256}, Flaw.CLAIMS),
        ({"jti": GONE}, Flaw.CLAIMS),
        ({"jti": ""}, Flaw.CLAIMS),
        ({"jti": 1}, Flaw.CLAIMS),
        ({"jti": "j" * 256}, Flaw.CLAIMS),
        ({"iat": GONE}, Flaw.CLAIMS),
        ({"iat": NOW - LOGOUT_AGE - LEEWAY}, Flaw.EXPIRED),
        ({"iat": NOW - LOGOUT_AGE - LEEWAY, "exp": GONE}, Flaw.EXPIRED),
        ({"typ": "ID"}, Flaw.KIND),
        ({"typ": "Bearer"}, Flaw.KIND),
    ],
    ids=str,
)
def test_what_a_logout_token_may_not_claim(changes: dict[str, Any], flaw: Flaw) -> None:
    assert refused(logout, token(changed(LOGOUT, changes))).code is flaw


@pytest.mark.parametrize("kind", CHECKS)
@pytest.mark.parametrize("other", CHECKS)
@pytest.mark.parametrize("named", [True, False], ids=["keycloak", "unnamed"])
def test_no_kind_of_token_is_taken_for_another(kind: str, other: str, named: bool) -> None:
    check, _ = CHECKS[kind]
    claims = changed(CHECKS[other][1], {} if named else {"typ": GONE})
    if kind == other:
        assert check(token(claims))
    elif (kind, named) == ("access", False):
        # Without Keycloak's own word for it, `azp` tells.
        assert refused(check, token(claims)).code is Flaw.AZP
    else:
        assert refused(check, token(claims)).code in {Flaw.KIND, Flaw.EVENTS, Flaw.AUDIENCE, Flaw.NONCE}


@pytest.mark.parametrize(
    ("kind", "typ"), [("id", "logout+jwt"), ("id", "at+jwt"), ("id", 7), ("access", "logout+jwt"), ("logout", "at+jwt")]
)
def test_a_header_of_another_kind_is_refused(kind: str, typ: object) -> None:
    check, claims = CHECKS[kind]
    assert refused(check, token(claims, header={"typ": typ})).code is Flaw.KIND


# --- signatures and keys ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "algorithm", ["none", "None", "NONE", "", "HS256", "HS384", "HS512", "ES256K", "RS1", "Ed25519"]
)
@every_kind
def test_an_algorithm_that_is_not_taken(kind: str, algorithm: str) -> None:
    check, claims = CHECKS[kind]
    assert refused(check, token(claims, header={"alg": algorithm})).code is Flaw.ALGORITHM


@pytest.mark.parametrize("algorithm", [None, 7, ["RS256"], {"RS256": 1}, True, GONE], ids=str)
def test_an_algorithm_that_is_no_text(algorithm: object) -> None:
    assert refused(id_claims, token(ID, header={"alg": algorithm})).code is Flaw.ALGORITHM


@every_kind
@pytest.mark.parametrize("signature", ["", "AA"], ids=["none", "some"])
def test_no_signature_at_all(kind: str, signature: str) -> None:
    check, claims = CHECKS[kind]
    header = encoded(b'{"alg":"none"}')
    text = f"{header}.{encoded(json.dumps(claims).encode())}.{signature}"
    assert refused(check, text).code is (Flaw.ALGORITHM if signature else Flaw.MALFORMED)


@every_kind
@pytest.mark.parametrize("secret", ["pem", "jwk", "modulus"])
def test_the_public_key_is_no_secret(kind: str, secret: str) -> None:
    check, claims = CHECKS[kind]
    jwk = public(RSA, "rsa")
    material = {"pem": RSA.as_pem(), "jwk": json.dumps(jwk).encode(), "modulus": jwk["n"].encode()}[secret]
    header = encoded(b'{"alg":"HS256","kid":"rsa"}')
    text = f"{header}.{encoded(json.dumps(claims).encode())}"
    forged = f"{text}.{encoded(hmac.new(material, text.encode(), hashlib.sha256).digest())}"
    assert refused(check, forged).code is Flaw.ALGORITHM


@pytest.mark.parametrize(
    ("signer", "algorithm"),
    [
        ("rsa", "ES256"),
        ("p256", "RS256"),
        ("p256", "ES384"),
        ("p384", "ES256"),
        ("p521", "ES256"),
        ("ed25519", "ES256"),
        ("p256", "EdDSA"),
        ("rsa", "EdDSA"),
    ],
)
def test_the_algorithm_is_of_the_keys_own_family(signer: str, algorithm: str) -> None:
    text = token(ID, signer="rsa", header={"alg": algorithm, "kid": signer})
    assert refused(id_claims, text).code is Flaw.ALGORITHM


def test_a_key_says_for_which_algorithm_it_is() -> None:
    keys = Keys.of({"keys": [public(RSA, "rsa", alg="PS256")]})
    assert refused(id_claims, token(ID), keys=keys).code is Flaw.ALGORITHM
    assert id_claims(token(ID, algorithm="PS256"), keys=keys) == ID


@every_kind
def test_the_key_of_another(kind: str) -> None:
    check, claims = CHECKS[kind]
    assert refused(check, token(claims, signer="other", header={"kid": "rsa"})).code is Flaw.SIGNATURE
    assert not isinstance(refused(check, token(claims, signer="other", header={"kid": "rsa"})), UnknownKey)


@pytest.mark.parametrize("signer", ["rsa", "p256", "ed25519"])
@pytest.mark.parametrize("cut", [1, 4, 43], ids=lambda cut: f"-{cut}")
def test_a_signature_that_is_cut(signer: str, cut: int) -> None:
    algorithm = {"rsa": "RS256", "p256": "ES256", "ed25519": "EdDSA"}[signer]
    assert refused(id_claims, token(ID, algorithm=algorithm, signer=signer)[:-cut]).code is Flaw.SIGNATURE


@pytest.mark.parametrize("signer", ["rsa", "p256", "ed25519"])
def test_a_signature_of_nothing(signer: str) -> None:
    algorithm = {"rsa": "RS256", "p256": "ES256", "ed25519": "EdDSA"}[signer]
    text, _, signature = token(ID, algorithm=algorithm, signer=signer).rpartition(".")
    zeros = encoded(bytes(len(base64.urlsafe_b64decode(signature + "=="))))
    assert refused(id_claims, f"{text}.{zeros}").code is Flaw.SIGNATURE


def test_claims_that_were_changed_after_signing() -> None:
    header, _, signature = token(ID).split(".")
    payload = encoded(json.dumps({**ID, "sub": "f:1:bob"}).encode())
    assert refused(id_claims, f"{header}.{payload}.{signature}").code is Flaw.SIGNATURE


@pytest.mark.parametrize("key_id", ["unheard-of", ""])
def test_an_unknown_key_is_worth_another_look(key_id: str) -> None:
    found = refused(id_claims, token(ID, header={"kid": key_id}))
    assert isinstance(found, UnknownKey)
    assert found.code is Flaw.KEY


@pytest.mark.parametrize("key_id", [7, ["rsa"], {"rsa": 1}, None, True], ids=str)
def test_a_key_id_that_is_no_text(key_id: object) -> None:
    assert refused(id_claims, token(ID, header={"kid": key_id})).code is Flaw.KEY


def test_a_token_that_names_no_key() -> None:
    text = token(ID, header={"kid": GONE})
    assert id_claims(text, keys=Keys.of({"keys": [public(RSA, None), public(P256, None)]})) == ID
    assert id_claims(text, keys=Keys.of({"keys": [public(RSA, "rsa")]})) == ID
    several = refused(id_claims, text, keys=Keys.of({"keys": [public(RSA, "a"), public(OTHER_RSA, "b")]}))
    assert (several.code, type(several)) == (Flaw.KEY, TokenRefused)
    rotated = refused(id_claims, text, keys=Keys.of({"keys": [public(OTHER_RSA, None)]}))
    assert (rotated.code, type(rotated)) == (Flaw.SIGNATURE, UnknownKey)


def test_two_keys_of_one_name_are_both_tried() -> None:
    keys = Keys.of({"keys": [public(OTHER_RSA, "rsa"), public(P256, "rsa"), public(RSA, "rsa")]})
    assert id_claims(token(ID), keys=keys) == ID
    assert len(keys) == 3


@pytest.mark.parametrize(
    "header",
    [
        {"jwk": public(OTHER_RSA, "rsa")},
        {"jku": "https://evil.example.org/keys"},
        {"x5u": "https://evil.example.org/chain"},
        {"x5c": ["MII"]},
        {"crit": ["exp"]},
        {"crit": ["b64"], "b64": False},
        {"b64": False},
        {"b64": True},
    ],
    ids=str,
)
@every_kind
def test_a_token_brings_no_key_and_no_form_of_its_own(kind: str, header: dict[str, Any]) -> None:
    check, claims = CHECKS[kind]
    assert refused(check, token(claims, header=header)).code is Flaw.KEY


USELESS: dict[str, Any] = {
    "for encryption": public(RSA, "rsa", use="enc"),
    "for encryption by its algorithm": public(RSA, "rsa", alg="RSA-OAEP"),
    "for HMAC by its algorithm": public(RSA, "rsa", alg="HS256"),
    "algorithm of another family": public(RSA, "rsa", alg="ES256"),
    "algorithm a list": public(RSA, "rsa", alg=["RS256"]),
    "use a list": public(RSA, "rsa", use=["sig"]),
    "operations without verify": public(RSA, "rsa", key_ops=["encrypt"]),
    "operations a text": public(RSA, "rsa", key_ops="verify"),
    "operations none": public(RSA, "rsa", key_ops=None),
    "secret": {"kty": "oct", "kid": "rsa", "k": OctKey.generate_key(256).as_dict()["k"]},
    "weak": public(WEAK, "rsa"),
    "modulus of no sound size": {**public(RSA, "rsa"), "n": "A" * 4000},
    "modulus enormous": {**public(RSA, "rsa"), "n": "_" * 1_000_000},
    "modulus no base64": {**public(RSA, "rsa"), "n": "é" * 342},
    "modulus a number": {**public(RSA, "rsa"), "n": 7},
    "modulus missing": {"kty": "RSA", "kid": "rsa", "e": "AQAB"},
    "exponent one": {**public(RSA, "rsa"), "e": "AQ"},
    "exponent even": {**public(RSA, "rsa"), "e": "Ag"},
    "exponent enormous": {**public(RSA, "rsa"), "e": public(RSA, "rsa")["n"]},
    "exponent long": {**public(RSA, "rsa"), "e": encoded((2**65 + 1).to_bytes(9, "big"))},
    "exponent missing": {**public(RSA, "rsa"), "e": None},
    "kind unknown": {**public(RSA, "rsa"), "kty": "AKP"},
    "kind a list": {**public(RSA, "rsa"), "kty": ["RSA"]},
    "kind missing": {"kid": "rsa", "n": public(RSA, "rsa")["n"], "e": "AQAB"},
    "curve unknown": {**public(P256, "rsa"), "crv": "P-999"},
    "curve a list": {**public(P256, "rsa"), "crv": ["P-256"]},
    "curve of Bitcoin": public(ECKey.generate_key("secp256k1"), "rsa"),
    "curve of another kind": {**public(P256, "rsa"), "crv": "Ed25519"},
    "curve of another kind, too": {**public(ED25519, "rsa"), "crv": "P-256"},
    "curve for agreement": public(OKPKey.generate_key("X25519"), "rsa"),
    "point off the curve": {**public(P256, "rsa"), "y": public(P256, "rsa")["x"]},
    "point cut": {**public(ED25519, "rsa"), "x": "AAAA"},
    "id a number": {**public(RSA, "rsa"), "kid": 7},
    "a text": "rsa",
    "nothing": None,
    "a list": [public(RSA, "rsa")],
}


@pytest.mark.parametrize("useless", USELESS.values(), ids=USELESS)
def test_a_key_that_cannot_be_used_is_left_out(useless: object) -> None:
    keys = Keys.of({"keys": [useless]})
    assert len(keys) == 0
    assert isinstance(refused(id_claims, token(ID), keys=keys), UnknownKey)
    assert id_claims(token(ID), keys=Keys.of({"keys": [useless, public(RSA, "rsa")]})) == ID


def test_what_stands_beside_a_key_is_not_looked_at() -> None:
    beside = {"x5c": [7], "x5u": "ftp://x", "x5t#S256": 1, "key_ops": ["verify", "sing"], "oth": 1, "alg": "RS256"}
    assert id_claims(token(ID), keys=Keys.of({"keys": [public(RSA, "rsa", **beside)]})) == ID


def test_a_private_part_is_not_kept() -> None:
    keys = Keys.of({"keys": [{**RSA.as_dict(private=True), "kid": "rsa"}]})
    assert not keys.fitting("rsa", "RS256")[0].is_private


@pytest.mark.parametrize("document", [None, [], "{}", 7, {}, {"keys": None}, {"keys": {}}, {"keys": "x"}], ids=str)
def test_a_document_that_lists_no_keys(document: object) -> None:
    assert refused(Keys.of, document).code is Flaw.MALFORMED


def test_a_document_with_too_many_keys() -> None:
    assert refused(Keys.of, {"keys": [public(P256, "a")] * 65}).code is Flaw.MALFORMED
    assert len(Keys.of({"keys": [public(P256, "a")] * 64})) == 64


def test_keys_show_their_names_only() -> None:
    assert repr(Keys.of({"keys": [public(RSA, "rsa"), public(P256, None)]})) == "Keys('rsa', None)"


# --- form ------------------------------------------------------------------------------------------------------------

HEADER = b'{"alg":"RS256","kid":"rsa"}'


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "a.b",
        "a.b.c.d",
        "a.b.c.d.e",
        f"{token(ID)}.",
        f".{token(ID)}",
        f" {token(ID)}",
        f"{token(ID)}\n",
        token(ID).replace(".", ".=", 1),
        "é.é.é",
        None,
        7,
        token(ID).encode(),
        [token(ID)],
    ],
    ids=repr,
)
@every_kind
def test_what_is_no_token(kind: str, text: Any) -> None:
    assert refused(CHECKS[kind][0], text).code in {Flaw.MALFORMED, Flaw.SIGNATURE}


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"[]",
        b'"alg"',
        b"7",
        b"null",
        b"{",
        b'{"alg":"RS256","kid":"rsa","alg":"none"}',
        b'{"alg":"none","kid":"rsa","alg":"RS256"}',
        b'{"alg":"RS256","kid":"rsa","x":NaN}',
        b'{"alg":"RS256","kid":"rsa","x":Infinity}',
        '{"alg":"RS256","kid":"rsa"}'.encode("utf-16"),
        b'{"alg":"RS256","kid":"\xff"}',
        b"[" * 10_000,
        b'{"alg":"RS256","kid":"rsa","x":' + b"9" * 5000 + b"}",
    ],
    ids=lambda header: repr(header[:40]),
)
def test_a_header_that_is_no_object(header: bytes) -> None:
    assert refused(id_claims, signed(header, json.dumps(ID).encode())).code is Flaw.MALFORMED


@pytest.mark.parametrize(
    "payload",
    [
        b"[]",
        b'"sub"',
        b"null",
        b"7",
        b"{",
        b'{"sub":"a","sub":"b"}',
        b'{"deep":{"x":1,"x":1}}',
        b'{"exp":NaN}',
        b'{"exp":-Infinity}',
        b"\xff",
        json.dumps(ID).encode("utf-16"),
        b"[" * 40_000,
        b'{"a":' * 5_000,
    ],
    ids=lambda payload: repr(payload[:40]),
)
@every_kind
def test_claims_that_are_no_object(kind: str, payload: bytes) -> None:
    assert refused(CHECKS[kind][0], signed(HEADER, payload)).code is Flaw.MALFORMED


def test_a_time_that_is_no_number_of_seconds() -> None:
    text = json.dumps(changed(ID, {"exp": 0})).replace('"exp": 0', '"exp": 1e400').encode()
    assert refused(id_claims, signed(HEADER, text)).code is Flaw.CLAIMS


def test_a_token_has_a_longest_length() -> None:
    room = LONGEST_TOKEN - len(token(ID))
    fits = token({**ID, "x": "x" * (room * 3 // 4 - 16)})
    assert LONGEST_TOKEN - 40 < len(fits) <= LONGEST_TOKEN
    assert id_claims(fits)["sub"] == "f:1:ada"
    assert "too long" in str(refused(id_claims, token({**ID, "x": "x" * room})))


# --- anything --------------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def only_refused(check: Any, text: str) -> None:
    try:
        check(text)
    except TokenRefused:
        return


@FUZZ
@given(
    st.sampled_from(sorted(CHECKS)), st.text() | st.from_regex(r"[A-Za-z0-9_-]*(\.[A-Za-z0-9_-]*){2}", fullmatch=True)
)
def test_any_text_is_refused(kind: str, text: str) -> None:
    refused(CHECKS[kind][0], text)


@FUZZ
@given(
    st.sampled_from(sorted(CHECKS)),
    st.dictionaries(
        st.sampled_from(["alg", "kid", "typ", "cty", "x5t", "crit", "b64", "url", "p2c"]), JSON, max_size=3
    ),
)
def test_any_header_is_refused_or_harmless(kind: str, header: dict[str, Any]) -> None:
    check, claims = CHECKS[kind]
    only_refused(check, token(claims, header=header))


@FUZZ
@given(st.data(), st.sampled_from(sorted(CHECKS)))
def test_any_claims_are_refused_or_right(data: st.DataObject, kind: str) -> None:
    check, claims = CHECKS[kind]
    changes = data.draw(
        st.dictionaries(st.sampled_from([*sorted(claims), "nbf", "azp", "nonce", "sid"]), JSON, max_size=2)
    )
    only_refused(check, token({**claims, **changes}))


@FUZZ
@given(st.data())
def test_any_change_of_a_token_is_refused(data: st.DataObject) -> None:
    good = token(ID)
    at = data.draw(st.integers(0, len(good) - 1))
    letter = data.draw(st.sampled_from("ABCDEFabcdef0189-_.=+/ \n\x00"))
    if good[at] != letter:
        refused(id_claims, good[:at] + letter + good[at + 1 :])


@FUZZ
@given(
    st.lists(
        st.dictionaries(st.sampled_from(["kty", "n", "e", "crv", "x", "y", "kid", "use", "alg", "key_ops", "d"]), JSON)
        | st.fixed_dictionaries(
            {"kty": st.sampled_from(["RSA", "EC", "OKP", "oct"]), "crv": st.sampled_from(["P-256", "Ed448"])},
            optional={
                name: st.from_regex(r"[A-Za-z0-9_-]{0,90}", fullmatch=True) for name in ("n", "e", "x", "y", "k")
            },
        ),
        max_size=4,
    )
)
def test_any_keys_are_refused_or_left_out(listed: list[dict[str, Any]]) -> None:
    assert id_claims(token(ID), keys=Keys.of({"keys": [*listed, public(RSA, "rsa")]})) == ID


def test_an_error_says_what_it_is() -> None:
    assert str(TokenRefused("replay")) == "replay"
    assert TokenRefused("replay").code is Flaw.REPLAY
    assert str(UnknownKey(Flaw.KEY, "no key")) == "key: no key"
    with pytest.raises(ValueError, match="no-such-flaw"):
        TokenRefused("no-such-flaw")
