"""What the policy file says of sign-in: pydantic models, and the core's own types that they turn into."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from aihub.fields import (
    DISPLAY_NAME,
    Duration,
    Line,
    LocalText,
    MembersModel,
    Model,
    ShortDuration,
    UserName,
    matching,
)
from aihub.identity import Access, GitHubProvider, OidcProvider, Provider, SignInRules
from aihub.projects import Membership

__all__ = ["PersonModel", "SignInModel", "is_loopback"]

# --- values ----------------------------------------------------------------------------------------------------------


def is_loopback(host: str) -> bool:
    """Whether `host`, as it stands in an address, is the machine itself."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _address(value: str) -> SplitResult:
    """The parts of the address of a server; without user names, queries and fragments."""
    if not re.fullmatch(r"https?://[^/?#@]+(/[!-~]*)?", value, re.ASCII | re.IGNORECASE):
        raise _no_address("is no address of a server: write https://, the host and, where there is one, a path")
    if "?" in value or "#" in value:
        raise _no_address("has a query or a fragment: write the address without '?' and '#'")
    try:
        parts = urlsplit(value)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:  # no port, or brackets that hold no address
        usable = False
    if not usable:
        raise _no_address("is no address of a server: its host or port cannot be")
    return parts


def _no_address(problem: str) -> PydanticCustomError:
    return PydanticCustomError("address", "{problem}", {"problem": problem})


def _secure(value: str) -> str:
    parts = _address(value)
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise _no_address("must begin with https://: what is sent there could be read and changed on the way")
    return value


def _origin(value: str) -> str:
    parts = _address(value)
    if parts.path not in ("", "/"):
        raise _no_address("has a path: write scheme and host only, as in https://hub.example.org")
    return f"{parts.scheme}://{parts.netloc.lower()}"


def _secure_origin(value: str) -> str:
    return _origin(_secure(value))


def _schema(pattern: str, example: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern, "maxLength": 2_000, "examples": [example]})


Issuer = Annotated[Line, AfterValidator(_secure), _schema(r"^https?://[^?#]+$", "https://id.example.org/realms/school")]
Origin = Annotated[Line, AfterValidator(_origin), _schema(r"^https?://[^/?#@]+/?$", "https://hub.example.org")]
SecureOrigin = Annotated[Line, AfterValidator(_secure_origin), _schema(r"^https?://[^/?#@]+/?$", "https://github.com")]


def _day(value: object) -> date:
    try:
        return date.fromisoformat(value if isinstance(value, str) and re.fullmatch(r"[0-9-]{10}", value) else "")
    except ValueError as error:
        raise PydanticCustomError("date", "must be a day such as 2027-03-31") from error


Day = Annotated[
    date, PlainValidator(_day), WithJsonSchema({"type": "string", "format": "date", "examples": ["2027-03-31"]})
]

# RFC 6749 §3.3.
_SCOPE_RULE = "is no scope: use letters, digits and signs, no spaces"
Scope = Annotated[str, matching("scope", r"[!#-\[\]-~]+", _SCOPE_RULE, 200, ["profile"])]

# https://docs.github.com/en/enterprise-cloud@latest/admin/managing-iam/iam-configuration-reference/username-considerations-for-external-authentication
_ORGANIZATION_RULE = "is no organization of GitHub: write the name as in https://github.com/my-school"
Organization = Annotated[
    str, matching("name", r"[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?", _ORGANIZATION_RULE, 100, ["my-school"])
]

# --- models ----------------------------------------------------------------------------------------------------------


class PersonModel(Model):
    """Somebody who signs in."""

    display_name: LocalText | None = DISPLAY_NAME
    groups: list[Line] = Field(default_factory=list, title="Groups", description="Group paths of the person.")
    admin: bool = Field(default=False, title="Admin", description="Whether the person is an admin of the hub.")


_CA_FILE: Any = Field(
    default=None,
    title="CA file",
    description="PEM file of the certificate authorities that the hub trusts when it calls the provider, instead of "
    "the system's, relative to this file.",
)
_CLIENT_ID: Any = Field(title="Client id", description="Id of the client that the provider knows this hub by.")
_SECRET_EXPIRES: Any = Field(
    default=None,
    title="Client secret expires",
    description="Last day of the client secret, as in 2027-03-31: admins are reminded 14 days ahead.",
)


