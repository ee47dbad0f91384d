"""Image streams with their tags: what a server can be started from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from aihub.text import Text

__all__ = ["Catalog", "ImageStream", "ImageTag", "Software", "StartAdapter", "TagState", "is_image_reference"]

# The grammar of https://github.com/distribution/reference, reference.go.
_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*|\[[0-9a-fA-F:]+\])"
_PATH = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?:{_HOST}(?::[0-9]+)?/)?{_PATH}(?:/{_PATH})*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?(?:@sha(?:256:[0-9a-f]{{64}}|512:[0-9a-f]{{128}}))?"
)
_LONGEST_REFERENCE = 512


def is_image_reference(text: str) -> bool:
    """Whether `text` can be pulled as it stands: repository in lower case, then a tag, a digest or both, or neither."""
    return len(text) <= _LONGEST_REFERENCE and _REFERENCE.fullmatch(text) is not None


class TagState(StrEnum):
    """What the admin says of a tag, and an instructor among the admin's tags."""

    OFFERED = "offered"
    HIDDEN = "hidden"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class Software:
    """A piece of software that a tag contains, as its page lists it."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class ImageTag:
    """One tag of an image stream.

    `kind` and `source` are `from.kind` and `from.name` of the ImageStream document. `image` is the reference a
    container would run, None while it is not known. `requirements` is what the tag's kernel environment on one
    machine is made from (requirement strings of pip), None where the tag has no such environment.
    """

    name: str
    kind: str = "DockerImage"
    source: str = ""
    image: str | None = None
    recommended: bool = False
    default: bool = False
    outdated: bool = False
    scheduled: bool = False
    insecure: bool = False
    reference_policy: str = "Source"
    software: tuple[Software, ...] = ()
    dependencies: tuple[Software, ...] = ()
    requirements: tuple[str, ...] | None = None
    state: TagState = TagState.OFFERED
    successor: str | None = None
    """Name of the tag of the same stream, or "stream:tag", that follows a retired one."""


@dataclass(frozen=True, slots=True)
class StartAdapter:
    """How a container of a stream's images starts: its command, the port that it serves, its home, and its user id."""

    command: tuple[str, ...] = ("jupyterhub-singleuser",)
    port: int = 8888
    home: str = "/home/jovyan"
    uid: int = 1000


@dataclass(frozen=True, slots=True)
class ImageStream:
    """An image and its tags. `offered` is false for streams that their document does not list.

    `pull_secrets` are the Secrets in the namespace of the server that its registry asks for.
    """

    name: str
    display_name: Text = Text()
    description: Text = Text()
    offered: bool = True
    order: int = 100
    origin: str = ""
    source_url: str = ""
    accelerators: tuple[str, ...] = ()
    tags: tuple[ImageTag, ...] = ()
    pull_secrets: tuple[str, ...] = ()
    start: StartAdapter = StartAdapter()

    def tag(self, name: str) -> ImageTag | None:
        """The tag called `name`."""
        return next((tag for tag in self.tags if tag.name == name), None)

    def made_for(self, accelerator: str) -> bool:
        """Whether the image suits the resource `accelerator`: it declares none, or one of the same vendor domain."""
        vendor = accelerator.partition("/")[0]
        return not self.accelerators or any(own.partition("/")[0] == vendor for own in self.accelerators)


@dataclass(frozen=True, slots=True)
class Catalog:
    """All image streams by name; `find`, `references` and `among` cost no search through them."""

    streams: Mapping[str, ImageStream] = field(default_factory=lambda: MappingProxyType({}))
    _found: Mapping[str, tuple[ImageStream, ImageTag]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        found: dict[str, tuple[ImageStream, ImageTag]] = {}
        for stream in sorted(self.streams.values(), key=_place):
            for tag in stream.tags:
                found.setdefault(f"{stream.name}:{tag.name}", (stream, tag))
        object.__setattr__(self, "_found", MappingProxyType(found))

    @classmethod
    def of(cls, streams: Iterable[ImageStream]) -> Catalog:
        """The catalog of `streams`; of two with one name the first."""
        found: dict[str, ImageStream] = {}
        for stream in streams:
            found.setdefault(stream.name, stream)
        return cls(MappingProxyType(found))

    def find(self, reference: str) -> tuple[ImageStream, ImageTag] | None:
        """The stream and tag that "stream:tag" names."""
        return self._found.get(reference)

    def references(self) -> Iterator[str]:
        """Every "stream:tag", in the order of the streams."""
        return iter(self._found)

    def among(self, ids: AbstractSet[str]) -> Iterator[str]:
        """Every "stream:tag" that `ids` name by itself or with its whole stream, in the order of the streams."""
        named = {name: self.streams[name] for name in (each.partition(":")[0] for each in ids) if name in self.streams}
        for stream in sorted(named.values(), key=_place):
            references = dict.fromkeys(f"{stream.name}:{tag.name}" for tag in stream.tags)
            yield from (each for each in references if stream.name in ids or each in ids)


def _place(stream: ImageStream) -> tuple[int, str]:
    return stream.order, stream.name
