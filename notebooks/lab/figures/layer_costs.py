"""What a 3DM-WeConv layer costs and keeps: multiplications, milliseconds, projected answers, and a small training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from torch import Tensor

from lab.figures.pictures import draw, pixel_grid
from lab.figures.style import GREY, PALETTE, style

ACROSS, NAMES = 192, 30
"""Pixels across a map, as near as a whole number of times comes, and left of it for the name of its row."""
TICKS = 8
"""Most measured steps that are written along an axis."""


def cost_figure(table: pd.DataFrame) -> Figure:
    """Draw multiplications and parameters over those of a plain 3x3 convolution, by spatial levels.

    Args:
        table: columns levels, macs_ratio and parameters_ratio.
    """
    lines = (("parameters_ratio", "parameters", "s", PALETTE[1]), ("macs_ratio", "multiplications", "o", PALETTE[0]))
    with style():
        figure = Figure(figsize=(7.0, 4.4), layout="constrained")
        axes, named = figure.add_subplot(), set()
        for column, label, mark, colour in lines:
            axes.plot(table.levels, table[column], f"{mark}-", color=colour, label=label, markersize=8)
            side = -1 if column == "parameters_ratio" else 1  # of its point: where the line leaves room
            for point in set(zip(table.levels, table[column], strict=True)) - named:
                axes.annotate(f"{point[1]:.3f}", point, (4 * side, 8), textcoords="offset points",
                              ha="left" if side > 0 else "right")  # fmt: skip
                named.add(point)
        axes.axhline(1, color=GREY, linewidth=1, linestyle="--")
        axes.set_xticks(list(table.levels))
        axes.margins(x=0.15)
        axes.set_ylim(0, 1.12 * max(table.parameters_ratio.max(), 1))
        axes.set_xlabel("Spatial levels")
        axes.set_ylabel("Ratio to the plain convolution")
        axes.set_title("What a layer costs beside a plain 3x3 convolution")
        axes.legend(loc="upper left")
    return figure


def speed_figure(table: pd.DataFrame) -> Figure:
    """Draw the milliseconds of each layer as bars, one panel per direction, groups by memory layout.

    Args:
        table: as :func:`lab.layer_analysis.layer_speed.measure_layers` makes it, of one device and size.
    """
    device, channels, side = table[["device", "channels", "side"]].iloc[0]
    layers, layouts, directions = (list(dict.fromkeys(table[column])) for column in ("layer", "layout", "direction"))
    with style():
        figure = Figure(figsize=(9.0, 5.2), layout="constrained")
        for axes, direction in zip(figure.subplots(1, len(directions), squeeze=False)[0], directions, strict=True):
            rows = table[table.direction == direction].set_index(["layer", "layout"])
            for i, layer in enumerate(layers):
                places = np.arange(len(layouts)) + 0.26 * (i - (len(layers) - 1) / 2)
                times = [rows.median_ms[layer, layout] for layout in layouts]
                bars = axes.bar(places, times, 0.24, color=PALETTE[i], label=layer)
                axes.bar_label(bars, [f"{value:.1f}" for value in times], fontsize=10, padding=2)
                floors = [rows.floor_ms[layer, layout] for layout in layouts]
                axes.plot(places, floors, "_", color="black", markersize=20, markeredgewidth=2)
            axes.set_xticks(range(len(layouts)), layouts)
            axes.set_title(direction, fontsize=12)
            axes.grid(axis="x", visible=False)
        figure.axes[0].set_ylabel("Milliseconds (median)")
        axes.plot([], [], "_", color="black", markersize=14, markeredgewidth=2,
                  label="floor (wavelet layers, forward only)")  # fmt: skip
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
        title = f"One layer, {channels} channels of {side} x {side}, device: {device}"
        figure.suptitle(title, x=0.005, ha="left", fontsize=14)
    return figure


def responses_figure(pictures: Mapping[str, Sequence[Tensor]], headings: Sequence[str]) -> Figure:
    """Draw rows of maps (H, W) beside each other, each row with one grey scale around zero from its second map on.

    Args:
        pictures: name of the row to its maps: the input, the convolution's answer, the layers' answers.
        headings: of the columns.
    """
    height, width = next(iter(pictures.values()))[0].shape
    times = max(1, round(ACROSS / width))
    title = "Grey scales differ from row to row; the input has one of its own"
    heights = [(int(row == 0), times * height) for row in range(len(pictures))]
    with style():
        figure, rows = pixel_grid(title, len(headings), times * width, heights, left=NAMES)
        for row, (name, maps) in zip(rows, pictures.items(), strict=True):
            limit = maps[1].abs().quantile(0.995).item() or 1.0
            for column, (axes, picture) in enumerate(zip(row, maps, strict=True)):
                bound = limit if column else picture.abs().max().item() or 1.0
                draw(axes, picture.numpy(), vmin=-bound, vmax=bound)
            row[0].text(-0.03, 0.5, name, transform=row[0].transAxes, rotation=90, ha="right", va="center")
        for axes, heading in zip(rows[0], headings, strict=True):
            axes.set_title(heading, fontsize=12, pad=5)
    return figure


def projection_figure(table: pd.DataFrame) -> Figure:
    """Draw how much of a convolution's answer its projection misses, by input; one mark per wavelet, panels by levels.

    Args:
        table: as :func:`lab.layer_analysis.layer_internals.response_errors` returns it.
    """
    inputs, levels = list(dict.fromkeys(table.input)), sorted(set(table.levels))
    with style():
        figure = Figure(figsize=(9.0, 4.6), layout="constrained")
        for axes, level in zip(figure.subplots(1, len(levels), sharey=True, squeeze=False)[0], levels, strict=True):
            for i, (wavelet, rows) in enumerate(table[table.levels == level].groupby("wavelet", sort=False)):
                places = [inputs.index(name) + 0.14 * (i - 1) for name in rows.input]
                axes.plot(places, rows.unexplained_pct, "os^D"[i], color=PALETTE[i], markersize=9, label=wavelet)
            axes.set_ylim(0, 1.08 * table.unexplained_pct.max())
            axes.set_xticks(range(len(inputs)), [name.replace(" ", "\n") for name in inputs])
            axes.set_xlim(-0.5, len(inputs) - 0.5)
            axes.set_title(f"{level} level{'s' * (level != 1)}", fontsize=12)
            axes.set_xlabel("What the layer looks at")
        figure.axes[0].set_ylabel("Energy of the answer missed (%)")
        figure.suptitle("What the projected layer misses of its convolution's answer", x=0.005, ha="left", fontsize=14)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def trial_figure(table: pd.DataFrame, title: str) -> Figure:
    """Draw PSNR during training against steps and against multiplications, one line per network.

    Args:
        table: as :func:`lab.layer_analysis.denoising_trial.train_denoisers` returns it.
        title: heading; say on which pictures.
    """
    shown = table[table.step > 0]
    with style():
        figure = Figure(figsize=(9.5, 4.8), layout="constrained")
        panels = (("step", "Training steps"), ("gmacs", "Multiplications (billions, logarithmic)"))
        for axes, (column, label) in zip(figure.subplots(1, 2, sharey=True), panels, strict=True):
            for (name, rows), mark in zip(shown.groupby("network", sort=False), "os^D", strict=False):
                axes.plot(rows[column], rows.psnr_db, f"{mark}-", label=name)
            axes.set_xlabel(label)
        measured = sorted(set(shown.step))
        figure.axes[0].set_xticks(measured[:: -(-len(measured) // TICKS)])
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(lambda billions, _: f"{billions:g}")
        figure.axes[0].set_ylabel("PSNR on the test crops (dB)")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
        figure.suptitle(title, x=0.005, ha="left", fontsize=14)
    return figure
