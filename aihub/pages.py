"""Page data of every page but the start page, and of what stands around all of them.

A page is one frozen dataclass and one template, which finds it as `page`: all texts are plain text in the reader's
language. Functions here take what the handlers know and read no clock, file or network; times are aware datetimes.

| template                   | `page`       |                                                                |
|----------------------------|--------------|----------------------------------------------------------------|
| aihub/sign_in.html         | SignInPage   | `persona_card` for each card                                   |
| aihub/sign_in_password.html | PasswordPage |                                                               |
| aihub/sign_in_sso.html     | SsoPage      |                                                                |
| aihub/sign_in_problem.html | SignInProblem | `sign_in_problem`                                             |
| logout.html                | SignedOut    | the hub's own page of that name gives none                     |
| aihub/home.html            | HomePage     | `home_page`                                                    |
| aihub/spawn.html           | SpawnPage    | `aihub.form.spawn_page`; launch links and empty states too     |
| aihub/progress.html        | ProgressPage | `progress_page`                                                |
| aihub/stopped.html         | StoppedPage  | `stopped_page`: a start that failed, a server that died        |
| aihub/not_running.html     | NotRunning   | a server that simply does not run                              |
| aihub/stopping.html        | Stopping     |                                                                |
| aihub/project.html         | ProjectPage  | `aihub.coursepage.project_page`                                |
| aihub/projects.html        | ProjectsPage | `projects_page`                                                |
| aihub/help.html, aihub/accessibility.html | none |                                                         |

POST forms, each with `_xsrf`; addresses are below the hub's base URL:

| address                    | fields                                                                   |
|----------------------------|--------------------------------------------------------------------------|
| `SignInPage.action`        | persona, next                                                            |
| `PasswordPage.action`      | username, password, next                                                 |
| `SpawnPage.action`         | see `aihub.submission`                                                   |
| aihub/stop                 | user, server ("" is the default server), next                            |
| aihub/cancel               | user, server                                                             |
| aihub/forget               | server, a stopped named one of the reader's                              |
| aihub/language             | lang, next                                                               |
| aihub/projects/NAME/images | do ("offer", "hide", "default" or "retire", a space, "stream:tag"), version; |
|                            | the confirming form also sends confirmed ("yes"), successor, message     |
| aihub/projects/NAME/undo   | change (an id), version                                                  |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from urllib.parse import urlencode

from aihub.errors import Refusal
from aihub.identity import SignInReason
from aihub.language import Language
from aihub.messages import Names, sentence, stage
from aihub.parts import Contact, MeterGroup, Pill, contact, meter_groups
from aihub.policy import ProjectChoices
from aihub.projects import Person, Project, Role
from aihub.quota import Level
from aihub.signinwords import http_address, sign_in
from aihub.text import Text

__all__ = [
    "Chrome",
    "HomePage",
    "LogLine",
    "NotRunning",
    "PasswordPage",
    "Persona",
    "ProgressPage",
    "ProjectsPage",
    "Server",
    "ServerFacts",
    "ServerState",
    "SignInPage",
    "SignInProblem",
    "SignedOut",
    "SsoPage",
    "Stage",
    "StageFacts",
    "Started",
    "StoppedPage",
    "Stopping",
    "home_page",
    "persona_card",
    "progress_page",
    "projects_page",
    "sign_in_problem",
    "stopped_page",
]


@dataclass(frozen=True, slots=True)
class Chrome:
    """What stands around every page for one reader.

    `projects` shows the link to the project pages (instructors and admins), `admin` the one to the hub's admin page.
    `findings` are those of a policy file that is not in force (for admins only), `in_force_since` when the one in
    force was read. `evaluation` says, to admins, that the way of signing in is for evaluation only.

    The rest is for admins of a hub with single sign-on. `sign_in` shows the link to its status page. `groups_missing`
    are people whom the `provider` (its host) sent without any groups, in the claim `groups_claim`; with Keycloak,
    `keycloak_client` is the client that needs the mapper. `provider_down_since`: it has been silent since then.
    `sign_in_warnings` are checks that did not pass and what expires, in the English of the log.
    """

    projects: bool = False
    admin: bool = False
    findings: tuple[str, ...] = ()
    in_force_since: datetime | None = None
    announcements: tuple[Text, ...] = ()
    evaluation: bool = False
    sign_in: bool = False
    groups_missing: tuple[str, ...] = ()
    groups_claim: str = ""
    keycloak_client: str = ""
    provider: str = ""
    provider_down_since: datetime | None = None
    sign_in_warnings: tuple[str, ...] = ()


# --- sign-in, and servers that do not run ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Persona:
    """A local persona's card. `role`, for the picture, is "student", "instructor" or "admin"; `about` what they see."""

    name: str
    role: str
    title: str
    about: str


