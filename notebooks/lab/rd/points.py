"""The table of measured points: one row per image and quality, mean rows, and the curves that they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from lab.rd.curves import Curve, ImageCurves, Metric
from lab.rd.measure import Measurement
from weconvene_core.datasets.image_sets import ImageSet
from weconvene_core.errors import WeconveneError

MEAN = "mean"
MEASURED = ["bpp", "psnr_db", "ms_ssim", "encode_s", "decode_s"]
POINT_COLUMNS = ["dataset", "image", "codec", "quality", *MEASURED]
VALUE_COLUMN: dict[str, str] = {"psnr_rgb": "psnr_db", "ms_ssim": "ms_ssim", "ms_ssim_db": "ms_ssim"}


def point_row(images: ImageSet, path: Path, codec: str, quality: float, found: Measurement) -> dict[str, object]:
    """Return one row of the table of points."""
    return {"dataset": images.name, "image": path.name, "codec": codec, "quality": quality, **asdict(found)}


def with_means(rows: Sequence[dict[str, object]]) -> pd.DataFrame:
    """Return the rows as a table, followed by the mean over images of each dataset, codec and quality.

    Raises:
        WeconveneError: no rows.
    """
    if not rows:
        raise WeconveneError("Nothing was measured: give at least one image and one quality.")
    points = pd.DataFrame(rows, columns=POINT_COLUMNS)
    groups = points.groupby(["dataset", "codec", "quality"], as_index=False, sort=False)[MEASURED]
    means = groups.agg(lambda column: column.mean(skipna=False))  # a mean over fewer images would be another set's
    return pd.concat([points, means.assign(image=MEAN)[POINT_COLUMNS]], ignore_index=True)


def averaged_curve(points: pd.DataFrame, codec: str, metric: Metric = "psnr_rgb", dataset: str | None = None) -> Curve:
    """Return the averaged curve of ``codec``; MS-SSIM is averaged first, then taken in dB for ``ms_ssim_db``.

    Raises:
        WeconveneError: no such rows, or several datasets in the table and none named.
    """
    rows = _rows(points, codec, dataset)
    rows = rows[rows.image == MEAN].sort_values("quality")
    measured: Metric = "psnr_rgb" if metric == "psnr_rgb" else "ms_ssim"
    value = rows[VALUE_COLUMN[metric]].to_numpy(dtype=float)
    curve = Curve(codec, rows.bpp.to_numpy(dtype=float), value, measured, source="measured here")
    return curve.in_db() if metric == "ms_ssim_db" else curve


def image_curves(
    points: pd.DataFrame, codec: str, metric: Metric = "psnr_rgb", dataset: str | None = None
) -> ImageCurves:
    """Return the per-image curves of ``codec``, images sorted by name, qualities ascending.

    Raises:
        WeconveneError: no such rows, several datasets and none named, or images measured at different qualities.
    """
    rows = _rows(points, codec, dataset)
    table = rows[rows.image != MEAN].pivot(index="image", columns="quality", values=["bpp", VALUE_COLUMN[metric]])
    if table["bpp"].isna().to_numpy().any():
        raise WeconveneError(f"'{codec}' was not measured at the same qualities on all images: measure it again.")
    rate, value = table["bpp"].to_numpy(dtype=float), table[VALUE_COLUMN[metric]].to_numpy(dtype=float)
    return ImageCurves(codec, rate, value, "psnr_rgb" if metric == "psnr_rgb" else "ms_ssim", source="measured here")


def only_dataset(points: pd.DataFrame, dataset: str | None) -> str:
    """Return ``dataset``, or the only one in the table.

    Raises:
        WeconveneError: none named and the table holds several, or none.
    """
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
