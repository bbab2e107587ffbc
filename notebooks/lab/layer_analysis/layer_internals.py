"""One 3DM-WeConv layer under the lens: its real shapes, what an output sees, and how a projected kernel answers."""

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
        self.shapes: list[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is F.conv2d:
            self.shapes.append((tuple(args[0].shape), tuple(args[1].shape), tuple(result.shape)))
        return result


def band_convolutions(layer: WeConv3d, x: Tensor) -> list[BandConvolution]:
    """Run the layer on ``x`` (B, C, H, W) and return its convolutions as they happen: finest bands first, LL_J last.

    Args:
        layer: any variant.
        x: height and width of at least 2^J, so that no band is empty.
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


def footprint(layer: WeConv3d, phase: tuple[int, int] = (0, 0)) -> Tensor:
    """Return how strongly each input position moves one output near the middle: (FIELD, FIELD), float64.

    The root mean square over the input channels of the gradient of the output's channels, summed.

    Args:
        layer: its parameters and type are left as they are.
        phase: position of the output within the cell of 2^J x 2^J.
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
    kept = [weight.detach().clone() for weight in (layer.low_weight, layer.high_weight)]
    with torch.no_grad():
        for name, weight in (("low", layer.low_weight), ("high", layer.high_weight)):
            weight.mul_(part in (name, "all"))
    try:
        yield layer
    finally:
        with torch.no_grad():
            for weight, before in zip((layer.low_weight, layer.high_weight), kept, strict=True):
                weight.copy_(before)


def response_errors(
    conv: nn.Conv2d, layers: Mapping[tuple[str, int], WeConv3d], inputs: Mapping[str, Tensor]
) -> pd.DataFrame:
    """Compare the answers of projected layers with those of the convolution they come from.

    Returns one row per (wavelet, levels) and input: ``unexplained_pct`` is the energy of the difference over that of
    the convolution's answer without its bias, in percent.
    """
    rows = []
    bias = 0.0 if conv.bias is None else conv.bias[:, None, None]
    with torch.no_grad():
        for ((wavelet, levels), layer), (name, x) in product(layers.items(), inputs.items()):
            wanted = conv(x)
            share = (layer(x) - wanted).square().mean() / (wanted - bias).square().mean()
            rows.append({"wavelet": wavelet, "levels": levels, "input": name, "unexplained_pct": 100 * share.item()})
    return pd.DataFrame(rows)
