"""The figures of training, the live callback on a real (very short) run, and real bytes of a model in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from weconvene_core.errors import WeconveneError
from weconvene_core.evaluation.in_memory import TOLERANCE, code, code_at_rate
from weconvene_core.evaluation.quality import psnr_rgb
from weconvene_core.figures import live, training
from weconvene_core.model import WeConvene
from weconvene_core.presets import preset
from weconvene_core.training.data import ImagePool
from weconvene_core.training.loop import Trainer
from weconvene_core.training.schedule import Phase, TrainConfig

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
    phases = tuple(Phase(name, steps, 1e-3, 1e-4, batch=1, crop=32, warmup=1) for name in names)
    pool = ImagePool((photograph(64, 96),), ())
    return Trainer(TrainConfig("tiny", phases, str(folder), log_every=2), pool, torch.device("cpu"))


def test_live_curves_follow_runs_one_after_the_other(tmp_path: Path) -> None:
    InteractiveShell.instance()  # displays need a shell; kernels and terminals have one
    curves = live.LiveCurves(photograph(32, 64), every=2, refresh_s=1e9)
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


def test_phases_are_named_once_where_they_lie() -> None:
    rows = pd.DataFrame({"step": [0, 2, 4, 6, 8], "phase": ["a", "a", "a", "b", "c"]})
    assert live.phase_spans(rows) == [("a", 0.0, 4.0), ("b", 4.0, 6.0), ("c", 6.0, 8.0)]


def stages() -> pd.DataFrame:
    rows = [{"stage": stage, "quality": q, "bpp": q * k, "bpp_lf": q * k * share, "psnr_db": 28 + 2 * q, "loss": k + q}
            for stage, k, share in (("before", 0.4, 0.5), ("after", 0.3, 0.75)) for q in (1.0, 3.0)]  # fmt: skip
    return pd.DataFrame(rows)


def test_shares_are_percent_of_the_rate_and_losses_relative_to_the_start() -> None:
    share, loss = training.shares_figure(stages(), "before", "two").axes
    before, after = share.lines
    assert before.get_ydata() == pytest.approx([50.0, 50.0])
    assert after.get_ydata() == pytest.approx([75.0, 75.0])
    assert loss.lines[0].get_ydata() == pytest.approx([0.0, 0.0])
    assert loss.lines[1].get_ydata() == pytest.approx([100 * (1.3 / 1.4 - 1), 100 * (3.3 / 3.4 - 1)])


def test_stages_are_drawn_in_order_with_the_reference_dashed() -> None:
    axes = training.stages_figure(stages(), "two", {"lite": stages().iloc[:2]}).axes[0]
    assert [line.get_label() for line in axes.lines] == ["lite", "before", "after"]
    assert axes.lines[0].get_linestyle() == "--"
    assert axes.lines[2].get_xdata() == pytest.approx([0.3, 0.9])


def test_checkpoint_log_is_optional_but_must_be_whole(tmp_path: Path) -> None:
    assert training.checkpoint_log("lite", tmp_path) is None
    rows = [[500, 10.0, 1.0, 0.3, 0.2, 0.1, 0.0, 30.0, 0.4], [1000, 20.0, 1.0, 0.2, 0.1, 0.1, 0.0, 30.0, 0.3]]
    pd.DataFrame(rows, columns=COLUMNS).to_csv(tmp_path / "lite_validation.csv", index=False)
    found = training.checkpoint_log("lite", tmp_path)
    assert found is not None
    assert training.log_figure(found, "lite").axes[0].lines[0].get_ydata() == pytest.approx([0.0, -25.0])
    (tmp_path / "lite_validation.csv").write_text("step,bpp\n1,2\n", encoding="utf-8")
    with pytest.raises(WeconveneError, match="cannot be read"):
        training.checkpoint_log("lite", tmp_path)


def test_bytes_in_memory_carry_the_picture(model: WeConvene) -> None:
    picture = photograph(50, 70)
    coarse, fine = code(model, picture, 1.0), code(model, picture, 6.0)
    assert coarse.picture.shape == picture.shape
    assert coarse.bpp < fine.bpp
    assert coarse.psnr_db < fine.psnr_db == psnr_rgb(picture, fine.picture)


def test_a_rate_is_met_or_refused(model: WeConvene) -> None:
    picture = photograph(128, 192)
    ends = [code(model, picture, quality).bpp for quality in (1.0, 6.0)]
    wanted = (ends[0] * ends[1]) ** 0.5
    found = code_at_rate(model, picture, wanted)
    assert found.bpp == pytest.approx(wanted, rel=2 * TOLERANCE)
    assert 1.0 < found.quality < 6.0
    with pytest.raises(WeconveneError, match="lies outside"):
        code_at_rate(model, picture, 2 * ends[1])
