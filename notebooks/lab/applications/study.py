"""Train the contenders on the same data with the same seeds, and state the differences with their intervals.

One loop for all tasks, made of the trainer's parts: its schedule (:class:`Stage`), optimiser, clipping and guard, and
its rule that a step draws everything from (seed, step). What it leaves out is what only a codec needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor, nn
from tqdm import tqdm

from lab.applications.pairs import PLAIN, Contender
from weconvene_core.atomic_files import write_text
from weconvene_core.errors import WeconveneError
from weconvene_core.paths import RESULTS
from weconvene_core.training.config import Stage
from weconvene_core.training.divergence_guard import NonFiniteGuard
from weconvene_core.training.soap import OPTIMIZERS

TABLE = RESULTS / "tables" / "applications.csv"
"""All tasks, in every mode that was run; made of one table per task and mode, ``applications_TASK_MODE.csv``."""
COLUMNS = [
    "task", "dataset", "metric", "plain", "weconv", "difference", "ci_low", "ci_high", "seeds", "params_plain",
    "params_weconv", "mac_plain", "mac_weconv", "mode",
]  # fmt: skip
LEVEL = 0.95
CLIP_NORM = 1.0

Batch = TypeVar("Batch")
Train = Callable[[nn.Module, int], None]
Measure = Callable[[nn.Module], Mapping[str, float]]


def fit(
    network: nn.Module,
    draw: Callable[[np.random.Generator], Batch],
    loss: Callable[[nn.Module, Batch], Tensor],
    phase: Stage,
    seed: int,
) -> None:
    """Train a network for one phase (Adam, warm-up and half a cosine, clipped gradients) and put it in eval mode.

    Args:
        network: its parameters that require gradients are trained.
        draw: makes the batch of a step from a generator that depends on (seed, step) alone.
        loss: of the network on a batch.
        phase: steps and rates; its batch and crop are ``draw``'s business.
        seed: which of all trainings this is.

    Raises:
        WeconveneError: the loss or its gradient was not finite again and again.
    """
    weights = [p for p in network.parameters() if p.requires_grad]
    optimizer, guard = OPTIMIZERS["adam"](weights, lr=phase.learning_rate), NonFiniteGuard()
    network.train()
    for step in range(phase.steps):
        rng = np.random.default_rng([seed, step])
        torch.manual_seed(int(rng.integers(2**62)))
        optimizer.zero_grad()
        loss(network, draw(rng)).backward()
        if not torch.isfinite(nn.utils.clip_grad_norm_(weights, CLIP_NORM)):
            guard.failed(step, phase.name)
            continue
        guard.passed(step)
        optimizer.param_groups[0]["lr"] = phase.rate_at(step) * guard.rate_factor()
        optimizer.step()
    network.eval()


def compare(
    contenders: Sequence[Contender], train: Train, measure: Measure, seeds: int
) -> tuple[pd.DataFrame, dict[str, nn.Module]]:
    """Train every contender with the seeds 0, 1, ... and measure each result.

    Returns:
        A table (network, seed, metric, value), and the trained networks of seed 0 by name.

    Raises:
        WeconveneError: fewer than one seed.
    """
    if seeds < 1:
        raise WeconveneError(f"seeds={seeds} trains nothing; use 1 or more, and 2 or more for an interval.")
    rows, kept = [], {}
    runs = [(contender, seed) for seed in range(seeds) for contender in contenders]
    for contender, seed in tqdm(runs, desc="trainings", mininterval=5.0):
        torch.manual_seed(seed)
        network = contender.build()
        train(network, seed)
        with torch.no_grad():
            values = measure(network)
        rows += [[contender.name, seed, metric, value] for metric, value in values.items()]
        kept.setdefault(contender.name, network)
    return pd.DataFrame(rows, columns=["network", "seed", "metric", "value"]), kept


def differences(
    results: pd.DataFrame, contenders: Sequence[Contender], task: str, dataset: str, mode: str
) -> pd.DataFrame:
    """Return one row with ``COLUMNS`` per metric and counterpart; the metric's name says what was made equal.

    ``difference`` is 3DM-WeConv minus plain, paired by seed; its interval is Student's, over the seeds: it speaks of
    training again on the same data, not of other test data. With one seed there is none (empty).
    """
    plain, *others = contenders
    assert plain.name == PLAIN
    table = results.pivot(index=["metric", "seed"], columns="network", values="value")
    rows = []
    for metric in dict.fromkeys(results.metric):
        for other in others:
            pair = table.loc[metric]
            low, high = interval((pair[other.name] - pair[PLAIN]).to_numpy())
            means = pair[[PLAIN, other.name]].mean()
            rows.append([
                task, dataset, f"{metric}, {other.name.rpartition(', ')[2]}", means[PLAIN], means[other.name],
                means[other.name] - means[PLAIN], low, high, len(pair), plain.parameters, other.parameters, plain.macs,
                other.macs, mode,
            ])  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def interval(values: np.ndarray) -> tuple[float, float]:
    """Return Student's 95 % interval of the mean of independent values (n,); nan for fewer than two."""
    if len(values) < 2:
        return float("nan"), float("nan")
    half = stats.t.ppf(0.5 + LEVEL / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def mode_table(name: str, mode: str, folder: Path = TABLE.parent) -> Path:
    """Return where a notebook's table ``name`` of a mode belongs: a quick run must not replace a full one."""
    return folder / f"{name}_{mode}.csv"


def write_rows(rows: pd.DataFrame, table: Path = TABLE) -> Path:
    """Write the rows of one task and mode into a table of their own, and all such tables together into ``table``.

    So a notebook that runs again replaces its own rows of that mode and loses no others.

    Raises:
        WeconveneError: another task's table has other columns.
    """
    (task,), (mode,) = set(rows.task), set(rows["mode"])
    table.parent.mkdir(parents=True, exist_ok=True)
    write_text(mode_table(f"{table.stem}_{task}", mode, table.parent), _csv(rows))
    parts = [pd.read_csv(path) for path in sorted(table.parent.glob(f"{table.stem}_*.csv"))]
    if any(list(part.columns) != COLUMNS for part in parts):
        raise WeconveneError(f"a table {table.stem}_*.csv in {table.parent} has other columns: remove it.")
    write_text(table, _csv(pd.concat(parts)))
    return table


def _csv(rows: pd.DataFrame) -> str:
    return rows[COLUMNS].to_csv(index=False, float_format="%.6g")
