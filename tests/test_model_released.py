"""Released weights stay loadable and keep their meaning: names, shapes and numbers of `lite` and `tiny` are pinned.

The numbers were recorded from release 0.2.0 (eight qualities, the LL band in passes), for `lite` when luma came first,
with weights from a formula, so that they outlive every training run.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from names_of_release import name_in_release

from lab.rd.metrics import psnr_rgb
from weconvene_core.codec import api
from weconvene_core.codec.pictures import load_rgb
from weconvene_core.datasets.image_sets import image_set
from weconvene_core.model.checkpoint import renamed
from weconvene_core.model.presets import ModelConfig, preset
from weconvene_core.model.weconvene import WeConvene

BEFORE = "lite before luma_first"
MODELS = {"lite": preset("lite"), BEFORE: replace(preset("lite"), luma_first=False), "tiny": preset("tiny")}
NAMES = {"lite": "f46b91d900f14a0d", BEFORE: "e3cd62084f689c97", "tiny": "3159ac43d167e070"}
NUMBERS = {
    "lite": ((0.31991, 0.51762, -0.40094), {"y_lf": 32305.279, "y_hf": 42786.684, "z": 1206.7}),
    BEFORE: ((0.34323, 0.54730, -0.43600), {"y_lf": 21361.293, "y_hf": 42475.707, "z": 1243.893}),
    "tiny": ((-0.21091, 0.31081, 0.23713), {"y_lf": 16341.621, "y_hf": 30146.939, "z": 310.899}),
}
"""A pixel of the reconstruction, and the bits of each stream."""
SIDECAR = {
    "name": "lite", "narrow": 64, "wide": 128, "hyper": 128, "z_channels": 64, "slice_hidden": 128, "blocks_a": 2,
    "blocks_s": 3, "wavelet": "5/3", "levels": 2, "channel_dwt": True, "latent_wavelet": "haar", "shortcut": True,
    "ll_phases": True, "luma_first": True,
}  # fmt: skip
"""The architecture as files of release 0.2.0 spell at least; what they leave out takes its default."""


def formula_weights(model: WeConvene) -> None:
    """Set every weight to a cosine of its place, as large as its fan-in allows."""
    for name, parameter in model.named_parameters():
        if not name.startswith("entropy_bottleneck"):
            place = torch.arange(parameter.numel(), dtype=torch.float64)
            values = torch.cos(1.37 * place + zlib.crc32(name_in_release(name).encode()) % 1000)
            fan_in = parameter[0].numel() if parameter.ndim == 4 else 100
            with torch.no_grad():
                parameter.copy_((values / math.sqrt(fan_in)).view(parameter.shape).float())


@pytest.fixture(params=list(MODELS))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def model(name: str) -> WeConvene:
    torch.manual_seed(0)
    return WeConvene(MODELS[name]).eval()


def test_names_and_shapes_of_the_state_are_those_of_the_release(name: str, model: WeConvene) -> None:
    state = {name_in_release(name): tensor for name, tensor in model.state_dict().items()}
    assert [renamed(old) for old in state] == list(model.state_dict())
    names = " ".join(f"{old}:{tuple(tensor.shape)}" for old, tensor in sorted(state.items()))
    assert hashlib.sha256(names.encode()).hexdigest()[:16] == NAMES[name]


def test_numbers_are_those_of_the_release(name: str, model: WeConvene) -> None:
    formula_weights(model)
    place = torch.arange(64 * 96, dtype=torch.float64).view(1, 1, 64, 96)
    x = torch.cat([0.5 + 0.5 * torch.sin(place * f) for f in (0.011, 0.023, 0.037)], 1).float()
    with torch.no_grad():
        output = model(x, 2.5)
    pixel, bits = NUMBERS[name]
    np.testing.assert_allclose(output["x_hat"][0, :, 10, 20].numpy(), pixel, atol=2e-3)
    found = {name: -p.log2().sum().item() for name, p in output["likelihoods"].items()}
    assert found == pytest.approx(bits, rel=1e-3)


def test_sidecar_of_the_release_still_means_lite() -> None:
    assert ModelConfig.from_dict(SIDECAR) == preset("lite")


def test_shipped_weights_load_and_code_a_photograph() -> None:
    assert api.load_model("lite").config == preset("lite")
    picture = load_rgb(image_set("default", 1).paths[0]).crop((60, 60, 316, 252))
    data = api.encode(picture, 3.0)
    assert 8 * len(data) < 1.2 * picture.width * picture.height
    assert psnr_rgb(picture, api.decode(data)) > 31
