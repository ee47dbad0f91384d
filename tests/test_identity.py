"""Identities: who may come in, what is kept of them, and what follows when the provider is asked again."""

from __future__ import annotations

import json
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aihub.errors import AIHubError
from aihub.identity import (
    Access,
    Answer,
    GitHubProvider,
    Identity,
    Outcome,
    Request,
    SignInReason,
    SignInRefused,
    SignInRules,
    decide,
)
from aihub.projects import Membership, Person

HOUR = 3600.0
YOUNG, EDGE, OLD = 0.0, 12 * HOUR, 12 * HOUR + 0.001
AGES = {"young": YOUNG, "edge": EDGE, "old": OLD}

TABLE = {
    # answer, request, age: what follows for somebody whom the policy lets in
    ("confirmed", "browser", "young"): "take",
    ("confirmed", "browser", "edge"): "take",
    ("confirmed", "browser", "old"): "take",
    ("confirmed", "token", "young"): "take",
    ("confirmed", "token", "edge"): "take",
    ("confirmed", "token", "old"): "take",
    ("confirmed", "server", "young"): "take",
    ("confirmed", "server", "edge"): "take",
    ("confirmed", "server", "old"): "take",
    ("ended", "browser", "young"): "sign-in-again",
    ("ended", "browser", "edge"): "sign-in-again",
    ("ended", "browser", "old"): "sign-in-again",
    ("ended", "token", "young"): "sign-in-again",
    ("ended", "token", "edge"): "sign-in-again",
    ("ended", "token", "old"): "sign-in-again",
    ("ended", "server", "young"): "keep",
    ("ended", "server", "edge"): "keep",
    ("ended", "server", "old"): "sign-in-again",
    ("silent", "browser", "young"): "keep",
    ("silent", "browser", "edge"): "keep",
    ("silent", "browser", "old"): "sign-in-again",
    ("silent", "token", "young"): "keep",
    ("silent", "token", "edge"): "keep",
    ("silent", "token", "old"): "sign-in-again",
    ("silent", "server", "young"): "keep",
    ("silent", "server", "edge"): "keep",
    ("silent", "server", "old"): "sign-in-again",
}
CASES = list(product(Answer, Request, AGES))


def test_the_table_is_whole() -> None:
    assert {*TABLE} == {(answer.value, request.value, age) for answer, request, age in CASES}


@pytest.mark.parametrize(("answer", "request_", "age"), CASES, ids=str)
def test_what_follows_for_somebody_who_is_allowed(answer: Answer, request_: Request, age: str) -> None:
    outcome = decide(answer, request_, AGES[age], 12 * HOUR, allowed=True)
    assert outcome is Outcome(TABLE[answer.value, request_.value, age])


@pytest.mark.parametrize(("answer", "request_", "age"), CASES, ids=str)
def test_who_is_not_allowed_any_more_is_signed_out(answer: Answer, request_: Request, age: str) -> None:
    assert decide(answer, request_, AGES[age], 12 * HOUR, allowed=False) is Outcome.SIGN_OUT


@given(st.sampled_from(Answer), st.sampled_from(Request), st.floats(0, 10**9), st.floats(0, 10**6), st.booleans())
def test_a_new_identity_needs_a_new_answer(
    answer: Answer, request_: Request, age: float, max_age: float, allowed: bool
) -> None:
    outcome = decide(answer, request_, age, max_age, allowed=allowed)
    if outcome is Outcome.TAKE:
        assert allowed
        assert answer is Answer.CONFIRMED
    if outcome is Outcome.KEEP:
        assert allowed
        assert age <= max_age


@pytest.mark.parametrize(
    ("access", "person", "admitted"),
    [
        (Access(), Person("ada", frozenset({"/staff", "**"})), False),
        (Access(), Person("ada", admin=True), False),
        (Access(Membership(groups=("/courses/**",))), Person("ada", frozenset({"/courses/ml101/students"})), True),
        (Access(Membership(groups=("/courses/**",))), Person("ada", frozenset({"/course/ml101"})), False),
        (Access(Membership(groups=("/courses/*",))), Person("ada", frozenset({"/courses/ml101/students"})), False),
        (Access(Membership(groups=("/courses/**",))), Person("ada"), False),
        (Access(Membership(users=frozenset({"ada"}))), Person("ada"), True),
        (Access(Membership(users=frozenset({"ada"}))), Person("\N{CYRILLIC SMALL LETTER A}da"), False),
        (Access(Membership(everybody=True)), Person("anyone"), True),
        (Access(admins=Membership(groups=("/staff/admins",))), Person("ada", frozenset({"/staff/admins"})), True),
        (Access(admins=Membership(users=frozenset({"root"}))), Person("ada"), False),
    ],
)
def test_who_may_come_in(access: Access, person: Person, admitted: bool) -> None:
    assert access.admits(person) is admitted


@given(
    st.builds(
        Identity,
        st.text(),
        st.text(),
        st.text(),
        st.frozensets(st.text(), max_size=5),
        st.booleans(),
        st.text(),
    )
)
def test_an_identity_survives_being_kept(identity: Identity) -> None:
    assert Identity.from_dict(json.loads(json.dumps(identity.as_dict()))) == identity


def test_what_is_kept_does_not_depend_on_the_order_of_groups() -> None:
    one, other = (Identity("i", "s", "n", frozenset(groups)) for groups in (("b", "a"), ("a", "b")))
    assert json.dumps(one.as_dict()) == json.dumps(other.as_dict())
    assert one.as_dict()["groups"] == ["a", "b"]


@pytest.mark.parametrize("gone", ["issuer", "subject", "name", "groups", "groupsMissing", "session"])
def test_half_an_identity_is_none(gone: str) -> None:
    kept = Identity("i", "s", "n").as_dict()
    del kept[gone]
    with pytest.raises(KeyError, match=gone):
        Identity.from_dict(kept)


def test_an_identity_has_no_rights_by_itself() -> None:
    identity = Identity("i", "s", "n")
    assert (identity.groups, identity.groups_missing, identity.session) == (frozenset(), False, "")
    assert Access() == Access(Membership(), Membership())


def test_the_rules_that_hold_when_nothing_is_said() -> None:
    rules = SignInRules()
    assert (rules.max_age, rules.grace) == (12 * 3600, 15 * 60)
    assert (rules.fresh_for_accelerators, rules.stop_servers) == (False, False)


def test_github_stands_for_its_own_issuer() -> None:
    assert GitHubProvider("c").issuer == "https://github.com"
    assert GitHubProvider("c", url="https://github.example.org").issuer == "https://github.example.org"


@pytest.mark.parametrize("reason", SignInReason)
def test_a_refusal_carries_its_reason(reason: SignInReason) -> None:
    refused = SignInRefused(reason, "what the log says", claim="groups")
    assert isinstance(refused, AIHubError)
    assert (refused.reason, refused.detail, refused.parameters) == (reason, "what the log says", {"claim": "groups"})
    assert str(refused) == f"{reason.value}: what the log says"
    assert str(SignInRefused(reason)) == reason.value
