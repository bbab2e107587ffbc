"""Training as figures: rounding, schedules, rate and distortion by stage, and a checkpoint's log."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from lab.figures.style import (
    BLACK,
    BLUE,
    DARK,
    DASH_DOT,
    DASHED,
    DOTTED,
    GREY,
    HF_COLOUR,
    LF_COLOUR,
    MARKS,
    ORANGE,
    PALETTE,
    PINK,
    SHADE,
    VERMILION,
    Z_COLOUR,
    legend_below,
    new_figure,
    plain_log,
    styled,
)
from lab.paths import TRAININGS
from weconvene_core.errors import WeconveneError
from weconvene_core.training.config import Stage

LAST = {"linestyle": DASHED, "markerfacecolor": "none", "markersize": 9.0}
"""What the last of several curves that may coincide looks like."""
STAGE_COLOURS = (GREY, ORANGE, BLUE, VERMILION)
BPP_TICKS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
RATES = {"bpp": ("total", BLACK), "bpp_lf": ("LF", LF_COLOUR), "bpp_hf": ("HF", HF_COLOUR), "bpp_z": ("z", Z_COLOUR)}
LOG_COLUMNS = ["step", "seconds", "quality", "bpp", "bpp_lf", "bpp_hf", "bpp_z", "psnr_db", "loss"]


@styled
def rounding_figure(quantisers: Mapping[str, Callable[[Tensor], Tensor]], title: str) -> Figure:
    """Draw what rounding and its stand-ins make of y, and below it the gradient that each of them passes on."""
    figure, cells = new_figure(title, (11.0, 4.8), 2, len(quantisers), sharex=True, sharey="row", height_ratios=[2, 1])
    y = torch.linspace(-2.49, 2.49, 499, requires_grad=True)
    for above, below, (name, quantise) in zip(cells, cells[len(quantisers) :], quantisers.items(), strict=False):
        made = quantise(y)
        (slope,) = torch.autograd.grad(made.sum(), y)
        above.plot(y.detach(), y.detach(), color=GREY, linewidth=1)
        above.plot(y.detach(), made.detach(), ".", markersize=3, color=BLUE)
        below.plot(y.detach(), slope, color=VERMILION)
        above.set_title(name, fontsize=12, pad=6)
        below.set(xlabel="y", ylim=(-0.2, 1.4), yticks=(0, 1))
    cells[0].set_ylabel("passed on")
    cells[len(quantisers)].set_ylabel("gradient")
    return figure


@styled
def schedule_figure(stages: Sequence[Stage], title: str) -> Figure:
    """Draw a schedule as a time line: the learning rate of every step, the stages shaded, with their weights."""
    figure, (axes,) = new_figure(title, (10.0, 3.6))
    begin = 0
    for i, stage in enumerate(stages):
        rates = [1e3 * stage.rate_at(step) for step in range(stage.steps)]
        axes.plot(np.arange(begin, begin + stage.steps), rates, color=DARK)
        axes.axvspan(begin, begin + stage.steps, color=SHADE if i % 2 else "white", zorder=0, linewidth=0)
        parts = "everything" if stage.transforms else "entropy model alone"
        said = f"{stage.name}\n{parts}\n$w_{{LF}}$ = {stage.w_lf:g}, $w_{{HF}}$ = {stage.w_hf:g}"
        look = {"transform": axes.get_xaxis_transform(), "ha": "center", "va": "top", "fontsize": 10.5}
        axes.text(begin + stage.steps / 2, 0.98, said, **look)
        begin += stage.steps
    axes.set(xlim=(0, begin), xlabel="Step", ylabel="Learning rate (1/1000)")
    axes.set_ylim(0, 1.9e3 * max(stage.learning_rate for stage in stages))
    return figure


@styled
def training_figure(rows: pd.DataFrame, quality: float, title: str) -> Figure:
    """Draw rates and PSNR of one picture over the steps of all runs, phases as shaded stretches.

    Runs that start at the same step, branches of one training, differ by their dashes. ``rows`` have columns run,
    start (step at which the run began), step, phase, and those of ``validate`` at ``quality``.
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
def stages_figure(table: pd.DataFrame, title: str, reference: Mapping[str, pd.DataFrame] | None = None) -> Figure:
    """Draw the rate-distortion curve after every stage of training; the last one dashed, as it may lie on another.

    Parameters
    ----------
    table
        Columns stage, quality, bpp, psnr_db; stages in the order of training.
    reference
        Further curves by name, drawn dotted, with the same columns but for the stage.
    """
    figure, (axes,) = new_figure(title, (10.0, 5.6))
    for name, rows in (reference or {}).items():
        axes.plot(rows.bpp, rows.psnr_db, linestyle=DOTTED, color=BLACK, label=name)
    stages = list(dict.fromkeys(table.stage))
    for i, stage in enumerate(stages):
        rows = table[table.stage == stage]
        look = LAST if i and i == len(stages) - 1 else {"linestyle": "-"}
        look = {"marker": MARKS[i], "color": STAGE_COLOURS[i % len(STAGE_COLOURS)], **look}
        axes.plot(rows.bpp, rows.psnr_db, label=weights_named(stage), **look)
    plain_log(axes.xaxis, BPP_TICKS)
    axes.set(xlabel="Estimated rate (bits per pixel, logarithmic)", ylabel="PSNR on 8-bit RGB (dB)")
    axes.legend(loc="lower right")
    return figure


def weights_named(stage: str) -> str:
    """Say which of a stage's two weights is whose: "step 2 (1, 1)" becomes "step 2 (LF 1, HF 1)"."""
    return re.sub(r"\((\S+), (\S+)\)", r"(LF \1, HF \2)", stage)


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
def log_figure(log: pd.DataFrame, title: str) -> Figure:
    """Draw a checkpoint's validation over its training: loss against the first entry, rate and PSNR, by quality."""
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
