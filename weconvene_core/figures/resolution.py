"""BD-rate over resolution as a figure."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from weconvene_core.evaluation.datasets import TITLES
from weconvene_core.figures.style import PALETTE, style


def resolution_figure(table: pd.DataFrame, ours: str, images: str) -> Figure:
    """Draw our BD-rate against each live codec over the size of the pictures, with 95 % intervals over the images.

    The scales of one set are joined by a line (dotted: without the files' headers); other sets stand alone as open
    marks with their names.

    Args:
        table: rows of ``results/tables/resolution.csv``.
        ours: name of our codec, for the axis.
        images: what was measured, for the title.
    """
    rows = table.dropna(subset="bd_rate_pct").sort_values("megapixels")
    shrunk = rows.dataset.str.contains("-1/")
    with style():
        figure = Figure(figsize=(9.0, 5.2), layout="constrained")
        axes = figure.add_subplot()
        axes.axhline(0.0, color="#333333", linewidth=1.2)
        for colour, anchor in zip(PALETTE, dict.fromkeys(rows.anchor), strict=False):
            _draw_anchor(axes, rows[rows.anchor == anchor], colour)
        for row in _highest(rows[~shrunk]).itertuples():
            _name(axes, TITLES.get(row.dataset, row.dataset), (row.megapixels, row.ci_high), (0, 10), ha="center")
        axes.set_xscale("log", base=2)
        sizes = sorted(rows[shrunk].megapixels.unique())
        axes.set_xticks(sizes, [f"{size:.2g}" for size in sizes])
        axes.margins(x=0.12)
        axes.set_xlabel("Megapixels of a picture (mean; the same photographs, shrunk)")
        axes.set_ylabel(f"BD-rate of {ours} (%)")
        axes.set_title(f"Gain over resolution: {images}")
    return figure


def _draw_anchor(axes: Axes, rows: pd.DataFrame, colour: str) -> None:
    scaled = rows.dataset.str.contains("-1/")
    for found, mark, face in ((rows[scaled], "o-", colour), (rows[~scaled], "D", "white")):
        rate = found.bd_rate_pct.to_numpy()
        reach = np.abs(found[["ci_low", "ci_high"]].to_numpy().T - rate)
        look = {"color": colour, "markerfacecolor": face, "markersize": 8, "capsize": 4, "elinewidth": 1.2}
        axes.errorbar(found.megapixels.to_numpy(), rate, reach, fmt=mark, **look)
    axes.plot(rows[scaled].megapixels, rows[scaled].bare_pct, ":", color=colour, linewidth=1.2)
    last = rows[scaled].iloc[-1]
    _name(axes, f"against\n{last.anchor}", (last.megapixels, last.bd_rate_pct), (12, 0), va="center", color=colour)


def _name(axes: Axes, text: str, at: tuple[float, float], offset: tuple[int, int], **look: str) -> None:
    outline = [withStroke(linewidth=3.0, foreground="white")]  # names may lie over a line
    axes.annotate(text, at, offset, textcoords="offset points", path_effects=outline, fontsize=11, **look)


def _highest(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.sort_values("bd_rate_pct").drop_duplicates("dataset", keep="last")
