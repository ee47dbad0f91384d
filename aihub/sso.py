"""Sign-in through a provider: Keycloak, any OpenID Connect provider, GitHub.

`ProviderSignIn` translates between JupyterHub and what decides: the clients (`aihub.provider`, `aihub.github`) ask the
provider, `aihub.claims` reads the answer, AIHub's database binds a person to a name, `aihub.identity.decide` says what
follows. The hub keeps the rest encrypted in the auth state of the user (`Kept`).
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
import time
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from jupyterhub import crypto, roles
from oauthenticator.generic import GenericOAuthenticator
from oauthenticator.github import GitHubOAuthenticator
from traitlets import default

from aihub import metrics
from aihub.app import AIHub
from aihub.auth import SignInMethod, end_all, sign_out, tell_kind
from aihub.claims import identity_of
from aihub.config import GITHUB, KEYCLOAK, OIDC, SignIn
from aihub.errors import StoreError
from aihub.github import GitHubClient
from aihub.identity import (
    CLIENT_ROLES,
    GROUPS,
    REALM_ROLES,
    Answer,
    GitHubProvider,
    Identity,
    OidcProvider,
    Outcome,
    Request,
    SignInReason,
    SignInRefused,
    decide,
)
from aihub.live import CRYPT_KEY, CheckState, checks
from aihub.people import Taken
from aihub.projects import Person
from aihub.provider import (
    OidcClient,
    ProviderDown,
    ProviderError,
    ProviderRefused,
    ProviderWrong,
    Tokens,
    authorization_url,
    secret_from,
)
from aihub.tokens import TokenRefused

__all__ = ["CryptKeyError", "GitHubSignIn", "Kept", "KeycloakSignIn", "OidcSignIn", "ProviderSignIn", "Used"]


BROWSERS = 5
"""Browsers of one person whose ID tokens are kept, so that each can sign out of its own session at the provider."""

LOGOUT_LIFE = 900.0
"""Seconds for which a logout token is remembered: longer than one can be used."""

DAY, CHECK_AGAIN = 86400.0, 600.0
"""Seconds until the next live checks, when all went well and when one failed."""

PROBE = 60.0
"""Seconds between two looks at whether the provider is there."""

OWN_DOING = frozenset({SignInReason.NAME_UNUSABLE, SignInReason.EMAIL_UNVERIFIED})
"""What people can bring about at many providers by themselves; it must not keep the groups that they had."""

SILENCE = 15.0
"""Seconds after a question without an answer during which nobody else waits for one."""


class CryptKeyError(Exception):
    """Sign-in through a provider needs a key to encrypt what it keeps, and there is none, or it cannot be used."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What the hub keeps of somebody who signed in, encrypted.

    `confirmed` is when the provider last said so (Unix seconds). `ended`: its session is over, it need not be asked.
    `browsers` are the ID tokens by browser (`browser_key`), the latest last.
    """

    identity: Identity
    tokens: Tokens
    confirmed: float
    ended: bool = False
    browsers: tuple[tuple[str, str], ...] = ()

    def as_state(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "version": 1,
            "identity": self.identity.as_dict(),
            "tokens": self.tokens.as_dict(),
            "confirmed": self.confirmed,
            "ended": self.ended,
            "browsers": [list(each) for each in self.browsers],
        }

    @classmethod
    def from_state(cls, state: object) -> Kept | None:
        """What `as_state` wrote; None for anything else, such as what another sign-in method left."""
        if not isinstance(state, dict) or state.get("version") != 1:
            return None
        return cls(
            Identity.from_dict(state["identity"]),
            Tokens.from_dict(state["tokens"]),
            state["confirmed"],
            state["ended"],
            tuple((key, token) for key, token in state["browsers"]),
        )

    def with_browser(self, session: str | None) -> Kept:
        """This, with the ID token of the browser that has just signed in."""
        if not session or not self.tokens.id:
            return self
        key = browser_key(session)
        others = tuple(each for each in self.browsers if each[0] != key)
        return replace(self, browsers=(*others, (key, self.tokens.id))[-BROWSERS:])

    def hint(self, session: str | None) -> str:
        """The ID token of a browser, empty where none is known."""
        return dict(self.browsers).get(browser_key(session), "") if session else ""


def browser_key(session: str) -> str:
    """What stands for a browser's session id with the hub: not the id itself, which is worth something."""
    return hashlib.sha256(session.encode("utf-8", "surrogatepass")).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Code:
    """What a browser brought back from the provider, and what it had been sent there with."""

    code: str
    redirect_uri: str
    verifier: str
    nonce: str


