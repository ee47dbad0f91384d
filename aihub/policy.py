"""The one policy: what a person may start, decided the same way on every path (design.md §5).

`choices_for` (the page), `resolve` (a start) and `why` (an explanation) read one list of judgements that `_judge`
makes in the order of the rules. They agree because there is nothing else to read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType

from aihub.catalog import Catalog, ImageStream, ImageTag, TagState
from aihub.environment import filtered
from aihub.errors import Parameter, Reason, Refusal
from aihub.facts import Facts
from aihub.options import Options, parse_options, shown
from aihub.plan import Plan
from aihub.profiles import Profile
from aihub.projects import Decisions, Person, Project, Role, group_matches
from aihub.quota import Amounts, Deny, Level, Quota, Quotas, denials
from aihub.resources import Resources, format_amount, is_accelerator
from aihub.storage import Claim, Home, home_claim, project_claims

__all__ = [
    "OK",
    "ImageChoice",
    "Judgement",
    "Policy",
    "ProfileChoice",
    "ProjectChoices",
    "Rule",
    "State",
    "Verdict",
    "choices_for",
    "default_image",
    "default_profile",
    "quotas_of",
    "resolve",
    "why",
]


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything loaded from the policy file. `start_when_unknown`: starts without an accelerator while usage is unknown."""

    catalog: Catalog = Catalog()
    profiles: Mapping[str, Profile] = field(default_factory=lambda: MappingProxyType({}))
    projects: Mapping[str, Project] = field(default_factory=lambda: MappingProxyType({}))
    home: Home = Home()
    user_quota: Quota = field(default_factory=lambda: MappingProxyType({}))
    start_when_unknown: bool = False


class State(StrEnum):
    """OK: a start now is admitted. WAIT: possible later without a change of the policy. NO: not without somebody's change."""

    OK = "ok"
    WAIT = "wait"
    NO = "no"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A state and, unless it is OK, why."""

    state: State
    refusal: Refusal | None = None


OK = Verdict(State.OK)


class Rule(StrEnum):
    """The rules in their order; the first that fails is the reason."""

    OPTIONS = "options-well-formed"
    PROJECT_KNOWN = "project-known"
    PROJECT_MEMBER = "project-member"
    PROJECT_ACTIVE = "project-active"
    IMAGE_KNOWN = "image-known"
    IMAGE_OFFERED = "image-offered"
    IMAGE_CURRENT = "image-not-retired"
    IMAGE_RESOLVED = "image-resolved"
    PROFILE_KNOWN = "profile-known"
    PROFILE_OFFERED = "profile-offered"
    PROFILE_CURRENT = "profile-not-retired"
    PROFILE_OPEN = "profile-open-to-person"
    PROFILE_COUNT = "accelerator-count-open"
    PROFILE_FITS = "profile-fits-image"
    MACHINE_FITS = "fits-a-machine"
    USAGE_KNOWN = "usage-known"
    QUOTA_PROJECT = "quota-project"
    QUOTA_MEMBER = "quota-member"
    QUOTA_USER = "quota-user"
    CAPACITY = "capacity-now"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one rule says. `verdict` is None where an earlier failure left nothing to judge."""

    rule: Rule
    verdict: Verdict | None

    @property
    def failed(self) -> bool:
        """Whether the rule was judged and refuses."""
        return self.verdict is not None and self.verdict.state is not State.OK
