"""Several levels along one axis: the channel axis of a feature map, the frames of a video, a plain signal.

Either the usual recursion on the low band (J levels, J + 1 subbands), or wavelet packets (both bands are split again:
2^J subbands of equal size, as the authors' later channel-wise work uses). Subbands are ordered from the lowest to the
highest frequency; splitting a high band turns its frequency axis around, so packets alternate their order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from weconvene_core.errors import WeconveneError
from weconvene_core.wavelets.lifting import dwt1d, idwt1d
from weconvene_core.wavelets.lifting_plan import Mode
from weconvene_core.wavelets.lifting_schemes import Scaling, Wavelet


@dataclass(frozen=True)
class AxisDWT:
    """How an axis of ``size`` samples is divided into subbands; everything but the data."""

    size: int
    wavelet: Wavelet
    levels: int = 1
    packets: bool = False
    scaling: Scaling = "orthonormal"
    mode: Mode = "symmetric"

    def __post_init__(self) -> None:
        """Refuse impossible level counts.

        Raises
        ------
        WeconveneError
            For a negative count, or packets of an axis with fewer than 2^levels samples.
        """
        if self.levels < 0:
            raise WeconveneError(f"levels={self.levels} is impossible; use 0 or more.")
        if self.packets and self.size < 2**self.levels:
            raise WeconveneError(
                f"levels={self.levels} with packets needs at least {2**self.levels} samples, but the axis has "
                f"{self.size}; use fewer levels."
            )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes of the subbands, lowest frequency first; their sum is ``size``."""
        sizes = [self.size]
        for _ in range(self.levels):
            sizes = _ordered([_halves(size) for size in sizes]) if self.packets else [*_halves(sizes[0]), *sizes[1:]]
        return tuple(sizes)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the subbands: L2, H2, H1 for two levels; P0, P1, P2, P3 for packets."""
        if self.packets:
            return tuple(f"P{i}" for i in range(2**self.levels))
        return (f"L{self.levels}", *(f"H{level}" for level in range(self.levels, 0, -1)))

    def split(self, x: Tensor, dim: int) -> list[Tensor]:
        """Divide ``x`` along ``dim``, which has ``size`` samples, into its subbands."""
        parts = [x]
        for _ in range(self.levels):
            if self.packets:
                parts = _ordered([self._pair(part, dim) for part in parts])
            else:
                parts = [*self._pair(parts[0], dim), *parts[1:]]
        return parts

    def merge(self, parts: list[Tensor], dim: int) -> Tensor:
        """Invert :meth:`split`.

        Raises
        ------
        WeconveneError
            If the parts are not as many as the split makes.
        """
        if len(parts) != len(self.sizes):
            raise WeconveneError(f"got {len(parts)} subbands; this split has {len(self.sizes)}.")
        for _ in range(self.levels):
            if self.packets:
                pairs = [parts[i : i + 2] for i in range(0, len(parts), 2)]
                parts = [self._joined(*(pair[::-1] if i % 2 else pair), dim) for i, pair in enumerate(pairs)]
            else:
                parts = [self._joined(parts[0], parts[1], dim), *parts[2:]]
        return parts[0]

    def _pair(self, x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        return dwt1d(x, self.wavelet, dim, self.scaling, self.mode)

    def _joined(self, low: Tensor, high: Tensor, dim: int) -> Tensor:
        return idwt1d(low, high, self.wavelet, dim, self.scaling, self.mode)

    def matrices(self, dtype: torch.dtype = torch.float64, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
        """Return the split and its inverse as matrices (size, size).

        ``analysis @ v`` is the concatenation of the subbands of a vector v. A layer folds these small matrices into its
        weights, which costs nothing per pixel. They are differentiable where the wavelet is learnt.
        """
        identity = torch.eye(self.size, dtype=dtype, device=device)
        analysis = torch.cat(self.split(identity, 0), 0)
        return analysis, self.merge(list(identity.split(self.sizes, 0)), 0)


def channel_matrix(channels: int, wavelet: Wavelet, levels: int = 1, packets: bool = False) -> tuple[Tensor, Tensor]:
    """Return the channel DWT of ``channels`` channels and its inverse as float64 matrices (C, C)."""
    return AxisDWT(channels, wavelet, levels, packets).matrices()


T = TypeVar("T")


def _ordered(pairs: list[tuple[T, T]]) -> list[T]:
    """Chain (low, high) pairs by frequency: in every second one the high half is the lower frequency."""
    return [part for i, pair in enumerate(pairs) for part in (pair[::-1] if i % 2 else pair)]


def _halves(size: int) -> tuple[int, int]:
    return (size + 1) // 2, size // 2
