"""What the codec costs, as figures: MACs by part, time by stage, growth with the image, and the field around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from lab.complexity.count_macs import FOLDING, OUTSIDE, Macs
from lab.complexity.latency import STAGES
from lab.complexity.tables import growth, megapixels
from lab.figures.style import DASHED, DOTTED, GREY, PALETTE, style
from weconvene_core.model.presets import PRESETS

PARTS = {
    "g_a": ("g_a (analysis)", PALETTE[0]),
    "h_a": ("h_a (hyper analysis)", PALETTE[3]),
    "h_s": ("h_s (hyper synthesis)", PALETTE[2]),
    "charm": ("3DWeChARM", PALETTE[1]),
    "g_s": ("g_s (synthesis)", PALETTE[5]),
    FOLDING: ("folding the channel DWT into kernels", GREY),
    OUTSIDE: ("colour transform", PALETTE[6]),
}
"""The parts of this project's models in the order of the data flow, with their names and colours."""
STAGE_COLOURS = (PALETTE[0], PALETTE[2], PALETTE[1], GREY)
BAR = 0.62
NARROW = 0.06
"""A piece of a bar below this share of its axis is left without a number."""
VISIBLE = 0.1
"""kMAC/px below which a part cannot be seen and is not in the legend."""
LIGHT = 0.28
"""Luminance of a fill from which its numbers are dark."""
MODEL_GAP = 0.5
"""Rows left free between two models."""
MARK = 5.0
"""Half the side of a mark, in points, with some air."""
PLACES = [
    *((9.0, 0.0), (-9.0, 0.0), (8.0, 5.0), (8.0, -5.0), (-8.0, 5.0), (-8.0, -5.0)),
    *((7.0, 9.0), (-7.0, 9.0), (7.0, -9.0), (-7.0, -9.0)),
    *((side * across, up) for across, rise in ((16.0, 15.0), (22.0, 24.0), (30.0, 36.0), (38.0, 48.0))
      for up in (rise, -rise) for side in (1, -1)),
]  # fmt: skip
"""Where the near end of a name may stand, in points from its mark, best first."""


def macs_figure(sides: Mapping[str, Macs], pixels: int, limit: float, title: str) -> Figure:
    """Draw the MACs per pixel of each side (``encode``, ``decode``) as one bar, split into its parts.

    Args:
        sides: MACs by part for every bar, in order from top to bottom.
        pixels: pixels of the image that was coded.
        limit: kMAC/px of the bound, drawn as a line.
        title: what was counted.
    """
    with style():
        figure = Figure(figsize=(9.0, 3.9), layout="constrained")
        axes = figure.add_subplot()
        starts = np.zeros(len(sides))
        for part, (name, colour) in PARTS.items():
            widths = np.array([macs.get(part, 0) / (1e3 * pixels) for macs in sides.values()])
            label = name if widths.max() >= VISIBLE else "_nolegend_"
            axes.barh(range(len(sides)), widths, BAR, starts, color=colour, label=label)
            _numbers(axes, range(len(sides)), starts, widths, colour, limit)
            starts = starts + widths
        axes.axvline(limit, color="#333333", linestyle=(0, (5, 3)), linewidth=1.2)
        axes.annotate(f"bound {limit:g}", (limit, 0.5), (5, 0), textcoords="offset points", va="center")
        labels = [f"{side}\n{total:.1f} in all" for side, total in zip(sides, starts, strict=True)]
        _frame_bars(axes, range(len(sides)), labels, title, "Thousands of MACs per pixel")
        axes.set_xlim(0, 1.14 * max(limit, starts.max()))
        figure.legend(loc="outside lower center", ncols=3)
    return figure


def stages_figure(stages: pd.DataFrame, image: str) -> Figure:
    """Draw where encoding and decoding spend their time, each bar scaled to its own total, which stands beside it.

    Args:
        stages: rows of :func:`lab.complexity.tables.measure_costs` for one image size.
        image: what was coded, for the title.
    """
    labels = [f"{row.model}, {row.side}" for row in stages.itertuples()]
    places = np.arange(len(stages)) + MODEL_GAP * pd.factorize(stages.model)[0]
    with style():
        figure = Figure(figsize=(9.0, 1.5 + 0.42 * (places[-1] + 1)), layout="constrained")
        axes = figure.add_subplot()
        starts = np.zeros(len(stages))
        for stage, colour in zip(STAGES, STAGE_COLOURS, strict=True):
            share = 100 * (stages[stage] / stages[list(STAGES)].sum(axis=1)).to_numpy()
            axes.barh(places, share, 0.8, starts, color=colour, label=stage)
            _numbers(axes, places, starts, share, colour, 100.0, "{:.0f} %")
            starts = starts + share
        for place, total in zip(places, stages.total, strict=True):
            axes.annotate(_milliseconds(total), (100, place), (8, 0), textcoords="offset points", va="center")
        figure.suptitle(f"Where the time goes: {image}", x=0.005, ha="left", fontsize=14)
        _frame_bars(axes, places, labels, "", "Share of the time (%); beside it the median in all")
        axes.set_ylim(places[-1] + 0.6, -0.6)
        axes.set_xlim(0, 114)
        axes.set_xticks(range(0, 101, 20))
        figure.legend(loc="outside lower center", ncols=4)
    return figure


