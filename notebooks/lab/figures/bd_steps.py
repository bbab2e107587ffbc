"""How a BD-rate comes about, and what its one number hides, as figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from lab.figures.style import (
    BLUE,
    DARK,
    GREY,
    PALETTE,
    VERMILION,
    WIDTH,
    codec_looks,
    legend_below,
    new_figure,
    note,
    shown_name,
    styled,
    write_at_ends,
)
from lab.rd.bd_rate import METHODS, bd_rate, common_range, log_rate
from lab.rd.curves import Curve

STROKES = {"pchip": "solid", "akima": "dashed", "cubic": "dotted"}
LINEAR = 25.0
"""Percent around which the axis of extra rate passes, without a kink, from linear to logarithmic."""
PERCENTS = (-90, -75, *range(-50, 51, 10), 75, 100, 200, 400, 800)
BAR = 0.26


@styled
def bd_example_figure(anchor: Curve, test: Curve, title: str) -> Figure:
    """Draw two curves as usual, and as a BD-rate takes them: log-rate over quality, the area between them filled."""
    figure, (left, right) = new_figure(title, (10.5, 5.0), columns=2)
    for curve, colour, mark in ((anchor, GREY, "s"), (test, BLUE, "o")):
        left.plot(curve.bpp, curve.value, f"{mark}-", color=colour, markersize=8, label=curve.codec)
        right.plot(curve.value, np.log10(curve.bpp), mark, color=colour, markersize=8)
        quality = np.linspace(curve.value[0], curve.value[-1], 200)
        for method in METHODS:
            right.plot(
                quality, log_rate(curve, method)(quality), linestyle=STROKES[method], color=colour, linewidth=1.8
            )
    _fill_between(right, anchor, test)
    left.set(xlabel="Rate (bits per pixel)", ylabel="Quality (dB)")
    right.set(xlabel="Quality (dB)", ylabel="log10 of the rate (bpp)")
    for axes, text in ((left, "As curves are shown"), (right, "As a BD-rate takes them")):
        axes.set_title(text, fontsize=12)
    left.legend(loc="lower right")
    strokes = [Line2D([], [], color=DARK, linewidth=1.8, linestyle=STROKES[method]) for method in METHODS]
    right.legend(strokes, METHODS, loc="upper left", bbox_to_anchor=(0.14, 0.94), handlelength=3.0)
    return figure


def _fill_between(axes: Axes, anchor: Curve, test: Curve) -> None:
    """Fill the area that a BD-rate is the mean height of, and name its bounds."""
    low, high = common_range([anchor, test])
    shared = np.linspace(low, high, 200)
    axes.fill_between(shared, log_rate(anchor)(shared), log_rate(test)(shared), color=BLUE, alpha=0.18)
    look = {"transform": axes.get_xaxis_transform(), "va": "top", "fontsize": 11}
    for x, name, side in ((low, f" from {low:g} dB", "left"), (high, f"to {high:g} dB ", "right")):
        axes.axvline(x, color=DARK, linewidth=0.9)
        axes.text(x, 1.0, name, ha=side, **look)
    axes.text((low + high) / 2, 1.0, "common range", ha="center", **look)


@styled
def bootstrap_figure(paired: Sequence[float], unpaired: Sequence[float], headline: float, title: str) -> Figure:
    """Draw the BD-rates of bootstrap draws, with the same images for both codecs and with different ones, and 95 %."""
    figure, panels = new_figure(title, (9.0, 4.6), 2, sharex=True)
    edges = np.linspace(min(*paired, *unpaired), max(*paired, *unpaired), 81)
    looks = (("the same images for both codecs", paired, BLUE), ("other images for each codec", unpaired, GREY))
    for axes, (name, drawn, colour) in zip(panels, looks, strict=True):
        low, high = np.percentile(drawn, [2.5, 97.5])
        axes.hist(drawn, edges, color=colour)
        axes.axvspan(low, high, color=colour, alpha=0.15)
        axes.axvline(headline, color=DARK, linewidth=1.2)
        axes.set(ylabel="Draws")
        axes.grid(axis="x", visible=False)
        axes.set_title(f"{name}: 95 % from {low:+.1f} to {high:+.1f} %", fontsize=12)
    panels[-1].set_xlabel("BD-rate of a draw (%)")
    note(figure, "line: BD-rate of all images; shaded: the middle 95 % of the draws")
    return figure


@styled
def local_rate_figure(anchor: Curve, tests: Sequence[Curve], title: str, ours: str | None = None) -> Figure:
    """Draw how many percent more rate each codec needs than the anchor, quality by quality (PCHIP in log-rate).

    A BD-rate is the mean of such a line, taken on the logarithm of the ratio, over the range that the line covers.

    The names stand where the lines end. ``ours`` is the name of the codec to emphasise.
    """
    looks, ends = codec_looks([test.codec for test in tests]), []
    figure, (axes,) = new_figure(title, (9.0, 5.4))
    axes.axhline(0.0, color=DARK, linewidth=1.2)
    for test in tests:
        quality = np.linspace(*common_range([anchor, test]), 200)
        extra = 100 * (10 ** (log_rate(test)(quality) - log_rate(anchor)(quality)) - 1)
        colour, dash = looks[test.codec]
        main = test.codec == ours
        axes.plot(quality, extra, color=colour, linestyle=dash, linewidth=3.2 if main else 1.8)
        label = f"{shown_name(test.codec)}: {bd_rate(anchor, test).bd_rate_pct:+.1f} %"
        look = {"color": colour, "fontweight": "bold" if main else "normal"}
        ends.append(((quality[-1], extra[-1]), label, look))
    _scale_percents(axes)
    axes.set_xlabel("PSNR on 8-bit RGB (dB)" if anchor.metric == "psnr_rgb" else "MS-SSIM, dB of the mean")
    axes.set_ylabel(f"Rate above {anchor.codec} (%)")
    note(figure, "right: BD-rate, the mean of the line's logarithm; percent: linear near zero, logarithmic far away")
    write_at_ends(axes, ends)
    return figure


def _scale_percents(axes: Axes) -> None:
    """Make the axis linear where most codecs are, and logarithmic where the few lie that need a multiple."""
    low, high = axes.dataLim.intervaly
    bottom, top = 1.1 * low - 4.0, 1.1 * high + 4.0
    axes.set_yscale("asinh", linear_width=LINEAR)
    axes.set_ylim(bottom, top)
    axes.set_yticks([percent for percent in PERCENTS if bottom <= percent <= top])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")


@styled
def image_bd_figure(found: pd.Series, headline: float, title: str) -> Figure:
    """Draw the BD-rate of every image (percent, by file name), sorted, and ``headline``, of the averaged curves."""
    found, mean = found.sort_values(ascending=False), float(found.mean())
    figure, (axes,) = new_figure(title, (WIDTH, 2.0 + 0.25 * len(found)))
    axes.axvline(0.0, color=DARK, linewidth=1.2)
    axes.axvline(headline, color=BLUE, linewidth=2.4, label=f"averaged curves: {headline:+.1f} %")
    axes.axvline(mean, color=VERMILION, linestyle="--", label=f"mean of the images: {mean:+.1f} %")
    axes.plot(found, range(len(found)), "o", color=GREY, markersize=8)
    axes.set_yticks(range(len(found)), [Path(name).stem for name in found.index], fontsize=11)
    axes.set(ylim=(-0.7, len(found) - 0.3), xlabel="BD-rate in %, left is better")
    legend_below(figure, axes, 2)
    return figure


@styled
def excess_figure(table: pd.DataFrame, title: str) -> Figure:
    """Draw by subband how much more error ours has than each anchor at equal bytes; luma above, chroma below.

    ``table`` holds rows of ``results/tables/diagnosis_subbands.csv``.
    """
    parts = table[table.subband != "all"]
    anchors, colours = (list(dict.fromkeys(parts[name])) for name in ("anchor", "colour"))
    figure, cells = new_figure(title, (11.0, 6.6), len(colours), len(anchors), sharex=True, sharey="row")
    for axes, (colour, anchor) in zip(cells, ((c, a) for c in colours for a in anchors), strict=True):
        shown = parts[(parts.anchor == anchor) & (parts.colour == colour)]
        for i, (quality, one) in enumerate(shown.groupby("quality")):
            places = np.arange(len(one)) + (i - 1) * BAR
            axes.bar(places, one.excess_pct, BAR, color=PALETTE[i], label=f"quality {quality:g}")
        axes.axhline(0, color=DARK, linewidth=1)
        axes.grid(axis="x", visible=False)
        axes.set_xticks(range(len(one)), one.subband)
        axes.set_title(f"{colour}, against {anchor}", fontsize=12)
    figure.supylabel("Our excess error at equal bytes, % of the anchor's total", fontsize=12)
    legend_below(figure, cells[0], 3)
    return figure
