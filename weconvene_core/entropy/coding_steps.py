"""What happens to a slice at the moment of coding: estimate (training), write (encoder) or read (decoder).

3DWeChARM walks through its slices once, in one order; the three steps below are the only difference between training,
encoding and decoding, so that they cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol
from weakref import WeakKeyDictionary

import numpy as np
import torch
from compressai.entropy_models import EntropyModel
from torch import Tensor

from weconvene_core.entropy.distributions import Likelihood
from weconvene_core.entropy.range_coder import Decoder, Encoder, Tables
from weconvene_core.entropy.slices import Positions, Prediction, straight_through_round

Quantiser = Literal["mixed", "noise", "straight", "split"]
"""What training puts in place of rounding: ``noise`` (uniform, in the likelihood and in what is decoded), ``straight``
(rounding with the gradient of the identity, in both), ``mixed`` (noise in the likelihood, rounding in what is decoded),
or ``split`` (as ``mixed``, but the rate is that of the rounded symbols; see :func:`split_likelihood`)."""


class SliceCodingMode(Protocol):
    """Give the integer residual (B, w, h, w) of a slice; ``target`` is the slice itself, None when decoding."""

    def __call__(self, group: str, prediction: Prediction, target: Tensor | None) -> Tensor:
        """Code one slice of ``group`` (``y_lf`` or ``y_hf``)."""
        ...


def quantise(prediction: Prediction, target: Tensor, first: int = 1) -> tuple[Tensor, Tensor]:
    """Return the integer residual that a file would hold, and the table index of every scale.

    Where the index is below ``first`` the scale says "certainly zero": nothing is ever coded and zero is meant.
    """
    indexes = prediction.indexes
    return torch.where(indexes >= first, (target - prediction.mean).round(), 0.0), indexes


def split_likelihood(likelihood: Likelihood, offset: Tensor, scale: Tensor) -> Tensor:
    """Probability of the symbols that a file would hold, whose latents and means learn from noise (ours).

    At low rates most symbols are zero and the noisy rate is several times the file's. So scales learn from the symbols
    that are coded. Latents and means cannot, since rounding has no gradient; they learn from uniform noise as usual.

    Parameters
    ----------
    offset : latent minus mean (B, w, h, w), in quantiser steps.
    scale : standard deviation around the mean, of the same shape.

    Returns
    -------
    L(round(offset), scale) of the same shape, in (0, 1]. Its logarithm has the gradient of log L(offset + noise) to
    ``offset`` and that of log L(round(offset)) to ``scale``.
    """
    noisy = likelihood(offset + torch.empty_like(offset).uniform_(-0.5, 0.5), scale.detach())
    return likelihood(offset.detach().round(), scale) * (noisy / noisy.detach())


class LikelihoodMode:
    """Likelihoods instead of bytes.

    With a ``quantiser`` (training) rounding is replaced by something with a gradient. Otherwise: exactly the residual
    that would be coded, and probability 1 where nothing would be.
    """

    def __init__(self, likelihood: Likelihood, quantiser: Quantiser | None) -> None:
        self.likelihood, self.quantiser = likelihood, quantiser
        self.likelihoods: dict[str, list[Tensor]] = {}

    def __call__(self, group: str, prediction: Prediction, target: Tensor | None) -> Tensor:
        """Return the rounded residual and keep the slice's likelihoods."""
        assert target is not None, "likelihoods need the latent itself"
        if self.quantiser:
            residual, likelihood = self._trained(target - prediction.mean, prediction.scale)
        else:
            residual, indexes = quantise(prediction, target)
            likelihood = torch.where(indexes > 0, self.likelihood(residual, prediction.scale), 1.0)
        self.likelihoods.setdefault(group, []).append(likelihood)
        return residual

    def _trained(self, offset: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """What is decoded of ``offset`` = latent - mean, and its likelihood, both with gradients."""
        rounded = straight_through_round(offset)
        if self.quantiser == "split":
            return rounded, split_likelihood(self.likelihood, offset, scale)
        noisy = rounded if self.quantiser == "straight" else offset + torch.empty_like(offset).uniform_(-0.5, 0.5)
        return noisy if self.quantiser == "noise" else rounded, self.likelihood(noisy, scale)


class EncodeMode:
    """Encoding: every group of slices goes into its own stream, in the order of the walk."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.encoders: dict[str, Encoder] = {}

    def __call__(self, group: str, prediction: Prediction, target: Tensor | None) -> Tensor:
        """Write the residual where it is not certainly zero."""
        assert target is not None, "encoding needs the latent itself"
        residual, indexes = quantise(prediction, target, self.tables.first)
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

    def __call__(self, group: str, prediction: Prediction, target: Tensor | None) -> Tensor:
        """Return the residual that the encoder wrote."""
        indexes = prediction.indexes.cpu().numpy()
        coded = indexes >= self.tables.first
        residual = np.zeros(indexes.shape, dtype=np.float32)
        residual[coded] = self.decoders[group].pop(indexes[coded], self.tables)
        return torch.empty_like(prediction.mean).copy_(torch.from_numpy(residual))  # in its memory format


class InteriorMode:
    """A step for a window of which only the core is coded; around it every coefficient is what was predicted.

    Parameters
    ----------
    step : codes the core.
    core : its rows and columns in the window.
    """

    def __init__(self, step: SliceCodingMode, core: Positions) -> None:
        self.step, self.core = step, core

    def __call__(self, group: str, prediction: Prediction, target: Tensor | None) -> Tensor:
        """Return the core's residual with zeros around it; ``target`` is the window's."""
        residual = torch.zeros_like(prediction.mean)
        inner = None if target is None else target[..., *self.core]
        residual[..., *self.core] = self.step(group, _Part(prediction, self.core), inner)
        return residual


@dataclass(frozen=True)
class _Part:
    """A prediction at some positions."""

    whole: Prediction
    at: Positions

    @property
    def mean(self) -> Tensor:
        return self.whole.mean[..., *self.at]

    @property
    def scale(self) -> Tensor:
        return self.whole.scale[..., *self.at]

    @property
    def indexes(self) -> Tensor:
        return self.whole.indexes[..., *self.at]


def tables_of(model: EntropyModel) -> Tables:
    """Return the coder's tables from CompressAI's integer buffers; they are built once, until a buffer changes."""
    buffers = (model.quantized_cdf, model.cdf_length, model.offset)
    state = [(buffer, buffer._version) for buffer in buffers]
    known, tables = _KNOWN_TABLES.get(model, ((), None))
    same = len(known) == len(state) and all(a is b and v == w for (a, v), (b, w) in zip(known, state, strict=True))
    if tables is None or not same:
        tables = Tables.from_buffers(*(buffer.cpu() for buffer in buffers))
        _KNOWN_TABLES[model] = state, tables
    return tables


_KNOWN_TABLES: WeakKeyDictionary[EntropyModel, tuple[Sequence[tuple[Tensor, int]], Tables]] = WeakKeyDictionary()
