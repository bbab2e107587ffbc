"""The compressed file: one self-contained sequence of bytes, laid out in ``data/FORMAT.md``.

Nothing here imports torch or numpy, so that a file can be looked into at once.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import Literal, get_args

from weconvene_core.atomic_files import HASH_BYTES
from weconvene_core.codec.tile_grid import TILE_EDGES, TileGroup, block_count, blocks, tile_count
from weconvene_core.errors import CorruptFileError, WeconveneError

Mode = Literal["RGB", "L", "RGBA", "LA"]
"""What the picture was: colour or grey, each with or without alpha. The order is the file's code, 0 to 3."""

Kind = Literal["z", "y_ll", "y_lf", "icc", "alpha", "y_hf"]
"""What a stream holds."""

MAGIC = b"WCV"
VERSION = 4
EARLIER = {3: "commit 7644225 decodes it"}  # versions of past releases, and what a user can do
MAX_PIXELS = 1 << 29  # 20,000 x 20,000 and some more: a decoder must not reserve memory for any size a header names
CHECKSUM_BYTES = 4
MODES: tuple[Mode, ...] = get_args(Mode)
CUT_HEADER = "The file is cut inside its header: nothing can be decoded; get a fresh copy."
EXACT, ICC = 4, 8  # bits of the first flags; bits 0-1 are the mode, bits 4-7 the tile code
TRANSPOSED, PLAIN = 4, 8  # bits of the second flags; bits 0-2 are the orientation, bits 4-7 are reserved
ORIENTATIONS = 8


class CutFileError(CorruptFileError):
    """A compressed file whose end is missing."""


@dataclass(frozen=True)
class Container:
    """Everything that a file holds.

    Attributes:
        model_hash: the first 8 bytes of the SHA-256 of the model's weights; a decoder must have the same ones.
        width, height: size of the picture in pixels, at least 1 each, at most 2^29 together.
        mode: what the picture was, see Mode.
        quality: 0 to 65.535; rounded to thousandths here, so that encoder and decoder hold the same number.
        streams: the payloads in the order of :attr:`kinds`.
        exact: the entropy path was the integer one, the same on every machine (False: floating point).
        icc: a colour profile is among the streams.
        tile: longest side of a tile in pixels, one of TILE_EDGES; 0 for a picture in one piece.
        orientation: how the picture was turned before coding, 0 to 7 (see :mod:`.orientation`).
        plain: it was coded without g_a and g_s (see :mod:`.floor`).

    Raises:
        WeconveneError: a value that the file cannot hold.
    """

    model_hash: bytes
    width: int
    height: int
    mode: Mode
    quality: float
    streams: tuple[bytes, ...] = ()
    exact: bool = False
    icc: bool = False
    tile: int = 0
    orientation: int = 0
    plain: bool = False

    def __post_init__(self) -> None:
        if len(self.model_hash) != HASH_BYTES:
            raise WeconveneError(f"A model's hash has {HASH_BYTES} bytes in a file, not {len(self.model_hash)}.")
        if min(self.width, self.height) < 1 or self.width * self.height > MAX_PIXELS:
            raise WeconveneError(
                f"A picture of {self.width} x {self.height} does not fit: 1 to {MAX_PIXELS} pixels do."
            )
        if self.mode not in MODES or self.tile not in TILE_EDGES:
            raise WeconveneError(f"Mode '{self.mode}' in tiles of {self.tile} cannot be stored.")
        if self.orientation not in range(ORIENTATIONS):
            raise WeconveneError(f"Orientation {self.orientation} cannot be stored: 0 to {ORIENTATIONS - 1} can.")
        if not 0 <= self.quality <= 65.535:
            raise WeconveneError(f"Quality {self.quality} cannot be stored: 0 to 65.535 can.")
        object.__setattr__(self, "quality", round(self.quality * 1000) / 1000)

    @property
    def coded_size(self) -> tuple[int, int]:
        """Height and width of the picture as it was turned: what tiles, blocks and latents are of."""
        transposed = self.orientation & TRANSPOSED
        return (self.width, self.height) if transposed else (self.height, self.width)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        height, width = self.coded_size
        return tile_count(height, self.tile), tile_count(width, self.tile)

    @property
    def blocks(self) -> int:
        """Number of blocks of tiles."""
        height, width = self.coded_size
        return block_count(height, self.tile) * block_count(width, self.tile)

    @property
    def parts(self) -> list[TileGroup]:
        """The blocks, row by row."""
        height, width = self.coded_size
        return blocks(width, height, self.tile)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What each stream is, in the file's order: what a preview needs comes first."""
        tiles, blocks = self.grid[0] * self.grid[1], self.blocks
        coarse: tuple[Kind, ...] = ("z",) * blocks + ("y_ll",) * (blocks if self.tile else 0)
        beside: tuple[Kind, ...] = ("icc",) * self.icc + ("alpha",) * self.mode.endswith("A")
        return coarse + ("y_lf",) * tiles + beside + ("y_hf",) * tiles

    def of(self, kind: Kind) -> list[bytes]:
        """Return the streams of one kind that are there, tiles row by row."""
        return [stream for stream, name in zip(self.streams, self.kinds, strict=False) if name == kind]


