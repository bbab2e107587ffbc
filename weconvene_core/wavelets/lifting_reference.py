"""The textbook execution of lifting steps: slices, ``cat`` and additions that make new tensors.

Automatic differentiation, ``torch.compile`` and ``torch.export`` see every operation.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from weconvene_core.wavelets.lifting_plan import Mode, polyphase_parts, tap_runs
from weconvene_core.wavelets.lifting_schemes import LiftingScheme, LiftingStep, Scaling

WIDER = {torch.uint8: torch.int16, torch.int8: torch.int16, torch.int16: torch.int32}  # a high sample spans two ranges


def split_axes(
    x: Tensor, lifting: LiftingScheme, dims: Sequence[int], scaling: Scaling, mode: Mode
) -> tuple[Tensor, ...]:
    """Transform along the axes (< 0) one after the other: 2^k bands, the last axis alternating fastest."""
    bands = [x.to(WIDER.get(x.dtype, x.dtype)) if lifting.integer else x]
    for dim in dims:
        bands = [half for band in bands for half in _split(band, lifting, dim, scaling, mode)]
    return tuple(bands)


def join_axes(
    bands: Sequence[Tensor], lifting: LiftingScheme, dims: Sequence[int], scaling: Scaling, mode: Mode
) -> Tensor:
    """Invert :func:`split_axes`, last axis first."""
    for dim in reversed(dims):
        pairs = zip(bands[::2], bands[1::2], strict=True)  # low and high along this axis are neighbours
        bands = [_join(low, high, lifting, dim, scaling, mode) for low, high in pairs]
    return bands[0]


def _split(x: Tensor, lifting: LiftingScheme, dim: int, scaling: Scaling, mode: Mode) -> tuple[Tensor, Tensor]:
    # the lazy wavelet: even samples are the low band, odd samples the high band
    low, high = (x[part] for part in polyphase_parts((dim,)))
    # predict and update steps in turn
    for step in lifting.steps:
        low, high = _lifted(step, low, high, lifting, mode, dim, sign=1)
    if lifting.integer:
        return low, high
    low_gain, high_gain = lifting.gains(scaling, x.shape[dim])
    return low * low_gain, high * high_gain  # DC and Nyquist gain of the wanted scaling


def _join(low: Tensor, high: Tensor, lifting: LiftingScheme, dim: int, scaling: Scaling, mode: Mode) -> Tensor:
    n_low, n_high = low.shape[dim], high.shape[dim]
    if not lifting.integer:
        low_gain, high_gain = lifting.gains(scaling, n_low + n_high)
        low, high = low / low_gain, high / high_gain  # back to the scale of the steps
    # the same steps backwards, with the opposite sign
    for step in reversed(lifting.steps):
        low, high = _lifted(step, low, high, lifting, mode, dim, sign=-1)
    # interleave: l0 h0 l1 h1 ..., and the last low sample of an odd length
    axis = dim + low.ndim
    x = torch.stack([low.narrow(axis, 0, n_high), high], axis + 1).flatten(axis, axis + 1)
    return x if n_low == n_high else torch.cat([x, low.narrow(axis, n_high, 1)], axis)


def _lifted(
    step: LiftingStep, low: Tensor, high: Tensor, lifting: LiftingScheme, mode: Mode, dim: int, sign: int
) -> tuple[Tensor, Tensor]:
    """Return both bands after one step, added (sign 1) or undone (-1)."""
    if high.shape[dim] == 0:  # a single sample has no neighbour
        return low, high
    target, source = (high, low) if step.target == "high" else (low, high)
    change = 0
    for offset, coefficient in step.taps:
        # what this tap reads, in the order of the target
        runs = tap_runs(low.shape[dim] + high.shape[dim], step.target, offset, lifting.border, mode)
        read = [
            torch.zeros_like(source.narrow(dim, 0, length)) if start is None else source.narrow(dim, start, length)
            for _, start, length in runs
        ]
        change = change + coefficient * (read[0] if len(read) == 1 else torch.cat(read, dim))
    if step.rounding:
        # reversible: the sum is rounded down, and the inverse subtracts the very same integer
        change = (change + step.rounding.bias) >> step.rounding.shift
    target = target + sign * change  # sign -1 undoes the step, since the source did not change
    return (low, target) if step.target == "high" else (target, high)
