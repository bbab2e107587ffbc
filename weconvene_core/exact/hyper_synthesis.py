"""h_s in fixed point: from z_hat to the hyper features of all three resolutions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weconvene_core.exact.fixed_point import (
    WEIGHT_BITS,
    ActivationQuantizer,
    ExactConv,
    FixedPointRange,
    IntegerPathSpec,
    to_fixed_point,
)
from weconvene_core.exact.integer_lifting import COEFFICIENT_BITS, growth, integer_matrix, join, lifting_of, split
from weconvene_core.lambdas import QUALITY_MIN
from weconvene_core.layers import RateEmbedding, ResidualBlock, UpWeConvBlock, WeConv3d
from weconvene_core.model.transforms import HyperSynthesis
from weconvene_core.wavelets import LiftingScheme

Z_BITS, Z_LIMIT = 8, 2.0**9  # z_hat: multiples of 1/256, at most 512
RATE_BITS = 16
BAND_LIMIT = 2.0**17  # of what goes into a 3DM-WeConv's kernels and comes out of them: four times an activation's
FOLDED_BITS = 18  # of a kernel before the channel DWT is put into it: 18 + 12 + 12 bits leave ten for the sums


class ExactHyperSynthesis(nn.Module):
    """:class:`HyperSynthesis` in fixed point; ``outputs`` say what the hyper features may hold, coarsest first."""

    def __init__(self, h_s: HyperSynthesis, spec: IntegerPathSpec, wavelet: str) -> None:
        super().__init__()
        self.quantizers = [spec.quantizer(f"h_s.{name}") for name in ("head", "up.0", "up.1")]
        ranges = [quantizer.range(h_s.head.out_channels) for quantizer in self.quantizers]
        z = FixedPointRange.of(Z_BITS, 0, Z_LIMIT * 2**Z_BITS, h_s.head.in_channels)
        unit = self.quantizers[0].bits
        self.head = ExactConv("h_s.head", h_s.head.weight, h_s.head.bias, z, unit)
        self.rate = ExactRate(h_s.rate.rows, unit) if isinstance(h_s.rate, RateEmbedding) else None
        head = self.head.outputs if self.rate is None else self.head.outputs.plus(self.rate.outputs, "h_s.head")
        self.quantizers[0].check(head)
        self.up, lifting = nn.ModuleList(), lifting_of(wavelet, spec.wavelets)
        for i, block in enumerate(h_s.up):
            self.up.append(ExactUp(f"h_s.up.{i}", block, ranges[i], self.quantizers[i + 1], spec, lifting))
        self.blocks = nn.Sequential()
        for i, block in enumerate(h_s.blocks):
            self.blocks.append(ExactResidual(f"h_s.blocks.{i}", block, self.quantizers[1], spec))
        self.outputs = [FixedPointRange(0, max(0, r.unit), r.bounds * 2.0**-r.unit) for r in ranges]

    def forward(self, z_hat: Tensor, quality: Tensor) -> list[Tensor]:
        """Expand the side information, z_hat (B, z_channels, h/4, w/4) at qualities (B,), in float64."""
        z = (z_hat.double() * 2.0**Z_BITS).round_().clamp_(-Z_LIMIT * 2**Z_BITS, Z_LIMIT * 2**Z_BITS)
        head = self.head(z)
        coarse = self.quantizers[0](head if self.rate is None else head.add_(self.rate(quality)))
        middle = self.blocks(self.up[0](coarse))
        levels = coarse, middle, self.up[1](middle)
        return [x * 2.0**-quantizer.bits for x, quantizer in zip(levels, self.quantizers, strict=True)]


class ExactRate(nn.Module):
    """:class:`RateEmbedding` in integers: rows (8, C), interpolated at thousandths of a quality, times 2^unit."""

    rows: Tensor

    def __init__(self, rows: Tensor, unit: int) -> None:
        super().__init__()
        self.unit = unit
        self.register_buffer("rows", (to_fixed_point(rows, RATE_BITS) * 2**RATE_BITS).long())
        bounds = self.rows.abs().amax(0) * 2.0 ** (unit - RATE_BITS)
        self.outputs = FixedPointRange(unit, max(0, RATE_BITS - unit), bounds)

    def forward(self, quality: Tensor) -> Tensor:
        """Interpolate for qualities (B,), halves rounded up: (B, C, 1, 1)."""
        place = ((quality.to(self.rows.device).double() - QUALITY_MIN) * 1000).round().long()  # 0 .. 7000
        left = (place // 1000).clamp(0, len(self.rows) - 2)
        weight = (place - 1000 * left)[:, None]
        total = self.rows[left] * (1000 - weight) + self.rows[left + 1] * weight  # (B, C)
        rounded = torch.div(2 * total + 1000, 2000, rounding_mode="floor")
        return (rounded.double() * 2.0 ** (self.unit - RATE_BITS))[:, :, None, None]


class ExactUp(nn.Module):
    """:class:`UpWeConvBlock` in fixed point, and the quantizer ``output`` behind it."""

    def __init__(
        self, name: str, block: UpWeConvBlock, inputs: FixedPointRange, output: ActivationQuantizer,
        spec: IntegerPathSpec, lifting: LiftingScheme,
    ) -> None:  # fmt: skip
        super().__init__()
        self.inner, self.output = spec.quantizer(f"{name}.conv"), output
        self.conv = ExactConv(f"{name}.conv", block.conv[0].weight, block.conv[0].bias, inputs, self.inner.bits)
        self.inner.check(self.conv.outputs)
        self.skip = ExactConv(f"{name}.skip", block.skip[0].weight, block.skip[0].bias, inputs, output.bits)
        layer, shuffled = block.weconv, self.inner.range(len(block.conv[0].weight) // 4)
        if isinstance(layer, WeConv3d):
            self.weconv = ExactWeConv(f"{name}.weconv", layer, shuffled, output.bits, lifting)
        else:
            self.weconv = ExactConv(f"{name}.weconv", layer.weight, layer.bias, shuffled, output.bits)
        skipped = self.skip.outputs._replace(bounds=self.skip.outputs.bounds.view(-1, 4).amax(1))
        output.check(self.weconv.outputs.plus(skipped, name))

    def forward(self, x: Tensor) -> Tensor:
        """Double height and width."""
        inner = F.pixel_shuffle(self.inner(self.conv(x)), 2)
        return self.output(self.weconv(inner).add_(F.pixel_shuffle(self.skip(x), 2)))


class ExactResidual(nn.Module):
    """:class:`ResidualBlock` in fixed point; input and output have the range of the quantizer ``output``."""

    def __init__(self, name: str, block: ResidualBlock, output: ActivationQuantizer, spec: IntegerPathSpec) -> None:
        super().__init__()
        self.inner, self.output = spec.quantizer(f"{name}.conv1"), output
        inputs, inner = output.range(block.conv1.in_channels), self.inner.range(block.conv1.out_channels)
        self.conv1 = ExactConv(f"{name}.conv1", block.conv1.weight, block.conv1.bias, inputs, self.inner.bits)
        self.inner.check(self.conv1.outputs)
        self.conv2 = ExactConv(f"{name}.conv2", block.conv2.weight, block.conv2.bias, inner, output.bits)
        self.conv2.outputs.plus(inputs, name)

    def forward(self, x: Tensor) -> Tensor:
        """Refine ``x`` by a residual."""
        return self.output.quantise(self.conv2(self.inner(self.conv1(x))).add_(x))


class ExactWeConv(nn.Module):
    """:class:`WeConv3d` in fixed point: lifting without gains, which cancel, around folded kernels."""

    bias: Tensor

    def __init__(self, name: str, layer: WeConv3d, inputs: FixedPointRange, unit: int, lifting: LiftingScheme) -> None:
        super().__init__()
        self.lifting, self.levels = lifting, layer.levels
        low, *high = folded_kernels(name, layer)
        bands = FixedPointRange.of(inputs.unit, 0, BAND_LIMIT, layer.low_weight.shape[1]) if layer.levels else inputs
        self.low = ExactConv(f"{name}.low", low, None, bands, unit)
        convs = (ExactConv(f"{name}.high.{i}", kernel, None, bands, unit) for i, kernel in enumerate(high))
        self.high = nn.ModuleList(convs)
        self.register_buffer("bias", (to_fixed_point(layer.bias) * 2.0**unit)[:, None, None])
        # the inverse DWT: bits below the point and magnitudes grow with every level
        bits, factor = growth(lifting)
        largest = torch.stack([conv.outputs.bounds for conv in (self.low, *self.high)]).amax(0) + 1
        most_bits = max(bits * layer.levels, COEFFICIENT_BITS)
        FixedPointRange(unit, most_bits, largest * factor**layer.levels).assert_fits_float64(name)
        joined = FixedPointRange.of(unit, bits * layer.levels, BAND_LIMIT, len(largest))
        self.outputs = joined.plus(FixedPointRange(unit, max(0, WEIGHT_BITS - unit), self.bias.flatten().abs()), name)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, in, H, W) -> (B, out, H, W)."""
        details = []
        for level in range(self.levels):  # LL goes on to the next level, HL, LH and HH to their kernels
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
