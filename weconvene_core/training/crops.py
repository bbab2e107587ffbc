"""Random squares of training images, cut, scaled and flipped on the device where the images lie as uint8."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from weconvene_core.training.config import Stage, TrainConfig
from weconvene_core.training.distributed import ProcessGroup
from weconvene_core.training.images import ImagePool

SCALED_SHARE = 0.5  # of the crops, where a configuration asks for scaling: the others keep the camera's sharpness


@dataclass(frozen=True)
class Crop:
    """A square of an image: its number, upper left corner, side before scaling, and one of eight orientations."""

    image: int
    top: int
    left: int
    side: int
    orientation: int


def draw_crops(
    images: Sequence[Tensor], batch: int, crop: int, rng: np.random.Generator, scale_min: float = 1.0
) -> list[Crop]:
    """Draw a batch of squares: images by their area, then scale, position and orientation.

    With ``scale_min`` below 1, half of the squares are up to 1 / scale_min times larger than ``crop``, as far as the
    image allows, and will be shrunk to it.
    """
    areas = np.array([image.shape[0] * image.shape[1] for image in images], dtype=np.float64)
    chosen = rng.choice(len(images), size=batch, p=areas / areas.sum())
    crops = []
    for number, (coin, scale, down, right), orientation in zip(
        chosen, rng.random((batch, 4)), rng.integers(8, size=batch), strict=True
    ):
        height, width = images[number].shape[:2]
        wanted = round(crop / (scale_min + (1 - scale_min) * scale)) if coin < SCALED_SHARE else crop
        side = min(wanted, height, width)
        top, left = int(down * (height - side + 1)), int(right * (width - side + 1))
        crops.append(Crop(int(number), top, left, side, int(orientation)))
    return crops


def cut(images: Sequence[Tensor], crops: Sequence[Crop], size: int) -> Tensor:
    """Cut squares out of uint8 images (H, W, 3), on their device: (B, 3, size, size) in 0..1, channels last."""
    batch = torch.empty((len(crops), size, size, 3), device=images[0].device)
    for target, crop in zip(batch, crops, strict=True):
        patch = images[crop.image][crop.top : crop.top + crop.side, crop.left : crop.left + crop.side]
        if crop.side != size:
            planes = patch.permute(2, 0, 1)[None].float()
            patch = F.interpolate(planes, size=size, mode="bilinear", antialias=True)[0].permute(1, 2, 0)
        if flipped := [axis for axis in (0, 1) if crop.orientation >> axis & 1]:
            patch = patch.flip(flipped)
        target.copy_(patch.transpose(0, 1) if crop.orientation & 4 else patch)
    return batch.div_(255).permute(0, 3, 1, 2)  # (B, size, size, 3) -> (B, 3, size, size)


def on_device(images: Sequence[np.ndarray], crop: int, device: torch.device) -> list[Tensor]:
    """Put images (H, W, 3) uint8 where crops are cut: on the device, or in memory where the device has no room.

    Images smaller than ``crop`` are extended by reflection.
    """
    padded = [_extended(image, crop) for image in images]
    if device.type == "cuda" and sum(image.nbytes for image in padded) > torch.cuda.mem_get_info(device)[0] / 2:
        device = torch.device("cpu")
    return [torch.from_numpy(image).to(device) for image in padded]


def _extended(image: np.ndarray, crop: int) -> np.ndarray:
    missing = [max(0, crop - side) for side in image.shape[:2]]
    return np.pad(image, [(0, missing[0]), (0, missing[1]), (0, 0)], mode="symmetric") if any(missing) else image


class Sampler:
    """Draws the batch of every step from (seed, step) alone: images, crops, qualities, and the seed of the noise."""

    def __init__(self, pool: ImagePool, config: TrainConfig, device: torch.device) -> None:
        self.config, self.device = config, device
        largest = max(stage.crop for stage in config.stages)
        self._photographs, self._synthetic = (on_device(part, largest, device) for part in (pool.train, pool.synthetic))
        self._qualities = config.qualities or config.architecture.qualities

    def draw(self, step: int, stage: Stage, group: ProcessGroup) -> tuple[Tensor, Tensor]:
        """Seed the noise of a step and draw its batch.

        Returns
        -------
        This process's part of the images (B, 3, crop, crop) in 0..1, and of the qualities (B,).
        """
        rng = np.random.default_rng([self.config.seed, step])
        torch.manual_seed(int(rng.integers(2**62)))
        crops = draw_crops(self._photographs, stage.batch, stage.crop, rng, self.config.scale_min)
        low, high = self._qualities
        quality = low + (high - low) * rng.random(stage.batch) ** self.config.quality_exponent
        local = group.local_batch(stage.batch)
        x = cut(self._photographs, crops[local], stage.crop)
        if self.config.synthetic_share:
            self._replace_some(x, step, stage, local)
        return x.to(self.device), torch.from_numpy(quality.astype(np.float32))[local].to(self.device)

    def _replace_some(self, x: Tensor, step: int, stage: Stage, local: slice) -> None:
        """Put crops of synthetic pictures, never shrunk, in place of a share of the photographs.

        They have a generator of their own: the other crops are the same at any share.
        """
        rng = np.random.default_rng([self.config.seed, step, 1])
        chosen = rng.random(stage.batch) < self.config.synthetic_share
        crops = draw_crops(self._synthetic, stage.batch, stage.crop, rng)
        for target, crop, wanted in zip(x, crops[local], chosen[local], strict=True):
            if wanted:
                target.copy_(cut(self._synthetic, [crop], stage.crop)[0])
