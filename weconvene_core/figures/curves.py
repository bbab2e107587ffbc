"""Rate-distortion curves and BD-rates as figures; every title says which images were measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from weconvene_core.errors import WeconveneError
from weconvene_core.evaluation.anchors import ANCHOR_NAMES
from weconvene_core.evaluation.bd_rate import METHODS
from weconvene_core.evaluation.curves import Curve
from weconvene_core.figures.style import GREY, PALETTE, style

AXIS_LABEL = {"psnr_rgb": "PSNR on 8-bit RGB (dB)", "ms_ssim": "MS-SSIM", "ms_ssim_db": "MS-SSIM, dB of the mean"}
METRIC_NAME = {"psnr_rgb": "PSNR", "ms_ssim_db": "MS-SSIM in dB"}
METHOD_MARKS = {"pchip": "o", "akima": "s", "cubic": "^"}
LABEL_GAP = 0.052
"""Least distance of two line labels as a share of the axis height."""
EARLY_END = 0.85
"""A curve that ends before this share of the axis is named at its end rather than in the margin."""


def rd_figure(
    live: Sequence[Curve],
    published: Sequence[Curve],
    images: str,
    max_bpp: float = 1.3,
    ours: str | None = None,
    note: str = "",
) -> Figure:
    """Draw rate-distortion curves: measured here solid and coloured, published ones thin, dashed and grey.

    Args:
        live: curves measured on these images, in the order of their colours.
        published: curves read from publications, on the same images.
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
    with style():
        figure = Figure(layout="constrained")
        axes = figure.add_subplot()
        for curve in published:
            axes.plot(curve.bpp, curve.value, color=GREY, linewidth=1.1, linestyle=(0, (5, 3)), zorder=2)
        for i, curve in enumerate(live):
            width, layer = (3.2, 5) if curve.codec == ours else (1.8, 4)
            axes.plot(curve.bpp, curve.value, "o-", color=_colour(i), linewidth=width, zorder=layer)
        _frame(axes, curves, max_bpp)
        _label_lines(axes, curves, [*map(_colour, range(len(live))), *[GREY] * len(published)], ours)
        axes.set_xlabel("Rate (bits per pixel, whole files)" if live else "Rate (bits per pixel)")
        axes.set_ylabel(AXIS_LABEL[curves[0].metric])
        axes.set_title(f"Rate and distortion: {images}")
        legend = "solid: measured on these images     dashed grey: published points" if live and published else ""
        if legend or note:
            figure.supxlabel("\n".join(filter(None, (legend, note))), fontsize=10, color="#555555")
    return figure


