"""A local server that speaks the part of GitHub's API that AIHub uses, made from GitHub's own examples.

    with GitHubRig() as rig:
        rig.accounts["ada"] = Account(7, {"my-school": ["ml101-staff"]})
        tokens = await rig.tokens_of(client, "ada")        # client: GitHubClient; no browser

OAuth errors are answered with status 200 and JSON, as GitHub does
(https://docs.github.com/apps/oauth-apps/maintaining-oauth-apps/troubleshooting-oauth-app-access-token-request-errors).
What can go wrong: `rig.faults[…]` for the endpoints token, user, orgs, teams, check and authorize; `revoke`; `link`, a
function of the Link header that would be right; `page_size`.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import tornado.web
from jsonschema import Draft4Validator, FormatChecker

from aihub.github import GitHubClient
from aihub.identity import GitHubProvider
from aihub.provider import Tokens
from tests.provider_rig import PERSON_COOKIE, b64
from tests.web_rig import Fault, RigEndpoint, WebRig

__all__ = ["Account", "Fault", "GitHubRig", "complaints"]

DESCRIPTION: dict[str, Any] = json.loads((Path(__file__).parent / "data/github/openapi.json").read_text("utf-8"))
EXAMPLES = DESCRIPTION["components"]["examples"]


def complaints(path: str, status: int, document: object, method: str = "get") -> list[str]:
    """Where `document` is not what GitHub's description says of the answer; empty when it is."""
    answer = DESCRIPTION["paths"][path][method]["responses"][str(status)]
    if "$ref" in answer:
        answer = DESCRIPTION["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    described = _json_schema(
        {**answer["content"]["application/json"]["schema"], "components": DESCRIPTION["components"]}
    )
    validator = Draft4Validator(described, format_checker=FormatChecker(["date-time", "email"]))
    return [f"{list(error.path)}: {error.message}" for error in validator.iter_errors(document)]


def _json_schema(node: Any) -> Any:
    """A schema of OpenAPI 3.0 as one of JSON Schema: `nullable` is what they differ in here."""
    if isinstance(node, list):
        return [_json_schema(each) for each in node]
    if not isinstance(node, dict):
        return node
    plain = {key: _json_schema(each) for key, each in node.items() if key != "nullable"}
    return {"anyOf": [plain, {"type": "null"}]} if node.get("nullable") is True else plain


@dataclass
class Account:
    """Somebody at GitHub: their number, and the slugs of their teams by organization."""

    number: int
    teams: Mapping[str, Sequence[str]] = field(default_factory=dict)
    private: bool = True
    """Whether the token shows the private part of the profile."""


