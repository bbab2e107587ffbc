"""How far a BD-rate moves with the choice of images: the percentile bootstrap (Efron, 1979) over a set's images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lab.rd.bd_rate import Fit, Method, Range, delta_pct, fit
from lab.rd.curves import Curve, Floats, ImageCurves
from weconvene_core.errors import WeconveneError

MAX_FAILED_SHARE = 0.05


@dataclass(frozen=True)
class Interval:
    """A percentile bootstrap interval: ``low`` and ``high`` in percent, its ``level``, and the draws that count."""

    low: float
    high: float
    level: float
    samples: int


class Draws:
    """One codec's curve in every draw of the images, interpolated once however many anchors it is compared with.

    A published ``Curve`` is the same in all draws.
    """

    def __init__(self, curves: Curve | ImageCurves, samples: int = 1000, seed: int = 0) -> None:
        """Draw ``samples`` times from the images of ``curves``, as the random numbers of ``seed`` have it."""
        self.curves = curves
        self.samples = samples
        self.seed = seed
        self._fits: dict[Method, list[Fit | None]] = {}

    @property
    def images(self) -> int | None:
        """The number of images, None for a published curve."""
        return self.curves.images if isinstance(self.curves, ImageCurves) else None

    def fits(self, method: Method) -> list[Fit | None]:
        """Return one interpolated curve per draw, None where the draw's curve does not rise strictly."""
        if method not in self._fits:
            self._fits[method] = self._fitted(method)
        return self._fits[method]

    def _fitted(self, method: Method) -> list[Fit | None]:
        if isinstance(self.curves, Curve):
            return [_try_fit(self.curves, method)] * self.samples
        return [_try_fit(self.curves, method, weights) for weights in self._weights(self.curves.images)]

    def _weights(self, images: int) -> Floats:
        counts = np.random.default_rng(self.seed).multinomial(images, np.full(images, 1.0 / images), self.samples)
        return counts / images  # (samples, images), rows sum to 1


def bootstrap_bd_rate(
    anchor: Curve | ImageCurves,
    test: ImageCurves,
    method: Method = "pchip",
    samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    within: Range | None = None,
) -> Interval:
    """Return the percentile interval of the BD-rate when the images are drawn again with replacement.

    Each draw averages the drawn images' curves and takes one BD-rate, as the headline does. A live anchor
    (``ImageCurves`` on the same images in the same order) is drawn along with the test. A published ``Curve`` stays
    as it is, so that interval is wide: it carries the whole spread between images, which a paired draw cancels.

    Raises:
        WeconveneError: fewer than 2 images, sets of different size, or over 5 % of draws without a BD-rate.
    """
    return interval(Draws(anchor, samples, seed), Draws(test, samples, seed), method, level, within)


def interval(
    anchor: Draws, test: Draws, method: Method = "pchip", level: float = 0.95, within: Range | None = None
) -> Interval:
    """Return what :func:`bootstrap_bd_rate` returns, of curves whose draws were made before.

    Raises:
        WeconveneError: as :func:`bootstrap_bd_rate`.
    """
    _check_images(anchor, test)
    pairs = zip(anchor.fits(method), test.fits(method), strict=True)
    deltas = [_delta(one, other, within) for one, other in pairs]
    kept = np.array([delta for delta in deltas if delta is not None])
    if kept.size < (1.0 - MAX_FAILED_SHARE) * test.samples:
        raise WeconveneError(
            f"No interval for '{test.curves.codec}': {test.samples - kept.size} of {test.samples} bootstrap draws have "
            "no BD-rate; measure more images or wider rates."
        )
    tail = 50.0 * (1.0 - level)
    low, high = np.percentile(kept, [tail, 100.0 - tail])
    return Interval(float(low), float(high), level, int(kept.size))


def _check_images(anchor: Draws, test: Draws) -> None:
    name, count = test.curves.codec, test.images or 0
    if count < 2:
        raise WeconveneError(f"A bootstrap over images needs at least 2 images; '{name}' has {count}.")
    if anchor.images not in (None, count):
        raise WeconveneError(f"'{anchor.curves.codec}' and '{name}' were measured on different numbers of images.")


def _try_fit(curves: Curve | ImageCurves, method: Method, weights: Floats | None = None) -> Fit | None:
    try:
        return fit(curves if isinstance(curves, Curve) else curves.averaged(weights), method)
    except WeconveneError:  # a draw may lose monotony or have no mean; ``interval`` limits how many may
        return None


def _delta(anchor: Fit | None, test: Fit | None, within: Range | None) -> float | None:
    if anchor is None or test is None or anchor.metric != test.metric:
        return None
    low, high = max(anchor.low, test.low), min(anchor.high, test.high)
    if within is not None:
        low, high = max(low, within[0]), min(high, within[1])
    return delta_pct(anchor, test, low, high) if low < high else None
