"""The slice networks and 3DWeChARM's walk in integers: from the hyper features and the residuals to y_hat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from weconvene_core.entropy.charm import LL_CONTEXT_SCALE, SliceLayout, WaveletCharm
from weconvene_core.entropy.coding_steps import SliceCodingMode
from weconvene_core.entropy.distributions import ThresholdTable, look_up, scale_table
from weconvene_core.entropy.luma_before_chroma import Channels, chroma_of
from weconvene_core.entropy.polyphase_passes import PHASES
from weconvene_core.entropy.slices import EVERYWHERE, Positions, SliceNetwork
from weconvene_core.exact.fixed_point import ActivationQuantizer, ExactConv, FixedPointRange, Grids, beside, leaky
from weconvene_core.exact.hyper_synthesis import activated
from weconvene_core.exact.integer_lifting import join_scaled
from weconvene_core.wavelets import LiftingScheme

Y_BITS, Y_LIMIT = 8, 2.0**12  # y_hat, means and residuals: multiples of 1/256 of a quantiser step, at most 4096 steps
LL_BITS = 3  # what LL_CONTEXT_SCALE adds
THRESHOLD_BITS = 16
TANH_BITS, TANH_LIMIT = 8, 4  # the correction's argument: multiples of 1/256, cut off at 4


@dataclass(frozen=True)
class ExactPrediction:
    """As :class:`SlicePrediction`; the indexes of the scales come from integer thresholds.

    ``level`` is the mean before it is rounded, ``raw`` the raw scale, both in units of 1/256; ``features`` what the
    late networks of the slice need of its features.
    """

    level: Tensor
    raw: Tensor
    features: Sequence[Tensor]
    staircase: ThresholdTable

    @cached_property
    def mean(self) -> Tensor:
        """What is expected, in quantiser steps."""
        return _steps(self.level.round())

    @cached_property
    def indexes(self) -> Tensor:
        """The coding table of every scale."""
        return self.staircase(self.raw)

    def part(self, channels: Channels) -> ExactPrediction:
        """The prediction of some channels, with all features."""
        return replace(self, level=channels(self.level), raw=channels(self.raw))

    @property
    def scale(self) -> Tensor:
        """The table's scales, for estimates."""
        return torch.tensor(scale_table(), dtype=self.mean.dtype, device=self.mean.device)[self.indexes]


class ExactLateNetwork(nn.Module):
    """Two 1x1 layers behind a slice's features and decoded residuals, in integers: LRP, or chroma from luma.

    Parameters
    ----------
    layers : as trained; the first sees the features, and the residuals by the kernel ``of_residual``.
    features : what the first layer makes of the features, computed elsewhere, may be.
    grid : of the hidden activations; ``features`` have its unit.
    bits : the output is carried times 2^bits.
    """

    def __init__(
        self,
        name: str,
        layers: nn.Sequential,
        of_residual: Tensor,
        features: FixedPointRange,
        grid: ActivationQuantizer,
        bits: int,
    ) -> None:
        super().__init__()
        self.grid = grid
        residual = FixedPointRange.of(0, 0, Y_LIMIT, of_residual.shape[1])
        self.first = ExactConv(f"{name}.0", of_residual, None, residual, grid.bits)
        activated(self.first.outputs.plus(features, name), name)
        self.second = ExactConv(f"{name}.2", layers[2].weight, layers[2].bias, grid.span(len(of_residual)), bits)

    def forward(self, residual: Tensor, features: Tensor) -> Tensor:
        """Put residuals (B, c, h, w) to what was made of the features (B, hidden, h, w)."""
        return self.second(self.grid(leaky(self.first(residual.clamp(-Y_LIMIT, Y_LIMIT)).add_(features))))


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
        self, name: str, network: SliceNetwork, context: FixedPointRange, grids: Grids,
        thresholds: Sequence[int], tanh: Sequence[int],
    ) -> None:  # fmt: skip
        super().__init__()
        first, second = network.body[0], network.body[2]
        self.luma_first, self.width = network.luma_first, len(network.scale_bias)
        self.grids = [grids[f"{name}.{layer}"] for layer in ("body.0", "body.2")]
        hidden, features = (grid.span(first.out_channels) for grid in self.grids)
        self.first = ExactConv(f"{name}.body.0", first.weight, first.bias, context, self.grids[0].bits)
        self.second = ExactConv(f"{name}.body.2", second.weight, second.bias, hidden, self.grids[1].bits)
        for span in (self.first.outputs, self.second.outputs):
            activated(span, name)
        late = {"lrp": network.lrp} | ({"chroma": network.chroma} if network.luma_first else {})
        inner = [grids[f"{name}.{label}.0"] for label in late]
        kernels = [_late_weights(layers, first.out_channels) for layers in late.values()]
        self.head, spans = self._head(name, network, list(late.values()), features, inner)
        self.rows = [len(span.bounds) for span in spans]
        for label, grid, (_, kernel), span in zip(late, inner, kernels, spans[1:], strict=True):
            bits = TANH_BITS if label == "lrp" else Y_BITS
            self.add_module(label, ExactLateNetwork(f"{name}.{label}", late[label], kernel, span, grid, bits))
        if network.luma_first:
            bounds = chroma_of(spans[0].bounds.view(1, -1, 1, 1)).flatten()  # of means, then of raw scales
            spans[0]._replace(bounds=bounds).plus(self.chroma.second.outputs, name)
        self.register_buffer("thresholds", torch.tensor(thresholds).double() * 2.0 ** (Y_BITS - THRESHOLD_BITS))
        self.register_buffer("tanh", tanh_table(tanh))
        self.staircase = ThresholdTable(self.thresholds)  # no buffer: it adds nothing that the seal's hash should know

    def _head(
        self,
        name: str,
        network: SliceNetwork,
        late: Sequence[nn.Sequential],
        features: FixedPointRange,
        inner: Sequence[ActivationQuantizer],
    ) -> tuple[ExactConv, list[FixedPointRange]]:
        """One product for means, raw scales, and what the late networks need of the features; and what each may be."""
        weights = [network.head.weight, *(_late_weights(layers, network.head.in_channels)[0] for layers in late)]
        bias = torch.cat([network.head.bias.double(), *(layers[0].bias.double() for layers in late)])
        bias[self.width : 2 * self.width] += network.scale_bias.double()
        rows, units = [len(weight) for weight in weights], [Y_BITS, *(grid.bits for grid in inner)]
        unit = torch.tensor(units).repeat_interleave(torch.tensor(rows))
        head = ExactConv(f"{name}.head", torch.cat(weights), bias, features, unit)
        parts = zip(units, head.outputs.bounds.split(rows), strict=True)
        bits = [max(0, head.outputs.bits - (unit - min(units))) for unit in units]
        return head, [FixedPointRange(unit, own, bounds) for own, (unit, bounds) in zip(bits, parts, strict=True)]

    def forward(self, context: Tensor, at: Positions = EVERYWHERE) -> ExactPrediction:
        """Predict the slice from its context (B, C, h, w), in quantiser steps, at some positions."""
        hidden = self.grids[0](leaky(self.first(context)))
        features = self.grids[1](leaky(self.second(hidden)))[..., *at]
        own, *late = self.head(features).split(self.rows, 1)
        return ExactPrediction(*own.chunk(2, 1), late, self.staircase)

    def refine(self, chroma: ExactPrediction, luma: Tensor) -> ExactPrediction:
        """Move means and raw scales by what the luma residual and the features tell."""
        level, raw = self.chroma(luma, chroma.features[1]).chunk(2, 1)
        return replace(chroma, level=chroma.level + level, raw=chroma.raw + raw)

    def reconstruct(self, residual: Tensor, mean: Tensor, features: Sequence[Tensor] | None) -> Tensor:
        """Turn the decoded residual into y_hat: mean + residual + bounded correction."""
        y_hat = mean + residual.clamp(-Y_LIMIT, Y_LIMIT)
        if features is not None:
            largest = TANH_LIMIT << TANH_BITS
            place = self.lrp(residual, features[0]).round_().clamp_(-largest, largest).add_(largest).long()
            y_hat.add_(look_up(self.tanh, place))
        return y_hat.clamp_(-Y_LIMIT, Y_LIMIT)


