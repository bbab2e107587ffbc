"""The figures of training, the live callback on a real (very short) run, and real bytes of a model in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from lab.figures import live, training
from weconvene_core.errors import WeconveneError
from weconvene_core.model.presets import preset
from weconvene_core.model.weconvene import WeConvene
from weconvene_core.training.config import Stage, TrainConfig
from weconvene_core.training.images import ImagePool
from weconvene_core.training.trainer import Trainer

COLUMNS = ["step", "seconds", "quality", "bpp", "bpp_lf", "bpp_hf", "bpp_z", "psnr_db", "loss"]


def photograph(height: int, width: int) -> np.ndarray:
    """A smooth picture with an edge: enough for rates to follow the quality."""
    y, x = np.mgrid[:height, :width] / 64
    waves = np.stack([np.sin(3 * x + y), np.cos(2 * y), np.sin(x * y)], axis=2)
    return (127 + 80 * waves + 40 * (x > 1)[..., None]).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def model() -> WeConvene:
    torch.manual_seed(0)
    model = WeConvene(preset("tiny")).eval()
    model.bypass_transforms = True
    model.update(force=True)
    return model


def trainer(folder: Path, names: tuple[str, ...], steps: int = 4) -> Trainer:
    phases = tuple(Stage(name, steps, 1e-3, 1e-4, batch=1, crop=32, warmup=1) for name in names)
    pool = ImagePool((photograph(64, 96),), ())
    return Trainer(TrainConfig("tiny", phases, str(folder), log_every=2), pool, torch.device("cpu"))


def test_live_curves_follow_runs_one_after_the_other(tmp_path: Path) -> None:
    InteractiveShell.instance()  # displays need a shell; kernels and terminals have one
    curves = live.LiveCurves(photograph(32, 64), every=2, refresh_s=1e9, branches=False)
    first, second = trainer(tmp_path / "a", ("one", "two")), trainer(tmp_path / "b", ("three",))
    with capture_output() as shown:
        curves(first)
        first.run(curves, resume=False)
        second.run(curves, resume=False)
    rows = curves.rows()
    assert rows.step.tolist() == [0, 2, 4, 6, 8, 10, 12]
    assert rows.phase.tolist() == ["one", "one", "one", "two", "two", "three", "three"]
    assert rows.run.tolist() == [1, 1, 1, 1, 1, 2, 2]
    assert rows.bpp.to_numpy() == pytest.approx((rows.bpp_lf + rows.bpp_hf + rows.bpp_z).to_numpy())
    start_and_two_ends = 3
    assert len(shown.outputs) == start_and_two_ends
    assert all(output.data["image/png"] for output in shown.outputs)


def test_branches_start_where_the_first_run_ends(tmp_path: Path) -> None:
    InteractiveShell.instance()
    curves = live.LiveCurves(photograph(32, 64), every=2, refresh_s=1e9)
    runs = [trainer(tmp_path / name, (name,)) for name in ("one", "two", "three")]
    with capture_output():
        for run in runs:
            curves(run)
            run.run(curves, resume=False)
    rows = curves.rows()
    assert rows.step.tolist() == [0, 2, 4, 4, 6, 8, 4, 6, 8]
    assert rows.start.tolist() == [0] * 3 + [4] * 6
    rate, distortion = live.training_figure(rows, 3.0, "branches").axes
    assert [line.get_linestyle() for line in distortion.lines] == ["-", "-", "--"]
    assert [text.get_text() for text in distortion.get_legend().get_texts()] == ["two", "three"]
    assert rate.get_xlim() == (0, 8)


def test_phases_are_named_once_where_they_lie() -> None:
    rows = pd.DataFrame({"run": 1, "start": 0, "step": [0, 2, 4, 6, 8], "phase": ["a", "a", "a", "b", "c"]})
    assert live.phase_spans(rows) == [("a", 0.0, 4.0), ("b", 4.0, 6.0), ("c", 6.0, 8.0)]
    branch = pd.DataFrame({"run": 2, "start": 8, "step": [8, 12], "phase": "d (1, 1)"})
    other = branch[:1].assign(run=3, phase="d (0.6, 1.6)")  # has just begun
    assert live.phase_spans(pd.concat([rows, branch, other]))[3:] == [("d", 8.0, 12.0)]


def stages() -> pd.DataFrame:
    rows = [{"stage": stage, "quality": q, "bpp": q * k, "bpp_lf": q * k * share, "psnr_db": 28 + 2 * q, "loss": k + q}
            for stage, k, share in (("before", 0.4, 0.5), ("after", 0.3, 0.75)) for q in (1.0, 3.0)]  # fmt: skip
    return pd.DataFrame(rows)


def test_shares_and_losses_are_changes_since_the_start() -> None:
    share, loss = training.shares_figure(stages(), "before", "two").axes
    after, start = share.lines
    assert after.get_ydata() == pytest.approx([25.0, 25.0])
    assert start.get_ydata() == [0, 0]
    assert loss.lines[0].get_ydata() == pytest.approx([100 * (1.3 / 1.4 - 1), 100 * (3.3 / 3.4 - 1)])


def test_stages_are_drawn_in_order_and_the_last_lets_others_through() -> None:
    table = stages().replace({"stage": {"after": "step 2 (1, 0.5)"}})
    axes = training.stages_figure(table, "two", {"lite": stages().iloc[:2]}).axes[0]
    assert [line.get_label() for line in axes.lines] == ["lite", "before", "step 2 (LF 1, HF 0.5)"]
    assert [line.get_linestyle() == "-" for line in axes.lines] == [False, True, False]
    assert axes.lines[2].get_markerfacecolor() == "none"
    assert axes.lines[2].get_xdata() == pytest.approx([0.3, 0.9])


def test_checkpoint_log_is_optional_but_must_be_whole(tmp_path: Path) -> None:
    assert training.checkpoint_log("lite", tmp_path) is None
    rows = [[500, 10.0, 1.0, 0.3, 0.2, 0.1, 0.0, 30.0, 0.4], [1000, 20.0, 1.0, 0.2, 0.1, 0.1, 0.0, 30.0, 0.3]]
    pd.DataFrame(rows, columns=COLUMNS).to_csv(tmp_path / "lite_validation.csv", index=False)
    found = training.checkpoint_log("lite", tmp_path)
    assert found is not None
    axes = training.log_figure(found, "lite").axes[0]
    assert axes.lines[0].get_ydata() == pytest.approx([0.0, -25.0])
    assert axes.get_title(loc="left") == "Loss, change since step 500 (%)"
    (tmp_path / "lite_validation.csv").write_text("step,bpp\n1,2\n", encoding="utf-8")
    with pytest.raises(WeconveneError, match="cannot be read"):
        training.checkpoint_log("lite", tmp_path)
