"""The laboratory's timer and memory meter, and where the time of ``compress`` and ``decompress`` goes."""

from __future__ import annotations

import ctypes
import gc
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd
import torch
from compressai.models import CompressionModel
from torch import Tensor

from lab.complexity.peak_memory import peak_of_this_process
from weconvene_core.entropy import DecodeMode, EncodeMode

ROUNDS, WARM_UP = 11, 2
MIB = 2**20
Call = Callable[[], object]
TRANSFORM, PARAMETERS, CODING, OTHER = "transform", "entropy parameters", "entropy coding", "other"
STAGES = (TRANSFORM, PARAMETERS, CODING, OTHER)
CALLS: dict[str, tuple[str, ...]] = {
    TRANSFORM: ("analyse", "synthesise", "g_a.forward", "g_s.forward"),
    PARAMETERS: ("h_a.forward", "h_s.forward", "charm.forward", "entropy_parameters.forward"),
    CODING: (
        *("entropy_bottleneck.write", "entropy_bottleneck.read"),
        *("entropy_bottleneck.compress", "entropy_bottleneck.decompress"),
        *("gaussian_conditional.compress", "gaussian_conditional.decompress", "_compress_ar", "_decompress_ar"),
    ),
}
"""The methods of a model, ours or CompressAI's, that make up each stage."""


class Stopwatch:
    """Seconds per stage; time counts for the innermost stage that is under way."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._stack = [OTHER]
        self._since = time.perf_counter()

    def run(self, call: Callable[[], Any]) -> Any:
        """Return what ``call`` returns; what no stage takes is booked under ``other``."""
        self._since = time.perf_counter()
        result = call()
        self._switch()
        return result

    def timed(self, method: Callable[..., Any], stage: str) -> Callable[..., Any]:
        """Return ``method`` with its time booked under ``stage``."""

        @wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            self._switch()
            self._stack.append(stage)
            try:
                return method(*args, **kwargs)
            finally:
                self._switch()
                self._stack.pop()

        return call

    def _switch(self) -> None:
        now = time.perf_counter()
        self.seconds[self._stack[-1]] += now - self._since
        self._since = now


@contextmanager
def watched(model: CompressionModel) -> Iterator[Stopwatch]:
    """Time the stages of a model for as long as the block lasts."""
    watch = Stopwatch()
    with ExitStack() as stack:
        for owner, method, name in _watched_calls(model):
            stack.enter_context(patch.object(owner, method, watch.timed(getattr(owner, method), name)))
        yield watch


def _watched_calls(model: CompressionModel) -> Iterator[tuple[Any, str, str]]:
    """Yield (owner, method, stage); the coder's own calls come first, they happen inside 3DWeChARM."""
    for owner, method in (
        (EncodeMode, "__call__"),
        (EncodeMode, "streams"),
        (DecodeMode, "__call__"),
    ):
        yield owner, method, CODING
    for stage, paths in CALLS.items():
        for path in paths:
            owner_name, _, method = path.rpartition(".")
            owner = getattr(model, owner_name, None) if owner_name else model
            if hasattr(owner, method):
                yield owner, method, stage


@torch.no_grad()
def time_codec(model: CompressionModel, x: Tensor, runs: int = 5, budget_s: float = 6.0) -> pd.DataFrame:
    """Encode and decode one image (1, 3, H, W) repeatedly after a warm-up; both work on tensors in memory.

    Stops after ``runs`` repetitions, or earlier (but after at least one) when ``budget_s`` seconds are spent.

    Returns
    -------
    pd.DataFrame
        Rows ``encode`` and ``decode``; columns ``STAGES``, ``total`` (medians in ms) and ``runs``.
    """
    rows: list[dict[str, float]] = []
    _code(model, x)
    started = time.perf_counter()
    while not rows or (len(rows) < 2 * runs and time.perf_counter() - started < budget_s):
        rows += _code(model, x)
    times = pd.DataFrame(rows)
    return times.groupby("side", sort=False).median().assign(runs=len(rows) // 2)


def _code(model: CompressionModel, x: Tensor) -> list[dict[str, Any]]:
    with watched(model) as encoding:
        coded = encoding.run(lambda: model.compress(x))
    with watched(model) as decoding:
        decoding.run(lambda: model.decompress(coded["strings"], coded["shape"]))
    sides = {"encode": encoding.seconds, "decode": decoding.seconds}
    return [
        {"side": side, **{stage: 1e3 * seconds[stage] for stage in STAGES}, "total": 1e3 * seconds.total()}
        for side, seconds in sides.items()
    ]


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


def give_memory_back() -> bool:
    """Hand the memory that is free in this process to the system; return whether the C library can (Linux, glibc)."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError, TypeError):
        return False
    return True


def _reset_peak() -> bool:
    """Give free memory back and let Linux count the peak of this process afresh."""
    try:
        return give_memory_back() and Path("/proc/self/clear_refs").write_text("5", encoding="ascii") > 0
    except OSError:  # not Linux
        return False


def _finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
