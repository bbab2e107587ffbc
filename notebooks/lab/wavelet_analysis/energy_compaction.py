"""How well a wavelet packs a picture or feature maps into few coefficients.

Haar is orthonormal: dropping a coefficient c costs exactly c^2 of squared error. 5/3 and 9/7 are biorthogonal: it costs
about (c n_b)^2, with n_b the L2 norm of the band's synthesis function. Rankings and coding gains use these weights, as
JPEG 2000 does (ISO/IEC 15444-1, annex E). The energy of a band is that of the picture rebuilt from this band alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import pandas as pd
import torch
from torch import Tensor

from weconvene_core.errors import WeconveneError
from weconvene_core.wavelets import Details, Pyramid, Scaling, Wavelet, dwt2d, idwt2d, idwt3d

PEAK = 255.0
SUPPORTS = 12
"""Side of the picture, in coarsest coefficients, on which synthesis functions are drawn: longer than any of them."""


@lru_cache(maxsize=32)
def synthesis_norms(wavelet: str, levels: int, scaling: Scaling = "orthonormal") -> dict[str, float]:
    """Return, by band name, the L2 norm of the picture that one coefficient of 1 in the middle of the band gives.

    Raises
    ------
    WeconveneError
        As :func:`weconvene_core.wavelets.dwt2d`.
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
    """Return every band of a 2-D transform times its synthesis norm: squares are then errors in the picture."""
    norms = synthesis_norms(pyramid.wavelet, pyramid.levels, pyramid.scaling)
    return {name: band * norms[name] for name, band in pyramid.bands().items()}


def band_energies(pyramid: Pyramid) -> pd.DataFrame:
    """Return the share of the coefficients and of the energy, in percent, of every band.

    One row per band; after a 3-D DWT one per band and ``half`` (channel-low, channel-high) of its channels. The energy
    is that of what the inverse transform makes of this part alone, so it means the same for every wavelet.
    """
    if pyramid.channel_split is None:
        inverse, halves = idwt2d, {"all channels": ...}
    else:
        split, area = pyramid.channel_split.sizes[0], (slice(None), slice(None))
        inverse = idwt3d
        halves = {"channel-low": (..., slice(split), *area), "channel-high": (..., slice(split, None), *area)}
    nothing = {name: torch.zeros_like(band) for name, band in pyramid.bands().items()}
    rows = []
    for name, band in pyramid.bands().items():
        for half, place in halves.items():
            alone = torch.zeros_like(band)
            alone[place] = band[place]
            energy = inverse(_with_bands(pyramid, nothing | {name: alone})).double().square().sum().item()
            rows.append([name, half, float(band[place].numel()), energy])
    table = pd.DataFrame(rows, columns=["band", "half", "coefficients_pct", "energy_pct"])
    shares = ["coefficients_pct", "energy_pct"]
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
    centred = x.double() - x.double().mean()
    log_mean = 0.0
    for band in weighted_bands(dwt2d(centred, wavelet, levels)).values():
        variance = band.square().mean().item() if band.numel() else 1.0
        log_mean += band.numel() / x.numel() * math.log10(variance or 1e-12)
    return 10 * (math.log10(centred.square().mean().item() or 1e-12) - log_mean)
