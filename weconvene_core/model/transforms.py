"""g_a, g_s, h_a and h_s: the four networks around the entropy model (paper, figure of the architecture).

Residual blocks, then a stride-2 WeConv block, scale after scale; g_s mirrors g_a with sub-pixel up blocks. Images enter
and leave through a pixel (un)shuffle, so that only a configuration with patches of one pixel works at full resolution.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weconvene_core.entropy.slices import start_at_zero
from weconvene_core.layers import (
    DownWeConvBlock,
    RateEmbedding,
    ResidualBlock,
    ResidualEntry,
    ResidualWeConvBlock,
    SubPixelConv,
    UpWeConvBlock,
    WeConvSpec,
    activation,
)
from weconvene_core.model.config import ModelConfig
from weconvene_core.wavelets import AxisDWT, Details, Pyramid, dwt2d, dwt3d, idwt2d, idwt3d


class NoRateConditioning(nn.Module):
    """Stands where a :class:`RateEmbedding` would, in a model of a single rate: adds nothing."""

    def forward(self, quality: Tensor) -> Tensor:
        """Return a zero that broadcasts."""
        return quality.new_zeros(())


def rate_vector(channels: int, config: ModelConfig) -> nn.Module:
    """A learned vector per quality, or nothing where the model has one quality (or nothing to act on)."""
    return RateEmbedding(channels) if config.quality is None and channels else NoRateConditioning()


def first_layer(seen: int, made: int, config: ModelConfig, inverse: bool = False) -> nn.Module:
    """The first layer of g_a (3x3), or with ``inverse`` of g_s (1x1); a residual block in the predecessor."""
    if config.residual_ends:
        return ResidualEntry(seen, made, inverse=inverse)
    return nn.Conv2d(seen, made, 1 if inverse else 3, padding=0 if inverse else 1)


def residual_blocks(count: int, channels: int, config: ModelConfig, inverse: bool = False) -> nn.Sequential:
    """Residual blocks in a row, plain or made of 3DM-WeConv."""
    if not config.weconv_residual:
        return nn.Sequential(*(ResidualBlock(channels) for _ in range(count)))
    return nn.Sequential(*(ResidualWeConvBlock(channels, config.weconv, inverse) for _ in range(count)))


class AnalysisTransform(nn.Module):
    """g_a: image (B, 3, H, W) -> y (B, M, H/s, W/s) at the latent's stride s, in quantiser steps."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        # N channels at the finest scale, more at the others (lite: 64 and 128)
        n, w, blocks, spec = config.narrow, config.wide, config.blocks_a, config.weconv
        self.patch = config.patch_a
        self.head = first_layer(3 * self.patch**2, n, config)
        self.rate = rate_vector(n, config)
        self.fine = residual_blocks(blocks, n, config)
        self.down = DownWeConvBlock(n, w, spec)
        self.coarse = residual_blocks(blocks, w, config)
        self.coarser = nn.Sequential()  # further scales, where there are any
        for _ in range(config.scales_a - 2):
            self.coarser.append(nn.Sequential(DownWeConvBlock(w, w, spec), residual_blocks(blocks, w, config)))
        # from the coarsest scale to the latent's resolution: half, the same or twice its stride
        if config.coarsest_a > config.latent_stride:
            self.tail = SubPixelConv(w, config.latent_channels)
        else:
            stride = config.latent_stride // config.coarsest_a
            self.tail = nn.Conv2d(w, config.latent_channels, 3, stride=stride, padding=1)
        if config.shortcut:  # untrained, it adds nothing to the wavelet shortcut
            start_at_zero(self.tail if isinstance(self.tail, nn.Conv2d) else self.tail[0])

    def forward(self, x: Tensor, quality: Tensor) -> Tensor:
        """Analyse images in 0..1 at the given qualities (B,)."""
        patches = F.pixel_unshuffle(x - 0.5, self.patch)  # (B, 3, H, W) -> (B, 3 p^2, H/p, W/p)
        h = self.fine(self.head(patches) + self.rate(quality))  # -> (B, N, H/p, W/p)
        # stride-2 3DM-WeConv and residual blocks, a scale at a time, then to (B, M, H/s, W/s)
        return self.tail(self.coarser(self.coarse(self.down(h))))


