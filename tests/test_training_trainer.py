"""The trainer: it learns, resumes to the step, and fails in sentences."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lab.rd.metrics import psnr_rgb
from weconvene_core.datasets.image_sets import image_set
from weconvene_core.errors import WeconveneError
from weconvene_core.model.checkpoint import load_checked, read_tensors, release, write_tensors
from weconvene_core.model.weconvene import pad
from weconvene_core.training.config import Stage, TrainConfig
from weconvene_core.training.images import ImagePool, load_pool
from weconvene_core.training.losses import MIDDLE_LAMBDA, RateDistortion
from weconvene_core.training.trainer import Trainer
from weconvene_core.training.validation import estimate, validate

ENTROPY = Stage("entropy", 6, 2e-3, 1e-3, batch=2, crop=64, warmup=2, transforms=False)
JOINT = Stage("joint", 6, 1e-3, 1e-4, batch=2, crop=64, w_lf=1.0, w_hf=0.9, warmup=2)


@pytest.fixture(scope="module")
def pool() -> ImagePool:
    return load_pool(image_set("default").paths)


def config(tmp_path: Path, *stages: Stage) -> TrainConfig:
    return TrainConfig("tiny", stages or (ENTROPY, JOINT), output=str(tmp_path / "run"), log_every=2)


def test_training_lowers_the_loss_on_whole_images(tmp_path: Path, pool: ImagePool) -> None:
    stage = Stage("entropy", 40, 3e-3, 1e-3, batch=4, crop=64, warmup=5, transforms=False)
    trainer = Trainer(config(tmp_path, stage), pool)
    before = np.mean([row["loss"] for row in validate(trainer.model, pool.validation)])
    trained = trainer.run(resume=False)
    after = np.mean([row["loss"] for row in validate(trained, pool.validation)])
    assert after < 0.9 * before


def test_transforms_stay_untouched_in_the_entropy_stage(tmp_path: Path, pool: ImagePool) -> None:
    trainer = Trainer(config(tmp_path, ENTROPY), pool)
    before = {name: p.clone() for name, p in trainer.model.g_s.named_parameters()}
    trainer.run(resume=False)
    assert all(torch.equal(before[name], p) for name, p in trainer.model.g_s.named_parameters())


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


def test_loss_is_rate_plus_weighted_distortion() -> None:
    one, lam = torch.ones(1), torch.tensor([0.0067])
    terms = RateDistortion(r_lf=one, r_hf=2 * one, r_z=0.5 * one, mse=one / 255**2, lam=lam, distortion=lam)
    assert terms.bpp.item() == 3.5
    torch.testing.assert_close(terms.loss(2.0, 0.5), torch.tensor([0.5 + 2 + 1 + 0.0067]))
    torch.testing.assert_close(terms.balanced(), terms.loss().mean())


def test_no_image_counts_for_more_than_the_largest_loss() -> None:
    rate = torch.tensor([0.5, 0.5, 300.0], requires_grad=True)
    zero = torch.zeros(3)
    terms = RateDistortion(rate, zero, zero, zero, torch.full((3,), MIDDLE_LAMBDA), zero)
    loss = terms.balanced(largest=2.0)
    loss.backward()
    assert loss.item() == pytest.approx((0.5 + 0.5 + 2.0) / 3)
    assert rate.grad.tolist() == pytest.approx([1 / 3, 1 / 3, 2 / 300 / 3])


def test_checkpoint_files_survive_and_fail_in_sentences(tmp_path: Path, pool: ImagePool) -> None:
    trainer = Trainer(config(tmp_path, ENTROPY), pool)
    path = tmp_path / "weights.safetensors"
    release(trainer.model, path, {"steps": 0})
    loaded = load_checked(path)[0]
    assert json.loads(path.with_suffix(".json").read_text())["architecture"]["name"] == "tiny"
    for name, tensor in loaded.state_dict().items():
        torch.testing.assert_close(tensor, trainer.model.state_dict()[name], atol=1e-3, rtol=1e-3)
    assert loaded.entropy_bottleneck.likelihood_lower_bound.bound.item() > 0  # 1e-9 is zero in half precision
    tensors, description = read_tensors(path)
    description["architecture"]["wide"] = 40
    write_tensors(tmp_path / "other.safetensors", tensors, description)
    with pytest.raises(WeconveneError, match="another architecture"):
        load_checked(tmp_path / "other.safetensors")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(WeconveneError, match="damaged"):
        load_checked(path)
    with pytest.raises(WeconveneError, match="does not exist"):
        load_checked(tmp_path / "none.safetensors")


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
    load_checked(tmp_path / "weights.safetensors")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_what_a_gpu_trained_is_released_and_codes(tmp_path: Path, pool: ImagePool) -> None:
    trainer = Trainer(config(tmp_path, ENTROPY), pool)
    model = trainer.run(resume=False)
    release(model, tmp_path / "weights.safetensors", {"steps": trainer.step})
    load_checked(tmp_path / "weights.safetensors")
    x = torch.rand(1, 3, 64, 64, device=trainer.device)
    coded = model.compress(x, 3.0)
    assert model.decompress(coded["strings"], coded["shape"], 3.0)["x_hat"].shape == x.shape
