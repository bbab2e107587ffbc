"""Training images: decoded once and kept in memory as 8-bit arrays.

A file names the pictures that validate (``data/checkpoints/validation.csv``), so that further folders never change
them; without such a list every 40th picture validates.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from weconvene_core.datasets.image_sets import folder_set, load_rgb, training_folder
from weconvene_core.errors import WeconveneError
from weconvene_core.paths import ROOT, data_folder
from weconvene_core.training.config import TrainConfig

VALIDATION_EVERY = 40


@dataclass(frozen=True)
class ImagePool:
    """Images in memory, each (H, W, 3) uint8.

    Attributes
    ----------
    train, validation : photographs that are trained on, and those that never are.
    skipped : names of unreadable files.
    validation_folders : name of each validation picture's folder, where there are several.
    synthetic : drawn pictures that a share of the crops comes from.
    """

    train: tuple[np.ndarray, ...]
    validation: tuple[np.ndarray, ...]
    skipped: tuple[str, ...] = ()
    validation_folders: tuple[str, ...] = ()
    synthetic: tuple[np.ndarray, ...] = ()

    @property
    def validation_sets(self) -> dict[str, tuple[np.ndarray, ...]]:
        """The validation pictures by folder; under the empty name where no folders are known."""
        folders = self.validation_folders or ("",) * len(self.validation)
        named = list(zip(folders, self.validation, strict=True))
        return {folder: tuple(image for at, image in named if at == folder) for folder in dict.fromkeys(folders)}


def load_images(config: TrainConfig, quiet: bool = False) -> ImagePool:
    """Decode the images of a configuration, and say which ones are unreadable or smaller than a crop.

    Raises
    ------
    WeconveneError
        If a folder does not exist or holds nothing readable, or the validation list does not fit.
    """
    synthetic = _synthetic_images(config) if config.synthetic_share else ()  # first: what is missing shows at once
    named = (config.images,) if isinstance(config.images, str) else config.images
    folders = [training_folder()] if named is None else [_image_folder(name) for name in named]
    paths = [path for folder in folders for path in folder_set(folder).paths]
    pool = load_pool(paths, validation_paths(ROOT / config.validation, paths) if config.validation else None)
    if not quiet:
        for name in pool.skipped:
            tqdm.write(f"left out, unreadable: {name}")
        largest = max(stage.crop for stage in config.stages)
        if small := sum(min(image.shape[:2]) < largest for image in pool.train):
            tqdm.write(f"{small} of {len(pool.train)} training images are smaller than the crop: padded by reflection")
    return replace(pool, synthetic=synthetic)


def _image_folder(name: str) -> Path:
    """Return a folder below ``WECONVENE_DATA`` where there is one of this name, else the folder as it is named."""
    below = (data_folder() or Path()) / name
    return below if below.is_dir() else Path(name)


def _synthetic_images(config: TrainConfig) -> tuple[np.ndarray, ...]:
    folder = (data_folder() or Path()) / config.synthetic_images
    if not folder.is_dir():
        raise WeconveneError(
            f"synthetic_share={config.synthetic_share:g} needs a folder {folder}; make it, in notebooks/, by "
            f"python -m lab.studies.synthetic_pictures {folder}."
        )
    return tuple(image for image in decode(folder_set(folder).paths)[0] if image is not None)


def load_pool(paths: Sequence[Path], validation: Sequence[Path] | None = None) -> ImagePool:
    """Decode images in parallel; unreadable ones are left out and named.

    Parameters
    ----------
    paths : all image files.
    validation : those of them that validate (see :func:`validation_paths`); None: every 40th.

    Raises
    ------
    WeconveneError
        If nothing readable is left, a listed validation picture cannot be read, or it is also among the others.
    """
    images, skipped = decode(paths)
    found = {path: image for path, image in zip(paths, images, strict=True) if image is not None}
    if not found:
        folders = ", ".join(sorted({str(path.parent) for path in paths}))
        raise WeconveneError(
            f"none of the {len(paths)} training images in {folders} can be read; give a folder of photographs."
        )
    if validation is None:
        kept_out, folders_of = list(found)[::VALIDATION_EVERY], ()
        enough = len(found) >= VALIDATION_EVERY  # of fewer pictures none can be spared
        train = [path for path in found if path not in kept_out or not enough]
    else:
        kept_out, folders_of = validation, tuple(path.parent.name for path in validation)
        train = [path for path in found if path not in kept_out]
        _check_apart(train, kept_out, found)
    return ImagePool(tuple(found[p] for p in train), tuple(found[p] for p in kept_out), skipped, folders_of)


def _check_apart(train: Sequence[Path], validation: Sequence[Path], found: Mapping[Path, np.ndarray]) -> None:
    """Refuse a validation picture that is unreadable, or that is trained on under another name."""

    def content(path: Path) -> tuple[tuple[int, ...], bytes]:
        return found[path].shape, hashlib.blake2b(np.ascontiguousarray(found[path])).digest()

    trained = {content(path): path for path in train}
    for path in validation:
        if path not in found:
            raise WeconveneError(f"the validation picture {path} cannot be read; restore it or take it off the list.")
        if twin := trained.get(content(path)):
            raise WeconveneError(f"{path} validates, and {twin} is the same picture for training; remove one of them.")


def validation_paths(listing: Path, paths: Sequence[Path]) -> list[Path]:
    """Return the files of ``paths`` that a validation list names, in the list's order.

    Parameters
    ----------
    listing : CSV with the columns ``folder`` (name of the folder) and ``file``; other folders' lines do not count.
    paths : all image files of the training folders.

    Raises
    ------
    WeconveneError
        If the list is missing or malformed, is empty for these folders, or names a file twice or one that is not there.
    """
    known = {(path.parent.name, path.name): path for path in paths}
    folders = sorted({folder for folder, _ in known})
    try:
        with listing.open(newline="", encoding="utf-8") as file:
            named = [(row["folder"], row["file"]) for row in csv.DictReader(file) if row["folder"] in folders]
    except OSError as error:
        raise WeconveneError(f"the validation list {listing} cannot be read ({error.strerror}); correct it.") from error
    except (KeyError, csv.Error, UnicodeDecodeError) as error:
        raise WeconveneError(f"the validation list {listing} needs the columns folder and file ({error}).") from error
    if not named:
        raise WeconveneError(f"the validation list {listing} names no picture of {', '.join(folders)}.")
    for entry in named:
        if entry not in known or named.count(entry) > 1:
            problem = "is named twice" if entry in known else "is not there"
            raise WeconveneError(f"{'/'.join(entry)} of the validation list {listing} {problem}; correct the list.")
    return [known[entry] for entry in named]


def decode(paths: Sequence[Path]) -> tuple[list[np.ndarray | None], tuple[str, ...]]:
    """Return the images (H, W, 3) uint8, None where a file is none, and the names of those files."""

    def one(path: Path) -> np.ndarray | None:
        try:
            return np.array(load_rgb(path))
        except WeconveneError:
            return None

    with ThreadPoolExecutor() as executor:
        decoded = list(executor.map(one, paths))
    return decoded, tuple(path.name for path, image in zip(paths, decoded, strict=True) if image is None)
