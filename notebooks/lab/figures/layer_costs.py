"""What a 3DM-WeConv layer costs and keeps: multiplications, milliseconds, projected answers, and a small training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from lab.figures.pictures import draw
from lab.figures.style import GREY, MARKS, PALETTE, legend_below, new_figure, plain_log, styled, write

TICKS = 8
"""Most measured steps that are written along an axis."""


@styled
def cost_figure(table: pd.DataFrame) -> Figure:
    """Draw multiplications and parameters over those of a plain 3x3 convolution, by spatial levels.

    ``table`` has columns levels, macs_ratio and parameters_ratio.
    """
    lines = (
        ("parameters_ratio", "parameters", "s", PALETTE[1], -4),
        ("macs_ratio", "multiplications", "o", PALETTE[0], 4),
    )
    figure, (axes,) = new_figure("", (7.0, 4.4))
    for column, label, mark, colour, beside in lines:
        axes.plot(table.levels, table[column], f"{mark}-", color=colour, label=label, markersize=8)
        for x, y in zip(table.levels, table[column], strict=True):
            if y != 1 or column == "macs_ratio":  # where both lines meet, once
                write(axes, f"{y:.3f}", (x, y), (beside, 11), ha="left" if beside > 0 else "right")
    axes.axhline(1, color=GREY, linewidth=1, linestyle="--")
    axes.set_xticks(list(table.levels))
    axes.margins(x=0.15)
    axes.set_ylim(0, 1.12 * max(table.parameters_ratio.max(), 1))
    axes.set(xlabel="Spatial levels", ylabel="Ratio to the plain convolution")
    axes.set_title("What a layer costs beside a plain 3x3 convolution")
    axes.legend(loc="upper left")
    return figure


@styled
def speed_figure(table: pd.DataFrame) -> Figure:
    """Draw the milliseconds of each layer as bars, one panel per direction, groups by memory layout.

    ``table`` is of one device and size, as :func:`lab.wavelet_analysis.dwt_speed.measure_layers` makes it.
    """
    device, channels, side = table[["device", "channels", "side"]].iloc[0]
    layers, layouts, directions = (list(dict.fromkeys(table[column])) for column in ("layer", "layout", "direction"))
    title = f"One layer, {channels} channels of {side} x {side}, device: {device}"
    figure, cells = new_figure(title, (9.0, 5.2), columns=len(directions))
    for axes, direction in zip(cells, directions, strict=True):
        rows = table[table.direction == direction].set_index(["layer", "layout"])
        for i, layer in enumerate(layers):
            places = np.arange(len(layouts)) + 0.26 * (i - (len(layers) - 1) / 2)
            bars = axes.bar(places, rows.median_ms[layer][layouts], 0.24, color=PALETTE[i], label=layer)
            axes.bar_label(bars, fmt="{:.1f}", fontsize=10, padding=2)
            floors = rows.floor_ms[layer][layouts]
            axes.plot(places, floors, "_", color="black", markersize=20, markeredgewidth=2)
        axes.set_xticks(range(len(layouts)), layouts)
        axes.set_title(direction, fontsize=12)
        axes.grid(axis="x", visible=False)
    cells[0].set_ylabel("Milliseconds (median)")
    label = "floor (wavelet layers, forward only)"
    axes.plot([], [], "_", color="black", markersize=14, markeredgewidth=2, label=label)
    legend_below(figure, axes, 2)
    return figure


@styled
def responses_figure(pictures: Mapping[str, Sequence[Tensor]], headings: Sequence[str]) -> Figure:
    """Draw rows of maps (H, W) beside each other, each row with one grey scale around zero from its second map on.

    ``pictures`` maps the name of a row to the input, the convolution's answer and the layers' answers.
    """
    height, width = next(iter(pictures.values()))[0].shape
    size = (2.5 * len(headings), 0.6 + 2.6 * height / width * len(pictures))
    title = "Grey scales differ from row to row; the input has one of its own"
    figure, cells = new_figure(title, size, len(pictures), len(headings))
    for row, (name, maps) in enumerate(pictures.items()):
        limit = maps[1].abs().quantile(0.995).item() or 1.0
        for column, picture in enumerate(maps):
            axes, bound = cells[row * len(headings) + column], limit if column else picture.abs().max().item() or 1.0
            draw(axes, picture.numpy(), "" if row else headings[column], vmin=-bound, vmax=bound)
        first = cells[row * len(headings)]
        first.text(-0.03, 0.5, name, transform=first.transAxes, rotation=90, ha="right", va="center")
    return figure


@styled
def projection_figure(table: pd.DataFrame) -> Figure:
    """Draw how much of a convolution's answer its projection misses, by input; one mark per wavelet, panels by levels.

    ``table`` is what :func:`lab.layer_analysis.layer_internals.response_errors` returns.
    """
    inputs, levels = list(dict.fromkeys(table.input)), sorted(set(table.levels))
    title = "What the projected layer misses of its convolution's answer"
    figure, cells = new_figure(title, (9.0, 4.6), columns=len(levels), sharey=True)
    for axes, level in zip(cells, levels, strict=True):
        for i, (wavelet, rows) in enumerate(table[table.levels == level].groupby("wavelet", sort=False)):
            places = [inputs.index(name) + 0.14 * (i - 1) for name in rows.input]
            axes.plot(places, rows.unexplained_pct, MARKS[i], color=PALETTE[i], markersize=9, label=wavelet)
        axes.set_xticks(range(len(inputs)), [name.replace(" ", "\n") for name in inputs])
        axes.set(xlim=(-0.5, len(inputs) - 0.5), ylim=(0, 1.08 * table.unexplained_pct.max()))
        axes.set_title(f"{level} level{'s' * (level != 1)}", fontsize=12)
        axes.set_xlabel("What the layer looks at")
    cells[0].set_ylabel("Energy of the answer missed (%)")
    legend_below(figure, axes, 3)
    return figure


@styled
def trial_figure(table: pd.DataFrame, title: str) -> Figure:
    """Draw PSNR during training against steps and against multiplications, one line per network.

    ``table`` is what :func:`lab.layer_analysis.denoising_trial.train_denoisers` returns.
    """
    shown = table[table.step > 0]
    figure, (left, right) = new_figure(title, (9.5, 4.8), columns=2, sharey=True)
    for axes, column in ((left, "step"), (right, "gmacs")):
        for (name, rows), mark in zip(shown.groupby("network", sort=False), MARKS, strict=False):
            axes.plot(rows[column], rows.psnr_db, f"{mark}-", label=name)
    measured = sorted(set(shown.step))
    left.set_xticks(measured[:: -(-len(measured) // TICKS)])
    plain_log(right.xaxis)
    left.set(xlabel="Training steps", ylabel="PSNR on the test crops (dB)")
    right.set_xlabel("Multiplications (billions, logarithmic)")
    legend_below(figure, left, 3)
    return figure
