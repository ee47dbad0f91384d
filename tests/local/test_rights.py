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
from html import unescape
from pathlib import Path

import pytest

from tests.local.people import Someone
from tests.local.rig import Rig
from tests.local.route_rig import ROUTES
from tests.rights_rig import PEOPLE, Row, Rule, School, served, table

POLICY = Path(__file__).parent / "policies" / "rights.yaml"
TABLE = table("local.txt")
RUNNING = {"member": "alpha", "instructor": "alpha", "admin": "beta"}
"""Who runs a server, in which project: the servers' tokens are tried too."""


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
        # Past the proxy, which answers some addresses itself.
        school = School(f"http://127.0.0.1:{rig.port + 1}", rules, people)
        people["member"].start({"project": RUNNING["member"]})  # builds the image, once
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda who: people[who].start({"project": RUNNING[who]}), ("instructor", "admin")))
        school.secrets = {(rig.state_dir / "cookie_secret").read_text().strip()}
        school.give_keys(TABLE.columns, lambda someone, kind: _of_server(rig, someone, kind))
        yield school
        school.client.close()
    finally:
        rig.close()


def _routes(folder: Path) -> list[dict[str, str]]:
    routes: list[dict[str, str]] = json.loads((folder / "routes.json").read_text())
    return routes


def _of_server(rig: Rig, someone: Someone, kind: str) -> str:
    """The token of somebody's server, or of their browser's session at it."""
    if kind == "s":
        environments = (process.environ() for process in rig.user_servers())
        (token,) = (each["JUPYTERHUB_API_TOKEN"] for each in environments if each["JUPYTERHUB_USER"] == someone.name)
        return token
    # JupyterLab's page holds the token of the session for its own requests.
    page = someone.pages.get(f"{someone.base()}/lab").raise_for_status().text
    (data,) = re.findall(r'<script id="jupyter-config-data"[^>]*>(.*?)</script>', page, re.DOTALL)
    return str(json.loads(unescape(data))["token"])


# --- the table -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", TABLE.rows, ids=lambda row: row.id)
def test_everybody_is_answered_as_the_table_says(school: School, row: Row) -> None:
    assert "".join(school.letter(row, column) for column in TABLE.columns) == row.cells


def test_every_route_and_method_of_the_hub_has_a_row(school: School) -> None:
    assert school.lacking(TABLE.rows) == [], "write a row into tests/data/rights/local.txt for each of these"


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
