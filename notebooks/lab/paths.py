"""Where the laboratory's files lie: what the release published, and what runs here write."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd

from weconvene_core.atomic_files import write_text
from weconvene_core.errors import WeconveneError

ROOT = Path(__file__).resolve().parent.parent.parent
DATA = ROOT / "data"
ANCHORS = DATA / "anchors"
TRAININGS = DATA / "checkpoints"
"""Configurations of trainings, their validation logs, and the model card; the weights lie in the package."""
NOTEBOOKS = ROOT / "notebooks"
PUBLISHED = ROOT / "results"
"""What the release published; only ``make publish`` writes there."""
RUN = Path(os.environ.get("WECONVENE_RESULTS", "").strip() or PUBLISHED / "run").expanduser()
"""What runs on this machine write: the same folders, ignored by git."""


def table_path(name: str) -> Path:
    """Return a table that was made here, or else the release's; ``name`` is that of the file without ``.csv``."""
    own = RUN / "tables" / f"{name}.csv"
    return own if own.is_file() else PUBLISHED / "tables" / own.name


def read_table(name: str, **options: Any) -> pd.DataFrame:
    """Return the table of :func:`table_path`; ``options`` are those of ``pandas.read_csv``.

    Raises
    ------
    WeconveneError
        If there is no such table, neither of this machine nor of the release.
    """
    try:
        return pd.read_csv(table_path(name), **options)
    except FileNotFoundError as error:
        raise WeconveneError(f"There is no table {name}.csv in {PUBLISHED}: restore it or make it anew.") from error


def save_table(table: pd.DataFrame, name: str, digits: int | str | None = 6, replaces: str | None = None) -> Path:
    """Write a table of this run, whole or not at all, and return its path.

    Parameters
    ----------
    name : of the file, without ``.csv``.
    digits : decimals of floating-point numbers, or a format such as ``%.5g``; None: all digits.
    replaces : a column; rows of an earlier table that differ in it from all new ones are kept before these.
    """
    if replaces and table_path(name).is_file():
        earlier = read_table(name)
        table = pd.concat([earlier[~earlier[replaces].isin(table[replaces])], table])
    path, style = RUN / "tables" / f"{name}.csv", f"%.{digits}f" if isinstance(digits, int) else digits
    write_text(path, table.to_csv(index=False, float_format=style, lineterminator="\n"))
    return path
