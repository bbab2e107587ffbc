"""`make bench-wavelets`: every DWT library and the 3DM-WeConv layer, side by side in one process, medians.

``python -m lab.wavelet_analysis.dwt_speed`` writes ``results/tables/wavelet_speed.csv`` (transforms) and
``results/tables/layer_speed.csv`` (one layer against a plain 3x3 convolution). The contenders of a row take turns, so
that a disturbance of the machine meets all of them.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import shutil
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch
from tqdm.auto import tqdm

from lab.complexity.peak_memory import peak_of_this_process
from lab.wavelet_analysis.dwt_libraries import (
    CPU_ONLY,
    NO_GRADIENT,
    OURS,
    OURS_COMPILED,
    RIVALS,
    Transform,
    transform,
)
from weconvene_core.paths import RESULTS

WAVELET_SPEED = RESULTS / "tables" / "wavelet_speed.csv"
SHAPES = ((4, 96, 64, 64), (1, 128, 256, 256), (8, 3, 512, 512))
WAVELETS, LEVELS = ("haar", "9/7"), (1, 3)
FORWARD, BOTH = "forward", "forward+backward"
ROUNDS, WARM_UP = 11, 2
MIB = 2**20
Call = Callable[[], object]


def medians(calls: Mapping[str, Call], rounds: int = ROUNDS, warm_up: int = WARM_UP) -> dict[str, float]:
    """Run the calls in turns and return the median milliseconds of each."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(warm_up + rounds):
        for name, call in calls.items():
            _finish()
            start = time.perf_counter()
            call()
            _finish()
            if turn >= warm_up:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) * 1e3 for name, values in seconds.items()}


def extra_memory(call: Call, device: torch.device) -> float:
    """Return by how many MiB one call raises the peak above what was in use before it (NaN where nobody counts it)."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return (torch.cuda.max_memory_allocated() - before) / MIB
    if not _reset_peak():
        return float("nan")
    before = peak_of_this_process()
    call()
    return peak_of_this_process() - before


def _reset_peak() -> bool:
    """Give free memory back and let Linux count the peak of this process afresh."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except (OSError, AttributeError):  # not Linux, or not glibc
        return False
    return True


def _finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


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
    """Measure one row for every library that can do it; those that cannot are named in ``left_out``."""
    calls: dict[str, Call] = {}
    for library in (OURS, OURS_COMPILED, *RIVALS):
        if library in left_out or (library in NO_GRADIENT and direction == BOTH):
            continue
        if library in CPU_ONLY and device.type != "cpu":
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
    """Measure and write both tables."""
    from lab.layer_analysis.layer_speed import LAYER_SPEED, measure_layers  # it times with this module's medians

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
    print(ratios(speeds).to_string(index=False))


def ratios(speeds: pd.DataFrame) -> pd.DataFrame:
    """Return how many times longer the fastest rival takes than we do, eager and compiled, per row."""
    keys = ["device", "shape", "wavelet", "levels", "direction"]
    wide = speeds.pivot(index=keys, columns="library", values="median_ms")
    rivals = wide[[name for name in RIVALS if name in wide]]
    table = pd.DataFrame({"fastest_rival": rivals.idxmin(axis=1), "rival_ms": rivals.min(axis=1)})
    for column, library in (("eager", OURS), ("compiled", OURS_COMPILED)):
        if library in wide:
            table[f"{column}_ms"] = wide[library]
            table[f"{column}_ratio"] = (rivals.min(axis=1) / wide[library]).round(2)
    return table.reset_index()


if __name__ == "__main__":
    main()
