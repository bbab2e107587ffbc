"""Writing files so that what was there stays whole until the new content is complete."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
from pathlib import Path

from PIL import Image

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


def check_extension(path: str | Path) -> None:
    """Raise WeconveneError when no picture can be saved under such a name."""
    if Path(path).suffix.lower() not in FORMATS:
        raise WeconveneError(f"Pictures cannot be saved as '{Path(path).name}': use one of {', '.join(FORMATS)}.")


def save(image: Image.Image, path: str | Path) -> None:
    """Save a picture in the format that the extension names; a file of that name is replaced at the very end.

    Raises:
        WeconveneError: unknown extension, a format that cannot hold the picture's mode, or a failed write.
    """
    check_extension(path)
    name, options = FORMATS[Path(path).suffix.lower()]
    buffer = io.BytesIO()
    try:
        image.save(buffer, name, **options)
    except (OSError, ValueError) as error:
        raise WeconveneError(
            f"A {image.width} x {image.height} picture of mode {image.mode} cannot be saved as {name}: use .png."
        ) from error
    write_bytes_atomically(path, buffer.getvalue())


def write_bytes_atomically(path: str | Path, data: bytes) -> None:
    """Write a file under a temporary name in the same folder, then give it its name.

    Raises:
        WeconveneError: the folder is missing or not writable, or the disk is full; an earlier file stays as it was.
    """
    target = Path(path)
    temporary = target.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        raise WeconveneError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        with contextlib.suppress(OSError):  # the first failure is the one to report
            temporary.unlink()
