"""Who may do what where people sign in through a provider: the table of tests/local/test_rights.py, and its changes.

Beside the rights: what the hub keeps of the provider (its tokens act for a person elsewhere) stands in no answer.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import pytest

from tests.local.people import Someone
from tests.local.route_rig import methods_of
from tests.provider_rig import HostileProvider
from tests.rights_rig import OWNER, PEOPLE, Row, Rule, School, table
from tests.sso_hub import HubInProcess

LOCAL, CHANGES = table("local.txt"), table("sso.txt")
POLICY = Path(__file__).parent / "policies" / "rights.yaml"
SIGN_IN = """
signIn:
  method: keycloak
  keycloak: {issuer: "ISSUER", clientId: aihub}
  allowed: {groups: [/**]}
  admins: {groups: [/admins]}
"""
GROUPS: Mapping[str, tuple[str, ...]] = {
    "member": ("/alpha/students",),
    "peer": ("/alpha/students",),
    "instructor": ("/alpha/staff",),
    "elsewhere": ("/beta/staff",),
    "admin": ("/beta/students", "/admins"),
}
JWT = r"eyJ[\w-]{8,}\."
ELSEWHERE = (
    "/hub/api/proxy",
    "/hub/api/services",
    "/user/{owner}",
    "servers//progress",
    "server/progress",
    "/spawn-pending/",
)
"""Parts of addresses that this hub has not: it has no proxy, no services and no servers."""


def rows() -> list[Row]:
    """The rows of local.txt for the columns that are here, and those of sso.txt in their place."""
    places = [LOCAL.columns.index(column) for column in CHANGES.columns]
    changed = {row.id for row in CHANGES.rows}
    same = [
        replace(row, cells="".join(row.cells[place] for place in places))
        for row in LOCAL.rows
        if row.id not in changed and not any(part in row.address for part in ELSEWHERE)
    ]
    return [*same, *(row for row in CHANGES.rows if row.address != "/hub/logout")]


@dataclass
class Entrance:
    """A hub that people enter by the provider (`tests.local.people.Place`)."""

    hub: HubInProcess
    provider: HostileProvider
    clients: list[httpx.Client] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.hub.origin

    def sign_in(self, persona: str) -> httpx.Client:
        client = self._client()
        self.provider.sign_in(client, f"{self.hub.url}/oauth_login", persona)
        client.get("/hub/home")
        xsrf = {c.path: c.value or "" for c in client.cookies.jar if c.name == "_xsrf"}
        client.headers["X-XSRFToken"] = xsrf["/hub/"]
        assert client.get("/hub/api/user").raise_for_status().json()["name"] == persona
        return client

    def with_token(self, client: httpx.Client, persona: str) -> httpx.Client:
        made = client.post(f"/hub/api/users/{persona}/tokens", json={}).raise_for_status()
        api = self._client()
        api.headers["Authorization"] = f"token {made.json()['token']}"
        return api

    def said(self) -> str:
        return "\n".join(self.hub.log.lines)

    def _client(self) -> httpx.Client:
        self.clients.append(httpx.Client(base_url=self.url, timeout=60))
        return self.clients[-1]


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory) -> Iterator[School]:
    folder = tmp_path_factory.mktemp("rights")
    with HostileProvider() as provider, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIHUB_CLIENT_SECRET", "the-secret-of-the-client")
        policy = folder / "policy.yaml"
        policy.write_text(POLICY.read_text().split("signIn:")[0] + SIGN_IN.replace("ISSUER", provider.issuer))
        with HubInProcess(folder, policy) as hub:
            provider.add_client("aihub", "the-secret-of-the-client", [hub.callback])
            for who, groups in GROUPS.items():
                provider.add_person(PEOPLE[who], groups=groups, email=f"{who}@example.org")
            entrance = Entrance(hub, provider)
            people = {who: Someone.of(entrance, PEOPLE[who]) for who in GROUPS}
            school = School(hub.origin, _rules(hub), people)
            school.secrets = {"the-secret-of-the-client", JWT, "refresh-"}
            school.give_keys(CHANGES.columns, _no_server)
            yield school
            for client in (school.client, *entrance.clients):
                client.close()


def _rules(hub: HubInProcess) -> list[Rule]:
    found = (rule for host in hub.app.tornado_application.default_router.rules for rule in host.target.rules)
    return [
        Rule(rule.matcher.regex.pattern, rule.target.__qualname__, tuple(methods_of(rule.target))) for rule in found
    ]


def _no_server(someone: Someone, kind: str) -> str:
    raise AssertionError(f"{someone.name} runs no server: no key {kind}")


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.id)
def test_everybody_is_answered_as_the_tables_say(school: School, row: Row) -> None:
    assert "".join(school.letter(row, column) for column in CHANGES.columns) == row.cells


def test_every_route_and_method_of_the_hub_has_a_row(school: School) -> None:
    lacking = school.lacking([*LOCAL.rows, *CHANGES.rows])
    assert lacking == [], "write a row into tests/data/rights/sso.txt for each of these"


def test_the_hub_does_keep_what_no_answer_shows(school: School) -> None:
    """Otherwise nothing above was tried."""
    entrance = school.people["admin"].rig
    assert isinstance(entrance, Entrance)
    with closing(sqlite3.connect(entrance.hub.machine.state.hub_database)) as database:
        (kept,) = database.execute("select encrypted_auth_state from users where name = ?", (OWNER,)).fetchone()
    assert len(kept) > 500


def test_the_way_to_the_provider_s_sign_out_alone_holds_a_token(school: School) -> None:
    """The ID token of that very session, which the provider asks for (RP-Initiated Logout 1.0); it ends sessions."""
    (row,) = (row for row in CHANGES.rows if row.address == "/hub/logout")
    school.secrets.discard(JWT)
    assert "".join(school.letter(row, column) for column in CHANGES.columns) == row.cells
