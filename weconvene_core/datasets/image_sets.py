"""Image sets: where the photographs lie, what they are called in figures, and under which terms."""

from __future__ import annotations

import shutil
import struct
import warnings
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

from weconvene_core.atomic_files import sha256_of
from weconvene_core.datasets.registry import Entry, cache_folder, faults, fetch, full_name, known_images, load_registry
from weconvene_core.errors import WeconveneError
from weconvene_core.paths import ROOT, data_folder

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm"})
TITLES = {
    "kodak": "Kodak",
    "default": "scikit-image photographs",
    "clic": "CLIC 2020",
    "clic2020_professional": "CLIC 2020 professional",
    "tecnick": "Tecnick TESTIMAGES",
}
"""What figures call a set by its name in tables; only files verified to be all of a set go by one of these names."""
STAND_IN = ROOT / ".cache" / "default"
"""What stands for training photographs where there are none: copies of the ``default`` set."""
UNREGISTERED = "not registered: see where the images come from"
EIGHT_BIT_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"})


@dataclass(frozen=True)
class ImageSet:
    """Photographs to measure on.

    Attributes:
        name: identifier in result tables; the first N images of a larger set are ``NAME-firstN``, a set of their own,
            and N files that cannot be verified to be the whole set are ``NAME-Nimages``. All of ``clic`` is called
            ``clic2020_professional``, as published curves call it.
        label: what figures say, e.g. ``Kodak, 24 images``; it says so where the hashes that the images were held to
            are not registered but those of an earlier download.
        paths: the image files, sorted by name.
        licence: terms as stated at the source.
        source: folder the files were found in.
    """

    name: str
    label: str
    paths: tuple[Path, ...]
    licence: str
    source: str

    def __len__(self) -> int:
        return len(self.paths)


def image_set(name: str, limit: int | None = None, download: bool = False) -> ImageSet:
    """Return the image set ``name``: ``default``, ``kodak``, ``clic``, ``tecnick`` or a folder of ``WECONVENE_DATA``.

    Looks in ``WECONVENE_DATA/<name>`` first, then among earlier downloads; ``default`` is embedded in scikit-image and
    needs neither. A set whose images are registered one by one must be complete and unaltered, and so must one that
    was unpacked from an archive, by the record that lies beside it. Other folders are taken as they are.

    Args:
        name: name of the set.
        limit: take only the first images; None for all.
        download: fetch a registered set that is not at hand.

    Raises:
        WeconveneError: no such folder, no images in it, missing or altered files (named), a damaged record of an
            archive's images, or a limit below 1.
    """
    entries = load_registry(name)
    folder = _locate(name, download)
    known = known_images(folder, entries)
    licence = "; ".join(sorted({entry.licence for entry in entries})) or UNREGISTERED
    if not known:
        return _limited(name, _listing(folder), limit, _own_name(name), licence, folder)
    recorded = any(entry.members and entry.sha256 is None for entry in entries)
    how = "recorded" if recorded else "registered"
    _verify(name, folder, known, how)
    paths = [folder / entry.name for entry in known]
    if name != "default":  # whose folder is a library's own, with other pictures in it
        _name_extra(name, set(_listing(folder)) - set(paths), how)
    found = _limited(name, paths, limit, full_name(entries, len(paths)), licence, folder)
    return replace(found, label=f"{found.label} (hashes recorded at download)") if recorded else found


def folder_set(folder: Path, limit: int | None = None) -> ImageSet:
    """Return the images of any folder as a set that carries the folder's name.

    Raises:
        WeconveneError: no such folder, no images in it, or a limit below 1.
    """
    if not folder.is_dir():
        raise WeconveneError(f"There is no folder {folder}: give one that holds images.")
    name = folder.resolve().name
    return _limited(name, _listing(folder), limit, _own_name(name), UNREGISTERED, folder)


def test_set(limit: int | None = None) -> ImageSet:  # noqa: PT028  # not a pytest function
    """Return Kodak when all 24 images are at hand and unaltered, else the embedded default photographs.

    A Kodak folder that is incomplete or altered is named in a warning before the default is taken.

    Raises:
        WeconveneError: ``WECONVENE_DATA`` names a folder that does not exist, or a limit below 1.
    """
    try:
        return image_set("kodak", limit)
    except IncompleteSetError as error:
        warnings.warn(f"{error} The embedded photographs stand in.", stacklevel=2)
    except MissingSetError:
        pass
    return image_set("default", limit)


