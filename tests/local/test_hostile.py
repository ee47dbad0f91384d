"""What the students' own token and session can send, on a real hub: refused with a reason, never a broken hub.

Traps of JupyterHub that these tests would notice (upstream.md): 1 and 5, a refusal's words and its `AIHub-Reason`; 2,
refusals are no failures of the hub; 4 and 5, the form comes back with the choices and the reason; 6, which server a
stop ends; 7, a GET starts nothing, the REST routes take any body, refused servers leave no rows; 8, saved options are
judged again at the start.
"""

from __future__ import annotations

import json
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from bs4 import BeautifulSoup
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aihub.config import load
from aihub.errors import Refusal
from aihub.facts import Facts, Machine
from aihub.messages import status_of
from aihub.options import OPTION_KEYS
from aihub.policy import resolve
from aihub.projects import Person
from aihub.resources import Resources
from tests.local.people import Meet, Someone, meeting, until
from tests.local.rig import Rig

POLICY = Path(__file__).parent / "policies" / "hostile.yaml"
COURSE = {"project": "course"}
MB = 2**20


@pytest.fixture(scope="module")
def policy_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policy") / "policy.yaml"
    path.write_text(POLICY.read_text())
    return path


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, policy_file: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path_factory.mktemp("hostile"), (policy_file,))
    rig.start()
    yield rig
    rig.close()


@pytest.fixture(scope="module")
def meet(rig: Rig) -> Meet:
    return meeting(rig)


@pytest.fixture(autouse=True)
def unbroken(rig: Rig) -> Iterator[None]:
    """Whatever a test does: the hub stays the same process and logs no exception that nobody expected."""
    before = len(rig.log.read_text())
    yield
    assert rig.process is not None
    assert rig.process.poll() is None, rig.said()
    logged = rig.log.read_text()[before:]
    assert "Traceback" not in logged, logged
    assert "Uncaught" not in logged, logged


@pytest.fixture
def student(meet: Meet) -> Iterator[Someone]:
    someone = meet("student")
    yield someone
    clear(someone)


def clear(someone: Someone) -> None:
    """Stop and remove every server."""
    for server in all_servers(someone):
        if someone.running(server):
            someone.stop(server)
        if server:
            someone.api.request("DELETE", address(someone, server), content=b'{"remove": true}')


def all_servers(someone: Someone) -> dict[str, Any]:
    """Every server, those that do not run too."""
    answer = someone.api.get(f"/hub/api/users/{someone.name}?include_stopped_servers=1")
    servers: dict[str, Any] = answer.raise_for_status().json()["servers"]
    return servers


def address(someone: Someone, server: str = "") -> str:
    return f"/hub/api/users/{someone.name}/" + (f"servers/{server}" if server else "server")


def send(someone: Someone, method: str, server: str, body: object) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return someone.api.request(method, address(someone, server), content=content)


def refused(answer: httpx.Response, status: int, reason: str) -> str:
    """The sentence of a refusal with this status and code."""
    assert (answer.status_code, answer.headers.get("AIHub-Reason")) == (status, reason), answer.text[:500]
    return str(answer.json()["message"])


def rows(rig: Rig, table: str) -> int:
    hub = sqlite3.connect(rig.state_dir / "jupyterhub.sqlite")
    try:
        count: int = hub.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        return count
    finally:
        hub.close()


# --- user options over REST ------------------------------------------------------------------------------------------

