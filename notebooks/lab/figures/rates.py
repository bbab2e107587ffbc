"""What the rate of a codec is spent on, and how far images differ, as figures."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lab.figures.overview import draw_ratios
from lab.figures.pictures import DARK_PARTS, PART_LOOK
from lab.figures.style import (
    BLUE,
    DARK,
    FAINT,
    GREEN,
    GREY,
    VERMILION,
    apart,
    codec_looks,
    legend_below,
    new_figure,
    note,
    plain_log,
    shown_name,
    styled,
    write,
)
from lab.rd.curves import MEAN, Curve, averaged_curve, image_curves

READABLE = 5
"""Least share of a bar, in percent, that carries its number."""
NARROW = 1.5
"""Ratio of an axis' ends below which ticks stand at every 0.05."""


@styled
def streams_figure(table: pd.DataFrame, title: str) -> Figure:
    """Draw the mean rate of every part of the files, stacked: in bits per pixel, and as shares of the whole.

    ``table`` has columns ``quality``, ``part`` and ``bpp``, one row per image, quality and part in stacking order; the
    parts are those of :func:`lab.figures.pictures.file_anatomy`.
    """
    means = table.groupby(["part", "quality"], sort=False).bpp.mean().unstack()
    figure, (left, right) = new_figure(title, (12.0, 5.2), columns=2)
    _stack(left, means)
    _stack(right, 100 * means / means.sum(), numbers=True)
    left.set_ylabel("Rate (bits per pixel)")
    right.set_ylabel("Share of the file (%)")
    legend_below(figure, left, len(means))
    return figure


def _stack(axes: Axes, means: pd.DataFrame, numbers: bool = False) -> None:
    """Draw one bar per column (quality), its parts (rows) on top of each other."""
    places, bottom = np.arange(means.shape[1]), np.zeros(means.shape[1])
    for name, heights in means.iterrows():
        bars = axes.bar(places, heights, 0.72, bottom, label=name, **PART_LOOK[name])
        if numbers:
            shown = [f"{height:.0f}" if height >= READABLE else "" for height in heights]
            axes.bar_label(bars, shown, label_type="center", color="white" if name in DARK_PARTS else "black")
        bottom = bottom + heights.to_numpy()
    axes.set_xticks(places, [f"{quality:g}" for quality in means.columns])
    axes.set_xlabel("Quality")
    axes.grid(visible=False, axis="x")


