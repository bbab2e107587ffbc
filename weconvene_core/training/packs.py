"""Packs of training images: files of at most 40 MB that travel one by one and are trained on one after another.

A pack is an uncompressed ZIP archive of the image files as they were; ``packs.json`` lists the packs. The images that
validate lie in an archive of their own, and are the same ones that the whole folder would set aside.
"""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from weconvene_core.errors import WeconveneError
from weconvene_core.training.images import VALIDATION_EVERY, ImagePool, decode, decode_file

INDEX, VALIDATION = "packs.json", "validation.zip"
PACK_BYTES = 40_000_000
ENTRY_BYTES = 512  # more than a ZIP archive spends on the two headers of one file


def write_packs(paths: Sequence[Path], folder: Path, limit: int = PACK_BYTES) -> tuple[str, ...]:
    """Write the readable images of ``paths`` as packs of at most ``limit`` bytes; return the names of unreadable ones.

    Neighbours by name go into different packs, so that every pack is a fair sample.

    Raises
    ------
    WeconveneError
        If nothing can be read, one image alone is larger than a pack, or the folder cannot be written.
    """
    with ThreadPoolExecutor() as executor:
        pixels = dict(zip(paths, executor.map(_pixels, paths), strict=True))
    readable = [path for path in paths if pixels[path]]
    validation = readable[::VALIDATION_EVERY]
    train = [path for path in readable if path not in validation] if len(readable) >= VALIDATION_EVERY else readable
    if not readable:
        raise WeconveneError(f"none of the {len(paths)} training images can be read; give a folder of photographs.")
    archives = {f"train-{i:02d}.zip": part for i, part in enumerate(_shared_out(train, limit))}
    _check_size(validation, limit)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, part in {VALIDATION: validation, **archives}.items():
            _write_archive(folder / name, part)
        facts = [{"file": n, "images": len(p), "pixels": sum(pixels[path] for path in p)} for n, p in archives.items()]
        (folder / INDEX).write_text(json.dumps({"packs": facts}, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise WeconveneError(
            f"the packs cannot be written to {folder} ({error}); check space and permission."
        ) from error
    return tuple(path.name for path in paths if not pixels[path])


def _pixels(path: Path) -> int:
    """Number of pixels of an image file, 0 if it cannot be read."""
    image = decode_file(path)
    return 0 if image is None else image.shape[0] * image.shape[1]


def _shared_out(paths: Sequence[Path], limit: int) -> list[Sequence[Path]]:
    """Deal files like cards into as few packs as the limit allows."""
    for path in paths:
        _check_size([path], limit)
    count = 1
    while any(_archive_bytes(paths[i::count]) > limit for i in range(count)):
        count += 1
    return [paths[i::count] for i in range(count)]


def _check_size(paths: Sequence[Path], limit: int) -> None:
    if (size := _archive_bytes(paths)) > limit:
        raise WeconveneError(
            f"{len(paths)} image(s) from {paths[0].name} on need a pack of {size} bytes, more than the limit of "
            f"{limit}; make them smaller or leave some out."
        )


def _archive_bytes(paths: Sequence[Path]) -> int:
    return sum(path.stat().st_size + ENTRY_BYTES for path in paths)


def _write_archive(path: Path, members: Sequence[Path]) -> None:
    temporary = path.with_suffix(".tmp")
    with zipfile.ZipFile(temporary, "w") as archive:
        for member in members:
            archive.write(member, member.name)
    os.replace(temporary, path)


class PackedImages:
    """The images of a folder of packs; each pack serves ``steps`` steps, then the next one is decoded.

    Raises
    ------
    WeconveneError
        If the folder's index or a pack is missing or damaged (named).
    """

    def __init__(self, folder: Path, steps: int) -> None:
        self.folder, self.steps = folder, steps
        try:
            self._packs = json.loads((folder / INDEX).read_text(encoding="utf-8"))["packs"]
            self.image_count = sum(pack["images"] for pack in self._packs)
            self.pixels = sum(pack["pixels"] for pack in self._packs)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WeconveneError(f"{folder / INDEX} cannot be read ({error}); make the packs again.") from error
        self.validation = tuple(self._read(VALIDATION))
        self.validation_sets = {"": self.validation}
        self._held: tuple[str, ImagePool] | None = None

    def pool_at(self, step: int) -> ImagePool:
        """Return the images of the pack that serves at ``step``."""
        name = self._packs[step // self.steps % len(self._packs)]["file"]
        if self._held is None or self._held[0] != name:
            self._held = None  # one pack in memory at a time
            self._held = name, ImagePool(tuple(self._read(name)), self.validation)
        return self._held[1]

    def _read(self, name: str) -> list[np.ndarray]:
        try:
            with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(self.folder / name) as archive:
                images, _ = decode([Path(archive.extract(member, folder)) for member in archive.namelist()])
                return [image for image in images if image is not None]
        except (OSError, zipfile.BadZipFile) as error:
            raise WeconveneError(f"the pack {self.folder / name} cannot be read ({error}); send it again.") from error
