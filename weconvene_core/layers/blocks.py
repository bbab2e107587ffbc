"""Building blocks around 3DM-WeConv: residual, stride-2 and up blocks (the paper's network figure).

Each WeConv block is ``convolution -> LeakyReLU -> 3DM-WeConv`` beside a skip connection, as in the predecessor.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weconvene_core.errors import WeconveneError
from weconvene_core.lambdas import LAMBDAS, QUALITY_MAX, QUALITY_MIN
from weconvene_core.layers.weconv import Pointwise, WeConv3d, layout_of, same_conv

SLOPE = 1 / 16  # of LeakyReLU: a power of two, so that an integer implementation is a shift


@dataclass(frozen=True)
class WeConvSpec:
    """What the 3DM-WeConv layers of a network have in common; see :class:`WeConv3d` for the fields.

    ``gdn`` normalises the bands in the wavelet domain. The layer of the predecessor (ECCV 2024) is
    ``WeConvSpec("haar", 1, False, high_kernel=3, joint_high=True, gdn=True)``. Without levels and channel DWT the layer
    is a plain 3x3 convolution.
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
        norm = partial(GDN, inverse=inverse) if self.gdn else None
        if not (self.levels or self.channel_dwt):
            plain = nn.Conv2d(in_channels, out_channels, 3, padding=1)  # the baseline without wavelets
            return nn.Sequential(plain, norm(out_channels)) if norm else plain
        return WeConv3d(
            in_channels, out_channels, self.wavelet, self.levels, self.channel_dwt, high_kernel=self.high_kernel,
            channel_levels=self.channel_levels, channel_packets=self.channel_packets, joint_high=self.joint_high,
            norm=norm,
        )  # fmt: skip


class GDN(nn.Module):
    """Generalised divisive normalisation (Ballé, Laparra and Simoncelli 2016); tensors are named as in CompressAI."""

    def __init__(self, channels: int, inverse: bool = False) -> None:
        super().__init__()
        self.inverse, self.beta_reparam, self.gamma_reparam = inverse, _NonNegative(1e-6), _NonNegative()
        self.beta = nn.Parameter((torch.ones(channels) + self.beta_reparam.pedestal).sqrt())
        self.gamma = nn.Parameter((0.1 * torch.eye(channels) + self.gamma_reparam.pedestal).sqrt())

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, H, W), or undo it."""
        beta, gamma = self.beta_reparam(self.beta), self.gamma_reparam(self.gamma)  # (C,), (C, C)
        norm = F.conv2d(x**2, gamma[:, :, None, None], beta)  # beta_i + sum_j gamma_ij x_j^2
        return x * (norm.sqrt() if self.inverse else norm.rsqrt())


class _NonNegative(nn.Module):
    """Numbers of at least ``minimum``, stored as the roots of them and a pedestal."""

    def __init__(self, minimum: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("pedestal", torch.tensor([2.0**-36]))
        self.lower_bound = nn.Module()
        self.lower_bound.register_buffer("bound", torch.tensor([(minimum + 2.0**-36) ** 0.5]))

    def forward(self, stored: Tensor) -> Tensor:
        bound = self.lower_bound.bound
        bounded = torch.max(stored, bound).detach() + (stored - stored.detach())
        if bounded.requires_grad:  # a number below the bound may only rise
            bounded.register_hook(lambda gradient: gradient * ((stored >= bound) | (gradient < 0)))
        return bounded**2 - self.pedestal


def activation() -> nn.Module:
    """Return the activation used everywhere, LeakyReLU."""
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
        self.norm = GDN(out_channels, inverse)
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
        conv = SubPixelConv(in_channels, out_channels, kernel)
        weconv = spec.layer(out_channels, out_channels, inverse=True)
        super().__init__(conv, weconv, SubPixelConv(in_channels, out_channels, kernel))


class SubPixelConv(nn.Sequential):
    """Convolution and pixel shuffle: (B, C_in, H, W) -> (B, C_out, 2H, 2W)."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 1) -> None:
        sizes = in_channels, out_channels * 4  # four output channels become 2 x 2 pixels
        conv = Pointwise(*sizes) if kernel == 1 else nn.Conv2d(*sizes, kernel, padding=kernel // 2)
        super().__init__(conv, nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        """Convolve and shuffle."""
        conv = self[0]
        if not isinstance(conv, Pointwise) or layout_of(x) != torch.channels_last:
            return super().forward(x)
        # output channels (C_out, 2, 2) -> (2, 2, C_out): the channels of a pixel are neighbours, and are moved as one
        weight, bias = (p.unflatten(0, (-1, 4)).transpose(0, 1).flatten(0, 1) for p in (conv.weight, conv.bias))
        # (B, C_in, H, W) -> (B, H, W, 2, 2, C_out) -> (B, H, 2, W, 2, C_out) -> (B, C_out, 2H, 2W)
        y = same_conv(x, weight, bias).permute(0, 2, 3, 1).unflatten(3, (2, 2, -1))
        return y.transpose(2, 3).flatten(3, 4).flatten(1, 2).permute(0, 3, 1, 2)


# --- the rate as an input: ours, one model for every rate -------------------------------------------------------------


def check_quality(quality: float) -> float:
    """Return ``quality`` as a float; no number, or outside 0 to 7, raises ``WeconveneError``."""
    try:
        quality = quality + 0.0  # which text cannot be asked
        inside = bool(QUALITY_MIN <= quality <= QUALITY_MAX)  # nor several numbers
    except (TypeError, ValueError, RuntimeError) as error:
        kind = type(quality).__name__
        raise WeconveneError(f"a quality of type {kind} is no single number; choose one from 0 to 7.") from error
    if not inside:
        raise WeconveneError(f"quality={quality} is outside {QUALITY_MIN:g} to {QUALITY_MAX:g}; choose one between.")
    return float(quality)


def batch_of(quality: float) -> Tensor:
    """Return ``quality`` for a batch of one, (1,) float32 whatever PyTorch's default type is."""
    return torch.tensor([quality], dtype=torch.float32)


def interpolate(rows: Tensor, quality: Tensor) -> Tensor:
    """Interpolate ``rows`` (8, C), one for each lambda, linearly at ``quality`` (B,) in 0..7; returns (B, C)."""
    position = (quality - QUALITY_MIN).clamp(0, len(LAMBDAS) - 1)  # (B,), in rows
    left = position.floor().clamp(max=len(LAMBDAS) - 2).long()
    weight = (position - left)[:, None].to(rows.dtype)  # (B, 1), 0 at the left row and 1 at the right one
    return torch.lerp(rows[left], rows[left + 1], weight)  # (B, C)


def lambda_of(quality: Tensor) -> Tensor:
    """Return lambda (B,) for qualities (B,): the table ``LAMBDAS``, interpolated in log lambda."""
    table = torch.tensor(LAMBDAS, dtype=torch.float64, device=quality.device).log()[:, None]  # (8, 1)
    return interpolate(table, quality.double())[:, 0].exp().float()


class RateEmbedding(nn.Module):
    """A learned vector of ``channels`` numbers per quality, zero at the start: (B,) -> (B, C, 1, 1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.zeros(len(LAMBDAS), channels))

    def forward(self, quality: Tensor) -> Tensor:
        """Look the vector up for every image of the batch."""
        return interpolate(self.rows, quality)[:, :, None, None]  # (B, C) -> (B, C, 1, 1), to be added to maps
