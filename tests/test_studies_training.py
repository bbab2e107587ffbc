"""Studies of training: fair budgets, resumed tables, the second step's grid and the curve over compute."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch

from lab.complexity.training_flops import total_flops
from lab.paths import read_table, save_table
from lab.rd.curves import METRIC_TITLES
from lab.rd.metrics import ms_ssim
from lab.rd.our_codec import code
from lab.studies import (
    compute_scaling,
    latent_refinement,
    ms_ssim_tuning,
    runner,
    second_step_weights,
    video_intra_codecs,
)
from lab.studies.runner import Experiment, Study
from lab.studies.training_recipe import BASE, CONFIG, TRIALS
from weconvene_core.codec.api import load_model
from weconvene_core.codec.pictures import load_rgb
from weconvene_core.datasets.image_sets import image_set
from weconvene_core.errors import WeconveneError
from weconvene_core.lambdas import LAMBDAS
from weconvene_core.model.checkpoint import release
from weconvene_core.model.presets import preset
from weconvene_core.model.weconvene import WeConvene
from weconvene_core.training.config import Stage
from weconvene_core.training.images import ImagePool
from weconvene_core.training.trainer import Trainer


def photograph(number: int, side: int = 160) -> np.ndarray:
    return np.array(load_rgb(image_set("default").paths[number]))[:side, :side]


@pytest.fixture(scope="module")
def pool() -> ImagePool:
    return ImagePool((photograph(0), photograph(1)), (photograph(2, 96), photograph(3, 96)))


def test_every_trial_differs_from_the_base_and_from_the_others() -> None:
    assert TRIALS[0] is BASE
    assert len({trial.identity for trial in TRIALS}) == len(TRIALS)
    assert len({(trial.question, trial.variant) for trial in TRIALS}) == len(TRIALS)


@pytest.mark.slow
def test_trials_cost_their_share_of_the_arithmetic() -> None:
    budget = total_flops(BASE.config)
    chosen = [t for t in TRIALS if t.share < 1 or t.variant in ("everything from the start", "deeper: 3 blocks")]
    assert len(chosen) == 3
    for trial in chosen:
        assert total_flops(trial.within(budget)) == pytest.approx(trial.share * budget, rel=0.01)


def test_a_start_changes_steps_and_scales_and_nothing_else() -> None:
    model, plain = WeConvene(preset("tiny")), None
    plain = {name: t.clone() for name, t in model.state_dict().items()}
    Experiment("q", "v", CONFIG, start={"step": 2.0, "scale": 1.5}).begin(model)
    state = model.state_dict()
    changed = {name for name, t in plain.items() if not torch.equal(state[name], t)}
    assert changed == {n for n in plain if n.startswith("gain_") or n.endswith("scale_bias")}
    factor = torch.tensor(2.0).log()
    torch.testing.assert_close(state["gain_lf.inverse_gain.rows"], torch.full((len(LAMBDAS), 48), factor))


@pytest.mark.parametrize("module", [compute_scaling, video_intra_codecs, ms_ssim_tuning, latent_refinement])
def test_without_kodak_the_kept_tables_stay(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run on what stands in for the images would take the place of hours."""
    for name in ("WECONVENE_DATA", "WECONVENE_CACHE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["x", *(["kodak"] if module is latent_refinement else [])])
    with pytest.raises(WeconveneError, match="'kodak' is not available"):
        module.main()


def test_without_training_photographs_there_is_no_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WECONVENE_DATA", str(tmp_path))
    with pytest.raises(WeconveneError, match="only the four fallbacks are here"):
        runner.training_images.__wrapped__()


@pytest.mark.slow
def test_a_trial_trains_and_is_compared_on_the_same_photographs(pool: ImagePool) -> None:
    short = (Stage("a", 2, 1e-3, 1e-3, batch=1, crop=64, transforms=False), Stage("b", 3, 1e-3, 1e-3, batch=1, crop=64))
    first, second = (replace(CONFIG, stages=short, seed=seed) for seed in range(2))
    tables = [runner.measure(runner.train(config, pool), pool) for config in (first, second)]
    assert tables[0][["image", "quality"]].equals(tables[1][["image", "quality"]])
    assert not np.allclose(tables[0].bpp, tables[1].bpp)
    assert len(tables[0]) == 2 * len(runner.QUALITIES)


def test_second_steps_start_from_the_same_weights(pool: ImagePool) -> None:
    phase = Stage("step 2", 1, 1e-9, 1e-9, batch=1, crop=64, warmup=0)
    start = Trainer(replace(CONFIG, stages=(phase,)), pool).ema
    moved = second_step_weights.trained(replace(CONFIG, stages=(phase,)), pool, start)
    for name, tensor in start.named_parameters():
        if name.endswith(".quantiles"):  # of z: they follow a rate of their own
            continue
        torch.testing.assert_close(moved.state_dict()[name], tensor, rtol=1e-4, atol=1e-5)


def test_compute_is_summed_over_all_runs_of_a_checkpoint() -> None:
    phases = [{"steps": 10, "batch": 2, "crop": 100}, {"steps": 10, "batch": 1, "crop": 1000}]
    first = {"steps": 20, "seconds": 60, "config": {"phases": phases}, "started_from": None}
    found = compute_scaling.compute_of({**first, "steps": 11, "seconds": 30, "started_from": first})
    assert (found.steps, found.minutes) == (31, 1.5)
    assert found.megapixels == pytest.approx(0.2 + 10 + 0.2 + 1)


def test_released_weights_and_the_state_of_a_run_give_the_same_curve(tmp_path: Path, pool: ImagePool) -> None:
    phase = Stage("only", 2, 1e-3, 1e-3, batch=1, crop=64)
    trainer = Trainer(replace(CONFIG, stages=(phase,), output=str(tmp_path)), pool)
    trainer.run()
    facts = {"steps": 2, "seconds": 1, "config": trainer.config.to_dict(), "started_from": None}
    release(trainer.ema, tmp_path / "model.safetensors", facts)
    shipped, spent = compute_scaling.load(tmp_path / "model.safetensors")
    running, same = compute_scaling.load(trainer.state_path)
    assert spent.megapixels == same.megapixels == pytest.approx(2 * 64**2 / 1e6)
    one, two = (code(model, pool.validation[0], 3.0) for model in (shipped, running))
    assert one.bpp == pytest.approx(two.bpp, rel=0.01)  # shipped kernels are rounded to half precision
    assert one.psnr_db == pytest.approx(two.psnr_db, abs=0.02)


def test_the_curve_over_compute_is_the_mean_of_what_streams_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute_scaling, "QUALITIES", (1.0, 2.0, 4.0, 6.0))
    model, images = load_model("lite"), image_set("default", 2)
    monkeypatch.setattr(compute_scaling, "load_rgb", lambda path: load_rgb(path).crop((0, 0, 192, 176)))
    found = compute_scaling.curves(model, images)
    pictures = [np.asarray(load_rgb(path).crop((0, 0, 192, 176))) for path in images.paths]
    coded = [code(model, picture, 4.0) for picture in pictures]
    assert set(found) == set(METRIC_TITLES)
    assert all(curve.is_monotone() for curve in found.values())
    assert found["psnr_rgb"].value[2] == pytest.approx(np.mean([c.psnr_db for c in coded]))
    alike = np.mean([ms_ssim(picture, c.picture) for picture, c in zip(pictures, coded, strict=True)])
    assert found["ms_ssim_db"].value[2] == pytest.approx(-10 * np.log10(1 - alike))
    for curve in found.values():
        assert curve.bpp[2] == pytest.approx(np.mean([c.bpp for c in coded]))


