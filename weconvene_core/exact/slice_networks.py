"""3DWeChARM in fixed point: from the hyper features and the decoded residuals to y_hat."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from weconvene_core.entropy.charm import LL_CONTEXT_SCALE, LL_WAVELET, PASSES, SliceLayout, WaveletCharm
from weconvene_core.entropy.distributions import scale_table
from weconvene_core.entropy.slices import EVERYWHERE, LRP_RANGE, Positions, Selection, SliceNetwork, chroma_of
from weconvene_core.exact.fixed_point import ExactConv, FixedPointRange, IntegerPathSpec
from weconvene_core.exact.integer_lifting import join_scaled, lifting_of

Y_BITS, Y_LIMIT = 8, 2.0**12  # y_hat, means and residuals: multiples of 1/256 of a quantiser step, at most 4096 steps
LL_BITS = 3  # what LL_CONTEXT_SCALE adds
THRESHOLD_BITS = 16
TANH_BITS, TANH_LIMIT = 8, 4  # the correction's argument: multiples of 1/256, saturated at 4


def scale_thresholds() -> tuple[int, ...]:
    """Return the borders between the nearest scale tables, as raw scales (softplus is monotone), in units of 2^-16."""
    table = scale_table()
    borders = [math.sqrt(low * high) for low, high in zip(table, table[1:], strict=False)]
    return tuple(round(math.log(math.expm1(border)) * 2**THRESHOLD_BITS) for border in borders)


def tanh_thresholds() -> tuple[int, ...]:
    """Return for k = 1, 2, ... the argument, in units of 1/256, from which LRP corrects by k / 256 steps or more."""
    largest = round(LRP_RANGE * 2**Y_BITS)
    arguments = [math.ceil(math.atanh((k - 0.5) / largest) * 2**TANH_BITS) for k in range(1, largest + 1)]
    return tuple(argument for argument in arguments if argument <= TANH_LIMIT << TANH_BITS)


def tanh_table(thresholds: Sequence[int]) -> Tensor:
    """Return LRP's correction in quantiser steps for the arguments -4, ..., 4 in steps of 1/256: (2049,)."""
    places = torch.arange((TANH_LIMIT << TANH_BITS) + 1)
    positive = torch.searchsorted(torch.tensor(thresholds), places, right=True).double() * 2.0**-Y_BITS
    return torch.cat([-positive.flip(0), positive[1:]])


@dataclass(frozen=True)
class ExactPrediction:
    """As :class:`SlicePrediction`, with the coding tables from integer ``thresholds``.

    ``level`` is the mean before rounding, ``raw`` the raw scale, both (B, w, h, w) in units of 1/256. ``features`` are
    what the first layers of LRP and chroma make of the slice's features.
    """

    level: Tensor
    raw: Tensor
    features: Sequence[Tensor]
    thresholds: Tensor

    @cached_property
    def mean(self) -> Tensor:
        """The mean in quantiser steps."""
        return _steps(self.level.round())

    @cached_property
    def indexes(self) -> Tensor:
        """The coding table of every scale."""
        return torch.bucketize(self.raw.contiguous(), self.thresholds)

    def part(self, selection: Selection) -> ExactPrediction:
        """The prediction of some channels or positions, with all features."""
        return replace(self, level=selection(self.level), raw=selection(self.raw))

    @property
    def scale(self) -> Tensor:
        """The table's scales, for estimates."""
        return torch.tensor(scale_table(), dtype=self.mean.dtype, device=self.mean.device)[self.indexes]


