"""The wheel carries all that `aihub run` needs in an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.local.rig import ROOT, Rig

NOT_SHIPPED = {"__pycache__"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    [path] = folder.glob("aihub-*.whl")
    return path


def files(folder: Path) -> set[str]:
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and not NOT_SHIPPED & set(path.parts)
    }


def test_wheel_holds_the_package_and_the_demo_policy(wheel: Path) -> None:
    expected = {f"aihub/{name}" for name in files(ROOT / "aihub")}
    expected |= {f"aihub/demo/{name}" for name in files(ROOT / "config" / "demo")}
    assert {"aihub/proxy/package-lock.json", "aihub/cli.py"} < expected
    assert any(name.startswith("aihub/demo/") for name in expected)
    with zipfile.ZipFile(wheel) as archive:
        assert {name for name in archive.namelist() if name.startswith("aihub/")} == expected


def test_installed_wheel_runs_in_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    environment, folder = tmp_path / "environment", tmp_path / "empty"
    folder.mkdir()
    uv = [sys.executable, "-m", "uv"]
    python = environment / "bin" / "python"
    subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, str(environment)], check=True)
    locked = ["--constraints", str(ROOT / "requirements" / "local.txt")]
    subprocess.run([*uv, "pip", "install", "--quiet", "--python", str(python), *locked, f"{wheel}[local]"], check=True)

    path = os.pathsep.join([str(environment / "bin"), os.defpath])
    aihub = (str(environment / "bin" / "aihub"),)
    rig = Rig(folder, environ={"PYTHONPATH": "", "PATH": path}, aihub=aihub, cwd=folder)
    try:
        rig.start()
        assert "AIHub is ready" in rig.terminal.read_text()
    finally:
        rig.close()
