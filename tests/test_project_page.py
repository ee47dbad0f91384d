"""What instructors may change, and how the history of it reads. Pages on a real hub: tests/local/test_project.py."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from aihub.app import AIHub
from aihub.catalog import Catalog, ImageStream, ImageTag, TagState
from aihub.changes import change_facts, judge, judge_undo
from aihub.coursepage import Action, Asked, ChangeFacts, Rejection
from aihub.facts import Facts
from aihub.handlers import project as pages
from aihub.handlers.base import choices_in, teaches
from aihub.policy import Policy, ProjectChoices, choices_for
from aihub.projects import Decisions, ImageDecision, Membership, Offer, Person, Project
from aihub.store import Action as Kind
from aihub.store import HistoryEntry, SetDefault, SetState

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
INSTRUCTOR = Person("ada")
HIDDEN = ImageDecision(TagState.HIDDEN)
RETIRED = ImageDecision(TagState.RETIRED, "a:1", "Bye")

POLICY = Policy(
    catalog=Catalog.of(
        [
            ImageStream(
                "a",
                tags=(
                    ImageTag("1"),
                    ImageTag("2"),
                    ImageTag("hid", state=TagState.HIDDEN),
                    ImageTag("old", state=TagState.RETIRED, successor="2"),
                ),
            ),
            ImageStream("b", tags=(ImageTag("1"), ImageTag("2"))),
            ImageStream("unlisted", offered=False, tags=(ImageTag("1"),)),
        ]
    ),
    projects={
        "p": Project(
            "p",
            members=Membership(users=frozenset({"bob", "root"})),
            instructors=Membership(users=frozenset({"ada"})),
            images=Offer(("a", "b:1", "unlisted"), "a:1"),
        )
    },
)


def choices(
    images: dict[str, ImageDecision] | None = None,
    default: str | None = None,
    unresolved: dict[str, bool] | None = None,
) -> ProjectChoices:
    facts = Facts(NOW, decisions={"p": Decisions(images or {}, default, 1)}, unresolved=unresolved or {})
    return choices_for(POLICY, INSTRUCTOR, facts)[0]


PLAIN = choices()
ONE_HIDDEN = choices({"a:2": HIDDEN})
ONE_RETIRED = choices({"a:2": RETIRED})
OTHER_DEFAULT = choices(default="b:1")


@pytest.mark.parametrize(
    ("stands", "asked", "change"),
    [
        (PLAIN, Asked(Action.HIDE, "a:2"), SetState("a:2", TagState.HIDDEN)),
        (PLAIN, Asked(Action.OFFER, "a:2"), SetState("a:2", TagState.OFFERED)),
        (ONE_HIDDEN, Asked(Action.OFFER, "a:2"), SetState("a:2", TagState.OFFERED)),
        (ONE_RETIRED, Asked(Action.OFFER, "a:2"), SetState("a:2", TagState.OFFERED)),
        (PLAIN, Asked(Action.HIDE, "a:2", "b:1", "x"), SetState("a:2", TagState.HIDDEN)),
        (PLAIN, Asked(Action.DEFAULT, "b:1"), SetDefault("b:1")),
        (PLAIN, Asked(Action.RETIRE, "a:2"), SetState("a:2", TagState.RETIRED)),
        (PLAIN, Asked(Action.RETIRE, "a:2", "b:1", "Hi"), SetState("a:2", TagState.RETIRED, "b:1", "Hi")),
        (OTHER_DEFAULT, Asked(Action.HIDE, "a:1"), SetState("a:1", TagState.HIDDEN)),
        (choices(unresolved={"b:1": True}), Asked(Action.DEFAULT, "b:1"), SetDefault("b:1")),
        (
            choices(unresolved={"b:1": False}),
            Asked(Action.RETIRE, "a:2", "b:1"),
            SetState("a:2", TagState.RETIRED, "b:1"),
        ),
    ],
)
def test_what_is_allowed_becomes_a_change(stands: ProjectChoices, asked: Asked, change: object) -> None:
    assert judge(POLICY, stands, asked) == change


@pytest.mark.parametrize(
    ("stands", "asked", "why"),
    [
        (PLAIN, Asked(Action.HIDE, "a:1"), Rejection.IS_DEFAULT),
        (PLAIN, Asked(Action.RETIRE, "a:1", "a:2"), Rejection.IS_DEFAULT),
        (OTHER_DEFAULT, Asked(Action.HIDE, "b:1"), Rejection.IS_DEFAULT),
        (PLAIN, Asked(Action.RETIRE, "a:2", "a:2"), Rejection.BAD_SUCCESSOR),
        (PLAIN, Asked(Action.RETIRE, "a:2", "a"), Rejection.BAD_SUCCESSOR),
        (PLAIN, Asked(Action.RETIRE, "a:2", "b:2"), Rejection.BAD_SUCCESSOR),
        (PLAIN, Asked(Action.RETIRE, "a:2", "a:hid"), Rejection.BAD_SUCCESSOR),
        (PLAIN, Asked(Action.RETIRE, "a:2", "a:old"), Rejection.BAD_SUCCESSOR),
        (choices({"b:1": HIDDEN}), Asked(Action.RETIRE, "a:2", "b:1"), Rejection.BAD_SUCCESSOR),
        (choices({"b:1": RETIRED}), Asked(Action.RETIRE, "a:2", "b:1"), Rejection.BAD_SUCCESSOR),
        (ONE_HIDDEN, Asked(Action.DEFAULT, "a:2"), Rejection.NOT_STARTABLE),
        (ONE_RETIRED, Asked(Action.DEFAULT, "a:2"), Rejection.NOT_STARTABLE),
        (choices(unresolved={"b:1": False}), Asked(Action.DEFAULT, "b:1"), Rejection.NOT_STARTABLE),
        *((PLAIN, Asked(Action.OFFER, image), Rejection.NOT_ALLOWED) for image in ("b:2", "a", "c:1", "a:9", "")),
        *((PLAIN, Asked(action, "a:hid"), Rejection.NOT_ALLOWED) for action in Action),
        *((PLAIN, Asked(action, "a:old"), Rejection.NOT_ALLOWED) for action in Action),
        *((PLAIN, Asked(action, "unlisted:1"), Rejection.NOT_ALLOWED) for action in Action),
    ],
)
def test_what_is_not_allowed_is_refused(stands: ProjectChoices, asked: Asked, why: Rejection) -> None:
    assert judge(POLICY, stands, asked) is why


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("  two\r\n lines\t ", "two lines"),
        ("a\x00b\x1b[31m", "a b [31m"),
        ("\u202eright\u202c \u2066to\u2069", "right to"),
        ("ซ\u200d👩\u200d💻", "ซ\u200d👩\u200d💻"),
        ("<b>", "<b>"),
        ("x" * 1000, "x" * 300),
    ],
)
def test_a_message_is_one_line_that_turns_nothing_around(text: str, kept: str) -> None:
    change = judge(POLICY, PLAIN, Asked(Action.RETIRE, "a:2", message=text))
    assert isinstance(change, SetState)
    assert change.message == kept


# --- history ---------------------------------------------------------------------------------------------------------


def entry(number: int, before: object, after: object, image: str | None = "a:2", **more: int) -> HistoryEntry:
    kind = Kind.SET_DEFAULT if image is None else Kind.SET_STATE
    return HistoryEntry(number, "p", number, kind, image, before, after, "ada", NOW, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "stands", "why"),
    [
        (entry(1, None, HIDDEN), ONE_HIDDEN, None),
        (entry(1, HIDDEN, ImageDecision()), PLAIN, None),
        (entry(1, HIDDEN, ImageDecision()), choices(default="a:2"), Rejection.IS_DEFAULT),
        (entry(1, RETIRED, ImageDecision()), PLAIN, None),
        (entry(1, replace(RETIRED, successor="b:1"), HIDDEN), choices({"b:1": HIDDEN}), Rejection.BAD_SUCCESSOR),
        (entry(1, None, HIDDEN, "b:2"), PLAIN, Rejection.NOT_ALLOWED),
        (entry(1, None, "b:1", None), OTHER_DEFAULT, None),
        (entry(1, "a:2", "b:1", None), OTHER_DEFAULT, None),
        (entry(1, "a:2", "b:1", None), choices({"a:2": HIDDEN}, "b:1"), Rejection.NOT_STARTABLE),
        (entry(1, "b:2", "b:1", None), OTHER_DEFAULT, Rejection.NOT_ALLOWED),
    ],
)
def test_undo_is_judged_by_what_it_brings_back(
    change: HistoryEntry, stands: ProjectChoices, why: Rejection | None
) -> None:
    assert judge_undo(POLICY, stands, change) is why


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        (entry(7, None, HIDDEN), {"action": Action.HIDE, "image": "a:2"}),
        (entry(7, HIDDEN, ImageDecision()), {"action": Action.OFFER, "image": "a:2"}),
        (entry(7, None, RETIRED), {"action": Action.RETIRE, "image": "a:2", "successor": "a:1"}),
        (entry(7, None, "b:1", None), {"action": Action.DEFAULT, "image": "b:1"}),
        (entry(7, "a:2", "b:1", None), {"action": Action.DEFAULT, "image": "b:1", "before": "a:2"}),
        (entry(7, HIDDEN, None, undo_of=3), {"action": Action.HIDE, "image": "a:2", "undoes": True}),
        (entry(7, None, HIDDEN, undo_of=3), {"action": Action.OFFER, "image": "a:2", "undoes": True}),
        (entry(7, "b:1", None, None, undo_of=3), {"action": Action.DEFAULT, "image": "b:1", "undoes": True}),
        (
            entry(7, None, "b:1", None, undo_of=3),
            {"action": Action.DEFAULT, "image": "a:1", "before": "b:1", "undoes": True},
        ),
    ],
)
def test_a_change_as_the_page_shows_it(change: HistoryEntry, shown: dict[str, object]) -> None:
    assert change_facts([change], "a:1") == (ChangeFacts(id="7", at=NOW, by="ada", **shown),)  # type: ignore[arg-type]


def test_only_the_last_change_of_each_thing_can_be_undone() -> None:
    history = [
        entry(5, HIDDEN, ImageDecision()),
        entry(4, "a:2", "b:1", None),
        entry(3, None, HIDDEN),
        entry(2, None, HIDDEN, "b:1"),
        entry(1, None, "a:2", None),
    ]
    assert [change.may_undo for change in change_facts(history, "")] == [True, True, False, True, False]


# --- rights and state ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("person", "may"),
    [
        (Person("ada"), True),
        (Person("bob"), False),
        (Person("root", admin=True), True),
        (Person("elsewhere", admin=True), True),
        (Person("eve"), None),
    ],
    ids=["instructor", "member", "admin who is a member", "admin", "outsider"],
)
def test_who_teaches(person: Person, may: bool | None) -> None:
    found = next(iter(choices_for(POLICY, person, Facts(NOW))), None)
    assert (None if found is None else teaches(found, person)) is may


@pytest.fixture
def aihub() -> AIHub:
    return AIHub()


def test_a_decision_that_comes_late_does_not_undo_a_newer_one(aihub: AIHub) -> None:
    newer, older = Decisions(version=5), Decisions({"a:2": HIDDEN}, version=4)
    aihub.decided({"p": newer})
    aihub.decided({"p": older, "q": older})
    assert aihub._decisions == {"p": newer, "q": older}


def test_every_route_of_the_page_is_below_projects() -> None:
    assert [pattern for pattern, _ in pages.routes()] == [
        r"/aihub/projects",
        r"/aihub/projects/([^/]+)",
        r"/aihub/projects/([^/]+)/images",
        r"/aihub/projects/([^/]+)/undo",
        r"/aihub/projects/([^/]+)/stop",
    ]


class OnePolicy:
    """As much of AIHub as `choices_in` asks for."""

    policy = POLICY

    def facts(self, person: Person) -> Facts:
        return Facts(NOW)


@pytest.mark.parametrize(("person", "project"), [("ada", "q"), ("eve", "p")])
def test_a_project_does_not_exist_for_an_outsider(person: str, project: str) -> None:
    assert choices_in(OnePolicy(), Person(person), project) is None  # type: ignore[arg-type]
    found = choices_in(OnePolicy(), INSTRUCTOR, "p")  # type: ignore[arg-type]
    assert found is not None
    assert found.project.name == "p"
