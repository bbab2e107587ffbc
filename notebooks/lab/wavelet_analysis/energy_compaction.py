"""How well a wavelet packs pictures or feature maps into few coefficients, across space and across channels.

Haar is orthonormal: dropping a coefficient c costs exactly c^2 of squared error. 5/3 and 9/7 are biorthogonal: it costs
about (c n_b)^2, with n_b the L2 norm of the band's synthesis function. Rankings and coding gains use these weights, as
JPEG 2000 does (ISO/IEC 15444-1, annex E). Channels have no order by nature: a stack made in order (frames, angles,
scales) has one, a network's feature maps only if training gave them one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from weconvene_core.errors import WeconveneError
from weconvene_core.wavelets import AxisDWT, Details, Pyramid, Scaling, Wavelet, dwt2d, dwt3d, idwt2d, idwt3d

PEAK = 255.0
SUPPORTS = 12  # side of the picture, in coarsest coefficients, on which synthesis functions are drawn
SILENT = 1e-12  # variance below which a coefficient counts as constant


def basis_picture(wavelet: Wavelet, levels: int, band: str, scaling: Scaling = "orthonormal") -> Tensor:
    """Return the square picture, float64, that one coefficient of 1 in the middle of a band gives."""
    side = SUPPORTS * 2**levels
    pyramid = dwt2d(torch.zeros(side, side, dtype=torch.float64), wavelet, levels, scaling)
    coefficients = pyramid.bands()[band]
    coefficients[coefficients.shape[0] // 2, coefficients.shape[1] // 2] = 1.0
    return idwt2d(pyramid)


@lru_cache(maxsize=32)
def synthesis_norms(wavelet: str, levels: int, scaling: Scaling = "orthonormal") -> dict[str, float]:
    """Return, by band name, the L2 norm of the band's :func:`basis_picture`."""
    names = dwt2d(torch.zeros(1, 1), wavelet, levels).bands()
    return {name: basis_picture(wavelet, levels, name, scaling).norm().item() for name in names}


def weighted_bands(pyramid: Pyramid) -> dict[str, Tensor]:
    """Return every band of a 2-D transform times its synthesis norm: squares are then errors in the picture."""
    norms = synthesis_norms(pyramid.wavelet, pyramid.levels, pyramid.scaling)
    return {name: band * norms[name] for name, band in pyramid.bands().items()}


def band_energies(pyramid: Pyramid) -> pd.DataFrame:
    """Return the share of the coefficients and of the energy, in percent, of every band.

    One row per band; after a 3-D DWT one per band and ``half`` (channel-low, channel-high) of its channels. The energy
    is that of what the inverse transform makes of this part alone, so it means the same for every wavelet.
    """
    inverse, halves = idwt2d, {"all channels": np.s_[...]}
    if pyramid.channel_split is not None:
        low = pyramid.channel_split.sizes[0]
        inverse, halves = idwt3d, {"channel-low": np.s_[..., :low, :, :], "channel-high": np.s_[..., low:, :, :]}
    nothing = {name: torch.zeros_like(band) for name, band in pyramid.bands().items()}
    rows = []
    for name, band in pyramid.bands().items():
        for half, place in halves.items():
            alone = torch.zeros_like(band)
            alone[place] = band[place]
            energy = inverse(_with_bands(pyramid, nothing | {name: alone})).double().square().sum().item()
            rows.append([name, half, float(band[place].numel()), energy])
    shares = ["coefficients_pct", "energy_pct"]
    table = pd.DataFrame(rows, columns=["band", "half", *shares])
    table[shares] *= 100 / table[shares].sum().clip(lower=1e-12)
    return table


def _with_bands(pyramid: Pyramid, bands: Mapping[str, Tensor]) -> Pyramid:
    """Return the pyramid with other bands, given by name, coarsest first, as ``Pyramid.bands`` returns them."""
    low, *high = bands.values()
    details = [Details(*high[i : i + 3]) for i in range(0, len(high), 3)]
    return replace(pyramid, low=low, details=tuple(reversed(details)))


def keep_largest(pyramid: Pyramid, percent: float) -> Pyramid:
    """Return the pyramid with all but its largest coefficients (weighted, rounded up to at least one) set to zero.

    Raises
    ------
    WeconveneError
        For a percentage outside 0 to 100 (0 excluded).
    """
    if not 0 < percent <= 100:
        raise WeconveneError(f"percent={percent} cannot be kept; use a number above 0, at most 100.")
    bands = pyramid.bands()
    size = torch.cat([band.abs().flatten() for band in weighted_bands(pyramid).values()])
    kept = torch.zeros_like(size)
    kept[size.topk(math.ceil(size.numel() * percent / 100)).indices] = 1
    masks = kept.split([band.numel() for band in bands.values()])
    left = {name: band * mask.view(band.shape) for (name, band), mask in zip(bands.items(), masks, strict=True)}
    return _with_bands(pyramid, left)