class Used:
    """What is good for one use: states of sign-ins, ids of logout tokens. Forgets what is too old to be used anyway."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def first(self, value: str, now: float, until: float) -> bool:
        """Whether `value` has not been seen; it has been from now on, to `until`. All values are kept equally long."""
        while self._until and next(iter(self._until.values())) <= now:
            del self._until[next(iter(self._until))]
        if value in self._until:
            return False
        self._until[value] = until
        return True


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of asking the provider again.

    `kept` is what counts now, None where nothing was ever kept; `over`: the session was known to be over before.
    """

    answer: Answer
    kept: Kept | None
    over: bool = False


def _check_crypt_key(method: str) -> None:
    """Raise CryptKeyError when nothing can be kept encrypted. The hub's own check names no way on."""
    try:
        crypto.CryptKeeper.instance().check_available()
    except (crypto.EncryptionUnavailable, ValueError) as error:
        raise CryptKeyError(
            f"signIn.method {method} keeps tokens of the provider, and needs a key to encrypt them: set {CRYPT_KEY} "
            f"(the key cryptKey of the chart's Secret; `openssl rand -hex 32` makes one). {error}"
        ) from error


class ProviderSignIn(SignInMethod):
    """What all providers share."""

    clock: Callable[[], float] = staticmethod(time.time)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        _check_crypt_key(self.method)
        self._sign_in = AIHub.instance().sign_in
        self._asking: dict[str, asyncio.Future[Asked]] = {}
        self._waited = -math.inf
        self._told_of_groups = False
        self._left: dict[str, float] = {}
        self._stopping: set[asyncio.Task[None]] = set()
        self.used = Used()
        self.client: OidcClient | GitHubClient = self.make_client()
        aihub = AIHub.instance()
        aihub.provider = self.client
        aihub.followed["the sign-in provider"] = self.follow

    @abstractmethod
    def make_client(self) -> OidcClient | GitHubClient:
        """Whom this hub asks."""

    @abstractmethod
    async def redeem(self, code: Code) -> tuple[Identity, Tokens]:
        """Who signed in, and the tokens. Raises what the clients raise, TokenRefused, SignInRefused."""

    async def fresh(self, kept: Kept) -> Tokens:
        """The tokens to ask with now; those of `kept` may be worth nothing from then on. Raises what clients raise.

        New ones where there is a refresh token: OAuth apps of GitHub have none and need none (upstream.md 29).
        """
        return await self.client.refresh(kept.tokens.refresh) if kept.tokens.refresh else kept.tokens

    @abstractmethod
    async def renew(self, kept: Kept) -> Identity:
        """Who that is now, by the tokens of `kept`, which are fresh. Raises as `redeem`."""

    @default("enable_auth_state")
    def _enable_auth_state(self) -> bool:
        return True

    @default("auth_refresh_age")
    def _auth_refresh_age(self) -> int:
        return int(self.sign_in.rules.recheck)

    @property
    def sign_in(self) -> SignIn:
        """What the policy file says of sign-in; of a file that asks for another method the last one that did not."""
        now = AIHub.instance().sign_in
        if now.method == self.method:
            self._sign_in = now
        return self._sign_in

    @property
    def public_url(self) -> str:
        """The address that people reach the hub by, as the policy file names it; empty where it does not."""
        return self.sign_in.public_url

    @abstractmethod
    async def way(self, redirect_uri: str, state: str, nonce: str, challenge: str) -> str:
        """The address to send a browser to for a code, of a provider that answers.

        `challenge` is that of PKCE, with S256. Raises ProviderDown, ProviderWrong.
        """

    async def end_session_endpoint(self) -> str:
        """Where browsers sign out of the provider; empty where it has no such place, or does not answer."""
        return ""

    def check_sender(self, issuer: str, *, given: bool) -> None:
        """Raise SignInRefused when the answer says that it is another provider's (RFC 9207)."""

    def login_page(self) -> type:
        """A page with one button."""
        from aihub.handlers.sso import SsoSignIn  # noqa: PLC0415  # needs the custom scopes

        return SsoSignIn

    def get_handlers(self, app: Any) -> list[tuple[str, Any]]:
        """AIHub's routes, among them those of the round trip to the provider."""
        from aihub.handlers import sso  # noqa: PLC0415  # as above

        return [*sso.routes(), *super().get_handlers(app)]

    def check_allow_config(self) -> None:
        """Raise SignInMethodError, as the hub starts; the stock checks ask for lists that the policy file has."""
        self.check_method()
        self.check_switches("enable_auth_state")

    async def probe(self) -> None:
        """Ask the provider whether it is there. Raises ProviderError."""

    async def follow(self) -> None:
        """Know how the provider does even while nobody signs in, and check it when the hub starts and every day."""
        due = -math.inf
        while True:
            try:
                await self.probe()
            except ProviderError as error:
                self.log.warning("The provider is asked once a minute and gives no usable answer: %s", error)
            if self.clock() >= due:
                due = self.clock() + (DAY if await self.check() else CHECK_AGAIN)
            await asyncio.sleep(PROBE)

    async def check(self) -> bool:
        """Do the live checks and keep them for admins; whether none failed."""
        keys = ";".join(key.hex() for key in crypto.CryptKeeper.instance().keys)
        environment = {**os.environ, CRYPT_KEY: keys}
        done = await checks(self.sign_in, secret_from(), self._redirect_uri(), self.clock(), environment=environment)
        AIHub.instance().checks = done
        for each in done:
            if each.state in (CheckState.FAILED, CheckState.WARNING):
                self.log.warning("Sign-in check %s: %s, %s. %s", each.name, each.state.value, each.detail, each.help)
        return all(each.state is not CheckState.FAILED for each in done)

    def _redirect_uri(self) -> str:
        """The address of the callback, empty where only browsers know how the hub is reached."""
        listens = urlsplit(self.parent.bind_url)
        origin = self.public_url or (f"{listens.scheme}://{listens.netloc}" if listens.hostname else "")
        return f"{origin}{self.parent.hub_prefix}oauth_callback" if origin else ""

    # --- signing in --------------------------------------------------------------------------------------------------

    async def authenticate(self, handler: Any, data: Any = None, **kwargs: Any) -> dict[str, Any] | None:  # noqa: ARG002  # the hub's signature
        """The identity of whoever brought back `data`, a Code. Raises SignInRefused; there is no other refusal."""
        if not isinstance(data, Code):
            return None
        identity, tokens = await self._understood(self.redeem(data))
        wanted = Person(identity.name, identity.groups)
        kept = Kept(identity, tokens, self.clock())
        name = await self._bound(identity, may_bind=self.admits(wanted))
        self._look_for_groups(name, identity)
        if not self.validate_username(name):
            raise SignInRefused(SignInReason.NAME_UNUSABLE, f"the hub accepts no name such as {name!r}")
        if not self.admits(Person(name, identity.groups)):
            missing = {"groups_missing": 1} if identity.groups_missing else {}
            raise SignInRefused(SignInReason.NOT_ALLOWED, f"subject {identity.subject}", name=name, **missing)
        await self._begin_anew(handler, name, identity)
        self._confirmed(name, kept)
        return self.model(name, kept)

    async def _begin_anew(self, handler: Any, name: str, identity: Identity) -> None:
        """End what was begun under a name before it was this account's: by a shared password, or by its last owner."""
        user = handler.find_user(name) if handler is not None else None
        if user is None:
            return
        before = Kept.from_state(await user.get_auth_state())
        same = (identity.issuer, identity.subject)
        if before is None or (before.identity.issuer, before.identity.subject) != same:
            end_all(user)
            self.log.warning("audit: %s is another account's now; sessions and tokens made before have ended", name)

    def _confirmed(self, name: str, kept: Kept) -> None:
        """The provider said who somebody is."""
        identity, aihub = kept.identity, AIHub.instance()
        aihub.groups_seen(identity.groups)
        aihub.identity_confirmed(name, kept.confirmed, groups_missing=identity.groups_missing)

    def _look_for_groups(self, name: str, identity: Identity) -> None:
        """That a provider says nothing of groups is for admins to hear, once and loudly: it may keep everybody out."""
        if not identity.groups_missing:
            return
        metrics.groups_missing()
        if not self._told_of_groups:
            self._told_of_groups = True
            self.log.error(
                "The provider sent no groups claim for %s. Unless they are in no group at all, its client needs a "
                "mapper that puts full group paths into the ID token (docs/sign-in/keycloak.md). This is said once",
                name,
            )

    async def _understood(self, asking: Awaitable[tuple[Identity, Tokens]]) -> tuple[Identity, Tokens]:
        try:
            return await asking
        except ProviderDown as error:
            wait = max(1, round(error.retry_after or SILENCE))
            raise SignInRefused(SignInReason.PROVIDER_DOWN, str(error), retry_after=wait) from error
        except TokenRefused as error:
            raise SignInRefused(SignInReason.TOKEN_REFUSED, str(error)) from error
        except ProviderRefused as error:
            # A code that is not accepted is old, or was never ours; anything else is said of the hub, not the person.
            reason = SignInReason.STATE_USED if error.error == "invalid_grant" else SignInReason.PROVIDER_WRONG
            raise SignInRefused(reason, str(error)) from error
        except ProviderWrong as error:
            raise SignInRefused(SignInReason.PROVIDER_WRONG, str(error)) from error

    async def _bound(self, identity: Identity, *, may_bind: bool) -> str:
        """The user name of a person: the first they had, for ever. Raises SignInRefused.

        A name is not given away to somebody who is not let in under it.
        """
        store, at = AIHub.instance().store, datetime.fromtimestamp(self.clock(), UTC)
        try:
            known = await asyncio.to_thread(store.name_of, identity.issuer, identity.subject)
            if known is not None or not may_bind:
                bound: str | Taken = known or identity.name
            else:
                bound = await asyncio.to_thread(store.bind, identity.issuer, identity.subject, identity.name, at)
            if isinstance(bound, Taken):
                detail = f"{identity.name} belongs to another subject than {identity.subject} of {identity.issuer}"
                raise SignInRefused(SignInReason.NAME_TAKEN, detail, name=identity.name)
            # A session of somebody who is not let in is nobody's here: its end must not be that of a namesake.
            if identity.session and (known is not None or may_bind):
                await asyncio.to_thread(store.session_began, identity.issuer, identity.session, bound, at)
        except StoreError as error:
            raise SignInRefused(SignInReason.STORE_UNAVAILABLE, str(error)) from error
        return bound

    def model(self, name: str, kept: Kept) -> dict[str, Any]:
        """What the hub is told of a person."""
        groups = kept.identity.groups
        return {
            "name": name,
            "groups": sorted(groups),
            "admin": self.sign_in.access.admins.includes(Person(name, groups)),
            "auth_state": kept.as_state(),
        }

    def admits(self, person: Person) -> bool:
        """Whether the policy lets a person in, and `blocked_users` of the hub's own configuration does not stop it."""
        return self.sign_in.access.admits(person) and bool(self.check_blocked_users(person.name))

    def normalize_username(self, username: str) -> str:
        """A name as it was bound: it was normalised once, before that."""
        return username

    async def check_allowed(self, username: str, auth_model: Any = None) -> bool:
        """Whether the policy lets in whom `authenticate` or `refresh_user` found."""
        if auth_model is None:
            # The hub asks without a model for users that an admin adds: adding nobody lets in.
            return False
        return self.admits(Person(username, frozenset(auth_model["groups"])))

    # --- asking again ------------------------------------------------------------------------------------------------

    async def refresh_user(self, user: Any, handler: Any = None, **kwargs: Any) -> bool | dict[str, Any]:  # noqa: ARG002  # the hub's signature
        """Ask the provider about somebody again, and do what `decide` says follows (upstream.md 26, 27).

        Requests of one person that come together share one question: a refresh token may be good for one use only.
        """
        tell_kind(handler)
        asking = self._asking.get(user.name)
        if asking is None:
            asking = self._asking[user.name] = asyncio.ensure_future(self._ask(user))
            asking.add_done_callback(lambda _done: self._asking.pop(user.name, None))
        asked = await asyncio.shield(asking)
        aihub, kept = AIHub.instance(), asked.kept
        if kept is None:
            aihub.identity_ended(user.name)
            return False
        allowed = self.admits(Person(user.name, kept.identity.groups))
        age = max(0.0, self.clock() - kept.confirmed)
        outcome = decide(asked.answer, _request(user, handler), age, self.sign_in.rules.max_age, allowed=allowed)
        if asked.answer is Answer.CONFIRMED:
            self._look_for_groups(user.name, kept.identity)
            self._confirmed(user.name, kept)
        if outcome is Outcome.KEEP:
            aihub.groups_seen(kept.identity.groups)
            aihub.identity_kept(user.name, kept.confirmed)
            if asked.answer is Answer.ENDED:
                # The hub takes what is said to a server for said to everybody, for as long as `auth_refresh_age`.
                asyncio.get_running_loop().call_soon(_ask_again, user)
        if outcome in (Outcome.TAKE, Outcome.KEEP):
            return self.model(user.name, kept)
        aihub.identity_ended(user.name)
        if outcome is Outcome.SIGN_OUT and not asked.over:
            await self.end(user, kept)
            self.log.warning("audit: %s is not allowed any more and was signed out", user.name)
        return False

    async def _ask(self, user: Any) -> Asked:
        """Ask the provider, and keep what changes at once: the old refresh token may be worth nothing any more."""
        kept = Kept.from_state(await user.get_auth_state())
        # What another provider gave, before the policy file named this one, is not for this one to see.
        if kept is None or kept.ended or kept.identity.issuer != self.client.provider.issuer:
            return Asked(Answer.ENDED, kept, over=True)
        if self._silent():
            return Asked(Answer.SILENT, kept)
        answer, new = await self._answer(user.name, kept)
        latest = Kept.from_state(await user.get_auth_state())
        if latest is not None and latest.ended:
            # The provider ended it meanwhile, and its answer is older than that.
            return Asked(Answer.ENDED, latest, over=True)
        if latest is not None and latest.confirmed > kept.confirmed:
            # They signed in again meanwhile: that is news of the provider too, and better.
            return Asked(Answer.CONFIRMED, latest)
        if new != kept:
            await user.save_auth_state(new.as_state())
        return Asked(answer, new)

    async def _answer(self, name: str, kept: Kept) -> tuple[Answer, Kept]:
        """What the provider says of the user called `name`, and what is to be kept of it."""
        try:
            # Kept whatever follows: the refresh token before may have been good for this one use.
            kept = replace(kept, tokens=await self.fresh(kept))
            identity = await self.renew(kept)
        except ProviderDown as error:
            self._waited = self.clock()
            self.log.warning("The provider does not answer; %s keeps the last identity: %s", name, error)
            return Answer.SILENT, kept
        except (ProviderWrong, SignInRefused) as error:
            self.log.warning("The provider's answer about %s cannot be used: %s", name, error)
            if isinstance(error, SignInRefused) and error.reason in OWN_DOING:
                return Answer.ENDED, replace(kept, ended=True)
            return Answer.SILENT, kept
        except TokenRefused as error:
            self.log.warning("audit: the provider's new token for %s is refused: %s", name, error)
            return Answer.ENDED, replace(kept, ended=True)
        except ProviderRefused as error:
            if error.ended:
                self.log.info("The session of %s at the provider is over: %s", name, error)
                return Answer.ENDED, replace(kept, ended=True)
            # What is said of this hub (that its secret is wrong, say) is nothing that its people did.
            self.log.error("The provider does not accept this hub; %s keeps the last identity: %s", name, error)  # noqa: TRY400  # the error says all
            return Answer.SILENT, kept
        return Answer.CONFIRMED, replace(kept, identity=identity, confirmed=self.clock())

    def _silent(self) -> bool:
        """Whether somebody has just waited for the provider in vain."""
        return self.client.down_since is not None and self.clock() - self._waited < SILENCE

    async def end(self, user: Any, kept: Kept | None = None) -> None:
        """End all sessions of a user; the provider is not asked about them any more until they sign in again."""
        kept = kept or Kept.from_state(await user.get_auth_state())
        _ask_again(user)
        if kept is not None:
            await user.save_auth_state(replace(kept, ended=True).as_state())
            user.sync_groups(sorted(kept.identity.groups))
            user.admin = self.model(user.name, kept)["admin"]
            roles.assign_default_roles(user.db, entity=user.orm_user)
        sign_out(user)

    def left_since(self, name: str, moment: float) -> bool:
        """Whether the provider has signed the user called `name` out since `moment` (Unix seconds)."""
        return self._left.get(name, -math.inf) >= moment

    def stop_servers(self, handler: Any, user: Any) -> None:
        """Stop what runs of a user, behind the back of the request: a stop takes longer than an answer may."""
        for name, spawner in user.spawners.items():
            if spawner.active and not spawner.pending:
                task = asyncio.ensure_future(self._stop(handler, user, name))
                self._stopping.add(task)
                task.add_done_callback(self._stopping.discard)

    async def _stop(self, handler: Any, user: Any, name: str) -> None:
        try:
            await handler.stop_single_user(user, name)
        except Exception:
            self.log.exception("%s signed out, and their server %r could not be stopped", user.name, name)


