"""Integer probability tables, as both coder backends use them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import constriction
import numpy as np
from numpy.typing import ArrayLike

from weconvene_core.errors import WeconveneError

PRECISION = 16
TOTAL = 1 << PRECISION
MAX_ROWS = 1 << 16  # so that a row index fits in 16 bits, which numpy sorts in linear time


@dataclass(frozen=True, eq=False)
class Tables:
    """K cumulative frequency tables in CompressAI's layout (``EntropyModel._quantized_cdf`` and companions).

    Row k describes the symbols ``offset[k] .. offset[k] + escape[k] - 1`` (bins 0 .. escape[k] - 1) and, in its last
    bin, number ``escape[k]``, everything else.

    Attributes:
        cdf: (K, L) int32; row k starts with 0, rises strictly and reaches 65536 at position ``escape[k] + 1``.
        escape: (K,) int64, the bin of the escape symbol, at least 1.
        offset: (K,) int64, the symbol that bin 0 stands for.
        models: K constriction models, made from the same integers.
        first: the first row whose symbols are coded; those of the rows before it are certainly zero.
    """

    cdf: np.ndarray
    escape: np.ndarray
    offset: np.ndarray
    models: tuple[Any, ...]
    first: int = 1

    @classmethod
    def from_buffers(cls, quantized_cdf: ArrayLike, cdf_length: ArrayLike, offset: ArrayLike) -> Tables:
        """Check CompressAI's three buffers and prepare them for coding.

        Args:
            quantized_cdf: (K, L) integers, cumulative frequencies of 16-bit precision, rows padded at will.
            cdf_length: (K,) integers, how many entries of each row count (bins + 1, the escape bin included).
            offset: (K,) integers, the symbol of bin 0.

        Raises:
            WeconveneError: the buffers do not describe valid tables (a damaged or foreign checkpoint).
        """
        cdf = np.ascontiguousarray(_integers(quantized_cdf, 2), dtype=np.int32)
        length, start = _integers(cdf_length, 1), _integers(offset, 1)
        if not 0 < len(cdf) == len(length) == len(start) <= MAX_ROWS:
            raise WeconveneError(f"{len(cdf)} tables, {len(length)} lengths and {len(start)} offsets do not match.")
        frequencies = [_frequencies(row, int(n), k) for k, (row, n) in enumerate(zip(cdf, length, strict=True))]
        return cls(cdf, length - 2, start, tuple(_model(f) for f in frequencies))

    def __len__(self) -> int:
        return len(self.cdf)


def _integers(values: ArrayLike, ndim: int) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind not in "iu" or array.ndim != ndim or np.any(np.abs(array.astype(np.float64)) > 2**31):
        raise WeconveneError(
            f"A probability table must be a {ndim}-D array of 32-bit integers; the checkpoint is damaged."
        )
    return array.astype(np.int64)


def _frequencies(row: np.ndarray, length: int, index: int) -> np.ndarray:
    """Return the integer frequencies of one row; they sum to 65536."""
    if not 3 <= length <= len(row):
        raise WeconveneError(f"Probability table {index} has {length} entries; 3 to {len(row)} are possible.")
    steps = np.diff(row[:length])
    if row[0] != 0 or row[length - 1] != TOTAL or steps.min() < 1:
        raise WeconveneError(f"Probability table {index} does not rise strictly from 0 to {TOTAL}.")
    return steps


def _model(frequencies: np.ndarray) -> Any:
    """Make a constriction model whose fixed-point table is the same on every machine.

    With ``perfect=False`` constriction computes the bin borders as ``floor(cumulative * (2^24 - n)) + bin`` (in units
    of 2^-24, n bins). Frequencies of at most 16 bits over 65536 are exact in float64, so are their sums, the total (1),
    and the product (16 + 24 bits of 53): no operation rounds, hence no machine can differ. ``perfect=True`` uses
    logarithms, which do round.
    """
    return constriction.stream.model.Categorical(frequencies.astype(np.float64) / TOTAL, perfect=False)
