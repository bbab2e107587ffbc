"""The two probability models: the factorised prior of z, and the conditional distribution of a coefficient of y.

As in Minnen, Ballé and Toderici (2018), a quantised residual r = round(y - mu) has the probability of the unit interval
around it. The predecessor takes a Gaussian; ours is a Laplacian: wavelet coefficients have heavier tails, and its
gradient does not vanish far from the mean. What it gained: ``data/checkpoints/RUNS.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from itertools import pairwise, zip_longest
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weconvene_core.entropy.cdf_tables import LIKELIHOOD_BOUND, TableBuffers, bound_buffer
from weconvene_core.entropy.range_coder import Decoder, Encoder

SCALE_MIN, SCALE_MAX, SCALE_LEVELS = 0.06, 256.0, 64
LIKELIHOOD_MIN = 1e-12
TAIL_MASS = 1e-9  # probability of what lies outside a table, on both sides together
WIDTHS = (1, 3, 3, 3, 3, 1)  # of the layers of the factorised prior
INIT_SCALE = 2.0  # of z at the start; CompressAI's 10 costs 4 bits a symbol, which takes thousands of steps to unlearn
SEARCH = 1e5  # quantiles of z are sought between plus and minus this

Distribution = Literal["laplace", "gaussian"]
Likelihood = Callable[[Tensor, Tensor], Tensor]


@cache
def scale_table() -> tuple[float, ...]:
    """Return the 64 scales (in quantiser steps) for which probability tables exist, log-spaced from 0.06 to 256."""
    # s_i = 0.06 (256 / 0.06)^(i / 63)
    ratio = math.log(SCALE_MAX / SCALE_MIN) / (SCALE_LEVELS - 1)
    return tuple(SCALE_MIN * math.exp(ratio * i) for i in range(SCALE_LEVELS))


class _LaplaceLikelihood(torch.autograd.Function):
    """The likelihood with its gradient by formula, in half of the passes that tracing it would take."""

    @staticmethod
    def forward(ctx: Any, residual: Tensor, scale: Tensor) -> Tensor:
        """Return the probability; keep the exponentials at both ends of the interval for the gradient."""
        # F(r + 1/2) - F(r - 1/2) with F(x) = exp(sqrt(2) x / s) / 2 below the mean; |r|, as the density is even
        inverse, distance = math.sqrt(2) / scale, residual.abs()
        near = (distance - 0.5).abs_().neg_().mul_(inverse).exp_()
        far = (distance + 0.5).neg_().mul_(inverse).exp_()
        inside = 1 - 0.5 * (near + far)  # the interval holds the mean
        outside = (near - far).mul_(0.5)
        likelihood = torch.where(distance < 0.5, inside, outside).clamp_min_(LIKELIHOOD_MIN)
        ctx.save_for_backward(residual, scale, likelihood, near, far)
        return likelihood

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Differentiate; at the lower bound there is no slope."""
        # d near / d r = -sign(r) sqrt(2) / s near inside and outside alike, far likewise
        residual, scale, likelihood, near, far = ctx.saved_tensors
        slope = torch.where(likelihood > LIKELIHOOD_MIN, gradient, 0.0).div_(scale).mul_(-math.sqrt(0.5))
        by_scale, by_residual = None, (near - far).mul_(slope).mul_(residual.sign())
        if ctx.needs_input_grad[1]:
            distance = residual.abs()
            by_scale = ((0.5 - distance).mul_(near) + (0.5 + distance).mul_(far)).mul_(slope).div_(scale)
        return by_residual, by_scale


laplace_likelihood: Likelihood = _LaplaceLikelihood.apply
"""Probability of the unit interval around a residual under a Laplacian of this standard deviation, in (0, 1].

Both exponents are never positive, so neither branch can overflow."""


def gaussian_likelihood(residual: Tensor, scale: Tensor) -> Tensor:
    """As :func:`laplace_likelihood`, under a Gaussian."""
    # F(x) = erfc(-x / (sqrt(2) s)) / 2, in the lower tail, where differences keep their digits
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
    """Return the index (int64) of the nearest table scale in log scale; 0 says "certainly zero": nothing is coded."""
    table = torch.tensor(scale_table(), dtype=scale.dtype, device=scale.device)
    borders, scale = (table[1:] * table[:-1]).sqrt(), scale.contiguous()  # geometric means
    found = torch.zeros(scale.shape, dtype=torch.int64, device=scale.device)
    above = scale > borders[0]  # most are not: so the search is among few
    found[above] = torch.bucketize(scale[above], borders)
    return found


