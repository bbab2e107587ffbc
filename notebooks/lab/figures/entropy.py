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
from lab.figures.style import DARK, DASHED, GREY, PALETTE, legend_below, new_figure, styled, write

BAR = 0.66
PART_LOOKS = {
    "hyper": ("the hyperprior", PALETTE[3]), "lf": ("decoded LF", PALETTE[4]),
    "earlier": ("earlier slices", PALETTE[2]), "luma": ("the slice's luma", PALETTE[5]),
}  # fmt: skip
WORTH_A_WORD = 0.01
"""Losses below this share of the slice are not named beside it."""
STREAMS = {"y_lf": ("y, LF slices", PALETTE[1]), "y_hf": ("y, HF slices", PALETTE[0]), "z": ("z", GREY)}
MARKERS = ("o", "^", "D", "v", "P", "X", "*", "s")  # of the qualities in rising order
ALLOWED_SHARE, ALLOWED_BYTES = 0.01, 64
"""What the tests let a file be longer than its likelihoods promise."""


@styled
def order_figure(pictures: Mapping[str, NDArray[np.uint8]], title: str) -> Figure:
    """Draw what the decoder can show after more and more slices; each heading says how many and at what cost."""
    figure, cells = _grid(len(pictures), next(iter(pictures.values())).shape, title)
    for axes, (heading, picture) in zip(cells, pictures.items(), strict=True):
        axes.imshow(picture)
        axes.set_title(heading, fontsize=10.5, pad=4)
    return figure


@styled
def maps_figure(picture: NDArray[np.uint8], slices: Sequence[CodedSlice], title: str) -> Figure:
    """Draw the picture, then where each slice spends its bits, all on one colour scale (bits per pixel)."""
    height, width = picture.shape[:2]
    highest = max(float(np.quantile(s.per_pixel, 0.99)) for s in slices)
    scale = PowerNorm(0.5, vmin=0.0, vmax=highest)  # a square root shows cheap slices beside dear ones
    figure, cells = _grid(1 + len(slices), picture.shape, title, below=0.85)
    cells[0].imshow(picture)
    cells[0].set_title("picture", fontsize=10.5, pad=4)
    for axes, coded in zip(cells[1:], slices, strict=True):
        rows, columns = coded.per_pixel.shape
        extent = (0, columns * coded.stride, rows * coded.stride, 0)
        shown = axes.imshow(coded.per_pixel, cmap="magma", norm=scale, extent=extent, interpolation="nearest")
        axes.set(xlim=(0, width), ylim=(height, 0))  # without the padding
        axes.set_title(f"{coded.name}: {coded.total / (height * width):.3f} bpp", fontsize=10.5, pad=4)
    bar = figure.colorbar(shown, ax=cells, location="bottom", shrink=0.5, aspect=45, extend="max")
    bar.set_label("bits per pixel spent here (square-root scale)")
    return figure


