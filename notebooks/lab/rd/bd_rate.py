"""Bjontegaard deltas: how much rate (or quality) one codec saves against another at equal quality (or rate).

The log-rate is interpolated as a function of quality and averaged over the quality range that both curves cover
(Bjontegaard, VCEG-M33, 2001). The headline interpolates by PCHIP (VCEG-AL22 practice). Akima (Herglotz et al., 2022)
and the original least-squares cubic stand beside it and show how far a figure depends on the interpolation.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
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
    anchor: ImageCurves,
    test: ImageCurves,
    method: Method = "pchip",
    samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    within: Range | None = None,
) -> Range:
    """Return the percentile interval of the BD-rate, in percent, over the choice of images (bootstrap, Efron 1979).

    Each draw takes images with replacement, the same of both codecs, averages their curves and takes one BD-rate, as
    the headline does. The spread that both codecs share cancels. Against a published curve there is no interval: its
    images cannot be drawn, so only how easy or hard *our* images are would be left (a codec against its own mean curve
    would get tens of percent).

    Raises
    ------
    WeconveneError
        If there are fewer than 2 images, the sets differ in size, or over 5 % of the draws have no BD-rate.
    """
    drawn = bootstrap_draws(anchor, test, method, samples, seed, within)
    found = drawn[np.isfinite(drawn)]
    if len(found) < (1.0 - MAX_FAILED_SHARE) * samples:
        raise WeconveneError(
            f"No interval for '{test.codec}': {samples - len(found)} of {samples} bootstrap draws have no BD-rate; "
            "measure more images or wider rates."
        )
    tail = 50.0 * (1.0 - level)
    low, high = np.percentile(found, [tail, 100.0 - tail])
    return float(low), float(high)


def bootstrap_draws(
    anchor: ImageCurves,
    test: ImageCurves,
    method: Method = "pchip",
    samples: int = 1000,
    seed: int = 0,
    within: Range | None = None,
) -> Floats:
    """Return the BD-rate in percent of every draw of the images, (samples,); nan where a draw has none.

    Draws with one seed take the same images, so that BD-rates of other codecs, or of other sizes of the same pictures,
    can be compared draw by draw.

    Raises
    ------
    WeconveneError
        If the anchor is no ``ImageCurves``, there are fewer than 2 images, or the sets differ in size.
    """
    if not isinstance(anchor, ImageCurves):
        raise WeconveneError(f"'{anchor.codec}' is an average: without its images there is no paired interval.")
    if test.images < 2:
        raise WeconveneError(f"A bootstrap over images needs at least 2 images; '{test.codec}' has {test.images}.")
    if anchor.images != test.images:
        raise WeconveneError(f"'{anchor.codec}' and '{test.codec}' were measured on different numbers of images.")
    logs = [_drawn_logs(curves, method, samples, seed) for curves in (anchor, test)]
    low, high = (bound([logs[0][0][:, end], logs[1][0][:, end]], axis=0) for bound, end in ((np.max, 0), (np.min, -1)))
    if within is not None:
        low, high = np.maximum(low, within[0]), np.minimum(high, within[1])
    with np.errstate(invalid="ignore", divide="ignore"):
        means = [_integrals(*log, low, high) / (high - low) for log in logs]
        return np.where(high > low, 100.0 * (10.0 ** (means[1] - means[0]) - 1.0), np.nan)


def _drawn_logs(curves: ImageCurves, method: Method, samples: int, seed: int) -> tuple[Floats, Floats]:
    """Return knots (samples, pieces + 1) and coefficients (order, samples, pieces) of the log-rate of every draw.

    Knots are qualities in dB. A draw without a BD-rate has nan.
    """
    if (method, samples, seed) not in curves.fits:  # one codec is compared with many, but interpolated once
        if curves.bpp.shape[1] < MIN_POINTS:
            raise WeconveneError(f"'{curves.codec}' has {curves.bpp.shape[1]} points; a BD-rate needs {MIN_POINTS}.")
        rate, value = curves.drawn(samples, seed)
        order = np.argsort(rate.mean(0), kind="stable")
        rate, value = rate[:, order], value[:, order]
        with np.errstate(invalid="ignore"):
            rises = np.isfinite(value).all(1) & (np.diff(rate) > 0).all(1) & (np.diff(value) > 0).all(1)
        fits = [_interpolator(x, y, method) for x, y in zip(value[rises], np.log10(rate[rises]), strict=True)]
        shape = fits[0].c.shape if fits else (4, 1)
        knots, pieces = np.full((samples, shape[1] + 1), np.nan), np.full((shape[0], samples, shape[1]), np.nan)
        if fits:
            knots[rises] = [fit.x for fit in fits]
            pieces[:, rises] = np.stack([fit.c for fit in fits], axis=1)
        curves.fits[method, samples, seed] = knots, pieces
    return curves.fits[method, samples, seed]


def _integrals(knots: Floats, pieces: Floats, low: Floats, high: Floats) -> Floats:
    """Integrate piecewise polynomials, a row each, from ``low`` to ``high``, both (samples,) and within the knots."""
    starts, ends = knots[:, :-1], knots[:, 1:]
    powers = np.arange(len(pieces), 0, -1)[:, None, None]  # the first coefficient is that of the highest power

    def primitive(x: Floats) -> Floats:
        return (pieces / powers * (np.clip(x[:, None], starts, ends) - starts) ** powers).sum(0)

    return (primitive(high) - primitive(low)).sum(1)


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