def bd_rate_figure(
    table: pd.DataFrame, images: str, anchor: str, method: str = "pchip", ours: str | None = None
) -> Figure:
    """Draw the BD-rate of every codec against one anchor as dots with their bootstrap intervals, best on top.

    Rows without an interval (published points, of which only averages are known) are drawn in grey.

    Args:
        table: BD-rates as :func:`weconvene_core.evaluation.tables.bd_table` returns them.
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
    with style():
        intervals = rows.ci_low.notna().any()
        figure = Figure(figsize=(9.0, 1.9 + (0.55 if intervals else 0.36) * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        axes.axvline(0.0, color="#333333", linewidth=1.2)
        place = {"xytext": (0, 9), "ha": "center"} if intervals else {"xytext": (9, 0), "va": "center"}
        outline = [withStroke(linewidth=3.0, foreground="white")]  # numbers may lie over the zero line
        for row in rows.itertuples():
            colour = PALETTE[1] if row.codec == ours else GREY if np.isnan(row.ci_low) else PALETTE[0]
            axes.hlines(row.Index, row.ci_low, row.ci_high, color=colour, linewidth=2.0, alpha=0.45)
            axes.plot(row.bd_rate_pct, row.Index, "o", color=colour, markersize=8.0)
            text, at = f"{row.bd_rate_pct:+.1f} %", (row.bd_rate_pct, row.Index)
            axes.annotate(text, at, textcoords="offset points", fontsize=11, path_effects=outline, **place)
        axes.set_yticks(rows.index, rows.codec)
        axes.margins(x=0.1)  # room for the numbers
        axes.set_ylim(-0.6, len(rows) - 0.3)
        interval = "anchor held fixed" if anchor in ANCHOR_NAMES else "drawn in pairs"
        note = f"\nline: 95 % over images, {interval}" if intervals else ""
        axes.set_xlabel(f"BD-rate in % by {_metric(rows)}, left is better{note}")
        axes.set_title(f"BD-rate against {anchor}: {images}")
    return figure


def sensitivity_figure(table: pd.DataFrame, images: str, codec: str) -> Figure:
    """Draw how one codec's BD-rate moves with the anchor (rows) and the interpolation (marks).

    Args:
        table: BD-rates as :func:`weconvene_core.evaluation.tables.bd_table` returns them.
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
        figure = Figure(figsize=(9.0, 2.2 + 0.6 * len(anchors)), layout="constrained")
        axes = figure.add_subplot()
        for row in rows[rows.method == METHODS[0]].itertuples():
            at = (row.bd_rate_pct, anchors.index(row.anchor) + 0.2)
            axes.annotate(f"{row.bd_rate_pct:+.1f} %", at, (9, 0), textcoords="offset points", va="center", fontsize=11)
        for shift, (method, colour) in zip((0.2, 0.0, -0.2), zip(METHODS, PALETTE, strict=False), strict=True):
            found = rows[rows.method == method]
            height = [anchors.index(anchor) + shift for anchor in found.anchor]
            axes.plot(found.bd_rate_pct, height, METHOD_MARKS[method], color=colour, markersize=8.0, label=method)
        axes.set_yticks(range(len(anchors)), anchors)
        axes.set_ylim(-0.6, len(anchors) - 0.4)
        axes.set_xlabel(f"BD-rate of {codec} in %, {_metric(rows)}")
        axes.set_title(f"{codec} by anchor and interpolation: {images}")
        axes.margins(x=0.14)  # room for the numbers
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _metric(rows: pd.DataFrame) -> str:
    """Return the metrics, and the range of dB that the BD-rates speak of when it is one range for all."""
    names = " and ".join(METRIC_NAME.get(metric, metric) for metric in dict.fromkeys(rows.metric))
    low, high = rows.low_db.round(1).unique(), rows.high_db.round(1).unique()
    return f"{names} from {low[0]:.1f} to {high[0]:.1f} dB" if len(low) == len(high) == 1 else names


def _colour(i: int) -> str:
    return PALETTE[i % len(PALETTE)]


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


def _label_lines(axes: Axes, curves: Sequence[Curve], colours: Sequence[str], ours: str | None) -> None:
    """Name each curve where it ends: in the right margin, or above its end when it stops well inside the figure.

    Names are pushed apart vertically where they would collide, and a thin line then leads to the curve.
    """
    right = axes.get_xlim()[1]
    bottom, top = axes.get_ylim()
    ends = [(min(right, float(c.bpp[-1])), float(np.interp(right, c.bpp, c.value))) for c in curves]
    for inside in (False, True):
        chosen = [i for i, (x, _) in enumerate(ends) if (x < EARLY_END * right) == inside]
        heights = _spread([(ends[i][1] - bottom) / (top - bottom) + LABEL_GAP * inside for i in chosen])
        for i, height in zip(chosen, heights, strict=True):
            x = ends[i][0] / right - 0.01 if inside else 1.03
            axes.annotate(
                curves[i].codec,
                xy=ends[i],
                xytext=(x, height),
                textcoords="axes fraction",
                ha="right" if inside else "left",
                va="center",
                color=colours[i],
                fontsize=11,
                fontweight="bold" if curves[i].codec == ours else "normal",
                annotation_clip=False,
                path_effects=[withStroke(linewidth=3.0, foreground="white")],  # names may lie over other curves
                arrowprops={"arrowstyle": "-", "color": colours[i], "linewidth": 0.7, "shrinkA": 1, "shrinkB": 2}
                | {"relpos": (float(inside), 0.5)},
            )


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
