"""The fast execution of a plan: split once, lift in place, and know the adjoint.

A transform of feature maps is bound by memory traffic, and fresh memory costs most (every new page is cleared by the
system). So the signal is copied once, into its 2^k polyphase parts for k axes, and every lifting step then works in
place on them; the autograd functions below hide that from the caller. A linear map's gradient is its adjoint, which is
the same plan read differently; nothing is saved for the backward pass, and derivatives of any order follow.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor

from weconvene_core.wavelets.lifting_plan import Plan

Phase = tuple[int, ...]  # per transformed axis 0 for the even samples (low band), 1 for the odd ones (high)


class Separable(NamedTuple):
    """A transform along several axes (counted from the end), one plan each.

    ``dual``: the adjoint of the inverse. ``overwrite``: the synthesis may use its bands as scratch memory.
    """

    plans: tuple[Plan, ...]
    dims: tuple[int, ...]
    dual: bool = False
    overwrite: bool = False

    def gain(self, phase: Phase) -> float:
        """Gain of one band."""
        gain = math.prod(plan.high_gain if odd else plan.low_gain for plan, odd in zip(self.plans, phase, strict=True))
        return 1 / gain if self.dual else gain

    @property
    def adjoint_inverse(self) -> Separable:
        """The transform whose inverse is this one's adjoint."""
        return self._replace(dual=not self.dual, overwrite=False)


class Analysis(torch.autograd.Function):
    """x -> its 2^k bands, in the order of :func:`phases`."""

    @staticmethod
    def forward(x: Tensor, how: Separable) -> tuple[Tensor, ...]:
        """Split with gains, then lift in place."""
        parts = {phase: samples(x, how.dims, phase) * how.gain(phase) for phase in phases(len(how.dims))}
        for axis in range(len(how.dims)):
            _shear(parts, how, axis, -1.0 if how.dual else 1.0, backwards=False)
        return tuple(parts.values())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Separable], output: tuple[Tensor, ...]) -> None:
        """Keep how it was called; no tensor is needed."""
        ctx.how = inputs[1]

    @staticmethod
    def backward(ctx: Any, *bands: Tensor) -> tuple[Tensor, None]:
        """Apply the adjoint."""
        return Synthesis.apply(ctx.how.adjoint_inverse, *bands), None

    @staticmethod
    def jvp(ctx: Any, x: Tensor, _: None) -> tuple[Tensor, ...]:
        """Transform the tangent: the map is linear."""
        return Analysis.apply(x, ctx.how)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], x: Tensor, how: Separable) -> Any:
        """Carry the mapped axis in front."""
        return Analysis.apply(x.movedim(in_dims[0] or 0, 0), how), (0,) * 2 ** len(how.dims)


class Synthesis(torch.autograd.Function):
    """2^k bands -> x, the inverse of :class:`Analysis`."""

    @staticmethod
    def forward(how: Separable, *bands: Tensor) -> Tensor:
        """Undo the lifting, then interleave with gains."""
        copies = bands if how.overwrite else [band.clone() for band in bands]
        parts = dict(zip(phases(len(how.dims)), copies, strict=True))
        for axis in reversed(range(len(how.dims))):
            _shear(parts, how, axis, 1.0 if how.dual else -1.0, backwards=True)
        return _merged(parts, how)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep how it was called; no tensor is needed."""
        ctx.how = inputs[0]

    @staticmethod
    def backward(ctx: Any, x: Tensor) -> tuple[Tensor | None, ...]:
        """Apply the adjoint."""
        return None, *Analysis.apply(x, ctx.how.adjoint_inverse)

    @staticmethod
    def jvp(ctx: Any, _: None, *bands: Tensor) -> Tensor:
        """Transform the tangents: the map is linear."""
        return Synthesis.apply(ctx.how, *bands)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], how: Separable, *bands: Tensor) -> Any:
        """Carry the mapped axis in front."""
        pairs = zip(bands, in_dims[1:], strict=True)
        batched = (b.expand(info.batch_size, *b.shape) if d is None else b.movedim(d, 0) for b, d in pairs)
        return Synthesis.apply(how, *batched), 0


def phases(axes: int) -> Iterator[Phase]:
    """Yield the bands of a transform along so many axes: all low, then the last axis high, ..., all high."""
    return product((0, 1), repeat=axes)


def samples(x: Tensor, dims: Sequence[int], phase: Phase) -> Tensor:
    """View every second sample along each of ``dims`` (< 0), starting at 0 or 1."""
    index = [slice(None)] * x.ndim
    for dim, start in zip(dims, phase, strict=True):
        index[dim] = slice(start, None, 2)
    return x[tuple(index)]


def _shear(parts: dict[Phase, Tensor], how: Separable, axis: int, sign: float, backwards: bool) -> None:
    """Run the lifting steps of one axis in place, on every pair of parts that this axis relates."""
    dim, shears = how.dims[axis], how.plans[axis].shears
    for phase, low in parts.items():
        if phase[axis]:
            continue
        high = parts[(*phase[:axis], 1, *phase[axis + 1 :])]
        for into_high, (target_start, source_start, length), coefficient in reversed(shears) if backwards else shears:
            target, source = (high, low) if into_high else (low, high)
            there, here = target.narrow(dim, target_start, length), source.narrow(dim, source_start, length)
            if how.dual:
                there, here = here, there
            there.add_(here, alpha=sign * coefficient)


def _merged(parts: dict[Phase, Tensor], how: Separable) -> Tensor:
    """Interleave the parts, scaled back."""
    x = merged_like(*(parts[(bit,) * len(how.dims)] for bit in (0, 1)), how.dims)
    for phase, part in parts.items():
        torch.mul(part, 1 / how.gain(phase), out=samples(x, how.dims, phase))
    return x


def merged_like(low: Tensor, high: Tensor, dims: Sequence[int]) -> Tensor:
    """Make room for the signal of an all-low and an all-high band, in the memory format of the low one."""
    shape = list(low.shape)
    for dim in dims:
        shape[dim] += high.shape[dim]
    channels_last = low.ndim == 4 and low.shape[1] > 1 and low.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty(shape, dtype=low.dtype, device=low.device, memory_format=layout)
