"""Rate-distortion curves: one averaged curve, and the per-image curves that it is the mean of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lab.rd.metrics import ms_ssim_db
from weconvene_core.errors import WeconveneError

Metric = Literal["psnr_rgb", "ms_ssim", "ms_ssim_db"]
METRIC_TITLES: dict[Metric, str] = {"psnr_rgb": "PSNR", "ms_ssim_db": "MS-SSIM"}
"""The metrics of BD-rates, and what figures and documents call them."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Curve:
    """One averaged rate-distortion curve, sorted by rate.

    Attributes:
        codec: name shown on the curve.
        bpp: (points,) mean bits per pixel, above 0.
        value: (points,) mean quality at that rate, in the unit of ``metric``.
        metric: ``psnr_rgb`` and ``ms_ssim_db`` in dB, ``ms_ssim`` from 0 to 1.
        source: where the points come from.
        note: conditions worth reading before comparing.

    Raises:
        WeconveneError: unequal lengths, no points, a rate not above 0, or a value that is not finite.
    """

    codec: str
    bpp: Floats
    value: Floats
    metric: Metric = "psnr_rgb"
    source: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        rate, value = np.asarray(self.bpp, dtype=np.float64), np.asarray(self.value, dtype=np.float64)
        if rate.ndim != 1 or rate.shape != value.shape or rate.size == 0:
            raise WeconveneError(f"Curve '{self.codec}' needs one value per rate, got {rate.shape} and {value.shape}.")
        if not (np.isfinite(rate).all() and np.isfinite(value).all() and (rate > 0).all()):
            raise WeconveneError(f"Curve '{self.codec}' has a rate or value that is not finite, or a rate of 0.")
        order = np.argsort(rate, kind="stable")
        object.__setattr__(self, "bpp", rate[order])
        object.__setattr__(self, "value", value[order])

    def __len__(self) -> int:
        return int(self.bpp.size)

    def is_monotone(self) -> bool:
        """Return whether both rate and quality strictly increase along the curve."""
        return bool((np.diff(self.bpp) > 0).all() and (np.diff(self.value) > 0).all())

    def in_db(self) -> Curve:
        """Return the curve with MS-SSIM in dB of the mean; curves already in dB come back unchanged."""
        if self.metric != "ms_ssim":
            return self
        return replace(self, value=ms_ssim_db(self.value), metric="ms_ssim_db")


@dataclass(frozen=True, eq=False)
class ImageCurves:
    """The same codec at the same knob settings on several images; its column means are the averaged curve.

    Attributes:
        codec: name shown on the curve.
        bpp: (images, points) bits per pixel.
        value: (images, points) quality per image, in the unit of ``metric`` (``psnr_rgb`` or ``ms_ssim``).
        metric: never ``ms_ssim_db``: dB is taken of the mean, after averaging.
        source: where the points come from.
    """

    codec: str
    bpp: Floats
    value: Floats
    metric: Literal["psnr_rgb", "ms_ssim"] = "psnr_rgb"
    source: str = ""

    def __post_init__(self) -> None:
        if self.bpp.ndim != 2 or self.bpp.shape != self.value.shape or 0 in self.bpp.shape:
            raise WeconveneError(f"'{self.codec}' needs (images, points) rates and values of one shape.")

    @property
    def images(self) -> int:
        """Return the number of images."""
        return int(self.bpp.shape[0])

    def averaged(self, weights: Floats | None = None) -> Curve:
        """Return the averaged curve in dB: mean rate and mean quality over the images at each point.

        Args:
            weights: (images,) weights that sum to 1; equal weights when None (a bootstrap draw otherwise).
        """
        w = np.full(self.images, 1.0 / self.images) if weights is None else weights
        return Curve(self.codec, w @ self.bpp, w @ self.value, self.metric, self.source).in_db()
