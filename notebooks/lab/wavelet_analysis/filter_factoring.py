"""From a filter bank to lifting steps: the Euclidean algorithm on polyphase components.

Daubechies and Sweldens, "Factoring wavelet transforms into lifting steps" (1998): the even and odd taps of the low-pass
filter are divided by each other with remainder until one of them is zero; every quotient is a lifting step, and one
last predict step makes the high-pass filter fit. Laurent division leaves a choice of which end to cancel; all
choices are walked through, and the factorisation with symmetric steps and the smallest coefficients wins, because
large coefficients lose digits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from weconvene_core.errors import WeconveneError
from weconvene_core.wavelets.lifting_schemes import NAMED, Band, LiftingScheme, LiftingStep, Tap

TOLERANCE = 1e-9  # of a filter's largest tap: below it a remainder counts as zero
LARGEST_COEFFICIENT = 1e3  # beyond it a float32 transform would lose more than three digits
MOST_TAPS = 18  # the number of factorisations doubles with every pair of taps


class Laurent(NamedTuple):
    """Taps ``values[k]`` at offsets ``start + k``, without zeros at the ends; no values: the zero filter."""

    start: int
    values: tuple[float, ...]


Steps = tuple[tuple[Band, Laurent], ...]


@lru_cache(maxsize=64)
def lifting_scheme(name: str) -> LiftingScheme:
    """Return a wavelet of the core by its name, or PyWavelets' discrete wavelet of this name, factored.

    A factored scheme has the sign and alignment of JPEG 2000. Pass it wherever a wavelet is expected.

    Raises
    ------
    WeconveneError
        If PyWavelets has no such discrete wavelet, or its factors are too long or too large to be accurate.
    """
    if name in NAMED:
        return NAMED[name]
    low, high = _filters(name)
    even, odd = _polyphase(low)
    candidates = [c for c in _divide(even, odd, ()) if _largest(c[0]) < LARGEST_COEFFICIENT]
    if not candidates:
        raise WeconveneError(
            f"wavelet={name!r} has no accurate factorisation into lifting steps; use a shorter one such as db4 or 9/7."
        )
    steps, gain = min(candidates, key=lambda c: (sum(not _symmetric(step) for _, step in c[0]), _largest(c[0])))
    return _with_high_pass(name, steps, gain, high)


def _filters(name: str) -> tuple[Laurent, Laurent]:
    """Return the analysis filters as taps ``sum_k h[k] x[2 i + k]``: low centred on 0, high on 1 (even: 1/2)."""
    try:
        import pywt

        wavelet = pywt.Wavelet(name)
    except ImportError as error:
        raise WeconveneError(
            f"wavelet={name!r} needs PyWavelets, which is not installed; use haar, 5/3 or 9/7."
        ) from error
    except ValueError as error:
        raise WeconveneError(
            f"wavelet={name!r} is unknown; use haar, 5/3, 9/7, 5/3-integer or a discrete wavelet of PyWavelets."
        ) from error
    filters = [_trimmed(0, wavelet.dec_lo[::-1]).values, _trimmed(0, wavelet.dec_hi[::-1]).values]
    if max(map(len, filters)) > MOST_TAPS:
        raise WeconveneError(
            f"wavelet={name!r} has filters of {max(map(len, filters))} taps; up to {MOST_TAPS} can be factored here."
        )
    low, high = (Laurent(-((len(f) - 1) // 2), f) for f in filters)
    return low, (Laurent(high.start + 1, high.values) if len(high.values) % 2 else high)


def _polyphase(taps: Laurent) -> tuple[Laurent, Laurent]:
    """Split taps on positions 2 i + k into those on low samples (even) and on high samples (odd)."""
    parts = []
    for parity in (0, 1):
        first = taps.start + (taps.start - parity) % 2
        parts.append(_trimmed((first - parity) // 2, taps.values[first - taps.start :: 2]))
    return parts[0], parts[1]


def _divide(even: Laurent, odd: Laurent, steps: Steps) -> Iterator[tuple[Steps, float]]:
    """Yield every factorisation of (even, odd): steps in order of application, and the low band's gain.

    A predict step ``odd' = odd + t even`` of the samples turns the filter's even part into ``even - t odd``.
    """
    if not odd.values:
        if len(even.values) == 1:
            yield steps, even.values[0]
        return
    if not even.values:
        return  # a dead end: the low band would come from the odd samples
    for into_high in (True, False):
        longer, shorter = (even, odd) if into_high else (odd, even)
        if len(longer.values) < len(shorter.values):
            continue
        for quotient in _quotients(longer, shorter):
            rest = _minus_product(longer, quotient, shorter)
            step: tuple[Band, Laurent] = ("high" if into_high else "low", quotient)
            yield from _divide(rest if into_high else even, odd if into_high else rest, (*steps, step))


def _quotients(a: Laurent, b: Laurent) -> Iterator[Laurent]:
    """Yield the quotients that leave a remainder shorter than ``b``: terms cancel from the left and from the right."""
    terms = len(a.values) - len(b.values) + 1
    for left in range(terms + 1):
        rows = [*range(left), *range(len(a.values) - (terms - left), len(a.values))]
        products = np.array([[_tap(b.values, row - k) for k in range(terms)] for row in rows])
        yield Laurent(a.start - b.start, tuple(np.linalg.solve(products, np.array(a.values)[rows])))


def _tap(values: tuple[float, ...], index: int) -> float:
    return values[index] if 0 <= index < len(values) else 0.0


def _minus_product(a: Laurent, q: Laurent, b: Laurent) -> Laurent:
    """Return a - q b; the quotient's product covers exactly the taps of ``a``."""
    return _trimmed(a.start, np.array(a.values) - np.convolve(q.values, b.values), scale=max(map(abs, a.values)))


