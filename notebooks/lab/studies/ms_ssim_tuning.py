"""What tuning the shipped checkpoint for MS-SSIM brings: BD-rates in MS-SSIM and in PSNR, by real files.

``python -m lab.studies.ms_ssim_tuning`` codes Kodak with the tuned and the shipped checkpoint, compares
them, and both with the live codecs that notebook 05 measured: ``results/tables/ms_ssim_tuning.csv``.
"""

from __future__ import annotations

import pandas as pd

from lab.rd.measure import measure
from lab.rd.our_codec import QUALITIES, FileCodec
from lab.rd.tables import BD_COLUMNS, bd_table, read_points
from weconvene_core.datasets.image_sets import ImageSet, image_set
from weconvene_core.paths import RESULTS

TABLE = RESULTS / "tables" / "ms_ssim_tuning.csv"
SHIPPED, TUNED = "lite", "lite_msssim"


def compare(images: ImageSet, live: pd.DataFrame) -> pd.DataFrame:
    """Return the BD-rates of the tuned checkpoint against the shipped one, and of both against the live codecs.

    Args:
        images: the pictures, all of which are coded.
        live: points of live codecs on the same pictures, with ``POINT_COLUMNS``; may be empty.

    Returns:
        A table with ``BD_COLUMNS``, PCHIP alone, in MS-SSIM (dB of the mean) and in PSNR.

    Raises:
        WeconveneError: a checkpoint is missing.
    """
    ours = []
    for name in (SHIPPED, TUNED):
        codec = FileCodec(name)
        ours.append(measure(codec, name, images, QUALITIES, codec.state()))
    points = pd.concat([*ours, live], ignore_index=True)
    anchors = [SHIPPED, *dict.fromkeys(live.codec)]
    tables = [bd_table(points, anchors, metric, images.name) for metric in ("ms_ssim", "psnr_rgb")]
    table = pd.concat(tables, ignore_index=True)
    return table[(table.method == "pchip") & table.codec.isin([SHIPPED, TUNED])][BD_COLUMNS]


def main() -> None:
    """Compare on the test set, and write the table."""
    images = image_set("kodak")
    stored = read_points()
    live = stored[(stored.dataset == images.name) & ~stored.codec.isin([SHIPPED, TUNED])]
    table = compare(images, live)
    table.to_csv(TABLE, index=False, float_format="%.4f")
    shown = ["codec", "anchor", "metric", "bd_rate_pct", "ci_low", "ci_high", "overlap_pct"]
    print(table[shown].to_string(index=False))


if __name__ == "__main__":
    main()
