"""Released models for CompressAI's tools: its evaluation takes them by name, results leave in its JSON format.

CompressAI (Bégaint et al., 2020) evaluates one model per quality. A variable-rate model serves for all of them with its
``default_quality`` set.
"""

from __future__ import annotations

import copy
import json
from functools import partial
from pathlib import Path

import compressai.zoo
import pandas as pd

from lab.paths import RUN
from lab.rd.curves import MEAN
from weconvene_core.atomic_files import write_text
from weconvene_core.codec.api import load_model
from weconvene_core.errors import WeconveneError
from weconvene_core.layers.blocks import check_quality
from weconvene_core.model.weconvene import WeConvene

FOLDER = RUN / "compressai"
FIELDS = {
    "bpp": "bpp", "psnr-rgb": "psnr_db", "ms-ssim-rgb": "ms_ssim",
    "encoding_time": "encode_s", "decoding_time": "decode_s",
}  # fmt: skip
"""CompressAI's name of a result -> column of the table of points."""


def model_at(
    name: str, quality: float, metric: str = "mse", pretrained: bool = True, progress: bool = True
) -> WeConvene:
    """Return a released model whose default is ``quality``, with the signature of CompressAI's model zoo.

    Raises
    ------
    WeconveneError
        If there is no such model or quality, or another ``metric`` or untrained weights are asked for.
    """
    del progress  # nothing is fetched
    if metric != "mse" or not pretrained:
        raise WeconveneError(
            f"metric={metric!r} with pretrained={pretrained}: released models are trained for mse; use metric='mse' "
            "and pretrained=True."
        )
    model = copy.deepcopy(load_model(name))
    model.default_quality = check_quality(quality)
    return model


def register(name: str = "lite") -> str:
    """Make a released model known to CompressAI's tools and return its name there, e.g. ``weconvene-lite``.

    ``compressai.utils.eval_model`` then runs as ever: ``pretrained FOLDER -a weconvene-lite -q 1,2,3,4,5,6``.
    """
    architecture = f"weconvene-{name}"
    compressai.zoo.image_models[architecture] = partial(model_at, name)
    return architecture


def write_results(points: pd.DataFrame, codec: str, dataset: str, folder: Path = FOLDER) -> Path:
    """Write the means of one codec on one dataset to ``folder/DATASET-CODEC.json``, as ``compressai.utils.plot`` reads.

    Raises
    ------
    WeconveneError
        If the table has no such rows, or the file cannot be written.
    """
    rows = points[(points.codec == codec) & (points.dataset == dataset) & (points.image == MEAN)].sort_values("quality")
    if rows.empty:
        raise WeconveneError(f"codec={codec!r} has no points on dataset={dataset!r}: measure it first (notebook 05).")
    results = {field: [float(value) for value in rows[column]] for field, column in FIELDS.items()}
    content = {"name": codec, "description": f"Files on disk, means over {dataset}", "results": results}
    path = folder / f"{dataset}-{codec}.json"
    write_text(path, json.dumps(content, indent=2) + "\n")
    return path
