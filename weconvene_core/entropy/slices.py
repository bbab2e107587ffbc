"""One slice of a channel-wise autoregressive model: its parameters, its quantisation, its residual prediction.

Minnen and Singh (2020), as used in 3DWeChARM: the network of a slice sees the hyper features and every slice decoded
before, and gives a mean and a scale per element; after decoding, latent residual prediction (LRP) adds a bounded
correction of the quantisation error. Two networks do this: a small joint one (ours), and the predecessor's pair.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, Protocol, Self, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weconvene_core.entropy.distributions import SCALE_MIN, scale_indexes
from weconvene_core.entropy.luma_before_chroma import Channels, chroma_of, luma_of
from weconvene_core.layers import Pointwise, activation, appended
from weconvene_core.layers.window_attention import HEAD_WIDTH, WindowedAttention

SliceNetworkKind = Literal["joint", "split"]
Positions = tuple[slice, slice]
"""The rows and columns of a band that are to be predicted."""
EVERYWHERE: Positions = (slice(None), slice(None))
LRP_RANGE = 0.5  # the quantisation error of a rounded value lies in -0.5 .. 0.5


class Prediction(Protocol):
    """What is known of a slice before it is decoded: ``mean`` and ``scale`` (B, w, h, w) in quantiser steps."""

    @property
    def mean(self) -> Tensor:
        """What is expected."""

    @property
    def scale(self) -> Tensor:
        """The standard deviation around it."""

    @property
    def indexes(self) -> Tensor:
        """The coding table of every scale, int64."""


class DivisiblePrediction(Prediction, Protocol):
    """A prediction with the features that its network made it from, and of which channels can be taken."""

    @property
    def features(self) -> Any:
        """What the network's later parts start from; only the network itself knows their type."""

    def part(self, channels: Channels) -> Self:
        """The prediction of some channels, with all features."""


P = TypeVar("P", bound=DivisiblePrediction)


class SliceCoder(Protocol[P]):
    """What predicts, refines and reconstructs a slice (B, w, h, w), in floating point or in integers.

    ``luma_first``: the slice is coded in two steps, with ``refine`` between them (see :mod:`.colours`).
    """

    luma_first: bool

    def __call__(self, context: Tensor, *at: Positions) -> P:
        """Predict the slice from its context (B, C, h, w), at some positions or all."""
        ...

    def refine(self, chroma: P, luma: Tensor) -> P:
        """Move the prediction of the chroma channels by the decoded residual of the luma channels (B, n, h, w)."""
        ...

    def reconstruct(self, residual: Tensor, mean: Tensor, features: Any) -> Tensor:
        """Turn the decoded integer residual, and the mean that it was taken from, into y_hat (B, w, h, w).

        ``features`` None leaves the correction out.
        """
        ...


@dataclass(frozen=True)
class SlicePrediction:
    """A :class:`Prediction` in floating point, and the features that its correction starts from.

    ``raw`` becomes the scale by softplus, in float32.
    """

    mean: Tensor
    raw: Tensor
    features: Tensor

    @cached_property
    def scale(self) -> Tensor:
        """The standard deviation around the mean."""
        return lower_bound(F.softplus(self.raw), SCALE_MIN)

    @cached_property
    def indexes(self) -> Tensor:
        """The coding table of every scale."""
        return scale_indexes(self.scale)

    def part(self, channels: Channels) -> SlicePrediction:
        """The prediction of some channels, with all features."""
        return SlicePrediction(channels(self.mean), channels(self.raw), self.features)


class SlicePredictor(nn.Module):
    """What all slice networks share: context (B, C, h, w) in, :class:`SlicePrediction` out, and ``lrp`` after it.

    ``luma_first``: the slice is coded in two steps, with ``refine`` between them (see :mod:`.colours`).
    """

    luma_first = False
    scale_bias: nn.Parameter
    lrp: nn.Sequential

    @property
    def width(self) -> int:
        """Channels of the slice."""
        return len(self.scale_bias)

    def prediction(self, mean: Tensor, raw_scale: Tensor, features: Tensor) -> SlicePrediction:
        """Add the slice's usual scale to a network's raw one."""
        return SlicePrediction(mean, raw_scale + self.scale_bias[:, None, None], features)

    def refine(self, chroma: SlicePrediction, luma: Tensor) -> SlicePrediction:
        """Move the prediction of the chroma channels by the decoded residual of the luma channels."""
        raise NotImplementedError("only a SliceNetwork with luma_first knows chroma from luma")

    def reconstruct(self, residual: Tensor, mean: Tensor, features: Tensor | None) -> Tensor:
        """Turn the decoded integer residual into y_hat: mean + residual + bounded correction."""
        if features is None:
            return mean + residual
        correction = in_planes(self.lrp(appended(features, residual)).float())
        return mean + residual + LRP_RANGE * torch.tanh(correction)

    @torch.no_grad()
    def set_scale(self, scale: Tensor) -> None:
        """Start from a known standard deviation (w,) of the slice, in quantiser steps."""
        scale = scale.clamp_min(SCALE_MIN + 0.02)
        self.scale_bias.copy_(scale + torch.log(-torch.expm1(-scale)))  # inverse of softplus, without overflow

    def _start_at_zero(self, *layers: nn.Module) -> None:
        """Let an untrained network predict mean 0, the scale of ``set_scale``, and no correction."""
        for layer in layers:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)


