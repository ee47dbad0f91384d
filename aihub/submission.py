"""What stands in the start form: read from its fields, or filled in before anybody has submitted it.

The form posts `project`, `image` (a stream), `tag-<stream>`, `profile`, `accelerator-count`, `server-name`, `path`.
Nothing here is an authority on what may start: ids are judged by `aihub.options` and `aihub.policy`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from aihub.errors import Reason
from aihub.language import Language
from aihub.messages import Names
from aihub.policy import ImageChoice, ProfileChoice, ProjectChoices, State

__all__ = [
    "Note",
    "NoteKind",
    "Remembered",
    "Selection",
    "Submitted",
    "note_sentence",
    "options_from_fields",
    "preselect",
    "retired",
    "tag_shown",
]


@dataclass(frozen=True, slots=True)
class Selection:
    """What stands in the form: ids as submitted, remembered, linked or default. May name what is not offered.

    `image` is "stream:tag"; a link may also name a stream alone. `path` is opened in JupyterLab after the start.
    """

    project: str = ""
    image: str = ""
    profile: str = ""
    accelerator_count: int | None = None
    server_name: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class Submitted:
    """What a form held. `options` is for `aihub.options.parse_options`, which judges it; the rest is not an option."""

    options: Mapping[str, Any]
    server_name: str = ""
    path: str = ""

    def selection(self) -> Selection:
        """The same as it stands in the form again after a refusal."""
        texts = {key: value if isinstance(value, str) else "" for key, value in self.options.items()}
        count = self.options.get("acceleratorCount")
        return Selection(
            project=texts.get("project", ""),
            image=texts.get("image", ""),
            profile=texts.get("profile", ""),
            accelerator_count=count if isinstance(count, int) else None,
            server_name=self.server_name,
            path=self.path,
        )


_COUNT = re.compile("[0-9]{1,4}", re.ASCII)


def options_from_fields(fields: Mapping[str, Sequence[str]]) -> Submitted:
    """The user options in the fields of a start form.

    Nothing is judged or mended here: a field that is given twice stays a list and a count that is no number stays
    text, so that `parse_options` refuses them. A field that is absent, or an empty count, means the default. Other
    fields are left out.
    """
    options: dict[str, Any] = {key: _one(fields[key]) for key in ("project", "profile") if fields.get(key)}
    if fields.get("image"):
        options["image"] = _image_of(_one(fields["image"]), fields)
    count = _one(fields.get("accelerator-count", ()))
    if count != "":
        options["acceleratorCount"] = int(count) if isinstance(count, str) and _COUNT.fullmatch(count) else count
    return Submitted(options, _text(fields.get("server-name", ())), _text(fields.get("path", ())))


def _one(values: Sequence[str]) -> str | list[str]:
    if len(values) > 1:
        return list(values)
    return values[0] if values else ""


def _text(values: Sequence[str]) -> str:
    return values[-1].strip() if values else ""


def _image_of(stream: str | list[str], fields: Mapping[str, Sequence[str]]) -> str | list[str]:
    """The radio button names the stream, the select beside it the tag."""
    if isinstance(stream, list) or ":" in stream:
        return stream
    tag = _one(fields.get(f"tag-{stream}", ()))
    if isinstance(tag, list):
        return tag
    return f"{stream}:{tag}" if tag else stream


# --- what stands in the form first -----------------------------------------------------------------------------------


class NoteKind(StrEnum):
    """Why something stands in the form, or no longer does."""

    FROM_LINK = "from-link"
    FROM_LAST_START = "from-last-start"
    PROJECT_GONE = "project-gone"
    IMAGE_RETIRED = "image-retired"
    IMAGE_GONE = "image-gone"
    PROFILE_GONE = "profile-gone"
    COUNT_GONE = "count-gone"


@dataclass(frozen=True, slots=True)
class Note:
    """A remark on the selection: `asked` was wanted, `chosen` stands there now (ids); `at` is of the last start."""

    kind: NoteKind
    asked: str = ""
    chosen: str = ""
    at: datetime | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Remembered:
    """The choices of a person's last start."""

    selection: Selection
    at: datetime | None = None


def preselect(
    choices: Sequence[ProjectChoices], *, link: Selection | None = None, remembered: Remembered | None = None
) -> tuple[Selection, tuple[Note, ...]]:
    """What stands in the form when nobody has submitted it yet, and what to say about it.

    A launch link wins over the last start, that over the project's default; what no longer holds is replaced and
    named. Without a wish for a profile, one that can start now is taken if there is any.
    """
    wanted = link or (remembered.selection if remembered else None) or Selection()
    project, notes = _preselect_project(choices, wanted, from_link=link is not None)
    if project is None:
        return replace(wanted, image="", profile="", accelerator_count=None), tuple(notes)
    if link is None and wanted.project != project.project.name:
        wanted = Selection(server_name=wanted.server_name)
    if wanted.image or wanted.profile:
        kind = NoteKind.FROM_LINK if link else NoteKind.FROM_LAST_START
        notes.append(Note(kind, at=remembered.at if remembered and not link else None))
    image, image_notes = _preselect_image(project, wanted.image)
    profile, profile_notes = _preselect_profile(project, wanted, image)
    count = wanted.accelerator_count if profile and wanted.profile == profile.profile.name else None
    if profile and count is not None and count not in profile.verdicts:
        profile_notes = [*profile_notes, Note(NoteKind.COUNT_GONE, str(count))]
        count = None
    return Selection(
        project=project.project.name,
        image=image.reference if image else "",
        profile=profile.profile.name if profile else "",
        accelerator_count=count,
        server_name=wanted.server_name,
        path=link.path if link else "",
    ), (*notes, *image_notes, *profile_notes)


