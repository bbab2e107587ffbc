"""The slice networks and 3DWeChARM's walk in integers: from the hyper features and the residuals to y_hat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from weconvene_core.entropy.charm import LL_CONTEXT_SCALE, SliceLayout, WaveletCharm
from weconvene_core.entropy.exact import ExactConv, Grids, Span, beside, leaky
from weconvene_core.entropy.exact_hyper import activated
from weconvene_core.entropy.exact_lifting import join_scaled
from weconvene_core.entropy.laplace import count_below, scale_table
from weconvene_core.entropy.phases import PHASES
from weconvene_core.entropy.slices import EVERYWHERE, Positions, SliceNetwork
from weconvene_core.entropy.steps import CodingStep
from weconvene_core.wavelets import LiftingScheme

Y_BITS, Y_LIMIT = 8, 2.0**12  # y_hat, means and residuals: multiples of 1/256 of a quantiser step, at most 4096 steps
LL_BITS = 3  # what LL_CONTEXT_SCALE adds
THRESHOLD_BITS = 16
TANH_BITS, TANH_LIMIT = 8, 4  # the correction's argument: multiples of 1/256, cut off at 4


@dataclass(frozen=True)
class ExactPrediction:
    """As :class:`SlicePrediction`; the indexes of the scales come from integer thresholds."""

    mean: Tensor
    indexes: Tensor
    features: Tensor

    @property
    def scale(self) -> Tensor:
        """The table's scales, for estimates."""
        return torch.tensor(scale_table(), dtype=self.mean.dtype, device=self.mean.device)[self.indexes]


class ExactSliceNetwork(nn.Module):
    """:class:`SliceNetwork` in integers, with the same calls.

    Parameters
    ----------
    context : what its input may hold.
    thresholds : (63,) ascending, in units of 2^-16: a raw scale above k of them belongs to table k.
    tanh : ascending, in units of 1/256: LRP's argument at or above k of them (by magnitude) gives k / 256 steps.
    """

    thresholds: Tensor
    tanh: Tensor

    def __init__(
        self, name: str, network: SliceNetwork, context: Span, grids: Grids,
        thresholds: Sequence[int], tanh: Sequence[int],
    ) -> None:  # fmt: skip
        super().__init__()
        first, second, lrp = network.body[0], network.body[2], network.lrp
        self.grids = [grids[f"{name}.{layer}"] for layer in ("body.0", "body.2", "lrp.0")]
        units = [grid.bits for grid in self.grids]
        hidden, features = (grid.span(first.out_channels) for grid in self.grids[:2])
        self.first = ExactConv(f"{name}.body.0", first.weight, first.bias, context, units[0])
        self.second = ExactConv(f"{name}.body.2", second.weight, second.bias, hidden, units[1])
        self.width = lrp[2].out_channels
        of_features, of_residual = lrp[0].weight.split([first.out_channels, self.width], 1)
        # one product for the mean, the raw scale, and what the correction needs of the features
        weight = torch.cat([network.head.weight, of_features])
        bias = torch.cat([network.head.bias.double(), lrp[0].bias.double()])
        bias[self.width : 2 * self.width] += network.scale_bias.double()
        unit = torch.tensor([Y_BITS] * (2 * self.width) + [units[2]] * len(of_features))
        self.head = ExactConv(f"{name}.head", weight, bias, features, unit)
        residual = Span.of(0, 0, Y_LIMIT, self.width)
        self.residual = ExactConv(f"{name}.lrp.0", of_residual, None, residual, units[2])
        coarser = units[2] - int(unit.min())
        pending = Span(units[2], max(0, self.head.outputs.bits - coarser), self.head.outputs.bounds[2 * self.width :])
        for span in (self.first.outputs, self.second.outputs, self.residual.outputs.plus(pending, name)):
            activated(span, name)
        inner = self.grids[2].span(len(of_features))
        self.correction = ExactConv(f"{name}.lrp.2", lrp[2].weight, lrp[2].bias, inner, TANH_BITS)
        self.register_buffer("thresholds", torch.tensor(thresholds).double() * 2.0 ** (Y_BITS - THRESHOLD_BITS))
        self.register_buffer("tanh", tanh_table(tanh))

    def forward(self, context: Tensor, at: Positions = EVERYWHERE) -> ExactPrediction:
        """Predict the slice from its context (B, C, h, w), in quantiser steps, at some positions."""
        hidden = self.grids[0](leaky(self.first(context)))
        features = self.grids[1](leaky(self.second(hidden)))[..., *at]
        mean, raw, pending = self.head(features).tensor_split([self.width, 2 * self.width], 1)
        return ExactPrediction(_steps(mean.round()), count_below(raw, self.thresholds), pending)

    def reconstruct(self, residual: Tensor, prediction: ExactPrediction) -> Tensor:
        """Turn the decoded residual into y_hat: mean + residual + bounded correction."""
        residual = residual.clamp(-Y_LIMIT, Y_LIMIT)
        hidden = self.grids[2](leaky(self.residual(residual).add_(prediction.features)))
        largest = TANH_LIMIT << TANH_BITS
        place = self.correction(hidden).round_().clamp_(-largest, largest).add_(largest).long()
        return (prediction.mean + residual).add_(self.tanh[place]).clamp_(-Y_LIMIT, Y_LIMIT)


