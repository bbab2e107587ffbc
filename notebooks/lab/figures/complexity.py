"""What the codec costs, as figures: MACs by part, time by stage, growth with the image, and the field around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from lab.complexity.count_macs import FOLDING, OUTSIDE, Macs
from lab.complexity.latency import STAGES
from lab.complexity.tables import growth, megapixels
from lab.figures.style import (
    BLUE,
    DARK,
    DASHED,
    DOTTED,
    FAINT,
    GREY,
    PALETTE,
    apart,
    legend_below,
    new_figure,
    note,
    plain_log,
    shown_name,
    styled,
    write,
    write_at_ends,
)
from weconvene_core.model.presets import PRESETS

PARTS = {
    "g_a": ("g_a (analysis)", PALETTE[0]),
    "h_a": ("h_a (hyper analysis)", PALETTE[3]),
    "h_s": ("h_s (hyper synthesis)", PALETTE[2]),
    "charm": ("3DWeChARM", PALETTE[1]),
    "g_s": ("g_s (synthesis)", PALETTE[5]),
    FOLDING: ("folding the channel DWT into kernels", GREY),
    OUTSIDE: ("colour transform", PALETTE[6]),
}
"""The parts of this project's models in the order of the data flow, with their names and colours."""
STAGE_COLOURS = (PALETTE[0], PALETTE[2], PALETTE[1], GREY)
NARROW = 0.06
"""A piece of a bar below this share of its axis is left without a number."""
NAME_GAP = 0.105
"""Decades of arithmetic between two names of the landscape."""
VISIBLE = 0.1
"""kMAC/px below which a part cannot be seen and is not in the legend."""
SPEEDS = (1, 10, 100)
"""Billions of MACs per second at which a line of equal speed is drawn."""


@styled
def macs_figure(sides: Mapping[str, Macs], pixels: int, limit: float, title: str) -> Figure:
    """Draw the MACs per pixel of each side (``encode``, ``decode``) as one bar, split into its parts.

    Parameters
    ----------
    pixels
        Pixels of the image that was coded.
    limit
        kMAC/px of the bound, drawn as a line.
    """
    figure, (axes,) = new_figure(title, (9.0, 4.1))
    starts = np.zeros(len(sides))
    for part, (name, colour) in PARTS.items():
        widths = np.array([macs.get(part, 0) / (1e3 * pixels) for macs in sides.values()])
        label = name if widths.max() >= VISIBLE else "_nolegend_"
        starts = _pieces(axes, range(len(sides)), starts, widths, colour, label, limit, 0.62)
    axes.axvline(limit, color=DARK, linestyle=DASHED, linewidth=1.2)
    write(axes, f"bound {limit:g}", (limit, 0.5))
    axes.set_yticks(range(len(sides)), [f"{side}\n{all_:.1f}" for side, all_ in zip(sides, starts, strict=True)])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set(xlabel="Thousands of MACs per pixel", xlim=(0, 1.14 * max(limit, starts.max())))
    legend_below(figure, axes, 3)
    return figure


@styled
def stages_figure(stages: pd.DataFrame, title: str, conditions: str = "") -> Figure:
    """Draw where encoding and decoding spend their time, each bar scaled to its own total, which stands beside it.

    ``stages`` holds rows of :func:`lab.complexity.tables.measure_costs` for one image size.
    """
    places = np.arange(len(stages)) + 0.5 * pd.factorize(stages.model)[0]  # a gap between two models
    figure, (axes,) = new_figure(title, (9.0, 1.7 + 0.42 * (places[-1] + 1)))
    starts, whole = np.zeros(len(stages)), stages[list(STAGES)].sum(axis=1)
    for stage, colour in zip(STAGES, STAGE_COLOURS, strict=True):
        share = 100 * (stages[stage] / whole).to_numpy()
        starts = _pieces(axes, places, starts, share, colour, stage, 100.0, 0.8, "{:.0f} %")
    for place, total in zip(places, stages.total, strict=True):
        write(axes, f"{total:.0f} ms" if total < 1000 else f"{total / 1e3:.1f} s", (100, place))
    axes.set_yticks(places, [f"{shown_name(row.model)}, {row.side}" for row in stages.itertuples()])
    axes.grid(axis="y", visible=False)
    axes.set(ylim=(places[-1] + 0.6, -0.6), xlim=(0, 114), xticks=range(0, 101, 20))
    axes.set_xlabel(f"Share of the time (%), beside it the median of the whole\n{conditions}".strip())
    legend_below(figure, axes, 4)
    return figure


def _pieces(
    axes: Axes, places: Sequence[float], starts: np.ndarray, widths: np.ndarray, colour: str, label: str, whole: float,
    thick: float, text: str = "{:.1f}",
) -> np.ndarray:  # fmt: skip
    """Add a piece to every bar, with its size where there is room for it; return where the bars end now."""
    bars = axes.barh(places, widths, thick, starts, color=colour, label=label)
    ink = "white" if np.mean(to_rgb(colour)) < 0.6 else DARK
    shown = [text.format(width) if width > NARROW * whole else "" for width in widths]
    axes.bar_label(bars, shown, label_type="center", color=ink, fontsize=11)
    return starts + widths