def _preselect_project(
    choices: Sequence[ProjectChoices], wanted: Selection, *, from_link: bool
) -> tuple[ProjectChoices | None, list[Note]]:
    asked = next((choice for choice in choices if choice.project.name == wanted.project), None)
    if asked is not None and (from_link or asked.verdict.state is State.OK):
        return asked, []
    startable = [choice for choice in choices if choice.verdict.state is State.OK]
    chosen = next(iter(startable or choices), None)
    if not wanted.project:
        return chosen, []
    return chosen, [Note(NoteKind.PROJECT_GONE, wanted.project, chosen.project.name if chosen else "")]


def _preselect_image(project: ProjectChoices, asked: str) -> tuple[ImageChoice | None, list[Note]]:
    default = next((choice for choice in project.images if choice.default), None)
    if asked and ":" not in asked:
        of_stream = [choice for choice in project.images if choice.stream.name == asked and _usable(choice)]
        asked = tag_shown(of_stream, "").reference if of_stream else asked
    choice = project.image(asked) if asked else default
    if choice is None:
        return default, [Note(NoteKind.IMAGE_GONE, asked, default.reference if default else "")] if asked else []
    if _usable(choice):
        return choice, []
    following = project.image(choice.successor) if choice.successor else None
    chosen = following if following is not None and _usable(following) else default
    kind = NoteKind.IMAGE_RETIRED if retired(choice) else NoteKind.IMAGE_GONE
    return chosen, [Note(kind, asked, chosen.reference if chosen else "", message=choice.message)]


def _preselect_profile(
    project: ProjectChoices, wanted: Selection, image: ImageChoice | None
) -> tuple[ProfileChoice | None, list[Note]]:
    asked = project.profile(wanted.profile) if wanted.profile else None
    if asked is not None and asked.verdict.state is not State.NO and not _unfit(asked, image):
        return asked, []
    current = [choice for choice in project.profiles if not choice.profile.retired and not _unfit(choice, image)]
    ranked = sorted(current, key=lambda choice: (choice.verdict.state is not State.OK, not choice.default))
    chosen = next(iter(ranked), None)
    if not wanted.profile:
        return chosen, []
    return chosen, [Note(NoteKind.PROFILE_GONE, wanted.profile, chosen.profile.name if chosen else "")]


def _usable(choice: ImageChoice) -> bool:
    return choice.verdict.state is not State.NO


def _unfit(choice: ProfileChoice, image: ImageChoice | None) -> bool:
    return image is not None and image.reference in choice.unfit


def tag_shown(choices: Sequence[ImageChoice], selected: str) -> ImageChoice:
    """The tag of a stream that its card shows: the selected one, the project's default, the stream's, the first."""

    def rank(choice: ImageChoice) -> tuple[bool, bool, bool, bool]:
        tag = choice.tag
        return choice.reference != selected, not choice.default, not tag.default, not tag.recommended

    return min(choices, key=rank)


def retired(choice: ImageChoice) -> bool:
    """Whether the tag was retired, by the admins or by the project's instructors."""
    refusal = choice.verdict.refusal
    return refusal is not None and refusal.reason is Reason.IMAGE_RETIRED


def note_sentence(note: Note, language: Language, names: Names) -> str:
    """What the start page says of a note, in the reader's language. `names` are of the choices shown."""
    say = language.say
    asked_image, image = names.images.get(note.asked, note.asked), names.images.get(note.chosen, note.chosen)
    asked_profile, profile = names.profiles.get(note.asked, note.asked), names.profiles.get(note.chosen, note.chosen)
    project = names.projects.get(note.chosen, note.chosen)
    instead_image = say("{image} is chosen instead.", image=image) if image else ""
    instead_profile = say("{profile} is chosen instead.", profile=profile) if profile else ""
    retired = say("{image} has been retired.", image=asked_image)
    withdrawn = say("{image} is not offered here.", image=asked_image)
    unusable = say("{profile} cannot be used here.", profile=asked_profile)
    sentences = {
        NoteKind.FROM_LINK: say("Filled in by your link. Nothing starts before you press Start."),
        NoteKind.FROM_LAST_START: (
            say("Filled in from your last start on {day}.", day=language.day(note.at))
            if note.at
            else say("Filled in from your last start.")
        ),
        NoteKind.PROJECT_GONE: (
            say("There is no project “{id}” for you; {project} is chosen instead.", id=note.asked, project=project)
            if project
            else say("There is no project “{id}” for you.", id=note.asked)
        ),
        NoteKind.IMAGE_RETIRED: language.sentences(retired, instead_image),
        NoteKind.IMAGE_GONE: language.sentences(withdrawn, instead_image),
        NoteKind.PROFILE_GONE: language.sentences(unusable, instead_profile),
        NoteKind.COUNT_GONE: say(
            "This profile does not open {count} accelerators. Its default is chosen.", count=note.asked
        ),
    }
    message = say("Your instructors say: {message}", message=note.message) if note.message else ""
    return language.sentences(sentences[note.kind], message)
