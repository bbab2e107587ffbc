"""The rate-distortion loss of the two training steps (paper, training section)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from weconvene_core.lambdas import LAMBDAS
from weconvene_core.layers.rate_table import lambda_of

MIDDLE_LAMBDA = LAMBDAS[3]
LAMBDA_EXPONENT = 0.4  # ours: divides each image's loss by lambda^0.4, so that no rate dominates a mixed batch


@dataclass(frozen=True)
class RateDistortion:
    """Per-image terms, each (B,): rates in bits per pixel, ``mse`` of samples in 0..1, and lambda."""

    r_lf: Tensor
    r_hf: Tensor
    r_z: Tensor
    mse: Tensor
    lam: Tensor

    @property
    def bpp(self) -> Tensor:
        """Total estimated rate (B,)."""
        return self.r_lf + self.r_hf + self.r_z

    def loss(self, w_lf: float = 1.0, w_hf: float = 1.0) -> Tensor:
        """R_z + w_LF R_LF + w_HF R_HF + lambda 255^2 MSE, per image (B,)."""
        return self.r_z + w_lf * self.r_lf + w_hf * self.r_hf + self.lam * 255**2 * self.mse

    def balanced(self, w_lf: float = 1.0, w_hf: float = 1.0, exponent: float = LAMBDA_EXPONENT) -> Tensor:
        """Scalar training loss: the mean over images of different rates, each divided by lambda^exponent."""
        return (self.loss(w_lf, w_hf) * (self.lam / MIDDLE_LAMBDA) ** -exponent).mean()


def rate_distortion(output: dict[str, Any], x: Tensor, quality: Tensor) -> RateDistortion:
    """Gather the terms from a model's output for images ``x`` (B, 3, H, W) at qualities (B,)."""
    pixels = x.shape[2] * x.shape[3]
    rates = {name: -torch.log2(p).flatten(1).sum(1) / pixels for name, p in output["likelihoods"].items()}
    mse = (output["x_hat"] - x).square().flatten(1).mean(1)
    return RateDistortion(rates["y_lf"], rates["y_hf"], rates["z"], mse, lambda_of(quality))
