"""One look for all figures, and files that are the same byte for byte when the data are the same."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, product
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from lab.figures.svg import tidied
from weconvene_core.errors import WeconveneError
from weconvene_core.paths import RESULTS

FIGURES = RESULTS / "figures"
# Okabe and Ito's colours (2008), told apart by colour-blind readers; yellow is left out: too pale for lines
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
BLUE, VERMILION, GREEN, PINK, ORANGE, SKY, BLACK = PALETTE
GREY, GRID, SHADE = "#8A8A8A", "#E4E4E4", "#F3F3F3"
EXACT = (*PALETTE, GREY, GRID, SHADE, "#FFFFFF", "#333333", "#555555")
"""Colours that a PNG keeps to the digit, so that it shows what the SVG shows."""
WIDTH = 7.2
"""Inches of a figure of curves or dots: 12 points are still 6 when it is shrunk to a column of 3.5 inches."""
DPI, PHOTO_DPI = 100, 80  # a drawing of 9 inches, shrunk to a column of 3.5, is printed at 257 dots per inch
COLOURS, PHOTO_LEVELS = 128, 64
"""Of a drawing in all (errors on the edges of lines only), and of a photograph per channel (errors of 2 in 255)."""
AREAS = 24
"""Colours of a drawing that are kept because they cover most: tints of shaded areas among them."""
Dash = str | tuple[float, tuple[float, ...]]
DASHED, DOTTED, DASH_DOT = (0, (5, 2)), (0, (1.2, 1.4)), (0, (6, 1.6, 1.4, 1.6))


@dataclass(frozen=True)
class Look:
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
    "AV1 4:4:4 (libaom)": Look(ORANGE, DASH_DOT),
    "HEVC 4:4:4 (x265)": Look(SKY),
    "VVC 4:2:0 (vvenc)": Look(BLACK),
}
"""Codecs measured here, each with a line of its own; relatives share a colour. Published codecs are grey."""
RC: dict[str, object] = {
    "figure.figsize": (9.0, 5.4),
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
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


@contextmanager
def style() -> Iterator[None]:
    """Draw in the project's style inside a ``with`` block, leaving the reader's own settings alone."""
    with mpl.rc_context(RC):
        yield


def codec_looks(names: Sequence[str]) -> dict[str, Look]:
    """Return a look for every codec of one figure: from ``CODEC_LOOK``, and for others the first that is free there."""
    looks = {name: CODEC_LOOK[name] for name in names if name in CODEC_LOOK}
    everything = [Look(colour, dash) for dash, colour in product(("-", DASHED, DOTTED, DASH_DOT), PALETTE)]
    free = cycle([look for look in everything if look not in looks.values()])
    return {name: looks[name] if name in looks else next(free) for name in names}


def save(figure: Figure, name: str, folder: Path = FIGURES) -> Path:
    """Write ``figure`` to ``folder`` as ``NAME.png`` and, unless it shows photographs, as ``NAME.svg``; return the PNG.

    No dates or versions go into the files, so the same figure gives the same bytes. A photograph gains nothing from a
    vector file but megabytes; ``COLOURS`` and ``PHOTO_LEVELS`` take a third of the PNG's bytes and nothing to be seen.

    Raises:
        WeconveneError: a name with other characters than letters, digits, ``-`` and ``_``, or no write permission.
    """
    if not re.fullmatch(r"[\w-]+", name):
        raise WeconveneError(f"'{name}' cannot name a figure: use letters, digits, '-' and '_'.")
    photographs = any(axes.images for axes in figure.axes)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with style():
            if not photographs:
                _save_svg(figure, folder / f"{name}.svg")
            _save_png(figure, folder / f"{name}.png", photographs)
    except OSError as error:
        raise WeconveneError(f"Cannot write the figure {name} to {folder} ({error}): check its permissions.") from error
    return folder / f"{name}.png"


def _save_svg(figure: Figure, path: Path) -> None:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    path.write_text(tidied(buffer.getvalue()), encoding="utf-8", newline="\n")


def _save_png(figure: Figure, path: Path, photographs: bool) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None}, dpi=PHOTO_DPI if photographs else DPI)
    with Image.open(buffer) as image:
        reduced(image.convert("RGB"), photographs).save(path, optimize=True)


def reduced(image: Image.Image, photographs: bool) -> Image.Image:
    """Return an RGB picture of a figure with the colours that its PNG keeps, as a palette where 256 are enough."""
    if not photographs:
        return _with_palette(np.asarray(image))
    step = 255 / (PHOTO_LEVELS - 1)
    image = image.point(lambda sample: round(round(sample / step) * step))
    return image.quantize(256, Image.Quantize.MAXCOVERAGE) if image.getcolors(256) else image


def _with_palette(pixels: NDArray[np.uint8]) -> Image.Image:
    """Return a picture (H, W, 3) with ``COLOURS`` colours: the style's own, its largest areas, and what spans the rest.

    Pillow's cuts choose colours that stand for many others, so a grid of one light grey would turn to a tint.
    """
    packed = pixels.astype(np.int32) @ np.array([65536, 256, 1])
    found, place, count = np.unique(packed, return_inverse=True, return_counts=True)
    colours = np.stack([found >> 16, found >> 8 & 255, found & 255], axis=1)
    largest = colours[np.argsort(-count, kind="stable")[:AREAS]]
    styled = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in EXACT])
    palette = _spanning(np.unique(np.concatenate([styled, largest]), axis=0), colours, COLOURS)
    nearest = np.argmin(_distances(colours, palette), axis=1).astype(np.uint8)
    image = Image.fromarray(nearest[place].reshape(pixels.shape[:2]))
    image.putpalette(palette.astype(np.uint8).tobytes())
    return image


def _spanning(chosen: NDArray[np.int64], colours: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return the chosen colours and those that lie farthest from all before them, up to ``count`` in all."""
    distance = _distances(colours, chosen).min(axis=1)
    while len(chosen) < count and distance.any():
        farthest = colours[[np.argmax(distance)]]
        chosen = np.concatenate([chosen, farthest])
        distance = np.minimum(distance, _distances(colours, farthest)[:, 0])
    return chosen


def _distances(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return squared distances (A, B) of colours (A, 3) and (B, 3)."""
    return ((a[:, None] - b) ** 2).sum(axis=2)
