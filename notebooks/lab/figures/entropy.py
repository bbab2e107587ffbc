"""What the entropy model does, as figures: order, maps of bits, subbands, the worth of context, promised bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from lab.entropy_analysis.context_ablation import PARTS
from lab.entropy_analysis.slice_bits import CodedSlice
from lab.figures.style import GREY, PALETTE, style

BAR = 0.66
WIDTH, TITLE, HEADING_HEIGHT, COLOUR_BAR = 12.0, 0.35, 0.3, 0.85  # inches
HEADING = {"fontsize": 10.5, "pad": 4.0}
PART_NAMES = {
    "hyper": "saved by the hyperprior", "lf": "saved by decoded LF", "earlier": "saved by earlier slices",
    "luma": "saved by the slice's luma",
}  # fmt: skip
DARK = "#333333"
WORTH_A_WORD = 0.01
"""Losses below this share of the slice are not named beside it."""
STREAMS = {"y_lf": ("y, LF slices", PALETTE[1]), "y_hf": ("y, HF slices", PALETTE[0]), "z": ("z", GREY)}
MARKERS = ("o", "^", "D", "v", "P", "X", "*", "s")  # of the qualities in rising order
ALLOWED_SHARE, ALLOWED_BYTES = 0.01, 64
"""What the tests let a file be longer than its likelihoods promise."""
PART_COLOURS = {"hyper": PALETTE[3], "lf": PALETTE[4], "earlier": PALETTE[2], "luma": PALETTE[5]}


def order_figure(pictures: Mapping[str, NDArray[np.uint8]], title: str) -> Figure:
    """Draw what the decoder can show after more and more slices; each heading says how many and at what cost."""
    height, width = next(iter(pictures.values())).shape[:2]
    with style():
        figure, cells = _grid(len(pictures), height / width, title)
        for axes, (heading, picture) in zip(cells, pictures.items(), strict=True):
            axes.imshow(picture)
            axes.set_title(heading, **HEADING)
    return figure


def maps_figure(picture: NDArray[np.uint8], slices: Sequence[CodedSlice], title: str) -> Figure:
    """Draw the picture, then where each slice spends its bits, all on one colour scale (bits per pixel)."""
    height, width = picture.shape[:2]
    highest = max(float(np.quantile(s.per_pixel, 0.99)) for s in slices)
    scale = PowerNorm(0.5, vmin=0.0, vmax=highest)  # a square root shows cheap slices beside dear ones
    with style():
        figure, cells = _grid(1 + len(slices), height / width, title, COLOUR_BAR)
        cells[0].imshow(picture)
        cells[0].set_title("picture", **HEADING)
        for axes, coded in zip(cells[1:], slices, strict=True):
            rows, columns = coded.per_pixel.shape
            extent = (0, columns * coded.stride, rows * coded.stride, 0)
            shown = axes.imshow(coded.per_pixel, cmap="magma", norm=scale, extent=extent, interpolation="nearest")
            axes.set_xlim(0, width)  # without the padding
            axes.set_ylim(height, 0)
            axes.set_title(f"{coded.name}: {coded.total / (height * width):.3f} bpp", **HEADING)
        bar = figure.colorbar(shown, ax=cells, location="bottom", shrink=0.5, aspect=45, extend="max")
        bar.set_label("bits per pixel spent here (square-root scale)")
    return figure


def _grid(count: int, ratio: float, title: str, below: float = 0.0) -> tuple[Figure, list[Axes]]:
    """A grid of empty cells for photographs of one shape, as high as they and ``below`` inches; spare cells go."""
    columns = 3 if count <= 6 else 4
    rows = -(-count // columns)
    height = TITLE + rows * (WIDTH / columns * ratio + HEADING_HEIGHT) + below
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    cells = list(figure.subplots(rows, columns, squeeze=False).flat)
    for spare in cells[count:]:
        spare.remove()
    for axes in cells[:count]:
        axes.set_axis_off()
    figure.suptitle(title, x=0.005, ha="left", fontsize=14)
    return figure, cells[:count]


def subbands_figure(table: pd.DataFrame, title: str) -> Figure:
    """Draw every subband's share of the rate, and what one of its coefficients costs.

    Args:
        table: rows of :func:`lab.entropy_analysis.slice_bits.subband_table`, coarsest subband first.
        title: heading; say which picture and quality.
    """
    low = table.subband.str.startswith("LL")
    looks = {"LL: the thumbnail that all details refine": PALETTE[1], "details": PALETTE[0]}
    colours = np.where(low, *looks.values())
    with style():
        figure = Figure(figsize=(11.0, 2.0 + 0.3 * len(table)), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        left.barh(table.subband, 100 * table.bpp / table.bpp.sum(), BAR, color=colours)
        left.set_xlabel("Share of the rate (%)")
        left.set_ylabel("Subband, coarsest first")
        right.scatter(table.bits_per_coefficient, table.subband, 70, color=colours, zorder=3)
        right.set_xscale("log")
        right.set_xlabel("Bits per coefficient (logarithmic)")
        left.invert_yaxis()
        left.margins(y=0.02)
        for axes in (left, right):
            axes.grid(axis="y", visible=False)
        figure.suptitle(title, x=0.005, ha="left", fontsize=14)
        patches = [Patch(color=colour, label=name) for name, colour in looks.items()]
        figure.legend(handles=patches, loc="outside lower center", ncols=2)
    return figure


def context_figure(table: pd.DataFrame, title: str) -> Figure:
    """Draw per slice the bits that it costs and, on top, those that each part of its context saves.

    The pieces lie as they were given back, from the right to the left, so a row's mark, what it would cost without any
    context, is the end of its bar. A part that costs bits instead is the hatched piece beyond that mark: so much the
    other parts save again.

    Args:
        table: means of :func:`lab.entropy_analysis.context_ablation.context_gains`, slices in coding order.
        title: heading; say which pictures and quality.
    """
    parts = [part for part in PARTS if table[f"saved_by_{part}"].any()]
    saved = table[[f"saved_by_{part}" for part in parts]].set_axis(parts, axis=1)
    without, losses = table.bpp + saved.sum(axis=1), -saved.clip(upper=0).sum(axis=1)
    with style():
        figure = Figure(figsize=(10.0, 2.1 + 0.42 * len(table)), layout="constrained")
        axes = figure.add_subplot()
        axes.barh(table["slice"], table.bpp, BAR, color=PALETTE[0], label="spent")
        starts = table.bpp
        for part in reversed(parts):
            widths = saved[part].clip(lower=0)
            axes.barh(table["slice"], widths, BAR, starts, color=PART_COLOURS[part], alpha=0.75, label=PART_NAMES[part])
            starts = starts + widths
        look = {"facecolor": "#FFFFFFB0", "edgecolor": DARK, "linewidth": 0.8, "hatch": "/////"}
        axes.barh(table["slice"], losses, BAR, without, label="lost by a part of the context", **look)
        axes.vlines(without, np.arange(len(table)) - 0.45, np.arange(len(table)) + 0.45, color=DARK, linewidth=2)
        for i, row in table.reset_index(drop=True).iterrows():
            text = f"{100 * (row.bpp / without.iloc[i] - 1):.0f} %{_lost(row, parts)}"
            axes.annotate(text, (starts.iloc[i], i), (8, 0), textcoords="offset points", va="center")
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set_xlim(0, 1.12 * starts.max())
        axes.set_xlabel("Bits per pixel. Mark: the slice without any context; -x %: what all context saves of that")
        figure.suptitle(title, x=0.005, ha="left", fontsize=14)
        figure.legend(loc="outside lower center", ncols=3)
    return figure


def _lost(row: pd.Series, parts: Sequence[str]) -> str:
    """Name the parts of a slice's context that cost bits worth a word."""
    lost = [part for part in parts if row[f"saved_by_{part}"] < -WORTH_A_WORD * row.bpp]
    return "".join(f"; {PART_NAMES[p].removeprefix('saved by ')} costs {-row[f'saved_by_{p}']:.3f}" for p in lost)


