from __future__ import annotations

from datetime import UTC, timedelta
from typing import Any

import pytest

from aihub.errors import Parameter, Reason, Refusal
from aihub.language import Language
from aihub.messages import names_of
from aihub.pages import (
    LogLine,
    ServerFacts,
    ServerState,
    StageFacts,
    Started,
    home_page,
    persona_card,
    progress_page,
    projects_page,
    stopped_page,
)
from aihub.projects import Person
from tests.page_samples import NOW, choices, policy

ENGLISH = Language(zone=UTC)
HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)


SEES = {
    "a student": (Person("s", frozenset({"/ml101"})), "student", "Member of Machine Learning 101 and Data Lab."),
    "an instructor, whatever the name": (
        Person("ada", frozenset({"/staff"})),
        "instructor",
        "Instructor of Machine Learning 101. Member of Data Lab.",
    ),
    "an admin": (Person("root", admin=True), "admin", "Sees every project. Member of Data Lab."),
    "an admin who teaches": (
        Person("root", frozenset({"/staff"}), admin=True),
        "admin",
        "Sees every project. Instructor of Machine Learning 101. Member of Data Lab.",
    ),
}


@pytest.mark.parametrize(("person", "picture", "about"), SEES.values(), ids=SEES.keys())
def test_a_card_says_what_the_policy_says_of_the_persona(person: Person, picture: str, about: str) -> None:
    found = persona_card(person, "Title", policy().projects.values(), ENGLISH)
    assert (found.role, found.title, found.about) == (picture, "Title", about)


def test_a_persona_without_title_or_project_has_a_card() -> None:
    found = persona_card(Person("instructor"), "", [], ENGLISH)
    assert (found.role, found.title, found.about) == ("student", "instructor", "Member of no project.")


def server(**facts: Any) -> Any:
    known = ServerFacts(**{"name": "", "state": ServerState.RUNNING, "project": "P", **facts})
    return home_page("a", [known], [], ENGLISH, now=NOW, may_add=False).servers[0]


TIMES: dict[str, tuple[dict[str, Any], str, str]] = {
    "just started": ({"since": NOW - HOUR, "used_at": NOW - 30 * SECOND}, "Since 11:04, in use.", ""),
    "never used": ({"since": NOW - HOUR}, "Since 11:04.", ""),
    "idle": (
        {"since": NOW - 26 * HOUR, "used_at": NOW - 100 * MINUTE - 40 * SECOND, "stops_at": NOW + HOUR},
        "Since 22 Nov, 10:04, not used for 1 h 40 min. Will stop at 13:04 if it is not used.",
        "",
    ),
    "soon": (
        {"since": NOW - HOUR, "used_at": NOW - HOUR, "stops_at": NOW + 20 * MINUTE},
        "Since 11:04, not used for 1 h.",
        "Will stop at 12:24. Open it and run something to keep it.",
    ),
    "at the end of its time": (
        {"since": NOW - HOUR, "used_at": NOW, "stops_at": NOW + 2 * HOUR, "must_stop_at": NOW + 2 * HOUR},
        "Since 11:04, in use. Will stop at 14:04.",
        "",
    ),
    "soon at the end of its time": (
        {"since": NOW - HOUR, "used_at": NOW, "stops_at": NOW + MINUTE, "must_stop_at": NOW + MINUTE},
        "Since 11:04, in use.",
        "Will stop at 12:05, when its longest time is over. Save your work.",
    ),
    "in a project that was left": (
        {"since": NOW - HOUR, "used_at": NOW, "stops_at": NOW + HOUR, "leaves_at": NOW + 9 * MINUTE},
        "Since 11:04, in use.",
        "You are no longer in P. This server stops at 12:13. Save your work.",
    ),
    "starting": ({"state": ServerState.STARTING, "since": NOW}, "Since 12:04.", ""),
    "stopped": (
        {"state": ServerState.STOPPED, "ended_at": NOW - 24 * HOUR},
        "Stopped 22 Nov, 12:04. Its files are kept.",
        "",
    ),
    "stopped some time": ({"state": ServerState.STOPPED}, "Its files are kept.", ""),
}


@pytest.mark.parametrize(("facts", "times", "warning"), TIMES.values(), ids=TIMES.keys())
def test_a_server_says_since_when_and_until_when(facts: dict[str, Any], times: str, warning: str) -> None:
    found = server(**facts)
    assert (found.times, found.warning) == (times, warning)


@pytest.mark.parametrize(
    ("state", "word", "tone"),
    [
        (ServerState.RUNNING, "Running", "ok"),
        (ServerState.STARTING, "Starting", "wait"),
        (ServerState.STOPPING, "Stopping", "wait"),
        (ServerState.STOPPED, "Stopped", "no"),
    ],
)
def test_a_state_is_a_word_and_a_tone(state: ServerState, word: str, tone: str) -> None:
    found = server(state=state)
    assert (found.pill.word, found.pill.tone) == (word, tone)


