"""From what a provider says of somebody to who that is: claims, and the answers of GitHub, to an `Identity`.

Everything here is hostile input: people choose their own names and e-mail addresses, some of them their groups. What
has another form than it must have is refused as a whole, because a part of it could give rights that nobody meant: a
groups claim that is a string would be a set of letters (upstream.md 25).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

from aihub.identity import (
    CLIENT_ROLES,
    GROUPS,
    MAX_GROUPS,
    REALM_ROLES,
    GitHubProvider,
    Identity,
    OidcProvider,
    SignInReason,
    SignInRefused,
)
from aihub.projects import normalised_user

__all__ = ["ROLE", "identity_of", "identity_of_github"]

ROLE = "role:"
"""How the groups that stand for Keycloak's roles begin: "role:<realm role>", "role:<client>:<role>"."""

LONGEST = 255
"""Characters of a name, a subject, a group: what a column of the hub's and of our database takes."""

_EMAIL, _VERIFIED = "email", "email_verified"
_LOGIN = re.compile(r"[a-z0-9_-]+")
"""Logins at GitHub, lowered. Those of managed users have an underscore, and old ones a hyphen at either end."""


def identity_of(
    provider: OidcProvider,
    claims: Mapping[str, Any],
    userinfo: Mapping[str, Any] | None = None,
    access: Mapping[str, Any] | None = None,
) -> Identity:
    """Who the claims of an ID token are about; what it lacks is taken from `userinfo`, roles from `access`.

    `claims` and `access` come from tokens that were checked (`aihub.tokens`). Raises SignInRefused: claims-unusable,
    name-unusable or email-unverified, each with the claim that is at fault.
    """
    subject = _subject(claims)
    for other, what in ((userinfo, "userinfo"), (access, "the access token")):
        if other is not None and other.get("sub") != subject:
            raise _unusable("sub", f"{what} is about somebody else, or does not say about whom")
    said = (claims,) if userinfo is None else (claims, userinfo)
    groups, missing = _groups_of(provider, said, access)
    return Identity(
        issuer=provider.issuer,
        subject=subject,
        name=_name_of(provider, said),
        groups=groups,
        groups_missing=missing,
        session=_session(claims),
    )


def identity_of_github(provider: GitHubProvider, user: Any, organizations: Any, teams: Any) -> Identity:
    """Who signed in at GitHub: its answers to `GET /user`, `/user/orgs` and `/user/teams`, all pages in one list.

    The subject is the number of the account: logins can be changed, and be taken by others afterwards. Groups are
    "<organization>" and "<organization>:<team's slug>", in lower case, of the provider's organizations only when it has
    any. Raises SignInRefused as `identity_of`.
    """
    account = _mapping(user, "user")
    number = account.get("id")
    if isinstance(number, bool) or not isinstance(number, int) or not 0 < number < 2**63:
        raise _unusable("id", f"{number!r:.80} is no number of an account")
    groups = {_login(_mapping(each, "organization")) for each in _list(organizations, "organizations")}
    groups |= {_team(each) for each in _list(teams, "teams")}
    counted = {name.lower() for name in provider.organizations}
    if counted:
        groups = {group for group in groups if group.partition(":")[0] in counted}
    return Identity(provider.issuer, str(number), _login(account), _bounded(groups, "teams"))


# --- who -------------------------------------------------------------------------------------------------------------


def _subject(claims: Mapping[str, Any]) -> str:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject or not _plain(subject):
        raise _unusable("sub", "there is no subject, or it is no plain text")
    return subject


def _session(claims: Mapping[str, Any]) -> str:
    session = claims.get("sid", "")
    if not isinstance(session, str) or not _plain(session):
        raise _unusable("sid", "it is no plain text")
    return session


def _name_of(provider: OidcProvider, said: tuple[Mapping[str, Any], ...]) -> str:
    claim = provider.username_claim
    found = _find(said, claim)
    if found is _ABSENT:
        raise SignInRefused(SignInReason.NAME_UNUSABLE, f"there is no claim {claim}", claim=claim)
    name = _user_name(found, claim)
    if claim == _EMAIL:
        _check_verified(said, found)
    return name


def _user_name(value: object, claim: str) -> str:
    """`value` as a user name, normalised once. Letters that only look like others stay what they are: another name."""
    name = normalised_user(value) if isinstance(value, str) else ""
    # The hub's own rule (Authenticator.validate_username) knows dots behind percent signs, too.
    dots = {*name} == {"."} or {*unquote(name)} == {"."}
    if not name or dots or "/" in name or name != name.strip() or not _plain(name) or not _stable(name):
        raise SignInRefused(SignInReason.NAME_UNUSABLE, f"{value!r:.300} is no user name", claim=claim)
    return name


def _stable(name: str) -> bool:
    """Whether no other text is the same name: neither by Unicode's composition nor by case."""
    return unicodedata.is_normalized("NFC", name) and normalised_user(name) == name


