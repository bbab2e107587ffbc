"""3DM-WeConvene: g_a, 3-D DWT, hyperprior, 3DWeChARM and g_s wired as in the paper's figure.

The contracts are CompressAI's (:func:`weconvene_core.register` makes the model known to it, which is not needed).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from weconvene_core.entropy import (
    LIKELIHOODS,
    ConditionalTables,
    DecodeMode,
    EncodeMode,
    FactorisedPrior,
    LikelihoodMode,
    SliceNetwork,
    SplitSliceNetwork,
    WaveletCharm,
)
from weconvene_core.entropy.cdf_tables import Tables
from weconvene_core.entropy.coding_steps import Quantiser, SliceCodingMode
from weconvene_core.errors import WeconveneError
from weconvene_core.image_tensors import pad
from weconvene_core.layers import WaveletShortcut
from weconvene_core.layers.blocks import check_quality, lambda_of
from weconvene_core.model.config import PADDING, ModelConfig
from weconvene_core.model.transforms import (
    AnalysisTransform,
    GainUnit,
    HyperAnalysis,
    HyperSynthesis,
    SplitHyperSynthesis,
    SynthesisTransform,
    from_bands,
    to_bands,
)

STRIDE = PADDING  # "shape" of compressed data counts in blocks of this side, whatever the model
DEFAULT_QUALITY = 3.0
GROUPS = ("y_lf", "y_hf")
TOLERANCE = 1e-3  # how far outside 0..1 a sample may lie
QUALITY_DECIMALS, QUALITY_STEP = 3, 1e-3  # files keep thousandths, so a model's own quality may come back that far off


class CodedLatents(NamedTuple):
    """What the entropy model makes of one batch of latents: as a decoder has them, in quantiser steps.

    ``z_likelihoods`` are None where bytes are written, or z_hat was given.
    """

    lf_hat: Tensor
    hf_hat: Tensor
    z_hat: Tensor
    z_likelihoods: Tensor | None


class WeConvene(nn.Module):
    """The codec network of a :class:`ModelConfig`.

    ::

        x (B, 3, H, W) -> g_a -> y (B, M, H/s, W/s) -> DWT3D ---+
              |                                                 v
              +--> wavelet shortcut (ours), gains ------------> + -> LF (B, M, h, w), HF (B, 3M, h, w)
                                                                              |            |
                        z_hat <- round <- z (B, z_channels, h/4, w/4) <- h_a -+            |
                          |   (factorised prior)                                           v
                          +--> h_s -> hyper features at h/4, h/2 and h -----------> 3DWeChARM: slices of LF,
                                                                                    then of HF, each with mean,
                                                                                    scale, rounding and LRP
                                                                                           |
        x_hat <- + <- g_s <- y_hat (B, M, H/s, W/s) <- IDWT3D <--- LF_hat, HF_hat <--------+
                 ^                                                    |
                 +------------ inverse shortcut, gains ---------------+

    with h = H / 2s and w = W / 2s. Without wavelet entropy model y itself takes the place of LF, and HF is empty.

    Attributes
    ----------
    bypass_transforms : skip g_a and g_s (untrained, both give zeros).
    first_coded : the lowest scale index whose residuals are coded; lower ones say "certainly zero".
    quantiser : what training puts in place of rounding (see ``entropy.coding_steps``).
    default_quality : what is taken where no quality is given.
    """

    first_coded = 1

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config, self.stride = config, config.stride
        self.bypass_transforms = False
        self.quantiser: Quantiser = "mixed"
        self.default_quality = DEFAULT_QUALITY if config.quality is None else config.quality
        self.pyramid = WaveletShortcut(config.slice_order)
        self.g_a, self.g_s = AnalysisTransform(config), SynthesisTransform(config)
        split = config.slice_network == "split"
        self.h_a, self.h_s = HyperAnalysis(config), (SplitHyperSynthesis if split else HyperSynthesis)(config)
        self.gain_lf = GainUnit(sum(config.layout.lf), config)
        self.gain_hf = GainUnit(sum(config.layout.hf), config)
        kind = {"hyper": config.hyper} if split else {"luma_first": config.luma_first}
        make = partial(SplitSliceNetwork if split else SliceNetwork, **kind, attention=config.slice_attention)
        self.charm = WaveletCharm(config.layout, config.hyper_features, partial(make, hidden=config.slice_hidden))
        self.entropy_bottleneck = FactorisedPrior(config.z_channels)
        self.add_module(f"{config.distribution}_conditional", ConditionalTables(config.distribution))

    @property
    def conditional(self) -> ConditionalTables:
        """The module that holds the slices' integer tables."""
        return self.get_submodule(f"{self.config.distribution}_conditional")

    @property
    def tables(self) -> Tables:
        """The slices' integer tables as the coder takes them."""
        return replace(self.conditional.tables, first=self.first_coded)

    # --- training and analysis -------------------------------------------------------------------------------------

    def forward(self, x: Tensor, quality: Tensor | float | None = None) -> dict[str, Any]:
        """Code a batch with estimated likelihoods.

        Parameters
        ----------
        x : images (B, 3, H, W) in 0..1, H and W multiples of ``stride``.
        quality : one number from 0 to 7, or (B,) of them; None is ``default_quality``.

        Returns
        -------
        {"x_hat": (B, 3, H, W), "likelihoods": {"y_lf", "y_hf", "z"}}; each likelihood is flattened to (B, n).

        Raises
        ------
        WeconveneError
            If ``x`` has another shape or type, or the model has no such quality.
        """
        check_images(x, self.stride)
        quality = self._quality(x, quality)  # (B,)
        # x -> LF, HF -> z and slices with their likelihoods -> LF_hat, HF_hat -> x_hat
        mode = LikelihoodMode(LIKELIHOODS[self.config.distribution], self.quantiser if self.training else None)
        coded = self.code_latents(quality, mode, *self.analyse(x, quality))
        likelihoods = {}
        for group in GROUPS:
            parts = mode.likelihoods.get(group, [coded.hf_hat])  # no HF: (B, 0, h, w)
            likelihoods[group] = torch.cat([part.flatten(1) for part in parts], 1)
        likelihoods["z"] = coded.z_likelihoods.flatten(1)
        x_hat = self.synthesise(coded.lf_hat, coded.hf_hat, quality).contiguous()  # to be looked at by ``view``
        return {"x_hat": x_hat, "likelihoods": likelihoods}

    def analyse(self, x: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
        """Image -> what is coded, (LF, HF) in quantiser steps: DWT3D(g_a(x)) plus the wavelet shortcut.

        ``x`` is as in :meth:`forward`, ``quality`` is (B,), from 0 to 7.
        """
        # sqrt(lambda 255^2 / 26) (B, 1, 1, 1): the high-rate optimum of the inverse step
        base_gain = GainUnit.base(lambda_of(quality))
        lf = hf = None
        if self.config.shortcut:
            # the image's own pyramid; it has no weights before the gains, so it needs no gradient
            with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
                lf, hf = self.pyramid.analysis(x)
            lf, hf = self.gain_lf.scale(lf, base_gain, quality), self.gain_hf.scale(hf, base_gain, quality)
            if self.bypass_transforms:
                return lf, hf
        # y = g_a(x) (B, M, H/s, W/s) -> LF (B, M, h, w) and HF (B, 3M, h, w)
        lf_y, hf_y = to_bands(self.g_a(x, quality).float(), self.config)
        if lf is not None:
            # g_a gives quantiser steps: it corrects what the shortcut left, in its units
            return lf + lf_y, hf + hf_y
        return self.gain_lf.scale(lf_y, base_gain, quality), self.gain_hf.scale(hf_y, base_gain, quality)

    def code_latents(
        self, quality: Tensor, mode: SliceCodingMode, lf: Tensor | None = None, hf: Tensor | None = None,
        z_hat: Tensor | None = None, context: Sequence[Tensor] = (),
    ) -> CodedLatents:  # fmt: skip
        """Send latents through hyperprior and 3DWeChARM: the one way of training, encoding and decoding.

        Parameters
        ----------
        quality, lf, hf : as :meth:`analyse` takes and gives them; no latents when decoding.
        mode : what coding a slice means: likelihoods, writing, or reading.
        z_hat : (B, z_channels, h/4, w/4) where it is known already, as in decoding; None: it is made by h_a.
        context : what is added to the hyper features, coarsest first, if anything.
        """
        z_likelihoods = None
        if z_hat is None:
            z = self.h_a(torch.cat([lf, hf], 1))  # (B, z_channels, h/4, w/4)
            if isinstance(mode, EncodeMode):  # bytes need no estimate
                z_hat = self.entropy_bottleneck.quantise(z)
            else:
                # where noise replaces the rounding of y, it does so in the rate of z
                noisy = getattr(mode, "quantiser", None) is not None
                z_hat, z_likelihoods = self.entropy_bottleneck(z, noisy)
        # hyper features (B, C, h/4, w/4), (B, C, h/2, w/2) and (B, C, h, w)
        hyper = self.h_s(z_hat, quality)
        if context:
            hyper = [own + other for own, other in zip(hyper, context, strict=True)]
        # LF slices, then HF slices with all of LF as their prior
        return CodedLatents(*self.charm(hyper, mode, lf, hf), z_hat, z_likelihoods)

    def synthesise(self, lf_hat: Tensor, hf_hat: Tensor, quality: Tensor) -> Tensor:
        """What was coded, in quantiser steps -> image (B, 3, H, W): inverse shortcut plus g_s(IDWT3D(y_hat))."""
        # quantiser steps -> natural units: LF (B, M, h, w) and HF (B, 3M, h, w)
        base_gain = GainUnit.base(lambda_of(quality))
        lf, hf = self.gain_lf.unscale(lf_hat, base_gain, quality), self.gain_hf.unscale(hf_hat, base_gain, quality)
        if not self.config.shortcut:
            return self.g_s(from_bands(lf, hf, self.config), quality).float() + 0.5
        base = self.pyramid.synthesis(lf, hf)  # the image without what the transforms add
        if self.bypass_transforms:
            return base
        # g_s sees y_hat (B, M, H/s, W/s) and the shortcut's image, both in quantiser steps, and gives what is missing
        y_hat = from_bands(lf_hat, hf_hat, self.config)
        return base + self.g_s(y_hat, quality, (base - 0.5) * base_gain).float() / base_gain

    # --- real bytes ------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def compress(self, x: Tensor, quality: float | None = None) -> dict[str, Any]:
        """Code images (B, 3, H, W) in 0..1, any H, W >= 1, into bytes, one by one.

        Returns
        -------
        {"strings": [y_lf, y_hf, z], "shape"}: three lists of B byte strings, and the padded size in 32-pixel blocks.

        Raises
        ------
        WeconveneError
            If ``x`` has another shape or type, holds NaN or values outside 0..1, or the model has no such quality.
        """
        check_images(x)
        check_samples(x)
        # streams y_lf, y_hf and z of each image; images are coded alone, so that a file does not depend on its batch
        x, coded = pad(x, self.stride), []
        for image in x.split(1):
            at, mode = self._quality(image, quality), EncodeMode(self.tables)
            z_hat = self.code_latents(at, mode, *self.analyse(image, at)).z_hat
            streams = mode.streams()
            coded.append([streams.get(group, b"") for group in GROUPS] + [self.entropy_bottleneck.write(z_hat)])
        shape = (x.shape[2] // STRIDE, x.shape[3] // STRIDE)
        return {"strings": [list(streams) for streams in zip(*coded, strict=True)], "shape": shape}

    @torch.no_grad()
    def decompress(
        self, strings: list[list[bytes]], shape: tuple[int, int], quality: float | None = None
    ) -> dict[str, Tensor]:
        """Invert :meth:`compress`: {"x_hat": (B, 3, H, W) in 0..1} of the padded size; the caller crops.

        Raises
        ------
        CorruptFileError
            If the strings cannot be those of such a shape.
        """
        images = []
        for *streams, z in zip(*strings, strict=True):
            # z first: its hyper features give the means and scales without which no slice can be read
            z_hat = self.entropy_bottleneck.read(z, self.z_size(shape))
            at, mode = self._quality(z_hat, quality), DecodeMode(self.tables, dict(zip(GROUPS, streams, strict=True)))
            coded = self.code_latents(at, mode, z_hat=z_hat)
            images.append(self.synthesise(coded.lf_hat, coded.hf_hat, at).clamp(0, 1))
        return {"x_hat": torch.cat(images)}

    def z_size(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Height and width of z for an image of so many blocks, after padding to this model's own stride."""
        height, width = (-(-side * STRIDE // self.stride) * self.stride for side in shape)
        return height // self.config.z_stride, width // self.config.z_stride

    def update(self, force: bool = False, update_quantiles: bool = False) -> bool:
        """Make the integer coding tables, where there are none or with ``force``; return whether it did.

        ``update_quantiles`` searches the quantiles of z first, in place of having trained them to the end.
        """
        if force:
            self.conditional.update()
        return self.entropy_bottleneck.update(force, update_quantiles) or force

    def aux_loss(self) -> Tensor:
        """Return the auxiliary loss, which trains the quantiles of z and nothing else."""
        return self.entropy_bottleneck.loss()

    @torch.no_grad()
    def set_scales_from(self, x: Tensor) -> None:
        """Start every slice's scale at the spread of these images' coefficients, at the default quality."""
        self.charm.set_scales(*self.analyse(x, self._quality(x, None)), factor=0.6)

    # --- what is refused -------------------------------------------------------------------------------------------

    def _quality(self, x: Tensor, quality: Tensor | float | None) -> Tensor:
        """Return one quality per image, (B,)."""
        if isinstance(quality, Tensor):
            return quality.to(x.device)
        quality = self.check_quality(self.default_quality if quality is None else quality)
        return torch.full((x.shape[0],), quality, dtype=torch.float32, device=x.device)

    def check_quality(self, quality: float) -> float:
        """Return ``quality`` as a float; what is accepted is accepted again after a file has rounded it.

        Raises
        ------
        WeconveneError
            If it is not a number from 0 to 7, or the model was made for a single rate and this is another.
        """
        kept, only = round(check_quality(quality), QUALITY_DECIMALS), self.config.quality
        if only is not None and abs(kept - only) > QUALITY_STEP:
            raise WeconveneError(
                f"quality={quality:g}: the model {self.config.name!r} was made for {only:g} alone; choose that."
            )
        return float(quality)


def check_images(x: Tensor, stride: int = 1) -> None:
    """Refuse what is no float32 batch (B, 3, H, W), or has sides that ``stride`` does not divide."""
    if x.ndim != 4 or x.shape[1] != 3 or 0 in x.shape:
        raise WeconveneError(f"x has shape {tuple(x.shape)}; give images as (B, 3, H, W), none of them empty.")
    if not x.is_floating_point():
        raise WeconveneError(f"x has dtype {x.dtype}; give images as floats in 0..1: divide bytes by 255.")
    if x.dtype != torch.float32:  # exponents and bounds of the entropy model are made for it
        raise WeconveneError(f"x has dtype {x.dtype}; the model computes in float32, or under autocast: convert both.")
    height, width = x.shape[-2:]
    if height % stride or width % stride:
        raise WeconveneError(
            f"x is {height} x {width}; forward needs multiples of {stride}, so pad it first (model.pad)."
        )


def check_samples(x: Tensor) -> None:
    """Refuse NaN and samples outside 0..1."""
    low, high = (edge.item() for edge in torch.aminmax(x))  # both are NaN where one sample is
    if not (low >= -TOLERANCE and high <= 1 + TOLERANCE):
        raise WeconveneError(
            f"x runs from {low:g} to {high:g}; images must lie in 0..1, without NaN: check the scaling."
        )