@styled
def growth_figure(table: pd.DataFrame, title: str, conditions: str) -> Figure:
    """Draw encode and decode time of a model over the number of pixels beside a line of time proportional to them."""
    pixels = megapixels(table)
    figure, (axes,) = new_figure(title, (9.0, 5.4))
    hollow = {"markersize": 11, "markerfacecolor": "none", "linestyle": DASHED}
    for side, colour, marker, look in (
        ("encode", PALETTE[0], "o", {"markersize": 7}), ("decode", PALETTE[1], "s", hollow),
    ):  # fmt: skip
        slope, *_ = growth(table, f"{side}_ms")
        text = f"{side}: {slope:.0f} ms per megapixel, by a line through all sizes"
        axes.plot(pixels, table[f"{side}_ms"], color=colour, marker=marker, label=text, **look)
    ends = np.array([pixels.min(), pixels.max()])
    usual = float(np.median(table.decode_ms / pixels))
    axes.plot(ends, usual * ends, color=GREY, linestyle=DOTTED, label="proportional to the pixels", zorder=1.5)
    axes.set(xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:,g}")
    axes.set(xlabel="Pixels (millions, logarithmic)", ylabel="Median time (ms, logarithmic)")
    axes.legend(loc="upper left")
    note(figure, conditions)
    return figure


@styled
def speed_figure(table: pd.DataFrame, title: str, conditions: str, ours: str) -> Figure:
    """Draw the time of decoding over its MACs, a dot for every model, between lines of equal MACs per second.

    ``table`` has rows of :func:`lab.complexity.tables.measure_costs` for one image size.
    """
    figure, (axes,) = new_figure(title, (9.0, 5.6))
    macs = table.kmac_px_decode * megapixels(table)  # billions: thousands a pixel, times millions of pixels
    ends = np.array([0.45 * macs.min(), 3.2 * macs.max()])
    bottom, top = 0.5 * table.decode_ms.min(), 2.2 * table.decode_ms.max()
    for speed in SPEEDS:
        axes.plot(ends, 1e3 * ends / speed, color=GREY, linestyle=DOTTED, linewidth=1.2, zorder=1)
    names = []
    for row, work in zip(table.itertuples(), macs, strict=True):
        main = row.model == ours
        axes.plot(work, row.decode_ms, "o", color=BLUE if main else GREY, markersize=11 if main else 9)
        text = f"{shown_name(row.model)}: {1e3 * work / row.decode_ms:.3g} GMAC/s"
        look = {"color": BLUE if main else FAINT, "fontweight": "bold" if main else "normal"}
        names.append(((work, row.decode_ms), text, look))
    plain_log(axes.xaxis)
    plain_log(axes.yaxis)
    axes.set(xlim=tuple(ends), ylim=(bottom, top))
    axes.set(xlabel="Multiplications of decoding ($10^9$, logarithmic)", ylabel="Median time (ms, logarithmic)")
    write_at_ends(axes, names)
    speeds = ", ".join(map(str, SPEEDS))
    note(figure, f"dotted: equal speed, {speeds} GMAC/s ($10^9$ multiplications per second); {conditions}")
    return figure


@styled
def landscape_figure(measured: pd.DataFrame, published: pd.DataFrame, title: str) -> Figure:
    """Draw parameters against MACs per pixel of one pass: dots counted here, squares published by others.

    Parameters
    ----------
    measured
        Columns model, params_m, kmac_px, and trained: whether there are weights. A model without is drawn hollow.
    published
        As :func:`lab.complexity.tables.published_complexity` returns it.
    """
    figure, (axes,) = new_figure(title, (9.0, 6.6))
    middle = (published.params_m_low + published.params_m_high) / 2
    spread = (published.params_m_high - published.params_m_low) / 2
    for trained, fill, text in ((True, BLUE, "counted here"), (False, "white", "counted here, untrained: no rate")):
        rows = measured[measured.trained == trained]
        look = {"color": BLUE, "markerfacecolor": fill, "markeredgewidth": 1.8, "zorder": 3}
        axes.plot(rows.params_m, rows.kmac_px, "o", markersize=9, label=text, **look)
    axes.errorbar(
        middle, published.kmac_px, xerr=spread, fmt="s", markersize=8, color=GREY, label="counted by others"
    )  # fmt: skip
    ours = [f"preset {name}" if name in PRESETS and not trained else shown_name(name)
            for name, trained in zip(measured.model, measured.trained, strict=True)]  # fmt: skip
    column = np.full(len(published), 1.5 * published.params_m_high.max())
    sides = ((ours, measured.params_m, measured.kmac_px, 0.72 * measured.params_m, "right", BLUE),
             (published.model, middle, published.kmac_px, column, "left", FAINT))  # fmt: skip
    for names, x, y, at, side, colour in sides:  # ours left of their dots, others in a column, no two in one place
        leader = {"arrowstyle": "-", "color": colour, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 4}
        look = {"textcoords": "data", "ha": side, "color": colour, "fontsize": 10, "arrowprops": leader}
        for name, px, py, left, level in zip(names, x, y, at, apart(np.log10(y), NAME_GAP), strict=True):
            write(axes, name, (px, py), (left, 10**level), **look)
    plain_log(axes.xaxis)
    plain_log(axes.yaxis)
    axes.set_xlim(0.2 * measured.params_m.min(), 7 * published.params_m_high.max())
    axes.set_ylim(0.6 * measured.kmac_px.min(), 1.8 * published.kmac_px.max())
    axes.set(xlabel="Parameters (millions, logarithmic)", ylabel="kMAC per pixel, one pass (logarithmic)")
    axes.legend(loc="upper left")
    return figure
