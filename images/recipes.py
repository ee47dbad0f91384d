"""Which images there are, of which files each is made, and the content hash by which a built one is known again."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["RECIPES", "Origin", "Recipe", "content_hash", "copy_inputs", "input_files", "origin", "with_parents"]

ROOT = Path(__file__).parents[1]

FORMAT = 2
"""Part of every hash: raised when images are built differently from the same files."""

NEVER = frozenset({"__pycache__"})
"""Folders that no image is made of, where git does not say so."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """One image: the folder `images/<name>` and what its Dockerfile copies besides.

    `check` is a shell command, run in the built image as the image's own user, that fails unless the program starts.
    """

    name: str
    inputs: tuple[str, ...]
    check: str
    parent: str | None = None
    stock: bool = True
    """Whether it is built when no image is named."""

    @property
    def paths(self) -> tuple[str, ...]:
        """All files and folders of the checkout that it is made of."""
        return (f"images/{self.name}", *self.inputs)


RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "hub",
            ("images/builder.txt", "pyproject.toml", "README.md", "LICENSE", "config/demo", "aihub"),
            "aihub hub --help && python -c 'import aihub.cull, aihub.hub, jupyterhub.app, kubespawner, psycopg'",
        ),
        Recipe(
            "proxy",
            ("aihub/proxy/package.json", "aihub/proxy/package-lock.json"),
            "configurable-http-proxy --version",
        ),
        Recipe(
            "singleuser-base",
            ("images/builder.txt", "aihub/__init__.py", "aihub/singleuser"),
            # A cell, executed by the kernel that the server finds.
            "jupyterhub-singleuser --version && git --version"
            " && /opt/jupyter/bin/python -c 'import aihub.singleuser, nbgitpuller'"
            " && echo 'import sys; print(sys.prefix)' | /opt/jupyter/bin/jupyter-run --kernel python3"
            " | grep -x /opt/kernel",
        ),
        Recipe(
            "singleuser-scipy",
            ("images/builder.txt",),
            "python -c 'import ipywidgets, matplotlib.pyplot, numpy, pandas, scipy.stats, sklearn.linear_model'",
            parent="singleuser-base",
        ),
        Recipe(
            "singleuser-pytorch",
            ("images/builder.txt",),
            "python -c 'import torch, torchvision; assert torch.version.cuda; assert torch.ones(2).sum() == 2'",
            parent="singleuser-scipy",
            stock=False,
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an image's files come from: the repository's address, and the commit that last changed one of them."""

    source: str
    revision: str


def with_parents(names: Iterable[str]) -> tuple[Recipe, ...]:
    """The recipes of `names` and of all images they are made from, parents first. Raises KeyError for other names."""
    found: dict[str, Recipe] = {}
    for name in names:
        line = [RECIPES[name]]
        while line[-1].parent is not None:
            line.append(RECIPES[line[-1].parent])
        found.update({recipe.name: recipe for recipe in reversed(line)})
    return tuple(found.values())


def input_files(recipe: Recipe, root: Path = ROOT) -> tuple[Path, ...]:
    """The files that the image is made of, relative to `root` and sorted: what git knows or would add."""
    listed = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *recipe.paths)
    if listed is not None:
        names = {Path(name) for name in listed.split("\0") if name}
        return tuple(sorted(name for name in names if (root / name).is_file()))
    found = (file for path in recipe.paths for file in [root / path, *(root / path).rglob("*")] if file.is_file())
    relative = {file.relative_to(root) for file in found}
    return tuple(sorted(name for name in relative if NEVER.isdisjoint(name.parts)))


def copy_inputs(recipe: Recipe, target: Path, root: Path = ROOT) -> None:
    """Make `target` the folder that the Dockerfile copies from: the image's files and no others."""
    for file in input_files(recipe, root):
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / file, target / file)


def content_hash(recipe: Recipe, *, base: str, parent: str | None, labels: Iterable[str], root: Path = ROOT) -> str:
    """16 hex digits that change when the result would: by a file, the base image, the parent's hash or a label."""
    digest = hashlib.sha256(repr((FORMAT, recipe.check, base, parent, *labels)).encode())
    for file in input_files(recipe, root):
        content = (root / file).read_bytes()
        executable = bool((root / file).stat().st_mode & 0o100)
        digest.update(repr((file.as_posix(), executable, len(content))).encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def origin(recipe: Recipe, root: Path = ROOT) -> Origin:
    """The labels' source and revision; "unknown" outside a git checkout, "-dirty" after a change not committed."""
    revision = (_git(root, "log", "-1", "--format=%H", "--", *recipe.paths) or "").strip()
    if not revision:
        return Origin("unknown", "unknown")
    dirty = (_git(root, "status", "--porcelain", "--", *recipe.paths) or "").strip()
    remote = (_git(root, "remote", "get-url", "origin") or "").strip()
    return Origin(_without_password(remote) or "unknown", f"{revision}-dirty" if dirty else revision)


def _without_password(address: str) -> str:
    scheme, separator, rest = address.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if separator else address


def _git(root: Path, *arguments: str) -> str | None:
    """What git prints; None where there is no git or no checkout."""
    try:
        run = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return run.stdout if run.returncode == 0 else None
