"""Training images: decoded once, kept as 8-bit arrays, cropped and flipped at random."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from weconvene_core.errors import WeconveneError
from weconvene_core.evaluation.datasets import load_rgb

VALIDATION_EVERY = 40  # every 40th image (by name) is kept out of training, for validation on whole images


@dataclass(frozen=True)
class ImagePool:
    """Images in memory: ``train`` and ``validation``, each (H, W, 3) uint8; ``skipped`` names the unreadable files."""

    train: tuple[np.ndarray, ...]
    validation: tuple[np.ndarray, ...]
    skipped: tuple[str, ...] = ()

    @property
    def pixels(self) -> int:
        """Number of training pixels."""
        return sum(image.shape[0] * image.shape[1] for image in self.train)

    def count_smaller_than(self, crop: int) -> int:
        """Number of training images that must be padded for a crop of this size."""
        return sum(min(image.shape[:2]) < crop for image in self.train)


def load_pool(paths: Sequence[Path]) -> ImagePool:
    """Decode images in parallel; unreadable ones are left out and named.

    Raises
    ------
    WeconveneError
        If nothing readable is left.
    """
    with ThreadPoolExecutor() as executor:
        decoded = list(executor.map(_decode, paths))
    skipped = tuple(path.name for path, image in zip(paths, decoded, strict=True) if image is None)
    images = [image for image in decoded if image is not None]
    if not images:
        raise WeconveneError(f"none of the {len(paths)} training images can be read; give a folder of photographs.")
    train = tuple(image for i, image in enumerate(images) if i % VALIDATION_EVERY or len(images) < VALIDATION_EVERY)
    validation = tuple(images[::VALIDATION_EVERY])
    return ImagePool(train, validation, skipped)


def _decode(path: Path) -> np.ndarray | None:
    try:
        return np.asarray(load_rgb(path))
    except WeconveneError:
        return None


def random_batch(images: Sequence[np.ndarray], batch: int, crop: int, rng: np.random.Generator) -> Tensor:
    """Draw a batch (B, 3, crop, crop) in 0..1: images by their area, then position, flip and quarter turn."""
    areas = np.array([image.shape[0] * image.shape[1] for image in images], dtype=np.float64)
    chosen = rng.choice(len(images), size=batch, p=areas / areas.sum())
    crops = np.stack([_random_crop(images[i], crop, rng) for i in chosen])
    return torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255  # (B, crop, crop, 3) -> (B, 3, crop, crop)


def _random_crop(image: np.ndarray, crop: int, rng: np.random.Generator) -> np.ndarray:
    height, width = image.shape[:2]
    missing = ((0, max(0, crop - height)), (0, max(0, crop - width)), (0, 0))
    if any(after for _, after in missing):
        image = np.pad(image, missing, mode="symmetric")
        height, width = image.shape[:2]
    top, left = rng.integers(height - crop + 1), rng.integers(width - crop + 1)
    patch = image[top : top + crop, left : left + crop]
    patch = patch[:, ::-1] if rng.random() < 0.5 else patch
    return np.ascontiguousarray(np.rot90(patch, rng.integers(4)))
