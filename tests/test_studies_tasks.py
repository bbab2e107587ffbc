"""Denoising and classification trained to the end: matched networks, rates from pilots, gate and verdicts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from lab.applications.classification import Pictures
from lab.paths import save_table
from lab.studies import tasks
from lab.studies.pooling_control import PooledConv
from lab.studies.tasks import BM3D, CANDIDATES, CLASSIFICATION, DENOISING, NETWORKS, PILOTS, PLAIN, compared
from weconvene_core.errors import WeconveneError
from weconvene_core.layers import WeConv3d

SEEDS = tasks.SEEDS[DENOISING]


@pytest.fixture
def pilots(own_results: Path) -> None:
    """A table in which every network likes the middle rate, and the plain denoiser the smallest."""
    rows = []
    for run in PILOTS:
        best = CANDIDATES[0 if (run.question, run.network) == (DENOISING, PLAIN) else 1]
        rows.append([run.question, run.network, run.pilot_rate, 600, 30.0 + (run.pilot_rate == best)])
    save_table(pd.DataFrame(rows, columns=["task", "network", "rate", "steps", "value"]), "task_rates")


@pytest.mark.parametrize("task", [DENOISING, CLASSIFICATION])
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_cost_what_the_plain_one_does(task: str, name: str) -> None:
    _, equal, averages = NETWORKS[name]
    plain, own = tasks.costs(task, PLAIN), tasks.costs(task, name)
    which = 0 if equal == "parameters" else 1
    assert own[which] == pytest.approx(plain[which], rel=0.15)
    kinds = {type(module) for module in tasks.network_of(task, name).modules()}
    assert (PooledConv in kinds, WeConv3d in kinds) == (averages, not averages)


@pytest.mark.usefixtures("pilots")
def test_each_network_takes_the_rate_of_its_best_pilot() -> None:
    assert tasks.best_rate(DENOISING, PLAIN) == CANDIDATES[0]
    assert tasks.best_rate(CLASSIFICATION, PLAIN) == CANDIDATES[1]
    stage = tasks.Run(DENOISING, PLAIN, 0).stage
    assert (stage.learning_rate, stage.final_rate) == (CANDIDATES[0], CANDIDATES[0] / 100)
    assert tasks.Run(DENOISING, PLAIN, 100, 1e-2).stage.steps * tasks.PILOT_SHARE == stage.steps
    assert len({run.identity for run in tasks.runs()}) == len(tasks.runs())


def test_without_pilots_nothing_is_trained(own_results: Path) -> None:
    with pytest.raises(WeconveneError, match="--rates"):
        tasks.STUDY.missing()


def test_held_out_pictures_are_the_last_of_each_class_and_not_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "HELD_OUT", 2)
    labels = torch.tensor([0] * 5 + [1] * 4)
    pictures = torch.arange(9)[:, None, None, None].expand(9, 3, 1, 1).to(torch.uint8)
    data = tasks.held_out(Pictures(pictures, labels, pictures[:1] + 100, labels[:1], ("a", "b"), "made up"))
    assert data.test[:, 0, 0, 0].tolist() == [3, 4, 7, 8]
    assert data.train[:, 0, 0, 0].tolist() == [0, 1, 2, 5, 6]
    assert data.test_labels.tolist() == [0, 0, 1, 1]


def denoised(network: str, level: float, seeds: tuple[int, ...] = SEEDS) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    facts = {"task": DENOISING, "network": network}
    rows = [facts | {"seed": seed, "item": f"{i}", "value": level + i + 0.01 * rng.normal()}
            for seed in seeds for i in range(8)]  # fmt: skip
    return pd.DataFrame(rows)


NAME = "two levels, equal MACs"


@pytest.mark.parametrize(
    ("level", "reference", "said"),
    [(30.2, 30.1, "**helps**"), (29.8, 30.1, "**hurts**"), (30.01, 30.1, "**no effect that matters**"),
     (30.2, 30.5, "gate is missed")],
)  # fmt: skip
def test_a_verdict_needs_the_gate_and_all_seeds(level: float, reference: float, said: str) -> None:
    points = [denoised(PLAIN, 30.0), denoised(NAME, level), denoised(BM3D, reference, (0,))]
    text = tasks.conclusions(compared(pd.concat(points)), DENOISING)
    assert said in text
    assert ("**undecided**" in text) == ("missed" in said)
    points[1] = points[1][points[1].seed != SEEDS[-1]]
    fewer = tasks.conclusions(compared(pd.concat(points)), DENOISING)
    assert "2 of 3 seeds" in fewer
    assert "helps" not in fewer
    assert "hurts" not in fewer
    assert "not measured: no verdict" in tasks.conclusions(compared(pd.concat(points[:2])), DENOISING)


def test_the_interval_covers_when_seeds_and_pictures_are_random() -> None:
    """Of many studies with a true difference of zero some 95 % have zero in their interval; 3 seeds are enough."""
    rng, inside = np.random.default_rng(0), 0
    for _ in range(400):
        change = rng.normal(size=(3, 1)) + 0.7 * rng.normal(size=(1, 20)) + 0.5 * rng.normal(size=(3, 20))
        low, high = tasks._interval(change)
        inside += low < 0 < high
    assert 0.92 < inside / 400 < 0.99
