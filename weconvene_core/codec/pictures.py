"""Any picture in, any picture out: reading, turning and saving pictures, and what a file keeps of them without loss.

The codec sees 8-bit RGB. The EXIF orientation is applied and not stored. Grey (1, L, LA) is coded as RGB with equal
channels and comes back as the mean of the three. Palettes become RGB. Alpha and colour profiles are kept without loss;
a profile that maps colours as sRGB does is left out, since no profile means that. Other metadata is dropped. With a
PictureWarning, deeper samples are reduced to 8 bits (grey is divided by 257 and rounded, of colour Pillow keeps the
high byte), an animation to one frame, a gamma of its own is ignored, and a profile above 4 MiB is dropped. CMYK and
floating-point pictures are refused: their conversion needs choices (an ink profile, a range) that are the user's. So
are camera raw files, of which Pillow reads a preview.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError

from weconvene_core.codec.container import TRANSPOSED, Mode
from weconvene_core.errors import CorruptFileError, WeconveneError

SIXTEEN_BITS = ("I", "I;16", "I;16B", "I;16L", "I;16N")
GREY = ("1", "L", "LA", "La")
COLOUR = ("RGB", "RGBA", "RGBa", "RGBX", "P", "PA", "YCbCr", "HSV")
MIRRORED, FLIPPED = 1, 2  # bits of an orientation
NEW_SUBFILE_TYPE, PHOTOMETRIC, WHITE_IS_ZERO = 254, 262, 0  # tags of TIFF, and a value of the second
STRIP = 1024  # rows that are converted at a time
EIGHT_BITS = "Samples of more than 8 bits are reduced to 8 bits."
LEVELS = {"L;2": 4, "L;4": 16, "I;12": 1 << 12}  # of grey in the file, by Pillow's raw mode
FOLDER_FORMATS = frozenset(
    {"AVIF", "BMP", "GIF", "HEIF", "JPEG", "JPEG2000", "JXL", "PNG", "PPM", "QOI", "TGA", "TIFF", "WEBP"}
)
"""What is taken from a folder: Pillow knows more, among them films, tables and documents."""
CHANNELS: dict[int, Mode] = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
DECODER_ERRORS = (  # what missing, too large and damaged pictures make Pillow raise
    OSError, Image.DecompressionBombError, SyntaxError, ValueError, TypeError, LookupError, EOFError, ArithmeticError,
    struct.error, zlib.error,
)  # fmt: skip
WEBP_SIDE = 16383  # pixels; the format has 14 bits for a side
WEBP_PIXELS = 1 << 26  # Pillow warns of pictures above 89 million
MAX_PROFILE = 4 << 20  # bytes; the largest profiles in use, tables for printing, have about two million

FORMATS: dict[str, tuple[str, dict[str, object]]] = {
    ".png": ("PNG", {}),
    **dict.fromkeys((".tif", ".tiff"), ("TIFF", {"compression": "tiff_deflate"})),
    ".webp": ("WEBP", {"lossless": True, "exact": True}),
    **dict.fromkeys((".jpg", ".jpeg"), ("JPEG", {"quality": 95, "subsampling": 0})),
}
"""Picture formats by extension, with Pillow's options: those that keep alpha without loss, and JPEG."""


class PictureWarning(UserWarning):
    """Something of a picture is not kept: one sentence that says what."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as the codec takes it: its colours, its former mode, alpha (modes RGBA and LA) and colour profile."""

    rgb: np.ndarray  # (H, W, 3) uint8
    mode: Mode
    alpha: np.ndarray | None = None  # (H, W) uint8
    icc: bytes | None = None


def load(source: str | Path | bytes | IO[bytes] | Image.Image | np.ndarray | Picture) -> Picture:
    """Read a picture from a file or its bytes, a Pillow image, or an array; a Picture is returned as it is.

    Arrays are (H, W) or (H, W, C), C = 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA, of uint8 (0..255) or uint16 (0..65535).

    Raises
    ------
    WeconveneError
        If the file is missing, unreadable or too large, or its kind is refused (see this module).
    """
    if isinstance(source, Picture):
        return source
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, bytes | bytearray | memoryview):
        source = io.BytesIO(source)
    name = source if isinstance(source, str | Path) else "given"
    try:
        if isinstance(source, Image.Image):
            return _from_pil(source)
        if name == "given" and not hasattr(source, "read"):
            kind = type(source).__name__
            raise WeconveneError(f"A picture is a path, an open file, bytes, a Pillow image or an array, not a {kind}.")
        with Image.open(source) as image:
            return _from_pil(image)
    except WeconveneError:
        raise
    except UnidentifiedImageError as error:
        raise WeconveneError(f"The picture {name} is in no known format; choose a PNG, JPEG, TIFF or WebP.") from error
    except DECODER_ERRORS as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise WeconveneError(f"The picture {name} cannot be read: {reason.rstrip('.')}.") from error


