"""Imports that cost a start more than they bring."""

from __future__ import annotations

import sys


def skip_iri_grammar() -> None:
    """Let `import rfc3987_syntax` fail at once; call it before JupyterHub or Jupyter Server is imported.

    It compiles a grammar, 2 s of CPU, each time it is imported. jsonschema imports it where it is there, to check the
    format "iri"; JupyterHub and Jupyter Server ask for it with jsonschema and have no schema with such a field.
    """
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]  # what the import system documents
