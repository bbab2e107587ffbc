"""Peak memory of a codec, measured in a process of its own.

``python -m lab.complexity.peak_memory MODEL THREADS WIDTHxHEIGHT ...`` prints one JSON object: peak resident
memory in MiB once the model is loaded (interpreter, libraries and weights), then after coding an image of each size.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import torch

from lab.complexity.models import ready_model, sample_image
from lab.paths import NOTEBOOKS
from weconvene_core.errors import WeconveneError

STATUS = Path("/proc/self/status")
LOADED = "loaded"
ROOM = 8 * 2**30
"""Bytes that the largest model needs; where they are not free, one process runs at a time."""


def peak_memory(name: str, sizes: Sequence[tuple[int, int]], threads: int) -> dict[str, float]:
    """Code one image of each (height, width) in a fresh process; return peaks in MiB under ``WIDTHxHEIGHT``.

    The entry ``loaded`` is the peak before the first image. A peak never falls, so sizes are taken in rising order.

    Raises
    ------
    WeconveneError
        If the process fails; the message carries its last line.
    """
    labels = [label(size) for size in sorted(sizes, key=lambda size: size[0] * size[1])]
    command = [sys.executable, "-W", "ignore", "-m", __name__, name, str(threads), *labels]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=NOTEBOOKS)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it stopped without a word, perhaps for lack of memory"])[-1]
        raise WeconveneError(f"The memory of {name} could not be measured: {reason}")
    return json.loads(done.stdout)


def label(size: tuple[int, int]) -> str:
    """Name an image size (height, width) as tables do: ``WIDTHxHEIGHT``."""
    return f"{size[1]}x{size[0]}"


def peak_memories(names: Sequence[str], sizes: Sequence[tuple[int, int]], threads: int) -> dict[str, dict[str, float]]:
    """Return :func:`peak_memory` of several models by name, in as many processes as processors and memory allow."""
    workers = min((os.cpu_count() or 1) // threads, psutil.virtual_memory().available // ROOM)
    with ThreadPoolExecutor(max(1, workers)) as pool:
        return dict(zip(names, pool.map(lambda name: peak_memory(name, sizes, threads), names), strict=True))


def peak_of_this_process() -> float:
    """Return the peak resident memory of this process in MiB.

    Linux keeps it in /proc; ``ru_maxrss``, taken on macOS, would there start at the parent's size.
    """
    if STATUS.is_file():
        found = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text(encoding="utf-8"))
        if found:
            return int(found[1]) / 1024
    try:
        import resource
    except ImportError:  # Windows
        return psutil.Process().memory_info().peak_wset / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS counts bytes


def main(arguments: Sequence[str]) -> None:
    """Measure in this process and print the result."""
    name, threads, *sizes = arguments
    torch.set_num_threads(int(threads))
    model = ready_model(name)
    peaks = {LOADED: peak_of_this_process()}
    for size in sizes:
        width, height = map(int, size.split("x"))
        coded = model.compress(sample_image(height, width))
        model.decompress(coded["strings"], coded["shape"])
        peaks[size] = peak_of_this_process()
    print(json.dumps(peaks))


if __name__ == "__main__":
    with torch.no_grad():
        main(sys.argv[1:])