def load_rgb(path: str | Path) -> Image.Image:
    """Read a picture's colours alone, for training and measuring: grey is repeated, alpha and profile are dropped."""
    try:
        return Image.fromarray(load(path).rgb)
    except WeconveneError as error:
        raise error if str(path) in str(error) else WeconveneError(f"{path}: {error}") from error


def _from_pil(image: Image.Image) -> Picture:
    if image.mode not in GREY + COLOUR + SIXTEEN_BITS:
        raise WeconveneError(
            f"Pictures of mode {image.mode} are not coded: convert to 8-bit RGB or grey first, with the range you want."
        )
    icc, raw, white_is_zero = _profile(image), _raw_mode(image), _tags(image).get(PHOTOMETRIC) == WHITE_IS_ZERO
    _say_what_is_lost(image, raw)
    if transparent := _transparent_colour(image, raw):
        image = image.copy()
        image.info["transparency"] = transparent
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:  # else it would be copied for nothing
        image = ImageOps.exif_transpose(image)
    if image.mode in SIXTEEN_BITS:
        return replace(_from_sixteen_bits(image, raw, white_is_zero), icc=icc)
    grey = image.mode in GREY or raw.startswith("LA")  # 16-bit LA, which Pillow reads as RGBA
    mode = ("L" if grey else "RGB") + "A" * image.has_transparency_data
    return replace(_from_array(_samples(image, mode)), icc=icc)


def _from_sixteen_bits(image: Image.Image, raw: str, white_is_zero: bool) -> Picture:
    samples = np.asarray(image)
    if samples.size and not 0 <= samples.min() <= samples.max() <= 65535:
        raise WeconveneError("The grey picture's samples exceed 16 bits: scale it to 8 or 16 bits first.")
    samples = samples.astype(np.uint16)
    alpha = samples != image.info["transparency"] if "transparency" in image.info else None
    if raw in LEVELS:
        samples = (samples * (65535 / (LEVELS[raw] - 1)) + 0.5).astype(np.uint16)
    if white_is_zero:  # which Pillow turns round in 8 bits alone
        samples = 65535 - samples
    picture = _from_array(samples)
    return picture if alpha is None else replace(picture, mode="LA", alpha=alpha * np.uint8(255))


def _say_what_is_lost(image: Image.Image, raw: str) -> None:
    """Warn of what is not kept; what Pillow does not read, or reads a preview of, is refused."""
    head, lost = _head(image), []
    if (_tags(image).get(NEW_SUBFILE_TYPE, 0) & 1 and image.tell() == 0) or head[8:10] == b"CR":
        raise WeconveneError("The file begins with a preview of its picture, as camera raw does: develop it first.")
    if getattr(image, "n_frames", 1) > 1:
        lost.append(f"Of {image.n_frames} frames only number {image.tell() + 1} is kept.")
    # the gamma of sRGB is 1 / 2.2; a profile, where there is one, counts instead
    if not {"icc_profile", "srgb"} & image.info.keys() and abs(image.info.get("gamma", 0.4545) - 0.4545) > 0.02:
        lost.append(f"The gamma of {image.info['gamma']} is not kept.")
    if _has_deep_colour(image, raw, head):
        lost.append(EIGHT_BITS)
    for sentence in lost:
        warnings.warn(sentence, PictureWarning, stacklevel=4)


def _tags(image: Image.Image) -> Mapping[int, Any]:
    return getattr(image, "tag_v2", {})  # of a TIFF


def _samples(image: Image.Image, mode: str) -> np.ndarray:
    """Return an image's samples in a mode; some rows at a time, because Pillow copies what it hands over twice."""
    whole = np.empty((image.height, image.width, *(len(mode),) * (len(mode) > 1)), np.uint8)
    for top in range(0, image.height, STRIP):
        strip = image.crop((0, top, image.width, min(top + STRIP, image.height)))
        whole[top : top + STRIP] = np.asarray(strip if image.mode == mode else strip.convert(mode))
    return whole


def _profile(image: Image.Image) -> bytes | None:
    """Return the colour profile that is worth keeping."""
    profile = image.info.get("icc_profile")
    if not profile or _is_srgb(profile):
        return None
    if len(profile) <= MAX_PROFILE:
        return profile
    warnings.warn(f"A colour profile of {len(profile)} bytes is not kept.", PictureWarning, stacklevel=4)
    return None


