"""One slice of a channel-wise autoregressive model: its parameters, its quantisation, its residual prediction.

Minnen and Singh (2020), as used in 3DWeChARM: the network of a slice sees the hyper features and every slice decoded
before, and gives a mean and a scale per element; after decoding, latent residual prediction (LRP) adds a bounded
correction of the quantisation error.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weconvene_core.entropy.laplace import SCALE_MIN
from weconvene_core.layers import activation

LRP_RANGE = 0.5  # the quantisation error of a rounded value lies in -0.5 .. 0.5


@dataclass(frozen=True)
class SlicePrediction:
    """What is known of a slice before it is decoded: ``mean`` and ``scale`` (B, w, h, w) in quantiser steps."""

    mean: Tensor
    scale: Tensor
    features: Tensor


class SliceNetwork(nn.Module):
    """Context (B, C, h, w) -> mean and scale of a slice of ``width`` channels, and the residual prediction after it."""

    def __init__(self, context_channels: int, width: int, hidden: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(context_channels, hidden, 1), activation(),
            nn.Conv2d(hidden, hidden, 3, padding=1), activation(),
        )  # fmt: skip
        self.head = nn.Conv2d(hidden, 2 * width, 1)
        self.lrp = nn.Sequential(
            nn.Conv2d(hidden + width, hidden // 2, 1), activation(), nn.Conv2d(hidden // 2, width, 1)
        )
        self.scale_bias = nn.Parameter(torch.zeros(width))  # set from the data's standard deviation before training
        for layer in (self.head, self.lrp[-1]):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, context: Tensor) -> SlicePrediction:
        """Predict the slice from its context; entropy maths stays in float32 under autocast."""
        features = self.body(context)
        with torch.autocast(
            context.device.type, enabled=False
        ):  # a mean of 60 steps needs more than 8 bits of mantissa
            mean, raw = self.head(features.float()).chunk(2, 1)
        scale = lower_bound(F.softplus(raw + self.scale_bias[:, None, None]), SCALE_MIN)
        return SlicePrediction(mean, scale, features)

    def reconstruct(self, residual: Tensor, prediction: SlicePrediction) -> Tensor:
        """Turn the decoded integer residual into y_hat: mean + residual + bounded correction."""
        correction = self.lrp(torch.cat([prediction.features, residual.to(prediction.features.dtype)], 1)).float()
        return prediction.mean + residual + LRP_RANGE * torch.tanh(correction)

    @torch.no_grad()
    def set_scale(self, scale: Tensor) -> None:
        """Start from a known standard deviation (w,) of the slice, in quantiser steps."""
        scale = scale.clamp_min(SCALE_MIN + 0.02)
        self.scale_bias.copy_(scale + torch.log(-torch.expm1(-scale)))  # inverse of softplus, without overflow


def lower_bound(x: Tensor, bound: float) -> Tensor:
    """Clamp from below with the gradient of the identity, so that a value under the bound can rise again."""
    return x + (x.clamp_min(bound) - x).detach()


def straight_through_round(x: Tensor) -> Tensor:
    """Round with the gradient of the identity."""
    return x + (x.round() - x).detach()
