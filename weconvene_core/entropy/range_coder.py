"""Lossless coding of integer arrays with one probability table per symbol.

A call codes its symbols grouped by table row (rows ascending, the order inside a row kept), so that no Python runs per
symbol; the reader knows the rows beforehand and undoes the grouping. Symbols outside their row's range are coded as the
row's escape bin, and after the last group follow their distances from the range in Elias-gamma codes (Elias, 1975).
"""

from __future__ import annotations

import numpy as np

from weconvene_core.entropy.cdf_tables import TOTAL, Tables
from weconvene_core.entropy.coder_backends import ANS_CODER, DAMAGED, RANGE_CODER, SymbolCoder
from weconvene_core.errors import CorruptFileError

__all__ = ["ANS_CODER", "RANGE_CODER", "Decoder", "Encoder", "SymbolCoder", "Tables"]

CLASSES = 34  # int32 symbols and int32 offsets: a folded distance stays below 2^34 - 1
CLASS_ROW, BIT_ROW = 0, 1


class Encoder:
    """Collects symbols and returns them as compressed bytes; first in, first out.

    Args:
        coder: the backend; files hold what ``RANGE_CODER`` writes.
    """

    def __init__(self, coder: SymbolCoder = RANGE_CODER) -> None:
        self._writer = coder.writer()

    def push(self, symbols: np.ndarray, indexes: np.ndarray, tables: Tables) -> None:
        """Append symbols (N,) of any int32 value; symbol i is coded with row ``indexes[i]`` (N,) of the tables.

        Raises:
            ValueError: the arrays do not fit each other or the tables (a programming error).
        """
        indexes = _checked_indexes(indexes, tables)
        if symbols.shape != indexes.shape or symbols.dtype.kind not in "iu":
            raise ValueError(f"integer symbols of shape {indexes.shape} expected, got {symbols.dtype} {symbols.shape}")
        if symbols.size and not -(2**31) <= symbols.min() <= symbols.max() < 2**31:
            raise ValueError("symbols must fit in 32 bits")
        value, escape = symbols.astype(np.int64) - tables.offset[indexes], tables.escape[indexes]
        outside = (value < 0) | (value >= escape)
        self._writer.put(np.where(outside, escape, value).astype(np.int32), indexes, tables)
        if outside.any():
            self._put_distances(_fold(value[outside], escape[outside]))

    def finish(self) -> bytes:
        """Return the compressed data; the encoder must not be used afterwards."""
        return self._writer.finish()

    def _put_distances(self, distances: np.ndarray) -> None:
        """Elias-gamma: the number of bits below the leading one of distance + 1, then those bits, lowest first."""
        classes = np.frexp((distances + 1).astype(np.float64))[1].astype(np.int64) - 1  # exact below 2^53
        self._writer.put(classes.astype(np.int32), np.full(len(classes), CLASS_ROW), ESCAPE_TABLES)
        owner, place = _bit_layout(classes)
        bits = ((distances + 1)[owner] >> place) & 1
        self._writer.put(bits.astype(np.int32), np.full(len(bits), BIT_ROW), ESCAPE_TABLES)


class Decoder:
    """Reads what an Encoder wrote.

    Args:
        data: the bytes of ``Encoder.finish``. Damaged bytes give wrong symbols or CorruptFileError, in bounded time
            and memory (``ANS_CODER`` excepted, which trusts its data).
        coder: the backend that wrote the data.
    """

    def __init__(self, data: bytes, coder: SymbolCoder = RANGE_CODER) -> None:
        self._reader = coder.reader(data)
        self._bits_at_most = 8 * len(data) + 64

    def pop(self, indexes: np.ndarray, tables: Tables) -> np.ndarray:
        """Return the next symbols, (N,) int32, of which symbol i was pushed with row ``indexes[i]`` of the tables.

        Raises:
            CorruptFileError: the data cannot be the Encoder's.
        """
        indexes = _checked_indexes(indexes, tables)
        bins, escape = self._reader.get(indexes, tables).astype(np.int64), tables.escape[indexes]
        outside = bins == escape
        if outside.any():
            bins[outside] = _unfold(self._get_distances(int(outside.sum())), escape[outside])
        symbols = bins + tables.offset[indexes]
        if symbols.size and not -(2**31) <= symbols.min() <= symbols.max() < 2**31:
            raise CorruptFileError(DAMAGED)
        return symbols.astype(np.int32)

    def _get_distances(self, count: int) -> np.ndarray:
        classes = self._reader.get(np.full(count, CLASS_ROW), ESCAPE_TABLES).astype(np.int64)
        # A bit costs a bit: more of them than the data holds can only be garbage, and would cost memory.
        if classes.max() >= CLASSES or classes.sum() > self._bits_at_most:
            raise CorruptFileError(DAMAGED)
        owner, place = _bit_layout(classes)
        bits = self._reader.get(np.full(len(owner), BIT_ROW), ESCAPE_TABLES).astype(np.int64)
        if np.any(bits > 1):
            raise CorruptFileError(DAMAGED)
        total = np.int64(1) << classes
        np.add.at(total, owner, bits << place)
        return total - 1


def _checked_indexes(indexes: np.ndarray, tables: Tables) -> np.ndarray:
    if indexes.ndim != 1 or indexes.dtype.kind not in "iu":
        raise ValueError(f"a 1-D array of integer table rows expected, got {indexes.dtype} {indexes.shape}")
    if indexes.size and not 0 <= indexes.min() <= indexes.max() < len(tables):
        raise ValueError(f"table rows must lie in 0..{len(tables) - 1}")
    return indexes.astype(np.int64, copy=False)


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
