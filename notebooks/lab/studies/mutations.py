"""Damaged compressed files, made from whole ones by chance: what fuzzing feeds the decoder with."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from weconvene_core.codec.container import CHECKSUM_BYTES, MAGIC, header_and_lengths, pack, unpack
from weconvene_core.codec.tile_grid import TILE_EDGES
from weconvene_core.errors import CorruptFileError, WeconveneError

Corpus = Sequence[bytes]
"""Whole files."""

Mutation = Callable[[np.random.Generator, Corpus], bytes]
HEADER_BYTES = 30
MOST_STREAMS = 300


def _some(rng: np.random.Generator, corpus: Corpus) -> bytearray:
    return bytearray(corpus[rng.integers(len(corpus))])


def bit_flips(rng: np.random.Generator, corpus: Corpus) -> bytes:
    """One to eight bits anywhere."""
    data = _some(rng, corpus)
    for bit in rng.integers(8 * len(data), size=rng.integers(1, 9)):
        data[bit // 8] ^= 1 << bit % 8
    return bytes(data)


def noise(rng: np.random.Generator, corpus: Corpus) -> bytes:
    """A run of random bytes in place of as many."""
    data = _some(rng, corpus)
    start, length = rng.integers(len(data)), rng.integers(1, 200)
    data[start : start + length] = rng.bytes(min(length, len(data) - start))
    return bytes(data)


def truncation(rng: np.random.Generator, corpus: Corpus) -> bytes:
    """The end is missing."""
    data = _some(rng, corpus)
    return bytes(data[: rng.integers(len(data))])


def splice(rng: np.random.Generator, corpus: Corpus) -> bytes:
    """The beginning of one file and the end of another, or of itself."""
    first, second = _some(rng, corpus), _some(rng, corpus)
    return bytes(first[: rng.integers(len(first))] + second[rng.integers(len(second)) :])


def wrong_header(rng: np.random.Generator, corpus: Corpus) -> bytes:
    """One to four bytes behind the magic are others."""
    data = _some(rng, corpus)
    for place in rng.integers(len(MAGIC), HEADER_BYTES, size=rng.integers(1, 5)):
        data[place] = rng.integers(256)
    return bytes(data)


def absurd_size(rng: np.random.Generator, corpus: Corpus) -> bytes:
    """Another size, up to the largest that a file can state, or other tiles, with checksums that are right."""
    container = unpack(bytes(_some(rng, corpus)))
    width, height = (int(2 ** rng.uniform(0, 20)) for _ in range(2))
    try:
        tile = TILE_EDGES[rng.integers(len(TILE_EDGES))]
        other = replace(container, width=width, height=height, tile=tile, streams=())
    except WeconveneError:  # more pixels than a file may state
        return absurd_size(rng, corpus)
    if len(other.kinds) > MOST_STREAMS:  # each tile is a real one, and takes its time
        other = replace(other, tile=0)
    streams = [container.streams[i % len(container.streams)] for i in range(len(other.kinds))]
    return pack(replace(other, streams=tuple(streams)))


def random_bytes(rng: np.random.Generator, corpus: Corpus) -> bytes:
    """Nothing but chance, mostly behind the beginning of a real header."""
    kept = rng.integers(0, HEADER_BYTES + 20)
    return bytes(_some(rng, corpus)[:kept]) + rng.bytes(rng.integers(400))


def other_streams(rng: np.random.Generator, corpus: Corpus) -> bytes:
    """Streams of random bytes, of other lengths, or in another order, with checksums that are right."""
    container = unpack(bytes(_some(rng, corpus)))
    streams = list(container.streams)
    place = rng.integers(len(streams))
    streams[place] = rng.bytes(rng.choice([0, 3, 4, len(streams[place]), 1000]))
    if rng.integers(2):
        rng.shuffle(streams)
    return pack(replace(container, streams=tuple(streams)))


MUTATIONS: dict[str, Mutation] = {
    "bit flips": bit_flips, "noise": noise, "truncation": truncation, "splice": splice, "wrong header": wrong_header,
    "random bytes": random_bytes, "absurd size": absurd_size, "other streams": other_streams,
}  # fmt: skip
FORGED_BY_NATURE = ("absurd size", "other streams")


def reseal(data: bytes) -> bytes:
    """Give altered data the checksums of an honest writer, as far as its header can be read."""
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
