"""The chart, rendered by the real helm as its tests read it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.rig.toolbox import HELM, Tool, ensure

ROOT = Path(__file__).parents[1]
CHART = ROOT / "helm" / "aihub"
DATA = Path(__file__).parent / "data" / "chart"
EVERYTHING = DATA / "everything.yaml"
EXAMPLES = sorted((CHART / "examples").glob("*.yaml"))

KUBERNETES = "1.34.4"
"""For a helm that was built without its own idea of the newest version."""

Object = dict[str, Any]


class HelmError(Exception):
    """Helm refused; the text is what it said."""


def helm(*arguments: str | Path, text: str = "", tool: Tool = HELM) -> str:
    """What helm prints. Raises HelmError."""
    command = [str(ensure(tool) / tool.programs[0]), *map(str, arguments)]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise HelmError(done.stderr)
    return done.stdout


def render(
    *files: Path,
    values: Mapping[str, Any] | None = None,
    chart: Path = CHART,
    release: str = "aihub",
    namespace: str = "aihub",
    tool: Tool = HELM,
) -> str:
    """The manifests of a release, `values` over `files` over the defaults. Raises HelmError."""
    arguments: list[str | Path] = ["template", release, chart, "--kube-version", KUBERNETES, "--namespace", namespace]
    for file in files:
        arguments += ["--values", file]
    return helm(*arguments, "--values", "-", text=yaml.safe_dump(dict(values or {})), tool=tool)


def objects(manifests: str) -> list[Object]:
    """The objects in what was rendered."""
    return [each for each in yaml.safe_load_all(manifests) if each]


def named(manifests: str, kind: str, name: str) -> Object:
    """One object."""
    (found,) = [o for o in objects(manifests) if o["kind"] == kind and o["metadata"]["name"] == name]
    return found


def pod_specs(manifests: str) -> Iterator[tuple[str, Object]]:
    """Kind with name, and the pod spec, of everything that runs."""
    for each in objects(manifests):
        spec = each["spec"] if each["kind"] == "Pod" else each.get("spec", {}).get("template", {}).get("spec")
        if spec is not None:
            yield f"{each['kind']}/{each['metadata']['name']}", spec


def paths(values: Mapping[str, Any], at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of everything in `values` that is no map, or an empty one."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from paths(value, (*at, key))
        else:
            yield (*at, key)


def at(values: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """What stands at a path."""
    found: Any = values
    for key in path:
        found = found[key]
    return found


def read(path: Path) -> dict[str, Any]:
    """A YAML file."""
    loaded: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return loaded
