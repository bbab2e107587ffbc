"""Any picture in, any picture out.

Policy. The codec sees 8-bit RGB. The EXIF orientation is applied and not stored. Grey (1, L, LA) is coded as RGB with
equal channels and comes back as grey, the mean of the three. Palettes become RGB. Alpha is kept without loss beside
the codec. 16-bit grey is scaled to 8 bits (divided by 257, rounded). Of animations the first frame is taken. CMYK and
floating-point pictures are refused, because converting them needs choices (an ink profile, a range) that are the
user's. Colour profiles are dropped: samples are taken as sRGB.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from weconvene_core.codec.container import Mode
from weconvene_core.codec.files import save, write_bytes_atomically
from weconvene_core.errors import CorruptFileError, WeconveneError

__all__ = ["Picture", "load", "pack_alpha", "save", "to_pil", "unpack_alpha", "write_bytes_atomically"]

SIXTEEN_BITS = ("I", "I;16", "I;16B", "I;16L", "I;16N")
GREY = ("1", "L", "LA", "La")
COLOUR = ("RGB", "RGBA", "RGBa", "RGBX", "P", "PA", "YCbCr", "HSV")
CHANNELS: dict[int, Mode] = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
# What garbage makes Pillow's decoders raise, beyond OSError.
DECODER_ERRORS = (SyntaxError, ValueError, TypeError, LookupError, EOFError, ArithmeticError, struct.error, zlib.error)


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as the codec takes it.

    Attributes:
        rgb: (H, W, 3) uint8.
        mode: what the picture was.
        alpha: (H, W) uint8 for the modes RGBA and LA, else None.
    """

    rgb: np.ndarray
    mode: Mode
    alpha: np.ndarray | None = None

    @property
    def height(self) -> int:
        """Rows."""
        return self.rgb.shape[0]

    @property
    def width(self) -> int:
        """Columns."""
        return self.rgb.shape[1]


def load(source: str | Path | Image.Image | np.ndarray | Picture) -> Picture:
    """Read a picture from a file, a Pillow image, or an array.

    Args:
        source: a path; an image; an array (H, W) or (H, W, C), C = 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA, of uint8
            (0..255) or uint16 (0..65535); or a Picture, which is returned as it is.

    Raises:
        WeconveneError: the file is missing, unreadable or too large, or its kind is refused (see the module's policy).
    """
    if isinstance(source, Picture):
        return source
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        return _from_pil(source)
    try:
        with warnings.catch_warnings():
            # Odd tags, and half the size that Pillow refuses: a user can do nothing with such warnings.
            warnings.simplefilter("ignore")
            with Image.open(source) as image:
                return _from_pil(image)
    except Image.DecompressionBombError as error:
        raise WeconveneError(f"The picture {source} is too large: {str(error).rstrip('.')}.") from error
    except WeconveneError:
        raise
    except UnidentifiedImageError as error:
        raise WeconveneError(
            f"{source} is not a picture in a known format; choose a PNG, JPEG, TIFF or WebP."
        ) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise WeconveneError(f"The picture {source} cannot be read: {reason.rstrip('.')}.") from error
    except DECODER_ERRORS as error:
        raise WeconveneError(
            f"The picture {source} is damaged: {str(error).rstrip('.') or type(error).__name__}."
        ) from error


def to_pil(rgb: np.ndarray, mode: Mode, alpha: np.ndarray | None = None) -> Image.Image:
    """Return rgb (H, W, 3) uint8 as an image of the given mode; grey is the rounded mean of the channels.

    Args:
        alpha: (H, W) uint8, needed for the modes RGBA and LA.
    """
    grey = mode in ("L", "LA")
    # Sums of three bytes, rounded: exact where the channels are equal.
    samples = ((rgb.sum(axis=2, dtype=np.uint16) + 1) // 3).astype(np.uint8) if grey else rgb
    image = Image.fromarray(np.ascontiguousarray(samples))
    if mode in ("RGBA", "LA"):
        if alpha is None:
            raise ValueError(f"mode {mode} needs an alpha plane")
        image.putalpha(Image.fromarray(alpha))
    return image


def pack_alpha(alpha: np.ndarray) -> bytes:
    """Compress an alpha plane (H, W) uint8 without loss: row differences, then zlib."""
    above = np.concatenate([np.zeros_like(alpha[:1]), alpha[:-1]])
    return zlib.compress((alpha - above).tobytes(), level=9)


def unpack_alpha(data: bytes, height: int, width: int) -> np.ndarray:
    """Return the plane (height, width) uint8 that pack_alpha compressed.

    Raises:
        CorruptFileError: the data is not such a plane.
    """
    decompressor = zlib.decompressobj()
    try:
        # One byte more than the plane holds, so that a longer stream shows without being expanded.
        plane = decompressor.decompress(data, height * width + 1)
    except zlib.error as error:
        raise CorruptFileError("The alpha plane in the file is damaged; get a fresh copy.") from error
    if len(plane) != height * width or not decompressor.eof:
        raise CorruptFileError(
            f"The alpha plane in the file does not have {width} x {height} samples; get a fresh copy."
        )
    return np.cumsum(np.frombuffer(plane, np.uint8).reshape(height, width), axis=0, dtype=np.uint8)


def _from_pil(image: Image.Image) -> Picture:
    image = ImageOps.exif_transpose(image)
    if image.mode in SIXTEEN_BITS:
        return _from_array(_sixteen_bits(image))
    if image.mode not in GREY + COLOUR:
        raise WeconveneError(
            f"Pictures of mode {image.mode} are not coded: convert to 8-bit RGB or grey first, with the range you want."
        )
    base = "L" if image.mode in GREY else "RGB"
    return _from_array(np.asarray(image.convert(base + "A" if image.has_transparency_data else base)))


def _sixteen_bits(image: Image.Image) -> np.ndarray:
    samples = np.asarray(image)
    if samples.size and not 0 <= samples.min() <= samples.max() <= 65535:
        raise WeconveneError("The grey picture's samples exceed 16 bits: scale it to 8 or 16 bits first.")
    return samples.astype(np.uint16)


def _from_array(array: np.ndarray) -> Picture:
    samples = array[..., None] if array.ndim == 2 else array
    if samples.ndim != 3 or samples.shape[2] not in CHANNELS or not samples.size:
        raise WeconveneError(f"An array of shape {array.shape} is not a picture: (H, W) or (H, W, 1 to 4) is expected.")
    if samples.dtype not in (np.uint8, np.uint16):
        raise WeconveneError(f"Samples of type {array.dtype} are not coded: give uint8 (0..255) or uint16 (0..65535).")
    if samples.dtype == np.uint16:
        samples = ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)
    mode = CHANNELS[samples.shape[2]]
    colour = samples[..., :3] if mode.startswith("RGB") else np.repeat(samples[..., :1], 3, axis=2)
    return Picture(np.ascontiguousarray(colour), mode, samples[..., -1].copy() if mode.endswith("A") else None)
