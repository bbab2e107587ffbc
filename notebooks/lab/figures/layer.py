"""The 3DM-WeConv layer in pictures: data flow with the shapes that really occur, and what one output sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from lab.figures.style import GREY, HF_COLOUR, LF_COLOUR, new_figure, styled, write
from lab.figures.subbands import cuboid
from lab.layer_analysis.layer_internals import (
    FIELD,
    BandConvolution,
    band_convolutions,
    footprint,
    receptive_field_of,
    window,
)
from weconvene_core.layers.weconv import WeConv3d

FAINT_DB = -60
"""Weakest response that a footprint shows, in dB below its strongest."""
COLUMNS = {"x": 0.0, "in": 2.05, "seen": 5.0, "made": 8.35, "out": 11.5, "y": 13.55}
BOX, BAND, HEIGHT, STEP = 1.45, 1.6, 0.46, 1.0
"""Widths of whole maps and of bands, their height, and from one band to the next, in inches."""
DEPTH = (0.36, 0.24)


@styled
def flow_figure(layer: WeConv3d, x: Tensor, title: str) -> Figure:
    """Draw the way of a map (B, C, H, W) through the layer in the paper's order, with the shapes that really occur.

    Depth stands for channels; after a channel DWT its hatched back half is the channel-high one.
    """
    *details, low = band_convolutions(layer, x)
    steps = [low, *sorted(details, key=lambda step: step.seen[-1])]  # coarsest bands first
    with torch.no_grad():
        y = layer(x)
    figure, (axes,) = new_figure(title, (15.4, 1.9 + STEP * len(steps)))
    rows = [STEP * (len(steps) - 1 - row) for row in range(len(steps))]
    middle = rows[0] / 2
    for height, step in zip(rows, steps, strict=True):
        _draw_band(axes, layer, height, step, LF_COLOUR if step is low else HF_COLOUR)
    _draw_ends(axes, layer, middle, tuple(x.shape[1:]), tuple(y.shape[1:]))
    _connect(axes, layer, rows, middle)
    axes.set(xlim=(-0.1, COLUMNS["y"] + BOX + 0.5), ylim=(-0.5, rows[0] + 1.2), aspect="equal")
    axes.set_axis_off()
    return figure


def _draw_band(axes: Axes, layer: WeConv3d, height: float, step: BandConvolution, colour: str) -> None:
    for column, shape in (("seen", step.seen), ("made", step.made)):
        text = f"{step.bands}\n{_size(shape[1:])}"
        corner = COLUMNS[column], height - HEIGHT / 2
        cuboid(axes, corner, (BAND, HEIGHT), text, colour, layer.channel_dwt, DEPTH)
    out, into, *kernel = step.kernel
    start = COLUMNS["seen"] + BAND + DEPTH[0] + 0.05
    _arrow(axes, (start, height), (COLUMNS["made"], height), colour)
    middle = (start + COLUMNS["made"]) / 2
    axes.text(middle, height + 0.06, f"{kernel[0]}x{kernel[1]}, {into} to {out}", ha="center", va="bottom", fontsize=11)


def _draw_ends(axes: Axes, layer: WeConv3d, middle: float, x: tuple[int, ...], y: tuple[int, ...]) -> None:
    tall = 1.0
    for column, shape in (("x", x), ("y", y)):
        corner = COLUMNS[column], middle - tall / 2
        cuboid(axes, corner, (BOX, tall), f"{column}\n{_size(shape)}", GREY, False, DEPTH)
    if not layer.channel_dwt:
        return
    for column, split in (("in", layer.in_split), ("out", layer.out_split)):
        parts = zip(("low", "high"), split.sizes, strict=True)  # one level: two halves
        text = "\n".join(f"channel-{name}: {size}" for name, size in parts)
        cuboid(axes, (COLUMNS[column], middle - tall / 2), (BOX, tall), text, GREY, True, DEPTH, 10)


def _connect(axes: Axes, layer: WeConv3d, rows: Sequence[float], middle: float) -> None:
    behind = DEPTH[0] + 0.05
    ends = [("x", "in"), ("out", "y")] if layer.channel_dwt else []
    for start, end in ends:
        _arrow(axes, (COLUMNS[start] + BOX + behind, middle), (COLUMNS[end], middle))
    left = COLUMNS["in" if layer.channel_dwt else "x"] + BOX + behind
    right = COLUMNS["out" if layer.channel_dwt else "y"]
    for height in rows:
        _arrow(axes, (left, middle), (COLUMNS["seen"], height))
        _arrow(axes, (COLUMNS["made"] + BAND + behind, height), (right, middle))
    wavelet = layer.wavelet if isinstance(layer.wavelet, str) else "learnt"
    space = f"spatial DWT\n{wavelet}, {layer.levels} level{'s' * (layer.levels != 1)}"
    titles = {
        (left + COLUMNS["seen"]) / 2: space,
        (COLUMNS["made"] + BAND + behind + right) / 2: "inverse\nspatial DWT",
    }
    titles |= {(COLUMNS["seen"] + BAND + behind + COLUMNS["made"]) / 2: "kernel\nof each band"}
    if layer.channel_dwt:
        titles |= {COLUMNS["in"] + BOX / 2: "channel\nDWT", COLUMNS["out"] + BOX / 2: "inverse\nchannel DWT"}
    for position, title in titles.items():
        axes.text(position, rows[0] + 0.6, title, ha="center", va="bottom", fontsize=12, fontweight="bold")


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str = GREY) -> None:
    look = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops=look)


def _size(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


@styled
def footprint_figure(layers: Mapping[str, WeConv3d], title: str) -> Figure:
    """Draw what one output sees, a panel per layer, in dB below the strongest response.

    A frame shows the smallest window that holds everything.
    """
    figure, cells = new_figure(title, (3.5 * len(layers) + 1.0, 4.2), columns=len(layers), sharex=True, sharey=True)
    for axes, (name, layer) in zip(cells, layers.items(), strict=True):
        picture = footprint(layer)
        left, top, width, height = window(picture)
        decibels = 20 * (picture / picture.max()).clamp_min(1e-9).log10().numpy()
        shown = axes.imshow(decibels, cmap="magma", vmin=FAINT_DB, vmax=0, interpolation="nearest")
        axes.add_patch(Rectangle((left - 0.5, top - 0.5), width, height, fill=False, edgecolor="white", linewidth=1.2))
        write(axes, f"{width} x {height}", (left, top), (2, 8), color="white", fontsize=11)
        axes.set(xticks=[], yticks=[])
        axes.set_title(name, fontsize=12)
        axes.grid(visible=False)
    half = max(receptive_field_of(layer) for layer in layers.values()) // 2 + 4
    cells[0].set(xlim=(FIELD // 2 - half, FIELD // 2 + half), ylim=(FIELD // 2 + half, FIELD // 2 - half))
    figure.colorbar(shown, ax=cells, shrink=0.8, label="Strength (dB)")
    return figure
