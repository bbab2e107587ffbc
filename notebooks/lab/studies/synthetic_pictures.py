"""Synthetic pictures of what photographs lack: text, drawings, screens, and texture down to single pixels.

``python -m lab.studies.synthetic_pictures FOLDER --count N`` writes N pictures as PNG. Training takes crops of
them as ``synthetic_share`` and ``synthetic_images`` of its configuration say. Every picture is drawn from a random
generator alone: it is the same wherever it is drawn, by one release of Pillow and matplotlib, whose fonts it has.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

Plane = NDArray[np.float64]  # (side, side) in 0..1
Picture = NDArray[np.uint8]  # (side, side, 3)
Colour = tuple[int, int, int]
SEED = 7
MIX = {"text": 0.25, "drawing": 0.15, "screen": 0.25, "texture": 0.35}
FONTS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSerif", "DejaVuSerif-Bold")
LETTERS = 3 * "eeetttaaoonniisshhrrddlluccmmwfgypbvkjxqz" + 20 * " "
ALPHABETS = (
    LETTERS, LETTERS, LETTERS + "ETAOINSHRDLU0123456789.,;:-()", "0123456789.,-+%    ",
    "if(x[i]==0){return*p;}_<>&|/\\#\"'   ", "αβγδεζηθικλμνξοπρστυφχψω    ", "абвгдежзийклмнопрстуфхцчшщыэюя     ",
)  # fmt: skip
ICONS = "⚙☰✉✂✎☎♥★☆✔✖✚⌂⌘☁☀♫⚑⚠ℹ▶◀■●◐▣▤◎"


def tone(rng: Generator, side: int) -> Plane:
    """Return a smooth plane: a ramp in any direction, waves, or rings."""
    y, x = np.ogrid[:side, :side]
    angle, (down, right) = rng.choice([0, rng.uniform(0, np.pi)]), rng.uniform(0, side, 2)
    kind, distance = rng.integers(3), np.cos(angle) * x + np.sin(angle) * y
    if kind == 0:
        return (distance - distance.min()) / np.ptp(distance)
    distance = distance if kind == 1 else np.hypot(y - down, x - right)
    return 0.5 + 0.5 * np.cos(distance * (2 * np.pi * rng.uniform(0.5, 3) / side))


def checkerboard(rng: Generator, side: int) -> Plane:
    """Squares of 1 to 4 pixels."""
    y, x = np.ogrid[:side, :side]
    cell, (down, right) = rng.integers(1, 5), rng.integers(8, size=2)
    return ((y + down) // cell + (x + right) // cell) % 2 * 1.0


def lines(rng: Generator, side: int) -> Plane:
    """Lines of one or more whole pixels, level, upright, or along either diagonal, in a period of 2 to 12 pixels."""
    y, x = np.ogrid[:side, :side]
    place = (y, x, y + x, y - x)[rng.integers(4)] + np.zeros((side, side), np.int64)
    period = rng.integers(2, 13)
    width = 1 if rng.random() < 0.5 else rng.integers(1, period)
    return ((place + rng.integers(period)) % period < width) * 1.0


def waves(rng: Generator, side: int) -> Plane:
    """A grating of any direction or a zone plate, sine or square, of up to half a cycle per pixel."""
    y, x = np.ogrid[:side, :side]
    angle, (down, right) = rng.uniform(0, np.pi), rng.uniform(0, side, 2)
    cycles = rng.uniform(0.01, 0.5) * (np.cos(angle) * x + np.sin(angle) * y)
    if rng.random() < 0.5:
        cycles = rng.uniform(0.1, 0.25) / side * ((y - down) ** 2 + (x - right) ** 2)
    wave = np.cos(2 * np.pi * (cycles + rng.random()))
    return (wave > 0) * 1.0 if rng.random() < 0.4 else 0.5 + 0.5 * wave


def ordered_dither(rng: Generator, side: int) -> Plane:
    """A smooth plane by Bayer's thresholds of 2, 4 or 8 pixels a side, in 2 to 4 levels."""
    thresholds = np.zeros((1, 1))
    for _ in range(rng.integers(1, 4)):
        thresholds = np.block([[4 * thresholds, 4 * thresholds + 2], [4 * thresholds + 3, 4 * thresholds + 1]])
    edge = len(thresholds)
    tiled = np.tile((thresholds + 0.5) / edge**2, (side // edge + 1, side // edge + 1))[:side, :side]
    steps = 1 if rng.random() < 0.7 else rng.integers(2, 4)
    return np.floor(tone(rng, side) * steps * 0.999 + tiled) / steps


def error_diffusion(rng: Generator, side: int) -> Plane:
    """A smooth plane by Floyd and Steinberg's error diffusion."""
    return np.asarray(Image.fromarray((255 * tone(rng, side)).astype(np.uint8)).convert("1"), dtype=np.float64)


def halftone(rng: Generator, side: int) -> Plane:
    """A smooth plane as printed dots on a turned grid of 3 to 10 pixels, hard or soft at their edges."""
    y, x = np.ogrid[:side, :side]
    angle, wave = rng.uniform(0, np.pi), 2 * np.pi / rng.uniform(3, 10)
    u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    dots = 0.5 + 0.25 * (np.cos(wave * u) + np.cos(wave * v))
    return np.clip((tone(rng, side) - dots) * rng.choice([4.0, 10.0, 1e6]) + 0.5, 0, 1)


def noise(rng: Generator, side: int) -> Plane:
    """Gaussian noise by a power of the frequency, from rough (+1) to clouds (-2), smooth or of two values."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :])
    frequency[0, 0] = 1 / side
    power = rng.choice([0, rng.uniform(-2, 1)])
    plane = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((side, side))) * frequency**power, s=(side, side))
    plane = (plane - plane.mean()) / (plane.std() + 1e-9)
    return np.clip(0.5 + rng.choice([100, rng.uniform(0.05, 0.3)]) * plane, 0, 1)


def dots(rng: Generator, side: int) -> Plane:
    """Square dots of 1 to 3 pixels, sparse or dense, on a flat ground."""
    edge = rng.integers(1, 4)
    few = rng.random((side // edge + 1, side // edge + 1)) < rng.uniform(0.01, 0.5)
    return few.repeat(edge, 0).repeat(edge, 1)[:side, :side] * 1.0


PATTERNS: tuple[Callable[[Generator, int], Plane], ...] = (
    checkerboard, lines, waves, ordered_dither, error_diffusion, halftone, noise, dots,
)  # fmt: skip


def texture(rng: Generator, side: int) -> Picture:
    """Draw a pattern; some pictures have another one in a rectangle."""
    picture = _painted(rng, side)
    if rng.random() < 0.3:
        (top, bottom), (left, right) = np.sort(rng.integers(side + 1, size=(2, 2)))
        picture[top:bottom, left:right] = _painted(rng, side)[top:bottom, left:right]
    return picture


def _painted(rng: Generator, side: int) -> Picture:
    """A pattern in black and white, or between two greys or colours; some have another of its kind in each channel."""
    pattern, channels = PATTERNS[rng.integers(len(PATTERNS))], 3 if rng.random() < 0.15 else 1
    plane = np.stack([pattern(rng, side) for _ in range(channels)], axis=2)
    low, high = ((0, 255), rng.uniform(0, 255, (2, 3)), rng.uniform(0, 255, 2))[rng.choice(3, p=[0.4, 0.2, 0.4])]
    return np.broadcast_to(low + (high - low) * plane + 0.5, (side, side, 3)).astype(np.uint8)


@lru_cache(maxsize=1024)
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


def _colours(rng: Generator) -> tuple[Colour, Colour]:
    """Return a ground and an ink that stands out from it: near black and white, or any colour; light or dark."""
    light, dark = 255 - rng.integers(1 if rng.random() < 0.5 else 50, size=3), rng.integers(60, size=3)
    if rng.random() < 0.3:
        light = rng.integers(140, 256, size=3)
    pair: tuple[Colour, Colour] = (tuple(light.tolist()), tuple(dark.tolist()))
    return pair[::-1] if rng.random() < 0.35 else pair


def _lines_of_text(rng: Generator, canvas: ImageDraw.ImageDraw, left: int, top: int, width: int, ink: Colour) -> int:
    """Write some lines of one font and size; return the height in pixels that they take."""
    size, rows = int(rng.integers(7, rng.choice([13, 13, 20, 40]))), int(rng.integers(1, 8))
    font, letters = _font(FONTS[rng.integers(len(FONTS))], size), list(ALPHABETS[rng.integers(len(ALPHABETS))])
    leading = size + int(rng.integers(1, 2 + size // 2))
    for row in range(rows):
        count = 1 + int(rng.uniform(0.2, 1.5) * width / size)
        canvas.text((left, top + row * leading), "".join(rng.choice(letters, count)), ink, font)
    return rows * leading + int(rng.integers(size))


def text(rng: Generator, side: int) -> Picture:
    """Draw a page of text, with or without antialiasing; some pages are turned."""
    page = round(1.42 * side)  # a square that holds the picture at any angle
    ground, ink = _colours(rng)
    image = Image.new("RGB", (page, page), ground)
    canvas, top = ImageDraw.Draw(image), 0
    canvas.fontmode = "1" if rng.random() < 0.3 else "L"
    while top < page:
        top += _lines_of_text(rng, canvas, int(rng.integers(20)), top, page, ink)
    if rng.random() < 0.2:
        image = image.rotate(rng.uniform(-45, 45), Image.Resampling.BICUBIC, fillcolor=ground)
    margin = (page - side) // 2
    return np.array(image)[margin : margin + side, margin : margin + side]


def drawing(rng: Generator, side: int) -> Picture:
    """Draw flat, outlined and open shapes; a pixel is the mean of one to three samples each way, for soft edges."""
    samples = int(rng.integers(1, 4))
    edge, (ground, ink) = side * samples, _colours(rng)
    image = Image.new("RGB", (edge, edge), ground)
    canvas, palette = ImageDraw.Draw(image), [ink, ground, *(tuple(c) for c in rng.integers(256, size=(3, 3)).tolist())]
    for _ in range(rng.integers(3, 25)):
        line, fill = (palette[i] for i in rng.integers(len(palette), size=2))
        points = rng.uniform(0, edge, 2) + edge * rng.uniform(0.03, 0.6) * rng.uniform(-1, 1, (3, 2))
        box, width = [*points.min(0), *points.max(0)], samples * int(rng.choice([1, 1, 1, 2, 3, 6]))
        shape = rng.integers(4)
        if shape == 0:
            canvas.polygon(points.ravel().tolist(), fill, line, width)
        elif shape == 1:
            canvas.ellipse(box, fill, line, width)
        elif shape == 2:
            canvas.rectangle(box, fill, line, width)
        else:
            canvas.line(points.ravel().tolist(), line, width)
    return np.array(image.reduce(samples))


def screen(rng: Generator, side: int) -> Picture:
    """Draw one to three windows of a program: bars, tables, buttons, icons, small text, on grounds without noise."""
    image = Image.new("RGB", (side, side))
    for number in range(rng.integers(1, 4)):
        left, top = (0, 0) if number == 0 else rng.integers(-side // 4, side, 2).tolist()
        ground, ink = _colours(rng)
        accent: Colour = tuple(rng.integers(256, size=3).tolist())
        window = Image.new("RGB", (side, side), ground)
        canvas, down = ImageDraw.Draw(window), int(rng.integers(4, 20))
        canvas.rectangle((0, 0, side, down), accent)
        while down < side:
            kind, height = rng.integers(4), int(rng.integers(10, 28))
            if kind == 0:
                down += _lines_of_text(rng, canvas, 6, down, side // 2, ink)
                continue
            for right in range(6, side, int(rng.integers(height, 3 * height))):  # a table, buttons, or icons
                if kind == 3:
                    canvas.text((right, down), str(rng.choice(list(ICONS))), ink, _font("DejaVuSans", height - 4))
                else:
                    box = (right, down, right + 2 * height, down + height - 1)
                    canvas.rounded_rectangle(box, 0 if kind == 1 else 4, None if kind == 1 else accent, ink)
            down += height + (0 if kind == 1 else int(rng.integers(8)))
        canvas.rectangle((0, 0, side - 1, side - 1), outline=ink)
        image.paste(window, (left, top))
    return np.array(image)


FAMILIES: dict[str, Callable[[Generator, int], Picture]] = {
    "text": text, "drawing": drawing, "screen": screen, "texture": texture,
}  # fmt: skip


def write(folder: Path, count: int, side: int = 256) -> None:
    """Write ``count`` pictures of ``side`` pixels, the families by their shares in ``MIX``."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in tqdm(range(count), unit="picture", disable=None):
        rng = np.random.default_rng([SEED, number])
        family = str(rng.choice(list(MIX), p=list(MIX.values())))
        Image.fromarray(FAMILIES[family](rng, side)).save(folder / f"{number:05d}-{family}.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--count", type=int, default=1000, help="number of pictures (%(default)s)")
    parser.add_argument("--side", type=int, default=256, help="their side in pixels (%(default)s)")
    options = parser.parse_args()
    write(options.folder, options.count, options.side)
