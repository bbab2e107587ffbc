"""Block diagrams of the codec, drawn from a configuration: every shape in them is computed.

A :class:`Board` is a drawing area in which boxes have names and arrows go from box to box.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from lab.figures.style import DARK, DASHED, GREY, GRID, HF_COLOUR, LF_COLOUR, VERMILION, Z_COLOUR, new_figure, styled
from weconvene_core.entropy.charm import PASSES, SliceLayout
from weconvene_core.model.config import ModelConfig

GLOW = "#FFF3B0"
"""Behind the boxes that a chapter is about."""
Point = tuple[float, float]
SIDES = {"left": (-0.5, 0.0), "right": (0.5, 0.0), "top": (0.0, 0.5), "bottom": (0.0, -0.5), "middle": (0.0, 0.0)}


@dataclass
class Board:
    """Named boxes and the arrows between them, on axes in inches."""

    axes: Axes
    lit: Collection[str] = ()
    boxes: dict[str, tuple[Point, Point]] = field(default_factory=dict)

    def box(
        self, name: str, centre: Point, text: str, size: Point = (1.25, 0.72), colour: str = DARK,
        fontsize: float = 10.5,
    ) -> None:  # fmt: skip
        """Draw a box, its first line in bold; boxes in ``lit`` glow."""
        self.boxes[name] = centre, size
        lit = name in self.lit
        corner = centre[0] - size[0] / 2, centre[1] - size[1] / 2
        look = {"boxstyle": "round,pad=0,rounding_size=0.07", "linewidth": 2.6 if lit else 1.3, "edgecolor": colour}
        self.axes.add_patch(FancyBboxPatch(corner, *size, facecolor=GLOW if lit else "white", zorder=3, **look))
        head, *rest = text.split("\n")
        step, top = 1.35 * fontsize / 72, centre[1] + 0.675 * fontsize / 72 * len(rest)
        for i, line in enumerate([head, *rest]):
            weight = "bold" if i == 0 else "normal"
            self.axes.text(
                centre[0], top - i * step, line, ha="center", va="center", zorder=5,
                fontsize=fontsize if i == 0 else fontsize - 1, fontweight=weight,
            )  # fmt: skip

    def at(self, name: str, side: str, along: float = 0.0) -> Point:
        """Return the middle of a side of a box, moved ``along`` that side by a share of its length."""
        (x, y), (width, height) = self.boxes[name]
        right, up = SIDES[side]
        across = side in ("top", "bottom")
        return x + width * (right + along * across), y + height * (up + along * (not across))

    def arrow(self, *path: Point, colour: str = GREY, dash: object = "-", text: str = "", width: float = 1.6) -> None:
        """Draw an arrow through points; ``text`` stands above the middle of its first stretch."""
        xs, ys = zip(*path, strict=True)
        self.axes.plot(xs[:-1], ys[:-1], linestyle=dash, color=colour, linewidth=width, zorder=2)
        style = {"arrowstyle": "-|>", "color": colour, "linewidth": width, "shrinkA": 0, "shrinkB": 0}
        self.axes.annotate("", path[-1], path[-2], arrowprops=style | {"linestyle": dash}, zorder=2)
        if text:
            middle = (xs[0] + xs[1]) / 2, (ys[0] + ys[1]) / 2 + 0.06
            self.axes.text(*middle, text, ha="center", va="bottom", fontsize=9.5, color=colour)

    def join(self, start: str, end: str, **look: object) -> None:
        """Draw a straight arrow between the facing sides of two boxes."""
        (x0, y0), (x1, y1) = self.boxes[start][0], self.boxes[end][0]
        flat = abs(x1 - x0) > abs(y1 - y0)
        out, into = (("right", "left") if x1 > x0 else ("left", "right")) if flat else (
            ("top", "bottom") if y1 > y0 else ("bottom", "top"))  # fmt: skip
        self.arrow(self.at(start, out), self.at(end, into), **look)


def board(size: Point, lit: Collection[str] = (), title: str = "") -> tuple[Figure, Board]:
    """Return a figure of so many inches and its empty board, whose origin is the lower left corner."""
    figure, (axes,) = new_figure(title, (size[0], size[1] + 0.4 * bool(title)))
    axes.set(xlim=(0, size[0]), ylim=(0, size[1]), aspect="equal")
    axes.set_axis_off()
    return figure, Board(axes, lit)


def codec_shapes(config: ModelConfig, height: int, width: int) -> dict[str, tuple[int, int, int]]:
    """Return (channels, height, width) of every map of the codec for an image whose sides suit ``config.stride``."""
    channels = {"x": (3, 1), "y": (config.latent_channels, config.latent_stride)}
    channels["lf"] = sum(config.layout.lf), config.coded_stride
    channels["hf"] = sum(config.layout.hf), config.coded_stride
    channels["z"] = config.z_channels, config.z_stride
    channels["hyper"] = config.hyper_features, config.coded_stride
    return {name: (count, height // stride, width // stride) for name, (count, stride) in channels.items()}


@styled
def codec_diagram(
    config: ModelConfig, lit: Collection[str] = (), image: tuple[int, int] = (512, 768), title: str = ""
) -> Figure:
    """Draw the whole codec of a configuration, with the shapes that an image (height, width) has in it.

    ``lit`` names the boxes that a chapter is about: x, g_a, dwt, lf, hf, h_a, z, h_s, charm, coder, lf_hat, hf_hat,
    idwt, g_s, x_hat, shortcut. What the configuration lacks is not drawn.

    Raises
    ------
    KeyError
        If ``lit`` names a box that is not drawn.
    """
    figure, drawn = board((12.3, 5.45), lit, title)
    shape = {name: "×".join(map(str, size)) for name, size in codec_shapes(config, *image).items()}
    inner = "3DM-WeConv" if config.wavelet_layers else "3×3 kernels"
    top, middle, bottom = 4.3, 2.75, 1.15
    first, second, third, fourth, fifth, sixth = 0.75, 2.45, 4.25, 6.4, 9.15, 11.4
    # analysis from left to right, synthesis from right to left below it
    drawn.box("x", (first, top), f"image x\n{shape['x']}")
    drawn.box("g_a", (second, top), f"g_a\n{inner}")
    drawn.box("x_hat", (first, bottom), f"image x_hat\n{shape['x']}")
    drawn.box("g_s", (second, bottom), f"g_s\n{inner}")
    if config.wavelet_entropy:
        dimensions = "3-D" if config.latent_channel_dwt else "2-D"
        drawn.box("dwt", (third, top), f"{dimensions} DWT\n{config.latent_wavelet}")
        drawn.box("idwt", (third, bottom), f"{dimensions} IDWT\n{config.latent_wavelet}")
    half, low = 0.37 * bool(config.layout.hf), "LF" if config.wavelet_entropy else "y"
    for row, ending in ((top, ""), (bottom, "_hat")):
        drawn.box(f"lf{ending}", (fourth, row + half), f"{low}{ending}  {shape['lf']}", (2.0, 0.5), LF_COLOUR)
        if config.layout.hf:
            drawn.box(f"hf{ending}", (fourth, row - half), f"HF{ending}  {shape['hf']}", (2.0, 0.5), HF_COLOUR)
    # side information z, and the entropy model between the two rows
    drawn.box("h_a", (fifth, top), f"h_a\n{inner}", colour=Z_COLOUR)
    drawn.box("z", (sixth, top), f"z\n{shape['z']}", colour=Z_COLOUR)
    drawn.box("h_s", (fifth, middle), f"h_s\nto {shape['hyper']}", (1.5, 0.72), Z_COLOUR)
    _draw_charm(drawn, config, (fourth - 1.0, middle))
    _draw_coder(drawn, config, ((fifth + sixth) / 2 + 0.1, bottom))
    _connect(drawn, config, shape["y"])
    for name in lit:
        _ = drawn.boxes[name]
    return figure


def _draw_charm(drawn: Board, config: ModelConfig, centre: Point) -> None:
    """The slices in coding order, as chips that say how many channels each has."""
    slices = [(width, LF_COLOUR) for width in config.layout.lf] + [(width, HF_COLOUR) for width in config.layout.hf]
    drawn.box("charm", centre, "", (4.6, 1.1))
    text = "3DWeChARM: LF slices, then HF slices" if config.layout.hf else "slices, one after the other"
    drawn.axes.text(
        centre[0], centre[1] + 0.34, text, ha="center", va="center", fontsize=10.5, fontweight="bold", zorder=5
    )
    step = 4.4 / len(slices)
    for i, (channels, colour) in enumerate(slices):
        corner = centre[0] - 2.2 + i * step + 0.03, centre[1] - 0.4
        drawn.axes.add_patch(Rectangle(corner, step - 0.06, 0.5, facecolor=colour, alpha=0.85, zorder=4))
        ink = {"color": "white" if colour == LF_COLOUR else "black", "fontsize": 10, "zorder": 5}
        drawn.axes.text(corner[0] + step / 2 - 0.03, corner[1] + 0.25, str(channels), ha="center", va="center", **ink)


def _draw_coder(drawn: Board, config: ModelConfig, centre: Point) -> None:
    """The range coder, with the streams in the order of the file."""
    drawn.box("coder", centre, "", (3.5, 1.1))
    text = "range coder: the file"
    drawn.axes.text(
        centre[0], centre[1] + 0.34, text, ha="center", va="center", fontsize=10.5, fontweight="bold", zorder=5
    )
    streams = [("z", 0.5, Z_COLOUR), ("LF", 1.2, LF_COLOUR), ("HF", 1.6, HF_COLOUR)]
    if not config.layout.hf:
        streams[1:] = [("y", 2.8, LF_COLOUR)]
    left = centre[0] - 1.65
    for name, width, colour in streams:
        drawn.axes.add_patch(Rectangle((left, centre[1] - 0.4), width, 0.5, facecolor=colour, alpha=0.85, zorder=4))
        ink = {"color": "black" if colour == HF_COLOUR else "white", "fontsize": 10, "zorder": 5}
        drawn.axes.text(left + width / 2, centre[1] - 0.15, name, ha="center", va="center", **ink)
        left += width


def _connect(drawn: Board, config: ModelConfig, y: str) -> None:
    """All arrows: forward above, back below, the side information on the right, and our shortcut around it all."""
    at, hf = drawn.at, bool(config.layout.hf)
    drawn.join("x", "g_a")
    before, after = ("dwt", "idwt") if config.wavelet_entropy else ("lf", "lf_hat")
    drawn.join("g_a", before)
    drawn.join(after, "g_s")
    for row, name in () if before == "lf" else ((0.5, "y"), (-0.5, "y_hat")):
        (x0, y0), (x1, _) = drawn.boxes["g_a" if row > 0 else "g_s"][0], drawn.boxes[before][0]
        drawn.axes.text((x0 + x1) / 2, y0 + row, f"{name}  {y}", ha="center", va="center", fontsize=9.5, color=DARK)
    drawn.join("g_s", "x_hat")
    for group, colour in (("lf", LF_COLOUR), ("hf", HF_COLOUR))[: 1 + hf]:
        if config.wavelet_entropy:
            drawn.arrow(at("dwt", "right"), at(group, "left"), colour=colour)
            drawn.arrow(at(f"{group}_hat", "left"), at("idwt", "right"), colour=colour)
        drawn.arrow(at(group, "right"), at("h_a", "left"), colour=colour)
    last = "hf" if hf else "lf"
    for shift, colour, end in ((0.3, LF_COLOUR, "lf_hat"), (0.4, HF_COLOUR, "hf_hat"))[: 1 + hf]:
        x = at("charm", "bottom", shift)[0]
        drawn.arrow((x, at(last, "bottom")[1]), (x, at("charm", "top")[1]), colour=colour)
        drawn.arrow((x, at("charm", "bottom")[1]), (x, at(end, "top")[1]), colour=colour)
    drawn.join("h_a", "z", colour=Z_COLOUR)
    drawn.join("h_s", "charm", colour=Z_COLOUR)
    x = drawn.boxes["z"][0][0]
    drawn.arrow(at("z", "bottom"), (x, at("coder", "top")[1]), colour=Z_COLOUR)
    drawn.arrow((x, at("h_s", "right")[1]), at("h_s", "right"), colour=Z_COLOUR)
    drawn.axes.text(x + 0.08, at("h_s", "right")[1], "z_hat", ha="left", va="center", fontsize=9.5, color=Z_COLOUR)
    start, end = at("charm", "bottom", 0.47), at("coder", "left")
    drawn.arrow(start, (start[0], end[1]), end)
    drawn.axes.text(start[0] + 0.08, end[1] + 0.12, "residuals", ha="left", va="bottom", fontsize=9.5, color=DARK)
    if config.shortcut:
        look = {"colour": VERMILION, "dash": DASHED}
        above, x, end = 5.2, at("x", "top"), at("lf", "top")
        drawn.arrow(x, (x[0], above), (end[0], above), end, **look)
        below, x, end = 0.25, at("hf_hat", "bottom"), at("x_hat", "bottom")
        drawn.arrow(x, (x[0], below), (end[0], below), end, **look)
        centre = (x[0] + end[0]) / 2
        drawn.box("shortcut", (centre, above), "wavelet shortcut [ours]", (2.4, 0.34), VERMILION)
        drawn.box("shortcut back", (centre, below), "inverse shortcut [ours]", (2.4, 0.34), VERMILION)


@styled
def context_diagram(layout: SliceLayout, coded: Sequence[int], title: str = "") -> Figure:
    """Draw what a slice sees, a row for each number in ``coded`` (from 0, in coding order): hyper features, and slices.

    What is seen has its group's colour, what is not decoded yet is pale.
    """
    groups = [("LF", LF_COLOUR, len(layout.lf)), ("HF", HF_COLOUR, len(layout.hf))]
    slices = [(f"{group} {i}", colour) for group, colour, count in groups for i in range(1, count + 1)]
    boxes = [("hyper", Z_COLOUR), *slices]
    step, high = 1.32, 1.55
    figure, drawn = board((step * len(boxes) + 0.1, high * len(coded)), title=title)
    for row, number in enumerate(coded):
        y, target = high * (len(coded) - row) - 1.15, number + 1
        for i, (name, colour) in enumerate(boxes):
            x = step * (i + 0.5)
            fill = (
                {"facecolor": colour, "alpha": 0.3} if i < target else {"facecolor": GLOW if i == target else "white"}
            )
            edge = colour if i <= target else GRID
            look = {"boxstyle": "round,pad=0,rounding_size=0.07", "linewidth": 2.6 if i == target else 1.3}
            drawn.axes.add_patch(
                FancyBboxPatch((x - 0.55, y - 0.25), 1.1, 0.5, edgecolor=edge, zorder=3, **fill, **look)
            )
            ink = {"color": "black" if i <= target else GREY, "fontweight": "bold" if i == target else "normal"}
            drawn.axes.text(x, y, name, ha="center", va="center", fontsize=11, zorder=4, **ink)
            if i < target:
                ends = (x, y + 0.27), (step * (target + 0.5) - 0.3 + 0.5 * i / target, y + 0.27)
                bend = f"arc3,rad={-min(0.45, 1.3 / (ends[1][0] - x)):.3f}"  # all peaks below the row above
                arrow = {"arrowstyle": "-|>", "mutation_scale": 11, "color": colour, "linewidth": 1.4}
                drawn.axes.add_patch(FancyArrowPatch(*ends, connectionstyle=bend, shrinkA=0, shrinkB=0, **arrow))
    return figure


@styled
def polyphase_diagram(title: str = "") -> Figure:
    """Draw the four passes over a band, a panel each: one position of every 2x2 block at a time.

    What is coded in a pass glows, what was decoded before is grey, and arrows come from the decoded neighbours.
    """
    side, step = 6, 2.75
    figure, drawn = board((step * len(PASSES) + 0.1, 2.9), title=title)
    known: set[tuple[int, int]] = set()
    for number, (row, column) in enumerate(PASSES):
        left, cell = number * step + 0.2, 2.4 / side
        now = {(i, j) for i in range(row, side, 2) for j in range(column, side, 2)}
        centre = {
            at: (left + (at[1] + 0.5) * cell, 2.45 - (at[0] + 0.5) * cell) for at in product(range(side), repeat=2)
        }
        for at, (x, y) in centre.items():
            face = GLOW if at in now else "#C9C9C9" if at in known else "white"
            corner = x - cell / 2, y - cell / 2
            drawn.axes.add_patch(Rectangle(corner, cell, cell, facecolor=face, edgecolor=GREY, linewidth=0.8))
            first = PASSES.index((at[0] % 2, at[1] % 2))
            ink = {"color": DARK if at in now or at in known else "#B0B0B0", "fontsize": 9}
            drawn.axes.text(x, y, str(first + 1), ha="center", va="center", **ink)
        middle = (2 + row, 2 + column)
        for down, right in product((-1, 0, 1), repeat=2):
            if (near := (middle[0] + down, middle[1] + right)) in known:
                start, end = np.array(centre[near]), np.array(centre[middle])
                drawn.arrow(start + 0.25 * (end - start), end - 0.3 * (end - start), colour=VERMILION, width=1.3)
        seen = sum((middle[0] + i, middle[1] + j) in known for i, j in product((-1, 0, 1), repeat=2))
        heading = f"pass {number + 1}: {seen} of 8 neighbours"
        drawn.axes.text(left, 2.55, heading, ha="left", va="bottom", fontsize=11, fontweight="bold")
        known |= now
    return figure
