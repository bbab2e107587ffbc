"""How hard an encoder looks for a better file, in four levels; decoders notice nothing.

0 codes at once. 1 turns the picture in four ways, estimates the loss of each, and codes the best. 2 and 3 go on with
passes over the latents (see :mod:`.refining`), 3 after all eight orientations. Everything is judged by squared error.
What each level costs and brings: ``results/tables/effort.csv``.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor

from weconvene_core.codec.analysis import refining_cell
from weconvene_core.codec.latent_refinement import Refinement
from weconvene_core.codec.orientation import turned
from weconvene_core.codec.tile_grid import spans
from weconvene_core.errors import WeconveneError
from weconvene_core.image_tensors import from_8_bit
from weconvene_core.model.weconvene import WeConvene


@dataclass(frozen=True)
class Effort:
    """How many orientations are tried, the first of the eight, and how many passes follow."""

    orientations: int
    passes: int


EFFORTS = (Effort(1, 0), Effort(4, 0), Effort(4, 3), Effort(8, 20))


def checked(effort: int, model: str, metric: str) -> Effort:
    """Return a level of effort by its number.

    Raises
    ------
    WeconveneError
        If there is none, or the model was not trained for squared error.
    """
    if effort not in range(len(EFFORTS)):
        raise WeconveneError(f"effort={effort}: choose 0 (code at once), 1, 2 or {len(EFFORTS) - 1} (search longest).")
    if effort and metric != "mse":
        raise WeconveneError(
            f"The model '{model}' was tuned for {metric}, and effort={effort} minimises squared error: use effort 0."
        )
    return EFFORTS[effort]


def refinement(model: WeConvene, effort: Effort, max_memory: int) -> Refinement | None:
    """Return what is done to latents, within so many MiB; None for nothing.

    Raises
    ------
    WeconveneError
        If the memory is too small.
    """
    return Refinement(model, effort.passes, refining_cell(model, max_memory)) if effort.passes else None


def best_orientation(model: WeConvene, pixels: np.ndarray, quality: float, effort: Effort, tile: int) -> int:
    """Return the orientation whose file would have the smallest loss, 0 where none is better than that.

    Parameters
    ----------
    model : in floating point, which is quicker; its estimates are those of rounded latents.
    pixels : the picture, (H, W, 3) uint8.
    tile : side of the parts that are estimated one by one, 0: as a whole.
    """
    if effort.orientations == 1:
        return 0
    estimate, at = Refinement(model, 0), torch.tensor([quality])
    losses = np.zeros(effort.orientations)
    for row, column in product(*(spans(length, tile) for length in pixels.shape[:2])):
        window = pixels[row.low : row.high, column.low : column.high]
        losses += [_loss(estimate, from_8_bit(turned(window, i)), at) for i in range(effort.orientations)]
    return int(np.argmin(losses))


def _loss(estimate: Refinement, x: Tensor, quality: Tensor) -> float:
    return estimate.loss(estimate.start(x, quality), x, quality)
