"""What a run writes down as it goes: CSV tables always, TensorBoard when asked."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from weconvene_core.errors import WeconveneError

LOG, VALIDATION_LOG = "log.csv", "validation.csv"
Row = dict[str, Any]


class RunLog:
    """The tables of a run in ``folder``: ``rows[LOG]`` and ``rows[VALIDATION_LOG]``, in memory and on disk.

    Raises
    ------
    WeconveneError
        If TensorBoard is asked for and not installed, or a table cannot be written.
    """

    def __init__(self, folder: Path, tensorboard: bool = False) -> None:
        self.folder, self.tensorboard = folder, tensorboard
        self.rows: dict[str, list[Row]] = {LOG: [], VALIDATION_LOG: []}
        self._writer: Any = None

    def start(self, step: int) -> None:
        """Go on after ``step``: a killed run may have written rows beyond its last saved state, which are dropped."""
        for table in self.rows:
            path = self.folder / table
            self.rows[table] = [row for row in _read(path) if row["step"] <= step] if step else []
            path.unlink(missing_ok=True)
            _append(path, self.rows[table])
        if self.tensorboard:
            self._writer = _tensorboard_writer(self.folder / "tensorboard", step)

    def write(self, table: str, row: Row) -> None:
        """Add a row to a table; ``row["step"]`` says where it belongs."""
        self.rows[table].append(row)
        _append(self.folder / table, [row])
        if self._writer:
            measured = f"validation {row['set']} quality {row['quality']:g}" if "quality" in row else ""
            group = " ".join(measured.split()) or "training"
            for name, value in row.items():
                if isinstance(value, int | float) and name not in ("step", "quality"):
                    self._writer.add_scalar(f"{group}/{name}", value, row["step"])
            self._writer.flush()


def _tensorboard_writer(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise WeconveneError(
            "tensorboard=true needs the package tensorboard: install it (pip install 'weconvene-core[tensorboard]') "
            "or leave it out; the CSV tables are written anyway."
        ) from error
    return SummaryWriter(folder, purge_step=step + 1)


def _read(path: Path) -> list[Row]:
    """Read back a table; a row that a kill cut short is left out, and what a column was not there for stays out."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    rows = csv.DictReader(whole)
    known = [{name: text or "" for name, text in row.items() if name is not None} for row in rows]
    return [{name: _number(text) for name, text in row.items()} | {"step": int(row["step"])} for row in known]


def _number(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text


def _append(path: Path, rows: Sequence[Row]) -> None:
    if not rows:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            if file.tell() == 0:
                writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise WeconveneError(f"the log {path} cannot be written ({error}); check space and permission.") from error
