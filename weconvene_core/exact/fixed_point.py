"""Integer arithmetic carried in float64: what a decoder must compute as the encoder did, to the last bit (ours).

Every number here is an integer times a power of two, of fewer than 53 significant bits. So no sum or product is ever
rounded, and threads, batch, library or processor cannot change a bit. Each layer proves it when it is built, from the
largest number that can reach it (:class:`FixedPointRange`). Activations are rounded to 16 bits at stated places
(:class:`ActivationQuantizer`),
kernels to 2^-18, those of 3x3 to what their sums can hold.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weconvene_core.errors import WeconveneError
from weconvene_core.exact.winograd import TILE_BITS, TIMES, convolve, largest_sums, tiles_of
from weconvene_core.layers import SLOPE

EXACT_BELOW = 2.0**52  # in units of the last place; float64 carries one bit more
WEIGHT_BITS = 18  # kernels and biases are multiples of 2^-18
FEWEST_BITS = 8  # of a 3x3 kernel, which has as many up to 18 as its sums can hold
ACTIVATION_LIMIT = 2**15 - 1
DRAFT_BITS, DRAFT_LIMIT = 6, 2**17 - 1  # while the ranges of activations are still being measured: up to 2048
SLOPE_BITS = 4  # LeakyReLU divides by 16


class FixedPointRange(NamedTuple):
    """What a tensor may hold, channel by channel: real values times 2^``unit``.

    As carried, they are multiples of 2^-``bits``, in channel c at most ``bounds[c]`` in magnitude.
    """

    unit: int
    bits: int
    bounds: Tensor

    @classmethod
    def of(cls, unit: int, bits: int, bound: float, channels: int) -> FixedPointRange:
        """A span with the same bound in every channel."""
        return cls(unit, bits, torch.full((channels,), float(bound), dtype=torch.float64))

    def assert_fits_float64(self, name: str) -> FixedPointRange:
        """Return itself where float64 holds every such number.

        Raises
        ------
        WeconveneError
            Where it does not.
        """
        if not self.bounds.max().item() * 2.0**self.bits < EXACT_BELOW:
            raise WeconveneError(
                f"Layer {name} cannot be computed exactly: its sums may need more than 52 bits; its weights are too "
                "large, so train it further or with more weight decay."
            )
        return self

    def plus(self, other: FixedPointRange, name: str) -> FixedPointRange:
        """The span of a sum of two tensors of the same unit."""
        return FixedPointRange(self.unit, max(self.bits, other.bits), self.bounds + other.bounds).assert_fits_float64(
            name
        )


def beside(*spans: FixedPointRange) -> FixedPointRange:
    """The span of tensors of the same unit, concatenated along the channels."""
    return FixedPointRange(spans[0].unit, max(span.bits for span in spans), torch.cat([span.bounds for span in spans]))


class ActivationQuantizer:
    """Where activations are rounded: multiples of 2^-``bits``, at most ``limit`` of them; as carried, integers."""

    def __init__(self, bits: int, limit: float = ACTIVATION_LIMIT, observed: bool = False) -> None:
        self.bits, self.limit, self.observed, self.peak = bits, limit, observed, 0.0

    def __call__(self, x: Tensor) -> Tensor:
        """Round half to even, in place; ``x`` comes in units of 2^-``bits``."""
        x = x.round_().clamp_(-self.limit, self.limit)
        if self.observed:
            self.peak = max(self.peak, x.abs().max().item() * 2.0**-self.bits)
        return x

    def span(self, channels: int) -> FixedPointRange:
        """What it lets through."""
        return FixedPointRange.of(self.bits, 0, self.limit, channels)


class Grids:
    """The grids of a model by name; without ``bits`` they are drafts that note the largest activation they see."""

    def __init__(self, bits: Mapping[str, int] | None) -> None:
        self.bits, self.drafts = bits, dict[str, ActivationQuantizer]()

    def __getitem__(self, name: str) -> ActivationQuantizer:
        """Return the grid of a place in the network.

        Raises
        ------
        WeconveneError
            If the seal has none for it.
        """
        if self.bits is None:
            return self.drafts.setdefault(name, ActivationQuantizer(DRAFT_BITS, DRAFT_LIMIT, observed=True))
        if name not in self.bits:
            raise WeconveneError(f"The checkpoint's seal knows nothing of {name}: seal it again.")
        return ActivationQuantizer(self.bits[name])


def to_fixed_point(x: Tensor, bits: int = WEIGHT_BITS) -> Tensor:
    """Round to multiples of 2^-``bits``, in float64."""
    return (x.detach().double() * 2.0**bits).round() * 2.0**-bits


def fingerprint(*tensors: Tensor) -> bytes:
    """Return a hash of the shapes and numbers of tensors."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.digest()


