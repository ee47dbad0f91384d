"""The JSON API on a real hub: whose rights count, what a running server's own token may do, and what is described."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from jupyterhub.apihandlers.base import APIHandler
from tornado.web import RequestHandler, StaticFileHandler

from aihub.handlers import routes
from aihub.handlers.people_api import PersonHandler, TokenHandler
from aihub.handlers.sign_in import PersonaSignIn
from aihub.openapi import document
from tests.local.people import Meet, Someone, meeting
from tests.local.rig import Rig
from tests.openapi_rig import answer_schema, complaints

TEACHING = Path(__file__).parent / "policies" / "teaching.yaml"
API = "/hub/api/aihub"
METHODS = ("get", "head", "post", "put", "patch", "delete", "options")


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A hub with two courses, on which the student runs one server."""
    rig = Rig(tmp_path_factory.mktemp("school"), (TEACHING,))
    rig.start()
    Someone.of(rig, "student").start({"project": "course", "image": "attrs:25"})
    yield rig
    rig.close()


@pytest.fixture(scope="module")
def meet(school: Rig) -> Meet:
    return meeting(school)


def said(answer: httpx.Response, status: int, reason: str) -> str:
    """The sentence of an error that has this status and reason."""
    body = answer.json()
    assert complaints("Error", body) == []
    assert (answer.status_code, body["status"], body["reason"]) == (status, status, reason), answer.text
    assert answer.headers["AIHub-Reason"] == reason
    assert body["message"]
    return str(body["message"])


