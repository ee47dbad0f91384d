"""What the JSON API answers, as plain JSON values with camelCase keys; `aihub/openapi.yaml` describes them.

Amounts are Kubernetes quantities ("500m", "2Gi", "3"), times ISO 8601 with a zone, texts in the reader's language.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aihub.capacity import Availability
from aihub.language import Language
from aihub.messages import Names, new_machine, plain, rule_name
from aihub.policy import ImageChoice, Judgement, ProfileChoice, ProjectChoices, Verdict, verdict_of
from aihub.projects import Person
from aihub.quota import Level, Quota
from aihub.resources import Resources, format_quantity, sort_keys

__all__ = ["HeldServer", "choices_answer", "servers_answer", "usage_answer", "why_answer"]


@dataclass(frozen=True, slots=True)
class HeldServer:
    """A server that holds a place in a project. `image` and `profile` are ids, empty where not known (yet)."""

    person: str
    server: str
    state: str
    image: str = ""
    profile: str = ""
    accelerator_count: int = 0
    since: datetime | None = None
    used_at: datetime | None = None
    stops_at: datetime | None = None


# --- choices ---------------------------------------------------------------------------------------------------------


def choices_answer(
    person: Person, choices: Sequence[ProjectChoices], language: Language, names: Names, as_of: datetime
) -> dict[str, Any]:
    """Every project, image and profile that `person` may see, each with its verdict."""
    projects = [_project(choice, language, names) for choice in choices]
    return {"person": person.name, "asOf": as_of.isoformat(), "projects": projects}


def _verdict(verdict: Verdict, language: Language, names: Names) -> dict[str, Any]:
    refusal = verdict.refusal
    return {
        "state": verdict.state.value,
        "reason": refusal.reason.value if refusal else None,
        "message": plain(refusal, language, names) if refusal else new_machine(verdict, language) or None,
    }


def _project(choice: ProjectChoices, language: Language, names: Names) -> dict[str, Any]:
    project = choice.project
    return {
        "project": project.name,
        "displayName": language.text(project.display_name, project.name),
        "description": language.text(project.description),
        "kind": project.kind,
        "role": choice.role.value,
        "contact": language.text(project.contact),
        **_verdict(choice.verdict, language, names),
        "images": [_image(each, language, names) for each in choice.images],
        "profiles": [_profile(each, language, names) for each in choice.profiles],
    }


def _image(choice: ImageChoice, language: Language, names: Names) -> dict[str, Any]:
    return {
        "image": choice.reference,
        "displayName": names.images.get(choice.reference, choice.reference),
        "description": language.text(choice.stream.description),
        "software": [{"name": each.name, "version": each.version} for each in choice.tag.software],
        "source": choice.stream.source_url,
        "default": choice.default,
        **_verdict(choice.verdict, language, names),
        "successor": choice.successor,
        "note": choice.message,
    }


def _profile(choice: ProfileChoice, language: Language, names: Names) -> dict[str, Any]:
    profile, default = choice.profile, choice.room.get(choice.profile.counts()[0], Availability())
    return {
        "profile": profile.name,
        "displayName": language.text(profile.display_name, profile.name),
        "description": language.text(profile.description),
        "default": choice.default,
        "requests": _quantities(profile.requests),
        "limits": _quantities(profile.limits),
        "accelerator": profile.accelerator.resource if profile.accelerator else None,
        "counts": [
            {
                "acceleratorCount": count,
                **_verdict(verdict, language, names),
                **_room(choice.room.get(count, Availability())),
            }
            for count, verdict in choice.verdicts.items()
        ],
        "acceleratorsFree": default.accelerators_free,
        "acceleratorsTotal": default.accelerators_total,
        "machinesAsOf": _iso(default.as_of),
        "unfitImages": sorted(choice.unfit),
    }


def _room(room: Availability) -> dict[str, Any]:
    return {
        "free": room.free,
        "total": room.total,
        "pool": room.pool or None,
        "startsWithinSeconds": room.seconds,
    }


def _quantities(amounts: Resources) -> dict[str, str]:
    return {key: format_quantity(key, amount) for key, amount in amounts.items()}


# --- usage -----------------------------------------------------------------------------------------------------------


def usage_answer(
    person: Person,
    choices: Sequence[ProjectChoices],
    members: Mapping[str, Mapping[str, Resources]],
    user: tuple[Resources | None, Quota],
    as_of: datetime,
) -> dict[str, Any]:
    """What `person` uses at each level, of which limit.

    `user` is their use over all projects (None while it is not known) and its quota. `members` is for the projects
    that they instruct or administer: by project and person, what members with a server use there.
    """
    return {
        "person": person.name,
        "asOf": as_of.isoformat(),
        "known": user[0] is not None,
        "user": _amounts(*user),
        "projects": [_project_usage(choice, members.get(choice.project.name)) for choice in choices],
    }


def _project_usage(choice: ProjectChoices, members: Mapping[str, Resources] | None) -> dict[str, Any]:
    used, quotas = choice.usage, choice.quotas
    answer: dict[str, Any] = {
        "project": choice.project.name,
        "role": choice.role.value,
        "levels": {
            level.value: _amounts(used.at(level) if used is not None else None, quotas.at(level))
            for level in (Level.PROJECT, Level.MEMBER)
        },
    }
    if members is not None:
        answer["members"] = [
            {"person": name, "amounts": _amounts(amounts, quotas.member)} for name, amounts in sorted(members.items())
        ]
    return answer


def _amounts(used: Resources | None, quota: Quota) -> list[dict[str, Any]]:
    return [
        {
            "key": key,
            "used": None if used is None else format_quantity(key, used[key]),
            "limit": format_quantity(key, quota[key]) if key in quota else None,
        }
        for key in sort_keys({*quota, *(used or ())})
    ]


# --- why and servers -------------------------------------------------------------------------------------------------


def why_answer(
    person: Person, judgements: Iterable[Judgement], language: Language, names: Names, as_of: datetime
) -> dict[str, Any]:
    """Every rule with what it says, and the verdict: that of the first rule that fails."""
    judged = tuple(judgements)
    return {
        "person": person.name,
        "asOf": as_of.isoformat(),
        **_verdict(verdict_of(judged), language, names),
        "rules": [_rule(each, language, names) for each in judged],
    }


def _rule(judgement: Judgement, language: Language, names: Names) -> dict[str, Any]:
    verdict = judgement.verdict
    said = _verdict(verdict, language, names) if verdict else {"state": None, "reason": None, "message": None}
    return {
        "rule": judgement.rule.value,
        "name": rule_name(judgement.rule, language),
        "passed": None if verdict is None else not judgement.failed,
        **said,
    }


def servers_answer(project: str, servers: Iterable[HeldServer], as_of: datetime) -> dict[str, Any]:
    """Every server that holds a place in `project`, in the order in which they were admitted."""
    return {
        "project": project,
        "asOf": as_of.isoformat(),
        "servers": [_server(each, as_of) for each in servers],
    }


def _server(held: HeldServer, now: datetime) -> dict[str, Any]:
    return {
        "person": held.person,
        "server": held.server,
        "state": held.state,
        "image": held.image or None,
        "profile": held.profile or None,
        "acceleratorCount": held.accelerator_count,
        "since": _iso(held.since),
        "usedAt": _iso(held.used_at),
        "idleSeconds": None if held.used_at is None else max(0, round((now - held.used_at).total_seconds())),
        "stopsAt": _iso(held.stops_at),
    }


def _iso(at: datetime | None) -> str | None:
    return at.isoformat() if at is not None else None
