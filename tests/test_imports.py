"""What a start does not wait for."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROBE = """
import sys
from aihub.imports import skip_iri_grammar
skip_iri_grammar()
import {module}
import jsonschema
assert "date-time" in jsonschema.FormatChecker.checkers
assert not [name for name in sys.modules if name.split(".")[0] == "lark"]
"""


@pytest.mark.parametrize("module", ["jupyterhub.app", "jupyterhub.singleuser.app", "jupyter_server.serverapp"])
def test_no_grammar_is_compiled(module: str) -> None:
    subprocess.run([sys.executable, "-c", PROBE.format(module=module)], check=True)