INVALID = {
    "a list": b"[]",
    "a list of options": b'[{"project": "course"}]',
    "null": b"null",
    "a number": b"7",
    "a text": b'"course"',
    "false": b"false",
    "no JSON": b"{",
    "spaces and no JSON": b"   x",
    "nothing but a byte-order mark": b"\xef\xbb\xbf",
    "a byte-order mark": b'\xef\xbb\xbf{"project": "course"}',
    "UTF-16": '{"project": "course"}'.encode("utf-16"),
    "Latin-1": '{"project": "cours\u00e9"}'.encode("latin-1"),
    "nested 5,000 deep": b'{"project": ' * 5000 + b"1" + b"}" * 5000,
    "60,000 brackets": b"[" * 60_000,
    "one megabyte": json.dumps({"project": "x" * MB}).encode(),
    "60 kilobytes": json.dumps({"project": "x" * 60_000}).encode(),
    "254 characters": {"project": "x" * 254},
    "an id that is a number": {"project": 1},
    "an id that is null": {"project": None},
    "an id that is a list": {"project": ["course"]},
    "an id that is an object": {"project": {"name": "course"}},
    "an id that is true": {"project": True},
    "an id that is NaN": b'{"project": NaN}',
    "an empty id": {"project": ""},
    "a NUL": {"project": "course\0"},
    "a right-to-left mark": {"project": "\u202ecourse"},
    "a zero-width space": {"project": "cour\u200bse"},
    "a lone surrogate": b'{"project": "\\ud800"}',
    "a lone surrogate as a key": b'{"\\ud800": "course"}',
    "an unknown key": {**COURSE, "namespace": "kube-system"},
    "a key in other case": {"Project": "course"},
    "the hub's own keys": {**COURSE, "environment": {"LD_PRELOAD": "x"}, "cmd": ["sh"]},
    "options that are a list": {"user_options": []},
    "options that are a text": {"user_options": "course"},
    "options in options": {"user_options": {"user_options": COURSE}},
    "more beside the options": {"user_options": COURSE, "profile": "small"},
    "a display name that is a number": {"display_name": 1, "user_options": COURSE},
    "a display name that is null": {"display_name": None, "user_options": COURSE},
    "a display name with a lone surrogate": b'{"display_name": "\\ud800", "user_options": {"project": "course"}}',
    "a display name with a NUL": {"display_name": "a\0b", "user_options": COURSE},
    "a display name that turns the page round": {"display_name": "\u202eabc", "user_options": COURSE},
    "a display name of 256 characters": {"display_name": "x" * 256, "user_options": COURSE},
    "a count that is negative": {**COURSE, "profile": "gpu", "acceleratorCount": -1},
    "a count that is a text": {**COURSE, "profile": "gpu", "acceleratorCount": "1"},
    "a count that is true": {**COURSE, "profile": "gpu", "acceleratorCount": True},
    "a count with a point": {**COURSE, "profile": "gpu", "acceleratorCount": 1.0},
    "a count that is NaN": b'{"project": "course", "profile": "gpu", "acceleratorCount": NaN}',
    "a count without end": b'{"project": "course", "profile": "gpu", "acceleratorCount": 1e999}',
    "a count of 4,000 digits": b'{"project": "course", "profile": "gpu", "acceleratorCount": ' + b"9" * 4000 + b"}",
    "a count of 5,000 digits": b'{"project": "course", "profile": "gpu", "acceleratorCount": ' + b"9" * 5000 + b"}",
    "a count that is null": {**COURSE, "profile": "gpu", "acceleratorCount": None},
    "a count that the profile does not open": {**COURSE, "profile": "gpu", "acceleratorCount": 3},
    "a count for no accelerator": {**COURSE, "profile": "small", "acceleratorCount": 1},
    "no accelerator of a profile that has one": {**COURSE, "profile": "gpu", "acceleratorCount": 0},
}


@pytest.mark.parametrize("server", ["", "second"], ids=["the unnamed server", "a named one"])
@pytest.mark.parametrize("body", INVALID.values(), ids=INVALID.keys())
def test_what_is_not_well_formed_starts_nothing_and_leaves_nothing(
    rig: Rig, student: Someone, body: object, server: str
) -> None:
    before = rows(rig, "spawners")
    refused(send(student, "POST", server, body), 400, "invalid-options")
    assert rows(rig, "spawners") == before