def promise_figure(table: pd.DataFrame, title: str) -> Figure:
    """Draw by how many percent each stream is longer than promised, below the bound that the tests enforce.

    Args:
        table: columns ``stream``, ``estimate``, ``bytes`` and ``quality``, one row per picture, quality and stream.
        title: heading; say which pictures.
    """
    excess = 100 * (table.bytes / table.estimate - 1)
    qualities = sorted(table.quality.unique())
    with style():
        figure = Figure(figsize=(9.0, 5.0), layout="constrained")
        axes = figure.add_subplot()
        for stream, (_, colour) in STREAMS.items():
            for quality, marker in zip(qualities, MARKERS, strict=False):
                rows = table[(table.stream == stream) & (table.quality == quality)]
                axes.plot(rows.estimate, excess[rows.index], marker, color=colour, markersize=7, alpha=0.8)
        ends = np.geomspace(table.estimate.min(), table.estimate.max(), 100)
        axes.plot(ends, 100 * (ALLOWED_SHARE + ALLOWED_BYTES / ends), color=DARK, linestyle=(0, (5, 3)), linewidth=1.2)
        text = f"allowed: {100 * ALLOWED_SHARE:g} % + {ALLOWED_BYTES} bytes (of whole files)"
        at = ends[len(ends) // 3]
        axes.annotate(text, (at, 100 * (ALLOWED_SHARE + ALLOWED_BYTES / at)), (6, 4), textcoords="offset points")
        axes.set_xscale("log")
        # linear below 0.1, because a stream may come out shorter than promised
        axes.set_yscale("symlog", linthresh=0.1, linscale=0.4)
        axes.set_ylim(bottom=min(0.0, 1.5 * excess.min()))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("Promised by the likelihoods (bytes, logarithmic)")
        axes.set_ylabel("Bytes above the promise (%, logarithmic)")
        axes.set_title(title)
        marks = {name: ("s", colour) for name, colour in STREAMS.values()}
        marks |= {f"quality {q:g}": (marker, GREY) for q, marker in zip(qualities, MARKERS, strict=False)}
        looks = [Line2D([], [], marker=m, linestyle="", color=c, label=name) for name, (m, c) in marks.items()]
        figure.legend(handles=looks, loc="outside lower center", ncols=len(looks))
    return figure
