"""The conditional distribution of a coefficient of y: likelihoods for training, integer tables for coding.

As in Minnen, Ballé and Toderici (2018), a quantised residual r = round(y - mu) has the probability of the unit interval
around it. The predecessor takes a Gaussian; ours is a Laplacian with the same standard deviation: wavelet coefficients
have heavier tails, and its gradient does not vanish far from the mean. What it gained: ``data/checkpoints/RUNS.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, cached_property
from statistics import NormalDist
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from weconvene_core.entropy.cdf_tables import TableBuffers, bound_buffer

SCALE_MIN, SCALE_MAX, SCALE_LEVELS = 0.06, 256.0, 64
LIKELIHOOD_MIN = 1e-12
TAIL_MASS = 1e-9  # probability of what lies outside a table, on both sides together

Distribution = Literal["laplace", "gaussian"]
Likelihood = Callable[[Tensor, Tensor], Tensor]


@cache
def scale_table() -> tuple[float, ...]:
    """Return the 64 scales (in quantiser steps) for which probability tables exist, log-spaced from 0.06 to 256."""
    ratio = math.log(SCALE_MAX / SCALE_MIN) / (SCALE_LEVELS - 1)
    return tuple(SCALE_MIN * math.exp(ratio * i) for i in range(SCALE_LEVELS))


class ConditionalTables(TableBuffers):
    """The integer tables of y's residuals, one for every scale of :func:`scale_table`.

    Two buffers, ``scale_bound`` and ``lower_bound_scale``, are read by nobody: released weights have them, and their
    hashes count them.
    """

    def __init__(self, distribution: Distribution) -> None:
        super().__init__()
        self.distribution = distribution
        self.register_buffer("scale_table", torch.tensor(scale_table()))
        self.register_buffer("scale_bound", torch.tensor([0.11]))
        self.lower_bound_scale = bound_buffer(0.11)
        self.update()

    def update(self) -> None:
        """Make the tables: row k holds the symbols -n .. n of a distribution of scale k, the tails in the last bin."""
        gaussian = self.distribution == "gaussian"
        tail = TAIL_MASS / 2
        quantile = NormalDist().inv_cdf(tail) if gaussian else math.log(2 * tail) / math.sqrt(2)
        largest = torch.ceil(self.scale_table * -quantile).int()  # (64,): n
        lengths, scale = 2 * largest + 1, self.scale_table[:, None]
        distance = (torch.arange(int(lengths.max()), device=scale.device) - largest[:, None]).abs().float()
        # both ends of the unit interval, mirrored into the lower tail, where differences keep their digits
        upper, lower = (_cumulative((end - distance) / scale, gaussian) for end in (0.5, -0.5))
        self.set_tables(upper - lower, 2 * lower[:, 0], lengths, -largest)


def _cumulative(x: Tensor, gaussian: bool) -> Tensor:
    """Return the probability of what lies below x, for a standard deviation of 1."""
    if gaussian:
        return 0.5 * torch.erfc(-math.sqrt(0.5) * x)
    tail = 0.5 * torch.exp(-math.sqrt(2) * x.abs())
    return torch.where(x < 0, tail, 1 - tail)


class _LaplaceLikelihood(torch.autograd.Function):
    """:func:`laplace_likelihood` with its gradient by formula, in half of the passes that tracing it would take."""

    @staticmethod
    def forward(residual: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the probability, and the exponentials at both ends of the interval."""
        inverse, distance = math.sqrt(2) / scale, residual.abs()
        near = (distance - 0.5).abs_().neg_().mul_(inverse).exp_()
        far = (distance + 0.5).neg_().mul_(inverse).exp_()
        inside = 1 - 0.5 * (near + far)  # the interval holds the mean
        outside = (near - far).mul_(0.5)
        return torch.where(distance < 0.5, inside, outside).clamp_min_(LIKELIHOOD_MIN), near, far

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, Tensor, Tensor]) -> None:
        """Keep what the gradient needs."""
        ctx.save_for_backward(*inputs, *output)
        ctx.mark_non_differentiable(*output[1:])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Differentiate: inside and outside have the same two formulas, and at the lower bound there is no slope."""
        residual, scale, likelihood, near, far = ctx.saved_tensors
        slope = torch.where(likelihood > LIKELIHOOD_MIN, gradient, 0.0).div_(scale).mul_(-math.sqrt(0.5))
        by_residual = by_scale = None
        if ctx.needs_input_grad[0]:
            by_residual = (near - far).mul_(slope).mul_(residual.sign())
        if ctx.needs_input_grad[1]:
            distance = residual.abs()
            by_scale = ((0.5 - distance).mul_(near) + (0.5 + distance).mul_(far)).mul_(slope).div_(scale)
        return by_residual, by_scale


def laplace_likelihood(residual: Tensor, scale: Tensor) -> Tensor:
    """Probability of the unit interval around ``residual`` under a Laplacian of standard deviation ``scale``.

    Same shape as ``residual``, in (0, 1]. Both exponents are never positive, so neither branch can overflow.
    """
    return _LaplaceLikelihood.apply(residual, scale)[0]


def gaussian_likelihood(residual: Tensor, scale: Tensor) -> Tensor:
    """Probability of the unit interval around ``residual`` under a Gaussian of standard deviation ``scale``.

    Same shape as ``residual``, in (0, 1]; taken in the lower tail, where differences keep their digits.
    """
    distance, inverse = residual.abs(), math.sqrt(0.5) / scale
    upper, lower = torch.erfc((distance - 0.5) * inverse), torch.erfc((distance + 0.5) * inverse)
    return (0.5 * (upper - lower)).clamp_min(LIKELIHOOD_MIN)


LIKELIHOODS: dict[Distribution, Likelihood] = {"laplace": laplace_likelihood, "gaussian": gaussian_likelihood}


def lower_bound(x: Tensor, bound: float) -> Tensor:
    """Clamp from below with the gradient of the identity, so that a value under the bound can rise again."""
    return x + (x.clamp_min(bound) - x).detach()


def straight_through_round(x: Tensor) -> Tensor:
    """Round with the gradient of the identity."""
    return x + (x.round() - x).detach()


def scale_indexes(scale: Tensor) -> Tensor:
    """Return the index (int64) of the table scale nearest to ``scale`` on a logarithmic axis.

    Index 0 stands for "certainly zero": such residuals are not coded at all.
    """
    table = torch.tensor(scale_table(), dtype=scale.dtype, device=scale.device)
    return count_below(scale, (table[1:] * table[:-1]).sqrt())  # borders are geometric means


def count_below(x: Tensor, thresholds: Tensor) -> Tensor:
    """Return how many ascending thresholds are below each x (int64), quickly where most x are below all of them."""
    x = x.contiguous()
    found = torch.zeros(x.shape, dtype=torch.int64, device=x.device)
    above = x > thresholds[0]
    found[above] = torch.bucketize(x[above], thresholds)
    return found


class ThresholdTable:
    """As :func:`count_below`, exactly and without a search, for thresholds that stay the same.

    A table tells how many lie below each cell of an even grid. Cells are narrower than any two thresholds are apart, so
    that one comparison more is enough; their width is a power of two, so that no number is rounded into another cell.
    """

    def __init__(self, thresholds: Tensor) -> None:
        self.thresholds = thresholds

    @cached_property
    def _table(self) -> tuple[float, int, Tensor, Tensor]:
        """The width of a cell, the first cell, what is below each, and the thresholds with an end."""
        ends, width = self.thresholds[[0, -1]], 2.0 ** math.floor(math.log2(self.thresholds.diff().min()))
        first, last = (int(end) for end in (ends / width).floor())
        edges = torch.arange(first, last + 2, dtype=ends.dtype) * width
        return width, first, torch.bucketize(edges, self.thresholds), F.pad(self.thresholds, (0, 1), value=math.inf)

    def __call__(self, x: Tensor) -> Tensor:
        """Return how many thresholds are below each x (int64)."""
        width, first, below, thresholds = self._table
        cells = (x / width).floor_().clamp_(first, first + len(below) - 1).sub_(first).long()
        found = look_up(below.to(x.device), cells)
        return found.add_(x > look_up(thresholds.to(x.device), found))


def look_up(table: Tensor, places: Tensor) -> Tensor:
    """``table[places]`` of a table (n,), which indexing does several times slower."""
    return table.index_select(0, places.flatten()).view(places.shape)
