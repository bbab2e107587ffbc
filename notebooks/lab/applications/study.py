"""What the four studies beyond compression share: matched networks, one training loop, differences with intervals.

A 3DM-WeConv layer stores more numbers than a 3x3 convolution of the same width and multiplies far less often. So the
same network is trained plain, and twice with 3DM-WeConv: narrower at equal parameters, wider at equal MACs.
"""

from __future__ import annotations

import io
import time
import warnings
from bisect import bisect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor, nn
from tqdm import tqdm

from lab.layer_analysis.denoising_trial import forward_macs
from lab.paths import PUBLISHED
from weconvene_core.atomic_files import write_bytes_atomically
from weconvene_core.errors import WeconveneError
from weconvene_core.layers import WeConvSpec
from weconvene_core.layers.convert_network import obstacle, replace_convolutions
from weconvene_core.paths import data_folder
from weconvene_core.training.config import Stage
from weconvene_core.training.safeguards import NonFiniteGuard

COLUMNS = [
    "task", "dataset", "metric", "plain", "weconv", "difference", "ci_low", "ci_high", "seeds", "params_plain",
    "params_weconv", "mac_plain", "mac_weconv", "mode",
]  # fmt: skip
PLAIN, EQUAL_PARAMETERS, EQUAL_MACS = "plain 3x3", "3DM-WeConv, equal parameters", "3DM-WeConv, equal MACs"
SMALLEST_WIDTH, WIDEST = 4, 4  # channels, and times the plain width: 1x1 kernels everywhere would save 9 = 3 x 3
QUANTILES, QUANTILES_RATE = ".quantiles", 1e-3  # of CompressAI's factorised prior, trained by a loss of their own
STATE_FILE, SAVE_SECONDS = "state.pt", 120.0
TOLERANCE = 0.15  # by which share the nearest whole width may miss the target
MAIN_FIGURES = {
    "denoising": "PSNR at sigma 25 (dB)",
    "classification": "accuracy (%)",
    "segmentation": "mean IoU (%)",
    "video": "bits saved over intra (%)",
}
"""The figure of each study that stands for it; higher is better in all of them."""

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


@dataclass(frozen=True)
class Network:
    """One network of a comparison; ``width`` counts channels, ``macs`` the multiplications of one forward pass."""

    name: str
    build: Callable[[], nn.Module]
    width: int
    parameters: int
    macs: int


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


def matched_networks(
    build: Callable[[int], nn.Module], width: int, sample: Tensor, spec: WeConvSpec
) -> tuple[Network, Network, Network]:
    """Return the plain network of a width and its two counterparts.

    Parameters
    ----------
    build : makes the plain network of a given width, whose cost grows with the width.
    width : channels of the plain network.
    sample : input whose multiplications are counted, (1, C, H, W).
    spec : the 3DM-WeConv layers.

    Raises
    ------
    WeconveneError
        If no width comes close enough to the plain network's cost.
    """
    folded = replace(spec, channel_dwt=False)  # a finished network folds its channel DWT once

    def parameters(channels: int) -> int:
        return parameters_of(with_weconv(build(channels), spec))

    def macs(channels: int) -> int:
        return forward_macs(with_weconv(build(channels), folded), sample)

    def weconv(name: str, channels: int) -> Network:
        return Network(name, lambda: with_weconv(build(channels), spec), channels, parameters(channels), macs(channels))

    plain = Network(PLAIN, lambda: build(width), width, parameters_of(build(width)), forward_macs(build(width), sample))
    narrower = nearest_width(parameters, plain.parameters, WIDEST * width)
    wider = nearest_width(macs, plain.macs, WIDEST * width)
    return plain, weconv(EQUAL_PARAMETERS, narrower), weconv(EQUAL_MACS, wider)


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