@dataclass(frozen=True)
class PartialFile:
    """What the beginning of a file holds.

    Attributes:
        container: the header, and the streams that are complete and whose checksums match.
        cut: what is there of the next stream, unverified; empty in a complete file.
        size: bytes of the complete file.
        complete: nothing is missing.
    """

    container: Container
    cut: bytes
    size: int
    complete: bool


def pack(container: Container) -> bytes:
    """Return the file's bytes; one picture without tiles, profile and alpha has less than 42 bytes over its streams.

    Raises:
        WeconveneError: the streams are not those that the header announces.
    """
    if len(container.streams) != len(container.kinds):
        raise WeconveneError(f"{len(container.streams)} streams were given where {len(container.kinds)} belong.")
    flags = MODES.index(container.mode) | EXACT * container.exact | ICC * container.icc
    flags |= TILE_EDGES.index(container.tile) << 4
    parts = [
        MAGIC,
        bytes([VERSION, flags, container.orientation | PLAIN * container.plain, 0]),
        container.model_hash,
        round(container.quality * 1000).to_bytes(2, "little"),
        *map(_varint, (container.width, container.height, *map(len, container.streams))),
    ]
    checksum = zlib.crc32(b"".join(parts))
    for stream in container.streams:
        checksum = zlib.crc32(stream, checksum)
        parts += [stream, checksum.to_bytes(CHECKSUM_BYTES, "little")]
    return b"".join(parts)


def unpack(data: bytes) -> Container:
    """Read a file's bytes; memory stays in proportion to ``len(data)``.

    Raises:
        CutFileError: its end is missing.
        CorruptFileError: the data is not such a file, is altered, or of another version.
    """
    prefix = unpack_prefix(data)
    if not prefix.complete:
        raise CutFileError(
            f"The file is cut: {len(data)} of its {prefix.size} bytes are there; get a fresh copy, "
            "or look at what is there with decode --preview."
        )
    return prefix.container


def unpack_prefix(data: bytes) -> PartialFile:
    """Read as much of a file as is there.

    Raises:
        CutFileError: not even the header is complete.
        CorruptFileError: as :func:`unpack`.
    """
    header, lengths, position = header_and_lengths(data)
    checksum, size = zlib.crc32(data[:position]), position + sum(lengths) + CHECKSUM_BYTES * len(lengths)
    streams: list[bytes] = []
    for length in lengths:
        stream, end = data[position : position + length], position + length + CHECKSUM_BYTES
        if len(data) < end:
            return PartialFile(replace(header, streams=tuple(streams)), stream, size, complete=False)
        checksum = zlib.crc32(stream, checksum)
        if checksum.to_bytes(CHECKSUM_BYTES, "little") != data[position + length : end]:
            raise CorruptFileError("The file was altered: a checksum does not match; get a fresh copy.")
        streams.append(stream)
        position = end
    if position < len(data):
        raise CorruptFileError(
            f"The file is {len(data) - position} bytes longer than its header says; get a fresh copy."
        )
    return PartialFile(replace(header, streams=tuple(streams)), b"", size, complete=True)


def header_and_lengths(data: bytes) -> tuple[Container, list[int], int]:
    """Read everything before the first stream: what the file is, the lengths of its streams, and where they begin.

    Nothing vouches for it but the first stream's checksum.

    Raises:
        CutFileError, CorruptFileError: as :func:`unpack_prefix`.
    """
    if not data or not data.startswith(MAGIC[: len(data)]):
        raise CorruptFileError(
            "This is not a WeConvene file: it does not start with 'WCV'; choose a file made by encode."
        )
    if len(data) > len(MAGIC) and data[len(MAGIC)] != VERSION:
        version = data[len(MAGIC)]
        raise CorruptFileError(
            f"The file has format version {version}, this program reads {VERSION}: "
            f"{EARLIER.get(version, 'use a matching release')}."
        )
    reader = _Reader(data)
    reader.take(len(MAGIC) + 1)
    flags, turned, reserved = reader.take(3)
    if turned >= 2 * PLAIN or reserved:
        raise CorruptFileError("The file was made by a newer release, or its header is damaged: use that release.")
    model_hash = reader.take(HASH_BYTES)
    quality = int.from_bytes(reader.take(2), "little") / 1000
    width, height = reader.varint(), reader.varint()
    if flags >> 4 >= len(TILE_EDGES):
        raise CorruptFileError(f"The file's header is damaged: there is no tile size {flags >> 4}.")
    try:
        header = Container(
            model_hash, width, height, MODES[flags & 3], quality,
            exact=bool(flags & EXACT), icc=bool(flags & ICC), tile=TILE_EDGES[flags >> 4],
            orientation=turned % ORIENTATIONS, plain=bool(turned & PLAIN),
        )  # fmt: skip
    except WeconveneError as error:
        raise CorruptFileError(f"The file's header is damaged: {error}") from error
    if 2 * header.grid[0] * header.grid[1] > len(data) - reader.position:  # before a list of that length is made
        raise CutFileError(CUT_HEADER)
    return header, [reader.varint() for _ in header.kinds], reader.position


class _Reader:
    """Takes bytes from the front and says so when there are too few."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def take(self, count: int) -> bytes:
        self.position += count
        if self.position > len(self.data):
            raise CutFileError(CUT_HEADER)
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
