"""What a DWT across channels finds in a stack of maps: how alike its neighbours are, and what that is worth in dB.

Channels have no order by nature; a stack made in order (frames, angles, scales) has one, a network's feature maps only
if training gave them one. Gains compare the geometric mean of variances before and after, each coefficient weighted by
the norm of its synthesis function, as in :mod:`.energy_compaction`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from lab.wavelet_analysis.energy_compaction import synthesis_norms
from weconvene_core.wavelets import AxisDWT, dwt3d

SILENT = 1e-12
"""Variance below which a coefficient counts as constant."""


def channel_correlation(features: Tensor) -> Tensor:
    """Return the correlation (C, C) of the channels of feature maps (B, C, H, W) over all positions, in float64.

    Channels have unit variance in it, so that a few loud ones do not decide; a constant one correlates with none.
    """
    samples = features.detach().double().transpose(0, 1).flatten(1)  # (B, C, H, W) -> (C, B H W)
    unit = F.normalize(samples - samples.mean(1, keepdim=True), dim=1)
    return unit @ unit.T


def channel_low_share(covariance: Tensor, wavelet: str, order: Tensor | None = None) -> float:
    """Return the share (0 to 1) of the energy that the channel DWT puts into the channel-low half.

    Both halves are measured by what the inverse transform makes of them alone; white channels give one half.

    Parameters
    ----------
    covariance : (C, C), see :func:`channel_correlation`.
    wavelet : of the channel DWT.
    order : a permutation (C,) of the channels to apply first; None leaves them as they are.
    """
    if order is not None:
        covariance = covariance[order][:, order]
    analysis, synthesis = AxisDWT(len(covariance), wavelet).matrices()
    half = -(-len(covariance) // 2)
    low = synthesis[:, :half] @ analysis[:half]  # channels in, their low part out; the rest is the high part
    high = torch.eye(len(low), dtype=low.dtype) - low
    energies = [torch.trace(part @ covariance @ part.T) for part in (low, high)]
    return float(energies[0] / sum(energies))


def stack_gain_db(maps: Tensor, wavelet: str, levels: int, channel_levels: int, packets: bool = False) -> float:
    """Return the coding gain of a 3-D DWT of maps (C, H, W) in dB, over coding the channels as they are.

    Every channel of every band has its own variance, as if each had a code of its own. ``levels=0`` leaves space alone,
    ``channel_levels=0`` the channels.
    """
    centred = maps.double() - maps.double().mean((1, 2), keepdim=True)
    how = {"channel_levels": channel_levels, "channel_packets": packets}
    _, synthesis = AxisDWT(len(maps), wavelet, channel_levels, packets).matrices()
    weights = synthesis.square().sum(0)  # squared norms of the channel axis's synthesis functions
    norms, after = synthesis_norms(wavelet, levels), 0.0
    for name, band in dwt3d(centred, wavelet, levels, **how).bands().items():
        if band.numel():
            variances = band.square().mean((1, 2)) * weights * norms[name] ** 2
            after += band.numel() / maps.numel() * _mean_log(variances)
    return 10 * (_mean_log(centred.square().mean((1, 2))) - after)


def channel_bound_db(correlation: Tensor) -> float:
    """Return the largest coding gain in dB that any orthonormal transform of the channels has: that of the KLT.

    Parameters
    ----------
    correlation : (C, C) with unit variances; its eigenvalues are the variances after the KLT.
    """
    return -10 * _mean_log(torch.linalg.eigvalsh(correlation))


def _mean_log(variances: Tensor) -> float:
    return float(variances.clamp_min(SILENT).log10().mean())


def edge_stack(grey: Tensor, angles: int = 16) -> Tensor:
    """Return maps (angles, H, W) of the slope of a picture (H, W) towards neighbouring directions, negative ones cut.

    A hand-made feature map whose channels do have an order: oriented edges behind a ReLU, half around the circle (the
    other half would be a linear function of this one).
    """
    down, across = torch.gradient(F.avg_pool2d(grey[None], 3, 1, 1)[0])
    theta = torch.arange(angles) * (math.pi / angles)
    return F.relu(theta.cos()[:, None, None] * across + theta.sin()[:, None, None] * down)
