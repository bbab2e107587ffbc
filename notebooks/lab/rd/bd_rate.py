"""Bjontegaard deltas: how much rate (or quality) one codec saves against another at equal quality (or rate).

The log-rate is interpolated as a function of quality and averaged over the quality range that both curves cover
(Bjontegaard, VCEG-M33, 2001). The headline interpolates by PCHIP (VCEG-AL22 practice). Akima (Herglotz et al., 2022)
and the original least-squares cubic stand beside it and show how far a figure depends on the interpolation.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from scipy.interpolate import Akima1DInterpolator, PchipInterpolator, PPoly

from lab.rd.curves import Curve, Floats, ImageCurves
from weconvene_core.errors import WeconveneError

Method = Literal["pchip", "akima", "cubic"]
METHODS: tuple[Method, ...] = get_args(Method)
MIN_POINTS = 4
MAX_FAILED_SHARE = 0.05
"""Share of bootstrap draws that may have no BD-rate."""
Range = tuple[float, float]


@dataclass(frozen=True)
class BDRate:
    """A BD-rate in percent (negative: fewer bits than the anchor) and the range of quality in dB that it averages over.

    ``overlap_pct`` is the length of that range as a share of the **test** curve's own range.
    """

    bd_rate_pct: float
    overlap_pct: float
    low_db: float
    high_db: float


def bd_rate(anchor: Curve, test: Curve, method: Method = "pchip", within: Range | None = None) -> BDRate:
    """Return the BD-rate of ``test`` against ``anchor``; MS-SSIM is compared in dB of the mean.

    A BD-rate depends on its range of quality: JPEG 2000 stands at +57 % against VTM over 0.1 to 2 bpp on Kodak and at
    +66 % over 0.1 to 1 bpp. Codecs measured over different ranges are compared fairly only ``within`` a common one.

    Parameters
    ----------
    within
        (low, high) quality in dB to stay in; None for all that both curves cover.

    Raises
    ------
    WeconveneError
        If a curve has under 4 points or does not rise strictly, the metrics differ, or no quality is common.
    """
    anchor, test = _in_one_metric(anchor, test)
    logs = [log_rate(curve, method) for curve in (anchor, test)]
    complaint = f"'{anchor.codec}' and '{test.codec}' share no quality range"
    low, high = _overlap(anchor.value, test.value, complaint, within)
    means = [float(log.integrate(low, high)) / (high - low) for log in logs]
    covered = 100.0 * (high - low) / float(test.value[-1] - test.value[0])
    return BDRate(100.0 * (10.0 ** (means[1] - means[0]) - 1.0), covered, low, high)


def log_rate(curve: Curve, method: Method = "pchip") -> PPoly:
    """Return log10 of the rate (bpp) as a function of the quality (dB), as :func:`bd_rate` integrates it.

    Beyond the curve's ends PCHIP and the cubic extrapolate and Akima gives nan; :func:`bd_rate` never goes there.

    Raises
    ------
    WeconveneError
        If the curve has under 4 points or does not rise strictly, or the method is unknown.
    """
    if method not in curve.fits:  # a bootstrap draw is compared with many anchors, but interpolated once
        checked = _checked(curve.in_db())
        curve.fits[method] = _interpolator(checked.value, np.log10(checked.bpp), method)
    return curve.fits[method]


def bd_psnr(anchor: Curve, test: Curve, method: Method = "pchip") -> float:
    """Return the mean quality difference in dB at equal rate (BD-PSNR); positive means that ``test`` is better.

    Raises
    ------
    WeconveneError
        As :func:`bd_rate`, with the rate range in place of the quality range.
    """
    anchor, test = map(_checked, _in_one_metric(anchor, test))
    logs = [np.log10(curve.bpp) for curve in (anchor, test)]
    low, high = _overlap(*logs, f"'{anchor.codec}' and '{test.codec}' share no range of rates")
    means = [
        float(_interpolator(x, curve.value, method).integrate(low, high)) / (high - low)
        for x, curve in zip(logs, (anchor, test), strict=True)
    ]
    return means[1] - means[0]


def common_range(curves: Sequence[Curve]) -> Range:
    """Return the quality range in dB that all curves cover, to be given to :func:`bd_rate` as ``within``.

    Raises
    ------
    WeconveneError
        If the curves have no common range.
    """
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


def bootstrap_bd_rate(
    anchor: Curve | ImageCurves,
    test: ImageCurves,
    method: Method = "pchip",
    samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    within: Range | None = None,
) -> Range:
    """Return the percentile interval of the BD-rate, in percent, over the choice of images (bootstrap, Efron 1979).

    Each draw takes images with replacement, averages their curves and takes one BD-rate, as the headline does. A live
    anchor (``ImageCurves`` of the same images in the same order) is drawn along with the test, so the spread that both
    share cancels. A published ``Curve`` stays as it is, so its interval is wide.

    Raises
    ------
    WeconveneError
        If there are fewer than 2 images, the sets differ in size, or over 5 % of the draws have no BD-rate.
    """
    if test.images < 2:
        raise WeconveneError(f"A bootstrap over images needs at least 2 images; '{test.codec}' has {test.images}.")
    if isinstance(anchor, ImageCurves) and anchor.images != test.images:
        raise WeconveneError(f"'{anchor.codec}' and '{test.codec}' were measured on different numbers of images.")
    anchors = [anchor] * samples if isinstance(anchor, Curve) else anchor.draws(samples, seed)
    rates = []
    for one, other in zip(anchors, test.draws(samples, seed), strict=True):
        with suppress(WeconveneError):  # a draw may lose monotony
            if one and other:
                rates.append(bd_rate(one, other, method, within).bd_rate_pct)
    if len(rates) < (1.0 - MAX_FAILED_SHARE) * samples:
        raise WeconveneError(
            f"No interval for '{test.codec}': {samples - len(rates)} of {samples} bootstrap draws have no BD-rate; "
            "measure more images or wider rates."
        )
    tail = 50.0 * (1.0 - level)
    low, high = np.percentile(rates, [tail, 100.0 - tail])
    return float(low), float(high)


def _in_one_metric(anchor: Curve, test: Curve) -> tuple[Curve, Curve]:
    """Return both curves in dB; PSNR against MS-SSIM is refused."""
    anchor, test = anchor.in_db(), test.in_db()
    if anchor.metric != test.metric:
        raise WeconveneError(f"A BD-rate needs one metric, not {anchor.metric} against {test.metric}.")
    return anchor, test


def _checked(curve: Curve) -> Curve:
    """Return a curve that has a BD-rate; any other is refused."""
    if len(curve) < MIN_POINTS:
        raise WeconveneError(
            f"'{curve.codec}' has {len(curve)} points; a BD-rate needs {MIN_POINTS} or more: measure more rates."
        )
    if not curve.is_monotone():
        raise WeconveneError(
            f"'{curve.codec}' does not rise strictly in rate and quality, so a BD-rate is not defined on it: "
            "remove the points that cost more and give less, and say so."
        )
    return curve


def _overlap(a: Floats, b: Floats, complaint: str, within: Range | None = None) -> Range:
    """Return what two rising arrays cover both, and ``within`` too."""
    low, high = max(float(a[0]), float(b[0])), min(float(a[-1]), float(b[-1]))
    if within is not None:
        low, high = max(low, within[0]), min(high, within[1])
    if high <= low:
        raise WeconveneError(f"{complaint}, so no BD-rate exists: measure rates that overlap.")
    return low, high


def _interpolator(x: Floats, y: Floats, method: Method) -> PPoly:
    if method == "pchip":
        return PchipInterpolator(x, y)
    if method == "akima":
        return Akima1DInterpolator(x, y)
    if method == "cubic":  # one polynomial for all points, by least squares: with more than four it passes beside them
        return PPoly(np.polyfit(x - x[0], y, 3)[:, None], x[[0, -1]])
    raise WeconveneError(f"Unknown interpolation '{method}': choose one of {', '.join(METHODS)}.")
