"""Does the layer help beyond compression: denoising and classification, matched networks trained to convergence.

``python -m lab.studies.tasks [TASK...]`` trains what is missing and writes ``results/tables/tasks.csv``; question 5 of
``data/protocol.md``. Before it, ``--rates`` trains with a tenth of the steps, judges on held-out pictures and writes
``task_rates.csv``: each network takes the learning rate that was best for it there.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor, nn

from lab.applications import classification, denoising
from lab.applications.study import STATE_FILE, interval, nearest_width, parameters_of, with_weconv
from lab.layer_analysis.denoising_trial import Denoiser, forward_macs
from lab.paths import read_table, table_path
from lab.studies import runner
from lab.studies.effects import verdict
from lab.studies.pooling_control import pool_layers
from lab.studies.runner import Study, hashed, training_images
from weconvene_core.datasets.image_sets import image_set
from weconvene_core.errors import WeconveneError
from weconvene_core.image_tensors import middle
from weconvene_core.layers import WeConvSpec
from weconvene_core.training.config import Stage
from weconvene_core.training.images import on_device

DENOISING, CLASSIFICATION = "denoising", "classification"
ONE_LEVEL, TWO_LEVELS = WeConvSpec("9/7", 1), WeConvSpec("9/7", 2)
PLAIN, BM3D = "plain 3x3", "BM3D"
NETWORKS: dict[str, tuple[WeConvSpec, str, bool]] = {
    "two levels, equal MACs": (TWO_LEVELS, "MACs", False),
    "two levels, equal parameters": (TWO_LEVELS, "parameters", False),
    "one level, equal MACs": (ONE_LEVEL, "MACs", False),
    "averages for the DWT, equal MACs": (replace(TWO_LEVELS, channel_dwt=False), "MACs", True),
}
"""The 3DM-WeConv layers, what is equal, and whether averages take the place of the DWT."""
WIDTHS = {DENOISING: 32, CLASSIFICATION: 16}  # channels of the plain network
SCHEDULES: dict[str, dict[str, int]] = {
    DENOISING: {"steps": 6000, "batch": 8, "crop": 64, "warmup": 200},
    CLASSIFICATION: {"steps": 4700, "batch": 64, "crop": 32, "warmup": 1200},  # one cycle of 20 epochs
}
SEEDS = {DENOISING: (0, 1, 2), CLASSIFICATION: (0, 1, 2, 3, 4)}
CANDIDATES, PILOT_SEED, PILOT_SHARE = (1e-3, 3e-3, 1e-2), 100, 10
SIGMA, HELD_OUT = 25, 150  # strength of the noise; pictures per class that judge learning rates
POINTS = ["settings", "task", "network", "seed", "rate", "steps", "item", "value"]
COLUMNS = [
    "task", "network", "reference", "metric", "value", "reference_value", "difference", "low", "high", "seeds", "items",
    "params", "macs", "judged",
]  # fmt: skip
MATTERS = {DENOISING: 0.05, CLASSIFICATION: 0.5}
"""The smallest differences that matter, in the unit of the task's metric."""
GATE = 0.3
"""How far below BM3D the plain network may stay, in dB, if there is to be a verdict."""
METRICS = {DENOISING: "PSNR at sigma 25 (dB)", CLASSIFICATION: "accuracy (%)"}


