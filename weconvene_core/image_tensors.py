"""Pictures as tensors, and padding to a size that a model can work on."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from weconvene_core.model.config import PADDING


def pad(x: Tensor, stride: int = PADDING) -> Tensor:
    """Extend (B, 3, H, W) at the right and bottom to multiples of ``stride`` by repeating the border."""
    height, width = x.shape[-2:]
    return F.pad(x, (0, -width % stride, 0, -height % stride), mode="replicate")


def from_8_bit(picture: np.ndarray, device: torch.device | None = None) -> Tensor:
    """Copy a picture (H, W, 3) uint8 as a batch of one, (1, 3, H, W) float32 in 0..1, to ``device`` (None: the CPU).

    :func:`weconvene_core.codec.tile_coder.to_8_bit` undoes it.
    """
    pixels = torch.from_numpy(np.array(picture, order="C"))  # a copy: the array may be read-only, or run backwards
    return pixels.permute(2, 0, 1)[None].to(device or "cpu").float() / 255


def middle(image: np.ndarray, side: int) -> np.ndarray:
    """Return the middle of an image (H, W, ...), at most ``side`` pixels high and wide."""
    top, left = (max(0, length - side) // 2 for length in image.shape[:2])
    return image[top : top + side, left : left + side]
