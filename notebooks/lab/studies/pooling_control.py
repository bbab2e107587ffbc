"""The control for "is it the wavelet, or the reach?": 3DM-WeConv with averages in place of its DWT."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from weconvene_core.layers import Pointwise, WeConv3d


class PooledConv(nn.Module):
    """A pyramid of 2x2 averages with the kernels of a 3DM-WeConv layer: (B, in, H, W) -> (B, out, H, W).

    As there, level j is halved J times, the coarsest map gets the large kernel and what each level loses by halving a
    1x1 kernel. But the averages are repeated to come back up, the lost part stays one map of the level's own size in
    place of three bands of half of it, and there is no channel DWT: the reach of the layer without its wavelet.
    """

    def __init__(self, layer: WeConv3d) -> None:
        super().__init__()
        out_channels, in_channels, kernel, _ = layer.low_weight.shape
        self.low = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2)
        self.high = nn.ModuleList(Pointwise(in_channels, out_channels) for _ in range(layer.levels))

    def forward(self, x: Tensor) -> Tensor:
        """Convolve every level of the pyramid, and add the levels up again."""
        details = []
        for pointwise in self.high:
            low = F.avg_pool2d(x, 2, ceil_mode=True)  # (B, in, h, w) -> (B, in, h/2, w/2), rounded up
            details.append(pointwise(x - _repeated(low, x)))  # (B, in, h, w) -> (B, out, h, w)
            x = low
        x = self.low(x)
        for detail in reversed(details):
            x = _repeated(x, detail) + detail
        return x


def _repeated(low: Tensor, like: Tensor) -> Tensor:
    """Repeat every sample 2x2 times: (B, C, h/2, w/2) -> (B, C, h, w)."""
    return F.interpolate(low, scale_factor=2.0)[..., : like.shape[-2], : like.shape[-1]]


def pool_layers(model: nn.Module) -> None:
    """Replace every 3DM-WeConv layer of a network by a freshly drawn :class:`PooledConv`, in place."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, WeConv3d):
                setattr(parent, name, PooledConv(child))
