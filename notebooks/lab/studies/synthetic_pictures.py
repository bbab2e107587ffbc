"""Synthetic pictures of what photographs lack: text, line drawings, screens, and texture down to single pixels.

``python -m lab.studies.synthetic_pictures FOLDER --count N`` writes N pictures as PNG, for the ``synthetic_share`` of
a training. A picture depends on its number alone, by one release of Pillow and of matplotlib, whose fonts it has.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

Picture = NDArray[np.uint8]  # (side, side, 3)
SEED = 7
MIX = {"text": 0.25, "drawing": 0.15, "screen": 0.25, "texture": 0.35}
FONTS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSerif", "DejaVuSerif-Bold")
LETTERS = 3 * "eeetttaaoonniisshhrrddlluccmmwfgypbvkjxqz" + 20 * " "
ALPHABETS = (
    LETTERS, LETTERS + "ETAOINSHRDLU0123456789.,;:-()", "0123456789.-+% ", "if(x[i]==0){return*p;}_<>&|/\\#\"' ",
    "αβγδεζηθικλμνξοπρστυφχψω    ", "абвгдежзийклмнопрстуфхцчшщыэюя     ",
)  # fmt: skip


def texture(rng: Generator, side: int) -> Picture:
    """Draw stripes, checks, a grating, dither, noise or dots in two greys or colours, often black and white."""
    y, x = np.ogrid[:side, :side]
    angle, cycles = rng.uniform(0, np.pi), rng.uniform(0.01, 0.5)
    wave = 0.5 + 0.5 * np.cos(2 * np.pi * (cycles * (np.cos(angle) * x + np.sin(angle) * y) + rng.random()))
    kind = rng.choice(["stripes", "checks", "grating", "dither", "noise", "dots"])
    if kind == "stripes":  # of whole pixels: level, upright, or along a diagonal
        period = rng.integers(2, 13)
        plane = (y, x, y + x, y - x)[rng.integers(4)] % period < rng.integers(1, period)
    elif kind == "checks":
        cell = rng.integers(1, 5)
        plane = (y // cell + x // cell) % 2
    elif kind == "grating":  # of up to half a cycle per pixel, sine or square
        plane = wave if rng.random() < 0.6 else wave > 0.5
    elif kind == "dither":  # of a slow wave, by error diffusion
        slow = 0.5 + 0.5 * np.cos(6 * (x * np.cos(angle) + y * np.sin(angle)) / side)
        plane = np.asarray(Image.fromarray((255 * slow).astype(np.uint8)).convert("1"))
    elif kind == "noise":
        plane = np.clip(0.5 + rng.choice([0.05, 0.3, 100]) * rng.standard_normal((side, side)), 0, 1)
    else:
        edge = rng.integers(1, 4)
        dots = rng.random((side // edge + 1, side // edge + 1)) < rng.uniform(0.01, 0.5)
        plane = dots.repeat(edge, 0).repeat(edge, 1)[:side, :side]
    low, high = [(0, 255), rng.uniform(0, 255, 2), rng.uniform(0, 255, (2, 3))][rng.integers(3)]
    plane = np.broadcast_to(plane, (side, side))[..., None]
    return np.broadcast_to(low + (high - low) * plane + 0.5, (side, side, 3)).astype(np.uint8)


def text(rng: Generator, side: int) -> Picture:
    """Draw a page of text, with or without antialiasing."""
    image, canvas, ink = _page(rng, side)
    canvas.fontmode = "1" if rng.random() < 0.3 else "L"
    top = 0
    while top < side:
        top += _paragraph(rng, canvas, (int(rng.integers(20)), top), side, ink)
    return np.array(image)


def drawing(rng: Generator, side: int) -> Picture:
    """Draw flat, outlined and open shapes; a pixel is the mean of one to three samples each way, for soft edges."""
    samples = int(rng.integers(1, 4))
    edge = side * samples
    image, canvas, ink = _page(rng, edge)
    for _ in range(rng.integers(3, 25)):
        line, fill = [ink, *map(tuple, rng.integers(256, size=(2, 3)).tolist())][:: rng.choice([1, -1])][:2]
        points = rng.uniform(0, edge, 2) + edge * rng.uniform(0.03, 0.6) * rng.uniform(-1, 1, (3, 2))
        box, width = [*points.min(0), *points.max(0)], samples * int(rng.choice([1, 1, 1, 2, 3, 6]))
        shape = rng.choice(["polygon", "ellipse", "rectangle", "line"])
        if shape == "line":
            canvas.line(points.ravel().tolist(), line, width)
        else:
            getattr(canvas, shape)(points.ravel().tolist() if shape == "polygon" else box, fill, line, width)
    return np.array(image.reduce(samples))


def screen(rng: Generator, side: int) -> Picture:
    """Draw one to three windows of a program: a bar, then rows of small text, table cells and buttons."""
    screen = Image.new("RGB", (side, side))
    for number in range(rng.integers(1, 4)):
        window, canvas, ink = _page(rng, side)
        accent, down = tuple(rng.integers(256, size=3).tolist()), int(rng.integers(4, 20))
        canvas.rectangle((0, 0, side, down), accent, ink)
        while down < side:
            if rng.random() < 0.4:
                down += _paragraph(rng, canvas, (6, down), side // 2, ink)
                continue
            height, radius = int(rng.integers(10, 28)), int(rng.choice([0, 4]))
            for right in range(6, side, int(rng.integers(height, 3 * height))):
                box = (right, down, right + 2 * height, down + height - 1)
                canvas.rounded_rectangle(box, radius, accent if radius else None, ink)
            down += height + int(rng.integers(8)) * bool(radius)
        canvas.rectangle((0, 0, side - 1, side - 1), outline=ink)
        screen.paste(window, tuple(rng.integers(-side // 4, side, 2).tolist()) if number else (0, 0))
    return np.array(screen)


def _page(rng: Generator, side: int) -> tuple[Image.Image, ImageDraw.ImageDraw, tuple[int, ...]]:
    """An empty picture, its canvas, and an ink that stands out from its ground; either of them may be the lighter."""
    light = rng.integers(140, 256, size=3) if rng.random() < 0.3 else np.full(3, 255) - rng.integers(50)
    pair = [tuple(colour.tolist()) for colour in (light, rng.integers(60, size=3))]
    ground, ink = pair[:: 1 if rng.random() < 0.65 else -1]
    image = Image.new("RGB", (side, side), ground)
    return image, ImageDraw.Draw(image), ink


def _paragraph(rng: Generator, canvas: ImageDraw.ImageDraw, corner: tuple[int, int], width: int, ink: tuple) -> int:
    """Write some lines of one font and size; return the height in pixels that they take."""
    size, rows = int(rng.integers(7, rng.choice([13, 13, 20, 40]))), int(rng.integers(1, 8))
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{rng.choice(FONTS)}.ttf"
    font = ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)
    letters, leading = list(rng.choice(ALPHABETS)), size + int(rng.integers(1, 2 + size // 2))
    for row in range(rows):
        line = "".join(rng.choice(letters, 1 + int(rng.uniform(0.2, 1.5) * width / size)))
        canvas.text((corner[0], corner[1] + row * leading), line, ink, font)
    return rows * leading + int(rng.integers(size))


FAMILIES = {"text": text, "drawing": drawing, "screen": screen, "texture": texture}


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
    options = parser.parse_args()
    write(options.folder, options.count)
