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

from lab.figures.style import BLUE, GREY, VERMILION, WIDTH, codec_looks, style
from lab.rd.bd_rate import METHODS, bd_rate, common_range, log_rate
from lab.rd.curves import Curve

STROKES = {"pchip": "solid", "akima": "dashed", "cubic": "dotted"}
LINEAR = 25.0
"""Percent around which the axis of extra rate passes, without a kink, from linear to logarithmic."""
PERCENTS = (-90, -75, *range(-50, 51, 10), 75, 100, 200, 400, 800)


def bd_example_figure(anchor: Curve, test: Curve) -> Figure:
    """Draw two curves as usual, and as a BD-rate takes them: log-rate over quality, with the area between them filled.

    Raises:
        WeconveneError: as :func:`lab.rd.bd_rate.bd_rate`.
    """
    with style():
        figure = Figure(figsize=(10.5, 4.8), layout="constrained")
        left, right = figure.subplots(1, 2)
        for curve, colour, mark in ((anchor, GREY, "s"), (test, BLUE, "o")):
            left.plot(curve.bpp, curve.value, f"{mark}-", color=colour, markersize=8, label=curve.codec)
            right.plot(curve.value, np.log10(curve.bpp), mark, color=colour, markersize=8)
            for method in METHODS:
                quality = np.linspace(curve.value[0], curve.value[-1], 200)
                height = log_rate(curve, method)(quality)
                right.plot(quality, height, linestyle=STROKES[method], color=colour, linewidth=1.8)
        _fill_between(right, anchor, test)
        left.set(xlabel="Rate (bits per pixel)", ylabel="Quality (dB)", title="As curves are shown")
        right.set(xlabel="Quality (dB)", ylabel="log10 of the rate (bpp)", title="As a BD-rate takes them")
        left.legend(loc="lower right")
        strokes = [Line2D([], [], color="#333333", linewidth=1.8, linestyle=STROKES[method]) for method in METHODS]
        right.legend(strokes, METHODS, loc="upper left", bbox_to_anchor=(0.14, 0.94), handlelength=3.0)
        figure.supxlabel(f"BD-rate by PCHIP: {bd_rate(anchor, test).bd_rate_pct:+.2f} %", fontsize=12)
    return figure


def _fill_between(axes: Axes, anchor: Curve, test: Curve) -> None:
    """Fill the area that a BD-rate is the mean height of, and name its bounds."""
    low, high = common_range([anchor, test])
    shared = np.linspace(low, high, 200)
    axes.fill_between(shared, log_rate(anchor)(shared), log_rate(test)(shared), color=BLUE, alpha=0.18)
    look = {"transform": axes.get_xaxis_transform(), "va": "top", "fontsize": 11}
    for x, name, side in ((low, f" from {low:g} dB", "left"), (high, f"to {high:g} dB ", "right")):
        axes.axvline(x, color="#333333", linewidth=0.9)
        axes.text(x, 1.0, name, ha=side, **look)
    axes.text((low + high) / 2, 1.0, "common range", ha="center", **look)


def local_rate_figure(anchor: Curve, tests: Sequence[Curve], images: str, ours: str | None = None) -> Figure:
    """Draw how many percent more rate each codec needs than the anchor, quality by quality (PCHIP in log-rate).

    A BD-rate is the mean of such a line, taken on the logarithm of the ratio, over the range that the line covers.

    Args:
        anchor: the reference, the zero line.
        tests: the codecs.
        images: label of the image set, shown in the title.
        ours: name of the codec to emphasise.

    Raises:
        WeconveneError: a curve that is not fit for a BD-rate, or shares no quality with the anchor.
    """
    looks = codec_looks([test.codec for test in tests])
    with style():
        figure = Figure(figsize=(8.0, 5.2), layout="constrained")
        axes = figure.add_subplot()
        axes.axhline(0.0, color="#333333", linewidth=1.2)
        ends = {}
        for test in tests:
            low, high = common_range([anchor, test])
            quality = np.linspace(low, high, 200)
            extra = 100 * (10 ** (log_rate(test)(quality) - log_rate(anchor)(quality)) - 1)
            look = {"color": looks[test.codec].colour, "linestyle": looks[test.codec].dash}
            label = f"{test.codec}: {bd_rate(anchor, test).bd_rate_pct:+.1f} %"
            line = axes.plot(quality, extra, linewidth=3.2 if test.codec == ours else 1.8, label=label, **look)[0]
            ends[line] = extra[-1]
        _scale_percents(axes)
        axes.set_xlabel("PSNR on 8-bit RGB (dB)" if anchor.metric == "psnr_rgb" else "MS-SSIM, dB of the mean")
        axes.set_ylabel(f"Rate above {anchor.codec} (%)")
        axes.set_title(f"Extra rate at equal quality: {images}")
        figure.supxlabel("percent: linear near zero, logarithmic far from it", fontsize=10, color="#555555")
        heading = "BD-rate, where both\ncurves have points"
        order = sorted(ends, key=lambda line: -ends[line])  # as the lines end
        axes.legend(handles=order, loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=3.0, title=heading)
        axes.get_legend().set_alignment("left")
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


def image_bd_figure(found: pd.Series, headline: float, title: str) -> Figure:
    """Draw the BD-rate of every image, sorted, beside that of the averaged curves and the mean of all dots.

    Args:
        found: percent per image, indexed by the image's file name.
        headline: BD-rate of the averaged curves in percent.
        title: heading; name codec, anchor and images.
    """
    found = found.sort_values(ascending=False)
    with style():
        figure = Figure(figsize=(WIDTH, 2.0 + 0.25 * len(found)), layout="constrained")
        axes = figure.add_subplot()
        axes.axvline(0.0, color="#333333", linewidth=1.2)
        axes.axvline(headline, color=BLUE, linewidth=2.4, label=f"averaged curves: {headline:+.1f} %")
        mean = float(found.mean())
        axes.axvline(mean, color=VERMILION, linewidth=2.0, linestyle="--", label=f"mean of the images: {mean:+.1f} %")
        axes.plot(found, range(len(found)), "o", color=GREY, markersize=8)
        axes.set_yticks(range(len(found)), [Path(name).stem for name in found.index], fontsize=11)
        axes.set_ylim(-0.7, len(found) - 0.3)
        axes.set_xlabel("BD-rate in %, left is better")
        axes.set_title(title)
        figure.legend(loc="outside lower center", ncols=2)
    return figure
