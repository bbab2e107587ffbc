"""3DM-WeConv: convolution in the 3-D wavelet domain (paper section III, 3D multi-level wavelet-domain convolution).

Data flow, as in the paper's figure::

    x -> channel DWT -> spatial DWT (J levels) -> 3x3 on LF, 1x1 on each HF band -> inverse spatial -> inverse channel

The channel DWT commutes with everything spatial. So it is folded into the kernels of the bands, ``IDWT_c * W * DWT_c``,
which costs nothing per pixel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weconvene_core.errors import WeconveneError
from weconvene_core.wavelets import SCHEMES, AxisDWT, Wavelet, scheme
from weconvene_core.wavelets.dwt import CHANNEL, HEIGHT, WIDTH
from weconvene_core.wavelets.lifting import join_axes, split_axes

BANDS_PER_LEVEL = 3  # HL, LH, HH
SPACE = (HEIGHT, WIDTH)


class WeConv3d(nn.Module):
    """Drop-in for a stride-1 ``nn.Conv2d(in_channels, out_channels, 3, padding=1)`` in the 3-D wavelet domain.

    Input (B, in_channels, H, W) with any H, W >= 1; output (B, out_channels, H, W) in the input's memory format.

    Parameters
    ----------
    wavelet : name or scheme (see :func:`weconvene_core.wavelets.dwt1d`).
    levels : spatial levels J >= 0; 0 is a convolution in the channel-wavelet domain alone.
    channel_dwt : transform across channels as well (False: the 2-D layer of the predecessor, ECCV 2024).
    low_kernel, high_kernel : odd kernel sizes on LL_J and on every other band (stated in the paper: 3 and 1).
    channel_levels, channel_packets : depth and kind of the channel DWT, see :class:`weconvene_core.wavelets.AxisDWT`.
    norm : makes a normalisation for a number of channels. It acts on each band in the wavelet domain, before the
        inverse (the predecessor's GDN). LL_J has its own; HL, LH and HH of all levels share one of triple width.
    joint_high : one kernel over HL, LH and HH of a level together (the predecessor), instead of one per band.

    Raises
    ------
    WeconveneError
        For impossible sizes or level counts, or an unknown, integer or learnt wavelet.
    """

    def __init__(
        self,
        in_channels: int, out_channels: int, wavelet: Wavelet = "9/7", levels: int = 1, channel_dwt: bool = True,
        low_kernel: int = 3, high_kernel: int = 1, channel_levels: int = 1, channel_packets: bool = False,
        norm: Callable[[int], nn.Module] | None = None, joint_high: bool = False, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        kernels = {"low_kernel": low_kernel, "high_kernel": high_kernel}
        _check(wavelet, in_channels=in_channels, out_channels=out_channels, levels=levels, **kernels)
        self.wavelet, self.levels, self.channel_dwt, self.joint_high = wavelet, levels, channel_dwt, joint_high
        self.low_weight = nn.Parameter(torch.empty(out_channels, in_channels, low_kernel, low_kernel))  # LL_J
        # the kernels of HL, LH and HH are stacked along the output axis, finest level first
        stacked, seen = levels * BANDS_PER_LEVEL * out_channels, in_channels * (BANDS_PER_LEVEL if joint_high else 1)
        self.high_weight = nn.Parameter(torch.empty(stacked, seen, high_kernel, high_kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.low_norm = norm(out_channels) if norm else None
        self.high_norm = norm(BANDS_PER_LEVEL * out_channels) if norm and levels else None
        # DC gain sqrt(2) per axis and level; a scheme of the caller's own need not turn constants into LL alone
        self._constant_gain = 2.0**levels if wavelet in SCHEMES and norm is None else None
        if channel_dwt:
            how = (wavelet, channel_levels, channel_packets)
            self.in_split, self.out_split = AxisDWT(in_channels, *how), AxisDWT(out_channels, *how)
            matrices = self.in_split.matrices()[0], self.out_split.matrices()[1]  # (in, in) and (out, out)
            for side, matrix in zip(("analysis", "synthesis"), matrices, strict=True):
                self.register_buffer(side, matrix.to(self.low_weight.dtype), persistent=False)
        for weight in (self.low_weight, *self.high_kernels()):
            # as nn.Conv2d does; the transform keeps variances, so the same scale fits every band
            nn.init.kaiming_uniform_(weight, a=math.sqrt(5))

    def high_kernels(self) -> Sequence[Tensor]:
        """Return the kernels of HL, LH, HH (joint: one for the three), finest level first, each (out, in, k, k)."""
        step = self.low_weight.shape[0] * (BANDS_PER_LEVEL if self.joint_high else 1)
        return self.high_weight.split(step) if self.levels else ()

    def forward(self, x: Tensor, folded: bool = True) -> Tensor:
        """Convolve (B, in, H, W) -> (B, out, H, W).

        Without ``folded`` the channel DWT runs on the feature maps, in the order of the paper's figure: the same result
        up to rounding, but slower.
        """
        layout = layout_of(x)
        low_kernel, *high_kernels = self._folded_kernels() if folded else (self.low_weight, *self.high_kernels())
        # 1. channel DWT: (B, in, H, W) -> the same shape, low half of the channels first
        if self.channel_dwt and not folded:
            x = torch.cat(self.in_split.split(x, CHANNEL), CHANNEL)
        if x.device.type == "cpu":  # 1x1 convolutions are plain matrix products where channels are neighbours
            x = x.contiguous(memory_format=torch.channels_last)
        details, per_level = [], len(high_kernels) // max(1, self.levels)
        for level in range(self.levels):
            # 2. spatial DWT: (B, in, H, W) -> LL, HL, LH, HH, each (B, in, H/2, W/2); the next level transforms LL
            x, *bands = split_axes(x, self.wavelet, SPACE)
            # 3. 1x1 kernels on HF, before the next level: the memory of these bands then serves the next ones
            details.append(self._convolved_high(bands, high_kernels[level * per_level : (level + 1) * per_level]))
        # 4. 3x3 kernel on LF: (B, in, H/2^J, W/2^J) -> (B, out, H/2^J, W/2^J)
        # a constant of the output has no HF, so the bias is added here, where the map is smallest, if it can be
        at_low = self._constant_gain is not None and (folded or not self.channel_dwt)
        x = same_conv(x, low_kernel, self.bias * self._constant_gain if at_low and self.bias is not None else None)
        x = x if self.low_norm is None else self.low_norm(x)
        # 5. inverse spatial DWT: LL, HL, LH, HH -> the next LL, and at last (B, out, H, W)
        for bands in reversed(details):
            # nobody needs the output of a convolution again, but its gradient may need that of a normalisation
            x = join_axes((x, *bands), self.wavelet, SPACE, overwrite=self.low_norm is None)
        # 6. inverse channel DWT: (B, out, H, W) -> the same shape
        if self.channel_dwt and (not folded or self.low_norm is not None):
            x = self.out_split.merge(list(x.split(self.out_split.sizes, CHANNEL)), CHANNEL)
        x = x if at_low or self.bias is None else x + self.bias[:, None, None].to(x.dtype)
        return x.contiguous(memory_format=layout)

    def _folded_kernels(self) -> list[Tensor]:
        kernels = [self.low_weight, *self.high_kernels()]
        if not self.channel_dwt:
            return kernels
        analysis, synthesis = self.analysis, self.synthesis
        if self.low_norm is not None:  # the normalisation sits between the kernels and the inverse
            synthesis = torch.eye(len(synthesis), dtype=synthesis.dtype, device=synthesis.device)
        with torch.autocast(self.low_weight.device.type, enabled=False):  # in the weights' own type
            for i, kernel in enumerate(kernels):
                # (out, in, k, k) -> (G, out, g, in, k, k): a joint kernel has three groups of channels, others have one
                groups = kernel.unflatten(0, (-1, len(synthesis))).unflatten(2, (-1, len(analysis)))
                # IDWT_c * W * DWT_c at every position of the kernel
                product = torch.einsum("po,Gogikl,iq->Gpgqkl", synthesis, groups, analysis)
                kernels[i] = product.flatten(2, 3).flatten(0, 1)
        return kernels

    def _convolved_high(self, bands: list[Tensor], kernels: Sequence[Tensor]) -> list[Tensor]:
        if not self.joint_high:
            for i, kernel in enumerate(kernels):
                bands[i] = same_conv(bands[i], kernel)  # (B, in, h, w) -> (B, out, h, w)
            if self.high_norm is None:
                return bands
        # the predecessor: three bands side by side, (B, 3 C, h, w); with odd sizes the smaller are filled up with zeros
        height, width = bands[0].shape[HEIGHT], bands[1].shape[WIDTH]  # HL is low in height, LH in width
        joint = torch.cat([F.pad(b, (0, width - b.shape[WIDTH], 0, height - b.shape[HEIGHT])) for b in bands], CHANNEL)
        joint = same_conv(joint, kernels[0]) if self.joint_high else joint  # one kernel, 3 in -> 3 out
        joint = joint if self.high_norm is None else self.high_norm(joint)
        parts = zip(joint.chunk(BANDS_PER_LEVEL, CHANNEL), bands, strict=True)
        return [part[..., : band.shape[HEIGHT], : band.shape[WIDTH]] for part, band in parts]

    def extra_repr(self) -> str:
        """Show the choices that the kernels' shapes do not tell."""
        return f"{tuple(self.low_weight.shape)}, wavelet={scheme(self.wavelet).name}, levels={self.levels}"

    def macs(self, height: int, width: int) -> int:
        """Return the multiplications of the band convolutions on a map of the given size, lifting not counted."""
        total, h, w = 0, height, width
        for level in range(self.levels):
            low_h, low_w = -(-h // 2), -(-w // 2)  # of LL; HL, LH and HH share the rest
            kernel = self.high_kernels()[level if self.joint_high else level * BANDS_PER_LEVEL].numel()
            # separate kernels: HL, LH and HH together hold all but the low band; joint: bands are padded to its size
            total += kernel * (low_h * low_w if self.joint_high else h * w - low_h * low_w)
            h, w = low_h, low_w
        return total + self.low_weight.numel() * h * w


def same_conv(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolve with an odd kernel (out, in, k, k) at constant size: (B, in, H, W) -> (B, out, H, W)."""
    if 0 in x.shape[-2:]:  # a map one sample wide has empty HF bands
        return x.new_zeros(x.shape[0], weight.shape[0], *x.shape[-2:])
    kernel = weight.shape[-1]
    # with one thread of a processor, PyTorch gives a 1x1 kernel to the faster oneDNN only if it says that it is dilated
    return F.conv2d(x, weight, bias, padding=kernel // 2, dilation=2 if kernel == 1 and x.device.type == "cpu" else 1)


class Pointwise(nn.Conv2d):
    """A 1x1 convolution of stride 1 by :func:`same_conv`."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Mix the channels of every position."""
        return same_conv(x, self.weight, self.bias)


def layout_of(x: Tensor) -> torch.memory_format:
    """Return whether the channels of maps (B, C, H, W) are neighbours in memory, or the samples of a row."""
    channels_last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if channels_last else torch.contiguous_format


def appended(features: Tensor, part: Tensor) -> Tensor:
    """Put ``part`` behind the channels of ``features``, in their type and memory format."""
    # a mixture of formats would come out in the slow one, and be copied again in front of every convolution
    return torch.cat([features, part.to(features.dtype, memory_format=layout_of(features))], 1)


def _check(wavelet: Wavelet, **values: int) -> None:
    """Refuse impossible values by name."""
    for name, value in values.items():
        if not isinstance(value, int):
            raise WeconveneError(f"{name}={value!r} is impossible; use a whole number.")
        if name.endswith("kernel") and (value < 1 or value % 2 == 0):
            raise WeconveneError(f"{name}={value} is impossible; use an odd size such as 1 or 3.")
        least = 0 if name == "levels" else 1
        if value < least:
            raise WeconveneError(f"{name}={value} is impossible; use {least} or more.")
    if (lifting := scheme(wavelet)).integer or lifting.learnt:
        raise WeconveneError(f"wavelet={lifting.name!r} rounds or is learnt; the layer needs a fixed real wavelet.")
