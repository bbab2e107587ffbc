"""Figures of the application studies: differences with their intervals, robustness, calibration, label maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lab.figures.style import GREY, PALETTE, style

VOID_COLOUR = "#000000"
MARKS = "os^D"
LINE = 96
"""Characters of a heading that 11 inches hold."""


def differences_figure(panels: Mapping[str, pd.DataFrame], title: str) -> Figure:
    """Draw 3DM-WeConv minus plain with its 95 % interval over seeds, one panel per unit, one colour per matching.

    Args:
        panels: unit to rows as :func:`lab.applications.study.differences` returns them.
        title: heading; say on which data.
    """
    tallest = max(rows.metric.str.rpartition(", ")[0].nunique() for rows in panels.values())
    with style():
        figure = Figure(figsize=(11.0, 2.2 + 0.55 * tallest), layout="constrained")
        for axes, (unit, rows) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
            names = rows.metric.str.rpartition(", ")
            metrics, matchings = list(dict.fromkeys(names[0])), list(dict.fromkeys(names[2]))
            for i, matching in enumerate(matchings):
                own = rows[names[2] == matching]
                height = np.arange(len(metrics)) + 0.24 * (i - (len(matchings) - 1) / 2)
                colour, mark = PALETTE[i + 1], MARKS[i + 1]  # the first belong to the plain network, elsewhere
                axes.hlines(height, own.ci_low, own.ci_high, color=colour, linewidth=2.0, alpha=0.5)
                axes.plot(own.difference, height, mark, color=colour, markersize=8, label=matching)
            axes.axvline(0, color=GREY, linewidth=1.2)
            axes.set_yticks(range(len(metrics)), metrics)
            axes.set_ylim(len(metrics) - 0.4, -0.6)
            axes.set_xlabel(f"3DM-WeConv minus plain ({unit})")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=len(matchings))
        figure.suptitle(fill(title, LINE), x=0.005, ha="left", fontsize=14)
    return figure


def lines_figure(table: pd.DataFrame, x: str, y: str, by: str, panel: str, labels: Sequence[str], title: str) -> Figure:
    """Draw ``y`` over ``x`` as one line per ``by`` in one panel per ``panel``, with the span over the rows shaded.

    Args:
        table: has those four columns; several rows of one place (seeds) become their mean and their span.
        labels: text of the axes, x and y.
        title: heading; say on which data.
    """
    with style():
        names = list(dict.fromkeys(table[panel]))
        figure = Figure(figsize=(11.0, 4.8), layout="constrained")
        for axes, name in zip(figure.subplots(1, len(names), sharey=True, squeeze=False)[0], names, strict=True):
            for i, (line, rows) in enumerate(table[table[panel] == name].groupby(by, sort=False)):
                spread = rows.groupby(x)[y].agg(["mean", "min", "max"])
                axes.plot(spread.index, spread["mean"], f"{MARKS[i % len(MARKS)]}-", color=PALETTE[i], label=line)
                axes.fill_between(spread.index, spread["min"], spread["max"], color=PALETTE[i], alpha=0.15, linewidth=0)
            axes.set_title(name)
            axes.set_xlabel(labels[0])
        figure.axes[0].set_ylabel(labels[1])
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)
        figure.suptitle(title, x=0.005, ha="left", fontsize=14)
    return figure


def reliability_figure(bins: Mapping[str, pd.DataFrame], title: str) -> Figure:
    """Draw how often a classifier is right (y) when it says how sure it is (x); the diagonal is perfect calibration.

    Args:
        bins: network to a table with columns confidence, accuracy and share, as
            :func:`lab.applications.classification.reliability` returns it.
        title: heading; say on which data.
    """
    with style():
        figure = Figure(figsize=(11.0, 4.4), layout="constrained")
        panels = figure.subplots(1, len(bins), sharey=True, squeeze=False)[0]
        for i, (axes, (name, rows)) in enumerate(zip(panels, bins.items(), strict=True)):
            axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
            axes.scatter(rows.confidence, rows.accuracy, s=20 + 900 * rows.share, color=PALETTE[i], alpha=0.75)
            axes.set_title(name, fontsize=11)
            axes.set_xlabel("Confidence (area: share of pictures)")
            axes.set_xlim(0, 1.02)
            axes.set_ylim(0, 1.02)
        figure.axes[0].set_ylabel("Share that is right")
        figure.suptitle(title, x=0.005, ha="left", fontsize=14)
    return figure


def labels_figure(
    rows: Sequence[tuple[NDArray[np.uint8], Mapping[str, NDArray[np.integer]]]], classes: Sequence[str], title: str
) -> Figure:
    """Draw photographs with label maps beside them, one photograph per row; pixels without a label are black.

    Args:
        rows: (photograph (H, W, 3), heading to label map (H, W)); a label beyond the classes is none.
        classes: names for the legend, in the order of their numbers.
        title: heading; say on which data.
    """
    colours = ListedColormap([*_class_colours(len(classes)), VOID_COLOUR])
    with style():
        columns = 1 + len(rows[0][1])
        figure = Figure(figsize=(11.0, 1.4 + 2.3 * len(rows)), layout="constrained")
        for cells, (picture, maps) in zip(figure.subplots(len(rows), columns, squeeze=False), rows, strict=True):
            cells[0].imshow(picture)
            for axes, (name, labels) in zip(cells[1:], maps.items(), strict=True):
                shown = np.minimum(labels, len(classes))
                axes.imshow(shown, cmap=colours, vmin=0, vmax=len(classes), interpolation="nearest")
                axes.set_title(name, fontsize=10)
            for axes in cells:
                axes.set_axis_off()
        handles = [cells[0].scatter([], [], color=colours(i), marker="s", label=n) for i, n in enumerate(classes)]
        figure.legend(handles=handles, loc="outside lower center", ncols=6, fontsize=9)
        figure.suptitle(title, x=0.005, ha="left", fontsize=14)
    return figure


def _class_colours(count: int) -> list[tuple[float, float, float, float]]:
    from matplotlib import colormaps

    return [colormaps["tab20"](i) for i in range(count)]
