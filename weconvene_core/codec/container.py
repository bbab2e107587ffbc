"""The compressed file: one self-contained sequence of bytes, laid out in ``data/FORMAT.md``."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import Literal, get_args

from weconvene_core.errors import CorruptFileError, WeconveneError

Mode = Literal["RGB", "L", "RGBA", "LA"]
"""What the picture was: colour or grey, each with or without alpha. The order is the file's code, 0 to 3."""

MAGIC = b"WCV"
VERSION = 1
MAX_PIXELS = 1 << 28  # 16384 x 16384: a decoder must not reserve memory for more on a header's word
MAX_STREAMS = 15
HASH_BYTES = 8
CHECKSUM_BYTES = 4
MODES: tuple[Mode, ...] = get_args(Mode)
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")


@dataclass(frozen=True)
class Container:
    """Everything that a file holds.

    Attributes:
        model: name of the model that wrote the streams, 1 to 32 of the characters ``a-z 0-9 . _ -``.
        weights_hash: the first 8 bytes of the SHA-256 of the weights; a decoder must have the same ones.
        width, height: size of the picture in pixels, at least 1 each, at most 2^28 together.
        mode: what the picture was, see Mode.
        quality: 0 to 65.535; rounded to thousandths here, so that encoder and decoder hold the same number.
        streams: up to 15 payloads, whose meaning is the codec's.

    Raises:
        WeconveneError: a value that the file cannot hold.
    """

    model: str
    weights_hash: bytes
    width: int
    height: int
    mode: Mode
    quality: float
    streams: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.model) or len(self.weights_hash) != HASH_BYTES:
            raise WeconveneError(
                f"'{self.model}' with {len(self.weights_hash)} hash bytes cannot name a model in a file."
            )
        if min(self.width, self.height) < 1 or self.width * self.height > MAX_PIXELS:
            raise WeconveneError(
                f"A picture of {self.width} x {self.height} does not fit: 1 to {MAX_PIXELS} pixels do."
            )
        if self.mode not in MODES or len(self.streams) > MAX_STREAMS:
            raise WeconveneError(f"Mode '{self.mode}' with {len(self.streams)} streams cannot be stored.")
        if not 0 <= self.quality <= 65.535:
            raise WeconveneError(f"Quality {self.quality} cannot be stored: 0 to 65.535 can.")
        object.__setattr__(self, "quality", round(self.quality * 1000) / 1000)


def pack(container: Container) -> bytes:
    """Return the file's bytes; the overhead over the streams is about 30 bytes."""
    flags = MODES.index(container.mode) | len(container.streams) << 4
    name = container.model.encode("ascii")
    parts = [
        MAGIC,
        bytes([VERSION, flags, len(name)]),
        name,
        container.weights_hash,
        round(container.quality * 1000).to_bytes(2, "little"),
        _varint(container.width),
        _varint(container.height),
        *(_varint(len(stream)) for stream in container.streams),
        *container.streams,
    ]
    body = b"".join(parts)
    return body + zlib.crc32(body).to_bytes(CHECKSUM_BYTES, "little")


def unpack(data: bytes) -> Container:
    """Read a file's bytes; memory stays in proportion to ``len(data)``.

    Raises:
        CorruptFileError: the data is not such a file, is truncated or altered, or of a later version.
    """
    if not data.startswith(MAGIC[: len(data)]) or not data:
        raise CorruptFileError(
            "This is not a WeConvene file: it does not start with 'WCV'; choose a file made by encode."
        )
    if len(data) > len(MAGIC) and data[len(MAGIC)] != VERSION:
        raise CorruptFileError(
            f"The file has format version {data[len(MAGIC)]}, this program reads {VERSION}: use a matching release."
        )
    reader = _Reader(data[:-CHECKSUM_BYTES])
    container = _parse(reader)
    if zlib.crc32(reader.data).to_bytes(CHECKSUM_BYTES, "little") != data[-CHECKSUM_BYTES:]:
        raise CorruptFileError("The file was altered: its checksum does not match; get a fresh copy.")
    return container


def _parse(reader: _Reader) -> Container:
    reader.take(len(MAGIC) + 1)
    flags, name_length = reader.take(2)
    if flags & 0x0C:
        raise CorruptFileError(
            f"The file sets flags that version {VERSION} does not know (0x{flags:02x}): it is damaged."
        )
    model = reader.take(name_length).decode("ascii", errors="replace")
    weights_hash = reader.take(HASH_BYTES)
    quality = int.from_bytes(reader.take(2), "little") / 1000
    width, height = reader.varint(), reader.varint()
    lengths = [reader.varint() for _ in range(flags >> 4)]
    streams = tuple(reader.take(length) for length in lengths)
    if reader.position != len(reader.data):
        raise CorruptFileError(f"The file is {len(reader.data) - reader.position} bytes longer than its header says.")
    try:
        return Container(model, weights_hash, width, height, MODES[flags & 3], quality, streams)
    except WeconveneError as error:
        raise CorruptFileError(f"The file's header is damaged: {error}") from error


class _Reader:
    """Takes bytes from the front and says so when there are too few."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def take(self, count: int) -> bytes:
        left = len(self.data) - self.position
        if count > left:
            raise CorruptFileError(
                f"The file is truncated: {count} bytes are expected where {left} are left; get a fresh copy."
            )
        self.position += count
        return self.data[self.position - count : self.position]

    def varint(self) -> int:
        """LEB128 in its shortest form, at most 5 bytes."""
        value = 0
        for shift in range(0, 35, 7):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if byte == 0 and shift:
                    break
                return value
        raise CorruptFileError("The file's header is damaged: a number in it is malformed.")


def _varint(value: int) -> bytes:
    """LEB128: seven bits a byte, lowest first, the top bit set on all but the last."""
    groups = bytearray()
    while value >= 0x80:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])
