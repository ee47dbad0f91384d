"""ImageStream documents of OpenShift and Open Data Hub, read unchanged.

The contract is `image.openshift.io/v1` (https://github.com/openshift/api, image/v1/types.go) with the labels and
annotations of both generations of Open Data Hub: `notebook-image-recommended` and `workbench-image-recommended`,
`'false'` meaning false everywhere. One bad item costs that item and gives a warning; the rest of its tag, stream and
file stands. Objects of other kinds in a file are passed over without a word: files that are applied to a cluster
often hold a stream beside its BuildConfig.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from aihub.catalog import ImageStream, ImageTag, Software, TagState, is_image_reference
from aihub.documents import Broken, Document, Tree, parse_json, read_trees
from aihub.errors import CatalogError
from aihub.requirements import check_requirement
from aihub.text import Text

__all__ = ["REQUIREMENTS", "CatalogWarning", "Read", "read_documents"]

_ODH = "opendatahub.io/"
_OFFERED = f"{_ODH}notebook-image"
_CREATED_BY = "app.kubernetes.io/created-by"
_NAME, _DESCRIPTION = f"{_ODH}notebook-image-name", f"{_ODH}notebook-image-desc"
_OPENSHIFT_NAME = "openshift.io/display-name"
_URL, _ORDER, _ORIGIN = f"{_ODH}notebook-image-url", f"{_ODH}notebook-image-order", f"{_ODH}notebook-image-origin"
_HIDDEN = f"{_ODH}notebook-image-hidden"
_ACCELERATORS = f"{_ODH}recommended-accelerators"
_RECOMMENDED = (f"{_ODH}workbench-image-recommended", f"{_ODH}notebook-image-recommended")
_DEFAULT, _OUTDATED = f"{_ODH}default-image", f"{_ODH}image-tag-outdated"
_SOFTWARE, _DEPENDENCIES = f"{_ODH}notebook-software", f"{_ODH}notebook-python-dependencies"

REQUIREMENTS = "aihub.io/requirements"
"""Annotation of a tag: what its kernel environment on one machine is made from, a line each or a JSON list."""

DEFAULT_ORDER = 100

# Kubernetes' rule for names of objects, what an id "stream:tag" can hold, and the registries' rule for tags.
_KUBERNETES_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
_STREAM_NAME = re.compile(r"[!-.0-9;-~]{1,253}")
_TAG_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,9}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# What pydantic takes for a bool: the first generation of Open Data Hub read its annotations with it.
_TRUE, _FALSE = frozenset({"true", "t", "yes", "y", "on", "1"}), frozenset({"false", "f", "no", "n", "off", "0"})


@dataclass(frozen=True, slots=True)
class CatalogWarning:
    """Something in a file that was not used as written. `stream`, `tag` and `field` are None where there is none."""

    file: str
    stream: str | None
    tag: str | None
    field: str | None
    message: str

    def __str__(self) -> str:
        place = ":".join(part for part in (self.stream, self.tag) if part)
        return ": ".join(part for part in (self.file, place, self.field, self.message) if part)


@dataclass(frozen=True, slots=True)
class Read:
    """What a file holds: its streams in the order of the file, and what was odd about it."""

    streams: tuple[ImageStream, ...] = ()
    warnings: tuple[CatalogWarning, ...] = ()


@dataclass(frozen=True, slots=True)
class _Notes:
    """Takes warnings about one place of a file."""

    file: str
    warnings: list[CatalogWarning] = field(default_factory=list)
    stream: str | None = None
    tag: str | None = None

    def add(self, where: str | None, message: str) -> None:
        self.warnings.append(CatalogWarning(self.file, self.stream, self.tag, where, message))


def read_documents(text: str, file: str) -> Read:
    """The image streams of a file: one document, several, or a List; YAML or JSON. `file` is its name in warnings.

    Raises CatalogError when nothing of the text can be read: no YAML or JSON, or no object in it.
    """
    notes = _Notes(file)
    documents = read_trees(text, file)
    if documents and not any(isinstance(one, Document) and isinstance(one.tree, dict) for one in documents):
        raise CatalogError(file, documents[0].line, "is no Kubernetes object")
    objects = [one for document in documents for one in _objects(document, notes)]
    own = [one for one in objects if _is_stream(one, notes)]
    if not own and not notes.warnings:
        notes.add(None, "holds no ImageStream")
    streams = tuple(stream for one in own if (stream := _stream(one, notes)) is not None)
    _warn_of_namesakes(streams, notes)
    return Read(streams, tuple(notes.warnings))


def _objects(document: Document | Broken, notes: _Notes) -> Iterator[dict[str, Tree]]:
    """The objects of a document, with its notes; those of a List one by one."""
    if isinstance(document, Broken):
        notes.add(None, f"the document with line {document.line} was left out: {document.problem}")
        return
    if not isinstance(document.tree, dict):
        notes.add(None, f"the document at line {document.line} is not an object")
        return
    for note in document.notes:
        notes.add(None, f"in the document at line {document.line} {note}")
    if document.tree.get("kind") not in ("List", "ImageStreamList"):
        yield document.tree
        return
    for number, item in enumerate(_sequence(document.tree, "items", "items", notes)):
        if isinstance(item, dict):
            yield item
        else:
            notes.add(f"items[{number}]", "is not an object")


def _is_stream(one: Mapping[str, Tree], notes: _Notes) -> bool:
    if one.get("kind") != "ImageStream":
        return False
    version = one.get("apiVersion")
    # OpenShift 3 wrote the core "v1".
    if version == "v1" or (isinstance(version, str) and version.startswith("image.openshift.io/")):
        return True
    name = _mapping(one, "metadata", "metadata", _Notes(notes.file)).get("name")
    place = replace(notes, stream=name if isinstance(name, str) and _STREAM_NAME.fullmatch(name) else None)
    place.add("apiVersion", f"{_picture(version)} is not image.openshift.io/v1: the stream was left out")
    return False


def _warn_of_namesakes(streams: tuple[ImageStream, ...], notes: _Notes) -> None:
    names = [stream.name for stream in streams]
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        place = replace(notes, stream=name)
        place.add("metadata.name", f"is the name of {names.count(name)} streams of this file: the first one is used")


def _stream(one: Mapping[str, Tree], notes: _Notes) -> ImageStream | None:
    metadata = _mapping(one, "metadata", "metadata", notes)
    name = metadata.get("name")
    if not isinstance(name, str) or not _STREAM_NAME.fullmatch(name):
        notes.add("metadata.name", f"{_picture(name)} is not a name for an image stream: the stream was left out")
        return None
    notes = replace(notes, stream=name)
    if not _KUBERNETES_NAME.fullmatch(name):
        notes.add("metadata.name", "is not a name that Kubernetes accepts: a template was not filled in?")
    labels = _mapping(metadata, "labels", "metadata.labels", notes)
    annotations = _mapping(metadata, "annotations", "metadata.annotations", notes)
    origin = _origin(labels, annotations, notes)
    hidden = _boolean(annotations, _HIDDEN, notes)
    return ImageStream(
        name=name,
        display_name=Text(_text(annotations, _NAME, notes) or _text(annotations, _OPENSHIFT_NAME, notes) or name),
        description=Text(_text(annotations, _DESCRIPTION, notes)),
        offered=_offered(labels, notes),
        order=_order(annotations, notes),
        origin=origin,
        source_url=_source_url(annotations, origin, notes),
        accelerators=_accelerators(annotations, notes),
        tags=_tags(one, TagState.HIDDEN if hidden else TagState.OFFERED, notes),
    )


def _offered(labels: Mapping[str, Tree], notes: _Notes) -> bool:
    # A label selector matches text: "True" lists an image nowhere, so neither does it here.
    value = _text(labels, _OFFERED, notes)
    if value not in ("", "true", "false"):
        notes.add(_OFFERED, f'{_picture(value)} is neither "true" nor "false": the stream is not offered')
    return value == "true"


def _origin(labels: Mapping[str, Tree], annotations: Mapping[str, Tree], notes: _Notes) -> str:
    """Where the stream comes from: what its builder says, else "byon" for imported ones, else "shipped"."""
    imported = _text(labels, _CREATED_BY, notes) == "byon"
    return _text(annotations, _ORIGIN, notes) or ("byon" if imported else "shipped")


def _source_url(annotations: Mapping[str, Tree], origin: str, notes: _Notes) -> str:
    url = _text(annotations, _URL, notes)
    if url.lower().startswith(("https://", "http://")):
        return url
    # The dashboard writes the pull location of an imported image there, which is no link.
    if url and origin != "byon":
        notes.add(_URL, f"{_picture(url)} is not a web address: there is no link to the source")
    return ""


def _order(annotations: Mapping[str, Tree], notes: _Notes) -> int:
    text = _text(annotations, _ORDER, notes).strip()
    if not text:
        return DEFAULT_ORDER
    if not _WHOLE_NUMBER.fullmatch(text):
        notes.add(_ORDER, f"{_picture(text)} is not a whole number: {DEFAULT_ORDER} is used")
        return DEFAULT_ORDER
    return int(text)


def _accelerators(annotations: Mapping[str, Tree], notes: _Notes) -> tuple[str, ...]:
    names = _json_list(annotations, _ACCELERATORS, notes)
    for name in names:
        if not isinstance(name, str) or not name:
            notes.add(_ACCELERATORS, f"{_picture(name)} is not the name of a resource")
    return tuple(name for name in names if isinstance(name, str) and name)


def _tags(one: Mapping[str, Tree], state: TagState, notes: _Notes) -> tuple[ImageTag, ...]:
    spec = _mapping(one, "spec", "spec", notes)
    status = _Status.of(_mapping(one, "status", "status", notes), notes)
    tags: dict[str, ImageTag] = {}
    for number, raw in enumerate(_sequence(spec, "tags", "spec.tags", notes)):
        tag = _tag(raw, f"spec.tags[{number}]", status, notes)
        if tag is not None and tag.name in tags:
            replace(notes, tag=tag.name).add("name", "is there twice: the first one counts")
        elif tag is not None:
            tags[tag.name] = tag
    for name, reference in status.newest.items():
        # Pushed into the stream, as a build does it: the document asks for no tag, yet there is an image.
        tags.setdefault(name, ImageTag(name, source=reference, image=reference))
    if not tags:
        notes.add("spec.tags", "the stream has no tags: nothing can be started from it")
    return tuple(replace(_followed(tag, tags, status, notes), state=state) for tag in tags.values())


def _tag(raw: Tree, where: str, status: _Status, notes: _Notes) -> ImageTag | None:
    name = raw.get("name") if isinstance(raw, dict) else None
    if not isinstance(raw, dict):
        notes.add(where, "is not an object: the tag was left out")
        return None
    if not isinstance(name, str) or not _TAG_NAME.fullmatch(name):
        notes.add(f"{where}.name", f"{_picture(name)} is not a name for a tag: the tag was left out")
        return None
    notes = replace(notes, tag=name)
    origin = _mapping(raw, "from", "from", notes)
    annotations = _mapping(raw, "annotations", "annotations", notes)
    importing = _mapping(raw, "importPolicy", "importPolicy", notes)
    kind, source = _text(origin, "kind", notes, "from.kind"), _text(origin, "name", notes, "from.name")
    return ImageTag(
        name=name,
        kind=kind,
        source=source,
        image=_image(kind, source, status.newest.get(name), notes),
        recommended=_recommended(annotations, notes),
        default=_boolean(annotations, _DEFAULT, notes),
        outdated=_boolean(annotations, _OUTDATED, notes),
        scheduled=_boolean(importing, "scheduled", notes, "importPolicy.scheduled"),
        insecure=_boolean(importing, "insecure", notes, "importPolicy.insecure"),
        reference_policy=_reference_policy(raw, notes),
        software=_software(annotations, _SOFTWARE, notes),
        dependencies=_software(annotations, _DEPENDENCIES, notes),
        requirements=_requirements(annotations, notes),
    )


def _image(kind: str, source: str, imported: str | None, notes: _Notes) -> str | None:
    """The reference that the tag itself gives: its digest, else the one last imported, else what is asked for."""
    if kind == "DockerImage" and is_image_reference(source):
        return source if "@" in source else imported or source
    if imported is None and kind == "DockerImage":
        notes.add("from.name", f"{_picture(source)} is not an image reference: nothing can be started from the tag")
    elif imported is None and not kind:
        notes.add("from", "is missing, and nothing was imported: nothing can be started from the tag")
    elif imported is None and kind not in ("ImageStreamTag", "ImageStreamImage"):
        notes.add("from.kind", f"{_picture(kind)} is not DockerImage, ImageStreamTag or ImageStreamImage")
    return imported


def _followed(tag: ImageTag, tags: Mapping[str, ImageTag], status: _Status, notes: _Notes) -> ImageTag:
    """`tag` with the image of what it points to inside its own stream; of an alias, the requirements too."""
    notes = replace(notes, tag=tag.name)
    if tag.image is not None and tag.kind != "ImageStreamTag":
        return tag
    if tag.kind == "ImageStreamImage":
        return replace(tag, image=_by_digest(tag.source, status, notes))
    if tag.kind == "ImageStreamTag":
        target = _target(tag, tags, notes)
        requirements = tag.requirements if target is None or tag.requirements is not None else target.requirements
        return replace(tag, image=(target.image if target else None) or tag.image, requirements=requirements)
    return tag


def _target(tag: ImageTag, tags: Mapping[str, ImageTag], notes: _Notes) -> ImageTag | None:
    """What the alias `tag` stands for in the end; None, with a warning, where that is not a tag of the stream."""
    seen = {tag.name}
    while tag.kind == "ImageStreamTag":
        stream, _, name = tag.source.rpartition(":")
        if stream not in ("", notes.stream) or name not in tags:
            notes.add("from.name", f"{_picture(tag.source)} is not a tag of this stream")
            return None
        if name in seen:
            notes.add("from.name", f"{_picture(tag.source)} leads back to the tag itself")
            return None
        seen.add(name)
        tag = tags[name]
    return tag


def _by_digest(source: str, status: _Status, notes: _Notes) -> str | None:
    stream, _, digest = source.rpartition("@")
    if stream not in ("", notes.stream) or not _DIGEST.fullmatch(digest):
        notes.add("from.name", f"{_picture(source)} is not an image of this stream")
        return None
    found = status.by_digest.get(digest) or (f"{status.repository}@{digest}" if status.repository else None)
    if found is None:
        notes.add("from.name", f"{_picture(source)} is not in the stream's status")
    return found


def _recommended(annotations: Mapping[str, Tree], notes: _Notes) -> bool:
    # The younger name wins where a document carries both.
    key = next((key for key in _RECOMMENDED if key in annotations), _RECOMMENDED[0])
    return _boolean(annotations, key, notes)


def _reference_policy(raw: Mapping[str, Tree], notes: _Notes) -> str:
    policy = _mapping(raw, "referencePolicy", "referencePolicy", notes)
    value = _text(policy, "type", notes, "referencePolicy.type") or "Source"
    if value not in ("Source", "Local"):
        notes.add("referencePolicy.type", f"{_picture(value)} is neither Source nor Local: Source is used")
        return "Source"
    return value


def _software(annotations: Mapping[str, Tree], key: str, notes: _Notes) -> tuple[Software, ...]:
    found = []
    for entry in _json_list(annotations, key, notes):
        name = entry.get("name") if isinstance(entry, dict) else None
        version = entry.get("version") if isinstance(entry, dict) else None
        if isinstance(name, str) and name and (version is None or isinstance(version, str)):
            found.append(Software(name, version or ""))
        else:
            notes.add(key, f"{_picture(entry)} has no name and version")
    return tuple(found)


def _requirements(annotations: Mapping[str, Tree], notes: _Notes) -> tuple[str, ...] | None:
    if annotations.get(REQUIREMENTS) is None:
        return None
    text = _text(annotations, REQUIREMENTS, notes)
    lines = _json_list(annotations, REQUIREMENTS, notes) if text.lstrip().startswith("[") else _lines(text)
    found = []
    for line in lines:
        trouble = check_requirement(line) if isinstance(line, str) else "is not text"
        if trouble is None and isinstance(line, str):
            found.append(line.strip())
        else:
            notes.add(REQUIREMENTS, f"{_picture(line)} {trouble}: it was left out")
    return tuple(found)


def _lines(text: str) -> list[Tree]:
    """The lines of a requirement list without comments, which start at a `#` after a space as in pip's files."""
    lines = [re.sub(r"(^|\s)#.*", "", line).strip() for line in text.splitlines()]
    return [line for line in lines if line]


