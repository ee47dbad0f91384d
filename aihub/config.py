"""The policy file: read, checked and turned into the `Policy` that decides. The only validator of operator input.

`load` reads files and folders and reports everything that is wrong at once; `schema` is the JSON Schema of the file.
"""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

from aihub.catalog import Catalog, ImageStream
from aihub.errors import CatalogError, PolicyFileError
from aihub.facts import Pool
from aihub.findings import Finding, Severity, dotted, picture
from aihub.groupprojects import GroupPattern
from aihub.identity import Access, Provider, SignInRules
from aihub.imagestreams import CatalogWarning, read_documents
from aihub.policy import Policy
from aihub.policyfile import PolicyDocument
from aihub.positions import Document, merge, read_document
from aihub.positions import Path as KeyPath
from aihub.projects import Membership, Person, Project, normalised_user
from aihub.references import check_references
from aihub.signinfile import PersonModel
from aihub.storage import StorageClasses
from aihub.text import Text
from aihub.validation import validate

__all__ = [
    "GITHUB",
    "KEYCLOAK",
    "LOCAL",
    "OIDC",
    "SHARED_PASSWORD",
    "SSO",
    "UNREADABLE",
    "ClusterSettings",
    "Loaded",
    "MachineSettings",
    "Persona",
    "SignIn",
    "attempt",
    "load",
    "schema",
    "source_files",
    "strict_schema",
]

LOCAL, SHARED_PASSWORD = "local", "sharedPassword"
"""The methods of sign-in: personas with one click, and one password for all."""

KEYCLOAK, OIDC, GITHUB = "keycloak", "oidc", "github"
"""The methods of sign-in through a provider."""

SSO = frozenset({KEYCLOAK, OIDC, GITHUB})

UNREADABLE = "unreadable"
"""Code of the finding for a file that cannot be opened at all."""

MAX_BYTES = 8 * 1024 * 1024
_SUFFIXES = {".yaml", ".yml", ".json"}


@dataclass(frozen=True, slots=True)
class Persona:
    """Somebody whom the policy file lists. `admin` holds for those that `signIn.admins` names too."""

    name: str
    display_name: Text = Text()
    groups: frozenset[str] = frozenset()
    admin: bool = False


@dataclass(frozen=True, slots=True)
class SignIn:
    """How people sign in. `personas` (with one click) and `people` (with a password) are by normalised user name.

    `provider`, `access` and `rules` are for the methods of `SSO`; `provider` is None for the others. `public_url` has
    no slash at its end, and is empty where the file has none. `title` is what people know the provider by.
    """

    method: str = LOCAL
    personas: Mapping[str, Persona] = field(default_factory=lambda: MappingProxyType({}))
    admins: Membership = Membership()
    people: Mapping[str, Persona] = field(default_factory=lambda: MappingProxyType({}))
    provider: Provider | None = None
    access: Access = Access()
    rules: SignInRules = SignInRules()
    public_url: str = ""
    title: Text = Text()
    contact: Text = Text()

    @property
    def listed(self) -> Mapping[str, Persona]:
        """Who signs in by the method of the file, in its order."""
        return self.people if self.method == SHARED_PASSWORD else self.personas