class OidcModel(Model):
    """A provider of OpenID Connect. Everything else comes from its discovery document."""

    issuer: Issuer = Field(
        title="Issuer", description="Its issuer, exactly as the discovery document says; https unless on this machine."
    )
    client_id: Line = _CLIENT_ID
    internal_url: Origin | None = Field(
        default=None,
        title="Internal URL",
        description="Where the hub itself reaches the provider, scheme and host; absent: at the issuer's.",
    )
    ca_file: Line | None = _CA_FILE
    scopes: list[Scope] = Field(
        default=[each for each in OidcProvider("", "").scopes if each != "openid"],
        title="Scopes",
        description="What is asked for beside openid; profile and email if absent.",
    )
    username_claim: Line = Field(
        default=OidcProvider("", "").username_claim,
        title="Username claim",
        description="The claim that user names are made from; dots go into objects.",
    )
    groups_claim: Line = Field(
        default=OidcProvider("", "").groups_claim,
        title="Groups claim",
        description="The claim that holds a list of groups; dots go into objects.",
    )
    client_secret_expires: Day | None = _SECRET_EXPIRES

    def provider(self) -> OidcProvider:
        """The provider as the core knows it; the path of the file as it is written."""
        return OidcProvider(
            issuer=self.issuer,
            client_id=self.client_id,
            internal_url=self.internal_url or "",
            ca_file=self.ca_file or "",
            scopes=_each_once(["openid", *self.scopes]),
            username_claim=self.username_claim,
            groups_claim=self.groups_claim,
            secret_expires=self.client_secret_expires,
        )


class KeycloakModel(OidcModel):
    """A realm of Keycloak."""

    groups_from: list[Literal["groups", "realmRoles", "clientRoles"]] = Field(
        default=["groups"],
        min_length=1,
        title="Groups from",
        description="Where groups come from: the groups claim; roles of the realm, as `role:NAME`; roles of this "
        "client, as `role:CLIENT:NAME`.",
    )

    def provider(self) -> OidcProvider:
        """The provider as the core knows it."""
        return replace(OidcModel.provider(self), keycloak=True, groups_from=_each_once(self.groups_from))