FORBIDDEN = {
    "an unknown project": ({"project": "nope"}, "unknown-project"),
    "somebody else's project": ({"project": "private"}, "unknown-project"),
    "somebody else's project and its image": ({"project": "private", "image": "secret:1"}, "unknown-project"),
    "an archived project": ({"project": "past"}, "project-archived"),
    "an unknown image": ({**COURSE, "image": "nope:1"}, "unknown-image"),
    "an unknown tag": ({**COURSE, "image": "plain:7"}, "unknown-image"),
    "another project's image": ({**COURSE, "image": "secret:1"}, "image-not-offered"),
    "an image reference": ({**COURSE, "image": "docker.io/library/alpine:latest"}, "unknown-image"),
    "a path": ({**COURSE, "image": "../../etc/passwd"}, "unknown-image"),
    "markup": ({**COURSE, "image": "<script>alert(1)</script>"}, "unknown-image"),
    "a retired image": ({**COURSE, "image": "plain:0.9"}, "image-retired"),
    "a hidden image": ({**COURSE, "image": "plain:0.8"}, "image-not-offered"),
    "an unknown profile": ({**COURSE, "profile": "nope"}, "unknown-profile"),
    "a retired profile": ({**COURSE, "profile": "old"}, "profile-retired"),
    "a profile of another group": ({**COURSE, "profile": "staff"}, "profile-not-open"),
    "a profile larger than the machine": ({**COURSE, "profile": "huge"}, "never-fits"),
    "a key that is given twice counts once": (b'{"project": "course", "project": "nope"}', "unknown-project"),
}


@pytest.mark.parametrize(("body", "reason"), FORBIDDEN.values(), ids=FORBIDDEN.keys())
def test_what_may_not_be_used_is_refused_by_name(rig: Rig, student: Someone, body: object, reason: str) -> None:
    before = rows(rig, "spawners")
    wrapped = body if isinstance(body, bytes) else {"user_options": body, "display_name": "mine"}
    refused(send(student, "POST", "", body), 403, reason)
    refused(send(student, "POST", "second", wrapped), 403, reason)
    assert rows(rig, "spawners") == before


def test_a_refusal_says_nothing_of_projects_that_are_not_one_s_own(student: Someone) -> None:
    unknown = refused(send(student, "POST", "", {"project": "nopriv"}), 403, "unknown-project")
    private = refused(send(student, "POST", "", {"project": "private"}), 403, "unknown-project")
    assert private == unknown.replace("nopriv", "private")