@dataclass(frozen=True, slots=True)
class MachineSettings:
    """What servers may use of this machine: cores, bytes, devices by resource. None is "measure it"."""

    cpu: Decimal | None = None
    memory: Decimal | None = None
    accelerators: Mapping[str, tuple[str, ...]] | None = None


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """How servers live on a cluster. `per_project`: those of each project in a namespace of its own."""

    per_project: bool = False
    storage_classes: StorageClasses = StorageClasses()
    pools: tuple[Pool, ...] = ()


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was read. `findings` of a usable policy are warnings; `digest` is of everything that was read.

    `files` are all files that were read or should have been, `patterns` the globs and folders that named them.
    """

    policy: Policy
    sign_in: SignIn
    machine: MachineSettings | None
    findings: tuple[Finding, ...]
    files: tuple[Path, ...]
    patterns: tuple[str, ...]
    digest: str
    cluster: ClusterSettings = ClusterSettings()
    group_patterns: tuple[GroupPattern, ...] = ()
    """For `aihub.groupprojects.with_group_projects`: `policy` holds the projects of the file alone."""

    @property
    def usable(self) -> bool:
        """Whether no finding is an error."""
        return all(finding.severity is not Severity.ERROR for finding in self.findings)


def load(paths: Sequence[Path]) -> Loaded:
    """The policy of `paths`: files and folders (their *.yaml, *.yml and *.json), merged.

    Raises PolicyFileError with every finding, warnings too, when one of them is an error; never anything else for
    what the files hold.
    """
    loaded = attempt(paths)
    if not loaded.usable:
        raise PolicyFileError(loaded.findings)
    return loaded


def attempt(paths: Sequence[Path]) -> Loaded:
    """As `load`, but what could be read of an unusable policy comes back with its errors among the findings."""
    reader = _Reader()
    documents = [document for path in paths for document in reader.documents(Path(path))]
    document, collisions = merge(documents)
    reader.findings.extend(collisions)
    model, mismatches = validate(document)
    reader.findings.extend(mismatches)
    catalog = _catalog(model, document, reader)
    policy = _policy(model, catalog, document, reader)
    templates = _templates(model, document, reader)
    if not reader.broken:
        whole = all(finding.severity is not Severity.ERROR for finding in reader.findings)
        streams_known = reader.streams_read and "imageStreamFiles" not in {each.path for each in mismatches}
        reader.findings.extend(
            check_references(document, model, policy, templates, whole=whole, streams_known=streams_known)
        )
    return Loaded(
        policy=policy,
        sign_in=_sign_in(model, document, reader),
        machine=_machine(model),
        findings=tuple(sorted(set(reader.findings), key=_by_place)),
        files=tuple(reader.files),
        patterns=tuple(reader.patterns),
        digest=reader.digest.hexdigest(),
        cluster=ClusterSettings(model.cluster.namespaces == "perProject", policy.storage_classes, policy.pools),
        group_patterns=_group_patterns(model, templates),
    )


def _by_place(finding: Finding) -> tuple[str, int, int, str, str]:
    return finding.file, finding.line, finding.column, finding.path, finding.message


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the policy file."""
    raw = PolicyDocument.model_json_schema()
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "AIHub policy file"}
    return {**head, **{key: value for key, value in strict_schema(raw).items() if key != "title"}}


def strict_schema(node: Any) -> Any:
    """A node of pydantic's schema without what a file may not hold: null for "absent", keys that match no pattern."""
    if isinstance(node, list):
        return [strict_schema(each) for each in node]
    if not isinstance(node, dict):
        return node
    node = {key: strict_schema(value) for key, value in node.items() if not (key == "default" and value is None)}
    choices = node.get("anyOf", [])
    rest = [each for each in choices if each != {"type": "null"}]
    if len(rest) < len(choices):
        del node["anyOf"]
        node = {**rest[0], **node} if len(rest) == 1 else {**node, "anyOf": rest}
    if "patternProperties" in node:
        node.pop("propertyNames", None)
        node["additionalProperties"] = False
        for each in node["patternProperties"].values():
            # Where a type has a default as a field elsewhere, pydantic puts it here too, from the second schema on.
            each.pop("default", None)
    return node


# --- files -----------------------------------------------------------------------------------------------------------


def source_files(path: Path) -> list[Path]:
    """The policy files that `path` stands for: itself, or those of the folder, hidden ones left out."""
    if not path.is_dir():
        return [path]
    return sorted(
        each
        for each in path.iterdir()
        if each.suffix in _SUFFIXES and not each.name.startswith(".") and not each.is_dir()
    )