def growth_figure(table: pd.DataFrame, name: str, conditions: str) -> Figure:
    """Draw encode and decode time over the number of pixels beside a line of time proportional to them.

    Args:
        table: rows of one model at several sizes, in rising order.
        name: the model.
        conditions: threads and device, for the title.
    """
    pixels = megapixels(table)
    with style():
        figure = Figure(figsize=(9.0, 5.2), layout="constrained")
        axes = figure.add_subplot()
        for side, colour, marker, look in (
            ("encode", PALETTE[0], "o", {"markersize": 7}),
            ("decode", PALETTE[1], "s", {"markersize": 11, "markerfacecolor": "none", "linestyle": DASHED}),
        ):
            slope, _, fit = growth(table, f"{side}_ms")
            text = f"{side}: {slope:.0f} ms per megapixel by least squares, R² = {fit:.4f}"
            axes.plot(pixels, table[f"{side}_ms"], color=colour, marker=marker, label=text, **look)
        ends = np.array([pixels.min(), pixels.max()])
        usual = float(np.median(table.decode_ms / pixels))
        axes.plot(ends, usual * ends, color=GREY, linestyle=DOTTED, label="proportional to the pixels", zorder=1.5)
        axes.set_xscale("log")
        axes.set_yscale("log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:,g}")
        axes.set_xlabel("Pixels (millions, logarithmic)")
        axes.set_ylabel("Median time (ms, logarithmic)")
        axes.set_title(f"{name}: time over image size ({conditions})")
        axes.legend(loc="upper left")
    return figure


def landscape_figure(measured: pd.DataFrame, published: pd.DataFrame) -> Figure:
    """Draw parameters against MACs per pixel of one pass: measured here filled, published by others hollow.

    Args:
        measured: columns model, params_m, kmac_px.
        published: as :func:`lab.complexity.tables.published_complexity` returns it.
    """
    with style():
        figure = Figure(figsize=(9.0, 5.6), layout="constrained")
        axes = figure.add_subplot()
        middle = (published.params_m_low + published.params_m_high) / 2
        spread = (published.params_m_high - published.params_m_low) / 2
        axes.errorbar(
            middle, published.kmac_px, xerr=spread, fmt="o", markersize=8, color=GREY, markerfacecolor="white",
            markeredgewidth=1.6, label="published by others",
        )  # fmt: skip
        axes.plot(measured.params_m, measured.kmac_px, "o", color=PALETTE[0], markersize=9, label="counted in this run")
        names = [*published.model, *(f"preset {name}" if name in PRESETS else name for name in measured.model)]
        points = list(zip([*middle, *measured.params_m], [*published.kmac_px, *measured.kmac_px], strict=True))
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(0.3 * measured.params_m.min(), 4.5 * published.params_m_high.max())
        axes.set_ylim(0.6 * measured.kmac_px.min(), 1.8 * published.kmac_px.max())
        axes.set_xlabel("Parameters (millions, logarithmic)")
        axes.set_ylabel("kMAC per pixel, one pass (logarithmic)")
        axes.set_title("Size and arithmetic of learned image codecs")
        axes.legend(loc="upper left")
        figure.draw_without_rendering()  # only now it is known where the points lie
        _name_points(axes, names, points, ["#555555"] * len(published) + [PALETTE[0]] * len(measured))
    return figure


def _name_points(
    axes: Axes, names: Sequence[str], points: Sequence[tuple[float, float]], colours: Sequence[str]
) -> None:
    """Write each name where it touches no mark and no other name, the nearest such place, led to its mark if far."""
    dpi = axes.figure.dpi
    taken = [_box(at, np.full(2, 2 * MARK * dpi / 72)) for at in axes.transData.transform(points)]
    for name, point, colour in zip(names, points, colours, strict=True):
        text = axes.text(*point, name, fontsize=11)
        size = text.get_window_extent().size
        text.remove()
        centres = [axes.transData.transform(point) + _shift(place, size, dpi) for place in PLACES]
        boxes = [_box(centre, size) for centre in centres]
        chosen = next((i for i, box in enumerate(boxes) if not box.count_overlaps(taken)), 0)
        taken.append(boxes[chosen])
        across, up = PLACES[chosen]
        leader = {"arrowstyle": "-", "color": colour, "linewidth": 0.8, "shrinkA": 1, "shrinkB": 4}
        axes.annotate(
            name, point, (across, up), textcoords="offset points", ha="left" if across > 0 else "right", va="center",
            color=colour, fontsize=11, arrowprops=leader if abs(up) > 2 * MARK else None,
        )  # fmt: skip


def _box(centre: NDArray[np.float64], size: NDArray[np.float64]) -> Bbox:
    return Bbox([centre - size / 2, centre + size / 2])


def _shift(place: tuple[float, float], size: NDArray[np.float64], dpi: float) -> NDArray[np.float64]:
    """From a mark to the centre of a text of so many pixels whose near end is at ``place`` (points)."""
    across, up = np.array(place) * dpi / 72
    return np.array([across + np.sign(across) * size[0] / 2, up])


def _numbers(
    axes: Axes, places: Sequence[float], starts: Sequence[float], widths: Sequence[float], colour: str, whole: float,
    text: str = "{:.1f}",
) -> None:  # fmt: skip
    """Write each piece's size into it where there is room, in an ink that its colour bears."""
    ink = "white" if _luminance(colour) < LIGHT else "#333333"
    for place, start, width in zip(places, starts, widths, strict=True):
        if width > NARROW * whole:
            look = {"ha": "center", "va": "center", "color": ink, "fontsize": 11}
            axes.annotate(text.format(width), (start + width / 2, place), **look)


def _luminance(colour: str) -> float:
    """Relative luminance of a colour, 0 to 1, as WCAG 2 defines it."""
    samples = np.array(to_rgb(colour))
    linear = np.where(samples <= 0.04045, samples / 12.92, ((samples + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def _frame_bars(axes: Axes, places: Sequence[float], labels: Sequence[str], title: str, xlabel: str) -> None:
    axes.set_yticks(places, labels)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_title(title)
    axes.set_xlabel(xlabel)


def _milliseconds(value: float) -> str:
    return f"{value:.0f} ms" if value < 1000 else f"{value / 1e3:.1f} s"
