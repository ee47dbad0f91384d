"""Run a module as a managed service that ends with its hub: `python -m aihub.orphan PARENT MODULE [ARGUMENT…]`.

JupyterHub starts services in a session of their own, so a hub that is killed leaves them behind, and the next hub
would start a second one beside each.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time

CHECK_EVERY = 0.5
"""Seconds between two looks at the parent."""


def exit_with_parent(parent: int) -> None:
    """End this process, without any clean-up, soon after `parent` is no longer its parent. Never returns before."""
    while os.getppid() == parent:
        time.sleep(CHECK_EVERY)
    os._exit(0)


def command(module: str, *arguments: str) -> list[str]:
    """The command line for a managed service of this hub (a child of the calling process)."""
    # -P: a file `random.py` in the current folder is not to be imported by the service.
    return [sys.executable, "-P", "-m", "aihub.orphan", str(os.getpid()), module, *arguments]


def main() -> None:
    """Watch the parent in a thread and run the module as `__main__`."""
    parent, module = int(sys.argv[1]), sys.argv[2]
    threading.Thread(target=exit_with_parent, args=(parent,), daemon=True, name="exit-with-parent").start()
    # The hub stops its services with SIGINT; in Python that would be a traceback in the middle of whatever ran.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.argv = sys.argv[2:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
