"""Images as tensors: the 8-bit conversion in both directions, and padding."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from weconvene_core.model.config import PADDING


def from_8_bit(picture: np.ndarray, device: torch.device | None = None) -> Tensor:
    """Copy a picture (H, W, 3) uint8 as a batch of one, (1, 3, H, W) float32 in 0..1, to ``device`` (None: the CPU)."""
    pixels = torch.from_numpy(np.array(picture, order="C"))  # a copy: the array may be read-only, or run backwards
    return pixels.permute(2, 0, 1)[None].to(device or "cpu").float() / 255


def to_8_bit(x: Tensor) -> np.ndarray:
    """Invert :func:`from_8_bit`: clamp and round an image (1, 3, H, W) to (H, W, 3) uint8."""
    return (x[0].clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()


def pad(x: Tensor, stride: int = PADDING) -> Tensor:
    """Extend (B, 3, H, W) at the right and bottom to multiples of ``stride`` by repeating the border."""
    height, width = x.shape[-2:]
    return F.pad(x, (0, -width % stride, 0, -height % stride), mode="replicate")


def middle(image: np.ndarray, side: int) -> np.ndarray:
    """Return the middle of an image (H, W, ...), at most ``side`` pixels high and wide."""
    top, left = (max(0, length - side) // 2 for length in image.shape[:2])
    return image[top : top + side, left : left + side]
