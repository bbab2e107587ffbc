"""Wavelet bands as pictures: the labelled mosaic, one lifting step on a short signal, and the wavelets' own shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from torch import Tensor

from lab.figures.pictures import draw, pixel_grid
from lab.figures.style import PALETTE, style
from lab.wavelet_analysis.filter_factoring import lifting_scheme
from weconvene_core.errors import WeconveneError
from weconvene_core.wavelets import Pyramid, dwt1d, idwt1d

MID_GREY = 0.5
ACROSS, TALLEST = 1100, 800
"""Most pixels that mosaics may take side by side and below each other: they should fit on a slide."""
CLIPPED_SHARE = 0.005
"""Share of a level's coefficients that may exceed the grey scale; otherwise a few strong edges flatten all else."""
NAMED = 1 / 12
"""Least share of the picture's width that a band needs to carry its name."""
TONES = 32
"""Steps of grey in a drawn detail band: half of a photograph's, since noise fills the file and shows no steps."""
DOUBLINGS = 7
"""Inverse transforms after which a wavelet's samples look like a curve."""


def mosaic(pyramid: Pyramid) -> NDArray[np.float64]:
    """Lay the bands of a picture's pyramid out as one picture (H, W) of the original size, values 0 to 1.

    LL_J sits top left and spans its own range. HL_j lies right of the level below it, LH_j under it, HH_j across. Their
    grey scale is symmetric: 0.5 is zero, and each level has its own limit (stretched so that fine bands show too).

    Raises:
        WeconveneError: the bands are not two-dimensional: pick one channel of one picture first.
    """
    if pyramid.low.ndim != 2:
        raise WeconveneError(f"A mosaic shows one channel (H, W), not {tuple(pyramid.low.shape)}: pick one first.")
    picture = _stretched(pyramid.low)
    for detail in reversed(pyramid.details):
        limit = _limit([detail.hl, detail.lh, detail.hh])
        hl, lh, hh = (MID_GREY + MID_GREY * _array(b / limit).clip(-1, 1) for b in (detail.hl, detail.lh, detail.hh))
        picture = np.block([[picture, hl], [lh, hh]])
    return picture


