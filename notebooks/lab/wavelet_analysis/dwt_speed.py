"""Every DWT library, and the 3DM-WeConv layer against the plain 3x3 convolution that it replaces, timed side by side.

``python -m lab.wavelet_analysis.dwt_speed`` (``make table NAME=wavelet_speed``) writes ``wavelet_speed.csv`` and
``layer_speed.csv`` in ``results/tables``. What is compared takes turns, so that a disturbance of the machine meets all.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from lab.complexity.latency import Call, extra_memory, medians
from lab.paths import save_table
from weconvene_core.layers.weconv import WeConv3d
from weconvene_core.wavelets import dwt2d

SHAPES = ((4, 96, 64, 64), (1, 128, 256, 256), (8, 3, 512, 512))
WAVELETS, LEVELS = ("haar", "9/7"), (1, 3)
DIRECTIONS = ("forward", "forward+backward")
OURS, OURS_COMPILED, PYWT = "weconvene_core", "weconvene_core compiled", "PyWavelets"
LIBRARIES = (OURS, OURS_COMPILED, PYWT, "ptwt", "torchwavelets", "pytorch_wavelets")
# PyWavelets' name, and the border rule that gives our coefficients (Haar needs none on even sizes)
PYWT_NAMES = {"haar": ("haar", "zero"), "9/7": ("bior4.4", "reflect")}
CHANNELS, SIDE = 128, 256
LAYOUTS = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}

Transform = Callable[[Tensor], list[Tensor]]


def transform(library: str, wavelet: str, levels: int, device: torch.device) -> Transform:
    """Return a library's DWT as a function from a batch of images (B, C, H, W) to its bands.

    Raises
    ------
    ImportError
        If the library is not installed or does not import here.
    """
    name, mode = PYWT_NAMES[wavelet]
    match library:
        case "weconvene_core":
            return lambda x: list(dwt2d(x, wavelet, levels).bands().values())
        case "weconvene_core compiled":
            return torch.compile(transform(OURS, wavelet, levels, device), fullgraph=True, dynamic=False)
        case "PyWavelets":
            pywt = import_module("pywt")
            return lambda x: _flat(pywt.wavedec2(x.numpy(), name, mode, levels, axes=(-2, -1)))
        case "ptwt":
            ptwt = import_module("ptwt")
            return lambda x: _flat(ptwt.wavedec2(x, name, mode=mode, level=levels))
        case "torchwavelets":
            module = import_module("torchwavelets").DWT2D(J=levels, wave=name, mode=mode).to(device)
        case _:
            module = import_module("pytorch_wavelets").DWTForward(J=levels, wave=name, mode=mode).to(device)
    return lambda x: _flat(module(x))


def _flat(result: object) -> list[Tensor]:
    """Collect the arrays of a nested result."""
    if isinstance(result, Sequence):
        return [band for part in result for band in _flat(part)]
    return [result]  # type: ignore[list-item]


def _call(function: Transform, x: Tensor, backward: bool, parameters: Iterable[Tensor] = ()) -> Call:
    """One timed call: the function, and for both directions the gradient of all that it makes."""
    leaf, parameters = x.clone().requires_grad_(backward), list(parameters)

    def run() -> object:
        with torch.set_grad_enabled(backward):
            made = function(leaf)
            return torch.autograd.grad(made, [leaf, *parameters], [m.detach() for m in made]) if backward else made

    return run


def transform_rows(
    wavelet: str, levels: int, shape: Sequence[int], direction: str, device: torch.device, left_out: dict[str, str]
) -> list[dict[str, object]]:
    """Measure one row for every library that can do it; those that cannot are added to ``left_out``."""
    calls: dict[str, Call] = {}
    x, backward = torch.randn(*shape, device=device), direction != "forward"
    for library in LIBRARIES:
        # PyWavelets has neither gradients nor other devices
        if library in left_out or (library == PYWT and (backward or device.type != "cpu")):
            continue
        try:
            calls[library] = _call(transform(library, wavelet, levels, device), x, backward)
        except ImportError as error:
            left_out[library] = str(error)
    times = medians(calls)
    return [
        {
            "library": library, "wavelet": wavelet, "levels": levels, "shape": "x".join(map(str, shape)),
            "direction": direction, "device": device.type, "median_ms": round(times[library], 3),
            "peak_mb": round(extra_memory(call, device), 1),
        }
        for library, call in calls.items()
    ]  # fmt: skip


def measure_transforms(device: torch.device) -> pd.DataFrame:
    """Measure every shape, wavelet, level count and direction; print which libraries were left out, and why."""
    left_out = {} if shutil.which("g++") or device.type == "cuda" else {OURS_COMPILED: "no C++ compiler (g++) here"}
    rows: list[dict[str, object]] = []
    cases = [(w, j, s, d) for s in SHAPES for w in WAVELETS for j in LEVELS for d in DIRECTIONS]
    for case in tqdm(cases, desc=f"wavelets on {device.type}", unit="row"):
        torch._dynamo.reset()  # every case is compiled for itself
        rows += transform_rows(*case, device, left_out)
    for library, reason in left_out.items():
        tqdm.write(f"left out: {library} ({reason})")
    return pd.DataFrame(rows)


def measure_layers(device: torch.device, channels: int = CHANNELS, side: int = SIDE) -> pd.DataFrame:
    """Measure the layers on a map (1, channels, side, side) in both layouts and directions.

    Returns
    -------
    Columns layer, channels, side, layout, direction, device, gmacs, median_ms, peak_mb, floor_ms (of the layer's
    forward pass; empty elsewhere).
    """
    rows: list[dict[str, object]] = []
    plain, ours = nn.Conv2d(channels, channels, 3, padding=1), WeConv3d(channels, channels, "9/7", levels=2)
    for layout, memory_format in LAYOUTS.items():
        x = torch.randn(1, channels, side, side, device=device).contiguous(memory_format=memory_format)
        layers = {"plain 3x3": plain, "3DM-WeConv": ours}
        if shutil.which("g++"):
            layers["3DM-WeConv compiled"] = torch.compile(ours, fullgraph=True, dynamic=False)
        for direction, passes in zip(DIRECTIONS, (1, 3), strict=True):
            calls = {name: _layer_call(layer.to(device, memory_format=memory_format), x, passes > 1)
                     for name, layer in layers.items()}  # fmt: skip
            times = medians(calls)
            for name, call in calls.items():
                macs = 9 * channels**2 * side**2 if name == "plain 3x3" else ours.macs(side, side)
                rows.append({
                    "layer": name, "channels": channels, "side": side, "layout": layout, "direction": direction,
                    "device": device.type, "gmacs": round(macs * passes / 1e9, 3),
                    "median_ms": round(times[name], 2), "peak_mb": round(extra_memory(call, device), 1),
                    "floor_ms": round(_floor_ms(x, macs), 2) if passes == 1 and name != "plain 3x3" else None,
                })  # fmt: skip
    return pd.DataFrame(rows)


def _layer_call(layer: nn.Module, x: Tensor, backward: bool) -> Call:
    return _call(lambda leaf: [layer(leaf)], x, backward, layer.parameters())


def _floor_ms(x: Tensor, macs: int) -> float:
    """Milliseconds that no implementation can avoid here: six passes over the map, and the multiplications.

    The passes read the map and write its bands, read and write the bands around the convolutions, read the bands and
    write the map, at the measured rate of a copy into warm memory. A 1x1 convolution gives the rate of multiplications.
    """
    pointwise, target = nn.Conv2d(x.shape[1], x.shape[1], 1).to(x), torch.empty_like(x)
    with torch.no_grad():
        times = medians({"copy": lambda: target.copy_(x), "pointwise": lambda: pointwise(x)})
    one_pass = times["copy"] / 2  # a copy reads and writes
    rate = pointwise.weight.numel() * x.shape[2] * x.shape[3] / max(times["pointwise"] - times["copy"], 1e-3)
    return 6 * one_pass + macs / rate


def main() -> None:
    """Measure, write both tables, and print them (milliseconds of the libraries side by side)."""
    devices = [torch.device("cpu"), *([torch.device("cuda")] if torch.cuda.is_available() else [])]
    layers = pd.concat([measure_layers(device) for device in devices])
    save_table(layers, "layer_speed", None)
    print(layers.to_string(index=False))
    speeds = pd.concat([measure_transforms(device) for device in devices])
    save_table(speeds, "wavelet_speed", None)
    keys = ["device", "shape", "wavelet", "levels", "direction"]
    print(speeds.pivot(index=keys, columns="library", values="median_ms").to_string())


if __name__ == "__main__":
    main()