class GitHubRig(WebRig):
    """GitHub: github.com and api.github.com at one address, the API below /api/v3 as on an Enterprise Server."""

    def __init__(self, *, tls: tuple[str, str] | None = None) -> None:
        super().__init__(tls=tls)
        self.client_id, self.secret = "Iv1.rig", "rig-secret"
        self.redirect_uris = ["http://127.0.0.1:8000/hub/oauth_callback"]
        self.accounts: dict[str, Account] = {
            "octocat": Account(1),
            "ada": Account(7, {"my-school": ["ml101-students"]}),
            "teacher": Account(8, {"my-school": ["ml101-staff", "everybody"], "elsewhere": ["ml101-staff"]}),
        }
        self.page_size = 100
        self.link: Callable[[str], str] = lambda right: right
        self.answered: list[tuple[str, int, object]] = []
        """Path, status and document of every answer of the API."""
        self._codes: dict[str, tuple[str, str, str]] = {}
        self._tokens: dict[str, str] = {}

    @property
    def api(self) -> str:
        """Where the API is."""
        return f"{self.address}/api/v3"

    def provider(self, **values: Any) -> GitHubProvider:
        """What a policy file that names this GitHub comes to."""
        return GitHubProvider(**{"client_id": self.client_id, "url": self.address, "api_url": self.api, **values})

    def application(self) -> tornado.web.Application:
        """The endpoints."""
        handlers: list[tuple[str, type[RigEndpoint]]] = [
            ("/login/oauth/authorize", _Authorize),
            ("/login/oauth/access_token", _Token),
            ("/api/v3/user", _User),
            ("/api/v3/user/orgs", _Organizations),
            ("/api/v3/user/teams", _Teams),
            ("/api/v3/applications/([^/]+)/token", _Check),
        ]
        return tornado.web.Application(
            [(path, handler, {"rig": self}) for path, handler in handlers], log_function=lambda _: None
        )

    def code_for(self, login: str, redirect_uri: str, challenge: str) -> str:
        """A code as the browser would bring it."""
        code = secrets.token_hex(10)
        self._codes[code] = (login, redirect_uri, challenge)
        return code

    def redeem(self, form: Mapping[str, str]) -> dict[str, str]:
        """What the token endpoint answers, with status 200 whatever it is."""
        if (form.get("client_id"), form.get("client_secret")) != (self.client_id, self.secret):
            return _oauth_error("incorrect_client_credentials", "The client_id and/or client_secret are incorrect.")
        login, redirect_uri, challenge = self._codes.pop(form.get("code", ""), ("", "", ""))
        if not login:
            return _oauth_error("bad_verification_code", "The code passed is incorrect or expired.")
        if form.get("redirect_uri", redirect_uri) != redirect_uri:
            return _oauth_error("redirect_uri_mismatch", "The redirect_uri MUST match the registered callback URL.")
        if challenge and b64(hashlib.sha256(form.get("code_verifier", "").encode()).digest()) != challenge:
            return _oauth_error("bad_verification_code", "The code passed is incorrect or expired.")
        token = f"gho_{secrets.token_hex(18)}"
        self._tokens[token] = login
        return {"access_token": token, "scope": "read:org", "token_type": "bearer"}

    def login_of(self, authorization: str) -> str:
        """Whose token a header brings; empty: nobody's."""
        return self._tokens.get(authorization.removeprefix("Bearer "), "")

    def knows(self, token: str) -> bool:
        """Whether a token is one of this client."""
        return token in self._tokens

    def revoke(self, login: str) -> None:
        """End all tokens of an account."""
        self._tokens = {token: each for token, each in self._tokens.items() if each != login}

    async def tokens_of(self, client: GitHubClient, login: str) -> Tokens:
        """The tokens that `client` gets for somebody's code."""
        verifier = secrets.token_urlsafe(48)
        challenge = b64(hashlib.sha256(verifier.encode()).digest())
        return await client.exchange(
            self.code_for(login, self.redirect_uris[0], challenge), self.redirect_uris[0], verifier
        )

    def sign_in(self, browser: httpx.Client, address: str, login: str) -> httpx.Response:
        """Open `address` as somebody who is signed in at GitHub; the last answer, redirects followed."""
        browser.cookies.set(PERSON_COOKIE, login, domain="127.0.0.1")
        return browser.get(address, follow_redirects=True)

    # --- documents, from GitHub's examples

    def user(self, login: str) -> dict[str, Any]:
        """The answer to GET /user."""
        account = self.accounts[login]
        kind = "public-and-private-profile-information" if account.private else "public-profile-information"
        example = copy.deepcopy(EXAMPLES[f"private-user-response-with-{kind}"]["value"])
        return {**example, "login": login, "id": account.number}

    def organizations(self, login: str) -> list[dict[str, Any]]:
        """All of GET /user/orgs."""
        example = EXAMPLES["organization-simple-items"]["value"][0]
        names = enumerate(self.accounts[login].teams, 100)
        return [{**copy.deepcopy(example), "login": name, "id": number} for number, name in names]

    def teams(self, login: str) -> list[dict[str, Any]]:
        """All of GET /user/teams."""
        return [*self._teams_of(self.accounts[login])]

    def _teams_of(self, account: Account) -> Iterator[dict[str, Any]]:
        for number, (organization, slugs) in enumerate(account.teams.items(), 100):
            for slug in slugs:
                example = copy.deepcopy(EXAMPLES["team-full-items"]["value"][0])
                # The example lacks two keys that its own schema requires.
                example["organization"] |= {"login": organization, "id": number, "archived_at": None}
                yield {**example, "slug": slug, "name": slug.title(), "type": "organization"}


def _oauth_error(code: str, words: str) -> dict[str, str]:
    address = "https://docs.github.com/apps/troubleshooting-authorization-request-errors"
    return {"error": code, "error_description": words, "error_uri": address}


