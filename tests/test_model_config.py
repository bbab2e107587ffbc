"""What a configuration and a model refuse: one sentence that names the field, its value and what is allowed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from weconvene_core.errors import WeconveneError
from weconvene_core.model.presets import ModelConfig, preset
from weconvene_core.model.weconvene import WeConvene

TINY = preset("tiny")
PAPER = preset("paper")


@pytest.mark.parametrize(
    "bad",
    [
        {"narrow": 0}, {"z_channels": -1}, {"blocks_s": -1}, {"levels": -1}, {"scales_a": 1}, {"channel_levels": 0},
        {"high_kernel": 2}, {"up_kernel": 0}, {"quality": 7.5}, {"wavelet": "db99"}, {"latent_wavelet": "5/3-integer"},
        {"slice_network": "huge"}, {"distribution": "cauchy"}, {"patch_a": 3}, {"latent_stride": 0},
        {"scales_a": 5}, {"scales_s": 4},
    ],
)  # fmt: skip
def test_impossible_values_name_the_field(bad: dict[str, object]) -> None:
    with pytest.raises(WeconveneError, match=next(iter(bad))):
        replace(TINY, **bad)


@pytest.mark.parametrize(
    ("base", "bad", "named"),
    [
        (PAPER, {"lf_slices": 7}, "lf_slices=7 does not divide 320"),
        (PAPER, {"hf_slices": 7}, "hf_slices=7 does not divide 960"),
        (PAPER, {"hf_slices": 0}, "hf_slices=0 does not divide 960"),
        (PAPER, {"lf_slices": (100, 100, 100)}, "holds 300 channels where 320"),
        (TINY, {"lf_slices": (48, 0)}, "lf_slices"),
        (TINY, {"wavelet_entropy": False}, "hf_slices=.* contradicts wavelet_entropy=False"),
        (TINY, {"wavelet_entropy": False, "hf_slices": 0}, "shortcut=True contradicts wavelet_entropy=False"),
        (TINY, {"latent_channels": 64, "lf_slices": 4, "hf_slices": 4}, "shortcut=True needs latent_channels=48"),
        (TINY, {"lf_slices": 4}, "starts with 12 channels; with shortcut=True"),
        (TINY, {"channel_packets": True, "channel_levels": 5}, "channel_levels=5 with channel_packets"),
    ],
)
def test_contradictions_name_both_sides(base: ModelConfig, bad: dict[str, object], named: str) -> None:
    with pytest.raises(WeconveneError, match=named):
        replace(base, **bad)


def test_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(WeconveneError, match="use one of paper, paper-2d, baseline, lite, tiny"):
        preset("gigantic")


def test_configuration_survives_json_and_refuses_unknown_fields() -> None:
    for config in (TINY, PAPER):
        values = json.loads(json.dumps(config.to_dict()))
        assert ModelConfig.from_dict(values) == config
    with pytest.raises(WeconveneError, match="unknown fields: depth"):
        ModelConfig.from_dict(TINY.to_dict() | {"depth": 3})
    with pytest.raises(WeconveneError, match="incomplete: .*narrow"):
        ModelConfig.from_dict({"name": "x"})


@pytest.fixture(scope="module")
def model() -> WeConvene:
    torch.manual_seed(0)
    model = WeConvene(TINY).eval()
    model.update(force=True)
    return model


def with_sample(value: float) -> torch.Tensor:
    x = torch.full((1, 3, 32, 32), 0.5)
    x[0, 1, 2, 3] = value
    return x


@pytest.mark.parametrize(
    ("x", "named"),
    [
        (with_sample(float("nan")), "x runs from nan"),
        (with_sample(float("inf")), "x runs from 0.5 to inf"),
        (with_sample(200.0), "to 200; images must lie in 0..1"),
        (with_sample(-0.2), "x runs from -0.2"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "x has dtype torch.uint8"),
        (torch.zeros(3, 32, 32), r"x has shape \(3, 32, 32\)"),
        (torch.zeros(1, 4, 32, 32), r"x has shape \(1, 4, 32, 32\)"),
        (torch.zeros(1, 3, 0, 32), r"x has shape \(1, 3, 0, 32\)"),
    ],
)
def test_bad_images_are_refused_by_the_encoder(model: WeConvene, x: torch.Tensor, named: str) -> None:
    with pytest.raises(WeconveneError, match=named):
        model.compress(x)


@pytest.mark.parametrize("size", [(16, 32), (33, 64), (1, 1)])
def test_forward_refuses_images_smaller_than_the_padding_unit_or_no_multiples(
    model: WeConvene, size: tuple[int, int]
) -> None:
    with pytest.raises(WeconveneError, match=f"x is {size[0]} x {size[1]}; forward needs multiples of 32"):
        model(torch.zeros(1, 3, *size))


def test_model_of_one_rate_refuses_others() -> None:
    model = WeConvene(replace(TINY, quality=2.0)).eval()
    model.update(force=True)
    assert model.default_quality == 2.0
    with pytest.raises(WeconveneError, match="quality=5: the model 'tiny' was made for 2 alone"):
        model.compress(torch.zeros(1, 3, 32, 32), 5.0)
    with pytest.raises(WeconveneError, match="outside 0 to 7"):
        model.compress(torch.zeros(1, 3, 32, 32), 8.0)


def test_fields_of_older_descriptions_are_known_by_their_names_of_today() -> None:
    older = preset("lite").to_dict()
    older["ll_phases"] = older.pop("ll_passes")
    assert ModelConfig.from_dict(older) == preset("lite")
