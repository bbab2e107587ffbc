"""Windowed self-attention in front of a slice network (the predecessor's entropy model; optional in ours).

Two blocks as in Liu et al., Swin Transformer (2021). Windows are shifted by padding instead of rolling, so they never
join opposite borders.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WINDOW = 8
HEAD_WIDTH = 16


class WindowAttention(nn.Module):
    """Attention among the ``WINDOW`` x ``WINDOW`` positions of each window, then an MLP: (B, C, h, w) -> the same.

    C is a multiple of 16; ``offset`` shifts the grid of windows by 0 to ``WINDOW`` - 1 cells.
    """

    def __init__(self, channels: int, offset: int) -> None:
        super().__init__()
        self.heads, self.offset = channels // HEAD_WIDTH, offset
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.qkv, self.out = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        self.mlp = nn.Sequential(nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels))
        self.distance_bias = nn.Parameter(torch.zeros((2 * WINDOW - 1) ** 2, self.heads))
        self.register_buffer("pairs", relative_positions(WINDOW), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Let the positions of a window look at each other."""
        batch, _, height, width = x.shape
        tokens = self._windows(x)  # (B, C, h, w) -> (windows, 64, C)
        inside = self._windows(x.new_ones(batch, 1, height, width))[..., 0] > 0  # (windows, 64): not padding
        tokens = tokens + self._attend(self.norm1(tokens), inside)  # mixes the positions of a window
        tokens = tokens + self.mlp(self.norm2(tokens))  # mixes the channels of a position
        # (windows, 64, C) -> (B, rows, columns, 8, 8, C) -> (B, C, 8 rows, 8 columns), then without the padding
        rows, columns = (-(-(side + self.offset) // WINDOW) for side in (height, width))
        x = tokens.unflatten(1, (WINDOW, WINDOW)).unflatten(0, (batch, rows, columns))
        x = x.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)
        return x[..., self.offset : self.offset + height, self.offset : self.offset + width]

    def _windows(self, x: Tensor) -> Tensor:
        """Cut (B, C, h, w), filled up with zeros, into windows: (B * rows * columns, 64, C)."""
        height, width = (side + self.offset for side in x.shape[-2:])  # the grid starts above and left of the map
        x = F.pad(x, (self.offset, -width % WINDOW, self.offset, -height % WINDOW))
        x = x.unflatten(3, (-1, WINDOW)).unflatten(2, (-1, WINDOW))  # (B, C, rows, 8, columns, 8)
        return x.permute(0, 2, 4, 3, 5, 1).flatten(3, 4).flatten(0, 2)  # (B rows columns, 64, C)

    def _attend(self, tokens: Tensor, inside: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(2, (self.heads, HEAD_WIDTH)).transpose(1, 2)  # (n, 64, C) -> (n, heads, 64, 16)
            for part in self.qkv(tokens).chunk(3, 2)
        )
        bias = self.distance_bias[self.pairs].permute(2, 0, 1).to(q.dtype)  # (64, 64, heads) -> (heads, 64, 64)
        bias = bias + torch.where(inside, 0.0, float("-inf")).to(q.dtype)[:, None, None, :]  # never look at padding
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.out(mixed.transpose(1, 2).flatten(2))  # (n, heads, 64, 16) -> (n, 64, C)


class WindowedAttention(nn.Module):
    """``x + attention(x)`` at an inner width: (B, C, h, w) -> (B, C, h, w), any h, w >= 1."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.enter, self.leave = nn.Conv2d(channels, inner, 1), nn.Conv2d(inner, channels, 1)
        self.blocks = nn.Sequential(WindowAttention(inner, 0), WindowAttention(inner, WINDOW // 2))

    def forward(self, x: Tensor) -> Tensor:
        """Refine ``x`` by its surroundings."""
        return x + self.leave(self.blocks(self.enter(x)))


def relative_positions(window: int) -> Tensor:
    """Return the index of the displacement of every pair of a window's cells: (window^2, window^2)."""
    cells = torch.cartesian_prod(torch.arange(window), torch.arange(window))
    dy, dx = (cells[:, None] - cells[None, :] + window - 1).unbind(-1)  # each 0 .. 2 window - 2
    return dy * (2 * window - 1) + dx  # row of the table of biases