class SliceNetwork(SlicePredictor):
    """One network for mean and scale (ours): 1x1, 3x3, 1x1, optionally behind windowed attention."""

    def __init__(
        self, context_channels: int, width: int, hidden: int, attention: bool = False, *, luma_first: bool = False
    ) -> None:
        super().__init__()
        self.luma_first = luma_first
        self.attention = attend(context_channels, hidden) if attention else nn.Sequential()
        self.body = nn.Sequential(
            Pointwise(context_channels, hidden), activation(),
            nn.Conv2d(hidden, hidden, 3, padding=1), activation(),
        )  # fmt: skip
        self.head = Pointwise(hidden, 2 * width)
        self.lrp = nn.Sequential(Pointwise(hidden + width, hidden // 2), activation(), Pointwise(hidden // 2, width))
        self.scale_bias = nn.Parameter(torch.zeros(width))  # set from the data's standard deviation before training
        self._start_at_zero(self.head, self.lrp[-1])
        if luma_first:
            lumas, chromas = (channels(torch.empty(1, width, 1, 1)).shape[1] for channels in (luma_of, chroma_of))
            self.chroma = nn.Sequential(
                Pointwise(hidden + lumas, hidden // 2), activation(), Pointwise(hidden // 2, 2 * chromas)
            )
            self._start_at_zero(self.chroma[-1])

    def forward(self, context: Tensor, at: Positions = EVERYWHERE) -> SlicePrediction:
        """Predict the slice from its context, at some positions; entropy maths stays in float32 under autocast."""
        features = self.body(self.attention(context))[..., *at]
        mean, raw = in_planes(in_float32(self.head, features)).chunk(2, 1)
        return self.prediction(mean, raw, features)

    def refine(self, chroma: SlicePrediction, luma: Tensor) -> SlicePrediction:
        """Move mean and raw scale (B, 2n, h, w) by what the luma residual (B, n, h, w) and the features tell."""
        known = appended(chroma.features, luma)
        mean, raw = in_planes(in_float32(self.chroma[2], self.chroma[:2](known))).chunk(2, 1)
        return replace(chroma, mean=chroma.mean + mean, raw=chroma.raw + raw)


class SplitSliceNetwork(SlicePredictor):
    """The predecessor's: one stack for the mean, one for the scale, one for the correction, each of three 3x3 layers.

    The first 2 ``hyper`` channels of the context are the hyper features of the mean and those of the scale.
    """

    def __init__(self, context_channels: int, width: int, hidden: int, attention: bool = False, *, hyper: int) -> None:
        super().__init__()
        self.hyper = hyper
        seen = context_channels - hyper
        self.attend_mean = attend(seen, hidden) if attention else nn.Sequential()
        self.attend_scale = attend(seen, hidden) if attention else nn.Sequential()
        self.mean, self.scale = stack(seen, hidden, width), stack(seen, hidden, width)
        self.lrp = stack(seen + width, hidden, width)
        self.scale_bias = nn.Parameter(torch.zeros(width))
        self._start_at_zero(self.mean[-1], self.scale[-1], self.lrp[-1])

    def forward(self, context: Tensor) -> SlicePrediction:
        """Predict the slice from its context."""
        for_mean, for_scale, decoded = context.tensor_split([self.hyper, 2 * self.hyper], 1)
        support = self.attend_mean(torch.cat([for_mean, decoded], 1))
        mean = in_float32(self.mean[-1], self.mean[:-1](support))
        raw = self.scale(self.attend_scale(torch.cat([for_scale, decoded], 1)))
        return self.prediction(mean, raw.float(), support)


def in_float32(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a layer outside autocast: a mean of 60 steps needs more than the 8 bits of bfloat16's mantissa."""
    with torch.autocast(x.device.type, enabled=False):
        return layer(x.float())


def in_planes(x: Tensor) -> Tensor:
    """Lay maps out channel after channel for training: the entropy maths takes channels apart, which is fast then."""
    return x.contiguous() if torch.is_grad_enabled() else x


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


def lower_bound(x: Tensor, bound: float) -> Tensor:
    """Clamp from below with the gradient of the identity, so that a value under the bound can rise again."""
    return x + (x.clamp_min(bound) - x).detach()


def straight_through_round(x: Tensor) -> Tensor:
    """Round with the gradient of the identity."""
    return x + (x.round() - x).detach()
