"""What the runs of notebooks leave behind: one record per finished notebook, and a manifest of where results came from.

All of it lies in ``results/run/``, which git ignores; what the release published, in ``results/``, is only read.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from lab.paths import PUBLISHED, ROOT, RUN
from weconvene_core.atomic_files import sha256_of, write_text
from weconvene_core.paths import cache_folder, data_folder
from weconvene_core.version import git_version


class Tree:
    """One checkout of the companion; tests point it at a small copy.

    ``data`` holds anchors and claims, ``published`` what the release published, ``results`` everything that a run
    writes: among it ``executed`` notebooks with their records, and the ``manifest``.
    """

    def __init__(self, root: Path = ROOT) -> None:
        self.root, self.data, self.published = root, root / "data", root / PUBLISHED.relative_to(ROOT)
        self.results = root / RUN.relative_to(ROOT) if RUN.is_relative_to(ROOT) else RUN  # WECONVENE_RESULTS
        self.executed, self.manifest = self.results / "notebooks", self.results / "manifest.json"

    @property
    def notebooks(self) -> list[Path]:
        """The notebooks ``NN_name.ipynb`` in the order of their numbers."""
        return sorted((self.root / "notebooks").glob("[0-9][0-9]_*.ipynb"))

    def artifacts(self) -> list[Path]:
        """Return every finished figure and table of runs here, sorted."""
        found = (path for name in ("figures", "tables") for path in (self.results / name).rglob("*") if path.is_file())
        return sorted(path for path in found if not path.name.startswith(".") and ".partial" not in path.name)

    def table(self, name: str) -> Path:
        """Return the table ``name`` that was made here, or else the release's."""
        own = self.results / "tables" / f"{name}.csv"
        return own if own.is_file() else self.published / "tables" / own.name

    def relative(self, path: Path) -> str:
        """Return ``path`` below the root, or whole, with forward slashes, as manifests and records name it."""
        return (path.relative_to(self.root) if path.is_relative_to(self.root) else path).as_posix()

    def record_path(self, stem: str) -> Path:
        """Return where the record of the notebook ``stem`` lies."""
        return self.executed / f"{stem}.json"


REPOSITORY = Tree()


@dataclass(frozen=True)
class RunRecord:
    """What one finished notebook run was: its cost, and the files that it wrote.

    ``seconds`` is wall time, ``peak_memory_mb`` the most resident memory (MiB) of the kernel, ``artifacts`` maps paths
    below the root to sha256, ``patterns`` say which files are this notebook's, ``environment`` is what
    :func:`environment` returns.
    """

    notebook: str
    mode: str
    parameters: dict[str, str]
    seconds: float
    peak_memory_mb: float
    finished: str
    artifacts: dict[str, str]
    environment: dict[str, object] = field(default_factory=dict)
    patterns: Sequence[str] = ()


def write_record(tree: Tree, record: RunRecord) -> None:
    """Record a finished notebook."""
    write_text(tree.record_path(record.notebook), json.dumps(asdict(record), indent=1) + "\n")


def read_record(tree: Tree, stem: str) -> RunRecord | None:
    """Return the record of the notebook ``stem``, or None when it has not finished here or cannot be read."""
    try:
        return RunRecord(**json.loads(tree.record_path(stem).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def finished_runs(tree: Tree) -> dict[str, RunRecord]:
    """Return the records of all notebooks that finished on this machine, by the notebook's name."""
    found = {path.stem: read_record(tree, path.stem) for path in tree.notebooks}
    return {stem: record for stem, record in found.items() if record is not None}


def altered(tree: Tree, record: RunRecord) -> list[str]:
    """Return the paths of the record's artifacts that are missing or changed."""
    return [name for name, digest in record.artifacts.items()
            if not (tree.root / name).is_file() or sha256_of(tree.root / name) != digest]  # fmt: skip


def forget_void(tree: Tree, tables: dict[str, list[str]]) -> None:
    """Drop the records of runs whose results are not all there as they were, so that Snakemake runs them again.

    ``tables`` names those, as paths below the root, that each notebook has to have written.
    """
    noted = any((tree.root / ".snakemake" / "metadata").glob("*"))  # what the runs depended on
    for stem, record in finished_runs(tree).items():
        if not noted or not {*tables.get(stem, ())} <= {*record.artifacts} or altered(tree, record):
            tree.record_path(stem).unlink()


def images_offered() -> str:
    """Identify the images at hand by names and sizes, not by their place: those of ``WECONVENE_DATA`` and downloads."""
    found: list[object] = []
    for folder in (data_folder(), cache_folder("")):
        files = folder.glob("*/*") if folder and folder.is_dir() else ()
        found.append(sorted((p.relative_to(folder).as_posix(), p.stat().st_size) for p in files if p.is_file()))
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()[:16]


def environment(tree: Tree = REPOSITORY) -> dict[str, object]:
    """Return code version, interpreter, packages, processor, threads, and whether ``WECONVENE_DATA`` is a folder."""
    images = data_folder()
    offered = images is not None and images.is_dir()
    return {"git": git_version(tree.root), **_machine(tree.root), "weconvene_data": offered}


@lru_cache
def _machine(root: Path) -> dict[str, object]:
    accelerator, torch_version = None, Path(find_spec("torch").origin).with_name("version.py")
    if Path("/dev/nvidiactl").exists():  # torch takes seconds to import, so only where it can find something
        import torch

        accelerator = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *extras["train"], *extras["notebooks"][1:]]  # its first entry is `train`
    packages = [re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in lines]
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_model(),
        "threads": int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1),
        "accelerator": accelerator,
        "torch_build": re.findall(r"__version__ = '(.+)'", torch_version.read_text(encoding="utf-8"))[0],
        "packages": {name: _version(name) for name in packages},
    }


def _cpu_model() -> str:
    try:
        names = re.findall(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        names = []
    return names[0].strip() if names else platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def manifest(tree: Tree = REPOSITORY) -> dict[str, object]:
    """Return every notebook's provenance, and every figure and table with its SHA-256 and the notebook that wrote it.

    A file that no recorded run wrote, or that changed since, has ``notebook: null``.
    """
    runs = finished_runs(tree)
    writer = {(name, digest): stem for stem, record in runs.items() for name, digest in record.artifacts.items()}
    files = {}
    for path in tree.artifacts():
        name, digest = tree.relative(path), sha256_of(path)
        files[name] = {"sha256": digest, "bytes": path.stat().st_size, "notebook": writer.get((name, digest))}
    return {"files": files, "notebooks": {stem: asdict(record) for stem, record in sorted(runs.items())}}


def write_manifest(tree: Tree = REPOSITORY) -> None:
    """Write ``manifest.json`` beside the results."""
    write_text(tree.manifest, json.dumps(manifest(tree), indent=1, ensure_ascii=False) + "\n")
