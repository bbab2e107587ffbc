"""Parts of `lite` that are drawn anew, and what stays."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from lab.studies.lite_effects import (
    CONFIG,
    PAIRS,
    QUALITIES,
    TRAININGS,
    compared,
    new_entropy_model,
    new_layers,
    plain_layers,
)
from weconvene_core.layers import WeConv3d
from weconvene_core.model.presets import preset
from weconvene_core.model.weconvene import WeConvene


def changed(model: WeConvene, before: dict[str, torch.Tensor]) -> set[str]:
    after = model.state_dict()
    return {name for name, tensor in before.items() if name not in after or not torch.equal(after[name], tensor)}


def test_new_layers_are_of_the_same_kind_and_nothing_else_changes() -> None:
    torch.manual_seed(0)
    model = WeConvene(preset("tiny"))
    layers = {name for name, module in model.named_modules() if isinstance(module, WeConv3d)}
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    new_layers(model)
    again = {name: module for name, module in model.named_modules() if isinstance(module, WeConv3d)}
    assert set(again) == layers
    assert {(layer.wavelet, layer.levels, layer.channel_dwt) for layer in again.values()} >= {("5/3", 2, True)}
    found = changed(model, before)
    assert found
    assert {name.rsplit(".", 1)[0] for name in found} <= layers
    plain_layers(model)
    assert not any(isinstance(module, WeConv3d) for module in model.modules())
    assert all(isinstance(model.get_submodule(name), nn.Conv2d) for name in layers)


def test_a_new_entropy_model_keeps_its_scales_and_everything_around() -> None:
    torch.manual_seed(0)
    model = WeConvene(preset("tiny"))
    for parameter in model.charm.parameters():
        parameter.data.normal_()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    new_entropy_model(model)
    found = changed(model, before)
    assert {name.split(".")[0] for name in found} == {"charm"}
    assert not any(name.endswith("scale_bias") for name in found)


def test_pairs_train_alike_from_the_released_weights() -> None:
    assert len({training.identity for training in TRAININGS}) == len(TRAININGS) == 6
    for own, other in PAIRS:
        assert own.question == other.question
        assert own.config.total_steps == other.config.total_steps == CONFIG.total_steps
        assert own.config.seed == other.config.seed
        assert own.config.start_from == other.config.start_from == "lite"


def test_the_change_of_the_loss_is_a_mean_over_qualities_with_an_interval_over_pictures() -> None:
    def points(identity: str, factor: float) -> pd.DataFrame:
        rows = [{"settings": identity, "image": i, "quality": q, "loss": factor * (1 + i) * (1 + q)}
                for i in range(3) for q in QUALITIES]  # fmt: skip
        return pd.DataFrame(rows)

    own, other = PAIRS[0]
    mine = points(own.identity, 0.98)
    mine["loss"] *= 1 + 0.01 * (mine.image - 1)
    (row,) = compared(pd.concat([mine, points(other.identity, 1.0)])).itertuples()
    half = 4.302653 * 0.98 / np.sqrt(3)
    assert (row.loss_change_pct, row.low_pct, row.high_pct) == pytest.approx((-2, -2 - half, -2 + half), abs=1e-4)
    assert row.images == 3
    assert compared(mine).empty  # the other one is missing
