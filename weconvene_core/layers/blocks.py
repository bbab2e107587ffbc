"""Building blocks around 3DM-WeConv: residual, stride-2 and up blocks (the paper's network figure).

Each WeConv block is ``convolution -> LeakyReLU -> 3DM-WeConv`` beside a skip connection, as in the predecessor. A
:class:`WeConvSpec` says which 3DM-WeConv; the predecessor's layer (ECCV 2024) is one of its cases.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from weconvene_core.layers.weconv import Pointwise, WeConv3d, layout_of, same_conv

SLOPE = 1 / 16  # of LeakyReLU: a power of two, so that an integer implementation is a shift


@dataclass(frozen=True)
class WeConvSpec:
    """What the 3DM-WeConv layers of a network have in common; see :class:`WeConv3d` for the fields.

    ``gdn`` normalises the bands in the wavelet domain, before the inverse DWT, as the predecessor does. The layer of
    the predecessor is ``WeConvSpec("haar", 1, False, high_kernel=3, joint_high=True, gdn=True)``. Without levels and
    channel DWT the layer is a plain 3x3 convolution.
    """

    wavelet: str = "5/3"
    levels: int = 2
    channel_dwt: bool = True
    channel_levels: int = 1
    channel_packets: bool = False
    high_kernel: int = 1
    joint_high: bool = False
    gdn: bool = False

    def layer(self, in_channels: int, out_channels: int, inverse: bool = False) -> nn.Module:
        """Build one layer; ``inverse`` takes the inverse normalisation (synthesis)."""
        norm = partial(gdn, inverse=inverse) if self.gdn else None  # the predecessor's, in the wavelet domain
        if not (self.levels or self.channel_dwt):
            plain = nn.Conv2d(in_channels, out_channels, 3, padding=1)  # the baseline without wavelets
            return nn.Sequential(plain, norm(out_channels)) if norm else plain
        return WeConv3d(
            in_channels, out_channels, self.wavelet, self.levels, self.channel_dwt, high_kernel=self.high_kernel,
            channel_levels=self.channel_levels, channel_packets=self.channel_packets, joint_high=self.joint_high,
            norm=norm,
        )  # fmt: skip


def gdn(channels: int, inverse: bool = False) -> nn.Module:
    """Return generalised divisive normalisation (Ballé, Laparra and Simoncelli 2016), CompressAI's."""
    from compressai.layers import GDN  # takes seconds to import, and the layers serve without it

    return GDN(channels, inverse=inverse)


def activation() -> nn.Module:
    """Return the activation used everywhere: LeakyReLU with a slope that integer arithmetic can shift."""
    return nn.LeakyReLU(SLOPE, inplace=True)


def summed(fresh: Tensor, x: Tensor) -> Tensor:
    """Return the sum; without gradient in the memory of ``fresh``, which is not needed again."""
    # under autocast ``fresh`` may be of half precision and ``x`` not: then the sum must not be rounded to half
    return fresh + x if torch.is_grad_enabled() or fresh.dtype != x.dtype else fresh.add_(x)


class ResidualBlock(nn.Module):
    """Plain ``x + conv3x3(act(conv3x3(x)))``: (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.act = activation()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Refine ``x`` by a residual."""
        return summed(self.conv2(self.act(self.conv1(x))), x)  # every term (B, C, H, W)


class ResidualEntry(nn.Module):
    """Two 3x3 convolutions, GDN, and a 1x1 skip: (B, C_in, H, W) -> (B, C_out, H, W); the predecessor's first layer."""

    def __init__(self, in_channels: int, out_channels: int, inverse: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.act = activation()
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.norm = gdn(out_channels, inverse=inverse)
        self.skip = Pointwise(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Change the number of channels."""
        return self.skip(x) + self.norm(self.conv2(self.act(self.conv1(x))))  # every term (B, C_out, H, W)


class WeConvBlock(nn.Module):
    """``skip(x) + WeConv(act(conv(x)))``: what the three blocks below have in common."""

    def __init__(self, conv: nn.Module, weconv: nn.Module, skip: nn.Module) -> None:
        super().__init__()
        self.conv, self.act, self.weconv, self.skip = conv, activation(), weconv, skip

    def forward(self, x: Tensor) -> Tensor:
        """Run both branches and add them."""
        # conv and skip change (B, C_in, H, W) to the size of the output, 3DM-WeConv keeps it (paper, network figure)
        return summed(self.weconv(self.act(self.conv(x))), self.skip(x))


class ResidualWeConvBlock(WeConvBlock):
    """Constant size, identity skip: (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, channels: int, spec: WeConvSpec, inverse: bool = False) -> None:
        conv = nn.Conv2d(channels, channels, 3, padding=1)
        super().__init__(conv, spec.layer(channels, channels, inverse), nn.Identity())


class DownWeConvBlock(WeConvBlock):
    """Stride 2 with a 1x1 stride-2 skip: (B, C_in, H, W) -> (B, C_out, H/2, W/2)."""

    def __init__(self, in_channels: int, out_channels: int, spec: WeConvSpec) -> None:
        conv = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)
        weconv = spec.layer(out_channels, out_channels)
        super().__init__(conv, weconv, nn.Conv2d(in_channels, out_channels, 1, stride=2))


class UpWeConvBlock(WeConvBlock):
    """Sub-pixel convolution with a sub-pixel skip: (B, C_in, H, W) -> (B, C_out, 2H, 2W)."""

    def __init__(self, in_channels: int, out_channels: int, spec: WeConvSpec, kernel: int = 1) -> None:
        conv = SubPixelConv(in_channels, out_channels, kernel=kernel)
        weconv = spec.layer(out_channels, out_channels, inverse=True)
        super().__init__(conv, weconv, SubPixelConv(in_channels, out_channels, kernel=kernel))


class SubPixelConv(nn.Sequential):
    """Convolution and pixel shuffle: (B, C_in, H, W) -> (B, C_out, rH, rW)."""

    def __init__(self, in_channels: int, out_channels: int, factor: int = 2, kernel: int = 1) -> None:
        sizes = in_channels, out_channels * factor**2  # r^2 output channels become r x r pixels
        conv = Pointwise(*sizes) if kernel == 1 else nn.Conv2d(*sizes, kernel, padding=kernel // 2)
        super().__init__(conv, nn.PixelShuffle(factor))

    def forward(self, x: Tensor) -> Tensor:
        """Convolve and shuffle."""
        conv, r = self[0], self[1].upscale_factor
        if not isinstance(conv, Pointwise) or layout_of(x) != torch.channels_last:
            return super().forward(x)
        # output channels (C_out, r, r) -> (r, r, C_out): the channels of a pixel are neighbours, and are moved as one
        weight = conv.weight.unflatten(0, (-1, r**2)).transpose(0, 1).flatten(0, 1)
        bias = conv.bias.unflatten(0, (-1, r**2)).transpose(0, 1).flatten(0, 1)
        # (B, C_in, H, W) -> (B, H, W, r, r, C_out) -> (B, H, r, W, r, C_out) -> (B, C_out, rH, rW)
        y = same_conv(x, weight, bias).permute(0, 2, 3, 1).unflatten(3, (r, r, -1))
        return y.transpose(2, 3).flatten(3, 4).flatten(1, 2).permute(0, 3, 1, 2)