def compaction(x: Tensor, wavelet: Wavelet, levels: int, percents: Sequence[float]) -> pd.DataFrame:
    """Keep the largest coefficients of a grey picture (H, W) in 0..255; return one row per percentage.

    ``psnr_db`` is that of the 8-bit picture rebuilt from what was kept, ``energy_kept_pct`` the share of the picture's
    energy around its mean that is not lost as squared error.
    """
    mean = x.mean()
    pyramid, total = dwt2d(x - mean, wavelet, levels), x.var(correction=0).item() or 1.0
    rows = []
    for percent in percents:
        error = (rebuilt(keep_largest(pyramid, percent), mean) - x).double().square().mean().item()
        psnr = 10 * math.log10(PEAK**2 / error) if error else math.inf
        rows.append({"kept_pct": percent, "energy_kept_pct": 100 * (1 - error / total), "psnr_db": psnr})
    return pd.DataFrame(rows)


def rebuilt(pyramid: Pyramid, mean: Tensor | float = 0.0) -> Tensor:
    """Invert the DWT, add ``mean`` and round to whole numbers in 0..255."""
    return (idwt2d(pyramid) + mean).round().clamp(0, PEAK)


def coding_gain_db(x: Tensor, wavelet: str, levels: int) -> float:
    """Return the subband coding gain of a picture (H, W) in dB: what the transform saves over coding samples directly.

    It is the variance of the samples over the geometric mean of the bands' weighted variances, each band counted by its
    share of the coefficients (Katto and Yasuda, 1991); 6.02 dB are worth one bit per coefficient at high rate.
    """
    return stack_gain_db(x[None], wavelet, levels, channel_levels=0)


def stack_gain_db(maps: Tensor, wavelet: str, levels: int, channel_levels: int, packets: bool = False) -> float:
    """Return the coding gain of a 3-D DWT of maps (C, H, W) in dB, over coding the channels as they are.

    Every channel of every band has its own variance, as if each had a code of its own. ``levels=0`` leaves space alone,
    ``channel_levels=0`` the channels.
    """
    centred = maps.double() - maps.double().mean((1, 2), keepdim=True)
    _, synthesis = AxisDWT(len(maps), wavelet, channel_levels, packets).matrices()
    weights = synthesis.square().sum(0)  # squared norms of the channel axis's synthesis functions
    norms, after = synthesis_norms(wavelet, levels), 0.0
    pyramid = dwt3d(centred, wavelet, levels, channel_levels=channel_levels, channel_packets=packets)
    for name, band in pyramid.bands().items():
        if band.numel():
            variances = band.square().mean((1, 2)) * weights * norms[name] ** 2
            after += band.numel() / maps.numel() * _mean_log(variances)
    return 10 * (_mean_log(centred.square().mean((1, 2))) - after)


def _mean_log(variances: Tensor) -> float:
    return float(variances.clamp_min(SILENT).log10().mean())


def channel_low_share(covariance: Tensor, wavelet: str, order: Tensor | None = None) -> float:
    """Return the share (0 to 1) of the energy that the channel DWT puts into the channel-low half.

    Both halves are measured by what the inverse transform makes of them alone; white channels give one half.
    ``covariance`` (C, C) may be a correlation, ``order`` (C,) permutes the channels first.
    """
    if order is not None:
        covariance = covariance[order][:, order]
    analysis, synthesis = AxisDWT(len(covariance), wavelet).matrices()
    half = -(-len(covariance) // 2)
    low = synthesis[:, :half] @ analysis[:half]  # channels in, their low part out; the rest is the high part
    high = torch.eye(len(low), dtype=low.dtype) - low
    energies = [torch.trace(part @ covariance @ part.T) for part in (low, high)]
    return float(energies[0] / sum(energies))


def edge_stack(grey: Tensor, angles: int = 16) -> Tensor:
    """Return maps (angles, H, W) of the slope of a picture (H, W) towards neighbouring directions, negative ones cut.

    A hand-made feature map whose channels do have an order: oriented edges behind a ReLU, half around the circle (the
    other half would be a linear function of this one).
    """
    down, across = torch.gradient(F.avg_pool2d(grey[None], 3, 1, 1)[0])
    theta = torch.arange(angles) * (math.pi / angles)
    return F.relu(theta.cos()[:, None, None] * across + theta.sin()[:, None, None] * down)
