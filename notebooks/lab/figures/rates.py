"""What the rate of a codec is spent on, and how far images differ, as figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lab.figures.style import DARK, GREY, PALETTE, legend_below, new_figure, styled, write
from lab.rd.curves import MEAN, averaged_curve, image_curves

READABLE = 5
"""Least share of a bar, in percent, that carries its number."""


@styled
def streams_figure(table: pd.DataFrame, title: str) -> Figure:
    """Draw the mean rate of every part of the files, stacked: in bits per pixel, and as shares of the whole.

    ``table`` has columns ``quality``, ``part`` and ``bpp``, one row per image, quality and part in stacking order.
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
    colours = [*PALETTE[: len(means) - 1], GREY]  # the last part is the header, hardly to be seen
    for (name, heights), colour in zip(means.iterrows(), colours, strict=True):
        bars = axes.bar(places, heights, 0.72, bottom, color=colour, label=name)
        if numbers:
            shown = [f"{height:.0f}" if height >= READABLE else "" for height in heights]
            axes.bar_label(bars, shown, label_type="center", color="white")
        bottom = bottom + heights.to_numpy()
    axes.set_xticks(places, [f"{quality:g}" for quality in means.columns])
    axes.set_xlabel("Quality")
    axes.grid(visible=False, axis="x")


@styled
def effort_figure(table: pd.DataFrame, title: str) -> Figure:
    """Draw what each level of effort saves against how long it takes, by both metrics, with intervals over the images.

    ``table`` is what :func:`lab.studies.latent_refinement.by_effort` returned.
    """
    looks = {"psnr_rgb": ("PSNR", PALETTE[0], "-", 0.97), "ms_ssim_db": ("MS-SSIM", PALETTE[1], "--", 1.03)}
    figure, (axes,) = new_figure("", (9.0, 4.6))
    axes.axhline(0.0, color=DARK, linewidth=1.2)
    for metric, (name, colour, dash, beside) in looks.items():
        rows = table[table.metric == metric].sort_values("effort")
        y, *limits = (rows[column].to_numpy() for column in ("bd_rate_pct", "ci_low", "ci_high"))
        x = rows.times_as_long.to_numpy() * beside  # beside each other, so that both intervals are seen
        look = {"color": colour, "linestyle": dash, "marker": "o", "capsize": 4}
        axes.errorbar(x, y, np.abs(y - limits), label=f"by {name}", **look)
    axes.set_xscale("log")
    levels = table.drop_duplicates("effort")
    said = [f"effort {row.effort}:\n{row.times_as_long:.0f} times" for row in levels.itertuples()]
    axes.set_xticks(levels.times_as_long, said)
    axes.minorticks_off()
    axes.margins(x=0.2)
    axes.set(title=title, xlabel="Time of encoding over that at effort 0", ylabel="BD-rate against effort 0 (%)")
    axes.legend()
    return figure


@styled
def spread_figure(points: pd.DataFrame, codec: str, title: str) -> Figure:
    """Draw the curve of every image behind the averaged one; the cheapest and the dearest image are named.

    ``points`` are of one dataset, as :func:`lab.rd.measure.measure` gives them.
    """
    curves, mean = image_curves(points, codec), averaged_curve(points, codec)
    names = sorted(set(points[points.codec == codec].image) - {MEAN})
    middle = curves.bpp[:, curves.bpp.shape[1] // 2]
    named = {int(middle.argmin()): PALETTE[2], int(middle.argmax()): PALETTE[1]}
    figure, (axes,) = new_figure("", (9.5, 5.6))
    for i, (bpp, value) in enumerate(zip(curves.bpp, curves.value, strict=True)):
        look = {"color": named[i], "linewidth": 2.2, "zorder": 3} if i in named else {"color": GREY, "linewidth": 0.9}
        axes.plot(bpp, value, ".-", **look)
        if i in named:
            write(axes, Path(names[i]).stem, (bpp[-1], value[-1]), color=named[i], fontweight="bold", zorder=5)
    axes.plot(mean.bpp, mean.value, "o-", color=PALETTE[0], linewidth=3.2, zorder=4)
    end = (mean.bpp[-1], mean.value[-1])
    write(axes, "mean over the images", end, (6, 11), color=PALETTE[0], fontweight="bold", zorder=5)
    axes.set_xlim(left=0.0, right=1.18 * curves.bpp.max())
    axes.set(title=title, xlabel="Rate (bits per pixel, whole files)", ylabel="PSNR on 8-bit RGB (dB)")
    return figure
