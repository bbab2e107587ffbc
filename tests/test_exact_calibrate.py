"""Calibration of the integer path: which models have one, what is refused, and the arithmetic that it relies on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lab.rd.metrics import psnr_rgb
from weconvene_core import paths
from weconvene_core.cli.main import main
from weconvene_core.codec import api
from weconvene_core.codec.container import unpack
from weconvene_core.codec.pictures import load_rgb
from weconvene_core.datasets.image_sets import image_set
from weconvene_core.errors import WeconveneError
from weconvene_core.exact import calibrate
from weconvene_core.image_tensors import from_8_bit
from weconvene_core.model.checkpoint import load_weights, read_tensors, release, weights_hash, write_tensors
from weconvene_core.model.presets import ModelConfig, preset
from weconvene_core.model.weconvene import WeConvene
from weconvene_core.paths import CHECKPOINTS

SMALL = replace(preset("tiny"), narrow=8, wide=8, hyper=12, z_channels=8, slice_hidden=16)
NO_SHORTCUT = {"shortcut": False, "latent_channels": 16, "latent_stride": 8, "lf_slices": 2, "hf_slices": 2}
KINDS = {
    "plain": SMALL,
    "phases": replace(SMALL, ll_passes=True),
    "9/7": replace(SMALL, wavelet="9/7", distribution="gaussian", hyper_blocks=1),
    "packets": replace(SMALL, wavelet="9/7", channel_levels=2, channel_packets=True),
    "haar": replace(SMALL, wavelet="haar", channel_dwt=False, up_kernel=3, high_kernel=3),
    "convolutions": replace(SMALL, wavelet_layers=False, quality=2.5),
    "no shortcut": replace(SMALL, **NO_SHORTCUT, latent_wavelet="5/3"),
}


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return load_rgb(image_set("default", 1).paths[0]).crop((60, 60, 252, 188))


def stirred(config: ModelConfig) -> WeConvene:
    """A model with every parameter off its initial value, and scales that fit what it codes."""
    torch.manual_seed(3)
    model = WeConvene(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
        photograph = from_8_bit(np.array(load_rgb(image_set("default", 1).paths[0]))[:128, :128])
        model.charm.set_scales(*model.analyse(photograph, torch.tensor([model.default_quality])), factor=2.0)
    return model


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(paths, "CHECKPOINTS", tmp_path)
    api._loaded.cache_clear()
    yield tmp_path
    api._loaded.cache_clear()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_calibrated(kind: str, folder: Path, photo: Image.Image) -> None:
    """Its files have the size of the float path's, decode to as good a picture, and do not see noise."""
    model, path = stirred(replace(KINDS[kind], name="kind")), folder / "kind.safetensors"
    release(model, path, {"steps": 0})
    picture, quality = np.array(photo)[:70, :101], model.default_quality
    before = api.encode(picture, quality, "kind")
    calibrate.calibrate_checkpoint(path, [picture])
    api._loaded.cache_clear()
    exact, floating = (api.encode(picture, quality, "kind", exact=exact) for exact in (None, False))
    assert unpack(exact).exact
    assert len(exact) == pytest.approx(len(floating), rel=0.01, abs=16)
    good, reference = (psnr_rgb(picture, np.asarray(api.decode(data))) for data in (exact, floating))
    assert good == pytest.approx(reference, abs=0.05)
    assert api.decode(before).tobytes() == api.decode(floating).tobytes()  # made before calibration: the same weights


@pytest.mark.parametrize("name", ["paper", "paper-2d", "baseline"])
def test_what_has_no_integer_form_is_refused(name: str) -> None:
    with pytest.raises(WeconveneError, match=f"'{name}' has .*slice_attention=True"):
        calibrate.check_supported(preset(name))


