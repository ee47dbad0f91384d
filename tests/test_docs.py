"""The pages in docs/ against the code: their commands are run, their links followed, their tables compared."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import click
import pytest
import yaml
from click.testing import CliRunner

from aihub.chart import Values, values_schema
from aihub.cli import main
from aihub.cli_secrets import SECRET_KEYS
from aihub.config import load, schema
from aihub.errors import Reason
from aihub.identity import SignInReason
from aihub.messages import status_of
from aihub.policy import Rule

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"))])
GUIDES = [path for path in PAGES if path.parent in (DOCS, DOCS / "kubernetes", DOCS / "sign-in", ROOT)]

OFFLINE = ("check", "images", "schema", "version", "why")
"""Commands that need no hub: what a page shows of them must be what they print."""

# Fixed before they are matched with anything: code may hold what looks like a link, a heading or a table.
_FENCE = re.compile(r"^(?P<ticks>```+)(?P<language>\w*)\n(?P<text>.*?)^(?P=ticks)$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")


def page_id(path: Path) -> str:
    return str(path.relative_to(ROOT))


def text_of(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def fences(path: Path, *languages: str) -> list[str]:
    return blocks(path.read_text(encoding="utf-8"), *languages)


def blocks(text: str, *languages: str) -> list[str]:
    return [match["text"] for match in _FENCE.finditer(text) if match["language"] in languages]


def section(path: Path, heading: str) -> str:
    """What stands below a heading of the second level."""
    return path.read_text(encoding="utf-8").split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def shown_files(path: Path) -> dict[str, str]:
    """The files whose text a page shows: blocks of YAML that begin with their name."""
    named = ((re.match(r"# (\S+\.yaml)\n", block), block) for block in fences(path, "yaml"))
    return {name[1]: block for name, block in named if name is not None}


def prose(path: Path) -> str:
    """A page without its code blocks."""
    return _FENCE.sub("", path.read_text(encoding="utf-8"))


def table(text: str, heading: str) -> Iterator[list[str]]:
    """The rows, without the head, of the first table below a heading."""
    part = text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0] if heading else text
    lines = itertools.dropwhile(lambda line: not line.startswith("|"), part.splitlines())
    rows = list(itertools.takewhile(lambda line: line.startswith("|"), lines))
    for row in rows[2:]:
        yield [cell.strip() for cell in row.strip("|").split(" | ")]


def plain(cell: str) -> str:
    return cell.strip("`* ")


# --- commands --------------------------------------------------------------------------------------------------------


def sessions(path: Path) -> Iterator[tuple[str, str]]:
    """The commands of a page's console blocks, each with the output that is shown of it."""
    for block in fences(path, "console"):
        command, shown = "", ""
        for line in block.splitlines(keepends=True):
            if line.startswith("$ "):
                if command:
                    yield command, shown
                command, shown = line[2:].rstrip("\n"), ""
            else:
                shown += line
        yield command, shown


