"""Wavelet bands as pictures: the labelled mosaic, the 3-D band cube, one lifting step, and the wavelets' own shapes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

import ipywidgets
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from torch import Tensor

from lab.figures.pictures import draw
from lab.figures.style import GREY, HF_COLOUR, LF_COLOUR, legend_below, new_figure, styled, write
from lab.wavelet_analysis.energy_compaction import basis_picture, compaction, keep_largest, rebuilt
from lab.wavelet_analysis.filter_banks import lifting_scheme
from weconvene_core.errors import WeconveneError
from weconvene_core.wavelets import Pyramid, dwt1d, dwt2d, idwt1d

MID_GREY = 0.5
ACROSS = 1100
"""Most pixels that mosaics may take side by side."""
CLIPPED_SHARE = 0.005
"""Share of a level's coefficients that may exceed the grey scale; otherwise a few strong edges flatten all else."""
NAMED = 1 / 12
"""Least share of the picture's width that a band needs to carry its name."""
DOUBLINGS = 7
"""Inverse transforms after which a wavelet's samples look like a curve."""
WAVELETS = ("haar", "5/3", "9/7", "db2", "db4", "sym4", "bior3.5")
SHARES = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0)


class Setting(NamedTuple):
    """A wavelet, its levels, and how many percent of the coefficients are kept."""

    wavelet: str
    levels: int
    percent: float


def mosaic(pyramid: Pyramid) -> NDArray[np.float64]:
    """Lay the bands of a picture's pyramid out as one picture (H, W) of the original size, values 0 to 1.

    LL_J sits top left and spans its own range. HL_j lies right of the level below it, LH_j under it, HH_j across. Their
    grey scale is symmetric: 0.5 is zero, and each level has its own limit (stretched so that fine bands show too).

    Raises
    ------
    WeconveneError
        If the bands are not two-dimensional: pick one channel of one picture first.
    """
    if pyramid.low.ndim != 2:
        raise WeconveneError(f"A mosaic shows one channel (H, W), not {tuple(pyramid.low.shape)}: pick one first.")
    low = _array(pyramid.low)
    spread = np.ptp(low) if low.size else 0.0
    picture = (low - low.min()) / spread if spread else np.full(low.shape, MID_GREY)
    for detail in reversed(pyramid.details):
        bands = [_array(band) for band in (detail.hl, detail.lh, detail.hh)]
        magnitudes = np.concatenate([np.abs(band).ravel() for band in bands])
        limit = float(np.quantile(magnitudes, 1 - CLIPPED_SHARE)) or 1.0 if magnitudes.size else 1.0
        hl, lh, hh = (MID_GREY + MID_GREY * (band / limit).clip(-1, 1) for band in bands)
        picture = np.block([[picture, hl], [lh, hh]])
    return picture


