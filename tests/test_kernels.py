"""The one kernel of a user server, shown on a real Jupyter Server with real environments."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from aihub.environments import Environment, Environments
from aihub.kernels import DROPPED, kernel_spec, server_settings, write_kernel
from tests.jupyter_rig import Server, jupyter_server

HUMANIZE, TOOLZ = ["humanize==4.12.3"], ["toolz==1.0.0"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Environment, Environment]:
    """Two environments made by the real installer."""
    environments = Environments(tmp_path_factory.mktemp("environments"))

    async def both() -> tuple[Environment, Environment]:
        one = environments.ensure(HUMANIZE, label="Words 4.12", on_line=print)
        two = environments.ensure(TOOLZ, label="Tools 1.0", on_line=print)
        return await asyncio.gather(one, two)

    return asyncio.run(both())


def lay_decoys(home: Path, other: Environment) -> dict[str, str]:
    """All the places where Jupyter and Python look for something of the person's; returns variables to go with them."""
    data = home / "own-data"
    for place in (home / ".local/share/jupyter", data):
        for name in ("python3", "other"):
            spec = kernel_spec(other) | {"display_name": "decoy"}
            (place / "kernels" / name).mkdir(parents=True)
            (place / "kernels" / name / "kernel.json").write_text(json.dumps(spec))
    config = home / ".jupyter"
    config.mkdir()
    manager = {"kernel_spec_manager_class": "jupyter_client.kernelspec.KernelSpecManager"}
    off = {"jpserver_extensions": {"aihub.singleuser": False}}
    wide = {"OnlyKernel": {"folder": str(data / "kernels")}, "KernelSpecManager": {"ensure_native_kernel": True}}
    (config / "jupyter_server_config.json").write_text(json.dumps({"ServerApp": manager | off, **wide}))
    packages = home / ".local/lib" / f"python{other.python.resolve().name.removeprefix('python')}" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "decoy.py").write_text("")
    pip = home / ".config/pip"
    pip.mkdir(parents=True)
    (pip / "pip.conf").write_text("[install]\nuser = true\n")
    return {"JUPYTER_DATA_DIR": str(data)}


@pytest.fixture(scope="module")
def server(built: tuple[Environment, Environment], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of the first environment in a home full of decoys."""
    home = tmp_path_factory.mktemp("home")
    folder = tmp_path_factory.mktemp("jupyter")
    decoys = lay_decoys(home, built[1])
    write_kernel(built[0], folder)
    settings = server_settings(built[0], folder, path=os.environ["PATH"])
    with jupyter_server(home, {**decoys, **settings.variables}, settings.arguments) as running:
        yield running


@pytest.fixture(scope="module")
def kernel(server: Server) -> str:
    return server.start_kernel()


def test_the_server_lists_this_kernel_alone(server: Server, built: tuple[Environment, Environment]) -> None:
    specs = server.get("/api/kernelspecs")
    assert specs["default"] == "python3"
    assert list(specs["kernelspecs"]) == ["python3"]
    assert specs["kernelspecs"]["python3"]["spec"]["display_name"] == "Words 4.12"
    assert specs["kernelspecs"]["python3"]["spec"]["argv"][0] == str(built[0].python)


def test_another_kernel_of_the_home_cannot_be_started_by_name(server: Server) -> None:
    assert server.status_of("POST", "/api/kernels", {"name": "other"}) >= 400
    body = {"path": "x.ipynb", "type": "notebook", "name": "", "kernel": {"name": "other"}}
    assert server.status_of("POST", "/api/sessions", body) == 501


def test_the_kernel_is_the_environments(server: Server, kernel: str, built: tuple[Environment, Environment]) -> None:
    code = "import sys, humanize; print(sys.prefix, humanize.__version__, sys.flags.no_user_site)"
    assert server.run(kernel, code).split() == [str(built[0].path), "4.12.3", "1"]


@pytest.mark.parametrize("module", ["toolz", "decoy", "jupyterhub", "aihub", "jupyterlab"])
def test_nothing_else_can_be_imported(server: Server, kernel: str, module: str) -> None:
    """Neither the other image's library, nor the person's, nor the hub's."""
    assert f"No module named '{module}'" in server.run(kernel, f"import {module}")


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("!pip --version", id="pip"),
        pytest.param("%pip --version", id="pip-magic"),
        pytest.param("!python -c 'import pip; print(pip.__file__)'", id="python-in-shell"),
        pytest.param(
            "import subprocess\nprint(subprocess.run(['python', '-c', 'import pip; print(pip.__file__)'],"
            " capture_output=True, text=True).stdout)",
            id="subprocess",
        ),
    ],
)
def test_programs_are_the_environments(
    server: Server, kernel: str, built: tuple[Environment, Environment], code: str
) -> None:
    assert f"{built[0].path}/lib/" in server.run(kernel, code)


def test_pip_installs_into_the_environment_whatever_the_persons_pip_settings_say(
    server: Server, kernel: str, built: tuple[Environment, Environment]
) -> None:
    said = server.run(kernel, "!pip install --dry-run --no-index humanize")
    assert f"already satisfied: humanize in {built[0].path}/lib" in said


def test_versions_are_those_of_the_list(server: Server, kernel: str) -> None:
    code = (
        "import importlib.metadata as m; print(m.version('humanize'), 'toolz' in {d.name for d in m.distributions()})"
    )
    assert server.run(kernel, code).split() == ["4.12.3", "False"]


def test_a_terminal_gets_the_environments_programs(built: tuple[Environment, Environment], tmp_path: Path) -> None:
    settings = server_settings(built[0], tmp_path, path="/usr/bin:/bin")
    assert settings.variables["PATH"] == f"{built[0].path}/bin:/usr/bin:/bin"
    assert "--ServerApp.terminado_settings={'shell_command': ['/bin/sh']}" in settings.arguments


def test_paths_with_a_dollar_are_not_templates(tmp_path: Path) -> None:
    environment = Environment("k", "x", tmp_path / "a$HOME", tmp_path / "a$HOME/bin/python", 1.0)
    spec = kernel_spec(environment)
    assert spec["argv"][0] == str(environment.python)
    assert spec["env"]["VIRTUAL_ENV"] == str(tmp_path / "a$$HOME")
    assert spec["env"]["PATH"] == f"{tmp_path}/a$$HOME/bin:${{PATH}}"


def test_a_kernel_is_replaced_in_one_step(tmp_path: Path) -> None:
    environment = Environment("k", "One", tmp_path, tmp_path / "bin/python", 1.0)
    write_kernel(environment, tmp_path)
    place = write_kernel(Environment("k", "Two", tmp_path, tmp_path / "bin/python", 1.0), tmp_path)
    assert json.loads(place.read_text())["display_name"] == "Two"
    assert [path.name for path in place.parent.iterdir()] == ["kernel.json"]


def test_variables_of_the_hub_that_would_show_other_libraries_are_dropped() -> None:
    assert {"PYTHONPATH", "LD_LIBRARY_PATH", "JUPYTER_DATA_DIR", "VIRTUAL_ENV"} <= DROPPED
