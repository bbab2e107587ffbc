"""Integer lifting: the wavelets of the exact path.

If all coefficients are multiples of 2^-6 (Haar, 5/3), no step rounds, because a few more bits hold the exact result.
Otherwise every step rounds down, as in JPEG 2000's reversible 5/3, and stays invertible.
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


def lifting_of(wavelet: str, wavelets: Mapping[str, Any]) -> LiftingScheme:
    """Build the scheme of a wavelet from results of :func:`integer_lifting` by name."""
    entry = wavelets[wavelet]
    every = [coefficient for _, taps in entry["steps"] for _, coefficient in taps]
    dyadic = not any(coefficient % 2 ** (COEFFICIENT_BITS - DYADIC_BITS) for coefficient in every)
    unit = 2.0**-COEFFICIENT_BITS if dyadic else 1
    rounding = None if dyadic else Rounding(2 ** (COEFFICIENT_BITS - 1), COEFFICIENT_BITS)
    steps = tuple(
        LiftingStep(target, tuple(Tap(offset, coefficient * unit) for offset, coefficient in taps), rounding)
        for target, taps in entry["steps"]
    )
    return LiftingScheme(f"{wavelet}, exact", steps, 1.0, 1.0, entry["border"])


def split(x: Tensor, lifting: LiftingScheme) -> list[Tensor]:
    """Transform integers (B, C, H, W) in float64 by one 2-D level without gains: LL, HL, LH, HH."""
    return [band.double() for band in split_axes(x.long() if lifting.integer else x, lifting, SPACE, *RAW)]


def join(bands: Sequence[Tensor], lifting: LiftingScheme) -> Tensor:
    """Invert :func:`split`; the bands hold integers, and their memory is used as scratch."""
    integers = [band.long() if lifting.integer else band for band in bands]
    return join_axes(integers, lifting, SPACE, *RAW, overwrite=True).double()


def join_scaled(bands: Sequence[Tensor], lifting: LiftingScheme, gains: Sequence[int]) -> Tensor:
    """Join bands with orthonormal scaling: LL, HL, LH and HH are multiplied by their ``gains`` and rounded first."""
    ll, between, hh = gains
    pairs = zip(bands, (ll, between, between, hh), strict=True)
    return join([(band * gain * 2.0**-GAIN_BITS + 0.5).floor() for band, gain in pairs], lifting)


def growth(lifting: LiftingScheme) -> tuple[int, float]:
    """Return how many bits one 2-D level adds below the point, and the largest factor by which magnitudes may grow."""
    bits, factor, unit = 0, 1.0, 2.0**-COEFFICIENT_BITS if lifting.integer else 1.0
    for step in lifting.steps:
        values = [abs(float(tap.coefficient)) * unit for tap in step.taps]
        factor *= 1 + sum(values) + bool(step.rounding)
        bits += 0 if step.rounding else max(Fraction(value).denominator.bit_length() - 1 for value in values)
    return 2 * bits, factor**2


def integer_matrix(matrix: Tensor) -> Tensor:
    """Round the matrix of a channel DWT to 2^-12; a ``WeconveneError`` if another machine might round it otherwise."""
    units = matrix * 2.0**MATRIX_BITS
    if ((units - units.floor() - 0.5).abs() < TIE).any():
        raise WeconveneError("The channel DWT has an entry halfway between two integers: use another wavelet.")
    return units.round() * 2.0**-MATRIX_BITS
