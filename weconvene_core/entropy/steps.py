"""What happens to a slice at the moment of coding: estimate (training), write (encoder) or read (decoder).

3DWeChARM walks through its slices once, in one order; the three steps below are the only difference between training,
encoding and decoding, so that they cannot drift apart.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from compressai.entropy_models import EntropyModel
from torch import Tensor

from weconvene_core.entropy.coder import Decoder, Encoder, Tables
from weconvene_core.entropy.laplace import Likelihood, scale_indexes
from weconvene_core.entropy.slices import SlicePrediction, straight_through_round


class CodingStep(Protocol):
    """Give the integer residual (B, w, h, w) of a slice; ``target`` is the slice itself, None when decoding."""

    def __call__(self, group: str, prediction: SlicePrediction, target: Tensor | None) -> Tensor:
        """Code one slice of ``group`` (``y_lf`` or ``y_hf``)."""
        ...


def quantise(prediction: SlicePrediction, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the integer residual that a file would hold, and the table index of every scale.

    Where the scale says "certainly zero" (index 0) nothing is ever coded and zero is meant.
    """
    indexes = scale_indexes(prediction.scale)
    return torch.where(indexes > 0, (target - prediction.mean).round(), 0.0), indexes


class Estimate:
    """Likelihoods instead of bytes.

    ``noisy`` (training): straight-through rounding, likelihood of the offset plus uniform noise. Otherwise: exactly the
    residual that would be coded, and probability 1 where nothing would be.
    """

    def __init__(self, likelihood: Likelihood, noisy: bool) -> None:
        self.likelihood, self.noisy = likelihood, noisy
        self.likelihoods: dict[str, list[Tensor]] = {}

    def __call__(self, group: str, prediction: SlicePrediction, target: Tensor | None) -> Tensor:
        """Return the rounded residual and keep the slice's likelihoods."""
        assert target is not None, "likelihoods need the latent itself"
        if self.noisy:
            offset = target - prediction.mean
            residual = straight_through_round(offset)
            noise = torch.empty_like(offset).uniform_(-0.5, 0.5)
            likelihood = self.likelihood(offset + noise, prediction.scale)
        else:
            residual, indexes = quantise(prediction, target)
            likelihood = torch.where(indexes > 0, self.likelihood(residual, prediction.scale), 1.0)
        self.likelihoods.setdefault(group, []).append(likelihood)
        return residual


class Write:
    """Encoding: every group of slices goes into its own stream, in the order of the walk."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.encoders: dict[str, Encoder] = {}

    def __call__(self, group: str, prediction: SlicePrediction, target: Tensor | None) -> Tensor:
        """Write the residual where it is not certainly zero."""
        assert target is not None, "encoding needs the latent itself"
        residual, indexes = quantise(prediction, target)
        coded = (indexes > 0).cpu().numpy()
        symbols = residual.to(torch.int32).cpu().numpy()[coded]
        self.encoders.setdefault(group, Encoder()).push(symbols, indexes.cpu().numpy()[coded], self.tables)
        return residual

    def streams(self) -> dict[str, bytes]:
        """Finish and return one byte string per group."""
        return {group: encoder.finish() for group, encoder in self.encoders.items()}


class Read:
    """Decoding: the mirror image of :class:`Write`."""

    def __init__(self, tables: Tables, streams: dict[str, bytes]) -> None:
        self.tables = tables
        self.decoders = {group: Decoder(data) for group, data in streams.items()}

    def __call__(self, group: str, prediction: SlicePrediction, target: Tensor | None) -> Tensor:
        """Return the residual that the encoder wrote."""
        indexes = scale_indexes(prediction.scale).cpu().numpy()
        coded = indexes > 0
        residual = np.zeros(indexes.shape, dtype=np.float32)
        residual[coded] = self.decoders[group].pop(indexes[coded], self.tables)
        return torch.from_numpy(residual).to(prediction.mean)


def tables_of(model: EntropyModel) -> Tables:
    """Return the coder's tables from CompressAI's integer buffers."""
    return Tables.from_buffers(model.quantized_cdf, model.cdf_length, model.offset)
