"""Rate-distortion curves and BD-rates as figures."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import cycle
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.text import Text

from lab.figures.style import (
    DARK,
    DASH_DOT,
    DASHED,
    DOTTED,
    GREY,
    MARKS,
    PALETTE,
    WIDTH,
    Dash,
    codec_looks,
    legend_below,
    new_figure,
    note,
    shown_name,
    styled,
    write_beside,
)
from lab.rd.bd_rate import METHODS
from lab.rd.curves import METRIC_TITLES, Curve
from lab.rd.published_curves import ANCHOR_NAMES
from weconvene_core.errors import WeconveneError

AXIS_LABEL = {"psnr_rgb": "PSNR on 8-bit RGB (dB)", "ms_ssim": "MS-SSIM", "ms_ssim_db": "MS-SSIM, dB of the mean"}
LEGEND = 28
"""Letters in a line of the legend beside curves; longer names would leave the curves too little room."""
PUBLISHED_DASHES: tuple[Dash, ...] = (DASHED, DOTTED, DASH_DOT, (0, (10, 2)), (0, (6, 1.5, 1.2, 1.5, 1.2, 1.5)))


@styled
def rd_figure(
    live: Sequence[Curve],
    published: Sequence[Curve],
    title: str,
    max_bpp: float = 1.3,
    ours: str | None = None,
    conditions: str = "",
) -> Figure:
    """Draw rate-distortion curves: measured here in the colours of their codecs, published ones thin, dashed and grey.

    Parameters
    ----------
    live, published
        Curves measured on these images, and curves from publications on the same images.
    title
        Says what is seen, and on which images.
    max_bpp
        Right end of the axis; curves are cut there.
    ours
        Name of the codec to emphasise.
    conditions
        What is worth stating below the figure.

    Raises
    ------
    WeconveneError
        If there are no curves or several metrics, or a curve lies wholly beyond ``max_bpp``.
    """
    curves = [*live, *published]
    if not curves or len({curve.metric for curve in curves}) != 1:
        raise WeconveneError("Curves of one metric can share a figure: give at least one, and all of the same metric.")
    for curve in curves:
        if curve.bpp[0] > max_bpp:
            raise WeconveneError(f"'{curve.codec}' starts at {curve.bpp[0]:.2f} bpp, beyond {max_bpp}: raise max_bpp.")
    looks, lines = codec_looks([curve.codec for curve in live]), {}
    figure, (axes,) = new_figure(title, (WIDTH + 1.6, 4.9))
    for curve in live:
        colour, dash = looks[curve.codec]
        width, above = (3.2, 2) if curve.codec == ours else (1.8, 2.1)  # thin lines stay visible on a thick one
        look = {"color": colour, "linestyle": dash, "linewidth": width, "zorder": above}
        (lines[curve],) = axes.plot(curve.bpp, curve.value, marker="o", label=shown_name(curve.codec), **look)
    for curve, dash in zip(published, cycle(PUBLISHED_DASHES), strict=False):
        look = {"color": GREY, "linestyle": dash, "linewidth": 1.3, "zorder": 2.2}
        (lines[curve],) = axes.plot(curve.bpp, curve.value, label=shown_name(curve.codec), **look)
    right = min(max_bpp, 1.03 * max(float(curve.bpp[-1]) for curve in curves))
    low, high = min(curve.value[0] for curve in curves), max(np.interp(right, c.bpp, c.value) for c in curves)
    margin = 0.04 * (high - low)
    axes.set(xlim=(0.0, right), ylim=(low - margin, high + margin), ylabel=AXIS_LABEL[curves[0].metric])
    axes.set_xlabel("Rate (bits per pixel, whole files)" if live else "Rate (bits per pixel)")
    shared = min(float(curve.bpp[-1]) for curve in curves)  # the names stand as the curves at the last rate of all
    order = sorted(curves, key=lambda curve: -np.interp(shared, curve.bpp, curve.value))
    legend = axes.legend(
        handles=[lines[curve] for curve in order], loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=3.0
    )
    _emphasise(legend.get_texts(), ours)
    for text in legend.get_texts():
        text.set_text(fill(text.get_text(), LEGEND))
    colours = "colour: measured on these images     grey: published points" if live and published else ""
    note(figure, "\n".join(filter(None, (colours, conditions))))
    return figure


@styled
def bd_rate_figure(
    table: pd.DataFrame,
    title: str,
    anchor: str,
    method: str = "pchip",
    ours: str | None = None,
    live: Collection[str] = (),
) -> Figure:
    """Draw the BD-rate of every codec against one anchor as dots, best on top, with the intervals that the table has.

    Parameters
    ----------
    table
        BD-rates as :func:`lab.rd.tables.bd_table` returns them.
    ours
        Name of the codec to emphasise.
    live
        Names of the codecs measured here, drawn in their colours; all others are published and grey.

    Raises
    ------
    WeconveneError
        If the table has no BD-rate for this anchor and method.
    """
    rows = table[(table.anchor == anchor) & (table.method == method)].dropna(subset="bd_rate_pct")
    rows = rows.sort_values("bd_rate_pct", ascending=False).reset_index(drop=True)
    if rows.empty:
        raise WeconveneError(f"The table holds no BD-rate against '{anchor}' by {method}: measure it first.")
    measured = rows.codec.isin(live)
    looks = codec_looks(rows.codec[measured].to_list())
    figure, (axes,) = new_figure(title, (WIDTH, 2.0 + 0.34 * len(rows)))
    axes.axvline(0.0, color=DARK, linewidth=1.2)
    for row in rows.itertuples():
        main = row.codec == ours
        colour = looks[row.codec].colour if row.codec in looks else DARK if main else GREY
        axes.hlines(row.Index, row.ci_low, row.ci_high, color=colour, linewidth=2.4, alpha=0.5)
        axes.plot(row.bd_rate_pct, row.Index, "o", color=colour, markersize=10.0 if main else 8.0)
        write_beside(axes, f"{row.bd_rate_pct:+.1f} %", row.Index, 66, ha="right", fontsize=11)
    axes.set_yticks(rows.index, rows.codec.map(shown_name))
    _emphasise(axes.get_yticklabels(), ours)
    against = ANCHOR_NAMES[anchor].shown if anchor in ANCHOR_NAMES else shown_name(anchor)
    axes.set(ylim=(-0.6, len(rows) - 0.4), xlabel=_axis_label(f"BD-rate against {against}", rows))
    lines = ["line: 95 % over images, codec and anchor on the same ones"] if rows.ci_low.notna().any() else []
    lines += ["colour: measured here; grey: published averages"] if measured.any() and not measured.all() else []
    note(figure, "\n".join(lines))
    return figure


@styled
def rivals_figure(table: pd.DataFrame, title: str) -> Figure:
    """Draw one codec's BD-rate against each of its anchors, a panel for each metric, with paired intervals.

    ``table`` holds rows of :func:`lab.rd.tables.bd_table` of one codec and one interpolation. Anchors without an
    interval are published averages, and hollow.
    """
    metrics = [metric for metric in METRIC_TITLES if metric in set(table.metric)]
    order = table[table.metric == metrics[0]].sort_values("bd_rate_pct", ascending=False).anchor.to_list()
    figure, panels = new_figure(title, (WIDTH + 2.6, 2.2 + 0.36 * len(order)), 1, len(metrics), sharey=True)
    for axes, metric in zip(panels, metrics, strict=True):
        axes.axvline(0.0, color=DARK, linewidth=1.2)
        for row in table[table.metric == metric].dropna(subset="bd_rate_pct").itertuples():
            place, paired = order.index(row.anchor), np.isfinite(row.ci_low)
            axes.hlines(place, row.ci_low, row.ci_high, color=PALETTE[0], linewidth=3.0, alpha=0.5)
            axes.plot(row.bd_rate_pct, place, "o", color=PALETTE[0], markerfacecolor=None if paired else "white",
                      markersize=8.0, markeredgewidth=1.6)  # fmt: skip
            write_beside(axes, f"{row.bd_rate_pct:+.1f}", place, 40, ha="right", fontsize=11)
        axes.set(ylim=(-0.6, len(order) - 0.4), xlabel=f"BD-rate in % by {METRIC_TITLES[metric]}")
    names = [ANCHOR_NAMES[name].shown if name in ANCHOR_NAMES else shown_name(name) for name in order]
    panels[0].set_yticks(range(len(order)), [f"against {fill(name, LEGEND)}" for name in names])
    note(figure, "left of zero: fewer bits; line: 95 % over images, in pairs; hollow: a published average, no interval")
    return figure


@styled
def sensitivity_figure(table: pd.DataFrame, title: str, codec: str) -> Figure:
    """Draw how one codec's BD-rate moves with the anchor (rows) and the interpolation (marks).

    Raises
    ------
    WeconveneError
        If the table has no BD-rate for this codec.
    """
    rows = table[table.codec == codec].dropna(subset="bd_rate_pct")
    if rows.empty:
        raise WeconveneError(f"The table holds no BD-rate of '{codec}': measure it first.")
    anchors = list(dict.fromkeys(rows.anchor))[::-1]
    figure, (axes,) = new_figure(title, (WIDTH, 2.2 + 0.55 * len(anchors)))
    for i, method in enumerate(METHODS):
        found = rows[rows.method == method]
        height = [anchors.index(anchor) + 0.2 * (1 - i) for anchor in found.anchor]
        axes.plot(found.bd_rate_pct, height, MARKS[i], color=PALETTE[i], markersize=8.0, label=method)
    for row in rows[rows.method == METHODS[0]].itertuples():
        write_beside(axes, f"{row.bd_rate_pct:+.1f} %", anchors.index(row.anchor), 66, ha="right", fontsize=11)
    axes.set_yticks(range(len(anchors)), map(shown_name, anchors))
    axes.set(ylim=(-0.6, len(anchors) - 0.4), xlabel=_axis_label(f"BD-rate of {codec}", rows))
    legend_below(figure, axes, len(METHODS), title=f"interpolation (numbers: {METHODS[0]})")
    return figure


def _axis_label(what: str, rows: pd.DataFrame) -> str:
    """Return the label of an axis of BD-rates: metrics, direction, and the range of dB when it is one for all."""
    names = " and ".join(METRIC_TITLES[metric] for metric in dict.fromkeys(rows.metric))
    low, high = rows.low_db.round(1).unique(), rows.high_db.round(1).unique()
    one = len(low) == len(high) == 1
    over = f"from {low[0]:.1f} to {high[0]:.1f} dB" if one else "each over its own common range"
    return f"{what} in % by {names}, left is better\n({over})"


def _emphasise(texts: Iterable[Text], name: str | None) -> None:
    for text in texts:
        text.set_fontweight("bold" if name and text.get_text() == shown_name(name) else "normal")
