"""Kernels that warm up ahead of their notebook: imported, but with no name bound, and none left behind."""

from __future__ import annotations

from pathlib import Path

import nbformat
import psutil
from nbclient import NotebookClient

from weconvene_core.reproduce.execute import START_TIMEOUT
from weconvene_core.reproduce.kernels import KernelsAhead, process_id, shut_down

LOOK = "import sys\nprint('weconvene_core.codec.api' in sys.modules, 'torch' in globals(), 'importlib' in globals())"


def printed(kernel: object, code: str) -> str:
    node = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    client = NotebookClient(node, km=kernel, startup_timeout=START_TIMEOUT)
    return client.execute(cleanup_kc=True).cells[0].outputs[0].text.strip()


def test_a_kernel_that_warmed_up_knows_the_libraries_and_no_name(tmp_path: Path) -> None:
    with KernelsAhead(tmp_path) as kernels:
        cold = kernels.take()
        kernels.warm_up_next()
        warm = kernels.take()
        assert process_id(cold) != process_id(warm)
        assert printed(cold, LOOK) == "False False False"
        assert printed(warm, LOOK) == "True False False"
        for kernel in (cold, warm):
            shut_down(kernel)


def test_a_kernel_that_nobody_took_ends_with_the_run(tmp_path: Path) -> None:
    with KernelsAhead(tmp_path) as kernels:
        kernels.warm_up_next()
        waiting = process_id(kernels._next)
        assert runs(waiting)
    assert not runs(waiting)


def test_ending_a_kernel_twice_is_no_error(tmp_path: Path) -> None:
    kernel = KernelsAhead(tmp_path).take()
    shut_down(kernel)
    shut_down(kernel)


def runs(process: int) -> bool:
    return psutil.pid_exists(process) and psutil.Process(process).status() != psutil.STATUS_ZOMBIE
