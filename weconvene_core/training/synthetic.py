"""Synthetic pictures of what photographs lack: text, drawings, screens, and texture down to single pixels.

The loader mixes them into training (``TrainConfig.synthetic_share``). Everything is drawn from a random generator
alone: a picture is the same wherever it is drawn, by one release of Pillow and of matplotlib, whose fonts it has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from weconvene_core.training.lettering import Colour, colour, ground_and_ink, text
from weconvene_core.training.screens import screen
from weconvene_core.training.textures import texture, tone

MIX = {"text": 0.25, "drawing": 0.15, "screen": 0.25, "texture": 0.35}
MOST_SHAPES = 25
LINE_WIDTHS = (1, 1, 1, 2, 3, 6)  # pixels
GRADIENT_SHARE = 0.3


@dataclass(frozen=True)
class Pen:
    """What a shape is drawn with; ``fill`` None leaves it open, ``width`` is that of lines in samples."""

    canvas: ImageDraw.ImageDraw
    fill: Colour | None
    line: Colour
    width: int


def _polygon(rng: np.random.Generator, pen: Pen, points: NDArray[np.float64]) -> None:
    pen.canvas.polygon(points.ravel().tolist(), pen.fill, pen.line, pen.width)


def _ellipse(rng: np.random.Generator, pen: Pen, points: NDArray[np.float64]) -> None:
    pen.canvas.ellipse(_box(points), pen.fill, pen.line, pen.width)


def _rectangle(rng: np.random.Generator, pen: Pen, points: NDArray[np.float64]) -> None:
    radius = 0 if rng.random() < 0.5 else float(rng.uniform(0, np.ptp(points, axis=0).min() / 2))
    pen.canvas.rounded_rectangle(_box(points), radius, pen.fill, pen.line, pen.width)


def _polyline(rng: np.random.Generator, pen: Pen, points: NDArray[np.float64]) -> None:
    pen.canvas.line(points.ravel().tolist(), pen.line, pen.width)


def _curve(rng: np.random.Generator, pen: Pen, points: NDArray[np.float64]) -> None:
    """A Lissajous curve around the points' mean, as wide as they are."""
    turn = np.linspace(0, 2 * np.pi, 96)[:, None]
    curve = points.mean(0) + points.std(0) * np.sin(rng.integers(1, 5, 2) * turn + rng.uniform(0, 6, 2))
    pen.canvas.line(curve.ravel().tolist(), pen.line, pen.width, joint="curve")


def _hatching(rng: np.random.Generator, pen: Pen, points: NDArray[np.float64]) -> None:
    """Parallel lines between two that are drawn, two to twelve times as far apart as they are wide."""
    first, second = points[:2], points[1:3]
    gap = np.abs(second - first).sum(1).max() / pen.width
    for share in np.linspace(0, 1, int(gap / rng.uniform(2, 12)) + 2):
        pen.canvas.line((first + share * (second - first)).ravel().tolist(), pen.line, pen.width)


SHAPES = (_polygon, _polygon, _ellipse, _rectangle, _rectangle, _polyline, _curve, _hatching)


def drawing(rng: np.random.Generator, side: int) -> Image.Image:
    """Draw shapes, RGB, (side, side) pixels: flat, outlined or hatched, on a flat ground or a gradient.

    Every pixel is the mean of one to three samples each way: one for hard edges, more for smooth ones.
    """
    samples = int(rng.integers(1, 4))
    edge = side * samples
    ground, ink = ground_and_ink(rng)
    image = Image.new("RGB", (edge, edge), ground)
    if rng.random() < GRADIENT_SHARE:
        shade = Image.fromarray((255 * tone(rng, side)).astype(np.uint8)).resize((edge, edge))
        image.paste(colour(rng), (0, 0, edge, edge), shade)
    canvas, palette = ImageDraw.Draw(image), [ink, ink, ground, colour(rng), colour(rng)]
    for _ in range(rng.integers(3, MOST_SHAPES)):
        line, fill = (palette[i] for i in rng.integers(len(palette), size=2))
        pen = Pen(canvas, fill if rng.random() < 0.6 else None, line, samples * int(rng.choice(LINE_WIDTHS)))
        spread = edge * rng.uniform(0.03, 0.6)
        points = rng.uniform(0, edge, 2) + rng.uniform(-spread, spread, (int(rng.integers(3, 7)), 2))
        SHAPES[rng.integers(len(SHAPES))](rng, pen, points)
    return image.reduce(samples) if samples > 1 else image


def _box(points: NDArray[np.float64]) -> list[float]:
    return [*points.min(0).tolist(), *points.max(0).tolist()]


FAMILIES: dict[str, Callable[[np.random.Generator, int], Image.Image | NDArray[np.uint8]]] = {
    "text": text,
    "drawing": drawing,
    "screen": screen,
    "texture": texture,
}


def draw(rng: np.random.Generator, side: int) -> NDArray[np.uint8]:
    """Draw a picture of a family by its share in ``MIX``.

    Parameters
    ----------
    rng : everything is drawn from it.
    side : of the picture, pixels, 32 or more.

    Returns
    -------
    (side, side, 3) uint8.
    """
    family = rng.choice(list(MIX), p=list(MIX.values()))
    return np.array(FAMILIES[family](rng, side))
