"""Training images: decoded once and kept as 8-bit arrays; unreadable ones are named, some are kept for validation."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from weconvene_core.datasets.image_sets import load_rgb
from weconvene_core.errors import WeconveneError

VALIDATION_EVERY = 40  # every 40th image (by name) is kept out of training, for validation on whole images


class ImageSource(Protocol):
    """Where a training gets its images from: all at once (:class:`ImagePool`) or pack by pack."""

    @property
    def validation(self) -> tuple[np.ndarray, ...]:
        """Whole images (H, W, 3) uint8 that are never trained on."""

    @property
    def image_count(self) -> int:
        """Number of training images."""

    @property
    def pixels(self) -> int:
        """Number of training pixels."""

    def pool_at(self, step: int) -> ImagePool:
        """Return the images that are drawn from at ``step``."""


@dataclass(frozen=True)
class ImagePool:
    """Images in memory: ``train`` and ``validation``, each (H, W, 3) uint8; ``skipped`` names the unreadable files."""

    train: tuple[np.ndarray, ...]
    validation: tuple[np.ndarray, ...]
    skipped: tuple[str, ...] = ()

    @property
    def image_count(self) -> int:
        """Number of training images."""
        return len(self.train)

    @property
    def pixels(self) -> int:
        """Number of training pixels."""
        return sum(image.shape[0] * image.shape[1] for image in self.train)

    def pool_at(self, step: int) -> ImagePool:
        """Return itself: all images are there at every step."""
        return self

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
    images, skipped = decode(paths)
    if not images:
        folders = ", ".join(sorted({str(path.parent) for path in paths}))
        raise WeconveneError(
            f"none of the {len(paths)} training images in {folders} can be read; give a folder of photographs."
        )
    train = tuple(image for i, image in enumerate(images) if i % VALIDATION_EVERY or len(images) < VALIDATION_EVERY)
    return ImagePool(train, tuple(images[::VALIDATION_EVERY]), skipped)


def decode(paths: Sequence[Path]) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """Return the readable images (H, W, 3) uint8, and the names of the files that are not."""
    with ThreadPoolExecutor() as executor:
        decoded = list(executor.map(decode_file, paths))
    skipped = tuple(path.name for path, image in zip(paths, decoded, strict=True) if image is None)
    return [image for image in decoded if image is not None], skipped


def decode_file(path: Path) -> np.ndarray | None:
    """Return an image (H, W, 3) uint8, None if the file is not one."""
    try:
        return np.array(load_rgb(path))
    except WeconveneError:
        return None
