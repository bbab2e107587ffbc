"""The study of effects: what each variant is, what hides what, fair pairs, and trainings that go on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from lab.studies import effects, runner
from lab.studies.effects import BOTH_3D, COMPARISONS, MEASURED_AT, PLAIN, STUDY, TRAININGS, VARIANTS, compared, costs
from lab.studies.pooling_control import PooledConv
from weconvene_core.codec.pictures import load_rgb
from weconvene_core.datasets.image_sets import image_set
from weconvene_core.layers import WeConv3d
from weconvene_core.training.config import Stage
from weconvene_core.training.images import ImagePool

NAMES = {variant.name: variant for variant in VARIANTS}


@pytest.fixture(scope="module")
def pool() -> ImagePool:
    """Two photographs to train on, two to measure on."""
    pictures = [np.array(load_rgb(path))[60:188, 60:188] for path in image_set("default").paths]
    return ImagePool(tuple(pictures[:2]), tuple(pictures[2:]))


def synthetic(name: str, factor: float, seed: int = 0, step: int = 1000) -> pd.DataFrame:
    """Points of a training whose rates are ``factor`` times those of any other with factor 1."""
    bpp, psnr, ms_ssim = np.geomspace(0.1, 1.0, 6), np.linspace(28, 38, 6), np.linspace(0.90, 0.99, 6)
    rows = [{"settings": NAMES[name].training(seed).identity, "image": image, "quality": quality + 1.0, "step": step,
             "bpp": factor * bpp[quality] * (1 + image / 10), "psnr_db": psnr[quality] + image,
             "ms_ssim": ms_ssim[quality] - image / 1000, "bpp_hf": factor * bpp[quality] / 2}
            for image in range(3) for quality in range(6)]  # fmt: skip
    return pd.DataFrame(rows)


def test_variants_train_alike_and_differ_in_what_their_names_say() -> None:
    assert len({training.identity for training in TRAININGS}) == len(TRAININGS)
    alike = [replace(training.config, model={}, seed=0) for training in TRAININGS]
    whole, short = [config for config in alike if len(config.stages) == 2], [c for c in alike if len(c.stages) == 1]
    assert all(config == whole[0] for config in whole)
    assert whole[0].total_steps == MEASURED_AT[-1]
    assert all(config == short[0] for config in short)
    assert short[0].goes_on_from(replace(whole[0], stages=whole[0].stages), MEASURED_AT[-2])
    kinds = {name: {type(m) for m in effects.untrained(NAMES[name]).modules()} for name in NAMES}
    assert all((WeConv3d in kinds[name]) == ("3-D layers" in name or "2-D layers" in name) for name in (
        PLAIN, "2-D layers", "3-D layers", "3-D entropy model", BOTH_3D, "plain, at the MACs of 3-D layers"
    ) if not name.startswith("plain, "))  # fmt: skip
    assert PooledConv in kinds["averages for the DWT in the layers"]
    assert WeConv3d not in kinds["averages for the DWT in the layers"] | kinds["plain, at the MACs of 3-D layers"]


def test_every_comparison_has_its_seeds() -> None:
    for _, name, against in COMPARISONS:
        assert len({*NAMES[name].seeds} & {*NAMES[against].seeds}) >= 3
    assert all(len(NAMES[name].seeds) >= 4 for name in (PLAIN, BOTH_3D, "3-D layers", "2-D entropy model"))


def test_plain_at_the_macs_of_the_layer_costs_as_much_within_three_percent() -> None:
    narrow, layer = (costs(name) for name in ("plain, at the MACs of 3-D layers", "3-D layers"))
    total = [sum(cost[f"kmac_px_{side}"] for side in ("encode", "decode")) for cost in (narrow, layer)]
    assert total[0] == pytest.approx(total[1], rel=0.03)


@pytest.mark.parametrize("name", ["HF sees no LF", "HF sees half of LF"])
def test_hidden_lf_changes_nothing_that_the_hf_slices_predict(name: str) -> None:
    model = effects.untrained(NAMES[name])
    layout, hyper = model.config.layout, model.config.hyper_features
    hidden = layout.lf if name.endswith("no LF") else layout.lf[2:]
    end = hyper + sum(layout.lf)
    first_hf = model.charm.slices[len(layout.lf)]
    with torch.no_grad():
        for parameter in first_hf.parameters():  # some start at zero
            parameter.normal_()
        context = torch.randn(1, end, 4, 4)
        other = context.clone()
        other[:, end - sum(hidden) : end] += 1
        seen = context.clone()
        seen[:, :hyper] += 1
        mean = first_hf(context).mean
        assert torch.equal(mean, first_hf(other).mean)
        assert not torch.equal(mean, first_hf(seen).mean)


def test_a_pyramid_of_averages_keeps_sizes_and_reaches_as_far_as_the_layer() -> None:
    torch.manual_seed(0)
    layer = PooledConv(WeConv3d(4, 6, "9/7", 2))
    for size in ((16, 16), (13, 7)):
        assert layer(torch.zeros(1, 4, *size)).shape == (1, 6, *size)
    x = torch.zeros(1, 4, 32, 32, requires_grad=True)
    layer(x)[0, 0, 16, 16].backward()
    reach = x.grad[0].abs().sum(0).nonzero()
    assert (reach.max(0).values - reach.min(0).values + 1).tolist() == [12, 12]  # 3 blocks of 4 by 4


def test_a_training_goes_on_after_a_kill_and_is_measured_at_its_steps(
    tmp_path: Path, pool: ImagePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was cut off between two states gives the points of one that was not."""
    monkeypatch.setattr(runner, "training_images", lambda: pool)
    monkeypatch.setattr(runner, "SAVE_SECONDS", 0.0)
    short = (Stage("a", 4, 1e-3, 1e-3, batch=1, crop=128, warmup=0),)
    whole = NAMES["averages for the DWT in the layers"].training(0)
    experiment = replace(whole, config=replace(whole.config, stages=short), measured_at=(2, 4))
    straight = runner.run(experiment, None, tmp_path / "straight")

    class Killed(Exception):
        pass

    save, saved = runner.write_text, []

    def write(path: Path, text: str) -> None:
        if saved:
            raise Killed
        saved.append(save(path, text))

    monkeypatch.setattr(runner, "write_text", write)
    with pytest.raises(Killed):
        runner.run(experiment, None, tmp_path / "killed")
    monkeypatch.setattr(runner, "write_text", save)
    resumed = runner.run(experiment, None, tmp_path / "killed")
    assert sorted(resumed.step.unique()) == [2, 4]
    pd.testing.assert_frame_equal(straight.drop(columns="ms_step"), resumed.drop(columns="ms_step"))