def _ask_again(user: Any) -> None:
    """Let the hub ask `refresh_user` at the next request of a user, however short ago it did."""
    user._auth_refreshed = None  # noqa: SLF001  # the hub keeps it nowhere else


def _request(user: Any, handler: Any) -> Request:
    """For whom the provider is asked: the browser of the person, a token, or a running server of theirs."""
    if handler is None:
        return Request.SERVER
    of_another = getattr(handler, "_jupyterhub_user", None) is not user
    if of_another:
        # An admin acts for somebody who is not there to sign in again; that counts within the age all the same.
        return Request.SERVER
    if not getattr(handler, "_token_authenticated", False):
        return Request.BROWSER
    # By the row itself: its note can be written by anybody.
    own = {getattr(spawner, "token_id", None) for spawner in user.spawners.values()}
    return Request.SERVER if handler.get_token().id in own else Request.TOKEN


class OidcSignIn(ProviderSignIn, GenericOAuthenticator):
    """Any OpenID Connect provider."""

    method = OIDC
    client: OidcClient

    @property
    def provider(self) -> OidcProvider:
        """Who is asked: whom the policy file named when the hub started, whatever it says by now."""
        return self.client.provider

    def make_client(self) -> OidcClient:
        """A client of the provider that the policy file names."""
        provider = self.sign_in.provider
        assert isinstance(provider, OidcProvider)
        return OidcClient(provider, secret_from(), clock=self.clock)

    async def probe(self) -> None:
        """By its discovery document."""
        await self.client.probe(0)

    async def way(self, redirect_uri: str, state: str, nonce: str, challenge: str) -> str:
        """By a discovery document that is seconds old: else somebody would be sent to a provider that hangs."""
        metadata = await self.client.probe(SILENCE)
        parameters = {"state": state, "nonce": nonce, "code_challenge": challenge, "code_challenge_method": "S256"}
        return authorization_url(metadata, self.provider, redirect_uri, parameters)

    async def end_session_endpoint(self) -> str:
        """As the provider announces it (OpenID Connect RP-Initiated Logout 1.0)."""
        try:
            return (await self.client.probe(SILENCE)).end_session_endpoint
        except ProviderError as error:
            self.log.warning("Nobody can be signed out at the provider now: %s", error)
            return ""

    def check_sender(self, issuer: str, *, given: bool) -> None:
        """Raise SignInRefused when the answer says that it is another provider's (RFC 9207)."""
        known = self.client.known()
        promised = known is not None and known.names_issuer
        if (given or promised) and issuer != self.provider.issuer:
            raise SignInRefused(SignInReason.TOKEN_REFUSED, "an answer of another issuer, or of none")

    async def logged_out(self, handler: Any, token: str) -> int:
        """End all sessions of whom a logout token names; of how many users.

        Raises TokenRefused, StoreError, and what the client raises when the keys cannot be had.
        """
        logout = await self.client.logout(token)
        # All sessions of a person are one here (upstream.md 30), so its subject says enough where there is one.
        who = {"subject": logout.subject} if logout.subject else {"session": logout.session}
        names = await asyncio.to_thread(lambda: AIHub.instance().store.names_of(self.provider.issuer, **who))
        # Only now: a token that the database stood in the way of may come again.
        now = self.clock()
        if not self.used.first(f"logout {logout.id}", now, now + LOGOUT_LIFE):
            raise TokenRefused("replay", "the logout token was used before")
        self._left.update(dict.fromkeys(names, now))
        users = [user for name in names if (user := handler.find_user(name)) is not None]
        for user in users:
            await self.end(user)
            AIHub.instance().identity_ended(user.name)
            self.log.info("audit: %s was signed out by the provider", user.name)
            if self.sign_in.rules.stop_servers:
                self.stop_servers(handler, user)
        return len(users)

    async def redeem(self, code: Code) -> tuple[Identity, Tokens]:
        """Change the code into tokens, and check them."""
        tokens = await self.client.exchange(code.code, code.redirect_uri, code.verifier)
        return await self._identity(tokens, nonce=code.nonce), tokens

    async def renew(self, kept: Kept) -> Identity:
        """By the ID token that came with fresh ones; without one by asking who the access token belongs to."""
        if kept.tokens.refresh and kept.tokens.id:
            return await self._identity(kept.tokens, subject=kept.identity.subject, before=kept.identity)
        claims = {"sub": kept.identity.subject, "iss": kept.identity.issuer, "sid": kept.identity.session}
        return await self._combined(claims, kept.tokens, ask=True)

    async def _identity(
        self, tokens: Tokens, *, nonce: str | None = None, subject: str | None = None, before: Identity | None = None
    ) -> Identity:
        claims = await self.client.id_claims(tokens.id, nonce, subject)
        identity = await self._combined(claims, tokens)
        session = identity.session or (before.session if before else "")
        return replace(identity, session=session)

    async def _combined(self, claims: Mapping[str, Any], tokens: Tokens, *, ask: bool = False) -> Identity:
        """The identity by the ID token, and by what it lacks and the provider says elsewhere."""
        provider, access = self.provider, None
        if {REALM_ROLES, CLIENT_ROLES} & set(provider.groups_from):
            access = await self.client.access_claims(tokens.access)
        needed = {provider.username_claim} | ({provider.groups_claim} if GROUPS in provider.groups_from else set())
        ask = ask or any(name not in claims and name.partition(".")[0] not in claims for name in needed)
        there = bool((await self.client.metadata()).userinfo_endpoint)
        userinfo = await self.client.userinfo(tokens.access) if ask and there else None
        return identity_of(provider, claims, userinfo, access)


