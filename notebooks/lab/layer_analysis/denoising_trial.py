"""A small comparison: the same denoiser with plain convolutions and with 3DM-WeConv, same start, same data.

It is a trial of minutes, not a result: one task, one size, one seed, a few hundred steps.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from weconvene_core.codec.pictures import load_rgb
from weconvene_core.layers.blocks import ResidualBlock

SIGMA = 25 / 255  # of the noise, for pictures in 0..1: the usual one of denoising papers
RATE = 1e-3
BACKWARD = 3  # a training step multiplies three times as much as a forward pass: twice more for the two gradients


class Denoiser(nn.Module):
    """Noise predicted by a residual network, subtracted (Zhang et al., DnCNN, 2017): (B, 1, H, W) -> (B, 1, H, W)."""

    def __init__(self, width: int = 24, blocks: int = 3) -> None:
        super().__init__()
        self.head = nn.Conv2d(1, width, 3, padding=1)
        self.blocks = nn.Sequential(*(ResidualBlock(width) for _ in range(blocks)))
        self.tail = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Remove the noise that the network sees in ``x``."""
        return x - self.tail(self.blocks(self.head(x)))


def grey_crops(paths: Sequence[Path], count: int, side: int, seed: int = 0) -> Tensor:
    """Return random grey crops (count, 1, side, side) in 0..1, the same number from each image as far as possible."""
    generator = torch.Generator().manual_seed(seed)
    pictures = [torch.from_numpy(np.asarray(load_rgb(path).convert("L")).copy()) for path in paths]
    crops = []
    for i in range(count):
        picture = pictures[i % len(pictures)]
        top, left = (int(torch.randint(size - side + 1, (1,), generator=generator)) for size in picture.shape)
        crops.append(picture[top : top + side, left : left + side])
    return torch.stack(crops)[:, None].float() / 255


def train_denoisers(
    networks: Mapping[str, nn.Module], crops: Tensor, test: Tensor, steps: int, batch: int = 8, every: int = 20
) -> pd.DataFrame:
    """Train every network on the same batches with the same noise; measure on ``test`` before and every few steps.

    Returns
    -------
    Columns network, step, gmacs (multiplications of the training so far, forward and backward), seconds (training
    alone) and psnr_db (mean over the test crops).
    """
    rows = []
    for name, network in networks.items():
        generator, optimiser = torch.Generator().manual_seed(1), torch.optim.Adam(network.parameters(), RATE)
        macs, seconds = BACKWARD * forward_macs(network, crops[:batch]), 0.0
        for step in range(steps + 1):
            if step % every == 0 or step == steps:
                row = {"network": name, "step": step, "gmacs": step * macs / 1e9, "seconds": seconds}
                rows.append(row | {"psnr_db": _psnr_db(network, test)})
            start = time.perf_counter()
            clean = crops[torch.randint(len(crops), (batch,), generator=generator)]
            loss = (network(_noisy(clean, generator)) - clean).square().mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            seconds += time.perf_counter() - start
    return pd.DataFrame(rows)


def forward_macs(network: nn.Module, x: Tensor) -> int:
    """Return the counted multiplications of one forward pass."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(x)
    return int(counter.get_total_flops()) // 2


def _noisy(clean: Tensor, generator: torch.Generator) -> Tensor:
    return clean + SIGMA * torch.randn(clean.shape, generator=generator)


@torch.no_grad()
def _psnr_db(network: nn.Module, clean: Tensor) -> float:
    cleaned = network(_noisy(clean, torch.Generator().manual_seed(2))).clamp(0, 1)
    return float((-10 * (cleaned - clean).square().mean((1, 2, 3)).log10()).mean())
