"""One look for all figures, and files that are the same byte for byte when the data are the same."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from PIL import Image

from weconvene_core.errors import WeconveneError
from weconvene_core.figures.svg import tidied
from weconvene_core.paths import RESULTS

FIGURES = RESULTS / "figures"
# Okabe and Ito's colours (2008), told apart by colour-blind readers; yellow is left out: too pale for lines
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#8A8A8A"
DPI, PHOTO_DPI = 100, 80  # a drawing of 9 inches, shrunk to a column of 3.5, is printed at 257 dots per inch
COLOURS, PHOTO_LEVELS = 128, 64
"""Of a drawing in all (errors on the edges of lines only), and of a photograph per channel (errors of 2 in 255)."""
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
    "grid.color": "#E4E4E4",
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
        return image.quantize(COLOURS, Image.Quantize.MAXCOVERAGE)  # the default cut loses lines of a rare colour
    step = 255 / (PHOTO_LEVELS - 1)
    image = image.point(lambda sample: round(round(sample / step) * step))
    return image.quantize(256, Image.Quantize.MAXCOVERAGE) if image.getcolors(256) else image
