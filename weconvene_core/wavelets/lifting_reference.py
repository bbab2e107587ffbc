"""The textbook execution of lifting steps: slices, ``cat`` and additions that make new tensors.

Nothing here hides from automatic differentiation, ``torch.compile`` (which fuses the passes by itself) or
``torch.export``; it also serves learnt coefficients, whose gradient is wanted, and integers with rounding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from weconvene_core.wavelets.lifting_plan import NOTHING, Mode, Run, tap_runs
from weconvene_core.wavelets.lifting_schemes import LiftingScheme, LiftingStep, Scaling

WIDER = {torch.uint8: torch.int16, torch.int8: torch.int16, torch.int16: torch.int32}  # a high sample spans two ranges


def split_axes(
    x: Tensor, lifting: LiftingScheme, dims: Sequence[int], scaling: Scaling, mode: Mode
) -> tuple[Tensor, ...]:
    """Transform along the axes one after the other: 2^k bands, the last axis alternating fastest."""
    bands = (x.to(WIDER.get(x.dtype, x.dtype)) if lifting.integer else x,)
    for dim in dims:
        bands = tuple(half for band in bands for half in _split(band, lifting, dim, scaling, mode))
    return bands


def join_axes(
    bands: Sequence[Tensor], lifting: LiftingScheme, dims: Sequence[int], scaling: Scaling, mode: Mode
) -> Tensor:
    """Invert :func:`split_axes`, last axis first."""
    for dim in reversed(dims):
        pairs = zip(bands[::2], bands[1::2], strict=True)
        bands = [_join(low, high, lifting, dim, scaling, mode) for low, high in pairs]
    return bands[0]


def _split(x: Tensor, lifting: LiftingScheme, dim: int, scaling: Scaling, mode: Mode) -> tuple[Tensor, Tensor]:
    length = x.shape[dim]
    low, high = (_every_second(x, dim, start) for start in (0, 1))
    for step in lifting.steps:
        low, high = _lifted(step, low, high, lifting, mode, dim, sign=1)
    low_gain, high_gain = lifting.gains(scaling, length)
    return (low, high) if lifting.integer else (low * low_gain, high * high_gain)


def _join(low: Tensor, high: Tensor, lifting: LiftingScheme, dim: int, scaling: Scaling, mode: Mode) -> Tensor:
    if not lifting.integer:
        low_gain, high_gain = lifting.gains(scaling, low.shape[dim] + high.shape[dim])
        low, high = low / low_gain, high / high_gain
    for step in reversed(lifting.steps):
        low, high = _lifted(step, low, high, lifting, mode, dim, sign=-1)
    return _interleaved(low, high, dim)


def _every_second(x: Tensor, dim: int, start: int) -> Tensor:
    index = [slice(None)] * x.ndim
    index[dim] = slice(start, None, 2)
    return x[tuple(index)]


def _lifted(
    step: LiftingStep, low: Tensor, high: Tensor, lifting: LiftingScheme, mode: Mode, dim: int, sign: int
) -> tuple[Tensor, Tensor]:
    """Return both bands after one step, added (sign 1) or undone (-1)."""
    target, source = (high, low) if step.target == "high" else (low, high)
    if target.shape[dim] == 0 or source.shape[dim] == 0:  # a single sample has no neighbour to learn from
        return low, high
    length = low.shape[dim] + high.shape[dim]
    change = sum(
        coefficient * _shifted(source, tap_runs(length, step.target, offset, lifting.border, mode), dim)
        for offset, coefficient in step.taps
    )
    if step.rounding:
        change = (change + step.rounding.bias) >> step.rounding.shift
    target = target + sign * change
    return (low, target) if step.target == "high" else (target, high)


def _shifted(source: Tensor, runs: Sequence[Run], dim: int) -> Tensor:
    """Gather what one tap reads, in the target's order."""
    parts = [
        torch.zeros_like(source.narrow(dim, 0, length)) if start == NOTHING else source.narrow(dim, start, length)
        for _, start, length in runs
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)


def _interleaved(low: Tensor, high: Tensor, dim: int) -> Tensor:
    """Merge even and odd samples again: l0 h0 l1 h1 ..."""
    n_low, n_high = low.shape[dim], high.shape[dim]
    axis = dim % low.ndim
    pairs = torch.stack([low.narrow(axis, 0, n_high), high], axis + 1).flatten(axis, axis + 1)
    return pairs if n_low == n_high else torch.cat([pairs, low.narrow(axis, n_low - 1, 1)], axis)
