"""Multi-level 2-D and 3-D DWT of feature maps (paper section III, the 3-D multi-level DWT).

The 3-D transform is a 1-D DWT across the channels followed by a 2-D spatial DWT of each channel; further spatial levels
recurse on the spatial low band, further channel levels on the channel subbands.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from weconvene_core.errors import WeconveneError
from weconvene_core.wavelets.channel_dwt import AxisDWT
from weconvene_core.wavelets.lifting import join_axes, split_axes
from weconvene_core.wavelets.lifting_plan import Mode
from weconvene_core.wavelets.lifting_schemes import Scaling, Wavelet
from weconvene_core.wavelets.pyramid import CHANNEL, HEIGHT, WIDTH, Details, Pyramid


def dwt2d(
    x: Tensor, wavelet: Wavelet, levels: int = 1, scaling: Scaling = "orthonormal", mode: Mode = "symmetric"
) -> Pyramid:
    """Transform the last two axes of ``x`` (..., H, W) over ``levels`` >= 0 levels.

    Returns a :class:`Pyramid`; level j has bands of about H/2^j x W/2^j (low sizes round up, high sizes down). A map
    that is one sample wide has empty HL and HH bands.

    Raises
    ------
    WeconveneError
        As :func:`dwt1d`, and for fewer than two axes or a negative level count.
    """
    _check_axes(x, 2, "height, width")
    if levels < 0:
        raise WeconveneError(f"levels={levels} is impossible; use 0 or more.")
    details = []
    for _ in range(levels):
        x, hl, lh, hh = split_axes(x, wavelet, (HEIGHT, WIDTH), scaling, mode)  # (..., H, W) -> 4 x (..., H/2, W/2)
        details.append(Details(hl, lh, hh))
    return Pyramid(x, tuple(details), wavelet, scaling, mode=mode)


def idwt2d(pyramid: Pyramid, overwrite: bool = False) -> Tensor:
    """Invert :func:`dwt2d`: return the (..., H, W) tensor with its exact size.

    ``overwrite`` saves a copy by using the bands as scratch memory: afterwards the pyramid is lost, and a gradient of
    whoever still needs its values is refused by PyTorch.
    """
    x = pyramid.low
    for detail in reversed(pyramid.details):
        bands = (x, detail.hl, detail.lh, detail.hh)
        x = join_axes(bands, pyramid.wavelet, (HEIGHT, WIDTH), pyramid.scaling, pyramid.mode, overwrite)
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
    channel_wavelet: Wavelet | None = None,
) -> Pyramid:
    """Channel DWT, then spatial DWT over ``levels`` levels, of ``x`` (..., C, H, W).

    Every band keeps C channels: the channel subbands follow each other, lowest frequency first (see
    :class:`AxisDWT`). ``channel_packets`` splits both halves again, ``channel_wavelet`` None takes the spatial one.

    Raises
    ------
    WeconveneError
        As :func:`dwt2d`, for fewer than three axes, and for more packets than channels.
    """
    _check_axes(x, 3, "channel, height, width")
    split = AxisDWT(x.shape[CHANNEL], channel_wavelet or wavelet, channel_levels, channel_packets, scaling, mode)
    parts = torch.cat(split.split(x, CHANNEL), CHANNEL)  # (..., C, H, W), lowest channel frequency first
    return replace(dwt2d(parts, wavelet, levels, scaling, mode), channel_split=split)


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
    return split.merge(list(idwt2d(pyramid).split(split.sizes, CHANNEL)), CHANNEL)


def _check_axes(x: Tensor, count: int, names: str) -> None:
    if x.ndim < count:
        raise WeconveneError(f"x has shape {tuple(x.shape)}; at least {count} axes ({names}) are needed.")
    if 0 in x.shape[-count:]:
        raise WeconveneError(f"x has shape {tuple(x.shape)}; its last {count} axes ({names}) must not be empty.")
