"""What tuning the shipped checkpoint for MS-SSIM brings: BD-rates in MS-SSIM and in PSNR, by real files.

``python -m lab.studies.ms_ssim_tuning`` codes Kodak with the tuned and the shipped checkpoint, compares
them, and both with the live codecs that notebook 05 measured: ``results/tables/ms_ssim_tuning.csv``.
"""

from __future__ import annotations

import pandas as pd

from lab.rd.curves import POINT_COLUMNS
from lab.rd.our_codec import FileCodec
from lab.studies.latent_refinement import compare, live_points, points_of
from lab.studies.runner import TABLES, save
from weconvene_core.datasets.image_sets import image_set

TABLE = TABLES / "ms_ssim_tuning.csv"
NAMES = ("lite", "lite_msssim")
"""The shipped checkpoint and the tuned one."""


def main() -> None:
    """Compare on the test set, and write the table."""
    images = image_set("kodak")
    ours = [points_of(FileCodec(name), name, images) for name in NAMES]
    points = pd.concat([*ours, live_points(images, NAMES)], ignore_index=True)[POINT_COLUMNS]
    table = compare(images, points, NAMES, ("ms_ssim_db", "psnr_rgb"))
    table = table[table.anchor.isin(points.codec)]  # published anchors stand in other tables
    save(table, TABLE)
    print(
        table[["codec", "anchor", "metric", "bd_rate_pct", "ci_low", "ci_high", "overlap_pct"]].to_string(index=False)
    )


if __name__ == "__main__":
    main()