@dataclass(frozen=True, slots=True)
class SignInPage:
    """`action` is the form's address, `next` where the sign-in leads, `error` what went wrong the last time."""

    personas: tuple[Persona, ...]
    action: str
    next: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class PasswordPage:
    """Sign-in with a password: as `SignInPage`, and the name as it was typed the last time."""

    action: str
    next: str = ""
    name: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class SsoPage:
    """Sign-in at a provider. `action` is the address that leads there, `next` where the sign-in leads in the end.

    `provider` is the host that the reader is taken to, `title` what the operator calls its accounts ("your school
    account"), `contact` whom to ask, `error` what went wrong the last time.
    """

    action: str
    provider: str
    title: str = ""
    github: bool = False
    contact: str = ""
    next: str = ""
    error: str = ""

    @property
    def link(self) -> str:
        """The address of the button.

        A link, not a form: browsers that follow `form-action` would not let a form lead on to another site.
        """
        return f"{self.action}?{urlencode({'next': self.next})}" if self.next else self.action

    @property
    def ask(self) -> Contact | None:
        """Whom to ask."""
        return contact(self.contact)


@dataclass(frozen=True, slots=True)
class SignInProblem:
    """Nobody was signed in, and why: see `aihub.signinwords.SignInMessage` for the texts.

    `again` is the address of a new try, `retry_after` the seconds after which the page makes it by itself (None: it
    does not), `other` the address that signs in as somebody else. `public` is the address to open instead, empty
    unless that is the way on. `reference` is the id that stands in the log.
    """

    reason: SignInReason
    title: str
    text: str
    safe: str
    way: str
    steps: tuple[str, ...]
    admins: tuple[str, ...]
    again: str
    contact: Contact | None = None
    retry_after: int | None = None
    reference: str = ""
    other: str = ""
    public: str = ""


RETRY = 30
"""Seconds after which the page of a silent provider or database tries again when nothing else is known."""


def sign_in_problem(
    reason: SignInReason,
    parameters: Mapping[str, str | int],
    language: Language,
    *,
    again: str,
    provider: str = "",
    asked: str = "",
    reference: str = "",
    other: str = "",
) -> SignInProblem:
    """The page of a refused sign-in; `parameters` are those of `SignInRefused`.

    `provider` is the provider's host, `asked` whom the policy file names as contact, `other` an address that signs in
    as somebody else.
    """
    message = sign_in(reason, {"provider": provider, **parameters}, language)
    waits = reason in (SignInReason.PROVIDER_DOWN, SignInReason.STORE_UNAVAILABLE)
    public = str(parameters.get("public", "")) if reason is SignInReason.WRONG_ADDRESS else ""
    return SignInProblem(
        reason=reason,
        title=message.heading,
        text=message.text,
        safe=message.safe,
        way=message.way,
        steps=message.steps,
        admins=message.admins,
        again=again,
        contact=contact(asked),
        retry_after=_retry(parameters.get("retry_after")) if waits else None,
        reference=reference,
        other=other if reason is SignInReason.NOT_ALLOWED else "",
        public=public if http_address(public) else "",
    )


def _retry(asked: object) -> int:
    return min(max(asked, 5), 600) if isinstance(asked, int) else RETRY


@dataclass(frozen=True, slots=True)
class SignedOut:
    """Signed out of the hub; `at_provider` says whether of the `provider` (its host) too.

    `again` is the address of the sign-in page. `servers_stop` says that signing out stops the reader's servers.
    """

    provider: str
    at_provider: bool
    again: str
    servers_stop: bool = False


def persona_card(person: Person, title: str, projects: Iterable[Project], language: Language) -> Persona:
    """The card of `person`, called `title`: what they are in `projects`, which is what they will find."""
    roles: dict[Role, list[str]] = {}
    for project in sorted(projects, key=lambda each: (each.order, each.name)):
        role = project.role(person)
        if role is not None:
            roles.setdefault(role, []).append(language.text(project.display_name, project.name))
    picture = "admin" if person.admin else "instructor" if Role.INSTRUCTOR in roles else "student"
    return Persona(person.name, picture, title or person.name, _about(roles, language, admin=person.admin))