class KeycloakSignIn(OidcSignIn):
    """Keycloak: OpenID Connect, with paths of groups and roles."""

    method = KEYCLOAK


class GitHubSignIn(ProviderSignIn, GitHubOAuthenticator):
    """GitHub: organisations and teams are the groups."""

    method = GITHUB
    client: GitHubClient

    @property
    def provider(self) -> GitHubProvider:
        """Who is asked: whom the policy file named when the hub started, whatever it says by now."""
        return self.client.provider

    async def way(self, redirect_uri: str, state: str, nonce: str, challenge: str) -> str:  # noqa: ARG002  # no ID token, no nonce
        """GitHub's one address."""
        return self.client.authorize_url(redirect_uri, state, challenge)

    def make_client(self) -> GitHubClient:
        """A client of the GitHub that the policy file names."""
        provider = self.sign_in.provider
        assert isinstance(provider, GitHubProvider)
        return GitHubClient(provider, secret_from(), clock=self.clock)

    async def redeem(self, code: Code) -> tuple[Identity, Tokens]:
        """Change the code into a token, and read who it belongs to."""
        tokens = await self.client.exchange(code.code, code.redirect_uri, code.verifier)
        return await self.client.identity(tokens), tokens

    async def renew(self, kept: Kept) -> Identity:
        """Read it again. Raises TokenRefused for another account."""
        identity = await self.client.identity(kept.tokens)
        if identity.subject != kept.identity.subject:
            raise TokenRefused("subject", "the token belongs to another account now")
        return identity
