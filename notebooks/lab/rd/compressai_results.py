"""Results in CompressAI's JSON form (Bégaint et al., 2020), which its plot and other papers' tools read.

A file for the means over a dataset, and one for each of its images. Notebook 05 writes them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from lab.paths import RUN
from lab.rd.curves import MEAN
from weconvene_core.atomic_files import write_text
from weconvene_core.errors import WeconveneError

FOLDER = RUN / "compressai"
FIELDS = {
    "bpp": "bpp", "psnr-rgb": "psnr_db", "ms-ssim-rgb": "ms_ssim",
    "encoding_time": "encode_s", "decoding_time": "decode_s",
}  # fmt: skip
"""CompressAI's name of a result -> column of the table of points."""


def results_json(points: pd.DataFrame, codec: str, dataset: str, image: str = MEAN) -> dict[str, Any]:
    """Return one codec's results, a value for each quality in ascending order, as ``compressai.utils`` writes them.

    Parameters
    ----------
    points : a table of points (``lab.rd.curves.POINT_COLUMNS``).
    codec, dataset : whose rows to take.
    image : name of one image, which ``source`` then states; or the means over all of them.

    Raises
    ------
    WeconveneError
        If the table has no such rows.
    """
    rows = points[(points.codec == codec) & (points.dataset == dataset) & (points.image == image)]
    if rows.empty:
        raise WeconveneError(
            f"codec={codec!r} has no points on dataset={dataset!r}, image={image!r}: measure it first (notebook 05)."
        )
    rows = rows.sort_values("quality")
    source = {} if image == MEAN else {"source": Path(image).stem}
    described = f"Files on disk, {'means over' if image == MEAN else image + ' of'} {dataset}"
    results = {field: [float(value) for value in rows[column]] for field, column in FIELDS.items()}
    return {**source, "name": codec, "description": described, "results": results}


def write_results(points: pd.DataFrame, codec: str, dataset: str, folder: Path = FOLDER) -> Path:
    """Write ``folder/DATASET-CODEC.json``, the means, and ``DATASET-CODEC-IMAGE.json`` for each image.

    Returns
    -------
    The path of the means.

    Raises
    ------
    WeconveneError
        If the table has no such rows, or a file cannot be written.
    """
    path = folder / f"{dataset}-{codec}.json"
    for image in {MEAN, *points[(points.codec == codec) & (points.dataset == dataset)].image}:
        file = path if image == MEAN else path.with_name(f"{path.stem}-{Path(image).stem}.json")
        write_text(file, json.dumps(results_json(points, codec, dataset, image), indent=2) + "\n")
    return path