NAMES = {
    "a dot": "a.b",
    "a slash": "a%2Fb",
    "dots that climb": "%2E%2E%2F%2E%2E",
    "two hyphens": "a--b",
    "a hyphen last": "a-",
    "a digit first": "1a",
    "a capital": "Abc",
    "31 characters": "x" * 31,
    "5,000 characters": "x" * 5000,
    "an accent": "%C3%A9",
    "another script": "%E8%AF%BE",
    "a NUL": "%00",
    "a line break": "a%0Ab",
    "a space": "a%20b",
    "markup": "%3Cb%3E",
    "a right-to-left mark": "%E2%80%AEabc",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_a_bad_server_name_is_refused_and_left_nowhere(rig: Rig, student: Someone, name: str) -> None:
    before = rows(rig, "spawners")
    for method in ("POST", "PUT"):
        refused(send(student, method, name, COURSE), 400, "invalid-options")
    for method in ("PATCH", "DELETE"):
        answer = send(student, method, name, {"user_options": COURSE})
        assert answer.status_code == 404, answer.text
    assert rows(rig, "spawners") == before


def test_bytes_that_are_no_text_are_no_server_name(rig: Rig, student: Someone) -> None:
    # Past the proxy, which answers such an address itself.
    hub = f"http://127.0.0.1:{rig.port + 1}"
    for name in ("%FF", "%ED%A0%80"):
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            answer = httpx.request(
                method, f"{hub}{address(student, name)}", content=b"{}", headers=dict(student.api.headers)
            )
            assert answer.status_code in {400, 404}, answer.text


CHANGES = {
    "a list": b"[]",
    "null": b"null",
    "no JSON": b"{",
    "an unknown key": {"zzz": 1},
    "options at the top": COURSE,
    "options that are a list": {"user_options": []},
    "options that are null": {"user_options": None},
    "options with an unknown key": {"user_options": {"cmd": "sh"}},
    "an empty name": {"name": ""},
    "a name that is null": {"name": None},
    "a name with two hyphens": {"name": "a--b"},
    "a name with a lone surrogate": b'{"name": "\\ud800"}',
    "a display name with a lone surrogate": b'{"display_name": "\\ud800"}',
    "a display name with a NUL": {"display_name": "a\0b"},
    "a display name that is too long": {"display_name": "x" * 256},
}


@pytest.mark.parametrize("body", CHANGES.values(), ids=CHANGES.keys())
def test_a_bad_change_of_a_server_changes_nothing(student: Someone, body: object) -> None:
    assert send(student, "PUT", "kept", {"display_name": "Kept", "user_options": COURSE}).status_code == 201
    before = all_servers(student)["kept"]
    refused(send(student, "PATCH", "kept", body), 400, "invalid-options")
    after = all_servers(student)["kept"]
    assert (after["name"], after["display_name"], after["user_options"]) == ("kept", "Kept", COURSE)
    assert after == before


@pytest.mark.parametrize("body", [b"[]", b"null", b'"x"', b"7", b"{"], ids=["list", "null", "text", "number", "broken"])
def test_a_bad_body_of_a_stop_is_refused(student: Someone, body: bytes) -> None:
    refused(send(student, "DELETE", "", body), 400, "invalid-options")


def test_one_s_own_server_can_be_made_renamed_and_removed(student: Someone) -> None:
    assert send(student, "PUT", "first", {"display_name": "My  first", "user_options": COURSE}).status_code == 400
    assert send(student, "PUT", "first", {"display_name": "My first", "user_options": COURSE}).status_code == 201
    assert send(student, "PATCH", "first", {"name": "later", "display_name": "講義"}).status_code == 200
    assert all_servers(student)["later"]["display_name"] == "講義"
    assert send(student, "DELETE", "later", {"remove": True}).status_code == 204
    assert "later" not in all_servers(student)


def test_a_person_leaves_a_bounded_number_of_servers_that_never_ran(rig: Rig, student: Someone) -> None:
    before = rows(rig, "spawners")
    answers = [send(student, "PUT", f"s{number}", COURSE).status_code for number in range(60)]
    assert answers == [201] * 50 + [400] * 10
    assert rows(rig, "spawners") == before + 50


def test_a_refused_start_with_a_saved_server_keeps_that_server(student: Someone) -> None:
    send(student, "PUT", "kept", {"user_options": {"project": "private"}})
    refused(send(student, "POST", "kept", b""), 403, "unknown-project")
    refused(send(student, "POST", "kept", {}), 403, "unknown-project")
    assert "kept" in all_servers(student)


# --- generated options -----------------------------------------------------------------------------------------------

NOW = datetime(2026, 11, 22, tzinfo=UTC)
BARE = Person("bare", frozenset({"/bare"}))
odd_texts = st.one_of(
    st.sampled_from(["bare", "course", "private", "past", "plain", "plain:1", "plain:0.9", "plain:0.8", "secret:1"]),
    st.sampled_from(["small", "old", "dark", "staff", "huge", "gpu", "", "BARE", "bare\0", "plain:1 ", "ｂare"]),
    st.text(max_size=20),
    st.characters(categories=["Cs", "Cc", "Cf"]),
)
odd_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | odd_texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(odd_texts, inner, max_size=3),
    max_leaves=6,
)
near_options = st.fixed_dictionaries(
    {},
    optional={
        "project": st.just("bare") | odd_texts | odd_values,
        "image": st.sampled_from(["plain", "plain:1"]) | odd_texts | odd_values,
        "profile": st.sampled_from(["small", "gpu"]) | odd_texts | odd_values,
        "acceleratorCount": st.sampled_from([0, 1, 2]) | odd_values,
    },
)
any_options = near_options | st.dictionaries(odd_texts | st.sampled_from(OPTION_KEYS), odd_values, max_size=4)


