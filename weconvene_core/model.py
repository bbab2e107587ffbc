"""3DM-WeConvene: g_a, 3-D DWT, hyperprior, 3DWeChARM and g_s wired as in the paper's figure, one model for every rate.

Contracts are CompressAI's: ``forward`` -> {"x_hat", "likelihoods": {"y_lf", "y_hf", "z"}}, ``compress`` ->
{"strings", "shape"}, ``decompress``, ``update``, ``aux_loss``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from compressai.entropy_models import EntropyBottleneck
from compressai.models import CompressionModel
from torch import Tensor

from weconvene_core.entropy import Estimate, Read, WaveletCharm, Write, coding_tables, tables_of
from weconvene_core.entropy.coder import Decoder, Encoder
from weconvene_core.entropy.laplace import scale_table as default_scale_table
from weconvene_core.entropy.slices import straight_through_round
from weconvene_core.entropy.steps import CodingStep
from weconvene_core.errors import WeconveneError
from weconvene_core.layers import ImagePyramid
from weconvene_core.layers.rate_table import lambda_of
from weconvene_core.layers.shortcut import HF_CHANNELS, LF_CHANNELS
from weconvene_core.presets import ModelConfig
from weconvene_core.transforms import (
    AnalysisTransform,
    HyperAnalysis,
    HyperSynthesis,
    QuantiserGain,
    SynthesisTransform,
)
from weconvene_core.wavelets import Details, Pyramid, dwt3d, idwt3d

STRIDE = 32  # z has 1/32 of the image's size
DEFAULT_QUALITY = 3.0
Z_INIT_SCALE = 2.0  # CompressAI's 10 starts z at 4 bits a symbol, which takes thousands of steps to unlearn


class WeConvene(CompressionModel):
    """The codec network of a :class:`ModelConfig`.

    Attributes
    ----------
    bypass_transforms : skip g_a and g_s while they are untrained (both end in zeros, so nothing changes but the time).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.bypass_transforms = False
        self.pyramid = ImagePyramid()
        self.g_a, self.g_s = AnalysisTransform(config), SynthesisTransform(config)
        self.h_a, self.h_s = HyperAnalysis(config), HyperSynthesis(config)
        self.gain_lf, self.gain_hf = QuantiserGain(LF_CHANNELS), QuantiserGain(HF_CHANNELS)
        self.charm = WaveletCharm(config.layout, [config.hyper] * 3, config.slice_hidden)
        self.entropy_bottleneck = EntropyBottleneck(config.z_channels, init_scale=Z_INIT_SCALE)
        self.laplace_conditional = coding_tables()

    # --- training and analysis -------------------------------------------------------------------------------------

    def forward(self, x: Tensor, quality: Tensor | float = DEFAULT_QUALITY) -> dict[str, Any]:
        """Code a batch with estimated likelihoods.

        Parameters
        ----------
        x : images (B, 3, H, W) in 0..1, H and W multiples of 32.
        quality : one number from 1 to 6, or (B,) of them.

        Returns
        -------
        {"x_hat": (B, 3, H, W), "likelihoods": {"y_lf", "y_hf", "z"}}; each likelihood is a list of tensors (B, c, h, w)
        flattened to (B, n).
        """
        _check_stride(x)
        quality = self._quality(x, quality)
        lf, hf = self.analyse(x, quality)
        z = self.h_a(torch.cat([lf, hf], 1)).float()
        z_hat, z_likelihoods = self._bottleneck(z)
        step = Estimate(noisy=self.training)
        lf_hat, hf_hat = self.charm(self.h_s(z_hat, quality), step, lf, hf)
        likelihoods = {group: torch.cat([t.flatten(1) for t in parts], 1) for group, parts in step.likelihoods.items()}
        likelihoods["z"] = z_likelihoods.flatten(1)
        return {"x_hat": self.synthesise(lf_hat, hf_hat, quality), "likelihoods": likelihoods}

    def analyse(self, x: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
        """Image -> wavelet-domain latent (LF, HF) in quantiser steps: DWT3D(g_a(x)) plus the wavelet shortcut."""
        if self.bypass_transforms:
            return self._shortcut(x, quality)
        latent = dwt3d(self.g_a(x, quality).float(), self.config.latent_wavelet)
        detail = latent.details[0]
        lf, hf = latent.low, torch.cat([detail.hl, detail.lh, detail.hh], 1)
        if not self.config.shortcut:
            return lf, hf
        lf_base, hf_base = self._shortcut(x, quality)
        return lf_base + lf, hf_base + hf

    def _shortcut(self, x: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
        """The image's own pyramid in quantiser steps; it has no weights before the gains, so it needs no gradient."""
        lam = lambda_of(quality)
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            lf, hf = self.pyramid.analysis(x)
        return self.gain_lf.scale(lf, lam, quality), self.gain_hf.scale(hf, lam, quality)

    def synthesise(self, lf_hat: Tensor, hf_hat: Tensor, quality: Tensor) -> Tensor:
        """Wavelet-domain latent in quantiser steps -> image: inverse shortcut plus g_s(IDWT3D(y_hat))."""
        lam = lambda_of(quality)
        lf, hf = self.gain_lf.unscale(lf_hat, lam, quality), self.gain_hf.unscale(hf_hat, lam, quality)
        base = self.pyramid.synthesis(lf, hf) if self.config.shortcut else lf.new_full(_image_shape(lf), 0.5)
        if self.bypass_transforms:
            return base
        details = Details(*hf_hat.chunk(3, 1))
        y_hat = idwt3d(Pyramid(lf_hat, (details,), self.config.latent_wavelet))
        steps = QuantiserGain.base(lam)
        return base + self.g_s(y_hat, (base - 0.5) * steps, quality).float() / steps

    def _bottleneck(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Quantise z straight-through around its medians; its likelihoods come from CompressAI's bottleneck."""
        with torch.autocast(z.device.type, enabled=False):
            _, likelihoods = self.entropy_bottleneck(z)
        medians = self.entropy_bottleneck._get_medians().view(1, -1, 1, 1).detach()
        return straight_through_round(z - medians) + medians, likelihoods

    def _quality(self, x: Tensor, quality: Tensor | float) -> Tensor:
        if isinstance(quality, Tensor):
            return quality.to(x.device)
        return torch.full((x.shape[0],), float(quality), device=x.device)

    # --- real bytes ------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def compress(self, x: Tensor, quality: float = DEFAULT_QUALITY) -> dict[str, Any]:
        """Code one image (1, 3, H, W) in 0..1, any H, W >= 1, into bytes.

        Returns {"strings": [[y_lf], [y_hf], [z]], "shape": (H/32, W/32) of z}.
        """
        if x.shape[0] != 1:
            raise WeconveneError(
                f"compress got a batch of {x.shape[0]}; images are coded one by one, so pass one at a time."
            )
        x, at = pad(x), self._quality(x, quality)
        lf, hf = self.analyse(x, at)
        medians = self.entropy_bottleneck._get_medians().view(1, -1, 1, 1)
        symbols = torch.round(self.h_a(torch.cat([lf, hf], 1)) - medians)
        z_string = self._write_z(symbols)
        step = Write(tables_of(self.laplace_conditional))
        self.charm(self.h_s(symbols + medians, at), step, lf, hf)
        streams = step.streams()
        return {"strings": [[streams["y_lf"]], [streams["y_hf"]], [z_string]], "shape": tuple(symbols.shape[-2:])}

    @torch.no_grad()
    def decompress(
        self, strings: list[list[bytes]], shape: tuple[int, int], quality: float = DEFAULT_QUALITY
    ) -> dict[str, Tensor]:
        """Invert :meth:`compress`: {"x_hat": (1, 3, 32 h, 32 w) in 0..1}; the caller crops to the image's size."""
        (y_lf,), (y_hf,), (z_string,) = strings
        z_hat = self._read_z(z_string, shape) + self.entropy_bottleneck._get_medians().view(1, -1, 1, 1)
        at = self._quality(z_hat, quality)
        step: CodingStep = Read(tables_of(self.laplace_conditional), {"y_lf": y_lf, "y_hf": y_hf})
        lf_hat, hf_hat = self.charm(self.h_s(z_hat, at), step)
        return {"x_hat": self.synthesise(lf_hat, hf_hat, at).clamp(0, 1)}

    def _z_indexes(self, shape: tuple[int, ...]) -> np.ndarray:
        return np.broadcast_to(np.arange(shape[1])[None, :, None, None], shape)

    def _write_z(self, symbols: Tensor) -> bytes:
        encoder = Encoder()
        values = symbols.to(torch.int32).cpu().numpy()
        encoder.push(values.ravel(), self._z_indexes(values.shape).ravel(), tables_of(self.entropy_bottleneck))
        return encoder.finish()

    def _read_z(self, data: bytes, shape: tuple[int, int]) -> Tensor:
        full = (1, self.config.z_channels, *shape)
        symbols = Decoder(data).pop(self._z_indexes(full).ravel(), tables_of(self.entropy_bottleneck))
        return torch.from_numpy(symbols.astype(np.float32).reshape(full)).to(self.entropy_bottleneck.quantiles)

    def update(
        self, scale_table: Sequence[float] | None = None, force: bool = False, update_quantiles: bool = False
    ) -> bool:
        """Build the integer coding tables; the default scales are ours, whose minimum is lower than CompressAI's."""
        return super().update(scale_table or default_scale_table(), force, update_quantiles)

    # --- start -----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def set_scales_from(self, x: Tensor) -> None:
        """Start every slice's scale at the spread of these images' wavelet coefficients, at the default quality."""
        lf, hf = self.analyse(x, self._quality(x, DEFAULT_QUALITY))
        self.charm.set_scales(lf, hf, factor=0.6)


def _image_shape(latent: Tensor) -> tuple[int, int, int, int]:
    """Shape of the image that belongs to a latent at 1/8."""
    return latent.shape[0], 3, 8 * latent.shape[2], 8 * latent.shape[3]


def pad(x: Tensor) -> Tensor:
    """Extend (B, 3, H, W) at the right and bottom to multiples of 32 by repeating the border."""
    height, width = x.shape[-2:]
    return F.pad(x, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")


def _check_stride(x: Tensor) -> None:
    height, width = x.shape[-2:]
    if height % STRIDE or width % STRIDE:
        raise WeconveneError(
            f"x is {height} x {width}; forward needs multiples of {STRIDE}, so pad it first (model.pad)."
        )
