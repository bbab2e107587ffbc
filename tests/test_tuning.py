"""Training a part for MS-SSIM, and shipping only what changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_msssim import ms_ssim

from weconvene_core.codec.pictures import load_rgb
from weconvene_core.datasets.image_sets import image_set
from weconvene_core.errors import WeconveneError
from weconvene_core.exact.calibrate import calibrate_checkpoint, load_integer_path
from weconvene_core.model.checkpoint import BASE, load_checked, read_tensors, release, weights_hash, write_tensors
from weconvene_core.model.presets import preset
from weconvene_core.model.weconvene import WeConvene
from weconvene_core.training.config import Stage, TrainConfig
from weconvene_core.training.images import load_pool
from weconvene_core.training.losses import MS_SSIM_WEIGHT, rate_distortion
from weconvene_core.training.trainer import Trainer

PARTS = ("gain_", "g_s.tail")
STAGE = Stage("MS-SSIM", 2, 1e-3, 1e-4, batch=1, crop=192, warmup=1)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The change that two steps for MS-SSIM make, beside the checkpoint that they started from."""
    folder = tmp_path_factory.mktemp("tuned")
    torch.manual_seed(0)
    release(WeConvene(preset("tiny")), folder / "start.safetensors", {"steps": 0})
    config = TrainConfig("tiny", (STAGE,), str(folder / "run"), metric="ms_ssim", trains=PARTS)
    trainer = Trainer(config, load_pool(image_set("default").paths))
    for model in (trainer.model, trainer.ema):
        model.load_state_dict(load_checked(folder / "start.safetensors")[0].state_dict())
    release(trainer.run(resume=False), folder / "tuned.safetensors", {"steps": 2}, base="start")
    return folder / "tuned.safetensors"


def test_the_distortion_is_weighted_ms_ssim() -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 3, 192, 192)
    x_hat = (x + 0.1 * torch.randn_like(x)).clamp(0, 1)
    likelihoods = dict.fromkeys(("y_lf", "y_hf", "z"), torch.ones(2, 4))
    terms = rate_distortion({"x_hat": x_hat, "likelihoods": likelihoods}, x, torch.tensor([0.0, 6.0]), "ms_ssim")
    expected = MS_SSIM_WEIGHT * terms.lam * (1 - ms_ssim(x_hat, x, data_range=1.0, size_average=False))
    torch.testing.assert_close(terms.loss(), expected)


def test_only_what_changed_is_shipped_and_the_rest_is_the_bases(tuned: Path) -> None:
    start, full = (load_checked(tuned.with_stem(name))[0].state_dict() for name in ("start", "tuned"))
    changed = {name for name in full if not torch.equal(full[name], start[name])}
    assert changed
    assert all(name.startswith(PARTS) for name in changed)
    assert any(name.startswith("g_s.tail") for name in changed)
    assert tuned.stat().st_size < tuned.with_stem("start").stat().st_size / 4


def test_a_change_is_calibrated_and_loaded_as_any_checkpoint(tuned: Path) -> None:
    calibrate_checkpoint(tuned, [np.asarray(load_rgb(image_set("default").paths[0]))])
    model, digest = load_checked(tuned)
    assert digest == weights_hash(tuned) != weights_hash(tuned.with_stem("start"))
    assert load_integer_path(model, digest, tuned) is not None
    assert tuned.stat().st_size < tuned.with_stem("start").stat().st_size / 2


def test_a_change_of_other_or_missing_weights_is_refused(tuned: Path, tmp_path: Path) -> None:
    change = tmp_path / "tuned.safetensors"
    change.write_bytes(tuned.read_bytes())
    with pytest.raises(WeconveneError, match="start.safetensors does not exist"):
        read_tensors(change)
    tensors, description = read_tensors(tuned.with_stem("start"))
    assert BASE not in description
    write_tensors(tmp_path / "start.safetensors", tensors | {"g_s.tail.bias": tensors["g_s.tail.bias"] + 1}, {})
    with pytest.raises(WeconveneError, match="changes other weights"):
        read_tensors(change)


def test_an_unknown_part_or_too_small_a_crop_is_refused(tmp_path: Path) -> None:
    config = TrainConfig("tiny", (STAGE,), str(tmp_path), trains=("g_x",))
    with pytest.raises(WeconveneError, match="trains=g_x names nothing"):
        Trainer(config, load_pool(image_set("default").paths))
    with pytest.raises(WeconveneError, match="needs 192 or more"):
        replace(config, metric="ms_ssim", stages=(replace(STAGE, crop=128),))
    with pytest.raises(WeconveneError, match="metric='psnr'"):
        replace(config, metric="psnr")