def tanh_table(thresholds: Sequence[int]) -> Tensor:
    """Return the correction in quantiser steps for every argument -4, ..., 4 in steps of 1/256: (2049,)."""
    places = torch.arange((TANH_LIMIT << TANH_BITS) + 1)
    positive = torch.searchsorted(torch.tensor(thresholds), places, right=True).double() * 2.0**-Y_BITS
    return torch.cat([-positive.flip(0), positive[1:]])


class ExactCharm(WaveletCharm):
    """The walk of :class:`WaveletCharm` with integer networks; the LL pyramid is lifted in integers.

    Parameters
    ----------
    charm : the trained one.
    hyper : what the hyper features of every resolution may hold.
    lifting, gains : the LL pyramid's wavelet (see :mod:`.exact_lifting`).
    """

    def __init__(
        self, charm: WaveletCharm, hyper: Sequence[Span], grids: Grids, thresholds: Sequence[int],
        tanh: Sequence[int], lifting: LiftingScheme, gains: Sequence[int],
    ) -> None:  # fmt: skip
        layout, made = charm.layout, []
        ll = Span.of(0, Y_BITS + LL_BITS, Y_LIMIT * LL_CONTEXT_SCALE, layout.lf[0])
        for i, network in enumerate(charm.ll_networks):
            context = self._ll_context(layout, i, hyper, ll)
            made.append(ExactSliceNetwork(f"charm.ll_networks.{i}", network, context, grids, thresholds, tanh))
        known = beside(hyper[-1], ll) if layout.ll_levels else hyper[-1]
        for i, network in enumerate(charm.networks):
            made.append(ExactSliceNetwork(f"charm.networks.{i}", network, known, grids, thresholds, tanh))
            known = beside(known, Span.of(0, Y_BITS, Y_LIMIT, made[-1].width))
        networks = iter(made)
        super().__init__(layout, hyper[-1].bounds.numel(), lambda seen, coded: next(networks))
        self.lifting, self.gains = lifting, gains

    def code_slices(
        self, hyper: Tensor, ll_hat: Tensor | None, step: CodingStep, lf: Tensor | None = None, hf: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Walk; y_hat has at most 21 bits, so that float32, which g_s takes, holds it exactly."""
        lf_hat, hf_hat = super().code_slices(hyper, ll_hat, step, lf, hf)
        return lf_hat.float(), hf_hat.float()

    @staticmethod
    def _ll_context(layout: SliceLayout, network: int, hyper: Sequence[Span], ll: Span) -> Span:
        """What the ``network``-th network of the LL pyramid may see."""
        if not layout.ll_phases:
            return beside(hyper[network], ll) if network else hyper[0]
        if network:
            return beside(hyper[network - 1], ll)
        return beside(hyper[0], ll, Span.of(0, 0, 1, len(PHASES)))

    def join_ll(self, low: Tensor, details: Sequence[Tensor]) -> Tensor:
        """Go up one level of the LL pyramid."""
        joined = join_scaled([part * 2.0**Y_BITS for part in (low, *details)], self.lifting, self.gains)
        return _steps(joined)


def _steps(x: Tensor) -> Tensor:
    """From integers in 1/256 of a quantiser step to quantiser steps, in place."""
    return x.clamp_(-Y_LIMIT * 2**Y_BITS, Y_LIMIT * 2**Y_BITS).mul_(2.0**-Y_BITS)
