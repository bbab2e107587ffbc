"""Screens of programs: windows with bars, buttons, icons, tables and small text, on grounds without any noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from weconvene_core.training.lettering import Colour, colour, font, ground_and_ink, ink_on, lettering, words
from weconvene_core.training.textures import texture

ICONS = "⚙☰✉✂✎☎♥★☆✔✖✚⌂⌘☁☀♫⚑⚠ℹ▶◀■●◐▣▤◎"
FINE_SHARE = 0.8  # of the screens; the others are of twice the resolution
DARK_SHARE = 0.3


@dataclass(frozen=True)
class Theme:
    """How a window looks: its colours (``marked`` is a second ink), its font, and the height of its rows in pixels."""

    ground: Colour
    ink: Colour
    line: Colour
    accent: Colour
    marked: Colour
    face: ImageFont.FreeTypeFont
    letters: NDArray[np.str_]
    row: int
    zoom: int


@dataclass(frozen=True)
class Widget:
    """Where the next part of a window goes: its left upper corner and its width in pixels."""

    image: Image.Image
    canvas: ImageDraw.ImageDraw
    theme: Theme
    left: int
    top: int
    width: int

    def write(self, rng: np.random.Generator, left: int, top: int, width: int, ink: Colour | None = None) -> None:
        """Write a few words that fit into a width."""
        count = max(1, int(2.5 * width / self.theme.row * rng.uniform(0.2, 1)))
        place = self.left + left, self.top + top
        self.canvas.text(place, words(rng, self.theme.letters, count), ink or self.theme.ink, self.theme.face)

    def box(self, left: int, top: int, right: int, bottom: int) -> tuple[int, int, int, int]:
        """Return a box given from the corner as the canvas wants it, right and bottom not less than left and top."""
        left, top, right, bottom = self.left + left, self.top + top, self.left + right, self.top + bottom
        return left, top, max(left, right), max(top, bottom)


def _theme(rng: np.random.Generator) -> Theme:
    zoom = 1 if rng.random() < FINE_SHARE else 2
    size = zoom * int(rng.integers(8, 14))
    shade = int(rng.integers(20, 70) if rng.random() < DARK_SHARE else rng.integers(225, 256))
    ground: Colour = (shade, shade, shade)
    ink = ink_on(rng, ground)
    if rng.random() < 0.3:
        ground, ink = ground_and_ink(rng)
    mixed = np.asarray(ground) + (np.asarray(ink, dtype=float) - ground) * rng.uniform(0.1, 0.6)
    red, green, blue = mixed.astype(int).tolist()
    row = size + zoom * int(rng.integers(3, 8))
    accent, marked = colour(rng), ink_on(rng, ground)
    return Theme(ground, ink, (red, green, blue), accent, marked, *lettering(rng, size), row, zoom)


def _label(rng: np.random.Generator, at: Widget) -> int:
    rows = int(rng.integers(1, 9))
    for row in range(rows):
        at.write(rng, 0, row * at.theme.row, at.width, at.theme.ink if rng.random() < 0.8 else at.theme.marked)
    return rows * at.theme.row


def _table(rng: np.random.Generator, at: Widget) -> int:
    rows, columns = rng.integers(2, 7, 2).tolist()
    height, pitch, striped = at.theme.row, max(1, at.width // columns), rng.random() < 0.4
    for row in range(rows):
        if striped and row % 2:
            at.canvas.rectangle(at.box(0, row * height, at.width, (row + 1) * height), at.theme.line)
        for column in range(columns):
            at.write(rng, column * pitch + 3, row * height + 2, pitch - 6)
    for row in range(rows + 1):
        at.canvas.line(at.box(0, row * height, at.width, row * height), at.theme.line)
    for column in range(columns + 1) if not striped else ():
        at.canvas.line(at.box(column * pitch, 0, column * pitch, rows * height), at.theme.line)
    return rows * height


def _buttons(rng: np.random.Generator, at: Widget) -> int:
    height, left, radius = at.theme.row + 4, 0, int(rng.integers(0, 8))
    while left < at.width:
        width = at.theme.row * int(rng.integers(2, 6))
        chosen = rng.random() < 0.4
        fill = at.theme.accent if chosen else None
        at.canvas.rounded_rectangle(at.box(left, 0, left + width, height), radius, fill, at.theme.line)
        at.write(rng, left + 5, 3, width - 10, ink_on(rng, at.theme.accent) if chosen else None)
        left += width + int(rng.integers(2, 10))
    return height


def _icons(rng: np.random.Generator, at: Widget) -> int:
    edge = at.theme.zoom * int(rng.integers(12, 33))
    face, mixed = font("DejaVuSans", edge), rng.random() < 0.4
    for left in range(0, max(1, at.width - edge), edge + int(rng.integers(3, 12))):
        ink = ink_on(rng, at.theme.ground) if mixed else at.theme.ink
        at.canvas.text((at.left + left, at.top), ICONS[rng.integers(len(ICONS))], ink, face)
    return edge


def _bars(rng: np.random.Generator, at: Widget) -> int:
    """Progress bars, or the columns of a chart."""
    if rng.random() < 0.5:
        height = at.theme.row // 2
        at.canvas.rectangle(at.box(0, 0, at.width, height), at.theme.line)
        at.canvas.rectangle(at.box(0, 0, int(at.width * rng.random()), height), at.theme.accent)
        return height
    height, pitch = 4 * at.theme.row, int(rng.integers(3, 14))
    for left in range(0, at.width, pitch):
        at.canvas.rectangle(at.box(left, int(height * rng.random()), left + pitch - 2, height), at.theme.accent)
    at.canvas.line(at.box(0, height, at.width, height), at.theme.ink)
    return height


def _thumbnail(rng: np.random.Generator, at: Widget) -> int:
    edge = int(rng.integers(16, 64))
    at.image.paste(Image.fromarray(texture(rng, edge)), (at.left, at.top))
    at.canvas.rectangle(at.box(0, 0, edge, edge), outline=at.theme.line)
    return edge


def _rule(rng: np.random.Generator, at: Widget) -> int:
    for row in range(int(rng.integers(1, 4))):
        at.canvas.line(at.box(0, 2 * row, at.width, 2 * row), at.theme.line)
    return 6


WIDGETS = (_label, _label, _label, _table, _table, _buttons, _icons, _bars, _thumbnail, _rule)


def _window(rng: np.random.Generator, image: Image.Image, left: int, top: int, width: int, height: int) -> None:
    theme = _theme(rng)
    pane = Image.new("RGB", (width, height), theme.ground)
    canvas = ImageDraw.Draw(pane)
    canvas.fontmode = "1" if rng.random() < 0.3 else "L"
    bar = theme.row + 4 if rng.random() < 0.6 else 0
    if bar:
        canvas.rectangle((0, 0, width, bar), theme.accent)
        Widget(pane, canvas, theme, 6, 2, width).write(rng, 0, 0, width // 2, ink_on(rng, theme.accent))
    margin, down = int(rng.integers(2, 14)), bar + int(rng.integers(2, 12))
    while down < height:
        widget = WIDGETS[rng.integers(len(WIDGETS))]
        down += widget(rng, Widget(pane, canvas, theme, margin, down, width - 2 * margin)) + int(rng.integers(2, 12))
    canvas.rectangle((0, 0, width - 1, height - 1), outline=theme.line)
    image.paste(pane, (left, top))


def screen(rng: np.random.Generator, side: int) -> Image.Image:
    """Draw a screen, RGB, (side, side) pixels: one window beyond the picture's edges, and up to two more before it."""
    image = Image.new("RGB", (side, side))
    beyond = int(rng.integers(0, 40))
    _window(rng, image, -beyond, -beyond, side + 2 * beyond, side + 2 * beyond)
    for _ in range(rng.integers(3)):
        left, top = rng.integers(-side // 4, 3 * side // 4, 2).tolist()
        width, height = rng.integers(side // 3 + 8, side + 8, 2).tolist()
        _window(rng, image, left, top, width, height)
    return image
