"""The start page: what the policy decided about each choice becomes page data.

Page data is plain text in the reader's language; Jinja escapes it. Functions here take what the policy decided and
what the handlers know; they read no clock, file or network. `aihub.submission` has what stands in the form,
`aihub.pages` the other pages.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any

from aihub.capacity import Availability
from aihub.catalog import TagState
from aihub.errors import Parameter, Reason, Refusal
from aihub.language import Language
from aihub.messages import Message, Names, card_sentence, names_of, new_machine, room_text, sentence
from aihub.parts import (
    Contact,
    ErrorBox,
    MeterGroup,
    Pill,
    contact,
    error_box,
    idle_sentence,
    meter_groups,
    size_of,
)
from aihub.policy import ImageChoice, ProfileChoice, ProjectChoices, State, Verdict
from aihub.projects import Role
from aihub.submission import Note, NoteKind, Selection, note_sentence, retired, tag_shown

__all__ = [
    "Empty",
    "ImageCard",
    "ProfileCard",
    "Readiness",
    "Refused",
    "Situation",
    "SpawnPage",
    "availability",
    "spawn_page",
]


@dataclass(frozen=True, slots=True)
class ProjectLink:
    """A project to choose: `about` is its kind and the reader's role."""

    id: str
    name: str
    about: str
    current: bool


@dataclass(frozen=True, slots=True)
class TagOption:
    """A tag in the select of its image."""

    name: str
    label: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class ImageCard:
    """An image stream with its tags. `id` is that of the radio button; what varies by tag is of the chosen one."""

    id: str
    stream: str
    name: str
    description: str
    tags: tuple[TagOption, ...]
    software: tuple[str, ...]
    ready: str
    ready_icon: str
    pill: Pill | None
    why: str
    source: str
    default: bool
    chosen: bool
    unavailable: bool
    error: str = ""


@dataclass(frozen=True, slots=True)
class ProfileCard:
    """A profile. `why` is the reason where there is one, `about` the operator's text, `room` how many of it fit."""

    id: str
    name: str
    value: str
    size: str
    about: str
    pill: Pill
    why: str
    default: bool
    chosen: bool
    unavailable: bool
    contact: Contact | None = None
    error: str = ""
    room: str = ""


@dataclass(frozen=True, slots=True)
class CountOption:
    """An accelerator count that some profile opens; "" is the profile's own default."""

    value: str
    label: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class Empty:
    """Why there is nothing to choose. `kind` is "no-project", "no-image" or "no-profile"."""

    kind: str
    title: str
    text: str
    others: tuple[ProjectLink, ...] = ()
    contact: Contact | None = None


@dataclass(frozen=True, slots=True)
class SpawnPage:
    """The start page. `action` is where the form goes; `data` is what the script knows (see `availability`)."""

    action: str
    projects: tuple[ProjectLink, ...]
    project: str
    project_name: str
    notes: tuple[str, ...]
    may_reset: bool
    errors: ErrorBox | None
    empty: Empty | None
    images: tuple[ImageCard, ...]
    profiles: tuple[ProfileCard, ...]
    counts: tuple[CountOption, ...]
    count_error: str
    server_name: str
    server_name_error: str
    path: str
    for_user: str
    advanced_open: bool
    meters: tuple[MeterGroup, ...]
    as_of: str
    as_of_iso: str
    image_summary: str
    profile_summary: str
    size_summary: str
    pill: Pill | None
    idle: str
    launch: tuple[tuple[str, str], ...]
    data: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Readiness:
    """How soon an image can run. `seconds` is the usual wait, None when nobody knows."""

    ready: bool
    seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Situation:
    """What the policy does not know: when the facts were read, how soon images can run, and whom to ask otherwise.

    `readiness` is by "stream:tag"; `contact` is named where no project says whom to ask.
    """

    as_of: datetime
    readiness: Mapping[str, Readiness] = field(default_factory=lambda: MappingProxyType({}))
    contact: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """What a submit was answered with, and the id to quote."""

    refusals: tuple[Refusal, ...] = ()
    error_id: str = ""


