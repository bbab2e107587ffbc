"""Figures of effects: what is drawn of complete, of single and of missing trainings."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lab.figures import effects
from lab.figures.style import GREY
from lab.studies.tasks import DENOISING, PLAIN


def rows(seeds: int, effect: float = -3.0) -> pd.DataFrame:
    """Effects of two variants over training, with a spread of one point over the seeds."""
    return pd.DataFrame([
        {"question": "layer", "variant": name, "reference": "plain", "seed": seed, "step": step,
         "bd_rate_pct": effect * (step == 10000 or 2) + seed}
        for name in ("2-D layers", "3-D layers") for seed in range(seeds) for step in (1000, 10000)
    ], columns=["question", "variant", "reference", "seed", "step", "bd_rate_pct"])  # fmt: skip


def test_means_and_intervals_over_seeds_are_those_of_each_step() -> None:
    found = effects.over_seeds(rows(3))
    last = found[(found.step == 10000) & (found.variant == "3-D layers")].iloc[0]
    half = 4.302653 / np.sqrt(3)  # Student's t of two degrees of freedom; the seeds differ by one point
    assert (last["mean"], last.low, last.high, last.seeds) == pytest.approx((-2, -2 - half, -2 + half, 3), abs=1e-5)
    assert (effects.last_steps(rows(3)).step == 10000).all()


@pytest.mark.parametrize("seeds", [0, 1, 3])
def test_curves_and_lines_are_drawn_of_whatever_is_there(seeds: int) -> None:
    table = rows(seeds)
    (axes,) = effects.effect_curves_figure(table, "made up", 1.0, {"2-D layers": "2-D", "3-D layers": "3-D"}).axes
    curves = [line for line in axes.lines if len(line.get_xdata()) == 2 and line.get_marker() in "os"]
    assert len(curves) == (2 if seeds else 0)
    (forest,) = effects.effects_figure(table, "made up", 1.0).axes
    dots = [line for line in forest.lines if line.get_marker() == "o"]
    assert len(dots) == (2 if seeds else 0)
    hollow = [dot.get_markerfacecolor() == "white" for dot in dots]
    assert hollow == [seeds == 1] * len(dots)  # one training has no interval


@pytest.mark.parametrize(("effect", "colour"), [(-6.0, effects.HELPS), (6.0, effects.HURTS), (-1.5, GREY)])
def test_a_line_is_coloured_where_its_whole_interval_lies_beyond_what_matters(effect: float, colour: str) -> None:
    table = rows(4, effect).assign(bd_rate_pct=lambda t: effect + 0.5 * (t.seed - 1.5))
    (axes,) = effects.effects_figure(table, "made up", 1.0).axes
    assert {line.get_color() for line in axes.lines if line.get_marker() == "o"} == {colour}


def test_claims_beyond_the_axis_are_arrows_and_untested_ones_keep_their_line() -> None:
    evidence = pd.DataFrame(
        [["a", "much", 20.0, 15.0, 25.0], ["b", "untested", np.nan, np.nan, np.nan], ["c", "less", -9.0, -12.0, -7.0]],
        columns=["claim", "figure", "value", "low", "high"],
    )
    (axes,) = effects.answer_figure(evidence, "made up").axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]
    assert {">", "<"} <= {line.get_marker() for line in axes.lines}
    assert "untested" in [text.get_text() for text in axes.texts]


def test_a_task_is_drawn_against_its_plain_network() -> None:
    columns = ["task", "network", "reference", "difference", "low", "high"]
    table = pd.DataFrame([[DENOISING, "two levels", PLAIN, 0.2, 0.1, 0.3], [DENOISING, PLAIN, "BM3D", -0.1, -0.2, 0.0]],
                         columns=columns)  # fmt: skip
    (axes,) = effects.tasks_figure(table, "made up").axes
    (dot,) = [line for line in axes.lines if line.get_marker() == "o"]
    assert dot.get_color() == effects.HELPS