class ConditionalTables(TableBuffers):
    """The integer tables of y's residuals, one for every scale of :func:`scale_table`."""

    def __init__(self, distribution: Distribution) -> None:
        super().__init__()
        self.distribution = distribution
        self.register_buffer("scale_table", torch.tensor(scale_table()))
        # both are read by nobody: released weights have them, and their hashes count them
        self.register_buffer("scale_bound", torch.tensor([0.11]))
        self.lower_bound_scale = bound_buffer(0.11)
        self.update()

    def update(self) -> None:
        """Make the tables: row k holds the symbols -n .. n of a distribution of scale k, the tails in the last bin."""
        gaussian = self.distribution == "gaussian"
        tail = TAIL_MASS / 2
        quantile = NormalDist().inv_cdf(tail) if gaussian else math.log(2 * tail) / math.sqrt(2)
        largest = torch.ceil(self.scale_table * -quantile).int()  # (64,): n
        # each table has its own length, the widest is that of scale 256: 7505 symbols
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


class FactorisedPrior(TableBuffers):
    """The factorised prior of z (Ballé et al. 2018, appendix 6.1): quantises z, estimates what it costs, and codes it.

    Every channel of z has a density of its own, with the cumulative distribution sigmoid(f(z)), where f is a small
    network of scalars that rises everywhere. Names are those of CompressAI's ``EntropyBottleneck``.

    Attributes
    ----------
    quantiles : (C, 1, 3), where the cumulative distribution of each channel is 5e-10, 1/2 and 1 - 5e-10; learned by
        :meth:`loss` alone. Tables reach from the first to the last, and symbols are distances from the median.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.matrices, self.biases, self.factors = nn.ParameterList(), nn.ParameterList(), nn.ParameterList()
        for seen, made in pairwise(WIDTHS):
            # matrix (C, made, seen), the same for all channels: together the layers scale by 1 / INIT_SCALE
            start = math.log(math.expm1(INIT_SCALE ** (-1 / (len(WIDTHS) - 1)) / made))  # softplus undoes it
            self.matrices.append(nn.Parameter(torch.full((channels, made, seen), start)))
            self.biases.append(nn.Parameter(torch.empty(channels, made, 1).uniform_(-0.5, 0.5)))
            if len(self.biases) < len(WIDTHS) - 1:
                self.factors.append(nn.Parameter(torch.zeros(channels, made, 1)))
        self.quantiles = nn.Parameter(torch.tensor([-INIT_SCALE, 0, INIT_SCALE]).repeat(channels, 1, 1))
        end = math.log(2 / TAIL_MASS - 1)
        self.register_buffer("target", torch.tensor([-end, 0, end]))  # the logits of the quantiles

    @property
    def medians(self) -> Tensor:
        """What the symbols of z are distances from: (1, C, 1, 1)."""
        return self.quantiles.detach()[:, :, 1:2].view(1, -1, 1, 1)

    def forward(self, z: Tensor, noisy: bool = False) -> tuple[Tensor, Tensor]:
        """Quantise z (B, C, h, w) and return (z_hat, likelihoods), both of its shape.

        ``noisy``: the likelihoods are those of z with uniform noise instead of the rounded z, as training needs them.
        """
        with torch.autocast(z.device.type, enabled=False):
            z = z.to(self.quantiles.dtype)
            z_hat = self.quantise(z)
            # (B, C, h, w) -> (C, 1, B h w): each channel passes through its own network
            values = (z if noisy else z_hat.detach()).transpose(0, 1)
            # contiguous, so that noise has the same order in memory on any number of processes
            shape, values = values.shape, values.reshape(len(self.quantiles), 1, -1).contiguous()
            if noisy:
                values = values + torch.empty_like(values).uniform_(-0.5, 0.5)
            # P(z_hat) = c(z_hat + 1/2) - c(z_hat - 1/2), c = sigmoid(f) the cumulative distribution
            likelihoods = torch.sigmoid(self.logits(values + 0.5)) - torch.sigmoid(self.logits(values - 0.5))
            return z_hat, lower_bound(likelihoods, LIKELIHOOD_BOUND).reshape(shape).transpose(0, 1)

    def quantise(self, z: Tensor) -> Tensor:
        """Round z to the nearest median plus a whole number, with the gradient of the identity."""
        medians = self.medians
        return straight_through_round(z - medians) + medians

    def logits(self, x: Tensor, frozen: bool = False) -> Tensor:
        """Return f of x (C, 1, n); ``frozen``: without gradient to the parameters of f."""
        for matrix, bias, factor in zip_longest(self.matrices, self.biases, self.factors):
            # x <- softplus(M) x + b, then x <- x + tanh(a) tanh(x): both rise in x
            x = F.softplus(matrix.detach() if frozen else matrix) @ x + (bias.detach() if frozen else bias)
            if factor is not None:
                x = x + torch.tanh(factor.detach() if frozen else factor) * torch.tanh(x)
        return x

    def loss(self) -> Tensor:
        """Return the auxiliary loss: how far the quantiles are from where they belong, in logits."""
        return (self.logits(self.quantiles, frozen=True) - self.target).abs().sum()

    @torch.no_grad()
    def update(self, force: bool = False, update_quantiles: bool = False) -> bool:
        """Make the integer tables; see :meth:`.model.weconvene.WeConvene.update`."""
        if self._offset.numel() and not force:
            return False
        if update_quantiles:
            for i, target in enumerate(self.target):
                self.quantiles[:, :, i] = self._search(target)
        # whole symbols from the first to the last quantile, counted from the median
        low, median, high = self.quantiles[:, 0].unbind(1)  # (C,) each
        below, above = (torch.ceil(side).int().clamp_min(0) for side in (median - low, high - median))
        lengths = below + above + 1
        symbols = torch.arange(int(lengths.max()), device=low.device) + (median - below)[:, None, None]
        # the probability of each symbol, and what the widest table leaves out on both sides
        lower, upper = self.logits(symbols - 0.5), self.logits(symbols + 0.5)  # (C, 1, n)
        tails = torch.sigmoid(lower[:, 0, 0]) + torch.sigmoid(-upper[:, 0, -1])
        self.set_tables((torch.sigmoid(upper) - torch.sigmoid(lower))[:, 0], tails, lengths, -below)
        return True

    def _search(self, target: Tensor) -> Tensor:
        """Bisect for the z (C, 1) of every channel whose logit is ``target``; f rises everywhere."""
        low = torch.full_like(self.quantiles[:, :, :1], -SEARCH)
        high = -low
        while not torch.isclose(low, high, rtol=1e-4, atol=1e-3).all():
            middle = (low + high) / 2
            beyond = self.logits(middle) > target
            low, high = torch.where(beyond, low, middle), torch.where(beyond, middle, high)
        return ((low + high) / 2)[:, :, 0]

    def write(self, z_hat: Tensor) -> bytes:
        """Code z_hat (1, C, h, w) into a stream; there must be tables (:meth:`update`)."""
        symbols = torch.round(z_hat - self.medians).to(torch.int32).cpu().numpy()
        encoder = Encoder()
        encoder.push(symbols.ravel(), self._rows(symbols.shape), self.tables)
        return encoder.finish()

    def read(self, data: bytes, size: tuple[int, int]) -> Tensor:
        """Invert :meth:`write`: z_hat (1, C, h, w) for ``size`` (h, w).

        Raises
        ------
        CorruptFileError
            If the stream cannot be that of such a size.
        """
        shape = (1, len(self.quantiles), *size)
        symbols = Decoder(data).pop(self._rows(shape), self.tables).astype(np.float32).reshape(shape)
        return torch.from_numpy(symbols).to(self.quantiles) + self.medians

    @staticmethod
    def _rows(shape: tuple[int, ...]) -> np.ndarray:
        """Return the table of every symbol: that of its channel."""
        return np.broadcast_to(np.arange(shape[1])[None, :, None, None], shape).ravel()