def spawn_page(
    choices: Sequence[ProjectChoices],
    selected: Selection,
    language: Language,
    *,
    action: str,
    situation: Situation,
    refused: Refused = Refused(),
    notes: Sequence[Note] = (),
    for_user: str = "",
) -> SpawnPage:
    """The start page of a person who has `choices`, with `selected` in the form.

    `action` is the address of the form; `for_user` is somebody else for whom an admin starts.
    """
    names = names_of(choices, language)
    current = next((choice for choice in choices if choice.project.name == selected.project), None)
    sheet = _Sheet(language, names, selected, current, situation, refused.refusals)
    standing = [current.verdict.refusal] if current and current.verdict.refusal else []
    errors = error_box(refused.refusals or standing, language, names, sheet.targets(), refused.error_id)
    faults = {message.field for message in sheet.messages}
    image, profile = sheet.image, sheet.profile
    return SpawnPage(
        action=action,
        projects=tuple(_project_link(choice, selected.project, language) for choice in choices),
        project=selected.project,
        project_name=names.projects.get(selected.project, selected.project),
        notes=tuple(note_sentence(note, language, names) for note in notes),
        may_reset=any(note.kind in (NoteKind.FROM_LINK, NoteKind.FROM_LAST_START) for note in notes),
        errors=errors,
        empty=_empty(choices, current, language, names, situation.contact),
        images=sheet.image_cards(),
        profiles=sheet.profile_cards(),
        counts=sheet.count_options(),
        count_error=sheet.fault("acceleratorCount"),
        server_name=selected.server_name,
        server_name_error=sheet.fault("server-name"),
        path=selected.path,
        for_user=for_user,
        advanced_open=bool(faults & {"acceleratorCount", "server-name"}) or bool(selected.server_name),
        meters=meter_groups([current], language) if current else (),
        as_of=language.clock(situation.as_of),
        as_of_iso=situation.as_of.isoformat(),
        image_summary=names.images.get(image.reference, image.reference) if image else "",
        profile_summary=names.profiles.get(profile.profile.name, profile.profile.name) if profile else "",
        size_summary=size_of(profile.profile, sheet.count, language) if profile else "",
        pill=sheet.summary_pill(),
        idle=idle_sentence(current.project.idle, language) if current else "",
        launch=_launch_query(selected),
        data=availability(current, language, situation) if current else {},
    )


def availability(choices: ProjectChoices, language: Language, situation: Situation) -> dict[str, Any]:
    """What can be started in one project now, as JSON values: the page carries it and its script asks for it again.

    Images by "stream:tag", profiles by id with their verdicts by accelerator count; texts are in `language`.
    """
    sheet = _Sheet(language, names_of([choices], language), Selection(), choices, situation)
    return {
        "project": choices.project.name,
        "verdict": {
            "state": choices.verdict.state.value,
            "word": sheet.pill(choices.verdict.state).word,
            "why": sheet.reason(choices.verdict),
        },
        "asOf": situation.as_of.isoformat(),
        "asOfText": language.say("as of {time}", time=language.clock(situation.as_of)),
        "images": {choice.reference: sheet.image_data(choice) for choice in choices.images},
        "profiles": {choice.profile.name: sheet.profile_data(choice) for choice in choices.profiles},
        "meters": {
            meter.id: {"text": meter.text, "value": meter.value, "max": meter.maximum}
            for group in meter_groups([choices], language)
            for meter in group.meters
        },
    }


def _project_link(choice: ProjectChoices, current: str, language: Language) -> ProjectLink:
    project = choice.project
    return ProjectLink(
        project.name,
        language.text(project.display_name, project.name),
        language.say("{kind}, {role}", kind=_kind(project.kind, language), role=_role(choice.role, language)),
        project.name == current,
    )


def _kind(kind: str, language: Language) -> str:
    words = {"course": language.say("Course"), "lab": language.say("Lab")}
    return words.get(kind, language.say("Project"))


