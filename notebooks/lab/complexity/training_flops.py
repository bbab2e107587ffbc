"""Floating-point operations of a training, counted on the model itself.

Divided by what a device achieves, they say how long a training takes; trials at equal operations are compared fairly.
"""

from __future__ import annotations

import copy

import torch
from torch.utils.flop_counter import FlopCounterMode

from weconvene_core.model.weconvene import WeConvene
from weconvene_core.training.config import Stage, TrainConfig
from weconvene_core.training.losses import Objective

PROBE_SIDE = 64  # side of the images on which a step is counted, or the model's stride if it is longer


def step_flops(model: WeConvene, stage: Stage) -> float:
    """Return the operations of one step of ``stage``, forward and backward; a multiply-add counts as two.

    Operations are a constant (kernels are folded once a step) plus a part that grows with the pixels; both follow from
    counting one small image and two.
    """
    probe = copy.deepcopy(model).train()
    probe.bypass_transforms = not stage.transforms and model.config.shortcut
    side = max(PROBE_SIDE, model.config.stride)
    one, two = (_counted(probe, images, side) for images in (1, 2))
    return one + (two - one) * (stage.batch * stage.crop**2 / side**2 - 1)


def _counted(model: WeConvene, images: int, side: int) -> int:
    device = next(model.parameters()).device
    x = torch.full((images, 3, side, side), 0.5, device=device)
    with FlopCounterMode(display=False) as counter:
        loss, _ = Objective(model)(x, torch.full((images,), 3.0, device=device), 1.0, 1.0)
        loss.backward()
    return counter.get_total_flops()


def total_flops(config: TrainConfig) -> float:
    """Return the operations of a whole training."""
    model = WeConvene(config.architecture)
    return sum(stage.steps * step_flops(model, stage) for stage in config.stages)