@pytest.fixture
def calibrated(tmp_path: Path) -> Path:
    return Path(shutil.copy(CHECKPOINTS / "lite.safetensors", tmp_path / "lite.safetensors"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda stored: stored["grids"].update({"h_s.head": 3}), "does not have the integers"),
        (lambda stored: stored["grids"].pop("h_s.head"), "damaged.*h_s.head"),
        (lambda stored: stored["grids"].update({"h_s.head": 3.5}), "does not have the integers"),
        (lambda stored: stored["grids"].update({"h_s.head": 10**9}), "is damaged"),
        (lambda stored: stored["grids"].update({"h_s.head": "3"}), "is damaged"),
        (lambda stored: stored.update(grids=None), "is damaged"),
        (lambda stored: stored["thresholds"].reverse(), "does not have the integers"),
        (lambda stored: stored["tanh"].__setitem__(0, "1"), "is damaged"),
        (lambda stored: stored.pop("wavelets"), "is damaged"),
        (lambda stored: stored["wavelets"].pop("5/3"), "damaged.*5/3"),
        (lambda stored: stored["wavelets"].update({"5/3": {"steps": [1]}}), "is damaged"),
        (lambda stored: stored.update(arithmetic=99), "arithmetic 99"),
        (lambda stored: stored.update(hash="00" * 32), "does not have the integers"),
    ],
)
def test_an_altered_integer_path_is_refused(calibrated: Path, change: Callable[[dict], object], said: str) -> None:
    tensors, description = read_tensors(calibrated)
    change(description[calibrate.STORED])
    write_tensors(calibrated, tensors, description)
    with pytest.raises(WeconveneError, match=said):
        calibrate.load_integer_path(api.load_model(), weights_hash(calibrated), calibrated)


@pytest.mark.parametrize("wrong", ["text", ["a"], {"hash": 5, "weights": "no hex"}])
def test_a_malformed_integer_path_states_nothing_and_is_named(calibrated: Path, wrong: object) -> None:
    tensors, description = read_tensors(calibrated)
    description[calibrate.STORED] = wrong
    write_tensors(calibrated, tensors, description)
    assert calibrate.stated_digests(calibrated) == []
    with pytest.raises(WeconveneError, match=r"integer path of .*lite.safetensors is damaged"):
        calibrate.load_integer_path(api.load_model(), weights_hash(calibrated), calibrated)


def test_calibrating_again_gives_the_same_hash_and_leaves_the_weights(tmp_path: Path, photo: Image.Image) -> None:
    path = tmp_path / "tiny.safetensors"
    release(stirred(SMALL), path, {"steps": 0})
    before, weights = read_tensors(path)[0], weights_hash(path)
    first, again = (calibrate.calibrate_checkpoint(path, [np.array(photo)]) for _ in range(2))
    assert first == again
    after, description = read_tensors(path)
    assert description[calibrate.STORED][calibrate.UNCALIBRATED] == weights.hex()
    assert json.loads(path.with_suffix(".json").read_text())["steps"] == description["steps"] == 0
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_damaged_packed_tables_are_refused() -> None:
    state = read_tensors(CHECKPOINTS / "lite.safetensors")[0]
    (name,) = [name for name in state if name.endswith("_packed_cdf")]
    for damaged in (state[name][:-1], state[name].int()):
        with pytest.raises(WeconveneError, match="packed_cdf"):
            load_weights(WeConvene(preset("lite")), {**state, name: damaged}, Path("lite.safetensors"))


def test_an_uncalibrated_model_says_so(folder: Path) -> None:
    release(stirred(SMALL), folder / "tiny.safetensors", {"steps": 0})
    assert not unpack(api.encode(np.zeros((8, 8, 3), np.uint8), 2, "tiny")).exact
    with pytest.raises(WeconveneError, match="weconvene calibrate tiny"):
        api.encode(np.zeros((8, 8, 3), np.uint8), 2, "tiny", exact=True)


def test_the_command_calibrates_a_checkpoint_in_its_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], photo: Image.Image
) -> None:
    release(stirred(SMALL), folder / "tiny.safetensors", {"steps": 0})
    (folder / "pictures").mkdir()
    photo.save(folder / "pictures" / "photo.png")
    assert main(["calibrate", "tiny", "--images", str(folder / "pictures")]) == 0
    assert "calibrated on 1 images" in capsys.readouterr().out
    assert calibrate.STORED in read_tensors(folder / "tiny.safetensors")[1]
