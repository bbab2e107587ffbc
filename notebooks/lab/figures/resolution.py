"""BD-rate over resolution as a figure."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lab.figures.style import DARK, WIDTH, codec_looks, new_figure, note, shown_name, styled, write
from lab.rd.curves import METRIC_TITLES
from weconvene_core.datasets.image_sets import TITLES

SHIFT = 1.03
"""Factor of size between the marks of two anchors, so that their intervals do not cover each other."""
OTHERS = {"D": "diamonds", "s": "squares", "^": "triangles"}


@styled
def resolution_figure(table: pd.DataFrame, ours: str, images: str) -> Figure:
    """Draw our BD-rate against each live codec over the size of the pictures, with 95 % intervals over the images.

    One panel per metric. The scales of one set are joined by a line (dotted: without the files' headers); other sets
    stand alone as open marks, which the note below names. ``table`` holds rows of ``results/tables/resolution.csv``.
    """
    rows = table.dropna(subset="bd_rate_pct").sort_values("megapixels", ignore_index=True)
    rows["shrunk"] = rows.dataset.str.contains("-1/")
    alone = dict(zip(dict.fromkeys(rows.dataset[~rows.shrunk]), OTHERS, strict=False))
    looks = codec_looks(list(dict.fromkeys(rows.anchor)))
    metrics = [metric for metric in METRIC_TITLES if metric in set(rows.metric)]
    title, size = f"Gain over resolution: {images}", (WIDTH, 1.2 + 3.6 * len(metrics))
    figure, panels = new_figure(title, size, len(metrics), sharex=True)
    for axes, metric in zip(panels, metrics, strict=True):
        axes.axhline(0.0, color=DARK, linewidth=1.2)
        for place, (anchor, look) in enumerate(looks.items()):
            own = rows[(rows.metric == metric) & (rows.anchor == anchor)]
            own = own.assign(megapixels=own.megapixels * SHIFT ** (2 * place + 1 - len(looks)))
            _draw_scales(axes, own[own.shrunk], look.colour)
            for dataset, mark in alone.items():
                _draw_marks(axes, own[own.dataset == dataset], mark, look.colour, "white")
        axes.margins(x=0.08)
        axes.set(title=f"by {METRIC_TITLES[metric]}", ylabel=f"BD-rate of {ours} (%)")
    sizes = sorted(rows[rows.shrunk].megapixels.unique())
    panels[0].set_xscale("log", base=2)
    panels[0].set_xticks(sizes, [f"{size:.2g}" for size in sizes])
    panels[-1].set_xlabel("Megapixels of a picture (mean; the same photographs, shrunk)")
    others = [f"open {OTHERS[mark]}: {_title(name)}" for name, mark in alone.items()]
    marks = "; ".join(["dotted: without file headers", *others])
    note(figure, f"below zero: fewer bits; bars: 95 % over images\n{marks}")
    return figure


def _title(dataset: str) -> str:
    return "crops of full size" if "-crops/" in dataset else TITLES.get(dataset, dataset)


def _draw_scales(axes: Axes, rows: pd.DataFrame, colour: str) -> None:
    """Draw one anchor's line over the scales, with its name at the largest."""
    _draw_marks(axes, rows, "o-", colour, colour)
    axes.plot(rows.megapixels, rows.bare_pct, ":", color=colour, linewidth=1.4)
    last = rows.iloc[-1]
    at = (last.megapixels, last.bd_rate_pct)
    write(axes, f"against\n{shown_name(last.anchor)}", at, (12, 0), color=colour, annotation_clip=False)


def _draw_marks(axes: Axes, rows: pd.DataFrame, mark: str, colour: str, face: str) -> None:
    """Draw BD-rates with their intervals."""
    rate = rows.bd_rate_pct.to_numpy()
    spread = np.abs(rows[["ci_low", "ci_high"]].to_numpy().T - rate)
    look = {"color": colour, "markerfacecolor": face, "markersize": 8, "capsize": 4, "elinewidth": 1.4}
    axes.errorbar(rows.megapixels.to_numpy(), rate, spread, fmt=mark, **look)
