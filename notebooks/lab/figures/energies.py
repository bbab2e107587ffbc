"""Energy per band, coefficients kept, and what a channel DWT does, as figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from torch import Tensor

from lab.figures.style import GREY, MARKS, PALETTE, legend_below, new_figure, plain_log, styled

AXIS_LABELS = {
    "kept_pct": "Coefficients kept (%, logarithmic)",
    "energy_kept_pct": "Energy kept (%)",
    "psnr_db": "PSNR of what is rebuilt (dB)",
    "levels": "Levels",
    "coding_gain_db": "Coding gain (dB)",
    "over_haar_db": "PSNR over Haar's (dB)",
}


@styled
def energy_figure(table: pd.DataFrame, series: str, title: str) -> Figure:
    """Draw each band's share of the energy (logarithmic) as dots, beside its share of the coefficients as a grey mark.

    ``table`` has columns ``band``, ``coefficients_pct``, ``energy_pct`` and ``series``, whose values get a colour each.
    """
    bands, names = list(dict.fromkeys(table.band)), list(dict.fromkeys(table[series]))
    figure, (axes,) = new_figure("", (8.0, 1.9 + 0.42 * len(bands)))
    share = table.groupby("band", sort=False).coefficients_pct.first()[bands]
    look = {"color": GREY, "markersize": 22, "markeredgewidth": 3}
    axes.plot(share, range(len(bands)), "|", label="share of coefficients", **look)
    for i, name in enumerate(names):
        rows = table[table[series] == name]
        height = [bands.index(band) + 0.18 * (i - (len(names) - 1) / 2) for band in rows.band]
        axes.plot(rows.energy_pct, height, MARKS[i], color=PALETTE[i], markersize=8, label=f"energy, {name}")
    plain_log(axes.xaxis)
    axes.set_yticks(range(len(bands)), bands)
    axes.invert_yaxis()
    axes.set(xlabel="Share in % (logarithmic)", title=title)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), labelspacing=1.0)
    return figure


@styled
def wavelet_lines(table: pd.DataFrame, panels: Sequence[tuple[str, str]], title: str) -> Figure:
    """Draw one line per value of the column ``wavelet``, one panel per pair of columns (x, y) of the table.

    A line of zeros, a wavelet beside itself, is left out.
    """
    figure, cells = new_figure(title, (10.0, 4.4), columns=len(panels))
    for axes, (x, y) in zip(cells, panels, strict=True):
        for i, (name, rows) in enumerate(table.groupby("wavelet", sort=False)):
            if rows[y].any():
                axes.plot(rows[x], rows[y], f"{MARKS[i]}-", color=PALETTE[i], label=name, markersize=7)
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
def channel_figure(before: Tensor, after: Tensor, own: float, others: Sequence[float], title: str) -> Figure:
    """Draw channel correlations (C, C) before and after the channel DWT, and the low half's share of the energy.

    Parameters
    ----------
    before, after
        Covariances of the channels, shown as correlations, -1 to 1.
    own
        Share (0 to 1) of the energy in the channel-low half with the channels in their trained order.
    others
        The same for channels in random orders.
    """
    figure, (left, middle, right) = new_figure(title, (13.0, 4.8), columns=3)
    for axes, covariance, name in ((left, before, "Channels"), (middle, after, "After the channel DWT")):
        scale = covariance.diagonal().clamp_min(1e-12).sqrt()
        correlation = (covariance / scale / scale[:, None]).numpy()
        shown = axes.imshow(correlation, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
        axes.set_title(name)
        axes.grid(visible=False)
    left.set(xlabel="Channel", ylabel="Channel")
    half = "Channel of the DWT, low half first"
    middle.set(xlabel=half, ylabel=half)
    figure.colorbar(shown, ax=[left, middle], location="bottom", shrink=0.6, label="Correlation")
    middle.axhline(len(after) / 2 - 0.5, color="black", linewidth=0.8)
    middle.axvline(len(after) / 2 - 0.5, color="black", linewidth=0.8)
    right.hist(100 * np.asarray(others), bins=20, color=GREY, label=f"{len(others)} random orders")
    right.axvline(100 * own, color=PALETTE[1], linewidth=3, label="trained order")
    right.set(xlabel="Energy in the channel-low half (%)", ylabel="Random orders", title="Does the order matter?")
    right.set_ylim(top=1.35 * right.get_ylim()[1])  # room for the legend
    right.legend(loc="upper right" if 100 * own < sum(right.get_xlim()) / 2 else "upper left")  # away from the line
    return figure
