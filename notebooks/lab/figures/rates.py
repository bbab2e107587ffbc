"""What the rate of a codec is spent on, and how far images differ, as figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lab.figures.style import GREY, PALETTE, style
from lab.rd.curves import averaged_curve, image_curves

READABLE = 0.05
"""Least share of a bar that carries its number inside."""
THICK = 0.72


def streams_figure(table: pd.DataFrame, title: str) -> Figure:
    """Draw the mean rate of every part of the files, stacked: in bits per pixel, and as shares of the whole.

    Args:
        table: columns ``quality``, ``part`` and ``bpp``, one row per image, quality and part; parts in stacking order.
        title: heading; say which images were coded.
    """
    means = table.groupby(["part", "quality"], sort=False).bpp.mean().unstack()
    with style():
        figure = Figure(figsize=(12.0, 5.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        _stack(left, means)
        _stack(right, 100 * means / means.sum(), numbers=True)
        left.set_ylabel("Rate (bits per pixel)")
        right.set_ylabel("Share of the file (%)")
        figure.suptitle(title, x=0.005, ha="left", fontsize=14)
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=len(means))
    return figure


def _stack(axes: Axes, means: pd.DataFrame, numbers: bool = False) -> None:
    """Draw one bar per column (quality), its parts (rows) on top of each other."""
    places, bottom = np.arange(means.shape[1]), np.zeros(means.shape[1])
    colours = [*PALETTE[: len(means) - 1], GREY]  # the last part is the header, hardly to be seen
    for (name, heights), colour in zip(means.iterrows(), colours, strict=True):
        axes.bar(places, heights, THICK, bottom, color=colour, label=name)
        for place, height, start in zip(places, heights, bottom, strict=True):
            if numbers and name != means.index[-1]:
                _write(axes, place, start, height, colour)
        bottom = bottom + heights.to_numpy()
    axes.set_xticks(places, [f"{quality:g}" for quality in means.columns])
    axes.set_xlabel("Quality")
    axes.grid(visible=False, axis="x")


def _write(axes: Axes, place: float, start: float, height: float, colour: str) -> None:
    """Write a share (%) into its piece of a bar, or beside the piece where it is too low for it."""
    if height >= 100 * READABLE:
        axes.text(place, start + height / 2, f"{height:.0f}", ha="center", va="center", color="white")
    else:
        beside = place + THICK / 2 + 0.02
        axes.text(beside, start + height / 2, f"{height:.0f}", va="center", color=colour, fontsize=10)


def effort_figure(table: pd.DataFrame, title: str) -> Figure:
    """Draw what each level of effort saves against how long it takes, by both metrics, with intervals over the images.

    Args:
        table: what :func:`lab.studies.latent_refinement.by_effort` returned.
        title: heading; say which images were coded.
    """
    looks = {"psnr_rgb": ("PSNR", PALETTE[0], "-", 0.97), "ms_ssim_db": ("MS-SSIM", PALETTE[1], "--", 1.03)}
    with style():
        figure = Figure(figsize=(9.0, 4.6), layout="constrained")
        axes = figure.add_subplot()
        axes.axhline(0.0, color="#333333", linewidth=1.2)
        ends = table[table.effort == table.effort.max()].set_index("metric").bd_rate_pct
        for metric, (name, colour, dash, beside) in looks.items():
            rows = table[table.metric == metric].sort_values("effort")
            y, *limits = (rows[column].to_numpy() for column in ("bd_rate_pct", "ci_low", "ci_high"))
            x = rows.times_as_long.to_numpy() * beside  # beside each other, so that both intervals are seen
            interval = np.abs(y - limits)
            axes.errorbar(x, y, interval, color=colour, linestyle=dash, marker="o", capsize=4)
            offset = (8, 8 if ends[metric] == ends.max() else -8)
            said = {"textcoords": "offset points", "va": "center", "color": colour}
            axes.annotate(f"by {name}", (1.05 * rows.times_as_long.iloc[-1], y[-1]), offset, **said)
        axes.set_xscale("log")
        levels = table.drop_duplicates("effort")
        said = [f"effort {row.effort}:\n{row.times_as_long:.0f} times" for row in levels.itertuples()]
        axes.set_xticks(levels.times_as_long, said)
        axes.minorticks_off()
        axes.margins(x=0.2)
        axes.set_xlabel("Time of encoding over that at effort 0")
        axes.set_ylabel("BD-rate against effort 0 (%)")
        axes.set_title(title)
    return figure


def spread_figure(points: pd.DataFrame, codec: str, title: str) -> Figure:
    """Draw the curve of every image behind the averaged one; the cheapest and the dearest image are named.

    Args:
        points: measured points of one dataset, as :func:`lab.rd.measure_set.measure` gives them.
        codec: entry of the ``codec`` column.
        title: heading; say which images were measured.

    Raises:
        WeconveneError: no such codec, or several datasets.
    """
    curves, mean = image_curves(points, codec), averaged_curve(points, codec)
    names = sorted(set(points[points.codec == codec].image) - {"mean"})
    middle = curves.bpp.shape[1] // 2
    # names stand where few curves pass: left of the steepest curve, right of the flattest, above the mean
    named = {
        int(curves.bpp[:, middle].argmin()): (PALETTE[2], (-10, 4)),
        int(curves.bpp[:, middle].argmax()): (PALETTE[1], (10, 0)),
    }
    with style():
        figure = Figure(figsize=(9.5, 5.6), layout="constrained")
        axes = figure.add_subplot()
        for i, (bpp, value) in enumerate(zip(curves.bpp, curves.value, strict=True)):
            colour, layer = named[i][0] if i in named else GREY, 3 if i in named else 2
            axes.plot(bpp, value, ".-", color=colour, linewidth=2.2 if i in named else 0.9, zorder=layer)
            if i in named:
                _name(axes, Path(names[i]).stem, (bpp[-1], value[-1]), *named[i])
        axes.plot(mean.bpp, mean.value, "o-", color=PALETTE[0], linewidth=3.2, zorder=4)
        _name(axes, "mean over the images", (mean.bpp[-1], mean.value[-1]), PALETTE[0], (6, 11))
        axes.set_xlim(left=0.0, right=1.18 * curves.bpp.max())
        axes.set_xlabel("Rate (bits per pixel, whole files)")
        axes.set_ylabel("PSNR on 8-bit RGB (dB)")
        axes.set_title(title)
    return figure


def _name(axes: Axes, text: str, end: tuple[float, float], colour: str, offset: tuple[float, float]) -> None:
    """Write a curve's name beside its end, ``offset`` points away."""
    side = "left" if offset[0] > 0 else "right"
    axes.annotate(text, end, offset, textcoords="offset points", ha=side, va="center", color=colour, fontsize=11,
                  fontweight="bold", zorder=5)  # fmt: skip