def _about(roles: Mapping[Role, Sequence[str]], language: Language, *, admin: bool) -> str:
    say, teaches, belongs = language.say, roles.get(Role.INSTRUCTOR), roles.get(Role.MEMBER)
    parts = [say("Sees every project.")] if admin else []
    if teaches:
        parts.append(say("Instructor of {projects}.", projects=language.joined(teaches)))
    if belongs:
        parts.append(say("Member of {projects}.", projects=language.joined(belongs)))
    return language.sentences(*parts) or say("Member of no project.")


@dataclass(frozen=True, slots=True)
class NotRunning:
    """A server that does not run. `start` is the address of the page that starts it."""

    server: str
    start: str


@dataclass(frozen=True, slots=True)
class Stopping:
    """A server that is stopping; the page asks again after `seconds`."""

    server: str
    seconds: int = 3


# --- home ------------------------------------------------------------------------------------------------------------


class ServerState(StrEnum):
    """What a server is doing."""

    RUNNING = "running"
    STARTING = "starting"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """A server as the hub knows it. `name` "" is the default one; names of things are in the reader's language.

    `url` opens it (running) or shows its start (starting), `start` is the page that starts it again. `stops_at` is
    when it will be stopped unless it is used, `must_stop_at` when even if it is, `leaves_at` when because its person is
    not in the project any more; `ended_at` and `refusal` tell how the last run ended.
    """

    name: str
    state: ServerState
    url: str = ""
    start: str = ""
    project: str = ""
    image: str = ""
    profile: str = ""
    since: datetime | None = None
    used_at: datetime | None = None
    stops_at: datetime | None = None
    must_stop_at: datetime | None = None
    leaves_at: datetime | None = None
    ended_at: datetime | None = None
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Server:
    """A server's entry. `what` is image and profile, `times` plain sentences, `warning` that it will stop soon.

    `removable`: it may be taken from the list.
    """

    name: str
    id: str
    title: str
    state: ServerState
    pill: Pill
    what: str
    project: str
    times: str
    warning: str
    reason: str
    url: str
    start: str
    removable: bool


@dataclass(frozen=True, slots=True)
class HomePage:
    """The reader's servers and quotas. `may_add`: the next start is one more server beside what runs."""

    user: str
    servers: tuple[Server, ...]
    may_add: bool
    meters: tuple[MeterGroup, ...]
    as_of: str
    as_of_iso: str
    notice: str = ""


SOON = timedelta(minutes=20)
"""A server that will be stopped within this time is shown with a warning."""


def home_page(
    user: str,
    servers: Sequence[ServerFacts],
    choices: Sequence[ProjectChoices],
    language: Language,
    *,
    now: datetime,
    may_add: bool,
    names: Names | None = None,
    notice: str = "",
) -> HomePage:
    """The home page of `user`. Quotas are those of `choices`, the projects the reader belongs to.

    The default server is left out while it was never started. Named ones are all there: the hub counts them.
    """
    known = [facts for facts in servers if facts.name or _was_started(facts)]
    return HomePage(
        user=user,
        servers=tuple(_server(facts, index, language, now, names) for index, facts in enumerate(known)),
        may_add=may_add,
        meters=meter_groups(choices, language, levels=(Level.MEMBER, Level.USER)),
        as_of=language.clock(now),
        as_of_iso=now.isoformat(),
        notice=notice,
    )


def _was_started(facts: ServerFacts) -> bool:
    return facts.state is not ServerState.STOPPED or bool(facts.project or facts.ended_at)


def _server(facts: ServerFacts, index: int, language: Language, now: datetime, names: Names | None) -> Server:
    ended = facts.refusal is not None and facts.state is ServerState.STOPPED
    return Server(
        name=facts.name,
        id=f"server-{index}",
        title=facts.name or language.say("Default server"),
        state=facts.state,
        pill=_server_pill(facts.state, language),
        what=language.listed(part for part in (facts.image, facts.profile) if part),
        project=language.say("in {project}", project=facts.project) if facts.project else "",
        times=_times(facts, language, now),
        warning=_stop_warning(facts, language, now),
        reason=sentence(facts.refusal, language, names).text if facts.refusal and ended else "",
        url=facts.url,
        start=facts.start,
        removable=bool(facts.name) and facts.state is ServerState.STOPPED,
    )