def test_a_study_goes_on_where_it_was_stopped(
    tmp_path: Path, own_results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[int] = []

    def run(experiment: Experiment, budget: float | None, folder: Path) -> pd.DataFrame:
        trained.append(experiment.config.seed)
        assert budget is None
        row = {"image": 0, "quality": 3.0, "bpp": 0.5, "psnr_db": 30.0, "ms_ssim": 0.9}
        return pd.DataFrame([row]).assign(settings=experiment.identity, steps=5)

    def compared(points: pd.DataFrame) -> pd.DataFrame:
        return points[["settings"]].assign(measured=len(points))

    first, second, other = (Experiment(q, f"{q} {i}", replace(CONFIG, seed=i)) for i, q in enumerate(("a", "a", "b")))
    again = replace(first, variant="the same training under another name")
    columns = ["settings", *runner.MEASURED]
    study = Study("table", "points", (first, again, second, other), compared, columns)
    monkeypatch.setattr(runner, "run", run)
    assert [len(table) for table in study.train_missing(most=1)] == [1]
    assert [len(table) for table in study.train_missing(["a"])] == [2]
    assert read_table("points").columns.tolist() == columns
    monkeypatch.setattr(runner, "JOBS", tmp_path / "jobs")
    assert list(study.missing()) == [other.identity]
    study.train_one(other.identity)  # as a job of its own
    assert trained == [0, 1, 2]
    assert [len(table) for table in study.train_missing()] == [3]
    assert trained == [0, 1, 2]
    assert list(study.train_missing()) == []


def test_new_rows_take_the_place_of_those_of_their_key(own_results: Path) -> None:
    for name, value in (("a", 1.0), ("b", 2.0), ("a", 3.0)):
        save_table(pd.DataFrame({"name": [name], "value": [value]}), "table", replaces="name")
    assert read_table("table").to_dict("list") == {"name": ["b", "a"], "value": [2.0, 3.0]}
