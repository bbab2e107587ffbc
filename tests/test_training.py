"""The trainer: it learns, resumes to the step, and fails in sentences."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lab.rd.metrics import psnr_rgb
from weconvene_core.datasets.image_sets import folder_set, image_set
from weconvene_core.errors import WeconveneError
from weconvene_core.model.checkpoint import load_model_file, read_tensors, release, write_tensors
from weconvene_core.model.presets import preset
from weconvene_core.model.weconvene import WeConvene, pad
from weconvene_core.training.config import Stage, TrainConfig, load_config
from weconvene_core.training.crops import on_device
from weconvene_core.training.images import ImagePool, load_pool
from weconvene_core.training.log import LOG, RunLog
from weconvene_core.training.losses import MIDDLE_LAMBDA, RateDistortion
from weconvene_core.training.throughput import PROBE_SIDE, step_flops
from weconvene_core.training.trainer import Trainer
from weconvene_core.training.validation import estimate, validate

ENTROPY = Stage("entropy", 6, 2e-3, 1e-3, batch=2, crop=64, warmup=2, transforms=False)
JOINT = Stage("joint", 6, 1e-3, 1e-4, batch=2, crop=64, w_lf=1.0, w_hf=0.9, warmup=2)


@pytest.fixture(scope="module")
def pool() -> ImagePool:
    return load_pool(image_set("default").paths)


def config(tmp_path: Path, *phases: Stage) -> TrainConfig:
    return TrainConfig("tiny", phases or (ENTROPY, JOINT), output=str(tmp_path / "run"), log_every=2)


def test_training_lowers_the_loss_on_whole_images(tmp_path: Path, pool: ImagePool) -> None:
    phase = Stage("entropy", 40, 3e-3, 1e-3, batch=4, crop=64, warmup=5, transforms=False)
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
    numbers, picture = estimate(model, image, 3.0)
    assert numbers == {name: value for name, value in row.items() if name != "quality"}
    assert psnr_rgb(image, picture) == pytest.approx(row["psnr_db"], abs=1e-3)


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


def test_no_image_counts_for_more_than_the_largest_loss() -> None:
    rate = torch.tensor([0.5, 0.5, 300.0], requires_grad=True)
    zero = torch.zeros(3)
    terms = RateDistortion(rate, zero, zero, zero, torch.full((3,), MIDDLE_LAMBDA))
    loss = terms.balanced(largest=2.0)
    loss.backward()
    assert loss.item() == pytest.approx((0.5 + 0.5 + 2.0) / 3)
    assert rate.grad.tolist() == pytest.approx([1 / 3, 1 / 3, 2 / 300 / 3])


def test_schedule_warms_up_and_falls_to_its_final_rate() -> None:
    phase = Stage("p", 100, 1e-3, 1e-5, batch=1, crop=64, warmup=10)
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
        ('["tiny"]', "not a table of names"),
        ('{"preset": "tiny", "phases": [], "output": "x", "qualities": [1]}', "is no range"),
        ('{"preset": "tiny", "phases": [], "output": "x", "model": {"wider": 3}}', "unknown fields: wider"),
    ):
        path.write_text(text)
        with pytest.raises(WeconveneError, match=words):
            load_config(path)
    with pytest.raises(WeconveneError, match="cannot be read"):
        load_config(tmp_path / "none.json")
    with pytest.raises(WeconveneError, match="multiple of 32"):
        replace(ENTROPY, crop=50)
    for wrong, words in (
        ({"scale_min": 0.1}, "scale_min=0.1"),
        ({"pack_steps": 0}, "pack_steps=0"),
        ({"quality_exponent": 0}, "quality_exponent=0"),
        ({"synthetic_share": 0.6}, "synthetic_share=0.6 is impossible; use 0 to 0.5"),
        ({"synthetic_share": -0.1}, "synthetic_share=-0.1"),
    ):
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


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (["a list"], "no JSON object"),
        ({"base": "lite"}, "base has no name"),
        ({"base": {"name": "lite"}}, "base has no name"),
        ({"base": {"name": "weights", "weights": "00"}}, "is itself a change"),
    ],
)
def test_a_malformed_description_is_named(tmp_path: Path, wrong: object, words: str) -> None:
    path = tmp_path / "weights.safetensors"
    write_tensors(path, {"one": torch.ones(1)}, wrong)  # type: ignore[arg-type]
    with pytest.raises(WeconveneError, match=words):
        read_tensors(path)


def test_release_reads_tensors_only_after_they_came_to_the_cpu(
    tmp_path: Path, pool: ImagePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, where ``numpy`` refuses; without one, tensors count as there until ``cpu`` has been called."""
    here: set[int] = set()
    kept: list[torch.Tensor] = []  # so that no address is used twice
    to_numpy = torch.Tensor.numpy

    def cpu(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.clone())
        here.add(id(kept[-1]))
        return kept[-1]

    def numpy(tensor: torch.Tensor) -> np.ndarray:
        if id(tensor) not in here:
            raise TypeError("can't convert a tensor of another device to numpy")
        return to_numpy(tensor)

    trainer = Trainer(config(tmp_path, ENTROPY), pool)
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "cpu", cpu)
        patch.setattr(torch.Tensor, "numpy", numpy)
        release(trainer.model, tmp_path / "weights.safetensors", {"steps": 0})
    load_model_file(tmp_path / "weights.safetensors")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_what_a_gpu_trained_is_released_and_codes(tmp_path: Path, pool: ImagePool) -> None:
    trainer = Trainer(config(tmp_path, ENTROPY), pool)
    model = trainer.run(resume=False)
    release(model, tmp_path / "weights.safetensors", {"steps": trainer.step})
    load_model_file(tmp_path / "weights.safetensors")
    x = torch.rand(1, 3, 64, 64, device=trainer.device)
    coded = model.compress(x, 3.0)
    assert model.decompress(coded["strings"], coded["shape"], 3.0)["x_hat"].shape == x.shape


def test_operations_are_counted_where_images_must_be_larger_than_usual() -> None:
    coarse = {"latent_stride": 16, "latent_channels": 16, "scales_a": 3, "scales_s": 3, "lf_slices": 2, "hf_slices": 2}
    model = WeConvene(replace(preset("tiny"), shortcut=False, **coarse))
    assert model.config.stride > PROBE_SIDE
    one, four = (step_flops(model, replace(JOINT, batch=1, crop=side)) for side in (128, 256))
    assert 3.5 < four / one < 4.0


def test_a_log_survives_a_move_between_machines(tmp_path: Path) -> None:
    """A column more on one of them, and rows without it on the other, cost nothing but a last row cut short."""
    rows = {False: {"step": 1, "loss": 0.5}, True: {"step": 2, "loss": 0.25, "gpu_percent": 97}}
    for first in (False, True):
        log = RunLog(tmp_path / str(first))
        log.write(LOG, rows[first])
        log.write(LOG, rows[not first])
        again = RunLog(log.folder)
        again.start(9)
        assert [row["loss"] for row in again.rows[LOG]] == [rows[first]["loss"], rows[not first]["loss"]]
    with (log.folder / LOG).open("a") as file:
        file.write("3")
    again.start(9)
    assert [row["step"] for row in again.rows[LOG]] == [2, 1]
