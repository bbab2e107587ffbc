"""A run starts from empty tables, so that no row of an earlier run or another machine passes for one of this run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lab.reproduce.long_measurements import command_of
from lab.reproduce.run_records import Tree, recorded_runs


def own_tables(tree: Tree, stem: str) -> list[str]:
    """Return the tables that the last known run of the notebook wrote and that no notebook before it writes too."""
    runs = recorded_runs(tree)
    shared = {name for earlier, run in runs.items() if earlier < stem for name in run.artifacts}
    written = runs[stem].artifacts if stem in runs else {}
    return [name for name in written if _is_table_of_any_mode(name) and name not in shared]


def _is_table_of_any_mode(name: str) -> bool:
    # A full run's own table stands beside the quick one's: only another full run replaces it, and as a whole.
    # The table of a long measurement is nobody's here, whatever an earlier record says.
    kept = name.endswith("_full.csv") or command_of(Path(name).name) is not None
    return name.startswith("results/tables/") and not kept


def _aside(tree: Tree) -> Path:
    return tree.results / "scratch" / "aside"


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(source, target)


def _put_back(tree: Tree, overwrite: bool) -> None:
    aside = _aside(tree)
    for path in [path for path in aside.rglob("*") if path.is_file()]:
        target = tree.root / path.relative_to(aside)
        if overwrite or not target.exists():
            _move(path, target)
    shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def set_aside(tree: Tree, names: Sequence[str]) -> Iterator[None]:
    """Keep the files ``names`` (paths below the root) out of the way while a notebook runs.

    When it fails or is killed they come back as they were (at once, or before the next run); when it finishes, those
    that it did not write anew come back.
    """
    _put_back(tree, overwrite=True)
    for name in names:
        if (tree.root / name).is_file():
            _move(tree.root / name, _aside(tree) / name)
    try:
        yield
    except BaseException:
        _put_back(tree, overwrite=True)
        raise
    _put_back(tree, overwrite=False)
