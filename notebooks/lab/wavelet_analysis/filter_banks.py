"""Filter banks and lifting: filters factored into lifting steps, and the filters, gains and bounds that a scheme has.

Factoring is the Euclidean algorithm on polyphase components (Daubechies and Sweldens, "Factoring wavelet transforms
into lifting steps", 1998): the even and odd taps of the low-pass filter are divided by each other with remainder until
one of them is zero. Every quotient is a lifting step; a last predict step completes the high-pass filter. The division
may cancel terms at either end. All choices are tried, and symmetric steps with the smallest coefficients win, because
large coefficients lose digits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd
import pywt
import torch

from weconvene_core.errors import WeconveneError
from weconvene_core.wavelets import SCHEMES, Scaling, Wavelet, dwt1d
from weconvene_core.wavelets.lifting_schemes import NAMED, Band, LiftingScheme, LiftingStep, Tap

TOLERANCE = 1e-9  # of a filter's largest tap: below it a remainder counts as zero
LARGEST_COEFFICIENT = 1e3  # beyond it a float32 transform would lose more than three digits
MOST_TAPS = 18  # the number of factorisations doubles with every pair of taps
LENGTH = 128  # of probing signals: far longer than any filter here

Polynomial = dict[int, float]  # a Laurent polynomial as {exponent: coefficient}, without zeros
Steps = tuple[tuple[Band, Polynomial], ...]


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
    candidates = [c for c in _divide(*_polyphase(low), ()) if _largest(c[0]) < LARGEST_COEFFICIENT]
    if not candidates:
        raise WeconveneError(
            f"wavelet={name!r} has no accurate factorisation into lifting steps; use a shorter one such as db4 or 9/7."
        )
    steps, gain = min(candidates, key=lambda c: (sum(not _symmetric(step) for _, step in c[0]), _largest(c[0])))
    return _with_high_pass(name, steps, gain, high)


def _filters(name: str) -> list[Polynomial]:
    """Return the analysis filters as taps ``sum_k h[k] x[2 i + k]``: low centred on 0, high on 1 (even: 1/2)."""
    try:
        wavelet = pywt.Wavelet(name)
    except ValueError as error:
        raise WeconveneError(
            f"wavelet={name!r} is unknown; use haar, 5/3, 9/7, 5/3-integer or a discrete wavelet of PyWavelets."
        ) from error
    filters = []
    for taps, centre in ((wavelet.dec_lo[::-1], 0), (wavelet.dec_hi[::-1], 1)):
        kept = np.flatnonzero(np.abs(taps) > TOLERANCE).tolist()
        length = kept[-1] - kept[0] + 1
        if length > MOST_TAPS:
            raise WeconveneError(
                f"wavelet={name!r} has a filter of {length} taps; up to {MOST_TAPS} can be factored here."
            )
        start = centre * (length % 2) - (length - 1) // 2
        filters.append({start + k - kept[0]: taps[k] for k in kept})
    return filters


def _polyphase(taps: Polynomial) -> list[Polynomial]:
    """Split taps on positions 2 i + k into those on low samples (even) and on high samples (odd)."""
    return [{k // 2: tap for k, tap in taps.items() if k % 2 == parity} for parity in (0, 1)]


def _divide(even: Polynomial, odd: Polynomial, steps: Steps) -> Iterator[tuple[Steps, float]]:
    """Yield every factorisation of (even, odd): steps in order of application, and the low band's gain.

    A predict step ``odd' = odd + t even`` of the samples turns the filter's even part into ``even - t odd``.
    """
    if not odd:
        if len(even) == 1:
            yield steps, *even.values()
        return
    if not even:
        return  # a dead end: the low band would come from the odd samples
    if _span(even) >= _span(odd):
        for quotient in _quotients(even, odd):
            yield from _divide(_minus_product(even, quotient, odd), odd, (*steps, ("high", quotient)))
    if _span(odd) >= _span(even):
        for quotient in _quotients(odd, even):
            yield from _divide(even, _minus_product(odd, quotient, even), (*steps, ("low", quotient)))


def _quotients(a: Polynomial, b: Polynomial) -> Iterator[Polynomial]:
    """Yield the quotients that leave a remainder shorter than ``b``: terms cancel from the left and from the right."""
    first, terms = min(a) - min(b), _span(a) - _span(b) + 1
    for left in range(terms + 1):
        rest, quotient = a, Polynomial()
        for k in (*range(left), *reversed(range(left, terms))):
            end = min(b) if k < left else max(b)
            quotient[first + k] = rest.get(first + k + end, 0.0) / b[end]
            rest = _minus_product(rest, {first + k: quotient[first + k]}, b, tolerance=0.0)
        yield {k: value for k, value in sorted(quotient.items()) if value}


def _minus_product(a: Polynomial, q: Polynomial, b: Polynomial, tolerance: float = TOLERANCE) -> Polynomial:
    """Return a - q b, without what is zero beside the largest tap of ``a``."""
    difference, smallest = dict(a), tolerance * max(map(abs, a.values()), default=1.0)
    for (i, x), (j, y) in product(q.items(), b.items()):
        difference[i + j] = difference.get(i + j, 0.0) - x * y
    return {k: value for k, value in sorted(difference.items()) if abs(value) > smallest}


def _with_high_pass(name: str, steps: Steps, gain: float, high: Polynomial) -> LiftingScheme:
    """Add the predict step that completes the high-pass filter, and both gains."""
    even, odd = _polyphase(high)
    for target, step in steps:  # the samples changed, so the filter changes with them
        if target == "high":
            even = _minus_product(even, step, odd)
        else:
            odd = _minus_product(odd, step, even)
    if len(odd) != 1:
        raise WeconveneError(f"wavelet={name!r} is not a perfect-reconstruction pair; use another one.")
    ((place, high_gain),) = odd.items()
    merged: list[tuple[Band, Polynomial]] = []
    for target, step in (*steps, ("high", {k - place: value / high_gain for k, value in even.items()})):
        if merged and merged[-1][0] == target:  # neighbouring steps into the same band are one
            step = _minus_product(merged.pop()[1], {0: -1.0}, step)
        merged.append((target, step))
    lifting = tuple(LiftingStep(target, tuple(Tap(*tap) for tap in step.items())) for target, step in merged if step)
    # of the response to a signal that is +1 on odd and -1 on even positions
    nyquist_sign = math.copysign(1.0, sum(value * (-1) ** (k + 1) for k, value in high.items()))
    return LiftingScheme(name, lifting, gain / math.sqrt(2), high_gain * nyquist_sign * math.sqrt(2))


def _span(a: Polynomial) -> int:
    return max(a) - min(a) + 1


def _symmetric(step: Polynomial) -> bool:
    values = list(step.values())
    return bool(np.allclose(values, values[::-1]))


def _largest(steps: Steps) -> float:
    return max((abs(value) for _, step in steps for value in step.values()), default=0.0)


class FilterPair(NamedTuple):
    """Two filters as {position: tap}; positions count from the sample that the coefficient belongs to."""

    low: dict[int, float]
    high: dict[int, float]


def analysis_filters(wavelet: Wavelet, scaling: Scaling = "orthonormal") -> FilterPair:
    """Return the taps with which samples enter a low coefficient (from position 2 i) and a high one (from 2 i + 1).

    Raises
    ------
    WeconveneError
        For an unknown wavelet or scaling, or an integer one, which has no linear filters.
    """
    bands = dwt1d(torch.eye(LENGTH, dtype=torch.float64), wavelet, 0, scaling)  # row i: what coefficient i reads
    rows, middle = [band[LENGTH // 4].tolist() for band in bands], LENGTH // 2
    return FilterPair(*(
        {i - centre: tap for i, tap in enumerate(row) if abs(tap) > 1e-12}
        for row, centre in zip(rows, (middle, middle + 1), strict=True)
    ))  # fmt: skip


def energy_bounds(wavelet: Wavelet, scaling: Scaling = "orthonormal") -> tuple[float, float]:
    """Return (a, b) with a |x|^2 <= |coefficients|^2 <= b |x|^2 for one level of a periodic signal.

    The bounds are the extreme squared singular values of the 2 x 2 polyphase matrix over all frequencies (Vetterli and
    Kovacevic 1995, section 3.2); (1, 1) means orthonormal.
    """
    matrix = torch.cat(dwt1d(torch.eye(LENGTH, dtype=torch.float64), wavelet, 0, scaling, "periodic"))
    values = np.linalg.svd(matrix.numpy(), compute_uv=False)
    return float(values[-1] ** 2), float(values[0] ** 2)


def conversion_table() -> pd.DataFrame:
    """Tabulate both scalings and PyWavelets' convention: gains, and the factors between them.

    Returns
    -------
    Columns wavelet, scaling, dc_gain (low), nyquist_gain (high), low_factor and high_factor (from JPEG 2000's
    coefficients to these, whose gains are 1 and 2), energy_low and energy_high (bounds over one level).
    """
    rows, root = [], math.sqrt(2)
    for wavelet in SCHEMES:
        for scaling in ("jpeg2000", "orthonormal"):
            low, high = analysis_filters(wavelet, scaling)
            dc, nyquist = sum(low.values()), sum(tap * (-1) ** k for k, tap in high.items())
            bounds = energy_bounds(wavelet, scaling)
            rows.append([wavelet, scaling, dc, nyquist, dc, nyquist / 2, *bounds])
        rows.append([wavelet, "pywt", root, -root, root, -1 / root, *bounds])
    names = "wavelet scaling dc_gain nyquist_gain low_factor high_factor energy_low energy_high"
    return pd.DataFrame(rows, columns=names.split())
