"""What depends on the quality: lambda, and learned vectors interpolated in log lambda (ours: one model, every rate)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from weconvene_core.errors import WeconveneError
from weconvene_core.lambdas import LAMBDAS, QUALITY_MAX, QUALITY_MIN


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