def _server_pill(state: ServerState, language: Language) -> Pill:
    pills = {
        ServerState.RUNNING: Pill("ok", language.say("Running")),
        ServerState.STARTING: Pill("wait", language.say("Starting")),
        ServerState.STOPPING: Pill("wait", language.say("Stopping")),
        ServerState.STOPPED: Pill("no", language.say("Stopped")),
    }
    return pills[state]


def _times(facts: ServerFacts, language: Language, now: datetime) -> str:
    say = language.say
    parts = []
    if facts.state is ServerState.STOPPED:
        if facts.ended_at:
            parts.append(say("Stopped {time}.", time=language.moment(facts.ended_at, now)))
        kept = say("Its files are kept, even when you remove it from this list.")
        parts.append(kept if facts.name else say("Its files are kept."))
    elif facts.since:
        since = language.moment(facts.since, now)
        idle = (now - facts.used_at).total_seconds() if facts.used_at else None
        if facts.state is not ServerState.RUNNING or idle is None:
            parts.append(say("Since {time}.", time=since))
        elif idle < 60:
            parts.append(say("Since {time}, in use.", time=since))
        else:
            parts.append(say("Since {time}, not used for {idle}.", time=since, idle=_minutes(idle, language)))
        if facts.stops_at and not facts.leaves_at and not _soon(facts, now):
            time = language.moment(facts.stops_at, now)
            unused = say("Will stop at {time} if it is not used.", time=time)
            parts.append(say("Will stop at {time}.", time=time) if _final(facts) else unused)
    return language.sentences(*parts)