@pytest.fixture(scope="module")
def judge(policy_file: Path) -> Callable[[object], tuple[int, str]]:
    """What a start with these options must be answered, by the policy alone."""
    policy = load((policy_file,)).policy
    room = Resources({"cpu": 4, "memory": 4 * 1024 * MB, "nvidia.com/gpu": 3})
    machine = Machine("this machine", room, room)
    facts = Facts(as_of=NOW, machines=(machine,))

    def verdict(options: object) -> tuple[int, str]:
        plan = resolve(policy, BARE, options, facts)
        # What the policy admits is refused later, by the storage: nothing has to be started to tell.
        return (status_of(plan.reason), plan.reason.value) if isinstance(plan, Refusal) else (403, "dataset-missing")

    return verdict


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(options=any_options, shape=st.sampled_from(["top", "wrapped", "named"]))
def test_any_options_meet_the_policy_s_own_reason(
    meet: Meet, judge: Callable[[object], tuple[int, str]], options: dict[str, Any], shape: str
) -> None:
    bare = meet("bare")
    body = {
        "top": options,
        "wrapped": {"user_options": options},
        "named": {"display_name": "A name", "user_options": options},
    }
    answer = send(bare, "POST", "generated", body[shape])
    assert (answer.status_code, answer.headers.get("AIHub-Reason")) == judge(options), answer.text


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=odd_values | any_options | st.binary(max_size=40), method=st.sampled_from(["POST", "PUT", "PATCH", "DELETE"])
)
def test_any_body_is_answered(meet: Meet, body: object, method: str) -> None:
    bare = meet("bare")
    answer = send(bare, method, "any", body)
    assert answer.status_code in {200, 201, 202, 204, 400, 403, 404, 409}, answer.text
    bare.api.request("DELETE", address(bare, "any"), content=b'{"remove": true}')


# --- the start page --------------------------------------------------------------------------------------------------


def form_token(someone: Someone, path: str = "/hub/spawn") -> str:
    soup = BeautifulSoup(someone.pages.get(path).text, "html.parser")
    field = soup.find("input", attrs={"name": "_xsrf"})
    assert field is not None
    return str(field["value"])


def submit(someone: Someone, fields: object, path: str = "/hub/spawn", **more: Any) -> httpx.Response:
    pairs = [*fields.items()] if isinstance(fields, dict) else list(fields)  # type: ignore[call-overload]
    data: dict[str, Any] = {"_xsrf": form_token(someone)}
    for name, value in pairs:
        data.setdefault(name, []).append(value)
    headers = {"X-XSRFToken": ""}
    return someone.pages.post(path, data=data, headers=headers, follow_redirects=False, **more)


FORMS: dict[str, tuple[list[tuple[str, str]], int, str]] = {
    "a field twice": ([("project", "course"), ("project", "course")], 400, "invalid-options"),
    "two images": ([("project", "course"), ("image", "plain:1"), ("image", "secret:1")], 400, "invalid-options"),
    "two tags": (
        [("project", "course"), ("image", "plain"), ("tag-plain", "1"), ("tag-plain", "0.9")],
        400,
        "invalid-options",
    ),
    "somebody else's project": ([("project", "private")], 403, "unknown-project"),
    "a retired tag": ([("project", "course"), ("image", "plain"), ("tag-plain", "0.9")], 403, "image-retired"),
    "a hidden tag": ([("project", "course"), ("image", "plain"), ("tag-plain", "0.8")], 403, "image-not-offered"),
    "a count that is a word": (
        [("project", "course"), ("profile", "gpu"), ("accelerator-count", "one")],
        400,
        "invalid-options",
    ),
    "a count in other digits": (
        [("project", "course"), ("profile", "gpu"), ("accelerator-count", "１")],
        400,
        "invalid-options",
    ),
    "a bad server name": ([("project", "course"), ("server-name", "../x")], 400, "invalid-options"),
    "a huge value": ([("project", "x" * 200_000)], 400, "invalid-options"),
    "a NUL": ([("project", "course\0")], 400, "invalid-options"),
}


