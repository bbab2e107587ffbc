"""Bjontegaard deltas: how much rate (or quality) one codec saves against another at equal quality (or rate).

The log-rate is interpolated as a function of quality and averaged over the quality range that both curves cover
(Bjontegaard, VCEG-M33, 2001). The headline interpolates by PCHIP (VCEG-AL22 practice); Akima (Herglotz et al., 2022)
and the original least-squares cubic stand beside it, because a figure that depends on the interpolation is not one.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from scipy.interpolate import Akima1DInterpolator, PchipInterpolator, PPoly

from lab.rd.curves import Curve, Floats, Metric
from weconvene_core.errors import WeconveneError

Method = Literal["pchip", "akima", "cubic"]
METHODS: tuple[Method, ...] = get_args(Method)
MIN_POINTS = 4
Range = tuple[float, float]


@dataclass(frozen=True)
class BDRate:
    """A BD-rate with what is needed to judge it.

    Attributes:
        bd_rate_pct: mean rate difference of the test curve in percent; negative means fewer bits than the anchor.
        overlap_db: length of the quality range that both curves cover, in dB.
        overlap_pct: that length as a share of the **test** curve's own range: how much of it the figure speaks of.
        points_anchor: number of points of the anchor.
        points_test: number of points of the test curve.
        method: interpolation.
        low_db: lower end of the common quality range.
        high_db: upper end of the common quality range.
    """

    bd_rate_pct: float
    overlap_db: float
    overlap_pct: float
    points_anchor: int
    points_test: int
    method: Method
    low_db: float
    high_db: float


@dataclass(frozen=True)
class Fit:
    """A curve that has a BD-rate, interpolated: log10 of the rate (bpp) over its range of quality, in dB."""

    metric: Metric
    low: float
    high: float
    log_rate: PPoly

    def mean(self, low: float, high: float) -> float:
        """Return the mean log10 rate over the qualities from ``low`` to ``high``."""
        return float(self.log_rate.integrate(low, high)) / (high - low)


def bd_rate(anchor: Curve, test: Curve, method: Method = "pchip", within: Range | None = None) -> BDRate:
    """Return the BD-rate of ``test`` against ``anchor``; MS-SSIM is compared in dB of the mean.

    A BD-rate speaks of a range of quality: JPEG 2000 stands at +57 % against VTM over 0.1 to 2 bpp on Kodak and at
    +66 % over 0.1 to 1 bpp. Codecs measured over different ranges are compared fairly only ``within`` a common one.

    Args:
        anchor: the reference.
        test: the codec in question.
        method: interpolation.
        within: (low, high) quality in dB to stay in; None for all that both curves cover.

    Raises:
        WeconveneError: under 4 points, curves that do not rise strictly, different metrics, or no common quality.
    """
    anchor, test = _checked(anchor, test)
    low, high = _overlap(
        anchor.value, test.value, f"'{anchor.codec}' and '{test.codec}' share no quality range", within
    )
    return BDRate(
        bd_rate_pct=delta_pct(fit(anchor, method), fit(test, method), low, high),
        overlap_db=high - low,
        overlap_pct=100.0 * (high - low) / float(np.ptp(test.value)),
        points_anchor=len(anchor),
        points_test=len(test),
        method=method,
        low_db=low,
        high_db=high,
    )


def log_rate(curve: Curve, method: Method = "pchip") -> PPoly:
    """Return log10 of the rate (bpp) as a function of the quality (dB), as :func:`bd_rate` integrates it.

    Beyond the curve's ends PCHIP and the cubic extrapolate and Akima gives nan; :func:`bd_rate` never goes there.

    Raises:
        WeconveneError: under 4 points, or a curve that does not rise strictly.
    """
    return fit(curve, method).log_rate


def fit(curve: Curve, method: Method = "pchip") -> Fit:
    """Return the curve as :func:`bd_rate` sees it.

    Raises:
        WeconveneError: as :func:`log_rate`.
    """
    (checked,) = _checked(curve)
    value, log = checked.value, _interpolator(checked.value, np.log10(checked.bpp), method)
    return Fit(checked.metric, float(value.min()), float(value.max()), log)


def delta_pct(anchor: Fit, test: Fit, low: float, high: float) -> float:
    """Return the mean difference in rate over the qualities from ``low`` to ``high``, in percent of the anchor."""
    return 100.0 * (10.0 ** (test.mean(low, high) - anchor.mean(low, high)) - 1.0)


def common_range(curves: Sequence[Curve]) -> Range:
    """Return the quality range in dB that all curves cover, to be given to :func:`bd_rate` as ``within``.

    Raises:
        WeconveneError: no curves, or no common range.
    """
    if not curves:
        raise WeconveneError("A common range needs at least one curve.")
    values = [curve.in_db().value for curve in curves]
    low, high = max(float(v.min()) for v in values), min(float(v.max()) for v in values)
    if high <= low:
        raise WeconveneError("The curves share no quality range: measure rates that overlap.")
    return low, high


def comparable(anchor: Curve, tests: Sequence[Curve]) -> list[Curve]:
    """Return those curves that have a BD-rate against ``anchor``; a warning says of each other one why it has none."""
    kept = []
    for test in tests:
        try:
            bd_rate(anchor, test)
        except WeconveneError as reason:
            warnings.warn(f"'{test.codec}' is left out: {reason}", stacklevel=2)
        else:
            kept.append(test)
    return kept


def bd_psnr(anchor: Curve, test: Curve, method: Method = "pchip") -> float:
    """Return the mean quality difference in dB at equal rate (BD-PSNR); positive means that ``test`` is better.

    Raises:
        WeconveneError: as :func:`bd_rate`, with the rate range in place of the quality range.
    """
    anchor, test = _checked(anchor, test)
    x_anchor, x_test = np.log10(anchor.bpp), np.log10(test.bpp)
    low, high = _overlap(x_anchor, x_test, f"'{anchor.codec}' and '{test.codec}' share no range of rates")
    return _mean(x_test, test.value, method, low, high) - _mean(x_anchor, anchor.value, method, low, high)


def _checked(*given: Curve) -> tuple[Curve, ...]:
    curves = tuple(curve.in_db() for curve in given)
    if curves[0].metric != curves[-1].metric:
        raise WeconveneError(f"A BD-rate needs one metric, not {curves[0].metric} against {curves[-1].metric}.")
    for curve in curves:
        if len(curve) < MIN_POINTS:
            raise WeconveneError(
                f"'{curve.codec}' has {len(curve)} points; a BD-rate needs {MIN_POINTS} or more: measure more rates."
            )
        if not curve.is_monotone():
            raise WeconveneError(
                f"'{curve.codec}' does not rise strictly in rate and quality, so a BD-rate is not defined on it: "
                "remove the points that cost more and give less, and say so."
            )
    return curves


def _overlap(a: Floats, b: Floats, complaint: str, within: Range | None = None) -> Range:
    low, high = max(float(a.min()), float(b.min())), min(float(a.max()), float(b.max()))
    if within is not None:
        low, high = max(low, within[0]), min(high, within[1])
    if high <= low:
        raise WeconveneError(f"{complaint}, so no BD-rate exists: measure rates that overlap.")
    return low, high


def _mean(x: Floats, y: Floats, method: Method, low: float, high: float) -> float:
    """Return the mean of the interpolated ``y`` over ``[low, high]``."""
    return float(_interpolator(x, y, method).integrate(low, high)) / (high - low)


def _interpolator(x: Floats, y: Floats, method: Method) -> PPoly:
    if method == "pchip":
        return PchipInterpolator(x, y)
    if method == "akima":
        return Akima1DInterpolator(x, y)
    if method == "cubic":  # one polynomial for all points, by least squares: with more than four it passes beside them
        return PPoly(np.polyfit(x - x[0], y, 3)[:, None], x[[0, -1]])
    raise WeconveneError(f"Unknown interpolation '{method}': choose one of {', '.join(METHODS)}.")
