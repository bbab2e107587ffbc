"""What a codec costs in multiplications, counted while it really codes.

A MAC is one multiplication with its addition. Convolutions and matrix products are counted by
``torch.utils.flop_counter`` during ``compress`` and ``decompress``. Lifting steps are slices and additions, which every
counter books as nothing; :mod:`.by_hand` counts them from the filters' tables.
"""

from __future__ import annotations

import torch
from compressai.models import CompressionModel
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lab.complexity.mac_formulas import FOLDING, OUTSIDE, Macs
from weconvene_core.layers import WeConv3d


class _Encoding(nn.Module):
    """``compress`` as a forward pass, because the counter names parts by the module that it enters."""

    def __init__(self, model: CompressionModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> dict[str, object]:
        return self.model.compress(x)


class _Decoding(nn.Module):
    """``decompress`` as a forward pass."""

    def __init__(self, model: CompressionModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, coded: dict[str, object]) -> dict[str, Tensor]:
        return self.model.decompress(coded["strings"], coded["shape"])


@torch.no_grad()
def count_macs(model: CompressionModel, x: Tensor) -> tuple[Macs, Macs]:
    """Code one image (1, 3, H, W) for real and return the MACs of encoding and of decoding by part.

    Parts are the model's direct children (g_a, h_s ...). ``kernel folding`` holds the matrix products inside their
    3DM-WeConv layers (a cost per image, not per pixel), ``outside the parts`` the rest: the shortcut's colour
    transform, or CompressAI's serial context model.
    """
    with FlopCounterMode(display=False) as encoding:
        coded = _Encoding(model)(x)
    with FlopCounterMode(display=False) as decoding:
        _Decoding(model)(coded)
    return _by_part(encoding, _Encoding, model), _by_part(decoding, _Decoding, model)


def _by_part(counter: FlopCounterMode, root: type[nn.Module], model: CompressionModel) -> Macs:
    counts = counter.get_flop_counts()

    def macs_of(name: str) -> tuple[int, int]:
        """Return all MACs of a module, and those of its convolutions."""
        found = counts.get(f"{root.__name__}.model.{name}", {})
        return sum(found.values()) // 2, found.get(torch.ops.aten.convolution, 0) // 2

    macs, folding = {}, 0
    for part, child in model.named_children():
        layers = [f"{part}.{name}" for name, module in child.named_modules() if isinstance(module, WeConv3d)]
        folded = sum(everything - convolutions for everything, convolutions in map(macs_of, layers))
        folding += folded
        if own := macs_of(part)[0] - folded:
            macs[part] = own
    rest = counter.get_total_flops() // 2 - sum(macs.values()) - folding
    return macs | {name: value for name, value in ((FOLDING, folding), (OUTSIDE, rest)) if value}