@dataclass(frozen=True, slots=True)
class _Status:
    """What was imported: the newest reference of each tag, every reference by digest, and the inner repository."""

    newest: Mapping[str, str]
    by_digest: Mapping[str, str]
    repository: str

    @classmethod
    def of(cls, status: Mapping[str, Tree], notes: _Notes) -> _Status:
        newest: dict[str, str] = {}
        by_digest: dict[str, str] = {}
        for number, raw in enumerate(_sequence(status, "tags", "status.tags", notes)):
            name = raw.get("tag") if isinstance(raw, dict) else None
            if not isinstance(raw, dict) or not isinstance(name, str) or not _TAG_NAME.fullmatch(name):
                notes.add(f"status.tags[{number}]", "has no name of a tag")
                continue
            items = _items(raw, replace(notes, tag=name))
            by_digest.update({digest: reference for _, reference, digest in items if digest})
            if items:
                # `max` keeps the first of equals: OpenShift lists the newest first. RFC 3339 in UTC sorts as text.
                newest[name] = max(items, key=lambda item: item[0])[1]
        return cls(newest, by_digest, _text(status, "dockerImageRepository", notes, "status.dockerImageRepository"))


def _items(tag: Mapping[str, Tree], notes: _Notes) -> list[tuple[str, str, str]]:
    """(created, reference, digest) of what was imported for a tag."""
    found = []
    for raw in _sequence(tag, "items", "status.tags.items", notes):
        reference = raw.get("dockerImageReference") if isinstance(raw, dict) else None
        if not isinstance(raw, dict) or not isinstance(reference, str) or not is_image_reference(reference):
            notes.add("status.tags.items", f"{_picture(reference)} is not an image reference")
            continue
        created = _text(raw, "created", notes, "status.tags.items.created")
        found.append((created, reference, _text(raw, "image", notes, "status.tags.items.image")))
    return found


