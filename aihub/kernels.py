"""The one kernel of a user server on one machine: its spec, and the settings that let no other kernel be seen.

ipykernel's own spec starts whatever `python` is first on the server's PATH, which is the hub's; and Jupyter looks for
specs in the person's home, in the server's own environment and on the system. So the spec is written with absolute
paths, and the server gets a spec manager that knows this one folder only (`aihub.singleuser.OnlyKernel`). JUPYTER_PATH
names it too, for tools that look specs up by themselves (nbconvert, `jupyter kernelspec list`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from aihub.environments import Environment

__all__ = ["DROPPED", "KERNEL", "ServerSettings", "kernel_spec", "server_settings", "write_kernel"]

KERNEL = "python3"

DROPPED = frozenset({
    "CONDA_DEFAULT_ENV", "CONDA_PREFIX", "CONDA_ROOT", "IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_CONFIG_PATH",
    "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP",
    "VIRTUAL_ENV",
})  # fmt: skip
"""Variables of the hub that must not reach a user server (take them out of `Spawner.env_keep` and of the result)."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What a user server is started with: variables to set and command line arguments."""

    variables: Mapping[str, str]
    arguments: tuple[str, ...]


def kernel_spec(environment: Environment) -> dict[str, Any]:
    """The document of kernel.json (https://jupyter-client.readthedocs.io/en/latest/kernels.html#kernel-specs)."""
    # Empty counts as unset for Python and the loader; a spec cannot take a variable away.
    fixed = _inside(environment) | dict.fromkeys(("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH"), "")
    # Values are templates of the server's variables.
    programs = str(environment.python.parent).replace("$", "$$")
    return {
        "argv": [str(environment.python), "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": environment.label,
        "language": "python",
        "metadata": {"debugger": True},
        "env": {name: value.replace("$", "$$") for name, value in fixed.items()} | {"PATH": f"{programs}:${{PATH}}"},
    }


def write_kernel(environment: Environment, folder: Path) -> Path:
    """Make `folder` a Jupyter data folder with this kernel alone; returns the path of kernel.json. Raises OSError."""
    place = folder / "kernels" / KERNEL
    place.mkdir(parents=True, exist_ok=True)
    new = place / "kernel.json.new"
    new.write_text(json.dumps(kernel_spec(environment), indent=1), encoding="utf-8")
    return new.replace(place / "kernel.json")


def server_settings(environment: Environment, folder: Path, *, path: str, shell: str = "/bin/sh") -> ServerSettings:
    """How a user server is started so that it offers the kernel in `folder` (from `write_kernel`) and no other.

    `path` is the PATH that the server would have; the environment's programs come first on it, so a terminal's
    `python` and `pip` are the environment's as well. `shell` is what terminals run.
    """
    variables = _inside(environment) | {
        "PATH": f"{environment.python.parent}:{path}",
        "JUPYTER_PATH": str(folder),
    }
    # A login shell, jupyter_server's default without a terminal, sets PATH anew.
    terminal = {"shell_command": [shell]}
    arguments = (
        "--ServerApp.kernel_spec_manager_class=aihub.singleuser.OnlyKernel",
        f"--OnlyKernel.folder={folder / 'kernels'}",
        "--KernelSpecManager.ensure_native_kernel=False",
        f"--KernelSpecManager.allowed_kernelspecs={{'{KERNEL}'}}",
        f"--MultiKernelManager.default_kernel_name={KERNEL}",
        f"--ServerApp.terminado_settings={terminal}",
        "--ServerApp.jpserver_extensions={'aihub.singleuser': True}",
    )
    return ServerSettings(MappingProxyType(variables), arguments)


def _inside(environment: Environment) -> dict[str, str]:
    return {
        "VIRTUAL_ENV": str(environment.path),
        "PYTHONNOUSERSITE": "1",
        "PIP_USER": "0",  # a person's `user = true` in pip.conf makes pip fail inside a virtual environment
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
