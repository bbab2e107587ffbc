"""What training brought, as figures: rate and distortion by stage, where the bits go, and a checkpoint's log."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import DisplayHandle, Image, display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lab.figures.style import (
    BLACK,
    BLUE,
    DASH_DOT,
    DASHED,
    DOTTED,
    GREEN,
    GREY,
    PALETTE,
    PINK,
    SHADE,
    VERMILION,
    legend_below,
    new_figure,
    plain_log,
    styled,
)
from lab.paths import TRAININGS
from weconvene_core.errors import WeconveneError
from weconvene_core.training.trainer import Trainer
from weconvene_core.training.validation import validate

LAST = {"linestyle": DASHED, "markerfacecolor": "none", "markersize": 9.0}
"""What the last of several curves that may coincide looks like."""
BPP_TICKS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
RATES = {"bpp": ("total", BLACK), "bpp_lf": ("LF", BLUE), "bpp_hf": ("HF", VERMILION), "bpp_z": ("z", GREEN)}
LOG_COLUMNS = ["step", "seconds", "quality", "bpp", "bpp_lf", "bpp_hf", "bpp_z", "psnr_db", "loss"]


class LiveCurves:
    """A ``watch`` callback that measures one picture now and then and redraws one figure in place, run after run.

    Training batches hold other crops at other qualities every time, which hides all progress; hence one picture at one
    quality. Every run after the first starts from the first one's end. Call it once before a run for its start.

    Parameters
    ----------
    picture
        (H, W, 3) uint8, not a training image.
    quality
        0 to 7.
    every
        Steps between two measurements, a multiple of the trainer's ``log_every``.
    refresh_s
        Least seconds between two drawings; the end of a run is always drawn.
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
            start = self._runs[0].step if len(self._runs) > 1 else 0
            phase, _ = trainer.config.locate(max(0, trainer.step - 1))
            measured = validate(trainer.ema, [self.picture], [self.quality])[0]
            place = {"run": len(self._runs), "start": start, "step": start + trainer.step, "phase": phase.name}
            self._rows.append(place | measured)
        if finished or time.monotonic() - self._drawn > self.refresh_s:
            title = f"Step {trainer.step} of {trainer.config.total_steps}, {trainer.seconds:.0f} s"
            self._show(training_figure(self.rows(), self.quality, title))
            self._drawn = time.monotonic()

    def rows(self) -> pd.DataFrame:
        """Return what was measured so far: run, start, step (counted on from start), phase, rates, PSNR and loss."""
        return pd.DataFrame(self._rows)

    def _show(self, figure: Figure) -> None:
        png = io.BytesIO()
        figure.savefig(png, format="png", dpi=80)
        picture = Image(data=png.getvalue(), format="png")
        if self._handle is None:
            self._handle = display(picture, display_id=True)
        else:
            self._handle.update(picture)


@styled
def training_figure(rows: pd.DataFrame, quality: float, title: str) -> Figure:
    """Draw rates and PSNR of one picture over the steps of all runs, phases as shaded stretches.

    Runs that start at the same step, branches of one training, differ by their dashes. ``rows`` are those of
    :meth:`LiveCurves.rows`, measured at ``quality``.
    """
    figure, (rate, distortion) = new_figure(title, (10.0, 6.2), 2, sharex=True, height_ratios=[3, 2])
    branches = rows.start.gt(0).any()
    dashes = cycle(("-", DASHED, DOTTED, DASH_DOT))
    for number, run in rows.groupby("run"):
        dash = "-" if run.start.iloc[0] == 0 else next(dashes)
        for column, (name, colour) in RATES.items():
            label = name if number == 1 else None
            rate.plot(run.step, run[column], color=colour, linestyle=dash, label=label)
        named = weights_named(run.phase.iloc[-1]) if run.start.iloc[0] else None
        distortion.plot(run.step, run.psnr_db, color=PINK, linestyle=dash, label=named)
    _shade_phases((rate, distortion), rows)
    rate.set(ylabel="Estimated rate (bpp)", ylim=(0, None))
    distortion.set(ylabel="PSNR (dB)", xlabel=f"Step; measured on one held-out picture at quality {quality:g}")
    rate.legend(loc="upper right", ncols=len(RATES))
    if branches:
        distortion.legend(loc="upper right")
    return figure


def _shade_phases(panels: Sequence[Axes], rows: pd.DataFrame) -> None:
    """Shade every second phase and name all on top; a phase begins where the one before it ended, or its run began."""
    spans: dict[float, tuple[str, float]] = {}
    for _, run in rows.groupby("run"):
        first = float(run.start.iloc[0])
        for name, phase in run.groupby("phase", sort=False):
            last = float(phase.step.iloc[-1])
            spans[first] = name.split(" (")[0], max(last, spans.get(first, ("", 0.0))[1])  # branches: named once
            first = last
    for i, (first, (name, last)) in enumerate(spans.items()):
        for axes in panels:
            axes.axvspan(first, last, color=SHADE if i % 2 else "white", zorder=0, linewidth=0)
        look = {"transform": panels[0].get_xaxis_transform(), "ha": "center", "va": "bottom", "fontsize": 10}
        panels[0].text((first + last) / 2, 1.0, name, **look)
    panels[0].set_xlim(0, max(1, rows.step.max()))


