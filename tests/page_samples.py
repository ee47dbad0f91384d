"""Pages filled with sample data, for the tests that render them. `mark` may change every text that people wrote."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import jinja2

from aihub.catalog import Catalog, ImageStream, ImageTag, Software, TagState
from aihub.coursepage import (
    Action,
    Asked,
    ChangeFacts,
    CourseFacts,
    DeathFacts,
    Rejection,
    RunningFacts,
    project_page,
)
from aihub.errors import Reason, Refusal
from aihub.facts import Facts, Machine, Usage
from aihub.form import Readiness, Refused, Situation, spawn_page
from aihub.groupprojects import GroupProblem, GroupWarning
from aihub.i18n import TEMPLATES, Here
from aihub.identity import GitHubProvider, OidcProvider, SignInReason
from aihub.language import Language
from aihub.messages import names_of
from aihub.pages import (
    Chrome,
    LogLine,
    NotRunning,
    PasswordPage,
    ServerFacts,
    ServerState,
    SignedOut,
    SignInPage,
    SsoPage,
    StageFacts,
    Started,
    Stopping,
    home_page,
    persona_card,
    progress_page,
    projects_page,
    sign_in_problem,
    stopped_page,
)
from aihub.policy import Policy, ProjectChoices, choices_for
from aihub.profiles import Accelerator, Profile
from aihub.projects import Decisions, IdleRules, ImageDecision, Membership, Offer, Person, Project
from aihub.resources import Resources
from aihub.signinstatus import (
    CheckFacts,
    PersonFacts,
    StatusFacts,
    sign_in_status,
)
from aihub.submission import Note, NoteKind, Remembered, Selection, preselect
from aihub.text import Text

NOW = datetime(2026, 11, 23, 12, 4, tzinfo=UTC)
GPU = "nvidia.com/gpu"
GIB = 1024**3
Mark = Callable[[str], str]


def unmarked(text: str) -> str:
    """The text itself."""
    return text


def catalog(mark: Mark) -> Catalog:
    """Three image streams; one is made for a GPU of another vendor."""
    streams = [
        ImageStream(
            "pytorch",
            Text(mark("PyTorch"), {"zh_TW": mark("PyTorch")}),
            Text(mark("Deep learning")),
            order=1,
            source_url="https://example.org/course-images/pytorch",
            tags=(
                ImageTag(
                    "2.9", recommended=True, software=_software(mark, "Python 3.12", "PyTorch 2.9", "JupyterLab 4.5")
                ),
                ImageTag("2.8", state=TagState.RETIRED, successor="2.9"),
                ImageTag("2.7", outdated=True, software=_software(mark, "Python 3.11", "PyTorch 2.7")),
            ),
        ),
        ImageStream(
            "scipy",
            Text(mark("Data Science"), {"zh_TW": mark("資料科學")}),
            order=2,
            source_url="https://example.org/course-images/scipy",
            tags=(ImageTag("2026", software=_software(mark, "Python 3.12", "pandas 2.3", "SciPy 1.16")),),
        ),
        ImageStream("rocm", Text(mark("ROCm")), order=3, accelerators=("amd.com/gpu",), tags=(ImageTag("6"),)),
    ]
    return Catalog({stream.name: stream for stream in streams})


def _software(mark: Mark, *pieces: str) -> tuple[Software, ...]:
    return tuple(Software(mark(piece.split()[0]), piece.split()[1]) for piece in pieces)


def profiles(mark: Mark) -> dict[str, Profile]:
    """Small and medium without, one and two GPUs with an accelerator, and one that no machine has."""
    sizes = {"small": (1, 2), "medium": (4, 8), "gpu": (4, 16), "huge": (64, 512)}
    accelerators = {"gpu": Accelerator(GPU, counts=(1, 2), shared=Text(mark("Shared with others.")))}
    names = {"small": "小型", "medium": "中型", "gpu": "一張 GPU", "huge": "特大型"}
    return {
        name: Profile(
            name,
            Text(mark(name.capitalize()), {"zh_TW": mark(names[name])}),
            Text(mark("Enough for the labs."), {"zh_TW": mark("足夠應付實作。")}) if name == "small" else Text(),
            order=order,
            requests=Resources({"cpu": cpu, "memory": memory * GIB}),
            accelerator=accelerators.get(name),
        )
        for order, (name, (cpu, memory)) in enumerate(sizes.items())
    }


def policy(mark: Mark = unmarked) -> Policy:
    """Two projects, the first with quotas."""
    course = Project(
        "ml101",
        Text(mark("Machine Learning 101"), {"zh_TW": mark("機器學習導論")}),
        Text(mark("An introduction.")),
        kind="course",
        order=1,
        members=Membership(groups=("/ml101",)),
        instructors=Membership(groups=("/staff",)),
        images=Offer(("pytorch", "scipy", "rocm"), "pytorch:2.9"),
        profiles=Offer(("small", "medium", "gpu", "huge"), "small"),
        quota={"servers": Decimal(40), "memory": Decimal(64 * GIB)},
        member_quota={"servers": Decimal(2), GPU: Decimal(1)},
        idle=IdleRules(7200, 43200),
        contact=Text(mark("ml101-help@example.org")),
    )
    lab = Project(
        "datalab",
        Text(mark("Data Lab"), {"zh_TW": mark("資料實驗室")}),
        kind="lab",
        order=2,
        members=Membership(everybody=True),
        images=Offer(("scipy",)),
        profiles=Offer(("small",)),
    )
    return Policy(catalog(mark), profiles(mark), {"ml101": course, "datalab": lab}, user_quota={"servers": Decimal(3)})


def facts() -> Facts:
    """One machine with two GPUs of which one is in use, and what the student uses."""
    total = Resources({"cpu": 16, "memory": 128 * GIB, GPU: 2})
    free = Resources({"cpu": 12, "memory": 100 * GIB, GPU: 1})
    usage = Usage(
        {"ml101": Resources({"servers": 18, "memory": 60 * GIB})},
        {"ml101": Resources({"servers": 1, GPU: 0})},
        Resources({"servers": 1}),
    )
    decisions = {"ml101": Decisions({"pytorch:2.7": ImageDecision(TagState.OFFERED)}, None, 7)}
    return Facts(NOW, usage, (Machine("here", total, free),), decisions=decisions)


def choices(mark: Mark = unmarked, *, teaching: bool = False) -> tuple[ProjectChoices, ...]:
    """What the student, or the instructor, of the first project may choose."""
    groups = frozenset({"/ml101", "/staff"} if teaching else {"/ml101"})
    return choices_for(policy(mark), Person("student-07", groups), facts())


def situation() -> Situation:
    """Images that are prepared, not prepared, and of unknown state."""
    return Situation(NOW, {"pytorch:2.9": Readiness(True, 20), "scipy:2026": Readiness(False, 180)}, "help@example.org")


def spawn(language: Language, mark: Mark = unmarked) -> Any:
    """The start page as it first shows."""
    offered = choices(mark)
    remembered = Remembered(Selection("ml101", "pytorch:2.8", "small"), NOW - timedelta(days=3))
    selected, notes = preselect(offered, remembered=remembered)
    return spawn_page(offered, selected, language, action="/hub/spawn", situation=situation(), notes=notes)


def spawn_refused(language: Language, mark: Mark = unmarked) -> Any:
    """The start page after a submit that was refused for two reasons."""
    name = {"field": "server-name", "problem": "characters", "value": mark("Thesis Run"), "suggestion": "thesis-run"}
    refusals = (
        Refusal(Reason.QUOTA_MEMBER, {"project": "ml101", "key": GPU, "limit": "1", "used": "1", "requested": "1"}),
        Refusal(Reason.INVALID_OPTIONS, name),
        Refusal(Reason.BUILD_FAILED, {"image": "pytorch:2.9", "lines": (mark("No matching distribution"),)}),
    )
    return spawn_page(
        choices(mark),
        Selection("ml101", "pytorch:2.7", "gpu", 2, mark("Thesis Run"), mark("labs/5.ipynb")),
        language,
        action="/hub/spawn/somebody",
        situation=situation(),
        refused=Refused(refusals, "3F7K-Q2"),
        notes=[Note(kind, mark("asked"), "pytorch:2.9", NOW, mark("Use 2.9")) for kind in NoteKind],
        for_user=mark("somebody"),
    )


def spawn_empty(language: Language, mark: Mark = unmarked) -> Any:
    """The start page of somebody who is in no project."""
    return spawn_page((), Selection(), language, action="/hub/spawn", situation=situation())


def home(language: Language, mark: Mark = unmarked) -> Any:
    """The home page with a server in every state."""
    died = Refusal(Reason.SERVER_DIED, {"server": mark("thesis")})
    hour = timedelta(hours=1)
    servers = [
        ServerFacts(
            "",
            ServerState.RUNNING,
            "/user/student-07/",
            "",
            mark("Machine Learning 101"),
            mark("PyTorch 2.9"),
            mark("Small"),
            NOW - 3 * hour,
            NOW - hour,
            NOW + hour,
        ),
        ServerFacts(
            mark("experiments"),
            ServerState.RUNNING,
            "/user/student-07/experiments/",
            "",
            "",
            mark("PyTorch 2.9"),
            "",
            NOW - 30 * hour,
            NOW - 1.8 * hour,
            NOW + 0.2 * hour,
        ),
        ServerFacts(
            mark("left"),
            ServerState.RUNNING,
            "/user/student-07/left/",
            "",
            mark("Data Lab"),
            since=NOW - hour,
            used_at=NOW,
            leaves_at=NOW + 0.1 * hour,
        ),
        ServerFacts(mark("lab"), ServerState.STARTING, "/hub/spawn-pending/student-07/lab", since=NOW),
        ServerFacts(mark("old"), ServerState.STOPPING, since=NOW - hour),
        ServerFacts(
            mark("thesis"),
            ServerState.STOPPED,
            start="/hub/spawn/student-07/thesis",
            image=mark("R"),
            ended_at=NOW - 60 * hour,
            refusal=died,
        ),
    ]
    offered = choices(mark)
    return home_page(
        mark("student-07"),
        servers,
        offered,
        language,
        now=NOW,
        may_add=True,
        names=names_of(offered, language),
        notice=mark("Done."),
    )


def home_empty(language: Language, mark: Mark = unmarked) -> Any:
    """The home page of somebody who never started anything."""
    return home_page(mark("student-07"), [], [], language, now=NOW, may_add=False)


def stages(*, failed: bool) -> list[StageFacts]:
    """A start in its third stage."""
    return [
        StageFacts("admit", NOW - timedelta(seconds=43), NOW - timedelta(seconds=43)),
        StageFacts("storage", NOW - timedelta(seconds=43), NOW - timedelta(seconds=40)),
        StageFacts("image", NOW - timedelta(seconds=40), NOW if failed else None, failed),
        StageFacts("start", usual=5),
        StageFacts("ready"),
    ]


def started(mark: Mark) -> Started:
    """What was asked for."""
    asked_at = NOW - timedelta(seconds=43)
    return Started(
        mark("student-07"),
        mark("lab"),
        mark("Machine Learning 101"),
        mark("PyTorch 2.9"),
        mark("Small"),
        mark("2 CPU"),
        asked_at,
    )


def progress(language: Language, mark: Mark = unmarked) -> Any:
    """A start on its way."""
    log = [LogLine(mark("Collecting torch"), NOW), LogLine(mark("no time"))]
    return progress_page(
        started(mark), stages(failed=False), log, language, now=NOW, events="/hub/api/progress?a=1&b=2"
    )


def stopped(language: Language, mark: Mark = unmarked) -> Any:
    """A start that failed."""
    refusal = Refusal(
        Reason.BUILD_FAILED, {"image": "pytorch:2.9", "project": "ml101", "lines": (mark("error: no"),), "id": "3F7K"}
    )
    names = names_of(choices(mark), language)
    return stopped_page(
        started(mark), refusal, language, now=NOW, start="/hub/spawn", stages=stages(failed=True), names=names
    )


def project(language: Language, mark: Mark = unmarked) -> Any:
    """The project page while a retirement waits to be confirmed, with everything on it."""
    decisions = Decisions(
        {
            "scipy:2026": ImageDecision(TagState.HIDDEN),
            "pytorch:2.7": ImageDecision(TagState.RETIRED, "2.9", mark("Use 2.9")),
            "gone:1": ImageDecision(TagState.HIDDEN),
        },
        "pytorch:2.9",
        7,
    )
    offered = choices_for(
        policy(mark), Person("prof", frozenset({"/staff"})), Facts(NOW, facts().usage, decisions={"ml101": decisions})
    )
    running = (
        RunningFacts(
            mark("student-07"),
            "",
            "pytorch:2.9",
            "small",
            NOW,
            NOW - timedelta(minutes=101),
            NOW + timedelta(minutes=20),
        ),
        RunningFacts(mark("student-11"), mark("lab"), "pytorch:2.9", mark("gone"), NOW, NOW),
    )
    changes = tuple(
        ChangeFacts(
            str(number),
            NOW - timedelta(days=number),
            by,
            action,
            "pytorch:2.9",
            "pytorch:2.8",
            "pytorch:2.8",
            number == 2,
        )
        for number, (action, by) in enumerate(zip(Action, ("prof", mark("other"), "prof", "prof"), strict=True))
    )
    course = CourseFacts(
        NOW,
        "prof",
        "https://hub.example.org/hub/aihub/launch/ml101",
        "https://hub.example.org/hub/aihub/static/badge.svg",
        running,
        changes,
        {"pytorch:2.9": mark("19 Nov, out of memory")},
        Asked(Action.RETIRE, "pytorch:2.9", "rocm:6", mark("Use ROCm")),
        Rejection.CHANGED,
        mark("Done."),
        (DeathFacts(mark("student-04"), "", NOW - timedelta(minutes=9), mark("It ran out of memory (4 GiB).")),),
    )
    return project_page(policy(mark), offered[0], decisions, course, language)


def project_new(language: Language, mark: Mark = unmarked) -> Any:
    """The project page before anybody decided or ran anything, with a default to confirm."""
    asked = Asked(Action.DEFAULT, "scipy:2026")
    course = CourseFacts(
        NOW, "prof", "https://hub.example.org/x", "https://hub.example.org/y.svg", confirm=asked, by_groups=True
    )
    return project_page(policy(mark), choices(mark, teaching=True)[0], Decisions(), course, language)


TITLES = ("Student", "Instructor", "Admin")


def sign_in(language: Language, mark: Mark = unmarked) -> Any:
    """Three personas."""
    people = (
        Person(mark("student-01"), frozenset({"/ml101"})),
        Person(mark("teacher-01"), frozenset({"/staff"})),
        Person(mark("root"), admin=True),
    )
    projects = policy(mark).projects.values()
    cards = [
        persona_card(person, mark(title), projects, language) for person, title in zip(people, TITLES, strict=True)
    ]
    return SignInPage(tuple(cards), "/hub/login", mark("/hub/home"), mark("No such persona."))


def sign_in_password(_language: Language, mark: Mark = unmarked) -> Any:
    """A wrong password."""
    return PasswordPage("/hub/login", mark("/hub/home"), mark("ada"), mark("The name or the password is wrong."))


def sign_in_sso(_language: Language, mark: Mark = unmarked) -> Any:
    """A school's accounts, after something went wrong."""
    return SsoPage(
        "/hub/oauth_login",
        mark("login.example.org"),
        mark("your school account"),
        contact=mark("it-help@example.org"),
        next=mark("/hub/aihub/launch/ml101?image=pytorch:2.9"),
        error=mark("The form could not be used."),
    )


