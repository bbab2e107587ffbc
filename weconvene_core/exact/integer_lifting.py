"""The wavelets of the exact path: lifting with integer coefficients, rounded down after every step where it must be.

The spatial wavelet surrounds linear kernels, whose gains cancel against those of the inverse; so only the lifting steps
are left. Where all coefficients are multiples of 2^-6 (Haar, 5/3) nothing is rounded at all: a few bits more hold the
exact result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from torch import Tensor

from weconvene_core.errors import WeconveneError
from weconvene_core.layers.weconv import SPACE
from weconvene_core.wavelets import LiftingScheme, LiftingStep, Tap, scheme
from weconvene_core.wavelets.lifting import join_axes, split_axes
from weconvene_core.wavelets.lifting_schemes import Rounding

COEFFICIENT_BITS = 14
DYADIC_BITS = 6
GAIN_BITS = 16
MATRIX_BITS = 12
TIE = 1e-6  # of a unit: float64 arithmetic is nearer to the truth by a factor of thousands
RAW = ("jpeg2000", "symmetric")  # a scheme whose gains are 1 has no scaling


def integer_lifting(wavelet: str) -> dict[str, Any]:
    """Return a wavelet's lifting steps with coefficients in units of 2^-14, as plain JSON values.

    ``gains`` are those of the inverse of one 2-D level for LL, for HL and LH, and for HH, in units of 2^-16.
    """
    lifting = scheme(wavelet)
    low, high = (1 / float(gain) for gain in lifting.gains("orthonormal", length=2))
    steps = [
        [step.target, [[tap.offset, round(float(tap.coefficient) * 2**COEFFICIENT_BITS)] for tap in step.taps]]
        for step in lifting.steps
    ]
    gains = [round(gain * 2**GAIN_BITS) for gain in (low * low, low * high, high * high)]
    return {"border": lifting.border, "steps": steps, "gains": gains}


def lifting_of(name: str, entry: Mapping[str, Any]) -> LiftingScheme:
    """Build the scheme that an entry of :func:`integer_lifting` describes."""
    every = [coefficient for _, taps in entry["steps"] for _, coefficient in taps]
    dyadic = not any(coefficient % 2 ** (COEFFICIENT_BITS - DYADIC_BITS) for coefficient in every)
    unit = 2.0**-COEFFICIENT_BITS if dyadic else 1
    rounding = None if dyadic else Rounding(2 ** (COEFFICIENT_BITS - 1), COEFFICIENT_BITS)
    steps = tuple(
        LiftingStep(target, tuple(Tap(offset, coefficient * unit) for offset, coefficient in taps), rounding)
        for target, taps in entry["steps"]
    )
    return LiftingScheme(f"{name}, sealed", steps, 1.0, 1.0, entry["border"])


def split(x: Tensor, lifting: LiftingScheme) -> list[Tensor]:
    """Transform integers (B, C, H, W) by one 2-D level without gains: LL, HL, LH, HH."""
    if not lifting.integer:
        return list(split_axes(x, lifting, SPACE, *RAW))
    return [band.double() for band in split_axes(x.long(), lifting, SPACE, *RAW)]


def join(bands: Sequence[Tensor], lifting: LiftingScheme) -> Tensor:
    """Invert :func:`split`; the bands hold integers, and are lost."""
    if not lifting.integer:
        return join_axes(bands, lifting, SPACE, *RAW, overwrite=True)
    return join_axes([band.long() for band in bands], lifting, SPACE, *RAW).double()


def join_scaled(bands: Sequence[Tensor], lifting: LiftingScheme, gains: Sequence[int]) -> Tensor:
    """Join bands with orthonormal scaling: LL, HL, LH and HH are multiplied by their ``gains`` and rounded first."""
    ll, between, hh = gains
    half, unit = 2 ** (GAIN_BITS - 1), 2.0**-GAIN_BITS
    pairs = zip(bands, (ll, between, between, hh), strict=True)
    return join([((band * gain + half) * unit).floor() for band, gain in pairs], lifting)


def growth(lifting: LiftingScheme) -> tuple[int, float]:
    """Return how many bits one 2-D level adds below the point, and by how much it may multiply a magnitude at most."""
    bits, factor, unit = 0, 1.0, 2.0**-COEFFICIENT_BITS if lifting.integer else 1.0
    for step in lifting.steps:
        values = [abs(float(tap.coefficient)) * unit for tap in step.taps]
        factor *= 1 + sum(values) + bool(step.rounding)
        bits += 0 if step.rounding else max(Fraction(value).denominator.bit_length() - 1 for value in values)
    return 2 * bits, factor**2


def integer_matrix(matrix: Tensor) -> Tensor:
    """Round a channel DWT to multiples of 2^-12.

    Raises
    ------
    WeconveneError
        If an entry lies so near to the middle of two multiples that another machine might round it otherwise.
    """
    units = matrix * 2.0**MATRIX_BITS
    if ((units - units.floor() - 0.5).abs() < TIE).any():
        raise WeconveneError("The channel DWT has an entry halfway between two integers: use another wavelet.")
    return units.round() * 2.0**-MATRIX_BITS
