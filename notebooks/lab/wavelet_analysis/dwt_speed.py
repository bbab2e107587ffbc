"""Every DWT library and the 3DM-WeConv layer, side by side in one process (``make table NAME=wavelet_speed``).

``python -m lab.wavelet_analysis.dwt_speed`` writes ``results/tables/wavelet_speed.csv`` (transforms) and
``results/tables/layer_speed.csv`` (one layer against a plain 3x3 convolution). The libraries of a row take turns, so
that a disturbance of the machine meets all of them.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Sequence
from importlib import import_module

import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from lab.complexity.latency import Call, extra_memory, medians
from lab.layer_analysis.layer_speed import LAYER_SPEED, measure_layers
from weconvene_core.paths import RESULTS
from weconvene_core.wavelets import dwt2d

WAVELET_SPEED = RESULTS / "tables" / "wavelet_speed.csv"
SHAPES = ((4, 96, 64, 64), (1, 128, 256, 256), (8, 3, 512, 512))
WAVELETS, LEVELS = ("haar", "9/7"), (1, 3)
FORWARD, BOTH = "forward", "forward+backward"
OURS, OURS_COMPILED, PYWT = "weconvene_core", "weconvene_core compiled", "PyWavelets"
LIBRARIES = (OURS, OURS_COMPILED, PYWT, "ptwt", "torchwavelets", "pytorch_wavelets")
PYWT_NAMES = {"haar": "haar", "9/7": "bior4.4"}
MODES = {"haar": "zero", "9/7": "reflect"}
"""The border rule that gives our coefficients: mirrored samples for 9/7, none needed for Haar on even sizes."""

Transform = Callable[[Tensor], list[Tensor]]


def transform(library: str, wavelet: str, levels: int, device: torch.device) -> Transform:
    """Return a library's DWT as a function from a batch of images (B, C, H, W) to its bands.

    Raises
    ------
    ImportError
        If the library is not installed or does not import here.
    """
    name, mode = PYWT_NAMES[wavelet], MODES[wavelet]
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


def _call(bands_of: Transform, shape: Sequence[int], direction: str, device: torch.device) -> Call:
    """One timed call on noise: the transform, and for both directions the gradient of all bands."""
    x = torch.randn(*shape, device=device, requires_grad=direction == BOTH)

    def forward() -> object:
        with torch.no_grad():
            return bands_of(x)

    def both() -> object:
        bands = bands_of(x)
        return torch.autograd.grad(bands, x, [band.detach() for band in bands])

    return both if direction == BOTH else forward


def transform_rows(
    wavelet: str, levels: int, shape: Sequence[int], direction: str, device: torch.device, left_out: dict[str, str]
) -> list[dict[str, object]]:
    """Measure one row for every library that can do it; those that cannot are added to ``left_out``."""
    calls: dict[str, Call] = {}
    for library in LIBRARIES:
        # PyWavelets has neither gradients nor other devices
        if library in left_out or (library == PYWT and (direction == BOTH or device.type != "cpu")):
            continue
        try:
            calls[library] = _call(transform(library, wavelet, levels, device), shape, direction, device)
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


def measure_transforms(device: torch.device, shapes: Sequence[Sequence[int]] = SHAPES) -> pd.DataFrame:
    """Measure every shape, wavelet, level count and direction; print which libraries were left out, and why."""
    left_out = {} if shutil.which("g++") or device.type == "cuda" else {OURS_COMPILED: "no C++ compiler (g++) here"}
    rows: list[dict[str, object]] = []
    cases = [(w, j, s, d) for s in shapes for w in WAVELETS for j in LEVELS for d in (FORWARD, BOTH)]
    for case in tqdm(cases, desc=f"wavelets on {device.type}", unit="row"):
        torch._dynamo.reset()  # every case is compiled for itself
        rows += transform_rows(*case, device, left_out)
    for library, reason in left_out.items():
        tqdm.write(f"left out: {library} ({reason})")
    return pd.DataFrame(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, write both tables, and print them (milliseconds of the libraries side by side)."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads (default: all)")
    torch.set_num_threads(parser.parse_args(arguments).threads)
    devices = [torch.device("cpu"), *([torch.device("cuda")] if torch.cuda.is_available() else [])]
    WAVELET_SPEED.parent.mkdir(parents=True, exist_ok=True)
    layers = pd.concat([measure_layers(device) for device in devices])
    layers.to_csv(LAYER_SPEED, index=False)
    print(layers.to_string(index=False))
    speeds = pd.concat([measure_transforms(device) for device in devices])
    speeds.to_csv(WAVELET_SPEED, index=False)
    keys = ["device", "shape", "wavelet", "levels", "direction"]
    print(speeds.pivot(index=keys, columns="library", values="median_ms").to_string())


if __name__ == "__main__":
    main()