@pytest.mark.parametrize(("fields", "status", "reason"), FORMS.values(), ids=FORMS.keys())
def test_an_odd_form_comes_back_with_its_reason(
    rig: Rig, student: Someone, fields: list[tuple[str, str]], status: int, reason: str
) -> None:
    before = rows(rig, "spawners")
    answer = submit(student, fields)
    assert (answer.status_code, answer.headers.get("AIHub-Reason")) == (status, reason), answer.text[:300]
    assert "<form" in answer.text
    assert not student.running()
    assert rows(rig, "spawners") == before


def test_every_choice_is_still_in_the_form_that_comes_back(student: Someone) -> None:
    chosen = {"project": "course", "image": "plain", "tag-plain": "1", "profile": "huge", "server-name": "mine"}
    answer = submit(student, chosen)
    assert (answer.status_code, answer.headers["AIHub-Reason"]) == (403, "never-fits")
    soup = BeautifulSoup(answer.text, "html.parser")
    # Who may use one project has nothing to choose there.
    fields = soup.select("input[type=radio][checked], input[type=hidden][name=project]")
    checked = {(each["name"], each["value"]) for each in fields}
    assert {("project", "course"), ("image", "plain"), ("profile", "huge")} <= checked
    name = soup.find("input", attrs={"name": "server-name"})
    assert name is not None
    assert name["value"] == "mine"


def test_a_form_without_any_field_is_no_start_for_who_has_two_projects(student: Someone) -> None:
    answer = submit(student, [])
    assert (answer.status_code, answer.headers["AIHub-Reason"]) == (400, "invalid-options")


def test_files_do_not_start_anything(student: Someone) -> None:
    token = form_token(student)
    answer = student.pages.post(
        "/hub/spawn",
        data={"_xsrf": token, "project": "private"},
        files={"project": ("x.yaml", b"course"), "user_options": ("y", b"{}")},
        follow_redirects=False,
    )
    assert (answer.status_code, answer.headers["AIHub-Reason"]) == (403, "unknown-project")


def test_bytes_that_are_no_text_are_refused(student: Someone) -> None:
    body = f"_xsrf={form_token(student).replace('|', '%7C').replace('=', '%3D')}&project=%FFcourse".encode()
    answer = student.pages.post(
        "/hub/spawn",
        content=body,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        follow_redirects=False,
    )
    assert answer.status_code in {400, 403}
    assert not student.running()


@pytest.mark.parametrize("token", ["", "x", "None"], ids=["empty", "wrong", "none"])
def test_a_form_from_elsewhere_starts_nothing(student: Someone, token: str) -> None:
    headers = {"X-XSRFToken": token}
    answer = student.pages.post("/hub/spawn", data={**COURSE, "_xsrf": token}, headers=headers)
    assert answer.status_code == 403
    assert not student.running()


@pytest.mark.parametrize(
    ("fields", "status"),
    [({f"f{number}": "x" for number in range(201)}, 413), ({"project": "x" * 300_000}, 413)],
    ids=["201 fields", "300 kB"],
)
def test_a_form_that_no_page_of_ours_sends_is_too_large(student: Someone, fields: dict[str, str], status: int) -> None:
    assert submit(student, fields).status_code == status


@pytest.mark.parametrize(
    "path",
    [
        "/hub/spawn?project=course&image=plain:1",
        "/hub/spawn?opt-project=course",
        "/hub/spawn/student?opt-project=course&next=/hub/home",
        "/hub/spawn/student/second?opt-project=course",
        "/hub/spawn?user_options=%7B%7D",
        "/hub/aihub/launch/course?image=plain:1&profile=small",
        "/hub/user-redirect/lab?opt-project=course",
        "/hub/user/student/?opt-project=course",
    ],
)
def test_a_link_starts_nothing(rig: Rig, student: Someone, path: str) -> None:
    before = rows(rig, "spawners")
    answer = student.pages.get(path)
    assert answer.status_code in {200, 404, 424}, answer.text
    assert not any(model["ready"] or model["pending"] for model in student.servers().values())
    assert rows(rig, "spawners") == before


# --- whose rights ----------------------------------------------------------------------------------------------------


