"""The shipped checkpoint and Pillow's codecs on larger photographs: files of CLIC 2020 and Tecnick as they lie there.

``python -m lab.studies.larger_sets`` writes ``results/tables/rd_points_larger.csv``, which notebooks 05 and 06 show in
every mode: a quarter of an hour for nine photographs; what was measured before comes from the cache.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import pandas as pd

from lab.paths import save_table
from lab.rd.curves import MEAN
from lab.rd.measure import ClassicalCodec
from lab.rd.our_codec import FileCodec, kept_points
from lab.rd.pillow_codecs import CLASSICAL_CODECS, measure_available
from lab.studies.latent_refinement import points_of
from weconvene_core.codec.api import DEFAULT_MODEL
from weconvene_core.datasets.image_sets import ImageSet, MissingSetError, image_set
from weconvene_core.errors import WeconveneError

TABLE = "rd_points_larger"
SETS = ("clic", "clic2025", "tecnick")


def available_sets() -> list[ImageSet]:
    """Return those of :data:`SETS` that are on this machine, as far as they are; a warning names the others.

    Raises
    ------
    WeconveneError
        If a set's folder holds no images, or images of a downloaded set are missing or altered.
    """
    found = []
    for name in SETS:
        try:
            found.append(image_set(name))
        except MissingSetError as error:  # whose message says which set, and where to put it
            warnings.warn(f"Left out, not measured: {error}", stacklevel=2)
    return found


def measure_sets(
    sets: Sequence[ImageSet], codec: FileCodec, others: Sequence[ClassicalCodec] = CLASSICAL_CODECS
) -> pd.DataFrame:
    """Measure our files and other codecs on every set, in as many processes as processors and free memory allow.

    Returns
    -------
    A table with ``POINT_COLUMNS`` and ``weights``, the first digits of the hash of our weights.

    Raises
    ------
    WeconveneError
        If there are no sets, or a picture cannot be measured.
    """
    if not sets:
        raise WeconveneError(f"None of {', '.join(SETS)} is available: put one under WECONVENE_DATA, or fetch it.")
    tables = []
    for images in sets:
        tables.append(points_of(codec, codec.model, images).drop(columns="effort"))
        tables.append(measure_available(images, others))
    return pd.concat(tables, ignore_index=True).assign(weights=codec.weights())


def larger_points() -> pd.DataFrame:
    """Return the kept points (``POINT_COLUMNS``) without those of other weights, which a warning names."""
    return kept_points(TABLE, DEFAULT_MODEL, "lab.studies.larger_sets")


def main() -> None:
    """Measure the available sets and write the table."""
    points = measure_sets(available_sets(), FileCodec())
    save_table(points, TABLE)
    means = points[points.image == MEAN]
    print(means[["dataset", "codec", "quality", "bpp", "psnr_db", "ms_ssim"]].to_string(index=False))


if __name__ == "__main__":
    main()
