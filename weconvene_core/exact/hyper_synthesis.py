"""h_s in integers: from z to the hyper features."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from weconvene_core.exact.fixed_point import (
    SLOPE_BITS,
    WEIGHT_BITS,
    ActivationQuantizer,
    ExactConv,
    FixedPointRange,
    Grids,
    leaky,
    to_fixed_point,
)
from weconvene_core.exact.integer_lifting import COEFFICIENT_BITS, growth, integer_matrix, join, split
from weconvene_core.lambdas import QUALITY_MIN
from weconvene_core.layers import RateEmbedding, ResidualBlock, UpWeConvBlock, WeConv3d
from weconvene_core.wavelets import LiftingScheme

Z_BITS, Z_LIMIT = 8, 2.0**9  # z_hat: multiples of 1/256, at most 512
RATE_BITS = 16
BAND_LIMIT = 2.0**17  # of what goes into a 3DM-WeConv's kernels and what comes out of it, four times a grid's
FOLDED_BITS = 18  # of a kernel before the channel DWT is put into it: 18 + 12 + 12 bits leave ten for the sums
Unit = int


class HyperSynthesisLike(Protocol):
    """What is read of a trained h_s."""

    head: nn.Conv2d
    rate: nn.Module
    up: nn.ModuleList
    blocks: nn.Sequential


class ExactHyperSynthesis(nn.Module):
    """z_hat (B, z_channels, h/4, w/4), qualities (B,) -> features at h/4, h/2 and h, coarsest first, in float64.

    Attributes
    ----------
    outputs : what each of the three may hold.
    """

    def __init__(self, h_s: HyperSynthesisLike, grids: Grids, lifting: LiftingScheme | None) -> None:
        super().__init__()
        channels = h_s.head.out_channels
        self.grids = [grids[f"h_s.{name}"] for name in ("head", "up.0", "up.1")]
        spans = [grid.span(channels) for grid in self.grids]
        z = FixedPointRange.of(Z_BITS, 0, Z_LIMIT * 2**Z_BITS, h_s.head.in_channels)
        self.head = ExactConv("h_s.head", h_s.head.weight, h_s.head.bias, z, spans[0].unit)
        self.rate = ExactRate(h_s.rate.rows, spans[0].unit) if isinstance(h_s.rate, RateEmbedding) else None
        if self.rate is not None:
            activated(self.head.outputs.plus(self.rate.outputs, "h_s.head"), "h_s.head")
        self.up = nn.ModuleList()
        self.blocks = nn.Sequential()
        for i, block in enumerate(h_s.up):
            self.up.append(ExactUp(f"h_s.up.{i}", block, spans[i], spans[i + 1].unit, grids, lifting))
        for i, block in enumerate(h_s.blocks):
            self.blocks.append(ExactResidual(f"h_s.blocks.{i}", block, self.grids[1], grids))
        self.outputs = [FixedPointRange(0, max(0, span.unit), span.bounds * 2.0**-span.unit) for span in spans]

    def forward(self, z_hat: Tensor, quality: Tensor) -> list[Tensor]:
        """Expand the side information."""
        z = (z_hat.double() * 2.0**Z_BITS).round_().clamp_(-Z_LIMIT * 2**Z_BITS, Z_LIMIT * 2**Z_BITS)
        head = self.head(z)
        coarse = self.grids[0](leaky(head if self.rate is None else head.add_(self.rate(quality))))
        middle = self.blocks(self.grids[1](leaky(self.up[0](coarse))))
        fine = self.grids[2](leaky(self.up[1](middle)))
        return [x * 2.0**-grid.bits for x, grid in zip((coarse, middle, fine), self.grids, strict=True)]


def activated(span: FixedPointRange, name: str) -> FixedPointRange:
    """The span behind LeakyReLU."""
    return span._replace(bits=span.bits + SLOPE_BITS).assert_fits_float64(name)


class ExactRate(nn.Module):
    """Rows (8, C) of a rate table, interpolated at thousandths of a quality: (B,) -> (B, C, 1, 1), times 2^unit."""

    rows: Tensor

    def __init__(self, rows: Tensor, unit: Unit) -> None:
        super().__init__()
        self.unit = unit
        self.register_buffer("rows", (to_fixed_point(rows, RATE_BITS) * 2**RATE_BITS).long())
        bounds = self.rows.abs().amax(0) * 2.0 ** (unit - RATE_BITS)
        self.outputs = FixedPointRange(unit, max(0, RATE_BITS - unit), bounds)

    def forward(self, quality: Tensor) -> Tensor:
        """Interpolate in integers, halves rounded up."""
        place = ((quality.to(self.rows.device).double() - QUALITY_MIN) * 1000).round().long()  # 0 .. 7000
        left = (place // 1000).clamp(0, len(self.rows) - 2)
        weight = (place - 1000 * left)[:, None]
        total = self.rows[left] * (1000 - weight) + self.rows[left + 1] * weight  # (B, C)
        rounded = torch.div(2 * total + 1000, 2000, rounding_mode="floor")
        return (rounded.double() * 2.0 ** (self.unit - RATE_BITS))[:, :, None, None]


class ExactUp(nn.Module):
    """:class:`UpWeConvBlock` in integers; its output still waits for the activation and its grid."""

    def __init__(
        self,
        name: str,
        block: UpWeConvBlock,
        inputs: FixedPointRange,
        unit: Unit,
        grids: Grids,
        lifting: LiftingScheme | None,
    ) -> None:
        super().__init__()
        self.grid = grids[f"{name}.conv"]
        self.conv = ExactConv(f"{name}.conv", block.conv[0].weight, block.conv[0].bias, inputs, self.grid.bits)
        activated(self.conv.outputs, f"{name}.conv")
        self.skip = ExactConv(f"{name}.skip", block.skip[0].weight, block.skip[0].bias, inputs, unit)
        channels = self.conv.outputs.bounds.numel() // 4
        self.weconv = exact_layer(f"{name}.weconv", block.weconv, self.grid.span(channels), unit, lifting)
        skipped = self.skip.outputs._replace(bounds=self.skip.outputs.bounds.view(-1, 4).amax(1))
        activated(self.weconv.outputs.plus(skipped, name), name)

    def forward(self, x: Tensor) -> Tensor:
        """Double height and width."""
        inner = self.grid(leaky(self.conv(x))).unflatten(1, (-1, 2, 2))
        shuffled = x.new_empty(*inner.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
        _sub_pixels(shuffled).copy_(inner)  # faster than pixel_shuffle in float64
        y = self.weconv(shuffled)
        _sub_pixels(y).add_(self.skip(x).unflatten(1, (-1, 2, 2)))
        return y


def _sub_pixels(x: Tensor) -> Tensor:
    """See (B, C, 2h, 2w) as what a pixel shuffle makes it of: (B, C, 2, 2, h, w)."""
    return x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).permute(0, 1, 3, 5, 2, 4)


class ExactResidual(nn.Module):
    """:class:`ResidualBlock` in integers; input and output are on one grid."""

    def __init__(self, name: str, block: ResidualBlock, grid: ActivationQuantizer, grids: Grids) -> None:
        super().__init__()
        self.grid, inputs = grid, grid.span(block.conv1.in_channels)
        self.inner = grids[f"{name}.conv1"]
        self.conv1 = ExactConv(f"{name}.conv1", block.conv1.weight, block.conv1.bias, inputs, self.inner.bits)
        activated(self.conv1.outputs, f"{name}.conv1")
        inner = self.inner.span(block.conv1.out_channels)
        self.conv2 = ExactConv(f"{name}.conv2", block.conv2.weight, block.conv2.bias, inner, inputs.unit)
        self.conv2.outputs.plus(inputs, name)

    def forward(self, x: Tensor) -> Tensor:
        """Refine ``x`` by a residual."""
        return self.grid(self.conv2(self.inner(leaky(self.conv1(x)))).add_(x))


def exact_layer(
    name: str, layer: nn.Module, inputs: FixedPointRange, unit: Unit, lifting: LiftingScheme | None
) -> ExactConv | ExactWeConv:
    """Return a 3DM-WeConv layer, or the plain convolution in its place, in integers."""
    if isinstance(layer, WeConv3d):
        assert lifting is not None, "a seal names the wavelet of every 3DM-WeConv"
        return ExactWeConv(name, layer, inputs, unit, lifting)
    assert isinstance(layer, nn.Conv2d), "what can be sealed was checked before"
    return ExactConv(name, layer.weight, layer.bias, inputs, unit)


class ExactWeConv(nn.Module):
    """:class:`WeConv3d` in integers: lifting without gains, which cancel, around folded kernels."""

    bias: Tensor

    def __init__(self, name: str, layer: WeConv3d, inputs: FixedPointRange, unit: Unit, lifting: LiftingScheme) -> None:
        super().__init__()
        self.lifting, self.levels = lifting, layer.levels
        low, *high = folded_kernels(name, layer)
        bands = FixedPointRange.of(inputs.unit, 0, BAND_LIMIT, layer.low_weight.shape[1]) if layer.levels else inputs
        self.low = ExactConv(f"{name}.low", low, None, bands, unit)
        self.high = nn.ModuleList(
            ExactConv(f"{name}.high.{i}", kernel, None, bands, unit) for i, kernel in enumerate(high)
        )
        assert layer.bias is not None, "the layers of a model have one"
        self.register_buffer("bias", (to_fixed_point(layer.bias) * 2.0**unit)[:, None, None])
        bits, factor = growth(lifting)
        largest = torch.stack([conv.outputs.bounds for conv in (self.low, *self.high)]).amax(0) + 1
        FixedPointRange(
            unit, max(bits * layer.levels, COEFFICIENT_BITS), largest * factor**layer.levels
        ).assert_fits_float64(name)
        joined = FixedPointRange.of(unit, bits * layer.levels, BAND_LIMIT, len(largest))
        self.outputs = joined.plus(FixedPointRange(unit, max(0, WEIGHT_BITS - unit), self.bias.flatten().abs()), name)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, in, H, W) -> (B, out, H, W)."""
        details = []
        for level in range(self.levels):
            x, *bands = (band.round_().clamp_(-BAND_LIMIT, BAND_LIMIT) for band in split(x, self.lifting))
            kernels = self.high[3 * level : 3 * level + 3]
            details.append([kernel(band).round_() for kernel, band in zip(kernels, bands, strict=True)])
        x = self.low(x).round_()
        for bands in reversed(details):
            x = join((x, *bands), self.lifting)
        return x.clamp_(-BAND_LIMIT, BAND_LIMIT).add_(self.bias)


def folded_kernels(name: str, layer: WeConv3d) -> list[Tensor]:
    """Return the kernels of LL, then of every level's HL, LH and HH, with the channel DWT inside, in exact float64."""
    high = layer.high_weight.split(len(layer.low_weight)) if layer.levels else ()
    kernels = [to_fixed_point(kernel, FOLDED_BITS) for kernel in (layer.low_weight, *high)]
    if not layer.channel_dwt:
        return kernels
    analysis, synthesis = integer_matrix(layer.in_split.matrices()[0]), integer_matrix(layer.out_split.matrices()[1])
    folded = []
    for kernel in kernels:
        sums = torch.einsum("po,oikl,iq->pqkl", synthesis.abs(), kernel.abs(), analysis.abs())
        FixedPointRange(0, FOLDED_BITS + 24, sums.flatten()).assert_fits_float64(f"{name} (its folded kernel)")
        folded.append(torch.einsum("po,oikl,iq->pqkl", synthesis, kernel, analysis))
    return folded
