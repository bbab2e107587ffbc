"""BD-rate over resolution as a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lab.figures.style import WIDTH, Look, codec_looks, style
from lab.rd.curves import METRIC_TITLES
from weconvene_core.datasets.image_sets import TITLES

SHIFT = 1.03
"""Factor of size between the marks of two anchors, so that their intervals do not cover each other."""
OTHERS = {"D": "diamonds", "s": "squares", "^": "triangles"}


def resolution_figure(table: pd.DataFrame, ours: str, images: str) -> Figure:
    """Draw our BD-rate against each live codec over the size of the pictures, with 95 % intervals over the images.

    One panel per metric. The scales of one set are joined by a line (dotted: without the files' headers); other sets
    stand alone as open marks, which the note below names.

    Args:
        table: rows of ``results/tables/resolution.csv``.
        ours: name of our codec, for the axis.
        images: what was measured, for the title.
    """
    rows = table.dropna(subset="bd_rate_pct").sort_values("megapixels", ignore_index=True)
    rows["shrunk"] = rows.dataset.str.contains("-1/")
    alone = list(dict.fromkeys(rows.dataset[~rows.shrunk]))
    looks = codec_looks(list(dict.fromkeys(rows.anchor)))
    metrics = [metric for metric in METRIC_TITLES if metric in set(rows.metric)]
    with style():
        figure = Figure(figsize=(WIDTH, 1.2 + 3.6 * len(metrics)), layout="constrained")
        panels = figure.subplots(len(metrics), 1, sharex=True, squeeze=False)[:, 0]
        for axes, metric in zip(panels, metrics, strict=True):
            _panel(axes, rows[rows.metric == metric], looks, alone)
            axes.set_title(f"by {METRIC_TITLES[metric]}")
            axes.set_ylabel(f"BD-rate of {ours} (%)")
        sizes = sorted(rows[rows.shrunk].megapixels.unique())
        panels[0].set_xscale("log", base=2)
        panels[0].set_xticks(sizes, [f"{size:.2g}" for size in sizes])
        panels[-1].set_xlabel("Megapixels of a picture (mean; the same photographs, shrunk)")
        title = fill(f"Gain over resolution: {images}", 62)
        figure.suptitle(title, x=0.005, ha="left", fontsize=14)
        figure.supxlabel(_notes(alone), fontsize=10, color="#555555")
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, looks: Mapping[str, Look], alone: Sequence[str]) -> None:
    """Draw one metric: a line per anchor over the scales, and the marks of the sets that stand alone."""
    axes.axhline(0.0, color="#333333", linewidth=1.2)
    for place, (anchor, look) in enumerate(looks.items()):
        own = rows[rows.anchor == anchor]
        own = own.assign(megapixels=own.megapixels * SHIFT ** (2 * place + 1 - len(looks)))
        _draw_scales(axes, own[own.shrunk], look)
        for dataset, mark in zip(alone, OTHERS, strict=False):
            _draw_marks(axes, own[own.dataset == dataset], mark, look.colour, "white")
    axes.margins(x=0.08)


def _notes(alone: Sequence[str]) -> str:
    """Return what the figure's marks and lines mean."""
    others = [f"open {word}: {TITLES.get(name, name)}" for name, word in zip(alone, OTHERS.values(), strict=False)]
    return "below zero: fewer bits; bars: 95 % over images\n" + "; ".join(["dotted: without file headers", *others])


def _draw_scales(axes: Axes, rows: pd.DataFrame, look: Look) -> None:
    """Draw one anchor's line over the scales, with its name at the largest."""
    _draw_marks(axes, rows, "o-", look.colour, look.colour)
    axes.plot(rows.megapixels, rows.bare_pct, ":", color=look.colour, linewidth=1.4)
    last = rows.iloc[-1]
    place = {"xytext": (12, 0), "textcoords": "offset points", "va": "center", "annotation_clip": False}
    axes.annotate(f"against\n{last.anchor}", (last.megapixels, last.bd_rate_pct), color=look.colour, **place)


def _draw_marks(axes: Axes, rows: pd.DataFrame, mark: str, colour: str, face: str) -> None:
    """Draw BD-rates with their intervals."""
    rate = rows.bd_rate_pct.to_numpy()
    reach = np.abs(rows[["ci_low", "ci_high"]].to_numpy().T - rate)
    look = {"color": colour, "markerfacecolor": face, "markersize": 8, "capsize": 4, "elinewidth": 1.4}
    axes.errorbar(rows.megapixels.to_numpy(), rate, reach, fmt=mark, **look)