@styled
def spread_figure(points: pd.DataFrame, codec: str, title: str) -> Figure:
    """Draw the curve of every image behind the averaged one; the cheapest and the most expensive image are named.

    ``points`` are of one dataset, as :func:`lab.rd.measure.measure` gives them.
    """
    curves, mean = image_curves(points, codec), averaged_curve(points, codec)
    names = sorted(set(points[points.codec == codec].image) - {MEAN})
    middle = curves.bpp[:, curves.bpp.shape[1] // 2]
    named = {int(middle.argmin()): GREEN, int(middle.argmax()): VERMILION}
    figure, (axes,) = new_figure("", (9.5, 5.6))
    for i, (bpp, value) in enumerate(zip(curves.bpp, curves.value, strict=True)):
        look = {"color": named[i], "linewidth": 2.2, "zorder": 3} if i in named else {"color": GREY, "linewidth": 0.9}
        axes.plot(bpp, value, ".-", **look)
        if i in named:
            write(axes, Path(names[i]).stem, (bpp[-1], value[-1]), color=named[i], fontweight="bold", zorder=5)
    axes.plot(mean.bpp, mean.value, "o-", color=BLUE, linewidth=3.2, zorder=4)
    end = (mean.bpp[-1], mean.value[-1])
    write(axes, "mean over the images", end, (6, 11), color=BLUE, fontweight="bold", zorder=5)
    axes.set_xlim(left=0.0, right=1.18 * curves.bpp.max())
    axes.set(title=title, xlabel="Rate (bits per pixel, whole files)", ylabel="PSNR on 8-bit RGB (dB)")
    return figure


@styled
def ratio_figure(
    anchor: Curve, live: Sequence[Curve], published: Sequence[Curve], ours: str, title: str, conditions: str = ""
) -> Figure:
    """Draw the rate of every codec over the anchor's at equal quality: 1 is the anchor itself.

    Parameters
    ----------
    live, published
        Curves measured here, in the colours of their codecs, and published ones, in grey.
    ours
        Name that ours begin with.
    conditions
        What is worth stating below the figure.
    """
    figure, (axes,) = new_figure(title, (9.2, 5.2))
    tests = (*live, *published)
    draw_ratios(axes, anchor, live, published, ours, end=max(float(c.value[-1]) for c in tests if c.codec == ours))
    low, high = axes.get_ylim()
    plain_log(axes.yaxis, np.arange(10, 80) / (20 if high / low < NARROW else 10))
    axes.set(ylim=(low, high), xlabel="PSNR on 8-bit RGB (dB)")
    axes.set_ylabel(f"Rate over that of {anchor.codec} (logarithmic)")
    note(figure, conditions)
    return figure


@styled
def two_measures_figure(rates: pd.DataFrame, ours: str, title: str, live: Collection[str] = ()) -> Figure:
    """Draw BD-rates by two measures as slopes: lines that cross are codecs whose order depends on the measure.

    Parameters
    ----------
    rates
        A row for each codec, a column for each of the two measures, in percent.
    ours
        Name of the codec to emphasise.
    live
        Codecs measured here, in their colours; others are published and grey.
    """
    looks = codec_looks([name for name in rates.index if name in live])
    figure, (axes,) = new_figure(title, (9.2, 6.0))
    gap = 0.052 * float(rates.max(axis=None) - rates.min(axis=None))
    heights = {side: dict(zip(rates.index, apart(rates[side], gap), strict=True)) for side in rates}
    for codec, values in rates.iterrows():
        colour, dash = looks.get(codec, (GREY, "--"))
        main = codec == ours
        ends = [0, 1], values.to_numpy()
        axes.plot(*ends, "o", color=colour, linestyle=dash, linewidth=3.4 if main else 1.8, zorder=3 if main else 2)
        for (side, value), x, ha in zip(values.items(), (0, 1), ("right", "left"), strict=True):
            text = f"{value:+.0f} %" if x == 0 else f"{value:+.0f} %  {shown_name(codec)}"
            look = {"ha": ha, "color": colour if codec in looks else FAINT, "fontweight": "bold" if main else "normal"}
            write(axes, text, (x, heights[side][codec]), (-12, 0) if x == 0 else (12, 0), fontsize=11, **look)
    named = [height for side in heights.values() for height in side.values()]
    axes.set(xlim=(-0.3, 1.9), xticks=(0, 1), ylim=(min(named) - gap, max(named) + gap))
    axes.set_ylabel("BD-rate (%), lower is better")
    axes.set_xticklabels([f"by {side}" for side in rates], fontweight="bold")
    axes.grid(visible=False, axis="x")
    return figure


@styled
def sweep_figure(table: pd.DataFrame, title: str) -> Figure:
    """Draw how far above or below the curve through the whole qualities the qualities between them lie.

    ``table`` has columns quality and offset_db, the distance from that curve at equal rate.
    """
    figure, (axes,) = new_figure(title, (9.2, 3.9))
    whole = table.quality % 1 == 0
    axes.axhline(0.0, color=DARK, linewidth=1.2)
    axes.plot(table.quality[whole], table.offset_db[whole], "o", color=GREY, markersize=8, label="whole qualities")
    axes.vlines(table.quality[~whole], 0.0, table.offset_db[~whole], color=BLUE, linewidth=2)
    axes.plot(table.quality[~whole], table.offset_db[~whole], "o", color=BLUE, markersize=8, label="between them")
    limit = max(0.1, 1.3 * float(table.offset_db.abs().max()))
    axes.set(ylim=(-limit, limit), xlabel="Quality", ylabel="PSNR beside the curve (dB)")
    legend_below(figure, axes, 2)
    return figure
