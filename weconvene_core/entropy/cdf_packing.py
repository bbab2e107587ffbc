"""Coding tables in a checkpoint, without the padding of their rows: 16 bits an entry, rows one after the other."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from weconvene_core.errors import WeconveneError

WIDE, NARROW, LENGTH = "_conditional._quantized_cdf", "_conditional._packed_cdf", "_conditional._cdf_length"
TOTAL = 1 << 16


def packed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Replace the slices' table (K, L) int32 by its rows' inner entries: the first of a row is 0, its last 65536."""
    found = dict(state)
    for name in [name for name in state if name.endswith(WIDE)]:
        table, lengths = found.pop(name).numpy(), state[_sibling(name, WIDE, LENGTH)].tolist()
        rows = [row[1 : length - 1] for row, length in zip(table, lengths, strict=True)]
        found[_sibling(name, WIDE, NARROW)] = torch.from_numpy(np.concatenate(rows).astype(np.uint16).view(np.int16))
    return found


def unpacked(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Invert :func:`packed`; a state that is not packed comes back as it is.

    Raises
    ------
    WeconveneError
        If the entries are not as many as the rows' lengths say.
    """
    found = dict(state)
    for name in [name for name in state if name.endswith(NARROW)]:
        entries, lengths = found.pop(name), state.get(_sibling(name, NARROW, LENGTH))
        if lengths is None or entries.dtype != torch.int16 or lengths.dtype != torch.int32 or lengths.min() < 3:
            raise WeconveneError(f"The checkpoint's {name} is damaged: fetch or train it again.")
        stops = np.cumsum(lengths.numpy() - 2)
        if entries.shape != (stops[-1],):
            raise WeconveneError(f"The checkpoint's {name} has {entries.numel()} entries, not {stops[-1]}.")
        table = np.zeros((len(lengths), int(lengths.max())), dtype=np.int32)
        inner = np.split(entries.numpy().view(np.uint16), stops[:-1])
        for row, values in zip(table, inner, strict=True):
            row[1 : len(values) + 1], row[len(values) + 1] = values, TOTAL
        found[_sibling(name, NARROW, WIDE)] = torch.from_numpy(table)
    return found


def _sibling(name: str, suffix: str, other: str) -> str:
    return name.removesuffix(suffix) + other
