"""A kernel spec manager that knows one folder.

`KernelSpecManager.allowed_kernelspecs` filters lists only: a kernel of another name that a person's home holds could
still be started by its name. With one folder to look in there is no such kernel.
"""

from __future__ import annotations

from jupyter_client.kernelspec import KernelSpecManager
from traitlets import Unicode, default

__all__ = ["OnlyKernel"]


class OnlyKernel(KernelSpecManager):
    """Offers the kernels of `folder`; those of the home, the server's environment and the system do not exist."""

    folder = Unicode(
        config=True, help="The folder that holds `python3/kernel.json`. Required: without it there is no kernel."
    )

    @default("kernel_dirs")
    def _only_folder(self) -> list[str]:
        return [self.folder] if self.folder else []
