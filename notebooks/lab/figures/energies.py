"""Energy per band, coefficients kept, and what the order of channels does, as figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import NullLocator

from lab.figures.style import (
    BLACK,
    GREY,
    HF_COLOUR,
    LF_COLOUR,
    MARKS,
    VERMILION,
    legend_below,
    new_figure,
    styled,
)  # fmt: skip

WAVELET_COLOURS = {"haar": GREY, "5/3": VERMILION, "9/7": BLACK}
WRITTEN = 6
"""Least percentage of a bar that carries its name."""
AXIS_LABELS = {
    "kept_pct": "Coefficients kept (%, logarithmic)",
    "psnr_db": "PSNR of what is rebuilt (dB)",
    "levels": "Levels",
    "coding_gain_db": "Coding gain (dB)",
    "over_haar_db": "PSNR over Haar's (dB)",
}


@styled
def energy_figure(table: pd.DataFrame, title: str) -> Figure:
    """Draw the bands' shares of the coefficients, and of the energy for every wavelet, as bars of equal length.

    ``table`` has columns ``wavelet``, ``band``, ``coefficients_pct`` and ``energy_pct``; LL_J is its first band.
    """
    rows = {"coefficients": table[table.wavelet == table.wavelet.iloc[0]].set_index("band").coefficients_pct}
    rows |= {
        f"energy, {name}": part.set_index("band").energy_pct for name, part in table.groupby("wavelet", sort=False)
    }
    figure, (axes,) = new_figure(title, (10.0, 1.7 + 0.55 * len(rows)))
    for y, shares in enumerate(rows.values()):
        start = 0.0
        for band, share in shares.items():
            colour = LF_COLOUR if band.startswith("LL") else HF_COLOUR
            axes.barh(y, share, left=start, color=colour, edgecolor="white", linewidth=1.2, height=0.75)
            if share > WRITTEN:
                ink = "white" if colour == LF_COLOUR else "black"
                text = f"{band}\n{share:.0f} %" if share < 2 * WRITTEN else f"{band}: {share:.0f} %"
                axes.text(start + share / 2, y, text, ha="center", va="center", color=ink, fontsize=10)
            start += share
    axes.set_yticks(range(len(rows)), rows)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set(xlim=(0, 100), xlabel="Share (%), bands from the coarsest to the finest")
    return figure


@styled
def halves_figure(table: pd.DataFrame, title: str) -> Figure:
    """Draw the energy of the bands of a 3-D DWT as two bars, of the channel-low and (hatched) the channel-high half.

    ``table`` has columns ``band``, ``half`` and ``energy_pct``.
    """
    figure, (axes,) = new_figure(title, (8.0, 4.4))
    for y, (band, rows) in enumerate(table.groupby("band", sort=False)):
        colour = LF_COLOUR if band.startswith("LL") else HF_COLOUR
        for half, share in zip(rows.half, rows.energy_pct, strict=True):
            look = {"color": colour} if half == "channel-low" else {"facecolor": "white", "hatch": "////"}
            place = y - 0.2 if half == "channel-low" else y + 0.2
            axes.barh(place, share, 0.38, edgecolor=colour, **look)
    axes.set_yticks(range(table.band.nunique()), table.band.unique())
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("Share of the energy (%)")
    look = {"edgecolor": GREY, "linewidth": 1}
    entries = [Patch(facecolor=GREY, label="channel-low half", **look)]
    entries.append(Patch(facecolor="white", hatch="////", label="channel-high half", **look))
    axes.legend(handles=entries, loc="lower right")
    return figure


@styled
def wavelet_lines(table: pd.DataFrame, panels: Sequence[tuple[str, str]], title: str) -> Figure:
    """Draw one line per value of the column ``wavelet``, one panel per pair of columns (x, y) of the table.

    A line of zeros, a wavelet beside itself, is left out.
    """
    figure, cells = new_figure(title, (2.5 + 3.75 * len(panels), 4.4), columns=len(panels))
    for axes, (x, y) in zip(cells, panels, strict=True):
        for i, (name, rows) in enumerate(table.groupby("wavelet", sort=False)):
            if rows[y].any():
                axes.plot(rows[x], rows[y], f"{MARKS[i]}-", color=WAVELET_COLOURS[name], label=name, markersize=7)
        if x == "kept_pct":
            axes.set_xscale("log")
            axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(sorted(set(table[x])), [f"{value:g}" for value in sorted(set(table[x]))])
        axes.set_xlabel(AXIS_LABELS[x])
        axes.set_title(AXIS_LABELS[y], fontsize=12)
        if y == "over_haar_db":
            axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))  # Haar is the foot of the panel
    legend_below(figure, cells[0], 4)
    return figure


@styled
def orders_figure(panels: Mapping[str, tuple[float, Sequence[float]]], title: str) -> Figure:
    """Draw what the channel-low half holds in the trained order (a line) and in random orders (a histogram).

    ``panels`` maps a heading to the share in the trained order and those in random orders, each 0 to 1.
    """
    figure, cells = new_figure(title, (10.0, 4.0), columns=len(panels), sharex=True)
    for axes, (heading, (own, others)) in zip(cells, panels.items(), strict=True):
        axes.hist(100 * np.asarray(others), bins=20, color=GREY, label=f"{len(others)} random orders")
        axes.axvline(100 * own, color=VERMILION, linewidth=3, label="trained order")
        axes.axvline(50, color=BLACK, linewidth=1, linestyle=":")
        axes.set(xlabel="Energy in the channel-low half (%)")
        axes.set_title(heading, fontsize=12)
    cells[0].set_ylabel("Orders")
    legend_below(figure, cells[0], 2)
    return figure