class ExactLateNetwork(nn.Module):
    """Two 1x1 layers on a slice's features and its decoded residuals, in fixed point: LRP, or chroma from luma.

    The slice's head computes what the first layer makes of the ``width`` channels of features.
    """

    def __init__(self, name: str, layers: nn.Sequential, width: int, bits: int, spec: IntegerPathSpec) -> None:
        super().__init__()
        self.quantizer = spec.quantizer(f"{name}.0")
        kernel = layers[0].weight[:, width:]
        residual = FixedPointRange.of(0, 0, Y_LIMIT, kernel.shape[1])
        self.first = ExactConv(f"{name}.0", kernel, None, residual, self.quantizer.bits)
        hidden = self.quantizer.range(len(kernel))
        self.second = ExactConv(f"{name}.2", layers[2].weight, layers[2].bias, hidden, bits)

    def forward(self, residual: Tensor, features: Tensor) -> Tensor:
        """Add residuals (B, c, h, w) to what was made of the features (B, hidden, h, w)."""
        return self.second(self.quantizer(self.first(residual.clamp(-Y_LIMIT, Y_LIMIT)).add_(features)))


class ExactSliceNetwork(nn.Module):
    """:class:`SliceNetwork` in fixed point, with the same methods.

    Parameters
    ----------
    name : the network, in errors and in ``spec``.
    context : what its input may hold.
    spec : ``thresholds`` are (63,) in units of 2^-16; a raw scale above k of them has coding table k. ``tanh`` is in
        units of 1/256; an argument of LRP at or above k of them, by magnitude, gives k / 256 quantiser steps.
    """

    thresholds: Tensor
    tanh: Tensor

    def __init__(self, name: str, network: SliceNetwork, context: FixedPointRange, spec: IntegerPathSpec) -> None:
        super().__init__()
        first, second = network.body[0], network.body[2]
        self.luma_first, self.width = network.luma_first, len(network.scale_bias)
        self.quantizers = [spec.quantizer(f"{name}.body.{i}") for i in (0, 2)]
        hidden, features = (quantizer.range(first.out_channels) for quantizer in self.quantizers)
        self.first = ExactConv(f"{name}.body.0", first.weight, first.bias, context, self.quantizers[0].bits)
        self.second = ExactConv(f"{name}.body.2", second.weight, second.bias, hidden, self.quantizers[1].bits)
        for quantizer, conv in zip(self.quantizers, (self.first, self.second), strict=True):
            quantizer.check(conv.outputs)
        # one product for means, raw scales, and the late networks' share of the features: each has its own unit
        kinds = {"lrp": TANH_BITS, "chroma": Y_BITS} if self.luma_first else {"lrp": TANH_BITS}
        layers, late = [network.head], {}
        for kind, bits in kinds.items():
            layers.append(getattr(network, kind)[0])
            late[kind] = ExactLateNetwork(f"{name}.{kind}", getattr(network, kind), first.out_channels, bits, spec)
        weights = [layer.weight[:, : first.out_channels] for layer in layers]
        bias = torch.cat([layer.bias.double() for layer in layers])
        bias[self.width : 2 * self.width] += network.scale_bias.double()
        self.rows, units = [len(w) for w in weights], [Y_BITS, *(part.quantizer.bits for part in late.values())]
        unit_of_row = torch.tensor(units).repeat_interleave(torch.tensor(self.rows))
        self.head = ExactConv(f"{name}.head", torch.cat(weights), bias, features, unit_of_row)
        own, *shares = (
            FixedPointRange(unit, max(0, self.head.outputs.bits - (unit - min(units))), bounds)
            for unit, bounds in zip(units, self.head.outputs.bounds.split(self.rows), strict=True)
        )
        for (kind, part), share in zip(late.items(), shares, strict=True):
            part.quantizer.check(part.first.outputs.plus(share, f"{name}.{kind}"))
            self.add_module(kind, part)
        if self.luma_first:
            bounds = chroma_of(own.bounds.view(1, -1, 1, 1)).flatten()  # of means, then of raw scales
            own._replace(bounds=bounds).plus(self.chroma.second.outputs, name)
        self.register_buffer("thresholds", torch.tensor(spec.thresholds).double() * 2.0 ** (Y_BITS - THRESHOLD_BITS))
        self.register_buffer("tanh", tanh_table(spec.tanh))

    def forward(self, context: Tensor, at: Positions = EVERYWHERE) -> ExactPrediction:
        """Predict the slice from its context (B, C, h, w), in quantiser steps, at some positions."""
        hidden = self.quantizers[0](self.first(context))
        features = self.quantizers[1](self.second(hidden))[..., *at]
        own, *late = self.head(features).split(self.rows, 1)
        return ExactPrediction(*own.chunk(2, 1), late, self.thresholds)

    def condition_chroma(self, chroma: ExactPrediction, luma: Tensor) -> ExactPrediction:
        """Move means and raw scales by what the luma residual and the features tell."""
        level, raw = self.chroma(luma, chroma.features[1]).chunk(2, 1)
        return replace(chroma, level=chroma.level + level, raw=chroma.raw + raw)

    def reconstruct(self, residual: Tensor, mean: Tensor, features: Sequence[Tensor] | None) -> Tensor:
        """Turn the decoded residual into y_hat: mean + residual + bounded correction."""
        y_hat = mean + residual.clamp(-Y_LIMIT, Y_LIMIT)
        if features is not None:
            largest = TANH_LIMIT << TANH_BITS
            place = self.lrp(residual, features[0]).round_().clamp_(-largest, largest).add_(largest).long()
            y_hat.add_(self.tanh.index_select(0, place.flatten()).view(place.shape))  # faster than indexing
        return y_hat.clamp_(-Y_LIMIT, Y_LIMIT)


