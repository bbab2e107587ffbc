"""Rate-distortion curves and BD-rates as figures; every title says which images were measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from lab.figures.style import (
    DASH_DOT,
    DASHED,
    DOTTED,
    GREY,
    PALETTE,
    WIDTH,
    Dash,
    Look,
    codec_looks,
    style,
)
from lab.rd.bd_rate import METHODS
from lab.rd.curves import Curve
from lab.rd.published_curves import ANCHOR_NAMES
from weconvene_core.errors import WeconveneError

AXIS_LABEL = {"psnr_rgb": "PSNR on 8-bit RGB (dB)", "ms_ssim": "MS-SSIM", "ms_ssim_db": "MS-SSIM, dB of the mean"}
METRIC_NAME = {"psnr_rgb": "PSNR", "ms_ssim_db": "MS-SSIM in dB"}
METHOD_MARKS = {"pchip": "o", "akima": "s", "cubic": "^"}
PUBLISHED_DASHES: tuple[Dash, ...] = (DASHED, DOTTED, DASH_DOT, (0, (10, 2)), (0, (6, 1.5, 1.2, 1.5, 1.2, 1.5)))
LABEL_GAP = 0.058
"""Least distance of two line labels as a share of the axis height."""
EARLY_END = 0.85
"""A curve that ends before this share of the axis is named at its end, not in the margin."""
NAME_ROOM = 0.2
"""Share of the axis that a name at an end takes: ends that lie closer have a legend instead."""


@dataclass(frozen=True, eq=False)
class Named:
    """A curve, and as matplotlib's options the line that stands for it in the drawing and beside its name."""

    curve: Curve
    shape: dict[str, Any]


def rd_figure(
    live: Sequence[Curve],
    published: Sequence[Curve],
    images: str,
    max_bpp: float = 1.3,
    ours: str | None = None,
    note: str = "",
) -> Figure:
    """Draw rate-distortion curves: measured here in the colours of their codecs, published ones thin, dashed and grey.

    Args:
        live: curves measured on these images.
        published: curves read from publications, on the same images, in the order of their dashes.
        images: label of the image set, shown in the title.
        max_bpp: right end of the axis; curves are cut there.
        ours: name of the codec to emphasise.
        note: conditions worth stating below the figure.

    Raises:
        WeconveneError: no curves, several metrics, or a curve that lies wholly beyond ``max_bpp``.
    """
    curves = [*live, *published]
    if not curves or len({curve.metric for curve in curves}) != 1:
        raise WeconveneError("Curves of one metric can share a figure: give at least one, and all of the same metric.")
    looks = codec_looks([curve.codec for curve in live])
    with style():
        figure = Figure(figsize=(WIDTH, 4.9), layout="constrained")
        axes = figure.add_subplot()
        named = [_measured(curve, looks[curve.codec], curve.codec == ours) for curve in live]
        dashes = zip(published, cycle(PUBLISHED_DASHES), strict=False)
        named += [Named(curve, {"color": GREY, "linestyle": dash, "linewidth": 1.3}) for curve, dash in dashes]
        for line in sorted(named, key=lambda line: -line.shape["linewidth"]):  # thin lines stay visible on a thick one
            axes.plot(line.curve.bpp, line.curve.value, **line.shape)
        _frame(axes, curves, max_bpp)
        _name_lines(axes, named, ours)
        axes.set_xlabel("Rate (bits per pixel, whole files)" if live else "Rate (bits per pixel)")
        axes.set_ylabel(AXIS_LABEL[curves[0].metric])
        axes.set_title(fill(f"Rate and distortion: {images}", 68))
        legend = "colour: measured on these images     grey: published points" if live and published else ""
        if legend or note:
            figure.supxlabel("\n".join(filter(None, (legend, note))), fontsize=10, color="#555555")
    return figure