def sign_in_refused(reason: SignInReason) -> Callable[[Language, Mark], Any]:
    """The page of a sign-in that was refused for `reason`."""

    def page(language: Language, mark: Mark = unmarked) -> Any:
        parameters = {
            "name": mark("ada"),
            "claim": mark("preferred_username"),
            "address": mark("http://127.0.0.1:8000"),
            "public": "https://hub.example.org",
        }
        return sign_in_problem(
            reason,
            parameters,
            language,
            again="/hub/login?next=%2Fhub%2Fspawn",
            provider=mark("login.example.org"),
            asked=mark("it-help@example.org"),
            reference="3f7a2c",
            other="/hub/logout?again=1",
        )

    return page


def sign_in_state(language: Language, mark: Mark = unmarked) -> Any:
    """Keycloak is silent, sent no groups for somebody, and its client secret ends soon."""
    hour = timedelta(hours=1)
    provider = OidcProvider("https://login.example.org/realms/school", "aihub", keycloak=True)
    facts = StatusFacts(
        provider,
        public_url="https://hub.example.org",
        max_age=12 * 3600,
        last_answer=NOW - 2 * hour,
        down_since=NOW - hour,
        checks=(
            CheckFacts("discovery", "passed"),
            CheckFacts("client", "failed", mark("the provider does not accept 'aihub'"), mark("Compare the secret.")),
            CheckFacts("client secret", "warning", mark("it ends on 2026-11-30"), mark("Make a new one.")),
            CheckFacts("groups", "notChecked", mark("because no test user is named")),
        ),
        people=(
            *(PersonFacts(mark(f"student-{number:02}"), NOW - number * timedelta(minutes=5)) for number in range(101)),
            PersonFacts(mark("student-a"), NOW - 13 * hour),
            PersonFacts(mark("student-b"), NOW - 11 * hour, kept=True),
            PersonFacts(mark("student-c"), NOW - 10 * hour, groups_missing=True),
        ),
        patterns=True,
        projects=(
            Project(
                mark("ml101"),
                Text(mark("Machine Learning 101")),
                members=Membership((mark("/courses/ml101/students"),)),
                instructors=Membership((mark("/courses/ml101/staff"),)),
            ),
        ),
        warnings=(
            GroupWarning(mark("/courses/C++/students"), GroupProblem.UNUSABLE_NAME, mark("C++")),
            GroupWarning(mark("/courses/lab/students"), GroupProblem.NAME_TAKEN, mark("lab")),
        ),
    )
    return sign_in_status(facts, language, now=NOW)


