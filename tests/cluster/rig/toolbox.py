"""The programs that the cluster tests run, built from source once per version and kept under the cache.

Every tool has a folder of its own, `<cache>/tools/<name>-<version>`. A build happens beside it, under a lock, and is
renamed into place when it is complete, so that a folder that exists is whole.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_HOME = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
CACHE = Path(os.environ.get("AIHUB_CACHE") or _HOME / "aihub")
"""Everything that is kept from run to run."""

SOURCES = Path(__file__).parents[1] / "build"
STRIP = "-s -w"


class CannotBuild(Exception):
    """A tool could not be built."""

    def __init__(self, tool: str, why: str) -> None:
        super().__init__(f"cannot build {tool}: {why}")


@dataclass(frozen=True, slots=True)
class Tool:
    """Something to be built.

    `package` is a Go package that `go install` takes with the version; without one, the sources under `SOURCES/<name>`
    are built by the compiler their files call for. `programs` are the names under which the result is called.
    """

    name: str
    version: str
    programs: tuple[str, ...]
    package: str | None = None
    flags: tuple[str, ...] = field(default=("-ldflags", STRIP))

    @property
    def sources(self) -> Path:
        return SOURCES / self.name

    @property
    def folder(self) -> Path:
        """Where the finished tool is."""
        key = self.version if self.package else f"{self.version}-{_digest(self.sources)}"
        return CACHE / "tools" / f"{self.name}-{key}"

    def program(self, name: str | None = None) -> Path:
        """The path of one of its programs, by default of the first."""
        return self.folder / (name or self.programs[0])


_KUBERNETES = "v1.34.4"
_STAMP = "k8s.io/component-base/version"
KUBERNETES = Tool(
    "kubernetes",
    _KUBERNETES,
    ("kubectl", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"),
    # Without the stamp the binary calls itself v0.0.0, which clients and charts refuse.
    flags=(
        "-ldflags",
        f"{STRIP} -X {_STAMP}.gitVersion={_KUBERNETES} -X {_STAMP}.gitMajor=1 -X {_STAMP}.gitMinor=34",
    ),
)
PAUSE = Tool("pause", "1", ("pause",))
COREDNS = Tool("coredns", "v1.12.4", ("coredns",), "github.com/coredns/coredns")
HELM = Tool("helm", "v3.22.0", ("helm",), "helm.sh/helm/v3/cmd/helm")
HELM4 = Tool("helm4", "v4.3.1", ("helm4",), "helm.sh/helm/v4/cmd/helm")
KUBECONFORM = Tool("kubeconform", "v0.8.0", ("kubeconform",), "github.com/yannh/kubeconform/cmd/kubeconform")
CYCLONUS = Tool("cyclonus", "v0.5.6", ("cyclonus",), "github.com/mattfenwick/cyclonus/cmd/cyclonus")
KWOK = Tool("kwok", "v0.8.0", ("kwok",), "sigs.k8s.io/kwok/cmd/kwok")

GATE = (PAUSE, KUBERNETES, COREDNS, HELM, KUBECONFORM, KWOK, CYCLONUS)
"""What the core of the tests needs, in the order in which it is built."""

TOOLS = {tool.name: tool for tool in (*GATE, HELM4)}
"""Everything there is, by name."""


def ensure(tool: Tool) -> Path:
    """The folder of the tool, built now if it is not there yet. Builds follow one another; two at once help nobody.

    Raises:
        CannotBuild: a compiler is missing or failed; the sentence names the log.
    """
    if tool.folder.exists():
        return tool.folder
    with turn():
        if not tool.folder.exists():
            _build(tool)
    return tool.folder


def program(tool: Tool, name: str | None = None) -> str:
    """The path of a program of the tool, by default of the first: ours, or where there is no Go the machine's own.

    Raises:
        CannotBuild: there is neither.
    """
    if not tool.folder.exists() and shutil.which("go") is None:
        found = shutil.which(name or tool.programs[0])
        if found is None:
            raise CannotBuild(tool.name, f"install Go, or {name or tool.programs[0]} itself")
        return found
    return str(ensure(tool) / (name or tool.programs[0]))


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


@contextmanager
def turn() -> Iterator[None]:
    """Wait until no other run builds; then nobody else does."""
    lock = CACHE / "tools" / ".lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(tool: Tool) -> None:
    print(f"Building {tool.name} {tool.version} …", file=sys.stderr, flush=True)
    begin = time.monotonic()
    unfinished = tool.folder.with_name(f".{tool.folder.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    log = tool.folder.with_name(f"{tool.folder.name}.log")
    command = _command(tool, unfinished)
    if shutil.which(command[0]) is None:
        raise CannotBuild(tool.name, f"there is no {command[0]} on PATH")
    environ = {**os.environ, "CGO_ENABLED": "0", "GOBIN": str(unfinished)}
    with log.open("wb") as output:
        code = subprocess.call(command, cwd=_folder(tool), env=environ, stdout=output, stderr=subprocess.STDOUT)
    if code != 0:
        raise CannotBuild(tool.name, f"{command[0]} ended with {code}; the end of {log}:\n{log.read_text()[-2000:]}")
    _name(tool, unfinished)
    unfinished.rename(tool.folder)
    print(f"Built {tool.name} {tool.version} in {time.monotonic() - begin:.0f} s.", file=sys.stderr, flush=True)


def _folder(tool: Tool) -> Path:
    # `go install package@version` must not see a go.mod.
    return CACHE if tool.package else tool.sources


def _command(tool: Tool, target: Path) -> list[str]:
    if tool.package:
        return ["go", "install", "-trimpath", *tool.flags, f"{tool.package}@{tool.version}"]
    if (tool.sources / "go.mod").exists():
        return ["go", "build", "-trimpath", *tool.flags, "-o", str(target / tool.name), "."]
    return ["gcc", "-Os", "-static", "-s", "-o", str(target / tool.name), f"{tool.name}.c"]


def _name(tool: Tool, folder: Path) -> None:
    """Give what was built the names it is called by."""
    built = next(folder.iterdir())
    if len(tool.programs) == 1:
        built.rename(folder / tool.programs[0])
        return
    for program in tool.programs:
        (folder / program).symlink_to(built.name)


def main(names: Sequence[str]) -> None:
    """Build the tools with these names, or all."""
    unknown = [name for name in names if name not in TOOLS]
    if unknown:
        raise SystemExit(f"no such tool: {', '.join(unknown)}; there are {', '.join(TOOLS)}")
    try:
        for name in names or TOOLS:
            ensure(TOOLS[name])
    except CannotBuild as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main(sys.argv[1:])
