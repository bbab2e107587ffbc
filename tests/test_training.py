"""The trainer: it learns, resumes to the step, and fails in sentences."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from weconvene_core.errors import WeconveneError
from weconvene_core.evaluation.datasets import folder_set, image_set
from weconvene_core.model import pad
from weconvene_core.training.checkpoint import load_model_file, read_tensors, release, write_tensors
from weconvene_core.training.data import ImagePool, load_pool
from weconvene_core.training.loop import Trainer
from weconvene_core.training.losses import RateDistortion
from weconvene_core.training.sampling import on_device
from weconvene_core.training.schedule import Phase, TrainConfig, load_config
from weconvene_core.training.validation import validate

ENTROPY = Phase("entropy", 6, 2e-3, 1e-3, batch=2, crop=64, warmup=2, transforms=False)
JOINT = Phase("joint", 6, 1e-3, 1e-4, batch=2, crop=64, w_lf=1.0, w_hf=0.9, warmup=2)


@pytest.fixture(scope="module")
def pool() -> ImagePool:
    return load_pool(image_set("default").paths)


def config(tmp_path: Path, *phases: Phase) -> TrainConfig:
    return TrainConfig("tiny", phases or (ENTROPY, JOINT), output=str(tmp_path / "run"), log_every=2)


def test_training_lowers_the_loss_on_whole_images(tmp_path: Path, pool: ImagePool) -> None:
    phase = Phase("entropy", 40, 3e-3, 1e-3, batch=4, crop=64, warmup=5, transforms=False)
    trainer = Trainer(config(tmp_path, phase), pool)
    before = np.mean([row["loss"] for row in validate(trainer.model, pool.validation)])
    trained = trainer.run(resume=False)
    after = np.mean([row["loss"] for row in validate(trained, pool.validation)])
    assert after < 0.9 * before


def test_transforms_stay_untouched_in_the_entropy_phase(tmp_path: Path, pool: ImagePool) -> None:
    trainer = Trainer(config(tmp_path, ENTROPY), pool)
    before = {name: p.clone() for name, p in trainer.model.g_s.named_parameters()}
    trainer.run(resume=False)
    assert all(torch.equal(before[name], p) for name, p in trainer.model.g_s.named_parameters())


def test_images_smaller_than_the_crop_are_extended_and_counted() -> None:
    small = np.arange(20 * 300 * 3, dtype=np.uint8).reshape(20, 300, 3)
    (extended,) = on_device([small], 64, torch.device("cpu"))
    assert extended.shape == (64, 300, 3)
    assert torch.equal(extended[20:40], extended[:20].flip(0))
    assert ImagePool((small,), ()).count_smaller_than(64) == 1


def test_whole_images_are_measured_without_their_padding(tmp_path: Path, pool: ImagePool) -> None:
    model = Trainer(config(tmp_path, ENTROPY), pool).ema
    image = pool.validation[0][:40, :50]
    (row,) = validate(model, [image], [3.0])
    x = torch.tensor(image).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        output = model(pad(x), 3.0)
    bits = -sum(likelihoods.log2().sum() for likelihoods in output["likelihoods"].values())
    x_hat = (output["x_hat"][..., :40, :50].clamp(0, 1) * 255).round() / 255
    assert row["bpp"] == pytest.approx(bits.item() / (40 * 50), rel=1e-5)
    assert row["psnr_db"] == pytest.approx(-10 * (x_hat - x).square().mean().log10().item(), abs=1e-3)


def test_the_average_never_bypasses_the_transforms(tmp_path: Path, pool: ImagePool) -> None:
    trainer = Trainer(config(tmp_path, ENTROPY), pool)
    trainer.run(resume=False)
    assert trainer.model.bypass_transforms
    assert not trainer.ema.bypass_transforms


def test_unreadable_images_are_named_and_left_out(tmp_path: Path) -> None:
    Image.new("RGB", (40, 40), "red").save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    found = load_pool(folder_set(tmp_path).paths)
    assert found.skipped == ("bad.png",)
    assert len(found.train) == 1
    (tmp_path / "good.png").unlink()
    with pytest.raises(WeconveneError, match=f"none of the 1 training images in {tmp_path} can be read"):
        load_pool(folder_set(tmp_path).paths)


def test_folders_without_images_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeconveneError, match="holds no images"):
        folder_set(tmp_path)
    with pytest.raises(WeconveneError, match="There is no folder"):
        folder_set(tmp_path / "nowhere")


def test_loss_is_rate_plus_weighted_distortion() -> None:
    one = torch.ones(1)
    terms = RateDistortion(r_lf=one, r_hf=2 * one, r_z=0.5 * one, mse=one / 255**2, lam=0.0067 * one)
    assert terms.bpp.item() == 3.5
    torch.testing.assert_close(terms.loss(2.0, 0.5), torch.tensor([0.5 + 2 + 1 + 0.0067]))
    torch.testing.assert_close(terms.balanced(), terms.loss().mean())


def test_schedule_warms_up_and_falls_to_its_final_rate() -> None:
    phase = Phase("p", 100, 1e-3, 1e-5, batch=1, crop=64, warmup=10)
    rates = [phase.rate_at(step) for step in range(100)]
    assert rates[0] < rates[5] < rates[10] == 1e-3
    assert rates[11:] == sorted(rates[11:], reverse=True)
    assert rates[-1] < 2e-5


def test_configuration_round_trip_and_its_errors(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config(tmp_path).to_dict()))
    assert load_config(path) == config(tmp_path)
    for text, words in (
        ("{", "not valid"),
        ('{"preset": "lite"}', "does not fit"),
        ('{"preset": "x", "phases": []}', "fit|unknown"),
        ('{"preset": "tiny", "phases": [], "output": "x"}', "no phases"),
        ('{"preset": "tiny", "phases": [], "output": "x", "model": {"wider": 3}}', "unknown fields: wider"),
    ):
        path.write_text(text)
        with pytest.raises(WeconveneError, match=words):
            load_config(path)
    with pytest.raises(WeconveneError, match="cannot be read"):
        load_config(tmp_path / "none.json")
    with pytest.raises(WeconveneError, match="multiple of 32"):
        replace(ENTROPY, crop=50)
    for wrong, words in (({"scale_min": 0.1}, "scale_min=0.1"), ({"pack_steps": 0}, "pack_steps=0")):
        with pytest.raises(WeconveneError, match=words):
            replace(config(tmp_path), **wrong)
    with pytest.raises(WeconveneError, match="crop=32; 'paper' needs multiples of 64"):
        replace(config(tmp_path, replace(ENTROPY, crop=32)), preset="paper")


def test_checkpoint_files_survive_and_fail_in_sentences(tmp_path: Path, pool: ImagePool) -> None:
    trainer = Trainer(config(tmp_path, ENTROPY), pool)
    path = tmp_path / "weights.safetensors"
    release(trainer.model, path, {"steps": 0})
    loaded = load_model_file(path)
    assert json.loads(path.with_suffix(".json").read_text())["architecture"]["name"] == "tiny"
    for name, tensor in loaded.state_dict().items():
        torch.testing.assert_close(tensor, trainer.model.state_dict()[name], atol=1e-3, rtol=1e-3)
    assert loaded.entropy_bottleneck.likelihood_lower_bound.bound.item() > 0  # 1e-9 is zero in half precision
    tensors, description = read_tensors(path)
    description["architecture"]["wide"] = 40
    write_tensors(tmp_path / "other.safetensors", tensors, description)
    with pytest.raises(WeconveneError, match="another architecture"):
        load_model_file(tmp_path / "other.safetensors")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(WeconveneError, match="damaged"):
        load_model_file(path)
    with pytest.raises(WeconveneError, match="does not exist"):
        load_model_file(tmp_path / "none.safetensors")