test_set.__test__ = False  # type: ignore[attr-defined]  # pytest would take the name for a test


def training_folder() -> Path:
    """Return ``WECONVENE_DATA/train``, else a folder with copies of the embedded default photographs.

    Without a training folder the four default photographs are training and test images at once: enough to see the
    machinery run, worthless as a measurement of the trained model on them.

    Raises:
        WeconveneError: ``WECONVENE_DATA`` names a folder that does not exist, or its ``train`` holds no images.
    """
    folder = _data_subfolder("train")
    if folder is not None:
        _listing(folder)
        return folder
    STAND_IN.mkdir(parents=True, exist_ok=True)
    for path in image_set("default").paths:
        shutil.copyfile(path, STAND_IN / path.name)
    return STAND_IN


def load_rgb(path: Path) -> Image.Image:
    """Return the image as 8-bit RGB, loaded; grey is repeated, an alpha channel is dropped.

    Raises:
        WeconveneError: the file (named) is missing, is no image, is damaged, or has more than 8 bits per channel.
    """
    try:
        with Image.open(path) as image:
            image.load()
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise WeconveneError(f"{path} cannot be read as an image ({error}): replace or remove it.") from error
    if image.mode not in EIGHT_BIT_MODES:
        raise WeconveneError(f"{path} has pixels of type '{image.mode}'; give an image of 8 bits per channel.")
    return image.convert("RGB")


class MissingSetError(WeconveneError):
    """An image set that is not on this machine."""


class IncompleteSetError(WeconveneError):
    """An image set with files missing or altered."""


def _data_subfolder(name: str) -> Path | None:
    root = data_folder()
    if root is None:
        return None
    if not root.is_dir():
        raise WeconveneError(f"WECONVENE_DATA names {root}, which is not a folder: correct or unset it.")
    return root / name if (root / name).is_dir() else None


def _locate(name: str, download: bool) -> Path:
    if name == "default":
        return _scikit_image_folder()
    found = _data_subfolder(name)
    if found is not None:
        return found
    if download:
        return fetch(name)  # keeps what is already there and intact
    cached = cache_folder(name)
    if cached.is_dir():
        return cached
    raise MissingSetError(
        f"Image set '{name}' is not at hand: put it into a folder '{name}' under the one named by WECONVENE_DATA, "
        f"or download it if data/registry.csv has its address (weconvene data fetch {name})."
    )


def _scikit_image_folder() -> Path:
    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        raise WeconveneError("The default photographs come with scikit-image, which is not installed: run make setup.")
    return Path(spec.origin).parent / "data"


def _verify(name: str, folder: Path, entries: list[Entry], how: str) -> None:
    found = faults(folder, entries)
    if found:
        raise IncompleteSetError(
            f"Image set '{name}' in {folder} is not as {how}: {', '.join(found)}. Replace these files."
        )


def _name_extra(name: str, extra: set[Path], how: str) -> None:
    if extra:
        named = ", ".join(f"{path.name} (sha256 {sha256_of(path)[:12]}...)" for path in sorted(extra))
        warnings.warn(f"Image set '{name}': left out, since they are not {how}: {named}.", stacklevel=3)


def _listing(folder: Path) -> list[Path]:
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise WeconveneError(f"The folder {folder} holds no images ({', '.join(sorted(SUFFIXES))}): put some there.")
    return paths


def _own_name(name: str) -> str | None:
    """Return what unverified files are called: any folder by its name, but none by that of a known set."""
    return None if name in TITLES else name


def _limited(
    name: str, paths: list[Path], limit: int | None, whole: str | None, licence: str, folder: Path
) -> ImageSet:
    """Return the first images as a set; ``whole`` is what all of them are called, None for so many images *from* it."""
    if limit is not None and limit < 1:
        raise WeconveneError(f"A limit of {limit} images leaves none: give 1 or more.")
    total, kept = len(paths), paths[:limit]
    part = len(kept) < total
    count = f"first {len(kept)} of {total} images" if part else f"{total} image{'s' * (total > 1)}"
    title = TITLES.get(whole or name, name)
    label = f"{title}, {count}" if whole else f"{count} from {title}"
    known_as = f"{whole or name}-first{len(kept)}" if part else whole or f"{name}-{total}images"
    return ImageSet(known_as, label, tuple(kept), licence, str(folder))
