"""The commands on the policy file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from aihub.cli import main
from aihub.config import schema
from aihub.policy import Rule

ROOT = Path(__file__).parents[1]
DATA = ROOT / "tests" / "data" / "policy"
DEMO = str(ROOT / "config" / "demo")


def run(*arguments: str, color: bool = False, **environment: str) -> Result:
    return CliRunner().invoke(main, list(arguments), color=color, env=environment)


@pytest.fixture
def in_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """The golden file names files as they are given: relative ones."""
    monkeypatch.chdir(DATA)


def test_a_good_policy_is_fine() -> None:
    result = run("check", DEMO)
    assert (result.exit_code, result.output) == (0, "The policy is fine: 2 projects, 3 image streams, 4 profiles.\n")


@pytest.mark.usefixtures("in_data")
def test_findings_as_text_are_those_of_the_golden_file() -> None:
    result = run("check", "broken.yaml")
    assert result.exit_code == 1
    assert result.output == (DATA / "broken.txt").read_text(encoding="utf-8")


@pytest.mark.usefixtures("in_data")
def test_findings_as_json() -> None:
    result = run("check", "--format", "json", "broken.yaml")
    document = json.loads(result.output)
    assert result.exit_code == 1
    assert (document["errors"], document["warnings"]) == (len(document["findings"]), 0)
    assert document["findings"][0] == {
        "file": "broken.yaml",
        "line": 3,
        "column": 32,
        "severity": "error",
        "code": "language",
        "path": "imageStreams.pytorch.displayName.zh-tw",
        "message": "zh-tw is no language: write the code as in en, ko or zh_TW",
        "value": "zh-tw",
        "suggestion": "zh_TW",
        "help": "Name that people see; the key if absent.",
    }


def test_findings_as_annotations_of_a_workflow(tmp_path: Path) -> None:
    path = tmp_path / "a,b.yaml"
    path.write_text('"100%\\nsure": 1\nsignIn: {personas: {ada: {}}}\n')
    result = run("check", "--format", "github", str(path))
    (line,) = result.output.splitlines()
    assert line.startswith(
        f"::error file={tmp_path}/a%2Cb.yaml,line=1,col=1,title=unknown-key::100%25\N{REPLACEMENT CHARACTER}sure "
    )


def test_warnings_alone_are_no_failure(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("profiles: {small: {cpu: 1, memory: 1Gi}}\n")
    result = run("check", str(tmp_path / "p.yaml"))
    assert result.exit_code == 0
    assert ": warning: there is no persona" in result.output
    assert result.output.endswith("0 errors, 1 warning\n")


@pytest.mark.parametrize("form", ["text", "json", "github"])
def test_a_file_that_cannot_be_read_is_exit_status_2(tmp_path: Path, form: str) -> None:
    result = run("check", "--format", form, DEMO, str(tmp_path / "none.yaml"))
    assert result.exit_code == 2
    assert "no such file or directory" in result.output


def test_hostile_text_moves_no_cursor(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text('"a\\e[2Jb\\u202E": 1\nhome: {size: "\\e]0;x\\a"}\n')
    result = run("check", str(tmp_path / "p.yaml"))
    assert all(character.isprintable() or character == "\n" for character in result.output)


def test_colour_is_for_terminals_without_no_color() -> None:
    path = str(DATA / "broken.yaml")
    assert "\x1b[" not in run("check", path).output
    assert "\x1b[" in run("check", path, color=True).output
    assert "\x1b[" not in run("check", path, color=True, NO_COLOR="1").output
    piped = subprocess.run(
        [sys.executable, "-m", "aihub.cli", "check", path], capture_output=True, check=False, cwd=ROOT
    )
    assert piped.returncode == 1
    assert b"\x1b[" not in piped.stdout


def test_schema_is_printed_as_json() -> None:
    result = run("schema")
    assert result.exit_code == 0
    assert json.loads(result.output) == schema()


@pytest.mark.parametrize(
    ("arguments", "status", "expected"),
    [
        pytest.param(["student", "--project", "ml101"], 0, "student: admitted", id="defaults"),
        pytest.param(["Student", "--project", "ml101", "--profile", "gpu"], 0, "student: admitted", id="normalised"),
        pytest.param(["student"], 1, "invalid-options", id="two projects, none named"),
        pytest.param(["zoe", "--project", "ml101"], 1, "unknown-project", id="outsider"),
        pytest.param(["zoe", "--group", "/courses/ml101/students"], 0, "zoe: admitted", id="group"),
        pytest.param(["student", "--group", "/x", "--project", "ml101"], 1, "unknown-project", id="groups override"),
        pytest.param(["admin", "--project", "ml101"], 1, "not-member", id="admin persona"),
        pytest.param(["zoe", "--admin", "--project", "ml101"], 1, "not-member", id="admin"),
        pytest.param(
            ["student", "--project", "ml101", "--image", "mathematics:2025"], 1, "image-retired", id="retired image"
        ),
        pytest.param(
            ["student", "--project", "ml101", "--image", "networks:3.5"], 1, "image-not-offered", id="other's image"
        ),
        pytest.param(
            ["student", "--project", "ml101", "--profile", "large"], 1, "profile-not-offered", id="other's profile"
        ),
        pytest.param(
            ["student", "--project", "ml101", "--profile", "gpu", "--accelerator-count", "2"],
            1,
            "invalid-options",
            id="count",
        ),
    ],
)
def test_why_explains_every_rule(arguments: list[str], status: int, expected: str) -> None:
    result = run("why", *arguments, "--config", DEMO)
    assert result.exit_code == status, result.output
    assert expected in result.output
    assert len([line for line in result.output.splitlines() if line[0] in "✓✗–"]) == len(Rule)


def test_why_marks_passed_failed_and_unjudged_rules() -> None:
    lines = run("why", "zoe", "--project", "ml101", "--config", DEMO).output.splitlines()
    assert [line[0] for line in lines[:4]] == ["✓", "✗", " ", "–"]
    assert lines[-1] == "zoe: refused"


def test_why_without_a_policy_file_asks_the_demo() -> None:
    assert run("why", "student", "--project", "datalab").exit_code == 0


def test_why_knows_the_projects_that_the_person_s_groups_make(tmp_path: Path) -> None:
    settings = "{images: {offer: [py]}, profiles: {offer: [small]}}"
    (tmp_path / "p.yaml").write_text(
        "imageStreams: {py: {tags: {'1': {requirements: []}}}}\n"
        "profiles: {small: {cpu: 1, memory: 1Gi}}\n"
        "groupProjects: {c: {members: /c/<project>, template: t}}\n"
        f"projectTemplates: {{t: {settings}}}\n"
    )
    asked = ("--config", str(tmp_path / "p.yaml"), "--project", "ml")
    assert run("why", "ada", "--group", "/c/ml", *asked).output.endswith("ada: admitted\n")
    assert "unknown-project" in run("why", "ada", "--group", "/c/dl", *asked).output


def test_why_knows_admins_by_their_groups(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("projects: {p: {}}\nsignIn: {admins: {groups: [/admins]}}\n")
    asked = ("--config", str(tmp_path / "p.yaml"), "--project", "p")
    assert "not-member" in run("why", "ada", "--group", "/admins", *asked).output
    assert "unknown-project" in run("why", "ada", "--group", "/others", *asked).output


def test_why_with_a_broken_policy_is_exit_status_2() -> None:
    result = run("why", "ada", "--config", str(DATA / "broken.yaml"))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "zh-tw is no language" in result.stderr


@pytest.mark.parametrize("command", ["check", "schema", "why"])
def test_help_has_examples(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "Examples:\n" in result.output
    assert f"  aihub {command}" in result.output
