"""What tuning the shipped checkpoint for MS-SSIM brings: BD-rates in MS-SSIM and in PSNR, by real files.

``python -m lab.studies.ms_ssim_tuning`` codes Kodak with the tuned and the shipped checkpoint, compares them, and both
with the live codecs that notebook 05 measured: ``results/tables/ms_ssim_tuning.csv``.
"""

from __future__ import annotations

from lab.paths import save_table
from lab.rd.our_codec import FileCodec
from lab.rd.published_curves import ANCHOR_NAMES
from lab.studies.latent_refinement import compare_on_kodak

TABLE = "ms_ssim_tuning"


def main() -> None:
    """Compare on Kodak, and write the table."""
    _, table = compare_on_kodak({name: FileCodec(name) for name in ("lite", "lite_msssim")})
    table = table[~table.anchor.isin(ANCHOR_NAMES)]  # published anchors stand in other tables
    table = table.sort_values("metric", kind="stable")
    save_table(table, TABLE, 4)
    columns = ["codec", "anchor", "metric", "bd_rate_pct", "ci_low", "ci_high", "overlap_pct"]
    print(table[columns].to_string(index=False))


if __name__ == "__main__":
    main()
