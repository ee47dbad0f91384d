"""The policy file under its checks: what it says, where it says so, and what was found wrong with it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from aihub.catalog import Catalog
from aihub.findings import Finding, Severity, dotted, nearest, picture
from aihub.policy import Policy
from aihub.policyfile import PolicyDocument
from aihub.positions import Document, Path
from aihub.projects import Project

__all__ = ["Body", "Checker"]


@dataclass(frozen=True, slots=True)
class Body:
    """What has the settings of a project: a project, or a template of projects that groups make."""

    path: Path
    project: Project
    called: str


@dataclass(slots=True)
class Checker:
    """The policy file as it was read, and the findings so far."""

    document: Document
    model: PolicyDocument
    policy: Policy
    templates: Mapping[str, Project]
    whole: bool
    streams_known: bool
    findings: list[Finding] = field(default_factory=list)

    @property
    def catalog(self) -> Catalog:
        """The image streams."""
        return self.policy.catalog

    @property
    def bodies(self) -> list[Body]:
        """The projects, and the templates, which are checked like them."""
        projects = self.policy.projects.items()
        return [
            *(Body(("projects", name), project, f"the project {name}") for name, project in projects),
            *(Body(("projectTemplates", name), each, f"the template {name}") for name, each in self.templates.items()),
        ]

    def written(self, *path: str | int) -> Collection[str]:
        """The keys of a map as they are written, those of unreadable entries too."""
        value = self.document.at(path)
        return value.keys() if isinstance(value, dict) else ()

    def error(self, path: Path, code: str, message: str, what_to_do: str, suggestion: str = "") -> None:
        """Add a finding with which the policy cannot be used."""
        self._add(Severity.ERROR, path, code, message, what_to_do, suggestion)

    def warn(self, path: Path, code: str, message: str, what_to_do: str, suggestion: str = "") -> None:
        """Add a finding that can stay."""
        self._add(Severity.WARNING, path, code, message, what_to_do, suggestion)

    def _add(self, severity: Severity, path: Path, code: str, message: str, what_to_do: str, suggestion: str) -> None:
        value = self.document.at(path)
        scalar = not isinstance(value, dict | list) and path in self.document.values
        place = self.document.value_place(path) if scalar else self.document.key_place(path)
        shown = picture(value) if scalar else ""
        self.findings.append(
            Finding(
                place.file,
                place.line,
                place.column,
                severity,
                code,
                dotted(path),
                message,
                shown,
                suggestion,
                what_to_do,
            )
        )

    # --- names that stand for something ---

    def image_problem(self, reference: str) -> tuple[str, str] | None:
        """What is wrong with a reference to a stream or "stream:tag", and what was probably meant."""
        name, colon, tag = reference.partition(":")
        stream = self.catalog.streams.get(name)
        if stream is None:
            if name in self.written("imageStreams") or not self.streams_known:
                return None
            near = nearest(name, self.catalog.streams)
            return f"there is no image stream {name}", f"{near}{colon}{tag}" if near else ""
        if colon and stream.tag(tag) is None:
            if tag in self.written("imageStreams", name, "tags"):
                return None
            near = nearest(tag, [each.name for each in stream.tags])
            return f"the image stream {name} has no tag {tag}", f"{name}:{near}" if near else ""
        return None

    def profile_problem(self, name: str) -> tuple[str, str] | None:
        """What is wrong with a reference to a profile, and what was probably meant."""
        if name in self.policy.profiles or name in self.written("profiles"):
            return None
        return f"there is no profile {name}", nearest(name, self.written("profiles"))
