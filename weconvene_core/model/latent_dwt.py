"""Between the latent y and what is coded: the 3-D DWT of the paper, the predecessor's 2-D one, or nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from weconvene_core.model.config import ModelConfig
from weconvene_core.wavelets import AxisDWT, Details, Pyramid, dwt2d, dwt3d, idwt2d, idwt3d


def to_bands(y: Tensor, config: ModelConfig) -> tuple[Tensor, Tensor]:
    """y (B, M, h, w) -> LF (B, M, h/2, w/2) and HF = HL, LH, HH (B, 3M, h/2, w/2).

    Without wavelet entropy model all of y is LF, and HF has no channels.
    """
    if not config.wavelet_entropy:
        return y, y[:, :0]
    if config.latent_channel_dwt:
        how = {"channel_levels": config.channel_levels, "channel_packets": config.channel_packets}
        pyramid = dwt3d(y, config.latent_wavelet, **how)
    else:
        pyramid = dwt2d(y, config.latent_wavelet)
    detail = pyramid.details[0]
    return pyramid.low, torch.cat([detail.hl, detail.lh, detail.hh], 1)


def from_bands(lf: Tensor, hf: Tensor, config: ModelConfig) -> Tensor:
    """Invert :func:`to_bands`."""
    if not config.wavelet_entropy:
        return lf
    details = (Details(*hf.chunk(3, 1)),)
    if not config.latent_channel_dwt:
        return idwt2d(Pyramid(lf, details, config.latent_wavelet))
    split = AxisDWT(lf.shape[1], config.latent_wavelet, config.channel_levels, config.channel_packets)
    return idwt3d(Pyramid(lf, details, config.latent_wavelet, channel_split=split))
