"""One 3DM-WeConv layer against the plain 3x3 convolution that it replaces, and against what the machine could do.

The layer has a sixth of the multiplications, so memory traffic decides. The floor counts what no implementation on this
machine can avoid: reading the map and writing its bands, reading and writing the bands around the convolutions, reading
the bands and writing the map (six passes over one map, at the measured rate of a copy into warm memory), and the
multiplications at the measured rate of a 1x1 convolution.
"""

from __future__ import annotations

import shutil

import pandas as pd
import torch
from torch import Tensor, nn

from lab.complexity.latency import Call, extra_memory, medians
from weconvene_core.layers.weconv import WeConv3d
from weconvene_core.paths import RESULTS

LAYER_SPEED = RESULTS / "tables" / "layer_speed.csv"
CHANNELS, SIDE, WAVELET, LAYER_LEVELS = 128, 256, "9/7", 2
PASSES = 6
LAYOUTS = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}
PLAIN, OURS, COMPILED = "plain 3x3", "3DM-WeConv", "3DM-WeConv compiled"


def measure_layers(device: torch.device, channels: int = CHANNELS, side: int = SIDE) -> pd.DataFrame:
    """Measure the layers on a map (1, channels, side, side) in both layouts and directions.

    Returns
    -------
    Columns layer, channels, side, layout, direction, device, gmacs, median_ms, peak_mb, floor_ms (of the layer's
    forward pass; empty elsewhere).
    """
    rows: list[dict[str, object]] = []
    for layout, memory_format in LAYOUTS.items():
        x = torch.randn(1, channels, side, side, device=device).contiguous(memory_format=memory_format)
        layers = {name: layer.to(device, memory_format=memory_format) for name, layer in _layers(channels).items()}
        for direction, passes in (("forward", 1), ("forward+backward", 3)):
            calls = {name: _call(layer, x, backward=passes > 1) for name, layer in layers.items()}
            times = medians(calls)
            for name, call in calls.items():
                macs = WeConv3d(channels, channels, WAVELET, 0 if name == PLAIN else LAYER_LEVELS).macs(side, side)
                rows.append({
                    "layer": name, "channels": channels, "side": side, "layout": layout, "direction": direction,
                    "device": device.type, "gmacs": round(macs * passes / 1e9, 3),
                    "median_ms": round(times[name], 2), "peak_mb": round(extra_memory(call, device), 1),
                    "floor_ms": round(_floor_ms(x, macs), 2) if passes == 1 and name != PLAIN else None,
                })  # fmt: skip
    return pd.DataFrame(rows)


def _layers(channels: int) -> dict[str, nn.Module]:
    ours = WeConv3d(channels, channels, WAVELET, LAYER_LEVELS)
    layers: dict[str, nn.Module] = {PLAIN: nn.Conv2d(channels, channels, 3, padding=1), OURS: ours}
    if shutil.which("g++"):
        layers[COMPILED] = torch.compile(ours, fullgraph=True, dynamic=False)
    return layers


def _call(layer: nn.Module, x: Tensor, backward: bool) -> Call:
    leaf = x.clone().requires_grad_()

    def run() -> object:
        with torch.set_grad_enabled(backward):
            y = layer(leaf)
            return torch.autograd.grad(y, [leaf, *layer.parameters()], y.detach()) if backward else y

    return run


def _floor_ms(x: Tensor, macs: int) -> float:
    """Milliseconds of six passes over the map and of the multiplications."""
    pointwise, target = nn.Conv2d(x.shape[1], x.shape[1], 1).to(x), torch.empty_like(x)
    with torch.no_grad():
        times = medians({"copy": lambda: target.copy_(x), "pointwise": lambda: pointwise(x)})
    one_pass = times["copy"] / 2  # a copy reads and writes
    rate = pointwise.weight.numel() * x.shape[2] * x.shape[3] / max(times["pointwise"] - times["copy"], 1e-3)
    return PASSES * one_pass + macs / rate
