"""Lossless coding of integer arrays with one probability table per symbol.

A call codes its symbols grouped by table row (rows ascending, the order inside a row kept), so that no Python runs per
symbol. Symbols outside their row's range are coded as its escape bin; after the last group follow their distances from
the range in Elias-gamma codes (Elias, 1975). The range coder itself is constriction's.
"""

from __future__ import annotations

from collections.abc import Iterator

import constriction
import numpy as np

from weconvene_core.entropy.cdf_tables import TOTAL, Tables
from weconvene_core.errors import CorruptFileError

DAMAGED = "The compressed data does not fit the model's probability tables: the file is damaged or of another model."
CLASSES = 34  # int32 symbols and int32 offsets: a folded distance stays below 2^34 - 1
CLASS_ROW, BIT_ROW = 0, 1


class Encoder:
    """Collects symbols and returns them as compressed bytes; first in, first out."""

    def __init__(self) -> None:
        self._encoder = constriction.stream.queue.RangeEncoder()

    def push(self, symbols: np.ndarray, indexes: np.ndarray, tables: Tables) -> None:
        """Append symbols (N,) of any int32 value; symbol i is coded with row ``indexes[i]`` (N,) of the tables."""
        _check_rows(indexes, tables)
        value, escape = symbols.astype(np.int64) - tables.offset[indexes], tables.escape[indexes]
        outside = (value < 0) | (value >= escape)
        self._put(np.where(outside, escape, value), indexes, tables)
        if outside.any():
            self._put_distances(_fold(value[outside], escape[outside]))

    def finish(self) -> bytes:
        """Return the compressed data; the encoder must not be used afterwards."""
        return self._encoder.get_compressed().astype("<u4").tobytes()

    def _put(self, bins: np.ndarray, indexes: np.ndarray, tables: Tables) -> None:
        """Code bins (N,), the places of symbols in their table rows: one call per distinct row."""
        order, groups = _by_row(indexes)
        ordered = bins[order].astype(np.int32)
        for row, span in groups:
            self._encoder.encode(ordered[span], tables.models[row])

    def _put_distances(self, distances: np.ndarray) -> None:
        """Elias-gamma: the number of bits below the leading one of distance + 1, then those bits, lowest first."""
        classes = np.frexp((distances + 1).astype(np.float64))[1].astype(np.int64) - 1  # exact below 2^53
        self._put(classes, np.full(len(classes), CLASS_ROW), ESCAPE_TABLES)
        owner, place = _bit_layout(classes)
        bits = ((distances + 1)[owner] >> place) & 1
        self._put(bits, np.full(len(bits), BIT_ROW), ESCAPE_TABLES)


class Decoder:
    """Reads what an :class:`Encoder` wrote, and zeros past its end.

    Damaged bytes give wrong symbols or CorruptFileError, in bounded time and memory.
    """

    def __init__(self, data: bytes) -> None:
        if len(data) % 4:
            raise CorruptFileError(f"A stream of {len(data)} bytes is truncated: whole 32-bit words are expected.")
        self._decoder = constriction.stream.queue.RangeDecoder(np.frombuffer(data, dtype="<u4").astype(np.uint32))
        self._bits_at_most = 8 * len(data) + 64

    def pop(self, indexes: np.ndarray, tables: Tables) -> np.ndarray:
        """Return the next symbols, (N,) int32, of which symbol i was pushed with row ``indexes[i]`` of the tables."""
        _check_rows(indexes, tables)
        bins, escape = self._get(indexes, tables), tables.escape[indexes]
        outside = bins == escape
        if outside.any():
            bins[outside] = _unfold(self._get_distances(int(outside.sum())), escape[outside])
        symbols = bins + tables.offset[indexes]
        if symbols.size and not -(2**31) <= symbols.min() <= symbols.max() < 2**31:
            raise CorruptFileError(DAMAGED)
        return symbols.astype(np.int32)

    def _get(self, indexes: np.ndarray, tables: Tables) -> np.ndarray:
        """Return the next bins (N,) int64."""
        order, groups = _by_row(indexes)
        bins = np.empty(len(indexes), dtype=np.int64)
        for row, span in groups:
            try:
                bins[order[span]] = self._decoder.decode(tables.models[row], span.stop - span.start)
            except AssertionError as error:  # constriction's word for "no bin of this model has such a code"
                raise CorruptFileError(DAMAGED) from error
        return bins

    def _get_distances(self, count: int) -> np.ndarray:
        classes = self._get(np.full(count, CLASS_ROW), ESCAPE_TABLES)
        # A bit costs a bit: more of them than the data holds can only be garbage, and would cost memory.
        if classes.max() >= CLASSES or classes.sum() > self._bits_at_most:
            raise CorruptFileError(DAMAGED)
        owner, place = _bit_layout(classes)
        bits = self._get(np.full(len(owner), BIT_ROW), ESCAPE_TABLES)
        if np.any(bits > 1):
            raise CorruptFileError(DAMAGED)
        total = np.int64(1) << classes
        np.add.at(total, owner, bits << place)
        return total - 1


def _by_row(indexes: np.ndarray) -> tuple[np.ndarray, Iterator[tuple[int, slice]]]:
    """Return the stable order that sorts symbols by table row, and (row, span in that order) for each row in use."""
    order = np.argsort(indexes.astype(np.uint16), kind="stable")  # a radix sort at 16 bits
    counts = np.bincount(indexes)
    stops = np.cumsum(counts)
    used = np.flatnonzero(counts)
    return order, ((int(k), slice(int(stops[k] - counts[k]), int(stops[k]))) for k in used)


def _check_rows(indexes: np.ndarray, tables: Tables) -> None:
    if indexes.size and not 0 <= indexes.min() <= indexes.max() < len(tables.cdf):
        raise ValueError(f"table rows must lie in 0..{len(tables.cdf) - 1}")


def _fold(value: np.ndarray, escape: np.ndarray) -> np.ndarray:
    """Map bins outside 0 .. escape - 1 to 0, 1, 2, ...: odd below the range, even above it."""
    return np.where(value < 0, -2 * value - 1, 2 * (value - escape))


def _unfold(folded: np.ndarray, escape: np.ndarray) -> np.ndarray:
    return np.where(folded & 1, -((folded + 1) >> 1), (folded >> 1) + escape)


def _bit_layout(classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return, for each bit of all codes in a row, the code that it belongs to and its place in it."""
    owner = np.repeat(np.arange(len(classes)), classes)
    return owner, np.arange(len(owner)) - (np.cumsum(classes) - classes)[owner]


def _escape_tables() -> Tables:
    """Return row 0: how long a distance is, about one bit more per doubling; row 1: a fair bit."""
    lengths = np.maximum(TOTAL >> np.arange(1, CLASSES + 1), 16)
    lengths[0] += TOTAL - 1 - lengths.sum()
    cdf = np.zeros((2, CLASSES + 2), dtype=np.int32)
    cdf[CLASS_ROW, 1:] = np.cumsum(np.append(lengths, 1))
    cdf[BIT_ROW, 1:4] = TOTAL // 2 - 1, TOTAL - 2, TOTAL
    return Tables.from_buffers(cdf, [CLASSES + 2, 4], [0, 0])


ESCAPE_TABLES = _escape_tables()
