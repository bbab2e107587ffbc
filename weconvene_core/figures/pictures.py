"""Pictures beside each other with a magnified detail, and what a compressed file consists of."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from weconvene_core.codec.container import Kind, unpack
from weconvene_core.errors import WeconveneError
from weconvene_core.figures.style import GREY, PALETTE, style

STREAMS: dict[Kind, str] = {
    "y_ll": "y, LL band", "y_lf": "y, LF slices", "y_hf": "y, HF slices", "z": "z", "alpha": "alpha",
    "icc": "colour profile",
}  # fmt: skip
OVERHEAD = "header and checksum"
READABLE = 0.06
"""Least share of a bar that carries its number inside."""

Box = tuple[int, int, int, int]


def crops_figure(pictures: Mapping[str, NDArray[np.uint8]], box: Box, title: str) -> Figure:
    """Draw pictures of one size in a row, and below each the detail ``box``, magnified without smoothing.

    Args:
        pictures: heading (may have several lines) to picture, (H, W) grey or (H, W, 3) RGB, uint8.
        box: left, top, width and height of the detail in pixels.
        title: heading of the figure; say which image it shows.

    Raises:
        WeconveneError: no pictures, several sizes, or a box that does not lie inside.
    """
    sizes = {picture.shape[:2] for picture in pictures.values()}
    if len(sizes) != 1:
        raise WeconveneError(f"Pictures of one size can be compared; these have {len(sizes)} sizes.")
    (height, width), (left, top, across, down) = sizes.pop(), box
    if min(left, top) < 0 or min(across, down) < 1 or left + across > width or top + down > height:
        raise WeconveneError(f"The detail {box} does not lie inside a picture of {width} x {height}: choose another.")
    ratio = height / width + down / across
    with style():
        figure = Figure(figsize=(11.0, 11.0 / len(pictures) * ratio + 1.0), layout="constrained")
        rows = figure.subplots(2, len(pictures), squeeze=False, height_ratios=[height / width, down / across])
        for (name, picture), whole, detail in zip(pictures.items(), *rows, strict=True):
            look = {"cmap": "gray", "vmin": 0, "vmax": 255}
            whole.imshow(picture, **look)
            whole.add_patch(Rectangle((left, top), across, down, fill=False, edgecolor=PALETTE[4], linewidth=1.8))
            detail.imshow(picture[top : top + down, left : left + across], interpolation="nearest", **look)
            whole.set_title(name, fontsize=11)
            for axes in (whole, detail):
                axes.set_axis_off()
        figure.suptitle(title, x=0.005, ha="left", fontsize=14)
    return figure


def detail_box(size: tuple[int, int], centre: tuple[float, float], share: float = 0.2) -> Box:
    """Return a box of the picture's proportions around a point, moved inwards where it would leave the picture.

    Args:
        size: width and height of the picture in pixels.
        centre: where the box lies, as shares (0 to 1) of width and height.
        share: side of the box as a share of the picture's side.
    """
    sides = [max(1, round(share * length)) for length in size]
    starts = [
        min(max(0, round(at * length - side / 2)), length - side)
        for at, length, side in zip(centre, size, sides, strict=True)
    ]
    return starts[0], starts[1], sides[0], sides[1]


def file_anatomy(data: bytes) -> dict[str, int]:
    """Return how many bytes of a compressed file each stream takes, and what is left: header and checksum.

    Raises:
        CorruptFileError: the data is not such a file.
    """
    container = unpack(data)
    sizes = {name: sum(map(len, container.of(kind))) for kind, name in STREAMS.items() if container.of(kind)}
    return sizes | {OVERHEAD: len(data) - sum(sizes.values())}


def anatomy_figure(files: Mapping[str, bytes], title: str) -> Figure:
    """Draw compressed files as bars of equal length, divided by the share of their parts; totals stand on the right.

    Raises:
        CorruptFileError: one of them is not such a file.
    """
    with style():
        figure = Figure(figsize=(11.0, 1.9 + 0.75 * len(files)), layout="constrained")
        axes = figure.add_subplot()
        parts = [file_anatomy(data) for data in files.values()]
        names = list(dict.fromkeys(name for part in parts for name in part))
        for row, part in enumerate(parts):
            total, start = sum(part.values()), 0.0
            for name, count in part.items():
                colour = GREY if name == OVERHEAD else PALETTE[names.index(name)]
                axes.barh(row, count / total, left=start, color=colour, label=name if row == 0 else None)
                if count / total >= READABLE:
                    axes.text(start + count / total / 2, row, f"{count:,} B", ha="center", va="center", color="white")
                start += count / total
            axes.text(1.012, row, f"{total:,} B in all,\n{part[OVERHEAD]} B {OVERHEAD}", va="center", fontsize=10)
        axes.set_yticks(range(len(files)), files)
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
        axes.set_xlabel("Share of the file's bytes")
        axes.grid(visible=False)
        axes.set_title(title, pad=34)
        axes.legend(ncols=len(names), loc="lower left", bbox_to_anchor=(0.0, 1.0), borderaxespad=0.2)
    return figure