def compare(
    networks: Sequence[Network],
    train: Callable[[nn.Module, int], None],
    measure: Callable[[nn.Module], Mapping[str, float]],
    seeds: int,
) -> tuple[pd.DataFrame, dict[str, nn.Module]]:
    """Train every network with the seeds 0, 1, ... and measure each result.

    Returns
    -------
    A table (network, seed, metric, value), and the trained networks of seed 0 by name.

    Raises
    ------
    WeconveneError
        For fewer than one seed.
    """
    if seeds < 1:
        raise WeconveneError(f"seeds={seeds} trains nothing; use 1 or more, and 2 or more for an interval.")
    rows, kept = [], {}
    runs = [(network, seed) for seed in range(seeds) for network in networks]
    for network, seed in tqdm(runs, desc="trainings", mininterval=5.0):
        torch.manual_seed(seed)
        model = network.build()
        train(model, seed)
        with torch.no_grad():
            rows += [[network.name, seed, metric, value] for metric, value in measure(model).items()]
        kept.setdefault(network.name, model)
    return pd.DataFrame(rows, columns=["network", "seed", "metric", "value"]), kept


def differences(results: pd.DataFrame, networks: Sequence[Network], task: str, dataset: str, mode: str) -> pd.DataFrame:
    """Return one row with ``COLUMNS`` per metric and counterpart; the metric's name says what was made equal.

    ``difference`` is 3DM-WeConv minus plain, paired by seed; its interval (Student's, over seeds) speaks of training
    again on the same data, not of other test data.
    """
    plain, *others = networks
    table = results.pivot(index=["metric", "seed"], columns="network", values="value")
    rows = []
    for metric in dict.fromkeys(results.metric):
        for other in others:
            pair = table.loc[metric]
            low, high = interval((pair[other.name] - pair[PLAIN]).to_numpy())
            means = pair[[PLAIN, other.name]].mean()
            rows.append([
                task, dataset, f"{metric}, {_made_equal(other.name)}", means[PLAIN], means[other.name],
                means[other.name] - means[PLAIN], low, high, len(pair), plain.parameters, other.parameters, plain.macs,
                other.macs, mode,
            ])  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def _made_equal(name: str) -> str:
    return name.rpartition(", ")[2]


def interval(values: np.ndarray) -> tuple[float, float]:
    """Return Student's 95 % interval of the mean of independent values (n,); nan for fewer than two."""
    if len(values) < 2:
        return float("nan"), float("nan")
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return float(values.mean() - half), float(values.mean() + half)


def findings(folder: Path = PUBLISHED / "tables") -> str:
    """Return a Markdown table: each study's figure, plain and 3DM-WeConv, as published, at equal parameters and MACs.

    Raises
    ------
    WeconveneError
        If a study has no full run in the table.
    """
    lines = [
        "| study | figure (seeds) | plain | 3DM-WeConv, equal parameters | 3DM-WeConv, equal MACs | found |",
        "|---|---|---|---|---|---|",
    ]
    for task, figure in MAIN_FIGURES.items():
        rows = pd.read_csv(folder / f"applications_{task}.csv").query("mode == 'full'").set_index("metric")
        names = [f"{figure}, {_made_equal(name)}" for name in (EQUAL_PARAMETERS, EQUAL_MACS)]
        if not {*names} <= {*rows.index}:
            raise WeconveneError(f"applications_{task}.csv holds no full run: make publish makes one.")
        pair = [rows.loc[name] for name in names]
        cells = [f"{row.difference:+.2f} ({row.ci_low:+.2f} to {row.ci_high:+.2f})" for row in pair]
        verdicts = ["better" if row.ci_low > 0 else "worse" if row.ci_high < 0 else "no difference beyond the interval"
                    for row in pair]  # fmt: skip
        said = "; ".join(dict.fromkeys(verdicts))  # once where both say the same
        lines.append(f"| {task} | {figure} ({pair[0].seeds}) | {pair[0].plain:.2f} | {' | '.join(cells)} | {said} |")
    return "\n".join(lines)
