"""Energy per band, coefficients kept, and what a channel DWT does, as figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from torch import Tensor

from lab.figures.pictures import pixel_axes
from lab.figures.style import GREY, PALETTE, PHOTO_DPI, style

AXIS_LABELS = {
    "kept_pct": "Coefficients kept (%, logarithmic)",
    "energy_kept_pct": "Energy kept (%)",
    "psnr_db": "PSNR of what is rebuilt (dB)",
    "levels": "Levels",
    "coding_gain_db": "Coding gain (dB)",
    "over_haar_db": "PSNR over Haar's (dB)",
}
MAP = 256
"""Pixels across a map of correlations, as near as a whole number of times comes."""


def energy_figure(table: pd.DataFrame, series: str, title: str) -> Figure:
    """Draw each band's share of the energy (logarithmic) as dots, beside its share of the coefficients as a grey mark.

    Args:
        table: columns ``band``, ``coefficients_pct``, ``energy_pct`` and ``series``; one row per band and series.
        series: column whose values get a colour each.
        title: heading; say which images were measured.
    """
    bands, marks, names = list(dict.fromkeys(table.band)), "os^D", list(dict.fromkeys(table[series]))
    with style():
        figure = Figure(figsize=(8.0, 1.9 + 0.42 * len(bands)), layout="constrained")
        axes = figure.add_subplot()
        coefficients = table.groupby("band", sort=False).coefficients_pct.first()
        axes.plot(coefficients[bands], range(len(bands)), "|", color=GREY, markersize=22, markeredgewidth=3,
                  label="share of coefficients")  # fmt: skip
        for i, name in enumerate(names):
            rows = table[table[series] == name]
            height = [bands.index(band) + 0.18 * (i - (len(names) - 1) / 2) for band in rows.band]
            axes.plot(rows.energy_pct, height, marks[i], color=PALETTE[i], markersize=8, label=f"energy, {name}")
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(lambda share, _: f"{share:g}")
        axes.set_yticks(range(len(bands)), bands)
        axes.invert_yaxis()
        axes.set_xlabel("Share in % (logarithmic)")
        axes.set_title(title)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), labelspacing=1.0)
    return figure


def wavelet_lines(table: pd.DataFrame, panels: Sequence[tuple[str, str]], title: str) -> Figure:
    """Draw one line per value of the column ``wavelet``, one panel per pair of columns (x, y) of the table.

    A line of zeros, a wavelet beside itself, is left out.
    """
    with style():
        figure = Figure(figsize=(10.0, 4.4), layout="constrained")
        figure.get_layout_engine().set(wspace=0.06)
        for axes, (x, y) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            for i, (name, rows) in enumerate(table.groupby("wavelet", sort=False)):
                if rows[y].any():
                    axes.plot(rows[x], rows[y], f"{'os^D'[i]}-", color=PALETTE[i], label=name, markersize=7)
            if x == "kept_pct":
                axes.set_xscale("log")
                axes.xaxis.set_minor_locator(NullLocator())
            axes.set_xticks(sorted(set(table[x])), [f"{value:g}" for value in sorted(set(table[x]))])
            axes.set_xlabel(AXIS_LABELS[x])
            axes.set_title(AXIS_LABELS[y], fontsize=12)
            if y == "over_haar_db":
                axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))  # Haar is the foot of the panel
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
        figure.suptitle(title, x=0.005, ha="left", fontsize=14)
    return figure


def channel_figure(before: Tensor, after: Tensor, own: float, others: Sequence[float], title: str) -> Figure:
    """Draw channel correlations (C, C) before and after the channel DWT, and the low half's share of the energy.

    Args:
        before, after: covariances of the channels, shown as correlations, -1 to 1.
        own: share (0 to 1) of the energy in the channel-low half with the channels in their trained order.
        others: the same for channels in random orders.
        title: heading; say which layer and which image.
    """
    side = max(1, round(MAP / len(after))) * len(after)
    with style():
        figure = Figure(figsize=((3 * side + 250) / PHOTO_DPI, (side + 185) / PHOTO_DPI))
        left, middle, right, bar = (
            pixel_axes(figure, *place)
            for place in (
                (60, 75, side, side),
                (side + 130, 75, side, side),
                (2 * side + 225, 75, side + 15, side + 52),
                (side // 2 + 60, side + 125, side + 70, 12),
            )
        )
        for axes, covariance, name in ((left, before, "Channels"), (middle, after, "After the channel DWT")):
            scale = covariance.diagonal().clamp_min(1e-12).sqrt()
            correlation = (covariance / scale / scale[:, None]).numpy()
            shown = axes.imshow(correlation, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
            axes.set_title(name)
            axes.grid(visible=False)
        for axes, label in ((left, "Channel"), (middle, "Channel of the DWT, low half first")):
            axes.set_xlabel(label)
            axes.set_ylabel(label)
        figure.colorbar(shown, cax=bar, orientation="horizontal", ticks=[-1, -0.5, 0, 0.5, 1], label="Correlation")
        middle.axhline(len(after) / 2 - 0.5, color="black", linewidth=0.8)
        middle.axvline(len(after) / 2 - 0.5, color="black", linewidth=0.8)
        right.hist(100 * np.asarray(others), bins=20, color=GREY, label=f"{len(others)} random orders")
        right.axvline(100 * own, color=PALETTE[1], linewidth=3, label="trained order")
        right.set_xlabel("Energy in the channel-low half (%)")
        right.set_ylabel("Random orders")
        right.set_title("Does the order matter?")
        right.set_ylim(top=1.35 * right.get_ylim()[1])  # room for the legend
        bounds = right.get_xlim()
        right.legend(loc="upper right" if 100 * own < sum(bounds) / 2 else "upper left")  # away from the line
        figure.suptitle(title, x=0.01, y=0.985, ha="left", va="top", fontsize=14)
    return figure
