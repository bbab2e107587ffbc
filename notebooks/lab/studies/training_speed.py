"""How long the parts of a training step take here, in processor time, which work beside it changes little.

``python -m lab.studies.training_speed`` writes ``results/tables/training_speed.csv``: a step of `lite` as
``data/checkpoints/lite_next.toml`` begins.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import pandas as pd
import torch

from weconvene_core.model.weconvene import WeConvene
from weconvene_core.paths import CHECKPOINTS, RESULTS
from weconvene_core.training.config import TrainConfig, load_config
from weconvene_core.training.distributed import ProcessGroup
from weconvene_core.training.learner import Learner

TABLE = RESULTS / "tables" / "training_speed.csv"
WARM_UP = 3  # steps that fill caches, the optimiser's bases and the memory that is kept


def step_times(config: TrainConfig, repeats: int = 20) -> pd.DataFrame:
    """Time the parts of a step of the first phase, on noise instead of photographs, with PyTorch's present threads.

    Returns
    -------
    A table with ``preset, batch, crop, threads, part, cpu_ms``: medians over ``repeats`` steps.
    """
    phase, threads = config.stages[0], torch.get_num_threads()
    torch.manual_seed(config.seed)
    model = WeConvene(config.architecture).to(memory_format=torch.channels_last)
    learner = Learner(model, config, ProcessGroup())
    learner.enter(phase)
    x = torch.rand(phase.batch, 3, phase.crop, phase.crop).contiguous(memory_format=torch.channels_last)
    model.set_scales_from(x)
    quality = torch.linspace(*config.architecture.qualities, phase.batch)
    times = [_step(learner, x, quality, step, phase.learning_rate) for step in range(WARM_UP + repeats)][WARM_UP:]
    rows = [(part, median(1000 * parts[part] for parts in times)) for part in times[0]]
    rows.append(("step", median(1000 * sum(parts.values()) for parts in times)))
    known = (config.preset, phase.batch, phase.crop, threads)
    columns = ["preset", "batch", "crop", "threads", "part", "cpu_ms"]
    return pd.DataFrame([(*known, *row) for row in rows], columns=columns)


def _step(learner: Learner, x: torch.Tensor, quality: torch.Tensor, step: int, rate: float) -> dict[str, float]:
    """Do one step and return the seconds of its parts."""
    for optimizer in learner.optimizers.values():
        optimizer.zero_grad()
    found: list[torch.Tensor] = []
    return {
        "forward": _seconds(lambda: found.append(learner.objective(x, quality, 1.0, 1.0)[0])),
        "backward": _seconds(lambda: found[0].backward()),
        "optimisers and average": _seconds(lambda: learner.update(step, rate)),
    }


def _seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def main() -> None:
    """Measure with one thread and write the table."""
    torch.set_num_threads(1)
    table = step_times(load_config(CHECKPOINTS / "lite_next.toml"))
    table.to_csv(TABLE, index=False, float_format="%.1f", lineterminator="\n")
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