def leaky(x: Tensor) -> Tensor:
    """LeakyReLU in place; its slope is a power of two."""
    return F.leaky_relu_(x, SLOPE)


class ExactConv(nn.Module):
    """A 1x1 or 3x3 convolution of stride 1, (B, in, H, W) -> (B, out, H, W), whose sums are exact.

    Parameters
    ----------
    name : what an error calls it.
    weight, bias : (out, in, k, k) and (out,) or None, as trained.
    inputs : what may come in.
    unit : the output is carried times 2^unit; one number, or (out,) of them.

    Attributes
    ----------
    weight_bits : the kernel is rounded to multiples of 2^-``weight_bits``.
    outputs : what may come out.
    fingerprint : of its integers, however they are arranged here.

    Raises
    ------
    WeconveneError
        If its sums may need more bits than float64 has, or the kernel has another size.
    """

    kernel: Tensor
    bias: Tensor

    def __init__(
        self, name: str, weight: Tensor, bias: Tensor | None, inputs: FixedPointRange, unit: int | Tensor
    ) -> None:
        super().__init__()
        self.size = weight.shape[-1]
        if weight.shape[-2:] not in ((1, 1), (3, 3)):
            raise WeconveneError(f"Layer {name} has a kernel of {tuple(weight.shape[-2:])}: 1x1 and 3x3 can be sealed.")
        self.weight_bits = _bits_of_3x3(weight, inputs) if self.size == 3 else WEIGHT_BITS
        kernel = to_fixed_point(weight, self.weight_bits)
        offset = to_fixed_point(torch.zeros(len(weight)) if bias is None else bias)
        self.fingerprint = fingerprint(kernel, offset)
        units = torch.as_tensor(unit, dtype=torch.float64).expand(len(weight))
        kernel, offset = kernel * 2.0 ** (units - inputs.unit)[:, None, None, None], offset * 2.0**units
        lowest = int(units.min())
        of_bias, of_products = WEIGHT_BITS - lowest, self.weight_bits - lowest + inputs.unit + inputs.bits
        bounds = torch.einsum("oikl,i->o", kernel.abs(), inputs.bounds) + offset.abs()
        self.outputs = FixedPointRange(lowest, max(0, of_bias, of_products), bounds).assert_fits_float64(name)
        if self.size == 3:
            sums = largest_sums(kernel, inputs.bounds) + TIMES * offset.abs()
            FixedPointRange(lowest, max(0, of_bias, of_products + TILE_BITS), sums).assert_fits_float64(name)
        self.register_buffer("kernel", tiles_of(kernel) if self.size == 3 else kernel[:, :, 0, 0])
        self.register_buffer("bias", offset[:, None])

    def forward(self, x: Tensor) -> Tensor:
        """Convolve."""
        y = x.new_empty(len(x), len(self.bias), *x.shape[2:])
        for image, out in zip(x, y, strict=True):
            if self.size == 3:
                convolve(image, self.kernel, self.bias, out)
            else:
                torch.addmm(self.bias, self.kernel, image.flatten(1), out=out.flatten(1))
        return y


def _bits_of_3x3(weight: Tensor, inputs: FixedPointRange) -> int:
    """How many bits below the point a kernel may have; one is left for the bias and the rounding of the kernel.

    A machine whose sums of bounds fell on the other side of a power of two would not have the seal's hash.
    """
    largest = max(1.0, largest_sums(weight.detach().double(), inputs.bounds).max().item())
    spare = math.floor(math.log2(EXACT_BELOW / largest)) - TILE_BITS - inputs.bits - 1
    return min(WEIGHT_BITS, max(FEWEST_BITS, spare))
