"""Run one notebook with papermill and record the run; ``notebooks/Snakefile`` calls it, once per notebook.

``python -m lab.reproduce.run_notebook NOTEBOOK quick [PATTERN...]``: the patterns, below ``results/run/``, say which
tables and figures are this notebook's.
"""

from __future__ import annotations

import ast
import re
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import nbformat
import papermill
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.exceptions import PapermillExecutionError

from lab.reproduce.run_records import REPOSITORY, RunRecord, Tree, environment, write_record
from weconvene_core.atomic_files import sha256_of, write_text
from weconvene_core.errors import WeconveneError
from weconvene_core.paths import data_folder

START_TIMEOUT = 600  # seconds: kernels that start side by side on a slow disk answer after minutes
QUICK_TIMEOUT = 900  # seconds for a cell in quick mode, ten times what the longest takes: a reply may get lost


def run(tree: Tree, notebook: Path, mode: str, patterns: Sequence[str]) -> RunRecord:
    """Execute a notebook, then write its executed copy and its record; a run that fails writes neither.

    Parameters
    ----------
    notebook : in ``notebooks/``, with one cell tagged ``parameters``.
    mode : ``quick`` or ``full``.
    patterns : names below ``results/run/``, with ``*``: the files that the record names if this run wrote them.

    Raises
    ------
    WeconveneError
        If a cell failed or the kernel stopped; it names the notebook and the cell.
    """
    tree.record_path(notebook.stem).unlink(missing_ok=True)
    started = time.time()
    node = _execute(notebook, mode)
    seconds = time.time() - started
    node.metadata.papermill.update(
        input_path=tree.relative(notebook), output_path=tree.relative(tree.executed / notebook.name)
    )
    _strip_paths(tree, node)
    # the option: a line per item of a list costs a tenth of the text
    write_text(tree.executed / notebook.name, nbformat.writes(node, split_lines=False) + "\n")
    written = {path for pattern in patterns for path in tree.results.glob(pattern) if path.stat().st_mtime >= started}
    record = RunRecord(
        notebook=notebook.stem,
        mode=mode,
        parameters=_defaults(notebook) | {"mode": mode},
        seconds=round(seconds, 1),
        peak_memory_mb=round(_children_peak_mb(), 1),
        finished=datetime.now(UTC).isoformat(timespec="milliseconds"),
        artifacts={tree.relative(path): sha256_of(path) for path in sorted(written)},
        environment=environment(tree),
        patterns=list(patterns),
    )
    write_record(tree, record)
    print(f"{notebook.stem} ({mode}): {seconds:.0f} s, {record.peak_memory_mb:.0f} MiB, {len(written)} files")
    said = [output["text"] for output in _outputs(node) if output.get("name") == "stderr"]
    for text in dict.fromkeys(re.findall(r"UserWarning: (.+)", "\n".join(said))):
        print(f"  warning: {text}")  # such as curves or encoders left out
    return record


def _outputs(node: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [output for cell in node.cells for output in cell.get("outputs", [])]


def _execute(notebook: Path, mode: str, again: bool = True) -> nbformat.NotebookNode:
    """Return the notebook with the outputs of all cells; its kernel works in the notebook's folder.

    ``again``: where a cell gets no answer, as happens once in many runs on a busy machine, start from the beginning.
    """
    try:
        return papermill.execute_notebook(
            notebook, None, {"mode": mode}, kernel_name="python3", language="python", cwd=notebook.parent,
            progress_bar=False, start_timeout=START_TIMEOUT, coalesce_streams=True,
            execution_timeout=QUICK_TIMEOUT if mode == "quick" else None,
            extra_arguments=["--IPKernelApp.log_level=CRITICAL"],  # the kernel's own chatter; cells' output stays
        )  # fmt: skip
    except PapermillExecutionError as exc:
        ids = [cell.get("id") for cell in nbformat.read(notebook, as_version=4).cells if cell.source == exc.source]
        where = f"the cell {ids[0]}" if ids else "a cell"
        error = f"{exc.ename}: {exc.evalue}".strip().splitlines()[0]
        raise WeconveneError(f"{notebook.stem} stopped in {where} (In [{exc.exec_count}]) with {error}") from exc
    except CellTimeoutError as exc:
        if again:
            return _execute(notebook, mode, again=False)
        raise WeconveneError(f"{notebook.stem} got no answer from its kernel for {QUICK_TIMEOUT} s") from exc
    except DeadKernelError as exc:
        raise WeconveneError(
            f"the kernel of {notebook.stem} stopped before the last cell (interrupted, or out of memory)"
        ) from exc


def _defaults(notebook: Path) -> dict[str, str]:
    """The values in the cell tagged ``parameters``, as they are written there (papermill skips some annotations)."""
    cells = nbformat.read(notebook, as_version=4).cells
    source = "\n".join(cell.source for cell in cells if "parameters" in cell.metadata.get("tags", []))
    assigned = [line for line in ast.parse(source).body if isinstance(line, ast.AnnAssign) and line.value is not None]
    return {ast.unparse(line.target): ast.unparse(line.value) for line in assigned}


def _strip_paths(tree: Tree, node: nbformat.NotebookNode) -> None:
    """Replace this machine's folders in the outputs, so that an executed copy does not tell them."""
    images = data_folder()
    names = {str(tree.root): ".", str(Path.home()): "~"} | ({str(images): "$WECONVENE_DATA"} if images else {})
    for output in _outputs(node):
        holder, keys = (output, ["text"]) if "text" in output else (output.get("data", {}), ["text/plain", "text/html"])
        for key in [key for key in keys if key in holder]:
            for path in sorted(names, key=len, reverse=True):  # the longest first: one may lie inside another
                holder[key] = holder[key].replace(path, names[path]) if len(path) > 1 else holder[key]


def _children_peak_mb() -> float:
    """The most resident memory of the kernel or another process that ended, in MiB; NaN on Windows."""
    try:
        import resource
    except ImportError:
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)  # macOS counts bytes, Linux KiB


def main(argv: Sequence[str]) -> int:
    """Run a notebook (path, mode, patterns); a failure is one sentence and exit code 1."""
    notebook, mode, *patterns = argv
    try:
        run(REPOSITORY, Path(notebook).resolve(), mode, patterns)
    except WeconveneError as error:
        print(f"error: {error}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