class _Reader:
    """Reads files and keeps the account of what was read and what was wrong with it."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.files: list[Path] = []
        self.patterns: list[str] = []
        self.digest = hashlib.sha256()
        self.broken = False
        """Whether a policy file could not be read as YAML: what it would define looks missing."""
        self.streams_read = True

    def documents(self, path: Path) -> list[Document]:
        """The documents of a file or folder; unreadable ones are findings."""
        try:
            sources = source_files(path)
        except OSError as error:
            self._unreadable(path, error.strerror or "cannot be read")
            self.broken = True
            return []
        if path.is_dir():
            self.patterns.append(str(path))
            if not sources:
                self._unreadable(path, "has no *.yaml, *.yml or *.json file in it")
        return [document for source in sources if (document := self._document(source)) is not None]

    def _document(self, path: Path) -> Document | None:
        text = self.text(path)
        if text is None:
            self.broken = True
            return None
        document, findings = read_document(text, str(path))
        self.findings.extend(findings)
        self.broken = self.broken or (document.value is None and bool(findings))
        if document.value is None and not findings:
            self.add(Finding(str(path), 0, 0, Severity.WARNING, "empty-file", "", "is empty", help="Remove the file."))
        return document

    def text(self, path: Path) -> str | None:
        """The text of a file; None, with a finding, when it has none."""
        self.files.append(path)
        try:
            with path.open("rb") as file:
                raw = file.read(MAX_BYTES + 1)
        except (OSError, ValueError) as error:
            self._unreadable(path, getattr(error, "strerror", None) or "cannot be read")
            return None
        self.digest.update(f"{path}\0{len(raw)}\0".encode(errors="surrogateescape") + raw)
        if len(raw) > MAX_BYTES:
            self._unreadable(path, f"is larger than {MAX_BYTES // 1024**2} MiB")
            return None
        try:
            return raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            column = error.start - raw.rfind(b"\n", 0, error.start)
            message = "is not UTF-8 text"
            self.add(
                Finding(
                    str(path), line, column, Severity.ERROR, "not-utf8", "", message, help="Save the file as UTF-8."
                )
            )
            return None

    def _unreadable(self, path: Path, problem: str) -> None:
        text = problem[:1].lower() + problem[1:]
        help_ = "Check the path and its permissions."
        self.add(Finding(str(path), 0, 0, Severity.ERROR, UNREADABLE, "", text, picture(path), help=help_))

    def add(self, finding: Finding) -> None:
        """Keep a finding."""
        self.findings.append(finding)


# --- image streams ---------------------------------------------------------------------------------------------------


def _catalog(model: PolicyDocument, document: Document, reader: _Reader) -> Catalog:
    streams = {name: stream.stream(name) for name, stream in model.image_streams.items()}
    origins = {name: f"{document.file}: imageStreams.{name}" for name in streams}
    written = document.at(("imageStreamFiles",))
    for index, pattern in enumerate(written if isinstance(written, list) else ()):
        if pattern in model.image_stream_files:
            for path in _matches(pattern, ("imageStreamFiles", index), document, reader):
                for stream in _read_streams(path, reader):
                    _add_stream(stream, path, streams, origins, reader)
    return Catalog(MappingProxyType(streams))


def _matches(pattern: str, path: KeyPath, document: Document, reader: _Reader) -> list[Path]:
    """The files that a pattern of the policy file names; none is an error."""
    place = document.value_place(path)
    full = str(Path(place.file).parent / pattern)
    reader.patterns.append(full)
    try:
        found = [Path(each) for each in sorted(glob.glob(full, recursive=True)) if not Path(each).is_dir()]  # noqa: PTH207 - Path.glob takes no absolute pattern
    except ValueError:  # a NUL in it
        found = []
    if not found:
        reader.streams_read = False
        reader.add(
            Finding(
                place.file,
                place.line,
                place.column,
                Severity.ERROR,
                "no-such-file",
                dotted(path),
                f"no file matches {picture(pattern)}",
                picture(pattern),
                help="Paths are relative to the folder of this file.",
            )
        )
    return found


def _read_streams(path: Path, reader: _Reader) -> Iterable[ImageStream]:
    text = reader.text(path)
    if text is None:
        reader.streams_read = False
        return ()
    try:
        read = read_documents(text, str(path))
    except CatalogError as error:
        reader.streams_read = False
        reader.add(
            Finding(
                str(path),
                error.line,
                1,
                Severity.ERROR,
                "yaml-syntax",
                "",
                error.problem,
                help="The file must hold ImageStream documents, YAML or JSON.",
            )
        )
        return ()
    reader.findings.extend(_stream_finding(path, warning) for warning in read.warnings)
    return read.streams


def _stream_finding(path: Path, warning: CatalogWarning) -> Finding:
    place = ":".join(part for part in (warning.stream, warning.tag) if part)
    return Finding(
        str(path),
        0,
        0,
        Severity.WARNING,
        "image-stream",
        " ".join(part for part in (place, warning.field) if part),
        ": ".join(part for part in (place, warning.field, warning.message) if part),
        help="Correct the ImageStream document.",
    )


def _add_stream(
    stream: ImageStream, path: Path, streams: dict[str, ImageStream], origins: dict[str, str], reader: _Reader
) -> None:
    if stream.name not in streams:
        streams[stream.name] = stream
        origins[stream.name] = str(path)
    elif origins[stream.name] != str(path):  # two in one file: the reader of streams has warned
        message = f"the image stream {stream.name} is defined here and in {origins[stream.name]}"
        help_ = "Keep one of the two, or rename one."
        reader.add(Finding(str(path), 0, 0, Severity.ERROR, "set-twice", stream.name, message, stream.name, help=help_))


# --- the policy ------------------------------------------------------------------------------------------------------


def _policy(model: PolicyDocument, catalog: Catalog, document: Document, reader: _Reader) -> Policy:
    projects = {
        name: _rooted(each.project(name), ("projects", name), document, reader) for name, each in model.projects.items()
    }
    return Policy(
        catalog=catalog,
        profiles=MappingProxyType({name: each.profile(name) for name, each in model.profiles.items()}),
        projects=MappingProxyType(projects),
        home=model.home.home(),
        user_quota=MappingProxyType(dict(model.quota.per_user)),
        start_when_unknown=model.quota.when_unknown == "startWithoutAccelerator",
        pools=tuple(each.pool(name) for name, each in model.cluster.pools.items()),
        storage_classes=model.cluster.classes(),
        fresh_for_accelerators=model.sign_in.identity.fresh_for_accelerators,
    )


def _templates(model: PolicyDocument, document: Document, reader: _Reader) -> Mapping[str, Project]:
    return {
        name: _rooted(each.project(name), ("projectTemplates", name), document, reader)
        for name, each in model.project_templates.items()
    }


def _group_patterns(model: PolicyDocument, templates: Mapping[str, Project]) -> tuple[GroupPattern, ...]:
    return tuple(
        each.pattern(key, templates[each.template])
        for key, each in model.group_projects.items()
        if each.template in templates
    )


def _rooted(project: Project, place: KeyPath, document: Document, reader: _Reader) -> Project:
    """The project with absolute paths: in the file they are relative to the file that names them."""
    base = (*place, "storage")
    storage = project.storage
    shared = storage.shared
    if shared is not None and shared.source is not None:
        path = (*base, "shared", "from")
        shared = replace(shared, source=_existing(Path.is_dir, "folder", shared.source, path, document, reader))
    datasets = {
        name: dataset
        if dataset.path is None
        else replace(dataset, path=_absolute(dataset.path, (*base, "datasets", name, "path"), document))
        for name, dataset in storage.datasets.items()
    }
    return replace(project, storage=replace(storage, shared=shared, datasets=MappingProxyType(datasets)))


def _absolute(written: str, path: KeyPath, document: Document) -> str:
    return str((Path(document.value_place(path).file).parent / written).absolute())


def _existing(
    exists: Callable[[Path], bool], kind: str, written: str, path: KeyPath, document: Document, reader: _Reader
) -> str:
    """The absolute path; a finding where there is no such file or folder."""
    full = _absolute(written, path, document)
    if not exists(Path(full)):
        place = document.value_place(path)
        # A relative path comes with the policy; an absolute one may be of another machine than the one that checks.
        severity = Severity.WARNING if Path(written).is_absolute() else Severity.ERROR
        reader.add(
            Finding(
                place.file,
                place.line,
                place.column,
                severity,
                f"no-such-{kind}",
                dotted(path),
                f"there is no {kind} {picture(written)}",
                picture(written),
                help="Paths are relative to the folder of this file.",
            )
        )
    return full


def _sign_in(model: PolicyDocument, document: Document, reader: _Reader) -> SignIn:
    written = model.sign_in
    admins = written.admins.membership()
    return SignIn(
        method=written.method,
        personas=_listed(written.personas, admins),
        admins=admins,
        people=_listed(written.people, admins),
        provider=_trusting(written.provider(), written.method, document, reader),
        access=written.access(),
        rules=written.rules(),
        public_url=written.public_url or "",
        title=Text.of(written.display_name),
        contact=Text.of(written.contact),
    )


def _trusting(provider: Provider | None, method: str, document: Document, reader: _Reader) -> Provider | None:
    """The provider with the absolute path of its CA file."""
    if provider is None or not provider.ca_file:
        return provider
    path: KeyPath = ("signIn", method, "caFile")
    return replace(provider, ca_file=_existing(Path.is_file, "file", provider.ca_file, path, document, reader))


def _listed(models: Mapping[str, PersonModel], admins: Membership) -> Mapping[str, Persona]:
    found = {}
    for written, each in models.items():
        name, groups = normalised_user(written), frozenset(each.groups)
        admin = each.admin or admins.includes(Person(name, groups))
        found[name] = Persona(name, Text.of(each.display_name or written), groups, admin)
    return MappingProxyType(found)


def _machine(model: PolicyDocument) -> MachineSettings | None:
    if model.machine is None:
        return None
    devices = model.machine.accelerators
    accelerators = None if devices is None else MappingProxyType({key: tuple(each) for key, each in devices.items()})
    return MachineSettings(model.machine.cpu, model.machine.memory, accelerators)
