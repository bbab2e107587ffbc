"""The compressed file: one self-contained sequence of bytes, laid out in ``docs/format.md``.

Neither torch nor numpy is imported here, so that the header of a file is read at once.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass, replace
from math import prod
from typing import Literal, get_args

from weconvene_core.atomic_files import HASH_BYTES
from weconvene_core.codec.tile_grid import TILE_EDGES, Tile, TileGroup, group_count, tile_count, tile_groups
from weconvene_core.errors import CorruptFileError, WeconveneError

Mode = Literal["RGB", "L", "RGBA", "LA"]
"""What the picture was: colour or grey, each with or without alpha. The order is the file's code, 0 to 3."""

Kind = Literal["z", "y_ll", "y_lf", "icc", "alpha", "y_hf"]
"""What a stream holds, in the file's order: what a preview needs comes first."""

MAGIC = b"WCV"
VERSION = 4
EARLIER = {3: "commit 7644225 decodes it"}  # versions of past releases, and what a user can do
FIXED = struct.Struct(f"<{len(MAGIC)}sBBBB{HASH_BYTES}sH")  # magic, version, two flag bytes, 0, model hash, quality
MAX_PIXELS = 1 << 29  # 20,000 x 20,000 and some more: a decoder must not reserve memory for any size a header names
CHECKSUM_BYTES = 4
MODES: tuple[Mode, ...] = get_args(Mode)
KINDS: tuple[Kind, ...] = get_args(Kind)
CUT_HEADER = "The file is cut inside its header: nothing can be decoded; get a fresh copy."
EXACT, ICC = 4, 8  # bits of the first flags; bits 0-1 are the mode, bits 4-7 the tile code
TRANSPOSED, PLAIN = 4, 8  # bits of the second flags; bits 0-2 are the orientation, bits 4-7 are reserved
ORIENTATIONS = 8


class CutFileError(CorruptFileError):
    """A compressed file whose end is missing."""


@dataclass(frozen=True)
class Container:
    """Everything that a file holds.

    Attributes
    ----------
    model_hash : the first 8 bytes of the SHA-256 of the model's weights.
    width, height : size of the picture in pixels, at least 1 each; their product is at most 2^29.
    quality : 0 to 65.535; rounded to thousandths here, so that encoder and decoder hold the same number.
    streams : the payloads in the order of :attr:`kinds`.
    exact : the entropy model computed in integers.
    icc : a colour profile is among the streams.
    tile : longest side of a tile in pixels, one of TILE_EDGES; 0 for a picture in one piece.
    orientation : how the picture was turned before coding, 0 to 7 (see :func:`weconvene_core.codec.pictures.turned`).
    plain : it was coded without g_a and g_s (see :mod:`weconvene_core.codec.plain_coding`).

    Raises
    ------
    WeconveneError
        For a value that the file cannot hold.
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
        """Height and width of the picture as it was turned: what tiles and latents are of."""
        return (self.width, self.height) if self.orientation & TRANSPOSED else (self.height, self.width)

    @property
    def tiling(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        rows, columns = (tile_count(side, self.tile) for side in self.coded_size)
        return rows, columns

    @property
    def groups(self) -> list[TileGroup]:
        """The tile groups, row by row."""
        height, width = self.coded_size
        return tile_groups(width, height, self.tile)

    @property
    def counts(self) -> dict[Kind, int]:
        """How many streams of each kind there are, in the file's order."""
        tiles = prod(self.tiling)
        groups = prod(group_count(side, self.tile) for side in self.coded_size)
        numbers = (groups, groups * bool(self.tile), tiles, int(self.icc), int(self.mode.endswith("A")), tiles)
        return dict(zip(KINDS, numbers, strict=True))

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What each stream is, in the file's order."""
        return tuple(kind for kind, count in self.counts.items() for _ in range(count))

    def tile_index(self, tile: Tile) -> int:
        """Return the number of a tile; tiles are counted row by row."""
        return tile[0].index * self.tiling[1] + tile[1].index

    def position(self, kind: Kind, index: int = 0) -> int:
        """Return the place of a stream among all; ``index`` is that of its tile group or tile."""
        return sum(list(self.counts.values())[: KINDS.index(kind)]) + index

    def of(self, kind: Kind) -> list[bytes]:
        """Return the streams of one kind that are there, groups or tiles row by row."""
        return list(self.streams[self.position(kind) : self.position(kind, self.counts[kind])])


@dataclass(frozen=True)
class PartialFile:
    """What the beginning of a file holds."""

    container: Container  # with the streams that are complete and whose checksums match
    cut: bytes  # what is there of the next stream, unverified
    size: int  # bytes of the complete file

    @property
    def complete(self) -> bool:
        """Nothing is missing."""
        return len(self.container.streams) == sum(self.container.counts.values())

    def stream(self, kind: Kind, index: int) -> tuple[bytes, bool]:
        """Return a stream as far as it is there, and whether its end is missing."""
        streams, position = self.container.streams, self.container.position(kind, index)
        if position < len(streams):
            return streams[position], False
        return self.cut if position == len(streams) else b"", True


