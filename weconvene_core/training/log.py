"""What a run shows and writes as it goes on: a progress bar and two CSV tables."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from weconvene_core.errors import WeconveneError
from weconvene_core.training.config import RENAMED, Stage
from weconvene_core.training.distributed import ProcessGroup
from weconvene_core.training.losses import RateDistortion

LOG, VALIDATION_LOG = "log.csv", "validation.csv"
MEASURED = ("bpp", "bpp_lf", "bpp_hf", "bpp_z", "psnr_db")
COLUMNS = {
    LOG: ("step", "stage", "learning_rate", "seconds", "skipped", "loss", *MEASURED, "pixels", "pixels_per_second"),
    VALIDATION_LOG: ("step", "seconds", "quality", *MEASURED, "loss", "set"),
}
Row = dict[str, Any]


class RunLog:
    """The tables of a run in ``folder``, on disk and as ``rows[LOG]`` and ``rows[VALIDATION_LOG]``, and its bar.

    Only the main process writes and, unless it is ``quiet``, shows.
    """

    def __init__(self, folder: Path, group: ProcessGroup, quiet: bool = False) -> None:
        self.folder, self.group, self.shown = folder, group, group.is_main and not quiet
        self.rows: dict[str, list[Row]] = {table: [] for table in COLUMNS}

    def start(self, step: int, seconds: float, total_steps: int) -> tqdm[Any]:
        """Open the bar and go on with the tables of a run that stands at ``step`` after ``seconds`` of training.

        Rows beyond that step, left by a run that was killed after its last saved state, are dropped.
        """
        self._before = step, seconds
        for table in COLUMNS if self.group.is_main else ():
            kept = [row for row in _read(self.folder / table) if row["step"] <= step] if step else []
            (self.folder / table).unlink(missing_ok=True)
            self.rows[table] = []
            self.write(table, *kept)
        seconds = 1 if sys.stderr and sys.stderr.isatty() else 30  # between two states of the bar; a log keeps them all
        self.bar = tqdm(total=total_steps, initial=step, unit="step", mininterval=seconds, disable=not self.shown)
        return self.bar

    def say(self, sentence: str) -> None:
        """Print a line above the bar."""
        if self.shown:
            tqdm.write(sentence)

    def training(self, position: Row, stage: Stage, terms: RateDistortion) -> None:
        """Write a row for a step, and show it; ``position`` holds its step, stage, learning rate and seconds."""
        values = {
            "loss": terms.balanced(), "bpp": terms.bpp.mean(), "bpp_lf": terms.r_lf.mean(),
            "bpp_hf": terms.r_hf.mean(), "bpp_z": terms.r_z.mean(), "psnr_db": (-10 * terms.mse.log10()).mean(),
        }  # fmt: skip
        means = self.group.mean(torch.stack(list(values.values())).detach()).tolist()
        steps, elapsed = position["step"] - self._before[0], max(position["seconds"] - self._before[1], 1e-9)
        self._before, pixels = (position["step"], position["seconds"]), stage.batch * stage.crop**2
        speed = {"pixels": pixels, "pixels_per_second": round(steps * pixels / elapsed)}
        row = {**position, **dict(zip(values, means, strict=True)), **speed}
        self.write(LOG, row)
        rates = f"loss {row['loss']:.3f} {row['bpp']:.3f} bpp {row['psnr_db']:.2f} dB"
        self.bar.set_postfix_str(f"{stage.name} | {rates} | {row['pixels_per_second'] / 1e6:.2f} Mpixel/s")

    def validation(self, step: int, seconds: float, measured: Sequence[Row]) -> None:
        """Write and show what whole images gave: one row per quality and set."""
        self.write(VALIDATION_LOG, *({"step": step, "seconds": round(seconds, 1), **row} for row in measured))
        each = (f"{row['set']} q{row['quality']:g} loss {row['loss']:.4f} {row['psnr_db']:.2f} dB" for row in measured)
        self.say(f"step {step}: " + "  ".join(each))

    def write(self, table: str, *rows: Row) -> None:
        """Add rows to a table, in memory and on disk; ``WeconveneError`` if it cannot be written."""
        if not rows or not self.group.is_main:
            return
        self.rows[table] += rows
        path = self.folder / table
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, COLUMNS[table], extrasaction="ignore")  # an older log has more columns
                if file.tell() == 0:
                    writer.writeheader()
                writer.writerows(rows)
        except OSError as error:
            raise WeconveneError(f"the log {path} cannot be written ({error}); check space and permission.") from error


def _read(path: Path) -> list[Row]:
    """Read back a table; a row that a kill cut short is left out."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    rows = []
    for cells in csv.DictReader(line for line in lines if line.endswith("\n")):
        row = {RENAMED.get(name, name): _number(text) for name, text in cells.items() if name}
        rows.append({**row, "step": int(row["step"])})
    return rows


def _number(text: str | None) -> str | float:
    try:
        return float(text or "")
    except ValueError:
        return text or ""
