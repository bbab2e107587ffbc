"""The eight ways to turn a picture before it is coded, by their code in the file.

Networks and scan order treat left and right, top and bottom, rows and columns differently, so one of the eight gives
the best file (which one: :mod:`.effort`). Bit 0 of the code mirrors left and right, then bit 1 mirrors top and bottom,
then bit 2 swaps rows and columns.
"""

from __future__ import annotations

import numpy as np

from weconvene_core.codec.container import TRANSPOSED

MIRRORED, FLIPPED = 1, 2


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Return a picture (H, W, 3) as it is coded; of an ``orientation`` 0 to 7, as a view."""
    pixels = _mirrored(pixels, orientation)
    return pixels.swapaxes(0, 1) if orientation & TRANSPOSED else pixels


def turned_back(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undo :func:`turned`."""
    pixels = pixels.swapaxes(0, 1) if orientation & TRANSPOSED else pixels
    return _mirrored(pixels, orientation)


def _mirrored(pixels: np.ndarray, orientation: int) -> np.ndarray:
    pixels = pixels[:, ::-1] if orientation & MIRRORED else pixels
    return pixels[::-1] if orientation & FLIPPED else pixels
