"""Running one notebook with papermill: parameters in, an executed copy and its cost out."""

from __future__ import annotations

import ast
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import nbformat
import papermill
import psutil
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from lab.reproduce.compact import compact
from lab.reproduce.kernels import KernelsAhead, process_id, shut_down
from lab.reproduce.run_records import Tree
from weconvene_core.errors import WeconveneError
from weconvene_core.paths import data_folder

START_TIMEOUT = 600  # seconds: a kernel that warms up answers when its imports are done, on a slow disk after minutes


@dataclass(frozen=True)
class Execution:
    """The cost of one run: wall time in seconds, peak resident memory in MiB, and the parameters that it ran with."""

    seconds: float
    peak_memory_mb: float
    parameters: dict[str, str]


class PeakMemory:
    """Samples, twice a second, the resident memory of a process (a notebook's kernel) and of what it starts."""

    def __init__(self, process: int) -> None:
        self.mb = 0.0
        self._process = psutil.Process(process)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.5):
            try:
                family = [self._process, *self._process.children(recursive=True)]
            except psutil.Error:  # the kernel stopped
                return
            self.mb = max(self.mb, sum(map(_resident, family)) / 2**20)


def _resident(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.Error:  # it ended between the listing and the question
        return 0


def execute(
    tree: Tree, notebook: Path, mode: str, kernels: KernelsAhead, following: Path | None = None, progress: bool = False
) -> Execution:
    """Run ``notebook`` with the parameter ``mode`` into ``results/notebooks``.

    It takes its kernel from ``kernels``, where that of the notebook ``following`` warms up meanwhile. The copy
    grows under a temporary name and is renamed when the last cell has run, so a cut-off run leaves the copy before it.

    Raises:
        WeconveneError: a cell failed or the kernel stopped; names the notebook and the cell.
    """
    partial = tree.executed / f"{notebook.stem}.partial.ipynb"
    tree.executed.mkdir(parents=True, exist_ok=True)
    _prepare_environment(tree)
    started = time.monotonic()
    kernel = kernels.take()
    try:
        if following:
            kernels.warm_up_for(following)
        with PeakMemory(process_id(kernel)) as peak:
            node = papermill.execute_notebook(
                notebook,
                partial,
                {"mode": mode},
                kernel_name="python3",
                language="python",
                cwd=notebook.parent,
                progress_bar=progress,
                start_timeout=START_TIMEOUT,
                km=kernel,
            )
    except PapermillExecutionError as exc:
        raise WeconveneError(_cell_failure(tree, notebook, partial, exc)) from exc
    except (DeadKernelError, psutil.NoSuchProcess) as exc:
        raise WeconveneError(_kernel_stopped(notebook)) from exc
    finally:
        shut_down(kernel)
    seconds = time.monotonic() - started
    _publish(tree, notebook, node, partial)
    return Execution(round(seconds, 1), round(peak.mb, 1), _parameters(notebook, mode))


def _prepare_environment(tree: Tree) -> None:
    """Make the kernel import this tree's package, whatever is installed, and keep its start free of chatter."""
    others = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p and p != str(tree.root)]
    os.environ["PYTHONPATH"] = os.pathsep.join([str(tree.root), *others])
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
    # GNU's OpenMP lets a thread that waits for others spin for long, and the next kernel warms up meanwhile on the same
    # processors (data/checkpoints/RUNS.md, "Freed memory").
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def _cell_failure(tree: Tree, notebook: Path, partial: Path, exc: PapermillExecutionError) -> str:
    ids = [cell.get("id") for cell in nbformat.read(notebook, as_version=4).cells if cell.source == exc.source]
    where = f"the cell {ids[0]}" if ids else "a cell"
    error = f"{exc.ename}: {exc.evalue}".strip().splitlines()[0]
    return (
        f"{notebook.stem} stopped in {where} (In [{exc.exec_count}]) with {error}; its output is in "
        f"{tree.relative(partial)}, what finished before is kept, and the same command goes on from here"
    )


def _kernel_stopped(notebook: Path) -> str:
    return (
        f"the kernel of {notebook.stem} stopped before the last cell (interrupted, or out of memory); "
        "what finished before is kept, and the same command goes on from here"
    )


def _parameters(notebook: Path, mode: str) -> dict[str, str]:
    """Return the defaults of the cell tagged ``parameters`` as they are written there, and the mode."""
    cells = nbformat.read(notebook, as_version=4).cells
    sources = [cell.source for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    assigned = [line for source in sources for line in ast.parse(source).body if isinstance(line, ast.AnnAssign)]
    defaults = {ast.unparse(line.target): ast.unparse(line.value) for line in assigned if line.value is not None}
    return defaults | {"mode": mode}


def _publish(tree: Tree, notebook: Path, node: nbformat.NotebookNode, partial: Path) -> None:
    """Strip this machine's paths from the executed copy, make it small, and give it its final name."""
    final = tree.executed / notebook.name
    node.metadata.papermill.update(input_path=tree.relative(notebook), output_path=tree.relative(final))
    for cell in node.cells:
        for output in cell.get("outputs", []):
            _strip_paths(tree, output)
    compact(node)
    nbformat.write(node, partial, split_lines=False)  # a line per item of a list costs a tenth of the text
    os.replace(partial, final)


def _strip_paths(tree: Tree, output: nbformat.NotebookNode) -> None:
    images = data_folder()
    names = {str(tree.root): ".", str(Path.home()): "~"} | ({str(images): "$WECONVENE_DATA"} if images else {})
    holder, keys = (output, ["text"]) if "text" in output else (output.get("data", {}), ["text/plain", "text/html"])
    for key in keys:
        for path in sorted(names, key=len, reverse=True):  # the longest first: one may lie inside another
            if key in holder and len(path) > 1:
                holder[key] = holder[key].replace(path, names[path])
