"""The 3DM-WeConv layer in pictures: data flow with the shapes that really occur, and what one output sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from torch import Tensor

from lab.figures.style import GREY, PALETTE, new_figure, styled, write
from lab.layer_analysis.layer_internals import (
    FIELD,
    BandConvolution,
    band_convolutions,
    footprint,
    only,
    receptive_field_of,
    window,
)
from weconvene_core.layers.weconv import WeConv3d

LOW, HIGH = PALETTE[0], PALETTE[1]
FAINT_DB = -60
"""Weakest response that a footprint shows, in dB below its strongest."""
COLUMNS = {"x": 0.0, "in": 1.6, "seen": 4.35, "made": 7.65, "out": 10.85, "y": 12.45}
BOX, BAND = 1.35, 1.8
"""Widths of the boxes of whole maps and of bands."""


@styled
def flow_figure(layer: WeConv3d, x: Tensor) -> Figure:
    """Draw the way of a map (B, C, H, W) through the layer in the paper's order, with the shapes that really occur."""
    *details, low = band_convolutions(layer, x)
    steps = [low, *sorted(details, key=lambda step: step.seen[-1])]  # coarsest bands first
    with torch.no_grad():
        y = layer(x)
    figure, (axes,) = new_figure("", (14.0, 1.6 + 0.82 * len(steps)))
    middle = (len(steps) - 1) / 2
    for row, step in enumerate(steps):
        _draw_band(axes, row, step, HIGH if row else LOW)
    _draw_ends(axes, layer, middle, tuple(x.shape[1:]), tuple(y.shape[1:]))
    _connect(axes, layer, len(steps), middle)
    axes.set(xlim=(-0.2, COLUMNS["y"] + BOX + 0.2), ylim=(len(steps) - 0.3, -1.15))
    axes.set_axis_off()
    return figure


def _draw_band(axes: Axes, row: int, step: BandConvolution, colour: str) -> None:
    _box(axes, COLUMNS["seen"], row, f"{step.bands}\n{_size(step.seen[1:])}", colour)
    _box(axes, COLUMNS["made"], row, f"{step.bands}\n{_size(step.made[1:])}", colour)
    out, into, height, width = step.kernel
    _arrow(axes, (COLUMNS["seen"] + BAND, row), (COLUMNS["made"], row), colour)
    middle = (COLUMNS["seen"] + BAND + COLUMNS["made"]) / 2
    axes.text(middle, row - 0.1, f"{height}x{width}, {into} to {out}", ha="center", va="bottom", fontsize=12)


def _draw_ends(axes: Axes, layer: WeConv3d, middle: float, x: tuple[int, ...], y: tuple[int, ...]) -> None:
    _box(axes, COLUMNS["x"], middle, f"x\n{_size(x)}", GREY)
    _box(axes, COLUMNS["y"], middle, f"y\n{_size(y)}", GREY)
    if not layer.channel_dwt:
        return
    for column, split in (("in", layer.in_split), ("out", layer.out_split)):
        parts = "\n".join(f"{name}: {size} ch." for name, size in zip(split.names, split.sizes, strict=True))
        _box(axes, COLUMNS[column], middle, parts, PALETTE[2], 0.22 + 0.22 * len(split.sizes))


def _connect(axes: Axes, layer: WeConv3d, rows: int, middle: float) -> None:
    ends = [("x", "in"), ("out", "y")] if layer.channel_dwt else []
    for start, end in ends:
        _arrow(axes, (COLUMNS[start] + BOX, middle), (COLUMNS[end], middle))
    left = COLUMNS["in" if layer.channel_dwt else "x"] + BOX
    right = COLUMNS["out" if layer.channel_dwt else "y"]
    for row in range(rows):
        _arrow(axes, (left, middle), (COLUMNS["seen"], row))
        _arrow(axes, (COLUMNS["made"] + BAND, row), (right, middle))
    wavelet = layer.wavelet if isinstance(layer.wavelet, str) else "learnt"
    space = f"spatial DWT\n{wavelet}, {layer.levels} level{'s' * (layer.levels != 1)}"
    titles = {(left + COLUMNS["seen"]) / 2: space, (COLUMNS["made"] + BAND + right) / 2: "inverse\nspatial DWT"}
    titles |= {(COLUMNS["seen"] + BAND + COLUMNS["made"]) / 2: "kernel\nof each band"}
    if layer.channel_dwt:
        titles |= {COLUMNS["in"] + BOX / 2: "channel\nDWT", COLUMNS["out"] + BOX / 2: "inverse\nchannel DWT"}
    for position, title in titles.items():
        axes.text(position, -0.65, title, ha="center", va="bottom", fontsize=12, fontweight="bold")


def _box(axes: Axes, left: float, row: float, text: str, colour: str, half: float = 0.32) -> None:
    width = BAND if left in (COLUMNS["seen"], COLUMNS["made"]) else BOX
    look = {"boxstyle": "round,pad=0,rounding_size=0.06", "linewidth": 1.5, "edgecolor": colour}
    axes.add_patch(FancyBboxPatch((left, row - half), width, 2 * half, facecolor="white", zorder=3, **look))
    axes.text(left + width / 2, row, text, ha="center", va="center", fontsize=13, zorder=4)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str = GREY) -> None:
    look = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops=look)


def _size(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


@styled
def footprint_figure(layers: Mapping[str, WeConv3d]) -> Figure:
    """Draw what one output sees through the LF kernel alone, the HF kernels alone, and both; one row per layer.

    Strength is in dB below the strongest response of the whole layer; a frame shows the smallest window that holds
    everything.
    """
    parts = {"low": "LF kernel alone", "high": "HF kernels alone", "all": "the whole layer"}
    size = (10.0, 3.0 * len(layers) + 0.4)
    figure, cells = new_figure("", size, len(layers), len(parts), sharex=True, sharey=True)
    for axes, ((name, layer), (part, heading)) in zip(cells, product(layers.items(), parts.items()), strict=True):
        strongest = footprint(layer).max()
        with only(layer, part):
            picture = footprint(layer) / strongest
        left, top, width, height = window(picture)
        decibels = 20 * picture.clamp_min(1e-9).log10().numpy()
        shown = axes.imshow(decibels, cmap="magma", vmin=FAINT_DB, vmax=0, interpolation="nearest")
        axes.add_patch(Rectangle((left - 0.5, top - 0.5), width, height, fill=False, edgecolor="white", linewidth=1.2))
        write(axes, f"{width} x {height}", (left, top), (2, 8), color="white", fontsize=10)
        axes.set(xticks=[], yticks=[], ylabel=name if part == "low" else "")
        axes.grid(visible=False)
        if axes in cells[: len(parts)]:
            axes.set_title(heading, fontsize=12)
    half = max(receptive_field_of(layer) for layer in layers.values()) // 2 + 4
    cells[0].set(xlim=(FIELD // 2 - half, FIELD // 2 + half), ylim=(FIELD // 2 + half, FIELD // 2 - half))
    figure.colorbar(shown, ax=cells, shrink=0.6, label="Strength (dB)")
    return figure
