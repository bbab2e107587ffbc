"""Coding without the learned transforms, for pictures that they would harm.

g_a and g_s were trained on photographs. On textures as fine as the pixels, such as dithering, they can make things
worse, and more bits do not help. Without g_a, g_s and LRP, what is coded comes back within half a quantiser step.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor

from weconvene_core.errors import CorruptFileError
from weconvene_core.image_tensors import from_8_bit, pad
from weconvene_core.layers.blocks import batch_of, lambda_of
from weconvene_core.model.transforms import GainUnit
from weconvene_core.model.weconvene import WeConvene

SQUARE = 32  # pixels, the side of the squares that are looked at
SQUARE_HALO = 16  # pixels around a square that are synthesised with it
PADDED_SQUARE = SQUARE + 2 * SQUARE_HALO
PIXELS_PER_SQUARE = 1 << 16  # of a tile
MOST_SQUARES = 8  # in a tile
SUSPECT = 2.0  # times the squared error of plain coding (photographs: 1.1 at most), from which on both ways are tried
LEAST_ERROR = 1.0  # grey levels squared, below which nothing is suspect


def without_transforms(model: WeConvene) -> WeConvene:
    """Return a view, sharing all weights, that codes the image's own pyramid as it is: without g_a, g_s and LRP.

    Its steps are those of the base gain, and no coefficient is certainly zero: the networks decide over the rate alone.

    Raises
    ------
    CorruptFileError
        If the model has no wavelet shortcut, so that no file can be coded like this.
    """
    if not model.config.shortcut:
        raise CorruptFileError(
            f"The model '{model.config.name}' codes nothing without transforms: the file is damaged."
        )
    plain = copy.copy(model)
    plain._modules = dict(model._modules)
    plain.charm = copy.copy(model.charm)
    plain.gain_lf, plain.gain_hf = (GainUnit(0, model.config) for _ in range(2))  # the base gain alone
    plain.bypass_transforms, plain.first_coded, plain.charm.corrected = True, 0, False
    return plain


class DistortionMonitor:
    """Compares the squared error of what is being coded with that of plain coding, in the squares with most detail.

    Only where it is much larger (``suspicious``) is plain coding tried: a second encoding costs as much as the first.
    """

    def __init__(self, model: WeConvene, quality: Tensor) -> None:
        self.model, self.plain, self.quality = model, without_transforms(model), quality
        self.suspicious = False

    @torch.no_grad()
    def __call__(self, pixels: np.ndarray, decoded: tuple[Tensor, Tensor]) -> None:
        """Look at a tile: ``pixels`` (H, W, 3) uint8, and its latents as a decoder has them."""
        count = min(MOST_SQUARES, max(1, pixels.shape[0] * pixels.shape[1] // PIXELS_PER_SQUARE))
        images, latents, scale = [], [], self.model.config.coded_stride
        for top, left in finest_squares(pixels, count):
            x = pad(from_8_bit(pixels[top : top + PADDED_SQUARE, left : left + PADDED_SQUARE]))
            rows = slice(top // scale, (top + x.shape[2]) // scale)
            columns = slice(left // scale, (left + x.shape[3]) // scale)
            images.append(x)
            latents.append([part[..., rows, columns] for part in decoded])
        x, at = torch.cat(images), self.quality.expand(len(images))  # which all have the same size
        coded = self.model.synthesise(*map(torch.cat, zip(*latents, strict=True)), at)
        plain = self.plain.synthesise(*(part.round() for part in self.plain.analyse(x, at)), at)
        errors, plain_errors = (_errors_inside(made, x) for made in (coded, plain))
        self.suspicious |= bool((errors > SUSPECT * plain_errors.clamp_min(LEAST_ERROR)).any())


def finest_squares(pixels: np.ndarray, count: int) -> list[tuple[int, int]]:
    """Return where the ``count`` squares begin, with their halos, whose neighbouring pixels differ most.

    Padded squares lie within ``pixels`` (H, W, 3); along a side that is too short for one they take all of it.
    """
    detail = np.stack([_detail(pixels[top : top + SQUARE]) for top in range(0, pixels.shape[0], SQUARE)])
    first = [SQUARE - SQUARE_HALO if number > 2 else 0 for number in detail.shape]
    for axis, number in enumerate(detail.shape):
        inside = range(1, number - 1)
        detail = detail.take(inside, axis) if inside else detail.sum(axis, keepdims=True)
    places = np.argsort(detail, axis=None, kind="stable")[::-1][:count]
    rows, columns = np.unravel_index(places, detail.shape)
    tops, lefts = first[0] + SQUARE * rows, first[1] + SQUARE * columns
    return [(int(top), int(left)) for top, left in zip(tops, lefts, strict=True)]


def _detail(strip: np.ndarray) -> np.ndarray:
    """Sum the squared differences of neighbours in a strip (h, W, 3) of squares, for each of them."""
    samples = strip.astype(np.float32)
    along = np.square(np.diff(samples, axis=0)).sum((0, 2))
    along[1:] += np.square(np.diff(samples, axis=1)).sum((0, 2))
    return np.add.reduceat(along, np.arange(0, len(along), SQUARE))


def _errors_inside(made: Tensor, x: Tensor) -> Tensor:
    """Return the mean squared errors (B,) in grey levels, without the halos of the squares."""
    halo = slice(SQUARE_HALO, -SQUARE_HALO)
    inside = (halo if side == PADDED_SQUARE else slice(None) for side in x.shape[2:])
    return 255**2 * (made.clamp(0, 1) - x)[..., *inside].square().mean((1, 2, 3))


def rate_distortion_loss(size: int, picture: np.ndarray, decoded: np.ndarray, quality: float) -> float:
    """Return the bits of ``size`` bytes plus lambda times the squared error (summed over pixels, mean over colours)."""
    strips = (slice(top, top + SQUARE) for top in range(0, len(picture), SQUARE))  # not all as floats at once
    squares = sum(float(np.square(np.subtract(decoded[at], picture[at], dtype=np.float32)).sum()) for at in strips)
    return 8 * size + float(lambda_of(batch_of(quality))) * squares / picture.shape[2]
