"""What decided the training recipe, and what compute buys, as figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from weconvene_core.evaluation.compute_trend import PAPER_PCT, VVC_PCT, megapixels_for, trend
from weconvene_core.figures.style import GREY, PALETTE, style
from weconvene_core.figures.training import rate_axis

AXIS_LIMIT = 30.0
"""BD-rates beyond this are cut off in the figure; their numbers are written out."""


def recipe_figure(table: pd.DataFrame, base: str) -> Figure:
    """Draw every trial's BD-rate against the base with its interval over the images.

    Args:
        table: rows of ``results/tables/recipe.csv``.
        base: what is at zero, for the axis.
    """
    rows = table[table.bd_rate_pct.notna()]
    return _forest(rows, [f"{q}: {v}" for q, v in zip(rows.question, rows.variant, strict=True)], base)


def step_two_figure(table: pd.DataFrame, control: str) -> Figure:
    """Draw the BD-rate of every pair of second-step weights against the control.

    Args:
        table: rows of ``results/tables/step_two.csv``.
        control: what is at zero, for the axis.
    """
    return _forest(table, [_pair(row) for row in table.itertuples()], control)


def _pair(row: object) -> str:
    if pd.isna(row.w_lf):
        return f"{row.model}: before step 2"
    return f"{row.model}: {row.w_lf:g} on LF, {row.w_hf:g} on HF" + (f", seed {row.seed}" if row.seed > 1 else "")


def _forest(rows: pd.DataFrame, names: Sequence[str], zero: str) -> Figure:
    """One line per row: a dot at ``bd_rate_pct``, a bar from ``low_pct`` to ``high_pct``, the number at the edge."""
    with style():
        figure = Figure(figsize=(10.5, 1.4 + 0.34 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        for place, row in enumerate(rows.itertuples()):
            colour = GREY if row.low_pct <= 0 <= row.high_pct else PALETTE[0] if row.bd_rate_pct < 0 else PALETTE[1]
            shown = np.clip([row.low_pct, row.high_pct, row.bd_rate_pct], -AXIS_LIMIT, AXIS_LIMIT)
            axes.plot(shown[:2], [place, place], color=colour, linewidth=3, solid_capstyle="butt")
            axes.plot(shown[2], place, "o", color=colour, markersize=7)
            axes.annotate(f"{row.bd_rate_pct:+.1f}", (1.01, place), xycoords=("axes fraction", "data"), va="center")
        axes.axvline(0, color="#333333", linewidth=1)
        axes.set_yticks(range(len(rows)), names)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlabel(f"BD-rate (%) against {zero}; negative is better; bars: 95 % over the images", loc="right")
    return figure


def compute_figure(table: pd.DataFrame) -> Figure:
    """Draw BD-rate against VVC over the pixels trained on, the fitted trend, and where it would lead.

    Args:
        table: rows of ``results/tables/compute_curve.csv`` of one model.
    """
    fit = trend(table)
    ends = table.megapixels.min(), megapixels_for(PAPER_PCT, fit)
    with style():
        figure = Figure(figsize=(9.0, 5.2), layout="constrained")
        axes = figure.add_subplot()
        line = np.geomspace(ends[0] / 1.3, ends[1] * 1.3, 50)
        measured = line <= table.megapixels.max()
        for part, dash in ((measured, "-"), (~measured, ":")):
            axes.plot(line[part], fit[0] + fit[1] * np.log2(line[part]), dash, color=GREY)
        axes.plot(table.megapixels, table.bd_rate_pct, "o", color=PALETTE[0], markersize=9)
        for row in table.iloc[[0, -1]].itertuples():  # those between stand too close for names
            axes.annotate(f"  {row.steps:,} steps", (row.megapixels, row.bd_rate_pct), va="center", fontsize=11)
        for target, name in ((VVC_PCT, "VVC (K-A)"), (PAPER_PCT, "the paper's claim")):
            _mark_target(axes, target, name, megapixels_for(target, fit))
        axes.set_xscale("log")
        axes.set_xlabel("Training, millions of pixels (logarithmic)")
        axes.set_ylabel("BD-rate against VTM-9.1 on Kodak (%)")
        axes.set_title(f"{fit[1]:+.1f} points per doubling; dotted: extrapolated, not measured")
    return figure


def _mark_target(axes: Axes, target: float, name: str, at: float) -> None:
    axes.axhline(target, color=PALETTE[2], linewidth=1, linestyle="--")
    axes.plot(at, target, "x", color=PALETTE[2], markersize=9, markeredgewidth=2)
    axes.annotate(f"{name} {target:+g} %", (0.01, target), xycoords=("axes fraction", "data"), va="bottom", fontsize=11)


def sweep_figure(table: pd.DataFrame, images: str) -> Figure:
    """Draw rate and PSNR at many qualities, and mark steps at which either does not rise.

    Args:
        table: columns quality, bpp, psnr_db, means over the images, in rising quality.
        images: what was measured, for the title.
    """
    falls = (table.bpp.diff() <= 0) | (table.psnr_db.diff() <= 0)
    with style():
        figure = Figure(figsize=(9.0, 4.6), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(table.bpp, table.psnr_db, ".-", color=PALETTE[0], markersize=8, linewidth=1)
        axes.plot(table.bpp[falls], table.psnr_db[falls], "o", color=PALETTE[1], markersize=12, fillstyle="none")
        rate_axis(axes, "Rate of the streams")
        axes.set_ylabel("PSNR (dB)")
        axes.set_title(f"{len(table)} qualities, one file of weights: {falls.sum()} steps back ({images})")
    return figure