class _GitHub(RigEndpoint):
    rig: GitHubRig

    def answer(self, document: Any, status: int = 200) -> None:
        path = (self.request.path or "").removeprefix("/api/v3")
        self.rig.answered.append((path, status, document))
        self.json(document, status)

    def error(self, status: int, message: str) -> None:
        documentation = "https://docs.github.com/rest"
        self.answer({"message": message, "documentation_url": documentation, "status": str(status)}, status)

    def whose(self) -> str:
        """Whose token it is; an answer is sent, and nobody returned, when it is no good."""
        login = self.rig.login_of(self.request.headers.get("Authorization", ""))
        if not login:
            self.error(401, "Bad credentials")
        return login

    def page(self, everything: list[dict[str, Any]]) -> None:
        size = min(int(self.get_query_argument("per_page", "30")), self.rig.page_size)
        number = int(self.get_query_argument("page", "1"))
        last = max(-(-len(everything) // size), 1)

        def relation(page: int, name: str) -> str:
            query = urlencode({"per_page": self.get_query_argument("per_page", "30"), "page": page})
            return f'<{self.rig.address}{self.request.path}?{query}>; rel="{name}"'

        before = [relation(number - 1, "prev"), relation(1, "first")] if number > 1 else []
        after = [relation(number + 1, "next"), relation(last, "last")] if number < last else []
        link = self.rig.link(", ".join([*before[:1], *after, *before[1:]]))
        if link:
            self.set_header("Link", link)
        self.answer(everything[(number - 1) * size : number * size])


class _Authorize(_GitHub):
    endpoint = "authorize"

    def get(self) -> None:
        redirect_uri, login = self.get_query_argument("redirect_uri", ""), self.get_cookie(PERSON_COOKIE, "") or ""
        state = self.get_query_argument("state", "")
        if self.get_query_argument("client_id", "") != self.rig.client_id:
            self.set_status(404)
            self.finish("Not Found")
        elif redirect_uri not in self.rig.redirect_uris:
            answer = {"error": "redirect_uri_mismatch", "state": state}
            self.redirect(f"{self.rig.redirect_uris[0]}?{urlencode(answer)}")
        elif login in self.rig.accounts:
            code = self.rig.code_for(login, redirect_uri, self.get_query_argument("code_challenge", ""))
            self.redirect(f"{redirect_uri}?{urlencode({'code': code, 'state': state})}")
        else:
            self.redirect(f"{redirect_uri}?{urlencode({'error': 'access_denied', 'state': state})}")


class _Token(_GitHub):
    endpoint = "token"

    def post(self) -> None:
        form = {name: self.get_body_argument(name) for name in self.request.body_arguments}
        if form.get("client_id") != self.rig.client_id:
            self.json({"error": "Not Found"}, 404)
        elif "json" in self.request.headers.get("Accept", ""):
            self.json(self.rig.redeem(form))
        else:
            self.finish(urlencode(self.rig.redeem(form)))


class _User(_GitHub):
    endpoint = "user"

    def get(self) -> None:
        login = self.whose()
        if login:
            self.answer(self.rig.user(login))


class _Organizations(_GitHub):
    endpoint = "orgs"

    def get(self) -> None:
        login = self.whose()
        if login:
            self.page(self.rig.organizations(login))


class _Teams(_GitHub):
    endpoint = "teams"

    def get(self) -> None:
        login = self.whose()
        if login:
            self.page(self.rig.teams(login))


class _Check(_GitHub):
    """https://docs.github.com/rest/apps/oauth-applications#check-a-token."""

    endpoint = "check"

    def post(self, client_id: str) -> None:
        kind, _, pair = self.request.headers.get("Authorization", "").partition(" ")
        given = base64.b64decode(pair).decode() if kind == "Basic" else ""
        token = json.loads(self.request.body or b"{}").get("access_token")
        if client_id != self.rig.client_id or given != f"{self.rig.client_id}:{self.rig.secret}":
            self.error(401, "Bad credentials")
        elif not isinstance(token, str) or not token:
            self.answer({"message": "Validation Failed", "documentation_url": "https://docs.github.com/rest"}, 422)
        elif not self.rig.knows(token):
            self.error(404, "Not Found")
        else:
            self.json({})
