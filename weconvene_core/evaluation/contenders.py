"""The models whose cost is compared, and the photograph that they code."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from compressai.models import CompressionModel
from compressai.zoo import bmshj2018_hyperprior, cheng2020_attn, mbt2018
from torch import Tensor

from weconvene_core.codec.api import load_model
from weconvene_core.errors import WeconveneError
from weconvene_core.evaluation.datasets import load_rgb, test_set

ZOO = {"bmshj2018-hyperprior": bmshj2018_hyperprior, "mbt2018": mbt2018, "cheng2020-attn": cheng2020_attn}
ZOO_QUALITY = 3


@lru_cache
def contender(name: str) -> CompressionModel:
    """Return a released model of this project, or an untrained one of CompressAI at quality 3, ready to code.

    Untrained weights cost the same arithmetic; only the number of coded bits, and with it a little time, differs.

    Raises
    ------
    WeconveneError
        If the name is neither.
    """
    if name not in ZOO:
        return load_model(name)
    torch.manual_seed(0)
    model = ZOO[name](quality=ZOO_QUALITY, pretrained=False).eval()
    model.update(force=True)
    return model


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
    pixels = np.pad(pixels, [*missing, (0, 0)], mode="symmetric")[:height, :width]
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255  # (H, W, 3) -> (1, 3, H, W)
