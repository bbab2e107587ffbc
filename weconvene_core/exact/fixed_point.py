"""Fixed-point arithmetic in float64, so that a decoder repeats to the last bit what the encoder computed (ours).

float64 holds all integers below 2^53, so sums of integers below it are exact in any order: threads, batch size, library
and processor cannot change a bit. Each layer checks this once, from the largest values that its inputs can take.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weconvene_core.errors import WeconveneError
from weconvene_core.layers import SLOPE

ARITHMETIC = 2  # a change of what the integers do needs another number
EXACT_BELOW = 2.0**52  # in units of the last place; float64 carries one bit more
WEIGHT_BITS = 18  # kernels and biases are multiples of 2^-18
FEWEST_BITS = 8  # of a 3x3 kernel, which has as many up to 18 as its sums can hold
ACTIVATION_LIMIT = 2**15 - 1  # 16 bits with a sign
HEADROOM = 2.0  # how much larger than any measured activation one may become before it saturates
MOST_BITS = 24  # of an activation below the point
DRAFT_BITS, DRAFT_LIMIT = 6, 2**17 - 1  # while activations are being measured: up to 2048
SLOPE_BITS = 4  # LeakyReLU divides by 16


def to_fixed_point(x: Tensor, bits: int = WEIGHT_BITS) -> Tensor:
    """Round to multiples of 2^-``bits``, in float64."""
    return (x.detach().double() * 2.0**bits).round() * 2.0**-bits


def tensors_digest(*tensors: Tensor) -> bytes:
    """Return the SHA-256 of the shapes, types and numbers of tensors."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.digest()


class FixedPointRange(NamedTuple):
    """Range and precision of a tensor (B, C, H, W): real values, carried as ``value * 2**unit``.

    As carried, they are multiples of 2^-``bits``, and in channel c at most ``bounds[c]`` in magnitude.
    """

    unit: int
    bits: int
    bounds: Tensor

    @classmethod
    def of(cls, unit: int, bits: int, bound: float, channels: int) -> FixedPointRange:
        """Return a range with the same bound in every channel."""
        return cls(unit, bits, torch.full((channels,), float(bound), dtype=torch.float64))

    def assert_fits_float64(self, name: str) -> FixedPointRange:
        """Return the range itself; a ``WeconveneError`` names the layer whose numbers float64 may not hold exactly."""
        if not self.bounds.max().item() * 2.0**self.bits < EXACT_BELOW:
            raise WeconveneError(
                f"Layer {name} cannot be computed exactly: its sums may need more than 52 bits; its weights are too "
                "large, so train it further or with more weight decay."
            )
        return self

    def plus(self, other: FixedPointRange, name: str) -> FixedPointRange:
        """Return the range of a sum of two tensors of the same unit, checked by :meth:`assert_fits_float64`."""
        bits = max(self.bits, other.bits)
        return FixedPointRange(self.unit, bits, self.bounds + other.bounds).assert_fits_float64(name)

    def beside(self, *others: FixedPointRange) -> FixedPointRange:
        """Return the range of tensors of the same unit, concatenated along the channels."""
        _, bits, bounds = zip(self, *others, strict=True)
        return FixedPointRange(self.unit, max(bits), torch.cat(bounds))


class ActivationQuantizer:
    """LeakyReLU and rounding to 16-bit integers, which stand for multiples of 2^-``bits``; behind the layer ``name``.

    During calibration ``bits`` is None: the range is then wide, and ``peak`` notes the largest activation.
    """

    def __init__(self, name: str, bits: int | None) -> None:
        self.name, self.measures, self.peak = name, bits is None, 0.0
        self.bits, self.limit = (DRAFT_BITS, DRAFT_LIMIT) if bits is None else (bits, ACTIVATION_LIMIT)

    def __call__(self, x: Tensor) -> Tensor:
        """Activate and quantise ``x``, in units of 2^-``bits``, in place."""
        return self.quantise(F.leaky_relu_(x, SLOPE))

    def quantise(self, x: Tensor) -> Tensor:
        """Round halves to even and saturate, in place."""
        x = x.round_().clamp_(-self.limit, self.limit)
        if self.measures:
            self.peak = max(self.peak, x.abs().max().item() * 2.0**-self.bits)
        return x

    def fitting_bits(self) -> int:
        """Return the bits below the point that leave headroom above the measured peak."""
        if self.peak >= self.limit * 2.0**-self.bits:
            raise WeconveneError(f"Layer {self.name} cannot be calibrated: it exceeds {self.peak:g}; train it further.")
        return min(MOST_BITS, math.floor(math.log2(ACTIVATION_LIMIT / max(HEADROOM * self.peak, 1e-3))))

    def check(self, inputs: FixedPointRange) -> None:
        """Check that LeakyReLU is exact on ``inputs``."""
        inputs._replace(bits=inputs.bits + SLOPE_BITS).assert_fits_float64(self.name)

    def range(self, channels: int) -> FixedPointRange:
        """Return the range of the output."""
        return FixedPointRange.of(self.bits, 0, self.limit, channels)


