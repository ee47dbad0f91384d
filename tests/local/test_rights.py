"""Who may do what: every route of the running hub, by everybody, with every kind of key, against a table of letters.

The table, tests/data/rights/local.txt, is written by hand from the rules (docs/design.md). The routes are those of the
hub's own application: a route or method without a row fails.

Trap of JupyterHub that these tests would notice (upstream.md): 40, a running server's own token passes for its person.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.local.people import Someone
from tests.local.rig import Rig
from tests.local.route_rig import ROUTES
from tests.rights_rig import Column, Row, Rule, letter_of, served, table

POLICY = Path(__file__).parent / "policies" / "rights.yaml"
TABLE = table("local.txt")
PEOPLE = {
    "member": "mirabel",
    "peer": "percival",
    "instructor": "isidora",
    "elsewhere": "ottokar",
    "admin": "adelheid",
    "nobody": "hieronymus",
}
OWNER = PEOPLE["member"]
"""Whose server, tokens and so on the addresses of the table name."""

RUNNING = {"member": "alpha", "instructor": "alpha", "admin": "beta"}
"""Who runs a server, in which project: the servers' tokens are tried too."""


@dataclass
class School:
    """The hub, its routes, and a key for each column of the table."""

    rig: Rig
    rules: list[Rule]
    people: dict[str, Someone]
    keys: dict[Column, dict[str, str]] = field(default_factory=dict)
    secrets: set[str] = field(default_factory=set)
    # Past the proxy, which answers some addresses itself. It keeps no cookie that an answer sets.
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=60))

    @property
    def hub(self) -> str:
        return f"http://127.0.0.1:{self.rig.port + 1}"

    def ask(self, row: Row, column: Column) -> httpx.Response:
        """Send the row's request with the column's key."""
        self.client.cookies.clear()
        form = re.match(r"[a-z_-]+=", row.body) is not None
        return self.client.request(
            row.method,
            self.hub + self.filled(row.address),
            content=self.filled(row.body).encode() if row.body else None,
            headers={**self.keys[column], **({"Content-Type": FORM} if form else {})},
        )

    def path(self, row: Row) -> str:
        """The path of the row's address."""
        return self.filled(row.address).split("?")[0]

    def filled(self, text: str) -> str:
        """With what the braces stand for; what an answer may have used up is made anew."""
        if "{token}" in text:
            made = self.people["member"].pages.post(f"/hub/api/users/{OWNER}/tokens", json={}).raise_for_status()
            text = text.replace("{token}", made.json()["id"])
        if "{spare}" in text:
            assert self.people["admin"].pages.post("/hub/api/users/spare").status_code in {201, 409}
        return text.replace("{spare}", "spare").replace("{owner}", OWNER).replace("{other}", PEOPLE["nobody"])


FORM = "application/x-www-form-urlencoded"


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory) -> Iterator[School]:
    """A hub on which a member, an instructor and an admin each run a server."""
    folder = tmp_path_factory.mktemp("rights")
    noting = (sys.executable, "-m", "tests.local.route_rig")
    rig = Rig(folder, (POLICY,), environ={ROUTES: str(folder / "routes.json")}, aihub=noting)
    rig.start()
    try:
        rules = [Rule(r["pattern"], r["handler"], tuple(r["methods"])) for r in _routes(folder)]
        people = {who: Someone.of(rig, name) for who, name in PEOPLE.items() if who != "nobody"}
        school = School(rig, rules, people)
        people["member"].start({"project": RUNNING["member"]})  # builds the image, once
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda who: people[who].start({"project": RUNNING[who]}), ("instructor", "admin")))
        school.keys = {column: _key(school, column) for column in TABLE.columns}
        school.secrets = _secrets(school)
        yield school
        school.client.close()
    finally:
        rig.close()


def _routes(folder: Path) -> list[dict[str, Any]]:
    routes: list[dict[str, Any]] = json.loads((folder / "routes.json").read_text())
    return routes


def _key(school: School, column: Column) -> dict[str, str]:
    """The headers of a column's requests."""
    if column.kind == "-":
        return _visitor(school)
    someone = school.people[column.who]
    if column.kind == "c":
        jar = someone.pages.cookies.jar
        cookies = [f"{each.name}={each.value}" for each in jar if each.path in {"/hub/", "/"}]
        return {"Cookie": "; ".join(cookies), "X-XSRFToken": someone.pages.headers["X-XSRFToken"]}
    return {"Authorization": f"token {_token(school, someone, column.kind)}"}


