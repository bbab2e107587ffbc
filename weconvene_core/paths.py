"""Where things live: the models and lists of the package, the user's folders, and the checkout where this is one."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from weconvene_core.errors import WeconveneError

ROOT = Path(__file__).resolve().parent.parent
CHECKOUT = (ROOT / "notebooks" / "lab").is_dir()
"""Whether this is the repository. An installed package never writes into its own folder."""
CHECKPOINTS = Path(__file__).resolve().parent / "checkpoints"


def checkpoints() -> dict[str, Path]:
    """Return the files of the trained models by name: those that ship, and the user's own."""
    folders = dict.fromkeys((_own_checkpoints(), CHECKPOINTS))
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.safetensors"))}


def checkpoint(name: str) -> Path:
    """Return the file of a trained model.

    Raises
    ------
    WeconveneError
        If no model has the name; it lists those that are known.
    """
    known = checkpoints()
    if name not in known:
        raise WeconveneError(f"There is no trained model '{name}': known here are {', '.join(known) or 'none'}.")
    return known[name]


def new_checkpoint(name: str) -> Path:
    """Return the file that a model of this name is written to: in a checkout it ships, else it is the user's own.

    Raises
    ------
    WeconveneError
        If the name is that of a model in an installed package.
    """
    shipped = CHECKPOINTS / f"{name}.safetensors"
    if not CHECKOUT and shipped.is_file():
        raise WeconveneError(f"The model '{name}' belongs to the installed package: choose another name.")
    return _own_checkpoints() / shipped.name


def _own_checkpoints() -> Path:
    return CHECKPOINTS if CHECKOUT else platformdirs.user_data_path("weconvene", appauthor=False) / "checkpoints"


def data_folder() -> Path | None:
    """Return the folder named by the environment variable ``WECONVENE_DATA``, or None when it is unset or empty.

    The folder holds one subfolder per image set (``kodak/``, ``clic/``, ``train/`` ...); see ``data/README.md``.
    """
    value = os.environ.get("WECONVENE_DATA", "").strip()
    return Path(value).expanduser() if value else None


def cache_folder(name: str) -> Path:
    """Return the folder that downloads of the set ``name`` go to: under ``WECONVENE_CACHE``, else the user's cache."""
    value = os.environ.get("WECONVENE_CACHE", "").strip()
    return (Path(value).expanduser() if value else platformdirs.user_cache_path("weconvene", appauthor=False)) / name


def run_folder(output: str) -> Path:
    """Return the folder of a training run: ``output`` below ``WECONVENE_RUNS``, the checkout, or the current folder.

    A long run wants a place that a fresh checkout does not erase. An absolute path, or one with ``~``, stays itself.
    """
    base = Path(os.environ.get("WECONVENE_RUNS", "").strip() or (ROOT if CHECKOUT else "."))
    return (base.expanduser() / Path(output).expanduser()).absolute()
