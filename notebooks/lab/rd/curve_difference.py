"""Curves of models that a study has just trained, and how far they lie apart by PSNR and by MS-SSIM."""

from __future__ import annotations

from contextlib import suppress
from typing import Literal

import pandas as pd

from lab.rd.bd_rate import bd_psnr, bd_rate
from lab.rd.bootstrap import bootstrap_bd_rate
from lab.rd.curves import ImageCurves
from lab.rd.points import VALUE_COLUMN
from weconvene_core.errors import WeconveneError

Measured = Literal["psnr_rgb", "ms_ssim"]
PREFIXES: dict[Measured, str] = {"psnr_rgb": "", "ms_ssim": "ms_ssim_"}
"""How the columns of a metric's BD-rate begin."""


def curves_of(points: pd.DataFrame, name: str, metric: Measured = "psnr_rgb") -> ImageCurves:
    """Return the curves over the images of a table with image, quality, bpp, psnr_db and ms_ssim."""
    table = points.sort_values(["image", "quality"])
    images = table.image.nunique()
    bpp, value = (table[column].to_numpy().reshape(images, -1) for column in ("bpp", VALUE_COLUMN[metric]))
    return ImageCurves(name, bpp, value, metric)


def difference(points: pd.DataFrame, reference: pd.DataFrame) -> dict[str, float]:
    """Hold the points of one model to those of another on the same images.

    Returns:
        ``bd_rate_pct`` with ``low_pct`` and ``high_pct`` (95 % over the images), the same with ``ms_ssim_`` before, and
        ``bd_psnr_db``; what has no common quality or rate, or was not measured of both, is left out.
    """
    found: dict[str, float] = {}
    for metric, prefix in PREFIXES.items():
        if any(table.reindex(columns=[VALUE_COLUMN[metric]]).isna().any(axis=None) for table in (points, reference)):
            continue
        mine, anchor = (curves_of(*curve, metric) for curve in ((points, "variant"), (reference, "reference")))
        if metric == "psnr_rgb":
            with suppress(WeconveneError):  # no common rate
                found["bd_psnr_db"] = bd_psnr(anchor.averaged(), mine.averaged())
        with suppress(WeconveneError):  # no common quality, or none in too many draws
            found[f"{prefix}bd_rate_pct"] = bd_rate(anchor.averaged(), mine.averaged()).bd_rate_pct
            interval = bootstrap_bd_rate(anchor, mine)
            found |= {f"{prefix}low_pct": interval.low, f"{prefix}high_pct": interval.high}
    return found
