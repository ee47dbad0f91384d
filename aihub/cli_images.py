"""The commands `aihub images …`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from aihub.catalog import ImageStream, ImageTag
    from aihub.imagestreams import CatalogWarning, Read

__all__ = ["images"]


@click.group()
def images() -> None:
    """Look at image streams."""


@images.command("list")
@click.argument("files", metavar="FILE…", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True, help="What to print."
)
def list_images(files: tuple[Path, ...], form: str) -> None:
    """Print the image streams that ImageStream documents hold, and what in them could not be used.

    A FILE holds one document, several, or a List, as YAML or JSON. Whatever is odd costs one item and gives a
    warning. Exit status: 0 when every file was read, 2 when one could not be read at all.

    \b
    Examples:
      aihub images list streams/*.yaml
      oc get imagestreams -o yaml > streams.yaml && aihub images list streams.yaml
      aihub images list --format json streams.yaml | jq -r '.streams[].name'
    """  # noqa: D301 - click reads the character \b
    reads = [(file, _read(file)) for file in files]
    found = [read for _, read in reads if read is not None]
    if form == "json":
        click.echo(json.dumps(_as_json(found), indent=2))
    else:
        _print_text(found)
    if len(found) < len(reads):
        sys.exit(2)


def _read(file: Path) -> Read | None:
    """What `file` holds; None, with a line on stderr, when it cannot be read at all."""
    from aihub.errors import CatalogError  # noqa: PLC0415 - `aihub version` need not load YAML
    from aihub.imagestreams import read_documents  # noqa: PLC0415 - as above

    try:
        return read_documents(file.read_text(encoding="utf-8-sig"), str(file))
    except OSError as error:
        problem = f"{file}: {(error.strerror or str(error)).lower()}"
    except UnicodeDecodeError as error:
        problem = f"{file}: is not UTF-8 text (byte {error.start})"
    except CatalogError as error:
        problem = str(error)
    click.echo(f"aihub images list: {_inert(problem)}", err=True)
    return None


def _as_json(reads: list[Read]) -> dict[str, object]:
    return {
        "streams": [_stream_as_json(stream) for read in reads for stream in read.streams],
        "warnings": [_warning_as_json(warning) for read in reads for warning in read.warnings],
    }


def _stream_as_json(stream: ImageStream) -> dict[str, object]:
    return {
        "name": stream.name,
        "displayName": stream.display_name.plain,
        "description": stream.description.plain,
        "offered": stream.offered,
        "order": stream.order,
        "origin": stream.origin,
        "tags": [_tag_as_json(tag) for tag in stream.tags],
    }


def _tag_as_json(tag: ImageTag) -> dict[str, object]:
    return {
        "name": tag.name,
        "kind": tag.kind,
        "from": tag.source,
        "recommended": tag.recommended,
        "default": tag.default,
        "outdated": tag.outdated,
        "scheduled": tag.scheduled,
        "insecure": tag.insecure,
        "referencePolicy": tag.reference_policy,
        "software": [{"name": one.name, "version": one.version} for one in tag.software],
    }


def _warning_as_json(warning: CatalogWarning) -> dict[str, object]:
    return {
        "file": warning.file,
        "stream": warning.stream,
        "tag": warning.tag,
        "field": warning.field,
        "message": warning.message,
    }


def _print_text(reads: list[Read]) -> None:
    """The streams on stdout, the warnings on stderr."""
    for read in reads:
        for stream in read.streams:
            for line in _stream_lines(stream):
                click.echo(_inert(line))
    for read in reads:
        for warning in read.warnings:
            click.echo(_inert(f"warning: {warning}"), err=True)


def _stream_lines(stream: ImageStream) -> Iterator[str]:
    state = "offered" if stream.offered else "not offered"
    yield f"{stream.name}  {stream.display_name.plain}  ({state}, order {stream.order}, {stream.origin})"
    width = max((len(tag.name) for tag in stream.tags), default=0)
    for tag in stream.tags:
        yield f"  {tag.name:<{width}}  {tag.image or tag.source or '-'}{_marks(tag)}"
        if tag.software:
            yield f"  {'':<{width}}  {', '.join(f'{one.name} {one.version}'.strip() for one in tag.software)}"


def _marks(tag: ImageTag) -> str:
    said = {
        "default": tag.default,
        "recommended": tag.recommended,
        "outdated": tag.outdated,
        "scheduled": tag.scheduled,
        "insecure": tag.insecure,
        "local": tag.reference_policy == "Local",
        "cannot be started": tag.image is None,
    }
    marks = ", ".join(mark for mark, holds in said.items() if holds)
    return f"  [{marks}]" if marks else ""


def _inert(text: str) -> str:
    """`text` without what a terminal would act on: control and bidirectional characters."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
