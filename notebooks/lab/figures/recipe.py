"""What decided the training recipe, and what compute buys, as figures."""

from __future__ import annotations

from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lab.figures.style import DARK, FAINT, GREY, PALETTE, new_figure, styled, write, write_beside
from lab.studies.compute_scaling import later_half, trend

AXIS_LIMIT = 12.0
"""BD-rates of the recipe beyond this are cut off, marked by an arrow; their numbers are written out."""
BAND = "#DDDDDD"
ROW, HEAD, FOOT = 0.32, 0.75, 1.2
"""Inches: a row, what a panel has above and below its rows, and the title and the notes of the figure."""
COLUMNS = (6, 112)
"""Points from a panel's right edge to its columns of numbers."""
APART = 0.22
"""Rows between two seeds of one variant."""


@styled
def recipe_figure(table: pd.DataFrame, title: str) -> Figure:
    """Draw every trial of ``results/tables/recipe.csv`` against the base, its first row, with 95 % over the images."""
    base, order = table.iloc[0], list(dict.fromkeys(table.question))
    rows = table.iloc[1:].sort_values("question", key=lambda asked: asked.map(order.index), kind="stable")
    own = rows.question == base.question
    rows = rows.assign(
        against=f"the base: {base.variant}", again=own & (rows.seed != base.seed),
        name=rows.variant.where(own, rows.question + ": " + rows.variant),
        apart=(rows.psnr_q3_db - base.psnr_q3_db).map("{:+.1f} dB at quality 3".format),
    )  # fmt: skip
    return _forest(rows, title, AXIS_LIMIT)


@styled
def step_two_figure(table: pd.DataFrame, title: str) -> Figure:
    """Draw the BD-rate of every pair of second-step weights against the control with weights 1 and 1.

    ``table`` holds rows of ``results/tables/step_two.csv``; where it has MS-SSIM, its BD-rates are written beside.
    """
    again = (table.w_lf == 1) & (table.w_hf == 1)
    pairs = "LF " + table.w_lf.map("{:g}".format) + ", HF " + table.w_hf.map("{:g}".format)
    names = pairs.where(table.w_lf.notna(), "before step 2").where(~again, "another seed")
    against = table.model + " fine-tuned with weights LF 1 and HF 1"
    rows = table.assign(against=against, again=again, name=names, apart="")
    return _forest(rows.rename(columns={"ms_ssim_bd_rate_pct": "also"}), title)


def _forest(rows: pd.DataFrame, title: str, limit: float = np.inf) -> Figure:
    """Draw a panel for every reference that trainings are compared with, which is at zero.

    Parameters
    ----------
    rows
        Columns against, name (one row of the panel for each), again (the reference itself with another seed),
        bd_rate_pct, low_pct, high_pct, and apart, which is written where there is no BD-rate. Maybe also, the BD-rate
        by MS-SSIM.
    limit
        BD-rates beyond it are cut off.
    """
    panels = dict(tuple(rows.groupby("against", sort=False)))
    heights = [HEAD + ROW * panel.name.nunique() for panel in panels.values()]
    figure, cells = new_figure(title, (10.5, FOOT + sum(heights)), len(panels), height_ratios=heights)
    for axes, (against, panel) in zip(cells, panels.items(), strict=True):
        _panel(axes, panel, limit)
        axes.set_title(f"against {against}", fontsize=12, pad=6)
    figure.supxlabel(_legend(rows, limit), x=0.995, ha="right", fontsize=11)
    return figure


def _panel(axes: Axes, panel: pd.DataFrame, limit: float) -> None:
    """One line per name: dots at ``bd_rate_pct``, bars from ``low_pct`` to ``high_pct``, the numbers at the edge."""
    band = float(pd.concat([pd.Series([0.0]), panel.bd_rate_pct[panel.again]]).abs().max())
    axes.axvspan(-band, band, color=BAND, linewidth=0, zorder=0.5)
    axes.axvline(0, color=DARK, linewidth=1)
    names = list(dict.fromkeys(panel.sort_values("again", ascending=False, kind="stable").name))
    for place, name in enumerate(names):
        seeds = panel[panel.name == name]
        for i, row in enumerate(seeds[seeds.bd_rate_pct.notna()].itertuples()):
            _training(axes, row, place + APART * (2 * i - len(seeds) + 1), "white" if i else None, band, limit)
        _say(axes, seeds, place)
    if "also" in panel:
        for column, metric in zip(COLUMNS, ("PSNR", "MS-SSIM"), strict=True):
            write_beside(axes, metric, -0.6, column, color=FAINT, fontsize=11)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)