def _each_once(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


class GitHubModel(Model):
    """GitHub, or a GitHub Enterprise Server."""

    client_id: Line = _CLIENT_ID
    url: SecureOrigin = Field(
        default=GitHubProvider("").url, title="URL", description="Address of the server, scheme and host."
    )
    api_url: Issuer | None = Field(
        default=None,
        title="API URL",
        description="Address of its API; absent: https://api.github.com, of another server /api/v3 there.",
    )
    organizations: list[Organization] = Field(
        default_factory=list,
        title="Organizations",
        description="Organizations whose members may sign in and whose teams become groups; empty: the teams of all "
        "become groups, and nobody may sign in by this.",
    )
    ca_file: Line | None = _CA_FILE
    client_secret_expires: Day | None = _SECRET_EXPIRES

    def provider(self) -> GitHubProvider:
        """The provider as the core knows it."""
        known = GitHubProvider(self.client_id)
        elsewhere = known.api_url if self.url == known.url else f"{self.url}/api/v3"
        return GitHubProvider(
            client_id=self.client_id,
            url=self.url,
            api_url=(self.api_url or elsewhere).rstrip("/"),
            organizations=_each_once(self.organizations),
            ca_file=self.ca_file or "",
            secret_expires=self.client_secret_expires,
        )


class AllowedModel(MembersModel):
    """Who may sign in through a provider; admins may always. Nothing listed lets nobody in."""

    anyone: bool = Field(
        default=False, title="Anyone", description="Everybody whom the provider knows: of GitHub, the whole world."
    )


_MAX_AGE: Any = Field(
    default="12h",
    validate_default=True,
    title="Maximum age",
    description="How long somebody who is signed in goes on while the provider does not answer.",
)


_RECHECK_AFTER: Any = Field(
    default="5m",
    validate_default=True,
    title="Recheck after",
    description="How long after its last answer the provider is asked again about somebody who is active; before every "
    "start it is asked anyway. A change needs a restart of the hub.",
)


class IdentityModel(Model):
    """How long what the provider said of somebody holds."""

    recheck_after: ShortDuration = _RECHECK_AFTER
    max_age: Duration = _MAX_AGE
    fresh_for_accelerators: bool = Field(
        default=False,
        title="Fresh for accelerators",
        description="Starts with an accelerator wait while the provider does not answer.",
    )


_STOP_SERVERS_AFTER: Any = Field(
    default="15m",
    validate_default=True,
    title="Stop servers after",
    description="How long a server runs on in a project that its person is no longer in.",
)


class AfterLeavingModel(Model):
    """What follows when the provider says that somebody is no longer in a project."""

    stop_servers_after: ShortDuration = _STOP_SERVERS_AFTER


class SignInModel(Model):
    """Sign-in: the method and who is who. A change of the method or the provider needs a restart of the hub."""

    method: Literal["local", "sharedPassword", "keycloak", "oidc", "github"] = Field(
        default="local",
        title="Method",
        description="local: personas, for one machine. sharedPassword: people with one password for all and one for "
        "admins, for evaluation. keycloak, oidc, github: through a provider.",
    )
    public_url: Origin | None = Field(
        default=None,
        title="Public URL",
        description="The address by which people reach the hub, scheme and host, as in https://hub.example.org.",
    )
    display_name: LocalText | None = Field(
        default=None,
        title="Display name",
        description="What people know the provider by; the button reads: Sign in with …",
    )
    contact: LocalText | None = Field(
        default=None, title="Contact", description="Whom to ask when signing in fails: an address or a name."
    )
    keycloak: KeycloakModel | None = Field(
        default=None, title="Keycloak", description="The realm, while the method is keycloak."
    )
    oidc: OidcModel | None = Field(
        default=None, title="OpenID Connect", description="The provider, while the method is oidc."
    )
    github: GitHubModel | None = Field(default=None, title="GitHub", description="GitHub, while the method is github.")
    allowed: AllowedModel = Field(
        default_factory=AllowedModel, title="Allowed", description="Who may sign in through the provider."
    )
    personas: dict[UserName, PersonModel] = Field(
        default_factory=dict,
        title="Personas",
        description="Who signs in with one click while the method is local, by user name.",
    )
    people: dict[UserName, PersonModel] = Field(
        default_factory=dict,
        title="People",
        description="Who signs in with a password while the method is sharedPassword, by user name.",
    )
    admins: MembersModel = Field(
        default_factory=MembersModel, title="Admins", description="Who is an admin of the hub, by group or name."
    )
    identity: IdentityModel = Field(
        default_factory=IdentityModel, title="Identity", description="How long the provider's word holds."
    )
    after_sign_out: Literal["keepServers", "stopServers"] = Field(
        default="keepServers",
        title="After signing out",
        description="What becomes of somebody's servers when they sign out, or the provider ends their session.",
    )
    after_leaving: AfterLeavingModel = Field(
        default_factory=AfterLeavingModel,
        title="After leaving",
        description="What becomes of servers in a project that somebody has left.",
    )

    def provider(self) -> Provider | None:
        """The provider of the method; None where it has none, or its block is missing."""
        blocks = {"keycloak": self.keycloak, "oidc": self.oidc, "github": self.github}
        block = blocks.get(self.method)
        return None if block is None else block.provider()

    def access(self) -> Access:
        """Who may sign in through the provider: members of GitHub's organizations are among the groups."""
        organizations = self.github.organizations if self.github and self.method == "github" else []
        allowed = self.allowed.membership(everybody=self.allowed.anyone)
        groups = _each_once((*allowed.groups, *(each.lower() for each in organizations)))
        return Access(Membership(groups, allowed.users, allowed.everybody), self.admins.membership())

    def rules(self) -> SignInRules:
        """The rules on identities as the core knows them."""
        return SignInRules(
            recheck=self.identity.recheck_after,
            max_age=self.identity.max_age,
            fresh_for_accelerators=self.identity.fresh_for_accelerators,
            stop_servers=self.after_sign_out == "stopServers",
            grace=self.after_leaving.stop_servers_after,
        )
