"""One look for all figures, what they share, and files that are the same byte for byte when the data are the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from itertools import cycle, product
from pathlib import Path
from textwrap import fill
from typing import NamedTuple, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression

from lab.paths import RUN
from weconvene_core.errors import WeconveneError

FIGURES = RUN / "figures"
# Okabe and Ito's colours (2008), told apart by colour-blind readers; yellow is left out: too pale for lines
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
BLUE, VERMILION, GREEN, PINK, ORANGE, SKY, BLACK = PALETTE
GREY, DARK, FAINT, GRID, SHADE = "#8A8A8A", "#333333", "#555555", "#E4E4E4", "#F3F3F3"
LF_COLOUR, HF_COLOUR, Z_COLOUR = BLUE, ORANGE, GREEN
"""LF, HF and z, the same in every figure of every chapter."""
HEADER_LOOK = {"color": "#C4C4C4", "hatch": "////", "edgecolor": "white"}
"""A file's header: grey with a hatch."""
MARKS = "os^DvPX*"
WIDTH = 7.2
"""Inches of a figure of curves or dots: 12 points are still 6 when it is shrunk to a column of 3.5 inches."""
LINE = 0.065
"""Height of a name beside the axes, as a share of theirs."""
Dash = str | tuple[float, tuple[float, ...]]
DASHED, DOTTED, DASH_DOT = (0, (5, 2)), (0, (1.2, 1.4)), (0, (6, 1.6, 1.4, 1.6))


class Look(NamedTuple):
    """Colour and dash of a codec, the same in every figure."""

    colour: str
    dash: Dash = "-"


CODEC_LOOK: dict[str, Look] = {
    "lite": Look(BLUE),
    "lite refined": Look(BLUE, DASHED),
    "JPEG": Look(VERMILION),
    "JPEG XL": Look(VERMILION, DASHED),
    "WebP": Look(GREEN),
    "JPEG 2000": Look(PINK),
    "JPEG 2000, mct=1": Look(PINK),
    "JPEG 2000, mct=0": Look(PINK, DASHED),
    "AVIF speed 6": Look(ORANGE),
    "AVIF speed 4": Look(ORANGE, DASHED),
    "AVIF speed 6, tune default": Look(ORANGE, DOTTED),
    "AV1 4:4:4 (libaom, speed 2)": Look(ORANGE, DASH_DOT),
    "HEVC 4:4:4 (x265)": Look(SKY),
    "VVC 4:2:0 (vvenc)": Look(BLACK),
}
"""Codecs measured here, each with a line of its own; relatives share a colour. Published codecs are grey."""
SHOWN = {
    "AVIF speed 6": "AVIF as Pillow ships it (speed 6)",
    "AVIF speed 6, tune default": "AVIF as Pillow ships it (speed 6), default tuning",
    "AV1 4:4:4 (libaom)": "AV1 4:4:4 (libaom, speed 4)",
    "lite refined": "lite, searched",
    "bmshj2018-hyperprior": "hyperprior (2018)",
    "paper-bmshj2018-factorized": "factorised prior (2018)",
    "elic2022": "ELIC (2022)",
    "WeConvene": "WeConvene (2-D)",
}
"""What figures call a codec where its name in tables says too little."""
RC: dict[str, object] = {
    "figure.dpi": 100,
    "savefig.dpi": 100,
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same glyphs on every machine
    "font.size": 12.0,
    "axes.titlesize": 14.0,
    "axes.titlelocation": "left",
    "axes.titlepad": 12.0,
    "axes.labelsize": 12.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": mpl.cycler(color=PALETTE),
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "lines.linewidth": 2.0,
    "lines.markersize": 5.0,
    "legend.frameon": False,
    "svg.hashsalt": "weconvene",  # element ids would be random otherwise
    "svg.fonttype": "path",
}
P, R = ParamSpec("P"), TypeVar("R")


@contextmanager
def style() -> Iterator[None]:
    """Draw in the project's style inside a ``with`` block, leaving the reader's own settings alone."""
    with mpl.rc_context(RC):
        yield


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function that draws, so that it draws in the project's style."""

    @wraps(draw)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with style():
            return draw(*args, **kwargs)

    return call


def new_figure(
    title: str, size: tuple[float, float], rows: int = 1, columns: int = 1, **subplots: object
) -> tuple[Figure, list[Axes]]:
    """Return a figure of ``size`` inches, its title at the left edge, and its axes row by row."""
    figure = Figure(figsize=size, layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, **subplots).flat)
    if title:
        figure.suptitle(fill(title, round(9.5 * size[0])), x=0.005, ha="left", fontsize=14)
    return figure, axes


