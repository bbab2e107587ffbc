"""What a notebook's results depend on, as one digest of contents (never of times)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from lab.reproduce.long_measurements import KEPT_TABLES
from lab.reproduce.run_records import Stamp, Tree, read_stamp, stamps, writers
from weconvene_core.atomic_files import sha256_of
from weconvene_core.datasets.registry import cache_folder
from weconvene_core.errors import WeconveneError
from weconvene_core.paths import data_folder

MODES = ("quick", "full")


def check_mode(mode: str) -> None:
    """Raise ``WeconveneError`` unless ``mode`` is one of ``MODES``."""
    if mode not in MODES:
        raise WeconveneError(f"unknown mode '{mode}': use MODE=quick (minutes on a CPU) or MODE=full")


def notebook_source(path: Path) -> str:
    """Return what counts of a notebook: its cells' types, sources and tags, without outputs and counters.

    Raises:
        WeconveneError: the file is not a notebook.
    """
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        kept = [(c["cell_type"], "".join(c["source"]), c["metadata"].get("tags", [])) for c in cells]
    except (ValueError, KeyError, TypeError) as exc:
        raise _unreadable(path, exc) from exc
    return json.dumps(kept)


def _unreadable(path: Path, exc: Exception) -> WeconveneError:
    return WeconveneError(f"{path.name} is not a readable notebook ({exc}); restore it, as with git")


def needs(path: Path) -> list[str]:
    """Return the notebooks whose tables this one reads, as its metadata name them; none where it says nothing.

    Raises:
        WeconveneError: the file is not a notebook.
    """
    try:
        return list(json.loads(path.read_text(encoding="utf-8"))["metadata"].get("needs", []))
    except (ValueError, KeyError, TypeError) as exc:
        raise _unreadable(path, exc) from exc


def image_folder_state(folder: Path | None) -> str:
    """Describe a folder of image sets by names and sizes of the files in its subfolders, never by its path."""
    if folder is None:
        return "not set"
    if not folder.is_dir():
        return "missing"
    files = (path for path in folder.glob("*/*") if path.is_file())
    return json.dumps([folder.name, sorted((p.relative_to(folder).as_posix(), p.stat().st_size) for p in files)])


def _input_files(tree: Tree) -> Iterator[Path]:
    yield from (tree.root / "weconvene_core").rglob("*.py")
    yield from (tree.root / "notebooks" / "lab").rglob("*.py")
    yield from (tree.data / "anchors").glob("*")
    yield from (tree.data / "checkpoints").glob("*")
    yield from tree.data.glob("registry*")
    yield from tree.data.glob("published*")
    yield tree.data / "fidelity.csv"
    yield from (tree.root / "results" / "tables" / name for name in KEPT_TABLES)
    yield tree.root / "requirements.lock"


def _earlier_tables(tree: Tree, stem: str) -> Iterator[Path]:
    """Tables that notebooks before ``stem`` wrote: a later notebook may read them."""
    for name, stamp in writers(stamps(tree)).items():
        if stamp.notebook < stem and name.startswith("results/tables/"):
            yield tree.root / name


def input_digest(tree: Tree, notebook: Path, mode: str) -> str:
    """Return the sha256 of everything that the notebook's results depend on.

    That is: the package's sources, the locked versions, the notebook's cells, checkpoints, anchors, the data registry,
    tables written by earlier notebooks, the mode, and which images ``WECONVENE_DATA`` and
    earlier downloads offer.
    """
    files = {*_input_files(tree), *_earlier_tables(tree, notebook.stem)}
    entries = [(tree.relative(path), sha256_of(path)) for path in sorted(files) if path.is_file()]
    images = [image_folder_state(data_folder()), image_folder_state(cache_folder(""))]
    parts = [entries, notebook_source(notebook), mode, images]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def up_to_date(tree: Tree, notebook: Path, digest: str) -> bool:
    """Tell whether the notebook finished with these inputs and everything that it wrote is still there, unaltered."""
    stamp = read_stamp(tree, notebook.stem)
    if stamp is None or stamp.digest != digest or not (tree.executed / notebook.name).is_file():
        return False
    return not altered(tree, stamp)


def altered(tree: Tree, stamp: Stamp) -> list[str]:
    """Return the paths of the stamp's artifacts that are missing or changed, unless a later notebook rewrote them."""
    owners = writers(stamps(tree))
    mine = [name for name in stamp.artifacts if owners[name].notebook == stamp.notebook]
    paths = {name: tree.root / name for name in mine}
    return [name for name in mine if not paths[name].is_file() or sha256_of(paths[name]) != stamp.artifacts[name]]
