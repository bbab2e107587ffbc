"""3DM-WeConv: convolution in the 3-D wavelet domain (paper section III, 3D multi-level wavelet-domain convolution).

Data flow, as in the paper's figure::

    x -> channel DWT -> spatial DWT (J levels) -> 3x3 on LF, 1x1 on each HF band -> inverse spatial -> inverse channel

The channel DWT is a fixed matrix and commutes with everything spatial, so it is folded into the band kernels:
``IDWT_c * W * DWT_c`` is computed on the weights (a C x C product) instead of on the feature maps (every pixel).
``unfolded_forward`` runs the textbook order; the tests show that both agree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weconvene_core.errors import WeconveneError
from weconvene_core.wavelets import AxisDWT, LearnableLifting, Wavelet, dwt2d
from weconvene_core.wavelets.lifting import join_axes, split_axes
from weconvene_core.wavelets.lifting_schemes import scheme
from weconvene_core.wavelets.pyramid import CHANNEL, HEIGHT, WIDTH

BANDS_PER_LEVEL = 3  # HL, LH, HH
SPACE = (HEIGHT, WIDTH)
CONSTANT = 1e-9  # how far a constant's coefficients may lie from those of one: rounding in float64, and no more
BORDERS = ("orthonormal", "symmetric")  # scaling that keeps variances, whole-sample extension


class WeConv3d(nn.Module):
    """Drop-in for a stride-1 ``nn.Conv2d(in_channels, out_channels, 3, padding=1)`` in the 3-D wavelet domain.

    Parameters
    ----------
    in_channels, out_channels : channel counts, each >= 1 (odd counts included).
    wavelet : name or scheme (see :func:`weconvene_core.wavelets.dwt1d`), or a :class:`LearnableLifting`.
    levels : spatial levels J >= 0; 0 is a convolution in the channel-wavelet domain alone.
    channel_dwt : transform across channels as well (False: the 2-D layer of the predecessor, ECCV 2024).
    low_kernel, high_kernel : odd kernel sizes on LL_J and on every other band (stated in the paper: 3 and 1).
    channel_levels, channel_packets : depth of the channel DWT, and packets instead of the recursion on its low half.
    norm : makes a normalisation for a number of channels; it acts on each band in the wavelet domain, before the
        inverse (the predecessor's GDN). LL_J has its own; HL, LH and HH of all levels share one of triple width.
    joint_high : one kernel over HL, LH and HH of a level together (the predecessor), instead of one per band.
    bias : add a learnt constant per output channel.

    Input (B, in_channels, H, W) with any H, W >= 1; output (B, out_channels, H, W).

    Raises
    ------
    WeconveneError
        For an even kernel size, a negative level count, fewer than one channel, or an unknown wavelet.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        wavelet: Wavelet | LearnableLifting = "9/7",
        levels: int = 1,
        channel_dwt: bool = True,
        low_kernel: int = 3,
        high_kernel: int = 1,
        channel_levels: int = 1,
        channel_packets: bool = False,
        norm: Callable[[int], nn.Module] | None = None,
        joint_high: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        _check(in_channels, out_channels, levels, low_kernel, high_kernel)
        self.wavelet, self.levels, self.channel_dwt, self.joint_high = wavelet, levels, channel_dwt, joint_high
        self.low_weight = nn.Parameter(torch.empty(out_channels, in_channels, low_kernel, low_kernel))
        # the bands' kernels are stacked along the output axis, finest level first
        stacked, seen = levels * BANDS_PER_LEVEL * out_channels, in_channels * (BANDS_PER_LEVEL if joint_high else 1)
        self.high_weight = nn.Parameter(torch.empty(stacked, seen, high_kernel, high_kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.low_norm = norm(out_channels) if norm else None
        self.high_norm = norm(BANDS_PER_LEVEL * out_channels) if norm and levels else None
        self._learns = scheme(_plain(wavelet)).learnt
        if channel_dwt:
            # of a learnt wavelet they hold the initial one: its present values belong to a graph, and cannot be copied
            start = wavelet.initial if isinstance(wavelet, LearnableLifting) else wavelet
            how = (start, channel_levels, channel_packets)
            self.in_split, self.out_split = AxisDWT(in_channels, *how), AxisDWT(out_channels, *how)
            if not self._learns:
                self.register_buffer("analysis", self.in_split.matrices()[0].float(), persistent=False)
                self.register_buffer("synthesis", self.out_split.matrices()[1].float(), persistent=False)
        self._constant_gain = None if self._learns else _constant_gain(wavelet, levels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the kernels as ``nn.Conv2d`` does; the transform keeps variances, so the same scale fits every band."""
        for weight in (self.low_weight, *self._high_kernels()):
            nn.init.kaiming_uniform_(weight, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, in, H, W) -> (B, out, H, W) with the channel DWT folded into the kernels."""
        wavelet = _plain(self.wavelet)
        low, *high = self._folded_kernels()
        if self.low_norm is None and self.bias is not None and self._constant_gain is not None:
            # here a constant has no HF, so the bias can enter LF: nothing has to be added at full size
            return self._convolved(x, wavelet, low, high, self.bias * self._constant_gain)
        y = self._convolved(x, wavelet, low, high)
        if self.channel_dwt and self.low_norm is not None:  # normalised bands still wait for the inverse channel DWT
            y = self._merged_channels(y, wavelet)
        return self._with_bias(y)

    def unfolded_forward(self, x: Tensor) -> Tensor:
        """The same layer in the order of the paper's figure, with the channel DWT on the feature maps."""
        wavelet = _plain(self.wavelet)
        if self.channel_dwt:
            x = torch.cat(replace(self.in_split, wavelet=wavelet).split(x, CHANNEL), CHANNEL)
        y = self._convolved(x, wavelet, self.low_weight, self._high_kernels())
        return self._with_bias(self._merged_channels(y, wavelet) if self.channel_dwt else y)

    def _merged_channels(self, y: Tensor, wavelet: Wavelet) -> Tensor:
        split = replace(self.out_split, wavelet=wavelet)
        return split.merge(list(y.split(split.sizes, CHANNEL)), CHANNEL)

    def _with_bias(self, y: Tensor) -> Tensor:
        return y if self.bias is None else y + self.bias[:, None, None].to(y.dtype)

    def _high_kernels(self) -> tuple[Tensor, ...]:
        """Kernels of HL, LH, HH (joint: one for the three), finest level first, each (out, in, k, k)."""
        if not self.levels:
            return ()
        return self.high_weight.split(self.low_weight.shape[0] * (BANDS_PER_LEVEL if self.joint_high else 1))

    def _folded_kernels(self) -> list[Tensor]:
        """Conjugate every kernel by the channel DWT, in float32 whatever the autocast type."""
        kernels = [self.low_weight, *self._high_kernels()]
        if not self.channel_dwt:
            return kernels
        with torch.autocast(self.low_weight.device.type, enabled=False):
            analysis, synthesis = self._channel_matrices()
            if self.low_norm is not None:  # the normalisation sits between the kernels and the inverse
                synthesis = torch.eye(len(synthesis), dtype=synthesis.dtype, device=synthesis.device)
            return [_conjugated(kernel, analysis, synthesis) for kernel in kernels]

    def _channel_matrices(self) -> tuple[Tensor, Tensor]:
        if not self._learns:
            return self.analysis, self.synthesis
        lifting, device = _plain(self.wavelet), self.low_weight.device
        splits = (replace(split, wavelet=lifting) for split in (self.in_split, self.out_split))
        (analysis, _), (_, synthesis) = (split.matrices(self.low_weight.dtype, device) for split in splits)
        return analysis, synthesis

    def _convolved(
        self, x: Tensor, wavelet: Wavelet, low: Tensor, high: Sequence[Tensor], bias: Tensor | None = None
    ) -> Tensor:
        """Into the spatial wavelet domain, through every band's kernel and normalisation, and back.

        A level's HF bands are convolved as soon as they are there, so that their memory serves the next ones: fresh
        memory costs more than the arithmetic.
        """
        if x.device.type == "cpu":  # 1x1 convolutions are plain matrix products where channels are neighbours
            x = x.contiguous(memory_format=torch.channels_last)
        per_level, details = 1 if self.joint_high else BANDS_PER_LEVEL, []
        for level in range(self.levels):
            x, *bands = split_axes(x, wavelet, SPACE, *BORDERS)
            details.append(self._convolved_details(bands, high[level * per_level : (level + 1) * per_level]))
        x = _same_conv(x, low, bias)
        x = x if self.low_norm is None else self.low_norm(x)
        for bands in reversed(details):  # nobody needs a convolution's output again, but perhaps a normalisation's
            x = join_axes((x, *bands), wavelet, SPACE, *BORDERS, overwrite=self.low_norm is None)
        return x

    def _convolved_details(self, bands: list[Tensor], kernels: Sequence[Tensor]) -> list[Tensor]:
        """HL, LH and HH of one level through their kernels and normalisation."""
        if not self.joint_high:
            for i, kernel in enumerate(kernels):
                bands[i] = _same_conv(bands[i], kernel)
            if self.high_norm is None:
                return bands
        sizes = [band.shape[-2:] for band in bands]
        joint = _stacked(bands)  # three bands of C channels -> 3 C
        joint = _same_conv(joint, kernels[0]) if self.joint_high else joint
        joint = joint if self.high_norm is None else self.high_norm(joint)
        return [y[..., :h, :w] for y, (h, w) in zip(joint.chunk(BANDS_PER_LEVEL, 1), sizes, strict=True)]

    def extra_repr(self) -> str:
        """Show the choices that the kernels' shapes do not tell."""
        name = _plain(self.wavelet) if isinstance(self.wavelet, str) else _plain(self.wavelet).name
        choices = f"wavelet={name}, levels={self.levels}, channel_dwt={self.channel_dwt}"
        return f"{tuple(self.low_weight.shape)}, {choices}" + (", joint_high=True" if self.joint_high else "")

    def macs(self, height: int, width: int) -> int:
        """Multiplications of the band convolutions on a map of the given size, by hand.

        Lifting additions are not counted (no public counter sees them); the folded channel DWT costs nothing per pixel.
        """
        total, h, w = 0, height, width
        for level in range(self.levels):
            low_h, low_w = -(-h // 2), -(-w // 2)
            kernel = self._high_kernels()[level if self.joint_high else level * BANDS_PER_LEVEL].numel()
            # separate kernels: HL, LH and HH together hold all but the low band; joint: bands are padded to its size
            total += kernel * (low_h * low_w if self.joint_high else h * w - low_h * low_w)
            h, w = low_h, low_w
        return total + self.low_weight.numel() * h * w


def _plain(wavelet: Wavelet | LearnableLifting) -> Wavelet:
    return wavelet.scheme() if isinstance(wavelet, LearnableLifting) else wavelet


def _constant_gain(wavelet: Wavelet, levels: int) -> float | None:
    """What a constant 1 becomes in LL_J; None unless it is the same everywhere, without details, for every size.

    A scheme of one's own need not annihilate constants, not even at the ends, or may amplify them otherwise than single
    samples, which no step changes. Lengths that are even on all levels, odd on all, and 1 show each of these.
    """
    sizes = (2**levels, 2**levels + 1, 1)
    pyramids = [dwt2d(torch.ones(1, 1, size, size, dtype=torch.float64), wavelet, levels) for size in sizes]
    gain = pyramids[0].low[0, 0, 0, 0].item()
    named = [band for pyramid in pyramids for band in pyramid.bands().items()]
    stays = all(((band - gain * name.startswith("LL")).abs() < CONSTANT).all() for name, band in named)
    return gain if stays else None


def _conjugated(kernel: Tensor, analysis: Tensor, synthesis: Tensor) -> Tensor:
    """Put the channel DWT into a kernel (groups out, groups in, k, k); joint kernels have three groups of channels."""
    groups = kernel.shape[1] // analysis.shape[0]
    blocks = kernel.unflatten(0, (-1, synthesis.shape[1])).unflatten(2, (groups, -1))  # (G, o, g, i, k, l)
    return torch.einsum("po,Gogikl,iq->Gpgqkl", synthesis, blocks, analysis).flatten(2, 3).flatten(0, 1)


def _stacked(bands: Sequence[Tensor]) -> Tensor:
    """Stack HL, LH and HH as channels; with odd sizes the smaller ones are filled up with zeros."""
    height, width = (max(band.shape[axis] for band in bands) for axis in (-2, -1))
    return torch.cat([F.pad(b, (0, width - b.shape[-1], 0, height - b.shape[-2])) for b in bands], 1)


def _same_conv(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if 0 in x.shape[-2:]:  # a map one sample wide has empty HF bands
        return x.new_zeros(x.shape[0], weight.shape[0], *x.shape[-2:])
    if weight.shape[-1] == 1:
        return pointwise(x, weight, bias)
    return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolve with a 1x1 kernel (out, in, 1, 1): (B, in, H, W) -> (B, out, H, W).

    A single position cannot be dilated; but PyTorch, with one thread of a processor, gives a 1x1 kernel to oneDNN only
    if it says that it is, and to a slower matrix product otherwise.
    """
    return F.conv2d(x, weight, bias, dilation=2 if x.device.type == "cpu" else 1)


def layout_of(x: Tensor) -> torch.memory_format:
    """Return whether the channels of maps (B, C, H, W) are neighbours in memory, or the samples of a row."""
    channels_last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if channels_last else torch.contiguous_format


def appended(features: Tensor, part: Tensor) -> Tensor:
    """Put ``part`` behind the channels of ``features``, in their type and memory format.

    A mixture of formats would come out in the slow one, and be copied again in front of every convolution.
    """
    return torch.cat([features, part.to(features.dtype, memory_format=layout_of(features))], 1)


class Pointwise(nn.Conv2d):
    """A 1x1 convolution of stride 1 by :func:`pointwise`."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Mix the channels of every position."""
        return pointwise(x, self.weight, self.bias)


def _check(in_channels: int, out_channels: int, levels: int, low_kernel: int, high_kernel: int) -> None:
    for name, value in (("in_channels", in_channels), ("out_channels", out_channels)):
        if value < 1:
            raise WeconveneError(f"{name}={value} is impossible; use 1 or more.")
    if levels < 0:
        raise WeconveneError(f"levels={levels} is impossible; use 0 (plain convolution) or more.")
    for name, value in (("low_kernel", low_kernel), ("high_kernel", high_kernel)):
        if value < 1 or value % 2 == 0:
            raise WeconveneError(f"{name}={value} is impossible; use an odd size such as 1 or 3.")
