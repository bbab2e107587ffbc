"""What a codec costs in multiplications, by part, counted on tensors without data.

A MAC is one multiplication with its addition. ``torch.utils.flop_counter`` counts convolutions and matrix products.
Lifting steps are slices and additions, which no counter sees; :class:`LiftingCounter` counts them.
"""

from __future__ import annotations

import copy
import sys
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from compressai.models import CompressionModel
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from weconvene_core import wavelets
from weconvene_core.entropy.charm import slice_shapes
from weconvene_core.layers import WeConv3d
from weconvene_core.model.config import ModelConfig
from weconvene_core.model.weconvene import WeConvene

FOLDING, OUTSIDE = "kernel folding", "outside the parts"
ENCODER, DECODER = ("g_a", "h_a"), ("g_s",)
"""Parts that run on one side alone; all other parts run on both sides."""
TABLES_ONLY = "entropy_bottleneck"  # coding z looks up its tables; the network behind them does not run
Macs = dict[str, int]


class _OnePass(nn.Module):
    """Everything that coding computes, once, as a forward pass, because the counter names parts by what it enters."""

    def __init__(self, model: CompressionModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> None:
        model = self.model
        if not isinstance(model, WeConvene):
            model(x)
            return
        quality = torch.full((1,), model.default_quality)
        coded = model.code_latents(quality, _nothing_coded, *model.analyse(x, quality))
        model.synthesise(coded.lf_hat, coded.hf_hat, quality)


def _nothing_coded(group: str, prediction: Any, target: Tensor | None) -> Tensor:
    """A coding step in whose slices every residual is zero."""
    return torch.zeros_like(prediction.mean)


def _without_data(model: CompressionModel) -> CompressionModel:
    """Return a copy that shares its tensors, for tensors without data, since modules may keep what they compute."""
    return copy.deepcopy(model, {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}).eval()


def _count(model: CompressionModel, counter: FlopCounterMode, height: int, width: int) -> None:
    fake = FakeTensorMode(allow_non_fake_inputs=True) if isinstance(model, WeConvene) else nullcontext()
    with torch.no_grad(), fake, counter:
        _OnePass(model)(torch.zeros(1, 3, height, width))


def count_macs(model: CompressionModel, height: int, width: int) -> tuple[Macs, Macs]:
    """Return the MACs of encoding and of decoding an image by part.

    Parts are the model's direct children (g_a, h_s ...). ``kernel folding`` holds the matrix products inside their
    3DM-WeConv layers (a cost per image, not per pixel), ``outside the parts`` the shortcut's colour transform.

    Parameters
    ----------
    model
        Of this project, or of CompressAI, whose entropy models are counted as one pass over all positions.
    height, width
        Of the image, multiples of the model's stride.
    """
    model, counter = _without_data(model), FlopCounterMode(display=False)
    _count(model, counter, height, width)
    counts = counter.get_flop_counts()

    def macs_of(name: str) -> tuple[int, int]:
        """Return all MACs of a module, and those of its convolutions."""
        found = counts.get(f"_OnePass.model.{name}", {})
        return sum(found.values()) // 2, found.get(torch.ops.aten.convolution, 0) // 2

    sides: tuple[Macs, Macs] = ({}, {})
    rest = counter.get_total_flops() // 2
    for part, child in model.named_children():
        layers = [f"{part}.{name}" for name, module in child.named_modules() if isinstance(module, WeConv3d)]
        folding = sum(everything - convolutions for everything, convolutions in map(macs_of, layers))
        whole = macs_of(part)[0]
        rest -= whole
        for macs, elsewhere in zip(sides, (DECODER, ENCODER), strict=True):
            if whole and part not in (*elsewhere, TABLES_ONLY):
                macs[part] = whole - folding
                macs[FOLDING] = macs.get(FOLDING, 0) + folding
    for macs in sides:
        macs |= {FOLDING: macs.pop(FOLDING), OUTSIDE: rest // 2}  # there and back
    return tuple({part: count for part, count in macs.items() if count} for macs in sides)


def slice_macs(model: WeConvene, height: int, width: int) -> pd.DataFrame:
    """Return ``slice``, ``channels seen``, ``channels coded`` and ``MACs`` of every slice network, in coding order."""
    model, counter = _without_data(model), FlopCounterMode(display=False)
    networks, marks = [*model.charm.ll_slices, *model.charm.slices], []

    def mark(module: nn.Module, *_: object) -> None:
        marks.append((module, counter.get_total_flops()))

    for network in networks:  # a slice lasts until the next one begins, or all end
        network.register_forward_pre_hook(mark)
    model.charm.register_forward_hook(mark)
    _count(model, counter, height, width)
    macs = dict.fromkeys(networks, 0)
    for (network, start), (_, end) in pairwise(marks):
        macs[network] += (end - start) // 2
    shapes = zip(*slice_shapes(model.config.layout, model.config.hyper_features), strict=True)
    columns = ["slice", "channels seen", "channels coded", "MACs"]
    return pd.DataFrame(dict(zip(columns, (slice_names(model.config), *shapes, macs.values()), strict=True)))


def slice_names(config: ModelConfig) -> list[str]:
    """Name every slice network in coding order: LL levels where there are some, then LF slices, then HF slices."""
    layout = config.layout
    ll = ["LL band"] * layout.ll_passes + [f"LL level {layout.ll_levels - i}" for i in range(layout.ll_levels)]
    group = "LF slice" if config.wavelet_entropy else "slice"
    lf = [f"{group} {i}" for i in range(1, len(layout.lf) + 1 - (1 if ll else 0))]
    return ll + lf + [f"HF slice {i}" for i in range(1, len(layout.hf) + 1)]


class LiftingCounter(TorchDispatchMode):
    """Counts the additions and multiplications that run inside the wavelet package, while it is entered."""

    COUNTED = (torch.ops.aten.add, torch.ops.aten.add_, torch.ops.aten.mul)

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0
        self._folder = Path(wavelets.__file__).parent

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket in self.COUNTED and self._in_wavelets():
            self.flops += result.numel() * (1 + ("alpha" in (kwargs or {})))  # x + alpha * y is two operations
        return result

    def _in_wavelets(self) -> bool:
        frame = sys._getframe()
        while frame is not None:
            if Path(frame.f_code.co_filename).parent == self._folder:
                return True
            frame = frame.f_back
        return False
