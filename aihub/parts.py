"""Parts that several pages have: pills, quota meters, contacts, the box of errors, and lines that say one thing.

Page data is plain text in the reader's language; Jinja escapes it. `aihub/parts.html` holds the macros that show it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from aihub.errors import Refusal
from aihub.language import Language
from aihub.messages import Names, amount, resource_name, sentence
from aihub.policy import ProjectChoices
from aihub.profiles import Profile
from aihub.projects import IdleRules
from aihub.quota import Level
from aihub.resources import CPU, MEMORY, format_amount, sort_keys

__all__ = [
    "Contact",
    "ErrorBox",
    "Meter",
    "MeterGroup",
    "Pill",
    "Problem",
    "contact",
    "error_box",
    "idle_sentence",
    "meter_groups",
    "size_of",
]


@dataclass(frozen=True, slots=True)
class Pill:
    """A state: icon and word. `tone` is ok, wait, no, bad or info; the icon's name is the tone's unless given."""

    tone: str
    word: str
    icon: str = ""


@dataclass(frozen=True, slots=True)
class Meter:
    """One line of a quota. Without `maximum` there is no bar: no limit, or the use is not known."""

    id: str
    label: str
    text: str
    value: str = ""
    maximum: str = ""
    full_from: str = ""


@dataclass(frozen=True, slots=True)
class MeterGroup:
    """The quota lines of one level."""

    id: str
    title: str
    meters: tuple[Meter, ...]


@dataclass(frozen=True, slots=True)
class Contact:
    """Whom to ask. `href` is an address that a link may have (https: or mailto:), empty where the text is none."""

    text: str
    href: str = ""


_MAIL = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+", re.ASCII)


def contact(text: str) -> Contact | None:
    """How a page shows whom to ask; None for nobody."""
    if not text:
        return None
    if _MAIL.fullmatch(text):
        return Contact(text, f"mailto:{text}")
    return Contact(text, text if re.fullmatch(r"https?://\S+", text) else "")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that stands against a start. `target` is the id of the field to go to, empty for none."""

    code: str
    target: str
    title: str
    text: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ErrorBox:
    """The box at the top after a refused submit."""

    problems: tuple[Problem, ...]
    contact: Contact | None = None
    error_id: str = ""


def error_box(
    refusals: Iterable[Refusal], language: Language, names: Names, targets: Mapping[str, str], error_id: str = ""
) -> ErrorBox | None:
    """The box for `refusals`, None without any. `targets` maps user options to ids of fields."""
    said = [(refusal, sentence(refusal, language, names)) for refusal in refusals]
    if not said:
        return None
    problems = tuple(
        Problem(
            refusal.reason.value,
            targets.get(message.field, ""),
            message.what,
            language.sentences(message.why, message.way),
            message.lines,
        )
        for refusal, message in said
    )
    asked = next((message.contact for _, message in said if message.contact), "")
    return ErrorBox(problems, contact(asked), error_id)


def size_of(profile: Profile, count: int, language: Language) -> str:
    """The size of a server in one line: "2 CPU, 2 GiB memory, 1 nvidia.com/gpu". Limits where there are any."""
    upto = {key: max(profile.requests[key], profile.limits[key]) for key in (CPU, MEMORY)}
    parts = [amount(key, format_amount(key, value), language) for key, value in upto.items() if value]
    if profile.accelerator and count:
        parts.append(amount(profile.accelerator.resource, str(count), language))
    return language.listed(parts)


def idle_sentence(idle: IdleRules, language: Language) -> str:
    """When an unused server is stopped."""
    say = language.say
    after = language.duration(idle.stop_after) if idle.stop_after else ""
    latest = language.duration(idle.max_age) if idle.max_age else ""
    if after and latest:
        return say(
            "Stops after {idle} without use, after {latest} at the latest. Your files stay.", idle=after, latest=latest
        )
    if after:
        return say("Stops after {idle} without use. Your files stay.", idle=after)
    if latest:
        return say("Stops after {latest}. Your files stay.", latest=latest)
    return say("Runs until you stop it.")


def meter_groups(
    choices: Sequence[ProjectChoices], language: Language, *, levels: Sequence[Level] = tuple(Level), prefix: str = "q"
) -> tuple[MeterGroup, ...]:
    """The quotas that `choices` meet, level by level; the user's own once. A level without a quota is left out.

    Ids in the page begin with `prefix`.
    """
    groups = []
    for index, choice in enumerate(choices):
        project = language.text(choice.project.display_name, choice.project.name)
        titles = {
            Level.PROJECT: project,
            Level.MEMBER: language.say("Yours in {project}", project=project),
            Level.USER: language.say("Yours in all projects"),
        }
        for level in levels:
            if level is not Level.USER or index == len(choices) - 1:
                group = f"{prefix}-{level}" if level is Level.USER else f"{prefix}-{index}-{level}"
                groups.append(MeterGroup(group, titles[level], _meters(choice, level, group, language)))
    return tuple(group for group in groups if group.meters)


def _meters(choice: ProjectChoices, level: Level, prefix: str, language: Language) -> tuple[Meter, ...]:
    quota = choice.quotas.at(level)
    used = choice.usage.at(level) if choice.usage is not None else None
    return tuple(
        _meter(f"{prefix}-{index}", key, None if used is None else used[key], quota[key], language)
        for index, key in enumerate(sort_keys(quota))
    )


def _meter(meter_id: str, key: str, used: Decimal | None, limit: Decimal, language: Language) -> Meter:
    label, most = resource_name(key, language), format_amount(key, limit)
    if used is None:
        return Meter(meter_id, label, language.say("not known, limit {limit}", limit=most))
    text = language.say("{used} of {limit}", used=format_amount(key, used), limit=most)
    if not limit:
        return Meter(meter_id, label, text)
    return Meter(meter_id, label, text, f"{min(used, limit):f}", f"{limit:f}", f"{limit * 9 / 10:f}")
