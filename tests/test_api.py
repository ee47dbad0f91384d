"""The JSON API without a hub: its description against its routes, and what it answers against the description."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from tornado.web import RequestHandler

from aihub.answers import HeldServer, choices_answer, servers_answer, usage_answer, why_answer
from aihub.config import load
from aihub.facts import Facts, Machine, Pool, Usage
from aihub.form import Situation, availability
from aihub.handlers import api, routes
from aihub.language import Language
from aihub.machine import demo_policy
from aihub.messages import names_of
from aihub.openapi import api_reference, document
from aihub.policy import Policy, choices_for, why
from aihub.projects import Decisions, ImageDecision, Person
from aihub.resources import Resources
from tests.openapi_rig import complaints

ROOT = Path(__file__).parents[1]
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
METHODS = ("get", "head", "post", "put", "patch", "delete", "options")
STUDENT = Person("student", frozenset({"/courses/ml101/students", "/labs/datalab/members"}))
INSTRUCTOR = Person("instructor", frozenset({"/courses/ml101/staff"}))
ADMIN = Person("admin", frozenset(), admin=True)
ENGLISH = Language()


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load((demo_policy(),)).policy


def facts(*, known: bool = True) -> Facts:
    used = Resources({"servers": 1, "cpu": Decimal("0.25"), "memory": 512 * 1024**2})
    usage = Usage({"ml101": used}, {"ml101": used}, used)
    decisions = {"ml101": Decisions({"mathematics:2026": ImageDecision(message="<b>")}, None, 1)}
    return Facts(as_of=NOW, usage=usage if known else None, decisions=decisions)


def implemented(handler: type[RequestHandler]) -> set[str]:
    return {method for method in METHODS if getattr(handler, method) is not RequestHandler._unimplemented_method}


# --- the description -------------------------------------------------------------------------------------------------


def test_every_route_is_described_and_nothing_else() -> None:
    routed = {(pattern, method) for pattern, handler in api.routes() for method in implemented(handler)}
    described = {
        ("/api/aihub" + re.sub(r"\{\w+\}", "([^/]+)", path).replace(".", r"\."), method)
        for path, methods in document()["paths"].items()
        for method in methods
    }
    assert routed == described


def test_the_api_is_registered() -> None:
    assert set(api.routes()) <= {tuple(route) for route in routes() if len(route) == 2}


def test_the_api_only_reads() -> None:
    assert {method for _, handler in api.routes() for method in implemented(handler)} == {"get"}


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for each in value.values():
            yield from nodes(each)
    elif isinstance(value, list):
        for each in value:
            yield from nodes(each)


def test_every_reference_leads_somewhere_and_every_schema_is_used() -> None:
    described = document()
    targets = {node["$ref"] for node in nodes(described) if "$ref" in node}
    for target in targets:
        found: Any = described
        for step in target.removeprefix("#/").split("/"):
            found = found[step]
    schemas = {f"#/components/schemas/{name}" for name in described["components"]["schemas"]}
    assert schemas <= targets


@pytest.mark.parametrize("name", document()["components"]["schemas"])
def test_schema(name: str) -> None:
    schema = document()["components"]["schemas"][name]
    Draft202012Validator.check_schema(schema)
    assert schema["description"]
    if "properties" in schema:
        assert schema["additionalProperties"] is False
        assert set(schema["required"]) <= set(schema["properties"])


def test_every_path_parameter_is_described() -> None:
    for path, methods in document()["paths"].items():
        for operation in methods.values():
            named = {each["name"] for each in operation.get("parameters", ()) if each.get("in") == "path"}
            assert named == set(re.findall(r"\{(\w+)\}", path))
            assert operation["summary"]
            assert operation["operationId"]


def test_every_refusal_is_described_as_one() -> None:
    for methods in document()["paths"].values():
        for operation in methods.values():
            assert "403" in operation["responses"]


def test_the_reference_page_is_up_to_date() -> None:
    page = (ROOT / "docs/reference/api.md").read_text(encoding="utf-8")
    assert page == api_reference(), "run `make docs`"


# --- the answers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("person", [STUDENT, INSTRUCTOR, ADMIN], ids=lambda person: person.name)
@pytest.mark.parametrize("known", [True, False], ids=["known", "not known"])
def test_choices(policy: Policy, person: Person, known: bool) -> None:
    choices = choices_for(policy, person, facts(known=known))
    answer = choices_answer(person, choices, ENGLISH, names_of(choices, ENGLISH), NOW)
    assert complaints("Choices", answer) == []
    assert [project["project"] for project in answer["projects"]] == [choice.project.name for choice in choices]
    assert answer["asOf"] == "2026-11-22T12:00:00+00:00"


def test_choices_say_what_is_chosen_by_default_and_why_something_is_not_free(policy: Policy) -> None:
    choices = choices_for(policy, STUDENT, facts())
    ml101 = choices_answer(STUDENT, choices, ENGLISH, names_of(choices, ENGLISH), NOW)["projects"][0]
    images = {image["image"]: image for image in ml101["images"]}
    assert [name for name, image in images.items() if image["default"]] == ["machine-learning:2026.2"]
    retired = images["mathematics:2025"]
    assert (retired["state"], retired["reason"]) == ("no", "image-retired")
    assert retired["successor"] == "mathematics:2026"
    assert "retired" in retired["message"]
    assert images["mathematics:2026"]["note"] == "<b>"
    assert images["mathematics:2026"]["reason"] is None
    small = next(profile for profile in ml101["profiles"] if profile["profile"] == "small")
    assert small["requests"] == {"cpu": "250m", "memory": "512Mi"}
    nothing_known = {"free": None, "total": None, "pool": None, "startsWithinSeconds": None}
    assert small["counts"] == [{"acceleratorCount": 0, "state": "ok", "reason": None, "message": None, **nothing_known}]
    assert (small["acceleratorsFree"], small["acceleratorsTotal"], small["machinesAsOf"]) == (None, None, None)


def test_choices_say_how_many_fit_and_which_machines_can_be_started(policy: Policy) -> None:
    room = Resources({"cpu": 1, "memory": 2**30, "nvidia.com/gpu": 1})
    machine = Machine("m", room, Resources())
    pools = (Pool("spare", Machine("spare", room, room), 300),)
    seen = replace(facts(), machines=(machine, machine), machines_as_of=NOW - timedelta(seconds=9))
    choices = choices_for(replace(policy, pools=pools), STUDENT, seen)
    answer = choices_answer(STUDENT, choices, ENGLISH, names_of(choices, ENGLISH), NOW)
    assert complaints("Choices", answer) == []
    small = next(each for each in answer["projects"][0]["profiles"] if each["profile"] == "small")
    assert small["machinesAsOf"] == "2026-11-22T11:59:51+00:00"
    assert small["counts"] == [
        {
            "acceleratorCount": 0,
            "state": "ok",
            "reason": None,
            "message": "A new machine is started for it; that takes up to 5 min.",
            "free": 0,
            "total": 4,
            "pool": "spare",
            "startsWithinSeconds": 300,
        }
    ]


def test_texts_are_in_the_language_of_the_reader(policy: Policy) -> None:
    chinese = Language("zh_TW", "zh-Hant-TW", "繁體中文")
    choices = choices_for(policy, STUDENT, facts())
    answer = choices_answer(STUDENT, choices, chinese, names_of(choices, chinese), NOW)
    assert answer["projects"][0]["displayName"] == "機器學習導論"


@pytest.mark.parametrize("person", [STUDENT, INSTRUCTOR, ADMIN], ids=lambda person: person.name)
def test_availability(policy: Policy, person: Person) -> None:
    for choice in choices_for(policy, person, facts()):
        assert complaints("Availability", availability(choice, ENGLISH, Situation(NOW))) == []


def test_usage_of_a_member(policy: Policy) -> None:
    choices = choices_for(policy, STUDENT, facts())
    answer = usage_answer(STUDENT, choices, {}, (Resources({"servers": 1}), policy.user_quota), NOW)
    assert complaints("Usage", answer) == []
    assert answer["user"][0] == {"key": "servers", "used": "1", "limit": "3"}
    ml101 = answer["projects"][0]
    assert "members" not in ml101
    member = {each["key"]: each for each in ml101["levels"]["member"]}
    assert member["cpu"] == {"key": "cpu", "used": "250m", "limit": "1"}
    assert member["nvidia.com/gpu"] == {"key": "nvidia.com/gpu", "used": "0", "limit": "1"}
    assert ml101["levels"]["project"][0]["limit"] == "6"


def test_usage_without_a_limit_is_shown_and_a_limit_without_use_too() -> None:
    used = Resources({"cpu": 2})
    answer = usage_answer(STUDENT, [], {}, (used, MappingProxyType({"servers": Decimal(3)})), NOW)
    assert answer["user"] == [
        {"key": "servers", "used": "0", "limit": "3"},
        {"key": "cpu", "used": "2", "limit": None},
    ]


def test_usage_that_is_not_known(policy: Policy) -> None:
    choices = choices_for(policy, STUDENT, facts(known=False))
    answer = usage_answer(STUDENT, choices, {}, (None, policy.user_quota), NOW)
    assert complaints("Usage", answer) == []
    assert answer["known"] is False
    assert {each["used"] for each in answer["user"]} == {None}
    assert {each["used"] for each in answer["projects"][0]["levels"]["project"]} == {None}


def test_usage_names_members_to_instructors(policy: Policy) -> None:
    choices = choices_for(policy, INSTRUCTOR, facts())
    members = {"ml101": {"b": Resources({"servers": 2}), "a": Resources()}}
    answer = usage_answer(INSTRUCTOR, choices, members, (Resources(), {}), NOW)
    assert complaints("Usage", answer) == []
    said = answer["projects"][0]["members"]
    assert [member["person"] for member in said] == ["a", "b"]
    assert said[1]["amounts"][0] == {"key": "servers", "used": "2", "limit": "2"}


@pytest.mark.parametrize(
    ("options", "state", "reason"),
    [
        ({"project": "ml101"}, "ok", None),
        ({"project": "ml101", "image": "mathematics:2025"}, "no", "image-retired"),
        ({"project": "ml101", "color": "red"}, "no", "invalid-options"),
        ({"project": ["ml101", "ml101"]}, "no", "invalid-options"),
        ({"project": "nowhere"}, "no", "unknown-project"),
        ({"project": "ml101", "profile": "gpu", "acceleratorCount": 2}, "no", "invalid-options"),
    ],
    ids=str,
)
def test_why(policy: Policy, options: object, state: str, reason: str | None) -> None:
    names = names_of(choices_for(policy, STUDENT, facts()), ENGLISH)
    answer = why_answer(STUDENT, why(policy, STUDENT, options, facts()), ENGLISH, names, NOW)
    assert complaints("Why", answer) == []
    assert (answer["state"], answer["reason"]) == (state, reason)
    failed = [rule for rule in answer["rules"] if rule["passed"] is False]
    assert [rule["reason"] for rule in failed][:1] == ([reason] if reason else [])
    assert all(rule["message"] for rule in failed)
    assert all(rule["name"] for rule in answer["rules"])


def test_rules_that_were_not_judged_say_nothing(policy: Policy) -> None:
    names = names_of(choices_for(policy, STUDENT, facts()), ENGLISH)
    answer = why_answer(STUDENT, why(policy, STUDENT, {"project": "nowhere"}, facts()), ENGLISH, names, NOW)
    assert answer["rules"][-1] == {
        "rule": "capacity-now",
        "name": "A machine has room now",
        "passed": None,
        "state": None,
        "reason": None,
        "message": None,
    }


def test_servers() -> None:
    begun = NOW - timedelta(hours=1)
    running = HeldServer(
        "ada", "", "running", "m:1", "small", 1, begun, NOW - timedelta(minutes=2), NOW + timedelta(hours=1)
    )
    answer = servers_answer("ml101", [running, HeldServer("bob", "two", "starting")], NOW)
    assert complaints("Servers", answer) == []
    assert answer["servers"][0] == {
        "person": "ada",
        "server": "",
        "state": "running",
        "image": "m:1",
        "profile": "small",
        "acceleratorCount": 1,
        "since": "2026-11-22T11:00:00+00:00",
        "usedAt": "2026-11-22T11:58:00+00:00",
        "idleSeconds": 120,
        "stopsAt": "2026-11-22T13:00:00+00:00",
    }
    assert answer["servers"][1]["image"] is None
    assert answer["servers"][1]["idleSeconds"] is None


def test_activity_that_lies_ahead_is_no_negative_idleness() -> None:
    held = HeldServer("ada", "", "running", used_at=NOW + timedelta(seconds=3))
    assert servers_answer("p", [held], NOW)["servers"][0]["idleSeconds"] == 0
