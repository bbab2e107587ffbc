"""One 3DM-WeConv layer: shapes, receptive field (from the taps, and measured), and answers of its kernels."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from itertools import product
from typing import Any, NamedTuple
from unittest.mock import patch

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from weconvene_core.layers.weconv import WeConv3d
from weconvene_core.wavelets import dwt1d, idwt1d

FIELD = 96  # side of the map on which receptive fields are measured: wider than the widest of two levels
REACH = 32  # coarsest coefficients that lie more than a receptive field from an end
KINDS = ("HL", "LH", "HH")
NOTHING = 1e-14  # gradients below it count as zero (float64, weights around 1)


class BandConvolution(NamedTuple):
    """One convolution inside the layer as it was called: shapes (B, C, H, W) and the kernel's (out, in, k, k)."""

    bands: str
    seen: tuple[int, ...]
    kernel: tuple[int, ...]
    made: tuple[int, ...]


def band_convolutions(layer: WeConv3d, x: Tensor) -> list[BandConvolution]:
    """Run the layer on ``x`` (B, C, H, W) and return its convolutions as they happen: finest bands first, LL_J last.

    Height and width have to be at least 2^J, so that no band is empty.
    """
    bare = copy.deepcopy(layer)
    bare.low_norm = bare.high_norm = None  # GDN is a convolution itself, and no normalisation changes a shape
    shapes, conv2d = list[tuple[tuple[int, ...], ...]](), F.conv2d

    def noted(x: Tensor, weight: Tensor, *others: Any, **options: Any) -> Tensor:
        y = conv2d(x, weight, *others, **options)
        shapes.append((tuple(x.shape), tuple(weight.shape), tuple(y.shape)))
        return y

    with patch.object(F, "conv2d", noted), torch.no_grad():
        bare(x)
    levels = range(1, layer.levels + 1)
    names = [" + ".join(f"{kind}{j}" for kind in KINDS) for j in levels]
    if not layer.joint_high:
        names = [f"{kind}{j}" for j in levels for kind in KINDS]
    names.append(f"LL{layer.levels}" if layer.levels else "LL")
    return [BandConvolution(name, *shapes) for name, shapes in zip(names, shapes, strict=True)]


def receptive_field_of(layer: WeConv3d) -> int:
    """Return the width in samples of the input window that one output depends on, the largest over all positions.

    It follows from the taps of forward DWT, kernels and inverse DWT along one axis, whatever the weights are. By hand,
    for Haar: an output lies in a block of 2^J, its LF coefficient sees three blocks, so the window is 3 x 2^J wide.
    """
    cell = 2**layer.levels
    seen = _dependencies(layer, layer.levels, 2 * REACH * cell)
    places = [row.gt(NOTHING).nonzero() for row in seen[REACH * cell : (REACH + 1) * cell]]
    return max(int(found[-1] - found[0]) + 1 for found in places)


def _dependencies(layer: WeConv3d, levels: int, length: int) -> Tensor:
    """Positive (length, length) where an output (row) depends on an input: no two ways from one to the other cancel."""
    if levels == 0:
        return _kernel(length, layer.low_weight.shape[-1])
    low, high = dwt1d(torch.eye(length, dtype=torch.float64), layer.wavelet, 0)
    half = torch.eye(length // 2, dtype=torch.float64)
    from_low = idwt1d(half, torch.zeros_like(half), layer.wavelet, 0)
    from_high = idwt1d(torch.zeros_like(half), half, layer.wavelet, 0)
    lf, hf = _dependencies(layer, levels - 1, length // 2), _kernel(length // 2, layer.high_weight.shape[-1])
    return from_low.abs() @ lf @ low.abs() + from_high.abs() @ hf @ high.abs()


def _kernel(length: int, size: int) -> Tensor:
    """Ones (length, length) where a convolution kernel of this size reads."""
    ones = torch.ones(length, length, dtype=torch.float64)
    return ones.triu(-(size // 2)).tril(size // 2)


def footprint(layer: WeConv3d, phase: int = 0) -> Tensor:
    """Return how strongly each input position moves one output near the middle: (FIELD, FIELD), float64.

    It is the root mean square over the input channels of the gradient of the output's channels, summed. ``phase`` is
    the output's row and column within the cell of 2^J x 2^J.
    """
    middle = FIELD // 2 // 2**layer.levels * 2**layer.levels + phase
    x = torch.zeros(1, layer.low_weight.shape[1], FIELD, FIELD, dtype=torch.float64, requires_grad=True)
    tensors = {name: t.double() for name, t in (*layer.named_parameters(), *layer.named_buffers())}
    y = torch.func.functional_call(layer, tensors, x)
    (gradient,) = torch.autograd.grad(y[0, :, middle, middle].sum(), x)
    return gradient[0].square().mean(0).sqrt()


def measured_reach(layer: WeConv3d) -> int:
    """Return the largest width, over all phases, of the window of inputs with a gradient (see :func:`footprint`)."""
    return max(window(footprint(layer, phase))[2] for phase in range(2**layer.levels))


def window(picture: Tensor) -> tuple[int, int, int, int]:
    """Return left, top, width and height of the smallest box that holds everything but zeros of (H, W)."""
    rows, columns = (picture.abs().amax(axis).gt(NOTHING).nonzero().flatten() for axis in (1, 0))
    left, top = int(columns[0]), int(rows[0])
    return left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1


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
