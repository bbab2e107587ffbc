"""Kernels that warm up ahead of their notebook: imported, but with no name bound, and none left behind."""

from __future__ import annotations

from pathlib import Path

import nbformat
import psutil
from nbclient import NotebookClient

from lab.reproduce.execute_notebook import START_TIMEOUT
from lab.reproduce.kernels import KernelsAhead, process_id, shut_down
from lab.reproduce.warm_up import imports_of

CELLS = (
    "import json as j, no_such_module\nfrom weconvene_core import load_model",
    "%magic is no Python",
    "def later():\n    import pandas",
    "from xml.dom import minidom, no_such_name",
)
LOOK = "import sys\nprint('xml.dom.minidom' in sys.modules and 'weconvene_core.codec.api' in sys.modules, "
LOOK += "*(name in globals() for name in ('torch', 'j', 'load_model', 'minidom')))"


def notebook(folder: Path) -> Path:
    path = folder / "next.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS]), path)
    return path


def test_only_imports_at_the_top_level_count_and_a_broken_cell_has_none(tmp_path: Path) -> None:
    found = imports_of(notebook(tmp_path))
    assert found == [
        ("json", ()),
        ("no_such_module", ()),
        ("weconvene_core", ("load_model",)),
        ("xml.dom", ("minidom", "no_such_name")),
    ]


def printed(kernel: object, code: str) -> str:
    node = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    client = NotebookClient(node, km=kernel, startup_timeout=START_TIMEOUT)
    return client.execute(cleanup_kc=True).cells[0].outputs[0].text.strip()


def test_a_kernel_that_warmed_up_knows_the_libraries_and_no_name(tmp_path: Path) -> None:
    with KernelsAhead(tmp_path) as kernels:
        cold = kernels.take()
        kernels.warm_up_for(notebook(tmp_path))
        warm = kernels.take()
        assert process_id(cold) != process_id(warm)
        assert printed(cold, LOOK) == "False False False False False"
        assert printed(warm, LOOK) == "True False False False False"
        for kernel in (cold, warm):
            shut_down(kernel)


def test_a_kernel_that_nobody_took_ends_with_the_run(tmp_path: Path) -> None:
    with KernelsAhead(tmp_path) as kernels:
        kernels.warm_up_for(notebook(tmp_path))
        waiting = process_id(kernels._next)
        assert runs(waiting)
    assert not runs(waiting)


def test_ending_a_kernel_twice_is_no_error(tmp_path: Path) -> None:
    kernel = KernelsAhead(tmp_path).take()
    shut_down(kernel)
    shut_down(kernel)


def runs(process: int) -> bool:
    return psutil.pid_exists(process) and psutil.Process(process).status() != psutil.STATUS_ZOMBIE
