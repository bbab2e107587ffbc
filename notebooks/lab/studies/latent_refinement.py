"""What the levels of an encoder's effort bring, and what they cost (see :mod:`weconvene_core.codec.latent_refinement`).

``python -m lab.studies.latent_refinement effort`` codes the middles of photographs that were kept out of training
at every level: ``results/tables/effort.csv``.
``python -m lab.studies.latent_refinement kodak`` codes Kodak at the highest and at once, and compares both kinds
of files with each other, with the published anchors, and with the live codecs that notebook 05 measured:
``results/tables/refining.csv``, and the points in ``results/tables/rd_points_refined.csv``.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from lab.entropy_analysis.error_by_subband import photographs
from lab.rd.curves import MEAN, METRIC_TITLES, POINT_COLUMNS, with_means
from lab.rd.measure import measure, measure_picture
from lab.rd.our_codec import QUALITIES, FileCodec, kept_points
from lab.rd.published_curves import anchors_of
from lab.rd.tables import BD_COLUMNS, bd_table, read_points
from weconvene_core.codec import api
from weconvene_core.codec.latent_refinement import EFFORTS
from weconvene_core.datasets.image_sets import ImageSet, image_set
from weconvene_core.image_tensors import middle
from weconvene_core.paths import RESULTS

TABLES = RESULTS / "tables"
TABLE, POINTS, BY_EFFORT = TABLES / "refining.csv", TABLES / "rd_points_refined.csv", TABLES / "effort.csv"
PLAIN, REFINED = api.DEFAULT_MODEL, f"{api.DEFAULT_MODEL} refined"
EFFORT = len(EFFORTS) - 1
TRIED, TRIED_QUALITIES, PICTURES, SIDE = tuple(range(EFFORT + 1)), (1.0, 3.0, 5.0, 6.0), 6, 256
KEPT_OUT = "kept out of training"


def by_effort(
    pictures: Sequence[np.ndarray],
    tried: Sequence[int] = TRIED,
    qualities: Sequence[float] = TRIED_QUALITIES,
    model: str = api.DEFAULT_MODEL,
) -> pd.DataFrame:
    """Return the BD-rates of files of the levels of effort tried against those of the first, by real bytes.

    Args:
        pictures: (H, W, 3) uint8, of more than 160 pixels a side.

    Returns:
        A row for each further level of ``effort`` and metric: ``images``, ``bd_rate_pct`` with its 95 % interval over
        images, and ``times_as_long``, what encoding took over what it took at the first level.
    """
    rows = []
    for number, picture in enumerate(tqdm(pictures, desc="effort")):
        for effort in tried:
            for quality in qualities:
                numbers = asdict(measure_picture(FileCodec(model, effort=effort), Image.fromarray(picture), quality))
                rows.append({"dataset": KEPT_OUT, "image": number, "codec": str(effort), "quality": quality, **numbers})
    points = with_means(rows)
    tables = [bd_table(points, [str(tried[0])], metric) for metric in METRIC_TITLES]
    table = pd.concat(tables, ignore_index=True).query("method == 'pchip'")
    seconds = points[points.image != MEAN].groupby("codec").encode_s.sum()
    longer = table.codec.map(seconds / seconds[str(tried[0])])
    table = table.assign(effort=table.codec.astype(int), times_as_long=longer)
    return table[["images", "effort", "metric", "bd_rate_pct", "ci_low", "ci_high", "times_as_long"]]


def points_of(codec: FileCodec, name: str, images: ImageSet) -> pd.DataFrame:
    """Measure the files of a released checkpoint, every processor its own pictures.

    Returns:
        A table with ``POINT_COLUMNS``, ``effort``, and ``weights``, the first digits of the hash of the weights.
    """
    points = measure(codec, name, images, QUALITIES, codec.state(), processes=os.cpu_count() or 1)
    return points.assign(weights=codec.weights(), effort=codec.effort)


def kept_refined() -> pd.DataFrame:
    """Return the points that :func:`main` kept on Kodak, if they are of the shipped weights.

    Returns:
        A table with ``POINT_COLUMNS``, empty where nothing was measured.
    """
    return kept_points(POINTS, REFINED, "lab.studies.latent_refinement kodak")


def compare(images: ImageSet, refined: pd.DataFrame, measured: pd.DataFrame) -> pd.DataFrame:
    """Return the BD-rates of refined files against the checkpoint's own, and of both against everything else.

    Args:
        images: the pictures of both tables.
        refined: what :func:`points_of` returned for refined files.
        measured: points of the checkpoint without refining, and of live codecs, with ``POINT_COLUMNS``.

    Returns:
        A table with ``BD_COLUMNS``, PCHIP alone, by both metrics; against published anchors where they are of these
        images.
    """
    points = pd.concat([refined[measured.columns], measured], ignore_index=True)
    live, tables = dict.fromkeys([PLAIN, *measured.codec]), []
    for metric in METRIC_TITLES:
        tables.append(bd_table(points, [*anchors_of(images.name, metric), *live], metric, images.name))
    table = pd.concat(tables, ignore_index=True)
    return table[(table.method == "pchip") & table.codec.isin([PLAIN, REFINED])][BD_COLUMNS]


def main() -> None:
    """Measure what is asked for, and write its tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("effort", "kodak"))
    if parser.parse_args().what == "effort":
        table = by_effort([middle(picture, SIDE) for picture in photographs()[:PICTURES]])
        table.to_csv(BY_EFFORT, index=False, float_format="%.4f")
    else:
        images, stored = image_set("kodak"), read_points()
        points, plain = points_of(FileCodec(effort=EFFORT), REFINED, images), points_of(FileCodec(), PLAIN, images)
        points.to_csv(POINTS, index=False, float_format="%.6f", lineterminator="\n")
        live = stored[(stored.dataset == images.name) & ~stored.codec.isin([PLAIN, REFINED])]
        table = compare(images, points, pd.concat([plain[POINT_COLUMNS], live[POINT_COLUMNS]], ignore_index=True))
        table.to_csv(TABLE, index=False, float_format="%.4f")
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
