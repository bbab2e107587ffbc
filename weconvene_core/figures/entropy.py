"""What the entropy model does, as figures: order, maps of bits, subbands, the worth of context, promised bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from weconvene_core.evaluation.context_gains import PARTS
from weconvene_core.evaluation.slice_bits import CodedSlice
from weconvene_core.figures.style import GREY, PALETTE, style

BAR = 0.66
PART_NAMES = {
    "hyper": "saved by the hyperprior", "lf": "saved by decoded LF", "earlier": "saved by earlier slices",
    "luma": "saved by the slice's luma",
}  # fmt: skip
PART_COLOURS = {"hyper": PALETTE[3], "lf": PALETTE[4], "earlier": PALETTE[2], "luma": PALETTE[5]}


def order_figure(pictures: Mapping[str, NDArray[np.uint8]], title: str) -> Figure:
    """Draw what the decoder can show after more and more slices; each heading says how many and at what cost."""
    height, width = next(iter(pictures.values())).shape[:2]
    with style():
        figure, cells = _grid(len(pictures), height / width, title)
        for axes, (heading, picture) in zip(cells, pictures.items(), strict=True):
            axes.imshow(picture)
            axes.set_title(heading, fontsize=10.5)
    return figure


def maps_figure(picture: NDArray[np.uint8], slices: Sequence[CodedSlice], title: str) -> Figure:
    """Draw the picture, then where each slice spends its bits, all on one colour scale (bits per pixel)."""
    height, width = picture.shape[:2]
    highest = max(float(np.quantile(s.per_pixel, 0.99)) for s in slices)
    scale = PowerNorm(0.5, vmin=0.0, vmax=highest)  # a square root shows cheap slices beside dear ones
    with style():
        figure, cells = _grid(1 + len(slices), height / width, title)
        cells[0].imshow(picture)
        cells[0].set_title("picture", fontsize=10.5)
        for axes, coded in zip(cells[1:], slices, strict=True):
            rows, columns = coded.per_pixel.shape
            extent = (0, columns * coded.stride, rows * coded.stride, 0)
            shown = axes.imshow(coded.per_pixel, cmap="magma", norm=scale, extent=extent, interpolation="nearest")
            axes.set_xlim(0, width)  # without the padding
            axes.set_ylim(height, 0)
            axes.set_title(f"{coded.name}: {coded.total / (height * width):.3f} bpp", fontsize=10.5)
        bar = figure.colorbar(shown, ax=cells, location="bottom", shrink=0.5, aspect=45, extend="max")
        bar.set_label("bits per pixel spent here (square-root scale)")
    return figure


def _grid(count: int, ratio: float, title: str) -> tuple[Figure, list[Axes]]:
    """A grid of empty cells for photographs of one shape; spare cells are removed."""
    columns = 3 if count <= 6 else 5
    rows = -(-count // columns)
    figure = Figure(figsize=(12.0, rows * (12.0 / columns * ratio + 0.35) + 1.0), layout="constrained")
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
        table: rows of :func:`weconvene_core.evaluation.slice_bits.subband_table`, coarsest subband first.
        title: heading; say which picture and quality.
    """
    low = table.subband.str.startswith("LL")
    colours = np.where(low, PALETTE[1], PALETTE[0])
    with style():
        figure = Figure(figsize=(11.0, 1.6 + 0.3 * len(table)), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        left.barh(table.subband, 100 * table.bpp / table.bpp.sum(), BAR, color=colours)
        left.set_xlabel("Share of the rate (%)")
        right.scatter(table.bits_per_coefficient, table.subband, 70, color=colours, zorder=3)
        right.set_xscale("log")
        right.set_xlabel("Bits per coefficient (logarithmic)")
        left.invert_yaxis()
        for axes in (left, right):
            axes.grid(axis="y", visible=False)
        figure.suptitle(title, x=0.005, ha="left", fontsize=14)
    return figure


def context_figure(table: pd.DataFrame, title: str) -> Figure:
    """Draw per slice the bits that it costs and, on top, those that each part of its context saves.

    Args:
        table: means of :func:`weconvene_core.evaluation.context_gains.context_gains`, slices in coding order. Savings
            below zero are drawn as nothing; the table keeps them.
        title: heading; say which pictures and quality.
    """
    with style():
        figure = Figure(figsize=(10.0, 1.9 + 0.42 * len(table)), layout="constrained")
        axes = figure.add_subplot()
        axes.barh(table["slice"], table.bpp, BAR, color=PALETTE[0], label="spent")
        starts = table.bpp.to_numpy()
        for part in [part for part in PARTS if table[f"saved_by_{part}"].any()]:
            saved = table[f"saved_by_{part}"].clip(lower=0).to_numpy()
            axes.barh(table["slice"], saved, BAR, starts, color=PART_COLOURS[part], alpha=0.75, label=PART_NAMES[part])
            starts = starts + saved
        for i, (total, spent) in enumerate(zip(starts, table.bpp, strict=True)):
            share = f"{round(100 * (spent / total - 1))} %"
            axes.annotate(share, (total, i), (6, 0), textcoords="offset points", va="center")
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set_xlim(0, 1.12 * starts.max())
        axes.set_xlabel("Bits per pixel; the whole bar is what the slice would cost without any context")
        figure.suptitle(title, x=0.005, ha="left", fontsize=14)
        figure.legend(loc="outside lower center", ncols=3)
    return figure


def promise_figure(table: pd.DataFrame, title: str) -> Figure:
    """Draw how many bytes more than promised each stream takes.

    Args:
        table: columns ``stream``, ``estimate`` and ``bytes``, one row per picture, quality and stream.
        title: heading; say which pictures.
    """
    looks = {"y_lf": ("y, LF slices", PALETTE[1], "o"), "y_hf": ("y, HF slices", PALETTE[0], "s")}
    looks["z"] = ("z", GREY, "^")
    with style():
        figure = Figure(figsize=(9.0, 4.6), layout="constrained")
        axes = figure.add_subplot()
        for stream, (name, colour, marker) in looks.items():
            rows = table[table.stream == stream]
            axes.plot(rows.estimate, rows.bytes - rows.estimate, marker, color=colour, label=name, alpha=0.8)
        promised = np.geomspace(table.estimate.min(), table.estimate.max(), 100)
        bound = 0.01 * promised + 64
        axes.plot(promised, bound, color="#333333", linestyle=(0, (5, 3)), linewidth=1.2)
        axes.annotate("1 % + 64 bytes", (promised[-1], bound[-1]), (-12, 0), textcoords="offset points", ha="right")
        axes.set_xscale("log")
        axes.set_xlabel("Promised by the likelihoods (bytes, logarithmic)")
        axes.set_ylabel("Real bytes above the promise")
        axes.set_title(title)
        axes.legend(loc="upper left")
    return figure
