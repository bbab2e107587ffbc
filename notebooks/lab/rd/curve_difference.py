"""How far the curves of models that a study has just trained lie apart, by PSNR and by MS-SSIM."""

from __future__ import annotations

from contextlib import suppress

import pandas as pd

from lab.rd.bd_rate import bd_psnr, bd_rate, bootstrap_bd_rate
from lab.rd.curves import VALUE_COLUMN, image_curves
from weconvene_core.errors import WeconveneError

PREFIXES = {"psnr_rgb": "", "ms_ssim": "ms_ssim_"}
"""How the columns of a metric's BD-rate begin."""


def difference(points: pd.DataFrame, reference: pd.DataFrame, intervals: bool = True) -> dict[str, float]:
    """Compare the points of one model with those of another on the same images.

    Parameters
    ----------
    points, reference
        Tables with columns image, quality, bpp, psnr_db and maybe ms_ssim.
    intervals
        Over the images; they take most of the time.

    Returns
    -------
    dict
        ``bd_rate_pct`` with ``low_pct`` and ``high_pct`` (95 % over the images), the same with ``ms_ssim_`` before, and
        ``bd_psnr_db``. What has no common quality or rate, or was not measured of both, is left out.
    """
    found: dict[str, float] = {}
    for metric, prefix in PREFIXES.items():
        tables = (reference, points)
        if any(table.reindex(columns=[VALUE_COLUMN[metric]]).isna().any(axis=None) for table in tables):
            continue
        anchor, test = (image_curves(t.assign(codec="model", dataset="images"), "model", metric) for t in tables)
        if metric == "psnr_rgb":
            with suppress(WeconveneError):  # no common rate
                found["bd_psnr_db"] = bd_psnr(anchor.averaged(), test.averaged())
        with suppress(WeconveneError):  # no common quality, or none in too many draws
            found[f"{prefix}bd_rate_pct"] = bd_rate(anchor.averaged(), test.averaged()).bd_rate_pct
            if not intervals:
                continue
            found |= dict(zip((f"{prefix}low_pct", f"{prefix}high_pct"), bootstrap_bd_rate(anchor, test), strict=True))
    return found