def _check_verified(said: tuple[Mapping[str, Any], ...], email: object) -> None:
    """Whoever says that this address is theirs says that the provider made sure of it: true itself, no text."""
    verified = [each.get(_VERIFIED) for each in said if each.get(_EMAIL) == email and _VERIFIED in each]
    if not verified or not all(each is True for each in verified):
        raise SignInRefused(SignInReason.EMAIL_UNVERIFIED, f"{_VERIFIED} is not true", claim=_VERIFIED)


# --- groups ----------------------------------------------------------------------------------------------------------


def _groups_of(
    provider: OidcProvider, said: tuple[Mapping[str, Any], ...], access: Mapping[str, Any] | None
) -> tuple[frozenset[str], bool]:
    """All groups, and whether a source of them said nothing: then its mapper is missing, and the rest counts alone."""
    groups: set[str] = set()
    missing = False
    if GROUPS in provider.groups_from:
        claim = provider.groups_claim
        found = _find(said, claim)
        missing = found is _ABSENT
        groups.update(_no_roles(provider, claim, [] if missing else _texts(found, claim)))
    if {REALM_ROLES, CLIENT_ROLES} & {*provider.groups_from}:
        roles = {} if access is None else access
        missing = missing or not {"realm_access", "resource_access"} & roles.keys()
        groups.update(_roles_of(provider, roles))
    return _bounded(groups, provider.groups_claim), missing


def _no_roles(provider: OidcProvider, claim: str, groups: list[str]) -> Iterable[str]:
    """`groups`. Whoever may name a group in Keycloak could call it like a role, unless its full path is sent."""
    if provider.keycloak and any(group.startswith(ROLE) for group in groups):
        raise _unusable(claim, f"a group is called like a role ({ROLE}…)")
    return groups


def _roles_of(provider: OidcProvider, access: Mapping[str, Any]) -> Iterable[str]:
    """Roles as groups. Those of other clients are left out: whoever manages such a client makes its roles."""
    own = f"{provider.client_id}:"
    if REALM_ROLES in provider.groups_from:
        for role in _roles(access.get("realm_access"), "realm_access"):
            if role.startswith(own):
                raise _unusable("realm_access", "a role of the realm is called like one of the client")
            yield f"{ROLE}{role}"
    if CLIENT_ROLES in provider.groups_from and "resource_access" in access:
        clients = _mapping(access["resource_access"], "resource_access")
        yield from (f"{ROLE}{own}{role}" for role in _roles(clients.get(provider.client_id), "resource_access"))


def _roles(holder: object, claim: str) -> list[str]:
    return [] if holder is None else _texts(_mapping(holder, claim).get("roles", []), claim)


def _team(team: object) -> str:
    found = _mapping(team, "team")
    slug = found.get("slug")
    if not isinstance(slug, str) or not slug or not _plain(slug) or re.search(r"[\s/:*]", slug):
        raise _unusable("team", f"{slug!r:.300} is no team")
    return f"{_login(_mapping(found.get('organization'), 'organization'))}:{slug.lower()}"


def _login(account: Mapping[str, Any]) -> str:
    login = account.get("login")
    name = login.lower() if isinstance(login, str) and login.isascii() else ""
    if len(name) > LONGEST or not _LOGIN.fullmatch(name):
        raise _unusable("login", f"{login!r:.300} is no login")
    return name


# --- forms -----------------------------------------------------------------------------------------------------------

_ABSENT = object()


def _find(said: tuple[Mapping[str, Any], ...], claim: str) -> object:
    """The claim from the first who says it. A name with dots is one claim, or a way into objects."""
    for each in said:
        if claim in each:
            return each[claim]
        value: object = each
        for step in claim.split("."):
            value = value.get(step, _ABSENT) if isinstance(value, Mapping) else _ABSENT
        if value is not _ABSENT:
            return value
    return _ABSENT


def _texts(value: object, claim: str) -> list[str]:
    listed = _list(value, claim)
    if not all(isinstance(each, str) and each and _plain(each) for each in listed):
        raise _unusable(claim, "it is no list of names")
    return listed


def _list(value: object, claim: str) -> list[Any]:
    if not isinstance(value, list):
        raise _unusable(claim, f"it is no list but of type {type(value).__name__}")
    return value


def _mapping(value: object, claim: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _unusable(claim, f"it is no object but of type {type(value).__name__}")
    return value


def _bounded(groups: Iterable[str], claim: str) -> frozenset[str]:
    bounded = frozenset(groups)
    if len(bounded) > MAX_GROUPS or any(len(group) > LONGEST for group in bounded):
        raise _unusable(claim, f"more than {MAX_GROUPS} groups, or one of more than {LONGEST} characters")
    return bounded


def _plain(text: str) -> bool:
    """Whether `text` is short and has only characters that can be seen, and plain spaces."""
    return len(text) <= LONGEST and text.isprintable()


def _unusable(claim: str, detail: str) -> SignInRefused:
    return SignInRefused(SignInReason.CLAIMS_UNUSABLE, f"{claim}: {detail}", claim=claim)
