"""What happens to a slice at the moment of coding: its likelihood (training), writing (encoder) or reading (decoder).

These modes are the only difference between training, encoding and decoding, so that these cannot drift apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from weconvene_core.entropy.cdf_tables import Tables
from weconvene_core.entropy.distributions import Likelihood, straight_through_round
from weconvene_core.entropy.range_coder import Decoder, Encoder
from weconvene_core.entropy.slices import Positions, SliceCodingMode, SlicePrediction

Quantiser = Literal["mixed", "noise", "straight", "split"]
"""What training puts in place of rounding: ``noise`` (uniform, in the likelihood and in what is decoded), ``straight``
(rounding with the gradient of the identity, in both), ``mixed`` (noise in the likelihood, rounding in what is decoded),
or ``split`` (as ``mixed``, but the rate is that of the rounded symbols; see :func:`split_likelihood`)."""


def quantise(prediction: SlicePrediction, target: Tensor, first: int = 1) -> tuple[Tensor, Tensor]:
    """Return the integer residual that a file would hold, and the table index of every scale."""
    # r = round(y - mu); an index below ``first`` says "certainly zero": nothing is coded there
    indexes = prediction.indexes
    return torch.where(indexes >= first, (target - prediction.mean).round(), 0.0), indexes


def split_likelihood(likelihood: Likelihood, offset: Tensor, scale: Tensor) -> Tensor:
    """Probability of the symbols that a file would hold, L(round(offset), scale) (ours).

    At low rates most symbols are zero and the noisy rate is several times the file's. So scales learn from the symbols
    that are coded. Latents and means cannot, since rounding has no gradient; they learn from uniform noise as usual:
    ``offset``, latent minus mean, gets the gradient of log L(offset + noise).
    """
    # the factor noisy / noisy is one: it brings the gradient of log L(offset + noise) without changing the value
    noisy = likelihood(offset + torch.empty_like(offset).uniform_(-0.5, 0.5), scale.detach())
    return likelihood(offset.detach().round(), scale) * (noisy / noisy.detach())


@dataclass
class LikelihoodMode:
    """Likelihoods instead of bytes.

    Attributes
    ----------
    quantiser : what stands for rounding, with a gradient (training). None: the residual is exactly the one that would
        be coded, with probability 1 where nothing would be.
    likelihoods : by group, one tensor (B, w, h, w) per call, in the order of coding.
    """

    likelihood: Likelihood
    quantiser: Quantiser | None
    likelihoods: dict[str, list[Tensor]] = field(default_factory=dict)

    def __call__(self, group: str, prediction: SlicePrediction, target: Tensor | None) -> Tensor:
        """Return the rounded residual and keep the slice's likelihoods."""
        assert target is not None, "likelihoods need the latent itself"
        if self.quantiser:
            # training: noise or rounding with a gradient, in all positions
            residual, likelihood = self._trained(target - prediction.mean, prediction.scale)
        else:
            # evaluation: what a file would hold, and what it would cost
            residual, indexes = quantise(prediction, target)
            likelihood = torch.where(indexes > 0, self.likelihood(residual, prediction.scale), 1.0)
        self.likelihoods.setdefault(group, []).append(likelihood)
        return residual

    def _trained(self, offset: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """What is decoded of ``offset`` = latent - mean, and its likelihood, both with gradients."""
        # (B, w, h, w) each: what g_s will see, and what the rate is taken of
        rounded = straight_through_round(offset)
        if self.quantiser == "split":
            return rounded, split_likelihood(self.likelihood, offset, scale)
        noisy = rounded if self.quantiser == "straight" else offset + torch.empty_like(offset).uniform_(-0.5, 0.5)
        return noisy if self.quantiser == "noise" else rounded, self.likelihood(noisy, scale)


@dataclass
class EncodeMode:
    """Encoding: every group of slices goes into a stream of its own, in the order of coding."""

    tables: Tables
    encoders: dict[str, Encoder] = field(default_factory=dict)

    def __call__(self, group: str, prediction: SlicePrediction, target: Tensor | None) -> Tensor:
        """Write the residual where it is not certainly zero."""
        assert target is not None, "encoding needs the latent itself"
        residual, indexes = quantise(prediction, target, self.tables.first)
        # the coder takes symbols and table rows as flat arrays, in the order (B, w, h, w)
        coded = (indexes >= self.tables.first).cpu().numpy()
        symbols = residual.to(torch.int32).cpu().numpy()[coded]
        self.encoders.setdefault(group, Encoder()).push(symbols, indexes.cpu().numpy()[coded], self.tables)
        return residual

    def streams(self) -> dict[str, bytes]:
        """Finish and return one byte string per group."""
        return {group: encoder.finish() for group, encoder in self.encoders.items()}


class DecodeMode:
    """Decoding: the mirror image of :class:`EncodeMode`."""

    def __init__(self, tables: Tables, streams: dict[str, bytes]) -> None:
        self.tables = tables
        self.decoders = {group: Decoder(data) for group, data in streams.items()}

    def __call__(self, group: str, prediction: SlicePrediction, target: Tensor | None) -> Tensor:
        """Return the residual that the encoder wrote."""
        indexes = prediction.indexes.cpu().numpy()
        # scales are known before the symbols are: so the decoder asks for as many as the encoder wrote
        coded = indexes >= self.tables.first
        residual = np.zeros(indexes.shape, dtype=np.float32)
        residual[coded] = self.decoders[group].pop(indexes[coded], self.tables)
        return torch.empty_like(prediction.mean).copy_(torch.from_numpy(residual))  # in its memory format


@dataclass
class InteriorMode:
    """Another mode for the interior of a padded tile alone: outside it, residuals are assumed zero."""

    mode: SliceCodingMode
    interior: Positions

    def __call__(self, group: str, prediction: SlicePrediction, target: Tensor | None) -> Tensor:
        """Return the interior's residual with zeros around it; ``target`` is the padded tile's."""
        # (B, w, h + halo, w + halo) -> the interior; the networks saw the halo, the stream does not hold it
        inside = prediction.part(lambda x: x[..., *self.interior])
        residual = torch.zeros_like(prediction.mean)
        inner = None if target is None else target[..., *self.interior]
        residual[..., *self.interior] = self.mode(group, inside, inner)
        return residual