def draw_mosaic(axes: Axes, pyramid: Pyramid, step: int, size: int, least: float = NAMED) -> None:
    """Show a mosaic in axes whose unit stays one coefficient; ``step`` x ``step`` of them share a pixel.

    The pixel shows the strongest of them: averages would lose most of a few kept coefficients and thin lines. Bands of
    the ``least`` share of the width or more carry their names, in font size ``size``.
    """
    picture = mosaic(pyramid)
    padded = np.pad(picture, [(0, -side % step) for side in picture.shape], mode="edge")
    height, width = padded.shape
    blocks = (
        padded.reshape(height // step, step, width // step, step).swapaxes(1, 2).reshape(height // step, -1, step**2)
    )
    strongest = np.abs(blocks - MID_GREY).argmax(-1, keepdims=True)
    shown = np.take_along_axis(blocks, strongest, -1)[..., 0]
    draw(axes, shown, vmax=1, extent=(-0.5, width - 0.5, height - 0.5, -0.5))
    for name, band in pyramid.bands().items():
        if not band.numel():
            continue
        top, left = _corner(pyramid, name)
        frame = {"fill": False, "edgecolor": "white", "linewidth": 0.8}
        axes.add_patch(Rectangle((left - 0.5, top - 0.5), band.shape[1], band.shape[0], **frame))
        if band.shape[1] >= least * picture.shape[1]:
            look = {
                "color": "white",
                "fontweight": "bold",
                "path_effects": [withStroke(linewidth=3, foreground="black")],
            }
            write(axes, name, (left, top), (4, -4), va="top", fontsize=size, **look)


def _corner(pyramid: Pyramid, name: str) -> tuple[int, int]:
    """Return the (row, column) at which a band begins: the low band of its own level ends there."""
    if name.startswith("LL"):
        return 0, 0
    detail = pyramid.details[int(name[2:]) - 1]
    return (detail.hl.shape[0] if name[1] == "H" else 0), (detail.lh.shape[1] if name[0] == "H" else 0)


@styled
def mosaic_figure(pyramid: Pyramid, title: str) -> Figure:
    """Draw the labelled mosaic of one picture's bands; ``title`` says which image it shows."""
    figure, (axes,), step = _mosaic_cells(mosaic(pyramid).shape, 1, 1, title)
    draw_mosaic(axes, pyramid, step, 14)
    return figure


def _mosaic_cells(shape: Sequence[int], rows: int, columns: int, title: str) -> tuple[Figure, list[Axes], int]:
    """Return a figure for pictures of one shape, and how many coefficients share a pixel along each side."""
    step = -(-columns * shape[1] // ACROSS)
    if step > 1:
        title = f"{title}; a pixel is the strongest of {step} x {step} coefficients"
    width = min(ACROSS / 100 / columns, 8.0)
    figure, cells = new_figure(
        title, (columns * width, 0.7 + rows * (width * shape[0] / shape[1] + 0.25)), rows, columns
    )
    return figure, cells, step


DEPTH = (0.5, 0.32)
"""How far the back of a cuboid lies right of and above its front, in inches."""
GAP = 0.62, 0.72
"""Between the bands of a cube that is pulled apart, across and down: room for depth and a label."""


def cuboid(
    axes: Axes, corner: tuple[float, float], size: tuple[float, float], text: str, colour: str,
    halves: bool = True, depth: tuple[float, float] = DEPTH, fontsize: float = 11,
) -> None:  # fmt: skip
    """Draw a feature map as a box whose depth is its channels; the back half (channel-high) is hatched.

    ``corner`` is the lower left one of the front, on axes in inches whose y points up; ``text`` stands on the front.
    """
    (x, y), (width, height) = corner, size
    look = {"edgecolor": colour, "linewidth": 1.2, "zorder": 3}
    for start, end in ((0.0, 0.5), (0.5, 1.0)) if halves else ((0.0, 1.0),):
        (near_x, near_y), (far_x, far_y) = ((share * depth[0], share * depth[1]) for share in (start, end))
        top, right, filled = y + height, x + width, {"facecolor": to_rgba(colour, 0.25), **look}
        filled |= {"facecolor": "white", "hatch": "/////"} if start else {}
        for face in (
            [(x + near_x, top + near_y), (x + far_x, top + far_y), (right + far_x, top + far_y),
             (right + near_x, top + near_y)],
            [(right + near_x, y + near_y), (right + far_x, y + far_y), (right + far_x, top + far_y),
             (right + near_x, top + near_y)],
        ):  # fmt: skip
            axes.add_patch(Polygon(face, **filled))
    axes.add_patch(Rectangle(corner, width, height, facecolor=to_rgba(colour, 0.25), **look))
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=fontsize, zorder=4)


@styled
def cube_figure(pyramid: Pyramid, title: str) -> Figure:
    """Draw the 3-D DWT of two levels: a map, its two halves of channels, and the seven bands, each with both halves.

    ``pyramid`` is that of a map (B, C, H, W); shapes are those of its bands.
    """
    bands = {name: tuple(band.shape[-3:]) for name, band in pyramid.bands().items()}
    (channels, *coarse), fine = bands["LL2"], bands["HH1"]
    height, width = bands["HL1"][1] + fine[1], bands["LH1"][2] + fine[2]
    unit, middle, low = 2.5 / width, 1.75, pyramid.channel_split.sizes[0]
    size = (width * unit, height * unit)
    second = size[0] + DEPTH[0] + 0.95
    left = 2 * second
    right = left + 2 * (coarse[1] * unit + GAP[0])  # of the bands that are fine and high in width
    figure, (axes,) = new_figure(title, (right + fine[2] * unit + 0.8, 4.6))
    cuboid(axes, (0, middle - size[1] / 2), size, f"x\n{channels} x {height} x {width}", GREY, halves=False)
    text = f"channel-low (front): {low}\nchannel-high (back): {channels - low}"
    cuboid(axes, (second, middle - size[1] / 2), size, text, GREY)
    bottom = fine[1] * unit + GAP[1]  # of LH2 and HH2
    for name, (_, h, w) in bands.items():
        x, y = left, bottom + (h * unit + GAP[1]) * (name[1] == "L")
        if name[0] == "H":
            x = right if name[2] == "1" else left + w * unit + GAP[0]
        if name[2] == "1":
            y = bottom + GAP[1] / 3 if name[1] == "L" else 0
        colour, shape = LF_COLOUR if name == "LL2" else HF_COLOUR, f"{channels} x {h} x {w}"
        cuboid(axes, (x, y), (w * unit, h * unit), name, colour)
        write(axes, shape, (x, y), (0, -8), ha="left", fontsize=9)
    for start, heading in ((0, "channel\nDWT"), (second, "spatial\nDWT,\n2 levels")):
        begin, end = start + size[0] + DEPTH[0] + 0.08, start + second - 0.08
        arrow = {"arrowstyle": "-|>", "color": GREY, "linewidth": 1.6, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", (end, middle), (begin, middle), arrowprops=arrow)
        axes.text((begin + end) / 2, middle + 0.1, heading, ha="center", va="bottom", fontsize=11)
    axes.set(xlim=(-0.1, right + fine[2] * unit + 0.65), ylim=(-0.35, 4.0), aspect="equal")
    axes.set_axis_off()
    return figure


@styled
def basis_figure(wavelets: Sequence[str], band: str, title: str) -> Figure:
    """Draw, for every wavelet, the picture that one coefficient of 1 in a band of level 2 makes, with its norm."""
    figure, cells = new_figure(title, (3.1 * len(wavelets), 3.7), columns=len(wavelets))
    for axes, name in zip(cells, wavelets, strict=True):
        picture = basis_picture(name, 2, band)
        middle, limit = len(picture) // 2, float(picture.abs().max())
        shown = _array(picture)[middle - 12 : middle + 14, middle - 12 : middle + 14]
        draw(axes, shown, f"{name}: norm {picture.norm():.3f}", vmin=-limit, vmax=limit)
    return figure


@styled
def kept_figure(grey: Tensor, choices: Sequence[Setting], title: str) -> Figure:
    """Draw, for every setting, the coefficients that are kept (zeros are mid-grey) and the picture that they make.

    ``grey`` is a picture (H, W), 0..255. Settings stand side by side; a single one has its two pictures side by side.
    """
    alone, mean = len(choices) == 1, grey.mean()
    figure, cells, step = _mosaic_cells(grey.shape, 1 if alone else 2, 2 if alone else len(choices), title)
    for i, (name, levels, percent) in enumerate(choices):
        wavelet = lifting_scheme(name)
        kept = keep_largest(dwt2d(grey - mean, wavelet, levels), percent)
        psnr = compaction(grey, wavelet, levels, [percent]).psnr_db[0]
        draw_mosaic(cells[i], kept, step, 11, least=1 / 5)
        cells[i].set_title(f"{name}, {levels} levels, {percent:g} % kept", fontsize=11, pad=5)
        picture = rebuilt(kept, mean).numpy()
        draw(cells[i + len(choices)], picture, f"rebuilt: {psnr:.2f} dB", interpolation="antialiased")
    return figure


def explorer(grey: Tensor, title: str, start: Setting) -> ipywidgets.Widget:
    """Return sliders for wavelet, levels and share that redraw :func:`kept_figure`; they need a running kernel.

    The figure is an image widget: ``interact`` would catch it in an output widget, in which a notebook that is executed
    without a browser now and then waits for ever.
    """
    wavelet = ipywidgets.Dropdown(options=WAVELETS, value=start.wavelet)
    levels = ipywidgets.IntSlider(start.levels, 1, 6, continuous_update=False)
    percent = ipywidgets.SelectionSlider(options=SHARES, value=start.percent, continuous_update=False)
    shown = ipywidgets.Image(format="jpeg")

    def redraw(change: object = None) -> None:
        stream, setting = io.BytesIO(), Setting(wavelet.value, levels.value, percent.value)
        kept_figure(grey, [setting], title).savefig(stream, format="jpeg", dpi=80)
        shown.value = stream.getvalue()

    for slider in (wavelet, levels, percent):
        slider.observe(redraw, "value")
    redraw()
    return ipywidgets.VBox([wavelet, levels, percent, shown])


@styled
def lifting_figure(signal: Tensor, title: str) -> Figure:
    """Draw the predict step of Haar and 5/3 on a signal (n,): what is left of each odd sample becomes ``high``."""
    titles = {"haar": "Haar: the left neighbour", "5/3": "5/3: the mean of both neighbours"}
    figure, cells = new_figure(title, (10.0, 4.6), columns=2, sharey=True)
    even, odd = np.arange(0, len(signal), 2), np.arange(1, len(signal), 2)
    for axes, (wavelet, heading) in zip(cells, titles.items(), strict=True):
        left_over = _array(dwt1d(signal, wavelet, 0, "jpeg2000")[1])
        found = _array(signal)[odd]  # one predict step, gain 1: odd = prediction + high
        predicted = found - left_over
        axes.vlines(odd, predicted, found, color=HF_COLOUR, linewidth=4, label="high = odd sample - prediction")
        axes.plot(even, _array(signal)[even], "o", color=LF_COLOUR, markersize=9, label="even sample")
        axes.plot(odd, found, "s", color=HF_COLOUR, markersize=9, label="odd sample")
        axes.plot(odd, predicted, "_", color="black", markersize=22, markeredgewidth=2, label="prediction")
        for x, y, value in zip(odd, (predicted + found) / 2, left_over, strict=True):
            write(axes, f"{value:+g}", (x, y), (16, 0))
        axes.set_title(heading, fontsize=12)
        axes.set(xlabel="Sample", xlim=(-0.6, len(signal) - 0.1))  # room for the last residual
    cells[0].set_ylabel("Sample value")
    legend_below(figure, axes, 4)
    return figure


@styled
def shapes_figure(wavelets: Sequence[str], title: str) -> Figure:
    """Draw what one low and one high coefficient become when the inverse transform is repeated: wavelets' shapes."""
    figure, cells = new_figure(title, (10.0, 4.8), 2, len(wavelets), sharex="col", sharey="row")
    for i, axes in enumerate(cells):
        row, column = divmod(i, len(wavelets))
        axes.plot(*wavelet_shape(wavelets[column], ("low", "high")[row]), color=(LF_COLOUR, HF_COLOUR)[row])
        axes.margins(x=0.12)  # ticks away from those of the next panel
        axes.set_title("" if row else wavelets[column], fontsize=12)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, prune="both"))
    cells[0].set_ylabel("Scaling function\n(low)")
    cells[len(wavelets)].set_ylabel("Wavelet\n(high)")
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
