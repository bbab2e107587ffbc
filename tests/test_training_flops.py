"""Operations of a training, counted on the model."""

from __future__ import annotations

from dataclasses import replace

from lab.complexity.training_flops import PROBE_SIDE, step_flops
from weconvene_core.model.presets import preset
from weconvene_core.model.weconvene import WeConvene
from weconvene_core.training.config import Stage

JOINT = Stage("joint", 6, 1e-3, 1e-4, batch=2, crop=64)


def test_operations_are_counted_where_images_must_be_larger_than_usual() -> None:
    coarse = {"latent_stride": 16, "latent_channels": 16, "scales_a": 3, "scales_s": 3, "lf_slices": 2, "hf_slices": 2}
    model = WeConvene(replace(preset("tiny"), shortcut=False, **coarse))
    assert model.config.stride > PROBE_SIDE
    one, four = (step_flops(model, replace(JOINT, batch=1, crop=side)) for side in (128, 256))
    assert 3.5 < four / one < 4.0