class ExactCharm(WaveletCharm):
    """:class:`WaveletCharm` in integers; ``hyper`` says what the hyper features may hold, coarsest first."""

    def __init__(self, charm: WaveletCharm, hyper: Sequence[FixedPointRange], spec: IntegerPathSpec) -> None:
        networks = {f"charm.ll_slices.{i}": network for i, network in enumerate(charm.ll_slices)}
        networks |= {f"charm.slices.{i}": network for i, network in enumerate(charm.slices)}
        contexts = _contexts(charm.layout, hyper, [len(network.scale_bias) for network in charm.slices])
        named = zip(networks.items(), contexts, strict=True)
        made = (ExactSliceNetwork(name, network, context, spec) for (name, network), context in named)
        super().__init__(charm.layout, hyper[-1].bounds.numel(), lambda seen, coded: next(made))
        self.lifting, self.gains = lifting_of(LL_WAVELET, spec.wavelets), spec.wavelets[LL_WAVELET]["gains"]

    def code_slices(self, *latents: Any, **options: Any) -> tuple[Tensor, Tensor]:
        """Code the slices; y_hat has at most 21 bits, so that float32, which g_s takes, holds it exactly."""
        lf_hat, hf_hat = super().code_slices(*latents, **options)
        return lf_hat.float(), hf_hat.float()

    def join_ll(self, low: Tensor, details: Sequence[Tensor]) -> Tensor:
        """Go up one level of the LL pyramid."""
        return _steps(join_scaled([part * 2.0**Y_BITS for part in (low, *details)], self.lifting, self.gains))


def _contexts(layout: SliceLayout, hyper: Sequence[FixedPointRange], widths: Sequence[int]) -> list[FixedPointRange]:
    """Return what every slice network may see, in coding order; ``widths`` are those of the slices behind LL."""
    ll = FixedPointRange.of(0, Y_BITS + LL_BITS, Y_LIMIT * LL_CONTEXT_SCALE, layout.lf[0])
    contexts = []
    if layout.ll_passes:
        contexts.append(hyper[0].beside(ll, FixedPointRange.of(0, 0, 1, len(PASSES))))
    for level in range(layout.ll_levels):  # the coarsest band is known before the first level only after passes
        contexts.append(hyper[level].beside(ll) if level or layout.ll_passes else hyper[level])
    known = hyper[-1].beside(ll) if layout.ll_levels else hyper[-1]
    for width in widths:
        contexts.append(known)
        known = known.beside(FixedPointRange.of(0, Y_BITS, Y_LIMIT, width))
    return contexts


def _steps(x: Tensor) -> Tensor:
    """From integers in 1/256 of a quantiser step to quantiser steps, in place."""
    return x.clamp_(-Y_LIMIT * 2**Y_BITS, Y_LIMIT * 2**Y_BITS).mul_(2.0**-Y_BITS)
