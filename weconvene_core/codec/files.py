"""Pictures as files: which formats can be written, and how."""

from __future__ import annotations

from pathlib import Path
from typing import IO

from PIL import Image

from weconvene_core.atomic_files import atomic_file
from weconvene_core.errors import WeconveneError

FORMATS: dict[str, tuple[str, dict[str, object]]] = {
    ".png": ("PNG", {}),
    ".tif": ("TIFF", {"compression": "tiff_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_deflate"}),
    ".webp": ("WEBP", {"lossless": True, "exact": True}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
}
"""Picture formats by extension, with Pillow's options: those that keep alpha without loss, and JPEG."""


def format_of(name: str | Path) -> tuple[str, dict[str, object]]:
    """Return Pillow's name and options for the format that a file's extension names.

    Raises:
        WeconveneError: pictures cannot be saved under such a name.
    """
    suffix = Path(name).suffix.lower()
    if suffix not in FORMATS:
        raise WeconveneError(f"Pictures cannot be saved as '{Path(name).name}': use one of {', '.join(FORMATS)}.")
    return FORMATS[suffix]


def write_picture(image: Image.Image, file: IO[bytes], name: str | Path) -> None:
    """Write a picture, with its colour profile, in the format of ``name`` to an open file.

    Raises:
        WeconveneError: unknown extension, or a format that cannot hold the picture's mode.
    """
    kind, options = format_of(name)
    try:
        image.save(file, kind, icc_profile=image.info.get("icc_profile"), **options)
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None):  # the disk, not the picture
            raise
        raise WeconveneError(
            f"A {image.width} x {image.height} picture of mode {image.mode} cannot be saved as {kind}: use .png."
        ) from error


def save(image: Image.Image, path: str | Path) -> None:
    """Save a picture in the format that the extension names; a file of that name is replaced at the very end.

    Raises:
        WeconveneError: as :func:`write_picture`, or a failed write.
    """
    with atomic_file(path) as file:
        write_picture(image, file, path)
