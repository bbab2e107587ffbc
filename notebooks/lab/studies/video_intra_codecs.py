"""HEVC, VVC, AV1 and JPEG XL on the test photographs, by the ffmpeg of the optional extra: what takes most of an hour.

``python -m lab.studies.video_intra_codecs`` writes ``rd_points_modern.csv``, whose curves notebooks 05 to 07 show in
every mode, and ``python -m lab.studies.video_intra_codecs speeds`` writes ``av1_speeds.csv``: what slower settings of
Pillow's AVIF and of libaom bring on six photographs. What was measured before is taken from the cache.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace

import pandas as pd

from lab.paths import read_table, save_table, table_path
from lab.rd.curves import MEAN, METRIC_TITLES, POINT_COLUMNS
from lab.rd.ffmpeg_codecs import AV1, FFMPEG_CODECS, av1
from lab.rd.measure import ClassicalCodec, available, measure, measure_codecs
from lab.rd.our_codec import QUALITIES, FileCodec
from lab.rd.pillow_codecs import CLASSICAL_CODECS, avif
from lab.rd.tables import bd_table
from weconvene_core.datasets.image_sets import ImageSet, image_set
from weconvene_core.errors import WeconveneError

TABLE, SPEEDS = "rd_points_modern", "av1_speeds"
PICTURES = 6
TRIED = (avif(6), avif(4), avif(2), av1(4), av1(2), av1(0))


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
    settings = {codec.name: codec.qualities for codec in FFMPEG_CODECS}  # stored points may be of earlier ones
    measured = [q in settings.get(name, ()) for name, q in zip(points.codec, points.quality, strict=True)]
    points = points.loc[pd.Series(measured, index=points.index, dtype=bool)]
    wanted = {path.name for path in images.paths}
    same = [name for name, rows in points.groupby("codec") if set(rows.image) - {MEAN} == wanted]
    return points[points.codec.isin(same)]


def one_of_each(names: Iterable[str]) -> list[str]:
    """Return the names of live codecs for a headline, one each, at the slowest setting measured on all images.

    AVIF is AV1, which libaom codes better by itself than Pillow's build with its settings: AVIF stays only where
    points of libaom are missing. Other settings that only pitfalls show are left out.
    """
    best = {codec.name for codec in (*CLASSICAL_CODECS, *FFMPEG_CODECS)}
    kept = [name for name in dict.fromkeys(names) if name in best]
    return [name for name in kept if name != avif().name or AV1.name not in kept]


def speeds(images: ImageSet, codecs: Sequence[ClassicalCodec] = TRIED, ours: FileCodec | None = None) -> pd.DataFrame:
    """Return what each setting costs and brings: our BD-rate against it, with the interval over the images.

    Returns
    -------
    A row for every codec and metric: ``codec, anchor, metric, bd_rate_pct, ci_low, ci_high, low_db, high_db, images``
    and ``encode_s``, the mean time of one encoding on one thread. Every second quality parameter is measured.
    """
    ours = ours or FileCodec()
    every_second = [replace(codec, qualities=codec.qualities[1::2]) for codec in available(codecs)]
    own = measure(ours, ours.model, images, QUALITIES, ours.state())
    points = pd.concat([own, measure_codecs(images, every_second, processes=1)], ignore_index=True)
    names = [codec.name for codec in every_second]
    tables = pd.concat([bd_table(points, names, metric) for metric in METRIC_TITLES])
    shown = tables[(tables.codec == ours.model) & (tables.method == "pchip")].reset_index(drop=True)
    shown["encode_s"] = shown.anchor.map(points[points.image != MEAN].groupby("codec").encode_s.mean())
    return shown.drop(columns=["method", "overlap_pct", "points"]).assign(weights=ours.weights())


def _kept() -> pd.DataFrame:
    return read_table(TABLE)[POINT_COLUMNS] if table_path(TABLE).is_file() else pd.DataFrame(columns=POINT_COLUMNS)


def _with_others(points: pd.DataFrame) -> pd.DataFrame:
    """Put new points behind those of other codecs and images."""
    kept = _kept()
    same = kept.codec.isin(points.codec) & kept.dataset.isin(points.dataset)
    return pd.concat([kept[~same], points[POINT_COLUMNS]], ignore_index=True)


def main() -> None:
    """Measure what is asked for and write its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("points", "speeds"), nargs="?", default="points")
    if parser.parse_args().what == "speeds":
        table = speeds(image_set("kodak", PICTURES))
        save_table(table, SPEEDS, 4)
        print(table.to_string(index=False))
        return
    points = modern_points(image_set("kodak"), fresh=True)
    means = points[points.image == MEAN]
    print(means[["codec", "quality", "bpp", "psnr_db", "ms_ssim"]].to_string(index=False))


if __name__ == "__main__":
    main()
