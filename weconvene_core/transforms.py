"""g_a, g_s, h_a and h_s: the four networks around the entropy model (paper, figure of the architecture).

Names and order follow the predecessor: residual blocks, then a stride-2 WeConv block, at two scales; g_s mirrors g_a
with sub-pixel up blocks. Nothing runs at full resolution: images enter and leave through a 4x4 pixel (un)shuffle.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weconvene_core.layers import (
    DownWeConvBlock,
    RateTable,
    ResidualBlock,
    SubPixelConv,
    UpWeConvBlock,
    activation,
)
from weconvene_core.presets import ModelConfig

PATCH = 4  # side of the pixel blocks at which images enter and leave the networks
PATCH_CHANNELS = 3 * PATCH**2


def zero_init(layer: nn.Conv2d) -> nn.Conv2d:
    """Start a last layer at zero, so that an untrained network adds nothing to the wavelet shortcut."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class AnalysisTransform(nn.Module):
    """g_a: image (B, 3, H, W) -> y (B, 48, H/4, W/4), in quantiser steps."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        n, w = config.narrow, config.wide
        self.head = nn.Conv2d(PATCH_CHANNELS, n, 3, padding=1)
        self.rate = RateTable(n)
        self.fine = nn.Sequential(*(ResidualBlock(n) for _ in range(config.blocks_a)))
        self.down = DownWeConvBlock(n, w, config.wavelet, config.levels, config.channel_dwt)
        self.coarse = nn.Sequential(*(ResidualBlock(w) for _ in range(config.blocks_a)))
        self.tail = SubPixelConv(w, PATCH_CHANNELS)
        zero_init(self.tail[0])

    def forward(self, x: Tensor, quality: Tensor) -> Tensor:
        """Analyse images in 0..1 at the given qualities (B,)."""
        patches = F.pixel_unshuffle(x - 0.5, PATCH)  # (B, 3, H, W) -> (B, 48, H/4, W/4)
        h = self.fine(self.head(patches) + self.rate(quality))
        return self.tail(self.coarse(self.down(h)))


class SynthesisTransform(nn.Module):
    """g_s: y_hat (B, 48, H/4, W/4) and the shortcut's image -> image residual (B, 3, H, W), in quantiser steps."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        n, w = config.narrow, config.wide
        self.head = nn.Conv2d(4 * PATCH_CHANNELS, w, 1)
        self.rate_coarse, self.rate_fine = RateTable(w), RateTable(n)
        self.coarse = nn.Sequential(*(ResidualBlock(w) for _ in range(config.blocks_s)))
        self.up = UpWeConvBlock(w, n, config.wavelet, config.levels, config.channel_dwt)
        self.look = nn.Conv2d(PATCH_CHANNELS, n, 3, padding=1)
        self.fine = nn.Sequential(*(ResidualBlock(n) for _ in range(config.blocks_s)))
        self.tail = zero_init(nn.Conv2d(n, PATCH_CHANNELS, 3, padding=1))

    def forward(self, y_hat: Tensor, base: Tensor, quality: Tensor) -> Tensor:
        """Synthesise the residual of ``base`` (B, 3, H, W), both in quantiser steps."""
        h = self.head(F.pixel_unshuffle(y_hat, 2)) + self.rate_coarse(quality)  # (B, 48, H/4, W/4) -> (B, w, H/8, W/8)
        h = self.up(self.coarse(h)) + self.look(F.pixel_unshuffle(base, PATCH)) + self.rate_fine(quality)
        return F.pixel_shuffle(self.tail(self.fine(h)), PATCH)


class HyperAnalysis(nn.Module):
    """h_a: wavelet-domain latent (B, 192, h, w) -> z (B, z_channels, h/4, w/4)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        c = config.hyper
        self.head = nn.Conv2d(4 * PATCH_CHANNELS, c, 3, padding=1)
        self.act = activation()
        self.down = DownWeConvBlock(c, c, config.wavelet, 1, config.channel_dwt)
        self.tail = nn.Conv2d(c, config.z_channels, 3, stride=2, padding=1)

    def forward(self, y: Tensor) -> Tensor:
        """Summarise the latent."""
        return self.tail(self.act(self.down(self.act(self.head(y)))))


class HyperSynthesis(nn.Module):
    """h_s: z_hat (B, z_channels, h/4, w/4) -> hyper features at h/4, h/2 and h, coarsest first."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        c = config.hyper
        self.head = nn.Conv2d(config.z_channels, c, 3, padding=1)
        self.rate = RateTable(c)
        self.act = activation()
        self.up = nn.ModuleList(UpWeConvBlock(c, c, config.wavelet, 1, config.channel_dwt) for _ in range(2))

    def forward(self, z_hat: Tensor, quality: Tensor) -> list[Tensor]:
        """Expand the side information; every level is the context of the LL band of its own size."""
        features = [self.act(self.head(z_hat) + self.rate(quality))]
        for up in self.up:
            features.append(self.act(up(features[-1])))
        return features


class QuantiserGain(nn.Module):
    """Gain vectors between natural units and quantiser steps, one pair per channel and quality (ours).

    The base gain sqrt(lambda 255^2 / 26) is the high-rate optimum of R + lambda 255^2 MSE for an orthonormal transform
    of three colour components: dR/dD = -3 / (2 D ln 2) with D = step^2 / 12 gives step^2 = 26 / (lambda 255^2).
    """

    HIGH_RATE_CONSTANT = 26.0

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.up, self.down = RateTable(channels), RateTable(channels)

    @classmethod
    def base(cls, lam: Tensor) -> Tensor:
        """Return the base gain (B, 1, 1, 1) for lambdas (B,)."""
        return torch.sqrt(lam * 255**2 / cls.HIGH_RATE_CONSTANT)[:, None, None, None]

    def scale(self, y: Tensor, lam: Tensor, quality: Tensor) -> Tensor:
        """Natural units -> quantiser steps."""
        return y * (self.base(lam) * torch.exp(self.up(quality)))

    def unscale(self, y_hat: Tensor, lam: Tensor, quality: Tensor) -> Tensor:
        """Quantiser steps -> natural units."""
        return y_hat * torch.exp(self.down(quality)) / self.base(lam)
