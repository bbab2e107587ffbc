"""Training images: decoded once and kept as 8-bit arrays; unreadable ones are named, some are kept for validation.

Which pictures validate is named in a file (``data/checkpoints/validation.csv``), so that further folders never change
it; folders without such a list keep every 40th picture.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from weconvene_core.datasets.image_sets import load_rgb
from weconvene_core.errors import WeconveneError

VALIDATION_EVERY = 40  # without a list, every 40th image (by name) is kept out of training


class ImageSource(Protocol):
    """Where a training gets its images from: all at once (:class:`ImagePool`) or pack by pack."""

    @property
    def validation(self) -> tuple[np.ndarray, ...]:
        """Whole images (H, W, 3) uint8 that are never trained on."""

    @property
    def validation_sets(self) -> Mapping[str, tuple[np.ndarray, ...]]:
        """The same images by the folder that they come from."""

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
    """Images in memory: ``train`` and ``validation``, each (H, W, 3) uint8; ``skipped`` names the unreadable files.

    ``validation_folders`` holds the name of each validation picture's folder, where there are several.
    """

    train: tuple[np.ndarray, ...]
    validation: tuple[np.ndarray, ...]
    skipped: tuple[str, ...] = ()
    validation_folders: tuple[str, ...] = ()

    @property
    def validation_sets(self) -> Mapping[str, tuple[np.ndarray, ...]]:
        """The validation pictures by folder; under the empty name where no folders are known."""
        folders = self.validation_folders or ("",) * len(self.validation)
        named = list(zip(folders, self.validation, strict=True))
        return {folder: tuple(image for at, image in named if at == folder) for folder in dict.fromkeys(folders)}

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


def load_pool(paths: Sequence[Path], kept_out: Sequence[Path] | None = None) -> ImagePool:
    """Decode images in parallel; unreadable ones are left out and named.

    Parameters
    ----------
    paths : all image files.
    kept_out : those of them that validate (see :func:`validation_paths`); None keeps every 40th.

    Raises
    ------
    WeconveneError
        If nothing readable is left, a listed validation picture cannot be read, or it is also among the others.
    """
    images, skipped = decode(paths)
    if all(image is None for image in images):
        folders = ", ".join(sorted({str(path.parent) for path in paths}))
        raise WeconveneError(
            f"none of the {len(paths)} training images in {folders} can be read; give a folder of photographs."
        )
    found = {path: image for path, image in zip(paths, images, strict=True) if image is not None}
    if kept_out is None:
        readable = list(found)
        kept_out = readable[::VALIDATION_EVERY]
        train = [path for path in readable if path not in kept_out] if len(readable) >= VALIDATION_EVERY else readable
        return ImagePool(tuple(found[p] for p in train), tuple(found[p] for p in kept_out), skipped)
    train = [path for path in found if path not in kept_out]
    _check_apart(train, kept_out, found)
    folders = tuple(path.parent.name for path in kept_out)
    return ImagePool(tuple(found[p] for p in train), tuple(found[p] for p in kept_out), skipped, folders)


def _check_apart(train: Sequence[Path], kept_out: Sequence[Path], found: Mapping[Path, np.ndarray]) -> None:
    """Refuse a validation picture that is unreadable, or that is trained on under another name."""
    trained = {_pixels_hash(found[path]): path for path in train}
    for path in kept_out:
        if path not in found:
            raise WeconveneError(f"the validation picture {path} cannot be read; restore it or take it off the list.")
        if twin := trained.get(_pixels_hash(found[path])):
            raise WeconveneError(f"{path} validates, and {twin} is the same picture for training; remove one of them.")


def _pixels_hash(image: np.ndarray) -> tuple[tuple[int, ...], bytes]:
    return image.shape, hashlib.blake2b(np.ascontiguousarray(image)).digest()


def validation_paths(listing: Path, paths: Sequence[Path]) -> list[Path]:
    """Return the files of ``paths`` that a validation list names, in the list's order.

    Parameters
    ----------
    listing : CSV with the columns ``folder`` (name of the folder) and ``file``.
    paths : all image files of the training folders.

    Raises
    ------
    WeconveneError
        If the list is missing or malformed, is empty for these folders, or names a file twice or one that is not there.
    """
    try:
        with listing.open(newline="", encoding="utf-8") as file:
            named = [(row["folder"], row["file"]) for row in csv.DictReader(file)]
    except OSError as error:
        raise WeconveneError(
            f"the validation list {listing} cannot be read ({error.strerror}); correct the entry `validation`."
        ) from error
    except (KeyError, csv.Error, UnicodeDecodeError) as error:
        raise WeconveneError(f"the validation list {listing} needs the columns folder and file ({error}).") from error
    known = {(path.parent.name, path.name): path for path in paths}
    folders = {folder for folder, _ in known}
    wanted = [entry for entry in named if entry[0] in folders]
    for entry in wanted:
        if entry not in known or wanted.count(entry) > 1:
            problem = "is not there" if entry not in known else "is named twice"
            raise WeconveneError(f"{'/'.join(entry)} of the validation list {listing} {problem}; correct the list.")
    if not wanted:
        raise WeconveneError(f"the validation list {listing} names no picture of {', '.join(sorted(folders))}.")
    return [known[entry] for entry in wanted]


def decode(paths: Sequence[Path]) -> tuple[list[np.ndarray | None], tuple[str, ...]]:
    """Return the images (H, W, 3) uint8, None where a file is none, and the names of those files."""
    with ThreadPoolExecutor() as executor:
        decoded = list(executor.map(decode_file, paths))
    return decoded, tuple(path.name for path, image in zip(paths, decoded, strict=True) if image is None)


def decode_file(path: Path) -> np.ndarray | None:
    """Return an image (H, W, 3) uint8, None if the file is not one."""
    try:
        return np.array(load_rgb(path))
    except WeconveneError:
        return None
