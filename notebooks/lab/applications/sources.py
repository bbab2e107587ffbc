"""What the application studies have in common in getting their data: a spread choice, and what stands in for a set."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from weconvene_core.paths import data_folder

DEFAULT = "default"


def spread(paths: Sequence[Path], count: int) -> list[Path]:
    """Return ``count`` of the paths, evenly spaced; all of them where there are no more."""
    count = min(count, len(paths))
    return [paths[i * len(paths) // count] for i in range(count)]


def stand_in(error: Exception | str, source: str) -> str:
    """Warn that a data set is missing, and where it comes from; return the name of the embedded set that stands in."""
    warnings.warn(f"{error} {source[0].upper()}{source[1:]}. The embedded default stands in.", stacklevel=3)
    return DEFAULT


def data_path(name: str) -> Path | None:
    """Return a file or folder below the reader's data folder, None where there is none."""
    root = data_folder()
    return root / name if root is not None and (root / name).exists() else None
