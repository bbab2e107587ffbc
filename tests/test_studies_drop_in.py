"""CompressAI's codec with and without converted layers: what differs, and trainings that go on after a kill."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from lab.applications import study
from lab.studies import drop_in
from lab.studies.drop_in import CONVERTED, PLAIN, TRAININGS, compared, costs
from weconvene_core.codec.pictures import load_rgb
from weconvene_core.datasets.image_sets import image_set
from weconvene_core.layers import WeConv3d
from weconvene_core.training.config import Stage
from weconvene_core.training.images import ImagePool


def points(network: str, seed: int, loss: float) -> pd.DataFrame:
    rows = [{"network": network, "seed": seed, "steps": 5, "image": i, "loss": loss + 0.1 * i, "bpp": 0.5,
             "psnr_db": 30.0} for i in range(2)]  # fmt: skip
    return pd.DataFrame(rows)


def test_the_pair_differs_in_its_layers_alone() -> None:
    plain, converted = (drop_in.untrained(network) for network in (PLAIN, CONVERTED))
    assert not any(isinstance(module, WeConv3d) for module in plain.modules())
    assert sum(isinstance(module, WeConv3d) for module in converted.modules()) > 10
    assert costs(CONVERTED)["kmac_px_decode"] < 0.5 * costs(PLAIN)["kmac_px_decode"]
    assert len({training.identity for training in TRAININGS}) == len(TRAININGS) == 6


def test_losses_are_compared_seed_by_seed() -> None:
    table = compared(pd.concat([points(PLAIN, 0, 1.0), points(CONVERTED, 0, 0.9), points(PLAIN, 1, 2.0)]))
    change = table.set_index(["network", "seed"]).loss_change_pct
    assert change[CONVERTED, 0] == pytest.approx(100 * (0.95 / 1.05 - 1))
    assert change[[(PLAIN, 0), (PLAIN, 1)]].isna().all()


def test_a_training_goes_on_after_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With CompressAI's quantiles, whose rate and clipping are their own."""
    pictures = [np.array(load_rgb(path))[60:124, 60:124] for path in image_set("default").paths]
    monkeypatch.setattr(drop_in, "training_images", lambda: ImagePool(tuple(pictures[:2]), tuple(pictures[2:])))
    monkeypatch.setattr(study, "SAVE_SECONDS", 0.0)
    short = Stage("short", 4, 1e-3, 1e-4, batch=1, crop=64, warmup=1)
    training = replace(TRAININGS[1], stage=short)
    straight = training.points(None, tmp_path / "straight")
    save, saved = study._save, []

    def killed(*state: object) -> None:
        if len(saved) == 2:
            raise KeyboardInterrupt
        saved.append(save(*state))

    monkeypatch.setattr(study, "_save", killed)
    with pytest.raises(KeyboardInterrupt):
        training.points(None, tmp_path / "cut")
    monkeypatch.setattr(study, "_save", save)
    kept = torch.load(tmp_path / "cut" / study.STATE_FILE, weights_only=True)
    assert kept["steps"] == 2
    pd.testing.assert_frame_equal(training.points(None, tmp_path / "cut"), straight)
