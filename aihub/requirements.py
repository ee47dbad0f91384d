"""Requirement lists of kernel environments: which lines are accepted, and when two lists are the same list.

The syntax is that of https://packaging.python.org/en/latest/specifications/dependency-specifiers/. Installer options
(`-r`, `--index-url`, `-e`) and local paths are no requirements: where packages come from is the admin's setting of
the installer, not a property of an image.
"""

from __future__ import annotations

from collections.abc import Iterable

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

__all__ = ["check_requirement", "normalised"]

LONGEST = 500
"""Characters of one requirement; real ones have fewer than 100."""


def check_requirement(text: str) -> str | None:
    """What is wrong with one requirement, as the end of a sentence ("is empty"); None when it is accepted."""
    if not text.strip():
        return "is empty"
    if len(text) > LONGEST:
        return f"is longer than {LONGEST} characters"
    if not (text.isascii() and text.isprintable()):
        return "has characters that a requirement cannot have"
    if text.lstrip().startswith("-"):
        return "is an installer option; only requirements such as numpy==2.1 are read here"
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        return f"is not a requirement: {str(error).splitlines()[0]}"
    # packaging lets these end with an underscore.
    if any(name.endswith("_") for name in (requirement.name, *requirement.extras)):
        return "is not a requirement: names end with a letter or a digit"
    if requirement.url and not requirement.url.startswith("https://"):
        return "has an address that does not start with https://"
    return None


def normalised(requirements: Iterable[str]) -> tuple[str, ...]:
    """The same requirements in one spelling, sorted, each once: equal lists mean equal environments.

    Raises `packaging.requirements.InvalidRequirement` for a text that `check_requirement` refuses as no requirement.
    """
    return tuple(sorted({_spelled(Requirement(text)) for text in requirements}))


def _spelled(requirement: Requirement) -> str:
    extras = (
        f"[{','.join(sorted(canonicalize_name(extra) for extra in requirement.extras))}]" if requirement.extras else ""
    )
    target = f" @ {requirement.url}" if requirement.url else str(requirement.specifier)
    marker = f" ; {requirement.marker}" if requirement.marker else ""
    return f"{canonicalize_name(requirement.name)}{extras}{target}{marker}"
