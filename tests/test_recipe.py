"""Trials of the training recipe, the second step's grid and the curve over compute: fair budgets, honest sums."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch

from lab.figures import recipe as figures
from lab.rd import curve_difference
from lab.rd.curves import METRIC_TITLES
from lab.rd.metrics import ms_ssim
from lab.rd.our_codec import code
from lab.studies import (
    compute_scaling,
    compute_trend,
    latent_refinement,
    ms_ssim_tuning,
    second_step_weights,
    training_recipe,
    video_intra_codecs,
)
from lab.studies.recipe_trials import BASE, CONFIG, TRIALS, Trial
from weconvene_core.codec.api import load_model
from weconvene_core.datasets.image_sets import image_set, load_rgb
from weconvene_core.errors import WeconveneError
from weconvene_core.lambdas import LAMBDAS
from weconvene_core.model.checkpoint import release
from weconvene_core.model.presets import preset
from weconvene_core.model.weconvene import WeConvene
from weconvene_core.paths import RESULTS
from weconvene_core.training.config import Stage
from weconvene_core.training.images import ImagePool
from weconvene_core.training.run import total_flops
from weconvene_core.training.trainer import Trainer


def photograph(number: int, side: int = 160) -> np.ndarray:
    return np.array(load_rgb(image_set("default").paths[number]))[:side, :side]


@pytest.fixture(scope="module")
def pool() -> ImagePool:
    return ImagePool((photograph(0), photograph(1)), (photograph(2, 96), photograph(3, 96)))


def test_every_trial_differs_from_the_base_and_from_the_others() -> None:
    assert TRIALS[0] is BASE
    assert len({training_recipe.settings(trial) for trial in TRIALS}) == len(TRIALS)
    assert len({(trial.question, trial.variant) for trial in TRIALS}) == len(TRIALS)


@pytest.mark.parametrize("trial", [t for t in TRIALS if t.question in ("schedule", "width and depth", "optimiser")])
def test_all_trials_cost_the_same_arithmetic(trial: Trial) -> None:
    budget = total_flops(BASE.config)
    assert total_flops(training_recipe.within_budget(trial, budget)) == pytest.approx(trial.share * budget, rel=0.01)


def test_a_start_changes_steps_and_scales_and_nothing_else() -> None:
    model, plain = WeConvene(preset("tiny")), None
    plain = {name: t.clone() for name, t in model.state_dict().items()}
    Trial("q", "v", start={"step": 2.0, "scale": 1.5}).begin(model)
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
    with pytest.raises(WeconveneError, match="'kodak' is not at hand"):
        module.main()


def test_without_training_photographs_there_is_no_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WECONVENE_DATA", str(tmp_path))
    with pytest.raises(WeconveneError, match="only four stand-ins are at hand"):
        training_recipe.training_images.__wrapped__()


def test_a_trial_trains_and_is_compared_on_the_same_photographs(pool: ImagePool) -> None:
    short = (Stage("a", 2, 1e-3, 1e-3, batch=1, crop=64, transforms=False), Stage("b", 3, 1e-3, 1e-3, batch=1, crop=64))
    first, second = (
        Trial("base", name, replace(CONFIG, phases=short, seed=seed)) for seed, name in enumerate(("one", "two"))
    )
    budget, tables = total_flops(first.config), []
    for trial in (first, second):
        model, trainer = training_recipe.train(trial, pool, budget)
        assert trainer.step == 5
        tables.append(training_recipe.measure(model, pool))
    assert tables[0][["image", "quality"]].equals(tables[1][["image", "quality"]])
    assert not np.allclose(tables[0].bpp, tables[1].bpp)
    assert len(tables[0]) == 2 * len(training_recipe.QUALITIES)


def test_a_tenth_fewer_bits_is_ten_percent_by_both_metrics() -> None:
    rows = [
        {"image": image, "quality": q, "bpp": 2.0**q + image, "psnr_db": 28 + 2 * q, "ms_ssim": 1 - 0.1 * 0.6**q}
        for image in range(3)
        for q in range(1, 6)
    ]
    reference = pd.DataFrame(rows)
    found = curve_difference.difference(reference.assign(bpp=0.9 * reference.bpp), reference)
    for name in ("bd_rate_pct", "low_pct", "high_pct", "ms_ssim_bd_rate_pct", "ms_ssim_low_pct", "ms_ssim_high_pct"):
        assert found[name] == pytest.approx(-10)
    assert found["bd_psnr_db"] > 0
    apart = curve_difference.difference(reference.assign(psnr_db=reference.psnr_db + 50), reference)
    assert "bd_rate_pct" not in apart
    assert apart["ms_ssim_bd_rate_pct"] == pytest.approx(0, abs=1e-9)


def test_second_steps_start_from_the_same_weights(pool: ImagePool) -> None:
    phase = Stage("step 2", 1, 1e-9, 1e-9, batch=1, crop=64, warmup=0)
    start = Trainer(replace(CONFIG, phases=(phase,)), pool).ema
    moved = second_step_weights.trained(replace(CONFIG, phases=(phase,)), pool, start)
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
    trainer = Trainer(replace(CONFIG, phases=(phase,), output=str(tmp_path)), pool)
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


def test_a_trend_inverts_itself_and_needs_three_points() -> None:
    table = pd.DataFrame({"megapixels": [1000.0, 2000, 4000], "bd_rate_pct": [40.0, 33, 26], "steps": [1, 2, 3]})
    fit = compute_trend.trend(table)
    assert fit[1] == pytest.approx(-7)
    assert compute_trend.megapixels_for(26, fit) == pytest.approx(4000)
    with pytest.raises(WeconveneError, match="three"):
        compute_trend.trend(table[:2])
    axes = figures.compute_figure(table.assign(model="lite")).axes[0]
    named = [text.get_text() for text in axes.get_legend().get_texts()]
    assert named[:2] == [f"through {which}: -7.0 points per doubling" for which in ("all points", "the later half")]
    assert any(text.get_text() == "VVC (K-A), 0 %" for text in axes.texts)


def test_the_later_half_is_that_of_the_training_and_enough_for_a_trend() -> None:
    table = pd.DataFrame({"megapixels": [7.0, 1, 2, 3, 4, 5, 6], "bd_rate_pct": 0.0})
    assert compute_trend.later_half(table).megapixels.tolist() == [4, 5, 6, 7]
    assert compute_trend.later_half(table[:4]).megapixels.tolist() == [2, 3, 7]


def trials() -> pd.DataFrame:
    """A base, its second seed, a gain, what the seed explains, and one without a common quality."""
    return pd.DataFrame(
        {"question": ["base", "q", "base", "q", "q"], "variant": ["base", "a", "another seed", "b", "off"],
         "seed": [0, 0, 1, 0, 0], "bd_rate_pct": [np.nan, -4.0, 1.0, 1.5, np.nan],
         "low_pct": [np.nan, -5.0, 0.5, 0.9, np.nan], "high_pct": [np.nan, -3.0, 1.5, 2.0, np.nan],
         "psnr_q3_db": [32.0, 32.0, 32.0, 32.0, 23.1]}
    )  # fmt: skip


def test_the_recipe_names_every_trial_and_greys_what_a_seed_explains() -> None:
    (axes,) = figures.recipe_figure(trials(), "made up").axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["another seed", "q: a", "q: b", "q: off"]
    said = [text.get_text() for text in axes.texts]
    assert said == ["+1.0", "-4.0", "+1.5", "no common quality, -8.9 dB at quality 3"]
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [line.get_color() == figures.GREY for line in dots] == [True, False, True]
    (band,) = axes.patches
    assert (band.get_x(), band.get_width()) == (-1.0, 2.0)


def test_ablations_have_a_panel_for_every_reference_and_lose_no_row() -> None:
    table = pd.read_csv(RESULTS / "tables" / "ablations.csv")
    panels = figures.ablation_figure(table, "ablations").axes
    compared = table.dropna(subset="reference")
    assert [axes.get_title(loc="left") for axes in panels] == [
        "against 'baseline' (parts, no shortcut)", "against 'all, with shortcut' (parts, with shortcut)"
    ]  # fmt: skip
    dots = [line for axes in panels for line in axes.lines if line.get_marker() == "o"]
    assert len(dots) == compared.bd_rate_pct.notna().sum()
    (lost,) = [text.get_text() for axes in panels for text in axes.texts if "no common" in text.get_text()]
    apart = " / ".join(map("{:+.1f}".format, table[table.question == "shortcut"].bd_psnr_db))
    assert lost == f"no common quality, {apart} dB at equal rate"
    structure = compared[compared.variant == "plain 3x3 layers"].ms_ssim_bd_rate_pct
    assert " / ".join(map("{:+z.1f}".format, structure)) in [text.get_text() for text in panels[1].texts]


def test_what_a_rerun_elsewhere_changed_is_shaded_with_the_seeds() -> None:
    table = pd.read_csv(RESULTS / "tables" / "ablations.csv")
    moved = table.assign(bd_rate_pct=table.bd_rate_pct + np.where(table.variant == "both, 3-D", 20.0, 0.0))
    change = figures.rerun_change(moved, table)
    assert change[table.variant == "both, 3-D"].eq(20).all()
    assert change[(table.variant != "both, 3-D") & table.bd_rate_pct.notna()].eq(0).all()
    ladder, others = figures.ablation_figure(table, "ablations", moved).axes
    assert ladder.patches[0].get_width() == pytest.approx(40)
    assert others.patches[0].get_width() < 4
    assert "on another processor" in figures.ablation_figure(table, "ablations", moved).get_supxlabel()


def test_pairs_of_weights_stand_beside_both_seeds_of_the_control() -> None:
    table = pd.read_csv(RESULTS / "tables" / "step_two.csv")
    (axes,) = figures.step_two_figure(table, "step 2").axes
    control = table[(table.w_lf == 1) & (table.w_hf == 1)].bd_rate_pct.item()
    assert axes.patches[0].get_width() == pytest.approx(2 * abs(control))
    assert axes.get_yticklabels()[0].get_text() == "another seed"
    assert not any("tiny" in label.get_text() for label in axes.get_yticklabels())
    (both,) = figures.step_two_figure(table.assign(ms_ssim_bd_rate_pct=table.bd_rate_pct), "step 2").axes
    assert {"PSNR", "MS-SSIM"} <= {text.get_text() for text in both.texts}


def test_a_sweep_says_whether_it_ever_steps_back() -> None:
    table = pd.DataFrame({"bpp": [0.1, 0.2, 0.3], "psnr_db": [28.0, 29.0, 30.0]})
    assert "rise at all 2 steps" in figures.sweep_figure(table, "x").axes[0].get_title(loc="left")
    worse = table.assign(psnr_db=[28.0, 29.0, 28.5])
    assert "falls at 1 of 2 steps" in figures.sweep_figure(worse, "x").axes[0].get_title(loc="left")


def test_forty_one_qualities_of_the_released_model_never_step_back() -> None:
    model, pictures = load_model("lite"), [photograph(number, 128) for number in (0, 1, 3)]
    coded = [[code(model, picture, quality) for picture in pictures] for quality in np.linspace(0, 7, 41).tolist()]
    for key in ("bpp", "psnr_db"):
        means = np.array([[getattr(c, key) for c in row] for row in coded]).mean(1)
        assert (np.diff(means) > 0).all()
