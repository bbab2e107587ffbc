"""Motion between two frames by block matching, and a frame predicted from the one before it.

Full search at half resolution, then refinement to a quarter of a pixel; every block of 16 x 16 pixels has one vector.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lab.applications.clips import pixel_grid

BLOCK = 16
STEPS = 4
"""Vectors are whole numbers of 1 / STEPS pixel."""
REACH = 12
"""Search range in pixels of the halved frames: 24 pixels in each direction."""
PENALTY = 2e-5
"""What a vector costs per pixel of its length, in units of the mean absolute difference (of 0..1): ties go to rest."""


def estimate(reference: Tensor, target: Tensor) -> Tensor:
    """Return the motion vectors (2, h, w) int64, x and y in quarter pixels, that predict ``target`` from ``reference``.

    Both are (1, 3, H, W) in 0..1 of any size; h = ceil(H / 16), w = ceil(W / 16). A block at p is found at p + vector.
    """
    reference, target = (frame.mean(1, keepdim=True) for frame in (reference, target))
    vectors = _coarse(reference, target)
    for step in (STEPS, STEPS // 2, 1):
        vectors = _refined(reference, target, vectors, step)
    return vectors


def compensate(reference: Tensor, vectors: Tensor, mode: str = "bicubic") -> Tensor:
    """Predict a frame: read ``reference`` (1, C, H, W) at every pixel's place plus its block's vector."""
    height, width = reference.shape[-2:]
    dense = vectors.repeat_interleave(BLOCK, 1).repeat_interleave(BLOCK, 2)[:, :height, :width] / STEPS
    grid = pixel_grid(torch.arange(width) + dense[0], torch.arange(height)[:, None] + dense[1], reference.shape)
    return F.grid_sample(reference, grid, mode, padding_mode="border", align_corners=True)


def mean_length(vectors: Tensor) -> float:
    """Return the mean length of vectors in pixels."""
    return float((vectors / STEPS).square().sum(0).sqrt().mean())


def _block_means(difference: Tensor, block: int) -> Tensor:
    """Mean over each block, (1, 1, H, W) -> (h, w); the last blocks may be smaller."""
    return F.avg_pool2d(difference, block, ceil_mode=True, count_include_pad=False)[0, 0]


def _coarse(reference: Tensor, target: Tensor) -> Tensor:
    small, wanted = (F.avg_pool2d(frame, 2, ceil_mode=True, count_include_pad=False) for frame in (reference, target))
    height, width = small.shape[-2:]
    around = F.pad(small, [REACH] * 4, mode="replicate")
    span = range(-REACH, REACH + 1)
    places = torch.tensor([(dx, dy) for dy in span for dx in span])
    costs = torch.stack([
        _block_means((around[..., REACH + dy :, REACH + dx :][..., :height, :width] - wanted).abs(), BLOCK // 2)
        for dx, dy in places.tolist()
    ])  # (places, h, w)  # fmt: skip
    best = (costs + PENALTY * 2 * places.float().norm(dim=1)[:, None, None]).argmin(0)
    return (2 * STEPS * places[best]).permute(2, 0, 1)  # (h, w, 2) -> (2, h, w)


def _refined(reference: Tensor, target: Tensor, vectors: Tensor, step: int) -> Tensor:
    offsets = torch.tensor([(0, 0), *((dx, dy) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dx or dy)]) * step
    tries = vectors + offsets[:, :, None, None]  # (9, 2, h, w)
    costs = torch.stack([
        _block_means((compensate(reference, each, "bilinear") - target).abs(), BLOCK)
        + PENALTY / STEPS * each.float().norm(dim=0)
        for each in tries
    ])  # fmt: skip
    best = costs.argmin(0)[None, None].expand(1, *vectors.shape)
    return tries.gather(0, best)[0]