def as_shown(shown: str, printed: str) -> bool:
    """Whether `printed` is what is shown, where a line `…` stands for any lines."""
    wanted = "".join(r"(?:.*\n)*" if line == "…\n" else re.escape(line) for line in shown.splitlines(keepends=True))
    return re.fullmatch(wanted, printed) is not None


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as a reader has it: the checkout's config, and the files whose text the pages show."""
    (tmp_path / "config").symlink_to(ROOT / "config")
    for path in GUIDES:
        for name, block in shown_files(path).items():
            (tmp_path / name).write_text(block, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AIHUB_CONFIG", raising=False)
    return tmp_path


@pytest.mark.parametrize("path", [path for path in GUIDES if fences(path, "console")], ids=page_id)
@pytest.mark.usefixtures("desk")
def test_commands_print_what_the_page_shows(path: Path) -> None:
    status = 0
    for command, shown in sessions(path):
        if command == "echo $?":
            assert shown.strip() == str(status)
            continue
        program, *arguments = shlex.split(command)
        assert program == "aihub"
        assert arguments[0] in OFFLINE, f"{command} cannot be run here: show it in a block of sh"
        done = CliRunner().invoke(main, arguments)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        assert as_shown(shown, done.output), f"{command} prints\n{done.output}"
        status = done.exit_code


def commands(path: Path) -> Iterator[list[str]]:
    """Every shell command line of a page, the ones inside its sentences too, as words."""
    lines = [line for block in fences(path, "sh") for line in block.splitlines()]
    lines += [command for command, _ in sessions(path)] + _CODE.findall(prose(path))
    for line in lines:
        if re.match(r"(?:\w+=\S+ )?(?:aihub [a-z]|make [a-z])", line):
            # What shows that something follows is no argument.
            words = shlex.split(line.split(" #")[0].replace("…", ""))
            yield words[1:] if "=" in words[0] else words


def all_commands(program: str) -> list[Any]:
    found = [(path, words) for path in PAGES for words in commands(path) if words[0] == program]
    return [pytest.param(words, id=f"{page_id(path)}: {shlex.join(words)}") for path, words in found]


@pytest.mark.parametrize("words", all_commands("aihub"))
def test_commands_and_their_options_exist(words: list[str]) -> None:
    command: click.Command = main
    arguments = words[1:]
    while isinstance(command, click.Group) and arguments:
        name = arguments.pop(0)
        assert name in command.commands, f"there is no command {name}"
        command = command.commands[name]
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    assert {word for word in arguments if word.startswith("--")} <= known


@pytest.mark.parametrize("words", all_commands("make"))
def test_targets_exist(words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    assert {word for word in words[1:] if "=" not in word} <= targets


@pytest.mark.parametrize("path", GUIDES, ids=page_id)
def test_what_can_be_run_offline_is_shown_with_its_output(path: Path) -> None:
    lines = [line for block in fences(path, "sh") for line in block.splitlines()]
    assert [line for line in lines if line.startswith(tuple(f"aihub {name}" for name in OFFLINE))] == []


def test_the_policy_of_the_admin_s_page_has_no_findings(desk: Path) -> None:
    loaded = load([desk / "course.yaml"])
    assert loaded.findings == ()


# --- links -----------------------------------------------------------------------------------------------------------


def anchors(path: Path) -> set[str]:
    """What headings can be linked by, as GitHub makes it."""
    headings = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(path: Path) -> list[str]:
    text = _CODE.sub("", prose(path))
    # A link may be broken over two lines.
    return re.findall(r"\]\(([^)\s]+)\)", text)


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_links_and_images_lead_somewhere(path: Path) -> None:
    for link in links(path):
        if re.match(r"[a-z]+:", link):
            assert link.startswith("https://"), link
            continue
        name, _, anchor = unquote(link).partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen: set[Path] = set()
    ahead = [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page in seen:
            continue
        seen.add(page)
        names = [link.partition("#")[0] for link in links(page) if "://" not in link]
        ahead += [target for name in names if (target := (page.parent / name).resolve()).suffix == ".md"]
    assert seen >= set(DOCS.rglob("*.md"))


def test_every_picture_is_shown() -> None:
    shown = {(path.parent / link).resolve() for path in PAGES for link in links(path) if link.endswith(".png")}
    assert set((DOCS / "images").rglob("*.png")) <= shown


# --- tables ----------------------------------------------------------------------------------------------------------


def modules() -> set[str]:
    """Every module and package by its name in `aihub`, but for the package itself and alembic's numbered steps."""
    paths = [path.relative_to(ROOT / "aihub") for path in (ROOT / "aihub").rglob("*.py")]
    names = {".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths}
    return {name for name in names if name != "__init__" and not name.startswith("migrations.versions.")}


def test_the_module_map_is_the_tree() -> None:
    rows = list(table(text_of("developer.md"), "Modules"))
    named = [plain(module) for module, what in rows if what]
    assert len(named) == len(set(named))
    assert set(named) == modules()


def test_every_reason_of_a_refused_sign_in_is_in_the_students_table() -> None:
    rows = table(text_of("student.md"), "You cannot sign in")
    assert sorted(code for row in rows for code in _CODE.findall(row[0])) == sorted(SignInReason)


def test_every_refusal_is_in_the_table_with_its_status() -> None:
    rows = list(table(text_of("admin.md"), "Refusals"))
    assert {plain(row[0]): int(row[1]) for row in rows} == {reason.value: status_of(reason) for reason in Reason}
    assert all(len(row) == 4 and row[2] and row[3] for row in rows)


def test_upstream_rows_name_tests_that_exist() -> None:
    rows = list(table(text_of("upstream.md"), ""))
    assert rows
    for number, *_, test in rows:
        path, _, name = plain(test).partition("::")
        assert (ROOT / path).is_file(), number
        if name:
            assert re.search(rf"^(?:async )?def {name}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)


def sources() -> Iterator[tuple[Path, str]]:
    for path in sorted([*(ROOT / "aihub").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]):
        yield path, path.read_text(encoding="utf-8")


def test_what_comments_name_by_number_is_there() -> None:
    rows = {row[0] for row in table(text_of("upstream.md"), "")}
    sections = set(re.findall(r"^## (\d+)\.", text_of("design.md"), re.MULTILINE))
    for path, text in sources():
        for numbers in re.findall(r"upstream\.md ((?:\d+(?:,\s*)?)+)", text):
            assert set(re.findall(r"\d+", numbers)) <= rows, path
        assert set(re.findall(r"design\.md §(\d+)", text)) <= sections, path


def test_design_has_the_rules_in_their_order() -> None:
    """The parts of the order that the page names are as many as the policy has rules: one more needs a word there."""
    order = text_of("design.md").split("the first that fails is the reason**: ")[1].split("\n- ")[0]
    words = [part.strip() for part in re.split(r"[·,]", order.replace("\n", " "))]
    assert len(words) == len(Rule)


# --- keys of the policy file and values of the chart -----------------------------------------------------------------


DOCUMENT, VALUES = schema(), values_schema()


def definition(node: Any, document: Any) -> Any:
    while isinstance(node, dict) and "$ref" in node:
        node = document["$defs"][node["$ref"].rsplit("/", 1)[1]]
    return node


def below(node: Any, key: str, document: Any) -> Iterator[Any]:
    """What the schema says at `key` of an object; NAME is any key of a map."""
    node = definition(node, document)
    for option in [*node.get("anyOf", ()), *node.get("oneOf", ())]:
        yield from below(option, key, document)
    if key in node.get("properties", {}):
        yield node["properties"][key]
    if key == "NAME" and isinstance(node.get("additionalProperties"), dict):
        yield node["additionalProperties"]
    if node.get("additionalProperties") is True:  # an object of Kubernetes
        yield node
    if key == "NAME":
        yield from node.get("patternProperties", {}).values()


def exists(key: str, document: Any) -> bool:
    nodes: list[Any] = [document]
    for part in key.split("."):
        nodes = [found for node in nodes for found in below(node, part, document)]
    return bool(nodes)


def known_keys(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from node.get("properties", {})
        node = list(node.values())
    if isinstance(node, list):
        for part in node:
            yield from known_keys(part)


def test_every_key_that_the_admin_s_page_names_is_in_the_schema() -> None:
    codes = _CODE.findall(prose(DOCS / "admin.md"))
    top = set(definition(DOCUMENT, DOCUMENT)["properties"])
    paths = {code for code in codes if "." in code and code.partition(".")[0] in top}
    assert len(paths) > 10
    assert {path for path in paths if not exists(path, DOCUMENT)} == set()
    # Keys named alone are told by their spelling.
    alone = {code for code in codes if re.fullmatch(r"[a-z]+(?:[A-Z][a-z]+)+", code)}
    assert alone
    assert alone <= {*known_keys(DOCUMENT), *SECRET_KEYS}


@pytest.mark.parametrize("path", [DOCS / "sign-in.md", *sorted((DOCS / "sign-in").glob("*.md"))], ids=page_id)
def test_every_key_that_a_page_about_sign_in_names_is_in_the_schema(path: Path) -> None:
    names = {code.partition(":")[0] for code in _CODE.findall(prose(path))}
    assert {name for name in names if name.startswith("signIn.") and not exists(name, DOCUMENT)} == set()
    alone = {name for name in names if re.fullmatch(r"[a-z]+(?:[A-Z][a-z]+)+", name)}
    assert alone <= {*known_keys(DOCUMENT), *SECRET_KEYS}


def test_what_prometheus_reads_of_sign_in_is_in_the_table() -> None:
    source = (ROOT / "aihub" / "metrics.py").read_text(encoding="utf-8")
    named = {plain(row[0]).removesuffix("_total") for row in table(text_of("sign-in/outages.md"), "Watch it")}
    assert named == set(re.findall(r'"(aihub_[a-z_]+)"', source))


@pytest.mark.parametrize("name", ["kubernetes.md", "kubernetes/cluster.md", "kubernetes/operate.md"])
def test_every_value_that_a_page_names_is_in_the_schema(name: str) -> None:
    codes = _CODE.findall(prose(DOCS / name))
    # A value may stand behind its key, as in `hub.baseUrl: /aihub/`.
    names = {code.partition(":")[0] for code in codes if re.match(r"[a-zA-Z]+\.[a-zA-Z.]+(?::|$)", code)}
    paths = {each for each in names if each.partition(".")[0] in VALUES["properties"]}
    assert len(paths) > 3
    assert {path for path in paths if not exists(path, VALUES)} == set()


@pytest.mark.parametrize("name", ["kubernetes.md", "kubernetes/cluster.md", "kubernetes/operate.md"])
def test_every_block_of_values_fits_the_schema(name: str) -> None:
    documents = [yaml.safe_load(block) for block in fences(DOCS / name, "yaml")]
    values = [document for document in documents if "kind" not in document]
    assert values
    for document in values:
        Values.model_validate(document)


def test_every_key_of_the_secret_is_in_the_table() -> None:
    rows = table(text_of("admin.md"), "Signing in for evaluation")
    assert [plain(row[0]) for row in rows] == list(SECRET_KEYS)
