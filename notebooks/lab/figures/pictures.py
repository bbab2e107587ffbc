"""Pictures beside each other with a magnified detail, and what a compressed file consists of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from lab.figures.style import (
    BLACK,
    HEADER_LOOK,
    HF_COLOUR,
    LF_COLOUR,
    PALETTE,
    PINK,
    SKY,
    Z_COLOUR,
    new_figure,
    styled,
)
from weconvene_core.codec.api import ALL, preview
from weconvene_core.codec.container import Kind, unpack
from weconvene_core.errors import WeconveneError

STREAMS: dict[Kind, str] = {
    "z": "z", "y_ll": "y, LL band", "y_lf": "y, LF slices", "icc": "colour profile", "alpha": "alpha",
    "y_hf": "y, HF slices",
}  # fmt: skip
"""Streams in the file's order, and what figures and tables call them."""
OVERHEAD = "header and checksum"
PART_LOOK: dict[str, dict[str, str]] = {
    "z": {"color": Z_COLOUR}, "y, LL band": {"color": SKY}, "y, LF slices": {"color": LF_COLOUR},
    "colour profile": {"color": BLACK}, "alpha": {"color": PINK}, "y, HF slices": {"color": HF_COLOUR},
    OVERHEAD: HEADER_LOOK,
}  # fmt: skip
"""How bars show the parts of a file."""
DARK_PARTS = {"z", "y, LF slices", "colour profile"}
"""Parts on whose colour white letters are read better than black ones."""
READABLE = 0.09
"""Least share of a bar that carries its number inside; smaller parts are listed beside the bar."""
IN_A_ROW = 4
"""Most pictures that stand whole above their details: five would be shrunk too far on a page."""

Box = tuple[int, int, int, int]


def draw(axes: Axes, picture: NDArray[np.generic], heading: str = "", **look: object) -> None:
    """Show a picture without smoothing in axes without frame; ``look`` goes to matplotlib's ``imshow``."""
    axes.imshow(picture, **({"cmap": "gray", "vmin": 0, "vmax": 255, "interpolation": "nearest"} | look))
    axes.set_title(heading, fontsize=11, pad=5)
    axes.set_axis_off()


@styled
def crops_figure(pictures: Mapping[str, NDArray[np.generic]], box: Box, title: str) -> Figure:
    """Draw pictures of one size, and the detail ``box`` of each magnified without smoothing.

    Up to four pictures stand in a row, their details below them. Of more, the first is shown whole, to say where the
    detail lies, and the details of all follow it in two rows, so that they stay large.

    Parameters
    ----------
    pictures
        Heading (may have several lines) to picture, (H, W) grey 0..255 or (H, W, 3) RGB uint8.
    box
        Left, top, width and height of the detail in pixels.

    Raises
    ------
    WeconveneError
        If there are no pictures or several sizes, or the box does not lie inside.
    """
    sizes = {picture.shape[:2] for picture in pictures.values()}
    if len(sizes) != 1:
        raise WeconveneError(f"Pictures of one size can be compared; these have {len(sizes)} sizes.")
    (height, width), (left, top, across, down) = sizes.pop(), box
    if min(left, top) < 0 or min(across, down) < 1 or left + across > width or top + down > height:
        raise WeconveneError(f"The detail {box} does not lie inside a picture of {width} x {height}: choose another.")
    count, lines = len(pictures), 1 + max(name.count("\n") for name in pictures)
    columns = count if count <= IN_A_ROW else count // 2 + 1
    shapes = (height / width, down / across) if count <= IN_A_ROW else (down / across,) * 2
    inches = 13.0 / max(2, columns)
    size = (inches * columns, inches * sum(shapes) + 0.5 + 0.2 * lines * (1 if count <= IN_A_ROW else 2))
    figure, cells = new_figure(title, size, 2, columns, height_ratios=shapes)
    whole, details = (cells[:columns], cells[columns:]) if count <= IN_A_ROW else (cells[:1], cells[1:])
    for axes, (name, picture) in zip(whole, pictures.items(), strict=False):
        draw(axes, picture, name if count <= IN_A_ROW else "the whole picture", interpolation="antialiased")
        axes.add_patch(Rectangle((left, top), across, down, fill=False, edgecolor=PALETTE[4], linewidth=1.8))
    for axes, (name, picture) in zip(details, pictures.items(), strict=False):
        draw(axes, picture[top : top + down, left : left + across], "" if count <= IN_A_ROW else name)
    for axes in details[count:]:
        axes.set_axis_off()
    return figure


