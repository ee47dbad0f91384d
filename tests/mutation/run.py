"""Run mutmut on the modules that decide, with their own fast tests, and count what the tests killed.

    python -m tests.mutation.run [MODULE…]

Works in a temporary folder on copies, so that a checkout stays as it is. Exits with 1 where a module's tests kill less
than 90 % of its mutants, after printing the survivors; `--keep FOLDER` works there, for `mutmut show` afterwards.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
REQUIRED = 0.9
SUPPORT = ("__init__.py", "oracle.py", "strategies.py", "ledger_rig.py", "mutation/__init__.py", "mutation/profile.py")
TESTS: Mapping[str, tuple[str, ...]] = {
    "policy": ("test_policy.py", "test_policy_properties.py"),
    "groupprojects": ("test_groupprojects.py",),
    "capacity": ("test_capacity.py", "test_policy.py"),
    "scheduling": ("test_scheduling.py",),
    "quota": ("test_quota.py",),
    "ledger": ("test_ledger.py", "test_ledger_machine.py"),
}
# mutmut's exit codes of mutants that live: survived, no tests, no tests, skipped, not checked. The rest failed a test,
# or never ended.
ALIVE = (0, 5, 33, 34, None)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", default=list(TESTS), choices=list(TESTS), metavar="MODULE")
    parser.add_argument("--keep", type=Path, metavar="FOLDER")
    given = parser.parse_args(arguments)
    os.nice(15)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        results = {module: mutate(module, folder / module) for module in given.modules}
    return report(results)


def mutate(module: str, folder: Path) -> dict[str, int | None]:
    """The exit code of the tests for each mutant of `module`; None where no test reaches it."""
    prepare(module, folder)
    print(f"{module}: mutating …", flush=True)
    # mutmut redraws one line ten times a second; only what it says when it fails is worth reading.
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", "2"]
    run = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"mutmut failed on {module}:\n{run.stdout[-5000:]}{run.stderr[-5000:]}")
    document = json.loads((folder / "mutants" / "aihub" / f"{module}.py.meta").read_text())
    codes: dict[str, int | None] = document["exit_code_by_key"]
    return codes


def prepare(module: str, folder: Path) -> None:
    shutil.copytree(ROOT / "aihub", folder / "aihub", ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    for name in (*SUPPORT, *TESTS[module]):
        (folder / "tests" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "tests" / name, folder / "tests" / name)
    (folder / "pyproject.toml").write_text(
        "[tool.mutmut]\n"
        'source_paths = ["aihub"]\n'
        f'only_mutate = ["aihub/{module}.py"]\n'
        'also_copy = ["aihub"]\n'
        f"pytest_add_cli_args_test_selection = {json.dumps([f'tests/{name}' for name in TESTS[module]])}\n"
        'pytest_add_cli_args = ["-p", "tests.mutation.profile", "-p", "no:cacheprovider"]\n'
        "use_git_change_detection = false\n"
        "[tool.pytest.ini_options]\n"
        'pythonpath = ["."]\n'
        'asyncio_mode = "auto"\n'
        'asyncio_default_fixture_loop_scope = "function"\n'
        'filterwarnings = ["error"]\n'
    )


def report(results: Mapping[str, Mapping[str, int | None]]) -> int:
    enough = True
    for module, codes in results.items():
        alive = sorted(name for name, code in codes.items() if code in ALIVE)
        killed = len(codes) - len(alive)
        enough = enough and killed >= REQUIRED * len(codes)
        print(f"{module}: {killed} of {len(codes)} mutants killed ({killed / max(len(codes), 1):.1%})")
        for name in alive:
            print(f"  survived: {name}")
    return 0 if enough else 1


if __name__ == "__main__":
    sys.exit(main())
