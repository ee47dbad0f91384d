"""The program that builds the images, on fakes of Docker and Buildah; and the Dockerfiles, as text."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from images import base
from images.build import LAST_LINES, Built, Works, build, logged, main
from images.cache import alone, cache_folder
from images.engines import Buildah, CannotBuild, Docker, find_engine, is_local
from images.recipes import RECIPES, Recipe, content_hash, copy_inputs, input_files, origin, with_parents

ROOT = Path(__file__).parents[1]
LOCKS = sorted((ROOT / "images").rglob("*.txt"))
DIGEST = "sha256:" + "1" * 64


def silent(_: str) -> None: ...


# --- recipes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "made"),
    [
        (["hub"], ["hub"]),
        (["proxy", "hub"], ["proxy", "hub"]),
        (["singleuser-pytorch"], ["singleuser-base", "singleuser-scipy", "singleuser-pytorch"]),
        (["singleuser-scipy", "singleuser-base"], ["singleuser-base", "singleuser-scipy"]),
        ([], []),
    ],
    ids=["one", "in order", "grandparents first", "each once", "none"],
)
def test_parents_are_made_first(names: list[str], made: list[str]) -> None:
    assert [recipe.name for recipe in with_parents(names)] == made


def test_an_image_that_is_none() -> None:
    with pytest.raises(KeyError):
        with_parents(["tensorflow"])


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    run = subprocess.run(["git", "-C", folder, *identity, *arguments], check=True, capture_output=True, text=True)
    return run.stdout.strip()


RECIPE = Recipe("tool", ("lib", "LICENSE"), "tool --version")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with an image's files, and others."""
    root = tmp_path / "checkout"
    files = {
        "LICENSE": "free",
        "README.md": "read",
        "images/tool/Dockerfile": "FROM x",
        "lib/a.py": "a",
        "lib/deep/b.py": "b",
        "lib/__pycache__/a.pyc": "x",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture
def checkout(tree: Path) -> Path:
    """The same as a git checkout, all committed."""
    (tree / ".gitignore").write_text("__pycache__/\n")
    git(tree, "init", "-q")
    git(tree, "add", ".")
    git(tree, "commit", "-q", "-m", "first")
    return tree


MADE_OF = ["LICENSE", "images/tool/Dockerfile", "lib/a.py", "lib/deep/b.py"]


@pytest.mark.parametrize("kind", ["tree", "checkout"])
def test_an_image_is_made_of_its_files_alone(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    root = request.getfixturevalue(kind)
    assert [str(file) for file in input_files(RECIPE, root)] == MADE_OF
    copy_inputs(RECIPE, tmp_path / "context", root)
    copied = [file for file in (tmp_path / "context").rglob("*") if file.is_file()]
    assert sorted(str(file.relative_to(tmp_path / "context")) for file in copied) == MADE_OF


def test_files_that_git_would_add_count_and_files_taken_away_do_not(checkout: Path) -> None:
    (checkout / "lib/new.py").write_text("new")
    (checkout / "lib/a.py").unlink()
    found = [str(file) for file in input_files(RECIPE, checkout) if file.parts[0] == "lib"]
    assert found == ["lib/deep/b.py", "lib/new.py"]


def key(root: Path, recipe: Recipe = RECIPE, base: str = "debian", parent: str | None = None, label: str = "1") -> str:
    return content_hash(recipe, base=base, parent=parent, labels=(label,), root=root)


def test_the_hash_changes_with_all_that_the_image_is_made_of(tree: Path) -> None:
    before = key(tree)
    assert re.fullmatch("[0-9a-f]{16}", before)
    others = [
        key(tree, base="other"),
        key(tree, parent="0a"),
        key(tree, label="2"),
        key(tree, replace(RECIPE, check="tool --help")),
    ]
    (tree / "lib/a.py").write_text("changed")
    others.append(key(tree))
    (tree / "lib/a.py").write_text("a")
    (tree / "lib/a.py").chmod(0o755)
    others.append(key(tree))
    (tree / "lib/a.py").chmod(0o644)
    (tree / "lib/a.py").rename(tree / "lib/c.py")
    others.append(key(tree))
    assert len({before, *others}) == 8


def test_the_hash_does_not_change_with_other_files(tree: Path) -> None:
    before = key(tree)
    (tree / "README.md").write_text("changed")
    (tree / "lib/__pycache__/a.pyc").write_text("changed")
    assert key(tree) == before


def test_origin_is_the_commit_that_last_changed_the_image(checkout: Path) -> None:
    first = git(checkout, "rev-parse", "HEAD")
    (checkout / "README.md").write_text("changed")
    git(checkout, "commit", "-q", "-a", "-m", "another file")
    assert origin(RECIPE, checkout).revision == first
    (checkout / "lib/a.py").write_text("changed")
    assert origin(RECIPE, checkout).revision == f"{first}-dirty"


@pytest.mark.parametrize(
    ("remote", "source"),
    [
        ("https://git.example.org/aihub", "https://git.example.org/aihub"),
        ("https://ada:secret@git.example.org/aihub", "https://git.example.org/aihub"),
        ("git@git.example.org:aihub.git", "git@git.example.org:aihub.git"),
        (None, "unknown"),
    ],
    ids=["address", "password", "ssh", "none"],
)
def test_source_is_the_remote_without_its_password(checkout: Path, remote: str | None, source: str) -> None:
    if remote:
        git(checkout, "remote", "add", "origin", remote)
    assert origin(RECIPE, checkout).source == source


def test_origin_outside_a_checkout(tree: Path) -> None:
    found = origin(RECIPE, tree)
    assert (found.source, found.revision) == ("unknown", "unknown")


# --- engines ---------------------------------------------------------------------------------------------------------


@dataclass
class Recorder:
    """Runs nothing; keeps the commands, and answers those that begin with certain words."""

    answers: Mapping[str, str] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    fails: str = "nothing"

    def __call__(self, command: Sequence[str], *, environ: Mapping[str, str] | None = None) -> str:
        line = " ".join(command).replace("buildah --storage-driver overlay", "buildah")
        self.commands.append(line)
        if "--digestfile" in command:
            Path(command[command.index("--digestfile") + 1]).write_text(f"{DIGEST}\n")
        if line.startswith(self.fails):
            raise CannotBuild(line)
        return next((answer for words, answer in self.answers.items() if line.startswith(words)), "")

    def said(self, words: str) -> str:
        """The one command that begins with `words`."""
        (line,) = [line for line in self.commands if line.startswith(words)]
        return line


def programs(folder: Path, **scripts: str) -> str:
    """A PATH with these programs alone, each a line of shell."""
    folder.mkdir(exist_ok=True)
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return str(folder)


@pytest.mark.parametrize(
    ("there", "engine"),
    [
        ({"docker": "exit 0", "podman": "exit 0", "buildah": "exit 0"}, "docker"),
        ({"docker": "exit 1", "podman": "exit 0"}, "podman"),
        ({"docker": "exit 1", "buildah": "exit 0"}, "buildah"),
    ],
    ids=["docker", "docker without its daemon", "buildah alone"],
)
def test_the_engine_is_the_first_that_works(
    there: dict[str, str], engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", programs(tmp_path / "bin", **there))
    found = find_engine(tmp_path, Recorder())
    assert (found.program if isinstance(found, Docker) else "buildah") == engine


def test_no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", programs(tmp_path / "bin"))
    with pytest.raises(CannotBuild, match="Docker, Podman or Buildah is needed"):
        find_engine(tmp_path, Recorder())


@pytest.mark.parametrize(
    ("reference", "local"),
    [
        ("localhost:5000/aihub/hub:1", True),
        ("127.0.0.1:5000/aihub/hub:1", True),
        ("[::1]:5000/aihub/hub:1", True),
        ("registry.example.org/aihub/hub:1", False),
        ("localhost.example.org:5000/aihub/hub:1", False),
    ],
)
def test_only_a_registry_on_this_machine_is_spoken_to_without_tls(reference: str, local: bool) -> None:
    assert is_local(reference) is local


def test_docker_pushes_under_the_reference_and_reads_the_digest_of_that_repository() -> None:
    listed = json.dumps([f"elsewhere.org/aihub/hub@sha256:{'2' * 64}", f"localhost:5000/aihub/hub@{DIGEST}"])
    run = Recorder({"docker image inspect": listed})
    assert Docker("docker", run).push("localhost/aihub/hub:0a", "localhost:5000/aihub/hub:1") == DIGEST
    assert run.commands[:2] == [
        "docker tag localhost/aihub/hub:0a localhost:5000/aihub/hub:1",
        "docker push localhost:5000/aihub/hub:1",
    ]


def test_docker_that_names_no_digest() -> None:
    with pytest.raises(CannotBuild, match="under which digest"):
        Docker("docker", Recorder({"docker image inspect": "[]"})).push("tag", "localhost:5000/aihub/hub:1")


def test_podman_is_told_that_a_local_registry_has_no_tls() -> None:
    run = Recorder({"podman image inspect": json.dumps([f"localhost:5000/aihub/hub@{DIGEST}"])})
    Docker("podman", run).push("tag", "localhost:5000/aihub/hub:1")
    assert run.said("podman push") == "podman push --tls-verify=false localhost:5000/aihub/hub:1"


def test_buildah_needs_neither_daemon_nor_namespaces(tmp_path: Path) -> None:
    run = Recorder()
    Buildah(tmp_path, run).build(Path("D"), Path("ctx"), "tag", {"BASE_IMAGE": "debian"})
    assert run.commands == [
        "buildah build --isolation chroot --network host --layers --build-arg BASE_IMAGE=debian -f D -t tag ctx"
    ]


@pytest.mark.parametrize(("listed", "size"), [("512 B", 512), ("372 MB", 372_000_000), ("1.07 GB", 1_070_000_000)])
def test_buildah_lists_sizes(listed: str, size: int, tmp_path: Path) -> None:
    run = Recorder({"buildah images --json tag": json.dumps([{"size": listed}])})
    assert Buildah(tmp_path, run).size("tag") == size


def test_buildah_leaves_no_container_of_a_failed_check(tmp_path: Path) -> None:
    run = Recorder({"buildah from": "box\n"}, fails="buildah run")
    with pytest.raises(CannotBuild):
        Buildah(tmp_path, run).check("tag", "false")
    assert run.commands[-1] == "buildah rm box"


def test_what_buildah_pushed_is_archived_and_then_only_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", programs(tmp_path / "bin", skopeo="exit 0"))
    run, archive = Recorder(), tmp_path / "images"
    engine = Buildah(tmp_path, run)
    assert engine.push("localhost/aihub/hub:0a", "localhost:5000/aihub/hub:1") == DIGEST
    assert "--tls-verify=false" in run.said("buildah push")
    copied = run.said("skopeo copy")
    assert copied.endswith(f" docker://localhost:5000/aihub/hub:1 oci:{archive}:hub-0a")
    assert "--src-tls-verify=false" in copied

    run.commands.clear()
    entry = {"annotations": {"org.opencontainers.image.ref.name": "hub-0a"}}
    (archive / "index.json").write_text(json.dumps({"manifests": [{}, entry]}))
    assert engine.push("localhost/aihub/hub:0a", "hub.example.org/aihub/hub:1") == DIGEST
    (copied,) = run.commands
    assert copied.endswith(f" oci:{archive}:hub-0a docker://hub.example.org/aihub/hub:1")
    assert "--dest-tls-verify=true" in copied


def test_buildah_without_skopeo_pushes_and_keeps_no_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", programs(tmp_path / "bin"))
    run = Recorder()
    assert Buildah(tmp_path, run).push("localhost/aihub/hub:0a", "hub.example.org/aihub/hub:1") == DIGEST
    (pushed,) = run.commands
    assert "--tls-verify=true" in pushed


@pytest.mark.parametrize(
    ("stored", "archived", "there"),
    [(True, False, True), (False, True, True), (False, False, False)],
    ids=["in storage", "in the archive", "nowhere"],
)
def test_what_buildah_has(
    stored: bool, archived: bool, there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", programs(tmp_path / "bin", skopeo="exit 0", buildah=f"exit {int(not stored)}"))
    run = Recorder()
    if archived:
        (tmp_path / "images").mkdir()
        entry = {"annotations": {"org.opencontainers.image.ref.name": "hub-0a"}}
        (tmp_path / "images/index.json").write_text(json.dumps({"manifests": [entry]}))
    assert Buildah(tmp_path, run).has("localhost/aihub/hub:0a") is there
    if archived:
        source = f"oci:{tmp_path}/images:hub-0a"
        assert run.said("skopeo") == f"skopeo copy --quiet {source} containers-storage:localhost/aihub/hub:0a"


# --- building --------------------------------------------------------------------------------------------------------


@dataclass
class FakeEngine:
    """Keeps images as the arguments that they were built with."""

    images: dict[str, Mapping[str, str]] = field(default_factory=dict)
    built: list[str] = field(default_factory=list)
    pushed: list[str] = field(default_factory=list)
    starts: bool = True

    def has(self, tag: str) -> bool:
        return tag in self.images

    def build(self, dockerfile: Path, context: Path, tag: str, arguments: Mapping[str, str]) -> None:
        assert dockerfile.is_relative_to(context)
        assert dockerfile.is_file()
        self.images[tag] = dict(arguments)
        self.built.append(dockerfile.parent.name)

    def import_base(self, tree: Path, tag: str) -> None:
        self.images[tag] = {"tree": str(tree)}

    def check(self, tag: str, command: str) -> None:
        if not self.starts:
            raise CannotBuild(command)

    def name(self, tag: str, new: str) -> None:
        self.images[new] = self.images[tag]

    def size(self, tag: str) -> int:
        return 100

    def push(self, tag: str, reference: str) -> str:
        self.pushed.append(reference)
        return DIGEST


def make(engine: FakeEngine, *names: str, push: bool = True) -> dict[str, Built]:
    works = Works(engine, "debian", "localhost:5000", silent)
    for recipe in with_parents(names):
        works.make(recipe, push=push)
    return works.built


def test_an_unchanged_image_is_pushed_and_not_built_again() -> None:
    engine = FakeEngine()
    first = make(engine, "proxy")["proxy"]
    again = make(engine, "proxy")["proxy"]
    assert engine.built == ["proxy"]
    assert (first.reused, again.reused) == (False, True)
    assert engine.pushed == [first.reference] * 2
    assert re.fullmatch(r"localhost:5000/aihub/proxy:\d+\.\d+\.\d+\S*", first.reference)
    assert (first.digest, first.size) == (DIGEST, 100)
    assert first.pinned == f"localhost:5000/aihub/proxy@{DIGEST}"


def test_an_image_that_does_not_start_is_built_again() -> None:
    engine = FakeEngine(starts=False)
    with pytest.raises(CannotBuild):
        make(engine, "proxy")
    engine.starts = True
    assert not make(engine, "proxy")["proxy"].reused
    assert engine.pushed == [make(engine, "proxy")["proxy"].reference] * 2


def test_an_image_is_made_from_its_parent_of_this_very_content() -> None:
    engine = FakeEngine()
    make(engine, "singleuser-scipy")
    assert engine.built == ["singleuser-base", "singleuser-scipy"]
    arguments = engine.images["localhost/aihub/singleuser-scipy:unchecked"]
    assert arguments["BASE_IMAGE"] == "debian"
    assert arguments["PARENT_IMAGE"] in engine.images
    assert arguments["PARENT_IMAGE"].startswith("localhost/aihub/singleuser-base:")
    assert {"SOURCE", "REVISION", "VERSION"} < set(arguments)


def test_an_image_that_is_not_pushed_is_named_and_has_no_digest() -> None:
    engine = FakeEngine()
    built = make(engine, "hub", push=False)["hub"]
    assert engine.pushed == []
    assert built.reference in engine.images
    assert built.digest is None
    with pytest.raises(ValueError, match="was not pushed"):
        built.pinned  # noqa: B018 - reading it raises


DOCKER = """
case "$1 $2" in
    "image inspect") case "$*" in
        *RepoDigests*) echo '["localhost:7/aihub/singleuser-scipy@sha256:5"]';;
        *Size*) echo 42;;
        *) exit 1;;
    esac;;
esac
echo "$*" >> "$AIHUB_CACHE/said"
"""


def test_build_pushes_what_was_asked_for_and_not_its_parents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{programs(tmp_path / 'bin', docker=DOCKER)}:/usr/bin:/bin")
    monkeypatch.setenv("AIHUB_CACHE", str(tmp_path))
    monkeypatch.setenv("AIHUB_BASE_IMAGE", "mirror.example.org/debian")
    lines: list[str] = []
    built = build(["singleuser-scipy"], "localhost:7", say=lines.append)
    assert list(built) == ["singleuser-scipy"]
    assert built["singleuser-scipy"].digest == "sha256:5"
    assert lines[0] == "Building singleuser-base …"
    assert "42" not in lines[-1]
    assert "0 MB" in lines[-1]
    said = (tmp_path / "said").read_text().splitlines()
    assert [line.split(":7/")[1] for line in said if line.startswith("push")] == [
        built["singleuser-scipy"].reference.split(":7/")[1]
    ]
    assert sum(line.startswith("build --build-arg BASE_IMAGE=mirror.example.org/debian") for line in said) == 2


def test_the_command_names_images_that_are_none(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--only", "hub,tensorflow"])
    assert ended.value.code == 2
    assert "no image is called tensorflow; there are hub, proxy" in capsys.readouterr().err


def test_the_command_says_why_it_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", programs(tmp_path / "bin"))
    monkeypatch.setenv("AIHUB_CACHE", str(tmp_path))
    assert main(["--only", "hub"]) == 1
    assert "none is there" in capsys.readouterr().err


def test_of_a_program_that_fails_the_last_lines_are_shown(tmp_path: Path) -> None:
    run = logged(tmp_path / "log")
    assert run(["sh", "-c", "echo out; echo err >&2"]) == "out\n"
    with pytest.raises(CannotBuild) as failure:
        run([sys.executable, "-c", "for n in range(100): print('line', n)\nraise SystemExit(3)"])
    shown = str(failure.value).splitlines()
    assert len(shown) == LAST_LINES + 1
    assert shown[-2] == "line 99"
    assert "failed with status 3" in shown[-1]
    kept = (tmp_path / "log").read_text()
    assert all(word in kept for word in ("out\n", "err\n", "line 0\n"))


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"AIHUB_CACHE": "a", "XDG_CACHE_HOME": "b"}, "a"),
        ({"XDG_CACHE_HOME": "b"}, "b/aihub"),
        ({}, "home/.cache/aihub"),
    ],
    ids=["own", "xdg", "home"],
)
def test_caches_are_where_those_of_the_hub_are(
    variables: dict[str, str], folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("AIHUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, str(tmp_path / value))
    assert cache_folder() == tmp_path / folder
    assert (tmp_path / folder).is_dir()


def test_a_second_build_of_the_same_image_waits_and_says_so(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from images.cache import alone\n"
        "with alone(Path(sys.argv[1]), 'hub', lambda line: print(line, flush=True)): print('in')\n"
    )
    with alone(tmp_path, "hub"):
        second = subprocess.Popen([sys.executable, "-c", script, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert second.stdout is not None
        assert second.stdout.readline() == "Waiting for another build of hub …\n"
    with second:
        assert second.stdout.read() == "in\n"


# --- base ------------------------------------------------------------------------------------------------------------


class Registry(BaseHTTPRequestHandler):
    """A registry that wants to know who asks, as Docker's does."""

    def do_GET(self) -> None:
        self.send_response(401)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


def test_the_base_is_debians_where_its_registry_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIHUB_BASE_IMAGE", raising=False)
    with HTTPServer(("127.0.0.1", 0), Registry) as server:
        Thread(target=server.handle_request).start()
        monkeypatch.setattr(base, "REGISTRY", f"http://127.0.0.1:{server.server_port}/v2/")
        found = base.base_image(FakeEngine(), tmp_path, Recorder(), silent)
    assert found == "docker.io/library/debian:bookworm-slim"


def test_the_base_may_be_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIHUB_BASE_IMAGE", "mirror.example.org/debian")
    assert base.base_image(FakeEngine(), tmp_path, Recorder(), silent) == "mirror.example.org/debian"


def test_elsewhere_a_base_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIHUB_BASE_IMAGE", raising=False)
    monkeypatch.setattr(base, "REGISTRY", "http://127.0.0.1:1/v2/")
    monkeypatch.setattr(base, "_check_able", lambda: None)
    monkeypatch.setattr(base, "_make_tree", lambda target, _: target.write_bytes(b"tree"))
    lines: list[str] = []
    engine = FakeEngine()
    tag = base.base_image(engine, tmp_path, Recorder(), lines.append)
    assert re.fullmatch("localhost/aihub/base:bookworm-[0-9a-f]{12}", tag)
    assert engine.has(tag)
    assert len(lines) == 1
    # Another engine takes the kept tree, the same engine its image.
    assert base.base_image(FakeEngine(), tmp_path, Recorder(), lines.append) == tag
    assert base.base_image(engine, tmp_path, Recorder(), lines.append) == tag
    assert len(lines) == 1


def test_without_debootstrap_there_is_no_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIHUB_BASE_IMAGE", raising=False)
    monkeypatch.setattr(base, "REGISTRY", "http://127.0.0.1:1/v2/")
    monkeypatch.setenv("PATH", programs(tmp_path / "bin"))
    with pytest.raises(CannotBuild, match="AIHUB_BASE_IMAGE"):
        base.base_image(FakeEngine(), tmp_path, Recorder(), silent)


# --- the files -------------------------------------------------------------------------------------------------------


def dockerfile(recipe: Recipe) -> str:
    return (ROOT / "images" / recipe.name / "Dockerfile").read_text()


def logical_lines(text: str) -> list[str]:
    kept = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))
    return [" ".join(line.split()) for line in kept.replace("\\\n", " ").splitlines() if line.strip()]


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_dockerfile_takes_its_base_and_ends_as_an_ordinary_user(recipe: Recipe) -> None:
    lines = logical_lines(dockerfile(recipe))
    assert lines[0] == "ARG BASE_IMAGE=debian:bookworm-slim"
    assert [line for line in lines if line.startswith("USER")][-1] == "USER 1000:1000"
    froms = [line.split()[1] for line in lines if line.startswith("FROM")]
    assert len(froms) > 1
    assert froms[0] == "${BASE_IMAGE}"
    assert ("${PARENT_IMAGE}" in froms) is (recipe.parent is not None)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_dockerfile_labels_what_it_makes(recipe: Recipe) -> None:
    (labels,) = [line for line in logical_lines(dockerfile(recipe)) if line.startswith("LABEL")]
    for name in ("source", "revision", "version"):
        assert f'org.opencontainers.image.{name}="${{{name.upper()}}}"' in labels


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_dockerfile_copies_only_what_the_hash_counts(recipe: Recipe) -> None:
    known = {str(file) for file in input_files(recipe)}
    folders = {str(parent) for file in input_files(recipe) for parent in file.parents}
    copies = [line.split()[1:-1] for line in logical_lines(dockerfile(recipe)) if line.startswith("COPY")]
    sources = {word for words in copies if not words[0].startswith("--from") for word in words}
    assert sources
    assert sources <= known | folders


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_everything_that_is_installed_is_locked(recipe: Recipe) -> None:
    for line in logical_lines(dockerfile(recipe)):
        for command in re.findall(r"pip install [^&]*", line):
            assert "--require-hashes" in command or ("--offline" in command and "--no-deps" in command), command
        for command in re.findall(r"npm-cli\.js \w+", line):
            assert command.endswith(" ci")


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_step_mounts_nothing_but_caches_and_the_builder(recipe: Recipe) -> None:
    # Buildah's cache does not look into what a step mounts: a mounted wheel would never be renewed.
    mounts = re.findall(r"--mount=(\S+)", dockerfile(recipe))
    allowed = r"type=cache,id=aihub-\w+,target=/cache/\w+|type=bind,from=build,source=/opt/builder,target=/run/builder"
    assert [mount for mount in mounts if not re.fullmatch(allowed, mount)] == []


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_hadolint_finds_nothing(recipe: Recipe) -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    config, linted = ROOT / "images/hadolint.yaml", ROOT / "images" / recipe.name / "Dockerfile"
    done = subprocess.run([hadolint, "--config", config, linted], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def pins(lock: Path) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9.-]+)==(\S+)", lock.read_text(), re.MULTILINE):
        found.setdefault(name, set()).add(version)
    return found


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_locked_package_has_hashes(lock: Path) -> None:
    packages = re.split(r"^(?=[a-z0-9])", lock.read_text(), flags=re.MULTILINE)[1:]
    assert packages
    assert [package.split()[0] for package in packages if "--hash=sha256:" not in package] == []


def test_images_hold_the_versions_that_the_tests_ran_with() -> None:
    tested = pins(ROOT / "requirements/dev.txt")
    for name in ("hub/requirements.txt", "singleuser-base/server.txt", "singleuser-base/kernel.txt"):
        locked = pins(ROOT / "images" / name)
        assert [package for package, versions in locked.items() if not versions <= tested.get(package, versions)] == []
    assert pins(ROOT / "images/hub/requirements.txt")["jupyterhub"] == tested["jupyterhub"]
    assert pins(ROOT / "images/singleuser-base/server.txt")["jupyterhub"] == tested["jupyterhub"]


def test_images_above_the_base_change_none_of_its_packages() -> None:
    below = pins(ROOT / "images/singleuser-base/kernel.txt")
    for name in ("scipy", "pytorch"):
        added = pins(ROOT / f"images/singleuser-{name}/requirements.txt")
        assert {package for package in added.keys() & below.keys() if added[package] != below[package]} == set()
        below |= added


def test_the_servers_configuration_is_json() -> None:
    files = sorted((ROOT / "images/singleuser-base/jupyter").rglob("*.json"))
    found = {file.name: json.loads(file.read_text()) for file in files}
    assert found["jupyter_server_config.json"]["ServerApp"]["jpserver_extensions"] == {"aihub.singleuser": True}
    assert found["overrides.json"]["@jupyterlab/apputils-extension:notification"]["fetchNews"] == "false"
    assert found["kernel.json"]["argv"][0] == "/opt/kernel/bin/python"
