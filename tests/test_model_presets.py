"""Every configuration of the family trains, compresses to a file and decodes it: a walk through the switches."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import fields, replace
from itertools import combinations
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch

from weconvene_core import paths
from weconvene_core.codec import api
from weconvene_core.codec.pictures import load_rgb
from weconvene_core.codec.plain_coding import DistortionMonitor
from weconvene_core.datasets.image_sets import image_set
from weconvene_core.errors import WeconveneError
from weconvene_core.image_tensors import to_8_bit
from weconvene_core.model.checkpoint import release
from weconvene_core.model.presets import PRESETS, ModelConfig, preset
from weconvene_core.model.weconvene import WeConvene, pad

SMALL = replace(preset("tiny"), narrow=8, wide=12, hyper=12, z_channels=8, slice_hidden=28)
OWN_SLICES = {"lf_slices": (3, 9, 18, 18), "hf_slices": (36,) * 4}
HALF = {"patch_a": 2, "patch_s": 2, "scales_s": 3, "latent_channels": 40, "latent_stride": 8, "weconv_residual": True}
FULL = HALF | {"patch_a": 1, "scales_a": 3, "weconv_residual": False, "residual_ends": True, "up_kernel": 3}
FACTORS: dict[str, dict[str, dict[str, object]]] = {
    "wavelet": {name: {"wavelet": name} for name in ("haar", "5/3", "9/7")},
    "levels": {"one": {"levels": 1}, "two": {"levels": 2}, "three": {"levels": 3}},
    "channel DWT": {"on": {}, "off": {"channel_dwt": False}, "packets": {"channel_levels": 2, "channel_packets": True}},
    "layers": {
        "3DM-WeConv": {},
        "the predecessor's": {"high_kernel": 3, "joint_high": True, "gdn": True},
        "plain": {"wavelet_layers": False},
    },
    "latent": {"3-D": {"latent_wavelet": "9/7"}, "2-D": {"latent_channel_dwt": False}, "y": {"wavelet_entropy": False}},
    "slices": {
        "widths": OWN_SLICES,
        "by subband": {"lf_slices": 4, "hf_slices": 4, "slice_order": "band"},
        "only LF": {"lf_slices": 8, "hf_slices": 0},
    },
    "network": {"joint": {}, "split": {"slice_network": "split"}},
    "attention": {"off": {}, "on": {"slice_attention": True}},
    "shortcut": {
        "on": {},
        "in passes": {"ll_passes": True},
        "luma first": {"luma_first": True},
        "off": {"shortcut": False},
    },
    "rate": {"every": {}, "one": {"quality": 3.0}},
    "distribution": {"laplace": {}, "gaussian": {"distribution": "gaussian"}},
    "geometry": {"quarter": {}, "half": HALF, "full": FULL},
    "hyper blocks": {"none": {}, "one": {"hyper_blocks": 1}},
}
Choice = tuple[str, ...]


def configuration(choice: Choice) -> ModelConfig | None:
    """Return the configuration of one option per factor, or None where the options exclude each other."""
    changes: dict[str, object] = {"name": "grid"}
    for options, name in zip(FACTORS.values(), choice, strict=True):
        changes |= options[name]
    try:
        return replace(SMALL, **changes)
    except WeconveneError:
        return None


def pairs(choice: Choice) -> set[tuple[tuple[int, str], ...]]:
    return set(combinations(enumerate(choice), 2))


def covering_array(candidates: int = 4000) -> list[Choice]:
    """Few choices that hold every pair of options that any valid one of many random choices holds."""
    rng = random.Random(0)
    drawn = {tuple(rng.choice(list(options)) for options in FACTORS.values()) for _ in range(candidates)}
    valid = sorted(choice for choice in drawn if configuration(choice))
    missing = set().union(*map(pairs, valid))
    rows: list[Choice] = []
    while missing:
        rows.append(max(valid, key=lambda choice: len(pairs(choice) & missing)))
        missing -= pairs(rows[-1])
    return rows


GRID = covering_array()


def photograph(height: int, width: int) -> np.ndarray:
    return np.asarray(load_rgb(image_set("default", 1).paths[0]))[100 : 100 + height, 100 : 100 + width]


def tensor(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255


def stirred(config: ModelConfig) -> WeConvene:
    """A model with every parameter off its initial value, and scales that fit what it codes."""
    torch.manual_seed(3)
    model = WeConvene(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
        bands = model.analyse(tensor(photograph(128, 128)), torch.tensor([model.default_quality]))
        model.charm.set_scales(*bands, factor=4.0)  # so wide that nothing lies far out
    return model


@pytest.fixture
def checkpoints(tmp_path: Path) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "CHECKPOINTS", tmp_path)
        api._loaded.cache_clear()
        yield tmp_path
    api._loaded.cache_clear()


def check_files(model: WeConvene, folder: Path, picture: np.ndarray) -> None:
    """The decoded file is the encoder's own reconstruction, and its size is what the likelihoods say."""
    name = model.config.name
    release(model, folder / f"{name}.safetensors", {"steps": 0})
    network, quality = api.load_model(name), model.default_quality
    with patch.object(DistortionMonitor, "__call__", lambda *_: None):  # plain coding may be better than a random model
        data = api.encode(picture, quality, name)
    with torch.no_grad():
        output = network(pad(tensor(picture), network.config.stride), quality)
    height, width = picture.shape[:2]
    reconstruction = to_8_bit(output["x_hat"])[:height, :width]
    np.testing.assert_array_equal(np.asarray(api.decode(data)), reconstruction)
    estimate = sum(-p.double().log2().sum().item() for p in output["likelihoods"].values()) / 8
    assert abs(len(data) - estimate) <= 0.01 * estimate + 64, f"{len(data)} bytes, {estimate:.0f} estimated"