def _late_weights(layers: nn.Sequential, features: int) -> tuple[Tensor, Tensor]:
    """Cut the first layer's kernel into what sees so many features, and what sees residuals."""
    seen, residuals = layers[0].weight.tensor_split([features], 1)
    return seen, residuals


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
        self, charm: WaveletCharm, hyper: Sequence[FixedPointRange], grids: Grids, thresholds: Sequence[int],
        tanh: Sequence[int], lifting: LiftingScheme, gains: Sequence[int],
    ) -> None:  # fmt: skip
        layout, made = charm.layout, []
        ll = FixedPointRange.of(0, Y_BITS + LL_BITS, Y_LIMIT * LL_CONTEXT_SCALE, layout.lf[0])
        for i, network in enumerate(charm.ll_slices):
            context = self._ll_context(layout, i, hyper, ll)
            made.append(ExactSliceNetwork(f"charm.ll_slices.{i}", network, context, grids, thresholds, tanh))
        known = beside(hyper[-1], ll) if layout.ll_levels else hyper[-1]
        for i, network in enumerate(charm.slices):
            made.append(ExactSliceNetwork(f"charm.slices.{i}", network, known, grids, thresholds, tanh))
            known = beside(known, FixedPointRange.of(0, Y_BITS, Y_LIMIT, made[-1].width))
        networks = iter(made)
        super().__init__(layout, hyper[-1].bounds.numel(), lambda seen, coded: next(networks))
        self.lifting, self.gains = lifting, gains

    def code_slices(
        self,
        hyper: Tensor,
        ll_hat: Tensor | None,
        step: SliceCodingMode,
        lf: Tensor | None = None,
        hf: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Walk; y_hat has at most 21 bits, so that float32, which g_s takes, holds it exactly."""
        lf_hat, hf_hat = super().code_slices(hyper, ll_hat, step, lf, hf)
        return lf_hat.float(), hf_hat.float()

    @staticmethod
    def _ll_context(
        layout: SliceLayout, network: int, hyper: Sequence[FixedPointRange], ll: FixedPointRange
    ) -> FixedPointRange:
        """What the ``network``-th network of the LL pyramid may see."""
        if not layout.ll_passes:
            return beside(hyper[network], ll) if network else hyper[0]
        if network:
            return beside(hyper[network - 1], ll)
        return beside(hyper[0], ll, FixedPointRange.of(0, 0, 1, len(PHASES)))

    def join_ll(self, low: Tensor, details: Sequence[Tensor]) -> Tensor:
        """Go up one level of the LL pyramid."""
        joined = join_scaled([part * 2.0**Y_BITS for part in (low, *details)], self.lifting, self.gains)
        return _steps(joined)


def _steps(x: Tensor) -> Tensor:
    """From integers in 1/256 of a quantiser step to quantiser steps, in place."""
    return x.clamp_(-Y_LIMIT * 2**Y_BITS, Y_LIMIT * 2**Y_BITS).mul_(2.0**-Y_BITS)