def _role(role: Role, language: Language) -> str:
    words = {
        Role.MEMBER: language.say("you are a member"),
        Role.INSTRUCTOR: language.say("you are an instructor"),
        Role.ADMIN: language.say("seen as an admin"),
    }
    return words[role]


def _launch_query(selected: Selection) -> tuple[tuple[str, str], ...]:
    pairs = (("image", selected.image), ("profile", selected.profile), ("path", selected.path))
    return tuple((key, value) for key, value in pairs if value)


def _empty(
    choices: Sequence[ProjectChoices], current: ProjectChoices | None, language: Language, names: Names, ask: str
) -> Empty | None:
    say = language.say
    if current is None and choices:
        return None
    if current is None:
        text = say(
            "You are signed in, but you belong to no course or lab here. "
            "Ask your instructor to add you, then sign in again."
        )
        return Empty("no-project", say("You are in no project yet"), text, contact=contact(ask))
    project = names.projects[current.project.name]
    others = tuple(_project_link(each, "", language) for each in choices if each is not current)
    asked = contact(names.contacts.get(current.project.name) or ask)
    if all(retired(each) for each in current.images):
        title = say("{project} offers no image", project=project)
        return Empty("no-image", title, say("Without an image there is nothing to start."), others, asked)
    if not current.profiles:
        title = say("{project} offers you no profile", project=project)
        return Empty("no-profile", title, say("Without a profile nothing says how large the server is."), others, asked)
    return None


def _slug(name: str, index: int) -> str:
    return name if re.fullmatch("[A-Za-z0-9_.-]+", name, re.ASCII) else f"no-{index}"


def _free_now(verdict: Verdict, room: Availability | None) -> bool:
    """Whether a machine with room is known, so that nothing but the image is waited for."""
    return verdict.state is State.OK and not verdict.pool and (room is None or room.as_of is not None)