@dataclass(frozen=True)
class IntegerPathSpec:
    """What a checkpoint stores of its integer path beside the weights: integers only, so that nothing is rounded anew.

    Attributes
    ----------
    activation_bits : ``bits`` of every :class:`ActivationQuantizer` by name; None during calibration.
    wavelets : lifting steps by wavelet (see :func:`.integer_lifting`).
    thresholds, tanh : ascending; see :class:`.ExactSliceNetwork`.
    quantizers : those that were handed out, by name.
    """

    activation_bits: Mapping[str, int] | None
    wavelets: Mapping[str, Any]
    thresholds: tuple[int, ...]
    tanh: tuple[int, ...]
    quantizers: dict[str, ActivationQuantizer] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON values that a checkpoint stores."""
        numbers = {"thresholds": self.thresholds, "tanh": self.tanh}
        return {"grids": self.activation_bits, "wavelets": self.wavelets, **numbers, "arithmetic": ARITHMETIC}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> IntegerPathSpec:
        """Read the values of :meth:`to_dict`; damage raises an error of Python's here, or when networks are made."""
        if values["arithmetic"] != ARITHMETIC:
            raise ValueError(f"arithmetic {values['arithmetic']!r} instead of {ARITHMETIC}")
        return cls(dict(values["grids"]), dict(values["wavelets"]), tuple(values["thresholds"]), tuple(values["tanh"]))

    def quantizer(self, name: str) -> ActivationQuantizer:
        """Return the quantizer behind a layer; ``KeyError`` if there is none."""
        bits = None if self.activation_bits is None else self.activation_bits[name]
        return self.quantizers.setdefault(name, ActivationQuantizer(name, bits))


class ExactConv(nn.Module):
    """A 1x1 or 3x3 convolution of stride 1 in fixed point, (B, in, H, W) -> (B, out, H, W); 3x3 by Winograd.

    Parameters
    ----------
    weight, bias : (out, in, k, k) and (out,) or None, as trained; the kernel is rounded to 2^-``weight_bits``.
    inputs : what may come in; ``outputs`` is what may come out.
    unit : the output is carried times 2^unit; a tensor (out,) has one for each channel.

    Raises
    ------
    WeconveneError
        If a sum may not fit into float64, or the kernel has another size.
    """

    kernel: Tensor
    bias: Tensor

    def __init__(
        self, name: str, weight: Tensor, bias: Tensor | None, inputs: FixedPointRange, unit: int | Tensor
    ) -> None:
        super().__init__()
        self.size = weight.shape[-1]
        if weight.shape[-2:] not in ((1, 1), (3, 3)):
            raise WeconveneError(f"Layer {name} has a kernel of {tuple(weight.shape[-2:])}: 1x1 and 3x3 can be exact.")
        self.weight_bits = _bits_of_3x3(weight, inputs) if self.size == 3 else WEIGHT_BITS
        kernel = to_fixed_point(weight, self.weight_bits)
        offset = to_fixed_point(torch.zeros(len(weight)) if bias is None else bias)
        self.digest = tensors_digest(kernel, offset)
        # scale the rows, so that inputs in their unit give outputs in theirs
        units = torch.as_tensor(unit, dtype=torch.float64).expand(len(weight))
        kernel, offset = kernel * 2.0 ** (units - inputs.unit)[:, None, None, None], offset * 2.0**units
        # the largest sum of a channel: every input at its bound, with the sign of its weight
        lowest = int(units.min())
        of_bias, of_products = WEIGHT_BITS - lowest, self.weight_bits - lowest + inputs.unit + inputs.bits
        bounds = torch.einsum("oikl,i->o", kernel.abs(), inputs.bounds) + offset.abs()
        self.outputs = FixedPointRange(lowest, max(0, of_bias, of_products), bounds).assert_fits_float64(name)
        if self.size == 3:  # the transformed domain needs more bits
            sums = largest_sums(kernel, inputs.bounds) + TIMES * offset.abs()
            FixedPointRange(lowest, max(0, of_bias, of_products + TILE_BITS), sums).assert_fits_float64(name)
        self.register_buffer("kernel", tiles_of(kernel) if self.size == 3 else kernel[:, :, 0, 0])
        self.register_buffer("bias", offset[:, None])

    @torch.no_grad()  # integers have no gradient, and memory is used again in place
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
    """Return the finest scale of a 3x3 kernel that keeps its sums exact; one bit is left for bias and rounding."""
    # the sum of bounds may round across a power of two: a machine that finds another scale has another digest
    largest = max(1.0, largest_sums(weight.detach().double(), inputs.bounds).max().item())
    spare = math.floor(math.log2(EXACT_BELOW / largest)) - TILE_BITS - inputs.bits - 1
    return min(WEIGHT_BITS, max(FEWEST_BITS, spare))


