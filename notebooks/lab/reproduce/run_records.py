"""The folders and the stamps that a run reads and writes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from weconvene_core.atomic_files import write_text
from weconvene_core.paths import ROOT


@dataclass(frozen=True)
class Tree:
    """One checkout of the companion; tests point it at a small copy."""

    root: Path = ROOT

    @property
    def data(self) -> Path:
        """Anchors, checkpoints, the registry and the claims."""
        return self.root / "data"

    @property
    def results(self) -> Path:
        """Everything that a run writes."""
        return self.root / "results"

    @property
    def executed(self) -> Path:
        """Executed notebooks and their stamps."""
        return self.results / "notebooks"

    @property
    def manifest(self) -> Path:
        """The provenance of all results."""
        return self.results / "manifest.json"

    @property
    def notebooks_folder(self) -> Path:
        """Where the notebooks lie, and where their kernels work."""
        return self.root / "notebooks"

    @property
    def notebooks(self) -> list[Path]:
        """The notebooks ``NN_name.ipynb`` in the order of their numbers."""
        return sorted(self.notebooks_folder.glob("[0-9][0-9]_*.ipynb"))

    def artifacts(self) -> list[Path]:
        """Return every finished file under ``results/figures`` and ``results/tables``, sorted."""
        folders = (self.results / "figures", self.results / "tables")
        found = (path for folder in folders for path in folder.rglob("*") if path.is_file())
        return sorted(path for path in found if not path.name.startswith(".") and ".partial" not in path.name)

    def relative(self, path: Path) -> str:
        """Return ``path`` below the root with forward slashes, as manifests and stamps name it."""
        return path.relative_to(self.root).as_posix()

    def stamp_path(self, stem: str) -> Path:
        """Return where the stamp of the notebook ``stem`` lies."""
        return self.executed / f"{stem}.json"


REPOSITORY = Tree()


@dataclass(frozen=True)
class Stamp:
    """What one finished notebook run was: its inputs, its cost and the files that it wrote.

    ``seconds`` is wall time, ``peak_memory_mb`` the most resident memory (MiB) of the kernel and its children,
    ``artifacts`` maps paths below the root to sha256, ``environment`` is ``provenance.environment()``.
    """

    notebook: str
    digest: str
    mode: str
    parameters: dict[str, str]
    seconds: float
    peak_memory_mb: float
    finished: str
    artifacts: dict[str, str]
    environment: dict[str, object] = field(default_factory=dict)


def write_stamp(tree: Tree, stamp: Stamp) -> None:
    """Record a finished notebook."""
    write_text(tree.stamp_path(stamp.notebook), json.dumps(asdict(stamp), indent=1) + "\n")


def read_stamp(tree: Tree, stem: str) -> Stamp | None:
    """Return the stamp of a notebook that finished on this machine, or None when there is none that can be read."""
    try:
        return Stamp(**json.loads(tree.stamp_path(stem).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def stamps(tree: Tree) -> dict[str, Stamp]:
    """Return the stamps of all notebooks that finished on this machine, by the notebook's name."""
    found = {path.stem: read_stamp(tree, path.stem) for path in tree.notebooks}
    return {stem: stamp for stem, stamp in found.items() if stamp is not None}


def recorded_runs(tree: Tree) -> dict[str, Stamp]:
    """Return the last known run of each notebook: on this machine, else where the stored manifest was written."""
    try:
        stored = json.loads(tree.manifest.read_text(encoding="utf-8"))["notebooks"]
        elsewhere = {path.stem: Stamp(path.stem, **stored[path.stem]) for path in tree.notebooks if path.stem in stored}
    except (OSError, ValueError, KeyError, TypeError):
        elsewhere = {}
    return elsewhere | stamps(tree)


def writers(runs: dict[str, Stamp]) -> dict[str, Stamp]:
    """Return, for each artifact's path below the root, the run that wrote it last."""
    latest_last = sorted(runs.values(), key=lambda stamp: stamp.finished)
    return {name: stamp for stamp in latest_last for name in stamp.artifacts}
