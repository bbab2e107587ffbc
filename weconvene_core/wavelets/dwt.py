"""The DWT along one axis, over height and width, and in three dimensions (paper, section III: 3-D multi-level DWT).

The 3-D transform of a feature map is a 1-D DWT across its channels, followed by a 2-D spatial DWT of each channel.
Further spatial levels recurse on the spatial low band, further channel levels on the channel subbands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from weconvene_core.errors import WeconveneError
from weconvene_core.wavelets.lifting import join_axes, split_axes
from weconvene_core.wavelets.lifting_plan import Mode
from weconvene_core.wavelets.lifting_schemes import Scaling, Wavelet
from weconvene_core.wavelets.pyramid import CHANNEL, HEIGHT, WIDTH, Details, Pyramid

T = TypeVar("T")


def dwt1d(
    x: Tensor, wavelet: Wavelet, dim: int, scaling: Scaling = "orthonormal", mode: Mode = "symmetric"
) -> tuple[Tensor, Tensor]:
    """Split ``x`` along ``dim`` into its low and high band.

    Parameters
    ----------
    x : tensor of a floating type (an integer type for ``5/3-integer``), any rank, size n >= 1 along ``dim``.
    wavelet : ``haar``, ``5/3``, ``9/7``, ``5/3-integer``, or a lifting scheme.
    dim : axis to transform.
    scaling : ``orthonormal`` (default, for networks) or ``jpeg2000``.
    mode : ``symmetric`` (whole-sample, as JPEG 2000) or ``periodic``; with an odd n each band wraps around by itself.

    Returns
    -------
    (low, high) with sizes ceil(n/2) and floor(n/2) along ``dim``. Integers of 8 bits come back as int16, of 16 bits as
    int32, so that the high band cannot overflow.

    Raises
    ------
    WeconveneError
        For a type that does not suit the wavelet, an axis that is absent or empty, or an unknown wavelet, scaling or
        mode.
    """
    low, high = split_axes(x, wavelet, (dim,), scaling, mode)
    return low, high


def idwt1d(
    low: Tensor, high: Tensor, wavelet: Wavelet, dim: int, scaling: Scaling = "orthonormal", mode: Mode = "symmetric"
) -> Tensor:
    """Invert :func:`dwt1d`: join (low, high) along ``dim`` into a signal of size ``low + high``.

    Raises
    ------
    WeconveneError
        As :func:`dwt1d`, and if the two sizes cannot come from one signal (low must equal high or be one larger).
    """
    return join_axes((low, high), wavelet, (dim,), scaling, mode)


@dataclass(frozen=True)
class AxisDWT:
    """A DWT of several levels along one axis: channels of a feature map, frames of a video, a plain signal.

    Subbands are ordered from the lowest to the highest frequency.

    Parameters
    ----------
    size : samples of the axis, >= 1.
    wavelet, scaling, mode : as in :func:`dwt1d`.
    levels : depth J >= 0.
    packets : False is the usual recursion on the low band: J + 1 subbands. True splits both bands again, as the
        authors' later channel-wise work does: 2^J subbands of about equal size.

    Raises
    ------
    WeconveneError
        For a negative level count, or packets of an axis with fewer than 2^levels samples.
    """

    size: int
    wavelet: Wavelet
    levels: int = 1
    packets: bool = False
    scaling: Scaling = "orthonormal"
    mode: Mode = "symmetric"

    def __post_init__(self) -> None:
        """Refuse impossible level counts."""
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
        return tuple(self._subdivided(self.size, lambda size: ((size + 1) // 2, size // 2)))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the subbands: L2, H2, H1 for two levels; P0, P1, P2, P3 for packets."""
        if self.packets:
            return tuple(f"P{i}" for i in range(2**self.levels))  # P0 is the lowest frequency
        return (f"L{self.levels}", *(f"H{level}" for level in range(self.levels, 0, -1)))

    def split(self, x: Tensor, dim: int) -> list[Tensor]:
        """Divide ``x`` along ``dim``, which has ``size`` samples, into its subbands."""
        return self._subdivided(x, lambda part: split_axes(part, self.wavelet, (dim,), self.scaling, self.mode))

    def _subdivided(self, whole: T, halve: Callable[[T], tuple[T, ...]]) -> list[T]:
        """Halve all parts (packets) or the first one, level after level, and keep them ordered by frequency."""
        parts = [whole]  # lowest frequency first
        for _ in range(self.levels):
            divided = len(parts) if self.packets else 1  # the recursion splits only the lowest subband
            pairs = [halve(part) for part in parts[:divided]]
            # a high band has its frequency axis turned round: in every second pair the high half is the lower frequency
            ordered = [half for i, pair in enumerate(pairs) for half in (pair[::-1] if i % 2 else pair)]
            parts = ordered + parts[divided:]
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
            joined = len(parts) if self.packets else 2  # the recursion joins only the two lowest subbands
            pairs = [parts[i : i + 2] for i in range(0, joined, 2)]
            ordered = [pair[::-1] if i % 2 else pair for i, pair in enumerate(pairs)]  # (low, high) again
            parts = [join_axes(pair, self.wavelet, (dim,), self.scaling, self.mode) for pair in ordered] + parts[
                joined:
            ]
        return parts[0]

    def matrices(self, dtype: torch.dtype = torch.float64, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
        """Return the split and its inverse as matrices (size, size).

        ``analysis @ v`` is the concatenation of the subbands of a vector v. A layer folds these small matrices into its
        weights, which costs nothing per pixel. They are differentiable where the wavelet is learnt.
        """
        identity = torch.eye(self.size, dtype=dtype, device=device)  # column i: the response to sample i
        analysis = torch.cat(self.split(identity, 0), 0)  # (size, size): one row per coefficient
        return analysis, self.merge(list(identity.split(self.sizes, 0)), 0)


def dwt2d(
    x: Tensor, wavelet: Wavelet, levels: int = 1, scaling: Scaling = "orthonormal", mode: Mode = "symmetric"
) -> Pyramid:
    """Transform height and width of ``x`` (..., H, W) over ``levels`` >= 0 levels.

    Parameters
    ----------
    x, wavelet, scaling, mode : as in :func:`dwt1d`.
    levels : depth J; every level transforms the low band of the one before.

    Returns
    -------
    A :class:`Pyramid`. Level j has bands of about H/2^j x W/2^j (low sizes round up, high sizes down). A map that is
    one sample wide has empty HL and HH bands.

    Raises
    ------
    WeconveneError
        As :func:`dwt1d`, and for a negative level count.
    """
    if levels < 0:
        raise WeconveneError(f"levels={levels} is impossible; use 0 or more.")
    details = []  # finest level first
    for _ in range(levels):
        # (..., H, W) -> LL, HL, LH, HH, each (..., H/2, W/2); the next level transforms LL
        x, hl, lh, hh = split_axes(x, wavelet, (HEIGHT, WIDTH), scaling, mode)
        details.append(Details(hl, lh, hh))  # HL: vertical edges, LH: horizontal edges, HH: diagonals
    return Pyramid(x, tuple(details), wavelet, scaling, mode=mode)


def idwt2d(pyramid: Pyramid) -> Tensor:
    """Invert :func:`dwt2d`: return the (..., H, W) tensor with its exact size."""
    x = pyramid.low
    for detail in reversed(pyramid.details):
        # LL, HL, LH, HH, each (..., H/2, W/2) -> the LL of the next finer level, (..., H, W)
        bands = (x, detail.hl, detail.lh, detail.hh)
        x = join_axes(bands, pyramid.wavelet, (HEIGHT, WIDTH), pyramid.scaling, pyramid.mode)
    return x


def dwt3d(
    x: Tensor,
    wavelet: Wavelet,
    levels: int = 1,
    scaling: Scaling = "orthonormal",
    mode: Mode = "symmetric",
    *,
    channel_levels: int = 1,
    channel_packets: bool = False,
) -> Pyramid:
    """Channel DWT, then spatial DWT over ``levels`` levels, of ``x`` (..., C, H, W).

    Parameters
    ----------
    x, wavelet, levels, scaling, mode : as in :func:`dwt2d`.
    channel_levels, channel_packets : depth and kind of the channel DWT, as in :class:`AxisDWT`.

    Returns
    -------
    A :class:`Pyramid` whose bands all have C channels: the channel subbands follow each other, lowest frequency first.

    Raises
    ------
    WeconveneError
        As :func:`dwt2d`, for fewer than three axes, and for more packets than channels.
    """
    if x.ndim < 3:
        raise WeconveneError(f"x has shape {tuple(x.shape)}; at least 3 axes (channel, height, width) are needed.")
    split = AxisDWT(x.shape[CHANNEL], wavelet, channel_levels, channel_packets, scaling, mode)
    # 1. channel DWT: (..., C, H, W) -> the same shape, ordered from the lowest to the highest channel frequency
    x = torch.cat(split.split(x, CHANNEL), CHANNEL)
    # 2. spatial DWT of every channel: LL_J (..., C, H/2^J, W/2^J), and HL, LH, HH of every level
    return replace(dwt2d(x, wavelet, levels, scaling, mode), channel_split=split)


def idwt3d(pyramid: Pyramid) -> Tensor:
    """Invert :func:`dwt3d`: return the (..., C, H, W) tensor with its exact size.

    Raises
    ------
    WeconveneError
        If the pyramid has no channel split, that is, comes from :func:`dwt2d`.
    """
    split = pyramid.channel_split
    if split is None:
        raise WeconveneError("the pyramid has no channel split; it comes from dwt2d, so invert it with idwt2d.")
    # inverse spatial DWT, then inverse channel DWT
    return split.merge(list(idwt2d(pyramid).split(split.sizes, CHANNEL)), CHANNEL)