def _is_srgb(profile: bytes) -> bool:
    """Tell whether a profile maps a grid of colours as sRGB does; its name may say anything."""
    steps = np.arange(0, 256, 15, dtype=np.uint8)  # 18 levels
    colours = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(len(steps), -1, 3)
    try:
        own, intent = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.Intent.RELATIVE_COLORIMETRIC
        to_srgb = ImageCms.buildTransform(own, ImageCms.createProfile("sRGB"), "RGB", "RGB", intent)
        mapped = np.asarray(ImageCms.applyTransform(Image.fromarray(colours), to_srgb))
    except (OSError, TypeError, ValueError, ImageCms.PyCMSError):
        return False
    return int(np.abs(mapped.astype(int) - colours).max()) <= 2  # tables of curves differ in their digits


def _raw_mode(image: Image.Image) -> str:
    """Return what Pillow calls the samples in the file, empty once it has read them."""
    arguments = [tile[3] for tile in getattr(image, "tile", ())]
    return str(next((first if isinstance(first, str) else first[0] for first in arguments if first), ""))


def _head(image: Image.Image) -> bytes:
    """Return the beginning of a file that is still to be read, where Pillow does not tell enough of its format."""
    file = getattr(image, "fp", None)
    if file is None or image.format not in ("AVIF", "JPEG2000", "TIFF") or not getattr(image, "tile", ()):
        return b""
    place = file.tell()
    file.seek(0)
    head = file.read(4096)
    file.seek(place)
    return head


def _has_deep_colour(image: Image.Image, raw: str, head: bytes) -> bool:
    """Tell whether Pillow is about to reduce deep colour; what it reads from is its only trace."""
    if image.mode in SIXTEEN_BITS:  # which are reduced, and reported, here
        return False
    if image.format == "AVIF":  # the AV1 configuration: after version and profile, the second bit says so
        return bool(_byte_behind(head, b"av1C", 6) & 0x40)
    if image.format == "JPEG2000":  # the SIZ marker segment: the first component's depth less one
        return _byte_behind(head, b"\xff\x4f\xff\x51", 42) & 0x7F > 7
    levels = [tile[3][-1] for tile in getattr(image, "tile", ()) if raw == "RGB" and isinstance(tile[3], tuple)]
    return ";16" in raw or 65535 in levels


def _byte_behind(head: bytes, mark: bytes, offset: int) -> int:
    place = head.find(mark)
    return head[place + offset] if 0 <= place < len(head) - offset else 0


def _transparent_colour(image: Image.Image, raw: str) -> int | tuple[int, ...] | None:
    """Return a PNG's transparent colour in 8 bits where Pillow has it as the file does, in the file's own depth."""
    colour = image.info.get("transparency")
    if isinstance(colour, int) and raw in ("L;2", "L;4"):
        return colour * 255 // (LEVELS[raw] - 1)
    if isinstance(colour, tuple) and ";16" in raw:
        return tuple(value >> 8 for value in colour)  # Pillow keeps the high bytes of the samples as well
    return None


def _from_array(array: np.ndarray) -> Picture:
    samples = array[..., None] if array.ndim == 2 else array
    if samples.ndim != 3 or samples.shape[2] not in CHANNELS or not samples.size:
        raise WeconveneError(f"An array of shape {array.shape} is not a picture: (H, W) or (H, W, 1 to 4) is expected.")
    if samples.dtype not in (np.uint8, np.uint16):
        raise WeconveneError(f"Samples of type {array.dtype} are not coded: give uint8 (0..255) or uint16 (0..65535).")
    if samples.dtype == np.uint16:
        warnings.warn(EIGHT_BITS, PictureWarning, stacklevel=3)
        samples = ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)
    mode = CHANNELS[samples.shape[2]]
    colour = samples[..., :3] if mode.startswith("RGB") else np.repeat(samples[..., :1], 3, axis=2)
    return Picture(np.ascontiguousarray(colour), mode, samples[..., -1].copy() if mode.endswith("A") else None)


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Return a view of a picture (H, W, 3) as it is coded; one ``orientation`` of the eight gives the best file.

    Bit 0 mirrors left and right, then bit 1 top and bottom, then bit 2 swaps rows and columns.
    """
    pixels = _mirrored(pixels, orientation)
    return pixels.swapaxes(0, 1) if orientation & TRANSPOSED else pixels


def turned_back(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undo :func:`turned`."""
    return _mirrored(pixels.swapaxes(0, 1) if orientation & TRANSPOSED else pixels, orientation)


def _mirrored(pixels: np.ndarray, orientation: int) -> np.ndarray:
    pixels = pixels[:, ::-1] if orientation & MIRRORED else pixels
    return pixels[::-1] if orientation & FLIPPED else pixels


