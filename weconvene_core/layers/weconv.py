"""3DM-WeConv: convolution in the 3-D wavelet domain (paper section III, 3D multi-level wavelet-domain convolution).

Data flow, as in the paper's figure::

    x -> channel DWT -> spatial DWT (J levels) -> 3x3 on LF, 1x1 on each HF band -> inverse spatial -> inverse channel

The channel DWT is a fixed matrix and commutes with everything spatial, so it is folded into the band kernels:
``IDWT_c * W * DWT_c`` is computed on the weights (a C x C product) instead of on the feature maps (every pixel).
``unfolded_forward`` runs the textbook order; the tests show that both agree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weconvene_core.errors import WeconveneError
from weconvene_core.wavelets import Details, Pyramid, channel_matrix, dwt2d, dwt3d, idwt2d, idwt3d

BANDS_PER_LEVEL = 3  # HL, LH, HH


class WeConv3d(nn.Module):
    """Drop-in for a stride-1 ``nn.Conv2d(in_channels, out_channels, 3, padding=1)`` in the 3-D wavelet domain.

    Parameters
    ----------
    in_channels, out_channels : channel counts, each >= 1 (odd counts included).
    wavelet : ``haar``, ``5/3`` or ``9/7``.
    levels : spatial levels J >= 0; 0 is a plain convolution.
    channel_dwt : transform across channels as well (False: the 2-D layer of the predecessor, ECCV 2024).
    low_kernel, high_kernel : odd kernel sizes on LL_J and on every other band (stated in the paper: 3 and 1).

    Input (B, in_channels, H, W) with any H, W >= 1; output (B, out_channels, H, W).

    Raises
    ------
    WeconveneError
        For an even kernel size, a negative level count, or fewer than one channel.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        wavelet: str = "9/7",
        levels: int = 1,
        channel_dwt: bool = True,
        low_kernel: int = 3,
        high_kernel: int = 1,
    ) -> None:
        super().__init__()
        _check(in_channels, out_channels, levels, low_kernel, high_kernel)
        self.wavelet, self.levels, self.channel_dwt = wavelet, levels, channel_dwt
        self.low_weight = nn.Parameter(torch.empty(out_channels, in_channels, low_kernel, low_kernel))
        bands = levels * BANDS_PER_LEVEL  # their kernels are stacked along the output axis
        self.high_weight = nn.Parameter(torch.empty(bands * out_channels, in_channels, high_kernel, high_kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        if channel_dwt:
            self.register_buffer("analysis", channel_matrix(in_channels, wavelet)[0].float(), persistent=False)
            self.register_buffer("synthesis", channel_matrix(out_channels, wavelet)[1].float(), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the kernels as ``nn.Conv2d`` does; the transform keeps variances, so the same scale fits every band."""
        nn.init.kaiming_uniform_(self.low_weight, a=math.sqrt(5))
        for weight in self._high_kernels():
            nn.init.kaiming_uniform_(weight, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, in, H, W) -> (B, out, H, W) with the channel DWT folded into the kernels."""
        low, high = self._folded(self.low_weight), [self._folded(kernel) for kernel in self._high_kernels()]
        y = idwt2d(_convolve(dwt2d(x, self.wavelet, self.levels), low, high))
        return y + self.bias[:, None, None].to(y.dtype)

    def unfolded_forward(self, x: Tensor) -> Tensor:
        """The same layer in the order of the paper's figure, with the channel DWT on the feature maps."""
        forward, inverse = (dwt3d, idwt3d) if self.channel_dwt else (dwt2d, idwt2d)
        y = inverse(_convolve(forward(x, self.wavelet, self.levels), self.low_weight, self._high_kernels()))
        return y + self.bias[:, None, None]

    def _high_kernels(self) -> tuple[Tensor, ...]:
        """Kernels (out, in, k, k) of HL, LH, HH, finest level first."""
        return self.high_weight.split(self.low_weight.shape[0]) if self.levels else ()

    def _folded(self, weight: Tensor) -> Tensor:
        """Conjugate a kernel (out, in, k, k) by the channel DWT, in float32 whatever the autocast type."""
        if not self.channel_dwt:
            return weight
        with torch.autocast(weight.device.type, enabled=False):
            return torch.einsum("po,oikl,iq->pqkl", self.synthesis, weight, self.analysis)

    def extra_repr(self) -> str:
        """Show the choices that the kernels' shapes do not tell."""
        choices = f"wavelet={self.wavelet}, levels={self.levels}, channel_dwt={self.channel_dwt}"
        return f"{tuple(self.low_weight.shape)}, {choices}"

    def macs(self, height: int, width: int) -> int:
        """Multiplications of the band convolutions on a map of the given size, by hand.

        Lifting additions are not counted (no public counter sees them); the folded channel DWT costs nothing per pixel.
        """
        total, h, w = 0, height, width
        kernel = self._high_kernels()[0].numel() if self.levels else 0
        for _ in range(self.levels):
            low_h, low_w = -(-h // 2), -(-w // 2)
            total += kernel * (h * w - low_h * low_w)  # HL, LH and HH together hold all but the low band
            h, w = low_h, low_w
        return total + self.low_weight.numel() * h * w

    def receptive_field(self) -> int:
        """Width in samples that one output sees through LF alone: k * 2^J (the wavelet's own support comes on top)."""
        return self.low_weight.shape[-1] * 2**self.levels


def _convolve(pyramid: Pyramid, low_weight: Tensor, high_weights: Sequence[Tensor]) -> Pyramid:
    """Convolve every band with its own kernel; sizes stay."""
    details = tuple(
        Details(
            *(_same_conv(band, high_weights[level * BANDS_PER_LEVEL + i]) for i, band in enumerate((d.hl, d.lh, d.hh)))
        )
        for level, d in enumerate(pyramid.details)
    )
    low = _same_conv(pyramid.low, low_weight)
    return Pyramid(low, details, pyramid.wavelet, pyramid.scaling, pyramid.channels)


def _same_conv(x: Tensor, weight: Tensor) -> Tensor:
    if 0 in x.shape[-2:]:  # a map one sample wide has empty HF bands
        return x.new_zeros(x.shape[0], weight.shape[0], *x.shape[-2:])
    return F.conv2d(x, weight, padding=weight.shape[-1] // 2)


def _check(in_channels: int, out_channels: int, levels: int, low_kernel: int, high_kernel: int) -> None:
    for name, value in (("in_channels", in_channels), ("out_channels", out_channels)):
        if value < 1:
            raise WeconveneError(f"{name}={value} is impossible; use 1 or more.")
    if levels < 0:
        raise WeconveneError(f"levels={levels} is impossible; use 0 (plain convolution) or more.")
    for name, value in (("low_kernel", low_kernel), ("high_kernel", high_kernel)):
        if value < 1 or value % 2 == 0:
            raise WeconveneError(f"{name}={value} is impossible; use an odd size such as 1 or 3.")
