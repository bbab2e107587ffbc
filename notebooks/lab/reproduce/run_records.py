"""What the runs of notebooks leave behind: their folders, and one record per finished notebook."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from pathlib import Path

import yaml

from weconvene_core.atomic_files import sha256_of, write_text
from weconvene_core.paths import ROOT


class Tree:
    """One checkout of the companion; tests point it at a small copy.

    ``data`` holds anchors, checkpoints and claims, ``results`` everything that a run writes: among it ``executed``
    notebooks with their records, and the ``manifest``, which says where all results came from.
    """

    def __init__(self, root: Path = ROOT) -> None:
        self.root, self.data, self.results = root, root / "data", root / "results"
        self.executed, self.manifest = self.results / "notebooks", self.results / "manifest.json"

    @property
    def notebooks(self) -> list[Path]:
        """The notebooks ``NN_name.ipynb`` in the order of their numbers."""
        return sorted((self.root / "notebooks").glob("[0-9][0-9]_*.ipynb"))

    def artifacts(self) -> list[Path]:
        """Return every finished file under ``results/figures`` and ``results/tables``, sorted."""
        folders = (self.results / "figures", self.results / "tables")
        found = (path for folder in folders for path in folder.rglob("*") if path.is_file())
        return sorted(path for path in found if not path.name.startswith(".") and ".partial" not in path.name)

    def relative(self, path: Path) -> str:
        """Return ``path`` below the root with forward slashes, as manifests and records name it."""
        return path.relative_to(self.root).as_posix()

    def record_path(self, stem: str) -> Path:
        """Return where the record of the notebook ``stem`` lies."""
        return self.executed / f"{stem}.json"


REPOSITORY = Tree()


@dataclass(frozen=True)
class RunRecord:
    """What one finished notebook run was: its cost, and the files that it wrote.

    ``seconds`` is wall time, ``peak_memory_mb`` the most resident memory (MiB) of the kernel, ``artifacts`` maps paths
    below the root to sha256, ``environment`` is ``provenance.environment()``.
    """

    notebook: str
    mode: str
    parameters: dict[str, str]
    seconds: float
    peak_memory_mb: float
    finished: str
    artifacts: dict[str, str]
    environment: dict[str, object] = field(default_factory=dict)


def write_record(tree: Tree, record: RunRecord) -> None:
    """Record a finished notebook."""
    write_text(tree.record_path(record.notebook), json.dumps(asdict(record), indent=1) + "\n")


def _record(stem: str, stored: dict[str, object]) -> RunRecord:
    known = {field.name for field in fields(RunRecord)}  # manifests of earlier releases say more
    return RunRecord(**{name: value for name, value in stored.items() if name in known} | {"notebook": stem})


def read_record(tree: Tree, stem: str) -> RunRecord | None:
    """Return the record of the notebook ``stem``, or None when it has not finished here or cannot be read."""
    try:
        return _record(stem, json.loads(tree.record_path(stem).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def finished_runs(tree: Tree) -> dict[str, RunRecord]:
    """Return the records of all notebooks that finished on this machine, by the notebook's name."""
    found = {path.stem: read_record(tree, path.stem) for path in tree.notebooks}
    return {stem: record for stem, record in found.items() if record is not None}


def recorded_runs(tree: Tree) -> dict[str, RunRecord]:
    """Return the last known run of each notebook: on this machine, else where the stored manifest was written."""
    try:
        stored = json.loads(tree.manifest.read_text(encoding="utf-8"))["notebooks"]
        elsewhere = {path.stem: _record(path.stem, stored[path.stem]) for path in tree.notebooks if path.stem in stored}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        elsewhere = {}
    return elsewhere | finished_runs(tree)


def writers(runs: dict[str, RunRecord]) -> dict[str, RunRecord]:
    """Return, for each artifact's path below the root, the run that wrote it last."""
    latest_last = sorted(runs.values(), key=lambda record: record.finished)
    return {name: record for record in latest_last for name in record.artifacts}


def altered(tree: Tree, record: RunRecord) -> list[str]:
    """Return the paths of the record's artifacts that are missing or changed, unless a later run rewrote them."""
    owners = writers(finished_runs(tree))
    mine = [name for name in record.artifacts if owners.get(name, record).notebook == record.notebook]
    return [name for name in mine if not (tree.root / name).is_file()
            or sha256_of(tree.root / name) != record.artifacts[name]]  # fmt: skip


def forget_void(tree: Tree, tables: dict[str, list[str]]) -> None:
    """Drop the records of runs whose results are not all there as they were, so that Snakemake runs them again.

    Parameters
    ----------
    tables : dict
        The tables, as paths below the root, that each notebook has to have written.
    """
    noted = any((tree.root / ".snakemake" / "metadata").glob("*"))  # what the runs depended on
    for stem, record in finished_runs(tree).items():
        if not noted or not {*tables.get(stem, ())} <= {*record.artifacts} or altered(tree, record):
            tree.record_path(stem).unlink()


@lru_cache
def experiment_of() -> dict[str, str]:
    """Return, for each table (file name) of a long experiment, the experiment's name in ``notebooks/workflow.yaml``."""
    workflow = yaml.safe_load((ROOT / "notebooks" / "workflow.yaml").read_text(encoding="utf-8"))
    return {f"{table}.csv": name for name, rule in workflow["experiments"].items() for table in rule["tables"]}
