"""Real bytes of a model that is not a released checkpoint, such as one that has just been trained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lab.rd.metrics import bpp, psnr_rgb
from weconvene_core.errors import WeconveneError
from weconvene_core.image_tensors import from_8_bit, to_8_bit
from weconvene_core.lambdas import QUALITY_MAX, QUALITY_MIN
from weconvene_core.model.weconvene import WeConvene

TOLERANCE = 0.005
"""Relative distance from the wanted rate at which :func:`code_at_rate` is content."""


@dataclass(frozen=True, eq=False)
class Coded:
    """A picture after its trip through bytes: the quality it was coded at, the streams' bits per pixel, PSNR in dB."""

    quality: float
    bpp: float
    psnr_db: float
    picture: NDArray[np.uint8]


def code(model: WeConvene, picture: NDArray[np.uint8], quality: float) -> Coded:
    """Compress a picture (H, W, 3) uint8 into streams and decompress them; ``model.update`` must have been called.

    The rate counts the three streams; a file adds a header of some 30 bytes.
    """
    height, width = picture.shape[:2]
    x = from_8_bit(picture).to(next(model.parameters()).device)
    coded = model.compress(x, quality)
    decoded = to_8_bit(model.decompress(coded["strings"], coded["shape"], quality)["x_hat"])[:height, :width]
    size = sum(len(stream) for (stream,) in coded["strings"])
    return Coded(quality, bpp(size, width, height), psnr_rgb(picture, decoded), decoded)


def code_at_rate(model: WeConvene, picture: NDArray[np.uint8], rate: float, most: int = 8) -> Coded:
    """Code a picture at the quality whose rate comes close to ``rate`` (bits per pixel), found by halving an interval.

    Raises
    ------
    WeconveneError
        If the model's rates at qualities 0 to 7 do not include ``rate``.
    """
    low, high = QUALITY_MIN, QUALITY_MAX
    ends = [code(model, picture, quality) for quality in (low, high)]
    if not ends[0].bpp <= rate <= ends[1].bpp:
        reach = f"{ends[0].bpp:.3f} to {ends[1].bpp:.3f} bpp"
        raise WeconveneError(f"{rate:.3f} bpp lies outside this model's {reach} on this picture; choose a rate within.")
    found = ends[0]
    for _ in range(most):
        if abs(found.bpp / rate - 1) < TOLERANCE:
            break
        found = code(model, picture, (low + high) / 2)
        low, high = (found.quality, high) if found.bpp < rate else (low, found.quality)
    return found
