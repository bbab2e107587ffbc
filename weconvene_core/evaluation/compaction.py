"""How well a wavelet packs a picture or feature maps into few coefficients.

Haar is orthonormal: dropping a coefficient c costs exactly c^2 of squared error. 5/3 and 9/7 are biorthogonal: it costs
about (c n_b)^2, with n_b the L2 norm of the band's synthesis function. Every ranking here uses these weighted values,
as JPEG 2000 does (ISO/IEC 15444-1, annex E), so that the wavelets are compared on equal terms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import pandas as pd
import torch
from torch import Tensor

from weconvene_core.errors import WeconveneError
from weconvene_core.wavelets import Details, Pyramid, Scaling, channel_matrix, dwt2d, idwt2d

PEAK = 255.0
SUPPORTS = 12
"""Side of the picture, in coarsest coefficients, on which synthesis functions are drawn: longer than any of them."""


@lru_cache(maxsize=32)
def synthesis_norms(wavelet: str, levels: int, scaling: Scaling = "orthonormal") -> dict[str, float]:
    """Return, by band name, the L2 norm of the picture that one coefficient of 1 in the middle of the band gives.

    Raises:
        WeconveneError: as :func:`weconvene_core.wavelets.dwt2d`.
    """
    side = SUPPORTS * 2**levels
    pyramid = dwt2d(torch.zeros(side, side, dtype=torch.float64), wavelet, levels, scaling)
    norms = {}
    for name, band in pyramid.bands().items():
        band[band.shape[0] // 2, band.shape[1] // 2] = 1.0
        norms[name] = idwt2d(pyramid).norm().item()
        band.zero_()
    return norms


def weighted_bands(pyramid: Pyramid) -> dict[str, Tensor]:
    """Return every band times the norms of its synthesis functions: squares are then shares of the error in the input.

    After a 3-D DWT each channel also has the norm of its channel synthesis function.
    """
    norms = synthesis_norms(pyramid.wavelet, pyramid.levels, pyramid.scaling)
    weighted = {name: band * norms[name] for name, band in pyramid.bands().items()}
    if pyramid.channels is None:
        return weighted
    of_channels = _channel_norms(pyramid.channels, pyramid.wavelet)[:, None, None].to(pyramid.low)  # (C, 1, 1)
    return {name: band * of_channels for name, band in weighted.items()}


def band_energies(pyramid: Pyramid) -> pd.DataFrame:
    """Return the share of the coefficients and of the weighted energy, in percent, of every band.

    One row per band; after a 3-D DWT one per band and ``half`` (channel-low, channel-high) of its channels.
    """
    weighted = weighted_bands(pyramid).items()
    parts = {(name, half): part for name, band in weighted for half, part in _halves(pyramid, band)}
    table = pd.DataFrame(list(parts), columns=["band", "half"])
    table["coefficients_pct"] = [part.numel() for part in parts.values()]
    table["energy_pct"] = [part.double().square().sum().item() for part in parts.values()]
    shares = ["coefficients_pct", "energy_pct"]
    table[shares] *= 100 / table[shares].sum().clip(lower=1e-12)
    return table


def _halves(pyramid: Pyramid, band: Tensor) -> list[tuple[str, Tensor]]:
    if pyramid.channels is None:
        return [("all channels", band)]
    high = pyramid.channels // 2
    return list(zip(("channel-low", "channel-high"), band.split([pyramid.channels - high, high], -3), strict=True))


def _channel_norms(channels: int, wavelet: str) -> Tensor:
    """Return the L2 norms (C,) of the columns of the inverse channel DWT, borders included."""
    return channel_matrix(channels, wavelet)[1].norm(dim=0)


def keep_largest(pyramid: Pyramid, percent: float) -> Pyramid:
    """Return the pyramid with all but its largest coefficients (weighted, rounded up to at least one) set to zero.

    Raises:
        WeconveneError: a percentage outside 0 to 100 (0 excluded).
    """
    if not 0 < percent <= 100:
        raise WeconveneError(f"percent={percent} cannot be kept; use a number above 0, at most 100.")
    bands = pyramid.bands()
    size = torch.cat([band.abs().flatten() for band in weighted_bands(pyramid).values()])
    kept = torch.zeros_like(size)
    kept[size.topk(math.ceil(size.numel() * percent / 100)).indices] = 1
    masks = kept.split([band.numel() for band in bands.values()])
    low, *high = (band * mask.view(band.shape) for band, mask in zip(bands.values(), masks, strict=True))
    details = [Details(*high[i : i + 3]) for i in range(0, len(high), 3)]  # coarsest first, as bands() names them
    return replace(pyramid, low=low, details=tuple(reversed(details)))


def compaction(x: Tensor, wavelet: str, levels: int, percents: Sequence[float]) -> pd.DataFrame:
    """Keep the largest coefficients of a grey picture (H, W) in 0..255; return one row per percentage.

    ``energy_kept_pct`` is the share of the weighted energy around the picture's mean, ``psnr_db`` that of the 8-bit
    picture rebuilt from what was kept.
    """
    mean = x.mean()
    pyramid = dwt2d(x - mean, wavelet, levels)
    total = sum(band.square().sum() for band in weighted_bands(pyramid).values())
    rows = []
    for percent in percents:
        kept = keep_largest(pyramid, percent)
        energy = sum(band.square().sum() for band in weighted_bands(kept).values())
        error = (rebuilt(kept, mean) - x).double().square().mean().item()
        psnr = 10 * math.log10(PEAK**2 / error) if error else math.inf
        rows.append({"kept_pct": percent, "energy_kept_pct": 100 * float(energy / total), "psnr_db": psnr})
    return pd.DataFrame(rows)


def rebuilt(pyramid: Pyramid, mean: Tensor | float = 0.0) -> Tensor:
    """Invert the DWT, add ``mean`` and round to whole numbers in 0..255."""
    return (idwt2d(pyramid) + mean).round().clamp(0, PEAK)


def coding_gain_db(x: Tensor, wavelet: str, levels: int) -> float:
    """Return the subband coding gain of a picture (H, W) in dB: what the transform saves over coding samples directly.

    It is the variance of the samples over the geometric mean of the bands' weighted variances, each band counted by its
    share of the coefficients (Katto and Yasuda, 1991); 6.02 dB are worth one bit per coefficient at high rate.
    """
    centred = x.double() - x.double().mean()
    log_mean = 0.0
    for band in weighted_bands(dwt2d(centred, wavelet, levels)).values():
        variance = band.square().mean().item() if band.numel() else 1.0
        log_mean += band.numel() / x.numel() * math.log10(variance or 1e-12)
    return 10 * (math.log10(centred.square().mean().item() or 1e-12) - log_mean)


def channel_covariance(features: Tensor) -> Tensor:
    """Return the covariance (C, C) of the channels of feature maps (B, C, H, W) over all positions, in float64."""
    samples = features.detach().double().transpose(0, 1).flatten(1)  # (B, C, H, W) -> (C, B H W)
    return torch.cov(samples)


def channel_low_share(covariance: Tensor, wavelet: str, order: Tensor | None = None) -> float:
    """Return the share (0 to 1) of the weighted variance that the channel DWT moves into the channel-low half.

    Args:
        covariance: (C, C), see :func:`channel_covariance`.
        wavelet: of the channel DWT.
        order: a permutation (C,) of the channels to apply first; None leaves them as they are.
    """
    if order is not None:
        covariance = covariance[order][:, order]
    analysis, _ = channel_matrix(covariance.shape[0], wavelet)
    variances = (analysis @ covariance @ analysis.T).diagonal() * _channel_norms(len(covariance), wavelet).square()
    return float(variances[: (len(variances) + 1) // 2].sum() / variances.sum())
