"""What a wavelet does to a signal, read off the transform itself: filters, gains, energy bounds, scalings."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from weconvene_core.wavelets import Scaling, Wavelet, dwt1d

_LENGTH = 128  # of the probing signals: far longer than any filter here
_CENTRE = 64


class FilterPair(NamedTuple):
    """Two filters as {position: tap}; positions count from the sample that the coefficient belongs to."""

    low: dict[int, float]
    high: dict[int, float]

    def dc_gain(self) -> float:
        """Gain of the low-pass filter for a constant."""
        return sum(self.low.values())

    def nyquist_gain(self) -> float:
        """Gain of the high-pass filter for a signal that is +1 at its centre and alternates."""
        return sum(tap * (-1) ** position for position, tap in self.high.items())


def analysis_filters(wavelet: Wavelet, scaling: Scaling = "orthonormal") -> FilterPair:
    """Return the taps with which samples enter a low coefficient (from position 2 i) and a high one (from 2 i + 1).

    Raises
    ------
    WeconveneError
        For an unknown wavelet or scaling, or an integer one, which has no linear filters.
    """
    low, high = dwt1d(torch.eye(_LENGTH, dtype=torch.float64), wavelet, 0, scaling)  # row i: what coefficient i reads
    return FilterPair(_taps(low[_CENTRE // 2], _CENTRE), _taps(high[_CENTRE // 2], _CENTRE + 1))


def _taps(row: torch.Tensor, centre: int) -> dict[int, float]:
    return {i - centre: value for i, value in enumerate(row.tolist()) if abs(value) > 1e-12}


def energy_bounds(wavelet: Wavelet, scaling: Scaling = "orthonormal") -> tuple[float, float]:
    """Return (a, b) with a |x|^2 <= |coefficients|^2 <= b |x|^2 for one level of a periodic signal.

    The bounds are the extreme squared singular values of the 2 x 2 polyphase matrix over all frequencies (Vetterli and
    Kovacevic 1995, section 3.2); (1, 1) means orthonormal.
    """
    identity = torch.eye(_LENGTH, dtype=torch.float64)
    matrix = torch.cat(dwt1d(identity, wavelet, 0, scaling, "periodic"))
    values = np.linalg.svd(matrix.numpy(), compute_uv=False)
    return float(values[-1] ** 2), float(values[0] ** 2)


def conversion_table(wavelets: tuple[str, ...] = ("haar", "5/3", "9/7")) -> pd.DataFrame:
    """Tabulate both scalings and PyWavelets' convention: gains, and the factors between them.

    Returns
    -------
    Columns wavelet, scaling, dc_gain (low), nyquist_gain (high), low_factor and high_factor (from JPEG 2000's
    coefficients to these), energy_low and energy_high (bounds over one level).
    """
    columns = [
        "wavelet",
        "scaling",
        "dc_gain",
        "nyquist_gain",
        "low_factor",
        "high_factor",
        "energy_low",
        "energy_high",
    ]
    rows = []
    for wavelet in wavelets:
        reference = analysis_filters(wavelet, "jpeg2000")
        dc, nyquist = reference.dc_gain(), reference.nyquist_gain()
        for scaling in ("jpeg2000", "orthonormal"):
            filters, bounds = analysis_filters(wavelet, scaling), energy_bounds(wavelet, scaling)
            gains = filters.dc_gain(), filters.nyquist_gain()
            rows.append([wavelet, scaling, *gains, gains[0] / dc, gains[1] / nyquist, *bounds])
        root = math.sqrt(2)
        rows.append([wavelet, "pywt", root, -root, root, -1 / root, *bounds])
    return pd.DataFrame(rows, columns=columns)
