"""Multi-level 2-D and 3-D DWT of feature maps, with named bands (paper section III, the 3-D multi-level DWT).

The 3-D transform is a 1-D DWT across the channels followed by a 2-D spatial DWT of each channel; further levels recurse
on the spatial low band. Band names follow JPEG 2000: the first letter is the *horizontal* filter, the second the
*vertical* one, the number is the level, 1 being the finest. Two levels give seven bands:
LL2, HL2, LH2, HH2, HL1, LH1, HH1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from weconvene_core.errors import WeconveneError
from weconvene_core.wavelets.lifting import Scaling, dwt1d, idwt1d

HEIGHT, WIDTH, CHANNEL = -2, -1, -3


@dataclass(frozen=True)
class Details:
    """The three high-frequency bands of one level, each (..., C, h, w).

    ``hl``: high-pass along the width (vertical edges), ``lh``: high-pass along the height (horizontal edges),
    ``hh``: both (diagonals).
    """

    hl: Tensor
    lh: Tensor
    hh: Tensor


@dataclass(frozen=True)
class Pyramid:
    """A multi-level DWT: ``low`` is LL_J, ``details[0]`` the finest level, ``details[J - 1]`` the coarsest.

    ``channels`` is the number of channels before the channel DWT, or None when there was none; with it, the first
    ceil(C/2) channels of every band are the channel-low half and the others the channel-high half.
    """

    low: Tensor
    details: tuple[Details, ...]
    wavelet: str
    scaling: Scaling = "orthonormal"
    channels: int | None = None

    @property
    def levels(self) -> int:
        """Number of spatial levels J."""
        return len(self.details)

    def bands(self) -> dict[str, Tensor]:
        """Return every band by name, coarsest first: LL_J, HL_J, LH_J, HH_J, HL_(J-1), ..."""
        named = {f"LL{self.levels}" if self.levels else "LL": self.low}
        for level in range(self.levels, 0, -1):
            detail = self.details[level - 1]
            named |= {f"HL{level}": detail.hl, f"LH{level}": detail.lh, f"HH{level}": detail.hh}
        return named

    def energies(self) -> dict[str, float]:
        """Return the share of the total energy (sum of squares, 0 to 1) of every band by name."""
        energy = {name: band.double().square().sum().item() for name, band in self.bands().items()}
        total = sum(energy.values()) or 1.0
        return {name: value / total for name, value in energy.items()}


def dwt2d(x: Tensor, wavelet: str, levels: int = 1, scaling: Scaling = "orthonormal") -> Pyramid:
    """Transform the last two axes of ``x`` (..., H, W) over ``levels`` >= 0 levels.

    Returns a :class:`Pyramid`; level j has bands of about H/2^j x W/2^j (low sizes round up, high sizes down).

    Raises
    ------
    WeconveneError
        For an integer tensor, fewer than two axes, an empty axis, a negative level count or an unknown wavelet.
    """
    if x.ndim < 2:
        raise WeconveneError(f"x has shape {tuple(x.shape)}; at least two axes (height, width) are needed.")
    if levels < 0:
        raise WeconveneError(f"levels={levels} is impossible; use 0 or more.")
    details = []
    for _ in range(levels):
        low, high = dwt1d(x, wavelet, HEIGHT, scaling)  # (..., H, W) -> 2 x (..., H/2, W)
        x, hl = dwt1d(low, wavelet, WIDTH, scaling)  # -> (..., H/2, W/2)
        lh, hh = dwt1d(high, wavelet, WIDTH, scaling)
        details.append(Details(hl, lh, hh))
    return Pyramid(x, tuple(details), wavelet, scaling)


def idwt2d(pyramid: Pyramid) -> Tensor:
    """Invert :func:`dwt2d`: return the (..., H, W) tensor with its exact size."""
    x = pyramid.low
    for detail in reversed(pyramid.details):
        low = idwt1d(x, detail.hl, pyramid.wavelet, WIDTH, pyramid.scaling)
        high = idwt1d(detail.lh, detail.hh, pyramid.wavelet, WIDTH, pyramid.scaling)
        x = idwt1d(low, high, pyramid.wavelet, HEIGHT, pyramid.scaling)
    return x


def dwt3d(x: Tensor, wavelet: str, levels: int = 1, scaling: Scaling = "orthonormal") -> Pyramid:
    """Channel DWT (one level), then spatial DWT over ``levels`` levels, of ``x`` (..., C, H, W).

    Every band keeps C channels: the channel-low half first, then the channel-high half.

    Raises
    ------
    WeconveneError
        As :func:`dwt2d`, and for fewer than three axes.
    """
    if x.ndim < 3:
        raise WeconveneError(f"x has shape {tuple(x.shape)}; at least three axes (channel, height, width) are needed.")
    halves = torch.cat(dwt1d(x, wavelet, CHANNEL, scaling), CHANNEL)  # (..., C, H, W), channel-low half first
    return replace(dwt2d(halves, wavelet, levels, scaling), channels=x.shape[CHANNEL])


def idwt3d(pyramid: Pyramid) -> Tensor:
    """Invert :func:`dwt3d`: return the (..., C, H, W) tensor with its exact size."""
    halves = idwt2d(pyramid)
    channels = halves.shape[CHANNEL]
    low, high = halves.split([channels - channels // 2, channels // 2], CHANNEL)
    return idwt1d(low, high, pyramid.wavelet, CHANNEL, pyramid.scaling)


def channel_matrix(channels: int, wavelet: str) -> tuple[Tensor, Tensor]:
    """Return the channel DWT of ``channels`` channels and its inverse as float64 matrices (C, C).

    ``analysis @ v`` equals the channel-low half followed by the channel-high half of the channel vector ``v``. A layer
    can fold these small matrices into its weights, which costs nothing per pixel.
    """
    identity = torch.eye(channels, dtype=torch.float64)
    analysis = torch.cat(dwt1d(identity, wavelet, 0), 0)
    return analysis, torch.linalg.inv(analysis)
