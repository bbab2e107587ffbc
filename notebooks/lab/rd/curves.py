"""The table of measured points, and the rate-distortion curves that it holds.

The table has one row per image, codec and quality parameter, then ``mean`` rows over the images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.interpolate import PPoly

from lab.rd.metrics import ms_ssim_db
from weconvene_core.errors import WeconveneError

Metric = Literal["psnr_rgb", "ms_ssim", "ms_ssim_db"]
METRIC_TITLES: dict[Metric, str] = {"psnr_rgb": "PSNR", "ms_ssim_db": "MS-SSIM"}
"""The metrics of BD-rates, and what figures and documents call them."""
Floats = NDArray[np.float64]

MEAN = "mean"
MEASURED = ["bpp", "psnr_db", "ms_ssim", "encode_s", "decode_s"]
POINT_COLUMNS = ["dataset", "image", "codec", "quality", *MEASURED]
VALUE_COLUMN: dict[str, str] = {"psnr_rgb": "psnr_db", "ms_ssim": "ms_ssim", "ms_ssim_db": "ms_ssim"}


@dataclass(frozen=True, eq=False)
class Curve:
    """One averaged rate-distortion curve, sorted by rate.

    Attributes
    ----------
    codec : name shown on the curve.
    bpp : (points,) mean bits per pixel, above 0.
    value : (points,) mean quality at that rate: dB, or 0 to 1 for the metric ``ms_ssim``.
    metric, source, note : unit of ``value``, where the points come from, and conditions worth reading.

    Raises
    ------
    WeconveneError
        If lengths differ, there are no points, a rate is not above 0, or a value is not finite.
    """

    codec: str
    bpp: Floats
    value: Floats
    metric: Metric = "psnr_rgb"
    source: str = ""
    note: str = ""
    fits: dict[str, PPoly] = field(default_factory=dict, init=False, repr=False)  # filled by lab.rd.bd_rate

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
        """Return the curve with MS-SSIM in dB of the mean; a curve already in dB comes back itself."""
        if self.metric != "ms_ssim":
            return self
        return replace(self, value=ms_ssim_db(self.value), metric="ms_ssim_db")


@dataclass(frozen=True, eq=False)
class ImageCurves:
    """One codec at the same quality parameters on several images: rates and values of shape (images, points).

    MS-SSIM is turned to dB only after averaging.
    """

    codec: str
    bpp: Floats
    value: Floats
    metric: Literal["psnr_rgb", "ms_ssim"] = "psnr_rgb"
    fits: dict[tuple[str, int, int], tuple[Floats, Floats]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.bpp.ndim != 2 or self.bpp.shape != self.value.shape or 0 in self.bpp.shape:
            raise WeconveneError(f"'{self.codec}' needs (images, points) rates and values of one shape.")

    @property
    def images(self) -> int:
        """Return the number of images."""
        return int(self.bpp.shape[0])

    def averaged(self) -> Curve:
        """Return the mean rate and quality at each point as a curve in dB."""
        return Curve(self.codec, self.bpp.mean(0), self.value.mean(0), self.metric, "measured here").in_db()

    def drawn(self, samples: int, seed: int) -> tuple[Floats, Floats]:
        """Return the mean rates and qualities in dB of bootstrap draws of the images, each (samples, points).

        The same ``seed`` draws the same images of every codec, so that two codecs are drawn in pairs.
        """
        draws = np.random.default_rng(seed).multinomial(self.images, np.full(self.images, 1 / self.images), samples)
        rate, value = (draws / self.images @ measured for measured in (self.bpp, self.value))
        return rate, ms_ssim_db(value) if self.metric == "ms_ssim" else value


def with_means(rows: Sequence[dict[str, object]]) -> pd.DataFrame:
    """Return the rows as a table, followed by the mean over images of each dataset, codec and quality.

    Raises
    ------
    WeconveneError
        If there are no rows.
    """
    if not rows:
        raise WeconveneError("Nothing was measured: give at least one image and one quality.")
    points = pd.DataFrame(rows, columns=POINT_COLUMNS)
    groups = points.groupby(["dataset", "codec", "quality"], as_index=False, sort=False)[MEASURED]
    means = groups.agg(lambda column: column.mean(skipna=False))  # a mean over fewer images would be another set's
    return pd.concat([points, means.assign(image=MEAN)[POINT_COLUMNS]], ignore_index=True)


def averaged_curve(points: pd.DataFrame, codec: str, metric: Metric = "psnr_rgb", dataset: str | None = None) -> Curve:
    """Return the averaged curve of ``codec``; MS-SSIM is averaged first, then taken in dB for ``ms_ssim_db``.

    Raises
    ------
    WeconveneError
        If there are no such rows, or the table holds several datasets and none is named.
    """
    rows = _rows(points, codec, dataset)
    rows = rows[rows.image == MEAN].sort_values("quality")
    rate, value = (rows[column].to_numpy(dtype=float) for column in ("bpp", VALUE_COLUMN[metric]))
    curve = Curve(codec, rate, value, "psnr_rgb" if metric == "psnr_rgb" else "ms_ssim", "measured here")
    return curve.in_db() if metric == "ms_ssim_db" else curve


def image_curves(
    points: pd.DataFrame, codec: str, metric: Metric = "psnr_rgb", dataset: str | None = None
) -> ImageCurves:
    """Return the per-image curves of ``codec``, images sorted by name, qualities ascending.

    Raises
    ------
    WeconveneError
        As :func:`averaged_curve`, or if images were measured at different qualities.
    """
    rows = _rows(points, codec, dataset)
    table = rows[rows.image != MEAN].pivot(index="image", columns="quality", values=["bpp", VALUE_COLUMN[metric]])
    if table["bpp"].isna().to_numpy().any():
        raise WeconveneError(f"'{codec}' was not measured at the same qualities on all images: measure it again.")
    rate, value = (table[column].to_numpy(dtype=float) for column in ("bpp", VALUE_COLUMN[metric]))
    return ImageCurves(codec, rate, value, "psnr_rgb" if metric == "psnr_rgb" else "ms_ssim")


def only_dataset(points: pd.DataFrame, dataset: str | None) -> str:
    """Return ``dataset``, or the only one in the table; several without a name are refused."""
    names = list(dict.fromkeys(points.dataset))
    if dataset is None and len(names) != 1:
        raise WeconveneError(f"The table holds {len(names)} datasets ({', '.join(names)}): name the one you mean.")
    return dataset if dataset is not None else names[0]


def _rows(points: pd.DataFrame, codec: str, dataset: str | None) -> pd.DataFrame:
    rows = points[points.codec == codec]
    rows = rows[rows.dataset == only_dataset(rows if len(rows) else points, dataset)]
    if rows.empty:
        raise WeconveneError(f"No points of '{codec}'; measured codecs are {', '.join(dict.fromkeys(points.codec))}.")
    return rows
