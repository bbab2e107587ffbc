"""The models whose cost is compared, and the photograph that they code."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from compressai.models import CompressionModel
from compressai.zoo import bmshj2018_hyperprior, cheng2020_anchor, cheng2020_attn, mbt2018, mbt2018_mean
from torch import Tensor

from weconvene_core.codec.api import load_model
from weconvene_core.codec.pictures import load_rgb
from weconvene_core.datasets.image_sets import test_set
from weconvene_core.errors import WeconveneError
from weconvene_core.image_tensors import from_8_bit
from weconvene_core.model.presets import PRESETS, preset
from weconvene_core.model.weconvene import WeConvene
from weconvene_core.paths import checkpoints

ZOO = {
    "bmshj2018-hyperprior": bmshj2018_hyperprior, "mbt2018-mean": mbt2018_mean, "mbt2018": mbt2018,
    "cheng2020-anchor": cheng2020_anchor, "cheng2020-attn": cheng2020_attn,
}  # fmt: skip
ZOO_QUALITY = 3
ZOO_HIGHEST = {name: 6 if name.startswith("cheng") else 8 for name in ZOO}
"""Qualities at which models of CompressAI are counted and timed, and the highest that each has, where it is widest."""
FAMILY = ("lite", "tiny", "paper", "paper-2d", "baseline")


@lru_cache(maxsize=2)  # ours, and the one that it is compared with
def ready_model(name: str) -> CompressionModel:
    """Return a model ready to code: released, or untrained where there are no weights (and CompressAI's at quality 3).

    Untrained weights cost the same arithmetic; only the number of coded bits, and with it a little time, differs.

    Raises
    ------
    WeconveneError
        If the name is neither a released model nor a preset nor one of CompressAI's.
    """
    if name in checkpoints():
        return load_model(name)
    model = counted_model(name)
    if isinstance(model, WeConvene):
        model = model.to(memory_format=torch.channels_last)
    model.update(force=True)
    return model


def counted_model(name: str) -> CompressionModel:
    """Return a model that has its arithmetic and parameters alone, untrained; nothing keeps it, for some are large.

    Raises
    ------
    WeconveneError
        As :func:`ready_model`.
    """
    torch.manual_seed(0)
    if name in ZOO:
        return ZOO[name](quality=ZOO_QUALITY, pretrained=False).eval()
    return WeConvene(preset(name)).eval() if name in PRESETS else load_model(name)


def sample_image(height: int, width: int) -> Tensor:
    """Return a photograph (1, 3, height, width) in 0..1: the first test image, cropped or continued by reflection.

    Raises
    ------
    WeconveneError
        If a side is below 1 pixel.
    """
    if min(height, width) < 1:
        raise WeconveneError(f"{height}x{width} is no image size; give sides of 1 pixel or more.")
    pixels = np.asarray(load_rgb(test_set(1).paths[0]))
    missing = [(0, max(0, side - have)) for side, have in zip((height, width), pixels.shape, strict=False)]
    return from_8_bit(np.pad(pixels, [*missing, (0, 0)], mode="symmetric")[:height, :width])
