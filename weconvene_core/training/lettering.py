"""Pages of random words: the fonts that come with matplotlib and Pillow, and colours that stand out from each other."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
FONTS = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSansMono-Bold"),
    *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "STIXGeneral", "STIXGeneralItalic"),
)
LETTERS = 3 * "eeetttaaoonniisshhrrddlluccmmwfgypbvkjxqz" + 20 * " "
LATIN = (
    *(LETTERS, LETTERS, LETTERS, LETTERS + "ETAOINSHRDLU0123456789.,;:-()"),
    *("ETAOINSHRDLCUMWFGYPBVK    ", "0123456789.,-+%    ", "if(x[i]==0){return*p;}_<>&|/\\#\"'   "),
)
OTHERS = ("αβγδεζηθικλμνξοπρστυφχψω    ", "абвгдежзийклмнопрстуфхцчшщыэюя     ", "■□●○◆▲△←↑→↓─│┌┐└┘├┤┼═║  ")
INK_DISTANCE = 80.0  # least difference in brightness between a ground and what is written on it, of 255
BRIGHTNESS = np.array([0.299, 0.587, 0.114])
PAPER_SHARE, NEAR_PAPER_SHARE, INVERTED_SHARE = 0.4, 0.35, 0.35
SLANTED_SHARE, ALIASED_SHARE = 0.2, 0.3


@lru_cache(maxsize=1024)
def font(name: str | None, size: int) -> ImageFont.FreeTypeFont:
    """Return a font of ``FONTS`` (None: the one within Pillow) by its height in pixels; each is read once."""
    if name is None:
        return ImageFont.load_default(size)
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


def lettering(rng: np.random.Generator, size: int) -> tuple[ImageFont.FreeTypeFont, NDArray[np.str_]]:
    """Return a random font of this height in pixels, and letters to draw from, each as often as it is to appear."""
    name = (*FONTS, None)[rng.integers(len(FONTS) + 1)]
    alphabets = (*LATIN, *OTHERS) if name and name.startswith("DejaVu") else LATIN  # the other fonts lack these
    return font(name, size), np.array(list(alphabets[rng.integers(len(alphabets))]))


def words(rng: np.random.Generator, letters: NDArray[np.str_], count: int) -> str:
    """Return a line of ``count`` letters; some begin with a capital."""
    line = "".join(rng.choice(letters, count))
    return line.capitalize() if rng.random() < 0.3 else line


def colour(rng: np.random.Generator) -> Colour:
    """Return any colour, each channel in 0..255."""
    red, green, blue = rng.integers(256, size=3).tolist()
    return red, green, blue


def ink_on(rng: np.random.Generator, ground: Colour) -> Colour:
    """Return black, white or, as often, any colour that stands out from the ground."""
    light = float(BRIGHTNESS @ ground)
    for _ in range(8 * int(rng.integers(2))):
        ink = colour(rng)
        if abs(float(BRIGHTNESS @ ink) - light) > INK_DISTANCE:
            return ink
    return (0, 0, 0) if light > 127 else (255, 255, 255)


def ground_and_ink(rng: np.random.Generator) -> tuple[Colour, Colour]:
    """Return black and white, colours near them, or any two colours that stand out; some with the ground darker."""
    kind = rng.random()
    if kind > PAPER_SHARE + NEAR_PAPER_SHARE:
        ground = colour(rng)
        return ground, ink_on(rng, ground)
    reach = 1 if kind < PAPER_SHARE else 50
    light, dark = (255 - rng.integers(reach, size=3)).tolist(), rng.integers(reach, size=3).tolist()
    pair: tuple[Colour, Colour] = (tuple(light), tuple(dark))
    return pair[::-1] if rng.random() < INVERTED_SHARE else pair


def text(rng: np.random.Generator, side: int) -> Image.Image:
    """Draw a page of text, RGB, (side, side) pixels: body text or headings, some turned, some without antialiasing."""
    slanted = rng.random() < SLANTED_SHARE
    page = round(side * 1.42) if slanted else side  # a square that holds the picture at any angle
    ground, ink = ground_and_ink(rng)
    image = Image.new("RGB", (page, page), ground)
    canvas = ImageDraw.Draw(image)
    canvas.fontmode = "1" if rng.random() < ALIASED_SHARE else "L"
    largest = int(rng.choice([13, 20, 40, 90], p=[0.5, 0.25, 0.15, 0.1]))
    top = -int(rng.integers(largest))
    while top < page:
        top += _paragraph(rng, canvas, (int(rng.integers(-20, 20)), top), int(rng.integers(7, largest)), ground, ink)
    if not slanted:
        return image
    margin = (page - side) // 2
    turned = image.rotate(rng.uniform(-45, 45), Image.Resampling.BICUBIC, fillcolor=ground)
    return turned.crop((margin, margin, margin + side, margin + side))


def _paragraph(
    rng: np.random.Generator,
    canvas: ImageDraw.ImageDraw,
    place: tuple[int, int],
    size: int,
    ground: Colour,
    ink: Colour,
) -> int:
    """Write some lines of one size, font and colour; return their height, a gap included."""
    face, letters = lettering(rng, size)
    leading = size + int(rng.integers(1, 2 + size // 2))
    ink = ink_on(rng, ground) if rng.random() < 0.2 else ink
    width = canvas.im.size[0]
    count, rows = 1 + 2 * width // size, int(rng.integers(1, 8))
    for row in range(rows):
        length = count if rng.random() < 0.7 else int(rng.integers(1, count + 1))
        canvas.text((place[0], place[1] + row * leading), words(rng, letters, length), ink, face)
    return rows * leading + int(rng.integers(size))