def _visitor(school: School) -> dict[str, str]:
    """A browser in which nobody signed in, so that it is not the XSRF token that is missing."""
    answer = httpx.get(f"{school.hub}/hub/login")
    xsrf = answer.cookies.get("_xsrf")
    assert xsrf
    return {"Cookie": f"_xsrf={xsrf}", "X-XSRFToken": xsrf}


def _token(school: School, someone: Someone, kind: str) -> str:
    if kind == "f":
        return str(someone.api.headers["Authorization"]).removeprefix("token ")
    if kind == "r":
        scopes = {"scopes": ["custom:aihub:read"]}
        made = someone.pages.post(f"/hub/api/users/{someone.name}/tokens", json=scopes).raise_for_status()
        return str(made.json()["token"])
    if kind == "s":
        environments = (process.environ() for process in school.rig.user_servers())
        (token,) = (each["JUPYTERHUB_API_TOKEN"] for each in environments if each["JUPYTERHUB_USER"] == someone.name)
        return token
    # JupyterLab's page holds the token of the session for its own requests.
    page = someone.pages.get(f"{someone.base()}/lab").raise_for_status().text
    (data,) = re.findall(r'<script id="jupyter-config-data"[^>]*>(.*?)</script>', page, re.DOTALL)
    return str(json.loads(unescape(data))["token"])


def _secrets(school: School) -> set[str]:
    """What stands in no answer."""
    tokens = {key["Authorization"].removeprefix("token ") for key in school.keys.values() if "Authorization" in key}
    secret = (school.rig.state_dir / "cookie_secret").read_text().strip()
    return {secret, *tokens}


# --- the table -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", TABLE.rows, ids=lambda row: row.id)
def test_everybody_is_answered_as_the_table_says(school: School, row: Row) -> None:
    assert "".join(letter(school, row, column) for column in TABLE.columns) == row.cells


def letter(school: School, row: Row, column: Column) -> str:
    """The letter of the answer, which never holds a secret."""
    answer = school.ask(row, column)
    shown = f"{answer.headers}{answer.text}"
    assert not [secret for secret in school.secrets if secret in shown], f"a secret for {column}"
    known = f"{answer.request.url} {answer.request.content!r} {PEOPLE.get(column.who)}"
    return letter_of(answer, "/hub/login", {name for name in PEOPLE.values() if name not in known})


def test_every_route_and_method_of_the_hub_has_a_row(school: School) -> None:
    rows = {(served(school.rules, school.path(row)).pattern, row.method) for row in TABLE.rows}
    first = {rule.pattern: rule for rule in reversed(school.rules)}  # a later rule of the same pattern is never asked
    lacking = [
        f"{method} {rule.pattern} ({rule.handler})"
        for rule in first.values()
        for method in rule.methods
        if method != "OPTIONS" and (rule.pattern, method) not in rows
    ]
    assert not lacking, "write a row into tests/data/rights/local.txt for each of these"


def test_a_browser_s_preflight_tells_nobody_anything(school: School) -> None:
    paths = {served(school.rules, path): path for path in map(school.path, TABLE.rows)}
    asked = [path for rule, path in paths.items() if "OPTIONS" in rule.methods]
    assert len(asked) > 30
    for path in asked:
        answer = school.ask(Row("OPTIONS", path, "", ""), TABLE.columns[0])
        assert answer.status_code in {200, 204, 404}, path
        assert len(answer.content) < 50, path
        assert "Access-Control-Allow-Credentials" not in answer.headers, path


# --- the table itself ------------------------------------------------------------------------------------------------


def test_no_row_is_there_twice() -> None:
    assert len({row.id for row in TABLE.rows}) == len(TABLE.rows)


def rows(letters: str, *, who: Collection[str] = PEOPLE, kinds: str = "cfrsb") -> list[str]:
    """The rows in which somebody among `who` has one of the `letters` by one of the `kinds` of keys."""
    places = [place for place, each in enumerate(TABLE.columns) if each.who in who and each.kind in kinds]
    return [row.id for row in TABLE.rows if any(row.cells[place] in letters for place in places)]


def test_only_instructors_and_admins_read_the_names_of_others() -> None:
    assert rows("A", who=("member", "peer", "elsewhere")) == []
    assert all("/aihub/" in row for row in rows("A", who=("instructor",)))


def test_the_keys_of_servers_open_nothing_of_ours() -> None:
    opened = [row for row in rows("aAw", kinds="sb") if "/static/" not in row]
    assert [row for row in opened if any(part in row for part in ("/aihub/", "/spawn", "/home", "/server"))] == []


def test_an_instructor_reaches_nobody_s_servers_but_by_the_page_of_their_project() -> None:
    reached = set(rows("aAw", who=("instructor",))) - set(rows("aw", who=("peer",)))
    assert all("/aihub/projects/alpha" in row for row in reached), reached