# --- 3x3 convolutions with a quarter of the products ------------------------------------------------------------------
# Winograd's minimal filtering (Lavin and Gray 2016), on integers. F(4x4, 3x3) makes a tile of 16 outputs from 36
# products instead of 144: Y = A^T [(G g G^T) * (B^T d B)] A. It is exact if the bits that the matrices add still fit
# (largest_sums). The thirds in G are multiplied away: the result comes out nine times too large, and is divided without
# remainder at the end.
SIDE = 4  # outputs of a tile along an axis
WINDOW = SIDE + 2  # the inputs that they depend on
TILE_BITS = 6  # what G, applied along both axes, adds below the point
TIMES = 9.0
STRIP = 96  # tiles at once, so that they stay in the cache

_G = torch.tensor([  # three times Lavin and Gray's
    (0.75, 0, 0), (-0.5, -0.5, -0.5), (-0.5, 0.5, -0.5), (0.125, 0.25, 0.5), (0.125, -0.25, 0.5), (0, 0, 3),
], dtype=torch.float64)  # fmt: skip
_B = torch.tensor([  # B^T
    (4, 0, -5, 0, 1, 0), (0, -4, -4, 1, 1, 0), (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0), (0, 2, -1, -2, 1, 0), (0, 4, 0, -5, 0, 1),
], dtype=torch.float64)  # fmt: skip
_A = torch.tensor([  # A^T
    (1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1),
], dtype=torch.float64)  # fmt: skip
_IN_ALL = WINDOW + 1  # the product, of row 1 and column 1, that every output contains once


def tiles_of(kernel: Tensor) -> Tensor:
    """Transform a kernel (out, in, 3, 3) to (36, out, in), which has ``TILE_BITS`` more below the point."""
    return torch.einsum("ak,bl,oikl->aboi", _G, _G, kernel).flatten(0, 1).contiguous()


def largest_sums(kernel: Tensor, bounds: Tensor) -> Tensor:
    """Bound every sum of :func:`convolve` without bias, (out,), from the largest magnitudes of the inputs, (in,)."""
    inputs = _B.abs().sum(1)  # (6,): what B^T makes of inputs along an axis, in multiples of the largest
    inputs = torch.outer(inputs, inputs).flatten()
    products = torch.einsum("t,toi,i->to", inputs, tiles_of(kernel).abs(), bounds)
    outputs = torch.einsum("ak,bl,klo->abo", _A.abs(), _A.abs(), products.unflatten(0, (WINDOW, WINDOW)))
    return torch.maximum(products.amax(0), outputs.amax((0, 1)))


def convolve(x: Tensor, tiles: Tensor, bias: Tensor, y: Tensor) -> None:
    """Convolve ``x`` (in, H, W) into ``y`` (out, H, W), some rows of 4x4 tiles at a time.

    ``tiles`` is the kernel as :func:`tiles_of` gives it, ``bias`` is (out, 1).
    """
    height, width = x.shape[1:]
    rows, columns = -(-height // SIDE), -(-width // SIDE)
    whole = height % SIDE == 0 and width % SIDE == 0
    out = y if whole else x.new_empty(len(y), SIDE * rows, SIDE * columns)
    cells = out.view(len(y), rows, SIDE, columns, SIDE)
    padded = F.pad(x, (1, SIDE * columns + 1 - width, 1, SIDE * rows + 1 - height))
    windows = padded.unfold(1, WINDOW, SIDE).unfold(2, WINDOW, SIDE).permute(3, 4, 0, 1, 2)  # (6, 6, in, rows, columns)
    step = max(1, STRIP // columns)
    # what the stages of every strip read and write in turn; fresh memory for each would cost page faults
    here, there = x.new_empty(2, WINDOW**2 * max(len(x), len(y)) * min(step, rows) * columns)
    for top in range(0, rows, step):
        strip = windows[..., top : top + step, :]
        inputs = _beginning(here, *strip.shape).copy_(strip).flatten(2)
        inputs = _along_both(_B, inputs, there, here).view(WINDOW**2, len(x), -1)
        products = torch.bmm(tiles, inputs, out=_beginning(there, WINDOW**2, len(y), inputs.shape[2]))
        products[_IN_ALL].add_(bias, alpha=TIMES)
        outputs = _along_both(_A, products.view(WINDOW, WINDOW, -1), here, there)
        outputs = outputs.view(SIDE, SIDE, len(y), -1, columns).permute(2, 3, 0, 4, 1)
        torch.div(outputs, TIMES, out=cells[:, top : top + step])
    if not whole:
        y.copy_(out[:, :height, :width])


def _along_both(matrix: Tensor, x: Tensor, between: Tensor, into: Tensor) -> Tensor:
    """Apply a matrix (n, m) to both axes of (m, m, N): (n, n, N) at the beginning of ``into``, where x may lie."""
    matrix, (n, m), length = matrix.to(x.device), matrix.shape, x.shape[2]
    rows = torch.mm(matrix, x.flatten(1), out=_beginning(between, n, m * length)).view(n, m, length)
    return torch.bmm(matrix.expand(n, -1, -1), rows, out=_beginning(into, n, n, length))


def _beginning(memory: Tensor, *shape: int) -> Tensor:
    """Return the beginning of (N,) in another shape."""
    return memory[: math.prod(shape)].view(shape)