def sign_in_state_new(language: Language, mark: Mark = unmarked) -> Any:
    """GitHub, and nobody has signed in yet."""
    provider = GitHubProvider("Iv1.example", organizations=(mark("my-school"),))
    return sign_in_status(StatusFacts(provider, max_age=3600, patterns=True), language, now=NOW)


PAGES: dict[str, tuple[str, Callable[[Language, Mark], Any]]] = {
    "sign-in": ("aihub/sign_in.html", sign_in),
    "sign-in-password": ("aihub/sign_in_password.html", sign_in_password),
    "sign-in-sso": ("aihub/sign_in_sso.html", sign_in_sso),
    "sign-in-school": (
        "aihub/sign_in_sso.html",
        lambda _language, mark: SsoPage(
            "/hub/oauth_login",
            mark("login.example.org"),
            mark("your school account"),
            contact=mark("it-help@example.org"),
        ),
    ),
    "sign-in-github": (
        "aihub/sign_in_sso.html",
        lambda _language, mark: SsoPage("/hub/oauth_login", mark("github.com"), github=True),
    ),
    **{f"sign-in-{reason}": ("aihub/sign_in_problem.html", sign_in_refused(reason)) for reason in SignInReason},
    "status": ("aihub/sign_in_status.html", sign_in_state),
    "status-new": ("aihub/sign_in_status.html", sign_in_state_new),
    "status-none": (
        "aihub/sign_in_status.html",
        lambda language, _mark: sign_in_status(StatusFacts(None), language, now=NOW),
    ),
    "home": ("aihub/home.html", home),
    "home-empty": ("aihub/home.html", home_empty),
    "spawn": ("aihub/spawn.html", spawn),
    "spawn-refused": ("aihub/spawn.html", spawn_refused),
    "spawn-empty": ("aihub/spawn.html", spawn_empty),
    "progress": ("aihub/progress.html", progress),
    "stopped": ("aihub/stopped.html", stopped),
    "not-running": ("aihub/not_running.html", lambda _language, mark: NotRunning(mark("lab"), "/hub/spawn")),
    "stopping": ("aihub/stopping.html", lambda _language, mark: Stopping(mark("lab"))),
    "project": ("aihub/project.html", project),
    "project-new": ("aihub/project.html", project_new),
    "projects": ("aihub/projects.html", lambda language, mark: projects_page(choices(mark), language)),
    "projects-empty": ("aihub/projects.html", lambda language, _mark: projects_page((), language)),
    "not-running-stock": ("not_running.html", lambda _language, _mark: None),
    "error-404": ("404.html", lambda _language, _mark: None),
    "error-403": ("error.html", lambda _language, _mark: None),
    "error-500": ("error.html", lambda _language, _mark: None),
    "error-503": ("error.html", lambda _language, _mark: None),
    "error-400": ("error.html", lambda _language, _mark: None),
    "signed-out": ("logout.html", lambda _language, _mark: None),
    "signed-out-sso": (
        "logout.html",
        lambda _language, mark: SignedOut(mark("login.example.org"), False, "/hub/login"),
    ),
    "signed-out-everywhere": (
        "logout.html",
        lambda _language, mark: SignedOut(mark("login.example.org"), True, "/hub/login", servers_stop=True),
    ),
    "help": ("aihub/help.html", lambda _language, _mark: None),
    "accessibility": ("aihub/accessibility.html", lambda _language, _mark: None),
}


