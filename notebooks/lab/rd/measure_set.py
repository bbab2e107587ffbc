"""Rate and distortion of a codec over an image set, by real files: the way in to everything measured here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from lab.rd.measure import CACHE, ImageCodec, MeasurementCache, measure_all
from lab.rd.points import (
    MEAN,
    MEASURED,
    POINT_COLUMNS,
    averaged_curve,
    image_curves,
    point_row,
    with_means,
)
from lab.rd.tables import BD_COLUMNS, bd_table, write_bd_table, write_points
from weconvene_core.atomic_files import sha256_of
from weconvene_core.datasets.image_sets import ImageSet

__all__ = [
    "BD_COLUMNS",
    "MEAN",
    "MEASURED",
    "POINT_COLUMNS",
    "ImageCodec",
    "averaged_curve",
    "bd_table",
    "image_curves",
    "measure",
    "write_bd_table",
    "write_points",
]


def measure(
    codec: ImageCodec,
    name: str,
    images: ImageSet,
    qualities: Sequence[float],
    state: str | None = None,
    folder: Path = CACHE,
    processes: int = 1,
) -> pd.DataFrame:
    """Measure ``codec`` on all images at all qualities, with a progress bar.

    Args:
        codec: the codec.
        name: what tables and figures call it.
        images: the images.
        qualities: settings of the codec's quality knob.
        state: identifies codec and checkpoint (a hash); measurements are then kept on disk and resumed. None: not kept.
        folder: folder of the kept measurements.
        processes: worker processes, each on one thread; 1 for none but this one.

    Returns:
        A table with ``POINT_COLUMNS``: one row per image and quality, then one ``mean`` row per quality.

    Raises:
        WeconveneError: no qualities, an unreadable picture, or one that comes back in another size.
    """
    cache = MeasurementCache(name, state, folder) if state is not None else None
    hashes = {path: sha256_of(path) for path in images.paths} if cache else {}
    jobs = [(path, float(quality)) for path in images.paths for quality in qualities]
    found = {(path, quality): cache.get(hashes[path], quality) if cache else None for path, quality in jobs}
    todo = [job for job, known in found.items() if known is None]
    results = measure_all([(codec, path, quality) for path, quality in todo], processes)
    bar = tqdm(results, total=len(todo), desc=f"{name} on {images.label}", mininterval=5.0, disable=not todo)
    for (path, quality), measured in zip(todo, bar, strict=True):
        if cache:
            cache.put(hashes[path], quality, measured)
        found[path, quality] = measured
    return with_means([point_row(images, p, name, q, m) for (p, q), m in found.items() if m is not None])
