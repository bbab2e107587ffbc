"""The Gaussian conditional: likelihoods for training, integer tables for coding.

Minnen, Ballé and Toderici (2018): a quantised residual r = round(y - mu) has the probability of the unit interval
around it under N(0, sigma^2). Training sees y - mu plus uniform noise, coding the rounded residual with sigma taken
from a table of 64 log-spaced scales.
"""

from __future__ import annotations

import math

import torch
from compressai.entropy_models import GaussianConditional
from torch import Tensor

SCALE_MIN, SCALE_MAX, SCALE_LEVELS = 0.11, 256.0, 64
LIKELIHOOD_MIN = 1e-9


def scale_table() -> list[float]:
    """Return the 64 scales (in quantiser steps) for which probability tables exist, log-spaced from 0.11 to 256."""
    ratio = math.log(SCALE_MAX / SCALE_MIN) / (SCALE_LEVELS - 1)
    return [SCALE_MIN * math.exp(ratio * i) for i in range(SCALE_LEVELS)]


def gaussian_likelihood(residual: Tensor, scale: Tensor) -> Tensor:
    """Probability of the unit interval around ``residual`` under N(0, scale^2); same shape, in (0, 1].

    Uses the symmetric tail (erfc of the nearer side), which keeps precision far from the mean.
    """
    distance = residual.abs()
    inverse = scale.reciprocal() * math.sqrt(0.5)
    upper = torch.erfc((distance - 0.5) * inverse)
    lower = torch.erfc((distance + 0.5) * inverse)
    return (0.5 * (upper - lower)).clamp_min(LIKELIHOOD_MIN)


def scale_indexes(scale: Tensor) -> Tensor:
    """Return the index (int64) of the table scale nearest to ``scale`` on a logarithmic axis.

    Index 0 stands for "certainly zero": such residuals are not coded at all.
    """
    table = torch.tensor(scale_table(), dtype=scale.dtype, device=scale.device)
    return torch.bucketize(scale.contiguous(), (table[1:] * table[:-1]).sqrt())


def coding_tables() -> GaussianConditional:
    """Build CompressAI's quantised CDF tables for :func:`scale_table` (16-bit integers, last bin of a row = escape)."""
    conditional = GaussianConditional(None)
    conditional.update_scale_table(scale_table())
    return conditional
