"""Two entropy coders behind one small protocol: they move bins (positions in a table row), nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import constriction
import numpy as np

from weconvene_core.entropy.cdf_tables import Tables
from weconvene_core.errors import CorruptFileError

DAMAGED = "The compressed data does not fit the model's probability tables: the file is damaged or of another model."


class BinWriter(Protocol):
    """Writes bins, first in, first out."""

    def put(self, bins: np.ndarray, indexes: np.ndarray, tables: Tables) -> None:
        """Append bins (N,) int32, bin i being coded with row ``indexes[i]`` of the tables."""

    def finish(self) -> bytes:
        """Return the compressed data; the writer must not be used afterwards."""


class BinReader(Protocol):
    """Reads what the writer of the same coder wrote."""

    def get(self, indexes: np.ndarray, tables: Tables) -> np.ndarray:
        """Return the next bins, (N,) int32; raise CorruptFileError where no bin fits the data."""


@dataclass(frozen=True)
class SymbolCoder:
    """A coder backend: its name and how to open its writer and its reader."""

    name: str
    writer: Callable[[], BinWriter]
    reader: Callable[[bytes], BinReader]


class _RangeWriter:
    """constriction's range coder: one call per distinct table row, no Python per symbol."""

    def __init__(self) -> None:
        self._encoder = constriction.stream.queue.RangeEncoder()

    def put(self, bins: np.ndarray, indexes: np.ndarray, tables: Tables) -> None:
        order, groups = _by_row(indexes, len(tables))
        ordered = bins[order]
        for row, span in groups:
            self._encoder.encode(ordered[span], tables.models[row])

    def finish(self) -> bytes:
        return self._encoder.get_compressed().astype("<u4").tobytes()


class _RangeReader:
    """The decoder of _RangeWriter; past the end of the data it reads zeros."""

    def __init__(self, data: bytes) -> None:
        if len(data) % 4:
            raise CorruptFileError(f"A stream of {len(data)} bytes is truncated: whole 32-bit words are expected.")
        self._decoder = constriction.stream.queue.RangeDecoder(np.frombuffer(data, dtype="<u4").astype(np.uint32))

    def get(self, indexes: np.ndarray, tables: Tables) -> np.ndarray:
        order, groups = _by_row(indexes, len(tables))
        bins = np.empty(len(indexes), dtype=np.int32)
        for row, span in groups:
            try:
                bins[order[span]] = self._decoder.decode(tables.models[row], span.stop - span.start)
            except AssertionError as error:  # constriction's word for "no bin of this model has such a code"
                raise CorruptFileError(DAMAGED) from error
        return bins


class _AnsWriter:
    """CompressAI's rANS coder, which takes lists; for cross-checks only."""

    def __init__(self) -> None:
        from compressai.ans import BufferedRansEncoder  # here, because compressai imports torch

        self._encoder = BufferedRansEncoder()

    def put(self, bins: np.ndarray, indexes: np.ndarray, tables: Tables) -> None:
        self._encoder.encode_with_indexes(bins.tolist(), indexes.tolist(), *_ans_tables(tables))

    def finish(self) -> bytes:
        # flush() reserves one word per symbol and ends with two words more: with fewer than four symbols it writes
        # outside its buffer (compressai 1.2.8). Eight near-certain symbols, which nobody reads, cost nothing.
        self._encoder.encode_with_indexes([0] * 8, [0] * 8, [[0, 65535, 65536]], [3], [0])
        return self._encoder.flush()


class _AnsReader:
    """The decoder of _AnsWriter. It reads beyond truncated data: give it nothing but what _AnsWriter returned."""

    def __init__(self, data: bytes) -> None:
        from compressai.ans import RansDecoder

        self._decoder = RansDecoder()
        self._decoder.set_stream(data)

    def get(self, indexes: np.ndarray, tables: Tables) -> np.ndarray:
        bins = np.array(self._decoder.decode_stream(indexes.tolist(), *_ans_tables(tables)), dtype=np.int64)
        if np.any((bins < 0) | (bins > tables.escape[indexes])):
            raise CorruptFileError(DAMAGED)
        return bins.astype(np.int32)


RANGE_CODER = SymbolCoder("constriction range coder", _RangeWriter, _RangeReader)
ANS_CODER = SymbolCoder("compressai rANS", _AnsWriter, _AnsReader)


def _by_row(indexes: np.ndarray, rows: int) -> tuple[np.ndarray, Iterator[tuple[int, slice]]]:
    """Return the stable order that sorts symbols by table row, and (row, span in that order) for each row in use."""
    order = np.argsort(indexes.astype(np.uint16), kind="stable")  # a radix sort at 16 bits
    counts = np.bincount(indexes, minlength=rows)
    stops = np.cumsum(counts)
    used = np.flatnonzero(counts)
    return order, ((int(k), slice(int(stops[k] - counts[k]), int(stops[k]))) for k in used)


def _ans_tables(tables: Tables) -> tuple[list[list[int]], list[int], list[int]]:
    """Return CompressAI's arguments (cdfs, lengths, offsets); bins start at 0, so the offsets are zero."""
    return tables.cdf.tolist(), (tables.escape + 2).tolist(), [0] * len(tables)
