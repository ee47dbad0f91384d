"""`aihub images list` through click, against golden files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from aihub.cli import main

DATA = Path(__file__).parent / "data" / "imagestreams"
FILES = ("course.yaml", "imported.json", "odd.yaml")


@pytest.fixture
def in_data(monkeypatch: pytest.MonkeyPatch) -> None:
    # The golden files name the files as they were given.
    monkeypatch.chdir(DATA)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["images", "list", *arguments])


@pytest.mark.usefixtures("in_data")
@pytest.mark.parametrize("name", FILES)
def test_json_is_the_golden_file(name: str) -> None:
    result = run("--format", "json", name)
    assert result.exit_code == 0
    assert result.stderr == ""
    assert json.loads(result.stdout) == json.loads((DATA / f"{name}.golden.json").read_text())


@pytest.mark.usefixtures("in_data")
def test_text_is_the_golden_file() -> None:
    result = run(*FILES)
    assert result.exit_code == 0
    assert result.stdout == (DATA / "text.golden.txt").read_text()
    assert result.stderr == (DATA / "text.golden.err").read_text()


@pytest.mark.usefixtures("in_data")
def test_json_has_the_shape_that_is_promised() -> None:
    answer = json.loads(run("--format", "json", *FILES).stdout)
    assert list(answer) == ["streams", "warnings"]
    for stream in answer["streams"]:
        assert list(stream) == ["name", "displayName", "description", "offered", "order", "origin", "tags"]
        for tag in stream["tags"]:
            assert list(tag) == [
                "name",
                "kind",
                "from",
                "recommended",
                "default",
                "outdated",
                "scheduled",
                "insecure",
                "referencePolicy",
                "software",
            ]
            assert all(list(one) == ["name", "version"] for one in tag["software"])
    for warning in answer["warnings"]:
        assert list(warning) == ["file", "stream", "tag", "field", "message"]
        assert warning["message"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"a: [", "did not find expected node content"),
        (b"kind: ImageStream\nmetadata:\n\tname: x\n", "cannot start any token"),
        (b"\xff\xfe\x00", "is not UTF-8 text"),
        (b"hello", "is no Kubernetes object"),
        (b"[" * 100_000, "nested too deeply"),
        (None, "no such file"),
    ],
)
@pytest.mark.parametrize("form", ["text", "json"])
def test_a_file_that_cannot_be_read_is_one_line_and_exit_2(
    tmp_path: Path, content: bytes | None, problem: str, form: str
) -> None:
    file = tmp_path / "streams.yaml"
    if content is not None:
        file.write_bytes(content)
    result = run("--format", form, str(file))
    assert result.exit_code == 2
    assert result.stderr.startswith(f"aihub images list: {file}")
    assert problem in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    result = run(str(tmp_path))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"aihub images list: {tmp_path}: is a directory\n"


def test_the_other_files_are_listed_all_the_same(tmp_path: Path) -> None:
    result = run("--format", "json", str(tmp_path / "none.yaml"), str(DATA / "course.yaml"))
    assert result.exit_code == 2
    assert [stream["name"] for stream in json.loads(result.stdout)["streams"]] == ["statistics"]


def test_a_byte_order_mark_is_no_problem(tmp_path: Path) -> None:
    file = tmp_path / "streams.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + (DATA / "course.yaml").read_bytes())
    assert run(str(file)).stdout == run(str(DATA / "course.yaml")).stdout


def test_nothing_to_list_is_a_usage_error() -> None:
    result = run()
    assert result.exit_code == 2
    assert "FILE" in result.stderr


def test_a_terminal_is_not_told_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "streams.json"
    name = "\x1b[31m\N{RIGHT-TO-LEFT OVERRIDE}red\ud800\0"
    annotations = {"opendatahub.io/notebook-image-name": name, "opendatahub.io/notebook-image-order": name}
    metadata = {"name": "x", "annotations": annotations}
    file.write_text(json.dumps({"apiVersion": "image.openshift.io/v1", "kind": "ImageStream", "metadata": metadata}))
    result = run(str(file))
    assert result.exit_code == 0
    assert "\ufffd[31m\ufffdred" in result.stdout
    assert all(line.isprintable() for line in (result.stdout + result.stderr).splitlines())


def test_there_is_no_colour() -> None:
    assert "\x1b" not in CliRunner().invoke(main, ["images", "list", str(DATA / "odd.yaml")], color=True).output


def test_the_help_has_examples() -> None:
    assert "aihub images list streams/*.yaml" in run("--help").stdout
