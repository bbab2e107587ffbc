"""The DWT along one axis, over height and width, and in three dimensions (paper, section III: 3-D multi-level DWT).

The 3-D DWT of a feature map is a 1-D DWT across its channels, then a 2-D spatial DWT of each channel.
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

T = TypeVar("T")
HEIGHT, WIDTH, CHANNEL = -2, -1, -3  # axes of a feature map (..., C, H, W)


def dwt1d(
    x: Tensor, wavelet: Wavelet, dim: int, scaling: Scaling = "orthonormal", mode: Mode = "symmetric"
) -> tuple[Tensor, Tensor]:
    """Split ``x`` along ``dim`` into its low and high band.

    Parameters
    ----------
    x : tensor of a floating type (an integer type for ``5/3-integer``), any rank, size n >= 1 along ``dim``.
    wavelet : ``haar``, ``5/3``, ``9/7``, ``5/3-integer``, or a lifting scheme.
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
    """Invert :func:`dwt1d`. It also raises if the two sizes cannot come from one signal."""
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
        _check_levels(self.levels)
        if self.packets and self.size < 2**self.levels:
            raise WeconveneError(
                f"levels={self.levels} with packets needs at least {2**self.levels} samples, but the axis has "
                f"{self.size}; use fewer levels."
            )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes of the subbands; their sum is ``size``."""
        return tuple(self._subdivided(self.size, lambda size: ((size + 1) // 2, size // 2)))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the subbands: L2, H2, H1 for two levels; P0, P1, P2, P3 for packets."""
        if self.packets:
            return tuple(f"P{i}" for i in range(2**self.levels))
        return (f"L{self.levels}", *(f"H{level}" for level in range(self.levels, 0, -1)))

    def split(self, x: Tensor, dim: int) -> list[Tensor]:
        """Divide ``x`` along ``dim``, which has ``size`` samples, into its subbands."""
        return self._subdivided(x, lambda part: split_axes(part, self.wavelet, (dim,), self.scaling, self.mode))

    def _subdivided(self, whole: T, halve: Callable[[T], tuple[T, ...]]) -> list[T]:
        parts = [whole]  # lowest frequency first
        for _ in range(self.levels):
            divided = len(parts) if self.packets else 1  # the recursion splits only the lowest subband
            pairs = [halve(part) for part in parts[:divided]]
            # a high band has its frequency axis turned round: in every second pair the high half is the lower frequency
            ordered = [half for i, pair in enumerate(pairs) for half in (pair[::-1] if i % 2 else pair)]
            parts = ordered + parts[divided:]
        return parts

    def merge(self, parts: list[Tensor], dim: int) -> Tensor:
        """Invert :meth:`split`; a wrong number of parts raises ``WeconveneError``."""
        if len(parts) != len(self.sizes):
            raise WeconveneError(f"got {len(parts)} subbands; this split has {len(self.sizes)}.")
        for _ in range(self.levels):
            joined = len(parts) if self.packets else 2  # the recursion joins only the two lowest subbands
            pairs = [parts[i : i + 2] for i in range(0, joined, 2)]
            ordered = [pair[::-1] if i % 2 else pair for i, pair in enumerate(pairs)]  # (low, high) again
            wholes = [join_axes(pair, self.wavelet, (dim,), self.scaling, self.mode) for pair in ordered]
            parts = wholes + parts[joined:]
        return parts[0]

    def matrices(self, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
        """Return the split and its inverse as matrices (size, size); ``analysis @ v`` has the subbands of v in a row.

        A layer folds them into its kernels, which costs nothing per pixel.
        """
        identity = torch.eye(self.size, dtype=dtype)  # column i: the response to sample i
        analysis = torch.cat(self.split(identity, 0), 0)  # (size, size): one row per coefficient
        return analysis, self.merge(list(identity.split(self.sizes, 0)), 0)


@dataclass(frozen=True)
class Details:
    """The three high-frequency bands of one level, each (..., C, h, w).

    As in JPEG 2000, the first letter is the *horizontal* filter, the second the *vertical* one: ``hl`` has vertical
    edges, ``lh`` horizontal edges, ``hh`` diagonals.
    """

    hl: Tensor
    lh: Tensor
    hh: Tensor


@dataclass(frozen=True)
class Pyramid:
    """A multi-level DWT, and how it was made.

    Parameters
    ----------
    low : LL_J, (..., C, h, w).
    details : ``details[0]`` is the finest level, ``details[J - 1]`` the coarsest.
    wavelet, scaling, mode : as in :func:`dwt1d`.
    channel_split : DWT of the channels of every band, None for none. Its subbands follow each other along the channel
        axis, lowest frequency first.
    """

    low: Tensor
    details: tuple[Details, ...]
    wavelet: Wavelet
    scaling: Scaling = "orthonormal"
    channel_split: AxisDWT | None = None
    mode: Mode = "symmetric"

    @property
    def levels(self) -> int:
        """Number of spatial levels J."""
        return len(self.details)

    def bands(self) -> dict[str, Tensor]:
        """Return every band by name, coarsest first. Two levels give LL2, HL2, LH2, HH2, HL1, LH1, HH1, as the paper.

        The number is the level, 1 being the finest.
        """
        named = {f"LL{self.levels}" if self.levels else "LL": self.low}
        for level in range(self.levels, 0, -1):
            detail = self.details[level - 1]  # level 1 is the finest
            named |= {f"HL{level}": detail.hl, f"LH{level}": detail.lh, f"HH{level}": detail.hh}
        return named

    def energies(self) -> dict[str, float]:
        """Return the share of the total energy (sum of squares, 0 to 1) of every band by name."""
        energy = {name: band.double().square().sum().item() for name, band in self.bands().items()}
        total = sum(energy.values()) or 1.0  # of an orthonormal wavelet, the energy of the signal
        return {name: value / total for name, value in energy.items()}


def dwt2d(
    x: Tensor, wavelet: Wavelet, levels: int = 1, scaling: Scaling = "orthonormal", mode: Mode = "symmetric"
) -> Pyramid:
    """Transform height and width of ``x`` (..., H, W) over ``levels`` >= 0 levels.

    Level j has bands of about H/2^j x W/2^j (low sizes round up, high sizes down). A map that is one sample wide has
    empty HL and HH bands. Parameters and errors are those of :func:`dwt1d`; a negative level count raises as well.
    """
    _check_levels(levels)
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
    x: Tensor, wavelet: Wavelet, levels: int = 1, scaling: Scaling = "orthonormal", mode: Mode = "symmetric",
    *, channel_levels: int = 1, channel_packets: bool = False,
) -> Pyramid:  # fmt: skip
    """Channel DWT (as :class:`AxisDWT`), then spatial DWT (as :func:`dwt2d`), of ``x`` (..., C, H, W).

    All bands have C channels: the channel subbands follow each other, lowest frequency first. Fewer than three axes
    raise ``WeconveneError``.
    """
    if x.ndim < 3:
        raise WeconveneError(f"x has shape {tuple(x.shape)}; at least 3 axes (channel, height, width) are needed.")
    split = AxisDWT(x.shape[CHANNEL], wavelet, channel_levels, channel_packets, scaling, mode)
    # 1. channel DWT: (..., C, H, W) -> the same shape, ordered from the lowest to the highest channel frequency
    x = torch.cat(split.split(x, CHANNEL), CHANNEL)
    # 2. spatial DWT of every channel: LL_J (..., C, H/2^J, W/2^J), and HL, LH, HH of every level
    return replace(dwt2d(x, wavelet, levels, scaling, mode), channel_split=split)


def idwt3d(pyramid: Pyramid) -> Tensor:
    """Invert :func:`dwt3d`: return (..., C, H, W) of the exact size. A pyramid of :func:`dwt2d` raises."""
    split = pyramid.channel_split
    if split is None:
        raise WeconveneError("the pyramid has no channel split; it comes from dwt2d, so invert it with idwt2d.")
    # inverse spatial DWT, then inverse channel DWT
    return split.merge(list(idwt2d(pyramid).split(split.sizes, CHANNEL)), CHANNEL)


def _check_levels(levels: int) -> None:
    if levels < 0:
        raise WeconveneError(f"levels={levels} is impossible; use 0 or more.")
