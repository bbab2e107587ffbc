"""Refining the latents of one picture before they are coded: what g_a, made for all pictures, left on the table.

g_a gives every picture the latents that were best on average over the training photographs. An encoder that has time
can do better by descending the rate-distortion loss over the latents themselves (Campos et al., 2019; Yang, Bamler and
Mandt, 2020, with other relaxations of rounding). Decoders notice nothing: it is the same network and the same format.

Here a few plain steps do (ours): the rate is taken as its mean over the rounding noise, what is decoded is rounded with
the gradient of the identity, and a coefficient moves only where the loss falls by more than ``THRESHOLD`` bits for a
whole quantiser step. Without that threshold all the zeros drift at once, and nothing is gained. What it brings:
``results/tables/refining.csv``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from weconvene_core.entropy import LIKELIHOODS, LikelihoodMode
from weconvene_core.entropy.coding_steps import SliceCodingMode
from weconvene_core.entropy.distributions import Likelihood, straight_through_round
from weconvene_core.entropy.slices import Prediction
from weconvene_core.errors import WeconveneError
from weconvene_core.image_tensors import pad
from weconvene_core.layers.rate_conditioning import lambda_of
from weconvene_core.model.weconvene import WeConvene

MOST_PASSES = 1000
STEP = 0.01  # quantiser steps that a coefficient moves for each bit per quantiser step that the loss would fall by
LAST_STEP = 0.1  # of it, at the end of a cosine
THRESHOLD = 6.0  # bits per quantiser step: what falls less is left alone
LIMIT = 0.1  # quantiser steps: the furthest that a coefficient goes in one pass
NOISE = (-0.375, -0.125, 0.125, 0.375)  # quarters of the rounding interval; fixed, so that a file comes out the same


class Smoothed:
    """A coding step with gradients: rounding in what is decoded, the mean over the rounding noise in the rate.

    Attributes
    ----------
    bits : the rate of all slices so far, a number.
    """

    def __init__(self, likelihood: Likelihood) -> None:
        self.likelihood, self.bits = likelihood, torch.zeros(())

    def __call__(self, group: str, prediction: Prediction, target: Tensor | None) -> Tensor:
        """Return the residual, rounded with the gradient of the identity, and add up what it costs."""
        assert target is not None, "refining needs the latent itself"
        offset, coded = target - prediction.mean, prediction.indexes > 0
        noisy = [self.likelihood(offset + noise, prediction.scale).log2() for noise in NOISE]
        self.bits = self.bits - torch.where(coded, sum(noisy) / len(NOISE), 0.0).sum()
        return torch.where(coded, straight_through_round(offset), 0.0)


@dataclass(frozen=True)
class Refinement:
    """Descends the loss of one picture over its latents.

    Attributes
    ----------
    model : the network in floating point, in evaluation mode; trained for squared error.
    passes : forward and backward passes; 0 gives what g_a gives.
    cell : side in pixels of the parts in which a large picture is refined; 0: as a whole.
    """

    model: WeConvene
    passes: int
    cell: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.passes <= MOST_PASSES:
            raise WeconveneError(f"passes={self.passes}: choose a number from 0 to {MOST_PASSES}.")

    def __call__(self, x: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
        """Return the refined latents, or those of g_a where rounding them exactly as a file does shows no gain.

        Parameters
        ----------
        x : one image (1, 3, H, W) in 0..1, of any size; the loss is taken over its own pixels, not the padding.
        quality : (1,), from 0 to 7.

        Returns
        -------
        LF and HF (1, C, h, w) of the padded image, in quantiser steps.
        """
        best = start = self.start(x, quality)
        y = start.clone()
        for index in range(self.passes):
            y = self._moved(y, x, quality, STEP * _cosine(index / self.passes))
        if self.passes and self.loss(y, x, quality) < self.loss(start, x, quality):
            best = y
        return self._split(best)

    @torch.no_grad()
    def start(self, x: Tensor, quality: Tensor) -> Tensor:
        """Return the latents of g_a, LF and HF as one (1, C, h, w)."""
        return torch.cat(self.model.analyse(pad(x, self.model.config.stride), quality), 1)

    def _moved(self, y: Tensor, x: Tensor, quality: Tensor, step: float) -> Tensor:
        with torch.enable_grad():
            y = y.requires_grad_()
            smoothed = Smoothed(LIKELIHOODS[self.model.config.distribution])
            (slope,) = torch.autograd.grad(self._beside_slices(y, x, quality, smoothed) + smoothed.bits, y)
        beyond = slope - slope.clamp(-THRESHOLD, THRESHOLD)
        return y.detach() - (step * beyond).clamp_(-LIMIT, LIMIT)

    @torch.no_grad()
    def loss(self, y: Tensor, x: Tensor, quality: Tensor) -> float:
        """Return the bits of latents plus the weighted squared error of the picture, all rounded as in a file."""
        exactly = LikelihoodMode(LIKELIHOODS[self.model.config.distribution], None)
        beside = float(self._beside_slices(y, x, quality, exactly))
        slices = [part for parts in exactly.likelihoods.values() for part in parts]
        return beside - sum(float(part.log2().sum()) for part in slices)

    def _beside_slices(self, y: Tensor, x: Tensor, quality: Tensor, step: SliceCodingMode) -> Tensor:
        """Send latents through ``step``; return the bits of z plus lambda 255^2 times the squared error.

        The error is a sum over the pixels and a mean over the colours. Of z only the rounded value has gradients.
        """
        model, (lf, hf) = self.model, self._split(y)
        coded = model.code_latents(quality, step, lf, hf)
        decoded = model.synthesise(coded.lf_hat, coded.hf_hat, quality)
        error = decoded[..., : x.shape[2], : x.shape[3]] - x
        return lambda_of(quality).sum() * 255**2 * error.square().sum() / x.shape[1] - coded.z_likelihoods.log2().sum()

    def _split(self, y: Tensor) -> tuple[Tensor, Tensor]:
        lf = sum(self.model.config.layout.lf)
        return y[:, :lf], y[:, lf:]


def _cosine(progress: float) -> float:
    """Fall from 1 to LAST_STEP as ``progress`` goes from 0 to 1."""
    return LAST_STEP + (1 - LAST_STEP) * (1 + math.cos(math.pi * progress)) / 2
