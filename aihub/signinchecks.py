"""What the policy file says of sign-in, checked as a whole: method and provider, who is let in, groups that can be."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from aihub.checker import Checker
from aihub.positions import Path
from aihub.signinfile import KeycloakModel, SignInModel, is_loopback

__all__ = ["check_sign_in"]

PROVIDERS = ("keycloak", "oidc", "github")
"""Methods that have a block of their own."""


def check_sign_in(checker: Checker) -> None:
    """Add what is wrong with `signIn`."""
    sign_in = checker.model.sign_in
    _blocks(checker, sign_in)
    if sign_in.method in PROVIDERS:
        _public_url(checker, sign_in)
        _patterns(checker, sign_in)
        _keycloak(checker, sign_in)
        _identity(checker, sign_in)
    if checker.whole:
        _nobody(checker, sign_in)
        _no_effect(checker, sign_in)


def _blocks(checker: Checker, sign_in: SignInModel) -> None:
    written = checker.written("signIn")
    if sign_in.method in PROVIDERS and sign_in.method not in written:
        message = f"signIn has no block {sign_in.method}, which says who the provider is"
        keys = "clientId" if sign_in.method == "github" else "issuer and clientId"
        what_to_do = f"Add `{sign_in.method}` under `signIn`, with {keys}."
        checker.error(("signIn", "method"), "no-provider", message, what_to_do)
    for name in PROVIDERS if checker.whole else ():
        if name in written and name != sign_in.method:
            message = f"{name} has no effect while signIn.method is {sign_in.method}"
            checker.warn(("signIn", name), "no-effect", message, f"Set `method: {name}`, or remove it.")


def _public_url(checker: Checker, sign_in: SignInModel) -> None:
    parts = urlsplit(sign_in.public_url or "")
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        message = "the hub's address begins with http://: cookies and what people do can be read on the way"
        checker.warn(("signIn", "publicUrl"), "not-secure", message, "Serve the hub with TLS, and write https://.")


def _identity(checker: Checker, sign_in: SignInModel) -> None:
    identity = sign_in.identity
    if identity.max_age <= identity.recheck_after:
        message = "an identity ends before the provider is asked again: any outage signs people out"
        what_to_do = "Make maxAge longer than recheckAfter: it is how long an outage of the provider is borne."
        path: Path = ("signIn", "identity", "maxAge")
        checker.warn(path if checker.document.at(path) else path[:-1], "identity-order", message, what_to_do)


# --- who -------------------------------------------------------------------------------------------------------------


def _nobody(checker: Checker, sign_in: SignInModel) -> None:
    if sign_in.method == "sharedPassword" and not sign_in.people:
        checker.warn(("signIn",), "nobody", "nobody is listed: nobody can sign in", "List `people` under `signIn`.")
    elif sign_in.method == "local" and not sign_in.personas:
        message = "there is no persona: nobody can sign in on one machine"
        checker.warn(("signIn",), "nobody", message, "List personas under `signIn`.")
    elif sign_in.method in PROVIDERS:
        access = sign_in.access()
        allowed, admins = (each.everybody or each.groups or each.users for each in (access.allowed, access.admins))
        if not allowed:
            message = "nobody is allowed: " + ("only admins can sign in" if admins else "nobody can sign in")
            what_to_do = "List groups or users under `allowed`, or set `anyone: true` there."
            checker.warn(("signIn",), "nobody", message, what_to_do)


def _no_effect(checker: Checker, sign_in: SignInModel) -> None:
    method = sign_in.method
    if method == "local" and sign_in.people:
        message = "these people cannot sign in while signIn.method is local"
        checker.warn(("signIn", "people"), "no-effect", message, "Set `method: sharedPassword`, or remove them.")
    if method in PROVIDERS:
        for name, there in (("personas", sign_in.personas), ("people", sign_in.people)):
            if there:
                message = f"these {name} cannot sign in while signIn.method is {method}"
                checker.warn(("signIn", name), "no-effect", message, "Remove them.")
    elif "allowed" in checker.written("signIn"):
        message = f"allowed has no effect while signIn.method is {method}"
        checker.warn(("signIn", "allowed"), "no-effect", message, "Remove it: who is listed can sign in.")
    if sign_in.allowed.anyone and (sign_in.allowed.groups or sign_in.allowed.users):
        message = "anyone is allowed: groups and users decide nothing"
        checker.warn(("signIn", "allowed", "anyone"), "no-effect", message, "Remove `anyone`, or the lists.")


# --- groups ----------------------------------------------------------------------------------------------------------

_GITHUB = re.compile(r"[a-z0-9_-]+(:[a-z0-9_.-]+)?")
_AS_GITHUB_WRITES = re.compile(r"[@/]*([a-z0-9_-]+)[:/]([a-z0-9_.-]+)")


def _patterns(checker: Checker, sign_in: SignInModel) -> None:
    for key, members in (("allowed", sign_in.allowed), ("admins", sign_in.admins)):
        path: Path = ("signIn", key, "groups")
        written = checker.document.at(path)
        for index, pattern in enumerate(written if isinstance(written, list) else ()):
            if pattern in members.groups and pattern not in ("*", "**"):
                _pattern(checker, sign_in, (*path, index), pattern)


def _pattern(checker: Checker, sign_in: SignInModel, path: Path, pattern: str) -> None:
    if sign_in.method == "github":
        _github_pattern(checker, path, pattern, [each.lower() for each in _organizations(sign_in)])
    elif sign_in.method == "keycloak" and sign_in.keycloak is not None:
        _keycloak_pattern(checker, path, pattern, sign_in.keycloak)


def _organizations(sign_in: SignInModel) -> Iterable[str]:
    return sign_in.github.organizations if sign_in.github else ()


def _github_pattern(checker: Checker, path: Path, pattern: str, organizations: list[str]) -> None:
    if not _GITHUB.fullmatch(pattern):
        meant = _AS_GITHUB_WRITES.fullmatch(pattern.lower())
        suggestion = f"{meant[1]}:{meant[2]}" if meant else ""
        message = f"{pattern} is no group of GitHub: they are my-school and my-school:ml101-staff, in small letters"
        checker.error(path, "group-pattern", message, "Write an organization, or an organization:team.", suggestion)
    elif organizations and pattern.partition(":")[0] not in organizations:
        message = f"{pattern} matches nobody: only groups of signIn.github.organizations are read"
        checker.warn(path, "no-effect", message, "Add its organization there, or remove it.")


def _keycloak_pattern(checker: Checker, path: Path, pattern: str, keycloak: KeycloakModel) -> None:
    role = pattern.startswith("role:")
    sources = {"realmRoles", "clientRoles"} if role else {"groups"}
    if not sources & {*keycloak.groups_from}:
        message = f"{pattern} matches nobody: signIn.keycloak.groupsFrom has not {' or '.join(sorted(sources))}"
        checker.warn(path, "no-effect", message, "Add it there, or remove this.")
    elif not role and not pattern.startswith(("/", "*")):
        message = f"{pattern} matches nobody: groups of Keycloak are full paths, which begin with /"
        checker.warn(path, "no-effect", message, "Write the full path.", f"/{pattern}")


def _keycloak(checker: Checker, sign_in: SignInModel) -> None:
    if sign_in.method == "keycloak" and sign_in.keycloak and sign_in.keycloak.issuer.endswith("/"):
        issuer = sign_in.keycloak.issuer
        message = "issuers of Keycloak have no / at the end"
        path: Path = ("signIn", "keycloak", "issuer")
        checker.error(path, "address", message, "Write it as the discovery document does.", issuer.rstrip("/"))
