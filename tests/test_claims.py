"""From claims to identities: what a provider may say of somebody, and what is refused as a whole."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aihub.claims import identity_of, identity_of_github
from aihub.identity import MAX_GROUPS, GitHubProvider, Identity, OidcProvider, SignInReason, SignInRefused

PROVIDER = OidcProvider("https://id.example.org/realms/school", "aihub", keycloak=True)
OIDC = replace(PROVIDER, keycloak=False)
BY_EMAIL = replace(OIDC, username_claim="email")
BY_ROLES = replace(PROVIDER, groups_from=("groups", "realmRoles", "clientRoles"))
CLAIMS: dict[str, Any] = {
    "sub": "f:1:ada",
    "preferred_username": "Ada",
    "groups": ["/courses/ml101/students", "/club"],
    "sid": "s-1",
}
GITHUB = GitHubProvider("client")
ACCOUNT = {"login": "Octo-Cat", "id": 583231, "type": "User"}
TEAM = {"slug": "ML101-Staff", "organization": {"login": "My-School"}}

CLAIMS_UNUSABLE, NAME_UNUSABLE, EMAIL_UNVERIFIED = (
    SignInReason.CLAIMS_UNUSABLE,
    SignInReason.NAME_UNUSABLE,
    SignInReason.EMAIL_UNVERIFIED,
)
GONE = object()
"""A claim that is taken out."""


def claims(**changes: object) -> dict[str, Any]:
    return {name: value for name, value in {**CLAIMS, **changes}.items() if value is not GONE}


def refused(make: Any, *arguments: Any) -> SignInRefused:
    with pytest.raises(SignInRefused) as caught:
        make(*arguments)
    assert caught.value.parameters["claim"]
    return caught.value


def test_an_identity_is_made_of_claims() -> None:
    assert identity_of(PROVIDER, CLAIMS) == Identity(
        issuer="https://id.example.org/realms/school",
        subject="f:1:ada",
        name="ada",
        groups=frozenset({"/courses/ml101/students", "/club"}),
        groups_missing=False,
        session="s-1",
    )


def test_what_the_id_token_lacks_is_taken_from_userinfo() -> None:
    userinfo = {"sub": "f:1:ada", "preferred_username": "Other", "groups": ["/from/userinfo"], "sid": "no"}
    both = identity_of(PROVIDER, claims(groups=GONE, sid=GONE), userinfo)
    assert (both.name, both.session, both.groups_missing) == ("ada", "", False)
    assert both.groups == {"/from/userinfo"}
    assert identity_of(PROVIDER, CLAIMS, userinfo).groups == {"/courses/ml101/students", "/club"}
    assert identity_of(PROVIDER, {"sub": "f:1:ada"}, userinfo).name == "other"


@pytest.mark.parametrize("subject", ["f:1:bob", "", None, 7, ["f:1:ada"], GONE], ids=str)
@pytest.mark.parametrize("where", ["userinfo", "access"])
def test_what_is_said_of_somebody_else_does_not_count(subject: object, where: str) -> None:
    other = {} if subject is GONE else {"sub": subject}
    found = refused(lambda: identity_of(PROVIDER, CLAIMS, **{where: other}))
    assert (found.reason, found.parameters) == (CLAIMS_UNUSABLE, {"claim": "sub"})


@pytest.mark.parametrize(
    "subject", [GONE, None, "", 7, True, ["a"], {"a": 1}, "x" * 256, "a\nb", "a\x00", "\ud800"], ids=str
)
def test_a_subject_that_is_none(subject: object) -> None:
    found = refused(identity_of, PROVIDER, claims(sub=subject))
    assert (found.reason, found.parameters["claim"]) == (CLAIMS_UNUSABLE, "sub")


@pytest.mark.parametrize("session", [None, 7, ["s"], "s" * 256, "s\x00"], ids=str)
def test_a_session_that_is_none(session: object) -> None:
    found = refused(identity_of, PROVIDER, claims(sid=session))
    assert (found.reason, found.parameters["claim"]) == (CLAIMS_UNUSABLE, "sid")


# --- groups ----------------------------------------------------------------------------------------------------------

NO_GROUPS: dict[str, Any] = {
    "a string": "/staff",
    "the empty string": "",
    "letters and commas": "/staff,/club",
    "a number": 7,
    "a truth": True,
    "null": None,
    "an object": {"/staff": True},
    "a list in a list": [["/staff"]],
    "an object in a list": [{"name": "staff", "path": "/staff"}],
    "a number in a list": ["/staff", 7],
    "null in a list": ["/staff", None],
    "nothing in a list": ["/staff", ""],
    "a line break": ["/staff\n"],
    "a zero": ["/staff\x00"],
    "an escape": ["\x1b[31m/staff"],
    "a right-to-left mark": ["/\u202eff\u202cats"],
    "no character": ["/\u200bstaff"],
    "half a character": ["/\ud800"],
    "a long name": ["/" + "x" * 255],
    "10,000": [f"/g/{number}" for number in range(10_000)],
    "one too many": [f"/g/{number}" for number in range(MAX_GROUPS + 1)],
}


@pytest.mark.parametrize("groups", NO_GROUPS.values(), ids=NO_GROUPS)
@pytest.mark.parametrize("where", ["token", "userinfo"])
def test_groups_of_another_form_are_refused_as_a_whole(groups: object, where: str) -> None:
    if where == "token":
        found = refused(identity_of, PROVIDER, claims(groups=groups))
    else:
        found = refused(identity_of, PROVIDER, claims(groups=GONE), {"sub": "f:1:ada", "groups": groups})
    assert (found.reason, found.parameters["claim"]) == (CLAIMS_UNUSABLE, "groups")


@pytest.mark.parametrize(
    "groups",
    [
        [],
        ["/a"],
        ["/a", "/a"],
        ["/a/b c/d"],
        ["/Ünïcode/課程"],
        ["a"],
        ["**"],
        ["/" + "x" * 254],
        [f"/g/{number}" for number in range(MAX_GROUPS)],
    ],
    ids=lambda groups: str(groups)[:30],
)
def test_groups_are_taken_as_they_are(groups: list[str]) -> None:
    identity = identity_of(PROVIDER, claims(groups=groups))
    assert (identity.groups, identity.groups_missing) == (frozenset(groups), False)


def test_a_missing_claim_is_no_group_and_is_told() -> None:
    for userinfo in (None, {"sub": "f:1:ada"}):
        identity = identity_of(PROVIDER, claims(groups=GONE), userinfo)
        assert (identity.groups, identity.groups_missing) == (frozenset(), True)


@pytest.mark.parametrize(
    ("claim", "said", "groups"),
    [
        ("resource.hub.groups", {"resource": {"hub": {"groups": ["/a"]}}}, {"/a"}),
        ("https://example.org/groups", {"https://example.org/groups": ["/a"]}, {"/a"}),
        ("a.b", {"a.b": ["/whole"], "a": {"b": ["/way"]}}, {"/whole"}),
        ("a.b", {"a": "b"}, None),
        ("a.b", {"a": ["b"]}, None),
        ("a.b", {"a": {"b.c": ["/a"]}}, None),
        ("a.", {"a": ["/a"]}, None),
    ],
)
def test_a_claims_name_may_have_dots(claim: str, said: dict[str, Any], groups: set[str] | None) -> None:
    identity = identity_of(replace(OIDC, groups_claim=claim), claims(groups=GONE, **said))
    assert identity.groups == (groups or set())
    assert identity.groups_missing is (groups is None)


def test_the_end_of_a_way_into_objects_is_a_list_too() -> None:
    found = refused(identity_of, replace(OIDC, groups_claim="a.b"), claims(a={"b": "/staff"}))
    assert found.parameters["claim"] == "a.b"


# --- Keycloak's roles ------------------------------------------------------------------------------------------------

ACCESS: dict[str, Any] = {
    "sub": "f:1:ada",
    "realm_access": {"roles": ["teacher", "default-roles-school"]},
    "resource_access": {"aihub": {"roles": ["admin"]}, "account": {"roles": ["view-profile"]}},
}


@pytest.mark.parametrize(
    ("sources", "groups"),
    [
        (("groups",), {"/club", "/courses/ml101/students"}),
        (("realmRoles",), {"role:teacher", "role:default-roles-school"}),
        (("clientRoles",), {"role:aihub:admin"}),
        (
            ("groups", "realmRoles", "clientRoles"),
            {"/club", "/courses/ml101/students", "role:teacher", "role:default-roles-school", "role:aihub:admin"},
        ),
    ],
)
def test_roles_are_groups_where_the_policy_says_so(sources: tuple[str, ...], groups: set[str]) -> None:
    identity = identity_of(replace(PROVIDER, groups_from=sources), CLAIMS, None, ACCESS)
    assert (identity.groups, identity.groups_missing) == (frozenset(groups), False)


@pytest.mark.parametrize("access", [None, {"sub": "f:1:ada"}], ids=["no token", "no roles in it"])
def test_missing_roles_are_told_and_groups_still_count(access: dict[str, Any] | None) -> None:
    identity = identity_of(BY_ROLES, CLAIMS, None, access)
    assert (identity.groups, identity.groups_missing) == (frozenset({"/club", "/courses/ml101/students"}), True)


def test_a_person_without_roles_of_the_client_is_no_mistake() -> None:
    access = {"sub": "f:1:ada", "realm_access": {"roles": []}}
    identity = identity_of(replace(PROVIDER, groups_from=("clientRoles",)), CLAIMS, None, access)
    assert (identity.groups, identity.groups_missing) == (frozenset(), False)


def test_a_missing_groups_claim_is_told_beside_roles() -> None:
    identity = identity_of(BY_ROLES, claims(groups=GONE), None, ACCESS)
    assert identity.groups_missing is True
    assert "role:teacher" in identity.groups


@pytest.mark.parametrize(
    "changes",
    [
        {"realm_access": []},
        {"realm_access": "teacher"},
        {"realm_access": {"roles": "teacher"}},
        {"realm_access": {"roles": {"teacher": 1}}},
        {"realm_access": {"roles": [7]}},
        {"realm_access": {"roles": [""]}},
        {"realm_access": {"roles": ["a\nb"]}},
        {"realm_access": {"roles": ["x" * 255]}},
        {"realm_access": {"roles": [f"r{number}" for number in range(MAX_GROUPS)]}},
        {"realm_access": {"roles": ["aihub:admin"]}},
        {"resource_access": []},
        {"resource_access": {"aihub": ["admin"]}},
        {"resource_access": {"aihub": {"roles": "admin"}}},
        {"resource_access": {"aihub": {"roles": None}}},
    ],
    ids=lambda changes: str(changes)[:60],
)
def test_roles_of_another_form_are_refused(changes: dict[str, Any]) -> None:
    assert refused(identity_of, BY_ROLES, CLAIMS, None, {**ACCESS, **changes}).reason is CLAIMS_UNUSABLE


def test_a_group_of_keycloak_is_not_called_like_a_role() -> None:
    for provider in (PROVIDER, BY_ROLES):
        assert refused(identity_of, provider, claims(groups=["role:teacher"]), None, ACCESS).reason is CLAIMS_UNUSABLE
    assert identity_of(PROVIDER, claims(groups=["/role:teacher"])).groups == {"/role:teacher"}
    assert identity_of(OIDC, claims(groups=["role:teacher"])).groups == {"role:teacher"}


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("ada", "ada"),
        ("ADA", "ada"),
        ("Ada Lovelace", "ada lovelace"),
        ("ada@example.org", "ada@example.org"),
        ("ＡＤＡ", "ａｄａ"),
        ("\N{CYRILLIC SMALL LETTER A}da", "\N{CYRILLIC SMALL LETTER A}da"),
        ("ZOË", "zoë"),
        ("學生", "學生"),
        ("ΟΔΥΣΣΕΥΣ", "οδυσσευς"),
        ("a\\b", "a\\b"),
        ("a.b", "a.b"),
        ("<b>", "<b>"),
        ("x" * 255, "x" * 255),
        ("%41", "%41"),
    ],
)
def test_a_name_is_normalised_once(said: str, name: str) -> None:
    assert identity_of(PROVIDER, claims(preferred_username=said)).name == name


@pytest.mark.parametrize(
    "said",
    [
        GONE,
        None,
        "",
        " ",
        " ada",
        "ada ",
        "a/da",
        "../ada",
        ".",
        "..",
        "...",
        "%2e",
        "%2E%2e",
        "ada\n",
        "ada\x00",
        "ada\x7f",
        "ada\u200b",
        "ada\u00a0",
        "\u202eada",
        "\ud800",
        "zoe\u0308",
        "x" * 256,
        "\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}" * 128,
        7,
        True,
        ["ada"],
        {"ada": 1},
    ],
    ids=repr,
)
def test_a_name_that_nobody_can_have(said: object) -> None:
    found = refused(identity_of, PROVIDER, claims(preferred_username=said))
    assert (found.reason, found.parameters) == (NAME_UNUSABLE, {"claim": "preferred_username"})


def test_a_name_may_come_from_anywhere() -> None:
    provider = replace(OIDC, username_claim="account.login")
    assert identity_of(provider, claims(account={"login": "ADA"})).name == "ada"
    assert refused(identity_of, provider, CLAIMS).parameters == {"claim": "account.login"}


@pytest.mark.parametrize("verified", ["true", "True", 1, "1", [True], {}, None, False, "", GONE], ids=repr)
def test_an_address_is_a_name_only_when_it_is_verified(verified: object) -> None:
    found = refused(identity_of, BY_EMAIL, claims(email="ada@example.org", email_verified=verified))
    assert (found.reason, found.parameters) == (EMAIL_UNVERIFIED, {"claim": "email_verified"})


def test_a_verified_address_is_a_name() -> None:
    assert identity_of(BY_EMAIL, claims(email="Ada@Example.org", email_verified=True)).name == "ada@example.org"


@pytest.mark.parametrize(
    ("said", "userinfo", "good"),
    [
        ({"email": "a@b"}, {"email": "a@b", "email_verified": True}, True),
        ({"email_verified": True}, {"email": "a@b"}, False),
        ({}, {"email": "a@b", "email_verified": True}, True),
        ({"email": "a@b"}, {"email": "c@d", "email_verified": True}, False),
        ({"email": "a@b", "email_verified": False}, {"email": "a@b", "email_verified": True}, False),
        ({"email": "a@b", "email_verified": True}, {"email": "a@b", "email_verified": False}, False),
        ({"email": "a@b", "email_verified": True}, {"email": "c@d", "email_verified": False}, True),
        ({"email": "a@b"}, {"email_verified": True}, False),
    ],
)
def test_what_is_verified_is_that_very_address(said: dict[str, Any], userinfo: dict[str, Any], good: bool) -> None:
    arguments = (BY_EMAIL, claims(**said), {"sub": "f:1:ada", **userinfo})
    if good:
        assert identity_of(*arguments).name == "a@b"
    else:
        assert refused(identity_of, *arguments).reason is EMAIL_UNVERIFIED


def test_an_address_that_decides_nothing_need_not_be_verified() -> None:
    assert identity_of(PROVIDER, claims(email="x@example.org", email_verified=False)).name == "ada"


# --- GitHub ----------------------------------------------------------------------------------------------------------


def test_an_account_of_github_is_its_number() -> None:
    organizations, teams = [{"login": "My-School"}, {"login": "other"}], [TEAM]
    assert identity_of_github(GITHUB, ACCOUNT, organizations, teams) == Identity(
        "https://github.com",
        "583231",
        "octo-cat",
        frozenset({"my-school", "other", "my-school:ml101-staff"}),
    )


def test_only_the_organizations_of_the_policy_count() -> None:
    provider = GitHubProvider("client", organizations=("MY-school",))
    teams = [TEAM, {"slug": "my-school", "organization": {"login": "other"}}]
    identity = identity_of_github(provider, ACCOUNT, [{"login": "My-School"}, {"login": "other"}], teams)
    assert identity.groups == {"my-school", "my-school:ml101-staff"}


def test_an_account_without_organizations() -> None:
    identity = identity_of_github(GITHUB, ACCOUNT, [], [])
    assert (identity.groups, identity.groups_missing) == (frozenset(), False)


@pytest.mark.parametrize("number", [None, "583231", 0, -1, 1.5, True, 2**63, [1], GONE], ids=repr)
def test_an_account_that_has_no_number(number: object) -> None:
    account = {name: value for name, value in {**ACCOUNT, "id": number}.items() if value is not GONE}
    found = refused(identity_of_github, GITHUB, account, [], [])
    assert (found.reason, found.parameters) == (CLAIMS_UNUSABLE, {"claim": "id"})


NO_LOGIN = [None, "", 7, ["a"], "a/b", "a b", "a:b", "a*", "é", "\N{KELVIN SIGN}", "a\n", "..", "a" * 256]


@pytest.mark.parametrize("login", NO_LOGIN, ids=repr)
def test_a_login_that_is_none(login: object) -> None:
    cases: list[tuple[Any, ...]] = [
        ({**ACCOUNT, "login": login}, [], []),
        (ACCOUNT, [{"login": login}], []),
        (ACCOUNT, [], [{**TEAM, "organization": {"login": login}}]),
    ]
    for arguments in cases:
        found = refused(identity_of_github, GITHUB, *arguments)
        assert (found.reason, found.parameters) == (CLAIMS_UNUSABLE, {"claim": "login"})


@pytest.mark.parametrize("login", ["ada", "Ada", "-ada-", "a--b", "ada_school", "0", "a" * 100])
def test_a_login_as_there_are(login: str) -> None:
    assert identity_of_github(GITHUB, {**ACCOUNT, "login": login}, [], []).name == login.lower()


@pytest.mark.parametrize("slug", [None, "", 7, ["a"], "a/b", "a b", "a:b", "*", "a\n", "\u200b", "a" * 255], ids=repr)
def test_a_team_that_is_none(slug: object) -> None:
    assert refused(identity_of_github, GITHUB, ACCOUNT, [], [{**TEAM, "slug": slug}]).reason is CLAIMS_UNUSABLE


@pytest.mark.parametrize("answer", [None, {}, "x", 7, [None], ["my-school"], [["my-school"]], [7]], ids=repr)
def test_answers_of_github_that_are_no_lists_of_objects(answer: object) -> None:
    assert refused(identity_of_github, GITHUB, ACCOUNT, answer, []).reason is CLAIMS_UNUSABLE
    assert refused(identity_of_github, GITHUB, ACCOUNT, [], answer).reason is CLAIMS_UNUSABLE


@pytest.mark.parametrize("user", [None, [], "octocat", 7, {}], ids=repr)
def test_an_answer_of_github_that_is_no_account(user: object) -> None:
    assert refused(identity_of_github, GITHUB, user, [], []).reason is CLAIMS_UNUSABLE


@pytest.mark.parametrize("organization", [None, "my-school", [], 7, GONE], ids=repr)
def test_a_team_of_nobody(organization: object) -> None:
    team = {name: value for name, value in {**TEAM, "organization": organization}.items() if value is not GONE}
    assert refused(identity_of_github, GITHUB, ACCOUNT, [], [team]).reason is CLAIMS_UNUSABLE


def test_too_many_teams() -> None:
    teams = [{**TEAM, "slug": f"t{number}"} for number in range(MAX_GROUPS + 1)]
    assert refused(identity_of_github, GITHUB, ACCOUNT, [], teams).reason is CLAIMS_UNUSABLE
    assert len(identity_of_github(GITHUB, ACCOUNT, [], teams[:-1]).groups) == MAX_GROUPS


# --- anything --------------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
NAMES = ["sub", "sid", "preferred_username", "groups", "email", "email_verified", "realm_access", "resource_access"]
SAID = st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([PROVIDER, OIDC, BY_EMAIL, BY_ROLES]), SAID, st.none() | SAID, st.none() | SAID)
def test_any_claims_are_refused_or_of_the_right_form(
    provider: OidcProvider, said: dict[str, Any], userinfo: dict[str, Any] | None, access: dict[str, Any] | None
) -> None:
    same = {"sub": "f:1:ada"}
    try:
        identity = identity_of(
            provider,
            {**CLAIMS, **said},
            None if userinfo is None else {**userinfo, **same},
            None if access is None else {**access, **same},
        )
    except SignInRefused:
        return
    _of_the_right_form(identity)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=20))
def test_any_text_is_a_name_or_refused(text: str) -> None:
    try:
        identity = identity_of(PROVIDER, claims(preferred_username=text))
    except SignInRefused:
        return
    _of_the_right_form(identity)
    assert identity_of(PROVIDER, claims(preferred_username=identity.name)).name == identity.name


@settings(max_examples=100, deadline=None)
@given(JSON, JSON, JSON)
def test_any_answers_of_github_are_refused_or_of_the_right_form(user: Any, organizations: Any, teams: Any) -> None:
    for account in (user, {**ACCOUNT, "login": user}):
        try:
            _of_the_right_form(identity_of_github(GITHUB, account, organizations, teams))
        except SignInRefused:
            continue


def _of_the_right_form(identity: Identity) -> None:
    assert identity.name
    assert identity.subject
    for text in (identity.name, identity.subject, identity.session, *identity.groups):
        assert isinstance(text, str)
        assert text.isprintable()
        assert len(text) <= 255
    assert "/" not in identity.name
    assert identity.name == identity.name.lower().strip()
    assert "" not in identity.groups
