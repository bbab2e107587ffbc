"""What a 3DM-WeConv layer costs and keeps: multiplications, milliseconds, projected responses, a small training."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lab.figures.energies import WAVELET_COLOURS
from lab.figures.style import BLACK, GREY, MARKS, PINK, SKY, legend_below, new_figure, styled, write

ORDERS = {"NCHW": "channel by channel\n(NCHW)", "NHWC": "position by position\n(NHWC)"}
"""The two orders of a feature map in memory."""


@styled
def cost_figure(table: pd.DataFrame, title: str) -> Figure:
    """Draw multiplications and parameters over those of a plain 3x3 convolution, by spatial levels.

    ``table`` has columns levels, macs_ratio and parameters_ratio.
    """
    lines = (("parameters_ratio", "parameters", "s", PINK, -4), ("macs_ratio", "multiplications", "o", BLACK, 4))
    figure, (axes,) = new_figure(title, (7.0, 4.6))
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
    axes.legend(loc="upper left")
    return figure


@styled
def speed_figure(table: pd.DataFrame, title: str) -> Figure:
    """Draw the milliseconds of each layer as bars, one panel per direction, groups by memory layout.

    ``table`` is of one device and size, as :func:`lab.wavelet_analysis.dwt_speed.measure_layers` makes it.
    """
    layers, layouts, directions = (list(dict.fromkeys(table[column])) for column in ("layer", "layout", "direction"))
    figure, cells = new_figure(title, (9.0, 5.4), columns=len(directions))
    for axes, direction in zip(cells, directions, strict=True):
        rows = table[table.direction == direction].set_index(["layer", "layout"])
        for i, layer in enumerate(layers):
            places = np.arange(len(layouts)) + 0.26 * (i - (len(layers) - 1) / 2)
            look = {"color": GREY if i == 0 else SKY, "hatch": "//" if i == 2 else "", "edgecolor": "white"}
            bars = axes.bar(places, rows.median_ms[layer][layouts], 0.24, label=layer, **look)
            axes.bar_label(bars, fmt="{:.1f}", fontsize=10, padding=2)
            floors = rows.floor_ms[layer][layouts]
            axes.plot(places, floors, "_", color="black", markersize=20, markeredgewidth=2)
        axes.set_xticks(range(len(layouts)), [ORDERS[layout] for layout in layouts])
        axes.set_title(direction, fontsize=12)
        axes.grid(axis="x", visible=False)
    cells[0].set_ylabel("Milliseconds (median)")
    label = "lower bound (wavelet layers, forward)"
    axes.plot([], [], "_", color="black", markersize=14, markeredgewidth=2, label=label)
    legend_below(figure, axes, 2)
    return figure


@styled
def projection_figure(table: pd.DataFrame, title: str) -> Figure:
    """Draw how much of a convolution's answer its projection misses, by input; one mark per wavelet, panels by levels.

    ``table`` is what :func:`lab.layer_analysis.layer_internals.response_errors` returns.
    """
    inputs, levels = list(dict.fromkeys(table.input)), sorted(set(table.levels))
    figure, cells = new_figure(title, (9.0, 4.6), columns=len(levels), sharey=True)
    for axes, level in zip(cells, levels, strict=True):
        for i, (wavelet, rows) in enumerate(table[table.levels == level].groupby("wavelet", sort=False)):
            places = [inputs.index(name) + 0.14 * (i - 1) for name in rows.input]
            axes.plot(
                places, rows.unexplained_pct, MARKS[i], color=WAVELET_COLOURS[wavelet], markersize=9, label=wavelet
            )
        axes.set_xticks(range(len(inputs)), [name.replace(" ", "\n") for name in inputs])
        axes.set(xlim=(-0.5, len(inputs) - 0.5), ylim=(0, 1.08 * table.unexplained_pct.max()))
        axes.set_title(f"{level} level{'s' * (level != 1)}", fontsize=12)
        axes.set_xlabel("What the layer looks at")
    cells[0].set_ylabel("Energy of the answer missed (%)")
    legend_below(figure, axes, 3)
    return figure


@styled
def trial_figure(table: pd.DataFrame, title: str) -> Figure:
    """Draw how far each network is ahead of the plain one, a dot per seed, at equal steps and at equal work.

    ``table`` has columns ``network``, ``seed``, ``budget`` and ``over_plain_db``.
    """
    budgets, networks = list(dict.fromkeys(table.budget)), list(dict.fromkeys(table.network))
    figure, (axes,) = new_figure(title, (9.0, 3.9))
    for i, (name, colour) in enumerate(zip(networks, (SKY, PINK), strict=True)):
        rows = table[table.network == name]
        heights = [budgets.index(budget) + 0.24 * (i - 0.5) for budget in rows.budget]
        axes.plot(rows.over_plain_db, heights, MARKS[i], color=colour, markersize=9, label=f"{name}, one mark per seed")
        for budget, part in rows.groupby("budget", sort=False):
            height = budgets.index(budget) + 0.24 * (i - 0.5)
            axes.plot([part.over_plain_db.mean()] * 2, [height - 0.1, height + 0.1], color=BLACK, linewidth=2)
    axes.axvline(0, color=GREY, linewidth=1.5)
    axes.set_yticks(range(len(budgets)), budgets)
    axes.set(ylim=(len(budgets) - 0.5, -0.5), xlabel="PSNR above the plain network's (dB); black: mean over seeds")
    legend_below(figure, axes, 2)
    return figure