def _minutes(seconds: float, language: Language) -> str:
    return language.duration(seconds // 60 * 60 if seconds >= 60 else seconds)


def _soon(facts: ServerFacts, now: datetime) -> bool:
    return facts.state is ServerState.RUNNING and facts.stops_at is not None and facts.stops_at - now <= SOON


def _final(facts: ServerFacts) -> bool:
    return facts.stops_at is not None and facts.must_stop_at is not None and facts.stops_at >= facts.must_stop_at


def _stop_warning(facts: ServerFacts, language: Language, now: datetime) -> str:
    if facts.leaves_at is not None and facts.state is ServerState.RUNNING:
        left = language.say("You are no longer in {project}.", project=facts.project)
        time = language.moment(facts.leaves_at, now)
        return language.sentences(left, language.say("This server stops at {time}. Save your work.", time=time))
    if not _soon(facts, now) or facts.stops_at is None:
        return ""
    time = language.moment(facts.stops_at, now)
    if _final(facts):
        return language.say("Will stop at {time}, when its longest time is over. Save your work.", time=time)
    return language.say("Will stop at {time}. Open it and run something to keep it.", time=time)


# --- a start on its way, and one that failed -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Started:
    """What a start was asked for; names are in the reader's language, `at` is when."""

    user: str
    server: str
    project: str = ""
    image: str = ""
    profile: str = ""
    size: str = ""
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StageFacts:
    """A stage of a start by its name (`aihub.messages.stage`): when it began and ended, and its usual seconds."""

    name: str
    began: datetime | None = None
    ended: datetime | None = None
    failed: bool = False
    usual: int | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage as shown. `state` is "done", "run", "bad" or "todo"."""

    name: str
    title: str
    state: str
    word: str


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of the log of a start; `at` may be unknown."""

    text: str
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ProgressPage:
    """A start on its way. `events` is the hub's event stream for it; without a script the page asks again."""

    started: Started
    title: str
    now: str
    stages: tuple[Stage, ...]
    passed: str
    asked_at: str
    log: tuple[str, ...]
    events: str
    seconds: int = 3


@dataclass(frozen=True, slots=True)
class StoppedPage:
    """A start that failed or was refused, or a server that died: what, what is safe, what now."""

    title: str
    lead: str
    started: Started
    what: str
    why: str
    safe: str
    way: str
    stages: tuple[Stage, ...]
    log: tuple[str, ...]
    asked_at: str
    start: str
    contact: Contact | None
    code: str
    error_id: str = ""


def progress_page(
    started: Started,
    stages: Sequence[StageFacts],
    log: Sequence[LogLine],
    language: Language,
    *,
    now: datetime,
    events: str,
) -> ProgressPage:
    """The page of a start on its way."""
    shown = _stages(stages, language, now)
    running = next((each for each in shown if each.state == "run"), None)
    passed = language.duration((now - started.at).total_seconds()) if started.at else ""
    return ProgressPage(
        started=started,
        title=_starting_title(started, language),
        now=running.title if running else language.say("The start has been asked for"),
        stages=shown,
        passed=language.say("{time} passed", time=passed) if passed else "",
        asked_at=language.moment(started.at, now) if started.at else "",
        log=_log(log, language),
        events=events,
    )


def _starting_title(started: Started, language: Language) -> str:
    if started.server:
        return language.say("Starting “{name}”", name=started.server)
    return language.say("Starting your server")


def _log(log: Sequence[LogLine], language: Language) -> tuple[str, ...]:
    return tuple(f"{language.clock(line.at)}  {line.text}" if line.at else line.text for line in log)


def _stages(stages: Sequence[StageFacts], language: Language, now: datetime) -> tuple[Stage, ...]:
    failed = any(facts.failed for facts in stages)
    return tuple(_stage(facts, language, now, failed=failed) for facts in stages)


def _stage(facts: StageFacts, language: Language, now: datetime, *, failed: bool) -> Stage:
    say, title = language.say, stage(facts.name, language)
    if facts.began is None:
        usual = language.duration(facts.usual) if facts.usual is not None else ""
        waiting = say("Waiting, usually {time}", time=usual) if usual else say("Waiting")
        return Stage(facts.name, title, "todo", say("Not reached") if failed else waiting)
    took = _took(((facts.ended or now) - facts.began).total_seconds(), language)
    if facts.failed:
        return Stage(facts.name, title, "bad", say("Failed, {time}", time=took))
    if facts.ended is not None:
        return Stage(facts.name, title, "done", say("Done, {time}", time=took))
    return Stage(facts.name, title, "run", say("Running, {time}", time=took))


def _took(seconds: float, language: Language) -> str:
    return language.duration(seconds) if seconds >= 1 else language.say("under 1 s")


def stopped_page(
    started: Started,
    refusal: Refusal,
    language: Language,
    *,
    now: datetime,
    start: str,
    stages: Sequence[StageFacts] = (),
    log: Sequence[LogLine] = (),
    names: Names | None = None,
) -> StoppedPage:
    """The page of a start that failed or was refused (`stages` says how far it came), or of a server that died.

    `start` is the page that starts it again. Log lines of the refusal follow those of `log`.
    """
    message = sentence(refusal, language, names)
    shown = _stages(stages, language, now)
    reached = next((index for index, each in enumerate(shown, start=1) if each.state == "bad"), None)
    lead = language.say("Nothing is running now.")
    if reached:
        stopped = language.say("It stopped at stage {number} of {all}.", number=reached, all=len(shown))
        lead = language.sentences(stopped, lead)
    error_id = refusal.parameters.get("id")
    return StoppedPage(
        title=_stopped_title(started, language),
        lead=lead,
        started=started,
        what=message.what,
        why=message.why,
        safe=language.say("Your files are kept, and your place in the quota is free again."),
        way=message.way,
        stages=shown,
        log=(*_log(log, language), *message.lines),
        asked_at=language.moment(started.at, now) if started.at else "",
        start=start,
        contact=contact(message.contact),
        code=refusal.reason.value,
        error_id=error_id if isinstance(error_id, str) else "",
    )


def _stopped_title(started: Started, language: Language) -> str:
    if started.server:
        return language.say("“{name}” is not running", name=started.server)
    return language.say("Your server is not running")


# --- the list of projects --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ProjectEntry:
    """A project that the reader teaches or, as an admin, sees."""

    id: str
    name: str
    about: str
    meters: tuple[MeterGroup, ...] = ()


@dataclass(frozen=True, slots=True)
class ProjectsPage:
    """The projects whose pages the reader may open."""

    projects: tuple[ProjectEntry, ...] = field(default=())


def projects_page(choices: Sequence[ProjectChoices], language: Language) -> ProjectsPage:
    """The list of `choices`: those that the reader teaches or administers."""
    return ProjectsPage(
        tuple(
            ProjectEntry(
                choice.project.name,
                language.text(choice.project.display_name, choice.project.name),
                language.text(choice.project.description),
                meter_groups([choice], language, levels=(Level.PROJECT,), prefix=f"q-{index}"),
            )
            for index, choice in enumerate(choices)
        )
    )