def bd_rate_figure(
    table: pd.DataFrame, images: str, anchor: str, method: str = "pchip", ours: str | None = None
) -> Figure:
    """Draw the BD-rate of every codec against one anchor as dots with their bootstrap intervals, best on top.

    Rows without an interval (published points, of which only averages are known) are drawn in grey.

    Args:
        table: BD-rates as :func:`lab.rd.tables.bd_table` returns them.
        images: label of the image set, shown in the title.
        anchor: entry of the ``anchor`` column.
        method: interpolation.
        ours: name of the codec to emphasise.

    Raises:
        WeconveneError: no BD-rate for this anchor and method.
    """
    rows = table[(table.anchor == anchor) & (table.method == method)].dropna(subset="bd_rate_pct")
    rows = rows.sort_values("bd_rate_pct", ascending=False).reset_index(drop=True)
    if rows.empty:
        raise WeconveneError(f"The table holds no BD-rate against '{anchor}' by {method}: measure it first.")
    published = rows.ci_low.isna()
    looks = codec_looks(rows.codec[~published].to_list())
    with style():
        figure = Figure(figsize=(WIDTH, 1.9 + 0.34 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        axes.axvline(0.0, color="#333333", linewidth=1.2)
        for row in rows.itertuples():
            main = row.codec == ours
            colour = looks[row.codec].colour if row.codec in looks else "#333333" if main else GREY
            axes.hlines(row.Index, row.ci_low, row.ci_high, color=colour, linewidth=2.4, alpha=0.5)
            axes.plot(row.bd_rate_pct, row.Index, "o", color=colour, markersize=10.0 if main else 8.0)
        _write_numbers(axes, rows.bd_rate_pct, rows.index)
        axes.set_yticks(rows.index, rows.codec)
        for label in axes.get_yticklabels():
            label.set_fontweight(_weight(label.get_text(), ours))
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.set_xlabel(_axis_label("BD-rate", rows))
        shown = ANCHOR_NAMES[anchor].shown if anchor in ANCHOR_NAMES else anchor
        _head(figure, f"BD-rate against {shown}: {images}")
        figure.supxlabel("\n".join(_bd_notes(published, anchor in ANCHOR_NAMES)), fontsize=10, color="#555555")
    return figure


def sensitivity_figure(table: pd.DataFrame, images: str, codec: str) -> Figure:
    """Draw how one codec's BD-rate moves with the anchor (rows) and the interpolation (marks).

    Args:
        table: BD-rates as :func:`lab.rd.tables.bd_table` returns them.
        images: label of the image set, shown in the title.
        codec: entry of the ``codec`` column.

    Raises:
        WeconveneError: no BD-rate for this codec.
    """
    rows = table[table.codec == codec].dropna(subset="bd_rate_pct")
    if rows.empty:
        raise WeconveneError(f"The table holds no BD-rate of '{codec}': measure it first.")
    anchors = list(dict.fromkeys(rows.anchor))[::-1]
    with style():
        figure = Figure(figsize=(WIDTH, 2.2 + 0.55 * len(anchors)), layout="constrained")
        axes = figure.add_subplot()
        for shift, (method, colour) in zip((0.2, 0.0, -0.2), zip(METHODS, PALETTE, strict=False), strict=True):
            found = rows[rows.method == method]
            height = [anchors.index(anchor) + shift for anchor in found.anchor]
            axes.plot(found.bd_rate_pct, height, METHOD_MARKS[method], color=colour, markersize=8.0, label=method)
        headline = rows[rows.method == METHODS[0]]
        _write_numbers(axes, headline.bd_rate_pct, [anchors.index(anchor) for anchor in headline.anchor])
        axes.set_yticks(range(len(anchors)), anchors)
        axes.set_ylim(-0.6, len(anchors) - 0.4)
        axes.set_xlabel(_axis_label(f"BD-rate of {codec}", rows))
        _head(figure, f"{codec} by anchor and interpolation: {images}")
        figure.legend(loc="outside lower center", ncols=len(METHODS), title=f"interpolation (numbers: {METHODS[0]})")
    return figure


def _write_numbers(axes: Axes, rates: Sequence[float], rows: Sequence[float]) -> None:
    """Write the BD-rates in a column at the right edge, where no line and no mark can cross them."""
    at = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "ha": "right", "va": "center"}
    for rate, row in zip(rates, rows, strict=True):
        axes.annotate(f"{rate:+.1f} %", (1.0, row), (66, 0), fontsize=11, **at)


def _bd_notes(published: pd.Series, fixed: bool) -> list[str]:
    """Return what lines and grey dots mean."""
    spread = "the anchor is one published average,\nso the spread over images does not cancel"
    paired = "codec and anchor on the same images,\nso the spread that they share cancels"
    lines = [] if published.all() else [f"line: 95 % over images; {spread if fixed else paired}"]
    return [*lines, "grey: published averages, no spread over images known"] if published.any() else lines


def _head(figure: Figure, title: str) -> None:
    """Set a title that begins at the figure's edge, because names of codecs take the room to the left of the axes."""
    figure.suptitle(fill(title, 74), x=0.005, ha="left", fontsize=14)


def _axis_label(what: str, rows: pd.DataFrame) -> str:
    """Return the label of an axis of BD-rates: metrics, direction, and the range of dB when it is one for all."""
    names = " and ".join(METRIC_NAME.get(metric, metric) for metric in dict.fromkeys(rows.metric))
    low, high = rows.low_db.round(1).unique(), rows.high_db.round(1).unique()
    one = len(low) == len(high) == 1
    over = f"from {low[0]:.1f} to {high[0]:.1f} dB" if one else "each over its own common range"
    return f"{what} in % by {names}, left is better\n({over})"


def _frame(axes: Axes, curves: Sequence[Curve], max_bpp: float) -> None:
    """Set the limits so that everything up to ``max_bpp`` is seen and nothing beyond stretches the axis."""
    for curve in curves:
        if curve.bpp[0] > max_bpp:
            raise WeconveneError(f"'{curve.codec}' starts at {curve.bpp[0]:.2f} bpp, beyond {max_bpp}: raise max_bpp.")
    right = min(max_bpp, 1.03 * max(float(curve.bpp[-1]) for curve in curves))
    ends = [np.interp(right, curve.bpp, curve.value) for curve in curves]
    low = min(float(curve.value[0]) for curve in curves)
    margin = 0.04 * (max(ends) - low)
    axes.set_xlim(0.0, right)
    axes.set_ylim(low - margin, max(ends) + margin)


def _measured(curve: Curve, look: Look, main: bool) -> Named:
    return Named(
        curve, {"color": look.colour, "linestyle": look.dash, "linewidth": 3.2 if main else 1.8, "marker": "o"}
    )


def _name_lines(axes: Axes, named: Sequence[Named], ours: str | None) -> None:
    """Name each curve in the right margin, or above its end if it stops well inside; ends close by share a legend."""
    right = axes.get_xlim()[1]
    early = [line for line in named if line.curve.bpp[-1] < EARLY_END * right]
    ends = np.sort([line.curve.bpp[-1] / right for line in early])
    if (np.diff(ends) < NAME_ROOM).any():
        _name_in_a_legend(axes, named, ours)
        return
    _name_in_the_margin(axes, [line for line in named if line not in early], ours)
    for line in early:
        _name_at_the_end(axes, line, ours)


def _name_in_a_legend(axes: Axes, named: Sequence[Named], ours: str | None) -> None:
    """Put a legend where rising curves leave room, in the order of the curves at the last rate that all reach."""
    rate = min(float(line.curve.bpp[-1]) for line in named)
    order = sorted(named, key=lambda line: -np.interp(rate, line.curve.bpp, line.curve.value))
    samples = [Line2D([], [], **line.shape) for line in order]
    names = [line.curve.codec for line in order]
    legend = axes.legend(samples, names, loc="lower right", handlelength=3.0)
    for text in legend.get_texts():
        text.set_fontweight(_weight(text.get_text(), ours))


def _name_in_the_margin(axes: Axes, named: Sequence[Named], ours: str | None) -> None:
    """Name each curve beside a piece of its line, as near as can be to where it leaves or would leave the figure."""
    right = axes.get_xlim()[1]
    bottom, top = axes.get_ylim()
    heights = _spread([(_continued(line.curve, right) - bottom) / (top - bottom) for line in named])
    for line, height in zip(named, heights, strict=True):
        sample = line.shape | {"marker": ""}
        axes.add_artist(Line2D([1.015, 1.095], [height] * 2, transform=axes.transAxes, clip_on=False, **sample))
        look = {"color": line.shape["color"], "fontsize": 11, "fontweight": _weight(line.curve.codec, ours)}
        axes.text(1.11, height, line.curve.codec, transform=axes.transAxes, va="center", **look)


def _continued(curve: Curve, right: float) -> float:
    """Return the quality at the figure's right end, continued along the last two points where the curve ends before."""
    if curve.bpp[-1] >= right or len(curve) < 2:
        return float(np.interp(right, curve.bpp, curve.value))
    slope = (curve.value[-1] - curve.value[-2]) / (curve.bpp[-1] - curve.bpp[-2])
    return float(curve.value[-1] + slope * (right - curve.bpp[-1]))


def _name_at_the_end(axes: Axes, line: Named, ours: str | None) -> None:
    colour, codec = line.shape["color"], line.curve.codec
    leader = {"arrowstyle": "-", "color": colour, "linewidth": 0.7, "shrinkA": 1, "shrinkB": 2, "relpos": (1.0, 0.5)}
    outline = [withStroke(linewidth=3.0, foreground="white")]  # the name may lie over other curves
    place = {"xytext": (-4, 16), "textcoords": "offset points", "ha": "right", "va": "center"}
    look = {"color": colour, "fontsize": 11, "fontweight": _weight(codec, ours), "path_effects": outline}
    axes.annotate(codec, (line.curve.bpp[-1], line.curve.value[-1]), arrowprops=leader, **place, **look)


def _weight(name: str, ours: str | None) -> str:
    return "bold" if name == ours else "normal"


def _spread(heights: Sequence[float]) -> list[float]:
    """Return heights (axes fraction) moved as little as needed to stay on the axis ``LABEL_GAP`` apart, in order.

    Neighbours that collide form a block that is centred on the mean of its members (pool adjacent violators).
    """
    order = np.argsort(heights, kind="stable")
    blocks: list[tuple[float, int]] = []  # (sum of the members' wanted positions below the block, members)
    for rank, i in enumerate(order):
        blocks.append((heights[i] - rank * LABEL_GAP, 1))
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            total, members = blocks.pop()
            blocks[-1] = (blocks[-1][0] + total, blocks[-1][1] + members)
    bases = np.array([total / members for total, members in blocks for _ in range(members)])
    highest = max(0.0, 1.0 - (len(heights) - 1) * LABEL_GAP)
    spread = np.empty(len(heights))
    spread[order] = np.clip(bases, 0.0, highest) + LABEL_GAP * np.arange(len(heights))
    return spread.tolist()
