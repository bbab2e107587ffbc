"""Lifting tables of the wavelets that the paper names, with their sources and gains.

Every wavelet here is a short list of lifting steps. A *predict* step changes the high (odd) samples by a multiple of
their low (even) neighbours, an *update* step changes the low samples by a multiple of their high neighbours; undoing
the steps in reverse order with the opposite sign reconstructs perfectly, whatever the coefficients are.

Sources
-------
haar   : Haar (1910), lifting form in Sweldens, "The lifting scheme" (1996).
5/3    : Le Gall and Tabatabai (1988); ISO/IEC 15444-1 (JPEG 2000), Annex F, reversible filter.
9/7    : Cohen, Daubechies and Feauveau (1992); lifting factors of Daubechies and Sweldens (1998), as in JPEG 2000.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from weconvene_core.errors import WeconveneError

WaveletName = Literal["haar", "5/3", "9/7"]
Scaling = Literal["orthonormal", "jpeg2000"]


@dataclass(frozen=True)
class LiftingStep:
    """One lifting step: ``target += coefficient * (sum of its neighbours of the other kind)``.

    ``neighbours`` is 2 for the symmetric steps of 5/3 and 9/7 (left and right sample, mirrored at the borders) and
    1 for Haar (the partner of the same index; a last sample without partner is left alone).
    """

    target: Literal["low", "high"]
    coefficient: float
    neighbours: Literal[1, 2]


@dataclass(frozen=True)
class LiftingScheme:
    """A wavelet as lifting steps.

    ``low_gain`` and ``high_gain`` multiply the two bands after the steps so that the low band has a gain of 1 for a
    constant (DC) and the high band a gain of 2 for an alternating signal (Nyquist): the JPEG 2000 scaling.
    """

    name: WaveletName
    steps: tuple[LiftingStep, ...]
    low_gain: float
    high_gain: float

    def gains(self, scaling: Scaling) -> tuple[float, float]:
        """Return the factors of (low, high) for a scaling.

        ``orthonormal`` has DC gain sqrt(2) and Nyquist gain sqrt(2): exactly orthonormal for Haar, nearly so for 9/7.
        It keeps the variance of white input, so that statistics do not drift with the number of levels.
        """
        if scaling == "jpeg2000":
            return self.low_gain, self.high_gain
        if scaling == "orthonormal":
            return self.low_gain * math.sqrt(2), self.high_gain / math.sqrt(2)
        raise WeconveneError(f"scaling={scaling!r} is unknown; use one of {', '.join(get_args(Scaling))}.")


def _symmetric(*coefficients: float) -> tuple[LiftingStep, ...]:
    """Alternate predict and update steps with two mirrored neighbours each."""
    return tuple(LiftingStep("low" if i % 2 else "high", c, 2) for i, c in enumerate(coefficients))


_K = 1.230174104914001  # DC gain of the unscaled 9/7 low band (Daubechies and Sweldens 1998, table of section 7)

SCHEMES: dict[str, LiftingScheme] = {
    "haar": LiftingScheme("haar", (LiftingStep("high", -1.0, 1), LiftingStep("low", 0.5, 1)), 1.0, 1.0),
    "5/3": LiftingScheme("5/3", _symmetric(-0.5, 0.25), 1.0, 1.0),
    "9/7": LiftingScheme(
        "9/7",
        _symmetric(-1.586134342059924, -0.052980118572961, 0.882911075530934, 0.443506852043971),
        1.0 / _K,
        _K,
    ),
}


def scheme(name: str) -> LiftingScheme:
    """Return the lifting scheme called ``name``.

    Raises
    ------
    WeconveneError
        If the wavelet is not one of ``haar``, ``5/3`` and ``9/7``.
    """
    if name not in SCHEMES:
        raise WeconveneError(f"wavelet={name!r} is unknown; use one of {', '.join(SCHEMES)}.")
    return SCHEMES[name]
