"""Synthetic texture down to single pixels: checkerboards, gratings, dithering, halftones, noise, zone plates, dots.

A pattern is a plane (side, side) of float64 in 0..1, drawn from a random generator alone; :func:`texture` makes it a
picture, grey or in colours, of random contrast and offset.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Plane = NDArray[np.float64]
Picture = NDArray[np.uint8]

LARGEST_CELL = 4  # pixels of a checkerboard's square, in 1..4
LARGEST_PERIOD = 12  # pixels between the lines of a grating of thin lines, from 2
FULL_CONTRAST_SHARE, TWO_COLOURS_SHARE, CHANNELS_SHARE, PATCH_SHARE = 0.4, 0.3, 0.15, 0.3


def _grid(side: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows (side, 1) and columns (1, side), to be broadcast."""
    places = np.arange(side)
    return places[:, None], places[None, :]


def _along(rng: np.random.Generator, side: int) -> Plane:
    """Distance in pixels along a random direction, (side, side)."""
    y, x = _grid(side)
    angle = rng.uniform(0, np.pi)
    return np.cos(angle) * x + np.sin(angle) * y


def tone(rng: np.random.Generator, side: int) -> Plane:
    """A smooth plane: a ramp in any direction, waves, or rings."""
    y, x = _grid(side)
    kind = rng.integers(4)
    if kind == 0:
        return np.broadcast_to(np.linspace(0, 1, side), (side, side))  # straight along the rows, as in test pictures
    if kind == 1:
        distance = _along(rng, side)
        return (distance - distance.min()) / np.ptp(distance)
    distance = _along(rng, side) if kind == 2 else np.hypot(y - rng.uniform(0, side), x - rng.uniform(0, side))
    return 0.5 + 0.5 * np.cos(distance * (2 * np.pi * rng.uniform(0.5, 3) / side))