def test_a_student_neither_sees_starts_nor_stops_another_s_server(meet: Meet, student: Someone) -> None:
    other = meet("student2")
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        for path in (address(other), address(other, "second")):
            answer = student.api.request(method, path, content=b'{"user_options": {"project": "course"}}')
            assert answer.status_code in {403, 404}, (method, path, answer.text)
    assert student.api.get("/hub/api/users/student2").status_code == 404
    assert student.pages.get("/hub/spawn/student2").status_code in {403, 404}
    assert submit(student, COURSE, "/hub/spawn/student2").status_code in {403, 404}
    assert other.servers() == {}


def test_a_student_cannot_stop_another_s_running_server(meet: Meet, student: Someone) -> None:
    other = meet("student2")
    other.start(COURSE)
    try:
        assert student.api.delete(address(other)).status_code in {403, 404}
        for page in ("/hub/aihub/stop", "/hub/aihub/cancel"):
            answer = submit(student, {"user": "student2", "server": ""}, page)
            assert answer.status_code in {403, 404}, answer.text
        assert meet("teacher").api.delete(address(other)).status_code in {403, 404}
        assert student.pages.get("/hub/spawn-pending/student2").status_code in {403, 404}
        assert student.pages.get("/user/student2/api/status").status_code in {403, 404}
        assert other.model()["ready"]
    finally:
        clear(other)


def test_an_admin_starts_with_the_rights_of_whom_they_start_for(meet: Meet, student: Someone) -> None:
    admin = meet("admin")
    own = admin.api.post(address(admin), content=json.dumps(COURSE).encode())
    refused(own, 403, "not-member")

    def start_for(options: object) -> httpx.Response:
        return admin.api.post(address(student), content=json.dumps(options).encode())

    refused(start_for({"project": "private"}), 403, "unknown-project")
    refused(start_for({**COURSE, "profile": "staff"}), 403, "profile-not-open")
    form = submit(admin, {"project": "private"}, "/hub/spawn/student")
    assert (form.status_code, form.headers["AIHub-Reason"]) == (403, "unknown-project")
    assert start_for(COURSE).status_code in {201, 202}
    until(lambda: student.model().get("ready"), "the student's server is ready", 120)
    assert admin.servers() == {}


def test_stop_ends_the_server_that_the_form_names(student: Someone) -> None:
    student.start(COURSE)
    student.start(COURSE, "second")
    assert submit(student, {"server": "second"}, "/hub/aihub/stop").status_code in {302, 303}
    until(lambda: not student.running("second"), "the named server stops")
    assert student.model()["ready"]


# --- what was saved does not hold for ever ---------------------------------------------------------------------------


def test_saved_options_are_refused_after_leaving_the_project(rig: Rig, meet: Meet, policy_file: Path) -> None:
    leaver = meet("leaver")
    leaver.start({"project": "private"})
    leaver.stop()
    assert send(leaver, "PUT", "second", {"project": "private"}).status_code == 201
    text = policy_file.read_text()
    changed = text.replace("leaver: {groups: [/others]}", "leaver: {groups: [/students]}")
    policy_file.write_text(changed.replace("displayName: Course", "displayName: Renamed"))
    try:
        until(lambda: "Renamed" in meet("student").api.get("/hub/api/aihub/choices").text, "the change is live", 10)
        refused(send(leaver, "POST", "second", b""), 403, "unknown-project")
        refused(send(leaver, "POST", "", b""), 403, "unknown-project")
        refused(send(leaver, "POST", "", {}), 403, "unknown-project")
        page = leaver.pages.get("/hub/spawn")
        assert page.status_code == 200
        assert "Private" not in page.text
    finally:
        policy_file.write_text(text)
        clear(leaver)


# --- at the same time ------------------------------------------------------------------------------------------------


