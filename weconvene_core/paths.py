"""Where things live: the repository's folders and the reader's image folder."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "data"
ANCHORS = DATA / "anchors"
CHECKPOINTS = DATA / "checkpoints"
NOTEBOOKS = ROOT / "notebooks"
RESULTS = ROOT / "results"


def data_folder() -> Path | None:
    """Return the folder named by the environment variable ``WECONVENE_DATA``, or None when it is unset or empty.

    The folder holds one subfolder per image set (``kodak/``, ``clic/``, ``train/`` ...); see ``data/README.md``.
    """
    value = os.environ.get("WECONVENE_DATA", "").strip()
    return Path(value).expanduser() if value else None


def run_folder(output: str) -> Path:
    """Return the folder of a training run: ``output`` below ``WECONVENE_RUNS``, or below the repository.

    A long run wants a place that a fresh checkout does not erase.
    """
    return Path(os.environ.get("WECONVENE_RUNS", "").strip() or ROOT).expanduser() / output
