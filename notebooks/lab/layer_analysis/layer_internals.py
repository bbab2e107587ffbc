"""One 3DM-WeConv layer: shapes, receptive field (by following taps, and measured), and answers of its kernels."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import product
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from weconvene_core.layers.weconv import WeConv3d
from weconvene_core.wavelets import LiftingScheme, scheme

FIELD = 96
"""Side of the map on which receptive fields are measured: wider than the widest of two levels."""
KINDS = ("HL", "LH", "HH")
NOTHING = 1e-14
"""Gradients below it count as zero (float64, weights around 1)."""


class BandConvolution(NamedTuple):
    """One convolution inside the layer as it was called: shapes (B, C, H, W) and the kernel's (out, in, k, k)."""

    bands: str
    seen: tuple[int, ...]
    kernel: tuple[int, ...]
    made: tuple[int, ...]


class _Recorder(TorchFunctionMode):
    """Notes the shapes of every convolution that runs meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[tuple[int, ...], ...]] = []

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is F.conv2d:
            self.shapes.append(tuple(tuple(t.shape) for t in (args[0], args[1], result)))
        return result


def band_convolutions(layer: WeConv3d, x: Tensor) -> list[BandConvolution]:
    """Run the layer on ``x`` (B, C, H, W) and return its convolutions as they happen: finest bands first, LL_J last.

    Parameters
    ----------
    layer : any variant.
    x : height and width of at least 2^J, so that no band is empty.
    """
    bare = copy.deepcopy(layer)
    bare.low_norm = bare.high_norm = None  # GDN is a convolution itself, and no normalisation changes a shape
    with _Recorder() as recorder, torch.no_grad():
        bare(x)
    levels = range(1, layer.levels + 1)
    names = [" + ".join(f"{kind}{j}" for kind in KINDS) for j in levels]
    if not layer.joint_high:
        names = [f"{kind}{j}" for j in levels for kind in KINDS]
    names.append(f"LL{layer.levels}" if layer.levels else "LL")
    return [BandConvolution(name, *shapes) for name, shapes in zip(names, recorder.shapes, strict=True)]


# --- receptive field -------------------------------------------------------------------------------------------------


def receptive_field_of(layer: WeConv3d) -> int:
    """Return the width in samples of the input window that one output depends on, the largest over all positions.

    Samples that are needed are followed backwards through the inverse lifting steps, the kernels and the forward
    lifting steps, level by level, on an endless signal. By hand, for Haar: an output lies in a block of 2^J, its LF
    coefficient sees three blocks, so the window is 3 x 2^J wide.
    """
    lifting = scheme(layer.wavelet)
    kernels = layer.low_weight.shape[-1], layer.high_weight.shape[-1]
    needed = [_needed(lifting, layer.levels, {position}, *kernels) for position in range(2**layer.levels)]
    return max(max(samples) - min(samples) + 1 for samples in needed)


def _needed(lifting: LiftingScheme, levels: int, outputs: set[int], low_kernel: int, high_kernel: int) -> set[int]:
    """Samples of the layer's input that its outputs at these positions depend on."""
    if levels == 0:
        return _seen_by_kernel(outputs, low_kernel)
    halves = {"low": {i // 2 for i in outputs if i % 2 == 0}, "high": {i // 2 for i in outputs if i % 2}}
    for step in lifting.steps:  # the inverse runs them backwards, so its dependencies are followed forwards
        _add_sources(halves, step)
    halves["low"] = _needed(lifting, levels - 1, halves["low"], low_kernel, high_kernel)
    halves["high"] = _seen_by_kernel(halves["high"], high_kernel)
    for step in reversed(lifting.steps):
        _add_sources(halves, step)
    return {2 * i for i in halves["low"]} | {2 * i + 1 for i in halves["high"]}


def _seen_by_kernel(positions: set[int], kernel: int) -> set[int]:
    return {i + shift for i in positions for shift in range(-(kernel // 2), kernel // 2 + 1)}


def _add_sources(halves: dict[str, set[int]], step: Any) -> None:
    """Add what a lifting step's target reads from the other half."""
    source = "low" if step.target == "high" else "high"
    halves[source] |= {i + tap.offset for i in halves[step.target] for tap in step.taps}


def footprint(layer: WeConv3d, phase: tuple[int, int] = (0, 0)) -> Tensor:
    """Return how strongly each input position moves one output near the middle: (FIELD, FIELD), float64.

    The root mean square over the input channels of the gradient of the output's channels, summed.

    Parameters
    ----------
    layer : its parameters and type are left as they are.
    phase : position of the output within the cell of 2^J x 2^J.
    """
    cell = 2**layer.levels
    row, column = (FIELD // 2 // cell * cell + offset for offset in phase)
    x = torch.zeros(1, layer.low_weight.shape[1], FIELD, FIELD, dtype=torch.float64, requires_grad=True)
    tensors = {name: t.double() for name, t in (*layer.named_parameters(), *layer.named_buffers())}
    y = torch.func.functional_call(layer, tensors, x)
    (gradient,) = torch.autograd.grad(y[0, :, row, column].sum(), x)
    return gradient[0].square().mean(0).sqrt()


def measured_reach(layer: WeConv3d) -> int:
    """Return the largest width, over all phases, of the window of inputs with a gradient (see :func:`footprint`)."""
    return max(window(footprint(layer, (phase, phase)))[2] for phase in range(2**layer.levels))


def window(picture: Tensor) -> tuple[int, int, int, int]:
    """Return left, top, width and height of the smallest box that holds everything but zeros of (H, W)."""
    rows, columns = (picture.abs().amax(axis).gt(NOTHING).nonzero().flatten() for axis in (1, 0))
    left, top = int(columns[0]), int(rows[0])
    return left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1


@contextmanager
def only(layer: WeConv3d, part: str) -> Iterator[WeConv3d]:
    """Silence the kernels of the other bands inside a ``with`` block; ``part`` is ``low``, ``high`` or ``all``."""
    weights = {"low": layer.low_weight, "high": layer.high_weight}
    silenced = {name: weight.detach().clone() for name, weight in weights.items() if part not in (name, "all")}
    for name in silenced:
        weights[name].data.zero_()
    try:
        yield layer
    finally:
        for name, before in silenced.items():
            weights[name].data.copy_(before)


# --- answers ---------------------------------------------------------------------------------------------------------


def response_errors(
    conv: nn.Conv2d, layers: Mapping[tuple[str, int], WeConv3d], inputs: Mapping[str, Tensor]
) -> pd.DataFrame:
    """Compare the answers of projected layers with those of the convolution that they come from.

    Returns
    -------
    One row per (wavelet, levels) and input: ``unexplained_pct`` is the energy of the difference over that of the
    convolution's answer without its bias, in percent.
    """
    rows = []
    bias = 0.0 if conv.bias is None else conv.bias[:, None, None]
    with torch.no_grad():
        for ((wavelet, levels), layer), (name, x) in product(layers.items(), inputs.items()):
            wanted = conv(x)
            share = (layer(x) - wanted).square().mean() / (wanted - bias).square().mean()
            rows.append({"wavelet": wavelet, "levels": levels, "input": name, "unexplained_pct": 100 * share.item()})
    return pd.DataFrame(rows)
