"""How a BD-rate comes about, and what its one number hides, as figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from weconvene_core.evaluation.bd_rate import METHODS, bd_rate, common_range, log_rate
from weconvene_core.evaluation.curves import Curve
from weconvene_core.figures.style import GREY, PALETTE, style

STROKES = {"pchip": "solid", "akima": "dashed", "cubic": "dotted"}


def bd_example_figure(anchor: Curve, test: Curve) -> Figure:
    """Draw two curves as usual, and as a BD-rate takes them: log-rate over quality, with the area between them filled.

    Raises:
        WeconveneError: as :func:`weconvene_core.evaluation.bd_rate.bd_rate`.
    """
    low, high = common_range([anchor, test])
    shared = np.linspace(low, high, 200)
    with style():
        figure = Figure(figsize=(12.5, 5.0), layout="constrained")
        left, right = figure.subplots(1, 2)
        for curve, colour, mark in ((anchor, GREY, "s"), (test, PALETTE[0], "o")):
            left.plot(curve.bpp, curve.value, f"{mark}-", color=colour, markersize=8, label=curve.codec)
            right.plot(curve.value, np.log10(curve.bpp), mark, color=colour, markersize=8)
            for method in METHODS:
                quality = np.linspace(curve.value[0], curve.value[-1], 200)
                height = log_rate(curve, method)(quality)
                right.plot(quality, height, linestyle=STROKES[method], color=colour, linewidth=1.8)
        right.fill_between(shared, log_rate(anchor)(shared), log_rate(test)(shared), color=PALETTE[0], alpha=0.18)
        for x in (low, high):
            right.axvline(x, color="#333333", linewidth=0.9)
        right.text(low, right.get_ylim()[1], f" common range, {high - low:g} dB", va="top", fontsize=11)
        left.set(xlabel="Rate (bits per pixel)", ylabel="Quality (dB)", title="As curves are shown")
        right.set(xlabel="Quality (dB)", ylabel="log10 of the rate", title="As a BD-rate takes them")
        left.legend(loc="lower right")
        found = bd_rate(anchor, test)
        note = ", ".join(f"{method} {stroke}" for method, stroke in STROKES.items())
        figure.supxlabel(f"BD-rate by PCHIP {found.bd_rate_pct:+.2f} %.   Interpolations: {note}", fontsize=11)
    return figure


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
    with style():
        figure = Figure(figsize=(9.5, 5.4), layout="constrained")
        axes = figure.add_subplot()
        axes.axhline(0.0, color="#333333", linewidth=1.2)
        for i, test in enumerate(tests):
            low, high = common_range([anchor, test])
            quality = np.linspace(low, high, 200)
            ratio = 10 ** (log_rate(test)(quality) - log_rate(anchor)(quality))
            label = f"{test.codec}: {bd_rate(anchor, test).bd_rate_pct:+.1f} %"
            width = 3.2 if test.codec == ours else 1.8
            axes.plot(quality, 100 * (ratio - 1), color=PALETTE[i % len(PALETTE)], linewidth=width, label=label)
        axes.set_xlabel("PSNR on 8-bit RGB (dB)" if anchor.metric == "psnr_rgb" else "MS-SSIM, dB of the mean")
        axes.set_ylabel(f"Rate above {anchor.codec} (%)")
        axes.set_title(f"Extra rate at equal quality: {images}")
        heading = "BD-rate, where both\ncurves have points"
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), title=heading, alignment="left")
    return figure


def image_bd_figure(found: pd.Series, headline: float, title: str) -> Figure:
    """Draw the BD-rate of every image, sorted, beside that of the averaged curves and the mean of all dots.

    Args:
        found: percent per image, indexed by the image's name.
        headline: BD-rate of the averaged curves in percent.
        title: heading; name codec, anchor and images.
    """
    found = found.sort_values(ascending=False)
    with style():
        figure = Figure(figsize=(9.5, 1.8 + 0.26 * len(found)), layout="constrained")
        axes = figure.add_subplot()
        axes.axvline(0.0, color="#333333", linewidth=1.2)
        axes.axvline(headline, color=PALETTE[0], linewidth=2.4, label=f"averaged curves: {headline:+.1f} %")
        mean = float(found.mean())
        axes.axvline(mean, color=PALETTE[1], linewidth=2.0, linestyle="--", label=f"mean of the images: {mean:+.1f} %")
        axes.plot(found, range(len(found)), "o", color=GREY, markersize=8)
        axes.set_yticks(range(len(found)), found.index, fontsize=10)
        axes.set_xlabel("BD-rate in %, left is better")
        axes.set_title(title)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
