"""Training images: decoded once, kept in memory as 8-bit arrays, and cut into the batch of every step.

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
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from weconvene_core.codec.pictures import load_rgb
from weconvene_core.datasets.image_sets import folder_set, training_set
from weconvene_core.errors import WeconveneError
from weconvene_core.paths import CHECKOUT, ROOT, data_folder
from weconvene_core.training.config import Stage, TrainConfig
from weconvene_core.training.distributed import ProcessGroup

VALIDATION_EVERY = 40
SCALED_SHARE = 0.5  # of the crops, where a configuration asks for scaling: the others keep the camera's sharpness


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
    data = data_folder() or Path()
    synthetic = data / config.synthetic_images
    if config.synthetic_share and not synthetic.is_dir():
        raise WeconveneError(
            f"synthetic_share={config.synthetic_share:g} needs a folder {synthetic}; make it, in notebooks/, by "
            f"python -m lab.studies.synthetic_pictures {synthetic}."
        )
    named = (config.images,) if isinstance(config.images, str) else config.images
    folders = [data / name if (data / name).is_dir() else Path(name).expanduser() for name in named or ()]
    sets = [training_set()] if named is None else [*map(folder_set, folders)]
    paths = [path for images in sets for path in images.paths]
    listing = Path(config.validation or "")
    listing = listing if listing.is_file() or not CHECKOUT else ROOT / listing
    pool = load_pool(paths, validation_paths(listing, paths) if config.validation else None)
    if not quiet:
        tqdm.write(f"training images: {len(pool.train)} ({'; '.join(images.label for images in sets)})")
        for name in pool.skipped:
            tqdm.write(f"left out, unreadable: {name}")
        largest = max(stage.crop for stage in config.stages)
        if small := sum(min(image.shape[:2]) < largest for image in pool.train):
            tqdm.write(f"{small} of {len(pool.train)} training images are smaller than the crop: padded by reflection")
    drawn = decode(folder_set(synthetic).paths) if config.synthetic_share else {}
    return replace(pool, synthetic=tuple(drawn.values()))


def load_pool(paths: Sequence[Path], validation: Sequence[Path] | None = None) -> ImagePool:
    """Decode images; those of ``validation`` validate (None: every 40th), unreadable ones are left out and named.

    Raises
    ------
    WeconveneError
        If nothing readable is left, a listed validation picture cannot be read, or it is also among the others.
    """
    found = decode(paths)
    if not found:
        folders = ", ".join(sorted({str(path.parent) for path in paths}))
        raise WeconveneError(
            f"none of the {len(paths)} training images in {folders} can be read; give a folder of photographs."
        )
    kept_out = list(found)[::VALIDATION_EVERY] if validation is None else validation
    spared = validation is not None or len(found) >= VALIDATION_EVERY  # of fewer pictures none can be spared
    train = [path for path in found if not spared or path not in kept_out]
    if validation is not None:
        _check_apart(train, validation, found)
    return ImagePool(
        train=tuple(found[path] for path in train),
        validation=tuple(found[path] for path in kept_out),
        skipped=tuple(path.name for path in paths if path not in found),
        validation_folders=tuple(path.parent.name for path in validation or ()),
    )


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

    The list is a CSV file with the columns ``folder`` (its name) and ``file``; other folders' lines do not count.

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


def decode(paths: Sequence[Path]) -> dict[Path, np.ndarray]:
    """Decode image files in parallel: (H, W, 3) uint8 by path, without those that cannot be read."""

    def one(path: Path) -> np.ndarray | None:
        try:
            return np.array(load_rgb(path))
        except WeconveneError:
            return None

    with ThreadPoolExecutor() as executor:
        decoded = zip(paths, executor.map(one, paths), strict=True)
        return {path: image for path, image in decoded if image is not None}


class Crop(NamedTuple):
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
    draws, orientations = rng.random((batch, 4)), rng.integers(8, size=batch)
    crops = []
    for number, (coin, scale, down, right), orientation in zip(chosen, draws, orientations, strict=True):
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
    padded = []
    for image in images:
        below, beside = (max(0, crop - side) for side in image.shape[:2])
        padded.append(np.pad(image, [(0, below), (0, beside), (0, 0)], mode="symmetric") if below or beside else image)
    if device.type == "cuda" and sum(image.nbytes for image in padded) > torch.cuda.mem_get_info(device)[0] / 2:
        device = torch.device("cpu")
    return [torch.from_numpy(image).to(device) for image in padded]


class Sampler:
    """Draws the batch of every step from (seed, step) alone: images, crops, qualities, and the seed of the noise."""

    def __init__(self, pool: ImagePool, config: TrainConfig, device: torch.device) -> None:
        self.config, self.device = config, device
        largest = max(stage.crop for stage in config.stages)
        self._photographs, self._synthetic = (on_device(part, largest, device) for part in (pool.train, pool.synthetic))
        self._qualities = config.qualities or config.architecture.qualities

    def draw(self, step: int, stage: Stage, group: ProcessGroup) -> tuple[Tensor, Tensor]:
        """Seed the noise of a step; return this process's images (B, 3, crop, crop) in 0..1 and qualities (B,)."""
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