def _grid(count: int, shape: Sequence[int], title: str, below: float = 0.0) -> tuple[Figure, list[Axes]]:
    """Return a figure of empty cells for photographs of one shape, with ``below`` inches under them."""
    columns = 3 if count <= 6 else 4
    rows = -(-count // columns)
    height = 0.35 + rows * (12.0 / columns * shape[0] / shape[1] + 0.3) + below
    figure, cells = new_figure(title, (12.0, height), rows, columns)
    for axes in cells:
        axes.set_axis_off()
    for spare in cells[count:]:
        spare.remove()
    return figure, cells[:count]


@styled
def subbands_figure(table: pd.DataFrame, title: str) -> Figure:
    """Draw every subband's share of the rate, and what one of its coefficients costs.

    ``table`` holds rows of :func:`lab.entropy_analysis.slice_bits.subband_table`, coarsest subband first.
    """
    looks = {"LL: the thumbnail that all details refine": PALETTE[1], "details": PALETTE[0]}
    colours = np.where(table.subband.str.startswith("LL"), *looks.values())
    figure, (left, right) = new_figure(title, (11.0, 2.0 + 0.3 * len(table)), columns=2, sharey=True)
    left.barh(table.subband, 100 * table.bpp / table.bpp.sum(), BAR, color=colours)
    left.set(xlabel="Share of the rate (%)", ylabel="Subband, coarsest first")
    right.scatter(table.bits_per_coefficient, table.subband, 70, color=colours, zorder=3)
    right.set(xscale="log", xlabel="Bits per coefficient (logarithmic)")
    left.invert_yaxis()
    left.margins(y=0.02)
    for axes in (left, right):
        axes.grid(axis="y", visible=False)
    legend_below(figure, [Patch(color=colour, label=name) for name, colour in looks.items()], 2)
    return figure


@styled
def context_figure(table: pd.DataFrame, title: str) -> Figure:
    """Draw per slice the bits that it costs and, on top, those that each part of its context saves.

    A row's mark, what it would cost without any context, is the end of its bar. A part that costs bits instead is the
    hatched piece beyond that mark: the other parts save that much again.

    ``table`` holds means of :func:`lab.entropy_analysis.context_ablation.context_gains`, slices in coding order.
    """
    parts = [part for part in PARTS if table[f"saved_by_{part}"].any()]
    saved = table[[f"saved_by_{part}" for part in parts]].set_axis(parts, axis=1)
    without, losses = table.bpp + saved.sum(axis=1), -saved.clip(upper=0).sum(axis=1)
    figure, (axes,) = new_figure(title, (10.0, 2.1 + 0.42 * len(table)))
    axes.barh(table["slice"], table.bpp, BAR, color=PALETTE[0], label="spent")
    starts = table.bpp
    for part in reversed(parts):
        (name, colour), widths = PART_LOOKS[part], saved[part].clip(lower=0)
        axes.barh(table["slice"], widths, BAR, starts, color=colour, alpha=0.75, label=f"saved by {name}")
        starts = starts + widths
    look = {"facecolor": "#FFFFFFB0", "edgecolor": DARK, "linewidth": 0.8, "hatch": "/////"}
    axes.barh(table["slice"], losses, BAR, without, label="lost by a part of the context", **look)
    axes.vlines(without, np.arange(len(table)) - 0.45, np.arange(len(table)) + 0.45, color=DARK)
    for i, row in table.reset_index(drop=True).iterrows():
        cost = {part: -row[f"saved_by_{part}"] for part in parts}
        lost = [f"; {PART_LOOKS[p][0]} costs {c:.3f}" for p, c in cost.items() if c > WORTH_A_WORD * row.bpp]
        write(axes, f"{100 * (row.bpp / without.iloc[i] - 1):.0f} %{''.join(lost)}", (starts.iloc[i], i))
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlim(0, 1.12 * starts.max())
    axes.set_xlabel("Bits per pixel. Mark: the slice without any context; -x %: what all context saves of that")
    legend_below(figure, axes, 3)
    return figure


@styled
def promise_figure(table: pd.DataFrame, title: str) -> Figure:
    """Draw by how many percent each stream is longer than promised, below the bound that the tests enforce.

    ``table`` has columns ``stream``, ``estimate``, ``bytes`` and ``quality``, one row per picture, quality and stream.
    """
    excess = 100 * (table.bytes / table.estimate - 1)
    marked = dict(zip(sorted(table.quality.unique()), MARKERS, strict=False))
    figure, (axes,) = new_figure("", (9.0, 5.0))
    for (stream, quality), rows in table[table.quality.isin(marked)].groupby(["stream", "quality"], sort=False):
        look = {"color": STREAMS[stream][1], "markersize": 7, "alpha": 0.8}
        axes.plot(rows.estimate, excess[rows.index], marked[quality], **look)
    ends = np.geomspace(table.estimate.min(), table.estimate.max(), 100)
    bound = 100 * (ALLOWED_SHARE + ALLOWED_BYTES / ends)
    axes.plot(ends, bound, color=DARK, linestyle=DASHED, linewidth=1.2)
    text = f"allowed: {100 * ALLOWED_SHARE:g} % + {ALLOWED_BYTES} bytes (of whole files)"
    write(axes, text, (ends[33], bound[33]), (6, 8))
    axes.set_xscale("log")
    axes.set_yscale("symlog", linthresh=0.1, linscale=0.4)  # a stream may come out shorter than promised
    axes.set_ylim(bottom=min(0.0, 1.5 * excess.min()))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set(xlabel="Promised by the likelihoods (bytes, logarithmic)", title=title)
    axes.set_ylabel("Bytes above the promise (%, logarithmic)")
    marks = {name: ("s", colour) for name, colour in STREAMS.values()}
    marks |= {f"quality {quality:g}": (marker, GREY) for quality, marker in marked.items()}
    entries = [Line2D([], [], marker=m, linestyle="", color=c, label=name) for name, (m, c) in marks.items()]
    legend_below(figure, entries, len(entries))
    return figure
