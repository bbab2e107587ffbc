"""The figures of training, and the live callback on a real (very short) run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from lab.figures import training
from weconvene_core.errors import WeconveneError
from weconvene_core.training.config import Stage, TrainConfig
from weconvene_core.training.images import ImagePool
from weconvene_core.training.trainer import Trainer


def trainer(folder: Path, name: str) -> Trainer:
    phase = Stage(name, 4, 1e-3, 1e-4, batch=1, crop=32, warmup=1)
    pool = ImagePool((np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8),), ())
    return Trainer(TrainConfig("tiny", (phase,), str(folder), log_every=2), pool, torch.device("cpu"))


def test_live_curves_follow_a_run_and_its_branches(tmp_path: Path) -> None:
    InteractiveShell.instance()  # displays need a shell; kernels and terminals have one
    curves = training.LiveCurves(np.full((32, 64, 3), 40, np.uint8), every=2, refresh_s=1e9)
    with capture_output() as shown:
        for name in ("one", "two (1, 1)", "two (2, 1)"):
            run = trainer(tmp_path / name, name)
            curves(run)
            run.run(curves, resume=False)
    rows = curves.rows()
    assert rows.step.tolist() == [0, 2, 4, 4, 6, 8, 4, 6, 8]
    assert rows.start.tolist() == [0] * 3 + [4] * 6
    assert rows.bpp.to_numpy() == pytest.approx((rows.bpp_lf + rows.bpp_hf + rows.bpp_z).to_numpy())
    start_and_three_ends = 4
    assert len(shown.outputs) == start_and_three_ends
    rate, distortion = training.training_figure(rows, 3.0, "branches").axes
    assert [text.get_text() for text in rate.texts] == ["one", "two"]  # branches lie in one place
    assert [list(line.get_xdata()) for line in distortion.lines] == [[0, 2, 4], [4, 6, 8], [4, 6, 8]]


def stages() -> pd.DataFrame:
    rows = [{"stage": stage, "quality": q, "bpp": q * k, "bpp_lf": q * k * share, "psnr_db": 28 + 2 * q, "loss": k + q}
            for stage, k, share in (("before", 0.4, 0.5), ("after", 0.3, 0.75)) for q in (1.0, 3.0)]  # fmt: skip
    return pd.DataFrame(rows)


def test_shares_and_losses_are_changes_since_the_start() -> None:
    share, loss = training.shares_figure(stages(), "before", "two").axes
    assert share.lines[0].get_ydata() == pytest.approx([25.0, 25.0])
    assert loss.lines[0].get_ydata() == pytest.approx([100 * (1.3 / 1.4 - 1), 100 * (3.3 / 3.4 - 1)])


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