@dataclass(frozen=True, slots=True)
class _Sheet:
    """One rendering of the start page: what its cards have in common."""

    language: Language
    names: Names
    selected: Selection
    current: ProjectChoices | None
    situation: Situation
    refusals: tuple[Refusal, ...] = ()

    @property
    def image(self) -> ImageChoice | None:
        return self.current.image(self.selected.image) if self.current else None

    @property
    def profile(self) -> ProfileChoice | None:
        return self.current.profile(self.selected.profile) if self.current else None

    @property
    def count(self) -> int:
        asked = self.selected.accelerator_count
        if self.profile is None:
            return 0
        return asked if asked is not None and asked in self.profile.verdicts else self.profile.profile.counts()[0]

    @property
    def messages(self) -> list[Message]:
        return [sentence(refusal, self.language, self.names) for refusal in self.refusals]

    def fault(self, field_name: str) -> str:
        """What is wrong with a field, for the place where it stands."""
        said = [message for message in self.messages if message.field == field_name]
        return self.language.sentences(*(part for message in said for part in (message.why, message.way)))

    def targets(self) -> dict[str, str]:
        """Where the links of the error box lead."""
        images, profiles = self.image_cards(), self.profile_cards()
        image = next((card for card in images if card.chosen), next(iter(images), None))
        profile = next((card for card in profiles if card.chosen), next(iter(profiles), None))
        found = {"acceleratorCount": "accelerator-count", "server-name": "server-name"}
        if self.current:
            found["project"] = "projects"
        if image:
            found["image"] = image.id
        if profile:
            found["profile"] = profile.id
        return found

    # --- verdicts in words ---

    def profile_pill(self, verdict: Verdict, room: Availability | None) -> Pill:
        """The pill of a profile: it says "Free now" only where a machine with room is known."""
        if verdict.pool:
            return Pill(verdict.state.value, self.language.say("On a new machine"))
        if verdict.state is State.OK and room is not None and room.as_of is None:
            return Pill(verdict.state.value, self.language.say("Can be started"))
        return self.pill(verdict.state)

    def pill(self, state: State) -> Pill:
        words = {
            State.OK: self.language.say("Free now"),
            State.WAIT: self.language.say("Wait"),
            State.NO: self.language.say("Not available"),
        }
        return Pill(state.value, words[state])

    def reason(self, verdict: Verdict) -> str:
        if verdict.refusal is None:
            return new_machine(verdict, self.language)
        why = card_sentence(verdict.refusal, self.language, self.names)
        if verdict.refusal.reason is Reason.NO_CAPACITY:
            return self.language.say(
                "{reason} As of {time}.", reason=why, time=self.language.clock(self.situation.as_of)
            )
        return why

    def ready_text(self, reference: str) -> str:
        known, say = self.situation.readiness.get(reference), self.language.say
        if known is None:
            return ""
        wait = self.language.duration(known.seconds) if known.seconds is not None else ""
        if known.ready:
            return say("Prepared here, ready in about {time}", time=wait) if wait else say("Prepared here")
        if wait:
            return say("Prepared at the first start, about {time}", time=wait)
        return say("Prepared at the first start, which takes longer")

    def summary_pill(self) -> Pill | None:
        """The verdict on the whole selection; None while the image or the profile stands for nothing."""
        if self.current is None or self.image is None or self.profile is None:
            return None
        verdict = self.current.combined(self.image, self.profile, self.count)
        known = self.situation.readiness.get(self.image.reference)
        room = self.profile.room.get(self.count)
        if _free_now(verdict, room) and known and known.seconds is not None:
            time = self.language.duration(known.seconds)
            return Pill("ok", self.language.say("Ready in about {time}", time=time))
        return self.profile_pill(verdict, room)

    # --- cards ---

    def image_cards(self) -> tuple[ImageCard, ...]:
        streams: dict[str, list[ImageChoice]] = {}
        for choice in self.current.images if self.current else ():
            # What was chosen stays after a refusal, retired or not.
            if not retired(choice) or choice.reference == self.selected.image:
                streams.setdefault(choice.stream.name, []).append(choice)
        return tuple(self._image_card(choices, index) for index, choices in enumerate(streams.values()))

    def _image_card(self, choices: list[ImageChoice], index: int) -> ImageCard:
        chosen = self.selected.image.partition(":")[0] == choices[0].stream.name
        choice = tag_shown(choices, self.selected.image)
        data = self.image_data(choice)
        stream = choice.stream
        return ImageCard(
            id=f"image-{_slug(stream.name, index)}",
            stream=stream.name,
            name=self.language.text(stream.display_name, stream.name),
            description=self.language.text(stream.description),
            tags=tuple(self._tag_option(each, each is choice) for each in choices),
            software=tuple(data["software"]),
            ready=data["ready"],
            ready_icon=data["readyIcon"],
            pill=self.pill(choice.verdict.state) if choice.verdict.state is not State.OK else None,
            why=data["why"],
            source=stream.source_url if re.match("https?://", stream.source_url) else "",
            default=any(each.default for each in choices),
            chosen=chosen,
            unavailable=choice.verdict.state is State.NO,
            error=self.fault("image") if chosen else "",
        )

    def _tag_option(self, choice: ImageChoice, chosen: bool) -> TagOption:
        tag = choice.tag
        label = tag.name
        if choice.default:
            label = self.language.say("{tag} (default)", tag=tag.name)
        elif retired(choice) or tag.state is TagState.RETIRED:
            label = self.language.say("{tag} (retired)", tag=tag.name)
        elif tag.outdated:
            label = self.language.say("{tag} (old)", tag=tag.name)
        return TagOption(tag.name, label, chosen)

    def image_data(self, choice: ImageChoice) -> dict[str, Any]:
        """A tag for the script: the words that change with the choice of a tag."""
        known = self.situation.readiness.get(choice.reference)
        state = choice.verdict.state
        return {
            "name": self.names.images.get(choice.reference, choice.reference),
            "state": state.value,
            "word": "" if state is State.OK else self.pill(state).word,
            "why": self.reason(choice.verdict),
            "software": [f"{each.name} {each.version}".strip() for each in choice.tag.software],
            "ready": self.ready_text(choice.reference),
            "readyIcon": "ok" if known and known.ready else "wait",
            "summary": (
                self.language.say("Ready in about {time}", time=self.language.duration(known.seconds))
                if known and known.seconds is not None
                else self.pill(State.OK).word
            ),
        }

    def profile_cards(self) -> tuple[ProfileCard, ...]:
        return tuple(
            self._profile_card(choice, index)
            for index, choice in enumerate(self.current.profiles if self.current else ())
            if not choice.profile.retired or choice.profile.name == self.selected.profile
        )

    def _profile_card(self, choice: ProfileChoice, index: int) -> ProfileCard:
        profile, chosen = choice.profile, choice.profile.name == self.selected.profile
        count = self.count if chosen else profile.counts()[0]
        verdict = self._with_image(choice, count)
        text = self.language.text
        shared = text(profile.accelerator.shared) if profile.accelerator else ""
        return ProfileCard(
            id=f"profile-{_slug(profile.name, index)}",
            name=text(profile.display_name, profile.name),
            value=profile.name,
            size=size_of(profile, count, self.language),
            about=self.language.sentences(text(profile.description), shared),
            pill=self.profile_pill(verdict, choice.room.get(count)),
            why=self.reason(verdict),
            default=choice.default,
            chosen=chosen,
            unavailable=verdict.state is State.NO,
            contact=contact(self.names.contacts.get(self.selected.project, "")) if verdict.state is State.NO else None,
            error=self.fault("profile") if chosen else "",
            room=self.room(choice, count),
        )

    def room(self, choice: ProfileChoice, count: int) -> str:
        """How many servers of a profile fit, in words."""
        known = choice.room.get(count)
        return room_text(known, self.situation.as_of, self.language) if known else ""

    def _with_image(self, choice: ProfileChoice, count: int) -> Verdict:
        """The verdict of the profile; that it does not suit the chosen image comes first, as in the policy's rules."""
        if self.image is not None and self.image.reference in choice.unfit and not choice.profile.retired:
            refusal = self._unfit_refusal(choice, self.image)
            return Verdict(State.NO, refusal)
        return choice.verdicts[count]

    def _unfit_refusal(self, choice: ProfileChoice, image: ImageChoice) -> Refusal:
        key = choice.profile.accelerator.resource if choice.profile.accelerator else ""
        parameters: dict[str, Parameter] = {
            "profile": choice.profile.name,
            "image": image.reference,
            "key": key,
            "suits": tuple(image.stream.accelerators),
        }
        return Refusal(Reason.PROFILE_UNFIT, parameters)

    def profile_data(self, choice: ProfileChoice) -> dict[str, Any]:
        """A profile for the script: its verdict by count, and what it says for images that it does not suit."""
        images = self.current.images if self.current else ()
        unfit = {
            each.reference: card_sentence(self._unfit_refusal(choice, each), self.language, self.names)
            for each in images
            if each.reference in choice.unfit
        }
        return {
            "name": self.names.profiles.get(choice.profile.name, choice.profile.name),
            "default": choice.profile.counts()[0],
            "counts": {
                str(count): {
                    "state": verdict.state.value,
                    "word": self.profile_pill(verdict, choice.room.get(count)).word,
                    "why": self.reason(verdict),
                    "size": size_of(choice.profile, count, self.language),
                    "room": self.room(choice, count),
                    "free": _free_now(verdict, choice.room.get(count)),
                }
                for count, verdict in choice.verdicts.items()
            },
            "unfit": unfit,
            "no": self.pill(State.NO).word,
        }

    def count_options(self) -> tuple[CountOption, ...]:
        """The counts that any profile opens. None at all where no profile leaves a choice."""
        offered = self.current.profiles if self.current else ()
        counts = sorted({count for choice in offered if len(choice.verdicts) > 1 for count in choice.verdicts})
        if not counts:
            return ()
        asked = self.selected.accelerator_count
        default = CountOption("", self.language.say("As the profile says"), asked is None)
        return (default, *(CountOption(str(count), str(count), count == asked) for count in counts))
