"""Model and loss as one module: what DDP wraps and torch.compile compiles."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from weconvene_core.model.weconvene import WeConvene
from weconvene_core.training.losses import LAMBDA_EXPONENT, Metric, RateDistortion, rate_distortion


def autocast(device: torch.device) -> AbstractContextManager[None]:
    """Return bfloat16 autocast where the hardware multiplies bfloat16 natively, else a context that does nothing."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if fast_bfloat16(device) else nullcontext()


def fast_bfloat16(device: torch.device) -> bool:
    """Whether convolutions are worth running in bfloat16 on this device."""
    return device.type == "cuda" or bool(getattr(torch.cpu, "get_capabilities", dict)().get("avx512_bf16"))


class Objective(nn.Module):
    """Images and qualities -> (loss with the auxiliary loss added, its terms per image).

    The auxiliary loss reaches the quantiles of z and nothing else, and the rest of the loss everything but them, so
    one backward pass of the sum gives both gradients.
    """

    def __init__(
        self,
        model: WeConvene,
        lambda_exponent: float = LAMBDA_EXPONENT,
        metric: Metric = "mse",
        largest_loss: float = math.inf,
    ) -> None:
        super().__init__()
        self.model, self.lambda_exponent, self.metric = model, lambda_exponent, metric
        self.largest_loss = largest_loss

    def forward(self, x: Tensor, quality: Tensor, w_lf: float, w_hf: float) -> tuple[Tensor, RateDistortion]:
        """Code a batch ``x`` (B, 3, H, W) in 0..1 at qualities (B,) with the two rates weighted."""
        with autocast(x.device):
            output = self.model(x, quality)
        terms = rate_distortion(output, x, quality, self.metric)
        return terms.balanced(w_lf, w_hf, self.lambda_exponent, self.largest_loss) + self.model.aux_loss(), terms