class SynthesisTransform(nn.Module):
    """g_s: y_hat (B, M, H/s, W/s) -> image minus 0.5 (B, 3, H, W).

    With the shortcut it sees the shortcut's image too and gives what is missing there, both in quantiser steps.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        n, w, blocks, spec = config.narrow, config.wide, config.blocks_s, config.weconv
        self.patch, self.fold = config.patch_s, config.coarsest_s // config.latent_stride
        self.head = first_layer(config.latent_channels * self.fold**2, w, config, inverse=True)
        # a learned vector per quality is added at both ends, so that one network serves every rate (ours)
        self.rate_coarse, self.rate_fine = rate_vector(w, config), rate_vector(n, config)
        self.coarser = nn.Sequential()
        for _ in range(config.scales_s - 2):
            up = UpWeConvBlock(w, w, spec, config.up_kernel)
            self.coarser.append(nn.Sequential(residual_blocks(blocks, w, config, inverse=True), up))
        self.coarse = residual_blocks(blocks, w, config, inverse=True)
        self.up = UpWeConvBlock(w, n, spec, config.up_kernel)
        pixels = 3 * self.patch**2
        self.from_shortcut = nn.Conv2d(pixels, n, 3, padding=1) if config.shortcut else None
        self.fine = residual_blocks(blocks, n, config, inverse=True)
        self.tail = nn.Conv2d(n, pixels, 3, padding=1)
        if config.shortcut:
            start_at_zero(self.tail)

    def forward(self, y_hat: Tensor, quality: Tensor, base: Tensor | None = None) -> Tensor:
        """Synthesise; ``base`` (B, 3, H, W) is the shortcut's image minus 0.5, None without shortcut."""
        h = self.head(F.pixel_unshuffle(y_hat, self.fold)) + self.rate_coarse(quality)  # -> (B, w, ...) at the coarsest
        h = self.up(self.coarse(self.coarser(h)))  # -> (B, N, H/p, W/p)
        # the shortcut's image (B, 3, H, W) in blocks of p x p pixels joins at the finest scale (ours)
        if self.from_shortcut is not None and base is not None:
            h = h + self.from_shortcut(F.pixel_unshuffle(base, self.patch))
        # (B, N, H/p, W/p) -> (B, 3 p^2, H/p, W/p) -> (B, 3, H, W)
        return F.pixel_shuffle(self.tail(self.fine(h + self.rate_fine(quality))), self.patch)


def hyper_spec(config: ModelConfig) -> WeConvSpec:
    """3DM-WeConv of the hyper networks: their maps are small, so one level at most."""
    return replace(config.weconv, levels=min(1, config.weconv.levels))


class HyperAnalysis(nn.Module):
    """h_a: what is coded (B, C, h, w) -> z (B, z_channels, h/4, w/4)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        c = config.hyper
        self.head = nn.Conv2d(config.coded_channels, c, 3, padding=1)
        self.act = activation()
        self.down = DownWeConvBlock(c, c, hyper_spec(config))
        self.blocks = nn.Sequential(*(ResidualBlock(c) for _ in range(config.hyper_blocks)))
        self.tail = nn.Conv2d(c, config.z_channels, 3, stride=2, padding=1)

    def forward(self, y: Tensor) -> Tensor:
        """Summarise the latent."""
        # (B, C, h, w) -> (B, hyper, h, w) -> h/2 by 3DM-WeConv -> (B, z_channels, h/4, w/4)
        return self.tail(self.blocks(self.act(self.down(self.act(self.head(y))))))


class HyperSynthesis(nn.Module):
    """h_s: z_hat (B, z_channels, h/4, w/4) -> hyper features at h/4, h/2 and h, coarsest first."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        c = config.hyper
        self.head = nn.Conv2d(config.z_channels, c, 3, padding=1)
        self.rate = rate_vector(c, config)
        self.act = activation()
        spec = hyper_spec(config)
        self.up = nn.ModuleList(UpWeConvBlock(c, c, spec, config.up_kernel) for _ in range(2))
        self.blocks = nn.Sequential(*(ResidualBlock(c) for _ in range(config.hyper_blocks)))

    def forward(self, z_hat: Tensor, quality: Tensor) -> list[Tensor]:
        """Expand the side information; every level is the context of the LL band of its own size."""
        coarse = self.act(self.head(z_hat) + self.rate(quality))  # (B, hyper, h/4, w/4)
        middle = self.blocks(self.act(self.up[0](coarse)))  # (B, hyper, h/2, w/2)
        return [coarse, middle, self.act(self.up[1](middle))]


