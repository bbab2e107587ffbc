"""HEVC, VVC, AV1 and JPEG XL on the test photographs, by the ffmpeg of the optional extra: what takes most of an hour.

``python -m lab.studies.video_intra_codecs`` writes ``results/tables/rd_points_modern.csv``, whose curves
notebooks 05 and 06 show in every mode; what was measured before is taken from the cache.
"""

from __future__ import annotations

import warnings

import pandas as pd

from lab.paths import read_table, save_table, table_path
from lab.rd.curves import MEAN, POINT_COLUMNS
from lab.rd.ffmpeg_codecs import FFMPEG_CODECS
from lab.rd.measure import measure_codecs
from weconvene_core.datasets.image_sets import ImageSet, image_set
from weconvene_core.errors import WeconveneError

TABLE = "rd_points_modern"


def modern_points(images: ImageSet, fresh: bool = False) -> pd.DataFrame:
    """Return what the table says of just these images, measured before where ``fresh``; else an empty table.

    Every codec is measured by itself: a warning names one that fails, and what the table says of it stays.
    """
    for codec in FFMPEG_CODECS if fresh else ():
        try:
            save_table(_with_others(measure_codecs(images, (codec,))), TABLE)
        except (WeconveneError, OSError) as error:
            warnings.warn(f"{codec.name} was not measured anew: {error}", stacklevel=2)
    points = _kept()
    points = points[points.dataset == images.name]
    wanted = {path.name for path in images.paths}
    same = [name for name, rows in points.groupby("codec") if set(rows.image) - {MEAN} == wanted]
    return points[points.codec.isin(same)]


def _kept() -> pd.DataFrame:
    return read_table(TABLE)[POINT_COLUMNS] if table_path(TABLE).is_file() else pd.DataFrame(columns=POINT_COLUMNS)


def _with_others(points: pd.DataFrame) -> pd.DataFrame:
    """Put new points behind those of other codecs and images."""
    kept = _kept()
    same = kept.codec.isin(points.codec) & kept.dataset.isin(points.dataset)
    return pd.concat([kept[~same], points[POINT_COLUMNS]], ignore_index=True)


def main() -> None:
    """Measure and write the table."""
    points = modern_points(image_set("kodak"), fresh=True)
    means = points[points.image == MEAN]
    print(means[["codec", "quality", "bpp", "psnr_db", "ms_ssim"]].to_string(index=False))


if __name__ == "__main__":
    main()
