"""Damaged compressed files for the tests."""

from __future__ import annotations

import zlib

from weconvene_core.codec.container import CHECKSUM_BYTES, header_and_lengths
from weconvene_core.errors import CorruptFileError


def with_right_checksums(data: bytes) -> bytes:
    """Return altered data with the checksums of an honest writer, as far as its header can be read."""
    try:
        _, lengths, start = header_and_lengths(data)
    except CorruptFileError:
        return data
    parts, checksum = [data[:start]], zlib.crc32(data[:start])
    for length in lengths:
        stream = data[start : start + length]
        checksum = zlib.crc32(stream, checksum)
        parts += [stream, checksum.to_bytes(CHECKSUM_BYTES, "little")]
        start += length + CHECKSUM_BYTES
    return b"".join(parts)


def is_one_sentence(error: BaseException) -> bool:
    """Tell whether an error says one short sentence."""
    text = str(error)
    return text[0].isupper() and text.endswith(".") and "\n" not in text and len(text) < 200