def test_pairs_have_the_same_seed_and_step() -> None:
    points = pd.concat([synthetic(PLAIN, 1.0), synthetic(PLAIN, 1.1, 1), synthetic("3-D layers", 0.9),
                        synthetic("3-D layers", 0.99, 1), synthetic("3-D layers", 0.5, 0, 2000)])  # fmt: skip
    table = compared(points).set_index(["variant", "reference", "seed", "step"])
    assert len(table) == 2  # at 2,000 steps there is no reference
    for seed in (0, 1):
        row = table.loc[("3-D layers", PLAIN, seed, 1000)]
        assert row.bd_rate_pct == pytest.approx(-10)
        assert row.ms_ssim_bd_rate_pct == pytest.approx(-10)
        assert row.hf_bits_pct == pytest.approx(-10)
        assert row.params_m > 0.3


def test_curves_without_a_common_quality_still_have_a_distance_in_db() -> None:
    far = synthetic(BOTH_3D, 1.0).assign(psnr_db=lambda t: t.psnr_db - 20)
    row = compared(pd.concat([synthetic(PLAIN, 1.0), far])).iloc[0]
    assert np.isnan(row.bd_rate_pct)
    assert row.bd_psnr_db == pytest.approx(-20, abs=0.01)


def test_the_jobs_of_the_study_are_all_its_trainings(own_results: Path) -> None:
    assert len(STUDY.missing()) == len(TRAININGS) - STUDY.known().settings.nunique()


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(-5, -2, "helps"), (-2, -0.5, "undecided"), (-0.6, 0.4, "no effect that matters"), (1.5, 3, "hurts"),
     (np.nan, np.nan, "undecided"), (-0.9, 1.2, "undecided")],
)  # fmt: skip
def test_the_protocols_words(low: float, high: float, said: str) -> None:
    assert effects.verdict(low, high, 1.0) == said