@styled
def errors_figure(
    original: NDArray[np.uint8], decoded: Mapping[str, NDArray[np.uint8]], box: Box, title: str, most: float = 40.0
) -> Figure:
    """Draw the detail ``box`` of a picture and of its decoded copies, and below each copy where it is wrong.

    The lower row begins with the whole picture. Errors are means of the three channels' absolute differences, 0 white
    and ``most`` or more black.

    Parameters
    ----------
    original
        (H, W, 3) RGB uint8.
    decoded
        Heading to copy of the same size.
    """
    left, top, across, down = box
    cut = (slice(top, top + down), slice(left, left + across))
    height, width = original.shape[:2]
    columns = 1 + len(decoded)
    shapes = down / across, max(down / across, height / width)
    inches = 13.0 / columns
    size = 13.0, inches * sum(shapes) + 1.2 + 0.2 * max(name.count("\n") for name in decoded)
    figure, cells = new_figure(title, size, 2, columns, height_ratios=shapes)
    draw(cells[0], original[cut], "original")
    draw(cells[columns], original, "the whole picture", interpolation="antialiased")
    cells[columns].add_patch(Rectangle((left, top), across, down, fill=False, edgecolor=PALETTE[4], linewidth=1.8))
    for above, below, (name, picture) in zip(cells[1:columns], cells[columns + 1 :], decoded.items(), strict=True):
        draw(above, picture[cut], name)
        error = np.abs(picture[cut].astype(float) - original[cut]).mean(2)
        draw(below, error, f"its error: white 0, black {most:g} or more", cmap="gray_r", vmax=most)
    return figure


def detail_box(size: tuple[int, int], centre: tuple[float, float], share: float = 1 / 6) -> Box:
    """Return a box of the picture's proportions around a point, moved inwards where it would leave the picture.

    Parameters
    ----------
    size
        Width and height of the picture in pixels.
    centre
        Where the box lies, as shares (0 to 1) of width and height.
    share
        Side of the box as a share of the picture's side.
    """
    sides = [max(1, round(share * length)) for length in size]
    starts = [
        min(max(0, round(at * length - side / 2)), length - side)
        for at, length, side in zip(centre, size, sides, strict=True)
    ]
    return starts[0], starts[1], sides[0], sides[1]


def prefix_pictures(data: bytes, shares: Sequence[float] = (0.1, 0.3, 0.6, 1.0)) -> dict[str, NDArray[np.uint8]]:
    """Decode as much as is certain of the first ``shares`` (0 to 1) of a file's bytes; headings say how many those are.

    Raises
    ------
    CutFileError
        If a share ends inside the hyperprior, which is the first few percent.
    CorruptFileError
        If the data is not a compressed file.
    """
    counts = [round(share * len(data)) for share in shares]
    return {
        f"{100 * count / len(data):.0f} % of the file\n{count:,} bytes": np.asarray(preview(data[:count], ALL))
        for count in counts
    }


def file_anatomy(data: bytes) -> dict[str, int]:
    """Return how many bytes of a compressed file each stream takes, in its order, and what is left: header, checksum.

    Raises
    ------
    CorruptFileError
        If the data is not such a file.
    """
    container = unpack(data)
    sizes = {name: sum(map(len, container.of(kind))) for kind, name in STREAMS.items() if container.of(kind)}
    return sizes | {OVERHEAD: len(data) - sum(sizes.values())}


@styled
def anatomy_figure(files: Mapping[str, bytes], title: str) -> Figure:
    """Draw compressed files as bars of equal length, divided by the share of their parts; totals stand on the right."""
    figure, (axes,) = new_figure("", (9.5, 1.9 + 0.75 * len(files)))
    parts, named = [file_anatomy(data) for data in files.values()], {}
    for row, part in enumerate(parts):
        total, start, beside = sum(part.values()), 0.0, []
        for name, count in part.items():
            share, ink = count / total, "white" if name in DARK_PARTS else "black"
            named.setdefault(name, axes.barh(row, share, left=start, label=name, **PART_LOOK[name]))
            if share >= READABLE:
                axes.text(start + share / 2, row, f"{count:,} B", ha="center", va="center", color=ink, fontsize=11)
            else:
                beside.append(f"{name} {count:,} B")
            start += share
        axes.text(1.012, row, "\n".join([f"{total:,} B", *beside]), va="center", fontsize=11)
    axes.set_yticks(range(len(files)), files)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="Share of the file's bytes")
    axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
    axes.grid(visible=False)
    axes.set_title(title, pad=34)
    axes.legend(handles=[*named.values()], ncols=len(named), loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2)
    return figure
