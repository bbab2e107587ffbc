"""What training brought, as figures: rate and distortion by stage, where the bits go, and a checkpoint's log."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from lab.figures.style import DASHED, DOTTED, GREY, PALETTE, style
from weconvene_core.errors import WeconveneError
from weconvene_core.paths import CHECKPOINTS

LAST = {"linestyle": DASHED, "markerfacecolor": "none", "markersize": 9.0}
"""What the last of several curves that may coincide looks like."""
BPP_TICKS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


def stages_figure(table: pd.DataFrame, images: str, reference: Mapping[str, pd.DataFrame] | None = None) -> Figure:
    """Draw the rate-distortion curve after every stage of training; the last one dashed, as it may lie on another.

    Args:
        table: columns stage, quality, bpp, psnr_db; stages in the order of training.
        images: what was measured, for the title.
        reference: further curves by name, drawn dotted and grey, with the same columns but for the stage.
    """
    stages = list(dict.fromkeys(table.stage))
    with style():
        figure = Figure(figsize=(10.0, 6.0), layout="constrained")
        axes = figure.add_subplot()
        for name, rows in (reference or {}).items():
            axes.plot(rows.bpp, rows.psnr_db, linestyle=DOTTED, color=GREY, label=name)
        for i, stage in enumerate(stages):
            rows = table[table.stage == stage]
            look = LAST if i and i == len(stages) - 1 else {"linestyle": "-"}
            colour, name = PALETTE[i % len(PALETTE)], weights_named(stage)
            axes.plot(rows.bpp, rows.psnr_db, marker="o", color=colour, label=name, **look)
        rate_axis(axes, "Estimated rate")
        axes.set_ylabel("PSNR on 8-bit RGB (dB)")
        figure.suptitle(f"Rate and distortion by stage: {images}", x=0.005, ha="left", fontsize=14)
        axes.legend(loc="lower right")
    return figure


def weights_named(stage: str) -> str:
    """Say which of a stage's two weights is whose: "step 2 (1, 1)" becomes "step 2 (LF 1, HF 1)"."""
    return re.sub(r"\((\S+), (\S+)\)", r"(LF \1, HF \2)", stage)


def rate_axis(axes: Axes, name: str) -> None:
    """Make the x axis one of rates in bits per pixel, logarithmic, with plain numbers."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(BPP_TICKS))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel(f"{name} (bits per pixel, logarithmic)")


def shares_figure(table: pd.DataFrame, start: str, images: str) -> Figure:
    """Draw what the second step moves against its start: LF's share of the rate, and the loss, over the quality.

    Args:
        table: columns stage, quality, bpp, bpp_lf, loss; the stages to compare, ``start`` among them.
        start: the stage that the second step started from.
        images: what was measured, for the title.
    """
    before = table[table.stage == start].set_index("quality")
    stages = [stage for stage in dict.fromkeys(table.stage) if stage != start]
    with style():
        figure = Figure(figsize=(11.0, 4.6), layout="constrained")
        share, loss = figure.subplots(1, 2)
        for i, stage in enumerate(stages):
            rows = table[table.stage == stage].set_index("quality")
            look = {"color": PALETTE[i % len(PALETTE)], "marker": "o", "label": weights_named(stage)}
            look |= LAST if i and i == len(stages) - 1 else {"linestyle": "-"}
            share.plot(rows.index, 100 * (rows.bpp_lf / rows.bpp - before.bpp_lf / before.bpp), **look)
            loss.plot(rows.index, 100 * (rows.loss / before.loss - 1), **look)
        share.set_ylabel("LF share of the rate, change (points)")
        loss.set_ylabel("Loss with weights 1 and 1, change (%)")
        for axes in (share, loss):
            axes.axhline(0, color=GREY, label=start, zorder=1.5)
            axes.set_xticks(before.index)
            axes.set_xlabel("Quality")
        figure.suptitle(f"What the second step moves: {images}", x=0.005, ha="left", fontsize=14)
        figure.legend(*share.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def checkpoint_log(name: str, folder: Path = CHECKPOINTS) -> pd.DataFrame | None:
    """Return the validation log that ships beside a checkpoint (``NAME_validation.csv``), or None when there is none.

    Columns: step, seconds, quality, bpp, bpp_lf, bpp_hf, bpp_z, psnr_db, loss.

    Raises:
        WeconveneError: the file is there but cannot be read as such a table.
    """
    path = folder / f"{name}_validation.csv"
    if not path.is_file():
        return None
    try:
        return pd.read_csv(path)[["step", "seconds", "quality", "bpp", "bpp_lf", "bpp_hf", "bpp_z", "psnr_db", "loss"]]
    except (OSError, ValueError, KeyError) as error:
        raise WeconveneError(f"The log {path.name} cannot be read ({error}); restore it, as with git.") from error


def log_figure(log: pd.DataFrame, name: str) -> Figure:
    """Draw a checkpoint's validation over its training: loss against the first entry, rate and PSNR, by quality."""
    first = log.step.min()
    with style():
        figure = Figure(figsize=(11.0, 4.4), layout="constrained")
        panels = figure.subplots(1, 3)
        for i, (quality, rows) in enumerate(log.groupby("quality")):
            series = (100 * (rows.loss / rows.loss.iloc[0] - 1), rows.bpp, rows.psnr_db)
            for axes, values in zip(panels, series, strict=True):
                axes.plot(rows.step, values, color=PALETTE[i % len(PALETTE)], label=f"quality {quality:g}")
        titles = (f"Loss, change since step {first:,} (%)", "Estimated rate (bpp)", "PSNR (dB)")
        for axes, title in zip(panels, titles, strict=True):
            axes.set_title(title, fontsize=12)
            axes.set_xlabel("Step")
            axes.xaxis.set_major_formatter("{x:,.0f}")
            axes.locator_params(axis="x", nbins=4)
        figure.suptitle(f"How {name} was trained: its own validation images, whole", x=0.005, ha="left", fontsize=14)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
    return figure
