from __future__ import annotations

import pytest

from aihub.i18n import Catalogues
from aihub.identity import SignInReason
from aihub.language import Language
from aihub.signinwords import http_address, sign_in

ENGLISH = Language()
LANGUAGES = Catalogues.load(pseudo=True).languages.values()
WAITS = {SignInReason.PROVIDER_DOWN, SignInReason.STORE_UNAVAILABLE}


@pytest.mark.parametrize("language", LANGUAGES, ids=lambda language: language.code)
@pytest.mark.parametrize("reason", SignInReason)
def test_every_reason_has_words_even_without_parameters(reason: SignInReason, language: Language) -> None:
    message = sign_in(reason, {}, language)
    for text in (message.heading, message.text, message.safe, message.way, *message.steps, *message.admins):
        assert text
        assert "{" not in text


@pytest.mark.parametrize("reason", SignInReason)
def test_what_people_read_differs_for_every_reason(reason: SignInReason) -> None:
    others = [sign_in(other, {}, ENGLISH).heading for other in SignInReason if other is not reason]
    assert sign_in(reason, {}, ENGLISH).heading not in others


@pytest.mark.parametrize("reason", WAITS)
def test_an_outage_says_that_what_runs_goes_on(reason: SignInReason) -> None:
    message = sign_in(reason, {}, ENGLISH)
    assert "Servers that run go on" in message.safe
    assert "tries again by itself" in message.way


NAMED = {
    SignInReason.NOT_ALLOWED: ({"name": "ada"}, "“ada”"),
    SignInReason.NAME_TAKEN: ({"name": "ada"}, "“ada”"),
    SignInReason.NAME_UNUSABLE: ({"claim": "upn"}, "“upn”"),
    SignInReason.CLAIMS_UNUSABLE: ({"claim": "groups"}, "“groups”"),
    SignInReason.PROVIDER_DOWN: ({"provider": "id.example.org"}, "id.example.org"),
    SignInReason.WRONG_ADDRESS: (
        {"address": "http://10.0.0.1:8000", "public": "https://hub.example.org"},
        "You came by http://10.0.0.1:8000, and the hub is at https://hub.example.org.",
    ),
}


@pytest.mark.parametrize(("reason", "parameters", "said"), [(key, *value) for key, value in NAMED.items()])
def test_parameters_are_named(reason: SignInReason, parameters: dict[str, str | int], said: str) -> None:
    message = sign_in(reason, parameters, ENGLISH)
    texts = (message.heading, message.text, message.way, *message.admins)
    assert any(said in text for text in texts), texts


@pytest.mark.parametrize(("missing", "lines"), [(0, 1), (1, 2)])
def test_admins_hear_that_missing_groups_may_keep_everybody_out(missing: int, lines: int) -> None:
    admins = sign_in(SignInReason.NOT_ALLOWED, {"name": "ada", "groups_missing": missing}, ENGLISH).admins
    assert len(admins) == lines
    assert ("“Group Membership”" in admins[-1]) == bool(missing)


def test_a_taken_name_touches_nothing() -> None:
    assert "neither the files of that account nor its servers" in sign_in(SignInReason.NAME_TAKEN, {}, ENGLISH).safe


@pytest.mark.parametrize(
    ("public", "headers"),
    [
        ("https://hub.example.org", ("Host: hub.example.org", "X-Forwarded-Proto: https")),
        ("http://hub.example.org:8080", ("Host: hub.example.org:8080", "X-Forwarded-Proto: http")),
    ],
)
def test_a_wrong_address_says_what_the_proxy_must_send(public: str, headers: tuple[str, str]) -> None:
    message = sign_in(SignInReason.WRONG_ADDRESS, {"address": "http://10.0.0.1", "public": public}, ENGLISH)
    assert message.admins[1:3] == headers


def test_a_missing_cookie_explains_hosts_and_schemes() -> None:
    steps = " ".join(sign_in(SignInReason.STATE_MISSING, {}, ENGLISH).steps)
    for word in ("Cookies", "“localhost”", "“127.0.0.1”", "http and https"):
        assert word in steps


@pytest.mark.parametrize(
    ("text", "linked"),
    [
        ("https://hub.example.org", True),
        ("http://127.0.0.1:8000", True),
        ("", False),
        ("hub.example.org", False),
        ("javascript:alert(1)", False),
        ("https://", False),
        ("https://[::1", False),
        ("//hub.example.org", False),
    ],
)
def test_only_a_web_address_becomes_a_link(text: str, linked: bool) -> None:
    assert (http_address(text) is not None) == linked
