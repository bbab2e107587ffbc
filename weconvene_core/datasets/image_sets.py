"""Image sets: where the photographs lie, whether they are complete and unaltered, and what they are called."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from weconvene_core.atomic_files import sha256_of
from weconvene_core.datasets.registry import faults, known_images, load_registry
from weconvene_core.errors import WeconveneError
from weconvene_core.paths import cache_folder, data_folder

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm"})
TITLES = {
    "kodak": "Kodak",
    "default": "scikit-image photographs",
    "clic": "CLIC 2020",
    "clic2020_professional": "CLIC 2020 professional",
    "clic2025": "CLIC 2025 validation (26 of 32)",
    "clic2025_final": "CLIC 2025 final test (15 of 30)",
    "tecnick": "Tecnick TESTIMAGES",
}
"""What figures call a set by its name in tables; only files verified to be all of a set go by one of these names."""


class MissingSetError(WeconveneError):
    """An image set that is not on this machine."""


class IncompleteSetError(WeconveneError):
    """An image set with files missing or altered."""


@dataclass(frozen=True)
class ImageSet:
    """Photographs to measure on.

    ``name`` stands in result tables: the first N images of a larger set are ``NAME-firstN``, N files that are not
    verified to be the whole set ``NAME-Nimages``, and all of ``clic`` is ``clic2020_professional``, as published curves
    call it. ``label`` stands in figures. ``paths`` are sorted by name.
    """

    name: str
    label: str
    paths: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.paths)


def image_set(name: str, limit: int | None = None) -> ImageSet:
    """Return an image set, or its first ``limit`` images: ``default``, ``kodak``, ``clic``, ``tecnick`` or a folder.

    ``WECONVENE_DATA/<name>`` comes first, then earlier downloads; ``default`` lies inside scikit-image. A set whose
    images are registered, or recorded when an archive was unpacked, must be complete and unaltered; other files in its
    folder are named in a warning and left out. A folder of any other set is taken as it is.

    Raises
    ------
    MissingSetError, IncompleteSetError
        If there is no such folder, or files are missing or altered (named).
    WeconveneError
        If the folder has no images, the record of an archive's images is damaged, or ``limit`` is below 1.
    """
    entries, folder = load_registry(name), locate(name)
    known = known_images(folder, entries)
    if not known:
        return _named(name, _listing(folder), limit, None if name in TITLES else name)
    recorded = any(entry.members and entry.sha256 is None for entry in entries)
    how = "recorded" if recorded else "registered"
    others = () if name == "default" else images_in(folder)  # the default folder is a library's own
    paths = {*(folder / file for file in known), *others}
    found = {path.name: sha256_of(path) for path in paths if path.is_file()}
    if wrong := faults(known, found):
        raise IncompleteSetError(
            f"Image set '{name}' in {folder} is not as {how}: {', '.join(wrong)}. Replace these files."
        )
    if extra := sorted(found.keys() - known.keys()):
        named = ", ".join(f"{file} (sha256 {found[file][:12]}...)" for file in extra)
        warnings.warn(f"Image set '{name}': left out, since they are not {how}: {named}.", stacklevel=2)
    whole = len(known) == sum(entry.images for entry in entries)
    note = " (hashes recorded at download)" if recorded else ""
    return _named(name, [folder / file for file in sorted(known)], limit, entries[0].dataset if whole else None, note)


def folder_set(folder: Path) -> ImageSet:
    """Return the images of any folder as a set that carries the folder's name.

    Raises
    ------
    WeconveneError
        If there is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise WeconveneError(f"There is no folder {folder.absolute()}: give one that holds images.")
    name = folder.resolve().name
    return _named(name, _listing(folder), None, None if name in TITLES else name)


def test_set(limit: int | None = None) -> ImageSet:  # noqa: PT028  # not a pytest function
    """Return Kodak if all 24 images are available and unaltered, else the default photographs.

    A Kodak folder that is incomplete or altered is named in a warning.

    Raises
    ------
    WeconveneError
        If ``WECONVENE_DATA`` names a folder that does not exist, or for a limit below 1.
    """
    try:
        return image_set("kodak", limit)
    except IncompleteSetError as error:
        warnings.warn(f"{error} The default photographs are taken.", stacklevel=2)
    except MissingSetError:
        pass
    return image_set("default", limit)


test_set.__test__ = False  # type: ignore[attr-defined]  # pytest would take the name for a test


def training_set() -> ImageSet:
    """Return the images of ``WECONVENE_DATA/train``, else the default photographs.

    Without a training folder the four default photographs are training and test images at once: enough to see the
    machinery run, worthless as a measurement.

    Raises
    ------
    WeconveneError
        If ``WECONVENE_DATA`` names a folder that does not exist, or its ``train`` holds no images.
    """
    folder = _data_subfolder("train")
    return image_set("default") if folder is None else folder_set(folder)


def _data_subfolder(name: str) -> Path | None:
    root = data_folder()
    if root and not root.is_dir():
        raise WeconveneError(f"WECONVENE_DATA names {root}, which is not a folder: correct or unset it.")
    return root / name if root and (root / name).is_dir() else None


def locate(name: str) -> Path:
    """Return the folder of an image set; ``MissingSetError`` where there is none, or no image of a registered set."""
    if name == "default":
        return Path(str(files("skimage"))) / "data"
    found = _data_subfolder(name) or cache_folder(name)
    # a download that failed leaves an empty folder
    if not found.is_dir() or (load_registry(name) and not images_in(found)):
        raise MissingSetError(
            f"Image set '{name}' is not available: put it into a folder '{name}' under the one named by "
            f"WECONVENE_DATA, or download it if its address is known (weconvene data fetch {name})."
        )
    return found


def images_in(folder: Path) -> list[Path]:
    """Return the image files of a folder by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())


def _listing(folder: Path) -> list[Path]:
    paths = images_in(folder)
    if not paths:
        raise WeconveneError(f"The folder {folder} holds no images ({', '.join(sorted(SUFFIXES))}): put some there.")
    return paths


def _named(name: str, paths: list[Path], limit: int | None, whole: str | None, note: str = "") -> ImageSet:
    """Return the first images as a set; ``whole`` is what all of them are called, None for so many images *from* it."""
    if limit is not None and limit < 1:
        raise WeconveneError(f"A limit of {limit} images leaves none: give 1 or more.")
    total, kept = len(paths), paths[:limit]
    part = len(kept) < total
    count = f"first {len(kept)} of {total} images" if part else f"{total} image{'s' * (total > 1)}"
    title = TITLES.get(whole or name, name)
    label = f"{title}, {count}" if whole else f"{count} from {title}"
    known_as = f"{whole or name}-first{len(kept)}" if part else whole or f"{name}-{total}images"
    return ImageSet(known_as, label + note, tuple(kept))
