"""Which Chromium the browser tests drive: the system's, else playwright's own.

`python -m tests.browsers` fetches playwright's own where there is none, and says in one line when that fails too.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MACOS = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")


def find_chromium() -> str | None:
    """Path of a Chromium; None when there is none on this machine."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None and MACOS.exists():
        found = str(MACOS)
    return found or _playwrights_own()


def _playwrights_own() -> str | None:
    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


def main() -> None:
    """Fetch a browser if there is none; never fail, because the other tests run without one."""
    if find_chromium() is not None:
        return
    print("No Chromium on this machine: fetching playwright's own …", flush=True)
    answer = subprocess.run(
        [sys.executable, "-m", "playwright", "install", "chromium"], capture_output=True, text=True, check=False
    )
    if answer.returncode != 0:
        print("No Chromium could be had: the browser tests are left out, all others run.", flush=True)


if __name__ == "__main__":
    main()
