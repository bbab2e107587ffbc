"""Integer probability tables: made from probabilities, kept in a model's buffers, packed in files, used by the coder.

The layout is CompressAI's. Decoders never compute a table: the integers travel with the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import constriction
import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from weconvene_core.errors import WeconveneError

PRECISION = 16
TOTAL = 1 << PRECISION
MAX_ROWS = 1 << 16  # so that a row index fits in 16 bits, which numpy sorts in linear time
BUFFERS = ("_quantized_cdf", "_cdf_length", "_offset")
PACKED = "_packed_cdf"  # what released checkpoints hold in place of ``_quantized_cdf``
LIKELIHOOD_BOUND = 1e-9


@dataclass(frozen=True, eq=False)
class Tables:
    """K cumulative frequency tables.

    Row k describes the symbols ``offset[k] .. offset[k] + escape[k] - 1`` (bins 0 .. escape[k] - 1) and, in its last
    bin, number ``escape[k]``, everything else.

    Attributes
    ----------
    cdf : (K, L) int32; row k starts with 0, rises strictly and reaches 65536 at position ``escape[k] + 1``.
    escape, offset : (K,) int64.
    models : K constriction models, made from the same integers.
    first : the first row whose symbols are coded; those of the rows before it are certainly zero.
    """

    cdf: np.ndarray
    escape: np.ndarray
    offset: np.ndarray
    models: tuple[Any, ...]
    first: int = 1

    @classmethod
    def from_buffers(cls, quantized_cdf: ArrayLike, cdf_length: ArrayLike, offset: ArrayLike) -> Tables:
        """Check the three buffers of :class:`TableBuffers` and prepare them for coding.

        Raises
        ------
        WeconveneError
            If the buffers do not describe valid tables (a damaged or foreign checkpoint).
        """
        cdf = np.ascontiguousarray(_integers(quantized_cdf, 2), dtype=np.int32)
        length, start = _integers(cdf_length, 1), _integers(offset, 1)
        if not 0 < len(cdf) == len(length) == len(start) <= MAX_ROWS:
            raise WeconveneError(f"{len(cdf)} tables, {len(length)} lengths and {len(start)} offsets do not match.")
        return cls(cdf, length - 2, start, tuple(map(_model, cdf, length.tolist(), range(len(cdf)))))


def _integers(values: ArrayLike, ndim: int) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind not in "iu" or array.ndim != ndim or np.any(np.abs(array.astype(np.float64)) > 2**31):
        raise WeconveneError(
            f"A probability table must be a {ndim}-D array of 32-bit integers; the checkpoint is damaged."
        )
    return array.astype(np.int64)


def _model(row: np.ndarray, length: int, index: int) -> Any:
    """Make of a row the constriction model whose fixed-point table is the same on every machine."""
    if not 3 <= length <= len(row):
        raise WeconveneError(f"Probability table {index} has {length} entries; 3 to {len(row)} are possible.")
    steps = np.diff(row[:length])
    if row[0] != 0 or row[length - 1] != TOTAL or steps.min() < 1:
        raise WeconveneError(f"Probability table {index} does not rise strictly from 0 to {TOTAL}.")
    # With perfect=False constriction computes the bin borders as floor(cumulative * (2^24 - n)) + bin (in units of
    # 2^-24, n bins). Frequencies of at most 16 bits over 65536 are exact in float64, so are their sums, the total (1),
    # and the product (16 + 24 bits of 53): no operation rounds. perfect=True uses logarithms, which do round.
    return constriction.stream.model.Categorical(steps.astype(np.float64) / TOTAL, perfect=False)


def quantised_frequencies(probabilities: np.ndarray) -> np.ndarray:
    """Round probabilities (n,) float32 to integers of at least 1 that sum to 65536.

    What rounding leaves over goes to the last bin. A bin that would be empty takes its 1 from the smallest larger one.
    """
    frequencies = np.floor(probabilities.astype(np.float64) * TOTAL + 0.5).astype(np.int64)
    frequencies = frequencies * TOTAL // frequencies.sum()
    frequencies[-1] += TOTAL - frequencies.sum()
    empty = frequencies == 0
    order = np.argsort(frequencies, kind="stable")
    spare = np.cumsum(np.maximum(frequencies[order] - 1, 0))  # that the bins up to each one can give
    frequencies[order] -= np.diff(np.minimum(spare, empty.sum()), prepend=0)
    frequencies[empty] = 1
    return frequencies


def bound_buffer(bound: float) -> nn.Module:
    """A module that holds a lower bound as CompressAI's does: in a buffer ``bound`` of shape (1,)."""
    module = nn.Module()
    module.register_buffer("bound", torch.tensor([bound]))
    return module