def _training(axes: Axes, row: object, place: float, face: str | None, band: float, limit: float) -> None:
    near = row.low_pct <= band and row.high_pct >= -band
    colour = GREY if near else PALETTE[0] if row.bd_rate_pct < 0 else PALETTE[1]
    low, high, at = np.clip([row.low_pct, row.high_pct, row.bd_rate_pct], -limit, limit)
    marker = "o" if abs(row.bd_rate_pct) < limit else ">" if row.bd_rate_pct > 0 else "<"
    axes.plot([low, high], [place, place], color=colour, linewidth=3, solid_capstyle="butt")
    axes.plot(at, place, marker, color=colour, markersize=6, markerfacecolor=face or colour, markeredgewidth=1.5)


def _say(axes: Axes, seeds: pd.DataFrame, place: int) -> None:
    """Write the numbers of a line to its right, or across it how far apart curves without a common quality are."""
    for column, name in zip(COLUMNS, ("bd_rate_pct", "also"), strict=True):
        if name in seeds and seeds[name].notna().all():
            write_beside(axes, " / ".join(map("{:+z.1f}".format, seeds[name])), place, column)
    if seeds.bd_rate_pct.notna().all():
        return
    (first, *more), unit = seeds.apart.str.split(" ").str[0], seeds.apart.iloc[0].split(" ", 1)[1]
    text = f"no common quality, {' / '.join([first, *more])} {unit}"
    clear = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
    write(axes, text, (0.01, place), (0, 0), xycoords=("axes fraction", "data"), color=PALETTE[1], bbox=clear)


def _legend(rows: pd.DataFrame, limit: float) -> str:
    """Say how to read the panels, as far as they show it."""
    said = ["Shaded: what another seed of the reference changes", "Grey: the bar touches that"]
    if not rows.again.any():
        said = ["Grey: the bar touches zero"]
    if rows[rows.bd_rate_pct.notna()].groupby(["against", "name"]).size().max() > 1:
        said.append("Hollow: the second seed")
    if (rows.bd_rate_pct.abs() > limit).any():
        said.append("Arrow: beyond the axis")
    if "also" in rows:
        said.append("Dots and bars: PSNR")
    how = "BD-rate (%): below zero fewer bits at equal quality. Bars: 95 % over the images, not over seeds"
    return f"{how}\n{fill('. '.join(said), 110)}"


@styled
def compute_figure(table: pd.DataFrame, title: str) -> Figure:
    """Draw BD-rate against VVC over the pixels trained on, with the trends through all points and the later half.

    The points bend away from one straight line, hence the second one. Neither leads beyond what was measured.
    ``table`` holds rows of ``compute_curve.csv`` of one model.
    """
    looks = {"all points": (table, GREY, "-"), "the later half": (later_half(table), PALETTE[1], ":")}
    figure, (axes,) = new_figure(title, (9.0, 5.6))
    for name, (rows, colour, dash) in looks.items():
        start, slope = trend(rows)
        ends = np.array([rows.megapixels.min(), rows.megapixels.max()])
        label = f"through {name}: {slope:+.1f} points per doubling"
        axes.plot(ends, start + slope * np.log2(ends), color=colour, linestyle=dash, linewidth=2.4, label=label)
    axes.plot(table.megapixels, table.bd_rate_pct, "o", color=PALETTE[0], markersize=8, label="measured", zorder=3)
    for row in table.iloc[[0, -1]].itertuples():  # those between stand too close for names
        write(axes, f"{row.steps:,} steps", (row.megapixels, row.bd_rate_pct), (9, 9), fontsize=11)
    axes.set(xscale="log", xlabel="Training, millions of pixels (logarithmic)")
    axes.set_ylabel("BD-rate against VTM-9.1 on Kodak,\nqualities 1 to 6 (%)")
    axes.margins(x=0.14, y=0.1)
    axes.legend(loc="upper right")
    return figure
