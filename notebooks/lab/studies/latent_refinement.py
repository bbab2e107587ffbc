"""What the levels of an encoder's effort bring, and what they cost (see :mod:`weconvene_core.codec.latent_refinement`).

``python -m lab.studies.latent_refinement effort`` codes the middles of photographs that were kept out of training at
every level: ``results/tables/effort.csv``.
``python -m lab.studies.latent_refinement kodak`` codes Kodak at the highest and at once, and compares both kinds of
files with each other, the published anchors, and the live codecs that notebook 05 measured:
``results/tables/refining.csv``, and the points in ``results/tables/rd_points_refined.csv``.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from lab.entropy_analysis.error_by_subband import photographs
from lab.paths import read_table, save_table
from lab.rd.curves import MEAN, METRIC_TITLES, POINT_COLUMNS, with_means
from lab.rd.measure import measure, measure_picture
from lab.rd.our_codec import QUALITIES, FileCodec, kept_points
from lab.rd.published_curves import anchors_of
from lab.rd.tables import BD_COLUMNS, bd_table
from weconvene_core.codec.api import DEFAULT_MODEL
from weconvene_core.codec.latent_refinement import EFFORTS
from weconvene_core.datasets.image_sets import ImageSet, image_set
from weconvene_core.image_tensors import middle

TABLE, POINTS, BY_EFFORT = "refining", "rd_points_refined", "effort"
PLAIN, REFINED = DEFAULT_MODEL, f"{DEFAULT_MODEL} refined"
EFFORT = len(EFFORTS) - 1
PICTURES, SIDE = 6, 256


def by_effort(
    pictures: Sequence[np.ndarray],
    tried: Sequence[int] = range(EFFORT + 1),
    qualities: Sequence[float] = (1.0, 3.0, 5.0, 6.0),
) -> pd.DataFrame:
    """Return the BD-rates of files of the levels of effort ``tried`` against the first of them, by real bytes.

    Parameters
    ----------
    pictures : (H, W, 3) uint8, of more than 160 pixels a side.

    Returns
    -------
    A row for each further level of ``effort`` and metric: ``images``, ``bd_rate_pct`` with its 95 % interval over
    images, and ``times_as_long``, what encoding took over what it took at the first level.
    """
    rows, first = [], str(tried[0])
    for number, picture in enumerate(tqdm(pictures, desc="effort")):
        for effort in tried:
            for quality in qualities:
                numbers = asdict(measure_picture(FileCodec(effort=effort), Image.fromarray(picture), quality))
                about = {"dataset": "kept out of training", "image": number, "codec": str(effort), "quality": quality}
                rows.append(about | numbers)
    points = with_means(rows)
    table = pd.concat([bd_table(points, [first], metric) for metric in METRIC_TITLES]).query("method == 'pchip'")
    seconds = points[points.image != MEAN].groupby("codec").encode_s.sum()
    table = table.assign(effort=table.codec.astype(int), times_as_long=table.codec.map(seconds / seconds[first]))
    return table[["images", "effort", "metric", "bd_rate_pct", "ci_low", "ci_high", "times_as_long"]]


def points_of(codec: FileCodec, name: str, images: ImageSet) -> pd.DataFrame:
    """Measure the files of a released model, in as many processes as processors and free memory allow.

    Returns
    -------
    A table with ``POINT_COLUMNS``, ``effort``, and ``weights``, the first digits of the hash of the weights.
    """
    points = measure(codec, name, images, QUALITIES, codec.state(), processes=None)
    return points.assign(weights=codec.weights(), effort=codec.effort)


def kept_refined() -> pd.DataFrame:
    """Return the points that :func:`main` kept on Kodak (``POINT_COLUMNS``), if they are of the shipped weights."""
    return kept_points(POINTS, REFINED, "lab.studies.latent_refinement kodak")


def compare(images: ImageSet, points: pd.DataFrame, ours: Sequence[str]) -> pd.DataFrame:
    """Return the BD-rates of our files of two kinds against the first, live codecs and published anchors.

    Parameters
    ----------
    images : the pictures of all points; published anchors are of the same.
    points : of both kinds and of live codecs, with ``POINT_COLUMNS``.
    ours : names of the two kinds.

    Returns
    -------
    A table with ``BD_COLUMNS``, PCHIP alone.
    """
    live = dict.fromkeys([ours[0], *(name for name in points.codec if name not in ours)])
    tables = [bd_table(points, [*anchors_of(images.name, m), *live], m, images.name) for m in METRIC_TITLES]
    table = pd.concat(tables, ignore_index=True)
    return table[(table.method == "pchip") & table.codec.isin(ours)][BD_COLUMNS]


def compare_on_kodak(codecs: Mapping[str, FileCodec]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure our files of two kinds on Kodak; return their points, and what :func:`compare` says of them.

    Raises
    ------
    WeconveneError
        If Kodak is not available.
    """
    images = image_set("kodak")
    ours = pd.concat([points_of(codec, name, images) for name, codec in codecs.items()], ignore_index=True)
    live = read_table("rd_points")[POINT_COLUMNS]
    live = live[(live.dataset == images.name) & ~live.codec.isin(codecs)]  # as notebook 05 measured them
    return ours, compare(images, pd.concat([ours[live.columns], live], ignore_index=True), tuple(codecs))


def main() -> None:
    """Measure what is asked for, and write its tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("effort", "kodak"))
    if parser.parse_args().what == "effort":
        table = by_effort([middle(picture, SIDE) for picture in photographs()[:PICTURES]])
        save_table(table, BY_EFFORT, 4)
    else:
        points, table = compare_on_kodak({PLAIN: FileCodec(), REFINED: FileCodec(effort=EFFORT)})
        save_table(points[points.codec == REFINED], POINTS)
        save_table(table, TABLE, 4)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
