"""Where our error lies against other codecs at equal bytes, as a figure."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lab.figures.style import PALETTE, style

BAR = 0.26


def excess_figure(table: pd.DataFrame, photographs: str) -> Figure:
    """Draw by subband how much more error ours has than each anchor at equal bytes; luma above, chroma below.

    Args:
        table: rows of ``results/tables/diagnosis_subbands.csv``.
        photographs: what was measured, for the title.
    """
    parts = table[table.subband != "all"]
    anchors, colours = (list(dict.fromkeys(parts[name])) for name in ("anchor", "colour"))
    with style():
        figure = Figure(figsize=(11.0, 6.6), layout="constrained")
        grid = figure.subplots(len(colours), len(anchors), sharex=True, sharey="row", squeeze=False)
        for row, colour in zip(grid, colours, strict=True):
            for axes, anchor in zip(row, anchors, strict=True):
                shown = parts[(parts.anchor == anchor) & (parts.colour == colour)]
                for i, (quality, one) in enumerate(shown.groupby("quality")):
                    places = np.arange(len(one)) + (i - 1) * BAR
                    axes.bar(places, one.excess_pct, BAR, color=PALETTE[i], label=f"quality {quality:g}")
                axes.axhline(0, color="#333333", linewidth=1)
                axes.grid(axis="x", visible=False)
                axes.set_xticks(range(len(one)), one.subband)
                axes.set_title(f"{colour}, against {anchor}", fontsize=12)
        figure.supylabel("Our excess error, % of the anchor's total", fontsize=12)
        figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
        figure.suptitle(f"Equal bytes; below zero we gain ({photographs})", x=0.005, ha="left", fontsize=14)
    return figure
