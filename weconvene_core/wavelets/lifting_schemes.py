"""Wavelets as lifting steps: the tables of the three wavelets that the paper names, and what a step is.

Every wavelet here is a short list of lifting steps. A *predict* step changes the high (odd) samples by a weighted sum
of low (even) ones, an *update* step changes the low samples by a weighted sum of high ones; undoing the steps in
reverse order with the opposite sign reconstructs perfectly, whatever the coefficients are.

Sources
-------
haar        : Haar (1910), lifting form in Sweldens, "The lifting scheme" (1996).
5/3         : Le Gall and Tabatabai (1988); ISO/IEC 15444-1 (JPEG 2000), Annex F.
5/3-integer : the reversible filter of JPEG 2000, Annex F: the same steps, each rounded down to an integer.
9/7         : Cohen, Daubechies and Feauveau (1992); lifting factors of Daubechies and Sweldens (1998), as in JPEG 2000.
others      : any orthogonal or biorthogonal wavelet of PyWavelets by its name there, factored in :mod:`.factor`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
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
    """One lifting step into the ``target`` band, from the other one.

    Low sample i lies at position 2 i of the signal, high sample i at 2 i + 1; so a high sample's neighbours have the
    offsets 0 and 1, a low sample's the offsets -1 and 0. With ``rounding`` the coefficients are integers.
    """

    target: Band
    taps: tuple[Tap, ...]
    rounding: Rounding | None = None


@dataclass(frozen=True)
class LiftingScheme:
    """A wavelet as lifting steps.

    ``low_gain`` and ``high_gain`` multiply the two bands after the steps so that the low band has a gain of 1 for a
    constant (DC) and the high band a gain of 2 for an alternating signal (Nyquist): the JPEG 2000 scaling. ``border``
    says what a step reads beyond the ends of a signal that is not periodic: the mirrored sample, or nothing (Haar,
    whose pairs never cross the ends).
    """

    name: str
    steps: tuple[LiftingStep, ...]
    low_gain: Coefficient
    high_gain: Coefficient
    border: Border = "reflect"

    @property
    def integer(self) -> bool:
        """True for integer-reversible schemes, which transform integer tensors and have no gains."""
        return any(step.rounding for step in self.steps)

    @property
    def learnt(self) -> bool:
        """True where some coefficient is a tensor."""
        values = [tap.coefficient for step in self.steps for tap in step.taps]
        return any(isinstance(value, Tensor) for value in (*values, self.low_gain, self.high_gain))

    def gains(self, scaling: Scaling, length: int) -> tuple[Coefficient, Coefficient]:
        """Return the factors of (low, high) for a scaling and a signal of ``length`` samples.

        ``orthonormal`` has DC gain sqrt(2) and Nyquist gain sqrt(2): exactly orthonormal for Haar and Daubechies'
        wavelets, nearly so for 9/7. It keeps the variance of white input, so that statistics do not drift with levels.
        An integer scheme has the steps' own scaling, which for 5/3 is that of JPEG 2000. A single sample is a constant:
        no step changes it, so its factor is the DC gain itself (ISO/IEC 15444-1, F.3.6).

        Raises
        ------
        WeconveneError
            For another scaling.
        """
        if scaling not in get_args(Scaling):
            raise WeconveneError(f"scaling={scaling!r} is unknown; use one of {', '.join(get_args(Scaling))}.")
        low_gain = 1.0 if length == 1 else self.low_gain
        if scaling == "jpeg2000" or self.integer:
            return low_gain, self.high_gain
        return low_gain * math.sqrt(2), self.high_gain / math.sqrt(2)


Wavelet: TypeAlias = str | LiftingScheme
"""What every transform accepts: a name, or a scheme of one's own."""


def predict(*coefficients: float, rounding: Rounding | None = None) -> LiftingStep:
    """Change high samples by the low neighbours at offsets 0, 1, ..."""
    return LiftingStep("high", tuple(Tap(k, c) for k, c in enumerate(coefficients)), rounding)


def update(*coefficients: float, rounding: Rounding | None = None) -> LiftingStep:
    """Change low samples by the high neighbours at offsets ..., -1, 0."""
    first = 1 - len(coefficients)
    return LiftingStep("low", tuple(Tap(first + k, c) for k, c in enumerate(coefficients)), rounding)


_ALPHA, _BETA, _GAMMA, _DELTA = -1.586134342059924, -0.052980118572961, 0.882911075530934, 0.443506852043971
_K = 1.230174104914001  # DC gain of the unscaled 9/7 low band (Daubechies and Sweldens 1998, section 7)

SCHEMES: dict[str, LiftingScheme] = {
    "haar": LiftingScheme("haar", (predict(-1.0), update(0.5)), 1.0, 1.0, "zero"),
    "5/3": LiftingScheme("5/3", (predict(-0.5, -0.5), update(0.25, 0.25)), 1.0, 1.0),
    "9/7": LiftingScheme(
        "9/7",
        (predict(_ALPHA, _ALPHA), update(_BETA, _BETA), predict(_GAMMA, _GAMMA), update(_DELTA, _DELTA)),
        1.0 / _K,
        _K,
    ),
}

REVERSIBLE = LiftingScheme(  # high -= floor((l + l') / 2), low += floor((h + h' + 2) / 4)
    "5/3-integer", (predict(-1, -1, rounding=Rounding(1, 1)), update(1, 1, rounding=Rounding(2, 2))), 1.0, 1.0
)


def scheme(wavelet: Wavelet) -> LiftingScheme:
    """Return the lifting scheme of a name; a scheme is returned as it is.

    Names are those of :data:`SCHEMES`, ``5/3-integer``, and the discrete wavelets of PyWavelets (``db2``, ``sym4``...).

    Raises
    ------
    WeconveneError
        If nothing has this name, or its filters cannot be factored accurately.
    """
    if isinstance(wavelet, LiftingScheme):
        return wavelet
    if wavelet in SCHEMES:
        return SCHEMES[wavelet]
    if wavelet == REVERSIBLE.name:
        return REVERSIBLE
    from weconvene_core.wavelets.filter_factoring import factored  # PyWavelets is imported only where it is asked for

    return factored(wavelet)


def is_named(lifting: LiftingScheme) -> bool:
    """True if :func:`scheme` finds this very scheme by its name."""
    try:
        return scheme(lifting.name) is lifting
    except WeconveneError:
        return False
