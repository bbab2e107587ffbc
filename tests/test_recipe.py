"""Trials of the training recipe, the second step's grid and the curve over compute: fair budgets, honest sums."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lab.figures import recipe as figures
from lab.paths import PUBLISHED
from lab.rd import curve_difference
from lab.rd.our_codec import code
from lab.studies import (
    compute_scaling,
)
from weconvene_core.codec.api import load_model
from weconvene_core.codec.pictures import load_rgb
from weconvene_core.datasets.image_sets import image_set
from weconvene_core.errors import WeconveneError


def photograph(number: int, side: int = 160) -> np.ndarray:
    return np.array(load_rgb(image_set("default").paths[number]))[:side, :side]


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


def test_a_trend_needs_three_points_and_is_not_drawn_beyond_them() -> None:
    table = pd.DataFrame({"megapixels": [1000.0, 2000, 4000], "bd_rate_pct": [40.0, 33, 26], "steps": [1, 2, 3]})
    assert compute_scaling.trend(table)[1] == pytest.approx(-7)
    with pytest.raises(WeconveneError, match="three"):
        compute_scaling.trend(table[:2])
    axes = figures.compute_figure(table, "less and less").axes[0]
    named = [text.get_text() for text in axes.get_legend().get_texts()]
    assert named[:2] == [f"through {which}: -7.0 points per doubling" for which in ("all points", "the later half")]
    for line in axes.lines:
        assert set(line.get_xdata()) <= {1000.0, 2000.0, 4000.0}
        assert min(line.get_ydata()) >= 26 - 1e-9
    assert not any("claim" in text.get_text() for text in axes.texts)


def test_the_later_half_is_that_of_the_training_and_enough_for_a_trend() -> None:
    table = pd.DataFrame({"megapixels": [7.0, 1, 2, 3, 4, 5, 6], "bd_rate_pct": 0.0})
    assert compute_scaling.later_half(table).megapixels.tolist() == [4, 5, 6, 7]
    assert compute_scaling.later_half(table[:4]).megapixels.tolist() == [2, 3, 7]


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


def test_pairs_of_weights_stand_beside_both_seeds_of_the_control() -> None:
    table = pd.read_csv(PUBLISHED / "tables" / "step_two.csv")
    (axes,) = figures.step_two_figure(table, "step 2").axes
    control = table[(table.w_lf == 1) & (table.w_hf == 1)].bd_rate_pct.item()
    assert axes.patches[0].get_width() == pytest.approx(2 * abs(control))
    assert axes.get_yticklabels()[0].get_text() == "another seed"
    assert not any("tiny" in label.get_text() for label in axes.get_yticklabels())
    (both,) = figures.step_two_figure(table.assign(ms_ssim_bd_rate_pct=table.bd_rate_pct), "step 2").axes
    assert {"PSNR", "MS-SSIM"} <= {text.get_text() for text in both.texts}


@pytest.mark.slow
def test_forty_one_qualities_of_the_released_model_never_step_back() -> None:
    model, pictures = load_model("lite"), [photograph(number, 128) for number in (0, 1, 3)]
    coded = [[code(model, picture, quality) for picture in pictures] for quality in np.linspace(0, 7, 41).tolist()]
    for key in ("bpp", "psnr_db"):
        means = np.array([[getattr(c, key) for c in row] for row in coded]).mean(1)
        assert (np.diff(means) > 0).all()