def pack(container: Container) -> bytes:
    """Return the file's bytes; without tiles, profile and alpha it has less than 42 bytes over its streams."""
    if len(container.streams) != len(container.kinds):
        raise WeconveneError(f"{len(container.streams)} streams were given where {len(container.kinds)} belong.")
    flags = MODES.index(container.mode) | EXACT * container.exact | ICC * container.icc
    flags |= TILE_EDGES.index(container.tile) << 4
    turned, quality = container.orientation | PLAIN * container.plain, round(container.quality * 1000)
    data = FIXED.pack(MAGIC, VERSION, flags, turned, 0, container.model_hash, quality)
    data += b"".join(map(_varint, (container.width, container.height, *map(len, container.streams))))
    parts, checksum = [data], zlib.crc32(data)
    for stream in container.streams:
        checksum = zlib.crc32(stream, checksum)
        parts += [stream, checksum.to_bytes(CHECKSUM_BYTES, "little")]
    return b"".join(parts)


def unpack(data: bytes) -> Container:
    """Read a file; memory stays in proportion to ``len(data)``.

    Raises
    ------
    CutFileError
        If its end is missing.
    CorruptFileError
        If the data is not such a file, is altered, or of another version.
    """
    prefix = unpack_prefix(data)
    if not prefix.complete:
        raise CutFileError(
            f"The file is cut: {len(data)} of its {prefix.size} bytes are there; get a fresh copy, "
            "or look at what is there with decode --preview."
        )
    return prefix.container


def unpack_prefix(data: bytes) -> PartialFile:
    """Read as much of a file as is there; errors are those of :func:`unpack`, CutFileError for a cut header alone."""
    header, lengths, position = header_and_lengths(data)
    checksum, size = zlib.crc32(data[:position]), position + sum(lengths) + CHECKSUM_BYTES * len(lengths)
    streams: list[bytes] = []
    for length in lengths:
        stream, end = data[position : position + length], position + length + CHECKSUM_BYTES
        if len(data) < end:
            return PartialFile(replace(header, streams=tuple(streams)), stream, size)
        checksum = zlib.crc32(stream, checksum)
        if checksum.to_bytes(CHECKSUM_BYTES, "little") != data[position + length : end]:
            raise CorruptFileError("The file was altered: a checksum does not match; get a fresh copy.")
        streams.append(stream)
        position = end
    if position < len(data):
        raise CorruptFileError(
            f"The file is {len(data) - position} bytes longer than its header says; get a fresh copy."
        )
    return PartialFile(replace(header, streams=tuple(streams)), b"", size)


def header_and_lengths(data: bytes) -> tuple[Container, list[int], int]:
    """Read, without checksum, what stands first: the header, the streams' lengths, and where the first one begins."""
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
    if len(data) < FIXED.size:
        raise CutFileError(CUT_HEADER)
    _, _, flags, turned, reserved, model_hash, quality = FIXED.unpack_from(data)
    if turned >= 2 * PLAIN or reserved:
        raise CorruptFileError("The file was made by a newer release, or its header is damaged: use that release.")
    if flags >> 4 >= len(TILE_EDGES):
        raise CorruptFileError(f"The file's header is damaged: there is no tile size {flags >> 4}.")
    reader = io.BytesIO(data)
    reader.seek(FIXED.size)
    width, height = _read_varint(reader), _read_varint(reader)
    try:
        header = Container(
            model_hash, width, height, MODES[flags & 3], quality / 1000,
            exact=bool(flags & EXACT), icc=bool(flags & ICC), tile=TILE_EDGES[flags >> 4],
            orientation=turned % ORIENTATIONS, plain=bool(turned & PLAIN),
        )  # fmt: skip
    except WeconveneError as error:
        raise CorruptFileError(f"The file's header is damaged: {error}") from error
    count = sum(header.counts.values())
    if count > len(data) - reader.tell():  # before a list of that length is made
        raise CutFileError(CUT_HEADER)
    return header, [_read_varint(reader) for _ in range(count)], reader.tell()


def _varint(value: int) -> bytes:
    """LEB128: seven bits a byte, lowest first, the top bit set on all but the last."""
    groups = bytearray()
    while value >= 0x80:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])


def _read_varint(reader: io.BytesIO) -> int:
    """Invert :func:`_varint`; only the shortest form of a number is accepted, at most 5 bytes."""
    value = 0
    for shift in range(0, 35, 7):
        byte = reader.read(1)
        if not byte:
            raise CutFileError(CUT_HEADER)
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            if byte[0] == 0 and shift:
                break
            return value
    raise CorruptFileError("The file's header is damaged: a number in it is malformed.")
