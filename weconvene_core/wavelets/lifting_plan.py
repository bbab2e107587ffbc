"""A lifting scheme spelt out for one signal length: which stretch of a band is added to which, borders included.

Every lifting step is a handful of *runs* ``target[t : t + n] += coefficient * source[s : s + n]``: one long run per tap
and single samples at the borders, where the index is mirrored (whole-sample symmetric extension, JPEG 2000 Annex F) or
wraps around (periodic). Each run is a shear of the pair (low, high), so the inverse is the same list backwards with
minus signs, and the adjoint (which automatic differentiation needs) the same list backwards with source and target
exchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple, get_args

from weconvene_core.errors import WeconveneError
from weconvene_core.wavelets.lifting_schemes import Band, Border, LiftingScheme, Scaling

Mode = Literal["symmetric", "periodic"]
NOTHING = -1  # source of a run that reads beyond the ends of a scheme with border "zero"


class Run(NamedTuple):
    """``target[target_start : target_start + length]`` reads the source from ``source_start`` on."""

    target_start: int
    source_start: int
    length: int


class Axpy(NamedTuple):
    """A run of one tap: into the high band or into the low one, with its coefficient on *scaled* bands."""

    into_high: bool
    run: Run
    coefficient: float


@dataclass(frozen=True)
class Plan:
    """The 1-D transform of a signal of one length: split with gains, then the shears in order."""

    low_gain: float
    high_gain: float
    shears: tuple[Axpy, ...]


def tap_runs(length: int, target: Band, offset: int, border: Border, mode: Mode) -> tuple[Run, ...]:
    """Return the runs of one tap over a signal of ``length`` samples, in the order of the target."""
    n_low, n_high = (length + 1) // 2, length // 2
    n_target, n_source = (n_high, n_low) if target == "high" else (n_low, n_high)
    if n_target == 0:
        return ()
    if n_source == 0:  # a single sample has no neighbour
        return (Run(0, NOTHING, n_target),)
    first = min(max(0, -offset), n_target)
    end = max(first, min(n_target, n_source - offset))

    def at_border(i: int) -> Run:
        return Run(i, _source_index(i + offset, length, target, border, mode), 1)

    middle = (Run(first, first + offset, end - first),) if end > first else ()
    return (*map(at_border, range(first)), *middle, *map(at_border, range(end, n_target)))


def _source_index(index: int, length: int, target: Band, border: Border, mode: Mode) -> int:
    """Index in the source band that stands for one beyond its ends."""
    source_is_high = target == "low"
    if border == "zero":
        return NOTHING
    if mode == "periodic":
        return index % (length // 2 if source_is_high else (length + 1) // 2)
    period = 2 * (length - 1)
    position = (2 * index + source_is_high) % period
    return min(position, period - position) // 2  # mirroring about the first or last sample keeps the parity


@lru_cache(maxsize=4096)
def make_plan(scheme: LiftingScheme, scaling: Scaling, mode: Mode, length: int) -> Plan:
    """Spell out a scheme of plain numbers for signals of ``length`` samples.

    The gains are applied when the signal is split, because splitting copies anyway; the coefficients make up for it.
    """
    low_gain, high_gain = (float(gain) for gain in scheme.gains(scaling, length))
    shears = []
    for step in scheme.steps:
        ratio = high_gain / low_gain if step.target == "high" else low_gain / high_gain
        for offset, coefficient in step.taps:
            for run in tap_runs(length, step.target, offset, scheme.border, mode):
                if run.source_start != NOTHING:
                    shears.append(Axpy(step.target == "high", run, float(coefficient) * ratio))
    return Plan(low_gain, high_gain, tuple(shears))


def check_mode(mode: str) -> None:
    """Refuse an unknown border mode.

    Raises
    ------
    WeconveneError
        If ``mode`` is neither ``symmetric`` nor ``periodic``.
    """
    if mode not in get_args(Mode):
        raise WeconveneError(f"mode={mode!r} is unknown; use one of {', '.join(get_args(Mode))}.")
