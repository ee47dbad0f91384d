"""Why nobody was signed in, in words: what happened, what is safe, the way on, and what the hub's admins can do.

Texts are plain; whoever puts them into a page escapes them. They never hold what a provider or a stranger sent, but
for the few parameters of `SignInRefused`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from aihub.identity import SignInReason
from aihub.language import Language

__all__ = ["SignInMessage", "http_address", "sign_in"]


@dataclass(frozen=True, slots=True)
class SignInMessage:
    """A refused sign-in in words.

    `heading` names it, `text` says what happened, `safe` what it does not touch, `way` what to do now. `steps` are
    things to try, one a line, and `admins` is for whoever runs the hub.
    """

    heading: str
    text: str
    safe: str = ""
    way: str = ""
    steps: tuple[str, ...] = ()
    admins: tuple[str, ...] = ()


def sign_in(reason: SignInReason, parameters: Mapping[str, str | int], language: Language) -> SignInMessage:
    """`reason` in words. Never raises, whatever parameters are missing.

    Parameters: `name` a user name, `claim` a claim's name, `address` and `public` addresses (whole ones, as
    "https://hub.example.org"), `provider` the provider's host, `groups_missing` whether it sent no groups at all.
    """
    return _SENTENCES[reason](_Voice(parameters, language))


def http_address(text: str) -> SplitResult | None:
    """The parts of an address that a link may have; None for what is none."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    return parts if parts.scheme in ("http", "https") and parts.hostname else None


@dataclass(frozen=True, slots=True)
class _Voice:
    """Parameters on their way to a sentence."""

    parameters: Mapping[str, str | int]
    language: Language

    def word(self, key: str) -> str:
        return str(self.parameters.get(key, ""))

    def say(self, message: str, /, **values: object) -> str:
        return self.language.say(message, **values)

    @property
    def provider(self) -> str:
        return self.word("provider") or self.say("the sign-in service")

    @property
    def no_groups(self) -> str:
        return self.say(
            "No groups were sent for this account. If none are sent for anybody, the provider has to send them first: "
            "with Keycloak by a mapper “Group Membership” of the client, with Full group path On and Add to ID token "
            "On."
        )

    @property
    def all_safe(self) -> str:
        return self.say("Nothing was changed: servers that run go on, and files are kept.")


def _provider_down(voice: _Voice) -> SignInMessage:
    return SignInMessage(
        voice.say("Sign-in does not answer right now"),
        voice.say("{provider} does not answer, so nobody new can sign in for the moment.", provider=voice.provider),
        voice.say("Servers that run go on, files are safe, and who is signed in already can go on working."),
        voice.say("Keep this page open: it tries again by itself. You need not do anything."),
    )


def _provider_wrong(voice: _Voice) -> SignInMessage:
    return SignInMessage(
        voice.say("Sign-in is not set up right"),
        voice.say(
            "{provider} and this hub do not accept each other: a setting of one does not fit the other.",
            provider=voice.provider,
        ),
        voice.all_safe,
        voice.say("This is not your mistake, and trying again will not help. Tell whoever runs this hub."),
        admins=(
            voice.say("The hub’s log says what does not fit, with the id that stands below."),
            voice.say("“aihub check --live” asks the provider for everything that sign-in needs, step by step."),
        ),
    )


def _cancelled(voice: _Voice) -> SignInMessage:
    return SignInMessage(
        voice.say("You did not sign in"),
        voice.say("The sign-in was ended at {provider} before it was complete.", provider=voice.provider),
        voice.all_safe,
        voice.say("Sign in again when you want to."),
    )


def _not_allowed(voice: _Voice) -> SignInMessage:
    name = voice.word("name")
    return SignInMessage(
        voice.say("This account may not use this hub"),
        voice.say("You signed in as “{name}”. That worked, but this account is not among those who may.", name=name)
        if name
        else voice.say("Signing in worked, but this account is not among those who may use this hub."),
        voice.say("Nothing was changed. If this account has files here, they are kept."),
        voice.say(
            "If you have another account, sign in with that one. Else ask to be let in, and say which name it was."
        ),
        admins=(
            voice.say("Who may sign in is “signIn.allowed” of the policy file: groups are compared as full paths."),
            *((voice.no_groups,) if voice.parameters.get("groups_missing") else ()),
        ),
    )


def _name_taken(voice: _Voice) -> SignInMessage:
    name = voice.word("name")
    return SignInMessage(
        voice.say("The name “{name}” belongs to another account", name=name)
        if name
        else voice.say("Your name belongs to another account"),
        voice.say(
            "Somebody else at {provider} had this name here first. You were not signed in, so that nobody gets the "
            "files of somebody else.",
            provider=voice.provider,
        ),
        voice.say("Nothing was touched: neither the files of that account nor its servers."),
        voice.say("Ask whoever runs this hub. If you had this name yourself before, with an older account, say so."),
        admins=(
            voice.say("“aihub people list” shows whose the name is; “aihub people release” frees it for the next one."),
            voice.say("Release a name only when you know that its files may go to the person who asks."),
        ),
    )


def _name_unusable(voice: _Voice) -> SignInMessage:
    claim = voice.word("claim")
    return SignInMessage(
        voice.say("Your user name cannot be used here"),
        voice.say(
            "The user name that {provider} sends is missing, or has characters that a name here cannot have.",
            provider=voice.provider,
        ),
        voice.all_safe,
        voice.say("This is not your mistake, and trying again will not help. Tell whoever runs this hub."),
        admins=(
            voice.say("It was read from the claim “{claim}”; “usernameClaim” can name another one.", claim=claim)
            if claim
            else voice.say("“usernameClaim” in the policy file says which claim it is read from."),
            voice.say("A name has 1 to 255 characters that can be printed, no slash, and no space at either end."),
        ),
    )


