"""What the chapters and studies beyond compression share: the layer in any network, equal costs, one training loop.

A 3DM-WeConv layer stores more numbers than a 3x3 convolution of the same width and multiplies far less often. So a
network with it is made narrower, at equal parameters, or wider, at equal MACs.
"""

from __future__ import annotations

import io
import time
import warnings
from bisect import bisect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn

from weconvene_core.atomic_files import write_bytes_atomically
from weconvene_core.errors import WeconveneError
from weconvene_core.layers import WeConvSpec
from weconvene_core.layers.convert_network import obstacle, replace_convolutions
from weconvene_core.paths import data_folder
from weconvene_core.training.config import Stage
from weconvene_core.training.safeguards import NonFiniteGuard

SMALLEST_WIDTH, WIDEST = 4, 4  # channels, and times the plain width: 1x1 kernels everywhere would save 9 = 3 x 3
QUANTILES, QUANTILES_RATE = ".quantiles", 1e-3  # of CompressAI's factorised prior, trained by a loss of their own
STATE_FILE, SAVE_SECONDS = "state.pt", 120.0
TOLERANCE = 0.15  # by which share the nearest whole width may miss the target
Batch = TypeVar("Batch")


def spread(paths: Sequence[Path], count: int) -> list[Path]:
    """Return ``count`` of the paths, evenly spaced; all of them where there are no more."""
    count = min(count, len(paths))
    return [paths[i * len(paths) // count] for i in range(count)]


def warn_fallback(error: Exception | str, source: str) -> None:
    """Warn that a data set is missing, and where it comes from; the embedded photographs are taken instead."""
    warnings.warn(f"{error} {source[0].upper()}{source[1:]}. The embedded default is used.", stacklevel=3)


def data_path(name: str) -> Path | None:
    """Return a file or folder below the reader's data folder, None where there is none."""
    root = data_folder()
    return root / name if root is not None and (root / name).exists() else None


def with_weconv(network: nn.Module, spec: WeConvSpec) -> nn.Module:
    """Replace, in place, the stride-1 convolutions of 3x3 and more by freshly drawn 3DM-WeConv layers; return it.

    Layers with fewer than four input or output channels stay: the first and the last, which see pictures.

    Raises
    ------
    WeconveneError
        If nothing could be replaced.
    """
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    fitting = {m for m in convolutions if not obstacle(m) and min(m.in_channels, m.out_channels) >= SMALLEST_WIDTH}
    if not fitting:
        raise WeconveneError(f"none of the network's {len(convolutions)} convolutions can become a 3DM-WeConv layer.")
    replace_convolutions(
        network, lambda _, conv: spec.layer(conv.in_channels, conv.out_channels) if conv in fitting else None
    )
    return network


def parameters_of(network: nn.Module) -> int:
    """Return the numbers that a network learns."""
    return sum(p.numel() for p in network.parameters())


def nearest_width(cost: Callable[[int], int], target: int, widest: int) -> int:
    """Return the width whose cost, which grows with it, is nearest to the target."""
    widths = range(SMALLEST_WIDTH, widest + 1)
    above = min(max(1, bisect(widths, target, key=cost)), len(widths) - 1)
    best = min(widths[above - 1 : above + 1], key=lambda width: abs(cost(width) - target))
    if abs(cost(best) - target) > TOLERANCE * target:
        raise WeconveneError(
            f"no width from {SMALLEST_WIDTH} to {widest} costs {target} within {100 * TOLERANCE:.0f} %; "
            f"the nearest, {best}, costs {cost(best)}: change the width of the plain network."
        )
    return best


def fit(
    network: nn.Module,
    draw: Callable[[np.random.Generator], Batch],
    loss: Callable[[nn.Module, Batch], Tensor],
    stage: Stage,
    seed: int,
    state: Path | None = None,
) -> None:
    """Train a network for one stage (Adam, warm-up and half a cosine, clipped gradients) and put it in eval mode.

    Parameters
    ----------
    network : CompressAI's have quantiles besides, which keep a rate of their own and are not clipped.
    draw : makes the batch of a step from a generator that depends on (seed, step) alone.
    loss : of the network and a batch.
    state : file in which the training is kept every two minutes, and from which it goes on; None: it is not kept.

    Raises
    ------
    WeconveneError
        If the loss or its gradient was not finite again and again.
    """
    trained = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    weights = [p for name, p in trained if not name.endswith(QUANTILES)]
    groups = [{"params": weights}, {"params": [p for name, p in trained if name.endswith(QUANTILES)]}]
    optimizer = torch.optim.Adam([group for group in groups if group["params"]], lr=QUANTILES_RATE)
    start = _load(network, optimizer, state) if state and state.is_file() else 0
    guard, saved = NonFiniteGuard(), time.monotonic()
    network.train()
    for step in range(start, stage.steps):
        rng = np.random.default_rng([seed, step])
        torch.manual_seed(int(rng.integers(2**62)))
        optimizer.zero_grad()
        loss(network, draw(rng)).backward()
        if not torch.isfinite(nn.utils.clip_grad_norm_(weights, 1.0)):
            guard.failed(step, stage.name)
            continue
        guard.passed(step)
        optimizer.param_groups[0]["lr"] = stage.rate_at(step) * guard.rate_factor()
        optimizer.step()
        if state and (step + 1 == stage.steps or time.monotonic() - saved > SAVE_SECONDS):
            _save(network, optimizer, state, step + 1)
            saved = time.monotonic()
    network.eval()


def _save(network: nn.Module, optimizer: torch.optim.Optimizer, path: Path, steps: int) -> None:
    file = io.BytesIO()
    torch.save({"network": network.state_dict(), "optimizer": optimizer.state_dict(), "steps": steps}, file)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_atomically(path, file.getvalue())


def _load(network: nn.Module, optimizer: torch.optim.Optimizer, path: Path) -> int:
    """Take up a state of :func:`_save`; return the steps that it has behind it."""
    kept = torch.load(path, weights_only=True)
    network.load_state_dict(kept["network"])
    optimizer.load_state_dict(kept["optimizer"])
    return kept["steps"]


def interval(values: np.ndarray) -> tuple[float, float]:
    """Return Student's 95 % interval of the mean of independent values (n,); nan for fewer than two."""
    if len(values) < 2:
        return float("nan"), float("nan")
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return float(values.mean() - half), float(values.mean() + half)
