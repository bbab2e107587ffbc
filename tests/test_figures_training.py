"""The figures of training."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from lab.figures import training
from weconvene_core.errors import WeconveneError
from weconvene_core.training.config import Stage


def test_branches_of_a_training_lie_in_one_place() -> None:
    place = [
        (1, 0, 0, "one"),
        (1, 0, 4, "one"),
        (2, 4, 4, "two (1, 1)"),
        (2, 4, 8, "two (1, 1)"),
        (3, 4, 8, "two (2, 1)"),
    ]
    rows = pd.DataFrame(place, columns=["run", "start", "step", "phase"])
    rows = rows.assign(bpp=1.0, bpp_lf=0.6, bpp_hf=0.3, bpp_z=0.1, psnr_db=30.0)
    rate, distortion = training.training_figure(rows, 3.0, "branches").axes
    assert [text.get_text() for text in rate.texts] == ["one", "two"]
    assert [list(line.get_xdata()) for line in distortion.lines] == [[0, 4], [4, 8], [8]]


def test_gradients_are_those_of_autograd() -> None:
    made = {"rounding": torch.round, "half": lambda y: 0.5 * y}
    cells = training.rounding_figure(made, "two").axes
    assert set(cells[2].lines[0].get_ydata().tolist()) == {0.0}
    assert set(cells[3].lines[0].get_ydata().tolist()) == {0.5}


def test_a_time_line_has_every_step_and_all_weights() -> None:
    stages = (Stage("one", 30, 1e-2, 1e-3, 8, 64), Stage("two", 20, 1e-3, 1e-4, 8, 64, w_hf=1.6, transforms=False))
    (axes,) = training.schedule_figure(stages, "line").axes
    steps = [int(step) for line in axes.lines for step in line.get_xdata()]
    assert steps == list(range(50))
    assert axes.lines[0].get_ydata()[7] == pytest.approx(1e3 * stages[0].rate_at(7))
    assert "$w_{HF}$ = 1.6" in axes.texts[1].get_text()


def stages() -> pd.DataFrame:
    rows = [{"stage": stage, "quality": q, "bpp": q * k, "bpp_lf": q * k * share, "psnr_db": 28 + 2 * q, "loss": k + q}
            for stage, k, share in (("before", 0.4, 0.5), ("after", 0.3, 0.75)) for q in (1.0, 3.0)]  # fmt: skip
    return pd.DataFrame(rows)


def test_stages_are_drawn_in_order() -> None:
    table = stages().replace({"stage": {"after": "step 2 (1, 0.5)"}})
    axes = training.stages_figure(table, "two", {"lite": stages().iloc[:2]}).axes[0]
    assert [line.get_label() for line in axes.lines] == ["lite", "before", "step 2 (LF 1, HF 0.5)"]
    assert axes.lines[2].get_xdata() == pytest.approx([0.3, 0.9])


def test_checkpoint_log_is_optional_but_must_be_whole(tmp_path: Path) -> None:
    assert training.checkpoint_log("lite", tmp_path) is None
    rows = [[500, 10.0, 1.0, 0.3, 0.2, 0.1, 0.0, 30.0, 0.4], [1000, 20.0, 1.0, 0.2, 0.1, 0.1, 0.0, 30.0, 0.3]]
    pd.DataFrame(rows, columns=training.LOG_COLUMNS).to_csv(tmp_path / "lite_validation.csv", index=False)
    found = training.checkpoint_log("lite", tmp_path)
    assert found is not None
    assert training.log_figure(found, "lite").axes[0].lines[0].get_ydata() == pytest.approx([0.0, -25.0])
    (tmp_path / "lite_validation.csv").write_text("step,bpp\n1,2\n", encoding="utf-8")
    with pytest.raises(WeconveneError, match="cannot be read"):
        training.checkpoint_log("lite", tmp_path)
