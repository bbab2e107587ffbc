"""Matplotlib's SVG at two thirds of its size: the same elements, coordinates to a hundredth of a point."""

from __future__ import annotations

import re

NUMBER = re.compile(r"-?\d+\.\d+")
PATH = re.compile(r'(?<= d=")[^"]+')
PLACE = re.compile(r'(?<= [xy]=")[^"]+|(?<=translate\()[^)]+')
"""What holds coordinates; scales and angles keep all of their digits."""


def tidied(svg: str) -> str:
    """Return a drawing of matplotlib without what no viewer uses: digits beyond 0.01 pt, indents, groups' names.

    Glyphs stay outlines, so that a reader's fonts do not matter.
    """
    svg = PATH.sub(lambda found: re.sub(r" ?([A-Za-z]) ?", r"\1", _rounded(" ".join(found[0].split()))), svg)
    svg = PLACE.sub(lambda found: _rounded(found[0]), svg)
    svg = re.sub(r' transform="translate\((\S+) 0\)"/>', r' x="\1"/>', svg)  # of a glyph within its line of text
    svg = re.sub(r'<g id="\w+"', "<g", svg).replace("DejaVuSans-", "g")
    return re.sub(r"\s*\n\s*", "\n", svg)


def _rounded(numbers: str) -> str:
    return NUMBER.sub(lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), numbers)
