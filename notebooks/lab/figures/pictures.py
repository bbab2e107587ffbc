"""Pictures beside each other with a magnified detail, and what a compressed file consists of."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from lab.figures.style import GREY, PALETTE, PHOTO_DPI, style
from weconvene_core.codec.container import Kind, unpack
from weconvene_core.errors import WeconveneError

STREAMS: dict[Kind, str] = {
    "y_ll": "y, LL band", "y_lf": "y, LF slices", "y_hf": "y, HF slices", "z": "z", "alpha": "alpha",
    "icc": "colour profile",
}  # fmt: skip
OVERHEAD = "header and checksum"
READABLE = 0.09
"""Least share of a bar that carries its number inside; smaller parts are listed beside the bar."""
ACROSS = 1024
"""Pixels across all magnified details of a row, as near as a whole number of times comes."""
IN_A_ROW = 4
"""Most pictures that stand whole above their details: five would be shrunk too far on a page."""
TITLE, LINE, GAP = 22, 15, 8
"""Pixels of a line of the title, of a line of a heading, and between pictures."""

Box = tuple[int, int, int, int]
Grid = tuple[Figure, list[list[Axes]]]


def pixel_grid(title: str, columns: int, width: int, rows: Sequence[tuple[int, int]], left: int = GAP) -> Grid:
    """Return an empty figure and its axes, row by row, each of exactly so many pixels once ``save`` has written it.

    A picture of that size, or of a whole fraction of it, is then drawn as it is: every pixel of it at the same size.

    Args:
        title: heading of the figure, of one line or more.
        columns: axes side by side.
        width: pixels across each.
        rows: lines of the headings above a row of axes, and the pixels down each of its axes.
        left: pixels free on the left.
    """
    tops, down = [], TITLE * (title.count("\n") + 1) + GAP
    for lines, height in rows:
        tops.append(down + LINE * lines + GAP)
        down = tops[-1] + height
    across, down = left + columns * (width + GAP), down + GAP
    figure = Figure(figsize=(across / PHOTO_DPI, down / PHOTO_DPI))
    figure.suptitle(title, x=GAP / across, y=1 - GAP / down, ha="left", va="top", fontsize=14)
    return figure, [
        [pixel_axes(figure, left + column * (width + GAP), top, width, height) for column in range(columns)]
        for top, (_, height) in zip(tops, rows, strict=True)
    ]


def pixel_axes(figure: Figure, left: int, top: int, width: int, height: int) -> Axes:
    """Add axes at a place in pixels from the top left corner of a figure that ``save`` writes as a photograph."""
    across, down = PHOTO_DPI * figure.get_size_inches()
    return figure.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))


def draw(axes: Axes, picture: NDArray[np.generic], heading: str = "", **look: object) -> None:
    """Show a picture without smoothing in axes without frame; ``look`` goes to matplotlib's ``imshow``."""
    axes.imshow(picture, **({"cmap": "gray", "vmin": 0, "vmax": 255, "interpolation": "nearest"} | look))
    axes.set_anchor("NW")
    axes.set_title(heading, fontsize=11, pad=5)
    axes.set_axis_off()


def crops_figure(pictures: Mapping[str, NDArray[np.generic]], box: Box, title: str) -> Figure:
    """Draw pictures of one size and the detail ``box`` of each, magnified a whole number of times without smoothing.

    Up to four pictures stand in a row, their details below them. Of more, the first is shown whole, to say where the
    detail lies, and the details of all follow it in two rows, so that they stay large.

    Args:
        pictures: heading (may have several lines) to picture, (H, W) grey 0..255 or (H, W, 3) RGB uint8.
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
    with style():
        return (_in_a_row if len(pictures) <= IN_A_ROW else _in_two_rows)(pictures, box, title)


def _in_a_row(pictures: Mapping[str, NDArray[np.generic]], box: Box, title: str) -> Figure:
    (height, width), (across, down) = next(iter(pictures.values())).shape[:2], _magnified(box, len(pictures))
    lines, names = _aligned(pictures)
    rows = [(lines, round(across * height / width)), (0, down)]
    figure, (above, below) = pixel_grid(title, len(pictures), across, rows)
    for whole, detail, name, picture in zip(above, below, names, pictures.values(), strict=True):
        _draw_whole(whole, picture, name, box)
        draw(detail, _cut(picture, box))
    return figure


def _in_two_rows(pictures: Mapping[str, NDArray[np.generic]], box: Box, title: str) -> Figure:
    columns = len(pictures) // 2 + 1
    across, down = _magnified(box, columns)
    lines, (first, *names) = _aligned(["the whole picture", *pictures])
    figure, grid = pixel_grid(title, columns, across, [(lines, down)] * 2)
    whole, *details = sum(grid, [])
    _draw_whole(whole, next(iter(pictures.values())), first, box)
    for axes, name, picture in zip(details, names, pictures.values(), strict=False):
        draw(axes, _cut(picture, box), name)
    for axes in details[len(pictures) :]:
        axes.set_axis_off()
    return figure


def _magnified(box: Box, columns: int) -> tuple[int, int]:
    times = max(1, round(ACROSS / max(2, columns) / box[2]))  # a detail alone would be too tall for a page
    return times * box[2], times * box[3]


def _aligned(names: Collection[str]) -> tuple[int, list[str]]:
    """Return the lines of the longest heading, and all headings with as many: titles would stand on their last line."""
    lines = 1 + max(name.count("\n") for name in names)
    return lines, [name + "\n" * (lines - 1 - name.count("\n")) for name in names]


def _cut(picture: NDArray[np.generic], box: Box) -> NDArray[np.generic]:
    left, top, across, down = box
    return picture[top : top + down, left : left + across]


def _draw_whole(axes: Axes, picture: NDArray[np.generic], heading: str, box: Box) -> None:
    left, top, across, down = box
    draw(axes, picture, heading, interpolation="antialiased")
    axes.add_patch(Rectangle((left, top), across, down, fill=False, edgecolor=PALETTE[4], linewidth=1.8))


def detail_box(size: tuple[int, int], centre: tuple[float, float], share: float = 1 / 6) -> Box:
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
        figure = Figure(figsize=(9.5, 1.9 + 0.75 * len(files)), layout="constrained")
        axes = figure.add_subplot()
        parts = [file_anatomy(data) for data in files.values()]
        names = list(dict.fromkeys(name for part in parts for name in part))
        for row, part in enumerate(parts):
            total, start, beside = sum(part.values()), 0.0, []
            for name, count in part.items():
                colour = GREY if name == OVERHEAD else PALETTE[names.index(name)]
                axes.barh(row, count / total, left=start, color=colour, label=name if row == 0 else None)
                if count / total >= READABLE:
                    axes.text(start + count / total / 2, row, f"{count:,} B", ha="center", va="center", color="white",
                              fontsize=11)  # fmt: skip
                else:
                    beside.append(f"{name} {count:,} B")
                start += count / total
            axes.text(1.012, row, "\n".join([f"{total:,} B in all", *beside]), va="center", fontsize=11)
        axes.set_yticks(range(len(files)), files)
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
        axes.set_xlabel("Share of the file's bytes")
        axes.grid(visible=False)
        axes.set_title(title, pad=34)
        axes.legend(ncols=len(names), loc="lower left", bbox_to_anchor=(0.0, 1.0), borderaxespad=0.2)
    return figure
