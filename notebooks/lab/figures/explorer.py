"""Which coefficients are kept and what picture they make: as a figure, and behind sliders in a running notebook."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

import ipywidgets
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from lab.figures.pictures import draw, pixel_grid
from lab.figures.style import PHOTO_DPI, style
from lab.figures.subbands import draw_mosaic, drawn_size, with_step
from lab.wavelet_analysis.energy_compaction import compaction, keep_largest, rebuilt
from lab.wavelet_analysis.filter_factoring import lifting_scheme
from weconvene_core.wavelets import dwt2d

WAVELETS = ("haar", "5/3", "9/7", "db2", "db4", "sym4", "bior3.5")
SHARES = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0)


class Setting(NamedTuple):
    """One position of the sliders: ``percent`` of the coefficients is kept."""

    wavelet: str
    levels: int
    percent: float


def kept_figure(grey: Tensor, choices: Sequence[Setting], title: str) -> Figure:
    """Draw, for every setting, the coefficients that are kept (zeros are mid-grey) and the picture that they make.

    Args:
        grey: picture (H, W), 0..255.
        choices: one column each; a single one has its two pictures side by side.
        title: heading; say which picture it is.

    Raises:
        WeconveneError: an unknown wavelet, a negative level count, or a share outside 0 to 100 %.
    """
    alone = len(choices) == 1
    step, height, width = drawn_size(*grey.shape, 2, max(2, len(choices)))  # alone or not: no larger than two rows
    rows, columns = (1, 2) if alone else (2, len(choices))
    with style():
        figure, panels = pixel_grid(with_step(title, step), columns, width, [(1, height)] * rows)
        for choice, (bands, picture) in zip(choices, panels if alone else zip(*panels, strict=True), strict=True):
            _draw_kept(bands, picture, grey, choice, step)
    return figure


def _draw_kept(bands: Axes, picture: Axes, grey: Tensor, choice: Setting, step: int) -> None:
    mean, wavelet = grey.mean(), lifting_scheme(choice.wavelet)
    kept = keep_largest(dwt2d(grey - mean, wavelet, choice.levels), choice.percent)
    psnr = compaction(grey, wavelet, choice.levels, [choice.percent]).psnr_db[0]
    draw_mosaic(bands, kept, step, 11, least=1 / 5)
    bands.set_title(f"{choice.wavelet}, {choice.levels} levels, {choice.percent:g} % kept", fontsize=11, pad=5)
    draw(picture, rebuilt(kept, mean).numpy(), f"rebuilt: {psnr:.2f} dB", interpolation="antialiased")


def explorer(grey: Tensor, title: str, start: Setting) -> ipywidgets.VBox:
    """Return sliders for wavelet, levels and share that redraw :func:`kept_figure`; they need a running kernel."""
    controls = {
        "wavelet": ipywidgets.Dropdown(options=WAVELETS, value=start.wavelet, description="wavelet"),
        "levels": ipywidgets.IntSlider(start.levels, 1, 6, description="levels", continuous_update=False),
        "percent": ipywidgets.SelectionSlider(options=SHARES, value=start.percent, description="% kept"),
    }
    controls["percent"].continuous_update = False  # a redraw takes longer than a pull at the handle
    picture = ipywidgets.Image(format="jpeg")

    def redraw(_: object = None) -> None:
        choice = Setting(**{name: control.value for name, control in controls.items()})
        picture.value = _jpeg(kept_figure(grey, [choice], title))

    for control in controls.values():
        control.observe(redraw, "value")
    redraw()
    return ipywidgets.VBox([ipywidgets.HBox(list(controls.values())), picture])


def _jpeg(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="jpeg", dpi=PHOTO_DPI)
    return stream.getvalue()
