"""Wavelet bands as pictures: the labelled mosaic, and one lifting step on a short signal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from torch import Tensor

from weconvene_core.errors import WeconveneError
from weconvene_core.figures.style import PALETTE, style
from weconvene_core.wavelets import Pyramid, dwt1d

MID_GREY = 0.5
TALLEST = 7.0
"""Largest height of a mosaic in inches: it should fit on a slide."""
CLIPPED_SHARE = 0.005
"""Share of a level's coefficients that may exceed the grey scale; otherwise a few strong edges flatten all else."""


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


def mosaic_figure(pyramids: Mapping[str, Pyramid], title: str) -> Figure:
    """Draw labelled mosaics side by side, one per heading; ``title`` says which image they show.

    Raises:
        WeconveneError: as :func:`mosaic`.
    """
    pictures = {name: mosaic(pyramid) for name, pyramid in pyramids.items()}
    alone = len(pictures) == 1
    height, width = next(iter(pictures.values())).shape
    across = min(11.0, TALLEST * len(pictures) * width / height)
    with style():
        figure = Figure(figsize=(across, across / len(pictures) * height / width + 0.8), layout="constrained")
        for axes, name in zip(figure.subplots(1, len(pictures), squeeze=False)[0], pictures, strict=True):
            axes.imshow(pictures[name], cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect="equal")
            _label_bands(axes, pyramids[name], 12 if alone else 10)
            axes.set_axis_off()
            axes.set_title(title if alone else name, fontsize=12)
        if not alone:
            figure.suptitle(title, x=0.005, ha="left", fontsize=14)
    return figure


def lifting_figure(signal: Tensor) -> Figure:
    """Draw the predict step of Haar and 5/3 on a signal (n,): what is left of each odd sample becomes ``high``."""
    with style():
        figure = Figure(figsize=(13.0, 4.8), layout="constrained")
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
            axes.margins(x=0.08)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


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


def _label_bands(axes: Axes, pyramid: Pyramid, size: int) -> None:
    """Name every band in its top left corner, and draw thin lines between the bands; empty bands have no name."""
    outline = [withStroke(linewidth=3, foreground="black")]
    for name, band in pyramid.bands().items():
        if not band.numel():
            continue
        (height, width), (top, left) = band.shape, _corner(pyramid, name)
        frame = Rectangle((left - 0.5, top - 0.5), width, height, fill=False, edgecolor="white", linewidth=0.8)
        axes.add_patch(frame)
        axes.annotate(name, (left, top), (4, -4), textcoords="offset points", va="top", color="white",
                      fontsize=size, fontweight="bold", path_effects=outline)  # fmt: skip


def _corner(pyramid: Pyramid, name: str) -> tuple[int, int]:
    """Return the (row, column) at which a band begins: the low band of its own level ends there."""
    if name.startswith("LL"):
        return 0, 0
    detail = pyramid.details[int(name[2:]) - 1]
    return (detail.hl.shape[0] if name[1] == "H" else 0), (detail.lh.shape[1] if name[0] == "H" else 0)