@styled
def stages_figure(table: pd.DataFrame, images: str, reference: Mapping[str, pd.DataFrame] | None = None) -> Figure:
    """Draw the rate-distortion curve after every stage of training; the last one dashed, as it may lie on another.

    Parameters
    ----------
    table
        Columns stage, quality, bpp, psnr_db; stages in the order of training.
    reference
        Further curves by name, drawn dotted and grey, with the same columns but for the stage.
    """
    figure, (axes,) = new_figure(f"Rate and distortion by stage: {images}", (10.0, 6.0))
    for name, rows in (reference or {}).items():
        axes.plot(rows.bpp, rows.psnr_db, linestyle=DOTTED, color=GREY, label=name)
    stages = list(dict.fromkeys(table.stage))
    for i, stage in enumerate(stages):
        rows = table[table.stage == stage]
        look = LAST if i and i == len(stages) - 1 else {"linestyle": "-"}
        axes.plot(rows.bpp, rows.psnr_db, marker="o", color=PALETTE[i], label=weights_named(stage), **look)
    plain_log(axes.xaxis, BPP_TICKS)
    axes.set(xlabel="Estimated rate (bits per pixel, logarithmic)", ylabel="PSNR on 8-bit RGB (dB)")
    axes.legend(loc="lower right")
    return figure


def weights_named(stage: str) -> str:
    """Say which of a stage's two weights is whose: "step 2 (1, 1)" becomes "step 2 (LF 1, HF 1)"."""
    return re.sub(r"\((\S+), (\S+)\)", r"(LF \1, HF \2)", stage)


@styled
def shares_figure(table: pd.DataFrame, start: str, images: str) -> Figure:
    """Draw what the second step moves against its start: LF's share of the rate, and the loss, over the quality.

    ``table`` has columns stage, quality, bpp, bpp_lf, loss; the stages to compare, ``start`` among them.
    """
    before = table[table.stage == start].set_index("quality")
    stages = [stage for stage in dict.fromkeys(table.stage) if stage != start]
    figure, (share, loss) = new_figure(f"What the second step moves: {images}", (11.0, 4.6), columns=2)
    for i, stage in enumerate(stages):
        rows = table[table.stage == stage].set_index("quality")
        look = {"color": PALETTE[i], "marker": "o", "label": weights_named(stage)}
        look |= LAST if i and i == len(stages) - 1 else {"linestyle": "-"}
        share.plot(rows.index, 100 * (rows.bpp_lf / rows.bpp - before.bpp_lf / before.bpp), **look)
        loss.plot(rows.index, 100 * (rows.loss / before.loss - 1), **look)
    share.set_ylabel("LF share of the rate, change (points)")
    loss.set_ylabel("Loss with weights 1 and 1, change (%)")
    for axes in (share, loss):
        axes.axhline(0, color=GREY, label=start, zorder=1.5)
        axes.set(xticks=before.index, xlabel="Quality")
    legend_below(figure, share, 4)
    return figure


def checkpoint_log(name: str, folder: Path = TRAININGS) -> pd.DataFrame | None:
    """Return the validation log beside a checkpoint (``NAME_validation.csv``, ``LOG_COLUMNS``), None without one.

    Raises
    ------
    WeconveneError
        If the file is there but cannot be read as such a table.
    """
    path = folder / f"{name}_validation.csv"
    if not path.is_file():
        return None
    try:
        return pd.read_csv(path)[LOG_COLUMNS]
    except (OSError, ValueError, KeyError) as error:
        raise WeconveneError(f"The log {path.name} cannot be read ({error}); restore it, as with git.") from error


@styled
def log_figure(log: pd.DataFrame, name: str) -> Figure:
    """Draw a checkpoint's validation over its training: loss against the first entry, rate and PSNR, by quality."""
    title = f"How {name} was trained: its own validation images, whole"
    figure, panels = new_figure(title, (11.0, 4.4), columns=3)
    for i, (quality, rows) in enumerate(log.groupby("quality")):
        series = (100 * (rows.loss / rows.loss.iloc[0] - 1), rows.bpp, rows.psnr_db)
        for axes, values in zip(panels, series, strict=True):
            axes.plot(rows.step, values, color=PALETTE[i % len(PALETTE)], label=f"quality {quality:g}")
    titles = (f"Loss, change since step {log.step.min():,} (%)", "Estimated rate (bpp)", "PSNR (dB)")
    for axes, text in zip(panels, titles, strict=True):
        axes.set_title(text, fontsize=12)
        axes.set_xlabel("Step")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.locator_params(axis="x", nbins=4)
    legend_below(figure, panels[0], 6)
    return figure