def test_two_tabs_that_press_start_make_one_server(rig: Rig, student: Someone) -> None:
    data = {**COURSE, "_xsrf": form_token(student)}

    def press(_tab: int) -> httpx.Response:
        return student.pages.post("/hub/spawn", data=data, follow_redirects=False)

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(press, range(2)))
    for answer in answers:
        assert answer.status_code in {302, 303, 409}, answer.text
        if answer.status_code == 409:
            assert answer.headers["AIHub-Reason"] == "server-busy"
        else:
            assert answer.headers["Location"].startswith("/hub/spawn-pending/student")
    assert {answer.status_code for answer in answers} & {302, 303}
    until(lambda: student.model().get("ready"), "the server is ready", 120)
    servers = [each for each in psutil.Process(rig.pid).children() if "--OnlyKernel" in " ".join(each.cmdline())]
    assert len(servers) == 1
    late = submit(student, COURSE)
    assert (late.status_code, late.headers["AIHub-Reason"]) == (409, "server-busy")


def test_a_start_while_the_server_stops_is_answered_clearly(student: Someone) -> None:
    student.start(COURSE)
    # A kernel takes a moment to end, and so does its server.
    student.kernel()
    with ThreadPoolExecutor(2) as pool:
        stopping = pool.submit(student.api.delete, address(student))
        until(lambda: student.model().get("pending") == "stop", "the server stops", 20, 0.02)
        again = student.ask(COURSE)
        form = submit(student, COURSE)
        assert stopping.result().status_code in {202, 204}
    sentence = refused(again, 409, "server-busy")
    assert "stop" in sentence.lower()
    assert form.status_code in {302, 303, 409}
    if form.status_code == 409:
        assert form.headers["AIHub-Reason"] == "server-busy"
    until(lambda: not student.running() or student.model().get("ready"), "the stop, or a start after it, ends")


def test_a_start_that_is_stopped_over_rest_gives_everything_back(student: Someone) -> None:
    for _ in range(2):
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(student.ask, COURSE)
            until(lambda: student.model().get("pending") == "spawn", "the start is on its way", 20, 0.02)
            time.sleep(0.5)
            stopped = student.api.delete(address(student))
            assert stopped.status_code in {202, 204}, stopped.text
            asked.exception()
        until(lambda: not student.running(), "the start is cancelled")
        refused(student.ask({"project": "private"}), 403, "unknown-project")
        assert all_servers(student)[""]["user_options"] == COURSE


# --- very many -------------------------------------------------------------------------------------------------------


def seconds_of_a_start(someone: Someone) -> float:
    begin = time.monotonic()
    someone.start(COURSE)
    taken = time.monotonic() - begin
    someone.stop()
    return taken


def median_start(someone: Someone) -> float:
    return statistics.median(seconds_of_a_start(someone) for _ in range(3))


def test_a_thousand_bad_requests_cost_the_others_nothing(rig: Rig, meet: Meet, student: Someone) -> None:
    other = meet("student2")
    seconds_of_a_start(other)
    pid, tables = rig.pid, ("spawners", "api_tokens", "oauth_clients", "servers", "users")
    before = median_start(other)
    counted = {table: rows(rig, table) for table in tables}
    process = psutil.Process(pid)
    memory = process.memory_info().rss
    bodies = [*INVALID.values(), *(body for body, _ in FORBIDDEN.values())]

    def bad(number: int) -> int:
        return send(student, "POST", f"s{number}" if number % 2 else "", bodies[number % len(bodies)]).status_code

    with ThreadPoolExecutor(4) as pool:
        statuses = set(pool.map(bad, range(1000)))

    assert statuses == {400, 403}
    assert rig.process is not None
    assert (rig.pid, rig.process.poll()) == (pid, None)
    grown = process.memory_info().rss - memory
    assert grown < 60 * MB, f"{grown / MB:.0f} MB more"
    assert {table: rows(rig, table) for table in tables} == counted
    after = median_start(other)
    if after > 2 * before:
        # The machine may have been busy with something else meanwhile.
        after = median_start(other)
    print(f"1,000 bad requests: {grown / MB:.1f} MB more; a start took {before:.2f} s before, {after:.2f} s after")
    assert after <= 2 * before, f"{before:.1f} s before, {after:.1f} s after"
