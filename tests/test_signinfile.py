"""What the policy file says of sign-in becomes what the core decides with."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from pydantic import ValidationError

from aihub.identity import Access, GitHubProvider, OidcProvider, SignInRules
from aihub.projects import Membership
from aihub.signinfile import SignInModel, is_loopback

ISSUER = "https://id.example.org/realms/school"
KEYCLOAK = {"issuer": ISSUER, "clientId": "aihub"}


def read(**keys: Any) -> SignInModel:
    return SignInModel.model_validate(keys)


def test_issuer_and_client_are_enough_for_keycloak() -> None:
    assert read(method="keycloak", keycloak=KEYCLOAK).provider() == OidcProvider(ISSUER, "aihub", keycloak=True)


def test_issuer_and_client_are_enough_for_any_provider() -> None:
    assert read(method="oidc", oidc=KEYCLOAK).provider() == OidcProvider(ISSUER, "aihub")


def test_every_key_of_keycloak() -> None:
    keys = {
        **KEYCLOAK,
        "internalUrl": "http://Keycloak.sso.svc:8080/",
        "caFile": "ca.crt",
        "scopes": ["openid", "groups", "groups"],
        "usernameClaim": "email",
        "groupsClaim": "school.groups",
        "groupsFrom": ["groups", "realmRoles", "groups"],
        "clientSecretExpires": "2027-03-31",
    }
    assert read(method="keycloak", keycloak=keys).provider() == OidcProvider(
        issuer=ISSUER,
        client_id="aihub",
        internal_url="http://keycloak.sso.svc:8080",
        ca_file="ca.crt",
        scopes=("openid", "groups"),
        username_claim="email",
        groups_claim="school.groups",
        groups_from=("groups", "realmRoles"),
        keycloak=True,
        secret_expires=date(2027, 3, 31),
    )


@pytest.mark.parametrize(
    ("keys", "url", "api"),
    [
        ({}, "https://github.com", "https://api.github.com"),
        ({"url": "https://GitHub.com/"}, "https://github.com", "https://api.github.com"),
        ({"url": "https://git.example.org"}, "https://git.example.org", "https://git.example.org/api/v3"),
        (
            {"url": "https://git.example.org", "apiUrl": "https://api.git.example.org/"},
            "https://git.example.org",
            "https://api.git.example.org",
        ),
    ],
    ids=["github.com", "written otherwise", "enterprise", "with its own API"],
)
def test_where_github_is(keys: dict[str, Any], url: str, api: str) -> None:
    assert read(method="github", github={"clientId": "x", **keys}).provider() == GitHubProvider("x", url, api)


def test_every_other_key_of_github() -> None:
    keys = {
        "clientId": "x",
        "organizations": ["My-School", "My-School", "lab"],
        "caFile": "ca.crt",
        "clientSecretExpires": "2027-03-31",
    }
    assert read(method="github", github=keys).provider() == GitHubProvider(
        "x", organizations=("My-School", "lab"), ca_file="ca.crt", secret_expires=date(2027, 3, 31)
    )


@pytest.mark.parametrize("method", ["local", "sharedPassword", "oidc", "github"])
def test_only_the_block_of_the_method_is_the_provider(method: str) -> None:
    assert read(method=method, keycloak=KEYCLOAK).provider() is None


def test_nothing_listed_lets_nobody_in() -> None:
    assert read(method="keycloak", keycloak=KEYCLOAK).access() == Access()


def test_who_is_let_in_and_who_is_an_admin() -> None:
    lists = {"groups": ["/courses/**"], "users": ["Ada"]}
    model = read(method="keycloak", keycloak=KEYCLOAK, allowed=lists, admins={"groups": ["/staff"], "users": ["Root"]})
    assert model.access() == Access(
        Membership(("/courses/**",), frozenset({"ada"})), Membership(("/staff",), frozenset({"root"}))
    )


def test_anyone_is_everybody_whom_the_provider_knows() -> None:
    model = read(method="oidc", oidc=KEYCLOAK, allowed={"anyone": True})
    assert model.access() == Access(Membership(everybody=True))


def test_being_in_an_organization_of_github_is_enough() -> None:
    keys = {"clientId": "x", "organizations": ["My-School"]}
    model = read(method="github", github=keys, allowed={"groups": ["lab:ml"]})
    assert model.access().allowed == Membership(("lab:ml", "my-school"))


def test_organizations_let_nobody_in_by_another_method() -> None:
    keys = {"clientId": "x", "organizations": ["my-school"]}
    assert read(method="keycloak", keycloak=KEYCLOAK, github=keys).access() == Access()


def test_rules_have_the_defaults_of_the_core() -> None:
    assert read().rules() == SignInRules()


def test_every_rule() -> None:
    model = read(
        identity={"maxAge": "1h", "recheckAfter": "30s", "freshForAccelerators": True},
        afterSignOut="stopServers",
        afterLeaving={"stopServersAfter": "5s"},
    )
    assert model.rules() == SignInRules(
        max_age=3600, fresh_for_accelerators=True, stop_servers=True, grace=5, recheck=30
    )


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ("https://hub.example.org", "https://hub.example.org"),
        ("https://Hub.Example.org/", "https://hub.example.org"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
    ],
)
def test_an_origin_is_scheme_and_host(written: str, read_as: str) -> None:
    assert read(publicUrl=written).public_url == read_as


ADDRESSES = [
    "",
    "id.example.org",
    "ftp://id.example.org",
    "https://",
    "https:///realms/school",
    "https://id.example.org/realms/school?x=1",
    "https://id.example.org/realms/school#x",
    "https://id.example.org?",
    "https://admin:secret@id.example.org",
    "https://id.example.org:70000",
    "https://id.example.org:0",
    "https://id.example.org:x",
    "https://[::1",
    "https://id.example.org/a b",
    "https://id.example.org/é",
    "https://id.example.org\\@evil.example",
    "https://id.example.org\n.evil.example",
    "javascript:alert(1)",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_what_is_no_address_is_refused_wherever_one_stands(address: str) -> None:
    for keys in (
        {"keycloak": {**KEYCLOAK, "issuer": address}},
        {"keycloak": {**KEYCLOAK, "internalUrl": address}},
        {"github": {"clientId": "x", "url": address}},
        {"github": {"clientId": "x", "apiUrl": address}},
        {"publicUrl": address},
    ):
        with pytest.raises(ValidationError):
            read(**keys)


@pytest.mark.parametrize("host", ["id.example.org", "10.0.0.1", "keycloak", "localhost.example.org", "[fe80::1]"])
def test_what_is_sent_to_a_provider_is_never_in_clear(host: str) -> None:
    for keys in (
        {"oidc": {**KEYCLOAK, "issuer": f"http://{host}/realms/school"}},
        {"github": {"clientId": "x", "url": f"http://{host}"}},
        {"github": {"clientId": "x", "apiUrl": f"http://{host}/api"}},
    ):
        with pytest.raises(ValidationError, match="https"):
            read(**keys)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "[::1]", "id.localhost"])
def test_on_this_machine_it_may_be(host: str) -> None:
    issuer = f"http://{host}:8080/realms/school"
    provider = read(method="oidc", oidc={**KEYCLOAK, "issuer": issuer}).provider()
    assert isinstance(provider, OidcProvider)
    assert provider.issuer == issuer


@pytest.mark.parametrize("path", ["/hub", "/aihub/", "//"])
def test_an_origin_has_no_path(path: str) -> None:
    for keys in (
        {"publicUrl": f"https://hub.example.org{path}"},
        {"github": {"clientId": "x", "url": f"https://git.example.org{path}"}},
        {"oidc": {**KEYCLOAK, "internalUrl": f"http://sso:8080{path}"}},
    ):
        with pytest.raises(ValidationError, match="path"):
            read(**keys)


@pytest.mark.parametrize(
    "keys",
    [
        {"oidc": {**KEYCLOAK, "scopes": ["a b"]}},
        {"oidc": {**KEYCLOAK, "scopes": ['"']}},
        {"oidc": {**KEYCLOAK, "clientId": ""}},
        {"oidc": {**KEYCLOAK, "groupsFrom": ["groups"]}},
        {"oidc": {**KEYCLOAK, "clientSecret": "hunter2"}},
        {"oidc": {**KEYCLOAK, "clientSecretExpires": "31.3.2027"}},
        {"oidc": {**KEYCLOAK, "clientSecretExpires": "2027-02-30"}},
        {"oidc": {**KEYCLOAK, "clientSecretExpires": "20270331"}},
        {"oidc": {**KEYCLOAK, "clientSecretExpires": 20270331}},
        {"keycloak": {**KEYCLOAK, "groupsFrom": []}},
        {"keycloak": {**KEYCLOAK, "groupsFrom": ["roles"]}},
        {"github": {"clientId": "x", "organizations": ["my-school/ml101"]}},
        {"github": {"clientId": "x", "organizations": ["https://github.com/my-school"]}},
        {"github": {}},
        {"afterSignOut": "stop"},
        {"identity": {"maxAge": "30s"}},
        {"afterLeaving": {"stopServersAfter": "0s"}},
        {"allowed": {"everybody": True}},
        {"method": "saml"},
    ],
    ids=str,
)
def test_other_values_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        read(**keys)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("::1", True), ("[::1]", True), ("localhost", True), ("0.0.0.0", False), ("127.com", False)],
)
def test_which_hosts_are_the_machine_itself(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
