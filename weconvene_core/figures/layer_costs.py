"""What a 3DM-WeConv layer costs and keeps: multiplications, milliseconds, projected answers, and a small training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from torch import Tensor

from weconvene_core.figures.style import GREY, PALETTE, style


def cost_figure(table: pd.DataFrame) -> Figure:
    """Draw multiplications and parameters over those of a plain 3x3 convolution, by spatial levels.

    Args:
        table: columns levels, macs_ratio and parameters_ratio.
    """
    with style():
        figure = Figure(figsize=(8.0, 4.4), layout="constrained")
        axes = figure.add_subplot()
        for column, label, mark, colour in (
            ("macs_ratio", "multiplications", "o", PALETTE[0]),
            ("parameters_ratio", "parameters", "s", PALETTE[1]),
        ):
            axes.plot(table.levels, table[column], f"{mark}-", color=colour, label=label, markersize=8)
            for level, value in zip(table.levels, table[column], strict=True):
                axes.annotate(f"{value:.3f}", (level, value), (0, 9), textcoords="offset points", ha="center")
        axes.axhline(1, color=GREY, linewidth=1, linestyle="--")
        axes.set_xticks(list(table.levels))
        axes.set_ylim(0, 1.12 * max(table.parameters_ratio.max(), 1))
        axes.set_xlabel("Spatial levels")
        axes.set_ylabel("Ratio to the plain 3x3 convolution")
        axes.legend(loc="upper left")
    return figure


def speed_figure(table: pd.DataFrame) -> Figure:
    """Draw the milliseconds of each layer as bars, one panel per direction, groups by memory layout.

    Args:
        table: as :func:`weconvene_core.evaluation.layer_speed.measure_layers` makes it, of one device.
    """
    layers, layouts, directions = (list(dict.fromkeys(table[column])) for column in ("layer", "layout", "direction"))
    with style():
        figure = Figure(figsize=(11.0, 4.6), layout="constrained")
        for axes, direction in zip(figure.subplots(1, len(directions), squeeze=False)[0], directions, strict=True):
            rows = table[table.direction == direction].set_index(["layer", "layout"])
            for i, layer in enumerate(layers):
                places = np.arange(len(layouts)) + 0.26 * (i - (len(layers) - 1) / 2)
                times = [rows.median_ms[layer, layout] for layout in layouts]
                bars = axes.bar(places, times, 0.24, color=PALETTE[i], label=layer)
                axes.bar_label(bars, [f"{value:.1f}" for value in times], fontsize=9, padding=2)
                floors = [rows.floor_ms[layer, layout] for layout in layouts]
                axes.plot(places, floors, "_", color="black", markersize=20, markeredgewidth=2)
            axes.set_xticks(range(len(layouts)), layouts)
            axes.set_title(direction)
            axes.set_ylabel("Milliseconds (median)")
        axes.plot([], [], "_", color="black", markersize=14, markeredgewidth=2, label="floor of this machine")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=len(layers) + 1)
    return figure


def responses_figure(pictures: Mapping[str, Sequence[Tensor]], headings: Sequence[str]) -> Figure:
    """Draw rows of maps (H, W) beside each other, each row with one grey scale around zero from its second map on.

    Args:
        pictures: name of the row to its maps: the input, the convolution's answer, the layers' answers.
        headings: of the columns.
    """
    with style():
        figure = Figure(figsize=(2.9 * len(headings), 3.0 * len(pictures) + 0.3), layout="constrained")
        rows = figure.subplots(len(pictures), len(headings), squeeze=False)
        for row, (name, maps) in zip(rows, pictures.items(), strict=True):
            limit = maps[1].abs().quantile(0.995).item() or 1.0
            for column, (axes, picture) in enumerate(zip(row, maps, strict=True)):
                bound = limit if column else picture.abs().max().item() or 1.0
                axes.imshow(picture.numpy(), cmap="gray", vmin=-bound, vmax=bound, interpolation="nearest")
                axes.set(xticks=[], yticks=[])
                axes.grid(visible=False)
            row[0].set_ylabel(name)
        for axes, heading in zip(rows[0], headings, strict=True):
            axes.set_title(heading, fontsize=11)
    return figure


def projection_figure(table: pd.DataFrame) -> Figure:
    """Draw how much of a convolution's answer its projection misses, by input; one mark per wavelet, panels by levels.

    Args:
        table: as :func:`weconvene_core.evaluation.layer_anatomy.response_errors` returns it.
    """
    inputs, levels = list(dict.fromkeys(table.input)), sorted(set(table.levels))
    with style():
        figure = Figure(figsize=(11.0, 4.2), layout="constrained")
        for axes, level in zip(figure.subplots(1, len(levels), sharey=True, squeeze=False)[0], levels, strict=True):
            for i, (wavelet, rows) in enumerate(table[table.levels == level].groupby("wavelet", sort=False)):
                places = [inputs.index(name) + 0.14 * (i - 1) for name in rows.input]
                axes.plot(places, rows.unexplained_pct, "os^D"[i], color=PALETTE[i], markersize=9, label=wavelet)
            axes.set_ylim(0, 1.08 * table.unexplained_pct.max())
            axes.set_xticks(range(len(inputs)), [name.replace(" ", "\n") for name in inputs])
            axes.set_xlim(-0.5, len(inputs) - 0.5)
            axes.set_title(f"{level} level{'s' * (level != 1)}")
            axes.set_xlabel("What the layer looks at")
        figure.axes[0].set_ylabel("Answer not reproduced (%)")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def trial_figure(table: pd.DataFrame, title: str) -> Figure:
    """Draw PSNR during training against steps and against multiplications, one line per network.

    Args:
        table: as :func:`weconvene_core.evaluation.layer_trial.train_denoisers` returns it.
        title: heading; say on which pictures.
    """
    shown = table[table.step > 0]
    with style():
        figure = Figure(figsize=(12.0, 4.8), layout="constrained")
        panels = (("step", "Training steps"), ("gmacs", "Multiplications of the training (billions, logarithmic)"))
        for axes, (column, label) in zip(figure.subplots(1, 2, sharey=True), panels, strict=True):
            for (name, rows), mark in zip(shown.groupby("network", sort=False), "os^D", strict=False):
                axes.plot(rows[column], rows.psnr_db, f"{mark}-", label=name)
            axes.set_xlabel(label)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(lambda billions, _: f"{billions:g}")
        figure.axes[0].set_ylabel("PSNR on the test crops (dB)")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
        figure.suptitle(title, x=0.005, ha="left", fontsize=14)
    return figure