class SplitHyperSynthesis(nn.Module):
    """h_s of the predecessor: one network for the means, one for the scales, their features side by side."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.mean, self.scale = HyperSynthesis(config), HyperSynthesis(config)

    def forward(self, z_hat: Tensor, quality: Tensor) -> list[Tensor]:
        """Expand the side information twice: 2 ``hyper`` channels at every resolution."""
        # (B, hyper, ...) for the means beside (B, hyper, ...) for the scales, at each of three resolutions
        levels = zip(self.mean(z_hat, quality), self.scale(z_hat, quality), strict=True)
        return [torch.cat(pair, 1) for pair in levels]


class GainUnit(nn.Module):
    """Gain vectors between natural units and quantiser steps, one pair per channel and quality (ours).

    The base gain sqrt(lambda 255^2 / 26) is the high-rate optimum of R + lambda 255^2 MSE for an orthonormal transform
    of three colour components: dR/dD = -3 / (2 D ln 2) with D = step^2 / 12 gives step^2 = 26 / (lambda 255^2). A model
    of a single rate has the base gain alone.
    """

    HIGH_RATE_CONSTANT = 26.0

    def __init__(self, channels: int, config: ModelConfig) -> None:
        super().__init__()
        self.gain, self.inverse_gain = rate_vector(channels, config), rate_vector(channels, config)

    @classmethod
    def base(cls, lam: Tensor) -> Tensor:
        """Return the base gain (B, 1, 1, 1) for lambdas (B,)."""
        return torch.sqrt(lam * 255**2 / cls.HIGH_RATE_CONSTANT)[:, None, None, None]

    def scale(self, y: Tensor, base: Tensor, quality: Tensor) -> Tensor:
        """Natural units -> quantiser steps; ``base`` (B, 1, 1, 1) is :meth:`base` of this quality (B,)."""
        return y * (base * torch.exp(self.gain(quality)))

    def unscale(self, y_hat: Tensor, base: Tensor, quality: Tensor) -> Tensor:
        """Quantiser steps -> natural units."""
        return y_hat * torch.exp(self.inverse_gain(quality)) / base


# --- between y and what is coded: the 3-D DWT of the paper, the predecessor's 2-D one, or nothing ---------------------


def to_bands(y: Tensor, config: ModelConfig) -> tuple[Tensor, Tensor]:
    """y (B, M, h, w) -> LF (B, M, h/2, w/2) and HF = HL, LH, HH (B, 3M, h/2, w/2).

    Without wavelet entropy model all of y is LF, and HF has no channels.
    """
    if not config.wavelet_entropy:
        return y, y[:, :0]
    if config.latent_channel_dwt:
        # the 3-D DWT of the paper: rows, columns, and channels, whose low half stands before the high half
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
    # HF (B, 3M, h, w) -> HL, LH and HH (B, M, h, w) each
    details = (Details(*hf.chunk(3, 1)),)
    if not config.latent_channel_dwt:
        return idwt2d(Pyramid(lf, details, config.latent_wavelet))
    split = AxisDWT(lf.shape[1], config.latent_wavelet, config.channel_levels, config.channel_packets)
    return idwt3d(Pyramid(lf, details, config.latent_wavelet, channel_split=split))