def test_the_reason_of_an_end_is_said_only_while_the_server_is_down() -> None:
    died = Refusal(Reason.SERVER_DIED, {"server": ""})
    down = server(state=ServerState.STOPPED, refusal=died).reason
    assert down.startswith("Your default server stopped by itself.")
    assert server(refusal=died).reason == ""


def test_a_default_server_that_was_never_started_is_left_out() -> None:
    servers = [ServerFacts("", ServerState.STOPPED), ServerFacts("lab", ServerState.STOPPED)]
    found = home_page("a", servers, [], ENGLISH, now=NOW, may_add=False).servers
    assert [each.title for each in found] == ["lab"]


@pytest.mark.parametrize("state", ServerState)
@pytest.mark.parametrize("name", ["", "lab"])
def test_a_stopped_named_server_and_no_other_can_be_removed_and_its_files_stay(name: str, state: ServerState) -> None:
    found = server(name=name, state=state)
    assert found.removable == (name == "lab" and state is ServerState.STOPPED)
    assert ("even when you remove it" in found.times) == found.removable


def test_quotas_at_home_are_the_readers_own() -> None:
    found = home_page("a", [], choices(), ENGLISH, now=NOW, may_add=False)
    assert [group.title for group in found.meters] == ["Yours in Machine Learning 101", "Yours in all projects"]


STAGES = [
    StageFacts("admit", NOW - 43 * SECOND, NOW - timedelta(seconds=42.6)),
    StageFacts("image", NOW - 40 * SECOND),
    StageFacts("start", usual=5),
    StageFacts("ready"),
]
STARTED = Started("", "lab", "P", "R 4.5", "Small", at=NOW - 43 * SECOND)


def test_stages_say_what_is_done_what_runs_and_what_waits() -> None:
    found = progress_page(STARTED, STAGES, [], ENGLISH, now=NOW, events="/x")
    assert [(stage.title, stage.state, stage.word) for stage in found.stages] == [
        ("Reserve a place", "done", "Done, under 1 s"),
        ("Prepare the image", "run", "Running, 40 s"),
        ("Start the server", "todo", "Waiting, usually 5 s"),
        ("Wait for JupyterLab", "todo", "Waiting"),
    ]
    assert (found.title, found.now, found.passed) == ("Starting “lab”", "Prepare the image", "43 s passed")


def test_a_start_that_nobody_has_begun_has_no_stage() -> None:
    found = progress_page(Started("", ""), [StageFacts("admit")], [], ENGLISH, now=NOW, events="/x")
    assert (found.title, found.now, found.passed) == ("Starting your server", "The start has been asked for", "")


def test_the_log_has_times_where_they_are_known() -> None:
    log = [LogLine("a", NOW), LogLine("b")]
    assert progress_page(STARTED, STAGES, log, ENGLISH, now=NOW, events="/x").log == ("12:04  a", "b")


def test_a_failed_start_says_what_is_safe_and_how_far_it_came() -> None:
    parameters: dict[str, Parameter] = {
        "image": "pytorch:2.9",
        "project": "ml101",
        "lines": ("error: no wheel",),
        "id": "3F7K",
    }
    stages = [STAGES[0], StageFacts("image", NOW - 40 * SECOND, NOW, failed=True), *STAGES[2:]]
    found = stopped_page(
        STARTED,
        Refusal(Reason.BUILD_FAILED, parameters),
        ENGLISH,
        now=NOW,
        start="/hub/spawn",
        stages=stages,
        log=[LogLine("Collecting")],
        names=names_of(choices(), ENGLISH),
    )
    assert found.lead == "It stopped at stage 2 of 4. Nothing is running now."
    assert found.what == "The environment of PyTorch 2.9 could not be prepared."
    assert found.safe == "Your files are kept, and your place in the quota is free again."
    assert [(stage.state, stage.word) for stage in found.stages][1:] == [
        ("bad", "Failed, 40 s"),
        ("todo", "Not reached"),
        ("todo", "Not reached"),
    ]
    assert found.log == ("Collecting", "error: no wheel")
    assert (found.code, found.error_id) == ("build-failed", "3F7K")
    assert found.contact is not None
    assert found.contact.href == "mailto:ml101-help@example.org"


def test_a_server_that_died_has_no_stage_to_name() -> None:
    refusal = Refusal(Reason.SERVER_DIED, {"server": ""})
    found = stopped_page(Started("", ""), refusal, ENGLISH, now=NOW, start="/hub/spawn")
    assert (found.title, found.lead) == ("Your server is not running", "Nothing is running now.")


def test_the_list_of_projects_has_the_projects_own_quotas_under_distinct_ids() -> None:
    found = projects_page(choices(), ENGLISH)
    assert [project.name for project in found.projects] == ["Machine Learning 101", "Data Lab"]
    assert [group.id for project in found.projects for group in project.meters] == ["q-0-0-project"]
