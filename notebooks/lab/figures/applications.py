"""Figures of the chapters beyond compression: label maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lab.figures.style import legend_below, new_figure, styled


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
