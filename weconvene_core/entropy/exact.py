"""Integer arithmetic carried in float64: what a decoder must compute as the encoder did, to the last bit (ours).

Every number here is an integer times a power of two, of fewer than 53 significant bits. So no sum or product is ever
rounded, and threads, batch, library or processor cannot change a bit. Each layer proves it when it is built, from the
largest number that can reach it (:class:`Span`). Activations are rounded to 16 bits at stated places (:class:`Grid`);
half-precision kernels are integers times a power of two as they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weconvene_core.errors import WeconveneError
from weconvene_core.layers import SLOPE

EXACT_BELOW = 2.0**52  # in units of the last place; float64 carries one bit more
WEIGHT_BITS = 18  # kernels and biases are multiples of 2^-18
ACTIVATION_LIMIT = 2**15 - 1
DRAFT_BITS, DRAFT_LIMIT = 6, 2**17 - 1  # while the ranges of activations are still being measured: up to 2048
SLOPE_BITS = 4  # LeakyReLU divides by 16
STRIP = 96  # tiles that the fast 3x3 convolution handles at once, so that they stay in the cache


class Span(NamedTuple):
    """What a tensor may hold, channel by channel: real values times 2^``unit``.

    As carried, they are multiples of 2^-``bits``, in channel c at most ``bounds[c]`` in magnitude.
    """

    unit: int
    bits: int
    bounds: Tensor

    @classmethod
    def of(cls, unit: int, bits: int, bound: float, channels: int) -> Span:
        """A span with the same bound in every channel."""
        return cls(unit, bits, torch.full((channels,), float(bound), dtype=torch.float64))

    def proved(self, name: str) -> Span:
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

    def plus(self, other: Span, name: str) -> Span:
        """The span of a sum of two tensors of the same unit."""
        return Span(self.unit, max(self.bits, other.bits), self.bounds + other.bounds).proved(name)


def beside(*spans: Span) -> Span:
    """The span of tensors of the same unit, concatenated along the channels."""
    return Span(spans[0].unit, max(span.bits for span in spans), torch.cat([span.bounds for span in spans]))


class Grid:
    """Where activations are rounded: multiples of 2^-``bits``, at most ``limit`` of them; as carried, integers."""

    def __init__(self, bits: int, limit: float = ACTIVATION_LIMIT, observed: bool = False) -> None:
        self.bits, self.limit, self.observed, self.peak = bits, limit, observed, 0.0

    def __call__(self, x: Tensor) -> Tensor:
        """Round half to even, in place; ``x`` comes in units of 2^-``bits``."""
        x = x.round_().clamp_(-self.limit, self.limit)
        if self.observed:
            self.peak = max(self.peak, x.abs().max().item() * 2.0**-self.bits)
        return x

    def span(self, channels: int) -> Span:
        """What it lets through."""
        return Span.of(self.bits, 0, self.limit, channels)


class Grids:
    """The grids of a model by name; without ``bits`` they are drafts that note the largest activation they see."""

    def __init__(self, bits: Mapping[str, int] | None) -> None:
        self.bits, self.drafts = bits, dict[str, Grid]()

    def __getitem__(self, name: str) -> Grid:
        """Return the grid of a place in the network.

        Raises
        ------
        WeconveneError
            If the seal has none for it.
        """
        if self.bits is None:
            return self.drafts.setdefault(name, Grid(DRAFT_BITS, DRAFT_LIMIT, observed=True))
        if name not in self.bits:
            raise WeconveneError(f"The checkpoint's seal knows nothing of {name}: seal it again.")
        return Grid(self.bits[name])


def on_grid(x: Tensor, bits: int = WEIGHT_BITS) -> Tensor:
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
        self, name: str, weight: Tensor, bias: Tensor | None, inputs: Span, unit: int | Tensor
    ) -> None:
        super().__init__()
        self.size = weight.shape[-1]
        if weight.shape[-2:] not in ((1, 1), (3, 3)):
            raise WeconveneError(f"Layer {name} has a kernel of {tuple(weight.shape[-2:])}: 1x1 and 3x3 can be sealed.")
        kernel, offset = on_grid(weight), on_grid(torch.zeros(len(weight)) if bias is None else bias)
        self.fingerprint = fingerprint(kernel, offset)
        units = torch.as_tensor(unit, dtype=torch.float64).expand(len(weight))
        kernel, offset = kernel * 2.0 ** (units - inputs.unit)[:, None, None, None], offset * 2.0**units
        of_bias = WEIGHT_BITS - int(units.min())
        bits = max(0, of_bias, of_bias + inputs.unit + inputs.bits)
        bounds = torch.einsum("oikl,i->o", kernel.abs(), inputs.bounds) + offset.abs()
        self.outputs = Span(int(units.min()), bits, bounds).proved(name)
        self.register_buffer("kernel", _to_tiles(name, kernel, bits, inputs) if self.size == 3 else kernel[:, :, 0, 0])
        self.register_buffer("bias", offset[:, None])

    def forward(self, x: Tensor) -> Tensor:
        """Convolve."""
        y = x.new_empty(len(x), len(self.bias), *x.shape[2:])
        for image, out in zip(x, y, strict=True):
            if self.size == 3:
                _convolve(image, self.kernel, self.bias, out)
            else:
                torch.addmm(self.bias, self.kernel, image.flatten(1), out=out.flatten(1))
        return y


# Winograd's minimal filtering F(2x2, 3x3) (Lavin and Gray 2016): 16 products for 4 outputs instead of 36. In floating
# point it costs digits; on integers it is exact, once the halves in its kernel transform are counted as two more bits.
# Rows and columns of a tile are ordered so that a transform takes three operations.
_TO_TILE = ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5))
_FROM_TILE = ((1.0, 0.0, 1.0, 1.0), (0.0, -1.0, 1.0, -1.0))


def _to_tiles(name: str, kernel: Tensor, bits: int, inputs: Span) -> Tensor:
    """Transform (out, in, 3, 3) -> (16, out, in) and prove the sums between."""
    forth, back = (torch.tensor(rows, dtype=torch.float64) for rows in (_TO_TILE, _FROM_TILE))
    tiles = torch.einsum("ak,bl,oikl->aboi", forth, forth, kernel)
    # an input's transform adds up two samples along either axis
    sums = torch.einsum("pa,qb,aboi,i->pqo", back.abs(), back.abs(), tiles.abs(), 4 * inputs.bounds)
    Span(0, bits + 2, sums.flatten()).proved(name)
    return tiles.flatten(0, 1).contiguous()


def _convolve(x: Tensor, kernel: Tensor, bias: Tensor, y: Tensor) -> None:
    """Convolve (in, H, W) into (out, H, W), some rows of 2x2 tiles at a time."""
    channels, height, width = x.shape
    rows, columns = -(-height // 2), -(-width // 2)
    pairs = x.new_zeros(2, channels, 2 * rows + 2, columns + 1)  # even and odd columns, with a border of zeros
    pairs[0, :, 1 : height + 1, 1 : 1 + width // 2] = x[:, :, 1::2]
    pairs[1, :, 1 : height + 1, :columns] = x[:, :, ::2]
    fits = height % 2 == 0 and width % 2 == 0
    whole = y if fits else x.new_empty(len(y), 2 * rows, 2 * columns)
    cells = whole.view(len(y), rows, 2, columns, 2)
    step = max(1, STRIP // columns)
    for top in range(0, rows, step):
        strip = pairs[:, :, 2 * top : 2 * min(top + step, rows) + 2]
        _convolve_strip(strip, kernel, bias, cells[:, top : top + step])
    if not fits:
        y.copy_(whole[:, :height, :width])


def _convolve_strip(pairs: Tensor, kernel: Tensor, bias: Tensor, y: Tensor) -> None:
    """Convolve column pairs (2, in, 2 r + 2, c + 1) into cells (out, r, 2, c, 2)."""
    channels, (out, rows, _, columns, _) = pairs.shape[1], y.shape
    wide = pairs.new_empty(4, channels, 2 * rows + 2, columns)
    _forth(pairs[..., :-1], pairs[..., 1:], wide)
    row_pairs = wide.view(4, channels, rows + 1, 2, columns).permute(3, 0, 1, 2, 4)
    tiles = pairs.new_empty(4, 4, channels, rows, columns)
    _forth(row_pairs[..., :-1, :], row_pairs[..., 1:, :], tiles)
    products = torch.bmm(kernel, tiles.view(16, channels, -1)).view(4, 4, out, rows, columns)
    products[2, 2] += bias[:, :, None]  # which all four outputs contain once
    halves, cells = pairs.new_empty(2, 4, out, rows, columns), pairs.new_empty(2, 2, out, rows, columns)
    _back(products, halves)
    _back(halves.transpose(0, 1), cells)
    y.copy_(cells.permute(2, 3, 1, 4, 0))  # (2, 2, out, r, c) -> (out, r, 2, c, 2)


def _forth(near: Tensor, far: Tensor, out: Tensor) -> None:
    """Four neighbouring samples along an axis, a pair (2, ...) and the next, into their transform (4, ...)."""
    torch.sub(near, far, out=out[:2])
    torch.add(near[1], far[0], out=out[2])
    torch.sub(far[0], near[1], out=out[3])


def _back(products: Tensor, out: Tensor) -> None:
    """Products (4, ...) into two neighbouring outputs (2, ...)."""
    torch.add(products[2], products[3], out=out[0]).add_(products[0])
    torch.sub(products[2], products[3], out=out[1]).sub_(products[1])