# What follows reads one value of a tree, whatever stands there.


def _mapping(parent: Mapping[str, Tree], key: str, where: str, notes: _Notes) -> dict[str, Tree]:
    value = parent.get(key)
    if isinstance(value, dict):
        return value
    if value not in (None, ""):
        notes.add(where, "is not an object: it was left out")
    return {}


def _sequence(parent: Mapping[str, Tree], key: str, where: str, notes: _Notes) -> list[Tree]:
    value = parent.get(key)
    if isinstance(value, list):
        return value
    if value not in (None, ""):
        notes.add(where, "is not a list: it was left out")
    return []


def _text(parent: Mapping[str, Tree], key: str, notes: _Notes, where: str | None = None) -> str:
    """The text under `key`, empty where there is none."""
    value = parent.get(key)
    if isinstance(value, str):
        return value
    if value is not None:
        notes.add(where or key, "is not text: it was left out")
    return ""


def _boolean(parent: Mapping[str, Tree], key: str, notes: _Notes, where: str | None = None) -> bool:
    """The truth under `key`, false where there is none: an annotation is text, and `'false'` is false."""
    text = _text(parent, key, notes, where).strip().lower()
    if text and text not in _TRUE | _FALSE:
        notes.add(where or key, f"{_picture(text)} is neither true nor false: false is used")
    return text in _TRUE


def _json_list(parent: Mapping[str, Tree], key: str, notes: _Notes) -> list[Tree]:
    """The list in the JSON text under `key`; numbers stay as written, so that version 3.10 is not 3.1."""
    text = _text(parent, key, notes)
    if not text.strip():
        return []
    try:
        value = parse_json(text)
    except json.JSONDecodeError as error:
        notes.add(key, f"is not JSON: {error.msg} at line {error.lineno} column {error.colno}")
        return []
    except RecursionError:
        notes.add(key, "is not JSON that can be read: it is nested too deeply")
        return []
    if not isinstance(value, list):
        notes.add(key, "is not a JSON list")
        return []
    return value


def _picture(value: object) -> str:
    return "nothing" if value is None or value == "" else f"{value!r:.80}"
