"""Figures of the application studies: differences with their intervals, label maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lab.figures.style import GREY, MARKS, PALETTE, legend_below, new_figure, styled


@styled
def differences_figure(panels: Mapping[str, pd.DataFrame], title: str) -> Figure:
    """Draw 3DM-WeConv minus plain with its 95 % interval over seeds, one panel per unit, one colour per matching.

    ``panels`` maps a unit to rows as :func:`lab.applications.study.differences` returns them.
    """
    tallest = max(rows.metric.str.rpartition(", ")[0].nunique() for rows in panels.values())
    figure, cells = new_figure(title, (11.0, 2.2 + 0.55 * tallest), columns=len(panels))
    for axes, (unit, rows) in zip(cells, panels.items(), strict=True):
        names = rows.metric.str.rpartition(", ")
        metrics, matchings = list(dict.fromkeys(names[0])), list(dict.fromkeys(names[2]))
        for i, matching in enumerate(matchings):
            own = rows[names[2] == matching]
            height = np.arange(len(metrics)) + 0.24 * (i - (len(matchings) - 1) / 2)
            colour = PALETTE[i + 1]  # the first belongs to the plain network, elsewhere
            axes.hlines(height, own.ci_low, own.ci_high, color=colour, alpha=0.5)
            axes.plot(own.difference, height, MARKS[i + 1], color=colour, markersize=8, label=matching)
        axes.axvline(0, color=GREY, linewidth=1.2)
        axes.set_yticks(range(len(metrics)), metrics)
        axes.set(ylim=(len(metrics) - 0.4, -0.6), xlabel=f"3DM-WeConv minus plain ({unit})")
    legend_below(figure, axes, len(matchings))
    return figure


@styled
def labels_figure(
    rows: Sequence[tuple[NDArray[np.uint8], Mapping[str, NDArray[np.integer]]]], classes: Sequence[str], title: str
) -> Figure:
    """Draw photographs (H, W, 3) with label maps (H, W) by heading beside them; a label beyond the classes is black."""
    colours = ListedColormap([*(colormaps["tab20"](i) for i in range(len(classes))), "black"])
    figure, cells = new_figure(title, (11.0, 1.4 + 2.3 * len(rows)), len(rows), 1 + len(rows[0][1]))
    places = iter(cells)
    for picture, maps in rows:
        next(places).imshow(picture)
        for (name, labels), axes in zip(maps.items(), places, strict=False):
            shown = np.minimum(labels, len(classes))
            axes.imshow(shown, cmap=colours, vmin=0, vmax=len(classes), interpolation="nearest")
            axes.set_title(name, fontsize=10)
    for axes in cells:
        axes.set_axis_off()
    handles = [cells[0].scatter([], [], color=colours(i), marker="s", label=name) for i, name in enumerate(classes)]
    legend_below(figure, handles, 6, fontsize=9)
    return figure