def checkerboard(rng: np.random.Generator, side: int) -> Plane:
    """Squares of 1 to 4 pixels."""
    y, x = _grid(side)
    cell, (down, right) = rng.integers(1, LARGEST_CELL + 1), rng.integers(8, size=2)
    return ((y + down) // cell + (x + right) // cell) % 2 * 1.0


def lines(rng: np.random.Generator, side: int) -> Plane:
    """Lines of one or more whole pixels, level, upright, or along either diagonal, in a period of 2 to 12 pixels."""
    y, x = _grid(side)
    place = (y, x, y + x, y - x)[rng.integers(4)] + np.zeros((side, side), np.int64)
    period = rng.integers(2, LARGEST_PERIOD + 1)
    width = 1 if rng.random() < 0.5 else rng.integers(1, period)
    return ((place + rng.integers(period)) % period < width) * 1.0


def grating(rng: np.random.Generator, side: int) -> Plane:
    """A sine or a square wave of any direction, and of any frequency up to half a cycle per pixel."""
    wave = np.cos(2 * np.pi * (rng.uniform(0.01, 0.5) * _along(rng, side) + rng.random()))
    return (wave > 0) * 1.0 if rng.random() < 0.4 else 0.5 + 0.5 * wave


def zone_plate(rng: np.random.Generator, side: int) -> Plane:
    """Rings whose frequency grows with the distance from a random centre, at most to half a cycle per pixel."""
    y, x = _grid(side)
    down, right = rng.uniform(0, side, 2)
    wave = np.cos(np.pi * rng.uniform(0.2, 0.5) / side * ((y - down) ** 2 + (x - right) ** 2))
    return (wave > 0) * 1.0 if rng.random() < 0.3 else 0.5 + 0.5 * wave


def ordered_dither(rng: np.random.Generator, side: int) -> Plane:
    """A smooth plane by Bayer's thresholds of 2, 4 or 8 pixels a side, in 2 to 4 levels."""
    thresholds = np.zeros((1, 1))
    for _ in range(rng.integers(1, 4)):
        thresholds = np.block([[4 * thresholds, 4 * thresholds + 2], [4 * thresholds + 3, 4 * thresholds + 1]])
    edge = len(thresholds)
    tiled = np.tile((thresholds + 0.5) / edge**2, (side // edge + 1, side // edge + 1))[:side, :side]
    steps = 1 if rng.random() < 0.7 else rng.integers(2, 4)
    return np.floor(tone(rng, side) * steps * 0.999 + tiled) / steps


def error_diffusion(rng: np.random.Generator, side: int) -> Plane:
    """A smooth plane by Floyd and Steinberg's error diffusion."""
    grey = Image.fromarray((255 * tone(rng, side)).astype(np.uint8))
    return np.asarray(grey.convert("1"), dtype=np.float64)


def halftone(rng: np.random.Generator, side: int) -> Plane:
    """A smooth plane as printed dots on a turned grid of 3 to 10 pixels, hard or soft at their edges."""
    y, x = _grid(side)
    angle, wave = rng.uniform(0, np.pi), 2 * np.pi / rng.uniform(3, 10)
    u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    screen = 0.5 + 0.25 * (np.cos(wave * u) + np.cos(wave * v))
    return np.clip((tone(rng, side) - screen) * rng.choice([4.0, 10.0, 1e6]) + 0.5, 0, 1)


def white_noise(rng: np.random.Generator, side: int) -> Plane:
    """Independent pixels: two values, all values alike, or Gaussian of random width."""
    kind = rng.integers(3)
    if kind == 0:
        return (rng.random((side, side)) < rng.uniform(0.1, 0.9)) * 1.0
    if kind == 1:
        return rng.random((side, side))
    return np.clip(0.5 + rng.uniform(0.02, 0.3) * rng.standard_normal((side, side)), 0, 1)


def coloured_noise(rng: np.random.Generator, side: int) -> Plane:
    """Gaussian noise whose amplitude goes by a power of the frequency: from rough (+1) to clouds (-2)."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :])
    frequency[0, 0] = 1 / side
    spectrum = np.fft.rfft2(rng.standard_normal((side, side))) * frequency ** rng.uniform(-2, 1)
    noise = np.fft.irfft2(spectrum, s=(side, side))
    return np.clip(0.5 + rng.uniform(0.05, 0.3) * (noise - noise.mean()) / (noise.std() + 1e-9), 0, 1)


def random_dots(rng: np.random.Generator, side: int) -> Plane:
    """Square dots of 1 to 3 pixels, sparse or dense, on a flat ground."""
    edge = rng.integers(1, 4)
    few = rng.random((side // edge + 1, side // edge + 1)) < rng.uniform(0.01, 0.3)
    return few.repeat(edge, 0).repeat(edge, 1)[:side, :side] * 1.0


PATTERNS: dict[str, Callable[[np.random.Generator, int], Plane]] = {
    pattern.__name__: pattern
    for pattern in (
        checkerboard, lines, grating, zone_plate, ordered_dither, error_diffusion, halftone, white_noise,
        coloured_noise, random_dots,
    )
}  # fmt: skip


def texture(rng: np.random.Generator, side: int, kind: str | None = None) -> Picture:
    """Draw a texture; some have another one in a rectangle, as there are edges between textures as well.

    Parameters
    ----------
    rng : everything is drawn from it.
    side : of the picture, pixels, 2 or more.
    kind : one of ``PATTERNS``, for the whole picture; None draws it.

    Returns
    -------
    (side, side, 3) uint8.
    """
    picture = _painted(rng, side, kind or str(rng.choice(list(PATTERNS))))
    if kind is None and rng.random() < PATCH_SHARE:
        (top, bottom), (left, right) = np.sort(rng.integers(side + 1, size=(2, 2)))
        picture[top:bottom, left:right] = _painted(rng, side, str(rng.choice(list(PATTERNS))))[top:bottom, left:right]
    return picture


def _painted(rng: np.random.Generator, side: int, kind: str) -> Picture:
    """A pattern between two greys or two colours, or another of its kind in each channel."""
    if rng.random() < CHANNELS_SHARE:
        plane = np.stack([PATTERNS[kind](rng, side) for _ in range(3)], axis=2)
    else:
        plane = PATTERNS[kind](rng, side)[..., None]
    if rng.random() < FULL_CONTRAST_SHARE:
        low, high = np.zeros(3), np.full(3, 255.0)
    elif rng.random() < TWO_COLOURS_SHARE:
        low, high = rng.uniform(0, 255, (2, 3))
    else:
        low, high = rng.uniform(0, 255, (2, 1)).repeat(3, 1)
    return (low + (high - low) * plane + 0.5).astype(np.uint8)
