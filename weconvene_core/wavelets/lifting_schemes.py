"""Wavelets as lifting schemes: the tables of the named wavelets, and what a lifting step is.

A *predict* step changes the high (odd) samples by a weighted sum of low (even) samples, an *update* step the low
samples by a weighted sum of high samples. The inverse runs the steps backwards with the opposite sign, so
reconstruction is perfect for any coefficients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias, get_args

from torch import Tensor

from weconvene_core.errors import WeconveneError

Band = Literal["low", "high"]
Scaling = Literal["orthonormal", "jpeg2000"]
Border = Literal["reflect", "zero"]
Coefficient: TypeAlias = float | Tensor  # a tensor where it is learnt


class Tap(NamedTuple):
    """One summand of a step: ``target[i] += coefficient * source[i + offset]``."""

    offset: int
    coefficient: Coefficient


class Rounding(NamedTuple):
    """Integer step: the sum becomes ``(sum + bias) >> shift`` before it is added."""

    bias: int
    shift: int


@dataclass(frozen=True)
class LiftingStep:
    """One lifting step into the ``target`` band, from the other band.

    Low sample i lies at position 2 i of the signal, high sample i at 2 i + 1. With ``rounding`` the coefficients are
    integers.
    """

    target: Band
    taps: tuple[Tap, ...]
    rounding: Rounding | None = None


@dataclass(frozen=True)
class LiftingScheme:
    """A wavelet as lifting steps.

    Parameters
    ----------
    name : shown in messages and tables.
    steps : in the order of the analysis.
    low_gain, high_gain : factors of the two bands after the steps. They give the low band a gain of 1 for a constant
        (DC) and the high band a gain of 2 for an alternating signal (Nyquist): the JPEG 2000 scaling.
    border : what a step reads beyond the ends of a signal that is not periodic: the mirrored sample (``reflect``), or
        nothing (``zero``; Haar, whose pairs never cross the ends).
    """

    name: str
    steps: tuple[LiftingStep, ...]
    low_gain: Coefficient
    high_gain: Coefficient
    border: Border = "reflect"
    integer: bool = field(init=False, repr=False, compare=False)  # integer-reversible: integer tensors, no gains
    learnt: bool = field(init=False, repr=False, compare=False)  # a coefficient or gain is a tensor

    def __post_init__(self) -> None:
        """Look through the steps once: every transform asks for what follows from them."""
        values = [tap.coefficient for step in self.steps for tap in step.taps]
        learnt = any(isinstance(value, Tensor) for value in (*values, self.low_gain, self.high_gain))
        object.__setattr__(self, "integer", any(step.rounding for step in self.steps))
        object.__setattr__(self, "learnt", learnt)

    def gains(self, scaling: Scaling, length: int) -> tuple[Coefficient, Coefficient]:
        """Return the factors of the low and the high band.

        Parameters
        ----------
        scaling : ``orthonormal`` keeps the variance of white input, so that statistics do not drift with levels (Haar
            exactly, 9/7 nearly). ``jpeg2000`` keeps constants. An integer scheme has the scaling of its steps.
        length : samples of the signal, >= 1.
        """
        if scaling not in get_args(Scaling):
            raise WeconveneError(f"scaling={scaling!r} is unknown; use one of {', '.join(get_args(Scaling))}.")
        # no step changes a single sample, so its factor is the DC gain itself (ISO/IEC 15444-1, F.3.6)
        low_gain = 1.0 if length == 1 else self.low_gain
        if scaling == "jpeg2000" or self.integer:
            return low_gain, self.high_gain  # DC gain 1, Nyquist gain 2
        return low_gain * math.sqrt(2), self.high_gain / math.sqrt(2)  # DC gain sqrt(2), Nyquist gain sqrt(2)


Wavelet: TypeAlias = str | LiftingScheme  # what every transform accepts


def predict(*coefficients: float, rounding: Rounding | None = None) -> LiftingStep:
    """Return a step that changes high samples by their low neighbours at offsets 0, 1, ..."""
    # high sample i lies between the low samples i and i + 1
    return LiftingStep("high", tuple(Tap(k, c) for k, c in enumerate(coefficients)), rounding)


def update(*coefficients: float, rounding: Rounding | None = None) -> LiftingStep:
    """Return a step that changes low samples by their high neighbours at offsets ..., -1, 0."""
    first = 1 - len(coefficients)  # low sample i lies between the high samples i - 1 and i
    return LiftingStep("low", tuple(Tap(first + k, c) for k, c in enumerate(coefficients)), rounding)


_ALPHA, _BETA, _GAMMA, _DELTA = -1.586134342059924, -0.052980118572961, 0.882911075530934, 0.443506852043971
_K = 1.230174104914001  # DC gain of the unscaled 9/7 low band (Daubechies and Sweldens 1998, section 7)

SCHEMES: dict[str, LiftingScheme] = {  # the wavelets that the paper names; they have a floating type
    # Haar (1910), as lifting in Sweldens, "The lifting scheme" (1996)
    "haar": LiftingScheme("haar", (predict(-1.0), update(0.5)), 1.0, 1.0, "zero"),
    # Le Gall and Tabatabai (1988); ISO/IEC 15444-1 (JPEG 2000), Annex F
    "5/3": LiftingScheme("5/3", (predict(-0.5, -0.5), update(0.25, 0.25)), 1.0, 1.0),
    # Cohen, Daubechies and Feauveau (1992); lifting factors of Daubechies and Sweldens (1998), as in JPEG 2000
    "9/7": LiftingScheme(
        "9/7",
        (predict(_ALPHA, _ALPHA), update(_BETA, _BETA), predict(_GAMMA, _GAMMA), update(_DELTA, _DELTA)),
        1.0 / _K,
        _K,
    ),
}
# the reversible filter of JPEG 2000, Annex F: high -= floor((l + l') / 2), low += floor((h + h' + 2) / 4)
REVERSIBLE = LiftingScheme(
    "5/3-integer", (predict(-1, -1, rounding=Rounding(1, 1)), update(1, 1, rounding=Rounding(2, 2))), 1.0, 1.0
)
NAMED = {**SCHEMES, REVERSIBLE.name: REVERSIBLE}


def scheme(wavelet: Wavelet) -> LiftingScheme:
    """Return the lifting scheme of a name; a scheme is returned as it is. An unknown name raises ``WeconveneError``."""
    if isinstance(wavelet, LiftingScheme):
        return wavelet
    if not isinstance(wavelet, str) or wavelet not in NAMED:
        raise WeconveneError(
            f"wavelet={wavelet!r} is unknown; use {', '.join(NAMED)} or a LiftingScheme, which the laboratory makes of "
            "filters (filter_banks.lifting_scheme)."
        )
    return NAMED[wavelet]