class TableBuffers(nn.Module):
    """What the models of z and of y share: integer tables in three buffers, empty before they are made or loaded.

    Attributes
    ----------
    _quantized_cdf : (K, L) int32 cumulative frequencies, rows padded with zeros.
    _cdf_length : (K,) int32, entries of each row.
    _offset : (K,) int32, the symbol of a row's first bin.
    """

    def __init__(self) -> None:
        super().__init__()
        self.likelihood_lower_bound = bound_buffer(LIKELIHOOD_BOUND)
        for name in BUFFERS:
            self.register_buffer(name, torch.tensor([], dtype=torch.int32))

    def set_tables(self, probabilities: Tensor, tails: Tensor, lengths: Tensor, offsets: Tensor) -> None:
        """Make the tables from K distributions.

        Parameters
        ----------
        probabilities : (K, L), of which the first ``lengths[k]`` (K,) of row k count.
        tails : (K,), the probability of all symbols outside, which becomes the escape bin's.
        offsets : (K,), the symbol of the first entry.
        """
        rows = np.concatenate([probabilities.cpu().numpy(), np.zeros((len(lengths), 1), np.float32)], 1)
        cdf = np.zeros((len(rows), rows.shape[1] + 1), dtype=np.int32)
        for row, out, tail, length in zip(rows, cdf, tails.tolist(), lengths.tolist(), strict=True):
            row[length] = tail
            out[1 : length + 2] = np.cumsum(quantised_frequencies(row[: length + 1]))
        made = torch.from_numpy(cdf), lengths + 2, offsets
        for name, values in zip(BUFFERS, made, strict=True):
            setattr(self, name, values.to(probabilities.device, torch.int32))

    @property
    def tables(self) -> Tables:
        """The tables as the coder takes them; they are prepared once, until a buffer changes."""
        buffers = tuple(getattr(self, name) for name in BUFFERS)
        if not buffers[0].numel():
            raise WeconveneError("The model has no coding tables yet: call its update() first.")
        if any(buffer.is_inference() for buffer in buffers):  # nobody counts their changes
            return Tables.from_buffers(*(buffer.cpu() for buffer in buffers))
        return _prepared(buffers, tuple(buffer._version for buffer in buffers))

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
        """Take tables of any size, packed or not."""
        if prefix + PACKED in state_dict:
            entries, lengths = state_dict.pop(prefix + PACKED), state_dict.get(prefix + "_cdf_length")
            state_dict[prefix + "_quantized_cdf"] = unpacked(entries, lengths, prefix + PACKED)
        for name in BUFFERS:
            stored = state_dict.get(prefix + name)
            if stored is not None and stored.shape != getattr(self, name).shape:
                setattr(self, name, getattr(self, name).new_empty(stored.shape))
        super()._load_from_state_dict(state_dict, prefix, *args)


@lru_cache(maxsize=16)
def _prepared(buffers: tuple[Tensor, ...], versions: tuple[int, ...]) -> Tables:
    """Prepare tables; tensors are told apart by identity, and by how often they were changed in place."""
    return Tables.from_buffers(*(buffer.cpu() for buffer in buffers))


def packed(table: Tensor, lengths: Tensor) -> Tensor:
    """Keep of a table (K, L) int32 its rows' inner entries, one after the other, as 16 bits each."""
    # the first entry of a row is 0 and its last is 65536
    rows = [row[1 : length - 1] for row, length in zip(table.numpy(), lengths.tolist(), strict=True)]
    return torch.from_numpy(np.concatenate(rows).astype(np.uint16).view(np.int16))


def unpacked(entries: Tensor, lengths: Tensor | None, name: str) -> Tensor:
    """Invert :func:`packed`; ``name`` is that of the tensor, for errors.

    Raises
    ------
    WeconveneError
        If types or numbers of entries do not fit.
    """
    if lengths is None or entries.dtype != torch.int16 or lengths.dtype != torch.int32 or lengths.min() < 3:
        raise WeconveneError(f"The checkpoint's {name} is damaged: fetch or train it again.")
    stops = np.cumsum(lengths.numpy() - 2)
    if entries.shape != (stops[-1],):
        raise WeconveneError(f"The checkpoint's {name} has {entries.numel()} entries, not {stops[-1]}.")
    table = np.zeros((len(lengths), int(lengths.max())), dtype=np.int32)
    for row, inner in zip(table, np.split(entries.numpy().view(np.uint16), stops[:-1]), strict=True):
        row[1 : len(inner) + 1], row[len(inner) + 1] = inner, TOTAL
    return torch.from_numpy(table)
