"""Training while it runs: one figure that redraws itself, in Jupyter and under papermill."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import DisplayHandle, Image, display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from lab.figures.style import (
    BLACK,
    BLUE,
    DASH_DOT,
    DASHED,
    DOTTED,
    GREEN,
    PINK,
    SHADE,
    VERMILION,
    Dash,
    style,
)
from lab.figures.training import weights_named
from weconvene_core.training.trainer import Trainer
from weconvene_core.training.validation import validate

RATES = {
    "bpp": ("total", BLACK),
    "bpp_lf": ("LF", BLUE),
    "bpp_hf": ("HF", VERMILION),
    "bpp_z": ("z", GREEN),
}
PSNR_COLOUR = PINK
LIVE_DPI = 80
DASHES: tuple[Dash, ...] = ("-", DASHED, DOTTED, DASH_DOT)


class LiveCurves:
    """A ``watch`` callback that measures one picture now and then and redraws one figure in place, run after run.

    Training batches hold other crops at other qualities every time, which hides all progress; hence one picture at one
    quality. Call it once before a run for the starting point.

    Args:
        picture: (H, W, 3) uint8, not a training image.
        quality: 0 to 7.
        every: steps between two measurements, a multiple of the trainer's ``log_every``.
        refresh_s: least seconds between two drawings; the end of a run is always drawn.
        branches: every run after the first starts from the first one's end; otherwise from the end of the run before.
    """

    def __init__(
        self, picture: NDArray[np.uint8], quality: float = 3.0, every: int = 20, refresh_s: float = 4.0,
        branches: bool = True,
    ) -> None:  # fmt: skip
        self.picture, self.quality, self.every, self.refresh_s = picture, quality, every, refresh_s
        self.branches = branches
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
        """Return what was measured so far: run, start, step, phase, rates, PSNR and loss.

        ``start`` is where the run began, ``step`` counts on from there.
        """
        return pd.DataFrame(self._rows)

    def _measured(self, trainer: Trainer) -> dict[str, Any]:
        earlier = self._runs[:-1][: 1 if self.branches else None]
        start = sum(run.step for run in earlier)
        phase, _ = trainer.config.locate(max(0, trainer.step - 1))
        measured = validate(trainer.ema, [self.picture], [self.quality])[0]
        return {"run": len(self._runs), "start": start, "step": start + trainer.step, "phase": phase.name, **measured}

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

    Runs that start at the same step, branches of one training, differ by their dashes.

    Args:
        rows: as :meth:`LiveCurves.rows` returns them.
        quality: at which they were measured, for the axis.
        title: heading.
    """
    with style():
        figure = Figure(figsize=(10.0, 6.2), layout="constrained")
        rate, distortion = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
        dashes = _dashes(rows)
        for number, run in rows.groupby("run"):
            for column, (name, colour) in RATES.items():
                label = name if number == 1 else None
                rate.plot(run.step, run[column], color=colour, linestyle=dashes[number], label=label)
            distortion.plot(run.step, run.psnr_db, color=PSNR_COLOUR, linestyle=dashes[number])
        rate.set_ylabel("Estimated rate (bpp)")
        rate.set_ylim(0, None)
        distortion.set_ylabel("PSNR (dB)")
        distortion.set_xlabel(f"Step; measured on one held-out picture at quality {quality:g}")
        for axes in (rate, distortion):
            _shade_phases(axes, rows)
        _name_phases(rate, rows)
        rate.legend(loc="upper right", ncols=len(RATES))
        _name_branches(distortion, rows, dashes)
        figure.suptitle(title, x=0.005, ha="left", fontsize=14)
    return figure


def _dashes(rows: pd.DataFrame) -> dict[int, Dash]:
    """One kind of line for every run: solid, but for those that start where another run did before."""
    starts = rows.groupby("run").start.first()
    places = starts.groupby(starts).cumcount()
    return {run: DASHES[place % len(DASHES)] for run, place in places.items()}


def _name_branches(axes: Axes, rows: pd.DataFrame, dashes: Mapping[int, Dash]) -> None:
    """List the runs that share a start, where there are any, by their last phase."""
    runs = rows.groupby("run").agg(start=("start", "first"), phase=("phase", "last"))
    branches = runs[runs.start.duplicated(keep=False)]
    names = {run: weights_named(phase) for run, phase in branches.phase.items()}
    lines = [Line2D([], [], color=PSNR_COLOUR, linestyle=dashes[run], label=name) for run, name in names.items()]
    if lines:
        axes.legend(handles=lines, loc="upper right")


def phase_spans(rows: pd.DataFrame) -> list[tuple[str, float, float]]:
    """Return (phase, first step, last step) of every phase: each from where the one before it ended, or its run began.

    Branches of a training stand in one place, so a stretch is named once, without what stands in brackets.
    """
    spans: dict[float, tuple[str, float]] = {}
    for _, run in rows.groupby("run"):
        first = float(run.start.iloc[0])
        for name, phase in run.groupby("phase", sort=False):
            last = float(phase.step.iloc[-1])
            spans[first] = name.split(" (")[0], max(last, spans.get(first, ("", 0.0))[1])
            first = last
    return [(name, first, last) for first, (name, last) in spans.items()]


def _shade_phases(axes: Axes, rows: pd.DataFrame) -> None:
    for i, (_, first, last) in enumerate(phase_spans(rows)):
        axes.axvspan(first, last, color=SHADE if i % 2 else "#FFFFFF", zorder=0, linewidth=0)
    axes.set_xlim(0, max(1, rows.step.max()))


def _name_phases(axes: Axes, rows: pd.DataFrame) -> None:
    look = {"ha": "center", "va": "bottom", "fontsize": 10, "annotation_clip": False}
    look |= {"xycoords": axes.get_xaxis_transform(), "textcoords": "offset points"}
    for name, first, last in phase_spans(rows):
        axes.annotate(name, ((first + last) / 2, 1.0), (0, 3), **look)