@dataclass(frozen=True)
class Run:
    """One training of a task, or the pilot of one; BM3D is measured and not trained."""

    question: str
    network: str
    seed: int
    pilot_rate: float | None = None

    @property
    def stage(self) -> Stage:
        """The schedule: the rate rises and falls by half a cosine to a hundredth; a pilot has a tenth of the steps."""
        schedule, rate = SCHEDULES[self.question], self.pilot_rate or best_rate(self.question, self.network)
        if self.pilot_rate:
            schedule = schedule | {name: schedule[name] // PILOT_SHARE for name in ("steps", "warmup")}
        return Stage("whole", learning_rate=rate, final_rate=rate / 100, **schedule)

    @property
    def identity(self) -> str:
        """What tells it apart."""
        stage = None if self.network == BM3D else asdict(self.stage)
        return hashed(self.question, self.network, self.seed, stage, WIDTHS[self.question])

    def points(self, budget: float | None, folder: Path) -> pd.DataFrame:
        """Train it, or go on with it, and measure it on test pictures, a pilot on held-out ones."""
        torch.set_num_threads(1)
        torch.manual_seed(self.seed)
        values = (_denoised if self.question == DENOISING else _classified)(self, folder / STATE_FILE)
        facts = {"task": self.question, "network": self.network, "seed": self.seed, "settings": self.identity}
        if self.network != BM3D:
            facts |= {"rate": self.stage.learning_rate, "steps": self.stage.steps}
        return pd.DataFrame({"item": values.keys(), "value": values.values()}).assign(**facts)


def _denoised(run: Run, state: Path) -> dict[str, float]:
    """PSNR in dB by picture."""
    pool = training_images()
    if run.pilot_rate:
        pictures = {str(i): _grey(middle(image, 256)) for i, image in enumerate(pool.validation)}
    else:
        pictures = denoising.test_pictures(image_set(denoising.TEST_SETS[0]).paths)
    if run.network == BM3D:
        method = denoising.classical_methods()[BM3D]
    else:
        network = network_of(run.question, run.network)
        images = on_device(pool.train, run.stage.crop, torch.device("cpu"))
        denoising.train(network, run.seed, images, run.stage, state)
        method = denoising.network_denoiser(network)
    table = denoising.measure(method, pictures, (SIGMA,))
    return dict(zip(table.picture, table.psnr_db, strict=True))


def _grey(image: np.ndarray) -> denoising.Picture:
    return (image @ np.float32(denoising.LUMA) / 255).astype(np.float32)


def _classified(run: Run, state: Path) -> dict[str, float]:
    """Accuracy in percent."""
    data = classification.pictures(10**6, 10**6)
    if run.pilot_rate:
        data = held_out(data)
    network = network_of(run.question, run.network)
    classification.train(network, run.seed, data, run.stage, state)
    answers = classification.probabilities(network, data.test).argmax(1)
    return {"all": 100 * float((answers == data.test_labels).float().mean())}


def held_out(data: classification.Pictures) -> classification.Pictures:
    """Return the training pictures alone, the last of every class in the place of the test pictures."""
    place = torch.cat([torch.arange(int(n)).flip(0) for n in data.train_labels.bincount()])  # from the end of its class
    kept = place >= HELD_OUT
    train, labels = data.train, data.train_labels
    return replace(data, train=train[kept], train_labels=labels[kept], test=train[~kept], test_labels=labels[~kept])


# --- networks -----------------------------------------------------------------------------------------------------


def network_of(task: str, name: str) -> nn.Module:
    """Return an untrained network of a task."""
    if name == PLAIN:
        return _plain(task)(WIDTHS[task])
    spec, _, averages = NETWORKS[name]
    return _changed(_plain(task)(matched_width(task, name)), spec, averages)


@lru_cache
def matched_width(task: str, name: str) -> int:
    """Return the channels at which a network costs what the plain one does."""
    spec, equal, averages = NETWORKS[name]
    folded, build = replace(spec, channel_dwt=False), _plain(task)  # a finished network folds its channel DWT once

    def cost(network: nn.Module) -> int:
        return forward_macs(network.eval(), sample(task)) if equal == "MACs" else parameters_of(network)

    plain = cost(build(WIDTHS[task]))
    return nearest_width(lambda width: cost(_changed(build(width), folded, averages)), plain, 4 * WIDTHS[task])


def sample(task: str) -> Tensor:
    """Return an input of a task, on which multiplications are counted."""
    return torch.zeros(1, 1, 64, 64) if task == DENOISING else torch.zeros(1, 3, 32, 32)


def _plain(task: str) -> Callable[[int], nn.Module]:
    if task == DENOISING:
        return lambda width: Denoiser(width, 4)
    return lambda width: classification.ResNet(width, 10)


def _changed(network: nn.Module, spec: WeConvSpec, averages: bool) -> nn.Module:
    network = with_weconv(network, spec)
    if averages:
        pool_layers(network)
    return network


# --- tables -------------------------------------------------------------------------------------------------------


def compared(points: pd.DataFrame) -> pd.DataFrame:
    """Return every network's difference from the plain one, paired by seed and picture, with its interval.

    The row of BM3D is what the gate needs: plain less BM3D. ``judged`` says whether all seeds are there and the gate
    is passed.
    """
    rows = []
    for task, table in points.groupby("task", sort=False):
        by_name = table.groupby("network")
        values = {name: part.pivot(index="seed", columns="item", values="value") for name, part in by_name}
        if PLAIN not in values:
            continue
        plain = values[PLAIN]
        pairs = [(name, PLAIN, values[name], plain) for name in NETWORKS if name in values]
        if BM3D in values:  # has no seeds
            pairs.append((PLAIN, BM3D, plain, values[BM3D].iloc[[0] * len(plain)].set_axis(plain.index)))
        for name, against, own, reference in pairs:
            seeds = sorted({*own.index} & {*reference.index})
            change = (own.loc[seeds] - reference.loc[seeds]).to_numpy()
            means = own.loc[seeds].to_numpy().mean(), reference.loc[seeds].to_numpy().mean()
            found = [task, name, against, METRICS[task], *means, change.mean(), *_interval(change)]
            rows.append([*found, *change.shape, *costs(task, name)])
    table = pd.DataFrame(rows, columns=COLUMNS[:-1])
    passed = (table.task != DENOISING) | (table[table.reference == BM3D].difference >= -GATE).any()
    return table.assign(judged=passed & (table.seeds == table.task.map(SEEDS).map(len)))


def conclusions(table: pd.DataFrame, task: str) -> str:
    """Return in Markdown what the study found of a task, by the rules of ``data/protocol.md``."""
    rows = table[table.task == task]
    gate, others = rows[rows.reference == BM3D], rows[rows.reference == PLAIN]
    lines = []
    if task == DENOISING and gate.empty:
        lines = ["BM3D was not measured: no verdict.", ""]
    elif task == DENOISING:
        short = gate.difference.iloc[0]
        word = "passed" if short >= -GATE else "missed, so there is no verdict"
        lines = [f"Plain less BM3D: {short:+.2f} dB. The gate is {word}.", ""]
    for row in others.itertuples():
        found = f"{row.difference:+.2f} ({row.low:+.2f} to {row.high:+.2f}), {row.seeds} of {len(SEEDS[task])} seeds"
        word = verdict(-row.high, -row.low, MATTERS[task]) if row.judged else "undecided"
        lines.append(f"- {row.network}, {row.metric}: {found}: **{word}**")
    return "\n".join(lines)


def _interval(change: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean of differences (seeds, items), for other seeds and other items of the same kind.

    Student's t with one degree of freedom less than there are seeds, on the variance of a mean over two crossed random
    factors: seeds / S + items / I + rest / (S I), from mean squares. Resampling few seeds would be too narrow.
    """
    seeds, items = change.shape
    if items == 1 or seeds < 2:
        return interval(change[:, 0] if items == 1 else change.mean(1))
    by_seed, by_item, mean = change.mean(1, keepdims=True), change.mean(0, keepdims=True), change.mean()
    rest = ((change - by_seed - by_item + mean) ** 2).sum() / ((seeds - 1) * (items - 1))
    of_seeds, of_items = by_seed.var(ddof=1) / seeds, by_item.var(ddof=1) / items
    variance = max(of_seeds, of_seeds + of_items - rest / change.size)
    half = stats.t.ppf(0.975, seeds - 1) * math.sqrt(variance)
    return float(mean - half), float(mean + half)


def costs(task: str, name: str) -> tuple[int, int]:
    """Return parameters, and multiplications of one forward pass of :func:`sample` with the channel DWT folded."""
    network = network_of(task, name)
    if name == PLAIN:
        return parameters_of(network), forward_macs(network.eval(), sample(task))
    spec, _, averages = NETWORKS[name]
    folded = _changed(_plain(task)(matched_width(task, name)), replace(spec, channel_dwt=False), averages)
    return parameters_of(network), forward_macs(folded.eval(), sample(task))


def reached(points: pd.DataFrame) -> pd.DataFrame:
    """Return what each pilot reached, by task, network and rate."""
    keys = ["task", "network", "rate", "steps"]
    return points.groupby(keys, sort=False).value.mean().reset_index()


def best_rate(task: str, network: str) -> float:
    """Return the learning rate of the best pilot of a network.

    Raises
    ------
    WeconveneError
        If not all of its pilots have been run.
    """
    table = (
        read_table("task_rates") if table_path("task_rates").is_file() else pd.DataFrame(columns=["task", "network"])
    )
    own = table[(table.task == task) & (table.network == network)]
    if len(own) < len(CANDIDATES):
        raise WeconveneError(
            f"{task}, {network}: no learning rate was chosen; run python -m lab.studies.tasks --rates."
        )
    return float(own.loc[own.value.idxmax()].rate)


def runs() -> tuple[Run, ...]:
    """Return the trainings of the study: first seeds first, and BM3D once."""
    names = (PLAIN, *NETWORKS)
    trained = [Run(task, name, seed) for seed in range(5) for task in SEEDS if seed in SEEDS[task] for name in names]
    return (*trained, Run(DENOISING, BM3D, 0))


PILOTS = tuple(
    Run(task, name, PILOT_SEED, rate) for task in SCHEDULES for name in (PLAIN, *NETWORKS) for rate in CANDIDATES
)
STUDY = Study("tasks", "task_points", runs(), compared, POINTS)
PILOT = Study("task_rates", "task_rate_points", PILOTS, reached, POINTS)

if __name__ == "__main__":
    pilot = "--rates" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--rates"]
    runner.main(PILOT if pilot else STUDY, "Denoising and classification with and without 3DM-WeConv.")