def legend_below(figure: Figure, entries: Axes | Iterable[Artist], columns: int, **how: object) -> None:
    """Put a legend under the axes of a figure, of the labelled artists of some axes or of ``entries`` themselves."""
    handles = entries.get_legend_handles_labels()[0] if isinstance(entries, Axes) else list(entries)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, **how)


def note(figure: Figure, text: str) -> None:
    """Write what a figure needs to be read below it, small."""
    figure.supxlabel(text, fontsize=10, color=FAINT)


def write(axes: Axes, text: str, at: tuple[float, float], offset: tuple[float, float] = (8, 0), **look: object) -> None:
    """Write ``offset`` points away from a place, by default to its right."""
    axes.annotate(text, at, offset, **({"textcoords": "offset points", "va": "center"} | look))


def write_beside(axes: Axes, text: str, height: float, offset: float = 8, **look: object) -> None:
    """Write right of the axes, at a height of theirs."""
    write(axes, text, (1.0, height), (offset, 0), xycoords=("axes fraction", "data"), **look)


def write_at_ends(axes: Axes, ends: Sequence[tuple[tuple[float, float], str, dict[str, object]]]) -> None:
    """Write names right of the axes, near the heights of the places that they belong to, with thin lines to them.

    ``ends`` are places, names and looks; the limits and scales of the axes are final.
    """
    within = axes.transScale + axes.transLimits  # from data to shares of the axes
    places = [within.transform(place) for place, *_ in ends]
    for (x, y), height, (_, text, look) in zip(places, apart([y for _, y in places], LINE), ends, strict=True):
        axes.plot([x, 1.0], [y, height], color=look["color"], linewidth=0.6, clip_on=False, transform=axes.transAxes)
        write(axes, text, (1.0, height), (4, 0), xycoords="axes fraction", fontsize=11, **look)


def plain_log(axis: Axis, ticks: Sequence[float] | None = None) -> None:
    """Make an axis logarithmic with plain numbers, at ``ticks`` or at 1, 2 and 5."""
    axis._set_axes_scale("log")
    axis.set_major_locator(FixedLocator(ticks) if ticks is not None else LogLocator(subs=(1, 2, 5)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: f"{value:g}")


def shown_name(codec: str) -> str:
    """Return what figures and printed tables call a codec."""
    return SHOWN.get(codec, codec)


def apart(places: ArrayLike, gap: float) -> NDArray[np.float64]:
    """Return places moved as little as it takes (least squares) to keep their order and lie ``gap`` apart."""
    places = np.asarray(places, dtype=float)
    order, steps = np.argsort(places, kind="stable"), gap * np.arange(len(places))
    moved = np.empty_like(places)
    moved[order] = isotonic_regression(places[order] - steps).x + steps
    return moved


def codec_looks(names: Sequence[str]) -> dict[str, Look]:
    """Return a look for every codec of one figure: from ``CODEC_LOOK``, and for others the first that is free there."""
    looks = {name: CODEC_LOOK[name] for name in names if name in CODEC_LOOK}
    everything = [Look(colour, dash) for dash, colour in product(("-", DASHED, DOTTED, DASH_DOT), PALETTE)]
    free = cycle([look for look in everything if look not in looks.values()])
    return {name: looks[name] if name in looks else next(free) for name in names}


def save(figure: Figure, name: str, folder: Path = FIGURES) -> Path:
    """Write ``figure`` to ``folder`` as ``NAME.png`` and, unless it shows photographs, as ``NAME.svg``; return the PNG.

    No dates or versions go into the files, so the same figure gives the same bytes.

    Raises
    ------
    WeconveneError
        If the name has other characters than letters, digits, ``-`` and ``_``, or the files cannot be written.
    """
    if not re.fullmatch(r"[\w-]+", name):
        raise WeconveneError(f"'{name}' cannot name a figure: use letters, digits, '-' and '_'.")
    photographs = any(axes.images for axes in figure.axes)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with style():
            figure.savefig(folder / f"{name}.png", metadata={"Software": None})
            if not photographs:
                figure.savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None})
    except OSError as error:
        raise WeconveneError(f"Cannot write the figure {name} to {folder} ({error}): check its permissions.") from error
    return folder / f"{name}.png"