def got(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()


# --- answers and their description -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["student", "instructor", "admin", "outsider"])
@pytest.mark.parametrize("path", [path for path in document()["paths"] if path != "/openapi.json"])
def test_real_answers_are_as_described(meet: Meet, name: str, path: str) -> None:
    answer = meet(name).api.get(API + path.replace("{project}", "course"), params={"project": "course"})
    if answer.status_code == 200:
        assert complaints(answer_schema(path), answer.json()) == []
    else:
        assert str(answer.status_code) in document()["paths"][path]["get"]["responses"]
        assert complaints("Error", answer.json()) == []


def test_the_description_is_served(meet: Meet) -> None:
    assert got(meet("student").api.get(f"{API}/openapi.json")) == document()


def test_choices_are_the_caller_s_own(meet: Meet) -> None:
    projects = {
        name: {each["project"]: each["role"] for each in got(meet(name).api.get(f"{API}/choices"))["projects"]}
        for name in ("student", "elsewhere", "outsider", "admin")
    }
    assert projects == {
        "student": {"course": "member"},
        "elsewhere": {"other": "instructor"},
        "outsider": {},
        "admin": {"course": "admin", "other": "admin"},
    }


def test_usage_counts_the_running_server_and_names_it_to_those_who_teach(meet: Meet) -> None:
    own = got(meet("student").api.get(f"{API}/usage"))
    assert own["user"][0] == {"key": "servers", "used": "1", "limit": "3"}
    assert "members" not in own["projects"][0]
    for name in ("instructor", "admin"):
        course = got(meet(name).api.get(f"{API}/usage", params={"project": "course"}))["projects"][0]
        assert [each["person"] for each in course["members"]] == ["student"]
        assert course["members"][0]["amounts"][0] == {"key": "servers", "used": "1", "limit": "2"}
        assert course["levels"]["member"][0]["used"] == "0"
        assert course["levels"]["project"][0]["used"] == "1"


def test_who_runs_what_is_for_those_who_teach(meet: Meet) -> None:
    path = f"{API}/projects/course/servers"
    for name in ("instructor", "admin"):
        (server,) = got(meet(name).api.get(path))["servers"]
        assert (server["person"], server["server"], server["state"]) == ("student", "", "running")
        assert (server["image"], server["profile"]) == ("attrs:25", "small")
        assert server["since"] < server["stopsAt"]
        assert server["idleSeconds"] >= 0
    assert "Only instructors" in said(meet("student").api.get(path), 403, "no-access")
    for name in ("outsider", "elsewhere"):
        said(meet(name).api.get(path), 404, "unknown-project")
    assert got(meet("elsewhere").api.get(f"{API}/projects/other/servers"))["servers"] == []


@pytest.mark.parametrize(
    ("query", "state", "reason"),
    [
        ({"project": "course"}, "ok", None),
        ({}, "ok", None),
        ({"project": "course", "acceleratorCount": "0"}, "ok", None),
        ({"project": "course", "acceleratorCount": "9"}, "no", "invalid-options"),
        ({"project": "course", "acceleratorCount": "９"}, "no", "invalid-options"),
        ({"project": "course", "image": "six:9"}, "no", "unknown-image"),
        ({"project": "course", "profile": "large"}, "no", "unknown-profile"),
        ({"project": "other"}, "no", "unknown-project"),
        ({"project": "nowhere\u202e\x00"}, "no", "invalid-options"),
        ({"project": ["course", "course"]}, "no", "invalid-options"),
        ({"project": "course", "color": "red"}, "no", "invalid-options"),
        ({"project": "x" * 5000}, "no", "invalid-options"),
    ],
)
def test_why(meet: Meet, query: dict[str, Any], state: str, reason: str | None) -> None:
    answer = got(meet("student").api.get(f"{API}/why", params=query))
    assert complaints("Why", answer) == []
    assert (answer["state"], answer["reason"]) == (state, reason)


def test_why_is_what_a_start_meets(meet: Meet) -> None:
    student = meet("student")
    options = {"project": "course", "image": "six:9"}
    explained = got(student.api.get(f"{API}/why", params=options))["reason"]
    assert student.ask(options, "second").headers["AIHub-Reason"] == explained


def test_somebody_else_s_answers_take_the_right_to_start_for_them(meet: Meet) -> None:
    query = {"user": "student", "project": "course"}
    for path in ("choices", "availability", "usage", "why"):
        assert meet("admin").api.get(f"{API}/{path}", params=query).status_code == 200
        for name in ("instructor", "outsider"):
            said(meet(name).api.get(f"{API}/{path}", params=query), 404, "unknown-user")
        said(meet("admin").api.get(f"{API}/{path}", params={**query, "user": "nobody"}), 404, "unknown-user")
    assert got(meet("admin").api.get(f"{API}/usage", params=query))["person"] == "student"
    # The answer is by the rights of the one who is asked about.
    assert got(meet("admin").api.get(f"{API}/why", params=query))["state"] == "ok"
    assert got(meet("admin").api.get(f"{API}/why", params={"project": "course"}))["reason"] == "not-member"


def test_availability_is_sent_once_until_something_changes(meet: Meet) -> None:
    api, query = meet("both").api, {"project": "course"}
    first = api.get(f"{API}/availability", params=query)
    again = api.get(f"{API}/availability", params=query, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    chinese = api.get(
        f"{API}/availability",
        params=query,
        headers={"If-None-Match": first.headers["ETag"], "Accept-Language": "zh-TW"},
    )
    assert chinese.status_code == 200
    assert "Accept-Language" in first.headers["Vary"]
    meet("both").start({"project": "course"}, "two")
    changed = api.get(f"{API}/availability", params=query, headers={"If-None-Match": first.headers["ETag"]})
    meet("both").stop("two")
    assert changed.status_code == 200
    assert changed.json()["meters"] != first.json()["meters"]


@pytest.mark.parametrize(
    ("query", "status", "reason"),
    [
        ({}, 400, "invalid-options"),
        ({"project": ""}, 404, "unknown-project"),
        ({"project": "other"}, 404, "unknown-project"),
        ({"project": ["course", "other"]}, 404, "unknown-project"),
    ],
)
def test_availability_of_what_there_is_not(meet: Meet, query: dict[str, Any], status: int, reason: str) -> None:
    said(meet("student").api.get(f"{API}/availability", params=query), status, reason)


def test_errors_and_texts_speak_the_reader_s_language(meet: Meet) -> None:
    chinese = {"Accept-Language": "zh-TW"}
    api = meet("student").api
    assert got(api.get(f"{API}/choices", headers=chinese))["projects"][0]["displayName"] == "課程"
    english = said(api.get(f"{API}/projects/course/servers"), 403, "no-access")
    assert said(api.get(f"{API}/projects/course/servers", headers=chinese), 403, "no-access") != english


# --- who may ask -----------------------------------------------------------------------------------------------------


def test_nobody_is_answered_without_signing_in(school: Rig) -> None:
    for path in document()["paths"]:
        said(httpx.get(school.url + API + path), 403, "not-signed-in")


def test_a_page_s_script_sends_the_cookie_with_the_xsrf_token(meet: Meet) -> None:
    pages = meet("student").pages
    script = {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin"}
    assert pages.get(f"{API}/choices", headers=script).status_code == 200
    said(pages.get(f"{API}/choices", headers={**script, "X-XSRFToken": ""}), 403, "no-access")


def test_other_methods_are_refused(meet: Meet) -> None:
    for method in ("post", "put", "patch", "delete", "options"):
        said(meet("student").api.request(method, f"{API}/choices"), 405, "method-not-allowed")


@pytest.mark.parametrize(
    ("scopes", "status"),
    [(["custom:aihub:read"], 200), (["custom:aihub:decide"], 403), (["read:users!user"], 403)],
    ids=["read", "decide", "neither"],
)
def test_a_token_of_a_person_needs_the_scope(meet: Meet, scopes: list[str], status: int) -> None:
    student = meet("student")
    made = student.pages.post("/hub/api/users/student/tokens", json={"scopes": scopes})
    assert made.status_code == 201, made.text
    headers = {"Authorization": f"token {made.json()['token']}"}
    assert httpx.get(f"{student.rig.url}{API}/choices", headers=headers).status_code == status


def test_a_narrow_token_of_an_admin_answers_for_the_admin_alone(meet: Meet) -> None:
    admin = meet("admin")
    made = admin.pages.post("/hub/api/users/admin/tokens", json={"scopes": ["custom:aihub:read"]})
    headers = {"Authorization": f"token {made.json()['token']}"}
    url = f"{admin.rig.url}{API}/usage"
    assert httpx.get(url, headers=headers).status_code == 200
    said(httpx.get(url, headers=headers, params={"user": "student"}), 404, "unknown-user")


def token_of(rig: Rig, *words: str) -> str:
    """The hub token in the environment of a process of this hub whose command holds all `words`."""
    found = [
        process.environ()["JUPYTERHUB_API_TOKEN"]
        for process in rig.processes()
        if "JUPYTERHUB_API_TOKEN" in _environ(process) and all(word in " ".join(process.cmdline()) for word in words)
    ]
    assert found, f"no process of {words}"
    return found[0]


def _environ(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:
        return {}


def matrix() -> list[tuple[str, str]]:
    """Every method of every route of ours.

    Left out are files that anybody may read, the preflight of the hub's own API, which answers with nothing, and the
    hub's own routes by which servers ask whose a token is: tests/local/test_rights.py has them.
    """
    found = []
    for pattern, handler, *_ in [(r"/login", PersonaSignIn), *routes()]:
        if issubclass(handler, StaticFileHandler | PersonHandler | TokenHandler):
            continue
        path = re.sub(r"\(\[\^/\][+*]\)", "student" if "users" in pattern else "course", pattern)
        found += [
            (method, path.replace("\\", "").replace("(.*)", "x"))
            for method in METHODS
            if getattr(handler, method) not in (RequestHandler._unimplemented_method, APIHandler.options)
        ]
    return found


def test_the_matrix_is_whole() -> None:
    paths = {path for _, path in matrix()}
    assert {"/spawn", "/home", "/login", "/aihub/language", "/aihub/stop", "/aihub/launch/course"} <= paths
    assert {"/api/aihub/choices", "/api/users/student/server", "/aihub/projects/course/images"} <= paths
    assert not [path for path in paths if re.search(r"[()\[\]\\]", path)]


@pytest.mark.parametrize(("method", "path"), matrix())
def test_a_running_server_s_own_token_opens_nothing(school: Rig, method: str, path: str) -> None:
    token = token_of(school, "aihub.userserver")
    assert httpx.get(f"{school.url}/hub/api/user", headers={"Authorization": f"token {token}"}).status_code == 200
    for scheme in ("token", "Bearer"):
        answer = httpx.request(
            method, f"{school.url}/hub{path}", headers={"Authorization": f"{scheme} {token}"}, follow_redirects=False
        )
        assert answer.status_code == 403, (answer.status_code, answer.headers, answer.text[:300])


def test_a_server_s_token_does_not_borrow_the_reader_s_cookie(school: Rig, meet: Meet) -> None:
    headers = {"Authorization": f"token {token_of(school, 'aihub.userserver')}"}
    for path in ("/hub/home", "/hub/spawn", "/hub/aihub/projects/course", f"{API}/choices"):
        assert meet("instructor").pages.get(path, headers=headers).status_code == 403


def test_a_service_is_no_person(school: Rig) -> None:
    headers = {"Authorization": f"token {token_of(school, 'aihub.cull')}"}
    said(httpx.get(f"{school.url}{API}/choices", headers=headers), 403, "no-access")


def test_pages_take_no_token_even_of_a_person(meet: Meet) -> None:
    for path in ("/hub/home", "/hub/spawn", "/hub/aihub/launch/course"):
        assert meet("student").api.get(path, follow_redirects=False).status_code == 403
