"""Who signed in through a provider, and what the hub makes of the provider's answer when it asks again.

Pure values: what the policy file says of sign-in, the identity that claims come to, and `decide`, the one rule on who
stays, who signs in again, and who is signed out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any

from aihub.errors import AIHubError
from aihub.projects import Membership, Person

__all__ = [
    "Access",
    "Answer",
    "GitHubProvider",
    "Identity",
    "OidcProvider",
    "Outcome",
    "Provider",
    "Request",
    "SignInReason",
    "SignInRefused",
    "SignInRules",
    "decide",
]

GROUPS, REALM_ROLES, CLIENT_ROLES = "groups", "realmRoles", "clientRoles"
"""Where groups come from: the groups claim, and the roles that Keycloak writes into its access tokens."""

MAX_GROUPS = 2000
"""Groups that one identity may have; more is a provider gone wrong, or somebody who wants the hub to work hard."""


@dataclass(frozen=True, slots=True)
class OidcProvider:
    """An OpenID Connect provider, as the policy file names it.

    `issuer` has no slash at the end unless the provider's own has. `internal_url` takes the place of the issuer's
    scheme and host (and port) in every call that the hub itself makes; `ca_file` is whom those calls trust instead of
    the system's list. `groups_claim` and `username_claim` are claim names; dots go into objects. `keycloak` switches on
    what only Keycloak has.
    """

    issuer: str
    client_id: str
    internal_url: str = ""
    ca_file: str = ""
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    username_claim: str = "preferred_username"
    groups_claim: str = "groups"
    groups_from: tuple[str, ...] = (GROUPS,)
    keycloak: bool = False
    secret_expires: date | None = None


@dataclass(frozen=True, slots=True)
class GitHubProvider:
    """GitHub, or a GitHub Enterprise Server at `url`. Teams of `organizations` become groups; empty: of all."""

    client_id: str
    url: str = "https://github.com"
    api_url: str = "https://api.github.com"
    organizations: tuple[str, ...] = ()
    ca_file: str = ""
    secret_expires: date | None = None

    @property
    def issuer(self) -> str:
        """What stands for the issuer: subjects are the numbers of accounts there."""
        return self.url


Provider = OidcProvider | GitHubProvider


@dataclass(frozen=True, slots=True)
class SignInRules:
    """How long an identity holds and what follows when it ends. Seconds.

    `recheck`: how often the provider is asked again about somebody active, at most. `max_age`: how long after its last
    good answer somebody goes on without a new one.
    `fresh_for_accelerators`: starts with an accelerator need an answer of the provider now. `stop_servers`: signing out
    stops the person's servers. `grace`: how long a server runs on in a project that its person has left.
    """

    recheck: int = 300
    max_age: int = 12 * 3600
    fresh_for_accelerators: bool = False
    stop_servers: bool = False
    grace: int = 15 * 60


@dataclass(frozen=True, slots=True)
class Access:
    """Who may sign in and who is an admin. Nothing listed lets nobody in."""

    allowed: Membership = Membership()
    admins: Membership = Membership()

    def admits(self, person: Person) -> bool:
        """Whether `person` may sign in; admins may."""
        return self.allowed.includes(person) or self.admins.includes(person)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who somebody is, in the words of the provider.

    (`issuer`, `subject`) is the person; `name` the user name that the claims ask for, normalised. `groups_missing`:
    the provider sent no groups at all, which is a mistake in its configuration rather than a person without groups.
    `session` is the provider's id of the session (`sid`), empty where it has none.
    """

    issuer: str
    subject: str
    name: str
    groups: frozenset[str] = frozenset()
    groups_missing: bool = False
    session: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "issuer": self.issuer,
            "subject": self.subject,
            "name": self.name,
            "groups": sorted(self.groups),
            "groupsMissing": self.groups_missing,
            "session": self.session,
        }

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Identity:
        """What `as_dict` wrote."""
        return cls(
            kept["issuer"],
            kept["subject"],
            kept["name"],
            frozenset(kept["groups"]),
            kept["groupsMissing"],
            kept["session"],
        )


class SignInReason(StrEnum):
    """Why nobody was signed in. The value is shown in small type and written to the log."""

    PROVIDER_DOWN = "provider-down"
    PROVIDER_WRONG = "provider-wrong"
    """Its answer cannot be right, or it does not accept this hub: the admin's to mend."""
    CANCELLED = "cancelled"
    NOT_ALLOWED = "not-allowed"
    NAME_TAKEN = "name-taken"
    NAME_UNUSABLE = "name-unusable"
    EMAIL_UNVERIFIED = "email-unverified"
    CLAIMS_UNUSABLE = "claims-unusable"
    """A claim has a form that could give somebody rights that nobody meant."""
    TOKEN_REFUSED = "token-refused"  # noqa: S105  # a reason, no secret
    STATE_MISSING = "state-missing"
    """The browser did not bring back the cookie of the sign-in that this answer belongs to."""
    STATE_USED = "state-used"
    """The answer was used before, or is too old."""
    WRONG_ADDRESS = "wrong-address"
    """The hub is reached by another address than its public one, so cookies and redirects cannot work."""
    STORE_UNAVAILABLE = "store-unavailable"


class SignInRefused(AIHubError):
    """Nobody is signed in. `detail` is for the log only: it may hold what the provider or a stranger sent.

    `parameters` fill the sentence (`aihub.messages.sign_in`): `name` a user name, `claim` a claim's name, `address`
    and `public` addresses, `retry_after` whole seconds, `groups_missing` 1 where the provider sent no groups at all.
    """

    def __init__(self, reason: SignInReason, detail: str = "", **parameters: str | int) -> None:
        super().__init__(f"{reason.value}: {detail}" if detail else reason.value)
        self.reason = reason
        self.detail = detail
        self.parameters = parameters


class Answer(StrEnum):
    """What the provider said when it was asked again about somebody."""

    CONFIRMED = "confirmed"
    ENDED = "ended"
    """The session or the grant is over; nothing is said about the person."""
    SILENT = "silent"
    """No answer, or one that means nothing (a timeout, 5xx, 429)."""


class Request(StrEnum):
    """For whom the provider is asked."""

    BROWSER = "browser"
    TOKEN = "token"  # noqa: S105  # a kind of request
    """An API token of the person, or of a browser's session with a server."""
    SERVER = "server"
    """The token of a running server: it reports activity, and what computes must not be taken for idle."""


class Outcome(StrEnum):
    """What follows."""

    TAKE = "take"
    """The new identity counts."""
    KEEP = "keep"
    """The last good one goes on."""
    SIGN_IN_AGAIN = "sign-in-again"
    SIGN_OUT = "sign-out"
    """All sessions end: the person is not allowed any more."""


def decide(answer: Answer, request: Request, age: float, max_age: float, *, allowed: bool) -> Outcome:
    """What follows from the provider's answer; never more rights than its last good one gave.

    `age` is in seconds since that one; `allowed` whether the policy lets the person in now, with the groups of the
    new answer, or without one those of the last.
    """
    if not allowed:
        return Outcome.SIGN_OUT
    if answer is Answer.CONFIRMED:
        return Outcome.TAKE
    if age > max_age:
        return Outcome.SIGN_IN_AGAIN
    if answer is Answer.SILENT or request is Request.SERVER:
        return Outcome.KEEP
    return Outcome.SIGN_IN_AGAIN
