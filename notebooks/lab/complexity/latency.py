"""How long a codec takes, and where the time goes, measured on the unchanged ``compress`` and ``decompress``."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import torch
from compressai.models import CompressionModel
from torch import Tensor

from weconvene_core.entropy import DecodeMode, EncodeMode

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


@dataclass
class Stopwatch:
    """Seconds per stage; time counts for the innermost stage that is under way."""

    seconds: Counter[str] = field(default_factory=Counter)
    _stack: list[str] = field(default_factory=lambda: [OTHER])
    _since: float = field(default_factory=time.perf_counter)

    def _switch(self) -> None:
        now = time.perf_counter()
        self.seconds[self._stack[-1]] += now - self._since
        self._since = now

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Book the time of the block under ``name``."""
        self._switch()
        self._stack.append(name)
        try:
            yield
        finally:
            self._switch()
            self._stack.pop()

    @contextmanager
    def around(self, owner: Any, method: str, name: str) -> Iterator[None]:
        """Book every call of ``owner.method`` under ``name`` for as long as the block lasts."""
        original = getattr(owner, method)

        @wraps(original)
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.stage(name):
                return original(*args, **kwargs)

        own = method in vars(owner)
        setattr(owner, method, timed)
        try:
            yield
        finally:
            setattr(owner, method, original) if own else delattr(owner, method)


@contextmanager
def watched(model: CompressionModel) -> Iterator[Stopwatch]:
    """Time the stages of a model for as long as the block lasts."""
    watch = Stopwatch()
    with ExitStack() as stack:
        for owner, method, name in _watched_calls(model):
            stack.enter_context(watch.around(owner, method, name))
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


@dataclass(frozen=True)
class Latency:
    """Medians over ``runs`` of coding one image: milliseconds in all, and by stage for encoding and decoding."""

    encode_ms: float
    decode_ms: float
    encode_stages: dict[str, float]
    decode_stages: dict[str, float]
    runs: int


@torch.no_grad()
def time_codec(model: CompressionModel, x: Tensor, runs: int = 5, budget_s: float = 6.0) -> Latency:
    """Encode and decode one image (1, 3, H, W) repeatedly after a warm-up; both work on tensors in memory.

    Stops after ``runs`` repetitions, or earlier (but after at least one) when ``budget_s`` seconds are spent.
    """
    model.decompress(**_decoder_input(model.compress(x)))
    rows: list[tuple[float, float, Counter[str], Counter[str]]] = []
    started = time.perf_counter()
    while not rows or (len(rows) < runs and time.perf_counter() - started < budget_s):
        coded, encode_s, encode_stages = _timed(model, lambda: model.compress(x))
        inputs = _decoder_input(coded)
        _, decode_s, decode_stages = _timed(model, lambda inputs=inputs: model.decompress(**inputs))
        rows.append((encode_s, decode_s, encode_stages, decode_stages))
    encode, decode, encode_stages, decode_stages = zip(*rows, strict=True)
    return Latency(
        1e3 * statistics.median(encode), 1e3 * statistics.median(decode),
        _median_stages(encode_stages), _median_stages(decode_stages), len(rows),
    )  # fmt: skip


def median_ms(call: Callable[[], object], runs: int = 5) -> float:
    """Return the median wall time of ``call`` in milliseconds over ``runs``, after one call that is not counted."""
    call()
    seconds = []
    for _ in range(runs):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return 1e3 * statistics.median(seconds)


def _decoder_input(coded: dict[str, Any]) -> dict[str, Any]:
    return {"strings": coded["strings"], "shape": coded["shape"]}


def _timed(model: CompressionModel, call: Callable[[], Any]) -> tuple[Any, float, Counter[str]]:
    with watched(model) as watch:
        started = time.perf_counter()
        with watch.stage(OTHER):
            result = call()
        return result, time.perf_counter() - started, watch.seconds


def _median_stages(rows: tuple[Counter[str], ...]) -> dict[str, float]:
    return {stage: 1e3 * statistics.median(row[stage] for row in rows) for stage in STAGES}
