"""Searching for a better file: the encoder's effort, orientations, and gradient steps on the latents.

Decoders notice nothing: it is the same network and the same format. Everything is judged by squared error. What each
level of effort costs and brings: ``results/tables/effort.csv``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor

from weconvene_core.codec.pictures import turned
from weconvene_core.codec.tile_grid import HALO, UNIT, footprint, spans
from weconvene_core.entropy import LIKELIHOODS, LikelihoodMode
from weconvene_core.entropy.coding_steps import SliceCodingMode
from weconvene_core.entropy.distributions import Likelihood, straight_through_round
from weconvene_core.entropy.slices import SlicePrediction
from weconvene_core.errors import WeconveneError
from weconvene_core.image_tensors import from_8_bit, pad
from weconvene_core.layers.blocks import batch_of, lambda_of
from weconvene_core.model.checkpoint import LoadedModel
from weconvene_core.model.weconvene import WeConvene
from weconvene_core.progress import PROGRESS

STEP = 0.01  # quantiser steps that a coefficient moves for each bit per quantiser step that the loss would fall by
LAST_STEP = 0.1  # of it, at the end of a cosine
THRESHOLD = 6.0  # bits per quantiser step: what falls less is left alone
LIMIT = 0.1  # quantiser steps: the furthest that a coefficient goes in one pass
NOISE = (-0.375, -0.125, 0.125, 0.375)  # quarters of the rounding interval; fixed, so that a file comes out the same
CELLS = (512, 256, 128)  # pixels, the sides of the parts in which a picture is refined
GRADIENTS = 12.5  # memory of a pass with its gradients over that of coding (measured for `lite`: 11 to 12)

EFFORTS = ((1, 0), (4, 0), (4, 3), (8, 20))
"""By level of effort: how many orientations are tried, the first of the eight, and passes of refinement."""


def search_of(effort: int, loaded: LoadedModel, max_memory: int) -> tuple[int, Refinement | None]:
    """Return how many orientations a level of effort above 0 tries, and how it refines within ``max_memory`` MiB.

    Raises
    ------
    WeconveneError
        For other levels, for a model that was not trained for squared error, or if the memory is too small.
    """
    if effort not in range(len(EFFORTS)):
        raise WeconveneError(f"effort={effort}: choose 0 (code at once), 1, 2 or {len(EFFORTS) - 1} (search longest).")
    if loaded.metric != "mse":
        raise WeconveneError(
            f"The model was tuned for {loaded.metric}, and effort={effort} minimises squared error: use effort 0."
        )
    (orientations, passes), network = EFFORTS[effort], loaded.network
    return orientations, Refinement(network, passes, refining_cell(network, max_memory)) if passes else None


def best_orientation(model: WeConvene, pixels: np.ndarray, quality: float, count: int, tile: int) -> int:
    """Return which of the first ``count`` orientations of a picture (H, W, 3) has the smallest estimated loss.

    The estimate is in floating point, which is quicker, of tiles with the side ``tile`` one by one (0: of the whole).
    """
    estimate, at, losses = Refinement(model), batch_of(quality), np.zeros(count)
    for row, column in PROGRESS.get()([*product(*(spans(length, tile) for length in pixels.shape[:2]))]):
        part = pixels[row.padded, column.padded]
        images = (from_8_bit(turned(part, i)) for i in PROGRESS.get()(range(count)))
        losses += [estimate.loss(estimate.start(x, at), x, at) for x in images]
    return int(np.argmin(losses))


def refining_cell(model: WeConvene, limit: int) -> int:
    """Return the side of the parts in which latents are refined within ``limit`` MiB; 0 where a model has no tiles."""
    if UNIT % model.config.stride:
        return 0
    per_pixel = GRADIENTS * footprint(model.config, exact=False).coding
    for cell in CELLS:
        needed = int(per_pixel * (cell + 2 * HALO) ** 2) >> 20
        if needed <= limit:
            return cell
    raise WeconveneError(
        f"Refining takes {needed} MiB of working memory at least, and {limit} are allowed: raise "
        "--max-memory, or use --effort 1."
    )


class NoiseAveragedMode:
    """A coding mode with gradients: rounding in what is decoded, the mean over the rounding noise in the rate.

    ``bits`` is the rate of all slices so far.
    """

    def __init__(self, likelihood: Likelihood) -> None:
        self.likelihood, self.bits = likelihood, torch.zeros(())

    def __call__(self, group: str, prediction: SlicePrediction, target: Tensor | None) -> Tensor:
        """Return the rounded residual, and add up what it costs."""
        assert target is not None, "refining needs the latent itself"
        offset, coded = target - prediction.mean, prediction.indexes > 0
        noisy = [self.likelihood(offset + noise, prediction.scale).log2() for noise in NOISE]
        self.bits = self.bits - torch.where(coded, sum(noisy) / len(NOISE), 0.0).sum()
        return torch.where(coded, straight_through_round(offset), 0.0)


@dataclass(frozen=True)
class Refinement:
    """Descends the rate-distortion loss of one picture over its latents (Campos et al., 2019).

    A few plain steps do it here (ours; other relaxations of rounding: Yang, Bamler and Mandt, 2020). The rate is its
    mean over the rounding noise; rounding has the gradient of the identity. A coefficient moves only where the loss
    falls by more than ``THRESHOLD`` bits for a whole quantiser step: otherwise all zeros drift at once, without gain.

    Attributes
    ----------
    model : the network in floating point, in evaluation mode; trained for squared error.
    passes : forward and backward passes; 0 gives what g_a gives.
    cell : side in pixels of the parts in which a large picture is refined; 0: as a whole.
    """

    model: WeConvene
    passes: int = 0
    cell: int = 0

    def __call__(self, x: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
        """Return the refined LF and HF, or those of g_a where rounding them exactly as a file does shows no gain.

        ``x`` is one image (1, 3, H, W) in 0..1; the loss is taken over its own pixels, not the padding. ``quality`` is
        (1,), from 0 to 7.
        """
        start = self.start(x, quality)
        y = start.clone()
        for index in PROGRESS.get()(range(self.passes)):
            cosine = (1 + math.cos(math.pi * (index / self.passes))) / 2  # falls from 1 to 0
            y = self._moved(y, x, quality, STEP * (LAST_STEP + (1 - LAST_STEP) * cosine))
        better = self.passes and self.loss(y, x, quality) < self.loss(start, x, quality)
        return self._split(y if better else start)

    @torch.no_grad()
    def start(self, x: Tensor, quality: Tensor) -> Tensor:
        """Return the latents of g_a, LF and HF as one (1, C, h, w)."""
        return torch.cat(self.model.analyse(pad(x, self.model.config.stride), quality), 1)

    @torch.no_grad()
    def loss(self, y: Tensor, x: Tensor, quality: Tensor) -> float:
        """Return the bits of latents plus the weighted squared error of the picture, all rounded as in a file."""
        mode = LikelihoodMode(LIKELIHOODS[self.model.config.distribution], None)
        beside = float(self._beside_slices(y, x, quality, mode))
        return beside - sum(float(part.log2().sum()) for parts in mode.likelihoods.values() for part in parts)

    def _moved(self, y: Tensor, x: Tensor, quality: Tensor, step: float) -> Tensor:
        """Take one gradient step of the coefficients on which the loss depends most."""
        with torch.enable_grad():
            y = y.requires_grad_()
            mode = NoiseAveragedMode(LIKELIHOODS[self.model.config.distribution])
            (slope,) = torch.autograd.grad(self._beside_slices(y, x, quality, mode) + mode.bits, y)
        beyond = slope - slope.clamp(-THRESHOLD, THRESHOLD)
        return y.detach() - (step * beyond).clamp_(-LIMIT, LIMIT)

    def _beside_slices(self, y: Tensor, x: Tensor, quality: Tensor, mode: SliceCodingMode) -> Tensor:
        """Code latents with ``mode``; return the bits of z plus lambda 255^2 times the squared error."""
        model, (lf, hf) = self.model, self._split(y)
        coded = model.code_latents(quality, mode, lf, hf)
        decoded = model.synthesise(coded.lf_hat, coded.hf_hat, quality)
        error = decoded[..., : x.shape[2], : x.shape[3]] - x
        return lambda_of(quality).sum() * 255**2 * error.square().sum() / x.shape[1] - coded.z_likelihoods.log2().sum()

    def _split(self, y: Tensor) -> tuple[Tensor, Tensor]:
        lf = sum(self.model.config.layout.lf)
        return y[:, :lf], y[:, lf:]
