"""Builds AIHub's images, `python -m images.build`; needs nothing but Python and Docker, Podman or Buildah.

An image is known by the hash of all it is made of, and built only if none with that hash is there. Caches (AIHUB_CACHE,
else ~/.cache/aihub) hold what uv, npm and debootstrap fetched, what was pushed, and the last build's log.
"""

from __future__ import annotations

import argparse
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aihub import __version__
from images.base import base_image
from images.cache import alone, cache_folder
from images.engines import CannotBuild, Engine, Run, find_engine
from images.recipes import RECIPES, Recipe, content_hash, copy_inputs, origin, with_parents

__all__ = ["REGISTRY", "Built", "Works", "build", "logged", "main"]

REGISTRY = "localhost:5000"
LAST_LINES = 30
"""Lines of a failed program that are shown."""


@dataclass(frozen=True, slots=True)
class Built:
    """An image that is there now."""

    name: str
    reference: str
    """`<registry>/aihub/<name>:<version>`; another build moves it."""
    digest: str | None
    """Of the manifest in the registry, "sha256:…"; None if it was not pushed."""
    size: int
    """Bytes, uncompressed."""
    seconds: float
    """What building and pushing took."""
    reused: bool
    """Whether an earlier build of the same content was taken."""

    @property
    def pinned(self) -> str:
        """The reference by digest, which nothing moves. Raises ValueError for an image that was not pushed."""
        if self.digest is None:
            raise ValueError(f"{self.reference} was not pushed and has no digest")
        return f"{self.reference.rpartition(':')[0]}@{self.digest}"


def build(
    names: Iterable[str] | None = None,
    registry: str = REGISTRY,
    *,
    push: bool = True,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Built]:
    """Build the named images (by default those of `make images`), check that they start, push them.

    Images that they are made from are built too, and not pushed. Where an image is being built already, this waits.
    Raises CannotBuild, with the last lines of what failed; KeyError for a name that is no image's.
    """
    wanted = tuple(names) if names is not None else tuple(recipe.name for recipe in RECIPES.values() if recipe.stock)
    recipes = with_parents(wanted)
    cache = cache_folder()
    run = logged(cache / "images.log")
    engine = find_engine(cache, run)
    with alone(cache, "base", say):
        base = base_image(engine, cache, run, say)
    works = Works(engine, base, registry, say)
    for recipe in recipes:
        with alone(cache, recipe.name, say):
            works.make(recipe, push=push and recipe.name in wanted)
    return {name: works.built[name] for name in wanted}


class Works:
    """One run over several images, of which later ones may be made from earlier ones."""

    def __init__(self, engine: Engine, base: str, registry: str, say: Callable[[str], None]) -> None:
        self.built: dict[str, Built] = {}
        self._engine = engine
        self._base = base
        self._registry = registry
        self._say = say
        self._hashes: dict[str, str] = {}

    def make(self, recipe: Recipe, *, push: bool) -> None:
        """Build one image unless it is there, and push it if asked to."""
        began = time.monotonic()
        labels = origin(recipe)
        dirty = "dirty" if labels.revision.endswith("-dirty") else ""
        parent = self._hashes[recipe.parent] if recipe.parent else None
        key = content_hash(recipe, base=self._base, parent=parent, labels=(__version__, labels.source, dirty))
        self._hashes[recipe.name] = key
        tag = f"localhost/aihub/{recipe.name}:{key}"
        reused = self._engine.has(tag)
        if not reused:
            self._say(f"Building {recipe.name} …")
            arguments = {"SOURCE": labels.source, "REVISION": labels.revision, "VERSION": __version__}
            arguments["BUILD"] = secrets.token_hex(8)
            self._build(recipe, tag, arguments)
        reference = f"{self._registry}/aihub/{recipe.name}:{__version__}"
        digest = self._engine.push(tag, reference) if push else None
        if not push:
            self._engine.name(tag, reference)
        seconds = time.monotonic() - began
        self.built[recipe.name] = Built(recipe.name, reference, digest, self._engine.size(tag), seconds, reused)
        self._say(_line(self.built[recipe.name]))

    def _build(self, recipe: Recipe, tag: str, arguments: Mapping[str, str]) -> None:
        """Build under a name of its own; only what passed its check gets the tag by which it is found again."""
        unchecked = f"localhost/aihub/{recipe.name}:unchecked"
        names = {"BASE_IMAGE": self._base}
        if recipe.parent:
            names["PARENT_IMAGE"] = f"localhost/aihub/{recipe.parent}:{self._hashes[recipe.parent]}"
        with tempfile.TemporaryDirectory(prefix="aihub-image-") as folder:
            context = Path(folder)
            copy_inputs(recipe, context)
            dockerfile = context / "images" / recipe.name / "Dockerfile"
            self._engine.build(dockerfile, context, unchecked, {**names, **arguments})
        self._engine.check(unchecked, recipe.check)
        self._engine.name(unchecked, tag)


def _line(built: Built) -> str:
    how = "unchanged" if built.reused else "built"
    digest = f"  {built.digest}" if built.digest else ""
    return f"{built.reference}  {built.size / 1e6:.0f} MB  {built.seconds:.0f} s, {how}{digest}"


def logged(path: Path) -> Run:
    """Runs programs, and adds what they print to the file `path`; of one that fails the last lines are shown."""
    path.unlink(missing_ok=True)

    def run(command: Sequence[str], *, environ: Mapping[str, str] | None = None) -> str:
        with path.open("a+", encoding="utf-8", errors="replace") as log:
            log.write(f"\n$ {' '.join(command)}\n")
            log.flush()
            began = log.tell()
            done = subprocess.run(
                command, env={**os.environ, **(environ or {})}, check=False, text=True, errors="replace",
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
            log.write(done.stdout)
            log.seek(began)
            last = log.readlines()[-LAST_LINES:]
        if done.returncode != 0:
            raise CannotBuild(f"{''.join(last)}{command[0]} failed with status {done.returncode}; all it said: {path}")
        return done.stdout

    return run


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m images.build", description="Build AIHub's images.")
    stock = ",".join(recipe.name for recipe in RECIPES.values() if recipe.stock)
    parser.add_argument("--only", metavar="NAMES", default=stock, help="default: %(default)s")
    parser.add_argument("--registry", default=REGISTRY, help="first part of their names; default: %(default)s")
    parser.add_argument("--push", action="store_true", help="push them there")
    given = parser.parse_args(arguments)
    names = given.only.split(",")
    if unknown := set(names) - set(RECIPES):
        parser.error(f"no image is called {', '.join(sorted(unknown))}; there are {', '.join(RECIPES)}")
    try:
        build(names, given.registry, push=given.push, say=_print)
    except CannotBuild as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    return 0


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
