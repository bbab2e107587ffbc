"""The factorised prior of the side information z (Ballé et al. 2018, appendix 6.1), the bottleneck of the hyperprior.

Every channel of z has a density of its own, whatever the position. Its cumulative distribution is sigmoid(f(z)), where
f is a small network of scalars that rises everywhere: positive matrices, and nonlinearities x + a tanh(x) with
-1 < a < 1. Parameters and buffers have the names of CompressAI's ``EntropyBottleneck``, against which it is tested.
"""

from __future__ import annotations

import math
from itertools import pairwise, zip_longest

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weconvene_core.entropy.cdf_tables import LIKELIHOOD_BOUND, TableBuffers
from weconvene_core.entropy.distributions import TAIL_MASS, lower_bound, straight_through_round
from weconvene_core.entropy.range_coder import Decoder, Encoder

WIDTHS = (1, 3, 3, 3, 3, 1)  # of the layers of f
INIT_SCALE = 2.0  # of z at the start; CompressAI's 10 costs 4 bits a symbol, which takes thousands of steps to unlearn
SEARCH = 1e5  # quantiles are sought between plus and minus this


class FactorisedPrior(TableBuffers):
    """Quantises z around its medians, estimates what it costs, and codes it.

    Parameters
    ----------
    channels : of z.

    Attributes
    ----------
    quantiles : (C, 1, 3), where the cumulative distribution of each channel is 5e-10, 1/2 and 1 - 5e-10; learned by
        :meth:`loss` alone. Tables reach from the first to the last, and symbols are distances from the median.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.matrices, self.biases, self.factors = nn.ParameterList(), nn.ParameterList(), nn.ParameterList()
        for seen, made in pairwise(WIDTHS):
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
        """Quantise z and estimate what it costs.

        Parameters
        ----------
        z : what h_a gives, (B, C, h, w).
        noisy : estimate z with uniform noise instead of the rounded z, as training does.

        Returns
        -------
        (z_hat, likelihoods), both of z's shape: medians plus whole numbers, with the gradient of the identity; and
        probabilities in 0..1.
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
        """Return how far the quantiles are from where they belong, in logits: the auxiliary loss."""
        return (self.logits(self.quantiles, frozen=True) - self.target).abs().sum()

    @torch.no_grad()
    def update(self, force: bool = False, update_quantiles: bool = False) -> bool:
        """Make the integer tables, where there are none or with ``force``; return whether it did.

        ``update_quantiles`` searches the quantiles first, in place of having trained them to the end.
        """
        if self._offset.numel() and not force:
            return False
        if update_quantiles:
            for i, target in enumerate(self.target):
                self.quantiles[:, :, i] = self._search(target)
        low, median, high = self.quantiles[:, 0].unbind(1)  # (C,) each
        below, above = (torch.ceil(side).int().clamp_min(0) for side in (median - low, high - median))
        lengths = below + above + 1
        symbols = torch.arange(int(lengths.max()), device=low.device) + (median - below)[:, None, None]
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
        """Code z_hat (1, C, h, w) into a stream.

        Raises
        ------
        WeconveneError
            If there are no valid coding tables: :meth:`update` makes them.
        """
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
        WeconveneError
            As :meth:`write`.
        """
        shape = (1, len(self.quantiles), *size)
        symbols = Decoder(data).pop(self._rows(shape), self.tables).astype(np.float32).reshape(shape)
        return torch.from_numpy(symbols).to(self.quantiles) + self.medians

    @staticmethod
    def _rows(shape: tuple[int, ...]) -> np.ndarray:
        """Return the table of every symbol: that of its channel."""
        return np.broadcast_to(np.arange(shape[1])[None, :, None, None], shape).ravel()