def _email_unverified(voice: _Voice) -> SignInMessage:
    return SignInMessage(
        voice.say("Your e-mail address is not confirmed"),
        voice.say(
            "This hub knows people by their e-mail address, and {provider} does not say that yours is confirmed.",
            provider=voice.provider,
        ),
        voice.all_safe,
        voice.say("Confirm the address at {provider}, then sign in again.", provider=voice.provider),
        admins=(voice.say("The claim “email_verified” must be true where e-mail addresses decide who somebody is."),),
    )


def _claims_unusable(voice: _Voice) -> SignInMessage:
    claim = voice.word("claim")
    return SignInMessage(
        voice.say("The data of your account cannot be used"),
        voice.say(
            "What {provider} sends about your account has a form that could give you rights that nobody meant.",
            provider=voice.provider,
        ),
        voice.all_safe,
        voice.say("This is not your mistake, and trying again will not help. Tell whoever runs this hub."),
        admins=(
            voice.say("It is the claim “{claim}”. Groups must be a list of texts.", claim=claim)
            if claim
            else voice.say("Groups must be a list of texts. The hub’s log says what came instead."),
        ),
    )


def _token_refused(voice: _Voice) -> SignInMessage:
    return SignInMessage(
        voice.say("The answer to your sign-in was not accepted"),
        voice.say(
            "What came back from {provider} does not prove who you are: it is too old, for another hub, or not signed "
            "as it must be.",
            provider=voice.provider,
        ),
        voice.all_safe,
        voice.say("Sign in again. If that does not help, tell whoever runs this hub."),
        admins=(
            voice.say("The hub’s log says which check failed. The clocks of both machines may differ by 60 s at most."),
        ),
    )


def _state_missing(voice: _Voice) -> SignInMessage:
    address = voice.word("address")
    return SignInMessage(
        voice.say("Your browser did not bring its cookie back"),
        voice.say(
            "When a sign-in begins, your browser gets a cookie, and it must show it at the end. It did not, so the hub "
            "cannot know that this sign-in is yours."
        ),
        voice.all_safe,
        voice.say("Sign in again. If that does not help, look at these:"),
        steps=(
            *((voice.say("This page came from {address}.", address=address),) if address else ()),
            voice.say("Cookies must be allowed for this site. Some private windows and extensions block them."),
            voice.say("Use one address all the way: “localhost” and “127.0.0.1” are two, and so are http and https."),
            voice.say(
                "Begin in the window in which you want to work: a link from a mail app may open another browser."
            ),
        ),
        admins=(
            voice.say(
                "Behind an ingress or a proxy, the hub must be told the address that people see: Host unchanged, and "
                "X-Forwarded-Proto."
            ),
        ),
    )


def _state_used(voice: _Voice) -> SignInMessage:
    return SignInMessage(
        voice.say("This sign-in is over"),
        voice.say(
            "Each answer of {provider} counts once and for a short time. Perhaps this page was loaded again, came from "
            "the history or a bookmark, or was open for long.",
            provider=voice.provider,
        ),
        voice.all_safe,
        voice.say("Sign in again. If you keep a bookmark, make it from the page “Home”."),
    )


def _wrong_address(voice: _Voice) -> SignInMessage:
    address, public = voice.word("address"), voice.word("public")
    expected = http_address(public)
    return SignInMessage(
        voice.say("This is not the address of this hub"),
        voice.say(
            "You came by {address}, and the hub is at {public}. From here, neither its cookies nor the way back from "
            "the sign-in would work.",
            address=address,
            public=public,
        )
        if address and public
        else voice.say("From this address, neither the hub’s cookies nor the way back from the sign-in would work."),
        voice.all_safe,
        voice.say("Open the hub at its own address, and use that one from now on."),
        admins=_proxy(voice, expected) if expected else (),
    )


def _proxy(voice: _Voice, public: SplitResult) -> tuple[str, ...]:
    """What stands before the hub must send on, and the other way out."""
    return (
        voice.say(
            "If people did open {public}, then the ingress or proxy before the hub must send:", public=public.geturl()
        ),
        f"Host: {public.netloc}",
        f"X-Forwarded-Proto: {public.scheme}",
        voice.say(
            "If {public} is not the address, change “signIn.publicUrl” in the policy file.", public=public.geturl()
        ),
    )


def _store_unavailable(voice: _Voice) -> SignInMessage:
    return SignInMessage(
        voice.say("The hub cannot look up who you are"),
        voice.say("Its database does not answer, so nobody new can sign in for the moment."),
        voice.say("Servers that run go on, files are safe, and who is signed in already can go on working."),
        voice.say("Keep this page open: it tries again by itself. You need not do anything."),
    )


_SENTENCES: dict[SignInReason, Callable[[_Voice], SignInMessage]] = {
    SignInReason.PROVIDER_DOWN: _provider_down,
    SignInReason.PROVIDER_WRONG: _provider_wrong,
    SignInReason.CANCELLED: _cancelled,
    SignInReason.NOT_ALLOWED: _not_allowed,
    SignInReason.NAME_TAKEN: _name_taken,
    SignInReason.NAME_UNUSABLE: _name_unusable,
    SignInReason.EMAIL_UNVERIFIED: _email_unverified,
    SignInReason.CLAIMS_UNUSABLE: _claims_unusable,
    SignInReason.TOKEN_REFUSED: _token_refused,
    SignInReason.STATE_MISSING: _state_missing,
    SignInReason.STATE_USED: _state_used,
    SignInReason.WRONG_ADDRESS: _wrong_address,
    SignInReason.STORE_UNAVAILABLE: _store_unavailable,
}
