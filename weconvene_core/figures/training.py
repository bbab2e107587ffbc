"""Training as figures: live curves, rate and distortion by stage, where the bits go, and a checkpoint's log."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import DisplayHandle, Image, display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator
from numpy.typing import NDArray

from weconvene_core.errors import WeconveneError
from weconvene_core.figures.style import GREY, PALETTE, style
from weconvene_core.paths import CHECKPOINTS
from weconvene_core.training.loop import Trainer
from weconvene_core.training.validation import validate

RATES = {
    "bpp": ("total", PALETTE[6]),
    "bpp_lf": ("LF", PALETTE[0]),
    "bpp_hf": ("HF", PALETTE[1]),
    "bpp_z": ("z", PALETTE[2]),
}
LIVE_DPI = 80
BPP_TICKS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class LiveCurves:
    """A ``watch`` callback that measures one picture now and then and redraws one figure in place, run after run.

    Training batches hold other crops at other qualities every time, which hides all progress; hence a fixed picture at a
    fixed quality. Call it once before a run for the starting point.

    Args:
        picture: (H, W, 3) uint8, not a training image.
        quality: 1 to 6.
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


def stages_figure(table: pd.DataFrame, images: str, reference: Mapping[str, pd.DataFrame] | None = None) -> Figure:
    """Draw the rate-distortion curve after every stage of training.

    Args:
        table: columns stage, quality, bpp, psnr_db; stages in the order of training.
        images: what was measured, for the title.
        reference: further curves by name, drawn dashed, with the same columns but for the stage.
    """
    stages = list(dict.fromkeys(table.stage))
    with style():
        figure = Figure(figsize=(9.0, 5.8), layout="constrained")
        axes = figure.add_subplot()
        for name, rows in (reference or {}).items():
            axes.plot(rows.bpp, rows.psnr_db, "--", color=GREY, label=name)
        for i, stage in enumerate(stages):
            rows = table[table.stage == stage]
            axes.plot(rows.bpp, rows.psnr_db, "o-", color=PALETTE[i % len(PALETTE)], label=stage)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(BPP_TICKS))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("Estimated rate (bits per pixel, logarithmic)")
        axes.set_ylabel("PSNR on 8-bit RGB (dB)")
        axes.set_title(f"Rate and distortion after every stage: {images}")
        axes.legend(loc="lower right")
    return figure


def shares_figure(table: pd.DataFrame, start: str, images: str) -> Figure:
    """Draw what the second step moves: LF's share of the rate, and the loss against its start, over the quality.

    Args:
        table: columns stage, quality, bpp, bpp_lf, loss; the stages to compare, ``start`` among them.
        start: the stage that the second step started from.
        images: what was measured, for the title.
    """
    before = table[table.stage == start].set_index("quality")
    with style():
        figure = Figure(figsize=(11.0, 4.6), layout="constrained")
        share, loss = figure.subplots(1, 2)
        for i, stage in enumerate(dict.fromkeys(table.stage)):
            rows = table[table.stage == stage].set_index("quality")
            look = {"color": GREY if stage == start else PALETTE[i % len(PALETTE)], "marker": "o", "label": stage}
            share.plot(rows.index, 100 * rows.bpp_lf / rows.bpp, **look)
            loss.plot(rows.index, 100 * (rows.loss / before.loss - 1), **look)
        share.set_ylabel("LF share of the rate (%)")
        loss.set_ylabel("Loss with weights 1 and 1, change (%)")
        for axes in (share, loss):
            axes.set_xlabel("Quality")
        figure.suptitle(f"What the second step moves: {images}", x=0.005, ha="left", fontsize=14)
        figure.legend(*share.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def checkpoint_log(name: str, folder: Path = CHECKPOINTS) -> pd.DataFrame | None:
    """Return the validation log that ships beside a checkpoint (``NAME_validation.csv``), or None when there is none.

    Columns: step, seconds, quality, bpp, bpp_lf, bpp_hf, bpp_z, psnr_db, loss.

    Raises:
        WeconveneError: the file is there but cannot be read as such a table.
    """
    path = folder / f"{name}_validation.csv"
    if not path.is_file():
        return None
    try:
        return pd.read_csv(path)[["step", "seconds", "quality", "bpp", "bpp_lf", "bpp_hf", "bpp_z", "psnr_db", "loss"]]
    except (OSError, ValueError, KeyError) as error:
        raise WeconveneError(f"The log {path.name} cannot be read ({error}); restore it, as with git.") from error


def log_figure(log: pd.DataFrame, name: str) -> Figure:
    """Draw a checkpoint's validation over its training: loss against the first entry, rate and PSNR, by quality."""
    with style():
        figure = Figure(figsize=(11.0, 4.4), layout="constrained")
        panels = figure.subplots(1, 3)
        for i, (quality, rows) in enumerate(log.groupby("quality")):
            series = (100 * (rows.loss / rows.loss.iloc[0] - 1), rows.bpp, rows.psnr_db)
            for axes, values in zip(panels, series, strict=True):
                axes.plot(rows.step, values, color=PALETTE[i % len(PALETTE)], label=f"quality {quality:g}")
        titles = ("Loss, change since the first (%)", "Estimated rate (bpp)", "PSNR (dB)")
        for axes, title in zip(panels, titles, strict=True):
            axes.set_title(title, fontsize=12)
            axes.set_xlabel("Step")
            axes.ticklabel_format(style="plain", axis="x")
            axes.locator_params(axis="x", nbins=4)
        figure.suptitle(f"How {name} was trained: its own validation images, whole", x=0.005, ha="left", fontsize=14)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
    return figure


def _phase_spans(rows: pd.DataFrame) -> list[tuple[str, float, float]]:
    """Return (phase, first step, last step) of every phase, each from where the one before it ended."""
    starts = np.flatnonzero(rows.phase != rows.phase.shift())
    ends = [*starts[1:], len(rows)]
    edges = [0.0, *(float(rows.step.iloc[end - 1]) for end in ends)]
    return [(rows.phase.iloc[start], edges[i], edges[i + 1]) for i, start in enumerate(starts)]


def _shade_phases(axes: Axes, rows: pd.DataFrame) -> None:
    for i, (_, first, last) in enumerate(_phase_spans(rows)):
        axes.axvspan(first, last, color="#F3F3F3" if i % 2 else "#FFFFFF", zorder=0, linewidth=0)
    axes.set_xlim(0, max(1, rows.step.iloc[-1]))


def _name_phases(axes: Axes, rows: pd.DataFrame) -> None:
    for name, first, last in _phase_spans(rows):
        axes.annotate(
            name.replace(" (", "\n("), ((first + last) / 2, 1.0), (0, 3), xycoords=axes.get_xaxis_transform(), textcoords="offset points",
            ha="center", va="bottom", fontsize=10, annotation_clip=False,
        )  # fmt: skip
