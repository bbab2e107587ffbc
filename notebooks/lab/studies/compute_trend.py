"""What the trend through the checkpoints of ``compute_curve`` promises; needs no model, so it loads at once."""

from __future__ import annotations

import numpy as np
import pandas as pd

from weconvene_core.errors import WeconveneError

VVC_PCT, PAPER_PCT = 0.0, -12.24
"""BD-rates against VVC to extrapolate to: its own, and the paper's claim on Kodak."""


def trend(table: pd.DataFrame) -> tuple[float, float]:
    """Fit BD-rate = a + b log2(megapixels) through the checkpoints; return (a, b).

    Raises
    ------
    WeconveneError
        For fewer than three checkpoints.
    """
    if len(table) < 3:
        raise WeconveneError(f"a trend through {len(table)} checkpoints shows nothing; measure at least three.")
    slope, start = np.polyfit(np.log2(table.megapixels), table.bd_rate_pct, 1)
    return float(start), float(slope)


def later_half(table: pd.DataFrame) -> pd.DataFrame:
    """Return the checkpoints of the later half of the training, at least three: enough for a trend of their own."""
    return table.sort_values("megapixels").tail(max(3, (len(table) + 1) // 2))


def megapixels_for(target_pct: float, fit: tuple[float, float]) -> float:
    """Return the compute at which the trend reaches a BD-rate: an extrapolation, not a promise."""
    start, slope = fit
    return float(2 ** ((target_pct - start) / slope))