def _trimmed(start: int, values: np.ndarray | list[float] | tuple[float, ...], scale: float = 1.0) -> Laurent:
    """Drop zeros at both ends."""
    array = np.asarray(values, dtype=float)
    kept = np.flatnonzero(np.abs(array) > TOLERANCE * scale)
    if not kept.size:
        return Laurent(0, ())
    return Laurent(start + int(kept[0]), tuple(array[kept[0] : kept[-1] + 1].tolist()))


def _with_high_pass(name: str, steps: Steps, gain: float, high: Laurent) -> LiftingScheme:
    """Add the predict step that completes the high-pass filter, and both gains."""
    even, odd = _polyphase(high)
    for target, step in steps:  # the samples changed, so the filter changes with them
        if target == "high":
            even = _difference(even, step, odd)
        else:
            odd = _difference(odd, step, even)
    if len(odd.values) != 1:
        raise WeconveneError(f"wavelet={name!r} is not a perfect-reconstruction pair; use another one.")
    high_gain = odd.values[0]
    last = Laurent(even.start - odd.start, tuple(value / high_gain for value in even.values))
    every = (*steps, ("high", last)) if last.values else steps
    lifting = tuple(
        LiftingStep(target, tuple(Tap(s.start + k, c) for k, c in enumerate(s.values))) for target, s in _merged(every)
    )
    return LiftingScheme(name, lifting, gain / math.sqrt(2), high_gain * _nyquist_sign(high) * math.sqrt(2))


def _nyquist_sign(high: Laurent) -> float:
    """Sign of the high-pass filter's response to a signal that is +1 on odd and -1 on even positions."""
    return math.copysign(1.0, sum(value * (-1) ** (high.start + k + 1) for k, value in enumerate(high.values)))


def _difference(a: Laurent, q: Laurent, b: Laurent) -> Laurent:
    """Return a - q b for any supports."""
    if not q.values or not b.values:
        return a
    product, start = np.convolve(q.values, b.values), q.start + b.start
    first = min(a.start if a.values else start, start)
    last = max(a.start + len(a.values), start + len(product))
    total = np.zeros(last - first)
    total[a.start - first : a.start - first + len(a.values)] += a.values
    total[start - first : start - first + len(product)] -= product
    return _trimmed(first, total)


def _merged(steps: Steps) -> Iterator[tuple[Band, Laurent]]:
    """Add up neighbouring steps into the same band."""
    pending: tuple[Band, Laurent] | None = None
    for target, step in steps:
        if pending and pending[0] == target:
            pending = (target, _difference(pending[1], Laurent(0, (-1.0,)), step))
            continue
        if pending:
            yield pending
        pending = (target, step)
    if pending:
        yield pending


def _symmetric(step: Laurent) -> bool:
    return bool(np.allclose(step.values, step.values[::-1]))


def _largest(steps: Steps) -> float:
    return max((abs(value) for _, step in steps for value in step.values), default=0.0)
