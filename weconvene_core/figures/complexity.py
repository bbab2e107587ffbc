"""What the codec costs, as figures: MACs by part, time by stage, growth with the image, and the field around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from weconvene_core.evaluation.by_hand import FOLDING, OUTSIDE, Macs
from weconvene_core.evaluation.costs import growth, megapixels
from weconvene_core.evaluation.latency import STAGES
from weconvene_core.figures.style import GREY, PALETTE, style

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
BAR = 0.62
NARROW = 0.06
"""A piece of a bar below this share of its axis is left without a number."""
NEAR = 0.4  # names as close as this in both logarithms run into each other
CLOSE = 0.12
"""Points whose vertical logarithmic distance is smaller stand in each other's way."""


def macs_figure(sides: Mapping[str, Macs], pixels: int, limit: float, title: str) -> Figure:
    """Draw the MACs per pixel of each side (``encode``, ``decode``) as one bar, split into its parts.

    Args:
        sides: MACs by part for every bar, in order from top to bottom.
        pixels: pixels of the image that was coded.
        limit: kMAC/px of the bound, drawn as a line.
        title: what was counted.
    """
    with style():
        figure = Figure(figsize=(9.0, 3.9), layout="constrained")
        axes = figure.add_subplot()
        starts = np.zeros(len(sides))
        for part, (name, colour) in PARTS.items():
            widths = np.array([macs.get(part, 0) / (1e3 * pixels) for macs in sides.values()])
            axes.barh(range(len(sides)), widths, BAR, starts, color=colour, label=name)
            _numbers(axes, starts, widths, limit)
            starts = starts + widths
        axes.axvline(limit, color="#333333", linestyle=(0, (5, 3)), linewidth=1.2)
        axes.annotate(f"bound {limit:g}", (limit, 0.5), (5, 0), textcoords="offset points", va="center")
        labels = [f"{side}\n{total:.1f} in all" for side, total in zip(sides, starts, strict=True)]
        _frame_bars(axes, labels, title, "Thousands of MACs per pixel")
        axes.set_xlim(0, 1.14 * max(limit, starts.max()))
        figure.legend(loc="outside lower center", ncols=3)
    return figure


def stages_figure(stages: pd.DataFrame, image: str) -> Figure:
    """Draw where encoding and decoding spend their time, each bar scaled to its own total, which stands beside it.

    Args:
        stages: rows of :func:`weconvene_core.evaluation.costs.measure_costs` for one image size.
        image: what was coded, for the title.
    """
    labels = [f"{row.model}, {row.side}" for row in stages.itertuples()]
    with style():
        figure = Figure(figsize=(9.0, 1.9 + 0.5 * len(stages)), layout="constrained")
        axes = figure.add_subplot()
        starts = np.zeros(len(stages))
        for stage, colour in zip(STAGES, STAGE_COLOURS, strict=True):
            share = 100 * (stages[stage] / stages[list(STAGES)].sum(axis=1)).to_numpy()
            axes.barh(range(len(stages)), share, BAR, starts, color=colour, label=stage)
            _numbers(axes, starts, share, 100.0, "{:.0f} %")
            starts = starts + share
        for i, total in enumerate(stages.total):
            axes.annotate(_milliseconds(total), (100, i), (8, 0), textcoords="offset points", va="center")
        figure.suptitle(f"Where the time goes: {image}", x=0.005, ha="left", fontsize=14)
        _frame_bars(axes, labels, "", "Share of the time (%); beside it the median in all")
        axes.set_xlim(0, 114)
        axes.set_xticks(range(0, 101, 20))
        figure.legend(loc="outside lower center", ncols=4)
    return figure


