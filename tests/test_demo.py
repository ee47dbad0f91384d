"""The demo's course material, run with the libraries that its images promise."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from aihub.config import load
from aihub.projects import Project
from aihub.storage import SharedFolder

DEMO = Path(__file__).parents[1] / "config" / "demo"


def shared_folder(project: Project) -> SharedFolder:
    assert project.storage.shared is not None
    return project.storage.shared


@pytest.mark.local
@pytest.mark.parametrize(
    ("project", "printed"),
    [
        pytest.param("ml101", "40 of 40 right", id="ml101"),
        pytest.param("datalab", "Observatory → Lake → Library → Main Hall → Gate → Station (27 minutes)", id="datalab"),
    ],
)
def test_a_starter_notebook_runs_from_top_to_bottom(tmp_path: Path, project: str, printed: str) -> None:
    policy = load([DEMO]).policy
    demo = policy.projects[project]
    found = policy.catalog.find(str(demo.images.default))
    assert found is not None
    requirements = found[1].requirements or ()
    (notebook,) = Path(str(shared_folder(demo).source)).glob("*.ipynb")
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    for name, dataset in demo.storage.datasets.items():
        (tmp_path / "datasets").mkdir(exist_ok=True)
        (tmp_path / "datasets" / name).symlink_to(str(dataset.path))
    script = tmp_path / "notebook.py"
    script.write_text(f"import os\nos.environ['HOME'] = {str(tmp_path)!r}\n{code}\n", encoding="utf-8")
    uv = [sys.executable, "-m", "uv", "run", "--quiet", "--no-project", "--isolated", "--python", sys.executable]
    libraries = [part for requirement in requirements for part in ("--with", requirement)]
    done = subprocess.run(
        [*uv, *libraries, "python", "-X", "utf8", str(script)],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert printed in done.stdout
