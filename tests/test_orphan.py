"""A managed service ends when its hub does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from aihub import orphan

SERVICE = """
import sys, time
print(sys.argv[1:], flush=True)
time.sleep(60)
"""

HUB = """
import subprocess, sys
from aihub import orphan
service = subprocess.Popen(orphan.command("service", "--level", "3"), start_new_session=True)
print(service.pid, flush=True)
service.wait()
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """In which a module `service` can be imported."""
    (tmp_path / "service.py").write_text(SERVICE)
    paths = [str(tmp_path), str(Path(orphan.__file__).parents[1])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def test_service_gets_its_arguments_and_ends_with_its_parent(environ: dict[str, str]) -> None:
    code = textwrap.dedent(HUB)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environ) as hub:
        assert hub.stdout is not None
        service = psutil.Process(int(hub.stdout.readline()))
        assert hub.stdout.readline() == "['--level', '3']\n"
        assert service.is_running()
        hub.kill()
    service.wait(5)


def test_service_whose_parent_is_gone_already_ends(environ: dict[str, str]) -> None:
    command = [sys.executable, "-m", "aihub.orphan", "1", "service"]
    assert subprocess.run(command, env=environ, timeout=10, check=False, stdout=subprocess.DEVNULL).returncode == 0


def test_interrupt_ends_it_without_a_traceback(environ: dict[str, str]) -> None:
    command = orphan.command("service")
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environ, stdout=pipe, stderr=pipe, text=True) as service:
        assert service.stdout is not None
        service.stdout.readline()
        service.send_signal(signal.SIGINT)
        _, errors = service.communicate(timeout=5)
    assert service.returncode == -signal.SIGINT
    assert errors == ""