def growth_figure(table: pd.DataFrame, name: str, conditions: str) -> Figure:
    """Draw encode and decode time over the number of pixels, with the line of least squares through each.

    Args:
        table: rows of one model at several sizes.
        name: the model.
        conditions: threads and device, for the title.
    """
    pixels = megapixels(table)
    with style():
        figure = Figure(figsize=(9.0, 4.8), layout="constrained")
        axes = figure.add_subplot()
        ends = np.array([0.0, 1.06 * pixels.max()])
        for side, colour, marker in (("encode", PALETTE[0], "o"), ("decode", PALETTE[1], "s")):
            slope, start, fit = growth(table, f"{side}_ms")
            axes.plot(ends, slope * ends + start, color=colour, linewidth=1.2, alpha=0.7)
            text = f"{side}: {slope:.0f} ms per megapixel, R² = {fit:.4f}"
            axes.plot(pixels, table[f"{side}_ms"], marker, color=colour, markersize=8, label=text)
        axes.set_xlim(0, ends[1])
        axes.set_ylim(0, None)
        axes.set_xlabel("Pixels (millions)")
        axes.set_ylabel("Median time (ms)")
        axes.set_title(f"{name}: time over image size ({conditions})")
        axes.legend(loc="upper left")
    return figure


def landscape_figure(measured: pd.DataFrame, published: pd.DataFrame) -> Figure:
    """Draw parameters against MACs per pixel of one pass: measured here filled, published by others hollow.

    Args:
        measured: columns model, params_m, kmac_px.
        published: as :func:`weconvene_core.evaluation.costs.published_complexity` returns it.
    """
    with style():
        figure = Figure(figsize=(9.0, 5.6), layout="constrained")
        axes = figure.add_subplot()
        middle = (published.params_m_low + published.params_m_high) / 2
        spread = (published.params_m_high - published.params_m_low) / 2
        axes.errorbar(
            middle, published.kmac_px, xerr=spread, fmt="o", markersize=8, color=GREY, markerfacecolor="white",
            markeredgewidth=1.6, label="published by others",
        )  # fmt: skip
        axes.plot(measured.params_m, measured.kmac_px, "o", color=PALETTE[0], markersize=9, label="counted in this run")
        names = [*published.model, *measured.model]
        points = list(zip([*middle, *measured.params_m], [*published.kmac_px, *measured.kmac_px], strict=True))
        _name_points(axes, names, points, ["#555555"] * len(published) + [PALETTE[0]] * len(measured))
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(0.3 * measured.params_m.min(), 2.4 * published.params_m_high.max())
        axes.set_ylim(0.6 * measured.kmac_px.min(), 1.8 * published.kmac_px.max())
        axes.set_xlabel("Parameters (millions, logarithmic)")
        axes.set_ylabel("kMAC per pixel, one pass (logarithmic)")
        axes.set_title("Size and arithmetic of learned image codecs")
        axes.legend(loc="upper left")
    return figure


def _name_points(
    axes: Axes, names: Sequence[str], points: Sequence[tuple[float, float]], colours: Sequence[str]
) -> None:
    """Write each name to the right of its point, or to the left of it and off a neighbour where one is near."""
    for name, (at_x, at_y), colour in zip(names, points, colours, strict=True):
        crowded = any(other_x > at_x and abs(np.log(at_y / other_y)) < CLOSE for other_x, other_y in points)
        near = [y for x, y in points if np.hypot(np.log(at_x / x), np.log(at_y / y)) < NEAR]
        rise = 6 * np.sign(sum(np.sign(at_y - y) for y in near))
        look = {"ha": "right" if crowded else "left", "va": "center", "color": colour, "fontsize": 11}
        axes.annotate(name, (at_x, at_y), (-9 if crowded else 9, rise), textcoords="offset points", **look)


def _numbers(axes: Axes, starts: Sequence[float], widths: Sequence[float], whole: float, text: str = "{:.1f}") -> None:
    """Write each piece's size into it where there is room."""
    for i, (start, width) in enumerate(zip(starts, widths, strict=True)):
        if width > NARROW * whole:
            look = {"ha": "center", "va": "center", "color": "white", "fontsize": 11}
            axes.annotate(text.format(width), (start + width / 2, i), **look)


def _frame_bars(axes: Axes, labels: Sequence[str], title: str, xlabel: str) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_title(title)
    axes.set_xlabel(xlabel)


def _milliseconds(value: float) -> str:
    return f"{value:.0f} ms" if value < 1000 else f"{value / 1e3:.1f} s"
