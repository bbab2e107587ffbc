"""Ablations at equal budget: one switch per row, equal steps, shared trainings, honest comparisons."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lab.paths import save_table
from lab.studies import ablations
from lab.studies.ablations import BASE, LADDER, ROWS, STUDY, TRAININGS, compared
from lab.studies.runner import measure, train
from weconvene_core.codec.pictures import load_rgb
from weconvene_core.datasets.image_sets import image_set
from weconvene_core.model.presets import preset
from weconvene_core.training.images import ImagePool

NAMES = {row.variant: row for row in ROWS}


@pytest.fixture(scope="module")
def pool() -> ImagePool:
    """Two photographs to train on, two to measure on."""
    pictures = [np.array(load_rgb(path))[60:220, 60:220] for path in image_set("default").paths]
    return ImagePool(tuple(pictures[:2]), tuple(pictures[2:]))


def synthetic(name: str, factor: float, seed: int = 0) -> pd.DataFrame:
    """Points of a training whose rates are ``factor`` times those of any other with factor 1."""
    bpp, psnr, ms_ssim = np.geomspace(0.1, 1.0, 6), np.linspace(28, 38, 6), np.linspace(0.90, 0.99, 6)
    rows = [{"settings": NAMES[name].training(seed).identity, "image": image, "quality": quality + 1.0,
             "bpp": factor * bpp[quality] * (1 + image / 10), "psnr_db": psnr[quality] + image,
             "ms_ssim": ms_ssim[quality] - image / 1000}
            for image in range(3) for quality in range(6)]  # fmt: skip
    return pd.DataFrame(rows)


def test_every_row_the_issue_names_is_there_and_trains_alike() -> None:
    every = [training.config for training in {training.identity: training for training in TRAININGS}.values()]
    assert {config.total_steps for config in every} == {600}
    same = ("preset", "optimizer", "quantiser", "qualities", "ema_decay", "lambda_exponent", "scale_min")
    for key in same:
        assert len({getattr(config, key) for config in every}) == 1
    asked = {(name, str(value)) for config in every for name, value in config.model.items()}
    assert {("levels", "1"), ("levels", "3"), ("wavelet", "haar"), ("wavelet", "9/7"), ("high_kernel", "3"),
            ("channel_dwt", "False"), ("shortcut", "False")} <= asked  # fmt: skip
    assert (preset("tiny").wavelet, preset("tiny").levels) == ("5/3", 2)


def test_rows_differ_from_their_reference_in_what_they_say_and_claims_have_two_seeds() -> None:
    for row in ROWS:
        if row.reference:
            assert NAMES[row.reference].seeds >= row.seeds
            assert row.training(0).identity != NAMES[row.reference].training(0).identity
    assert all(row.seeds == 2 for row in ROWS if row.question.startswith("parts"))
    with_steps = NAMES["two steps, LF 0.9 and HF 1.1"].training(0).config
    assert [(p.name, p.w_lf, p.w_hf) for p in with_steps.stages[1:]] == [("step 1", 1, 1), ("step 2", 0.9, 1.1)]


def test_a_training_that_two_rows_need_is_done_once() -> None:
    assert NAMES["both, 3-D"].training(0).identity == NAMES["off"].training(0).identity


@pytest.mark.parametrize("name", [LADDER, "both, 3-D"])
def test_a_row_trains_its_own_architecture(name: str, pool: ImagePool) -> None:
    config = NAMES[name].training(0).config
    short = replace(config, stages=tuple(replace(p, steps=2, batch=1, crop=64, warmup=0) for p in config.stages))
    model = train(short, pool)
    assert model.config == config.architecture
    points = measure(model, pool)
    assert len(points) == 12
    assert (points.bpp > 0).all()
    assert points.ms_ssim.isna().all()  # 160 pixels a side are one too few


def test_points_without_ms_ssim_are_measured_again(own_results: Path) -> None:
    assert STUDY.known().empty
    points = synthetic(LADDER, 1.0)
    save_table(points.drop(columns="ms_ssim"), STUDY.points)
    assert STUDY.known().empty
    save_table(points, STUDY.points)
    assert len(STUDY.known()) == len(points)


@pytest.mark.slow
def test_the_table_compares_with_the_reference_of_the_same_seed() -> None:
    points = pd.concat([synthetic(LADDER, 1.0), synthetic(LADDER, 1.1, 1), synthetic("both, 3-D", 0.9),
                        synthetic("both, 3-D", 0.99, 1)])  # fmt: skip
    table = compared(points).set_index(["variant", "seed"])
    assert table.bd_rate_pct[("both, 3-D", 0)] == pytest.approx(-10)
    assert table.bd_rate_pct[("both, 3-D", 1)] == pytest.approx(-10)
    assert table.bd_rate_pct[(LADDER, 1)] == pytest.approx(10)  # chance alone, against seed 0
    assert np.isnan(table.bd_rate_pct[(LADDER, 0)])
    assert table.ms_ssim_bd_rate_pct[("both, 3-D", 0)] == pytest.approx(-10)
    assert table.ms_ssim_low_pct[("both, 3-D", 0)] <= -9.99 <= table.ms_ssim_high_pct[("both, 3-D", 0)] + 0.1
    assert table.ms_ssim_q3[(LADDER, 0)] == pytest.approx(0.935)
    assert table.reference[(LADDER, 1)] == "baseline, seed 0"
    assert (table.images == 3).all()
    assert table.low_pct[("both, 3-D", 0)] <= -9.99 <= table.high_pct[("both, 3-D", 0)] + 0.1
    assert BASE not in table.index  # not trained yet
    assert (table.params_m > 0.2).all()


def test_curves_without_a_common_quality_still_have_a_distance_in_db() -> None:
    far = synthetic("both, 3-D", 1.0).assign(psnr_db=lambda t: t.psnr_db - 20)
    row = compared(pd.concat([synthetic(BASE, 1.0), far])).set_index("variant").loc["off"]
    assert np.isnan(row.bd_rate_pct)
    assert row.bd_psnr_db == pytest.approx(-20, abs=0.01)


def test_published_gains_are_turned_to_the_baseline() -> None:
    assert ablations.published_gain("both, 2-D") == pytest.approx(100 * (0.918 / 0.996 - 1))
    assert ablations.published_gain("both, 3-D") is None
    assert ablations.published_gain(LADDER) is None
