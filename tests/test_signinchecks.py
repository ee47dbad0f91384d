"""What `aihub check` says of sign-in: one mistake, one finding, at its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aihub.config import GITHUB, KEYCLOAK, OIDC, SSO, Loaded, attempt
from aihub.findings import Severity
from aihub.identity import GitHubProvider, OidcProvider
from aihub.text import Text

BASE = """\
imageStreams:
  py: {tags: {"1": {image: "example.org/py:1", requirements: [numpy]}}}
profiles:
  small: {cpu: 1, memory: 1Gi}
projects:
  p1:
    members: {groups: ["/courses/p1/students", "my-school:p1-students"]}
    images: {offer: [py]}
    profiles: {offer: [small]}
"""

BLOCK = {
    "keycloak": "keycloak: {issuer: 'https://id.example.org/realms/school', clientId: aihub}",
    "oidc": "oidc: {issuer: 'https://id.example.org', clientId: aihub}",
    "github": "github: {clientId: Iv1}",
}


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str], Loaded]:
    def write_and_read(sign_in: str) -> Loaded:
        path = tmp_path / "policy.yaml"
        path.write_text(f"{BASE}signIn: {{{sign_in}}}\n", encoding="utf-8")
        return attempt([path])

    return write_and_read


def by(method: str, rest: str = "allowed: {anyone: true}") -> str:
    return f"method: {method}, {BLOCK[method]}, {rest}"


@pytest.mark.parametrize("method", sorted(SSO))
def test_method_block_and_somebody_allowed_are_enough(read: Callable[[str], Loaded], method: str) -> None:
    loaded = read(by(method))
    assert loaded.findings == ()
    assert loaded.sign_in.method == method
    assert loaded.sign_in.provider is not None
    assert loaded.sign_in.access.allowed.everybody


def test_the_names_of_the_methods() -> None:
    assert {KEYCLOAK, OIDC, GITHUB} == SSO == set(BLOCK)


def test_all_that_the_hub_is_told(read: Callable[[str], Loaded]) -> None:
    rest = (
        "publicUrl: 'https://hub.example.org', displayName: {en: your school account}, contact: it@example.org, "
        "allowed: {groups: [/courses/**]}, admins: {groups: [/staff]}, "
        "identity: {maxAge: 1h, freshForAccelerators: true}, afterSignOut: stopServers, "
        "afterLeaving: {stopServersAfter: 5m}"
    )
    loaded = read(by("keycloak", rest))
    sign_in = loaded.sign_in
    assert loaded.findings == ()
    assert (sign_in.public_url, sign_in.title, sign_in.contact) == (
        "https://hub.example.org",
        Text.of({"en": "your school account"}),
        Text("it@example.org"),
    )
    assert sign_in.access.allowed.groups == ("/courses/**",)
    assert sign_in.access.admins.groups == sign_in.admins.groups == ("/staff",)
    assert (sign_in.rules.max_age, sign_in.rules.grace, sign_in.rules.stop_servers) == (3600, 300, True)
    assert sign_in.rules.fresh_for_accelerators
    assert loaded.policy.fresh_for_accelerators


def test_other_methods_have_no_provider_and_ask_for_no_identity(read: Callable[[str], Loaded]) -> None:
    loaded = read("personas: {ada: {}}")
    assert loaded.sign_in.provider is None
    assert not loaded.policy.fresh_for_accelerators


def case(text: str, code: str, path: str, severity: str = "error", suggestion: str = "", *, name: str = "") -> Any:
    return pytest.param(text, code, path, severity, suggestion, id=name or f"{code} {path}")


ISSUER = "method: oidc, allowed: {anyone: true}, oidc: {clientId: a, issuer: "
GROUP = "method: github, github: {clientId: a}, allowed: {groups: "
REALM = "method: keycloak, keycloak: {clientId: a, issuer: 'https://id.example.org/realms/s'"

MISTAKES = [
    case("method: keycloak, allowed: {anyone: true}", "no-provider", "signIn.method", name="no block of Keycloak"),
    case("method: github, allowed: {anyone: true}", "no-provider", "signIn.method", name="no block of GitHub"),
    case(
        f"{by('keycloak')}, {BLOCK['github']}", "no-effect", "signIn.github", "warning", name="block of another method"
    ),
    case(f"personas: {{ada: {{}}}}, {BLOCK['oidc']}", "no-effect", "signIn.oidc", "warning", name="block while local"),
    case(by("oidc", "allowed: {}"), "nobody", "signIn", "warning", name="nobody is allowed"),
    case(by("oidc", "admins: {users: [root]}"), "nobody", "signIn", "warning", name="only admins are allowed"),
    case(f"{by('oidc')}, personas: {{ada: {{}}}}", "no-effect", "signIn.personas", "warning"),
    case(f"{by('oidc')}, people: {{ada: {{}}}}", "no-effect", "signIn.people", "warning"),
    case("personas: {ada: {}}, allowed: {anyone: true}", "no-effect", "signIn.allowed", "warning"),
    case(by("oidc", "allowed: {anyone: true, users: [a]}"), "no-effect", "signIn.allowed.anyone", "warning"),
    case(f"{by('oidc')}, identity: {{maxAge: 5m}}", "identity-order", "signIn.identity.maxAge", "warning"),
    case(f"{by('oidc')}, identity: {{recheckAfter: 12h}}", "identity-order", "signIn.identity", "warning"),
    case(f"{by('oidc')}, identity: {{maxAge: 6m}}", "", "", name="an outage of a minute is borne"),
    case(f"{ISSUER}'http://id.example.org'}}", "address", "signIn.oidc.issuer", name="issuer in clear"),
    case(f"{ISSUER}'https://id.example.org/?a=b'}}", "address", "signIn.oidc.issuer", name="issuer with a query"),
    case(f"{ISSUER}'https://id.example.org/#x'}}", "address", "signIn.oidc.issuer", name="issuer with a fragment"),
    case(f"{ISSUER}id.example.org}}", "address", "signIn.oidc.issuer", name="issuer without a scheme"),
    case(f"{ISSUER}'https://id.example.org/'}}", "", "", name="an issuer may end in a slash"),
    case(f"{ISSUER}'http://localhost:8080/realms/a'}}", "", "", name="an issuer on this machine"),
    case(
        "method: keycloak, allowed: {anyone: true}, keycloak: {clientId: a, issuer: 'https://id.example.org/realms/s/'}",
        "address",
        "signIn.keycloak.issuer",
        "error",
        "https://id.example.org/realms/s",
        name="Keycloak's issuer never does",
    ),
    case(f"{by('oidc')}, publicUrl: 'https://hub.example.org/hub'", "address", "signIn.publicUrl", name="a path"),
    case(f"{by('oidc')}, publicUrl: 'http://hub.example.org'", "not-secure", "signIn.publicUrl", "warning"),
    case(f"{by('oidc')}, publicUrl: 'http://127.0.0.1:8000'", "", "", name="the hub on this machine"),
    case(
        f"{ISSUER}'https://id.example.org', clientSecret: hunter2}}",
        "unknown-key",
        "signIn.oidc.clientSecret",
        name="a secret in the file",
    ),
    case(f"{ISSUER}'https://id.example.org', scope: x}}", "unknown-key", "signIn.oidc.scope", "error", "scopes"),
    case(f"{ISSUER}'https://id.example.org', caFile: none.pem}}", "no-such-file", "signIn.oidc.caFile"),
    case(
        f"{ISSUER}'https://id.example.org', caFile: /none.pem}}",
        "no-such-file",
        "signIn.oidc.caFile",
        "warning",
        name="a CA file of another machine",
    ),
    case(
        f"{ISSUER}'https://id.example.org', clientSecretExpires: 1.1.2027}}", "date", "signIn.oidc.clientSecretExpires"
    ),
    case(f"{ISSUER}'https://id.example.org', scopes: ['a b']}}", "scope", "signIn.oidc.scopes[0]"),
    case(f"{GROUP}[my-school, 'my-school:ml101-staff', '**']}}", "", "", name="groups of GitHub"),
    case(
        f"{GROUP}[a, my-school/ml]}}", "group-pattern", "signIn.allowed.groups[1]", "error", "my-school:ml", name="team"
    ),
    case(
        f"{GROUP}['@My/ML']}}", "group-pattern", "signIn.allowed.groups[0]", "error", "my:ml", name="mention of a team"
    ),
    case(f"{GROUP}['My:ml']}}", "group-pattern", "signIn.allowed.groups[0]", "error", "my:ml", name="capitals"),
    case(f"{GROUP}['my:*']}}", "group-pattern", "signIn.allowed.groups[0]", name="all teams"),
    case(f"{GROUP}[/courses/a/b]}}", "group-pattern", "signIn.allowed.groups[0]", name="path at GitHub"),
    case(
        "method: github, github: {clientId: a, organizations: [My]}, admins: {groups: ['my:a', 'your:a']}",
        "no-effect",
        "signIn.admins.groups[1]",
        "warning",
        name="team of an organization that is not read",
    ),
    case(f"{REALM}}}, allowed: {{groups: [/a/**, '**', '*']}}", "", "", name="paths at Keycloak"),
    case(
        f"{REALM}}}, allowed: {{groups: [a/b]}}",
        "no-effect",
        "signIn.allowed.groups[0]",
        "warning",
        "/a/b",
        name="no path at Keycloak",
    ),
    case(
        f"{REALM}}}, allowed: {{groups: ['role:a']}}",
        "no-effect",
        "signIn.allowed.groups[0]",
        "warning",
        name="role that is not read",
    ),
    case(
        f"{REALM}, groupsFrom: [realmRoles]}}, allowed: {{groups: ['role:a', /b]}}",
        "no-effect",
        "signIn.allowed.groups[1]",
        "warning",
        name="group where roles are read",
    ),
    case(f"{REALM}, groupsFrom: [clientRoles]}}, allowed: {{groups: ['role:a:b']}}", "", "", name="roles of a client"),
    case(by("oidc", "allowed: {groups: [students, 'a:b', /c]}"), "", "", name="groups of others have any form"),
]


@pytest.mark.parametrize(("text", "code", "path", "severity", "suggestion"), MISTAKES)
def test_one_mistake_is_one_finding(
    read: Callable[[str], Loaded], text: str, code: str, path: str, severity: str, suggestion: str
) -> None:
    findings = read(text).findings
    assert [(each.code, each.path) for each in findings] == ([(code, path)] if code else [])
    for finding in findings:
        assert (finding.severity, finding.suggestion) == (severity, suggestion)
        assert finding.line == BASE.count("\n") + 1
        assert finding.help


def test_a_secret_is_not_shown_and_the_way_is(read: Callable[[str], Loaded]) -> None:
    (finding,) = read(f"{ISSUER}'https://id.example.org', clientSecret: hunter2}}").findings
    assert "hunter2" not in str(finding)
    assert "AIHUB_CLIENT_SECRET_FILE" in finding.help


@pytest.mark.parametrize("method", ["oidc", "github"])
def test_a_ca_file_is_read_from_beside_the_policy(read: Callable[[str], Loaded], tmp_path: Path, method: str) -> None:
    (tmp_path / "ca.pem").write_text("", encoding="utf-8")
    loaded = read(by(method).replace("clientId:", "caFile: ca.pem, clientId:"))
    assert loaded.findings == ()
    assert isinstance(loaded.sign_in.provider, OidcProvider | GitHubProvider)
    assert loaded.sign_in.provider.ca_file == str(tmp_path / "ca.pem")


def test_a_block_that_cannot_be_read_is_no_missing_one(read: Callable[[str], Loaded]) -> None:
    findings = read("method: oidc, oidc: {issuer: 'https://id.example.org'}, allowed: {anyone: true}").findings
    assert [(each.code, each.path) for each in findings] == [("missing-key", "signIn.oidc.clientId")]


def test_what_is_broken_elsewhere_makes_nobody_look_left_out(read: Callable[[str], Loaded]) -> None:
    findings = read(by("oidc", "allowed: {groups: [1]}")).findings
    assert {each.severity for each in findings} == {Severity.ERROR}
    assert [each.path for each in findings] == ["signIn.allowed.groups[0]"]
