"""Kernels that import the libraries while the notebook before theirs still runs.

Every kernel spends ten seconds on torch, CompressAI and what they bring, most of it on one processor. Notebooks that
run one after another wait for that each time; a kernel that starts one notebook ahead has it done when its turn comes.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import nbformat
from jupyter_client import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.util import run_sync

from lab.reproduce.warm_up import imports_of

WARM_UP = "__import__('lab.reproduce.warm_up', fromlist=['load']).load({imports!r});"
"""Run in a kernel before its notebook: it binds no name, so a notebook that forgets an import still fails."""
ARGUMENTS = ["--IPKernelApp.log_level=CRITICAL"]  # the kernel's own chatter; cells' output stays


class KernelsAhead:
    """Hands out one kernel per notebook, and keeps the next one warming up; leaving the block ends what is left."""

    def __init__(self, folder: Path) -> None:
        """Start nothing yet; kernels will work in ``folder``."""
        self.folder = folder
        self._next: AsyncKernelManager | None = None

    def __enter__(self) -> KernelsAhead:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        if self._next is not None:
            shut_down(self._next)

    def take(self) -> AsyncKernelManager:
        """Return the kernel that was started ahead, or a new one; the caller shuts it down."""
        kernel, self._next = self._next or start(self.folder, []), None
        return kernel

    def warm_up_for(self, notebook: Path) -> None:
        """Start the kernel of the notebook that comes next, unless there is one, on what that notebook imports."""
        if self._next is None:
            line = WARM_UP.format(imports=imports_of(notebook))
            self._next = start(self.folder, [f"--IPKernelApp.exec_lines={line}"])


def start(folder: Path, arguments: list[str]) -> AsyncKernelManager:
    """Start a kernel of this interpreter in ``folder``, without waiting until it answers."""
    client = NotebookClient(nbformat.v4.new_notebook(), kernel_name="python3", extra_arguments=ARGUMENTS + arguments)
    kernel = client.create_kernel_manager()
    client.start_new_kernel(cwd=str(folder))
    return kernel


def shut_down(kernel: AsyncKernelManager) -> None:
    """End a kernel, whether or not it still runs."""
    if run_sync(kernel.is_alive)():
        run_sync(kernel.shutdown_kernel)(now=True)
    run_sync(kernel.cleanup_resources)()


def process_id(kernel: AsyncKernelManager) -> int:
    """Return the process id of a running kernel."""
    return int(kernel.provisioner.pid)
