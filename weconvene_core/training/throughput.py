"""How fast training is, beside what the machine can do: operations of a step, and its measured convolution rate."""

from __future__ import annotations

import copy
import time
from functools import cache

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from weconvene_core.model.weconvene import WeConvene
from weconvene_core.training.config import Stage
from weconvene_core.training.objective import Objective, autocast

PROBE_SIDE = 64  # side of the images on which a step's operations are counted, or the model's stride if it is longer
PROBE_CHANNELS = 128
BACKWARD_AND_FORWARD = 3  # a convolution's two gradients cost as much as itself, each


def step_flops(model: WeConvene, phase: Stage) -> float:
    """Floating-point operations of one step of ``phase``, forward and backward (two for a multiplication and addition).

    Operations are a constant (kernels are folded once a step) plus a part that grows with the pixels; both follow from
    counting one small image and two.
    """
    probe = copy.deepcopy(model).train()
    probe.bypass_transforms = not phase.transforms and model.config.shortcut
    side = max(PROBE_SIDE, model.config.stride)
    one, two = (_counted(probe, images, side) for images in (1, 2))
    return one + (two - one) * (phase.batch * phase.crop**2 / side**2 - 1)


def _counted(model: WeConvene, images: int, side: int) -> int:
    device = next(model.parameters()).device
    x = torch.full((images, 3, side, side), 0.5, device=device)
    with FlopCounterMode(display=False) as counter:
        loss, _ = Objective(model)(x, torch.full((images,), 3.0, device=device), 1.0, 1.0)
        loss.backward()
    return counter.get_total_flops()


def convolution_rate(device: torch.device) -> float:
    """Floating-point operations a second of a 3x3 convolution of 128 channels, forward and backward, as trained here.

    The best of a few runs, measured once per device and thread count: a yardstick for the training, not a peak.
    """
    return _convolution_rate(device, torch.get_num_threads())


@cache
def _convolution_rate(device: torch.device, threads: int) -> float:
    images, side = (64, 96) if device.type == "cuda" else (8, 24)
    x = torch.randn(images, PROBE_CHANNELS, side, side, device=device).to(memory_format=torch.channels_last)
    weight = torch.randn(PROBE_CHANNELS, PROBE_CHANNELS, 3, 3, device=device, requires_grad=True)
    seconds = min(_seconds(x.requires_grad_(), weight) for _ in range(6))
    return BACKWARD_AND_FORWARD * 2 * weight.numel() * images * side**2 / seconds


def _seconds(x: torch.Tensor, weight: torch.Tensor) -> float:
    _wait(x.device)
    start = time.perf_counter()
    with autocast(x.device):
        y = F.conv2d(x, weight, padding=1)
    y.backward(y.detach())
    _wait(x.device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def gpu_percent(device: torch.device) -> int | None:
    """Share of the last moments in which the GPU worked; None on a CPU or without NVIDIA's management library."""
    if device.type != "cuda":
        return None
    try:
        return torch.cuda.utilization(device)
    except (ModuleNotFoundError, RuntimeError):
        return None


def device_name(device: torch.device) -> str:
    """Return what the training ran on, e.g. ``CPU, 2 threads`` or the GPU's name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' * (threads > 1)}"