def _sign_in_troubles(mark: Mark) -> dict[str, Any]:
    """What admins read of sign-in at the top of every page."""
    return {
        "sign_in": True,
        "groups_missing": tuple(mark(f"student-{number}") for number in range(6)),
        "groups_claim": mark("groups"),
        "keycloak_client": mark("aihub"),
        "provider": mark("login.example.org"),
        "provider_down_since": NOW - timedelta(hours=1),
        "sign_in_warnings": (mark("The client secret ends in 7 days."),),
    }


ENVIRONMENT = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, auto_reload=False)
"""As the hub makes its own (`JupyterHub.init_tornado_settings`)."""


def render(name: str, language: Language, languages: tuple[Language, ...], mark: Mark = unmarked) -> str:
    """The HTML of a sample page."""
    template, make = PAGES[name]
    signed_in = not name.startswith(("sign-in", "signed-out"))
    chrome = Chrome(
        projects=True,
        admin=True,
        findings=(mark("values.yaml:42: unknown key"),) if name == "home" else (),
        in_force_since=NOW if name == "home" else None,
        announcements=(Text(mark("Maintenance on Tuesday.")),) if name == "home" else (),
        **(_sign_in_troubles(mark) if name in ("home", "status") else {}),
    )
    status = int(name.rpartition("-")[2]) if name.startswith("error-") else 200
    return ENVIRONMENT.get_template(template).render(
        page=make(language, mark),
        here=Here(language, languages, "/hub/", "/hub/home?a=1&b=2"),
        chrome=chrome if signed_in else None,
        base_url="/hub/",
        logout_url="/hub/logout",
        login_url="/hub/login",
        static_url=lambda path: f"/hub/static/{path}",
        user=SimpleNamespace(name=mark("student-07")) if signed_in else None,
        xsrf="token",
        status_code=status,
        server_name=mark("lab"),
        spawn_url=f"/hub/spawn/student-07/lab?next={mark('/hub/user')}",
        message=mark("Hub says no") if name == "error-500" else "",
    )
