"""Page data of a project's own page, where instructors pick its images and see what runs.

Rows are the tags that the admins let the project use; what the instructors decided of them is a fact of its own
(`aihub.projects.Decisions`). A change is asked for by a button, confirmed in a box where it needs more words, and
refused when the page was older than the last change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from aihub.catalog import TagState
from aihub.errors import Reason
from aihub.language import Language
from aihub.messages import amount
from aihub.parts import Contact, Meter, Pill, contact, meter_groups
from aihub.policy import Policy, ProjectChoices, default_image
from aihub.projects import Decisions, Project, Role
from aihub.quota import Level
from aihub.resources import format_amount, sort_keys

__all__ = [
    "Action",
    "Asked",
    "ChangeFacts",
    "CourseFacts",
    "ProjectPage",
    "Rejection",
    "RunningFacts",
    "parse_action",
    "project_page",
]


class Action(StrEnum):
    """What an instructor may do with a tag."""

    OFFER = "offer"
    HIDE = "hide"
    DEFAULT = "default"
    RETIRE = "retire"


@dataclass(frozen=True, slots=True)
class Asked:
    """An action on "stream:tag", as a button names it. `successor` and `message` go with RETIRE."""

    action: Action
    image: str
    successor: str = ""
    message: str = ""


def parse_action(text: str) -> Asked | None:
    """What the value of a button means ("hide pytorch:2.9"); None for anything else."""
    word, _, image = text.partition(" ")
    if word not in list(Action) or not image:
        return None
    return Asked(Action(word), image)


class Rejection(StrEnum):
    """Why a change was not made."""

    CHANGED = "changed"
    """Somebody else changed the images after this page was loaded."""
    IS_DEFAULT = "is-default"
    NOT_ALLOWED = "not-allowed"
    """The admins do not let the project use the image (any more)."""
    BAD_SUCCESSOR = "bad-successor"
    NOT_STARTABLE = "not-startable"


@dataclass(frozen=True, slots=True)
class RunningFacts:
    """A member's running server; `image` and `profile` are ids, `server` "" is the default one."""

    user: str
    server: str
    image: str
    profile: str
    since: datetime | None = None
    used_at: datetime | None = None
    stops_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class DeathFacts:
    """A member's server that ended by itself: when, and why."""

    user: str
    server: str
    at: datetime
    why: str


@dataclass(frozen=True, slots=True)
class ChangeFacts:
    """A change that instructors made. `before` is the image that was the default before a DEFAULT."""

    id: str
    at: datetime
    by: str
    action: Action
    image: str
    before: str = ""
    successor: str = ""
    undoes: bool = False
    may_undo: bool = True


@dataclass(frozen=True, slots=True)
class CourseFacts:
    """What the project page shows beside policy and decisions.

    `reader` is a user name, `launch` and `badge` are whole addresses (https://…), `usage_known` tells whether the
    use of the quota is. `confirm` is a change that waits to be confirmed, `rejected` why the last one was not made,
    `notice` a sentence on what was done. `by_groups`: the project exists because of the groups of its people.
    """

    now: datetime
    reader: str
    launch: str
    badge: str
    running: tuple[RunningFacts, ...] = ()
    changes: tuple[ChangeFacts, ...] = ()
    failures: Mapping[str, str] = field(default_factory=dict)
    confirm: Asked | None = None
    rejected: Rejection | None = None
    notice: str = ""
    deaths: tuple[DeathFacts, ...] = ()
    by_groups: bool = False