def pack_alpha(alpha: np.ndarray) -> bytes:
    """Compress an alpha plane (H, W) uint8 without loss: as lossless WebP, or row differences with zlib.

    WebP takes 15 to 50 % fewer bytes than PNG's filters on masks, text and mattes; zlib is for sides that it lacks.
    """
    if max(alpha.shape) > WEBP_SIDE or alpha.size > WEBP_PIXELS:
        return zlib.compress(np.diff(alpha, axis=0, prepend=np.uint8(0)).tobytes(), level=9)
    buffer = io.BytesIO()
    Image.fromarray(alpha).convert("RGB").save(buffer, "WEBP", lossless=True)
    return buffer.getvalue()


def unpack_alpha(data: bytes, height: int, width: int) -> np.ndarray:
    """Return the plane (height, width) uint8 that :func:`pack_alpha` compressed; other data is refused."""
    if not data.startswith(b"RIFF"):  # which begins a WebP
        rows = np.frombuffer(_inflate(data, height * width, "alpha plane"), np.uint8)
        if rows.size != height * width:
            raise CorruptFileError(f"The alpha plane in the file has {rows.size} samples, not {width} x {height}.")
        return np.cumsum(rows.reshape(height, width), axis=0, dtype=np.uint8)
    sides = int.from_bytes(data[21:25], "little")  # two of 14 bits, less one; checked before memory is taken for them
    if data[12:16] != b"VP8L" or (1 + sides % (1 << 14), 1 + (sides >> 14) % (1 << 14)) != (width, height):
        raise CorruptFileError(f"The alpha plane in the file is not a lossless one of {width} x {height} samples.")
    try:
        with Image.open(io.BytesIO(data), formats=["WEBP"]) as image:
            return np.asarray(image.convert("RGB").getchannel("G")).reshape(height, width)
    except (OSError, ValueError, SyntaxError) as error:
        raise CorruptFileError("The alpha plane in the file is damaged; get a fresh copy.") from error


def unpack_profile(data: bytes) -> bytes:
    """Return the colour profile that zlib compressed; other data, or more than 4 MiB, is refused."""
    return _inflate(data, MAX_PROFILE, "colour profile")


def _inflate(data: bytes, most: int, name: str) -> bytes:
    decompressor = zlib.decompressobj()
    try:
        # One byte more than may be there, so that a longer stream shows without being expanded.
        content = decompressor.decompress(data, most + 1)
    except zlib.error as error:
        raise CorruptFileError(f"The {name} in the file is damaged; get a fresh copy.") from error
    if len(content) > most or not decompressor.eof or decompressor.unused_data:
        raise CorruptFileError(f"The {name} in the file is damaged: it does not end where it should; get a fresh copy.")
    return content


def to_pil(rgb: np.ndarray, mode: Mode, alpha: np.ndarray | None = None, icc: bytes | None = None) -> Image.Image:
    """Return a decoded picture (see :class:`Picture`) as an image, grey as the rounded mean of the channels.

    Without ``alpha`` (in a preview) the image is opaque, whatever the mode says. The profile goes into its ``info``.
    """
    # Sums of three bytes, rounded: exact where the channels are equal.
    samples = ((rgb.sum(axis=2, dtype=np.uint16) + 1) // 3).astype(np.uint8) if mode.startswith("L") else rgb
    image = Image.fromarray(np.ascontiguousarray(samples))
    if alpha is not None:
        image.putalpha(Image.fromarray(alpha))
    if icc:
        image.info["icc_profile"] = icc
    return image


def format_of(name: str | Path) -> tuple[str, dict[str, object]]:
    """Return Pillow's name and options for the format that a file's extension names, and refuse other names."""
    suffix = Path(name).suffix.lower()
    if suffix not in FORMATS:
        raise WeconveneError(f"Pictures cannot be saved as '{Path(name).name}': use one of {', '.join(FORMATS)}.")
    return FORMATS[suffix]


def to_bytes(image: Image.Image, name: str | Path) -> bytes:
    """Return a picture, with its colour profile, in the format that the extension of ``name`` says.

    Raises
    ------
    WeconveneError
        For an unknown extension, or a format that cannot hold the picture's mode.
    """
    (kind, options), buffer = format_of(name), io.BytesIO()
    try:
        image.save(buffer, kind, icc_profile=image.info.get("icc_profile"), **options)
        return buffer.getvalue()
    except (OSError, ValueError) as error:
        raise WeconveneError(
            f"A {image.width} x {image.height} picture of mode {image.mode} cannot be saved as {kind}: use .png."
        ) from error