def check_training(config: ModelConfig) -> None:
    """One step in half precision: every parameter gets a finite gradient."""
    torch.manual_seed(0)
    model = stirred(config).train()
    x = tensor(photograph(64, 64))
    quality = torch.full((1,), model.default_quality)
    # torch's own convolutions: on some processors with AVX512-BF16 oneDNN's gradients of so few channels, on two
    # threads, write past their memory ("free(): invalid next size"; not with AVX2, one thread, or without oneDNN)
    with torch.backends.mkldnn.flags(enabled=False, allow_tf32=None):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = model(x, quality)
        bits = sum(-torch.log2(p).sum() for p in output["likelihoods"].values())
        loss = bits + (output["x_hat"] - x).square().sum() + model.aux_loss()
        assert loss.isfinite()
        loss.backward()
    bad = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert bad == []


@pytest.mark.parametrize("row", range(len(GRID)))
def test_configuration_trains_and_its_files_decode(row: int, checkpoints: Path) -> None:
    config = configuration(GRID[row])
    assert config is not None
    check_training(config)
    check_files(stirred(config), checkpoints, photograph(67, 101) if row % 2 else photograph(129, 64))


def test_grid_holds_every_option() -> None:
    used = [set(options) for options in zip(*GRID, strict=True)]
    assert used == [set(options) for options in FACTORS.values()]
    assert len(GRID) < 40


def test_grid_moves_every_switch() -> None:
    """A field that no row changes would be a switch that no test turns."""
    configs = [configuration(choice) for choice in GRID]
    widths = {"name", "narrow", "wide", "hyper", "z_channels", "slice_hidden", "blocks_a", "blocks_s"}
    still = [f.name for f in fields(ModelConfig) if len({getattr(c, f.name) for c in configs}) == 1]
    assert sorted(set(still) - widths) == []


@pytest.mark.parametrize("name", ["paper", "paper-2d", "baseline"])
def test_published_architectures_at_small_width(name: str, checkpoints: Path) -> None:
    narrow = {"narrow": 8, "wide": 8, "hyper": 12, "z_channels": 8, "slice_hidden": 28, "latent_channels": 40}
    config = replace(preset(name), **narrow, blocks_a=1, blocks_s=1, hyper_blocks=1)
    check_training(config)
    check_files(stirred(config), checkpoints, photograph(90, 70))


def test_tiny_codes_a_single_pixel(checkpoints: Path) -> None:
    check_files(stirred(replace(SMALL, name="grid")), checkpoints, photograph(1, 1))


def test_what_a_model_of_one_rate_encodes_it_decodes(checkpoints: Path) -> None:
    """Files keep thousandths, so its quality comes back rounded."""
    model, picture = stirred(replace(SMALL, name="grid", quality=2.3456)), photograph(20, 30)
    release(model, checkpoints / "grid.safetensors", {"steps": 0})
    for quality in (2.3456, 2.346):
        assert api.decode(api.encode(picture, quality, "grid")).size == (30, 20)
    with pytest.raises(WeconveneError, match=r"made for 2\.3456 alone"):
        api.encode(picture, 2.348, "grid")

    def accepted(quality: float) -> bool:
        try:
            return model.check_quality(quality) == quality
        except WeconveneError:
            return False

    asked = [step / 10_000 for step in range(23_400, 23_500)]
    assert 0 < sum(map(accepted, asked)) < 25
    assert all(accepted(quality) == accepted(round(quality, 3)) for quality in asked)


def test_presets_differ_as_their_papers_do() -> None:
    paper, predecessor, baseline = (preset(name) for name in ("paper", "paper-2d", "baseline"))
    assert (paper.narrow, paper.latent_channels, paper.levels) == (128, 320, 2)
    assert paper.channel_dwt
    assert paper.layout.lf == (80,) * 4
    assert (predecessor.wavelet, predecessor.levels, predecessor.channel_dwt) == ("haar", 1, False)
    assert predecessor.layout.lf == (64,) * 5
    assert predecessor.layout.hf == (192,) * 5
    switches = ("name", "wavelet_layers", "wavelet_entropy", "lf_slices", "hf_slices")
    assert replace(baseline, **{name: getattr(paper, name) for name in switches}) == paper
    assert all(ModelConfig.from_dict(config.to_dict()) == config for config in PRESETS.values())
