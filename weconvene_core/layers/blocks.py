"""Building blocks around 3DM-WeConv: residual, stride-2 and up blocks (the paper's network figure).

Each block is ``3x3 convolution -> LeakyReLU -> 3DM-WeConv`` beside a skip connection, the shape of the predecessor's
WeConv block. Group-wise normalisation (GDN) is left out in the small presets: it costs more time than it gains there.
"""

from __future__ import annotations

from torch import Tensor, nn

from weconvene_core.layers.weconv import WeConv3d

SLOPE = 1 / 16  # of LeakyReLU: a power of two, so that an integer implementation is a shift


def activation() -> nn.Module:
    """Return the activation used everywhere: LeakyReLU with a slope that integer arithmetic can shift."""
    return nn.LeakyReLU(SLOPE, inplace=True)


class ResidualBlock(nn.Module):
    """Plain ``x + conv3x3(act(conv3x3(x)))``: (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.act = activation()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Refine ``x`` by a residual."""
        return x + self.conv2(self.act(self.conv1(x)))


class ResidualWeConvBlock(nn.Module):
    """``x + WeConv(act(conv3x3(x)))`` at constant size: (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, channels: int, wavelet: str, levels: int, channel_dwt: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.act = activation()
        self.weconv = WeConv3d(channels, channels, wavelet, levels, channel_dwt)

    def forward(self, x: Tensor) -> Tensor:
        """Refine ``x`` by a residual."""
        return x + self.weconv(self.act(self.conv(x)))


class DownWeConvBlock(nn.Module):
    """Stride-2 block with a 1x1 stride-2 skip: (B, C_in, H, W) -> (B, C_out, H/2, W/2)."""

    def __init__(self, in_channels: int, out_channels: int, wavelet: str, levels: int, channel_dwt: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)
        self.act = activation()
        self.weconv = WeConv3d(out_channels, out_channels, wavelet, levels, channel_dwt)
        self.skip = nn.Conv2d(in_channels, out_channels, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Halve height and width."""
        return self.skip(x) + self.weconv(self.act(self.conv(x)))


class UpWeConvBlock(nn.Module):
    """Sub-pixel block with a sub-pixel skip: (B, C_in, H, W) -> (B, C_out, 2H, 2W)."""

    def __init__(self, in_channels: int, out_channels: int, wavelet: str, levels: int, channel_dwt: bool) -> None:
        super().__init__()
        self.conv = SubPixelConv(in_channels, out_channels)
        self.act = activation()
        self.weconv = WeConv3d(out_channels, out_channels, wavelet, levels, channel_dwt)
        self.skip = SubPixelConv(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Double height and width."""
        return self.skip(x) + self.weconv(self.act(self.conv(x)))


class SubPixelConv(nn.Sequential):
    """1x1 convolution and pixel shuffle: (B, C_in, H, W) -> (B, C_out, rH, rW)."""

    def __init__(self, in_channels: int, out_channels: int, factor: int = 2, kernel: int = 1) -> None:
        conv = nn.Conv2d(in_channels, out_channels * factor**2, kernel, padding=kernel // 2)
        super().__init__(conv, nn.PixelShuffle(factor))
