"""The rate-distortion loss of the two training steps (paper, training section), for squared error or MS-SSIM."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pytorch_msssim import ms_ssim
from torch import Tensor, nn

from weconvene_core.lambdas import LAMBDAS
from weconvene_core.layers.blocks import lambda_of
from weconvene_core.model.weconvene import WeConvene

MIDDLE_LAMBDA = LAMBDAS[3]
Metric = Literal["mse", "ms_ssim"]
MS_SSIM_WEIGHT = 1280.0  # per lambda, as between CompressAI's two lists: the rates stay near those of squared error
MS_SSIM_SIDE = 192  # five scales with windows of 11 need more than 160 samples
LAMBDA_EXPONENT = 0.4  # ours: divides each image's loss by lambda^0.4, so that no rate dominates a mixed batch


@dataclass(frozen=True)
class RateDistortion:
    """The terms of the loss, one value per image (B,).

    Attributes
    ----------
    r_lf, r_hf, r_z : rates in bits per pixel.
    mse : mean squared error of samples in 0..1.
    lam : lambda.
    distortion : the weighted distortion in the loss, for squared error lambda 255^2 MSE.
    """

    r_lf: Tensor
    r_hf: Tensor
    r_z: Tensor
    mse: Tensor
    lam: Tensor
    distortion: Tensor

    @property
    def bpp(self) -> Tensor:
        """Total estimated rate (B,)."""
        return self.r_lf + self.r_hf + self.r_z

    def loss(self, w_lf: float = 1.0, w_hf: float = 1.0) -> Tensor:
        """R_z + w_LF R_LF + w_HF R_HF + weighted distortion, per image (B,)."""
        return self.r_z + w_lf * self.r_lf + w_hf * self.r_hf + self.distortion

    def balanced(
        self, w_lf: float = 1.0, w_hf: float = 1.0, exponent: float = LAMBDA_EXPONENT, largest: float | None = None
    ) -> Tensor:
        """Scalar training loss: the mean over images of different rates, each divided by lambda^exponent.

        An image whose loss is above ``largest`` counts as if its loss were ``largest``: its gradient is scaled down. A
        one-pixel checkerboard costs a hundred photographs, and would decide every step in which it occurs.
        """
        losses = self.loss(w_lf, w_hf) * (self.lam / MIDDLE_LAMBDA) ** -exponent
        return (losses * ((largest or math.inf) / losses.detach()).clamp(max=1.0)).mean()


def rate_distortion(output: dict[str, Any], x: Tensor, quality: Tensor, metric: Metric = "mse") -> RateDistortion:
    """Gather the terms from a model's output for images ``x`` (B, 3, H, W) at qualities (B,).

    For ``metric`` "ms_ssim" the distortion is lambda 1280 (1 - MS-SSIM); H and W must be over 160 then.
    """
    pixels = x.shape[2] * x.shape[3]
    rates = {name: -torch.log2(p).flatten(1).sum(1) / pixels for name, p in output["likelihoods"].items()}
    mse, lam = (output["x_hat"] - x).square().flatten(1).mean(1), lambda_of(quality)
    distortion = lam * 255**2 * mse
    if metric == "ms_ssim":
        similarity = ms_ssim(output["x_hat"].float(), x, data_range=1.0, size_average=False)
        distortion = MS_SSIM_WEIGHT * lam * (1 - similarity)
    return RateDistortion(rates["y_lf"], rates["y_hf"], rates["z"], mse, lam, distortion)


def autocast(device: torch.device) -> AbstractContextManager[None]:
    """Return bfloat16 autocast where the hardware multiplies bfloat16 natively, else a context that does nothing."""
    fast = device.type == "cuda" or bool(getattr(torch.cpu, "get_capabilities", dict)().get("avx512_bf16"))
    return torch.autocast(device.type, dtype=torch.bfloat16) if fast else nullcontext()


class Objective(nn.Module):
    """Model and loss as one module, which distributed training wraps; the last three arguments as in ``TrainConfig``.

    Images and qualities -> (loss with the auxiliary loss added, its terms per image). The auxiliary loss reaches only
    the quantiles of z, and the rest of the loss everything else, so one backward pass of the sum gives both gradients.
    """

    def __init__(
        self,
        model: WeConvene,
        exponent: float = LAMBDA_EXPONENT,
        metric: Metric = "mse",
        largest: float | None = None,
    ) -> None:
        super().__init__()
        self.model, self.exponent, self.metric, self.largest = model, exponent, metric, largest

    def forward(self, x: Tensor, quality: Tensor, w_lf: float, w_hf: float) -> tuple[Tensor, RateDistortion]:
        """Code a batch ``x`` (B, 3, H, W) in 0..1 at qualities (B,) with the two rates weighted."""
        with autocast(x.device):
            output = self.model(x, quality)
        terms = rate_distortion(output, x, quality, self.metric)
        return terms.balanced(w_lf, w_hf, self.exponent, self.largest) + self.model.aux_loss(), terms