# --- what the template shows -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Button:
    """A button of a row. `held` buttons do nothing and say why under the table."""

    value: str
    text: str
    held: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A tag that the project may use."""

    image: str
    name: str
    tag: str
    pill: Pill
    remark: str
    running: str
    failure: str
    buttons: tuple[Button, ...]


@dataclass(frozen=True, slots=True)
class Stream:
    """The rows of an image stream."""

    name: str
    source: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Confirm:
    """The box that asks before a change that students notice. `successors` are ids and names to choose from."""

    value: str
    title: str
    button: str
    sees: tuple[str, ...]
    stays: tuple[str, ...]
    retire: bool
    successors: tuple[tuple[str, str], ...] = ()
    successor: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class RunningRow:
    """A running server of a member."""

    user: str
    server: str
    server_name: str
    image: str
    profile: str
    since: str
    idle: str
    stops: str


@dataclass(frozen=True, slots=True)
class DeathRow:
    """A server of a member that ended by itself."""

    user: str
    server_name: str
    at: str
    at_iso: str
    why: str


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """A line of the history."""

    id: str
    at: str
    at_iso: str
    text: str
    by: str
    may_undo: bool


@dataclass(frozen=True, slots=True)
class ProjectPage:
    """A project for those who teach or administer it. `version` is that of the decisions the page was made from."""

    id: str
    name: str
    lead: str
    description: str
    version: int
    may_change: bool
    streams: tuple[Stream, ...]
    confirm: Confirm | None
    problem: str
    notice: str
    withdrawn: str
    running: tuple[RunningRow, ...]
    deaths: tuple[DeathRow, ...]
    meters: tuple[Meter, ...]
    each_member: str
    contact: Contact | None
    launch: str
    badge: str
    history: tuple[ChangeRow, ...]
    as_of: str
    as_of_iso: str
    by_groups: str = ""


def project_page(
    policy: Policy, choices: ProjectChoices, decisions: Decisions, facts: CourseFacts, language: Language
) -> ProjectPage:
    """The page of the project that `choices` are of, as its instructor or an admin sees it."""
    desk = _Desk(policy, choices, decisions, facts, language)
    project = choices.project
    start_in = language.say("Start in AIHub")
    meters = meter_groups([choices], language, levels=(Level.PROJECT,), prefix="quota")
    return ProjectPage(
        id=project.name,
        name=language.text(project.display_name, project.name),
        lead=desk.lead(),
        description=language.text(project.description),
        version=decisions.version,
        may_change=not project.archived,
        streams=desk.streams(),
        confirm=desk.confirm(),
        problem=desk.problem(),
        notice=facts.notice,
        withdrawn=desk.withdrawn(),
        running=tuple(desk.running(each) for each in facts.running),
        deaths=tuple(desk.death(each) for each in facts.deaths),
        meters=tuple(meter for group in meters for meter in group.meters),
        each_member=desk.each_member(),
        contact=contact(language.text(project.contact)),
        launch=facts.launch,
        badge=f"[![{start_in}]({facts.badge})]({facts.launch})",
        history=tuple(desk.change(each) for each in facts.changes),
        as_of=language.clock(facts.now),
        as_of_iso=facts.now.isoformat(),
        by_groups=_by_groups(project, language) if facts.by_groups else "",
    )


def _by_groups(project: Project, language: Language) -> str:
    """That groups made the project, and which of them are what in it."""
    members, instructors = language.listed(project.members.groups), language.listed(project.instructors.groups)
    who = language.say("Who is in {members} is a member.", members=members)
    teach = language.say("Who is in {instructors} is an instructor.", instructors=instructors) if instructors else ""
    kept = language.say("People are added to these groups at the sign-in service, not here.")
    return language.sentences(language.say("This project was made by groups."), who, teach, kept)


@dataclass(frozen=True, slots=True)
class _Desk:
    """What the parts of the page have in common."""

    policy: Policy
    choices: ProjectChoices
    decisions: Decisions
    facts: CourseFacts
    language: Language

    @property
    def default(self) -> str | None:
        return default_image(self.policy, self.choices.project, self.decisions)

    def allowed(self) -> list[str]:
        """Every "stream:tag" that the admins let the project use."""
        return [each for each in self.policy.catalog.among(self.choices.project.images.id_set) if self._allows(each)]

    def _allows(self, reference: str) -> bool:
        found = self.policy.catalog.find(reference)
        if found is None or not found[0].offered or found[1].state is TagState.HIDDEN:
            return False
        return self.choices.project.images.includes_image(reference)

    def name(self, reference: str) -> str:
        """The name of "pytorch:2.9": "PyTorch 2.9"."""
        found = self.policy.catalog.find(reference)
        if found is None:
            return reference
        return f"{self.language.text(found[0].display_name, found[0].name)} {found[1].name}"

    def state(self, reference: str) -> TagState:
        """What admin and instructors together say of a tag."""
        found = self.policy.catalog.find(reference)
        decision = self.decisions.images.get(reference)
        if decision is not None and decision.state is not TagState.OFFERED:
            return decision.state
        return found[1].state if found is not None else TagState.HIDDEN

    # --- the head ---

    def lead(self) -> str:
        say, kind = self.language.say, self.choices.project.kind
        if self.choices.project.archived:
            return say("Archived: it starts nothing, and its files are kept.")
        if self.choices.role is Role.ADMIN:
            return say("You see it as an admin.")
        words = {"course": say("Course. You are an instructor."), "lab": say("Lab. You are an instructor.")}
        return words.get(kind, say("Project. You are an instructor."))

    def problem(self) -> str:
        if self.facts.rejected is None:
            return ""
        say = self.language.say
        last = next(iter(self.facts.changes), None)
        changed = say("Somebody else changed the images after you had opened this page.")
        if last is not None and last.by != self.facts.reader:
            time = self.language.moment(last.at, self.facts.now)
            changed = say(
                "{user} changed the images at {time}, after you had opened this page.", user=last.by, time=time
            )
        words = {
            Rejection.CHANGED: changed,
            Rejection.IS_DEFAULT: say("The default cannot be hidden or retired. Set another default first."),
            Rejection.NOT_ALLOWED: say("The admins do not let this project use that image."),
            Rejection.BAD_SUCCESSOR: say("A successor is another image that is offered here."),
            Rejection.NOT_STARTABLE: say("An image that cannot be started here cannot be the default."),
        }
        return words[self.facts.rejected]

    def withdrawn(self) -> str:
        decided = {*self.decisions.images, *([self.decisions.default] if self.decisions.default else [])}
        gone = sorted(reference for reference in decided if not self._allows(reference))
        if not gone:
            return ""
        names = self.language.listed(self.name(reference) for reference in gone)
        return self.language.say(
            "Withdrawn by the admins, so your decisions on them have no effect: {images}", images=names
        )

    # --- images ---

    def streams(self) -> tuple[Stream, ...]:
        grouped: dict[str, list[str]] = {}
        for reference in self.allowed():
            grouped.setdefault(reference.partition(":")[0], []).append(reference)
        return tuple(self._stream(name, references) for name, references in grouped.items())

    def _stream(self, name: str, references: list[str]) -> Stream:
        stream = self.policy.catalog.streams[name]
        source = stream.source_url if stream.source_url.startswith(("https://", "http://")) else ""
        return Stream(
            self.language.text(stream.display_name, name), source, tuple(self._row(each) for each in references)
        )

    def _row(self, reference: str) -> Row:
        running = sum(1 for each in self.facts.running if each.image == reference)
        return Row(
            image=reference,
            name=self.name(reference),
            tag=reference.partition(":")[2],
            pill=self._pill(reference),
            remark=self._remark(reference),
            running=str(running),
            failure=self.facts.failures.get(reference, ""),
            buttons=self._buttons(reference),
        )

    def _pill(self, reference: str) -> Pill:
        say = self.language.say
        if reference == self.default:
            return Pill("info", say("Default"), "default")
        pills = {
            TagState.OFFERED: Pill("ok", say("Offered")),
            TagState.HIDDEN: Pill("no", say("Hidden")),
            TagState.RETIRED: Pill("no", say("Retired")),
        }
        return pills[self.state(reference)]

    def _remark(self, reference: str) -> str:
        say = self.language.say
        choice = self.choices.image(reference)
        if choice is not None and choice.successor:
            return say("next is {image}", image=self.name(choice.successor))
        refusal = choice.verdict.refusal if choice is not None else None
        if refusal is not None and refusal.reason is Reason.IMAGE_UNRESOLVED:
            return say("is being looked up") if refusal.parameters.get("waiting") else say("cannot be started here")
        found = self.policy.catalog.find(reference)
        if found is not None and found[1].state is TagState.RETIRED:
            return say("by the admins")
        return ""

    def _buttons(self, reference: str) -> tuple[Button, ...]:
        say = self.language.say
        found = self.policy.catalog.find(reference)
        if self.choices.project.archived or (found is not None and found[1].state is TagState.RETIRED):
            return ()
        default = Button(f"{Action.DEFAULT} {reference}", say("Set default…"))
        hide = Button(f"{Action.HIDE} {reference}", say("Hide"), held=reference == self.default)
        retire = Button(f"{Action.RETIRE} {reference}", say("Retire…"), held=reference == self.default)
        if reference == self.default:
            return (hide, retire)
        buttons = {
            TagState.OFFERED: (default, hide, retire),
            TagState.HIDDEN: (Button(f"{Action.OFFER} {reference}", say("Offer")), retire),
            TagState.RETIRED: (Button(f"{Action.OFFER} {reference}", say("Offer again")),),
        }
        return buttons[self.state(reference)]

    def confirm(self) -> Confirm | None:
        asked = self.facts.confirm
        if asked is None:
            return None
        value, name = f"{asked.action} {asked.image}", self.name(asked.image)
        if asked.action is Action.RETIRE:
            return self._confirm_retire(asked, value, name)
        return self._confirm_default(value, name)

    def _running_stay(self, reference: str) -> list[str]:
        running = sum(1 for each in self.facts.running if each.image == reference)
        if not running:
            return []
        return [
            self.language.say_n(
                "{n} running server keeps {image} until it stops.",
                "{n} running servers keep {image} until they stop.",
                running,
                image=self.name(reference),
            )
        ]

    def _confirm_default(self, value: str, name: str) -> Confirm:
        say, before = self.language.say, self.default
        sees = [say("{image} is filled in when a student has chosen nothing else.", image=name)]
        stays = [say("Students who chose another image keep it.")]
        if before:
            sees.append(say("{image} stays on the list.", image=self.name(before)))
            stays = [*self._running_stay(before), *stays]
        title = say("Make {image} the default?", image=name)
        return Confirm(value, title, say("Set default"), tuple(sees), tuple(stays), retire=False)

    def _confirm_retire(self, asked: Asked, value: str, name: str) -> Confirm:
        say = self.language.say
        offered = [each for each in self.allowed() if each != asked.image and self.state(each) is TagState.OFFERED]
        sees = (
            say("{image} is no longer on the list.", image=name),
            say("Who used it last finds its successor filled in, with your message."),
        )
        stays = (*self._running_stay(asked.image), say("Nobody’s files change."))
        return Confirm(
            value=value,
            title=say("Retire {image}?", image=name),
            button=say("Retire"),
            sees=sees,
            stays=stays,
            retire=True,
            successors=tuple((each, self.name(each)) for each in offered),
            successor=asked.successor or self.default or "",
            message=asked.message,
        )

    # --- servers, quota, history ---

    def running(self, facts: RunningFacts) -> RunningRow:
        """A running server in words."""
        now, say = self.facts.now, self.language.say
        idle = (now - facts.used_at).total_seconds() if facts.used_at else 0
        profile = self.policy.profiles.get(facts.profile)
        stops = self.language.moment(facts.stops_at, now) if facts.stops_at else ""
        return RunningRow(
            user=facts.user,
            server=facts.server,
            server_name=facts.server or say("default"),
            image=self.name(facts.image),
            profile=self.language.text(profile.display_name, facts.profile) if profile else facts.profile,
            since=self.language.moment(facts.since, now) if facts.since else "",
            idle=self.language.duration(idle // 60 * 60) if idle >= 60 else say("In use"),
            stops=say("stops at {time}", time=stops) if stops else "",
        )

    def death(self, facts: DeathFacts) -> DeathRow:
        """A server that ended by itself, in words."""
        return DeathRow(
            user=facts.user,
            server_name=facts.server or self.language.say("default"),
            at=self.language.moment(facts.at, self.facts.now),
            at_iso=facts.at.isoformat(),
            why=facts.why,
        )

    def each_member(self) -> str:
        quota = self.choices.quotas.member
        if not quota:
            return ""
        amounts = self.language.listed(
            amount(key, format_amount(key, quota[key]), self.language) for key in sort_keys(quota)
        )
        return self.language.say("Each member: {amounts}. These limits are set by the admins.", amounts=amounts)

    def change(self, facts: ChangeFacts) -> ChangeRow:
        """A line of the history in words."""
        say = self.language.say
        return ChangeRow(
            id=facts.id,
            at=self.language.moment(facts.at, self.facts.now),
            at_iso=facts.at.isoformat(),
            text=self._change_text(facts),
            by=say("by you") if facts.by == self.facts.reader else say("by {user}", user=facts.by),
            may_undo=facts.may_undo and not self.choices.project.archived,
        )

    def _change_text(self, facts: ChangeFacts) -> str:
        say, image = self.language.say, self.name(facts.image)
        retired = say("{image} retired", image=image)
        default = say("{image} made the default", image=image)
        if facts.successor:
            retired = say("{image} retired, next is {successor}", image=image, successor=self.name(facts.successor))
        if facts.before:
            default = say("{image} made the default, before {before}", image=image, before=self.name(facts.before))
        words = {
            Action.OFFER: say("{image} offered", image=image),
            Action.HIDE: say("{image} hidden", image=image),
            Action.DEFAULT: default,
            Action.RETIRE: retired,
        }
        return say("Undone: {change}", change=words[facts.action]) if facts.undoes else words[facts.action]
