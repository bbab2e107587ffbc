"""3DM-WeConvene: g_a, 3-D DWT, hyperprior, 3DWeChARM and g_s wired as in the paper's figure.

Contracts are CompressAI's: ``forward`` -> {"x_hat", "likelihoods": {"y_lf", "y_hf", "z"}}, ``compress`` ->
{"strings", "shape"}, ``decompress``, ``update``, ``aux_loss``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from compressai.entropy_models import EntropyBottleneck, GaussianConditional
from compressai.models import CompressionModel
from compressai.registry import register_model
from torch import Tensor

from weconvene_core.entropy import (
    LIKELIHOODS,
    DecodeMode,
    EncodeMode,
    LikelihoodMode,
    SliceNetwork,
    SplitSliceNetwork,
    WaveletCharm,
    coding_tables,
    tables_of,
)
from weconvene_core.entropy.cdf_packing import unpacked
from weconvene_core.entropy.charm import MakeSlice
from weconvene_core.entropy.coding_steps import Quantiser, SliceCodingMode
from weconvene_core.entropy.distributions import scale_table as default_scale_table
from weconvene_core.entropy.range_coder import Decoder, Encoder, Tables
from weconvene_core.entropy.slices import straight_through_round
from weconvene_core.errors import WeconveneError
from weconvene_core.image_tensors import check_images, check_samples, pad
from weconvene_core.layers import WaveletShortcut
from weconvene_core.layers.rate_conditioning import check_quality, lambda_of
from weconvene_core.model.config import PADDING, ModelConfig
from weconvene_core.model.latent_dwt import from_bands, to_bands
from weconvene_core.model.transforms import (
    AnalysisTransform,
    GainUnit,
    HyperAnalysis,
    HyperSynthesis,
    SplitHyperSynthesis,
    SynthesisTransform,
)

__all__ = ["DEFAULT_QUALITY", "STRIDE", "WeConvene", "pad"]

STRIDE = PADDING  # "shape" of compressed data counts in blocks of this side, whatever the model
DEFAULT_QUALITY = 3.0
GROUPS = ("y_lf", "y_hf")
Z_INIT_SCALE = 2.0  # CompressAI's 10 starts z at 4 bits a symbol, which takes thousands of steps to unlearn
QUALITY_DECIMALS, QUALITY_STEP = 3, 1e-3  # files keep thousandths, so a model's own quality may come back that far off


@register_model("weconvene")
class WeConvene(CompressionModel):
    """The codec network of a :class:`ModelConfig`.

    Attributes
    ----------
    bypass_transforms : skip g_a and g_s while they are untrained (both end in zeros, so nothing changes but the time).
    plain : code the pyramid alone (see ``codec.plain_coding.without_transforms``, which sets it in a view).
    quantiser : what training puts in place of rounding (see ``entropy.steps``).
    default_quality : what ``forward``, ``compress`` and ``decompress`` take when they are given no quality.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.bypass_transforms = self.plain = False
        self.quantiser: Quantiser = "mixed"
        self.default_quality = DEFAULT_QUALITY if config.quality is None else config.quality
        self.pyramid = WaveletShortcut(config.slice_order)
        self.g_a, self.g_s = AnalysisTransform(config), SynthesisTransform(config)
        split = config.slice_network == "split"
        self.h_a, self.h_s = HyperAnalysis(config), (SplitHyperSynthesis if split else HyperSynthesis)(config)
        self.gain_lf = GainUnit(sum(config.layout.lf), config)
        self.gain_hf = GainUnit(sum(config.layout.hf), config)
        self.charm = WaveletCharm(config.layout, config.hyper_features, slice_maker(config))
        self.entropy_bottleneck = EntropyBottleneck(config.z_channels, init_scale=Z_INIT_SCALE)
        self.add_module(f"{config.distribution}_conditional", coding_tables(config.distribution))

    @property
    def tables(self) -> Tables:
        """The slices' integer tables as the coder takes them."""
        tables = tables_of(self.conditional)
        return replace(tables, first=0) if self.plain else tables

    @property
    def conditional(self) -> GaussianConditional:
        """The module that holds the slices' integer tables."""
        return self.get_submodule(f"{self.config.distribution}_conditional")

    # --- training and analysis -------------------------------------------------------------------------------------

    def forward(self, x: Tensor, quality: Tensor | float | None = None) -> dict[str, Any]:
        """Code a batch with estimated likelihoods.

        Parameters
        ----------
        x : images (B, 3, H, W) in 0..1, H and W multiples of ``config.stride``.
        quality : one number from 0 to 7, or (B,) of them; None is ``default_quality``.

        Returns
        -------
        {"x_hat": (B, 3, H, W), "likelihoods": {"y_lf", "y_hf", "z"}}; each likelihood is flattened to (B, n). Without
        wavelet entropy model all of y counts as ``y_lf``, and ``y_hf`` is empty.

        Raises
        ------
        WeconveneError
            If ``x`` has another shape or type, or the model has no such quality.
        """
        check_images(x, self.config.stride)
        quality = self._quality(x, quality)
        lf, hf = self.analyse(x, quality)
        z = self.h_a(torch.cat([lf, hf], 1)).float()
        z_hat, z_likelihoods = self.bottleneck(z)
        step = LikelihoodMode(LIKELIHOODS[self.config.distribution], self.quantiser if self.training else None)
        lf_hat, hf_hat = self.charm(self.h_s(z_hat, quality), step, lf, hf)
        parts = {group: step.likelihoods.get(group, [hf_hat]) for group in GROUPS}
        likelihoods = {group: torch.cat([t.flatten(1) for t in tensors], 1) for group, tensors in parts.items()}
        likelihoods["z"] = z_likelihoods.flatten(1)
        return {"x_hat": self.synthesise(lf_hat, hf_hat, quality), "likelihoods": likelihoods}

    def analyse(self, x: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
        """Image -> what is coded, (LF, HF) in quantiser steps: DWT3D(g_a(x)) plus the wavelet shortcut."""
        if self.plain:
            steps = GainUnit.base(lambda_of(quality))
            lf, hf = self.pyramid.analysis(x)
            return lf * steps, hf * steps
        if self.bypass_transforms:
            return self._shortcut(x, quality)
        lf, hf = to_bands(self.g_a(x, quality).float(), self.config)
        if self.config.shortcut:
            lf_base, hf_base = self._shortcut(x, quality)
            return lf_base + lf, hf_base + hf
        lam = lambda_of(quality)
        return self.gain_lf.scale(lf, lam, quality), self.gain_hf.scale(hf, lam, quality)

    def _shortcut(self, x: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
        """The image's own pyramid in quantiser steps; it has no weights before the gains, so it needs no gradient."""
        lam = lambda_of(quality)
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            lf, hf = self.pyramid.analysis(x)
        return self.gain_lf.scale(lf, lam, quality), self.gain_hf.scale(hf, lam, quality)

    def synthesise(self, lf_hat: Tensor, hf_hat: Tensor, quality: Tensor) -> Tensor:
        """What was coded, in quantiser steps -> image: inverse shortcut plus g_s(IDWT3D(y_hat))."""
        lam = lambda_of(quality)
        if self.plain:
            steps = GainUnit.base(lam)
            return self.pyramid.synthesis(lf_hat / steps, hf_hat / steps)
        lf, hf = self.gain_lf.unscale(lf_hat, lam, quality), self.gain_hf.unscale(hf_hat, lam, quality)
        if not self.config.shortcut:
            return self.g_s(from_bands(lf, hf, self.config), quality).float() + 0.5
        base = self.pyramid.synthesis(lf, hf)
        if self.bypass_transforms:
            return base
        steps = GainUnit.base(lam)
        y_hat = from_bands(lf_hat, hf_hat, self.config)
        return base + self.g_s(y_hat, quality, (base - 0.5) * steps).float() / steps

    def bottleneck(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Quantise z around its medians, with the gradient of the identity, and estimate what it costs.

        Parameters
        ----------
        z : what h_a gives, (B, z_channels, h, w).

        Returns
        -------
        (z_hat, likelihoods), both of z's shape: the symbols plus the medians, and probabilities in 0..1 by CompressAI's
        bottleneck, which in training mode takes z with noise instead of rounding.
        """
        with torch.autocast(z.device.type, enabled=False):
            _, likelihoods = self.entropy_bottleneck(z)
        medians = self.medians.detach()
        return straight_through_round(z - medians) + medians, likelihoods

    # --- real bytes ------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def compress(self, x: Tensor, quality: float | None = None) -> dict[str, Any]:
        """Code images (B, 3, H, W) in 0..1, any H, W >= 1, into bytes, one by one.

        Returns {"strings": [y_lf, y_hf, z], "shape"}: three lists of B byte strings, and the padded size in blocks of
        32 x 32 pixels.

        Raises
        ------
        WeconveneError
            If ``x`` has another shape or type, holds NaN or values outside 0..1, or the model has no such quality.
        """
        check_images(x)
        check_samples(x)
        x = pad(x, self.config.stride)
        coded = [self._compress_one(image, self._quality(image, quality)) for image in x.split(1)]
        shape = (x.shape[2] // STRIDE, x.shape[3] // STRIDE)
        return {"strings": [list(streams) for streams in zip(*coded, strict=True)], "shape": shape}

    def _compress_one(self, x: Tensor, quality: Tensor) -> tuple[bytes, bytes, bytes]:
        step = EncodeMode(self.tables)
        z_string = self.write_z(self.run_entropy_model(*self.analyse(x, quality), quality, step))
        streams = step.streams()
        return streams.get("y_lf", b""), streams.get("y_hf", b""), z_string

    def run_entropy_model(self, lf: Tensor, hf: Tensor, quality: Tensor, step: SliceCodingMode) -> Tensor:
        """Send latents through the entropy model with ``step``, as they are coded; return the symbols of z."""
        medians = self.medians
        symbols = torch.round(self.h_a(torch.cat([lf, hf], 1)) - medians)
        self.charm(self.h_s(symbols + medians, quality), step, lf, hf)
        return symbols

    @property
    def medians(self) -> Tensor:
        """What the symbols of z are distances from: (1, z_channels, 1, 1)."""
        return self.entropy_bottleneck._get_medians().view(1, -1, 1, 1)

    @torch.no_grad()
    def decompress(
        self, strings: list[list[bytes]], shape: tuple[int, int], quality: float | None = None
    ) -> dict[str, Tensor]:
        """Invert :meth:`compress`: {"x_hat": (B, 3, H, W) in 0..1} of the padded size; the caller crops."""
        z_shape, images = self._z_shape(shape), zip(*strings, strict=True)
        return {"x_hat": torch.cat([self._decompress_one(*streams, z_shape, quality) for streams in images])}

    def _decompress_one(
        self, y_lf: bytes, y_hf: bytes, z_string: bytes, shape: tuple[int, int], quality: float | None
    ) -> Tensor:
        z_hat = self.read_z(z_string, shape) + self.medians
        at = self._quality(z_hat, quality)
        step: SliceCodingMode = DecodeMode(self.tables, {"y_lf": y_lf, "y_hf": y_hf})
        lf_hat, hf_hat = self.charm(self.h_s(z_hat, at), step)
        return self.synthesise(lf_hat, hf_hat, at).clamp(0, 1)

    def _z_shape(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Height and width of z for an image of so many blocks, after padding to this model's own stride."""
        height, width = (-(-side * STRIDE // self.config.stride) * self.config.stride for side in shape)
        return height // self.config.z_stride, width // self.config.z_stride

    def _z_indexes(self, shape: tuple[int, ...]) -> np.ndarray:
        return np.broadcast_to(np.arange(shape[1])[None, :, None, None], shape)

    def write_z(self, symbols: Tensor) -> bytes:
        """Code the symbols of z, whole numbers (1, z_channels, h, w) of any type, into a stream.

        Raises
        ------
        WeconveneError
            If the model has no valid coding tables: ``update`` makes them.
        """
        encoder = Encoder()
        values = symbols.to(torch.int32).cpu().numpy()
        encoder.push(values.ravel(), self._z_indexes(values.shape).ravel(), tables_of(self.entropy_bottleneck))
        return encoder.finish()

    def read_z(self, data: bytes, shape: tuple[int, int]) -> Tensor:
        """Invert :meth:`write_z`: the symbols (1, z_channels, h, w) as floats, for ``shape`` (h, w).

        The medians have to be added to get z_hat.

        Raises
        ------
        CorruptFileError
            If the stream cannot be that of such a shape.
        WeconveneError
            As :meth:`write_z`.
        """
        full = (1, self.config.z_channels, *shape)
        symbols = Decoder(data).pop(self._z_indexes(full).ravel(), tables_of(self.entropy_bottleneck))
        return torch.from_numpy(symbols.astype(np.float32).reshape(full)).to(self.entropy_bottleneck.quantiles)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Any:
        """As ``nn.Module``'s; the coding tables may be packed (see :mod:`weconvene_core.entropy.cdf_packing`)."""
        return super().load_state_dict(unpacked(state_dict), strict)

    def update(
        self, scale_table: Sequence[float] | None = None, force: bool = False, update_quantiles: bool = False
    ) -> bool:
        """Build the integer coding tables; the default scales are ours, whose minimum is lower than CompressAI's."""
        return super().update(scale_table or default_scale_table(), force, update_quantiles)

    # --- start -----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def set_scales_from(self, x: Tensor) -> None:
        """Start every slice's scale at the spread of these images' coefficients, at the default quality."""
        lf, hf = self.analyse(x, self._quality(x, None))
        self.charm.set_scales(lf, hf, factor=0.6)

    # --- what is refused -------------------------------------------------------------------------------------------

    def _quality(self, x: Tensor, quality: Tensor | float | None) -> Tensor:
        """Return one quality per image."""
        if isinstance(quality, Tensor):
            return quality.to(x.device)
        quality = self.check_quality(self.default_quality if quality is None else quality)
        return torch.full((x.shape[0],), quality, device=x.device)

    def check_quality(self, quality: float) -> float:
        """Return ``quality`` as a float; what is accepted is accepted again after a file has rounded it.

        Raises
        ------
        WeconveneError
            If it is not a number from 0 to 7, or the model was made for a single rate and this is another.
        """
        kept = round(check_quality(quality), QUALITY_DECIMALS)
        low, high = self.config.qualities
        if not low - QUALITY_STEP <= kept <= high + QUALITY_STEP:
            raise WeconveneError(
                f"quality={quality:g}: the model {self.config.name!r} was made for {low:g} alone; choose that."
            )
        return float(quality)


def slice_maker(config: ModelConfig) -> MakeSlice:
    """Return what builds a slice network of this configuration from (channels seen, channels coded)."""
    shared = {"hidden": config.slice_hidden, "attention": config.slice_attention}
    if config.slice_network == "split":
        return partial(SplitSliceNetwork, **shared, hyper=config.hyper)
    return partial(SliceNetwork, **shared, luma_first=config.luma_first)
