"""What the entropy model does, as figures: likelihoods, order, maps of bits, subbands, the worth of context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from torch import Tensor

from lab.entropy_analysis.context_ablation import PARTS
from lab.entropy_analysis.slice_bits import Call, CodedSlice
from lab.figures.style import (
    DARK,
    GREEN,
    HF_COLOUR,
    LF_COLOUR,
    PINK,
    SKY,
    VERMILION,
    Z_COLOUR,
    legend_below,
    new_figure,
    styled,
    write,
)
from weconvene_core.entropy.distributions import laplace_likelihood

BAR = 0.66
PART_LOOKS = {
    "bpp": ("spent", "#C4C4C4", ""), "saved_by_hyper": ("saved by the hyperprior", Z_COLOUR, "..."),
    "saved_by_lf": ("saved by decoded LF", LF_COLOUR, ""),
    "saved_by_earlier": ("saved by earlier slices", PINK, "xx"),
    "saved_by_luma": ("saved by the slice's luma", SKY, "\\\\"),
}  # fmt: skip
"""Colour and hatch of what is spent and of every prior."""
WORTH_A_WORD = 4.0
"""Percent: smaller parts of a bar have no number."""


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

    ``table`` holds rows of :func:`lab.entropy_analysis.slice_bits.subband_table` for a model with the shortcut, whose
    HF slices hold level 1, coarsest subband first.
    """
    looks = {"coded in LF slices": LF_COLOUR, "coded in HF slices": HF_COLOUR}
    colours = np.where(table.subband.str.endswith("1"), *reversed(looks.values()))
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
    """Draw of what the bits of LL, LF and HF slices would be without context how much each prior saves, in percent.

    A prior that costs bits lies left of zero, hatched; the other parts then make up for it.

    ``table`` holds means of :func:`lab.entropy_analysis.context_ablation.context_gains`, slices in coding order.
    """
    groups = table["slice"].str[:2]  # LL, LF, HF
    sums = table.groupby(groups, sort=False)[["bpp", *(f"saved_by_{part}" for part in PARTS)]].sum()
    shares = 100 * sums.div(sums.sum(axis=1), axis=0)
    figure, (axes,) = new_figure(title, (10.0, 1.9 + 0.75 * len(shares)))
    starts = np.zeros(len(shares))
    for column, (name, colour, hatch) in PART_LOOKS.items():
        widths = shares[column].to_numpy()
        gains = widths.clip(min=0)
        look = {"facecolor": colour, "edgecolor": "white", "hatch": hatch, "linewidth": 1.0}
        axes.barh(shares.index, gains, BAR, starts, label=name, **look)
        axes.barh(shares.index, widths.clip(max=0), BAR, color="white", edgecolor=colour, hatch="////")
        for row, (start, gain) in enumerate(zip(starts, gains, strict=True)):
            if gain >= WORTH_A_WORD:
                box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5, "alpha": 0.85}
                axes.text(start + gain / 2, row, f"{gain:.0f}", ha="center", va="center", fontsize=12, bbox=box)
        starts = starts + gains
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlim(min(0.0, 1.3 * shares.to_numpy().min()), starts.max())
    axes.set_xlabel("Percent of the bits that the best fixed distribution would need")
    legend_below(figure, axes, 3)
    return figure


@styled
def interval_figure(scale: float, residual: int) -> Figure:
    """Draw a Laplacian with the unit interval of one residual, and what residuals cost at three scales."""
    figure, (density, cost) = new_figure("A likelihood is an area; its logarithm is a price", (11.0, 4.4), columns=2)
    x = np.linspace(-5.5, 5.5, 1101)
    curve = np.exp(-np.sqrt(2) * np.abs(x) / scale) / (np.sqrt(2) * scale)
    inside = np.abs(x - residual) <= 0.5
    density.plot(x, curve, color=DARK)
    density.fill_between(x[inside], curve[inside], color=VERMILION, alpha=0.6)
    chance = float(laplace_likelihood(torch.tensor(float(residual)), torch.tensor(scale)))
    said = f"P({residual}) = {chance:.3f}\n{-np.log2(chance):.2f} bits"
    write(density, said, (residual, curve[np.argmin(np.abs(x - residual))]), (6, 22), color=VERMILION)
    density.set(xticks=range(-5, 6), xlabel="Residual r = round(y - mean)", ylabel=f"Density, scale {scale:g}")
    values = torch.arange(8.0)
    for wide, colour, marker in ((0.3, GREEN, "o"), (scale, DARK, "s"), (4.0, PINK, "^")):
        bits = -laplace_likelihood(values, torch.full_like(values, wide)).log2()
        cost.plot(values, bits, color=colour, marker=marker, label=f"scale {wide:g}")
    cost.set(ylim=(0, 24), xlabel="|r|", ylabel="Cost (bits)")
    cost.legend(loc="upper left")
    return figure


@styled
def channel_figure(call: Call, channel: int, title: str) -> Figure:
    """Draw the middle of a channel of a slice: coefficients, what was predicted, what was coded, and what it cost."""
    parts = (call.target, call.mean, call.scale, call.residual, -call.likelihood.double().log2())
    y, mean, scale, residual, bits = (inner(part[0, channel]).numpy() for part in parts)
    figure, cells = new_figure(title, (13.0, 0.9 + 2.6 * y.shape[0] / y.shape[1] * 1.15), columns=5)
    limit = float(np.quantile(np.abs(y), 0.995))
    signed = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}
    panels = {
        "y": (y, signed), "mean": (mean, signed), "scale": (scale, {"cmap": "magma", "vmin": 0}),
        "residual": (residual, signed), "bits": (bits, {"cmap": "magma", "vmin": 0}),
    }  # fmt: skip
    for axes, (name, (values, look)) in zip(cells, panels.items(), strict=True):
        axes.imshow(values, interpolation="nearest", **look)
        axes.set_title(name, fontsize=12, pad=5)
        axes.set_axis_off()
    return figure


def inner(maps: Tensor) -> Tensor:
    """Return the middle half of maps (..., h, w) in each direction, or all of small ones."""
    height, width = (side // 4 if side > 16 else 0 for side in maps.shape[-2:])
    return maps[..., height : maps.shape[-2] - height, width : maps.shape[-1] - width]
