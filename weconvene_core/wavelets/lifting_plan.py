"""A lifting scheme spelt out for one signal size: which samples of a band are added to which, borders included.

A tap of a step is one long *run* of samples, and single samples at the borders. There the index is mirrored
(whole-sample symmetric extension, JPEG 2000 Annex F) or wraps around (periodic).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from typing import Any, Literal, NamedTuple

from weconvene_core.wavelets.lifting_schemes import Band, Border, LiftingScheme, Scaling

Mode = Literal["symmetric", "periodic"]


class Run(NamedTuple):
    """``target[target_start : target_start + length]`` reads the source from ``source_start`` on (None: zeros)."""

    target_start: int
    source_start: int | None
    length: int


class Shear(NamedTuple):
    """``target[target_start : + length] += coefficient * source[source_start : + length]``, on scaled bands.

    The inverse has the opposite sign; the adjoint exchanges source and target.
    """

    into_high: bool
    target_start: int
    source_start: int
    length: int
    coefficient: float


@dataclass(frozen=True)
class Plan:
    """A separable DWT of signals of one size along k axes: 2^k bands, in the order of :func:`polyphase_parts`."""

    dims: tuple[int, ...]  # the k axes, counted from the end (< 0)
    parts: tuple[tuple[Any, ...], ...]  # index of each band's samples in the signal
    gains: tuple[float, ...]  # factor of each band
    shears: tuple[tuple[Shear, ...], ...]  # lifting of each axis, in the order of the analysis

    @cached_property
    def adjoint_inverse(self) -> Plan:
        """The plan whose synthesis is the adjoint of this analysis, and the other way round."""
        # (I + c E_ts)^T = I + c E_st: source and target change places; the synthesis then subtracts, so c changes sign
        exchanged = tuple(
            tuple(Shear(not s.into_high, s.source_start, s.target_start, s.length, -s.coefficient) for s in axis)
            for axis in self.shears
        )
        return Plan(self.dims, self.parts, tuple(1 / gain for gain in self.gains), exchanged)


@lru_cache(maxsize=4096)
def make_plan(
    scheme: LiftingScheme, scaling: Scaling, mode: Mode, dims: tuple[int, ...], lengths: tuple[int, ...]
) -> Plan:
    """Spell out a scheme of plain numbers for signals of ``lengths`` samples along ``dims``."""
    gains, shears = [], []
    for length in lengths:
        low_gain, high_gain = map(float, scheme.gains(scaling, length))
        axis = []
        for step in scheme.steps:
            # gains are applied when the signal is split, which copies anyway; so the steps work on scaled bands
            into_high = step.target == "high"
            ratio = high_gain / low_gain if into_high else low_gain / high_gain
            for offset, coefficient in step.taps:
                for run in tap_runs(length, step.target, offset, scheme.border, mode):
                    if run.source_start is not None:  # zeros add nothing
                        axis.append(Shear(into_high, *run, float(coefficient) * ratio))
        gains.append((low_gain, high_gain))
        shears.append(tuple(axis))
    products = tuple(math.prod(factors) for factors in product(*gains))  # (low, high) of each axis -> 2^k bands
    return Plan(dims, polyphase_parts(dims), products, tuple(shears))


def polyphase_parts(dims: tuple[int, ...]) -> tuple[tuple[Any, ...], ...]:
    """Return for each of the 2^k bands the index of its samples: even ones along low axes, odd ones along high axes."""
    parts = []
    for starts in product((0, 1), repeat=len(dims)):
        index = [slice(None)] * -min(dims)  # from the first transformed axis to the last axis of the signal
        for dim, start in zip(dims, starts, strict=True):
            index[dim] = slice(start, None, 2)
        parts.append((..., *index))
    return tuple(parts)


def tap_runs(length: int, target: Band, offset: int, border: Border, mode: Mode) -> tuple[Run, ...]:
    """Return the runs of one tap over a signal of ``length`` samples, in the order of the target."""
    n_low, n_high = (length + 1) // 2, length // 2  # even and odd samples
    n_target, n_source = (n_high, n_low) if target == "high" else (n_low, n_high)
    if n_source == 0:  # a single sample has no neighbour
        return (Run(0, None, n_target),)

    def at_border(i: int) -> Run:
        """Read one sample beyond the ends of the source: zero, wrapped around, or mirrored."""
        if border == "zero":
            return Run(i, None, 1)
        if mode == "periodic":
            return Run(i, (i + offset) % n_source, 1)
        # whole-sample symmetry: the signal has the period 2 (n - 1); mirroring about an end keeps even and odd apart
        period = 2 * (length - 1)
        position = (2 * (i + offset) + (target == "low")) % period
        return Run(i, min(position, period - position) // 2, 1)

    # an offset k reads source i + k for target i: targets first .. end - 1 find their neighbour inside the source
    first = min(max(0, -offset), n_target)
    end = max(first, min(n_target, n_source - offset))
    middle = (Run(first, first + offset, end - first),) if end > first else ()
    return (*map(at_border, range(first)), *middle, *map(at_border, range(end, n_target)))