def drawn_size(height: int, width: int, rows: int, columns: int) -> tuple[int, int, int]:
    """Return how many coefficients share a pixel along each side, and the (height, width) in pixels of a mosaic.

    A mosaic that is small enough for its place takes a whole number of pixels per coefficient.

    Args:
        height, width: of the picture.
        rows, columns: pictures of this size in the figure.
    """
    step = max(-(-columns * width // ACROSS), -(-rows * height // TALLEST))
    height, width = -(-height // step), -(-width // step)
    times = max(1, min(ACROSS // (columns * width), TALLEST // (rows * height)))
    return step, times * height, times * width


def with_step(title: str, step: int) -> str:
    """Return the title of a figure with mosaics, which says how many coefficients share a pixel."""
    return title if step == 1 else f"{title}; a pixel is the strongest of {step} x {step} coefficients"


def draw_mosaic(axes: Axes, pyramid: Pyramid, step: int, size: int, least: float = NAMED) -> None:
    """Show a mosaic in axes whose unit stays one coefficient; a pixel of a detail band is the strongest of its block.

    Leaving coefficients out instead would lose most of a few kept ones and alias thin lines. LL is averaged.

    Args:
        axes: where; their size in pixels should come from :func:`drawn_size`.
        pyramid: bands (H, W) of one channel.
        step: side of the block that shares a pixel.
        size: font size of the bands' names.
        least: as in :func:`label_bands`.
    """
    blocks = _blocks(mosaic(pyramid), step)
    strongest = np.abs(blocks - MID_GREY).argmax(-1, keepdims=True)
    picture = np.round(TONES * np.take_along_axis(blocks, strongest, -1)[..., 0]) / TONES
    inside = tuple(slice(side // step) for side in pyramid.low.shape)  # blocks that lie in LL alone
    picture[inside] = blocks[inside].mean(-1)
    height, width = (step * side for side in picture.shape)
    draw(axes, picture, vmax=1, extent=(-0.5, width - 0.5, height - 0.5, -0.5))
    label_bands(axes, pyramid, size, least)


def _blocks(picture: NDArray[np.float64], step: int) -> NDArray[np.float64]:
    """Return the samples of a picture (H, W) by block, (ceil(H / step), ceil(W / step), step^2); edges are repeated."""
    padded = np.pad(picture, [(0, -side % step) for side in picture.shape], mode="edge")
    height, width = (side // step for side in padded.shape)
    return padded.reshape(height, step, width, step).swapaxes(1, 2).reshape(height, width, step**2)


def mosaic_figure(pyramids: Mapping[str, Pyramid], title: str) -> Figure:
    """Draw labelled mosaics side by side, one per heading; ``title`` says which image they show.

    Raises:
        WeconveneError: as :func:`mosaic`.
    """
    alone = len(pyramids) == 1
    step, height, width = drawn_size(*mosaic(next(iter(pyramids.values()))).shape, 1, len(pyramids))
    with style():
        figure, (panels,) = pixel_grid(with_step(title, step), len(pyramids), width, [(0 if alone else 1, height)])
        for axes, (name, pyramid) in zip(panels, pyramids.items(), strict=True):
            draw_mosaic(axes, pyramid, step, 14 if alone else 11)
            axes.set_title("" if alone else name, fontsize=12, pad=5)
    return figure


def lifting_figure(signal: Tensor) -> Figure:
    """Draw the predict step of Haar and 5/3 on a signal (n,): what is left of each odd sample becomes ``high``."""
    with style():
        figure = Figure(figsize=(10.0, 4.4), layout="constrained")
        for axes, wavelet in zip(figure.subplots(1, 2, sharey=True), ("haar", "5/3"), strict=True):
            _, high = dwt1d(signal, wavelet, 0, "jpeg2000")
            even, odd = np.arange(0, len(signal), 2), np.arange(1, len(signal), 2)
            found, left_over = _array(signal)[odd], _array(high)  # one predict step, gain 1: odd = prediction + high
            predicted = found - left_over
            axes.vlines(odd, predicted, found, color=PALETTE[1], linewidth=3, label="high = odd sample - prediction")
            axes.plot(even, _array(signal)[even], "o", color=PALETTE[0], markersize=9, label="even sample")
            axes.plot(odd, found, "s", color=PALETTE[1], markersize=9, label="odd sample")
            axes.plot(odd, predicted, "_", color="black", markersize=22, markeredgewidth=2, label="prediction")
            for x, y, value in zip(odd, (predicted + found) / 2, left_over, strict=True):
                axes.annotate(f"{value:+g}", (x, y), (16, 0), textcoords="offset points", va="center", fontsize=12)
            axes.set_title({"haar": "Haar: the left neighbour", "5/3": "5/3: the mean of both neighbours"}[wavelet])
            axes.set_xlabel("Sample")
            axes.set_xlim(-0.6, len(signal) - 0.1)  # room for the last residual
        figure.axes[0].set_ylabel("Sample value")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def shapes_figure(wavelets: Sequence[str]) -> Figure:
    """Draw what one low and one high coefficient become when the inverse transform is repeated: the wavelets' shapes.

    Raises:
        WeconveneError: for a wavelet that nobody has.
    """
    with style():
        figure = Figure(figsize=(10.0, 4.6), layout="constrained")
        rows = figure.subplots(2, len(wavelets), sharex="col", sharey="row", squeeze=False)
        for column, wavelet in enumerate(wavelets):
            for row, band in enumerate(("low", "high")):
                axes, (x, y) = rows[row, column], wavelet_shape(wavelet, band)
                axes.plot(x, y, color=PALETTE[row])
                axes.margins(x=0.12)  # ticks away from those of the next panel
                axes.set_title(wavelet if row == 0 else "")
            rows[1, column].xaxis.set_major_locator(MaxNLocator(4, integer=True, prune="both"))
        rows[0, 0].set_ylabel("Scaling function\n(low)")
        rows[1, 0].set_ylabel("Wavelet\n(high)")
        figure.supxlabel("Samples of the coarse grid", fontsize=12)
    return figure


def wavelet_shape(wavelet: str, band: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (positions, values) of the curve that one coefficient of a ``band``, low or high, becomes.

    Positions count coarse samples from the coefficient; values have unit peak. Where nothing is left the curve is cut.
    """
    signal = torch.zeros(32, dtype=torch.float64)
    signal[16] = 1
    for doubling in range(DOUBLINGS):
        parts = (signal, torch.zeros_like(signal))
        low, high = parts[::-1] if doubling == 0 and band == "high" else parts
        signal = idwt1d(low, high, lifting_scheme(wavelet), 0, mode="periodic")
    x, y = np.arange(len(signal)) / 2**DOUBLINGS - 16, _array(signal / signal.abs().max())
    support = np.flatnonzero(np.abs(y) > 1e-4)
    inside = slice(max(0, support[0] - 1), support[-1] + 2)  # with a zero at both ends
    return x[inside], y[inside]


def _array(x: Tensor) -> NDArray[np.float64]:
    return x.detach().cpu().double().numpy()


def _stretched(band: Tensor) -> NDArray[np.float64]:
    values = _array(band)
    spread = float(np.ptp(values)) if values.size else 0.0
    return (values - values.min()) / spread if spread else np.full(values.shape, MID_GREY)


def _limit(bands: Sequence[Tensor]) -> float:
    """Return the magnitude that is drawn black or white: 1 for a level that is empty or all zero."""
    magnitudes = np.concatenate([np.abs(_array(band)).ravel() for band in bands])
    return float(np.quantile(magnitudes, 1 - CLIPPED_SHARE)) or 1.0 if magnitudes.size else 1.0


def label_bands(axes: Axes, pyramid: Pyramid, size: int, least: float = NAMED) -> None:
    """Frame every band of a mosaic and name those of the ``least`` share of its width or more, top left."""
    outline = [withStroke(linewidth=3, foreground="black")]
    across = sum(detail.hl.shape[1] for detail in pyramid.details) + pyramid.low.shape[1]
    for name, band in pyramid.bands().items():
        if not band.numel():
            continue
        (height, width), (top, left) = band.shape, _corner(pyramid, name)
        frame = Rectangle((left - 0.5, top - 0.5), width, height, fill=False, edgecolor="white", linewidth=0.8)
        axes.add_patch(frame)
        if width < least * across:
            continue
        axes.annotate(name, (left, top), (4, -4), textcoords="offset points", va="top", color="white",
                      fontsize=size, fontweight="bold", path_effects=outline)  # fmt: skip


def _corner(pyramid: Pyramid, name: str) -> tuple[int, int]:
    """Return the (row, column) at which a band begins: the low band of its own level ends there."""
    if name.startswith("LL"):
        return 0, 0
    detail = pyramid.details[int(name[2:]) - 1]
    return (detail.hl.shape[0] if name[1] == "H" else 0), (detail.lh.shape[1] if name[0] == "H" else 0)
