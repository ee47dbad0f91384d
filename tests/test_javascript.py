"""The page's modules under Node's own test runner, and their syntax."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from aihub.i18n import STATIC
from aihub.node import find_node

TESTS = sorted(Path(__file__).with_name("js").glob("*.test.mjs"))


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_the_pure_parts_of_the_modules(path: Path) -> None:
    done = subprocess.run(
        [find_node().binary, "--test", str(path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", sorted(STATIC.glob("*.js")), ids=lambda path: path.name)
def test_a_module_is_valid(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    command = [find_node().binary, "--input-type=module", "--check", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "innerHTML" not in text, "texts are set as text"
