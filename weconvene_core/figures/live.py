"""Training while it runs: one figure that redraws itself, in Jupyter and under papermill."""

from __future__ import annotations

import io
import time
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import DisplayHandle, Image, display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from weconvene_core.figures.style import PALETTE, style
from weconvene_core.training.loop import Trainer
from weconvene_core.training.validation import validate

RATES = {
    "bpp": ("total", PALETTE[6]),
    "bpp_lf": ("LF", PALETTE[0]),
    "bpp_hf": ("HF", PALETTE[1]),
    "bpp_z": ("z", PALETTE[2]),
}
LIVE_DPI = 80


class LiveCurves:
    """A ``watch`` callback that measures one picture now and then and redraws one figure in place, run after run.

    Training batches hold other crops at other qualities every time, which hides all progress; hence one picture at one
    quality. Call it once before a run for the starting point.

    Args:
        picture: (H, W, 3) uint8, not a training image.
        quality: 0 to 7.
        every: steps between two measurements, a multiple of the trainer's ``log_every``.
        refresh_s: least seconds between two drawings; the end of a run is always drawn.
    """

    def __init__(
        self, picture: NDArray[np.uint8], quality: float = 3.0, every: int = 20, refresh_s: float = 4.0
    ) -> None:
        self.picture, self.quality, self.every, self.refresh_s = picture, quality, every, refresh_s
        self._rows: list[dict[str, Any]] = []
        self._runs: list[Trainer] = []
        self._handle: DisplayHandle | None = None
        self._drawn = -float("inf")

    def __call__(self, trainer: Trainer) -> None:
        """Measure the trainer's averaged model and redraw, each when it is time."""
        if trainer not in self._runs:
            self._runs.append(trainer)
        finished = trainer.step == trainer.config.total_steps
        if finished or trainer.step % self.every == 0:
            self._rows.append(self._measured(trainer))
        if finished or time.monotonic() - self._drawn > self.refresh_s:
            title = f"Step {trainer.step} of {trainer.config.total_steps}, {trainer.seconds:.0f} s"
            self._show(training_figure(self.rows(), self.quality, title))
            self._drawn = time.monotonic()

    def rows(self) -> pd.DataFrame:
        """Return what was measured so far: run, step (counted on over the runs), phase, rates, PSNR and loss."""
        return pd.DataFrame(self._rows)

    def _measured(self, trainer: Trainer) -> dict[str, Any]:
        before = sum(run.step for run in self._runs[:-1])
        phase, _ = trainer.config.locate(max(0, trainer.step - 1))
        measured = validate(trainer.ema, [self.picture], [self.quality])[0]
        return {"run": len(self._runs), "step": before + trainer.step, "phase": phase.name, **measured}

    def _show(self, figure: Figure) -> None:
        png = io.BytesIO()
        figure.savefig(png, format="png", dpi=LIVE_DPI)
        picture = Image(data=png.getvalue(), format="png")
        if self._handle is None:
            self._handle = display(picture, display_id=True)
        else:
            self._handle.update(picture)


def training_figure(rows: pd.DataFrame, quality: float, title: str) -> Figure:
    """Draw rates and PSNR of one picture over the steps of all runs, phases as shaded stretches.

    Args:
        rows: as :meth:`LiveCurves.rows` returns them.
        quality: at which they were measured, for the axis.
        title: heading.
    """
    with style():
        figure = Figure(figsize=(10.0, 6.2), layout="constrained")
        rate, distortion = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
        for number, run in rows.groupby("run"):
            for column, (name, colour) in RATES.items():
                rate.plot(run.step, run[column], color=colour, label=name if number == 1 else None)
            distortion.plot(run.step, run.psnr_db, color=PALETTE[3])
        rate.set_ylabel("Estimated rate (bpp)")
        rate.set_ylim(0, None)
        distortion.set_ylabel("PSNR (dB)")
        distortion.set_xlabel(f"Step; measured on one held-out picture at quality {quality:g}")
        for axes in (rate, distortion):
            _shade_phases(axes, rows)
        _name_phases(rate, rows)
        rate.legend(loc="upper right", ncols=len(RATES))
        figure.suptitle(title, x=0.005, ha="left", fontsize=14)
    return figure


def phase_spans(rows: pd.DataFrame) -> list[tuple[str, float, float]]:
    """Return (phase, first step, last step) of every phase, each from where the one before it ended."""
    starts = np.flatnonzero(rows.phase != rows.phase.shift())
    ends = [*starts[1:], len(rows)]
    edges = [0.0, *(float(rows.step.iloc[end - 1]) for end in ends)]
    return [(rows.phase.iloc[start], edges[i], edges[i + 1]) for i, start in enumerate(starts)]


def _shade_phases(axes: Axes, rows: pd.DataFrame) -> None:
    for i, (_, first, last) in enumerate(phase_spans(rows)):
        axes.axvspan(first, last, color="#F3F3F3" if i % 2 else "#FFFFFF", zorder=0, linewidth=0)
    axes.set_xlim(0, max(1, rows.step.iloc[-1]))


def _name_phases(axes: Axes, rows: pd.DataFrame) -> None:
    look = {"ha": "center", "va": "bottom", "fontsize": 10, "annotation_clip": False}
    look |= {"xycoords": axes.get_xaxis_transform(), "textcoords": "offset points"}
    for name, first, last in phase_spans(rows):
        axes.annotate(name.replace(" (", "\n("), ((first + last) / 2, 1.0), (0, 3), **look)
