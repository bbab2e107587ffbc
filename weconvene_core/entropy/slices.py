"""One slice of a channel-wise autoregressive model: its parameters, its quantisation, its residual prediction.

Minnen and Singh (2020), as used in 3DWeChARM: the network of a slice sees the hyper features and every slice decoded
before. It gives a mean and a scale per element, and latent residual prediction (LRP) of the quantisation error. With
``luma_first`` (ours) chroma channels are predicted from the luma channels of the slice, as in AV1, but learned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weconvene_core.entropy.distributions import SCALE_MIN, lower_bound, scale_indexes
from weconvene_core.layers import Pointwise, activation, appended
from weconvene_core.layers.wavelet_shortcut import COLOURS
from weconvene_core.layers.window_attention import HEAD_WIDTH, WindowedAttention

SliceNetworkKind = Literal["joint", "split"]
Selection = Callable[[Tensor], Tensor]
"""Takes some channels, or some positions, of a slice."""
Positions = tuple[slice, slice]
"""Rows and columns of a band."""
EVERYWHERE: Positions = (slice(None), slice(None))
LRP_RANGE = 0.5  # the quantisation error of a rounded value lies in -0.5 .. 0.5


@dataclass(frozen=True)
class SlicePrediction:
    """What is known of a slice before it is decoded.

    :class:`weconvene_core.exact.slice_networks.ExactPrediction` says the same in integers.

    Attributes
    ----------
    mean : what is expected, (B, w, h, w) in quantiser steps.
    raw : softplus makes the scale of it, in float32.
    features : what LRP starts from.
    """

    mean: Tensor
    raw: Tensor
    features: Tensor

    @cached_property
    def scale(self) -> Tensor:
        """The standard deviation around the mean, in quantiser steps."""
        return lower_bound(F.softplus(self.raw), SCALE_MIN)

    @cached_property
    def indexes(self) -> Tensor:
        """The coding table of every scale, int64."""
        return scale_indexes(self.scale)

    def part(self, selection: Selection) -> SlicePrediction:
        """The prediction of some channels or positions, with all features."""
        return SlicePrediction(selection(self.mean), selection(self.raw), self.features)


SliceCodingMode = Callable[[str, SlicePrediction, Tensor | None], Tensor]
"""Gives the integer residual (B, w, h, w) of a slice of group ``y_lf`` or ``y_hf``, whose last argument is the slice
itself, None when decoding."""


class SlicePredictor(nn.Module):
    """What all slice networks share: context (B, C, h, w) in, :class:`SlicePrediction` out, and ``lrp`` after it.

    :class:`weconvene_core.exact.slice_networks.ExactSliceNetwork` has the same calls in integers.

    Attributes
    ----------
    luma_first : the slice is coded in two steps, with ``condition_chroma`` between them.
    width : channels of the slice.
    scale_bias : (w,), the slice's usual scale before softplus.
    """

    luma_first = False
    width: int
    scale_bias: nn.Parameter
    lrp: nn.Sequential

    def reconstruct(self, residual: Tensor, mean: Tensor, features: Tensor | None) -> Tensor:
        """Turn the decoded integer residual, and the mean that it was taken from, into y_hat (B, w, h, w).

        ``features`` None leaves the correction out.
        """
        if features is None:
            return mean + residual
        # latent residual prediction: features and residual (B, hidden + w, h, w) -> (B, w, h, w)
        correction = self.lrp(appended(features, residual)).float()
        correction = correction.contiguous() if torch.is_grad_enabled() else correction
        # y_hat = mu + r + 0.5 tanh(LRP(features, r))
        return mean + residual + LRP_RANGE * torch.tanh(correction)

    @torch.no_grad()
    def set_scale(self, scale: Tensor) -> None:
        """Start from a known standard deviation (w,) of the slice, in quantiser steps."""
        # softplus(bias) = scale, while the head still gives zero
        scale = scale.clamp_min(SCALE_MIN + 0.02)
        self.scale_bias.copy_(scale + torch.log(-torch.expm1(-scale)))  # inverse of softplus, without overflow


class SliceNetwork(SlicePredictor):
    """One network for mean and scale (ours): 1x1, 3x3, 1x1, optionally behind windowed attention."""

    def __init__(
        self, context_channels: int, width: int, hidden: int, attention: bool = False, *, luma_first: bool = False
    ) -> None:
        super().__init__()
        self.luma_first, self.width = luma_first, width
        self.attention = attend(context_channels, hidden) if attention else nn.Sequential()
        self.body = nn.Sequential(
            Pointwise(context_channels, hidden), activation(),
            nn.Conv2d(hidden, hidden, 3, padding=1), activation(),
        )  # fmt: skip
        self.head = Pointwise(hidden, 2 * width)
        self.lrp = nn.Sequential(Pointwise(hidden + width, hidden // 2), activation(), Pointwise(hidden // 2, width))
        self.scale_bias = nn.Parameter(torch.zeros(width))  # set from the data's standard deviation before training
        # untrained it predicts mean 0, the scale of set_scale, and no correction
        start_at_zero(self.head, self.lrp[-1])
        if luma_first:
            lumas = len(range(0, width, COLOURS))
            self.chroma = nn.Sequential(
                Pointwise(hidden + lumas, hidden // 2), activation(), Pointwise(hidden // 2, 2 * (width - lumas))
            )
            start_at_zero(self.chroma[-1])

    def forward(self, context: Tensor, at: Positions = EVERYWHERE) -> SlicePrediction:
        """Predict the slice from its context, at some positions; entropy maths stays in float32 under autocast."""
        # (B, C, h, w) -> (B, hidden, h, w) -> mean and raw scale (B, w, h, w) each
        features = self.body(self.attention(context))[..., *at]
        mean, raw = in_float32(self.head, features).chunk(2, 1)
        return SlicePrediction(mean, raw + self.scale_bias[:, None, None], features)

    def condition_chroma(self, chroma: SlicePrediction, luma: Tensor) -> SlicePrediction:
        """Move mean and raw scale (B, 2n, h, w) by what the luma residual (B, n, h, w) and the features tell."""
        # (B, hidden + n, h, w) -> changes of mean and raw scale, (B, 2n, h, w) each
        known = appended(chroma.features, luma)
        mean, raw = in_float32(self.chroma[2], self.chroma[:2](known)).chunk(2, 1)
        return replace(chroma, mean=chroma.mean + mean, raw=chroma.raw + raw)


class SplitSliceNetwork(SlicePredictor):
    """The predecessor's: one stack for the mean, one for the scale, one for the correction, each of three 3x3 layers.

    The first 2 ``hyper`` channels of the context are the hyper features of the mean and those of the scale.
    """

    def __init__(self, context_channels: int, width: int, hidden: int, attention: bool = False, *, hyper: int) -> None:
        super().__init__()
        self.hyper, self.width = hyper, width
        seen = context_channels - hyper
        self.attend_mean = attend(seen, hidden) if attention else nn.Sequential()
        self.attend_scale = attend(seen, hidden) if attention else nn.Sequential()
        self.mean, self.scale = stack(seen, hidden, width), stack(seen, hidden, width)
        self.lrp = stack(seen + width, hidden, width)
        self.scale_bias = nn.Parameter(torch.zeros(width))
        start_at_zero(self.mean[-1], self.scale[-1], self.lrp[-1])

    def forward(self, context: Tensor) -> SlicePrediction:
        """Predict the slice from its context."""
        # (B, 2 hyper + decoded, h, w): the mean sees its own hyper features and what was decoded, the scale likewise
        for_mean, for_scale, decoded = context.tensor_split([self.hyper, 2 * self.hyper], 1)
        support = self.attend_mean(torch.cat([for_mean, decoded], 1))
        mean = in_float32(self.mean[-1], self.mean[:-1](support))
        # every slice has a usual scale, to which the network adds
        raw = self.scale(self.attend_scale(torch.cat([for_scale, decoded], 1))).float()
        return SlicePrediction(mean, raw + self.scale_bias[:, None, None], support)


def code_slice(
    network: SlicePredictor, context: Tensor, mode: SliceCodingMode, group: str, target: Tensor | None, *at: Positions,
    corrected: bool = True,
) -> Tensor:  # fmt: skip
    """Predict a slice (B, w, h, w) from its context (B, C, h, w), code it, and return it as the decoder knows it.

    Parameters
    ----------
    mode : is called once, or first for luma and then for chroma.
    group, target : as ``mode`` takes them.
    at : the positions, where they are not all; those of ``target`` are these.
    corrected : False leaves latent residual prediction out.
    """
    # mean and scale of every element, from hyper features and earlier slices
    prediction = network(context, *at)
    features = prediction.features if corrected else None
    if not network.luma_first:
        return network.reconstruct(mode(group, prediction, target), prediction.mean, features)
    # (B, 3n, h, w) -> luma (B, n, h, w), then chroma (B, 2n, h, w) with means and scales that know the luma residual
    luma = prediction.part(luma_of)
    luma_residual = mode(group, luma, None if target is None else luma_of(target))
    chroma = network.condition_chroma(prediction.part(chroma_of), luma_residual)
    chroma_residual = mode(group, chroma, None if target is None else chroma_of(target))
    # all 3n channels in their order again, for LRP
    mean = interleaved(luma.mean, chroma.mean)
    return network.reconstruct(interleaved(luma_residual, chroma_residual), mean, features)


def luma_of(x: Tensor) -> Tensor:
    """(B, 3n, h, w) -> the n luma channels; colours alternate from channel to channel."""
    return x[:, ::COLOURS]


def chroma_of(x: Tensor) -> Tensor:
    """(B, 3n, h, w) -> the 2n chroma channels."""
    return x.unflatten(1, (-1, COLOURS))[:, :, 1:].flatten(1, 2)


def interleaved(luma: Tensor, chroma: Tensor) -> Tensor:
    """Undo :func:`luma_of` and :func:`chroma_of`: (B, n, h, w) and (B, 2n, h, w) -> (B, 3n, h, w)."""
    return torch.cat([luma[:, :, None], chroma.unflatten(1, (-1, COLOURS - 1))], 2).flatten(1, 2)


def start_at_zero(*layers: nn.Module) -> None:
    """Let the last layers of an untrained network give zero."""
    for layer in layers:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)


def in_float32(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a layer outside autocast: a mean of 60 steps needs more than the 8 bits of bfloat16's mantissa.

    For training the result lies channel after channel: the entropy maths takes channels apart, which is fast then.
    """
    with torch.autocast(x.device.type, enabled=False):
        made = layer(x.float())
    return made.contiguous() if torch.is_grad_enabled() else made


def attend(channels: int, hidden: int) -> WindowedAttention:
    """Attention at 4/7 of a slice network's width, in whole heads: 128 for the predecessor's 224."""
    return WindowedAttention(channels, max(1, hidden * 4 // 7 // HEAD_WIDTH) * HEAD_WIDTH)


def stack(channels: int, hidden: int, width: int) -> nn.Sequential:
    """Three 3x3 convolutions with GELU: ``hidden``, 4/7 of it, ``width`` (the predecessor's 224, 128, slice)."""
    narrow = hidden * 4 // 7
    return nn.Sequential(
        nn.Conv2d(channels, hidden, 3, padding=1), nn.GELU(),
        nn.Conv2d(hidden, narrow, 3, padding=1), nn.GELU(),
        nn.Conv2d(narrow, width, 3, padding=1),
    )  # fmt: skip
